//! Merges keep every row as it is, in order, once; what cannot be merged is said, and nothing is replaced.

use super::*;
use crate::read::RowBatch;
use crate::sort::rows_as_they_come;
use crate::testing::*;
use crate::tier::tests::{CONFIGS, all, check_reads};
use crate::write::Writing;
use crate::{CommitError, Redact, Redaction, Replacement, StreamQuery, sort_rows};
use std::collections::BTreeMap;
use std::path::Path;
use strandline_deql::StoreConfig;
use strandline_event::{EventId, LogIndex, Micros, REDACTED, Seq};

const GO_ON: ControlFlow<()> = ControlFlow::Continue(());

fn spec(job_id: u128, inputs: &[Arc<FileEntry>]) -> MergeSpec {
    let from = inputs.iter().map(|f| f.from_exclusive.0).min().unwrap_or(0);
    let through = inputs.iter().map(|f| f.through.0).max().unwrap_or(0);
    let limits = MergeLimits::default();
    MergeSpec { job: job(job_id, from, through), inputs: inputs.to_vec(), enough_bytes: u64::MAX, limits }
}

fn replace(tier: &DurableTier, spec: &MergeSpec, merged: Merged) -> Result<Arc<Snapshot>, CommitError> {
    let (job_id, log) = (spec.job.job_id, spec.job.log.clone());
    let Merged { files, taken, doubles, .. } = merged;
    tier.replace(&Replacement { job_id, at: Micros(START_US + 9), log, remove: taken, add: files, doubles })
}

fn merge(tier: &DurableTier, spec: &MergeSpec) -> Result<Merged, MergeError> {
    tier.merge_files(&tier.pin(), spec, &mut |_| GO_ON)
}

/// Merges every partition into one file.
fn merge_all(tier: &DurableTier) {
    let mut partitions: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for file in tier.pin().files() {
        partitions.entry(file.partition.clone()).or_default().push(Arc::clone(file));
    }
    for (n, (partition, inputs)) in partitions.into_iter().enumerate() {
        let spec = spec(1000 + n as u128, &inputs);
        let merged = merge(tier, &spec).unwrap();
        assert_eq!((merged.files.len(), merged.doubles, merged.left_alone.len()), (1, 0, 0));
        let entry = merged.files[0].clone();
        assert_eq!((&entry.partition, entry.job_id), (&partition, spec.job.job_id));
        assert_eq!(entry.from_exclusive, inputs.iter().map(|f| f.from_exclusive).min().unwrap());
        assert_eq!(entry.through, inputs.iter().map(|f| f.through).max().unwrap());
        assert_eq!(entry.bounds.occurred_at.0, inputs.iter().map(|f| f.bounds.occurred_at.0).min().unwrap());
        assert_eq!(entry.bounds.stream_id.1, inputs.iter().map(|f| f.bounds.stream_id.1.clone()).max().unwrap());
        replace(tier, &spec, merged).unwrap();
    }
}

fn check(tier: &DurableTier, events: &[Owned]) {
    check_reads(&tier.pin(), events);
    for file in tier.pin().files() {
        assert_eq!(crate::verify_file(tier, file), []);
    }
    assert_eq!(crate::verify_manifests(tier), []);
}

#[test]
fn every_configuration_merges_into_what_was_written() {
    let events = history(3000);
    for keys in CONFIGS {
        let dir = tempfile::tempdir().unwrap();
        let config = config(keys);
        let tier = open(dir.path(), &config);
        commit_each(&tier, &events, 500);
        let before = tier.pin().files().len();
        merge_all(&tier);
        assert!(tier.pin().files().len() * 3 < before, "{keys}: {before} -> {}", tier.pin().files().len());
        check(&tier, &events);
        drop(tier);
        check(&open(dir.path(), &config), &events);
    }
}

