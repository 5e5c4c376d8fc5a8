//! What is damaged or gone: named, refused where it must be, made anew where it can be; the rest serves.

use super::*;
use crate::objects::{Fault, LocalObjects, Objects as _, StoreObjects};
use crate::runs::RunKind;
use crate::testing::*;
use crate::{RowFilter, StreamQuery};
use std::path::Path;
use strandline_event::hash::{bytes_hash, keyed_hash, stream_hash};
use strandline_event::{ErrorKind, LogIndex, LogKey, Seq};

fn no_keys(_: &LogKey, _: u128, _: &str) -> Option<u128> {
    None
}

fn by_id(_: &LogKey, _: u128, id: &str) -> Option<u128> {
    Some(bytes_hash(id.as_bytes()))
}

/// A store with two jobs of the same streams, so that heads and commands were merged or stand in several runs.
fn prepare(root: &Path, events: &[Owned]) {
    let tier = open(root, &config(", partition.by = 'dt'"));
    let half = events.len() / 2;
    for (n, part) in [&events[..half], &events[half..]].into_iter().enumerate() {
        commit_job(&tier, &job(n as u128 + 1, n as u64 * 100, (n as u64 + 1) * 100), part);
    }
}

fn run_path(tier: &DurableTier, root: &Path, kind: RunKind) -> PathBuf {
    let snapshot = tier.pin();
    let state = snapshot.log(&log()).unwrap();
    let runs = match kind {
        RunKind::Heads => &state.heads,
        RunKind::Commands => &state.commands,
        RunKind::Chunks => &state.chunk_runs,
        RunKind::Retired => &state.retired,
    };
    root.join("data").join(&runs.last().unwrap().path)
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[3] ^= 1;
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn rows(tier: &DurableTier) -> usize {
    tier.pin().scan(&RowFilter::default()).map(|batch| batch.unwrap().rows()).sum()
}

#[test]
fn a_broken_run_of_heads_stops_lookups_only_and_is_made_anew() {
    for gone in [false, true] {
        let (dir, events) = (tempfile::tempdir().unwrap(), history(1000));
        prepare(dir.path(), &events);
        let config = config(", partition.by = 'dt'");
        let tier = open(dir.path(), &config);
        let expected: Vec<_> = tier.pin().heads(&log()).collect();
        let path = run_path(&tier, dir.path(), RunKind::Heads);
        drop(tier);
        if gone {
            std::fs::remove_file(&path).unwrap()
        } else {
            damage(&path)
        }

        let tier = open(dir.path(), &config);
        let broken = tier.pin().head(&log(), stream_hash("stream-007")).unwrap_err();
        assert!(broken.to_string().contains("heads-0-n1-") && broken.kind == RunKind::Heads, "{broken}");
        assert_eq!(tier.pin().broken_run(&log(), RunKind::Heads), Some(&broken));
        assert_eq!(rows(&tier), 1000, "reads go on");
        assert!(tier.pin().command(&log(), bytes_hash(b"cmd-7")).unwrap().is_some());
        let found = crate::verify_manifests(&tier);
        assert!(found.iter().any(|f| f.place == broken.path), "{found:?}");
        let next = job(9, 200, 300);
        let more: Vec<_> = (1000..1010).map(owned).collect();
        let files = write(&tier, &next, &more).unwrap();
        let error = tier.commit(&commit(&next, files, &more)).err().unwrap();
        assert!(matches!(error, CommitError::BrokenRun(_)), "{error}");

        let rebuilt = tier.rebuild_runs(&no_keys, 77, Micros(START_US));
        assert_eq!(rebuilt.len(), 1);
        assert_eq!(*rebuilt[0].outcome.as_ref().unwrap(), 50);
        assert!(tier.pin().heads(&log()).eq(expected.iter().copied()), "first and last seq, and the owner");
        assert!(
            tier.rebuild_runs(&no_keys, 78, Micros(START_US)).is_empty() && crate::verify_manifests(&tier).is_empty()
        );
        drop(tier);
        let tier = open(dir.path(), &config);
        assert!(tier.pin().heads(&log()).eq(expected));
    }
}

#[test]
fn a_crash_at_any_operation_of_a_rebuilding_is_harmless() {
    let (before, config) = (tempfile::tempdir().unwrap(), config(", partition.by = 'dt'"));
    prepare(before.path(), &history(1000));
    let tier = open(before.path(), &config);
    let expected: Vec<_> = tier.pin().heads(&log()).collect();
    let path = run_path(&tier, before.path(), RunKind::Heads);
    drop(tier);
    damage(&path);
    let all_well = |rebuilt: Vec<Rebuilt>| rebuilt.iter().all(|one| one.outcome.is_ok());
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::LostAnswer, Fault::FailOnce] {
        let mut failed = 0;
        for at in 1.. {
            let (dir, flaky, opened) = open_faulty(before.path(), &config, (at, fault), 78);
            let done = opened.as_ref().is_ok_and(|tier| all_well(tier.rebuild_runs(&no_keys, 77, Micros(START_US))));
            failed += u32::from(!done);
            drop(opened);
            let tier = open(dir.path(), &config);
            assert!(all_well(tier.rebuild_runs(&no_keys, 79, Micros(START_US))), "{fault:?} at {at}");
            assert!(tier.pin().heads(&log()).eq(expected.iter().copied()), "{fault:?} at {at}");
            assert_eq!((rows(&tier), crate::verify_manifests(&tier)), (1000, Vec::new()), "{fault:?} at {at}");
            if flaky.operations() < at {
                break;
            }
        }
        assert!(failed > 1, "{fault:?}: something failed");
    }
}

