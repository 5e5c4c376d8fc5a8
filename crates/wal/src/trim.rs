//! Trims a log: segments that are wholly durable elsewhere and old enough go, oldest first, never the open one.
//!
//! Order: a State frame that says "purged through" is durable before the first file is unlinked, so that a segment which is
//! missing for another reason is seen as missing.

use crate::frame::frame_bytes;
use crate::replicated::Last;
use crate::segment::Segment;
use crate::writer::LogWriter;
use std::sync::Arc;
use strandline_event::{LogIndex, Micros};

impl LogWriter {
    /// Trims sealed segments whose entries are all at or below `through` and whose last entry is older than
    /// `older_than`. Returns how many go: their files are unlinked after the next group (take it to the disk) is
    /// committed. After `seal` the segment that was open counts as sealed.
    pub fn trim(&mut self, through: LogIndex, older_than: Micros, now: Micros) -> usize {
        let count = self.trimmable(through, older_than);
        if count == 0 {
            return 0;
        }
        self.note_purged(self.last_of(count));
        if self.start.state.purged.is_none() {
            // nothing was ever purged, and nothing would be: a missing segment could not be explained
            return 0;
        }
        let gone: Vec<Arc<Segment>> = self.start.segments.drain(..count).collect();
        self.state_frame(now);
        match &mut self.gathering {
            Some(group) => group.removals.extend(gone),
            None => self.removals.extend(gone),
        }
        count
    }

    /// The last entry of the oldest `count` segments.
    pub(crate) fn last_of(&self, count: usize) -> Option<Last> {
        let segments = self.start.segments.get(..count)?;
        let id = segments.iter().rev().find_map(|segment| segment.facts(|facts| facts.last))?;
        let after = self.start.segments.get(count).map_or_else(|| self.next_number(), |s| s.first_number());
        Some(Last { id, number: after.saturating_sub(1) })
    }

    /// What was purged never falls.
    pub(crate) fn note_purged(&mut self, through: Option<Last>) {
        let state = &mut self.start.state;
        if let Some(last) = through
            && state.purged.is_none_or(|purged| purged.index < last.id.index)
        {
            state.purged = Some(last.id);
            state.numbers.iter_mut().for_each(|numbers| numbers.purged = last.number);
        }
    }

    /// A State frame: in a new segment as its first frame, else in the open one.
    fn state_frame(&mut self, now: Micros) {
        self.close_before_unnumbered();
        let begun = self.start.next_segment;
        self.open_group(frame_bytes(self.start.state.encoded_len_max()), now);
        if self.start.next_segment == begun {
            self.append_state(now);
        }
    }

    pub(crate) fn trimmable(&self, through: LogIndex, older_than: Micros) -> usize {
        let open = self.plan.as_ref().filter(|_| !self.roll).map(|plan| plan.segment.number());
        let newest = self.start.segments.last().map(|segment| segment.number());
        let goes = |segment: &&Arc<Segment>| {
            let (last, time) = segment.facts(|facts| (facts.last, facts.last_time));
            // entries that are pushed and not yet durable are in no facts: their segment is the open one, or after it
            Some(segment.number()) != open
                && last.is_none_or(|last| last.index <= through)
                && time < older_than
                && (newest != Some(segment.number()) || self.newest_may_go())
        };
        self.start.segments.iter().take_while(goes).count()
    }

    /// The newest segment goes only when it is sealed and nothing is on the way to it.
    fn newest_may_go(&self) -> bool {
        !self.has_pending() && !self.is_in_flight() && (self.plan.is_none() || self.roll)
    }
}
