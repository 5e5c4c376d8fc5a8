//! How much memory a compaction takes: bounded by the limits of a job and by `row_group.target_mb`, whatever the log's size.
//!
//! Counted at the allocator. The log is on the real disk, where a job maps sealed segments: maps are the page cache's memory.

#![allow(clippy::unwrap_used)]

use peak_alloc::PeakAlloc;
use strandline_engine::append::{Answer, Expected, OnError};
use strandline_engine::compact::{JobLimits, NoSteps};
use strandline_event::{BatchUnit, LogKey, Micros};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::{Append, Event};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const MB: usize = 1 << 20;
const BATCH_ROWS: usize = 1000;
const STREAMS: usize = 500;
/// A job's rows here; it also holds some 50 bytes of order for each of them.
const JOB_ROWS: u64 = 20_000;
/// What a job may hold besides a row group: the order of its rows, heads, one batch on its way to the encoders, their pages, and
/// the part of the log's open segment that it reads.
const BESIDES: usize = 24 * MB;

/// The most bytes that compacting so many events (in one partition) held at once above what was there before.
fn peak_bytes(events: usize, row_group_mb: usize) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let keys = format!(
        "wal.enabled = true, wal.path = '{}', wal.rollover_mb = 4, inmemory.enabled = false, durable.compression = 'none', \
         row_group.target_mb = {row_group_mb}",
        at("wal")
    );
    let mut store = LocalStore::on_real_disk(declared(&at("durable"), &keys)).unwrap();
    for first in (0..events).step_by(BATCH_ROWS) {
        append(&mut store, first);
    }
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let limits = JobLimits { rows_max: JOB_ROWS, ..JobLimits::default() };
    let moved = store.compact_with(&LogKey::single("Call"), limits, &NoSteps).unwrap();
    assert_eq!(moved, events as u64);
    MEMORY.peak_usage().saturating_sub(before)
}

fn append(store: &mut LocalStore, first: usize) {
    let event = |n: usize| Event {
        stream_id: format!("4917{:08}", n * 7919 % STREAMS),
        event_type: "CallEnded".to_owned(),
        occurred_at: Some(Micros(1_795_132_800_000_000 + n as i64)),
        data: format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(400)),
        ..Event::default()
    };
    let request = Append {
        stream_type: "Call".to_owned(),
        unit: BatchUnit::Rows,
        events: (first..first + BATCH_ROWS).map(event).collect(),
        expected: Expected::Any,
        on_error: OnError::Abort,
        inspect: false,
        chunk: None,
    };
    assert!(matches!(store.append(&request), Answer::Done(_)));
    store.time.advance_us(1000);
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn memory_depends_on_the_row_group_and_not_on_the_log() {
    let (small, large) = (peak_bytes(20_000, 2), peak_bytes(100_000, 2));
    assert!(small < 2 * MB + BESIDES, "{small} bytes for one job");
    assert!(large < small + small / 4 + MB, "{large} bytes for five times the log, {small} before");
    let grown = peak_bytes(20_000, 8);
    assert!(grown < 8 * MB + BESIDES, "{grown} bytes with row groups of 8 MB");
}
