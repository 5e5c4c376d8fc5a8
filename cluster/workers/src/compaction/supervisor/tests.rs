use super::sweep;
use crate::compaction::job::Job;
use crate::permits::BytePermit;
use crate::{Node, NodeHandle, NodeOptions, StoreHandle, clock, runtime};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use strandline_engine::append::Expected;
use strandline_event::{BatchBuilder, BatchUnit, EventInput};
use strandline_testkit::local_store::LocalStore;

async fn start(dir: &Path, more: &str) -> (NodeHandle, StoreHandle) {
    start_with(dir, &format!("wal.enabled = true, wal.path = '{}/wal' {more}", dir.display())).await
}

/// A store of these keys and no tier but the durable one by itself.
async fn start_with(dir: &Path, keys: &str) -> (NodeHandle, StoreHandle) {
    let text = format!(
        "CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.path = '{}/durable', {keys});",
        dir.display()
    );
    let declarations = strandline_deql::parse_file("t", &text).unwrap_or_else(|e| panic!("{e}"));
    let node = Node::start(declarations, NodeOptions::new(dir.join("node"))).await.unwrap();
    let store = node.store("s").unwrap();
    (node, store)
}

async fn append(node: &NodeHandle, store: &StoreHandle, bytes: usize) {
    let data = format!("\"{}\"", "x".repeat(bytes));
    let mut builder = BatchBuilder::new("T", BatchUnit::Append);
    builder.push(&EventInput { stream_id: "s", event_type: "E", data: &data, ..EventInput::default() }).unwrap();
    let permit: Arc<BytePermit> = Arc::new(node.permits().take(1).unwrap());
    store.append_stream(builder.finish().unwrap(), Expected::Any, false, permit).await.unwrap();
}

