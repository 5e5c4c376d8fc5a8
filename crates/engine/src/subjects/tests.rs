//! Subject keys over a disk that crashes: what was answered is there, what was erased never comes back.

use super::*;
use proptest::prelude::*;
use std::cell::Cell;
use strandline_event::{BatchUnit, IdPrefix, Seq, StampedBatch, StampsBuilder};
use strandline_keys::subject::ERASED;
use strandline_wal::crash_disk::{CrashDisk, Dice, Faults};

const PATH: &str = "/keys/subjects";
/// With the data of the store.
const REACHED: &str = "/data/s/subject-keys.reached";

fn open(disk: &CrashDisk) -> Result<Arc<SubjectKeys>, SubjectFileError> {
    SubjectKeys::open(disk, Path::new(PATH), [7; 16]).map(Arc::new)
}

fn disk() -> CrashDisk {
    let disk = CrashDisk::new();
    disk.create_dir_all(Path::new("/keys")).unwrap();
    disk
}

/// Random bytes of a test: each call other ones.
fn random() -> impl Fn(&mut [u8]) {
    let next = Cell::new(0_u64);
    move |bytes: &mut [u8]| {
        let mut dice = Dice::new(next.replace(next.get() + 1));
        bytes.iter_mut().for_each(|byte| *byte = dice.next() as u8);
    }
}

pub(super) fn batch(stream: &str, data: &str) -> BatchBytes {
    let mut builder = BatchBuilder::new("Call", BatchUnit::Rows);
    let event = EventInput {
        stream_id: stream,
        event_type: "E",
        data,
        metadata: Some("{\"m\":1}"),
        command_id: Some("c"),
        ..EventInput::default()
    };
    builder.push(&event).unwrap();
    builder.finish().unwrap()
}

pub(super) fn stamped(batch: BatchBytes) -> StampedBatch {
    let mut stamps = StampsBuilder::new(Micros(5), IdPrefix::v7(Micros(5), 1), 1);
    stamps.push(Seq(1), Micros(5));
    StampedBatch::new(batch, stamps.finish()).unwrap()
}

/// How far the data knows that the keys had come.
fn known(disk: &CrashDisk) -> Reached {
    look_reached(disk, Path::new(REACHED)).unwrap().unwrap().reached
}

fn open_behind(disk: &CrashDisk, place: Reached) -> (Arc<SubjectKeys>, bool) {
    let (keys, has_reached) = SubjectKeys::open_asked(disk, Path::new(PATH), [7; 16], &[place]).unwrap();
    (Arc::new(keys), has_reached[0])
}

pub(super) fn subject(stream: &str) -> Subject {
    Subject { store: "s".into(), stream_type: "Call".into(), name: stream.into() }
}

pub(super) fn tombstone() -> Tombstone {
    Tombstone { at_us: 99, who: "ops".into(), events: 3 }
}

pub(super) fn opened(keys: &Arc<SubjectKeys>, batch: &StampedBatch) -> Openings<usize> {
    let opener = Opener { keys: Arc::clone(keys), store: Arc::from("s") };
    Openings::of(&opener, [(0, batch.row(0))].into_iter()).unwrap()
}

/// What a client reads of a sealed batch: payload and metadata.
pub(super) fn read(keys: &Arc<SubjectKeys>, batch: &StampedBatch) -> (String, String) {
    let openings = opened(keys, batch);
    let event = openings.over(0, batch.row(0));
    (event.data.to_owned(), event.metadata.unwrap().to_owned())
}

