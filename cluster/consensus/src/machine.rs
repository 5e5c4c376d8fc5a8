//! What the committed entries of a group act on. For a log of a store it is the owner of the log (heads, commands, memory), for
//! the meta group its tables.
//!
//! Invariant: `applied` is called in the order of the entries, each once since the machine was opened or a pointer installed, and
//! the next call comes after the one before it was answered.

use crate::transport::BoxFuture;
use std::sync::Arc;
use strandline_event::{LogIndex, Micros, SharedBytes};
use strandline_wal::{Last, LeaderId, Membership};

/// Name of an entry: who made it, its number in the group, and the log index of its last frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct EntryId {
    /// The leader that made it.
    pub leader: LeaderId,
    /// Its number, which Raft counts in.
    pub number: u64,
    /// Index of its last frame, which everything else counts in.
    pub index: LogIndex,
}

/// One payload of an entry.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Version of the payload, chosen by who writes it.
    pub schema: u16,
    /// Events in it.
    pub count: u32,
    /// When it was proposed, by the leader's clock.
    pub time: Micros,
    /// Its bytes, one after the other.
    pub parts: [SharedBytes; 2],
}

impl Payload {
    /// A payload of one piece.
    #[must_use]
    pub fn new(schema: u16, time: Micros, bytes: SharedBytes) -> Self {
        let none = SharedBytes::copy_aligned(&[]);
        Self { schema, count: 0, time, parts: [bytes, none] }
    }

    /// Its bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts[0].len() + self.parts[1].len()
    }

    /// Whether it has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes in one piece at an address that is a multiple of 16; no copy if they are.
    #[must_use]
    pub fn whole(&self) -> SharedBytes {
        match &self.parts {
            [one, none] if none.is_empty() && one.is_aligned() => one.clone(),
            [one, two] => SharedBytes::copy_aligned(&[&one[..], &two[..]].concat()),
        }
    }
}

/// A committed entry.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Its name.
    pub id: EntryId,
    /// Its payloads, of the frames that end at `id.index`; none: a blank entry or a membership.
    pub payloads: Arc<[Payload]>,
}

impl Applied {
    /// Payloads with the index of their frames.
    pub fn frames(&self) -> impl Iterator<Item = (LogIndex, &Payload)> {
        let first = (self.id.index.0 + 1).saturating_sub(self.payloads.len() as u64);
        self.payloads.iter().enumerate().map(move |(i, payload)| (LogIndex(first + i as u64), payload))
    }
}

/// A snapshot: everything up to an entry is elsewhere, and this says where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pointer {
    /// The last entry that it stands for.
    pub through: EntryId,
    /// What the machine says of itself. A few bytes for a log (manifest version, watermark), its tables for the meta group.
    pub body: Vec<u8>,
}

/// The state behind a group's log.
pub trait Machine: Send + Sync + 'static {
    /// The entry up to which it already holds everything when it was opened; `None`: nothing.
    fn opened_through(&self) -> Option<EntryId>;

    /// Who belonged to the group as of [`opened_through`](Self::opened_through), and what set it, where the log may not hold it: a machine says
    /// so that keeps by itself what it has [installed](Self::install).
    fn opened_members(&self) -> Option<(Membership, Last)> {
        None
    }

    /// Committed entries, in order. Answered when readers may see them.
    fn applied(&self, entries: Vec<Applied>) -> BoxFuture<'_, ()>;

    /// Leadership came to this node or left it. `Some`: its first entry of this leadership has been applied, so it may accept; `None`:
    /// what it proposed and has not seen applied has an unknown outcome.
    fn leads(&self, first: Option<EntryId>);

    /// Whether it acts as the leader that it was told to be. One that has given that up by itself is told again.
    fn acts(&self) -> bool {
        true
    }

    /// Whether it takes by now what a leader takes, if this node is one.
    fn takes(&self) -> bool {
        true
    }

    /// Where entries have moments: no entry that this node makes later has this one or an earlier one, and every one that has is applied.
    fn close(&self) -> Option<Micros> {
        None
    }

    /// Everything that was applied up to some entry, as a pointer; `None`: nothing is elsewhere yet. Nothing is applied meanwhile.
    fn pointer(&self) -> BoxFuture<'_, Result<Option<Pointer>, String>>;

    /// Goes on from a pointer of another member instead of its own state. `members`: who belonged to the group as of it, and what set that.
    fn install(&self, pointer: Pointer, members: Option<(Membership, Last)>) -> BoxFuture<'_, Result<(), String>>;
}
