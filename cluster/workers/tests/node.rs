//! A real node on a real actix system, over files in a temporary folder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "node/buckets.rs"]
mod buckets;
#[path = "node/control.rs"]
mod control;
#[path = "node/faults.rs"]
mod faults;
#[path = "node/followers.rs"]
mod followers;
#[path = "node/hidden.rs"]
mod hidden;
#[path = "node/merges.rs"]
mod merges;
#[path = "node/modes.rs"]
mod modes;
#[path = "node/one_command.rs"]
mod one_command;
#[path = "node/pace.rs"]
mod pace;
#[path = "node/refusals.rs"]
mod refusals;
#[path = "node/statement.rs"]
mod statement;
#[path = "node/subjects.rs"]
mod subjects;
#[path = "node/together.rs"]
mod together;
#[path = "node/unmounted.rs"]
mod unmounted;

use futures_util::future::join_all;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use strandline_deql::{Declarations, parse_file};
use strandline_engine::append::{Expected, OnError};
use strandline_engine::read::{Filter, GlobalRead, Order};
use strandline_engine::subscribe::durable::{Mode, Settings};
use strandline_event::{BatchBuilder, BatchBytes, BatchUnit, ErrorKind, EventInput, EventRef, Position, Seq};
use strandline_workers::permits::BytePermit;
use strandline_workers::subscriptions::{Consumer, SubscriptionWish};
use strandline_workers::{
    Node, NodeError, NodeHandle, NodeOptions, StartError, StoreHandle, StreamQuery, StreamTypeEntry, runtime,
};

fn declarations(dir: &Path, more: &str) -> Declarations {
    let dir = dir.display();
    let text = format!(
        "CREATE EVENTSTORE calls WITH (durable.type = 'parquet', durable.path = '{dir}/durable', inmemory.enabled = true,
         wal.enabled = true, wal.path = '{dir}/wal', partition.by = ('dt'), partition.dt.expr = 'DATE(occurred_at)' {more});"
    );
    match parse_file("test.deql", &text) {
        Ok(declarations) => declarations,
        Err(errors) => panic!("{errors}"),
    }
}

fn options(dir: &Path) -> NodeOptions {
    NodeOptions::new(dir.join("node"))
}

async fn start(dir: &Path, more: &str) -> NodeHandle {
    Node::start(declarations(dir, more), options(dir)).await.unwrap()
}

/// A test of nodes in a folder of its own.
fn in_folder(test: impl AsyncFnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    runtime::run(async { test(folder.path()).await }).unwrap();
}

/// The same with a node in it, and its store. The test stops it.
fn on_node(test: impl AsyncFnOnce(&Path, NodeHandle, StoreHandle)) {
    let folder = tempfile::tempdir().unwrap();
    runtime::run(async {
        let node = start(folder.path(), "").await;
        let store = node.store("calls").unwrap();
        test(folder.path(), node, store).await;
    })
    .unwrap();
}

fn batch(stream_type: &str, stream_id: &str, count: usize, unit: BatchUnit) -> BatchBytes {
    let mut builder = BatchBuilder::new(stream_type, unit);
    for i in 0..count {
        let data = format!("{{\"n\":{i}}}");
        builder.push(&EventInput { stream_id, event_type: "Ticked", data: &data, ..EventInput::default() }).unwrap();
    }
    builder.finish().unwrap()
}

fn permit(node: &NodeHandle) -> Arc<BytePermit> {
    Arc::new(node.permits().take(1000).unwrap())
}

async fn append(node: &NodeHandle, store: &StoreHandle, stream: &str, count: usize) -> Result<(u64, u64), NodeError> {
    let batch = batch("Call", stream, count, BatchUnit::Append);
    let done = store.append_stream(batch, Expected::Any, false, permit(node)).await?;
    Ok((done.events[0].seq.0, done.events[count - 1].seq.0))
}

fn whole(stream: &str) -> StreamQuery {
    StreamQuery {
        stream_type: "Call".to_owned(),
        stream_id: stream.to_owned(),
        from_seq: None,
        to_seq: None,
        limit: 100_000,
        order: Some(Order::Asc),
        as_of: None,
    }
}

