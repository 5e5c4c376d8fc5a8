//! One bounded job: reads a range of a log, puts its rows in order, writes data files aside, commits.
//!
//! Memory: the batches are maps of sealed segments (a part that is still open is copied), the order costs 16 bytes a
//! row and as many again while it is made, and some 100 bytes a stream; two data files are open at a time, one of a small job.

mod elsewhere;

pub use elsewhere::{commit_window, write_for_another};

use super::error::CompactError;
use super::output::{MadeFor, Output};
use super::plan::{JobLimits, Plan, bytes_within, segments_within};
use super::progress::{Phase, Progress};
use super::steps::{NoSteps, Step, Steps};
use crate::append::Rules;
use crate::append::settle::SettleBuilder;
use crate::read::ReadError;
use crate::store::{SettledSnapshot, Store};
use crate::view::frames;
use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};
use std::thread::ScopedJoinHandle;
use strandline_durable::{
    CommitError, DurableTier, FileEntry, Layout, RowRef, Snapshot, Sorted, Sorter, StreamSeen, WriteError,
};
use strandline_event::hash::stream_hash;
use strandline_event::{LogIndex, LogKey, Micros, StampedBatch};
use strandline_wal::{FrameView, LogView};

/// What a job did.
#[derive(Clone)]
pub struct JobOutcome {
    /// The manifest that it made true.
    pub snapshot: Arc<Snapshot>,
    /// The new watermark.
    pub through: LogIndex,
    /// Events that it moved.
    pub rows: u64,
    /// Segments of the log that it read of.
    pub segments: u64,
    /// Bytes of the log that it read, as its plan counts them.
    pub input_bytes: u64,
    /// Bytes of data files that it wrote.
    pub output_bytes: u64,
    /// Data files that it wrote.
    pub files: u64,
    /// The plan reaches further: make a new plan and go on.
    pub more: bool,
}

/// What a job needs of its store.
struct Job<'a> {
    durable: &'a DurableTier,
    layout: Arc<Layout>,
    rules: &'a Rules,
    view: Arc<LogView>,
    plan: &'a Plan,
    job_id: u128,
    now: Micros,
    /// Another node commits what it writes.
    for_another: bool,
    progress: &'a Progress,
    steps: &'a dyn Steps,
}

/// Runs one job. `job_id` is random; the same job is never run under two ids at once.
///
/// # Errors
/// [`CompactError`]; then nothing changed, unless it is a commit of unknown outcome, which the next opening settles.
pub fn run_job(
    store: &Store,
    plan: &Plan,
    job_id: u128,
    now: Micros,
    progress: &Progress,
    steps: &dyn Steps,
) -> Result<JobOutcome, CompactError> {
    committing(store, plan, (job_id, now), progress, steps, |job| job.run())
}

