//! The writer of one log: pure sequencing. It gives indices and places, gathers frames into groups, decides where segments
//! end. It never touches the disk; a `LogIo` carries its groups there and back.
//!
//! Invariants: one group is in flight at a time (one more may be at the disk for its turn: `staged.rs`); indices are
//! contiguous; a group starts where the one before it ended, at a multiple of the block; every segment starts with a State
//! frame; a group that no checksum proves goes to the disk with the mark that does, so that an acknowledged entry is never cut.

use crate::config::{Committed, Entry, LogConfig, PushError, Pushed, Rollover};
use crate::disk::Disk;
use crate::files::LogFiles;
use crate::frame::{
    FLAG_GOES_ON, FLAG_NO_CHECKSUM, FLAG_NO_FSYNC, FLAG_SEALED, FrameHeader, FrameKind, PAYLOAD_BYTES_MAX, VERSION,
    VERSION_REPLICATED, VERSION_TAGGED, frame_bytes,
};
use crate::group::{Group, GroupMemory};
use crate::membership::Membership;
use crate::num::{GroupNo, LeaderId, LogId, SegmentNo, Vote};
use crate::reader::FrameLoc;
use crate::segment::{Mark, Segment};
use crate::state::{State, encode_vote};
use crate::view::{LogView, SharedView};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use strandline_event::invariant::broken;
use strandline_event::{LogIndex, Micros};
use strandline_keys::TAG_BYTES;

/// The segment that the next frames go to, as planned: with everything pushed, not only what is committed.
pub(crate) struct Plan {
    pub(crate) segment: Arc<Segment>,
    /// Where the next group starts.
    pub(crate) end: u64,
    pub(crate) period: i64,
    /// Whether it holds an entry.
    pub(crate) has_entries: bool,
}

/// What a writer starts from.
pub(crate) struct Start {
    pub(crate) config: LogConfig,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) files: Arc<LogFiles>,
    pub(crate) log_id: u64,
    /// State as of now; `before` names the last segment there is.
    pub(crate) state: State,
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) next_index: LogIndex,
    /// Frames so far whose entry goes on in the next one.
    pub(crate) joined: u64,
    pub(crate) next_group: GroupNo,
    pub(crate) next_segment: SegmentNo,
    pub(crate) last: Option<LogId>,
    pub(crate) last_time: Micros,
}

/// The group on its way to the disk, and where its segment ends behind it.
#[derive(Clone, Copy)]
pub(crate) struct InFlight {
    number: GroupNo,
    last_number: GroupNo,
    pub(crate) segment: SegmentNo,
    pub(crate) end: u64,
}

impl InFlight {
    pub(crate) fn of(group: &Group) -> Self {
        let (number, last_number) = (group.number, group.last_number());
        Self { number, last_number, segment: group.segment(), end: group.end() }
    }

    pub(crate) const fn number(&self) -> GroupNo {
        self.number
    }

    /// The highest group number in it.
    pub(crate) const fn last_number(&self) -> GroupNo {
        self.last_number
    }
}

/// Owner of one log.
pub struct LogWriter {
    pub(crate) start: Start,
    pub(crate) plan: Option<Plan>,
    /// The next group begins a new segment.
    pub(crate) roll: bool,
    /// How segments end from the next entry on, if that changes.
    pub(crate) next_rollover: Option<Rollover>,
    pub(crate) gathering: Option<Group>,
    pub(crate) closed: VecDeque<Group>,
    pub(crate) in_flight: Option<InFlight>,
    /// The one behind it: it is in flight when that one is durable.
    pub(crate) staged: Option<InFlight>,
    memory: Vec<GroupMemory>,
    synced_below: GroupNo,
    pub(crate) durable: Option<LogId>,
    unproven: bool,
    /// The least size that a file of a segment was made with since the log was opened.
    pub(crate) file_bytes_min: u64,
    pub(crate) removals: Vec<Arc<Segment>>,
    view: SharedView,
}

impl LogWriter {
    pub(crate) fn new(start: Start, view: SharedView) -> Self {
        let synced_below = start.next_group;
        let durable = start.last;
        let file_bytes_min = start.config.file_bytes();
        Self {
            start,
            plan: None,
            roll: false,
            next_rollover: None,
            gathering: None,
            closed: VecDeque::new(),
            in_flight: None,
            staged: None,
            memory: Vec::new(),
            synced_below,
            durable,
            unproven: false,
            file_bytes_min,
            removals: Vec::new(),
            view,
        }
    }

