//! A member whose log lacks what it had acknowledged ends for good, so that it votes with nobody else either once the leader that knows is gone.
//!
//! ```text
//!  leader: an append finds that the member lacks an entry which it acknowledged in this term (`network`)
//!       ── Lacks(group, the entry) ──> the member: this one leads here, in this term, and the entry is not there
//!                                       -> all of its groups end, and its folder says so: no start goes on with it (`Keep`)
//! ```
//!
//! Nobody takes another's word alone for it: in a term a follower cuts off nothing that it has acknowledged to the leader of that term, so a
//! member that follows this leader and does not have the entry has lost it. Whom it does not follow cannot end it, nor one whose word is old: the log
//! says whom it follows, before it says what was cut off.
//!
//! It refuses to guess: a copy that is behind what another leader was told is not known from a member that was away (`lives` knows most copies before).

use super::Control;
use super::ask::question;
use crate::contact::Lost;
use crate::fields::{FieldError, Put, Take};
use crate::join::AskKind;
use crate::meta::{put_group, take_group};
use crate::transport::{GroupId, NodeId};
use futures_util::future::join_all;
use std::sync::Arc;
use std::time::Duration;
use strandline_wal::LeaderId;

/// Version of the body.
const VERSION: u8 = 1;
/// Time of the question: the member ends its groups and writes a file.
const WITHIN: Duration = Duration::from_secs(3);

impl Control {
    /// Why this node takes no part any more: what it lacks although it had acknowledged it.
    #[must_use]
    pub fn lost(&self) -> Option<Arc<str>> {
        self.lost.lock().clone()
    }

    /// Members that lack what they had acknowledged to this node hear so. Where this node is one of them, groups that it has opened since end too.
    pub(super) async fn tell_lacking(&self) {
        if let Some(why) = self.lost() {
            self.end_all(&why).await;
            return;
        }
        let mut telling = Vec::new();
        for group in self.groups().all() {
            for (node, lost) in group.lacking() {
                telling.push(self.tell_lost(group.id().clone(), node, lost));
            }
        }
        join_all(telling).await;
    }

    async fn tell_lost(&self, group: GroupId, node: NodeId, lost: Lost) {
        let Some(address) = self.address_of(node) else { return };
        let ask = question(AskKind::Lacks, &body_of(&group, lost));
        if let Err(error) = self.transport().ask(node, &address, ask, WITHIN).await {
            tracing::debug!(%group, node, "it has not heard yet that it lacks what it had acknowledged: {error}");
        }
    }

    /// Ends for good if that is so.
    pub(super) async fn lacks_here(&self, asker: NodeId, body: &[u8]) -> Result<Vec<u8>, String> {
        let (id, lost) = lost_of(body).map_err(|error| error.to_string())?;
        let group = self.groups().get(&id).ok_or_else(|| format!("there is no group {id} here"))?;
        let Lost { term, number, .. } = lost;
        if !group.has_lost(asker, lost) {
            return Err(format!("entry {number} of {id} is here, or node {asker} does not lead that in term {term}"));
        }
        let why = format!("entry {number} of {id}, which it had acknowledged to node {asker}, is not in its log");
        let this = self.clone();
        // to its end, whoever waits for it
        let ending = tokio::spawn(async move { this.end_for_good(Arc::from(why)).await });
        ending.await.map_err(|error| error.to_string())?.map(|()| Vec::new())
    }

    pub(super) async fn end_for_good(&self, why: Arc<str>) -> Result<(), String> {
        tracing::error!(
            "this node takes no part any more: {why}. An older copy of its data directory was put in its place, or its disk lost something: \
             stop it, let a new node join, and `replace` it by the new one"
        );
        // first: what is written matters at the next start
        self.end_all(&why).await;
        let written = self.parts.machine.forsake(Arc::clone(&why)).await;
        *self.lost.lock() = Some(why);
        written.map_err(|error| {
            tracing::error!("its data directory does not say so: do not start it again: {error}");
            error.to_string()
        })
    }

    async fn end_all(&self, why: &str) {
        for group in self.groups().all() {
            group.forsake(why).await;
        }
    }
}

fn body_of(group: &GroupId, lost: Lost) -> Vec<u8> {
    let mut body = Put::of(VERSION);
    put_group(&mut body, group);
    [lost.term, lost.leader.term, lost.leader.node, lost.number].into_iter().for_each(|value| body.u64(value));
    body.0
}

fn lost_of(body: &[u8]) -> Result<(GroupId, Lost), FieldError> {
    let mut take = Take(body);
    take.version(VERSION)?;
    let (group, term) = (take_group(&mut take)?, take.u64()?);
    let leader = LeaderId { term: take.u64()?, node: take.u64()? };
    let lost = Lost { term, leader, number: take.u64()? };
    take.end()?;
    Ok((group, lost))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::LogKey;

    #[test]
    fn what_is_said_is_read_back_and_nothing_shorter_or_longer() {
        let lost = Lost { term: 7, leader: LeaderId { term: 5, node: 2 }, number: 1 << 40 };
        let log = GroupId::Log { store: Arc::from("s"), log: LogKey::single("T") };
        for group in [GroupId::Meta, log] {
            let body = body_of(&group, lost);
            assert_eq!(lost_of(&body), Ok((group, lost)));
            assert!((0..body.len()).all(|end| lost_of(&body[..end]).is_err()));
            assert!(lost_of(&[&body[..], &[0]].concat()).is_err());
        }
    }
}
