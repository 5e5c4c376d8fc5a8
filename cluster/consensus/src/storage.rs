//! openraft's log over the segments of the log tier: votes, appends, cutting off, purging.
//!
//! ```text
//!  core ── append, save_vote, truncate, purge ──> turn (one at a time) ──> LogWriter ── group ──> LogIo: write, sync
//!  replication, apply ── entries ──> the newest from memory, older ones from the segments
//! ```
//!
//! Invariants: what was answered is on stable storage, and nothing is answered any more once a group did not come back from the disk; an entry's payload is written once, as the frame that readers and
//! compaction read; numbers are Raft's indices, and only this module and `machine_adapter` translate them.

// the size of openraft's error is its own affair
#![allow(clippy::result_large_err)]

use crate::ahead::Ahead;
use crate::convert;
use crate::recent::Recent;
use crate::transport::{Member, NodeId};
use crate::types::{Content, Entry, Types};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogId, LogState, OptionalSend, RaftLogReader, StorageError, StorageIOError, Vote};
use parking_lot::Mutex;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use strandline_event::{LogIndex, Micros};
use strandline_wal::{Last, LeaderId, LogIo, LogWriter, Room, SharedView};
use tokio::sync::{oneshot, watch};

/// Bytes of entries that one answer of the log holds, or one entry.
const READ_BYTES_MAX: usize = 4 << 20;

/// What a node asks for the time; only frames' headers keep it.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

type Result<T> = std::result::Result<T, StorageError<u64>>;

/// The log of a group on this node. Cloning shares it.
#[derive(Clone)]
pub struct Storage(Arc<Shared>);

struct Shared {
    writer: Mutex<LogWriter>,
    view: SharedView,
    io: Arc<dyn LogIo>,
    clock: Clock,
    recent: Mutex<Recent>,
    /// Who pushes and waits for the disk: one at a time.
    turn: tokio::sync::Mutex<()>,
    /// The vote of this process: the one on the disk may be an older leadership of this node.
    live: Mutex<Option<Vote<u64>>>,
    /// The snapshot that is being installed.
    expected: Mutex<Option<Snapshot>>,
    /// Who leads, as the group's watch saw it last.
    leader: Mutex<Option<(NodeId, Member)>>,
    /// What goes to followers before it is durable here.
    ahead: Mutex<Option<Arc<Ahead>>>,
    /// Nobody waits for the disk any more.
    given_up: watch::Sender<bool>,
    /// openraft's own tests begin logs anywhere, and purge what never was.
    begins_anywhere: bool,
}

impl Storage {
    /// Over a log that was opened to be replicated.
    #[must_use]
    pub fn new(writer: LogWriter, io: Arc<dyn LogIo>, clock: Clock) -> Self {
        let view = writer.view();
        let (recent, turn) = (Mutex::new(Recent::default()), tokio::sync::Mutex::new(()));
        let (writer, live, expected) = (Mutex::new(writer), Mutex::new(None), Mutex::new(None));
        Self(Arc::new(Shared {
            writer,
            view,
            io,
            clock,
            recent,
            turn,
            live,
            expected,
            leader: Mutex::new(None),
            ahead: Mutex::new(None),
            given_up: watch::Sender::new(false),
            begins_anywhere: false,
        }))
    }

    #[cfg(test)]
    pub(crate) fn beginning_anywhere(writer: LogWriter, io: Arc<dyn LogIo>, clock: Clock) -> Self {
        let mut storage = Self::new(writer, io, clock);
        if let Some(shared) = Arc::get_mut(&mut storage.0) {
            shared.begins_anywhere = true;
        }
        storage
    }

    /// From now on entries that are appended under a leadership of this node go ahead to its followers.
    pub(crate) fn sends_ahead(&self, ahead: Arc<Ahead>) {
        *self.0.ahead.lock() = Some(ahead);
    }

    /// Entries were pushed behind this one, and are not durable yet.
    fn send_ahead(&self, prev: Option<Last>, entries: &[Entry]) {
        let ahead = self.0.ahead.lock().clone();
        let (Some(ahead), Some(prev), Some(vote)) = (ahead, prev, self.live_vote()) else { return };
        let committed = self.with_writer(|writer| writer.committed_entry());
        ahead.send(vote, convert::log_id(prev), entries, committed.map(convert::log_id));
    }

