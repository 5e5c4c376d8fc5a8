//! Several nodes over one folder: each has keys of its own in memory, and no word passes between them.

use super::super::tests::{batch, opened, read, stamped, subject, tombstone};
use super::*;
use std::sync::Barrier;
use strandline_event::{BatchBytes, ErrorKind, StampedBatch};
use strandline_keys::subject::ERASED;
use strandline_wal::RealDisk;
use strandline_wal::folders::copy_folder;
use tempfile::TempDir;

/// Every type is erasable by stream.
struct ByStream;

impl Kinds for ByStream {
    fn kind_of(&self, _: &str, _: &str) -> Option<SubjectKind> {
        Some(SubjectKind::Stream)
    }

    fn types_of(&self, _: &str) -> Vec<(String, SubjectKind)> {
        vec![("Call".to_owned(), SubjectKind::Stream)]
    }
}

/// Other ones at each call, in all threads.
fn bits() -> Bits {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut bits = [0x5a; 16];
    bits[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::SeqCst).to_le_bytes());
    bits
}

fn random(bytes: &mut [u8]) {
    bytes.chunks_mut(16).for_each(|chunk| chunk.copy_from_slice(&bits()[..chunk.len()]));
}

fn open(place: &Path, asked: Option<Reached>) -> (Arc<SubjectKeys>, bool) {
    let (keys, has_reached) =
        SubjectKeys::open_shared(&SharedPlace { path: place, asked, made: None, bits }, Box::new(ByStream)).unwrap();
    (Arc::new(keys), has_reached)
}

fn node(place: &TempDir) -> Arc<SubjectKeys> {
    let (keys, has_reached) = open(&place.path().join("keys"), None);
    assert!(has_reached && !keys.is_agreed());
    keys.agree();
    keys
}

fn seal(keys: &SubjectKeys, stream: &str, data: &str) -> Result<BatchBytes, SealError> {
    keys.seal("s", &batch(stream, data), &random)
}

fn stored(keys: &SubjectKeys, stream: &str, data: &str) -> StampedBatch {
    stamped(seal(keys, stream, data).unwrap())
}

fn is_erased(keys: &Arc<SubjectKeys>, batch: &StampedBatch) -> bool {
    read(keys, batch) == (ERASED.to_owned(), ERASED.to_owned())
}

/// Why a row cannot be shown.
fn refused(keys: &Arc<SubjectKeys>, batch: &StampedBatch) -> SubjectFileError {
    let opener = super::super::Opener { keys: Arc::clone(keys), store: Arc::from("s") };
    super::super::Openings::of(&opener, [(0, batch.row(0))].into_iter()).err().unwrap()
}

fn key_files(place: &Path) -> Vec<PathBuf> {
    let shards = std::fs::read_dir(place.join("keys")).unwrap().map(|shard| shard.unwrap().path());
    shards.flat_map(|shard| std::fs::read_dir(shard).unwrap().map(|file| file.unwrap().path())).collect()
}

/// The secrets of all subjects as they stand in the folder: zeros where they are destroyed.
fn secrets(place: &Path) -> Vec<Vec<u8>> {
    key_files(place).iter().map(|file| std::fs::read(file).unwrap()[40..76].to_vec()).collect()
}

#[test]
fn what_one_node_seals_another_one_opens_and_seals_equally() {
    let place = tempfile::tempdir().unwrap();
    let (first, second) = (node(&place), node(&place));
    assert_eq!(first.id(), second.id());
    let sealed = seal(&first, "a", "{\"secret\":4711}").unwrap();
    assert!(!sealed.bytes().windows(4).any(|part| part == b"4711"));
    let again = seal(&second, "a", "{\"secret\":4711}").unwrap();
    assert_eq!(again.bytes()[..], sealed.bytes()[..], "a retry at another node is equal");
    let sealed = stamped(sealed);
    for keys in [&first, &second, &node(&place)] {
        assert_eq!(read(keys, &sealed), ("{\"secret\":4711}".to_owned(), "{\"m\":1}".to_owned()));
    }
    // a judgement makes no key
    let trial = second.try_seal("s", &batch("b", "1"), &random).unwrap().unwrap();
    assert!(!trial.is_final && first.folder().unwrap().find(&subject("b")).unwrap().is_none());
}

