//! Retention beside another process that takes the store over, and the other way round: at every operation of the one's work the other
//! does all of its own.
//!
//! What must hold whatever they do: the loser finds out and leaves orphans only; whoever reads sees rows and retired ranges that are
//! the whole stream; everything that was taken out comes back, once; `verify` finds nothing.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{TIERS, event, request};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use strandline_deql::StoreConfig;
use strandline_durable::objects::{Fault, FlakyObjects, LocalObjects};
use strandline_durable::{CommitError, RetireError, SharedObjects};
use strandline_engine::append::Answer;
use strandline_engine::compact::{CompactError, Trigger};
use strandline_engine::read::{Filter, Order, StreamRead};
use strandline_engine::store::Store;
use strandline_engine::verify::verify;
use strandline_event::{BatchUnit, LogKey, Micros};
use strandline_testkit::crash_disk::CrashDisk;
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::Event;
use tempfile::TempDir;

/// Events in files, and all. Every second one is old, in each stream.
const IN_FILES: usize = 18;
const EVENTS: usize = 24;
const STREAMS: usize = 3;
const DAY_US: i64 = 24 * 3600 * 1_000_000;
/// Where the random numbers of the others begin.
const RIVAL: u128 = 2;
const THIRD: u128 = 3;

fn key() -> LogKey {
    LogKey::single("T")
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Work {
    Job,
    Merge,
    Retain,
}

impl Work {
    /// All of it that is due. Gives how much that was.
    fn run(self, store: &mut LocalStore) -> Result<u64, CompactError> {
        match self {
            Self::Job => store.compact(&key()),
            Self::Merge => store.merge(Trigger::Hand),
            Self::Retain => store.retain().map(|moved| moved.events).map_err(|error| match error {
                RetireError::Commit(error) => CompactError::Commit(error),
                other => panic!("{other:?}"),
            }),
        }
    }
}

/// What the one says that lost: never anything but that another one was there.
fn lost(error: &CompactError) {
    let told = match error {
        CompactError::StalePlan => true,
        CompactError::Commit(error) => matches!(
            error,
            CommitError::StaleEpoch { .. } | CommitError::Watermark { .. } | CommitError::NotLive { .. }
        ),
        _ => false,
    };
    assert!(told, "{error:?}");
}

fn objects(dir: &Path) -> (SharedObjects, SharedObjects) {
    let at = |dir: &Path| -> SharedObjects { Arc::new(LocalObjects::open(dir).unwrap()) };
    (at(dir), at(&dir.join("_manifests")))
}

fn append(store: &mut LocalStore, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let at = store.time.now().0 - if n.is_multiple_of(2) { 40 * DAY_US } else { 0 };
        let sent = Event { occurred_at: Some(Micros(at)), ..event(&format!("s{}", n % STREAMS), n) };
        assert!(matches!(store.append(&request("T", BatchUnit::Rows, vec![sent])), Answer::Done(_)));
        store.time.advance_us(13);
    }
}

/// A store of small files of an old and of a new day, and of a log with more, whose owner's operations are counted.
struct World {
    dir: TempDir,
    config: StoreConfig,
    first: LocalStore,
    flaky: FlakyObjects,
    /// The others' copy of the log.
    log: Arc<CrashDisk>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = format!("{TIERS}, partition.by = 'dt', retention.enabled = true, retention.durable_days = 20");
        let config = declared(&dir.path().to_string_lossy(), &keys);
        let (data, manifests) = objects(dir.path());
        let flaky = FlakyObjects::new(data, 0, Fault::FailOnce);
        let wrapped: (SharedObjects, SharedObjects) = (Arc::new(flaky.clone()), Arc::new(flaky.with(manifests)));
        let mut first = LocalStore::over(config.clone(), Arc::new(CrashDisk::new()), Some(wrapped)).unwrap();
        for from in (0..IN_FILES).step_by(6) {
            append(&mut first, from..from + 6);
            first.compact(&key()).unwrap();
        }
        append(&mut first, IN_FILES..EVENTS);
        first.seal(&key());
        let log = Arc::new(first.disk().copied());
        Self { dir, config, first, flaky, log }
    }

    fn rival(&self, work: Work) -> Rival {
        Rival { config: self.config.clone(), log: Arc::clone(&self.log), dir: self.dir.path().to_owned(), work }
    }
}

/// Another process that takes the store over.
struct Rival {
    config: StoreConfig,
    log: Arc<CrashDisk>,
    dir: PathBuf,
    work: Work,
}

impl Rival {
    fn run(self) -> Result<u64, CompactError> {
        let mut store = LocalStore::rival(self.config, self.log, Some(objects(&self.dir)), RIVAL).unwrap();
        let done = self.work.run(&mut store);
        assert_whole(store.store());
        done
    }
}

