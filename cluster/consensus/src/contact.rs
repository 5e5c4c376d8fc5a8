//! When this node last heard each other member of a group: what a leader knows of its followers, since it asks them all the time.
//!
//! It refuses to say anything of a member that is not asked: who does not lead knows nothing new.

use crate::transport::NodeId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;
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

/// The members of a group that are asked.
#[derive(Debug, Default)]
pub(crate) struct Contacts(Mutex<BTreeMap<NodeId, Contact>>);

impl Contacts {
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
