//! What readers see: the segments of a log and where its committed bytes end. Immutable; published by the writer when a
//! group is committed, loaded by readers without a lock. A view keeps its segments: trimming unlinks them under it.

use crate::num::SegmentNo;
use crate::reader::{FrameIter, FrameLoc, FrameView, ReadError, read_frame};
use crate::segment::Segment;
use arc_swap::ArcSwap;
use std::sync::Arc;
use strandline_event::{LogIndex, Micros};

/// A log at one moment.
#[derive(Clone, Debug)]
pub struct LogView {
    /// All segments but the last one, ascending; none of them is written any more.
    pub(crate) older: Arc<[Arc<Segment>]>,
    /// The last one, and where its committed bytes end.
    pub(crate) tail: Option<(Arc<Segment>, u64)>,
    pub(crate) last: LogIndex,
}

/// The cell that the writer publishes views through. Cloning shares it.
#[derive(Clone)]
pub struct SharedView(Arc<ArcSwap<LogView>>);

impl SharedView {
    /// The cell of a log that has no segments and never gets one (a store without a log).
    #[must_use]
    pub fn empty() -> Self {
        Self::new(LogView::empty())
    }

    pub(crate) fn new(view: LogView) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(view)))
    }

    /// The log as of now.
    #[must_use]
    pub fn load(&self) -> Arc<LogView> {
        self.0.load_full()
    }

    pub(crate) fn publish(&self, view: LogView) {
        self.0.store(Arc::new(view));
    }
}

impl std::fmt::Debug for SharedView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.load().fmt(f)
    }
}

/// A segment, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentInfo {
    /// Its number.
    pub number: SegmentNo,
    /// Its file's name.
    pub name: String,
    /// Index that its first entry has, or would have.
    pub first_index: LogIndex,
    /// Its last entry, if it has one.
    pub last_index: Option<LogIndex>,
    /// Time of its last entry; `Micros::MIN` without one.
    pub last_time: Micros,
    /// Its acknowledged bytes.
    pub bytes: u64,
    /// Whether it is truncated and will never be written again.
    pub sealed: bool,
}

/// How much a log held when it was opened: one of its segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentBytes {
    /// Its number.
    pub number: SegmentNo,
    /// Its acknowledged bytes.
    pub bytes: u64,
    /// Bytes of the payloads of its entries, of those that were there then; 0 where opening had no need to read it.
    pub entry_bytes: u64,
}

impl LogView {
    /// A log without segments.
    #[must_use]
    pub fn empty() -> Self {
        Self { older: Arc::new([]), tail: None, last: LogIndex::ZERO }
    }

    /// Index of the last committed entry, marks of the log itself included; `ZERO` if there is none.
    #[must_use]
    pub fn last_index(&self) -> LogIndex {
        self.last
    }

    /// Index of the first entry that is still here (or will be the first one).
    #[must_use]
    pub fn first_index(&self) -> LogIndex {
        self.segment(0).map_or(LogIndex::ZERO, |(segment, _)| segment.first_index())
    }

    /// Segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        (0..self.count()).filter_map(|i| self.segment(i)).map(|(segment, end)| info(segment, end)).collect()
    }

    /// What its segments held when it was opened, oldest first.
    #[must_use]
    pub fn opened_with(&self) -> Vec<SegmentBytes> {
        let bytes = |(segment, bytes): (&Arc<Segment>, u64)| SegmentBytes {
            number: segment.number(),
            bytes,
            entry_bytes: segment.facts(|facts| facts.entry_bytes),
        };
        (0..self.count()).filter_map(|i| self.segment(i)).map(bytes).collect()
    }

    /// Committed bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (0..self.count()).filter_map(|i| self.segment(i)).map(|(_, end)| end).sum()
    }

    /// The entries (Entry, Blank, Membership frames) from `from` to `to`, both included, as far as they are committed.
    ///
    /// # Errors
    /// `Trimmed` if `from` is older than what is here. Everything else comes from the iterator, which ends after an error.
    pub fn frames(self: &Arc<Self>, from: LogIndex, to: LogIndex) -> Result<FrameIter, ReadError> {
        FrameIter::new(Arc::clone(self), from, to)
    }

    /// The frame at a place that `push` or a `FrameView` named. Its checksums are checked again.
    ///
    /// # Errors
    /// `Trimmed` if the segment is gone, `Corrupt`, `Io`.
    pub fn frame(&self, loc: FrameLoc) -> Result<FrameView, ReadError> {
        let found = (0..self.count()).rev().filter_map(|i| self.segment(i)).find(|(s, _)| s.number() == loc.segment);
        let Some((segment, end)) = found else {
            return Err(ReadError::Trimmed { first: self.first_index() });
        };
        read_frame(segment, loc, end)
    }

    /// Lets go of the maps of segments that end at or below an entry: what is durable elsewhere is not read from here any more, and
    /// pages of maps count as the process's memory until then.
    pub fn unmap_through(&self, through: LogIndex) {
        let is_read_elsewhere = |segment: &&Arc<Segment>| {
            segment.facts(|facts| facts.sealed && facts.last.is_none_or(|last| last.index <= through))
        };
        self.older.iter().filter(is_read_elsewhere).for_each(|segment| segment.unmap());
    }

    /// Bytes of segments that are mapped.
    #[cfg(test)]
    pub(crate) fn mapped_bytes(&self) -> u64 {
        (0..self.count()).filter_map(|i| self.segment(i)).map(|(segment, _)| segment.mapped_bytes()).sum()
    }

    pub(crate) fn count(&self) -> usize {
        self.older.len() + usize::from(self.tail.is_some())
    }

    /// A segment and the end of its committed bytes.
    pub(crate) fn segment(&self, i: usize) -> Option<(&Arc<Segment>, u64)> {
        match self.older.get(i) {
            Some(segment) => Some((segment, segment.facts(|f| f.end))),
            None => self.tail.as_ref().filter(|_| i == self.older.len()).map(|(segment, end)| (segment, *end)),
        }
    }
}

fn info(segment: &Segment, end: u64) -> SegmentInfo {
    segment.facts(|facts| SegmentInfo {
        number: segment.number(),
        name: segment.name(),
        first_index: segment.first_index(),
        last_index: facts.last.map(|id| id.index),
        last_time: facts.last_time,
        bytes: end,
        sealed: facts.sealed,
    })
}
