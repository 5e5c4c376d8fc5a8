//! What stands between the Parquet writer and the file: checksums of the whole, of blocks, and of the tail.
//!
//! Blocks of what stands before the tail are listed in the footer, the footer is part of the tail, the tail's checksum
//! stands in the manifest: so every byte that a read decodes has been checked.

use crate::objects::Aside;
use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;

/// Length of a checked block in bytes.
pub(crate) const BLOCK_BYTES: u64 = 64 << 10;

/// Checksums so far; shared with the writer that owns the sink.
#[derive(Default)]
pub(crate) struct Sums {
    pub(crate) bytes: u64,
    pub(crate) file_crc32c: u32,
    pub(crate) blocks: Vec<u32>,
    block_crc32c: u32,
    block_bytes: u64,
    /// Where the tail begins and its checksum, once pages and filters have ended.
    pub(crate) tail: Option<(u64, u32)>,
}

impl Sums {
    fn add(&mut self, bytes: &[u8]) {
        self.file_crc32c = crc32c::crc32c_append(self.file_crc32c, bytes);
        self.bytes += bytes.len() as u64;
        match &mut self.tail {
            Some((_, crc)) => *crc = crc32c::crc32c_append(*crc, bytes),
            None => self.add_to_blocks(bytes),
        }
    }

    fn add_to_blocks(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(BLOCK_BYTES - self.block_bytes).unwrap_or(0);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.block_crc32c = crc32c::crc32c_append(self.block_crc32c, now);
            self.block_bytes += now.len() as u64;
            if self.block_bytes == BLOCK_BYTES {
                self.end_block();
            }
            bytes = later;
        }
    }

    fn end_block(&mut self) {
        self.blocks.push(self.block_crc32c);
        (self.block_crc32c, self.block_bytes) = (0, 0);
    }

    /// Pages and filters have ended: the last block closes, the tail begins.
    pub(crate) fn begin_tail(&mut self) {
        if self.block_bytes > 0 {
            self.end_block();
        }
        self.tail = Some((self.bytes, 0));
    }
}

/// The writer's end of the file.
pub(crate) struct Sink {
    pub(crate) file: Box<dyn Aside>,
    pub(crate) sums: Arc<Mutex<Sums>>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.sums.lock().add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