#[test]
fn small_batches_give_the_same_files() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(", row_group.max_rows = 300"));
    let mut events = history(2000);
    for e in events.iter_mut().step_by(50) {
        e.data = format!("\"{}\"", "y".repeat(300_000));
    }
    commit_each(&tier, &events, 400);
    let mut spec = spec(50, tier.pin().files());
    let wide = merge(&tier, &spec).unwrap();
    spec.limits.batches_bytes = 1;
    let narrow = merge(&tier, &spec).unwrap();
    assert_eq!(wide.files[0].crc32c, narrow.files[0].crc32c);
    replace(&tier, &spec, narrow).unwrap();
    check(&tier, &events);
}

/// The files of a store whose order was another one before.
fn reordered(dir: &Path, events: &[Owned]) -> (DurableTier, StoreConfig) {
    let (first, second) = events.split_at(events.len() / 2);
    let tier = open(dir, &config(", row_group.sort_by = ('occurred_at', 'event_id'), row_group.sort_order = 'desc'"));
    commit_each(&tier, first, 500);
    drop(tier);
    let config = config("");
    let tier = open(dir, &config);
    let through = tier.pin().watermark(&log()).0;
    let (job, part) = (job(99, through, through + 10), second.to_vec());
    let files = write(&tier, &job, &part).unwrap();
    tier.commit(&commit(&job, files, &part)).unwrap();
    (tier, config)
}

#[test]
fn files_of_another_order_are_sorted() {
    let dir = tempfile::tempdir().unwrap();
    let events = history(2000);
    let (tier, _) = reordered(dir.path(), &events);
    assert_eq!(tier.pin().files().len(), 3);
    merge_all(&tier);
    check(&tier, &events);
}

#[test]
fn files_of_another_order_that_are_too_large_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let events = history(2000);
    let (tier, _) = reordered(dir.path(), &events);
    let pinned = tier.pin();
    let mut spec = spec(50, pinned.files());
    spec.limits.sorted_bytes = 1000;
    let merged = merge(&tier, &spec).unwrap();
    assert_eq!((merged.files.len(), merged.left_alone.len()), (0, 2), "one input is nothing to merge");

    let (job, more) = (job(100, 30, 40), (2000..2100).map(owned).collect::<Vec<_>>());
    let files = write(&tier, &job, &more).unwrap();
    tier.commit(&commit(&job, files, &more)).unwrap();
    spec.inputs = tier.pin().files().to_vec();
    let merged = merge(&tier, &spec).unwrap();
    assert_eq!((merged.files.len(), merged.taken.len(), merged.left_alone.len()), (1, 2, 2));
    replace(&tier, &spec, merged).unwrap();
    check(&tier, &history(2100));
}

/// Two files with one event in both; the second time it is `again`.
fn doubled(dir: &Path, keys: &str, again: &Owned) -> (DurableTier, Vec<Arc<FileEntry>>) {
    let tier = open(dir, &config(keys));
    let first = history(200);
    let second: Vec<_> = (200..300).map(owned).chain([again.clone()]).collect();
    let mut inputs = Vec::new();
    for (n, events) in [(1, &first), (2, &second)] {
        let job = job(n, n as u64 * 10 - 10, n as u64 * 10);
        let files = write(&tier, &job, events).unwrap();
        // a commit of heads would refuse it
        let snapshot = tier.commit(&crate::Commit { heads: Vec::new(), ..commit(&job, files, events) }).unwrap();
        inputs = snapshot.files().to_vec();
    }
    (tier, inputs)
}

const ORDERS: [&str; 3] = [
    "",
    ", row_group.sort_by = ('occurred_at', 'event_id')",
    ", row_group.sort_by = ('stream_type', 'seq', 'stream_id'), row_group.sort_order = 'desc'",
];

#[test]
fn equal_rows_become_one() {
    for keys in ORDERS {
        let dir = tempfile::tempdir().unwrap();
        let (tier, inputs) = doubled(dir.path(), keys, &owned(77));
        assert_eq!(all(&tier.pin()).len(), 301);
        let spec = spec(50, &inputs);
        let merged = merge(&tier, &spec).unwrap();
        assert_eq!((merged.doubles, merged.files[0].rows), (1, 300), "{keys}");
        replace(&tier, &spec, merged).unwrap();
        check(&tier, &history(300));
        assert_eq!(tier.pin().log(&log()).unwrap().events, 300);
    }
}

