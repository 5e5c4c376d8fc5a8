//! What another compactor of the cluster does for this one, which plans it and commits what came of it: merges, and the files of windows (what a
//! run over a log moves).
//!
//! ```text
//!  plan ─> expect its files ─> Begin, then GoOn until it has ended ─> take what it wrote, commit
//!               │ it refuses, is silent, or fails
//!               └─> nothing was lost: this node does it, as if it were the only one
//! ```
//!
//! | what is due | its taker | the files are written by |
//! |---|---|---|
//! | the merge of a partition, or a window of 1 MiB of log or more | this node, or nobody shares | this node |
//! | | another one, that ends it | that one |
//! | | another one, that refuses, fails, or gives what was not ordered | this node |
//! | | another one, that is silent, or stands still for long | this node, and what follows in the round or the run too |
//! | a smaller window | any | this node: to ask takes as long |
//!
//! Who helps is given a whole partition, or a window of a log, and commits nothing. Invariant: what was handed over is asked for by this node
//! alone, and is committed at most once, under this node's claim of the store.

use super::job::Job;
use super::merge::MergeParts;
use super::run::{RunParts, request};
use crate::clock;
use crate::fatal::EndOnPanic;
use crate::messages::Handed;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use strandline_consensus::control::{Control, taker};
use strandline_consensus::{NodeId, TransportError};
use strandline_durable::{HelpAnswer, HelpAsk};
use strandline_engine::compact::{
    CompactError, JobOutcome, MergeOutcome, MergePlan, Partition, Phase, Plan, commit_merged, plan, plan_merge,
};
use strandline_event::LogKey;
use tokio::time::{Instant, sleep};
use tracing::Span;

/// A node that has begun and is silent for so long is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before it is asked again where it cannot be reached.
const PAUSE: Duration = Duration::from_millis(200);
/// A node that answers, and whose rows have not changed for so long, is given up: it may wait for a disk or an object store that this one does
/// not need. To sort a window takes less.
const STILL_MAX: Duration = Duration::from_secs(15 * 60);

/// Bytes of log that are worth to be handed over.
const WINDOW_BYTES_MIN: u64 = 1 << 20;
/// An answer to another question.
const STRANGE: &str = "it answers something else than it was asked";

/// Another compactor, as one round of merges or one run over a log sees it.
#[derive(Clone)]
pub(crate) struct Taker {
    control: Control,
    node: NodeId,
    /// It did not answer: this round or run asks it no more.
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

/// Who writes the files of a log's windows; `None`: this node.
pub(crate) fn of_log(cluster: Option<&Control>, log: &LogKey) -> Option<Taker> {
    let control = cluster?;
    let node = elsewhere(&control.sharers(), control.node(), log)?;
    Some(Taker { control: control.clone(), node, away: Arc::default() })
}

/// The node that writes the files of a log's windows, if it is not `here`.
fn elsewhere(nodes: &[NodeId], here: NodeId, log: &LogKey) -> Option<NodeId> {
    // not as a partition of the same log is called, which may be all of its files
    taker(nodes, &format!("windows of `{log}`")).filter(|node| *node != here)
}

/// Whether a window is worth to be handed over.
const fn is_worth(plan: &Plan) -> bool {
    plan.bytes >= WINDOW_BYTES_MIN
}

/// What is asked of another node.
struct Wanted<'a> {
    store: &'a str,
    job: &'a Job,
    /// Names it there; random.
    job_id: u128,
    /// Set when another owner has taken the store.
    fenced: &'a AtomicBool,
    /// The step in which this node waits for it, and the rows of it.
    step: (Phase, u64),
}

impl Wanted<'_> {
    /// Another one compacts by now.
    fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::SeqCst)
    }

    fn is_over(&self) -> bool {
        self.job.progress.is_cancelled() || self.is_fenced()
    }
}

/// How far another node is, and since when.
struct Rows {
    done: u64,
    since: Instant,
}

