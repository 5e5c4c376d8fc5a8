//! Checkpoints of the chain of versions: where it begins, and a place near its end from which the newest one is soon found.
//!
//! A version file names everything by itself; the ones before it only tell what was. A checkpoint says which of them are still
//! kept, and what the first of these was built on, so that the chain can be followed to its begin. Its name says all that a
//! start needs; its content is what `verify` compares. It is created before anything is removed, and never changed.

use super::envelope::{Content, EnvelopeError, unwrap, wrap};
use super::files::{ManifestError, newest_above};
use crate::objects::{NotCreated, ObjectError, Objects, create};
use crate::wire;
use serde::{Deserialize, Serialize};
use strandline_event::Micros;

pub(crate) const FOLDER: &str = "checkpoints";

/// What a checkpoint says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// A version that existed when it was written: the newest one is not below it.
    pub(crate) version: u64,
    /// The first version that is kept.
    pub(crate) first: u64,
    /// CRC32C of the version file before `first`; none where that is the first of all.
    pub(crate) previous_crc32c: Option<u32>,
    /// When it was written.
    #[serde(with = "wire")]
    pub(crate) at: Micros,
}

/// What the name of a checkpoint says. The newest one is the largest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Mark {
    pub(crate) version: u64,
    pub(crate) first: u64,
}

impl Mark {
    pub(crate) fn path(self) -> String {
        format!("{FOLDER}/c{:020}-{:020}.json.zst", self.version, self.first)
    }

    fn of(path: &str) -> Option<Self> {
        let name = path.strip_prefix(FOLDER)?.strip_prefix("/c")?.strip_suffix(".json.zst")?;
        let (version, first) = name.split_once('-')?;
        let number = |text: &str| (text.len() == 20).then(|| text.parse().ok()).flatten();
        Some(Self { version: number(version)?, first: number(first)? })
    }
}

impl Checkpoint {
    pub(crate) const fn mark(&self) -> Mark {
        Mark { version: self.version, first: self.first }
    }
}

/// The checkpoints that are there, oldest first: one, or some more where a fold was interrupted.
pub(crate) fn marks(objects: &dyn Objects) -> Result<Vec<Mark>, ObjectError> {
    let mut marks: Vec<Mark> = objects.list(FOLDER)?.iter().filter_map(|info| Mark::of(&info.path)).collect();
    marks.sort_unstable();
    Ok(marks)
}

/// A checkpoint's content.
pub(crate) fn read(objects: &dyn Objects, mark: Mark) -> Result<Checkpoint, ManifestError> {
    let path = mark.path();
    let bytes = objects.get(&path)?;
    let wrap = |source| ManifestError::Content { path: path.clone(), source };
    let json = unwrap(Content::Checkpoint, &bytes).map_err(wrap)?;
    let found: Checkpoint = serde_json::from_slice(&json).map_err(|e| wrap(EnvelopeError::Json(e.to_string())))?;
    if found.mark() != mark {
        return Err(wrap(EnvelopeError::Damaged("it is another checkpoint than its name says")));
    }
    Ok(found)
}

/// Creates a checkpoint. One of this name says the same.
pub(crate) fn put(objects: &dyn Objects, checkpoint: &Checkpoint) -> Result<(), ObjectError> {
    let path = checkpoint.mark().path();
    let json = serde_json::to_vec(checkpoint).map_err(|e| ObjectError::from_io(&path, e.into()))?;
    let bytes = wrap(Content::Checkpoint, &json).map_err(|e| ObjectError::from_io(&path, e))?;
    create(objects, &path, &bytes).map_err(NotCreated::into_error)?;
    Ok(())
}

/// The newest version; `None`: there is no store. What lies before the newest checkpoint is not looked at.
pub(crate) fn newest_version(objects: &dyn Objects) -> Result<Option<u64>, ManifestError> {
    let mark = marks(objects)?.pop();
    let newest = newest_above(objects, mark.map_or(0, |mark| mark.version.saturating_sub(1)))?;
    match (mark, newest) {
        (Some(mark), None) => Err(ManifestError::Gone { version: mark.version }),
        (_, newest) => Ok(newest),
    }
}
