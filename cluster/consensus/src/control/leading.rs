//! When a leader lets the voter lead that shall, as the placement says.
//!
//! | somebody has just said so: the placement is not settled | once the lease of this leader is over; where it failed, again after 5 s |
//! | that was settled before, and another one leads by now (it was away, or stopped) | when this node has led for 30 s, and not more often |
//! | nobody is named: the node that leads the meta group shall, since one that leads all answers store-wide reads | when it has led that for 5 s, and again after 5 s |
//!
//! ```text
//!  nothing new is proposed, what is on its way ends, and the one that shall lead gets it
//!  to that one alone: ask for votes -> of three voters it leads at once, by its own vote and this leader's
//!                                   -> of more it asks until it leads: this leader says nothing more, and the others' leases end
//! ```
//!
//! The others are not asked to yield, as by a leader that stops: of those the largest number wins, again each time.
//!
//! One that lacks an entry is not elected, and has ended this leadership by asking: where appends never end it would be so each time.
//! One that cannot be asked leaves everything as it was.
//!
//! So a move is done without delay, and a node that comes and goes does not take every log with it each time: a handing over costs nothing
//! that is acknowledged, but it ends what is on its way.

use super::ask::some_at_once;
use super::{Control, Waits};
use crate::group::{ELECTION_MIN_MS, ELECTION_SPREAD_MS, ELECTION_STEP_MS, Group, GroupStatus};
use crate::meta::Placement;
use crate::transport::{GroupId, NodeId};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A leader votes for nobody as long as it has its own lease: no node's is longer.
const LEASE: Duration = Duration::from_millis(ELECTION_MIN_MS + 2 * ELECTION_STEP_MS + ELECTION_SPREAD_MS);
/// Of so many voters two elect a leader; the others vote for nobody while they hear from this one.
pub(super) const ONCE_OF_MAX: usize = 3;
/// One of more asks for votes so often for as long as any lease lasts: the first time may end just before one does.
const ASKED_TIMES: usize = 2;
/// Time in which one of three leads that was asked once: some writes on busy disks. One that asks again ends what it has nearly won.
const ONCE_WITHIN: Duration = Duration::from_secs(1);
/// Between attempts to carry out a move.
const AGAIN: Duration = Duration::from_secs(5);
/// A leader rests so long: longer than it takes to stop or start a node.
const RESTS: Duration = Duration::from_secs(30);
/// How long another node leads the meta group before it is handed a group that nobody is named to lead, and until that is tried again.
const APART_FOR: Duration = Duration::from_secs(5);
/// Time in which the next leader must answer once more: whoever is asked to vote for one that is gone has no leader for a while.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Turn {
    /// Since when this node leads, as it has looked.
    since: Instant,
    /// The last attempt under this leadership.
    tried: Option<Instant>,
    /// Who leads the meta group and could lead this one, and since when, or since that was tried.
    gathers: Option<(NodeId, Instant)>,
}

/// The groups that this node leads.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<GroupId, Turn>>);

impl Turns {
    /// This node leads a group, or does not any more.
    pub(super) fn look(&self, group: &GroupId, leads: bool) {
        let mut turns = self.0.lock();
        if leads {
            turns.entry(group.clone()).or_insert_with(|| Turn { since: Instant::now(), tried: None, gathers: None });
        } else {
            turns.remove(group);
        }
    }

    /// Whether it is handed over now; then it counts as tried.
    pub(super) fn begins(&self, group: &GroupId, placement: &Placement) -> bool {
        let (mut turns, now) = (self.0.lock(), Instant::now());
        let Some(turn) = turns.get_mut(group) else { return false };
        let (first, again) = if placement.is_settled() { (RESTS, RESTS) } else { (LEASE, AGAIN) };
        let not_before = turn.tried.map_or(turn.since + first, |tried| tried + again);
        let begins = now >= not_before;
        if begins {
            turn.tried = Some(now);
        }
        begins
    }

