//! What stands between the Parquet writer and the file: checksums of the whole, of blocks, and of the tail.
//!
//! ```text
//!  pages and filters, in blocks | list of the blocks' checksums, in blocks | page index, in blocks | footer
//!                  checked by ----^           checked by the footer ---------------------------------^
//! ```
//!
//! The footer and the blocks of the page index are checked by the manifest: so every byte that a read decodes has been checked,
//! and a read takes only the blocks that it needs.

use crate::entry::TailSums;
use crate::objects::Aside;
use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;

/// Length of a checked block of pages and filters, in bytes.
pub(crate) const BLOCK_BYTES: u64 = 8 << 10;
/// Length of a checked block of the list of checksums, in bytes: those of 8 MiB of pages.
pub(crate) const SUMS_BLOCK_BYTES: u64 = 4 << 10;
/// Length of a checked block of the page index, in bytes.
pub(crate) const INDEX_BLOCK_BYTES: u64 = 16 << 10;
/// Behind the footer: its length, and a magic number.
const FOOTER_END_BYTES: usize = 8;

/// What the next bytes belong to.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Part {
    #[default]
    Data,
    List,
    Tail,
}

/// Checksums so far; shared with the writer that owns the sink.
#[derive(Default)]
pub(crate) struct Sums {
    pub(crate) bytes: u64,
    pub(crate) file_crc32c: u32,
    part: Part,
    blocks: Vec<u32>,
    block_crc32c: u32,
    block_bytes: u64,
    tail: Vec<u8>,
    failed: Option<io::Error>,
}

impl Sums {
    fn add(&mut self, bytes: &[u8]) {
        self.file_crc32c = crc32c::crc32c_append(self.file_crc32c, bytes);
        self.bytes += bytes.len() as u64;
        match self.part {
            Part::Data => self.add_to_blocks(bytes),
            Part::List => {}
            Part::Tail => self.tail.extend_from_slice(bytes),
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

    /// Pages and filters have ended: the last block closes. The list of all checksums comes next.
    pub(crate) fn end_data(&mut self) -> Vec<u8> {
        if self.block_bytes > 0 {
            self.end_block();
        }
        self.part = Part::List;
        self.blocks.iter().flat_map(|crc| crc.to_le_bytes()).collect()
    }

    /// What the file said when it failed: an encoder may make a text of it, which hides what it means.
    pub(crate) const fn failure(&mut self) -> Option<io::Error> {
        self.failed.take()
    }

    /// The list has ended, the tail begins.
    pub(crate) const fn begin_tail(&mut self) {
        self.part = Part::Tail;
    }

    /// Length and checksum of the tail of a whole file, and the checksums of its parts; `None`: it does not end with a footer.
    pub(crate) fn tail(&self) -> Option<(u64, u32, TailSums)> {
        let tail = &self.tail[..];
        let end = tail.last_chunk::<FOOTER_END_BYTES>()?;
        let length = u32::from_le_bytes(*end.first_chunk()?) as usize;
        let (index, footer) = tail.split_at_checked(tail.len().checked_sub(length + FOOTER_END_BYTES)?)?;
        let parts = TailSums {
            footer_bytes: footer.len() as u64,
            footer_crc32c: crc32c::crc32c(footer),
            index_crc32c: index.chunks(INDEX_BLOCK_BYTES as usize).map(crc32c::crc32c).collect(),
        };
        Some((tail.len() as u64, crc32c::crc32c(tail), parts))
    }
}

/// The writer's end of the file.
pub(crate) struct Sink {
    pub(crate) file: Box<dyn Aside>,
    pub(crate) sums: Arc<Mutex<Sums>>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_all(bytes);
        let mut sums = self.sums.lock();
        if let Err(error) = written {
            let same = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
            sums.failed = Some(same);
            return Err(error);
        }
        sums.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
