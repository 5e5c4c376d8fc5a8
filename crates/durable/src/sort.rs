//! The order of a job's rows: partition by partition, in each the order of `row_group.sort_by`.
//!
//! Sorts 16-byte references, never events. Stable: rows that compare equal keep the order in which they came.
//!
//! Streams are told apart by their hashes, which cost more than anything else here. What else is wanted of the streams of a job, their heads, is
//! taken in the same look.

use crate::layout::Layout;
use crate::partition::{PartitionKey, Partitioner, text};
use crate::rows::Rows;
use crate::runs::{MIXED_TENANTS, tenant_hash};
use foldhash::fast::RandomState;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::hint::black_box;
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

/// What the rows of a job do to a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamSeen {
    /// Hash of the stream.
    pub stream: u128,
    /// Seq of the row that came first.
    pub first_seq: Seq,
    /// Of the one that came last.
    pub last_seq: Seq,
    /// [`tenant_hash`] of its rows; [`MIXED_TENANTS`]: they are of several.
    pub tenant: u64,
}

/// The rows of a job in order.
#[derive(Debug)]
pub struct Sorted {
    /// The rows.
    pub order: Vec<RowRef>,
    /// Their streams, in the order in which they came first.
    pub streams: Vec<StreamSeen>,
}

/// Sorts the rows of all batches.
#[must_use]
pub fn sort_rows<B: Rows>(layout: &Layout, batches: &[B]) -> Vec<RowRef> {
    let mut sorter = Sorter::new(layout);
    batches.iter().for_each(|batch| sorter.add(batch));
    sorter.finish(batches).order
}

/// Sorts rows that come batch by batch: each is looked at once when it comes.
pub struct Sorter<'l> {
    layout: &'l Layout,
    partitioner: Partitioner<'l>,
    /// With the numbers of their partitions and streams, by order of first sight.
    rows: Vec<RowRef>,
    /// As long, where they are sorted by counting: memory that is cleared while the next batch is waited for.
    scratch: Vec<RowRef>,
    partitions: Partitions,
    partition: u32,
    streams: Streams,
    /// Those of the batch that is being added, by the numbers that it gives them.
    named: Vec<Option<Named>>,
    /// The seqs of every stream rise from row to row.
    rising: bool,
    batches: u32,
}

/// What a batch says of a stream by the row in which it comes first.
#[derive(Clone, Copy)]
struct Named {
    number: u32,
    row: u32,
    tenant: u64,
}

impl<'l> Sorter<'l> {
    /// No row yet.
    #[must_use]
    pub fn new(layout: &'l Layout) -> Self {
        Self {
            layout,
            partitioner: Partitioner::new(layout),
            rows: Vec::new(),
            scratch: Vec::new(),
            partitions: Partitions::default(),
            partition: 0,
            streams: Streams::default(),
            named: Vec::new(),
            rising: true,
            batches: 0,
        }
    }

    /// So many more rows are likely to come: where there is room for them none is copied while they do.
    pub fn expect(&mut self, rows: usize) {
        self.rows.reserve_exact(rows);
        if counts(self.layout) {
            self.scratch.reserve_exact(rows);
        }
    }

    /// The next batch.
    pub fn add<B: Rows>(&mut self, batch: &B) {
        self.add_hashed(batch, &[]);
    }

    /// The next batch. `hashes`: those of its streams, by the numbers that it gives them, where somebody knows them; else none.
    pub fn add_hashed<B: Rows>(&mut self, batch: &B, hashes: &[u128]) {
        let has_tenants = batch.may_have(Field::TenantId);
        self.named.clear();
        self.named.resize(batch.stream_count(), None);
        self.streams.look_ahead(hashes);
        let mut before = None;
        for row in 0..batch.rows() {
            if self.partitioner.advance(batch, row) {
                self.partition = self.partitions.number(self.partitioner.key());
            }
            let named = self.named(batch, hashes, row, before);
            before = Some(named);
            let tenant = |row| batch.text(row, Field::TenantId);
            let is_other = has_tenants && tenant(row) != tenant(named.row as usize);
            let (stream, seq) = (named.number, batch.seq(row));
            self.rising &= self.streams.saw(stream, seq, if is_other { MIXED_TENANTS } else { named.tenant });
            self.rows.push(RowRef { partition: self.partition, stream, batch: self.batches, row: row as u32 });
        }
        self.batches += 1;
        if counts(self.layout) {
            self.scratch.resize(self.rows.len(), RowRef::default());
        }
    }

