//! What readers of the global order may have passed is known here before this node assigns under a new leadership of a log: it assigns above that, whatever
//! its clock says.
//!
//! ```text
//!  the log's group elects this node ──> `may_lead`: not yet ──> the leader of every other log says how far it is committed, and this node applies that;
//!                                                               one that holds all logs does the same for those that this node does not hold,
//!                                                               and every member that answers says what its readers have passed
//!                                                           ──> told again: it assigns
//! ```
//!
//! That this is enough is argued in the README of the consensus crate (Moments under a new leader). No log stands still for it: where another log has no leader in
//! time this node assigns all the same, above what the members that answer know.
//!
//! Of the logs that it does not hold a node hears how far their moments are also meanwhile, twice a second, as a node that applies all of them would.

use super::{LOOK_EVERY, StoreReplicas, asked};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use strandline_consensus::GroupId;
use strandline_event::{LogKey, Micros};
use strandline_wal::LeaderId;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long who begins to lead waits for what is committed in other logs: none stands still for another one.
const HEARS_WITHIN: Duration = Duration::from_secs(1);
/// How long for what members have let readers pass: one that is away says nothing.
const MEMBERS_WITHIN: Duration = Duration::from_millis(300);

/// Between two questions while somebody waits: whoever was asked has answered that it does not know, and another one may.
const AGAIN: Duration = Duration::from_millis(100);

/// A leadership of a log on this node.
struct Begun {
    leader: LeaderId,
    since: Instant,
    has_heard: bool,
}

/// Leaderships, and whether what readers may have passed was heard since they began.
#[derive(Default)]
pub(super) struct Hearing {
    begun: Mutex<BTreeMap<LogKey, Begun>>,
    asks: Notify,
}

impl Hearing {
    /// Whether they are; if not they are asked for now.
    fn has_heard(&self, log: &LogKey, leader: LeaderId) -> bool {
        let mut begun = self.begun.lock();
        if let Some(known) = begun.get(log).filter(|known| known.leader == leader) {
            return known.has_heard;
        }
        begun.insert(log.clone(), Begun { leader, since: Instant::now(), has_heard: false });
        drop(begun);
        self.asks.notify_one();
        false
    }

    /// Those that wait.
    fn waiting(&self) -> Vec<(LogKey, LeaderId)> {
        let begun = self.begun.lock();
        begun.iter().filter(|(_, of)| !of.has_heard).map(|(log, of)| (log.clone(), of.leader)).collect()
    }

    /// What became of a question, of these that had begun before: gives the logs that wait no more. Without an answer they are those that have waited
    /// for so long.
    fn heard(&self, waited: &[(LogKey, LeaderId)], is_answered: bool, within: Duration) -> Vec<LogKey> {
        let mut begun = self.begun.lock();
        let mut wait_no_more = Vec::new();
        for (log, leader) in waited {
            if let Some(of) = begun.get_mut(log).filter(|of| of.leader == *leader && !of.has_heard)
                && (is_answered || of.since.elapsed() >= within)
            {
                of.has_heard = true;
                wait_no_more.push(log.clone());
            }
        }
        wait_no_more
    }
}

impl StoreReplicas {
    /// Hears what this node must know before it assigns, and how far the moments of logs are that it does not hold. Never ends.
    pub(super) async fn hear_moments(&self) {
        loop {
            let waiting = self.hearing.waiting();
            if waiting.is_empty() {
                tokio::select! {
                    () = self.hear_of_lacked() => {}
                    // who begins to lead waits for no answer to an earlier question
                    () = self.hearing.asks.notified() => continue,
                }
            }
            let is_known = waiting.is_empty() || Box::pin(self.knows_what_was_passed()).await;
            for log in self.hearing.heard(&waiting, is_known, HEARS_WITHIN) {
                self.group(&log).iter().for_each(|group| group.tell_again());
            }
            // somebody waits, or a while has passed
            let pause = if self.hearing.waiting().is_empty() { LOOK_EVERY } else { AGAIN };
            let _ = timeout(pause, self.hearing.asks.notified()).await;
        }
    }

