//! Moments that a log assigns, and moments that are closed.
//!
//! ```text
//!  one log:    ...assigned and visible... | first in flight ... last assigned |  next base >= max(now, last+1, floor+1)
//!                                        ^ closed here while something is in flight
//!                                                           idle: closed at the target, and the floor rises to it
//!  the store:  closed = the smallest of all logs; target = the newest moment that is visible
//! ```
//!
//! A reader wants nothing closed above the newest event that is visible, and nothing is: a node that leads a log from now on, with a clock that is behind,
//! has heard of that event, but not up to where the clock of another one had come.
//!
//! A reader that follows the global order ends its page at the closed moment, so it never misses an event that
//! commits later. Invariant: nothing is ever assigned at or below a moment that [`ClosedClocks::close`] gave,
//! and every event at or below it is visible. A restart forgets closed moments (it starts above the newest event),
//! so what a reader keeps to resume from is the position of an event, and a closed moment only where it may know of none ([`ClosedClocks::mark`]).

use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use strandline_event::{LogIndex, Micros};

/// How long before a reader begins the moment lies that it may keep where it may know of no event.
const MARK_AGO_US: i64 = 1_000_000;
/// How long before now a log of another leader is closed though no event is as new, so that a reader that begins soon has that moment.
const HEARD_AGO_US: i64 = 500_000;
/// Nobody is held for so little: nobody else knows the clock as exactly.
const AHEAD_MIN_US: i64 = 1_000;
/// Batches that are taken as fast as they come do not take moments so far ahead: the clock was set back.
const AHEAD_MAX_US: i64 = 4_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flight {
    On,
    Visible,
    /// It is nowhere.
    Gone,
}

/// A batch whose moments are assigned.
#[derive(Debug)]
struct InFlight {
    index: LogIndex,
    base: Micros,
    end: Micros,
    /// What became of it, out of turn.
    flight: Flight,
}

#[derive(Debug)]
struct State {
    /// Nothing is assigned at or below it.
    floor: Micros,
    /// The largest moment that was assigned.
    last: Micros,
    /// When a clock that goes on from each batch will have passed as many moments as this node's batches have taken.
    taken: Micros,
    /// The largest one that is visible.
    seen: Micros,
    /// Accepted batches that are not visible yet, oldest first.
    in_flight: VecDeque<InFlight>,
    /// Another node assigns: nobody here knows what comes above what is visible, and above this moment, up to which it has closed the log.
    follows: bool,
    heard: Micros,
}

/// Rung whenever a page of the global order may hold more than before; who waits for that hangs it up, once.
#[derive(Default)]
struct Bell(OnceLock<Box<dyn Fn() + Send + Sync>>);

impl Bell {
    fn ring(&self) {
        if let Some(ring) = self.0.get() {
            ring();
        }
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bell")
    }
}

/// The clock of one log. Its owner assigns; readers close.
#[derive(Debug)]
pub struct LogClock {
    state: Mutex<State>,
    /// The newest moment, in microseconds, of all logs of the store that other nodes assign in: a clock that is behind theirs must not
    /// assign below what readers of the global order have passed.
    elsewhere: Arc<AtomicI64>,
    /// The same of all logs of the store.
    anywhere: Arc<AtomicI64>,
    /// The largest `taken` of them.
    taken: Arc<AtomicI64>,
    bell: Arc<Bell>,
}

impl LogClock {
    fn new(state: State, [elsewhere, anywhere, taken]: [Arc<AtomicI64>; 3], bell: Arc<Bell>) -> Self {
        Self { state: Mutex::new(state), elsewhere, anywhere, taken, bell }
    }

