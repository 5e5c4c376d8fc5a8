//! The logs of a store on a node of a cluster: opened where the meta group places them, led, confirmed, compacted by one node.
//!
//! ```text
//!  meta group's state ──> run: open what is placed here, tell groups that they are established, registered types
//!                          └─> role: this node compacts (is named, and claims the store), or follows who does (`replicas/role.rs`)
//!  first append of a type ──> open_log_of: RegisterType, then the group of the stream's bucket and a leader
//!  reads ──> confirm: a quorum says that this node leads the logs that are read, or their leaders say how far it must be
//!  new command ids of a whole store ──> reserve: who leads the meta group keeps them apart (`replicas/commands.rs`)
//!  appends of a store with sync projections ──> confirm_projections: who keeps the subscriptions says how far they are (`replicas/projections.rs`)
//!  followers ──> close_up: leaders of quiet logs say that nothing comes before what is visible (`replicas/closing.rs`)
//!  keys of subjects ──> all nodes see one folder (`replicas/sharing.rs`)
//! ```
//!
//! Which logs a node holds the meta group says (`meta/placing.rs` of the consensus crate): all of them, or where a node only ingests those in which it
//! votes, as a rule; what is asked about the others is asked elsewhere (`replicas/elsewhere.rs`). Invariant: a node that does not lead takes no append and says who
//! does; it never answers a read from what it merely has, unless it was asked to (`consistency=local`), and none of a log that it does not hold.

mod closing;
mod commands;
mod elsewhere;
mod hearing;
mod office;
mod open;
mod projections;
mod role;
mod sharing;
mod statement;

pub(crate) use commands::Reserved;

use crate::clock;
use crate::compaction::job::JobBook;
use crate::error::{LeaderAt, NodeError};
use crate::hot_worker::HotWorkers;
use crate::registry::StreamTypeEntry;
use crate::replica::{JumpAll, LogMachine};
use crate::router::{LogTable, PublishedTypes};
use crate::subjects::shared::erasable_by;
use crate::subscriptions::Desk;
use crate::wal_worker::WalWorker;
use crate::wiring::LogFactory;
use actix::Addr;
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use strandline_consensus::control::Control;
use strandline_consensus::meta::{Command, Erasable, Placement};
use strandline_consensus::stop::told;
use strandline_consensus::{BoxFuture, Group, GroupError, GroupId, Leadership, NodeId, ReadIndex};
use strandline_engine::append::AppendError;
use strandline_engine::store::Store;
use strandline_event::limits::STREAM_TYPES_MAX;
use strandline_event::{LogKey, Micros};
use strandline_wal::LeaderId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How often the state of the cluster is looked at while nothing changes.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the first append of a stream type waits for its group and a leader.
const NEW_TYPE_WITHIN: Duration = Duration::from_secs(15);
/// Between looks at whether it is there.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a read looks for a leader that a quorum confirms.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// How long a request waits for this node to claim a store that it is named to compact.
const CLAIM_WITHIN: Duration = Duration::from_secs(3);
/// A leader that says nothing for so long has missed some heartbeats.
const SILENT_FOR: Duration = Duration::from_secs(1);
/// How long a quorum may take to confirm a leader.
const CONFIRM_WITHIN: Duration = Duration::from_secs(3);

/// What the replicas of a store work with.
pub(crate) struct ReplicasParts {
    pub(crate) control: Control,
    pub(crate) store: Arc<Store>,
    pub(crate) table: Arc<LogTable>,
    pub(crate) types: Arc<PublishedTypes>,
    pub(crate) factory: Arc<LogFactory>,
    /// Set while this node is not the one that compacts, or has not claimed the store yet.
    pub(crate) fenced: Arc<AtomicBool>,
    pub(crate) hot: HotWorkers,
    /// The node's own folder of this store.
    pub(crate) folder: PathBuf,
    /// Stream types that the node's file declares, or that were registered while it was alone.
    pub(crate) declared: Vec<StreamTypeEntry>,
    /// What compaction does here; whether it is paused the cluster says.
    pub(crate) book: Arc<JobBook>,
    /// The named subscriptions: kept here while this node leads the meta group.
    pub(crate) subscriptions: Arc<Desk>,
    /// Held by who asks other nodes whether they see the folder of subject keys: one for all stores.
    pub(crate) probing: Arc<tokio::sync::Mutex<()>>,
}

