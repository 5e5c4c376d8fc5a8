//! Threads over one folder, and what is done to its files from outside.

use super::*;
use std::sync::Barrier;

fn subject(name: &str) -> Subject {
    Subject { store: "calls".into(), stream_type: "Call".into(), name: name.into() }
}

fn tombstone(events: u64) -> Tombstone {
    Tombstone { at_us: 7, who: "ops".into(), events }
}

fn secret(byte: u8) -> Secret {
    Secret::new([byte; Secret::BYTES])
}

fn open(place: &tempfile::TempDir) -> KeyFolder {
    KeyFolder::open(place.path(), [1; 16]).unwrap()
}

/// What each of eight does at once, from the same moment on.
fn at_once<T: Send>(what: impl Fn(u8) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(8);
    let (barrier, what) = (&barrier, &what);
    std::thread::scope(|scope| {
        let one = |n: u8| {
            scope.spawn(move || {
                barrier.wait();
                what(n)
            })
        };
        let all: Vec<_> = (1..=8).map(one).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn whole(found: Option<(SubjectKeyId, Stored)>) -> (SubjectKeyId, [u8; 32]) {
    match found {
        Some((id, Stored::Whole(secret))) => (id, *secret.expose()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nodes_that_open_it_at_once_have_the_same_one() {
    let place = tempfile::tempdir().unwrap();
    let ids = at_once(|n| KeyFolder::open(place.path(), [n; 16]).unwrap().id());
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let folder = KeyFolder::open(place.path(), [99; 16]).unwrap();
    assert_eq!(folder.id(), ids[0]);
    folder.check().unwrap();
    assert_eq!(fs::read_dir(place.path().join(ASIDE)).unwrap().count(), 0);
}

#[test]
fn of_keys_that_are_made_at_once_one_is_there_and_all_find_it() {
    let place = tempfile::tempdir().unwrap();
    let folder = open(&place);
    for round in 0..20 {
        let subject = subject(&format!("s{round}"));
        let made = at_once(|n| {
            let is_mine = folder.make(&subject, ([n; 16], &secret(n)), [n; 16]).unwrap();
            (n, is_mine, whole(folder.find(&subject).unwrap()))
        });
        let mine: Vec<u8> = made.iter().filter(|made| made.1).map(|made| made.0).collect();
        assert_eq!(mine.len(), 1, "{made:?}");
        assert!(made.iter().all(|made| made.2 == ([mine[0]; 16], [mine[0]; 32])), "{made:?}");
    }
    assert!(folder.find(&subject("none")).unwrap().is_none());
    assert!(folder.has(&name_of(&subject("s0"))).unwrap() && !folder.has(&name_of(&subject("none"))).unwrap());
    assert_eq!(fs::read_dir(place.path().join(ASIDE)).unwrap().count(), 0);
}

#[test]
fn a_destroyed_key_is_in_no_byte_of_the_folder_and_gives_its_name_to_no_other() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let folder = open(&place);
    assert!(folder.make(&subject("a"), ([5; 16], &secret(0xc3)), [2; 16]).unwrap());
    let path = folder.key_path(&subject("a"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read(&path).unwrap().windows(32).any(|part| part == [0xc3; 32]));
    // what a crash left aside, in a folder that was copied file by file
    let aside = place.path().join(ASIDE).join("left");
    fs::copy(&path, &aside).unwrap();
    fs::write(place.path().join(ASIDE).join("torn"), b"SLKR").unwrap();
    for _ in 0..2 {
        folder.destroy(&subject("a")).unwrap();
        for path in [&path, &aside] {
            assert!(!fs::read(path).unwrap().windows(4).any(|part| part == [0xc3; 4]));
        }
        assert!(matches!(folder.find(&subject("a")).unwrap(), Some((id, Stored::Destroyed)) if id == [5; 16]));
    }
    assert!(!folder.make(&subject("a"), ([6; 16], &secret(6)), [3; 16]).unwrap());
    assert!(matches!(folder.find(&subject("a")).unwrap(), Some((_, Stored::Destroyed))));
}

#[test]
fn tombstones_that_come_at_once_have_an_order_without_a_gap() {
    let place = tempfile::tempdir().unwrap();
    let folder = open(&place);
    let numbers = at_once(|n| {
        let (subject, tombstone) = (subject(&n.to_string()), tombstone(u64::from(n)));
        (1..).find(|number| folder.add_erased(*number, ([n; 16], &subject, &tombstone), [n; 16]).unwrap()).unwrap()
    });
    let mut order = numbers.clone();
    order.sort_unstable();
    assert_eq!(order, (1..=8).collect::<Vec<u64>>());
    for (n, number) in (1_u8..).zip(numbers) {
        let erased = folder.erased(number).unwrap().unwrap();
        assert_eq!((erased.id, erased.tombstone), ([n; 16], tombstone(u64::from(n))));
        assert_eq!(erased.subject, subject(&n.to_string()));
    }
    assert_eq!(folder.erased(9).unwrap(), None);
}

#[test]
fn what_one_writes_the_other_sees_only_where_they_share_it() {
    let (place, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second, other) = (open(&place), open(&place), open(&elsewhere));
    first.probe(1, [7; 16]).unwrap();
    second.answer_probes(2, &[1, 2, 3]).unwrap();
    other.answer_probes(3, &[1, 2, 3]).unwrap();
    let seen = |bits, by| first.is_seen(1, bits, by).unwrap();
    assert_eq!([seen([7; 16], 2), seen([8; 16], 2), seen([7; 16], 3)], [true, false, false]);
    // asked again, and not yet answered
    first.probe(1, [8; 16]).unwrap();
    assert!(!seen([8; 16], 2));
    second.answer_probes(2, &[1, 2]).unwrap();
    assert!(seen([8; 16], 2));
}

#[test]
fn another_folder_in_its_place_is_told_from_it() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("keys of subjects");
    let folder = KeyFolder::open(&path, [1; 16]).unwrap();
    fs::remove_dir_all(&path).unwrap();
    assert!(matches!(folder.check(), Err(FolderError::Gone(_))));
    assert_eq!(KeyFolder::open(&path, [2; 16]).unwrap().id(), [2; 16]);
    assert!(matches!(folder.check(), Err(FolderError::Gone(_))));
    fs::write(path.join(ID_FILE), b"SLSUBF\x02\0").unwrap();
    assert!(matches!(KeyFolder::open(&path, [3; 16]), Err(FolderError::Foreign(_))), "a later version");
    let full = tempfile::tempdir().unwrap();
    fs::write(full.path().join("letter"), b"dear").unwrap();
    assert!(matches!(KeyFolder::open(full.path(), [3; 16]), Err(FolderError::Foreign(_))));
    assert_eq!(fs::read_dir(full.path()).unwrap().count(), 1, "nothing was put beside it");
}

#[test]
fn a_damaged_file_is_no_key_and_no_tombstone() {
    let place = tempfile::tempdir().unwrap();
    let folder = open(&place);
    folder.make(&subject("a"), ([5; 16], &secret(5)), [2; 16]).unwrap();
    folder.add_erased(1, ([5; 16], &subject("a"), &tombstone(1)), [2; 16]).unwrap();
    let paths = [folder.key_path(&subject("a")), folder.erased_path(1)];
    for path in &paths {
        let mut bytes = fs::read(path).unwrap();
        bytes[82] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    assert!(matches!(folder.find(&subject("a")), Err(FolderError::Damaged(path)) if path == paths[0]));
    assert!(matches!(folder.erased(1), Err(FolderError::Damaged(path)) if path == paths[1]));
    // the key of another subject under its name
    folder.make(&subject("b"), ([6; 16], &secret(6)), [2; 16]).unwrap();
    fs::copy(folder.key_path(&subject("b")), &paths[0]).unwrap();
    assert!(matches!(folder.find(&subject("a")), Err(FolderError::Damaged(_))));
}

#[test]
fn the_names_and_bytes_are_those_of_the_first_version() {
    let now = id_file([7; 16]);
    assert_eq!(now[..], crate::subject::tests::golden("subject-folder-v1.bin", &now));
    let folder = KeyFolder { path: PathBuf::from("/k"), id: [7; 16] };
    assert_eq!(folder.erased_path(26).to_str(), Some("/k/erased/000000000000001a"));
    let path = folder.key_path(&subject("a")).display().to_string();
    assert_eq!(path, "/k/keys/88/ae3dcc6255fcf549d28f5d99bc3cc6bc445f15c51a3e11d0646626f57a6388");
}