    /// Assigns a batch's moments: from the result to `span_us` after it. The batch is in flight until
    /// [`visible`](Self::visible).
    pub fn assign(&self, now: Micros, span_us: u32, index: LogIndex) -> Micros {
        let mut state = self.state.lock();
        let base = state.next(now.max(self.elsewhere()));
        state.last = base.plus_us(i64::from(span_us));
        let end = state.last;
        state.taken = state.taken.max(now).plus_us(i64::from(span_us) + 1);
        self.taken.fetch_max(state.taken.0, Ordering::Relaxed);
        self.anywhere.fetch_max(end.0, Ordering::Relaxed);
        state.in_flight.push_back(InFlight { index, base, end, flight: Flight::On });
        base
    }

    /// What [`assign`](Self::assign) would give. Nothing changes.
    #[must_use]
    pub fn peek(&self, now: Micros) -> Micros {
        self.state.lock().next(now.max(self.elsewhere()))
    }

    /// By how many microseconds the next moment would be ahead of the clock, since batches here have taken as many. `None`: by few, or for another
    /// reason: a clock was set back, or another node's is ahead.
    #[must_use]
    pub fn ahead_us(&self, now: Micros) -> Option<u64> {
        let clock = now.max(self.elsewhere());
        let next = self.state.lock().next(clock);
        let taken = self.taken.load(Ordering::Relaxed).saturating_sub(now.0);
        let ahead = taken.min(next.0.saturating_sub(clock.0));
        (ahead > AHEAD_MIN_US && taken <= AHEAD_MAX_US).then_some(ahead.unsigned_abs())
    }

    fn elsewhere(&self) -> Micros {
        Micros(self.elsewhere.load(Ordering::Relaxed)).plus_us(1)
    }

    /// A batch became visible to every reader.
    pub fn visible(&self, index: LogIndex) {
        self.all_visible(std::iter::once(index));
    }

    /// Batches became visible to every reader: rings once for all.
    pub fn all_visible(&self, indices: impl Iterator<Item = LogIndex>) {
        self.landed(indices, Flight::Visible);
    }

    /// The same of batches that will never be visible.
    pub fn all_gone(&self, indices: impl Iterator<Item = LogIndex>) {
        self.landed(indices, Flight::Gone);
    }

    fn landed(&self, indices: impl Iterator<Item = LogIndex>, flight: Flight) {
        let mut indices = indices.peekable();
        if indices.peek().is_none() {
            return;
        }
        let mut state = self.state.lock();
        indices.for_each(|index| state.landed(index, flight));
        drop(state);
        self.bell.ring();
    }

    /// An event that was found at start, or came from a leader, has this moment: everything later is above.
    pub fn observe(&self, moment: Micros) {
        let mut state = self.state.lock();
        (state.last, state.seen) = (state.last.max(moment), state.seen.max(moment));
        self.anywhere.fetch_max(moment.0, Ordering::Relaxed);
        if state.follows {
            self.elsewhere.fetch_max(moment.0, Ordering::Relaxed);
        }
        drop(state);
        self.bell.ring();
    }

    /// Whether this node assigns. Of a log that another node assigns in nothing is closed above what came from there. Who begins to assign begins above
    /// all events that it has of any log: who led before may have closed this one up to there.
    pub fn set_leads(&self, leads: bool) {
        let mut state = self.state.lock();
        let began = leads && state.follows;
        state.follows = !leads;
        if began {
            state.floor = state.floor.max(Micros(self.anywhere.load(Ordering::Relaxed)));
        }
        if !leads {
            self.elsewhere.fetch_max(state.last.0, Ordering::Relaxed);
        }
    }

    /// Nothing is assigned at or below the result from now on, and everything at or below it is visible.
    #[must_use]
    pub fn close(&self, now: Micros) -> Micros {
        self.close_as(now, false)
    }

    /// `is_new`: nobody has assigned in this log yet.
    fn close_as(&self, now: Micros, is_new: bool) -> Micros {
        let mut state = self.state.lock();
        let open = state.in_flight.front().map(|first| first.base.plus_us(-1));
        if state.follows && !is_new {
            let known = state.seen.max(state.heard);
            return open.map_or(known, |open| open.min(known));
        }
        if let Some(open) = open {
            return open;
        }
        state.floor = state.floor.max(now).max(state.last);
        state.floor
    }