#[test]
fn rebuilt_commands_are_known_and_equal_to_nothing() {
    let (dir, events) = (tempfile::tempdir().unwrap(), history(1000));
    prepare(dir.path(), &events);
    let config = config(", partition.by = 'dt'");
    let tier = open(dir.path(), &config);
    let before = tier.pin().command(&log(), bytes_hash(b"cmd-700")).unwrap().unwrap();
    let path = run_path(&tier, dir.path(), RunKind::Commands);
    drop(tier);
    damage(&path);
    let tier = open(dir.path(), &config);
    assert!(tier.pin().command(&log(), bytes_hash(b"cmd-700")).is_err());
    let heads = tier.pin().head(&log(), stream_hash("stream-007"));
    assert!(heads.unwrap().is_some(), "heads are not concerned");
    assert!(tier.rebuild_runs(&by_id, 5, Micros(START_US))[0].outcome.is_ok());
    for n in (0..1000).step_by(7) {
        let found = tier.pin().command(&log(), bytes_hash(format!("cmd-{n}").as_bytes())).unwrap().unwrap();
        assert_eq!((found.first_seq, found.count, found.digest), (Seq(n / 50 + 1), 1, 0));
        assert_eq!(found.ingested_at, Micros(events[n as usize].ingested_at));
    }
    assert_ne!(before.digest, 0);
    assert_eq!(tier.pin().command(&log(), bytes_hash(b"cmd-1")), Ok(None));
}

#[test]
fn what_cannot_be_made_anew_stays_refused_and_says_why() {
    let (dir, events) = (tempfile::tempdir().unwrap(), history(1000));
    prepare(dir.path(), &events);
    let config = config(", partition.by = 'dt'");
    let tier = open(dir.path(), &config);
    let path = run_path(&tier, dir.path(), RunKind::Heads);
    let file = tier.local_path(&tier.pin().files()[0]).unwrap();
    drop(tier);
    damage(&path);
    damage(&file);
    let tier = open(dir.path(), &config);
    let rebuilt = tier.rebuild_runs(&no_keys, 5, Micros(START_US));
    let error = rebuilt[0].outcome.as_ref().unwrap_err();
    assert!(matches!(error, RebuildError::Read(_)) && error.to_string().contains(".parquet"), "{error}");
    assert!(tier.pin().head(&log(), stream_hash("stream-007")).is_err());
}