#[test]
fn one_event_with_two_contents_is_an_error_that_names_both_places() {
    let changes: [fn(&mut Owned); 4] =
        [|e| e.data.push(' '), |e| e.metadata = None, |e| e.event_id = EventId([7; 16]), |e| e.occurred_at += 1];
    for keys in ORDERS {
        for change in changes {
            let dir = tempfile::tempdir().unwrap();
            let mut again = owned(75);
            change(&mut again);
            let (tier, inputs) = doubled(dir.path(), keys, &again);
            let error = merge(&tier, &spec(50, &inputs)).unwrap_err();
            let text = error.to_string();
            assert!(
                matches!(error, MergeError::Differs { seq: 2, .. }) && error.kind() == ErrorKind::Integrity,
                "{text}"
            );
            assert!(text.contains("stream-025") && inputs.iter().all(|f| text.contains(&f.path)), "{text}");
            assert!(tier.orphans(Micros(i64::MAX)).unwrap().iter().all(|o| o.path.ends_with(".run")), "{keys}");
        }
    }
}

/// One copy was written before its event was redacted, the other behind it: they are compared as readers see them.
#[test]
fn what_is_redacted_is_no_other_content() {
    for keys in ORDERS {
        let dir = tempfile::tempdir().unwrap();
        let mut again = owned(75);
        again.data = REDACTED.to_owned();
        again.metadata = again.metadata.map(|_| REDACTED.to_owned());
        let (tier, inputs) = doubled(dir.path(), keys, &again);
        let error = merge(&tier, &spec(49, &inputs)).unwrap_err();
        assert!(matches!(error, MergeError::Differs { seq: 2, .. }), "{keys}: {error}");
        let redaction = Redaction {
            event_id: again.event_id,
            stream_type: "Call".to_owned(),
            stream_id: again.stream_id.clone(),
            seq: Seq(again.seq),
            at: Micros(START_US + 5),
            who: "ops".to_owned(),
            reason: None,
        };
        tier.redact(&Redact { job_id: 40, events: vec![redaction] }).unwrap();
        let spec = spec(50, &inputs);
        let merged = merge(&tier, &spec).unwrap();
        assert_eq!((merged.doubles, merged.files[0].rows), (1, 300), "{keys}");
        replace(&tier, &spec, merged).unwrap();
        let (from_seq, to_seq) = (Seq(again.seq), Seq(again.seq));
        let (stream_id, descending, limit) = (again.stream_id.as_str(), false, 10);
        let query = StreamQuery { stream_type: "Call", stream_id, from_seq, to_seq, descending, limit };
        let rows = tier.pin().stream(&query).unwrap();
        assert!(rows.len() == 1 && rows.row(0).says_nothing(), "{keys}");
    }
}

#[test]
fn rows_against_the_order_of_their_file_end_the_merge() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let events = history(300);
    for (n, part) in [(1, &events[..150]), (2, &events[150..])] {
        let (job, part) = (job(n, n as u64 * 10 - 10, n as u64 * 10), part.to_vec());
        // the second file is not sorted, whatever its footer says
        let files = match n {
            1 => write(&tier, &job, &part).unwrap(),
            _ => {
                let (batches, layout) = ([&part], tier.layout());
                tier.write_files(&layout, &job, &batches, &rows_as_they_come(&layout, &batches), &mut |_| GO_ON)
                    .unwrap()
            }
        };
        tier.commit(&commit(&job, files, &part)).unwrap();
    }
    let inputs = tier.pin().files().to_vec();
    let error = merge(&tier, &spec(50, &inputs)).unwrap_err();
    assert!(matches!(&error, MergeError::NotSorted(place) if place.file.path == inputs[1].path), "{error}");
}

#[test]
fn rows_of_another_partition_end_the_merge() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(", partition.by = 'dt'"));
    let mut events = history(60);
    events.iter_mut().for_each(|e| e.occurred_at = START_US);
    commit_each(&tier, &events, 30);
    let inputs = tier.pin().files().to_vec();
    drop(tier);
    let tier = open(
        dir.path(),
        &config(", partition.by = 'dt', partition.dt.expr = 'YEAR(occurred_at)', partition.dt.granularity = 'year'"),
    );
    let error = merge(&tier, &spec(50, &inputs)).unwrap_err();
    assert!(matches!(error, MergeError::OtherPartition { .. }) && error.to_string().contains(&inputs[0].path));
    assert!(tier.orphans(Micros(i64::MAX)).unwrap().iter().all(|o| o.path.ends_with(".run")));
}

