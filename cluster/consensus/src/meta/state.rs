//! The state and the commands on stores, stream types and groups; those on nodes are in `nodes`.

use super::command::Command;
use super::limits;
use super::placing::{fill, founder};
use super::refusal::Refusal;
use super::types::{Followers, GroupId, NodeEntry, NodeId, NodeState, Office, Placement, StoreEntry, TypeEntry};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strandline_event::LogKey;
use strandline_wal::LeaderId;

/// What holds for the whole cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterFacts {
    /// Its id.
    pub id: u128,
    /// Voters that every log shall have.
    pub replication: u8,
    /// Who follows the logs in which it has no vote.
    pub followers: Followers,
}

/// What a command did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The state is another one.
    Changed,
    /// It was so already.
    AsBefore,
}

pub(super) type Applied = Result<Outcome, Refusal>;

/// The state of the meta group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MetaState {
    pub(super) applied: u64,
    pub(super) cluster: Option<ClusterFacts>,
    pub(super) nodes: BTreeMap<NodeId, NodeEntry>,
    pub(super) stores: BTreeMap<String, StoreEntry>,
    pub(super) groups: BTreeMap<GroupId, Placement>,
}

impl MetaState {
    /// Index of the last command that was applied.
    #[must_use]
    pub const fn applied(&self) -> u64 {
        self.applied
    }

    /// The cluster; none: nothing was created yet.
    #[must_use]
    pub const fn cluster(&self) -> Option<&ClusterFacts> {
        self.cluster.as_ref()
    }

    /// All nodes, removed ones too.
    #[must_use]
    pub const fn nodes(&self) -> &BTreeMap<NodeId, NodeEntry> {
        &self.nodes
    }

    /// All stores.
    #[must_use]
    pub const fn stores(&self) -> &BTreeMap<String, StoreEntry> {
        &self.stores
    }

    /// All groups, the meta group first.
    #[must_use]
    pub const fn groups(&self) -> &BTreeMap<GroupId, Placement> {
        &self.groups
    }

    /// The node that compacts a store, if one was named.
    #[must_use]
    pub fn compactor(&self, store: &str) -> Option<NodeId> {
        self.stores.get(store).and_then(|store| store.compactor)
    }

    /// How many buckets a stream type has; `None`: there is no such type.
    #[must_use]
    pub fn buckets_of(&self, store: &str, stream_type: &str) -> Option<u32> {
        self.stores.get(store)?.types.get(stream_type).map(|of| of.buckets)
    }

    /// Whether a stream type is there, or is not one too many of its store, each bucket counted as one. Who proposes one asks that: what is proposed
    /// is applied by all nodes alike, whatever their version.
    #[must_use]
    pub fn has_place(&self, store: &str, stream_type: &str, buckets: u32) -> bool {
        let Some(entry) = self.stores.get(store) else { return true };
        let logs: usize = entry.types.values().map(|of| of.buckets as usize).sum();
        let most = strandline_event::limits::STREAM_TYPES_MAX;
        entry.types.contains_key(stream_type) || logs + buckets as usize <= most
    }

