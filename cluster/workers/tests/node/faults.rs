//! A disk that fails on purpose below a real node: nothing is fatal that a refusal can say.

use super::*;
use strandline_testkit::faulty_disk::{DiskFault, FaultyDisk};
use strandline_workers::subscriptions::Consumed;
use strandline_workers::{NodeDisk, RowsOutcome};

fn on(disk: &FaultyDisk, dir: &Path) -> NodeOptions {
    let drain_timeout = Duration::from_millis(600);
    NodeOptions { disk: NodeDisk(Arc::new(disk.clone())), drain_timeout, ..options(dir) }
}

#[test]
fn a_log_that_cannot_be_made_refuses_its_append_and_is_made_later() {
    in_folder(async |dir| {
        let disk = FaultyDisk::new();
        let node = Node::start(declarations(dir, ""), on(&disk, dir)).await.unwrap();
        let store = node.store("calls").unwrap();
        for (fault, kind) in
            [(DiskFault::NoDescriptor, ErrorKind::Unavailable), (DiskFault::NoRoom, ErrorKind::DiskFull)]
        {
            disk.set(fault);
            let refused = append(&node, &store, "c", 1).await.err().unwrap();
            assert_eq!(refused.kind(), kind, "{refused}");
        }
        disk.set(DiskFault::Well);
        assert_eq!(append(&node, &store, "c", 2).await.unwrap(), (1, 2));
        drop(store);
        stop(node).await;
    });
}

