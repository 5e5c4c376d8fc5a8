//! The hot part of one log: a ring of batches and the index of its streams.

use crate::batch::{HotBatch, HotBatches, HotRange, HotRows, SeqRange};
use crate::shard::{End, Shard};
use parking_lot::RwLock;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_event::hash::stream_hash;
use strandline_event::{LogIndex, LogKey, Micros};

const SHARDS: usize = 16;
/// Streams of a batch that leaves that are looked at together.
const AHEAD_STREAMS: usize = 64;

/// Batches of one log in `(after, through]`. The tier's writer lock is held by whoever changes it.
#[derive(Debug)]
pub(crate) struct HotLog {
    pub(crate) key: LogKey,
    after: AtomicU64,
    through: AtomicU64,
    /// Nothing above it is evicted (`u64::MAX`: a lower tier has everything).
    evictable_through: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) events: AtomicU64,
    ring: RwLock<VecDeque<Arc<HotBatch>>>,
    shards: [RwLock<Shard>; SHARDS],
}

fn shard_of(stream: u128) -> usize {
    (stream as usize) % SHARDS
}

impl HotLog {
    pub(crate) fn new(key: LogKey, after: LogIndex, evictable_through: u64) -> Self {
        Self {
            key,
            after: AtomicU64::new(after.0),
            through: AtomicU64::new(after.0),
            evictable_through: AtomicU64::new(evictable_through),
            bytes: AtomicU64::new(0),
            events: AtomicU64::new(0),
            ring: RwLock::default(),
            shards: Default::default(),
        }
    }

    pub(crate) fn after(&self) -> LogIndex {
        LogIndex(self.after.load(Ordering::Acquire))
    }

    pub(crate) fn through(&self) -> LogIndex {
        LogIndex(self.through.load(Ordering::Acquire))
    }

    /// Writer: what a lower tier holds may leave.
    pub(crate) fn set_evictable_through(&self, through: LogIndex) {
        self.evictable_through.store(through.0, Ordering::Release);
    }

    /// Writer: the entry is not kept here; everything up to it is a lower tier's.
    pub(crate) fn pass_over(&self, index: LogIndex) {
        self.after.store(index.0, Ordering::Release);
        self.through.store(index.0, Ordering::Release);
    }

    /// Writer: adds the next entry, and only then lets readers count on it. Gives the bytes that it costs.
    pub(crate) fn insert(&self, batch: Arc<HotBatch>) -> u64 {
        let (index, view) = (batch.index, batch.batch.view());
        let mut cost = batch.batch.size_bytes() + size_of::<HotBatch>() + size_of::<Arc<HotBatch>>();
        if view.stream_count() == 1 {
            cost += self.push(stream_hash(view.stream(0)), &batch, 0..view.rows());
        } else {
            let hashes: Vec<u128> = (0..view.stream_count()).map(|s| stream_hash(view.stream(s))).collect();
            self.look_ahead(&hashes, End::Newest);
            let mut row = 0;
            while row < view.rows() {
                let stream = view.stream_of(row);
                let others = |next: &usize| view.stream_of(*next) != stream;
                let end = (row + 1..view.rows()).find(others).unwrap_or(view.rows());
                cost += hashes.get(stream).map_or(0, |stream| self.push(*stream, &batch, row..end));
                row = end;
            }
        }
        self.events.fetch_add(batch.batch.rows() as u64, Ordering::Relaxed);
        self.ring.write().push_back(batch);
        self.bytes.fetch_add(cost as u64, Ordering::Relaxed);
        self.through.store(index.0, Ordering::Release);
        cost as u64
    }

    /// Rows of a stream that stand together in a batch.
    fn push(&self, stream: u128, batch: &Arc<HotBatch>, rows: Range<usize>) -> usize {
        let rows = rows.start as u32..rows.end as u32;
        self.shards.get(shard_of(stream)).map_or(0, |shard| shard.write().push(stream, batch, rows))
    }

