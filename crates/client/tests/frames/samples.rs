//! One frame of every kind, always the same.

use std::num::NonZeroU64;
use strandline_client::wire::append::{encode_append, encode_bulk};
use strandline_client::wire::append_rows::{decode_append_rows, encode_append_rows};
use strandline_client::wire::events::EventsWriter;
use strandline_client::wire::fields::{Encoded, Reader, Writer};
use strandline_client::wire::frames::{Frame, FrameReader, Step};
use strandline_client::wire::header::Kind;
use strandline_client::wire::hello::{Hello, Welcome};
use strandline_client::wire::outcome::{OutcomesWriter, decode_appended, decode_bulk_appended};
use strandline_client::wire::read::{
    AllWanted, HeadIs, HeadOf, ScanWanted, StreamWanted, begin_global_page, begin_scan_part, encode_empty,
    encode_scan_more,
};
use strandline_client::wire::{append, read};
use strandline_client::{
    Appended, BatchBuilder, BatchBytes, BatchUnit, Direction, EventInput, Expected, Filter, KnownEvent, OnError,
    PageFacts, PartAppended, PartFacts, Position, Refused, RejectedRow, Seq, Stay, StoredEvent, SubscribeWanted,
};
use strandline_event::{Chunk, EventId, IdPrefix, Micros, StampedBatch, Stamps, StampsBuilder};

pub(crate) const AT: Micros = Micros(1_795_428_000_000_000);

pub(crate) fn batch(unit: BatchUnit, rows: usize) -> BatchBytes {
    let mut builder = BatchBuilder::new("Call", unit);
    for row in 0..rows {
        let stream = if unit == BatchUnit::Append { "s".to_owned() } else { format!("s{row}") };
        builder
            .push(&EventInput {
                stream_id: &stream,
                event_type: "CallEnded",
                data: "{\"n\":1}",
                command_id: Some("c"),
                ..EventInput::default()
            })
            .unwrap();
    }
    builder.finish().unwrap()
}

/// Of rows of several tenants.
pub(crate) fn stamps_of_tenants(rows: usize, key: NonZeroU64) -> Stamps {
    let mut stamps = StampsBuilder::new(AT, IdPrefix::v7(AT, 7), rows);
    stamps.set_places(key);
    (0..rows).for_each(|row| stamps.push(Seq(row as u64 + 5), AT.plus_us((row % 2) as i64)));
    stamps.finish()
}

pub(crate) fn stamps(rows: usize) -> Stamps {
    let mut stamps = StampsBuilder::new(AT, IdPrefix::v7(AT, 7), rows);
    (0..rows).for_each(|row| stamps.push(Seq(row as u64 + 5), AT.plus_us(row as i64)));
    stamps.finish()
}

/// A row of which nothing is left out; of row 1 all that may be.
pub(crate) fn whole_row(unit: BatchUnit, row: u8) -> EventInput<'static> {
    let is_first = row == 0;
    let text = |short, long| Some(if is_first { short } else { long });
    let least = EventInput {
        stream_id: if unit == BatchUnit::Append || row != 1 { "s" } else { "another stream" },
        event_type: if is_first { "CallEnded" } else { "CallBegan" },
        data: "{\"n\":1}",
        ..EventInput::default()
    };
    if row == 1 {
        return least;
    }
    EventInput {
        event_id: Some(EventId([row + 1; 16])),
        seq: Some(Seq(u64::from(row) + 5)),
        event_version: Some(3 + u32::from(row)),
        occurred_at: Some(Micros(-1)),
        metadata: text("{}", "{\"by\":\"ä\"}"),
        command_id: text("c", "another command"),
        correlation_id: text("", "correlation"),
        causation_id: text("e", "causation"),
        tenant_id: text("t", "another tenant"),
        ..least
    }
}

/// Where a batch of these rows stands in a file that is loaded.
pub(crate) fn whole_chunk(unit: BatchUnit) -> Option<Chunk> {
    (unit == BatchUnit::Rows).then_some(Chunk { digest: [3; 16], number: 9 })
}

