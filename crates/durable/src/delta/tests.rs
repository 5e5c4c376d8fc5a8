//! The log as readers see it: each version is one manifest version, whatever fails, whoever races.

use super::actions::{self, Line};
use super::names;
use super::replay::{Replayed, list, replay};
use crate::objects::{Fault, FlakyObjects, Objects, StoreObjects};
use crate::testing::*;
use crate::{DurableTier, OpenError, SharedObjects, manifest, verify_delta_log};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use strandline_event::Micros;

mod anew;
mod links;
mod older;
mod redacted;

type Both = (SharedObjects, SharedObjects);
type Spoil = fn(&Both);

fn memory() -> Both {
    let new = || Arc::new(StoreObjects::memory().unwrap());
    (new(), new())
}

fn try_open_on(objects: &Both) -> Result<DurableTier, OpenError> {
    let config = config(", partition.by = 'dt'");
    DurableTier::open_with(Arc::clone(&objects.0), Arc::clone(&objects.1), &config, options(5))
}

fn open_on(objects: &Both) -> DurableTier {
    try_open_on(objects).unwrap()
}

/// Moves ten more events.
fn append(tier: &DurableTier, n: u64) {
    try_append(tier, n).unwrap();
}

fn try_append(tier: &DurableTier, n: u64) -> Result<(), String> {
    let from = tier.pin().watermark(&log()).0;
    let job = job(u128::from(n) + 100, from, from + 1);
    let events: Vec<_> = (from * 10..from * 10 + 10).map(owned).collect();
    let files = write(tier, &job, &events).map_err(|e| e.to_string())?;
    let mut commit = commit(&job, files, &[]);
    commit.at = Micros(START_US + n as i64 * 1_000_000);
    tier.commit(&commit).map(|_| ()).map_err(|e| e.to_string())
}

fn app_id(tier: &DurableTier) -> String {
    names::uuid(tier.pin().store_id())
}

/// Names of the live files of a manifest version, as the log spells them.
fn manifest_files(objects: &Both, version: u64) -> BTreeSet<String> {
    let manifest = manifest::read(&*objects.1, version).unwrap().0;
    let local = objects.0.stages();
    manifest.files().map(|file| if local { names::link(&file.path) } else { file.path.clone() }).collect()
}

/// The log shows the current manifest, and each of its versions a manifest version, in rising order.
fn assert_follows(objects: &Both, tier: &DurableTier) -> Replayed {
    assert_eq!(verify_delta_log(tier), []);
    let newest = replay(&*objects.0).unwrap();
    let live: BTreeSet<String> = newest.live.keys().cloned().collect();
    assert_eq!(live, manifest_files(objects, tier.pin().version()));
    for name in &live {
        assert!(objects.0.exists(name).unwrap(), "{name}");
    }
    let (mut files, mut last) = (BTreeMap::new(), None);
    for version in 0..=newest.version {
        let bytes = match objects.0.get(&names::commit(version)) {
            Ok(bytes) => bytes,
            Err(_) => return newest, // cleaned away: what stands behind a checkpoint is checked by replay
        };
        for line in actions::from_bytes(&bytes).map(Result::unwrap) {
            if let Some(add) = line.add {
                assert_eq!(files.insert(names::decode(&add.path), ()), None, "added twice");
            }
            if let Some(remove) = line.remove {
                assert_eq!(files.remove(&names::decode(&remove.path)), Some(()), "removed and not there");
            }
            if let Some(txn) = line.txn {
                assert!(last < Some(txn.version), "{last:?} before {}", txn.version);
                last = Some(txn.version);
            }
        }
        let shown = manifest_files(objects, last.unwrap().cast_unsigned());
        assert_eq!(files.keys().cloned().collect::<BTreeSet<_>>(), shown, "version {version}");
    }
    newest
}

