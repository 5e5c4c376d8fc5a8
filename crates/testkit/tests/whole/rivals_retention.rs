//! Retention beside another process that takes the store over, and the other way round: at every operation of the one's work the other
//! does all of its own.
//!
//! What must hold whatever they do: the loser finds out and leaves orphans only; whoever reads sees rows and retired ranges that are
//! the whole stream; everything that was taken out comes back, once; `verify` finds nothing.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, event, request};
use crate::two_owners::{World, key};
use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_durable::RetireError;
use strandline_engine::append::Answer;
use strandline_engine::compact::{CompactError, Trigger};
use strandline_engine::read::{Filter, Order, StreamRead};
use strandline_engine::store::Store;
use strandline_engine::verify::verify;
use strandline_event::{BatchUnit, Micros};
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::Event;

/// Events in files, and all. Every second one is old, in each stream.
const IN_FILES: usize = 18;
const EVENTS: usize = 24;
const STREAMS: usize = 3;
const DAY_US: i64 = 24 * 3600 * 1_000_000;
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

fn append(store: &mut LocalStore, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let at = store.time.now().0 - if n.is_multiple_of(2) { 40 * DAY_US } else { 0 };
        let sent = Event { occurred_at: Some(Micros(at)), ..event(&format!("s{}", n % STREAMS), n) };
        assert!(matches!(store.append(&request("T", BatchUnit::Rows, vec![sent])), Answer::Done(_)));
        store.time.advance_us(13);
    }
}

/// A store of small files of an old and of a new day, and of a log with more.
fn world() -> World {
    let keys = format!("{TIERS}, partition.by = 'dt', retention.enabled = true, retention.durable_days = 20");
    World::new(&keys, |store| {
        for from in (0..IN_FILES).step_by(6) {
            append(store, from..from + 6);
            store.compact(&key()).unwrap();
        }
        append(store, IN_FILES..EVENTS);
    })
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

fn assert_clean(world: &World, what: &str) {
    let others = world.others();
    let disk: Arc<dyn strandline_wal::Disk> = others.log;
    assert_eq!(verify(&others.config, &disk).unwrap().findings, [], "{what}");
}

/// What is left when both are done, seen by a third: all of it comes back, and goes again.
fn assert_settled(world: &World, what: &str) {
    assert_clean(world, what);
    let mut third = world.others().third();
    assert_whole(third.store());
    world.others().assert_swept(&third, what);
    third.restore(&[]).unwrap();
    assert_eq!(assert_whole(third.store()).len(), EVENTS, "{what}: nothing of it is gone");
    third.compact(&key()).unwrap();
    third.merge(Trigger::Hand).unwrap();
    assert_eq!(third.retain().unwrap().events, EVENTS as u64 / 2, "{what}");
    third.restart().unwrap();
    assert_eq!(assert_whole(third.store()).len(), EVENTS / 2, "{what}");
    assert_clean(world, what);
}

fn walk(work: Work, rival_s: Work) {
    let rival = move |others: &crate::two_owners::Others| {
        let mut store = others.rival();
        let done = rival_s.run(&mut store);
        assert_whole(store.store());
        done
    };
    let whole = |store: &LocalStore| drop(assert_whole(store.store()));
    let works = format!("{work:?}, {rival_s:?} of the rival");
    crate::two_owners::walk(&works, world, |store| work.run(store), rival, (whole, assert_settled));
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
