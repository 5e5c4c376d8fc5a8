//! Logs that are missing, older than they were, or damaged: never another history, and never more refused than is touched.

// helpers of a test are as blunt as the test itself
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, event, load, local, open_options, request};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_durable::SharedObjects;
use strandline_durable::objects::StoreObjects;
use strandline_engine::append::Answer;
use strandline_engine::read::{Filter, StreamRead};
use strandline_engine::store::{OpenError, OpenOptions, Opened, Store};
use strandline_event::{BatchUnit, ErrorKind, LogKey, Seq};
use strandline_testkit::r#gen::store as declared;
use strandline_testkit::local_store::LocalStore;
use strandline_wal::Disk;
use strandline_wal::crash_disk::{CrashDisk, Dice, Faults};

fn start_on(owner: &LocalStore, disk: &Arc<CrashDisk>, accept_lost_log: bool) -> Result<Opened, OpenError> {
    let (files, manifests) = owner.objects().unwrap().clone();
    let options = OpenOptions { accept_lost_log, ..open_options(declared("/durable", TIERS), disk) };
    Store::open_on(options, files, manifests)
}

fn folder(name: &str) -> PathBuf {
    Path::new("/wal").join(name)
}

fn files(disk: &CrashDisk, name: &str) -> Vec<PathBuf> {
    let mut names = disk.list(&folder(name)).unwrap();
    names.sort();
    names.into_iter().map(|file| folder(name).join(file)).collect()
}

fn segments(disk: &CrashDisk, name: &str) -> Vec<PathBuf> {
    files(disk, name).into_iter().filter(|path| path.extension().is_some_and(|e| e == "wal")).collect()
}

/// `cp -a` of the folder of the logs.
fn copy(disk: &CrashDisk) -> Arc<CrashDisk> {
    let to = CrashDisk::new();
    for name in disk.list_dirs(Path::new("/wal")).unwrap() {
        to.create_dir_all(&folder(&name)).unwrap();
        for path in files(disk, &name) {
            to.put(&path, &disk.contents(&path).unwrap());
        }
    }
    Arc::new(to)
}

fn wipe(disk: &CrashDisk, name: &str) {
    for path in files(disk, name) {
        disk.remove(&path).unwrap();
    }
    disk.sync_dir(&folder(name)).unwrap();
}

fn head(store: &Store, stream_type: &str, stream: &str) -> Result<Option<Seq>, ErrorKind> {
    store.stream_head(stream_type, stream).map(|head| head.map(|head| head.last_seq)).map_err(|error| error.kind())
}

#[test]
fn an_older_copy_of_the_logs_is_refused_and_histories_never_mix() {
    let mut owner = local("");
    load(&mut owner, "T", 0..20, 2);
    owner.compact(&LogKey::single("T")).unwrap();
    owner.stop();
    let old = copy(owner.disk());
    owner.reopen(false).unwrap();
    load(&mut owner, "T", 20..40, 2);
    // killed: the manifest knows of nothing that came after the compaction
    let real = copy(owner.disk());
    let refused = start_on(&owner, &old, false).err().unwrap();
    assert!(matches!(refused, OpenError::LogsOld { epoch: 2, found: Some(1), .. }), "{refused}");
    assert!(refused.kind() == ErrorKind::Integrity && refused.to_string().contains("--accept-lost-log"), "{refused}");
    let watermark = owner.store().durable().pin().watermark(&LogKey::single("T"));
    let taken = start_on(&owner, &old, true).unwrap();
    assert_eq!(taken.report.lost.len(), 2, "the folder and its log: {}", taken.report);
    let next = taken.logs[0].sink.as_ref().unwrap().last_pushed();
    assert!(next.0 >= watermark.0 + (1 << 32), "no index that the real log may have used is used again");
    assert_eq!(head(&taken.store, "T", "s0"), Ok(Some(Seq(10))));
    drop(taken);
    // what was accepted is the store's now: the folder that was lost may not come back
    let refused = start_on(&owner, &real, false).err().unwrap();
    assert!(matches!(refused, OpenError::LogsOld { epoch: 3, found: Some(2), .. }), "{refused}");
    start_on(&owner, &old, false).unwrap();
}

