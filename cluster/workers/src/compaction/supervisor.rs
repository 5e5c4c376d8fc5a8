//! Decides when jobs run: on the schedule, on size, by hand. One a node; it alone starts jobs.
//!
//! Invariant: one run a log at a time; a run by hand waits for the one before it, the clock's does not. At most one waits:
//! whoever asks again is given that one. What is due is found out in a thread that may block. Merges follow a run by hand, and go
//! on their own with the clock's tick: one round of a store at a time.

use super::handing;
use super::job::{Following, Job, JobBook};
use super::merge::{self, MergeParts};
use super::pause::PauseFile;
use super::run::{RunParts, run};
use super::worker::{CompactionWorker, MergeWorker};
use crate::clock;
use crate::error::NodeError;
use crate::fatal::EndOnPanic;
use crate::hot_worker::HotWorkers;
use crate::messages::{CancelCompaction, LookNow, PauseCompaction, RewriteRedacted, RunCompaction, StopCompaction};
use crate::metrics::{Measured, Metrics};
use crate::retention::{RetentionDesk, RetentionWork, Wish};
use crate::router::LogTable;
use crate::wiring::{AliveMark, CONTROL_MAILBOX};
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, AtomicResponse, Context, Handler, ResponseActFuture,
    WrapFuture,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use strandline_consensus::control::Control;
use strandline_deql::StoreConfig;
use strandline_engine::compact::{CompactError, Trigger, due};
use strandline_engine::store::Store;
use strandline_event::{LogKey, Micros};
use tokio::sync::Mutex;

/// How often schedule and sizes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A log whose job failed is left alone this long, unless the schedule or a person asks.
const REST_AFTER_FAILURE_S: u64 = 60;

/// One store as the supervisor sees it.
pub(crate) struct SupervisedStore {
    pub(crate) store: Arc<Store>,
    pub(crate) table: Arc<LogTable>,
    pub(crate) hot: HotWorkers,
    pub(crate) book: Arc<JobBook>,
    /// Keeps whether it is paused, of a node alone.
    pub(crate) pause: PauseFile,
    pub(crate) retention: Arc<RetentionDesk>,
    pub(crate) measured: Arc<Measured>,
    /// Another node owns the store: nothing can be committed here.
    pub(crate) fenced: Arc<AtomicBool>,
    /// The clock's round of merges runs.
    pub(crate) merging: Arc<AtomicBool>,
    /// The statement whose schedule holds.
    pub(crate) scheduled: Option<Arc<StoreConfig>>,
}

/// The threads that jobs run on.
#[derive(Clone)]
pub(crate) struct JobThreads {
    pub(crate) compaction: Addr<CompactionWorker>,
    pub(crate) merges: Addr<MergeWorker>,
    /// Merges at once.
    pub(crate) merges_at_once: usize,
}

/// A log that may be due, at its place among the stores.
struct Candidate {
    at: usize,
    log: LogKey,
    trigger: Trigger,
    store: Arc<Store>,
}

/// Starts compaction jobs.
pub(crate) struct CompactionSupervisor {
    stores: Vec<SupervisedStore>,
    threads: JobThreads,
    metrics: Arc<Metrics>,
    turns: HashMap<(Arc<str>, LogKey), Arc<Mutex<()>>>,
    /// The node's part in a cluster.
    cluster: Option<Control>,
    /// How often orphans are swept.
    sweep_every: Duration,
    stopping: bool,
    /// What is due is being found out.
    looking: bool,
    _alive: AliveMark,
}

impl CompactionSupervisor {
    pub(crate) fn new(
        mut stores: Vec<SupervisedStore>,
        threads: JobThreads,
        metrics: Arc<Metrics>,
        cluster: Option<Control>,
        sweep_every: Duration,
        alive: AliveMark,
    ) -> Self {
        for supervised in &mut stores {
            let config = supervised.store.config();
            supervised.schedule(config, clock::now());
        }
        let (turns, stopping, looking) = (HashMap::new(), false, false);
        Self { stores, threads, metrics, turns, cluster, sweep_every, stopping, looking, _alive: alive }
    }

