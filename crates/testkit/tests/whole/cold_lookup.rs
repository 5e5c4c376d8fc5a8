//! A cold read of one stream opens at most two files of each partition that holds it, however many there are; what it touched is counted.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, request};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strandline_durable::{ReadStats, RowFilter, Snapshot};
use strandline_engine::append::{Answer, Settled, SettledError};
use strandline_engine::commands::CommandRecord;
use strandline_engine::compact::Trigger;
use strandline_engine::heads::HeadRecord;
use strandline_engine::read::{Order, StreamRead};
use strandline_event::{BatchUnit, LogKey, Micros, Seq};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_testkit::model::Event;

const DAYS: usize = 3;
/// Streams of each day, of type T; and streams, of type U, whose events come on all days.
const STREAMS: usize = 50;
const STREAMS_OF_ALL: usize = 100;
const EVENTS_EACH: usize = 100;
const DAY_US: i64 = 86_400_000_000;
const ROWS_PER_GROUP: usize = 500;

/// The stream type, the stream and the numbers of its events of that day.
fn streams(day: usize) -> impl Iterator<Item = (&'static str, String, std::ops::Range<usize>)> {
    let of_one = (0..STREAMS).map(move |n| ("T", format!("on-{day}-{n:02}"), 0..EVENTS_EACH));
    let numbers = EVENTS_EACH * day / DAYS..EVENTS_EACH * (day + 1) / DAYS;
    of_one.chain((0..STREAMS_OF_ALL).map(move |n| ("U", format!("every-{n:03}"), numbers.clone())))
}

fn loaded() -> LocalStore {
    loaded_with("partition.by = 'dt', compaction.target_file_mb = 1, compaction.max_file_mb = 1", |_| {})
}

/// Compacts four times a day, each time some events of every stream.
fn loaded_with(keys: &str, compacted: impl Fn(&mut LocalStore)) -> LocalStore {
    let keys = format!("{TIERS}, {keys}, durable.compression = 'none', row_group.max_rows = {ROWS_PER_GROUP}");
    let mut store = LocalStore::on_memory(declared("/durable", &keys)).unwrap();
    for day in 0..DAYS {
        for part in 0..4 {
            for (stream_type, stream_id, numbers) in streams(day) {
                let event = |i: usize| Event {
                    stream_id: stream_id.clone(),
                    event_type: "Measured".to_owned(),
                    data: format!("{{\"i\":{i},\"text\":\"{}\"}}", "x".repeat(700)),
                    occurred_at: Some(Micros(1_795_132_800_000_000 + day as i64 * DAY_US + i as i64)),
                    ..Event::default()
                };
                let quarter = |n: usize| numbers.start + numbers.len() * n / 4;
                let events = (quarter(part)..quarter(part + 1)).map(event).collect();
                let answer = store.append(&request(stream_type, BatchUnit::Rows, events));
                assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
            }
            for stream_type in ["T", "U"] {
                store.compact(&LogKey::single(stream_type)).unwrap();
            }
            compacted(&mut store);
        }
    }
    store
}

/// Reads a stream of a store that has just started, all of it from files: the partitions that hold it, and what was touched.
fn read(store: &mut LocalStore, stream_type: &str, stream_id: &str) -> (usize, ReadStats) {
    store.restart().unwrap();
    let (from_seq, to_seq, order) = (None, None, Some(Order::Asc));
    let query = StreamRead { stream_type, stream_id, from_seq, to_seq, limit: usize::MAX, order };
    let page = store.store().read_stream(&query).unwrap();
    assert_eq!((page.len(), page.tiers.to_string().as_str()), (EVENTS_EACH, "durable"), "{stream_id}");
    let days: BTreeSet<i64> = page.rows().map(|event| event.occurred_at.0.div_euclid(DAY_US)).collect();
    (days.len(), page.stats)
}

#[test]
fn a_stream_is_read_from_two_files_of_a_partition_at_most() {
    let mut store = loaded();
    // each job has written a file a day that holds all streams of it
    let (partitions, stats) = read(&mut store, "T", "on-1-07");
    assert_eq!((partitions, stats.files), (1, 4), "{stats:?}");
    let (partitions, stats) = read(&mut store, "U", "every-017");
    assert_eq!((partitions, stats.files), (DAYS, 4 * DAYS as u64), "{stats:?}");
    store.merge(Trigger::Hand).unwrap();
    let mut files: BTreeMap<String, usize> = BTreeMap::new();
    for file in store.store().durable().pin().files() {
        *files.entry(format!("{} {:?}", file.stream_type, file.partition)).or_default() += 1;
    }
    assert!(files.len() == 2 * DAYS && files.values().all(|files| *files >= 3), "{files:?}");
    for (stream_type, stream_id, _) in streams(1).step_by(3) {
        let (partitions, stats) = read(&mut store, stream_type, &stream_id);
        assert_eq!(partitions, if stream_type == "T" { 1 } else { DAYS }, "{stream_id}");
        assert!(stats.files <= 2 * partitions as u64, "{stream_id} in {partitions} partitions: {stats:?}");
        // the rows of a stream stand together: in one row group of a partition, or on both sides of the end of one
        let groups = partitions as u64;
        assert!((groups..=2 * groups).contains(&stats.row_groups), "{stream_id}: {stats:?}");
        assert!(stats.bytes > 0 && stats.bytes < partitions as u64 * (1 << 20), "{stream_id}: {stats:?}");
    }
}

