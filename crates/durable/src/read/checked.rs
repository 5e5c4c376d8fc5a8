//! Data pages for the Parquet decoder: no byte reaches it whose block's checksum was not verified.
//!
//! So a damaged file gives an error that names it, and the decoder only ever sees bytes that our writer made.

use super::meta::{FileMeta, outside, slice};
use super::stats::Counters;
use crate::objects::Readable;
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use strandline_event::Field;

/// Files with less data than this are read in one piece.
const SMALL_BYTES: u64 = 512 << 10;
/// What a reader of headers takes at once.
const READ_AHEAD_BYTES: u64 = 1 << 20;

/// Windows of a reader of everything: one a column, and one more.
const WHOLE_WINDOWS: usize = Field::ALL.len() + 1;

/// What of a file will be asked for.
#[derive(Clone, Copy)]
enum Reading {
    /// Some pages: what is asked for is read, and nothing else.
    Scattered,
    /// All of it, the columns side by side: each column chunk is read in pieces of this length.
    Whole {
        /// In bytes.
        piece_bytes: u64,
    },
}

/// A data file as the Parquet reader sees it.
#[derive(Clone)]
pub(crate) struct CheckedFile {
    meta: Arc<FileMeta>,
    object: Arc<dyn Readable>,
    counters: Arc<Counters>,
    reading: Reading,
    /// What was read, with where it begins, the last used at the end: neighbouring pages share blocks.
    windows: Arc<Mutex<Vec<(u64, Bytes)>>>,
    /// The last failure of the object itself: decoders make a text of it, and its kind would be lost.
    failed: Arc<Mutex<Option<io::Error>>>,
}

impl CheckedFile {
    pub(crate) fn new(meta: Arc<FileMeta>, object: Arc<dyn Readable>, counters: Arc<Counters>) -> Self {
        Self { meta, object, counters, reading: Reading::Scattered, windows: Arc::default(), failed: Arc::default() }
    }