#[test]
fn what_is_sealed_is_read_until_it_is_erased_and_never_again() {
    let (disk, random) = (disk(), random());
    let keys = open(&disk).unwrap();
    keys.declare("s", "Call", SubjectKind::Stream).unwrap();
    let plain = batch("a", "{\"secret\":4711}");
    let sealed = keys.seal("s", &plain, &random).unwrap();
    assert!(!sealed.bytes().windows(4).any(|part| part == b"4711"), "nothing of it is left in the batch");
    assert_eq!(keys.seal("s", &plain, &random).unwrap().bytes()[..], sealed.bytes()[..], "a retry is equal");
    let (other, stored) = (stamped(keys.seal("s", &batch("b", "2"), &random).unwrap()), stamped(sealed));
    let held = opened(&keys, &stored);
    let said = ("{\"secret\":4711}".to_owned(), "{\"m\":1}".to_owned());
    assert_eq!(read(&keys, &stored), said);
    drop(keys);
    let keys = open(&disk).unwrap();
    assert_eq!(read(&keys, &stored), said, "a restart");
    assert_eq!(keys.types_of("s"), [("Call".to_owned(), SubjectKind::Stream)]);

    let receipt = keys.erase(&subject("a"), tombstone()).unwrap().unwrap();
    assert_eq!((receipt.already, receipt.tombstone.clone()), (false, tombstone()));
    let erased = (ERASED.to_owned(), ERASED.to_owned());
    assert_eq!(read(&keys, &stored), erased);
    assert_eq!(held.over(0, stored.row(0)).data, "{\"secret\":4711}", "another process's page");
    assert!(matches!(keys.seal("s", &batch("a", "3"), &random), Err(SealError::Erased { .. })));
    let later = Tombstone { at_us: 100, who: "x".into(), events: 0 };
    let again = keys.erase(&subject("a"), later).unwrap().unwrap();
    assert_eq!((again.already, again.tombstone), (true, tombstone()), "the first word stays");
    drop(keys);
    let keys = open(&disk).unwrap();
    assert_eq!((read(&keys, &stored), read(&keys, &other).0.as_str()), (erased, "2"));
    assert!(matches!(keys.seal("s", &batch("a", "3"), &random), Err(SealError::Erased { .. })));
    assert!(keys.erase(&subject("unknown"), tombstone()).unwrap().is_none());
}

#[test]
fn a_page_that_was_opened_before_shows_nothing_after_an_erasure() {
    let disk = disk();
    let keys = open(&disk).unwrap();
    keys.declare("s", "Call", SubjectKind::Stream).unwrap();
    let stored = stamped(keys.seal("s", &batch("a", "1"), &random()).unwrap());
    let held = opened(&keys, &stored);
    assert_eq!(held.over(0, stored.row(0)).data, "1");
    keys.erase(&subject("a"), tombstone()).unwrap();
    assert_eq!(held.over(0, stored.row(0)).data, ERASED);
    let file = disk.contents(Path::new(PATH)).unwrap();
    let secrets = strandline_keys::subject::record::decode(&file[4096..]).unwrap().bytes;
    let key = &file[4096 + secrets..];
    assert!(key[40..76].iter().all(|byte| *byte == 0), "the secret is overwritten where it stood");
}

#[test]
fn an_erasure_is_answered_only_once_its_secret_is_overwritten() {
    let (disk, random) = (disk(), random());
    let keys = open(&disk).unwrap();
    keys.declare("s", "Call", SubjectKind::Stream).unwrap();
    // a write that fails is half done: the secret stands in the second half of its block
    for n in 0..25 {
        let _ = keys.seal("s", &batch(&format!("before-{n}"), "1"), &random).unwrap();
    }
    let file = || disk.contents(Path::new(PATH)).unwrap();
    let end = |file: &[u8]| file.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(8);
    let at = end(&file());
    let stored = stamped(keys.seal("s", &batch("a", "1"), &random).unwrap());
    let secret = file()[at + 40..at + 72].to_vec();
    assert!((6144..8192).contains(&at) && secret.iter().any(|byte| *byte != 0), "{at}");
    let holds_it = || file().windows(32).any(|part| part == secret);
    assert!(holds_it() && keys.trouble().is_none());
    // the tombstone is written, the overwrite fails
    disk.set_faults(Faults { syncs_until_failure: Some(1), writes_until_failure: Some(1), ..Faults::default() });
    assert!(keys.erase(&subject("a"), tombstone()).is_err());
    disk.set_faults(Faults::default());
    assert!(holds_it() && keys.erase(&subject("a"), tombstone()).is_err(), "the same again is no success");
    assert!(keys.trouble().unwrap().to_string().contains("start the node again"));
    assert!(keys.seal("s", &batch("new", "1"), &random).is_err());
    drop(keys);
    let keys = open(&disk).unwrap();
    let done = keys.erase(&subject("a"), tombstone()).unwrap().unwrap();
    assert!(done.already && !holds_it() && keys.trouble().is_none());
    assert_eq!(read(&keys, &stored).0, ERASED);
}

