//! Logs of a store that this node does not hold: what is asked about them is asked elsewhere.
//!
//! | what | where it goes |
//! |---|---|
//! | an append | to the node that leads the meta group, where that holds the log, else to one of the log's voters: either knows who leads it |
//! | a read of one stream | a node that reads is asked first (`forward/readers.rs`, `native/pass.rs` of the server); where none can be reached one that holds every log; where nothing is sent on: `NotLeader` with the address of the node that an append would go to |
//! | a read or a subscription of several streams | the same, unless this node holds every log of the store; `NotLeader` names one that does: the node that leads the meta group, or the one that compacts the store |
//! | what others commit | is followed, and no such log is waited for |
//!
//! Of the logs that it does not hold a node hears how far their moments are, twice a second: what it assigns is above, also where its clock is behind, as it is
//! on a node that applies all of them. Who begins to lead a log hears it once more before it assigns: the leader before may have closed the log up to there
//! for readers. Where nobody says it in time it leads all the same, by its own clock.
//!
//! A log that this node has held and holds no more is put aside: nobody finds it here, its owner and its group rest, and go on where the manifest is, so
//! that memory holds nothing of it for long. Its folder stays as it is, also over a restart, after which the log is not opened. So a node that is given the log
//! again goes on with what it had, and never votes with less than it had acknowledged. A group that rests asks for no votes before its leader has found it.
//!
//! A node that is drained is given no log any more: others read in its place, and where none can it answers of what is open there, and lacks the rest.

use super::{LOOK_EVERY, StoreReplicas};
use crate::error::NodeError;
use crate::replica::LogMachine;
use crate::wal_worker::WalWorker;
use actix::Addr;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_consensus::Group;
use strandline_consensus::meta::{Asked, Lack, MetaState, Placement};
use strandline_event::LogKey;
use strandline_wal::LeaderId;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long who begins to lead waits for moments of other logs: no log stands still for it.
const HEARS_WITHIN: Duration = Duration::from_secs(1);

/// What rests of a log that was put aside.
pub(super) struct Rests {
    group: Arc<Group>,
    owner: Addr<WalWorker>,
}

/// By log.
pub(super) type Resting = Mutex<BTreeMap<LogKey, Rests>>;

/// A leadership of a log on this node.
struct Begun {
    leader: LeaderId,
    since: Instant,
    has_heard: bool,
}

