//! Does the jobs, on threads of its own so that appends do not feel it. One job at a time a thread; merges, which may take long,
//! have threads of their own, so that no log waits for them. All of them stand behind the node's other threads (`pace`).

use super::pace::{Pace, step_back};
use super::phases::PhaseClock;
use crate::clock;
use crate::fatal::EndOnPanic;
use crate::messages::{Handed, HelpMerge, HelpWindow, RunJob, RunMerge};
use crate::metrics::Work;
use crate::wiring::AliveMark;
use actix::{Actor, Handler, SyncContext};
use strandline_durable::{MergeReport, WindowReport};
use strandline_engine::compact::{self, CompactError, JobOutcome, MergeOutcome};

/// A thread that runs jobs.
pub(crate) struct CompactionWorker {
    pub(crate) pace: Pace,
    pub(crate) _alive: AliveMark,
}

impl Actor for CompactionWorker {
    type Context = SyncContext<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        step_back();
    }
}

impl Handler<RunJob> for CompactionWorker {
    type Result = Result<Option<JobOutcome>, CompactError>;

    fn handle(&mut self, job: RunJob, _: &mut Self::Context) -> Self::Result {
        let _end = EndOnPanic("a compaction job panicked");
        let paced = self.pace.begin(&job.progress, PhaseClock::new(&job.measured, Work::Compact, job.span));
        if let Some(Handed { plan, report, expected }) = job.handed {
            let (store, now) = (&job.store, clock::now());
            let done = compact::commit_window(store, &plan, report, job.job_id, now, &job.progress, &paced);
            drop(expected);
            return done.map(Some);
        }
        job.store.durable().settle()?;
        let Some(plan) = compact::plan(&job.store, &job.log)? else { return Ok(None) };
        compact::run_job(&job.store, &plan, job.job_id, clock::now(), &job.progress, &paced).map(Some)
    }
}

impl Handler<HelpWindow> for CompactionWorker {
    type Result = Result<WindowReport, CompactError>;

    fn handle(&mut self, help: HelpWindow, _: &mut Self::Context) -> Self::Result {
        let _end = EndOnPanic("a compaction job for another node panicked");
        let paced = self.pace.begin(&help.progress, PhaseClock::new(&help.measured, Work::Compact, help.span));
        compact::write_for_another(&help.store, &help.order, &help.progress, &paced)
    }
}

/// A thread that merges files.
pub(crate) struct MergeWorker {
    pub(crate) pace: Pace,
    pub(crate) _alive: AliveMark,
}

impl Actor for MergeWorker {
    type Context = SyncContext<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        step_back();
    }
}

impl Handler<RunMerge> for MergeWorker {
    type Result = Result<Option<MergeOutcome>, CompactError>;

    fn handle(&mut self, merge: RunMerge, _: &mut Self::Context) -> Self::Result {
        let _end = EndOnPanic("a merge panicked");
        let paced = self.pace.begin(&merge.progress, PhaseClock::new(&merge.measured, Work::Merge, merge.span));
        let now = clock::now();
        let Some(plan) = compact::plan_merge(&merge.store, &merge.partition, merge.trigger, now)? else {
            return Ok(None);
        };
        compact::run_merge(&merge.store, &plan, merge.job_id, now, &merge.progress, &paced).map(Some)
    }
}

impl Handler<HelpMerge> for MergeWorker {
    type Result = Result<MergeReport, CompactError>;

    fn handle(&mut self, help: HelpMerge, _: &mut Self::Context) -> Self::Result {
        let _end = EndOnPanic("a merge for another node panicked");
        let paced = self.pace.begin(&help.progress, PhaseClock::new(&help.measured, Work::Merge, help.span));
        compact::merge_for_another(&help.store, &help.order, &help.progress, &paced)
    }
}