/// Full files of one partition are not merged again, so a stream whose events keep coming is in each of them: in two where the target is half of
/// what is there, and what is small is merged behind every job.
#[test]
fn where_nothing_partitions_the_target_says_in_how_many_files_a_stream_is() {
    for (target_mb, files) in [(2_u64, 3_u64), (4, 2)] {
        let keys = format!("compaction.target_file_mb = {target_mb}, compaction.max_file_mb = {}", 2 * target_mb);
        let mut store = loaded_with(&keys, |store| {
            store.merge(Trigger::Hand).unwrap();
        });
        let (_, stats) = read(&mut store, "U", "every-017");
        assert_eq!(stats.files, files, "{target_mb} MB: {stats:?}");
        assert!((files..=2 * files).contains(&stats.row_groups), "{target_mb} MB: {stats:?}");
        let snapshot = store.store().durable().pin();
        let bytes: u64 = snapshot.files().iter().filter(|file| file.stream_type == "U").map(|file| file.bytes).sum();
        assert_eq!(2 * (target_mb << 20) >= bytes, files == 2, "{target_mb} MB of {bytes} bytes");
    }
}

/// The heads know which streams there are and where they end: what is not there costs no file, whatever lies beside it.
#[test]
fn what_is_not_there_costs_no_file() {
    let mut store = loaded();
    store.merge(Trigger::Hand).unwrap();
    store.restart().unwrap();
    let end = EVENTS_EACH as u64;
    for (stream_id, from, wanted) in
        [("on-1-07x", 1, 0), ("on-1-07", end + 1, 0), ("on-1-07", end, 1), ("every-017", 1, 0), ("nobody", 1, 0)]
    {
        for order in [Order::Asc, Order::Desc] {
            let (from_seq, to_seq, order) = (Some(Seq(from)), None, Some(order));
            let query = StreamRead { stream_type: "T", stream_id, from_seq, to_seq, limit: 10, order };
            let page = store.store().read_stream(&query).unwrap();
            assert!(page.len() == wanted && page.verdict.contiguous, "{stream_id} from {from}: {page:?}");
            assert_eq!(page.stats.files > 0, wanted > 0, "{stream_id} from {from}: {:?}", page.stats);
        }
    }
}

/// Records that know no stream, of the version that is read or of another one.
struct Forgetful {
    of_version: bool,
}

impl Settled for Forgetful {
    fn head(&self, _: u128) -> Result<Option<HeadRecord>, SettledError> {
        Ok(None)
    }

    fn has_heads_of(&self, _: &Snapshot, _: &LogKey) -> bool {
        self.of_version
    }

    fn command(&self, _: u128) -> Result<Option<CommandRecord>, SettledError> {
        Ok(None)
    }

    fn chunk(&self, _: &[u8; 16]) -> Result<Option<u64>, SettledError> {
        Ok(None)
    }
}

/// What the owner's records say of a stream is not asked of the version again, where both are one.
#[test]
fn a_head_is_looked_up_once() {
    let mut store = loaded();
    store.restart().unwrap();
    let (key, version) = (LogKey::single("T"), store.store().durable().pin());
    assert!(store.store().settled(&key).has_heads_of(&version, &key));
    for (of_version, rows) in [(true, 0), (false, EVENTS_EACH)] {
        let records = Arc::new(Forgetful { of_version });
        store.driver(&key).unwrap().compacted(version.watermark(&key), records);
        let (from_seq, to_seq, order) = (None, None, Some(Order::Asc));
        let query = StreamRead { stream_type: "T", stream_id: "on-1-07", from_seq, to_seq, limit: usize::MAX, order };
        let page = store.store().read_stream(&query).unwrap();
        assert_eq!((page.len(), page.stats.files > 0), (rows, rows > 0), "of the version: {of_version}");
    }
}

#[test]
fn records_of_another_version_are_told_from_its_own() {
    let mut store = loaded();
    let key = LogKey::single("T");
    let (records, version) = (store.store().settled(&key), store.store().durable().pin());
    // a version that moves nothing of the log has the same heads
    store.merge(Trigger::Hand).unwrap();
    let merged = store.store().durable().pin();
    assert!(merged.version() > version.version() && records.has_heads_of(&merged, &key));
    assert!(matches!(
        store.append(&request("T", BatchUnit::Rows, vec![crate::common::event("late", 1)])),
        Answer::Done(_)
    ));
    store.compact(&key).unwrap();
    let later = store.store().durable().pin();
    assert!(!records.has_heads_of(&later, &key) && !store.store().settled(&key).has_heads_of(&version, &key));
    assert!(store.store().settled(&key).has_heads_of(&later, &key) && records.has_heads_of(&version, &key));
}

/// What is read is counted, each by its name.
#[test]
fn the_counters_tell_what_a_read_touched() {
    let mut store = loaded();
    store.merge(Trigger::Hand).unwrap();
    store.restart().unwrap();
    let snapshot = store.store().durable().pin();
    let mut scan = snapshot.scan(&RowFilter::default());
    let rows: usize = scan.by_ref().map(|batch| batch.unwrap().rows()).sum();
    let (files, stats) = (snapshot.files(), scan.stats());
    let groups: u64 = files.iter().map(|file| u64::from(file.row_groups)).sum();
    assert_eq!((rows as u64, stats.files, stats.row_groups), (snapshot.rows(), files.len() as u64, groups));
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    // nothing is read twice but edges of blocks around footers and page indexes; filters are not read at all
    assert!(stats.bytes > bytes / 2 && stats.bytes <= bytes + bytes / 20, "{stats:?} of {bytes}");
    // again, now that footers are known: as many files and groups, fewer bytes
    let mut again = snapshot.scan(&RowFilter::default());
    assert_eq!(again.by_ref().map(|batch| batch.unwrap().rows()).sum::<usize>(), rows);
    let again = again.stats();
    assert_eq!((again.files, again.row_groups), (stats.files, stats.row_groups));
    assert!(again.bytes < stats.bytes, "{again:?} after {stats:?}");
}
