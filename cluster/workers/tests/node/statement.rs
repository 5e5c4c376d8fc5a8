//! CREATE OR REPLACE of a store that a node serves: each group of keys takes effect without a restart, and nobody is disturbed.

use super::control::until;
use super::*;
use strandline_deql::StoreConfig;
use strandline_durable::{DurableTier, OpenOptions};
use strandline_workers::{clock, random};

fn statement(dir: &Path, more: &str) -> StoreConfig {
    declarations(dir, more).stores.remove(0).config
}

async fn replace(store: &StoreHandle, dir: &Path, more: &str) -> Vec<&'static str> {
    store.replace(statement(dir, more)).await.unwrap().changed
}

async fn compact(store: &StoreHandle) {
    for job in store.compact(None).await.unwrap() {
        assert_eq!(job.ended().await.error, None);
    }
}

#[test]
fn memory_is_turned_off_and_on_and_its_time_to_live_follows_under_load() {
    on_node(async |dir, node, store| {
        let writers: Vec<_> = (0..4)
            .map(|w| {
                let (node, store, stream) = (node.clone(), store.clone(), format!("s{w}"));
                tokio::spawn(async move {
                    for round in 1..=40 {
                        append(&node, &store, &stream, 2).await.unwrap();
                        assert_eq!(count(&store, &stream).await, round * 2, "an acknowledged event is read, once");
                    }
                })
            })
            .collect();
        let follower = {
            let store = store.clone();
            tokio::spawn(async move {
                let (mut after, mut seen) = (Position::START, Vec::new());
                while seen.len() < 320 {
                    let read = GlobalRead { after, limit: 7, filter: Filter::default() };
                    let page = store.read_global(read).await.unwrap();
                    seen.extend(page.rows().map(|e| e.position()));
                    after = page.next;
                    tokio::task::yield_now().await;
                }
                assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "nothing twice");
            })
        };
        for round in 0..20 {
            let off = round % 2 == 0;
            let more = if off { ", read.default_order = ('seq')" } else { "" };
            let mut config = statement(dir, more);
            if off {
                let text =
                    strandline_deql::print(&config).replace("inmemory.enabled = true", "inmemory.enabled = false");
                config = parse_file("test.deql", &text).unwrap().stores.remove(0).config;
            }
            let changed = store.replace(config).await.unwrap().changed;
            assert_eq!(changed, ["inmemory.enabled", "read.tiers", "read.default_order"]);
            assert_eq!(store.tiers().await.unwrap().hot.is_none(), off);
        }
        for writer in writers {
            writer.await.unwrap();
        }
        follower.await.unwrap();
        append(&node, &store, "s0", 1).await.unwrap();
        assert!(store.tiers().await.unwrap().hot.unwrap().events > 0);
        let changed = replace(&store, dir, ", inmemory.ttl_seconds = 1").await;
        assert_eq!(changed, ["inmemory.ttl_seconds", "retention.inmemory_seconds"], "one follows the other");
        let engine = Arc::clone(store.engine());
        until("what is too old leaves memory", || engine.hot().unwrap().stats().events == 0).await;
        assert_eq!(count(&store, "s0").await, 81);
        drop((store, engine));
        stop(node).await;
    });
}

#[test]
fn new_files_follow_and_old_ones_stay_readable() {
    on_node(async |dir, node, store| {
        append(&node, &store, "old", 90).await.unwrap();
        compact(&store).await;
        let more = ", row_group.max_rows = 30, row_group.sort_order = 'desc', durable.compression = 'none'";
        let changed = replace(&store, dir, more).await;
        assert_eq!(
            changed,
            ["durable.compression", "durable.compression.level", "row_group.max_rows", "row_group.sort_order"]
        );
        append(&node, &store, "new", 90).await.unwrap();
        compact(&store).await;
        // the run by hand merges both: all of it is as the new statement says
        let engine = Arc::clone(store.engine());
        let groups = || engine.durable().pin().files().iter().map(|file| file.row_groups).collect::<Vec<_>>();
        until("180 rows in one file, 30 a row group", || groups() == [6]).await;
        let files = std::fs::read_dir(dir.join("durable")).unwrap().flatten().flat_map(|d| std::fs::read_dir(d.path()));
        assert!(files.flatten().flatten().count() >= 3, "the old files wait for their readers");
        assert_eq!((count(&store, "old").await, count(&store, "new").await), (90, 90));
        drop((store, engine));
        stop(node).await;
    });
}

