//! Which event goes to whom: reading on, going back to what waits, replays.

use super::{Durable, Entry, Offer, PAUSE_FIRST_US, PAUSE_MAX_US, State, Stream, WINDOW};
use crate::subscribe::cursor::Cursor;
use strandline_event::{Micros, Position};

enum Choice {
    Consumer(u64),
    /// The consumer that the stream is bound to holds all that it may.
    ItsOwnIsFull,
    Nobody,
}

impl Durable {
    /// Goes back to the first event that waits and can be given now, if there is one. Call it before reading on.
    pub fn go_back(&mut self, now: Micros) {
        let has_room = self.has_room();
        let ready = |stream: &Stream| {
            let first = stream.waiting.first().copied().filter(|first| self.open.contains_key(first))?;
            let room = if stream.held.is_empty() { has_room } else { self.has_room_for(stream.consumer) };
            (room && self.is_due(first, now)).then_some(first)
        };
        let Some(first) = self.streams.values().filter_map(ready).min() else { return };
        if first <= self.cursor.at() {
            (self.cursor, self.last) = (Cursor::new(first.before()), first.before());
        }
    }

    fn is_due(&self, position: Position, now: Micros) -> bool {
        self.entry(position).is_some_and(|entry| matches!(entry.state, State::Waiting { from } if from <= now))
    }

    fn has_room_for(&self, consumer: u64) -> bool {
        self.consumers.get(&consumer).is_some_and(|load| load.has_room())
    }

    fn has_room(&self) -> bool {
        self.consumers.values().any(|load| load.has_room())
    }

    /// The next event in the global order that the filter keeps. Every one behind the cursor must be offered, in order.
    pub fn offer(&mut self, position: Position, stream: u128, now: Micros) -> Offer {
        let offer = self.judge(position, stream, now);
        if offer != Offer::Full {
            self.forget_gone(position.before());
            self.last = position;
            self.seen = self.seen.max(position);
            self.cursor.gave(position);
        }
        offer
    }

    fn judge(&mut self, position: Position, stream: u128, now: Micros) -> Offer {
        if position <= self.done {
            return Offer::Pass;
        }
        let known = self.open.get(&position).map(|entry| entry.state);
        if matches!(known, Some(State::Held { .. } | State::Over)) {
            return Offer::Pass;
        }
        let is_new = known.is_none();
        if is_new && self.open.len() >= WINDOW {
            return Offer::Full;
        }
        if is_new && self.parked.contains_key(&position) {
            // parked before the last start, out of turn: it is given again only by a replay
            self.open.insert(position, Entry { stream, state: State::Over, failures: 0, nth: 0, to: 0 });
            return Offer::Pass;
        }
        let waits_behind = self.streams.get(&stream).and_then(|s| s.waiting.first()).is_some_and(|w| *w < position);
        let is_early = matches!(known, Some(State::Waiting { from }) if from > now);
        if waits_behind || is_early {
            if is_new {
                self.remember(position, stream, now);
            }
            return Offer::Pass;
        }
        match self.choose(stream) {
            Choice::Consumer(consumer) => {
                if is_new {
                    self.remember(position, stream, now);
                }
                self.hold(position, consumer, now)
            }
            Choice::ItsOwnIsFull => {
                if is_new {
                    self.remember(position, stream, now);
                }
                Offer::Pass
            }
            Choice::Nobody => Offer::Full,
        }
    }

    fn remember(&mut self, position: Position, stream: u128, from: Micros) {
        self.open.insert(position, Entry { stream, state: State::Waiting { from }, failures: 0, nth: 0, to: 0 });
        self.streams.entry(stream).or_default().waiting.insert(position);
    }

