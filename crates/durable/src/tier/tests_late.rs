//! Opening a store without a log while its disk is full: it is read, and claimed once there is room.

use super::tests::all;
use super::*;
use crate::objects::{Fault, FlakyObjects, Objects, Wrapped};
use crate::testing::*;
use crate::{verify_delta_log, verify_manifests};
use std::path::Path;
use strandline_deql::StoreConfig;
use strandline_event::ErrorKind;

/// Manifests on a disk that may have no room for anything new.
struct FullDisk {
    inner: SharedObjects,
    is_full: Arc<AtomicBool>,
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

fn without_log() -> StoreConfig {
    let mut config = config("");
    config.wal.enabled = false;
    config
}

fn try_open(
    root: &Path,
    is_full: &Arc<AtomicBool>,
    config: &StoreConfig,
    entropy: u128,
) -> Result<DurableTier, OpenError> {
    let (data, manifests) = folders(root);
    let manifests = FullDisk { inner: manifests, is_full: Arc::clone(is_full) };
    DurableTier::open_with(data, Arc::new(manifests), config, options(entropy))
}

/// Commits the n-th ten events.
fn append(tier: &DurableTier, n: u64) -> Result<(), CommitError> {
    tier.claim_late(Micros(START_US + 7))?;
    let job = job(u128::from(n) + 100, n, n + 1);
    let events: Vec<_> = (n * 10..n * 10 + 10).map(owned).collect();
    let files = write(tier, &job, &events).unwrap();
    tier.commit(&commit(&job, files, &events)).map(|_| ())
}

fn there(root: &Path) -> Vec<String> {
    let (data, manifests) = folders(root);
    let listed = data.list("").unwrap().into_iter().chain(manifests.list("").unwrap());
    listed.map(|info| info.path).collect()
}

#[test]
fn a_store_without_a_log_is_read_on_a_full_disk_and_claimed_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let is_full = Arc::new(AtomicBool::new(false));
    let config = without_log();
    let first = try_open(dir.path(), &is_full, &config, 1).unwrap();
    append(&first, 0).unwrap();
    let (version, before) = (first.pin().version(), there(dir.path()));
    drop(first);

    is_full.store(true, Ordering::SeqCst);
    let tier = try_open(dir.path(), &is_full, &config, 2).unwrap();
    assert!(tier.waits_for_room() && tier.epoch().is_none());
    assert_eq!(all(&tier.pin()), history(10));
    for _ in 0..2 {
        assert_eq!(append(&tier, 1).unwrap_err().kind(), ErrorKind::DiskFull);
        let update = tier.update(&Update::Config("other".to_owned()), 9, Micros(START_US + 8));
        assert_eq!(update.err().map(|error| error.kind()), Some(ErrorKind::DiskFull));
    }
    assert_eq!(tier.sweep(Micros(i64::MAX)).unwrap(), Vec::<String>::new());
    assert_eq!((there(dir.path()), tier.pin().version()), (before, version), "nothing was written");

    is_full.store(false, Ordering::SeqCst);
    append(&tier, 1).unwrap();
    assert!(!tier.waits_for_room());
    assert_eq!((tier.epoch(), tier.pin().version()), (Some(2), version + 2), "a claim and a commit");
    assert_eq!(tier.pin().config_text(), options(2).config_text);
    assert_eq!(all(&tier.pin()), history(20));
    assert_eq!((verify_manifests(&tier), verify_delta_log(&tier)), (Vec::new(), Vec::new()));
    append(&tier, 2).unwrap();
    drop(tier);
    assert_eq!(all(&try_open(dir.path(), &is_full, &config, 3).unwrap().pin()), history(30));
}

#[test]
fn who_commits_before_a_late_claim_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let (is_full, has_room) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let config = without_log();
    let older = try_open(dir.path(), &has_room, &config, 1).unwrap();
    append(&older, 0).unwrap();
    is_full.store(true, Ordering::SeqCst);
    let late = try_open(dir.path(), &is_full, &config, 2).unwrap();
    append(&older, 1).unwrap();
    is_full.store(false, Ordering::SeqCst);
    for _ in 0..2 {
        assert!(matches!(append(&late, 1), Err(CommitError::StaleEpoch { found: 1, .. })));
    }
    assert!(late.waits_for_room());
    append(&older, 2).unwrap();
    assert_eq!(all(&older.pin()), history(30));
}

/// It may have happened: only a start finds that out on a local folder.
#[test]
fn a_late_claim_of_unknown_outcome_is_left_to_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (is_full, config) = (Arc::new(AtomicBool::new(false)), without_log());
    append(&try_open(dir.path(), &is_full, &config, 1).unwrap(), 0).unwrap();
    is_full.store(true, Ordering::SeqCst);
    let (data, manifests) = folders(dir.path());
    // the first operation that reaches them is the claim for which there is room
    let flaky = FlakyObjects::new(manifests, 1, Fault::LostAnswer);
    let full = FullDisk { inner: Arc::new(flaky.clone()), is_full: Arc::clone(&is_full) };
    let tier = DurableTier::open_with(data, Arc::new(full), &config, options(2)).unwrap();
    assert_eq!((flaky.operations(), tier.waits_for_room()), (0, true));
    is_full.store(false, Ordering::SeqCst);
    for _ in 0..2 {
        assert!(matches!(append(&tier, 1), Err(CommitError::Unknown { .. })));
    }
    drop(tier);
    let tier = try_open(dir.path(), &is_full, &config, 3).unwrap();
    assert_eq!(tier.epoch(), Some(3));
    append(&tier, 1).unwrap();
    assert_eq!(all(&tier.pin()), history(20));
}

#[test]
fn a_birth_and_a_store_with_a_log_need_room() {
    let dir = tempfile::tempdir().unwrap();
    let is_full = Arc::new(AtomicBool::new(true));
    for config in [without_log(), config("")] {
        let born = try_open(dir.path(), &is_full, &config, 1);
        assert_eq!(born.err().map(|error| error.kind()), Some(ErrorKind::DiskFull));
    }
    is_full.store(false, Ordering::SeqCst);
    drop(try_open(dir.path(), &is_full, &config(""), 1).unwrap());
    is_full.store(true, Ordering::SeqCst);
    let opened = try_open(dir.path(), &is_full, &config(""), 2);
    assert_eq!(opened.err().map(|error| error.kind()), Some(ErrorKind::DiskFull));
}
