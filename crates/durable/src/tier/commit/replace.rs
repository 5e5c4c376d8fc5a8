//! The commit that puts some files in the place of others: a merge, a rewrite.
//!
//! Invariant: every row that goes comes back in a new file, except those that are told as doubles; what was replaced is named
//! under `replaced` from the same version on, and stays there until no reader needs it.

use super::{Change, CommitError};
use crate::entry::FileEntry;
use crate::manifest::Manifest;
use crate::tier::{DurableTier, Snapshot};
use std::sync::Arc;
use strandline_event::{LogKey, Micros};

/// Files in the place of others, of one log.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// The job.
    pub job_id: u128,
    /// Not after now: the version is of the moment at which it is made, where the tier has a clock.
    pub at: Micros,
    /// The log of all files.
    pub log: LogKey,
    /// Entries that are live, as a pinned version has them. Not empty.
    pub remove: Vec<Arc<FileEntry>>,
    /// What stands in their place: written and not committed. One whose entry has a `redacted_in` has rows that say less than before.
    pub add: Vec<FileEntry>,
    /// Rows that were in `remove` twice with equal content and are in `add` once.
    pub doubles: u64,
}

impl DurableTier {
    /// Commits a replacement. A repeated call with the same job id is a success. On every error but
    /// [`CommitError::Unknown`] nothing happened, and the new files are taken away.
    pub fn replace(&self, replacement: &Replacement) -> Result<Arc<Snapshot>, CommitError> {
        let changed = self.change(replacement, replacement.job_id, replacement.at);
        let outcome = changed.inspect_err(|error| {
            // only then a manifest may name the files; the next opening finds out
            if !matches!(error, CommitError::Unknown { .. }) {
                self.discard(&replacement.add);
            }
        })?;
        // in this order a glob may see an event twice for a moment, but never misses one
        self.publish_files(&outcome, &replacement.add);
        self.name_as_meant(replacement.remove.iter().map(|file| &**file));
        Ok(outcome.snapshot())
    }
}

impl Replacement {
    fn check(&self) -> Result<(), CommitError> {
        let ours = |file: &FileEntry| file.stream_type == *self.log.stream_type && file.bucket == self.log.bucket;
        let stranger = self.remove.iter().map(|f| &**f).chain(&self.add).find(|file| !ours(file));
        if let Some(file) = stranger {
            return Err(CommitError::OtherLog { path: file.path.clone(), log: self.log.clone() });
        }
        let removed: u64 = self.remove.iter().map(|f| f.rows).sum();
        let added: u64 = self.add.iter().map(|f| f.rows).sum();
        if self.remove.is_empty() || added.checked_add(self.doubles) != Some(removed) {
            return Err(CommitError::RowsDiffer { removed, added, doubles: self.doubles });
        }
        Ok(())
    }

    /// A new file as the version names it that this makes.
    fn entry_in(&self, version: u64, file: &FileEntry) -> FileEntry {
        let before = || self.remove.iter().filter_map(|file| file.redacted_in).max();
        let redacted_in = if file.redacted_in.is_some() { Some(version) } else { before() };
        FileEntry { redacted_in, ..file.clone() }
    }
}

impl Change for Replacement {
    fn files(&self) -> Vec<String> {
        self.add.iter().map(|file| file.path.clone()).collect()
    }

    fn is_done(&self, current: &Snapshot, job_id: u128) -> bool {
        let first = self.remove.first().map(|file| file.path.as_str());
        let replaced =
            || current.manifest.replaced.iter().any(|f| f.job_id == job_id && Some(f.path.as_str()) == first);
        current.manifest.job_id == job_id || replaced()
    }

    fn apply(&self, _: &DurableTier, _: &Snapshot, next: &mut Manifest) -> Result<(), CommitError> {
        self.check()?;
        let gone = |path: &str| CommitError::NotLive { path: path.to_owned() };
        next.remove_files(&self.remove).map_err(gone)?;
        let version = next.version;
        next.add_files(self.add.iter().map(|file| Arc::new(self.entry_in(version, file))));
        let state = next.logs.entry(self.log.clone()).or_default();
        state.events = state.events.saturating_sub(self.doubles);
        next.set_aside(&self.remove);
        Ok(())
    }
}
