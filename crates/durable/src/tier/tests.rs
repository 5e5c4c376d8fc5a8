//! What is written is read back, under every configuration; what crashes leaves the old state or the new one.

use super::*;
use crate::objects::{Fault, FlakyObjects, Objects, StoreObjects};
use crate::testing::*;
use crate::{RowFilter, StreamQuery};
use std::collections::BTreeSet;
use strandline_deql::StoreConfig;
use strandline_event::{EventId, LogIndex, Position, Seq};

pub(crate) const CONFIGS: &[&str] = &[
    "",
    ", partition.by = ('dt', 'stream_type', 'tenant_id')",
    ", partition.by = 'dt', partition.dt.expr = 'HOUR(occurred_at)', partition.dt.granularity = 'hour', durable.compression = 'snappy'",
    ", durable.compression = 'none', durable.dictionary.enabled = false, stats.enabled = false, bloom.enabled = false",
    ", durable.compression = 'gzip', row_group.max_rows = 1000, row_group.sort_by = ('occurred_at', 'event_id')",
    ", durable.compression = 'lz4', row_group.max_rows = 700, row_group.sort_order = 'desc', bloom.columns = ('tenant_id', 'seq', 'event_id')",
    ", durable.compression = 'brotli', row_group.sort_by = ('tenant_id', 'event_type'), row_group.sort_order = 'desc', stats.columns = ('tenant_id', 'event_id', 'event_version', 'ingested_at')",
    ", envelope.seq_key = 'version', envelope.payload_key = 'body', durable.compression.level = 19",
];

pub(crate) fn all(snapshot: &Arc<Snapshot>) -> Vec<Owned> {
    let mut out = Vec::new();
    for batch in snapshot.scan(&RowFilter::default()) {
        out.extend(batch.unwrap().iter().map(|e| own(&e)));
    }
    out.sort_by_key(|e| e.ingested_at);
    out
}

fn own(e: &strandline_event::EventRef<'_>) -> Owned {
    assert_eq!(e.stream_type, "Call");
    Owned {
        event_id: e.event_id,
        stream_id: e.stream_id.to_owned(),
        seq: e.seq.0,
        event_type: e.event_type.to_owned(),
        event_version: e.event_version,
        occurred_at: e.occurred_at.0,
        ingested_at: e.ingested_at.0,
        data: e.data.to_owned(),
        metadata: e.metadata.map(ToOwned::to_owned),
        command_id: e.command_id.map(ToOwned::to_owned),
        tenant_id: e.tenant_id.map(ToOwned::to_owned),
    }
}

/// Every kind of read against the list of events.
pub(crate) fn check_reads(snapshot: &Arc<Snapshot>, events: &[Owned]) {
    assert_eq!(all(snapshot), events);
    for descending in [false, true] {
        for (stream, from, to, limit) in [(0, 1, u64::MAX, 1000), (7, 5, 30, 1000), (49, 1, 100, 10), (3, 500, 600, 5)]
        {
            let stream_id = format!("stream-{stream:03}");
            let (from_seq, to_seq) = (Seq(from), Seq(to));
            let query = StreamQuery { stream_type: "Call", stream_id: &stream_id, from_seq, to_seq, descending, limit };
            let mut expected: Vec<_> =
                events.iter().filter(|e| e.stream_id == stream_id && (from..=to).contains(&e.seq)).cloned().collect();
            expected.sort_by_key(|e| e.seq);
            if descending {
                expected.reverse();
            }
            let whole = expected.len() <= limit;
            expected.truncate(limit);
            let set = snapshot.stream(&query).unwrap();
            assert_eq!(set.iter().map(|e| own(&e)).collect::<Vec<_>>(), expected);
            assert_eq!(set.complete, whole);
        }
    }
    for event in events.iter().step_by(97) {
        let found = snapshot.find_event_id(event.event_id).unwrap();
        assert_eq!(found.iter().map(|e| own(&e)).collect::<Vec<_>>(), std::slice::from_ref(event));
        let place = found.place(0);
        assert!(place.row < place.file.rows);
    }
    assert!(snapshot.find_event_id(EventId([9; 16])).unwrap().is_empty());
    check_global(snapshot, events);
}

