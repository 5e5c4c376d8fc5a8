//! The entries of a replicated log as Raft counts them: by number, each with all its frames, committed or not.
//!
//! ```text
//!  index    10      11      12      13      14
//!  frame    Entry   Entry   Entry   Blank   Entry
//!  goes on  no      yes     no      no      no
//!  number   10      11      11      12      13          number = index of the first frame - frames before it that go on
//! ```
//!
//! It reads what is on the disk; only who replicates the log may use it. Everybody else reads `LogView::frames`, which ends at what
//! is committed. It refuses to serve a frame that is not what was written.

use crate::frame::{FLAG_GOES_ON, FrameKind};
use crate::num::{LeaderId, LogId};
use crate::reader::{Cursor, FrameView, ReadError, partition};
use crate::view::LogView;
use std::sync::Arc;
use strandline_event::{LogIndex, Micros};

/// One entry with its frames.
#[derive(Clone, Debug)]
pub struct StoredEntry {
    /// Its number.
    pub number: u64,
    /// Who made it.
    pub leader: LeaderId,
    /// Membership, Blank or Entry.
    pub kind: FrameKind,
    /// Its frames; never none, more than one only for Entry.
    pub frames: Vec<FrameView>,
}

impl StoredEntry {
    /// Index of its last frame.
    #[must_use]
    pub fn index(&self) -> LogIndex {
        self.frames.last().map_or(LogIndex::ZERO, |frame| frame.header.index)
    }

    /// Bytes of its frames.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.frames.iter().map(|frame| frame.loc.len as usize).sum()
    }
}

/// Where an entry begins, and what the log was before it.
pub(crate) struct Begin {
    /// Place of its segment in the view.
    pub(crate) segment: usize,
    /// Offset of its first frame.
    pub(crate) offset: u64,
    pub(crate) index: LogIndex,
    /// The entry before it, if it stands in the same segment, with its time.
    pub(crate) before: Option<(LogId, Micros)>,
}

impl LogView {
    /// Entries with numbers from `from` to below `to`, in order, as far as they are there: until they are about `bytes_max` together, at
    /// least one.
    ///
    /// # Errors
    /// `Corrupt`, `Io`; `Trimmed` if a file went under this view.
    pub fn entries(self: &Arc<Self>, from: u64, to: u64, bytes_max: usize) -> Result<Vec<StoredEntry>, ReadError> {
        let mut out: Vec<StoredEntry> = Vec::new();
        let mut bytes = 0;
        for at in self.segment_of(from)..self.count() {
            let Some((segment, end)) = self.segment(at) else { break };
            let mark = segment.mark_before(from);
            let mut cursor = Cursor::new(Arc::clone(segment), mark.offset, end, false).map_err(|e| self.gone(e))?;
            let mut joined = mark.next_index.0.saturating_sub(mark.number);
            let mut goes_on = false;
            while let Some((header, _)) = cursor.peek()? {
                let number = header.index.0.saturating_sub(joined);
                if header.kind.takes_index() {
                    joined += u64::from(header.has(FLAG_GOES_ON));
                }
                if !header.kind.takes_index() || number < from {
                    cursor.skip(&header)?;
                    continue;
                }
                if number >= to || (!goes_on && !out.is_empty() && bytes >= bytes_max) {
                    return Ok(out);
                }
                let frame = cursor.frame(header)?;
                bytes += frame.loc.len as usize;
                match out.last_mut().filter(|_| goes_on) {
                    Some(entry) => entry.frames.push(frame),
                    None => {
                        let (leader, kind) = (header.leader, header.kind);
                        out.push(StoredEntry { number, leader, kind, frames: vec![frame] });
                    }
                }
                goes_on = header.has(FLAG_GOES_ON);
            }
            if goes_on {
                return Err(cursor.corrupt("the segment ends inside an entry"));
            }
        }
        Ok(out)
    }

    /// Whether no position between its first entry and its last was given up: a group's numbers have no gap.
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        let goes_on = |i: usize| match (self.segment(i), self.segment(i + 1)) {
            (Some((before, _)), Some((after, _))) => {
                let last = before.facts(|facts| facts.last);
                last.is_none_or(|last| last.index.next() == after.first_index())
            }
            _ => true,
        };
        (0..self.count()).all(goes_on)
    }

    /// Number of the first entry that is here, or would be.
    #[must_use]
    pub fn first_number(&self) -> u64 {
        self.segment(0).map_or(0, |(segment, _)| segment.first_number())
    }

    /// The last segment that begins with this number or a smaller one.
    fn segment_of(&self, number: u64) -> usize {
        let begins_by = |i: usize| self.segment(i).is_some_and(|(segment, _)| segment.first_number() <= number);
        partition(self.count(), begins_by).saturating_sub(1)
    }

    /// Where the entry with this number begins; `None` if it is not here.
    pub(crate) fn begin_of(&self, number: u64) -> Result<Option<Begin>, ReadError> {
        let at = self.segment_of(number);
        let Some((segment, end)) = self.segment(at) else { return Ok(None) };
        let mark = segment.mark_before(number.saturating_sub(1));
        let mut cursor = Cursor::new(Arc::clone(segment), mark.offset, end, false)?;
        let mut joined = mark.next_index.0.saturating_sub(mark.number);
        let mut before = None;
        while let Some((header, offset)) = cursor.peek()? {
            if header.kind.takes_index() {
                if header.index.0.saturating_sub(joined) == number {
                    return Ok(Some(Begin { segment: at, offset, index: header.index, before }));
                }
                joined += u64::from(header.has(FLAG_GOES_ON));
                before = Some((LogId { leader: header.leader, index: header.index }, header.time));
            }
            cursor.skip(&header)?;
        }
        Ok(None)
    }
}
