use super::*;
use crate::bytes::SharedBytes;
use crate::field::Field;
use crate::hash::{Parts, keyed_hashes};
use crate::id::IdPrefix;
use crate::stamped::StampedBatch;
use crate::stamps::StampsBuilder;
use proptest::prelude::*;
use std::num::NonZeroU64;

fn full<'a>() -> EventInput<'a> {
    EventInput {
        stream_id: "N14228",
        event_type: "FlightDeparted",
        event_id: Some(EventId([7; 16])),
        seq: Some(Seq(3)),
        event_version: Some(0),
        occurred_at: Some(Micros(-5)),
        data: "{\"a\": 1}",
        metadata: Some("{}"),
        command_id: Some("c"),
        correlation_id: Some(""),
        causation_id: Some("ü"),
        tenant_id: Some("UA"),
    }
}

fn placed(batch: BatchBytes, places: Option<NonZeroU64>) -> StampedBatch {
    let rows = batch.view().rows();
    let mut stamps = StampsBuilder::new(Micros(1000), IdPrefix::v4(9 << 30), rows);
    places.into_iter().for_each(|key| stamps.set_places(key));
    (0..rows).for_each(|r| stamps.push(Seq(r as u64 + 1), Micros(1000 + r as i64)));
    StampedBatch::new(batch, stamps.finish()).unwrap()
}

#[test]
fn absent_stays_absent_and_given_comes_back() {
    let bare = EventInput { stream_id: "b", event_type: "E", ..EventInput::default() };
    let mut builder = BatchBuilder::new("Aircraft", BatchUnit::Rows);
    for event in [bare, full(), bare, full()] {
        builder.push(&event).unwrap();
    }
    let batch = builder.finish().unwrap();
    for stamped in [None, NonZeroU64::new(7)].map(|places| placed(batch.clone(), places)) {
        come_back(&stamped);
    }
}

/// Four rows, of which every other one is whole.
fn come_back(stamped: &StampedBatch) {
    let bytes: Vec<u8> = stamped.payload_parts().concat();
    let again = StampedBatch::from_payload(&SharedBytes::copy_aligned(&bytes)).unwrap();
    assert_eq!(again.view().stream_count(), 2);
    for row in 0..4 {
        assert_eq!(again.row(row), stamped.row(row));
        let (event, given) = (again.row(row), row % 2 == 1);
        assert_eq!(event.stream_id, if given { "N14228" } else { "b" });
        assert_eq!(event.event_version, given.then_some(0));
        assert_eq!(event.correlation_id, given.then_some(""));
        assert_eq!(event.causation_id, given.then_some("ü"));
        assert_eq!(event.data, if given { "{\"a\": 1}" } else { "null" });
        assert_eq!(event.occurred_at, if given { Micros(-5) } else { event.ingested_at });
        assert_eq!(event.event_id == EventId([7; 16]), given);
        assert_eq!(again.row_of_made_id(event.event_id), (!given).then_some(row));
    }
}

#[test]
fn a_builder_that_is_used_again_keeps_nothing_of_the_batch_before() {
    let bare = |stream_id| EventInput { stream_id, event_type: "E", ..EventInput::default() };
    let of_other = EventInput { stream_id: "other", ..full() };
    let batches =
        [vec![full(), of_other, full()], vec![bare("x")], vec![bare("y"), bare("x"), bare("y"), full()], vec![full()]];
    let mut again = BatchBuilder::new("T", BatchUnit::Rows);
    for (n, events) in batches.iter().enumerate() {
        let mut once = BatchBuilder::new("T", BatchUnit::Rows);
        if n == 0 {
            let chunk = Chunk { digest: [3; 16], number: 4 };
            once.set_chunk(chunk);
            again.set_chunk(chunk);
        }
        for event in events {
            once.push(event).unwrap();
            again.push(event).unwrap();
        }
        assert_eq!(again.finish_and_clear().unwrap().bytes()[..], once.finish().unwrap().bytes()[..], "batch {n}");
        assert_eq!(again.rows(), 0);
    }
    assert!(again.finish_and_clear().is_err(), "a batch has an event");
}