    /// The node that could lead in this one's place, once it has been the same for a while; then the while begins anew.
    fn gathers(&self, group: &GroupId, to: Option<NodeId>) -> Option<NodeId> {
        let (mut turns, now) = (self.0.lock(), Instant::now());
        let turn = turns.get_mut(group)?;
        turn.gathers = turn.gathers.filter(|(node, _)| Some(*node) == to).or(to.map(|to| (to, now)));
        let (node, since) = turn.gathers?;
        let begins = now >= since + APART_FOR;
        if begins {
            turn.gathers = Some((node, now));
        }
        begins.then_some(node)
    }
}

/// Who leads the meta group, if that is another voter than this `node`, has caught up, and nobody is named to lead.
fn gathers(node: NodeId, status: &GroupStatus, placement: &Placement, leader: Option<NodeId>) -> Option<NodeId> {
    let to = leader.filter(|to| *to != node && placement.leads.is_none() && placement.is_settled())?;
    (status.voters.contains(&to) && placement.voters.contains(&to) && status.lacks(to).is_none()).then_some(to)
}

impl Control {
    /// The node that is handed a group now although nobody is named to lead it.
    pub(super) fn gathers(&self, group: &Group, placement: &Placement) -> Option<NodeId> {
        let leader = self.meta_status().leader.map(|(node, _)| node);
        self.turns.gathers(group.id(), gathers(self.node(), &group.status(), placement, leader))
    }

    /// Hands these groups over: an election would end what is on its way, and fail where the one that asks is behind.
    pub(super) async fn gather(&self, groups: &[(Arc<Group>, NodeId)]) {
        some_at_once(groups.iter().map(|(group, to)| self.hand_on(group, *to)).collect()).await;
    }

    async fn hand_on(&self, group: &Group, to: NodeId) {
        if let Err(error) = self.hand_to(group, to).await {
            tracing::debug!(group = %group.id(), to, "not handed yet to the leader of the meta group: {error}");
        }
    }

    /// Lets another voter lead a group that this node leads, if it is time to.
    pub(super) async fn let_lead(&self, group: &Group, to: NodeId, placement: &Placement) {
        if !self.turns.begins(group.id(), placement) {
            return;
        }
        if let Err(error) = self.hand_to(group, to).await {
            tracing::info!(group = %group.id(), to, "it was asked to lead, and does not yet: {error}");
            let why = format!("it was asked to lead, and does not yet: {error}");
            self.waits.lock().insert(group.id().clone(), Waits { node: to, why });
        }
    }