    fn look(&mut self, context: &mut Context<Self>) {
        let _end = EndOnPanic("the compaction supervisor panicked");
        let now = clock::now();
        if self.looking {
            return;
        }
        let ticked: Vec<bool> = self.stores.iter_mut().map(|supervised| supervised.has_ticked(now)).collect();
        let mut candidates = Vec::new();
        for ((at, supervised), ticked) in self.stores.iter().enumerate().zip(ticked) {
            let idle = supervised.book.is_paused() || supervised.fenced.load(Ordering::SeqCst);
            if self.stopping || idle || !supervised.store.config().compaction.enabled {
                continue;
            }
            if ticked && !supervised.merging.swap(true, Ordering::SeqCst) {
                let (parts, merging) = (self.merge_parts(supervised), Arc::clone(&supervised.merging));
                let round = async move {
                    merge::round(parts, None, Trigger::Tick).await;
                    merging.store(false, Ordering::SeqCst);
                };
                context.spawn(round.into_actor(self));
            }
            let trigger = if ticked { Trigger::Tick } else { Trigger::Size };
            let free = supervised.table.keys().into_iter().filter(|log| may_start(&supervised.book, log, trigger, now));
            let store = &supervised.store;
            candidates.extend(free.map(|log| Candidate { at, log, trigger, store: Arc::clone(store) }));
        }
        if !candidates.is_empty() {
            self.start_those_due(candidates, context);
        }
    }

    fn start_those_due(&mut self, mut candidates: Vec<Candidate>, context: &mut Context<Self>) {
        self.looking = true;
        let finding = tokio::task::spawn_blocking(move || {
            let _end = EndOnPanic("the compaction supervisor panicked over what is due");
            candidates.retain(|c| due(&c.store, &c.log, c.trigger));
            candidates
        });
        context.spawn(finding.into_actor(self).map(|found, supervisor, context| {
            supervisor.looking = false;
            for Candidate { at, log, trigger, .. } in found.unwrap_or_default() {
                let book = supervisor.stores.get(at).map(|supervised| &supervised.book);
                if !supervisor.stopping && book.is_some_and(|book| !book.is_paused() && !book.is_busy(&log)) {
                    supervisor.start(at, log, trigger, context);
                }
            }
        }));
    }

    /// Applies retention (not while compaction is paused), then removes what is nobody's any more, in a thread that may block.
    fn sweep(&mut self, _: &mut Context<Self>) {
        if self.stopping {
            return;
        }
        // what another node commits is not this one's to sweep
        for supervised in self.stores.iter().filter(|supervised| !supervised.fenced.load(Ordering::SeqCst)) {
            let work = RetentionWork::new(supervised, &self.metrics);
            let retains = supervised.store.config().retention.enabled && !supervised.book.is_paused();
            // nobody waits for its end
            drop(tokio::task::spawn_blocking(move || {
                if retains {
                    // what it says is in its book
                    let _ = work.run(&Wish::Retain { by_hand: false });
                }
                sweep(work.store());
            }));
        }
    }

    fn start(&mut self, at: usize, log: LogKey, trigger: Trigger, context: &mut Context<Self>) -> Option<Arc<Job>> {
        let supervised = self.stores.get(at)?;
        let owner = supervised.table.get(&log)?;
        let name: Arc<str> = Arc::from(supervised.store.name());
        let turn = self.turns.entry((name, log.clone())).or_default();
        let parts = RunParts {
            store: Arc::clone(&supervised.store),
            owner,
            hot: supervised.hot.clone(),
            workers: self.threads.compaction.clone(),
            metrics: Arc::clone(&self.metrics),
            measured: Arc::clone(&supervised.measured),
            turn: Arc::clone(turn),
            fenced: Arc::clone(&supervised.fenced),
            taker: handing::of_log(self.cluster.as_ref(), &log),
        };
        let job = Job::new(log, trigger);
        if !supervised.book.start(&job) {
            return None;
        }
        let (merges, following) = (self.merge_parts(supervised), Following::new(&job));
        let (running, book) = (Arc::clone(&job), Arc::clone(&supervised.book));
        let whole = async move {
            run(parts, Arc::clone(&running), book).await;
            let well = running.end().is_some_and(|end| end.is_well());
            if trigger == Trigger::Hand && well {
                following.ended(merge::round(merges, Some(Arc::clone(&running.log.stream_type)), trigger).await);
            }
        };
        context.spawn(whole.into_actor(self));
        Some(job)
    }

