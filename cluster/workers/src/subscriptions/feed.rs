//! The live end of one store: its newest pages, and the pump that reads them while somebody follows.
//!
//! Invariant: the ring is read behind its own end, one page after the other, so its pages hold every event once. The pump reads again
//! only when a log has moved since the read before began, or a second has passed; between two pages it pauses, the longer the more
//! follow, and what commits meanwhile comes together. Pages that were read before rows went under a tombstone, or came back, leave the ring and the
//! shelf: their place is history, which is read as any page.
//!
//! In a cluster the order ends where a log that another node leads was last heard of: before it reads, the pump has its leader asked (`Closes`). Where a log
//! is taken from this node, or one begins that it does not get, followers are told to come again, which they do elsewhere.

use super::notices::Notices;
use super::page::FollowPage;
use super::{Following, Place};
use crate::clock;
use crate::error::NodeError;
use crate::messages::ReadFeed;
use crate::readers::{ReadRequest, Readers};
use crate::wiring::Alive;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use strandline_consensus::BoxFuture;
use strandline_engine::read::{Filter, GlobalRead, ReadError};
use strandline_engine::store::Store;
use strandline_engine::subscribe::{Found, Ring, RingLimits};
use strandline_event::{Micros, Position, StampedBatch};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

/// Rows of a page.
pub(super) const LIVE_ROWS: usize = 4096;
const HISTORY_ROWS: usize = 1024;
/// What the ring holds.
const RING: RingLimits = RingLimits { pages_max: 256, bytes_max: 16 << 20 };
/// The pump looks again after so long though no bell was heard.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Pause between two live pages for each follower: telling them all takes about half of one processor.
const PAUSE_A_FOLLOWER: Duration = Duration::from_micros(50);
const PAUSE_MIN: Duration = Duration::from_micros(500);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// The pump waits no longer for leaders of other logs before it reads what it can.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// A log that is closed so far below the newest event has not been heard of since the node started: what is between is history.
const FAR_BACK_US: i64 = 10_000_000;
/// Pause before it asks them again, doubled up to [`LOOK_AGAIN`] while nothing comes of it.
const HELD_BACK_PAUSE: Duration = Duration::from_millis(20);
/// How often they are asked for one look at what there is.
const CLOSE_TIMES: usize = 4;

/// Who closes the logs of a cluster's store that other nodes lead.
pub(crate) trait Closes: Send + Sync {
    /// Whether this node holds every log: of one that it does not it would hear nothing, and pass over its events.
    fn is_whole(&self) -> bool;

    /// Whether one of them is closed below what is visible of others.
    fn is_held_back(&self) -> bool;

    /// Errors: a log that is to be here (of one stream type, or of all) does not open: its events would be passed over.
    fn check_open(&self, stream_type: Option<&str>) -> Result<(), NodeError>;

    /// Asks their leaders, where any does.
    fn close_up(&self) -> BoxFuture<'_, ()>;
}

/// Heard when a log has moved.
#[derive(Default)]
struct Bell {
    /// The pump wants to hear it.
    is_wanted: AtomicBool,
    rung: Notify,
}

impl Bell {
    fn ring(&self) {
        if self.is_wanted.load(Ordering::SeqCst) && self.is_wanted.swap(false, Ordering::SeqCst) {
            self.rung.notify_one();
        }
    }
}

struct State {
    ring: Ring<FollowPage>,
    /// How often rows had gone under tombstones or come back when the pages of the ring were read.
    retirements: u64,
    followers: usize,
    pumping: bool,
    /// The pump cannot read: followers find out why by themselves.
    failed: bool,
    notices: Notices,
}

impl State {
    /// Empties the ring where its pages were read before so many retirements.
    fn renew(&mut self, retirements: u64) {
        if self.retirements < retirements {
            self.ring = Ring::new(self.ring.end(), RING);
            self.retirements = retirements;
        }
    }

    /// Adds the page behind the ring's end. `false`: what it shows is out of date, and is to be read again.
    fn push(&mut self, page: FollowPage) -> bool {
        self.renew(page.retirements());
        if page.retirements() < self.retirements {
            return false;
        }
        let (through, bytes, is_empty) = (page.rows().through, page.rows().bytes(), page.rows().is_empty());
        self.ring.push((!is_empty).then_some((page, bytes)), through);
        true
    }
}

