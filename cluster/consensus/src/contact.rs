//! When this node last heard each other member of a group: what a leader knows of its followers, since it asks them all the time.
//!
//! It refuses to say anything of a member that is not asked: who does not lead knows nothing new.
//!
//! And how far each one has said in this term that it holds the log, and what it lacks of that. openraft goes on to count on that when members
//! change and it connects to all of them anew; only of one that has left it knows nothing when that one comes back.

use crate::transport::NodeId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_wal::LeaderId;
use tokio::time::Instant;

/// A member that was not asked for so long is not asked any more: this node does not lead, or the member has left. Far above a heartbeat and
/// the longest pause between attempts.
const ASKED_WITHIN: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
struct Contact {
    /// When it was asked first, without a long pause since.
    began: Instant,
    asked: Instant,
    heard: Option<Instant>,
}

/// An entry that a member has acknowledged, and lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lost {
    /// The term of the leader to which it was acknowledged.
    pub(crate) term: u64,
    /// Who made the entry.
    pub(crate) leader: LeaderId,
    /// Its number.
    pub(crate) number: u64,
}

/// How far a member holds the log, as it has said to this node as the leader of a term.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<Holds>);

#[derive(Debug, Default)]
struct Holds {
    term: u64,
    through: Option<u64>,
    /// What it lacks of that.
    lost: Option<Lost>,
}

impl Held {
    /// It has said in this term that it holds the log through this number.
    pub(crate) fn keeps(&self, term: u64, through: Option<u64>) {
        let mut holds = self.0.lock();
        if term > holds.term {
            *holds = Holds { term, ..Holds::default() };
        }
        if term == holds.term {
            holds.through = holds.through.max(through);
            // another folder stands in its place, which has it
            holds.lost = holds.lost.filter(|lost| through.is_none_or(|through| through < lost.number));
        }
    }

    /// Whether it has said in this term that it holds the entry with this number.
    pub(crate) fn has(&self, term: u64, number: u64) -> bool {
        let holds = self.0.lock();
        term == holds.term && holds.through.is_some_and(|through| number <= through)
    }

    /// How far it has said in this term that it holds the log; `None`: not at all, or it lacks some of that.
    fn through(&self, term: u64) -> Option<u64> {
        let holds = self.0.lock();
        holds.through.filter(|_| term == holds.term && holds.lost.is_none())
    }

    /// It lacks some of that. `true`: it has not been said in this term.
    pub(crate) fn loses(&self, lost: Lost) -> bool {
        self.0.lock().lost.replace(lost).is_none()
    }

    /// What it lacks of that.
    fn lost(&self) -> Option<Lost> {
        self.0.lock().lost
    }
}

/// The members of a group that are asked.
#[derive(Debug, Default)]
pub(crate) struct Contacts(Mutex<BTreeMap<NodeId, Contact>>, Mutex<BTreeMap<NodeId, Arc<Held>>>);

impl Contacts {
    /// What a member holds: one for all connections to it, as long as it is a member.
    pub(crate) fn held(&self, node: NodeId) -> Arc<Held> {
        Arc::clone(self.1.lock().entry(node).or_default())
    }

    /// How far a member has said in this term that it holds the log; `None`: it has not, or lacks some of that, or is none.
    pub(crate) fn holds(&self, node: NodeId, term: u64) -> Option<u64> {
        self.1.lock().get(&node)?.through(term)
    }

    /// Members that lack what they had acknowledged, in the last term in which each was asked.
    pub(crate) fn lacking(&self) -> Vec<(NodeId, Lost)> {
        self.1.lock().iter().filter_map(|(node, held)| Some((*node, held.lost()?))).collect()
    }

    /// Forgets what those hold who have left: they come back with nothing.
    pub(crate) fn retain(&self, is_member: impl Fn(NodeId) -> bool) {
        self.1.lock().retain(|node, _| is_member(*node));
    }

