//! Who talks to whom: one function per store, from sink to source, and one for the node's shared workers.
//!
//! ```text
//!   appends -> [LogTable] -> WalWorker --GroupWritten-- log I/O thread, or (no log) commit thread
//!   first append of a type -> StoreRouter                |
//!                              WalWorker --Committed-> HotWorker (writes the hot tier) --MakeHotRoom-> HotKeeper
//!   the compactor of a store, on another node --HelpMerge-> MergeWorker;  --HelpWindow-> CompactionWorker
//!   CompactionSupervisor --Seal, Compacted-> WalWorker;  --RunJob-> CompactionWorker;  --RunMerge-> MergeWorker;  --ManifestCommitted-> HotKeeper
//!   reads -> [gate] -> ReaderWorker (reads tiers, no mailbox of a writer)
//! ```
//!
//! | worker               | thread             | a panic            | mailbox full        | at shutdown                            |
//! |----------------------|--------------------|--------------------|---------------------|----------------------------------------|
//! | StoreRouter          | control arbiter    | ends the process   | waits               | makes no new log, stops                |
//! | WalWorker            | log arbiters       | ends the process   | 429                 | finishes what is in flight, clean stop |
//! | log I/O thread       | its own            | ends the process   | two groups a log    | finishes what was submitted, joined    |
//! | commit thread        | its own, one for   | ends the process   | one group a log     | finishes what was submitted, ends      |
//! |                      | a store without log|                    |                     |                                        |
//! | HotWorker            | log arbiters, each | ends the process   | WalWorker waits     | stops after the last WalWorker         |
//! | HotKeeper            | chores arbiter     | ends the process   | a job waits         | stops after the HotWorkers             |
//! | log cleaner thread   | its own            | ends the process   | one segment a trim  | finishes what was submitted, joined    |
//! | thread that looks at | its own, one for   | looks no more      | has none            | ends by itself: a request to a key     |
//! | keys                 | an encrypted store |                    |                     | service is not waited for              |
//! | CompactionSupervisor | control arbiter    | ends the process   | waits               | cancels jobs, waits for their end      |
//! | CompactionWorker     | pool of its own    | ends the process   | supervisor waits    | abandons before the commit, stops      |
//! | MergeWorker          | pool of its own    | ends the process   | the round waits     | abandons before the commit, stops      |
//! | ReaderWorker         | pool of its own    | fails the request  | 429                 | finishes its request, stops            |
//! | pump of a feed       | the runtime's      | its followers wait | has none            | tells the end, ends                    |
//! | dispatcher of a      | the runtime's      | its consumers wait | has none            | tells the end, keeps its position,     |
//! | subscription         |                    |                    |                     | ends                                   |
//!
//! A disk that hangs keeps the thread that waits for it: the log I/O thread, the log cleaner thread, or the log arbiter whose owner syncs a small group
//! itself. At shutdown nobody waits for it when the disk has been silent for a while (`node/kept.rs`, `IoThread`): it ends with the process, as does work
//! that keeps a thread of the runtime (`runtime.rs`).
//!
//! The threads of CompactionWorker and MergeWorker, and those that a job starts, have a lower priority than all others, and pause for
//! the part of the time that is not their share (`compaction/pace.rs`).

use crate::append::AppendReply;
use crate::commit_thread::CommitThread;
use crate::compaction::helping::StoreHelp;
use crate::compaction::job::JobBook;
use crate::compaction::pace::Pace;
use crate::compaction::pause::PauseFile;
use crate::compaction::supervisor::{CompactionSupervisor, JobThreads, SupervisedStore};
use crate::compaction::worker::{CompactionWorker, MergeWorker};
use crate::data_dir::DataDir;
use crate::descriptors::Descriptors;
use crate::error::NodeError;
use crate::hot_worker::HotWorkers;
use crate::metrics::{Measured, Metrics};
use crate::node::{NodeOptions, StartError};
use crate::permits::BytePermits;
use crate::readers::Readers;
use crate::registry::{Registry, StreamTypeEntry};
use crate::replica::Replica;
use crate::replicas::{ReplicasParts, StoreReplicas};
use crate::router::{LogTable, PublishedTypes, StoreRouter};
use crate::statement::StatementDesk;
use crate::store::StoreParts;
use crate::subjects::NodeSubjects;
use crate::subscriptions::{Desk, Feed, Following, SubscriptionFile};
use crate::wal_worker::{GroupChannel, GroupIo, WalWorker, WalWorkerParts};
use actix::{Actor, Addr, Arbiter, ArbiterHandle, SyncArbiter};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use strandline_consensus::control::Control;
use strandline_durable::OpenFiles;
use strandline_engine::append::LogDriver;
use strandline_engine::ids::IdSource;
use strandline_engine::store::{OpenLog, Opened, Store};
use strandline_event::LogKey;
use strandline_wal::LogIo;
use tokio::sync::{mpsc, oneshot};