    /// Whether what this node assigns under a leadership of a log is above what readers may have passed.
    pub(super) fn knows_moments(&self, log: &LogKey, leader: LeaderId) -> bool {
        self.hearing.has_heard(log, leader)
    }

    /// How far the logs are that it does not hold, as far as it has come to the node that is asked.
    async fn hear_of_lacked(&self) {
        if self.lacks_some() {
            let asked = timeout(HEARS_WITHIN, self.parts.control.newest_of(self.name())).await;
            self.heard_of(asked.ok().flatten());
        }
    }

    /// Whether everything that was committed before this call in any log of the store is below what this node assigns from now on.
    async fn knows_what_was_passed(&self) -> bool {
        let (control, name) = (&self.parts.control, self.name());
        let knowing = async {
            if !self.has_what_is_committed().await {
                return false;
            }
            if !self.lacks_some() {
                return true;
            }
            let newest = control.newest_now_of(name).await;
            self.heard_of(newest);
            newest.is_some()
        };
        let passing = control.newest_everywhere(name, MEMBERS_WITHIN);
        let (is_known, passed) = tokio::join!(timeout(HEARS_WITHIN, knowing), passing);
        self.heard_of(passed);
        is_known.unwrap_or(false)
    }

    /// Whether everything that was committed before this call in the logs that this node holds is applied here.
    async fn has_what_is_committed(&self) -> bool {
        // which logs there are
        if self.confirm_group(&GroupId::Meta).await.is_err() {
            return false;
        }
        let node = self.parts.control.node();
        let held = self.logs(|log, placement| asked(log, placement, placement.is_on(node)));
        self.confirm_logs(held).await.is_ok()
    }

    /// The newest moment of what readers may pass here; `None`: this node does not know every log.
    pub(super) fn newest_passed(&self) -> Option<Micros> {
        // what was assigned in a log that is not here, or not open yet, is not known
        let knows_all = self.is_whole() && self.has_opened_all();
        knows_all.then(|| self.parts.store.closed().passed())
    }

    /// The same once everything that was committed before this call is applied here. `None`: it is not in time.
    pub(super) async fn newest_committed(&self) -> Option<Micros> {
        let is_here = timeout(HEARS_WITHIN, Box::pin(self.has_what_is_committed())).await.unwrap_or(false);
        // of what is committed while a store stops its owners see nothing any more
        let is_seen = is_here && !*self.stop.borrow();
        if is_seen { self.newest_passed() } else { None }
    }

    fn heard_of(&self, moment: Option<Micros>) {
        if let Some(moment) = moment {
            self.parts.store.closed().heard_of(moment);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_begins_to_lead_waits_for_an_answer_to_what_was_asked_since_or_for_a_while() {
        let (hearing, log, long) = (Hearing::default(), LogKey::single("Call"), Duration::from_secs(3600));
        let [first, second] = [1, 2].map(|term| LeaderId { term, node: 4 });
        assert!(!hearing.has_heard(&log, first));
        let asked = hearing.waiting();
        assert_eq!(asked, [(log.clone(), first)]);
        // it leads anew before the answer comes, which says nothing of what was between
        assert!(!hearing.has_heard(&log, second));
        assert!(hearing.heard(&asked, true, long).is_empty());
        assert!(!hearing.has_heard(&log, second));
        let asked = hearing.waiting();
        assert!(hearing.heard(&asked, false, long).is_empty(), "nobody has answered yet");
        assert_eq!(hearing.heard(&asked, true, long), std::slice::from_ref(&log));
        assert!(hearing.has_heard(&log, second) && hearing.waiting().is_empty());
        assert!(hearing.heard(&asked, true, long).is_empty(), "it was said once");
        // no log stands still because nobody answers
        assert!(!hearing.has_heard(&log, first));
        assert_eq!(hearing.heard(&hearing.waiting(), false, Duration::ZERO), std::slice::from_ref(&log));
        assert!(hearing.has_heard(&log, first));
    }
}