#[test]
fn each_commit_with_files_is_a_version() {
    let dir = tempfile::tempdir().unwrap();
    for objects in [folders(dir.path()), memory()] {
        let tier = open_on(&objects);
        let born = assert_follows(&objects, &tier);
        assert_eq!((born.version, born.live.len(), born.applications[&app_id(&tier)]), (0, 0, 1));
        for n in 1..=5 {
            append(&tier, n);
            let replayed = assert_follows(&objects, &tier);
            assert_eq!((replayed.version, replayed.applications[&app_id(&tier)]), (n, n as i64 + 1));
        }
        tier.update(&crate::Update::CleanStop(vec![(log(), strandline_event::LogIndex(5))]), 9, Micros(START_US))
            .unwrap();
        assert_eq!(assert_follows(&objects, &tier).version, 5, "no file changed");
        let numbers = tier.delta_numbers().unwrap();
        assert_eq!((numbers.manifest_version, numbers.versions, numbers.failures), (7, 6, 0));
        drop(tier);
        let tier = open_on(&objects);
        assert_eq!(assert_follows(&objects, &tier).version, 5);
        append(&tier, 9);
        assert_eq!(assert_follows(&objects, &tier).version, 6);
    }
}

#[test]
fn what_a_crash_left_out_is_caught_up_with() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for local in [true, false] {
            let mut caught_up = 0;
            for at in 1.. {
                let dir = tempfile::tempdir().unwrap();
                let objects = if local { folders(dir.path()) } else { memory() };
                drop(open_on(&objects));
                let flaky = FlakyObjects::new(Arc::clone(&objects.0), at, fault);
                let manifests = flaky.with(Arc::clone(&objects.1));
                let config = config(", partition.by = 'dt'");
                let tier = DurableTier::open_with(Arc::new(flaky.clone()), Arc::new(manifests), &config, options(6));
                let done = tier.as_ref().is_ok_and(|tier| (1..=2).all(|n| try_append(tier, n).is_ok()));
                drop(tier);
                let before = replay(&*objects.0).unwrap().version;
                let tier = open_on(&objects);
                let replayed = assert_follows(&objects, &tier);
                caught_up += u64::from(replayed.version > before);
                if done && flaky.operations() < at {
                    break;
                }
            }
            assert!(caught_up >= 2, "{fault:?}, local {local}: no crash came between a commit and its Delta version");
        }
    }
}

#[test]
fn a_failed_version_comes_with_the_next_commit() {
    for fault in [Fault::FailOnce, Fault::LostAnswer] {
        let mut failures = 0;
        for at in 1.. {
            let dir = tempfile::tempdir().unwrap();
            let objects = folders(dir.path());
            let flaky = FlakyObjects::new(Arc::clone(&objects.0), at, fault);
            let config = config("");
            let tier =
                DurableTier::open_with(Arc::new(flaky.clone()), Arc::clone(&objects.1), &config, options(7)).unwrap();
            for n in 1..=3 {
                // a job that fails is another test's matter
                let _ = try_append(&tier, n);
            }
            if try_append(&tier, 4).is_err() {
                append(&tier, 5);
            }
            // as on the hour, where no commit comes
            tier.sweep(Micros::MIN).unwrap();
            assert_follows(&objects, &tier);
            failures += tier.delta_numbers().unwrap().failures;
            if flaky.operations() < at {
                break;
            }
        }
        assert!(failures >= 3, "{fault:?}: the Delta log never failed alone");
    }
}

#[test]
fn an_owner_that_was_replaced_does_not_write() {
    let objects = memory();
    let first = open_on(&objects);
    append(&first, 1);
    // its commit is true, its Delta version fails
    let flaky = FlakyObjects::new(Arc::clone(&objects.0), u64::MAX, Fault::FailOnce);
    let config = config(", partition.by = 'dt'");
    let old = DurableTier::open_with(Arc::new(flaky.clone()), Arc::clone(&objects.1), &config, options(8)).unwrap();
    append(&old, 2);
    let (version, manifest) = (replay(&*objects.0).unwrap().version, old.pin().version());
    let new = open_on(&objects);
    append(&new, 3);
    let shown = replay(&*objects.0).unwrap();
    assert_eq!(shown.version, version + 1);
    let before = flaky.operations();
    old.follow();
    assert_eq!((flaky.operations(), old.pin().version()), (before, manifest), "it knows of nothing to write");
    assert!(try_append(&old, 4).is_err_and(|e| e.contains("epoch")));
    assert_eq!(replay(&*objects.0).unwrap(), shown);
    append(&new, 5);
    assert_follows(&objects, &new);
}