#[test]
fn a_data_file_that_is_gone_fails_only_the_reads_that_need_it() {
    let (dir, events) = (tempfile::tempdir().unwrap(), history(1000));
    prepare(dir.path(), &events);
    let config = config(", partition.by = 'dt'");
    let tier = open(dir.path(), &config);
    let file = Arc::clone(&tier.pin().files()[0]);
    // under its own name and as the Delta log knows it
    while let Some(path) = tier.local_path(&file) {
        std::fs::remove_file(path).unwrap();
    }
    drop(tier);
    let tier = open(dir.path(), &config);
    assert!(tier.open_warnings().iter().any(|w| w.contains(&file.path)), "{:?}", tier.open_warnings());
    let error = tier.pin().scan(&RowFilter::default()).find_map(Result::err).unwrap();
    assert!(error.to_string().contains(&file.path) && error.kind() == ErrorKind::Integrity, "{error}");
    let found = crate::verify_file(&tier, &file);
    assert!(found[0].place == file.path && found[0].what.contains("not there"), "{found:?}");
    for other in &tier.pin().files()[1..] {
        assert!(tier.pin().scan_file(other).all(|batch| batch.is_ok()));
    }
    let more: Vec<_> = (1000..1010).map(owned).collect();
    commit_job(&tier, &job(9, 200, 300), &more);
    let query = StreamQuery {
        stream_type: "Call",
        stream_id: "stream-005",
        from_seq: Seq(21),
        to_seq: Seq(21),
        descending: false,
        limit: 9,
    };
    assert_eq!(tier.pin().stream(&query).unwrap().len(), 1, "what does not need the file is served");
}

#[test]
fn chunk_marks_are_kept_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let digest = |n: u64| keyed_hash(1, 2, &[&n.to_le_bytes()]).to_be_bytes();
    for n in 0..8_u64 {
        let job = job(u128::from(n) + 1, n, n + 1);
        let mut commit = commit(&job, Vec::new(), &[]);
        commit.at = Micros(START_US).plus_us(n as i64 * 40 * 86_400_000_000);
        commit.chunks = (0..300)
            .map(|i| crate::ChunkMark { digest: digest(n * 300 + i), number: n + 1, at: commit.at })
            .chain([crate::ChunkMark { digest: [9; 16], number: n + 1, at: commit.at }])
            .collect();
        tier.commit(&commit).unwrap();
    }
    drop(tier);
    let tier = open(dir.path(), &config(""));
    let snapshot = tier.pin();
    assert!(snapshot.log(&log()).unwrap().chunks.len() <= 301, "a version lists recent ones");
    for n in 0..2400 {
        assert_eq!(snapshot.chunk_mark(&log(), &digest(n)), Ok(n / 300 + 1), "{n}");
    }
    assert_eq!(snapshot.chunk_mark(&log(), &[9; 16]), Ok(8));
    assert_eq!(snapshot.chunk_mark(&log(), &[8; 16]), Ok(0));
    assert_eq!(snapshot.watermark(&log()), LogIndex(8));
    damage(&run_path(&tier, dir.path(), RunKind::Chunks));
    drop((tier, snapshot));
    let tier = open(dir.path(), &config(""));
    assert!(tier.pin().chunk_mark(&log(), &digest(0)).is_err(), "never taken for unknown");
    assert_eq!(tier.pin().chunk_mark(&log(), &digest(2399)), Ok(8));
}

#[test]
fn a_stream_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let events = history(1000);
    commit_job(&tier, &job(1, 0, 100), &events);
    let again = job(2, 100, 200);
    for (from_seq, through) in [(20, 21), (19, 30), (20, 20), (1, 1)] {
        let head = crate::HeadRecord {
            stream: stream_hash("stream-003"),
            first_seq: Seq(from_seq),
            last_seq: Seq(through),
            owner_tenant: 5,
        };
        let error = tier.commit(&crate::Commit { heads: vec![head], ..commit(&again, Vec::new(), &[]) }).err().unwrap();
        assert!(matches!(error, CommitError::SeqBehind { head: Seq(20), .. }), "{error}");
    }
    let before = tier.pin().head(&log(), stream_hash("stream-003")).unwrap().unwrap();
    let head = crate::HeadRecord { first_seq: Seq(25), last_seq: Seq(30), owner_tenant: 5, ..before };
    tier.commit(&crate::Commit { heads: vec![head], ..commit(&again, Vec::new(), &[]) }).unwrap();
    let after = tier.pin().head(&log(), stream_hash("stream-003")).unwrap().unwrap();
    assert_eq!(after, crate::HeadRecord { last_seq: Seq(30), ..before }, "first seq and owner stay");
}

