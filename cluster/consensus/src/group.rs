//! One replication group on this node: opened over its log, proposing, serving its members, changing them, saying who leads.
//!
//! ```text
//!  propose ──> openraft core ──> Storage, Peers          serve <── Transport of the other members
//!                  └──> StateMachine ──> Machine::applied
//!  watch.rs: metrics ──> Machine::leads
//! ```
//!
//! It refuses to open over a damaged log: such a replica neither votes nor acknowledges.

use crate::ahead::Ahead;
use crate::codec;
use crate::consensus::{Abandoned, Leadership};
use crate::contact::Contacts;
use crate::convert;
use crate::health::Health;
use crate::machine::Machine;
use crate::network::Peers;
use crate::state_machine::{StateMachine, place};
use crate::storage::{Snapshot, Storage};
use crate::transport::{GroupId, Member, NodeId, Rpc, ServeError, Transport};
use crate::types::{Outcome, Proposal, Types};
use crate::watch::{Watch, leader_of};
use openraft::error::{CheckIsLeaderError, ClientWriteError, Fatal, RaftError};
use openraft::raft::AppendEntriesResponse;
use openraft::{Config, Raft, RaftMetrics, SnapshotPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use strandline_event::{LogIndex, Micros, SharedBytes};
use strandline_wal::{LogView, LogWriter};
use tokio::sync::{Notify, RwLock};

/// How often a leader speaks to its followers; also the time in which they must answer.
pub const HEARTBEAT_MS: u64 = 300;
/// A follower asks for votes when its leader's lease is over (the last of these times of its node) and nothing was heard for a random time
/// in between. Each node has its own part of the range, and the same in all groups: so one node mostly becomes leader of all that a lost
/// one led, and two do not ask at once.
pub const ELECTION_MIN_MS: u64 = 900;
/// How much later the next node begins.
pub const ELECTION_STEP_MS: u64 = 400;
/// How much the time varies on one node.
pub const ELECTION_SPREAD_MS: u64 = 300;
/// Parts of the range.
const ELECTION_PARTS: u64 = 3;

/// How long a snapshot (a pointer) may take before a purge is put off.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(10);

/// How long a group that stops waits for its disk. Who stops a node has waited for the owners of its logs before.
const DISK_WITHIN: Duration = Duration::from_secs(5);

/// What a group is opened with.
pub struct GroupParts {
    /// Its name.
    pub id: GroupId,
    /// This node.
    pub node: NodeId,
    /// Its log, opened with `commit_on_sync` false.
    pub storage: Storage,
    /// What its entries act on.
    pub machine: Arc<dyn Machine>,
    /// The way to its other members.
    pub transport: Arc<dyn Transport>,
}

/// Why a group does not do what was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GroupError {
    /// Only the leader can.
    #[error("this node does not lead the group; ask its leader")]
    NotLeader {
        /// Who leads, as far as it is known.
        leader: Option<(NodeId, Member)>,
    },
    /// The change of members cannot be made now.
    #[error("the members cannot be changed: {0}")]
    Refused(String),
    /// The group has stopped on this node.
    #[error("the group does not run on this node: {0}")]
    Stopped(String),
}

/// A group as this node sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupStatus {
    /// Its term.
    pub term: u64,
    /// Who leads.
    pub leader: Option<(NodeId, Member)>,
    /// Number of the last entry of its log here.
    pub last: Option<u64>,
    /// Number of the last entry that was applied here.
    pub applied: Option<u64>,
    /// Number of the last entry that was purged here.
    pub purged: Option<u64>,
    /// Who votes.
    pub voters: BTreeSet<NodeId>,
    /// Who only gets the log.
    pub learners: BTreeSet<NodeId>,
    /// A change of voters is half done: old and new ones decide together.
    pub is_joint: bool,
    /// The last change of members is not applied here yet: it may still be taken back.
    pub is_changing: bool,
    /// On the leader: the number up to which each member holds the log.
    pub replicated: BTreeMap<NodeId, Option<u64>>,
    /// On the leader: for how long each member has not answered.
    pub silent: BTreeMap<NodeId, Duration>,
}

/// Where a member must be for a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadIndex {
    /// The entry that must be applied.
    pub number: u64,
    /// No entry behind it has this moment or an earlier one; none: entries have no moments.
    pub closed: Option<Micros>,
}

