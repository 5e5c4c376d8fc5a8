//! The second level of compaction: small files of a partition become few of `compaction.target_file_mb`.
//!
//! ```text
//!  live files ─> choose (policy, a partition) ─> MergePlan ─> run_merge ─> commit: the new files are live, the old ones replaced
//!                                                             open, merge, write aside, commit
//! ```
//!
//! A file that holds the text of a redacted event is rewritten by itself, whatever its size (`store.files_to_rewrite`).
//!
//! Where several nodes compact, another one may do the merging (`merge_for_another`); who has planned it commits it (`commit_merged`).
//!
//! A merge moves no watermark, changes no head, and no reader notices it: one that pinned an older version goes on with the old
//! files. Of two merges of one file the second finds its input gone and leaves orphans only.

mod job;
mod plan;
mod policy;

pub use job::{MergeOutcome, commit_merged, merge_for_another, run_merge};
pub use plan::{MergePlan, Partition, plan_following, plan_merge, plan_merges};