    /// Whom an event of a stream goes to: who holds others of it, else who is first for it among those with room.
    fn choose(&self, stream: u128) -> Choice {
        if !self.has_room() {
            return Choice::Nobody;
        }
        if let Some(bound) = self.streams.get(&stream).filter(|s| !s.held.is_empty()) {
            return if self.has_room_for(bound.consumer) {
                Choice::Consumer(bound.consumer)
            } else {
                Choice::ItsOwnIsFull
            };
        }
        // the highest mix of stream and consumer: a consumer that comes or goes moves few streams
        let mix = |consumer: u64| {
            let mut x = (stream as u64) ^ consumer.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x ^ (x >> 31)
        };
        let free = self.consumers.iter().filter(|(_, load)| load.has_room()).map(|(consumer, _)| *consumer);
        free.max_by_key(|consumer| mix(*consumer)).map_or(Choice::Nobody, Choice::Consumer)
    }

    fn hold(&mut self, position: Position, consumer: u64, now: Micros) -> Offer {
        self.deliveries += 1;
        let (nth, due) = (self.deliveries, now.plus_us(self.settings.ack_within_us));
        let Some(entry) = self.entry_mut(position) else { return Offer::Pass };
        (entry.state, entry.nth, entry.to) = (State::Held { consumer, due }, nth, consumer);
        let (stream, attempt) = (entry.stream, entry.failures + 1);
        let stream = self.streams.entry(stream).or_default();
        stream.consumer = consumer;
        stream.waiting.remove(&position);
        stream.held.insert(position);
        self.consumers.entry(consumer).or_default().held += 1;
        Offer::Deliver(consumer, attempt)
    }

    /// Everything up to `next` was offered or not asked for; nothing lies between it and `through`.
    pub fn examined(&mut self, next: Position, through: Position) {
        self.forget_gone(through);
        self.last = self.last.max(through);
        self.cursor.finished(next, through);
        self.advance();
    }

    /// What waits between the last event that was offered and this place is there no more: retention removed it.
    fn forget_gone(&mut self, through: Position) {
        if self.last >= through {
            return;
        }
        let after = std::ops::Bound::Excluded(self.last);
        let gone: Vec<Position> = self
            .open
            .range((after, std::ops::Bound::Included(through)))
            .filter(|(_, entry)| matches!(entry.state, State::Waiting { .. }))
            .map(|(position, _)| *position)
            .collect();
        for position in gone {
            self.end(position);
        }
        self.advance();
    }

    /// The next parked event that is to be read and offered again.
    #[must_use]
    pub fn next_replay(&self, now: Micros) -> Option<Position> {
        if !self.has_room() {
            return None;
        }
        let is_due = |entry: &Entry| matches!(entry.state, State::Waiting { from } if from <= now);
        let mut parked = self.parked.iter();
        parked.find(|(_, parked)| parked.replay.as_ref().is_some_and(is_due)).map(|(position, _)| *position)
    }

    /// The event of [`next_replay`](Self::next_replay) cannot be read now: it is looked for again later, others are meanwhile. That is no attempt.
    pub fn put_off_replay(&mut self, position: Position, now: Micros) {
        let replay = self.parked.get_mut(&position).and_then(|parked| parked.replay.as_mut());
        if let Some(entry) = replay.filter(|entry| matches!(entry.state, State::Waiting { .. })) {
            entry.state = State::Waiting { from: now.plus_us(PAUSE_MAX_US) };
        }
    }

    /// The event of [`next_replay`](Self::next_replay) was read; `None`: it is there no more.
    pub fn offer_replay(&mut self, position: Position, stream: Option<u128>, now: Micros) -> Offer {
        let Some(stream) = stream else {
            self.unpark(position);
            return Offer::Pass;
        };
        let choice = self.choose(stream);
        let Some(entry) = self.parked.get_mut(&position).and_then(|parked| parked.replay.as_mut()) else {
            return Offer::Pass;
        };
        entry.stream = stream;
        match choice {
            Choice::Consumer(consumer) => self.hold(position, consumer, now),
            // its stream is with somebody who has no room: a little later
            Choice::ItsOwnIsFull => {
                entry.state = State::Waiting { from: now.plus_us(PAUSE_FIRST_US) };
                Offer::Pass
            }
            Choice::Nobody => Offer::Full,
        }
    }
}
