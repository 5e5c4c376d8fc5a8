//! A whole store against what it was given: every tier, every way to read, restarts, crashes of jobs, starts that are refused.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod refused;

use std::collections::BTreeSet;
use strandline_deql::Tier;
use strandline_engine::append::{Answer, AppendError, Expected, OnError};
use strandline_engine::compact::{self, CompactError, JobLimits, Progress, Step, StopAt, Trigger};
use strandline_engine::read::{Filter, GlobalRead, Order, StreamRead};
use strandline_engine::{status, verify};
use strandline_event::{BatchUnit, ErrorKind, EventId, IdPrefix, LogKey, Micros, Position, Seq};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::{Append, Event};

const TIERS: &str = "wal.enabled = true, wal.path = '/wal', inmemory.enabled = true";

fn local(settings: &str) -> LocalStore {
    let comma = if settings.is_empty() { "" } else { ", " };
    LocalStore::on_memory(declared("/durable", &format!("{TIERS}{comma}{settings}"))).unwrap()
}

fn event(stream: &str, data: usize) -> Event {
    Event {
        stream_id: stream.to_owned(),
        event_type: "Flown".to_owned(),
        data: data.to_string(),
        occurred_at: Some(Micros(1_795_000_000_000_000 + data as i64 * 7_000_000_000)),
        ..Event::default()
    }
}

fn bulk(stream_type: &str, events: Vec<Event>) -> Append {
    Append {
        stream_type: stream_type.to_owned(),
        unit: BatchUnit::Rows,
        events,
        expected: Expected::Any,
        on_error: OnError::Abort,
        inspect: false,
        chunk: None,
    }
}

/// `count` events, round-robin over `streams` streams, numbered from `from` on.
fn load(store: &mut LocalStore, stream_type: &str, from: usize, count: usize, streams: usize) {
    for chunk in (from..from + count).collect::<Vec<_>>().chunks(7) {
        let events = chunk.iter().map(|n| event(&format!("s{}", n % streams), *n)).collect();
        let answer = store.append(&bulk(stream_type, events));
        assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
        store.time.advance_us(13);
    }
}

fn whole(stream: &str) -> StreamRead<'_> {
    StreamRead {
        stream_type: "T",
        stream_id: stream,
        from_seq: None,
        to_seq: None,
        limit: usize::MAX,
        order: Some(Order::Asc),
    }
}

fn numbers(store: &LocalStore, stream: &str) -> Vec<usize> {
    let page = store.store().read_stream(&whole(stream)).unwrap();
    assert!(page.verdict.contiguous && page.warnings.is_empty());
    page.rows().map(|e| e.data.parse().unwrap()).collect()
}

/// All numbers by each way to read, each once; every stream in order.
fn assert_all(store: &LocalStore, count: usize, streams: usize) {
    let all: BTreeSet<usize> = (0..count).collect();
    for s in 0..streams {
        let expected: Vec<usize> = (0..count).filter(|n| n % streams == s).collect();
        assert_eq!(numbers(store, &format!("s{s}")), expected);
    }
    let scanned: Vec<usize> = store
        .store()
        .scan(&Filter::default())
        .unwrap()
        .flat_map(|batch| batch.unwrap().rows().map(|e| e.data.parse().unwrap()).collect::<Vec<usize>>())
        .collect();
    assert_eq!((scanned.len(), scanned.iter().copied().collect()), (count, all.clone()));
    let followed = follow(store, Position::START, 10, &Filter::default()).0;
    assert_eq!((followed.len(), followed.iter().copied().collect()), (count, all));
}

/// Reads the global order page by page to its end.
fn follow(store: &LocalStore, after: Position, limit: usize, filter: &Filter) -> (Vec<usize>, Position) {
    let (mut after, mut out, mut last) = (after, Vec::new(), Position::START);
    loop {
        let read = GlobalRead { after, limit, filter: filter.clone() };
        let page = store.store().read_global(&read, store.time.now()).unwrap();
        assert!(page.len() <= limit.max(1) + 1);
        for event in page.rows() {
            assert!(event.position() > last && filter.matches(&event));
            last = event.position();
            out.push(event.data.parse().unwrap());
        }
        assert!(page.next >= after && page.rows().last().is_none_or(|e| page.next >= e.position()));
        if page.at_end {
            return (out, page.next);
        }
        after = page.next;
    }
}

