//! Retention: what goes, what is written down of it, what comes back, what is deleted when, and what a crash leaves.

use super::retired::RangeSet;
use super::tests::all;
use super::*;
use crate::objects::Fault;
use crate::runs::{RetiredRange, RunKind};
use crate::testing::*;
use std::collections::BTreeSet;
use strandline_event::hash::stream_hash;

const EVER: Micros = Micros(i64::MAX);
const LATER: Micros = Micros(START_US + 5);

fn go_on() -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn retirement(job_id: u128, files: &[Arc<FileEntry>], mode: DeleteMode) -> Retirement {
    Retirement { job_id, at: LATER, log: log(), files: files.to_vec(), mode }
}

fn bring_back(tier: &DurableTier, job_id: u128, which: &[usize]) -> Result<Restored, RetireError> {
    let pinned = tier.pin();
    let tombstones = which.iter().map(|i| pinned.manifest().tombstones.inline[*i].clone()).collect();
    drop(pinned);
    tier.restore(&Restore { job_id, at: LATER, tombstones }, &go_on)
}

/// The (stream, seq) of events.
fn seqs(events: &[Owned]) -> BTreeSet<(u128, u64)> {
    events.iter().map(|e| (stream_hash(&e.stream_id), e.seq)).collect()
}

fn retired(snapshot: &Snapshot) -> BTreeSet<(u128, u64)> {
    let ranges = snapshot.retired_ranges(&log());
    let all: BTreeSet<_> = ranges.flat_map(|r| (r.first.0..=r.last.0).map(move |seq| (r.stream, seq))).collect();
    for stream in all.iter().map(|(stream, _)| *stream) {
        let one: Vec<u64> = all.iter().filter(|(s, _)| *s == stream).map(|(_, seq)| *seq).collect();
        let found = snapshot.retired(&log(), stream).unwrap();
        assert!(found.iter().flat_map(|(a, b)| a.0..=b.0).eq(one), "a lookup finds what the run holds");
    }
    all
}

/// Live rows and retired seqs are everything that ever was, nothing twice.
fn assert_whole(snapshot: &Arc<Snapshot>, events: &[Owned]) {
    let live = all(snapshot);
    let gone = retired(snapshot);
    assert_eq!(live.len() + gone.len(), events.len());
    assert_eq!(&seqs(&live) | &gone, seqs(events));
    for e in events.iter().rev().take(50) {
        assert!(snapshot.head(&log(), stream_hash(&e.stream_id)).unwrap().unwrap().last_seq.0 >= e.seq, "heads stay");
    }
}

#[test]
fn files_go_and_their_seqs_are_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let events = commit_parts(&tier, 5);
    let before = tier.pin();
    let middle = retirement(50, &before.files()[1..3], DeleteMode::Tombstone);
    let went = tier.retire(&middle, &go_on).unwrap();
    assert_eq!(went.ranges, 50, "two events a stream and file, in one range");
    assert_eq!(tier.retire(&middle, &go_on).unwrap().snapshot.version(), went.snapshot.version(), "again: a success");
    assert_whole(&went.snapshot, &events);
    assert_eq!(all(&before), events, "who pinned the version before still reads it");
    assert_eq!((names(dir.path(), ".parquet"), names(dir.path(), ".parquet.old")), (3, 2));
    assert_eq!(went.snapshot.log(&log()).unwrap().events, 500, "what was compacted stays compacted");
    assert_eq!(crate::verify_manifests(&tier), []);

    let error = tier.retire(&retirement(51, &before.files()[2..4], DeleteMode::Tombstone), &go_on).err().unwrap();
    assert!(matches!(error, RetireError::Commit(CommitError::NotLive { .. })), "{error}");
    let stop = tier.retire(&retirement(52, &before.files()[3..4], DeleteMode::Hard), &|| ControlFlow::Break(()));
    assert!(matches!(stop, Err(RetireError::Cancelled)));
    let mut strange = retirement(53, &before.files()[3..4], DeleteMode::Hard);
    strange.log = strandline_event::LogKey::single("Other");
    assert!(matches!(tier.retire(&strange, &go_on), Err(RetireError::Commit(CommitError::OtherLog { .. }))));
    assert_eq!(tier.pin().version(), went.snapshot.version());
}

