//! Decides when jobs run: on the schedule, on size, by hand. One a node; it alone starts jobs.
//!
//! Invariant: one run a log at a time; a run by hand waits for the one before it, the clock's does not.

use super::job::{Job, JobBook};
use super::run::{RunParts, run};
use super::worker::CompactionWorker;
use crate::clock;
use crate::error::NodeError;
use crate::fatal::EndOnPanic;
use crate::hot_worker::HotWorker;
use crate::messages::{CancelCompaction, PauseCompaction, RunCompaction, StopCompaction};
use crate::metrics::Metrics;
use crate::router::LogTable;
use crate::wiring::{AliveMark, CONTROL_MAILBOX};
use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_engine::compact::{Trigger, due};
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
    pub(crate) hot: Addr<HotWorker>,
    pub(crate) book: Arc<JobBook>,
}

/// Starts compaction jobs.
pub(crate) struct CompactionSupervisor {
    stores: Vec<SupervisedStore>,
    workers: Addr<CompactionWorker>,
    metrics: Arc<Metrics>,
    turns: HashMap<(Arc<str>, LogKey), Arc<Mutex<()>>>,
    stopping: bool,
    _alive: AliveMark,
}

impl CompactionSupervisor {
    pub(crate) fn new(
        stores: Vec<SupervisedStore>,
        workers: Addr<CompactionWorker>,
        metrics: Arc<Metrics>,
        alive: AliveMark,
    ) -> Self {
        for supervised in &stores {
            schedule(supervised, clock::now());
        }
        Self { stores, workers, metrics, turns: HashMap::new(), stopping: false, _alive: alive }
    }

    fn look(&mut self, context: &mut Context<Self>) {
        let _end = EndOnPanic("the compaction supervisor panicked");
        let now = clock::now();
        for at in 0..self.stores.len() {
            let Some(supervised) = self.stores.get(at) else { continue };
            let ticked = supervised.book.next_tick().is_some_and(|tick| tick <= now);
            if ticked {
                schedule(supervised, now);
            }
            if self.stopping || supervised.book.is_paused() || !supervised.store.config().compaction.enabled {
                continue;
            }
            let trigger = if ticked { Trigger::Tick } else { Trigger::Size };
            for log in supervised.table.keys() {
                if self.stores.get(at).is_some_and(|s| may_start(s, &log, trigger, now)) {
                    self.start(at, log, trigger, context);
                }
            }
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
            workers: self.workers.clone(),
            metrics: Arc::clone(&self.metrics),
            turn: Arc::clone(turn),
        };
        let job = Job::new(log, trigger);
        supervised.book.start(&job);
        context.spawn(run(parts, Arc::clone(&job), Arc::clone(&supervised.book)).into_actor(self));
        Some(job)
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

fn may_start(supervised: &SupervisedStore, log: &LogKey, trigger: Trigger, now: Micros) -> bool {
    let book = &supervised.book;
    let resting = trigger == Trigger::Size && book.has_failed_since(log, now.minus_seconds(REST_AFTER_FAILURE_S));
    !resting && !book.is_busy(log) && due(&supervised.store, log, trigger)
}

fn schedule(supervised: &SupervisedStore, now: Micros) {
    let compaction = &supervised.store.config().compaction;
    let next = if compaction.enabled { compaction.schedule.next_after(now) } else { None };
    supervised.book.set_next_tick(next);
}

impl Actor for CompactionSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(CONTROL_MAILBOX);
        context.run_interval(LOOK_EVERY, Self::look);
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
            return Err(NodeError::CompactionDisabled);
        }
        let wanted = |log: &LogKey| message.stream_type.as_deref().is_none_or(|name| name == &*log.stream_type);
        let logs: Vec<LogKey> = supervised.table.keys().into_iter().filter(wanted).collect();
        if let (Some(name), true) = (&message.stream_type, logs.is_empty()) {
            return Err(NodeError::UnknownStreamType { store: message.store.to_string(), name: name.clone() });
        }
        Ok(logs.into_iter().filter_map(|log| self.start(at, log, message.trigger, context)).collect())
    }
}