/// The feed of a store.
pub(crate) struct Feed {
    store: Arc<Store>,
    readers: Readers,
    alive: Alive,
    pub(super) following: Arc<Following>,
    state: Mutex<State>,
    bell: Arc<Bell>,
    /// In a cluster.
    closes: OnceLock<Arc<dyn Closes>>,
    /// Counts what followers may want to look at: pages, dry runs, the end.
    grown: watch::Sender<u64>,
    closing: AtomicBool,
}

/// Where a reader's next rows are.
pub(super) enum Next {
    /// In this page, which ends there.
    Page(Arc<FollowPage>, Position),
    /// Nowhere yet.
    AtEnd,
}

/// One reader of a feed, while it is there.
pub(super) struct Reader {
    pub(super) feed: Arc<Feed>,
    pub(super) filter: Filter,
    number: u64,
    _place: Place,
}

impl Feed {
    pub(crate) fn new(store: &Arc<Store>, readers: &Readers, following: &Arc<Following>, alive: &Alive) -> Arc<Self> {
        let bell = Arc::new(Bell::default());
        let ring = Arc::clone(&bell);
        store.closed().hang_bell(Box::new(move || ring.ring()));
        let state = State {
            ring: Ring::new(Position::START, RING),
            retirements: 0,
            followers: 0,
            pumping: false,
            failed: false,
            notices: Notices::default(),
        };
        Arc::new(Self {
            store: Arc::clone(store),
            readers: readers.clone(),
            alive: alive.clone(),
            following: Arc::clone(following),
            state: Mutex::new(state),
            bell,
            closes: OnceLock::new(),
            grown: watch::Sender::new(0),
            closing: AtomicBool::new(false),
        })
    }

    /// The store is one of a cluster.
    pub(super) fn closes_by(&self, closes: Arc<dyn Closes>) {
        // it is the same each time
        let _ = self.closes.set(closes);
    }

    /// Whether nothing is passed over here. Who follows looks before it waits, and when it has read.
    pub(super) fn is_whole(&self) -> bool {
        self.closes.get().is_none_or(|closes| closes.is_whole())
    }

    fn is_held_back(&self) -> bool {
        self.closes.get().is_some_and(|closes| closes.is_held_back())
    }

    /// Errors: a log of what is asked for cannot be read here at all.
    pub(super) fn check_open(&self, stream_type: Option<&str>) -> Result<(), NodeError> {
        self.closes.get().map_or(Ok(()), |closes| closes.check_open(stream_type))
    }

    /// Leaders of quiet logs are asked how far these are closed, where it is a cluster's store.
    pub(super) async fn close_up(&self) {
        if let Some(closes) = self.closes.get().filter(|_| !self.is_closing()) {
            let _ = timeout(CLOSE_WITHIN, closes.close_up()).await;
        }
    }

    /// The same, a few times where a log stays below this moment: its leader may not have heard of the newest event.
    pub(super) async fn close_through(&self, moment: Micros) {
        for _ in 0..CLOSE_TIMES {
            if self.store.closed().close() >= moment {
                return;
            }
            self.close_up().await;
            if !self.is_held_back() {
                return;
            }
            sleep(HELD_BACK_PAUSE).await;
        }
    }

