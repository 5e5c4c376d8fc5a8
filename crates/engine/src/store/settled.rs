//! The append side's view of a manifest: heads, commands and chunk marks of one log.

use crate::append::{Settled, SettledError};
use crate::commands::{CommandRecord, Scope};
use crate::heads::HeadRecord;
use strandline_durable::{BrokenRun, LogRecords, RunKind, Snapshot};
use strandline_event::LogKey;

/// One log's records in one manifest version. Holds their runs, and no data file.
pub struct SettledSnapshot {
    records: LogRecords,
}

impl SettledSnapshot {
    /// The records of a log.
    #[must_use]
    pub fn new(snapshot: &Snapshot, key: &LogKey) -> Self {
        Self { records: snapshot.records(key) }
    }
}

impl Settled for SettledSnapshot {
    fn head(&self, stream: u128) -> Result<Option<HeadRecord>, SettledError> {
        let found = self.records.head(stream).map_err(|broken| unreadable(&broken))?;
        Ok(found.map(|h| HeadRecord { last_seq: h.last_seq, first_seq: h.first_seq, tenant: h.owner_tenant }))
    }

    fn has_heads_of(&self, version: &Snapshot, log: &LogKey) -> bool {
        self.records.has_heads_of(version, log)
    }

    fn command(&self, key: u128) -> Result<Option<CommandRecord>, SettledError> {
        let found = self.records.command(key).map_err(|broken| unreadable(&broken))?;
        Ok(found.map(|c| CommandRecord {
            digest: c.digest,
            first_seq: c.first_seq,
            count: c.count,
            ingested_at: c.ingested_at,
        }))
    }

    fn may_have_commands(&self) -> bool {
        self.records.may_have_commands()
    }

    fn look_ahead(&self, commands: &mut dyn Iterator<Item = u128>) {
        self.records.look_ahead(commands);
    }

    fn look_ahead_heads(&self, streams: &[u128]) {
        self.records.look_ahead_heads(streams);
    }

    fn head_records(&self) -> usize {
        self.records.head_records()
    }

    fn chunk(&self, digest: &[u8; 16]) -> Result<Option<u64>, SettledError> {
        let mark = self.records.chunk_mark(digest).map_err(|broken| unreadable(&broken))?;
        Ok((mark > 0).then_some(mark))
    }

    fn refuses(&self, commands: Scope) -> Option<SettledError> {
        let broken = |kind| self.records.broken_run(kind);
        let checked = || if commands == Scope::None { None } else { broken(RunKind::Commands) };
        broken(RunKind::Heads).or_else(|| broken(RunKind::Retired)).or_else(checked).map(unreadable)
    }
}

fn unreadable(broken: &BrokenRun) -> SettledError {
    SettledError(broken.to_string())
}
