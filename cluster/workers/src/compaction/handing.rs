//! Merges that another compactor of the cluster does for this one, which plans them and commits what came of them.
//!
//! ```text
//!  plan ─> expect its files ─> Begin, then GoOn until it has ended ─> take what it wrote, commit
//!               │ it refuses, is silent, or fails
//!               └─> nothing was lost: this node merges, as if it were the only one
//! ```
//!
//! Who helps is given a whole partition and commits nothing. Invariant: a merge that was handed over is asked for by this node alone, and is
//! committed at most once, under this node's claim of the store.

use super::job::Job;
use super::merge::MergeParts;
use crate::clock;
use crate::fatal::EndOnPanic;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use strandline_consensus::control::{Control, taker};
use strandline_consensus::{NodeId, TransportError};
use strandline_durable::{MergeAnswer, MergeAsk, MergeReport};
use strandline_engine::compact::{CompactError, MergeOutcome, MergePlan, Partition, commit_merged, plan_merge};
use tokio::time::{Instant, sleep};

/// A node that has begun and is silent for so long is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before it is asked again where it cannot be reached.
const PAUSE: Duration = Duration::from_millis(200);

/// Another compactor, as one round of merges sees it.
#[derive(Clone)]
pub(crate) struct Taker {
    control: Control,
    node: NodeId,
    /// It did not answer: this round asks it no more.
    away: Arc<AtomicBool>,
}

/// Who merges what; no taker: this node.
pub(crate) fn shares(cluster: Option<&Control>, partitions: Vec<Partition>) -> Vec<(Option<Taker>, Vec<Partition>)> {
    let Some(control) = cluster else { return vec![(None, partitions)] };
    let (nodes, here) = (control.sharers(), control.node());
    let mut shares: BTreeMap<NodeId, Vec<Partition>> = BTreeMap::new();
    for partition in partitions {
        let node = taker(&nodes, &partition.to_string()).unwrap_or(here);
        shares.entry(node).or_default().push(partition);
    }
    let of = |node| Taker { control: control.clone(), node, away: Arc::default() };
    shares.into_iter().map(|(node, partitions)| ((node != here).then(|| of(node)), partitions)).collect()
}

impl Taker {
    /// Has the next merge of the job's partition done, and commits it. The inner `None`: nothing is due; the outer: it is to be done here.
    pub(crate) async fn merge(
        &self,
        parts: &MergeParts,
        job: &Job,
        job_id: u128,
    ) -> Option<Result<Option<MergeOutcome>, CompactError>> {
        if self.away.load(Ordering::SeqCst) {
            return None;
        }
        let plan = match planned(parts, job).await? {
            Ok(Some(plan)) => plan,
            nothing => return Some(nothing.map(|_| None)),
        };
        // from before it is asked until its files are committed, or are nobody's
        let expected = parts.store.durable().expect_files(job_id);
        let report = match self.ask(parts, job, &plan, job_id).await {
            Ok(report) => report,
            Err(_) if job.progress.is_cancelled() => return Some(Err(CompactError::Cancelled)),
            // another one compacts by now
            Err(_) if parts.fenced.load(Ordering::SeqCst) => return Some(Ok(None)),
            Err(why) => return self.is_done_here(parts, job, &why),
        };
        let (store, progress) = (Arc::clone(&parts.store), Arc::clone(&job.progress));
        let committing = tokio::task::spawn_blocking(move || {
            let _end = EndOnPanic("the commit of a merge panicked");
            let done = commit_merged(&store, &plan, report, job_id, clock::now(), &progress);
            drop(expected);
            done
        });
        // an error: the runtime ends
        match committing.await.ok()? {
            Ok(outcome) => {
                parts.metrics.merges_handed.add(u64::from(outcome.files > 0));
                Some(Ok(Some(outcome)))
            }
            Err(CompactError::Merge(error)) => self.is_done_here(parts, job, &error.to_string()),
            Err(error) => Some(Err(error)),
        }
    }

    /// The other node has not done it.
    fn is_done_here<T>(&self, parts: &MergeParts, job: &Job, why: &str) -> Option<T> {
        let (store, node, job) = (parts.store.name(), self.node, job.subject());
        tracing::info!(store, node, job, "another compactor has not merged this, so it is merged here: {why}");
        None
    }

    /// Asks until it has ended.
    async fn ask(&self, parts: &MergeParts, job: &Job, plan: &MergePlan, job_id: u128) -> Result<MergeReport, String> {
        let (mut ask, mut heard) = (MergeAsk::Begin(plan.order(job_id)), Instant::now());
        while !job.progress.is_cancelled() && !parts.fenced.load(Ordering::SeqCst) {
            let what = ask.encode().map_err(|error| error.to_string())?;
            match self.control.ask_help(self.node, parts.store.name(), &what).await {
                Ok(answer) => match MergeAnswer::decode(&answer).map_err(|error| error.to_string())? {
                    MergeAnswer::Done(report) => return Ok(report),
                    MergeAnswer::Failed { why } => return Err(why),
                    MergeAnswer::Working { rows } => {
                        job.progress.merged_elsewhere(rows, plan.events());
                        heard = Instant::now();
                    }
                },
                Err(error @ TransportError::Refused { .. }) => return Err(error.to_string()),
                Err(error) if matches!(ask, MergeAsk::Begin(_)) || heard.elapsed() > PATIENCE => {
                    self.away.store(true, Ordering::SeqCst);
                    return Err(error.to_string());
                }
                Err(_) => sleep(PAUSE).await,
            }
            // never begun twice: it may have begun
            ask = MergeAsk::GoOn { job_id };
        }
        Err("it is not asked for any more".to_owned())
    }
}

/// The next merge of the job's partition. The outer `None`: it is no merge, or the runtime ends.
async fn planned(parts: &MergeParts, job: &Job) -> Option<Result<Option<MergePlan>, CompactError>> {
    let (store, partition, trigger) = (Arc::clone(&parts.store), job.partition()?.clone(), job.trigger);
    let planning = tokio::task::spawn_blocking(move || {
        let _end = EndOnPanic("the planning of a merge panicked");
        plan_merge(&store, &partition, trigger, clock::now())
    });
    planning.await.ok()
}
