//! What keeps this node from serving, and which other nodes do not answer: for `/ready`, status and metrics.

use super::Control;
use super::ask::question;
use crate::consensus::Leadership;
use crate::fields::{FieldError, Put, Take};
use crate::join::AskKind;
use crate::meta::NodeState;
use crate::stop::told;
use crate::transport::{GroupId, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// A group without a leader for so long is not between two of them: a few election times have passed.
pub const LEADERLESS: Duration = Duration::from_secs(6);
/// A node that has answered nothing for so long is away.
pub const AWAY: Duration = Duration::from_secs(2);
/// Time of a question to another node.
const WITHIN: Duration = Duration::from_secs(2);
/// How often a node without a leader asks whether it is still a member.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// Version of the bodies.
const VERSION: u8 = 1;
/// What a node says to one that was removed.
pub(super) const REMOVED: &str = "was removed from this cluster";

/// What is wrong with a node's part in the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Troubles {
    /// The node is no member any more.
    pub removed: bool,
    /// Its data directory lacks what the node had acknowledged, so that it takes no part any more: what it lacks.
    pub lost: Option<Arc<str>>,
    /// Groups that have ended here by themselves, and why.
    pub ended: Vec<(GroupId, Arc<str>)>,
    /// Groups that have had no leader for longer than elections take, and how long.
    pub leaderless: Vec<(GroupId, Duration)>,
    /// Groups of this node.
    pub groups: usize,
}

impl Troubles {
    /// Why this node serves nothing, or not what it should; `None`: it serves, perhaps without the logs that are named as leaderless.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        if self.removed {
            return Some("this node was removed from its cluster: stop it; to take part again it joins with an empty data directory under a new --node-id".to_owned());
        }
        if let Some(why) = &self.lost {
            return Some(format!(
                "this node takes no part any more: {why}. Stop it and remove its data directory; a new node joins under a new --node-id and takes \
                 its place (`replace`)"
            ));
        }
        if let Some((group, why)) = self.ended.first() {
            let count = self.ended.len();
            return Some(format!(
                "{count} of its logs have ended on this node (one is {group}: {why}): start the node again"
            ));
        }
        let (group, since) = self.leaderless.iter().find(|(group, _)| *group == GroupId::Meta).or_else(|| {
            let all = self.leaderless.len() + 1 >= self.groups;
            self.leaderless.first().filter(|_| all)
        })?;
        Some(format!(
            "{group} has had no leader for {} s: more than half of its voters must run and see each other; reads with consistency=local are answered",
            since.as_secs()
        ))
    }
}

impl Control {
    /// What is wrong here.
    #[must_use]
    pub fn troubles(&self) -> Troubles {
        let (mut ended, mut leaderless) = (Vec::new(), Vec::new());
        let groups = self.groups().all();
        for group in &groups {
            if let Some(why) = group.ended() {
                ended.push((group.id().clone(), why));
            } else if group.leaderless() > LEADERLESS {
                leaderless.push((group.id().clone(), group.leaderless()));
            }
        }
        ended.extend(self.stuck().map(|why| (GroupId::Meta, why)));
        Troubles { removed: self.is_removed(), lost: self.lost(), ended, leaderless, groups: groups.len() }
    }

    fn is_removed(&self) -> bool {
        let told = *self.removed.lock();
        told || self
            .with_state(|state| state.nodes().get(&self.node()).is_some_and(|entry| entry.state == NodeState::Removed))
    }

    /// For how long each other node has not answered this one, as far as this one asks it as a leader.
    #[must_use]
    pub fn silent_here(&self) -> BTreeMap<NodeId, Duration> {
        let mut silent = BTreeMap::new();
        for group in self.groups().all() {
            for (node, time) in group.silent() {
                silent.entry(node).and_modify(|least: &mut Duration| *least = time.min(*least)).or_insert(time);
            }
        }
        silent
    }

