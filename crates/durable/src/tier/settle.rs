//! Commits whose outcome is not known: what is remembered of them, and how it is found out.
//!
//! What one create of a version says is decided in `objects/create.rs`. What a commit makes of it, and of what stands under the
//! version's number when it is looked at again:
//!
//! | the create of version n+1 | then | the caller is told |
//! |---|---|---|
//! | ours | n+1 is current | success |
//! | another's | n+1 becomes current: it may hold this job (an answer that was lost twice) | success |
//! | | it has a newer epoch | `StaleEpoch` |
//! | | it has our epoch: go on above it | what version n+2 gives, or `Watermark` |
//! | | it cannot be read | `Unknown` |
//! | refused, not sent | nothing happened | the error |
//! | unclear | remembered | `Unknown` |
//!
//! | when the next commit (or job, or sweep) begins, n+1 | object store | local folder |
//! |---|---|---|
//! | is there | it becomes current, whoever made it; nothing is unclear any more | `Unknown` until the next start |
//! | is not there | the next create of n+1 decides: it wins, or the one under way does | `Unknown` until the next start |
//! | cannot be read | `Unknown` | `Unknown` until the next start |
//!
//! A store without a log does not leave it at that: on an object store the same commit is made again until its outcome is
//! known, and appends wait meanwhile (the engine's `compact/at_once.rs`).
//!
//! While it is unclear, the files of that job are nobody's to remove: the job must not discard them, no sweep runs. A local
//! version may be there without its folder being synced, so nobody may build on it before a restart.

use super::commit::CommitError;
use super::{Committer, DurableTier, Snapshot};
use crate::manifest::{self, ManifestError};
use crate::objects::ObjectError;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A commit that may have happened, or may still happen.
pub(super) struct Unclear {
    /// The version that it would make.
    pub(super) version: u64,
    pub(super) job_id: u128,
    /// Its data files.
    pub(super) files: Vec<String>,
    /// What the disk or the object store said.
    pub(super) reason: String,
}

impl Unclear {
    pub(super) fn to_error(&self) -> CommitError {
        CommitError::Unknown { version: self.version, reason: self.reason.clone() }
    }
}

impl DurableTier {
    /// Finds out what became of a commit whose outcome is unknown, where that can be. Cheap where there is none.
    ///
    /// # Errors
    /// `Unknown`: it still cannot be told.
    pub fn settle(&self) -> Result<(), CommitError> {
        // who commits right now has settled before it began
        self.inner.committer.try_lock().map_or(Ok(()), |mut committer| self.settle_locked(&mut committer))
    }

    /// Whether an outcome that is unknown can be found out without a start: not on a local folder.
    #[must_use]
    pub fn can_settle(&self) -> bool {
        !self.inner.shared.manifests.stages()
    }

    pub(super) fn settle_locked(&self, committer: &mut Committer) -> Result<(), CommitError> {
        let Some(unclear) = &committer.unclear else { return Ok(()) };
        let shared = &self.inner.shared;
        if !self.can_settle() {
            return Err(unclear.to_error());
        }
        match manifest::read(&*shared.manifests, unclear.version) {
            // another member's: it is followed when this one has what it says
            Ok((found, _)) if self.is_of_another_member(found.epoch) => {
                let gone = committer.unclear.take();
                gone.iter().flat_map(|unclear| &unclear.files).for_each(|path| self.inner.staged.release(path));
                Err(CommitError::StaleEpoch { ours: self.epoch().unwrap_or(0), found: found.epoch })
            }
            Ok((found, crc)) => {
                let snapshot = Snapshot::open(Arc::clone(shared), found, Some(&self.pin()));
                self.publish(committer, Arc::new(snapshot), crc);
                Ok(())
            }
            Err(ManifestError::Objects(ObjectError::NotFound { .. })) => Ok(()),
            Err(error) => {
                tracing::warn!(version = unclear.version, %error, "the outcome of a commit is still unknown");
                Err(unclear.to_error())
            }
        }
    }

    /// A version is the current one now. What was unclear is not any more: its number is taken.
    pub(super) fn publish(&self, committer: &mut Committer, snapshot: Arc<Snapshot>, crc: u32) {
        committer.current_crc32c = crc;
        self.inner.pins.add(&snapshot);
        self.inner.gone.retain(&snapshot.manifest.replaced);
        if let Some(unclear) = committer.unclear.take_if(|unclear| unclear.version <= snapshot.version()) {
            // they are the manifest's, or orphans
            unclear.files.iter().for_each(|path| self.inner.staged.release(path));
        }
        // before anybody is told: what is redacted by this version is shown by none
        snapshot.lower_veil();
        let before = self.inner.current.swap(Arc::clone(&snapshot));
        if !before.same_retired(&snapshot) {
            self.inner.retirements.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Version `version` exists: it becomes the current one (whoever made it). If it cannot be read, it may be ours.
    pub(super) fn catch_up(&self, committer: &mut Committer, unclear: Unclear) -> Result<(), CommitError> {
        match manifest::read(&*self.inner.shared.manifests, unclear.version) {
            Ok((found, _)) if self.is_of_another_member(found.epoch) => {
                Err(CommitError::StaleEpoch { ours: self.epoch().unwrap_or(0), found: found.epoch })
            }
            Ok((found, crc)) => {
                let snapshot = Snapshot::open(Arc::clone(&self.inner.shared), found, Some(&self.pin()));
                self.publish(committer, Arc::new(snapshot), crc);
                Ok(())
            }
            Err(error) => Err(self.unclear(committer, Unclear { reason: error.to_string(), ..unclear })),
        }
    }

    /// Remembers a commit whose outcome is unknown.
    pub(super) fn unclear(&self, committer: &mut Committer, unclear: Unclear) -> CommitError {
        tracing::error!(version = unclear.version, reason = unclear.reason, "the outcome of a commit is unknown");
        let error = unclear.to_error();
        // an earlier one of this version stays as unclear as it was
        let files = committer.unclear.take().map(|earlier| earlier.files).unwrap_or_default();
        committer.unclear = Some(Unclear { files: [files, unclear.files].concat(), ..unclear });
        error
    }
}
