//! Command ids above the watermark: which were seen, with which events, and what was answered.
//!
//! Exact, for ever: recent ones here, older ones in the command runs of the durable tier. A record keeps the
//! digest of the events as they were sent, so a retry gets the first answer and other events are a conflict.
//! The key is a keyed 128-bit hash of scope and id, which counts as the id's identity.

use crate::append::Place;
use crate::table::{Keyed, Lines, Table, Walk};
use strandline_event::hash::{Parts, keyed_hash, keyed_hash_of};
use strandline_event::{BatchUnit, BatchView, LogIndex, Micros, Seq};
use strandline_wal::LeaderId;

/// Where a command id is unique.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Nowhere: ids are kept with the events, not checked.
    None,
    /// In its stream.
    Stream,
    /// In its stream type.
    StreamType,
    /// In its store: each owner keeps its own, and a registry holds them apart.
    Store,
}

/// The first append of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandRecord {
    /// Digest of its events, see [`command_digest`].
    pub digest: u128,
    /// Seq of the first of them.
    pub first_seq: Seq,
    /// How many.
    pub count: u32,
    /// When the first of them was taken.
    pub ingested_at: Micros,
}

/// Key of a command id in its scope.
#[must_use]
pub fn command_key(scope: Scope, key: (u64, u64), stream_type: &str, stream: u128, command_id: &str) -> u128 {
    let (stream_type, stream) = key_parts(scope, stream_type, stream);
    keyed_hash(key.0, key.1, &[b"command", stream_type, &stream, command_id.as_bytes()])
}

/// Where an id is unique, as parts of its key.
fn key_parts(scope: Scope, stream_type: &str, stream: u128) -> (&[u8], [u8; 16]) {
    let stream = if scope == Scope::Stream { stream } else { 0 };
    // no stream type has an empty name
    let stream_type = if scope == Scope::Store { "" } else { stream_type };
    (stream_type.as_bytes(), stream.to_le_bytes())
}

/// Puts the parts that [`command_key`] hashes, for who hashes many.
#[inline]
pub(crate) fn put_command_key(scope: Scope, stream_type: &str, stream: u128, command_id: &[u8], parts: &mut Parts) {
    let (stream_type, stream) = key_parts(scope, stream_type, stream);
    parts.put(b"command");
    parts.put(stream_type);
    parts.put(&stream);
    parts.put(command_id);
}

/// Digest of a command's events: of their digests in order. One event in a bulk body and the same event as an
/// append of its own have the same digest.
#[must_use]
pub fn command_digest(batch: BatchView<'_>, rows: std::ops::Range<usize>, key: (u64, u64)) -> u128 {
    keyed_hash_of(key.0, key.1, rows.map(|row| batch.row_digest(row, key)))
}

/// The commands of a batch: (id, rows). A stream append is one command, of a bulk body each row that names one is.
pub fn commands_of<'a>(batch: BatchView<'a>) -> impl Iterator<Item = (&'a str, std::ops::Range<usize>)> {
    let rows = batch.rows();
    let whole = batch.unit() == BatchUnit::Append;
    let found = (0..rows).filter_map(move |row| {
        let id = batch.command_id(row)?;
        Some((id, if whole { 0..rows } else { row..row + 1 }))
    });
    found.take(if whole { 1 } else { rows })
}

/// A record and its key in 64 bytes: there is one an event where every event names a command.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: [u8; 16],
    digest: [u8; 16],
    first_seq: Seq,
    ingested_at: Micros,
    index: LogIndex,
    count: u32,
}

impl Entry {
    fn new(key: u128, record: &CommandRecord, index: LogIndex) -> Self {
        let CommandRecord { digest, first_seq, count, ingested_at } = *record;
        Self { key: key.to_le_bytes(), digest: digest.to_le_bytes(), first_seq, ingested_at, index, count }
    }

    fn record(&self) -> CommandRecord {
        let Self { first_seq, count, ingested_at, .. } = *self;
        CommandRecord { digest: u128::from_le_bytes(self.digest), first_seq, count, ingested_at }
    }
}

impl Keyed for Entry {
    fn key(&self) -> u128 {
        u128::from_le_bytes(self.key)
    }
}

