//! The names of data files: a file with two of them, a deletion that was cut short, a sweep beside commits.

use super::tests::all;
use super::*;
use crate::Replacement;
use crate::objects::{Fault, FlakyObjects, LocalObjects, Objects as _};
use crate::testing::*;
use crate::tier::commit::{DeleteMode, Restore, Retirement};
use std::ops::ControlFlow;
use std::path::Path;

const EVER: Micros = Micros(i64::MAX);

fn prepare(root: &Path, parts: u64) -> (DurableTier, Vec<Owned>) {
    let tier = open(root, &config(""));
    let events = commit_parts(&tier, parts);
    (tier, events)
}

fn read_only(root: &Path) -> DurableTier {
    let (data, manifests) = folders(root);
    DurableTier::open_read_only_with(data, manifests, &config("")).unwrap()
}

fn retire(tier: &DurableTier, mode: DeleteMode) -> String {
    let files = vec![Arc::clone(&tier.pin().files()[0])];
    let path = files[0].path.clone();
    let retirement = Retirement { job_id: 50, at: Micros(START_US + 5), log: log(), files, mode };
    tier.retire(&retirement, &|| ControlFlow::Continue(())).unwrap();
    path
}

/// What a folder of data files holds besides runs and the Delta log.
fn names(root: &Path) -> Vec<String> {
    let listed = LocalObjects::read_only(&root.join("data")).list("").unwrap();
    let names = listed.into_iter().map(|info| info.path);
    names.filter(|path| path.contains(".parquet") && !path.starts_with("_delta")).collect()
}

#[test]
fn a_rename_between_two_links_of_one_file_leaves_one_name() {
    let dir = tempfile::tempdir().unwrap();
    let objects = LocalObjects::open(dir.path()).unwrap();
    objects.put_new("a", b"x").unwrap();
    objects.link("a", "b").unwrap();
    objects.rename("a", "b").unwrap();
    assert!(!objects.exists("a").unwrap() && objects.exists("b").unwrap());
}

#[test]
fn what_a_file_has_besides_its_name_goes_at_the_next_start_and_with_a_sweep() {
    for (live, restart) in [(true, true), (true, false), (false, true), (false, false)] {
        let dir = tempfile::tempdir().unwrap();
        let (tier, events) = prepare(dir.path(), 3);
        let path = if live { tier.pin().files()[0].path.clone() } else { retire(&tier, DeleteMode::Tombstone) };
        let objects = LocalObjects::open(&dir.path().join("data")).unwrap();
        let (is, also) = if live { ("", ".tmp") } else { (".old", "") };
        objects.link(&format!("{path}{is}"), &format!("{path}{also}")).unwrap();
        let found = crate::verify_replaced(&tier).findings;
        assert!(found.len() == 1 && found[0].place == path, "{found:?}");
        let tier = match restart {
            true => {
                drop(tier);
                open(dir.path(), &config(""))
            }
            false => {
                tier.sweep(Micros::MIN).unwrap();
                tier
            }
        };
        let expected = |name: &String| *name == format!("{path}{is}") || !name.starts_with(&path);
        assert!(names(dir.path()).iter().all(expected), "{:?}", names(dir.path()));
        assert_eq!((names(dir.path()).len(), crate::verify_replaced(&tier).findings), (3, vec![]));
        assert_eq!(all(&tier.pin()).len(), if live { events.len() } else { events.len() - 100 });
    }
}

#[test]
fn a_crash_before_a_removed_file_is_renamed_is_told_and_mended() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _) = prepare(dir.path(), 2);
    let path = retire(&tier, DeleteMode::Tombstone);
    let objects = LocalObjects::open(&dir.path().join("data")).unwrap();
    objects.rename(&format!("{path}.old"), &path).unwrap();
    let report = crate::verify_replaced(&tier);
    assert_eq!((report.findings, report.seen), (vec![], 1));
    tier.sweep(Micros::MIN).unwrap();
    assert_eq!(crate::verify_replaced(&tier).seen, 0);
}