#[test]
fn nodes_that_meet_a_new_subject_at_once_seal_with_one_key() {
    let place = tempfile::tempdir().unwrap();
    let nodes: Vec<_> = (0..6).map(|_| node(&place)).collect();
    for round in 0..20 {
        let (barrier, stream) = (&Barrier::new(nodes.len()), &format!("s{round}"));
        let sealed: Vec<BatchBytes> = std::thread::scope(|scope| {
            let one = |keys| {
                scope.spawn(move || {
                    let keys: &Arc<SubjectKeys> = keys;
                    barrier.wait();
                    seal(keys, stream, "1").unwrap()
                })
            };
            let all: Vec<_> = nodes.iter().map(one).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(sealed.iter().all(|one| one.bytes()[..] == sealed[0].bytes()[..]), "round {round}");
        let sealed = stamped(sealed[0].clone());
        assert!(nodes.iter().all(|keys| read(keys, &sealed).0 == "1"));
    }
    assert_eq!(secrets(&place.path().join("keys")).len(), 20);
}

#[test]
fn an_erasure_is_known_to_every_node_when_it_is_answered() {
    let place = tempfile::tempdir().unwrap();
    let (first, second) = (node(&place), node(&place));
    let (sealed, other) = (stored(&first, "a", "1"), stored(&first, "b", "2"));
    let held = opened(&second, &sealed);
    assert_eq!((held.over(0, sealed.row(0)).data, read(&second, &other).0.as_str()), ("1", "2"));
    let receipt = first.erase(&subject("a"), tombstone()).unwrap().unwrap();
    assert_eq!((receipt.already, receipt.tombstone), (false, tombstone()));
    // nobody has told the second one, which has the key in its memory
    assert!(is_erased(&second, &sealed) && is_erased(&first, &sealed));
    assert_eq!(held.over(0, sealed.row(0)).data, ERASED, "a page that was open before");
    assert_eq!((second.erasures(), read(&second, &other).0.as_str()), (1, "2"));
    assert!(matches!(seal(&second, "a", "3"), Err(SealError::Erased { .. })));
    assert!(second.try_seal("s", &batch("a", "3"), &random).unwrap().unwrap().erased.is_some());
    // nor one that was away
    let third = node(&place);
    assert!(is_erased(&third, &sealed) && third.erasures() == 0);
    assert!(matches!(seal(&third, "a", "3"), Err(SealError::Erased { .. })));
    // the same again, anywhere: the first word stays
    let later = Tombstone { at_us: 100, who: "x".into(), events: 0 };
    let again = third.erase(&subject("a"), later).unwrap().unwrap();
    assert_eq!((again.already, again.tombstone), (true, tombstone()));
    assert!(first.erase(&subject("unknown"), tombstone()).unwrap().is_none());
    let left = secrets(&place.path().join("keys"));
    assert_eq!(left.iter().filter(|secret| secret.iter().all(|byte| *byte == 0)).count(), 1);
    assert_eq!(left.len(), 2);
}

#[test]
fn nothing_is_sealed_for_a_subject_that_another_node_erases_meanwhile() {
    let place = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let (first, second, stream) = (&node(&place), &node(&place), &format!("s{round}"));
        stored(first, stream, "0");
        let is_answered = &AtomicBool::new(false);
        let sealed = std::thread::scope(|scope| {
            let sealing = scope.spawn(move || {
                let mut sealed = Vec::new();
                loop {
                    let was_answered = is_answered.load(Ordering::SeqCst);
                    match seal(first, stream, &sealed.len().to_string()) {
                        Ok(batch) => {
                            assert!(!was_answered, "sealed after the erasure was answered");
                            sealed.push(stamped(batch));
                        }
                        Err(SealError::Erased { .. }) => return sealed,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            let receipt = second.erase(&subject(stream), tombstone()).unwrap().unwrap();
            is_answered.store(true, Ordering::SeqCst);
            assert!(!receipt.already);
            sealing.join().unwrap()
        });
        let third = &node(&place);
        assert!(sealed.iter().all(|batch| [first, second, third].iter().all(|keys| is_erased(keys, batch))));
    }
}

#[test]
fn of_erasures_at_once_each_has_its_place_and_one_subject_has_one_receipt() {
    let place = tempfile::tempdir().unwrap();
    let nodes: Vec<_> = (0..6).map(|_| node(&place)).collect();
    let streams: Vec<String> = (0..6).map(|n| format!("s{n}")).collect();
    let sealed: Vec<_> = streams.iter().map(|stream| stored(&nodes[0], stream, "1")).collect();
    let barrier = &Barrier::new(nodes.len());
    let receipts: Vec<Receipt> = std::thread::scope(|scope| {
        let one = |(n, keys): (usize, _)| {
            let mine = &streams[n];
            scope.spawn(move || {
                let keys: &Arc<SubjectKeys> = keys;
                barrier.wait();
                let who = Tombstone { who: format!("node {n}"), ..tombstone() };
                keys.erase(&subject(mine), who.clone()).unwrap().unwrap();
                keys.erase(&subject("s0"), who).unwrap().unwrap()
            })
        };
        let all: Vec<_> = nodes.iter().enumerate().map(one).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(receipts.iter().all(|receipt| receipt.tombstone == receipts[0].tombstone), "{receipts:?}");
    let folder = nodes[0].folder().unwrap();
    assert!((1..=6).all(|number| folder.erased(number).unwrap().is_some()) && folder.erased(7).unwrap().is_none());
    assert!(nodes.iter().all(|keys| sealed.iter().all(|batch| is_erased(keys, batch))));
    assert!(secrets(&place.path().join("keys")).concat().iter().all(|byte| *byte == 0));
}

#[test]
fn an_erasure_that_a_crash_cut_is_finished_by_the_same_again() {
    let place = tempfile::tempdir().unwrap();
    let (first, second) = (node(&place), node(&place));
    let sealed = stored(&first, "a", "1");
    assert_eq!(read(&second, &sealed).0, "1");
    let folder = first.folder().unwrap();
    let (id, _) = folder.find(&subject("a")).unwrap().unwrap();
    assert!(folder.add_erased(1, (id, &subject("a"), &tombstone()), bits()).unwrap());
    // the node that began it is gone; its secret stands there, and nobody uses it
    let is_destroyed = || secrets(&place.path().join("keys")).concat().iter().all(|byte| *byte == 0);
    assert!(is_erased(&second, &sealed) && !is_destroyed());
    assert!(matches!(seal(&second, "a", "2"), Err(SealError::Erased { .. })));
    let again = second.erase(&subject("a"), Tombstone { at_us: 100, ..tombstone() }).unwrap().unwrap();
    assert_eq!((again.already, again.tombstone), (true, tombstone()));
    assert!(is_destroyed());
}

#[test]
fn an_erasure_that_a_crash_cut_is_finished_by_the_next_start_of_any_node() {
    let place = tempfile::tempdir().unwrap();
    let first = node(&place);
    let (sealed, other) = (stored(&first, "a", "1"), stored(&first, "b", "2"));
    let folder = first.folder().unwrap();
    let (id, _) = folder.find(&subject("a")).unwrap().unwrap();
    assert!(folder.add_erased(1, (id, &subject("a"), &tombstone()), bits()).unwrap());
    assert!(matches!(folder.find(&subject("a")), Ok(Some((_, Stored::Whole(_))))));
    let second = node(&place);
    assert!(matches!(folder.find(&subject("a")), Ok(Some((_, Stored::Destroyed)))));
    assert!(is_erased(&second, &sealed) && read(&second, &other).0 == "2");
}

#[test]
fn without_the_folder_that_all_share_nothing_is_sealed_and_nothing_is_shown() {
    let place = tempfile::tempdir().unwrap();
    let keys = node(&place);
    let sealed = stored(&keys, "a", "1");
    let (alone, _) = open(&place.path().join("keys"), None);
    assert!(matches!(refused(&alone, &sealed), SubjectFileError::NotAgreed(_)));
    assert_eq!(seal(&alone, "a", "2").unwrap_err().kind(), ErrorKind::Unavailable);
    let without = Arc::new(SubjectKeys::without_folder(Box::new(ByStream)));
    assert!(matches!(refused(&without, &sealed), SubjectFileError::NoFolder));
    assert_eq!(seal(&without, "a", "2").unwrap_err().kind(), ErrorKind::Unavailable);
    without.agree();
    assert!(matches!(refused(&without, &sealed), SubjectFileError::NoFolder));
    // the mount is gone under a node that runs, and another folder is in its place
    assert_eq!(read(&keys, &sealed).0, "1");
    let (there, aside) = (place.path().join("keys"), place.path().join("elsewhere"));
    let rename = |from: &Path, to: &Path| strandline_wal::Disk::rename(&RealDisk::new(), from, to).unwrap();
    rename(&there, &aside);
    assert_eq!(refused(&keys, &sealed).kind(), ErrorKind::Unavailable);
    assert_eq!(seal(&keys, "a", "2").unwrap_err().kind(), ErrorKind::Unavailable);
    let (_, _) = open(&there, None);
    assert_eq!(refused(&keys, &sealed).kind(), ErrorKind::Unavailable);
    std::fs::remove_dir_all(&there).unwrap();
    // what is no folder at all
    std::fs::write(&there, b"").unwrap();
    assert_eq!(refused(&keys, &sealed).kind(), ErrorKind::Unavailable);
    std::fs::remove_file(&there).unwrap();
    rename(&aside, &there);
    assert_eq!(read(&keys, &sealed).0, "1", "it is back");
}

#[test]
fn an_older_copy_of_the_folder_and_another_one_are_known_by_what_the_data_keeps() {
    let (place, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (path, reached) = (place.path().join("keys"), data.path().join("subject-keys.shared"));
    let (disk, keys) = (RealDisk::new(), node(&place));
    keys.tell_node(&disk, &reached).unwrap();
    let known = || super::super::look_reached(&disk, &reached).unwrap().unwrap();
    let sealed = stored(&keys, "a", "1");
    assert_eq!((known().file, known().reached), (keys.id(), Reached::nothing(BEGIN)));
    let older = place.path().join("older");
    copy_folder(&path, &older).unwrap();
    keys.erase(&subject("a"), tombstone()).unwrap();
    let at_first = known().reached;
    assert!(at_first.end > BEGIN && open(&path, Some(at_first)).1);
    // an older copy holds the key of who was erased since
    let (brought_back, has_reached) = open(&older, Some(at_first));
    assert!(!has_reached && brought_back.id() == keys.id());
    brought_back.agree();
    assert_eq!(read(&brought_back, &sealed).0, "1", "so it must be refused");
    // another one that went on by itself
    brought_back.erase(&subject("a"), Tombstone { at_us: 100, ..tombstone() }).unwrap();
    assert!(!open(&older, Some(at_first)).1);
    // what another node erases this node's data learns too, and an older copy of the data is well
    stored(&keys, "b", "1");
    node(&place).erase(&subject("b"), tombstone()).unwrap();
    keys.follow().unwrap();
    assert!(known().reached.end > at_first.end && open(&path, Some(known().reached)).1);
    assert!(open(&path, Some(at_first)).1);
}

#[test]
fn an_older_copy_of_the_folder_without_an_erasure_since_is_known_by_the_last_key_that_a_node_made() {
    let (place, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (path, kept) = (place.path().join("keys"), data.path().join("subject-keys.shared"));
    let (disk, keys) = (RealDisk::new(), node(&place));
    keys.tell_node(&disk, &kept).unwrap();
    let known = || super::super::look_reached(&disk, &kept).unwrap().unwrap();
    let starts = |path: &Path| {
        let place = SharedPlace { path, asked: Some(known().reached), made: known().made, bits };
        SubjectKeys::open_shared(&place, Box::new(ByStream)).unwrap()
    };
    stored(&keys, "a", "1");
    let older = place.path().join("older");
    copy_folder(&path, &older).unwrap();
    assert!(starts(&older).1, "it has all keys yet");
    stored(&keys, "b", "1");
    assert!(known().made.is_some() && starts(&path).1 && !starts(&older).1);
    // what another node makes that one knows; this one knows of its own
    stored(&node(&place), "c", "1");
    stored(&keys, "c", "2");
    assert!(starts(&path).1 && !starts(&older).1);
    // a start that makes none keeps which it was, also where it is erased
    keys.erase(&subject("b"), tombstone()).unwrap();
    let (again, has_reached) = starts(&path);
    assert!(has_reached);
    let made = known().made;
    again.tell_node(&disk, &kept).unwrap();
    again.follow().unwrap();
    assert_eq!(known().made, made);
    // one that was accepted is asked for no more
    let (accepted, has_reached) = starts(&older);
    assert!(!has_reached);
    accepted.tell_node(&disk, &kept).unwrap();
    accepted.follow().unwrap();
    assert_eq!(known().made, None);
    assert!(starts(&older).1);
}

#[test]
fn a_check_that_only_looks_knows_the_keys_of_a_folder() {
    use super::super::{KnownKeys, UnknownKeys};
    let (place, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (keys, other) = (node(&place), node(&elsewhere));
    let (there, erased, foreign) = (stored(&keys, "a", "1"), stored(&keys, "b", "1"), stored(&other, "c", "1"));
    keys.erase(&subject("b"), tombstone()).unwrap();
    let path = place.path().join("keys");
    let known = KnownKeys::look(&RealDisk::new(), &path).unwrap();
    let findings = |batch: &StampedBatch| {
        let mut unknown = UnknownKeys::new(&known, "s");
        unknown.add(&batch.row(0));
        unknown.finish().map(|(_, _, is_wrong)| is_wrong).collect::<Vec<bool>>()
    };
    assert_eq!([findings(&there), findings(&erased), findings(&foreign)], [vec![], vec![], vec![true]]);
    let none = KnownKeys::look(&RealDisk::new(), place.path());
    assert!(matches!(none, Err(SubjectFileError::Folder(strandline_keys::subject::folder::FolderError::Foreign(_)))));
    assert!(!place.path().join("folder").exists(), "nothing is made");
}

#[test]
fn a_damaged_key_is_an_error_and_no_erasure() {
    let place = tempfile::tempdir().unwrap();
    let sealed = stored(&node(&place), "a", "1");
    let path = key_files(&place.path().join("keys")).remove(0);
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[45] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let keys = node(&place);
    assert_eq!(refused(&keys, &sealed).kind(), ErrorKind::Io);
    assert_eq!(seal(&keys, "a", "2").unwrap_err().kind(), ErrorKind::Io);
    std::fs::write(&path, whole).unwrap();
    assert_eq!(read(&keys, &sealed).0, "1", "it was put back");
}

#[test]
fn a_check_tells_secrets_and_tombstones_that_are_not_as_they_should_be_and_goes_on() {
    use super::super::{KeyFault, KnownKeys};
    let place = tempfile::tempdir().unwrap();
    let keys = node(&place);
    for stream in ["a", "b", "c"] {
        let _ = stored(&keys, stream, "1");
    }
    keys.erase(&subject("b"), tombstone()).unwrap();
    keys.erase(&subject("c"), tombstone()).unwrap();
    let path = place.path().join("keys");
    let look = || KnownKeys::look(&RealDisk::new(), &path).unwrap();
    assert!(look().faults().is_empty());
    let faults = || -> Vec<(String, bool)> {
        look().faults().iter().map(|KeyFault { what, is_wrong, .. }| (what.clone(), *is_wrong)).collect()
    };
    let file_of = |stream: &str| {
        let name = strandline_event::hex::to_hex(&name_of(&subject(stream)));
        path.join("keys").join(&name[..2]).join(&name[2..])
    };
    let planted = |file: &Path, change: &dyn Fn(&mut Vec<u8>), said: &str, is_wrong: bool| {
        let whole = std::fs::read(file).unwrap();
        let mut bytes = whole.clone();
        change(&mut bytes);
        std::fs::write(file, bytes).unwrap();
        let found = faults();
        assert!(found.len() == 1 && found[0].0.contains(said) && found[0].1 == is_wrong, "{said}: {found:?}");
        std::fs::write(file, whole).unwrap();
    };
    let first = path.join("erased/0000000000000001");
    planted(&file_of("a"), &|bytes| bytes[45] ^= 1, "its secret is damaged", true);
    planted(&file_of("a"), &|bytes| bytes[40..76].fill(0), "its secret is overwritten", true);
    planted(&file_of("a"), &|bytes| bytes[20] ^= 1, "it is damaged", true);
    planted(&file_of("a"), &|bytes| bytes.truncate(60), "it is damaged", true);
    planted(&file_of("b"), &|bytes| bytes[41] = 7, "an erasure was cut short", false);
    // the secret of `b` stands without a tombstone then
    std::fs::write(&first, b"what").unwrap();
    let found = faults();
    assert!(found.iter().any(|(what, is_wrong)| what.contains("it is damaged") && *is_wrong), "{found:?}");
    std::fs::remove_file(&first).unwrap();
    let found = faults();
    assert!(found.iter().any(|(what, is_wrong)| what.contains("it was taken away") && *is_wrong), "{found:?}");
    assert!(found.iter().any(|(what, _)| what.contains("its secret is overwritten")), "{found:?}");
}