    /// Takes an entry. It is durable when its group is committed, and cannot fail any more (ask `room` before).
    ///
    /// # Errors
    /// `TooLarge`.
    pub fn push(&mut self, entry: Entry<'_>, now: Micros) -> Result<Pushed, PushError> {
        self.follow_rollover();
        self.push_kind(FrameKind::Entry, entry, now)
    }

    /// The first entry of a leader's term.
    ///
    /// # Errors
    /// None that a blank entry can meet.
    pub fn push_blank(&mut self, leader: LeaderId, now: Micros) -> Result<Pushed, PushError> {
        self.push_kind(FrameKind::Blank, Entry { leader, schema: 0, count: 0, parts: &[] }, now)
    }

    /// A membership; in force from here on.
    ///
    /// # Errors
    /// `TooLarge`.
    pub fn push_membership(
        &mut self,
        membership: Membership,
        leader: LeaderId,
        now: Micros,
    ) -> Result<Pushed, PushError> {
        let bytes = membership.encode();
        let pushed =
            self.push_kind(FrameKind::Membership, Entry { leader, schema: 0, count: 0, parts: &[&bytes] }, now)?;
        self.start.state.membership = membership;
        self.start.state.membership_id = LogId { leader, index: pushed.index };
        let number = self.next_number() - 1;
        self.start.state.numbers.iter_mut().for_each(|numbers| numbers.membership = number);
        Ok(pushed)
    }

    /// A vote. It counts when its group is committed.
    ///
    /// # Errors
    /// None that a vote can meet.
    pub fn push_vote(&mut self, vote: Vote, now: Micros) -> Result<Pushed, PushError> {
        self.close_before_unnumbered();
        self.append_vote(vote, now)
    }

    /// The same, behind what the group holds.
    pub(crate) fn append_vote(&mut self, vote: Vote, now: Micros) -> Result<Pushed, PushError> {
        self.start.state.vote = vote;
        let bytes = encode_vote(vote);
        self.push_kind(FrameKind::Vote, Entry { leader: vote.leader, schema: 0, count: 0, parts: &[&bytes] }, now)
    }

    /// Makes the last acknowledged group provable: damage to it is then reported, not taken for torn. Ask when the queue has been
    /// empty for a moment; `false` if there is nothing to prove (or something is under way, which will).
    pub fn idle_mark(&mut self, now: Micros) -> bool {
        self.mark(FrameKind::IdleMark, now)
    }

    /// The last frame of a log that is closed in order; `false` if nothing was written since it was opened, or groups are
    /// under way.
    pub fn clean_stop(&mut self, now: Micros) -> bool {
        self.unproven |= self.plan.is_some();
        self.mark(FrameKind::CleanStop, now)
    }

    /// The next group begins a new segment, unless the open one holds no entry. Returns the last index pushed.
    pub fn seal(&mut self) -> LogIndex {
        self.close_gathering();
        self.roll |= self.plan.as_ref().is_some_and(|plan| plan.has_entries);
        self.last_pushed()
    }

    /// The next group for the disk; `None` while one is in flight or nothing was pushed.
    pub fn take_group(&mut self) -> Option<Group> {
        if self.in_flight.is_some() {
            return None;
        }
        if self.closed.is_empty() {
            self.close_gathering();
        }
        let mut group = self.closed.pop_front()?;
        if group.begins {
            // the segment before is synced before the first write to a new one, with or without wal.fsync
            self.synced_below = group.number;
        }
        group.finish(self.synced_below, self.start.config.fsync);
        self.in_flight = Some(InFlight::of(&group));
        Some(group)
    }

    /// A group came back durable: publishes it to readers and takes its memory back. From here on the one behind it is in flight, where there is
    /// one.
    pub fn committed(&mut self, group: Group) -> Committed {
        let was_in_flight = std::mem::replace(&mut self.in_flight, self.staged.take());
        if was_in_flight.map(|group| group.number) != Some(group.number) {
            broken("a group was committed that was not in flight");
        }
        if self.start.config.fsync {
            self.synced_below = group.last_number().next();
        }
        self.durable = group.last.or(self.durable);
        if let (true, Some(durable)) = (self.start.config.commit_on_sync, self.durable) {
            self.note_committed(durable, durable.index.0.saturating_sub(self.start.joined));
        }
        self.unproven = !group.only_mark && group.proof.is_none();
        let end = group.end();
        group.segment.update(|facts| {
            facts.mark(Mark { next_index: group.next_index, number: group.next_number, offset: group.offset });
            facts.end = end;
            if let Some(last) = group.last {
                facts.last = Some(last);
                facts.last_time = group.last_time;
            }
        });
        if group.begins {
            self.start.segments.push(Arc::clone(&group.segment));
        }
        self.publish(&group, end);
        let committed = Committed { group: group.number, last: self.durable };
        self.memory.extend(group.memory.recycle());
        committed
    }

