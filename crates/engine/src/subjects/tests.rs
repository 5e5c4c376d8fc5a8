//! Subject keys over a disk that crashes: what was answered is there, what was erased never comes back.

use super::*;
use proptest::prelude::*;
use std::cell::Cell;
use strandline_event::{BatchUnit, IdPrefix, Seq, StampedBatch, StampsBuilder};
use strandline_keys::subject::ERASED;
use strandline_wal::crash_disk::{CrashDisk, Dice, Faults};

const PATH: &str = "/keys/subjects";

fn open(disk: &CrashDisk) -> Result<SubjectKeys, SubjectFileError> {
    SubjectKeys::open(disk, Path::new(PATH), [7; 16])
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

fn batch(stream: &str, data: &str) -> BatchBytes {
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

fn stamped(batch: BatchBytes) -> StampedBatch {
    let mut stamps = StampsBuilder::new(Micros(5), IdPrefix::v7(Micros(5), 1), 1);
    stamps.push(Seq(1), Micros(5));
    StampedBatch::new(batch, stamps.finish()).unwrap()
}

fn subject(stream: &str) -> Subject {
    Subject { store: "s".into(), stream_type: "Call".into(), name: stream.into() }
}

fn tombstone() -> Tombstone {
    Tombstone { at_us: 99, who: "ops".into(), events: 3 }
}

/// What a client reads of a sealed batch: payload and metadata.
fn read(keys: &SubjectKeys, batch: &StampedBatch) -> (String, String) {
    let openings = Openings::of(keys, [(0, batch.row(0))].into_iter());
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
    let held = Openings::of(&keys, [(0, stored.row(0))].into_iter());
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
    let held = Openings::of(&keys, [(0, stored.row(0))].into_iter());
    assert_eq!(held.over(0, stored.row(0)).data, "1");
    keys.erase(&subject("a"), tombstone()).unwrap();
    assert_eq!(held.over(0, stored.row(0)).data, ERASED);
    let file = disk.contents(Path::new(PATH)).unwrap();
    let secrets = strandline_keys::subject::record::decode(&file[4096..]).unwrap().bytes;
    let key = &file[4096 + secrets..];
    assert!(key[40..76].iter().all(|byte| *byte == 0), "the secret is overwritten where it stood");
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
        assert!(open(&disk).is_err(), "byte {at}");
    }
    disk.put(Path::new(PATH), &good);
    open(&disk).unwrap();
}

#[derive(Clone, Debug)]
enum Op {
    Seal(u8, u8),
    Erase(u8),
    Fail(u64, u64),
    Crash(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..6, 1u8..4).prop_map(|(from, count)| Op::Seal(from, count)),
        2 => (0u8..6).prop_map(Op::Erase),
        1 => (0u64..4, 0u64..4).prop_map(|(writes, syncs)| Op::Fail(writes, syncs)),
        3 => any::<u64>().prop_map(Op::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]
    #[test]
    fn what_was_answered_survives_every_crash(ops in proptest::collection::vec(op(), 1..40)) {
        let (disk, random) = (disk(), random());
        let mut keys = open(&disk).unwrap();
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
                Op::Crash(seed) => {
                    disk.set_faults(Faults::default());
                    disk.crash(&mut Dice::new(seed));
                    keys = open(&disk).unwrap();
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
