//! Files in the place of others: readers, names, sweeps, and what a crash at any operation leaves.

use super::tests::all;
use super::*;
use crate::objects::{Fault, StoreObjects};
use crate::testing::*;
use crate::{Replacement, RowFilter};
use std::collections::BTreeSet;
use std::sync::atomic::AtomicI64;

const EVER: Micros = Micros(i64::MAX);

/// One file in the place of `files`, which hold `events`.
fn merged(
    tier: &DurableTier,
    job_id: u128,
    files: &[Arc<FileEntry>],
    events: &[Owned],
) -> Result<Replacement, WriteError> {
    let job = job(job_id, 0, files.iter().map(|f| f.through.0).max().unwrap());
    let add = write(tier, &job, &events.to_vec())?;
    Ok(Replacement { job_id, at: Micros(START_US + 5), log: log(), remove: files.to_vec(), add, doubles: 0 })
}

#[test]
fn files_take_the_place_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let events = commit_parts(&tier, 4);
    let before = tier.pin();
    let replacement = merged(&tier, 50, &before.files()[..3], &events[..300]).unwrap();
    let version = tier.replace(&replacement).unwrap().version();
    assert_eq!(tier.replace(&replacement).unwrap().version(), version, "the same job again is a success");
    assert_eq!((tier.pin().files().len(), all(&tier.pin()) == events), (2, true));
    assert_eq!(all(&before), events, "who pinned the version before still reads it");
    assert_eq!((names(dir.path(), ".parquet"), names(dir.path(), ".parquet.old")), (2, 3));
    assert_eq!(crate::verify_manifests(&tier), []);
    assert!(tier.pin().files().iter().all(|file| crate::verify_file(&tier, file).is_empty()));

    let again = merged(&tier, 51, &before.files()[2..], &events[200..]).unwrap();
    let error = tier.replace(&again).err().unwrap();
    assert!(matches!(&error, CommitError::NotLive { path } if *path == before.files()[2].path), "{error}");
    let other = tier.pin();
    let fewer = merged(&tier, 52, other.files(), &events[..399]).unwrap();
    assert!(matches!(tier.replace(&fewer), Err(CommitError::RowsDiffer { removed: 400, added: 399, doubles: 0 })));
    let mut strange = merged(&tier, 53, other.files(), &events).unwrap();
    strange.log = strandline_event::LogKey::single("Other");
    assert!(matches!(tier.replace(&strange), Err(CommitError::OtherLog { .. })));
    assert_eq!(tier.pin().version(), version);
    assert_eq!(names(dir.path(), ".tmp"), 0, "what was refused is taken away");

    // a retry that wrote its files anew: only what was committed has a name that a glob sees
    let retry = merged(&tier, 50, &before.files()[..3], &events[..300]).unwrap();
    assert_ne!(retry.add[0].path, replacement.add[0].path);
    assert_eq!(tier.replace(&retry).unwrap().version(), version);
    commit_job(&tier, &job(4, 30, 40), &events[300..]);
    assert_eq!((names(dir.path(), ".parquet"), names(dir.path(), ".tmp")), (2, 0));

    // a retry after another commit
    let last = job(9, 40, 50);
    tier.commit(&commit(&last, Vec::new(), &[])).unwrap();
    assert_eq!(tier.replace(&replacement).unwrap().version(), version + 1);
}

#[test]
fn doubles_leave_the_count_of_events() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let events = commit_parts(&tier, 2);
    let pinned = tier.pin();
    let fewer = Replacement { doubles: 10, ..merged(&tier, 50, pinned.files(), &events[..190]).unwrap() };
    tier.replace(&fewer).unwrap();
    assert_eq!(tier.pin().log(&log()).unwrap().events, 190, "so that runs can still be rebuilt from files");
}