/// Leaderships, and whether the moments of logs that are held elsewhere are known as of when they began.
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
    /// Whether other nodes hold a log of this store, and this one does not.
    pub(crate) fn lacks(&self, log: &LogKey) -> bool {
        let (node, group) = (self.parts.control.node(), self.id_of(log));
        let lack = self.parts.control.with_state(|state| {
            state.groups().get(&group).map_or(Lack::Nothing, |placement| state.lack(node, placement))
        });
        self.is_lacked(log, lack)
    }

    /// What this node still has of what it is not given any more it answers.
    fn is_lacked(&self, log: &LogKey, lack: Lack) -> bool {
        match lack {
            Lack::Nothing => false,
            Lack::UnlessOpen => self.group(log).is_none(),
            Lack::All => true,
        }
    }

    /// Whether something may be stored in a log, wherever it is.
    pub(crate) fn may_hold(&self, log: &LogKey) -> bool {
        let group = self.id_of(log);
        self.parts.control.with_state(|state| state.groups().get(&group).is_some_and(Placement::is_established))
    }

    /// All that it lacks.
    pub(super) fn lacking(&self) -> BTreeSet<LogKey> {
        let (node, name) = (self.parts.control.node(), self.name());
        let lacks: Vec<(LogKey, Lack)> = self.parts.control.with_state(|state| {
            let lacks = state.logs_of(name).map(|(log, placement)| (log, state.lack(node, placement)));
            lacks.filter(|(_, lack)| *lack != Lack::Nothing).map(|(log, lack)| (log.clone(), lack)).collect()
        });
        lacks.into_iter().filter(|(log, lack)| self.is_lacked(log, *lack)).map(|(log, _)| log).collect()
    }

    /// Whether it lacks any: asked at each read of the order, so a member makes no list for it.
    fn lacks_some(&self) -> bool {
        let (node, name) = (self.parts.control.node(), self.name());
        let (drains, lacks) = self.parts.control.with_state(|state| (state.drains(node), state.lacks_some(node, name)));
        lacks || drains && !self.lacking().is_empty()
    }

    /// Whether it lacks none: a page of the order of all is read, and nothing passed over. One that has lacked some must have opened all before. Looked
    /// up once a command of the meta group, since every follower asks at each page.
    pub(super) fn is_whole(&self) -> bool {
        let applied = self.parts.control.with_state(MetaState::applied);
        let mut whole = self.whole.lock();
        if whole.0 != applied || !whole.1 {
            let is_whole = !self.lacks_some() && (whole.1 || self.has_opened_all());
            *whole = (applied, is_whole);
        }
        whole.1
    }

    /// Whether every log that this node holds is open here, or is known not to open.
    pub(super) fn has_opened_all(&self) -> bool {
        let node = self.parts.control.node();
        let held =
            self.logs(|log, placement| (placement.is_established() && placement.is_on(node)).then(|| log.clone()));
        held.iter().all(|log| self.group(log).is_some() || self.broken.lock().contains_key(log))
    }

    /// Errors: one of the logs is held by other nodes alone; who holds all of them is to be asked.
    pub(super) fn check_holds_all(&self) -> Result<(), NodeError> {
        if self.lacks_some() { Err(self.all_elsewhere()) } else { Ok(()) }
    }

    /// A node that holds every log is to be asked.
    pub(super) fn all_elsewhere(&self) -> NodeError {
        self.not_here(self.parts.control.asked_about_all(self.name()))
    }

    /// A node that knows who leads a log.
    pub(super) fn log_elsewhere(&self, log: &LogKey) -> NodeError {
        self.not_here(self.parts.control.asked_about(&self.id_of(log)))
    }

    fn not_here(&self, asked: Asked) -> NodeError {
        match asked {
            Asked::Leader => self.led_elsewhere(),
            Asked::Member(node) => self.not_leader(Some(node)),
            Asked::Itself => self.not_leader(None),
        }
    }

    /// The same of one log, where there is one.
    pub(super) fn check_holds(&self, log: Option<&LogKey>) -> Result<(), NodeError> {
        log.filter(|log| self.lacks(log)).map_or(Ok(()), |log| Err(self.log_elsewhere(log)))
    }

    /// Hears how far the moments of the logs are that this node does not hold. Never ends.
    pub(super) async fn hear_moments(&self) {
        loop {
            let (waiting, mut is_answered) = (self.hearing.waiting(), true);
            if self.lacks_some() {
                let asked = timeout(HEARS_WITHIN, self.parts.control.newest_of(self.name())).await;
                let moment = asked.ok().flatten();
                if let Some(moment) = moment {
                    self.parts.store.closed().heard_of(moment);
                }
                is_answered = moment.is_some();
            }
            for log in self.hearing.heard(&waiting, is_answered, HEARS_WITHIN) {
                self.group(&log).iter().for_each(|group| group.tell_again());
            }
            // somebody waits, or a while has passed
            let _ = timeout(LOOK_EVERY, self.hearing.asks.notified()).await;
        }
    }

    /// Whether what this node assigns under a leadership of a log is above what readers may have passed.
    pub(super) fn knows_moments(&self, log: &LogKey, leader: LeaderId) -> bool {
        !self.lacks_some() || self.hearing.has_heard(log, leader)
    }

    /// Nobody finds a log here any more.
    pub(super) fn put_aside(&self, log: &LogKey) {
        let (groups, id) = (self.parts.control.groups(), self.id_of(log));
        let mut resting = self.resting.lock();
        if *self.stop.borrow() || resting.contains_key(log) {
            return;
        }
        let (Some(group), Some(owner)) = (groups.get(&id), self.parts.table.get(log)) else { return };
        groups.remove(&id);
        group.rests();
        self.parts.table.remove(log);
        resting.insert(log.clone(), Rests { group, owner });
        tracing::info!(store = self.name(), %log, "other nodes hold this log from now on; what is here of it is kept");
    }

    /// It is found again.
    pub(super) async fn take_back(&self, log: &LogKey, machine: &LogMachine) {
        if !self.resting.lock().contains_key(log) {
            return;
        }
        // from here on no version is followed that it is not ready for
        let _turn = self.following.lock().await;
        if machine.lags() {
            machine.jump().await;
        }
        let mut resting = self.resting.lock();
        if let Some(rests) = resting.remove(log) {
            rests.group.is_back();
            self.put_back(log, rests);
            tracing::info!(store = self.name(), %log, "this node holds this log again");
        }
    }

    /// All are found again: whoever stops the node ends their owners and groups as those of the others.
    pub(super) fn wake_all(&self) {
        let mut resting = self.resting.lock();
        for (log, rests) in std::mem::take(&mut *resting) {
            self.put_back(&log, rests);
        }
    }

    fn put_back(&self, log: &LogKey, rests: Rests) {
        self.parts.table.insert(log, &rests.owner);
        self.parts.control.groups().insert(rests.group);
    }

    /// The owners that rest, each where the manifest is: what it holds and they have not seen nobody sends them.
    pub(super) async fn resting_owners(&self) -> Vec<(LogKey, Addr<WalWorker>)> {
        let owners: Vec<_> =
            self.resting.lock().iter().map(|(log, rests)| (log.clone(), rests.owner.clone())).collect();
        for (log, _) in &owners {
            let machine = self.machines.lock().get(log).cloned();
            if let Some(machine) = machine.filter(|machine| machine.lags()) {
                machine.jump().await;
            }
        }
        owners
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
