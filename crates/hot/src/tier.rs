//! The hot tier of a store: its logs, its bound, what leaves first.

use crate::batch::{HotBatch, HotBatches, HotRange, HotRows, SeqRange};
use crate::log::HotLog;
use crate::stats::{HotLogStats, HotStats};
use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use strandline_event::{LogIndex, LogKey, Micros, StampedBatch};

/// Bounds of the tier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HotOptions {
    /// Bytes that it may hold, index included.
    pub max_bytes: u64,
    /// How long a batch stays, in microseconds; `None`: until room is needed.
    pub ttl_us: Option<i64>,
    /// Whether a log below holds everything: then anything may leave at any time. Otherwise only what
    /// [`HotTier::set_evictable_through`] says.
    pub has_log: bool,
}

/// Batches that leave under one lock, of so many rows that their streams are found in a fraction of a millisecond, or one that has more: who
/// inserts waits for no more.
const STEP_BATCHES: usize = 8;

/// Rows that come in, or leave, under one lock before others who wait for it have their turn.
const TURN_ROWS: usize = 256;

/// No time to live.
const FOR_EVER: i64 = -1;

type Logs = BTreeMap<LogKey, Arc<HotLog>>;

/// Shared by one writer and any number of readers. Writers that collide wait for each other.
#[derive(Debug)]
pub struct HotTier {
    /// Below a log or not; never changes.
    has_log: bool,
    max_bytes: AtomicU64,
    /// Negative: until room is needed.
    ttl_us: AtomicI64,
    logs: ArcSwap<Logs>,
    bytes: AtomicU64,
    /// The log of each batch, in order of arrival: what leaves first. Its lock is the writer's.
    arrivals: Mutex<VecDeque<Arc<HotLog>>>,
}

impl HotTier {
    /// An empty tier.
    #[must_use]
    pub fn new(options: HotOptions) -> Self {
        Self {
            has_log: options.has_log,
            max_bytes: AtomicU64::new(options.max_bytes),
            ttl_us: AtomicI64::new(options.ttl_us.unwrap_or(FOR_EVER)),
            logs: ArcSwap::default(),
            bytes: AtomicU64::new(0),
            arrivals: Mutex::default(),
        }
    }

    /// Other bounds: what is over the new size leaves now, what is too old with the next [`evict`](Self::evict). `has_log` stays.
    pub fn set_options(&self, options: HotOptions) {
        let mut arrivals = self.arrivals.lock();
        self.max_bytes.store(options.max_bytes, Ordering::Relaxed);
        self.ttl_us.store(options.ttl_us.unwrap_or(FOR_EVER), Ordering::Relaxed);
        self.make_room(&mut arrivals, options.max_bytes);
    }

    fn max_bytes(&self) -> u64 {
        self.max_bytes.load(Ordering::Relaxed)
    }

    /// Makes a log known that has entries up to `after` elsewhere. A known log is left alone.
    pub fn open_log(&self, key: &LogKey, after: LogIndex) {
        let _writer = self.arrivals.lock();
        self.log_or_new(key, after);
    }

    /// Holds the next entry of a log: committed, and above every one before. One at or below `through` is
    /// here or gone already and is ignored. Makes room first; an entry larger than the whole tier passes by.
    pub fn insert(&self, key: &LogKey, index: LogIndex, batch: StampedBatch, now: Micros) {
        self.insert_all(key, std::iter::once((index, batch)), now);
    }

    /// As [`insert`](Self::insert), of entries that come together, in their order: the log is looked for once.
    pub fn insert_all(&self, key: &LogKey, batches: impl Iterator<Item = (LogIndex, StampedBatch)>, now: Micros) {
        let (mut log, mut rows) = (None, 0);
        let mut arrivals = self.arrivals.lock();
        for (index, batch) in batches {
            if rows > TURN_ROWS {
                rows = 0;
                MutexGuard::bump(&mut arrivals);
            }
            rows += batch.rows();
            let log = log.get_or_insert_with(|| self.log_or_new(key, index.prev()));
            self.insert_into(&mut arrivals, log, HotBatch { index, batch, inserted_at: now });
        }
    }

