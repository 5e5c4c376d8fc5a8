//! Where durable files live: a narrow, blocking view of a folder or of a bucket.
//!
//! Knows nothing of Parquet or manifests. What holds for every implementation: an object that was
//! created is whole and on stable storage when the call returns, a name is never overwritten, and
//! `AlreadyExists` is an answer of its own (it is not "lost": the caller reads what is there).

#[cfg(feature = "cloud")]
mod cloud;
#[cfg(any(test, feature = "testkit"))]
pub mod conformance;
mod create;
mod failure;
#[cfg(any(test, feature = "testkit"))]
mod flaky;
#[cfg(feature = "s3")]
mod kms;
mod local;
mod open;
mod probe;
mod sealed;
mod shared;
mod store;
mod upload;
#[cfg(any(test, feature = "testkit"))]
mod wrapped;

pub(crate) use create::{Created, NotCreated, create};
#[cfg(any(test, feature = "testkit"))]
pub use flaky::{Fault, FlakyObjects};
pub use local::LocalObjects;
pub use open::{Purpose, Settings, aws_kms, open_location};
pub use probe::probe;
pub(crate) use sealed::{KEYRING_FOLDER, SealedObjects, is_sealed};
pub use shared::{CLUSTER_MARK, ClusterMark, MarkError, NodeProbe, cluster_mark, mark_for_cluster};
pub use store::StoreObjects;
#[cfg(any(test, feature = "testkit"))]
pub use wrapped::Wrapped;

use crate::keyring::KeyLook;
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use strandline_event::{ErrorKind, Micros};
use strandline_keys::{KeyName, StoreKeys};

/// Bytes that a checksum of a whole object takes at once.
const CHECKSUM_BYTES: u64 = 4 << 20;

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
    /// A kind of location that this build does not serve.
    #[error("`{location}` is not served by this build: build it with the cargo feature `{feature}`")]
    NotSupported {
        /// The location.
        location: String,
        /// What it was built without.
        feature: &'static str,
    },
    /// What the environment says of an object store makes no sense.
    #[error("`{location}`: {what}")]
    Settings {
        /// The location.
        location: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// An object store said no, and would say it again.
    #[error("`{path}` was refused by the object store ({said}): {check}")]
    Refused {
        /// The object, with its bucket.
        path: String,
        /// What the store said.
        said: String,
        /// What to look at.
        check: &'static str,
    },
    /// An object store does not answer; of an object that was to be created: it was not, and will not be.
    #[error("`{path}`: the object store cannot be reached ({said}): {check}")]
    Unreachable {
        /// The object, with its bucket.
        path: String,
        /// What happened.
        said: String,
        /// What to look at.
        check: &'static str,
    },
    /// Another request to create the object was under way; this one did nothing.
    #[error("`{path}` was being created by another request ({said}): try again")]
    Conflict {
        /// The object, with its bucket.
        path: String,
        /// What the store said.
        said: String,
    },
    /// An object store gave no clear answer: what was asked for may have happened, or may still happen.
    #[error("`{path}`: the object store gave no clear answer ({said}): {check}")]
    Unclear {
        /// The object, with its bucket.
        path: String,
        /// What happened.
        said: String,
        /// What to look at.
        check: &'static str,
    },
    /// It is sealed under a key that others made and that cannot be had now: a key file is away or cannot be read, whoever wraps keys does not answer or
    /// refuses. Nothing is wrong with the object.
    #[error("`{path}` cannot be opened yet, as its key is not to be had: {said}")]
    KeyAway {
        /// The object.
        path: String,
        /// What was said of the key.
        said: String,
    },
    /// An object store overwrites where it must refuse.
    #[error(
        "`{location}` is on an object store without conditional creates ({what}), so that two nodes could commit over each \
         other: use a store that honours If-None-Match on PUT (Amazon S3 does), or put durable.path and \
         durable.commit.manifest_path on a local folder; AWS_CONDITIONAL_PUT must not be `disabled`"
    )]
    NoConditionalCreate {
        /// The location.
        location: String,
        /// What it did.
        what: String,
    },
}

