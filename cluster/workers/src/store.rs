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
use crate::node::NodeShared;
use crate::permits::{BytePermit, Permitted};
use crate::registry::StreamTypeEntry;
use crate::replicas::StoreReplicas;
use crate::retention::{RetentionDesk, RetentionRun, RetentionWork, Wish};
use crate::router::{LogTable, PublishedTypes, StoreRouter};
use crate::statement::StatementDesk;
use crate::subscriptions::{Desk, Feed};
use crate::unborn;
use crate::wal_worker::WalWorker;
use actix::Addr;
use futures_util::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strandline_deql::StoreConfig;
use strandline_engine::append::{AppendError, AppendOutcome, AppendRequest, DuplicateRow, Expected, OnError, Refusal};
use strandline_engine::compact::Trigger;
use strandline_engine::read::{
    Filter, FoundEvent, GlobalPage, GlobalRead, ReadStats, Scan, ScanBatch, StreamHead, StreamPage, TierSet,
};
use strandline_engine::retention::RetentionStatus;
use strandline_engine::store::Store;
use strandline_engine::strict::check_registered;
use strandline_engine::tenants::TenantScope;
use strandline_event::{BatchBytes, EventId, EventRef, LogKey, Micros, Seq, StampedBatch, limits};

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
        let batch = self.sealed(batch).await?;
        let outcome = self.submit(batch.clone(), expected, OnError::Abort, inspect, permit).await?;
        if let Some(stamped) = outcome.stamped.as_ref().filter(|_| inspect) {
            self.notify_inspected(stamped);
        }
        self.stream_answer(&batch, outcome).await
    }

    /// Appends batches of many streams, one a stream type. Under `Abort` all of them are checked before any is stored: what
    /// is left is a race with another writer, or an owner that cannot. The outer error: nothing was stored. Inner ones: that
    /// owner's part was not.
    ///
    /// # Errors
    /// The first refusal of the whole body; too many new stream types; `Overloaded`; `Draining`.
    pub async fn append_bulk(
        &self,
        batches: Vec<BatchBytes>,
        on_error: OnError,
        permit: Arc<BytePermit>,
    ) -> Result<Vec<Result<AppendOutcome, NodeError>>, NodeError> {
        self.node.check_serving()?;
        let mut sealed = Vec::with_capacity(batches.len());
        for batch in batches {
            sealed.push(self.sealed(batch).await?);
        }
        let batches = sealed;
        self.check_new_types(&batches)?;
        if on_error == OnError::Abort {
            self.check_all(&batches, &permit).await?;
        }
        let parts =
            batches.into_iter().map(|batch| self.submit(batch, Expected::Any, on_error, false, Arc::clone(&permit)));
        Ok(join_all(parts).await)
    }

    /// Judges a whole body by dry runs, and stores nothing. A part is asked about only where its owner can tell more than its
    /// rows do: a row that breaks a rule may belong to a command that was stored under an older one, and a row with a client's
    /// seq, event id or command may not fit what is stored. A body of one part is judged when it is stored, by the same owner.
    async fn check_all(&self, batches: &[BatchBytes], permit: &Arc<BytePermit>) -> Result<(), NodeError> {
        for batch in batches {
            self.check_stream_type(batch.view().stream_type())?;
        }
        let rules = self.parts.store.rules();
        let unsure = |batch: &BatchBytes| {
            rules.strict.check_batch(batch.view()).is_err() || (batches.len() > 1 && rules.can_conflict(batch.view()))
        };
        let dry_runs = batches.iter().enumerate().filter(|(_, batch)| unsure(batch)).map(|(at, batch)| async move {
            (at, self.submit(batch.clone(), Expected::Any, OnError::Abort, true, Arc::clone(permit)).await)
        });
        for (at, judged) in join_all(dry_runs).await {
            match judged {
                Ok(_) => {}
                Err(NodeError::Refused(Refusal { row: Some(row), error: AppendError::Strict(violation) })) => {
                    return Err(NodeError::Strict { batch: at, row, violation });
                }
                Err(NodeError::Refused(refusal)) => return Err(NodeError::RefusedPart { batch: at, refusal }),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Refuses a body that would make more logs than there may be, before it makes any.
    fn check_new_types(&self, batches: &[BatchBytes]) -> Result<(), NodeError> {
        let is_new = |batch: &&BatchBytes| self.parts.table.get(&LogKey::single(batch.view().stream_type())).is_none();
        let found = batches.iter().filter(is_new).count();
        let (there, most) = (self.parts.store.logs().len(), limits::STREAM_TYPES_MAX);
        let descriptors = &self.node.shared.descriptors;
        if found > limits::BULK_NEW_STREAM_TYPES_MAX {
            return Err(NodeError::TooManyNewTypes { found, limit: limits::BULK_NEW_STREAM_TYPES_MAX });
        }
        if found > 0 && there + found > most {
            return Err(NodeError::TooManyStreamTypes { store: self.name().to_owned(), limit: most });
        }
        if found > 0 && self.parts.store.has_log() && found as u64 > descriptors.room() {
            return Err(NodeError::NoDescriptors { limit: descriptors.limit() });
        }
        Ok(())
    }

    fn check_stream_type(&self, name: &str) -> Result<(), NodeError> {
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
        self.node.check_serving()?;
        let owner = match self.owner(batch.view().stream_type())? {
            Some(owner) => owner,
            None => {
                if let Some(replicas) = &self.parts.replicas {
                    replicas.check_knows_types()?;
                }
                let request = AppendRequest {
                    expected,
                    on_error,
                    inspect,
                    tenants: self.scope.clone(),
                    ..AppendRequest::new(batch.clone())
                };
                let log = LogKey::single(batch.view().stream_type());
                // a log without an owner is being opened, or stops: it is not empty
                if self.parts.store.log(&log).is_none()
                    && let Some(outcome) = unborn::judge(&self.parts.store.rules(), request).await?
                {
                    return Ok(outcome);
                }
                match &self.parts.replicas {
                    Some(replicas) => replicas.open_type(&log.stream_type).await?,
                    None => self.parts.router.send(OpenLogOf { stream_type: log.stream_type }).await??,
                }
            }
        };
        let (store, readers) = (&self.parts.store, &self.node.shared.readers);
        let scope = self.scope.clone();
        let done = Submission { store, readers, owner, batch, expected, on_error, inspect, permit, scope }.run().await;
        if matches!(done, Err(NodeError::Overloaded(_))) {
            self.node.shared.metrics.overloaded.add(1);
        }
        done.map_err(|error| self.with_leader(error))
    }

    /// As [`owner`](Self::owner), while the node takes appends.
    pub(crate) fn serving_owner(&self, stream_type: &str) -> Result<Option<Addr<WalWorker>>, NodeError> {
        self.node.check_serving()?;
        self.owner(stream_type)
    }

    /// The owner of a stream type's log; `None`: there is no log yet.
    fn owner(&self, stream_type: &str) -> Result<Option<Addr<WalWorker>>, NodeError> {
        self.check_stream_type(stream_type)?;
        if self.parts.replicas.is_none() && self.parts.fenced.load(Ordering::SeqCst) {
            return Err(NodeError::Fenced { store: self.name().to_owned() });
        }
        let log = LogKey::single(stream_type);
        if let Some(reason) = self.parts.store.log(&log).and_then(|shared| shared.refuses_writes().cloned()) {
            return Err(NodeError::DamagedLog { log, reason });
        }
        Ok(self.parts.table.get(&log))
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
        let page = self.ask(ReadStream { store, query, answers, scope }).await??;
        let tiers = page.tiers;
        self.count_read(tiers, &page.stats);
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
        let answers = self.node.shared.answers.clone();
        let (store, scope) = (Arc::clone(&self.parts.store), self.scope.clone());
        let page = self.ask(ReadGlobal { store, read, answers, scope }).await??;
        self.count_read(page.tiers, &page.stats);
        Ok(page)
    }

    /// One event by its id.
    ///
    /// # Errors
    /// Damage, `Overloaded`.
    pub async fn event_by_id(&self, id: EventId) -> Result<Option<FoundEvent>, NodeError> {
        let (store, scope) = (Arc::clone(&self.parts.store), self.scope.clone());
        let (found, stats) = self.ask(FindEvent { store, id, scope }).await??;
        let tiers = found.as_ref().map_or(TierSet::NONE, |found| TierSet::of(&[found.tier()]));
        self.count_read(tiers, &stats);
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
    /// Registered with other buckets; the file system.
    pub async fn register(&self, entry: StreamTypeEntry) -> Result<StreamTypeEntry, NodeError> {
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
    /// `CompactError::Disabled`, `UnknownStreamType`, `Draining`.
    pub async fn compact(&self, stream_type: Option<String>) -> Result<Vec<Arc<Job>>, NodeError> {
        self.check_compacts()?;
        let run = RunCompaction { store: self.shared_name(), stream_type, trigger: Trigger::Hand };
        self.node.supervisor.send(run).await?
    }

    /// Stops (or starts again) what schedule and size would start.
    ///
    /// # Errors
    /// `Draining`.
    pub async fn pause(&self, paused: bool) -> Result<(), NodeError> {
        self.check_compacts()?;
        Ok(self.node.supervisor.send(PauseCompaction { store: self.shared_name(), paused }).await?)
    }

    /// Asks running jobs to end before their commit; how many.
    ///
    /// # Errors
    /// `Draining`.
    pub async fn cancel(&self) -> Result<usize, NodeError> {
        self.check_compacts()?;
        Ok(self.node.supervisor.send(CancelCompaction { store: Some(self.shared_name()) }).await?)
    }

    /// What a run would do now.
    ///
    /// # Errors
    /// Damage, `Overloaded`.
    pub async fn plan(&self) -> Result<Plans, NodeError> {
        Ok(self.ask(crate::messages::PlanJobs { store: Arc::clone(&self.parts.store) }).await??)
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
        self.check_compacts()?;
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

    fn count_read(&self, tiers: TierSet, stats: &ReadStats) {
        use strandline_deql::Tier;
        let metrics = &self.node.shared.metrics;
        metrics.reads.add(1);
        for (tier, counter) in [Tier::Inmemory, Tier::Wal, Tier::Durable].into_iter().zip(&metrics.reads_by_tier) {
            counter.add(u64::from(tiers.contains(tier)));
        }
        metrics.count_files(stats);
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
