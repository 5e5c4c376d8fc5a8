//! Reading committed frames: from the map of a sealed segment, or in chunks from one that is still written.
//!
//! Every frame's checksums are checked on every read, and its seal where the log is encrypted. A payload keeps alive what it points into (the map, the chunk).

use crate::ahead::Ahead;
use crate::buffer::AlignedBuf;
use crate::frame::{BLOCK_BYTES, FLAG_LAST, FLAG_SEALED, FrameHeader, HEADER_BYTES, HeaderFault, block_up};
use crate::num::SegmentNo;
use crate::segment::{Segment, Source};
use crate::tags::{self, NOT_SEALED_HERE, OTHER_KIND};
use crate::view::LogView;
use std::io;
use std::sync::Arc;
use strandline_event::{LogIndex, SharedBytes};

/// Bytes read at once from a segment that is not mapped: neighbours share them.
const CHUNK_BYTES: u64 = 256 << 10;
/// Bytes read at once while one entry is looked for. Its payload is copied out, so that who keeps it keeps nothing else.
const LOOKUP_BYTES: u64 = 16 << 10;

/// Place of a frame: valid until its segment is trimmed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FrameLoc {
    /// Its segment.
    pub segment: SegmentNo,
    /// Offset of its header in the file, in bytes.
    pub offset: u64,
    /// Header, payload and padding, in bytes.
    pub len: u32,
}

/// A frame that was read and checked.
#[derive(Clone, Debug)]
pub struct FrameView {
    /// Its header.
    pub header: FrameHeader,
    /// Where it stands.
    pub loc: FrameLoc,
    /// Its payload, at an address that is a multiple of 16.
    pub payload: SharedBytes,
}

