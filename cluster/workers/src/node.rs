//! A node: opens the stores that a file declares, wires their workers, and brings everything down in order.
//!
//! Shutdown: refuse new appends; compaction abandons what is not committed; every log finishes what is in flight
//! and writes its clean-stop mark; the manifests learn each log's last position; readers finish; threads end.

mod kept;
mod numbers;

use crate::ReportLine;
use crate::cluster::ClusterNode;
use crate::compaction::pause::PauseFile;
use crate::compaction::supervisor::CompactionSupervisor;
use crate::data_dir::DataDirError;
use crate::error::NodeError;
use crate::folder_watch::FolderWatches;
use crate::key_watch::KeyWatches;
use crate::member_stores::open_members;
use crate::messages::{Abandon, CloseRouter, StopCompaction, StopLog};
use crate::metrics::Metrics;
use crate::opening::{Made, open_all};
use crate::owner_watch::{LOOK_EVERY, OwnerWatches};
use crate::permits::BytePermits;
use crate::readers::Readers;
use crate::registry::RegistryError;
use crate::store::{StoreHandle, StoreParts};
use crate::store_lock::StoreLock;
use crate::subscriptions::{Following, PROJECTION_TIMEOUT, SubscriptionFileError};
use crate::undrained::Undrained;
use crate::wiring::{Alive, Arbiters, Shared, wire_compaction, wire_store};
use crate::{clock, random};
use actix::Addr;
use futures_util::future::join_all;
use kept::unless_kept;
use parking_lot::Mutex;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use strandline_consensus::control::Control;
use strandline_deql::Declarations;
use strandline_durable::CommitError;
use strandline_engine::compact::Share;
use strandline_engine::store::{Grace, OpenError, Opened};
use strandline_engine::subjects::SubjectFileError;
use strandline_event::{ErrorKind, limits};
use strandline_keys::subject::folder::FolderError;
use strandline_wal::io::abort_on_fatal;
use strandline_wal::{Disk, IoThread, LogIo, RealDisk};
use tokio::time::timeout;

/// How a node runs.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The node's own folder: lock, id, registrations.
    pub data_dir: PathBuf,
    /// Go on where a log is missing or shorter than the manifest knows.
    pub accept_lost_log: bool,
    /// How long files stay that no reader should need.
    pub grace: Grace,
    /// Bytes of appends in flight before 429.
    pub in_flight_bytes_max: usize,
    /// Bytes of answers to reads that clients have not taken yet, before 429.
    pub answer_bytes_max: usize,
    /// Threads that read.
    pub reader_threads: usize,
    /// Reads queued or running before 429.
    pub reads_max: usize,
    /// Threads that compact.
    pub compaction_threads: usize,
    /// The part of the time that such a thread may work.
    pub compaction_share: Share,
    /// How often orphans are swept.
    pub sweep_every: Duration,
    /// How often an owner looks whether another one came after it.
    pub owner_look_every: Duration,
    /// Time that the disk gets to take what is in flight when the node stops.
    pub drain_timeout: Duration,
    /// Time in which sync projections must have confirmed an append.
    pub projection_timeout: Duration,
    /// Files that the process may open; none: as many as the system lets it.
    pub descriptors_max: Option<u64>,
    /// The file of the keys of subjects, of a node of a cluster the folder; none: no stream type can be erasable.
    pub subject_keys: Option<PathBuf>,
    /// Go on where keys of subjects are lost: what they sealed is never read again.
    pub accept_lost_subject_keys: bool,
    /// The disk of the logs.
    pub disk: NodeDisk,
}

/// The disk of the logs: the real one, or one that a test lets fail.
#[derive(Clone)]
pub struct NodeDisk(pub Arc<dyn Disk>);

impl fmt::Debug for NodeDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeDisk")
    }
}

