//! Leadership goes to another voter before this node stops, or votes no more, so that nobody waits for an election time to pass.
//!
//! ```text
//!  leader ── TakeOver(group, yields) ──> every other voter: asks for votes once, and so forgets its leader's lease
//!         ── TakeOver(group, leads) ───> the one that has most: asks for votes until it leads
//!         ── heartbeats: it sees the later term, and steps down
//! ```
//!
//! Which of them wins is open: a leader whose lease is over votes for the first that asks and has all of its log, and of two that ask at once the
//! larger number wins. Where one alone shall lead, the others are not asked (`leading`).
//!
//! Only what any voter may do at any time is done, so it is as safe as any election; where it fails, one comes about as ever.

use super::Control;
use super::ask::{question, some_at_once};
use super::outcome::ControlError;
use crate::consensus::Leadership;
use crate::fields::{FieldError, Put, Take};
use crate::group::Group;
use crate::join::AskKind;
use crate::meta::{put_group, take_group};
use crate::transport::{GroupId, NodeId};
use futures_util::future::join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Version of the bodies.
const VERSION: u8 = 1;
/// Time in which the others forget their leader.
const YIELDS_WITHIN: Duration = Duration::from_millis(300);
/// Time in which the next leader must lead.
const LEADS_WITHIN: Duration = Duration::from_secs(2);
/// Between its attempts.
const AGAIN: Duration = Duration::from_millis(100);
/// Between heartbeats of the one that goes.
const BEAT: Duration = Duration::from_millis(50);
/// Time that all groups of a node have.
const ALL_WITHIN: Duration = Duration::from_secs(4);

impl Control {
    /// Another voter leads a group that this node leads.
    ///
    /// # Errors
    /// It cannot be reached, or does not win: an election decides.
    pub async fn hand_over(&self, group: &Group, to: NodeId) -> Result<(), ControlError> {
        let others: Vec<NodeId> = group.status().voters.into_iter().filter(|n| *n != to && *n != self.node()).collect();
        let yielding = join_all(others.into_iter().map(|node| self.ask_over(node, group.id(), false)));
        // who does not answer keeps its lease for a while
        let _ = timeout(YIELDS_WITHIN, yielding).await;
        if group.status().leader.is_some_and(|(leader, _)| leader != self.node()) {
            // one of them has won already
            return Ok(());
        }
        let taking = self.ask_over(to, group.id(), true);
        tokio::pin!(taking);
        loop {
            tokio::select! {
                taken = &mut taking => return taken,
                () = sleep(BEAT) => group.heartbeat().await,
            }
        }
    }

    /// All groups that this node leads get another leader, where one answers. For a node that stops and accepts nothing more.
    pub async fn hand_over_all(&self) {
        let led: Vec<Arc<Group>> =
            self.groups().all().into_iter().filter(|g| g.leadership() == Leadership::Leads).collect();
        let handing = some_at_once(led.iter().map(|group| self.hand_over_to_any(group)).collect());
        if timeout(ALL_WITHIN, handing).await.is_err() {
            tracing::warn!("not every log was handed over in time: the others elect leaders");
        }
    }

    async fn hand_over_to_any(&self, group: &Group) {
        let status = group.status();
        let mut others: Vec<NodeId> = status
            .voters
            .iter()
            .copied()
            .filter(|node| *node != self.node() && status.lacks(*node).is_none())
            .collect();
        others.sort_by_key(|node| status.behind(*node));
        for to in others {
            match self.hand_over(group, to).await {
                Ok(()) => return,
                Err(error) => tracing::info!(group = %group.id(), to, "it was not handed over: {error}"),
            }
        }
    }

    pub(super) async fn ask_over(&self, node: NodeId, group: &GroupId, leads: bool) -> Result<(), ControlError> {
        let none = |why: String| ControlError::NoLeader(why);
        let address = self.address_of(node).ok_or_else(|| none(format!("where node {node} is is not known")))?;
        let mut body = Put::of(VERSION);
        put_group(&mut body, group);
        body.u64(u64::from(leads));
        let ask = question(AskKind::TakeOver, &body.0);
        let asked = self.transport().ask(node, &address, ask, LEADS_WITHIN).await;
        asked.map(drop).map_err(|error| none(error.to_string()))
    }

    /// The same, asked by the leader of a group; where none is known here, by one of its voters.
    pub(super) async fn take_over_here(&self, asker: NodeId, body: &[u8]) -> Result<Vec<u8>, String> {
        let (wanted, leads) = wanted_of(body).map_err(|error| error.to_string())?;
        let group = self.groups().get(&wanted).ok_or_else(|| format!("there is no group {wanted} here"))?;
        let status = group.status();
        if !status.leader.map_or_else(|| status.voters.contains(&asker), |(leader, _)| leader == asker) {
            return Err(format!("node {asker} does not lead {wanted}"));
        }
        let elect = async || group.elect().await.map_err(|error| error.to_string());
        elect().await?;
        if !leads {
            return Ok(Vec::new());
        }
        let winning = async {
            while !group.wins(AGAIN).await {
                elect().await?;
            }
            Ok(Vec::new())
        };
        timeout(LEADS_WITHIN, winning).await.unwrap_or_else(|_| Err("too few voters answered".to_owned()))
    }
}

fn wanted_of(body: &[u8]) -> Result<(GroupId, bool), FieldError> {
    let mut take = Take(body);
    take.version(VERSION)?;
    let (group, leads) = (take_group(&mut take)?, take.u64()?);
    take.end()?;
    match leads {
        0 => Ok((group, false)),
        1 => Ok((group, true)),
        _ => Err(FieldError::Value("what a voter shall do")),
    }
}
