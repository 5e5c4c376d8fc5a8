//! What a log answers.

use crate::append::error::{AppendError, Refusal};
use crate::append::reservations::ToReserve;
use strandline_event::{LogIndex, LogKey, Micros, Seq, StampedBatch};

/// The answer to a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Stored, known already, or (a dry run) found storable.
    Done(Box<AppendOutcome>),
    /// Refused; nothing was stored.
    Refused(Box<Refusal>),
    /// Something must be read first; then submit again.
    Again(Again),
}

/// What must be read before the log can tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Again {
    /// Client-given seqs that are below the head.
    Lookup(Lookup),
    /// A newer manifest took events over since the event ids were looked up.
    Recheck {
        /// The log's watermark now: look up in a manifest that has reached it.
        through: LogIndex,
    },
    /// A command id that is unique in the whole store is in flight in another log.
    Elsewhere {
        /// Which log: submit again once what it has in flight now is durable, or given back.
        log: LogKey,
    },
    /// Command ids that are unique in the whole store are new here, on a cluster: reserve them, then submit again.
    Reserve(ToReserve),
}

/// Rows that must be compared with what is stored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lookup {
    /// Rows of the request, ascending, with the seq in their stream under which each must stand.
    pub rows: Vec<(u32, Seq)>,
}

/// What became of an accepted request.
#[derive(Clone, Debug, Default)]
pub struct AppendOutcome {
    /// A dry run: nothing was stored.
    pub inspect: bool,
    /// Every row was known already; nothing was stored.
    pub duplicate: bool,
    /// Place in the log of what was stored.
    pub index: Option<LogIndex>,
    /// What was stored, or would be.
    pub stamped: Option<StampedBatch>,
    /// Which row of the request each stored row was.
    pub rows: RowMap,
    /// Known rows. Laid end to end, their (first_seq, count) are the events of the first answers.
    pub duplicates: Vec<DuplicateRow>,
    /// Rows that were left out (`on_error = skip`).
    pub rejected: Vec<RejectedRow>,
    /// The whole batch is a chunk that is stored already, but for the rows that were refused then (`rejected`).
    pub chunk_known: bool,
    /// Number of rows that were known already.
    pub duplicate_rows: usize,
}

/// Stored row -> row of the request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RowMap(pub(crate) Option<Vec<u32>>);

impl RowMap {
    /// The request's row of a stored row.
    #[must_use]
    pub fn request_row(&self, stored: usize) -> usize {
        self.0.as_ref().and_then(|map| map.get(stored)).map_or(stored, |row| *row as usize)
    }
}

/// How a row is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DuplicateOf {
    /// By its command id.
    Command,
    /// By its (stream, seq).
    Seq,
    /// By an earlier row of the same body.
    Row(u32),
}

/// A row that is stored already; for a stream append with a command id: the whole request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DuplicateRow {
    /// Row of the request.
    pub row: u32,
    /// How it is known.
    pub of: DuplicateOf,
    /// Seq of the first event of the first answer.
    pub first_seq: Seq,
    /// Number of its events.
    pub count: u32,
    /// When the first of them was taken.
    pub ingested_at: Micros,
}

/// A row that was left out.
#[derive(Clone, Debug)]
pub struct RejectedRow {
    /// Row of the request.
    pub row: u32,
    /// Why.
    pub error: AppendError,
}
