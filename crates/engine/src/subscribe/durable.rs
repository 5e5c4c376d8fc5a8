//! A named subscription: its position, who has which event, what failed, what is parked.
//!
//! ```text
//!            offer                    ack                       done moves over what is
//!  read on ---------> held by one ---------> acknowledged  -->  acknowledged or parked
//!     ^  waiting <------- fail, time-out, its consumer is gone
//!     |     |                    `-- the last attempt --> parked --replay--> held by one
//!     `-----'  order of the stream: an event waits behind an earlier one of its stream that waits
//! ```
//!
//! Invariants: at or before `done` everything is acknowledged, parked or not asked for; events of one stream are with one consumer at
//! a time and go out in their order; an event is given again until it is acknowledged or parked; what is remembered behind `done` is at
//! most [`WINDOW`] events, of which only places are held. It knows no clock, no file, no connection.

mod give;
mod take;

use super::cursor::Cursor;
use super::record::Change;
use crate::read::Filter;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use strandline_event::{EventRef, Micros, Position};

/// Events behind `done` that are remembered at most; reading on waits for the oldest.
pub const WINDOW: usize = 4096;
/// Events that one consumer holds at most.
pub const HELD_MAX: usize = 256;
/// Events that are parked at most: then none is parked any more, and the last attempt is made again and again.
pub const PARKED_MAX: usize = 10_000;
/// The same where the nodes of a cluster remember it: all of it is written with each change.
pub const PARKED_MAX_CLUSTER: usize = 200;
/// Pause before the second attempt; each further one waits twice as long.
const PAUSE_FIRST_US: i64 = 100_000;
const PAUSE_MAX_US: i64 = 30_000_000;

/// How an append sees the subscription, where the store's `projection.mode` is sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// It follows.
    #[default]
    Async,
    /// An append is answered when it has acknowledged.
    Sync,
}

/// What a subscription was made with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Which events.
    pub filter: Filter,
    /// How appends see it.
    pub mode: Mode,
    /// Attempts before an event is parked.
    pub attempts_max: u32,
    /// How long a consumer may hold an event, microseconds.
    pub ack_within_us: i64,
}

/// What becomes of an event that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    /// It goes to this consumer; which attempt it is, from 1.
    Deliver(u64, u32),
    /// Nobody gets it now: it is with somebody, done, or waits for its turn.
    Pass,
    /// Nothing can be given to anybody: read on later, from here.
    Full,
}

/// An event that is parked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parked {
    /// Attempts that failed.
    pub attempts: u32,
    /// When it was parked.
    pub at: Micros,
    /// Why.
    pub reason: String,
    replay: Option<Entry>,
}

impl Parked {
    /// Whether it is to be given again.
    #[must_use]
    pub const fn is_replayed(&self) -> bool {
        self.replay.is_some()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Waiting { from: Micros },
    Held { consumer: u64, due: Micros },
    Over,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    stream: u128,
    state: State,
    failures: u32,
    /// Number of its last delivery; 0: it was never given.
    nth: u64,
    /// Whom it was given to last; 0: nobody, or somebody who gave it back.
    to: u64,
}

/// A stream of which something is held or waits.
#[derive(Debug, Default)]
struct Stream {
    consumer: u64,
    held: BTreeSet<Position>,
    waiting: BTreeSet<Position>,
}

/// What a consumer has.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    /// Events that it holds.
    held: usize,
    /// Its connection takes nothing more now.
    is_full: bool,
}

impl Load {
    const fn has_room(self) -> bool {
        self.held < HELD_MAX && !self.is_full
    }
}

/// Numbers of a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Consumers.
    pub consumers: usize,
    /// Events that they hold.
    pub in_flight: usize,
    /// Events that wait to be given again.
    pub waiting: usize,
    /// Events that are parked.
    pub parked: usize,
}

/// The state.
#[derive(Debug)]
pub struct Durable {
    /// As it was made.
    pub settings: Settings,
    done: Position,
    cursor: Cursor,
    /// The last event that was offered in this pass over the order, and the last one ever.
    last: Position,
    seen: Position,
    open: BTreeMap<Position, Entry>,
    streams: HashMap<u128, Stream>,
    consumers: BTreeMap<u64, Load>,
    parked: BTreeMap<Position, Parked>,
    parked_max: usize,
    deliveries: u64,
    changes: Vec<Change>,
}

