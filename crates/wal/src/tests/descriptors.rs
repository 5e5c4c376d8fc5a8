//! No descriptor left: a new log is refused, and what was accepted waits instead of ending the process.

use super::*;
use std::sync::atomic::AtomicBool;

/// A disk whose process may open nothing while `0` is set.
#[derive(Clone)]
struct Scarce(CrashDisk, Arc<AtomicBool>);

impl Scarce {
    fn check(&self) -> std::io::Result<()> {
        match self.1.load(Ordering::SeqCst) {
            true => Err(rustix::io::Errno::MFILE.into()),
            false => Ok(()),
        }
    }
}

impl Disk for Scarce {
    fn create_dir_all(&self, dir: &Path) -> std::io::Result<()> {
        self.0.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn list_dirs(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        self.0.list_dirs(dir)
    }

    fn create(&self, path: &Path) -> std::io::Result<Arc<dyn DiskFile>> {
        self.check()?;
        self.0.create(path)
    }

    fn open(&self, path: &Path, access: Access) -> std::io::Result<Arc<dyn DiskFile>> {
        self.check()?;
        self.0.open(path, access)
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.0.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.check()?;
        self.0.sync_dir(dir)
    }

    fn space(&self, path: &Path) -> std::io::Result<DeviceSpace> {
        self.0.space(path)
    }
}

#[test]
fn a_log_is_born_with_its_first_file_or_not_at_all() {
    let rig = Rig::new(small_config());
    let disk = Scarce(rig.disk.clone(), Arc::new(AtomicBool::new(true)));
    assert!(matches!(rig.open_on(Arc::new(disk.clone())), Err(OpenError::Io { .. })));
    disk.1.store(false, Ordering::SeqCst);
    let writer = rig.open_on(Arc::new(disk.clone())).unwrap().writer.unwrap();
    assert_eq!(rig.disk.list(&dir()).unwrap(), [names::FIRST_SPARE_NAME, names::SPARE_NAME]);
    disk.1.store(true, Ordering::SeqCst);
    drop(writer);
}

#[test]
fn a_group_without_a_descriptor_waits_and_is_written() {
    let mut rig = Rig::new(small_config());
    let disk = Scarce(rig.disk.clone(), Arc::default());
    let mut writer = rig.open_on(Arc::new(disk.clone())).unwrap().writer.unwrap();
    let mut wanted = Vec::new();
    // over several segments, and no descriptor for any of the files between
    for round in 0..40_u8 {
        wanted.push((rig.push(&mut writer, &[round; 8000]).index, vec![round; 8000]));
        disk.1.store(true, Ordering::SeqCst);
        while let Some(group) = writer.take_group() {
            let back = Arc::new(Mutex::new(None));
            let cell = Arc::clone(&back);
            rig.io.submit(group, Box::new(move |done| *cell.lock() = Some(done)));
            rig.io.background(5);
            disk.1.store(false, Ordering::SeqCst);
            assert_eq!(rig.io.retry_stalled(), 0);
            let group = back.lock().take().unwrap().unwrap();
            writer.committed(group);
        }
    }
    assert_eq!(rig.fatal.load(Ordering::SeqCst), 0);
    assert!(segment_paths(&rig.disk).len() > 3);
    assert!(entries(&rig.open().view) == wanted);
}