    /// The stream of a row: known by the number that the batch has for it, or because it is that of the row before; else by its hash.
    fn named<B: Rows>(&mut self, batch: &B, hashes: &[u128], row: usize, before: Option<Named>) -> Named {
        let id = |row| batch.text(row, Field::StreamId).unwrap_or_default();
        let place = batch.stream_of(row);
        let known = match place {
            Some(place) => self.named.get(place).copied().flatten(),
            None => before.filter(|before| id(before.row as usize) == id(row)),
        };
        known.unwrap_or_else(|| {
            let hash = place.and_then(|place| hashes.get(place)).copied();
            let hash = hash.unwrap_or_else(|| stream_hash(id(row)));
            let number = self.streams.number(hash, (self.batches, row as u32));
            let tenant = tenant_hash(batch.text(row, Field::TenantId));
            let named = Named { number, row: row as u32, tenant };
            if let Some(slot) = place.and_then(|place| self.named.get_mut(place)) {
                *slot = Some(named);
            }
            named
        })
    }

    /// What was seen of the streams, where nobody needs the order.
    #[must_use]
    pub fn streams(self) -> Vec<StreamSeen> {
        self.streams.seen
    }

    /// The order. `batches` are those that were added, in the order in which they came.
    #[must_use]
    pub fn finish<B: Rows>(self, batches: &[B]) -> Sorted {
        let Self { layout, mut rows, scratch, partitions, streams, rising, .. } = self;
        let partition_rank = partitions.ranks();
        let (streams, stream_rank) = streams.ranks(batches);
        for row in &mut rows {
            row.partition = partition_rank.get(row.partition as usize).copied().unwrap_or(0);
            row.stream = stream_rank[row.stream as usize];
        }
        if counts(layout) {
            rows = by_stream((rows, scratch), stream_rank.len(), partition_rank.len(), layout.descending());
            by_seq(batches, &mut rows, rising, layout.descending());
        } else {
            by_fields(layout.sort_by(), layout.descending(), batches, &mut rows);
        }
        Sorted { order: rows, streams }
    }
}

/// The rows of all batches as they stand, whatever the order of the layout is.
#[cfg(test)]
pub(crate) fn rows_as_they_come<B: Rows>(layout: &Layout, batches: &[B]) -> Vec<RowRef> {
    let mut sorter = Sorter::new(layout);
    batches.iter().for_each(|batch| sorter.add(batch));
    sorter.rows
}

/// Whether the rows are sorted by counting those of each stream.
fn counts(layout: &Layout) -> bool {
    matches!(layout.sort_by(), [Field::StreamId, Field::Seq])
}

/// By counting, since ranks are dense.
fn by_stream(
    (rows, mut scratch): (Vec<RowRef>, Vec<RowRef>),
    streams: usize,
    partitions: usize,
    descending: bool,
) -> Vec<RowRef> {
    let last = streams.saturating_sub(1) as u32;
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
    seen: Vec<StreamSeen>,
    /// By number: batch and row in which it came first.
    first: Vec<(u32, u32)>,
}

impl Streams {
    /// Reads what [`number`](Self::number) and [`saw`](Self::saw) will look at: looks at many streams wait for memory at the same time, if none is
    /// changed in between.
    fn look_ahead(&self, streams: &[u128]) {
        for stream in streams {
            let seen = self.numbers.get(stream).and_then(|number| self.seen.get(*number as usize));
            black_box(seen.map(|seen| seen.last_seq));
        }
    }

    fn number(&mut self, stream: u128, at: (u32, u32)) -> u32 {
        let next = self.seen.len() as u32;
        let number = *self.numbers.entry(stream).or_insert(next);
        if number == next {
            self.seen.push(StreamSeen { stream, first_seq: Seq::ZERO, last_seq: Seq::ZERO, tenant: 0 });
            self.first.push(at);
        }
        number
    }

    /// Takes a row; whether its seq stands above the one before it.
    #[inline]
    fn saw(&mut self, stream: u32, seq: Seq, tenant: u64) -> bool {
        let seen = &mut self.seen[stream as usize];
        if seen.first_seq == Seq::ZERO {
            (seen.first_seq, seen.tenant) = (seq, tenant);
        } else if seen.tenant != tenant {
            seen.tenant = MIXED_TENANTS;
        }
        std::mem::replace(&mut seen.last_seq, seq) < seq
    }