#[test]
fn rows_that_find_no_room_together_are_to_come_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    runtime::run(async {
        let disk = FaultyDisk::new();
        let node = Node::start(declarations(dir, ""), on(&disk, dir)).await.unwrap();
        let store = node.store("calls").unwrap();
        append(&node, &store, "c", 1).await.unwrap();
        disk.set(DiskFault::Full);
        // more than a log that has hardly begun holds ahead
        let (data, many) = (format!("\"{}\"", "x".repeat(1_000_000)), 20);
        let mut rows = BatchBuilder::new("Call", BatchUnit::Rows);
        let large = EventInput { stream_id: "c", event_type: "Ticked", data: &data, ..EventInput::default() };
        (0..many).for_each(|_| rows.push(&large).unwrap());
        let (told, said) = tokio::sync::oneshot::channel();
        let told = move |outcome| drop(told.send(outcome));
        store.append_rows_then(rows.finish().unwrap(), vec![Expected::Any; many], permit(&node), told);
        let outcome = said.await.unwrap();
        assert!(matches!(outcome, RowsOutcome::Apart), "{outcome:?}");
        assert_eq!(node.metrics().appends_refused.get(), 0, "whether one finds room is said of it alone");
        disk.set(DiskFault::Well);
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

#[test]
fn a_drain_does_not_wait_for_ever_for_a_full_disk() {
    in_folder(async |dir| {
        let disk = FaultyDisk::new();
        let node = Node::start(declarations(dir, ""), on(&disk, dir)).await.unwrap();
        let store = node.store("calls").unwrap();
        append(&node, &store, "c", 1).await.unwrap();
        disk.set(DiskFault::WritesFull);
        let stalled = {
            let (node, store) = (node.clone(), store.clone());
            tokio::spawn(async move { append(&node, &store, "c", 1).await })
        };
        control::until("it waits for its answer", || node.metrics().appends_waiting.get() == 1).await;
        // a job waits for the log as well
        let job = store.compact(None).await.unwrap().remove(0);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let undrained = node.drain().await.err().unwrap();
        assert_eq!(undrained.logs, ["calls/Call"]);
        assert!(matches!(stalled.await.unwrap(), Err(NodeError::OutcomeUnknown)));
        job.ended().await;
        drop((store, job));
        stop(node).await;
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        assert!(count(&store, "c").await >= 1);
        drop(store);
        stop(node).await;
    });
}

/// A small group of the only log is synced in the thread of its owner, who hears nothing meanwhile.
#[test]
fn a_drain_does_not_wait_for_ever_for_a_sync_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    runtime::run(async {
        let disk = FaultyDisk::new();
        let node = Node::start(declarations(dir, ""), on(&disk, dir)).await.unwrap();
        let store = node.store("calls").unwrap();
        // by then it writes alone
        for _ in 0..32 {
            append(&node, &store, "c", 1).await.unwrap();
        }
        disk.set(DiskFault::SyncsWait);
        let hung = {
            let (node, store) = (node.clone(), store.clone());
            tokio::spawn(async move { append(&node, &store, "c", 1).await })
        };
        let hangs = || disk.waiting() > 0 && node.metrics().appends_waiting.get() == 1;
        control::until("its sync hangs", hangs).await;
        let undrained = node.drain().await.err().unwrap();
        assert_eq!(undrained.logs, ["calls/Call"]);
        let said = undrained.to_string();
        assert!(said.contains("see why the disk gives no answer"), "{said}");
        disk.set(DiskFault::Well);
        // answered or not: its owner has come back
        drop(hung.await.unwrap());
        drop(store);
        stop(node).await;
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        assert!(count(&store, "c").await >= 32);
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

/// Its router waits for it, and hears nothing meanwhile.
#[test]
fn a_drain_does_not_wait_for_ever_for_a_log_that_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    runtime::run(async {
        let disk = FaultyDisk::new();
        let node = Node::start(declarations(dir, ""), on(&disk, dir)).await.unwrap();
        let store = node.store("calls").unwrap();
        disk.set(DiskFault::CreatesWait);
        let hung = {
            let (node, store) = (node.clone(), store.clone());
            tokio::spawn(async move { append(&node, &store, "c", 1).await })
        };
        control::until("its log is being made", || disk.waiting() > 0).await;
        let undrained = node.drain().await.err().unwrap();
        assert_eq!(undrained.logs, ["calls/(a new log)"]);
        disk.set(DiskFault::Well);
        drop(hung.await.unwrap());
        drop(store);
        stop(node).await;
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        append(&node, &store, "d", 1).await.unwrap();
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

#[test]
fn reads_that_wait_for_the_disk_are_counted_until_they_are_answered() {
    in_folder(async |dir| {
        let disk = FaultyDisk::new();
        let node = Node::start(declarations(dir, ", read.tiers = ('wal', 'durable')"), on(&disk, dir)).await.unwrap();
        let store = node.store("calls").unwrap();
        append(&node, &store, "c", 3).await.unwrap();
        disk.set(DiskFault::ReadsWait);
        let read = || {
            let store = store.clone();
            tokio::spawn(async move { count(&store, "c").await })
        };
        let reading = [read(), read()];
        control::until("both wait", || node.reads_in_flight().0 == 2).await;
        assert!(reading.iter().all(|reading| !reading.is_finished()));
        disk.set(DiskFault::Well);
        for reading in reading {
            assert_eq!(reading.await.unwrap(), 3);
        }
        control::until("nobody waits", || node.reads_in_flight().0 == 0).await;
        drop(store);
        stop(node).await;
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "nothing of it is to be durable")]
fn what_a_subscription_could_not_keep_is_answered_with_yes_only_when_it_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    runtime::run(async {
        let (path, aside) = (dir.join("node/stores/calls/subscriptions"), dir.join("aside"));
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        append(&node, &store, "c", 3).await.unwrap();
        drop(consumer_of_all(&store, "s", Mode::Async).await);
        drop(store);
        stop(node).await;
        // one that has not written to it yet opens it at its first word
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        let mut consumer = consumer_of_all(&store, "s", Mode::Async).await;
        let mut given = Vec::new();
        while given.len() < 3 {
            let Consumed::Events(more) = consumer.next(Duration::from_secs(30)).await else { panic!("three wait") };
            given.extend(more.iter().map(|event| event.position));
        }
        // a folder in its place at once, and then itself again: whoever writes at any moment meets one of them
        let folder = dir.join("folder");
        std::fs::hard_link(&path, &aside).unwrap();
        std::os::unix::fs::symlink(dir, &folder).unwrap();
        std::fs::rename(&folder, &path).unwrap();
        let (last, number) = (given[2], Some(consumer.number()));
        let settings = store.subscription("s").await.unwrap().settings;
        let create = || store.create_subscription("t", SubscriptionWish { settings: settings.clone(), after: None });
        for _ in 0..2 {
            let refused = store.ack("s", last, number, false).await.err().unwrap();
            assert_eq!(refused.kind(), ErrorKind::Io, "{refused}");
            assert_eq!(create().await.err().map(|refused| refused.kind()), Some(ErrorKind::Io));
            assert_eq!(store.delete_subscription("s").await.err().map(|refused| refused.kind()), Some(ErrorKind::Io));
        }
        std::fs::rename(&aside, &path).unwrap();
        assert_eq!(store.ack("s", last, number, false).await.unwrap(), 0, "it was in memory, and is kept now");
        assert!(!create().await.unwrap(), "it is there, and kept now");
        drop((consumer, store));
        stop(node).await;
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        let kept: Vec<_> =
            store.subscriptions().await.unwrap().into_iter().map(|of| (of.name, of.position >= last)).collect();
        assert_eq!(kept, [("s".to_owned(), true), ("t".to_owned(), true)]);
        store.delete_subscription("s").await.unwrap();
        assert_eq!(store.subscription("s").await.err().map(|gone| gone.kind()), Some(ErrorKind::NotFound));
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

/// What is told of the stores as soon as it is trouble, or none.
async fn told(node: &NodeHandle, trouble: bool) -> String {
    for _ in 0..400 {
        node.look_at_folders().await;
        let troubled = node.troubled();
        if troubled.is_empty() != trouble {
            let said: Vec<String> = troubled.iter().map(|(store, why)| format!("{store}: {why}")).collect();
            return said.concat();
        }
    }
    panic!("nobody has found out");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "of a test's folder, which no power loss threatens")]
fn a_folder_of_files_that_goes_away_is_told_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let (files, away) = (folder.path().join("durable"), folder.path().join("away"));
    runtime::run(async {
        let node = start(folder.path(), "").await;
        assert_eq!(told(&node, false).await, "");
        std::fs::rename(&files, &away).unwrap();
        let why = told(&node, true).await;
        assert!(why.starts_with("calls: ") && why.contains("mounted"), "{why}");
        std::fs::rename(&away, &files).unwrap();
        assert_eq!(told(&node, false).await, "");
        stop(node).await;
    })
    .unwrap();
}
