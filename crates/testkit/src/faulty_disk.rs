//! A real disk that fails on purpose below a real node: no descriptor, no room, or an answer that does not come.
//!
//! It loses nothing that was written (that is what the crash disk is for). Cloning shares the fault.

use parking_lot::{Condvar, Mutex};
use std::io;
use std::path::Path;
use std::sync::Arc;
use strandline_wal::{Access, DeviceSpace, Disk, DiskFile, Mapped, RealDisk};

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskFault {
    /// Nothing.
    Well,
    /// There is no descriptor for a new file.
    NoDescriptor,
    /// There is no room for a new file.
    NoRoom,
    /// No room is left: logs have what they hold ahead.
    Full,
    /// Room is promised, and then a write finds none.
    WritesFull,
    /// A sync fails: nobody knows what is on the disk.
    SyncsFail,
    /// A read waits until something else is set.
    ReadsWait,
    /// A sync does.
    SyncsWait,
    /// A new file does.
    CreatesWait,
}

#[derive(Debug)]
struct State {
    fault: DiskFault,
    /// What waits.
    waiting: usize,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Only logs whose folder has this in its name; all where it is empty.
    logs: String,
}

impl Shared {
    fn fault(&self) -> DiskFault {
        self.state.lock().fault
    }

    /// Waits as long as this is the fault.
    fn wait_out(&self, fault: DiskFault) {
        let mut state = self.state.lock();
        state.waiting += 1;
        while state.fault == fault {
            self.changed.wait(&mut state);
        }
        state.waiting -= 1;
    }
}

/// The disk.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    real: RealDisk,
    shared: Arc<Shared>,
}

impl Default for FaultyDisk {
    fn default() -> Self {
        Self::of_logs("")
    }
}

impl FaultyDisk {
    /// A disk on which nothing is wrong yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, of which only logs suffer whose folder has this in its name.
    #[must_use]
    pub fn of_logs(part: &str) -> Self {
        let state = Mutex::new(State { fault: DiskFault::Well, waiting: 0 });
        let shared = Shared { state, changed: Condvar::new(), logs: part.to_owned() };
        Self { real: RealDisk::new(), shared: Arc::new(shared) }
    }

    /// From now on this goes wrong.
    pub fn set(&self, fault: DiskFault) {
        self.shared.state.lock().fault = fault;
        self.shared.changed.notify_all();
    }

    /// How many reads, syncs and new files wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.state.lock().waiting
    }

    fn suffers(&self, path: &Path) -> bool {
        self.is_of(path.parent())
    }

    /// Whether a folder is that of a log which suffers.
    fn is_of(&self, dir: Option<&Path>) -> bool {
        let log = dir.and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or("");
        log.contains(&self.shared.logs)
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        if self.suffers(path) { Arc::new(FaultyFile(file, Arc::clone(&self.shared))) } else { file }
    }
}

impl Disk for FaultyDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.real.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.real.list(dir)
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.real.list_dirs(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if self.suffers(path) {
            self.shared.wait_out(DiskFault::CreatesWait);
        }
        match self.shared.fault() {
            // EMFILE
            DiskFault::NoDescriptor if self.suffers(path) => Err(io::Error::from_raw_os_error(24)),
            DiskFault::NoRoom if self.suffers(path) => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(self.file(path, self.real.create(path)?)),
        }
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.real.open(path, access)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.real.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.real.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.real.sync_dir(dir)
    }

    fn space(&self, path: &Path) -> io::Result<DeviceSpace> {
        let space = self.real.space(path)?;
        let is_full = self.shared.fault() == DiskFault::Full && self.is_of(Some(path));
        Ok(if is_full { DeviceSpace { free_bytes: 0, ..space } } else { space })
    }
}

struct FaultyFile(Arc<dyn DiskFile>, Arc<Shared>);

impl DiskFile for FaultyFile {
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.1.fault() {
            DiskFault::WritesFull => Err(io::ErrorKind::StorageFull.into()),
            _ => self.0.write_at(offset, data),
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.1.wait_out(DiskFault::ReadsWait);
        self.0.read_at(offset, buf)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.1.wait_out(DiskFault::SyncsWait);
        match self.1.fault() {
            // EIO
            DiskFault::SyncsFail => Err(io::Error::from_raw_os_error(5)),
            _ => self.0.sync_data(),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        self.0.next_data(offset)
    }

    fn map(&self) -> io::Result<Mapped> {
        self.1.wait_out(DiskFault::ReadsWait);
        self.0.map()
    }

    fn is_direct(&self) -> bool {
        self.0.is_direct()
    }
}
