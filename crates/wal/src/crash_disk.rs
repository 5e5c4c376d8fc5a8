//! A disk in memory that behaves as badly as the contract of real ones allows: at a crash every 512-byte sector that was not
//! synced is kept, lost or torn at any byte, every folder change that was not synced happens or not; syncs fail, space ends,
//! reads fail. It also notes a write to a block that was acknowledged.

use crate::disk::{Access, DeviceSpace, Disk, DiskFile};
use crate::frame::BLOCK_BYTES;
use crate::map::Mapped;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_event::SharedBytes;

const SECTOR: usize = 512;

/// The disk. Clones share it.
#[derive(Clone, Default)]
pub struct CrashDisk(Arc<Mutex<Inner>>);

/// Faults to come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// This many syncs succeed, then each one fails.
    pub syncs_until_failure: Option<u64>,
    /// This many writes succeed, then each one fails after half of its bytes.
    pub writes_until_failure: Option<u64>,
    /// Reads fail.
    pub reads_fail: bool,
    /// A write that needs new blocks finds no room, after half of its bytes.
    pub no_room: bool,
}

#[derive(Default)]
struct Inner {
    files: Vec<FileState>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending: Vec<Change>,
    /// Folders are durable at once: losing one is losing the log, which no log can notice.
    dirs: BTreeSet<PathBuf>,
    faults: Faults,
    capacity: Option<u64>,
    violations: Vec<String>,
    syncs_tried: u64,
}

#[derive(Default, Clone)]
struct FileState {
    now: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    allocated: BTreeSet<u64>,
    acknowledged: u64,
}

#[derive(Clone)]
enum Change {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

/// A small generator of its own, so that a printed seed gives the same run on every machine.
pub struct Dice(u64);

impl Dice {
    /// Starts at a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    /// The next 64 bits (splitmix64).
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 for 0.
    pub const fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }

    /// True once in `n` times.
    pub const fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

impl CrashDisk {
    /// An empty disk without limits or faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the faults to come.
    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// Limits the bytes that all files may take together; `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// The file's bytes below `end` are acknowledged: a later write to one of their blocks is a violation.
    pub fn acknowledge(&self, path: &Path, end: u64) {
        let mut inner = self.0.lock();
        if let Some(file) = inner.names.get(path).copied() {
            let file = &mut inner.files[file];
            file.acknowledged = file.acknowledged.max(end);
        }
    }

    /// Of what was acknowledged in the file only this much is needed any more: a replicated log was cut off there.
    pub fn acknowledged_only(&self, path: &Path, end: u64) {
        let mut inner = self.0.lock();
        if let Some(file) = inner.names.get(path).copied() {
            let file = &mut inner.files[file];
            file.acknowledged = file.acknowledged.min(end);
        }
    }

    /// What was done that must not be done.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.0.lock().violations.clone()
    }

    /// Syncs of files and folders that were asked for, those that failed included.
    #[must_use]
    pub fn syncs_tried(&self) -> u64 {
        self.0.lock().syncs_tried
    }

    /// The power goes: what was not synced is kept, lost or torn, by the dice. Drop what holds open
    /// files first: a dead process writes no more.
    pub fn crash(&self, dice: &mut Dice) {
        let mut inner = self.0.lock();
        inner.settle_names(dice);
        let kind = dice.below(4);
        for file in &mut inner.files {
            file.crash(kind, dice);
        }
        inner.faults = Faults::default();
    }

    /// Changes one byte of a file, synced or not.
    pub fn flip(&self, path: &Path, offset: u64, bits: u8) {
        let mut inner = self.0.lock();
        if let Some(file) = inner.names.get(path).copied() {
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let file = &mut inner.files[file];
            for image in [&mut file.now, &mut file.durable] {
                if let Some(byte) = image.get_mut(at) {
                    *byte ^= bits;
                }
            }
        }
    }