/// Why a read of the log failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A frame that is not what was written. Never served, never skipped.
    #[error("segment {segment} is corrupt at offset {offset}: {what}")]
    Corrupt {
        /// Segment.
        segment: SegmentNo,
        /// Offset of the frame.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The entry was trimmed: a lower tier has it. Resolve the view once more.
    #[error("the log begins at {first}")]
    Trimmed {
        /// First index that is still here.
        first: LogIndex,
    },
    /// What the file system says.
    #[error("the log cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// The entries of a range, in order. Ends after an error.
pub struct FrameIter {
    view: Arc<LogView>,
    next: LogIndex,
    to: LogIndex,
    segment: usize,
    cursor: Option<Cursor>,
    /// One entry is wanted.
    lookup: bool,
    done: bool,
}

impl FrameIter {
    pub(crate) fn new(view: Arc<LogView>, from: LogIndex, to: LogIndex) -> Result<Self, ReadError> {
        let to = to.min(view.last_index());
        let first = view.first_index();
        if from < first && view.count() > 0 {
            return Err(ReadError::Trimmed { first });
        }
        let begins_by = |i: usize| view.segment(i).is_some_and(|(s, _)| s.first_index() <= from);
        // first_index ascends; several segments share one if they hold no entry, the last of them is right
        let segment = partition(view.count(), begins_by).saturating_sub(1);
        let done = from > to || view.count() == 0;
        Ok(Self { view, next: from, to, segment, cursor: None, lookup: from == to, done })
    }

    fn advance(&mut self) -> Result<Option<FrameView>, ReadError> {
        while self.next <= self.to {
            let Some((segment, end)) = self.view.segment(self.segment) else { break };
            // a segment may begin higher than the one before it ended: those positions were given up
            self.next = self.next.max(segment.first_index());
            if self.next > self.to {
                break;
            }
            let start = segment.offset_before(self.next);
            let at_start = || Cursor::new(Arc::clone(segment), start, end, self.lookup);
            let cursor = match &mut self.cursor {
                Some(cursor) => cursor,
                none => none.insert(at_start().map_err(|e| self.view.gone(e))?),
            };
            match cursor.next_entry(self.next)? {
                Some(frame) => {
                    self.next = frame.header.index.next();
                    return Ok(Some(frame));
                }
                None if segment.facts(|facts| facts.last.is_some_and(|last| last.index >= self.next.min(self.to))) => {
                    let what = "the segment ends before its last entry";
                    return Err(ReadError::Corrupt { segment: segment.number(), offset: end, what });
                }
                None => (self.segment, self.cursor) = (self.segment + 1, None),
            }
        }
        Ok(None)
    }
}

impl LogView {
    /// A segment whose file is not there any more was trimmed after this view was taken.
    pub(crate) fn gone(&self, error: ReadError) -> ReadError {
        match error {
            ReadError::Io(e) if e.kind() == io::ErrorKind::NotFound => {
                ReadError::Trimmed { first: self.first_index().next() }
            }
            other => other,
        }
    }
}

impl Iterator for FrameIter {
    type Item = Result<FrameView, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.advance().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

/// How many of 0..count satisfy a monotone predicate.
pub(crate) fn partition(count: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if holds(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// Bytes of a segment from `start` on.
struct Window {
    start: u64,
    bytes: SharedBytes,
}

impl Window {
    fn get(&self, offset: u64, len: u64) -> Option<SharedBytes> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.slice(from..from.checked_add(usize::try_from(len).ok()?)?)
    }
}

/// Walks the frames of one segment.
pub(crate) struct Cursor {
    segment: Arc<Segment>,
    source: Source,
    window: Option<Window>,
    offset: u64,
    end: u64,
    /// What of a map was asked for.
    ahead: Option<Ahead>,
    /// One entry is wanted.
    lookup: bool,
}

impl Cursor {
    pub(crate) fn new(segment: Arc<Segment>, offset: u64, end: u64, lookup: bool) -> Result<Self, ReadError> {
        let source = segment.source()?;
        Ok(Self { segment, source, window: None, offset, end, ahead: None, lookup })
    }

    /// The next frame of any kind and where it stands; `None` at the end of the segment. Take it with `frame`, or go on with `skip`.
    pub(crate) fn peek(&mut self) -> Result<Option<(FrameHeader, u64)>, ReadError> {
        if self.offset >= self.end {
            return Ok(None);
        }
        Ok(Some((self.header()?, self.offset)))
    }

    /// The next entry that has at least this index; `None` at the end of the segment.
    fn next_entry(&mut self, from: LogIndex) -> Result<Option<FrameView>, ReadError> {
        while self.offset < self.end {
            let header = self.header()?;
            if header.kind.takes_index() && header.index >= from {
                if header.index > from {
                    return Err(self.corrupt("an entry is missing before this one"));
                }
                return self.frame(header).map(Some);
            }
            self.skip(&header)?;
        }
        Ok(None)
    }

    /// Takes the frame that was looked at.
    pub(crate) fn frame(&mut self, header: FrameHeader) -> Result<FrameView, ReadError> {
        let payload = self.bytes(self.offset + HEADER_BYTES as u64, u64::from(header.payload_len))?;
        if !header.payload_is_good(&payload) {
            return Err(self.corrupt("payload checksum differs"));
        }
        let opened = self.opened(&header, &payload)?;
        let len = u32::try_from(header.frame_bytes()).unwrap_or(u32::MAX);
        let loc = FrameLoc { segment: self.segment.number(), offset: self.offset, len };
        self.skip(&header)?;
        let in_window = self.lookup && matches!(self.source, Source::File(_));
        let payload = match opened {
            Some(opened) => opened,
            None if in_window => SharedBytes::copy_aligned(header.body(&payload)),
            None => payload.slice(0..header.body(&payload).len()).unwrap_or(payload),
        };
        Ok(FrameView { header, loc, payload })
    }

    /// Proves the frame by the segment's key, if it has one; gives its payload if that was sealed.
    fn opened(&self, header: &FrameHeader, payload: &[u8]) -> Result<Option<SharedBytes>, ReadError> {
        let is_proven = match (header.has(FLAG_SEALED), self.segment.seal()) {
            (true, Some(seal)) => {
                let opened = tags::opened(&seal.key, header, payload);
                return opened.map(Some).ok_or_else(|| self.corrupt(NOT_SEALED_HERE));
            }
            (true, None) => return Err(self.corrupt("a sealed entry in a segment that names no key")),
            (false, Some(_)) if header.kind.is_sealed() => {
                return Err(self.corrupt("an entry of an encrypted log that is not sealed"));
            }
            (false, Some(seal)) if header.is_tagged() => tags::is_proven(&seal.key, header, payload),
            (false, None) if header.is_tagged() => {
                return Err(self.corrupt("a frame with a tag in a segment that names no key"));
            }
            (false, _) => true,
        };
        if is_proven { Ok(None) } else { Err(self.corrupt(NOT_SEALED_HERE)) }
    }

    fn header(&mut self) -> Result<FrameHeader, ReadError> {
        let bytes = self.bytes(self.offset, HEADER_BYTES as u64)?;
        let header = FrameHeader::decode(&bytes).map_err(|fault| self.corrupt(fault_text(fault)))?;
        if header.log_id != self.segment.log_id() || header.segment != self.segment.number() {
            return Err(self.corrupt("a frame of another segment"));
        }
        if self.segment.seal().is_some_and(|seal| seal.tags != header.is_tagged()) {
            return Err(self.corrupt(OTHER_KIND));
        }
        Ok(header)
    }

    pub(crate) fn skip(&mut self, header: &FrameHeader) -> Result<(), ReadError> {
        let next = self.offset + header.frame_bytes() as u64;
        if next > block_up(self.end) {
            return Err(self.corrupt("a frame reaches behind the segment's end"));
        }
        self.offset = if header.has(FLAG_LAST) { block_up(next) } else { next };
        Ok(())
    }

    fn bytes(&mut self, offset: u64, len: u64) -> Result<SharedBytes, ReadError> {
        if offset + len > self.end {
            return Err(self.corrupt("a frame reaches behind the segment's end"));
        }
        self.look_ahead(offset + len);
        if let Some(bytes) = self.window.as_ref().and_then(|w| w.get(offset, len)) {
            return Ok(bytes);
        }
        let window = self.load(offset, len)?;
        let bytes = window.get(offset, len);
        self.window = Some(window);
        bytes.ok_or_else(|| self.corrupt("the file ends inside a frame"))
    }

    /// The bytes of a map before `to` will be touched, and behind them those of the frames that follow.
    fn look_ahead(&mut self, to: u64) {
        let Source::Mapped(map) = &self.source else { return };
        let touched = self.offset..to;
        let wanted = if self.lookup {
            Some(touched)
        } else {
            let ahead = self.ahead.get_or_insert_with(|| Ahead::from(touched.start, map.writes()));
            ahead.next(touched, self.end, map.writes())
        };
        // a single page is read by the touch itself
        if let Some(wanted) = wanted.filter(|wanted| wanted.end - wanted.start > BLOCK_BYTES as u64) {
            map.will_need(wanted.start, wanted.end);
        }
    }

    fn load(&self, offset: u64, len: u64) -> Result<Window, ReadError> {
        let file = match &self.source {
            Source::Mapped(map) => return Ok(Window { start: 0, bytes: map.bytes().clone() }),
            Source::File(file) => file,
        };
        let start = offset - offset % BLOCK_BYTES as u64;
        let chunk = if self.lookup { LOOKUP_BYTES } else { CHUNK_BYTES };
        let wanted = (offset + len - start).max(chunk).min(self.end - start);
        let mut buf =
            AlignedBuf::zeroed(usize::try_from(wanted).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?);
        let read = file.read_at(start, &mut buf)?;
        buf.set_len(read);
        Ok(Window { start, bytes: SharedBytes::new(buf) })
    }

    pub(crate) fn corrupt(&self, what: &'static str) -> ReadError {
        ReadError::Corrupt { segment: self.segment.number(), offset: self.offset, what }
    }
}

pub(crate) fn read_frame(segment: &Arc<Segment>, loc: FrameLoc, end: u64) -> Result<FrameView, ReadError> {
    let mut cursor = Cursor::new(Arc::clone(segment), loc.offset, end, true)?;
    let header = cursor.header()?;
    cursor.frame(header)
}

fn fault_text(fault: HeaderFault) -> &'static str {
    match fault {
        HeaderFault::Nothing => "no frame where one must be",
        HeaderFault::Magic => "no frame starts here",
        HeaderFault::Checksum => "header checksum differs",
        HeaderFault::Version(_) => "a frame version that this program does not read",
        HeaderFault::Field => "header has an impossible field",
    }
}