/// Anybody can append what was sealed elsewhere, as the payload of an event of his own.
#[test]
fn a_sealed_text_opens_in_the_rows_of_its_subject_only() {
    let (disk, random) = (disk(), random());
    let keys = open(&disk).unwrap();
    keys.declare("s", "Call", SubjectKind::Stream).unwrap();
    keys.declare("other", "Call", SubjectKind::Stream).unwrap();
    let stored = stamped(keys.seal("s", &batch("a", "1"), &random).unwrap());
    let row = stored.row(0);
    let opens = |store: &str, event: EventRef<'_>| keys.open_row(store, &event).unwrap().is_some();
    assert!(opens("s", row));
    for erase in [false, true] {
        if erase {
            keys.erase(&subject("a"), tombstone()).unwrap();
            assert_eq!(read(&keys, &stored).0, ERASED);
        }
        // the same fields, so that its context is the same: neither the text nor that it is erased is shown
        assert!(!opens("other", row) && !opens("unknown", row));
        assert!(!opens("s", EventRef { stream_id: "b", ..row }));
        assert!(!opens("s", EventRef { stream_type: "Other", ..row }));
    }
}

#[test]
fn a_trial_makes_no_key_and_is_equal_where_there_is_one() {
    let (disk, random) = (disk(), random());
    let keys = open(&disk).unwrap();
    assert!(keys.try_seal("s", &batch("a", "1"), &random).unwrap().is_none());
    keys.declare("s", "Call", SubjectKind::Stream).unwrap();
    let before = disk.contents(Path::new(PATH)).unwrap();
    let trial = keys.try_seal("s", &batch("a", "1"), &random).unwrap().unwrap();
    assert!(!trial.is_final && trial.erased.is_none());
    assert_eq!(disk.contents(Path::new(PATH)).unwrap(), before, "nothing is written");
    let sealed = keys.seal("s", &batch("a", "1"), &random).unwrap();
    assert_ne!(trial.batch.bytes()[..], sealed.bytes()[..]);
    assert_eq!(trial.batch.bytes().len(), sealed.bytes().len());
    let again = keys.try_seal("s", &batch("a", "1"), &random).unwrap().unwrap();
    assert!(again.is_final && again.batch.bytes()[..] == sealed.bytes()[..], "a retry is judged as one");
    keys.erase(&subject("a"), tombstone()).unwrap();
    let erased = keys.try_seal("s", &batch("a", "1"), &random).unwrap().unwrap();
    assert!(!erased.is_final && matches!(erased.erased, Some(SealError::Erased { .. })));
}

#[test]
fn events_without_a_tenant_have_no_subject_where_tenants_are() {
    let keys = open(&disk()).unwrap();
    keys.declare("s", "Call", SubjectKind::Tenant).unwrap();
    assert!(matches!(keys.seal("s", &batch("a", "1"), &random()), Err(SealError::NoTenant(_))));
    assert_eq!(keys.seal("other", &batch("a", "1"), &random()).unwrap().bytes()[..], batch("a", "1").bytes()[..]);
}

#[test]
fn damage_is_refused_and_a_file_of_another_kind_too() {
    let (disk, random) = (disk(), random());
    let keys = open(&disk).unwrap();
    keys.declare("s", "Call", SubjectKind::Stream).unwrap();
    for stream in ["a", "b", "c"] {
        let _ = keys.seal("s", &batch(stream, "1"), &random).unwrap();
    }
    drop(keys);
    let good = disk.contents(Path::new(PATH)).unwrap();
    let first = strandline_keys::subject::record::decode(&good[4096..]).unwrap().bytes;
    for at in [4096, 4096 + 13, 4096 + first + 24, 4096 + first + 44, 0] {
        let mut bad = good.clone();
        bad[at] ^= 4;
        disk.put(Path::new(PATH), &bad);
        assert!(KnownKeys::look(&disk, Path::new(PATH)).is_err(), "a check of byte {at}");
        assert!(open(&disk).is_err(), "byte {at}");
    }
    disk.put(Path::new(PATH), &good);
    assert!(KnownKeys::look(&disk, Path::new(PATH)).is_ok());
    open(&disk).unwrap();
}