impl NodeOptions {
    /// The defaults over a data folder.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            data_dir: data_dir.into(),
            accept_lost_log: false,
            grace: Grace::default(),
            in_flight_bytes_max: limits::IN_FLIGHT_BYTES_MAX,
            answer_bytes_max: limits::IN_FLIGHT_BYTES_MAX,
            reader_threads: (2 * cores).clamp(4, 32),
            reads_max: 512,
            compaction_threads: (cores / 4).max(1),
            compaction_share: Share::WHOLE,
            sweep_every: Duration::from_secs(3600),
            owner_look_every: LOOK_EVERY,
            drain_timeout: Duration::from_secs(20),
            projection_timeout: PROJECTION_TIMEOUT,
            descriptors_max: None,
            subject_keys: None,
            accept_lost_subject_keys: false,
            disk: NodeDisk(Arc::new(RealDisk::new())),
        }
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The declarations ask for what cannot be, or not yet: one line each.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// Fewer files may be open than the logs need.
    #[error("{logs} logs need {missing} more open files than the limit of {limit}: raise it (`ulimit -n`)")]
    Descriptors {
        /// Logs that are there.
        logs: u64,
        /// The limit of the process.
        limit: u64,
        /// What is missing.
        missing: u64,
    },
    /// The data folder, or the folders of a store.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The registrations.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The named subscriptions of a store.
    #[error(transparent)]
    Subscriptions(#[from] SubscriptionFileError),
    /// The keys of subjects.
    #[error(transparent)]
    Subjects(#[from] SubjectFileError),
    /// A store.
    #[error("store {store}: {error}")]
    Store {
        /// Which.
        store: String,
        /// Why.
        error: Box<OpenError>,
    },
    /// The store belongs to a node with another data folder.
    #[error(
        "store {store}: node {owner} served it last, and the data folder {} is {of}: start with the --data-dir of node {owner} (nothing of the \
         store was changed). Only where that folder is lost: {error}", .dir.display()
    )]
    OtherFolder {
        /// Which.
        store: String,
        /// The folder of this start.
        dir: PathBuf,
        /// Whose it is.
        of: String,
        /// The node that served the store.
        owner: String,
        /// What the store says.
        error: Box<OpenError>,
    },
    /// Threads.
    #[error("the operating system gives no thread: {0}")]
    Threads(#[from] io::Error),
}

impl StartError {
    /// Whether the operator has to change something before another try makes sense.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        use OpenError::{
            ConfigChanged, Durable, FilesGone, LogGone, LogsGone, LogsOfAnother, LogsOld, LostLog, NoLogFolder,
            OtherStore, SegmentPattern,
        };
        match self {
            Self::Refused(_) | Self::Descriptors { .. } | Self::OtherFolder { .. } => true,
            Self::Subjects(SubjectFileError::Foreign(_) | SubjectFileError::Folder(FolderError::Foreign(_))) => true,
            Self::DataDir(error) => {
                matches!(error, DataDirError::InUse { .. } | DataDirError::StoreInUse { .. })
                    || error.is_of_the_folder()
            }
            Self::Store { error, .. } => match &**error {
                // settings of an object store, or one that cannot keep commits apart
                Durable(error) => {
                    use strandline_durable::OpenError::{FilesAway, Keys, ManifestsBehind, ManifestsGone};
                    let settings = matches!(error.kind(), ErrorKind::BadRequest | ErrorKind::NotSupported);
                    let keys = matches!(error, Keys(error) if error.kind() != ErrorKind::Unavailable);
                    settings || keys || matches!(error, ManifestsGone { .. } | ManifestsBehind { .. } | FilesAway(_))
                }
                NoLogFolder { .. } | SegmentPattern(_) | ConfigChanged { .. } | OtherStore { .. } => true,
                other => matches!(
                    other,
                    LostLog { .. }
                        | LogGone { .. }
                        | LogsGone { .. }
                        | LogsOld { .. }
                        | LogsOfAnother { .. }
                        | FilesGone { .. }
                ),
            },
            _ => false,
        }
    }
}

/// What all handles of a node share.
pub(crate) struct NodeShared {
    pub(crate) shared: Shared,
    pub(crate) supervisor: Addr<CompactionSupervisor>,
    draining: AtomicBool,
    /// A disk kept the thread of an owner that was to give up, or of a log in the making.
    is_kept: AtomicBool,
    compaction_share: Share,
    drain_timeout: Duration,
    projection_timeout: Duration,
    locks: Vec<StoreLock>,
    watches: OwnerWatches,
    key_watches: KeyWatches,
    folder_watches: FolderWatches,
}

impl NodeShared {
    /// Time in which sync projections must have confirmed an append.
    pub(crate) const fn projection_timeout(&self) -> Duration {
        self.projection_timeout
    }

    /// Errors: the node stops.
    pub(crate) fn check_serving(&self) -> Result<(), NodeError> {
        if self.draining.load(Ordering::SeqCst) { Err(NodeError::Draining) } else { Ok(()) }
    }
}

