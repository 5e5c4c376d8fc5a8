//! Brings a group's members to where its placement says, step by step, from its leader.
//!
//! | voters or learners are missing | they follow first (openraft's learners) |
//! | voters differ | when the new ones answer and have caught up, one change of all at once: openraft goes through a joint membership |
//! | nodes follow that shall not | they leave |
//! | this leader shall not vote any more | it votes until another one leads: it hands leadership over, and the next leader takes it away |
//! | another voter shall lead, answers and has caught up | leadership is handed to it when it is time (`leading`); one that does not answer is not waited for |
//!
//! Each round does what it can and may be repeated. A voter that is gone never keeps the others from being changed; a new one that does not
//! answer does, since the group would count on it in the place of one that does. Only a group that has never acknowledged anything begins
//! without it, if most of its voters are there.

use crate::consensus::Leadership;
use crate::group::{Group, GroupError, GroupStatus};
use crate::meta::Placement;
use crate::transport::{Member, NodeId};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long a round waits for nodes that it has just given the log to, or that were there a moment ago; later rounds only look.
const ARRIVES_WITHIN: Duration = Duration::from_secs(1);

/// What a round found or did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Steered {
    /// Another node leads.
    NotLeading,
    /// Its members were changed; look again.
    Changed,
    /// A node must answer, or catch up, first.
    Waits {
        /// Which.
        node: NodeId,
        /// What is missing.
        why: String,
    },
    /// This leader shall not vote any more, and this node can lead in its place.
    Leaves {
        /// Who leads next.
        to: NodeId,
    },
    /// They are as they shall be, but for who leads, and that voter can.
    Yields {
        /// Who shall lead.
        to: NodeId,
    },
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
            group.add_learner(*node, at, false).await?;
            changed = true;
        }
    }
    let leaves = !placement.voters.is_empty() && !placement.voters.contains(&group.node());
    let mut voters = placement.voters.clone();
    voters.extend(leaves.then(|| group.node()));
    if !voters.is_empty() && (status.voters != voters || status.is_joint) {
        let new: BTreeSet<NodeId> = voters.difference(&status.voters).copied().collect();
        if let Some(waits) = who_lacks(group, &new, &voters, placement.is_established(), changed).await {
            return Ok(waits);
        }
        group.set_voters(voters).await?;
        return Ok(Steered::Changed);
    }
    for node in
        status.learners.iter().filter(|node| !placement.learners.contains(node) && !placement.voters.contains(node))
    {
        group.remove_learner(*node).await?;
        changed = true;
    }
    Ok(match () {
        () if changed => Steered::Changed,
        // who votes no more is let go when this is settled: no other leader must go back behind it
        () if status.is_changing && !placement.leaving.is_empty() => Steered::Changed,
        () if leaves => successor(&status, placement),
        () => yields(group.node(), &status, placement)
            .or_else(|| late(&status, &placement.voters).filter(|_| !placement.is_settled()))
            .unwrap_or(Steered::Reached),
    })
}

/// Whom a change of voters waits for. A new voter must answer once more: it was there a moment ago says nothing. `added`: some were given
/// the log just now.
async fn who_lacks(
    group: &Group,
    new: &BTreeSet<NodeId>,
    voters: &BTreeSet<NodeId>,
    is_established: bool,
    added: bool,
) -> Option<Steered> {
    let enough = |lacking: usize| lacking == 0 || (!is_established && lacking * 2 < voters.len());
    let known = lacking(&group.status(), new);
    if !added && !enough(known.len()) {
        // nobody waits for a node that has been away for a while
        return first(known);
    }
    let began = Instant::now();
    group.heartbeat().await;
    // who is not there by then is named below
    let _ = timeout(ARRIVES_WITHIN, join_all(new.iter().map(|node| group.caught_up(*node, began)))).await;
    let late: BTreeSet<NodeId> = new.iter().copied().filter(|node| !group.has_caught_up(*node, began)).collect();
    if enough(late.len()) {
        return None;
    }
    let why = "it does not answer, or has not caught up yet".to_owned();
    first(lacking(&group.status(), &late)).or_else(|| first(late.into_iter().map(|node| (node, why.clone())).collect()))
}

fn lacking(status: &GroupStatus, nodes: &BTreeSet<NodeId>) -> Vec<(NodeId, String)> {
    nodes.iter().filter_map(|node| Some((*node, status.lacks(*node)?))).collect()
}

