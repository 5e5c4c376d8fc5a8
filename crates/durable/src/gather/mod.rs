//! Sorted rows of a job -> columns, window by window.
//!
//! Rows that are neighbours in the file lie far apart in the log. So the rows of a window are visited in the order of the log, field by
//! field: neighbours share lines and pages of memory, and what was found goes to its place in the sorted column. What the texts'
//! lengths say decides where a window ends before a byte is copied. The encoders take a window in chunks, which are parts of it.
//! What rows that stand together have in common (their stream's id) is found once, the stream type of a log once a job.

mod spare;
mod texts;
mod visit;

use crate::columns::{ROW_BYTES, TEXTS, bounds, place_of};
use crate::entry::Bounds;
use crate::layout::{Layout, WINDOW_ROWS};
use crate::partition::{PartitionKey, Partitioner};
use crate::rows::Rows;
use crate::sort::RowRef;
use crate::write::{PAGE_ROWS, WriteError};
use arrow::array::{
    Array, ArrayRef, FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt32Array, new_null_array,
};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use spare::Spare;
use std::sync::Arc;
use strandline_event::{EventId, Field, Micros};
use texts::Texts;
use visit::{LogOrder, Visit};

/// Rows of one partition on their way to the encoders.
pub(crate) struct Chunk {
    /// The partition, where it is another one than that of the chunk before.
    pub(crate) begins: Option<Begins>,
    /// The rows.
    pub(crate) batch: RecordBatch,
    /// Bytes of each row.
    pub(crate) bytes: Vec<usize>,
    /// Smallest and largest values of them all.
    pub(crate) bounds: Option<Bounds>,
}

/// A partition begins.
pub(crate) struct Begins {
    /// Which.
    pub(crate) key: PartitionKey,
    /// All rows of it.
    pub(crate) rows: u64,
}

/// Makes windows of sorted rows, each in chunks; stops after an error.
pub(crate) struct Gather<'a, B> {
    layout: &'a Layout,
    batches: &'a [B],
    rest: &'a [RowRef],
    partitioner: Partitioner<'a>,
    partition: Option<u32>,
    /// Rows that the next window may have: where large rows ended one early, so many and half as many again.
    reach: usize,
    log_order: LogOrder,
    having: Having<'a>,
    /// The stream type of all rows, where they have one, as often as any window has rows.
    one_type: Option<ArrayRef>,
    /// Columns of nulls, as long as any window: texts and schema versions.
    no_texts: ArrayRef,
    no_versions: ArrayRef,
    /// Used again by each window.
    scratch: Scratch<'a>,
    /// The window before, whose memory the next one takes.
    last: Option<RecordBatch>,
}

/// What the rows of a job have.
struct Having<'a> {
    /// Whether any has the text, in the order of [`TEXTS`].
    texts: [bool; TEXTS.len()],
    /// Whether any has a schema version.
    versions: bool,
    /// The stream type, where all have one.
    stream_type: Option<&'a str>,
}

impl<'a> Having<'a> {
    /// Looks at each batch once.
    fn of<B: Rows>(batches: &'a [B]) -> Self {
        let stream_type = batches.first().and_then(Rows::stream_type);
        let mut having = Self { texts: [false; TEXTS.len()], versions: false, stream_type };
        for batch in batches {
            having.texts.iter_mut().zip(TEXTS).for_each(|(any, field)| *any |= batch.may_have(field));
            having.versions |= batch.may_have(Field::EventVersion);
            having.stream_type = having.stream_type.filter(|one| batch.stream_type() == Some(*one));
        }
        having
    }
}

/// What is known of the rows of a window before their columns are made.
#[derive(Default)]
struct Scratch<'a> {
    visits: Vec<Visit>,
    /// The texts of the rows, by field.
    texts: [Texts<'a>; TEXTS.len()],
    /// Bytes of each row.
    bytes: Vec<usize>,
}