impl Handler<PauseCompaction> for CompactionSupervisor {
    type Result = ();

    fn handle(&mut self, message: PauseCompaction, _: &mut Self::Context) {
        for supervised in self.stores.iter().filter(|s| s.store.name() == &*message.store) {
            supervised.book.set_paused(message.paused);
        }
    }
}

impl Handler<CancelCompaction> for CompactionSupervisor {
    type Result = usize;

    fn handle(&mut self, message: CancelCompaction, _: &mut Self::Context) -> usize {
        self.cancel(message.store.as_deref())
    }
}

impl Handler<StopCompaction> for CompactionSupervisor {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: StopCompaction, _: &mut Self::Context) -> Self::Result {
        self.stopping = true;
        self.cancel(None);
        let jobs: Vec<Arc<Job>> = self.stores.iter().flat_map(|s| s.book.running()).collect();
        let ended = async move {
            for job in jobs {
                job.ended().await;
            }
        };
        Box::pin(ended.into_actor(self).map(|(), _, context| context.stop()))
    }
}

#[cfg(test)]
mod tests {
    use crate::permits::BytePermit;
    use crate::{Node, NodeHandle, NodeOptions, StoreHandle, clock, runtime};
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;
    use strandline_engine::append::Expected;
    use strandline_event::{BatchBuilder, BatchUnit, EventInput};

    async fn start(dir: &Path, more: &str) -> (NodeHandle, StoreHandle) {
        let shown = dir.display();
        let text = format!(
            "CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.path = '{shown}/durable', wal.enabled = true,
             wal.path = '{shown}/wal' {more});"
        );
        let declarations = strandline_deql::parse_file("t", &text).unwrap_or_else(|e| panic!("{e}"));
        let node = Node::start(declarations, NodeOptions::new(dir.join("node"))).await.unwrap();
        let store = node.store("s").unwrap();
        (node, store)
    }

    async fn append(node: &NodeHandle, store: &StoreHandle, bytes: usize) {
        let data = format!("\"{}\"", "x".repeat(bytes));
        let mut builder = BatchBuilder::new("T", BatchUnit::Append);
        builder.push(&EventInput { stream_id: "s", event_type: "E", data: &data, ..EventInput::default() }).unwrap();
        let permit: Arc<BytePermit> = Arc::new(node.permits().take(1).unwrap());
        store.append_stream(builder.finish().unwrap(), Expected::Any, false, permit).await.unwrap();
    }

    async fn wait_for_durable(store: &StoreHandle, events: u64) {
        for _ in 0..1000 {
            if store.tiers().await.unwrap().durable.events >= events {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nothing was compacted: {:?}", store.jobs().ended());
    }

    #[test]
    fn the_schedule_starts_jobs_and_a_pause_holds_them() {
        let folder = tempfile::tempdir().unwrap();
        runtime::run(async {
            let (node, store) = start(folder.path(), ", compaction.schedule = '0 0 29 2 *'").await;
            append(&node, &store, 10).await;
            store.pause(true).await.unwrap();
            store.parts.book.set_next_tick(Some(clock::now()));
            tokio::time::sleep(Duration::from_millis(1200)).await;
            assert_eq!(store.tiers().await.unwrap().durable.events, 0);
            assert!(store.jobs().next_tick().unwrap() > clock::now(), "the tick is over");
            store.pause(false).await.unwrap();
            store.parts.book.set_next_tick(Some(clock::now()));
            wait_for_durable(&store, 1).await;
            assert_eq!(node.stop().await, Ok(()));
        })
        .unwrap();
    }

    #[test]
    fn size_starts_jobs() {
        let folder = tempfile::tempdir().unwrap();
        runtime::run(async {
            let (node, store) =
                start(folder.path(), ", compaction.trigger = 'size_mb', compaction.min_segment_mb = 1").await;
            append(&node, &store, 600_000).await;
            append(&node, &store, 600_000).await;
            wait_for_durable(&store, 2).await;
            assert_eq!(node.stop().await, Ok(()));
        })
        .unwrap();
    }
}
