//! Logs of a cluster's member at a start.

// a test is blunt
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::open_options;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use strandline_engine::store::{OpenError, OpenOptions, ReplicaOptions, Store, Witness};
use strandline_event::{LogIndex, LogKey, Micros};
use strandline_keys::KeyProvider;
use strandline_keys::testing::TestKeys;
use strandline_testkit::r#gen::store as declared;
use strandline_wal::crash_disk::CrashDisk;
use strandline_wal::io::abort_on_fatal;
use strandline_wal::{Disk, InlineIo, Last, LeaderId, LogId, LogIo, LogWriter};

const NOW: Micros = Micros(1_900_000_000_000_000);
const TIERS: &str = "wal.enabled = true, wal.path = '/wal', inmemory.enabled = true";
const ENCRYPTED: &str =
    "security.encrypt.at_rest = true, security.kms.provider = 'local', security.kms.key_id = '/keys/of/the/test'";

fn options(place: &Path, disk: &Arc<CrashDisk>, keys: &str) -> OpenOptions {
    let config = declared(place.join("durable").to_str().unwrap(), keys);
    let keys =
        config.security.encrypt_at_rest.then(|| Arc::new(TestKeys::with_random(7, 4711)) as Arc<dyn KeyProvider>);
    OpenOptions { keys, ..open_options(config, disk) }
}

fn member(place: &Path, disk: &Arc<CrashDisk>) -> Arc<Store> {
    Store::open_member(&options(place, disk, TIERS)).unwrap()
}

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

#[test]
fn where_its_files_are_away_neither_a_store_nor_its_keyring_is_made() {
    for keys in [TIERS.to_owned(), format!("{TIERS}, {ENCRYPTED}")] {
        let (place, disk) = (tempfile::tempdir().unwrap(), Arc::new(CrashDisk::new()));
        let options = |has_served: bool| {
            let served = has_served.then(|| PathBuf::from("/data/stores/test/served-0816"));
            OpenOptions { served, ..options(place.path(), &disk, &keys) }
        };
        let is_refused = |error: Option<OpenError>| {
            let error = error.unwrap();
            assert!(matches!(error, OpenError::FilesGone { witness: Witness::Node, .. }), "{keys}: {error}");
        };
        is_refused(Store::open_member(&options(true)).err());
        assert!(!place.path().join("durable").exists(), "{keys}");
        is_refused(Store::judge(options(true)).err());
        assert_eq!(files_below(place.path()), 0, "{keys}");
        // a node that has not served it may make it, and then it is there
        for has_served in [false, true] {
            drop(Store::open_member(&options(has_served)).unwrap());
        }
    }
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

/// Takes everything that is pending to the disk; what went from the log is unlinked.
fn flush(writer: &mut LogWriter) {
    let io = InlineIo::new(abort_on_fatal());
    while let Some(group) = writer.take_group() {
        let (send, receive) = channel();
        io.submit(group, Box::new(move |done| drop(send.send(done))));
        writer.committed(receive.recv().unwrap().unwrap());
    }
    io.background(99);
}

#[test]
fn a_replica_that_had_given_more_to_files_than_these_hold_is_refused() {
    let (place, disk, key) = (tempfile::tempdir().unwrap(), Arc::new(CrashDisk::new()), LogKey::single("Call"));
    let opened = || {
        let options = ReplicaOptions { founds: false, existed: false, now: NOW };
        member(place.path(), &disk).open_replica(&key, options)
    };
    let mut writer = opened().unwrap().writer.unwrap();
    flush(&mut writer);
    // as what a manifest took over leaves a log that had nothing of it
    let id = LogId { leader: LeaderId { term: 1, node: 7 }, index: LogIndex(40) };
    writer.go_on_behind(Last { id, number: 40 }, None, NOW);
    flush(&mut writer);
    drop(writer);
    // and these files are those of a time before
    match opened().map(drop) {
        Err(OpenError::ManifestBehind { log, first, durable }) => {
            assert_eq!((log, first, durable), (key.clone(), LogIndex(41), LogIndex::ZERO));
        }
        other => panic!("{other:?}"),
    }
}