fn check_global(snapshot: &Arc<Snapshot>, events: &[Owned]) {
    let filters = [
        RowFilter::default(),
        RowFilter { event_type: Some("Moved".to_owned()), ..RowFilter::default() },
        RowFilter {
            tenant_id: Some("tenant/1".to_owned()),
            occurred_from: Some(Micros(START_US)),
            ..RowFilter::default()
        },
        RowFilter { tenants: ["tenant/1", "nobody"].map(str::to_owned).to_vec(), ..RowFilter::default() },
        RowFilter { tenants: vec!["nobody".to_owned()], ..RowFilter::default() },
        RowFilter { occurred_to: Some(Micros(START_US + 86_400_000_000)), ..RowFilter::default() },
        RowFilter { stream_type: Some("Other".to_owned()), ..RowFilter::default() },
    ];
    let through = Micros(events.iter().map(|e| e.ingested_at).max().unwrap_or(0) - 5000);
    for filter in filters {
        let matching = |e: &&Owned| filter.matches(&e.row());
        let scanned: usize = snapshot.scan(&filter).map(|b| b.unwrap().rows()).sum();
        assert_eq!(scanned, events.iter().filter(matching).count());
        let expected: Vec<_> = events.iter().filter(matching).filter(|e| e.ingested_at <= through.0).cloned().collect();
        let (mut after, mut got) = (Position::START, Vec::new());
        loop {
            let page = snapshot.by_ingested(after, through, &filter, 300).unwrap();
            got.extend(page.iter().map(|e| own(&e)));
            let Some(last) = page.iter().last() else { break };
            after = last.position();
            assert!(page.complete || page.len() == 300);
        }
        assert_eq!(got, expected);
    }
}

#[test]
fn every_configuration_reads_back_what_was_written() {
    let events = history(5000);
    let (first, second) = events.split_at(3000);
    for keys in CONFIGS {
        let dir = tempfile::tempdir().unwrap();
        let config = config(keys);
        let tier = open(dir.path(), &config);
        for (n, part) in [first, second].into_iter().enumerate() {
            let (job, part) = (job(n as u128 + 1, n as u64 * 100, (n as u64 + 1) * 100), part.to_vec());
            let files = write(&tier, &job, &part).unwrap();
            assert!(tier.pin().rows() == n as u64 * 3000, "nothing is visible before the commit");
            tier.commit(&commit(&job, files, &part)).unwrap();
        }
        check_reads(&tier.pin(), &events);
        for file in tier.pin().files() {
            assert_eq!(crate::verify_file(&tier, file), [], "{keys}");
            assert!(tier.local_path(file).unwrap().to_str().unwrap().ends_with(".parquet"));
        }
        assert_eq!(crate::verify_manifests(&tier), []);
        drop(tier);
        let tier = open(dir.path(), &config);
        check_reads(&tier.pin(), &events);
        check_runs(&tier.pin(), &events);
        assert_eq!(tier.orphans(Micros(i64::MAX)).unwrap().len(), 2, "runs that were merged away");
    }
}

fn check_runs(snapshot: &Arc<Snapshot>, events: &[Owned]) {
    use strandline_event::hash::{bytes_hash, stream_hash};
    assert_eq!(snapshot.watermark(&log()), LogIndex(200));
    assert_eq!(snapshot.chunk_mark(&log(), &[3; 16]), Ok(200));
    assert!(events.len() > 50);
    for stream in 0..50 {
        let head = snapshot.head(&log(), stream_hash(&format!("stream-{stream:03}"))).unwrap().unwrap();
        assert_eq!((head.first_seq, head.last_seq), (Seq(1), Seq(100)));
        assert_eq!(head.owner_tenant, crate::runs::MIXED_TENANTS, "its events are of several tenants");
    }
    assert_eq!(snapshot.heads(&log()).count(), 50);
    assert_eq!(snapshot.head(&log(), 5), Ok(None));
    let command = snapshot.command(&log(), bytes_hash(b"cmd-4900")).unwrap().unwrap();
    assert_eq!(command.first_seq, Seq(events[4900].seq));
    assert_eq!(snapshot.command(&log(), bytes_hash(b"cmd-1")), Ok(None));
}

