//! Every kind of frame: what it asks of a token, and that it shows a tenant nothing of others. A kind that is new is decided here, or this does not
//! compile.

use crate::access::{As, PLANTED, plant, token_in};
use crate::common::{Running, start_guarded};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;
use strandline_client::wire::append::{encode_append, encode_bulk};
use strandline_client::wire::append_rows::encode_append_rows;
use strandline_client::wire::fields::Reader;
use strandline_client::wire::frames::{Frame, FrameReader, Step};
use strandline_client::wire::header::Kind;
use strandline_client::wire::hello::Hello;
use strandline_client::wire::read::{HeadOf, ScanWanted, encode_empty, encode_scan_more};
use strandline_client::{
    AllWanted, BatchBuilder, BatchBytes, BatchUnit, EventInput, Expected, Filter, OnError, Position, Refused, Stay,
    StreamWanted, SubscribeWanted,
};
use strandline_event::ErrorKind;
use strandline_server::access::Role;

/// The request that is looked at; the Hello before it is another.
const REQUEST: u64 = 2;

/// What a kind asks for.
enum Asks {
    /// A token with this role.
    For(Role),
    /// Any token, and it is answered.
    Token,
    /// It goes on with another request, and has no answer of its own.
    Part,
    /// It is sent by the server, or is the first frame alone: not taken from a client here.
    NotTaken,
}

/// The decision that a new kind needs.
fn asks(kind: Kind) -> Asks {
    match kind {
        Kind::Append | Kind::AppendBulk | Kind::AppendRows => Asks::For(Role::Append),
        Kind::Head | Kind::ReadStream | Kind::ReadAll | Kind::Scan | Kind::Subscribe => Asks::For(Role::Read),
        Kind::Ping | Kind::Stay => Asks::Token,
        Kind::ScanMore | Kind::ScanCancel => Asks::Part,
        Kind::Hello
        | Kind::Welcome
        | Kind::Error
        | Kind::Pong
        | Kind::Appended
        | Kind::BulkAppended
        | Kind::HeadIs
        | Kind::StreamPage
        | Kind::GlobalPage
        | Kind::ScanPart
        | Kind::SubscribePart => Asks::NotTaken,
    }
}

fn batch(unit: BatchUnit, stream_id: &str) -> BatchBytes {
    let mut batch = BatchBuilder::new("Call", unit);
    let event = EventInput { stream_id, event_type: "E", data: "{}", tenant_id: Some("a"), ..EventInput::default() };
    batch.push(&event).unwrap();
    batch.finish().unwrap()
}

/// A frame of a kind: about this stream, or about all that there is.
fn frame(kind: Kind, stream: &str) -> Vec<u8> {
    let (after, filter) = (Position::START, Filter::default());
    let (stream_type, window_bytes) = ("Call".to_owned(), 1 << 20);
    let encoded = match kind {
        Kind::Append => {
            let batch = batch(BatchUnit::Append, stream);
            encode_append(REQUEST, std::iter::once((&batch, Expected::Any)), false)
        }
        Kind::AppendRows => {
            let batch = batch(BatchUnit::Append, stream);
            encode_append_rows(REQUEST, [(&batch, Expected::Any); 2].into_iter()).unwrap()
        }
        Kind::AppendBulk => encode_bulk(REQUEST, &[batch(BatchUnit::Rows, stream)], OnError::Abort),
        Kind::Head => HeadOf { stream_type, stream_id: stream.to_owned() }.encode(REQUEST),
        Kind::ReadStream => StreamWanted::all("Call", stream).encode(REQUEST),
        Kind::ReadAll => AllWanted { after, limit: 100, filter }.encode(REQUEST),
        Kind::Scan => ScanWanted { window_bytes, filter }.encode(REQUEST),
        Kind::Subscribe => {
            SubscribeWanted { after: Some(after), window_bytes, filter, stream_id: None }.encode(REQUEST)
        }
        Kind::Stay => Stay { led: true, reads: true }.encode(REQUEST),
        Kind::ScanMore => encode_scan_more(REQUEST, 1),
        other => encode_empty(other, REQUEST),
    };
    encoded.into_bytes()
}

