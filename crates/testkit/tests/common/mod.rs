//! What the tests of a whole store share: numbered events, and readers that give the numbers back.

// each test uses its part of it; helpers of a test are as blunt as the test itself
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use strandline_deql::StoreConfig;
use strandline_durable::{Commit, HeadRecord, JobSpec};
use strandline_engine::append::{Answer, Expected, OnError};
use strandline_engine::read::{Filter, GlobalRead, Order, StreamRead};
use strandline_engine::store::{Grace, OpenOptions, Store};
use strandline_event::{BatchUnit, EventRef, LogKey, Micros, Position};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::{Append, Event};
use strandline_wal::Disk;
use strandline_wal::crash_disk::CrashDisk;

pub(crate) const TIERS: &str = "wal.enabled = true, wal.path = '/wal', wal.rollover_mb = 8, inmemory.enabled = true";

/// A store whose objects outlive restarts.
pub(crate) fn local(settings: &str) -> LocalStore {
    let comma = if settings.is_empty() { "" } else { ", " };
    LocalStore::on_memory(declared("/durable", &format!("{TIERS}{comma}{settings}"))).unwrap()
}

/// How node 7 opens a store whose logs are on this disk.
pub(crate) fn open_options(config: StoreConfig, disk: &Arc<CrashDisk>) -> OpenOptions {
    OpenOptions {
        config,
        disk: Arc::clone(disk) as Arc<dyn Disk>,
        node: 7,
        now: Micros(1_900_000_000_000_000),
        entropy: 4711,
        secret: 1174,
        accept_lost_log: false,
        grace: Grace::default(),
        scratch: None,
        keys: None,
        served: None,
    }
}

pub(crate) fn event(stream: &str, number: usize) -> Event {
    Event {
        stream_id: stream.to_owned(),
        event_type: "Flown".to_owned(),
        data: number.to_string(),
        occurred_at: Some(Micros(1_795_000_000_000_000 + number as i64 * 7_000_000_000)),
        ..Event::default()
    }
}

pub(crate) fn request(stream_type: &str, unit: BatchUnit, events: Vec<Event>) -> Append {
    Append {
        stream_type: stream_type.to_owned(),
        unit,
        events,
        expected: Expected::Any,
        on_error: OnError::Abort,
        inspect: false,
        chunk: None,
    }
}

/// Events with these numbers, round-robin over `streams` streams, seven at a time.
pub(crate) fn load(store: &mut LocalStore, stream_type: &str, numbers: std::ops::Range<usize>, streams: usize) {
    for chunk in numbers.collect::<Vec<_>>().chunks(7) {
        let events = chunk.iter().map(|n| event(&format!("s{}", n % streams), *n)).collect();
        let answer = store.append(&request(stream_type, BatchUnit::Rows, events));
        assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
        store.time.advance_us(13);
    }
}

/// Commits a job of a log whose data files hold these rows, whosever they are, and whose heads are these, whatever the rows say.
pub(crate) fn compact_as(store: &LocalStore, log: &LogKey, rows: Vec<EventRef<'_>>, heads: Vec<HeadRecord>) {
    let durable = store.store().durable();
    let through = store.store().log(log).unwrap().published().committed();
    let from_exclusive = durable.pin().watermark(log);
    let job = JobSpec { job_id: 4711, log: log.clone(), from_exclusive, through };
    let (batches, mut go_on) = ([rows], |_| ControlFlow::Continue(()));
    let order = strandline_durable::sort_rows(&durable.layout(), &batches);
    let files = durable.write_files(&durable.layout(), &job, &batches, &order, &mut go_on).unwrap();
    let commit = Commit {
        job_id: 4711,
        at: store.time.now(),
        log: log.clone(),
        from_exclusive,
        through,
        last_ingested_at: Micros::MIN,
        files,
        heads,
        commands: vec![],
        chunks: vec![],
    };
    durable.commit(&commit).unwrap();
}

/// Memory lets everything go.
pub(crate) fn evict(store: &LocalStore) {
    store.store().hot().unwrap().evict(store.time.now().plus_us(3_600_000_000));
}

/// One page: its numbers, where to go on, whether it is the end.
pub(crate) fn page(store: &LocalStore, after: Position, limit: usize) -> (Vec<usize>, Position, bool) {
    let read = GlobalRead { after, limit, filter: Filter::default() };
    let page = store.store().read_global(&read, store.time.now()).unwrap();
    (page.rows().map(|e| e.data.parse().unwrap()).collect(), page.next, page.at_end)
}

/// The global order from a position to its end.
pub(crate) fn follow(store: &LocalStore, mut after: Position, limit: usize) -> (Vec<usize>, Position) {
    let mut seen = Vec::new();
    loop {
        let (rows, next, at_end) = page(store, after, limit);
        seen.extend(rows);
        after = next;
        if at_end {
            return (seen, after);
        }
    }
}

/// The numbers of a stream, of the scan and of the global order: all of `0..count`, each once.
pub(crate) fn assert_all(store: &Store, now: Micros, count: usize) {
    let all: BTreeSet<usize> = (0..count).collect();
    let number = |data: &str| data.parse::<usize>().unwrap();
    for s in 0..4 {
        let id = format!("s{s}");
        let (from_seq, to_seq, order) = (None, None, Some(Order::Asc));
        let read = StreamRead { stream_type: "T", stream_id: &id, from_seq, to_seq, limit: usize::MAX, order };
        let stream = store.read_stream(&read).unwrap();
        let expected = (0..count).filter(|n| n % 4 == s);
        assert!(stream.verdict.contiguous && stream.rows().map(|e| number(e.data)).eq(expected), "{id}");
    }
    let scan = store.scan(&Filter::default()).unwrap();
    let scanned: Vec<usize> =
        scan.flat_map(|b| b.unwrap().rows().map(|e| number(e.data)).collect::<Vec<_>>()).collect();
    assert_eq!((scanned.len(), scanned.into_iter().collect()), (count, all.clone()));
    let read = GlobalRead { after: Position::START, limit: usize::MAX, filter: Filter::default() };
    let page = store.read_global(&read, now).unwrap();
    assert_eq!((page.len(), page.rows().map(|e| number(e.data)).collect()), (count, all));
}