    /// The bytes of a file as a process sees them.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.0.lock();
        inner.names.get(path).map(|file| inner.files[*file].now.clone())
    }

    /// Another disk with these files and folders, all of it synced: that of a replica, for instance.
    #[must_use]
    pub fn copied(&self) -> Self {
        let (copy, inner) = (Self::new(), self.0.lock());
        for (path, file) in &inner.names {
            copy.put(path, &inner.files[*file].now);
        }
        copy.0.lock().dirs.clone_from(&inner.dirs);
        drop(inner);
        copy
    }

    /// Puts a file there, synced.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut inner = self.0.lock();
        let (now, durable) = (bytes.to_vec(), bytes.to_vec());
        inner.files.push(FileState { now, durable, ..FileState::default() });
        let file = inner.files.len() - 1;
        inner.names.insert(path.to_owned(), file);
        inner.durable_names.insert(path.to_owned(), file);
    }
}

impl Inner {
    fn settle_names(&mut self, dice: &mut Dice) {
        let all = dice.one_in(3);
        for change in std::mem::take(&mut self.pending) {
            if !all && dice.one_in(2) {
                continue;
            }
            match change {
                Change::Create(path, file) => {
                    self.durable_names.insert(path, file);
                }
                Change::Rename(from, to, file) => {
                    self.durable_names.remove(&from);
                    self.durable_names.insert(to, file);
                }
                Change::Remove(path) => {
                    self.durable_names.remove(&path);
                }
            }
        }
        self.names = self.durable_names.clone();
    }

    fn used(&self) -> u64 {
        let live: BTreeSet<_> = self.names.values().collect();
        live.into_iter().map(|f| self.files[*f].allocated.len() as u64 * BLOCK_BYTES as u64).sum()
    }

    fn file_of(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn handle(&self, disk: &CrashDisk, file: usize) -> Arc<dyn DiskFile> {
        Arc::new(CrashFile { disk: disk.clone(), file })
    }
}

impl FileState {
    /// `kind` 0: everything was lost, 1: everything was kept, else each sector by the dice.
    fn crash(&mut self, kind: u64, dice: &mut Dice) {
        let len = match kind {
            0 => self.durable.len(),
            1 => self.now.len(),
            _ if dice.one_in(2) => self.durable.len(),
            _ => self.now.len(),
        };
        self.durable.resize(len, 0);
        for sector in std::mem::take(&mut self.dirty) {
            let from = (sector * SECTOR).min(len);
            let to = (from + SECTOR).min(len).min(self.now.len());
            if from >= to {
                continue;
            }
            let keep = match kind {
                0 => 0,
                1 => to - from,
                _ => match dice.below(4) {
                    0 => 0,
                    1 | 2 => to - from,
                    _ => usize::try_from(dice.below(SECTOR as u64)).unwrap_or(0).min(to - from),
                },
            };
            self.durable[from..from + keep].copy_from_slice(&self.now[from..from + keep]);
        }
        self.now = self.durable.clone();
    }

