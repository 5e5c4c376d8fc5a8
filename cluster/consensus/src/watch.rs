//! Tells a machine whether its node leads: from Raft's metrics, in one task a group.
//!
//! The engine says them after each word that it has taken, several times an entry. They are looked at when it says who leads or belongs to the group, as
//! long as this node leads and its machine does not yet, and twice a second: not at each entry.
//!
//! A node leads for its machine when it is Raft's leader, has heard a quorum lately, and everything in its log is applied, so that its own
//! first entry is. It leads no more as soon as one of the first two ends, or somebody says that the log moved on under the machine. One that has
//! given up by itself what it was told (its log went on from files) is told anew: nobody else would, as long as this node leads.
//! While the engine waits for its disk (it is full) it says nothing, neither to its followers nor here: that counts as no quorum.
//! It also sees when the engine has ended by itself, and says so.

use crate::health::Health;
use crate::machine::{EntryId, Machine};
use crate::state_machine::StateMachine;
use crate::storage::Storage;
use crate::transport::{GroupId, Member, NodeId};
use openraft::error::Fatal;
use openraft::metrics::RaftServerMetrics;
use openraft::{RaftMetrics, ServerState};
use std::sync::Arc;
use std::time::Duration;
use strandline_wal::LeaderId;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// A leader that no quorum answered for so long acts as none: another one may be there.
const QUORUM_STALE_MS: u64 = 3_000;
/// How often that is looked at while nothing else happens.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between looks at whether a machine acts as it was told: one that does not at two of them has given up.
const ACTS_WITHIN: Duration = Duration::from_secs(1);

/// The last look at what a machine does with its leadership.
struct Look {
    at: Instant,
    acts: bool,
}

pub(crate) struct Watch {
    pub(crate) group: GroupId,
    pub(crate) node: NodeId,
    pub(crate) metrics: watch::Receiver<RaftMetrics<u64, Member>>,
    /// What of them says who leads and belongs to the group: told just before them, and only when it is another.
    pub(crate) servers: watch::Receiver<RaftServerMetrics<u64, Member>>,
    pub(crate) state: StateMachine,
    pub(crate) storage: Storage,
    pub(crate) machine: Arc<dyn Machine>,
    pub(crate) nudge: Arc<Notify>,
    pub(crate) health: Health,
}

/// Who leads, with its address.
pub(crate) fn leader_of(metrics: &RaftMetrics<u64, Member>) -> Option<(NodeId, Member)> {
    let leader = metrics.current_leader?;
    let member = metrics.membership_config.membership().get_node(&leader).cloned();
    Some((leader, member.unwrap_or_default()))
}

impl Watch {
    pub(crate) async fn run(mut self) {
        let mut leading: Option<LeaderId> = None;
        let mut moved_on = false;
        let mut told = Instant::now();
        let mut look = Look { at: told, acts: true };
        let mut looked = told;
        // until the metrics have come that belong to what was told before them
        let mut is_news = true;
        loop {
            let (metrics, came) = {
                let now = self.metrics.borrow_and_update();
                (now.clone(), now.has_changed())
            };
            if came {
                // nobody saw when: not before the last look
                told = looked;
            }
            looked = Instant::now();
            let leads = self.leads(&metrics, told);
            if leads.is_some() {
                self.health.is_led();
            }
            self.storage.set_leader(leader_of(&metrics));
            if leading.is_some() && (leads != leading || moved_on || self.has_given_up(&mut look)) {
                leading = None;
                self.machine.leads(None);
            }
            moved_on = false;
            if let (None, Some(leader)) = (leading, leads)
                && let Some(last) = self.applied_all(&metrics, leader)
            {
                leading = Some(leader);
                look = Look { at: Instant::now(), acts: true };
                self.machine.leads(Some(last));
            }
            let is_awaited = leading.is_none() && metrics.state == ServerState::Leader;
            tokio::select! {
                biased;
                changed = self.servers.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    is_news = true;
                }
                changed = self.metrics.changed(), if is_news || is_awaited => {
                    if changed.is_err() {
                        break;
                    }
                    is_news = false;
                    (told, looked) = (Instant::now(), Instant::now());
                }
                () = self.nudge.notified() => moved_on = true,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        if leading.is_some() {
            self.machine.leads(None);
        }
        self.ends();
    }

    /// Whether the machine has not acted for a while as the leader that it was told to be.
    fn has_given_up(&self, look: &mut Look) -> bool {
        if look.at.elapsed() < ACTS_WITHIN {
            return false;
        }
        let before = std::mem::replace(look, Look { at: Instant::now(), acts: self.machine.acts() });
        let has_given_up = !before.acts && !look.acts;
        if has_given_up {
            tracing::warn!(group = %self.group, "this node leads the log, and its owner takes no appends: it is told again that it leads");
        }
        has_given_up
    }

    /// The engine's task is gone. It says why, unless it panicked.
    fn ends(&self) {
        let why = match &self.metrics.borrow().running_state {
            Err(Fatal::Stopped) => return,
            Err(fatal) => fatal.to_string(),
            Ok(()) => "its engine panicked: the lines before this one say where".to_owned(),
        };
        if self.health.ends(&why) {
            tracing::error!(group = %self.group, "this log takes no part on this node any more: {why}; start the node again");
        }
    }

    /// The leadership of this node, if it has one that is alive, by what was told then.
    fn leads(&self, metrics: &RaftMetrics<u64, Member>, told: Instant) -> Option<LeaderId> {
        let vote = &metrics.vote;
        let mine = vote.committed && vote.leader_id.node_id == self.node && metrics.state == ServerState::Leader;
        // nobody takes the place of the only voter, whatever it waits for
        let alone = metrics.membership_config.voter_ids().eq([self.node]);
        let since_ms = if alone { 0 } else { u64::try_from(told.elapsed().as_millis()).unwrap_or(u64::MAX) };
        let fresh = metrics.millis_since_quorum_ack.is_none_or(|ms| ms.saturating_add(since_ms) <= QUORUM_STALE_MS);
        let runs = metrics.running_state.is_ok();
        (mine && fresh && runs).then_some(LeaderId { term: vote.leader_id.term, node: self.node })
    }

    /// The last entry of the log, if it is of this leadership and applied.
    fn applied_all(&self, metrics: &RaftMetrics<u64, Member>, leader: LeaderId) -> Option<EntryId> {
        let applied = self.state.applied()?;
        let all = metrics.last_log_index == Some(applied.number);
        (all && applied.leader == leader).then_some(applied)
    }
}
