//! A log whose founder was lost for good before it had made it: another voter makes it.
//!
//! ```text
//!  the founder is removed (`replace`), and nothing was ever acknowledged
//!    leader of the meta group ── Unmade(group, how far it is) ──> every member: it is as far, hears nobody who was removed, and has no entry, vote,
//!                                                                   folder or file of the log
//!      all say so  ->  Found(group, epoch, a voter)  ->  that one makes it
//! ```
//!
//! A log that began once must not begin again: two beginnings have the same first place, and who holds the one would take the other for it. So each
//! member is asked, and who does not answer is waited for. Where somebody has what the founder had begun, nothing is done: nobody can go on with that,
//! since the founder alone had a vote in it.
//!
//! A member says so only once it has applied what the leader had when it asked, and while nobody who was removed has a part in the meta group, as its
//! log of that says: from then on it hears none of them, and whoever has nothing gets nothing from them. That is more than the founder: another
//! member may have been given what that one began and was lost too, and is not asked, while a member that is behind still hears it.

use super::ask::some_at_once;
use super::{Control, STEER_EVERY};
use crate::fields::{FieldError, Put, Take};
use crate::join::AskKind;
use crate::meta::{Command, MetaState, NodeState, Placement, put_group, take_group};
use crate::transport::{GroupId, NodeId};
use std::time::Duration;
use tokio::sync::watch;

/// Version of the body and of the answer.
const VERSION: u8 = 1;
/// Time of the question.
const WITHIN: Duration = Duration::from_secs(3);

/// The groups that another node may make, each with its epoch and who shall: who shall lead, or leads the meta group, else the first.
fn lost(state: &MetaState, leader: NodeId) -> Vec<(GroupId, u64, NodeId)> {
    let of_meta = state.groups().get(&GroupId::Meta);
    let may_be_heard = |node: NodeId| of_meta.is_none_or(|meta| meta.holds(node) || !meta.is_settled());
    let shall = |placement: &Placement| {
        let asked = placement.leads.into_iter().chain([leader]).find(|node| placement.voters.contains(node));
        asked.or_else(|| placement.voters.first().copied())
    };
    let unmade =
        state.groups().iter().filter(|(group, _)| state.lost_founder(group).is_some_and(|node| !may_be_heard(node)));
    unmade.filter_map(|(group, placement)| Some((group.clone(), placement.epoch, shall(placement)?))).collect()
}

impl Control {
    /// Has logs made whose founders were lost while this node leads the meta group, until `stopped` says so.
    pub(super) async fn keep_founders(&self, stopped: watch::Receiver<bool>) {
        let round = || async {
            if self.leads() {
                self.name_founders().await;
            }
        };
        self.keep_at(stopped, STEER_EVERY, round).await;
    }

    async fn name_founders(&self) {
        let lost = self.with_state(|state| lost(state, self.node()));
        let naming = lost.into_iter().map(|(group, epoch, node)| self.name_founder(group, epoch, node));
        some_at_once(naming.collect()).await;
    }

    async fn name_founder(&self, group: GroupId, epoch: u64, node: NodeId) {
        if let Some(other) = self.who_has_some(&group).await {
            tracing::debug!(%group, node = other, "who should make its log was lost, and this node has not said that it has nothing of it");
            return;
        }
        match self.propose(&Command::Found { group: group.clone(), epoch, node }).await {
            Ok(_) => {
                tracing::warn!(%group, node, "who should make its log was lost before it had: this node makes it");
            }
            // the next look sees why
            Err(error) => tracing::debug!(%group, node, "it shall make the log, and was not told yet: {error}"),
        }
    }

    /// A member that has something of a group, or does not say that it has nothing.
    async fn who_has_some(&self, group: &GroupId) -> Option<NodeId> {
        let (through, others) = self.with_state(|state| (state.applied(), self.others(state)));
        // this node as any other one: not before it is known who is asked
        if !self.has_nothing(group, through).await {
            return Some(self.node());
        }
        let asked = self.ask_each(others, AskKind::Unmade, &body_of(group, through), WITHIN).await;
        let mut answers = asked.into_iter();
        let has_some = answers.find(|(_, answer)| !answer.as_ref().is_ok_and(|answer| said_of(answer) == Ok(true)));
        has_some.map(|(node, _)| node)
    }

    /// The answer to another node that asks.
    pub(super) async fn unmade_here(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let (group, through) = asked_of(body).map_err(|error| error.to_string())?;
        Ok(said_bytes(self.has_nothing(&group, through).await))
    }