    fn merge_parts(&self, supervised: &SupervisedStore) -> MergeParts {
        MergeParts {
            store: Arc::clone(&supervised.store),
            workers: self.threads.merges.clone(),
            book: Arc::clone(&supervised.book),
            metrics: Arc::clone(&self.metrics),
            measured: Arc::clone(&supervised.measured),
            fenced: Arc::clone(&supervised.fenced),
            at_once: self.threads.merges_at_once,
            cluster: self.cluster.clone(),
        }
    }

    fn cancel(&self, store: Option<&str>) -> usize {
        let mut asked = 0;
        for supervised in self.stores.iter().filter(|s| store.is_none_or(|name| name == s.store.name())) {
            for job in supervised.book.running() {
                job.progress.cancel();
                asked += 1;
            }
        }
        asked
    }
}

fn sweep(store: &Store) {
    match store.sweep(clock::now()) {
        Ok(gone) if gone.is_empty() => {}
        Ok(gone) => tracing::info!(store = store.name(), "{} orphans are gone: {}", gone.len(), gone.join(", ")),
        Err(error) => tracing::warn!(store = store.name(), "orphans cannot be swept: {error}"),
    }
    match store.fold(clock::now()) {
        Ok(folded) if folded.versions == 0 => {}
        Ok(folded) => tracing::info!(store = store.name(), "{} old manifest versions are folded away", folded.versions),
        Err(error) => tracing::warn!(store = store.name(), "old manifest versions stay for now: {error}"),
    }
}

fn may_start(book: &JobBook, log: &LogKey, trigger: Trigger, now: Micros) -> bool {
    let resting = trigger == Trigger::Size && book.has_failed_since(log, now.minus_seconds(REST_AFTER_FAILURE_S));
    !resting && !book.is_busy(log)
}

impl SupervisedStore {
    /// Whether the schedule's moment has come. Then the next one is set, and also where the statement was replaced.
    fn has_ticked(&mut self, now: Micros) -> bool {
        let ticked = self.book.next_tick().is_some_and(|tick| tick <= now);
        if ticked {
            self.schedule(self.store.config(), now);
        } else {
            self.follow(now);
        }
        ticked
    }

    /// Sets the next moment where the statement has another schedule by now; one that has come is not lost.
    fn follow(&mut self, now: Micros) {
        let config = self.store.config();
        let same = |old: &Arc<StoreConfig>| {
            let (old, new) = (&old.compaction, &config.compaction);
            (old.enabled, old.schedule.as_str()) == (new.enabled, new.schedule.as_str())
        };
        let has_come = self.book.next_tick().is_some_and(|tick| tick <= now);
        if !has_come && !self.scheduled.as_ref().is_some_and(same) {
            self.schedule(config, now);
        }
    }

    fn schedule(&mut self, config: Arc<StoreConfig>, now: Micros) {
        let compaction = &config.compaction;
        let next = if compaction.enabled { compaction.schedule.next_after(now) } else { None };
        self.book.set_next_tick(next);
        self.scheduled = Some(config);
    }
}

impl Actor for CompactionSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(CONTROL_MAILBOX);
        context.run_interval(LOOK_EVERY, Self::look);
        context.run_interval(self.sweep_every, Self::sweep);
    }
}

impl Handler<RunCompaction> for CompactionSupervisor {
    type Result = Result<Vec<Arc<Job>>, NodeError>;