/// An owner whose version failed, and which comes back to it after another one has gone on.
#[test]
fn a_late_version_of_an_owner_that_was_replaced_is_not_written() {
    // the last changing operations of a commit are those of its Delta version
    let operations = {
        let (data, manifests) = memory();
        let flaky = FlakyObjects::new(data, u64::MAX, Fault::FailOnce);
        let tier = open_on(&(Arc::new(flaky.clone()), manifests));
        append(&tier, 1);
        flaky.operations()
    };
    let objects = memory();
    let flaky = FlakyObjects::new(Arc::clone(&objects.0), operations, Fault::FailOnce);
    let old = open_on(&(Arc::new(flaky), Arc::clone(&objects.1)));
    append(&old, 1);
    assert_eq!(old.delta_numbers().unwrap().failures, 1);
    assert_eq!(replay(&*objects.0).unwrap().version, 0);
    let new = open_on(&objects);
    append(&new, 2);
    let shown = assert_follows(&objects, &new);
    assert_eq!((shown.version, shown.live.len()), (2, new.pin().files().len()));
    old.follow();
    assert_eq!((replay(&*objects.0).unwrap(), old.delta_numbers().unwrap().versions), (shown, 1));
}

#[test]
fn a_log_that_does_not_fit_is_made_anew() {
    let spoil: [(&str, Spoil); 6] = [
        ("gone", |objects| {
            for (_, path) in list(&*objects.0).unwrap() {
                objects.0.delete(&path).unwrap();
            }
        }),
        ("a hole", |objects| objects.0.delete(&names::commit(2)).unwrap()),
        ("a damaged version", |objects| objects.0.replace(&names::commit(1), b"{\"add\":{\"path\"").unwrap()),
        ("another store's", |objects| {
            let text = String::from_utf8(objects.0.get(&names::commit(0)).unwrap().to_vec()).unwrap();
            objects.0.replace(&names::commit(0), text.replacen("\"id\":\"", "\"id\":\"f", 1).as_bytes()).unwrap();
        }),
        ("another protocol", |objects| {
            let line = br#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]}}"#;
            objects.0.put_new(&names::commit(4), line).unwrap();
        }),
        ("from the future", |objects| {
            let text = String::from_utf8(objects.0.get(&names::commit(3)).unwrap().to_vec()).unwrap();
            let line = text.lines().find(|line| line.starts_with("{\"txn\"")).unwrap();
            objects.0.put_new(&names::commit(4), line.replace("\"version\":4", "\"version\":4000").as_bytes()).unwrap();
        }),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (n, (what, spoil)) in spoil.into_iter().enumerate() {
        for objects in [folders(&dir.path().join(n.to_string())), memory()] {
            let tier = open_on(&objects);
            (1..=3).for_each(|n| append(&tier, n));
            drop(tier);
            spoil(&objects);
            let newest = list(&*objects.0).unwrap().iter().map(|(file, _)| file.version()).max();
            let reader = DurableTier::open_read_only_with(
                Arc::clone(&objects.0),
                Arc::clone(&objects.1),
                &config(", partition.by = 'dt'"),
            );
            assert_eq!(verify_delta_log(&reader.unwrap()).is_empty(), what == "gone", "{what}");
            let tier = open_on(&objects);
            let replayed = assert_follows(&objects, &tier);
            assert_eq!(replayed.version, newest.map_or(0, |version| version + 1), "{what}: versions never go back");
            assert_eq!(replayed.checkpoint, newest.map(|version| version + 1), "{what}");
            assert!(list(&*objects.0).unwrap().iter().all(|(file, _)| file.version() == replayed.version), "{what}");
            append(&tier, 5);
            assert_eq!(assert_follows(&objects, &tier).version, replayed.version + 1, "{what}");
        }
    }
}

#[test]
fn what_others_wrote_is_taken_back() {
    let objects = memory();
    let tier = open_on(&objects);
    (1..=2).for_each(|n| append(&tier, n));
    let ours = replay(&*objects.0).unwrap().live.into_keys().min().unwrap();
    let lines = format!(
        "{{\"add\":{{\"path\":\"foreign.parquet\",\"partitionValues\":{{}},\"size\":1,\"modificationTime\":0,\"dataChange\":true}}}}\n\
         {{\"remove\":{{\"path\":\"{}\",\"dataChange\":true}}}}\n",
        names::encode(&ours)
    );
    objects.0.put_new(&names::commit(3), lines.as_bytes()).unwrap();
    assert_eq!(verify_delta_log(&tier).len(), 2);
    append(&tier, 3);
    assert_eq!(verify_delta_log(&tier), []);
    let replayed = replay(&*objects.0).unwrap();
    let live: BTreeSet<String> = replayed.live.keys().cloned().collect();
    assert_eq!((replayed.version, live), (4, manifest_files(&objects, tier.pin().version())));
    assert!(replayed.removed.contains_key("foreign.parquet"));
}

#[test]
fn checkpoints_say_what_the_versions_said() {
    let dir = tempfile::tempdir().unwrap();
    for objects in [folders(dir.path()), memory()] {
        let tier = open_on(&objects);
        (1..=3).for_each(|n| append(&tier, n));
        let versions = replay(&*objects.0).unwrap();
        tier.delta().checkpoint_now();
        let checkpoint = replay(&*objects.0).unwrap();
        assert_eq!(checkpoint.checkpoint, Some(3));
        assert_eq!(Replayed { checkpoint: None, ..checkpoint }, versions);
        let hint: serde_json::Value = serde_json::from_slice(&objects.0.get(names::LAST_CHECKPOINT).unwrap()).unwrap();
        assert_eq!(
            (hint["version"].as_u64(), hint["numOfAddFiles"].as_u64()),
            (Some(3), Some(tier.pin().files().len() as u64))
        );
        let globbed = objects.0.list("").unwrap().iter().filter(|info| info.path.ends_with(".parquet")).count();
        let remote = usize::from(!objects.0.stages());
        assert_eq!(globbed, tier.pin().files().len() + remote, "locally a glob finds data files only");
        // the versions may go: it holds all of them
        for version in 0..=3 {
            objects.0.delete(&names::commit(version)).unwrap();
        }
        append(&tier, 4);
        drop(tier);
        let tier = open_on(&objects);
        assert_eq!(assert_follows(&objects, &tier).version, 4);
        assert!(tier.sweep(Micros(i64::MAX)).unwrap().is_empty(), "nothing of the log is an orphan");
        assert_eq!(assert_follows(&objects, &tier).checkpoint, Some(3));
    }
}

#[test]
fn many_versions_get_checkpoints_and_old_ones_go() {
    let objects = memory();
    let tier = DurableTier::open_with(Arc::clone(&objects.0), Arc::clone(&objects.1), &config(""), options(5)).unwrap();
    for n in 1..=210 {
        append(&tier, n);
    }
    let checkpoints = || -> Vec<u64> {
        let files = list(&*objects.0).unwrap();
        files.iter().filter(|(f, _)| !matches!(f, names::LogFile::Commit(_))).map(|(f, _)| f.version()).collect()
    };
    assert_eq!(checkpoints(), [99, 199]);
    assert_eq!(assert_follows(&objects, &tier).checkpoint, Some(199));
    // years later than the clock of the objects
    for n in 1..=90 {
        append(&tier, n * 86_400 * 365);
    }
    assert_eq!(checkpoints(), [299], "what is older than the newest old checkpoint is gone");
    assert_eq!(list(&*objects.0).unwrap().iter().map(|(f, _)| f.version()).min(), Some(299));
    drop(tier);
    let tier = DurableTier::open_with(Arc::clone(&objects.0), Arc::clone(&objects.1), &config(""), options(6)).unwrap();
    append(&tier, 91 * 86_400 * 365);
    assert_eq!(assert_follows(&objects, &tier).version, 301);
}

#[test]
fn a_file_stays_under_its_second_name() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let objects = folders(dir.path());
    let tier = open_on(&objects);
    append(&tier, 1);
    let file = Arc::clone(&tier.pin().files()[0]);
    let root = objects.0.local_root().unwrap();
    let (own, second) = (root.join(&file.path), root.join(names::link(&file.path)));
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&own), inode(&second));
    // somebody takes it for garbage (VACUUM does); the store reads on, and the next start names it again
    std::fs::remove_file(&own).unwrap();
    let found = crate::verify_file(&tier, &file);
    assert!(found.len() == 1 && found[0].what.contains("lost its name"), "{found:?}");
    assert_eq!(tier.pin().scan_file(&file).map(|batch| batch.unwrap().rows() as u64).sum::<u64>(), file.rows);
    for restart in [false, true] {
        let tier = if restart { open_on(&objects) } else { tier.clone() };
        tier.sweep(Micros::MIN).unwrap();
        assert_eq!((inode(&own), crate::verify_file(&tier, &file)), (inode(&second), Vec::new()), "restart: {restart}");
        std::fs::remove_file(&own).unwrap();
    }
    drop(tier);
    let tier = open_on(&objects);
    assert_eq!(inode(&own), inode(&second));
    // a power cut undoes the link
    drop(tier);
    std::fs::remove_file(&second).unwrap();
    let tier = open_on(&objects);
    assert_eq!(inode(&own), inode(&second));
    assert_follows(&objects, &tier);
}

