//! Merges that this node does for the compactor of a store (`handing.rs` is the other side): written under the order's own name, and
//! left to who ordered them.
//!
//! ```text
//!  Begin ─> follow up to the order's version ─> a job in the book ─> MergeWorker ─┬─> kept until it is fetched, or forgotten
//!  GoOn  ─> how far, or what came of it  <────────────────────────────────────────┘
//! ```
//!
//! What nobody asks for any more is cancelled. Invariant: once it has ended well, its files are never touched here again: who ordered them may be
//! committing them at this moment. Nothing is begun twice: an order that this process does not know is not one that it goes on with.

use super::job::{Job, JobEnd};
use super::worker::MergeWorker;
use crate::clock;
use crate::error::NodeError;
use crate::fatal::EndOnPanic;
use crate::messages::HelpMerge;
use crate::metrics::Metrics;
use crate::spans;
use crate::store::StoreParts;
use actix::{Addr, WeakAddr};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use strandline_consensus::BoxFuture;
use strandline_consensus::control::Helps;
use strandline_durable::{MergeAnswer, MergeAsk, MergeOrder, MergeReport};
use strandline_engine::compact::{Partition, Trigger};
use strandline_engine::store::Store;
use strandline_event::LogKey;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// An answer waits so long for the end of the work before it says how far it is.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// An order waits so long for this node to know its version.
const READY_WITHIN: Duration = Duration::from_secs(1);
/// Between looks at whether it does.
const PAUSE: Duration = Duration::from_millis(50);
/// Work that nobody has asked for in so long is given up, and what came of it forgotten. Who ordered it waits less long.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// How often a job looks whether it still is asked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A merge for another node: it runs, or has ended.
struct Errand {
    job: Arc<Job>,
    asked: Mutex<Instant>,
    end: watch::Sender<Option<MergeAnswer>>,
}

impl Errand {
    fn is_forgotten(&self) -> bool {
        self.asked.lock().elapsed() > FORGOTTEN
    }

    /// What came of it, or how far it is by now.
    async fn answer(&self) -> MergeAnswer {
        *self.asked.lock() = Instant::now();
        let mut end = self.end.subscribe();
        drop(timeout(ANSWER_WITHIN, end.wait_for(Option::is_some)).await);
        let ended = self.end.borrow().clone();
        ended.unwrap_or_else(|| MergeAnswer::Working { rows: self.job.progress.rows_done() })
    }
}

/// How a store of this node helps the one that compacts it.
pub(crate) struct MergeHelp {
    // the cluster holds this longer than the store and the threads of merges live
    parts: Weak<StoreParts>,
    workers: WeakAddr<MergeWorker>,
    metrics: Arc<Metrics>,
    /// By the jobs of their orders.
    errands: Mutex<HashMap<u128, Arc<Errand>>>,
}

impl Helps for MergeHelp {
    fn help<'a>(&'a self, what: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let errand = match MergeAsk::decode(what).map_err(|error| error.to_string())? {
                MergeAsk::Begin(order) => self.begin(order).await?,
                MergeAsk::GoOn { job_id } => self.find(job_id)?,
            };
            errand.answer().await.encode().map_err(|error| error.to_string())
        })
    }
}

impl MergeHelp {
    pub(crate) fn new(parts: &Arc<StoreParts>, workers: &Addr<MergeWorker>, metrics: &Arc<Metrics>) -> Self {
        let (parts, workers, metrics) = (Arc::downgrade(parts), workers.downgrade(), Arc::clone(metrics));
        Self { parts, workers, metrics, errands: Mutex::default() }
    }

    fn find(&self, job_id: u128) -> Result<Arc<Errand>, String> {
        let known = self.errands.lock().get(&job_id).cloned();
        known.ok_or_else(|| "this merge was not begun here, or was given up".to_owned())
    }

    async fn begin(&self, order: MergeOrder) -> Result<Arc<Errand>, String> {
        let stops = || "this node stops".to_owned();
        let parts = self.parts.upgrade().ok_or_else(stops)?;
        let workers = self.workers.upgrade().ok_or_else(stops)?;
        follow(&parts, order.version).await?;
        let partition = partition_of(&parts.store, &order).ok_or("the files to merge are not known here yet")?;
        let job = Job::merge(partition, Trigger::Tick);
        if !parts.book.start(&job) {
            return Err(stops());
        }
        job.begin();
        let errand = Arc::new(Errand { job, asked: Mutex::new(Instant::now()), end: watch::channel(None).0 });
        {
            let mut errands = self.errands.lock();
            errands.retain(|_, errand| !errand.is_forgotten() || errand.end.borrow().is_none());
            errands.insert(order.job_id, Arc::clone(&errand));
        }
        tokio::spawn(work(parts, workers, order, Arc::clone(&errand), Arc::clone(&self.metrics)));
        Ok(errand)
    }
}

/// Follows what was committed up to this version, for a while: its logs may be a moment behind. What is not known then is refused by the merge.
async fn follow(parts: &StoreParts, version: u64) -> Result<(), String> {
    let until = Instant::now() + READY_WITHIN;
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

async fn work(
    parts: Arc<StoreParts>,
    workers: Addr<MergeWorker>,
    order: MergeOrder,
    errand: Arc<Errand>,
    metrics: Arc<Metrics>,
) {
    let _end = EndOnPanic("a merge for another node panicked");
    let job = &errand.job;
    let span = spans::merge(parts.store.name(), &job.log);
    let done = {
        let merging = workers.send(HelpMerge {
            store: Arc::clone(&parts.store),
            order,
            progress: Arc::clone(&job.progress),
            measured: Arc::clone(&parts.measured),
            span: span.clone(),
        });
        drop(workers);
        tokio::pin!(merging);
        loop {
            tokio::select! {
                done = &mut merging => break done,
                () = sleep(LOOK_EVERY) => if errand.is_forgotten() { job.progress.cancel() },
            }
        }
    };
    let done = done.map_err(NodeError::from).and_then(|done| done.map_err(NodeError::from));
    let (answer, end) = match done {
        Ok(report) => {
            let end = ended_well(&report);
            spans::job_wrote(&span, end.rows, end.output_bytes, end.files);
            metrics.merges_helped.add(u64::from(end.files > 0));
            (MergeAnswer::Done(report), end)
        }
        Err(error) => {
            let (why, cancelled) = (error.to_string(), job.progress.is_cancelled());
            let end = JobEnd { ended_at: clock::now(), error: Some(why.clone()), cancelled, ..JobEnd::default() };
            (MergeAnswer::Failed { why }, end)
        }
    };
    errand.end.send_replace(Some(answer));
    parts.book.finish(job, end);
}

fn ended_well(report: &MergeReport) -> JobEnd {
    JobEnd {
        ended_at: clock::now(),
        inputs: report.taken.len() as u64,
        output_bytes: report.files.iter().map(|file| file.bytes).sum(),
        rows: report.files.iter().map(|file| file.rows).sum(),
        files: report.files.len() as u64,
        ..JobEnd::default()
    }
}
