//! Reads on for one named subscription and hands its events to its consumers, while it has any.
//!
//! Invariant: every event behind the subscription's cursor is offered, in order; what must be on disk is pushed to the file in the
//! order in which it happened. What cannot be read ends the consumers, who are told why; the next one has it read again.

use super::consumer::{Delivery, Looked};
use super::feed::{Next, Reader};
use super::named::Named;
use super::page::{FollowPage, Texts};
use super::trouble::Unread;
use crate::clock;
use crate::error::NodeError;
use std::sync::Arc;
use std::time::Duration;
use strandline_engine::subscribe::durable::Offer;
use strandline_engine::subscribe::stream_key;
use strandline_event::{EventRef, Micros, Position};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// It looks again after so long whatever happens: positions that only a filter moved are kept then.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// After an error that says nothing of the events.
const PAUSE: Duration = Duration::from_secs(1);
/// Parked events that cannot be read now are looked for until so many were not found, before what comes otherwise is.
const PUT_OFF_MAX: usize = 32;

/// Why nothing more can be given now.
enum Stop {
    /// Everything that is there was offered.
    AtEnd,
    /// Nobody takes anything.
    Full,
}

/// Gives events until the last consumer is gone.
pub(super) async fn run(named: Arc<Named>, reader: Reader, mut grown: watch::Receiver<u64>) {
    // the last question that was answered by a look at the end
    let mut answered = 0;
    loop {
        let changed = named.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        grown.borrow_and_update();
        if named.ends(&reader.feed) {
            return;
        }
        let asked = named.asked();
        let stop = match round(&named, &reader, asked > answered).await {
            Ok(stop) => stop,
            Err(unread) if unread.is_passing() || named.is_over(&reader.feed) => {
                sleep(PAUSE).await;
                continue;
            }
            Err(unread) => return named.fail(unread),
        };
        named.keep();
        let at_end = matches!(stop, Stop::AtEnd);
        if at_end {
            answered = asked;
        }
        named.answer(Looked { asked, at_end });
        let wait = named.next_wait(clock::now()).min(LOOK_AGAIN);
        let waiting = async {
            match stop {
                Stop::Full => changed.await,
                Stop::AtEnd => tokio::select! {
                    () = changed => {}
                    // the store's end is gone with the node
                    _ = grown.changed() => {}
                },
            }
        };
        // whatever came first, the next round looks at all of it
        let _ = timeout(wait, waiting).await;
    }
}

/// Gives what can be given. `looks`: also what is newer than the end that is read for all.
async fn round(named: &Named, reader: &Reader, mut looks: bool) -> Result<Stop, Unread> {
    named.state.lock().tick(clock::now());
    if replays(named, reader).await? {
        return Ok(Stop::Full);
    }
    loop {
        let through = {
            let mut state = named.state.lock();
            state.go_back(clock::now());
            state.cursor().through()
        };
        reader.check_open().map_err(Unread::behind(through))?;
        let next = match reader.next(through).await.map_err(Unread::behind(through))? {
            Next::AtEnd if looks => {
                let newer = reader.history(through).await.map_err(Unread::behind(through))?;
                looks = matches!(&newer, Next::Page(page, _) if !page.rows().is_empty());
                newer
            }
            next => next,
        };
        let read_through = if let Next::Page(_, end) = &next { *end } else { through };
        named.troubles.passed(&named.name, through, read_through);
        match next {
            Next::AtEnd => return Ok(Stop::AtEnd),
            Next::Page(page, end) => {
                if !give_page(named, reader, &page, end) {
                    return Ok(Stop::Full);
                }
            }
        }
        if named.is_over(&reader.feed) {
            return Ok(Stop::Full);
        }
    }
}

/// `false`: nobody takes anything more.
fn give_page(named: &Named, reader: &Reader, page: &FollowPage, end: Position) -> bool {
    let rows = page.rows();
    let now = clock::now();
    // encoded before anybody has to wait for the lock
    let encode = named.encode();
    let texts = encode.map(|encode| page.texts(&*encode));
    let mut state = named.state.lock();
    for row in rows.rows_through(state.cursor().through())..rows.len() {
        let Some(event) = rows.row(row) else { break };
        if !reader.filter.matches(&event) {
            continue;
        }
        match state.offer(event.position(), stream_key(&event), now) {
            Offer::Deliver(consumer, attempt) => {
                if named.deliver(consumer, delivery(texts.as_deref(), row as u32, &event, attempt)) {
                    state.set_full(consumer, true);
                }
            }
            Offer::Pass => {}
            Offer::Full => return false,
        }
    }
    state.examined(rows.next, end);
    reader.finished();
    true
}

fn delivery(texts: Option<&Texts>, row: u32, event: &EventRef<'_>, attempt: u32) -> Delivery {
    let text = texts.map(|texts| texts.row(row).to_vec()).unwrap_or_default();
    Delivery { position: event.position(), attempt, text, withheld: texts.map(Texts::withheld) }
}

/// Parked events that are to be given again. `true`: nobody takes anything more. One that cannot be read keeps nobody from what comes otherwise.
async fn replays(named: &Named, reader: &Reader) -> Result<bool, Unread> {
    let mut put_off = 0;
    while put_off < PUT_OFF_MAX && !named.is_over(&reader.feed) {
        let now: Micros = clock::now();
        let Some(position) = named.state.lock().next_replay(now) else { break };
        let before = position.before();
        let page = match behind(reader, before).await.map_err(Unread::behind(before)) {
            Ok(Some(page)) => page,
            Err(unread) if unread.is_passing() => return Err(unread),
            not_read => {
                if let Err(unread) = not_read
                    && put_off == 0
                {
                    tracing::warn!("subscription `{}` cannot give a parked event again: {}", named.name, unread.why());
                }
                put_off += 1;
                named.state.lock().put_off_replay(position, clock::now());
                continue;
            }
        };
        let row = page.rows().rows_through(before);
        let found = page.rows().row(row).filter(|event| event.position() == position);
        let texts = named.encode().map(|encode| page.texts(&*encode));
        let mut state = named.state.lock();
        match state.offer_replay(position, found.as_ref().map(stream_key), now) {
            Offer::Deliver(consumer, attempt) => {
                if let Some(event) = &found
                    && named.deliver(consumer, delivery(texts.as_deref(), row as u32, event, attempt))
                {
                    state.set_full(consumer, true);
                }
            }
            Offer::Pass => {}
            Offer::Full => return Ok(true),
        }
    }
    Ok(false)
}

/// The page that holds what stands right behind a place, if anything does; `None`: that is not known yet. A log that does not open says nothing of
/// its events: who took that for an answer would let go of them.
async fn behind(reader: &Reader, place: Position) -> Result<Option<Arc<FollowPage>>, NodeError> {
    reader.check_open()?;
    let next = match reader.next(place).await? {
        // the end that is read for all may be before it
        Next::AtEnd => reader.history(place).await?,
        next @ Next::Page(..) => next,
    };
    Ok(match next {
        Next::Page(page, end) if end > place => Some(page),
        Next::Page(..) | Next::AtEnd => None,
    })
}