    fn write(&mut self, at: usize, data: &[u8]) {
        if self.now.len() < at + data.len() {
            self.now.resize(at + data.len(), 0);
        }
        self.now[at..at + data.len()].copy_from_slice(data);
        self.dirty.extend(at / SECTOR..(at + data.len()).div_ceil(SECTOR));
    }
}

struct CrashFile {
    disk: CrashDisk,
    file: usize,
}

/// Counts one use down; true when the fault strikes.
fn strikes(left: &mut Option<u64>) -> bool {
    match left {
        None => false,
        Some(0) => true,
        Some(n) => {
            *n -= 1;
            false
        }
    }
}

impl DiskFile for CrashFile {
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let inner = &mut *self.disk.0.lock();
        let block = BLOCK_BYTES as u64;
        let aligned = offset.is_multiple_of(block) && data.len().is_multiple_of(BLOCK_BYTES);
        if !aligned || data.as_ptr().align_offset(BLOCK_BYTES) != 0 {
            inner.violations.push(format!("write of {} bytes at {offset} is not aligned", data.len()));
        }
        let blocks = offset / block..(offset + data.len() as u64).div_ceil(block);
        let used = inner.used();
        let file = &mut inner.files[self.file];
        if offset < file.acknowledged {
            inner.violations.push(format!("write at {offset} touches bytes acknowledged below {}", file.acknowledged));
        }
        let fresh = blocks.clone().filter(|b| !file.allocated.contains(b)).count() as u64 * block;
        let at = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        if fresh > 0 && inner.capacity.is_some_and(|capacity| used + fresh > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if fresh > 0 && inner.faults.no_room {
            file.write(at, &data[..data.len() / 2]);
            return Err(io::ErrorKind::StorageFull.into());
        }
        if strikes(&mut inner.faults.writes_until_failure) {
            file.write(at, &data[..data.len() / 2]);
            return Err(io::Error::other("input/output error (injected)"));
        }
        file.allocated.extend(blocks);
        file.write(at, data);
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let inner = self.disk.0.lock();
        if inner.faults.reads_fail {
            return Err(io::Error::other("input/output error (injected)"));
        }
        let now = &inner.files[self.file].now;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(now.len());
        let len = buf.len().min(now.len() - from);
        buf[..len].copy_from_slice(&now[from..from + len]);
        Ok(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let inner = &mut *self.disk.0.lock();
        inner.syncs_tried += 1;
        if strikes(&mut inner.faults.syncs_until_failure) {
            return Err(io::Error::other("input/output error (injected)"));
        }
        let file = &mut inner.files[self.file];
        file.durable.resize(file.now.len(), 0);
        for sector in std::mem::take(&mut file.dirty) {
            let from = (sector * SECTOR).min(file.now.len());
            let to = (from + SECTOR).min(file.now.len());
            file.durable[from..to].copy_from_slice(&file.now[from..to]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        let inner = &mut *self.disk.0.lock();
        let file = &mut inner.files[self.file];
        if (len as u64) < file.acknowledged {
            inner.violations.push(format!("truncated to {len} below {} acknowledged bytes", file.acknowledged));
        }
        // what is cut off and written again later must not read as what it was
        let shorter = len.min(file.now.len());
        file.dirty.extend(shorter / SECTOR..file.now.len().div_ceil(SECTOR));
        file.now.resize(len, 0);
        file.allocated.retain(|block| block * (BLOCK_BYTES as u64) < len as u64);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().files[self.file].now.len() as u64)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok((offset < self.len()?).then_some(offset))
    }

    fn map(&self) -> io::Result<Mapped> {
        Ok(Mapped::in_memory(SharedBytes::copy_aligned(&self.disk.0.lock().files[self.file].now)))
    }

    fn is_direct(&self) -> bool {
        true
    }
}

impl Disk for CrashDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.lock().dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        let inner = self.0.lock();
        let here = inner.dirs.iter().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let inner = self.0.lock();
        let here = inner.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.0.lock();
        if inner.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        inner.files.push(FileState::default());
        let file = inner.files.len() - 1;
        inner.names.insert(path.to_owned(), file);
        inner.pending.push(Change::Create(path.to_owned(), file));
        Ok(inner.handle(self, file))
    }

    fn open(&self, path: &Path, _access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.0.lock();
        Ok(inner.handle(self, inner.file_of(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
        let file = inner.file_of(from)?;
        inner.names.remove(from);
        inner.names.insert(to.to_owned(), file);
        inner.pending.push(Change::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.file_of(path)?;
        inner.names.remove(path);
        inner.pending.push(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.syncs_tried += 1;
        if strikes(&mut inner.faults.syncs_until_failure) {
            return Err(io::Error::other("input/output error (injected)"));
        }
        inner.durable_names = inner.names.clone();
        inner.pending.clear();
        Ok(())
    }

    fn space(&self, _path: &Path) -> io::Result<DeviceSpace> {
        let inner = self.0.lock();
        let total_bytes = inner.capacity.unwrap_or(u64::MAX);
        Ok(DeviceSpace { free_bytes: total_bytes.saturating_sub(inner.used()), total_bytes })
    }
}
