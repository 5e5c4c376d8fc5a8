//! A merge that takes out what is redacted changes rows, and a reader that follows changes must hear of it.

use super::*;
use crate::{MergeLimits, MergeSpec, Redact, Redaction, Replacement};
use std::ops::ControlFlow;
use strandline_event::Seq;

fn open() -> (Both, DurableTier) {
    let objects = memory();
    let tier = DurableTier::open_with(Arc::clone(&objects.0), Arc::clone(&objects.1), &config(""), options(5)).unwrap();
    (objects, tier)
}

/// Redacts the n-th event.
fn redact(tier: &DurableTier, n: u64) {
    let event = owned(n);
    let redaction = Redaction {
        event_id: event.event_id,
        stream_type: log().stream_type.to_string(),
        stream_id: event.stream_id,
        seq: Seq(event.seq),
        at: Micros(START_US + 4),
        who: "ops".to_owned(),
        reason: None,
    };
    tier.redact(&Redact { job_id: u128::from(n) + 40, events: vec![redaction] }).unwrap();
}

/// Merges all files into one.
fn merge_files(tier: &DurableTier, job_id: u128) {
    let pinned = tier.pin();
    let (job, inputs) = (job(job_id, 0, pinned.watermark(&log()).0), pinned.files().to_vec());
    let spec = MergeSpec { job, inputs, enough_bytes: u64::MAX, limits: MergeLimits::default() };
    let merged = tier.merge_files(&pinned, &spec, &mut |_| ControlFlow::Continue(())).unwrap();
    let (at, remove, add, doubles) = (Micros(START_US + 5), merged.taken, merged.files, merged.doubles);
    tier.replace(&Replacement { job_id, at, log: log(), remove, add, doubles }).unwrap();
}

/// What the newest version says of each of its files: whether rows changed.
fn changes(objects: &Both, tier: &DurableTier) -> Vec<bool> {
    let newest = assert_follows(objects, tier).version;
    let bytes = objects.0.get(&names::commit(newest)).unwrap();
    let lines = actions::from_bytes(&bytes).map(Result::unwrap);
    let change = |line: Line| line.add.map(|add| add.data_change).or(line.remove.map(|remove| remove.data_change));
    lines.filter_map(change).collect()
}

#[test]
fn a_merge_that_redacts_is_a_change_of_data_and_the_one_after_it_is_none() {
    let (objects, tier) = open();
    (1..=2).for_each(|n| append(&tier, n));
    redact(&tier, 3);
    merge_files(&tier, 50);
    assert_eq!(changes(&objects, &tier), [true; 3]);
    assert_eq!(tier.pin().files()[0].redacted_in, Some(tier.pin().version()));
    append(&tier, 3);
    merge_files(&tier, 51);
    assert_eq!(changes(&objects, &tier), [false; 3], "its text was gone before");
    // what a restart reads knows it too
    drop(tier);
    let tier = DurableTier::open_with(Arc::clone(&objects.0), Arc::clone(&objects.1), &config(""), options(6)).unwrap();
    merge_files(&tier, 52);
    assert_eq!(changes(&objects, &tier), [false; 2]);
    redact(&tier, 4);
    merge_files(&tier, 53);
    assert_eq!(changes(&objects, &tier), [true; 2]);
}

#[test]
fn what_a_merge_redacted_is_not_lost_behind_one_that_comes_into_the_same_version() {
    let (objects, tier) = open();
    append(&tier, 1);
    redact(&tier, 3);
    let before = assert_follows(&objects, &tier).version;
    let busy = tier.delta().state.lock();
    merge_files(&tier, 50);
    merge_files(&tier, 51);
    drop(busy);
    tier.delta().follow(&tier);
    assert_eq!(changes(&objects, &tier), [true; 2]);
    assert_eq!(assert_follows(&objects, &tier).version, before + 1);
}
