//! Merges of a whole store: what readers, crashes, other owners and other merges see of them.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{assert_all, event, follow, load, local, page, request};
use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use strandline_durable::objects::{Fault, FlakyObjects, Objects, StoreObjects};
use strandline_durable::{Commit, CommitError, JobSpec, SharedObjects};
use strandline_engine::append::{Answer, FilesCommitted, FilesFailed, FilesGroup, SinkGroup};
use strandline_engine::compact::{
    self, CompactError, MergePlan, NoSteps, Progress, Step, Steps, StopAt, Stopped, Trigger,
};
use strandline_engine::read::{Filter, Order, StreamRead};
use strandline_engine::status;
use strandline_engine::store::{Grace, Store};
use strandline_event::{BatchUnit, ErrorKind, EventRef, LogKey, Micros, Position};
use strandline_testkit::crash_disk::CrashDisk;
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;

const DAY_US: i64 = 86_400_000_000;

fn key() -> LogKey {
    LogKey::single("T")
}

/// `parts` compactions of `each` events.
fn small_files(store: &mut LocalStore, parts: usize, each: usize) {
    for part in 0..parts {
        load(store, "T", part * each..(part + 1) * each, 4);
        store.compact(&key()).unwrap();
    }
}

fn files(store: &LocalStore) -> usize {
    store.store().durable().pin().files().len()
}

fn assert_sound(store: &LocalStore, count: usize) {
    assert_all(store.store(), store.time.now(), count);
    assert_eq!(store.store().durable().pin().rows(), count as u64);
    assert_eq!(strandline_durable::verify_manifests(store.store().durable()), []);
}

fn plans(store: &Store, trigger: Trigger, now: Micros) -> Vec<MergePlan> {
    compact::plan_merges(store, None, trigger, now).unwrap()
}

fn run(store: &Store, plan: &MergePlan, job_id: u128) -> Result<compact::MergeOutcome, CompactError> {
    compact::run_merge(store, plan, job_id, Micros(1_795_500_000_000_000), &Progress::default(), &NoSteps)
}

#[test]
fn a_hand_leaves_one_small_file_a_partition() {
    for (settings, partitions) in [("", 1), ("partition.by = 'dt'", 28), ("compaction.max_open_files = 3", 1)] {
        let mut store = local(settings);
        small_files(&mut store, 12, 28);
        let before = files(&store);
        let replaced = store.merge(Trigger::Hand).unwrap();
        assert_eq!(files(&store), partitions, "{settings}: of {before}, {replaced} were replaced");
        assert!(replaced >= (before - partitions) as u64);
        assert_sound(&store, 336);
        assert_eq!(store.merge(Trigger::Hand).unwrap(), 0, "nothing is left to merge");
        store.restart().unwrap();
        assert_sound(&store, 336);
    }
}

/// Found by an attack: three files of which no two fit into one were written again with every tick.
#[test]
fn merges_end_where_no_larger_file_is_possible() {
    let wide = ", bloom.columns = ('stream_id', 'event_id', 'event_type', 'command_id', 'correlation_id', 'tenant_id')";
    for keys in [
        "compaction.target_file_mb = 1, compaction.max_file_mb = 1, durable.compression = 'none'".to_owned(),
        format!("compaction.target_file_mb = 1, compaction.max_file_mb = 1, durable.compression = 'none'{wide}"),
    ] {
        let mut store = local(&keys);
        small_files(&mut store, 3, 12_000);
        // it says so where it does not end
        store.merge(Trigger::Hand).unwrap();
        let before = store.store().durable().pin().files().to_vec();
        assert!(before.len() > 1 && before.iter().all(|file| file.bytes < 1 << 20), "no more than a part of it fits");
        assert_eq!(store.merge(Trigger::Hand).unwrap(), 0, "a second run does nothing");
        assert_eq!(store.merge(Trigger::Tick).unwrap(), 0, "nor does the clock");
        assert_eq!(store.store().durable().pin().files().to_vec(), before);
        // more than one page holds
        assert_eq!(store.store().durable().pin().rows(), 36_000);
        assert_eq!(strandline_durable::verify_manifests(store.store().durable()), []);
    }
}

