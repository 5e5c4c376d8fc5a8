//! The commands on nodes: how one joins, moves its address, gets other roles, drains, goes, and is replaced.

use super::limits;
use super::refusal::Refusal;
use super::state::{Applied, ClusterFacts, MetaState, Outcome, check_replication, text};
use super::types::{Addresses, Followers, GroupId, NodeEntry, NodeFacts, NodeId, NodeState, Placement, Roles};

impl MetaState {
    pub(super) fn create(&mut self, cluster: u128, replication: u8, node: &NodeFacts, index: u64) -> Applied {
        if let Some(known) = &self.cluster {
            let same =
                known.id == cluster && self.nodes.get(&node.id).is_some_and(|e| e.facts.instance == node.instance);
            return if same { Ok(Outcome::AsBefore) } else { Err(Refusal::OtherCluster) };
        }
        check_replication(replication)?;
        check_facts(node)?;
        if !node.roles.ingest {
            return Err(Refusal::NoIngest(node.id));
        }
        self.cluster = Some(ClusterFacts { id: cluster, replication, followers: Followers::All });
        self.nodes.insert(node.id, NodeEntry { facts: node.clone(), state: NodeState::Member });
        self.groups.insert(GroupId::Meta, Placement { epoch: index, ..Placement::default() });
        self.settle_in(index);
        Ok(Outcome::Changed)
    }

    pub(super) fn add_node(&mut self, facts: &NodeFacts) -> Applied {
        check_facts(facts)?;
        if let Some(known) = self.nodes.get(&facts.id) {
            if known.state == NodeState::Removed {
                return Err(Refusal::NodeRemoved(facts.id));
            }
            if known.facts.instance != facts.instance {
                return Err(Refusal::OtherInstance(facts.id));
            }
            if known.state != NodeState::Joining || known.facts == *facts {
                // one that takes part says where it is by `Readdress`
                return Ok(Outcome::AsBefore);
            }
        } else if self.live().count() >= limits::NODES_MAX {
            let remedy = "remove one that is not needed";
            return Err(Refusal::TooMany { what: "nodes", limit: limits::NODES_MAX, remedy });
        }
        self.check_address(facts.id, &facts.addresses)?;
        self.nodes.insert(facts.id, NodeEntry { facts: facts.clone(), state: NodeState::Joining });
        Ok(Outcome::Changed)
    }

    pub(super) fn admit(&mut self, node: NodeId, index: u64) -> Applied {
        match self.node(node)?.state {
            NodeState::Joining => {}
            NodeState::Member | NodeState::Draining => return Ok(Outcome::AsBefore),
            NodeState::Removed => return Err(Refusal::NodeRemoved(node)),
        }
        self.set_state(node, NodeState::Member);
        self.settle_in(index);
        Ok(Outcome::Changed)
    }