impl ObjectError {
    /// Sorts an error of the operating system.
    #[must_use]
    pub fn from_io(path: &str, source: io::Error) -> Self {
        let path = path.to_owned();
        // an object store's own error that came through a reader or a writer
        let source = match source.downcast::<Self>() {
            Ok(ours) => return ours,
            Err(source) => source,
        };
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::AlreadyExists => Self::AlreadyExists { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull { path }
            }
            _ => Self::Io { path, source },
        }
    }

    /// What it means to the one who called.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::DiskFull { .. } => ErrorKind::DiskFull,
            Self::NotSupported { .. } => ErrorKind::NotSupported,
            Self::Settings { .. } | Self::NoConditionalCreate { .. } => ErrorKind::BadRequest,
            Self::Unreachable { .. } | Self::Unclear { .. } | Self::Conflict { .. } | Self::KeyAway { .. } => {
                ErrorKind::Unavailable
            }
            Self::NotFound { .. } | Self::AlreadyExists { .. } | Self::Io { .. } | Self::Refused { .. } => {
                ErrorKind::Io
            }
        }
    }

    /// Whether an object that was to be created may exist in spite of this error, or may come to exist.
    pub(crate) const fn leaves_it_open(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Unclear { .. })
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

/// The CRC32C of an object's bytes from `start` on.
pub(crate) fn checksum(object: &dyn Readable, path: &str, start: u64) -> Result<u32, ObjectError> {
    let (mut crc, mut at) = (0, start);
    while at < object.len() {
        let length = CHECKSUM_BYTES.min(object.len() - at);
        let bytes = object.read_at(at, length as usize).map_err(|e| ObjectError::from_io(path, e))?;
        crc = crc32c::crc32c_append(crc, &bytes);
        at += length;
    }
    Ok(crc)
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

/// A part of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Objects in the order of names.
    pub objects: Vec<ObjectInfo>,
    /// Whether nothing follows them.
    pub complete: bool,
}

/// A folder or a bucket's prefix. Paths are relative, `/` between folders.
pub trait Objects: Send + Sync {
    /// The keys of an encrypted store; `None`: it is none.
    fn keys(&self) -> Option<&Arc<StoreKeys>> {
        None
    }

    /// Looks whether there is a newer keyring, and whether its provider still opens it; what is wrong is [trouble](Self::key_trouble).
    fn look_at_keys(&self, at: KeyLook) {
        let _ = at; // only objects of an encrypted store have keys
    }

    /// Why the next start would not get the keys, as the last look found; `None`: it would.
    fn key_trouble(&self) -> Option<Arc<str>> {
        None
    }

    /// How many of these looks found trouble, and whether the last one did.
    fn key_looks(&self) -> (u64, bool) {
        (0, false)
    }

    /// Sees to it that the key of a data file is known, where the newest keyring has it: another node may have made it.
    ///
    /// # Errors
    /// `KeyAway`: nobody opens that keyring now, or it is out of reach.
    fn learn_key(&self, path: &str, name: &KeyName) -> Result<(), ObjectError> {
        let _ = (path, name); // only objects of an encrypted store have keys
        Ok(())
    }

    /// Whether an object of this name is sealed where it lies: what its file holds is not what is read.
    fn seals(&self, path: &str) -> bool {
        let _ = path; // only objects of an encrypted store are
        false
    }

    /// Opens an object for reading.
    fn open(&self, path: &str) -> Result<Box<dyn Readable>, ObjectError>;

    /// Opens an object whose length is known. Where asking for it would be a request, that it is gone is found by reading.
    fn open_known(&self, path: &str, bytes: u64) -> Result<Box<dyn Readable>, ObjectError> {
        let _ = bytes; // a folder tells it for nothing
        self.open(path)
    }

