//! The order of a job's rows: partition by partition, in each the order of `row_group.sort_by`.
//!
//! Sorts 16-byte references, never events. Stable: rows that compare equal keep the order in which they came.

use crate::layout::Layout;
use crate::partition::{PartitionKey, Partitioner, text};
use crate::rows::Rows;
use foldhash::fast::RandomState;
use std::cmp::Ordering;
use std::collections::HashMap;
use strandline_event::{EventRef, Field, Seq};

/// A row of a job: where it stands in the input.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RowRef {
    /// Rank of its partition in the order of partition values.
    pub partition: u32,
    stream: u32,
    /// The batch.
    pub batch: u32,
    /// The row in it.
    pub row: u32,
}

impl RowRef {
    /// The event.
    pub fn of<'a, B: Rows>(&self, batches: &'a [B]) -> EventRef<'a> {
        self.batch_of(batches).row(self.row as usize)
    }

    /// The batch that it stands in.
    pub(crate) fn batch_of<'a, B>(&self, batches: &'a [B]) -> &'a B {
        &batches[self.batch as usize]
    }
}

/// Sorts the rows of all batches.
#[must_use]
pub fn sort_rows<B: Rows>(layout: &Layout, batches: &[B]) -> Vec<RowRef> {
    let Numbered { mut rows, partitions, streams, rising } = Numbered::new(layout, batches);
    let (partition_rank, stream_rank) = (partitions.ranks(), streams.ranks());
    for row in &mut rows {
        row.partition = partition_rank.get(row.partition as usize).copied().unwrap_or(0);
        row.stream = stream_rank[row.stream as usize];
    }
    match layout.sort_by() {
        [Field::StreamId, Field::Seq] => {
            let mut rows = by_stream(rows, stream_rank.len(), partition_rank.len(), layout.descending());
            by_seq(batches, &mut rows, rising, layout.descending());
            rows
        }
        fields => {
            by_fields(fields, layout.descending(), batches, &mut rows);
            rows
        }
    }
}

/// The rows of all batches as they stand, whatever the order of the layout is.
#[cfg(test)]
pub(crate) fn rows_as_they_come<B: Rows>(layout: &Layout, batches: &[B]) -> Vec<RowRef> {
    Numbered::new(layout, batches).rows
}

/// Rows with the numbers of their partitions and streams, by order of first sight.
struct Numbered<'a> {
    rows: Vec<RowRef>,
    partitions: Partitions,
    streams: Streams<'a>,
    /// The seqs of every stream rise from row to row.
    rising: bool,
}

impl<'a> Numbered<'a> {
    fn new<B: Rows>(layout: &Layout, batches: &'a [B]) -> Self {
        let mut rows = Vec::with_capacity(batches.iter().map(Rows::rows).sum());
        let mut partitions = Partitions::default();
        let mut streams = Streams::default();
        let mut partitioner = Partitioner::new(layout);
        let mut partition = 0;
        let mut rising = true;
        for (b, batch) in batches.iter().enumerate() {
            for row in 0..batch.rows() {
                if partitioner.advance(batch, row) {
                    partition = partitions.number(partitioner.key());
                }
                let stream = streams.number(batch.text(row, Field::StreamId).unwrap_or_default());
                rising &= streams.rises(stream, batch.seq(row));
                rows.push(RowRef { partition, stream, batch: b as u32, row: row as u32 });
            }
        }
        Self { rows, partitions, streams, rising }
    }
}

/// By counting, since ranks are dense.
fn by_stream(rows: Vec<RowRef>, streams: usize, partitions: usize, descending: bool) -> Vec<RowRef> {
    let last = streams.saturating_sub(1) as u32;
    let mut scratch = Vec::new();
    let rows = by_number(rows, &mut scratch, streams, |r| if descending { last - r.stream } else { r.stream });
    if partitions > 1 { by_number(rows, &mut scratch, partitions, |r| r.partition) } else { rows }
}

/// The rows of each stream. `rising`: they come so, each seq once.
fn by_seq<B: Rows>(batches: &[B], rows: &mut [RowRef], rising: bool, descending: bool) {
    if rising && !descending {
        return;
    }
    let seq = |row: &RowRef| row.batch_of(batches).seq(row.row as usize);
    for stream in rows.chunk_by_mut(|a, b| (a.partition, a.stream) == (b.partition, b.stream)) {
        match (rising, descending) {
            (true, _) => stream.reverse(),
            (false, false) => stream.sort_by_cached_key(seq),
            // stable: rows of one seq stay as they came
            (false, true) => stream.sort_by_cached_key(|row| std::cmp::Reverse(seq(row))),
        }
    }
}