impl Durable {
    /// As it stands after a start.
    #[must_use]
    pub fn new(settings: Settings, done: Position, parked: Vec<(Position, Micros, u32, String)>) -> Self {
        let parked =
            parked.into_iter().map(|(p, at, attempts, reason)| (p, Parked { attempts, at, reason, replay: None }));
        Self {
            settings,
            done,
            cursor: Cursor::new(done),
            last: done,
            seen: done,
            open: BTreeMap::new(),
            streams: HashMap::new(),
            consumers: BTreeMap::new(),
            parked: parked.collect(),
            parked_max: PARKED_MAX,
            deliveries: 0,
            changes: Vec::new(),
        }
    }

    /// So many events are parked at most.
    #[must_use]
    pub fn parking(self, parked_max: usize) -> Self {
        Self { parked_max, ..self }
    }

    /// Everything up to here is acknowledged, parked, or not asked for.
    #[must_use]
    pub const fn done(&self) -> Position {
        self.done
    }

    /// Where to read on.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The oldest event that was read and is not over: somebody holds it, or it waits to be given.
    #[must_use]
    pub fn first_open(&self) -> Option<Position> {
        self.open.iter().find(|(_, entry)| entry.state != State::Over).map(|(position, _)| *position)
    }

    /// Everything up to here was read: what is asked for of it is over, or [open](Self::first_open).
    #[must_use]
    pub fn read_through(&self) -> Position {
        // the cursor may have gone back to what waits
        self.cursor.through().max(self.seen)
    }

    /// Whether an event that was not read yet will be given to somebody.
    #[must_use]
    pub fn wants(&self, event: &EventRef<'_>) -> bool {
        self.settings.filter.matches(event) && !self.parked.contains_key(&event.position())
    }

    /// Parked events.
    pub fn parked(&self) -> impl Iterator<Item = (Position, &Parked)> {
        self.parked.iter().map(|(position, parked)| (*position, parked))
    }

    /// What is acknowledged behind [`done`](Self::done), in order.
    pub fn acknowledged(&self) -> impl Iterator<Item = Position> {
        let is_over = move |(position, entry): &(&Position, &Entry)| {
            entry.state == State::Over && !self.parked.contains_key(*position)
        };
        self.open.iter().filter(is_over).map(|(position, _)| *position)
    }