#[test]
fn what_is_brought_back_is_retired_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let events = commit_parts(&tier, 5);
    let files = tier.pin().files().to_vec();
    for (job, n) in [(50, 0), (51, 3), (52, 2), (53, 4)] {
        tier.retire(&retirement(job, &files[n..=n], DeleteMode::Tombstone), &go_on).unwrap();
        assert_whole(&tier.pin(), &events);
    }
    assert_eq!(all(&tier.pin()), events[100..200]);
    let runs = tier.pin().log(&log()).unwrap().retired.len();
    assert!(runs <= 2, "{runs} runs: small ones are joined");
    // tombstones stand in the order in which they were put up: bring the second and the third back
    assert_eq!(bring_back(&tier, 60, &[1, 2]).unwrap().ranges, 50);
    assert_whole(&tier.pin(), &events);
    assert_eq!(retired(&tier.pin()), &seqs(&events[..100]) | &seqs(&events[400..]));
    assert_eq!((names(dir.path(), ".parquet"), names(dir.path(), ".parquet.old")), (3, 2));
    bring_back(&tier, 61, &[0, 1]).unwrap();
    assert_eq!((all(&tier.pin()), tier.pin().has_retired(&log())), (events.clone(), false));
    assert_eq!((names(dir.path(), ".parquet"), names(dir.path(), ".parquet.old")), (5, 0));
    assert!(tier.pin().same_retired(&tier.pin()) && tier.pin().manifest().tombstones.is_empty());
    assert_eq!(crate::verify_manifests(&tier), []);
}

#[test]
fn a_tombstone_ends_with_its_grace_period_and_the_file_after_its_last_reader() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let events = commit_parts(&tier, 3);
    let pinned = tier.pin();
    tier.retire(&retirement(50, &pinned.files()[..1], DeleteMode::Tombstone), &go_on).unwrap();
    assert_eq!(tier.expire(LATER, 60, LATER).unwrap(), 0, "it was put up right then");
    assert!(tier.sweep(EVER).unwrap().iter().all(|path| path.ends_with(".run")), "restorable files are never swept");
    let buried = tier.pin();
    let tombstones = buried.manifest().tombstones.inline.clone();
    assert_eq!(tier.expire(LATER.plus_us(1), 61, LATER).unwrap(), 1);
    drop(buried);
    tier.sweep(Micros::MIN).unwrap();
    assert_eq!((names(dir.path(), ".old"), all(&pinned) == events), (1, true), "a reader holds it");
    let error = tier.restore(&Restore { job_id: 62, at: LATER, tombstones }, &go_on).err().unwrap();
    assert!(matches!(error, RetireError::Commit(CommitError::NotBuried { .. })), "{error}");
    drop(pinned);
    assert_eq!(tier.sweep(Micros::MIN).unwrap().len(), 1, "no other grace period");
    assert_eq!((names(dir.path(), ".old"), names(dir.path(), ".parquet")), (0, 2));
    assert_whole(&tier.pin(), &events);
    drop(tier);
    let tier = open(dir.path(), &config(""));
    assert_whole(&tier.pin(), &events);
    assert!(tier.open_warnings().is_empty(), "{:?}", tier.open_warnings());
}

#[test]
fn hard_deletes_at_once_unless_somebody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let events = commit_parts(&tier, 3);
    let files = tier.pin().files().to_vec();
    tier.retire(&retirement(50, &files[..1], DeleteMode::Hard), &go_on).unwrap();
    assert_eq!((names(dir.path(), ".old"), names(dir.path(), ".parquet")), (0, 2));
    let reader = tier.pin();
    tier.retire(&retirement(51, &files[1..2], DeleteMode::Hard), &go_on).unwrap();
    assert_eq!((names(dir.path(), ".old"), all(&reader) == events[100..]), (1, true));
    drop(reader);
    assert_eq!(tier.sweep(Micros::MIN).unwrap().len(), 1);
    assert_eq!((names(dir.path(), ".old"), names(dir.path(), ".parquet")), (0, 1));
    assert_whole(&tier.pin(), &events);
}