    pub(super) fn readdress(&mut self, node: NodeId, instance: u128, addresses: &Addresses) -> Applied {
        let known = self.node(node)?;
        if known.state == NodeState::Removed {
            return Err(Refusal::NodeRemoved(node));
        }
        if known.facts.instance != instance {
            return Err(Refusal::OtherInstance(node));
        }
        if known.facts.addresses == *addresses {
            return Ok(Outcome::AsBefore);
        }
        check_addresses(addresses)?;
        self.check_address(node, addresses)?;
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.facts.addresses = addresses.clone();
        }
        Ok(Outcome::Changed)
    }

    /// Where it votes no more, others vote in its place; where there is nobody who could, it stays what it was.
    pub(super) fn set_roles(&mut self, node: NodeId, instance: u128, roles: Roles, index: u64) -> Applied {
        let known = self.node(node)?;
        match known.state {
            NodeState::Member | NodeState::Draining => {}
            NodeState::Joining => return Err(Refusal::StillJoining(node)),
            NodeState::Removed => return Err(Refusal::NodeRemoved(node)),
        }
        if known.facts.instance != instance {
            return Err(Refusal::OtherInstance(node));
        }
        if known.facts.roles == roles {
            return Ok(Outcome::AsBefore);
        }
        let mut next = self.clone();
        if let Some(entry) = next.nodes.get_mut(&node) {
            entry.facts.roles = roles;
        }
        if roles.ingest {
            next.settle_in(index);
        } else {
            next.vacate(node, None, index)?;
        }
        *self = next;
        Ok(Outcome::Changed)
    }

    pub(super) fn drain(&mut self, node: NodeId, index: u64) -> Applied {
        match self.node(node)?.state {
            NodeState::Member => {}
            NodeState::Draining => return Ok(Outcome::AsBefore),
            NodeState::Joining => return Err(Refusal::StillJoining(node)),
            NodeState::Removed => return Err(Refusal::NodeRemoved(node)),
        }
        let mut next = self.clone();
        next.set_state(node, NodeState::Draining);
        next.vacate(node, None, index)?;
        *self = next;
        Ok(Outcome::Changed)
    }

    pub(super) fn undrain(&mut self, node: NodeId, index: u64) -> Applied {
        match self.node(node)?.state {
            NodeState::Draining => {}
            NodeState::Member => return Ok(Outcome::AsBefore),
            NodeState::Joining => return Err(Refusal::StillJoining(node)),
            NodeState::Removed => return Err(Refusal::NodeRemoved(node)),
        }
        self.set_state(node, NodeState::Member);
        self.settle_in(index);
        Ok(Outcome::Changed)
    }

    pub(super) fn remove(&mut self, node: NodeId) -> Applied {
        match self.node(node)?.state {
            NodeState::Draining | NodeState::Joining => {}
            NodeState::Removed => return Ok(Outcome::AsBefore),
            state @ NodeState::Member => {
                let remedy = "drain it first, or replace it if it is lost";
                return Err(Refusal::WrongState { node, state, remedy });
            }
        }
        let mut held = self.groups.iter().filter(|(_, placement)| placement.holds(node)).map(|(group, _)| group);
        if let Some(group) = held.next() {
            return Err(Refusal::HoldsReplicas { node, count: 1 + held.count(), group: group.clone() });
        }
        self.check_removed()?;
        self.set_state(node, NodeState::Removed);
        Ok(Outcome::Changed)
    }

    pub(super) fn replace(&mut self, lost: NodeId, with: NodeId, index: u64) -> Applied {
        let (lost_entry, _) = (self.node(lost)?, self.node(with)?);
        match lost_entry.state {
            NodeState::Removed => return Ok(Outcome::AsBefore),
            NodeState::Member | NodeState::Draining => {}
            state @ NodeState::Joining => {
                return Err(Refusal::WrongState { node: lost, state, remedy: "it holds nothing: remove it" });
            }
        }
        if lost == with {
            let remedy = "name another node to take its place";
            return Err(Refusal::WrongState { node: lost, state: lost_entry.state, remedy });
        }
        if lost_entry.facts.roles.ingest {
            self.check_voter(with)?;
        }
        self.check_removed()?;
        let mut next = self.clone();
        next.set_state(lost, NodeState::Removed);
        next.vacate(lost, Some(with), index)?;
        *self = next;
        Ok(Outcome::Changed)
    }

    /// Moves all voters away from a node that takes no part any more, to `to` where that is possible.
    fn vacate(&mut self, node: NodeId, to: Option<NodeId>, index: u64) -> Result<(), Refusal> {
        let held = self.groups.iter().filter(|(_, placement)| placement.voters.contains(&node));
        let held: Vec<GroupId> = held.map(|(group, _)| group.clone()).collect();
        let mut load = self.load();
        for group in held {
            let now = self.groups.get(&group).map_or(0, |placement| placement.voters.len());
            let moved = self.swap(&group, node, to, &mut load, index);
            // the meta group may become smaller, but it never goes away
            if !moved && (group != GroupId::Meta || now <= 1) {
                return Err(Refusal::TooFewVoters { group, now, left: now.saturating_sub(1) });
            }
        }
        self.settle_in(index);
        Ok(())
    }

    fn node(&self, node: NodeId) -> Result<&NodeEntry, Refusal> {
        self.nodes.get(&node).ok_or(Refusal::UnknownNode(node))
    }

    fn live(&self) -> impl Iterator<Item = &NodeEntry> {
        self.nodes.values().filter(|entry| entry.state != NodeState::Removed)
    }

    fn set_state(&mut self, node: NodeId, state: NodeState) {
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.state = state;
        }
    }

    /// Whether a replica on this node may vote.
    pub(super) fn check_voter(&self, node: NodeId) -> Result<(), Refusal> {
        let entry = self.node(node)?;
        match entry.state {
            NodeState::Member if entry.facts.roles.ingest => Ok(()),
            NodeState::Member => Err(Refusal::NoIngest(node)),
            NodeState::Joining => Err(Refusal::StillJoining(node)),
            state => Err(Refusal::WrongState { node, state, remedy: "choose a node that is a member" }),
        }
    }

    /// Whether a store may be given to this node to compact.
    pub(super) fn check_compactor(&self, node: NodeId) -> Result<(), Refusal> {
        let entry = self.node(node)?;
        match entry.state {
            NodeState::Member if entry.facts.roles.may_compact() => Ok(()),
            NodeState::Member => Err(Refusal::OnlyReads(node)),
            NodeState::Joining => Err(Refusal::StillJoining(node)),
            state => Err(Refusal::WrongState { node, state, remedy: "choose a node that is a member" }),
        }
    }

    fn check_removed(&self) -> Result<(), Refusal> {
        if self.nodes.len() - self.live().count() < limits::REMOVED_MAX {
            return Ok(());
        }
        let remedy = "move the stores to a new cluster";
        Err(Refusal::TooMany { what: "removed nodes", limit: limits::REMOVED_MAX, remedy })
    }

    fn check_address(&self, node: NodeId, addresses: &Addresses) -> Result<(), Refusal> {
        let other = |entry: &&NodeEntry| entry.facts.id != node && entry.facts.addresses.cluster == addresses.cluster;
        match self.live().find(other) {
            None => Ok(()),
            Some(taken) => Err(Refusal::AddressTaken { address: addresses.cluster.clone(), node: taken.facts.id }),
        }
    }
}

fn check_facts(facts: &NodeFacts) -> Result<(), Refusal> {
    if facts.id == 0 {
        return Err(Refusal::NodeZero);
    }
    check_addresses(&facts.addresses)
}

fn check_addresses(addresses: &Addresses) -> Result<(), Refusal> {
    let is_address = |text: &str| {
        let port =
            text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
        text.len() <= limits::TEXT_BYTES_MAX && port.is_some_and(|port| port != 0)
    };
    let all = [&addresses.cluster, &addresses.http, &addresses.native];
    for (i, address) in all.into_iter().enumerate() {
        // the native protocol may be off
        if !(is_address(address) || i == 2 && address.is_empty()) {
            return Err(text(address, "an address of a node", "write host:port, as other nodes and clients reach it"));
        }
    }
    Ok(())
}
