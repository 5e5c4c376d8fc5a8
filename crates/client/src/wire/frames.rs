//! Cuts a stream of bytes into frames, without reading any itself: the owner of the socket asks where to put the next bytes and
//! says how many came.
//!
//! ```text
//!  socket -> space() .. filled(n) -> step() -> Head (the owner may refuse the body) -> Frame
//! ```
//!
//! A body has a buffer of its own, aligned and not longer than the body, so that it can be read in place. Who keeps a part of it keeps all of
//! it alive: `append` copies archives that are small against it. A large body is read from the socket straight into its buffer. Memory
//! follows the bytes that came, not the length that a header claims.

use crate::wire::error::WireError;
use crate::wire::header::{HEADER_BYTES, Header, Magic};
use strandline_event::{SharedBytes, bytes::AlignedBytes};

/// Bytes of the buffer that small frames are cut from.
const BUFFER_BYTES: usize = 64 << 10;
/// A body that misses more than this is read into its own buffer.
const DIRECT_BYTES: usize = 16 << 10;
/// How much a body's buffer grows ahead of the bytes.
const GROWTH_BYTES: usize = 256 << 10;
/// Most room that is made for a body before any of it has come.
const AHEAD_BYTES: usize = 1 << 20;

/// A frame that is whole.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its header.
    pub header: Header,
    /// Its body; its first byte stands at a multiple of 16.
    pub body: SharedBytes,
}

/// What came.
#[derive(Clone, Debug)]
pub enum Step {
    /// Nothing yet: more bytes are needed.
    More,
    /// A header. Its body follows; [`FrameReader::skip_body`] lets it pass unread.
    Head(Header),
    /// A frame.
    Frame(Frame),
    /// The frame whose body was to be skipped is over.
    Skipped(Header),
}

/// How requests of HTTP begin.
const HTTP_METHODS: [&[u8]; 7] = [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"OPTIONS ", b"PRI * HTTP/2"];

/// The cutter.
#[derive(Debug)]
pub struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    open: Option<Open>,
    direct: bool,
    magic: Magic,
    body_max: usize,
}

#[derive(Debug)]
struct Open {
    header: Header,
    /// What came, and room behind it.
    body: AlignedBytes,
    /// Bytes of it that came.
    there: usize,
    /// Bytes of body and padding that are still to come; never less than the room.
    missing: usize,
    skip: bool,
}

impl FrameReader {
    /// For bodies of at most `body_max` bytes.
    #[must_use]
    pub fn new(body_max: usize) -> Self {
        Self::with_magic(Magic::NATIVE, body_max)
    }

    /// The same for frames of a protocol.
    #[must_use]
    pub fn with_magic(magic: Magic, body_max: usize) -> Self {
        Self { buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, open: None, direct: false, magic, body_max }
    }

    /// From now on bodies may have so many bytes; one whose header came is not looked at again.
    pub const fn set_body_max(&mut self, body_max: usize) {
        self.body_max = body_max;
    }

