//! One run over one log: seal, then bounded jobs until nothing is left, and after each commit the tiers are told.
//!
//! ```text
//!  Seal -> WalWorker      everything accepted before is durable and readable
//!  RunJob -> worker       sort, write, commit        (again while there is more; another compactor may write: `handing.rs`)
//!  Compacted -> WalWorker      heads and command ids that the manifest holds leave memory; trim
//!  ManifestCommitted -> HotKeeper
//! ```

use super::handing::Taker;
use super::job::{Job, JobBook, JobEnd};
use super::worker::CompactionWorker;
use crate::clock;
use crate::error::NodeError;
use crate::fatal::EndOnPanic;
use crate::fence;
use crate::hot_worker::HotWorkers;
use crate::messages::{Compacted, Handed, ManifestCommitted, RunJob, Seal};
use crate::metrics::{Measured, Metrics};
use crate::spans;
use crate::wal_worker::WalWorker;
use actix::Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use strandline_engine::compact::{CompactError, JobOutcome};
use strandline_engine::store::Store;
use tokio::sync::Mutex;
use tracing::Span;

/// What a run works with.
#[derive(Clone)]
pub(crate) struct RunParts {
    pub(crate) store: Arc<Store>,
    pub(crate) owner: Addr<WalWorker>,
    pub(crate) hot: HotWorkers,
    pub(crate) workers: Addr<CompactionWorker>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) measured: Arc<Measured>,
    /// One run a log at a time.
    pub(crate) turn: Arc<Mutex<()>>,
    /// Set when another owner has taken the store.
    pub(crate) fenced: Arc<AtomicBool>,
    /// The other compactor that writes the log's files; none: this node does.
    pub(crate) taker: Option<Taker>,
}

/// Runs a job and writes its end into the book.
pub(crate) async fn run(parts: RunParts, job: Arc<Job>, book: Arc<JobBook>) {
    let _end = EndOnPanic("a compaction run panicked");
    let mut end = JobEnd::default();
    let result = work(&parts, &job, &mut end).await;
    end.ended_at = clock::now();
    end.cancelled = job.progress.is_cancelled();
    match result {
        Ok(()) => parts.metrics.jobs_done.add(1),
        Err(error) => {
            parts.metrics.jobs_failed.add(1);
            if !end.cancelled {
                tracing::error!(store = parts.store.name(), log = %job.log, "compaction failed: {error}");
            }
            end.ended_by(&error);
        }
    }
    book.finish(&job, end);
}

async fn work(parts: &RunParts, job: &Job, end: &mut JobEnd) -> Result<(), NodeError> {
    let _turn = parts.turn.lock().await;
    job.begin();
    let span = spans::compaction(parts.store.name(), &job.log);
    parts.owner.send(Seal).await?;
    let mut job_id = job.id;
    while !job.progress.is_cancelled() {
        let handed = match &parts.taker {
            Some(taker) => taker.window(parts, job, job_id, &span).await,
            None => None,
        };
        let done = match handed {
            Some(done) => done,
            None => parts.workers.send(request(parts, job, job_id, &span, None)).await?,
        };
        if let Err(CompactError::Commit(error)) = &done {
            fence::mind(&parts.fenced, parts.store.name(), error);
        }
        let Some(outcome) = done? else {
            // a commit whose outcome was unknown may have been found: then its tiers were never told
            return tell(parts, job, Arc::new(nothing(parts, job))).await;
        };
        end.inputs += outcome.segments;
        end.input_bytes += outcome.input_bytes;
        end.output_bytes += outcome.output_bytes;
        end.rows += outcome.rows;
        end.files += outcome.files;
        parts.metrics.job_rows.add(outcome.rows);
        parts.metrics.job_output_bytes.add(outcome.output_bytes);
        spans::job_wrote(&span, end.rows, end.output_bytes, end.files);
        let more = outcome.more;
        tell(parts, job, Arc::new(outcome)).await?;
        if !more {
            return Ok(());
        }
        job_id = crate::random::bits();
    }
    Ok(())
}

/// The next job of a run, or what is left of it where another node has written its files.
pub(crate) fn request(parts: &RunParts, job: &Job, job_id: u128, span: &Span, handed: Option<Handed>) -> RunJob {
    RunJob {
        store: Arc::clone(&parts.store),
        log: job.log.clone(),
        job_id,
        handed,
        progress: Arc::clone(&job.progress),
        measured: Arc::clone(&parts.measured),
        span: span.clone(),
    }
}

/// What is true without a job: the current manifest, which the owner of a store without a log may not have heard of yet.
fn nothing(parts: &RunParts, job: &Job) -> JobOutcome {
    let snapshot = parts.store.durable().pin();
    let through = snapshot.watermark(&job.log);
    JobOutcome { snapshot, through, rows: 0, segments: 0, input_bytes: 0, output_bytes: 0, files: 0, more: false }
}

async fn tell(parts: &RunParts, job: &Job, outcome: Arc<JobOutcome>) -> Result<(), NodeError> {
    let settled = parts.store.settled(&job.log);
    parts.owner.send(Compacted { through: outcome.through, settled }).await?;
    Ok(parts.hot.tell(ManifestCommitted { log: job.log.clone(), outcome }).await?)
}