    /// What was seen of each, and by number the rank in the order of ids.
    fn ranks<B: Rows>(self, batches: &[B]) -> (Vec<StreamSeen>, Vec<u32>) {
        let Self { numbers, seen, first } = self;
        drop(numbers);
        let id =
            |(batch, row): (u32, u32)| batches[batch as usize].text(row as usize, Field::StreamId).unwrap_or_default();
        (seen, ranks(first.into_iter().map(id).zip(0..).collect()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::config;
    use strandline_event::{
        BatchBuilder, BatchUnit, EventInput, IdPrefix, Micros, StampedBatch, Stamps, StampsBuilder,
    };

    type Row = (&'static str, u64, Option<&'static str>);

    /// Rows of (stream, seq, tenant), as the log has them.
    fn batch(rows: &[Row]) -> StampedBatch {
        let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
        for &(stream_id, _, tenant_id) in rows {
            let occurred_at = Some(Micros(0));
            let event =
                EventInput { stream_id, event_type: "E", occurred_at, data: "{}", tenant_id, ..EventInput::default() };
            builder.push(&event).unwrap();
        }
        StampedBatch::new(builder.finish().unwrap(), stamps(rows)).unwrap()
    }

    fn stamps(rows: &[Row]) -> Stamps {
        let mut stamps = StampsBuilder::new(Micros(0), IdPrefix::v7(Micros(0), 1), rows.len());
        rows.iter().for_each(|(_, seq, _)| stamps.push(Seq(*seq), Micros(0)));
        stamps.finish()
    }

    fn history() -> Vec<StampedBatch> {
        let (none, x, y) = (None, Some("x"), Some("y"));
        vec![
            batch(&[("b", 4, none), ("a", 1, x), ("b", 5, none), ("a", 2, x), ("c", 1, x), ("d", 1, x)]),
            batch(&[("c", 2, y), ("d", 2, none), ("e", 7, x), ("e", 8, x), ("e", 9, y), ("f", 1, x)]),
            batch(&[("a", 3, x), ("b", 6, none), ("f", 2, x), ("d", 3, x)]),
        ]
    }

    fn sorted<B: Rows>(batches: &[B]) -> Sorted {
        let layout = Layout::new(&config("")).unwrap();
        let mut sorter = Sorter::new(&layout);
        batches.iter().for_each(|batch| sorter.add(batch));
        sorter.finish(batches)
    }

    #[test]
    fn the_streams_of_a_job_are_seen_once_each_with_ends_and_tenant() {
        let seen = |id: &str, first, last, tenant| StreamSeen {
            stream: stream_hash(id),
            first_seq: Seq(first),
            last_seq: Seq(last),
            tenant,
        };
        let x = tenant_hash(Some("x"));
        let expected = [
            seen("b", 4, 6, 0),
            seen("a", 1, 3, x),
            seen("c", 1, 2, MIXED_TENANTS),
            seen("d", 1, 3, MIXED_TENANTS),
            seen("e", 7, 9, MIXED_TENANTS),
            seen("f", 1, 2, x),
        ];
        assert_eq!(sorted(&history()).streams, expected);
    }

    #[test]
    fn hashes_that_somebody_knows_are_those_of_the_ids() {
        let (batches, layout) = (history(), Layout::new(&config("")).unwrap());
        let mut sorter = Sorter::new(&layout);
        for batch in &batches {
            let view = batch.view();
            let hashes: Vec<u128> = (0..view.stream_count()).map(|stream| stream_hash(view.stream(stream))).collect();
            sorter.add_hashed(batch, &hashes);
        }
        let (with, without) = (sorter.finish(&batches), sorted(&batches));
        assert_eq!(with.order, without.order);
        assert_eq!(with.streams, without.streams);
    }

    #[test]
    fn rows_whose_streams_have_no_numbers_are_seen_alike() {
        let batches = history();
        let plain: Vec<Vec<EventRef<'_>>> = batches.iter().map(|batch| batch.iter().collect()).collect();
        let (numbered, plain) = (sorted(&batches), sorted(&plain));
        assert_eq!(numbered.order, plain.order);
        assert_eq!(numbered.streams, plain.streams);
        let ids: Vec<&str> = numbered.order.iter().map(|row| row.of(&batches).stream_id).collect();
        assert!(ids.is_sorted(), "{ids:?}");
    }
}
