//! The order of a job's rows: partition by partition, in each the order of `row_group.sort_by`.
//!
//! Sorts 16-byte references, never events. Stable: rows that compare equal keep the order in which they came.

use crate::layout::Layout;
use crate::partition::{PartitionKey, Partitioner, text};
use crate::rows::Rows;
use foldhash::fast::RandomState;
use std::cmp::Ordering;
use std::collections::HashMap;
use strandline_event::hash::stream_hash;
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

    /// Whether it is of the same stream as another row of the job.
    pub(crate) const fn is_of_stream(&self, other: &Self) -> bool {
        self.stream == other.stream
    }

    /// The first row of the first batch, with such numbers.
    #[cfg(test)]
    pub(crate) const fn numbered(partition: u32, stream: u32) -> Self {
        Self { partition, stream, batch: 0, row: 0 }
    }

    /// The batch that it stands in.
    pub(crate) fn batch_of<'a, B>(&self, batches: &'a [B]) -> &'a B {
        &batches[self.batch as usize]
    }
}

/// Sorts the rows of all batches.
#[must_use]
pub fn sort_rows<B: Rows>(layout: &Layout, batches: &[B]) -> Vec<RowRef> {
    let mut sorter = Sorter::new(layout);
    batches.iter().for_each(|batch| sorter.add(batch));
    sorter.finish(batches)
}

/// Sorts rows that come batch by batch: each is looked at once when it comes.
pub struct Sorter<'l> {
    layout: &'l Layout,
    partitioner: Partitioner<'l>,
    /// With the numbers of their partitions and streams, by order of first sight.
    rows: Vec<RowRef>,
    partitions: Partitions,
    partition: u32,
    streams: Streams,
    /// The seqs of every stream rise from row to row.
    rising: bool,
    batches: u32,
}

impl<'l> Sorter<'l> {
    /// No row yet.
    #[must_use]
    pub fn new(layout: &'l Layout) -> Self {
        Self {
            layout,
            partitioner: Partitioner::new(layout),
            rows: Vec::new(),
            partitions: Partitions::default(),
            partition: 0,
            streams: Streams::default(),
            rising: true,
            batches: 0,
        }
    }

    /// The next batch.
    pub fn add<B: Rows>(&mut self, batch: &B) {
        let mut last = None;
        for row in 0..batch.rows() {
            if self.partitioner.advance(batch, row) {
                self.partition = self.partitions.number(self.partitioner.key());
            }
            let id = batch.text(row, Field::StreamId).unwrap_or_default();
            let stream = match last {
                Some((known, number)) if known == id => number,
                _ => self.streams.number(id, (self.batches, row as u32)),
            };
            last = Some((id, stream));
            self.rising &= self.streams.rises(stream, batch.seq(row));
            self.rows.push(RowRef { partition: self.partition, stream, batch: self.batches, row: row as u32 });
        }
        self.batches += 1;
    }

    /// The order. `batches` are those that were added, in the order in which they came.
    #[must_use]
    pub fn finish<B: Rows>(self, batches: &[B]) -> Vec<RowRef> {
        let Self { layout, mut rows, partitions, streams, rising, .. } = self;
        let (partition_rank, stream_rank) = (partitions.ranks(), streams.ranks(batches));
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
}

/// The rows of all batches as they stand, whatever the order of the layout is.
#[cfg(test)]
pub(crate) fn rows_as_they_come<B: Rows>(layout: &Layout, batches: &[B]) -> Vec<RowRef> {
    let mut sorter = Sorter::new(layout);
    batches.iter().for_each(|batch| sorter.add(batch));
    sorter.rows
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
        ranks(self.numbers.into_iter().collect())
    }
}

#[derive(Default)]
struct Streams {
    /// By hash, which is a stream's identity in every tier, and holds no batch. Ids are the clients' choice: the table has a seed of
    /// the process, so that nobody can choose them to collide.
    numbers: HashMap<u128, u32, RandomState>,
    /// By number.
    known: Vec<Known>,
}

/// What was seen of a stream.
struct Known {
    /// Batch and row in which it came first.
    first: (u32, u32),
    last_seq: Seq,
}

impl Streams {
    fn number(&mut self, stream_id: &str, at: (u32, u32)) -> u32 {
        let next = self.known.len() as u32;
        let number = *self.numbers.entry(stream_hash(stream_id)).or_insert(next);
        if number == next {
            self.known.push(Known { first: at, last_seq: Seq::ZERO });
        }
        number
    }

    /// Whether this seq stands above the one before it.
    fn rises(&mut self, stream: u32, seq: Seq) -> bool {
        std::mem::replace(&mut self.known[stream as usize].last_seq, seq) < seq
    }

    /// By number: the rank in the order of ids.
    fn ranks<B: Rows>(self, batches: &[B]) -> Vec<u32> {
        let id = |known: &Known| {
            let (batch, row) = known.first;
            batches[batch as usize].text(row as usize, Field::StreamId).unwrap_or_default()
        };
        ranks(self.known.iter().map(id).zip(0..).collect())
    }
}

/// Keys with their numbers -> number to rank in the order of keys.
fn ranks<K: Ord>(mut numbers: Vec<(K, u32)>) -> Vec<u32> {
    numbers.sort_unstable();
    let mut out = vec![0; numbers.len()];
    for (rank, (_, number)) in numbers.into_iter().enumerate() {
        out[number as usize] = rank as u32;
    }
    out
}