    /// Under the writer's lock.
    fn insert_into(&self, arrivals: &mut VecDeque<Arc<HotLog>>, log: &Arc<HotLog>, entry: HotBatch) {
        let (index, batch) = (entry.index, &entry.batch);
        if index <= log.through() {
            return;
        }
        let view = batch.view();
        let estimate = (batch.size_bytes() + view.stream_count() * 144 + view.rows() * 32) as u64;
        if estimate > self.max_bytes() && self.has_log {
            self.drop_log(arrivals, log);
            log.pass_over(index);
            return;
        }
        self.make_room(arrivals, self.max_bytes().saturating_sub(estimate));
        let cost = log.insert(Arc::new(entry));
        self.bytes.fetch_add(cost, Ordering::Relaxed);
        arrivals.push_back(Arc::clone(log));
        self.make_room(arrivals, self.max_bytes());
    }

    /// Entries up to `through` went past this tier: what it holds of the log leaves, and it is complete from there on.
    pub fn pass_over(&self, key: &LogKey, through: LogIndex) {
        let mut arrivals = self.arrivals.lock();
        let log = self.log_or_new(key, through);
        if through > log.through() {
            self.drop_log(&mut arrivals, &log);
            log.pass_over(through);
        }
    }

    /// Lets go what is older than the time to live. Gives the number of batches that left. Who inserts comes in between.
    pub fn evict(&self, now: Micros) -> usize {
        let ttl_us = self.ttl_us.load(Ordering::Relaxed);
        if ttl_us < 0 {
            return 0;
        }
        self.evict_while(|_, batch| batch.inserted_at.plus_us(ttl_us) <= now)
    }

    /// Whether so little is free that somebody should call [`make_room_ahead`](Self::make_room_ahead), so that no insert has to.
    #[must_use]
    pub fn is_nearly_full(&self) -> bool {
        let max = self.max_bytes();
        self.bytes.load(Ordering::Relaxed) > max - max / 8
    }

    /// Lets the oldest go until a quarter is free. Gives the number of batches that left. Who inserts comes in between.
    pub fn make_room_ahead(&self) -> usize {
        let max = self.max_bytes();
        self.evict_while(|bytes, _| bytes > max - max / 4)
    }

    /// Lets the oldest go as long as it should (bytes held, batch), in steps; memory is given back outside the lock.
    fn evict_while(&self, due: impl Fn(u64, &HotBatch) -> bool) -> usize {
        let (mut left, mut is_last) = (0, false);
        while !is_last {
            let (mut gone, mut rows) = (Vec::with_capacity(STEP_BATCHES), 0);
            let mut arrivals = self.arrivals.lock();
            while gone.len() < STEP_BATCHES && rows < TURN_ROWS && !is_last {
                let due = |batch: &HotBatch| due(self.bytes.load(Ordering::Relaxed), batch);
                match self.evict_first(&mut arrivals, due) {
                    Some(batch) => {
                        rows += batch.batch.rows();
                        gone.push(batch);
                    }
                    None => is_last = true,
                }
            }
            MutexGuard::unlock_fair(arrivals);
            left += gone.len();
        }
        left
    }

    /// For a tier without a log below: entries of this log up to `through` are durable and may leave.
    pub fn set_evictable_through(&self, key: &LogKey, through: LogIndex) {
        if self.has_log {
            return;
        }
        let mut arrivals = self.arrivals.lock();
        self.log_or_new(key, LogIndex::ZERO).set_evictable_through(through);
        self.make_room(&mut arrivals, self.max_bytes());
    }

    /// The entries of a log that are here.
    #[must_use]
    pub fn range(&self, key: &LogKey) -> HotRange {
        self.log(key).map_or_else(HotRange::default, |log| {
            let through = log.through();
            HotRange { after: log.after().min(through), through }
        })
    }