#[test]
fn more_ranges_than_memory_holds_are_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let events = commit_parts(&tier, 5);
    let runs = names(dir.path(), ".run");
    for held_max in [16, 64, 1000] {
        let mut set = RangeSet::new(&tier, log()).holding(held_max);
        for file in tier.pin().files() {
            set.add_file(file, &go_on).unwrap();
        }
        set.finish();
        let ranges: Vec<RetiredRange> = set.ranges().collect();
        let all: BTreeSet<_> = ranges.iter().flat_map(|r| (r.first.0..=r.last.0).map(|seq| (r.stream, seq))).collect();
        assert_eq!((ranges.len(), set.rows(), all == seqs(&events)), (50, 500, true), "{held_max}");
        assert!(set.count_max() >= 50);
        drop(set);
        assert_eq!(names(dir.path(), ".run"), runs, "what was put aside goes with the set");
    }
}

#[test]
fn a_run_that_cannot_be_read_stops_retention_and_its_rebuilding() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    commit_parts(&tier, 3);
    let files = tier.pin().files().to_vec();
    tier.retire(&retirement(50, &files[..1], DeleteMode::Tombstone), &go_on).unwrap();
    let run = tier.pin().log(&log()).unwrap().retired[0].path.clone();
    drop(tier);
    std::fs::remove_file(dir.path().join("data").join(&run)).unwrap();
    let tier = open(dir.path(), &config(""));
    assert!(tier.pin().retired(&log(), 1).is_err());
    assert!(tier.pin().records(&log()).broken_run(RunKind::Retired).is_some(), "appends are refused by this");
    assert!(crate::verify_manifests(&tier).iter().any(|finding| finding.place == run));
    let refused = |error: RetireError| matches!(error, RetireError::Commit(CommitError::BrokenRun(_)));
    assert!(refused(tier.retire(&retirement(51, &files[1..2], DeleteMode::Tombstone), &go_on).err().unwrap()));
    assert!(refused(bring_back(&tier, 52, &[0]).err().unwrap()));
    let rebuilt = tier.rebuild_runs(&|_, _, _| None, 53, LATER);
    assert!(matches!(rebuilt[0].outcome, Err(RebuildError::Retired { events: 300, rows: 200 })), "{rebuilt:?}");
}

/// Does something with every operation of it failing once, opens the store again, finds it whole, does it to the end.
fn with_faults(act: &dyn Fn(&DurableTier) -> bool, check: &dyn Fn(&Arc<Snapshot>, &[Owned])) {
    let config = config("");
    let before = tempfile::tempdir().unwrap();
    let events = {
        let tier = open(before.path(), &config);
        let events = commit_parts(&tier, 3);
        let middle = tier.pin().files()[1..2].to_vec();
        tier.retire(&retirement(49, &middle, DeleteMode::Tombstone), &go_on).unwrap();
        events
    };
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::LostAnswer, Fault::FailOnce] {
        let mut failed = 0;
        for at in 1.. {
            let (dir, flaky, opened) = open_faulty(before.path(), &config, (at, fault), 78);
            let done = opened.as_ref().is_ok_and(act);
            failed += u32::from(!done);
            drop(opened);
            let tier = open(dir.path(), &config);
            if done {
                check(&tier.pin(), &events);
            }
            assert_whole(&tier.pin(), &events);
            assert!(tier.open_warnings().is_empty(), "{fault:?} at {at}: {:?}", tier.open_warnings());
            let live = tier.pin().files().len();
            assert_eq!(names(dir.path(), ".parquet"), live, "{fault:?} at {at}: a glob sees what is live");
            assert_eq!(crate::verify_manifests(&tier), [], "{fault:?} at {at}");
            assert!(act(&tier), "{fault:?} at {at}: it can be done now");
            check(&tier.pin(), &events);
            if flaky.operations() < at {
                break;
            }
        }
        assert!(failed > 1, "{fault:?}: something failed");
    }
}

#[test]
fn a_crash_at_any_operation_of_a_retirement_is_harmless() {
    for mode in [DeleteMode::Tombstone, DeleteMode::Hard] {
        with_faults(
            &|tier| {
                let due: Vec<_> = tier.pin().files().iter().filter(|f| f.through.0 <= 10).cloned().collect();
                due.is_empty() || tier.retire(&retirement(50, &due, mode), &go_on).is_ok()
            },
            &|snapshot, events| {
                assert_whole(snapshot, events);
                assert_eq!(all(snapshot), events[200..]);
            },
        );
    }
}

