//! The format of manifests: round trip, damage, fixtures of every version.

use super::envelope::{Content, unwrap, wrap, wrap_within};
use super::*;
use crate::entry::{Bounds, FileEntry};
use crate::objects::{Objects, StoreObjects};
use crate::redaction::Redaction;
use crate::runs::RunRef;
use std::sync::Arc;
use strandline_event::{EventId, LogIndex, LogKey, Micros, Seq};

fn entry(n: u64) -> Arc<FileEntry> {
    let text = |t: &str| (format!("{t}-{n}"), format!("{t}-{}", n + 1));
    Arc::new(FileEntry {
        path: format!("dt=2026-01-01/part-n1-{n:010}.parquet"),
        bytes: 1000 + n,
        crc32c: 7,
        tail_bytes: 300,
        tail_crc32c: 8,
        tail: None,
        key: None,
        full: None,
        redacted_in: None,
        rows: 20,
        row_groups: 1,
        stream_type: "Call".to_owned(),
        bucket: 0,
        partition: vec![("dt".to_owned(), Some("2026-01-01".to_owned())), ("tenant_id".to_owned(), None)],
        bounds: Bounds {
            stream_id: text("stream"),
            seq: (Seq(1), Seq(9)),
            event_type: text("type"),
            tenant_id: None,
            occurred_at: (Micros(-5), Micros(1_767_225_600_000_000)),
            ingested_at: (Micros(1), Micros(2)),
            event_id: (EventId([0; 16]), EventId([255; 16])),
        },
        from_exclusive: LogIndex(0),
        through: LogIndex(n),
        job_id: u128::MAX - u128::from(n),
    })
}

fn manifest(files: u64) -> Manifest {
    let run = RunRef { path: "_runs/Call/heads-0-n1-1.run".to_owned(), bytes: 1, records: 2, crc32c: 3, job_id: 4 };
    let state = LogState {
        compacted_through: LogIndex(5),
        last_ingested_at: Micros(6),
        known_through: LogIndex(7),
        events: 20,
        last_job: 8,
        heads: vec![run],
        commands: Vec::new(),
        chunk_runs: Vec::new(),
        retired: Vec::new(),
        chunks: vec![ChunkMark { digest: [1; 16], number: 2, at: Micros(3) }],
    };
    let group = Group { segments: Vec::new(), inline: (0..files).map(entry).collect() };
    Manifest {
        version: 1,
        previous_crc32c: Some(9),
        store_name: "calls".to_owned(),
        store_id: [2; 16],
        digest_key: (u64::MAX, 3),
        epoch: 4,
        owner: "n1".to_owned(),
        job_id: 5,
        committed_at: Micros(1_767_225_600_000_000),
        file_seq: 44,
        config_text: "CREATE EVENTSTORE calls WITH (...)".to_owned(),
        logs_open: false,
        logs: [(LogKey::single("Call"), state)].into(),
        groups: [(("Call".to_owned(), "2026-01".to_owned()), group)].into(),
        replaced: ReplacedFiles::default(),
        tombstones: Tombstones::default(),
        redactions: Redactions::default(),
        buckets: Default::default(),
    }
}

fn replaced(n: u64) -> Replaced {
    Replaced {
        path: format!("old-{n}.parquet"),
        bytes: n,
        version: 4,
        at: Micros(9),
        job_id: u128::from(n) << 64,
        at_once: false,
    }
}

/// With everything that version 2 knows.
fn manifest_2(files: u64, gone: u64) -> Manifest {
    let mut manifest = manifest(files);
    manifest.replaced.inline = (0..gone).map(replaced).collect();
    let entry = (*entry(99_999)).clone();
    manifest.tombstones.inline.push(Tombstone { entry, at: Micros(11), job_id: 12 });
    for state in manifest.logs.values_mut() {
        state.retired = state.heads.clone();
    }
    manifest
}

fn redaction(n: u64) -> Redaction {
    Redaction {
        event_id: EventId([n as u8; 16]),
        stream_type: "Call".to_owned(),
        stream_id: format!("stream-{n}"),
        seq: Seq(n + 1),
        at: Micros(13),
        who: "ops".to_owned(),
        reason: n.is_multiple_of(2).then(|| "asked for".to_owned()),
    }
}

