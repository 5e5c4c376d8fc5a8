//! An older copy of a member's folder is known before it takes part, as long as another member runs that has heard of a newer one.
//!
//! ```text
//!  each folder counts: at each start, and every minute while its node runs and others answer
//!       ── Life(how far), once that is durable ──> every member: remembers the most that it has heard, and answers what that was before
//!  at a start somebody had heard as much  ->  it is an older copy: no log of it is opened, and no later start goes on with it
//!  later somebody had heard more          ->  the same: it was started where nobody could be reached
//! ```
//!
//! Nobody is told what the folder does not hold, so one that was not put back is never taken for a copy. What was heard is in memory alone: a whole cluster
//! may be put back from copies that were made one after the other. It refuses to know a copy of the last minute, or one that is put back when every other
//! member was started anew since; the leader may (`lacking`).

use super::Control;
use super::ask::question;
use crate::fields::{FieldError, Put, Take};
use crate::join::AskKind;
use crate::net::{Asker, NetTransport};
use crate::transport::NodeId;
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Version of the body and of the answer.
const VERSION: u8 = 1;
/// Time of the question. A start waits so long for a member that stands still.
const WITHIN: Duration = Duration::from_secs(3);

/// The most that each folder has said of itself.
#[derive(Default)]
pub(super) struct Lives(Mutex<BTreeMap<NodeId, (u128, u64)>>);

impl Lives {
    /// What the asker's folder had said before; 0: nothing.
    fn heard(&self, asker: Asker, number: u64) -> u64 {
        let mut lives = self.0.lock();
        let (instance, most) = lives.entry(asker.node).or_insert((asker.instance, 0));
        if *instance != asker.instance {
            (*instance, *most) = (asker.instance, 0);
        }
        let before = *most;
        *most = before.max(number);
        before
    }
}

/// Tells these nodes how far this one's folder counts, which is durable. Gives the most that any of them had heard before, and who; `None`: nobody answers.
pub async fn tell_lives(transport: &NetTransport, nodes: Vec<(NodeId, String)>, number: u64) -> Option<(u64, NodeId)> {
    let body = number_bytes(number);
    let asking = nodes.into_iter().map(|(node, address)| {
        let ask = question(AskKind::Life, &body);
        async move {
            let answer = transport.ask(node, &address, ask, WITHIN).await.ok()?;
            Some((number_of(&answer).ok()?, node))
        }
    });
    join_all(asking).await.into_iter().flatten().max()
}

/// Why a folder is an older copy that counts so far, where a node had heard of it before.
#[must_use]
pub fn older_copy(number: u64, heard: u64, by: NodeId) -> String {
    format!("cluster/life counts {number}, and node {by} had heard {heard} of it before")
}

impl Control {
    /// Tells every other member how far this node's folder counts, which is durable. Whether anybody answers; where somebody had heard more, this node ends
    /// for good.
    pub async fn tell_life(&self, number: u64) -> bool {
        let others = self.with_state(|state| self.others(state));
        let at = others.into_iter().map(|(node, said)| (node, self.transport().address(node).unwrap_or(said)));
        let Some((heard, by)) = tell_lives(self.transport(), at.collect(), number).await else { return false };
        if heard > number && self.lost().is_none() {
            let (this, why) = (self.clone(), older_copy(number, heard, by));
            // to its end, whoever waits for it; what it cannot write it says itself
            let _ = tokio::spawn(async move { this.end_for_good(Arc::from(why)).await }).await;
        }
        true
    }

    /// The answer to another node that tells.
    pub(super) fn life_here(&self, asker: Asker, body: &[u8]) -> Result<Vec<u8>, String> {
        let number = number_of(body).map_err(|error| error.to_string())?;
        Ok(number_bytes(self.lives.heard(asker, number)))
    }
}

fn number_bytes(number: u64) -> Vec<u8> {
    let mut out = Put::of(VERSION);
    out.u64(number);
    out.0
}

fn number_of(body: &[u8]) -> Result<u64, FieldError> {
    let mut take = Take(body);
    take.version(VERSION)?;
    let number = take.u64()?;
    take.end()?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_a_folder_has_said_is_remembered_and_another_folder_begins_anew() {
        let (lives, asker) = (Lives::default(), Asker { node: 3, instance: 30, cluster: 1 });
        let said = [5, 7, 7, 6, 8].map(|number| lives.heard(asker, number));
        assert_eq!(said, [0, 5, 7, 7, 7], "6 is said by a copy");
        let other = Asker { node: 4, ..asker };
        assert_eq!((lives.heard(other, 2), lives.heard(other, 2)), (0, 2));
        let anew = Asker { instance: 31, ..asker };
        assert_eq!((lives.heard(anew, 1), lives.heard(anew, 2)), (0, 1));
    }

    #[test]
    fn what_is_said_is_read_back_and_nothing_shorter_or_longer() {
        let bytes = number_bytes(1 << 40);
        assert_eq!(number_of(&bytes), Ok(1 << 40));
        assert!((0..bytes.len()).all(|end| number_of(&bytes[..end]).is_err()));
        assert!(number_of(&[&bytes[..], &[0]].concat()).is_err());
        assert!(number_of(&[&[2][..], &bytes[1..]].concat()).is_err());
    }
}