impl<'a, B: Rows> Gather<'a, B> {
    /// All rows of a job, in their order.
    pub(crate) fn new(layout: &'a Layout, batches: &'a [B], order: &'a [RowRef]) -> Self {
        let most = order.len().min(WINDOW_ROWS);
        let having = Having::of(batches);
        let rows_of_type = |one: &str| most.min(layout.window_rows(ROW_BYTES + one.len()));
        let column_of =
            |one: &'a str| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(one, rows_of_type(one))));
        let one_type = having.stream_type.map(|one| column_of(one) as ArrayRef);
        Self {
            layout,
            batches,
            rest: order,
            partitioner: Partitioner::new(layout),
            partition: None,
            // of small rows, which have some text: larger ones end it early
            reach: layout.window_rows(2 * ROW_BYTES).max(PAGE_ROWS),
            log_order: LogOrder::new(batches.iter().map(Rows::rows)),
            having,
            one_type,
            no_texts: new_null_array(&DataType::Utf8, most),
            no_versions: new_null_array(&DataType::UInt32, most),
            scratch: Scratch::default(),
            last: None,
        }
    }

    fn window(&mut self, first: RowRef) -> Result<Vec<Chunk>, WriteError> {
        let same = |row: &&RowRef| row.partition == first.partition;
        let most = self.rest.iter().take(self.reach).take_while(same).count();
        let mut scratch = std::mem::take(&mut self.scratch);
        self.look(&mut scratch, most);
        let rows = self.layout.rows_of_window(&scratch.bytes);
        if rows < most {
            let Scratch { visits, texts, .. } = &mut scratch;
            texts.iter_mut().for_each(|texts| texts.truncate(visits, rows));
            visits.retain(|visit| (visit.place as usize) < rows);
        }
        let mut spare = Spare::of(&mut self.last);
        let window = self.columns(&scratch, &mut spare, rows)?;
        let mut begins = self.begins(first);
        self.rest = self.rest.get(rows..).unwrap_or_default();
        // one that a partition ended says nothing of the next
        let reached = if rows < most { rows } else { self.reach };
        self.reach = (reached + reached / 2).clamp(PAGE_ROWS, WINDOW_ROWS);
        let (mut chunks, mut done) = (Vec::new(), 0);
        while done < rows {
            let rest = &scratch.bytes[done..rows];
            let rows = self.layout.rows_of_batch(rest);
            let batch = window.slice(done, rows);
            chunks.push(Chunk { begins: begins.take(), bounds: bounds(&batch), batch, bytes: rest[..rows].to_vec() });
            done += rows;
        }
        (self.scratch, self.last) = (scratch, Some(window));
        Ok(chunks)
    }

    fn begins(&mut self, first: RowRef) -> Option<Begins> {
        if self.partition.replace(first.partition) == Some(first.partition) {
            return None;
        }
        self.partitioner.advance(first.batch_of(self.batches), first.row as usize);
        let rows = self.rest.partition_point(|row| row.partition <= first.partition) as u64;
        Some(Begins { key: self.partitioner.key(), rows })
    }

    /// Looks at so many rows: in the order of the log, where their texts are, and how large they are.
    fn look(&mut self, scratch: &mut Scratch<'a>, rows: usize) {
        let Scratch { visits, texts, bytes } = scratch;
        let mut before: Option<&RowRef> = None;
        visits.clear();
        visits.extend(self.rest.iter().take(rows).enumerate().map(|(place, row)| {
            let leads = before.replace(row).is_none_or(|before| !before.is_of_stream(row));
            Visit { batch: row.batch, row: row.row, place: place as u32, leads }
        }));
        self.log_order.sort(visits);
        bytes.clear();
        bytes.resize(rows, ROW_BYTES + self.having.stream_type.map_or(0, str::len));
        for ((texts, field), _) in texts.iter_mut().zip(TEXTS).zip(self.having.texts).filter(|(_, any)| *any) {
            match (field, &self.one_type) {
                (Field::StreamType, Some(_)) => continue,
                (Field::StreamId, _) => texts.look_at_streams(self.batches, visits),
                _ => texts.look(self.batches, visits, field),
            }
            texts.add_bytes(bytes);
        }
    }

