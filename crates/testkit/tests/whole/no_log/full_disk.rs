//! A store without a log whose manifests find no room: it reads, and goes on once there is some.

use super::{Place, first_seq, is_duplicate, read, refusal, simple, version};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strandline_durable::SharedObjects;
use strandline_durable::objects::{ObjectError, Objects, Wrapped};
use strandline_event::ErrorKind;
use strandline_testkit::local_store::LocalStore;

/// Manifests on a disk that may have no room for a new one.
struct FullDisk {
    inner: SharedObjects,
    is_full: AtomicBool,
}

impl Wrapped for FullDisk {
    fn inner(&self) -> &dyn Objects {
        &*self.inner
    }

    fn on_put_new(&self, path: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        match self.is_full.load(Ordering::SeqCst) {
            true => Err(ObjectError::DiskFull { path: path.to_owned() }),
            false => self.inner.put_new(path, bytes),
        }
    }
}

/// A store with one event, whose disk is full by now.
fn full() -> (Place, Arc<FullDisk>, LocalStore) {
    let place = Place::new(true);
    let (data, manifests) = place.objects();
    let disk = Arc::new(FullDisk { inner: manifests, is_full: AtomicBool::new(false) });
    let mut store = place.open((data, Arc::clone(&disk) as SharedObjects)).unwrap();
    store.append(&simple("T", "a", "c0"));
    disk.is_full.store(true, Ordering::SeqCst);
    (place, disk, store)
}

/// A start is a commit as well, for which there may be no room. The statement of that start is recorded with the first one.
#[test]
fn a_start_on_a_full_disk_reads_and_takes_appends_once_there_is_room() {
    let (place, disk, mut store) = full();
    store.declare(place.config(", compaction.max_open_files = 4"));
    store.kill().unwrap();
    assert!(store.report.warnings.iter().any(|warning| warning.contains("the disk is full")), "{:?}", store.report);
    let before = version(&store);
    for _ in 0..2 {
        assert_eq!(read(&store, "T", "a").0, ["c0"]);
        let refused = store.append(&simple("T", "a", "c1"));
        assert_eq!(refusal(&refused).kind(), ErrorKind::DiskFull, "{refused:?}");
        assert!(is_duplicate(&store.append(&simple("T", "a", "c0"))), "what is there is known");
        assert_eq!(store.store().newer_owner(store.time.now()).unwrap(), None);
    }
    assert!(store.store().durable().waits_for_room() && version(&store) == before);
    disk.is_full.store(false, Ordering::SeqCst);
    assert_eq!(first_seq(&store.append(&simple("T", "a", "c1"))), 2);
    let snapshot = store.store().durable().pin();
    assert_eq!((snapshot.version(), snapshot.epoch()), (before + 2, 2));
    assert_eq!(snapshot.manifest().job_id, 2_u128 << 64 | 1, "the first commit of its epoch");
    assert!(snapshot.config_text().contains("max_open_files"), "{}", snapshot.config_text());
    store.kill().unwrap();
    assert_eq!(read(&store, "T", "a").0, ["c0", "c1"]);
}

/// Nobody has to append: a look after other owners makes the claim too.
#[test]
fn a_claim_without_room_is_made_by_a_look_as_well() {
    let (_place, disk, mut store) = full();
    store.kill().unwrap();
    disk.is_full.store(false, Ordering::SeqCst);
    assert!(store.store().durable().waits_for_room());
    assert_eq!(store.store().newer_owner(store.time.now()).unwrap(), None);
    assert!(!store.store().durable().waits_for_room());
    assert_eq!(first_seq(&store.append(&simple("T", "a", "c1"))), 2);
}
