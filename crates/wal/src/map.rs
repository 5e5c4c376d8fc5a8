//! Read-only maps of sealed segments: the only unsafe code of this crate.
#![allow(unsafe_code)]

use crate::ahead::{Writes, advices};
use memmap2::{Advice, Mmap};
use std::fs::File;
use std::io;
use std::sync::Arc;
use strandline_event::SharedBytes;

#[derive(Clone)]
struct Map(Arc<Mmap>);

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A whole sealed file as bytes.
#[derive(Clone)]
pub struct Mapped {
    bytes: SharedBytes,
    /// What is still to be read from the disk; none: the bytes are in memory.
    map: Option<Map>,
    writes: Writes,
}

impl Mapped {
    /// Bytes that are in memory.
    #[must_use]
    pub fn in_memory(bytes: SharedBytes) -> Self {
        Self { bytes, map: None, writes: Writes::default() }
    }

    /// The bytes. One that is not in memory yet is read when it is touched, page by page, unless its reader asked for it before.
    #[must_use]
    pub const fn bytes(&self) -> &SharedBytes {
        &self.bytes
    }

    /// What is written to its disk.
    pub(crate) const fn writes(&self) -> &Writes {
        &self.writes
    }

    /// Begins to read a range from the disk, and nothing else: what the system reads ahead by itself may be megabytes at a time, for which
    /// appends to the log then wait.
    pub(crate) fn will_need(&self, from: u64, to: u64) {
        let Some(Map(map)) = &self.map else { return };
        let to = usize::try_from(to).unwrap_or(usize::MAX).min(map.len());
        let Some((from, len)) = usize::try_from(from).ok().and_then(|from| Some((from, to.checked_sub(from)?))) else {
            return;
        };
        for advice in advices(from..from + len) {
            // advice only: where the system does not take it, pages are read when they are touched
            let _ = map.advise_range(Advice::WillNeed, advice.start, advice.len());
        }
    }
}

/// Maps a whole file that is never written or truncated again.
pub(crate) fn map_sealed(file: &File, writes: Writes) -> io::Result<Mapped> {
    if file.metadata()?.len() == 0 {
        return Ok(Mapped::in_memory(SharedBytes::copy_aligned(&[])));
    }
    // SAFETY: only sealed segments come here. A sealed segment was truncated before and is never written, truncated or
    // grown again by this process (`Segment` hands out the map only once sealed), and the data folder belongs to one
    // process. Trimming unlinks it, which leaves the mapped inode alone.
    let map = unsafe { Mmap::map(file)? };
    // advice only: who reads says what comes next
    let _ = map.advise(Advice::Random);
    let map = Map(Arc::new(map));
    Ok(Mapped { bytes: SharedBytes::new(map.clone()), map: Some(map), writes })
}
