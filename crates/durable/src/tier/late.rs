//! A claim for which there was no room: opening a store is a commit, and the disk may be full. A store without a log is read then
//! all the same, and whatever wants to commit makes the claim first, once there is room.
//!
//! Not where there is a log: its owner acknowledges without a commit, and nobody would know of it. Not at a birth: there is nothing
//! to read. Not on an object store, where no disk is full.
//!
//! Invariants: before the claim nothing is written, renamed or removed; it stands right upon the version that is shown, so who
//! has committed meanwhile is found out by its number, and nothing of theirs is built on.

use super::claiming::raised;
use super::commit::CommitError;
use super::member::Claim;
use super::settle::Unclear;
use super::{Committer, DurableTier, OpenOptions, Shared, Snapshot, names};
use crate::manifest::{self, Put};
use crate::objects::NotCreated;
use std::sync::Arc;
use strandline_deql::StoreConfig;
use strandline_event::Micros;

/// What the claim is made of.
pub(super) struct LateClaim {
    pub(super) config: StoreConfig,
    pub(super) options: OpenOptions,
}

impl LateClaim {
    /// Whether a store that was born may do without its claim for now.
    pub(super) fn is_for(shared: &Shared, config: &StoreConfig) -> bool {
        !config.wal.enabled && shared.manifests.stages()
    }
}

impl DurableTier {
    /// Whether the store was opened without a claim because the disk is full, and has none yet: it is read, and takes nothing.
    #[must_use]
    pub fn waits_for_room(&self) -> bool {
        self.inner.claim.load().late
    }

    /// Makes the claim for which there was no room when the store was opened; with it the statement that it was opened with. Cheap
    /// where there is nothing to do. Blocks.
    ///
    /// # Errors
    /// A full disk: there is still no room. `StaleEpoch`: somebody else has committed meanwhile; this one never will.
    pub fn claim_late(&self, now: Micros) -> Result<(), CommitError> {
        if !self.waits_for_room() {
            return Ok(());
        }
        let mut committer = self.inner.committer.lock();
        self.settle_locked(&mut committer)?;
        self.claim_late_locked(&mut committer, now)?;
        drop(committer);
        self.follow();
        Ok(())
    }

    /// [`claim_late`](Self::claim_late) for who commits right now. What was unclear is settled.
    pub(super) fn claim_late_locked(&self, committer: &mut Committer, now: Micros) -> Result<(), CommitError> {
        let Some(late) = &committer.late else { return Ok(()) };
        let (shared, current) = (&self.inner.shared, self.pin());
        let options = OpenOptions { now: self.moment(now, &current), ..late.options.clone() };
        let mut next = raised(current.manifest().clone(), committer.current_crc32c, &late.config, &options);
        next.config_text.clone_from(&options.config_text);
        let (version, job_id, epoch) = (next.version, next.job_id, next.epoch);
        let snapshot = Arc::new(Snapshot::open(Arc::clone(shared), next, Some(&current)));
        match manifest::put(&*shared.manifests, snapshot.manifest()) {
            Ok(Put::Ours(crc)) => {
                committer.late = None;
                self.publish(committer, Arc::clone(&snapshot), crc);
                let writer = Arc::from(names::writer_name(&options.writer, epoch));
                self.inner.claim.store(Arc::new(Claim { epoch: Some(epoch), writer, member: false, late: false }));
                tracing::info!(store = snapshot.store_name(), epoch, "there is room again: the store is claimed now");
                if let Err(error) = self.finish_names(&snapshot) {
                    tracing::warn!(store = snapshot.store_name(), %error, "names of files are finished by the next start");
                }
                Ok(())
            }
            Ok(Put::Others) => {
                let (found, _) = manifest::read_skeleton(&*shared.manifests, version)?;
                Err(CommitError::StaleEpoch { ours: self.epoch().unwrap_or(0), found: found.manifest.epoch })
            }
            Err(NotCreated::No(error)) => Err(error.into()),
            Err(NotCreated::Unclear(error)) => {
                let unclear = Unclear { version, job_id, files: Vec::new(), reason: error.to_string() };
                Err(self.unclear(committer, unclear))
            }
        }
    }
}