#[test]
fn replaced_runs_go_soon_and_a_version_that_is_open_keeps_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let events = history(400);
    commit_job(&tier, &job(1, 0, 10), &events[..100]);
    let pinned = tier.pin();
    let stream = strandline_event::hash::stream_hash(&events[0].stream_id);
    let head = pinned.head(&log(), stream).unwrap().unwrap();
    for (n, part) in (2_u64..).zip(events[100..].chunks(100)) {
        commit_job(&tier, &job(u128::from(n), (n - 1) * 10, n * 10), part);
    }
    let live = |tier: &DurableTier| tier.pin().manifest().runs().count();
    assert!(names(dir.path(), ".run") > live(&tier), "commits have replaced runs");
    assert!(tier.sweep_runs(Micros(START_US + 5)).unwrap().is_empty(), "too young");
    let data = names(dir.path(), ".parquet");
    assert!(!tier.sweep_runs(EVER).unwrap().is_empty() && tier.sweep_runs(EVER).unwrap().is_empty());
    assert_eq!((names(dir.path(), ".run"), names(dir.path(), ".parquet")), (live(&tier), data));
    assert_eq!(pinned.head(&log(), stream).unwrap(), Some(head), "it has its runs open");
    drop((pinned, tier));
    let tier = open(dir.path(), &config(""));
    assert_eq!(tier.pin().broken_runs().count(), 0);
    let retired = "_runs/T/retired-0-n1-e1-0000000001.run";
    assert_eq!(crate::runs::RunKind::of_path(retired), Some(crate::runs::RunKind::Retired), "these wait");
}

#[test]
fn replaced_files_go_when_nobody_needs_them() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let events = commit_parts(&tier, 4);
    let pinned = tier.pin();
    tier.replace(&merged(&tier, 50, &pinned.files()[..2], &events[..200]).unwrap()).unwrap();
    let second = tier.pin();
    tier.replace(&merged(&tier, 51, &second.files()[..2], &events[200..]).unwrap()).unwrap();
    let runs_go = tier.sweep(Micros(START_US + 5)).unwrap();
    assert!(runs_go.is_empty() && names(dir.path(), ".old") == 4, "in their grace period: {runs_go:?}");

    assert!(tier.sweep(EVER).unwrap().iter().all(|path| path.ends_with(".run")), "pinned");
    drop(pinned);
    assert_eq!(all(&second), events);
    let gone = tier.sweep(EVER).unwrap();
    assert_eq!((gone.len(), names(dir.path(), ".old")), (2, 2), "the second version still needs the others: {gone:?}");
    assert_eq!(all(&second), events);
    drop(second);
    assert_eq!(tier.sweep(EVER).unwrap().len(), 2);
    assert!(tier.sweep(EVER).unwrap().is_empty());
    assert_eq!((names(dir.path(), ".old"), all(&tier.pin()) == events), (0, true));

    assert_eq!(tier.pin().manifest().replaced.iter().count(), 4, "until the next commit");
    let next = job(9, 40, 50);
    tier.commit(&commit(&next, Vec::new(), &[])).unwrap();
    assert_eq!(tier.pin().manifest().replaced.iter().count(), 0);
}

#[test]
fn a_version_is_of_the_moment_of_its_commit_however_long_its_job_took() {
    static NOW: AtomicI64 = AtomicI64::new(START_US);
    fn clock() -> Micros {
        Micros(NOW.load(Ordering::SeqCst))
    }
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let events = commit_parts(&tier, 4);
    tier.take_moments_of(clock);
    let merge = merged(&tier, 50, &tier.pin().files()[..2], &events[..200]).unwrap();
    // beside the merge, which takes an hour, another job begins and ends
    let (later, end) = (Micros(START_US + 60_000_000), Micros(START_US + 3_600_000_000));
    NOW.store(later.0, Ordering::SeqCst);
    tier.commit(&commit(&job(9, 40, 50), Vec::new(), &[])).unwrap();
    assert_eq!(tier.pin().committed_at(), later);
    NOW.store(end.0, Ordering::SeqCst);
    assert_eq!(tier.replace(&merge).unwrap().committed_at(), end);
    tier.sweep(end).unwrap();
    assert_eq!(names(dir.path(), ".old"), 2, "readers of other processes have them for the whole grace period");
    tier.sweep(end.plus_us(1)).unwrap();
    assert_eq!(names(dir.path(), ".old"), 0);

    // the clock of the system is set back, then another one's is behind: moments of versions never fall
    NOW.store(START_US, Ordering::SeqCst);
    let text = Update::Config("CREATE EVENTSTORE t".to_owned());
    assert_eq!(tier.update(&text, 60, Micros(START_US)).unwrap().committed_at(), end);
    drop(tier);
    let tier = open(dir.path(), &config(""));
    assert_eq!(tier.pin().committed_at(), end);
    let moments = tier.history(100).unwrap().into_iter().map(|version| version.committed_at);
    assert!(moments.is_sorted_by(|newer, older| newer >= older));
}

