//! Which entries of a log hold rows of a stream: built when somebody reads, never on the append path.
//!
//! Sorted chunks of (64 bits of the stream's hash, entry), 12 bytes for each stream of each entry. The newest chunk
//! covers what was committed since the last read; neighbours of like size are merged, so their number stays
//! logarithmic. Chunks that are wholly durable are dropped. A hit is a hint: the batch itself is asked for the name.
//!
//! Invariant: chunks are contiguous: each begins where the one before it ends.

use super::frames::{self, TailFrame};
use crate::read::ReadError;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use strandline_event::hash::stream_hash;
use strandline_event::{LogIndex, LogKey, StampedBatch};
use strandline_wal::LogView;

/// Chunks are not merged beyond this many entries, so that dropping the durable ones gives memory back in pieces.
const CHUNK_ENTRIES_MAX: usize = 1 << 20;

/// The index of one log's tail.
#[derive(Debug, Default)]
pub(crate) struct StreamIndex {
    chunks: RwLock<Arc<Vec<Arc<Chunk>>>>,
    building: Mutex<()>,
}

#[derive(Debug)]
struct Chunk {
    after: LogIndex,
    through: LogIndex,
    hashes: Box<[u64]>,
    /// Entry, as a distance from `after`.
    entries: Box<[u32]>,
}

impl StreamIndex {
    /// Entries in (after, through] that may hold rows of the stream, ascending. Reads the log above what it knows.
    pub(crate) fn entries(
        &self,
        log: &LogKey,
        view: &Arc<LogView>,
        hash: u128,
        after: LogIndex,
        through: LogIndex,
    ) -> Result<Vec<LogIndex>, ReadError> {
        if after >= through {
            return Ok(Vec::new());
        }
        let chunks = self.covering(log, view, after, through)?;
        let key = short(hash);
        let mut found = Vec::new();
        for chunk in chunks.iter().filter(|c| c.through > after && c.after < through) {
            chunk.find(key, &mut found);
        }
        found.retain(|index| *index > after && *index <= through);
        found.dedup();
        Ok(found)
    }

    /// Drops what is durable now.
    pub(crate) fn forget(&self, through: LogIndex) {
        let mut chunks = self.chunks.write();
        if chunks.first().is_some_and(|c| c.through <= through) {
            let left = Arc::new(chunks.iter().filter(|c| c.through > through).cloned().collect());
            let gone = std::mem::replace(&mut *chunks, left);
            // megabytes each: readers do not wait until they are given back
            drop(chunks);
            drop(gone);
        }
    }

    /// Bytes that it holds in memory.
    pub(crate) fn size_bytes(&self) -> usize {
        self.chunks.read().iter().map(|c| c.hashes.len() * 12).sum()
    }

    /// Chunks that cover (after, through].
    fn covering(
        &self,
        log: &LogKey,
        view: &Arc<LogView>,
        after: LogIndex,
        through: LogIndex,
    ) -> Result<Arc<Vec<Arc<Chunk>>>, ReadError> {
        let ready = |chunks: &[Arc<Chunk>]| {
            chunks.first().is_some_and(|c| c.after <= after) && chunks.last().is_some_and(|c| c.through >= through)
        };
        let have = Arc::clone(&self.chunks.read());
        if ready(&have) {
            return Ok(have);
        }
        let _one_builder = self.building.lock();
        let have = Arc::clone(&self.chunks.read());
        if ready(&have) {
            return Ok(have);
        }
        let mut chunks: Vec<Arc<Chunk>> = have.iter().filter(|c| c.through > after).cloned().collect();
        if chunks.first().is_some_and(|c| c.after > after) {
            // a view below what is known (a tier left out, an older view): begin again there
            chunks.clear();
        }
        let from = chunks.last().map_or(after, |c| c.through);
        for chunk in build(log, view, from, through)? {
            chunks.push(Arc::new(chunk));
            merge_neighbours(&mut chunks);
        }
        let chunks = Arc::new(chunks);
        *self.chunks.write() = Arc::clone(&chunks);
        Ok(chunks)
    }
}

