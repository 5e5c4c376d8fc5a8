//! A stream as of an earlier version of the manifest: what was in files then, whatever was appended, compacted and merged since.

// helpers of a test are as blunt as the test itself
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{load, local};
use strandline_deql::Tier;
use strandline_engine::compact::Trigger;
use strandline_engine::read::{AsOf, Order, ReadError, StreamPage, StreamRead};
use strandline_event::{ErrorKind, LogKey, Micros, Seq};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;

const SIZES: &str = "compaction.target_file_mb = 1, compaction.max_file_mb = 2";

fn read(store: &LocalStore, version: u64, from: u64, limit: usize, order: Order) -> Result<StreamPage, ReadError> {
    let (from_seq, order) = (Some(Seq(from)), Some(order));
    let read = StreamRead { stream_type: "T", stream_id: "s0", from_seq, to_seq: None, limit, order };
    store.store().read_stream_as_of(&read, AsOf::Version(version))
}

/// The length of the stream at a moment, or why that is not known.
fn length_at(store: &LocalStore, at: Micros) -> Result<u64, ReadError> {
    let read = StreamRead {
        stream_type: "T",
        stream_id: "s0",
        from_seq: None,
        to_seq: None,
        limit: 100,
        order: Some(Order::Asc),
    };
    store.store().read_stream_as_of(&read, AsOf::At(at)).map(|page| page.head.0)
}

fn version(store: &LocalStore) -> u64 {
    store.store().durable().pin().version()
}

/// What the stream was in each of these versions: its length.
fn check(store: &LocalStore, versions: &[(u64, u64)]) {
    for (version, length) in versions.iter().copied() {
        let page = read(store, version, 1, 100, Order::Asc).unwrap();
        let seqs: Vec<u64> = page.rows().map(|e| e.seq.0).collect();
        assert_eq!(seqs, (1..=length).collect::<Vec<_>>(), "version {version}");
        assert_eq!((page.head, page.verdict.contiguous, page.full), (Seq(length), true, false));
        if length == 0 {
            continue;
        }
        assert_eq!(page.tiers.iter().collect::<Vec<_>>(), [Tier::Durable]);
        let last = read(store, version, 1, 2, Order::Desc).unwrap();
        assert_eq!(last.rows().next().unwrap().seq, Seq(length));
        assert_eq!(last.full, length > 2);
        let behind = read(store, version, length + 1, 5, Order::Asc).unwrap();
        assert!(behind.is_empty() && behind.verdict.missing.is_empty(), "{:?}", behind.verdict);
    }
}

/// Four rounds of 21 events over 7 streams, each followed by what makes it durable.
fn rounds(store: &mut LocalStore, durable: impl Fn(&mut LocalStore)) -> Vec<(u64, u64)> {
    let mut known = vec![(version(store), 0)];
    for round in 0..4 {
        load(store, "T", round * 21..(round + 1) * 21, 7);
        durable(store);
        known.push((version(store), (round as u64 + 1) * 3));
    }
    known
}

fn survives_everything(mut store: LocalStore, mut known: Vec<(u64, u64)>) {
    let key = LogKey::single("T");
    check(&store, &known);
    assert!(store.store().durable().pin().files().len() > 3);
    store.merge(Trigger::Hand).unwrap();
    assert!(store.store().durable().pin().files().len() < 4);
    // what was replaced is deleted: versions that named it are read as before
    store.time.advance_us(3 * 24 * 3600 * 1_000_000);
    assert!(!store.store().sweep(store.time.now()).unwrap().is_empty());
    known.push((version(&store), 12));
    check(&store, &known);
    store.restart().unwrap();
    check(&store, &known);
    let next = version(&store) + 1;
    let error = read(&store, next, 1, 1, Order::Asc).unwrap_err();
    assert!(
        error.kind() == ErrorKind::NotFound && error.to_string().contains(&format!("the newest one is {}", next - 1))
    );
    // 30 days later the first versions are folded away
    store.time.advance_us(31 * 24 * 3600 * 1_000_000);
    load(&mut store, "T", 84..105, 7);
    store.compact(&key).unwrap();
    store.store().fold(store.time.now()).unwrap();
    for (version, _) in known {
        assert_eq!(read(&store, version, 1, 1, Order::Asc).unwrap_err().kind(), ErrorKind::NotFound, "{version}");
    }
    check(&store, &[(version(&store), 15)]);
}

#[test]
fn a_store_with_a_log_shows_what_was_compacted_then() {
    let mut store = local(SIZES);
    let key = LogKey::single("T");
    let known = rounds(&mut store, |store| assert_eq!(store.compact(&key).unwrap(), 21));
    // what is in the log alone is in no version
    load(&mut store, "U", 0..7, 7);
    check(&store, &known);
    survives_everything(store, known);
}

#[test]
fn a_store_without_a_log_shows_each_commit() {
    for hot in ["true", "false"] {
        let settings = format!("inmemory.enabled = {hot}, {SIZES}");
        let mut store = LocalStore::on_memory(declared("/durable", &settings)).unwrap();
        let known = rounds(&mut store, |_| {});
        survives_everything(store, known);
    }
}

#[test]
fn a_moment_shows_what_had_been_compacted_by_then() {
    let mut store = local(SIZES);
    let (key, born) = (LogKey::single("T"), store.time.now());
    let mut moments = Vec::new();
    for round in 0..3 {
        store.time.advance_us(3_600_000_000);
        load(&mut store, "T", round * 21..(round + 1) * 21, 7);
        store.compact(&key).unwrap();
        moments.push((store.time.now(), (round as u64 + 1) * 3));
    }
    store.merge(Trigger::Hand).unwrap();
    for (at, length) in moments.iter().copied() {
        assert_eq!(length_at(&store, at).unwrap(), length);
        assert_eq!(length_at(&store, at.plus_us(60_000_000)).unwrap(), length);
    }
    assert_eq!(length_at(&store, born).unwrap(), 0, "it was there, and had nothing in files");
    let before = length_at(&store, born.plus_us(-1)).unwrap_err();
    assert!(before.kind() == ErrorKind::NotFound && before.to_string().contains(&born.to_string()), "{before}");
}
