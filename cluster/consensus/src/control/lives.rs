//! An older copy of a member's folder is known before it takes part, as long as another member runs that has heard of a newer one.
//!
//! ```text
//!  each folder counts: at each start, and every minute while its node runs and others answer
//!       ── Life(how far, of which start), once that is durable ──> every member: remembers the most, and answers what other starts had said
//!  as much as this start says, or more  ->  its folder is an older copy: no log of it is opened, or what is open ends for good, and no later
//!                                           start goes on with it
//! ```
//!
//! Nobody is told what the folder does not hold, and every start counts before it tells: so one that was not put back says more than any start before it,
//! however often it is told, and is never taken for a copy. What was heard is in memory alone: a whole cluster may be put back from copies that were made one
//! after the other. It refuses to know a copy of the last minute, or one that is put back when every other member was started anew since; the leader may
//! (`lacking`).

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
/// Time of the question.
const WITHIN: Duration = Duration::from_secs(3);

/// How far a folder counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    /// The count; durable before anybody is told.
    pub number: u64,
    /// Random bits of the start that says it.
    pub start: u128,
}

/// What was heard of a folder.
#[derive(Clone, Copy)]
struct Heard {
    instance: u128,
    most: Life,
    /// The most that other starts have said.
    others: u64,
}

/// What was heard of each.
#[derive(Default)]
pub(super) struct Lives(Mutex<BTreeMap<NodeId, Heard>>);

impl Lives {
    /// What other starts over the asker's folder had said; 0: nothing.
    fn heard(&self, asker: Asker, life: Life) -> u64 {
        let mut lives = self.0.lock();
        let begins = Heard { instance: asker.instance, most: life, others: 0 };
        let heard = lives.entry(asker.node).or_insert(begins);
        if heard.instance != asker.instance {
            *heard = begins;
        }
        let Life { number, start } = heard.most;
        if start == life.start {
            heard.most.number = number.max(life.number);
            return heard.others;
        }
        if life.number > number {
            (heard.most, heard.others) = (life, number);
        } else if life.number < number {
            // of two that say as much it is the first one's count
            heard.others = heard.others.max(life.number);
        }
        number
    }
}

/// Tells these nodes how far this one's folder counts. Gives the most that any of them has heard of other starts over it, and who; `None`: nobody answers.
pub async fn tell_lives(
    transport: &NetTransport,
    nodes: Vec<(NodeId, String)>,
    life: Life,
    within: Duration,
) -> Option<(u64, NodeId)> {
    let body = life_bytes(life);
    let asking = nodes.into_iter().map(|(node, address)| {
        let ask = question(AskKind::Life, &body);
        async move {
            let answer = transport.ask(node, &address, ask, within).await.ok()?;
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
    /// Tells every other member how far this node's folder counts. Whether anybody answers; where another start has said as much, this node ends for good.
    pub async fn tell_life(&self, life: Life) -> bool {
        let others = self.with_state(|state| self.others(state));
        let at = others.into_iter().map(|(node, said)| (node, self.transport().address(node).unwrap_or(said)));
        let told = tell_lives(self.transport(), at.collect(), life, WITHIN).await;
        if let Some((heard, by)) = told.filter(|(heard, _)| *heard >= life.number && self.lost().is_none()) {
            let (this, why) = (self.clone(), older_copy(life.number, heard, by));
            // to its end, whoever waits for it; what it cannot write it says itself
            let _ = tokio::spawn(async move { this.end_for_good(Arc::from(why)).await }).await;
        }
        told.is_some()
    }

    /// The answer to another node that tells.
    pub(super) fn life_here(&self, asker: Asker, body: &[u8]) -> Result<Vec<u8>, String> {
        let life = life_of(body).map_err(|error| error.to_string())?;
        Ok(number_bytes(self.lives.heard(asker, life)))
    }
}

fn life_bytes(life: Life) -> Vec<u8> {
    let mut out = Put::of(VERSION);
    out.u64(life.number);
    out.u128(life.start);
    out.0
}

fn life_of(body: &[u8]) -> Result<Life, FieldError> {
    let mut take = Take(body);
    take.version(VERSION)?;
    let life = Life { number: take.u64()?, start: take.u128()? };
    take.end()?;
    Ok(life)
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
    fn a_start_hears_what_others_have_said_however_often_it_tells() {
        let (lives, asker) = (Lives::default(), Asker { node: 3, instance: 30, cluster: 1 });
        let told = |start, number| lives.heard(asker, Life { number, start });
        // the first start counts on, and says some of it twice
        assert_eq!([5, 5, 6, 5].map(|number| told(1, number)), [0; 4]);
        // the next one has counted: it is above
        assert_eq!([7, 7, 8].map(|number| told(2, number)), [6; 3]);
        // older copies are not, and end no newer start
        assert_eq!((told(3, 6), told(4, 8), told(2, 8)), (8, 8, 6));
        assert_eq!((told(3, 7), told(2, 9)), (8, 7), "one that was not told to end yet");
        let other = Asker { node: 4, ..asker };
        assert_eq!(lives.heard(other, Life { number: 1, start: 9 }), 0);
        let anew = Asker { instance: 31, ..asker };
        assert_eq!(lives.heard(anew, Life { number: 1, start: 10 }), 0, "another folder");
    }

    #[test]
    fn what_is_said_is_read_back_and_nothing_shorter_or_longer() {
        let life = Life { number: 1 << 40, start: 1 << 100 };
        let bytes = life_bytes(life);
        assert_eq!(life_of(&bytes), Ok(life));
        assert!((0..bytes.len()).all(|end| life_of(&bytes[..end]).is_err()));
        assert!(life_of(&[&bytes[..], &[0]].concat()).is_err());
        let bytes = number_bytes(1 << 40);
        assert_eq!(number_of(&bytes), Ok(1 << 40));
        assert!((0..bytes.len()).all(|end| number_of(&bytes[..end]).is_err()));
        assert!(number_of(&[&bytes[..], &[0]].concat()).is_err());
        assert!(number_of(&[&[2][..], &bytes[1..]].concat()).is_err());
    }
}