    /// Rows of a stream, by its hash.
    #[must_use]
    pub fn stream(&self, key: &LogKey, stream: u128, wanted: &SeqRange) -> HotRows {
        self.log(key).map_or_else(HotRows::default, |log| log.stream(stream, wanted))
    }

    /// Batches of a log above an entry that hold something taken after a moment, oldest first, at most `limit`.
    #[must_use]
    pub fn batches(&self, key: &LogKey, after: LogIndex, ingested_after: Micros, limit: usize) -> HotBatches {
        self.log(key).map_or_else(HotBatches::default, |log| log.batches(after, ingested_after, limit))
    }

    /// The batch of an entry.
    #[must_use]
    pub fn batch(&self, key: &LogKey, index: LogIndex) -> Option<Arc<HotBatch>> {
        self.log(key)?.batch(index)
    }

    /// Numbers.
    #[must_use]
    pub fn stats(&self) -> HotStats {
        let mut all =
            HotStats { bytes: self.bytes.load(Ordering::Relaxed), max_bytes: self.max_bytes(), ..HotStats::default() };
        for log in self.logs.load().values() {
            let (batches, oldest, newest) = log.extent();
            let events = log.events.load(Ordering::Relaxed);
            all.batches += batches as u64;
            all.events += events;
            all.oldest_ingested_at = [all.oldest_ingested_at, oldest].into_iter().flatten().min();
            all.newest_ingested_at = all.newest_ingested_at.max(newest);
            all.logs.push(HotLogStats {
                key: log.key.clone(),
                bytes: log.bytes.load(Ordering::Relaxed),
                batches: batches as u64,
                events,
                range: self.range(&log.key),
                oldest_ingested_at: oldest,
                newest_ingested_at: newest,
            });
        }
        all
    }

    fn log(&self, key: &LogKey) -> Option<Arc<HotLog>> {
        self.logs.load().get(key).cloned()
    }

    /// Under the writer's lock.
    fn log_or_new(&self, key: &LogKey, after: LogIndex) -> Arc<HotLog> {
        if let Some(log) = self.log(key) {
            return log;
        }
        let evictable_through = if self.has_log { u64::MAX } else { 0 };
        let log = Arc::new(HotLog::new(key.clone(), after, evictable_through));
        let mut logs = Logs::clone(&self.logs.load());
        logs.insert(key.clone(), Arc::clone(&log));
        self.logs.store(Arc::new(logs));
        log
    }

    fn make_room(&self, arrivals: &mut VecDeque<Arc<HotLog>>, bytes_max: u64) {
        while self.bytes.load(Ordering::Relaxed) > bytes_max && self.evict_first(arrivals, |_| true).is_some() {}
    }

    /// The first batch to arrive that may leave does so, if it is `due`. A log's batches leave in order, so
    /// the first place of a log in `arrivals` stands for its oldest batch.
    fn evict_first(
        &self,
        arrivals: &mut VecDeque<Arc<HotLog>>,
        due: impl Fn(&HotBatch) -> bool,
    ) -> Option<Arc<HotBatch>> {
        let (at, oldest) = arrivals.iter().enumerate().find_map(|(at, log)| Some((at, log.oldest_evictable()?)))?;
        if !due(&oldest) {
            return None;
        }
        if let Some(log) = arrivals.remove(at) {
            self.bytes.fetch_sub(log.evict_oldest(), Ordering::Relaxed);
        }
        Some(oldest)
    }

    fn drop_log(&self, arrivals: &mut VecDeque<Arc<HotLog>>, log: &Arc<HotLog>) {
        arrivals.retain(|other| {
            let same = Arc::ptr_eq(other, log);
            if same {
                self.bytes.fetch_sub(log.evict_oldest(), Ordering::Relaxed);
            }
            !same
        });
    }
}

#[cfg(test)]
mod tests;