#[test]
fn an_append_is_read_from_memory_then_from_files_then_after_a_restart() {
    let mut store = local("");
    let key = LogKey::single("T");
    load(&mut store, "T", 0, 100, 7);
    let page = store.store().read_stream(&whole("s3")).unwrap();
    assert_eq!((page.tiers.to_string().as_str(), page.head), ("inmemory", Seq(14)));
    assert_all(&store, 100, 7);
    assert_eq!(store.compact(&key).unwrap(), 100);
    assert_all(&store, 100, 7);
    store.store().hot().unwrap().evict(store.time.now().plus_us(3_600_000_000));
    assert_eq!(store.store().read_stream(&whole("s3")).unwrap().tiers.to_string(), "durable");
    assert_all(&store, 100, 7);
    load(&mut store, "T", 100, 40, 7);
    assert_eq!(store.store().read_stream(&whole("s3")).unwrap().tiers.to_string(), "inmemory,durable");
    assert_all(&store, 140, 7);
    store.restart().unwrap();
    assert_eq!(store.report.replayed_events, 40);
    assert_all(&store, 140, 7);
    store.kill().unwrap();
    assert_all(&store, 140, 7);
    load(&mut store, "T", 140, 10, 7);
    assert_all(&store, 150, 7);
}

#[test]
fn what_memory_lets_go_is_read_from_the_log() {
    let mut store = local("inmemory.ttl_seconds = 60");
    load(&mut store, "T", 0, 50, 5);
    store.time.advance_us(61_000_000);
    load(&mut store, "T", 50, 50, 5);
    store.store().tick(store.time.now());
    assert_eq!(store.store().read_stream(&whole("s1")).unwrap().tiers.to_string(), "inmemory,wal");
    assert_all(&store, 100, 5);
    store.compact(&LogKey::single("T")).unwrap();
    load(&mut store, "T", 100, 10, 5);
    store.time.advance_us(61_000_000);
    store.store().tick(store.time.now());
    assert_eq!(store.store().read_stream(&whole("s1")).unwrap().tiers.to_string(), "wal,durable");
    assert_all(&store, 110, 5);
}

#[test]
fn parts_of_a_stream_forward_and_backward() {
    let mut store = local("");
    load(&mut store, "T", 0, 30, 1);
    store.compact(&LogKey::single("T")).unwrap();
    load(&mut store, "T", 30, 30, 1);
    store.store().hot().unwrap().evict(store.time.now().plus_us(3_600_000_000));
    load(&mut store, "T", 60, 30, 1);
    let read = |from: Option<u64>, to: Option<u64>, limit, order| {
        let read =
            StreamRead { from_seq: from.map(Seq), to_seq: to.map(Seq), limit, order: Some(order), ..whole("s0") };
        let page = store.store().read_stream(&read).unwrap();
        assert!(page.verdict.contiguous, "{:?}", page.verdict);
        page.rows().map(|e| e.seq.0).collect::<Vec<_>>()
    };
    let rising = |from, to| (from..=to).collect::<Vec<u64>>();
    let falling = |from, to| (from..=to).rev().collect::<Vec<u64>>();
    for at in [1, 2, 25, 29, 30, 31, 45, 60, 61, 75, 89, 90] {
        assert_eq!(read(Some(at), None, 1000, Order::Asc), rising(at, 90));
        assert_eq!(read(None, Some(at), 1000, Order::Desc), falling(1, at));
        assert_eq!(read(Some(at), None, 7, Order::Asc), rising(at, 90.min(at + 6)));
        assert_eq!(read(None, Some(at), 7, Order::Desc), falling(at.saturating_sub(6).max(1), at));
        assert_eq!(read(Some(at), Some(at), 7, Order::Desc), [at]);
    }
    assert_eq!(read(None, None, 3, Order::Desc), [90, 89, 88]);
    assert_eq!(read(Some(91), None, 3, Order::Asc), Vec::<u64>::new());
    assert_eq!(read(Some(9), Some(8), 3, Order::Asc), Vec::<u64>::new());
    let nothing = store.store().read_stream(&whole("never")).unwrap();
    assert_eq!((nothing.head, nothing.len()), (Seq::ZERO, 0));
    assert_eq!(store.store().stream_head("T", "s0").unwrap().unwrap().last_seq, Seq(90));
    assert_eq!(store.store().stream_head("U", "s0").unwrap(), None);
    let again: Vec<u64> =
        store.store().rows_of_append("T", "s0", Seq(29), 4).unwrap().rows().map(|e| e.seq.0).collect();
    assert_eq!(again, [29, 30, 31, 32]);
}

