//! The records of one log in one version: heads, commands, chunk marks. Holds runs, pins no version.
//!
//! Who owns a log keeps this until the log's next job commits, however long that takes: a pinned version would keep every
//! file that is replaced or removed meanwhile.

use super::Snapshot;
use crate::manifest::ChunkMark;
use crate::runs::{
    BrokenRun, CommandRecord, HeadRecord, LogRuns, RunKind, Slot, find, look_ahead, look_ahead_at_records,
};
use std::sync::Arc;
use strandline_event::LogKey;

/// The records of a log.
#[derive(Clone)]
pub struct LogRecords {
    pub(super) runs: LogRuns,
    pub(super) chunks: Vec<ChunkMark>,
}

impl LogRecords {
    /// The head of a stream as of the watermark. Errors: a run that may hold it cannot be read.
    pub fn head(&self, stream_hash: u128) -> Result<Option<HeadRecord>, BrokenRun> {
        find(&self.runs.heads, stream_hash)
    }

    /// Whether the heads of a version are in the same runs: both say the same of every stream.
    #[must_use]
    pub fn has_heads_of(&self, snapshot: &Snapshot, log: &LogKey) -> bool {
        let theirs = snapshot.runs.get(log).map_or(&[][..], |runs| &runs.heads);
        let same = |(one, other): (&Slot, &Slot)| matches!((one, other), (Ok(a), Ok(b)) if Arc::ptr_eq(a, b));
        self.runs.heads.len() == theirs.len() && self.runs.heads.iter().zip(theirs).all(same)
    }

    /// What a command did, if it is below the watermark. Errors: a run that may hold it cannot be read.
    pub fn command(&self, key: u128) -> Result<Option<CommandRecord>, BrokenRun> {
        find(&self.runs.commands, key)
    }

    /// Whether there is a run of commands, and be it one that cannot be read.
    #[must_use]
    pub fn may_have_commands(&self) -> bool {
        !self.runs.commands.is_empty()
    }

    /// Before many commands are asked for: what each look waits for is waited for at the same time.
    pub fn look_ahead(&self, commands: impl Iterator<Item = u128>) {
        look_ahead(&self.runs.commands, commands);
    }

    /// Before the heads of many streams are asked for.
    pub fn look_ahead_heads(&self, streams: &[u128]) {
        look_ahead_at_records(&self.runs.heads, streams);
    }

    /// Number of head records; a stream may have one in each run.
    #[must_use]
    pub fn head_records(&self) -> usize {
        self.runs.heads.iter().flatten().map(|run| run.len()).sum()
    }

    /// The highest chunk of a file below the watermark; 0: none. Errors: a run that may hold it cannot be read.
    pub fn chunk_mark(&self, digest: &[u8; 16]) -> Result<u64, BrokenRun> {
        if let Some(recent) = self.chunks.iter().find(|mark| mark.digest == *digest) {
            return Ok(recent.number);
        }
        let older: Option<ChunkMark> = find(&self.runs.chunks, u128::from_be_bytes(*digest))?;
        Ok(older.map_or(0, |mark| mark.number))
    }

    /// The first run of a kind that cannot be read.
    #[must_use]
    pub fn broken_run(&self, kind: RunKind) -> Option<&BrokenRun> {
        self.runs.broken().find(|broken| broken.kind == kind)
    }
}