    /// Whether the next byte begins a frame.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.open.is_none() && self.start == self.end
    }

    /// Whether a request of HTTP, or as much of one as came, stands where the next frame should begin: somebody has taken one port for another.
    #[must_use]
    pub fn is_http(&self) -> bool {
        let there = self.buffer.get(self.start..self.end).unwrap_or(&[]);
        let begins = |method: &[u8]| there.starts_with(method) || method.starts_with(there);
        !there.is_empty() && HTTP_METHODS.iter().any(|method| begins(method))
    }

    /// The body of the header that came last is not wanted.
    pub fn skip_body(&mut self) {
        if let Some(open) = &mut self.open {
            open.skip = true;
        }
    }

    /// Where the next bytes of the socket go; never empty. A read that was given up has filled nothing, and leaves nothing in a body.
    pub fn space(&mut self) -> &mut [u8] {
        let missing = self.open.as_ref().filter(|open| !open.skip).map_or(0, |open| open.missing);
        self.direct = missing > DIRECT_BYTES && self.start == self.end;
        match &mut self.open {
            Some(open) if self.direct => open.room(),
            _ => {
                if self.start > 0 {
                    self.buffer.copy_within(self.start..self.end, 0);
                    self.end -= self.start;
                    self.start = 0;
                }
                self.buffer.get_mut(self.end..).unwrap_or(&mut [])
            }
        }
    }

    /// So many bytes were put into the last [`space`](Self::space).
    pub fn filled(&mut self, bytes: usize) {
        match &mut self.open {
            Some(open) if self.direct => {
                let bytes = bytes.min(open.body.len() - open.there);
                open.there += bytes;
                open.missing -= bytes;
            }
            _ => self.end = (self.end + bytes).min(self.buffer.len()),
        }
        self.direct = false;
    }

    /// What the bytes so far hold. Ask until it is [`Step::More`].
    ///
    /// # Errors
    /// [`WireError`]; the stream cannot be read any further.
    pub fn step(&mut self) -> Result<Step, WireError> {
        let Some(open) = &mut self.open else { return self.head() };
        let there = self.buffer.get(self.start..self.end).unwrap_or(&[]);
        let taken = there.get(..there.len().min(open.missing)).unwrap_or(&[]);
        if !open.skip && !taken.is_empty() {
            // room that no read has filled
            open.body.resize(open.there, 0);
            open.body.extend_from_slice(taken);
            open.there += taken.len();
        }
        open.missing -= taken.len();
        self.start += taken.len();
        if open.missing > 0 {
            return Ok(Step::More);
        }
        match self.open.take() {
            Some(open) if open.skip => Ok(Step::Skipped(open.header)),
            Some(open) => open.finish().map(Step::Frame),
            None => Ok(Step::More),
        }
    }

    fn head(&mut self) -> Result<Step, WireError> {
        let there = self.buffer.get(self.start..self.end).unwrap_or(&[]);
        let Some(bytes) = there.first_chunk::<HEADER_BYTES>() else {
            // who speaks another protocol may send less than a header, and wait
            let may_be_one = there.iter().zip(&self.magic.0).all(|(byte, magic)| byte == magic);
            return if may_be_one { Ok(Step::More) } else { Err(WireError::Magic) };
        };
        let header = Header::decode_with(self.magic, bytes)?;
        self.start += HEADER_BYTES;
        let bytes = header.body_bytes as usize;
        if bytes > self.body_max {
            return Err(WireError::TooLarge { bytes, limit: self.body_max });
        }
        let missing = header.padded_bytes();
        // a larger one grows with what comes
        let body = AlignedBytes::with_capacity(missing.min(AHEAD_BYTES));
        self.open = Some(Open { header, body, there: 0, missing, skip: false });
        Ok(Step::Head(header))
    }
}

impl Open {
    /// Where the next bytes go. It is zeroed once, however many reads fill it, and there is more of it only when it is full.
    fn room(&mut self) -> &mut [u8] {
        if self.body.len() == self.there {
            let room = self.missing.min(GROWTH_BYTES);
            // twice what came, but never more than the body: it may be kept for long
            if self.body.capacity() - self.there < room {
                self.body.reserve_exact(self.missing.min(self.there.max(GROWTH_BYTES)));
            }
            self.body.resize(self.there + room, 0);
        }
        self.body.get_mut(self.there..).unwrap_or(&mut [])
    }

    fn finish(self) -> Result<Frame, WireError> {
        let bytes = self.header.body_bytes as usize;
        let (body, pad) = self.body.split_at_checked(bytes).ok_or(WireError::Body("it ends too early"))?;
        if crc32c::crc32c(body) != self.header.body_crc {
            return Err(WireError::BodyCrc);
        }
        if pad.iter().any(|byte| *byte != 0) {
            return Err(WireError::NotZero);
        }
        let body = SharedBytes::from_aligned(self.body).slice(0..bytes);
        body.map(|body| Frame { header: self.header, body }).ok_or(WireError::Body("it ends too early"))
    }
}