#[test]
fn redactions_round_trip_under_a_version_that_older_programs_refuse() {
    for count in [0, 1, 512, 513, 2000] {
        let objects = StoreObjects::memory().unwrap();
        let mut manifest = manifest_2(3, 0);
        manifest.redactions.inline = (0..count).map(redaction).collect();
        seal(&objects, &mut manifest).unwrap();
        put(&objects, &manifest).unwrap();
        let bytes = objects.get(&version_name(1)).unwrap();
        assert_eq!(bytes[12], if count == 0 { 2 } else { 3 }, "what redacts nothing stays readable for older programs");
        let (read, _) = read(&objects, 1).unwrap();
        assert_eq!(read, manifest);
        assert!(
            read.redactions.iter().cloned().eq((0..count).map(redaction)) && read.redactions.len() == count as usize
        );
        let (skeleton, _) = read_skeleton(&objects, 1).unwrap();
        let sealed = objects.list("segments").unwrap();
        assert_eq!(sealed.len(), usize::from(count > 512));
        assert!(sealed.iter().all(|info| skeleton.segment_paths().any(|path| path == info.path)), "it is kept");
    }
}

#[test]
fn manifests_round_trip_with_and_without_segments() {
    for files in [0, 1, 512, 513, 2000] {
        let objects = StoreObjects::memory().unwrap();
        let mut manifest = manifest(files);
        seal(&objects, &mut manifest).unwrap();
        let Ok(Put::Ours(crc)) = put(&objects, &manifest) else { panic!("it is created") };
        let (read, read_crc) = read(&objects, 1).unwrap();
        assert_eq!((&read, read_crc), (&manifest, crc));
        assert_eq!(read.files().count() as u64, files);
        assert_eq!(objects.list("segments").unwrap().len(), usize::from(files > 512));
        let other = Manifest { job_id: 99, ..manifest.clone() };
        assert!(matches!(put(&objects, &other), Ok(Put::Others)));
        assert!(
            matches!(put(&objects, &manifest), Ok(Put::Ours(again)) if again == crc),
            "an earlier try of ours did it"
        );
        assert_eq!(versions(&objects).unwrap(), [1]);
    }
}

#[test]
fn any_flipped_byte_is_noticed() {
    let good = wrap(Content::Version, b"{\"some\":\"json\"}").unwrap();
    assert_eq!(unwrap(Content::Version, &good).unwrap(), b"{\"some\":\"json\"}");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(unwrap(Content::Version, &bad).is_err(), "byte {at}");
        assert!(unwrap(Content::Version, &good[..at]).is_err());
    }
    assert!(unwrap(Content::Segment, &good).is_err());
    assert!(wrap_within(Content::Version, b"{}", 1).is_err() && wrap_within(Content::Version, b"{}", 2).is_ok());
    let mut newer = good;
    newer[12] = 6;
    assert_eq!(unwrap(Content::Version, &newer), Err(EnvelopeError::Version(6)));
    newer[12] = 0;
    assert_eq!(unwrap(Content::Version, &newer), Err(EnvelopeError::Version(0)));
}

#[test]
fn replaced_files_and_tombstones_round_trip() {
    for gone in [0, 1, 512, 513, 2000] {
        let objects = StoreObjects::memory().unwrap();
        let mut manifest = manifest_2(5, gone);
        manifest.logs_open = gone.is_multiple_of(2);
        seal(&objects, &mut manifest).unwrap();
        put(&objects, &manifest).unwrap();
        let read = read(&objects, 1).unwrap().0;
        assert_eq!(read, manifest);
        assert!(read.replaced.iter().cloned().eq((0..gone).map(replaced)));
        assert_eq!(objects.list("segments").unwrap().len(), usize::from(gone > 512));
    }
}

#[test]
fn a_segment_of_replaced_files_goes_when_all_of_them_are_gone() {
    let objects = StoreObjects::memory().unwrap();
    let mut manifest = manifest_2(0, 600);
    seal(&objects, &mut manifest).unwrap();
    manifest.replaced.inline = vec![replaced(600), replaced(601)];
    let path = |n: u64| replaced(n).path;
    manifest.replaced.forget(&(1..601).map(path).collect());
    assert_eq!(manifest.replaced.iter().count(), 601, "one of the segment is still there");
    manifest.replaced.forget(&(0..601).map(path).collect());
    assert!(manifest.replaced.iter().eq(&[replaced(601)]));
}