    /// Bytes that a tag adds to a payload.
    pub(crate) fn tag_bytes(&self) -> usize {
        if self.start.config.keys.is_some() { TAG_BYTES } else { 0 }
    }

    /// In an encrypted log a frame without an index stands first in its group: which frame is a group's last no tag says, so the end
    /// of a group may be taken away by who can write to the file. The next index would show an entry missing there, and nothing a vote.
    pub(crate) fn close_before_unnumbered(&mut self) {
        if self.start.config.keys.is_some() {
            self.close_gathering();
        }
    }

    /// What readers see.
    #[must_use]
    pub fn view(&self) -> SharedView {
        self.view.clone()
    }

    /// Index of the last entry pushed, durable or not; `ZERO` if there is none.
    #[must_use]
    pub fn last_pushed(&self) -> LogIndex {
        self.start.next_index.prev()
    }

    /// The last durable entry.
    #[must_use]
    pub fn durable(&self) -> Option<LogId> {
        self.durable
    }

    /// Whether a group is on its way to the disk.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether frames wait for the next group.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.gathering.is_some() || !self.closed.is_empty()
    }

    /// The log's state as the next segment will state it.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.start.state
    }

    pub(crate) fn note_committed(&mut self, committed: LogId, number: u64) {
        self.start.state.committed = Some(committed);
        self.start.state.numbers.iter_mut().for_each(|numbers| numbers.committed = number);
    }

    /// Planned bytes of the segment that is written, and whether it holds an entry.
    #[must_use]
    pub fn open_bytes(&self) -> (u64, bool) {
        let gathered = self.gathering.as_ref().map(Group::tail);
        self.plan.as_ref().map_or((0, false), |plan| (gathered.unwrap_or(plan.end), plan.has_entries))
    }

    fn publish(&self, group: &Group, end: u64) {
        let old = self.view.load();
        let changed = group.begins || !group.removals.is_empty() || self.start.segments.len() != old.count();
        let older = if changed {
            self.start.segments[..self.start.segments.len().saturating_sub(1)].into()
        } else {
            Arc::clone(&old.older)
        };
        let tail = Some((Arc::clone(&group.segment), end));
        self.view.publish(LogView { older, tail, last: self.readable() });
        if changed {
            self.start.files.let_go(old);
        }
    }

    /// The last index that readers may see.
    pub(crate) fn readable(&self) -> LogIndex {
        let index = |id: Option<LogId>| id.map_or(LogIndex::ZERO, |id| id.index);
        index(self.durable).min(index(self.start.state.committed))
    }

    fn mark(&mut self, kind: FrameKind, now: Micros) -> bool {
        let idle = !self.has_pending() && self.in_flight.is_none();
        let Some(plan) = self.plan.as_ref().filter(|_| idle && self.unproven) else { return false };
        // a mark stays in the segment that it proves; overflows() leaves room for it
        let (segment, offset) = (Arc::clone(&plan.segment), plan.end);
        let mut group = self.new_group(segment, offset, false);
        group.only_mark = true;
        self.gathering = Some(group);
        let state = &self.start.state;
        let entry = Entry { leader: state.vote.leader, schema: 0, count: 0, parts: &[] };
        self.append(kind, entry, now);
        self.close_gathering();
        true
    }

    pub(crate) fn push_kind(&mut self, kind: FrameKind, entry: Entry<'_>, now: Micros) -> Result<Pushed, PushError> {
        let bytes = entry.parts.iter().map(|part| part.len()).sum::<usize>() + self.tag_bytes();
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(PushError::TooLarge { bytes, max: PAYLOAD_BYTES_MAX });
        }
        self.open_group(frame_bytes(bytes), now);
        Ok(self.append(kind, entry, now))
    }

    pub(crate) fn append_state(&mut self, now: Micros) {
        let next = self.next_number();
        if let Some(numbers) = &mut self.start.state.numbers {
            (numbers.next, numbers.file_bytes) = (next, self.file_bytes_min);
        }
        let bytes = self.start.state.encode();
        let leader = self.start.state.vote.leader;
        self.append(FrameKind::State, Entry { leader, schema: 0, count: 0, parts: &[&bytes] }, now);
    }

    /// Number of the next entry: indices less the frames whose entry went on.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.start.next_index.0.saturating_sub(self.start.joined)
    }

    pub(crate) fn new_group(&mut self, segment: Arc<Segment>, offset: u64, begins: bool) -> Group {
        let number = self.start.next_group;
        self.start.next_group = number.next();
        Group {
            files: Arc::clone(&self.start.files),
            segment,
            number,
            offset,
            begins,
            ends: None,
            removals: std::mem::take(&mut self.removals),
            next_index: self.start.next_index,
            next_number: self.next_number(),
            last: None,
            last_time: Micros::MIN,
            only_mark: false,
            needs_proof: false,
            proof: None,
            frames_end: 0,
            finished: 0,
            memory: self.memory.pop().unwrap_or_else(GroupMemory::new),
        }
    }

    fn append(&mut self, kind: FrameKind, entry: Entry<'_>, now: Micros) -> Pushed {
        self.append_frame(kind, entry, now, false)
    }

    /// `goes_on`: the entry's next frame follows in the same group.
    pub(crate) fn append_frame(&mut self, kind: FrameKind, entry: Entry<'_>, now: Micros, goes_on: bool) -> Pushed {
        let Some(group) = self.gathering.as_ref() else { broken("a frame was pushed without a group") };
        let mut header = self.header(kind, entry, group, now);
        if goes_on {
            (header.version, header.flags) = (header.version.max(VERSION_REPLICATED), header.flags | FLAG_GOES_ON);
        }
        let Some(group) = self.gathering.as_mut() else { broken("a frame was pushed without a group") };
        let len = u32::try_from(header.frame_bytes()).unwrap_or(u32::MAX);
        let loc = FrameLoc { segment: header.segment, offset: group.tail(), len };
        group.needs_proof |= !header.proves_itself();
        group.append(&header, entry.parts);
        if kind.takes_index() {
            let id = LogId { leader: entry.leader, index: header.index };
            (group.last, group.last_time) = (Some(id), now);
            (self.start.last, self.start.last_time) = (Some(id), now);
            self.start.next_index = header.index.next();
            self.start.joined += u64::from(goes_on);
            if let Some(plan) = &mut self.plan {
                plan.has_entries = true;
            }
        }
        Pushed { index: header.index, loc, group: header.group }
    }

    fn header(&self, kind: FrameKind, entry: Entry<'_>, group: &Group, now: Micros) -> FrameHeader {
        let (tag_bytes, seals) = (self.tag_bytes(), self.start.config.keys.is_some() && kind.is_sealed());
        let tagged = tag_bytes > 0;
        let checked = self.start.config.checksum || kind.always_checked() || (tagged && !seals);
        let no_checksum = if checked { 0 } else { FLAG_NO_CHECKSUM };
        let no_fsync = if self.start.config.fsync { 0 } else { FLAG_NO_FSYNC };
        let crc = |crc, part: &&[u8]| crc32c::crc32c_append(crc, part);
        FrameHeader {
            version: match kind {
                FrameKind::State => self.start.state.version(),
                _ if tagged => VERSION_TAGGED,
                _ => VERSION,
            },
            kind,
            flags: no_checksum | no_fsync | if seals { FLAG_SEALED } else { 0 },
            schema: entry.schema,
            // at most PAYLOAD_BYTES_MAX
            payload_len: entry.parts.iter().map(|part| part.len() as u32).sum::<u32>() + tag_bytes as u32,
            log_id: self.start.log_id,
            segment: group.segment.number(),
            group: group.number,
            synced_below: GroupNo(0),
            leader: entry.leader,
            index: self.start.next_index,
            time: now,
            count: entry.count,
            // that of a payload with a tag is known when it has it
            payload_crc: if checked && !tagged { entry.parts.iter().fold(0, crc) } else { 0 },
            ordinal: group.memory.frames.len() as u32,
        }
    }

    pub(crate) fn close_gathering(&mut self) {
        let Some(mut group) = self.gathering.take() else { return };
        group.close();
        if group.needs_proof {
            self.prove(&mut group);
        }
        if let Some(plan) = &mut self.plan {
            plan.end = group.end();
        }
        self.closed.push_back(group);
    }
}

impl LogWriter {
    /// The next group number goes to the mark that proves this group.
    fn prove(&mut self, group: &mut Group) {
        let number = self.start.next_group;
        self.start.next_group = number.next();
        let entry = Entry { leader: self.start.state.vote.leader, schema: 0, count: 0, parts: &[] };
        let header = self.header(FrameKind::IdleMark, entry, group, group.last_time);
        group.append_proof(&FrameHeader { group: number, ordinal: 0, ..header });
    }
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogWriter(next {}, group {})", self.start.next_index, self.start.next_group)
    }
}