/// A running group.
pub struct Group {
    id: GroupId,
    pub(crate) node: NodeId,
    pub(crate) raft: Raft<Types>,
    storage: Storage,
    state: StateMachine,
    pub(crate) nudge: Arc<Notify>,
    confirming: Confirming,
    /// One change of members at a time.
    pub(crate) changing: Arc<tokio::sync::Mutex<()>>,
    /// Read by each proposal that is on its way, written by who lets another voter lead.
    pub(crate) proposing: RwLock<()>,
    pub(crate) contacts: Arc<Contacts>,
    pub(crate) health: Health,
    /// It asks for no votes before its leader has found it again.
    rests: AtomicBool,
}

/// Rounds in which a leader asks a quorum whether it still leads: who comes while one runs shares the next.
#[derive(Default)]
struct Confirming {
    turn: tokio::sync::Mutex<()>,
    begun: AtomicU64,
    /// The last round that a quorum answered.
    confirmed: AtomicU64,
}

impl Group {
    /// Opens a group over its log. From here on it says who belongs to it, as its log does. A group of which this node is the only voter
    /// elects it at once.
    ///
    /// # Errors
    /// The log cannot be read, its first frames not be written, or positions were given up in it.
    pub async fn open(parts: GroupParts) -> Result<Arc<Self>, GroupError> {
        let GroupParts { id, node, storage, machine, transport } = parts;
        let stopped = |what: String| GroupError::Stopped(what);
        if !storage.view().load().is_contiguous() {
            let what = "positions were given up in its log (--accept-lost-log), and a group's log has none: let this node join \
                        as a new one, with an empty folder";
            return Err(stopped(what.to_owned()));
        }
        storage.settle().await.map_err(|e| stopped(e.to_string()))?;
        let state = open_state(&storage, &machine).await.map_err(stopped)?;
        let contacts = Arc::new(Contacts::default());
        let ahead = Arc::new(Ahead::new(id.clone(), node, Arc::clone(&transport), Arc::clone(&contacts)));
        storage.sends_ahead(Arc::clone(&ahead));
        let peers = Peers { group: id.clone(), transport, contacts: Arc::clone(&contacts), ahead };
        let config = Arc::new(config(&id, node));
        let raft = Raft::new(node, config, peers, storage.clone(), state.clone());
        let raft = raft.await.map_err(|e| stopped(e.to_string()))?;
        first_word(&raft).await.map_err(stopped)?;
        let nudge = Arc::new(Notify::new());
        let (metrics, nudged) = (raft.metrics(), Arc::clone(&nudge));
        let (health, group) = (Health::new(), id.clone());
        let watch = Watch {
            group,
            node,
            metrics,
            servers: raft.server_metrics(),
            state: state.clone(),
            storage: storage.clone(),
            machine,
            nudge: nudged,
            health: health.clone(),
        };
        tokio::spawn(watch.run());
        let (confirming, changing, proposing) = (Confirming::default(), Arc::default(), RwLock::default());
        let rests = AtomicBool::new(false);
        let group =
            Self { id, node, raft, storage, state, nudge, confirming, changing, proposing, contacts, health, rests };
        let group = Arc::new(group);
        let alone = group.metrics().membership_config.voter_ids().eq([node]);
        if alone {
            group.raft.trigger().elect().await.map_err(|e| stopped(e.to_string()))?;
        }
        Ok(group)
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &GroupId {
        &self.id
    }

    /// This node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Its log.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    fn metrics(&self) -> RaftMetrics<u64, Member> {
        self.raft.metrics().borrow().clone()
    }

    /// Makes payloads an entry of the log. Answered when it is applied here.
    ///
    /// # Errors
    /// `Abandoned`; only `Unknown` may be stored after all.
    pub async fn propose(&self, proposal: Proposal) -> Result<(), Abandoned> {
        let _on_its_way = self.proposing.read().await;
        match self.raft.client_write(proposal).await {
            Ok(response) if response.data == Outcome::Applied => Ok(()),
            Ok(_) => {
                self.nudge.notify_one();
                Err(Abandoned::Stale)
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
                Err(Abandoned::NotLeader { leader: to.leader_id.zip(to.leader_node) })
            }
            Err(error) => Err(Abandoned::Unknown(error.to_string())),
        }
    }

