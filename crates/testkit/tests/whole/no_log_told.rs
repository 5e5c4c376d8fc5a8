//! A store without a log whose owner is told of a manifest before it hears of its own commit that made it: a compaction by hand or by
//! the clock pins what is true by then.

// helpers of a test are as blunt as the test itself
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{event, follow, request};
use strandline_engine::append::{Answer, FilesFailed, FilesGroup, SinkGroup};
use strandline_engine::compact;
use strandline_event::{BatchUnit, LogIndex, LogKey, Position, Seq};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;

const KEY: &str = "T";

fn store(settings: &str) -> LocalStore {
    let keys = format!("id.command_id.unique_scope = 'stream', partition.by = ('stream_type'){settings}");
    LocalStore::on_memory(declared("/durable", &keys)).unwrap()
}

/// Accepts an event; nothing is committed yet.
fn accept(store: &mut LocalStore, number: usize) {
    let (key, now) = (LogKey::single(KEY), store.time.now());
    store.ensure_log(&key);
    let request = request(KEY, BatchUnit::Rows, vec![event("s", number)]).request().unwrap();
    let answered = store.driver(&key).unwrap().append(request, now, number as u128, ());
    assert!(answered.is_none(), "it waits for its commit");
    store.time.advance_us(13);
}

fn take_group(store: &mut LocalStore) -> FilesGroup {
    let Some(SinkGroup::Files(group)) = store.driver(&LogKey::single(KEY)).unwrap().take_group() else {
        panic!("nothing was accepted")
    };
    group
}

/// What a run of a compaction does that finds nothing to move: it tells what the current manifest says.
fn compaction_runs(store: &mut LocalStore) -> LogIndex {
    let key = LogKey::single(KEY);
    assert_eq!(compact::plan(store.store(), &key).unwrap(), None);
    let snapshot = store.store().durable().pin();
    let (through, settled) = (snapshot.watermark(&key), store.store().settled(&key));
    let driver = store.driver(&key).unwrap();
    driver.compacted(through, settled);
    while driver.settle_step() {}
    store.store().after_commit(&key, &snapshot);
    through
}

fn numbers(store: &LocalStore) -> Vec<usize> {
    follow(store, Position::START, 100).0
}

#[test]
fn a_compaction_while_the_word_of_a_commit_is_on_its_way_changes_nothing() {
    for settings in ["", ", inmemory.enabled = true, inmemory.ttl_seconds = 30"] {
        let mut store = store(settings);
        let key = LogKey::single(KEY);
        store.append(&request(KEY, BatchUnit::Rows, vec![event("s", 0)]));
        let before = compaction_runs(&mut store);
        accept(&mut store, 1);
        let group = take_group(&mut store);
        // behind the group that is being committed another one gathers
        accept(&mut store, 2);
        let now = store.time.now();
        let outcome = compact::commit_groups(store.store(), &[group], now).pop().unwrap();
        assert!(compaction_runs(&mut store) > before, "the manifest holds what its owner has not heard of");
        let driver = store.driver(&key).unwrap();
        assert_eq!(driver.log().committed_through(), before);
        assert_eq!(driver.log().accepted_head("s").unwrap(), Seq(3));
        let done = driver.files_done(outcome);
        store.store().committed(&key, &done.batches, now);
        assert!(matches!(done.release()[..], [((), Answer::Done(_))]));
        // and where nothing has been committed of what is on its way
        compaction_runs(&mut store);
        assert_eq!(store.flush(&key).len(), 1);
        let told = compaction_runs(&mut store);
        assert_eq!(store.driver(&key).unwrap().log().committed_through(), told);
        assert_eq!(numbers(&store), [0, 1, 2]);
        store.kill().unwrap();
        store.append(&request(KEY, BatchUnit::Rows, vec![event("s", 3)]));
        assert_eq!(numbers(&store), [0, 1, 2, 3]);
        assert_eq!(store.store().stream_head(KEY, "s").unwrap().unwrap().last_seq, Seq(4));
    }
}

#[test]
fn a_commit_that_fails_after_a_compaction_was_told_gives_back_what_was_on_its_way() {
    let mut store = store("");
    let key = LogKey::single(KEY);
    store.append(&request(KEY, BatchUnit::Rows, vec![event("s", 0)]));
    accept(&mut store, 1);
    let group = take_group(&mut store);
    let from = group.from_exclusive;
    compaction_runs(&mut store);
    let failed = FilesFailed::Nothing { disk_full: false, reason: "cut".into() };
    let done = store.driver(&key).unwrap().files_done(Err(failed));
    assert!(matches!(done.release()[..], [((), Answer::Refused(_))]));
    assert_eq!(compaction_runs(&mut store), from);
    store.append(&request(KEY, BatchUnit::Rows, vec![event("s", 2)]));
    assert_eq!(numbers(&store), [0, 2]);
    assert_eq!(store.store().stream_head(KEY, "s").unwrap().unwrap().last_seq, Seq(2));
}
