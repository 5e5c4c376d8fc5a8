//! Sorted rows of a job -> columns, window by window.
//!
//! Rows that are neighbours in the file lie far apart in the log. So the rows of a window are visited in the order of the log, field by
//! field: neighbours share lines and pages of memory, and what was found goes to its place in the sorted column. What the texts'
//! lengths say decides where a window ends before a byte is copied. The encoders take a window in chunks, which are parts of it.

use crate::columns::{ROW_BYTES, TEXTS, bounds, place_of};
use crate::entry::Bounds;
use crate::layout::{Layout, WINDOW_ROWS};
use crate::partition::{PartitionKey, Partitioner};
use crate::rows::Rows;
use crate::sort::RowRef;
use crate::write::{PAGE_ROWS, WriteError};
use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
    new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use std::sync::Arc;
use strandline_event::Field;

/// Rows of one partition on their way to the encoders.
pub(crate) struct Chunk {
    /// The partition, where it is another one than that of the chunk before.
    pub(crate) begins: Option<PartitionKey>,
    /// The rows.
    pub(crate) batch: RecordBatch,
    /// Bytes of each row.
    pub(crate) bytes: Vec<usize>,
    /// Smallest and largest values of them all.
    pub(crate) bounds: Option<Bounds>,
}

/// Makes windows of sorted rows, each in chunks; stops after an error.
pub(crate) struct Gather<'a, B> {
    layout: &'a Layout,
    batches: &'a [B],
    rest: &'a [RowRef],
    partitioner: Partitioner<'a>,
    partition: Option<u32>,
    /// Rows that the next window may have: as many as the one before and half as many again, since large rows end one early.
    reach: usize,
    /// Whether any row of the job has the text, in the order of [`TEXTS`].
    there: [bool; TEXTS.len()],
    /// Whether any has a schema version.
    versions: bool,
}

/// A row of a window in the order of the log, and its place in the window.
struct Visit {
    batch: u32,
    row: u32,
    place: u32,
}

impl<'a, B: Rows> Gather<'a, B> {
    /// All rows of a job, in their order.
    pub(crate) fn new(layout: &'a Layout, batches: &'a [B], order: &'a [RowRef]) -> Self {
        let there = TEXTS.map(|field| batches.iter().any(|batch| batch.may_have(field)));
        let versions = batches.iter().any(|batch| batch.may_have(Field::EventVersion));
        let partitioner = Partitioner::new(layout);
        Self { layout, batches, rest: order, partitioner, partition: None, reach: PAGE_ROWS, there, versions }
    }

    fn window(&mut self, first: RowRef) -> Result<Vec<Chunk>, WriteError> {
        let same = |row: &&RowRef| row.partition == first.partition;
        let most = self.rest.iter().take(self.reach).take_while(same).count();
        let mut visits = self.visits(most);
        let texts = self.texts(&visits, most);
        let mut bytes = vec![ROW_BYTES; most];
        for column in &texts {
            bytes.iter_mut().zip(column).for_each(|(sum, text)| *sum += text.map_or(0, <[u8]>::len));
        }
        let rows = self.layout.rows_of_window(&bytes);
        bytes.truncate(rows);
        visits.retain(|visit| (visit.place as usize) < rows);
        let window = self.columns(&visits, &texts, rows)?;
        self.rest = self.rest.get(rows..).unwrap_or_default();
        self.reach = (rows + rows / 2).clamp(PAGE_ROWS, WINDOW_ROWS);
        let mut begins = self.begins(first);
        let (mut chunks, mut done) = (Vec::new(), 0);
        while done < rows {
            let rest = &bytes[done..];
            let rows = self.layout.rows_of_batch(rest);
            let batch = window.slice(done, rows);
            chunks.push(Chunk { begins: begins.take(), bounds: bounds(&batch), batch, bytes: rest[..rows].to_vec() });
            done += rows;
        }
        Ok(chunks)
    }

    fn begins(&mut self, first: RowRef) -> Option<PartitionKey> {
        if self.partition.replace(first.partition) == Some(first.partition) {
            return None;
        }
        self.partitioner.advance(first.batch_of(self.batches), first.row as usize);
        Some(self.partitioner.key())
    }

    fn visits(&self, rows: usize) -> Vec<Visit> {
        let rows = self.rest.iter().take(rows).enumerate();
        let mut visits: Vec<_> =
            rows.map(|(place, row)| Visit { batch: row.batch, row: row.row, place: place as u32 }).collect();
        visits.sort_unstable_by_key(|visit| (visit.batch, visit.row));
        visits
    }

