//! Chunks of resumable ingestions: which are stored, and which of their rows were refused then.
//!
//! The mark travels with the batch itself, so log and mark cannot disagree; after compaction the manifest keeps it. A
//! chunk is known only if something of it was stored: of one that was refused whole nothing is there to be doubled, so
//! its retry is judged anew. Invariant: a row of a known chunk is stored, or it is listed as refused.

use std::collections::{HashMap, VecDeque};
use strandline_event::{Chunk, LogIndex, StampedBatch};

/// A chunk of which something is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownChunk {
    /// The batch that it came with; `ZERO`: below the watermark.
    pub index: LogIndex,
    /// Rows of the request that were refused then, ascending.
    pub refused: Vec<u32>,
}

/// Marks above the watermark, in flight included.
#[derive(Debug, Default)]
pub struct ChunkMarks {
    known: HashMap<Chunk, KnownChunk>,
    /// In order of their batches: those that leave stand in front.
    order: VecDeque<(LogIndex, Chunk)>,
}

impl ChunkMarks {
    /// What is known of a chunk.
    #[must_use]
    pub fn get(&self, chunk: Chunk) -> Option<&KnownChunk> {
        self.known.get(&chunk)
    }

    /// A batch was accepted; it may be a chunk.
    pub fn insert(&mut self, batch: &StampedBatch, index: LogIndex) {
        if let Some(chunk) = batch.view().chunk() {
            self.known.insert(chunk, KnownChunk { index, refused: batch.stamps().refused().collect() });
            self.order.push_back((index, chunk));
        }
    }

    /// Marks of batches above `through` leave: these batches never were. What they stood before is in the manifest: in a store
    /// without a log every committed mark is.
    pub fn take_back(&mut self, through: LogIndex) {
        self.known.retain(|_, known| known.index <= through);
        self.order.retain(|(index, _)| *index <= through);
    }

    /// Marks of batches at or below `through` leave: the manifest has them.
    pub fn settle(&mut self, through: LogIndex) {
        self.settle_some(through, &mut { usize::MAX });
    }

    /// As [`settle`](Self::settle), at most `budget` of them, which is lowered; `true`: that were all.
    pub(crate) fn settle_some(&mut self, through: LogIndex, budget: &mut usize) -> bool {
        while self.order.front().is_some_and(|(index, _)| *index <= through) {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            let Some((index, chunk)) = self.order.pop_front() else { break };
            if self.known.get(&chunk).is_some_and(|known| known.index == index) {
                self.known.remove(&chunk);
            }
        }
        true
    }
}

/// The marks of a batch as a manifest keeps them: the chunk's with 1 and the number of its refused rows, and one of each
/// of these.
pub fn marks_of(batch: &StampedBatch, key: (u64, u64)) -> impl Iterator<Item = ([u8; 16], u64)> + '_ {
    let whole = move |chunk: Chunk| (chunk.mark(key), 1 + batch.stamps().refused().len() as u64);
    let chunk = batch.view().chunk();
    let rows = chunk.into_iter().flat_map(move |chunk| {
        let rows: Vec<u32> = batch.stamps().refused().collect();
        rows.into_iter().map(move |row| (chunk.refused_mark(row, key), 1))
    });
    chunk.into_iter().map(whole).chain(rows)
}