/// A node that runs. Cloning shares it.
#[derive(Clone)]
pub struct NodeHandle {
    node: Arc<NodeShared>,
    stores: Arc<[Arc<StoreParts>]>,
    report: Arc<[ReportLine]>,
    made: Arc<Made>,
    arbiters: Arc<Mutex<Option<Arbiters>>>,
    cluster: Option<Control>,
}

/// Starts nodes.
#[derive(Debug)]
pub struct Node;

impl Node {
    /// Opens all declared stores and serves them. Must run on an actix system (see [`crate::runtime::run`]).
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(declarations: Declarations, options: NodeOptions) -> Result<NodeHandle, StartError> {
        Self::start_as(declarations, options, None).await
    }

    /// The same as a node of a cluster: the stores are the cluster's, their logs replicas of groups.
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_member(
        declarations: Declarations,
        options: NodeOptions,
        cluster: &mut ClusterNode,
    ) -> Result<NodeHandle, StartError> {
        Self::start_as(declarations, options, Some(cluster)).await
    }

    async fn start_as(
        declarations: Declarations,
        options: NodeOptions,
        cluster: Option<&mut ClusterNode>,
    ) -> Result<NodeHandle, StartError> {
        refuse(&declarations)?;
        let member = cluster.map(|cluster| (cluster.control.clone(), cluster.take_folder()));
        let (part, folder) = member.map_or((None, None), |(control, folder)| (Some(control), folder));
        let aggregates: Vec<String> = declarations.aggregates.iter().map(|a| a.value.clone()).collect();
        let open_options = options.clone();
        // before any store is claimed: a node that gets no thread fences nobody
        let io = Arc::new(IoThread::start(abort_on_fatal())?);
        let control = part.clone();
        let opening = tokio::task::spawn_blocking(move || match control {
            Some(control) => open_members(&declarations, &open_options, folder, &control),
            None => open_all(&declarations, &open_options),
        });
        let opened = opening.await.map_err(io::Error::other)??;
        let (arbiters, drain_timeout, locks) = (Arbiters::start(), options.drain_timeout, opened.locks);
        let (control, logs, chores) = arbiters.handles();
        let alive = Alive::default();
        let shared = Shared {
            data_dir: opened.data_dir,
            io,
            readers: Readers::start(options.reader_threads.max(1), options.reads_max, &alive),
            permits: BytePermits::new(options.in_flight_bytes_max),
            answers: BytePermits::new(options.answer_bytes_max),
            following: Following::new(options.reader_threads),
            metrics: Arc::new(Metrics::default()),
            alive,
            descriptors: Arc::new(opened.descriptors),
            control,
            logs,
            chores,
            cluster: part.clone(),
            subjects: opened.subjects,
        };
        let (stores, report) = match wire_all(opened.stores, &aggregates, &shared) {
            Ok(wired) => wired,
            Err(error) => {
                shared.readers.close();
                // the workers that were made go with their threads
                let _ = tokio::task::spawn_blocking(move || arbiters.stop()).await;
                return Err(error);
            }
        };
        for replicas in stores.iter().filter_map(|parts: &Arc<StoreParts>| parts.replicas.clone()) {
            replicas.start().await;
        }
        let supervisor = wire_compaction(&stores, &shared, &options);
        let (draining, is_kept, compaction_share) =
            (AtomicBool::new(false), AtomicBool::new(false), options.compaction_share);
        let projection_timeout = options.projection_timeout;
        let watches = OwnerWatches::start(&stores, options.owner_look_every, &shared.alive);
        let (key_watches, folder_watches) = (KeyWatches::start(&stores), FolderWatches::start(&stores));
        let node = Arc::new(NodeShared {
            shared,
            supervisor,
            draining,
            is_kept,
            compaction_share,
            drain_timeout,
            projection_timeout,
            locks,
            watches,
            key_watches,
            folder_watches,
        });
        let arbiters = Arc::new(Mutex::new(Some(arbiters)));
        let (report, made) = (report.into(), Arc::new(opened.made));
        Ok(NodeHandle { node, stores: stores.into(), report, made, arbiters, cluster: part })
    }
}

type Wired = (Vec<Arc<StoreParts>>, Vec<ReportLine>);

