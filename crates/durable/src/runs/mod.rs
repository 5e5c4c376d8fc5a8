//! Runs: sorted sidecars of heads, commands and chunk marks that compaction writes, of seqs that retention removed, and
//! the lookups in them.
//!
//! A run is immutable and belongs to one log and one kind. A lookup asks the newest run first. Small runs are
//! merged at commit, so that their number grows with the logarithm of what they hold. Format: `FORMAT.md`.

mod filter;
mod map;
mod merge;
mod ranges;
mod record;
mod run;
mod slot;
mod write;

pub(crate) use merge::{merged, tiers_to_merge};
pub(crate) use ranges::{Ranges, coalesced, subtracted, union};
pub use record::{CommandRecord, HeadRecord, MIXED_TENANTS, Record, RetiredRange, RunKind, tenant_hash};
pub(crate) use run::Run;
pub use slot::BrokenRun;
pub(crate) use slot::{LogRuns, Slot, find, look_ahead, look_ahead_at_records};
pub(crate) use write::write_run;

use crate::wire;
use serde::{Deserialize, Serialize};

/// A run as a manifest names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunRef {
    /// Name relative to the root.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// CRC32C of everything before the trailer.
    pub crc32c: u32,
    /// The job whose commit made it.
    #[serde(with = "wire")]
    pub job_id: u128,
}

#[cfg(test)]
mod tests;