async fn count(store: &StoreHandle, stream: &str) -> usize {
    let page = store.read_stream(whole(stream)).await.unwrap();
    assert!(page.verdict.contiguous);
    for (i, event) in page.rows().enumerate() {
        assert_eq!(event.seq, Seq(i as u64 + 1));
    }
    page.len()
}

/// A consumer of a new subscription to everything, from the start; it is given what the events say.
async fn consumer_of_all(store: &StoreHandle, name: &str, mode: Mode) -> Consumer {
    let settings = Settings { filter: Filter::default(), mode, attempts_max: 9, ack_within_us: 60_000_000 };
    store.create_subscription(name, SubscriptionWish { settings, after: Some(Position::START) }).await.unwrap();
    let encode = |out: &mut Vec<u8>, event: &EventRef<'_>| out.extend_from_slice(event.data.as_bytes());
    store.consume(name, Arc::new(encode)).unwrap()
}

async fn stop(node: NodeHandle) {
    assert_eq!(node.stop().await, Ok(()), "a worker leaked");
}

#[test]
fn what_is_appended_is_read_and_survives_a_restart() {
    on_node(async |dir, node, store| {
        assert_eq!(append(&node, &store, "c1", 3).await.unwrap(), (1, 3));
        assert_eq!(append(&node, &store, "c1", 2).await.unwrap(), (4, 5));
        assert_eq!(count(&store, "c1").await, 5);
        let head = store.head("Call".to_owned(), "c1".to_owned()).await.unwrap().unwrap();
        assert_eq!((head.first_seq, head.last_seq), (Seq(1), Seq(5)));
        stop(node).await;
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        assert_eq!(count(&store, "c1").await, 5);
        assert_eq!(append(&node, &store, "c1", 1).await.unwrap(), (6, 6));
        stop(node).await;
    });
}

#[test]
fn a_reader_sees_its_own_write_at_once_and_groups_gather() {
    on_node(async |_, node, store| {
        let writers = (0..64).map(|w| {
            let (node, store) = (node.clone(), store.clone());
            tokio::spawn(async move {
                let stream = format!("s{w}");
                for round in 1..=10 {
                    append(&node, &store, &stream, 2).await.unwrap();
                    assert_eq!(count(&store, &stream).await, round * 2);
                }
            })
        });
        for writer in join_all(writers).await {
            writer.unwrap();
        }
        let metrics = node.metrics();
        assert_eq!((metrics.appends.get(), metrics.events.get()), (640, 1280));
        assert!(metrics.groups.get() < 640, "{} groups for 640 appends", metrics.groups.get());
        drop(store);
        stop(node).await;
    });
}

#[test]
fn a_follower_of_the_global_order_misses_nothing_while_it_is_compacted() {
    on_node(async |_, node, store| {
        let writers: Vec<_> = (0..8)
            .map(|w| {
                let (node, store) = (node.clone(), store.clone());
                tokio::spawn(async move {
                    for _ in 0..20 {
                        let one = batch(&format!("T{}", w % 3), &format!("s{w}"), 3, BatchUnit::Append);
                        store.append_stream(one, Expected::Any, false, permit(&node)).await.unwrap();
                    }
                })
            })
            .collect();
        let compacting = {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..3 {
                    for job in store.compact(None).await.unwrap() {
                        assert_eq!(job.ended().await.error, None);
                    }
                }
            })
        };
        let (mut after, mut seen) = (Position::START, Vec::new());
        while seen.len() < 480 {
            let page = store.read_global(GlobalRead { after, limit: 37, filter: Filter::default() }).await.unwrap();
            seen.extend(page.rows().map(|e| (e.position(), e.stream_id.to_owned(), e.seq)));
            after = page.next;
            tokio::task::yield_now().await;
        }
        assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for writer in writers {
            writer.await.unwrap();
        }
        compacting.await.unwrap();
        let mut scan = store.scan(Filter::default()).await.unwrap();
        let mut scanned = 0;
        while let Some(rows) = scan.next().await {
            scanned += rows.unwrap().len();
        }
        assert_eq!((seen.len(), scanned), (480, 480));
        let (_, id) = (seen.len(), seen[100].0.event_id);
        assert_eq!(store.event_by_id(id).await.unwrap().unwrap().event().event_id, id);
        drop((scan, store));
        stop(node).await;
    });
}

