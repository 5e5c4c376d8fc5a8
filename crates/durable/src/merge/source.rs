//! One input of a merge: its rows, one after the other, in the order of the output.
//!
//! A file that has that order is read batch by batch. Another one is held whole and sorted.

use super::MergeError;
use super::order::Order;
use crate::layout::Layout;
use crate::read::{DataFile, Place, ReadError, RowBatch};
use crate::redaction::Veil;
use crate::sort::{RowRef, sort_rows};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use std::vec::IntoIter;
use strandline_event::{EventRef, Field};

/// An input, standing at one of its rows.
pub(crate) struct Source {
    file: DataFile,
    rows: Coming,
    batch: RowBatch,
    at: usize,
    /// Of the present batch, once somebody has asked: see [`is_plain`](Self::is_plain).
    plain: Option<bool>,
}

/// The rows behind the present one.
enum Coming {
    Streamed(Stream),
    Sorted { batches: Vec<RowBatch>, order: IntoIter<RowRef> },
}

/// Batches of a file, group by group.
#[derive(Default)]
struct Stream {
    group: usize,
    reader: Option<ParquetRecordBatchReader>,
    next_row: u64,
}

impl Stream {
    /// The next batch that has rows.
    fn next(&mut self, file: &DataFile) -> Result<Option<RowBatch>, ReadError> {
        loop {
            if let Some(batch) = self.reader.as_mut().and_then(Iterator::next) {
                let batch = batch.map_err(|e| file.failed(&e))?;
                let rows = batch.num_rows();
                if rows > 0 {
                    let batch = file.batch_from(batch, self.next_row)?;
                    self.next_row += rows as u64;
                    return Ok(Some(batch));
                }
                continue;
            }
            if self.group >= file.groups() {
                return Ok(None);
            }
            self.reader = Some(file.whole_group(self.group)?);
            self.group += 1;
        }
    }
}

impl Source {
    /// A file that has the order of the output.
    pub(crate) fn streamed(file: DataFile) -> Result<Self, ReadError> {
        let mut stream = Stream::default();
        let batch = stream.next(&file)?.ok_or_else(|| empty(&file))?;
        Ok(Self { file, rows: Coming::Streamed(stream), batch, at: 0, plain: None })
    }

    /// A file of another order; all of its rows are held.
    pub(crate) fn sorted(file: DataFile, layout: &Layout) -> Result<Self, ReadError> {
        let (mut stream, mut batches) = (Stream::default(), Vec::new());
        while let Some(batch) = stream.next(&file)? {
            batches.push(batch);
        }
        let mut order = sort_rows(layout, &batches).into_iter();
        let first = order.next().ok_or_else(|| empty(&file))?;
        let batch = batches.get(first.batch as usize).cloned().ok_or_else(|| empty(&file))?;
        Ok(Self { file, rows: Coming::Sorted { batches, order }, batch, at: first.row as usize, plain: None })
    }

    /// The present row.
    pub(crate) fn row(&self) -> EventRef<'_> {
        self.batch.row(self.at)
    }

    /// The present row's batch and its number there.
    pub(crate) const fn here(&self) -> (&RowBatch, usize) {
        (&self.batch, self.at)
    }

    /// Another row of the file, read anew.
    pub(crate) fn fetch(&self, row: u64) -> Result<RowBatch, ReadError> {
        self.file.fetch(&[row])?.pop().ok_or_else(|| empty(&self.file))
    }

    /// Whether any stretch of the present batch can be given as it is: its rows are in order, each another event, and none is redacted.
    pub(crate) fn is_plain(&mut self, order: &Order, veil: &Veil) -> bool {
        // where rows are sorted here, those of a batch do not come one after the other
        let Self { rows: Coming::Streamed(_), batch, plain, .. } = self else { return false };
        let batch = &*batch;
        *plain.get_or_insert_with(|| order.is_strict(batch) && !veil.hides_any(batch))
    }

    /// Goes over rows of the present batch, of which there are more.
    pub(crate) fn skip(&mut self, rows: usize) {
        self.at += rows;
    }

    /// Goes to the next row; false: there is none.
    pub(crate) fn advance(&mut self, order: &Order) -> Result<bool, MergeError> {
        match &mut self.rows {
            Coming::Sorted { batches, order } => {
                let Some(next) = order.next() else { return Ok(false) };
                if let Some(batch) = batches.get(next.batch as usize) {
                    (self.batch, self.at) = (batch.clone(), next.row as usize);
                }
                Ok(true)
            }
            Coming::Streamed(stream) => {
                let behind = if self.at + 1 < self.batch.rows() { None } else { stream.next(&self.file)? };
                let sorted = match &behind {
                    Some(batch) => order.allows((&self.batch, self.at), (batch, 0)),
                    None if self.at + 1 < self.batch.rows() => {
                        let next = (&self.batch, self.at + 1);
                        self.plain == Some(true) || order.allows((&self.batch, self.at), next)
                    }
                    None => return Ok(false),
                };
                match behind {
                    Some(batch) => (self.batch, self.at, self.plain) = (batch, 0, None),
                    None => self.at += 1,
                }
                if sorted { Ok(true) } else { Err(MergeError::NotSorted(self.place())) }
            }
        }
    }

    /// Where the present row stands.
    pub(crate) fn place(&self) -> Place {
        self.batch.place(self.at)
    }
}

/// Whether a file says that it has the order in which the layout writes now.
pub(crate) fn has_order(file: &DataFile, layout: &Layout) -> bool {
    let wanted = layout.sort_by().iter().map(|field| (*field, layout.descending()));
    file.meta.parquet().row_groups().iter().all(|group| {
        let columns = group.sorting_columns().map_or(&[][..], Vec::as_slice);
        let found = columns.iter().map(|column| {
            let field = usize::try_from(column.column_idx).ok().and_then(|at| Field::ALL.get(at).copied());
            field.map(|field| (field, column.descending))
        });
        found.eq(wanted.clone().map(Some))
    })
}

/// Bytes of all rows of a file, not compressed.
pub(crate) fn unpacked_bytes(file: &DataFile) -> u64 {
    file.meta
        .parquet()
        .row_groups()
        .iter()
        .map(|group| u64::try_from(group.total_byte_size()).unwrap_or(u64::MAX))
        .sum()
}

fn empty(file: &DataFile) -> ReadError {
    file.damaged("it has fewer rows than the manifest says".to_owned())
}
