//! Data pages for the Parquet decoder: no byte reaches it whose block's checksum was not verified.
//!
//! So a damaged file gives an error that names it, and the decoder only ever sees bytes that our writer made.

use super::meta::{FileMeta, outside, slice};
use super::stats::Counters;
use crate::objects::Readable;
use crate::write::BLOCK_BYTES;
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::sync::Arc;

/// Files with less data than this are read in one piece.
const SMALL_BYTES: u64 = 512 << 10;
/// What a sequential reader takes at once.
const READ_AHEAD_BYTES: u64 = 1 << 20;

/// A data file as the Parquet reader sees it.
#[derive(Clone)]
pub(crate) struct CheckedFile {
    meta: Arc<FileMeta>,
    object: Arc<dyn Readable>,
    counters: Arc<Counters>,
    /// What was read last, with where it begins: neighbouring pages share blocks.
    last: Arc<Mutex<(u64, Bytes)>>,
}

impl CheckedFile {
    pub(crate) fn new(meta: Arc<FileMeta>, object: Arc<dyn Readable>, counters: Arc<Counters>) -> Self {
        Self { meta, object, counters, last: Arc::default() }
    }

    fn data(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let data_bytes = self.meta.tail_start;
        let end = start.checked_add(length as u64).filter(|end| *end <= data_bytes).ok_or_else(outside)?;
        {
            let last = self.last.lock();
            if let Some(bytes) = slice(&last.1, last.0, start, length) {
                return Ok(bytes);
            }
        }
        let small = data_bytes <= SMALL_BYTES;
        let from = if small { 0 } else { start / BLOCK_BYTES * BLOCK_BYTES };
        let to = if small { data_bytes } else { end.next_multiple_of(BLOCK_BYTES).min(data_bytes) };
        let bytes = self.read(from, to)?;
        let answer = slice(&bytes, from, start, length).ok_or_else(outside)?;
        *self.last.lock() = (from, bytes);
        Ok(answer)
    }

    /// Reads whole blocks and checks each.
    fn read(&self, from: u64, to: u64) -> Result<Bytes, ParquetError> {
        let length = usize::try_from(to - from).map_err(|_| outside())?;
        let bytes = self.object.read_at(from, length).map_err(|e| ParquetError::External(Box::new(e)))?;
        self.counters.add_bytes(length as u64);
        let first = usize::try_from(from / BLOCK_BYTES).map_err(|_| outside())?;
        for (i, block) in bytes.chunks(BLOCK_BYTES as usize).enumerate() {
            if self.meta.blocks.get(first + i) != Some(&crc32c::crc32c(block)) {
                let at = (first + i) as u64 * BLOCK_BYTES;
                return Err(ParquetError::General(format!("the checksum of the block at byte {at} differs")));
            }
        }
        Ok(bytes)
    }
}

impl Length for CheckedFile {
    fn len(&self) -> u64 {
        self.meta.tail_start + self.meta.tail.len() as u64
    }
}

impl ChunkReader for CheckedFile {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        if start >= self.meta.tail_start {
            let length = self.len().checked_sub(start).ok_or_else(outside)?;
            return Ok(self.get_bytes(start, usize::try_from(length).map_err(|_| outside())?)?.reader());
        }
        let end = start.saturating_add(READ_AHEAD_BYTES).min(self.meta.tail_start);
        Ok(self.data(start, (end - start) as usize)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if start >= self.meta.tail_start {
            return slice(&self.meta.tail, self.meta.tail_start, start, length).ok_or_else(outside);
        }
        self.data(start, length)
    }
}
