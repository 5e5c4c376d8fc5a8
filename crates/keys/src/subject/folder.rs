//! The folder of subject keys that all nodes of a cluster mount. `SUBJECTS.md` says every byte.
//!
//! ```text
//!  folder                   its id                                              made once, by a link
//!  keys/ab/cdef...          the key of one subject, named by its digest         made once, by a link; zeros over the secret when it is erased
//!  erased/0000000000000001  tombstones of all stores, in their order, no gap    made once, by a link; read in that order
//!  probes/{node}[.{node}]   what a node asks to be seen, and who has seen it
//! ```
//!
//! | two nodes at once | what decides |
//! |---|---|
//! | make the key of one subject | the link: the second one finds the name taken, and takes the key that is there |
//! | make a key, and erase its subject | a name is never taken away: who comes after the erasure finds zeros in it |
//! | erase | the link of the next number: the second one reads it, and takes the number behind |
//! | erase the same subject | the first tombstone; zeros over zeros change nothing |
//! | one stops for a day in the midst of it | nothing: there is no lock, and it has no name that another one needs |
//!
//! What has a name is whole and on stable storage: it was written aside and synced before. Invariant: no file is written again but with zeros over a
//! secret, and no name of `keys` and `erased` is ever given up. It makes no randomness, and refuses to know who serves what.

use super::SubjectKeyId;
use super::record::{Found, Record, SECRET_BYTES, Stored, Subject, Tombstone, decode, encode, secret_at};
use crate::{Secret, Zeroizing};
use ring::digest;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use strandline_event::hex::to_hex;

const TITLE: [u8; 8] = *b"SLSUBF\x01\0";
const ID_FILE: &str = "folder";
const ID_FILE_BYTES: usize = 28;
const KEYS: &str = "keys";
const ERASED: &str = "erased";
const PROBES: &str = "probes";
const ASIDE: &str = "aside";

/// Random bytes of a probe, of a new folder's id, and of names aside.
pub type Bits = [u8; 16];

/// What names the key of a subject in the folder: a SHA-256 of whose it is.
pub type KeyName = [u8; 32];

/// Why the folder cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The file system said no.
    #[error("the subject keys in {}: {error}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// It is no such folder, or of a later version.
    #[error(
        "{} is no folder of subject keys that this program reads: name the right one, or an empty one, that all nodes of the cluster mount", .0.display()
    )]
    Foreign(PathBuf),
    /// A file in it is damaged.
    #[error("{}, of the subject keys, is damaged: put it back from the newest copy", .0.display())]
    Damaged(PathBuf),
    /// It is there no more, or another one is in its place.
    #[error("{} is not the folder of subject keys that this node was started with: mount that one again", .0.display())]
    Gone(PathBuf),
}

/// A tombstone of the folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Erased {
    /// The key that is destroyed.
    pub id: SubjectKeyId,
    /// Whose it was.
    pub subject: Subject,
    /// When, by whom, how much.
    pub tombstone: Tombstone,
    /// The bytes of the record.
    pub bytes: Vec<u8>,
}

/// A key of the folder, under the name of its subject.
#[derive(Debug)]
pub struct FoundKey {
    /// Which one.
    pub id: SubjectKeyId,
    /// Whose.
    pub subject: Subject,
    /// Its secret, as it stands there.
    pub stored: Stored,
    /// Its file.
    pub path: PathBuf,
}

/// The folder.
#[derive(Debug)]
pub struct KeyFolder {
    path: PathBuf,
    id: Bits,
}

