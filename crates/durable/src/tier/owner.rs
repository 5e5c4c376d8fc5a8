//! Whether another owner came after this one, and where an earlier one left off.
//!
//! A commit finds out by itself; an owner that acknowledges in its log may commit seldom, and must not go on for long when it was replaced.

use super::DurableTier;
use super::fold::{PastVersion, past};
use crate::keyring::KeyLook;
use crate::manifest::{self, Manifest, ManifestError, Skeleton, checkpoint};
use crate::objects::ObjectError;

/// Versions that are looked at one after the other: more come with the next look.
const LOOKED_AT_MAX: u64 = 16;

impl DurableTier {
    /// The epoch of an owner that came after this one; `None`: there is none. It claims the version behind the newest one, so that a look is
    /// one request, as a rule for an object that is not there. `folded`: versions may have been folded away since this one knew the
    /// newest; it lists them then. Blocks.
    ///
    /// # Errors
    /// The disk or the object store; a version cannot be read, or is another store's, of which no owner has replaced this one.
    pub fn newer_owner(&self, folded: bool) -> Result<Option<u64>, ManifestError> {
        let Some(ours) = self.epoch() else { return Ok(None) };
        let current = self.pin();
        if current.epoch() > ours {
            return Ok(Some(current.epoch()));
        }
        let found = match folded {
            true => self.newest_of_all(current.version()),
            false => self.next_of_another(current.version(), ours),
        };
        // it may be sealed by a key that is newer than those that are known here
        found.map(|epoch| epoch.filter(|epoch| *epoch > ours)).inspect_err(|_| self.look_at_keys(KeyLook::All))
    }

    fn newest_of_all(&self, known: u64) -> Result<Option<u64>, ManifestError> {
        match manifest::newest_above(&*self.shared().manifests, known)? {
            Some(newest) => Ok(Some(self.skeleton_of_this(newest)?.manifest.epoch)),
            None => Ok(None),
        }
    }

    fn next_of_another(&self, known: u64, ours: u64) -> Result<Option<u64>, ManifestError> {
        for version in known + 1..=known + LOOKED_AT_MAX {
            match self.skeleton_of_this(version) {
                Ok(found) if found.manifest.epoch != ours => return Ok(Some(found.manifest.epoch)),
                // of a commit that is just being made, or whose answer was lost
                Ok(_) => {}
                Err(ManifestError::Objects(ObjectError::NotFound { .. })) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// A version, if it is this store's: on a disk that is not mounted any more another store's may stand in its place.
    fn skeleton_of_this(&self, version: u64) -> Result<Skeleton, ManifestError> {
        let found = self.skeleton(version)?;
        self.refuse_other_store(&found.manifest)?;
        Ok(found)
    }

    pub(super) fn refuse_other_store(&self, found: &Manifest) -> Result<(), ManifestError> {
        match found.store_id == self.pin().store_id() {
            true => Ok(()),
            false => Err(ManifestError::OtherStore { version: found.version }),
        }
    }

    /// Where logs stood in the last version that an owner of this epoch, or an earlier one, made; `None`: it was folded away.
    ///
    /// # Errors
    /// A version that should be there cannot be read.
    pub fn last_version_of(&self, epoch: u64) -> Result<Option<PastVersion>, ManifestError> {
        let current = self.pin();
        if current.epoch() <= epoch {
            return Ok(Some(past(current.manifest())));
        }
        let marks = checkpoint::marks(&*self.shared().manifests)?;
        let (mut low, mut high) = (marks.last().map_or(1, |mark| mark.first), current.version());
        let first = match self.skeleton(low) {
            Ok(first) => first,
            Err(ManifestError::Objects(ObjectError::NotFound { .. })) => return Ok(None),
            Err(error) => return Err(error),
        };
        if first.manifest.epoch > epoch {
            return Ok(None);
        }
        // epochs rise with versions
        while high - low > 1 {
            let middle = low.midpoint(high);
            match self.skeleton(middle)?.manifest.epoch <= epoch {
                true => low = middle,
                false => high = middle,
            }
        }
        Ok(Some(past(&self.skeleton(low)?.manifest)))
    }
}
