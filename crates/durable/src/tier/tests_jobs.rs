//! Files of jobs: none stays that nobody needs, none goes that somebody does, no more are open than may be.

use super::*;
use crate::objects::{Aside, Fault, FlakyObjects, LocalObjects, ObjectError, Objects, Readable, Wrapped};
use crate::sort_rows;
use crate::testing::*;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

const EVER: Micros = Micros(i64::MAX);

#[test]
fn what_a_failed_job_wrote_is_taken_away() {
    let config = config(", partition.by = 'dt'");
    let events = history(500);
    for at in 2.. {
        let dir = tempfile::tempdir().unwrap();
        let (data, manifests) = folders(dir.path());
        let flaky = FlakyObjects::new(data, at, Fault::FailOnce);
        let objects: SharedObjects = Arc::new(flaky.clone());
        let tier = DurableTier::open_with(objects, manifests, &config, options(3)).unwrap();
        match write(&tier, &job(1, 0, 100), &events) {
            Err(_) => assert!(tier.orphans(EVER).unwrap().is_empty(), "after a fault at {at}"),
            // the fault comes after the job
            Ok(files) => {
                assert!(files.len() > 3 && at > 10);
                break;
            }
        }
    }
}

#[test]
fn a_sweep_leaves_running_jobs_alone() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(", partition.by = 'dt'"));
    let events = history(20_000);
    let (batches, job) = ([&events], job(1, 0, 100));
    let rows = sort_rows(&tier.layout(), &batches);
    let sweeper = tier.clone();
    let mut swept = 0;
    let on_rows = &mut |_| {
        let there = sweeper.orphans(EVER).unwrap().len();
        assert!(there > 0 && sweeper.sweep(EVER).unwrap().is_empty(), "the job runs");
        swept += 1;
        ControlFlow::Continue(())
    };
    let files = tier.write_files(&tier.layout(), &job, &batches, &rows, on_rows).unwrap();
    assert!(swept > 1 && tier.sweep(EVER).unwrap().is_empty(), "it has not committed yet");
    tier.commit(&commit(&job, files, &events)).unwrap();
    assert!(tier.sweep(EVER).unwrap().is_empty());
    assert_eq!(tier.pin().scan(&crate::RowFilter::default()).map(|b| b.unwrap().rows()).sum::<usize>(), 20_000);

    // of a process that ended: swept once it is old enough
    let next = crate::JobSpec { job_id: 2, ..self::job_after(&job) };
    write(&tier, &next, &history(10)).unwrap();
    drop((tier, sweeper));
    let tier = open(dir.path(), &config(", partition.by = 'dt'"));
    let left = tier.orphans(EVER).unwrap();
    assert!(!left.is_empty());
    let oldest = left.iter().map(|o| o.modified).min().unwrap();
    assert!(tier.sweep(oldest).unwrap().is_empty(), "too young");
    assert_eq!(tier.sweep(EVER).unwrap().len(), left.len());
}

fn job_after(job: &crate::JobSpec) -> crate::JobSpec {
    crate::JobSpec { from_exclusive: job.through, ..job.clone() }
}

#[test]
fn an_owner_that_was_replaced_sweeps_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("");
    let (old, new) = (open(dir.path(), &config), open(dir.path(), &config));
    let events = history(10);
    let job = job(1, 0, 5);
    let files = write(&new, &job, &events).unwrap();
    assert!(old.update(&crate::Update::Config(String::new()), 9, Micros(1)).is_err());
    assert_eq!(old.pin().version(), new.pin().version(), "it has learnt of the newest version");
    assert!(old.sweep(EVER).unwrap().is_empty(), "files of a job that runs under the new epoch");
    new.commit(&commit(&job, files, &events)).unwrap();
    assert!(old.sweep(EVER).unwrap().is_empty());
    assert_eq!(new.pin().scan(&crate::RowFilter::default()).map(|b| b.unwrap().rows()).sum::<usize>(), 10);
    let reader = DurableTier::open_read_only_with(folders(dir.path()).0, folders(dir.path()).1, &config).unwrap();
    write(&new, &job_after(&job), &events).unwrap();
    assert!(reader.sweep(EVER).unwrap().is_empty() && !reader.orphans(EVER).unwrap().is_empty());
}

/// So many events of one partition and of so many streams.
fn one_day(events: usize, streams: usize) -> Vec<Owned> {
    let event = |i: usize| {
        let seq = (i / streams + 1) as u64;
        Owned { stream_id: format!("s{:05}", i % streams), seq, ..history(1).remove(0) }
    };
    (0..events).map(event).collect()
}

#[test]
fn a_large_job_writes_two_files_of_a_partition_and_no_stream_stands_in_both() {
    let (events, expected) = (one_day(70_000, 900), 70_000);
    for keys in ["", ", row_group.sort_order = 'desc'"] {
        let dir = tempfile::tempdir().unwrap();
        let tier = open(dir.path(), &config(&format!(", partition.by = 'dt'{keys}")));
        let job = job(1, 0, 100);
        let written = write(&tier, &job, &events).unwrap();
        assert_eq!(written.iter().map(|file| file.rows).sum::<u64>(), expected, "{keys}");
        let [one, other] = &written[..] else { panic!("{} files: {keys}", written.len()) };
        let (a, b) = (&one.bounds.stream_id, &other.bounds.stream_id);
        assert!(a.1 < b.0 || b.1 < a.0, "{a:?} {b:?}");
        assert!(one.rows.abs_diff(other.rows) < expected / 10);
        tier.commit(&commit(&job, written, &events)).unwrap();
        assert_eq!(tier.pin().scan(&crate::RowFilter::default()).map(|b| b.unwrap().rows()).sum::<usize>(), 70_000);
    }
}

