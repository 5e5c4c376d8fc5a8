//! openraft's state machine over a [`Machine`]: committed entries in, snapshots by pointer.
//!
//! It keeps what Raft wants to know of a state (the last entry, the membership as of then) beside the machine, and nothing on the disk: at a
//! start both are read from the log. Invariant: a snapshot stands for an entry that was applied, with the membership as of it.

use crate::convert;
use crate::machine::{Applied, EntryId, Machine, Pointer};
use crate::storage::Storage;
use crate::transport::Member;
use crate::types::{Content, Entry, Outcome, Types};
use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageError, StorageIOError,
    StoredMembership,
};
use parking_lot::Mutex;
use std::sync::Arc;
use strandline_event::LogIndex;

type Result<T> = std::result::Result<T, StorageError<u64>>;
type Members = StoredMembership<u64, Member>;

#[derive(Clone)]
struct Known {
    applied: Option<EntryId>,
    /// Memberships that were applied, oldest first; the last one is in force. The first is as of the start or a snapshot.
    memberships: Vec<Members>,
    snapshot: Option<(SnapshotMeta<u64, Member>, Pointer)>,
}

/// The state machine of a group, and (a clone) the builder of its snapshots.
#[derive(Clone)]
pub(crate) struct StateMachine {
    machine: Arc<dyn Machine>,
    storage: Storage,
    known: Arc<Mutex<Known>>,
    /// Of a builder: what its machine pointed to between two entries.
    pointed: Option<std::result::Result<Option<Pointer>, String>>,
}

impl StateMachine {
    /// Over a machine that holds everything up to `applied`, under `membership`.
    pub(crate) fn new(
        machine: Arc<dyn Machine>,
        storage: Storage,
        applied: Option<EntryId>,
        membership: Members,
    ) -> Self {
        let known = Known { applied, memberships: vec![membership], snapshot: None };
        Self { machine, storage, known: Arc::new(Mutex::new(known)), pointed: None }
    }

    /// What it applies to.
    pub(crate) fn machine(&self) -> &Arc<dyn Machine> {
        &self.machine
    }

    /// The last entry that was applied.
    pub(crate) fn applied(&self) -> Option<EntryId> {
        self.known.lock().applied
    }
}

impl Known {
    fn membership_at(&self, number: u64) -> Members {
        let by_then = |m: &&Members| m.log_id().is_none_or(|set_by| set_by.index <= number);
        self.memberships.iter().rev().find(by_then).cloned().unwrap_or_default()
    }

    /// What no snapshot to come can need goes.
    fn forget_memberships_before(&mut self, number: u64) {
        let by_then = |m: &Members| m.log_id().is_none_or(|set_by| set_by.index <= number);
        let keep_from = self.memberships.iter().rposition(by_then).unwrap_or(0);
        self.memberships.drain(..keep_from);
    }

    fn meta(&self, through: EntryId) -> SnapshotMeta<u64, Member> {
        SnapshotMeta {
            last_log_id: Some(convert::raft_id(through.leader, through.number)),
            last_membership: self.membership_at(through.number),
            snapshot_id: format!("{}-{}-{}", through.leader.term, through.leader.node, through.number),
        }
    }
}

/// Where the log goes on behind a snapshot.
pub(crate) fn place(meta: &SnapshotMeta<u64, Member>, pointer: &Pointer) -> crate::storage::Snapshot {
    let membership = meta.last_membership.membership();
    // its index is only compared with those of later entries: the number is not above it
    let set_by = meta.last_membership.log_id().map(|id| convert::last(&id, LogIndex(id.index)));
    let membership = set_by.map(|set_by| (convert::membership_to_log(membership), set_by));
    crate::storage::Snapshot { through: convert::last_of(pointer.through), membership }
}

fn failed(what: String) -> StorageError<u64> {
    StorageIOError::write_state_machine(AnyError::error(what)).into()
}

