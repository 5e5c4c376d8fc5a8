//! The folder that belongs to a node: its lock, its id, and what its stores register.
//!
//! ```text
//! {data-dir}/lock                        held as long as the node runs
//! {data-dir}/node-id                     16 hex digits, given once, kept for ever
//! {data-dir}/member                      of a cluster's member (`member_file`)
//! {data-dir}/cluster/                    of a member: the meta group's log, `addresses` (`cluster/addresses`), `stores.deql` (`cluster/kept`), `life` (`cluster/life`)
//! {data-dir}/stores/{store}/stream-types
//! {data-dir}/stores/{store}/served-{id}    the store was served here (`served`)
//! {data-dir}/stores/{store}/paused         compaction is paused, of a node alone (`compaction/pause`)
//! ```
//!
//! The node's files, and the folders that hold nothing else, are made for its user alone; so is the log, and so is every file that is locked. The
//! data folder itself is as the umask says, since a `durable.path` may lie in it, which other users may read.

use crate::random;
use parking_lot::Mutex;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why a data folder cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process runs on it.
    #[error("another node runs on {0}: stop it, or give this one another data directory", .dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// Another process serves the store, or checks it.
    #[error(
        "store `{store}` is in use by another process, which holds {}: stop it first; a store is served by one node, \
         whatever its data directory is", .lock.display()
    )]
    StoreInUse {
        /// The store.
        store: String,
        /// The file that is locked.
        lock: PathBuf,
    },
    /// The file system said no.
    #[error("{}: {error}{}", .path.display(), advice(.error))]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The node's id cannot be read.
    #[error(
        "{} holds no node id (16 hex digits and a line break); put it back as it was, it must not change: a refusal of a log \
         names the id that it has. Only if this node has never served a store, remove the file", .0.display()
    )]
    NodeId(PathBuf),
    /// Which member of a cluster it is cannot be read.
    #[error(
        "{} is damaged; put it back as it was: it says which member of which cluster this directory belongs to. If it is lost, so is the \
         node: join with an empty --data-dir under a new --node-id, and `replace` this node by the new one", .0.display()
    )]
    Member(PathBuf),
}

impl DataDirError {
    /// The folder cannot be one of this node's: the operator names another one, or gives it the rights.
    #[must_use]
    pub fn is_of_the_folder(&self) -> bool {
        matches!(self, Self::Io { error, .. } if no_folder(error))
    }
}

fn no_folder(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), NotADirectory | PermissionDenied | ReadOnlyFilesystem)
}

fn advice(error: &io::Error) -> &'static str {
    if no_folder(error) {
        "; name a folder that this user may write to (--data-dir, or the paths of the store)"
    } else {
        ""
    }
}

/// A data folder that this process holds.
#[derive(Debug)]
pub(crate) struct DataDir {
    dir: PathBuf,
    node_id: u64,
    is_new: bool,
    lock: Mutex<Option<File>>,
}

impl DataDir {
    /// Makes the folder if needed and takes its lock.
    pub(crate) fn open(dir: &Path) -> Result<Self, DataDirError> {
        Self::open_as(dir, random::nonzero_u64())
    }

    /// The same; a folder that has no id yet gets this one.
    pub(crate) fn open_as(dir: &Path, new_id: u64) -> Result<Self, DataDirError> {
        make_folder(dir)?;
        let lock = lock(dir)?;
        let path = dir.join("node-id");
        let is_new = !path.exists();
        let node_id = node_id(&path, new_id)?;
        Ok(Self { dir: dir.to_owned(), node_id, is_new, lock: Mutex::new(Some(lock)) })
    }

    /// Gives the folder free: the node has stopped, whoever still holds a handle of it.
    pub(crate) fn release(&self) {
        self.lock.lock().take();
    }