#[test]
fn a_tier_left_out_is_not_seen_and_is_no_hole() {
    for (tiers, seen) in [
        ("('durable')", 0..30),
        ("('wal')", 0..90),
        ("('inmemory')", 60..90),
        ("('inmemory', 'durable')", 0..90),
        ("('wal', 'durable')", 0..90),
    ] {
        let mut store = local(&format!("read.tiers = {tiers}"));
        load(&mut store, "T", 0, 30, 1);
        store.compact(&LogKey::single("T")).unwrap();
        load(&mut store, "T", 30, 30, 1);
        store.store().hot().unwrap().evict(store.time.now().plus_us(3_600_000_000));
        load(&mut store, "T", 60, 30, 1);
        let page = store.store().read_stream(&whole("s0")).unwrap();
        let got: Vec<usize> = page.rows().map(|e| e.data.parse().unwrap()).collect();
        let expected: Vec<usize> = match tiers {
            "('inmemory', 'durable')" => (0..30).chain(60..90).collect(),
            _ => seen.collect(),
        };
        assert_eq!(got, expected, "{tiers}");
        assert!(page.verdict.missing.is_empty(), "{tiers}");
        let behind = "stream `s0` of `T` goes on: seq 31-90 is in tiers that `read.tiers` leaves out (inmemory,wal)";
        let told: &[&str] = if tiers == "('durable')" { &[behind] } else { &[] };
        assert_eq!(page.warnings, told, "{tiers}");
        // a follower waits for what is in no tier that it reads and will be
        let followed = if tiers == "('inmemory', 'durable')" { (0..30).collect() } else { expected.clone() };
        assert_eq!(follow(&store, Position::START, 8, &Filter::default()).0, followed, "{tiers}");
        let scanned: usize = store.store().scan(&Filter::default()).unwrap().map(|b| b.unwrap().len()).sum();
        assert_eq!(scanned, expected.len());
    }
}

#[test]
fn a_job_that_ends_at_any_point_leaves_every_event_exactly_once() {
    for step in Step::ALL {
        let mut store = local("partition.by = ('dt')");
        let key = LogKey::single("T");
        load(&mut store, "T", 0, 60, 4);
        store.compact(&key).unwrap();
        load(&mut store, "T", 60, 60, 4);
        let stopped = store.compact_with(&key, JobLimits::default(), &StopAt(step));
        assert!(matches!(stopped, Err(CompactError::Stopped(s)) if s.0 == step));
        assert_all(&store, 120, 4);
        store.kill().unwrap();
        assert_all(&store, 120, 4);
        load(&mut store, "T", 120, 10, 4);
        store.compact(&key).unwrap();
        assert_eq!(store.store().durable().pin().rows(), 130, "{step:?}");
        assert_all(&store, 130, 4);
    }
}

#[test]
fn a_long_range_is_done_by_several_jobs() {
    let mut store = local("");
    let key = LogKey::single("T");
    load(&mut store, "T", 0, 200, 9);
    let limits = JobLimits { rows_max: 30, bytes_max: 1 << 30 };
    assert_eq!(store.compact_with(&key, limits, &compact::NoSteps).unwrap(), 200);
    assert!(store.store().durable().pin().version() > 7);
    assert_eq!(compact::plan(store.store(), &key).unwrap(), None);
    assert!(!compact::due(store.store(), &key, Trigger::Hand));
    assert_all(&store, 200, 9);
}

#[test]
fn a_job_can_be_cancelled_and_a_stale_plan_is_refused() {
    let mut store = local("");
    let key = LogKey::single("T");
    load(&mut store, "T", 0, 20, 2);
    assert!(compact::due(store.store(), &key, Trigger::Tick));
    let plan = compact::plan(store.store(), &key).unwrap().unwrap();
    assert_eq!((plan.events, plan.segments), (20, 1));
    let progress = Progress::default();
    progress.cancel();
    let now = store.time.now();
    let cancelled = compact::run_job(store.store(), &plan, 5, now, &progress, &compact::NoSteps);
    assert!(matches!(cancelled, Err(CompactError::Cancelled)));
    store.compact(&key).unwrap();
    let stale = compact::run_job(store.store(), &plan, 6, now, &Progress::default(), &compact::NoSteps);
    assert!(matches!(stale, Err(CompactError::StalePlan)));
    assert_all(&store, 20, 2);
}