    /// The node that assigns has closed up to this moment, and everything up to it is visible here.
    pub fn closed_elsewhere(&self, moment: Micros) {
        let mut state = self.state.lock();
        if state.follows {
            (state.heard, state.floor) = (state.heard.max(moment), state.floor.max(moment));
        }
        drop(state);
        self.bell.ring();
    }

    /// Whether this node assigns.
    #[must_use]
    pub fn leads(&self) -> bool {
        !self.state.lock().follows
    }

    /// The largest assigned moment.
    #[must_use]
    pub fn last(&self) -> Micros {
        self.state.lock().last
    }

    /// The largest moment that is visible.
    #[must_use]
    pub fn seen(&self) -> Micros {
        self.state.lock().seen
    }
}

impl State {
    fn landed(&mut self, index: LogIndex, flight: Flight) {
        // as a rule it is the oldest one
        let is_oldest = self.in_flight.front().is_some_and(|oldest| oldest.index == index);
        let at = if is_oldest { Ok(0) } else { self.in_flight.binary_search_by_key(&index, |entry| entry.index) };
        if let Ok(at) = at
            && let Some(entry) = self.in_flight.get_mut(at)
            && entry.flight == Flight::On
        {
            entry.flight = flight;
        }
        while let Some(first) = self.in_flight.pop_front_if(|first| first.flight != Flight::On) {
            if first.flight == Flight::Visible {
                self.seen = self.seen.max(first.end);
            }
        }
    }

    fn next(&self, now: Micros) -> Micros {
        now.max(self.floor.plus_us(1)).max(self.last.plus_us(1))
    }
}

#[derive(Debug)]
struct Logs {
    clocks: Vec<Arc<LogClock>>,
    floor: Micros,
}

/// The clocks of all logs of a store.
#[derive(Debug)]
pub struct ClosedClocks {
    logs: RwLock<Logs>,
    elsewhere: Arc<AtomicI64>,
    anywhere: Arc<AtomicI64>,
    taken: Arc<AtomicI64>,
    /// The largest moment that was given out as closed.
    closed: Mutex<Micros>,
    bell: Arc<Bell>,
}

impl ClosedClocks {
    /// `floor`: the largest ingested_at of the whole store, logs and manifest.
    #[must_use]
    pub fn new(floor: Micros) -> Arc<Self> {
        let logs = RwLock::new(Logs { clocks: Vec::new(), floor });
        let [elsewhere, anywhere, taken] =
            [Micros::MIN, floor, Micros::MIN].map(|moment| Arc::new(AtomicI64::new(moment.0)));
        Arc::new(Self { logs, elsewhere, anywhere, taken, closed: Mutex::new(Micros::MIN), bell: Arc::default() })
    }

    /// The clock of one more log. It starts above everything that was ever closed.
    pub fn open_log(&self) -> Arc<LogClock> {
        self.open(false)
    }

    /// The same of a log that another node may lead: of other logs the store may hold newer events than what has come of this one, so nothing of it is
    /// closed before it is [observed](LogClock::observe).
    pub fn open_replica(&self) -> Arc<LogClock> {
        self.open(true)
    }

    fn open(&self, follows: bool) -> Arc<LogClock> {
        let mut logs = self.logs.write();
        let (floor, last) = (logs.floor.max(*self.closed.lock()), logs.floor);
        let seen = if follows { Micros::MIN } else { last };
        if follows {
            self.elsewhere.fetch_max(last.0, Ordering::Relaxed);
        }
        let taken = Micros::MIN;
        let state = State { floor, last, taken, seen, in_flight: VecDeque::new(), follows, heard: Micros::MIN };
        let shared = [&self.elsewhere, &self.anywhere, &self.taken].map(Arc::clone);
        let clock = Arc::new(LogClock::new(state, shared, Arc::clone(&self.bell)));
        logs.clocks.push(Arc::clone(&clock));
        clock
    }