/// Puts one file in the place of all.
fn merge(tier: &DurableTier, job_id: u128) {
    let pinned = tier.pin();
    let through = pinned.watermark(&log()).0;
    let events: Vec<_> = (0..through * 10).map(owned).collect();
    let add = write(tier, &job(job_id, 0, through), &events).unwrap();
    let (at, log, remove) = (Micros(START_US + 5), log(), pinned.files().to_vec());
    tier.replace(&crate::Replacement { job_id, at, log, remove, add, doubles: 0 }).unwrap();
}

#[test]
fn a_merge_moves_rows_and_older_versions_stay_readable() {
    let dir = tempfile::tempdir().unwrap();
    let objects = folders(dir.path());
    let tier = DurableTier::open_with(Arc::clone(&objects.0), Arc::clone(&objects.1), &config(""), options(5)).unwrap();
    (1..=3).for_each(|n| append(&tier, n));
    let before = replay(&*objects.0).unwrap();
    merge(&tier, 50);
    let after = assert_follows(&objects, &tier);
    assert_eq!((before.live.len(), after.live.len(), after.removed.len()), (3, 1, 3));
    let bytes = objects.0.get(&names::commit(after.version)).unwrap();
    let lines: Vec<Line> = actions::from_bytes(&bytes).map(Result::unwrap).collect();
    assert_eq!(lines[0].commit_info.as_ref().unwrap().operation, "OPTIMIZE");
    let changes = lines
        .iter()
        .filter_map(|l| Some(l.add.as_ref()?.data_change))
        .chain(lines.iter().filter_map(|l| Some(l.remove.as_ref()?.data_change)));
    assert_eq!(changes.collect::<Vec<_>>(), [false; 4]);
    // who chose its files before the merge finds them, until the bytes go
    let there = || before.live.keys().filter(|name| objects.0.exists(name).unwrap()).count();
    assert_eq!(there(), 3);
    tier.sweep(Micros(START_US + 5)).unwrap();
    assert_eq!(there(), 3, "in their grace period");
    tier.sweep(Micros(i64::MAX)).unwrap();
    assert_eq!(there(), 0);
    let left = objects.0.list("").unwrap();
    let bytes = left.iter().filter(|info| names::linked(&info.path).is_some()).count();
    assert_eq!(bytes, 1, "nothing keeps room that no manifest names");
    assert_follows(&objects, &tier);
    drop(tier);
    let tier = DurableTier::open_with(Arc::clone(&objects.0), Arc::clone(&objects.1), &config(""), options(6)).unwrap();
    append(&tier, 4);
    merge(&tier, 51);
    assert_follows(&objects, &tier);
}

