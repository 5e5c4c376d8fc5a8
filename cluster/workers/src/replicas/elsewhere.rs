//! Logs of a store that this node does not hold: what is asked about them is asked elsewhere.
//!
//! | what | where it goes |
//! |---|---|
//! | an append | to the node that leads the meta group, where that holds the log, else to one of the log's voters: either knows who leads it |
//! | a read of one stream | a node that reads is asked first (`forward/readers.rs`, `native/pass.rs` of the server); where none can be reached one that holds every log; where nothing is sent on: `NotLeader` with the address of the node that an append would go to |
//! | a read or a subscription of several streams | the same, unless this node holds every log of the store; `NotLeader` names one that does: the node that leads the meta group, or the one that compacts the store |
//! | what others commit | is followed, and no such log is waited for |
//!
//! How far the moments of such logs are a node hears from others (`hearing.rs`).
//!
//! A log that this node has held and holds no more is put aside: nobody finds it here, its owner and its group rest, and go on where the manifest is, so
//! that memory holds nothing of it for long. Its folder stays as it is, also over a restart, after which the log is not opened. So a node that is given the log
//! again goes on with what it had, and never votes with less than it had acknowledged. A group that rests asks for no votes before its leader has found it.
//!
//! A node that is drained is given no log any more: others read in its place, and where none can it answers of what is open there, and lacks the rest.

use super::StoreReplicas;
use crate::error::NodeError;
use crate::replica::LogMachine;
use crate::wal_worker::WalWorker;
use actix::Addr;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strandline_consensus::Group;
use strandline_consensus::meta::{Asked, Lack, MetaState, Placement};
use strandline_event::LogKey;

/// What rests of a log that was put aside.
pub(super) struct Rests {
    group: Arc<Group>,
    owner: Addr<WalWorker>,
}

/// By log.
pub(super) type Resting = Mutex<BTreeMap<LogKey, Rests>>;

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
    pub(super) fn lacks_some(&self) -> bool {
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