#[test]
fn files_leave_lists_and_segments() {
    let objects = StoreObjects::memory().unwrap();
    let mut manifest = manifest(0);
    manifest.groups.clear();
    manifest.add_files((0..600).map(entry));
    seal(&objects, &mut manifest).unwrap();
    manifest.add_files((600..610).map(entry));
    let all = |m: &Manifest| m.files().map(|f| f.path.clone()).collect::<std::collections::BTreeSet<_>>();
    let before = all(&manifest);
    manifest.clone().remove_files(&[entry(3), entry(3)]).unwrap_err();
    manifest.clone().remove_files(&[entry(3), entry(610)]).unwrap_err();
    manifest.remove_files(&[entry(605)]).unwrap();
    assert_eq!(manifest.groups.values().next().unwrap().segments.len(), 1, "the segment is not touched");
    manifest.remove_files(&[entry(3), entry(599), entry(609)]).unwrap();
    let gone: std::collections::BTreeSet<_> = [605, 3, 599, 609].map(|n| entry(n).path.clone()).into();
    assert_eq!(all(&manifest), before.difference(&gone).cloned().collect());
    seal(&objects, &mut manifest).unwrap();
    assert_eq!(manifest.groups.values().map(|g| (g.segments.len(), g.inline.len())).next(), Some((1, 0)));
    let rest: Vec<_> = manifest.files().cloned().collect();
    manifest.remove_files(&rest).unwrap();
    assert!(manifest.groups.is_empty());
}

/// `STRANDLINE_GOLDEN=write` writes the fixture of the newest version anew: only while nobody has written that version yet.
fn golden(name: &str, now: &[u8]) -> Vec<u8> {
    let path = format!("{}/fixtures/{name}.json.zst", env!("CARGO_MANIFEST_DIR"));
    if name.ends_with("-v5") && std::env::var("STRANDLINE_GOLDEN").is_ok_and(|v| v == "write") {
        std::fs::write(&path, now).unwrap();
    }
    std::fs::read(path).unwrap()
}

/// The objects of a sealed manifest as they are written now, the version file last.
fn written(mut manifest: Manifest) -> (Manifest, Vec<(String, bytes::Bytes)>) {
    let objects = StoreObjects::memory().unwrap();
    seal(&objects, &mut manifest).unwrap();
    put(&objects, &manifest).unwrap();
    let paths = objects.list("").unwrap().into_iter().map(|info| info.path);
    (manifest, paths.map(|path| (path.clone(), objects.get(&path).unwrap())).collect())
}

/// Reads fixtures under the names that the objects of `manifest` have.
fn read_fixtures(manifest: Manifest, names: &[&str]) -> (Manifest, Manifest) {
    let (manifest, written) = written(manifest);
    assert_eq!(written.len(), names.len());
    let old = StoreObjects::memory().unwrap();
    for ((path, now), name) in written.iter().zip(names) {
        old.put_new(path, &golden(name, now)).unwrap();
    }
    (read(&old, 1).unwrap().0, manifest)
}

#[test]
fn version_1_stays_readable() {
    let (read, expected) = read_fixtures(manifest(3), &["manifest-v1"]);
    assert_eq!(read, expected);
    let (read, expected) = read_fixtures(manifest(600), &["manifest-segment-v1", "manifest-sealed-v1"]);
    assert!(read.files().eq(expected.files()) && read.replaced == ReplacedFiles::default());
}

#[test]
fn version_2_stays_readable() {
    let (read, expected) = read_fixtures(manifest_2(3, 2), &["manifest-v2"]);
    assert_eq!(read, expected);
    let names = ["manifest-segment-v2", "manifest-replaced-v2", "manifest-sealed-v2"];
    let (read, expected) = read_fixtures(manifest_2(600, 600), &names);
    assert_eq!(read, expected);
}