/// What the disk took of it is taken away again, and the file goes on when there is room: no start is needed.
#[test]
fn a_full_disk_refuses_new_subjects_until_there_is_room() {
    let (disk, random) = (disk(), random());
    let keys = open(&disk).unwrap();
    keys.declare("s", "Call", SubjectKind::Stream).unwrap();
    let before = stamped(keys.seal("s", &batch("before", "1"), &random).unwrap());
    disk.set_faults(Faults { no_room: true, ..Faults::default() });
    // a few still fit into the block that is there
    let name = |n: usize| format!("{n}{}", "x".repeat(200));
    let first = (0..).find(|n| keys.seal("s", &batch(&name(*n), "2"), &random).is_err()).unwrap();
    for _ in 0..3 {
        let refused = keys.seal("s", &batch(&name(first), "2"), &random).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::DiskFull, "{refused}");
        assert!(keys.trouble().is_none(), "nothing has to be mended but the room");
    }
    // whose keys are there goes on meanwhile
    assert_eq!(read(&keys, &before).0, "1");
    let _ = keys.seal("s", &batch("before", "3"), &random).unwrap();
    disk.set_faults(Faults::default());
    let after = stamped(keys.seal("s", &batch(&name(first), "4"), &random).unwrap());
    let other = stamped(keys.seal("s", &batch("other", "5"), &random).unwrap());
    keys.erase(&subject("before"), tombstone()).unwrap().unwrap();
    drop(keys);
    let keys = open(&disk).unwrap();
    let texts = [&before, &after, &other].map(|batch| read(&keys, batch).0);
    assert_eq!(texts, [ERASED, "4", "5"]);
}

#[test]
fn keys_that_were_cut_or_are_an_older_copy_have_not_come_to_where_the_data_knows_them() {
    let (disk, random) = (disk(), random());
    let keys = open(&disk).unwrap();
    assert!(look_reached(&disk, Path::new(REACHED)).unwrap().is_none());
    keys.tell_store(&disk, "s", Path::new(REACHED)).unwrap();
    let mut copies = Vec::new();
    let copy = || (disk.contents(Path::new(PATH)).unwrap(), known(&disk));
    keys.declare("s", "Call", SubjectKind::Stream).unwrap();
    copies.push(copy());
    for stream in ["a", "b"] {
        let _ = keys.seal("s", &batch(stream, "1"), &random).unwrap();
        copies.push(copy());
    }
    keys.erase(&subject("a"), tombstone()).unwrap();
    copies.push(copy());
    drop(keys);
    for (n, (file, _)) in copies.iter().enumerate() {
        for (m, (_, place)) in copies.iter().enumerate() {
            disk.put(Path::new(PATH), file);
            assert_eq!(open_behind(&disk, *place).1, n >= m, "keys of step {n}, data of step {m}");
        }
        disk.put(Path::new(PATH), &file[..4096]);
        assert!(!open_behind(&disk, copies[n].1).1, "cut to nothing");
    }
    // an older copy that went on by itself: as long as the right one, with another key
    disk.put(Path::new(PATH), &copies[1].0);
    let fork = open(&disk).unwrap();
    let _ = fork.seal("s", &batch("b", "1"), &random).unwrap();
    drop(fork);
    assert!(open_behind(&disk, copies[1].1).1 && !open_behind(&disk, copies[2].1).1);
}

