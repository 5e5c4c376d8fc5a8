//! A disk that fails on purpose below a real node: nothing is fatal that a refusal can say.

use super::*;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use strandline_event::SharedBytes;
use strandline_wal::{Access, DeviceSpace, Disk, DiskFile, RealDisk};
use strandline_workers::NodeDisk;

const WELL: u8 = 0;
/// No descriptor for a new file.
const NO_DESCRIPTOR: u8 = 1;
/// No room for a new file.
const NO_ROOM: u8 = 2;
/// Room is promised, and then there is none.
const WRITES_FULL: u8 = 3;

#[derive(Clone)]
struct Faulty(RealDisk, Arc<AtomicU8>);

struct FaultyFile(Arc<dyn DiskFile>, Arc<AtomicU8>);

impl Faulty {
    fn new() -> Self {
        Self(RealDisk::new(), Arc::new(AtomicU8::new(WELL)))
    }

    fn set(&self, state: u8) {
        self.1.store(state, Ordering::SeqCst);
    }

    fn options(&self, dir: &Path) -> NodeOptions {
        let drain_timeout = Duration::from_millis(600);
        NodeOptions { disk: NodeDisk(Arc::new(self.clone())), drain_timeout, ..options(dir) }
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile(file, Arc::clone(&self.1)))
    }
}

impl Disk for Faulty {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list_dirs(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        match self.1.load(Ordering::SeqCst) {
            NO_DESCRIPTOR => Err(io::Error::from_raw_os_error(24)),
            NO_ROOM => Err(io::ErrorKind::StorageFull.into()),
            _ => self.0.create(path).map(|file| self.file(file)),
        }
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(path, access).map(|file| self.file(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn space(&self, path: &Path) -> io::Result<DeviceSpace> {
        self.0.space(path)
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.1.load(Ordering::SeqCst) {
            WRITES_FULL => Err(io::ErrorKind::StorageFull.into()),
            _ => self.0.write_at(offset, data),
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buf)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
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

    fn map(&self) -> io::Result<SharedBytes> {
        self.0.map()
    }

    fn is_direct(&self) -> bool {
        self.0.is_direct()
    }
}

#[test]
fn a_log_that_cannot_be_made_refuses_its_append_and_is_made_later() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    runtime::run(async {
        let disk = Faulty::new();
        let node = Node::start(declarations(dir, ""), disk.options(dir)).await.unwrap();
        let store = node.store("calls").unwrap();
        for (state, kind) in [(NO_DESCRIPTOR, ErrorKind::Unavailable), (NO_ROOM, ErrorKind::DiskFull)] {
            disk.set(state);
            let refused = append(&node, &store, "c", 1).await.err().unwrap();
            assert_eq!(refused.kind(), kind, "{refused}");
        }
        disk.set(WELL);
        assert_eq!(append(&node, &store, "c", 2).await.unwrap(), (1, 2));
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

#[test]
fn a_drain_does_not_wait_for_ever_for_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    runtime::run(async {
        let disk = Faulty::new();
        let node = Node::start(declarations(dir, ""), disk.options(dir)).await.unwrap();
        let store = node.store("calls").unwrap();
        append(&node, &store, "c", 1).await.unwrap();
        disk.set(WRITES_FULL);
        let stalled = {
            let (node, store) = (node.clone(), store.clone());
            tokio::spawn(async move { append(&node, &store, "c", 1).await })
        };
        // a job waits for the log as well
        let job = store.compact(None).await.unwrap().remove(0);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let undrained = node.drain().await.err().unwrap();
        assert_eq!(undrained.logs, ["calls/Call"]);
        assert!(matches!(stalled.await.unwrap(), Err(NodeError::OutcomeUnknown)));
        job.ended().await;
        drop((store, job));
        stop(node).await;
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        assert!(count(&store, "c").await >= 1);
        drop(store);
        stop(node).await;
    })
    .unwrap();
}
