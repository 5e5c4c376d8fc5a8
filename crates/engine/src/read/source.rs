//! Where the rows of an answer live: batches of the log or of memory, and rows of data files. Nothing is copied;
//! an answer keeps its sources alive and its rows are places in them.

use super::budget::event_bytes;
use crate::subjects::{Opener, Openings, SubjectFileError};
use std::fmt;
use std::sync::Arc;
use strandline_deql::Tier;
use strandline_durable::{RowSet, Veil};
use strandline_event::{EventRef, LogIndex, LogKey, Position, StampedBatch};
use strandline_wal::FrameLoc;

/// A batch above the watermark, and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct TailBatch {
    /// Its log.
    pub(crate) log: LogKey,
    /// Its place in the log.
    pub(crate) index: LogIndex,
    /// The events.
    pub(crate) batch: StampedBatch,
    /// Memory or log.
    pub(crate) tier: Tier,
    /// Its frame, where it was read from the log.
    pub(crate) loc: Option<FrameLoc>,
}

/// What rows of an answer point into.
pub(crate) enum Source {
    /// A batch of the log or of memory.
    Batch(TailBatch),
    /// Rows of data files.
    Files(Arc<RowSet>),
}

impl Source {
    pub(crate) fn row(&self, row: u32) -> EventRef<'_> {
        match self {
            Self::Batch(tail) => tail.batch.row(row as usize),
            Self::Files(set) => set.row(row as usize),
        }
    }

    pub(crate) const fn tier(&self) -> Tier {
        match self {
            Self::Batch(tail) => tail.tier,
            Self::Files(_) => Tier::Durable,
        }
    }

    /// Where a row stands, for people.
    pub(crate) fn place(&self, row: u32) -> String {
        match self {
            Self::Batch(tail) => tail.place(row),
            Self::Files(set) => set.place(row as usize).to_string(),
        }
    }
}

impl TailBatch {
    /// Where a row stands, for people.
    pub(crate) fn place(&self, row: u32) -> String {
        let frame = self.loc.map(|l| format!(" (segment {} at offset {})", l.segment, l.offset)).unwrap_or_default();
        format!("{} of `{}`, index {}{frame}, row {row}", self.tier, self.log, self.index)
    }
}

/// A row of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct RowAt {
    pub(crate) source: u32,
    pub(crate) row: u32,
}

/// The sources of one answer, seen through the store's veil: what is redacted while the answer is held is hidden from then on.
pub(crate) struct Sources {
    all: Vec<Source>,
    veil: Arc<Veil>,
    openings: Openings<RowAt>,
}

impl Sources {
    pub(crate) fn under(veil: &Arc<Veil>) -> Self {
        Self { all: Vec::new(), veil: Arc::clone(veil), openings: Openings::default() }
    }

    pub(crate) fn push(&mut self, source: Source) -> u32 {
        self.all.push(source);
        (self.all.len() - 1) as u32
    }

    fn get(&self, at: RowAt) -> &Source {
        // places are made from `push`, which never takes a source away
        match self.all.get(at.source as usize) {
            Some(source) => source,
            None => strandline_event::invariant::broken("a row of an answer points to a source that it does not hold"),
        }
    }

    pub(crate) fn row(&self, at: RowAt) -> EventRef<'_> {
        self.veil.over(self.openings.over(at, self.get(at).row(at.row)))
    }

    /// Opens what is sealed in these rows, for a client: from here on they are shown so.
    pub(crate) fn open(&mut self, rows: &[RowAt], opener: Option<&Opener>) -> Result<(), SubjectFileError> {
        let Some(opener) = opener else { return Ok(()) };
        self.openings = Openings::of(opener, rows.iter().map(|at| (*at, self.get(*at).row(at.row))))?;
        Ok(())
    }

    pub(crate) fn tier(&self, at: RowAt) -> Tier {
        self.get(at).tier()
    }

    pub(crate) fn place(&self, at: RowAt) -> String {
        self.get(at).place(at.row)
    }
}

/// The events of a page, in its order. Keeps alive what they point into.
pub struct PageRows {
    sources: Sources,
    rows: Vec<RowAt>,
}

impl PageRows {
    pub(super) const fn new(sources: Sources, rows: Vec<RowAt>) -> Self {
        Self { sources, rows }
    }

    /// Opens what is sealed, for a client.
    pub(super) fn open(&mut self, opener: Option<&Opener>) -> Result<(), SubjectFileError> {
        self.sources.open(&self.rows, opener)
    }

    /// The events; each knows its position.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = EventRef<'_>> {
        self.rows.iter().map(|at| self.sources.row(*at))
    }

    /// The event in this place.
    #[must_use]
    pub fn row(&self, place: usize) -> Option<EventRef<'_>> {
        self.rows.get(place).map(|at| self.sources.row(*at))
    }

    /// How many events are at or before a position; the page is in the global order.
    #[must_use]
    pub fn rows_through(&self, position: Position) -> usize {
        self.rows.partition_point(|at| self.sources.row(*at).position() <= position)
    }

    /// The tier that gave each event, in the order of [`Self::rows`].
    pub fn tiers_of_rows(&self) -> impl ExactSizeIterator<Item = Tier> {
        self.rows.iter().map(|at| self.sources.tier(*at))
    }

    /// Lets go of the rows that are not kept; after an error of none further.
    pub(super) fn retain<E>(&mut self, mut keep: impl FnMut(&EventRef<'_>) -> Result<bool, E>) -> Result<(), E> {
        let (sources, mut failed) = (&self.sources, None);
        self.rows.retain(|at| match failed.is_none().then(|| keep(&sources.row(*at))) {
            Some(Ok(kept)) => kept,
            Some(Err(error)) => {
                failed = Some(error);
                true
            }
            None => true,
        });
        failed.map_or(Ok(()), Err)
    }

    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of the events, about what they take in an answer.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows().map(|event| event_bytes(&event)).sum()
    }
}

/// Two rows with one key and different content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Doubled {
    /// The key, in words.
    pub key: String,
    /// Where the one stands.
    pub first: String,
    /// Where the other stands.
    pub second: String,
}

impl fmt::Display for Doubled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "two different events have {}: {} and {}", self.key, self.first, self.second)
    }
}