/// The table, in flight included.
#[derive(Debug, Default)]
pub struct Commands {
    table: Table<Entry, Lines>,
    /// Where ids are unique in the whole store: what is here is in the registry too, under this log's name.
    place: Option<Place>,
}

impl Commands {
    /// Of a store whose ids are unique in it as a whole.
    pub(crate) fn in_store(place: Place) -> Self {
        Self { place: Some(place), ..Self::default() }
    }

    /// The log's place in the registry of its store, where there is one.
    pub(crate) const fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// From now on new ids must be reserved under this leadership of the log.
    pub(crate) fn reserve_under(&mut self, leader: LeaderId) {
        if let Some(place) = &mut self.place {
            place.reserve_under(leader);
        }
    }

    /// Number of commands.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// A command and the batch that it came with.
    #[must_use]
    pub fn get(&self, key: u128) -> Option<(CommandRecord, LogIndex)> {
        self.table.get(key).map(|e| (e.record(), e.index))
    }

    /// Before many of these keys are asked for, one after the other. Whether any of them is known.
    pub(crate) fn look_ahead(&self, keys: impl Iterator<Item = u128> + Clone) -> bool {
        self.table.look_ahead(keys)
    }

    /// Remembers a command that [`get`](Self::get) does not give: it was asked whether it does before the command was accepted.
    pub fn insert_new(&mut self, key: u128, record: CommandRecord, index: LogIndex) {
        debug_assert!(self.table.get(key).is_none(), "a command began twice");
        self.table.insert_new(Entry::new(key, &record, index));
        if let Some(place) = &self.place {
            place.note(key, index);
        }
    }

    /// Remembers a command of a batch that is committed; the first one of a key stays. What another log has in flight under the id is not
    /// stored any more.
    pub(crate) fn insert_stored(&mut self, key: u128, record: CommandRecord, index: LogIndex) {
        let known = self.table.get_or_insert(key, || Entry::new(key, &record, index));
        if known.is_none()
            && let Some(place) = &self.place
        {
            place.note_stored(key, index);
        }
    }

    /// Commands of batches above `through` leave: these batches never were.
    pub fn take_back(&mut self, through: LogIndex) {
        match &self.place {
            None => self.table.retain(|e| e.index <= through),
            Some(_) => {
                self.keep(&mut Walk::default(), &mut { usize::MAX }, |index| index <= through);
            }
        }
    }

    /// Commands of batches at or below `through` leave: the runs have them.
    pub fn settle(&mut self, through: LogIndex) {
        self.settle_some(through, &mut Walk::default(), &mut { usize::MAX });
    }

    /// As [`settle`](Self::settle), a step of it; `true`: that was the last one.
    pub(crate) fn settle_some(&mut self, through: LogIndex, walk: &mut Walk, budget: &mut usize) -> bool {
        self.keep(walk, budget, |index| index > through)
    }

    /// All commands leave.
    pub(crate) fn clear(&mut self) {
        self.take_back(LogIndex::ZERO);
    }

    fn keep(&mut self, walk: &mut Walk, budget: &mut usize, stays: impl Fn(LogIndex) -> bool) -> bool {
        let Some(place) = &self.place else { return self.table.retain_some(walk, budget, |e| stays(e.index)) };
        let mut left = Vec::new();
        let is_done = self.table.retain_some(walk, budget, |e| {
            let stays = stays(e.index);
            if !stays {
                left.push(e.key());
            }
            stays
        });
        place.release(&left);
        is_done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_costs_64_bytes_and_comes_back_whole() {
        assert_eq!(size_of::<Entry>(), 64);
        let mut commands = Commands::default();
        let record = CommandRecord { digest: 1 << 90, first_seq: Seq(7), count: 3, ingested_at: Micros(-4) };
        commands.insert_new(5 << 100, record, LogIndex(9));
        commands.insert_stored(5 << 100, CommandRecord { digest: 2, ..record }, LogIndex(10));
        assert_eq!(commands.get(5 << 100), Some((record, LogIndex(9))), "the first one stays");
        commands.settle(LogIndex(9));
        assert!(commands.is_empty());
    }
}
