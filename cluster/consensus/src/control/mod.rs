//! The cluster as one node takes part in it: the meta group here, joining, and what steers groups to where they shall be.
//!
//! ```text
//!  operator, router ──> Control::propose ──> leader of the meta group ──> MetaMachine (every node) ──> watch
//!  other nodes ──> Hear: Join, Prove, Propose, State                                                     │
//!  leader of a group ──> steer: its members, as the placement says, then `Settled`  <────────────────────┤
//!  leader of the meta group ──> compacting: who compacts each store, by who answers  <───────────────────┘
//! ```
//!
//! It refuses to know HTTP, actors and how a store's log is opened. Random bits and the time come from outside.

mod admitting;
mod ask;
mod commands;
mod compacting;
#[cfg(test)]
mod fixtures;
mod founding;
mod hand_over;
mod health;
mod hear;
mod helping;
mod holding;
mod joining;
mod kept;
mod lacking;
mod leading;
mod lives;
mod looking;
mod machine;
mod open;
mod outcome;
mod places;
mod projections;
mod propose;
mod removing;
mod steer;
mod unmade;

pub use commands::KeepsCommands;
pub use health::{AWAY, LEADERLESS, Troubles};
pub use helping::{Helps, taker};
pub use joining::{JoinError, admit, ask_to_join, enter, prove_offer};
pub use kept::{Keep, KeptError};
pub use lives::{Life, Running, Said, count_is_gone, heard_running, most_heard, older_copy, tell_lives};
pub use looking::Looks;
pub use machine::MetaMachine;
pub use open::{LookedMeta, MetaParts, OpenMetaError, SEGMENT_BYTES, look_at_meta, open_meta};
pub use outcome::{ControlError, Proposed};
pub use places::{OpenedPlace, Places, StatementPlaces};
pub use projections::{HELD, Progress, Seen, TellsProgress};
pub use steer::{Steered, steer};

use crate::group::{Group, GroupError, GroupStatus};
use crate::groups::Groups;
use crate::meta::{MetaState, NodeEntry, NodeState};
use crate::net::{Asker, Identity, NetTransport};
use crate::stop::told;
use crate::transport::{GroupId, Member, NodeId};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use strandline_durable::objects::NodeProbe;
use strandline_wal::LeaderId;
use tokio::sync::watch;
use tokio::time::timeout;

/// Time that a command of the meta group gets, elections included.
pub const PROPOSE_WITHIN: Duration = Duration::from_secs(10);
/// How often a leader looks at its members while nothing changes.
const STEER_EVERY: Duration = Duration::from_secs(1);

/// Time of one step: a member that does not answer must not hold the other groups up.
const STEER_WITHIN: Duration = Duration::from_secs(5);
/// Whoever is at an address.
const ANY: NodeId = 0;

/// Random bits.
pub type Entropy = Arc<dyn Fn() -> u128 + Send + Sync>;

/// What a node takes part with.
pub struct ControlParts {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// Its groups; the meta group is one of them.
    pub groups: Arc<Groups>,
    /// The meta group.
    pub meta: Arc<Group>,
    /// Its state.
    pub machine: Arc<MetaMachine>,
    /// The way to other nodes.
    pub transport: Arc<NetTransport>,
    /// Opens durable.path of stores.
    pub places: Arc<dyn Places>,
    /// Random bits.
    pub entropy: Entropy,
    /// The time, for headers of frames.
    pub clock: crate::storage::Clock,
}

