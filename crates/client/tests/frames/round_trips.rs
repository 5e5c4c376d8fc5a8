//! What is written comes back, however the bytes are cut; archives come back as the same bytes.

use crate::samples::{AT, batch, cut, stamps, stamps_of_tenants};
use proptest::prelude::*;
use std::num::NonZeroU64;
use strandline_client::wire::append::{KEPT_AROUND_MAX, decode_append, decode_bulk, encode_append, encode_bulk};
use strandline_client::wire::error::WireError;
use strandline_client::wire::events::EventsWriter;
use strandline_client::wire::fields::{Reader, Writer};
use strandline_client::wire::frames::{FrameReader, Step};
use strandline_client::wire::header::{HEADER_BYTES, Header, Kind, Magic};
use strandline_client::wire::read::begin_scan_part;
use strandline_client::{
    AllWanted, BatchBuilder, BatchBytes, BatchUnit, EventInput, Events, Expected, Filter, OnError, Position, Refused,
    Seq,
};
use strandline_event::{EventId, Micros, SharedBytes, StampedBatch};

fn filled(text_bytes: usize, unit: BatchUnit, rows: usize) -> BatchBytes {
    let data = format!("\"{}\"", "x".repeat(text_bytes));
    let mut builder = BatchBuilder::new("T", unit);
    for row in 0..rows {
        let stream_id = if unit == BatchUnit::Append { "s" } else { ["a", "b", "c"][row % 3] };
        builder.push(&EventInput { stream_id, event_type: "E", data: &data, ..EventInput::default() }).unwrap();
    }
    builder.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn appends_come_back_whole_and_in_place(
        sizes in prop::collection::vec((0_usize..40_000, 1_usize..4, 0_u64..4), 1..8),
        step in 1_usize..100_000,
    ) {
        let batches: Vec<(BatchBytes, Expected)> = sizes.iter().map(|(bytes, rows, seq)| {
            let expected = match seq { 0 => Expected::Any, 1 => Expected::Empty, n => Expected::At(Seq(*n)) };
            (filled(*bytes, BatchUnit::Append, *rows), expected)
        }).collect();
        let frame = encode_append(77, batches.iter().map(|(batch, expected)| (batch, *expected)), false);
        let length = frame.len();
        let bytes = frame.into_bytes();
        prop_assert_eq!(bytes.len(), length);
        // two frames behind one another: each begins where it must
        let frames = cut(&[&bytes[..], &bytes[..]].concat(), step).unwrap();
        prop_assert_eq!(frames.len(), 2);
        for frame in &frames {
            prop_assert!(frame.body.is_aligned() && frame.header.request == 77);
            let decoded = decode_append(&frame.body).unwrap();
            prop_assert_eq!(decoded.appends.len(), batches.len());
            let body = frame.body.as_ptr_range();
            for (found, (wanted, expected)) in decoded.appends.iter().zip(&batches) {
                prop_assert_eq!(&found.batch.bytes()[..], &wanted.bytes()[..]);
                prop_assert_eq!(found.expected, *expected);
                let archive = found.batch.bytes();
                let is_large = frame.body.kept_bytes() <= 2 * archive.len() + KEPT_AROUND_MAX;
                prop_assert_eq!(body.contains(&archive.as_ptr()), is_large, "copied only where it is small against its frame");
                prop_assert!(archive.kept_bytes() <= 2 * archive.len() + KEPT_AROUND_MAX);
            }
        }
    }

    #[test]
    fn events_come_back_as_they_were(
        rows in 1_usize..40,
        stamped_too in any::<bool>(),
        places in any::<Option<NonZeroU64>>(),
    ) {
        let stamps = places.map_or_else(|| stamps(rows), |key| stamps_of_tenants(rows, key));
        let stamped = StampedBatch::new(filled(9, BatchUnit::Rows, rows), stamps).unwrap();
        let (mut out, mut events) = (begin_scan_part(1, false, 0), EventsWriter::default());
        stamped.iter().for_each(|event| events.push(&mut out, &event).unwrap());
        if stamped_too {
            events.stamped(&mut out, &stamped).unwrap();
        }
        events.finish(&mut out).unwrap();
        let frame = cut(&out.finish().into_bytes(), usize::MAX).unwrap().remove(0);
        let mut body = Reader::new(&frame.body);
        body.shared(16).unwrap();
        let found = Events::read(&mut body).unwrap();
        let wanted: Vec<_> = stamped.iter().chain(stamped.iter().filter(|_| stamped_too)).collect();
        prop_assert_eq!(found.len(), wanted.len());
        prop_assert!(found.iter().eq(wanted));
    }

    #[test]
    fn a_refusal_comes_back(code in "[a-z_]{0,20}", text in "\\PC{0,80}", part in any::<Option<u32>>(), seq in any::<Option<u64>>()) {
        let refused = Refused { code, text, part, row: part, last_seq: seq.map(Seq), leader: seq.map(|n| format!("node{n}:7071")) };
        let frame = cut(&refused.encode(3).into_bytes(), 5).unwrap().remove(0);
        prop_assert_eq!(Refused::read(&mut Reader::new(&frame.body)).unwrap(), refused);
    }
}

