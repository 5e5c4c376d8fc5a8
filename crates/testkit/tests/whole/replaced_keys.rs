//! CREATE OR REPLACE of a store that runs: each key that may change has its effect from then on, and loses it again.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, event, load, request};
use std::collections::BTreeSet;
use strandline_deql::{Replace, keys};
use strandline_durable::{ReadStats, StreamQuery};
use strandline_engine::append::{Answer, AppendError};
use strandline_engine::compact::{self, CompactError, Trigger};
use strandline_engine::read::StreamRead;
use strandline_engine::status;
use strandline_event::{BatchUnit, ErrorKind, LogKey, Micros, Seq};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::Event;

const DAY_US: i64 = 24 * 3600 * 1_000_000;
const HOUR_US: i64 = 3600 * 1_000_000;
/// Text that no codec makes small.
const MB: usize = 1 << 20;

fn key() -> LogKey {
    LogKey::single("T")
}

fn store(settings: &str) -> LocalStore {
    LocalStore::on_memory(declared("/durable", &format!("{TIERS}{settings}"))).unwrap()
}

/// Replaces the statement by the tiers and these keys; they are what changed, and what the store says.
fn replace(store: &mut LocalStore, settings: &str) {
    let tiers = TIERS.replace("wal.rollover_mb = 8, ", "");
    let tiers = if settings.contains("wal.rollover_mb") { &tiers } else { TIERS };
    let tiers = if settings.contains("inmemory.enabled") {
        tiers.replace(", inmemory.enabled = true", "")
    } else {
        tiers.to_owned()
    };
    let wanted = declared("/durable", &format!("{tiers}{settings}"));
    let replaced = store.replace(wanted.clone()).unwrap();
    assert!(!replaced.changed.is_empty(), "{settings}");
    assert!(strandline_deql::changed_keys(&store.store().config(), &wanted).is_empty(), "{settings}");
}

/// Events whose payloads have so many bytes together, in appends of a quarter of a MiB.
fn heavy(store: &mut LocalStore, stream: &str, bytes: usize) {
    let mut state = 7_u64;
    let mut text = || {
        (0..16_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b'!' + (state >> 57) as u8 % 90)
            })
            .filter(|c| *c != '"' && *c != '\\')
            .collect::<String>()
    };
    for _ in 0..bytes.div_ceil(MB / 4) {
        let events = (0..16).map(|n| Event { data: format!("\"{}\"", text()), ..event(stream, n) }).collect();
        assert!(matches!(store.append(&request("T", BatchUnit::Rows, events)), Answer::Done(_)));
        store.time.advance_us(13);
    }
}

/// Keys whose effect after a replacement the tests of this file look at, and those of which others do.
const HERE: &[&str] = &[
    "row_group.target_mb",
    "stats.enabled",
    "bloom.enabled",
    "inmemory.max_mb",
    "inmemory.ttl_seconds",
    "wal.rollover",
    "wal.rollover_mb",
    "wal.retention_hours",
    "compaction.enabled",
    "compaction.trigger",
    "compaction.min_segment_mb",
    "compaction.target_file_mb",
    "compaction.max_file_mb",
    "compaction.max_open_files",
    "read.tiers",
    "read.require_monotonic_seq",
    "read.missing_seq.policy",
    "read.default_order",
    "retention.enabled",
    "retention.durable_days",
    "retention.wal_hours",
    "retention.inmemory_seconds",
    "retention.delete_mode",
];
/// `tests/blackbox/statement.rs`: by the files that a node writes, by what its clients see.
const IN_A_NODE: &[&str] = &[
    "durable.compression",
    "durable.compression.level",
    "row_group.max_rows",
    "row_group.sort_by",
    "row_group.sort_order",
    "stats.columns",
    "bloom.columns",
    "bloom.fpp",
    "inmemory.enabled",
    "compaction.schedule",
    "projection.notify_on_commit",
    "projection.notify_on_inspect",
    "projection.mode",
];
/// They have one value, or two that a sound store cannot tell apart.
const NO_CHOICE: &[&str] = &["inmemory.index_by", "read.merge.strategy", "read.dedupe.key"];

