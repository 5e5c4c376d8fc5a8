//! A start that fails takes nothing from an owner that serves: it is judged before it claims the store.

// helpers of a test are as blunt as the test itself
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, load, local, open_options};
use std::sync::Arc;
use strandline_deql::StoreConfig;
use strandline_durable::SharedObjects;
use strandline_engine::store::{OpenError, OpenOptions, Store};
use strandline_event::LogKey;
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_wal::crash_disk::CrashDisk;

/// An owner that serves: some of its events are durable, some are in its log only, and the manifest knows of both.
fn serving() -> LocalStore {
    let mut owner = local("");
    load(&mut owner, "T", 0..40, 4);
    owner.compact(&LogKey::single("T")).unwrap();
    load(&mut owner, "T", 40..60, 4);
    owner.restart().unwrap();
    owner
}

fn config() -> StoreConfig {
    declared("/durable", TIERS)
}

fn options(disk: &Arc<CrashDisk>, node: u64, accept_lost_log: bool) -> OpenOptions {
    OpenOptions { node, accept_lost_log, ..open_options(config(), disk) }
}

fn start(owner: &LocalStore, options: OpenOptions) -> Result<(), OpenError> {
    let (files, manifests): (SharedObjects, SharedObjects) = owner.objects().unwrap().clone();
    Store::open_on(options, files, manifests).map(drop)
}

/// A disk with the log of another store, trimmed far above what the owner has.
fn foreign_disk() -> Arc<CrashDisk> {
    let mut other = local("wal.retention_hours = 0");
    load(&mut other, "T", 0..400, 4);
    other.compact(&LogKey::single("T")).unwrap();
    load(&mut other, "T", 400..420, 4);
    other.time.advance_us(3_600_000_000);
    assert!(other.trim(&LogKey::single("T")) > 0, "the log must begin above its first entry");
    Arc::clone(other.disk())
}

#[test]
fn a_start_that_fails_fences_nobody() {
    let mut owner = serving();
    let version = owner.store().durable().pin().version();
    let nothing = Arc::new(CrashDisk::new());
    let lost = start(&owner, options(&nothing, 7, false));
    assert!(matches!(lost, Err(OpenError::LogsGone { .. })), "{:?}", lost.err());
    let foreign = start(&owner, options(&foreign_disk(), 9, false));
    assert!(matches!(foreign, Err(OpenError::LogsOld { .. })), "{:?}", foreign.err());
    let accepted = start(&owner, options(&foreign_disk(), 9, true));
    assert!(matches!(accepted, Err(OpenError::Wal { .. })), "{:?}", accepted.err());
    let behind = start(&owner, OpenOptions { accept_lost_log: true, ..options(&foreign_disk(), 7, false) });
    assert!(matches!(behind, Err(OpenError::ManifestBehind { .. })), "{:?}", behind.err());
    let changed = OpenOptions {
        config: declared("/durable", &format!("{TIERS}, partition.by = 'dt'")),
        ..options(&nothing, 7, true)
    };
    let refused = start(&owner, changed);
    assert!(
        matches!(&refused, Err(OpenError::ConfigChanged { was, .. }) if *was == ["partition.by = ()"]),
        "{refused:?}"
    );

    let newest = owner.store().durable().history(1).unwrap()[0].version;
    assert_eq!(newest, version, "nothing was committed");
    load(&mut owner, "T", 60..70, 4);
    assert_eq!(owner.compact(&LogKey::single("T")).unwrap(), 30, "the owner commits as before");

    // a start that succeeds does take the store: the test above can fail
    start(&owner, options(&nothing, 7, true)).unwrap();
    load(&mut owner, "T", 70..80, 4);
    assert!(owner.compact(&LogKey::single("T")).is_err(), "the old owner is fenced");
}

#[test]
fn what_is_committed_between_judgement_and_claim_is_judged_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = declared(dir.path().to_str().unwrap(), TIERS);
    let mut owner = LocalStore::new(config.clone()).unwrap();
    load(&mut owner, "T", 0..40, 4);
    owner.compact(&LogKey::single("T")).unwrap();
    let other = |accept_lost_log| {
        let disk = Arc::new(CrashDisk::new());
        Store::judge(OpenOptions { config: config.clone(), ..options(&disk, 7, accept_lost_log) }).unwrap()
    };
    // everything is durable: another node could take over without its log
    owner.stop();
    let (early, late) = (other(false), other(false));
    owner.reopen(false).unwrap();
    load(&mut owner, "T", 40..60, 4);
    owner.restart().unwrap();
    let refused = early.open().err().unwrap();
    assert!(matches!(refused, OpenError::LogsOld { .. }), "{refused}");
    assert_eq!(owner.compact(&LogKey::single("T")).unwrap(), 20, "it was not fenced");
    owner.stop();
    let watermark = owner.store().durable().pin().watermark(&LogKey::single("T"));
    let taken = late.open().unwrap();
    assert_eq!(taken.store.durable().pin().watermark(&LogKey::single("T")), watermark);
    assert!(taken.logs[0].sink.as_ref().unwrap().last_pushed() > watermark, "no index is used twice");
}