#[test]
fn pages_are_bounded_by_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut events = history(1000);
    for e in &mut events {
        e.data = format!("\"{}\"", "x".repeat(20_000));
    }
    for keys in ["", ", stats.enabled = false", ", partition.by = 'dt'"] {
        let root = dir.path().join(keys.len().to_string());
        let tier = open(&root, &config(keys));
        commit_job(&tier, &job(1, 0, 100), &events);
        let (snapshot, through, filter) = (tier.pin(), Micros(i64::MAX), RowFilter::default());
        let mut after = strandline_event::Position::START;
        let mut seen = 0;
        loop {
            let page = snapshot.by_ingested_within(after, through, &filter, 32_768, 1_000_000).unwrap();
            assert!(page.len() <= 60, "{keys}: {} rows of 20 kB in a page of 1 MB", page.len());
            seen += page.len();
            if page.complete {
                break;
            }
            assert!(page.len() >= 2);
            after = page.row(page.len() - 1).position();
        }
        assert_eq!(seen, 1000);
        let (from_seq, to_seq) = (Seq(1), Seq(u64::MAX));
        for descending in [false, true] {
            let query =
                StreamQuery { stream_type: "Call", stream_id: "stream-007", from_seq, to_seq, descending, limit: 1000 };
            let page = snapshot.stream_within(&query, 100_000).unwrap();
            assert!(!page.complete && (2..=6).contains(&page.len()), "{keys}: {}", page.len());
            assert_eq!(page.row(0).seq, if descending { Seq(20) } else { Seq(1) });
            assert!(snapshot.stream(&query).unwrap().complete);
            assert_eq!(snapshot.stream_within(&query, 0).unwrap().len(), 2, "a reader always gets on");
        }
    }
}

/// `STRANDLINE_GOLDEN=write` writes the fixture of the newest version anew: only for a version that nobody has written yet.
#[test]
fn data_files_of_every_version_stay_readable() {
    let (events, job) = (history(20), job(1, 0, 10));
    let memory = || -> (SharedObjects, SharedObjects) {
        let new = || crate::objects::StoreObjects::memory().unwrap();
        (Arc::new(new()), Arc::new(new()))
    };
    let open = |data: &SharedObjects, manifests| {
        DurableTier::open_with(Arc::clone(data), manifests, &config(", partition.by = 'dt'"), options(1)).unwrap()
    };
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");
    if std::env::var("STRANDLINE_GOLDEN").is_ok_and(|v| v == "write") {
        let (data, manifests) = memory();
        let files = write(&open(&data, manifests), &job, &events).unwrap();
        for (n, file) in files.iter().enumerate() {
            std::fs::write(format!("{folder}/data-v2-{n}.parquet"), data.get(&file.path).unwrap()).unwrap();
        }
        return std::fs::write(format!("{folder}/data-v2.json"), serde_json::to_vec_pretty(&files).unwrap()).unwrap();
    }
    for version in [1, 2] {
        let (data, manifests) = memory();
        let tier = open(&data, manifests);
        let list = std::fs::read_to_string(format!("{folder}/data-v{version}.json")).unwrap();
        let entries: Vec<FileEntry> = serde_json::from_str(&list).unwrap();
        assert!(entries.iter().all(|entry| entry.tail.is_some() == (version > 1)));
        for (n, entry) in entries.iter().enumerate() {
            let bytes = std::fs::read(format!("{folder}/data-v{version}-{n}.parquet")).unwrap();
            data.put_new(&entry.path, &bytes).unwrap();
        }
        tier.commit(&commit(&job, entries, &events)).unwrap();
        assert_eq!(super::tests::all(&tier.pin()), events, "version {version}");
        for event in &events {
            assert_eq!(tier.pin().find_event_id(event.event_id).unwrap().len(), 1, "version {version}");
            let (from_seq, to_seq) = (Seq(event.seq), Seq(event.seq));
            let stream_id = &event.stream_id;
            let query = StreamQuery { stream_type: "Call", stream_id, from_seq, to_seq, descending: false, limit: 9 };
            assert_eq!(tier.pin().stream(&query).unwrap().len(), 1, "version {version}");
        }
        for file in tier.pin().files() {
            assert_eq!(crate::verify_file(&tier, file), []);
        }
    }
}