/// Rows and retired ranges are each stream whole, and the scan gives the same rows. Gives their numbers.
fn assert_whole(store: &Store) -> BTreeSet<usize> {
    let number = |data: &str| data.parse::<usize>().unwrap();
    let mut rows = Vec::new();
    for stream in 0..STREAMS {
        let id = format!("s{stream}");
        let (from_seq, to_seq, order) = (None, None, Some(Order::Asc));
        let read = StreamRead { stream_type: "T", stream_id: &id, from_seq, to_seq, limit: usize::MAX, order };
        let page = store.read_stream(&read).unwrap();
        let retired: u64 = page.verdict.retired.iter().map(|(first, last)| last.0 - first.0 + 1).sum();
        let whole = page.verdict.contiguous && page.verdict.missing.is_empty();
        assert!(whole && page.len() as u64 + retired == (EVENTS / STREAMS) as u64, "{id}: {page:?}");
        rows.extend(page.rows().map(|row| number(row.data)));
    }
    let seen: BTreeSet<usize> = rows.iter().copied().collect();
    assert_eq!(seen.len(), rows.len(), "nothing twice");
    assert!((0..EVENTS).filter(|n| n % 2 == 1).all(|n| seen.contains(&n)), "what is new stays: {seen:?}");
    let scan = store.scan(&Filter::default()).unwrap();
    let mut scanned: Vec<usize> =
        scan.flat_map(|batch| batch.unwrap().rows().map(|row| number(row.data)).collect::<Vec<_>>()).collect();
    scanned.sort_unstable();
    assert!(scanned.iter().eq(&seen), "{scanned:?} and {seen:?}");
    seen
}

/// Data files that a glob finds.
fn globbed(dir: &Path) -> BTreeSet<String> {
    let listed = objects(dir).0.list("").unwrap().into_iter().map(|info| info.path);
    listed.filter(|path| path.ends_with(".parquet") && !path.starts_with("_delta")).collect()
}

fn assert_clean(world: &World, what: &str) {
    let disk: Arc<dyn strandline_wal::Disk> = Arc::clone(&world.log) as _;
    assert_eq!(verify(&world.config, &disk).unwrap().findings, [], "{what}");
}

/// What is left when both are done, seen by a third: all of it comes back, and goes again.
fn assert_settled(world: &World, what: &str) {
    assert_clean(world, what);
    let place = Some(objects(world.dir.path()));
    let mut third = LocalStore::rival(world.config.clone(), Arc::clone(&world.log), place, THIRD).unwrap();
    assert_whole(third.store());
    let durable = third.store().durable().clone();
    durable.sweep(Micros(i64::MAX)).unwrap();
    durable.sweep_runs(Micros(i64::MAX)).unwrap();
    assert_eq!(durable.orphans(Micros(i64::MAX)).unwrap(), [], "{what}: the sweep takes all of them away");
    let named: BTreeSet<String> = durable.pin().files().iter().map(|file| file.path.clone()).collect();
    assert_eq!(globbed(world.dir.path()), named, "{what}");
    third.restore(&[]).unwrap();
    assert_eq!(assert_whole(third.store()).len(), EVENTS, "{what}: nothing of it is gone");
    third.compact(&key()).unwrap();
    third.merge(Trigger::Hand).unwrap();
    assert_eq!(third.retain().unwrap().events, EVENTS as u64 / 2, "{what}");
    third.restart().unwrap();
    assert_eq!(assert_whole(third.store()).len(), EVENTS / 2, "{what}");
    assert_clean(world, what);
}

/// At every operation of the first one's work, from its first look at the store to the Delta log and the names behind its commit,
/// another process takes the store over and does all of its own.
fn walk(work: Work, rival_s: Work) {
    let mut outcomes = BTreeSet::new();
    for at in 1.. {
        let mut world = World::new();
        let what = format!("{work:?}, at operation {at} {rival_s:?}");
        let (rival, (tell, told)) = (world.rival(rival_s), channel());
        world.flaky.meanwhile(at, move || tell.send(rival.run().map(drop)).unwrap());
        let done = work.run(&mut world.first);
        if world.flaky.was_not_reached() {
            break;
        }
        told.recv().unwrap().unwrap_or_else(|error| panic!("{what}: the newer owner may do all: {error:?}"));
        if let Err(error) = &done {
            lost(error);
        }
        outcomes.insert(done.is_ok());
        // it serves what it knew, and another try of it is another's loss, or there is nothing left to do
        assert_whole(world.first.store());
        match work.run(&mut world.first) {
            Ok(moved) => assert_eq!(moved, 0, "{what}"),
            Err(error) => lost(&error),
        }
        assert_settled(&world, &what);
    }
    assert_eq!(outcomes, BTreeSet::from([false, true]), "{work:?} {rival_s:?}: it lost, and it was first");
}

#[test]
fn a_rival_s_job_at_every_operation_of_retention() {
    walk(Work::Retain, Work::Job);
}

#[test]
fn a_rival_s_merges_at_every_operation_of_retention() {
    walk(Work::Retain, Work::Merge);
}

#[test]
fn a_rival_s_retention_at_every_operation_of_retention() {
    walk(Work::Retain, Work::Retain);
}

#[test]
fn a_rival_s_retention_at_every_operation_of_a_job() {
    walk(Work::Job, Work::Retain);
}

#[test]
fn a_rival_s_retention_at_every_operation_of_a_merge() {
    walk(Work::Merge, Work::Retain);
}
