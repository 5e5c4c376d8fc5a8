//! A reader follows the global order while writers append in parallel, logs roll over, jobs run, memory lets go and logs
//! are trimmed: it misses nothing and sees nothing twice.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use strandline_engine::append::{AppendRequest, LogDriver, SinkGroup};
use strandline_engine::compact::{self, JobLimits, NoSteps, Progress};
use strandline_engine::read::{Filter, GlobalRead, Order, StreamRead};
use strandline_engine::store::{Grace, OpenLog, OpenOptions, Store};
use strandline_event::{BatchBuilder, BatchUnit, EventInput, LogKey, Micros, Position};
use strandline_testkit::r#gen::store as declared;
use strandline_wal::io::abort_on_fatal;
use strandline_wal::{InlineIo, LogIo, RealDisk};

const WRITERS: usize = 3;
const BATCHES: usize = 400;
/// Of a store without a log, where each group is a commit that syncs a handful of files.
const BATCHES_IN_FILES: usize = 60;
const ROWS: usize = 5;

/// A clock that all threads share; each look moves it a little, and never twice gives the same order of threads.
struct Clock(AtomicI64);

impl Clock {
    fn now(&self) -> Micros {
        Micros(self.0.fetch_add(3, Ordering::SeqCst))
    }
}

struct World {
    store: Arc<Store>,
    batches: usize,
    clock: Clock,
    writing: AtomicU64,
    over: AtomicBool,
}

fn key(writer: usize) -> LogKey {
    LogKey::single(&format!("T{writer}"))
}

/// An owner of a log: appends, seals, compacts and trims its own log, all in its thread.
fn write(world: &World, writer: usize, log: OpenLog) {
    let io = InlineIo::new(abort_on_fatal());
    let mut driver: LogDriver<()> = LogDriver::new(log.log, log.sink.unwrap());
    for batch in 0..world.batches {
        let mut builder = BatchBuilder::new(&log.key.stream_type, BatchUnit::Rows);
        for row in 0..ROWS {
            let (stream, data) = (format!("s{}", row % 3), (batch * ROWS + row).to_string());
            let event = EventInput { stream_id: &stream, event_type: "E", data: &data, ..EventInput::default() };
            builder.push(&event).unwrap();
        }
        let request = AppendRequest::new(builder.finish().unwrap());
        let entropy = ((batch * 8 + writer) as u128) << 1;
        assert!(driver.append(request, world.clock.now(), entropy, ()).is_none());
        if batch % 3 != 0 {
            flush(world, &io, &mut driver, &log.key);
        }
        if batch % 60 == 59 {
            flush(world, &io, &mut driver, &log.key);
            compact(world, &io, &mut driver, &log.key, (writer * world.batches + batch) as u128);
        }
    }
    flush(world, &io, &mut driver, &log.key);
    compact(world, &io, &mut driver, &log.key, ((writer + 1) * world.batches) as u128);
    world.writing.fetch_sub(1, Ordering::SeqCst);
}

fn flush(world: &World, io: &InlineIo, driver: &mut LogDriver<()>, key: &LogKey) {
    while let Some(group) = driver.take_group() {
        let done = match group {
            SinkGroup::Log(group) => {
                let (send, receive) = channel();
                io.submit(group, Box::new(move |done| drop(send.send(done))));
                driver.group_done(receive.recv().unwrap().unwrap())
            }
            SinkGroup::Files(group) => {
                let outcome = compact::commit_groups(&world.store, &[group], world.clock.now()).remove(0);
                assert!(outcome.is_ok());
                driver.files_done(outcome)
            }
            SinkGroup::Replicated(_) => unreachable!("this log is not replicated"),
        };
        // a reader may look between any two of these
        thread::yield_now();
        world.store.committed(key, &done.batches, world.clock.now());
        thread::yield_now();
        drop(done.release());
        io.background(16);
    }
}

fn compact(world: &World, io: &InlineIo, driver: &mut LogDriver<()>, key: &LogKey, job_id: u128) {
    driver.seal();
    while let Some(mut plan) = compact::plan(&world.store, key).unwrap() {
        plan.limits = JobLimits { rows_max: 170, ..JobLimits::default() };
        let id = job_id << 32 | u128::from(plan.from_exclusive.0);
        let now = world.clock.now();
        let outcome = compact::run_job(&world.store, &plan, id, now, &Progress::default(), &NoSteps).unwrap();
        driver.compacted(outcome.through, world.store.settled(key));
        while driver.settle_step() {}
        world.store.after_commit(key, &outcome.snapshot);
    }
    let rule = compact::trim_rule(&world.store, key, world.clock.now());
    if let Some(writer) = driver.log_writer() {
        writer.trim(rule.through, rule.older_than, world.clock.now());
    }
    flush(world, io, driver, key);
    world.store.tick(world.clock.now());
}