/// Does a work that ends with a commit.
fn committing(
    store: &Store,
    plan: &Plan,
    (job_id, now): (u128, Micros),
    progress: &Progress,
    steps: &dyn Steps,
    work: impl FnOnce(&Job<'_>) -> Result<JobOutcome, CompactError>,
) -> Result<JobOutcome, CompactError> {
    let shared = store.log(&plan.log).ok_or_else(|| CompactError::NoLog(plan.log.clone()))?;
    let (durable, rules, view) = (store.durable(), &*store.rules(), shared.view());
    let layout = durable.layout();
    let job = Job { durable, layout, rules, view, plan, job_id, now, for_another: false, progress, steps };
    let outcome = work(&job);
    if let Ok(done) = &outcome {
        shared.view().unmap_through(done.through);
        // one that ends early says how far it was
        progress.enter(Phase::Done);
    }
    steps.entered(Phase::Done);
    outcome
}

/// Makes what is left of a lost log durable, before its other positions are given up. Gives the number of events.
pub(crate) fn rescue(
    durable: &DurableTier,
    rules: &Rules,
    key: &LogKey,
    view: &Arc<LogView>,
    job_id: u128,
    now: Micros,
) -> Result<u64, CompactError> {
    let mut rows = 0;
    loop {
        let from_exclusive = durable.pin().watermark(key);
        let through = view.last_index();
        if from_exclusive >= through {
            return Ok(rows);
        }
        let limits = JobLimits::default();
        let plan = Plan { log: key.clone(), from_exclusive, through, segments: 0, bytes: 0, events: 0, limits };
        let job_id = job_id.wrapping_add(u128::from(from_exclusive.0));
        let (view, progress, steps) = (Arc::clone(view), &Progress::default(), &NoSteps);
        let (layout, plan, for_another) = (durable.layout(), &plan, false);
        rows += Job { durable, layout, rules, view, plan, job_id, now, for_another, progress, steps }.run()?.rows;
    }
}

/// A batch, and the hashes of its streams by the numbers that it gives them.
type Hashed = (StampedBatch, Vec<u128>);

/// The batches of a job, and where they end.
struct Selected {
    batches: Vec<StampedBatch>,
    through: LogIndex,
    rows: u64,
    bytes: u64,
}

impl<'a> Job<'a> {
    fn run(&self) -> Result<JobOutcome, CompactError> {
        let before = self.pinned()?;
        self.enter(Phase::Selecting);
        let (selected, settle, sorter) = self.select_and_look()?;
        self.reached(Step::Selected)?;
        self.enter(Phase::Sorting);
        let Sorted { order, streams } = sorter.finish(&selected.batches);
        self.reached(Step::Sorted)?;
        self.enter(Phase::Writing);
        let files = self.write(&selected, &order)?;
        self.reached(Step::FilesWritten)?;
        drop(order);
        let outcome = self.commit(&selected, (settle, streams), files, &before)?;
        self.reached(Step::Committed)?;
        Ok(outcome)
    }

    /// The version upon which it is committed.
    fn pinned(&self) -> Result<Arc<Snapshot>, CompactError> {
        let before = self.durable.pin();
        let is_next = before.watermark(&self.plan.log) == self.plan.from_exclusive;
        if is_next { Ok(before) } else { Err(CompactError::StalePlan) }
    }

    fn enter(&self, phase: Phase) {
        self.progress.enter(phase);
        self.steps.entered(phase);
    }

    fn reached(&self, step: Step) -> Result<(), CompactError> {
        Ok(self.steps.reached(step)?)
    }

    /// Reads the entries. While the next are read from the disk, a second thread validates their batches and hashes the ids of their streams, a third
    /// one looks up what the order and the heads need of them, and a fourth one what else is recorded beside the files.
    fn select_and_look(&self) -> Result<(Selected, SettleBuilder<'a>, Sorter<'_>), CompactError> {
        std::thread::scope(|scope| {
            let (to_check, unchecked) = mpsc::channel();
            let (to_look, unseen) = mpsc::channel::<Hashed>();
            let (to_settle, unsettled) = mpsc::channel::<StampedBatch>();
            let checking = scope.spawn(move || self.check(unchecked, &to_look, &to_settle));
            let looking = scope.spawn(move || self.look(unseen));
            let settling = scope.spawn(move || {
                let mut settle = SettleBuilder::new(self.rules);
                // who commits records it
                unsettled.into_iter().filter(|_| !self.for_another).for_each(|batch| settle.add(&batch));
                settle
            });
            let selected = self.select(&to_check);
            drop(to_check);
            let (checked, settle, (batches, sorter)) = (ended(checking), ended(settling), ended(looking));
            // a batch that is none stands before what could not be read
            checked?;
            Ok((Selected { batches, ..selected? }, settle, sorter))
        })
    }

    fn select(&self, to_check: &mpsc::Sender<FrameView>) -> Result<Selected, CompactError> {
        let mut out = Selected { batches: Vec::new(), through: self.plan.through, rows: 0, bytes: 0 };
        let Plan { log, from_exclusive, through, limits, .. } = self.plan;
        let mut last = *from_exclusive;
        let mut entries = frames::entries(log, &self.view, *from_exclusive, *through)?;
        while let Some(frame) = entries.next_frame() {
            if self.progress.is_cancelled() {
                return Err(CompactError::Cancelled);
            }
            let frame = frame?;
            let (rows, bytes) = (frames::rows(log, &frame)? as u64, frame.payload.len() as u64);
            let over = out.rows + rows > limits.rows_max || out.bytes + bytes > limits.bytes_max;
            if over && out.rows > 0 {
                out.through = last;
                break;
            }
            last = frame.header.index;
            if to_check.send(frame).is_err() {
                // who checks has found a batch that is none, and says so
                break;
            }
            (out.rows, out.bytes) = (out.rows + rows, out.bytes + bytes);
            self.progress.add_rows(rows);
            self.steps.worked();
        }
        self.progress.set_total(out.rows);
        Ok(out)
    }

    fn check(
        &self,
        unchecked: mpsc::Receiver<FrameView>,
        to_look: &mpsc::Sender<Hashed>,
        to_settle: &mpsc::Sender<StampedBatch>,
    ) -> Result<(), ReadError> {
        for frame in unchecked {
            let batch = frames::decode(&self.plan.log, &frame)?.batch;
            let view = batch.view();
            // the thread that puts them in order has more to do than this one
            let hashes = (0..view.stream_count()).map(|stream| stream_hash(view.stream(stream))).collect();
            // the other ends go away only after this one
            let _ = to_settle.send(batch.clone());
            let _ = to_look.send((batch, hashes));
        }
        Ok(())
    }

    fn look(&self, unseen: mpsc::Receiver<Hashed>) -> (Vec<StampedBatch>, Sorter<'_>) {
        let (mut batches, mut sorter) = (Vec::new(), Sorter::new(&self.layout));
        sorter.expect(usize::try_from(self.plan.events.min(self.plan.limits.rows_max)).unwrap_or(0));
        for (batch, hashes) in unseen {
            sorter.add_hashed(&batch, &hashes);
            batches.push(batch);
        }
        (batches, sorter)
    }

    fn write(&self, selected: &Selected, order: &[RowRef]) -> Result<Vec<FileEntry>, CompactError> {
        let mut told = 0;
        let mut on_rows = |so_far: u64| {
            self.progress.add_rows(so_far.saturating_sub(told));
            told = told.max(so_far);
            self.steps.worked();
            if self.progress.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.output(selected.through).write(&selected.batches, order, &mut on_rows).map_err(|error| match error {
            WriteError::Cancelled => CompactError::Cancelled,
            other => CompactError::Write(other),
        })
    }

    fn commit(
        &self,
        selected: &Selected,
        (settle, streams): (SettleBuilder<'_>, Vec<StreamSeen>),
        files: Vec<FileEntry>,
        before: &Snapshot,
    ) -> Result<JobOutcome, CompactError> {
        self.enter(Phase::Committing);
        let older = SettledSnapshot::new(before, &self.plan.log);
        let records = match settle.finish(streams, &older) {
            Ok(records) => records,
            Err(error) => {
                self.durable.discard(&files);
                return Err(error.into());
            }
        };
        let output_bytes = files.iter().map(|f| f.bytes).sum();
        let written = files.len() as u64;
        // before the commit: behind it the log may be trimmed
        let (from_exclusive, through) = (self.plan.from_exclusive, selected.through);
        let segments = segments_within(&self.view, from_exclusive, through);
        let input_bytes = bytes_within(&self.view, from_exclusive, through);
        let commit = self.output(selected.through).commit(records, files);
        match self.durable.commit(&commit) {
            Ok(snapshot) => Ok(JobOutcome {
                snapshot,
                through: selected.through,
                rows: selected.rows,
                segments,
                input_bytes,
                output_bytes,
                files: written,
                more: selected.through < self.plan.through,
            }),
            Err(error) => {
                // only then a manifest may name the files; the next opening finds out
                if !matches!(error, CommitError::Unknown { .. }) {
                    self.durable.discard(&commit.files);
                }
                Err(error.into())
            }
        }
    }

    fn output(&self, through: LogIndex) -> Output<'_> {
        Output {
            durable: self.durable,
            layout: &self.layout,
            job_id: self.job_id,
            now: self.now,
            log: &self.plan.log,
            from_exclusive: self.plan.from_exclusive,
            through,
            made_for: if self.for_another { MadeFor::Another } else { MadeFor::Job },
        }
    }
}

/// What a thread of the job made; its panic goes on in this one.
fn ended<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
