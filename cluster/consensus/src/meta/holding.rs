//! Who holds what, for who asks: what a node lacks, and which node is asked about it instead.
//!
//! | asked about | goes to |
//! |---|---|
//! | a log | the node that leads the meta group, where it holds that log; else the log's voters in turn, since who asks does not know which of them are there |
//! | all logs of a store | the node that leads the meta group, where it holds them all; else the one that compacts the store, which does |

use super::state::MetaState;
use super::types::{Followers, GroupId, NodeId, NodeState, Office, Placement};
use strandline_event::LogKey;

/// What a node lacks of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lack {
    /// Nothing, or it takes no part: what is asked there is not asked of others for that.
    Nothing,
    /// The log, unless it still has it: it drains, and is given nothing new.
    UnlessOpen,
    /// The log.
    All,
}

/// Who is asked about a log, or all of a store's, by a node that does not hold them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Whoever leads the meta group.
    Leader,
    /// This member.
    Member(NodeId),
    /// Nobody else: the log was just given to the one that asks.
    Itself,
}

impl MetaState {
    /// The logs of a store, by stream type and bucket.
    pub fn logs_of<'a>(&'a self, store: &'a str) -> impl Iterator<Item = (&'a LogKey, &'a Placement)> {
        self.groups.iter().filter_map(move |(group, placement)| match group {
            GroupId::Log { store: of, log } if **of == *store => Some((log, placement)),
            _ => None,
        })
    }

    /// What a node lacks of the group that is placed so. What one that is drained still has only it knows.
    #[must_use]
    pub fn lack(&self, node: NodeId, placement: &Placement) -> Lack {
        match self.nodes.get(&node).map(|entry| entry.state) {
            Some(NodeState::Member) if !placement.is_on(node) => Lack::All,
            Some(NodeState::Draining) if !placement.is_on(node) => Lack::UnlessOpen,
            _ => Lack::Nothing,
        }
    }

    /// Whether a node is a member and holds nothing of a group: what is asked there is asked of others.
    #[must_use]
    pub fn lacks(&self, node: NodeId, group: &GroupId) -> bool {
        self.groups.get(group).is_some_and(|placement| self.lack(node, placement) == Lack::All)
    }

    /// Whether it is so with any log of a store.
    #[must_use]
    pub fn lacks_some(&self, node: NodeId, store: &str) -> bool {
        self.is_member(node) && self.logs_of(store).any(|(_, placement)| !placement.is_on(node))
    }

    /// Who is asked about a log that is not open at the asker. `leader`: of the meta group, as the asker knows; `turn`: rises with each question.
    #[must_use]
    pub fn asked_about(&self, asker: NodeId, group: &GroupId, leader: Option<NodeId>, turn: usize) -> Asked {
        // who leads knows of groups that were not heard of here
        let Some(placement) = self.groups.get(group) else { return Asked::Leader };
        // one that is drained may lead for long, and holds what it still votes in
        if leader.is_some_and(|node| placement.is_on(node)) {
            return Asked::Leader;
        }
        if placement.is_on(asker) {
            return Asked::Itself;
        }
        let nth = turn.checked_rem(placement.voters.len()).unwrap_or(0);
        placement.voters.iter().nth(nth).map_or(Asked::Leader, |node| Asked::Member(*node))
    }

    /// Who is asked about all logs of a store.
    #[must_use]
    pub fn asked_about_all(&self, store: &str, leader: Option<NodeId>) -> Asked {
        if leader.is_some_and(|node| self.logs_of(store).all(|(_, placement)| placement.is_on(node))) {
            return Asked::Leader;
        }
        self.compactor(store).map_or(Asked::Leader, Asked::Member)
    }

    /// Whether the logs of a store need not be where the meta group is led.
    #[must_use]
    pub fn is_spared(&self, store: &str) -> bool {
        self.stores.get(store).is_some_and(|entry| entry.office == Office::Spared)
    }

    /// Whether they stay there whatever is said but another rule.
    #[must_use]
    pub fn is_kept(&self, store: &str) -> bool {
        let is_said = |office: Office| office == Office::Kept || self.followers() != Followers::Fewest;
        self.stores.get(store).is_none_or(|entry| is_said(entry.office))
    }

    /// Whether the leader of that group may say that they need not be there.
    #[must_use]
    pub fn may_spare(&self, store: &str) -> bool {
        let is_open = |office: Office| office == Office::Unsaid && self.followers() == Followers::Fewest;
        self.stores.get(store).is_some_and(|entry| is_open(entry.office) && entry.remembered.is_empty())
    }
}