#[test]
fn what_every_row_has_some_rows_have_and_no_row_has_is_told_apart() {
    let bare = EventInput { stream_id: "b", event_type: "E", ..EventInput::default() };
    for given in [[true, true], [true, false], [false, true], [false, false]] {
        let mut builder = BatchBuilder::new("Aircraft", BatchUnit::Rows);
        for full_row in given {
            builder.push(&if full_row { full() } else { bare }).unwrap();
        }
        let batch = builder.finish().unwrap();
        let all_have = given == [true, true];
        for (row, given) in given.into_iter().enumerate() {
            let view = batch.view();
            let in_column = |field| view.column(field).map(|column| column.bytes(row));
            assert_eq!(in_column(Field::EventType), Some(view.event_type(row).as_bytes()));
            assert_eq!(in_column(Field::Payload), Some(view.data(row).as_bytes()));
            assert_eq!(in_column(Field::CausationId), all_have.then_some("ü".as_bytes()));
            assert_eq!((in_column(Field::StreamId), in_column(Field::StreamType)), (None, None));
            assert_eq!(view.given_event_id(row), given.then_some(EventId([7; 16])));
            assert_eq!(view.given_seq(row), given.then_some(Seq(3)));
            assert_eq!(view.given_occurred_at(row), given.then_some(Micros(-5)));
            assert_eq!((view.event_version(row), view.metadata(row)), (given.then_some(0), given.then_some("{}")));
            for (field, text) in [(Field::CausationId, "ü"), (Field::CommandId, "c"), (Field::TenantId, "UA")] {
                assert_eq!(view.text(row, field), given.then_some(text));
            }
        }
    }
}

#[test]
fn each_stream_is_named_once_in_the_order_of_its_first_row() {
    for ids in [&["a"][..], &["a", "a"], &["a", "b", "a", "c", "b", "a", "c"], &["b", "b", "a", "b", "a"]] {
        let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
        let mut named: Vec<&str> = Vec::new();
        for stream_id in ids {
            builder.push(&EventInput { stream_id, event_type: "E", ..EventInput::default() }).unwrap();
            if !named.contains(stream_id) {
                named.push(stream_id);
            }
        }
        let batch = builder.finish().unwrap();
        let view = batch.view();
        let streams: Vec<&str> = (0..view.stream_count()).map(|stream| view.stream(stream)).collect();
        let rows: Vec<&str> = (0..view.rows()).map(|row| view.stream(view.stream_of(row))).collect();
        assert_eq!((streams, rows.as_slice()), (named, ids));
    }
}

#[test]
fn refused_rows_stand_behind_the_stamps_and_any_other_length_is_damage() {
    let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
    builder.push(&full()).unwrap();
    let batch = builder.finish().unwrap();
    for refused in [&[][..], &[7], &[0, 2, 9, 11, 12]] {
        let mut stamps = StampsBuilder::new(Micros(1000), IdPrefix::v4(9 << 30), 1);
        stamps.push(Seq(4), Micros(1000));
        stamps.set_refused(refused);
        let stamped = StampedBatch::new(batch.clone(), stamps.finish()).unwrap();
        let mut bytes: Vec<u8> = stamped.payload_parts().concat();
        let parts = stamped.payload_shared();
        let same = StampedBatch::from_parts(&parts).unwrap();
        assert_eq!(same.payload_parts(), stamped.payload_parts());
        assert_eq!(same.payload_parts().map(<[u8]>::as_ptr), stamped.payload_parts().map(<[u8]>::as_ptr), "no copy");
        let longer = SharedBytes::copy_aligned(&[&parts[0][..], &[0]].concat());
        assert!(StampedBatch::from_parts(&[longer, parts[1].clone()]).is_err());
        let again = StampedBatch::from_payload(&SharedBytes::copy_aligned(&bytes)).unwrap();
        assert!(again.stamps().refused().eq(refused.iter().copied()) && again.row(0) == stamped.row(0));
        bytes[0] ^= 32;
        assert!(StampedBatch::from_payload(&SharedBytes::copy_aligned(&bytes)).is_err());
    }
}

#[test]
fn rows_are_of_several_tenants_where_two_differ() {
    let of = |tenants: &[Option<&str>]| {
        let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
        for tenant_id in tenants.iter().copied() {
            builder.push(&EventInput { stream_id: "s", event_type: "E", tenant_id, ..EventInput::default() }).unwrap();
        }
        builder.finish().unwrap().view().is_of_several_tenants()
    };
    let names = [None, Some("a"), Some("b"), Some("ab"), Some("ba"), Some("aa")];
    for first in names {
        for second in names {
            for third in names {
                let rows = [first, second, third];
                let several = rows.iter().any(|tenant| *tenant != first);
                assert_eq!(of(&rows), several, "{rows:?}");
                assert_eq!(of(&rows[..2]), first != second, "{rows:?}");
            }
        }
        assert!(!of(&[first]));
    }
}