#[test]
fn a_bulk_of_several_types_comes_back_and_one_batch_is_not_copied() {
    let batches = [filled(100, BatchUnit::Rows, 3), filled(20_000, BatchUnit::Rows, 2)];
    let frame = encode_bulk(5, &batches, OnError::Skip);
    assert_eq!(frame.tail.as_ref().unwrap().as_ptr(), batches[1].bytes().as_ptr());
    let frame = cut(&frame.into_bytes(), 999).unwrap().remove(0);
    let (found, on_error) = decode_bulk(&frame.body).unwrap();
    assert_eq!(on_error, OnError::Skip);
    assert!(found.iter().zip(&batches).all(|(found, wanted)| found.bytes()[..] == wanted.bytes()[..]));
}

#[test]
fn a_small_archive_does_not_keep_the_frame_of_a_large_one_alive() {
    let batches = [filled(300, BatchUnit::Append, 1), filled(900_000, BatchUnit::Append, 1)];
    let frame = encode_append(1, batches.iter().map(|batch| (batch, Expected::Any)), false);
    let frame = cut(&frame.into_bytes(), usize::MAX).unwrap().remove(0);
    let kept: Vec<usize> =
        decode_append(&frame.body).unwrap().appends.iter().map(|append| append.batch.bytes().kept_bytes()).collect();
    assert_eq!(kept, [batches[0].bytes().len(), frame.body.kept_bytes()]);
}

#[test]
fn small_neighbours_leave_their_frame_together() {
    let batches: Vec<BatchBytes> = (0..100).map(|n| filled(100 + n, BatchUnit::Append, 1)).collect();
    let frame = encode_append(1, batches.iter().map(|batch| (batch, Expected::Any)), false);
    let frame = cut(&frame.into_bytes(), usize::MAX).unwrap().remove(0);
    let (found, body) = (decode_append(&frame.body).unwrap().appends, frame.body.as_ptr_range());
    let mut shared = 0;
    for (found, wanted) in found.iter().zip(&batches) {
        let archive = found.batch.bytes();
        assert_eq!(archive[..], wanted.bytes()[..]);
        assert!(!body.contains(&archive.as_ptr()) && archive.kept_bytes() <= KEPT_AROUND_MAX);
        shared += usize::from(archive.kept_bytes() > 2 * archive.len());
    }
    assert!(shared > 90, "{shared} of 100 share a piece with at least two others");
}

#[test]
fn what_the_facts_do_not_name_is_zero() {
    let with = |body: &[u8], place: usize, byte: u8| {
        let mut body = body.to_vec();
        body[place] = byte;
        SharedBytes::copy_aligned(&body)
    };
    let frame = cut(&Refused::default().encode(1).into_bytes(), usize::MAX).unwrap().remove(0);
    for place in [4, 8, 16] {
        let body = with(&frame.body, place, 1);
        assert_eq!(Refused::read(&mut Reader::new(&body)), Err(WireError::NotZero), "byte {place}");
    }
    let wanted = |filter| {
        let after = Position { ingested_at: Micros(0), event_id: EventId([0; 16]) };
        let frame = AllWanted { after, limit: 1, filter }.encode(1);
        cut(&frame.into_bytes(), usize::MAX).unwrap().remove(0)
    };
    let frame = wanted(Filter::default());
    assert!(AllWanted::decode(&frame.body).is_ok());
    for place in [40, 48] {
        assert_eq!(AllWanted::decode(&with(&frame.body, place, 1)), Err(WireError::NotZero), "byte {place}");
    }
    let frame = wanted(Filter { event_type: Some("E".to_owned()), ..Filter::default() });
    assert!(AllWanted::decode(&frame.body).is_ok());
    assert_eq!(AllWanted::decode(&with(&frame.body, 32, 0)), Err(WireError::NotZero), "a text without its fact");
}

