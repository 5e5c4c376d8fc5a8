//! The file of subject keys, over a disk: read once, then only added to; a key that is destroyed is overwritten where it stands.
//!
//! ```text
//!  new keys ─> records behind the last one ─> sync ─> they may seal
//!  erase    ─> tombstone ─> sync ─> zeros over the secret ─> sync ─> answered           a crash between: the next open goes on
//! ```
//!
//! A block is written again with the bytes that it has and more behind them, or with zeros over one secret: whatever a torn write leaves of it, no
//! other record changes. Invariant: a record that was answered is never cut. Each says what was on stable storage when it was written, so a bad record
//! with such a witness behind it is damage, and the file is refused; without one it is the torn end of a write that nobody was answered.
//!
//! A write that finds no room changes nothing of what stands before it: what it left behind the last record is taken away before the next write, and
//! the file goes on. After any other failure nobody knows what is on the disk: nothing is written any more until the file is opened again.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strandline_event::ErrorKind;
use strandline_keys::subject::SubjectKeyId;
use strandline_keys::subject::folder::FolderError;
use strandline_keys::subject::reached::Reached;
use strandline_keys::subject::record::{Found, RECORD_ALIGN, Record, SECRET_BYTES, Stored, decode, encode, secret_at};
use strandline_keys::{Zeroize, Zeroizing};
use strandline_wal::buffer::AlignedBuf;
use strandline_wal::files::is_full;
use strandline_wal::frame::BLOCK_BYTES;
use strandline_wal::{Access, Disk, DiskFile};

const BLOCK: u64 = BLOCK_BYTES as u64;
const TITLE: [u8; 8] = *b"SLSUBJ\x01\0";

/// Why the file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SubjectFileError {
    /// The file system said no.
    #[error("the subject keys in {}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// It is no such file, or of a later version.
    #[error("{} is no file of subject keys that this program reads: name the right one, or one that is not there yet", .0.display())]
    Foreign(PathBuf),
    /// Something in it is damaged.
    #[error(
        "the subject keys in {} are damaged at offset {offset}: put the file back from a copy. What was erased since that copy must be erased again", .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// A write failed before.
    #[error("a write to the subject keys in {} failed before, so no new subject is taken and none is erased: mend the disk, and start the node again", .0.display())]
    Poisoned(PathBuf),
    /// A folder that the nodes of a cluster share.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The node was given none.
    #[error(
        "this node has no subject keys, so it stores and shows nothing of erasable stream types: start it with the --subject-keys of the other nodes"
    )]
    NoFolder,
    /// It could not be looked at last.
    #[error("the folder of subject keys {} could not be read, or the data folder not written, so nothing of erasable stream types is stored or shown: see that it is mounted", .0.display())]
    OutOfReach(PathBuf),
    /// It may be a folder of this node's own.
    #[error(
        "no other node has said yet that it sees what this one writes to the subject keys in {}: they must be one folder, that all nodes mount; try again", .0.display()
    )]
    NotAgreed(PathBuf),
}

impl SubjectFileError {
    /// What it means to the one who called.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { error, .. } | Self::Folder(FolderError::Io { error, .. }) if is_full(error) => {
                ErrorKind::DiskFull
            }
            // a mount may come back: nothing was stored or shown
            Self::Folder(FolderError::Gone(_) | FolderError::Io { .. }) => ErrorKind::Unavailable,
            Self::NoFolder | Self::NotAgreed(_) | Self::OutOfReach(_) => ErrorKind::Unavailable,
            _ => ErrorKind::Io,
        }
    }
}

/// The file.
pub(super) struct KeyFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Random, given when it was made.
    id: [u8; 16],
    /// Where the next record goes, everything below it is on stable storage; and what stands there.
    reached: Reached,
    /// A write failed for another reason than a lack of room; asked by others without waiting for a write.
    poisoned: Arc<AtomicBool>,
    /// A write found no room: what it left behind `end` must go before the next one.
    is_torn: bool,
}

/// What stands in the file, with the places of its records.
pub(super) type Contents = Vec<(u64, Record)>;