/// Found by an attack: the first file of a job in two lanes counted as one that had to end.
#[test]
fn a_hand_merges_the_files_of_a_job_that_was_written_in_lanes() {
    let mut store = local("");
    load(&mut store, "T", 0..70_000, 70);
    store.compact(&key()).unwrap();
    assert_eq!(files(&store), 2, "two lanes");
    assert_eq!(store.merge(Trigger::Hand).unwrap(), 2);
    assert_eq!(files(&store), 1);
}

#[test]
fn the_clock_merges_what_is_worth_it_late_events_included() {
    let mut store = local("partition.by = 'dt'");
    small_files(&mut store, 3, 20);
    assert_eq!(store.merge(Trigger::Tick).unwrap(), 0, "three small files may stand");
    // one more event of a day that was over
    for n in 60..64 {
        store.append(&request("T", BatchUnit::Rows, vec![event(&format!("s{}", n % 4), n)]));
        store.compact(&key()).unwrap();
    }
    let late = event("s0", 0);
    for _ in 0..4 {
        store.append(&request("U", BatchUnit::Rows, vec![late.clone()]));
        store.compact(&LogKey::single("U")).unwrap();
    }
    let due = plans(store.store(), Trigger::Tick, store.time.now());
    assert!(due.iter().any(|plan| *plan.partition.log.stream_type == *"U" && plan.inputs.len() == 4));
    store.merge(Trigger::Tick).unwrap();
    store.time.advance_us(2 * DAY_US);
    store.merge(Trigger::Tick).unwrap();
    let mut seen = HashSet::new();
    for file in store.store().durable().pin().files() {
        assert!(
            seen.insert((file.stream_type.clone(), file.partition.clone())),
            "a day later one file is left: {file:?}"
        );
    }
}

/// Commits the appends that wait in a store without a log, while a merge has its files open.
struct CommitsMeanwhile {
    store: Arc<Store>,
    now: Micros,
    waiting: Mutex<Option<FilesGroup>>,
    outcome: Mutex<Option<Result<FilesCommitted, FilesFailed>>>,
}

impl Steps for CommitsMeanwhile {
    fn reached(&self, _: Step) -> Result<(), Stopped> {
        Ok(())
    }

    fn worked(&self) {
        let waiting = self.waiting.lock().unwrap().take();
        if let Some(group) = waiting {
            let outcome = compact::commit_groups(&self.store, &[group], self.now).remove(0);
            *self.outcome.lock().unwrap() = Some(outcome);
        }
    }
}

/// One that waited for the merge would wait for ever here.
#[test]
fn an_append_of_a_store_without_a_log_waits_for_no_merge() {
    let mut store = LocalStore::on_memory(declared("/durable", "compaction.max_open_files = 3")).unwrap();
    load(&mut store, "T", 0..42, 4);
    assert_eq!(files(&store), 6);
    let now = store.time.now();
    let append = request("T", BatchUnit::Append, vec![event("s2", 42)]);
    let driver = store.driver(&key()).unwrap();
    assert!(driver.append(append.request().unwrap(), now, 1, ()).is_none());
    let Some(SinkGroup::Files(group)) = driver.take_group() else { panic!("no group") };
    let (waiting, outcome) = (Mutex::new(Some(group)), Mutex::new(None));
    let steps = CommitsMeanwhile { store: Arc::clone(store.store()), now, waiting, outcome };
    // it reads two files and writes one: so many may be open
    assert!(store.merge_with(Trigger::Hand, &steps).unwrap() > 6);
    let outcome = steps.outcome.into_inner().unwrap().unwrap();
    let done = store.driver(&key()).unwrap().files_done(outcome);
    store.store().committed(&key(), &done.batches, now);
    assert!(matches!(done.release()[..], [((), Answer::Done(_))]));
    store.time.advance_us(13);
    assert_sound(&store, 43);
    assert_eq!(files(&store), 1);
}

