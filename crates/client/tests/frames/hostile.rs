//! Bytes that nobody should send: no panic, no frame that is not one, no memory for what has not come.

use crate::samples;
use proptest::prelude::*;
use strandline_client::wire::append::{BATCHES_MAX, decode_append};
use strandline_client::wire::append_rows::{decode_append_rows, may_be_row};
use strandline_client::wire::error::WireError;
use strandline_client::wire::fields::Writer;
use strandline_client::wire::frames::FrameReader;
use strandline_client::wire::header::{HEADER_BYTES, Header, Kind};
use strandline_client::wire::read::HeadOf;
use strandline_client::{BatchBuilder, BatchBytes, BatchUnit, EventInput, PageFacts, Seq};
use strandline_event::foreign::check_foreign;
use strandline_event::texts::Texts;
use strandline_event::{Chunk, EventBatch, EventId, Field, Micros, SharedBytes};

/// How the names of frames begin whose bodies end with events.
const EVENTS: [&str; 4] = ["stream_page", "global_page", "scan_part", "subscribe_part"];

/// Makes the checksums right again, so that what is behind them is asked.
fn reseal(frame: &mut [u8]) {
    let Some(body) = frame.get(HEADER_BYTES..) else { return };
    let length = u32::from_le_bytes(frame[16..20].try_into().unwrap()) as usize;
    let crc = crc(body.get(..length).unwrap_or(body));
    let request = u64::from_le_bytes(frame[8..16].try_into().unwrap());
    let header = Header { kind: frame[5], request, body_bytes: length as u32, body_crc: crc };
    frame[..HEADER_BYTES].copy_from_slice(&header.encode());
}

/// crc32c, bit by bit: the test does not believe the crate that the frames use.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_are_no_frames(bytes in prop::collection::vec(any::<u8>(), 0..300), step in 1_usize..300) {
        prop_assert!(samples::cut(&bytes, step).map_or(true, |frames| frames.is_empty()));
    }

    #[test]
    fn a_changed_byte_is_found(sample in 0..samples::all().len(), place in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let (name, mut frame) = samples::all().swap_remove(sample);
        let place = place.index(frame.len());
        frame[place] ^= 1 << bit;
        let found = samples::cut(&frame, usize::MAX);
        prop_assert!(found.map_or(true, |frames| frames.is_empty()), "{} at {}", name, place);
    }

    #[test]
    fn a_body_that_lies_does_not_end_the_reader(
        sample in 0..samples::all().len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (_, mut frame) = samples::all().swap_remove(sample);
        if frame.len() > HEADER_BYTES {
            for (place, value) in changes {
                let place = HEADER_BYTES + place.index(frame.len() - HEADER_BYTES);
                frame[place] = value;
            }
            reseal(&mut frame);
        }
        if let Ok(frames) = samples::cut(&frame, usize::MAX) {
            // it may be good or bad; it must be told without a panic
            frames.iter().for_each(|frame| { samples::decode(frame); });
        }
    }

    #[test]
    fn a_body_that_is_too_short_or_too_long_is_bad(sample in 0..samples::all().len(), cut_off in 1_usize..64, added in any::<bool>()) {
        let (name, frame) = samples::all().swap_remove(sample);
        let length = u32::from_le_bytes(frame[16..20].try_into().unwrap()) as usize;
        let mut body = frame[HEADER_BYTES..HEADER_BYTES + length].to_vec();
        // events end with the body: whole blocks may be missing
        let ends_with_events = EVENTS.iter().any(|of| name.starts_with(of));
        prop_assume!(!ends_with_events || added);
        if added {
            body.resize(length + cut_off, 1);
        } else {
            prop_assume!(cut_off <= length);
            body.truncate(length - cut_off);
        }
        let mut changed = frame[..HEADER_BYTES].to_vec();
        changed[16..20].copy_from_slice(&(body.len() as u32).to_le_bytes());
        changed.extend_from_slice(&body);
        reseal(&mut changed);
        changed.resize(changed.len().next_multiple_of(16), 0);
        // an Error is a part of other bodies too: what follows it is theirs
        prop_assume!(!(name.starts_with("error") && added));
        for frame in samples::cut(&changed, usize::MAX).unwrap() {
            prop_assert!(!samples::decode(&frame), "{}", name);
        }
    }
}