/// What a file was opened with.
pub(super) struct OpenedFile {
    pub(super) file: KeyFile,
    pub(super) contents: Contents,
    /// Of each place that was asked for, whether the file has come to it.
    pub(super) has_reached: Vec<bool>,
}

impl KeyFile {
    /// Opens the file, or makes an empty one; its folder must be there. `asked`: places that it may have come to.
    pub(super) fn open(
        disk: &dyn Disk,
        path: &Path,
        id: [u8; 16],
        asked: &[Reached],
    ) -> Result<OpenedFile, SubjectFileError> {
        let failed = |error| SubjectFileError::Io { path: path.to_owned(), error };
        let file = match disk.open(path, Access::ReadWrite) {
            Ok(file) if file.len().map_err(failed)? >= BLOCK => file,
            // it was being made when the process ended: nothing was ever in it
            Ok(file) if is_blank(&*file).map_err(failed)? => file,
            Ok(_) => return Err(SubjectFileError::Foreign(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(path).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        };
        let reached = Reached::nothing(BLOCK);
        let mut this = Self { path: path.to_owned(), file, id, reached, poisoned: Arc::default(), is_torn: false };
        let mut title = AlignedBuf::zeroed(BLOCK_BYTES);
        this.file.read_at(0, &mut title).map_err(failed)?;
        if title.iter().all(|byte| *byte == 0) && is_blank(&*this.file).map_err(failed)? {
            title[..TITLE.len()].copy_from_slice(&TITLE);
            title[TITLE.len()..TITLE.len() + id.len()].copy_from_slice(&id);
            this.file.write_at(0, &title).and_then(|()| this.file.sync_data()).map_err(failed)?;
            if let Some(folder) = path.parent() {
                disk.sync_dir(folder).map_err(failed)?;
            }
            let has_reached = asked.iter().map(|place| *place == reached).collect();
            return Ok(OpenedFile { file: this, contents: Vec::new(), has_reached });
        }
        if title[..TITLE.len()] != TITLE {
            return Err(SubjectFileError::Foreign(path.to_owned()));
        }
        this.id.copy_from_slice(&title[TITLE.len()..TITLE.len() + id.len()]);
        let (contents, has_reached) = this.read(asked).map_err(|error| error.unwrap_or_else(failed))?;
        Ok(OpenedFile { file: this, contents, has_reached })
    }

    fn read(&mut self, asked: &[Reached]) -> Result<(Contents, Vec<bool>), Failure> {
        let length = self.file.len().map_err(Failure::Io)?;
        let bytes = Wiped::all_of(&*self.file, length).map_err(Failure::Io)?;
        let bytes = &bytes.0[..];
        let (mut contents, mut places) = (Vec::new(), vec![self.reached]);
        let mut at = BLOCK_BYTES;
        while let Some(Found { record, bytes: taken, .. }) = bytes.get(at..).and_then(decode) {
            contents.push((at as u64, record));
            self.reached = self.reached.behind(bytes.get(at..at + taken).unwrap_or(&[]));
            places.push(self.reached);
            at += taken;
        }
        let rest = bytes.get(at..).unwrap_or(&[]);
        let path = self.path.clone();
        let damaged = |offset| Failure::Is(SubjectFileError::Damaged { path: path.clone(), offset });
        if has_witness(rest, self.reached.end) {
            return Err(damaged(self.reached.end));
        }
        let is_torn = torn_key(&mut contents, bytes).map_err(damaged)?;
        // the first place stands before the first record
        places.truncate(contents.len() + 1);
        self.reached = places.last().copied().unwrap_or(self.reached);
        // what is torn must never be taken for a record behind a later one
        if rest.iter().any(|byte| *byte != 0) || is_torn {
            self.blank(self.reached.end, length).map_err(Failure::Io)?;
        }
        let has_reached = |place: &Reached| {
            let at = places.binary_search_by_key(&place.end, |of| of.end);
            at.is_ok_and(|at| places.get(at) == Some(place))
        };
        Ok((contents, asked.iter().map(has_reached).collect()))
    }

    /// Whether a write failed: nothing is written any more.
    pub(super) fn poisoned(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.poisoned)
    }

    /// Nothing is written any more until it is opened again.
    pub(super) fn poison(&self) {
        self.poisoned.store(true, Ordering::SeqCst);
    }

    pub(super) const fn id(&self) -> [u8; 16] {
        self.id
    }

    /// How far it has come.
    pub(super) const fn reached(&self) -> Reached {
        self.reached
    }

    /// Adds records and syncs them. Gives their places.
    pub(super) fn add(&mut self, records: &[Record]) -> Result<Vec<u64>, SubjectFileError> {
        let mut places = Vec::with_capacity(records.len());
        let (at, mut reached) = (self.reached.end, self.reached);
        let records: Vec<_> = records.iter().map(|record| encode(record, at)).collect();
        // of one piece: what grows leaves copies of secrets behind
        let mut out = Zeroizing::new(Vec::with_capacity(records.iter().map(|record| record.len()).sum()));
        for record in records {
            places.push(reached.end);
            reached = reached.behind(&record);
            out.extend_from_slice(&record);
        }
        self.write(at, &out)?;
        self.reached = reached;
        Ok(places)
    }

    /// Overwrites the secret of the key whose record stands at `record`, and syncs it.
    pub(super) fn destroy(&mut self, record: u64) -> Result<(), SubjectFileError> {
        self.write(secret_at(record), &[0; SECRET_BYTES])
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), SubjectFileError> {
        if self.poisoned.load(Ordering::SeqCst) {
            return Err(SubjectFileError::Poisoned(self.path.clone()));
        }
        let written = self.mend().and_then(|()| {
            self.is_torn = true;
            self.overwrite(at, bytes)?;
            self.file.sync_data()?;
            self.is_torn = false;
            Ok(())
        });
        let failed = written.or_else(|error| match is_full(&error) {
            // at once where that can be: a secret that seals nothing need not lie there
            true => self.mend().and(Err(error)),
            false => Err(error),
        });
        failed.map_err(|error| {
            self.poisoned.store(!is_full(&error), Ordering::SeqCst);
            SubjectFileError::Io { path: self.path.clone(), error }
        })
    }

    /// Takes away what a write that found no room left behind the last record. It needs no room itself.
    fn mend(&mut self) -> io::Result<()> {
        if !self.is_torn {
            return Ok(());
        }
        let (whole, length) = (self.reached.end.next_multiple_of(BLOCK), self.file.len()?);
        if length > whole {
            self.file.set_len(whole)?;
        }
        self.blank(self.reached.end, length.min(whole))?;
        self.is_torn = false;
        Ok(())
    }

    /// Writes bytes into the blocks that hold them, which keep all else.
    fn overwrite(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let first = at / BLOCK * BLOCK;
        let mut blocks =
            Wiped(AlignedBuf::zeroed(((at + bytes.len() as u64).next_multiple_of(BLOCK) - first) as usize));
        let length = self.file.len()?;
        if first < length {
            self.file.read_at(first, &mut blocks.0)?;
        }
        let from = (at - first) as usize;
        blocks.0[from..from + bytes.len()].copy_from_slice(bytes);
        self.file.write_at(first, &blocks.0)
    }

    fn blank(&self, from: u64, to: u64) -> io::Result<()> {
        if from < to {
            self.overwrite(from, &vec![0; (to - from) as usize])?;
        }
        self.file.sync_data()
    }
}

/// A file that is only looked at.
pub(super) struct Looked {
    pub(super) id: [u8; 16],
    pub(super) records: Vec<Record>,
    /// Where it was before its first record, and behind each.
    pub(super) places: Vec<Reached>,
}

/// What an opening of the file would find, or say; nothing of it changes.
pub(super) fn look(disk: &dyn Disk, path: &Path) -> Result<Looked, SubjectFileError> {
    let failed = |error| SubjectFileError::Io { path: path.to_owned(), error };
    let file = disk.open(path, Access::Read).map_err(failed)?;
    let bytes = file.len().and_then(|length| Wiped::all_of(&*file, length)).map_err(failed)?;
    let bytes = &bytes.0[..];
    let id = bytes.get(TITLE.len()..).and_then(|rest| rest.first_chunk::<16>());
    let Some(id) = id.filter(|_| bytes.starts_with(&TITLE) && bytes.len() >= BLOCK_BYTES) else {
        return Err(SubjectFileError::Foreign(path.to_owned()));
    };
    let (mut contents, mut at) = (Contents::new(), BLOCK_BYTES);
    let mut places = vec![Reached::nothing(BLOCK)];
    while let Some(Found { record, bytes: taken, .. }) = bytes.get(at..).and_then(decode) {
        contents.push((at as u64, record));
        let before = places.last().copied().unwrap_or(Reached::nothing(BLOCK));
        places.push(before.behind(bytes.get(at..at + taken).unwrap_or(&[])));
        at += taken;
    }
    let damaged = |offset| SubjectFileError::Damaged { path: path.to_owned(), offset };
    if has_witness(bytes.get(at..).unwrap_or(&[]), at as u64) {
        return Err(damaged(at as u64));
    }
    torn_key(&mut contents, bytes).map_err(damaged)?;
    // the first place stands before the first record
    places.truncate(contents.len() + 1);
    let records = contents.into_iter().map(|(_, record)| record).collect();
    Ok(Looked { id: *id, records, places })
}

/// Bytes of the file, secrets among them: nothing of them stays in memory.
struct Wiped(AlignedBuf);

impl Wiped {
    fn all_of(file: &dyn DiskFile, length: u64) -> io::Result<Self> {
        let length = usize::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let mut bytes = Self(AlignedBuf::zeroed(length));
        let read = file.read_at(0, &mut bytes.0)?;
        bytes.0.set_len(read);
        Ok(bytes)
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

enum Failure {
    Io(io::Error),
    Is(SubjectFileError),
}

impl Failure {
    fn unwrap_or_else(self, io: impl Fn(io::Error) -> SubjectFileError) -> SubjectFileError {
        match self {
            Self::Io(error) => io(error),
            Self::Is(error) => error,
        }
    }
}

/// A key whose secret is neither whole nor overwritten, and that no tombstone waits for: at the end of the file it is torn, and is cut with what was
/// written with it (then it is true); else it is damage (the offset is given).
fn torn_key(contents: &mut Contents, file: &[u8]) -> Result<bool, u64> {
    let dead: HashSet<SubjectKeyId> = contents
        .iter()
        .filter_map(|(_, record)| match record {
            Record::Tombstone(id, ..) => Some(*id),
            _ => None,
        })
        .collect();
    let is_torn = |(_, record): &(u64, Record)| match record {
        Record::Key(id, _, Stored::Broken | Stored::Destroyed) => !dead.contains(id),
        _ => false,
    };
    let Some(first) = contents.iter().position(is_torn) else { return Ok(false) };
    let offset = contents[first].0;
    let behind = usize::try_from(offset).ok().and_then(|at| file.get(at..)).unwrap_or(&[]);
    if has_witness(behind, offset) {
        return Err(offset);
    }
    contents.truncate(first);
    Ok(true)
}

/// Whether nothing was ever written to it.
fn is_blank(file: &dyn DiskFile) -> io::Result<bool> {
    let mut bytes =
        AlignedBuf::zeroed(usize::try_from(file.len()?).map_or(BLOCK_BYTES, |len| len.next_multiple_of(BLOCK_BYTES)));
    file.read_at(0, &mut bytes)?;
    Ok(bytes.iter().all(|byte| *byte == 0))
}

/// Whether a record stands in these bytes that was written when something at or above `offset` was on stable storage.
fn has_witness(bytes: &[u8], offset: u64) -> bool {
    (0..bytes.len())
        .step_by(RECORD_ALIGN)
        .any(|at| bytes.get(at..).and_then(decode).is_some_and(|found| found.synced > offset))
}
