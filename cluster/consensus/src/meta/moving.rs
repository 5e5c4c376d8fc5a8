//! The commands that move one group: a replica of it, and who leads it.
//!
//! | what is asked | voters | who shall lead |
//! |---|---|---|
//! | `Move` | `to` in the place of `from` | `to`, if it was `from` |
//! | `MoveLead`, where `to` does not vote | `to` in the place of `from` | `to` |
//! | `MoveLead`, where `to` votes | as before | `to` |
//! | `Lead` | as before | the one that is named, or whoever is elected |
//!
//! Who shall lead is a wish: it holds until another one is said, or its node votes no more in the group (it is drained, removed, has other
//! roles). A replica that was moved stays where it is: what fills groups up takes no voter away.

use super::refusal::Refusal;
use super::state::{Applied, MetaState, Outcome};
use super::types::{GroupId, NodeId};

impl MetaState {
    pub(super) fn move_replica(&mut self, group: &GroupId, from: NodeId, to: NodeId, index: u64) -> Applied {
        let placement = self.groups.get(group).ok_or_else(|| Refusal::UnknownGroup(group.clone()))?;
        let (has_from, has_to) = (placement.voters.contains(&from), placement.voters.contains(&to));
        if from != to && has_to && !has_from {
            return Ok(Outcome::AsBefore);
        }
        if !has_from {
            return Err(Refusal::NoReplica { node: from, group: group.clone() });
        }
        if has_to {
            return Err(Refusal::HasReplica { node: to, group: group.clone() });
        }
        if !placement.is_settled() {
            return Err(Refusal::Unsettled(group.clone()));
        }
        self.check_voter(to)?;
        let mut load = self.load();
        self.swap(group, from, Some(to), &mut load, index);
        self.settle_in(index);
        Ok(Outcome::Changed)
    }

    /// A replica moves, and leads; one that is there already leads.
    pub(super) fn move_lead(&mut self, group: &GroupId, from: NodeId, to: NodeId, index: u64) -> Applied {
        let placement = self.groups.get(group).ok_or_else(|| Refusal::UnknownGroup(group.clone()))?;
        if from != to && placement.voters.contains(&to) {
            if placement.leads != Some(to) && !placement.voters.contains(&from) {
                return Err(Refusal::NoReplica { node: from, group: group.clone() });
            }
            return self.lead(group, Some(to), index);
        }
        self.move_replica(group, from, to, index)?;
        if let Some(placement) = self.groups.get_mut(group) {
            placement.leads = Some(to);
        }
        Ok(Outcome::Changed)
    }

    /// A voter shall lead; none: whoever is elected.
    pub(super) fn lead(&mut self, group: &GroupId, node: Option<NodeId>, index: u64) -> Applied {
        let placement = self.groups.get(group).ok_or_else(|| Refusal::UnknownGroup(group.clone()))?;
        if placement.leads == node {
            return Ok(Outcome::AsBefore);
        }
        if let Some(node) = node {
            self.check_voter(node)?;
            if !placement.voters.contains(&node) {
                return Err(Refusal::NoReplica { node, group: group.clone() });
            }
        }
        if let Some(placement) = self.groups.get_mut(group) {
            (placement.leads, placement.epoch) = (node, index);
        }
        Ok(Outcome::Changed)
    }
}
