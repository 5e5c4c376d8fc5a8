//! The durable tier: Parquet files, and the manifests that make them true.
//!
//! A compaction job hands sorted rows in ([`DurableTier::write_files`]), commits them ([`DurableTier::commit`]), and readers pin a
//! version ([`DurableTier::pin`]) and read it ([`Snapshot`]). This crate must not know the log, the hot tier, actors, HTTP,
//! the wall clock or randomness: moments and random bits are arguments. Everything here blocks.
//!
//! Bytes on disk: `FORMAT.md` beside this crate; what ten years come to: `SCALE.md`.

mod chunks;
mod columns;
mod delta;
mod entry;
mod gather;
pub mod ipc;
mod key_metadata;
mod keyring;
mod layout;
mod manifest;
mod merge;
pub mod objects;
mod partition;
mod read;
mod redaction;
mod rows;
mod runs;
mod schema;
mod sort;
#[cfg(test)]
mod testing;
mod tier;
mod verify;
mod wire;
mod write;

pub use columns::SeqTooLarge;
pub use delta::{DeltaNumbers, DeltaReport, check_delta_log, verify_delta_log};
pub use entry::{Bounds, FileEntry, FullUnder, TailSums};
pub use key_metadata::key_metadata;
pub use keyring::{KeyLook, Provider, Rotated, rotate_keyring, sealed_places};
pub use layout::{Layout, LayoutError};
pub use manifest::{
    ChunkMark, EnvelopeError, Group, GroupKey, LogState, Manifest, ManifestError, Redactions, Replaced, ReplacedFiles,
    SealedList, SegmentRef, Tombstone, Tombstones,
};
pub use merge::{
    Expected, HelpAnswer, HelpAsk, HelpError, MergeError, MergeLimits, MergeOrder, MergeReport, MergeSpec, Merged,
    WindowOrder, WindowReport,
};
pub use objects::{ObjectError, Objects, SharedObjects};
pub use partition::{PartitionKey, Partitioner};
pub use read::{EndAt, Place, ReadError, ReadStats, RowBatch, RowFilter, RowSet, Scan, StreamQuery};
pub use redaction::{Redaction, Veil, Veiled};
pub use rows::Rows;
pub use runs::{
    BrokenRun, CommandRecord, HeadRecord, MIXED_TENANTS, Record, RetiredRange, RunKind, RunRef, tenant_hash,
};
pub use sort::{RowRef, Sorted, Sorter, StreamSeen, compare, sort_rows};
pub use tier::{
    CACHE_BYTES_DEFAULT, CommandKey, Commit, CommitError, DIGEST_UNKNOWN, DeleteMode, DurableTier, FilesAway, Folded,
    FollowError, FollowedOthers, LogRecords, ManifestSummary, OpenError, OpenOptions, PastVersion, RebuildError,
    Rebuilt, Redact, Replacement, Restore, Restored, RetireError, Retired, Retirement, Snapshot, Update,
};
pub use verify::{Finding, ReplacedReport, verify_file, verify_manifests, verify_replaced};
pub use write::{JobSpec, OpenFiles, WriteError};
