//! What a read touched.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReadStats {
    /// Data files whose footer or filters were asked.
    pub files: u64,
    /// Row groups of which pages were decoded.
    pub row_groups: u64,
    /// Bytes read: tails that were not known, pages and filters with the checked blocks around them.
    pub bytes: u64,
}

/// Counters while a read runs.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    files: AtomicU64,
    row_groups: AtomicU64,
    bytes: AtomicU64,
}

impl Counters {
    pub(crate) fn add_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_groups(&self, n: usize) {
        self.row_groups.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_bytes(&self, n: u64) {
        self.bytes.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> ReadStats {
        ReadStats {
            files: self.files.load(Ordering::Relaxed),
            row_groups: self.row_groups.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
