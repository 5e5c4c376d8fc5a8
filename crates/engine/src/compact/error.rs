//! Why a compaction job did not happen.

use super::steps::Stopped;
use crate::append::SettledError;
use crate::read::ReadError;
use strandline_event::{ErrorKind, LogKey};

/// Why a job did not happen. Unless the commit's outcome is unknown, nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The store does not compact.
    #[error("compaction.enabled is false in this store: nothing moves to the durable tier; set it to true and restart")]
    Disabled,
    /// No such log.
    #[error("stream type `{0}` has no log")]
    NoLog(LogKey),
    /// The log is damaged.
    #[error("the log of `{log}` is damaged and is not compacted: {damage}")]
    Damaged {
        /// Which log.
        log: LogKey,
        /// Where.
        damage: std::sync::Arc<str>,
    },
    /// Somebody asked the job to end.
    #[error("the job was cancelled")]
    Cancelled,
    /// Another job has moved the watermark since the plan was made.
    #[error("the plan is out of date: make a new one")]
    StalePlan,
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Heads or commands on disk cannot be read.
    #[error(transparent)]
    Settled(#[from] SettledError),
    /// Files cannot be merged.
    #[error(transparent)]
    Merge(strandline_durable::MergeError),
    /// Nothing is begun for another node, or what one wrote for this one is not what was ordered.
    #[error(transparent)]
    Help(#[from] strandline_durable::HelpError),
    /// A data file cannot be written.
    #[error(transparent)]
    Write(strandline_durable::WriteError),
    /// The commit.
    #[error(transparent)]
    Commit(#[from] strandline_durable::CommitError),
    /// A test stopped it.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl CompactError {
    /// What it means to the one who asked.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Disabled => ErrorKind::BadRequest,
            Self::NoLog(_) => ErrorKind::NotFound,
            Self::Damaged { .. } => ErrorKind::Integrity,
            Self::Cancelled | Self::StalePlan | Self::Stopped(_) => ErrorKind::Unavailable,
            Self::Read(error) => error.kind(),
            Self::Settled(error) => error.kind(),
            Self::Merge(error) => error.kind(),
            Self::Help(error) => error.kind(),
            Self::Write(error) => error.kind(),
            Self::Commit(error) => error.kind(),
        }
    }
}
