//! How much memory a merge takes: bounded by what it may decode at once and by `row_group.target_mb`, whatever the inputs' size.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "common/measured.rs"]
mod measured;

use measured::{MB, load, store};
use peak_alloc::PeakAlloc;
use std::ops::ControlFlow;
use strandline_durable::{JobSpec, MergeLimits, MergeSpec};
use strandline_engine::compact::{self, Trigger};
use strandline_event::{LogIndex, LogKey};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const INPUTS: usize = 4;
const ROW_GROUP_MB: usize = 2;
/// Decoded rows of all inputs together; as much again is read ahead.
const DECODED: usize = 4 * MB;
/// What a merge may hold besides: footers and page indexes, a page a column of each input, one of each encoder, what filters are made of.
const BESIDES: usize = 16 * MB;

/// The most bytes that a merge of files of so many rows each held at once above what was there before, and the bytes of these.
fn peak_bytes(rows: usize) -> (usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(folder.path(), &format!("row_group.target_mb = {ROW_GROUP_MB}"));
    let log = LogKey::single("Call");
    for n in 0..INPUTS {
        load(&mut store, n * rows..(n + 1) * rows, 1);
        store.compact(&log).unwrap();
    }
    let plan = compact::plan_merges(store.store(), None, Trigger::Hand, store.time.now()).unwrap().remove(0);
    assert_eq!(plan.inputs.len(), INPUTS);
    let bytes: u64 = plan.inputs.iter().map(|file| file.bytes).sum();
    let through = plan.inputs.iter().map(|file| file.through).max().unwrap();
    let job = JobSpec { job_id: 4711, log, from_exclusive: LogIndex::ZERO, through };
    let limits = MergeLimits { batches_bytes: DECODED as u64, ..MergeLimits::default() };
    let spec = MergeSpec { job, inputs: plan.inputs.clone(), enough_bytes: plan.enough_bytes, limits };
    let durable = store.store().durable();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let merged = durable.merge_files(&plan.snapshot, &spec, &mut |_| ControlFlow::Continue(())).unwrap();
    let peak = MEMORY.peak_usage().saturating_sub(before);
    assert_eq!(merged.files.iter().map(|file| file.rows).sum::<u64>(), (INPUTS * rows) as u64);
    println!("{INPUTS} files of {rows} rows, {bytes} bytes: {peak} bytes");
    (peak, bytes as usize)
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn memory_does_not_depend_on_the_size_of_the_files() {
    let (small, _) = peak_bytes(10_000);
    let (large, bytes) = peak_bytes(40_000);
    let most = 2 * DECODED + ROW_GROUP_MB * MB + BESIDES;
    assert!(small < most && large < most && most < bytes / 2, "{small} and {large} bytes, of {bytes}");
    assert!(large < small + small / 4 + MB, "{large} bytes for four times the rows, {small} before");
}