#[test]
fn a_store_in_memory_works_the_same() {
    let (data, manifests) = (StoreObjects::memory().unwrap(), StoreObjects::memory().unwrap());
    let (data, manifests): (SharedObjects, SharedObjects) = (Arc::new(data), Arc::new(manifests));
    let config = config(", partition.by = 'dt'");
    let events = history(2000);
    for round in 0..2 {
        let tier = DurableTier::open_with(Arc::clone(&data), Arc::clone(&manifests), &config, options(round)).unwrap();
        if round == 0 {
            let job = job(1, 0, 10);
            let files = write(&tier, &job, &events).unwrap();
            tier.commit(&commit(&job, files, &events)).unwrap();
        }
        check_reads(&tier.pin(), &events);
        assert_eq!(tier.epoch(), Some(round as u64 + 1));
    }
}

#[test]
fn a_lookup_touches_little() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(", row_group.max_rows = 5000"));
    let events = history(40_000);
    let job = job(1, 0, 10);
    let files = write(&tier, &job, &events).unwrap();
    assert_eq!((files.len(), files[0].row_groups), (1, 8));
    tier.commit(&commit(&job, files, &events)).unwrap();
    let (from_seq, to_seq) = (Seq(1), Seq(u64::MAX));
    let query =
        StreamQuery { stream_type: "Call", stream_id: "stream-010", from_seq, to_seq, descending: false, limit: 9 };
    let set = tier.pin().stream(&query).unwrap();
    assert_eq!((set.len(), set.complete), (9, false));
    assert!(set.stats.row_groups <= 2 && set.stats.files == 1, "{:?}", set.stats);
    assert_eq!(tier.pin().find_event_id(events[777].event_id).unwrap().stats.row_groups, 1);
    let none = StreamQuery { stream_id: "stream-0100", ..query };
    assert_eq!(tier.pin().stream(&none).unwrap().stats.row_groups, 0, "the bloom filter says no");
}

#[test]
fn a_lookup_reads_the_filter_that_it_asks_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("");
    // 60,000 ids: their filter alone has some 100 KB
    let events = history(60_000);
    let tier = open(folder.path(), &config);
    let job = job(1, 0, 10);
    let files = write(&tier, &job, &events).unwrap();
    assert_eq!(files.len(), 1);
    assert!(files[0].tail_bytes < 60_000, "no filter stands in the tail: {}", files[0].tail_bytes);
    let (bytes, tail) = (files[0].bytes, files[0].tail_bytes);
    let snapshot = tier.commit(&commit(&job, files, &events)).unwrap();
    let query = StreamQuery {
        stream_type: "Call",
        stream_id: "stream-007",
        from_seq: Seq(1),
        to_seq: Seq(100),
        descending: false,
        limit: 1000,
    };
    let found = snapshot.stream(&query).unwrap();
    assert_eq!((found.len(), found.stats.files), (100, 1));
    assert!(found.stats.bytes >= tail && found.stats.bytes < bytes * 3 / 4, "{:?} of {bytes}", found.stats);
    let absent = snapshot.stream(&StreamQuery { stream_id: "stream-007x", ..query }).unwrap();
    assert!(absent.is_empty());
    assert!(absent.stats.bytes <= 2 * crate::write::BLOCK_BYTES, "one filter: {:?}", absent.stats);
    let id = events[777].event_id;
    let by_id = snapshot.find_event_id(id).unwrap();
    assert_eq!((by_id.len(), by_id.stats.files, by_id.row(0).event_id), (1, 1, id));
}