#[test]
fn a_merge_ends_files_that_are_long_enough() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(
        dir.path(),
        &config(", compaction.target_file_mb = 1, compaction.max_file_mb = 1, durable.compression = 'none'"),
    );
    let mut events = history(8000);
    for e in &mut events {
        e.data = format!("\"{}\"", e.data.replace('"', "'").repeat(8));
    }
    commit_each(&tier, &events, 500);
    let mut spec = spec(50, tier.pin().files());
    let sum: u64 = spec.inputs.iter().map(|f| f.bytes).sum();
    let by_max = merge(&tier, &spec).unwrap();
    assert!(by_max.files.iter().all(|f| f.bytes <= 1 << 20) && by_max.files.len() as u64 <= sum / (700 << 10) + 1);
    tier.discard(&by_max.files);
    spec.enough_bytes = 400 << 10;
    let merged = merge(&tier, &spec).unwrap();
    let (last, others) = merged.files.split_last().unwrap();
    assert!(others.len() > 3 && others.iter().all(|f| (350 << 10..600 << 10).contains(&f.bytes)), "{:?}", merged.files);
    assert!(last.bytes < 600 << 10);
    replace(&tier, &spec, merged).unwrap();
    check(&tier, &events);
}

#[test]
fn a_merge_reads_its_inputs_about_once() {
    for keys in ["", ", stats.enabled = false"] {
        let dir = tempfile::tempdir().unwrap();
        let tier =
            open(dir.path(), &config(&format!(", durable.compression = 'none', row_group.max_rows = 9000{keys}")));
        let mut events = history(40_000);
        for e in &mut events {
            e.data = format!("\"{}\"", e.data.replace('"', "'").repeat(6));
        }
        commit_each(&tier, &events, 20_000);
        let spec = spec(50, tier.pin().files());
        let merged = merge(&tier, &spec).unwrap();
        let bytes: u64 = spec.inputs.iter().map(|f| f.bytes).sum();
        assert!(bytes > 8 << 20 && merged.stats.bytes <= bytes / 4 * 5, "{keys}: {} of {bytes}", merged.stats.bytes);
        assert_eq!(merged.stats.files, 2);
    }
}

#[test]
fn a_merge_that_is_cancelled_or_meets_damage_replaces_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(", row_group.max_rows = 1000"));
    let events = history(20_000);
    commit_each(&tier, &events, 10_000);
    let spec = spec(50, tier.pin().files());
    let stop = &mut |rows| if rows > 9000 { ControlFlow::Break(()) } else { GO_ON };
    let error = tier.merge_files(&tier.pin(), &spec, stop).unwrap_err();
    assert!(matches!(error, MergeError::Write(WriteError::Cancelled)));
    let path = tier.local_path(&spec.inputs[1]).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = merge(&tier, &spec).unwrap_err();
    assert!(error.kind() == ErrorKind::Integrity && error.to_string().contains(&spec.inputs[1].path), "{error}");
    let left = tier.orphans(Micros(i64::MAX)).unwrap();
    assert!(left.iter().all(|orphan| orphan.path.ends_with(".run")), "{left:?}");
}

#[test]
fn runs_are_rebuilt_from_merged_files() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("");
    let tier = open(dir.path(), &config);
    let events = history(900);
    commit_each(&tier, &events, 300);
    merge_all(&tier);
    let heads: Vec<_> = tier.pin().heads(&log()).collect();
    for run in tier.pin().manifest().runs().filter(|run| run.path.contains("heads")) {
        std::fs::remove_file(dir.path().join("data").join(&run.path)).unwrap();
    }
    drop(tier);
    let tier = open(dir.path(), &config);
    let rebuilt = tier.rebuild_runs(&|_, _, _| None, 5, Micros(START_US));
    assert!(!rebuilt.is_empty() && rebuilt.iter().all(|run| run.outcome.is_ok()), "{rebuilt:?}");
    assert!(tier.pin().heads(&log()).eq(heads));
}