    /// A page of what comes behind a place, for who only wants to know what is there.
    pub(super) async fn look(&self, after: Position, limit: usize, filter: Filter) -> Result<FollowPage, NodeError> {
        let _turn = self.following.catching_up.acquire().await.map_err(|_| NodeError::Draining)?;
        let read = GlobalRead { after, limit, filter };
        let page = self.readers.wait(ReadFeed { store: Arc::clone(&self.store), read }).await??;
        Ok(page)
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Behind what is there now. What another log has assigned below the newest event, and nobody sees yet, comes behind it.
    pub(super) fn end(&self) -> Position {
        Position::end_of(self.store.closed().end())
    }

    /// What somebody keeps who begins there and may know of no event ([`ClosedClocks::mark`](strandline_engine::clock::ClosedClocks::mark)).
    pub(super) fn mark(&self) -> Option<Position> {
        self.store.closed().mark(clock::now()).map(Position::end_of)
    }

    pub(super) const fn readers(&self) -> &Readers {
        &self.readers
    }

    pub(super) fn alive(&self) -> &Alive {
        &self.alive
    }

    /// Everybody who follows is told the end, and nobody may begin.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.tell();
        self.bell.rung.notify_one();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// What a follower waits for.
    pub(super) fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// Everybody who follows looks at what there is.
    pub(super) fn wake_all(&self) {
        self.tell();
    }

    fn tell(&self) {
        self.grown.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Errors: the store sends no notifications, or the node stops.
    pub(super) fn check(&self) -> Result<(), NodeError> {
        if !self.store.config().projection.notify_on_commit {
            return Err(NodeError::NotificationsDisabled { store: self.store.name().to_owned() });
        }
        if self.is_closing() { Err(NodeError::Draining) } else { Ok(()) }
    }

    /// One more follows.
    pub(super) fn reader(self: &Arc<Self>, filter: Filter) -> Result<Reader, NodeError> {
        self.check()?;
        let place = self.following.enter()?;
        let mut state = self.state.lock();
        state.followers += 1;
        if !state.pumping {
            state.pumping = true;
            state.ring = Ring::new(Position::end_of(self.store.closed().close()), RING);
            let (feed, mark) = (Arc::clone(self), self.alive.mark());
            tokio::spawn(async move {
                let _mark = mark;
                feed.pump().await;
            });
        }
        drop(state);
        let number = self.following.shelf.next_reader();
        Ok(Reader { feed: Arc::clone(self), filter, number, _place: place })
    }

    /// A dry run was judged with yes.
    pub(crate) fn inspected(&self, batch: &StampedBatch) {
        let mut state = self.state.lock();
        if state.followers > 0 {
            state.notices.push(batch.clone());
            drop(state);
            self.tell();
        }
    }

    /// The number of the last dry run.
    pub(super) fn last_notice(&self) -> u64 {
        self.state.lock().notices.last()
    }

    /// The oldest dry run behind this number.
    pub(super) fn notice_after(&self, number: u64) -> Option<(u64, StampedBatch)> {
        self.state.lock().notices.after(number)
    }

    /// Whether the order ends long before the newest event.
    fn is_far_back(&self) -> bool {
        let closed = self.store.closed();
        closed.newest().0.saturating_sub(closed.close().0) > FAR_BACK_US
    }

    /// What is closed by now is not read for all: followers who want it read it by themselves.
    fn begin_behind_history(&self) {
        let (end, mut state) = (Position::end_of(self.store.closed().close()), self.state.lock());
        if end > state.ring.end() {
            state.ring = Ring::new(end, RING);
            drop(state);
            self.tell();
        }
    }

    async fn pump(&self) {
        let (mut pause, mut is_far_back) = (HELD_BACK_PAUSE, self.is_far_back());
        loop {
            if !self.is_whole() {
                if self.passes_over().is_none() {
                    return;
                }
                let _ = timeout(LOOK_AGAIN, self.bell.rung.notified()).await;
                continue;
            }
            self.close_up().await;
            if is_far_back {
                is_far_back = self.is_far_back();
                self.begin_behind_history();
            }
            self.bell.is_wanted.store(true, Ordering::SeqCst);
            let after = self.state.lock().ring.end();
            let read = GlobalRead { after, limit: LIVE_ROWS, filter: Filter::default() };
            let page = self.readers.wait(ReadFeed { store: Arc::clone(&self.store), read }).await;
            let at_end = match page.map_err(|e| e.to_string()).and_then(|page| page.map_err(|e| e.to_string())) {
                Ok(_) if !self.is_whole() => continue,
                Ok(page) => {
                    let (at_end, has_rows) = (page.rows().at_end, !page.rows().is_empty());
                    let mut state = self.state.lock();
                    state.failed = false;
                    let is_pushed = state.push(page);
                    drop(state);
                    if has_rows {
                        self.tell();
                        pause = HELD_BACK_PAUSE;
                    }
                    at_end && is_pushed
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.state.lock().failed, true) {
                        tracing::warn!(store = self.store.name(), "followers cannot be told of new events: {error}");
                    }
                    self.tell();
                    sleep(LOOK_AGAIN).await;
                    false
                }
            };
            let Some(followers) = self.followers() else { return };
            if at_end && self.is_held_back() {
                sleep(pause).await;
                pause = (pause * 2).min(LOOK_AGAIN);
            } else if at_end {
                let _ = timeout(LOOK_AGAIN, self.bell.rung.notified()).await;
            }
            sleep((PAUSE_A_FOLLOWER * u32::try_from(followers).unwrap_or(u32::MAX)).clamp(PAUSE_MIN, PAUSE_MAX)).await;
        }
    }

    /// How many follow; none, or the node stops: the pump ends.
    fn followers(&self) -> Option<usize> {
        let mut state = self.state.lock();
        if state.followers == 0 || self.is_closing() {
            state.pumping = false;
            state.ring = Ring::new(state.ring.end(), RING);
            state.notices.clear();
            return None;
        }
        Some(state.followers)
    }

    /// Nothing is read where something would be passed over; who follows is told, and goes.
    fn passes_over(&self) -> Option<usize> {
        let followers = self.followers()?;
        let mut state = self.state.lock();
        state.ring = Ring::new(state.ring.end(), RING);
        drop(state);
        self.tell();
        Some(followers)
    }

    fn find(&self, through: Position) -> (Found<FollowPage>, Position, bool) {
        let mut state = self.state.lock();
        state.renew(self.store.retirements());
        (state.ring.find(through), state.ring.page_through(through), state.failed)
    }
}

impl ReadRequest for ReadFeed {
    type Answer = Result<FollowPage, ReadError>;

