//! Logs of a cluster's member at a start.

// a test is blunt
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;
use strandline_engine::store::{Grace, OpenError, OpenOptions, ReplicaOptions, Store};
use strandline_event::{LogKey, Micros};
use strandline_testkit::r#gen::store as declared;
use strandline_wal::Disk;
use strandline_wal::crash_disk::CrashDisk;

const NOW: Micros = Micros(1_900_000_000_000_000);

fn member(place: &Path, disk: &Arc<CrashDisk>) -> Arc<Store> {
    let durable = place.join("durable");
    let config = declared(durable.to_str().unwrap(), "wal.enabled = true, wal.path = '/wal', inmemory.enabled = true");
    let (grace, scratch, entropy, secret, keys) = (Grace::default(), None, 4711, 1174, None);
    let (disk, now, accept_lost_log) = (Arc::clone(disk) as _, NOW, false);
    let options = OpenOptions { config, disk, node: 7, now, entropy, secret, accept_lost_log, grace, scratch, keys };
    Store::open_member(&options).unwrap()
}

#[test]
fn a_replica_that_was_lost_before_it_had_begun_begins_again_and_one_whose_log_is_gone_does_not() {
    let (place, disk, key) = (tempfile::tempdir().unwrap(), Arc::new(CrashDisk::new()), LogKey::single("Call"));
    let opened = |existed| {
        let options = ReplicaOptions { founds: false, existed, now: NOW };
        member(place.path(), &disk).open_replica(&key, options)
    };
    drop(opened(false).unwrap());
    drop(opened(true).unwrap());
    // nothing says any more that it had not begun
    disk.remove(Path::new("/wal/Call/first.spare")).unwrap();
    assert!(matches!(opened(true).map(drop), Err(OpenError::ReplicaGone { .. })));
}