fn first(lacking: Vec<(NodeId, String)>) -> Option<Steered> {
    lacking.into_iter().next().map(|(node, why)| Steered::Waits { node, why })
}

/// Who can lead in the place of this node: the one that shall, or of those that answer the one that has most.
fn successor(status: &GroupStatus, placement: &Placement) -> Steered {
    let ready = placement.voters.iter().filter(|node| status.lacks(**node).is_none());
    match ready.min_by_key(|node| (placement.leads != Some(**node), status.behind(**node))) {
        Some(to) => Steered::Leaves { to: *to },
        None => {
            let node = placement.voters.first().copied().unwrap_or_default();
            Steered::Waits { node, why: "no other voter answers".to_owned() }
        }
    }
}

/// Another voter shall lead than this `node`, and answers: it does once it has caught up, which only a move that is under way says. One that
/// is away leads when it is back: until then the group is as it can be.
fn yields(node: NodeId, status: &GroupStatus, placement: &Placement) -> Option<Steered> {
    let to = placement.leads.filter(|to| *to != node && status.answers(*to))?;
    match status.lacks(to) {
        None => Some(Steered::Yields { to }),
        Some(why) => (!placement.is_settled()).then_some(Steered::Waits { node: to, why }),
    }
}

/// A voter that answers and has not caught up yet. One that is gone does not count: it is no worse than one that went later.
fn late(status: &GroupStatus, voters: &BTreeSet<NodeId>) -> Option<Steered> {
    let node = voters.iter().copied().find(|node| status.answers(*node) && status.lacks(*node).is_some())?;
    status.lacks(node).map(|why| Steered::Waits { node, why })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Another voter: its number, milliseconds since it answered, entries that it lacks.
    type Other = (NodeId, u64, u64);

    /// As node 1 sees it, which leads.
    pub(in crate::control) fn status(others: &[Other]) -> GroupStatus {
        let silent = |(node, ms, _): &Other| (*node, Duration::from_millis(*ms));
        let replicated = |(node, _, lacks): &Other| (*node, Some(1_000 - lacks));
        GroupStatus {
            term: 1,
            leader: None,
            last: Some(1_000),
            applied: Some(1_000),
            purged: None,
            voters: [1, 2, 3].into(),
            learners: BTreeSet::new(),
            is_joint: false,
            is_changing: false,
            replicated: others.iter().map(replicated).collect(),
            silent: others.iter().map(silent).collect::<BTreeMap<_, _>>(),
        }
    }

    fn placement(leads: Option<NodeId>, is_settled: bool) -> Placement {
        let settled_epoch = if is_settled { 9 } else { 8 };
        Placement { epoch: 9, settled_epoch, voters: [1, 2, 3].into(), leads, ..Placement::default() }
    }

    #[test]
    fn another_voter_leads_once_it_answers_and_has_caught_up() {
        let (near, far, away) = ((2, 10, 3), (2, 10, 500), (2, 9_000, 0));
        for (other, leads, is_settled, wanted) in [
            (near, None, false, "stays"),
            (near, Some(1), false, "stays"),
            (near, Some(2), false, "yields"),
            (near, Some(2), true, "yields"),
            (far, Some(2), false, "waits"),
            (far, Some(2), true, "stays"),
            (away, Some(2), false, "stays"),
            (away, Some(2), true, "stays"),
            // one that was never asked
            (near, Some(3), false, "stays"),
        ] {
            let found = match yields(1, &status(&[other]), &placement(leads, is_settled)) {
                None => "stays",
                Some(Steered::Yields { to: 2 }) => "yields",
                Some(Steered::Waits { node: 2, .. }) => "waits",
                Some(_) => "something else",
            };
            assert_eq!(found, wanted, "{other:?}, shall lead: {leads:?}, settled: {is_settled}");
        }
    }

    #[test]
    fn a_leader_that_goes_is_followed_by_the_one_that_shall_lead_or_by_who_has_most() {
        let next = |others: &[Other], leads| successor(&status(others), &placement(leads, false));
        let (two, three) = ((2, 10, 5), (3, 10, 0));
        assert_eq!(next(&[two, three], None), Steered::Leaves { to: 3 });
        assert_eq!(next(&[two, three], Some(2)), Steered::Leaves { to: 2 });
        assert_eq!(next(&[(2, 9_000, 0), three], Some(2)), Steered::Leaves { to: 3 });
        assert!(matches!(next(&[(2, 9_000, 0), (3, 9_000, 0)], Some(2)), Steered::Waits { .. }));
    }
}