#[test]
fn a_scan_pins_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(""));
    let events = commit_parts(&tier, 4);
    let mut scan = tier.pin().scan(&RowFilter::default());
    let mut rows = scan.next().unwrap().unwrap().rows();
    tier.replace(&merged(&tier, 50, tier.pin().files(), &events).unwrap()).unwrap();
    tier.sweep(EVER).unwrap();
    rows += scan.map(|batch| batch.unwrap().rows()).sum::<usize>();
    assert_eq!((rows, names(dir.path(), ".old")), (400, 4));
    assert_eq!(tier.sweep(EVER).unwrap().len(), 4);
}

#[test]
fn after_a_restart_nobody_pins_and_what_is_gone_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("");
    let tier = open(dir.path(), &config);
    let events = commit_parts(&tier, 3);
    let pinned = tier.pin();
    tier.replace(&merged(&tier, 50, &pinned.files()[..2], &events[..200]).unwrap()).unwrap();
    let paths: Vec<_> = pinned.files()[..2].iter().map(|f| tier.local_path(f).unwrap()).collect();
    let link = dir.path().join("data").join(crate::delta::names::link(&pinned.files()[0].path));
    drop((tier, pinned));
    // one was removed before the end of the process, one keeps the name of a live file
    std::fs::remove_file(link).unwrap();
    std::fs::remove_file(&paths[0]).unwrap();
    std::fs::copy(&paths[1], paths[1].with_extension("")).unwrap();
    std::fs::remove_file(&paths[1]).unwrap();
    let tier = open(dir.path(), &config);
    assert_eq!(tier.open_warnings(), [""; 0]);
    assert_eq!((names(dir.path(), ".parquet"), names(dir.path(), ".parquet.old")), (2, 1));
    let next = job(9, 30, 50);
    tier.commit(&commit(&next, Vec::new(), &[])).unwrap();
    assert_eq!(tier.pin().manifest().replaced.iter().count(), 1);
    let gone = tier.sweep(EVER).unwrap();
    assert_eq!(gone.iter().filter(|path| path.ends_with(".parquet")).count(), 1);
    assert_eq!(all(&tier.pin()), events);
}

#[test]
fn entries_leave_sealed_segments() {
    let (data, manifests) = (StoreObjects::memory().unwrap(), StoreObjects::memory().unwrap());
    let (data, manifests): (SharedObjects, SharedObjects) = (Arc::new(data), Arc::new(manifests));
    let config =
        config(", partition.by = 'dt', partition.dt.expr = 'HOUR(occurred_at)', partition.dt.granularity = 'hour'");
    let tier = DurableTier::open_with(Arc::clone(&data), Arc::clone(&manifests), &config, options(1)).unwrap();
    let events = history(5000);
    commit_each(&tier, &events, 500);
    let pinned = tier.pin();
    let group = pinned.manifest().groups.values().next().unwrap();
    assert!(!group.segments.is_empty());
    let sealed = &group.segments[0].1;
    let of = |file: &FileEntry| sealed.iter().filter(|f| f.partition == file.partition).cloned().collect::<Vec<_>>();
    let files = sealed.iter().map(|file| of(file)).find(|files| files.len() > 1).unwrap();
    let mut rows: Vec<Owned> = Vec::new();
    for file in &files {
        let batches = pinned.scan_file(file);
        rows.extend(
            batches
                .flat_map(|b| b.unwrap().iter().map(|e| e.event_id).collect::<Vec<_>>())
                .map(|id| events.iter().find(|e| e.event_id == id).unwrap().clone()),
        );
    }
    tier.replace(&merged(&tier, 50, &files, &rows).unwrap()).unwrap();
    assert_eq!(tier.pin().files().len(), pinned.files().len() - files.len() + 1);
    drop(tier);
    let tier = DurableTier::open_with(data, manifests, &config, options(2)).unwrap();
    assert_eq!(all(&tier.pin()), events);
    assert_eq!(crate::verify_manifests(&tier), []);
    let gone = tier.sweep(EVER).unwrap();
    assert_eq!(gone.iter().filter(|path| path.ends_with(".parquet")).count(), files.len(), "nobody pins them");
    assert_eq!(all(&tier.pin()), events);
}

