//! Latencies of a run: HDR histograms in nanoseconds, one a client, added up at the end.

use hdrhistogram::Histogram;
use std::time::Duration;

/// The longest request that is told apart: one hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Latencies.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl Latency {
    /// None yet.
    ///
    /// # Panics
    /// Never: the bounds are constant and good.
    #[must_use]
    #[allow(clippy::expect_used, reason = "the bounds are constants that the library takes")]
    pub fn new() -> Self {
        // with bounds of its own: one without would take what is longer than it has room for as its largest value
        Self(Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("constant bounds are good"))
    }

    /// Counts one.
    pub fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    /// Adds those of another client.
    pub fn add(&mut self, other: &Self) {
        // cannot fail: all have the same bounds
        let _ = self.0.add(&other.0);
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that a part of all does not exceed, in milliseconds.
    #[must_use]
    pub fn ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e6
    }

    /// The longest, in milliseconds.
    #[must_use]
    pub fn max_ms(&self) -> f64 {
        self.0.max() as f64 / 1e6
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_all_clients() {
        let (mut all, mut one, mut other) = (Latency::new(), Latency::new(), Latency::new());
        (1..=90).for_each(|_| one.record(Duration::from_micros(100)));
        (1..=9).for_each(|_| other.record(Duration::from_millis(5)));
        other.record(Duration::from_secs(12));
        all.add(&one);
        all.add(&other);
        let near = |found: f64, wanted: f64| (found - wanted).abs() <= wanted / 500.0;
        assert_eq!(all.count(), 100);
        assert!(near(all.ms(0.5), 0.1) && near(all.ms(0.95), 5.0) && near(all.max_ms(), 12_000.0), "{all:?}");
    }
}