#[test]
fn version_3_stays_readable() {
    let redacting = |count| {
        let mut manifest = manifest_2(3, 2);
        manifest.redactions.inline = (0..count).map(redaction).collect();
        manifest
    };
    let (read, expected) = read_fixtures(redacting(3), &["manifest-v3"]);
    assert_eq!(read, expected);
    let (read, expected) = read_fixtures(redacting(600), &["manifest-redactions-v3", "manifest-sealed-v3"]);
    assert_eq!(read, expected);
}

/// With stream types of several buckets, too.
fn manifest_4(files: u64, gone: u64, redacted: u64) -> Manifest {
    let mut manifest = manifest_2(files, gone);
    manifest.redactions.inline = (0..redacted).map(redaction).collect();
    manifest.buckets = [("Call".to_owned(), 4), ("a/b \u{e9}".to_owned(), 256)].into();
    let second = LogKey { bucket: 3, ..LogKey::single("Call") };
    manifest.logs.insert(second, LogState { events: 1, ..LogState::default() });
    manifest
}

#[test]
fn version_4_stays_readable() {
    let (read, expected) = read_fixtures(manifest_4(3, 2, 3), &["manifest-v4"]);
    assert_eq!(read, expected);
}

fn tombstone(n: u64) -> Tombstone {
    Tombstone { entry: (*entry(10_000 + n)).clone(), at: Micros(11 + n as i64), job_id: u128::from(n) << 64 }
}

/// With so many tombstones, too.
fn manifest_5(buried: u64) -> Manifest {
    let mut manifest = manifest_4(3, 2, 3);
    manifest.tombstones.inline = (0..buried).map(tombstone).collect();
    manifest
}

#[test]
fn version_5_stays_readable() {
    let (read, expected) = read_fixtures(manifest_5(600), &["manifest-tombstones-v5", "manifest-v5"]);
    assert!(read.tombstones.iter().eq(expected.tombstones.iter()) && read.tombstones.len() == 600);
    // the segment's checksum is that of its bytes
    let others = |manifest: Manifest| Manifest { tombstones: Tombstones::default(), ..manifest };
    assert_eq!(others(read), others(expected));
}

#[test]
fn tombstones_round_trip_under_a_version_that_older_programs_refuse() {
    for buried in [0, 1, 512, 513, 2000] {
        let objects = StoreObjects::memory().unwrap();
        let mut manifest = manifest_5(buried);
        seal(&objects, &mut manifest).unwrap();
        put(&objects, &manifest).unwrap();
        let is_sealed = buried > 512;
        assert_eq!(objects.get(&version_name(1)).unwrap()[12], if is_sealed { 5 } else { 4 });
        let (read, _) = read(&objects, 1).unwrap();
        assert_eq!(read, manifest);
        assert!(read.tombstones.iter().cloned().eq((0..buried).map(tombstone)));
        assert_eq!((read.tombstones.len() as u64, read.tombstones.is_empty()), (buried, buried == 0));
        let (skeleton, _) = read_skeleton(&objects, 1).unwrap();
        let sealed = objects.list("segments").unwrap();
        assert_eq!(sealed.len(), usize::from(is_sealed));
        assert!(sealed.iter().all(|info| skeleton.segment_paths().any(|path| path == info.path)), "it is kept");
    }
}

#[test]
fn tombstones_leave_lists_and_segments() {
    let objects = StoreObjects::memory().unwrap();
    let mut manifest = manifest_5(600);
    seal(&objects, &mut manifest).unwrap();
    manifest.tombstones.inline = (600..1200).map(tombstone).collect();
    manifest.version += 1;
    seal(&objects, &mut manifest).unwrap();
    manifest.tombstones.inline = (1200..1210).map(tombstone).collect();
    assert_eq!(manifest.tombstones.take_out(|_| false), []);
    assert_eq!((manifest.tombstones.segments.len(), manifest.tombstones.len()), (2, 1210));
    // of the first segment and of the list; the second is not touched
    let is_out = |t: &Tombstone| t.at < tombstone(100).at || *t == tombstone(1205);
    let taken = manifest.tombstones.take_out(is_out);
    assert!(taken.iter().cloned().eq((0..100).chain([1205]).map(tombstone)));
    assert_eq!((manifest.tombstones.segments.len(), manifest.tombstones.inline.len()), (1, 509));
    assert_eq!(manifest.tombstones.iter().filter(|t| is_out(t)).count(), 0);
    assert_eq!(manifest.tombstones.take_out(|_| true).len(), 1109);
    assert_eq!(manifest.tombstones, Tombstones::default());
}

