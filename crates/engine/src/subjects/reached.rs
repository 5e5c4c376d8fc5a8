//! How far the file of subject keys has come, kept where a store's data is: a start with an older copy of the keys, or with one that was cut, is known by it.
//!
//! ```text
//!  record in the file of keys ─> sync ─> its end, here ─> sync ─> the key may seal, the erasure is answered
//! ```
//!
//! Two blocks are written in turn, so that a torn write leaves the one before it. Invariant: what stands here is on stable storage in the file of
//! keys, and nothing in the data needs a record behind it. So newer keys over an older copy of the data are well, and older keys are not.

use super::file::SubjectFileError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_keys::subject::folder::KeyName;
use strandline_keys::subject::reached::{Reached, Slot};
use strandline_wal::buffer::AlignedBuf;
use strandline_wal::frame::BLOCK_BYTES;
use strandline_wal::{Access, Disk, DiskFile};

const SLOTS: u64 = 2;

/// What such a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LookedReached {
    /// The place that is meant; none: nothing was written yet, or all that was is damaged.
    pub newest: Option<Slot>,
    /// Blocks that are neither a place nor empty: torn, or damaged.
    pub broken: usize,
}

/// What is known of the file of keys at `path`; `None`: nothing, since the file there is none, or is damaged.
///
/// # Errors
/// What the file system says.
pub fn look(disk: &dyn Disk, path: &Path) -> io::Result<Option<Slot>> {
    Ok(look_whole(disk, path)?.and_then(|looked| looked.newest))
}

/// The same, with what is wrong with it; `None`: there is no such file.
///
/// # Errors
/// What the file system says.
pub fn look_whole(disk: &dyn Disk, path: &Path) -> io::Result<Option<LookedReached>> {
    match disk.open(path, Access::Read) {
        Ok(file) => looked(&*file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn looked(file: &dyn DiskFile) -> io::Result<LookedReached> {
    let mut bytes = AlignedBuf::zeroed(BLOCK_BYTES * SLOTS as usize);
    let read = file.read_at(0, &mut bytes)?;
    let blocks = || bytes.get(..read).unwrap_or(&[]).chunks(BLOCK_BYTES);
    let newest = blocks().filter_map(Slot::decode).max_by_key(|slot| slot.turn);
    let is_broken = |block: &&[u8]| Slot::decode(block).is_none() && block.iter().any(|byte| *byte != 0);
    Ok(LookedReached { newest, broken: blocks().filter(is_broken).count() })
}

/// The place, open for writing.
pub(super) struct ReachedFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    id: [u8; 16],
    turn: u64,
    /// What it says of the file of this id.
    last: Option<(Reached, Option<KeyName>)>,
}

impl ReachedFile {
    /// Opens it for the file of keys of this id, or makes an empty one.
    pub(super) fn open(disk: &dyn Disk, path: &Path, id: [u8; 16]) -> Result<Self, SubjectFileError> {
        let opened = open(disk, path).map_err(|error| SubjectFileError::Io { path: path.to_owned(), error })?;
        let (file, slot) = opened;
        let last = slot.filter(|slot| slot.file == id).map(|slot| (slot.reached, slot.made));
        Ok(Self { path: path.to_owned(), file, id, turn: slot.map_or(0, |slot| slot.turn), last })
    }

    /// Says how far the file has come: on stable storage on return.
    pub(super) fn write(&mut self, reached: Reached) -> Result<(), SubjectFileError> {
        self.write_made(reached, None)
    }

    /// The same of a folder, in which this node has made this key last.
    pub(super) fn write_made(&mut self, reached: Reached, made: Option<KeyName>) -> Result<(), SubjectFileError> {
        if self.last == Some((reached, made)) {
            return Ok(());
        }
        // one that fails is written again in its own place: the other one is whole
        let slot = Slot { file: self.id, turn: self.turn + 1, reached, made };
        let mut block = AlignedBuf::zeroed(BLOCK_BYTES);
        let bytes = slot.encode();
        block[..bytes.len()].copy_from_slice(&bytes);
        let at = slot.turn % SLOTS * BLOCK_BYTES as u64;
        let written = self.file.write_at(at, &block).and_then(|()| self.file.sync_data());
        written.map_err(|error| SubjectFileError::Io { path: self.path.clone(), error })?;
        (self.turn, self.last) = (slot.turn, Some((reached, made)));
        Ok(())
    }
}

fn open(disk: &dyn Disk, path: &Path) -> io::Result<(Arc<dyn DiskFile>, Option<Slot>)> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let file = match disk.open(path, Access::ReadWrite) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk.create_dir_all(folder)?;
            disk.create(path)?
        }
        Err(error) => return Err(error),
    };
    let slot = looked(&*file)?.newest;
    if slot.is_none() {
        // its room is taken once: later writes need none
        file.write_at(0, &AlignedBuf::zeroed(BLOCK_BYTES * SLOTS as usize))?;
        file.sync_data()?;
        disk.sync_dir(folder)?;
    }
    Ok((file, slot))
}
