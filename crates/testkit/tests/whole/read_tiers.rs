//! Stores whose reads leave tiers out: a follower waits for what it cannot see yet, and appends judge by everything.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, event, evict, follow, load, local, page, request};
use std::sync::{Arc, Mutex};
use strandline_durable::objects::{Readable, StoreObjects, Wrapped};
use strandline_durable::{ObjectError, Objects, SharedObjects};
use strandline_engine::append::{Answer, DuplicateOf};
use strandline_event::{BatchUnit, LogKey, Position, Seq};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_wal::crash_disk::CrashDisk;

#[test]
fn a_follower_of_files_alone_waits_for_the_type_that_is_compacted_late() {
    for limit in [1, 4, 1000] {
        let mut store = local("read.tiers = ('durable')");
        load(&mut store, "A", 0..20, 3);
        load(&mut store, "B", 20..40, 3);
        load(&mut store, "A", 40..60, 3);
        store.compact(&LogKey::single("A")).unwrap();
        let (mut seen, next) = follow(&store, Position::START, limit);
        assert_eq!(seen, (0..20).collect::<Vec<_>>(), "nothing beyond the first event of B");
        store.compact(&LogKey::single("B")).unwrap();
        let (rest, next) = follow(&store, next, limit);
        seen.extend(rest);
        assert_eq!(seen, (0..60).collect::<Vec<_>>());
        load(&mut store, "B", 60..70, 3);
        load(&mut store, "A", 70..80, 3);
        store.compact(&LogKey::single("A")).unwrap();
        let (none, next) = follow(&store, next, limit);
        assert!(none.is_empty());
        store.compact(&LogKey::single("B")).unwrap();
        assert_eq!(follow(&store, next, limit).0, (60..80).collect::<Vec<_>>());
    }
}

#[test]
fn a_follower_of_memory_and_files_waits_for_what_left_memory_before_it_was_compacted() {
    for limit in [1, 4, 1000] {
        let mut store = local("read.tiers = ('inmemory', 'durable')");
        load(&mut store, "A", 0..10, 3);
        let (mut seen, next) = follow(&store, Position::START, limit);
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        load(&mut store, "A", 10..20, 3);
        evict(&store);
        load(&mut store, "B", 20..30, 3);
        load(&mut store, "A", 30..40, 3);
        let (none, next) = follow(&store, next, limit);
        assert!(none.is_empty(), "{none:?}");
        store.compact(&LogKey::single("A")).unwrap();
        let (rest, _) = follow(&store, next, limit);
        seen.extend(rest);
        assert_eq!(seen, (0..40).collect::<Vec<_>>());
    }
}

#[test]
fn a_page_after_memory_let_go_takes_a_new_view() {
    let mut store = local("read.tiers = ('inmemory', 'durable')");
    load(&mut store, "A", 0..7, 3);
    load(&mut store, "B", 7..14, 3);
    load(&mut store, "A", 14..28, 3);
    let (mut seen, next, _) = page(&store, Position::START, 5);
    assert_eq!(seen.len(), 5);
    store.compact(&LogKey::single("A")).unwrap();
    evict(&store);
    // all of A is in files now, and B is nowhere that is read
    let (rest, next) = follow(&store, next, 5);
    seen.extend(rest);
    assert_eq!(seen, (0..7).collect::<Vec<_>>());
    store.compact(&LogKey::single("B")).unwrap();
    seen.extend(follow(&store, next, 5).0);
    assert_eq!(seen, (0..28).collect::<Vec<_>>());
}

#[test]
fn a_page_is_not_cut_from_a_view_whose_memory_has_gone() {
    let mut store = local("read.tiers = ('inmemory', 'durable')");
    load(&mut store, "A", 0..7, 3);
    store.time.advance_us(61_000_000);
    load(&mut store, "B", 7..14, 3);
    let (mut seen, next, at_end) = page(&store, Position::START, 5);
    assert!(!at_end);
    // A leaves memory before it is in files, B stays
    store.store().tick(store.time.now());
    let (none, next) = follow(&store, next, 5);
    assert!(none.is_empty(), "{none:?}");
    store.compact(&LogKey::single("A")).unwrap();
    seen.extend(follow(&store, next, 5).0);
    assert_eq!(seen, (0..14).collect::<Vec<_>>());
}