fn wire_all(opened: Vec<Opened>, aggregates: &[String], shared: &Shared) -> Result<Wired, StartError> {
    let mut stores = Vec::new();
    let mut report = Vec::new();
    for store in opened {
        // of a cluster's store each log says for itself what it found
        if shared.cluster.is_none() {
            report.extend(store.report.lines(store.store.name()));
        }
        let parts = Arc::new(wire_store(store, aggregates, shared)?);
        if shared.cluster.is_none() {
            let (name, file) = (parts.store.name(), PauseFile::of(&shared.data_dir.store_folder(parts.store.name())));
            let paused = file.take_up(&parts.book)?;
            report.extend(paused.map(|line| ReportLine::Warning(format!("{name}: {line}"))));
        }
        stores.push(parts);
    }
    Ok((stores, report))
}

fn refuse(declarations: &Declarations) -> Result<(), StartError> {
    let mut lines = Vec::new();
    for declared in &declarations.stores {
        for (key, reason) in strandline_deql::serve_refusals(&declared.config) {
            lines.push(format!("store {}: {key}: {reason}", declared.config.name));
        }
    }
    if declarations.stores.is_empty() {
        lines.push("the file declares no store: write CREATE EVENTSTORE ... (see `strandline check`)".to_owned());
    }
    if lines.is_empty() { Ok(()) } else { Err(StartError::Refused(lines)) }
}

impl NodeHandle {
    /// It shows and changes a cluster.
    pub fn with_cluster(self, control: Control) -> Self {
        Self { cluster: Some(control), ..self }
    }

    /// The cluster; `None`: the node is alone.
    pub const fn cluster(&self) -> Option<&Control> {
        self.cluster.as_ref()
    }

    /// What recovery found and did, one line each.
    #[must_use]
    pub fn report(&self) -> &[ReportLine] {
        &self.report
    }

    /// What this start made, because there was nothing.
    #[must_use]
    pub fn made(&self) -> &Made {
        &self.made
    }

    /// All stores, in the order of their declaration.
    #[must_use]
    pub fn stores(&self) -> Vec<StoreHandle> {
        self.stores.iter().map(|parts| self.handle(parts)).collect()
    }