#[test]
fn compaction_can_be_off() {
    let mut store = local("compaction.enabled = false");
    load(&mut store, "T", 0, 20, 2);
    assert!(!compact::due(store.store(), &LogKey::single("T"), Trigger::Hand));
    assert!(matches!(store.compact(&LogKey::single("T")), Err(CompactError::Disabled)));
    assert_all(&store, 20, 2);
}

#[test]
fn the_log_is_trimmed_after_its_retention_and_reads_do_not_notice() {
    let mut store = local("wal.retention_hours = 1");
    let key = LogKey::single("T");
    load(&mut store, "T", 0, 40, 3);
    let mut scan = store.store().scan(&Filter::default()).unwrap();
    let page = GlobalRead { after: Position::START, limit: 5, filter: Filter::default() };
    let first = store.store().read_global(&page, store.time.now()).unwrap();
    store.compact(&key).unwrap();
    assert_eq!(store.trim(&key), 0);
    store.time.advance_us(3_700_000_000);
    load(&mut store, "T", 40, 10, 3);
    store.compact(&key).unwrap();
    assert!(store.trim(&key) > 0);
    assert_all(&store, 50, 3);
    assert_eq!(scan.by_ref().map(|b| b.unwrap().len()).sum::<usize>(), 40);
    let (rest, _) = follow(&store, first.next, 5, &Filter::default());
    assert_eq!(rest.len(), 45);
    store.restart().unwrap();
    assert_all(&store, 50, 3);
}

#[test]
fn one_event_by_its_id_from_every_tier() {
    let mut store = local("");
    let key = LogKey::single("T");
    load(&mut store, "T", 0, 30, 3);
    let ids: Vec<EventId> = store.store().read_stream(&whole("s1")).unwrap().rows().map(|e| e.event_id).collect();
    let check = |store: &LocalStore, tier: Tier| {
        for (i, id) in ids.iter().enumerate() {
            let found = store.store().event_by_id(*id).unwrap().unwrap();
            assert_eq!((found.event().event_id, found.event().seq, found.tier()), (*id, Seq(i as u64 + 1), tier));
            assert!(found.warnings.is_empty());
        }
    };
    check(&store, Tier::Inmemory);
    store.store().hot().unwrap().evict(store.time.now().plus_us(3_600_000_000));
    check(&store, Tier::Wal);
    store.compact(&key).unwrap();
    check(&store, Tier::Durable);
    assert!(store.store().event_by_id(IdPrefix::v7(Micros(5), 5).id(5)).unwrap().is_none());
    // two owners do not ask each other: a lookup tells
    let mut twin = event("other", 7);
    twin.event_id = Some(ids[0]);
    store.append(&bulk("U", vec![twin]));
    let found = store.store().event_by_id(ids[0]).unwrap().unwrap();
    assert_eq!(found.warnings.len(), 1);
    assert!(found.warnings[0].contains("`U`") || found.warnings[0].contains("`T`"));
}

#[test]
fn filters_of_the_global_order_and_the_scan() {
    let mut store = local("");
    load(&mut store, "T", 0, 60, 5);
    store.compact(&LogKey::single("T")).unwrap();
    load(&mut store, "U", 60, 60, 5);
    load(&mut store, "T", 120, 30, 5);
    let of_type = |t: &str| Filter { stream_type: Some(t.to_owned()), ..Filter::default() };
    let from = Micros(1_795_000_000_000_000 + 50 * 7_000_000_000);
    let to = Micros(1_795_000_000_000_000 + 70 * 7_000_000_000);
    let cases = [
        (of_type("U"), (60..120).collect::<Vec<usize>>()),
        (of_type("T"), (0..60).chain(120..150).collect()),
        (of_type("X"), vec![]),
        (Filter { event_type: Some("Flown".to_owned()), ..Filter::default() }, (0..150).collect()),
        (Filter { event_type: Some("Sunk".to_owned()), ..Filter::default() }, vec![]),
        (Filter { occurred_from: Some(from), occurred_to: Some(to), ..Filter::default() }, (50..70).collect()),
    ];
    for (filter, expected) in cases {
        for limit in [1, 7, 1000] {
            let (got, next) = follow(&store, Position::START, limit, &filter);
            assert_eq!(got, expected, "{filter:?}");
            assert!(follow(&store, next, limit, &filter).0.is_empty());
        }
        let mut scanned: Vec<usize> = store
            .store()
            .scan(&filter)
            .unwrap()
            .flat_map(|b| b.unwrap().rows().map(|e| e.data.parse().unwrap()).collect::<Vec<_>>())
            .collect();
        scanned.sort_unstable();
        assert_eq!(scanned, expected);
    }
}

