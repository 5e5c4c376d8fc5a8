//! Folds old versions of the manifest away: what a store that commits every second would otherwise pile up for years.
//!
//! ```text
//!  versions   1 ... first-1 | first ... current          segments that no version from `first` on names
//!             folded        | kept: 30 days, as_of       are removed with the versions that did
//!                           ^ checkpoint: where the chain begins now, and what its first version was built on
//! ```
//!
//! The checkpoint is created first, then the old versions go in rising order, then the checkpoints before it: a fold that was
//! interrupted is gone on with by the next one. Invariants: the current version is never folded; whatever a kept version names
//! of the manifests stays; a name that a segment had is never given again, so one that the first kept version does not name
//! and that is not younger is named by none.
//!
//! It needs no lock: nobody asks for what it removes but a reader of that very version, who is told that it is gone.

use super::DurableTier;
use crate::manifest::checkpoint::{self, Checkpoint, Mark};
use crate::manifest::{self, ManifestError, Skeleton};
use crate::objects::ObjectError;
use std::collections::{BTreeMap, HashSet};
use strandline_event::{LogIndex, LogKey, Micros};

/// Versions between two checkpoints where none is folded: so many names a start has to look at.
const MARK_EVERY: u64 = 1000;
/// Versions that are removed at once.
const REMOVED_AT_ONCE: u64 = 1000;

/// What a fold did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Folded {
    /// Versions that are gone now.
    pub versions: u64,
    /// Segments that are gone now.
    pub segments: u64,
}

/// Where logs stood in a version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PastVersion {
    /// Its number.
    pub version: u64,
    /// When it was committed.
    pub committed_at: Micros,
    /// Of each log: everything up to this index was in data files, and the moment of the last event of it.
    pub logs: BTreeMap<LogKey, (LogIndex, Micros)>,
}

impl DurableTier {
    /// Folds versions away that were made before `before`. Does nothing under an epoch that is over, and after a commit of
    /// unknown outcome.
    ///
    /// # Errors
    /// A version that should be there cannot be read; the disk or the object store. The next call goes on.
    pub fn fold(&self, before: Micros) -> Result<Folded, ManifestError> {
        {
            let mut committer = self.inner.committer.lock();
            let unknown = self.settle_locked(&mut committer).is_err() || committer.unclear.is_some();
            // an owner that was replaced may know the newest version by now
            let ours = self.epoch() == Some(self.pin().epoch());
            if !ours || unknown || !self.is_newest()? {
                return Ok(Folded::default());
            }
        }
        let (manifests, current) = (&*self.inner.shared.manifests, self.pin().version());
        let marks = checkpoint::marks(manifests)?;
        let begin = match marks.last() {
            Some(mark) => mark.first,
            None => manifest::versions(manifests)?.first().copied().unwrap_or(current),
        };
        let first = self.first_kept(begin, current, before)?;
        let known = marks.last().map_or(0, |mark| mark.version);
        let mut folded = Folded::default();
        if first > begin || current >= known + MARK_EVERY {
            if marks.is_empty() && first > begin {
                // so that what is left of an interrupted fold is known
                self.put_checkpoint(current, begin)?;
            }
            self.put_checkpoint(current, first)?;
        }
        let marks = checkpoint::marks(manifests)?;
        if let Some((newest, older)) = marks.split_last()
            && let Some(oldest) = older.iter().map(|mark| mark.first).min()
        {
            folded.versions = self.remove_versions(oldest, newest.first)?;
            folded.segments = self.remove_segments(newest.first)?;
            manifests.delete_all(&older.iter().copied().map(Mark::path).collect::<Vec<_>>())?;
        }
        self.sweep_asides(before)?;
        Ok(folded)
    }