#[test]
fn what_stands_in_the_place_of_the_newest_manifest_is_named() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), &history(10));
    let (data, manifests) = folders(dir.path());
    let newest = manifests.list("").unwrap().into_iter().map(|info| info.path).filter(|p| p.starts_with('v')).max();
    let version = crate::manifest::versions(&*manifests).unwrap().pop().unwrap();
    let place = walk(dir.path(), newest.unwrap().rsplit('/').next().unwrap()).unwrap();
    std::fs::remove_file(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    let opened = DurableTier::open_with(data, manifests, &config(", partition.by = 'dt'"), options(9));
    assert!(matches!(opened, Err(OpenError::Obstructed { version: found }) if found == version));
}

/// The file of this name below a folder.
fn walk(folder: &Path, name: &str) -> Option<PathBuf> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find_map(|path| if path.is_dir() { walk(&path, name) } else { (path.file_name()? == name).then_some(path) })
}

#[test]
fn data_files_without_any_manifest_are_no_new_store() {
    let (dir, config) = (tempfile::tempdir().unwrap(), config(""));
    prepare(dir.path(), &history(100));
    let unmounted: SharedObjects = Arc::new(LocalObjects::open(&dir.path().join("unmounted")).unwrap());
    let before = list(&dir.path().join("data"));
    for _ in 0..2 {
        let (data, manifests) = (folders(dir.path()).0, Arc::clone(&unmounted));
        let read = DurableTier::open_read_only_with(Arc::clone(&data), Arc::clone(&manifests), &config);
        let owned = DurableTier::open_with(data, manifests, &config, options(78));
        for refused in [read, owned].map(|outcome| outcome.err().unwrap()) {
            assert!(matches!(refused, OpenError::ManifestsGone { .. }), "{refused}");
            assert_eq!(refused.kind(), ErrorKind::Integrity);
            assert!(refused.to_string().contains("/nowhere/_manifests"), "both places: {refused}");
        }
    }
    assert_eq!(list(&dir.path().join("data")), before, "nothing was touched");
    assert_eq!(rows(&open(dir.path(), &config)), 100);
}

fn list(root: &Path) -> Vec<String> {
    LocalObjects::open(root).unwrap().list("").unwrap().into_iter().map(|info| info.path).collect()
}

#[test]
fn objects_of_others_and_an_unborn_store_are_no_leftovers() {
    let (dir, config) = (tempfile::tempdir().unwrap(), config(""));
    std::fs::create_dir_all(dir.path().join("data/photos")).unwrap();
    std::fs::write(dir.path().join("data/photos/a.jpg"), "x").unwrap();
    open(dir.path(), &config);
}

#[test]
fn an_object_store_without_manifests_is_no_new_store_either() {
    let (config, data) = (config(""), Arc::new(StoreObjects::memory().unwrap()));
    let manifests = || -> SharedObjects { Arc::new(StoreObjects::memory().unwrap()) };
    let tier = DurableTier::open_with(data.clone(), manifests(), &config, options(1)).unwrap();
    commit_job(&tier, &job(1, 0, 9), &history(9));
    let refused = DurableTier::open_with(data, manifests(), &config, options(2)).err().unwrap();
    assert!(matches!(refused, OpenError::ManifestsGone { .. }), "{refused}");
}

#[test]
fn the_newest_manifest_alone_is_missed_where_the_delta_log_shows_it() {
    let (dir, config) = (tempfile::tempdir().unwrap(), config(""));
    prepare(dir.path(), &history(100));
    let open_read_only = || {
        let (data, manifests) = folders(dir.path());
        DurableTier::open_read_only_with(data, manifests, &config).unwrap()
    };
    let tier = open_read_only();
    tier.refuse_behind_delta_log(&config).unwrap();
    let newest = crate::manifest::version_name(tier.pin().version());
    std::fs::remove_file(dir.path().join("manifests").join(newest)).unwrap();
    let refused = open_read_only().refuse_behind_delta_log(&config).unwrap_err();
    assert!(matches!(refused, OpenError::ManifestsBehind { newest, shown, .. } if shown == newest + 1), "{refused}");
    assert!(refused.to_string().contains("_delta_log"), "{refused}");
    // the way on that it names
    std::fs::remove_dir_all(dir.path().join("data/_delta_log")).unwrap();
    open_read_only().refuse_behind_delta_log(&config).unwrap();
    assert_eq!(rows(&open(dir.path(), &config)), 50);
}
