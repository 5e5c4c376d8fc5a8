//! The writer's side of replication: entries with the numbers that a group gave them, cutting off, going on elsewhere, purging, and
//! what is committed.
//!
//! Invariants: an entry's frames stand in one group; blocks that hold acknowledged frames are never written again, so a log that is
//! cut off goes on in a new segment; nothing is cut off that is committed; and readers see what is committed only.
//!
//! It refuses to draw any conclusion from a vote or a membership: it keeps them.

use crate::config::{Entry, PushError, Pushed};
use crate::entries::Begin;
use crate::frame::{FrameKind, PAYLOAD_BYTES_MAX, frame_bytes};
use crate::group::Ended;
use crate::membership::Membership;
use crate::num::{LeaderId, LogId, Vote};
use crate::reader::{Cursor, ReadError};
use crate::segment::Segment;
use crate::state::{Before, State};
use crate::view::LogView;
use crate::writer::LogWriter;
use std::sync::Arc;
use strandline_event::invariant::broken;
use strandline_event::{LogIndex, Micros};

/// What an entry of a group holds.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// Nothing.
    Blank,
    /// A membership.
    Membership(&'a Membership),
    /// Payloads, each a frame, with the moment in its header.
    Payloads(&'a [(Entry<'a>, Micros)]),
}

/// An entry by both its names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Last {
    /// Leader and index of its last frame.
    pub id: LogId,
    /// Its number.
    pub number: u64,
}

impl LogWriter {
    /// Whether numbers are kept: the log was opened to be replicated, now or ever.
    #[must_use]
    pub fn is_replicated(&self) -> bool {
        self.start.state.numbers.is_some()
    }

    /// Index that the next frame of an entry gets.
    #[must_use]
    pub fn next_index(&self) -> LogIndex {
        self.start.next_index
    }

    /// The last entry that was pushed, durable or not; `None` if there is none behind what was purged.
    #[must_use]
    pub fn last_entry(&self) -> Option<Last> {
        let id =
            self.start.last.filter(|last| self.start.state.purged.is_none_or(|purged| last.index > purged.index))?;
        Some(Last { id, number: self.next_number().saturating_sub(1) })
    }

    /// The last entry that was purged.
    #[must_use]
    pub fn purged_entry(&self) -> Option<Last> {
        let (purged, numbers) = (self.start.state.purged?, self.start.state.numbers?);
        Some(Last { id: purged, number: numbers.purged })
    }

    /// The last entry that is known to be committed.
    #[must_use]
    pub fn committed_entry(&self) -> Option<Last> {
        let (committed, numbers) = (self.start.state.committed?, self.start.state.numbers?);
        Some(Last { id: committed, number: numbers.committed })
    }

    /// Takes an entry of a group, of the number that is next. It is durable when its group is committed.
    ///
    /// # Errors
    /// `TooLarge`; nothing has changed then.
    pub fn push_entry(
        &mut self,
        number: u64,
        leader: LeaderId,
        content: Content<'_>,
        now: Micros,
    ) -> Result<Pushed, PushError> {
        if number != self.next_number() {
            broken("an entry came to the log out of its turn");
        }
        match content {
            Content::Blank => self.push_blank(leader, now),
            Content::Membership(membership) => self.push_membership(membership.clone(), leader, now),
            Content::Payloads(payloads) => self.push_payloads(payloads, now),
        }
    }

