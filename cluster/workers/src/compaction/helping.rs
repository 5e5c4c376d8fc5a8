//! What this node does for the compactor of a store (`handing.rs` is the other side), merges and the files of windows: written under the order's
//! own name, and left to who ordered them.
//!
//! ```text
//!  Begin        ─> follow up to the order's version ─────────┐
//!  BeginWindow  ─> apply up to its last entry, then follow ──┴─> a job in the book ─> its worker ─┬─> kept until it is fetched, or forgotten
//!  GoOn         ─> how far, or what came of it  <─────────────────────────────────────────────────┘
//! ```
//!
//! A node that is behind for longer than a moment declines, and so does one that would write other files (`may_write` of the durable tier says
//! when). What nobody asks for any more is cancelled. Invariant: once it has ended well, its files are never touched here again: who ordered them
//! may be committing them at this moment. Nothing is begun twice: an order that this process does not know is not one that it goes on with.

use super::job::{Job, JobEnd};
use super::supervisor::JobThreads;
use super::worker::{CompactionWorker, MergeWorker};
use crate::clock;
use crate::error::NodeError;
use crate::fatal::EndOnPanic;
use crate::messages::{HelpMerge, HelpWindow};
use crate::metrics::Metrics;
use crate::spans;
use crate::store::StoreParts;
use actix::WeakAddr;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use strandline_consensus::BoxFuture;
use strandline_consensus::control::Helps;
use strandline_durable::{FileEntry, HelpAnswer, HelpAsk, MergeOrder, WindowOrder};
use strandline_engine::compact::{Partition, Trigger};
use strandline_engine::store::Store;
use strandline_event::{LogIndex, LogKey};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::Span;

/// An answer waits so long for the end of the work before it says how far it is.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// An order waits so long for this node to know its version, and the log as far as it goes.
const READY_WITHIN: Duration = Duration::from_secs(1);
/// Between looks at whether it does.
const PAUSE: Duration = Duration::from_millis(50);
/// Work that nobody has asked for in so long is given up, and what came of it forgotten. Who ordered it waits less long.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// How often a job looks whether it still is asked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Work for another node: it runs, or has ended.
struct Errand {
    job: Arc<Job>,
    asked: Mutex<Instant>,
    end: watch::Sender<Option<HelpAnswer>>,
}

impl Errand {
    fn is_forgotten(&self) -> bool {
        self.asked.lock().elapsed() > FORGOTTEN
    }

    /// What came of it, or how far it is by now.
    async fn answer(&self) -> HelpAnswer {
        *self.asked.lock() = Instant::now();
        let mut end = self.end.subscribe();
        drop(timeout(ANSWER_WITHIN, end.wait_for(Option::is_some)).await);
        let ended = self.end.borrow().clone();
        ended.unwrap_or_else(|| HelpAnswer::Working { rows: self.job.progress.rows_done() })
    }
}

/// How a store of this node helps the one that compacts it.
pub(crate) struct StoreHelp {
    // the cluster holds this longer than the store and the threads of jobs live
    parts: Weak<StoreParts>,
    compaction: WeakAddr<CompactionWorker>,
    merges: WeakAddr<MergeWorker>,
    metrics: Arc<Metrics>,
    /// By the jobs of their orders.
    errands: Mutex<HashMap<u128, Arc<Errand>>>,
}

impl Helps for StoreHelp {
    fn help<'a>(&'a self, what: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let errand = match HelpAsk::decode(what).map_err(|error| error.to_string())? {
                HelpAsk::Begin(order) => self.begin_merge(order).await?,
                HelpAsk::BeginWindow(order) => self.begin_window(order).await?,
                HelpAsk::GoOn { job_id } => self.find(job_id)?,
            };
            errand.answer().await.encode().map_err(|error| error.to_string())
        })
    }
}

/// Why nothing is begun.
fn stops() -> String {
    "this node stops".to_owned()
}

impl StoreHelp {
    pub(crate) fn new(parts: &Arc<StoreParts>, threads: &JobThreads, metrics: &Arc<Metrics>) -> Self {
        let (compaction, merges) = (threads.compaction.downgrade(), threads.merges.downgrade());
        let (parts, metrics) = (Arc::downgrade(parts), Arc::clone(metrics));
        Self { parts, compaction, merges, metrics, errands: Mutex::default() }
    }

    fn find(&self, job_id: u128) -> Result<Arc<Errand>, String> {
        let known = self.errands.lock().get(&job_id).cloned();
        known.ok_or_else(|| "this was not begun here, or was given up".to_owned())
    }

    async fn begin_merge(&self, order: MergeOrder) -> Result<Arc<Errand>, String> {
        let parts = self.parts.upgrade().ok_or_else(stops)?;
        let workers = self.merges.upgrade().ok_or_else(stops)?;
        follow(&parts, order.version, Instant::now() + READY_WITHIN).await?;
        let partition = partition_of(&parts.store, &order).ok_or("the files to merge are not known here yet")?;
        let errand = self.begin(&parts, Job::merge(partition, Trigger::Tick), order.job_id)?;
        let span = spans::merge(parts.store.name(), &errand.job.log);
        let merging = workers.send(HelpMerge {
            store: Arc::clone(&parts.store),
            order,
            progress: Arc::clone(&errand.job.progress),
            measured: Arc::clone(&parts.measured),
            span: span.clone(),
        });
        let doing = async move { Ok::<_, NodeError>(HelpAnswer::Done(merging.await??)) };
        tokio::spawn(work(parts, Arc::clone(&errand), Arc::clone(&self.metrics), span, doing));
        Ok(errand)
    }

