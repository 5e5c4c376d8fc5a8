//! The real disk. Writes go past the page cache where the file system takes it (a long buffered run slows down from
//! first-touch page cache); reads have a file descriptor of their own, buffered and without read-ahead, so that they never
//! bring a page into the cache that is still to be written directly. What is made is for this user alone: the log holds what events say.

use crate::ahead::{ADVICE_BYTES, Writes};
use crate::disk::{Access, DeviceSpace, Disk, DiskFile};
use crate::frame::BLOCK_BYTES;
use crate::map::{Mapped, map_sealed};
use rustix::fs::{Advice, OFlags, SeekFrom, fadvise, fcntl_getfl, fcntl_setfl};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Files of the operating system.
#[derive(Clone, Debug)]
pub struct RealDisk {
    direct: bool,
    writes: Writes,
}

impl Default for RealDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl RealDisk {
    /// Direct writes where the file system takes them.
    #[must_use]
    pub fn new() -> Self {
        Self { direct: true, writes: Writes::default() }
    }

    /// Buffered writes always.
    #[must_use]
    pub fn buffered() -> Self {
        Self { direct: false, writes: Writes::default() }
    }

    fn open_with(&self, path: &Path, options: &OpenOptions) -> io::Result<(File, bool)> {
        if self.direct {
            let flags = OFlags::DIRECT.bits().cast_signed();
            match options.clone().custom_flags(flags).open(path) {
                // the file system does not take direct writes
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => {}
                other => return other.map(|file| (file, true)),
            }
        }
        options.open(path).map(|file| (file, false))
    }

    fn with_reader(&self, path: &Path, write: Option<(File, bool)>) -> io::Result<Arc<dyn DiskFile>> {
        let read = File::open(path)?;
        // advice only: the log's frames are found by offset
        let _ = fadvise(&read, 0, None, Advice::Random);
        let direct = AtomicBool::new(write.as_ref().is_some_and(|w| w.1));
        Ok(Arc::new(RealFile { read, write: write.map(|w| w.0), direct, writes: self.writes.clone() }))
    }
}

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let Some(above) = dir.parent() else { return Ok(()) };
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        if dir.is_dir() {
            // whoever made it may have died before its name was synced
            return match self.sync_dir(above) {
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                other => other,
            };
        }
        self.create_dir_all(above)?;
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        self.sync_dir(above)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            // a name that is no UTF-8 is none of ours
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if let (true, Ok(name)) = (entry.file_type()?.is_dir(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        // create first without O_DIRECT: a file system that refuses the flag may leave the new file behind
        drop(OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?);
        self.open(path, Access::ReadWrite)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let write = match access {
            Access::Read => None,
            Access::ReadWrite => Some(self.open_with(path, OpenOptions::new().write(true))?),
        };
        self.with_reader(path, write)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the Disk trait; its callers sync file and folder")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<DeviceSpace> {
        let stat = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(DeviceSpace { free_bytes: bytes(stat.f_bavail), total_bytes: bytes(stat.f_blocks) })
    }
}

struct RealFile {
    read: File,
    write: Option<File>,
    direct: AtomicBool,
    writes: Writes,
}

impl RealFile {
    fn writer(&self) -> io::Result<&File> {
        self.write.as_ref().ok_or_else(|| io::ErrorKind::PermissionDenied.into())
    }

    /// Some file systems take O_DIRECT at open and refuse the first write: go on buffered.
    fn go_buffered(&self, file: &File) -> io::Result<()> {
        let flags = fcntl_getfl(file)?;
        fcntl_setfl(file, flags.difference(OFlags::DIRECT))?;
        self.direct.store(false, Ordering::Relaxed);
        Ok(())
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let file = self.writer()?;
        let _under_way = self.writes.begin();
        let mut done = 0;
        while done < data.len() {
            match file.write_at(&data[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                // a short direct write goes on at a whole block
                Ok(n) if self.is_direct() && n < data.len() - done => {
                    let whole = n - n % BLOCK_BYTES;
                    if whole == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                    done += whole;
                }
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::InvalidInput && self.is_direct() => self.go_buffered(file)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.read.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn will_need(&self, offset: u64, len: u64) {
        let end = offset.saturating_add(len);
        let mut from = offset;
        while from < end {
            let to = (from + ADVICE_BYTES as u64).min(end);
            let _ = fadvise(&self.read, from, NonZeroU64::new(to - from), Advice::WillNeed);
            from = to;
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let _under_way = self.writes.begin();
        self.writer()?.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writer()?.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.read.metadata()?.len())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        match rustix::fs::seek(&self.read, SeekFrom::Data(offset)) {
            Ok(at) => Ok(Some(at)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            // a file system that cannot tell: everything may be data
            Err(rustix::io::Errno::INVAL) => Ok((offset < self.len()?).then_some(offset)),
            Err(e) => Err(e.into()),
        }
    }

    fn map(&self) -> io::Result<Mapped> {
        // its readers say what they need: what a hint on the file says would hold for them too
        let _ = fadvise(&self.read, 0, None, Advice::Normal);
        map_sealed(&self.read, self.writes.clone())
    }

    fn is_direct(&self) -> bool {
        self.direct.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::AlignedBuf;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_made_is_for_this_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, folder) = (RealDisk::new(), dir.path().join("a/b"));
        disk.create_dir_all(&folder).unwrap();
        drop(disk.create(&folder.join("x")).unwrap());
        for made in [dir.path().join("a"), folder.join("x"), folder] {
            let mode = std::fs::metadata(&made).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}: {mode:o}", made.display());
        }
    }

    #[test]
    fn writes_reads_maps_and_finds_data() {
        for disk in [RealDisk::new(), RealDisk::buffered()] {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join("a/b");
            disk.create_dir_all(&folder).unwrap();
            let path = folder.join("x");
            let file = disk.create(&path).unwrap();
            assert!(disk.create(&path).is_err());
            file.set_len(1 << 20).unwrap();
            let mut buf = AlignedBuf::zeroed(8192);
            buf.fill(5);
            file.write_at(65536, &buf).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir(&folder).unwrap();
            assert!(file.next_data(0).unwrap().is_some_and(|at| at <= 65536));
            let mut out = [0; 100];
            assert_eq!(file.read_at(65536, &mut out).unwrap(), 100);
            assert_eq!(out, [5; 100]);
            file.set_len(65536 + 4096).unwrap();
            let map = file.map().unwrap();
            assert_eq!(disk.list(&folder).unwrap(), ["x"]);
            disk.remove(&path).unwrap();
            assert_eq!((map.bytes().len(), map.bytes()[65536]), (69632, 5));
            let space = disk.space(&folder).unwrap();
            assert!(space.free_bytes > 0 && space.free_bytes <= space.total_bytes);
        }
    }
}
