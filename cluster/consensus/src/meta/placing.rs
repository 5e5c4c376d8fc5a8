//! Where replicas go. Who votes, by one rule, the same on every node: whoever has fewest of the kind, then the smaller number. Who follows a log in
//! which it has no vote says the state ([`Followers`]):
//!
//! | a member | `All` | `Needed` | `Fewest` |
//! |---|---|---|---|
//! | with the role `read` or `compact` | follows | follows | follows |
//! | that votes in the meta group, or may still | follows | follows | follows, unless the store is spared: whoever leads that group gives events to named subscriptions and keeps command ids apart, both of which take every log of the store, at once where it was just elected; a store without either needs none there |
//! | that is named to compact the store | follows | follows | follows: it reads the log, also one that stands in, and is asked about all logs of the store where the one that leads the meta group lacks some |
//! | with `ingest` alone, and none of these | follows | has no replica | has no replica |
//!
//! | and | |
//! |---|---|
//! | the meta group | all members follow it, by either rule |
//! | a node that is drained, removed or still joining | follows nothing |
//! | a node that votes no more | may vote until the group's leader says otherwise (`leaving`): till then it has a replica |
//!
//! It counts nothing but replicas: not bytes, not load. Moves between nodes that have theirs are the operator's wish.

use super::state::MetaState;
use super::types::{Followers, GroupId, NodeEntry, NodeId, NodeState, Placement, Roles};
use std::collections::{BTreeMap, BTreeSet};

/// Voters of the meta group, however few replicas logs have.
const META_VOTERS: usize = 3;

/// How many voters each node has.
pub(super) type Load = BTreeMap<NodeId, usize>;

impl MetaState {
    fn nodes_that(&self, wanted: impl Fn(Roles) -> bool) -> BTreeSet<NodeId> {
        let fits = |entry: &&NodeEntry| entry.state == NodeState::Member && wanted(entry.facts.roles);
        self.nodes.values().filter(fits).map(|entry| entry.facts.id).collect()
    }

    /// Nodes whose replicas may vote.
    pub(super) fn eligible(&self) -> BTreeSet<NodeId> {
        self.nodes_that(|roles| roles.ingest)
    }

    /// Who follows the logs in which it has no vote.
    pub(super) fn followers(&self) -> Followers {
        self.cluster.as_ref().map_or(Followers::All, |cluster| cluster.followers)
    }

    /// Voters that a group shall have, if there are nodes enough.
    pub(super) fn wanted(&self, group: &GroupId) -> usize {
        let replication = self.cluster.as_ref().map_or(1, |cluster| usize::from(cluster.replication));
        if *group == GroupId::Meta { replication.max(META_VOTERS) } else { replication }
    }

    /// Voters of logs by node.
    pub(super) fn load(&self) -> Load {
        let mut load = Load::new();
        for (group, placement) in &self.groups {
            if *group != GroupId::Meta {
                placement.voters.iter().for_each(|node| *load.entry(*node).or_default() += 1);
            }
        }
        load
    }

    /// Fills every group up with voters, gives every group its learners, and takes stores away from nodes that may not compact them any more.
    /// `index`: of the command.
    pub(super) fn settle_in(&mut self, index: u64) {
        // first: who compacts a store follows its logs
        let compactors = self.nodes_that(Roles::may_compact);
        for store in self.stores.values_mut() {
            if store.compactor.is_some_and(|node| !compactors.contains(&node)) {
                (store.compactor, store.compactor_epoch) = (None, index);
            }
        }
        let (eligible, mut load) = (self.eligible(), self.load());
        let members = self.nodes_that(|_| true);
        let follow = match self.followers() {
            Followers::All => members.clone(),
            Followers::Needed | Followers::Fewest => self.nodes_that(|roles| roles.read || roles.compact),
        };
        let mut may_lead = BTreeSet::new();
        let mut groups = std::mem::take(&mut self.groups);
        for (group, placement) in &mut groups {
            let before = placement.clone();
            fill(placement, &eligible, self.wanted(group), &mut load);
            let mut learners = match group {
                GroupId::Meta => members.clone(),
                GroupId::Log { .. } => follow.clone(),
            };
            if let GroupId::Log { store, .. } = group {
                learners.extend(self.compactor(store));
                if !self.is_spared(store) {
                    learners.extend(may_lead.iter().copied());
                }
            }
            placement.learners = learners.difference(&placement.voters).copied().collect();
            changed(&before, placement, index);
            // the first of all groups
            if *group == GroupId::Meta {
                may_lead.extend(members.iter().copied().filter(|node| placement.holds(*node)));
            }
        }
        self.groups = groups;
    }

