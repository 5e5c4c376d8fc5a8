//! Which node compacts a store. The leader of the meta group says so in a command that every node applies, by who answers it.
//!
//! | rank | a node | |
//! |---|---|---|
//! | 0 | with `compact` and without `ingest` | a compactor |
//! | 1 | with both, that does not lead the meta group | a follower, as a rule of all logs |
//! | 2 | with both, that leads it | |
//! | 3, 4 | with `ingest` alone, that votes in the meta group and does not lead it, or leads it | stands in: a log that nobody compacts fills its disk. It may have the logs already |
//! | 5 | with `ingest` alone, that does not vote there | stands in, and may have to get the logs first |
//! | never | that only reads | |
//!
//! A store stays where it is until its node has been silent for a while, or one of a better rank answers. Of several of one rank the one with
//! fewest stores gets it: so a store has one compactor at a time, and several compactors share the stores (and the work of each:
//! `helping.rs`). It refuses to judge whether a node really compacts: who is named claims the manifest, which fences whoever did before.

use super::Control;
use super::health::AWAY;
use crate::meta::{Command, MetaState, NodeEntry, NodeState, Roles};
use crate::transport::{GroupId, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::watch;

/// A node that compacts and has been silent for so long is replaced: longer than it takes to start again.
pub(super) const GONE: Duration = Duration::from_secs(5);
/// How often a leader looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the leader of the meta group knows of the nodes.
struct Seen<'a> {
    leader: NodeId,
    /// For how long each node that it asks has not answered.
    silent: &'a BTreeMap<NodeId, Duration>,
}

impl Seen<'_> {
    fn answers(&self, node: NodeId) -> bool {
        node == self.leader || self.silent.get(&node).is_some_and(|time| *time <= AWAY)
    }

    fn is_gone(&self, node: NodeId) -> bool {
        node != self.leader && self.silent.get(&node).is_some_and(|time| *time > GONE)
    }

    /// See the table above; `None`: never. `voters`: those of the meta group.
    fn rank(&self, entry: &NodeEntry, voters: &BTreeSet<NodeId>) -> Option<u8> {
        let Roles { ingest, compact, .. } = entry.facts.roles;
        let leads = u8::from(entry.facts.id == self.leader);
        match (compact, ingest) {
            _ if entry.state != NodeState::Member => None,
            (true, false) => Some(0),
            (true, true) => Some(1 + leads),
            (false, true) if !voters.contains(&entry.facts.id) => Some(5),
            (false, true) => Some(3 + leads),
            (false, false) => None,
        }
    }
}

/// The node that shall compact a store; `None`: nobody who may answers.
fn choose(state: &MetaState, store: &str, seen: &Seen<'_>) -> Option<NodeId> {
    let voters = state.groups().get(&GroupId::Meta).map(|placement| placement.voters.clone()).unwrap_or_default();
    let rank = |node: NodeId| state.nodes().get(&node).and_then(|entry| seen.rank(entry, &voters));
    let stores_of = |node: NodeId| state.stores().values().filter(|store| store.compactor == Some(node)).count();
    let now = state.compactor(store);
    let candidates = state.nodes().keys().copied().filter(|node| Some(*node) != now && seen.answers(*node));
    let best = candidates.filter_map(|node| Some((rank(node)?, stores_of(node), node))).min();
    let stays = now.filter(|node| !seen.is_gone(*node)).and_then(|node| Some((rank(node)?, node)));
    match (stays, best) {
        (Some((rank, _)), Some((better, _, node))) if better < rank => Some(node),
        (Some((_, node)), _) => Some(node),
        (None, best) => best.map(|(_, _, node)| node),
    }
}

impl Control {
    /// Names nodes that compact while this node leads, until `stopped` says so.
    pub(super) async fn keep_compactors(&self, stopped: watch::Receiver<bool>) {
        let round = || async {
            if self.leads() {
                self.name_compactors().await;
            }
        };
        self.keep_at(stopped, LOOK_EVERY, round).await;
    }

