//! How much memory a compaction takes: bounded by the limits of a job and by `row_group.target_mb`, whatever the log's size.
//!
//! Counted at the allocator. The log is on the real disk, where a job maps sealed segments: maps are the page cache's memory.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "common/measured.rs"]
mod measured;

use measured::{MB, load, store};
use peak_alloc::PeakAlloc;
use strandline_engine::compact::{JobLimits, NoSteps};
use strandline_event::LogKey;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Rows of a job that is written in one lane, and of one in two.
const ONE_LANE: u64 = 20_000;
const TWO_LANES: u64 = 80_000;
/// What a job may hold besides a row group: the order of its rows, heads, one batch on its way to the encoders, their pages, and
/// the part of the log's open segment that it reads.
const BESIDES: usize = 24 * MB;

#[derive(Clone, Copy)]
struct Case {
    events: usize,
    row_group_mb: usize,
    job_rows: u64,
    days: usize,
}

impl Case {
    /// The most bytes that compacting it held at once above what was there before; and the files.
    fn peak_bytes(&self) -> (usize, usize) {
        let folder = tempfile::tempdir().unwrap();
        let mut store =
            store(folder.path(), &format!("partition.by = 'dt', row_group.target_mb = {}", self.row_group_mb));
        load(&mut store, 0..self.events, self.days);
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let limits = JobLimits { rows_max: self.job_rows, ..JobLimits::default() };
        let moved = store.compact_with(&LogKey::single("Call"), limits, &NoSteps).unwrap();
        assert_eq!(moved, self.events as u64);
        let peak = MEMORY.peak_usage().saturating_sub(before);
        println!("{} events in jobs of {}, {} days: {peak} bytes", self.events, self.job_rows, self.days);
        (peak, store.store().durable().pin().files().len())
    }
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn memory_depends_on_the_row_group_and_not_on_the_log() {
    let one_lane = Case { events: 20_000, row_group_mb: 2, job_rows: ONE_LANE, days: 1 };
    let (small, _) = one_lane.peak_bytes();
    let (large, _) = Case { events: 100_000, ..one_lane }.peak_bytes();
    assert!(small < 2 * MB + BESIDES, "{small} bytes for one job");
    assert!(large < small + small / 4 + MB, "{large} bytes for five times the log, {small} before");
    let (grown, _) = Case { row_group_mb: 8, ..one_lane }.peak_bytes();
    assert!(grown < 8 * MB + BESIDES, "{grown} bytes with row groups of 8 MB");
    // partitions are written one after the other
    let (days, files) = Case { days: 7, ..one_lane }.peak_bytes();
    assert!(files == 7 && days < 2 * MB + BESIDES, "{days} bytes for {files} partitions");

    // each lane has a row group, and encoders, of its own
    let two_lanes = Case { events: 80_000, row_group_mb: 2, job_rows: TWO_LANES, days: 1 };
    let (small, files) = two_lanes.peak_bytes();
    assert!(files == 2 && small < 2 * (2 * MB + BESIDES), "{small} bytes for one job in {files} lanes");
    let (large, files) = Case { events: 160_000, ..two_lanes }.peak_bytes();
    assert!(files == 4 && large < small + small / 4 + MB, "{large} bytes for two such jobs, {small} before");
    let (days, files) = Case { days: 7, ..two_lanes }.peak_bytes();
    assert!(files == 7 && days < 2 * (2 * MB + BESIDES), "{days} bytes for {files} partitions in two lanes");
}