#[test]
fn no_key_that_may_change_is_forgotten() {
    let free: BTreeSet<&str> = keys().filter(|key| key.replace == Replace::Free).map(|key| key.name).collect();
    let looked_at: BTreeSet<&str> = [HERE, IN_A_NODE, NO_CHOICE].into_iter().flatten().copied().collect();
    assert_eq!(looked_at, free);
}

#[test]
fn compaction_keys() {
    let mut store = store("");
    heavy(&mut store, "s0", 2 * MB);
    let due = |store: &LocalStore| [Trigger::Size, Trigger::Tick].map(|t| compact::due(store.store(), &key(), t));
    assert_eq!(due(&store), [false, true]);
    replace(&mut store, ", compaction.min_segment_mb = 1");
    assert_eq!(due(&store), [true, true]);
    replace(&mut store, ", compaction.min_segment_mb = 1, compaction.trigger = 'time'");
    assert_eq!(due(&store), [false, true]);
    // a tick looks at the size too
    replace(&mut store, ", compaction.min_segment_mb = 1, compaction.trigger = 'size_mb'");
    assert_eq!(due(&store), [true, true]);
    replace(&mut store, ", compaction.trigger = 'size_mb'");
    assert_eq!(due(&store), [false, false]);
    replace(&mut store, ", compaction.enabled = false");
    assert!(matches!(store.compact(&key()), Err(CompactError::Disabled)));
    replace(&mut store, ", compaction.enabled = true, compaction.max_open_files = 4");
    for part in 0..5 {
        load(&mut store, "T", part * 8..(part + 1) * 8, 1);
        assert!(store.compact(&key()).unwrap() >= 8);
    }
    let inputs = |store: &LocalStore| {
        let plans = compact::plan_merges(store.store(), None, Trigger::Hand, store.time.now()).unwrap();
        plans.first().map_or(0, |plan| plan.inputs.len())
    };
    assert_eq!(inputs(&store), 2, "two are read, one is written, one is left to a job");
    replace(&mut store, "");
    assert_eq!(inputs(&store), 5);
    // the first file has more than a MiB: it is full now
    replace(&mut store, ", compaction.target_file_mb = 1, compaction.max_file_mb = 2");
    assert_eq!(inputs(&store), 4);
    store.merge(Trigger::Hand).unwrap();
    assert_eq!(store.store().durable().pin().files().len(), 2);
    heavy(&mut store, "s1", 3 * MB);
    store.compact(&key()).unwrap();
    let files: Vec<u64> = store.store().durable().pin().files().iter().map(|file| file.bytes).collect();
    assert!(files.len() > 3 && files.iter().all(|bytes| *bytes <= 2 << 20), "{files:?}");
}

