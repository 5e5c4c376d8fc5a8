//! How long the page index of a file in the making will be at most: so much of the file must be left for it. The encoder knows only when the
//! file ends.
//!
//! A page ends after [`PAGE_ROWS`] rows or [`PAGE_BYTES`] bytes. The index has where it stands, and of a column with statistics the
//! smallest and the largest value of it, cut to 64 bytes.

use super::props::{PAGE_BYTES, PAGE_ROWS};
use crate::layout::Layout;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use strandline_event::Field;

/// Where a page stands, its length, its first row, and how long its texts are.
const PLACE_BYTES: u64 = 32;
/// The two values, whether there are any, how many are null.
const BOUNDS_BYTES: u64 = 160;
/// The length in front of a text.
const LENGTH_BYTES: u64 = 4;
const ID_BYTES: u64 = 16;

/// Counts what went to the encoders.
pub(super) struct PageIndexLength {
    /// Bytes of the index for a page of each column.
    page: [u64; Field::ALL.len()],
    /// The sum of these, and the largest.
    of_all: u64,
    of_one: u64,
    /// Bytes of each column, times those of the index for a page of it.
    weighed: u64,
}

impl PageIndexLength {
    pub(super) fn new(layout: &Layout) -> Self {
        let page = Field::ALL.map(|field| match (layout.stats.is_empty(), layout.stats.contains(&field)) {
            // then there is none
            (true, _) => 0,
            (false, false) => PLACE_BYTES,
            (false, true) => PLACE_BYTES + BOUNDS_BYTES,
        });
        let (of_all, of_one) = (page.iter().sum(), page.iter().copied().max().unwrap_or(0));
        Self { page, of_all, of_one, weighed: 0 }
    }

    /// Takes the rows of a batch.
    pub(super) fn add(&mut self, batch: &RecordBatch) {
        let rows = batch.num_rows() as u64;
        for (column, page) in batch.columns().iter().zip(self.page) {
            let bytes = match column.data_type() {
                DataType::Utf8 => {
                    let ends = column.as_string::<i32>().value_offsets();
                    let begin = ends.first().copied().unwrap_or(0);
                    let texts = ends.last().map_or(0, |end| (end - begin).cast_unsigned());
                    u64::from(texts) + rows * LENGTH_BYTES
                }
                DataType::FixedSizeBinary(_) => rows * ID_BYTES,
                // their pages end by their rows
                _ => 0,
            };
            self.weighed += bytes * page;
        }
    }

    /// Its bytes, if the file has so many rows, of which so many bytes are still to go to the encoders.
    pub(super) fn bytes(&self, rows: u64, pending_bytes: u64) -> u64 {
        let by_bytes = (self.weighed + pending_bytes * self.of_one) / PAGE_BYTES as u64;
        rows / PAGE_ROWS as u64 * self.of_all + by_bytes
    }
}
