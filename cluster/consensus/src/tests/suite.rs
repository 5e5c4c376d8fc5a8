//! openraft's own tests of a log and a state machine, and what they do not ask: crashes.

use super::tape::{NOW, Tape, inline, open};
use crate::machine::Payload;
use crate::state_machine::StateMachine;
use crate::storage::Storage;
use crate::types::{Content, Entry, Proposal, Types};
use openraft::entry::RaftEntry;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::testing::{StoreBuilder, Suite, log_id};
use openraft::{RaftLogReader, StorageError, StoredMembership, Vote};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strandline_event::{LogIndex, SharedBytes};
use strandline_wal::crash_disk::{CrashDisk, Dice};
use strandline_wal::io::OnCommit;
use strandline_wal::{Group, GroupFailed, LeaderId, LogIo};

struct Builder;

impl StoreBuilder<Types, Storage, StateMachine> for Builder {
    async fn build(&self) -> Result<((), Storage, StateMachine), StorageError<u64>> {
        let writer = open(&CrashDisk::new(), 1, false).writer.unwrap();
        let storage = Storage::beginning_anywhere(writer, inline(), Arc::new(|| NOW));
        let machine = Arc::new(Tape::default());
        let state = StateMachine::new(machine, storage.clone(), None, StoredMembership::default());
        Ok(((), storage, state))
    }
}

#[test]
fn openrafts_suite_passes() {
    Suite::test_all(Builder).unwrap();
}

fn storage(disk: &CrashDisk) -> Storage {
    Storage::new(open(disk, 1, false).writer.unwrap(), inline(), Arc::new(|| NOW))
}

fn payloads(leader: (u64, u64), number: u64, sizes: &[usize]) -> Entry {
    let payload = |size: &usize| Payload::new(1, NOW, SharedBytes::copy_aligned(&vec![number as u8; *size]));
    let (term, node) = leader;
    let proposal = Proposal { leader: LeaderId { term, node }, number, payloads: sizes.iter().map(payload).collect() };
    let log_id = log_id(term, node, number);
    Entry { log_id, index: LogIndex::ZERO, content: Content::Payloads(proposal) }
}

