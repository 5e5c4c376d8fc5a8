//! One merge: opens its inputs, writes their rows aside in order, commits the new files in the place of the old ones.

use super::plan::MergePlan;
use crate::compact::error::CompactError;
use crate::compact::progress::{Phase, Progress};
use crate::compact::steps::{NoSteps, Step, Steps};
use crate::store::Store;
use std::ops::ControlFlow;
use std::sync::Arc;
use strandline_durable::{
    HelpError, JobSpec, MergeError, MergeLimits, MergeOrder, MergeReport, MergeSpec, Merged, Replacement, Snapshot,
    WriteError,
};
use strandline_event::{LogIndex, Micros};

/// What a merge did.
#[derive(Clone)]
pub struct MergeOutcome {
    /// The manifest that it made true, or the one before where nothing was merged.
    pub snapshot: Arc<Snapshot>,
    /// Events that it wrote.
    pub rows: u64,
    /// Files that it replaced.
    pub inputs: u64,
    /// Bytes of them.
    pub input_bytes: u64,
    /// Files that it wrote.
    pub files: u64,
    /// Bytes of them.
    pub output_bytes: u64,
    /// Events that were in the inputs twice, with equal content.
    pub doubles: u64,
    /// Files that are too large to be sorted anew: left alone until the next start.
    pub left_alone: Vec<String>,
}

/// Runs one merge. `job_id` is random; the same job is never run under two ids at once.
///
/// # Errors
/// [`CompactError`]; then nothing changed, unless it is a commit of unknown outcome, which the next opening settles.
pub fn run_merge(
    store: &Store,
    plan: &MergePlan,
    job_id: u128,
    now: Micros,
    progress: &Progress,
    steps: &dyn Steps,
) -> Result<MergeOutcome, CompactError> {
    let outcome = run(store, plan, job_id, now, progress, steps);
    over(outcome.is_ok(), progress, steps);
    outcome
}

/// It has ended; one that ends early says how far it was.
fn over(is_well: bool, progress: &Progress, steps: &dyn Steps) {
    if is_well {
        progress.enter(Phase::Done);
    }
    steps.entered(Phase::Done);
}

fn enter(phase: Phase, progress: &Progress, steps: &dyn Steps) {
    progress.enter(phase);
    steps.entered(phase);
}

fn run(
    store: &Store,
    plan: &MergePlan,
    job_id: u128,
    now: Micros,
    progress: &Progress,
    steps: &dyn Steps,
) -> Result<MergeOutcome, CompactError> {
    enter(Phase::Selecting, progress, steps);
    progress.set_total(plan.events());
    steps.reached(Step::Selected)?;
    enter(Phase::Merging, progress, steps);
    // names of files are made of the epoch
    store.durable().claim_late(now)?;
    let merged = merge(store, plan, job_id, progress, steps)?;
    steps.reached(Step::FilesWritten)?;
    commit(store, plan, merged, (job_id, now), progress, steps)
}

/// Commits what another node has merged for a plan of this one.
///
/// # Errors
/// `Help`: it is not what was ordered, nothing changed; [`CompactError`].
pub fn commit_merged(
    store: &Store,
    plan: &MergePlan,
    report: MergeReport,
    job_id: u128,
    now: Micros,
    progress: &Progress,
) -> Result<MergeOutcome, CompactError> {
    let merged = store.durable().take_merged(job_id, &plan.inputs, report)?;
    let outcome = commit(store, plan, merged, (job_id, now), progress, &NoSteps);
    over(outcome.is_ok(), progress, &NoSteps);
    outcome
}

/// Does a merge that another node has ordered, and commits nothing.
///
/// # Errors
/// [`CompactError`]; then nothing of it is left.
pub fn merge_for_another(
    store: &Store,
    order: &MergeOrder,
    progress: &Progress,
    steps: &dyn Steps,
) -> Result<MergeReport, CompactError> {
    enter(Phase::Merging, progress, steps);
    if progress.is_cancelled() {
        return Err(CompactError::Cancelled);
    }
    let done = store.durable().merge_for_another(order, &mut |so_far| told(so_far, progress, steps));
    over(done.is_ok(), progress, steps);
    done.map_err(|error| match error {
        HelpError::Merge(error) => failed(error),
        other => CompactError::Help(other),
    })
}

/// Puts what was merged in the place of its inputs.
fn commit(
    store: &Store,
    plan: &MergePlan,
    merged: Merged,
    (job_id, now): (u128, Micros),
    progress: &Progress,
    steps: &dyn Steps,
) -> Result<MergeOutcome, CompactError> {
    let left_alone: Vec<String> = merged.left_alone.iter().map(|file| file.path.clone()).collect();
    store.left_alone().add(&left_alone);
    let mut outcome = MergeOutcome {
        snapshot: Arc::clone(&plan.snapshot),
        rows: merged.files.iter().map(|file| file.rows).sum(),
        inputs: merged.taken.len() as u64,
        input_bytes: merged.taken.iter().map(|file| file.bytes).sum(),
        files: merged.files.len() as u64,
        output_bytes: merged.files.iter().map(|file| file.bytes).sum(),
        doubles: merged.doubles,
        left_alone,
    };
    if merged.files.is_empty() {
        (outcome.inputs, outcome.input_bytes) = (0, 0);
        return Ok(outcome);
    }
    enter(Phase::Committing, progress, steps);
    let Merged { files, taken, doubles, .. } = merged;
    let log = plan.partition.log.clone();
    let replacement = Replacement { job_id, at: now, log, remove: taken, add: files, doubles };
    outcome.snapshot = store.durable().replace(&replacement)?;
    steps.reached(Step::Committed)?;
    Ok(outcome)
}

fn merge(
    store: &Store,
    plan: &MergePlan,
    job_id: u128,
    progress: &Progress,
    steps: &dyn Steps,
) -> Result<Merged, CompactError> {
    let job = JobSpec {
        job_id,
        log: plan.partition.log.clone(),
        from_exclusive: plan.inputs.iter().map(|file| file.from_exclusive).min().unwrap_or(LogIndex::ZERO),
        through: plan.inputs.iter().map(|file| file.through).max().unwrap_or(LogIndex::ZERO),
    };
    let (inputs, enough_bytes) = (plan.inputs.clone(), plan.enough_bytes);
    let spec = MergeSpec { job, inputs, enough_bytes, limits: MergeLimits::default() };
    let mut on_rows = |so_far: u64| told(so_far, progress, steps);
    store.durable().merge_files(&plan.snapshot, &spec, &mut on_rows).map_err(failed)
}

/// So many rows are done: it may pause, and whether it goes on.
fn told(so_far: u64, progress: &Progress, steps: &dyn Steps) -> ControlFlow<()> {
    progress.set_rows(so_far);
    steps.worked();
    if progress.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn failed(error: MergeError) -> CompactError {
    match error {
        MergeError::Write(WriteError::Cancelled) => CompactError::Cancelled,
        other => CompactError::Merge(other),
    }
}
