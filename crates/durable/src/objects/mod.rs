//! Where durable files live: a narrow, blocking view of a folder or of a bucket.
//!
//! Knows nothing of Parquet or manifests. What holds for every implementation: an object that was
//! created is whole and on stable storage when the call returns, a name is never overwritten, and
//! `AlreadyExists` is an answer of its own (it is not "lost": the caller reads what is there).

#[cfg(any(test, feature = "testkit"))]
mod flaky;
mod local;
mod open;
mod store;

#[cfg(any(test, feature = "testkit"))]
pub use flaky::{Fault, FlakyObjects};
pub use local::LocalObjects;
pub use open::{open_location, open_manifests};
pub use store::StoreObjects;

use bytes::Bytes;
use std::io;
use std::path::Path;
use std::sync::Arc;
use strandline_event::{ErrorKind, Micros};

/// Why an operation on an object failed. `path` is relative to the root.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// No object has this name.
    #[error("`{path}` does not exist")]
    NotFound {
        /// Its name.
        path: String,
    },
    /// An object has this name already.
    #[error("`{path}` exists already")]
    AlreadyExists {
        /// Its name.
        path: String,
    },
    /// The disk is full.
    #[error("no room left on the device while writing `{path}`")]
    DiskFull {
        /// What was written.
        path: String,
    },
    /// The operating system or the object store failed.
    #[error("`{path}`: {source}")]
    Io {
        /// The object.
        path: String,
        /// What it said.
        source: io::Error,
    },
    /// A kind of location that this version does not serve.
    #[error("`{location}` is not served by this version; use a local folder, file:// or memory://")]
    NotSupported {
        /// The location.
        location: String,
    },
}

impl ObjectError {
    /// Sorts an error of the operating system.
    #[must_use]
    pub fn from_io(path: &str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::AlreadyExists => Self::AlreadyExists { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { path, source },
        }
    }

    /// What it means to the one who called.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::DiskFull { .. } => ErrorKind::DiskFull,
            Self::NotSupported { .. } => ErrorKind::NotSupported,
            Self::NotFound { .. } | Self::AlreadyExists { .. } | Self::Io { .. } => ErrorKind::Io,
        }
    }
}

/// An open object. It stays readable when its name changes or goes.
pub trait Readable: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether it holds nothing.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Exactly `length` bytes from `start`; an error if the object is shorter.
    fn read_at(&self, start: u64, length: usize) -> io::Result<Bytes>;
}

/// An object in the making. Dropped before `finish`: it never existed, or lies aside under a name that no reader takes.
pub trait Aside: io::Write + Send {
    /// Makes it whole and durable: file and folder are synced.
    fn finish(self: Box<Self>) -> Result<(), ObjectError>;
}

/// What a listing says of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectInfo {
    /// Name relative to the root, `/` between folders.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// When it was last changed.
    pub modified: Micros,
}

/// A folder or a bucket's prefix. Paths are relative, `/` between folders.
pub trait Objects: Send + Sync {
    /// Opens an object for reading.
    fn open(&self, path: &str) -> Result<Box<dyn Readable>, ObjectError>;

    /// Creates an object from bytes, all or nothing, durable on return; `AlreadyExists` if the name is taken.
    fn put_new(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError>;

    /// Begins an object that is written piece by piece; `AlreadyExists` if the name is taken.
    fn create(&self, path: &str) -> Result<Box<dyn Aside>, ObjectError>;

    /// Every object whose name starts with `prefix` (a folder), in the order of names.
    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError>;

    /// Removes an object, durable on return.
    fn delete(&self, path: &str) -> Result<(), ObjectError>;

    /// Gives an object another name, durable on return. Only where [`stages`](Self::stages) is true.
    fn rename(&self, from: &str, to: &str) -> Result<(), ObjectError>;

    /// Gives an object a second name; `AlreadyExists` if that is taken. A power cut may undo it. Only where
    /// [`stages`](Self::stages) is true.
    fn link(&self, from: &str, _to: &str) -> Result<(), ObjectError> {
        let source = io::Error::new(io::ErrorKind::Unsupported, "these objects have one name each");
        Err(ObjectError::Io { path: from.to_owned(), source })
    }

    /// Puts bytes in the place of whatever has this name, if anything has. Only for objects that nothing depends on: here, a
    /// reader may find it gone for a moment.
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        match self.delete(path) {
            Ok(()) | Err(ObjectError::NotFound { .. }) => self.put_new(path, bytes),
            Err(error) => Err(error),
        }
    }

    /// Whether files stand aside under another name until they are committed (local folders).
    fn stages(&self) -> bool;

    /// The folder, where it is one.
    fn local_root(&self) -> Option<&Path>;

    /// Whether an object has this name.
    fn exists(&self, path: &str) -> Result<bool, ObjectError> {
        match self.open(path) {
            Ok(_) => Ok(true),
            Err(ObjectError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A whole object.
    fn get(&self, path: &str) -> Result<Bytes, ObjectError> {
        let object = self.open(path)?;
        let length = usize::try_from(object.len()).unwrap_or(usize::MAX);
        object.read_at(0, length).map_err(|e| ObjectError::from_io(path, e))
    }
}

/// Shared objects.
pub type SharedObjects = Arc<dyn Objects>;

#[cfg(test)]
mod tests;
