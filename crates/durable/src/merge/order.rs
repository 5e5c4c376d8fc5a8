//! The order of the output: `row_group.sort_by`, rising or falling.

use crate::layout::Layout;
use crate::sort::compare;
use std::cmp::Ordering;
use strandline_event::{EventRef, Field};

/// Compares rows of one partition.
pub(crate) struct Order {
    fields: Vec<Field>,
    descending: bool,
}

impl Order {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self { fields: layout.sort_by().to_vec(), descending: layout.descending() }
    }

    pub(crate) fn compare(&self, a: &EventRef<'_>, b: &EventRef<'_>) -> Ordering {
        let order = compare(&self.fields, a, b);
        if self.descending { order.reverse() } else { order }
    }

    /// Whether `b` may stand behind `a`.
    pub(crate) fn allows(&self, a: &EventRef<'_>, b: &EventRef<'_>) -> bool {
        self.compare(a, b).is_le()
    }

    /// Whether rows of one (stream, seq) always stand side by side: the type is the same in all of them.
    pub(crate) fn keeps_doubles_together(&self) -> bool {
        let mut fields = self.fields.iter().filter(|field| **field != Field::StreamType);
        let first = [fields.next(), fields.next()];
        first.contains(&Some(&Field::StreamId)) && first.contains(&Some(&Field::Seq))
    }
}
