//! Objects that differ from others in a few calls: what tests put in the place of real ones.

use super::{Aside, ObjectError, ObjectInfo, Objects, Readable};
use std::path::Path;

/// Passes on every call that it does not change.
pub trait Wrapped: Send + Sync {
    /// Where calls are passed on to.
    fn inner(&self) -> &dyn Objects;

    /// [`Objects::open`].
    ///
    /// # Errors
    /// As there.
    fn on_open(&self, path: &str) -> Result<Box<dyn Readable>, ObjectError> {
        self.inner().open(path)
    }

    /// [`Objects::put_new`].
    ///
    /// # Errors
    /// As there.
    fn on_put_new(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        self.inner().put_new(path, bytes)
    }

    /// [`Objects::create`].
    ///
    /// # Errors
    /// As there.
    fn on_create(&self, path: &str) -> Result<Box<dyn Aside>, ObjectError> {
        self.inner().create(path)
    }

    /// [`Objects::list`].
    ///
    /// # Errors
    /// As there.
    fn on_list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        self.inner().list(prefix)
    }
}

impl<W: Wrapped> Objects for W {
    fn open(&self, path: &str) -> Result<Box<dyn Readable>, ObjectError> {
        self.on_open(path)
    }

    fn put_new(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        self.on_put_new(path, bytes)
    }

    fn create(&self, path: &str) -> Result<Box<dyn Aside>, ObjectError> {
        self.on_create(path)
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        self.on_list(prefix)
    }

    fn delete(&self, path: &str) -> Result<(), ObjectError> {
        self.inner().delete(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), ObjectError> {
        self.inner().rename(from, to)
    }

    fn stages(&self) -> bool {
        self.inner().stages()
    }

    fn local_root(&self) -> Option<&Path> {
        self.inner().local_root()
    }
}
