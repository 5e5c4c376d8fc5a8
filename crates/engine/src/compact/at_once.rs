//! The commit of a store without a log: what waits in several logs becomes true as one manifest version.
//!
//! ```text
//!  group of a log ─> sort, write aside ─┐
//!  group of a log ─> sort, write aside ─┼─> one commit ─> each log: committed, settled
//!  a group that cannot be written ──────┴─> failed by itself; the others go on
//! ```
//!
//! Its job id is (owner epoch, commit number): a name that no other commit ever has, by which an answer that was lost
//! is found again. Invariant: a group that is told as failed is in no version, and its files are nobody's. It waits for no job and no
//! merge, however many files these have open.

use super::output::{MadeFor, Output};
use crate::append::settle::SettleBuilder;
use crate::append::{FilesCommitted, FilesFailed, FilesGroup};
use crate::store::{SettledSnapshot, Store};
use std::ops::ControlFlow;
use std::sync::Arc;
use strandline_durable::{Commit, CommitError, DurableTier, Snapshot, Sorted, Sorter};
use strandline_event::{ErrorKind, LogKey, Micros, StampedBatch};

/// What became of a group.
type Outcome = Result<FilesCommitted, FilesFailed>;

/// Commits groups of different logs together. Gives what became of each, in their order.
pub fn commit_groups(store: &Store, groups: &[FilesGroup], now: Micros) -> Vec<Outcome> {
    commit_groups_patiently(store, groups, now, &mut |_| false)
}

/// As [`commit_groups`]; where an object store gave no clear answer, it is asked again as long as `wait` says so, which is told how
/// often that was and may take its time. The version that is there by then is ours, or the same commit goes on top of it: its
/// job id tells.
pub fn commit_groups_patiently(
    store: &Store,
    groups: &[FilesGroup],
    now: Micros,
    wait: &mut dyn FnMut(u32) -> bool,
) -> Vec<Outcome> {
    let durable = store.durable();
    // names of files and of the commit are made of the epoch
    if let Err(error) = durable.claim_late(now) {
        return groups.iter().map(|_| Err(failed(&error))).collect();
    }
    let before = durable.pin();
    let job_id = store.next_commit_id();
    let mut commits = Vec::with_capacity(groups.len());
    let written: Vec<Result<(), FilesFailed>> = groups
        .iter()
        .map(|group| write(store, &before, group, job_id, now).map(|commit| commits.push(commit)))
        .collect();
    let committed = match commit(durable, &commits, wait) {
        Ok(snapshot) => Ok(snapshot),
        Err(error) => {
            // only then a manifest may name the files; the next opening finds out
            if !matches!(error, CommitError::Unknown { .. }) {
                commits.iter().for_each(|commit| durable.discard(&commit.files));
            }
            Err(failed(&error))
        }
    };
    let outcome = |(group, written): (&FilesGroup, Result<(), FilesFailed>)| {
        written?;
        let snapshot = committed.as_ref().map_err(Clone::clone)?;
        let settled = SettledSnapshot::new(snapshot, &group.log);
        Ok(FilesCommitted { through: group.through(), settled: Arc::new(settled) })
    };
    groups.iter().zip(written).map(outcome).collect()
}

fn commit(
    durable: &DurableTier,
    commits: &[Commit],
    wait: &mut dyn FnMut(u32) -> bool,
) -> Result<Arc<Snapshot>, CommitError> {
    for tries in 1.. {
        match durable.commit_together(commits) {
            Err(CommitError::Unknown { .. }) if durable.can_settle() && wait(tries) => {}
            outcome => return outcome,
        }
    }
    durable.commit_together(commits)
}

/// Writes a group's files aside, and says what would make them true.
fn write(
    store: &Store,
    before: &Arc<Snapshot>,
    group: &FilesGroup,
    job_id: u128,
    now: Micros,
) -> Result<Commit, FilesFailed> {
    let nothing = |kind: ErrorKind, reason: String| FilesFailed::Nothing {
        disk_full: kind == ErrorKind::DiskFull,
        reason: Arc::from(reason),
    };
    if before.watermark(&group.log) != group.from_exclusive {
        return Err(unforeseen(before, &group.log));
    }
    let (from_exclusive, through) = (group.from_exclusive, group.through());
    let layout = store.durable().layout();
    let (durable, log, made_for) = (store.durable(), &group.log, MadeFor::Appends);
    let output = Output { durable, layout: &layout, job_id, now, log, from_exclusive, through, made_for };
    let batches: Vec<StampedBatch> = group.batches.iter().map(|(_, batch)| batch.clone()).collect();
    let rules = store.rules();
    let (mut sorter, mut settle) = (Sorter::new(&layout), SettleBuilder::new(&rules));
    for batch in &batches {
        sorter.add(batch);
        settle.add(batch);
    }
    let Sorted { order, streams } = sorter.finish(&batches);
    let records = settle
        .finish(streams, &SettledSnapshot::new(before, &group.log))
        .map_err(|error| nothing(error.kind(), error.to_string()))?;
    let files = output
        .write(&batches, &order, &mut |_| ControlFlow::Continue(()))
        .map_err(|error| nothing(error.kind(), error.to_string()))?;
    Ok(output.commit(records, files))
}

/// A commit that was told as failed has happened after all: what was answered since is not to be trusted.
fn unforeseen(before: &Snapshot, log: &LogKey) -> FilesFailed {
    let (version, watermark) = (before.version(), before.watermark(log));
    FilesFailed::Unknown(Arc::from(format!(
        "manifest version {version} holds `{log}` up to {watermark}, which nobody was told"
    )))
}

fn failed(error: &CommitError) -> FilesFailed {
    let reason: Arc<str> = Arc::from(error.to_string());
    match error {
        CommitError::StaleEpoch { .. } | CommitError::ReadOnly => FilesFailed::Fenced(reason),
        // a log that stands elsewhere than its owner knows: see `unforeseen`
        CommitError::Watermark { .. } | CommitError::SeqBehind { .. } => FilesFailed::Unknown(reason),
        CommitError::Unknown { version, reason } => {
            FilesFailed::Unknown(Arc::from(format!("manifest version {version}: {reason}")))
        }
        // by the contract of a commit nothing happened
        _ => FilesFailed::Nothing { disk_full: error.kind() == ErrorKind::DiskFull, reason },
    }
}