#[test]
fn segments_end_by_the_new_size_and_the_new_schedule_fires() {
    in_folder(async |dir| {
        let node = start(dir, ", compaction.schedule = '0 0 1 1 *'").await;
        let store = node.store("calls").unwrap();
        let two_mb = || {
            let mut builder = BatchBuilder::new("Call", BatchUnit::Append);
            let data = format!("\"{}\"", "x".repeat(700_000));
            for _ in 0..3 {
                let event = EventInput { stream_id: "big", event_type: "E", data: &data, ..EventInput::default() };
                builder.push(&event).unwrap();
            }
            builder.finish().unwrap()
        };
        let segments = async || store.wal().await.unwrap()[0].segments.len();
        for _ in 0..3 {
            store.append_stream(two_mb(), Expected::Any, false, permit(&node)).await.unwrap();
        }
        assert_eq!(segments().await, 1);
        let changed = replace(&store, dir, ", compaction.schedule = '0 0 1 1 *', wal.rollover_mb = 4").await;
        assert_eq!(changed, ["wal.rollover_mb"]);
        for _ in 0..4 {
            store.append_stream(two_mb(), Expected::Any, false, permit(&node)).await.unwrap();
        }
        assert!(segments().await >= 4, "the open one is over the new size; then each holds one append");
        let tick = store.jobs().next_tick().unwrap();
        let changed = replace(&store, dir, ", compaction.schedule = '* * * * *', wal.retention_hours = 0").await;
        assert_eq!(changed, ["wal.rollover_mb", "wal.retention_hours", "compaction.schedule", "retention.wal_hours"]);
        assert!(store.jobs().next_tick().unwrap() < tick, "the answer comes when the schedule is the new one");
        let changed = replace(&store, dir, ", compaction.min_segment_mb = 1, compaction.trigger = 'size_mb'").await;
        assert!(changed.contains(&"compaction.min_segment_mb"));
        let moved = || store.engine().durable().pin().rows() == 21;
        until("the log is over the new size: it is compacted", moved).await;
        let changed = replace(&store, dir, ", compaction.enabled = false").await;
        assert!(changed.contains(&"compaction.enabled"));
        assert_eq!(store.jobs().next_tick(), None);
        assert!(matches!(store.compact(None).await, Err(NodeError::Compact(_))));
        assert_eq!(count(&store, "big").await, 21);
        drop(store);
        stop(node).await;
    });
}

