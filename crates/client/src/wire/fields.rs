//! Fixed fields of bodies: a writer that cannot fail, a reader that never reads beyond its bytes.

use crate::wire::error::WireError;
use crate::wire::header::{ALIGN, HEADER_BYTES, Header, KIND_AT, Kind, Magic};
use strandline_event::SharedBytes;

/// A frame that is being made.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    magic: Magic,
    kind: u8,
    request: u64,
}

/// A frame to be sent: bytes, and the end of its body beside them where that is large enough not to be copied.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Header and body; without `tail` all of it, the zeros at the end too.
    pub head: Vec<u8>,
    /// The end of the body.
    pub tail: Option<SharedBytes>,
    /// Bytes of the body: neither the header nor the zeros behind it.
    pub body_bytes: usize,
}

impl Encoded {
    /// Zeros behind the tail.
    #[must_use]
    pub fn pad(&self) -> &'static [u8] {
        let tail = self.tail.as_ref().map_or(0, |tail| tail.len());
        ZEROS.get(..tail.next_multiple_of(ALIGN) - tail).unwrap_or(&[])
    }

    /// Bytes on the wire.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.as_ref().map_or(0, |tail| tail.len()) + self.pad().len()
    }

    /// What the frame is in the native protocol.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_u8(*self.head.get(KIND_AT)?)
    }

    /// Never: a frame has a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds all bytes to a buffer.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(self.tail.as_deref().unwrap_or_default());
        out.extend_from_slice(self.pad());
    }

    /// All bytes in one buffer.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        let pad = self.pad();
        let mut out = self.head;
        if let Some(tail) = &self.tail {
            out.extend_from_slice(tail);
            out.extend_from_slice(pad);
        }
        out
    }
}

const ZEROS: [u8; ALIGN] = [0; ALIGN];

impl Writer {
    /// Begins a frame.
    #[must_use]
    pub fn new(kind: Kind, request: u64) -> Self {
        Self::with_capacity(kind, request, 128)
    }

    /// Begins a frame whose body has about this many bytes.
    #[must_use]
    pub fn with_capacity(kind: Kind, request: u64, bytes: usize) -> Self {
        Self::with_magic(Magic::NATIVE, kind.to_u8(), request, bytes)
    }

    /// Begins a frame of a protocol, with one of its kinds and a body of about this many bytes.
    #[must_use]
    pub fn with_magic(magic: Magic, kind: u8, request: u64, bytes: usize) -> Self {
        let mut out = Vec::with_capacity(HEADER_BYTES + bytes + ALIGN);
        out.extend_from_slice(&[0; HEADER_BYTES]);
        Self { out, magic, kind, request }
    }

    /// Length of the body so far.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.out.len() - HEADER_BYTES
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// Zeros.
    pub fn zeros(&mut self, count: usize) {
        self.out.resize(self.out.len() + count, 0);
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn i64(&mut self, value: i64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// As they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.bytes(text.as_bytes());
    }

    /// Zeros to the next multiple of 16.
    pub fn align(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(ALIGN), 0);
    }

    /// Overwrites a byte of the body that stands there already.
    pub fn set_u8(&mut self, at: usize, value: u8) {
        if let Some(place) = self.out.get_mut(HEADER_BYTES + at) {
            *place = value;
        }
    }

    /// Overwrites four bytes of the body that stand there already.
    pub fn set_u32(&mut self, at: usize, value: u32) {
        if let Some(place) = self.out.get_mut(HEADER_BYTES + at..HEADER_BYTES + at + 4) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }

    /// The frame.
    #[must_use]
    pub fn finish(self) -> Encoded {
        self.finish_with(None)
    }

    /// The frame with an end of its body that is not copied; what stands before it ends at a multiple of 16.
    #[must_use]
    pub fn finish_with(mut self, tail: Option<SharedBytes>) -> Encoded {
        let (header, body) = self.out.split_at_mut(HEADER_BYTES);
        let mut crc = crc32c::crc32c(body);
        let mut bytes = body.len();
        if let Some(tail) = &tail {
            crc = crc32c::crc32c_append(crc, tail);
            bytes += tail.len();
        }
        let made = Header { kind: self.kind, request: self.request, body_bytes: bytes as u32, body_crc: crc };
        header.copy_from_slice(&made.encode_with(self.magic));
        if tail.is_none() {
            self.align();
        }
        Encoded { head: self.out, tail, body_bytes: bytes }
    }
}

/// Reads a body from its start.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a SharedBytes,
    at: usize,
}

const SHORT: WireError = WireError::Body("it ends too early");

impl<'a> Reader<'a> {
    /// Over a body.
    #[must_use]
    pub const fn new(bytes: &'a SharedBytes) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(count).ok_or(SHORT)?;
        let bytes: &'a [u8] = self.bytes;
        let taken = bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.take(N)?.try_into().map_err(|_| SHORT)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// Sixteen bytes.
    pub fn id(&mut self) -> Result<[u8; 16], WireError> {
        self.array()
    }

    /// Bytes that must be zero.
    pub fn zeros(&mut self, count: usize) -> Result<(), WireError> {
        if self.take(count)?.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(WireError::NotZero) }
    }

    /// A text.
    pub fn text(&mut self) -> Result<&'a str, WireError> {
        let bytes = self.u32()? as usize;
        std::str::from_utf8(self.take(bytes)?).map_err(|_| WireError::Body("a text is not UTF-8"))
    }

    /// Zeros to the next multiple of 16; at the end of the body there need not be any.
    pub fn align(&mut self) -> Result<(), WireError> {
        let pad = self.at.next_multiple_of(ALIGN) - self.at;
        self.zeros(pad.min(self.left()))
    }

    /// A part of the body that stays alive by itself.
    pub fn shared(&mut self, count: usize) -> Result<SharedBytes, WireError> {
        let start = self.at;
        self.take(count)?;
        self.bytes.slice(start..self.at).ok_or(SHORT)
    }

    /// Bytes that are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<(), WireError> {
        if self.left() == 0 { Ok(()) } else { Err(WireError::Body("it goes on too long")) }
    }
}