#[test]
fn a_merge_of_sorted_parts_is_a_sort_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(", row_group.sort_by = ('event_type', 'tenant_id', 'seq')"));
    let events = history(1500);
    commit_each(&tier, &events, 100);
    merge_all(&tier);
    let rows = tier
        .pin()
        .scan_file(&tier.pin().files()[0])
        .flat_map(|b| b.unwrap().iter().map(|e| (e.stream_id.to_owned(), e.seq.0)).collect::<Vec<_>>());
    let batches = [&events];
    let sorted = sort_rows(&tier.layout(), &batches);
    let expected = sorted.iter().map(|row| row.of(&batches)).map(|e| (e.stream_id.to_owned(), e.seq.0));
    assert!(rows.eq(expected), "and rows that compare equal stand as they came");
    assert_eq!(tier.pin().watermark(&log()), LogIndex(150));
}

/// Writes the rows of some files, one file after the other, as it is told; what came of it, but for the names.
fn written(
    tier: &DurableTier,
    inputs: &[Arc<FileEntry>],
    enough_bytes: u64,
    mut write: impl FnMut(&mut Writing<'_, '_>, &RowBatch) -> Result<(), WriteError>,
) -> Vec<FileEntry> {
    let (layout, pinned, mut files) = (tier.layout(), tier.pin(), Vec::new());
    let job_writer = tier.job_writer(&layout, Permits::Reserved);
    let job = job(70, 0, 10);
    let rows = inputs.iter().map(|file| file.rows).sum();
    let mut writing = job_writer.begin(&job, rows, enough_bytes, &mut files);
    for batch in inputs.iter().flat_map(|file| pinned.scan_file(file)) {
        write(&mut writing, &batch.unwrap()).unwrap();
    }
    writing.end_file().unwrap();
    tier.discard(&files);
    files.into_iter().map(|file| FileEntry { path: String::new(), ..file }).collect()
}

#[test]
fn rows_of_a_batch_are_written_as_if_they_came_one_by_one() {
    let mut events = history(20_000);
    for e in events.iter_mut().step_by(900) {
        e.data = format!("\"{}\"", "y".repeat(200_000));
    }
    for (keys, enough_bytes) in [
        ("", u64::MAX),
        (", row_group.max_rows = 300, partition.by = 'dt'", u64::MAX),
        (", durable.compression = 'none', compaction.target_file_mb = 1, compaction.max_file_mb = 1", u64::MAX),
        (", durable.compression = 'none', row_group.target_mb = 1", 700 << 10),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let tier = open(dir.path(), &config(keys));
        commit_each(&tier, &events, events.len());
        let inputs = tier.pin().files().to_vec();
        let one_by_one = written(&tier, &inputs, enough_bytes, |writing, rows| {
            (0..rows.rows()).try_for_each(|i| writing.push(&rows.row(i)))
        });
        let mut lengths = [1, 9, 100, 7, 4_000, 8].into_iter().cycle();
        let in_runs = written(&tier, &inputs, enough_bytes, |writing, rows| {
            let mut from = 0;
            while from < rows.rows() {
                let to = rows.rows().min(from + lengths.next().unwrap());
                writing.push_run(rows, from, to)?;
                from = to;
            }
            Ok(())
        });
        assert_eq!(one_by_one.iter().map(|file| file.rows).sum::<u64>(), events.len() as u64, "{keys}");
        assert!(keys.is_empty() || one_by_one.len() > 2, "{keys}: {} files", one_by_one.len());
        assert_eq!(in_runs, one_by_one, "{keys}");
    }
}

/// Whether an event stands in the first file, and in the second.
type Shape = fn(&Owned) -> (bool, bool);

