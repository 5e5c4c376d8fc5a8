//! Retention as the tier does it: files go as wholes, can be brought back for a while, and are deleted in the end.
//!
//! ```text
//!  retire ──tombstone──> .parquet.old, restorable ──restore──> live again
//!    │                        └──expire (a commit: restorable no more)──┐
//!    └──hard────────────────────────────────────────────────────────────┴─> deleted once no reader of this process needs it
//! ```
//!
//! Nothing is deleted that the newest version calls live or restorable. Which files go is the caller's choice.

use super::commit::{Change, CommitError, DeleteMode, Restore, RestoreChange, RetireChange, Retirement};
use super::retired::RangeSet;
use super::{DurableTier, Snapshot};
use crate::manifest::{Manifest, Tombstone};
use crate::objects::ObjectError;
use crate::read::ReadError;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use strandline_event::{ErrorKind, LogKey, Micros};

/// Why files were not taken out or brought back. Nothing changed, unless the commit's outcome is unknown.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// A file of which the seqs must be known.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Somebody asked it to end.
    #[error("it was cancelled")]
    Cancelled,
}

impl From<ObjectError> for RetireError {
    fn from(error: ObjectError) -> Self {
        Self::Commit(error.into())
    }
}

impl RetireError {
    /// What it means to the one who called.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(error) => error.kind(),
            Self::Commit(error) => error.kind(),
            Self::Cancelled => ErrorKind::Unavailable,
        }
    }
}

/// What went.
#[derive(Clone)]
pub struct Retired {
    /// The version that says so.
    pub snapshot: Arc<Snapshot>,
    /// Seq ranges that were written down.
    pub ranges: u64,
}

/// What came back.
#[derive(Clone)]
pub struct Restored {
    /// The version that says so.
    pub snapshot: Arc<Snapshot>,
    /// Seq ranges that were taken back.
    pub ranges: u64,
}

impl DurableTier {
    /// Takes files out: reads their stream ids and seqs, then commits. A repeated call with the same job id is a success.
    /// `go_on` may stop it before the commit.
    pub fn retire(&self, retirement: &Retirement, go_on: &dyn Fn() -> ControlFlow<()>) -> Result<Retired, RetireError> {
        let mut ranges = RangeSet::new(self, retirement.log.clone());
        for file in &retirement.files {
            ranges.add_file(file, go_on)?;
        }
        ranges.finish();
        let rows: u64 = retirement.files.iter().map(|file| file.rows).sum();
        if ranges.rows() != rows {
            return Err(CommitError::RowsDiffer { removed: rows, added: ranges.rows(), doubles: 0 }.into());
        }
        let change = RetireChange { what: retirement, ranges: &ranges };
        let snapshot = self.make(&change, retirement.job_id, retirement.at)?;
        self.name_as_meant(retirement.files.iter().map(|file| &**file));
        if retirement.mode == DeleteMode::Hard {
            self.delete_given_up();
        }
        Ok(Retired { snapshot, ranges: ranges.ranges().count() as u64 })
    }

    /// Brings files back, all in one commit: reads their stream ids and seqs, which are retired no more.
    pub fn restore(&self, restore: &Restore, go_on: &dyn Fn() -> ControlFlow<()>) -> Result<Restored, RetireError> {
        let mut by_log: BTreeMap<LogKey, RangeSet<'_>> = BTreeMap::new();
        for Tombstone { entry, .. } in &restore.tombstones {
            let log = LogKey { stream_type: Arc::from(entry.stream_type.as_str()), bucket: entry.bucket };
            let ranges = by_log.entry(log.clone()).or_insert_with(|| RangeSet::new(self, log));
            ranges.add_file(entry, go_on)?;
        }
        let mut ranges: Vec<RangeSet<'_>> = by_log.into_values().collect();
        ranges.iter_mut().for_each(RangeSet::finish);
        let change = RestoreChange { what: restore, ranges: &ranges };
        let snapshot = self.make(&change, restore.job_id, restore.at)?;
        self.name_as_meant(restore.tombstones.iter().map(|tombstone| &tombstone.entry));
        Ok(Restored { snapshot, ranges: ranges.iter().map(|set| set.ranges().count() as u64).sum() })
    }

    /// Ends the tombstones that were put up before `before`: their files can be brought back no more, and the next sweep
    /// deletes them. Gives their number; no commit where there are none.
    pub fn expire(&self, before: Micros, job_id: u128, at: Micros) -> Result<u64, CommitError> {
        let count = |snapshot: &Snapshot| snapshot.manifest.tombstones.iter().filter(|t| t.at < before).count() as u64;
        let expired = count(&self.pin());
        if expired > 0 {
            self.make(&Expire { before }, job_id, at)?;
        }
        Ok(expired)
    }

    /// Deletes what has no grace period and no reader; what cannot be deleted now is left to the sweep.
    fn delete_given_up(&self) {
        let _no_commit = self.inner.committer.lock();
        if let Err(error) = self.sweep_replaced(&self.pin(), Micros::MIN) {
            tracing::warn!(%error, "removed files stay until they are swept");
        }
    }
}

struct Expire {
    before: Micros,
}

impl Change for Expire {
    fn apply(&self, _: &DurableTier, _: &Snapshot, next: &mut Manifest) -> Result<(), CommitError> {
        let over = next.tombstones.take_out(|tombstone| tombstone.at < self.before);
        next.give_up(over.iter().map(|tombstone| &tombstone.entry));
        Ok(())
    }
}
