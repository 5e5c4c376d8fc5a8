//! One store of a running node, as callers see it: appends, reads, registrations, numbers.
//!
//! Every function is async and may be called from any thread. What is not done is an error; nothing waits for
//! ever behind a full queue.

use crate::append::Submission;
use crate::compaction::job::{Job, JobBook};
use crate::error::NodeError;
use crate::hot_worker::HotWorkers;
use crate::messages::{
    BeginScan, CancelCompaction, ContinueScan, ContinueScanFor, FindEvent, OpenLogOf, PauseCompaction, Plans,
    ReadAppend, ReadGlobal, ReadHead, ReadStream, RegisterStreamType, RunCompaction, Scope, StatusPart, StoreStatus,
    StreamQuery,
};
use crate::metrics::Measured;
use crate::node::NodeShared;
use crate::permits::{BytePermit, Permitted};
use crate::reading::Reading;
use crate::registry::StreamTypeEntry;
use crate::replicas::StoreReplicas;
use crate::retention::{RetentionDesk, RetentionRun, RetentionWork, Wish};
use crate::router::{LogTable, PublishedTypes, StoreRouter};
use crate::sealing::Sealed;
use crate::statement::StatementDesk;
use crate::subscriptions::{Desk, Feed};
use crate::unborn;
use actix::Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use strandline_deql::StoreConfig;
use strandline_engine::append::{AppendOutcome, AppendRequest, DuplicateRow, Expected, OnError};
use strandline_engine::compact::Trigger;
use strandline_engine::read::{
    Filter, FoundEvent, GlobalPage, GlobalRead, Scan, ScanBatch, StreamHead, StreamPage, TierSet,
};
use strandline_engine::retention::RetentionStatus;
use strandline_engine::store::Store;
use strandline_engine::strict::check_registered;
use strandline_engine::tenants::TenantScope;
use strandline_event::{BatchBytes, EventId, EventRef, Micros, Seq, StampedBatch};

/// How often one request of a caller that is limited to tenants looks on for its events: a million events of others at least.
const LOOKS_MAX: usize = 64;

/// What a store consists of while it runs.
pub(crate) struct StoreParts {
    pub(crate) store: Arc<Store>,
    pub(crate) table: Arc<LogTable>,
    pub(crate) types: Arc<PublishedTypes>,
    pub(crate) hot: HotWorkers,
    pub(crate) router: Addr<StoreRouter>,
    pub(crate) book: Arc<JobBook>,
    pub(crate) retention: Arc<RetentionDesk>,
    pub(crate) statement: StatementDesk,
    /// The live end of the store, for who follows it.
    pub(crate) feed: Arc<Feed>,
    pub(crate) subscriptions: Arc<Desk>,
    /// How long things take here.
    pub(crate) measured: Arc<Measured>,
    /// Set when another node owns the store, or (in a cluster) compacts it.
    pub(crate) fenced: Arc<AtomicBool>,
    /// The logs as replicas, in a cluster.
    pub(crate) replicas: Option<Arc<StoreReplicas>>,
}

/// A store of a running node. Cloning shares it.
#[derive(Clone)]
pub struct StoreHandle {
    pub(crate) parts: Arc<StoreParts>,
    pub(crate) node: Arc<NodeShared>,
    /// The tenants that the caller is limited to.
    pub(crate) scope: Scope,
}

/// The answer to an append to one stream.
pub struct StreamAppended {
    /// Nothing was stored: this is the first answer again.
    pub duplicate: bool,
    /// The events: id, seq, ingested_at.
    pub events: Vec<AppendedEvent>,
    /// What was stored, or would be; `None`: nothing was, this is the first answer again.
    pub stamped: Option<StampedBatch>,
}

/// An event of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppendedEvent {
    /// Its id; `None`: this is the first answer again, and retention removed the event meanwhile.
    pub event_id: Option<EventId>,
    /// Its seq.
    pub seq: Seq,
    /// When it was taken; `None`: as with the id, where the command's record does not tell it.
    pub ingested_at: Option<Micros>,
}

impl AppendedEvent {
    fn of(event: &EventRef<'_>) -> Self {
        Self { event_id: Some(event.event_id), seq: event.seq, ingested_at: Some(event.ingested_at) }
    }
}