    /// `through`: the command up to which the state must be known here.
    async fn has_nothing(&self, group: &GroupId, through: u64) -> bool {
        let removed: Option<Vec<NodeId>> = self.with_state(|state| {
            // once it is settled nobody takes back that a removed node has no part in it
            let is_settled = state.groups().get(&GroupId::Meta).is_some_and(Placement::is_settled);
            let is_lost = is_settled && state.applied() >= through && state.lost_founder(group).is_some();
            let removed = state.nodes().iter().filter(|(_, entry)| entry.state == NodeState::Removed);
            is_lost.then(|| removed.map(|(node, _)| *node).collect())
        });
        // from here on none of them is heard
        let members = self.parts.meta.members();
        if removed.is_none_or(|removed| removed.iter().any(|node| members.contains_key(node))) {
            return false;
        }
        let GroupId::Log { store, log } = group else { return false };
        let how = self.lookers.lock().get(&**store).cloned();
        let Some(how) = how.filter(|how| !how.has_files(log)) else { return false };
        match self.groups().get(group) {
            Some(group) => group.is_unmade().await == Ok(true),
            None => !how.has_had(log),
        }
    }
}

fn body_of(group: &GroupId, through: u64) -> Vec<u8> {
    let mut body = Put::of(VERSION);
    put_group(&mut body, group);
    body.u64(through);
    body.0
}

fn asked_of(body: &[u8]) -> Result<(GroupId, u64), FieldError> {
    let mut take = Take(body);
    take.version(VERSION)?;
    let asked = (take_group(&mut take)?, take.u64()?);
    take.end()?;
    Ok(asked)
}

fn said_bytes(has_nothing: bool) -> Vec<u8> {
    let mut out = Put::of(VERSION);
    out.u64(u64::from(has_nothing));
    out.0
}

fn said_of(answer: &[u8]) -> Result<bool, FieldError> {
    let mut take = Take(answer);
    take.version(VERSION)?;
    let said = take.u64()?;
    take.end()?;
    match said {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(FieldError::Value("an answer that is neither yes nor no")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixtures::{cluster_of, tell};
    use crate::meta::Erasable;
    use std::sync::Arc;
    use strandline_event::LogKey;
    use strandline_wal::LeaderId;

    fn group() -> GroupId {
        GroupId::Log { store: Arc::from("a"), log: LogKey::single("T") }
    }

    fn settle(state: &mut MetaState, group: &GroupId) {
        let placement = state.groups()[group].clone();
        let report = Command::Settled { group: group.clone(), epoch: placement.epoch, voters: placement.voters };
        tell(state, &report);
    }

    #[test]
    fn a_log_is_made_by_another_voter_once_its_founder_is_removed_and_heard_by_nobody() {
        let mut state = cluster_of(&["ingest"; 4]);
        tell(&mut state, &Command::DeclareStore { replaces: 0, name: "a".into(), statement: "s".into() });
        settle(&mut state, &GroupId::Meta);
        let (store, name) = ("a".to_owned(), "T".to_owned());
        let register = Command::RegisterType { store, name, buckets: 1, erasable: Erasable::No, registered: true };
        let by = LeaderId { term: 1, node: 1 };
        state.apply_of(by, state.applied() + 1, &register).unwrap();
        assert_eq!(state.groups()[&group()].founder, Some(1));
        // it may only be away
        assert!(lost(&state, 2).is_empty());
        tell(&mut state, &Command::Replace { lost: 1, with: 4 });
        assert_eq!(state.lost_founder(&group()), Some(1));
        assert!(lost(&state, 2).is_empty(), "it may still have a part in the meta group");
        settle(&mut state, &GroupId::Meta);
        let epoch = state.groups()[&group()].epoch;
        // who shall lead, who leads the meta group, the first
        let wanted = |node| vec![(group(), epoch, node)];
        assert_eq!((lost(&state, 3), lost(&state, 9)), (wanted(3), wanted(2)));
        let mut led = state.clone();
        tell(&mut led, &Command::Lead { group: group(), node: Some(4) });
        assert_eq!(lost(&led, 3)[0].2, 4);
        tell(&mut state, &Command::Found { group: group(), epoch, node: 3 });
        assert!(lost(&state, 2).is_empty());
    }

    #[test]
    fn what_is_said_is_read_back_and_nothing_shorter_or_longer() {
        let body = body_of(&group(), 1 << 40);
        assert_eq!(asked_of(&body), Ok((group(), 1 << 40)));
        assert!((0..body.len()).all(|end| asked_of(&body[..end]).is_err()));
        assert!(asked_of(&[&body[..], &[0]].concat()).is_err());
        for said in [false, true] {
            let bytes = said_bytes(said);
            assert_eq!(said_of(&bytes), Ok(said));
            assert!((0..bytes.len()).all(|end| said_of(&bytes[..end]).is_err()));
            assert!(said_of(&[&bytes[..], &[0]].concat()).is_err());
        }
        let mut neither = said_bytes(true);
        neither[8] = 2;
        assert!(said_of(&neither).is_err());
    }
}