    /// Whether a node takes part, and is not drained.
    #[must_use]
    pub fn is_member(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|entry| entry.state == NodeState::Member)
    }

    /// Whether it gives its votes to others, and goes.
    #[must_use]
    pub fn drains(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|entry| entry.state == NodeState::Draining)
    }

    /// Applies the command at this index of the log. A command at an index that was applied before changes nothing.
    ///
    /// # Errors
    /// [`Refusal`]: nothing has changed but [`Self::applied`].
    pub fn apply(&mut self, index: u64, command: &Command) -> Applied {
        self.apply_of(LeaderId::default(), index, command)
    }

    /// The same, of the leader that made the entry: it runs, so the groups that it registers begin with it.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn apply_of(&mut self, leader: LeaderId, index: u64, command: &Command) -> Applied {
        if index <= self.applied {
            return Ok(Outcome::AsBefore);
        }
        self.applied = index;
        if let Command::Create { cluster, replication, node } = command {
            return self.create(*cluster, *replication, node, index);
        }
        if self.cluster.is_none() {
            return Err(Refusal::NoCluster);
        }
        match command {
            Command::Create { .. } => Err(Refusal::OtherCluster),
            Command::DeclareStore { replaces, name, statement } => self.declare(*replaces, name, statement),
            Command::RegisterType { store, name, buckets, erasable, registered } => {
                let wanted = TypeEntry { buckets: *buckets, erasable: *erasable, registered: *registered };
                self.register((store, name), wanted, (leader.node, &BTreeSet::new()), index)
            }
            Command::RegisterWithout { store, name, buckets, erasable, registered, away } => {
                let wanted = TypeEntry { buckets: *buckets, erasable: *erasable, registered: *registered };
                self.register((store, name), wanted, (leader.node, away), index)
            }
            Command::AddNode(facts) => self.add_node(facts),
            Command::Admit(node) => self.admit(*node, index),
            Command::Readdress { node, instance, addresses } => self.readdress(*node, *instance, addresses),
            Command::Drain(node) => self.drain(*node, index),
            Command::Undrain(node) => self.undrain(*node, index),
            Command::Remove(node) => self.remove(*node),
            Command::Replace { lost, with } => self.replace(*lost, *with, index),
            Command::Move { group, from, to } => self.move_replica(group, *from, *to, index),
            Command::Lead { group, node } => self.lead(group, *node, index),
            Command::MoveLead { group, from, to } => self.move_lead(group, *from, *to, index),
            Command::Settled { group, epoch, voters } => self.settled(group, *epoch, voters, index),
            Command::SetReplication(replication) => self.set_replication(*replication, index),
            Command::SetRoles { node, instance, roles } => self.set_roles(*node, *instance, *roles, index),
            Command::Compact { store, node } => self.compact(store, *node, index),
            Command::Pause { store, paused } => self.pause(store, *paused),
            Command::Remember { store, owner, .. } if *owner != leader => Err(Refusal::NotLed { store: store.clone() }),
            Command::Remember { store, turn, entries, .. } => self.remember(store, *turn, entries, index),
            Command::Follow(followers) => self.follow(*followers, index),
            Command::Keep { store, keeps } => self.keep(store, *keeps, index),
            Command::Found { group, epoch, node } => self.found(group, *epoch, *node),
        }
    }

    fn declare(&mut self, replaces: u64, name: &str, statement: &str) -> Applied {
        let want = "1 to 128 letters, digits and `_`, not beginning with a digit";
        let fits = (1..=128).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if !fits {
            return Err(text(name, "the name of a store", want));
        }
        if statement.is_empty() || statement.len() > limits::STATEMENT_BYTES_MAX {
            return Err(text(statement, "a statement", "from 1 byte to 64 KiB"));
        }
        let version = self.stores.get(name).map_or(0, |store| store.version);
        if version > 0 && self.stores.get(name).is_some_and(|store| store.statement == statement) {
            return Ok(Outcome::AsBefore);
        }
        if version != replaces {
            return Err(Refusal::OtherVersion { store: name.to_owned(), version, given: replaces });
        }
        if version == 0 && self.stores.len() >= limits::STORES_MAX {
            let remedy = "declare it in another cluster";
            return Err(Refusal::TooMany { what: "stores", limit: limits::STORES_MAX, remedy });
        }
        let new = || StoreEntry {
            version: 0,
            statement: String::new(),
            compactor: None,
            compactor_epoch: 0,
            paused: false,
            remembered: BTreeMap::new(),
            remembered_turn: 0,
            office: Office::Unsaid,
            types: BTreeMap::new(),
        };
        let entry = self.stores.entry(name.to_owned()).or_insert_with(new);
        (entry.version, entry.statement) = (version + 1, statement.to_owned());
        Ok(Outcome::Changed)
    }

    /// `leader` made the entry, while some nodes were away.
    fn register(
        &mut self,
        (store, name): (&str, &str),
        wanted: TypeEntry,
        (leader, away): (NodeId, &BTreeSet<NodeId>),
        index: u64,
    ) -> Applied {
        let groups = self.groups.len();
        let Some(entry) = self.stores.get_mut(store) else { return Err(Refusal::UnknownStore(store.to_owned())) };
        if let Some(known) = entry.types.get_mut(name) {
            return known_type(known, &wanted).ok_or_else(|| {
                let buckets = known.buckets;
                Refusal::OtherType { store: store.to_owned(), name: name.to_owned(), buckets }
            });
        }
        if name.is_empty() || strandline_event::path_text_len(name) > strandline_event::limits::PATH_TEXT_BYTES_MAX {
            return Err(text(name, "the name of a stream type", "1 to 200 bytes when percent-encoded"));
        }
        if wanted.buckets == 0 || wanted.buckets > limits::BUCKETS_MAX {
            return Err(Refusal::Buckets(wanted.buckets));
        }
        if groups + wanted.buckets as usize > limits::GROUPS_MAX {
            let remedy = "use fewer stream types or fewer buckets";
            return Err(Refusal::TooMany { what: "groups", limit: limits::GROUPS_MAX, remedy });
        }
        let buckets = wanted.buckets;
        entry.types.insert(name.to_owned(), wanted);
        let (eligible, mut load) = (self.eligible(), self.load());
        let (store, stream_type): (Arc<str>, Arc<str>) = (Arc::from(store), Arc::from(name));
        for bucket in 0..buckets {
            let log = LogKey { stream_type: Arc::clone(&stream_type), bucket };
            let group = GroupId::Log { store: Arc::clone(&store), log };
            let mut placement = Placement { epoch: index, ..Placement::default() };
            fill(&mut placement, &eligible, self.wanted(&group), &mut load);
            placement.founder = founder(&placement.voters, leader, away);
            self.groups.insert(group, placement);
        }
        // learners
        self.settle_in(index);
        Ok(Outcome::Changed)
    }

    fn compact(&mut self, store: &str, node: NodeId, index: u64) -> Applied {
        self.check_compactor(node)?;
        let entry = self.stores.get_mut(store).ok_or_else(|| Refusal::UnknownStore(store.to_owned()))?;
        if entry.compactor == Some(node) {
            return Ok(Outcome::AsBefore);
        }
        (entry.compactor, entry.compactor_epoch) = (Some(node), index);
        if self.followers() != Followers::All {
            // it reads the logs
            self.settle_in(index);
        }
        Ok(Outcome::Changed)
    }

    fn pause(&mut self, store: &str, paused: bool) -> Applied {
        let entry = self.stores.get_mut(store).ok_or_else(|| Refusal::UnknownStore(store.to_owned()))?;
        let before = std::mem::replace(&mut entry.paused, paused);
        Ok(if before == paused { Outcome::AsBefore } else { Outcome::Changed })
    }

    fn settled(&mut self, group: &GroupId, epoch: u64, voters: &BTreeSet<NodeId>, index: u64) -> Applied {
        let placement = self.groups.get_mut(group).ok_or_else(|| Refusal::UnknownGroup(group.clone()))?;
        if epoch != placement.epoch || *voters != placement.voters {
            return Err(Refusal::StaleReport { group: group.clone(), epoch: placement.epoch });
        }
        if placement.is_settled() {
            return Ok(Outcome::AsBefore);
        }
        placement.settled_epoch = epoch;
        placement.leaving.clear();
        if *group == GroupId::Meta && self.followers() != Followers::All {
            // who could still lead it needs the logs no more
            self.settle_in(index);
        }
        Ok(Outcome::Changed)
    }

    fn set_replication(&mut self, replication: u8, index: u64) -> Applied {
        check_replication(replication)?;
        match &mut self.cluster {
            Some(cluster) if cluster.replication == replication => return Ok(Outcome::AsBefore),
            Some(cluster) => cluster.replication = replication,
            None => return Err(Refusal::NoCluster),
        }
        self.shrink(index);
        self.settle_in(index);
        Ok(Outcome::Changed)
    }

    fn follow(&mut self, followers: Followers, index: u64) -> Applied {
        match &mut self.cluster {
            Some(cluster) if cluster.followers == followers => return Ok(Outcome::AsBefore),
            Some(cluster) => cluster.followers = followers,
            None => return Err(Refusal::NoCluster),
        }
        // said of another rule
        self.stores.values_mut().for_each(|store| store.office = Office::Unsaid);
        self.settle_in(index);
        Ok(Outcome::Changed)
    }

    fn keep(&mut self, store: &str, keeps: bool, index: u64) -> Applied {
        let counts = self.followers() == Followers::Fewest;
        let entry = self.stores.get_mut(store).ok_or_else(|| Refusal::UnknownStore(store.to_owned()))?;
        let office = match entry.office {
            _ if !counts => Office::Unsaid,
            _ if keeps => Office::Kept,
            Office::Unsaid if entry.remembered.is_empty() => Office::Spared,
            office => office,
        };
        if office == entry.office {
            return Ok(Outcome::AsBefore);
        }
        entry.office = office;
        self.settle_in(index);
        Ok(Outcome::Changed)
    }

    /// What must always hold; the tests ask after every command.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<(), String> {
        for (group, placement) in &self.groups {
            let of = |what: &str| format!("{group}: {what}: {placement:?}");
            let live = |node: &NodeId| {
                let state = self.nodes.get(node).map(|entry| entry.state);
                matches!(state, Some(NodeState::Member | NodeState::Draining))
            };
            if placement.voters.is_empty() {
                return Err(of("no voter"));
            }
            if !placement.voters.iter().all(live) || !placement.learners.iter().all(live) {
                return Err(of("a replica on a node that takes no part"));
            }
            if placement.voters.intersection(&placement.learners).next().is_some() {
                return Err(of("a voter that is a learner"));
            }
            if placement.voters.intersection(&placement.leaving).next().is_some() {
                return Err(of("a voter that is leaving"));
            }
            if placement.leads.is_some_and(|node| !placement.voters.contains(&node)) {
                return Err(of("a node that shall lead and does not vote"));
            }
            if placement.settled_epoch > placement.epoch || placement.epoch > self.applied {
                return Err(of("an epoch that is not yet"));
            }
            if placement.is_settled() && !placement.leaving.is_empty() {
                return Err(of("settled, and a node is leaving"));
            }
            if placement.voters.len() > self.wanted(group) {
                return Err(of("more voters than wanted"));
            }
        }
        for (name, store) in &self.stores {
            if store.compactor.is_some_and(|node| self.check_compactor(node).is_err()) {
                return Err(format!("{name}: node {:?} compacts it, and may not", store.compactor));
            }
            let is_rule = self.followers() == Followers::Fewest;
            if store.office != Office::Unsaid && !is_rule
                || store.office == Office::Spared && !store.remembered.is_empty()
            {
                return Err(format!("{name}: {:?}, with {} subscriptions", store.office, store.remembered.len()));
            }
        }
        let mut again = self.clone();
        again.settle_in(self.applied);
        if again != *self {
            return Err(format!("the rules place it otherwise: {:?}", again.groups));
        }
        let named: usize = self.stores.values().flat_map(|s| s.types.values()).map(|t| t.buckets as usize).sum();
        if self.cluster.is_some() && named + 1 != self.groups.len() {
            return Err(format!("{named} parts of stream types, {} groups", self.groups.len()));
        }
        Ok(())
    }
}

/// `None`: it is registered otherwise.
fn known_type(known: &mut TypeEntry, wanted: &TypeEntry) -> Option<Outcome> {
    if !wanted.registered {
        // an append to a stream type that is there
        return Some(Outcome::AsBefore);
    }
    let fits = known.buckets == wanted.buckets && known.erasable == wanted.erasable;
    if !fits || known.registered {
        return fits.then_some(Outcome::AsBefore);
    }
    known.registered = true;
    Some(Outcome::Changed)
}

pub(super) fn check_replication(replication: u8) -> Result<(), Refusal> {
    if (1..=limits::REPLICATION_MAX).contains(&replication) { Ok(()) } else { Err(Refusal::Replication(replication)) }
}

/// A text that cannot be what it is given for.
pub(super) fn text(given: &str, what: &'static str, want: &'static str) -> Refusal {
    Refusal::Text { text: given.chars().take(64).collect(), what, want }
}
