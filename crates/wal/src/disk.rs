//! The disk as the log sees it: a narrow trait, so that tests put a disk below it that loses, tears and fails.
//!
//! Paths are whole paths. Nothing here retries; who calls decides what an error means.

use crate::map::Mapped;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What a file is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// Files and folders of one device.
pub trait Disk: Send + Sync + 'static {
    /// Makes a folder and those above it, and syncs the folders that gained an entry.
    ///
    /// # Errors
    /// What the file system says.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Names of the files in a folder, in no order; folders are left out.
    ///
    /// # Errors
    /// What the file system says; `NotFound` if there is no such folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Names of the folders in a folder, in no order; files are left out.
    ///
    /// # Errors
    /// What the file system says; `NotFound` if there is no such folder.
    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a new, empty file, open for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists`, and what the file system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound`, and what the file system says.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file, replacing one that has the new name.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Unlinks a file. One that is open or mapped stays readable.
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in a folder durable.
    ///
    /// # Errors
    /// What the file system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Room of the device that holds `path`.
    ///
    /// # Errors
    /// What the file system says.
    fn space(&self, path: &Path) -> io::Result<DeviceSpace>;
}

/// Room of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceSpace {
    /// Bytes that this process may still write.
    pub free_bytes: u64,
    /// Bytes of the whole device.
    pub total_bytes: u64,
}

/// One open file.
pub trait DiskFile: Send + Sync {
    /// Writes all of `data`. Offset, length and the address of `data` are multiples of the block, so that the device may
    /// take it directly.
    ///
    /// # Errors
    /// What the file system says; any part of `data` may have been written then.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Reads into `buf` from `offset`; less than asked only at the end of the file.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Makes everything written so far durable, the file's length included.
    ///
    /// # Errors
    /// What the file system says. After an error nobody knows what is on the disk: end the process.
    fn sync_data(&self) -> io::Result<()>;

    /// A range will be read soon: the disk may begin with it. Advice only.
    fn will_need(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }

    /// Sets the file's length; new bytes read as zeros and take no room yet.
    ///
    /// # Errors
    /// What the file system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// The first offset at or after `offset` that may hold something else than zeros; `None` if there is none.
    ///
    /// # Errors
    /// What the file system says.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>>;

    /// The whole file as bytes that are shared. Only for a file that will never be written or truncated again.
    ///
    /// # Errors
    /// What the file system says.
    fn map(&self) -> io::Result<Mapped>;

    /// Whether writes go past the page cache.
    fn is_direct(&self) -> bool;
}
