//! The tier on a node of a cluster: it follows what others commit, and commits itself only while it holds a claim.
//!
//! ```text
//!  open_member (born if it is not there, no claim) -> follow: newer versions that this node is ready for become current
//!                                                       -> claim: one commit right upon the newest -> commits -> give_up_claim
//! ```
//!
//! Whether a version may become current is the caller's word (`ready`): it must not show files of what the node's own logs do not hold
//! yet. Invariant: a claim stands upon a version that was followed, so nothing of another epoch is ever shown unasked; who committed last
//! under an older epoch is refused with `StaleEpoch` by the next version's number, as everywhere.

use super::claiming::{birth, raised};
use super::commit::CommitError;
use super::open::{
    Unclaimed, check_store, delta_log, finish_renames, names_there, probe_places, refuse_clear, refuse_leftovers,
    shared as shared_of,
};
use super::{DurableTier, OpenError, OpenOptions, Snapshot, names};
use crate::manifest::{self, ManifestError, Put};
use crate::objects::{NotCreated, ObjectError, Objects, SharedObjects};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use strandline_deql::StoreConfig;
use strandline_event::Micros;

/// Versions that are made at once by others before a birth or a claim gives up.
const TRIES: u32 = 16;

/// Who commits here.
pub(super) struct Claim {
    /// The epoch under which this handle commits; `None`: it commits nothing.
    pub(super) epoch: Option<u64>,
    /// `{writer}` in file names.
    pub(super) writer: Arc<str>,
    /// It may come and go: the store is shared by the nodes of a cluster.
    pub(super) member: bool,
    /// There was no room for it when the store was opened.
    pub(super) late: bool,
}

/// What following others came to.
pub enum FollowedOthers {
    /// Nobody has committed since.
    Newest,
    /// This version is the current one now.
    Now(Arc<Snapshot>),
    /// There is a newer version, which this node is not ready for yet.
    NotReady,
}

/// Why others cannot be followed, or nothing be claimed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// A manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The disk or the object store.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// An earlier commit of this node.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Somebody else commits: follow, then try again.
    #[error("another node has committed meanwhile: it is followed first")]
    Moved,
}

impl DurableTier {
    /// Whether there is a store in these places, sealed or not. Makes nothing.
    ///
    /// # Errors
    /// `ManifestsGone`: there is no manifest, but something that a store has made; the objects.
    pub fn is_there(objects: &dyn Objects, manifests: &dyn Objects, config: &StoreConfig) -> Result<bool, OpenError> {
        if manifest::newest_version(manifests)?.is_some() {
            return Ok(true);
        }
        refuse_leftovers(objects, config).map(|()| false)
    }