/// Three such rows.
pub(crate) fn whole(unit: BatchUnit) -> BatchBytes {
    let mut builder = BatchBuilder::new("Call", unit);
    whole_chunk(unit).into_iter().for_each(|chunk| builder.set_chunk(chunk));
    (0..3).for_each(|row| builder.push(&whole_row(unit, row)).unwrap());
    builder.finish().unwrap()
}

/// The same, stored as a part of a chunk of which a row was refused.
pub(crate) fn whole_stamped() -> StampedBatch {
    let mut stamps = StampsBuilder::new(AT, IdPrefix::v7(AT, 7), 3);
    (0..3_u64).for_each(|row| stamps.push(Seq(row + 5), AT.plus_us(row.cast_signed())));
    stamps.set_refused(&[3]);
    StampedBatch::new(whole(BatchUnit::Rows), stamps.finish()).unwrap()
}

/// Its events behind one another as columns, and the batch itself where it is wanted.
fn with_events(mut out: Writer, stamped_too: bool) -> Encoded {
    let (stamped, mut events) = (whole_stamped(), EventsWriter::default());
    stamped.iter().for_each(|event| events.push(&mut out, &event).unwrap());
    if stamped_too {
        events.stamped(&mut out, &stamped).unwrap();
    }
    events.finish(&mut out).unwrap();
    out.finish()
}

fn filter() -> Filter {
    Filter {
        stream_type: Some("Call".to_owned()),
        tenant_id: Some("t".to_owned()),
        occurred_from: Some(Micros(-1)),
        ..Filter::default()
    }
}

fn refused() -> Refused {
    Refused {
        code: "wrong_expected_seq".to_owned(),
        text: "the stream stands elsewhere".to_owned(),
        part: Some(2),
        row: Some(0),
        last_seq: Some(Seq(9)),
        leader: None,
    }
}

fn not_leader() -> Refused {
    let leader = Some("node2.example:7071".to_owned());
    Refused { leader, ..Refused::new(strandline_event::ErrorKind::NotLeader, "another node leads the log") }
}

fn page(request: u64) -> Encoded {
    let facts = PageFacts {
        head: Seq(9),
        next_seq: Some(Seq(7)),
        checked_from: Seq(1),
        checked_to: Seq(6),
        contiguous: false,
        tiers: 5,
        missing: vec![(Seq(2), Seq(3))],
        retired: vec![(Seq(1), Seq(1))],
        warnings: vec!["a hole".to_owned()],
    };
    let (mut out, mut events) = (facts.begin(request, 0), EventsWriter::default());
    let stamped = StampedBatch::new(batch(BatchUnit::Append, 2), stamps(2)).unwrap();
    stamped.iter().for_each(|event| events.push(&mut out, &event).unwrap());
    events.stamped(&mut out, &stamped).unwrap();
    events.finish(&mut out).unwrap();
    out.finish()
}

fn appended(request: u64) -> Encoded {
    let mut out = OutcomesWriter::new(Kind::Appended, request, 3);
    out.appended(&Appended::Stored(stamps(1)));
    let known = KnownEvent { event_id: Some(EventId([7; 16])), seq: Seq(3), ingested_at: Some(AT) };
    out.appended(&Appended::Known(vec![known, KnownEvent { event_id: None, seq: Seq(4), ingested_at: None }]));
    out.refused(&refused());
    out.finish()
}

/// Three single events of two streams.
fn append_rows(request: u64) -> Encoded {
    let one = |stream_id: &str, command_id| {
        let mut builder = BatchBuilder::new("Call", BatchUnit::Append);
        let event = EventInput {
            stream_id,
            event_type: "CallEnded",
            data: "{\"n\":1}",
            occurred_at: Some(AT),
            command_id,
            tenant_id: Some("t"),
            ..EventInput::default()
        };
        builder.push(&event).unwrap();
        builder.finish().unwrap()
    };
    let rows = [one("s0", Some("c")), one("s1", None), one("s0", None)];
    let expected = [Expected::Empty, Expected::Any, Expected::At(Seq(1))];
    encode_append_rows(request, rows.iter().zip(expected)).unwrap()
}

