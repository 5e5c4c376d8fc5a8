//! Which log: one stream type, one bucket.

use std::fmt;
use std::sync::Arc;

/// Name of a log and of its owner. Cloning is one reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LogKey {
    /// The stream type.
    pub stream_type: Arc<str>,
    /// Part of the stream type, from 0; a type that was not registered otherwise has one.
    pub bucket: u32,
}

impl LogKey {
    /// The log of a stream type that has one bucket.
    #[must_use]
    pub fn single(stream_type: &str) -> Self {
        Self { stream_type: Arc::from(stream_type), bucket: 0 }
    }
}

impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bucket == 0 {
            f.write_str(&self.stream_type)
        } else {
            write!(f, "{}~{}", self.stream_type, self.bucket)
        }
    }
}