#[test]
fn merges_are_off_where_compaction_is() {
    let mut store = local("compaction.enabled = false");
    load(&mut store, "T", 0..20, 4);
    let planned = compact::plan_merges(store.store(), None, Trigger::Hand, store.time.now());
    assert!(matches!(planned, Err(CompactError::Disabled)));
}

#[test]
fn a_merge_that_ends_at_any_point_leaves_every_event_exactly_once() {
    for step in Step::MERGE {
        let mut store = local("partition.by = 'dt'");
        small_files(&mut store, 4, 30);
        let before = files(&store);
        let stopped = store.merge_with(Trigger::Hand, &StopAt(step));
        assert!(matches!(stopped, Err(CompactError::Stopped(s)) if s.0 == step));
        assert_sound(&store, 120);
        store.kill().unwrap();
        assert_sound(&store, 120);
        assert_eq!(files(&store) < before, step == Step::Committed);
        store.merge(Trigger::Hand).unwrap();
        load(&mut store, "T", 120..130, 4);
        store.compact(&key()).unwrap();
        assert_sound(&store, 130);
    }
}

/// All objects, copied.
fn copied(of: &SharedObjects) -> SharedObjects {
    let new = StoreObjects::memory().unwrap();
    for info in of.list("").unwrap() {
        new.put_new(&info.path, &of.get(&info.path).unwrap()).unwrap();
    }
    Arc::new(new)
}

#[test]
fn a_fault_at_every_operation_of_a_merge_loses_and_doubles_nothing() {
    let mut before = local("partition.by = 'tenant_id'");
    small_files(&mut before, 3, 20);
    before.restart().unwrap();
    // everything is durable: a store over a copy may go on without the log
    before.stop();
    let (data, manifests) = before.objects().cloned().unwrap();
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::LostAnswer, Fault::FailOnce] {
        let mut outcomes = BTreeSet::new();
        for at in 1.. {
            let (data, manifests) = (copied(&data), copied(&manifests));
            let disk = Arc::new(CrashDisk::new());
            let config = (*before.store().config()).clone();
            let over = |objects| LocalStore::over(config.clone(), Arc::clone(&disk), Some(objects)).unwrap();
            let mut store = over((Arc::clone(&data), Arc::clone(&manifests)));
            // from here on operations are counted
            let flaky = FlakyObjects::new(Arc::clone(&data), at, fault);
            let wrapped: SharedObjects = Arc::new(flaky.with(Arc::clone(&manifests)));
            store.set_objects(Some((Arc::new(flaky.clone()), wrapped)));
            let merged = match store.reopen(false) {
                Ok(()) => store.merge(Trigger::Hand).map_err(drop),
                Err(_) => Err(()),
            };
            // what comes behind the commit (the Delta log) may end the process after the merge was answered
            let dead = matches!(fault, Fault::CrashBefore | Fault::CrashAfter) && flaky.operations() >= at;
            if !dead {
                assert_all(store.store(), store.time.now(), 60);
            }
            store.set_objects(Some((Arc::clone(&data), manifests)));
            store.kill().unwrap();
            assert_sound(&store, 60);
            assert!(files(&store) == 1 || merged.is_err(), "{fault:?} at {at}: what was answered is true");
            outcomes.insert((files(&store), merged.is_ok()));
            // what no manifest names are orphans, and only they go
            let known: HashSet<String> = store.store().durable().pin().files().iter().map(|f| f.path.clone()).collect();
            store.store().durable().sweep(Micros(i64::MAX)).unwrap();
            let left = data.list("").unwrap().into_iter().map(|o| o.path).filter(|path| path.ends_with(".parquet"));
            assert_eq!(left.collect::<HashSet<_>>(), known, "{fault:?} at {at}");
            assert_sound(&store, 60);
            if flaky.operations() < at {
                break;
            }
        }
        assert!(outcomes.contains(&(1, true)) && outcomes.contains(&(3, false)), "{fault:?}: {outcomes:?}");
    }
}