fn rows_appended(request: u64) -> Encoded {
    let mut out = OutcomesWriter::new(Kind::Appended, request, 2);
    out.appended(&Appended::One(StoredEvent { event_id: EventId([9; 16]), seq: Seq(3), ingested_at: AT }));
    out.refused(&refused());
    out.finish()
}

/// Rows of several tenants, whose ids have places.
fn appended_of_tenants(request: u64) -> Encoded {
    let mut out = OutcomesWriter::new(Kind::Appended, request, 1);
    let key = NonZeroU64::new(0x0123_4567_89ab_cdef).unwrap();
    out.appended(&Appended::Stored(stamps_of_tenants(3, key)));
    out.finish()
}

fn bulk_appended(request: u64) -> Encoded {
    let mut out = OutcomesWriter::new(Kind::BulkAppended, request, 2);
    let rejected = vec![RejectedRow { row: 4, code: "seq_gap".to_owned(), text: "a gap".to_owned() }];
    out.part(&PartAppended { appended: 7, known: 2, chunk_known: false, rejected });
    out.refused(&refused());
    out.finish()
}

fn follow(after: Option<Position>, stream_id: Option<String>) -> SubscribeWanted {
    SubscribeWanted { after, window_bytes: 1 << 20, filter: filter(), stream_id }
}

fn followed(position: Position) -> Encoded {
    let (mut out, mut events) = (PartFacts { position, inspected: true }.begin(12, 0), EventsWriter::default());
    let stamped = StampedBatch::new(batch(BatchUnit::Append, 2), stamps(2)).unwrap();
    stamped.iter().for_each(|event| events.push(&mut out, &event).unwrap());
    events.finish(&mut out).unwrap();
    out.finish()
}

fn reads() -> Vec<(&'static str, Encoded)> {
    let stream = StreamWanted {
        from_seq: Some(Seq(3)),
        to_seq: Some(Seq(8)),
        as_of: Some(12),
        direction: Direction::Falling,
        ..StreamWanted::all("Call", "s")
    };
    let after = Position { ingested_at: AT, event_id: EventId([9; 16]) };
    let of = HeadOf { stream_type: "Call".to_owned(), stream_id: "s".to_owned() };
    vec![
        ("head", of.encode(8)),
        ("head_is", HeadIs { first_seq: Seq(1), last_seq: Seq(9) }.encode(8)),
        ("read_stream", stream.encode(9)),
        ("stream_page", page(9)),
        ("read_all", AllWanted { after, limit: 10, filter: filter() }.encode(10)),
        ("global_page", begin_global_page(10, after, 3, 0).finish()),
        ("global_page_whole", with_events(begin_global_page(10, after, 6, 0), false)),
        ("scan", ScanWanted { window_bytes: 1 << 20, filter: filter() }.encode(11)),
        ("scan_part", begin_scan_part(11, true, 0).finish()),
        ("scan_part_whole", with_events(begin_scan_part(11, false, 0), true)),
        ("scan_more", encode_scan_more(11, 4096)),
        ("scan_cancel", encode_empty(Kind::ScanCancel, 11)),
        ("subscribe", follow(Some(after), Some("s".to_owned())).encode(12)),
        ("subscribe_from_now", follow(None, None).encode(12)),
        ("subscribe_part", followed(after)),
    ]
}

