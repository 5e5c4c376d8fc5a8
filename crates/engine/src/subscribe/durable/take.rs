//! What consumers say of events, and what is taken back from them.

use super::{Durable, Entry, PAUSE_FIRST_US, PAUSE_MAX_US, State, holder};
use strandline_event::{Micros, Position};

impl Durable {
    /// An event was processed, and with it what the same consumer was given before it, unless `only`. Gives how many events are
    /// acknowledged by it; none where it is acknowledged already, or nobody was given it.
    ///
    /// Who says so is `consumer`, which may have gone since: of what others were given after it nothing is acknowledged. Where it is none, a
    /// subscription with one consumer takes it for that one's word, and one with several for this event alone.
    pub fn ack(&mut self, position: Position, consumer: Option<u64>, only: bool, now: Micros) -> usize {
        let Some(entry) = self.entry(position).filter(|entry| entry.nth > 0) else { return 0 };
        let (nth, to, holder) = (entry.nth, entry.to, holder(entry));
        let anybody = consumer.is_none() && self.consumers.len() <= 1;
        let mut acknowledged = vec![position];
        if !only && self.open_is(position) && (anybody || consumer == Some(to)) {
            let before = |entry: &Entry| entry.nth > 0 && entry.nth < nth && entry.state != State::Over;
            let of = |entry: &Entry| entry.to != 0 && (anybody || entry.to == to);
            let others = self.open.iter().filter(|(_, entry)| before(entry) && of(entry));
            acknowledged.extend(others.map(|(position, _)| *position));
        }
        for position in &acknowledged {
            self.end(*position);
        }
        if let Some(holder) = holder {
            self.give_time(holder, nth, now);
        }
        self.advance();
        acknowledged.len()
    }

    /// Whether somebody was given an event of which nothing final was said yet.
    #[must_use]
    pub fn was_given(&self, position: Position) -> bool {
        self.entry(position).is_some_and(|entry| entry.nth > 0)
    }

    /// A consumer that acknowledges lives: what it was given later has its time from now on.
    fn give_time(&mut self, consumer: u64, nth: u64, now: Micros) {
        let later = now.plus_us(self.settings.ack_within_us);
        for entry in self.open.values_mut().filter(|entry| entry.nth > nth && holder(entry) == Some(consumer)) {
            entry.state = State::Held { consumer, due: later };
        }
    }

    /// What stays held of a stream has its time from now on: the event before it was the one that failed.
    fn give_stream_time(&mut self, stream: u128, now: Micros) {
        let later = now.plus_us(self.settings.ack_within_us);
        let held: Vec<Position> = self.streams.get(&stream).into_iter().flat_map(|s| s.held.iter().copied()).collect();
        for position in held {
            if let Some(entry) = self.entry_mut(position)
                && let Some(consumer) = holder(entry)
            {
                entry.state = State::Held { consumer, due: later };
            }
        }
    }

    /// An event could not be processed: it is given again, later, and after the last attempt it is parked. `false`: it is with nobody.
    pub fn retry(&mut self, position: Position, reason: &str, now: Micros) -> bool {
        let Some(stream) = self.entry(position).filter(|entry| holder(entry).is_some()).map(|entry| entry.stream)
        else {
            return false;
        };
        self.fail(position, reason, now);
        // given back, with what follows in its stream: no later word of its consumer counts for them
        let back: Vec<Position> =
            self.streams.get(&stream).into_iter().flat_map(|s| s.waiting.iter().copied()).collect();
        for position in back.into_iter().chain([position]) {
            if let Some(entry) = self.entry_mut(position) {
                entry.to = 0;
            }
        }
        true
    }

    /// What a consumer was given and never left the node is taken back: it waits as before, and no attempt is counted.
    pub fn take_back(&mut self, consumer: u64, untaken: impl IntoIterator<Item = Position>, now: Micros) {
        for position in untaken {
            if self.entry(position).and_then(holder) != Some(consumer) {
                continue;
            }
            self.wait(position, now);
            if let Some(entry) = self.entry_mut(position) {
                entry.to = 0;
                if entry.failures == 0 {
                    entry.nth = 0;
                }
            }
        }
    }

    /// An event is set aside now. `false`: it was never given, or is done.
    pub fn park(&mut self, position: Position, reason: &str, now: Micros) -> bool {
        let Some(entry) = self.entry(position).filter(|e| e.nth > 0) else { return false };
        let attempts = entry.failures + 1;
        if self.parked.len() >= self.parked_max && !self.parked.contains_key(&position) {
            return false;
        }
        self.set_aside(position, attempts, reason, now);
        true
    }

    /// Parked events are to be given again: one, or all. Gives how many.
    pub fn replay(&mut self, only: Option<Position>, now: Micros) -> usize {
        let mut count = 0;
        for (position, parked) in &mut self.parked {
            if only.is_none_or(|only| only == *position) && parked.replay.is_none() {
                parked.replay =
                    Some(Entry { stream: 0, state: State::Waiting { from: now }, failures: 0, nth: 0, to: 0 });
                count += 1;
            }
        }
        count
    }

    /// Takes back what was held for too long.
    pub fn tick(&mut self, now: Micros) {
        let is_late = |entry: &Entry| matches!(entry.state, State::Held { due, .. } if due <= now);
        let open = self.open.iter().filter(|(_, entry)| is_late(entry)).map(|(position, _)| *position);
        let replays = self.parked.iter().filter(|(_, parked)| parked.replay.as_ref().is_some_and(is_late));
        let late: Vec<Position> = open.chain(replays.map(|(position, _)| *position)).collect();
        for position in late {
            // one before it of the same stream may have taken it back, or given it time
            if self.entry(position).is_some_and(is_late) {
                self.fail(position, "no acknowledgement in time", now);
            }
        }
    }

    /// When to look again: something held is late then, or something that waits is due.
    #[must_use]
    pub fn next_moment(&self) -> Option<Micros> {
        let moment = |entry: &Entry| match entry.state {
            State::Waiting { from } => Some(from),
            State::Held { due, .. } => Some(due),
            State::Over => None,
        };
        let replays = self.parked.values().filter_map(|parked| moment(parked.replay.as_ref()?));
        self.open.values().filter_map(moment).chain(replays).min()
    }

    pub(super) fn fail(&mut self, position: Position, reason: &str, now: Micros) {
        let has_room = self.parked.len() < self.parked_max;
        let (attempts_max, is_replay) = (self.settings.attempts_max, !self.open_is(position));
        let Some(entry) = self.entry_mut(position) else { return };
        entry.failures = entry.failures.saturating_add(1);
        let (failures, stream) = (entry.failures, entry.stream);
        if failures >= attempts_max && (is_replay || has_room) {
            self.set_aside(position, failures, reason, now);
            self.give_stream_time(stream, now);
            return;
        }
        let pause = PAUSE_FIRST_US.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(PAUSE_MAX_US);
        self.wait(position, now.plus_us(pause));
        if is_replay {
            return;
        }
        // what was given of the stream behind it is given again behind it
        let later = self.streams.get(&stream).map(|s| s.held.range(position..).copied().collect::<Vec<_>>());
        for position in later.unwrap_or_default() {
            self.wait(position, now);
        }
    }
}
