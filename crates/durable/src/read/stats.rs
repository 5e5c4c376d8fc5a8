//! What a read touched.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReadStats {
    /// Data files that were opened.
    pub files: u64,
    /// Row groups of which pages were decoded: to choose rows, and then, of the same ones, to fetch them.
    pub row_groups: u64,
    /// Bytes read: footers and page indexes that were not known, pages and filters, with the checked blocks around them.
    pub bytes: u64,
    /// Bloom filters of row groups that were asked.
    pub filters: u64,
    /// Those that said no: nothing of the row group was read.
    pub filters_no: u64,
}

impl ReadStats {
    /// What came on top of an earlier state.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            files: self.files.saturating_sub(before.files),
            row_groups: self.row_groups.saturating_sub(before.row_groups),
            bytes: self.bytes.saturating_sub(before.bytes),
            filters: self.filters.saturating_sub(before.filters),
            filters_no: self.filters_no.saturating_sub(before.filters_no),
        }
    }
}

impl AddAssign for ReadStats {
    fn add_assign(&mut self, more: Self) {
        self.files += more.files;
        self.row_groups += more.row_groups;
        self.bytes += more.bytes;
        self.filters += more.filters;
        self.filters_no += more.filters_no;
    }
}

/// Counters while a read runs.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    files: AtomicU64,
    row_groups: AtomicU64,
    bytes: AtomicU64,
    filters: AtomicU64,
    filters_no: AtomicU64,
}

impl Counters {
    pub(crate) fn add_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_group(&self) {
        self.row_groups.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_bytes(&self, n: u64) {
        self.bytes.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn add_filter(&self, said_no: bool) {
        self.filters.fetch_add(1, Ordering::Relaxed);
        self.filters_no.fetch_add(u64::from(said_no), Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> ReadStats {
        ReadStats {
            files: self.files.load(Ordering::Relaxed),
            row_groups: self.row_groups.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            filters: self.filters.load(Ordering::Relaxed),
            filters_no: self.filters_no.load(Ordering::Relaxed),
        }
    }
}