    /// The store of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn store(&self, name: &str) -> Result<StoreHandle, NodeError> {
        match self.stores.iter().find(|parts| parts.store.name() == name) {
            Some(parts) => Ok(self.handle(parts)),
            None => {
                let known: Vec<String> = self.stores.iter().map(|p| format!("`{}`", p.store.name())).collect();
                Err(NodeError::UnknownStore { name: name.to_owned(), known: known.join(", ") })
            }
        }
    }

    fn handle(&self, parts: &Arc<StoreParts>) -> StoreHandle {
        StoreHandle { parts: Arc::clone(parts), node: Arc::clone(&self.node), scope: None }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.node.shared
    }

    /// Takes no more appends, finishes those in flight, ends compaction, marks every log as cleanly stopped.
    /// Reads are still answered afterwards. A second call does nothing.
    ///
    /// # Errors
    /// The logs whose disk did not take what was in flight in time; their owners have given up, or are still at the disk.
    pub async fn drain(&self) -> Result<(), Undrained> {
        if self.node.draining.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.node.watches.stop();
        self.node.key_watches.stop();
        self.node.folder_watches.stop();
        let waited = self.node.drain_timeout;
        for (store, why) in self.logs_troubled() {
            tracing::warn!(store, "{why}; the node does not end before it has waited {} s for that", waited.as_secs());
        }
        // a job that does not end waits for a log that does not: its owner is asked next
        let _ = timeout(waited / 2, self.node.supervisor.send(StopCompaction)).await;
        let io = &*self.node.shared.io;
        let left = join_all(self.stores.iter().map(|parts| drain_store(parts, io, waited))).await;
        self.node.is_kept.store(left.iter().any(|left| left.is_kept), Ordering::SeqCst);
        let logs: Vec<String> = left.into_iter().flat_map(|left| left.logs).collect();
        if let Some(control) = &self.node.shared.cluster {
            // nothing is in flight here any more: another node leads from now on, before an election time has passed
            control.hand_over_all().await;
        }
        // what was committed until now could be seen; who follows is told to come again
        self.stores.iter().for_each(|parts| parts.feed.close());
        let lost = self.node.shared.cluster.as_ref().and_then(Control::lost);
        if logs.is_empty() { Ok(()) } else { Err(Undrained { logs, waited, lost }) }
    }

    /// Drains, lets the readers finish and ends all threads. `Err`: this many workers did not end.
    ///
    /// # Errors
    /// The number of workers that still live after ten seconds, or sooner where a disk keeps them.
    pub async fn stop(self) -> Result<(), usize> {
        // who cares for what was not taken has drained before
        let _ = self.drain().await;
        let node = Arc::clone(&self.node);
        let arbiters = self.arbiters.lock().take();
        // handles may live on in answers that are still sent: they can ask nobody any more
        self.node.shared.readers.close();
        drop(self);
        let ending = async {
            match arbiters {
                Some(arbiters) => arbiters.ended().await,
                None => true,
            }
        };
        let have_ended = match node.is_kept.load(Ordering::SeqCst) {
            true => unless_kept(&*node.shared.io, ending).await.unwrap_or(false),
            false => ending.await,
        };
        if !have_ended {
            return Err(node.shared.alive.count());
        }
        if let Some(control) = &node.shared.cluster {
            // nobody may take the folders while a group still closes its log
            join_all(control.groups().all().iter().map(|group| group.stop())).await;
        }
        for _ in 0..1000 {
            if node.shared.alive.count() == 0 {
                node.locks.iter().for_each(StoreLock::release);
                node.shared.data_dir.release();
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(node.shared.alive.count())
    }
}

/// What a drain leaves behind.
#[derive(Default)]
struct Left {
    /// Logs that did not end in time, by their names.
    logs: Vec<String>,
    /// The owner of one of them, or who makes it, is at its disk and hears nothing.
    is_kept: bool,
}

/// Stops the owners of a store's logs.
async fn drain_store(parts: &Arc<StoreParts>, io: &dyn LogIo, limit: Duration) -> Left {
    if let Some(replicas) = &parts.replicas {
        replicas.stop();
    }
    let (owners, makes_a_log) = match timeout(limit, parts.router.send(CloseRouter)).await {
        Ok(Ok(owners)) => (owners, false),
        Ok(Err(_)) => return Left::default(),
        // the disk does not make it, and the router hears nothing meanwhile
        Err(_) => (parts.table.all(), true),
    };
    let stopping = owners.iter().map(|(log, owner)| async move {
        // a worker that is gone already has nothing in flight
        if timeout(limit, owner.send(StopLog)).await.is_ok() {
            return None;
        }
        // one that waits for the disk in its own thread hears it when it comes back, perhaps never
        let is_kept = unless_kept(io, owner.send(Abandon)).await.is_none();
        Some((format!("{}/{log}", parts.store.name()), is_kept))
    });
    let (logs, kept): (Vec<String>, Vec<bool>) = join_all(stopping).await.into_iter().flatten().unzip();
    let mut left = Left { logs, is_kept: kept.contains(&true) || makes_a_log };
    left.logs.extend(makes_a_log.then(|| format!("{}/(a new log)", parts.store.name())));
    // what such a log has in flight may still reach the disk
    let is_settled = left.logs.is_empty();
    parts.table.clear();
    let closing = Arc::clone(parts);
    let closed = async move { tokio::task::spawn_blocking(move || closing.statement.close()).await };
    let stopping = async {
        let _ = closed.await;
        if is_settled {
            record_clean_stop(parts).await;
        }
    };
    if !is_settled {
        // a commit whose outcome cannot be had is not waited for
        parts.store.durable().abandon();
    }
    if timeout(limit, stopping).await.is_err() {
        tracing::warn!(
            store = parts.store.name(),
            "the object store gives no answer: the clean stop is not in the manifest"
        );
        parts.store.durable().abandon();
    }
    // the writers of a thread that a disk keeps hear it as late as the owners
    let _ = unless_kept(io, parts.hot.stop()).await;
    left
}

async fn record_clean_stop(parts: &StoreParts) {
    if parts.replicas.is_some() {
        // the groups know where the logs end
        return;
    }
    let (store, fenced) = (Arc::clone(&parts.store), Arc::clone(&parts.fenced));
    let recording = tokio::task::spawn_blocking(move || {
        let Err(error) = store.record_clean_stop(random::bits(), clock::now()) else { return };
        if matches!(error, CommitError::StaleEpoch { .. }) {
            fenced.store(true, Ordering::SeqCst);
        }
        // the logs carry their own marks: only the proof against a lost log is weaker
        tracing::warn!(store = store.name(), "the clean stop is not in the manifest: {error}");
    });
    let _ = recording.await;
}
