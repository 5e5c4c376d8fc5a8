//! Where the writer's next frame goes: into the open group, a new group, a new segment; and whether it surely fits.
//!
//! Invariant: a segment that holds an entry never exceeds the rollover size, marks included.

use crate::config::LogConfig;
use crate::frame::{BLOCK_BYTES, block_up, frame_bytes};
use crate::group::{Ended, Group};
use crate::segment::{Facts, Segment};
use crate::space::{Room, Wanted, judge};
use crate::state::Before;
use crate::writer::{LogWriter, Plan};
use std::sync::Arc;
use strandline_event::Micros;

impl LogConfig {
    /// Full size of a segment's file.
    pub(crate) fn segment_bytes(&self) -> u64 {
        // by time only: a size to prepare ahead; writing goes on behind it
        self.rollover.size_bytes.unwrap_or(256 << 20)
    }
}

impl LogWriter {
    /// Whether an entry with this payload surely fits. Asks the device when the reserve does not answer.
    #[must_use]
    pub fn room(&self, payload_len: usize) -> Room {
        let low_water = self.start.config.low_water_bytes;
        let wanted = self.wanted(payload_len);
        if judge(self.start.files.space.get(), wanted, low_water) == Room::Fits {
            return Room::Fits;
        }
        self.start.files.look_at_free_space();
        judge(self.start.files.space.get(), wanted, low_water)
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
        // two blocks stay free for an idle mark and a clean stop
        size.is_some_and(|size| block_up(end + frame as u64) + 2 * BLOCK_BYTES as u64 > size)
    }

    fn rolls(&self, plan: &Plan, frame: usize, now: Micros) -> bool {
        let by_time = self.start.config.rollover.by_time && plan.period != self.start.config.pattern.period(now);
        // a segment that holds no entry yet takes even one that is larger than a segment
        self.roll || by_time || (plan.has_entries && self.overflows(plan.end, frame))
    }

    fn begin_segment(&mut self, now: Micros) {
        let number = self.start.next_segment;
        self.start.next_segment = number.next();
        self.roll = false;
        let path = self.start.dir.join(self.start.config.pattern.name(number, now));
        let (disk, first) = (Arc::clone(&self.start.disk), self.start.next_index);
        let segment = Arc::new(Segment::new(disk, path, number, self.start.log_id, first, Facts::empty()));
        let ended = self.plan.take().map(|plan| Ended { segment: plan.segment, end: plan.end });
        if let Some(ended) = &ended {
            self.start.state.before = Some(Before {
                segment: ended.segment.number(),
                end: ended.end,
                last: self.start.last,
                last_time: self.start.last_time,
            });
        }
        let period = self.start.config.pattern.period(now);
        self.plan = Some(Plan { segment: Arc::clone(&segment), end: 0, period, has_entries: false });
        let mut group = self.new_group(segment, 0, true);
        group.ends = ended;
        self.gathering = Some(group);
        self.append_state(now);
    }

    fn wanted(&self, payload_len: usize) -> Wanted {
        let frame = frame_bytes(payload_len);
        // a State frame in front of the entry, if it begins a segment
        let state = block_up(frame_bytes(self.start.state.encoded_len_max()) as u64);
        let fresh = Wanted { segment: self.start.next_segment, begins: true, end: state + block_up(frame as u64) };
        let Some(plan) = &self.plan else { return fresh };
        let at = self.gathering.as_ref().map_or(plan.end, Group::tail);
        if self.roll || (plan.has_entries && self.overflows(at, frame)) {
            return fresh;
        }
        let begins = self.gathering.iter().chain(&self.closed).any(|group| group.begins);
        Wanted { segment: plan.segment.number(), begins, end: block_up(at) + block_up(frame as u64) }
    }
}
