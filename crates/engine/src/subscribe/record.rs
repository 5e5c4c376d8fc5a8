//! What a server remembers of named subscriptions, as bytes: see SUBSCRIPTIONS.md, section 2.
//!
//! The records say what happened; folding them gives what is there. The file around them belongs to who writes it.

use super::durable::{Mode, Settings};
use crate::read::Filter;
use std::collections::{BTreeMap, BTreeSet};
use strandline_event::{EventId, Micros, Position};

const CREATED: u8 = 1;
const MOVED: u8 = 2;
const PARKED: u8 = 3;
const UNPARKED: u8 = 4;
const DELETED: u8 = 5;

/// A change of one subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Everything up to here is done.
    Moved(Position),
    /// An event was set aside.
    Parked {
        /// Which.
        position: Position,
        /// When.
        at: Micros,
        /// Attempts that failed.
        attempts: u32,
        /// Why.
        reason: String,
    },
    /// It was acknowledged after all, or is there no more.
    Unparked(Position),
}

/// A record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// A subscription was made.
    Created {
        /// Its number, never given twice.
        number: u32,
        /// Its name.
        name: String,
        /// When.
        at: Micros,
        /// Behind which it begins.
        after: Position,
        /// What it was made with.
        settings: Settings,
    },
    /// Something happened to one.
    Changed(u32, Change),
    /// It was deleted.
    Deleted(u32),
}

/// A subscription as its records leave it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Its number.
    pub number: u32,
    /// When it was made.
    pub at: Micros,
    /// What it was made with.
    pub settings: Settings,
    /// Everything up to here is done.
    pub done: Position,
    /// Parked events: moment, attempts, reason.
    pub parked: BTreeMap<Position, (Micros, u32, String)>,
}

/// All subscriptions of a store, by name, and the next number.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Folded {
    /// By name.
    pub all: BTreeMap<String, Kept>,
    /// Numbers below it were given.
    pub next_number: u32,
}

impl Folded {
    /// Adds what a record says.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Created { number, name, at, after, settings } => {
                self.next_number = self.next_number.max(number.saturating_add(1));
                self.all.insert(name, Kept { number, at, settings, done: after, parked: BTreeMap::new() });
            }
            Record::Deleted(number) => self.all.retain(|_, kept| kept.number != number),
            Record::Changed(number, change) => {
                let Some(kept) = self.all.values_mut().find(|kept| kept.number == number) else { return };
                match change {
                    Change::Moved(done) => kept.done = done,
                    Change::Parked { position, at, attempts, reason } => {
                        kept.parked.insert(position, (at, attempts, reason));
                    }
                    Change::Unparked(position) => drop(kept.parked.remove(&position)),
                }
            }
        }
    }
}

impl Folded {
    /// The records that make `next` of it. Where only the first ones come to be, nothing is missing that was there.
    #[must_use]
    pub fn changes_to(&self, next: &Self) -> Vec<Record> {
        let before: BTreeMap<u32, &Kept> = self.all.values().map(|kept| (kept.number, kept)).collect();
        let left: BTreeSet<u32> = next.all.values().map(|kept| kept.number).collect();
        let gone = before.keys().filter(|number| !left.contains(number));
        let mut changes: Vec<Record> = gone.map(|number| Record::Deleted(*number)).collect();
        for (name, kept) in &next.all {
            match before.get(&kept.number) {
                Some(before) => {
                    let all = before.changes_to(kept).into_iter();
                    changes.extend(all.map(|change| Record::Changed(kept.number, change)));
                }
                None => changes.extend(kept.records(name)),
            }
        }
        changes
    }
}

impl Kept {
    /// What is parked comes before the place that passes it.
    fn changes_to(&self, next: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (position, parked) in &next.parked {
            if self.parked.get(position) != Some(parked) {
                let (at, attempts, reason) = parked.clone();
                changes.push(Change::Parked { position: *position, at, attempts, reason });
            }
        }
        if self.done != next.done {
            changes.push(Change::Moved(next.done));
        }
        let unparked = self.parked.keys().filter(|position| !next.parked.contains_key(position));
        changes.extend(unparked.map(|position| Change::Unparked(*position)));
        changes
    }

    /// The fewest records that say the same.
    pub fn records(&self, name: &str) -> impl Iterator<Item = Record> {
        let Self { number, at, settings, done, parked } = self.clone();
        let created = Record::Created { number, name: name.to_owned(), at, after: done, settings };
        let parked = parked.into_iter().map(move |(position, (at, attempts, reason))| {
            Record::Changed(number, Change::Parked { position, at, attempts, reason })
        });
        std::iter::once(created).chain(parked)
    }
}