#[test]
fn no_file_exceeds_the_maximum() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(
        dir.path(),
        &config(", compaction.target_file_mb = 1, compaction.max_file_mb = 1, durable.compression = 'none'"),
    );
    let mut events = history(6000);
    for e in &mut events {
        e.data = format!("\"{}\"", e.data.replace('"', "'").repeat(30));
    }
    let job = job(1, 0, 10);
    let files = write(&tier, &job, &events).unwrap();
    let (most, sum) = (files.iter().map(|f| f.bytes).max().unwrap(), files.iter().map(|f| f.bytes).sum::<u64>());
    assert!(
        most <= 1 << 20 && files.len() as u64 <= sum / (700 << 10) + 1,
        "{} files, {most} of {sum} bytes",
        files.len()
    );
    tier.commit(&commit(&job, files, &events)).unwrap();
    check_reads(&tier.pin(), &events);
}

#[test]
fn ranges_are_taken_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let events = history(10);
    let first = job(1, 0, 5);
    let files = write(&tier, &first, &events).unwrap();
    let commit_1 = commit(&first, files, &events);
    let version = tier.commit(&commit_1).unwrap().version();
    assert_eq!(tier.commit(&commit_1).unwrap().version(), version, "the same job again is a success");
    for wrong in [job(2, 0, 9), job(3, 4, 9), job(4, 6, 9)] {
        let error = tier.commit(&commit(&wrong, Vec::new(), &[])).err().unwrap();
        assert!(matches!(error, CommitError::Watermark { expected: LogIndex(5), .. }), "{error}");
    }
    assert_eq!(tier.pin().rows(), 10);
}

#[test]
fn an_older_owner_cannot_commit() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("");
    let old = open(dir.path(), &config);
    let new = open(dir.path(), &config);
    let events = history(10);
    let job = job(1, 0, 5);
    let files = write(&old, &job, &events).unwrap();
    let error = old.commit(&commit(&job, files, &events)).err().unwrap();
    assert!(matches!(error, CommitError::StaleEpoch { ours: 1, found: 2 }), "{error}");
    let files = write(&new, &job, &events).unwrap();
    assert_ne!(files[0].path, "", "names of the old owner's files are not taken");
    new.commit(&commit(&job, files, &events)).unwrap();
    assert_eq!(all(&new.pin()), events);
    assert_eq!(new.orphans(Micros(i64::MAX)).unwrap().iter().filter(|o| o.path.ends_with(".parquet.tmp")).count(), 1);
    assert!(!new.sweep(Micros(i64::MAX)).unwrap().is_empty() && new.orphans(Micros(i64::MAX)).unwrap().is_empty());
    check_reads(&new.pin(), &events);
}

#[test]
fn updates_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("");
    let tier = open(dir.path(), &config);
    let at = Micros(START_US);
    tier.update(&Update::CleanStop(vec![(log(), LogIndex(9))]), 5, at).unwrap();
    tier.update(&Update::Config("other".to_owned()), 6, at).unwrap();
    let id = tier.pin().store_id();
    drop(tier);
    let tier = open(dir.path(), &config);
    let state = tier.pin().log(&log()).unwrap().clone();
    assert_eq!((state.known_through, state.compacted_through), (LogIndex(9), LogIndex(0)));
    assert_eq!((tier.pin().config_text(), tier.pin().store_id(), tier.pin().version()), ("other", id, 4));
    tier.update(&Update::AcceptLostLog { log: log(), through: LogIndex(9) }, 7, at).unwrap();
    assert_eq!(tier.pin().watermark(&log()), LogIndex(9));
    assert_eq!(tier.history(2).unwrap().iter().map(|s| s.version).collect::<Vec<_>>(), [5, 4]);
    let mut other = config.clone();
    other.name = "u".to_owned();
    let (data, manifests) = folders(dir.path());
    assert!(matches!(DurableTier::open_with(data, manifests, &other, options(1)), Err(OpenError::OtherStore { .. })));
}

/// One job over a store that has one commit already, on objects that fail.
fn run_job(tier: &DurableTier, events: &[Owned]) -> Result<(), String> {
    let (job, events) = (job(2, 100, 200), events[300..].to_vec());
    let files = write(tier, &job, &events).map_err(|e| e.to_string())?;
    tier.commit(&commit(&job, files, &events)).map(drop).map_err(|e| e.to_string())
}