    /// The node's id, for ever.
    pub(crate) const fn node_id(&self) -> u64 {
        self.node_id
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// It held no node id before.
    pub(crate) const fn is_new(&self) -> bool {
        self.is_new
    }

    /// Folder of a store's registrations.
    pub(crate) fn store_folder(&self, store: &str) -> PathBuf {
        store_folder_in(&self.dir, store)
    }
}

/// Folder of a store's registrations in a data folder that may not be opened yet.
pub(crate) fn store_folder_in(dir: &Path, store: &str) -> PathBuf {
    dir.join("stores").join(strandline_event::encode_path_text(store))
}

/// Makes a folder and those above it, each one durable, and open to others as the umask says.
pub(crate) fn make_folder(dir: &Path) -> Result<(), DataDirError> {
    make(dir, &DirBuilder::new())
}

/// The same of a folder of the node's own: for its user alone, but for those above it.
pub(crate) fn make_own_folder(dir: &Path) -> Result<(), DataDirError> {
    let mut own = DirBuilder::new();
    own.mode(0o700);
    make(dir, &own)
}

/// How a file of the node's own is written: one that is not there is made, for the node's user alone.
pub(crate) fn own_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

/// Such a file, empty: in place of what is there.
pub(crate) fn create_own(path: &Path) -> io::Result<File> {
    own_file().truncate(true).open(path)
}

/// Opens a file that is only there to be locked, and makes it where it is not there. Whoever can open it can lock it, and so keep a node from
/// starting: it is for the node's user alone, wherever it lies, and one of this user that others may open, as earlier versions made it, is so from
/// now on.
pub(crate) fn own_lock(path: &Path) -> io::Result<File> {
    // NFS lets only who may read a file share its lock
    let file = own_file().read(true).truncate(false).open(path)?;
    let facts = file.metadata()?;
    if facts.uid() == rustix::process::geteuid().as_raw() && facts.mode() & 0o077 != 0 {
        // a file system that has no modes has none to be narrowed
        let _ = file.set_permissions(fs::Permissions::from_mode(0o600));
    }
    Ok(file)
}

fn make(dir: &Path, last: &DirBuilder) -> Result<(), DataDirError> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.exists()).collect();
    for folder in missing.into_iter().rev() {
        let made = if folder == dir { last.create(folder) } else { fs::create_dir(folder) };
        match made {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(at(folder))?,
        }
        sync_parent(folder)?;
    }
    Ok(())
}

/// Makes the name of a new file or folder durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), DataDirError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(at(parent))
}

/// Attaches a path to what the file system said.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |error| DataDirError::Io { path, error }
}

fn lock(dir: &Path) -> Result<File, DataDirError> {
    let path = dir.join("lock");
    let file = own_lock(&path).map_err(at(&path))?;
    match try_lock(&file).map_err(at(&path))? {
        true => Ok(file),
        false => Err(DataDirError::InUse { dir: dir.to_owned() }),
    }
}

/// Locks a file for this process; `false`: another one holds it.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

fn node_id(path: &Path, new_id: u64) -> Result<u64, DataDirError> {
    match fs::read(path) {
        Ok(bytes) => parse_node_id(&bytes).ok_or_else(|| DataDirError::NodeId(path.to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => make_node_id(path, new_id),
        Err(e) => Err(at(path)(e)),
    }
}

/// The id that a node's file holds: whole, or none. One that was cut would be another node's.
#[must_use]
pub fn parse_node_id(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let whole = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

fn make_node_id(path: &Path, id: u64) -> Result<u64, DataDirError> {
    write_whole(path, format!("{id:016x}\n").as_bytes())?;
    Ok(id)
}

/// Makes a file or takes the place of one, durable on return. Written aside: under its name it is whole.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    let aside = path.with_added_extension("new");
    let mut file = create_own(&aside).map_err(at(&aside))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at(&aside))?;
    publish(&aside, path).map_err(at(path))?;
    sync_parent(path)
}

#[expect(clippy::disallowed_methods, reason = "the file was synced, the caller syncs the folder")]
pub(crate) fn publish(aside: &Path, path: &Path) -> io::Result<()> {
    fs::rename(aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_second_node_is_refused_and_the_id_stays() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a/b");
        let first = DataDir::open(&dir).unwrap();
        assert!(matches!(DataDir::open(&dir), Err(DataDirError::InUse { .. })));
        let id = first.node_id();
        assert!(first.is_new());
        drop(first);
        let again = DataDir::open(&dir).unwrap();
        assert_eq!((again.node_id(), again.is_new()), (id, false));
    }

    #[test]
    fn a_lock_is_for_its_user_alone_and_what_others_could_open_is_narrowed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let mode = || fs::metadata(&path).unwrap().mode() & 0o777;
        drop(own_lock(&path).unwrap());
        assert_eq!(mode(), 0o600);
        fs::write(&path, "kept").unwrap();
        for open in [0o644, 0o666, 0o640, 0o604] {
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
            drop(own_lock(&path).unwrap());
            assert_eq!(mode(), 0o600, "{open:o}");
        }
        let mut kept = String::new();
        own_lock(&path).unwrap().read_to_string(&mut kept).unwrap();
        assert_eq!(kept, "kept", "a lock that is shared is opened for reading too");
    }

    #[test]
    fn a_damaged_id_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["what", "", "\n", "00000000000000f", "00000000000000ff0", "+0000000000000ff", "\u{fffd}"] {
            fs::write(folder.path().join("node-id"), text).unwrap();
            assert!(matches!(DataDir::open(folder.path()), Err(DataDirError::NodeId(_))), "{text:?}");
        }
    }
}
