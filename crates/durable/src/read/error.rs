//! Why a read of data files failed: always with the file's name.

use super::checked::CheckedFile;
use crate::objects::ObjectError;
use std::io;
use strandline_event::ErrorKind;

/// A failed read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk or the object store.
    #[error("data file: {0}")]
    Objects(#[source] ObjectError),
    /// The bytes are not what was written.
    #[error("data file `{path}` is damaged: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
}

/// That a data file is gone is damage: the manifest names it. Or that it ends too early: the manifest knows its length.
impl From<ObjectError> for ReadError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::NotFound { path } => Self::damaged(&path, "the manifest names it, but it is not there"),
            ObjectError::Io { path, source } if source.kind() == io::ErrorKind::UnexpectedEof => {
                Self::damaged(&path, "it ends before the manifest says")
            }
            error => Self::Objects(error),
        }
    }
}

impl ReadError {
    pub(crate) fn damaged(path: &str, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.into() }
    }

    /// From a decoder: what the object below it said is told apart from bytes that do not decode.
    pub(crate) fn decode(path: &str, source: &CheckedFile, error: &dyn std::fmt::Display) -> Self {
        match source.take_failure() {
            Some(failure) => ObjectError::from_io(path, failure).into(),
            None => Self::damaged(path, error.to_string()),
        }
    }

    /// What it means to the one who called.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Objects(error) => error.kind(),
            Self::Damaged { .. } => ErrorKind::Integrity,
        }
    }
}
