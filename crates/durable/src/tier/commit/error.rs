//! Why a commit does not happen.

use crate::manifest::ManifestError;
use crate::objects::ObjectError;
use crate::runs::BrokenRun;
use strandline_event::{ErrorKind, LogIndex, LogKey, Seq};

/// Why a commit did not happen (or, for `Unknown`, may have happened).
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Another owner has claimed the store.
    #[error("epoch {ours} is over: the store is owned under epoch {found}")]
    StaleEpoch {
        /// Ours.
        ours: u64,
        /// The newest.
        found: u64,
    },
    /// The tier was opened to read only.
    #[error("the store was opened to read only")]
    ReadOnly,
    /// The range does not begin at the watermark.
    #[error("the job begins after index {found}, but the watermark is {expected}")]
    Watermark {
        /// The log's watermark.
        expected: LogIndex,
        /// The job's begin.
        found: LogIndex,
    },
    /// It is unknown whether the version is on stable storage. On an object store the next commit finds out; on a local
    /// folder nothing more is committed until the store is opened again.
    #[error(
        "whether manifest version {version} is on stable storage is unknown ({reason}); on an object store the next run finds \
         out, on a local folder start the node again"
    )]
    Unknown {
        /// The version.
        version: u64,
        /// What the disk or the object store said.
        reason: String,
    },
    /// The disk or the object store; nothing happened.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// A manifest could not be read or written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A run that the commit needs cannot be read.
    #[error(transparent)]
    BrokenRun(#[from] BrokenRun),
    /// An input of the job is not live any more: another job was faster.
    #[error("data file `{path}` is not live any more: another job replaced or removed it; plan the job anew")]
    NotLive {
        /// The input.
        path: String,
    },
    /// A file that is to be brought back is under no tombstone any more.
    #[error(
        "data file `{path}` is under no tombstone any more: its grace period is over, or it was brought back already"
    )]
    NotBuried {
        /// The file.
        path: String,
    },
    /// A file of another log.
    #[error("data file `{path}` does not belong to the log of `{log}`")]
    OtherLog {
        /// The file.
        path: String,
        /// The job's log.
        log: LogKey,
    },
    /// The new files do not hold the rows of the old ones.
    #[error("{removed} rows were to be replaced by {added} and {doubles} doubles: nothing was replaced")]
    RowsDiffer {
        /// Rows of the files that go.
        removed: u64,
        /// Rows of the new files.
        added: u64,
        /// Rows that were there twice.
        doubles: u64,
    },
    /// The job holds events of a stream at or below its head: they are in data files already.
    #[error("the job of `{log}` holds seq {first} of stream {stream:032x}, whose head is {head} already")]
    SeqBehind {
        /// The log.
        log: LogKey,
        /// Hash of the stream.
        stream: u128,
        /// Its head.
        head: Seq,
        /// The job's first seq of it.
        first: Seq,
    },
}

impl CommitError {
    /// What it means to the one who called.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::StaleEpoch { .. } | Self::Unknown { .. } | Self::NotLive { .. } | Self::NotBuried { .. } => {
                ErrorKind::Unavailable
            }
            Self::ReadOnly => ErrorKind::NotSupported,
            Self::Watermark { .. }
            | Self::BrokenRun(_)
            | Self::SeqBehind { .. }
            | Self::OtherLog { .. }
            | Self::RowsDiffer { .. } => ErrorKind::Integrity,
            Self::Objects(error) => error.kind(),
            Self::Manifest(error) => error.kind(),
        }
    }
}
