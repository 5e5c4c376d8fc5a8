//! The lock of a store's own folders: one process serves a store (or checks it offline), whatever its data folder is.
//!
//! ```text
//! {wal.path}/.lock        held as long as the store is open
//! {durable.path}/.lock    the same, where the files are local; nodes of a cluster share it among each other, and with nobody else
//! ```
//!
//! Taken before anything else is done with the store, so that a second node cannot even claim it. Both files are for the node's user alone, as is
//! everything that is locked; what else lies at `durable.path` is open to others as the umask says.

use crate::data_dir::{DataDirError, at, make_folder, make_own_folder, own_lock, try_lock};
use parking_lot::Mutex;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use strandline_deql::{Location, StoreConfig};
use strandline_wal::names::LOCK_NAME;

/// The locks of a store, held until this is dropped or released.
#[derive(Debug)]
pub struct StoreLock(Mutex<Vec<File>>);

impl StoreLock {
    /// Locks a store that is going to be served; its folders are made.
    ///
    /// # Errors
    /// [`DataDirError::StoreInUse`], and what the file system says.
    pub(crate) fn to_serve(config: &StoreConfig) -> Result<Self, DataDirError> {
        let mut files = Vec::new();
        for folder in folders(config) {
            let (file, path) = lock_in(config, &folder)?;
            files.push(hold(file, config, &path)?);
        }
        Ok(Self(Mutex::new(files)))
    }

    /// Locks a store that this node and others of its cluster are going to serve: its log for this node alone, its files with the others. Who
    /// commits to them is decided by epochs.
    ///
    /// # Errors
    /// [`DataDirError::StoreInUse`], and what the file system says.
    pub(crate) fn to_share(config: &StoreConfig) -> Result<Self, DataDirError> {
        let mut files = Vec::new();
        for folder in folders(config) {
            let (file, path) = lock_in(config, &folder)?;
            let is_shared = config.durable.path == Location::Local(folder);
            files.push(if is_shared { share(file, config, &path)? } else { hold(file, config, &path)? });
        }
        Ok(Self(Mutex::new(files)))
    }

    /// Locks a store that is only looked at: folders that are not there, or that nobody can write to, need no lock. `shared`: it is a
    /// cluster's, whose other nodes may go on with the files.
    ///
    /// # Errors
    /// [`DataDirError::StoreInUse`], and what the file system says.
    pub fn to_look(config: &StoreConfig, shared: bool) -> Result<Self, DataDirError> {
        let mut files = Vec::new();
        for folder in folders(config).into_iter().filter(|folder| folder.is_dir()) {
            let path = folder.join(LOCK_NAME);
            let is_shared = shared && config.durable.path == Location::Local(folder);
            match own_lock(&path).or_else(|_| File::open(&path)) {
                Ok(file) if is_shared => files.push(share(file, config, &path)?),
                Ok(file) => files.push(hold(file, config, &path)?),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(at(&path)(e)),
            }
        }
        Ok(Self(Mutex::new(files)))
    }

    /// Gives the store free: the node has stopped, whoever still holds a handle of it.
    pub(crate) fn release(&self) {
        self.0.lock().clear();
    }
}

/// The lock of a folder that is made if it is not there: the log is for the node's user alone, files are open to others as the umask says.
fn lock_in(config: &StoreConfig, folder: &Path) -> Result<(File, PathBuf), DataDirError> {
    let path = folder.join(LOCK_NAME);
    if config.durable.path.as_local() == Some(folder) {
        make_folder(folder)?;
    } else {
        make_own_folder(folder)?;
    }
    Ok((own_lock(&path).map_err(at(&path))?, path))
}

fn hold(file: File, config: &StoreConfig, path: &Path) -> Result<File, DataDirError> {
    match try_lock(&file).map_err(at(path))? {
        true => Ok(file),
        false => Err(DataDirError::StoreInUse { store: config.name.clone(), lock: path.to_owned() }),
    }
}

fn share(file: File, config: &StoreConfig, path: &Path) -> Result<File, DataDirError> {
    match file.try_lock_shared() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(DataDirError::StoreInUse { store: config.name.clone(), lock: path.to_owned() })
        }
        Err(TryLockError::Error(error)) => Err(at(path)(error)),
    }
}

fn folders(config: &StoreConfig) -> Vec<PathBuf> {
    let wal = config.wal.path.as_ref().filter(|_| config.wal.enabled);
    let local = |location: &Location| match location {
        Location::Local(path) => Some(path.clone()),
        _ => None,
    };
    wal.into_iter().chain([&config.durable.path]).filter_map(local).collect()
}
