//! Walks a log's tail batch by batch, in index order, which is also the order of ingested_at.
//!
//! Memory gives a batch where it covers the next entry, the log gives it elsewhere; what memory lets go meanwhile is
//! read from the log, so no entry is passed over. Without the log (left out of reads) such entries are not seen.

use super::frames::{self, Entries};
use super::tail::LogTail;
use crate::read::ReadError;
use crate::read::source::TailBatch;
use std::collections::VecDeque;
use std::sync::Arc;
use strandline_event::{LogIndex, Micros};
use strandline_wal::LogView;

/// Batches that are taken from memory at once.
const HOT_BATCHES: usize = 64;

/// A place in a log's tail.
pub(crate) struct TailCursor {
    tail: LogTail,
    /// Everything up to here was given or passed over.
    done: LogIndex,
    /// Batches that end before this moment are passed over.
    from_us: Micros,
    ready: VecDeque<TailBatch>,
    frames: Option<(Entries, LogIndex)>,
    skipped: bool,
}

impl TailCursor {
    /// Begins at the first batch that holds something taken at `from_us` or later.
    pub(crate) fn new(tail: LogTail, from_us: Micros) -> Self {
        let done = tail.after;
        Self { tail, done, from_us, ready: VecDeque::new(), frames: None, skipped: from_us == Micros::MIN }
    }

    /// The next batch; `None` at the end of the view.
    pub(crate) fn next(&mut self) -> Result<Option<TailBatch>, ReadError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            if let Some((frames, end)) = &mut self.frames {
                match frames.next().transpose()? {
                    Some(frame) => {
                        self.done = frame.index;
                        if frame.batch.stamps().last_ingested_at() >= self.from_us {
                            return Ok(Some(self.tail.log_batch(frame)));
                        }
                        continue;
                    }
                    None => {
                        self.done = *end;
                        self.frames = None;
                    }
                }
            }
            if self.done >= self.tail.through || !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// Finds where the next entry comes from. False: the rest of the view is in no tier that is read.
    fn advance(&mut self) -> Result<bool, ReadError> {
        let Some(hot) = self.tail.hot.clone() else { return self.open_log(self.tail.through) };
        let key = &self.tail.shared.key;
        let range = hot.range(key);
        if range.through <= self.done || range.after >= range.through {
            return self.open_log(self.tail.through);
        }
        if range.after > self.done {
            return self.below_memory(range.after);
        }
        let part = hot.batches(key, self.done, Micros(self.from_us.0.saturating_sub(1)), HOT_BATCHES);
        if part.range.after > self.done {
            // let go between the two looks
            return self.below_memory(part.range.after);
        }
        let through = self.tail.through;
        self.done = match part.batches.last() {
            Some(last) if part.batches.len() >= HOT_BATCHES => last.index,
            _ => part.range.through,
        }
        .min(through);
        let tail = &self.tail;
        self.ready.extend(part.batches.iter().filter(|b| b.index <= through).map(|b| tail.hot_batch(b)));
        Ok(true)
    }

    /// Entries up to `end` are not in memory.
    fn below_memory(&mut self, end: LogIndex) -> Result<bool, ReadError> {
        if self.tail.log.is_some() {
            return self.open_log(end.min(self.tail.through));
        }
        self.done = end;
        Ok(true)
    }

    fn open_log(&mut self, end: LogIndex) -> Result<bool, ReadError> {
        let Some(log) = self.tail.log.clone() else { return Ok(false) };
        let start = self.start(&log, end)?;
        self.frames = Some((frames::entries(&self.tail.shared.key, &log, start, end)?, end));
        Ok(true)
    }

    /// Bisects to the wanted moment, once.
    fn start(&mut self, log: &Arc<LogView>, end: LogIndex) -> Result<LogIndex, ReadError> {
        if self.skipped {
            return Ok(self.done);
        }
        let start = frames::skip_below(&self.tail.shared.key, log, self.done, end, self.from_us)?;
        // nothing of this part is wanted: the moment may lie in the next part
        self.skipped = start < end;
        Ok(start)
    }
}