/// Reads the log in (after, through] and makes chunks of bounded size.
fn build(log: &LogKey, view: &Arc<LogView>, after: LogIndex, through: LogIndex) -> Result<Vec<Chunk>, ReadError> {
    let mut out = Vec::new();
    let mut begin = after;
    let mut entries: Vec<(u64, u32)> = Vec::new();
    for frame in frames::entries(log, view, after, through)? {
        let TailFrame { index, batch, .. } = frame?;
        add(&mut entries, &batch, (index.0 - begin.0) as u32);
        if entries.len() >= CHUNK_ENTRIES_MAX {
            out.push(Chunk::new(begin, index, std::mem::take(&mut entries)));
            begin = index;
        }
    }
    if begin < through {
        out.push(Chunk::new(begin, through, entries));
    }
    Ok(out)
}

fn add(entries: &mut Vec<(u64, u32)>, batch: &StampedBatch, entry: u32) {
    let view = batch.view();
    entries.extend((0..view.stream_count()).map(|s| (short(stream_hash(view.stream(s))), entry)));
}

fn merge_neighbours(chunks: &mut Vec<Arc<Chunk>>) {
    while let [.., a, b] = chunks.as_slice() {
        let (small, large) = (b.hashes.len(), a.hashes.len());
        if small * 2 < large || small + large > CHUNK_ENTRIES_MAX || b.through.0 - a.after.0 > u64::from(u32::MAX) {
            return;
        }
        let shift = (b.after.0 - a.after.0) as u32;
        let both = a.pairs().chain(b.pairs().map(|(h, e)| (h, e + shift))).collect();
        let merged = Chunk::new(a.after, b.through, both);
        chunks.truncate(chunks.len() - 2);
        chunks.push(Arc::new(merged));
    }
}

impl Chunk {
    fn new(after: LogIndex, through: LogIndex, mut entries: Vec<(u64, u32)>) -> Self {
        entries.sort_unstable();
        let (hashes, entries): (Vec<u64>, Vec<u32>) = entries.into_iter().unzip();
        Self { after, through, hashes: hashes.into(), entries: entries.into() }
    }

    fn pairs(&self) -> impl Iterator<Item = (u64, u32)> {
        self.hashes.iter().copied().zip(self.entries.iter().copied())
    }

    fn find(&self, key: u64, found: &mut Vec<LogIndex>) {
        let start = self.hashes.partition_point(|h| *h < key);
        let hits = self.hashes.iter().zip(&self.entries).skip(start).take_while(|(h, _)| **h == key);
        found.extend(hits.map(|(_, entry)| LogIndex(self.after.0 + u64::from(*entry))));
    }
}

const fn short(hash: u128) -> u64 {
    (hash >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(after: u64, through: u64, entries: &[(u64, u32)]) -> Arc<Chunk> {
        Arc::new(Chunk::new(LogIndex(after), LogIndex(through), entries.to_vec()))
    }

    #[test]
    fn merged_chunks_find_what_their_parts_found() {
        let mut chunks = vec![chunk(10, 12, &[(7, 1), (5, 2)])];
        chunks.push(chunk(12, 15, &[(7, 3), (9, 1)]));
        merge_neighbours(&mut chunks);
        assert_eq!(chunks.len(), 1);
        assert_eq!((chunks[0].after, chunks[0].through), (LogIndex(10), LogIndex(15)));
        let mut found = Vec::new();
        chunks[0].find(7, &mut found);
        assert_eq!(found, [LogIndex(11), LogIndex(15)]);
    }

    #[test]
    fn a_small_chunk_behind_a_large_one_waits() {
        let many: Vec<(u64, u32)> = (0..10).map(|i| (i, 1)).collect();
        let mut chunks = vec![chunk(0, 4, &many), chunk(4, 5, &[(1, 1)])];
        merge_neighbours(&mut chunks);
        assert_eq!(chunks.len(), 2);
    }
}