    fn handle(&mut self, message: RunCompaction, context: &mut Self::Context) -> Self::Result {
        if self.stopping {
            return Err(NodeError::Draining);
        }
        let at = self.stores.iter().position(|s| s.store.name() == &*message.store);
        let Some((at, supervised)) = at.and_then(|at| Some((at, self.stores.get(at)?))) else {
            return Err(NodeError::UnknownStore { name: message.store.to_string(), known: "others".to_owned() });
        };
        if !supervised.store.config().compaction.enabled {
            return Err(CompactError::Disabled.into());
        }
        let wanted = |log: &LogKey| message.stream_type.as_deref().is_none_or(|name| name == &*log.stream_type);
        let logs: Vec<LogKey> = supervised.table.keys().into_iter().filter(wanted).collect();
        if let (Some(name), true) = (&message.stream_type, logs.is_empty()) {
            return Err(NodeError::UnknownStreamType { store: message.store.to_string(), name: name.clone() });
        }
        if supervised.fenced.load(Ordering::SeqCst) {
            return Err(NodeError::Fenced { store: message.store.to_string() });
        }
        let book = Arc::clone(&supervised.book);
        let job = |log| book.waiting(&log).or_else(|| self.start(at, log, message.trigger, context));
        Ok(logs.into_iter().filter_map(job).collect())
    }
}

impl Handler<RewriteRedacted> for CompactionSupervisor {
    type Result = ();

    fn handle(&mut self, message: RewriteRedacted, context: &mut Self::Context) {
        let supervised = self.stores.iter().find(|s| s.store.name() == &*message.store);
        let Some(supervised) = supervised.filter(|s| !self.stopping && s.store.config().compaction.enabled) else {
            return;
        };
        let round = merge::round(self.merge_parts(supervised), Some(message.stream_type), Trigger::Redaction);
        context.spawn(round.into_actor(self).map(|_, _, _| ()));
    }
}

impl Handler<PauseCompaction> for CompactionSupervisor {
    type Result = AtomicResponse<Self, Result<(), NodeError>>;

    /// Kept first, in a thread that may block; nothing else is looked at meanwhile.
    fn handle(&mut self, message: PauseCompaction, _: &mut Self::Context) -> Self::Result {
        let supervised = self.stores.iter().find(|s| s.store.name() == &*message.store);
        let found = supervised.map(|s| (s.pause.clone(), Arc::clone(&s.book)));
        let paused = message.paused;
        let keeping = async move {
            if let Some((file, book)) = found {
                let kept = tokio::task::spawn_blocking(move || file.keep(paused)).await;
                kept.map_err(|_| NodeError::OutcomeUnknown)?.map_err(NodeError::PauseNotKept)?;
                book.set_paused(paused);
            }
            Ok::<(), NodeError>(())
        };
        AtomicResponse::new(Box::pin(keeping.into_actor(self)))
    }
}

impl Handler<CancelCompaction> for CompactionSupervisor {
    type Result = usize;

    fn handle(&mut self, message: CancelCompaction, _: &mut Self::Context) -> usize {
        self.cancel(message.store.as_deref())
    }
}

impl Handler<LookNow> for CompactionSupervisor {
    type Result = ();

    fn handle(&mut self, _: LookNow, context: &mut Self::Context) {
        let now = clock::now();
        self.stores.iter_mut().for_each(|supervised| supervised.follow(now));
        self.look(context);
    }
}

impl Handler<StopCompaction> for CompactionSupervisor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: StopCompaction, _: &mut Self::Context) -> Self::Result {
        self.stopping = true;
        self.stores.iter().for_each(|supervised| supervised.book.stop());
        self.cancel(None);
        let desks: Vec<Arc<RetentionDesk>> = self.stores.iter().map(|s| Arc::clone(&s.retention)).collect();
        desks.iter().for_each(|desk| desk.stop());
        let jobs: Vec<Arc<Job>> = self.stores.iter().flat_map(|s| s.book.running()).collect();
        let ended = async move {
            for job in jobs {
                job.ended().await;
            }
            // a panic in there has ended the process
            let _ = tokio::task::spawn_blocking(move || desks.iter().for_each(|desk| desk.wait())).await;
        };
        Box::pin(ended.into_actor(self).map(|(), _, context| context.stop()))
    }
}

#[cfg(test)]
mod tests;