    /// A member is asked now.
    pub(crate) fn asks(&self, node: NodeId) {
        let now = Instant::now();
        let mut contacts = self.0.lock();
        let contact = contacts.entry(node).or_insert(Contact { began: now, asked: now, heard: None });
        if now - contact.asked > ASKED_WITHIN {
            // what was heard under an earlier leadership says nothing of this one
            (contact.began, contact.heard) = (now, None);
        }
        contact.asked = now;
    }

    /// It has answered.
    pub(crate) fn hears(&self, node: NodeId) {
        if let Some(contact) = self.0.lock().get_mut(&node) {
            contact.heard = Some(Instant::now());
        }
    }

    /// Whether it has answered since then.
    pub(crate) fn heard_since(&self, node: NodeId, then: Instant) -> bool {
        self.0.lock().get(&node).and_then(|contact| contact.heard).is_some_and(|heard| heard >= then)
    }

    /// For how long each member that is asked has not answered.
    pub(crate) fn silent(&self) -> BTreeMap<NodeId, Duration> {
        let now = Instant::now();
        let mut contacts = self.0.lock();
        contacts.retain(|_, contact| now - contact.asked <= ASKED_WITHIN);
        contacts.iter().map(|(node, contact)| (*node, now - contact.heard.unwrap_or(contact.began))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[test]
    fn what_a_member_holds_counts_in_its_term_and_until_it_leaves() {
        let contacts = Contacts::default();
        let held = contacts.held(2);
        held.keeps(3, Some(7));
        held.keeps(3, Some(5));
        assert!(contacts.held(2).has(3, 7) && !held.has(3, 8) && !held.has(2, 7) && !held.has(4, 7));
        assert_eq!((contacts.holds(2, 3), contacts.holds(2, 4), contacts.holds(5, 3)), (Some(7), None, None));
        let lost = |number| Lost { term: 3, leader: LeaderId { term: 3, node: 1 }, number };
        assert!(contacts.lacking().is_empty());
        assert!(held.loses(lost(6)) && !contacts.held(2).loses(lost(6)));
        assert_eq!((contacts.lacking(), contacts.holds(2, 3)), (vec![(2, lost(6))], None));
        // less than that says nothing, and all of it that another folder stands there
        held.keeps(3, Some(5));
        assert_eq!(contacts.lacking(), [(2, lost(6))]);
        held.keeps(3, Some(6));
        assert!(contacts.lacking().is_empty() && held.loses(lost(7)));
        // an answer to what was asked in an earlier term
        held.keeps(2, Some(9));
        assert!(held.has(3, 7) && !held.has(3, 9));
        held.keeps(4, None);
        assert!(!held.has(4, 0) && contacts.lacking().is_empty() && held.loses(lost(0)));
        held.keeps(4, Some(7));
        contacts.retain(|node| node == 2);
        assert!(contacts.held(2).has(4, 7));
        contacts.retain(|node| node == 3);
        held.keeps(4, Some(8));
        assert!(!contacts.held(2).has(4, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_is_silent_since_its_last_answer_and_unknown_when_nobody_asks_it() {
        let contacts = Contacts::default();
        contacts.asks(2);
        contacts.hears(2);
        let then = Instant::now();
        for _ in 0..3 {
            advance(Duration::from_secs(1)).await;
            contacts.asks(2);
            contacts.asks(3);
        }
        assert!(contacts.heard_since(2, then) && !contacts.heard_since(2, Instant::now()));
        assert!(!contacts.heard_since(3, then));
        let silent = contacts.silent();
        assert_eq!((silent[&2], silent[&3]), (Duration::from_secs(3), Duration::from_secs(2)));
        advance(ASKED_WITHIN + Duration::from_secs(1)).await;
        assert!(contacts.silent().is_empty());
        // a later leadership begins to count anew
        contacts.asks(2);
        assert_eq!(contacts.silent()[&2], Duration::ZERO);
    }
}