impl StoreHandle {
    /// The store's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.parts.store.name()
    }

    /// The same store for a caller that is limited to these tenants: what it may not see does not exist, what is about the whole store is
    /// refused.
    #[must_use]
    pub fn limited_to(&self, scope: &Arc<TenantScope>) -> Self {
        Self { scope: Some(Arc::clone(scope)), ..self.clone() }
    }

    /// Whether the caller is limited to tenants.
    #[must_use]
    pub const fn is_limited(&self) -> bool {
        self.scope.is_some()
    }

    /// Refuses what tells of the whole store.
    pub(crate) const fn check_unlimited(&self) -> Result<(), NodeError> {
        if self.scope.is_some() { Err(NodeError::OfTheWholeStore) } else { Ok(()) }
    }

    /// Its configuration as of now.
    #[must_use]
    pub fn config(&self) -> Arc<StoreConfig> {
        self.parts.store.config()
    }

    /// The engine's store.
    #[must_use]
    pub fn engine(&self) -> &Arc<Store> {
        &self.parts.store
    }

    // ---- appends ----

    /// Appends a batch of one stream, atomically.
    ///
    /// # Errors
    /// Every rule of the store; `Overloaded`; `Draining`.
    pub async fn append_stream(
        &self,
        batch: BatchBytes,
        expected: Expected,
        inspect: bool,
        permit: Arc<BytePermit>,
    ) -> Result<StreamAppended, NodeError> {
        let batch = self.own(batch)?;
        let _appending = self.appending().await;
        let (batch, outcome) = match self.sealed(batch, expected, inspect, &permit).await? {
            Sealed::Judged(batch, outcome) => (batch, *outcome),
            Sealed::Ready(batch) => {
                let outcome = self.submit(batch.clone(), expected, OnError::Abort, inspect, permit).await?;
                (batch, outcome)
            }
        };
        if let Some(stamped) = outcome.stamped.as_ref().filter(|_| inspect) {
            self.notify_inspected(stamped);
        }
        self.stream_answer(&batch, outcome).await
    }

    /// A batch as this caller's, before anything is asked of it: chunks are known by their tenants alone.
    pub(crate) fn own(&self, batch: BatchBytes) -> Result<BatchBytes, NodeError> {
        let Some(scope) = &self.scope else { return Ok(batch) };
        scope.with_own_chunk(batch, self.parts.store.rules().digest_key).ok_or(NodeError::Defect)
    }

    pub(crate) fn check_stream_type(&self, name: &str) -> Result<(), NodeError> {
        if !self.config().strict.stream_type_enforced {
            return Ok(());
        }
        let types = self.parts.types.load();
        let known: Vec<&str> = types.iter().map(|t| &*t.name).collect();
        check_registered(name, &known).map_err(NodeError::Unregistered)
    }

    pub(crate) async fn submit(
        &self,
        batch: BatchBytes,
        expected: Expected,
        on_error: OnError,
        inspect: bool,
        permit: Arc<BytePermit>,
    ) -> Result<AppendOutcome, NodeError> {
        let (mut log, mut owner) = self.serving_owner(batch.view())?;
        if let Some(replicas) = self.parts.replicas.as_ref().filter(|_| owner.is_none()) {
            // one that others hold is not made here, whoever leads the cluster: it is asked nothing, and told nothing
            if let Some(elsewhere) = replicas.log_led_elsewhere(&log) {
                return Err(elsewhere);
            }
            replicas.check_knows_types()?;
            replicas.publish_types();
            (log, owner) = self.serving_owner(batch.view())?;
        }
        let owner = match owner {
            Some(owner) => owner,
            None => {
                let request = AppendRequest {
                    expected,
                    on_error,
                    inspect,
                    tenants: self.scope.clone(),
                    ..AppendRequest::new(batch.clone())
                };
                if let Some(replicas) = self.parts.replicas.as_ref().filter(|_| inspect) {
                    replicas.know_commands().await?;
                }
                // a log without an owner is being opened, or stops: it is not empty
                if self.is_unborn(&log)
                    && let Some(judged) = unborn::judge(&self.parts.store, request).await.transpose()
                {
                    self.node.shared.metrics.count_judged(&judged);
                    return judged;
                }
                let opened = match &self.parts.replicas {
                    Some(replicas) => replicas.open_log_of(&log).await?,
                    None => self.parts.router.send(OpenLogOf(log.clone())).await??,
                };
                if self.serving_owner(batch.view())?.0 != log {
                    return Err(NodeError::BucketsChanged);
                }
                opened
            }
        };
        let submission = Submission {
            store: &self.parts.store,
            table: &self.parts.table,
            readers: &self.node.shared.readers,
            waiting: &self.node.shared.metrics.appends_waiting,
            replicas: self.parts.replicas.as_ref(),
            log,
            owner,
            batch,
            expected,
            on_error,
            inspect,
            permit,
            scope: self.scope.clone(),
        };
        let done = submission.run().await;
        if matches!(done, Err(NodeError::Overloaded(_))) {
            self.node.shared.metrics.overloaded.add(1);
        }
        done.map_err(|error| self.with_leader(error))
    }

    /// The answer of a stream append; for a duplicate the events of the first answer are read again.
    pub(crate) async fn stream_answer(
        &self,
        batch: &BatchBytes,
        outcome: AppendOutcome,
    ) -> Result<StreamAppended, NodeError> {
        if let Some(stamped) = outcome.stamped {
            let events = stamped.iter().map(|e| AppendedEvent::of(&e)).collect();
            return Ok(StreamAppended { duplicate: false, events, stamped: Some(stamped) });
        }
        let mut events = Vec::new();
        for known in &outcome.duplicates {
            let view = batch.view();
            let read = ReadAppend {
                store: Arc::clone(&self.parts.store),
                stream_type: view.stream_type().to_owned(),
                stream_id: view.stream(0).to_owned(),
                first_seq: known.first_seq,
                count: u64::from(known.count),
            };
            // the append has been answered by its owner: it waits for a place, and is not refused half way
            let page = self.node.shared.readers.wait(read).await??;
            self.node.shared.metrics.count_files(&page.stats);
            first_answer(known, page.rows(), &mut events);
        }
        Ok(StreamAppended { duplicate: true, events, stamped: None })
    }

    // ---- reads ----

    /// Reads a stream.
    ///
    /// # Errors
    /// A hole where the policy is to fail, damage, `Overloaded`.
    pub async fn read_stream(&self, query: StreamQuery) -> Result<Permitted<StreamPage>, NodeError> {
        let answers = self.node.shared.answers.clone();
        if query.as_of.is_some() {
            // versions of the manifest are numbers of the whole store
            self.check_unlimited()?;
        }
        let (store, scope) = (Arc::clone(&self.parts.store), self.scope.clone());
        let reading = Reading::begin("stream", self);
        let page = reading.asked(self.ask(ReadStream { store, query, answers, scope })).await??;
        reading.done(page.tiers, &page.stats);
        Ok(page)
    }

    /// First and last seq of a stream; `None`: there is no such stream.
    ///
    /// # Errors
    /// Damage, `Overloaded`.
    pub async fn head(&self, stream_type: String, stream_id: String) -> Result<Option<StreamHead>, NodeError> {
        let (store, scope) = (Arc::clone(&self.parts.store), self.scope.clone());
        Ok(self.ask(ReadHead { store, stream_type, stream_id, scope }).await??)
    }

    /// A page in global order.
    ///
    /// # Errors
    /// Damage, `Overloaded`.
    pub async fn read_global(&self, read: GlobalRead) -> Result<Permitted<GlobalPage>, NodeError> {
        let reading = Reading::begin("global order", self);
        for _ in 0..LOOKS_MAX {
            let answers = self.node.shared.answers.clone();
            let (store, scope) = (Arc::clone(&self.parts.store), self.scope.clone());
            let page = reading.asked(self.ask(ReadGlobal { store, read: read.clone(), answers, scope })).await??;
            if !page.looks_on {
                reading.done(page.tiers, &page.stats);
                return Ok(page);
            }
        }
        Err(NodeError::Overloaded(
            "nothing was found yet in what one request looks at: ask again, it goes on from there",
        ))
    }

    /// One event by its id.
    ///
    /// # Errors
    /// Damage, `Overloaded`.
    pub async fn event_by_id(&self, id: EventId) -> Result<Option<FoundEvent>, NodeError> {
        let (store, scope) = (Arc::clone(&self.parts.store), self.scope.clone());
        let reading = Reading::begin("event", self);
        let (found, stats) = reading.asked(self.ask(FindEvent { store, id, scope })).await??;
        let tiers = found.as_ref().map_or(TierSet::NONE, |found| TierSet::of(&[found.tier()]));
        reading.done(tiers, &stats);
        Ok(found)
    }

    /// Everything, in storage order, batch by batch as the caller asks.
    ///
    /// # Errors
    /// Damage, `Overloaded`.
    pub async fn scan(&self, filter: Filter) -> Result<ScanHandle, NodeError> {
        let (store, scope) = (Arc::clone(&self.parts.store), self.scope.clone());
        let scan = self.ask(BeginScan { store, filter, scope }).await??;
        Ok(ScanHandle { scan: Some(scan), node: Arc::clone(&self.node) })
    }

    // ---- stream types ----

    /// Registered stream types, in order.
    #[must_use]
    pub fn stream_types(&self) -> Arc<Vec<StreamTypeEntry>> {
        self.parts.types.load_full()
    }

    /// Registers a stream type for ever; the same again is no error.
    ///
    /// # Errors
    /// It is there with other buckets, or cannot have so many; the file system, the commit that says it.
    pub async fn register(&self, entry: StreamTypeEntry) -> Result<StreamTypeEntry, NodeError> {
        self.check_buckets(entry.buckets)?;
        match &self.parts.replicas {
            Some(replicas) => replicas.register(entry).await,
            None => self.parts.router.send(RegisterStreamType(entry)).await?,
        }
    }

    // ---- compaction ----

    /// What compaction does and did.
    #[must_use]
    pub fn jobs(&self) -> &JobBook {
        &self.parts.book
    }

    /// Starts a run over all logs, or one stream type's.
    ///
    /// # Errors
    /// `CompactError::Disabled`, `UnknownStreamType`, `Draining`; `NotLeader` in a cluster.
    pub async fn compact(&self, stream_type: Option<String>) -> Result<Vec<Arc<Job>>, NodeError> {
        self.check_compacts().await?;
        if self.parts.replicas.is_some() {
            // what was acknowledged elsewhere before is in it
            self.confirm(stream_type.as_deref()).await?;
        }
        let run = RunCompaction { store: self.shared_name(), stream_type, trigger: Trigger::Hand };
        self.node.supervisor.send(run).await?
    }

    /// Stops (or starts again) what schedule and size would start, until told otherwise.
    ///
    /// # Errors
    /// `PauseNotKept`, `Draining`.
    pub async fn pause(&self, paused: bool) -> Result<(), NodeError> {
        if let Some(replicas) = &self.parts.replicas {
            return replicas.pause(paused).await;
        }
        self.node.supervisor.send(PauseCompaction { store: self.shared_name(), paused }).await?
    }

    /// Asks running jobs to end before their commit; how many.
    ///
    /// # Errors
    /// `Draining`.
    pub async fn cancel(&self) -> Result<usize, NodeError> {
        self.check_compacts().await?;
        Ok(self.node.supervisor.send(CancelCompaction { store: Some(self.shared_name()) }).await?)
    }

    /// What a run over all logs, or one stream type's, would do now.
    ///
    /// # Errors
    /// `CompactError::Disabled`, `UnknownStreamType`, damage, `Overloaded`.
    pub async fn plan(&self, stream_type: Option<String>) -> Result<Plans, NodeError> {
        self.ask(crate::messages::PlanJobs { store: Arc::clone(&self.parts.store), stream_type }).await?
    }

    // ---- retention ----

    /// Applies retention now. Nothing goes where `retention.enabled` is false.
    ///
    /// # Errors
    /// A file cannot be read, the commit fails; `Fenced`, `Draining`.
    pub async fn retain(&self) -> Result<RetentionRun, NodeError> {
        self.retention(Wish::Retain { by_hand: true }).await
    }

    /// Brings files back that are under a tombstone: those whose partition has these values, or all.
    ///
    /// # Errors
    /// As [`retain`](Self::retain).
    pub async fn restore(&self, partition: Vec<(String, Option<String>)>) -> Result<RetentionRun, NodeError> {
        self.retention(Wish::Restore(partition)).await
    }

    async fn retention(&self, wish: Wish) -> Result<RetentionRun, NodeError> {
        self.check_unlimited()?;
        self.check_compacts().await?;
        let work = RetentionWork::of(&self.parts, &self.node.shared.metrics);
        let done = tokio::task::spawn_blocking(move || work.run(&wish)).await;
        done.map_err(|_| NodeError::Defect)?
    }

    /// What would go now, and what can be brought back.
    ///
    /// # Errors
    /// `Overloaded`.
    pub async fn retention_status(&self) -> Result<RetentionStatus, NodeError> {
        match self.status(StatusPart::Retention).await? {
            StoreStatus::Retention(status) => Ok(status),
            _ => Err(NodeError::Defect),
        }
    }

    /// The last runs of retention and restores, newest first.
    #[must_use]
    pub fn retention_runs(&self) -> Vec<RetentionRun> {
        self.parts.retention.ended()
    }

    fn shared_name(&self) -> Arc<str> {
        Arc::from(self.name())
    }

    pub(crate) async fn ask<R: crate::readers::ReadRequest>(&self, request: R) -> Result<R::Answer, NodeError> {
        let answer = self.node.shared.readers.ask(request).await;
        if matches!(answer, Err(NodeError::Overloaded(_))) {
            self.node.shared.metrics.overloaded.add(1);
        }
        answer
    }
}

