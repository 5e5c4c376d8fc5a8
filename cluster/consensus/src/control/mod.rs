//! The cluster as one node takes part in it: the meta group here, joining, and what steers groups to where they shall be.
//!
//! ```text
//!  operator, router ──> Control::propose ──> leader of the meta group ──> MetaMachine (every node) ──> watch
//!  other nodes ──> Hear: Join, Prove, Propose, State                                                     │
//!  leader of a group ──> steer: its members, as the placement says, then `Settled`  <────────────────────┘
//! ```
//!
//! It refuses to know HTTP, actors and how a store's log is opened. Random bits and the time come from outside.

mod ask;
mod hear;
mod joining;
mod machine;
mod open;
mod outcome;
mod places;
mod propose;
mod steer;

pub use joining::{JoinError, ask_to_join, enter};
pub use machine::MetaMachine;
pub use open::{MetaParts, OpenMetaError, open_meta};
pub use outcome::{ControlError, Proposed};
pub use places::{OpenedPlace, Places, StatementPlaces};
pub use steer::{Steered, steer};

use crate::group::{Group, GroupError, GroupStatus};
use crate::groups::Groups;
use crate::meta::{MetaState, NodeEntry, NodeState};
use crate::net::{Identity, NetTransport};
use crate::transport::{GroupId, Member, NodeId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use strandline_durable::objects::NodeProbe;
use tokio::sync::watch;
use tokio::time::timeout;

/// Time that a command of the meta group gets, elections included.
pub const PROPOSE_WITHIN: Duration = Duration::from_secs(10);
/// How often a leader looks at its members while nothing changes.
const STEER_EVERY: Duration = Duration::from_secs(1);

/// Time of one step: a member that does not answer must not hold the other groups up.
const STEER_WITHIN: Duration = Duration::from_secs(5);

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
        Self { parts: Arc::new(parts), turn: Arc::default(), offers: Arc::default(), said: Arc::default() }
    }

    /// The state of the meta group, as far as it has been applied here.
    #[must_use]
    pub fn state(&self) -> MetaState {
        self.parts.machine.state()
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

    /// The node has joined: from now on it speaks as a member.
    pub fn joined(&self, cluster: u128) {
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

    /// Why the meta group does not go on here; `None`: it does.
    #[must_use]
    pub fn stuck(&self) -> Option<Arc<str>> {
        self.parts.machine.stuck()
    }

    /// Where a node is.
    #[must_use]
    pub fn entry(&self, node: NodeId) -> Option<NodeEntry> {
        self.state().nodes().get(&node).cloned()
    }

    /// Steers the groups that this node leads until `stopped` says so.
    pub async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut changed = self.watch();
        loop {
            changed.borrow_and_update();
            self.learn_addresses();
            tokio::select! {
                () = self.steer_all() => {}
                () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => return,
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep(STEER_EVERY) => {}
                () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => return,
            }
        }
    }

    /// One round over the groups that this node leads.
    pub async fn steer_all(&self) {
        let state = self.state();
        for group in self.parts.groups.all() {
            let Some(placement) = state.groups().get(group.id()) else { continue };
            let steering = timeout(STEER_WITHIN, steer(&group, placement, &members(&state))).await;
            let late = || Err(GroupError::Refused("a member does not answer".to_owned()));
            match steering.unwrap_or_else(|_| late()) {
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
                Ok(_) => {}
                // a member that is not there yet, or another change under way: the next round tries again
                Err(error) => tracing::debug!(group = %group.id(), "its members are not as they shall be yet: {error}"),
            }
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

    /// A member that has moved is looked for there from now on: without it there may be no quorum that could say so.
    fn hear_address(&self, command: &crate::meta::Command) {
        if let crate::meta::Command::Readdress { node, instance, addresses } = command
            && self
                .entry(*node)
                .is_some_and(|known| known.facts.instance == *instance && known.state != NodeState::Removed)
        {
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
