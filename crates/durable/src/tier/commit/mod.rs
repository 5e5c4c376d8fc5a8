//! Commits: the next version, created if absent. What was not committed is nobody's.
//!
//! Invariants: an owner of an older epoch cannot commit; a change that is found committed is a success, whoever asks; a
//! version is made from the one before it and nothing else. Each kind of change has a module of its own.

mod error;
mod job;
mod replace;
mod restore;
mod retire;
mod runs;
mod update;

pub use error::CommitError;
pub use job::Commit;
pub use replace::Replacement;
pub use restore::Restore;
pub(super) use restore::RestoreChange;
pub(super) use retire::RetireChange;
pub use retire::{DeleteMode, Retirement};
pub use update::Update;

use super::{Committer, DurableTier, Snapshot, names};
use crate::entry::FileEntry;
use crate::manifest::{self, Manifest, ManifestError};
use crate::objects::ObjectError;
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
        let ours = self.inner.epoch.ok_or(CommitError::ReadOnly)?;
        let mut committer = self.inner.committer.lock();
        if let Some(version) = committer.unknown {
            return Err(CommitError::Unknown { version });
        }
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
            (next.job_id, next.committed_at) = (job_id, at);
            self.inner.gone.take_out_of(&mut next.replaced);
            change.apply(self, &current, &mut next)?;
            manifest::seal(&*self.inner.shared.manifests, &mut next)?;
            next.file_seq = self.inner.file_seq.load(Ordering::Relaxed);
            // runs are opened and checked before the version that names them exists
            let snapshot = Snapshot::open(Arc::clone(&self.inner.shared), next, Some(&current));
            if let Some(new) = snapshot.broken_runs().find(|broken| !current.names_run(&broken.path)) {
                return Err(new.clone().into());
            }
            match manifest::put(&*self.inner.shared.manifests, &snapshot.manifest) {
                Ok(crc) => {
                    let snapshot = Arc::new(snapshot);
                    self.publish(&mut committer, Arc::clone(&snapshot), crc);
                    return Ok(Outcome::Now(snapshot));
                }
                Err(ObjectError::AlreadyExists { .. }) => self.catch_up(&mut committer, snapshot.version())?,
                Err(error) => return self.settle(&mut committer, snapshot, error).map(Outcome::Now),
            }
        }
    }

    fn publish(&self, committer: &mut Committer, snapshot: Arc<Snapshot>, crc: u32) {
        committer.current_crc32c = crc;
        self.inner.pins.add(&snapshot);
        self.inner.gone.retain(&snapshot.manifest.replaced);
        self.inner.current.store(snapshot);
    }

    /// Version `version` exists: it becomes the current one (whoever made it). If it cannot be read, it may be ours.
    fn catch_up(&self, committer: &mut Committer, version: u64) -> Result<(), CommitError> {
        let (found, crc) = manifest::read(&*self.inner.shared.manifests, version).map_err(|error| {
            committer.unknown = Some(version);
            tracing::error!(version, %error, "a version that exists cannot be read");
            CommitError::Unknown { version }
        })?;
        let snapshot = Snapshot::open(Arc::clone(&self.inner.shared), found, Some(&self.pin()));
        self.publish(committer, Arc::new(snapshot), crc);
        Ok(())
    }

    /// The put failed without a clear answer: look whether the version is there.
    fn settle(
        &self,
        committer: &mut Committer,
        snapshot: Snapshot,
        error: ObjectError,
    ) -> Result<Arc<Snapshot>, CommitError> {
        let shared = &self.inner.shared;
        let version = snapshot.version();
        match manifest::read(&*shared.manifests, version) {
            Err(ManifestError::Objects(ObjectError::NotFound { .. })) => Err(error.into()),
            // an object store has it or has it not
            Ok((found, crc)) if found == snapshot.manifest && !shared.manifests.stages() => {
                let snapshot = Arc::new(snapshot);
                self.publish(committer, Arc::clone(&snapshot), crc);
                Ok(snapshot)
            }
            // a local file may be there without its folder being synced: nobody may build on it before a restart
            Ok(_) | Err(_) => {
                committer.unknown = Some(version);
                tracing::error!(version, %error, "the outcome of a commit is unknown");
                Err(CommitError::Unknown { version })
            }
        }
    }

    /// Gives the new files of a change their final names. A retry may have written other files than those that are committed:
    /// they are nobody's, and are taken away.
    fn publish_files(&self, outcome: &Outcome, files: &[FileEntry]) {
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
            if let Err(error) = names::publish(&*self.inner.shared.objects, &file.path) {
                tracing::warn!(path = file.path, %error, "a committed file keeps its staged name until the next start");
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