    /// Where logs stood in a version; `None`: it was folded away, or there never was one of this number.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn past_version(&self, version: u64) -> Result<Option<PastVersion>, ManifestError> {
        let current = self.pin();
        if version == current.version() {
            return Ok(Some(past(&current.manifest)));
        }
        if version > current.version() {
            return Ok(None);
        }
        match self.skeleton(version) {
            Ok(skeleton) => Ok(Some(past(&skeleton.manifest))),
            Err(ManifestError::Objects(ObjectError::NotFound { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where logs stood in the newest version that was committed at or before a moment; `Err` in it: all that are kept are younger, the
    /// oldest of them is of this moment.
    ///
    /// # Errors
    /// A version that should be there cannot be read.
    pub fn version_at(&self, at: Micros) -> Result<Result<PastVersion, Micros>, ManifestError> {
        match self.look_for(at) {
            // a fold went on meanwhile: it is an hour till the next one
            Err(ManifestError::Objects(ObjectError::NotFound { .. })) => self.look_for(at),
            found => found,
        }
    }

    fn look_for(&self, at: Micros) -> Result<Result<PastVersion, Micros>, ManifestError> {
        let current = self.pin();
        if current.committed_at() <= at {
            return Ok(Ok(past(current.manifest())));
        }
        let marks = checkpoint::marks(&*self.shared().manifests)?;
        let (mut low, mut high) = (marks.last().map_or(1, |mark| mark.first), current.version());
        let mut found = self.skeleton(low)?.manifest;
        if found.committed_at > at {
            return Ok(Err(found.committed_at));
        }
        // moments of versions never fall
        while high - low > 1 {
            let middle = low.midpoint(high);
            let looked = self.skeleton(middle)?.manifest;
            if looked.committed_at <= at {
                (low, found) = (middle, looked);
            } else {
                high = middle;
            }
        }
        Ok(Ok(past(&found)))
    }

    /// The first version that was not made before a moment, by bisection: moments of versions never fall. At most the current one.
    fn first_kept(&self, begin: u64, current: u64, before: Micros) -> Result<u64, ManifestError> {
        let (mut low, mut high) = (begin, current);
        while low < high {
            let middle = low.midpoint(high);
            match self.skeleton(middle)?.manifest.committed_at < before {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(low)
    }

    fn put_checkpoint(&self, version: u64, first: u64) -> Result<(), ManifestError> {
        let previous_crc32c = self.skeleton(first)?.manifest.previous_crc32c;
        let at = self.pin().committed_at();
        Ok(checkpoint::put(&*self.inner.shared.manifests, &Checkpoint { version, first, previous_crc32c, at })?)
    }

    pub(super) fn skeleton(&self, version: u64) -> Result<Skeleton, ManifestError> {
        Ok(manifest::read_skeleton(&*self.inner.shared.manifests, version)?.0)
    }

    /// Removes versions in `[from, to)`, rising, so that what is left has no gap.
    fn remove_versions(&self, from: u64, to: u64) -> Result<u64, ObjectError> {
        let mut next = from;
        while next < to {
            let end = to.min(next + REMOVED_AT_ONCE);
            let names: Vec<String> = (next..end).map(manifest::version_name).collect();
            self.inner.shared.manifests.delete_all(&names)?;
            next = end;
        }
        Ok(to.saturating_sub(from))
    }

    /// Removes segments that only versions before `first` named, or commits that failed then.
    fn remove_segments(&self, first: u64) -> Result<u64, ManifestError> {
        let (manifests, kept) = (&*self.inner.shared.manifests, self.skeleton(first)?);
        let named: HashSet<&str> = kept.segment_paths().collect();
        let old = |path: &str| manifest::maker_of(path).is_some_and(|maker| maker <= first) && !named.contains(path);
        let listed = manifests.list(manifest::SEGMENT_FOLDER)?;
        let gone: Vec<String> = listed.into_iter().map(|info| info.path).filter(|path| old(path)).collect();
        manifests.delete_all(&gone)?;
        Ok(gone.len() as u64)
    }

    /// What a crash in the middle of a creation has left beside the versions.
    fn sweep_asides(&self, before: Micros) -> Result<(), ObjectError> {
        let manifests = &*self.inner.shared.manifests;
        if !manifests.stages() {
            return Ok(());
        }
        let mut old = Vec::new();
        for folder in ["", manifest::SEGMENT_FOLDER, checkpoint::FOLDER] {
            let asides = manifests.list_range(folder, ".aside-", ".aside.")?;
            old.extend(asides.into_iter().filter(|info| info.modified < before).map(|info| info.path));
        }
        manifests.delete_all(&old)
    }
}

pub(super) fn past(manifest: &manifest::Manifest) -> PastVersion {
    let logs =
        manifest.logs.iter().map(|(log, state)| (log.clone(), (state.compacted_through, state.last_ingested_at)));
    PastVersion { version: manifest.version, committed_at: manifest.committed_at, logs: logs.collect() }
}