    /// Takes a voter of a group away and puts another one in its place, the best of those that may vote where none is named.
    /// `false`: there is nobody.
    pub(super) fn swap(
        &mut self,
        group: &GroupId,
        from: NodeId,
        wanted: Option<NodeId>,
        load: &mut Load,
        index: u64,
    ) -> bool {
        let eligible = self.eligible();
        let Some(placement) = self.groups.get_mut(group) else { return false };
        let free = |node: &NodeId| !placement.voters.contains(node) && *node != from;
        let to = wanted.filter(free).or_else(|| least(eligible.iter().copied().filter(free), load));
        let before = placement.clone();
        placement.voters.remove(&from);
        if let Some(to) = to {
            placement.voters.insert(to);
            *load.entry(to).or_default() += 1;
        }
        if placement.leads == Some(from) {
            // who takes its place by name leads in its place too
            placement.leads = to.filter(|to| wanted == Some(*to));
        }
        changed(&before, placement, index);
        to.is_some()
    }

    /// Takes voters away where a group has more than wanted: of those that have most, the larger number first.
    pub(super) fn shrink(&mut self, index: u64) {
        let mut load = self.load();
        let mut groups = std::mem::take(&mut self.groups);
        for (group, placement) in &mut groups {
            let (before, wanted) = (placement.clone(), self.wanted(group));
            while placement.voters.len() > wanted {
                let most = placement.voters.iter().copied().max_by_key(|node| (load.get(node).copied(), *node));
                let Some(node) = most else { break };
                placement.voters.remove(&node);
                load.entry(node).and_modify(|count| *count = count.saturating_sub(1));
            }
            changed(&before, placement, index);
        }
        self.groups = groups;
    }
}

fn least(nodes: impl Iterator<Item = NodeId>, load: &Load) -> Option<NodeId> {
    nodes.min_by_key(|node| (load.get(node).copied().unwrap_or(0), *node))
}

/// Adds voters while there are fewer than wanted and somebody may vote.
pub(super) fn fill(placement: &mut Placement, eligible: &BTreeSet<NodeId>, wanted: usize, load: &mut Load) {
    while placement.voters.len() < wanted {
        let Some(node) = least(eligible.difference(&placement.voters).copied(), load) else { return };
        placement.voters.insert(node);
        *load.entry(node).or_default() += 1;
    }
}

/// The voter that makes a group: the leader of the meta group, which runs, if it is one; else the first that is not away, or the first of all.
pub(super) fn founder(voters: &BTreeSet<NodeId>, leader: NodeId, away: &BTreeSet<NodeId>) -> Option<NodeId> {
    let first = || voters.difference(away).next().or(voters.first());
    voters.get(&leader).or_else(first).copied()
}

/// Marks a placement whose replicas are others now: voters that went may still vote until its leader says otherwise, and shall not lead.
fn changed(before: &Placement, placement: &mut Placement, index: u64) {
    if before.voters != placement.voters {
        placement.leaving.extend(before.voters.iter().copied());
    }
    placement.leaving.retain(|node| !placement.voters.contains(node));
    placement.learners.retain(|node| !placement.voters.contains(node));
    placement.leads = placement.leads.filter(|node| placement.voters.contains(node));
    if before.voters != placement.voters || before.learners != placement.learners {
        placement.epoch = index;
    }
}