impl StateMachine {
    fn of_what_was_purged(&self, known: &Known) -> Snapshot<Types> {
        let purged = self.storage.with_writer(|writer| writer.purged_entry());
        let through = purged.map_or_else(EntryId::default, |last| EntryId {
            leader: last.id.leader,
            number: last.number,
            index: last.id.index,
        });
        let meta = SnapshotMeta { last_log_id: purged.map(convert::log_id), ..known.meta(through) };
        Snapshot { meta, snapshot: Box::new(Pointer { through, body: Vec::new() }) }
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId<u64>>, Members)> {
        let known = self.known.lock();
        let applied = known.applied.map(|id| convert::raft_id(id.leader, id.number));
        Ok((applied, known.memberships.last().cloned().unwrap_or_default()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (mut outcomes, mut applied) = (Vec::new(), Vec::new());
        let mut memberships = Vec::new();
        for entry in entries {
            let (payloads, outcome) = match entry.content {
                Content::Blank => (Arc::default(), Outcome::TooLate),
                Content::Membership(membership) => {
                    memberships.push(StoredMembership::new(Some(entry.log_id), membership));
                    (Arc::default(), Outcome::Applied)
                }
                Content::Payloads(proposal) => (proposal.payloads, Outcome::Applied),
            };
            let index = if entry.index == LogIndex::ZERO { LogIndex(entry.log_id.index) } else { entry.index };
            let id = EntryId { leader: convert::leader_of(&entry.log_id), number: entry.log_id.index, index };
            applied.push(Applied { id, payloads });
            outcomes.push(outcome);
        }
        let last = applied.last().map(|entry| entry.id);
        self.machine.applied(applied).await;
        let mut known = self.known.lock();
        known.applied = last.or(known.applied);
        known.memberships.extend(memberships);
        Ok(outcomes)
    }

    /// The machine is asked here, between two entries: a pointer never stands for more than what is known as applied.
    async fn get_snapshot_builder(&mut self) -> Self {
        Self { pointed: Some(self.machine.pointer().await), ..self.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Pointer>> {
        Ok(Box::new(Pointer { through: EntryId::default(), body: Vec::new() }))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta<u64, Member>, pointer: Box<Pointer>) -> Result<()> {
        let place = place(meta, &pointer);
        self.machine.install((*pointer).clone(), place.membership.clone()).await.map_err(failed)?;
        self.storage.purge_through(place).await.map_err(|e| failed(e.to_string()))?;
        let mut known = self.known.lock();
        known.applied = Some(pointer.through);
        known.memberships = vec![meta.last_membership.clone()];
        known.snapshot = Some((meta.clone(), *pointer));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>> {
        let known = self.known.lock();
        Ok(known
            .snapshot
            .as_ref()
            .map(|(meta, pointer)| Snapshot { meta: meta.clone(), snapshot: Box::new(pointer.clone()) }))
    }
}

impl RaftSnapshotBuilder<Types> for StateMachine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>> {
        let pointer = self.pointed.take().transpose().map_err(failed)?.flatten();
        let mut known = self.known.lock();
        let through = pointer.as_ref().map(|pointer| pointer.through);
        if through > known.applied {
            return Err(failed("a snapshot stands for more than was applied".to_owned()));
        }
        let current = known.snapshot.as_ref().map(|(_, pointer)| pointer.through.number);
        let pointer = match pointer {
            Some(pointer) if current.is_none_or(|current| current < pointer.through.number) => pointer,
            _ => match &known.snapshot {
                Some((meta, pointer)) => {
                    return Ok(Snapshot { meta: meta.clone(), snapshot: Box::new(pointer.clone()) });
                }
                // nothing is elsewhere: a snapshot of what was purged, which nobody can install, and which lets nothing more be purged
                None => return Ok(self.of_what_was_purged(&known)),
            },
        };
        let meta = known.meta(pointer.through);
        known.forget_memberships_before(pointer.through.number);
        known.snapshot = Some((meta.clone(), pointer.clone()));
        Ok(Snapshot { meta, snapshot: Box::new(pointer) })
    }
}
