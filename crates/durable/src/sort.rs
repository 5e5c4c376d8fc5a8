//! The order of a job's rows: partition by partition, in each the order of `row_group.sort_by`.
//!
//! Sorts 24-byte references, never events. Stable: rows that compare equal keep the order in which they came.

use crate::layout::Layout;
use crate::partition::{PartitionKey, Partitioner, text};
use foldhash::fast::FixedState;
use std::cmp::Ordering;
use std::collections::HashMap;
use strandline_event::{EventRef, Field, StampedBatch};

/// Rows that can be read by number.
pub trait Rows {
    /// How many.
    fn rows(&self) -> usize;
    /// One of them; `i` is below [`rows`](Self::rows).
    fn row(&self, i: usize) -> EventRef<'_>;
}

impl Rows for StampedBatch {
    fn rows(&self) -> usize {
        Self::rows(self)
    }

    fn row(&self, i: usize) -> EventRef<'_> {
        Self::row(self, i)
    }
}

impl<T: Rows> Rows for &T {
    fn rows(&self) -> usize {
        (*self).rows()
    }

    fn row(&self, i: usize) -> EventRef<'_> {
        (*self).row(i)
    }
}

/// A row of a job: where it stands in the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RowRef {
    /// Rank of its partition in the order of partition values.
    pub partition: u32,
    stream: u32,
    seq: u64,
    /// The batch.
    pub batch: u32,
    /// The row in it.
    pub row: u32,
}

impl RowRef {
    /// The event.
    pub fn of<'a, B: Rows>(&self, batches: &'a [B]) -> EventRef<'a> {
        batches[self.batch as usize].row(self.row as usize)
    }
}

/// Sorts the rows of all batches.
#[must_use]
pub fn sort_rows<B: Rows>(layout: &Layout, batches: &[B]) -> Vec<RowRef> {
    let mut rows = Vec::with_capacity(batches.iter().map(Rows::rows).sum());
    let mut partitions = Partitions::default();
    let mut streams = Streams::default();
    let mut partitioner = Partitioner::new(layout);
    let mut partition = 0;
    for (b, batch) in batches.iter().enumerate() {
        for row in 0..batch.rows() {
            let event = batch.row(row);
            if partitioner.advance(&event) {
                partition = partitions.number(partitioner.key());
            }
            let stream = streams.number(event.stream_id);
            rows.push(RowRef { partition, stream, seq: event.seq.0, batch: b as u32, row: row as u32 });
        }
    }
    let (partition_rank, stream_rank) = (partitions.ranks(), streams.ranks());
    for row in &mut rows {
        row.partition = partition_rank.get(row.partition as usize).copied().unwrap_or(0);
        row.stream = stream_rank[row.stream as usize];
    }
    sort(layout, batches, &mut rows);
    rows
}

fn sort<B: Rows>(layout: &Layout, batches: &[B], rows: &mut [RowRef]) {
    let descending = layout.descending();
    let turn = |order: Ordering| if descending { order.reverse() } else { order };
    let place = |row: &RowRef| (row.batch, row.row);
    match layout.sort_by() {
        [Field::StreamId, Field::Seq] if !descending => {
            rows.sort_unstable_by_key(|r| (r.partition, r.stream, r.seq, r.batch, r.row));
        }
        [Field::StreamId, Field::Seq] => rows.sort_unstable_by(|a, b| {
            let order = turn((a.stream, a.seq).cmp(&(b.stream, b.seq)));
            a.partition.cmp(&b.partition).then(order).then(place(a).cmp(&place(b)))
        }),
        fields => rows.sort_unstable_by(|a, b| {
            let by_fields = || turn(compare(fields, &a.of(batches), &b.of(batches)));
            a.partition.cmp(&b.partition).then_with(by_fields).then(place(a).cmp(&place(b)))
        }),
    }
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
    numbers: HashMap<PartitionKey, u32, FixedState>,
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
    numbers: HashMap<&'a str, u32, FixedState>,
    last: Option<(&'a str, u32)>,
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

    fn ranks(self) -> Vec<u32> {
        ranks(self.numbers)
    }
}

/// Number by order of first sight -> rank in the order of keys.
fn ranks<K: Ord>(numbers: HashMap<K, u32, FixedState>) -> Vec<u32> {
    let mut sorted: Vec<_> = numbers.into_iter().collect();
    sorted.sort_unstable();
    let mut out = vec![0; sorted.len()];
    for (rank, (_, number)) in sorted.into_iter().enumerate() {
        out[number as usize] = rank as u32;
    }
    out
}
