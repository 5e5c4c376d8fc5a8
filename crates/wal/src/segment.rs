//! One segment as its readers see it: facts that grow while it is written, then never change.
//!
//! Invariant: the bytes are mapped only when the segment is sealed, and it is sealed only after it was truncated.

use crate::disk::{Access, Disk, DiskFile};
use crate::map::Mapped;
use crate::num::{LogId, SegmentNo};
use crate::tags::Seal;
use parking_lot::RwLock;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_event::{LogIndex, Micros};

/// Bytes between two marks of a segment's sparse index.
const SPARSE_STEP_BYTES: u64 = 64 << 10;

/// A segment file.
pub struct Segment {
    number: SegmentNo,
    log_id: u64,
    first_index: LogIndex,
    /// Number of the entry that stands, or would stand, first.
    first_number: u64,
    path: PathBuf,
    /// What seals it; none: all stands as it is.
    seal: Option<Seal>,
    disk: Arc<dyn Disk>,
    facts: RwLock<Facts>,
    handle: RwLock<Handle>,
}

/// What is known of a segment's contents.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Where the acknowledged bytes end.
    pub(crate) end: u64,
    /// Last entry in it.
    pub(crate) last: Option<LogId>,
    /// Time of its last entry, `Micros::MIN` without one.
    pub(crate) last_time: Micros,
    /// Bytes of the payloads of entries that were in it when the log was opened, as far as they were read then.
    pub(crate) entry_bytes: u64,
    /// Truncated, never written again.
    pub(crate) sealed: bool,
    /// Groups, ascending.
    pub(crate) sparse: Vec<Mark>,
}

/// A place to read on from: where a group starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    /// Index of the next entry's first frame.
    pub(crate) next_index: LogIndex,
    /// Number of that entry.
    pub(crate) number: u64,
    pub(crate) offset: u64,
}

impl Facts {
    pub(crate) const fn empty() -> Self {
        Self { end: 0, last: None, last_time: Micros::MIN, entry_bytes: 0, sealed: false, sparse: Vec::new() }
    }

    /// Remembers where a group starts, if it is far enough from the last one remembered.
    pub(crate) fn mark(&mut self, mark: Mark) {
        if self.sparse.last().is_none_or(|last| mark.offset >= last.offset + SPARSE_STEP_BYTES) {
            self.sparse.push(mark);
        }
    }
}

#[derive(Clone)]
enum Handle {
    Closed,
    Open(Arc<dyn DiskFile>),
    Mapped(Mapped),
}

/// Where a segment's bytes come from.
#[derive(Clone)]
pub(crate) enum Source {
    /// Read with `read_at`: the segment may still be written.
    File(Arc<dyn DiskFile>),
    /// The whole sealed file.
    Mapped(Mapped),
}

impl Segment {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        number: SegmentNo,
        log_id: u64,
        (first_index, first_number): (LogIndex, u64),
        facts: Facts,
        seal: Option<Seal>,
    ) -> Self {
        let (facts, handle) = (RwLock::new(facts), RwLock::new(Handle::Closed));
        Self { number, log_id, first_index, first_number, path, seal, disk, facts, handle }
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> SegmentNo {
        self.number
    }

    /// The birth number of its log.
    #[must_use]
    pub fn log_id(&self) -> u64 {
        self.log_id
    }

    /// What seals it; `None`: all stands as it is.
    pub(crate) fn seal(&self) -> Option<&Seal> {
        self.seal.as_ref()
    }

    /// Whether each of its frames carries a tag.
    pub(crate) fn has_tags(&self) -> bool {
        self.seal.as_ref().is_some_and(|seal| seal.tags)
    }

    /// Index that the first entry in it has, or would have.
    #[must_use]
    pub fn first_index(&self) -> LogIndex {
        self.first_index
    }

    /// Number of the first entry in it (or that would be).
    #[must_use]
    pub fn first_number(&self) -> u64 {
        self.first_number
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its file's name.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }

    pub(crate) fn facts<T>(&self, read: impl FnOnce(&Facts) -> T) -> T {
        read(&self.facts.read())
    }

    pub(crate) fn update(&self, write: impl FnOnce(&mut Facts)) {
        write(&mut self.facts.write());
    }

    pub(crate) fn set_file(&self, file: Arc<dyn DiskFile>) {
        *self.handle.write() = Handle::Open(file);
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.facts.read().sealed
    }

    /// Offset of a place at or before the entry, from which frames are read forward.
    pub(crate) fn offset_before(&self, index: LogIndex) -> u64 {
        let facts = self.facts.read();
        let after = facts.sparse.partition_point(|mark| mark.next_index <= index);
        after.checked_sub(1).map_or(0, |i| facts.sparse[i].offset)
    }

    /// A place at or before the entry with this number, from which frames are read forward.
    pub(crate) fn mark_before(&self, number: u64) -> Mark {
        let facts = self.facts.read();
        let after = facts.sparse.partition_point(|mark| mark.number <= number);
        let start = Mark { next_index: self.first_index, number: self.first_number, offset: 0 };
        after.checked_sub(1).map_or(start, |i| facts.sparse[i])
    }

    /// The bytes; opens and maps on first use.
    pub(crate) fn source(&self) -> io::Result<Source> {
        let sealed = self.is_sealed();
        let handle = self.handle.read().clone();
        let file = match handle {
            Handle::Mapped(map) => return Ok(Source::Mapped(map)),
            Handle::Open(file) => file,
            Handle::Closed => self.disk.open(&self.path, Access::Read)?,
        };
        // two readers may both come here: the later one's map replaces the earlier one's, which lives as long as it is used
        if sealed {
            let map = file.map()?;
            *self.handle.write() = Handle::Mapped(map.clone());
            return Ok(Source::Mapped(map));
        }
        let mut handle = self.handle.write();
        if matches!(*handle, Handle::Closed) {
            *handle = Handle::Open(Arc::clone(&file));
        }
        Ok(Source::File(file))
    }
}

impl Segment {
    /// Lets go of its map, if it has one; whoever reads from it keeps it for that long, and the next reader maps it again.
    pub(crate) fn unmap(&self) {
        let mut handle = self.handle.write();
        if matches!(*handle, Handle::Mapped(_)) {
            // dropped behind the lock: giving many pages back takes its time
            let map = std::mem::replace(&mut *handle, Handle::Closed);
            drop(handle);
            drop(map);
        }
    }

    /// Bytes that its map takes.
    #[cfg(test)]
    pub(crate) fn mapped_bytes(&self) -> u64 {
        match &*self.handle.read() {
            Handle::Mapped(map) => map.bytes().len() as u64,
            _ => 0,
        }
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment({}, from {})", self.number, self.first_index)
    }
}
