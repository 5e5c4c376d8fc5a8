//! What decides when a replaced file may go: versions that readers of this process hold, and files that are gone already.

use super::Snapshot;
use crate::manifest::ReplacedFiles;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::{Arc, Weak};

/// The versions that somebody in this process may hold.
#[derive(Default)]
pub(crate) struct Pins {
    held: Mutex<Vec<Weak<Snapshot>>>,
}

impl Pins {
    /// A version that can be pinned from now on. Every snapshot that reads data files must be told here.
    pub(crate) fn add(&self, snapshot: &Arc<Snapshot>) {
        let mut held = self.held.lock();
        held.retain(|weak| weak.strong_count() > 0);
        held.push(Arc::downgrade(snapshot));
    }

    /// The oldest version that is held.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.held.lock().iter().filter_map(Weak::upgrade).map(|snapshot| snapshot.version()).min()
    }
}

/// Replaced files that were removed: the next commit names them no more.
#[derive(Default)]
pub(crate) struct Gone {
    paths: Mutex<HashSet<String>>,
}

impl Gone {
    pub(crate) fn new(paths: HashSet<String>) -> Self {
        Self { paths: Mutex::new(paths) }
    }

    pub(crate) fn contains(&self, path: &str) -> bool {
        self.paths.lock().contains(path)
    }

    pub(crate) fn insert(&self, path: &str) {
        self.paths.lock().insert(path.to_owned());
    }

    /// Names them no more in the next version.
    pub(crate) fn take_out_of(&self, replaced: &mut ReplacedFiles) {
        let paths = self.paths.lock();
        if !paths.is_empty() {
            replaced.forget(&paths);
        }
    }

    /// Keeps those that a committed version still names.
    pub(crate) fn retain(&self, replaced: &ReplacedFiles) {
        let mut paths = self.paths.lock();
        if !paths.is_empty() {
            let named: HashSet<&str> = replaced.iter().map(|file| file.path.as_str()).collect();
            paths.retain(|path| named.contains(path.as_str()));
        }
    }
}
