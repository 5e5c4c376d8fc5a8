//! What a log is asked.

use crate::append::hashes::Hashes;
use crate::append::reservations::Reservation;
use crate::tenants::TenantScope;
use std::sync::Arc;
use strandline_event::{BatchBytes, EventId, LogIndex, Micros, Seq};

/// Where the stream must stand before an append. Only for appends to one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Expected {
    /// Anywhere.
    #[default]
    Any,
    /// The stream has no event.
    Empty,
    /// This is its last seq.
    At(Seq),
}

impl Expected {
    /// Whether a head is the expected one.
    #[must_use]
    pub fn allows(self, head: Seq) -> bool {
        match self {
            Self::Any => true,
            Self::Empty => head == Seq::ZERO,
            Self::At(seq) => head == seq,
        }
    }
}

/// What an invalid row does to the rest of a bulk body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnError {
    /// Nothing is stored.
    #[default]
    Abort,
    /// The valid rows are stored, the others are listed.
    Skip,
}

/// What the edge found out about client-given event ids in Parquet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IdsChecked {
    /// The log's watermark in the manifest that was searched.
    pub through: LogIndex,
    /// Rows whose id was found there, ascending.
    pub found: Vec<u32>,
}

/// What is stored under a client's (stream, seq).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KnownSeq {
    /// The same event.
    Same {
        /// When it was taken.
        ingested_at: Micros,
        /// Its id.
        event_id: EventId,
    },
    /// Another event.
    Different,
    /// Nothing (it was skipped over, or retention removed it).
    Absent,
}

/// What a read found out about client-given seqs at or below the head. Committed events do not change, so it stays true.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Known {
    rows: Vec<(u32, KnownSeq)>,
}

impl Known {
    /// By row, in any order.
    #[must_use]
    pub fn new(mut rows: Vec<(u32, KnownSeq)>) -> Self {
        rows.sort_unstable_by_key(|(row, _)| *row);
        Self { rows }
    }

    /// What was found for a row.
    #[must_use]
    pub fn get(&self, row: u32) -> Option<KnownSeq> {
        let at = self.rows.binary_search_by_key(&row, |(r, _)| *r).ok()?;
        self.rows.get(at).map(|(_, known)| *known)
    }
}

/// One batch for one log.
#[derive(Clone, Debug)]
pub struct AppendRequest {
    /// The events: of one stream, or of a bulk body's part.
    pub batch: BatchBytes,
    /// For an append to one stream.
    pub expected: Expected,
    /// For rows each of which is an append of its own: where its stream must stand before it, with the rows before.
    pub each: Option<Arc<[Expected]>>,
    /// For a bulk body.
    pub on_error: OnError,
    /// A dry run: same checks, same answer, nothing stored.
    pub inspect: bool,
    /// Client-given event ids that the edge looked up.
    pub ids: IdsChecked,
    /// Client-given seqs that the edge looked up.
    pub known: Known,
    /// The tenants that the caller is limited to; `None`: it is not.
    pub tenants: Option<Arc<TenantScope>>,
    /// Hashes of the batch, if the edge made them; `None`: its owner does.
    pub hashes: Option<Arc<Hashes>>,
    /// Command ids that were reserved for it, where they are unique in a store on a cluster.
    pub reservation: Option<Arc<Reservation>>,
}

impl AppendRequest {
    /// A batch without any condition.
    #[must_use]
    pub fn new(batch: BatchBytes) -> Self {
        Self {
            batch,
            expected: Expected::Any,
            each: None,
            on_error: OnError::Abort,
            inspect: false,
            ids: IdsChecked::default(),
            known: Known::default(),
            tenants: None,
            hashes: None,
            reservation: None,
        }
    }

    /// The first row that says another tenant than those that the caller is limited to.
    #[must_use]
    pub(crate) fn foreign_row(&self) -> Option<u32> {
        let scope = self.tenants.as_ref()?;
        let view = self.batch.view();
        (0..view.rows() as u32).find(|row| !scope.holds(view.tenant_id(*row as usize)))
    }
}
