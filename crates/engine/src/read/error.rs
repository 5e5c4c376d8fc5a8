//! Why a read failed. A read either gives everything that it claims to give, or one of these.

use super::source::Doubled;
use crate::append::SettledError;
use crate::subjects::SubjectFileError;
use strandline_event::stamped::PayloadError;
use strandline_event::{ErrorKind, LogIndex, LogKey, Micros};

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream has a hole and `read.missing_seq.policy` is `error`.
    #[error(
        "stream `{stream_id}` of `{stream_type}` has a hole: seq {missing} is missing; run `strandline verify`, or read \
         with read.missing_seq.policy = 'warn'"
    )]
    Missing {
        /// Stream type.
        stream_type: String,
        /// Stream.
        stream_id: String,
        /// The missing ranges in words.
        missing: String,
        /// The missing ranges, inclusive.
        ranges: Vec<super::verdict::SeqRange>,
    },
    /// Two rows with one key and different content.
    #[error("{0}")]
    Doubled(Doubled),
    /// The log cannot be read.
    #[error("the log of `{log}`: {error}")]
    Log {
        /// Which log.
        log: LogKey,
        /// What its reader says.
        error: strandline_wal::ReadError,
    },
    /// A frame whose checksum is good holds no batch.
    #[error("the log of `{log}`, index {index} (segment {segment} at offset {offset}): {error}")]
    Payload {
        /// Which log.
        log: LogKey,
        /// The entry.
        index: LogIndex,
        /// Its segment.
        segment: u64,
        /// Offset of its frame in bytes.
        offset: u64,
        /// What is wrong.
        error: PayloadError,
    },
    /// The log is damaged, and what was asked for may lie behind the damage.
    #[error("the log of `{log}` is damaged: {damage}; what lies behind it cannot be read. Run `strandline verify`")]
    Damaged {
        /// Which log.
        log: LogKey,
        /// Segment, offset and what is wrong.
        damage: std::sync::Arc<str>,
    },
    /// A data file cannot be read.
    #[error(transparent)]
    Files(#[from] strandline_durable::ReadError),
    /// There is no such version of the manifest.
    #[error(
        "manifest version {version} is not there: it was folded away (versions are kept for 30 days), or it has not been made \
         yet; the newest one is {newest}"
    )]
    NoVersion {
        /// The version.
        version: u64,
        /// The newest one.
        newest: u64,
    },
    /// All versions of the manifest that are kept are younger.
    #[error(
        "no version of the manifest that was committed at or before {at} is there: the store is younger, or it was folded away \
         (versions are kept for 30 days); the oldest one that is kept was committed at {oldest}"
    )]
    NoVersionAt {
        /// The moment that was asked for.
        at: Micros,
        /// That of the oldest version.
        oldest: Micros,
    },
    /// An older version of the manifest cannot be read.
    #[error(transparent)]
    Version(strandline_durable::ManifestError),
    /// Heads or commands on disk cannot be read.
    #[error(transparent)]
    Settled(#[from] SettledError),
    /// What is sealed cannot be opened now, or shown as erased.
    #[error(transparent)]
    Subjects(#[from] SubjectFileError),
}

impl ReadError {
    /// What it means to the one who asked.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } => ErrorKind::MissingSeq,
            Self::Doubled(_) | Self::Payload { .. } | Self::Damaged { .. } => ErrorKind::Integrity,
            Self::Log { error, .. } => match error {
                strandline_wal::ReadError::Corrupt { .. } => ErrorKind::Integrity,
                strandline_wal::ReadError::Trimmed { .. } => ErrorKind::Unavailable,
                strandline_wal::ReadError::Io(_) => ErrorKind::Io,
            },
            Self::NoVersion { .. } | Self::NoVersionAt { .. } => ErrorKind::NotFound,
            Self::Files(error) => error.kind(),
            Self::Version(error) => error.kind(),
            Self::Settled(_) => ErrorKind::Io,
            Self::Subjects(error) => error.kind(),
        }
    }

    /// Whether the log was trimmed under the view: a new view has what this one misses.
    pub(crate) fn trim_raced(&self) -> bool {
        matches!(self, Self::Log { error: strandline_wal::ReadError::Trimmed { .. }, .. })
    }
}

impl From<Doubled> for ReadError {
    fn from(doubled: Doubled) -> Self {
        Self::Doubled(doubled)
    }
}