    /// What is pending goes to the disk; of a log that was born now, its first frames.
    pub async fn settle(&self) -> io::Result<()> {
        let _turn = self.0.turn.lock().await;
        self.flush().await
    }

    /// Asks the writer; nothing may be pushed that is not flushed in the same turn.
    pub fn with_writer<T>(&self, ask: impl FnOnce(&LogWriter) -> T) -> T {
        ask(&self.0.writer.lock())
    }

    /// What readers of the log see.
    #[must_use]
    pub fn view(&self) -> SharedView {
        self.0.view.clone()
    }

    /// Whether payloads of this size surely fit on the disk.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.0.writer.lock().room(bytes) != Room::Full
    }

    /// Number and index that the next entry gets.
    #[must_use]
    pub fn next(&self) -> (u64, LogIndex) {
        let writer = self.0.writer.lock();
        (writer.next_number(), writer.next_index())
    }

    /// Who leads, as far as it is known.
    #[must_use]
    pub fn leader(&self) -> Option<(NodeId, Member)> {
        self.0.leader.lock().clone()
    }

    pub(crate) fn set_leader(&self, leader: Option<(NodeId, Member)>) {
        *self.0.leader.lock() = leader;
    }

    /// The vote of this process, once there was one.
    pub(crate) fn live_vote(&self) -> Option<Vote<u64>> {
        *self.0.live.lock()
    }

    /// Ends the open segment, so that it can be compacted. Gives the last index that is durable.
    pub fn seal(&self) -> LogIndex {
        self.0.writer.lock().seal()
    }

    /// What a log that has been quiet does: proves its last group. Clean: it is closed in order.
    pub async fn mark(&self, clean: bool) -> io::Result<()> {
        let _turn = self.0.turn.lock().await;
        let now = (self.0.clock)();
        let marked = {
            let mut writer = self.0.writer.lock();
            if clean { writer.clean_stop(now) } else { writer.idle_mark(now) }
        };
        if marked { self.flush().await } else { Ok(()) }
    }

    /// A snapshot is about to be installed: openraft purges up to it, without saying where in the log that is.
    pub(crate) fn expect(&self, snapshot: Snapshot) {
        *self.0.expected.lock() = Some(snapshot);
    }

    /// Whether exactly this entry is in the log.
    pub(crate) fn holds(&self, wanted: Last) -> bool {
        holds(&self.0.view, wanted)
    }

    /// Whether the entry of this leader with this number is in the log, or was purged from it. What cannot be read is taken for it.
    pub(crate) fn has(&self, leader: LeaderId, number: u64) -> bool {
        let Ok(found) = self.read(number, number.saturating_add(1), usize::MAX) else { return true };
        let is_there = found.first().is_some_and(|entry| convert::leader_of(&entry.log_id) == leader);
        // last: what was purged since it was looked for is not missed
        is_there || self.0.writer.lock().purged_entry().is_some_and(|purged| number <= purged.number)
    }

    /// Everything up to an entry may go. A log that does not hold that entry goes on behind it.
    pub(crate) async fn purge_through(&self, snapshot: Snapshot) -> io::Result<()> {
        let _turn = self.0.turn.lock().await;
        let Snapshot { through, membership } = snapshot;
        let now = (self.0.clock)();
        self.0.recent.lock().purge(through.number);
        {
            let mut writer = self.0.writer.lock();
            if writer.purged_entry().is_some_and(|purged| purged.number >= through.number) {
                return Ok(());
            }
            if writer.last_entry().is_some_and(|last| last.number > through.number) && holds(&self.0.view, through) {
                writer.set_committed(through.id, through.number);
                writer.purge(through, now);
            } else {
                self.0.recent.lock().clear();
                writer.go_on_behind(through, membership, now);
            }
        }
        self.flush().await
    }

    /// Nothing more goes to the disk, and a group that it does not take (it is full) is not waited for: what is on its way has an unknown
    /// outcome.
    pub(crate) fn give_up(&self) {
        self.0.given_up.send_replace(true);
    }

    /// Takes group after group to the disk until nothing is pending. One that did not come back was perhaps written: behind it nothing is.
    async fn flush(&self) -> io::Result<()> {
        let mut given_up = self.0.given_up.subscribe();
        loop {
            let lost = *given_up.borrow() || self.0.writer.lock().is_in_flight();
            if lost {
                return Err(io::Error::other("the log's disk did not take an earlier group"));
            }
            let Some(group) = self.0.writer.lock().take_group() else { return Ok(()) };
            let (back, written) = oneshot::channel();
            // never here: this thread is one of few of the runtime, on which heartbeats of all groups and all connections depend, and
            // whoever gives up does it in this wait
            self.0.io.submit(group, Box::new(move |result| drop(back.send(result))));
            tokio::select! {
                biased;
                written = written => match written {
                    Ok(Ok(group)) => drop(self.0.writer.lock().committed(group)),
                    Ok(Err(_)) | Err(_) => return Err(io::Error::other("the log's disk failed")),
                },
                () = async { drop(given_up.wait_for(|given_up| *given_up).await) } => {
                    return Err(io::Error::other("the log's disk has not taken a group, and is not waited for any more"));
                }
            }
        }
    }

    fn push(&self, entry: &Entry) -> Result<LogIndex> {
        let mut writer = self.0.writer.lock();
        let number = entry.log_id.index;
        if self.0.begins_anywhere && writer.last_entry().is_none() && writer.next_number() < number {
            writer.begin_at(number);
        }
        if writer.next_number() != number {
            let what = format!("entry {number} does not follow {}", writer.next_number());
            return Err(StorageIOError::write_logs(AnyError::error(what)).into());
        }
        let now = (self.0.clock)();
        let leader = convert::leader_of(&entry.log_id);
        let pushed = match &entry.content {
            Content::Blank => writer.push_entry(number, leader, strandline_wal::Content::Blank, now),
            Content::Membership(membership) => {
                let membership = convert::membership_to_log(membership);
                writer.push_entry(number, leader, strandline_wal::Content::Membership(&membership), now)
            }
            Content::Payloads(proposal) => {
                let parts: Vec<[&[u8]; 2]> =
                    proposal.payloads.iter().map(|payload| payload.parts.each_ref().map(|part| &part[..])).collect();
                let frames: Vec<_> = proposal
                    .payloads
                    .iter()
                    .zip(&parts)
                    .map(|(payload, parts)| {
                        let (schema, count) = (payload.schema, payload.count);
                        (strandline_wal::Entry { leader, schema, count, parts }, payload.time)
                    })
                    .collect();
                writer.push_entry(number, leader, strandline_wal::Content::Payloads(&frames), now)
            }
        };
        pushed.map(|pushed| pushed.index).map_err(failed)
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Entry>> {
        if from >= to {
            return Ok(Vec::new());
        }
        if let Some(entries) = self.0.recent.lock().range(from, to, bytes_max) {
            return Ok(entries);
        }
        let purged = self.0.writer.lock().purged_entry().map_or(0, |purged| purged.number + 1);
        let stored = self.0.view.load().entries(from.max(purged), to, bytes_max);
        let stored = stored.map_err(|e| StorageIOError::read_logs(AnyError::error(e)))?;
        stored.iter().map(|entry| convert::entry_from_log(entry).ok_or_else(unreadable)).collect()
    }
}