#[test]
fn of_two_merges_of_one_file_the_second_finds_out() {
    let mut store = local("");
    small_files(&mut store, 4, 20);
    let plan = plans(store.store(), Trigger::Hand, store.time.now()).remove(0);
    run(store.store(), &plan, 1).unwrap();
    assert!(matches!(run(store.store(), &plan, 2), Err(CompactError::Commit(CommitError::NotLive { .. }))));
    let progress = Progress::default();
    progress.cancel();
    let now = store.time.now();
    let cancelled = compact::run_merge(store.store(), &plan, 3, now, &progress, &NoSteps);
    assert!(matches!(cancelled, Err(CompactError::Cancelled)));
    run(store.store(), &plan, 1).unwrap();
    assert_sound(&store, 80);
    let left = store.store().durable().orphans(Micros(i64::MAX)).unwrap();
    assert!(left.iter().all(|orphan| orphan.path.ends_with(".run")), "{left:?}");
}

#[test]
fn of_two_owners_the_older_one_finds_out() {
    let mut old = local("");
    small_files(&mut old, 4, 20);
    old.restart().unwrap();
    old.stop();
    let (config, objects) = ((*old.store().config()).clone(), old.objects().cloned());
    let plan = plans(old.store(), Trigger::Hand, old.time.now()).remove(0);
    // everything is durable: another node may go on without the log
    let mut new = LocalStore::over(config, Arc::new(CrashDisk::new()), objects).unwrap();
    assert_eq!(new.merge(Trigger::Hand).unwrap(), 4);
    let error = run(old.store(), &plan, 4711).err().unwrap();
    assert!(matches!(error, CompactError::Commit(CommitError::StaleEpoch { .. })), "{error}");
    assert_sound(&new, 80);
    let left = new.store().durable().orphans(Micros(i64::MAX)).unwrap();
    assert!(left.iter().all(|orphan| orphan.path.ends_with(".run")), "what it wrote it took away: {left:?}");
    new.restart().unwrap();
    assert_sound(&new, 80);
}

