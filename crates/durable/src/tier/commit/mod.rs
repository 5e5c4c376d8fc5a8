//! Commits: the next version, created if absent. What was not committed is nobody's.
//!
//! Invariants: an owner of an older epoch cannot commit; a change that is found committed is a success, whoever asks; a
//! version is made from the one before it and nothing else; moments of versions never fall. Each kind of change has a module of its own. Outcomes that nobody
//! knows: `settle.rs`.

mod error;
mod job;
mod redact;
mod replace;
mod restore;
mod retire;
mod runs;
mod update;

pub use error::CommitError;
pub use job::Commit;
pub use redact::Redact;
pub use replace::Replacement;
pub use restore::Restore;
pub(super) use restore::RestoreChange;
pub(super) use retire::RetireChange;
pub use retire::{DeleteMode, Retirement};
pub use update::Update;

use super::settle::Unclear;
use super::{Committer, DurableTier, Snapshot, names};
use crate::entry::FileEntry;
use crate::manifest::{self, Manifest, Put};
use crate::objects::NotCreated;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use strandline_event::Micros;

/// What a commit adds to the version before.
pub(super) trait Change {
    /// Whether the current version holds the change already: a retry after an answer that was lost.
    fn is_done(&self, current: &Snapshot, job_id: u128) -> bool {
        current.manifest.job_id == job_id
    }

    /// Makes it in the next version, which is a copy of the current one so far. May be called again, on a newer one.
    fn apply(&self, tier: &DurableTier, current: &Snapshot, next: &mut Manifest) -> Result<(), CommitError>;

    /// Names of the data files that it brings.
    fn files(&self) -> Vec<String> {
        Vec::new()
    }
}

impl DurableTier {
    /// Makes a change true that brings no new files.
    pub(super) fn make(&self, change: &dyn Change, job_id: u128, at: Micros) -> Result<Arc<Snapshot>, CommitError> {
        self.change(change, job_id, at).map(Outcome::snapshot)
    }

    /// Makes a change true, and shows it to readers of the Delta log; what it made so is told apart from what was true before.
    fn change(&self, change: &dyn Change, job_id: u128, at: Micros) -> Result<Outcome, CommitError> {
        let outcome = self.change_manifest(change, job_id, at)?;
        self.follow();
        Ok(outcome)
    }

    fn change_manifest(&self, change: &dyn Change, job_id: u128, at: Micros) -> Result<Outcome, CommitError> {
        let mut committer = self.inner.committer.lock();
        self.settle_locked(&mut committer)?;
        self.claim_late_locked(&mut committer, at)?;
        let ours = self.epoch().ok_or(CommitError::ReadOnly)?;
        let outcome = self.try_change(&mut committer, ours, change, job_id, at);
        match &committer.unclear {
            // an earlier try of the same job may still land
            Some(unclear) if unclear.job_id == job_id && outcome.is_err() => Err(unclear.to_error()),
            _ => outcome,
        }
    }

    fn try_change(
        &self,
        committer: &mut Committer,
        ours: u64,
        change: &dyn Change,
        job_id: u128,
        at: Micros,
    ) -> Result<Outcome, CommitError> {
        loop {
            let current = self.pin();
            if change.is_done(&current, job_id) {
                return Ok(Outcome::Before(current));
            }
            if current.epoch() != ours {
                return Err(CommitError::StaleEpoch { ours, found: current.epoch() });
            }
            let mut next = current.manifest.clone();
            next.version += 1;
            next.previous_crc32c = Some(committer.current_crc32c);
            // a job says when it began: what it replaces is read until now
            (next.job_id, next.committed_at) = (job_id, self.moment(at, &current));
            self.inner.gone.take_out_of(&mut next.replaced);
            change.apply(self, &current, &mut next)?;
            manifest::seal(&*self.inner.shared.manifests, &mut next)?;
            next.file_seq = self.inner.file_seq.load(Ordering::Relaxed);
            // runs are opened and checked before the version that names them exists
            let snapshot = Snapshot::open(Arc::clone(&self.inner.shared), next, Some(&current));
            if let Some(new) = snapshot.broken_runs().find(|broken| !current.names_run(&broken.path)) {
                return Err(new.clone().into());
            }
            let unclear = |reason| Unclear { version: snapshot.version(), job_id, files: change.files(), reason };
            match manifest::put(&*self.inner.shared.manifests, &snapshot.manifest) {
                Ok(Put::Ours(crc)) => {
                    let snapshot = Arc::new(snapshot);
                    self.publish(committer, Arc::clone(&snapshot), crc);
                    return Ok(Outcome::Now(snapshot));
                }
                Ok(Put::Others) => self.catch_up(committer, unclear(String::new()))?,
                Err(NotCreated::No(error)) => return Err(error.into()),
                Err(NotCreated::Unclear(error)) => return Err(self.unclear(committer, unclear(error.to_string()))),
            }
        }
    }

    /// Gives the new files of a change their final names. A retry may have written other files than those that are committed:
    /// they are nobody's, and are taken away.
    fn publish_files(&self, outcome: &Outcome, files: &[FileEntry]) {
        let mut committed = Vec::with_capacity(files.len());
        for file in files {
            if let Outcome::Before(current) = outcome
                && !current.manifest.is_live(file)
            {
                if !current.manifest.known_paths().any(|path| path == file.path) {
                    self.discard(std::slice::from_ref(file));
                }
                continue;
            }
            self.inner.staged.release(&file.path);
            committed.push(&*file.path);
        }
        if let Err(error) = names::publish_all(&*self.inner.shared.objects, committed.into_iter()) {
            tracing::warn!(%error, "a committed file keeps its staged name until the next start");
        }
    }

    /// Gives files that are live no more, or live again, the names that the newest version means by now: other commits may have come since
    /// the one that changed them, and none comes while one of them is renamed.
    pub(super) fn name_as_meant<'f>(&self, files: impl Iterator<Item = &'f FileEntry>) {
        let objects = &*self.inner.shared.objects;
        if !objects.stages() {
            return;
        }
        for file in files {
            let committer = self.inner.committer.lock();
            let named = match self.pin().manifest.is_live(file) {
                true => names::take_back(objects, &file.path),
                false => names::set_aside(objects, &file.path),
            };
            drop(committer);
            if let Err(error) = named {
                tracing::warn!(path = file.path, %error, "a data file gets the name that it is to have at the next start");
            }
        }
    }
}

/// How a change became true.
enum Outcome {
    /// By this call.
    Now(Arc<Snapshot>),
    /// It was already.
    Before(Arc<Snapshot>),
}

impl Outcome {
    fn snapshot(self) -> Arc<Snapshot> {
        match self {
            Self::Now(snapshot) | Self::Before(snapshot) => snapshot,
        }
    }
}