    /// Opens the tier of a store that the nodes of a cluster share, claiming nothing. A store that is not there is born: of several nodes that
    /// try, one makes it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_member(
        objects: SharedObjects,
        manifests: SharedObjects,
        config: &StoreConfig,
        options: &OpenOptions,
    ) -> Result<Self, OpenError> {
        refuse_clear(&*objects, config)?;
        let shared = shared_of(objects, manifests, config, options.cache_bytes)?;
        probe_places(&shared, config, options.entropy)?;
        let mut tries = 0;
        let (manifest, crc) = loop {
            if let Some(newest) = manifest::newest_version(&*shared.manifests)? {
                break manifest::read(&*shared.manifests, newest)?;
            }
            refuse_leftovers(&*shared.objects, config)?;
            let born = birth(config, options);
            if let Put::Ours(crc) = manifest::put(&*shared.manifests, &born).map_err(NotCreated::into_error)? {
                break (born, crc);
            }
            tries += 1;
            if tries >= TRIES {
                return Err(OpenError::Contended);
            }
        };
        check_store(&manifest, config)?;
        let snapshot = Snapshot::open(Arc::clone(&shared), manifest, None);
        let delta = delta_log(&shared, &snapshot, config);
        Ok(Self::without_claim(shared, snapshot, crc, delta, Unclaimed::Member))
    }

    /// Makes the newest version the current one, if `ready` says so of it. Blocks.
    ///
    /// # Errors
    /// [`FollowError`]; the current version stays.
    pub fn follow_others(&self, ready: &dyn Fn(&Snapshot) -> bool) -> Result<FollowedOthers, FollowError> {
        let mut committer = self.inner.committer.lock();
        let (manifests, current) = (&*self.inner.shared.manifests, self.pin());
        let Some(newest) = manifest::newest_above(manifests, current.version())? else {
            return Ok(FollowedOthers::Newest);
        };
        let (manifest, crc) = manifest::read(manifests, newest)?;
        self.refuse_other_store(&manifest)?;
        let snapshot = Snapshot::open(Arc::clone(&self.inner.shared), manifest, Some(&current));
        // what is redacted waits for no log
        snapshot.lower_veil();
        // a run that was replaced meanwhile: the version that names the next one comes
        let is_new = |broken: &&crate::runs::BrokenRun| !current.names_run(&broken.path);
        if snapshot.broken_runs().any(|broken| is_new(&broken)) || !ready(&snapshot) {
            return Ok(FollowedOthers::NotReady);
        }
        let snapshot = Arc::new(snapshot);
        self.publish(&mut committer, Arc::clone(&snapshot), crc);
        Ok(FollowedOthers::Now(snapshot))
    }

    /// Becomes the one that commits, right upon the current version, as `name`. Blocks.
    ///
    /// # Errors
    /// `Moved`: it is not the newest; [`FollowError`].
    pub fn claim(&self, name: &str, config: &StoreConfig, entropy: u128, now: Micros) -> Result<u64, FollowError> {
        let mut committer = self.inner.committer.lock();
        // what was unclear of an earlier claim: the next version's number decides
        self.settle_locked(&mut committer)?;
        let (manifests, current) = (&*self.inner.shared.manifests, self.pin());
        if manifest::newest_above(manifests, current.version())?.is_some() {
            return Err(FollowError::Moved);
        }
        let options = OpenOptions {
            writer: name.to_owned(),
            config_text: String::new(),
            entropy,
            secret: 0,
            now: self.moment(now, &current),
            cache_bytes: 0,
            scratch: None,
        };
        let next = raised(current.manifest().clone(), committer.current_crc32c, config, &options);
        let epoch = next.epoch;
        let snapshot = Snapshot::open(Arc::clone(&self.inner.shared), next, Some(&current));
        let crc = match manifest::put(manifests, snapshot.manifest()).map_err(NotCreated::into_error)? {
            Put::Ours(crc) => crc,
            Put::Others => return Err(FollowError::Moved),
        };
        let known = self.inner.file_seq.load(Ordering::Relaxed);
        self.inner.file_seq.store(known.max(snapshot.manifest().file_seq), Ordering::Relaxed);
        let snapshot = Arc::new(snapshot);
        self.publish(&mut committer, Arc::clone(&snapshot), crc);
        let writer = Arc::from(names::writer_name(name, epoch));
        self.inner.claim.store(Arc::new(Claim { epoch: Some(epoch), writer, member: true, late: false }));
        drop(committer);
        self.finish_names(&snapshot)?;
        self.follow();
        Ok(epoch)
    }

    /// Gives files the names that a version means, where the owner before this one left that half done.
    pub(super) fn finish_names(&self, snapshot: &Snapshot) -> Result<(), ObjectError> {
        let there = names_there(&*self.inner.shared.objects)?;
        let (warnings, _) = finish_renames(snapshot, &there);
        warnings.iter().for_each(|warning| tracing::warn!(store = snapshot.store_name(), "{warning}"));
        if let Some(Err(error)) = self.inner.delta.as_ref().map(|delta| delta.heal(snapshot, &there)) {
            tracing::warn!(store = snapshot.store_name(), %error, "a file has no link for readers of the Delta log");
        }
        Ok(())
    }

    /// Commits nothing any more: another node does.
    pub fn give_up_claim(&self) {
        let writer = Arc::clone(&self.inner.claim.load().writer);
        self.inner.claim.store(Arc::new(Claim { epoch: None, writer, member: true, late: false }));
    }

    /// Whether the store is shared by the nodes of a cluster.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.inner.claim.load().member
    }

    /// Whether a version of this epoch was made by another node of the cluster.
    pub(super) fn is_of_another_member(&self, epoch: u64) -> bool {
        let claim = self.inner.claim.load();
        claim.member && claim.epoch != Some(epoch)
    }
}

#[cfg(test)]
#[path = "tests_member.rs"]
mod tests;
