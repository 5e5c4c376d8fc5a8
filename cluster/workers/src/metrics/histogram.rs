//! Counts of values by fixed upper bounds. To record one is two additions to atomics: nothing is allocated, nobody waits.
//!
//! Invariant: the bounds rise, so that what is told of them (values up to each) never falls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bounds of a histogram; beyond the last there is one bucket more.
const BOUNDS: usize = 16;

/// Upper bounds of answers to clients and of the log's disk, in microseconds: 0.1 ms to 10 s.
pub(super) const LATENCY_BOUNDS_US: [u64; BOUNDS] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];
/// Upper bounds of work that nobody waits for, in microseconds: 1 ms to half an hour.
pub(super) const WORK_BOUNDS_US: [u64; BOUNDS] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
];
/// Upper bounds of batches a group.
pub(super) const BATCHES_BOUNDS: [u64; BOUNDS] =
    [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768];
/// Upper bounds of files a page; most touch none.
pub(super) const FILES_BOUNDS: [u64; BOUNDS] = [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256, 512, 1024];
/// Upper bounds of bytes of files a page.
pub(super) const BYTES_BOUNDS: [u64; BOUNDS] = [
    0,
    1 << 12,
    1 << 14,
    1 << 15,
    1 << 16,
    1 << 17,
    1 << 18,
    1 << 19,
    1 << 20,
    1 << 21,
    1 << 22,
    1 << 23,
    1 << 24,
    1 << 26,
    1 << 28,
    1 << 30,
];

/// Counts of values up to each bound, and beyond the last.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64; BOUNDS],
    buckets: [AtomicU64; BOUNDS + 1],
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) const fn new(bounds: &'static [u64; BOUNDS]) -> Self {
        Self { bounds, buckets: [const { AtomicU64::new(0) }; BOUNDS + 1], sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub fn record(&self, value: u64) {
        self.record_all(value, 1);
    }

    /// Counts a value so many times.
    fn record_all(&self, value: u64, times: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.buckets.get(bucket) {
            count.fetch_add(times, Ordering::Relaxed);
        }
        self.sum.fetch_add(value.saturating_mul(times), Ordering::Relaxed);
    }

    /// Counts a time, in microseconds.
    pub fn record_time(&self, took: Duration) {
        self.record_times(took, 1);
    }

    /// Counts a time so many times: each of as many things took it.
    pub fn record_times(&self, took: Duration, times: u64) {
        self.record_all(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), times);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_up_to_its_bound() {
        let histogram = Histogram::new(&BATCHES_BOUNDS);
        for value in [1, 2, 3, 99_999] {
            histogram.record(value);
        }
        let (rows, all, sum) = histogram.cumulative();
        assert_eq!(rows[..3], [(1, 1), (2, 2), (4, 3)]);
        assert_eq!((rows[15].1, all, sum), (3, 4, 100_005));
    }

    #[test]
    fn bounds_rise_and_latencies_are_told_apart_from_a_tenth_of_a_millisecond_to_ten_seconds() {
        for bounds in [&LATENCY_BOUNDS_US, &WORK_BOUNDS_US, &BATCHES_BOUNDS, &FILES_BOUNDS, &BYTES_BOUNDS] {
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{bounds:?}");
        }
        assert_eq!((LATENCY_BOUNDS_US[0], LATENCY_BOUNDS_US[15]), (100, 10_000_000));
        assert!(
            LATENCY_BOUNDS_US.windows(2).all(|pair| 2 * pair[1] <= 5 * pair[0]),
            "no step is above two and a half times"
        );
    }
}