/// The replicas of one store.
pub(crate) struct StoreReplicas {
    parts: ReplicasParts,
    machines: Mutex<BTreeMap<LogKey, Arc<LogMachine>>>,
    /// Logs that do not open on this node, and why.
    broken: Mutex<BTreeMap<LogKey, Arc<str>>>,
    /// One of them had given entries to files which these do not hold: they are an older copy, to which nothing is committed here.
    files_are_old: AtomicBool,
    /// Logs that this node holds no more.
    resting: elsewhere::Resting,
    /// Whether this node holds every log, as of a command of the meta group.
    whole: Mutex<(u64, bool)>,
    /// Leaderships that wait for what was assigned in other logs.
    hearing: hearing::Hearing,
    /// Held by who follows what others commit.
    following: tokio::sync::Mutex<()>,
    /// The types that are published, and the last command of the meta group that they are of.
    published: Mutex<(u64, Vec<StreamTypeEntry>)>,
    /// When others were looked for that have committed.
    followed: Mutex<Option<Instant>>,
    /// When leaders may be asked again what they have closed.
    asks_again: Mutex<Option<Instant>>,
    /// The version of the statement that this node follows.
    statement: tokio::sync::Mutex<statement::Statement>,
    /// Command ids that are unique in the whole store.
    commands: commands::CommandIds,
    /// The sync subscriptions, as appends here see them.
    projections: projections::Projections,
    /// Held by who looks at the folder of subject keys for another node.
    looking: Arc<tokio::sync::Mutex<()>>,
    stop: watch::Sender<bool>,
}

impl StoreReplicas {
    pub(crate) fn new(parts: ReplicasParts) -> Arc<Self> {
        let (machines, broken) = (Mutex::default(), Mutex::default());
        let (published, followed, statement) = (Mutex::default(), Mutex::default(), tokio::sync::Mutex::default());
        let (asks_again, commands, looking) = (Mutex::default(), commands::CommandIds::default(), Arc::default());
        let (resting, following) = (elsewhere::Resting::default(), tokio::sync::Mutex::default());
        let (whole, hearing) = (Mutex::new((0, true)), hearing::Hearing::default());
        let projections = projections::Projections::default();
        let stop = watch::Sender::new(false);
        Arc::new(Self {
            parts,
            machines,
            broken,
            files_are_old: AtomicBool::new(false),
            resting,
            whole,
            hearing,
            following,
            published,
            followed,
            asks_again,
            statement,
            commands,
            projections,
            looking,
            stop,
        })
    }

    /// Opens what is placed here, then keeps to what the cluster says until it is [stopped](Self::stop).
    pub(crate) async fn start(self: &Arc<Self>) {
        self.parts.control.looks_by(self.name(), Arc::new(role::LooksNow(Arc::downgrade(self))));
        self.parts.control.keeps_commands_by(self.name(), Arc::new(commands::Keeps(Arc::downgrade(self))));
        self.parts.control.tells_progress_by(self.name(), Arc::new(projections::Tells(Arc::downgrade(self))));
        self.parts.subscriptions.closes_by(Arc::new(closing::ClosesUp(Arc::downgrade(self))));
        self.look().await;
        let running = Arc::clone(self);
        tokio::spawn(async move { running.run().await });
        // by itself: an object store that does not answer keeps no log from being opened
        let playing = Arc::clone(self);
        tokio::spawn(async move { playing.keep_role().await });
        // by itself: what it holds while others answer must not wait for the object store
        self.spawn_until_stopped(|this| async move { this.keep_keys().await });
        self.spawn_until_stopped(|this| async move { this.hear_moments().await });
    }