    fn push_payloads(&mut self, payloads: &[(Entry<'_>, Micros)], now: Micros) -> Result<Pushed, PushError> {
        let tag_bytes = self.tag_bytes();
        let bytes_of = |entry: &Entry<'_>| entry.parts.iter().map(|part| part.len()).sum::<usize>() + tag_bytes;
        let sizes = || payloads.iter().map(|(entry, _)| bytes_of(entry));
        if let Some(bytes) = sizes().find(|bytes| *bytes > PAYLOAD_BYTES_MAX) {
            return Err(PushError::TooLarge { bytes, max: PAYLOAD_BYTES_MAX });
        }
        self.follow_rollover();
        // all of them in one group: recovery finds the entry whole, or at the torn end
        self.open_group(sizes().map(frame_bytes).sum(), now);
        let mut pushed = None;
        for (i, (entry, time)) in payloads.iter().enumerate() {
            let goes_on = i + 1 < payloads.len();
            pushed = Some(self.append_frame(FrameKind::Entry, *entry, *time, goes_on));
        }
        pushed.map_or_else(|| broken("an entry came to the log without a payload"), Ok)
    }

    /// A log without entries goes on with this number, whatever it would have been.
    pub fn begin_at(&mut self, number: u64) {
        if self.start.last.is_some() || self.start.joined > 0 || number < self.next_number() {
            broken("a log that holds entries was told to begin elsewhere");
        }
        self.start.next_index = LogIndex(number);
        // the next segment's state says both where the log ended and where it goes on
        self.roll = self.plan.is_some();
    }

    /// What a quorum committed. Readers may see it.
    pub fn set_committed(&mut self, committed: LogId, number: u64) {
        if self.start.state.committed.is_some_and(|before| before.index >= committed.index) {
            return;
        }
        self.note_committed(committed, number);
        let old = self.view().load();
        let last = self.readable();
        if last != old.last {
            self.view().publish(LogView { older: Arc::clone(&old.older), tail: old.tail.clone(), last });
        }
    }

    /// Cuts off the entry with this number and all behind it. It counts when the group that is pending then is committed. `false`: there is no
    /// such entry.
    ///
    /// # Errors
    /// What reading the log says; nothing has changed then.
    pub fn cut_off(&mut self, number: u64, now: Micros) -> Result<bool, ReadError> {
        self.must_be_quiet();
        let view = self.view().load();
        if number >= self.next_number() {
            return Ok(false);
        }
        let Some(begin) = view.begin_of(number)? else { return Ok(false) };
        if self.start.state.committed.is_some_and(|committed| committed.index >= begin.index) {
            broken("a committed entry was to be cut off");
        }
        let Some((segment, _)) = view.segment(begin.segment) else { return Ok(false) };
        let segment = Arc::clone(segment);
        if self.start.state.membership_id.index >= begin.index {
            let then = state_before(&segment, begin.offset)?;
            let state = &mut self.start.state;
            (state.membership, state.membership_id) = (then.membership, then.membership_id);
            if let (Some(numbers), Some(then)) = (&mut state.numbers, then.numbers) {
                numbers.membership = then.membership;
            }
        }
        self.end_at(&view, &segment, &begin, number);
        self.begin_after_cut(segment, begin.offset, now);
        Ok(true)
    }

    /// The log as it was before `begin`, which the entry with this number does.
    fn end_at(&mut self, view: &LogView, segment: &Arc<Segment>, begin: &Begin, number: u64) {
        let older = (0..begin.segment).rev().filter_map(|i| view.segment(i));
        let in_older = || older.filter_map(|(s, _)| s.facts(|f| f.last.map(|last| (last, f.last_time)))).next();
        let last = begin.before.or_else(in_older);
        segment.update(|facts| {
            facts.end = begin.offset;
            facts.sparse.retain(|mark| mark.offset < begin.offset);
            (facts.last, facts.last_time) = match begin.before {
                Some((last, time)) => (Some(last), time),
                None => (None, Micros::MIN),
            };
        });
        (self.start.last, self.start.last_time) = match last {
            Some((last, time)) => (Some(last), time),
            None => (None, Micros::MIN),
        };
        self.durable = self.start.last;
        self.start.next_index = begin.index;
        self.start.joined = begin.index.0.saturating_sub(number);
    }

    fn begin_after_cut(&mut self, segment: Arc<Segment>, end: u64, now: Micros) {
        let number = segment.number();
        let keep = self.start.segments.iter().take_while(|s| s.number() <= number).count();
        let dead = self.start.segments.split_off(keep);
        let is_open = self.plan.take().is_some_and(|plan| plan.segment.number() == number);
        let (last, last_time) = (self.start.last, self.start.last_time);
        let before = Before { segment: number, end, last, last_time, has_tags: segment.has_tags() };
        self.start.state.before = Some(before);
        self.removals.extend(dead);
        self.start.state.numbers.iter_mut().for_each(|numbers| numbers.cut = true);
        self.begin_segment(now);
        self.start.state.numbers.iter_mut().for_each(|numbers| numbers.cut = false);
        if let (true, Some(group)) = (is_open, &mut self.gathering) {
            group.ends = Some(Ended { segment, end });
        }
    }

    /// Everything up to this entry is elsewhere, and the log holds nothing behind it: it goes on there, in a new segment. It counts when the
    /// group that is pending then is committed.
    pub fn go_on_behind(&mut self, through: Last, membership: Option<(Membership, Last)>, now: Micros) {
        self.must_be_quiet();
        let gone = std::mem::take(&mut self.start.segments);
        self.removals.extend(gone);
        self.plan = None;
        let state = &mut self.start.state;
        state.before = None;
        if state.committed.is_none_or(|committed| committed.index < through.id.index) {
            state.committed = Some(through.id);
            state.numbers.iter_mut().for_each(|numbers| numbers.committed = through.number);
        }
        if let Some((membership, set_by)) = membership {
            (state.membership, state.membership_id) = (membership, set_by.id);
            state.numbers.iter_mut().for_each(|numbers| numbers.membership = set_by.number);
        }
        self.note_purged(Some(through));
        self.start.next_index = through.id.index.next();
        self.start.joined = self.start.next_index.0.saturating_sub(through.number + 1);
        (self.start.last, self.start.last_time, self.durable) = (None, Micros::MIN, None);
        self.begin_segment(now);
    }

    /// Entries up to this one may go; whole segments of them do, when the group that is pending then is committed. `false`: no segment goes yet.
    pub fn purge(&mut self, through: Last, now: Micros) -> bool {
        if self.start.state.purged.is_some_and(|purged| purged.index >= through.id.index) {
            return false;
        }
        self.note_purged(Some(through));
        self.trim(through.id.index, Micros(i64::MAX), now) > 0
    }

    /// The last entry of the sealed segments that a trim would take: all of it at or below `through`, older than `older_than`.
    #[must_use]
    pub fn trimmable_through(&self, through: LogIndex, older_than: Micros) -> Option<Last> {
        self.last_of(self.trimmable(through, older_than))
    }

    /// The membership as of the end of the log, and the entry that set it; `None`: nobody belongs to the group yet.
    #[must_use]
    pub fn membership_entry(&self) -> Option<(Membership, Last)> {
        let (state, numbers) = (&self.start.state, self.start.state.numbers?);
        let set_by = Last { id: state.membership_id, number: numbers.membership };
        (!state.membership.voters.is_empty()).then(|| (state.membership.clone(), set_by))
    }

    /// The last vote.
    #[must_use]
    pub fn vote(&self) -> Vote {
        self.start.state.vote
    }

    /// Everything pushed so far goes to the disk before anything else may.
    fn must_be_quiet(&self) {
        if self.has_pending() || self.is_in_flight() {
            broken("a log was cut off while entries were on their way to its disk");
        }
    }
}

impl LogView {
    /// The membership as of the entry with this number, and what set it; `None`: nobody belonged to the group.
    ///
    /// # Errors
    /// What reading the log says.
    pub fn membership_as_of(&self, number: u64) -> Result<Option<(Membership, Last)>, ReadError> {
        let (at, end) = match self.begin_of(number + 1)? {
            Some(begin) => (begin.segment, begin.offset),
            None => match self.count().checked_sub(1).and_then(|at| Some((at, self.segment(at)?.1))) {
                Some(last) => last,
                None => return Ok(None),
            },
        };
        let Some((segment, _)) = self.segment(at) else { return Ok(None) };
        let state = state_before(segment, end)?;
        let number = state.numbers.map_or(state.membership_id.index.0, |numbers| numbers.membership);
        let set_by = Last { id: state.membership_id, number };
        Ok((!state.membership.voters.is_empty()).then_some((state.membership, set_by)))
    }
}

/// The log's state as of an offset of a segment: its State frames, and what Membership frames changed since.
fn state_before(segment: &Arc<Segment>, end: u64) -> Result<State, ReadError> {
    let mut cursor = Cursor::new(Arc::clone(segment), 0, end, false)?;
    let mut state: Option<State> = None;
    let mut joined = 0;
    while let Some((header, _)) = cursor.peek()? {
        match header.kind {
            FrameKind::State => {
                let frame = cursor.frame(header)?;
                let read = State::decode(&frame.payload, header.version);
                joined = read.as_ref().and_then(|s| s.numbers).map_or(0, |n| header.index.0.saturating_sub(n.next));
                state = Some(read.ok_or_else(|| cursor.corrupt("a state frame cannot be read"))?);
            }
            FrameKind::Membership => {
                let frame = cursor.frame(header)?;
                let read = Membership::decode(&frame.payload);
                let membership = read.ok_or_else(|| cursor.corrupt("a membership cannot be read"))?;
                if let Some(state) = &mut state {
                    state.membership = membership;
                    state.membership_id = LogId { leader: header.leader, index: header.index };
                    let number = header.index.0.saturating_sub(joined);
                    state.numbers.iter_mut().for_each(|numbers| numbers.membership = number);
                }
            }
            _ => {
                let goes_on = header.kind.takes_index() && header.has(crate::frame::FLAG_GOES_ON);
                joined += u64::from(goes_on);
                cursor.skip(&header)?;
            }
        }
    }
    state.ok_or_else(|| cursor.corrupt("the segment does not start with a state frame"))
}