#[test]
fn a_large_job_that_fails_or_is_stopped_in_either_half_leaves_nothing() {
    let events = one_day(70_000, 900);
    let config = config(", partition.by = 'dt'");
    let (batches, job) = ([&events], job(1, 0, 100));
    for stop_after in [1, 2, 5, 8] {
        let dir = tempfile::tempdir().unwrap();
        let tier = open(dir.path(), &config);
        let rows = sort_rows(&tier.layout(), &batches);
        let mut calls = 0;
        let on_rows = &mut |so_far| {
            calls += 1;
            assert!(so_far <= 70_000);
            if calls < stop_after { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let error = tier.write_files(&tier.layout(), &job, &batches, &rows, on_rows).unwrap_err();
        assert!(matches!(error, crate::WriteError::Cancelled), "{error}");
        assert!(tier.orphans(EVER).unwrap().is_empty());
    }
    let mut failed = 0;
    for at in 2.. {
        let dir = tempfile::tempdir().unwrap();
        let (data, manifests) = folders(dir.path());
        let flaky = FlakyObjects::new(data, at, Fault::FailOnce);
        let tier = DurableTier::open_with(Arc::new(flaky), manifests, &config, options(3)).unwrap();
        match write(&tier, &job, &events) {
            Err(error) => {
                failed += 1;
                assert!(!matches!(error, crate::WriteError::Cancelled), "the reason is told: {error}");
                assert!(tier.orphans(EVER).unwrap().is_empty(), "after a fault at {at}");
            }
            Ok(files) => {
                assert_eq!(files.len(), 2);
                break;
            }
        }
    }
    assert!(failed > 4, "{failed}");
}

/// Counts data files that are open.
struct Counting {
    inner: LocalObjects,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct CountedAside {
    inner: Option<Box<dyn Aside>>,
    open: Arc<AtomicUsize>,
}

impl Drop for CountedAside {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Write for CountedAside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.as_mut().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.as_mut().unwrap().flush()
    }
}

impl Aside for CountedAside {
    fn finish(mut self: Box<Self>) -> Result<(), ObjectError> {
        self.inner.take().unwrap().finish()
    }
}

struct CountedReadable {
    inner: Box<dyn Readable>,
    open: Arc<AtomicUsize>,
}

impl Drop for CountedReadable {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Readable for CountedReadable {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&self, start: u64, length: usize) -> io::Result<bytes::Bytes> {
        self.inner.read_at(start, length)
    }
}

impl Counting {
    fn count(&self) {
        let now = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }
}

impl Wrapped for Counting {
    fn inner(&self) -> &dyn Objects {
        &self.inner
    }

    fn on_open(&self, path: &str) -> Result<Box<dyn Readable>, ObjectError> {
        let inner = self.inner.open(path)?;
        self.count();
        Ok(Box::new(CountedReadable { inner, open: Arc::clone(&self.open) }))
    }

    fn on_create(&self, path: &str) -> Result<Box<dyn Aside>, ObjectError> {
        let inner = self.inner.create(path)?;
        self.count();
        Ok(Box::new(CountedAside { inner: Some(inner), open: Arc::clone(&self.open) }))
    }
}

/// The most files that eight jobs and two merges at once have open under a bound, inputs and outputs; jobs of two stores in turn.
fn most_open(bound: usize) -> usize {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let config = config(&format!(", compaction.max_open_files = {bound}, partition.by = 'dt'"));
    let tiers = dirs.each_ref().map(|dir| {
        let (_, manifests) = folders(dir.path());
        let inner = LocalObjects::open(&dir.path().join("data")).unwrap();
        let counting: SharedObjects = Arc::new(Counting { inner, open: Arc::clone(&open), most: Arc::clone(&most) });
        DurableTier::open_with(counting, manifests, &config, options(1)).unwrap()
    });
    let [tier, other] = &tiers;
    let open_files = Arc::new(OpenFiles::new());
    tiers.iter().for_each(|tier| tier.share_open_files(Arc::clone(&open_files)));
    let (events, together) = (history(3000), std::sync::Barrier::new(10));
    // late events of one day: two files of one partition
    let mut late = history(400);
    late.iter_mut().for_each(|event| event.occurred_at = START_US);
    for (n, part) in [(101, 0..200), (102, 200..400)] {
        commit_job(tier, &job(n, (n as u64 - 101) * 10, (n as u64 - 100) * 10), &late[part]);
    }
    most.store(0, Ordering::SeqCst);
    std::thread::scope(|scope| {
        for n in 200..202 {
            let together = &together;
            scope.spawn(move || {
                together.wait();
                let (snapshot, limits) = (tier.pin(), crate::MergeLimits::default());
                let inputs = snapshot.files().to_vec();
                let spec = crate::MergeSpec { job: job(n, 0, 20), inputs, enough_bytes: u64::MAX, limits };
                let merged = tier.merge_files(&snapshot, &spec, &mut |_| ControlFlow::Continue(())).unwrap();
                assert_eq!(merged.files.iter().map(|f| f.rows).sum::<u64>(), 400);
            });
        }
        for n in 0..8 {
            let (tier, events, together) = (if n % 2 == 0 { tier } else { other }, &events, &together);
            scope.spawn(move || {
                together.wait();
                write(tier, &job(n, 0, 100), events).unwrap();
            });
        }
    });
    assert_eq!(open.load(Ordering::SeqCst), 0);
    most.load(Ordering::SeqCst)
}

#[test]
fn jobs_together_hold_no_more_files_open_than_may_be() {
    assert!(most_open(32) > 3, "they would");
    assert_eq!(most_open(3), 3);
}
