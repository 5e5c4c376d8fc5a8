//! A group: the frames that one write and one sync carry. It gathers frames straight into the aligned buffer that goes to
//! the device, so an entry's bytes are copied once.
//!
//! A group with frames that no checksum proves brings its proof along: an idle mark in a block of its own, the next group by
//! number. The mark is written after the sync of the frames, and synced, before anybody is answered.
//!
//! ```text
//!  buf:  | frames, padded to the block | idle mark |      write, sync, write, sync, answer
//! ```

use crate::buffer::AlignedBuf;
use crate::files::LogFiles;
use crate::frame::{
    BLOCK_BYTES, FLAG_NO_CHECKSUM, FRAME_ALIGN, FrameHeader, HEADER_BYTES, block_up, finish, set_payload_crc, unfinish,
};
use crate::num::{GroupNo, LogId, SegmentNo};
use crate::segment::Segment;
use crate::tags;
use std::sync::Arc;
use strandline_event::{LogIndex, Micros};

/// Memory of a group, reused from commit to commit.
pub(crate) struct GroupMemory {
    pub(crate) buf: AlignedBuf,
    /// Offset of each frame in `buf`.
    pub(crate) frames: Vec<u32>,
}

/// Buffers larger than this are given back rather than kept.
const KEPT_BYTES_MAX: usize = 8 << 20;

impl GroupMemory {
    pub(crate) fn new() -> Self {
        Self { buf: AlignedBuf::with_capacity(16 << 10), frames: Vec::with_capacity(64) }
    }

    /// The same memory, empty; `None` if it grew too large to keep.
    pub(crate) fn recycle(mut self) -> Option<Self> {
        self.buf.clear();
        self.frames.clear();
        (self.buf.capacity() <= KEPT_BYTES_MAX).then_some(self)
    }
}

/// The segment that ends where a group begins a new one.
#[derive(Clone)]
pub(crate) struct Ended {
    pub(crate) segment: Arc<Segment>,
    pub(crate) end: u64,
}

/// Frames on their way to the disk. Hand it to a `LogIo`, and back to the writer when it is committed.
pub struct Group {
    pub(crate) files: Arc<LogFiles>,
    pub(crate) segment: Arc<Segment>,
    pub(crate) number: GroupNo,
    /// Where in the segment it starts.
    pub(crate) offset: u64,
    /// First group of its segment.
    pub(crate) begins: bool,
    /// Segment that this one ends, to be sealed when this one is committed.
    pub(crate) ends: Option<Ended>,
    /// Segments that may be unlinked when this group is committed.
    pub(crate) removals: Vec<Arc<Segment>>,
    /// Index that the first entry in it has, or would have.
    pub(crate) next_index: LogIndex,
    /// That entry's number.
    pub(crate) next_number: u64,
    /// Last entry in it.
    pub(crate) last: Option<LogId>,
    /// Time of that entry.
    pub(crate) last_time: Micros,
    /// It holds nothing but a mark that proves the group before it.
    pub(crate) only_mark: bool,
    /// It holds a payload without a checksum: it needs a mark behind it before it may be acknowledged.
    pub(crate) needs_proof: bool,
    pub(crate) proof: Option<Proof>,
    /// Bytes of its frames, once it is closed: without the zeros behind them.
    pub(crate) frames_end: usize,
    /// Frames whose headers say already what they will: of a group that was opened again, all but the last.
    pub(crate) finished: usize,
    pub(crate) memory: GroupMemory,
}

/// The idle mark behind a group that proves it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proof {
    /// The mark's group number.
    pub(crate) number: GroupNo,
    /// Where it starts in the buffer, a multiple of the block.
    at: usize,
    /// The frames before it are on the disk: it may be written.
    is_due: bool,
}

impl Group {
    /// Its number.
    #[must_use]
    pub fn number(&self) -> GroupNo {
        self.number
    }

    /// Segment that it goes to.
    #[must_use]
    pub fn segment(&self) -> SegmentNo {
        self.segment.number()
    }

