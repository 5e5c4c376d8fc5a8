//! Does the jobs, on threads of its own so that appends do not feel it. One job at a time a thread; merges, which may take long,
//! have threads of their own, so that no log waits for them.

use crate::clock;
use crate::fatal::EndOnPanic;
use crate::messages::{RunJob, RunMerge};
use crate::wiring::AliveMark;
use actix::{Actor, Handler, SyncContext};
use strandline_engine::compact::{self, CompactError, JobOutcome, MergeOutcome, NoSteps};

/// A thread that runs jobs.
pub(crate) struct CompactionWorker {
    pub(crate) _alive: AliveMark,
}

impl Actor for CompactionWorker {
    type Context = SyncContext<Self>;
}

impl Handler<RunJob> for CompactionWorker {
    type Result = Result<Option<JobOutcome>, CompactError>;

    fn handle(&mut self, job: RunJob, _: &mut Self::Context) -> Self::Result {
        let _end = EndOnPanic("a compaction job panicked");
        job.store.durable().settle()?;
        let Some(plan) = compact::plan(&job.store, &job.log)? else { return Ok(None) };
        compact::run_job(&job.store, &plan, job.job_id, clock::now(), &job.progress, &NoSteps).map(Some)
    }
}

/// A thread that merges files.
pub(crate) struct MergeWorker {
    pub(crate) _alive: AliveMark,
}

impl Actor for MergeWorker {
    type Context = SyncContext<Self>;
}

impl Handler<RunMerge> for MergeWorker {
    type Result = Result<Option<MergeOutcome>, CompactError>;

    fn handle(&mut self, merge: RunMerge, _: &mut Self::Context) -> Self::Result {
        let _end = EndOnPanic("a merge panicked");
        let now = clock::now();
        let Some(plan) = compact::plan_merge(&merge.store, &merge.partition, merge.trigger, now)? else {
            return Ok(None);
        };
        compact::run_merge(&merge.store, &plan, merge.job_id, now, &merge.progress, &NoSteps).map(Some)
    }
}
