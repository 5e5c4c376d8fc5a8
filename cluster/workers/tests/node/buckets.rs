//! Stream types of several buckets: registered, appended to in every way, read, moved, started again.

use super::*;
use std::collections::BTreeSet;
use strandline_event::LogKey;
use strandline_workers::StreamAppend;

/// So many that the few streams of a test are not all in one.
const BUCKETS: u32 = 64;
const STREAMS: [&str; 8] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"];

fn entry(name: &str, buckets: u32) -> StreamTypeEntry {
    StreamTypeEntry { name: Arc::from(name), buckets }
}

fn one_of_each(stream_type: &str) -> BatchBytes {
    let mut builder = BatchBuilder::new(stream_type, BatchUnit::Rows);
    for stream_id in STREAMS {
        builder.push(&EventInput { stream_id, event_type: "Ticked", ..EventInput::default() }).unwrap();
    }
    builder.finish().unwrap()
}

fn logs(store: &StoreHandle) -> BTreeSet<LogKey> {
    store.engine().logs().iter().map(|log| log.key.clone()).collect()
}

async fn all_have(store: &StoreHandle, events: usize) {
    for stream in STREAMS {
        assert_eq!(count(store, stream).await, events, "{stream}");
    }
    let read = GlobalRead { after: Position::START, limit: 1000, filter: Filter::default() };
    assert_eq!(store.read_global(read).await.unwrap().len(), STREAMS.len() * events);
}

#[test]
fn a_type_of_several_buckets_has_a_log_each_and_is_one_to_its_readers() {
    on_node(async |dir, node, store| {
        store.register(entry("Call", BUCKETS)).await.unwrap();
        store.register(entry("Call", BUCKETS)).await.unwrap();
        assert_eq!(*store.stream_types(), [entry("Call", BUCKETS)]);
        // the first event of a bucket makes its log, whoever brings it
        for stream in &STREAMS[..4] {
            assert_eq!(append(&node, &store, stream, 1).await.unwrap(), (1, 1));
        }
        let one = |stream: &&str| StreamAppend {
            batch: batch("Call", stream, 1, BatchUnit::Append),
            expected: Expected::Empty,
        };
        let rest: Vec<StreamAppend> = STREAMS[4..].iter().map(one).collect();
        assert!(store.append_many(&rest, false, &permit(&node)).await.iter().all(Result::is_ok));
        let known = logs(&store);
        assert_eq!(known, STREAMS.iter().map(|stream| store.engine().owner_of("Call", stream)).collect());
        assert!(known.len() > 1, "{known:?}");
        all_have(&store, 1).await;
        // all of them together, to owners that are there
        let again = STREAMS.map(|stream| StreamAppend {
            batch: batch("Call", stream, 2, BatchUnit::Append),
            expected: Expected::At(Seq(1)),
        });
        assert!(store.append_many(&again, false, &permit(&node)).await.iter().all(Result::is_ok));
        let parts = store.by_owner(vec![one_of_each("Call")]).await.unwrap();
        assert_eq!(parts.len(), known.len());
        let batches = parts.into_iter().map(|(_, part)| part.batch).collect();
        let stored = store.append_bulk(batches, OnError::Abort, permit(&node)).await.unwrap();
        assert!(stored.iter().all(Result::is_ok));
        all_have(&store, 4).await;
        let jobs = store.compact(None).await.unwrap();
        assert_eq!(jobs.iter().map(|job| job.log.clone()).collect::<BTreeSet<_>>(), known);
        for job in jobs {
            assert_eq!(job.ended().await.error, None);
        }
        all_have(&store, 4).await;
        drop(store);
        stop(node).await;
        // of the registrations the numbers of buckets stand in the store itself
        std::fs::remove_file(dir.join("node/stores/calls/stream-types")).unwrap();
        let node = start(dir, "").await;
        let store = node.store("calls").unwrap();
        assert_eq!(logs(&store), known);
        all_have(&store, 4).await;
        for stream in STREAMS {
            assert_eq!(append(&node, &store, stream, 1).await.unwrap(), (5, 5));
        }
        let other = store.register(entry("Call", 2)).await;
        assert!(matches!(other, Err(NodeError::OtherBuckets { buckets: BUCKETS, .. })));
        store.register(entry("Call", BUCKETS)).await.unwrap();
        all_have(&store, 5).await;
        drop(store);
        stop(node).await;
    });
}