    /// The same as the leader of the meta group knows it, who asks every member; what this node knows where that cannot be reached.
    pub async fn silent(&self) -> BTreeMap<NodeId, Duration> {
        if self.parts.meta.leadership() == Leadership::Leads {
            return self.silent_here();
        }
        let asked = async {
            let (node, address) = self.leader_elsewhere()?;
            let ask = question(AskKind::Silent, &[]);
            let answer = self.parts.transport.ask(node, &address, ask, WITHIN).await.ok()?;
            silent_of(&answer).ok()
        };
        asked.await.unwrap_or_else(|| self.silent_here())
    }

    /// The answer to another node that asks.
    pub(super) fn silent_bytes(&self) -> Vec<u8> {
        let (mut out, silent) = (Put::of(VERSION), self.silent_here());
        out.u32(u32::try_from(silent.len()).unwrap_or(u32::MAX));
        for (node, time) in silent {
            out.u64(node);
            out.u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        }
        out.0
    }

    /// A member that was removed hears nothing of it, since nobody speaks to it any more: it asks.
    pub(super) async fn look_whether_removed(&self, mut stopped: watch::Receiver<bool>) {
        let looking = async {
            loop {
                sleep(ASK_EVERY).await;
                if self.cluster() != 0 && self.parts.meta.leaderless() > ASK_EVERY && !self.is_removed() {
                    let removed = self.ask_whether_removed().await;
                    if removed {
                        tracing::error!("this node was removed from its cluster: stop it");
                        *self.removed.lock() = true;
                    }
                }
            }
        };
        tokio::select! {
            () = looking => {}
            () = told(&mut stopped) => {}
        }
    }

    /// One that was removed before it heard of any other member asks where it joined, or was told to join.
    async fn ask_whether_removed(&self) -> bool {
        let known = self.parts.transport.known().into_iter().filter(|(node, _)| *node != self.node());
        for (node, address) in self.may_be().into_iter().chain(known) {
            let ask = question(AskKind::State, &[]);
            match self.parts.transport.ask(node, &address, ask, WITHIN).await {
                Ok(state) => {
                    let state = crate::meta::MetaState::decode(&state);
                    let entry = state.ok().and_then(|state| state.nodes().get(&self.node()).map(|entry| entry.state));
                    if entry == Some(NodeState::Removed) {
                        return true;
                    }
                }
                Err(error) if error.to_string().contains(REMOVED) => return true,
                Err(_) => {}
            }
        }
        false
    }
}

fn silent_of(body: &[u8]) -> Result<BTreeMap<NodeId, Duration>, FieldError> {
    let mut take = Take(body);
    take.version(VERSION)?;
    let mut silent = BTreeMap::new();
    for _ in 0..take.u32()? {
        let (node, time) = (take.u64()?, take.u64()?);
        silent.insert(node, Duration::from_millis(time));
    }
    take.end()?;
    Ok(silent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::LogKey;

    fn log(name: &str) -> GroupId {
        GroupId::Log { store: Arc::from("s"), log: LogKey::single(name) }
    }

    #[test]
    fn a_node_is_ready_as_long_as_it_serves_something() {
        let (long, three) = (Duration::from_secs(9), Troubles { groups: 3, ..Troubles::default() });
        assert_eq!(three.not_ready(), None);
        let some = Troubles { leaderless: vec![(log("A"), long)], ..three.clone() };
        assert_eq!(some.not_ready(), None);
        let cases = [
            (Troubles { removed: true, ..three.clone() }, "was removed"),
            (Troubles { lost: Some(Arc::from("entry 7")), ..three.clone() }, "entry 7. Stop it"),
            (Troubles { ended: vec![(log("A"), Arc::from("a disk"))], ..three.clone() }, "s/A: a disk"),
            (Troubles { leaderless: vec![(GroupId::Meta, long)], ..three.clone() }, "meta has had no leader for 9 s"),
            (Troubles { leaderless: vec![(log("A"), long), (log("B"), long)], ..three }, "s/A has had no leader"),
        ];
        for (troubles, said) in cases {
            assert!(troubles.not_ready().is_some_and(|text| text.contains(said)), "{troubles:?}");
        }
    }
}
