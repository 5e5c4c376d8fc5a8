//! Changes of a group's members, one at a time, and by a leader that stays a member alone.
//!
//! A leader that takes itself away goes on to lead for a moment after that is committed. openraft cannot take another change of members in that
//! moment (it ends with a panic), so none is made by a node that is no member: whoever leads next makes it. A change is carried out to its end
//! although its caller has given up, since it has two steps.

use crate::contact::Lost;
use crate::group::{Group, GroupError, GroupStatus};
use crate::transport::{Member, NodeId};
use openraft::error::RaftError;
use openraft::{ChangeMembers, RaftMetrics};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use strandline_wal::{LeaderId, Vote};
use tokio::sync::RwLockWriteGuard;
use tokio::time::{Instant, timeout};

/// Entries that a member may lack and count as one that has caught up: what is on its way while appends come in.
const NEAR: u64 = 64;
/// A member that has been silent for longer does not answer: some heartbeats, or a pause between attempts to reach it.
const SILENT_MAX: Duration = Duration::from_millis(1_500);

impl GroupStatus {
    /// Why this member cannot be counted on yet; `None`: it answers, and has caught up. Known on the leader.
    #[must_use]
    pub fn lacks(&self, node: NodeId) -> Option<String> {
        match self.silent.get(&node) {
            None => return Some("it has not been asked yet".to_owned()),
            Some(silent) if *silent > SILENT_MAX => {
                return Some(format!(
                    "it has not answered for {:.1} s: start it, or name another node",
                    silent.as_secs_f64()
                ));
            }
            Some(_) => {}
        }
        let behind = self.behind(node);
        (behind > NEAR).then(|| format!("it is {behind} entries behind"))
    }

    /// Whether a member has answered this leader lately.
    #[must_use]
    pub fn answers(&self, node: NodeId) -> bool {
        self.silent.get(&node).is_some_and(|silent| *silent <= SILENT_MAX)
    }

    /// Entries of the leader's log that a member does not have yet.
    #[must_use]
    pub fn behind(&self, node: NodeId) -> u64 {
        let through = self.replicated.get(&node).copied().flatten();
        // entries are numbered from 0
        let count = |number: Option<u64>| number.map_or(0, |number| number + 1);
        count(self.last).saturating_sub(count(through))
    }
}

impl Group {
    /// Whether there is nothing of it here: no entry, and nothing was promised to anybody. What was on its way when this is asked counts.
    ///
    /// # Errors
    /// The group has stopped.
    pub async fn is_unmade(&self) -> Result<bool, GroupError> {
        let is_begun = self.raft.is_initialized().await;
        is_begun.map(|is_begun| !is_begun).map_err(|error| GroupError::Stopped(error.to_string()))
    }

    /// Makes it, of this node alone, as a log is born that this node founds. `false`: there is something of it here.
    ///
    /// # Errors
    /// The group has stopped.
    pub async fn found(&self) -> Result<bool, GroupError> {
        if !self.is_unmade().await? {
            return Ok(false);
        }
        // where it is nobody has to know yet
        match self.raft.initialize(BTreeMap::from([(self.node, Member::default())])).await {
            Ok(()) => Ok(true),
            // something came in between
            Err(RaftError::APIError(_)) => Ok(false),
            Err(RaftError::Fatal(error)) => Err(GroupError::Stopped(error.to_string())),
        }
    }

    /// Gives the log to a node that does not vote; answered when it is nearly up to date if `wait`.
    ///
    /// # Errors
    /// This node does not lead, or another change is under way.
    pub async fn add_learner(&self, node: NodeId, member: Member, wait: bool) -> Result<(), GroupError> {
        self.change(ChangeMembers::AddNodes(BTreeMap::from([(node, member)])), true).await?;
        if wait { self.caught_up(node, Instant::now()).await } else { Ok(()) }
    }

