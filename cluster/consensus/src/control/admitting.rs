//! Whose word counts here: a member's, and nobody's who merely shows a certificate of the cluster's authority.
//!
//! | what this node knows of who asks | its votes and entries |
//! | anything, and this node was not let into the cluster yet, or lacks what it had acknowledged (`lacking`) | are refused |
//! | a member, or one that drains, in the state of the meta group, from the same data folder | are taken |
//! | it belongs to the group asked for, or to the meta group, as this node's own logs say (committed or not) | are taken |
//! | nothing of anybody: this node has just joined, and its log of the meta group is empty | are taken |
//! | it was removed | are refused |
//! | nothing | are refused now; the members that are known are asked who is one, at most once a second, and are believed for a while |
//!
//! The first row is for an empty folder under the id of a member that is lost: others take it for the voter that it was, which has what it
//! lacks. A vote of it could lose what was acknowledged. Who leads finds it unreachable until it was let in, which it is not.
//!
//! The last row is for a replica that was away while members changed: whoever leads now may be one that it never heard of, and only what
//! that one sends could tell. A log proves nothing of it (anybody can write one down); another member, which shows a certificate of its own, does.
//! The leader asks again half a second later, so no request waits for the question.

use super::Control;
use super::ask::question;
use super::health::REMOVED;
use crate::join::AskKind;
use crate::meta::{MetaState, NodeState, limits::NODES_MAX};
use crate::net::Asker;
use crate::transport::{GroupId, NodeId};
use futures_util::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Time of the question.
const WITHIN: Duration = Duration::from_secs(3);
/// The members are not asked more often, however many strangers come: each answer tells of all members at once.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a member's word for another counts; by then the state says it.
const LASTS: Duration = Duration::from_secs(300);
/// Members that this node knows from others alone.
const VOUCHED_MAX: usize = 2 * NODES_MAX;

/// What others have said of nodes that this one does not know.
#[derive(Debug, Default)]
pub(super) struct Vouched(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    /// Until when each counts as a member.
    members: BTreeMap<(NodeId, u128), Instant>,
    /// When others were asked last.
    asked: Option<Instant>,
}

impl Vouched {
    pub(super) fn is_member(&self, asker: Asker) -> bool {
        let until = self.0.lock().members.get(&(asker.node, asker.instance)).copied();
        until.is_some_and(|until| until > Instant::now())
    }

    /// Whether it is time to ask.
    fn begins(&self) -> bool {
        let (mut heard, now) = (self.0.lock(), Instant::now());
        if heard.asked.is_some_and(|asked| now < asked + AGAIN) {
            return false;
        }
        heard.asked = Some(now);
        true
    }

    fn believe(&self, members: impl Iterator<Item = (NodeId, u128)>) {
        let (mut heard, now) = (self.0.lock(), Instant::now());
        heard.members.retain(|_, until| *until > now);
        for member in members {
            if heard.members.len() < VOUCHED_MAX || heard.members.contains_key(&member) {
                heard.members.insert(member, now + LASTS);
            }
        }
    }
}

/// Who takes part, as the state says.
fn members_of(state: &MetaState) -> impl Iterator<Item = (NodeId, u128)> {
    let live = state.nodes().iter().filter(|(_, entry)| matches!(entry.state, NodeState::Member | NodeState::Draining));
    live.map(|(node, entry)| (*node, entry.facts.instance))
}

/// Whether the state says that it takes part.
pub(super) fn is_member(state: &MetaState, asker: Asker) -> bool {
    let entry = state.nodes().get(&asker.node);
    entry.is_some_and(|entry| {
        entry.facts.instance == asker.instance && matches!(entry.state, NodeState::Member | NodeState::Draining)
    })
}

impl Control {
    /// Rows two to four of the table for a node that asks nothing of a group.
    pub(super) fn is_known(&self, asker: Asker) -> bool {
        self.parts.machine.with(|state| is_member(state, asker))
            || self.parts.meta.has_member(asker.node)
            || self.parts.meta.has_no_members()
    }