fn prepare(root: &Path, config: &StoreConfig, events: &[Owned]) {
    let tier = open(root, config);
    let (job, events) = (job(1, 0, 100), events[..300].to_vec());
    let files = write(&tier, &job, &events).unwrap();
    tier.commit(&commit(&job, files, &events)).unwrap();
}

use std::path::Path;

#[test]
fn a_fault_at_every_operation_leaves_the_old_or_the_new_state() {
    let config = config(", partition.by = 'dt'");
    let events = history(600);
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::LostAnswer, Fault::FailOnce] {
        let mut outcomes = BTreeSet::new();
        for at in 1.. {
            let dir = tempfile::tempdir().unwrap();
            prepare(dir.path(), &config, &events);
            let (data, manifests) = folders(dir.path());
            let flaky = FlakyObjects::new(data, at, fault);
            let manifests: SharedObjects = Arc::new(flaky.with(manifests));
            let opened = DurableTier::open_with(Arc::new(flaky.clone()), manifests, &config, options(3));
            let acknowledged = opened.as_ref().is_ok_and(|tier| run_job(tier, &events).is_ok());
            drop(opened);
            // the process starts again
            let tier = open(dir.path(), &config);
            let rows = tier.pin().rows();
            assert!(rows == 600 || rows == 300 && !acknowledged, "{fault:?} at {at}: {rows} rows");
            check_reads(&tier.pin(), &events[..rows as usize]);
            outcomes.insert(rows);
            if rows == 300 {
                run_job(&tier, &events).unwrap();
            }
            assert_eq!(all(&tier.pin()), events);
            assert_eq!(glob(dir.path()), tier.pin().files().len(), "a glob finds exactly the committed files");
            tier.sweep(Micros(i64::MAX)).unwrap();
            assert_eq!(all(&tier.pin()), events);
            if flaky.operations() < at {
                break;
            }
        }
        assert_eq!(outcomes, BTreeSet::from([300, 600]));
    }
}

fn glob(root: &Path) -> usize {
    let objects = crate::objects::LocalObjects::read_only(root);
    objects.list("").unwrap().iter().filter(|o| o.path.ends_with(".parquet")).count()
}

#[test]
fn a_damaged_file_is_named_whatever_byte_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(", row_group.max_rows = 300");
    let tier = open(dir.path(), &config);
    let events = history(1000);
    let job = job(1, 0, 100);
    let files = write(&tier, &job, &events).unwrap();
    tier.commit(&commit(&job, files, &events)).unwrap();
    let path = tier.local_path(&tier.pin().files()[0]).unwrap();
    let good = std::fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(41) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bad).unwrap();
        let (data, manifests) = folders(dir.path());
        let tier = DurableTier::open_read_only_with(data, manifests, &config).unwrap();
        let rows: Result<Vec<_>, _> = tier.pin().scan(&RowFilter::default()).collect();
        let error = rows.err().unwrap_or_else(|| panic!("byte {at} goes unnoticed"));
        assert!(error.to_string().contains(".parquet") && error.kind() == strandline_event::ErrorKind::Integrity);
        assert!(!crate::verify_file(&tier, &tier.pin().files()[0]).is_empty());
    }
    std::fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert!(tier.pin().scan(&RowFilter::default()).next().unwrap().is_err());
}

#[test]
fn cancelled_jobs_take_their_files_away() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(", partition.by = 'dt'"));
    let events = history(20_000);
    let batches = [&events];
    let rows = crate::sort_rows(&tier.layout(), &batches);
    let stop = &mut |rows| if rows > 9000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let error = tier.write_files(&tier.layout(), &job(1, 0, 1), &batches, &rows, stop).err().unwrap();
    assert!(matches!(error, WriteError::Cancelled));
    let left = tier.orphans(Micros(i64::MAX)).unwrap();
    assert!(left.is_empty(), "the file that was open is taken away too: {left:?}");
}