impl Record {
    /// Appends it to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, number) = match self {
            Self::Created { number, .. } => (CREATED, *number),
            Self::Changed(number, Change::Moved(_)) => (MOVED, *number),
            Self::Changed(number, Change::Parked { .. }) => (PARKED, *number),
            Self::Changed(number, Change::Unparked(_)) => (UNPARKED, *number),
            Self::Deleted(number) => (DELETED, *number),
        };
        out.extend_from_slice(&[kind, 0, 0, 0]);
        out.extend_from_slice(&number.to_le_bytes());
        match self {
            Self::Created { name, at, after, settings, .. } => {
                out.extend_from_slice(&at.0.to_le_bytes());
                put_position(out, *after);
                put_settings(out, settings);
                put_text(out, name);
            }
            Self::Changed(_, Change::Moved(position) | Change::Unparked(position)) => put_position(out, *position),
            Self::Changed(_, Change::Parked { position, at, attempts, reason }) => {
                put_position(out, *position);
                out.extend_from_slice(&at.0.to_le_bytes());
                out.extend_from_slice(&attempts.to_le_bytes());
                put_text(out, reason);
            }
            Self::Deleted(_) => {}
        }
    }

    /// The first record of a group. `None`: there is none of this version.
    #[must_use]
    pub fn decode_first(bytes: &[u8]) -> Option<Self> {
        Self::decode(&mut Take(bytes))
    }

    /// All records of a group. `None`: these bytes are no records of this version.
    #[must_use]
    pub fn decode_all(bytes: &[u8]) -> Option<Vec<Self>> {
        let mut take = Take(bytes);
        let mut records = Vec::new();
        while !take.0.is_empty() {
            records.push(Self::decode(&mut take)?);
        }
        Some(records)
    }

    fn decode(take: &mut Take<'_>) -> Option<Self> {
        let [kind, 0, 0, 0] = take.array()? else { return None };
        let number = take.u32()?;
        Some(match kind {
            CREATED => {
                let (at, after) = (Micros(take.i64()?), take.position()?);
                let settings = take.settings()?;
                Self::Created { number, name: take.text()?, at, after, settings }
            }
            MOVED => Self::Changed(number, Change::Moved(take.position()?)),
            PARKED => {
                let (position, at, attempts) = (take.position()?, Micros(take.i64()?), take.u32()?);
                Self::Changed(number, Change::Parked { position, at, attempts, reason: take.text()? })
            }
            UNPARKED => Self::Changed(number, Change::Unparked(take.position()?)),
            DELETED => Self::Deleted(number),
            _ => return None,
        })
    }
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    out.extend_from_slice(&position.ingested_at.0.to_le_bytes());
    out.extend_from_slice(&position.event_id.0);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_settings(out: &mut Vec<u8>, settings: &Settings) {
    let Settings { filter, mode, attempts_max, ack_within_us } = settings;
    let texts = [&filter.stream_type, &filter.stream_id, &filter.event_type, &filter.tenant_id];
    let moments = [filter.occurred_from, filter.occurred_to];
    let given = texts.iter().map(|t| t.is_some()).chain(moments.iter().map(Option::is_some));
    let facts = given.enumerate().fold(0, |facts, (bit, given)| facts | u8::from(given) << bit);
    out.extend_from_slice(&[u8::from(*mode == Mode::Sync), facts, 0, 0]);
    out.extend_from_slice(&attempts_max.to_le_bytes());
    out.extend_from_slice(&ack_within_us.to_le_bytes());
    moments.iter().for_each(|moment| out.extend_from_slice(&moment.unwrap_or(Micros(0)).0.to_le_bytes()));
    texts.iter().for_each(|text| put_text(out, text.as_deref().unwrap_or_default()));
}

struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn position(&mut self) -> Option<Position> {
        Some(Position { ingested_at: Micros(self.i64()?), event_id: EventId(self.array()?) })
    }

    fn text(&mut self) -> Option<String> {
        let len = self.u32()? as usize;
        String::from_utf8(self.bytes(len)?.to_vec()).ok()
    }

    fn settings(&mut self) -> Option<Settings> {
        let [mode, facts, 0, 0] = self.array()? else { return None };
        let mode = match mode {
            0 => Mode::Async,
            1 => Mode::Sync,
            _ => return None,
        };
        let (attempts_max, ack_within_us) = (self.u32()?, self.i64()?);
        let moments = [Micros(self.i64()?), Micros(self.i64()?)];
        let mut texts = [None, None, None, None];
        for (bit, text) in texts.iter_mut().enumerate() {
            let found = self.text()?;
            *text = (facts >> bit & 1 == 1).then_some(found);
        }
        let [stream_type, stream_id, event_type, tenant_id] = texts;
        let moment = |bit: u8, moment: Micros| (facts >> bit & 1 == 1).then_some(moment);
        let (occurred_from, occurred_to) = (moment(4, moments[0]), moment(5, moments[1]));
        let tenants = Vec::new();
        let filter = Filter { stream_type, stream_id, event_type, tenant_id, tenants, occurred_from, occurred_to };
        Some(Settings { filter, mode, attempts_max, ack_within_us })
    }
}

#[cfg(test)]
mod tests;
