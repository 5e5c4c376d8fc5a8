//! Bytes of a run: a read-only map of a local file, or the heap.
//!
//! On a local folder the run itself is mapped. On an object store it is fetched once, when a version names it for the first
//! time: into a private file of the node's scratch folder, which is mapped, or into the heap where it is small or there is no
//! such folder (offline checks). So it costs as much local disk (or memory) as the live runs have bytes: 42 a stream and 74 a
//! command, up to a third more between merges; the file has no name and goes with the last version that needs it.
//!
//! Invariant: a mapped run is never written again. Its name is new when it is created, and it is complete and
//! synced before that name stands in a manifest. A private copy has no name under which anybody could change it.
#![allow(unsafe_code)]

use crate::objects::{ObjectError, Objects};
use std::fs::File;
use std::io;
use std::path::Path;

/// Runs up to this length are not worth a file.
const HEAP_BYTES_MAX: u64 = 1 << 20;

/// Immutable bytes.
pub(crate) enum RunBytes {
    /// A map of a file.
    Map(memmap2::Mmap),
    /// A copy.
    Heap(bytes::Bytes),
}

impl RunBytes {
    /// The bytes of an object that should have this length.
    pub(crate) fn of(objects: &dyn Objects, path: &str, bytes: u64) -> Result<Self, ObjectError> {
        let wrap = |e| ObjectError::from_io(path, e);
        // what lies there is not what it holds
        if objects.seals(path) {
            return Ok(Self::Heap(objects.get(path)?));
        }
        if let Some(root) = objects.local_root() {
            return Self::map(&root.join(path)).map_err(wrap);
        }
        let copy = if bytes > HEAP_BYTES_MAX { objects.local_copy(path)? } else { None };
        match copy {
            Some(file) => Self::map_file(&file).map_err(wrap),
            None => Ok(Self::Heap(objects.get(path)?)),
        }
    }

    /// Maps a file.
    fn map(path: &Path) -> io::Result<Self> {
        Self::map_file(&File::open(path)?)
    }

    fn map_file(file: &File) -> io::Result<Self> {
        // SAFETY: runs are created under new names, synced, and never changed or truncated by this program
        // (the sweep unlinks, which leaves maps whole), and a private copy is written once, before it is mapped. Another program that truncates files in the
        // store's folder breaks the store's contract; then a read may raise SIGBUS, never return wrong bytes unnoticed at open.
        let map = unsafe { memmap2::Mmap::map(file) }?;
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