/// A node's part in the cluster. Cloning shares it.
#[derive(Clone)]
pub struct Control {
    parts: Arc<ControlParts>,
    /// One command is on its way from here.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Probes that joining nodes were offered.
    offers: Arc<Mutex<HashMap<NodeId, Vec<NodeProbe>>>>,
    /// Addresses as the state said them last.
    said: Arc<Mutex<HashMap<NodeId, String>>>,
    /// Whom changes of members wait for.
    waits: Arc<Mutex<BTreeMap<GroupId, Waits>>>,
    /// Another node has said that this one is no member any more.
    removed: Arc<Mutex<bool>>,
    /// Why this node takes no part any more: it lacks what it had acknowledged.
    lost: Arc<Mutex<Option<Arc<str>>>>,
    /// Since when this node leads groups, and which it has let others lead.
    turns: Arc<leading::Turns>,
    /// What members have said of nodes that this one does not know.
    vouched: Arc<admitting::Vouched>,
    /// How stores of this node look for what others have committed.
    lookers: Arc<looking::Lookers>,
    /// How far the folders of other nodes count.
    lives: Arc<lives::Lives>,
    /// How stores of this node do a part of what another one compacts.
    helpers: Arc<helping::Helpers>,
    /// How stores of this node keep command ids apart.
    keepers: Arc<commands::Keepers>,
    /// How stores of this node tell how far sync subscriptions are.
    projections: Arc<projections::Projections>,
    /// Where somebody may be who knows more, should all addresses be others by now.
    hint: Arc<Mutex<Option<String>>>,
    /// Questions about logs that are not here: voters take turns.
    asks: Arc<AtomicUsize>,
}

/// Whom a change of a group's members waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waits {
    /// The node.
    pub node: NodeId,
    /// What it lacks.
    pub why: String,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("identity", &self.parts.identity).finish_non_exhaustive()
    }
}

impl Control {
    /// Takes part; nothing runs yet but what is asked.
    #[must_use]
    pub fn new(parts: ControlParts) -> Self {
        let (turn, offers, said) = (Arc::default(), Arc::default(), Arc::default());
        let (waits, removed, lost, vouched, lives) =
            (Arc::default(), Arc::default(), Arc::default(), Arc::default(), Arc::default());
        let (lookers, helpers, keepers, hint, turns, asks) =
            (Arc::default(), Arc::default(), Arc::default(), Arc::default(), Arc::default(), Arc::default());
        let projections = Arc::default();
        Self {
            parts: Arc::new(parts),
            turn,
            offers,
            said,
            waits,
            removed,
            lost,
            turns,
            vouched,
            lookers,
            lives,
            helpers,
            keepers,
            projections,
            hint,
            asks,
        }
    }

    /// The state of the meta group, as far as it has been applied here.
    #[must_use]
    pub fn state(&self) -> MetaState {
        self.parts.machine.state()
    }

    /// What applies it, for who asks it for longer than the cluster runs.
    #[must_use]
    pub fn machine(&self) -> Arc<MetaMachine> {
        Arc::clone(&self.parts.machine)
    }

