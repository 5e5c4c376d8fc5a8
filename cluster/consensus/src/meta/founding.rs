//! Another node makes a log that the one which should never made.
//!
//! | the founder | the log was once where it should be | another voter may make it |
//! |---|---|---|
//! | takes part, also where it is away | | no: it may come back, and makes it then, or has |
//! | was removed | yes | no: something may be acknowledged in it |
//! | was removed | no | yes, if nobody has anything of it: whoever proposes that has asked (`control/unmade.rs`) |
//!
//! Nothing is acknowledged in a group before `Settled` counts, and a report of the founder that comes behind its removal is of an earlier epoch, or of a
//! node that nobody hears. What it had begun and given to others must not meet a second beginning: so it is asked for first.

use super::refusal::Refusal;
use super::state::{Applied, MetaState, Outcome};
use super::types::{GroupId, NodeId, NodeState};

impl MetaState {
    /// The node that should make a group, where it was removed before anything was acknowledged in it.
    #[must_use]
    pub fn lost_founder(&self, group: &GroupId) -> Option<NodeId> {
        let placement = self.groups.get(group).filter(|placement| !placement.is_established())?;
        let is_removed = |node: &NodeId| self.nodes.get(node).is_some_and(|entry| entry.state == NodeState::Removed);
        placement.founder.filter(is_removed)
    }

    pub(super) fn found(&mut self, group: &GroupId, epoch: u64, node: NodeId) -> Applied {
        let placement = self.groups.get(group).ok_or_else(|| Refusal::UnknownGroup(group.clone()))?;
        if placement.founder == Some(node) {
            return Ok(Outcome::AsBefore);
        }
        if epoch != placement.epoch {
            return Err(Refusal::StaleReport { group: group.clone(), epoch: placement.epoch });
        }
        if self.lost_founder(group).is_none() {
            return Err(Refusal::HasFounder(group.clone()));
        }
        self.check_voter(node)?;
        if !placement.voters.contains(&node) {
            return Err(Refusal::NoReplica { node, group: group.clone() });
        }
        if let Some(placement) = self.groups.get_mut(group) {
            placement.founder = Some(node);
        }
        Ok(Outcome::Changed)
    }
}