#[test]
fn retention_keys() {
    let mut store = store(", partition.by = 'dt'");
    let kept = ", partition.by = 'dt'";
    let sent = |store: &mut LocalStore, days: i64| {
        let at = Micros(store.time.now().0 - days * DAY_US);
        let sent = Event { occurred_at: Some(at), ..event("s0", 1) };
        assert!(matches!(store.append(&request("T", BatchUnit::Rows, vec![sent])), Answer::Done(_)));
        store.compact(&key()).unwrap();
    };
    sent(&mut store, 40);
    sent(&mut store, 10);
    assert_eq!(store.retain().unwrap().events, 0, "it is off");
    replace(&mut store, &format!("{kept}, retention.enabled = true, retention.durable_days = 50"));
    assert_eq!(store.retain().unwrap().events, 0);
    replace(&mut store, &format!("{kept}, retention.enabled = true, retention.durable_days = 20"));
    assert_eq!(store.retain().unwrap().events, 1);
    assert_eq!(store.restore(&[]).unwrap().events, 1);
    replace(&mut store, kept);
    assert_eq!(store.retain().unwrap().events, 0, "it is off again");
    let hard = "retention.enabled = true, retention.durable_days = 5, retention.delete_mode = 'hard'";
    replace(&mut store, &format!("{kept}, {hard}"));
    assert_eq!(store.retain().unwrap().events, 2);
    assert_eq!(store.restore(&[]).unwrap().events, 0, "they went with the commit");
    // the pair of the log's own key and memory's
    store.time.advance_us(2 * HOUR_US);
    assert_eq!(store.trim(&key()), 0, "24 hours are not over");
    replace(&mut store, &format!("{kept}, {hard}, retention.wal_hours = 1, retention.inmemory_seconds = 2"));
    assert!(store.trim(&key()) > 0);
    load(&mut store, "T", 0..4, 1);
    store.time.advance_us(3_000_000);
    store.store().tick(store.time.now());
    assert_eq!(tiers(&store, "s0"), "wal", "memory's two seconds are over");
}

fn read(store: &LocalStore, stream_id: &str) -> Result<Vec<u64>, ErrorKind> {
    let page = store.store().read_stream(&any_order(stream_id)).map_err(|error| error.kind())?;
    Ok(page.rows().map(|event| event.seq.0).collect())
}

fn any_order(stream_id: &str) -> StreamRead<'_> {
    StreamRead { stream_type: "T", stream_id, from_seq: None, to_seq: None, limit: usize::MAX, order: None }
}

fn tiers(store: &LocalStore, stream_id: &str) -> String {
    store.store().read_stream(&any_order(stream_id)).unwrap().tiers.to_string()
}

#[test]
fn log_and_memory_keys() {
    let mut store = store("");
    let segments = |store: &LocalStore| status::wal(store.store())[0].segments.len();
    heavy(&mut store, "s0", 3 * MB);
    let before = segments(&store);
    replace(&mut store, ", wal.rollover_mb = 1");
    heavy(&mut store, "s0", 3 * MB);
    assert!(segments(&store) >= before + 3, "{} after {before}", segments(&store));
    replace(&mut store, "");
    let before = segments(&store);
    store.time.advance_us(2 * HOUR_US);
    load(&mut store, "T", 0..4, 1);
    assert!(segments(&store) <= before + 1, "by size only");
    replace(&mut store, ", wal.rollover = 'time'");
    let before = segments(&store);
    for _ in 0..3 {
        store.time.advance_us(HOUR_US);
        load(&mut store, "T", 0..4, 1);
    }
    assert!(segments(&store) >= before + 3, "one an hour");
    // everything is durable, and a few hours old
    store.compact(&key()).unwrap();
    assert_eq!(store.trim(&key()), 0);
    replace(&mut store, ", wal.retention_hours = 1");
    assert!(store.trim(&key()) > 3);

    assert_eq!(tiers(&store, "s0"), "inmemory");
    replace(&mut store, ", inmemory.ttl_seconds = 3600");
    heavy(&mut store, "s1", 3 * MB);
    store.time.advance_us(60_000_000);
    store.store().tick(store.time.now());
    assert_eq!(tiers(&store, "s1"), "inmemory");
    let held = |store: &LocalStore| store.store().hot().unwrap().stats().bytes;
    assert!(held(&store) > 2 << 20, "{} bytes", held(&store));
    replace(&mut store, ", inmemory.ttl_seconds = 3600, inmemory.max_mb = 1");
    store.store().tick(store.time.now());
    assert!(held(&store) <= 1 << 20, "{} bytes", held(&store));
    replace(&mut store, ", inmemory.ttl_seconds = 1");
    store.store().tick(store.time.now());
    assert_eq!(tiers(&store, "s1"), "wal");
}

