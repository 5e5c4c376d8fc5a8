//! What readers of the hot tier get: batches and rows that stay valid after their eviction.

use std::sync::Arc;
use strandline_event::{EventRef, LogIndex, Micros, Seq, StampedBatch};

/// A committed batch and its place in the log.
#[derive(Debug)]
pub struct HotBatch {
    /// Place in the log.
    pub index: LogIndex,
    /// The events.
    pub batch: StampedBatch,
    /// When it came in here, for the time to live.
    pub(crate) inserted_at: Micros,
}

/// A row of a batch.
#[derive(Clone, Debug)]
pub struct HotRow {
    /// The batch.
    pub batch: Arc<HotBatch>,
    /// Row in the batch.
    pub row: usize,
}

impl HotRow {
    /// The event.
    #[must_use]
    pub fn event(&self) -> EventRef<'_> {
        self.batch.batch.row(self.row)
    }

    /// Place of its batch in the log.
    #[must_use]
    pub fn index(&self) -> LogIndex {
        self.batch.index
    }

    /// Its seq.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.batch.batch.seq(self.row)
    }
}

/// The entries of one log that the hot tier holds: all in `(after, through]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HotRange {
    /// Everything up to here may be gone; a lower tier has it.
    pub after: LogIndex,
    /// Nothing above is here yet.
    pub through: LogIndex,
}

impl HotRange {
    /// Whether the range holds an entry.
    #[must_use]
    pub fn covers(&self, index: LogIndex) -> bool {
        self.after < index && index <= self.through
    }
}

/// Which part of a stream to take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeqRange {
    /// Smallest seq.
    pub from: Seq,
    /// Largest seq.
    pub to: Seq,
    /// Most rows to take, from the start in the wanted order.
    pub limit: usize,
    /// Largest seq first.
    pub descending: bool,
}

impl SeqRange {
    /// The whole stream, ascending.
    pub const ALL: Self = Self { from: Seq::ZERO, to: Seq(u64::MAX), limit: usize::MAX, descending: false };
}

/// Rows of a stream, and what they are complete for.
#[derive(Clone, Debug, Default)]
pub struct HotRows {
    /// In the wanted order, at most the wanted number.
    pub rows: Vec<HotRow>,
    /// Every row of the stream in these entries (and in the wanted seqs) is in `rows`, up to the limit.
    pub range: HotRange,
}

/// Batches of a log, and what they are complete for.
#[derive(Clone, Debug, Default)]
pub struct HotBatches {
    /// Oldest first, at most the wanted number.
    pub batches: Vec<Arc<HotBatch>>,
    /// Every batch of these entries is in `batches`, up to the limit.
    pub range: HotRange,
}
