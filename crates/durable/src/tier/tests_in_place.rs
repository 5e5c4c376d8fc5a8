//! Files that are away where the manifests that name them are there.

use super::*;
use crate::SharedObjects;
use crate::objects::{LocalObjects, StoreObjects};
use crate::testing::*;
use std::sync::Arc;
use strandline_event::ErrorKind;

fn apart() -> StoreConfig {
    config(", durable.commit.manifest_path = '/elsewhere'")
}

/// Data files, manifests, and what stands in the place of the files where their disk is not mounted.
type Places = [SharedObjects; 3];

fn in_memory() -> Places {
    [(); 3].map(|()| Arc::new(StoreObjects::memory().unwrap()) as SharedObjects)
}

fn in_folders(root: &Path) -> Places {
    ["data", "manifests", "bare"].map(|name| Arc::new(LocalObjects::open(&root.join(name)).unwrap()) as SharedObjects)
}

fn owner_of(data: &SharedObjects, manifests: &SharedObjects, config: &StoreConfig) -> DurableTier {
    DurableTier::open_with(Arc::clone(data), Arc::clone(manifests), config, options(7)).unwrap()
}

/// As a start judges the store, with its files in this place.
fn look(data: &SharedObjects, manifests: &SharedObjects, config: &StoreConfig) -> Result<(), OpenError> {
    DurableTier::open_read_only_with(Arc::clone(data), Arc::clone(manifests), config)?.refuse_files_away(config)
}

fn away(outcome: Result<(), OpenError>) -> FilesAway {
    let Err(refused) = outcome else { panic!("not refused") };
    assert_eq!(refused.kind(), ErrorKind::Integrity);
    let text = refused.to_string();
    let OpenError::FilesAway(away) = refused else { panic!("another refusal: {text}") };
    assert!(["/nowhere", "/elsewhere", "mounted", &away.mark].iter().all(|part| text.contains(part)), "{text}");
    away
}

#[test]
fn files_that_are_away_are_missed_by_the_mark_or_by_what_is_named() {
    let (dir, config) = (tempfile::tempdir().unwrap(), apart());
    for [data, manifests, bare] in [in_folders(dir.path()), in_memory()] {
        let tier = owner_of(&data, &manifests, &config);
        let id = id_of(&tier.pin());
        let (mark, note) = (format!("{MARK_PREFIX}{id}"), format!("{NOTE_PREFIX}{id}"));
        // nothing is named, and nobody has marked the places yet
        look(&bare, &manifests, &config).unwrap();
        tier.mark_places(&config);
        assert!(data.exists(&mark).unwrap() && manifests.exists(&note).unwrap());
        look(&data, &manifests, &config).unwrap();
        let missed = away(look(&bare, &manifests, &config));
        assert_eq!((&missed.mark, missed.named), (&mark, 0), "an empty store, as one whose files retention has taken");

        commit_job(&tier, &job(1, 0, 9), &history(9));
        assert!(away(look(&bare, &manifests, &config)).named > 0);
        // as an older program leaves it
        data.delete(&mark).unwrap();
        manifests.delete(&note).unwrap();
        look(&data, &manifests, &config).unwrap();
        assert!(away(look(&bare, &manifests, &config)).named > 0);
        tier.mark_places(&config);
        // its files were put back without the mark
        data.delete(&mark).unwrap();
        look(&data, &manifests, &config).unwrap();
        tier.mark_places(&config);
        assert!(data.exists(&mark).unwrap());
        // files of others are none of its own
        bare.put_new("photos/a.jpg", b"x").unwrap();
        away(look(&bare, &manifests, &config));
        // the way on that the text names
        bare.put_new(&mark, b"").unwrap();
        look(&bare, &manifests, &config).unwrap();
    }
}

#[test]
fn a_file_that_is_set_aside_or_staged_is_there() {
    let (dir, config) = (tempfile::tempdir().unwrap(), apart());
    let [data, manifests, _] = in_folders(dir.path());
    let tier = owner_of(&data, &manifests, &config);
    commit_job(&tier, &job(1, 0, 9), &history(9));
    let file = tier.pin().files()[0].path.clone();
    // of all that is named one file is left, under a name that a crash may leave
    let runs: Vec<String> = tier.pin().manifest().runs().map(|run| run.path.clone()).collect();
    data.delete_all(&runs).unwrap();
    for [from, to] in [["", ".tmp"], [".tmp", ".old"]] {
        data.rename(&format!("{file}{from}"), &format!("{file}{to}")).unwrap();
        look(&data, &manifests, &config).unwrap();
    }
}

#[test]
fn names_alone_tell_that_the_files_are_away() {
    let (dir, config) = (tempfile::tempdir().unwrap(), apart());
    for [data, manifests, bare] in [in_folders(dir.path()), in_memory()] {
        let look = |data: &SharedObjects| DurableTier::refuse_bare(&**data, &*manifests, &config);
        look(&bare).unwrap();
        let tier = owner_of(&data, &manifests, &config);
        look(&bare).unwrap();
        tier.mark_places(&config);
        look(&data).unwrap();
        assert_eq!(away(look(&bare)).mark, format!("{MARK_PREFIX}{}", id_of(&tier.pin())));
        // what is there may be this store's: that is found out when it is opened
        bare.put_new("dt=2026-01-01/x.parquet", b"x").unwrap();
        look(&bare).unwrap();
    }
}

#[test]
fn what_is_left_of_a_store_that_was_removed_misses_no_files() {
    let (dir, config) = (tempfile::tempdir().unwrap(), apart());
    for [data, manifests, bare] in [in_folders(dir.path()), in_memory()] {
        let look = || DurableTier::refuse_bare(&*bare, &*manifests, &config);
        owner_of(&data, &manifests, &config).mark_places(&config);
        away(look());
        // as `rm -r manifests/*` does
        for info in manifests.list("").unwrap().iter().filter(|info| !info.path.starts_with('.')) {
            manifests.delete(&info.path).unwrap();
        }
        assert!(manifests.list("").unwrap().iter().any(|info| info.path.starts_with(NOTE_PREFIX)));
        look().unwrap();
    }
}

#[test]
fn where_the_manifests_are_below_the_files_nothing_is_marked_or_missed() {
    let (dir, config) = (tempfile::tempdir().unwrap(), config(""));
    let [data, manifests, bare] = in_folders(dir.path());
    let tier = owner_of(&data, &manifests, &config);
    commit_job(&tier, &job(1, 0, 9), &history(9));
    tier.mark_places(&config);
    let listed = [&data, &manifests].map(|objects| objects.list("").unwrap());
    let hidden = listed.iter().flatten().filter(|info| info.path.starts_with('.')).count();
    assert_eq!(hidden, 0);
    look(&bare, &manifests, &config).unwrap();
    DurableTier::refuse_bare(&*bare, &*manifests, &config).unwrap();
}
