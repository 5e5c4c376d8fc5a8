//! Bytes in sealed chunks: any part is read by opening the chunks that it stands in, and nothing is given that did not open.
//!
//! ```text
//!  | up to 4,096 bytes | tag | up to 4,096 bytes | tag | ...      nonce: number of the chunk, and whether it is the last
//! ```
//!
//! Invariant: a chunk opens only in its place; where chunks are missing at the end, the last one that is left does not open.

use bytes::Bytes;
use std::io;
use strandline_keys::{DataKey, NONCE_BYTES, TAG_BYTES};

/// Plain bytes of a chunk; the last may have fewer.
pub(crate) const CHUNK_BYTES: usize = 4096;
/// Bytes of a sealed chunk.
pub(crate) const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;

/// A key that seals one sequence of chunks, and what they are bound to besides.
pub(crate) struct ChunkSeal {
    key: DataKey,
    bound: Box<[u8]>,
}

impl ChunkSeal {
    pub(crate) fn new(key: DataKey, bound: &[u8]) -> Self {
        Self { key, bound: bound.into() }
    }

    /// Seals a chunk behind what `out` holds.
    pub(crate) fn seal(&self, number: u64, last: bool, plain: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(plain);
        let tag = self.key.seal(nonce(number, last), &self.bound, &mut out[start..]);
        out.extend_from_slice(&tag);
    }

    /// Seals all chunks of these bytes.
    pub(crate) fn seal_all(&self, plain: &[u8], out: &mut Vec<u8>) {
        let chunks = chunks_of(plain.len() as u64);
        if plain.is_empty() {
            self.seal(0, true, plain, out);
        }
        for (chunk, number) in plain.chunks(CHUNK_BYTES).zip(0..) {
            self.seal(number, number + 1 == chunks, chunk, out);
        }
    }

    /// Opens neighbouring chunks, the first of which has this number, of so many.
    pub(crate) fn open(&self, mut number: u64, chunks: u64, sealed: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::with_capacity(sealed.len());
        for chunk in sealed.chunks(SEALED_CHUNK_BYTES) {
            let (bytes, tag) = chunk.split_last_chunk::<TAG_BYTES>().ok_or_else(|| bad("it is cut"))?;
            let start = plain.len();
            plain.extend_from_slice(bytes);
            let opened = self.key.open(nonce(number, number + 1 == chunks), &self.bound, &mut plain[start..], *tag);
            opened.map_err(|_| bad(NOT_HERE))?;
            number += 1;
        }
        Ok(plain)
    }

    /// A part of `whole` plain bytes; `read` gets sealed bytes: from, to.
    pub(crate) fn read(
        &self,
        start: u64,
        length: usize,
        whole: u64,
        read: impl FnOnce(u64, u64) -> io::Result<Bytes>,
    ) -> io::Result<Bytes> {
        let end = start.checked_add(length as u64).filter(|end| *end <= whole);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        let (first, behind) = (start / CHUNK_BYTES as u64, end.div_ceil(CHUNK_BYTES as u64));
        let (from, to) = (first * SEALED_CHUNK_BYTES as u64, behind * SEALED_CHUNK_BYTES as u64);
        let plain = Bytes::from(self.open(first, chunks_of(whole), &read(from, to.min(sealed_bytes(whole)))?)?);
        let skip = usize::try_from(start - first * CHUNK_BYTES as u64).map_err(io::Error::other)?;
        if plain.len() < skip + length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(plain.slice(skip..skip + length))
    }
}

const NOT_HERE: &str = "it is not what was sealed in this place: it was changed, cut, or comes from another place";

/// A chunk's number, and whether it is the last.
fn nonce(number: u64, last: bool) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce[8] = u8::from(last);
    nonce
}

/// Chunks of so many plain bytes: one at least.
pub(crate) fn chunks_of(plain: u64) -> u64 {
    plain.div_ceil(CHUNK_BYTES as u64).max(1)
}

/// Bytes of all chunks of so many plain bytes.
pub(crate) fn sealed_bytes(plain: u64) -> u64 {
    plain + chunks_of(plain) * TAG_BYTES as u64
}

/// The other way round.
pub(crate) fn plain_bytes(sealed: u64) -> io::Result<u64> {
    let chunks = sealed.div_ceil(SEALED_CHUNK_BYTES as u64).max(1);
    sealed.checked_sub(chunks * TAG_BYTES as u64).ok_or_else(|| bad("it is cut, or was never sealed"))
}

pub(crate) fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