#[test]
fn a_store_in_memory_starts_again_with_the_buckets_that_were_registered() {
    let folder = tempfile::tempdir().unwrap();
    let text = "CREATE EVENTSTORE calls WITH (durable.type = 'parquet', durable.path = 'memory://calls', wal.enabled = false);";
    runtime::run(async {
        for _ in 0..2 {
            let declarations = parse_file("test.deql", text).unwrap();
            let node = Node::start(declarations, options(folder.path())).await.unwrap();
            let store = node.store("calls").unwrap();
            // the first time it is registered, then it is there
            store.register(entry("Call", BUCKETS)).await.unwrap();
            assert_eq!((store.engine().buckets_of("Call"), logs(&store).len()), (BUCKETS, 0));
            assert_eq!(*store.stream_types(), [entry("Call", BUCKETS)]);
            for stream in STREAMS {
                assert_eq!(append(&node, &store, stream, 1).await.unwrap(), (1, 1));
            }
            assert!(logs(&store).len() > 1);
            all_have(&store, 1).await;
            drop(store);
            stop(node).await;
        }
    })
    .unwrap();
}

#[test]
fn a_body_that_no_owner_has_alone_goes_to_none() {
    on_node(async |_, node, store| {
        store.register(entry("Call", BUCKETS)).await.unwrap();
        // as if it had been made before the type was registered
        let results = store.append_bulk(vec![one_of_each("Call")], OnError::Abort, permit(&node)).await.unwrap();
        assert!(matches!(results[0], Err(NodeError::BucketsChanged)), "{results:?}");
        assert!(logs(&store).is_empty());
        drop(store);
        stop(node).await;
    });
}

#[test]
fn what_cannot_have_so_many_buckets_says_why() {
    in_folder(async |dir| {
        let node = start(dir, ", id.command_id.unique_scope = 'stream_type'").await;
        let store = node.store("calls").unwrap();
        let refused = store.register(entry("A", 2)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::StrictViolation);
        assert!(refused.to_string().contains("id.command_id.unique_scope"), "{refused}");
        for buckets in [0, 257] {
            let refused = store.register(entry("A", buckets)).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::BadRequest, "{refused}");
        }
        store.register(entry("A", 1)).await.unwrap();
        drop(store);
        stop(node).await;
    });
}

#[test]
fn a_type_with_events_has_the_bucket_that_they_are_in() {
    on_node(async |_, node, store| {
        append(&node, &store, "c", 1).await.unwrap();
        let late = store.register(entry("Call", 2)).await;
        assert!(matches!(late, Err(NodeError::OtherBuckets { buckets: 1, .. })), "it has events in one");
        store.register(entry("Call", 1)).await.unwrap();
        drop(store);
        stop(node).await;
    });
}

#[test]
fn a_store_has_so_many_stream_types_at_most_with_each_bucket_counted_and_each_registration() {
    on_node(async |_, node, store| {
        for n in 0..39 {
            store.register(entry(&format!("Type{n}"), 256)).await.unwrap();
        }
        // one that nobody has registered
        append(&node, &store, "c", 1).await.unwrap();
        let refused = store.register(entry("Over", 16)).await.unwrap_err();
        assert!(matches!(refused, NodeError::TooManyStreamTypes { limit: 10_000, .. }), "{refused}");
        assert_eq!(refused.kind(), ErrorKind::TooLarge);
        assert!(refused.to_string().contains("each of their buckets counted as one"), "{refused}");
        for _ in 0..2 {
            store.register(entry("Last", 15)).await.unwrap();
        }
        assert!(store.register(entry("Over", 1)).await.is_err());
        let new = || batch("Over", "s", 1, BatchUnit::Append);
        let appended = store.append_stream(new(), Expected::Any, false, permit(&node)).await.err().unwrap();
        let bulk = vec![batch("Over", "s", 1, BatchUnit::Rows), batch("Type0", "s", 1, BatchUnit::Rows)];
        let in_bulk = store.append_bulk(bulk, OnError::Skip, permit(&node)).await.err().unwrap();
        for refused in [appended, in_bulk] {
            assert!(matches!(refused, NodeError::TooManyStreamTypes { .. }), "{refused}");
        }
        assert_eq!((store.stream_types().len(), logs(&store).len()), (40, 1), "nothing of what was refused is there");
        // what has its place keeps it
        store.register(entry("Call", 1)).await.unwrap();
        let first = batch("Type0", "s", 1, BatchUnit::Append);
        store.append_stream(first, Expected::Empty, false, permit(&node)).await.unwrap();
        assert_eq!((store.stream_types().len(), logs(&store).len()), (41, 2));
        drop(store);
        stop(node).await;
    });
}