#[test]
fn a_value_that_is_spelled_like_null_is_another_folder() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(", partition.by = 'tenant_id'"));
    let mut events = history(4);
    events[0].tenant_id = None;
    events[1].tenant_id = Some("__HIVE_DEFAULT_PARTITION__".to_owned());
    events[2].tenant_id = Some("..".to_owned());
    events[3].tenant_id = Some("a/b=c%".to_owned());
    let job = job(1, 0, 1);
    let files = write(&tier, &job, &events).unwrap();
    let folders: BTreeSet<_> = files.iter().map(|f| f.path.rsplit_once('/').unwrap().0.to_owned()).collect();
    assert_eq!(folders.len(), 4, "{folders:?}");
    assert!(folders.contains("tenant_id=__HIVE_DEFAULT_PARTITION__") && folders.contains("tenant_id=%2E."));
    assert_eq!(tier.layout().null_partition(&events[0].row()), Some(strandline_deql::PartitionColumn::TenantId));
    assert_eq!(tier.layout().null_partition(&events[1].row()), None);
    tier.commit(&commit(&job, files, &events)).unwrap();
    assert_eq!(all(&tier.pin()), events);
}

mod random {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn an_event()(
            id in any::<[u8; 16]>(),
            stream in "[a-cé]{1,3}",
            event_type in prop_oneof![Just("A".to_owned()), "[\\PC]{1,40}"],
            version in proptest::option::of(any::<u32>()),
            occurred in prop_oneof![-62_135_596_800_000_000_i64..253_402_300_799_999_999, START_US..START_US + 200_000_000_000],
            ingested in START_US..START_US + 50,
            data in prop_oneof![Just("{}".to_owned()), "[\\PC]{0,300}"],
            optional in proptest::option::of("[\\PC]{1,30}"),
            tenant in proptest::option::of("[a-b/.%]{1,2}"),
        ) -> Owned {
            Owned {
                event_id: EventId(id), stream_id: stream, seq: 1, event_type, event_version: version, occurred_at: occurred,
                ingested_at: ingested, data, metadata: optional.clone(), command_id: optional, tenant_id: tenant,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn random_rows_come_back(mut events in proptest::collection::vec(an_event(), 1..300), which in 0..CONFIGS.len()) {
            let mut seqs = std::collections::HashMap::new();
            for e in &mut events {
                let seq = seqs.entry(e.stream_id.clone()).or_insert(0);
                *seq += 1;
                e.seq = *seq;
            }
            let (data, manifests) = (StoreObjects::memory().unwrap(), StoreObjects::memory().unwrap());
            let tier = DurableTier::open_with(Arc::new(data), Arc::new(manifests), &config(CONFIGS[which]), options(1)).unwrap();
            let job = job(1, 0, 1);
            let files = write(&tier, &job, &events).unwrap();
            let snapshot = tier.commit(&commit(&job, files, &events)).unwrap();
            let sorted = |mut list: Vec<Owned>| {
                list.sort_by(|a, b| (a.ingested_at, a.event_id, &a.stream_id, a.seq).cmp(&(b.ingested_at, b.event_id, &b.stream_id, b.seq)));
                list
            };
            let expected = sorted(events.clone());
            prop_assert_eq!(sorted(all(&snapshot)), expected.clone());
            let global = snapshot.by_ingested(Position::START, Micros(i64::MAX), &RowFilter::default(), 1000).unwrap();
            prop_assert_eq!(sorted(global.iter().map(|e| own(&e)).collect()), expected);
            for (stream_id, last) in &seqs {
                let query = StreamQuery { stream_type: "Call", stream_id, from_seq: Seq(1), to_seq: Seq(u64::MAX), descending: false, limit: 1000 };
                let set = snapshot.stream(&query).unwrap();
                prop_assert!(set.iter().map(|e| e.seq.0).eq(1..=*last));
            }
            for file in snapshot.files() {
                prop_assert_eq!(crate::verify_file(&tier, file), []);
            }
        }
    }
}
