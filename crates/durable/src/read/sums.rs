//! The checksums of a data file's blocks of pages and filters.
//!
//! Version 1 lists them in the footer. Version 2 has the list in the file, in front of the tail, and reads of it what is needed; the
//! footer says what its blocks must be.

use super::error::ReadError;
use crate::entry::FileEntry;
use crate::write::{BLOCK_BYTES, DATA_BYTES_KEY, FORMAT_VERSION, SUMS_BLOCK_BYTES, SUMS_KEY, VERSION_KEY};
use bytes::Bytes;
use parquet::file::metadata::ParquetMetaData;
use std::ops::Range;
use std::sync::OnceLock;

/// The first version of our additions to a footer.
const VERSION_1: &str = "1";
/// Key of a footer of version 1: the blocks' checksums, 8 hex digits each.
const VERSION_1_SUMS_KEY: &str = "strandline.blocks.crc32c";
/// Length of a block in version 1.
const VERSION_1_BLOCK_BYTES: u64 = 64 << 10;
/// Bytes of a checksum in the list of version 2.
const SUM_BYTES: u64 = 4;
/// Checksums in a block of that list.
const SUMS_A_BLOCK: u64 = SUMS_BLOCK_BYTES / SUM_BYTES;

/// The checksums, as far as they were read.
pub(crate) struct BlockSums {
    /// Length of what the blocks cover, from the start of the file.
    pub(crate) data_bytes: u64,
    /// Length of a block; the last may be shorter.
    pub(crate) block_bytes: u64,
    list: List,
}

enum List {
    Known(Vec<u32>),
    /// What each block of the list must be, and those that were read.
    Stored {
        sums: Vec<u32>,
        read: Vec<OnceLock<Bytes>>,
    },
}

impl BlockSums {
    /// What a footer says. The tail begins at `tail_start`.
    pub(crate) fn of(entry: &FileEntry, meta: &ParquetMetaData, tail_start: u64) -> Result<Self, ReadError> {
        let damaged = |what: &str| ReadError::damaged(&entry.path, what);
        let found = match value(meta, VERSION_KEY) {
            Some(VERSION_1) => Self::version_1(meta, tail_start),
            Some(FORMAT_VERSION) => Self::version_2(meta, tail_start),
            _ => return Err(damaged("its footer does not say a version that this program reads")),
        };
        found.ok_or_else(|| damaged("its list of checksums is wrong"))
    }

    fn version_1(meta: &ParquetMetaData, data_bytes: u64) -> Option<Self> {
        let (sums, block_bytes) = (from_hex(value(meta, VERSION_1_SUMS_KEY)?)?, VERSION_1_BLOCK_BYTES);
        let fits = sums.len() as u64 == data_bytes.div_ceil(block_bytes);
        fits.then_some(Self { data_bytes, block_bytes, list: List::Known(sums) })
    }

    fn version_2(meta: &ParquetMetaData, tail_start: u64) -> Option<Self> {
        let (data_bytes, block_bytes): (u64, _) = (value(meta, DATA_BYTES_KEY)?.parse().ok()?, BLOCK_BYTES);
        let sums = from_hex(value(meta, SUMS_KEY)?)?;
        let list_bytes = data_bytes.div_ceil(block_bytes) * SUM_BYTES;
        let fits = data_bytes.checked_add(list_bytes) == Some(tail_start)
            && sums.len() as u64 == list_bytes.div_ceil(SUMS_BLOCK_BYTES);
        let read = sums.iter().map(|_| OnceLock::new()).collect();
        fits.then_some(Self { data_bytes, block_bytes, list: List::Stored { sums, read } })
    }

    /// Bytes of memory that it takes when all of it was read.
    pub(crate) fn memory_bytes(&self) -> usize {
        let each = size_of::<u32>() + size_of::<OnceLock<Bytes>>() + SUMS_BLOCK_BYTES as usize;
        match &self.list {
            List::Known(sums) => sums.len() * size_of::<u32>(),
            List::Stored { sums, .. } => sums.len() * each,
        }
    }

    /// The blocks that bytes of the data stand in.
    pub(crate) const fn blocks(&self, bytes: &Range<u64>) -> Range<u64> {
        bytes.start / self.block_bytes..bytes.end.div_ceil(self.block_bytes)
    }

    /// The checksum of a block, if it was read.
    pub(crate) fn get(&self, block: u64) -> Option<u32> {
        match &self.list {
            List::Known(sums) => sums.get(usize::try_from(block).ok()?).copied(),
            List::Stored { read, .. } => {
                let part = read.get(usize::try_from(block / SUMS_A_BLOCK).ok()?)?.get()?;
                let at = usize::try_from(block % SUMS_A_BLOCK * SUM_BYTES).ok()?;
                Some(u32::from_le_bytes(*part.get(at..)?.first_chunk()?))
            }
        }
    }