/// Follows to the end: the last page is asked for after the last writer has ended.
fn follow(world: &World, limit: usize) -> Vec<(Position, String, u64)> {
    let (mut after, mut seen) = (Position::START, Vec::new());
    loop {
        let written = world.writing.load(Ordering::SeqCst) == 0;
        let read = GlobalRead { after, limit, filter: Filter::default() };
        let page = world.store.read_global(&read, world.clock.now()).unwrap();
        seen.extend(page.rows().map(|e| (e.position(), e.stream_type.to_owned(), e.data.parse().unwrap())));
        after = page.next;
        if written && page.at_end {
            return seen;
        }
    }
}

/// Every stream is whole, from its first seq to a head that never falls.
fn read_streams(world: &World) {
    let mut heads = HashMap::new();
    while !world.over.load(Ordering::SeqCst) {
        for writer in 0..WRITERS {
            for stream in ["s0", "s1", "s2"] {
                let stream_type = format!("T{writer}");
                let known = heads.entry((writer, stream)).or_insert(0);
                let read = StreamRead {
                    stream_type: &stream_type,
                    stream_id: stream,
                    from_seq: None,
                    to_seq: None,
                    limit: usize::MAX,
                    order: Some(Order::Asc),
                };
                let page = world.store.read_stream(&read).unwrap();
                assert!(page.verdict.contiguous, "{:?}", page.verdict);
                assert!(page.len() as u64 >= *known && page.head.0 == page.len() as u64);
                *known = page.len() as u64;
            }
        }
        let scanned: usize = world.store.scan(&Filter::default()).unwrap().map(|b| b.unwrap().len()).sum();
        assert!(scanned as u64 >= heads.values().sum());
    }
}

const HOT: &str = "inmemory.enabled = true, inmemory.max_mb = 1";

#[test]
fn a_follower_misses_nothing_and_sees_nothing_twice() {
    run(true, HOT, true);
}

#[test]
fn a_follower_without_the_log_waits_for_what_memory_lets_go() {
    let tiers = "read.tiers = ('inmemory', 'durable'), inmemory.ttl_seconds = 1";
    run(true, &format!("{HOT}, {tiers}"), false);
}

#[test]
fn a_follower_of_files_alone_sees_everything_once_it_is_compacted() {
    run(true, &format!("{HOT}, read.tiers = ('durable')"), false);
}

#[test]
fn a_follower_of_a_store_without_a_log_misses_nothing() {
    run(false, "inmemory.enabled = false", true);
}

#[test]
fn a_follower_of_a_store_of_memory_and_files_misses_nothing() {
    run(false, &format!("{HOT}, inmemory.ttl_seconds = 1"), true);
}

/// `whole`: reads see everything that was acknowledged, at any moment.
fn run(log: bool, more: &str, whole: bool) {
    let dir = tempfile::tempdir().unwrap();
    let log_keys = format!(
        "wal.enabled = true, wal.path = '{}', wal.retention_hours = 0, wal.fsync = false, wal.rollover_mb = 1, ",
        dir.path().join("wal").display()
    );
    let settings = format!("{}partition.by = ('stream_type'), {more}", if log { &*log_keys } else { "" });
    let options = OpenOptions {
        config: declared(&dir.path().join("durable").to_string_lossy(), &settings),
        disk: Arc::new(RealDisk::new()),
        node: 1,
        now: Micros(1_795_428_000_000_000),
        entropy: 99,
        secret: 98,
        accept_lost_log: false,
        grace: Grace::default(),
        keys: None,
        scratch: None,
        served: None,
    };
    let store = Store::open(options).unwrap().store;
    let clock = Clock(AtomicI64::new(1_795_428_000_000_000));
    let writing = AtomicU64::new(WRITERS as u64);
    let batches = if log { BATCHES } else { BATCHES_IN_FILES };
    let world = World { store, batches, clock, writing, over: AtomicBool::new(false) };
    let followed = thread::scope(|scope| {
        let followers: Vec<_> = [1000, 7]
            .map(|limit| {
                scope.spawn({
                    let world = &world;
                    move || follow(world, limit)
                })
            })
            .into();
        let reader = scope.spawn(|| {
            if whole {
                read_streams(&world)
            }
        });
        for writer in 0..WRITERS {
            // a log may be made while others are read and written
            let log = world.store.create_log(&key(writer), world.clock.now()).unwrap();
            scope.spawn({
                let world = &world;
                move || write(world, writer, log)
            });
        }
        let followed: Vec<_> = followers.into_iter().map(|f| f.join().unwrap()).collect();
        world.over.store(true, Ordering::SeqCst);
        reader.join().unwrap();
        followed
    });
    for seen in followed {
        assert!(seen.is_sorted_by(|a, b| a.0 < b.0));
        for writer in 0..WRITERS {
            let of: Vec<u64> = seen.iter().filter(|e| e.1 == format!("T{writer}")).map(|e| e.2).collect();
            let mut sorted = of.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..(world.batches * ROWS) as u64).collect::<Vec<_>>());
        }
    }
    assert!(world.store.durable().pin().rows() > 0);
}
