//! What a job wrote and did not commit is taken away, whatever the commit failed by; what may be committed stays.

// helpers of a test are as blunt as the test itself
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, follow, load, local};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_deql::StoreConfig;
use strandline_durable::objects::{Fault, FlakyObjects, LocalObjects, StoreObjects};
use strandline_durable::{CommitError, DurableTier, SharedObjects};
use strandline_engine::compact::{self, CompactError, JobLimits, NoSteps, Progress, Step, Steps, Stopped};
use strandline_event::{LogKey, Micros, Position};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_wal::crash_disk::CrashDisk;

fn key() -> LogKey {
    LogKey::single("T")
}

/// Does something once all files of the job are written.
struct Meanwhile<F: Fn() + Sync>(F);

impl<F: Fn() + Sync> Steps for Meanwhile<F> {
    fn reached(&self, step: Step) -> Result<(), Stopped> {
        if step == Step::FilesWritten {
            (self.0)();
        }
        Ok(())
    }
}

/// Data files that are there, under whatever name, and those that the store's manifest names.
fn files(store: &LocalStore) -> (BTreeSet<String>, BTreeSet<String>) {
    let there = store.objects().unwrap().0.list("").unwrap().into_iter().map(|info| info.path);
    let names = there
        .filter(|path| path.contains(".parquet") && !path.starts_with("_delta/"))
        .map(|path| path.replace(".tmp", ""))
        .collect();
    (names, store.store().durable().pin().files().iter().map(|file| file.path.clone()).collect())
}

fn assert_nothing_left(store: &LocalStore, what: &str) {
    let (there, named) = files(store);
    assert_eq!(there, named, "{what}");
}

