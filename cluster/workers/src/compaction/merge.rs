//! A round of merges: every partition that is due, each until it is not any more, a bounded number at once.
//!
//! ```text
//!  plan (blocking thread) ─> partitions ─> turn of the partition ─> RunMerge -> worker: plan anew, merge, commit
//!                                                                   (again while there is more)
//! ```
//!
//! In a cluster with several compactors each partition has one that takes it: what others take is handed to them (`handing.rs`).
//!
//! A merge changes nothing that a log's owner or memory must know. A round ends early when one of its merges is cancelled, when
//! the store is another node's by now, when the node stops, and, by the clock, when compaction is paused.

use super::handing::{Taker, shares};
use super::job::{Job, JobBook, JobEnd};
use super::worker::MergeWorker;
use crate::clock;
use crate::error::NodeError;
use crate::fatal::EndOnPanic;
use crate::fence;
use crate::messages::RunMerge;
use crate::metrics::{Measured, Metrics};
use crate::spans;
use actix::Addr;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strandline_consensus::control::Control;
use strandline_durable::CommitError;
use strandline_engine::compact::{CompactError, Partition, Trigger, plan_merges};
use strandline_engine::store::Store;
use tracing::Span;

/// Plans of one merge that others may make stale (retention takes files out meanwhile) before it counts as failed.
const STALE_MAX: usize = 5;

/// What a round works with.
#[derive(Clone)]
pub(crate) struct MergeParts {
    pub(crate) store: Arc<Store>,
    pub(crate) workers: Addr<MergeWorker>,
    pub(crate) book: Arc<JobBook>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) measured: Arc<Measured>,
    /// Set when another owner has taken the store.
    pub(crate) fenced: Arc<AtomicBool>,
    /// Merges at once.
    pub(crate) at_once: usize,
    /// The node's part in a cluster: its other compactors share the merges.
    pub(crate) cluster: Option<Control>,
}

/// Merges what is due, of one stream type or of all. Gives the jobs, ended.
pub(crate) async fn round(parts: MergeParts, stream_type: Option<Arc<str>>, trigger: Trigger) -> Vec<Arc<Job>> {
    let _end = EndOnPanic("a round of merges panicked");
    let store = Arc::clone(&parts.store);
    let planning = tokio::task::spawn_blocking(move || {
        let _end = EndOnPanic("the planning of merges panicked");
        let plans = plan_merges(&store, stream_type.as_deref(), trigger, clock::now());
        // each is planned anew when its turn comes
        plans.map(|plans| plans.into_iter().map(|plan| plan.partition).collect::<Vec<_>>())
    });
    let partitions = match planning.await {
        Ok(Ok(partitions)) => partitions,
        Ok(Err(error)) => {
            tracing::error!(store = parts.store.name(), "merges cannot be planned: {error}");
            Vec::new()
        }
        // the runtime ends
        Err(_) => Vec::new(),
    };
    let over = Arc::new(AtomicBool::new(false));
    let (parts, over) = (&parts, &over);
    let shares = shares(parts.cluster.as_ref(), partitions).into_iter().map(|(taker, partitions)| {
        let job = move |partition| one(parts.clone(), partition, trigger, Arc::clone(over), taker.clone());
        let jobs = stream::iter(partitions.into_iter().map(job));
        jobs.buffer_unordered(parts.at_once.max(1)).filter_map(std::future::ready).collect::<Vec<_>>()
    });
    join_all(shares).await.into_iter().flatten().collect()
}

/// Merges one partition until nothing is due. `None`: it was not its turn.
async fn one(
    parts: MergeParts,
    partition: Partition,
    trigger: Trigger,
    over: Arc<AtomicBool>,
    taker: Option<Taker>,
) -> Option<Arc<Job>> {
    let by_hand = matches!(trigger, Trigger::Hand | Trigger::Redaction);
    let turn = parts.book.turn(&partition);
    // the clock does not wait for a merge of the same files
    let _turn = if by_hand { turn.lock_owned().await } else { turn.try_lock_owned().ok()? };
    let ends = || over.load(Ordering::SeqCst) || parts.fenced.load(Ordering::SeqCst);
    let rests = !by_hand && (parts.book.is_paused() || parts.book.rests(&partition, clock::now()));
    let job = Job::merge(partition, trigger);
    if rests || ends() || !parts.book.start(&job) {
        return None;
    }
    job.begin();
    let mut end = JobEnd::default();
    let result = work(&parts, &job, taker.as_ref(), &mut end).await;
    end.ended_at = clock::now();
    end.cancelled = job.progress.is_cancelled();
    over.fetch_or(end.cancelled, Ordering::SeqCst);
    if result.is_err() || end.cancelled {
        parts.metrics.merges_failed.add(1);
    } else if end.inputs > 0 {
        parts.metrics.merges_done.add(1);
    }
    if let Err(error) = result {
        if !end.cancelled {
            tracing::error!(store = parts.store.name(), job = %job.subject(), "a merge failed: {error}");
            parts.book.rest(&job, end.ended_at);
        }
        end.ended_by(&error);
    }
    parts.book.finish(&job, end);
    Some(job)
}

/// The next merge of a partition, as this node's own threads do it.
fn here(parts: &MergeParts, job: &Job, partition: &Partition, job_id: u128, span: &Span) -> RunMerge {
    RunMerge {
        store: Arc::clone(&parts.store),
        partition: partition.clone(),
        trigger: job.trigger,
        job_id,
        progress: Arc::clone(&job.progress),
        measured: Arc::clone(&parts.measured),
        span: span.clone(),
    }
}

async fn work(parts: &MergeParts, job: &Job, taker: Option<&Taker>, end: &mut JobEnd) -> Result<(), NodeError> {
    let Some(partition) = job.partition() else { return Ok(()) };
    let (mut job_id, mut stale) = (job.id, 0);
    let span = spans::merge(parts.store.name(), &job.log);
    while !job.progress.is_cancelled() {
        let handed = match taker {
            Some(taker) => taker.merge(parts, job, job_id).await,
            None => None,
        };
        let done = match handed {
            Some(done) => done,
            None => parts.workers.send(here(parts, job, partition, job_id, &span)).await?,
        };
        if let Err(CompactError::Commit(error)) = &done {
            fence::mind(&parts.fenced, parts.store.name(), error);
        }
        if matches!(&done, Err(CompactError::Commit(CommitError::NotLive { .. }))) && stale < STALE_MAX {
            (job_id, stale) = (crate::random::bits(), stale + 1);
            continue;
        }
        let Some(outcome) = done? else { return Ok(()) };
        end.inputs += outcome.inputs;
        end.input_bytes += outcome.input_bytes;
        end.output_bytes += outcome.output_bytes;
        end.rows += outcome.rows;
        end.files += outcome.files;
        spans::job_wrote(&span, end.rows, end.output_bytes, end.files);
        parts.metrics.merge_rows.add(outcome.rows);
        parts.metrics.merge_input_files.add(outcome.inputs);
        parts.metrics.merge_output_files.add(outcome.files);
        parts.metrics.merge_output_bytes.add(outcome.output_bytes);
        for path in &outcome.left_alone {
            tracing::warn!(
                path,
                "a file of another row_group.sort_by is too large to be sorted anew: it is not merged"
            );
        }
        if outcome.doubles > 0 {
            tracing::warn!(job = %job.subject(), doubles = outcome.doubles, "events stood in two files: each is there once now");
        }
        // nothing was gained: it would go on for ever
        if outcome.files >= outcome.inputs && outcome.left_alone.is_empty() {
            return Ok(());
        }
        job_id = crate::random::bits();
    }
    Ok(())
}