#[test]
fn each_way_to_be_no_frame_is_told() {
    let ping = samples::all().into_iter().find(|(name, _)| *name == "ping").unwrap().1;
    let changed = |place: usize, value: u8| {
        let mut frame = ping.clone();
        frame[place] = value;
        samples::cut(&frame, usize::MAX).err()
    };
    assert_eq!(changed(0, b'H'), Some(WireError::Magic));
    assert_eq!(changed(4, 2), Some(WireError::Version(2)));
    assert_eq!(changed(5, 9), Some(WireError::HeaderCrc));
    assert_eq!(samples::cut(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", 7).err(), Some(WireError::Magic));
}

#[test]
fn what_cannot_be_a_frame_is_told_by_its_first_bytes() {
    for bytes in [&b"G"[..], b"GET /\r\n", b"SLNX", b"\0"] {
        assert_eq!(samples::cut(bytes, 1).err(), Some(WireError::Magic), "{bytes:?}");
    }
    let ping = samples::all().into_iter().find(|(name, _)| *name == "ping").unwrap().1;
    for end in 0..HEADER_BYTES {
        assert!(samples::cut(&ping[..end], 1).unwrap().is_empty(), "it may become one: {end}");
    }
    let is_http = |bytes: &[u8]| {
        let mut reader = FrameReader::new(1 << 20);
        reader.space()[..bytes.len()].copy_from_slice(bytes);
        reader.filled(bytes.len());
        reader.is_http()
    };
    assert!([&b"P"[..], b"GET", b"GET /\r\n", b"PRI * HTTP/2.0\r\n"].into_iter().all(is_http));
    assert!(![&b""[..], b"GETS", b"SSH-2.0", b"S"].into_iter().any(is_http));
}

const SHORT: WireError = WireError::Body("it ends too early");

/// The body of a frame, as a connection gets it.
fn body_of(out: Writer) -> SharedBytes {
    samples::cut(&out.finish().into_bytes(), usize::MAX).unwrap().remove(0).body
}

/// Why an Append with these lengths in its table is none.
fn append_of(lengths: &[u32], archives: &[u8]) -> Option<WireError> {
    let mut out = Writer::new(Kind::Append, 4);
    out.u32(lengths.len() as u32);
    out.zeros(12);
    for bytes in lengths {
        out.u32(*bytes);
        out.zeros(12);
    }
    out.align();
    out.bytes(archives);
    decode_append(&body_of(out)).err()
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_held_for_them() {
    let archive = samples::batch(BatchUnit::Append, 1).bytes().to_vec();
    let length = archive.len() as u32;
    assert_eq!(append_of(&[length], &archive), None);
    for lengths in [&[u32::MAX][..], &[length + 1], &[length, length], &[length, u32::MAX], &[u32::MAX, u32::MAX]] {
        assert_eq!(append_of(lengths, &archive), Some(SHORT), "{lengths:?}");
    }
    let too_many = vec![0; BATCHES_MAX + 1];
    for lengths in [&[][..], &[0], &[length - 16], &[length, 0], &too_many[..]] {
        let error = append_of(lengths, &archive);
        assert!(matches!(error, Some(WireError::Body(_) | WireError::Batch(_) | WireError::NotZero)), "{error:?}");
    }
    let mut text = Writer::new(Kind::Head, 4);
    text.u32(u32::MAX);
    text.bytes(b"Call");
    assert_eq!(HeadOf::decode(&body_of(text)), Err(SHORT));
    // a server's answer, to a client
    let mut page = Writer::new(Kind::StreamPage, 4);
    page.zeros(36);
    (0..3).for_each(|_| page.u32(u32::MAX));
    assert_eq!(PageFacts::decode(&body_of(page)).map(drop), Err(SHORT));
}

/// Why AppendRows of so many rows with this archive is none.
fn rows_of(count: u32, archive: &BatchBytes) -> Option<WireError> {
    let mut out = Writer::new(Kind::AppendRows, 4);
    out.u32(count);
    out.zeros(12);
    (0..count).for_each(|_| out.zeros(16));
    out.bytes(archive.bytes());
    decode_append_rows(&body_of(out)).err()
}

#[test]
fn rows_that_only_an_append_by_itself_may_be_are_refused() {
    let plain = EventInput { stream_id: "s", event_type: "E", data: "1", ..EventInput::default() };
    let of = |unit, rows: &[EventInput<'_>]| {
        let mut builder = BatchBuilder::new("T", unit);
        rows.iter().for_each(|row| builder.push(row).unwrap());
        builder
    };
    let rows = |rows: &[EventInput<'_>]| of(BatchUnit::Rows, rows).finish().unwrap();
    let is_refused = |count, archive: &BatchBytes| matches!(rows_of(count, archive), Some(WireError::Body(_)));
    let two = rows(&[plain, EventInput { stream_id: "t", ..plain }]);
    assert_eq!(rows_of(2, &two), None);
    assert!([0, 1, 3, BATCHES_MAX as u32 + 1].into_iter().all(|count| is_refused(count, &two)));
    assert!(is_refused(2, &of(BatchUnit::Append, &[plain, plain]).finish().unwrap()));
    let mut chunk = of(BatchUnit::Rows, &[plain, plain]);
    chunk.set_chunk(Chunk { digest: [1; 16], number: 1 });
    assert!(is_refused(2, &chunk.finish().unwrap()));
    let of_a = EventInput { tenant_id: Some("a"), ..plain };
    assert_eq!(rows_of(2, &rows(&[of_a, of_a])), None);
    let with_id = EventInput { event_id: Some(EventId([7; 16])), ..plain };
    let with_seq = EventInput { seq: Some(Seq(1)), ..plain };
    for other in [with_id, with_seq, of_a, EventInput { tenant_id: Some("b"), ..of_a }] {
        assert!(is_refused(2, &rows(&[plain, other])) && is_refused(2, &rows(&[other, plain])), "{other:?}");
        assert_eq!(may_be_row(&of(BatchUnit::Append, &[other]).finish().unwrap()), other.tenant_id.is_some());
    }
}

/// A builder makes `null` of it: as a row it would be stored, and as an append by itself it is refused.
#[test]
fn a_payload_of_no_bytes_is_no_row() {
    let texts = |all: &[&str]| {
        let mut texts = Texts::default();
        all.iter().for_each(|text| texts.push(text));
        texts
    };
    let by_hand = |data: &[&str]| {
        let batch = EventBatch {
            unit: BatchUnit::Rows.to_u8(),
            stream_type: "T".to_owned(),
            streams: texts(&["s"]),
            stream_of: vec![0; data.len()],
            flags: vec![0; data.len()],
            event_types: texts(&vec!["E"; data.len()]),
            data: texts(data),
            ..EventBatch::default()
        };
        BatchBytes::archive(&batch).unwrap()
    };
    assert_eq!(rows_of(2, &by_hand(&["1", "{"])), None, "what is no JSON is the store's to refuse");
    assert!(matches!(rows_of(2, &by_hand(&["1", ""])), Some(WireError::Body(_))));
    assert!(may_be_row(&by_hand(&["1"])) && !may_be_row(&by_hand(&[""])));
}

/// Every field of every row, twice, in two streams.
fn full() -> BatchBytes {
    let mut builder = BatchBuilder::new("Call", BatchUnit::Rows);
    for row in 0..4 {
        let event = EventInput {
            stream_id: ["s", "another stream"][row % 2],
            event_type: "CallEnded",
            event_id: Some(strandline_event::EventId([7; 16])),
            seq: Some(Seq(row as u64 + 1)),
            event_version: Some(3),
            occurred_at: Some(Micros(1_795_428_000_000_000)),
            data: "{\"n\":1}",
            metadata: Some("{}"),
            command_id: Some("c"),
            correlation_id: Some("correlation"),
            causation_id: Some("causation"),
            tenant_id: Some("tenant"),
        };
        builder.push(&event).unwrap();
    }
    builder.finish().unwrap()
}

/// Reads all of a batch; what is given lies in its bytes.
fn reads_within(batch: &BatchBytes) {
    let (all, view) = (batch.bytes().as_ptr_range(), batch.view());
    let within = |part: &[u8]| {
        let part = part.as_ptr_range();
        assert!(
            part.start == part.end || (all.start <= part.start && part.end <= all.end),
            "it reads beyond its bytes"
        );
    };
    within(view.stream_type().as_bytes());
    (0..view.stream_count()).for_each(|stream| within(view.stream(stream).as_bytes()));
    for row in 0..view.rows() {
        for field in Field::ALL {
            within(view.text(row, field).unwrap_or_default().as_bytes());
            within(view.bytes(row, field).unwrap_or_default());
        }
        let _ = (view.row_digest(row, (1, 2)), view.input(row));
    }
    // sound, and perhaps nothing that a builder of ours would make
    let _ = check_foreign(view);
}

/// Each word of an archive is a number, a length or the way to somewhere else: whatever it says, nothing beyond the archive is read.
#[test]
fn no_word_of_an_archive_leads_out_of_it() {
    let archive = full().bytes().to_vec();
    let length = archive.len() as u32;
    let (mut refused, mut read) = (0, 0);
    for at in (0..archive.len() - 3).step_by(4) {
        let mut changed = archive.clone();
        let word = u32::from_le_bytes(archive[at..at + 4].try_into().unwrap());
        let near = [1, 4, 16].into_iter().flat_map(|by| [word.wrapping_add(by), word.wrapping_sub(by)]);
        let far = [0, 1, length, length.wrapping_neg(), i32::MAX as u32, i32::MIN as u32, u32::MAX, word.swap_bytes()];
        for lie in near.chain(far) {
            changed[at..at + 4].copy_from_slice(&lie.to_le_bytes());
            match BatchBytes::validate(SharedBytes::copy_aligned(&changed)) {
                Err(_) => refused += 1,
                Ok(batch) => {
                    reads_within(&batch);
                    read += 1;
                }
            }
        }
    }
    // ways and lengths are refused; ids, moments and texts may say anything
    assert!(refused > 100 && read > 100, "{refused} were refused, {read} read");
    for cut in 0..archive.len() {
        if let Ok(batch) = BatchBytes::validate(SharedBytes::copy_aligned(&archive[..cut])) {
            reads_within(&batch);
        }
    }
}