#[test]
fn status_counts_what_is_where() {
    let mut store = local("");
    let key = LogKey::single("T");
    load(&mut store, "T", 0, 50, 5);
    let tiers = status::tiers(store.store());
    assert_eq!((tiers.hot.unwrap().events, tiers.wal.unwrap().events, tiers.durable.events), (50, 50, 0));
    let waiting = &status::waiting(store.store())[0];
    assert_eq!((waiting.events, waiting.segments, waiting.sealed_segments), (50, 1, 0));
    assert!(waiting.bytes > 0 && waiting.oldest.is_some());
    store.compact(&key).unwrap();
    load(&mut store, "T", 50, 7, 5);
    let tiers = status::tiers(store.store());
    let wal = tiers.wal.unwrap();
    assert_eq!((wal.events, tiers.durable.events), (7, 50));
    assert!(wal.oldest > tiers.durable.newest && wal.newest >= wal.oldest);
    assert_eq!(status::waiting(store.store())[0].events, 7);
    store.kill().unwrap();
    assert_eq!(status::waiting(store.store())[0].events, 7);
    let logs = status::wal(store.store());
    assert_eq!((logs.len(), logs[0].refuses_writes.is_none()), (1, true));
    assert!(logs[0].segments.len() >= 2 && logs[0].last_index > logs[0].watermark);
    assert_eq!(status::files(store.store()).len() as u64, status::manifest(store.store(), None, 9).unwrap().files);
}

#[test]
fn a_damaged_log_refuses_writes_and_reads_say_so() {
    let mut store = local("");
    let key = LogKey::single("T");
    load(&mut store, "T", 0, 20, 2);
    store.seal(&key);
    load(&mut store, "T", 20, 20, 2);
    let last = store.store().read_stream(&whole("s0")).unwrap().rows().last().unwrap().event_id;
    let segment = status::wal(store.store())[0].segments[0].clone();
    let path = std::path::Path::new("/wal/T").join(segment.name);
    store.disk().flip(&path, segment.bytes / 2, 0x10);
    store.kill().unwrap();
    assert_eq!(store.report.corrupt.len(), 1, "{}", store.report);
    assert!(store.store().log(&key).unwrap().refuses_writes().is_some());
    assert!(store.driver(&key).is_none());
    let error = store.store().read_stream(&whole("s0")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
    assert!(store.store().scan(&Filter::default()).is_err());
    assert_eq!(store.store().stream_head("T", "s0").unwrap_err().kind(), ErrorKind::Integrity);
    assert_eq!(store.store().event_by_id(last).unwrap_err().kind(), ErrorKind::Integrity, "never called absent");
    assert!(matches!(compact::plan(store.store(), &key), Err(CompactError::Damaged { .. })));
    let other = Filter { stream_type: Some("U".to_owned()), ..Filter::default() };
    load(&mut store, "U", 0, 5, 1);
    assert_eq!(store.store().stream_head("U", "s0").unwrap().unwrap().last_seq, Seq(5));
    assert_eq!(store.store().scan(&other).unwrap().map(|b| b.unwrap().len()).sum::<usize>(), 5);
}

#[test]
fn verify_finds_nothing_in_a_sound_store_and_names_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let config = declared(&dir.path().to_string_lossy(), &format!("{TIERS}, partition.by = ('dt')"));
    let mut store = LocalStore::new(config.clone()).unwrap();
    let key = LogKey::single("T");
    load(&mut store, "T", 0, 60, 4);
    store.compact(&key).unwrap();
    load(&mut store, "T", 60, 30, 4);
    store.restart().unwrap();
    let disk: std::sync::Arc<dyn strandline_wal::Disk> = store.disk().clone();
    let report = verify::verify(&config, &disk).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!((report.events, report.streams, report.logs), (90, 4, 1));
    let of = |node| verify::verify_watched(&config, &disk, Some(node), (None, None), &mut |_| {}).unwrap().findings;
    let (own, node) = (of(7), of(8));
    assert!(own.is_empty() && node.iter().any(|f| f.what.contains("of node 0000000000000007")), "{own:?} {node:?}");
    let file = &status::files(store.store())[0];
    let path = file.local_path.clone().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0x40;
    std::fs::write(&path, bytes).unwrap();
    let segment = status::wal(store.store())[0].segments.iter().find(|s| s.last_index.is_some()).cloned().unwrap();
    store.disk().flip(&std::path::Path::new("/wal/T").join(segment.name), segment.bytes / 2, 1);
    let report = verify::verify(&config, &disk).unwrap();
    let text: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(text.iter().any(|f| f.contains(".parquet")), "{text:?}");
    assert!(text.iter().any(|f| f.contains("segment")), "{text:?}");
    let other = declared("/nowhere/at/all", "wal.enabled = true, wal.path = '/none'");
    assert!(matches!(verify::verify(&other, &disk), Err(verify::VerifyError::NoStore(_))));
}