#[test]
fn read_keys() {
    let mut store = store("");
    for n in [3, 1, 2] {
        store.append(&request("T", BatchUnit::Rows, vec![event("s0", n)]));
    }
    assert_eq!(read(&store, "s0"), Ok(vec![1, 2, 3]));
    replace(&mut store, ", read.default_order = ('stream_id','occurred_at')");
    assert_eq!(read(&store, "s0"), Ok(vec![2, 3, 1]), "by the moment");
    replace(&mut store, ", read.tiers = 'wal'");
    assert_eq!((tiers(&store, "s0").as_str(), read(&store, "s0")), ("wal", Ok(vec![1, 2, 3])));

    let skips = |store: &mut LocalStore, seq: u64| {
        store.append(&request("T", BatchUnit::Append, vec![Event { seq: Some(Seq(seq)), ..event("s0", 9) }]))
    };
    let Answer::Refused(refusal) = skips(&mut store, 6) else { panic!("a seq that skips is refused") };
    assert!(matches!(refusal.error, AppendError::SeqGap { .. }), "{refusal:?}");
    replace(&mut store, ", read.require_monotonic_seq = false");
    assert!(matches!(skips(&mut store, 6), Answer::Done(_)));
    assert_eq!(read(&store, "s0"), Ok(vec![1, 2, 3, 6]));
    // what was skipped is missing for one who asks for all
    replace(&mut store, ", read.require_monotonic_seq = true");
    assert_eq!(read(&store, "s0"), Err(ErrorKind::MissingSeq));
    replace(&mut store, ", read.missing_seq.policy = 'warn'");
    let page = store.store().read_stream(&any_order("s0")).unwrap();
    assert_eq!((page.len(), page.warnings.len()), (4, 1));
    replace(&mut store, ", read.missing_seq.policy = 'ignore'");
    let page = store.store().read_stream(&any_order("s0")).unwrap();
    assert_eq!((page.len(), page.warnings.len(), page.verdict.contiguous), (4, 0, false));
}

/// What asking the newest file for a stream costs that it does not hold and whose id lies between those that it holds.
fn absent(store: &LocalStore) -> ReadStats {
    let query = StreamQuery {
        stream_type: "T",
        stream_id: "s1x",
        from_seq: Seq::FIRST,
        to_seq: Seq(u64::MAX),
        descending: false,
        limit: 10,
    };
    let set = store.store().durable().pin().stream(&query).unwrap();
    assert_eq!(set.len(), 0);
    set.stats
}

#[test]
fn file_keys() {
    let mut store = store("");
    load(&mut store, "T", 0..40, 4);
    store.compact(&key()).unwrap();
    assert_eq!((absent(&store).filters, absent(&store).row_groups), (1, 0), "the filter says no");
    replace(&mut store, ", bloom.enabled = false");
    load(&mut store, "T", 40..80, 4);
    store.compact(&key()).unwrap();
    assert_eq!((absent(&store).filters, absent(&store).row_groups), (1, 1), "the new file has none");
    replace(&mut store, ", bloom.enabled = false, stats.enabled = false");
    load(&mut store, "T", 80..120, 4);
    store.compact(&key()).unwrap();
    // without statistics the whole column is read
    let before = absent(&store);
    assert_eq!((before.filters, before.row_groups), (1, 2), "{before:?}");
    replace(&mut store, ", row_group.target_mb = 1, durable.compression = 'none'");
    heavy(&mut store, "s0", 3 * MB);
    store.compact(&key()).unwrap();
    let file = store.store().durable().pin().files().iter().max_by_key(|file| file.through).cloned().unwrap();
    assert!(file.row_groups >= 3, "{file:?}");
    assert_eq!(store.merge(Trigger::Hand).unwrap(), 4);
    assert_eq!(
        absent(&store).filters,
        absent(&store).filters_no,
        "files with and without them become one with filters"
    );
    assert!(absent(&store).filters > 0);
}
