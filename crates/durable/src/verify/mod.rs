//! The offline check: every byte, every row, every claim of a manifest against what is there.
//!
//! Reads only. Gives findings, never stops at the first.

mod claims;
mod file;
mod manifests;
mod replaced;
mod runs;
mod segments;
mod steps;

pub use file::verify_file;
pub use manifests::verify_manifests;
pub use replaced::{ReplacedReport, verify_replaced};
pub(crate) use segments::{changed_files, entries_of};

use std::fmt;

/// Something that is wrong: where, and what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// A file, a manifest, a row.
    pub place: String,
    /// In a sentence.
    pub what: String,
}

impl Finding {
    pub(crate) fn new(place: &str, what: impl Into<String>) -> Self {
        Self { place: place.to_owned(), what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}