    /// Offset in that segment, a multiple of the block.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes, a multiple of the block.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory.buf
    }

    /// Number of frames, marks included.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.memory.frames.len()
    }

    /// Last entry in it; `None` if it holds marks only.
    #[must_use]
    pub fn last(&self) -> Option<LogId> {
        self.last
    }

    /// Offset where the segment ends behind it, the mark that proves it included.
    #[must_use]
    pub fn end(&self) -> u64 {
        block_up(self.offset + self.memory.buf.len() as u64)
    }

    /// Offset in the segment where the next frame will start.
    pub(crate) fn tail(&self) -> u64 {
        self.offset + self.memory.buf.len() as u64
    }

    /// Appends a frame: header without its crc, payload, padding. In an encrypted segment it gets its tag where it stands; the header's
    /// length counts it already.
    pub(crate) fn append(&mut self, header: &FrameHeader, parts: &[&[u8]]) {
        let buf = &mut self.memory.buf;
        let start = buf.len();
        // a group is closed at a few MiB; one frame is at most 256 MiB
        self.memory.frames.push(u32::try_from(start).unwrap_or(u32::MAX));
        buf.reserve(header.frame_bytes());
        buf.append(&header.encode());
        for part in parts {
            buf.append(part);
        }
        if let Some(seal) = self.segment.seal() {
            let tag = tags::seal(&seal.key, header, &mut buf[start..]);
            buf.append(&tag);
            if !header.has(FLAG_NO_CHECKSUM) {
                let crc = crc32c::crc32c(&buf[start + HEADER_BYTES..]);
                set_payload_crc(&mut buf[start..start + HEADER_BYTES], crc);
            }
        }
        buf.pad_to(FRAME_ALIGN);
    }

    /// Closes it: pads to the block.
    pub(crate) fn close(&mut self) {
        self.frames_end = self.memory.buf.len();
        self.memory.buf.pad_to(BLOCK_BYTES);
    }

    /// Opens it again where its frames end: nothing of it was written, and more goes with it. The group before it stays the one that it is, so what
    /// headers say of that stays too.
    pub(crate) fn reopen(&mut self) {
        self.memory.buf.set_len(self.frames_end);
        self.finished = self.memory.frames.len().saturating_sub(1);
        if let Some(last) = self.memory.frames.last() {
            let at = *last as usize;
            unfinish(&mut self.memory.buf[at..at + HEADER_BYTES]);
        }
    }

    /// Puts the mark behind the closed group that proves it.
    pub(crate) fn append_proof(&mut self, mark: &FrameHeader) {
        self.proof = Some(Proof { number: mark.group, at: self.memory.buf.len(), is_due: false });
        self.append(mark, &[]);
        self.close();
    }

    /// The highest group number in it.
    pub(crate) fn last_number(&self) -> GroupNo {
        self.proof.map_or(self.number, |proof| proof.number)
    }

    /// What is to be written and synced next: offset in the segment, and bytes.
    pub(crate) fn part(&self) -> (u64, &[u8]) {
        match self.proof {
            Some(Proof { at, is_due: true, .. }) => (self.offset + at as u64, &self.memory.buf[at..]),
            Some(Proof { at, .. }) => (self.offset, &self.memory.buf[..at]),
            None => (self.offset, &self.memory.buf),
        }
    }

    /// The part is durable (or handed to the kernel, as wal.fsync says). `true` when that was the last one.
    pub(crate) fn part_done(&mut self) -> bool {
        match &mut self.proof {
            Some(proof) if !proof.is_due => {
                proof.is_due = true;
                false
            }
            _ => true,
        }
    }

    /// Sets in every header what is known only now: which groups are on the disk, and which frame is the last. `syncs`: a
    /// proof is written when the frames before it are on stable storage, and says so.
    pub(crate) fn finish(&mut self, synced_below: GroupNo, syncs: bool) {
        let proof = self.proof.map_or(usize::MAX, |proof| proof.at);
        let proven_below = if syncs { self.last_number() } else { synced_below };
        let last = self.memory.frames.len().saturating_sub(1 + usize::from(self.proof.is_some()));
        for (i, at) in self.memory.frames.iter().enumerate().skip(self.finished) {
            let at = *at as usize;
            let (below, is_last) = if at < proof { (synced_below, i == last) } else { (proven_below, true) };
            finish(&mut self.memory.buf[at..at + HEADER_BYTES], below, is_last);
        }
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group({} at {}+{}, {} frames)", self.number, self.segment.number(), self.offset, self.frames())
    }
}