/// The events of a first answer: what is still there as it is, what retention removed from the record.
fn first_answer<'a>(known: &DuplicateRow, rows: impl Iterator<Item = EventRef<'a>>, out: &mut Vec<AppendedEvent>) {
    let mut rows = rows.peekable();
    for n in 0..u64::from(known.count) {
        let seq = Seq(known.first_seq.0.saturating_add(n));
        let ingested_at = (n == 0).then_some(known.ingested_at);
        let found = rows.next_if(|row| row.seq == seq);
        out.push(found.map_or(AppendedEvent { event_id: None, seq, ingested_at }, |row| AppendedEvent::of(&row)));
    }
}

/// A scan under way. Holds the tiers of the moment it began.
pub struct ScanHandle {
    scan: Option<Box<Scan>>,
    node: Arc<NodeShared>,
}

impl ScanHandle {
    /// The next batch; `None`: the end. After an error the scan is over.
    pub async fn next(&mut self) -> Option<Result<ScanBatch, NodeError>> {
        let scan = self.scan.take()?;
        let before = scan.stats();
        let (scan, next) = match self.node.shared.readers.wait(ContinueScan(scan)).await {
            Ok(answer) => answer,
            Err(error) => return Some(Err(error)),
        };
        self.node.shared.metrics.count_files(&scan.stats().since(before));
        match next? {
            Ok(batch) => {
                self.scan = Some(scan);
                Some(Ok(batch))
            }
            Err(error) => Some(Err(error.into())),
        }
    }

    /// The next batches, about so many bytes of them; `None`: the end. After an error the scan is over.
    pub async fn next_several(&mut self, bytes: usize) -> Option<Result<Vec<ScanBatch>, NodeError>> {
        let scan = self.scan.take()?;
        let before = scan.stats();
        let (scan, batches) = match self.node.shared.readers.wait(ContinueScanFor(scan, bytes)).await {
            Ok(answer) => answer,
            Err(error) => return Some(Err(error)),
        };
        self.node.shared.metrics.count_files(&scan.stats().since(before));
        let batches: Result<Vec<ScanBatch>, _> = batches.into_iter().collect();
        match batches {
            Ok(batches) if batches.is_empty() => None,
            Ok(batches) => {
                self.scan = Some(scan);
                Some(Ok(batches))
            }
            Err(error) => Some(Err(error.into())),
        }
    }
}