/// A restore may take some of every segment out.
#[test]
fn what_is_left_of_many_segments_of_tombstones_is_sealed_in_parts() {
    let objects = StoreObjects::memory().unwrap();
    let mut manifest = manifest_5(0);
    manifest.tombstones.inline.extend((0..10_000).map(tombstone));
    seal(&objects, &mut manifest).unwrap();
    let counts: Vec<usize> = manifest.tombstones.segments.iter().map(|(_, files)| files.len()).collect();
    assert_eq!(counts, [4_096, 4_096, 1_808]);
    put(&objects, &manifest).unwrap();
    assert_eq!(read(&objects, 1).unwrap().0, manifest);
}

/// The arithmetic of `SCALE.md`, "Retention": 2,500 files a day, a commit each for some, a grace period of 7 days.
#[test]
fn a_version_stays_small_however_much_is_under_tombstones() {
    let objects = StoreObjects::memory().unwrap();
    let mut manifest = manifest_5(0);
    for commit in 0..175 {
        manifest.tombstones.inline.extend((commit * 100..commit * 100 + 100).map(tombstone));
        manifest.version += 1;
        seal(&objects, &mut manifest).unwrap();
        assert!(manifest.tombstones.inline.len() <= 512);
    }
    // from here on as many end their grace period as come
    for commit in 175..200 {
        let over = tombstone((commit - 174) * 100).at;
        assert_eq!(manifest.tombstones.take_out(|t| t.at < over).len(), 100);
        manifest.tombstones.inline.extend((commit * 100..commit * 100 + 100).map(tombstone));
        manifest.version += 1;
        seal(&objects, &mut manifest).unwrap();
        assert!(manifest.tombstones.inline.len() <= 512 && manifest.tombstones.segments.len() <= 36);
        assert_eq!(manifest.tombstones.len(), 17_500);
    }
    put(&objects, &manifest).unwrap();
    let bytes = objects.get(&version_name(manifest.version)).unwrap().len();
    assert!(bytes < 80_000, "{bytes} bytes");
}

#[test]
fn buckets_round_trip_under_a_version_that_older_programs_refuse() {
    for redacted in [0, 3, 600] {
        let objects = StoreObjects::memory().unwrap();
        let mut manifest = manifest_4(3, 0, redacted);
        seal(&objects, &mut manifest).unwrap();
        put(&objects, &manifest).unwrap();
        assert_eq!(objects.get(&version_name(1)).unwrap()[12], 4);
        assert_eq!(read(&objects, 1).unwrap().0, manifest);
        for sealed in objects.list("segments").unwrap() {
            assert_eq!(objects.get(&sealed.path).unwrap()[12], 3, "a segment says nothing of buckets");
        }
    }
}

#[test]
fn checkpoints_stay_readable() {
    use super::checkpoint::{Checkpoint, Mark, marks, put, read};
    let checkpoint =
        Checkpoint { version: 1234, first: 1200, previous_crc32c: Some(7), at: Micros(1_795_428_000_000_000) };
    let objects = StoreObjects::memory().unwrap();
    put(&objects, &checkpoint).unwrap();
    let path = "checkpoints/c00000000000000001234-00000000000000001200.json.zst";
    let now = objects.get(path).unwrap();
    let old = StoreObjects::memory().unwrap();
    old.put_new(path, &golden("manifest-checkpoint-v2", &now)).unwrap();
    assert_eq!(marks(&old).unwrap(), [Mark { version: 1234, first: 1200 }]);
    assert_eq!(read(&old, checkpoint.mark()).unwrap(), checkpoint);
    // none of this name is read as another one
    old.put_new(&Mark { version: 9, first: 1 }.path(), &now).unwrap();
    assert!(read(&old, Mark { version: 9, first: 1 }).is_err());
}

