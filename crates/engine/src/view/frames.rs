//! Entry frames of a log as batches: checksums are checked by the log, the archive is validated here, once a read.

use crate::read::ReadError;
use std::sync::Arc;
use strandline_event::{LogIndex, LogKey, StampedBatch, Stamps};
use strandline_wal::{FrameIter, FrameKind, FrameLoc, FrameView, LogView};

/// A batch read from the log.
#[derive(Clone)]
pub(crate) struct TailFrame {
    pub(crate) index: LogIndex,
    pub(crate) loc: FrameLoc,
    pub(crate) batch: StampedBatch,
}

/// Batches of (after, through], in order. Blank and membership frames are passed over.
pub(crate) fn entries(
    log: &LogKey,
    view: &Arc<LogView>,
    after: LogIndex,
    through: LogIndex,
) -> Result<Entries, ReadError> {
    let frames = if after < through {
        Some(view.frames(after.next(), through).map_err(|error| ReadError::Log { log: log.clone(), error })?)
    } else {
        None
    };
    Ok(Entries { log: log.clone(), frames })
}

/// Iterator of [`entries`]; ends after an error.
pub(crate) struct Entries {
    log: LogKey,
    frames: Option<FrameIter>,
}

impl Entries {
    /// The frame of the next entry; nobody has validated its archive yet.
    pub(crate) fn next_frame(&mut self) -> Option<Result<FrameView, ReadError>> {
        let frames = self.frames.as_mut()?;
        loop {
            let frame = match frames.next()? {
                Ok(frame) => frame,
                Err(error) => {
                    self.frames = None;
                    return Some(Err(ReadError::Log { log: self.log.clone(), error }));
                }
            };
            if frame.header.kind == FrameKind::Entry {
                return Some(Ok(frame));
            }
        }
    }
}

impl Iterator for Entries {
    type Item = Result<TailFrame, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let frame = self.next_frame()?;
        Some(frame.and_then(|frame| decode(&self.log, &frame)))
    }
}

/// How many rows an entry frame says that it has.
pub(crate) fn rows(log: &LogKey, frame: &FrameView) -> Result<usize, ReadError> {
    Ok(stamps(log, frame)?.rows())
}

/// The batch of an entry frame.
pub(crate) fn decode(log: &LogKey, frame: &FrameView) -> Result<TailFrame, ReadError> {
    let (index, loc) = (frame.header.index, frame.loc);
    let batch = StampedBatch::from_payload(&frame.payload).map_err(|error| ReadError::Payload {
        log: log.clone(),
        index,
        segment: loc.segment.0,
        offset: loc.offset,
        error,
    })?;
    Ok(TailFrame { index, loc, batch })
}

/// The last entry of (after, through] that ends before `position_us`: everything at or above that moment comes after it.
///
/// Bisects by index: ingested_at never falls from entry to entry. Reads a few frames, no archive.
pub(crate) fn skip_below(
    log: &LogKey,
    view: &Arc<LogView>,
    after: LogIndex,
    through: LogIndex,
    position_us: strandline_event::Micros,
) -> Result<LogIndex, ReadError> {
    let (mut low, mut high) = (after, through);
    // everything at or below `low` ends before the moment; everything above `high` does not
    while low < high {
        let middle = LogIndex(low.0 + (high.0 - low.0).div_ceil(2));
        match last_moment(log, view, low, middle)? {
            Some((index, last)) if last >= position_us => high = index.prev(),
            _ => low = middle,
        }
    }
    Ok(low)
}

/// The last batch of (low, at], and its largest ingested_at. `None`: marks of the log only.
pub(crate) fn last_moment(
    log: &LogKey,
    view: &Arc<LogView>,
    low: LogIndex,
    at: LogIndex,
) -> Result<Option<(LogIndex, strandline_event::Micros)>, ReadError> {
    let mut index = at;
    while index > low {
        let fail = |error| ReadError::Log { log: log.clone(), error };
        let frame = view.frames(index, index).map_err(fail)?.next().transpose().map_err(fail)?;
        if let Some(frame) = frame.filter(|f| f.header.kind == FrameKind::Entry) {
            return Ok(Some((index, stamps(log, &frame)?.last_ingested_at())));
        }
        index = index.prev();
    }
    Ok(None)
}

/// Offset of an entry's frame in its segment; `None` if it cannot be read.
pub(crate) fn offset_of(view: &Arc<LogView>, index: LogIndex) -> Option<u64> {
    view.frames(index, index).ok()?.next()?.ok().map(|frame| frame.loc.offset)
}

/// The first ingested_at of the first batch of (after, through]; `None`: marks of the log only.
pub(crate) fn first_moment(
    log: &LogKey,
    view: &Arc<LogView>,
    after: LogIndex,
    through: LogIndex,
) -> Result<Option<strandline_event::Micros>, ReadError> {
    let fail = |error| ReadError::Log { log: log.clone(), error };
    for frame in view.frames(after.next(), through).map_err(fail)? {
        let frame = frame.map_err(fail)?;
        if frame.header.kind == FrameKind::Entry {
            return Ok(Some(stamps(log, &frame)?.first_ingested_at()));
        }
    }
    Ok(None)
}

fn stamps(log: &LogKey, frame: &FrameView) -> Result<Stamps, ReadError> {
    Stamps::parse(&frame.payload).map_err(|_| ReadError::Payload {
        log: log.clone(),
        index: frame.header.index,
        segment: frame.loc.segment.0,
        offset: frame.loc.offset,
        error: strandline_event::stamps::StampsError.into(),
    })
}