/// A name and a frame of every kind.
pub(crate) fn all() -> Vec<(&'static str, Vec<u8>)> {
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        body_max: 1 << 20,
        store: "calls".to_owned(),
        token: String::new(),
        program: "test/1".to_owned(),
    };
    let welcome = Welcome {
        version: 1,
        checks_commands: true,
        body_max: 64 << 20,
        requests_max: 256,
        store: "calls".to_owned(),
        program: "strandline/1".to_owned(),
    };
    let (one, two) = (batch(BatchUnit::Append, 1), batch(BatchUnit::Append, 2));
    let appends = [(&one, Expected::At(Seq(4))), (&two, Expected::Empty)];
    let mut frames = vec![
        ("hello", hello.encode(1)),
        ("welcome", welcome.encode(1)),
        ("error", refused().encode(2)),
        ("error_not_leader", not_leader().encode(2)),
        ("ping", encode_empty(Kind::Ping, 3)),
        ("pong", encode_empty(Kind::Pong, 3)),
        ("stay", Stay { led: true, reads: true }.encode(3)),
        ("append", encode_append(4, appends.into_iter(), true)),
        ("append_whole", encode_append(4, std::iter::once((&whole(BatchUnit::Append), Expected::Any)), false)),
        ("appended", appended(4)),
        ("appended_of_tenants", appended_of_tenants(4)),
        ("append_rows", append_rows(4)),
        ("rows_appended", rows_appended(4)),
        ("append_bulk", encode_bulk(5, &[batch(BatchUnit::Rows, 3)], OnError::Skip)),
        ("append_bulk_whole", encode_bulk(5, &[whole(BatchUnit::Rows)], OnError::Abort)),
        ("bulk_appended", bulk_appended(5)),
    ];
    frames.extend(reads());
    frames.into_iter().map(|(name, frame)| (name, frame.into_bytes())).collect()
}

/// Cuts bytes into frames as a connection does, `step` bytes at a time.
pub(crate) fn cut(bytes: &[u8], step: usize) -> Result<Vec<Frame>, strandline_client::wire::error::WireError> {
    let mut reader = FrameReader::new(1 << 20);
    let (mut frames, mut rest) = (Vec::new(), bytes);
    loop {
        match reader.step()? {
            Step::Frame(frame) => frames.push(frame),
            Step::Head(_) | Step::Skipped(_) => {}
            Step::More if rest.is_empty() => return Ok(frames),
            Step::More => {
                let space = reader.space();
                let count = rest.len().min(step).min(space.len());
                space[..count].copy_from_slice(&rest[..count]);
                reader.filled(count);
                rest = &rest[count..];
            }
        }
    }
}

/// Reads a body as its kind says; whatever it holds, this must not panic.
pub(crate) fn decode(frame: &Frame) -> bool {
    let body = &frame.body;
    match Kind::from_u8(frame.header.kind) {
        None => false,
        Some(Kind::Hello) => Hello::decode(body).is_ok(),
        Some(Kind::Welcome) => Welcome::decode(body).is_ok(),
        Some(Kind::Error) => Refused::read(&mut Reader::new(body)).is_ok(),
        Some(Kind::Ping | Kind::Pong | Kind::ScanCancel) => body.is_empty(),
        Some(Kind::Stay) => Stay::decode(body).is_ok(),
        Some(Kind::Append) => append::decode_append(body).is_ok(),
        Some(Kind::AppendRows) => decode_append_rows(body).is_ok(),
        Some(Kind::Appended) => decode_appended(body).is_ok(),
        Some(Kind::AppendBulk) => append::decode_bulk(body).is_ok(),
        Some(Kind::BulkAppended) => decode_bulk_appended(body).is_ok(),
        Some(Kind::Head) => HeadOf::decode(body).is_ok(),
        Some(Kind::HeadIs) => HeadIs::decode(body).is_ok(),
        Some(Kind::ReadStream) => StreamWanted::decode(body).is_ok(),
        Some(Kind::StreamPage) => {
            PageFacts::decode(body).is_ok_and(|(_, events)| events.iter().count() == events.len())
        }
        Some(Kind::ReadAll) => AllWanted::decode(body).is_ok(),
        Some(Kind::GlobalPage) => {
            read::decode_global_page(body).is_ok_and(|(_, _, events)| events.iter().count() == events.len())
        }
        Some(Kind::Scan) => ScanWanted::decode(body).is_ok(),
        Some(Kind::ScanPart) => {
            read::decode_scan_part(body).is_ok_and(|(_, events)| events.iter().count() == events.len())
        }
        Some(Kind::Subscribe) => SubscribeWanted::decode(body).is_ok(),
        Some(Kind::SubscribePart) => {
            PartFacts::decode(body).is_ok_and(|(_, events)| events.iter().count() == events.len())
        }
        Some(Kind::ScanMore) => read::decode_scan_more(body).is_ok(),
    }
}