impl KeyFolder {
    /// Opens it, or makes one of this id (random) where there is none.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(path: &Path, new: Bits) -> Result<Self, FolderError> {
        let of = |id| Self { path: path.to_owned(), id };
        if let Some(id) = read_id(path)? {
            return Ok(of(id));
        }
        make_parts(path)?;
        // another node may be making it: the first link says its id
        of(new).link(&id_file(new), path.join(ID_FILE), new)?;
        read_id(path)?.map(of).ok_or_else(|| FolderError::Gone(path.to_owned()))
    }

    /// Looks at one that is there, and writes nothing.
    ///
    /// # Errors
    /// [`FolderError`]; `Foreign`: there is none.
    pub fn look(path: &Path) -> Result<Self, FolderError> {
        let of = |id| Self { path: path.to_owned(), id };
        read_id(path)?.map(of).ok_or_else(|| FolderError::Foreign(path.to_owned()))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> Bits {
        self.id
    }

    /// It is still there, and the same one.
    ///
    /// # Errors
    /// `Gone`; the file system.
    pub fn check(&self) -> Result<(), FolderError> {
        match read_id(&self.path)? {
            Some(id) if id == self.id => Ok(()),
            _ => Err(FolderError::Gone(self.path.clone())),
        }
    }

    /// The key of a subject; `None`: it was never made.
    ///
    /// # Errors
    /// `Damaged`; the file system.
    pub fn find(&self, subject: &Subject) -> Result<Option<(SubjectKeyId, Stored)>, FolderError> {
        let path = self.key_path(subject);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        match decode(&bytes) {
            Some(Found { record: Record::Key(id, of, stored), bytes: length, .. })
                if of == *subject && length == bytes.len() =>
            {
                Ok(Some((id, stored)))
            }
            _ => Err(FolderError::Damaged(path)),
        }
    }

    /// Tells of each key, destroyed ones included, in no order; an error stands in the place of what cannot be read, and the others follow.
    pub fn each_key(&self, each: &mut dyn FnMut(Result<FoundKey, FolderError>)) {
        for shard in 0..=u8::MAX {
            let shard = self.path.join(KEYS).join(format!("{shard:02x}"));
            let entries = match fs::read_dir(&shard) {
                Ok(entries) => entries,
                Err(error) => {
                    each(Err(at(&shard)(error)));
                    continue;
                }
            };
            for entry in entries {
                match entry {
                    Ok(entry) => self.key_in(entry.path()).transpose().into_iter().for_each(&mut *each),
                    Err(error) => each(Err(at(&shard)(error))),
                }
            }
        }
    }

    /// The key that a file holds under its own name; `None`: the file is gone.
    fn key_in(&self, path: PathBuf) -> Result<Option<FoundKey>, FolderError> {
        let Some(bytes) = read(&path)? else { return Ok(None) };
        match decode(&bytes) {
            Some(Found { record: Record::Key(id, subject, stored), bytes: length, .. })
                if length == bytes.len() && self.key_path(&subject) == path =>
            {
                Ok(Some(FoundKey { id, subject, stored, path }))
            }
            _ => Err(FolderError::Damaged(path)),
        }
    }

    /// Whether a key of this name was ever made. It stays when the key is destroyed.
    ///
    /// # Errors
    /// The file system.
    pub fn has(&self, name: &KeyName) -> Result<bool, FolderError> {
        let path = self.path_of(name);
        path.try_exists().map_err(at(&path))
    }

    /// What stands where the subject's key should be is no key.
    #[must_use]
    pub fn damaged(&self, subject: &Subject) -> FolderError {
        FolderError::Damaged(self.key_path(subject))
    }

    /// Makes the key of a subject, on stable storage; `false`: there is one. `aside`: random.
    ///
    /// # Errors
    /// The file system.
    pub fn make(
        &self,
        subject: &Subject,
        (id, secret): (SubjectKeyId, &Secret),
        aside: Bits,
    ) -> Result<bool, FolderError> {
        let record = Record::Key(id, subject.clone(), Stored::Whole(secret.clone()));
        self.link(&encode(&record, 0), self.key_path(subject), aside)
    }

    /// The name of the subject's key is on stable storage, whoever made it.
    ///
    /// # Errors
    /// The file system.
    pub fn sync(&self, subject: &Subject) -> Result<(), FolderError> {
        self.key_path(subject).parent().map_or(Ok(()), sync_folder)
    }

    /// Overwrites the secret of a subject that has a tombstone. The same again changes nothing.
    ///
    /// # Errors
    /// The file system.
    pub fn destroy(&self, subject: &Subject) -> Result<(), FolderError> {
        // whoever gave the tombstone its name
        sync_folder(&self.path.join(ERASED))?;
        zeros(&self.key_path(subject))?;
        // a second name that a crash left: where the folder was put back from a copy it is a file of its own
        let aside = self.path.join(ASIDE);
        for entry in fs::read_dir(&aside).map_err(at(&aside))? {
            let path = entry.map_err(at(&aside))?.path();
            let Some(bytes) = read(&path)? else { continue };
            if !matches!(decode(&bytes), Some(Found { record: Record::Key(_, of, _), .. }) if of == *subject) {
                continue;
            }
            match zeros(&path) {
                // whoever was making it found the name taken
                Err(FolderError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// The tombstone of this number, from 1 on; `None`: there is none yet.
    ///
    /// # Errors
    /// `Damaged`; the file system.
    pub fn erased(&self, number: u64) -> Result<Option<Erased>, FolderError> {
        let path = self.erased_path(number);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        match decode(&bytes) {
            Some(Found { record: Record::Tombstone(id, subject, tombstone), bytes: length, .. })
                if length == bytes.len() =>
            {
                Ok(Some(Erased { id, subject, tombstone, bytes: bytes.to_vec() }))
            }
            _ => Err(FolderError::Damaged(path)),
        }
    }

    /// The numbers of all tombstones that are there, rising.
    ///
    /// # Errors
    /// The file system.
    pub fn erased_numbers(&self) -> Result<Vec<u64>, FolderError> {
        let folder = self.path.join(ERASED);
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&folder).map_err(at(&folder))? {
            let name = entry.map_err(at(&folder))?.file_name();
            let number =
                |name: &str| u64::from_str_radix(name, 16).ok().filter(|number| format!("{number:016x}") == name);
            // another name is that of no tombstone
            numbers.extend(name.to_str().and_then(number));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The name of a tombstone's file.
    #[must_use]
    pub fn erased_path(&self, number: u64) -> PathBuf {
        self.path.join(ERASED).join(format!("{number:016x}"))
    }

    /// Adds the tombstone of this number, the one behind the last, on stable storage; `false`: the number is taken. `aside`: random.
    ///
    /// # Errors
    /// The file system.
    pub fn add_erased(
        &self,
        number: u64,
        (id, subject, tombstone): (SubjectKeyId, &Subject, &Tombstone),
        aside: Bits,
    ) -> Result<bool, FolderError> {
        let record = Record::Tombstone(id, subject.clone(), tombstone.clone());
        self.link(&encode(&record, 0), self.erased_path(number), aside)
    }

    /// A node asks the others whether they see what it writes here.
    ///
    /// # Errors
    /// The file system.
    pub fn probe(&self, node: u64, bits: Bits) -> Result<(), FolderError> {
        self.put(&format!("{node:016x}"), bits)
    }

    /// A node has seen what these others wrote.
    ///
    /// # Errors
    /// The file system.
    pub fn answer_probes(&self, node: u64, others: &[u64]) -> Result<(), FolderError> {
        for other in others.iter().filter(|other| **other != node) {
            let answer = format!("{other:016x}.{node:016x}");
            if let Some(bits) = self.get(&format!("{other:016x}"))?
                && self.get(&answer)? != Some(bits)
            {
                self.put(&answer, bits)?;
            }
        }
        Ok(())
    }

    /// Whether another node has seen what this one wrote.
    ///
    /// # Errors
    /// The file system.
    pub fn is_seen(&self, node: u64, bits: Bits, by: u64) -> Result<bool, FolderError> {
        Ok(self.get(&format!("{node:016x}.{by:016x}"))? == Some(bits))
    }

    fn key_path(&self, subject: &Subject) -> PathBuf {
        self.path_of(&name_of(subject))
    }

    fn path_of(&self, name: &KeyName) -> PathBuf {
        let name = to_hex(name);
        let (shard, rest) = name.split_at(2);
        self.path.join(KEYS).join(shard).join(rest)
    }

    /// Gives bytes a name, whole and on stable storage; `false`: the name is taken.
    fn link(&self, bytes: &[u8], to: PathBuf, aside: Bits) -> Result<bool, FolderError> {
        let aside = self.path.join(ASIDE).join(to_hex(&aside));
        let written = new_file(&aside).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        let linked = written.map_err(at(&aside)).and_then(|()| match fs::hard_link(&aside, &to) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(at(&to)(error)),
        });
        // a second name of one file, or a key that seals nothing
        let _ = fs::remove_file(&aside);
        if linked? {
            return to.parent().map_or(Ok(()), sync_folder).map(|()| true);
        }
        Ok(false)
    }

    fn put(&self, name: &str, bits: Bits) -> Result<(), FolderError> {
        let path = self.path.join(PROBES).join(name);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        file.and_then(|file| file.write_all_at(&bits, 0).and_then(|()| file.sync_all())).map_err(at(&path))
    }

    fn get(&self, name: &str) -> Result<Option<Bits>, FolderError> {
        let path = self.path.join(PROBES).join(name);
        // one that is being written is seen later
        Ok(read(&path)?.and_then(|bytes| Bits::try_from(bytes.as_slice()).ok()))
    }
}

/// The name of a subject's key.
#[must_use]
pub fn name_of(subject: &Subject) -> KeyName {
    let mut hash = digest::Context::new(&digest::SHA256);
    for text in [&subject.store, &subject.stream_type, &subject.name] {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    let mut name = [0; size_of::<KeyName>()];
    // 32 bytes by its definition
    name.copy_from_slice(hash.finish().as_ref());
    name
}

fn at(path: &Path) -> impl Fn(io::Error) -> FolderError {
    move |error| FolderError::Io { path: path.to_owned(), error }
}

/// Over the secret of a record.
fn zeros(path: &Path) -> Result<(), FolderError> {
    let file = OpenOptions::new().write(true).open(path).map_err(at(path))?;
    file.write_all_at(&[0; SECRET_BYTES], secret_at(0)).and_then(|()| file.sync_all()).map_err(at(path))
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// All of a file, which may hold a secret; `None`: it is not there.
fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FolderError> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(at(path))?,
    };
    let length = file.metadata().map_err(at(path))?.len() as usize;
    // of one piece: what grows leaves copies behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 1));
    file.read_to_end(&mut bytes).map_err(at(path))?;
    Ok(Some(bytes))
}

fn id_file(id: Bits) -> [u8; ID_FILE_BYTES] {
    let mut out = [0; ID_FILE_BYTES];
    out[..8].copy_from_slice(&TITLE);
    out[8..24].copy_from_slice(&id);
    let sum = crc32c::crc32c(&out[..24]);
    out[24..].copy_from_slice(&sum.to_le_bytes());
    out
}

/// `None`: there is no such folder yet.
fn read_id(path: &Path) -> Result<Option<Bits>, FolderError> {
    let Some(bytes) = read(&path.join(ID_FILE))? else { return Ok(None) };
    let id = bytes.get(8..24).and_then(|id| Bits::try_from(id).ok());
    match id.filter(|id| bytes[..] == id_file(*id)) {
        Some(id) => Ok(Some(id)),
        None => Err(FolderError::Foreign(path.to_owned())),
    }
}

/// Everything but the id, which is what makes it one.
fn make_parts(path: &Path) -> Result<(), FolderError> {
    let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path));
    make(path)?;
    for entry in fs::read_dir(path).map_err(at(path))? {
        let name = entry.map_err(at(path))?.file_name();
        let name = name.to_string_lossy();
        let is_ours = [ID_FILE, KEYS, ERASED, PROBES, ASIDE].contains(&&*name);
        // what file systems put into their first folder
        if !is_ours && !name.starts_with('.') && name != "lost+found" {
            return Err(FolderError::Foreign(path.to_owned()));
        }
    }
    for part in [ERASED, PROBES, ASIDE] {
        make(&path.join(part))?;
    }
    for shard in 0..=u8::MAX {
        make(&path.join(KEYS).join(format!("{shard:02x}")))?;
    }
    sync_folder(&path.join(KEYS))?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> Result<(), FolderError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(at(path))
}

#[cfg(test)]
mod tests;
