//! Manifests: the numbered objects that make a commit true.
//!
//! Two levels: a version file names everything; file entries of a group that has grown stand in sealed,
//! immutable segments that the version file names. A version is created if it is absent, and never changed.

mod envelope;
mod files;
mod json;
mod live;
mod model;

pub use envelope::EnvelopeError;
pub use files::ManifestError;
pub(crate) use files::{Put, newest_above, put, read, seal, version_name, versions};
#[cfg(test)]
pub(crate) use model::NO_MONTH;
pub use model::{ChunkMark, Group, GroupKey, LogState, Manifest, Replaced, ReplacedFiles, SegmentRef, Tombstone};

#[cfg(test)]
mod tests;