/// What a connection is told after a Hello with a token and one frame: frames, and all bytes. Its own side stays open until the frame is answered: who
/// closes it asks for no further part of a scan.
fn told(server: &Running, token: &str, frame: &[u8], is_answered: bool) -> (Vec<Frame>, Vec<u8>) {
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        body_max: 1 << 20,
        store: String::new(),
        token: token.to_owned(),
        program: "test".to_owned(),
    };
    let mut socket = TcpStream::connect(server.native).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.write_all(&[hello.encode(1).into_bytes().as_slice(), frame].concat()).unwrap();
    let (mut reader, mut frames, mut all) = (FrameReader::new(1 << 20), Vec::<Frame>::new(), Vec::new());
    let mut is_open = true;
    loop {
        match reader.step().unwrap() {
            Step::Frame(frame) => frames.push(frame),
            Step::Head(_) | Step::Skipped(_) => {}
            Step::More => {
                if is_open && (!is_answered || frames.iter().any(|frame| frame.header.request == REQUEST)) {
                    socket.shutdown(Shutdown::Write).unwrap();
                    is_open = false;
                }
                let space = reader.space();
                let count = socket.read(space).unwrap();
                if count == 0 {
                    return (frames, all);
                }
                all.extend_from_slice(&space[..count]);
                reader.filled(count);
            }
        }
    }
}

/// The refusals among frames, each with its request.
fn refusals(frames: &[Frame]) -> Vec<(u64, Option<ErrorKind>)> {
    let errors = frames.iter().filter(|frame| Kind::from_u8(frame.header.kind) == Some(Kind::Error));
    errors.map(|frame| (frame.header.request, Refused::read(&mut Reader::new(&frame.body)).unwrap().kind())).collect()
}

#[test]
fn every_kind_of_frame_takes_the_tokens_that_it_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let all = token_in(&file, "all", &[Role::Admin], &[], &[]);
    let tokens = [
        (token_in(&file, "append", &[Role::Append], &[], &[]), vec![Role::Append]),
        (token_in(&file, "read", &[Role::Read], &[], &[]), vec![Role::Read]),
        (token_in(&file, "a", &[Role::Append, Role::Read], &[], &["a"]), vec![Role::Append, Role::Read]),
    ];
    let server = start_guarded(folder.path(), &file);
    plant(&As::new(&server, &all));
    for kind in Kind::ALL.iter().copied() {
        for (token, roles) in &tokens {
            let is_answered = !matches!(asks(kind), Asks::Part);
            let (frames, _) = told(&server, token, &frame(kind, "own"), is_answered);
            let wanted = match asks(kind) {
                Asks::For(role) if !roles.contains(&role) => vec![(REQUEST, Some(ErrorKind::Forbidden))],
                Asks::For(_) | Asks::Token | Asks::Part => Vec::new(),
                Asks::NotTaken => vec![(0, Some(ErrorKind::BadRequest))],
            };
            assert_eq!(refusals(&frames), wanted, "{kind:?} by a token of {roles:?}");
        }
    }
    server.stop();
}

#[test]
fn no_kind_of_frame_shows_a_tenant_a_byte_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let all = token_in(&file, "all", &[Role::Admin], &[], &[]);
    let a = token_in(&file, "a", &[Role::Append, Role::Read], &[], &["a"]);
    let server = start_guarded(folder.path(), &file);
    let operator = As::new(&server, &all);
    plant(&operator);
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    // from the log and memory, then from files
    for round in 0..2 {
        let (_, everything) = told(&server, &all, &frame(Kind::ReadAll, "own"), true);
        assert!(holds(&everything, PLANTED), "what is looked for is found where it may be");
        for kind in Kind::ALL.iter().copied() {
            let is_answered = !matches!(asks(kind), Asks::Part);
            let (_, bytes) = told(&server, &a, &frame(kind, "own"), is_answered);
            assert!(!holds(&bytes, PLANTED), "{kind:?} in round {round}");
        }
        // of a stream of another one they say what they say of none
        for kind in [Kind::Head, Kind::ReadStream] {
            let [theirs, nobodys] =
                ["b-planted", "b-nothing"].map(|stream| told(&server, &a, &frame(kind, stream), true).1);
            assert_eq!(theirs, nobodys, "{kind:?} in round {round}");
        }
        operator.post("admin:compaction/run?wait=true", "").ok(200);
    }
    server.stop();
}
