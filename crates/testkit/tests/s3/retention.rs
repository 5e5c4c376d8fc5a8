//! Retention and restore over a network that loses answers, refuses, and cuts: whatever is answered, every read shows one of the two
//! states, what was told is true, and a second try ends it.

use super::{moto, objects, through};
use crate::common::{TIERS, event, request};
use crate::rigs::{Act, Proxy};
use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_durable::{CommitError, RetireError, SharedObjects, verify_file, verify_manifests};
use strandline_engine::append::Answer;
use strandline_engine::read::{Filter, Order, StreamRead};
use strandline_engine::retention::Moved;
use strandline_event::{BatchUnit, LogKey, Micros};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::Event;
use strandline_wal::crash_disk::CrashDisk;

const EVENTS: usize = 24;
/// Every second event is old; each stream has old ones and new ones.
const OLD: u64 = EVENTS as u64 / 2;
const STREAMS: usize = 3;
const DAY_US: i64 = 24 * 3600 * 1_000_000;

fn log() -> LogKey {
    LogKey::single("T")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Retain,
    Restore,
}

/// A store whose objects are behind a proxy, before or after retention has taken the old half of its events.
struct World {
    store: LocalStore,
    proxy: Proxy,
    prefix: String,
    work: Work,
}

impl World {
    fn new(prefix: &str, work: Work) -> Self {
        let proxy = Proxy::start(moto().port);
        let places = (through(&proxy, prefix), through(&proxy, &format!("{prefix}/_manifests")));
        let keys = format!("{TIERS}, partition.by = 'dt', retention.enabled = true, retention.durable_days = 20");
        let disk = Arc::new(CrashDisk::new());
        let mut store = LocalStore::over(declared("/durable", &keys), disk, Some(places)).unwrap();
        let now = store.time.now();
        for n in 0..EVENTS {
            let at = if n.is_multiple_of(2) { now.0 - 40 * DAY_US } else { now.0 };
            let sent = Event { occurred_at: Some(Micros(at)), ..event(&format!("s{}", n % STREAMS), n) };
            assert!(matches!(store.append(&request("T", BatchUnit::Rows, vec![sent])), Answer::Done(_)));
        }
        store.compact(&log()).unwrap();
        let mut this = Self { store, proxy, prefix: prefix.to_owned(), work };
        if work == Work::Restore {
            assert_eq!(this.store.retain().unwrap().events, OLD);
        }
        this.proxy.seen();
        this
    }

    fn run(&mut self) -> Result<Moved, RetireError> {
        match self.work {
            Work::Retain => self.store.retain(),
            Work::Restore => self.store.restore(&[]),
        }
    }

    fn direct(&self) -> (SharedObjects, SharedObjects) {
        let url = moto().url();
        (objects(&url, &self.prefix), objects(&url, &format!("{}/_manifests", self.prefix)))
    }

    /// Whether the old events are there: all of them or none, by every way to read, and what is not there is retired.
    fn shows_old(&self, story: &str) -> bool {
        let store = self.store.store();
        let scan = store.scan(&Filter::default()).unwrap();
        let numbers: Vec<usize> =
            scan.flat_map(|b| b.unwrap().rows().map(|e| e.data.parse().unwrap()).collect::<Vec<_>>()).collect();
        let seen: BTreeSet<usize> = numbers.iter().copied().collect();
        assert_eq!(seen.len(), numbers.len(), "{story}: nothing twice");
        let old = seen.contains(&0);
        assert!(seen.iter().copied().eq((0..EVENTS).filter(|n| old || n % 2 == 1)), "{story}: {seen:?}");
        for s in 0..STREAMS {
            let id = format!("s{s}");
            let (from_seq, to_seq, order) = (None, None, Some(Order::Asc));
            let read = StreamRead { stream_type: "T", stream_id: &id, from_seq, to_seq, limit: usize::MAX, order };
            let page = store.read_stream(&read).unwrap();
            let retired: u64 = page.verdict.retired.iter().map(|range| range.1.0 - range.0.0 + 1).sum();
            let all = (EVENTS / STREAMS) as u64;
            assert!(page.verdict.contiguous, "{story}: {:?}", page.verdict);
            assert_eq!((page.len() as u64 + retired, retired > 0), (all, !old), "{story}: {:?}", page.verdict);
        }
        old
    }

