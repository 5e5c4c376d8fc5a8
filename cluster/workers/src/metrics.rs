//! Numbers of a running node: plain atomics, counted where things happen, read by whoever shows them. Counts are of the node;
//! what is measured (`measured`) is of each store.

mod gauge;
mod histogram;
mod measured;

pub use gauge::Gauge;
pub(crate) use gauge::Mark;
pub use histogram::Histogram;
pub use measured::Measured;
pub(crate) use measured::Work;

use crate::error::NodeError;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_engine::append::AppendOutcome;
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

/// What a node counts.
#[derive(Debug, Default)]
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
    /// Appends that wait for their answer: at their owner, for the disk.
    pub appends_waiting: Gauge,
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
    /// Compaction jobs of this node's stores whose files another compactor wrote, and this one committed.
    pub jobs_handed: Counter,
    /// Compaction jobs whose files this node wrote for another one, which commits them.
    pub jobs_helped: Counter,
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
    /// Merges of this node's stores that another compactor did, and this one committed.
    pub merges_handed: Counter,
    /// Merges that this node did for another one, which commits them.
    pub merges_helped: Counter,
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
    /// Counts an append that was judged without an owner.
    pub(crate) fn count_judged(&self, judged: &Result<AppendOutcome, NodeError>) {
        match judged {
            Ok(_) => self.appends.add(1),
            Err(NodeError::Refused(_)) => self.appends_refused.add(1),
            Err(_) => {}
        }
    }

    /// Counts what a read touched of data files.
    pub(crate) fn count_files(&self, stats: &ReadStats) {
        self.read_files.add(stats.files);
        self.read_row_groups.add(stats.row_groups);
        self.read_bytes.add(stats.bytes);
        self.read_filters.add(stats.filters);
        self.read_filters_no.add(stats.filters_no);
    }
}