#[test]
fn reads_and_appends_follow_and_a_restart_finds_the_new_statement() {
    on_node(async |dir, node, store| {
        let at = |seq: u64| {
            let mut builder = BatchBuilder::new("Call", BatchUnit::Append);
            let event = EventInput {
                stream_id: "c",
                event_type: "E",
                data: "{}",
                seq: Some(Seq(seq)),
                ..EventInput::default()
            };
            builder.push(&event).unwrap();
            builder.finish().unwrap()
        };
        append(&node, &store, "c", 1).await.unwrap();
        let gap = store.append_stream(at(5), Expected::Any, false, permit(&node)).await.err().unwrap();
        assert_eq!(gap.kind(), ErrorKind::SeqGap);
        let more = ", read.require_monotonic_seq = false, read.tiers = ('durable'), retention.enabled = true";
        let changed = replace(&store, dir, more).await;
        assert_eq!(changed, ["read.tiers", "read.require_monotonic_seq", "retention.enabled"]);
        store.append_stream(at(5), Expected::Any, false, permit(&node)).await.unwrap();
        assert_eq!(store.read_stream(whole("c")).await.unwrap().len(), 0, "nothing of it is in files");
        assert!(store.retention_status().await.unwrap().enabled);
        compact(&store).await;
        assert_eq!(store.read_stream(whole("c")).await.unwrap().len(), 2);
        let refused =
            store.replace(statement(dir, ", wal.fsync = false, partition.enforce = true")).await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::BadRequest);
        assert!(refused.to_string().contains("partition.enforce, wal.fsync"), "{refused}");
        let unserved = ", row_group.sort_by = ('metadata'), strict.immutable_events = false";
        let refused = store.replace(statement(dir, unserved)).await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::NotSupported);
        let refused = store.replace(statement(dir, ", id.command_id.unique_scope = 'store'")).await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::BadRequest, "nobody knows what was stored twice before");
        assert_eq!(store.config().read.tiers.len(), 1, "what was refused changed nothing");
        let text = store.engine().durable().pin().config_text().to_owned();
        assert_eq!(text, strandline_deql::print(&store.config()));
        node.drain().await.unwrap();
        assert!(matches!(store.replace(statement(dir, "")).await, Err(NodeError::Draining)));
        drop(store);
        stop(node).await;
        // the file says otherwise: it holds
        let node = start(dir, ", read.require_monotonic_seq = false").await;
        let store = node.store("calls").unwrap();
        assert_eq!(store.config().read.tiers.len(), 3);
        assert_eq!(store.read_stream(whole("c")).await.unwrap().len(), 2);
        drop(store);
        stop(node).await;
    });
}

/// Another node on the same files, as on a shared folder of another machine.
fn claim(store: &StoreHandle) -> DurableTier {
    let config = store.config();
    let claim = OpenOptions {
        writer: "another".to_owned(),
        config_text: strandline_deql::print(&config),
        entropy: random::bits(),
        secret: random::bits(),
        now: clock::now(),
        cache_bytes: 1 << 20,
        scratch: None,
    };
    DurableTier::open(&config, claim).unwrap()
}

#[test]
fn an_older_owner_can_neither_replace_nor_retain_nor_merge() {
    for what in ["replace", "retain", "merge"] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        runtime::run(async {
            let node = start(dir, ", retention.enabled = true, retention.durable_days = 1").await;
            let store = node.store("calls").unwrap();
            let mut builder = BatchBuilder::new("Call", BatchUnit::Append);
            let long_ago = Some(clock::now().minus_seconds(90 * 24 * 3600));
            let event = EventInput {
                stream_id: "o",
                event_type: "E",
                data: "{}",
                occurred_at: long_ago,
                ..EventInput::default()
            };
            builder.push(&event).unwrap();
            let old = builder.finish().unwrap();
            store.append_stream(old, Expected::Any, false, permit(&node)).await.unwrap();
            compact(&store).await;
            let other = claim(&store);
            let version = other.pin().version();
            assert!(node.fenced().is_empty(), "it cannot know yet");
            match what {
                "replace" => {
                    let refused = store.replace(statement(dir, "")).await.err().unwrap();
                    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
                    assert!(store.config().retention.enabled, "the old one holds");
                }
                "retain" => assert!(store.retain().await.is_err()),
                _ => {
                    let engine = Arc::clone(store.engine());
                    let snapshot = engine.durable().pin();
                    let (log, remove) = (strandline_event::LogKey::single("Call"), snapshot.files().to_vec());
                    let (job_id, at) = (random::bits(), clock::now());
                    let add = Vec::new();
                    let merge = strandline_durable::Replacement { job_id, at, log, remove, add, doubles: 1 };
                    let error = engine.durable().replace(&merge).err().unwrap();
                    assert!(matches!(error, strandline_durable::CommitError::StaleEpoch { .. }), "{error}");
                }
            }
            if what != "merge" {
                assert_eq!(node.fenced(), ["calls"]);
                assert_eq!(append(&node, &store, "o", 1).await.err().unwrap().kind(), ErrorKind::Unavailable);
            }
            assert_eq!(other.history(1).unwrap()[0].version, version, "nothing was committed");
            drop(store);
            stop(node).await;
        })
        .unwrap();
    }
}