    /// Whether this node accepts appends, as far as Raft knows; its machine knows exactly.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        let metrics = self.metrics();
        match leader_of(&metrics) {
            Some((node, _)) if node == self.node => Leadership::Leads,
            leader => Leadership::Follows { leader },
        }
    }

    /// Whether its machine takes by now what a leader takes, if this node is one.
    #[must_use]
    pub fn takes(&self) -> bool {
        self.state.machine().takes()
    }

    /// Everything that was acknowledged before this call, by whoever, is applied here when it returns: a quorum has answered in between
    /// that this node leads.
    ///
    /// # Errors
    /// It does not lead, or no quorum answers: ask the leader.
    pub async fn confirm(&self) -> Result<(), GroupError> {
        let came = self.confirming.begun.load(Ordering::SeqCst);
        let _turn = self.confirming.turn.lock().await;
        if self.confirming.confirmed.load(Ordering::SeqCst) > came {
            return Ok(());
        }
        let round = self.confirming.begun.fetch_add(1, Ordering::SeqCst) + 1;
        match self.raft.ensure_linearizable().await {
            Ok(_) => {
                self.confirming.confirmed.store(round, Ordering::SeqCst);
                Ok(())
            }
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to))) => {
                Err(GroupError::NotLeader { leader: to.leader_id.zip(to.leader_node) })
            }
            Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
                Err(GroupError::NotLeader { leader: None })
            }
            Err(RaftError::Fatal(error)) => Err(GroupError::Stopped(error.to_string())),
        }
    }

    /// Where a read on another member must be to see everything that was acknowledged before this call.
    ///
    /// # Errors
    /// As [`confirm`](Self::confirm).
    pub async fn read_index(&self) -> Result<ReadIndex, GroupError> {
        // first: what is applied when the quorum has answered holds everything up to it
        let closed = self.state.machine().close();
        self.confirm().await?;
        Ok(ReadIndex { number: self.applied().unwrap_or(0), closed })
    }

    /// Waits until this entry is applied here.
    ///
    /// # Errors
    /// It is not in time, or the group has stopped.
    pub async fn reached(&self, number: u64, within: Duration) -> Result<(), GroupError> {
        let wait = self.raft.wait(Some(within));
        wait.applied_index_at_least(Some(number), "a read elsewhere")
            .await
            .map(drop)
            .map_err(|error| GroupError::Refused(error.to_string()))
    }

    /// The machine is told anew whether this node leads: it may not have been ready to when it heard it.
    pub fn tell_again(&self) {
        self.nudge.notify_one();
    }

    /// The group as this node sees it.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        let replicated = metrics.replication.iter().flatten();
        let changed_by = metrics.membership_config.log_id().as_ref().map(|id| id.index);
        GroupStatus {
            term: metrics.current_term,
            leader: leader_of(&metrics),
            last: metrics.last_log_index,
            applied: metrics.last_applied.map(|id| id.index),
            purged: metrics.purged.map(|id| id.index),
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            is_joint: membership.get_joint_config().len() > 1,
            is_changing: changed_by > metrics.last_applied.map(|id| id.index),
            replicated: replicated.map(|(node, through)| (*node, through.map(|id| id.index))).collect(),
            silent: if metrics.replication.is_some() { self.contacts.silent() } else { BTreeMap::new() },
        }
    }

    /// Carries out a call of member `from`, which speaks for itself alone: what it asks in another's name would make that one lead.
    ///
    /// # Errors
    /// The body is none, it speaks for another, or the group has stopped here.
    pub async fn serve(&self, from: NodeId, rpc: Rpc, body: SharedBytes) -> Result<SharedBytes, ServeError> {
        let unreadable = |error: codec::CodecError| ServeError::Unreadable(error.0);
        let own = |vote: &openraft::Vote<u64>| {
            let of = vote.leader_id.node_id;
            if of == from { Ok(()) } else { Err(ServeError::Impersonates { from, of }) }
        };
        match rpc {
            Rpc::Append => {
                let request = codec::append_request_of(&body).map_err(unreadable)?;
                own(&request.vote)?;
                let answer = self.raft.append_entries(request).await.map_err(|e| self.stopped(&e))?;
                if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                    self.health.is_led();
                    if self.rests.swap(false, Ordering::SeqCst) {
                        self.raft.runtime_config().elect(true);
                    }
                }
                Ok(codec::append_answer(&answer))
            }
            Rpc::Vote => {
                let request = codec::vote_request_of(&body).map_err(unreadable)?;
                own(&request.vote)?;
                let answer = self.raft.vote(request).await.map_err(|e| self.stopped(&e))?;
                Ok(codec::vote_answer(&answer))
            }
            Rpc::Snapshot => {
                let (vote, meta, pointer) = codec::snapshot_request_of(&body).map_err(unreadable)?;
                own(&vote)?;
                self.storage.expect(place(&meta, &pointer));
                let snapshot = openraft::Snapshot { meta, snapshot: Box::new(pointer) };
                let answer = self.raft.install_full_snapshot(vote, snapshot).await.map_err(|e| self.stopped(&e))?;
                Ok(codec::snapshot_answer(&answer.vote))
            }
        }
    }

    /// Whether a node belongs to it, voter or not, as its log here says (committed or not).
    #[must_use]
    pub fn has_member(&self, node: NodeId) -> bool {
        self.raft.metrics().borrow().membership_config.membership().get_node(&node).is_some()
    }

    /// Whether nobody belongs to it yet, as far as its log here says: this node joins.
    #[must_use]
    pub fn has_no_members(&self) -> bool {
        self.raft.metrics().borrow().membership_config.membership().nodes().next().is_none()
    }

    /// Who belongs to it, and where.
    #[must_use]
    pub fn members(&self) -> BTreeMap<NodeId, Member> {
        let metrics = self.metrics();
        metrics.membership_config.membership().nodes().map(|(node, member)| (*node, member.clone())).collect()
    }

    fn stopped(&self, error: &impl std::fmt::Display) -> ServeError {
        ServeError::Stopped { group: self.id.clone(), why: error.to_string() }
    }

    /// This node asks for votes now instead of after a time-out: the way to hand leadership over.
    ///
    /// # Errors
    /// The group has stopped.
    pub async fn elect(&self) -> Result<(), GroupError> {
        self.raft.trigger().elect().await.map_err(|e| GroupError::Stopped(e.to_string()))
    }

    /// Nobody finds the group on this node from now on. A voter that was taken away may not have heard of it: it would ask for votes for ever, in terms
    /// that end the leadership of whoever finds it again. It asks for none before that.
    pub fn rests(&self) {
        self.rests.store(true, Ordering::SeqCst);
        self.raft.runtime_config().elect(false);
    }

    /// It is found again: it has some time until its leader does.
    pub fn is_back(&self) {
        self.health.is_led();
    }

    /// Something is elsewhere now: makes a snapshot that points to it, and purges segments that are wholly below it and older than
    /// `older_than`. `through`: what the machine would point to, at least.
    ///
    /// # Errors
    /// The group has stopped.
    pub async fn compacted(&self, through: LogIndex, older_than: Micros) -> Result<(), GroupError> {
        let stopped = |e: Fatal<u64>| GroupError::Stopped(e.to_string());
        let first = self.storage.view().load().first_index();
        if through <= first {
            return Ok(());
        }
        self.raft.trigger().snapshot().await.map_err(stopped)?;
        let trimmable = self.storage.with_writer(|writer| writer.trimmable_through(through, older_than));
        let Some(last) = trimmable else { return Ok(()) };
        // nothing is purged above the snapshot, and that is made beside everything else; what does not become true in time is tried
        // again after the next compaction
        let mut metrics = self.raft.metrics();
        let made = metrics.wait_for(|now| now.snapshot.is_some_and(|snapshot| snapshot.index >= last.number));
        if tokio::time::timeout(SNAPSHOT_WAIT, made).await.is_ok_and(|made| made.is_ok()) {
            self.raft.trigger().purge_log(last.number).await.map_err(stopped)?;
        }
        Ok(())
    }

    /// Segments that are wholly applied go, once the machine has kept its state: for a machine that keeps it by itself.
    ///
    /// # Errors
    /// The group has stopped.
    pub async fn trim_applied(&self) -> Result<(), GroupError> {
        let (Some(applied), any_age) = (self.state.applied(), Micros(i64::MAX)) else { return Ok(()) };
        let trimmable = self.storage.with_writer(|writer| writer.trimmable_through(applied.index, any_age));
        if trimmable.is_some() { self.compacted(applied.index, any_age).await } else { Ok(()) }
    }

    /// For how long this node has known of no leader that is alive: it heard none, or leads and no quorum answers.
    #[must_use]
    pub fn leaderless(&self) -> Duration {
        self.health.leaderless()
    }

    /// Why the group has ended on this node although nobody stopped it; it takes no part until the node starts again.
    #[must_use]
    pub fn ended(&self) -> Option<Arc<str>> {
        self.health.ended()
    }

    /// For how long each member that this node asks as a leader has not answered.
    #[must_use]
    pub fn silent(&self) -> BTreeMap<NodeId, Duration> {
        self.contacts.silent()
    }

    /// Waits until this node leads, as far as Raft knows.
    pub async fn wins(&self, within: Duration) -> bool {
        self.is_led_by(self.node, within).await
    }

    /// Waits until a node leads, as far as Raft knows here.
    pub async fn is_led_by(&self, node: NodeId, within: Duration) -> bool {
        let wait = self.raft.wait(Some(within));
        wait.metrics(move |now| now.current_leader == Some(node), "it was asked to lead").await.is_ok()
    }

    /// The members hear from their leader now instead of at the next heartbeat.
    pub async fn heartbeat(&self) {
        // a group that has stopped says nothing
        let _ = self.raft.trigger().heartbeat().await;
    }

    /// The last entry that was applied here, by number.
    #[must_use]
    pub fn applied(&self) -> Option<u64> {
        self.state.applied().map(|id| id.number)
    }

    /// Stops the group as a process that ends at once: nothing more is written, and no disk waited for.
    pub async fn abort(&self) {
        self.health.stops();
        self.storage.give_up();
        let _ = self.raft.shutdown().await;
    }

    /// Stops the group on this node, also where its disk is full. What was proposed and not answered has an unknown outcome.
    pub async fn stop(&self) {
        self.health.stops();
        let stopping = self.raft.shutdown();
        tokio::pin!(stopping);
        let stopped = if let Ok(stopped) = tokio::time::timeout(DISK_WITHIN, &mut stopping).await {
            stopped
        } else {
            let waited = DISK_WITHIN.as_secs();
            tracing::warn!(
                group = %self.id,
                "the disk of its log has taken nothing for {waited} seconds, and is not waited for: make room before the next start"
            );
            self.storage.give_up();
            stopping.await
        };
        if let Err(error) = stopped {
            tracing::warn!(group = %self.id, "the group did not stop in order: {error}");
        }
        let marked = self.storage.mark(true).await;
        match (marked, self.health.ended()) {
            (Ok(()), _) => {}
            // what the storage says of its disk is only what came of that
            (Err(_), Some(why)) => {
                tracing::warn!(group = %self.id, "the log was not closed in order, it had ended before: {why}")
            }
            (Err(error), None) => tracing::warn!(group = %self.id, "the log was not closed in order: {error}"),
        }
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group({} on node {})", self.id, self.node)
    }
}

