//! How far a named subscription is behind: for how long the first event has been there that it is not done with.
//!
//! ```text
//!   position       cursor          looked through         newest
//!  ....|== read: open, or over =====|-- none is taken --|.. nobody knows ..|
//! ```
//!
//! What its dispatcher has read it knows. Behind that somebody has to look whether its filter takes anything: who asks for the lag does, a few pages at a
//! time, and the next one goes on from there. Most stand at the same place, so one page is read for all of them. Where that does not reach the newest event,
//! one is looked for that the filter takes, unless too much would have to be searched. What nobody has looked at counts as taken.
//!
//! Invariant: a look moves no position and gives nothing to anybody; at most [`READS_MAX`] reads are made for one question.

use super::feed::{Feed, LIVE_ROWS};
use super::named::Named;
use super::page::FollowPage;
use parking_lot::Mutex;
use std::sync::Arc;
use strandline_engine::read::Filter;
use strandline_event::{Micros, Position};

/// Reads for one question, of all subscriptions that it asks about.
const READS_MAX: usize = 64;
/// Rows of files that are searched for the first event that a filter takes.
const SEARCHED_MAX: u64 = 1 << 20;

/// What was found behind the cursor of a subscription.
struct Ahead {
    /// Everything up to here was looked at.
    through: Position,
    /// An event stands there that is taken.
    is_taken: bool,
    /// How often rows had gone under tombstones or come back before.
    retirements: u64,
}

/// The same, shared by who asks.
pub(super) struct Looked(Mutex<Ahead>);

impl Default for Looked {
    fn default() -> Self {
        Self(Mutex::new(Ahead { through: Position::START, is_taken: false, retirements: 0 }))
    }
}

impl Ahead {
    /// What was read is no longer ahead; where rows went or came back, all of it is to be looked at again.
    fn renew(&mut self, read_through: Position, retirements: u64) {
        if read_through >= self.through || self.retirements != retirements {
            *self = Self { through: read_through, is_taken: false, retirements };
        }
    }
}

/// What a subscription waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Behind {
    /// It is done with everything up to the newest event.
    Nothing,
    /// It is not done with this one.
    Event(Position),
    /// Nobody knows what is behind this place.
    Unknown(Position),
}

fn behind(named: &Named, feed: &Feed, newest: Micros) -> Behind {
    let mut ahead = named.ahead.0.lock();
    let state = named.state.lock();
    ahead.renew(state.read_through(), feed.store().retirements());
    match state.first_open() {
        Some(first) => Behind::Event(first),
        None if ahead.is_taken => Behind::Event(ahead.through),
        None if ahead.through >= Position::end_of(newest) => Behind::Nothing,
        None => Behind::Unknown(ahead.through),
    }
}

/// How long what it is not done with has been there, microseconds; 0: it is done with everything up to the newest event. `oldest` may read.
pub(super) fn lag_us(
    named: &Named,
    feed: &Feed,
    newest: Micros,
    now: Micros,
    oldest: impl Fn() -> Option<Micros>,
) -> i64 {
    let since = match behind(named, feed, newest) {
        Behind::Nothing => None,
        Behind::Event(first) => Some(first.ingested_at),
        // it has passed nothing yet
        Behind::Unknown(through) if through.ingested_at <= Micros(0) => oldest(),
        Behind::Unknown(through) => Some(through.ingested_at),
    };
    // moments may run ahead of the clock
    since.map_or(0, |since| now.0.saturating_sub(since.0).max(1))
}

/// Looks on for those of which it is not known what they wait for. `turn`: who is first; who came too late this time is next time.
pub(super) async fn look(feed: &Feed, all: &[Arc<Named>], newest: Micros, turn: &mut usize) {
    if !all.iter().any(|named| matches!(behind(named, feed, newest), Behind::Unknown(_))) {
        return;
    }
    feed.close_through(newest).await;
    let first = *turn % all.len();
    let mut reads = Reads { feed, left: READS_MAX, shared: Vec::new() };
    for (place, named) in all.iter().enumerate().cycle().skip(first).take(all.len()) {
        if reads.look_for(named, newest).await.is_none() {
            *turn = place;
            return;
        }
    }
}

struct Reads<'a> {
    feed: &'a Feed,
    left: usize,
    /// Pages of everything, and behind which places they were read.
    shared: Vec<(Position, Arc<FollowPage>)>,
}

impl Reads<'_> {
    /// `None`: so much was read for one question.
    async fn look_for(&mut self, named: &Named, newest: Micros) -> Option<()> {
        let Behind::Unknown(after) = behind(named, self.feed, newest) else { return Some(()) };
        let filter = named.settings().filter;
        if self.feed.check_open(filter.stream_type.as_deref()).is_err() {
            return Some(());
        }
        let page = self.behind(after).await;
        if let Some(page) = &page {
            take(named, page, after);
        } else if self.left == 0 {
            return None;
        }
        let Behind::Unknown(after) = behind(named, self.feed, newest) else { return Some(()) };
        // a page of everything says as much as one of what is asked for
        let is_seen = page.is_some_and(|page| page.rows().at_end) || filter == Filter::default();
        if is_seen || self.rows_behind(after, &filter) > SEARCHED_MAX {
            return Some(());
        }
        match self.read(after, 1, filter).await {
            Some(page) => take(named, &page, after),
            None if self.left == 0 => return None,
            None => {}
        }
        Some(())
    }

    async fn behind(&mut self, after: Position) -> Option<Arc<FollowPage>> {
        if let Some((_, page)) = self.shared.iter().find(|(place, _)| *place == after) {
            return Some(Arc::clone(page));
        }
        let page = Arc::new(self.read(after, LIVE_ROWS, Filter::default()).await?);
        // one is enough for those that stand together, and others are many places
        self.shared.truncate(1);
        self.shared.push((after, Arc::clone(&page)));
        Some(page)
    }

    async fn read(&mut self, after: Position, limit: usize, filter: Filter) -> Option<FollowPage> {
        if self.feed.is_closing() || !self.feed.is_whole() {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        match self.feed.look(after, limit, filter).await {
            Ok(page) => Some(page),
            Err(error) => {
                tracing::debug!(
                    store = self.feed.store().name(),
                    "nobody can see how far subscriptions are behind: {error}"
                );
                None
            }
        }
    }

    /// Rows of the files that hold anything behind a place, of the stream type that is asked for.
    fn rows_behind(&self, after: Position, filter: &Filter) -> u64 {
        let files = self.feed.store().durable().pin();
        let wanted = files.files().iter().filter(|file| {
            file.bounds.ingested_at.1 >= after.ingested_at
                && filter.stream_type.as_ref().is_none_or(|of| *of == file.stream_type)
        });
        wanted.map(|file| file.rows).sum()
    }
}

/// What a page that was read behind a place says.
fn take(named: &Named, page: &FollowPage, after: Position) {
    let mut ahead = named.ahead.0.lock();
    // its consumers may have come further meanwhile
    if ahead.through != after || ahead.is_taken || !page.is_current() {
        return;
    }
    let (rows, state) = (page.rows(), named.state.lock());
    let mut behind = (rows.rows_through(after)..rows.len()).filter_map(|row| rows.row(row));
    let taken = behind.find(|event| state.wants(event)).map(|event| event.position());
    ahead.is_taken = taken.is_some();
    ahead.through = taken.unwrap_or(rows.through).max(after);
}