/// Stable; every number is below `count`.
fn by_number(
    rows: Vec<RowRef>,
    scratch: &mut Vec<RowRef>,
    count: usize,
    number: impl Fn(&RowRef) -> u32,
) -> Vec<RowRef> {
    let mut next = vec![0_u32; count + 1];
    for row in &rows {
        next[number(row) as usize + 1] += 1;
    }
    for i in 1..next.len() {
        next[i] += next[i - 1];
    }
    scratch.resize(rows.len(), RowRef::default());
    for row in &rows {
        let place = &mut next[number(row) as usize];
        scratch[*place as usize] = *row;
        *place += 1;
    }
    std::mem::replace(scratch, rows)
}

fn by_fields<B: Rows>(fields: &[Field], descending: bool, batches: &[B], rows: &mut [RowRef]) {
    let place = |row: &RowRef| (row.batch, row.row);
    rows.sort_unstable_by(|a, b| {
        let by_fields = || {
            let order = compare(fields, &a.of(batches), &b.of(batches));
            if descending { order.reverse() } else { order }
        };
        a.partition.cmp(&b.partition).then_with(by_fields).then_with(|| place(a).cmp(&place(b)))
    });
}

/// Compares two events field by field, rising; null stands after every value.
#[must_use]
pub fn compare(fields: &[Field], a: &EventRef<'_>, b: &EventRef<'_>) -> Ordering {
    fields.iter().map(|f| compare_field(*f, a, b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

fn compare_field(field: Field, a: &EventRef<'_>, b: &EventRef<'_>) -> Ordering {
    match field {
        Field::EventId => a.event_id.cmp(&b.event_id),
        Field::Seq => a.seq.cmp(&b.seq),
        Field::OccurredAt => a.occurred_at.cmp(&b.occurred_at),
        Field::IngestedAt => a.ingested_at.cmp(&b.ingested_at),
        Field::EventVersion => nulls_last(a.event_version, b.event_version),
        _ => nulls_last(text(a, field), text(b, field)),
    }
}

fn nulls_last<T: Ord>(a: Option<T>, b: Option<T>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.cmp(&b),
        (a, b) => a.is_none().cmp(&b.is_none()),
    }
}

#[derive(Default)]
struct Partitions {
    numbers: HashMap<PartitionKey, u32, RandomState>,
}

impl Partitions {
    fn number(&mut self, key: PartitionKey) -> u32 {
        let next = self.numbers.len() as u32;
        *self.numbers.entry(key).or_insert(next)
    }

    fn ranks(self) -> Vec<u32> {
        ranks(self.numbers)
    }
}

#[derive(Default)]
struct Streams<'a> {
    // ids are the clients' choice: a seed of the process, so that nobody can choose them to collide
    numbers: HashMap<&'a str, u32, RandomState>,
    last: Option<(&'a str, u32)>,
    /// By number: the last seq.
    seqs: Vec<Seq>,
}

impl<'a> Streams<'a> {
    fn number(&mut self, stream_id: &'a str) -> u32 {
        if let Some((id, number)) = self.last
            && id == stream_id
        {
            return number;
        }
        let next = self.numbers.len() as u32;
        let number = *self.numbers.entry(stream_id).or_insert(next);
        self.last = Some((stream_id, number));
        number
    }

    /// Whether this seq stands above the one before it.
    fn rises(&mut self, stream: u32, seq: Seq) -> bool {
        match self.seqs.get_mut(stream as usize) {
            Some(last) => std::mem::replace(last, seq) < seq,
            None => {
                self.seqs.push(seq);
                true
            }
        }
    }

    fn ranks(self) -> Vec<u32> {
        ranks(self.numbers)
    }
}

/// Number by order of first sight -> rank in the order of keys.
fn ranks<K: Ord>(numbers: HashMap<K, u32, RandomState>) -> Vec<u32> {
    let mut sorted: Vec<_> = numbers.into_iter().collect();
    sorted.sort_unstable();
    let mut out = vec![0; sorted.len()];
    for (rank, (_, number)) in sorted.into_iter().enumerate() {
        out[number as usize] = rank as u32;
    }
    out
}