fn names(entries: &[Entry]) -> Vec<(u64, u64, LogIndex)> {
    entries.iter().map(|entry| (entry.log_id.leader_id.term, entry.log_id.index, entry.index)).collect()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_any_crash() {
    for seed in 0..60 {
        let (disk, mut dice) = (CrashDisk::new(), Dice::new(seed));
        let (mut wanted, mut vote): (Vec<(u64, u64, LogIndex)>, _) = (vec![], None);
        let mut term = 1;
        for _ in 0..5 {
            let mut storage = storage(&disk);
            let found = storage.try_get_log_entries(0..).await.unwrap();
            assert_eq!(names(&found), wanted, "seed {seed}");
            assert_eq!(storage.read_vote().await.unwrap(), vote, "seed {seed}");
            for _ in 0..dice.below(12) {
                let (number, index) = storage.next();
                match dice.below(5) {
                    0 => {
                        term += 1;
                        vote = Some(Vote::new(term, 2));
                        storage.save_vote(&vote.unwrap()).await.unwrap();
                    }
                    1 if number > 0 => {
                        let from = dice.below(number);
                        storage.truncate(log_id(1, 1, from)).await.unwrap();
                        wanted.retain(|(_, number, _)| *number < from);
                    }
                    _ => {
                        let sizes: Vec<usize> = (0..=dice.below(3)).map(|_| dice.below(9_000) as usize).collect();
                        let last = LogIndex(index.0 + sizes.len() as u64 - 1);
                        wanted.push((term, number, last));
                        storage.blocking_append([payloads((term, 1), number, &sizes)]).await.unwrap();
                    }
                }
            }
            drop(storage);
            disk.crash(&mut dice);
        }
    }
}

#[tokio::test]
async fn what_leaves_memory_is_read_from_the_segments_the_same() {
    let disk = CrashDisk::new();
    let mut first = storage(&disk);
    for number in 0..40 {
        let sizes: &[usize] = if number % 3 == 0 { &[700, 10] } else { &[3_000] };
        first.blocking_append([payloads((1, 1), number, sizes)]).await.unwrap();
    }
    let mut again = storage(&disk);
    for (from, to) in [(0, 40), (7, 8), (38, 100), (40, 50), (12, 12)] {
        let (here, there) =
            (first.try_get_log_entries(from..to).await.unwrap(), again.try_get_log_entries(from..to).await.unwrap());
        assert_eq!(names(&here), names(&there), "{from}..{to}");
        assert_eq!(format!("{here:?}").len(), format!("{there:?}").len());
    }
    let some = again.limited_get_log_entries(3, 40).await.unwrap();
    assert_eq!(names(&some)[0], (1, 3, LogIndex(5)));
}

#[tokio::test]
async fn a_proposal_that_gets_another_place_becomes_a_blank_entry() {
    use openraft::RaftLogId;
    use openraft::entry::RaftPayload;
    let mut entry = payloads((3, 1), 7, &[5]);
    for (given, blank) in [(log_id(3, 1, 7), false), (log_id(3, 1, 8), true), (log_id(4, 1, 7), true)] {
        let mut same = entry.clone();
        same.set_log_id(&given);
        assert_eq!(same.is_blank(), blank, "{given}");
    }
    entry.set_log_id(&log_id(3, 2, 7));
    assert!(entry.is_blank());
    assert!(Entry::new_blank(log_id(1, 1, 1)).is_blank());
}

#[tokio::test]
async fn a_leadership_of_an_earlier_process_is_asked_for_again() {
    let disk = CrashDisk::new();
    let mut first = storage(&disk);
    first.save_vote(&Vote::new_committed(4, 1)).await.unwrap();
    assert_eq!(first.read_vote().await.unwrap(), Some(Vote::new_committed(4, 1)));
    assert_eq!(storage(&disk).read_vote().await.unwrap(), Some(Vote::new(4, 1)));
    // somebody else's stays: it was seen to lead
    first.save_vote(&Vote::new_committed(5, 2)).await.unwrap();
    assert_eq!(storage(&disk).read_vote().await.unwrap(), Some(Vote::new_committed(5, 2)));
}

/// A disk that fails once.
struct FailsOnce(Arc<dyn LogIo>, AtomicBool);

impl LogIo for FailsOnce {
    fn submit(&self, group: Group, done: OnCommit) {
        if self.1.swap(false, Ordering::SeqCst) { done(Err(GroupFailed)) } else { self.0.submit(group, done) }
    }
}

#[tokio::test]
async fn behind_a_group_that_did_not_reach_the_disk_nothing_is_called_durable() {
    let disk = CrashDisk::new();
    let io = Arc::new(FailsOnce(inline(), AtomicBool::new(false)));
    let mut first = Storage::new(open(&disk, 1, false).writer.unwrap(), io.clone(), Arc::new(|| NOW));
    first.save_vote(&Vote::new(1, 2)).await.unwrap();
    io.1.store(true, Ordering::SeqCst);
    first.save_vote(&Vote::new(2, 2)).await.unwrap_err();
    // it takes everything again, and nobody knows what it holds
    first.save_vote(&Vote::new(3, 2)).await.unwrap_err();
    first.blocking_append([payloads((3, 2), 0, &[5])]).await.unwrap_err();
    first.settle().await.unwrap_err();
    let mut again = storage(&disk);
    assert_eq!(again.read_vote().await.unwrap(), Some(Vote::new(1, 2)));
    assert_eq!(again.get_log_state().await.unwrap().last_log_id, None);
}

/// A disk, and whether somebody wanted to wait for it in a thread of the runtime.
struct Elsewhere(Arc<dyn LogIo>, AtomicBool);

impl LogIo for Elsewhere {
    fn submit(&self, group: Group, done: OnCommit) {
        self.0.submit(group, done);
    }

    fn submit_here(&self, group: Group, done: OnCommit) -> Option<(Group, OnCommit)> {
        self.1.store(true, Ordering::SeqCst);
        Some((group, done))
    }
}

#[tokio::test]
async fn no_thread_of_the_runtime_waits_for_the_disk() {
    let disk = CrashDisk::new();
    let io = Arc::new(Elsewhere(inline(), AtomicBool::new(false)));
    let mut storage = Storage::new(open(&disk, 1, false).writer.unwrap(), io.clone(), Arc::new(|| NOW));
    storage.save_vote(&Vote::new(1, 2)).await.unwrap();
    storage.blocking_append([payloads((1, 2), 0, &[5])]).await.unwrap();
    storage.mark(true).await.unwrap();
    assert!(!io.1.load(Ordering::SeqCst));
}