#[test]
fn a_live_file_that_no_glob_sees_is_told_and_mended() {
    for (suffix, restart) in [(".tmp", true), (".old", true), (".tmp", false), (".old", false)] {
        let dir = tempfile::tempdir().unwrap();
        let (tier, _) = prepare(dir.path(), 2);
        let path = tier.pin().files()[0].path.clone();
        let objects = LocalObjects::open(&dir.path().join("data")).unwrap();
        objects.rename(&path, &format!("{path}{suffix}")).unwrap();
        let report = crate::verify_replaced(&tier);
        assert_eq!((report.findings, report.hidden, report.seen), (vec![], 1, 0), "{suffix}");
        let tier = match restart {
            true => {
                drop(tier);
                open(dir.path(), &config(""))
            }
            false => {
                tier.sweep(Micros::MIN).unwrap();
                tier
            }
        };
        assert_eq!(crate::verify_replaced(&tier).hidden, 0, "{suffix}");
        assert!(objects.exists(&path).unwrap());
    }
}

#[test]
fn a_deletion_that_was_cut_short_is_ended() {
    for link_is_left in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (tier, _) = prepare(dir.path(), 2);
        let reader = tier.pin();
        let path = retire(&tier, DeleteMode::Hard);
        drop((reader, tier));
        let link = crate::delta::names::link(&path);
        // an older program took the link away last
        let gone = if link_is_left { format!("{path}.old") } else { link.clone() };
        std::fs::remove_file(dir.path().join("data").join(gone)).unwrap();
        let tier = read_only(dir.path());
        assert_eq!(crate::verify_replaced(&tier).findings, []);
        let tier = open(dir.path(), &config(""));
        tier.sweep(Micros::MIN).unwrap();
        assert!(!dir.path().join("data").join(&link).exists() && names(dir.path()).len() == 1);
        assert_eq!(crate::verify_replaced(&tier).findings, []);
    }
}

#[test]
fn a_sweep_beside_a_commit_gives_no_file_two_names() {
    // what a sweep sees of a file that is committed and not yet published, or brought back and not yet renamed
    for suffix in [".tmp", ".old"] {
        let dir = tempfile::tempdir().unwrap();
        let (tier, events) = prepare(dir.path(), 2);
        let path = tier.pin().files()[0].path.clone();
        let objects = LocalObjects::open(&dir.path().join("data")).unwrap();
        objects.rename(&path, &format!("{path}{suffix}")).unwrap();
        tier.sweep(EVER).unwrap();
        assert_eq!(names(dir.path()), tier.pin().files().iter().map(|f| f.path.clone()).collect::<Vec<_>>());
        assert_eq!(all(&tier.pin()), events);
    }
}

/// A commit is true before its files have their names: what another one means by then counts.
#[test]
fn a_commit_between_another_one_and_its_renames_has_the_last_word() {
    for merges in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        drop(prepare(dir.path(), 2));
        let (data, manifests) = folders(dir.path());
        let flaky = FlakyObjects::new(data, 0, Fault::FailOnce);
        let objects: SharedObjects = Arc::new(flaky.clone());
        let tier = DurableTier::open_with(objects, manifests, &config(""), options(7)).unwrap();
        let events = all(&tier.pin());
        let file = Arc::clone(&tier.pin().files()[0]);
        // the Delta log is written right behind a commit, before files are renamed
        let other = tier.clone();
        if merges {
            retire(&tier, DeleteMode::Tombstone);
            let add = write(&tier, &job(60, 0, 10), &events[..100].to_vec()).unwrap();
            let (remove, at) = (vec![Arc::clone(&file)], Micros(START_US + 6));
            let merge = Replacement { job_id: 60, at, log: log(), remove, add, doubles: 0 };
            flaky.meanwhile_on("_delta_log", move || drop(other.replace(&merge).unwrap()));
            restore(&tier, 61);
        } else {
            flaky.meanwhile_on("_delta_log", move || restore(&other, 61));
            retire(&tier, DeleteMode::Tombstone);
        }
        assert!(!flaky.was_not_reached());
        let live: Vec<String> = tier.pin().files().iter().map(|file| file.path.clone()).collect();
        assert_eq!(live.contains(&file.path), !merges);
        let mut seen = names(dir.path());
        seen.retain(|path| path.ends_with(".parquet"));
        seen.sort_unstable();
        let mut wanted = live;
        wanted.sort_unstable();
        assert_eq!(seen, wanted, "a glob sees what is live");
        assert_eq!((all(&tier.pin()), crate::verify_replaced(&tier).findings), (events, vec![]));
    }
}

fn restore(tier: &DurableTier, job_id: u128) {
    let tombstones = tier.pin().manifest().tombstones.inline.clone();
    assert_eq!(tombstones.len(), 1);
    tier.restore(&Restore { job_id, at: Micros(START_US + 6), tombstones }, &|| ControlFlow::Continue(())).unwrap();
}