    fn spawn_until_stopped<W>(self: &Arc<Self>, work: impl FnOnce(Arc<Self>) -> W)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let (working, mut stopped) = (work(Arc::clone(self)), self.stop.subscribe());
        tokio::spawn(async move {
            tokio::select! {
                () = working => {}
                () = told(&mut stopped) => {}
            }
        });
    }

    /// Nothing is opened, claimed or followed any more.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
        self.wake_all();
    }

    /// Logs that do not open here.
    pub(crate) fn broken(&self) -> Vec<(LogKey, Arc<str>)> {
        self.broken.lock().iter().map(|(log, why)| (log.clone(), Arc::clone(why))).collect()
    }

    async fn run(self: Arc<Self>) {
        let (mut changed, mut stopped) = (self.parts.control.watch(), self.stop.subscribe());
        let declaring = self.declare();
        tokio::pin!(declaring);
        let mut declared = false;
        loop {
            changed.borrow_and_update();
            self.look().await;
            tokio::select! {
                () = &mut declaring, if !declared => declared = true,
                changed = changed.changed() => if changed.is_err() { return },
                () = sleep(LOOK_EVERY) => {}
                stop = stopped.changed() => if stop.is_err() || *stopped.borrow() { return },
            }
            if *self.stop.borrow() {
                return;
            }
        }
    }

    /// What the node's file declares is registered for all.
    async fn declare(&self) {
        for entry in &self.parts.declared {
            while let Err(error) = self.register(self.as_known(entry)).await {
                if error.kind() != strandline_event::ErrorKind::Unavailable {
                    tracing::error!(
                        name = &*entry.name,
                        "this stream type cannot be registered in the cluster: {error}"
                    );
                    break;
                }
                sleep(LOOK_EVERY).await;
            }
        }
    }

    fn name(&self) -> &str {
        self.parts.store.name()
    }

    fn id_of(&self, log: &LogKey) -> GroupId {
        GroupId::Log { store: Arc::from(self.name()), log: log.clone() }
    }

    fn group(&self, log: &LogKey) -> Option<Arc<Group>> {
        self.parts.control.groups().get(&self.id_of(log))
    }

    /// Every other member looks for what was committed. Gives those that have not said that they did.
    pub(crate) async fn look_everywhere(&self) -> Vec<u64> {
        self.parts.control.look_everywhere(self.name()).await
    }

    /// Registers a stream type in the whole cluster.
    pub(crate) async fn register(&self, entry: StreamTypeEntry) -> Result<StreamTypeEntry, NodeError> {
        if let Some(buckets) = self.buckets_of(&entry.name).filter(|known| *known != entry.buckets) {
            return Err(NodeError::OtherBuckets { name: entry.name.to_string(), buckets });
        }
        let erasable = erasable_by(self.kind_of(&entry.name));
        self.propose(entry.name.to_string(), entry.buckets, erasable, true).await?;
        Ok(entry)
    }

    async fn propose(&self, name: String, buckets: u32, erasable: Erasable, registered: bool) -> Result<(), NodeError> {
        // as far as this node has heard
        if !self.parts.control.with_state(|state| state.has_place(self.name(), &name, buckets)) {
            return Err(NodeError::TooManyStreamTypes { store: self.name().to_owned(), limit: STREAM_TYPES_MAX });
        }
        let command = Command::RegisterType { store: self.name().to_owned(), name, buckets, erasable, registered };
        self.parts.control.propose(&command).await.map(drop).map_err(NodeError::from)
    }

    /// The owner of a log on this node; its stream type is made where there is none yet, with one bucket.
    pub(crate) async fn open_log_of(&self, log: &LogKey) -> Result<Addr<WalWorker>, NodeError> {
        self.propose(log.stream_type.to_string(), 1, Erasable::No, false).await?;
        // somebody may have registered it with more in this moment: the caller looks
        self.publish_types();
        let waiting = async {
            loop {
                if let Some(why) = self.broken.lock().get(log).cloned() {
                    return Err(NodeError::DamagedLog { log: log.clone(), reason: why });
                }
                if self.lacks(log) {
                    return Err(self.log_elsewhere(log));
                }
                let is_led = self.is_led(log);
                if let Some(owner) = self.parts.table.get(log).filter(|_| is_led && self.is_established(log)) {
                    return Ok(owner);
                }
                sleep(PAUSE).await;
            }
        };
        timeout(NEW_TYPE_WITHIN, waiting).await.unwrap_or_else(|_| Err(self.no_leader(log)))
    }

    /// As the cluster has it: a statement says no number of buckets.
    fn as_known(&self, entry: &StreamTypeEntry) -> StreamTypeEntry {
        let buckets = self.buckets_of(&entry.name).unwrap_or(entry.buckets);
        StreamTypeEntry { buckets, ..entry.clone() }
    }

    /// How many buckets the cluster gives a stream type; `None`: this node has not heard of it.
    fn buckets_of(&self, stream_type: &str) -> Option<u32> {
        self.parts.control.with_state(|state| state.buckets_of(self.name(), stream_type))
    }

    /// Somebody leads the log, and (if it is this node) its owner knows.
    fn is_led(&self, log: &LogKey) -> bool {
        let leader = self.group(log).and_then(|group| group.status().leader);
        let shared = self.parts.store.log(log);
        leader.is_some_and(|(node, _)| {
            node != self.parts.control.node() || shared.is_some_and(|shared| shared.published().clock().leads())
        })
    }

    fn is_established(&self, log: &LogKey) -> bool {
        self.machines.lock().get(log).is_some_and(|machine| machine.established.load(Ordering::SeqCst))
    }

    fn no_leader(&self, log: &LogKey) -> NodeError {
        NodeError::Cluster {
            kind: strandline_event::ErrorKind::Unavailable,
            why: format!(
                "the log of `{log}` has no leader yet: too few of its voters run and see each other; try again"
            ),
        }
    }

    /// Everything that was acknowledged before this call in these logs (of one stream type, or all) is visible here when it returns: where this
    /// node leads a quorum has confirmed it, elsewhere the leader has said how far this node must be.
    pub(crate) async fn confirm(&self, stream_type: Option<&str>) -> Result<(), NodeError> {
        if stream_type.is_none_or(|name| !self.has_all_of(name)) {
            // which logs there are the leader of the meta group knows
            self.confirm_group(&GroupId::Meta).await?;
        }
        self.check_holds_all()?;
        let is_asked = |log: &LogKey| stream_type.is_none_or(|name| *log.stream_type == *name);
        self.confirm_logs(self.logs(|log, placement| asked(log, placement, is_asked(log)))).await?;
        if stream_type.is_none() {
            Box::pin(self.close_quiet()).await;
        }
        Ok(())
    }

    /// The same of the log of one stream.
    pub(crate) async fn confirm_stream(&self, stream_type: &str, stream_id: &str) -> Result<(), NodeError> {
        if self.log_of(stream_type, stream_id).is_none_or(|log| self.group(&log).is_none()) {
            self.confirm_group(&GroupId::Meta).await?;
        }
        let one = self.log_of(stream_type, stream_id);
        self.check_holds(one.as_ref())?;
        self.confirm_logs(self.logs(|log, placement| asked(log, placement, one.as_ref() == Some(log)))).await
    }

    async fn confirm_logs(&self, logs: Vec<LogKey>) -> Result<(), NodeError> {
        let wanted = self.wanted();
        let confirming = logs.into_iter().map(|log| async move {
            self.opened(&log).await?;
            let closed = self.confirm_group(&self.id_of(&log)).await?;
            Ok::<_, NodeError>(closed.map(|moment| (log, moment)))
        });
        let closed: Result<Vec<_>, NodeError> = join_all(confirming).await.into_iter().collect();
        self.closed_elsewhere(closed?.into_iter().flatten(), wanted);
        Ok(())
    }

    /// How far readers here want logs closed; to be taken before their leaders are asked. A leader that was asked before another one was elected may answer
    /// after that one has heard what readers had passed: an event that came here in between is above what it heard of.
    fn wanted(&self) -> Micros {
        self.parts.store.closed().wanted(clock::now())
    }

    /// Up to these moments leaders of other logs have closed them, as far as readers [wanted](Self::wanted) it: everything that they asked for is visible
    /// here by now.
    fn closed_elsewhere(&self, closed: impl Iterator<Item = (LogKey, Micros)>, wanted: Micros) {
        for (log, moment) in closed {
            if let Some(shared) = self.parts.store.log(&log) {
                shared.published().clock().closed_elsewhere(moment.min(wanted));
            }
        }
    }

    /// Whether this node has every log of a stream type: they are placed at once.
    fn has_all_of(&self, stream_type: &str) -> bool {
        let logs = self.logs(|log, _| (*log.stream_type == *stream_type).then(|| log.clone()));
        !logs.is_empty() && logs.iter().all(|log| self.group(log).is_some())
    }

    /// The log of a stream; `None`: this node has not heard of its type.
    fn log_of(&self, stream_type: &str, stream_id: &str) -> Option<LogKey> {
        Some(LogKey::of_stream(stream_type, stream_id, self.buckets_of(stream_type)?))
    }

    /// A log that the cluster has is about to be opened here.
    async fn opened(&self, log: &LogKey) -> Result<(), NodeError> {
        let opening = async {
            while self.group(log).is_none() {
                self.check_logs(|broken| broken == log)?;
                sleep(PAUSE).await;
            }
            Ok(())
        };
        timeout(CONFIRM_WITHIN, opening).await.unwrap_or_else(|_| Err(self.no_leader(log)))
    }

    /// Who leads may be about to change: a read waits for that rather than fail. Gives up to where the leader of a log has closed it, if that is another
    /// node.
    async fn confirm_group(&self, id: &GroupId) -> Result<Option<Micros>, NodeError> {
        let until = Instant::now() + READ_WITHIN;
        loop {
            match self.try_confirm(id).await {
                Err(_) if Instant::now() < until && !self.hears_no_more(id) => sleep(PAUSE).await,
                confirmed => return confirmed,
            }
        }
    }

    /// Whether a read waits in vain for what this node does not have of a group: it is drained, and nobody sends it that any more.
    fn hears_no_more(&self, id: &GroupId) -> bool {
        let is_silent = |group: Arc<Group>| group.leaderless() > SILENT_FOR;
        self.parts.control.drains() && self.parts.control.groups().get(id).is_some_and(is_silent)
    }

    async fn try_confirm(&self, id: &GroupId) -> Result<Option<Micros>, NodeError> {
        let Some(group) = self.parts.control.groups().get(id) else { return Err(self.not_leader(None)) };
        let leader = match group.leadership() {
            Leadership::Leads => {
                return match timeout(CONFIRM_WITHIN, group.confirm()).await {
                    Ok(Ok(())) => Ok(None),
                    Ok(Err(GroupError::NotLeader { leader })) => Err(self.not_leader(leader.map(|(node, _)| node))),
                    Ok(Err(_)) | Err(_) => Err(self.not_leader(None)),
                };
            }
            Leadership::Follows { leader } => leader.map(|(node, _)| node),
        };
        let Some(node) = leader else { return Err(self.not_leader(None)) };
        Ok(self.reached(id, &group, node).await?.closed)
    }

    /// This node has applied what the leader of a group says that it must have.
    async fn reached(&self, id: &GroupId, group: &Group, leader: NodeId) -> Result<ReadIndex, NodeError> {
        let asked = self.parts.control.read_index(leader, id).await;
        let index = asked.map_err(|_| self.not_leader(Some(leader)))?;
        let within = if self.hears_no_more(id) { Duration::ZERO } else { CONFIRM_WITHIN };
        let reached = group.reached(index.number, within).await;
        reached.map_err(|_| self.not_leader(Some(leader)))?;
        Ok(index)
    }

    /// What this node has by itself is whole, as far as it has been told: no log is missing that should be here.
    pub(crate) fn check_whole(&self, stream_type: Option<&str>) -> Result<(), NodeError> {
        if !self.is_whole() {
            return Err(self.all_elsewhere());
        }
        self.check_open(stream_type)
    }

    /// No log of one stream type, or of all, is known not to open here.
    pub(crate) fn check_open(&self, stream_type: Option<&str>) -> Result<(), NodeError> {
        self.check_logs(|log| stream_type.is_none_or(|name| *log.stream_type == *name))
    }

    /// The same of the log of one stream.
    pub(crate) fn check_whole_stream(&self, stream_type: &str, stream_id: &str) -> Result<(), NodeError> {
        self.check_holds_stream(stream_type, stream_id)?;
        let one = self.log_of(stream_type, stream_id);
        self.check_logs(|log| one.as_ref() == Some(log))?;
        // one that this node was just given
        let is_opening = one.is_some_and(|log| self.group(&log).is_none() && self.may_hold(&log));
        if is_opening && !self.is_whole() { Err(self.all_elsewhere()) } else { Ok(()) }
    }

    /// Errors: other nodes alone hold the log of one stream.
    pub(crate) fn check_holds_stream(&self, stream_type: &str, stream_id: &str) -> Result<(), NodeError> {
        self.check_holds(self.log_of(stream_type, stream_id).as_ref())
    }

    /// The same of the streams of one id in several types.
    pub(crate) fn check_holds_namesakes(&self, stream_types: &[String], stream_id: &str) -> Result<(), NodeError> {
        let held = stream_types.iter().try_for_each(|of| self.check_holds_stream(of, stream_id));
        // who holds one of several logs may lack another
        held.map_err(|error| if stream_types.len() > 1 { self.all_elsewhere() } else { error })
    }

    fn check_logs(&self, needs: impl Fn(&LogKey) -> bool) -> Result<(), NodeError> {
        let broken = self.broken.lock();
        match broken.iter().find(|(log, _)| needs(log)) {
            Some((log, why)) => Err(NodeError::DamagedLog { log: log.clone(), reason: Arc::clone(why) }),
            None => Ok(()),
        }
    }

    /// What `pick` takes of the logs that the cluster has of this store.
    fn logs<T>(&self, pick: impl Fn(&LogKey, &Placement) -> Option<T>) -> Vec<T> {
        let name = self.name();
        self.parts.control.with_state(|state| {
            let of_store = state.groups().iter().filter_map(|(group, placement)| match group {
                GroupId::Log { store, log } if &**store == name => pick(log, placement),
                _ => None,
            });
            of_store.collect()
        })
    }

    /// The node that the meta group has named to compact this store.
    fn compactor(&self) -> Option<NodeId> {
        self.parts.control.with_state(|state| state.compactor(self.name()))
    }

    fn meta_leader(&self) -> Option<NodeId> {
        self.parts.control.meta_status().leader.map(|(node, _)| node)
    }

    /// Only the node that compacts can do it. One that is named is about to claim the store.
    pub(crate) async fn check_compacts(&self) -> Result<(), NodeError> {
        let until = Instant::now() + CLAIM_WITHIN;
        while self.parts.fenced.load(Ordering::SeqCst) {
            if !self.is_named() || Instant::now() >= until {
                return Err(self.not_leader(self.compactor()));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Who begins a stream type must know which ones there are.
    pub(crate) fn check_knows_types(&self) -> Result<(), NodeError> {
        if self.parts.control.leads() { Ok(()) } else { Err(self.not_leader(self.meta_leader())) }
    }

    /// `NotLeader`, if another node leads a log, and which one is known; of one that this node does not hold, one that knows.
    pub(crate) fn log_led_elsewhere(&self, log: &LogKey) -> Option<NodeError> {
        match self.group(log).map(|group| group.leadership()) {
            Some(Leadership::Follows { leader: Some((node, _)) }) => Some(self.not_leader(Some(node))),
            Some(_) => None,
            None => self.lacks(log).then(|| self.log_elsewhere(log)),
        }
    }

    /// The node to ask instead.
    pub(crate) fn not_leader(&self, leader: Option<NodeId>) -> NodeError {
        let known = leader.filter(|node| *node != self.parts.control.node());
        let at = known.and_then(|node| self.parts.control.entry(node)).map(|entry| LeaderAt {
            node: entry.facts.id,
            http: entry.facts.addresses.http,
            native: Some(entry.facts.addresses.native).filter(|address| !address.is_empty()),
        });
        NodeError::NotLeader { leader: at }
    }

    /// What an owner says of its leader, with the addresses that clients can use.
    pub(crate) fn with_address(&self, error: NodeError) -> NodeError {
        match error {
            NodeError::Refused(refusal) => match refusal.error {
                AppendError::NotLeader { leader } => self.not_leader(leader.map(|(node, _)| node)),
                _ => NodeError::Refused(refusal),
            },
            error => error,
        }
    }
}

/// A log that is asked for; nothing was ever acknowledged in one whose group was not yet where it should be.
fn asked(log: &LogKey, placement: &Placement, is_asked: bool) -> Option<LogKey> {
    (is_asked && placement.is_established()).then(|| log.clone())
}

impl JumpAll for StoreReplicas {
    fn may_lead(&self, log: &LogKey, leader: LeaderId) -> bool {
        self.knows_moments(log, leader)
    }

    fn jump_all(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let lagging: Vec<Arc<LogMachine>> =
                self.machines.lock().values().filter(|machine| machine.lags()).cloned().collect();
            for machine in lagging {
                machine.jump().await;
            }
        })
    }
}