#[test]
fn compaction_moves_everything_and_tells_what_it_did() {
    on_node(async |dir, node, store| {
        append(&node, &store, "c1", 100).await.unwrap();
        assert_eq!(store.plan(None).await.unwrap().jobs.len(), 1);
        assert_eq!(store.plan(Some("Call".to_owned())).await.unwrap().jobs.len(), 1);
        assert!(matches!(store.plan(Some("No".to_owned())).await, Err(NodeError::UnknownStreamType { .. })));
        let jobs = store.compact(Some("Call".to_owned())).await.unwrap();
        let end = jobs[0].ended().await;
        assert_eq!((end.error, end.rows, end.files), (None, 100, 1));
        assert_eq!(store.jobs().ended().len(), 1);
        assert!(store.plan(None).await.unwrap().jobs.is_empty());
        assert_eq!(store.files().await.unwrap()[0].entry.rows, 100);
        assert_eq!(store.tiers().await.unwrap().durable.events, 100);
        assert!(store.manifest(None, 1).await.unwrap().version > 1);
        assert_eq!(append(&node, &store, "c1", 1).await.unwrap(), (101, 101));
        assert_eq!(count(&store, "c1").await, 101);
        assert!(matches!(store.compact(Some("No".to_owned())).await, Err(NodeError::UnknownStreamType { .. })));
        drop((store, jobs));
        stop(node).await;
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        assert_eq!(count(&store, "c1").await, 101);
        assert_eq!(append(&node, &store, "c1", 1).await.unwrap(), (102, 102));
        drop(store);
        stop(node).await;
    });
}