#[test]
fn rows_come_in_order_whatever_the_inputs_have_in_common() {
    let shapes: [(&str, Shape); 5] = [
        ("streams apart", |e| (e.stream_id.as_str() < "stream-025", e.stream_id.as_str() >= "stream-025")),
        ("parts of streams", |e| (e.seq > 60, e.seq <= 60)),
        ("turns", |e| (e.seq.is_multiple_of(2), !e.seq.is_multiple_of(2))),
        ("turns of some", |e| (e.seq % 24 > 1, e.seq % 24 < 2)),
        ("some in both", |e| (e.seq < 130, e.seq >= 110)),
    ];
    let events = history(10_000);
    for (name, shape) in shapes {
        for keys in ["", ", row_group.sort_order = 'desc'", ", row_group.sort_by = ('seq', 'stream_id')"] {
            let dir = tempfile::tempdir().unwrap();
            let tier = open(dir.path(), &config(keys));
            let of = |is_in: &dyn Fn(&Owned) -> bool| events.iter().filter(|e| is_in(e)).cloned().collect::<Vec<_>>();
            let inputs = [of(&|e| shape(e).0), of(&|e| shape(e).1)];
            prepare_each(&tier, &inputs);
            let (spec, mut told) = (spec(50, tier.pin().files()), Vec::new());
            let on_rows = &mut |rows| {
                told.push(rows);
                GO_ON
            };
            let merged = tier.merge_files(&tier.pin(), &spec, on_rows).unwrap();
            let all = (inputs[0].len() + inputs[1].len()) as u64;
            assert_eq!((merged.doubles, &told[..]), (all - 10_000, &[8192, all][..]), "{name} {keys}");
            replace(&tier, &spec, merged).unwrap();
            holds_in_order(&tier, &events, &format!("{name} {keys}"));
        }
    }
}

/// Writes files, each of one job, with events that may stand in several.
fn prepare_each(tier: &DurableTier, inputs: &[Vec<Owned>]) {
    for (n, events) in (1..).zip(inputs) {
        let job = job(u128::from(n), (n - 1) * 10, n * 10);
        let files = write(tier, &job, events).unwrap();
        // a commit of heads would refuse what stands in two
        tier.commit(&crate::Commit { heads: Vec::new(), ..commit(&job, files, events) }).unwrap();
    }
}

/// The store's one file holds these events, in the order of the layout.
fn holds_in_order(tier: &DurableTier, events: &Vec<Owned>, what: &str) {
    let (layout, batches, pinned) = (tier.layout(), [events], tier.pin());
    let sorted = sort_rows(&layout, &batches);
    let mut expected = sorted.iter().map(|row| row.of(&batches));
    assert_eq!(pinned.files().len(), 1, "{what}");
    for batch in pinned.scan_file(&pinned.files()[0]) {
        for row in batch.unwrap().iter() {
            assert_eq!(Some(row), expected.next(), "{what}");
        }
    }
    assert!(expected.next().is_none(), "{what}");
}

#[test]
fn random_inputs_give_each_event_once() {
    let events = history(600);
    let mut random = 7_u64;
    let mut below = |end: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % end
    };
    let orders = ["", ", row_group.sort_order = 'desc'", ", row_group.sort_by = ('seq', 'stream_id')"];
    for round in 0..36 {
        let dir = tempfile::tempdir().unwrap();
        let tier = open(dir.path(), &config(orders[round % orders.len()]));
        // neighbours of a stream stand together, so many at a time
        let (together, mut doubles) = (1 + below(6), 0);
        let mut inputs: [Vec<Owned>; 4] = Default::default();
        for (n, e) in (0..).zip(&events) {
            let first = (n % 50 + e.seq / together) % 4;
            inputs[first as usize].push(e.clone());
            if below(8) == 0 {
                inputs[(first + 1 + below(3)) as usize % 4].push(e.clone());
                doubles += 1;
            }
        }
        prepare_each(&tier, &inputs);
        let mut spec = spec(50, tier.pin().files());
        spec.limits.batches_bytes = [1, 20_000, 1 << 20][round / 12];
        let merged = merge(&tier, &spec).unwrap();
        assert_eq!(merged.doubles, doubles, "round {round}");
        replace(&tier, &spec, merged).unwrap();
        holds_in_order(&tier, &events, &format!("round {round}"));
    }
}