#[test]
fn no_key_seals_and_no_erasure_is_answered_before_the_data_knows_of_it() {
    let (disk, random) = (disk(), random());
    let keys = open(&disk).unwrap();
    keys.tell_store(&disk, "s", Path::new(REACHED)).unwrap();
    keys.declare("s", "Call", SubjectKind::Stream).unwrap();
    let _ = keys.seal("s", &batch("a", "1"), &random).unwrap();
    let before = known(&disk);
    // the keys are synced, what the data knows of them is not
    let second = Faults { syncs_until_failure: Some(1), ..Faults::default() };
    disk.set_faults(second);
    assert!(keys.seal("s", &batch("b", "1"), &random).is_err() && keys.trouble().is_some());
    disk.set_faults(Faults::default());
    let trial = keys.try_seal("s", &batch("b", "1"), &random).unwrap().unwrap();
    assert!(!trial.is_final, "nobody was given the key");
    drop(keys);
    let (keys, has_reached) = open_behind(&disk, before);
    keys.tell_store(&disk, "s", Path::new(REACHED)).unwrap();
    assert!(has_reached && known(&disk) != before);
    let _ = keys.seal("s", &batch("b", "1"), &random).unwrap();
    // tombstone and zeros are synced, and then nothing
    disk.set_faults(Faults { syncs_until_failure: Some(2), ..Faults::default() });
    assert!(keys.erase(&subject("a"), tombstone()).is_err(), "an older copy would be taken");
    disk.set_faults(Faults::default());
    drop(keys);
    let keys = open(&disk).unwrap();
    keys.tell_store(&disk, "s", Path::new(REACHED)).unwrap();
    assert!(keys.erase(&subject("a"), tombstone()).unwrap().unwrap().already);
}

#[derive(Clone, Debug)]
enum Op {
    Seal(u8, u8),
    Erase(u8),
    Fail(u64, u64),
    NoRoom(bool),
    Crash(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..6, 1u8..4).prop_map(|(from, count)| Op::Seal(from, count)),
        2 => (0u8..6).prop_map(Op::Erase),
        1 => (0u64..4, 0u64..4).prop_map(|(writes, syncs)| Op::Fail(writes, syncs)),
        1 => any::<bool>().prop_map(Op::NoRoom),
        3 => any::<u64>().prop_map(Op::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]
    #[test]
    fn what_was_answered_survives_every_crash(ops in proptest::collection::vec(op(), 1..40)) {
        let (disk, random) = (disk(), random());
        let mut keys = open(&disk).unwrap();
        keys.tell_store(&disk, "s", Path::new(REACHED)).unwrap();
        keys.declare("s", "Call", SubjectKind::Stream).unwrap();
        let mut sealed: BTreeMap<u8, StampedBatch> = BTreeMap::new();
        let (mut erased, mut unclear) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
        for op in ops {
            match op {
                Op::Seal(from, count) => {
                    let mut builder = BatchBuilder::new("Call", BatchUnit::Rows);
                    for n in from..from + count {
                        builder.push(&EventInput { stream_id: &n.to_string(), event_type: "E", data: "1", metadata: Some("2"), ..EventInput::default() }).unwrap();
                    }
                    if let Ok(batch) = keys.seal("s", &builder.finish().unwrap(), &random) {
                        for (row, n) in (from..from + count).enumerate() {
                            let view = batch.view();
                            let mut one = BatchBuilder::new("Call", BatchUnit::Rows);
                            one.push(&view.input(row)).unwrap();
                            sealed.entry(n).or_insert_with(|| stamped(one.finish().unwrap()));
                        }
                    }
                }
                Op::Erase(n) => match keys.erase(&subject(&n.to_string()), tombstone()) {
                    Ok(Some(_)) => drop(erased.insert(n)),
                    Ok(None) => prop_assert!(!sealed.contains_key(&n)),
                    Err(_) => drop(unclear.insert(n)),
                },
                Op::Fail(writes, syncs) => disk.set_faults(Faults {
                    writes_until_failure: Some(writes),
                    syncs_until_failure: Some(syncs),
                    ..Faults::default()
                }),
                Op::NoRoom(no_room) => disk.set_faults(Faults { no_room, ..Faults::default() }),
                Op::Crash(seed) => {
                    disk.set_faults(Faults::default());
                    disk.crash(&mut Dice::new(seed));
                    let (opened, has_reached) = open_behind(&disk, known(&disk));
                    prop_assert!(has_reached, "no crash leaves the keys behind the data");
                    keys = opened;
                    keys.tell_store(&disk, "s", Path::new(REACHED)).unwrap();
                    prop_assert!(keys.kind_of("s", "Call").is_some());
                }
            }
            for (n, batch) in &sealed {
                let (data, _) = read(&keys, batch);
                match erased.contains(n) {
                    true => prop_assert_eq!(&data, ERASED, "{}", n),
                    false if unclear.contains(n) => prop_assert!(data == ERASED || data == "1", "{} {}", n, data),
                    false => prop_assert_eq!(&data, "1", "{}", n),
                }
            }
        }
    }
}