    fn assert_sound(&self, story: &str) {
        let durable = self.store.store().durable();
        assert_eq!(verify_manifests(durable), [], "{story}");
        for file in durable.pin().files() {
            assert_eq!(verify_file(durable, file), [], "{story}");
        }
    }

    /// The end of every story: a new start sees what was told, a second try ends it, and a third finds nothing to do.
    fn check(&mut self, told: &Result<Moved, RetireError>, story: &str) {
        self.proxy.clear();
        let before = self.work == Work::Retain;
        let shown = self.shows_old(story);
        self.store.set_objects(Some(self.direct()));
        self.store.kill().unwrap_or_else(|error| panic!("{story}: {error}"));
        let is_done = self.shows_old(story) != before;
        match told {
            Ok(moved) => assert!(is_done && moved.events == OLD && shown != before, "{story}: {moved:?}"),
            // told what is not known, and known now
            Err(RetireError::Commit(CommitError::Unknown { .. })) => {}
            Err(error) => assert!(!is_done && shown == before, "{story}: {error}"),
        }
        let rest = if is_done { 0 } else { OLD };
        assert_eq!(self.run().unwrap().events, rest, "{story}");
        assert_ne!(self.shows_old(story), before, "{story}");
        assert_eq!(self.run().unwrap().events, 0, "{story}");
        self.store.store().durable().sweep(Micros(i64::MAX)).unwrap();
        let left = self.store.store().durable().orphans(Micros(i64::MAX)).unwrap();
        assert_eq!(left, [], "{story}");
        self.assert_sound(story);
        // and back: nothing of what was taken out is gone
        self.work = if before { Work::Restore } else { Work::Retain };
        assert_eq!(self.run().unwrap().events, OLD, "{story}");
        assert_eq!(self.shows_old(story), before, "{story}");
        self.store.restart().unwrap();
        assert_eq!(self.shows_old(story), before, "{story}");
        self.assert_sound(story);
    }
}

/// At every request of the work with this method. Gives how many stories ended with an error.
fn walk(work: Work, method: &'static str, act: Act, times: usize) -> usize {
    let mut failed = 0;
    for at in 0.. {
        let story = format!("{work:?}, {act:?} {times} times at {method} {at}");
        let prefix = format!("retention/{work:?}/{method}/{act:?}-{times}/{at}").replace(['(', ')'], "-");
        let mut world = World::new(&prefix, work);
        world.proxy.rule(method, "", at, times, act);
        let told = world.run();
        let requests = world.proxy.seen().iter().filter(|line| line.starts_with(method)).count();
        failed += usize::from(told.is_err());
        world.check(&told, &story);
        if requests <= at {
            return failed;
        }
    }
    0
}

/// What happens once is borne; what goes on is told, where it is not the Delta log's alone.
fn walk_all(work: Work) {
    for act in [Act::LoseAnswer, Act::Cut, Act::ServeAndAnswer(500)] {
        assert_eq!(walk(work, "PUT", act, 1), 0, "{act:?}");
    }
    assert_eq!(walk(work, "GET", Act::Cut, 1), 0);
    for act in [Act::Answer(403), Act::Cut] {
        assert!(walk(work, "PUT", act, 12) > 0, "{act:?}");
    }
    // what was stored is found, however often its answer is lost
    assert_eq!(walk(work, "PUT", Act::LoseAnswer, 12), 0);
    assert!(walk(work, "GET", Act::Answer(403), 12) > 0);
}

#[test]
fn a_fault_at_every_request_of_retention_is_borne_or_told() {
    walk_all(Work::Retain);
}

#[test]
fn a_fault_at_every_request_of_a_restore_is_borne_or_told() {
    walk_all(Work::Restore);
}
