//! Chunks of resumable ingestions: the highest number that is stored, per digest of a file.
//!
//! Numbers of one file come in order (the sender waits for each answer), so the highest tells all. The mark
//! travels with the batch itself, so log and mark cannot disagree; after compaction the manifest keeps it.

use std::collections::HashMap;
use strandline_event::{Chunk, LogIndex};

/// Marks above the watermark, in flight included.
#[derive(Debug, Default)]
pub struct ChunkMarks {
    highest: HashMap<[u8; 16], (u64, LogIndex)>,
}

impl ChunkMarks {
    /// The highest stored chunk of a file and the batch that it came with.
    #[must_use]
    pub fn get(&self, digest: &[u8; 16]) -> Option<(u64, LogIndex)> {
        self.highest.get(digest).copied()
    }

    /// A chunk was stored.
    pub fn insert(&mut self, chunk: Chunk, index: LogIndex) {
        let mark = self.highest.entry(chunk.digest).or_insert((chunk.number, index));
        if chunk.number >= mark.0 {
            *mark = (chunk.number, index);
        }
    }

    /// Marks of batches above `through` leave: these batches never were. What they stood before is in the manifest: in a store
    /// without a log every committed mark is.
    pub fn take_back(&mut self, through: LogIndex) {
        self.highest.retain(|_, (_, index)| *index <= through);
    }

    /// Marks of batches at or below `through` leave: the manifest has them.
    pub fn settle(&mut self, through: LogIndex) {
        self.highest.retain(|_, (_, index)| *index > through);
    }
}