impl Rows {
    /// Whether it has stood still for too long.
    fn stand_still(&mut self, done: u64, now: Instant) -> bool {
        if self.done != done {
            *self = Self { done, since: now };
        }
        now.duration_since(self.since) > STILL_MAX
    }
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
        let (store, fenced, step) = (parts.store.name(), &*parts.fenced, (Phase::Merging, plan.events()));
        let wanted = Wanted { store, job, job_id, fenced, step };
        let report = match self.ask(&wanted, HelpAsk::Begin(plan.order(job_id))).await {
            Ok(HelpAnswer::Done(report)) => report,
            Ok(_) => return self.is_done_here(&wanted, STRANGE),
            Err(_) if wanted.is_fenced() => return Some(Ok(None)),
            Err(why) => return self.is_done_here(&wanted, &why),
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
            Err(CompactError::Help(error)) => self.is_done_here(&wanted, &error.to_string()),
            Err(error) => Some(Err(error)),
        }
    }

    /// Has the files of the next window of the job's log written, and commits them. The inner `None`: nothing is due; the outer: it is to be
    /// done here.
    pub(crate) async fn window(
        &self,
        parts: &RunParts,
        job: &Job,
        job_id: u128,
        span: &Span,
    ) -> Option<Result<Option<JobOutcome>, CompactError>> {
        if self.away.load(Ordering::SeqCst) {
            return None;
        }
        let plan = match planned_window(parts, job).await? {
            Ok(Some(plan)) if is_worth(&plan) => plan,
            Ok(Some(_)) => return None,
            nothing => return Some(nothing.map(|_| None)),
        };
        // from before it is asked until its files are committed, or are nobody's
        let expected = parts.store.durable().expect_files(job_id);
        let (store, fenced, step) = (parts.store.name(), &*parts.fenced, (Phase::Writing, plan.events));
        let wanted = Wanted { store, job, job_id, fenced, step };
        let report = match self.ask(&wanted, HelpAsk::BeginWindow(plan.order(&parts.store, job_id))).await {
            Ok(HelpAnswer::Wrote(report)) => report,
            Ok(_) => return self.is_done_here(&wanted, STRANGE),
            Err(why) => return self.is_done_here(&wanted, &why),
        };
        let handed = Handed { plan, report, expected };
        // an error: the threads of jobs end
        match parts.workers.send(request(parts, job, job_id, span, Some(handed))).await.ok()? {
            Ok(outcome) => {
                parts.metrics.jobs_handed.add(1);
                Some(Ok(outcome))
            }
            Err(error @ (CompactError::Help(_) | CompactError::StalePlan)) => {
                self.is_done_here(&wanted, &error.to_string())
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// The other node has not done it: it is to be done here, unless nobody wants it any more.
    fn is_done_here<T>(&self, wanted: &Wanted<'_>, why: &str) -> Option<Result<Option<T>, CompactError>> {
        if wanted.job.progress.is_cancelled() {
            return Some(Err(CompactError::Cancelled));
        }
        if wanted.is_fenced() {
            return Some(Err(CompactError::StalePlan));
        }
        let (store, node, job) = (wanted.store, self.node, wanted.job.subject());
        tracing::info!(store, node, job, "another compactor has not done this, so it is done here: {why}");
        None
    }

    /// Asks until it has ended well.
    async fn ask(&self, wanted: &Wanted<'_>, begin: HelpAsk) -> Result<HelpAnswer, String> {
        let (mut ask, mut heard) = (begin, Instant::now());
        let mut moving = Rows { done: 0, since: heard };
        while !wanted.is_over() {
            let what = ask.encode().map_err(|error| error.to_string())?;
            match self.control.ask_help(self.node, wanted.store, &what).await {
                Ok(answer) => match HelpAnswer::decode(&answer).map_err(|error| error.to_string())? {
                    HelpAnswer::Failed { why } => return Err(why),
                    HelpAnswer::Working { rows } => {
                        let (phase, total) = wanted.step;
                        // it has taken it
                        wanted.job.progress.set_began(clock::now());
                        wanted.job.progress.done_elsewhere(phase, rows, total);
                        heard = Instant::now();
                        if moving.stand_still(rows, heard) {
                            self.away.store(true, Ordering::SeqCst);
                            return Err(format!("it stands still at {rows} rows since {} s", STILL_MAX.as_secs()));
                        }
                    }
                    ended => {
                        wanted.job.progress.set_began(clock::now());
                        return Ok(ended);
                    }
                },
                Err(error @ TransportError::Refused { .. }) => return Err(error.to_string()),
                Err(error) if !matches!(ask, HelpAsk::GoOn { .. }) || heard.elapsed() > PATIENCE => {
                    self.away.store(true, Ordering::SeqCst);
                    return Err(error.to_string());
                }
                Err(_) => sleep(PAUSE).await,
            }
            // never begun twice: it may have begun
            ask = HelpAsk::GoOn { job_id: wanted.job_id };
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

/// The next window of the job's log. The outer `None`: the runtime ends.
async fn planned_window(parts: &RunParts, job: &Job) -> Option<Result<Option<Plan>, CompactError>> {
    let (store, log) = (Arc::clone(&parts.store), job.log.clone());
    let planning = tokio::task::spawn_blocking(move || {
        let _end = EndOnPanic("the planning of a window panicked");
        store.durable().settle()?;
        plan(&store, &log)
    });
    planning.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_engine::compact::JobLimits;
    use strandline_event::LogIndex;

    #[test]
    fn every_log_has_one_taker_and_the_named_node_does_not_ask_itself() {
        let nodes = [2, 5, 9];
        let logs: Vec<LogKey> = (0..90).map(|bucket| LogKey { stream_type: Arc::from("Call"), bucket }).collect();
        let mut taken = [0; 3];
        for log in &logs {
            let asked: Vec<Option<NodeId>> = nodes.iter().map(|here| elsewhere(&nodes, *here, log)).collect();
            // the one that takes it asks nobody, the others ask that one
            let at = asked.iter().position(Option::is_none).unwrap();
            assert!(asked.iter().enumerate().all(|(i, node)| i == at || *node == Some(nodes[at])), "{log}: {asked:?}");
            taken[at] += 1;
            assert_eq!(elsewhere(&[nodes[at]], nodes[at], log), None, "nobody shares");
        }
        assert!(taken.iter().all(|count| *count > 10), "{taken:?}");
    }

    #[test]
    fn a_node_whose_rows_do_not_change_is_given_up_and_one_that_moves_is_not() {
        let began = Instant::now();
        let at = |part: u32| began + STILL_MAX * part / 10;
        let mut moving = Rows { done: 0, since: began };
        assert!(!moving.stand_still(0, at(9)) && !moving.stand_still(7, at(10)), "it moves");
        // the next step begins anew
        assert!(!moving.stand_still(0, at(19)) && !moving.stand_still(0, at(29)));
        assert!(moving.stand_still(0, at(30)));
    }

    #[test]
    fn a_small_window_is_worth_no_question() {
        let window = |bytes| Plan {
            log: LogKey::single("Call"),
            from_exclusive: LogIndex(3),
            through: LogIndex(9),
            segments: 1,
            bytes,
            events: 6,
            limits: JobLimits::default(),
        };
        assert!(!is_worth(&window(0)) && !is_worth(&window((1 << 20) - 1)));
        assert!(is_worth(&window(1 << 20)) && is_worth(&window(1 << 40)));
    }
}