    /// Where the texts of the rows are, by field and place; empty: nobody has one.
    fn texts(&self, visits: &[Visit], rows: usize) -> [Vec<Option<&'a [u8]>>; TEXTS.len()] {
        let mut columns = TEXTS.map(|_| Vec::new());
        for ((column, field), there) in columns.iter_mut().zip(TEXTS).zip(self.there) {
            if there {
                *column = self.visit(visits, rows, |batch, row| batch.bytes(row, field));
            }
        }
        columns
    }

    /// One value of each row, put at its place.
    fn visit<T: Clone + Default>(&self, visits: &[Visit], rows: usize, value: impl Fn(&'a B, usize) -> T) -> Vec<T> {
        let mut values = vec![T::default(); rows];
        for visit in visits {
            values[visit.place as usize] = value(&self.batches[visit.batch as usize], visit.row as usize);
        }
        values
    }

    fn columns(
        &self,
        visits: &[Visit],
        texts: &[Vec<Option<&'a [u8]>>; TEXTS.len()],
        rows: usize,
    ) -> Result<RecordBatch, WriteError> {
        let wrap = |e: ArrowError| WriteError::encode("(a batch of rows)", e.into());
        let mut columns = Vec::with_capacity(Field::ALL.len());
        for field in Field::ALL {
            columns.push(self.column(field, visits, texts, rows)?.map_err(wrap)?);
        }
        RecordBatch::try_new(Arc::clone(&self.layout.arrow_schema), columns).map_err(wrap)
    }

    fn column(
        &self,
        field: Field,
        visits: &[Visit],
        texts: &[Vec<Option<&'a [u8]>>; TEXTS.len()],
        rows: usize,
    ) -> Result<Result<ArrayRef, ArrowError>, WriteError> {
        let moments =
            |values: Vec<i64>| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")) };
        Ok(Ok(match field {
            Field::EventId => {
                let ids = self.visit(visits, rows, |batch, row| batch.event_id(row).0);
                let ids = FixedSizeBinaryArray::try_new(crate::schema::ID_BYTES, ids.into_flattened().into(), None);
                return Ok(ids.map(|ids| Arc::new(ids) as ArrayRef));
            }
            Field::Seq => {
                let seqs = self.visit(visits, rows, |batch, row| batch.seq(row));
                Arc::new(Int64Array::from(seqs.into_iter().map(crate::columns::seq).collect::<Result<Vec<_>, _>>()?))
            }
            Field::EventVersion if !self.versions => new_null_array(&DataType::UInt32, rows),
            Field::EventVersion => {
                Arc::new(UInt32Array::from(self.visit(visits, rows, |batch, row| batch.event_version(row))))
            }
            Field::OccurredAt => moments(self.visit(visits, rows, |batch, row| batch.occurred_at(row).0)),
            Field::IngestedAt => moments(self.visit(visits, rows, |batch, row| batch.ingested_at(row).0)),
            _ => {
                let texts = texts[place_of(field)].get(..rows);
                return Ok(
                    texts.map_or_else(|| Ok(new_null_array(&DataType::Utf8, rows)), |texts| text_column(visits, texts))
                );
            }
        }))
    }
}

/// Copies texts to their places, in the order of the log.
fn text_column(visits: &[Visit], texts: &[Option<&[u8]>]) -> Result<ArrayRef, ArrowError> {
    let mut ends = Vec::with_capacity(texts.len() + 1);
    ends.push(0_i32);
    let mut end = 0;
    for text in texts {
        end += text.map_or(0, <[u8]>::len);
        // a window is bounded far below 2 GiB of text: one row has 1 MiB at most
        ends.push(i32::try_from(end).map_err(|_| ArrowError::OffsetOverflowError(end))?);
    }
    let mut values = vec![0_u8; end];
    for visit in visits {
        let place = visit.place as usize;
        if let Some(text) = texts[place] {
            values[ends[place] as usize..ends[place + 1] as usize].copy_from_slice(text);
        }
    }
    let nulls = texts.iter().any(Option::is_none).then(|| texts.iter().map(Option::is_some).collect::<NullBuffer>());
    let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
    Ok(Arc::new(StringArray::try_new(ends, values.into(), nulls)?))
}

impl<B: Rows> Iterator for Gather<'_, B> {
    type Item = Result<Vec<Chunk>, WriteError>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = *self.rest.first()?;
        let window = self.window(first);
        if window.is_err() {
            self.rest = &[];
        }
        Some(window)
    }
}
