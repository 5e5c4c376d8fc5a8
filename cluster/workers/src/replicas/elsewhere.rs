//! Logs of a store that this node does not hold: what is asked about them is asked elsewhere.
//!
//! | what | where it goes |
//! |---|---|
//! | an append | to the node that leads the meta group, which holds every log and knows who leads it |
//! | a read of one stream | a node that reads is asked first (`forward/readers.rs`, `native/pass.rs` of the server); where none can be reached: `NotLeader` with the address of the one that leads the meta group |
//! | a read or a subscription of several streams | the same, unless this node holds every log of the store |
//! | what others commit | is followed, and no such log is waited for |
//!
//! Of the logs that it does not hold a node hears how far their moments are, twice a second: what it assigns is above, also where its clock is behind, as it is
//! on a node that applies all of them.
//!
//! A log that this node has held and holds no more is put aside: nobody finds it here, its owner and its group rest, and go on where the manifest is, so
//! that memory holds nothing of it for long. Its folder stays as it is, also over a restart, after which the log is not opened. So a node that is given the log
//! again goes on with what it had, and never votes with less than it had acknowledged. A group that rests asks for no votes before its leader has found it.
//!
//! A node that is drained is given no log any more: it answers of what is open there, and lacks the rest.

use super::{LOOK_EVERY, StoreReplicas};
use crate::error::NodeError;
use crate::replica::LogMachine;
use crate::wal_worker::WalWorker;
use actix::Addr;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strandline_consensus::meta::{MetaState, Placement};
use strandline_consensus::{Group, GroupId};
use strandline_event::LogKey;
use tokio::time::sleep;

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
        let (member, drained) = self.parts.control.with_state(|state| {
            let is_placed = state.groups().get(&group).is_none_or(|placement| placement.is_on(node));
            (state.lacks(node, &group), state.drains(node) && !is_placed)
        });
        member || drained && self.group(log).is_none()
    }

    /// All of them.
    pub(super) fn lacking(&self) -> BTreeSet<LogKey> {
        let (node, name) = (self.parts.control.node(), self.name());
        let (mut logs, drained) = self.parts.control.with_state(|state| {
            let of_store = |(group, placement): (&GroupId, &Placement)| match group {
                GroupId::Log { store, log } if **store == *name && !placement.is_on(node) => Some(log.clone()),
                _ => None,
            };
            let drained = state.drains(node);
            let counts = drained || state.is_member(node);
            let logs: BTreeSet<LogKey> =
                if counts { state.groups().iter().filter_map(of_store).collect() } else { BTreeSet::new() };
            (logs, drained)
        });
        if drained {
            // what it still has it answers
            logs.retain(|log| self.group(log).is_none());
        }
        logs
    }

    /// Whether it lacks none: a page of the order of all is read, and nothing passed over. One that has lacked some must have opened all before. Looked
    /// up once a command of the meta group, since every follower asks at each page.
    pub(super) fn is_whole(&self) -> bool {
        let applied = self.parts.control.with_state(MetaState::applied);
        let mut whole = self.whole.lock();
        if whole.0 != applied || !whole.1 {
            let is_whole = self.lacking().is_empty() && (whole.1 || self.has_opened_all());
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
        if self.lacking().is_empty() { Ok(()) } else { Err(self.led_elsewhere()) }
    }

    /// The same of one log, where there is one.
    pub(super) fn check_holds(&self, log: Option<&LogKey>) -> Result<(), NodeError> {
        if log.is_some_and(|log| self.lacks(log)) { Err(self.led_elsewhere()) } else { Ok(()) }
    }

    /// Hears how far the moments of the logs are that this node does not hold. Never ends.
    pub(super) async fn hear_moments(&self) {
        loop {
            if !self.lacking().is_empty()
                && let Some(moment) = self.parts.control.newest_of(self.name()).await
            {
                self.parts.store.closed().heard_of(moment);
            }
            sleep(LOOK_EVERY).await;
        }
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