    /// The table.
    pub(super) fn part_of(&self, asker: Asker, group: &GroupId) -> Result<(), String> {
        if self.cluster() == 0 {
            return Err("this node has not joined the cluster yet, and takes no part in it: ask again".to_owned());
        }
        if self.lost().is_some() {
            return Err("this node lacks what it had acknowledged, and takes no part any more".to_owned());
        }
        let is_of_group = || self.groups().get(group).is_some_and(|group| group.has_member(asker.node));
        if self.is_known(asker) || is_of_group() {
            return Ok(());
        }
        let node = asker.node;
        let state = self.parts.machine.with(|state| state.nodes().get(&node).map(|entry| entry.state));
        if state == Some(NodeState::Removed) {
            return Err(format!("node {node} {REMOVED}"));
        }
        if self.vouched.is_member(asker) {
            return Ok(());
        }
        if self.vouched.begins() {
            let this = self.clone();
            tokio::spawn(async move { this.ask_about(asker).await });
        }
        Err(format!("node {node} is no member of this cluster as far as this node knows: join it first, or ask again"))
    }

    /// Asks the members that this node knows who else is one. Whoever waits for an answer about another node hears it with this one.
    async fn ask_about(&self, asker: Asker) {
        let known = self.members_to_ask(asker.node);
        if known.is_empty() {
            return;
        }
        let asking =
            known.into_iter().map(|(node, address)| async move { (node, self.members_by(node, &address).await) });
        let mut asking: FuturesUnordered<_> = asking.collect();
        while let Some((by, members)) = asking.next().await {
            let is_news = members.contains(&(asker.node, asker.instance)) && !self.vouched.is_member(asker);
            let is_unknown = |&(node, instance): &(NodeId, u128)| !self.is_known(Asker { node, instance, ..asker });
            let unknown: Vec<_> = members.into_iter().filter(is_unknown).collect();
            self.vouched.believe(unknown.into_iter());
            if is_news {
                tracing::info!(
                    node = asker.node,
                    by,
                    "this node has not heard yet that another one joined, and is told so"
                );
            }
        }
        if !self.vouched.is_member(asker) {
            tracing::warn!(
                node = asker.node,
                "a node that is no member takes part in a log: it is refused. If it holds a certificate that it should not hold, \
                 take another authority (--tls-ca)"
            );
        }
    }

    fn members_to_ask(&self, about: NodeId) -> BTreeMap<NodeId, String> {
        let of_group = self.parts.meta.members().into_iter();
        let mut known: BTreeMap<NodeId, String> = of_group.map(|(node, member)| (node, member.address)).collect();
        self.parts.machine.with(|state| {
            for (node, entry) in state.nodes() {
                match entry.state {
                    NodeState::Member | NodeState::Draining => {
                        known.insert(*node, entry.facts.addresses.cluster.clone());
                    }
                    NodeState::Joining => {}
                    NodeState::Removed => drop(known.remove(node)),
                }
            }
        });
        // where they were heard of last
        known.iter_mut().for_each(|(node, address)| {
            if let Some(newer) = self.parts.transport.address(*node) {
                *address = newer;
            }
        });
        known.retain(|node, address| *node != self.node() && *node != about && !address.is_empty());
        known
    }

    /// Who is a member, as this one says; nobody, where it says nothing.
    async fn members_by(&self, node: NodeId, address: &str) -> Vec<(NodeId, u128)> {
        let ask = question(AskKind::State, &[]);
        let answer = self.parts.transport.ask(node, address, ask, WITHIN).await;
        let state = answer.ok().and_then(|bytes| MetaState::decode(&bytes).ok());
        state.map(|state| members_of(&state).collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(node: NodeId, instance: u128) -> Asker {
        Asker { node, instance, cluster: 1, link: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_strangers_come_the_members_are_asked_once_a_second() {
        let vouched = Vouched::default();
        assert!(vouched.begins());
        for _ in 0..3 {
            // of whomever: the answer is the same
            assert!((0..1000).all(|_| !vouched.begins()));
            tokio::time::advance(AGAIN).await;
            assert!(vouched.begins());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_tells_of_every_member_for_a_while() {
        let vouched = Vouched::default();
        vouched.believe([(4, 40), (5, 50)].into_iter());
        assert!(vouched.is_member(asker(4, 40)) && vouched.is_member(asker(5, 50)));
        assert!(!vouched.is_member(asker(4, 41)), "from another data folder");
        tokio::time::advance(LASTS).await;
        assert!(!vouched.is_member(asker(4, 40)));
        // a member that tells of more nodes than a cluster has is not remembered without a bound
        vouched.believe((0..10_000).map(|node| (node, 1)));
        assert_eq!(vouched.0.lock().members.len(), VOUCHED_MAX);
    }
}