    /// Why the object could not be read, if that is why a decoder failed.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.failed.lock().take()
    }

    pub(crate) const fn meta(&self) -> &Arc<FileMeta> {
        &self.meta
    }

    /// The file for a reader of all of it, who may hold so many bytes of it.
    pub(crate) fn read_whole(&self, bytes: u64) -> Self {
        let piece_bytes = bytes / WHOLE_WINDOWS as u64;
        Self { reading: Reading::Whole { piece_bytes }, windows: Arc::default(), ..self.clone() }
    }

    fn data(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end =
            start.checked_add(length as u64).filter(|end| *end <= self.meta.sums.data_bytes).ok_or_else(outside)?;
        let begun = self.known(start, length);
        if begun.len() == length {
            return Ok(begun);
        }
        let missing = start + begun.len() as u64;
        let (from, bytes) = self.load(missing, end)?;
        let rest = slice(&bytes, from, missing, length - begun.len()).ok_or_else(outside)?;
        Ok(if begun.is_empty() { rest } else { [begun, rest].concat().into() })
    }

    /// What is known from a position on, at least one byte.
    fn onward(&self, start: u64) -> Result<Bytes, ParquetError> {
        if let Some(bytes) = self.windows.lock().iter().find_map(|(from, bytes)| from_here(start, *from, bytes)) {
            return Ok(bytes);
        }
        let end = match self.reading {
            Reading::Scattered => start.saturating_add(READ_AHEAD_BYTES).min(self.meta.sums.data_bytes),
            Reading::Whole { .. } => start + 1,
        };
        let (from, bytes) = self.load(start, end)?;
        from_here(start, from, &bytes).ok_or_else(outside)
    }

    /// What is known of these bytes. Of a file that is read whole that may be their beginning alone, up to the end of a block: where
    /// a piece ended.
    fn known(&self, start: u64, length: usize) -> Bytes {
        let mut windows = self.windows.lock();
        let whole = windows.iter().rposition(|(from, bytes)| slice(bytes, *from, start, length).is_some());
        if let Some(at) = whole {
            let window = windows.remove(at);
            let answer = slice(&window.1, window.0, start, length);
            windows.push(window);
            return answer.unwrap_or_default();
        }
        if matches!(self.reading, Reading::Scattered) {
            return Bytes::new();
        }
        let begun = windows.iter().filter_map(|(from, bytes)| from_here(start, *from, bytes));
        begun.max_by_key(Bytes::len).unwrap_or_default()
    }

    /// Reads what is asked for, in whole blocks, and what the kind of reading takes with it.
    fn load(&self, start: u64, end: u64) -> Result<(u64, Bytes), ParquetError> {
        let data_bytes = self.meta.sums.data_bytes;
        let (end, windows_max) = match self.reading {
            Reading::Scattered => (end, 1),
            Reading::Whole { piece_bytes } => {
                let piece = start.saturating_add(piece_bytes).min(self.meta.chunk_end(start).unwrap_or(end));
                (end.max(piece), WHOLE_WINDOWS)
            }
        };
        let small = data_bytes <= SMALL_BYTES;
        let block = self.meta.sums.block_bytes;
        let from = if small { 0 } else { start / block * block };
        let to = if small { data_bytes } else { end.next_multiple_of(block).min(data_bytes) };
        let bytes = self.read(from, to)?;
        let mut windows = self.windows.lock();
        if windows.len() >= windows_max {
            windows.remove(0);
        }
        windows.push((from, bytes.clone()));
        Ok((from, bytes))
    }

    /// Reads whole blocks and checks each.
    fn read(&self, from: u64, to: u64) -> Result<Bytes, ParquetError> {
        self.want_sums(&(from..to))?;
        let sums = &self.meta.sums;
        let bytes = self.read_raw(from..to)?;
        let first = sums.blocks(&(from..to)).start;
        let block_bytes = usize::try_from(sums.block_bytes).map_err(|_| outside())?;
        for (block, n) in bytes.chunks(block_bytes).zip(first..) {
            if sums.get(n) != Some(crc32c::crc32c(block)) {
                let at = n * sums.block_bytes;
                return Err(ParquetError::General(format!("the checksum of the block at byte {at} differs")));
            }
        }
        Ok(bytes)
    }

    /// Reads the checksums of the blocks that these bytes stand in, at once, where they were not read before.
    pub(crate) fn want_sums(&self, bytes: &Range<u64>) -> Result<(), ParquetError> {
        let sums = &self.meta.sums;
        let Some(missing) = sums.missing(&sums.blocks(bytes)) else { return Ok(()) };
        let list = self.read_raw(missing.clone())?;
        if sums.put(missing.start, &list) {
            return Ok(());
        }
        let at = missing.start;
        Err(ParquetError::General(format!("the checksum of the list of checksums at byte {at} differs")))
    }

    /// Bytes that the caller checks.
    pub(crate) fn read_raw(&self, range: Range<u64>) -> Result<Bytes, ParquetError> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(|_| outside())?;
        if let Some(bytes) = self.meta.at_hand(range.start, length) {
            return Ok(bytes);
        }
        let bytes = self.object.read_at(range.start, length).map_err(|error| {
            let text = error.to_string();
            *self.failed.lock() = Some(error);
            ParquetError::General(text)
        })?;
        self.counters.add_bytes(length as u64);
        Ok(bytes)
    }
}

/// What of bytes that begin at `from` stands from `start` on, at least one.
fn from_here(start: u64, from: u64, bytes: &Bytes) -> Option<Bytes> {
    let skip = usize::try_from(start.checked_sub(from)?).ok()?;
    (skip < bytes.len()).then(|| bytes.slice(skip..))
}

impl Length for CheckedFile {
    fn len(&self) -> u64 {
        self.meta.file_bytes()
    }
}

impl ChunkReader for CheckedFile {
    type T = Onward;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let rest = self.onward(start)?;
        Ok(Onward { file: self.clone(), at: start + rest.len() as u64, rest })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if start >= self.meta.sums.data_bytes {
            // filters of the first files stand in the tail
            return self.meta.at_hand(start, length).ok_or_else(outside);
        }
        self.data(start, length)
    }
}

/// The file from a position on, to the end of its data pages.
pub(crate) struct Onward {
    file: CheckedFile,
    /// Where `rest` ends.
    at: u64,
    rest: Bytes,
}

impl Read for Onward {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() && self.at < self.file.meta.sums.data_bytes {
            self.rest = self.file.onward(self.at).map_err(io::Error::other)?;
            self.at += self.rest.len() as u64;
        }
        let length = out.len().min(self.rest.len());
        self.rest.split_to(length).copy_to_slice(&mut out[..length]);
        Ok(length)
    }
}
