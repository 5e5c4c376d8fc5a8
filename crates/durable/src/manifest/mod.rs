//! Manifests: the numbered objects that make a commit true.
//!
//! Two levels: a version file names everything; file entries of a group that has grown stand in sealed,
//! immutable segments that the version file names. A version is created if it is absent, and never changed; old ones are folded
//! away behind a checkpoint.

pub(crate) mod checkpoint;
mod envelope;
mod files;
mod json;
mod live;
mod model;

pub(crate) use checkpoint::newest_version;
pub use envelope::EnvelopeError;
pub use files::ManifestError;
pub(crate) use files::{
    Put, SEGMENT_FOLDER, maker_of, newest_above, put, read, read_after, read_entries, read_redactions, read_replaced,
    read_skeleton, read_tombstones, seal, version_name, versions,
};
pub(crate) use json::Skeleton;
#[cfg(test)]
pub(crate) use model::NO_MONTH;
pub use model::{
    ChunkMark, Group, GroupKey, LogState, Manifest, Redactions, Replaced, ReplacedFiles, SealedList, SegmentRef,
    Tombstone, Tombstones,
};

#[cfg(test)]
mod tests;
