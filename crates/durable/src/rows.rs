//! Rows of a job, wherever they lie: read whole, or one field of many rows at a time.
//!
//! The files are columns, so a job that takes field by field touches each line of memory once and waits for many at the same
//! time; whole rows are for what needs all of an event.

use crate::partition::text;
use strandline_event::{EventId, EventRef, Field, Micros, Seq, StampedBatch, TextColumn};

/// Rows that can be read by number; every `i` is below [`rows`](Self::rows).
pub trait Rows: Sync {
    /// How many.
    fn rows(&self) -> usize;

    /// One of them.
    fn row(&self, i: usize) -> EventRef<'_>;

    /// Its id.
    fn event_id(&self, i: usize) -> EventId {
        self.row(i).event_id
    }

    /// Its place in the stream.
    fn seq(&self, i: usize) -> Seq {
        self.row(i).seq
    }

    /// Its schema version.
    fn event_version(&self, i: usize) -> Option<u32> {
        self.row(i).event_version
    }

    /// When it happened.
    fn occurred_at(&self, i: usize) -> Micros {
        self.row(i).occurred_at
    }

    /// When the store took it.
    fn ingested_at(&self, i: usize) -> Micros {
        self.row(i).ingested_at
    }

    /// A text of it; `None`: it has none, or the field is no text.
    fn text(&self, i: usize, field: Field) -> Option<&str> {
        text(&self.row(i), field)
    }

    /// The bytes of [`text`](Self::text), which nobody has to look at for this.
    fn bytes(&self, i: usize, field: Field) -> Option<&[u8]> {
        self.text(i, field).map(str::as_bytes)
    }

    /// All texts of a field, where every row has one in one column: as [`bytes`](Self::bytes) of each, found once. `None`: ask row by row.
    fn column(&self, field: Field) -> Option<TextColumn<'_>> {
        let _ = field;
        None
    }

    /// False: no row has this text.
    fn may_have(&self, field: Field) -> bool {
        let _ = field;
        true
    }

    /// The stream type of all rows, where they are known to have one.
    fn stream_type(&self) -> Option<&str> {
        None
    }

    /// How many numbers its streams have here; 0: they have none.
    fn stream_count(&self) -> usize {
        0
    }

    /// The number of its stream here, below [`stream_count`](Self::stream_count). Rows of one number are of one stream.
    fn stream_of(&self, i: usize) -> Option<usize> {
        let _ = i;
        None
    }
}

impl Rows for StampedBatch {
    fn rows(&self) -> usize {
        Self::rows(self)
    }

    fn row(&self, i: usize) -> EventRef<'_> {
        Self::row(self, i)
    }

    #[inline]
    fn event_id(&self, i: usize) -> EventId {
        Self::event_id(self, i)
    }

    #[inline]
    fn seq(&self, i: usize) -> Seq {
        Self::seq(self, i)
    }

    #[inline]
    fn event_version(&self, i: usize) -> Option<u32> {
        self.view().event_version(i)
    }

    #[inline]
    fn occurred_at(&self, i: usize) -> Micros {
        Self::occurred_at(self, i)
    }

    #[inline]
    fn ingested_at(&self, i: usize) -> Micros {
        self.stamps().ingested_at(i)
    }

    #[inline]
    fn text(&self, i: usize, field: Field) -> Option<&str> {
        self.view().text(i, field)
    }

    #[inline]
    fn bytes(&self, i: usize, field: Field) -> Option<&[u8]> {
        self.view().bytes(i, field)
    }

    fn column(&self, field: Field) -> Option<TextColumn<'_>> {
        self.view().column(field)
    }

    fn may_have(&self, field: Field) -> bool {
        self.view().may_have(field)
    }

    fn stream_type(&self) -> Option<&str> {
        Some(self.view().stream_type())
    }

    fn stream_count(&self) -> usize {
        self.view().stream_count()
    }

    #[inline]
    fn stream_of(&self, i: usize) -> Option<usize> {
        Some(self.view().stream_of(i))
    }
}

/// One row.
impl Rows for EventRef<'_> {
    fn rows(&self) -> usize {
        1
    }

    fn row(&self, _: usize) -> EventRef<'_> {
        *self
    }
}

impl Rows for Vec<EventRef<'_>> {
    fn rows(&self) -> usize {
        self.len()
    }

    fn row(&self, i: usize) -> EventRef<'_> {
        self[i]
    }
}

impl<T: Rows> Rows for &T {
    fn rows(&self) -> usize {
        (*self).rows()
    }

    fn row(&self, i: usize) -> EventRef<'_> {
        (*self).row(i)
    }

    fn event_id(&self, i: usize) -> EventId {
        (*self).event_id(i)
    }

    fn seq(&self, i: usize) -> Seq {
        (*self).seq(i)
    }

    fn event_version(&self, i: usize) -> Option<u32> {
        (*self).event_version(i)
    }

    fn occurred_at(&self, i: usize) -> Micros {
        (*self).occurred_at(i)
    }

    fn ingested_at(&self, i: usize) -> Micros {
        (*self).ingested_at(i)
    }

    fn text(&self, i: usize, field: Field) -> Option<&str> {
        (*self).text(i, field)
    }

    fn bytes(&self, i: usize, field: Field) -> Option<&[u8]> {
        (*self).bytes(i, field)
    }

    fn column(&self, field: Field) -> Option<TextColumn<'_>> {
        (*self).column(field)
    }

    fn may_have(&self, field: Field) -> bool {
        (*self).may_have(field)
    }

    fn stream_type(&self) -> Option<&str> {
        (*self).stream_type()
    }

    fn stream_count(&self) -> usize {
        (*self).stream_count()
    }

    fn stream_of(&self, i: usize) -> Option<usize> {
        (*self).stream_of(i)
    }
}
