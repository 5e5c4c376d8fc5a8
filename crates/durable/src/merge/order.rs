//! The order of the output: `row_group.sort_by`, rising or falling.

use crate::layout::Layout;
use crate::read::RowBatch;
use crate::rows::Rows;
use crate::sort::compare;
use std::cmp::Ordering;
use strandline_event::Field;

/// A row of an input.
type At<'a> = (&'a RowBatch, usize);

/// Compares rows of one partition.
pub(crate) struct Order {
    fields: Vec<Field>,
    descending: bool,
}

impl Order {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self { fields: layout.sort_by().to_vec(), descending: layout.descending() }
    }

    /// Every row is compared with several: stream and seq, which nearly always decide, are looked at where they stand, and whole
    /// rows are made for other fields only.
    pub(crate) fn compare(&self, (a, i): At<'_>, (b, j): At<'_>) -> Ordering {
        let by = |field: &Field| match field {
            Field::StreamId => a.stream_id(i).cmp(b.stream_id(j)),
            Field::Seq => a.seq(i).cmp(&b.seq(j)),
            other => compare(&[*other], &a.row(i), &b.row(j)),
        };
        let order = self.fields.iter().map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal);
        if self.descending { order.reverse() } else { order }
    }

    /// Whether `b` may stand behind `a`.
    pub(crate) fn allows(&self, a: At<'_>, b: At<'_>) -> bool {
        self.compare(a, b).is_le()
    }

    /// Whether each row of a batch may stand behind the one before it and is another event.
    pub(crate) fn is_strict(&self, batch: &RowBatch) -> bool {
        (1..batch.rows()).all(|i| {
            let is_same = batch.seq(i - 1) == batch.seq(i) && batch.stream_id(i - 1) == batch.stream_id(i);
            !is_same && self.allows((batch, i - 1), (batch, i))
        })
    }

    /// Whether rows of one (stream, seq) always stand side by side: the type is the same in all of them.
    pub(crate) fn keeps_doubles_together(&self) -> bool {
        let mut fields = self.fields.iter().filter(|field| **field != Field::StreamType);
        let first = [fields.next(), fields.next()];
        first.contains(&Some(&Field::StreamId)) && first.contains(&Some(&Field::Seq))
    }
}
