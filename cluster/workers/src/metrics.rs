//! Numbers of a running node: plain atomics, counted where things happen, read by whoever shows them.

use std::sync::atomic::{AtomicU64, Ordering};
use strandline_engine::read::ReadStats;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// As of now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets of latencies, in microseconds.
pub const LATENCY_BOUNDS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000];
/// Upper bounds of the buckets of sizes, in appends a group.
pub const SIZE_BOUNDS: [u64; 12] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096];

/// Counts of values up to each bound, and beyond the last.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64; 12],
    buckets: [AtomicU64; 13],
    sum: AtomicU64,
}

impl Histogram {
    const fn new(bounds: &'static [u64; 12]) -> Self {
        Self { bounds, buckets: [const { AtomicU64::new(0) }; 13], sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub fn record(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.buckets.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// (bound, values up to it) for each bound, then the number of all values and their sum.
    #[must_use]
    pub fn cumulative(&self) -> (Vec<(u64, u64)>, u64, u64) {
        let mut all = 0;
        let mut rows = Vec::with_capacity(self.bounds.len());
        for (i, count) in self.buckets.iter().enumerate() {
            all += count.load(Ordering::Relaxed);
            if let Some(bound) = self.bounds.get(i) {
                rows.push((*bound, all));
            }
        }
        (rows, all, self.sum.load(Ordering::Relaxed))
    }
}

/// What a node counts.
#[derive(Debug)]
pub struct Metrics {
    /// Appends answered with yes, duplicates included.
    pub appends: Counter,
    /// Appends answered with no.
    pub appends_refused: Counter,
    /// Events stored.
    pub events: Counter,
    /// Bytes of the batches stored.
    pub event_bytes: Counter,
    /// Group commits that held batches.
    pub groups: Counter,
    /// Batches a group.
    pub group_batches: Histogram,
    /// From handing a group to the disk to its commit, microseconds.
    pub group_us: Histogram,
    /// From an append's arrival at its owner to its answer, microseconds.
    pub append_us: Histogram,
    /// Reads answered (pages).
    pub reads: Counter,
    /// Reads that took rows from the hot tier, the log, the durable tier.
    pub reads_by_tier: [Counter; 3],
    /// Data files that reads opened.
    pub read_files: Counter,
    /// Row groups of data files of which reads decoded pages.
    pub read_row_groups: Counter,
    /// Bytes of data files that reads took.
    pub read_bytes: Counter,
    /// Bloom filters that reads asked.
    pub read_filters: Counter,
    /// Those that said no: nothing of the row group was read.
    pub read_filters_no: Counter,
    /// Requests refused because too much was in flight.
    pub overloaded: Counter,
    /// Compaction jobs that ended well.
    pub jobs_done: Counter,
    /// Compaction jobs that failed or were cancelled.
    pub jobs_failed: Counter,
    /// Rows that compaction moved.
    pub job_rows: Counter,
    /// Bytes of data files that compaction wrote.
    pub job_output_bytes: Counter,
    /// Pauses that the share of compaction asked of its threads.
    pub compaction_pauses: Counter,
    /// Microseconds of them, as they were asked for.
    pub compaction_paused_us: Counter,
    /// Runs of retention and restores that ended well.
    pub retention_runs: Counter,
    /// Those that failed.
    pub retention_failed: Counter,
    /// Data files that retention took out.
    pub retention_files: Counter,
    /// Events in them.
    pub retention_events: Counter,
    /// Bytes of them.
    pub retention_bytes: Counter,
    /// Data files that were brought back.
    pub restored_files: Counter,
    /// Merges of partitions that ended well.
    pub merges_done: Counter,
    /// Merges that failed or were cancelled.
    pub merges_failed: Counter,
    /// Rows that merges wrote again.
    pub merge_rows: Counter,
    /// Data files that merges replaced.
    pub merge_input_files: Counter,
    /// Data files that merges wrote.
    pub merge_output_files: Counter,
    /// Bytes of them.
    pub merge_output_bytes: Counter,
}

impl Metrics {
    /// Counts what a read touched of data files.
    pub(crate) fn count_files(&self, stats: &ReadStats) {
        self.read_files.add(stats.files);
        self.read_row_groups.add(stats.row_groups);
        self.read_bytes.add(stats.bytes);
        self.read_filters.add(stats.filters);
        self.read_filters_no.add(stats.filters_no);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            appends: Counter::default(),
            appends_refused: Counter::default(),
            events: Counter::default(),
            event_bytes: Counter::default(),
            groups: Counter::default(),
            group_batches: Histogram::new(&SIZE_BOUNDS),
            group_us: Histogram::new(&LATENCY_BOUNDS_US),
            append_us: Histogram::new(&LATENCY_BOUNDS_US),
            reads: Counter::default(),
            reads_by_tier: Default::default(),
            read_files: Counter::default(),
            read_row_groups: Counter::default(),
            read_bytes: Counter::default(),
            read_filters: Counter::default(),
            read_filters_no: Counter::default(),
            overloaded: Counter::default(),
            jobs_done: Counter::default(),
            jobs_failed: Counter::default(),
            job_rows: Counter::default(),
            job_output_bytes: Counter::default(),
            compaction_pauses: Counter::default(),
            compaction_paused_us: Counter::default(),
            retention_runs: Counter::default(),
            retention_failed: Counter::default(),
            retention_files: Counter::default(),
            retention_events: Counter::default(),
            retention_bytes: Counter::default(),
            restored_files: Counter::default(),
            merges_done: Counter::default(),
            merges_failed: Counter::default(),
            merge_rows: Counter::default(),
            merge_input_files: Counter::default(),
            merge_output_files: Counter::default(),
            merge_output_bytes: Counter::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_up_to_its_bound() {
        let histogram = Histogram::new(&SIZE_BOUNDS);
        for value in [1, 2, 3, 9999] {
            histogram.record(value);
        }
        let (rows, all, sum) = histogram.cumulative();
        assert_eq!(rows[..3], [(1, 1), (2, 2), (4, 3)]);
        assert_eq!((all, sum), (4, 10_005));
    }
}