#[test]
fn a_start_that_dies_at_any_step_leaves_the_mark_of_the_owner_that_writes() {
    let mut dice = Dice::new(11);
    for syncs in 0..40 {
        let mut owner = local("");
        load(&mut owner, "T", 0..9, 2);
        owner.disk().set_faults(Faults { syncs_until_failure: Some(syncs), ..Faults::default() });
        let died = start_on(&owner, owner.disk(), false).is_err();
        owner.disk().crash(&mut dice);
        let opened = start_on(&owner, owner.disk(), false);
        let opened = opened.unwrap_or_else(|error| panic!("after {syncs} syncs: {error}"));
        assert_eq!(head(&opened.store, "T", "s0"), Ok(Some(Seq(5))), "after {syncs} syncs");
        drop(opened);
        if !died {
            assert!(syncs > 3, "the fault must strike somewhere");
            return;
        }
    }
    panic!("a start takes fewer syncs");
}

#[test]
fn an_accepted_start_that_dies_is_refused_again() {
    let mut owner = local("");
    load(&mut owner, "T", 0..9, 2);
    owner.restart().unwrap();
    load(&mut owner, "T", 9..20, 2);
    let empty = Arc::new(CrashDisk::new());
    for syncs in 0..40 {
        empty.set_faults(Faults { syncs_until_failure: Some(syncs), ..Faults::default() });
        let accepted = start_on(&owner, &empty, true);
        empty.set_faults(Faults::default());
        match accepted {
            Ok(_) => {
                start_on(&owner, &empty, false).unwrap();
                return;
            }
            // refused as before, unless only the mark itself was still to be synced
            Err(_) => {
                if let Ok(opened) = start_on(&owner, &empty, false) {
                    let watermark = opened.store.durable().pin().watermark(&LogKey::single("T"));
                    assert!(watermark.0 > 1 << 32, "after {syncs} syncs nothing was settled");
                }
            }
        }
    }
    panic!("a start takes fewer syncs");
}

#[test]
fn the_folder_of_a_type_that_was_never_compacted_is_missed_by_name() {
    let mut owner = local("");
    load(&mut owner, "T", 0..9, 2);
    owner.compact(&LogKey::single("T")).unwrap();
    owner.restart().unwrap();
    load(&mut owner, "New", 0..9, 2);
    wipe(owner.disk(), "New");
    for _ in 0..2 {
        let refused = owner.kill().unwrap_err();
        assert!(matches!(&refused, OpenError::LogGone { log, .. } if &*log.stream_type == "New"), "{refused}");
    }
    owner.reopen(true).unwrap();
    load(&mut owner, "New", 9..20, 2);
    owner.kill().unwrap();
    load(&mut owner, "T", 9..20, 2);
}

/// The marks of a folder of logs that begin so.
fn marks(disk: &CrashDisk, prefix: &str) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(prefix);
    files(disk, "~strandline").into_iter().filter(is_one).collect()
}

#[test]
fn the_logs_of_another_store_are_refused_and_those_that_name_none_are_taken_once() {
    for in_order in [true, false] {
        let mut owner = local("");
        load(&mut owner, "T", 0..20, 2);
        if in_order {
            owner.stop();
        }
        let own = marks(owner.disk(), "store-").remove(0);
        let disk = copy(owner.disk());
        disk.remove(&own).unwrap();
        // as an older program left it
        drop(start_on(&owner, &copy(&disk), false).unwrap());
        let mut owner = local("");
        load(&mut owner, "T", 0..20, 2);
        if in_order {
            owner.stop();
        }
        disk.put(&folder("~strandline").join(format!("store-{:032x}", 77)), b"");
        for accept in [false, true] {
            let refused = start_on(&owner, &disk, accept).err();
            assert!(matches!(refused, Some(OpenError::LogsOfOtherStore { .. })), "{refused:?}");
        }
        owner.reopen(false).unwrap();
        assert_eq!(marks(owner.disk(), "store-"), [own]);
    }
}