#[test]
fn of_a_log_that_is_larger_than_memory_the_newest_is_in_it_after_a_start() {
    let (mut store, key) = (local("inmemory.max_mb = 1"), LogKey::single("A"));
    for n in 0..700 {
        let metadata = Some(format!("\"{}\"", "x".repeat(3_000)));
        let wordy = strandline_testkit::model::Event { metadata, ..event(&format!("s{}", n % 4), n) };
        let answer = store.append(&request("A", BatchUnit::Rows, vec![wordy]));
        assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
        store.time.advance_us(13);
    }
    for in_order in [true, false] {
        if in_order {
            store.restart().unwrap()
        } else {
            store.kill().unwrap()
        }
        let held = store.store().hot().unwrap().range(&key);
        let newest = store.store().log(&key).unwrap().published().committed();
        assert_eq!(held.through, newest);
        let batches = newest.0 - held.after.0;
        assert!((200..400).contains(&batches), "{batches} batches of some 3,500 bytes in a megabyte");
        assert_eq!(follow(&store, Position::START, 100).0, (0..700).collect::<Vec<_>>());
    }
}

/// What happens when a data file is opened next, once.
type Then = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// Objects that do something in the middle of a read.
struct Watched(SharedObjects, Then);

impl Wrapped for Watched {
    fn inner(&self) -> &dyn Objects {
        &*self.0
    }

    fn on_open(&self, path: &str) -> Result<Box<dyn Readable>, ObjectError> {
        let then = self.1.lock().unwrap().take_if(|_| path.ends_with(".parquet"));
        if let Some(then) = then {
            then();
        }
        self.0.open(path)
    }
}

#[test]
fn memory_that_lets_go_while_a_page_is_made_makes_it_anew() {
    let memory = || -> SharedObjects { Arc::new(StoreObjects::memory().unwrap()) };
    let then = Then::default();
    let watched: SharedObjects = Arc::new(Watched(memory(), Arc::clone(&then)));
    let config = declared("/durable", &format!("{TIERS}, read.tiers = ('inmemory', 'durable')"));
    let mut store = LocalStore::over(config, Arc::new(CrashDisk::new()), Some((watched, memory()))).unwrap();
    load(&mut store, "A", 0..7, 3);
    load(&mut store, "B", 7..14, 3);
    load(&mut store, "A", 14..28, 3);
    store.compact(&LogKey::single("A")).unwrap();
    // the page counts on memory for B, and loses it while it reads the file of A
    let (hot, later) = (store.store().hot().unwrap(), store.time.now().plus_us(3_600_000_000));
    *then.lock().unwrap() = Some(Box::new(move || assert!(hot.evict(later) > 0)));
    let (mut seen, next) = follow(&store, Position::START, 1000);
    assert!(then.lock().unwrap().is_none(), "the file was opened");
    assert_eq!(seen, (0..7).collect::<Vec<_>>(), "nothing beyond the first event of B, which is nowhere that is read");
    store.compact(&LogKey::single("B")).unwrap();
    seen.extend(follow(&store, next, 1000).0);
    assert_eq!(seen, (0..28).collect::<Vec<_>>());
}

#[test]
fn an_append_is_judged_by_every_tier_whatever_reads_consult() {
    for tiers in ["('durable')", "('inmemory')", "('wal')", "('inmemory', 'durable')"] {
        let mut store = local(&format!("read.tiers = {tiers}"));
        let given = |seqs: std::ops::RangeInclusive<u64>| {
            let numbered = |seq| strandline_testkit::model::Event { seq: Some(Seq(seq)), ..event("s", seq as usize) };
            request("A", BatchUnit::Append, seqs.map(numbered).collect())
        };
        store.append(&given(1..=3));
        store.compact(&LogKey::single("A")).unwrap();
        store.append(&given(4..=6));
        evict(&store);
        for seqs in [1..=3, 4..=6, 3..=4] {
            let again = store.append(&given(seqs));
            let Answer::Done(outcome) = again else { panic!("{tiers}: {again:?}") };
            assert!(outcome.duplicate && outcome.duplicates.iter().all(|d| d.of == DuplicateOf::Seq), "{tiers}");
        }
        let first_answer = store.store().rows_of_append("A", "s", Seq(2), 4).unwrap();
        assert_eq!(first_answer.rows().map(|e| e.seq.0).collect::<Vec<_>>(), [2, 3, 4, 5], "{tiers}");
    }
}
