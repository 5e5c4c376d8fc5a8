//! An owner that was replaced can find out without a commit, and where it left off can be found later.

use super::tests::all;
use super::*;
use crate::testing::*;
use strandline_event::{LogIndex, LogKey};

#[test]
fn an_owner_that_was_replaced_finds_out_by_looking() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("");
    let old = open(dir.path(), &config);
    let events = history(10);
    let looks = |tier: &DurableTier| [false, true].map(|folded| tier.newer_owner(folded).unwrap());
    assert_eq!(looks(&old), [None, None]);
    let first = job(1, 0, 5);
    let (early, late) = (events[..5].to_vec(), events[5..].to_vec());
    let files = write(&old, &first, &early).unwrap();
    old.commit(&commit(&first, files, &early)).unwrap();
    assert_eq!(looks(&old), [None, None], "its own commits are no other's");
    let new = open(dir.path(), &config);
    assert_eq!(looks(&old), [Some(2), Some(2)]);
    let second = job(2, 5, 9);
    let files = write(&new, &second, &late).unwrap();
    new.commit(&commit(&second, files, &late)).unwrap();
    assert_eq!((looks(&old), looks(&new)), ([Some(2), Some(2)], [None, None]));
    assert_eq!(all(&new.pin()), events);
    // what came right behind its newest version is folded away
    assert!(new.fold(Micros(i64::MAX)).unwrap().versions > 0);
    assert_eq!(looks(&old)[1], Some(2));
}

#[test]
fn an_owner_of_another_store_in_the_place_of_this_one_replaces_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (root, config) = (dir.path().join("store"), config(""));
    let owner = open(&root, &config);
    std::fs::remove_dir_all(&root).unwrap();
    for n in 1..=4 {
        let (data, manifests) = folders(&root);
        drop(DurableTier::open_with(data, manifests, &config, options(n)).unwrap());
    }
    for folded in [false, true] {
        let unknown = owner.newer_owner(folded).unwrap_err();
        assert!(unknown.to_string().contains("another store's"), "{unknown}");
    }
}

#[test]
fn where_an_earlier_owner_left_off_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("");
    let (events, log) = (history(2), LogKey::single("Call"));
    let mut through = 0;
    for n in 1..=4 {
        let owner = open(dir.path(), &config);
        let job = job(n, through, through + 2);
        let files = write(&owner, &job, &events).unwrap();
        owner.commit(&commit(&job, files, &[])).unwrap();
        through += 2;
    }
    let last = open(dir.path(), &config);
    let found = |epoch| last.last_version_of(epoch).unwrap().map(|past| past.logs[&log].0);
    assert_eq!((1..=5).map(found).collect::<Vec<_>>(), [2, 4, 6, 8, 8].map(|n| Some(LogIndex(n))));
    last.fold(Micros(i64::MAX)).unwrap();
    assert_eq!((found(1), found(5)), (None, Some(LogIndex(8))));
}
