//! Compaction: moves what is committed in a log to data files, once; and makes few files of many (see `merge`).
//!
//! ```text
//!  due (policy) ─> plan: (watermark, through] ─> run_job ─> commit ─> driver.compacted, store.after_commit ─> trim
//!                                               select, sort, write aside, commit
//! ```
//!
//! A job covers one contiguous range of one log and begins at its watermark; the manifest refuses any other. So a job that
//! is run again after a crash either finds nothing left to do or does it anew, and what it left behind is nobody's file.
//! The log is trimmed only after the commit. It knows no schedule, no thread, no actor, and does not sleep: it tells
//! whoever runs it (`steps`) when a bounded part of the work is done, and `pace` says how long to pause then.
//!
//! Where several nodes compact, another one may write the files of a job (`write_for_another`); who has planned it commits it (`commit_window`).
//!
//! A store without a log has no jobs: each group of appends goes the same way (sort, write aside, commit) at once.

mod at_once;
mod error;
mod job;
mod merge;
mod output;
mod pace;
mod plan;
mod policy;
mod progress;
mod steps;

pub use at_once::{commit_groups, commit_groups_patiently};
pub use error::CompactError;
pub(crate) use job::rescue;
pub use job::{JobOutcome, commit_window, run_job, write_for_another};
pub use merge::{
    MergeOutcome, MergePlan, Partition, commit_merged, merge_for_another, plan_following, plan_merge, plan_merges,
    run_merge,
};
pub use pace::{Pacer, Share};
pub use plan::{JobLimits, Plan, TrimRule, due, plan, trim_rule};
pub(crate) use plan::{bytes_above, segments_above, waiting_events};
pub use policy::{NotDurable, Trigger, is_due};
pub use progress::{Phase, Progress};
pub use steps::{NoSteps, Step, Steps, StopAt, Stopped};