    /// From now on these nodes vote; each must be a learner or a voter. Who voted and is not named leaves the group.
    ///
    /// # Errors
    /// As [`add_learner`](Self::add_learner).
    pub async fn set_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), GroupError> {
        self.change(ChangeMembers::ReplaceAllVoters(voters), false).await
    }

    /// A learner leaves the group.
    ///
    /// # Errors
    /// As [`add_learner`](Self::add_learner).
    pub async fn remove_learner(&self, node: NodeId) -> Result<(), GroupError> {
        self.change(ChangeMembers::RemoveNodes([node].into()), false).await
    }

    /// Whether a member has answered since then, and has nearly everything.
    #[must_use]
    pub fn has_caught_up(&self, node: NodeId, since: Instant) -> bool {
        let status = self.status();
        self.contacts.heard_since(node, since) && status.replicated.contains_key(&node) && status.lacks(node).is_none()
    }

    /// Waits until a member has answered once more, and has nearly everything.
    ///
    /// # Errors
    /// This node leads no more.
    pub async fn caught_up(&self, node: NodeId, since: Instant) -> Result<(), GroupError> {
        let mut metrics = self.raft.metrics();
        loop {
            metrics.borrow_and_update();
            let leader = self.status().leader;
            if leader.as_ref().is_none_or(|(leader, _)| *leader != self.node) {
                return Err(GroupError::NotLeader { leader });
            }
            if self.has_caught_up(node, since) {
                return Ok(());
            }
            metrics.changed().await.map_err(|error| GroupError::Stopped(error.to_string()))?;
        }
    }

    /// Members that lack what they had acknowledged to this node, as far as it leads.
    pub(crate) fn lacking(&self) -> Vec<(NodeId, Lost)> {
        let led = {
            let metrics = self.raft.metrics();
            let now = metrics.borrow();
            now.replication.is_some().then_some(now.current_term)
        };
        let mut lacking = self.contacts.lacking();
        lacking.retain(|(_, lost)| led == Some(lost.term));
        lacking
    }

    /// Whether this node lacks what another one says that it had acknowledged to it: that one leads, in the same term, in which nothing is cut
    /// off that was acknowledged to it.
    pub(crate) fn has_lost(&self, by: NodeId, lost: Lost) -> bool {
        let led = Vote { leader: LeaderId { term: lost.term, node: by }, committed: true };
        // whom it follows is asked last, and of the log: a later vote stands there before anything is cut off under it, and metrics come after both
        !self.storage().has(lost.leader, lost.number) && self.storage().with_writer(|writer| writer.vote()) == led
    }

    /// It takes no part on this node any more, and says why.
    pub(crate) async fn forsake(&self, why: &str) {
        self.health.ends(why);
        self.storage().give_up();
        // it has stopped already
        let _ = self.raft.shutdown().await;
    }

    /// Nothing is on its way and a member has all of the log: it can be elected by this leader's vote. What is proposed here waits until the
    /// answer is dropped. `None`: it is not so in time, or this node leads no more.
    pub(crate) async fn quiet_before(&self, node: NodeId, within: Duration) -> Option<RwLockWriteGuard<'_, ()>> {
        let has_all = move |now: &RaftMetrics<u64, Member>| {
            let Some(replicated) = &now.replication else { return true };
            replicated.get(&node).copied().flatten().map(|last| last.index) == now.last_log_index
        };
        let quiet = async {
            let quiet = self.proposing.write().await;
            let leads = self.raft.metrics().wait_for(has_all).await.ok()?.replication.is_some();
            leads.then_some(quiet)
        };
        timeout(within, quiet).await.ok().flatten()
    }

    async fn change(&self, members: ChangeMembers<u64, Member>, retain: bool) -> Result<(), GroupError> {
        let turn = Arc::clone(&self.changing).try_lock_owned();
        let turn = turn.map_err(|_| GroupError::Refused("another change of them is under way".to_owned()))?;
        let (raft, node, nudge) = (self.raft.clone(), self.node, Arc::clone(&self.nudge));
        let contacts = Arc::clone(&self.contacts);
        let changing = tokio::spawn(async move {
            let _turn = turn;
            // asked of the engine itself: what its metrics say may be older
            let known = raft.with_raft_state(|state| {
                let membership = state.membership_state.effective().membership();
                membership.nodes().map(|(node, _)| *node).collect::<BTreeSet<NodeId>>()
            });
            let known = known.await.map_err(|error| GroupError::Stopped(error.to_string()))?;
            if !known.contains(&node) {
                return Err(GroupError::NotLeader { leader: None });
            }
            // who left, and comes with this change, comes with an empty log
            contacts.retain(|node| known.contains(&node));
            let changed = raft.change_membership(members, retain).await;
            nudge.notify_one();
            changed.map(drop).map_err(|error| crate::group::changed(&error))
        });
        changing.await.map_err(|error| GroupError::Stopped(error.to_string()))?
    }
}