/// Batches that wait at one log's owner.
pub(crate) const LOG_MAILBOX: usize = 1024;
/// Groups that wait at a hot tier's writer.
pub(crate) const HOT_MAILBOX: usize = 256;
/// Messages that wait at a router or the supervisor.
pub(crate) const CONTROL_MAILBOX: usize = 256;
/// Threads that log owners share.
const LOG_ARBITERS: usize = 2;

/// How many workers live: a node that has stopped has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alive(Arc<AtomicUsize>);

/// Held by a worker as long as it lives.
#[derive(Debug)]
pub(crate) struct AliveMark(Alive);

impl Alive {
    pub(crate) fn mark(&self) -> AliveMark {
        self.0.fetch_add(1, Ordering::SeqCst);
        AliveMark(self.clone())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for AliveMark {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What all stores of a node share.
pub(crate) struct Shared {
    pub(crate) data_dir: DataDir,
    pub(crate) io: Arc<dyn LogIo>,
    pub(crate) readers: Readers,
    pub(crate) permits: BytePermits,
    pub(crate) answers: BytePermits,
    pub(crate) following: Arc<Following>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) alive: Alive,
    pub(crate) descriptors: Arc<Descriptors>,
    pub(crate) control: ArbiterHandle,
    pub(crate) logs: Vec<ArbiterHandle>,
    pub(crate) chores: ArbiterHandle,
    /// The node's part in a cluster.
    pub(crate) cluster: Option<Control>,
    /// The keys of subjects, where the node has some.
    pub(crate) subjects: Option<NodeSubjects>,
}

impl Shared {
    /// Held by who asks other nodes whether they see the folder of subject keys.
    fn probing(&self) -> Arc<tokio::sync::Mutex<()>> {
        self.subjects.as_ref().map(|subjects| Arc::clone(&subjects.probing)).unwrap_or_default()
    }
}

/// The threads of a node's workers.
pub(crate) struct Arbiters {
    control: Arbiter,
    logs: Vec<Arbiter>,
    /// What nobody waits for, and no owner of a log should do.
    chores: Arbiter,
}

impl Arbiters {
    pub(crate) fn start() -> Self {
        let logs = (0..LOG_ARBITERS).map(|_| Arbiter::new()).collect();
        Self { control: Arbiter::new(), logs, chores: Arbiter::new() }
    }

    /// Control, logs, chores.
    pub(crate) fn handles(&self) -> (ArbiterHandle, Vec<ArbiterHandle>, ArbiterHandle) {
        (self.control.handle(), self.logs.iter().map(Arbiter::handle).collect(), self.chores.handle())
    }

    /// Stops the threads and waits for them. Blocking.
    pub(crate) fn stop(self) {
        for arbiter in self.logs.into_iter().chain([self.control, self.chores]) {
            arbiter.stop();
            let _ = arbiter.join();
        }
    }

    /// The same for who may give up waiting; whether they have ended. In a thread of its own: the end of the runtime would wait for one of the
    /// runtime's.
    pub(crate) async fn ended(self) -> bool {
        let (ends, ended) = oneshot::channel();
        let stopping = move || {
            self.stop();
            // who gave up does not mind
            let _ = ends.send(());
        };
        // none: nobody can wait for them
        let _ = std::thread::Builder::new().name("ends".to_owned()).spawn(stopping);
        ended.await.is_ok()
    }
}

/// Makes owners of logs: those that were there at the start, and new ones.
pub(crate) struct LogFactory {
    store: Arc<Store>,
    io: GroupIo,
    fenced: Arc<AtomicBool>,
    hot: HotWorkers,
    ids: Arc<IdSource>,
    metrics: Arc<Metrics>,
    measured: Arc<Measured>,
    alive: Alive,
    descriptors: Arc<Descriptors>,
    arbiters: Vec<ArbiterHandle>,
    next: AtomicUsize,
}

impl LogFactory {
    /// Makes a new log and its owner.
    pub(crate) async fn make(&self, log: LogKey) -> Result<Addr<WalWorker>, NodeError> {
        let store = Arc::clone(&self.store);
        if store.has_log() && self.descriptors.room() == 0 {
            return Err(NodeError::NoDescriptors { limit: self.descriptors.limit() });
        }
        let making =
            tokio::task::spawn_blocking(move || store.create_log(&log, crate::clock::now()).map_err(NodeError::from));
        let opened = making.await.map_err(|_| NodeError::OutcomeUnknown)??;
        self.start(opened).ok_or(NodeError::Draining)
    }

    /// The store whose logs it makes.
    pub(crate) const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Starts the owner of an open log on the next of the log threads. `None`: a damaged log has no owner.
    fn start(&self, opened: OpenLog) -> Option<Addr<WalWorker>> {
        let driver = LogDriver::new(opened.log, opened.sink?);
        self.start_owner(opened.key, driver, self.io.clone(), mpsc::unbounded_channel())
    }

    /// Starts the owner of a log of a group.
    pub(crate) fn start_replica(
        &self,
        key: LogKey,
        driver: LogDriver<AppendReply>,
        replica: Arc<Replica>,
        channel: GroupChannel,
    ) -> Option<Addr<WalWorker>> {
        self.start_owner(key, driver, GroupIo { replica: Some(replica), ..self.io.clone() }, channel)
    }

    /// Whether there are descriptors for one more log.
    pub(crate) fn has_room(&self) -> bool {
        self.descriptors.room() > 0
    }

    /// The thread of the logs' disk.
    pub(crate) fn disk_thread(&self) -> Arc<dyn LogIo> {
        Arc::clone(&self.io.log)
    }

    fn start_owner(
        &self,
        key: LogKey,
        driver: LogDriver<AppendReply>,
        io: GroupIo,
        channel: GroupChannel,
    ) -> Option<Addr<WalWorker>> {
        if io.files.is_none() {
            self.descriptors.count_log();
        }
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.arbiters.len().max(1);
        let parts = WalWorkerParts {
            log: key,
            store: Arc::clone(&self.store),
            driver,
            io,
            fenced: Arc::clone(&self.fenced),
            hot: self.hot.of_thread(at)?.clone(),
            ids: Arc::clone(&self.ids),
            metrics: Arc::clone(&self.metrics),
            measured: Arc::clone(&self.measured),
            _alive: self.alive.mark(),
        };
        let arbiter = self.arbiters.get(at)?;
        Some(WalWorker::start_in_arbiter(arbiter, move |context| WalWorker::new(parts, channel, context)))
    }
}

/// Wires one store.
pub(crate) fn wire_store(opened: Opened, declared: &[String], shared: &Shared) -> Result<StoreParts, StartError> {
    let store = opened.store;
    // a job may be long: its version is of the moment of its commit
    store.durable().take_moments_of(crate::clock::now);
    if let Some(subjects) = &shared.subjects {
        store.set_subjects(Arc::clone(&subjects.keys));
    }
    let config = store.config();
    let registry = registry_of(&store, declared, shared)?;
    let types: Arc<PublishedTypes> = Arc::new(ArcSwap::from_pointee(registry.types().to_vec()));
    let hot = HotWorkers::start(&store, &shared.logs, &shared.chores, &shared.alive);
    let files = match store.has_log() {
        true => None,
        false => Some(CommitThread::start(Arc::clone(&store), shared.alive.mark())?),
    };
    let fenced: Arc<AtomicBool> = Arc::default();
    let measured: Arc<Measured> = Arc::default();
    let factory = Arc::new(LogFactory {
        store: Arc::clone(&store),
        io: GroupIo { log: Arc::clone(&shared.io), files, replica: None },
        fenced: Arc::clone(&fenced),
        hot: hot.clone(),
        ids: Arc::new(IdSource::new(config.id.event_id_format, crate::random::bits())),
        metrics: Arc::clone(&shared.metrics),
        measured: Arc::clone(&measured),
        alive: shared.alive.clone(),
        descriptors: Arc::clone(&shared.descriptors),
        arbiters: shared.logs.clone(),
        next: AtomicUsize::new(0),
    });
    let (feed, subscriptions) = wire_subscriptions(&store, shared)?;
    let (table, book) = (Arc::new(LogTable::default()), Arc::new(JobBook::default()));
    let replicas = shared.cluster.as_ref().map(|control| {
        // nothing is committed here before this node is the one that compacts
        fenced.store(true, Ordering::SeqCst);
        let (control, folder) = (control.clone(), shared.data_dir.store_folder(store.name()));
        let (store, table, types) = (Arc::clone(&store), Arc::clone(&table), Arc::clone(&types));
        let (factory, fenced, hot) = (Arc::clone(&factory), Arc::clone(&fenced), hot.clone());
        let declared = registry.types().to_vec();
        let (book, subscriptions) = (Arc::clone(&book), Arc::clone(&subscriptions));
        #[rustfmt::skip]
        let parts =
            ReplicasParts { control, store, table, types, factory, fenced, hot, folder, declared, book, subscriptions, probing: shared.probing() };
        StoreReplicas::new(parts)
    });
    for log in opened.logs {
        let key = log.key.clone();
        if let Some(owner) = factory.start(log) {
            table.insert(&key, &owner);
        }
    }
    let router = wire_router(factory, &table, registry, &types, shared);
    let (retention, statement) = (Arc::default(), StatementDesk::default());
    Ok(StoreParts {
        store,
        table,
        types,
        hot,
        router,
        book,
        retention,
        statement,
        feed,
        subscriptions,
        measured,
        fenced,
        replicas,
    })
}

/// The registrations of a store. What a statement declares has one bucket, unless it was registered with more.
fn registry_of(store: &Store, declared: &[String], shared: &Shared) -> Result<Registry, StartError> {
    let entry = |name: &String| StreamTypeEntry { name: Arc::from(name.as_str()), buckets: store.buckets_of(name) };
    let declared: Vec<StreamTypeEntry> = declared.iter().map(entry).collect();
    let registry = Registry::open(&shared.data_dir.store_folder(store.name()), &declared)?;
    if store.config().durable.path.is_memory() {
        // its manifest went with the process before, and the file did not
        store.learn_buckets(&registry.buckets());
    }
    Ok(registry)
}

fn wire_router(
    factory: Arc<LogFactory>,
    table: &Arc<LogTable>,
    registry: Registry,
    types: &Arc<PublishedTypes>,
    shared: &Shared,
) -> Addr<StoreRouter> {
    let router = StoreRouter {
        factory,
        table: Arc::clone(table),
        registry: Arc::new(Mutex::new(registry)),
        types: Arc::clone(types),
        closed: false,
        _alive: shared.alive.mark(),
    };
    StoreRouter::start_in_arbiter(&shared.control, move |_| router)
}

/// The live end of a store, and its named subscriptions. Nothing runs before somebody follows.
fn wire_subscriptions(store: &Arc<Store>, shared: &Shared) -> Result<(Arc<Feed>, Arc<Desk>), StartError> {
    let feed = Feed::new(store, &shared.readers, &shared.following, &shared.alive);
    let (file, folded) =
        SubscriptionFile::open(&shared.data_dir.store_folder(store.name()), &shared.alive, store.keys())?;
    let subscriptions = match &shared.cluster {
        Some(_) => Desk::of_member(&feed, folded),
        None => Desk::new(&feed, file, folded),
    };
    Ok((feed, subscriptions))
}

/// Starts the supervisor and its workers over all stores of the node.
pub(crate) fn wire_compaction(
    stores: &[Arc<StoreParts>],
    shared: &Shared,
    options: &NodeOptions,
) -> Addr<CompactionSupervisor> {
    // one bound for the jobs of all stores
    let open_files = Arc::new(OpenFiles::new());
    stores.iter().for_each(|parts| parts.store.durable().share_open_files(Arc::clone(&open_files)));
    let count = options.compaction_threads.max(1);
    let (alive, alive_merges) = (shared.alive.clone(), shared.alive.clone());
    let pace = Pace::new(options.compaction_share, &shared.metrics);
    let pace_merges = pace.clone();
    let threads = JobThreads {
        compaction: SyncArbiter::start(count, move || CompactionWorker { pace: pace.clone(), _alive: alive.mark() }),
        merges: SyncArbiter::start(count, move || MergeWorker {
            pace: pace_merges.clone(),
            _alive: alive_merges.mark(),
        }),
        merges_at_once: count,
    };
    let supervised: Vec<SupervisedStore> = stores
        .iter()
        .map(|parts| SupervisedStore {
            store: Arc::clone(&parts.store),
            table: Arc::clone(&parts.table),
            hot: parts.hot.clone(),
            book: Arc::clone(&parts.book),
            pause: PauseFile::of(&shared.data_dir.store_folder(parts.store.name())),
            retention: Arc::clone(&parts.retention),
            measured: Arc::clone(&parts.measured),
            fenced: Arc::clone(&parts.fenced),
            merging: Arc::default(),
            scheduled: None,
        })
        .collect();
    for (control, parts) in shared.cluster.iter().flat_map(|control| stores.iter().map(move |parts| (control, parts))) {
        let help = StoreHelp::new(parts, &threads, &shared.metrics);
        control.helps_by(parts.store.name(), Arc::new(help));
    }
    let (metrics, mark, sweep_every) = (Arc::clone(&shared.metrics), shared.alive.mark(), options.sweep_every);
    let cluster = shared.cluster.clone();
    CompactionSupervisor::start_in_arbiter(&shared.control, move |_| {
        CompactionSupervisor::new(supervised, threads, metrics, cluster, sweep_every, mark)
    })
}