    /// Another node has assigned this moment, in a log that may not be here: what this one assigns is above, and readers elsewhere have its logs closed up
    /// to there.
    pub fn heard_of(&self, moment: Micros) {
        for newest in [&self.elsewhere, &self.anywhere] {
            newest.fetch_max(moment.0, Ordering::Relaxed);
        }
    }

    /// Hangs up the bell: it is called whenever events became visible, in the thread of whoever made them so. `false`: one hangs there.
    pub fn hang_bell(&self, ring: Box<dyn Fn() + Send + Sync>) -> bool {
        self.bell.0.set(ring).is_ok()
    }

    /// Rings it: reads may see more than before though no log moved (a manifest was committed).
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// The largest moment of all events that are visible.
    #[must_use]
    pub fn newest(&self) -> Micros {
        let logs = self.logs.read();
        logs.clocks.iter().map(|clock| clock.seen()).fold(logs.floor, Micros::max)
    }

    /// The largest moment that readers may have passed here: that of what is visible, or what was given out as closed.
    #[must_use]
    pub fn passed(&self) -> Micros {
        let newest = self.newest();
        newest.max(*self.closed.lock())
    }

    /// Behind what a reader begins that wants what comes: everything above it comes to who follows the order. It is no moment above the newest
    /// event, so it may be kept over a restart; and none above the closed one, where a log has assigned what nobody sees yet.
    #[must_use]
    pub fn end(&self) -> Micros {
        self.close().min(self.newest())
    }

    /// What a reader keeps that begins at the end and may be told of no event of others: a moment shortly before `now`, and of nothing else.
    /// Everything up to it is visible, and nothing is assigned there any more; `None`: a log is not closed so far. A clock that is set back by more than
    /// that while nobody serves the store assigns below it, which [`end`](Self::end) rules out.
    #[must_use]
    pub fn mark(&self, now: Micros) -> Option<Micros> {
        let mark = now.plus_us(-MARK_AGO_US);
        (self.close_from(mark) >= mark).then_some(mark)
    }

    /// How far readers want logs closed that other nodes lead: not above the newest event, but up to what they [mark](Self::mark) within half a second.
    #[must_use]
    pub fn wanted(&self, now: Micros) -> Micros {
        self.newest().max(now.plus_us(-HEARD_AGO_US))
    }

    /// Closes one log for readers of other nodes, who [want](Self::wanted) what they see of it: where moments of any log that are known here are ahead of
    /// `now`, up to these. See [`LogClock::close`].
    #[must_use]
    pub fn close_for_others(&self, log: &LogClock, now: Micros) -> Micros {
        log.close(now.max(Micros(self.anywhere.load(Ordering::Relaxed))))
    }

    /// The same of a log that takes nothing yet, since its group is being made, at the node that would assign first: that may take long, where one that
    /// shall vote is away, and the order of all waits for no event of it.
    #[must_use]
    pub fn close_new_for_others(&self, log: &LogClock, now: Micros) -> Micros {
        log.close_as(now.max(Micros(self.anywhere.load(Ordering::Relaxed))), true)
    }

    /// Closes at the newest moment that is visible, or below the first event that is in flight. Never falls.
    pub fn close(&self) -> Micros {
        self.close_from(Micros::MIN)
    }

    /// The same, at this moment where it is above the newest one.
    fn close_from(&self, least: Micros) -> Micros {
        let logs = self.logs.read();
        let target = logs.clocks.iter().map(|c| c.seen()).fold(least.max(logs.floor), Micros::max);
        let smallest = logs.clocks.iter().map(|c| c.close(target)).fold(target, Micros::min);
        let mut closed = self.closed.lock();
        *closed = closed.max(smallest);
        *closed
    }
}

#[cfg(test)]
mod tests;
