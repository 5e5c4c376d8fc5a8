//! Read-only maps of sealed segments: the only unsafe code of this crate.
#![allow(unsafe_code)]

use memmap2::{Advice, Mmap};
use std::fs::File;
use std::io;
use std::sync::Arc;
use strandline_event::SharedBytes;

struct Map(Mmap);

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Maps a whole file that is never written or truncated again.
pub(crate) fn map_sealed(file: &File) -> io::Result<SharedBytes> {
    if file.metadata()?.len() == 0 {
        return Ok(SharedBytes::copy_aligned(&[]));
    }
    // SAFETY: only sealed segments come here. A sealed segment was truncated before and is never written, truncated or
    // grown again by this process (`Segment` hands out the map only once sealed), and the data folder belongs to one
    // process. Trimming unlinks it, which leaves the mapped inode alone.
    let map = unsafe { Mmap::map(file)? };
    // advice only: reads go forward through a segment
    let _ = map.advise(Advice::Sequential);
    Ok(SharedBytes::new(Arc::new(Map(map))))
}
