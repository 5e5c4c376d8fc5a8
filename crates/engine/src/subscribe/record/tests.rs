use super::*;
use proptest::prelude::*;

fn at(us: i64, id: u8) -> Position {
    Position { ingested_at: Micros(us), event_id: EventId([id; 16]) }
}

fn settings() -> Settings {
    let filter = Filter { stream_type: Some("Call".to_owned()), occurred_to: Some(Micros(-7)), ..Filter::default() };
    Settings { filter, mode: Mode::Sync, attempts_max: 5, ack_within_us: 30_000_000 }
}

fn samples() -> Vec<Record> {
    let (position, after) = (at(5, 1), Position::START);
    let parked = Change::Parked { position, at: Micros(9), attempts: 3, reason: "ü".to_owned() };
    vec![
        Record::Created { number: 7, name: "bills".to_owned(), at: Micros(3), after, settings: settings() },
        Record::Changed(7, Change::Moved(position)),
        Record::Changed(7, parked),
        Record::Changed(7, Change::Unparked(position)),
        Record::Deleted(7),
    ]
}

/// Written once, read for ever.
const VERSION_1: &str = "0100000007000000030000000000000000000000000000800000000000000000000000000000000001210000050000\
     0080c3c901000000000000000000000000f9ffffffffffffff0400000043616c6c0000000000000000000000000500000062696c6c73\
     0200000007000000050000000000000001010101010101010101010101010101\
     0300000007000000050000000000000001010101010101010101010101010101090000000000000003000000\
     02000000c3bc\
     0400000007000000050000000000000001010101010101010101010101010101\
     0500000007000000";

#[test]
fn records_of_version_1_are_these_bytes() {
    let mut bytes = Vec::new();
    samples().iter().for_each(|record| record.encode(&mut bytes));
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, VERSION_1, "the layout has changed; a new one is a new version");
    assert_eq!(Record::decode_all(&bytes), Some(samples()));
    assert_eq!((Record::decode_first(&bytes), Record::decode_first(&[])), (samples().into_iter().next(), None));
    for end in 0..bytes.len() {
        // cut anywhere: whole records before it, or none
        let cut = Record::decode_all(&bytes[..end]);
        assert!(cut.is_none_or(|records| samples().starts_with(&records)));
    }
}

#[test]
fn changes_make_the_one_of_the_other_and_none_of_the_first_alone_loses_an_event() {
    let created = |number: u32, name: &str| {
        let (name, at, after) = (name.to_owned(), Micros(1), Position::START);
        Record::Created { number, name, at, after, settings: settings() }
    };
    let parked = |us, reason: &str| {
        let (position, reason) = (at(us, 1), reason.to_owned());
        Record::Changed(0, Change::Parked { position, at: Micros(9), attempts: 3, reason })
    };
    let mut before = Folded::default();
    [created(0, "a"), created(1, "b"), parked(3, "late"), parked(4, "no")].into_iter().for_each(|r| before.apply(r));
    let mut next = before.clone();
    let moved = |us| Record::Changed(0, Change::Moved(at(us, 1)));
    let unparked = Record::Changed(0, Change::Unparked(at(3, 1)));
    let said = [moved(5), parked(7, "new"), unparked.clone(), moved(8), parked(4, "again"), Record::Deleted(1)];
    said.into_iter().chain([created(2, "b"), created(3, "c")]).for_each(|record| next.apply(record));
    let changes = before.changes_to(&next);
    let wanted = [Record::Deleted(1), parked(4, "again"), parked(7, "new"), moved(8), unparked];
    assert_eq!(changes[..5], wanted, "what is parked comes before the place that passes it");
    assert_eq!(changes[5..], [created(2, "b"), created(3, "c")]);
    for count in 0..=changes.len() {
        let mut made = before.clone();
        changes[..count].iter().cloned().for_each(|record| made.apply(record));
        let of = &made.all["a"];
        assert!(of.done < at(7, 1) || of.parked.contains_key(&at(7, 1)), "after {count}");
        assert_eq!(made == next, count == changes.len());
    }
    assert!(next.changes_to(&next).is_empty());
}

#[test]
fn the_fewest_records_say_the_same() {
    let mut folded = Folded::default();
    for record in samples().into_iter().take(3) {
        folded.apply(record);
    }
    folded.apply(Record::Created {
        number: 9,
        name: "b".to_owned(),
        at: Micros(1),
        after: at(2, 2),
        settings: settings(),
    });
    let mut again = Folded::default();
    for (name, kept) in &folded.all {
        kept.records(name).for_each(|record| again.apply(record));
    }
    assert_eq!(again, folded);
    assert_eq!((folded.next_number, folded.all["bills"].parked.len()), (10, 1));
    folded.apply(Record::Changed(7, Change::Unparked(at(5, 1))));
    folded.apply(Record::Deleted(9));
    assert!(folded.all.len() == 1 && folded.all["bills"].parked.is_empty() && folded.next_number == 10);
}

proptest! {
    #[test]
    fn hostile_bytes_are_no_records(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Some(records) = Record::decode_all(&bytes) {
            let mut again = Vec::new();
            records.iter().for_each(|record| record.encode(&mut again));
            prop_assert!(again.len() <= bytes.len());
        }
    }
}
