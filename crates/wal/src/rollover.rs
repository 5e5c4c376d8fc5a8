//! Where the writer's next frame goes: into the open group, a new group, a new segment; and whether it surely fits.
//!
//! Invariant: a segment that holds an entry never exceeds the rollover size, marks included (of the entry's time, where that is
//! changed).

use crate::config::{LogConfig, Rollover};
use crate::frame::{BLOCK_BYTES, block_up, frame_bytes};
use crate::group::{Ended, Group};
use crate::num::SegmentNo;
use crate::segment::{Facts, Segment};
use crate::space::{Room, missing};
use crate::state::Before;
use crate::tags::Seal;
use crate::writer::{LogWriter, Plan};
use std::sync::Arc;
use strandline_event::Micros;
use strandline_keys::Purpose;

impl LogConfig {
    /// Full size of a segment's file.
    pub(crate) fn segment_bytes(&self) -> u64 {
        // by time only: a size to prepare ahead; writing goes on behind it
        self.rollover.size_bytes.unwrap_or(256 << 20)
    }

    /// The same, in whole blocks.
    pub(crate) fn file_bytes(&self) -> u64 {
        block_up(self.segment_bytes())
    }
}

impl LogWriter {
    /// From the next entry on segments end so: what may follow the last one was promised room where it ends by now. A segment that
    /// is longer than the new size already ends with that entry.
    pub fn set_rollover(&mut self, rollover: Rollover) {
        self.next_rollover = Some(rollover);
    }

    /// Before an entry is pushed.
    pub(crate) fn follow_rollover(&mut self) {
        if let Some(rollover) = self.next_rollover.take() {
            self.start.config.rollover = rollover;
            self.start.files.set_segment_bytes(self.start.config.segment_bytes());
            self.file_bytes_min = self.file_bytes_min.min(self.start.config.file_bytes());
        }
    }

    /// Whether an entry with this payload surely fits, with what must be able to follow it. Asks the device when the reserve
    /// does not do.
    #[must_use]
    pub fn room(&self, payload_len: usize) -> Room {
        let payload_len = payload_len + self.tag_bytes();
        let facts = self.start.files.space.get();
        let bytes = |wanted| missing(facts, self.planned().chain([wanted]), self.closing_bytes());
        let here = bytes(self.wanted(payload_len));
        // where time ends segments, or they are to end otherwise, the entry may find itself in the next one
        let later = if self.start.config.rollover.by_time || self.next_rollover.is_some() {
            bytes(self.wanted_fresh(payload_len))
        } else {
            0
        };
        self.start.files.promise(here.max(later))
    }

    /// Makes sure that a group is open which may take a frame of this size.
    pub(crate) fn open_group(&mut self, frame: usize, now: Micros) {
        if let Some(group) = &self.gathering {
            let over = group.memory.buf.len() + frame > self.start.config.group_bytes_max;
            if over || self.overflows(group.tail(), frame) {
                self.close_gathering();
            }
        }
        if self.gathering.is_some() {
            return;
        }
        match &self.plan {
            Some(plan) if !self.rolls(plan, frame, now) => {
                let (segment, offset) = (Arc::clone(&plan.segment), plan.end);
                self.gathering = Some(self.new_group(segment, offset, false));
            }
            _ => self.begin_segment(now),
        }
    }

    fn overflows(&self, end: u64, frame: usize) -> bool {
        let size = self.start.config.rollover.size_bytes;
        // two blocks stay free, for an idle mark (a group that needs proof brings it along) and a clean stop
        size.is_some_and(|size| block_up(end + frame as u64) + 2 * BLOCK_BYTES as u64 > size)
    }

    fn rolls(&self, plan: &Plan, frame: usize, now: Micros) -> bool {
        let by_time = self.start.config.rollover.by_time && plan.period != self.start.config.pattern.period(now);
        // a segment that holds no entry yet takes even one that is larger than a segment
        self.roll || by_time || (plan.has_entries && self.overflows(plan.end, frame))
    }

    pub(crate) fn begin_segment(&mut self, now: Micros) {
        let number = self.start.next_segment;
        self.start.next_segment = number.next();
        self.roll = false;
        let path = self.start.dir.join(self.start.config.pattern.name(number, now));
        let (disk, first) = (Arc::clone(&self.start.disk), (self.start.next_index, self.next_number()));
        let purpose = Purpose::Segment(self.start.log_id, number.0);
        let (name, key) = self.start.config.keys.as_ref().map(|keys| keys.fresh(purpose)).unzip();
        self.start.state.key = name;
        let seal = key.map(|key| Seal { key, tags: true });
        let segment = Arc::new(Segment::new(disk, path, number, self.start.log_id, first, Facts::empty(), seal));
        let ended = self.plan.take().map(|plan| Ended { segment: plan.segment, end: plan.end });
        if let Some(ended) = &ended {
            self.start.state.before = Some(Before {
                segment: ended.segment.number(),
                end: ended.end,
                last: self.start.last,
                last_time: self.start.last_time,
                has_tags: ended.segment.has_tags(),
            });
        }
        let period = self.start.config.pattern.period(now);
        self.plan = Some(Plan { segment: Arc::clone(&segment), end: 0, period, has_entries: false });
        let mut group = self.new_group(segment, 0, true);
        group.ends = ended;
        self.gathering = Some(group);
        self.append_state(now);
    }

    /// Ends of segments when everything that was pushed is written, in the order of writing.
    fn planned(&self) -> impl Iterator<Item = (SegmentNo, u64)> {
        let handed = [self.in_flight, self.staged].into_iter().flatten().map(|group| (group.segment, group.end));
        let closed = self.closed.iter().map(|group| (group.segment(), group.end()));
        // with the block of the mark that may prove it
        let gathering = self.gathering.iter().map(|group| (group.segment(), group.end() + BLOCK_BYTES as u64));
        handed.chain(closed).chain(gathering)
    }

    /// Room for what may follow the last entry of a segment on a full disk, or make up one by itself: a State frame (a trim),
    /// the proofs of the groups before and of that frame, an idle mark and a clean stop.
    fn closing_bytes(&self) -> u64 {
        block_up(frame_bytes(self.start.state.encoded_len_max()) as u64) + 4 * BLOCK_BYTES as u64
    }

    /// The end of the segment that an entry with this payload will go to.
    fn wanted(&self, payload_len: usize) -> (SegmentNo, u64) {
        let frame = frame_bytes(payload_len);
        let Some(plan) = &self.plan else { return self.wanted_fresh(payload_len) };
        let at = self.gathering.as_ref().map_or(plan.end, Group::tail);
        if self.roll || (plan.has_entries && self.overflows(at, frame)) {
            return self.wanted_fresh(payload_len);
        }
        (plan.segment.number(), block_up(at) + block_up(frame as u64) + self.closing_bytes())
    }

    /// The same if it begins a segment, behind a State frame.
    fn wanted_fresh(&self, payload_len: usize) -> (SegmentNo, u64) {
        let state = block_up(frame_bytes(self.start.state.encoded_len_max()) as u64);
        let entry = block_up(frame_bytes(payload_len) as u64);
        (self.start.next_segment, state + entry + self.closing_bytes())
    }
}