#[test]
fn months_that_are_over_do_not_stay_inline() {
    let objects = StoreObjects::memory().unwrap();
    let group = |n| Group { segments: Vec::new(), inline: (0..n).map(entry).collect() };
    let key = |stream_type: &str, month: &str| (stream_type.to_owned(), month.to_owned());
    let mut manifest = manifest(0);
    manifest.groups = [
        (key("Call", "2026-01"), group(65)),
        (key("Call", "2026-02"), group(64)),
        (key("Call", "2026-03"), group(512)),
        (key("Call", NO_MONTH), group(65)),
        (key("Other", "2026-01"), group(100)),
    ]
    .into();
    seal(&objects, &mut manifest).unwrap();
    let inline: Vec<_> = manifest.groups.values().map(|g| g.inline.len()).collect();
    assert_eq!(inline, [0, 64, 512, 0, 100], "the newest month of each type stays inline up to 512");
    assert_eq!(manifest.files().count(), 65 + 64 + 512 + 65 + 100);
}

#[test]
fn chunk_marks_that_a_version_does_not_list_are_handed_out() {
    let mut state = LogState::default();
    let now = Micros(1_000_000_000_000_000);
    let mark = |n: u32, number, at| ChunkMark { digest: u128::from(n).to_be_bytes(), number, at };
    let old = state.add_chunks(&[mark(1, 5, now), mark(1, 3, now), mark(2, 9, Micros(0))], now);
    assert_eq!((old, &state.chunks), (vec![mark(2, 9, Micros(0))], &vec![mark(1, 5, now)]), "the highest number stays");
    let many: Vec<_> = (0..2000).map(|n| mark(n, 9, now.plus_us(i64::from(n)))).collect();
    let over = state.add_chunks(&many, now.plus_us(5000));
    assert_eq!((state.chunks.len(), over.len()), (512, 1488));
    assert!(state.chunks.contains(&mark(1999, 9, now.plus_us(1999))) && over.contains(&mark(1, 9, now.plus_us(1))));
}

/// Lists as a bucket does: a part at a time; counts the requests.
struct Paged {
    names: Vec<u64>,
    asked: std::cell::Cell<u32>,
}

/// What a search for the end finds, and the requests that it takes.
fn newest_of(versions: impl Iterator<Item = u64>, known: u64) -> (Option<u64>, u32) {
    let paged = Paged { names: versions.collect(), asked: std::cell::Cell::new(0) };
    let page = |after: u64, limit: usize| {
        paged.asked.set(paged.asked.get() + 1);
        let start = paged.names.partition_point(|v| *v <= after);
        let page = &paged.names[start..paged.names.len().min(start + limit)];
        (page.last().copied(), page.len() < limit)
    };
    let found = super::files::search(known, |after| Ok::<_, ()>(page(after, 1000))).unwrap();
    (found, paged.asked.get())
}

#[test]
fn the_newest_version_is_found_in_few_requests() {
    for count in [0, 1, 2, 999, 1000, 1001, 1999, 2000, 2001, 123_456, 1_000_000] {
        let (found, asked) = newest_of(1..=count, 0);
        assert_eq!(found, (count > 0).then_some(count), "{count}");
        assert!(asked <= 24, "{count}: {asked} requests");
        assert_eq!(newest_of(1..=count, count), (None, 1), "nothing above {count}");
        let folded = count / 3 * 2;
        let left = newest_of(folded.max(1)..=count, 0).0;
        assert_eq!(left, (count > 0).then_some(count), "older ones were folded away: {count}");
        if count > 7 {
            assert_eq!(newest_of(1..=count, count - 7), (Some(count), 1));
        }
    }
}

#[test]
fn an_entry_says_under_which_keys_it_was_full() {
    let full = Some(crate::entry::FullUnder { target_bytes: 1 << 20, max_bytes: 1 << 21 });
    let entry = FileEntry { full, ..(*entry(1)).clone() };
    let json = serde_json::to_string(&entry).unwrap();
    assert!(json.contains(r#""full":{"target_bytes":1048576,"max_bytes":2097152}"#), "{json}");
    assert_eq!(serde_json::from_str::<FileEntry>(&json).unwrap(), entry);
}
