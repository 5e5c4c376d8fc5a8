//! Which node is asked about logs that this one does not hold: `meta/holding.rs` has the rule, this knows who leads and whose turn it is.

use super::Control;
use crate::meta::Asked;
use crate::transport::{GroupId, NodeId};
use std::sync::atomic::Ordering;

impl Control {
    fn meta_leader(&self) -> Option<NodeId> {
        self.parts.meta.status().leader.map(|(node, _)| node)
    }

    /// Who is asked about a log that is not open here.
    #[must_use]
    pub fn asked_about(&self, group: &GroupId) -> Asked {
        let (leader, turn) = (self.meta_leader(), self.asks.fetch_add(1, Ordering::Relaxed));
        self.with_state(|state| state.asked_about(self.node(), group, leader, turn))
    }

    /// Who is asked about all logs of a store.
    #[must_use]
    pub fn asked_about_all(&self, store: &str) -> Asked {
        let leader = self.meta_leader();
        self.with_state(|state| state.asked_about_all(store, leader))
    }

    /// The other node that holds every log of a store, as far as this one knows.
    pub(super) fn holder(&self, store: &str) -> Option<NodeId> {
        let node = match self.asked_about_all(store) {
            Asked::Member(node) => Some(node),
            Asked::Leader | Asked::Itself => self.meta_leader(),
        };
        node.filter(|node| *node != self.node())
    }

    /// That node and where it serves HTTP. `None`: this one holds every log too, or nobody is known.
    #[must_use]
    pub fn holds_more(&self, store: &str) -> Option<(NodeId, String)> {
        if !self.lacks_some(store) {
            return None;
        }
        let node = self.holder(store)?;
        self.entry(node).map(|entry| (node, entry.facts.addresses.http))
    }

    /// Whether this node is a member that does not hold every log of a store.
    #[must_use]
    pub fn lacks_some(&self, store: &str) -> bool {
        self.with_state(|state| state.lacks_some(self.node(), store))
    }
}
