//! Files that merges leave alone until the next start, or the next statement: written in another order, and too large to be sorted in memory.
//!
//! Only a memory: a merge that meets such a file again finds out again.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use strandline_durable::FileEntry;

/// Their paths.
#[derive(Default)]
pub(crate) struct LeftAlone(Mutex<HashSet<String>>);

impl LeftAlone {
    pub(crate) fn add(&self, paths: &[String]) {
        self.0.lock().extend(paths.iter().cloned());
    }

    /// Another order of files may be asked for.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    /// Drops them from a list.
    pub(crate) fn take_out_of(&self, files: &mut Vec<Arc<FileEntry>>) {
        let paths = self.0.lock();
        if !paths.is_empty() {
            files.retain(|file| !paths.contains(&file.path));
        }
    }
}