    /// Numbers.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let in_state = |wanted: fn(&State) -> bool| self.open.values().filter(|e| wanted(&e.state)).count();
        Counts {
            consumers: self.consumers.len(),
            in_flight: self.consumers.values().map(|load| load.held).sum(),
            waiting: in_state(|s| matches!(s, State::Waiting { .. })),
            parked: self.parked.len(),
        }
    }

    /// What must be on disk before anybody is told of it; taken once.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// A consumer comes. Its number is new.
    pub fn join(&mut self, consumer: u64) {
        self.consumers.insert(consumer, Load::default());
    }

    /// Whether a consumer's connection takes nothing more for now: it is given nothing meanwhile.
    pub fn set_full(&mut self, consumer: u64, is_full: bool) {
        if let Some(load) = self.consumers.get_mut(&consumer) {
            load.is_full = is_full;
        }
    }

    /// A consumer goes: what it holds is given to others. Of each stream the first event counts as failed.
    pub fn leave(&mut self, consumer: u64, now: Micros) {
        let of = |(_, stream): &(&u128, &Stream)| stream.consumer == consumer && !stream.held.is_empty();
        let streams: Vec<u128> = self.streams.iter().filter(of).map(|(key, _)| *key).collect();
        for key in streams {
            let held: Vec<Position> = self.streams.get(&key).into_iter().flat_map(|s| s.held.iter().copied()).collect();
            for (n, position) in held.into_iter().enumerate() {
                if n == 0 {
                    self.fail(position, "its consumer went away", now);
                } else if self.entry(position).and_then(holder) == Some(consumer) {
                    self.wait(position, now);
                }
            }
        }
        self.consumers.remove(&consumer);
    }

    /// A consumer goes, since nothing more can be given to it: what it holds is given again, and counts as no attempt. What it still says of it holds.
    pub fn dismiss(&mut self, consumer: u64, now: Micros) {
        let of = self.streams.values().filter(|stream| stream.consumer == consumer);
        let held: Vec<Position> = of.flat_map(|stream| stream.held.iter().copied()).collect();
        for position in held {
            if self.entry(position).and_then(holder) == Some(consumer) {
                self.wait(position, now);
            }
        }
        self.consumers.remove(&consumer);
    }

    fn entry(&self, position: Position) -> Option<&Entry> {
        match self.open.get(&position) {
            Some(entry) if entry.state != State::Over => Some(entry),
            _ => self.parked.get(&position)?.replay.as_ref(),
        }
    }

    fn entry_mut(&mut self, position: Position) -> Option<&mut Entry> {
        match self.open.get_mut(&position) {
            Some(entry) if entry.state != State::Over => Some(entry),
            _ => self.parked.get_mut(&position)?.replay.as_mut(),
        }
    }

    fn open_is(&self, position: Position) -> bool {
        self.open.get(&position).is_some_and(|entry| entry.state != State::Over)
    }

    /// Takes an event back from who holds it.
    fn wait(&mut self, position: Position, from: Micros) {
        self.release(position);
        let is_open = self.open_is(position);
        let Some(entry) = self.entry_mut(position) else { return };
        entry.state = State::Waiting { from };
        let stream = entry.stream;
        if is_open {
            self.streams.entry(stream).or_default().waiting.insert(position);
        }
    }

    /// Nobody holds it, and it does not wait.
    fn release(&mut self, position: Position) {
        let Some(entry) = self.entry(position) else { return };
        let (holder, stream) = (holder(entry), entry.stream);
        if let Some(load) = holder.and_then(|consumer| self.consumers.get_mut(&consumer)) {
            load.held = load.held.saturating_sub(1);
        }
        if let Some(of) = self.streams.get_mut(&stream) {
            of.held.remove(&position);
            of.waiting.remove(&position);
            if of.held.is_empty() && of.waiting.is_empty() {
                self.streams.remove(&stream);
            }
        }
    }

    /// It is acknowledged, or there is nothing to acknowledge.
    fn end(&mut self, position: Position) {
        self.release(position);
        if self.open_is(position) {
            if let Some(entry) = self.open.get_mut(&position) {
                entry.state = State::Over;
            }
        } else {
            self.unpark(position);
        }
    }

    fn unpark(&mut self, position: Position) {
        if self.parked.remove(&position).is_some() {
            self.changes.push(Change::Unparked(position));
        }
    }

    fn set_aside(&mut self, position: Position, attempts: u32, reason: &str, now: Micros) {
        self.release(position);
        if let Some(entry) = self.open.get_mut(&position) {
            entry.state = State::Over;
        }
        let parked = Parked { attempts, at: now, reason: reason.to_owned(), replay: None };
        self.parked.insert(position, parked);
        self.changes.push(Change::Parked { position, at: now, attempts, reason: reason.to_owned() });
        self.advance();
    }

    /// Moves `done` over what is over.
    fn advance(&mut self) {
        let before = self.done;
        while let Some(first) = self.open.first_entry().filter(|first| first.get().state == State::Over) {
            self.done = self.done.max(*first.key());
            first.remove();
        }
        if self.open.is_empty() && self.cursor.at() >= self.seen {
            self.done = self.done.max(self.cursor.at());
        }
        if self.done > before {
            // one that was not taken yet is passed by
            if matches!(self.changes.last(), Some(Change::Moved(_))) {
                self.changes.pop();
            }
            self.changes.push(Change::Moved(self.done));
        }
    }

    /// Whether an event was acknowledged (parked is not).
    #[must_use]
    pub fn has_confirmed(&self, position: Position) -> bool {
        let over = self.open.get(&position).is_some_and(|entry| entry.state == State::Over);
        (position <= self.done || over) && !self.parked.contains_key(&position)
    }
}

const fn holder(entry: &Entry) -> Option<u64> {
    match entry.state {
        State::Held { consumer, .. } => Some(consumer),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