#[test]
fn a_drain_finishes_what_is_in_flight_and_refuses_the_rest() {
    on_node(async |dir, node, store| {
        append(&node, &store, "c", 1).await.unwrap();
        let writers: Vec<_> = (0..16)
            .map(|_| {
                let (node, store) = (node.clone(), store.clone());
                tokio::spawn(async move {
                    let mut stored = 0;
                    loop {
                        match append(&node, &store, "c", 1).await {
                            Ok(_) => stored += 1,
                            Err(e) => {
                                assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");
                                assert!(!matches!(e, NodeError::OutcomeUnknown), "an answer got lost");
                                return stored;
                            }
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        node.drain().await.unwrap();
        let mut stored = 1;
        for writer in writers {
            stored += writer.await.unwrap();
        }
        assert_eq!(count(&store, "c").await, stored, "reads are answered after the drain");
        assert!(!node.is_serving());
        drop(store);
        stop(node).await;
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        assert_eq!(count(&store, "c").await, stored);
        assert!(node.report().iter().all(|line| !line.text().contains("cut")), "{:?}", node.report());
        drop(store);
        stop(node).await;
    });
}

#[test]
fn bulk_goes_to_every_owner_and_abort_checks_the_whole_body_first() {
    let folder = tempfile::tempdir().unwrap();
    runtime::run(async {
        let node = start(folder.path(), ", strict.tenant_required = true").await;
        let store = node.store("calls").unwrap();
        let row = |tenant| EventInput { stream_id: "s", event_type: "E", tenant_id: tenant, ..EventInput::default() };
        let part = |stream_type: &str, tenants: &[Option<&'static str>]| {
            let mut builder = BatchBuilder::new(stream_type, BatchUnit::Rows);
            for tenant in tenants {
                builder.push(&row(*tenant)).unwrap();
            }
            builder.finish().unwrap()
        };
        let body = || vec![part("A", &[Some("t")]), part("B", &[Some("t"), None])];
        let refused = store.append_bulk(body(), OnError::Abort, permit(&node)).await.err().unwrap();
        assert!(matches!(refused, NodeError::Strict { batch: 1, row: 1, .. }), "{refused}");
        assert!(store.engine().stream_types().is_empty(), "nothing is stored, no log is made");
        let results = store.append_bulk(body(), OnError::Skip, permit(&node)).await.unwrap();
        assert_eq!(results[1].as_ref().unwrap().rejected.len(), 1);
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

#[test]
fn registered_types_are_enforced_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let more = ", strict.stream_type_enforced = true";
    runtime::run(async {
        let node = start(dir, more).await;
        let store = node.store("calls").unwrap();
        assert_eq!(append(&node, &store, "c", 1).await.err().unwrap().kind(), ErrorKind::StrictViolation);
        store.register(StreamTypeEntry { name: Arc::from("Call"), buckets: 1 }).await.unwrap();
        append(&node, &store, "c", 1).await.unwrap();
        drop(store);
        stop(node).await;
        let node = start(dir, more).await;
        let store = node.store("calls").unwrap();
        assert_eq!(append(&node, &store, "c", 1).await.unwrap(), (2, 2));
        let other = StreamTypeEntry { name: Arc::from("Call"), buckets: 2 };
        assert!(matches!(store.register(other).await, Err(NodeError::OtherBuckets { .. })));
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

#[test]
fn bytes_in_flight_and_queued_reads_are_bounded() {
    in_folder(async |dir| {
        let options = NodeOptions { in_flight_bytes_max: 4096, reads_max: 1, reader_threads: 1, ..options(dir) };
        let node = Node::start(declarations(dir, ""), options).await.unwrap();
        let store = node.store("calls").unwrap();
        let held = node.permits().take(4096).unwrap();
        assert!(node.permits().take(1).is_none());
        drop(held);
        append(&node, &store, "c", 1000).await.unwrap();
        let reads = join_all((0..50).map(|_| store.read_stream(whole("c")))).await;
        let busy = reads.iter().filter(|r| matches!(r, Err(NodeError::Overloaded(_)))).count();
        assert!(busy > 0 && busy < 50, "{busy} of 50 were refused");
        drop((store, reads));
        stop(node).await;
    });
}

#[test]
fn a_retry_gets_its_first_answer_and_an_inspection_stores_nothing() {
    let folder = tempfile::tempdir().unwrap();
    runtime::run(async {
        let node = start(folder.path(), ", id.command_id.unique_scope = 'stream'").await;
        let store = node.store("calls").unwrap();
        let mut builder = BatchBuilder::new("Call", BatchUnit::Append);
        builder
            .push(&EventInput { stream_id: "c", event_type: "E", command_id: Some("k"), ..EventInput::default() })
            .unwrap();
        let command = builder.finish().unwrap();
        let send = |inspect| store.append_stream(command.clone(), Expected::Empty, inspect, permit(&node));
        let looked = send(true).await.unwrap();
        assert_eq!(looked.events[0].seq, Seq(1));
        let first = send(false).await.unwrap();
        let again = send(false).await.unwrap();
        assert!(!first.duplicate && again.duplicate);
        assert_eq!(first.events, again.events);
        for job in store.compact(None).await.unwrap() {
            assert_eq!(job.ended().await.error, None);
        }
        assert_eq!(send(false).await.unwrap().events, first.events);
        assert_eq!(count(&store, "c").await, 1);
        drop(store);
        stop(node).await;
    })
    .unwrap();
}

#[test]
fn what_cannot_start_says_why() {
    in_folder(async |dir| {
        let node = start(dir, "").await;
        let second = Node::start(declarations(dir, ""), options(dir)).await.err().unwrap();
        assert!(matches!(second, StartError::DataDir(_)) && second.is_configuration(), "{second}");
        assert!(node.store("other").err().unwrap().to_string().contains("`calls`"));
        stop(node).await;
        let unserved = ", row_group.sort_by = ('metadata'), strict.immutable_events = false";
        let refused = Node::start(declarations(dir, unserved), options(dir)).await.err().unwrap();
        assert!(refused.to_string().contains("row_group.sort_by"), "{refused}");
    });
}
