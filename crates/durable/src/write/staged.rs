//! Files in the making: which ones jobs of this process hold, and how many are open at once.
//!
//! Invariant: a file that its job does not finish is taken away, whatever ends the job; one that was finished stays listed
//! until it is committed or discarded, so that no sweep takes it.

use crate::objects::{ObjectError, Objects};
use parking_lot::{Condvar, Mutex};
use std::collections::HashSet;
use std::sync::Arc;

/// Where staged files stand until they are committed.
pub(crate) fn staged(objects: &dyn Objects, path: &str) -> String {
    if objects.stages() { format!("{path}.tmp") } else { path.to_owned() }
}

/// Files that jobs of this process write, or have written and not committed, under their final names; and those that others write for it.
#[derive(Default)]
pub(crate) struct StagedFiles {
    paths: Mutex<HashSet<String>>,
    /// What stands for `{writer}` in the names of files that other processes write, and that this one is about to commit.
    expected: Mutex<HashSet<String>>,
}

impl StagedFiles {
    pub(crate) fn insert(&self, path: &str) {
        self.paths.lock().insert(path.to_owned());
    }

    /// The file was committed or taken away.
    pub(crate) fn release(&self, path: &str) {
        self.paths.lock().remove(path);
    }

    /// Another process writes files under this name of a writer.
    pub(crate) fn expect(&self, writer: &str) {
        self.expected.lock().insert(writer.to_owned());
    }

    /// Nothing is expected of it any more.
    pub(crate) fn expect_no_more(&self, writer: &str) {
        self.expected.lock().remove(writer);
    }

    pub(crate) fn contains(&self, path: &str) -> bool {
        self.paths.lock().contains(path) || self.expected.lock().iter().any(|writer| path.contains(writer.as_str()))
    }
}

/// Counts the data files that compaction jobs have open; one for all stores of a node, each with its own bound
/// (`compaction.max_open_files`).
#[derive(Default)]
pub struct OpenFiles {
    open: Mutex<usize>,
    freed: Condvar,
}

impl OpenFiles {
    /// Nothing is open yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until there is room for `count` more files below `bound`, then counts them all. A job that holds some never
    /// waits for more, so nobody waits for ever.
    pub(crate) fn take(self: &Arc<Self>, count: usize, bound: usize) -> FilePermit {
        let mut open = self.open.lock();
        // one that asks for more than there may be goes alone
        self.freed.wait_while(&mut open, |open| *open > 0 && *open + count > bound);
        *open += count;
        FilePermit { files: Arc::clone(self), count }
    }
}

/// Open data files of a job.
pub(crate) struct FilePermit {
    files: Arc<OpenFiles>,
    count: usize,
}

impl Drop for FilePermit {
    fn drop(&mut self) {
        *self.files.open.lock() -= self.count;
        // bounds may differ: everybody looks again
        self.files.freed.notify_all();
    }
}

/// A file that is not finished yet.
pub(crate) struct Unfinished<'a> {
    objects: &'a dyn Objects,
    list: &'a StagedFiles,
    path: String,
    finished: bool,
    _permit: Option<FilePermit>,
}

impl<'a> Unfinished<'a> {
    /// Lists a file before it is created.
    pub(crate) fn new(objects: &'a dyn Objects, list: &'a StagedFiles, path: &str, permit: Option<FilePermit>) -> Self {
        list.insert(path);
        // nothing to take away until it was created
        Self { objects, list, path: path.to_owned(), finished: true, _permit: permit }
    }

    /// The file exists now.
    pub(crate) fn created(&mut self) {
        self.finished = false;
    }

    /// It was not created: its name is not ours.
    pub(crate) fn refused(self) {
        self.list.release(&self.path);
    }

    /// It is whole and stays, until its job commits or discards it.
    pub(crate) fn finished(mut self) {
        self.finished = true;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        match self.objects.delete(&staged(self.objects, &self.path)) {
            // an object store has nothing before the end
            Ok(()) | Err(ObjectError::NotFound { .. }) => {}
            Err(error) => tracing::warn!(path = self.path, %error, "an unfinished file stays until it is swept"),
        }
        self.list.release(&self.path);
    }
}