/// Whether exactly this entry is in the log.
fn holds(view: &SharedView, wanted: Last) -> bool {
    let found = view.load().entries(wanted.number, wanted.number + 1, 1);
    found.is_ok_and(|found| found.first().is_some_and(|e| e.leader == wanted.id.leader && e.index() == wanted.id.index))
}

fn unreadable() -> StorageError<u64> {
    StorageIOError::read_logs(AnyError::error("a frame of the log is not what its kind says")).into()
}

fn failed(error: impl std::error::Error + 'static) -> StorageError<u64> {
    StorageIOError::write_logs(AnyError::new(&error)).into()
}

fn numbers(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<Types> for Storage {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>> {
        let (from, to) = numbers(&range);
        self.read(from, to, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>> {
        self.read(start, end, READ_BYTES_MAX)
    }
}

impl RaftLogStorage<Types> for Storage {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>> {
        let writer = self.0.writer.lock();
        let purged = writer.purged_entry().map(convert::log_id);
        let last = writer.last_entry().map(convert::log_id);
        Ok(LogState { last_purged_log_id: purged, last_log_id: last.or(purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<()> {
        let _turn = self.0.turn.lock().await;
        let pushed = self.0.writer.lock().push_vote(convert::vote_to_log(vote), (self.0.clock)());
        pushed.map_err(failed)?;
        self.flush().await.map_err(failed)?;
        *self.0.live.lock() = Some(*vote);
        Ok(())
    }

    /// An older leadership of this node is read as one that was asked for only: a start begins with an election, so that a leader has an
    /// entry of its own before it accepts anything.
    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>> {
        let (vote, node) = self.with_writer(|writer| (writer.vote(), writer.state().node));
        let mut vote = convert::vote_from_log(vote);
        if vote.leader_id.node_id == node && self.live_vote().is_none() {
            vote.committed = false;
        }
        Ok((vote.leader_id.term > 0).then_some(vote))
    }

    /// In memory, and in the next State frame.
    async fn save_committed(&mut self, committed: Option<LogId<u64>>) -> Result<()> {
        let Some(committed) = committed else { return Ok(()) };
        let Some(index) = self.read(committed.index, committed.index + 1, 1)?.first().map(|entry| entry.index) else {
            return Ok(());
        };
        let last = convert::last(&committed, index);
        self.0.writer.lock().set_committed(last.id, last.number);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId<u64>>> {
        // what was purged is in the machine already
        let (committed, purged) = self.with_writer(|writer| (writer.committed_entry(), writer.purged_entry()));
        let above = committed.filter(|last| purged.is_none_or(|purged| last.number > purged.number));
        Ok(above.map(convert::log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let _turn = self.0.turn.lock().await;
        let mut pushed = Vec::new();
        let (purged, prev) = self.with_writer(|writer| (writer.purged_entry(), writer.last_entry()));
        // nobody needs again what is elsewhere
        let wanted = |entry: &Entry| purged.is_none_or(|purged| entry.log_id.index > purged.number);
        for mut entry in entries.into_iter().filter(wanted) {
            entry.index = self.push(&entry)?;
            pushed.push(entry);
        }
        self.send_ahead(prev, &pushed);
        let flushed = self.flush().await;
        if flushed.is_ok() {
            self.0.recent.lock().extend(pushed);
        }
        callback.log_io_completed(flushed);
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId<u64>) -> Result<()> {
        let _turn = self.0.turn.lock().await;
        self.0.recent.lock().cut_off(log_id.index);
        let cut = self.0.writer.lock().cut_off(log_id.index, (self.0.clock)());
        cut.map_err(failed)?;
        self.flush().await.map_err(failed)
    }

    async fn purge(&mut self, log_id: LogId<u64>) -> Result<()> {
        let Some(snapshot) = self.place_of(&log_id)? else {
            let what = format!("entry {log_id} is to be purged, and nobody knows where it stood");
            return Err(StorageIOError::write_logs(AnyError::error(what)).into());
        };
        self.purge_through(snapshot).await.map_err(failed)
    }
}

impl Storage {
    /// Where an entry stands, or stood for who sent a snapshot.
    fn place_of(&self, log_id: &LogId<u64>) -> Result<Option<Snapshot>> {
        let is_it = |last: &Last| convert::log_id(*last) == *log_id;
        let bare = |through| Snapshot { through, membership: None };
        let expected = self.0.expected.lock().clone().filter(|snapshot| is_it(&snapshot.through));
        if expected.is_some() {
            return Ok(expected);
        }
        let known = self.with_writer(|writer| [writer.last_entry(), writer.purged_entry(), writer.committed_entry()]);
        if let Some(through) = known.into_iter().flatten().find(is_it) {
            return Ok(Some(bare(through)));
        }
        let found = self.read(log_id.index, log_id.index.saturating_add(1), 1)?;
        let index = found.first().filter(|entry| entry.log_id == *log_id).map(|entry| entry.index);
        let index = index.or_else(|| self.0.begins_anywhere.then_some(LogIndex(log_id.index)));
        Ok(index.map(|index| bare(convert::last(log_id, index))))
    }
}

/// Where a snapshot ends.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The last entry that it stands for.
    pub(crate) through: Last,
    /// The membership as of then, and what set it.
    pub(crate) membership: Option<(strandline_wal::Membership, Last)>,
}
