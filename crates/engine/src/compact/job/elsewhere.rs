//! A window of a log whose files another node writes for the one that commits them.
//!
//! ```text
//!  who commits:  plan ─> order ┐                        ┌─> select, look, take the files, commit
//!  who helps:                  └─> select, sort, write ─┘
//! ```
//!
//! Each reads the window in its own log, which holds the same entries, and ends it by the same bounds. Who helps does what costs most (order,
//! encoding, compression, uploads) and commits nothing. Invariant: a commit says of its heads, commands and number of rows what the log of the one
//! that commits says; files that do not come to it are nobody's.

use super::{Job, JobOutcome, Phase, Progress, Step, Steps, committing};
use crate::compact::error::CompactError;
use crate::compact::plan::{JobLimits, Plan};
use crate::store::Store;
use std::sync::Arc;
use strandline_durable::{HelpError, WindowOrder, WindowReport};
use strandline_event::Micros;

impl Plan {
    /// Its files as they are ordered of another node, under this job.
    #[must_use]
    pub fn order(&self, store: &Store, job_id: u128) -> WindowOrder {
        let durable = store.durable();
        WindowOrder {
            job_id,
            version: durable.pin().version(),
            stream_type: self.log.stream_type.to_string(),
            bucket: self.log.bucket,
            from_exclusive: self.from_exclusive,
            through: self.through,
            events: self.events,
            rows_max: self.limits.rows_max,
            bytes_max: self.limits.bytes_max,
            settings: durable.layout().settings(),
        }
    }
}

/// Writes the files of a window that another node has ordered, and commits nothing.
///
/// # Errors
/// `Help`: this node does not know enough for it; [`CompactError`]. Then nothing of it is left.
pub fn write_for_another(
    store: &Store,
    order: &WindowOrder,
    progress: &Progress,
    steps: &dyn Steps,
) -> Result<WindowReport, CompactError> {
    let log = order.log();
    let shared = store.log(&log).ok_or_else(|| CompactError::NoLog(log.clone()))?;
    if let Some(damage) = shared.refuses_writes() {
        return Err(CompactError::Damaged { log, damage: Arc::clone(damage) });
    }
    let (durable, rules, view) = (store.durable(), &*store.rules(), shared.view());
    let layout = durable.layout();
    durable.may_write(order, &layout)?;
    let (applied, through) = (shared.published().committed().min(view.last_index()), order.through);
    if applied < through {
        let why = format!("the log is known here up to {applied}, and the window ends with {through}");
        return Err(HelpError::Ordered(why).into());
    }
    let rows_max = order.rows_max.min(JobLimits::default().rows_max);
    let limits = JobLimits { bytes_max: order.bytes_max, rows_max };
    let (from_exclusive, events) = (order.from_exclusive, order.events);
    let plan = &Plan { log, from_exclusive, through, segments: 0, bytes: 0, events, limits };
    // nothing that it writes says when
    let (job_id, now) = (order.job_id, Micros::MIN);
    let written = Job { durable, layout, rules, view, plan, job_id, now, for_another: true, progress, steps }.files();
    if let Ok(report) = &written {
        shared.view().unmap_through(report.through);
        progress.enter(Phase::Done);
    }
    steps.entered(Phase::Done);
    written
}

/// Commits a plan of this node with the files that another one wrote for its order.
///
/// # Errors
/// `Help`: they are not what was ordered, nothing changed and they are nobody's; [`CompactError`].
pub fn commit_window(
    store: &Store,
    plan: &Plan,
    report: WindowReport,
    job_id: u128,
    now: Micros,
    progress: &Progress,
    steps: &dyn Steps,
) -> Result<JobOutcome, CompactError> {
    let order = plan.order(store, job_id);
    committing(store, plan, (job_id, now), progress, steps, |job| job.take(&order, report))
}

impl Job<'_> {
    /// The files alone.
    fn files(&self) -> Result<WindowReport, CompactError> {
        self.enter(Phase::Selecting);
        let (selected, _, sorter) = self.select_and_look()?;
        self.reached(Step::Selected)?;
        self.enter(Phase::Sorting);
        let order = sorter.finish(&selected.batches).order;
        self.reached(Step::Sorted)?;
        self.enter(Phase::Writing);
        let files = self.write(&selected, &order)?;
        self.reached(Step::FilesWritten)?;
        Ok(WindowReport { files, through: selected.through })
    }

    /// Everything but the files.
    fn take(&self, order: &WindowOrder, report: WindowReport) -> Result<JobOutcome, CompactError> {
        let before = self.pinned()?;
        self.enter(Phase::Selecting);
        let (selected, settle, sorter) = self.select_and_look()?;
        self.reached(Step::Selected)?;
        let rows = report.files.iter().fold(0_u64, |rows, file| rows.saturating_add(file.rows));
        if (report.through, rows) != (selected.through, selected.rows) {
            let (theirs, ours) = (report.through, selected.through);
            let why = format!("the files hold {rows} events up to {theirs}, the log {} up to {ours}", selected.rows);
            return Err(HelpError::Ordered(why).into());
        }
        let files = self.durable.take_written(order, report)?;
        self.reached(Step::FilesWritten)?;
        let outcome = self.commit(&selected, (settle, sorter.streams()), files, &before)?;
        self.reached(Step::Committed)?;
        Ok(outcome)
    }
}