#[test]
fn a_log_that_was_given_up_does_not_mix_with_the_one_that_came_after_it() {
    // what was given up: 7 batches, by the first owner
    let mut first = local("");
    load(&mut first, "T", 0..49, 2);
    let old = copy(first.disk());
    for (batches, durable) in [(1, false), (10, false), (10, true)] {
        let mut owner = local("");
        owner.restart().unwrap();
        load(&mut owner, "T", 100..100 + batches * 7, 3);
        if durable {
            owner.compact(&LogKey::single("T")).unwrap();
        }
        owner.stop();
        // it comes back, by itself or below the marks that are there now
        let mixed = copy(&old);
        wipe(&mixed, "~strandline");
        files(owner.disk(), "~strandline").iter().for_each(|mark| mixed.put(mark, b""));
        for (disk, below_marks) in [(&old, false), (&mixed, true)] {
            match start_on(&owner, disk, false) {
                Ok(opened) => {
                    let told = opened.report.warnings.iter().any(|line| line.contains("are not read"));
                    assert!(durable && told != below_marks, "{}", opened.report);
                    break;
                }
                Err(OpenError::LostLog { .. }) => assert!(!durable && below_marks && batches == 10),
                Err(OpenError::LogBeyond { .. }) => {
                    assert!(!durable && (batches == 1 || !below_marks));
                    assert!(start_on(&owner, disk, true).is_err(), "nobody can want two histories in one");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn a_damaged_log_that_is_mended_after_a_stop_is_not_taken_for_another() {
    let (mut owner, paths) = two_segments("");
    owner.disk().flip(&paths[1], 40, 0xff);
    owner.restart().unwrap();
    owner.stop();
    owner.disk().flip(&paths[1], 40, 0xff);
    owner.reopen(false).unwrap();
    assert!(owner.report.corrupt.is_empty(), "{}", owner.report);
    load(&mut owner, "T", 40..44, 2);
}

#[test]
fn what_a_log_holds_besides_events_counts_as_its_end() {
    let mut owner = local("");
    load(&mut owner, "T", 0..4, 2);
    // replayed: the owner knows of its events only, the log also holds what it began with
    owner.ensure_log(&LogKey::single("U"));
    owner.kill().unwrap();
    for _ in 0..2 {
        owner.restart().unwrap();
    }
    assert_eq!(head(owner.store(), "T", "s0"), Ok(Some(Seq(2))));
}

#[test]
fn a_log_that_was_laid_out_and_never_begun_is_not_missed() {
    let mut owner = local("");
    let mut dice = Dice::new(5);
    for round in 0..20 {
        let key = LogKey::single(&format!("New{round}"));
        drop(owner.store().create_log(&key, owner.time.now()).unwrap());
        owner.power_loss(&mut dice).unwrap();
        assert!(owner.store().log(&key).is_some_and(|log| log.refuses_writes().is_none()), "round {round}");
    }
}

/// A log of two segments, nothing of it durable, beside a healthy one.
#[test]
fn a_log_whose_segments_were_wiped_is_refused_every_time() {
    for compacted in [true, false] {
        let mut owner = local("");
        load(&mut owner, "T", 0..20, 2);
        if compacted {
            owner.compact(&LogKey::single("T")).unwrap();
            load(&mut owner, "T", 20..30, 2);
        }
        for zeros in [true, false] {
            let disk = copy(owner.disk());
            for path in segments(&disk, "T") {
                let length = if zeros { disk.contents(&path).unwrap().len() } else { 0 };
                disk.put(&path, &vec![0; length]);
            }
            for start in 1..=3 {
                let refused = start_on(&owner, &disk, false).err();
                let gone = matches!(&refused, Some(OpenError::LogGone { log, .. }) if *log == LogKey::single("T"));
                assert!(gone, "compacted {compacted}, zeros {zeros}, start {start}: {refused:?}");
            }
        }
    }
}

#[test]
fn a_first_segment_that_was_named_and_not_yet_written_is_no_loss() {
    let mut owner = local("");
    load(&mut owner, "T", 0..20, 2);
    owner.compact(&LogKey::single("T")).unwrap();
    owner.stop();
    let disk = copy(owner.disk());
    let first = segments(&disk, "T").remove(0);
    wipe(&disk, "T");
    // everything is durable: the log begins anew, and its owner is killed before the first group
    drop(start_on(&owner, &disk, false).unwrap());
    let spare = folder("T").join("next.spare");
    let bytes = disk.contents(&spare).unwrap();
    disk.remove(&spare).unwrap();
    disk.put(&first, &bytes);
    for _ in 0..2 {
        drop(start_on(&owner, &disk, false).unwrap());
    }
}

fn two_segments(settings: &str) -> (LocalStore, Vec<PathBuf>) {
    let mut owner = local(settings);
    load(&mut owner, "T", 0..20, 2);
    owner.seal(&LogKey::single("T"));
    load(&mut owner, "T", 20..40, 2);
    load(&mut owner, "U", 0..20, 2);
    let paths = segments(owner.disk(), "T");
    assert_eq!(paths.len(), 2);
    (owner, paths)
}

fn only_t_refuses(owner: &mut LocalStore) {
    let key = LogKey::single("T");
    assert!(owner.store().log(&key).unwrap().refuses_writes().is_some() && owner.driver(&key).is_none());
    assert!(!owner.report.corrupt.is_empty());
    assert_eq!(head(owner.store(), "T", "s0"), Err(ErrorKind::Integrity));
    let read = StreamRead { stream_type: "T", stream_id: "s0", from_seq: None, to_seq: None, limit: 9, order: None };
    assert_eq!(owner.store().read_stream(&read).err().map(|error| error.kind()), Some(ErrorKind::Integrity));
    assert_eq!(owner.store().scan(&Filter::default()).err().map(|error| error.kind()), Some(ErrorKind::Integrity));
    assert!(head(owner.store(), "U", "s0").unwrap() >= Some(Seq(10)));
    load(owner, "U", 20..24, 2);
}

#[test]
fn a_damaged_byte_or_a_missing_segment_stops_one_type_not_the_node() {
    for harm in ["flip", "remove"] {
        let (mut owner, paths) = two_segments("");
        match harm {
            "flip" => owner.disk().flip(&paths[0], 40, 0xff),
            _ => owner.disk().remove(&paths[0]).unwrap(),
        }
        owner.kill().unwrap();
        only_t_refuses(&mut owner);
        owner.restart().unwrap();
        only_t_refuses(&mut owner);
    }
}

#[test]
fn a_damaged_log_is_given_up_by_no_flag_and_the_start_says_what_to_do() {
    let (mut owner, key) = (local(""), LogKey::single("T"));
    load(&mut owner, "T", 0..20, 2);
    owner.compact(&key).unwrap();
    load(&mut owner, "T", 20..40, 2);
    owner.seal(&key);
    load(&mut owner, "T", 40..60, 2);
    let damaged = segments(owner.disk(), "T").into_iter().rev().nth(1).unwrap();
    owner.disk().flip(&damaged, 40, 0xff);
    for accepted in [false, true] {
        owner.reopen(accepted).unwrap();
        assert!(owner.store().log(&key).unwrap().refuses_writes().is_some(), "accepted: {accepted}");
        let told = owner.report.warnings.join("\n");
        assert!(told.contains("--accept-lost-log") && told.contains("/wal/T"), "{told}");
    }
    // as it says: the folder is moved away
    wipe(owner.disk(), "T");
    let refused = owner.reopen(false).unwrap_err();
    assert!(matches!(&refused, OpenError::LogGone { log, .. } if *log == key), "{refused}");
    owner.reopen(true).unwrap();
    assert_eq!(head(owner.store(), "T", "s0"), Ok(Some(Seq(10))), "what is durable stays");
    assert!(matches!(owner.append(&request("T", BatchUnit::Rows, vec![event("s0", 99)])), Answer::Done(_)));
}

#[test]
fn a_frame_that_holds_no_batch_stops_one_type_not_the_node() {
    let (mut owner, paths) = two_segments("wal.checksum = 'none'");
    let bytes = owner.disk().contents(&paths[0]).unwrap();
    let is_entry = |frame: &[u8]| frame.starts_with(b"SLWF") && frame[5] == 5;
    let frame = bytes.chunks(16).position(is_entry).unwrap() * 16;
    let len = u32::from_le_bytes(bytes[frame + 12..frame + 16].try_into().unwrap()) as usize;
    // payloads have no checksum: recovery cannot see it
    for at in frame + 96..frame + 96 + len {
        owner.disk().flip(&paths[0], at as u64, 0x5a);
    }
    owner.kill().unwrap();
    only_t_refuses(&mut owner);
}

#[test]
fn a_segment_that_is_wholly_durable_may_be_missing_or_damaged() {
    for harm in ["flip", "remove"] {
        let mut owner = local("");
        load(&mut owner, "T", 0..20, 2);
        owner.compact(&LogKey::single("T")).unwrap();
        load(&mut owner, "T", 20..40, 2);
        let first = segments(owner.disk(), "T").remove(0);
        match harm {
            "flip" => owner.disk().flip(&first, 40, 0xff),
            _ => owner.disk().remove(&first).unwrap(),
        }
        for n in [40, 42] {
            owner.kill().unwrap();
            assert!(owner.report.corrupt.is_empty(), "{harm}: {}", owner.report);
            let number = n..n + 2;
            load(&mut owner, "T", number, 2);
        }
        let rows = owner.store().scan(&Filter::default()).unwrap().map(|batch| batch.unwrap().len()).sum::<usize>();
        assert_eq!(rows, 44);
        assert!(matches!(owner.append(&request("T", BatchUnit::Rows, vec![event("s0", 99)])), Answer::Done(_)));
    }
}

#[test]
fn a_store_whose_files_are_away_does_not_begin_anew_beside_its_logs() {
    let mut owner = local("");
    load(&mut owner, "T", 0..9, 2);
    owner.compact(&LogKey::single("T")).unwrap();
    owner.stop();
    let there = owner.objects().cloned();
    // as where a disk is not mounted
    let nothing = || {
        let memory = || -> SharedObjects { Arc::new(StoreObjects::memory().unwrap()) };
        Some((memory(), memory()))
    };
    owner.set_objects(nothing());
    for _ in 0..2 {
        let refused = owner.kill().unwrap_err();
        assert!(matches!(refused, OpenError::FilesGone { .. }) && refused.kind() == ErrorKind::Integrity, "{refused}");
        let text = refused.to_string();
        assert!(["/durable", "/wal", "mounted"].iter().all(|part| text.contains(part)), "{text}");
    }
    owner.set_objects(there);
    owner.reopen(false).unwrap();
    assert_eq!(head(owner.store(), "T", "s0"), Ok(Some(Seq(5))));
    owner.stop();
    // whoever wants a new one says so, as the text has it
    owner.set_objects(nothing());
    let Err(OpenError::FilesGone { dir, mark, .. }) = owner.kill() else { panic!("not refused") };
    owner.disk().remove(&dir.join(mark)).unwrap();
    owner.kill().unwrap();
    assert_eq!(head(owner.store(), "T", "s0"), Ok(Some(Seq(5))), "its logs hold all of it");
}
