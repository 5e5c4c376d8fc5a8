//! What may block does not hold the control thread, and what has an hour's interval happens.

use super::*;
use std::time::{Instant, SystemTime};
use strandline_engine::compact::{self, NoSteps, Progress};
use strandline_event::{LogKey, Micros};
use strandline_testkit::faulty_disk::{DiskFault, FaultyDisk};
use strandline_workers::{NodeDisk, clock, random};

/// Longer than anything takes that does not wait for a thing which the test holds back.
const HELD: Duration = Duration::from_secs(20);

/// Waits for something that comes by itself.
pub(super) async fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let began = Instant::now();
    while !seen() {
        assert!(began.elapsed() < HELD, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The supervisor and the router answer; both live on the control thread.
async fn control_thread_answers(node: &NodeHandle, store: &StoreHandle) {
    let paused = tokio::time::timeout(HELD, store.pause(true)).await;
    paused.expect("the supervisor answers").unwrap();
    let new_type = batch("Fresh", "s", 1, BatchUnit::Append);
    let made = tokio::time::timeout(HELD, store.append_stream(new_type, Expected::Any, false, permit(node))).await;
    made.expect("the router makes a log").unwrap();
}

#[test]
fn a_registration_that_waits_for_the_disk_holds_up_nobody() {
    on_node(async |dir, node, store| {
        // opening a pipe to write waits for one who reads
        let path = dir.join("node/stores/calls/stream-types");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let registering = {
            let store = store.clone();
            tokio::spawn(async move { store.register(StreamTypeEntry { name: Arc::from("Call"), buckets: 1 }).await })
        };
        control_thread_answers(&node, &store).await;
        assert!(!registering.is_finished(), "it waits, or the test shows nothing");
        let reading = tokio::task::spawn_blocking(move || std::fs::read(path));
        // a pipe cannot be synced: that it ends is what counts
        let _ = tokio::time::timeout(HELD, registering).await.expect("the registration ends").unwrap();
        drop(store);
        stop(node).await;
        drop(reading);
    });
}

#[test]
fn looking_for_what_is_due_holds_up_nobody() {
    in_folder(async |dir| {
        let disk = FaultyDisk::new();
        let options = NodeOptions { disk: NodeDisk(Arc::new(disk.clone())), ..options(dir) };
        let node = Node::start(declarations(dir, ""), options).await.unwrap();
        let store = node.store("calls").unwrap();
        // a watermark within the open segment: how much is above it stands in the log
        append(&node, &store, "c", 1).await.unwrap();
        let engine = Arc::clone(store.engine());
        let plan = compact::plan(&engine, &LogKey::single("Call")).unwrap().unwrap();
        let (id, progress) = (random::bits(), Progress::default());
        compact::run_job(&engine, &plan, id, clock::now(), &progress, &NoSteps).unwrap();
        disk.set(DiskFault::ReadsWait);
        append(&node, &store, "c", 1).await.unwrap();
        until("what is due is looked for in the log", || disk.waiting() > 0).await;
        control_thread_answers(&node, &store).await;
        assert!(disk.waiting() > 0, "it still waits, or the test shows nothing");
        disk.set(DiskFault::Well);
        drop((store, engine));
        stop(node).await;
    });
}

#[test]
fn orphans_are_swept_while_the_node_runs() {
    in_folder(async |dir| {
        let options = NodeOptions { sweep_every: Duration::from_millis(50), ..options(dir) };
        let node = Node::start(declarations(dir, ""), options).await.unwrap();
        let store = node.store("calls").unwrap();
        let orphan = |name: &str, age_hours: u64| {
            let path = dir.join("durable").join(name);
            std::fs::write(&path, "left by a crash").unwrap();
            let modified = SystemTime::UNIX_EPOCH + Duration::from_micros(clock::now().0 as u64)
                - Duration::from_secs(age_hours * 3600);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
            path
        };
        // the start has swept already
        let (young, old) = (orphan("part-n1-8.parquet.tmp", 23), orphan("part-n1-9.parquet.tmp", 25));
        until("the old orphan goes", || !old.exists()).await;
        assert!(young.exists(), "it may belong to somebody yet");
        drop(store);
        stop(node).await;
    });
}

#[test]
fn what_is_due_is_retired_while_the_node_runs() {
    in_folder(async |dir| {
        let options = NodeOptions { sweep_every: Duration::from_millis(50), ..options(dir) };
        let keys = ", retention.enabled = true, retention.durable_days = 7300";
        let node = Node::start(declarations(dir, keys), options).await.unwrap();
        let store = node.store("calls").unwrap();
        let mut builder = BatchBuilder::new("Call", BatchUnit::Append);
        for at in [Micros(1_000_000), clock::now()] {
            let event = EventInput { stream_id: "c", event_type: "E", occurred_at: Some(at), ..EventInput::default() };
            builder.push(&event).unwrap();
        }
        store.append_stream(builder.finish().unwrap(), Expected::Any, false, permit(&node)).await.unwrap();
        store.compact(None).await.unwrap()[0].ended().await;
        let engine = Arc::clone(store.engine());
        until("what is old goes, and nobody asked for it", || engine.durable().pin().rows() == 1).await;
        let page = store.read_stream(whole("c")).await.unwrap();
        let seqs: Vec<Seq> = page.rows().map(|event| event.seq).collect();
        assert_eq!((seqs, &page.verdict.retired[..]), (vec![Seq(2)], &[(Seq(1), Seq(1))][..]), "no tier shows it");
        drop((page, store, engine));
        stop(node).await;
    });
}