    async fn name_compactors(&self) {
        let (state, silent) = (self.state(), self.parts.meta.silent());
        let seen = Seen { leader: self.node(), silent: &silent };
        for store in state.stores().keys() {
            let wanted = choose(&state, store, &seen);
            let Some(node) = wanted.filter(|_| wanted != state.compactor(store)) else { continue };
            match self.propose(&Command::Compact { store: store.clone(), node }).await {
                Ok(_) => tracing::info!(store, node, "it shall compact from now on"),
                // the next look sees why
                Err(error) => tracing::debug!(store, node, "not named yet to compact: {error}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixtures::{cluster_of, tell};

    /// Nodes 1 to n with these roles, one store.
    fn state(roles: &[&str]) -> MetaState {
        let mut state = cluster_of(roles);
        declare(&mut state, "a");
        state
    }

    fn declare(state: &mut MetaState, name: &str) {
        tell(state, &Command::DeclareStore { replaces: 0, name: name.into(), statement: "s".into() });
    }

    fn given(state: &mut MetaState, store: &str, node: NodeId) {
        tell(state, &Command::Compact { store: store.into(), node });
    }

    /// The choice where these nodes have been silent for so many seconds, and nobody else for any.
    fn chosen(state: &MetaState, store: &str, leader: NodeId, away: &[(NodeId, u64)]) -> Option<NodeId> {
        let mut silent: BTreeMap<NodeId, Duration> =
            state.nodes().keys().filter(|node| **node != leader).map(|node| (*node, Duration::ZERO)).collect();
        silent.extend(away.iter().map(|(node, seconds)| (*node, Duration::from_secs(*seconds))));
        choose(state, store, &Seen { leader, silent: &silent })
    }

    #[test]
    fn a_compactor_is_preferred_then_a_follower_then_the_leader_then_who_only_ingests() {
        let all = state(&["ingest,compact,read", "ingest", "read", "ingest,compact", "compact", "compact,read"]);
        assert_eq!(chosen(&all, "a", 1, &[]), Some(5));
        assert_eq!(chosen(&all, "a", 1, &[(5, 9)]), Some(6));
        assert_eq!(chosen(&all, "a", 1, &[(5, 9), (6, 9)]), Some(4));
        assert_eq!(chosen(&all, "a", 4, &[(5, 9), (6, 9)]), Some(1));
        assert_eq!(chosen(&all, "a", 1, &[(4, 9), (5, 9), (6, 9)]), Some(1));
        let ingest = state(&["ingest", "ingest", "read"]);
        assert_eq!(chosen(&ingest, "a", 1, &[]), Some(2));
        assert_eq!(chosen(&ingest, "a", 1, &[(2, 9)]), Some(1), "a node that only reads never compacts");
        // who votes in the meta group may hold every log already
        let four = state(&["ingest", "ingest", "ingest", "ingest"]);
        assert_eq!(chosen(&four, "a", 3, &[(1, 9), (2, 9)]), Some(3));
        assert_eq!(chosen(&four, "a", 4, &[(1, 9), (2, 9), (3, 9)]), Some(4));
    }

    #[test]
    fn a_store_stays_where_it_is_until_its_node_is_gone_or_a_better_one_answers() {
        let mut cluster = state(&["ingest,compact", "ingest,compact", "ingest,compact", "compact"]);
        given(&mut cluster, "a", 3);
        assert_eq!(chosen(&cluster, "a", 1, &[(4, 9)]), Some(3));
        // a moment without an answer is a restart or a pause
        assert_eq!(chosen(&cluster, "a", 1, &[(4, 9), (3, 4)]), Some(3));
        assert_eq!(chosen(&cluster, "a", 1, &[(4, 9), (3, 6)]), Some(2));
        // it leads by now: another follower takes it over
        assert_eq!(chosen(&cluster, "a", 3, &[(4, 9)]), Some(1));
        assert_eq!(chosen(&cluster, "a", 1, &[]), Some(4));
        // a leader that has asked nobody yet moves nothing
        let seen = Seen { leader: 2, silent: &BTreeMap::new() };
        assert_eq!(choose(&cluster, "a", &seen), Some(3));
    }

    #[test]
    fn compactors_share_the_stores() {
        let mut cluster = state(&["ingest", "compact", "compact"]);
        given(&mut cluster, "a", 2);
        declare(&mut cluster, "b");
        assert_eq!(chosen(&cluster, "b", 1, &[]), Some(3));
        given(&mut cluster, "b", 3);
        declare(&mut cluster, "c");
        assert_eq!(chosen(&cluster, "c", 1, &[]), Some(2));
        // one that is drained gives its stores up
        tell(&mut cluster, &Command::Drain(2));
        assert_eq!(cluster.compactor("a"), None);
        assert_eq!(chosen(&cluster, "a", 1, &[]), Some(3));
    }
}