    async fn begin_window(&self, order: WindowOrder) -> Result<Arc<Errand>, String> {
        let parts = self.parts.upgrade().ok_or_else(stops)?;
        let workers = self.compaction.upgrade().ok_or_else(stops)?;
        let (log, until) = (order.log(), Instant::now() + READY_WITHIN);
        apply(&parts.store, &log, order.through, until).await?;
        follow(&parts, order.version, until).await?;
        let errand = self.begin(&parts, Job::window_for_another(log), order.job_id)?;
        let span = spans::compaction(parts.store.name(), &errand.job.log);
        let writing = workers.send(HelpWindow {
            store: Arc::clone(&parts.store),
            order,
            progress: Arc::clone(&errand.job.progress),
            measured: Arc::clone(&parts.measured),
            span: span.clone(),
        });
        let doing = async move { Ok::<_, NodeError>(HelpAnswer::Wrote(writing.await??)) };
        tokio::spawn(work(parts, Arc::clone(&errand), Arc::clone(&self.metrics), span, doing));
        Ok(errand)
    }

    fn begin(&self, parts: &StoreParts, job: Arc<Job>, job_id: u128) -> Result<Arc<Errand>, String> {
        if !parts.book.start(&job) {
            return Err(stops());
        }
        job.begin();
        let errand = Arc::new(Errand { job, asked: Mutex::new(Instant::now()), end: watch::channel(None).0 });
        let mut errands = self.errands.lock();
        errands.retain(|_, errand| !errand.is_forgotten() || errand.end.borrow().is_none());
        errands.insert(job_id, Arc::clone(&errand));
        Ok(errand)
    }
}

/// Waits until this node's log has all entries of a window, for a while: it may be a moment behind.
async fn apply(store: &Store, log: &LogKey, through: LogIndex, until: Instant) -> Result<(), String> {
    let known = || {
        let shared = store.log(log)?;
        Some(shared.published().committed().min(shared.view().last_index()))
    };
    loop {
        match known() {
            Some(applied) if applied >= through => return Ok(()),
            applied if Instant::now() >= until => {
                let applied = applied.unwrap_or(LogIndex::ZERO);
                return Err(format!("the log of `{log}` is known here up to {applied}, and not up to {through}"));
            }
            _ => sleep(PAUSE).await,
        }
    }
}

/// Follows what was committed up to this version, for a while: its logs may be a moment behind. What is not known then is refused by the job.
async fn follow(parts: &StoreParts, version: u64, until: Instant) -> Result<(), String> {
    let Some(replicas) = &parts.replicas else { return Ok(()) };
    while parts.store.durable().pin().version() < version && Instant::now() < until {
        replicas.follow_newest().await?;
        if parts.store.durable().pin().version() < version {
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// The partition of the files that are to be merged.
fn partition_of(store: &Store, order: &MergeOrder) -> Option<Partition> {
    let (snapshot, first) = (store.durable().pin(), order.inputs.first()?);
    let values = snapshot.files().iter().find(|file| file.path == *first)?.partition.clone();
    let log = LogKey { stream_type: Arc::from(order.stream_type.as_str()), bucket: order.bucket };
    Some(Partition { log, values })
}

/// Waits for the end of the work, and ends it itself where nobody asks for it any more.
async fn work(
    parts: Arc<StoreParts>,
    errand: Arc<Errand>,
    metrics: Arc<Metrics>,
    span: Span,
    doing: impl Future<Output = Result<HelpAnswer, NodeError>> + Send,
) {
    let _end = EndOnPanic("work for another node panicked");
    let job = &errand.job;
    tokio::pin!(doing);
    let done = loop {
        tokio::select! {
            done = &mut doing => break done,
            () = sleep(LOOK_EVERY) => if errand.is_forgotten() { job.progress.cancel() },
        }
    };
    let (answer, end) = match done {
        Ok(answer) => {
            let end = ended_well(&answer);
            spans::job_wrote(&span, end.rows, end.output_bytes, end.files);
            let helped = if job.partition().is_some() { &metrics.merges_helped } else { &metrics.jobs_helped };
            helped.add(u64::from(end.files > 0));
            (answer, end)
        }
        Err(error) => {
            let (why, cancelled) = (error.to_string(), job.progress.is_cancelled());
            let told = (!cancelled).then(|| why.clone());
            let end = JobEnd { ended_at: clock::now(), error: told, cancelled, ..JobEnd::default() };
            (HelpAnswer::Failed { why }, end)
        }
    };
    errand.end.send_replace(Some(answer));
    parts.book.finish(job, end);
}

fn ended_well(answer: &HelpAnswer) -> JobEnd {
    let files: &[FileEntry] = match answer {
        HelpAnswer::Done(report) => &report.files,
        HelpAnswer::Wrote(report) => &report.files,
        HelpAnswer::Working { .. } | HelpAnswer::Failed { .. } => &[],
    };
    let inputs = if let HelpAnswer::Done(report) = answer { report.taken.len() as u64 } else { 0 };
    JobEnd {
        ended_at: clock::now(),
        inputs,
        output_bytes: files.iter().map(|file| file.bytes).sum(),
        rows: files.iter().map(|file| file.rows).sum(),
        files: files.len() as u64,
        ..JobEnd::default()
    }
}