#[test]
fn a_store_on_memory_begins_at_the_first_event_of_its_log_after_every_restart() {
    let settings = format!("{TIERS}, wal.retention_hours = 1, id.command_id.unique_scope = 'stream'");
    let mut store = LocalStore::new(declared("memory://test", &settings)).unwrap();
    let key = LogKey::single("T");
    let command = Event { command_id: Some("c".to_owned()), ..event("s0", 0) };
    store.append(&bulk("T", vec![command.clone()]));
    load(&mut store, "T", 1, 39, 1);
    for round in 0..3 {
        store.compact(&key).unwrap();
        store.time.advance_us(7_200_000_000);
        assert_eq!(store.trim(&key), 0, "the log is all that is left after a restart");
        if round == 1 {
            store.kill().unwrap()
        } else {
            store.restart().unwrap()
        }
        assert_all(&store, 40, 1);
        let again = store.append(&bulk("T", vec![command.clone()]));
        assert!(matches!(&again, Answer::Done(outcome) if outcome.duplicate), "{again:?}");
    }
    load(&mut store, "T", 40, 10, 1);
    assert_all(&store, 50, 1);
}

#[test]
fn a_seq_conflict_names_the_head_that_the_stream_has() {
    let mut store = local("");
    let given = |unit, seqs: &[(u64, usize)]| {
        let numbered = |(seq, n): &(u64, usize)| Event { seq: Some(Seq(*seq)), ..event("s", *n) };
        Append { unit, ..bulk("T", seqs.iter().map(numbered).collect()) }
    };
    store.append(&given(BatchUnit::Append, &[(1, 1), (2, 2)]));
    let conflict = |answer: &Answer| match answer {
        Answer::Refused(refusal) => match &refusal.error {
            AppendError::SeqConflict { given, head, .. } => (given.0, head.0, refusal.error.to_string()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    // partly known, partly new: refused as a whole
    let (given_seq, head, text) = conflict(&store.append(&given(BatchUnit::Append, &[(1, 1), (2, 2), (3, 3)])));
    assert_eq!((given_seq, head), (1, 2), "{text}");
    assert!(text.contains("send from 3 on"), "{text}");
    // one seq twice in a body that is refused
    for unit in [BatchUnit::Append, BatchUnit::Rows] {
        let (given_seq, head, text) = conflict(&store.append(&given(unit, &[(3, 3), (4, 4), (3, 5)])));
        assert_eq!((given_seq, head), (3, 2), "{text}");
        assert!(text.contains("twice") && text.contains("send from 3 on"), "{text}");
    }
    // a body that goes on without the row: what it stores counts
    let skip = Append { on_error: OnError::Skip, ..given(BatchUnit::Rows, &[(3, 3), (4, 4), (3, 5)]) };
    let Answer::Done(outcome) = store.append(&skip) else { panic!() };
    assert!(matches!(outcome.rejected[0].error, AppendError::SeqConflict { head: Seq(4), .. }));
    assert_eq!(store.store().stream_head("T", "s").unwrap().unwrap().last_seq, Seq(4));
}