    /// Before a batch's streams change, one after the other. Who takes a lock has waited for all that it read before: all are taken first. They
    /// keep out nobody but who changes the log, and that is who looks.
    fn look_ahead(&self, streams: &[u128], end: End) {
        let shards = self.shards.each_ref().map(|shard| shard.read());
        for stream in streams {
            if let Some(shard) = shards.get(shard_of(*stream)) {
                shard.look_ahead(*stream, end);
            }
        }
    }

    /// The oldest batch, if it may leave.
    pub(crate) fn oldest_evictable(&self) -> Option<Arc<HotBatch>> {
        let oldest = self.ring.read().front().cloned()?;
        (oldest.index.0 <= self.evictable_through.load(Ordering::Acquire)).then_some(oldest)
    }

    /// Writer: the oldest batch leaves. `after` rises before anything is gone. Gives the bytes that became free.
    pub(crate) fn evict_oldest(&self) -> u64 {
        let Some(batch) = self.ring.read().front().cloned() else { return 0 };
        self.after.store(batch.index.0, Ordering::Release);
        let view = batch.batch.view();
        let mut freed = batch.batch.size_bytes() + size_of::<HotBatch>() + size_of::<Arc<HotBatch>>();
        let mut rest = (0..view.stream_count()).map(|s| stream_hash(view.stream(s)));
        // some at a time, on the stack: what leaves allocates nothing
        let mut hashes = [0; AHEAD_STREAMS];
        loop {
            let filled = hashes.iter_mut().zip(&mut rest).map(|(hash, stream)| *hash = stream).count();
            let Some(streams) = hashes.get(..filled).filter(|streams| !streams.is_empty()) else { break };
            self.look_ahead(streams, End::Oldest);
            for stream in streams {
                if let Some(shard) = self.shards.get(shard_of(*stream)) {
                    freed += shard.write().remove(*stream, batch.index);
                }
            }
        }
        self.ring.write().pop_front();
        self.events.fetch_sub(batch.batch.rows() as u64, Ordering::Relaxed);
        self.bytes.fetch_sub(freed as u64, Ordering::Relaxed);
        freed as u64
    }

    /// Reader: takes something and the range that it is complete for. Repeats if an eviction came between:
    /// with a limit, rows that left could otherwise hide rows that are still here.
    fn stable<T>(&self, take: impl Fn(HotRange) -> T) -> (T, HotRange) {
        let mut after = self.after();
        loop {
            let range = HotRange { after, through: self.through() };
            let taken = take(range);
            after = self.after();
            if after == range.after {
                return (taken, range);
            }
        }
    }

    pub(crate) fn stream(&self, stream: u128, wanted: &SeqRange) -> HotRows {
        let take = |range: HotRange| {
            self.shards
                .get(shard_of(stream))
                .map_or_else(Vec::new, |s| s.read().take(stream, wanted, range.after, range.through))
        };
        let (rows, range) = self.stable(take);
        HotRows { rows, range }
    }

    pub(crate) fn batches(&self, after: LogIndex, ingested_after: Micros, limit: usize) -> HotBatches {
        let (batches, range) = self.stable(|range| {
            let after = after.max(range.after);
            let ring = self.ring.read();
            let start =
                ring.partition_point(|b| b.index <= after || b.batch.stamps().last_ingested_at() <= ingested_after);
            ring.range(start..).take_while(|b| b.index <= range.through).take(limit).cloned().collect()
        });
        HotBatches { batches, range }
    }

    pub(crate) fn batch(&self, index: LogIndex) -> Option<Arc<HotBatch>> {
        let ring = self.ring.read();
        let at = ring.binary_search_by_key(&index, |b| b.index).ok()?;
        ring.get(at).cloned()
    }

    /// Number of batches, moment of the first and of the last event.
    pub(crate) fn extent(&self) -> (usize, Option<Micros>, Option<Micros>) {
        let ring = self.ring.read();
        let oldest = ring.front().map(|b| b.batch.stamps().first_ingested_at());
        let newest = ring.back().map(|b| b.batch.stamps().last_ingested_at());
        (ring.len(), oldest, newest)
    }
}