#[test]
fn an_encrypted_store_has_none() {
    let (data, manifests) = memory();
    let mut config = config("");
    config.security.encrypt_at_rest = true;
    let provider = Arc::new(strandline_keys::testing::TestKeys::new(1));
    let sealed = crate::sealed_places((Arc::clone(&data), manifests), &config, Some(provider), true).unwrap();
    let tier = DurableTier::open_with(sealed.0, sealed.1, &config, options(5)).unwrap();
    append(&tier, 1);
    assert_eq!(tier.delta_numbers(), None);
    assert!(list(&*data).unwrap().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Commits of two threads, faults, restarts: the log stays a history of manifest versions.
    #[test]
    fn any_history_is_followed(steps in prop::collection::vec(0..8_u8, 1..20), at in 1..120_u64) {
        let objects = memory();
        let flaky = FlakyObjects::new(Arc::clone(&objects.0), at, Fault::LostAnswer);
        let faulty: Both = (Arc::new(flaky), Arc::clone(&objects.1));
        drop(open_on(&objects));
        // the fault comes once, and may meet the probe of an opening: the next one goes through
        let open = |objects: &Both| try_open_on(objects).unwrap_or_else(|_| open_on(objects));
        let mut tier = open(&faulty);
        for (n, step) in steps.iter().enumerate() {
            match step {
                0 => tier = open(&faulty),
                1 => {
                    let other = tier.clone();
                    std::thread::scope(|scope| {
                        scope.spawn(|| (0..5).for_each(|_| other.follow()));
                        let _ = try_append(&tier, n as u64 + 1);
                    });
                }
                2 => tier.delta().follow(&tier),
                _ => {
                    let _ = try_append(&tier, n as u64 + 1);
                }
            }
        }
        // an append that was lost without a trace stops the range: a new start goes on from what is true
        let tier = open_on(&objects);
        append(&tier, 1000);
        assert_follows(&objects, &tier);
    }
}

/// Three appends, a checkpoint behind the second, nothing before it.
fn golden(objects: &Both) -> DurableTier {
    let tier = open_on(objects);
    (1..=2).for_each(|n| append(&tier, n));
    tier.delta().checkpoint_now();
    (0..=1).for_each(|version| objects.0.delete(&names::commit(version)).unwrap());
    append(&tier, 3);
    tier
}

/// `STRANDLINE_GOLDEN=write` writes the fixtures anew: only for a form that nobody has written yet. Other engines read them in
/// tests/blackbox/delta.rs.
#[test]
fn a_log_of_the_first_form_stays_readable() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/delta-v1"));
    let dir = tempfile::tempdir().unwrap();
    for (kind, objects) in [("local", folders(dir.path())), ("remote", memory())] {
        let _tier = golden(&objects);
        let fixture = crate::objects::LocalObjects::open(&folder.join(kind)).unwrap();
        if std::env::var("STRANDLINE_GOLDEN").is_ok_and(|v| v == "write") {
            for info in objects.0.list("").unwrap() {
                let data = info.path.ends_with(".parquet") && kind == "local";
                if !data && !info.path.starts_with("_runs") {
                    fixture.replace(&info.path, &objects.0.get(&info.path).unwrap()).unwrap();
                }
            }
        }
        // what is written today says what was written first (sizes of data files differ with the encoder's version)
        let plain = |objects: &dyn Objects| {
            let mut state = replay(objects).unwrap();
            state.live.values_mut().for_each(|bytes| *bytes = 0);
            state
        };
        let state = plain(&fixture);
        assert_eq!((state.version, state.checkpoint, state.live.len()), (3, Some(2), 10));
        assert_eq!(state, plain(&*objects.0));
        assert_eq!(
            list(&fixture).unwrap().into_iter().map(|(_, path)| path).collect::<Vec<_>>(),
            list(&*objects.0).unwrap().into_iter().map(|(_, path)| path).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_log_that_is_taken_away_while_the_store_runs_is_made_anew_by_the_next_commit() {
    let dir = tempfile::tempdir().unwrap();
    for objects in [folders(dir.path()), memory()] {
        let tier = open_on(&objects);
        (1..=3).for_each(|n| append(&tier, n));
        for (_, path) in list(&*objects.0).unwrap() {
            objects.0.delete(&path).unwrap();
        }
        if !objects.0.stages() {
            tier.sweep(Micros::MIN).unwrap();
        }
        append(&tier, 4);
        assert_follows(&objects, &tier);
        // its newest version alone
        objects.0.delete(&list(&*objects.0).unwrap().pop().unwrap().1).unwrap();
        assert!(crate::check_delta_log(&tier).lag.is_some() || list(&*objects.0).unwrap().is_empty());
        if !objects.0.stages() {
            tier.sweep(Micros::MIN).unwrap();
        }
        append(&tier, 5);
        assert_follows(&objects, &tier);
    }
}

#[test]
fn a_checkpoint_of_another_engine_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for (objects, name) in [
        (folders(dir.path()), "_delta_log/00000000000000000001.checkpoint.parquet"),
        (memory(), "_delta_log/00000000000000000001.checkpoint.0000000001.0000000002.parquet"),
    ] {
        let tier = open_on(&objects);
        (1..=3).for_each(|n| append(&tier, n));
        assert_eq!(verify_delta_log(&tier), []);
        objects.0.put_new(name, b"whatever").unwrap();
        assert!(verify_delta_log(&tier).iter().any(|found| found.place == name));
    }
}
