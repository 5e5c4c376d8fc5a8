//! Whose word counts here: a member's, and nobody's who merely shows a certificate of the cluster's authority.
//!
//! | what this node knows of who asks | its votes and entries |
//! | a member, or one that drains, in the state of the meta group, from the same data folder | are taken |
//! | it belongs to the group asked for, or to the meta group, as this node's own logs say (committed or not) | are taken |
//! | nothing of anybody: this node joins, and its log of the meta group is empty | are taken |
//! | it was removed | are refused |
//! | nothing | are refused now; the members that are known are asked, and one that says that it is a member is believed for a while |
//!
//! The last row is for a replica that was away while members changed: whoever leads now may be one that it never heard of, and only what
//! that one sends could tell. A log proves nothing of it (anybody can write one down); another member, which shows a certificate of its own, does.
//! The leader asks again half a second later, so no request waits for the question.

use super::Control;
use super::health::REMOVED;
use crate::join::AskKind;
use crate::meta::{MetaState, NodeState};
use crate::net::{Ask, Asker};
use crate::transport::{GroupId, NodeId};
use futures_util::future::select_ok;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;
use strandline_event::SharedBytes;
use tokio::time::Instant;

/// Time of the question.
const WITHIN: Duration = Duration::from_secs(3);
/// Nobody is asked about the same node more often.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a member's word for another counts; by then the state says it.
const LASTS: Duration = Duration::from_secs(300);
/// Nodes about which others were asked lately.
const ASKED_MAX: usize = 64;

/// What others have said of nodes that this one does not know.
#[derive(Debug, Default)]
pub(super) struct Vouched(Mutex<BTreeMap<(NodeId, u128), Said>>);

#[derive(Clone, Copy, Debug)]
struct Said {
    until: Instant,
    is_member: bool,
}

impl Vouched {
    pub(super) fn is_member(&self, asker: Asker) -> bool {
        let said = self.0.lock().get(&(asker.node, asker.instance)).copied();
        said.is_some_and(|said| said.is_member && said.until > Instant::now())
    }

    /// Whether it is time to ask about it.
    fn begins(&self, asker: Asker) -> bool {
        let (mut all, now) = (self.0.lock(), Instant::now());
        all.retain(|_, said| said.until > now);
        let key = (asker.node, asker.instance);
        if all.len() >= ASKED_MAX || all.contains_key(&key) {
            return false;
        }
        all.insert(key, Said { until: now + AGAIN, is_member: false });
        true
    }

    fn believe(&self, asker: Asker) {
        let said = Said { until: Instant::now() + LASTS, is_member: true };
        self.0.lock().insert((asker.node, asker.instance), said);
    }
}

/// Whether the state says that it takes part.
pub(super) fn is_member(state: &MetaState, asker: Asker) -> bool {
    let entry = state.nodes().get(&asker.node);
    entry.is_some_and(|entry| {
        entry.facts.instance == asker.instance && matches!(entry.state, NodeState::Member | NodeState::Draining)
    })
}

impl Control {
    /// Rows one to three of the table for a node that asks nothing of a group.
    pub(super) fn is_known(&self, asker: Asker) -> bool {
        self.parts.machine.with(|state| is_member(state, asker))
            || self.parts.meta.has_member(asker.node)
            || self.parts.meta.has_no_members()
    }

    /// The table.
    pub(super) fn part_of(&self, asker: Asker, group: &GroupId) -> Result<(), String> {
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
        if self.vouched.begins(asker) {
            let this = self.clone();
            tokio::spawn(async move { this.ask_about(asker).await });
        }
        Err(format!("node {node} is no member of this cluster as far as this node knows: join it first, or ask again"))
    }

    /// Asks the members that this node knows whether another one is a member.
    async fn ask_about(&self, asker: Asker) {
        let known = self.members_to_ask(asker.node);
        let asking = known.into_iter().map(|(node, address)| {
            let this = self.clone();
            Box::pin(async move { if this.says_member(node, &address, asker).await { Ok(node) } else { Err(()) } })
        });
        let asking: Vec<_> = asking.collect();
        if asking.is_empty() {
            return;
        }
        match select_ok(asking).await {
            Ok((by, _)) => {
                tracing::info!(
                    node = asker.node,
                    by,
                    "this node has not heard yet that another one joined, and is told so"
                );
                self.vouched.believe(asker);
            }
            Err(()) => tracing::warn!(
                node = asker.node,
                "a node that is no member takes part in a log: it is refused. If it holds a certificate that it should not hold, \
                 take another authority (--tls-ca)"
            ),
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

    async fn says_member(&self, node: NodeId, address: &str, asker: Asker) -> bool {
        let ask = Ask { kind: AskKind::State.to_u8(), body: SharedBytes::copy_aligned(&[]) };
        let answer = self.parts.transport.ask(node, address, ask, WITHIN).await;
        answer.ok().and_then(|bytes| MetaState::decode(&bytes).ok()).is_some_and(|state| is_member(&state, asker))
    }
}