#[test]
fn two_owners_cannot_both_replace() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("");
    let old = open(dir.path(), &config);
    let events = commit_parts(&old, 3);
    let inputs = old.pin();
    let late = merged(&old, 50, inputs.files(), &events).unwrap();
    let new = open(dir.path(), &config);
    new.replace(&merged(&new, 51, new.pin().files(), &events).unwrap()).unwrap();
    assert!(matches!(old.replace(&late), Err(CommitError::StaleEpoch { ours: 1, found: 2 })));
    assert!(old.sweep(EVER).unwrap().is_empty(), "who lost deletes nothing");
    assert_eq!(all(&inputs), events, "what it pinned is there");
    assert_eq!((all(&new.pin()), names(dir.path(), ".tmp")), (events, 0));
}

#[test]
fn a_fault_at_every_operation_of_a_replacement_is_harmless() {
    let config = config("");
    let before = tempfile::tempdir().unwrap();
    let events = commit_parts(&open(before.path(), &config), 2);
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::LostAnswer, Fault::FailOnce] {
        let mut outcomes = BTreeSet::new();
        for at in 1.. {
            let (dir, flaky, opened) = open_faulty(before.path(), &config, (at, fault), 3);
            let outcome = opened.as_ref().map_or(Err("not open".to_owned()), |tier| {
                let inputs = tier.pin();
                let replacement = merged(tier, 50, inputs.files(), &events).map_err(|e| e.to_string())?;
                let outcome = tier.replace(&replacement).map(drop).map_err(|e| e.to_string());
                if fault == Fault::FailOnce || fault == Fault::LostAnswer {
                    assert_eq!(all(&inputs), events, "{fault:?} at {at}");
                    assert_eq!(all(&tier.pin()), events, "{fault:?} at {at}");
                }
                outcome
            });
            drop(opened);
            let tier = open(dir.path(), &config);
            let pinned = tier.pin();
            assert_eq!(all(&pinned), events, "{fault:?} at {at}");
            let replaced = pinned.manifest().replaced.iter().count();
            assert!(replaced > 0 || outcome.is_err(), "{fault:?} at {at}: what was answered is true");
            assert_eq!(names(dir.path(), ".parquet"), pinned.files().len(), "{fault:?} at {at}: a glob is exact");
            assert_eq!(names(dir.path(), ".parquet.old"), replaced, "{fault:?} at {at}");
            tier.sweep(EVER).unwrap();
            assert_eq!(names(dir.path(), ".tmp") + names(dir.path(), ".old"), 0, "{fault:?} at {at}");
            assert_eq!(all(&tier.pin()), events, "{fault:?} at {at}");
            assert_eq!(crate::verify_manifests(&tier), [], "{fault:?} at {at}");
            outcomes.insert((replaced > 0, outcome.is_ok()));
            if flaky.operations() < at {
                break;
            }
        }
        assert!(outcomes.contains(&(true, true)) && outcomes.contains(&(false, false)), "{fault:?}: {outcomes:?}");
    }
}