    /// One value of each row, put at its place. Where its columns begin is found once a batch.
    fn visit<T>(&self, visits: &[Visit], values: &mut [T], mut value: impl FnMut(&'a B, usize) -> T) {
        for visits in visits.chunk_by(Visit::is_of_batch) {
            let Some(batch) = visits.first().map(|visit| &self.batches[visit.batch as usize]) else { continue };
            for visit in visits {
                values[visit.place as usize] = value(batch, visit.row as usize);
            }
        }
    }

    fn moments(&self, visits: &[Visit], mut values: Vec<i64>, moment: impl Fn(&'a B, usize) -> Micros) -> ArrayRef {
        self.visit(visits, &mut values, |batch, row| moment(batch, row).0);
        Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
    }

    fn columns(&self, scratch: &Scratch<'a>, spare: &mut Spare, rows: usize) -> Result<RecordBatch, WriteError> {
        let wrap = |e: ArrowError| WriteError::encode("(a batch of rows)", e.into());
        let mut columns = Vec::with_capacity(Field::ALL.len());
        for field in Field::ALL {
            columns.push(self.column(field, scratch, spare, rows)?.map_err(wrap)?);
        }
        RecordBatch::try_new(Arc::clone(&self.layout.arrow_schema), columns).map_err(wrap)
    }

    fn column(
        &self,
        field: Field,
        scratch: &Scratch<'a>,
        spare: &mut Spare,
        rows: usize,
    ) -> Result<Result<ArrayRef, ArrowError>, WriteError> {
        let visits = &scratch.visits;
        Ok(Ok(match field {
            Field::EventId => {
                let mut ids = spare.bytes(rows * size_of::<EventId>());
                self.visit(visits, ids.as_chunks_mut().0, |batch, row| batch.event_id(row).0);
                let ids = FixedSizeBinaryArray::try_new(crate::schema::ID_BYTES, ids.into(), None);
                return Ok(ids.map(|ids| Arc::new(ids) as ArrayRef));
            }
            Field::Seq => {
                let (mut seqs, mut fault) = (spare.numbers(rows), Ok(()));
                self.visit(visits, &mut seqs, |batch, row| {
                    crate::columns::seq(batch.seq(row)).unwrap_or_else(|too_large| {
                        fault = Err(too_large);
                        0
                    })
                });
                fault?;
                Arc::new(Int64Array::from(seqs))
            }
            Field::EventVersion if !self.having.versions => self.no_versions.slice(0, rows),
            Field::EventVersion => {
                let mut versions = vec![None; rows];
                self.visit(visits, &mut versions, Rows::event_version);
                Arc::new(UInt32Array::from(versions))
            }
            Field::OccurredAt => self.moments(visits, spare.numbers(rows), Rows::occurred_at),
            Field::IngestedAt => self.moments(visits, spare.numbers(rows), Rows::ingested_at),
            _ if !self.having.texts[place_of(field)] => self.no_texts.slice(0, rows),
            _ => match &self.one_type {
                Some(one) if field == Field::StreamType => one.slice(0, rows),
                _ => return Ok(scratch.texts[place_of(field)].array(visits, spare)),
            },
        }))
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::{EventColumns, row_bytes};
    use crate::redaction::{Redaction, Veil, Veiled};
    use crate::sort::sort_rows;
    use crate::testing::{START_US, config, history};
    use arrow::array::AsArray;
    use strandline_event::{BatchBuilder, BatchUnit, EventInput, IdPrefix, Seq, StampedBatch, StampsBuilder};

    #[test]
    fn a_partition_that_begins_says_how_many_rows_it_has() {
        let layout = Layout::new(&config(", partition.by = ('dt')")).unwrap();
        let batches = [history(2_000), history(3_000)];
        let order = sort_rows(&layout, &batches);
        let (mut said, mut came) = (Vec::new(), Vec::new());
        for chunk in Gather::new(&layout, &batches, &order).flat_map(Result::unwrap) {
            if let Some(begins) = chunk.begins {
                said.push(begins.rows);
                came.push(0);
            }
            *came.last_mut().unwrap() += chunk.batch.num_rows() as u64;
        }
        assert_eq!(said, came);
        assert!(said.len() > 2 && said.iter().sum::<u64>() == 5_000, "{said:?}");
    }

    #[test]
    fn a_partition_that_fits_into_a_window_is_gathered_at_once() {
        let layout = Layout::new(&config(", partition.by = ('dt')")).unwrap();
        let batches = [history(30_000), history(30_000)];
        let order = sort_rows(&layout, &batches);
        let windows: Vec<_> = Gather::new(&layout, &batches, &order).map(Result::unwrap).collect();
        let partitions = windows.iter().flatten().filter(|chunk| chunk.begins.is_some()).count();
        assert!(partitions > 2, "{partitions} partitions");
        assert_eq!(windows.len(), partitions);
    }

    /// As the log has it: rows of streams that come again in each batch, some of them long, some without a tenant.
    fn batch(number: u64, more_bytes: usize) -> StampedBatch {
        let at = Micros(1_767_225_600_000_000);
        let mut builder = BatchBuilder::new("Call", BatchUnit::Rows);
        let mut stamps = StampsBuilder::new(at, IdPrefix::v7(at, number), 0);
        for n in 0..300_u64 {
            let stream_id = "s".repeat((n * n % 31) as usize + 1);
            let data = format!("{{\"n\":{},\"more\":\"{}\"}}", number * 300 + n, "m".repeat(more_bytes));
            let event = EventInput {
                stream_id: &stream_id,
                event_type: if n % 7 == 0 { "Opened" } else { "Moved" },
                data: &data,
                tenant_id: (n % 3 > 0).then_some("x"),
                ..EventInput::default()
            };
            builder.push(&event).unwrap();
            stamps.push(Seq(number * 300 + n + 1), at);
        }
        StampedBatch::new(builder.finish().unwrap(), stamps.finish()).unwrap()
    }

    #[test]
    fn every_row_has_its_own_texts_whatever_its_neighbours_share() {
        let small_groups = ", row_group.target_mb = 1";
        let by_type = ", row_group.sort_by = ('event_type', 'seq')";
        // the last ones in windows that their bytes end
        for (keys, more_bytes, windows) in
            [("", 0, 1), (", row_group.sort_order = 'desc'", 0, 1), (by_type, 0, 1), (small_groups, 1000, 7)]
        {
            let layout = Layout::new(&config(keys)).unwrap();
            let batches = [batch(0, more_bytes), batch(1, more_bytes), batch(2, more_bytes)];
            let order = sort_rows(&layout, &batches);
            let (mut rows, mut came) = (order.iter().map(|row| row.of(&batches)), 0);
            for window in Gather::new(&layout, &batches, &order) {
                came += 1;
                for chunk in window.unwrap() {
                    let text = |field: Field, row: usize| {
                        let column = chunk.batch.column(field as usize).as_string::<i32>();
                        column.is_valid(row).then(|| column.value(row))
                    };
                    for row in 0..chunk.batch.num_rows() {
                        let event = rows.next().unwrap();
                        assert_eq!(chunk.bytes[row], crate::columns::row_bytes(&event), "{keys}");
                        for field in TEXTS {
                            assert_eq!(text(field, row), crate::partition::text(&event, field), "{keys} {field:?}");
                        }
                    }
                }
            }
            assert!(rows.next().is_none());
            assert!(came >= windows, "{keys}: {came} windows");
        }
    }

    /// Rows of a few streams, some with long payloads. All optional fields are given of a row, or none is.
    fn mixed(stream_type: &str, number: u64, is_given: fn(u64) -> bool) -> StampedBatch {
        let at = Micros(START_US);
        let mut builder = BatchBuilder::new(stream_type, BatchUnit::Rows);
        let mut stamps = StampsBuilder::new(at, IdPrefix::v7(at, number), 0);
        for n in 0..300_u64 {
            let (i, given) = (number * 300 + n, is_given(n));
            let (stream_id, data) = (format!("s{}", n % 7), format!("\"{}\"", "x".repeat((n % 5 * 300) as usize)));
            let event = EventInput {
                stream_id: &stream_id,
                event_type: if n % 4 == 0 { "Opened" } else { "Moved" },
                event_id: given.then_some(EventId(u128::from(i + 1).to_le_bytes())),
                event_version: given.then_some(n as u32),
                occurred_at: given.then_some(Micros(START_US + i as i64 * 400_000_000)),
                data: &data,
                metadata: given.then_some("{}"),
                command_id: given.then_some(&*stream_id),
                correlation_id: given.then_some(""),
                causation_id: given.then_some("ü"),
                tenant_id: given.then_some(if n % 2 == 0 { "x" } else { "yz" }),
                ..EventInput::default()
            };
            builder.push(&event).unwrap();
            stamps.push(Seq(i + 1), at);
        }
        StampedBatch::new(builder.finish().unwrap(), stamps.finish()).unwrap()
    }

    /// What is gathered against what the same rows make one by one.
    fn compare<B: Rows>(layout: &Layout, batches: &[B], what: &str) {
        let order = sort_rows(layout, batches);
        let mut rows = order.iter().map(|row| row.of(batches));
        for chunk in Gather::new(layout, batches, &order).flat_map(Result::unwrap) {
            let (mut columns, mut bytes) = (EventColumns::new(Arc::clone(&layout.arrow_schema)), Vec::new());
            let mut expected: Option<Bounds> = None;
            for event in rows.by_ref().take(chunk.batch.num_rows()) {
                columns.push(&event).unwrap();
                bytes.push(row_bytes(&event));
                match &mut expected {
                    Some(bounds) => bounds.add(&event),
                    none => *none = Some(Bounds::of(&event)),
                }
            }
            assert_eq!(chunk.batch, columns.take().unwrap(), "{what}");
            assert_eq!((chunk.bytes, chunk.bounds), (bytes, expected), "{what}");
        }
        assert!(rows.next().is_none(), "{what}");
    }

    #[test]
    fn what_is_gathered_is_what_the_rows_make_one_by_one() {
        // of each optional field every row of a batch has one, some rows, or none
        let batches = [mixed("Call", 0, |_| true), mixed("Call", 1, |n| n % 3 == 0), mixed("Call", 2, |_| false)];
        let of_two_types = [mixed("Call", 3, |n| n > 7), mixed("Other", 4, |_| true)];
        let redacted = batches[..2].iter().flat_map(|batch| batch.iter().step_by(5)).map(|event| Redaction {
            event_id: event.event_id,
            stream_type: event.stream_type.to_owned(),
            stream_id: event.stream_id.to_owned(),
            seq: event.seq,
            at: Micros(1),
            who: "w".to_owned(),
            reason: None,
        });
        let (redacted, veil): (Vec<_>, _) = (redacted.collect(), Veil::default());
        veil.take_in(redacted.len(), redacted.iter());
        let veiled: Vec<_> = batches.iter().map(|batch| Veiled::new(&veil, batch)).collect();
        let by_type = ", row_group.sort_by = ('event_type', 'seq')";
        for keys in ["", ", row_group.target_mb = 1", ", partition.by = ('dt')", by_type] {
            let layout = Layout::new(&config(keys)).unwrap();
            compare(&layout, &batches, keys);
            compare(&layout, &of_two_types, keys);
            compare(&layout, &veiled, keys);
            compare(&layout, &[history(2_000), history(7)], keys);
        }
    }
}
