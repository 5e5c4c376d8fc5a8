//! The append side's view of a manifest: heads, commands and chunk marks of one log.

use crate::append::{Settled, SettledError};
use crate::commands::{CommandRecord, Scope};
use crate::heads::HeadRecord;
use std::sync::Arc;
use strandline_durable::{BrokenRun, RunKind, Snapshot};
use strandline_event::LogKey;

/// One log's records in one manifest version, which stays pinned as long as this lives.
pub struct SettledSnapshot {
    snapshot: Arc<Snapshot>,
    key: LogKey,
}

impl SettledSnapshot {
    /// The records of a log.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>, key: LogKey) -> Self {
        Self { snapshot, key }
    }
}

impl Settled for SettledSnapshot {
    fn head(&self, stream: u128) -> Result<Option<HeadRecord>, SettledError> {
        let found = self.snapshot.head(&self.key, stream).map_err(|broken| unreadable(&broken))?;
        Ok(found.map(|h| HeadRecord { last_seq: h.last_seq, first_seq: h.first_seq, tenant: h.owner_tenant }))
    }

    fn command(&self, key: u128) -> Result<Option<CommandRecord>, SettledError> {
        let found = self.snapshot.command(&self.key, key).map_err(|broken| unreadable(&broken))?;
        Ok(found.map(|c| CommandRecord {
            digest: c.digest,
            stream: c.stream,
            first_seq: c.first_seq,
            count: c.count,
            ingested_at: c.ingested_at,
        }))
    }

    fn chunk(&self, digest: &[u8; 16]) -> Result<Option<u64>, SettledError> {
        let mark = self.snapshot.chunk_mark(&self.key, digest).map_err(|broken| unreadable(&broken))?;
        Ok((mark > 0).then_some(mark))
    }

    fn refuses(&self, commands: Scope) -> Option<SettledError> {
        let broken = |kind| self.snapshot.broken_run(&self.key, kind);
        let checked = || if commands == Scope::None { None } else { broken(RunKind::Commands) };
        broken(RunKind::Heads).or_else(checked).map(unreadable)
    }
}

fn unreadable(broken: &BrokenRun) -> SettledError {
    SettledError(broken.to_string())
}