#[test]
fn the_digest_sees_absence_but_not_the_command_id() {
    let digest = |event: EventInput<'_>| {
        let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
        builder.push(&event).unwrap();
        builder.finish().unwrap().view().row_digest(0, (1, 2))
    };
    let base = digest(full());
    assert_eq!(base, digest(EventInput { command_id: None, ..full() }));
    assert_ne!(base, digest(EventInput { correlation_id: None, ..full() }));
    assert_ne!(base, digest(EventInput { event_version: None, ..full() }));
    assert_ne!(base, digest(EventInput { data: "{\"a\":1}", ..full() }));
}

#[test]
fn digests_of_many_rows_are_those_of_each() {
    let bare = EventInput { stream_id: "b", event_type: "E", ..EventInput::default() };
    let large = "1".repeat(2_000);
    let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
    let others = [EventInput { data: &large, ..full() }, EventInput { tenant_id: None, ..full() }];
    for event in [full(), bare].into_iter().chain(others).chain([full()]) {
        builder.push(&event).unwrap();
    }
    // what its flags do not promise a row does not have
    builder.batch.flags[4] = flags::SEQ;
    let batch = builder.finish().unwrap();
    let (view, mut digests) = (batch.view(), Vec::new());
    let put = |row: usize, parts: &mut Parts| view.put_digested(row, parts);
    keyed_hashes(1, 2, 0..view.rows(), put, |_, digest| digests.push(digest));
    let each: Vec<u128> = (0..view.rows()).map(|row| view.row_digest(row, (1, 2))).collect();
    assert_eq!(digests, each);
}

#[test]
fn limits_are_named() {
    let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
    let long = "x".repeat(limits::EVENT_BYTES_MAX + 1);
    let cases = [
        (EventInput { stream_id: "", ..full() }, "`stream_id` must not be empty"),
        (EventInput { stream_id: &long[..1025], ..full() }, "`stream_id` is longer than 1024 bytes"),
        (EventInput { tenant_id: Some(&"ä".repeat(34)), ..full() }, "`tenant_id` is longer than 200 bytes"),
        (EventInput { seq: Some(Seq(0)), ..full() }, "`seq` starts at 1"),
        (EventInput { occurred_at: Some(Micros(i64::MAX)), ..full() }, "`occurred_at` is outside years 1 to 9999"),
    ];
    for (event, message) in cases {
        assert_eq!(builder.push(&event).unwrap_err().to_string(), message);
    }
    assert!(matches!(builder.push(&EventInput { data: &long, ..full() }), Err(InvalidEvent::EventTooLarge { .. })));
    assert_eq!(builder.rows(), 0);
    assert_eq!(builder.finish().unwrap_err(), BatchError::Unsound);
}

#[test]
fn a_flag_promises_a_column() {
    let batch = |event: &EventInput<'_>| {
        let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
        builder.push(event).unwrap();
        builder.batch
    };
    let (plain, all) =
        (batch(&EventInput { stream_id: "s", event_type: "E", ..EventInput::default() }), batch(&full()));
    for bit in 0..u16::BITS {
        let promising = EventBatch { flags: vec![1 << bit], ..plain.clone() };
        assert_eq!(BatchBytes::archive(&promising).unwrap_err(), BatchError::Unsound, "bit {bit}");
        let known = (1 << bit) & flags::ALL != 0;
        let promising = EventBatch { flags: vec![all.flags[0] | 1 << bit], ..all.clone() };
        assert_eq!(BatchBytes::archive(&promising).is_ok(), known, "bit {bit}");
    }
}

proptest! {
    #[test]
    fn damaged_payloads_never_panic(
        cut in 0usize..600,
        flips in proptest::collection::vec((0usize..600, any::<u8>()), 0..6),
        places in any::<Option<NonZeroU64>>(),
    ) {
        let mut builder = BatchBuilder::new("Aircraft", BatchUnit::Append);
        builder.push(&full()).unwrap();
        builder.push(&EventInput { stream_id: "z", event_type: "E", ..EventInput::default() }).unwrap();
        let mut bytes: Vec<u8> = placed(builder.finish().unwrap(), places).payload_parts().concat();
        for (at, value) in flips {
            if let Some(byte) = bytes.get_mut(at) { *byte = value; }
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Ok(batch) = StampedBatch::from_payload(&SharedBytes::copy_aligned(&bytes)) {
            for event in batch.iter() {
                drop(format!("{event:?}"));
                let _ = batch.row_of_made_id(event.event_id);
            }
        }
    }
}