    /// This voter, and no other one, leads in the place of this node.
    pub(super) async fn hand_to(&self, group: &Group, to: NodeId) -> Result<(), String> {
        let began = Instant::now();
        group.heartbeat().await;
        let _ = timeout(ANSWERS_WITHIN, group.caught_up(to, began)).await;
        if !group.has_caught_up(to, began) {
            return Err("it does not answer, or has not caught up".to_owned());
        }
        let Some(_quiet) = group.quiet_before(to, ANSWERS_WITHIN).await else {
            return Err("what is on its way has not reached it in time".to_owned());
        };
        if group.status().voters.len() <= ONCE_OF_MAX {
            let asked = timeout(ANSWERS_WITHIN, self.ask_over(to, group.id(), false)).await;
            asked.map_err(|_| "it does not answer".to_owned())?.map_err(|error| error.to_string())?;
            if group.is_led_by(to, ONCE_WITHIN).await {
                return Ok(());
            }
        }
        let mut told = Ok(());
        for _ in 0..ASKED_TIMES {
            told = self.ask_over(to, group.id(), true).await;
            // another one was elected meanwhile, or this one could not be asked
            if told.is_ok() || group.status().leader.is_some() {
                break;
            }
        }
        told.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::steer;
    use tokio::time::advance;

    fn placement(is_settled: bool) -> Placement {
        Placement { epoch: 9, settled_epoch: if is_settled { 9 } else { 7 }, leads: Some(2), ..Placement::default() }
    }

    fn leads() -> Turns {
        let turns = Turns::default();
        turns.look(&GroupId::Meta, true);
        turns
    }

    #[tokio::test(start_paused = true)]
    async fn a_move_is_tried_when_the_lease_is_over_and_again_after_a_while() {
        let turns = leads();
        assert!(!turns.begins(&GroupId::Meta, &placement(false)), "it has its lease");
        advance(LEASE).await;
        for _ in 0..3 {
            assert!(turns.begins(&GroupId::Meta, &placement(false)));
            assert!(!turns.begins(&GroupId::Meta, &placement(false)));
            advance(AGAIN).await;
        }
    }

    /// As node 1 sees a group that it leads; node 2 answered just now and lacks so many entries, node 3 is away.
    fn status(lacks: u64) -> GroupStatus {
        let others = [(2, 10, lacks), (3, 9_000, 0), (4, 10, 0)];
        GroupStatus { learners: [4].into(), ..steer::tests::status(&others) }
    }

    #[test]
    fn who_leads_the_meta_group_is_handed_what_nobody_is_named_to_lead_if_it_can() {
        let named = |leads: Option<NodeId>, is_settled: bool| Placement {
            voters: [1, 2, 3].into(),
            leads,
            ..placement(is_settled)
        };
        let nobody = named(None, true);
        for (leader, lacks, placement, wanted) in [
            (Some(2), 0, &nobody, Some(2)),
            (Some(2), 500, &nobody, None),
            (None, 0, &nobody, None),
            (Some(1), 0, &nobody, None),
            // it is away, or has no vote
            (Some(3), 0, &nobody, None),
            (Some(4), 0, &nobody, None),
            (Some(2), 0, &named(None, false), None),
            (Some(2), 0, &Placement { voters: [1, 3].into(), ..nobody.clone() }, None),
            // an operator has said who leads
            (Some(2), 0, &named(Some(1), true), None),
            (Some(2), 0, &named(Some(3), true), None),
        ] {
            assert_eq!(gathers(1, &status(lacks), placement, leader), wanted, "{leader:?}, {lacks}, {placement:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_is_named_to_lead_is_handed_on_after_a_while_and_then_not_more_often() {
        let (turns, meta) = (leads(), GroupId::Meta);
        advance(RESTS).await;
        assert_eq!(turns.gathers(&meta, Some(2)), None, "it has just begun");
        advance(APART_FOR).await;
        assert_eq!(turns.gathers(&meta, Some(2)), Some(2));
        assert_eq!(turns.gathers(&meta, Some(2)), None, "it was tried");
        advance(APART_FOR / 2).await;
        assert_eq!(turns.gathers(&meta, Some(3)), None, "another one has just begun");
        advance(APART_FOR / 2).await;
        assert_eq!(turns.gathers(&meta, None), None);
        assert_eq!(turns.gathers(&meta, Some(3)), None, "it could not for a moment");
        advance(APART_FOR).await;
        assert_eq!(turns.gathers(&meta, Some(3)), Some(3));
        turns.look(&meta, false);
        advance(APART_FOR).await;
        assert_eq!(turns.gathers(&meta, Some(3)), None, "this node leads no more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_back_leads_when_the_other_one_has_led_for_a_while() {
        let turns = leads();
        advance(RESTS / 2).await;
        // a look in between changes nothing
        turns.look(&GroupId::Meta, true);
        assert!(!turns.begins(&GroupId::Meta, &placement(true)));
        advance(RESTS / 2).await;
        assert!(turns.begins(&GroupId::Meta, &placement(true)));
        advance(RESTS / 2).await;
        assert!(!turns.begins(&GroupId::Meta, &placement(true)), "it did not take it");
        advance(RESTS / 2).await;
        assert!(turns.begins(&GroupId::Meta, &placement(true)));
        // it did, and lost it: this node rests anew
        turns.look(&GroupId::Meta, false);
        assert!(!turns.begins(&GroupId::Meta, &placement(true)) && !turns.begins(&GroupId::Meta, &placement(false)));
        advance(RESTS).await;
        turns.look(&GroupId::Meta, true);
        assert!(!turns.begins(&GroupId::Meta, &placement(true)));
        // a new word is carried out
        advance(LEASE).await;
        assert!(!turns.begins(&GroupId::Meta, &placement(true)));
        assert!(turns.begins(&GroupId::Meta, &placement(false)));
    }
}