/// Commits a file that no log ever had: the first event once more, changed. Gives the version.
fn file_again(store: &LocalStore, change: impl Fn(EventRef<'_>) -> EventRef<'_>) -> u64 {
    let durable = store.store().durable();
    let (snapshot, job_id) = (durable.pin(), 77);
    let through = snapshot.watermark(&key());
    let batch = snapshot.scan(&Filter::default()).next().unwrap().unwrap();
    let job = JobSpec { job_id, log: key(), from_exclusive: through, through };
    let batches = [batch.iter().take(1).map(change).collect::<Vec<_>>()];
    let order = strandline_durable::sort_rows(&durable.layout(), &batches);
    let mut go_on = |_| std::ops::ControlFlow::Continue(());
    let files = durable.write_files(&durable.layout(), &job, &batches, &order, &mut go_on).unwrap();
    let commit = Commit {
        job_id,
        at: Micros(1),
        log: key(),
        from_exclusive: job.from_exclusive,
        through: job.through,
        last_ingested_at: Micros(1),
        files,
        heads: Vec::new(),
        commands: Vec::new(),
        chunks: Vec::new(),
    };
    durable.commit(&commit).unwrap().version()
}

#[test]
fn doubles_that_a_merge_finds_are_no_events_that_wait() {
    let mut store = local("");
    load(&mut store, "T", 0..8, 4);
    store.compact(&key()).unwrap();
    file_again(&store, |row| row);
    store.restart().unwrap();
    let waiting = |store: &LocalStore| status::waiting(store.store())[0].events;
    assert_eq!((waiting(&store), store.store().durable().pin().rows()), (0, 9));
    assert_eq!(store.merge(Trigger::Hand).unwrap(), 2);
    assert_eq!((waiting(&store), store.store().durable().pin().rows()), (0, 8), "no event came");
    load(&mut store, "T", 8..20, 4);
    assert_eq!(waiting(&store), 12);
    store.compact(&key()).unwrap();
    assert_eq!(waiting(&store), 0);
    store.merge(Trigger::Hand).unwrap();
    load(&mut store, "T", 20..21, 4);
    assert_eq!(waiting(&store), 1);
    store.restart().unwrap();
    assert_eq!(waiting(&store), 1);
    assert_all(store.store(), store.time.now(), 21);
}

#[test]
fn one_event_with_two_contents_fails_the_merge_and_replaces_nothing() {
    let mut store = local("");
    load(&mut store, "T", 0..8, 4);
    store.compact(&key()).unwrap();
    let version = file_again(&store, |row| EventRef { data: "{}", ..row });
    let error = store.merge(Trigger::Hand).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    let text = error.to_string();
    assert!(store.store().durable().pin().files().iter().all(|file| text.contains(&file.path)), "{text}");
    assert_eq!(store.store().durable().pin().version(), version);
}

#[test]
fn a_reader_of_the_global_order_goes_on_over_merges_and_sweeps() {
    let mut store = local("");
    store.grace = Grace { files_seconds: 0, ..Grace::default() };
    store.restart().unwrap();
    small_files(&mut store, 8, 20);
    let (mut seen, mut after) = (Vec::new(), Position::START);
    for round in 0.. {
        let (rows, next, at_end) = page(&store, after, 9);
        seen.extend(rows);
        after = next;
        if at_end {
            break;
        }
        match round % 3 {
            0 => drop(store.merge(Trigger::Hand).unwrap()),
            1 => drop(store.store().durable().sweep(Micros(i64::MAX)).unwrap()),
            _ => {
                let from = store.store().durable().pin().rows() as usize;
                if from < 260 {
                    load(&mut store, "T", from..from + 10, 4);
                    store.compact(&key()).unwrap();
                }
            }
        }
    }
    let count = store.store().durable().pin().rows() as usize;
    assert!(count > 200 && seen.iter().copied().eq(0..count), "{seen:?}");
    assert_eq!(follow(&store, Position::START, 7).0, seen);
}

#[test]
fn readers_in_parallel_never_miss_an_event_or_see_it_twice() {
    let mut store = local("partition.by = 'dt', row_group.max_rows = 50, inmemory.ttl_seconds = 1");
    store.grace = Grace { files_seconds: 0, ..Grace::default() };
    store.restart().unwrap();
    let (shared, over) = (Arc::clone(store.store()), AtomicBool::new(false));
    // what is acknowledged: a read that begins later sees all of it
    let acknowledged = AtomicUsize::new(0);
    let read = || {
        let mut rounds = 0;
        while !over.load(Ordering::SeqCst) || rounds == 0 {
            let at_least = acknowledged.load(Ordering::SeqCst);
            let scan = shared.scan(&Filter::default()).unwrap();
            let rows =
                scan.flat_map(|b| b.unwrap().rows().map(|e| e.data.parse::<usize>().unwrap()).collect::<Vec<_>>());
            let mut numbers: Vec<usize> = rows.collect();
            numbers.sort_unstable();
            assert!(numbers.len() >= at_least && numbers.iter().copied().eq(0..numbers.len()), "{numbers:?}");
            let (from_seq, to_seq, order) = (None, None, Some(Order::Asc));
            let query = StreamRead { stream_type: "T", stream_id: "s1", from_seq, to_seq, limit: usize::MAX, order };
            let stream = shared.read_stream(&query).unwrap();
            assert!(
                stream.rows().map(|e| e.data.parse::<usize>().unwrap()).eq((0..).skip(1).step_by(4).take(stream.len()))
            );
            rounds += 1;
        }
        rounds
    };
    let rounds = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(read)).collect();
        for part in 0..30 {
            load(&mut store, "T", part * 20..(part + 1) * 20, 4);
            acknowledged.store((part + 1) * 20, Ordering::SeqCst);
            store.compact(&key()).unwrap();
            store.merge(if part % 5 == 4 { Trigger::Hand } else { Trigger::Tick }).unwrap();
            store.store().durable().sweep(Micros(i64::MAX)).unwrap();
            store.store().tick(store.time.now());
        }
        over.store(true, Ordering::SeqCst);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum::<usize>()
    });
    assert!(rounds >= 2);
    assert_sound(&store, 600);
}