    /// Its state when it changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.parts.machine.watch()
    }

    /// This node's id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.parts.identity.node
    }

    /// The cluster's id; 0: none yet.
    #[must_use]
    pub fn cluster(&self) -> u128 {
        self.parts.identity.cluster()
    }

    /// A member may be at this address, whatever it was before: asked first while nobody is known to lead.
    pub fn may_be_at(&self, address: String) {
        *self.hint.lock() = Some(address);
    }

    /// That address, of whichever node.
    fn may_be(&self) -> Option<(NodeId, String)> {
        self.hint.lock().clone().map(|address| (ANY, address))
    }

    /// The node has joined by the member at this address: from now on it speaks as a member, and asks there while it has heard of no other.
    pub fn joined(&self, cluster: u128, by: &str) {
        self.may_be_at(by.to_owned());
        self.parts.identity.joined(cluster);
    }

    /// All groups of this node.
    #[must_use]
    pub fn groups(&self) -> &Arc<Groups> {
        &self.parts.groups
    }

    /// The way to other nodes.
    #[must_use]
    pub fn transport(&self) -> &Arc<NetTransport> {
        &self.parts.transport
    }

    /// The meta group as this node sees it.
    #[must_use]
    pub fn meta_status(&self) -> GroupStatus {
        self.parts.meta.status()
    }

    /// Looks at the state without a copy.
    pub fn with_state<T>(&self, look: impl FnOnce(&MetaState) -> T) -> T {
        self.parts.machine.with(look)
    }

    /// Whether this node leads the meta group, and has heard a quorum lately.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.parts.machine.next().is_some()
    }

    /// The leadership under which this node leads it, if it does: everything that was decided before has been applied here.
    #[must_use]
    pub fn office(&self) -> Option<LeaderId> {
        self.parts.machine.office()
    }

    /// Why the meta group does not go on here; `None`: it does.
    #[must_use]
    pub fn stuck(&self) -> Option<Arc<str>> {
        self.parts.machine.stuck()
    }

    /// Whether this node answers reads: it has the role, or has not heard of itself yet. One that is drained hears of no log before long.
    #[must_use]
    pub fn reads_here(&self) -> bool {
        self.with_state(|state| {
            let here = state.nodes().get(&self.node());
            here.is_none_or(|entry| entry.facts.roles.read && entry.state != NodeState::Draining)
        })
    }

    /// Whether this node is drained: what it has of logs may be all that it ever hears of them.
    #[must_use]
    pub fn drains(&self) -> bool {
        self.with_state(|state| state.drains(self.node()))
    }

    /// The other members with the role `read`, and where they serve HTTP.
    #[must_use]
    pub fn readers(&self) -> Vec<(NodeId, String)> {
        self.with_state(|state| {
            let reads = |entry: &&NodeEntry| {
                entry.state == NodeState::Member && entry.facts.roles.read && entry.facts.id != self.node()
            };
            let at = |entry: &NodeEntry| (entry.facts.id, entry.facts.addresses.http.clone());
            state.nodes().values().filter(reads).map(at).collect()
        })
    }

    /// Where a node is.
    #[must_use]
    pub fn entry(&self, node: NodeId) -> Option<NodeEntry> {
        self.state().nodes().get(&node).cloned()
    }

    /// Where a node listens for others, as far as anybody has said so.
    fn address_of(&self, node: NodeId) -> Option<String> {
        let known = self.entry(node).map(|entry| entry.facts.addresses.cluster);
        known.or_else(|| self.parts.transport.address(node))
    }

    /// Whom a change of this group's members waits for; known on its leader.
    #[must_use]
    pub fn waits_for(&self, group: &GroupId) -> Option<Waits> {
        self.waits.lock().get(group).cloned()
    }

    /// Steers the groups that this node leads and names who compacts until `stopped` says so, and looks whether it is still a member.
    pub async fn run(self, stopped: watch::Receiver<bool>) {
        tokio::join!(
            self.keep_steering(stopped.clone()),
            self.keep_telling(stopped.clone()),
            self.keep_compactors(stopped.clone()),
            self.keep_founders(stopped.clone()),
            self.look_whether_removed(stopped)
        );
    }

    async fn keep_steering(&self, stopped: watch::Receiver<bool>) {
        let round = || async {
            self.learn_addresses();
            self.steer_all().await;
            if let Err(error) = self.parts.meta.trim_applied().await {
                tracing::debug!("the log of the meta group is not cut off: {error}");
            }
        };
        self.keep_at(stopped, STEER_EVERY, round).await;
    }

    /// Beside the steering: a member that is told and does not answer must not hold up what the others wait for.
    async fn keep_telling(&self, stopped: watch::Receiver<bool>) {
        self.keep_at(stopped, STEER_EVERY, || self.tell_lacking()).await;
    }

    /// A round now, at each change of what the meta group says and every so often, until `stopped` says so.
    async fn keep_at<F: Future<Output = ()>>(
        &self,
        mut stopped: watch::Receiver<bool>,
        every: Duration,
        round: impl Fn() -> F,
    ) {
        let mut changed = self.watch();
        loop {
            changed.borrow_and_update();
            tokio::select! {
                () = round() => {}
                () = told(&mut stopped) => return,
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep(every) => {}
                () = told(&mut stopped) => return,
            }
        }
    }

    /// One round over the groups that this node leads.
    pub async fn steer_all(&self) {
        let (state, mut gathered) = (self.state(), Vec::new());
        for group in self.parts.groups.all() {
            let Some(placement) = state.groups().get(group.id()) else { continue };
            let steering = timeout(STEER_WITHIN, steer(&group, placement, &members(&state))).await;
            let late = || Err(GroupError::Refused("a member does not answer".to_owned()));
            let steered = steering.unwrap_or_else(|_| late());
            self.note_waiting(group.id(), &steered);
            self.turns.look(group.id(), steered != Ok(Steered::NotLeading));
            match steered {
                Ok(Steered::Reached) if !placement.is_settled() => {
                    let report = crate::meta::Command::Settled {
                        group: group.id().clone(),
                        epoch: placement.epoch,
                        voters: placement.voters.clone(),
                    };
                    if let Err(error) = self.propose(&report).await {
                        tracing::debug!(group = %group.id(), "not reported yet as settled: {error}");
                    }
                }
                Ok(Steered::Leaves { to }) => {
                    // with this node there may be more voters than elect the one that shall lead at once: then whoever leads lets it lead
                    let is_one_of_few = group.status().voters.len() <= leading::ONCE_OF_MAX;
                    let handed = if placement.leads == Some(to) && is_one_of_few {
                        self.hand_to(&group, to).await
                    } else {
                        self.hand_over(&group, to).await.map_err(|error| error.to_string())
                    };
                    if let Err(error) = handed {
                        tracing::debug!(group = %group.id(), to, "not handed over yet: {error}");
                    }
                }
                Ok(Steered::Yields { to }) => self.let_lead(&group, to, placement).await,
                Ok(Steered::Reached) => {
                    gathered.extend(self.gathers(&group, placement).map(|to| (Arc::clone(&group), to)));
                }
                Ok(_) => {}
                // a member that is not there yet, or another change under way: the next round tries again
                Err(error) => tracing::debug!(group = %group.id(), "its members are not as they shall be yet: {error}"),
            }
        }
        self.gather(&gathered).await;
    }

    /// Said once in the log for each node that a group waits for.
    fn note_waiting(&self, group: &GroupId, steered: &Result<Steered, GroupError>) {
        let mut waits = self.waits.lock();
        match steered {
            Ok(Steered::Waits { node, why }) => {
                let before = waits.insert(group.clone(), Waits { node: *node, why: why.clone() });
                if before.is_none_or(|before| before.node != *node) {
                    tracing::warn!(%group, node, "its members are not as they shall be before this node can be counted on: {why}");
                }
            }
            // it was said when it was tried
            Err(_) | Ok(Steered::Yields { .. }) => {}
            Ok(_) => drop(waits.remove(group)),
        }
    }

    /// Where nodes are, when the state says something else than before: a node that has moved may have told this one already, and its
    /// word counts until the state says it too.
    fn learn_addresses(&self) {
        let mut said = self.said.lock();
        for (id, entry) in self.state().nodes() {
            let address = &entry.facts.addresses.cluster;
            if entry.state == NodeState::Removed {
                self.parts.transport.forget(*id);
            } else if said.get(id) != Some(address) {
                self.parts.transport.learn(*id, address);
                said.insert(*id, address.clone());
            }
        }
    }

    /// A member that has moved is looked for there from now on: without it there may be no quorum that could say so. While nobody leads after
    /// a start the state names no members; then it believes what a node of its own log says of itself, which is only where it is asked.
    fn hear_address(&self, asker: Asker, command: &crate::meta::Command) {
        let crate::meta::Command::Readdress { node, instance, addresses } = command else { return };
        let is_itself = (asker.node, asker.instance) == (*node, *instance);
        let is_known = self.with_state(|state| match state.nodes().get(node) {
            Some(known) => known.facts.instance == *instance && known.state != NodeState::Removed,
            None => state.cluster().is_none(),
        });
        if is_itself && is_known && self.is_known(asker) {
            self.parts.transport.learn(*node, &addresses.cluster);
        }
    }

    /// Who leads the meta group and where it is, if it is another node.
    fn leader_elsewhere(&self) -> Option<(NodeId, String)> {
        let (node, member) = self.parts.meta.status().leader.filter(|(node, _)| *node != self.node())?;
        let known = self.entry(node).map(|entry| entry.facts.addresses.cluster);
        Some((node, known.or_else(|| self.parts.transport.address(node)).unwrap_or(member.address)))
    }
}

/// Where the nodes' cluster listeners are.
fn members(state: &MetaState) -> impl Fn(NodeId) -> Option<Member> + '_ {
    |node| {
        let entry = state.nodes().get(&node).filter(|entry| entry.state != NodeState::Removed)?;
        Some(Member { address: entry.facts.addresses.cluster.clone() })
    }
}

/// The meta group's name, for those who look it up.
pub const META: GroupId = GroupId::Meta;