fn commit_error(result: Result<u64, CompactError>) -> CommitError {
    match result {
        Err(CompactError::Commit(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_job_whose_epoch_or_range_is_over_leaves_no_file() {
    let mut store = local("partition.by = 'dt'");
    load(&mut store, "T", 0..60, 4);
    let engine = Arc::clone(store.store());
    let faster = Meanwhile(|| {
        let plan = compact::plan(&engine, &key()).unwrap().unwrap();
        compact::run_job(&engine, &plan, 4711, Micros(1_795_500_000_000_000), &Progress::default(), &NoSteps).unwrap();
    });
    let error = commit_error(store.compact_with(&key(), JobLimits::default(), &faster));
    assert!(matches!(error, CommitError::Watermark { .. }), "{error}");
    assert_nothing_left(&store, "another job was faster");
    drop(engine);
    store.kill().unwrap();
    load(&mut store, "T", 60..90, 4);
    let (objects, config) = (store.objects().unwrap().clone(), (*store.store().config()).clone());
    let claim = Meanwhile(|| {
        let options = strandline_durable::OpenOptions {
            scratch: None,
            writer: "other".to_owned(),
            config_text: strandline_deql::print(&config),
            entropy: 5,
            secret: 6,
            now: Micros(1_795_500_000_000_000),
            cache_bytes: 1 << 20,
        };
        drop(DurableTier::open_with(Arc::clone(&objects.0), Arc::clone(&objects.1), &config, options).unwrap());
    });
    let error = commit_error(store.compact_with(&key(), JobLimits::default(), &claim));
    assert!(matches!(error, CommitError::StaleEpoch { .. }), "{error}");
    assert_nothing_left(&store, "another owner");
    assert_eq!(follow(&store, Position::START, 50).0.len(), 90);
}

#[test]
fn a_job_that_cannot_read_older_heads_leaves_no_file() {
    let mut store = local("partition.by = 'dt'");
    load(&mut store, "T", 0..60, 4);
    store.compact(&key()).unwrap();
    load(&mut store, "T", 60..90, 4);
    let files = Arc::clone(&store.objects().unwrap().0);
    let snapshot = store.store().durable().pin();
    // without a data file the heads cannot be made anew either
    let run = &snapshot.log(&key()).unwrap().heads[0].path;
    let mut bytes = files.get(run).unwrap().to_vec();
    bytes[9] ^= 1;
    files.delete(run).unwrap();
    files.put_new(run, &bytes).unwrap();
    files.delete(&snapshot.files()[0].path).unwrap();
    let lost = snapshot.files()[0].path.clone();
    drop(snapshot);
    store.kill().unwrap();
    let error = store.compact(&key()).unwrap_err();
    assert!(error.to_string().contains("heads"), "{error}");
    let (there, mut named) = self::files(&store);
    assert!(named.remove(&lost));
    assert_eq!(there, named);
}

/// A store with 60 events in its log, over objects of which the operation `at` fails.
fn failing(
    config: &StoreConfig,
    objects: (SharedObjects, SharedObjects),
    at: u64,
    fault: Fault,
) -> (LocalStore, FlakyObjects) {
    let flaky = FlakyObjects::new(objects.0, at, fault);
    let manifests: SharedObjects = Arc::new(flaky.with(objects.1));
    let objects: (SharedObjects, SharedObjects) = (Arc::new(flaky.clone()), manifests);
    let mut store = LocalStore::over(config.clone(), Arc::new(CrashDisk::new()), Some(objects)).unwrap();
    load(&mut store, "T", 0..60, 4);
    (store, flaky)
}

fn memory() -> (SharedObjects, SharedObjects) {
    let objects = || -> SharedObjects { Arc::new(StoreObjects::memory().unwrap()) };
    (objects(), objects())
}

/// The operations of a job, by number.
fn operations(config: &StoreConfig, objects: (SharedObjects, SharedObjects)) -> std::ops::RangeInclusive<u64> {
    let (mut store, flaky) = failing(config, objects, 0, Fault::FailOnce);
    let before = flaky.operations();
    store.compact(&key()).unwrap();
    before + 1..=flaky.operations()
}

#[test]
fn a_job_that_an_operation_fails_leaves_no_file_and_is_done_again() {
    let config = declared("/durable", &format!("{TIERS}, partition.by = 'dt'"));
    let (mut writes, mut commits) = (0, 0);
    for at in operations(&config, memory()) {
        let (mut store, _) = failing(&config, memory(), at, Fault::FailOnce);
        match store.compact(&key()) {
            Ok(_) => continue,
            Err(CompactError::Commit(CommitError::Objects(_))) => commits += 1,
            Err(CompactError::Write(_)) => writes += 1,
            Err(other) => panic!("operation {at}: {other:?}"),
        }
        assert_nothing_left(&store, &format!("operation {at}"));
        assert_eq!(store.compact(&key()).unwrap(), 60);
        assert_nothing_left(&store, &format!("after operation {at}"));
        assert_eq!(follow(&store, Position::START, 50).0.len(), 60);
    }
    assert!(writes > 3 && commits > 1, "{writes} {commits}");
}

#[test]
fn what_may_be_committed_stays() {
    let config = declared("/durable", TIERS);
    let folder = Cell::new(0);
    let dir = tempfile::tempdir().unwrap();
    let on_disk = || -> (SharedObjects, SharedObjects) {
        folder.set(folder.get() + 1);
        let at =
            |name: &str| Arc::new(LocalObjects::open(&dir.path().join(format!("{}/{name}", folder.get()))).unwrap());
        (at("data"), at("manifests"))
    };
    let mut unknown = 0;
    for at in operations(&config, on_disk()) {
        let objects = on_disk();
        let (mut store, _) = failing(&config, objects.clone(), at, Fault::LostAnswer);
        if !matches!(store.compact(&key()), Err(CompactError::Commit(CommitError::Unknown { .. }))) {
            continue;
        }
        unknown += 1;
        assert!(!files(&store).0.is_empty(), "operation {at}: a manifest may name them");
        store.set_objects(Some(objects));
        store.kill().unwrap();
        assert_nothing_left(&store, "the next opening finds out");
        assert_eq!(store.store().durable().pin().rows(), 60);
        assert_eq!(follow(&store, Position::START, 50).0.len(), 60);
    }
    assert!(unknown > 0);
}