#[test]
fn a_crash_at_any_operation_of_a_restore_is_harmless() {
    with_faults(
        &|tier| tier.pin().manifest().tombstones.is_empty() || bring_back(tier, 50, &[0]).is_ok(),
        &|snapshot, events| assert_eq!((all(snapshot).as_slice(), snapshot.has_retired(&log())), (events, false)),
    );
}

#[test]
fn a_crash_at_any_operation_of_an_end_is_harmless() {
    with_faults(
        &|tier| tier.expire(EVER, 50, LATER).is_ok() && tier.sweep(Micros::MIN).is_ok(),
        &|snapshot, events| {
            assert_whole(snapshot, events);
            assert!(snapshot.manifest().tombstones.is_empty());
        },
    );
}

#[test]
fn where_a_stream_ended_is_told_with_what_retention_removed_since() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let events = commit_parts(&tier, 3);
    let stream = events[299].stream_id.as_str();
    let of_part = |n: usize| events[n * 100..(n + 1) * 100].iter().rev().find(|e| e.stream_id == stream).unwrap();
    let (first, second, third) = (of_part(0), of_part(1), of_part(2));
    let end = |moment: i64| {
        let (end, _) = tier.pin().end_at(&log(), stream, Micros(moment)).unwrap();
        (end.last.0, end.doubtful.map(|(first, last)| (first.0, last.0)))
    };
    let moments = [first.ingested_at, second.ingested_at, third.ingested_at];
    let lasts = [first.seq, second.seq, third.seq];
    let files = tier.pin().files().to_vec();
    let check = |exact: bool| {
        for (moment, last) in moments.into_iter().zip(lasts) {
            let (told, doubtful) = end(moment);
            assert!(
                told == last && doubtful.is_none() || !exact && told >= last && doubtful.is_some_and(|d| d.1 == told)
            );
        }
    };
    check(true);
    for (job, n) in [(50, 2), (51, 0), (52, 1)] {
        tier.retire(&retirement(job, &files[n..=n], DeleteMode::Tombstone), &go_on).unwrap();
        check(true);
    }
    // nothing is left that tells a moment, but of the last one
    tier.expire(Micros(i64::MAX), 60, LATER).unwrap();
    tier.sweep(EVER).unwrap();
    check(false);
    assert_eq!(end(i64::MAX), (third.seq, None));
}

/// More tombstones than a version file holds; of files that nobody wrote.
#[test]
fn tombstones_in_sealed_segments_end_as_others_do() {
    use crate::manifest::{Manifest, Tombstone, put, read_skeleton, seal};
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let events = commit_parts(&tier, 2);
    let mut next = tier.pin().manifest().clone();
    let manifests = Arc::clone(&tier.shared().manifests);
    next.previous_crc32c = Some(read_skeleton(&*manifests, next.version).unwrap().1);
    next.version += 1;
    let live = FileEntry::clone(&tier.pin().files()[0]);
    let tombstone = |n: i64| {
        let entry = FileEntry { path: format!("gone-{n}.parquet"), ..live.clone() };
        Tombstone { entry, at: Micros(START_US + n), job_id: 7 }
    };
    next.tombstones.inline = (0..600).map(tombstone).collect();
    seal(&*manifests, &mut next).unwrap();
    put(&*manifests, &next).unwrap();
    drop(tier);
    let tier = open(dir.path(), &config(""));
    let counts = || {
        let pinned = tier.pin();
        let Manifest { tombstones, replaced, .. } = pinned.manifest();
        (tombstones.segments.len(), tombstones.inline.len(), replaced.iter().count())
    };
    assert_eq!(counts(), (1, 0, 0));
    assert_eq!(tier.expire(Micros(START_US), 60, LATER).unwrap(), 0);
    assert_eq!(tier.expire(Micros(START_US + 50), 61, LATER).unwrap(), 50);
    assert_eq!(counts(), (1, 0, 50), "more than a version file holds are sealed anew");
    assert_eq!(tier.expire(Micros(START_US + 100), 62, LATER).unwrap(), 50);
    assert_eq!(counts(), (0, 500, 100));
    assert_eq!(crate::verify_manifests(&tier), []);
    assert_whole(&tier.pin(), &events);
}