async fn wait_for_durable(store: &StoreHandle, events: u64) {
    for _ in 0..1000 {
        if store.tiers().await.unwrap().durable.events >= events {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing was compacted: {:?}", store.jobs().ended());
}

#[test]
fn the_schedule_starts_jobs_and_a_pause_holds_them() {
    let folder = tempfile::tempdir().unwrap();
    runtime::run(async {
        let (node, store) = start(folder.path(), ", compaction.schedule = '0 0 29 2 *'").await;
        append(&node, &store, 10).await;
        store.pause(true).await.unwrap();
        store.parts.book.set_next_tick(Some(clock::now()));
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(store.tiers().await.unwrap().durable.events, 0);
        assert!(store.jobs().next_tick().unwrap() > clock::now(), "the tick is over");
        store.pause(false).await.unwrap();
        store.parts.book.set_next_tick(Some(clock::now()));
        wait_for_durable(&store, 1).await;
        assert_eq!(node.stop().await, Ok(()));
    })
    .unwrap();
}

#[test]
fn a_pause_is_kept_over_a_restart_and_so_is_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let said = |node: &NodeHandle| node.report().iter().any(|line| line.text().starts_with("s: compaction is paused"));
    runtime::run(async {
        let (node, store) = start(folder.path(), "").await;
        assert!(!said(&node));
        store.pause(true).await.unwrap();
        drop(store);
        assert_eq!(node.stop().await, Ok(()));
        let (node, store) = start(folder.path(), "").await;
        assert!(said(&node) && store.jobs().is_paused());
        store.pause(false).await.unwrap();
        assert!(!store.jobs().is_paused());
        drop(store);
        assert_eq!(node.stop().await, Ok(()));
        let (node, store) = start(folder.path(), "").await;
        assert!(!said(&node) && !store.jobs().is_paused());
        // what cannot be kept is not begun: the next start would forget it
        let file = folder.path().join("node/stores/s/paused");
        std::fs::create_dir_all(file.join("taken")).unwrap();
        assert!(store.pause(true).await.is_err() && !store.jobs().is_paused());
        drop(store);
        assert_eq!(node.stop().await, Ok(()));
    })
    .unwrap();
}

#[test]
fn size_starts_jobs() {
    let folder = tempfile::tempdir().unwrap();
    runtime::run(async {
        let (node, store) =
            start(folder.path(), ", compaction.trigger = 'size_mb', compaction.min_segment_mb = 1").await;
        append(&node, &store, 600_000).await;
        append(&node, &store, 600_000).await;
        wait_for_durable(&store, 2).await;
        assert_eq!(node.stop().await, Ok(()));
    })
    .unwrap();
}

/// Lets the schedule fire.
fn tick(store: &StoreHandle) {
    store.parts.book.set_next_tick(Some(clock::now()));
}

async fn files(store: &StoreHandle) -> usize {
    store.files().await.unwrap().len()
}

/// Waits for a merge that has ended.
async fn wait_for_merge(store: &StoreHandle) -> Arc<Job> {
    for _ in 0..1000 {
        if let Some(merge) = store.jobs().ended().into_iter().find(|job| job.partition().is_some()) {
            return merge;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing was merged: {:?}", store.jobs().ended());
}

/// Compacts what was appended, and nothing else: a hand would merge.
async fn small_files(node: &NodeHandle, store: &StoreHandle, count: usize) {
    for n in 0..count {
        append(node, store, 10).await;
        tick(store);
        wait_for_durable(store, n as u64 + 1).await;
    }
}

#[test]
fn the_schedule_merges_and_a_pause_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    runtime::run(async {
        let (node, store) = start(folder.path(), ", compaction.schedule = '0 0 29 2 *'").await;
        small_files(&node, &store, 3).await;
        tick(&store);
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(files(&store).await, 3, "three small files may stand");
        append(&node, &store, 10).await;
        tick(&store);
        wait_for_durable(&store, 4).await;
        store.pause(true).await.unwrap();
        tick(&store);
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(files(&store).await, 4);
        store.pause(false).await.unwrap();
        tick(&store);
        let end = wait_for_merge(&store).await.ended().await;
        assert_eq!((end.inputs, end.files, end.rows, end.error), (4, 1, 4, None));
        assert_eq!(files(&store).await, 1);
        assert_eq!(node.metrics().merge_input_files.get(), 4);
        assert_eq!(node.stop().await, Ok(()));
    })
    .unwrap();
}

#[test]
fn the_schedule_merges_the_files_of_a_store_without_a_log_too() {
    let folder = tempfile::tempdir().unwrap();
    runtime::run(async {
        let (node, store) = start_with(folder.path(), "compaction.schedule = '0 0 29 2 *'").await;
        for count in 1..=4 {
            append(&node, &store, 10).await;
            assert_eq!((store.tiers().await.unwrap().durable.events, files(&store).await), (count, count as usize));
        }
        tick(&store);
        let end = wait_for_merge(&store).await.ended().await;
        assert_eq!((end.inputs, end.files, end.rows, end.error), (4, 1, 4, None));
        assert_eq!(files(&store).await, 1);
        assert_eq!(store.jobs().ended().len(), 1, "there is no log to compact");
        assert_eq!(node.stop().await, Ok(()));
    })
    .unwrap();
}

#[test]
fn a_partition_is_left_alone_by_the_clock_after_a_failure_and_a_hand_tries_again() {
    let folder = tempfile::tempdir().unwrap();
    runtime::run(async {
        let (node, store) = start(folder.path(), ", compaction.schedule = '0 0 29 2 *'").await;
        small_files(&node, &store, 4).await;
        let path = store.files().await.unwrap()[1].local_path.clone().unwrap();
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        tick(&store);
        assert!(wait_for_merge(&store).await.ended().await.error.is_some());
        assert_eq!(node.metrics().merges_failed.get(), 1);
        tick(&store);
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!((node.metrics().merges_failed.get(), files(&store).await), (1, 4));
        let jobs = store.compact(None).await.unwrap();
        assert!(jobs[0].merges().await[0].ended().await.error.is_some_and(|error| error.contains(".parquet")));
        std::fs::write(&path, &good).unwrap();
        let jobs = store.compact(None).await.unwrap();
        assert_eq!(jobs[0].merges().await[0].ended().await.error, None);
        assert_eq!(files(&store).await, 1);
        assert_eq!(node.stop().await, Ok(()));
    })
    .unwrap();
}

#[test]
fn versions_that_are_older_than_thirty_days_are_folded_away_beside_the_sweep() {
    const DAY_US: i64 = 24 * 3600 * 1_000_000;
    let config = strandline_testkit::r#gen::store("/durable", "wal.enabled = true, wal.path = '/wal'");
    for (days, gone) in [(40, true), (20, false)] {
        let mut store = LocalStore::made_at(config.clone(), clock::now().plus_us(-days * DAY_US)).unwrap();
        // each start is a version
        store.restart().unwrap();
        store.restart().unwrap();
        let durable = store.store().durable();
        assert!(durable.pin().version() > 2);
        sweep(store.store());
        assert_eq!(durable.past_version(1).unwrap().is_none(), gone, "of {days} days before");
        assert!(durable.past_version(durable.pin().version()).unwrap().is_some(), "the newest one stays");
    }
}