pub(crate) fn changed(error: &RaftError<u64, ClientWriteError<u64, Member>>) -> GroupError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
            GroupError::NotLeader { leader: to.leader_id.zip(to.leader_node.clone()) }
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(e)) => GroupError::Refused(e.to_string()),
        RaftError::Fatal(e) => GroupError::Stopped(e.to_string()),
    }
}

fn config(id: &GroupId, node: NodeId) -> Config {
    let earliest = ELECTION_MIN_MS + ELECTION_STEP_MS * (node.saturating_sub(1) % ELECTION_PARTS);
    Config {
        cluster_name: id.to_string(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: earliest,
        election_timeout_max: earliest + ELECTION_SPREAD_MS,
        snapshot_policy: SnapshotPolicy::Never,
        // purged by trimming only
        max_in_snapshot_log_to_keep: u64::MAX,
        ..Config::default()
    }
}

/// Until the engine has said for the first time what it is: before, its metrics name nobody, which looks like a log that is empty.
async fn first_word(raft: &Raft<Types>) -> Result<(), String> {
    let mut metrics = raft.metrics();
    metrics.changed().await.map_err(|_| "its engine has ended".to_owned())?;
    let said = metrics.borrow().running_state.clone();
    said.map_err(|fatal| fatal.to_string())
}

/// What the machine holds already, and the membership as of then. A log that ends below it goes on behind it.
async fn open_state(storage: &Storage, machine: &Arc<dyn Machine>) -> Result<StateMachine, String> {
    let applied = machine.opened_through();
    if let Some(applied) = applied {
        let (next, purged) = storage.with_writer(|writer| (writer.next_number(), writer.purged_entry()));
        let through = convert::last_of(applied);
        let lacks = next <= applied.number || !storage.holds(through);
        if lacks && purged.is_none_or(|purged| purged.number < applied.number) {
            let snapshot = Snapshot { through, membership: machine.opened_members() };
            storage.purge_through(snapshot).await.map_err(|e| e.to_string())?;
        }
    }
    let membership = match applied {
        None => openraft::StoredMembership::default(),
        Some(applied) => membership_as_of(storage, applied.number)?,
    };
    Ok(StateMachine::new(Arc::clone(machine), storage.clone(), applied, membership))
}

fn membership_as_of(storage: &Storage, number: u64) -> Result<openraft::StoredMembership<u64, Member>, String> {
    let now = storage.with_writer(|writer| writer.membership_entry());
    let (membership, set_by) = match now {
        Some((membership, set_by)) if set_by.number <= number => (membership, set_by),
        _ => {
            let view = storage.with_writer(LogWriter::view).load();
            match LogView::membership_as_of(&view, number).map_err(|e| e.to_string())? {
                Some(found) => found,
                None => return Ok(openraft::StoredMembership::default()),
            }
        }
    };
    Ok(convert::stored_membership(&membership, set_by))
}