#[test]
fn the_unit_of_a_batch_fits_its_frame() {
    let rows = batch(BatchUnit::Rows, 1);
    let frame = encode_append(1, std::iter::once((&rows, Expected::Any)), false);
    let frame = cut(&frame.into_bytes(), usize::MAX).unwrap().remove(0);
    assert!(matches!(decode_append(&frame.body), Err(WireError::Body(_))));
    let append = encode_bulk(1, &[batch(BatchUnit::Append, 1)], OnError::Abort);
    let frame = cut(&append.into_bytes(), usize::MAX).unwrap().remove(0);
    assert!(matches!(decode_bulk(&frame.body), Err(WireError::Body(_))));
}

#[test]
fn a_body_that_is_not_wanted_is_passed_over_and_the_next_frame_is_read() {
    let large = filled(60_000, BatchUnit::Append, 3);
    let mut bytes = encode_append(1, std::iter::once((&large, Expected::Any)), false).into_bytes();
    bytes.extend(strandline_client::wire::read::encode_empty(Kind::Ping, 2).into_bytes());
    let (mut reader, mut rest, mut steps) = (FrameReader::new(1 << 20), &bytes[..], Vec::new());
    loop {
        match reader.step().unwrap() {
            Step::Head(Header { request: 1, .. }) => reader.skip_body(),
            Step::Head(_) => {}
            Step::Skipped(header) => steps.push(header.request),
            Step::Frame(frame) => steps.push(frame.header.request + 100),
            Step::More if rest.is_empty() => break,
            Step::More => {
                let space = reader.space();
                let count = rest.len().min(space.len()).min(1000);
                space[..count].copy_from_slice(&rest[..count]);
                reader.filled(count);
                rest = &rest[count..];
            }
        }
    }
    assert_eq!(steps, [1, 102]);
    assert!(reader.is_between_frames());
}

#[test]
fn space_that_no_read_has_filled_is_no_part_of_a_body() {
    let large = filled(60_000, BatchUnit::Append, 10);
    let bytes = encode_append(1, std::iter::once((&large, Expected::Any)), false).into_bytes();
    let (mut reader, mut rest) = (FrameReader::new(1 << 20), &bytes[..]);
    let frame = loop {
        match reader.step().unwrap() {
            Step::Frame(frame) => break frame,
            Step::Head(_) | Step::Skipped(_) => {}
            Step::More => {
                assert!(!rest.is_empty() && !reader.space().is_empty());
                let space = reader.space();
                let count = rest.len().min(space.len()).min(10_000);
                space[..count].copy_from_slice(&rest[..count]);
                reader.filled(count);
                rest = &rest[count..];
            }
        }
    };
    assert_eq!(frame.body[..], bytes[HEADER_BYTES..][..frame.body.len()]);
    assert!(frame.body.len() > 600_000 && rest.is_empty());
}

#[test]
fn a_body_over_the_limit_is_refused_by_its_header() {
    let header = Header { kind: 16, request: 1, body_bytes: u32::MAX, body_crc: 0 };
    let refused = cut(&header.encode(), HEADER_BYTES);
    assert_eq!(refused.err(), Some(WireError::TooLarge { bytes: u32::MAX as usize, limit: 1 << 20 }));
    assert!(AT > Micros(0));
}

#[test]
fn a_frame_of_another_protocol_differs_in_its_magic_alone() {
    let other = Magic(*b"TEST");
    let made = |magic| {
        let mut writer = Writer::with_magic(magic, 200, 7, 3);
        writer.bytes(b"abc");
        writer.finish().into_bytes()
    };
    let (native, theirs) = (made(Magic::NATIVE), made(other));
    assert_eq!(theirs[..4], *b"TEST");
    assert_eq!((&theirs[4..28], &theirs[HEADER_BYTES..]), (&native[4..28], &native[HEADER_BYTES..]));
    assert_eq!(cut(&theirs, usize::MAX).err(), Some(WireError::Magic));
    let mut reader = FrameReader::with_magic(other, 3);
    reader.space()[..theirs.len()].copy_from_slice(&theirs);
    reader.filled(theirs.len());
    assert!(matches!(reader.step(), Ok(Step::Head(Header { kind: 200, request: 7, body_bytes: 3, .. }))));
    assert!(matches!(reader.step(), Ok(Step::Frame(frame)) if frame.body[..] == *b"abc"));
    reader.space()[..native.len()].copy_from_slice(&native);
    reader.filled(native.len());
    assert_eq!(reader.step().err(), Some(WireError::Magic));
}