    /// The bytes of the file that must be read for the checksums of these blocks, in whole blocks of the list; `None`: all are there.
    pub(crate) fn missing(&self, blocks: &Range<u64>) -> Option<Range<u64>> {
        let List::Stored { read, .. } = &self.list else { return None };
        let parts = blocks.start / SUMS_A_BLOCK..blocks.end.div_ceil(SUMS_A_BLOCK).min(read.len() as u64);
        let missing = |part: &u64| read.get(*part as usize).is_some_and(|part| part.get().is_none());
        let first = parts.clone().find(missing)?;
        let last = parts.rev().find(missing)?;
        Some(
            self.data_bytes + first * SUMS_BLOCK_BYTES..self.end().min(self.data_bytes + (last + 1) * SUMS_BLOCK_BYTES),
        )
    }

    /// Where the list ends.
    fn end(&self) -> u64 {
        self.data_bytes + self.data_bytes.div_ceil(self.block_bytes) * SUM_BYTES
    }

    /// Takes a part of the list that was read from `start` on, in whole blocks of it; false: one has another checksum.
    pub(crate) fn put(&self, start: u64, bytes: &Bytes) -> bool {
        let List::Stored { sums, read } = &self.list else { return false };
        let Some(first) = start.checked_sub(self.data_bytes).map(|at| (at / SUMS_BLOCK_BYTES) as usize) else {
            return false;
        };
        bytes.chunks(SUMS_BLOCK_BYTES as usize).zip(first..).all(|(part, n)| {
            let same = sums.get(n) == Some(&crc32c::crc32c(part));
            if let Some(cell) = read.get(n).filter(|_| same) {
                // whoever came first has read the same bytes
                let _ = cell.set(bytes.slice_ref(part));
            }
            same
        })
    }

    /// Takes the whole list out of bytes of the file that begin at `start` and hold it; false: it is damaged. Where they do not
    /// hold all of it, it is read later.
    pub(crate) fn put_from(&self, start: u64, bytes: &Bytes) -> bool {
        let place = self.data_bytes.checked_sub(start).and_then(|at| usize::try_from(at).ok());
        let length = usize::try_from(self.end() - self.data_bytes).ok();
        let (Some(at), Some(length), List::Stored { .. }) = (place, length, &self.list) else { return true };
        bytes.get(at..at + length).is_none_or(|list| self.put(self.data_bytes, &bytes.slice_ref(list)))
    }
}

pub(crate) fn value<'a>(meta: &'a ParquetMetaData, key: &str) -> Option<&'a str> {
    let pairs = meta.file_metadata().key_value_metadata()?;
    pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
}

fn from_hex(text: &str) -> Option<Vec<u32>> {
    let digits = text.as_bytes().chunks(8);
    digits.map(|hex| u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of `blocks` blocks; the sum of a block is its number.
    fn stored(blocks: u64) -> (BlockSums, Bytes) {
        let list: Bytes = (0..blocks as u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>().into();
        let sums: Vec<u32> = list.chunks(SUMS_BLOCK_BYTES as usize).map(crc32c::crc32c).collect();
        let read = sums.iter().map(|_| OnceLock::new()).collect();
        let list_of = List::Stored { sums, read };
        (BlockSums { data_bytes: blocks * BLOCK_BYTES - 1, block_bytes: BLOCK_BYTES, list: list_of }, list)
    }

    #[test]
    fn only_what_is_missing_is_read_in_whole_blocks_of_the_list() {
        let (sums, list) = stored(SUMS_A_BLOCK * 3 + 5);
        let at = |part: u64| sums.data_bytes + part * SUMS_BLOCK_BYTES;
        assert_eq!(sums.missing(&(0..1)), Some(at(0)..at(1)));
        assert_eq!(sums.missing(&(SUMS_A_BLOCK - 1..SUMS_A_BLOCK + 1)), Some(at(0)..at(2)));
        assert_eq!(sums.get(SUMS_A_BLOCK), None);
        assert!(sums.put(at(1), &list.slice(SUMS_BLOCK_BYTES as usize..2 * SUMS_BLOCK_BYTES as usize)));
        assert_eq!(sums.get(SUMS_A_BLOCK + 7), Some(SUMS_A_BLOCK as u32 + 7));
        assert_eq!(sums.missing(&(SUMS_A_BLOCK..SUMS_A_BLOCK * 2)), None);
        let end = sums.data_bytes + list.len() as u64;
        assert_eq!(sums.missing(&(0..SUMS_A_BLOCK * 3 + 5)), Some(at(0)..end));
        assert!(sums.put_from(sums.data_bytes - 3, &[&[0; 3], &list[..], b"tail"].concat().into()));
        assert_eq!(sums.missing(&(0..SUMS_A_BLOCK * 3 + 5)), None);
        assert_eq!(sums.get(SUMS_A_BLOCK * 3 + 4), Some(SUMS_A_BLOCK as u32 * 3 + 4));
        assert_eq!(sums.get(SUMS_A_BLOCK * 3 + 5), None);
    }

    #[test]
    fn a_changed_part_of_the_list_is_refused() {
        let (sums, list) = stored(10);
        let mut changed = list.to_vec();
        changed[5] ^= 1;
        assert!(
            !sums.put(sums.data_bytes, &changed.clone().into()) && !sums.put_from(sums.data_bytes, &changed.into())
        );
        assert_eq!(sums.get(1), None);
        assert!(sums.put_from(sums.data_bytes, &list.slice(..20)), "a part of it says nothing");
        assert_eq!(sums.get(1), None);
    }
}
