//! Brings a group's members to where its placement says, step by step, from its leader.
//!
//! | voters or learners are missing | they follow first (openraft's learners), until they are nearly up to date |
//! | voters differ | one change of all voters at once: openraft goes through a joint membership |
//! | nodes follow that shall not | they leave |
//! | this leader shall not vote any more | it goes last: the change of voters takes its vote, and another one is elected |
//!
//! Each round does what it can and may be repeated. A voter that is gone never keeps the others from being changed; a new one that
//! does not answer does, since the group would count on it.

use crate::consensus::Leadership;
use crate::group::{Group, GroupError};
use crate::meta::Placement;
use crate::transport::{Member, NodeId};

/// What a round found or did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Steered {
    /// Another node leads.
    NotLeading,
    /// Its members were changed; look again.
    Changed,
    /// They are as they shall be.
    Reached,
}

/// One round. `member`: where a node is; none: it takes no part any more.
///
/// # Errors
/// [`GroupError`]: try again later.
pub async fn steer(
    group: &Group,
    placement: &Placement,
    member: &impl Fn(NodeId) -> Option<Member>,
) -> Result<Steered, GroupError> {
    if group.leadership() != Leadership::Leads {
        return Ok(Steered::NotLeading);
    }
    let status = group.status();
    let follows = |node: &NodeId| status.voters.contains(node) || status.learners.contains(node);
    let mut changed = false;
    for node in placement.voters.union(&placement.learners).filter(|node| !follows(node)) {
        if let Some(at) = member(*node) {
            // who shall vote must be nearly up to date first: else the group would wait for it
            group.add_learner(*node, at, placement.voters.contains(node)).await?;
            changed = true;
        }
    }
    if status.voters != placement.voters && !placement.voters.is_empty() {
        group.set_voters(placement.voters.clone()).await?;
        return Ok(Steered::Changed);
    }
    for node in
        status.learners.iter().filter(|node| !placement.learners.contains(node) && !placement.voters.contains(node))
    {
        group.remove_learner(*node).await?;
        changed = true;
    }
    Ok(if changed { Steered::Changed } else { Steered::Reached })
}
