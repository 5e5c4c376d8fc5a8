//! Bytes of a run: a read-only map of a local file, or the heap where the object is not a file.
//!
//! Invariant: a mapped run is never written again. Its name is new when it is created, and it is complete and
//! synced before that name stands in a manifest.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;

/// Immutable bytes.
pub(crate) enum RunBytes {
    /// A map of a file.
    Map(memmap2::Mmap),
    /// A copy.
    Heap(bytes::Bytes),
}

impl RunBytes {
    /// Maps a file.
    pub(crate) fn map(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: runs are created under new names, synced, and never changed or truncated by this program
        // (the sweep unlinks, which leaves maps whole). Another program that truncates files in the
        // store's folder breaks the store's contract; then a read may raise SIGBUS, never return wrong bytes unnoticed at open.
        let map = unsafe { memmap2::Mmap::map(&file) }?;
        Ok(Self::Map(map))
    }
}

impl AsRef<[u8]> for RunBytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Map(map) => map,
            Self::Heap(bytes) => bytes,
        }
    }
}