    /// Creates an object from bytes, all or nothing, durable on return; `AlreadyExists` if the name is taken. One try: what
    /// an unclear answer means is decided by `create`.
    fn put_new(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError>;

    /// Begins an object that is written piece by piece; `AlreadyExists` if the name is taken.
    fn create(&self, path: &str) -> Result<Box<dyn Aside>, ObjectError>;

    /// Every object whose name starts with `prefix` (a folder), in the order of names.
    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError>;

    /// The objects whose names come after `after`, at least those that are in no folder: all of them, or the first `limit` where
    /// one request gives no more.
    fn list_after(&self, after: &str, limit: usize) -> Result<Listed, ObjectError> {
        let _ = limit; // a folder is listed whole in any case
        let objects = self.list_range("", &format!("{after}\0"), "\u{10ffff}")?;
        Ok(Listed { objects, complete: true })
    }

    /// Objects directly in a folder whose names lie in `[from, to)`, in the order of names. As cheap as the place allows where
    /// the folder holds many others. `from` is not empty.
    fn list_range(&self, folder: &str, from: &str, to: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let folder = folder.trim_end_matches('/');
        let below = if folder.is_empty() { 0 } else { folder.len() + 1 };
        let mut listed = self.list(folder)?;
        listed.retain(|info| {
            let name = info.path.get(below..).unwrap_or_default();
            !name.contains('/') && *name >= *from && *name < *to
        });
        Ok(listed)
    }

    /// As [`list`](Self::list) of everything, but for what is below a folder of the root.
    fn list_beside(&self, folder: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let below = format!("{folder}/");
        let mut listed = self.list("")?;
        listed.retain(|info| !info.path.starts_with(&below));
        Ok(listed)
    }

    /// Removes an object, durable on return. That it was not there may be `NotFound` or no error.
    fn delete(&self, path: &str) -> Result<(), ObjectError>;

    /// Gives an object another name, durable on return. Only where [`stages`](Self::stages) is true.
    fn rename(&self, from: &str, to: &str) -> Result<(), ObjectError>;

    /// Gives objects other names, as far as they are there, durable on return. Each is tried; the first error. Only where
    /// [`stages`](Self::stages) is true.
    fn rename_all(&self, names: &[(String, String)]) -> Result<(), ObjectError> {
        let mut outcome = Ok(());
        for (from, to) in names {
            match self.rename(from, to) {
                Ok(()) | Err(ObjectError::NotFound { .. }) => {}
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    /// Gives an object a second name; `AlreadyExists` if that is taken. A power cut may undo it. Only where
    /// [`stages`](Self::stages) is true.
    fn link(&self, from: &str, _to: &str) -> Result<(), ObjectError> {
        let source = io::Error::new(io::ErrorKind::Unsupported, "these objects have one name each");
        Err(ObjectError::Io { path: from.to_owned(), source })
    }

    /// Whether two names are those of one object; `NotFound` if one of them is not there.
    fn are_one(&self, one: &str, other: &str) -> Result<bool, ObjectError> {
        // an object store gives each object one name
        self.local_root().map_or(Ok(one == other), |root| local::are_one(root, one, other))
    }

    /// Puts bytes in the place of whatever has this name, if anything has. Only for objects that nothing depends on: here, a
    /// reader may find it gone for a moment.
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        match self.delete(path) {
            Ok(()) | Err(ObjectError::NotFound { .. }) => self.put_new(path, bytes),
            Err(error) => Err(error),
        }
    }

    /// Removes objects, as far as they are there; all are gone and durably so on return. Stops at the first error.
    fn delete_all(&self, paths: &[String]) -> Result<(), ObjectError> {
        for path in paths {
            match self.delete(path) {
                Ok(()) | Err(ObjectError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether files stand aside under another name until they are committed (local folders).
    fn stages(&self) -> bool;

    /// The folder, where it is one.
    fn local_root(&self) -> Option<&Path>;

    /// Lets some time pass before a try is repeated: the longer, the more tries there were.
    fn pause(&self, tries: u32) {
        let _ = tries; // a folder does not get better by waiting
    }

    /// Why requests get no answer now, or a folder that is written is not there; `None`: the last one did, whatever it said.
    fn trouble(&self) -> Option<Arc<str>> {
        None
    }

    /// What the first request said that got no answer at all, or the first key that was not to be had, since these were opened: what was concluded since
    /// may be wrong.
    fn unanswered(&self) -> Option<Arc<str>> {
        None
    }

    /// Ends requests that wait for an answer, and refuses new ones: the process is about to end.
    fn close(&self) {}

    /// A private copy of an object in a local file without a name; `None`: there is no room for such files.
    fn local_copy(&self, path: &str) -> Result<Option<File>, ObjectError> {
        let _ = path;
        Ok(None)
    }

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