    fn run(self) -> Self::Answer {
        let retirements = self.store.retirements();
        let rows = self.store.read_global(&self.read, clock::now())?;
        Ok(FollowPage::new(self.store, retirements, rows))
    }
}

impl Reader {
    /// Errors: a log of what is asked for cannot be read here at all.
    pub(super) fn check_open(&self) -> Result<(), NodeError> {
        self.feed.check_open(self.filter.stream_type.as_deref())
    }

    /// The rows behind a place. Of the live end they are unfiltered, of history filtered already.
    pub(super) async fn next(&self, through: Position) -> Result<Next, NodeError> {
        match self.feed.find(through) {
            (Found::Page(page), end, _) => Ok(Next::Page(page, end)),
            (Found::AtEnd, _, false) => Ok(Next::AtEnd),
            (Found::AtEnd, _, true) | (Found::Behind, ..) => self.history(through).await,
        }
    }

    /// The rows behind a place, read for this reader alone, as far as anything is acknowledged.
    pub(super) async fn history(&self, through: Position) -> Result<Next, NodeError> {
        let following = &self.feed.following;
        if let Some(page) = following.shelf.get(self.number, through).filter(|page| page.is_current()) {
            let end = page.rows().through;
            return Ok(Next::Page(page, end));
        }
        let _turn = following.catching_up.acquire().await.map_err(|_| NodeError::Draining)?;
        let read = GlobalRead { after: through, limit: HISTORY_ROWS, filter: self.filter.clone() };
        let page = self.feed.readers.wait(ReadFeed { store: Arc::clone(&self.feed.store), read }).await??;
        let (end, is_empty) = (page.rows().through, page.rows().is_empty());
        let page = Arc::new(page);
        if !is_empty {
            following.shelf.put(self.number, through, &page);
        }
        Ok(Next::Page(page, end))
    }

    /// Nothing more is wanted of its page.
    pub(super) fn finished(&self) {
        self.feed.following.shelf.remove(self.number);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.finished();
        let mut state = self.feed.state.lock();
        state.followers = state.followers.saturating_sub(1);
        if state.followers == 0 {
            drop(state);
            // the pump ends without waiting for its second
            self.feed.bell.rung.notify_one();
        }
    }
}
