//! What the native protocol shares with HTTP: the account of bytes in flight, and the end of the node.

use crate::common::{Running, start, start_with};
use std::io::{Read, Write};
use std::net::TcpStream;
use strandline_client::wire::append::encode_append;
use strandline_client::wire::header::{HEADER_BYTES, Header, Kind};
use strandline_client::wire::hello::Hello;
use strandline_client::{
    AllWanted, BatchBuilder, BatchBytes, BatchUnit, Client, EventInput, Expected, Filter, OnError, Options, Position,
    Stay, SubscribeWanted,
};
use strandline_event::texts::Texts;
use strandline_event::{ErrorKind, EventBatch, Micros};
use strandline_workers::NodeOptions;

fn batch(unit: BatchUnit, count: usize, text_bytes: usize) -> BatchBytes {
    let data = format!("\"{}\"", "x".repeat(text_bytes));
    let mut batch = BatchBuilder::new("Call", unit);
    for _ in 0..count {
        batch.push(&EventInput { stream_id: "c", event_type: "E", data: &data, ..EventInput::default() }).unwrap();
    }
    batch.finish().unwrap()
}

/// The first two frames of a client, of which the second is an append of so many bytes.
pub(crate) fn hello_and_large_append(bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let hello = hello_of(1);
    let large = batch(BatchUnit::Append, 1, bytes);
    let frame = encode_append(2, std::iter::once((&large, Expected::Any)), false);
    (hello, frame.into_bytes())
}

pub(crate) fn hello_of(request: u64) -> Vec<u8> {
    let options = Options::new("");
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        body_max: options.answer_bytes_max,
        store: String::new(),
        token: String::new(),
        program: "test".to_owned(),
    };
    hello.encode(request).into_bytes()
}

fn with_client<T>(server: &Running, work: impl AsyncFnOnce(Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { work(Client::connect(Options::new(server.native.to_string())).await.unwrap()).await })
}

#[test]
fn bytes_in_flight_are_counted_with_those_of_http_and_more_is_overloaded() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_with(folder.path(), "", |options| NodeOptions { in_flight_bytes_max: 200 << 10, ..options });
    with_client(&server, async |client| {
        // the body passes unread, and the connection goes on
        for unit in [BatchUnit::Append, BatchUnit::Rows] {
            let large = batch(unit, 3, 100_000);
            let refused = match unit {
                BatchUnit::Append => client.append(large, Expected::Any).await.map(drop),
                BatchUnit::Rows => client.append_bulk(&[large], OnError::Abort).await.map(drop),
            };
            assert_eq!(refused.unwrap_err().kind(), Some(ErrorKind::Overloaded));
        }
        for _ in 0..10 {
            client.append(batch(BatchUnit::Append, 1, 100_000), Expected::Any).await.unwrap();
        }
        assert_eq!(client.head("Call", "c").await.unwrap().unwrap().last_seq.0, 10);
    });
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("strandline_in_flight_bytes 0"), "everything was given back: {metrics}");
}

#[test]
fn a_frame_that_brings_too_many_stream_types_is_refused_and_stores_none() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let of_type = |n: usize, unit| {
        let mut batch = BatchBuilder::new(&format!("New{n}"), unit);
        batch.push(&EventInput { stream_id: "s", event_type: "E", data: "{}", ..EventInput::default() }).unwrap();
        batch.finish().unwrap()
    };
    let appends: Vec<BatchBytes> = (0..3000).map(|n| of_type(n, BatchUnit::Append)).collect();
    let frame = encode_append(2, appends.iter().map(|batch| (batch, Expected::Any)), false).into_bytes();
    let answer = raw(&server, &frame);
    assert!(answer.windows(9).any(|part| part == b"too_large"), "{}", String::from_utf8_lossy(&answer));
    with_client(&server, async |client| {
        let rows: Vec<BatchBytes> = (0..257).map(|n| of_type(n, BatchUnit::Rows)).collect();
        let refused = client.append_bulk(&rows, OnError::Skip).await.unwrap_err();
        assert_eq!(refused.kind(), Some(ErrorKind::TooLarge), "{refused}");
        assert!(refused.to_string().contains("at most 256"), "{refused}");
    });
    assert_eq!(server.get("stream-types").ok(200)["stream_types"].as_array().unwrap().len(), 1);
}

#[test]
fn a_frame_has_so_many_bytes_and_so_many_appends() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let told = |frame: &[u8]| String::from_utf8_lossy(&raw(&server, frame)).into_owned();
    let largest = (64 << 20) + (64 << 10);
    let of_events = [Kind::Append, Kind::AppendRows, Kind::AppendBulk].map(|kind| (kind, largest));
    for (kind, body_bytes) in of_events.into_iter().chain([(Kind::Head, 64 << 10)]) {
        for (body_bytes, refused) in [(body_bytes, false), (body_bytes + 1, true)] {
            // no more of it comes: it is the header that decides
            let header = Header { kind: kind.to_u8(), request: 2, body_bytes, body_crc: 0 };
            let told = told(&header.encode());
            assert_eq!(told.contains("too_large"), refused, "{kind:?} of {body_bytes} bytes: {told}");
        }
    }
    let one = batch(BatchUnit::Append, 1, 1);
    let frame = |appends: usize| encode_append(2, vec![(&one, Expected::Any); appends].into_iter(), false).into_bytes();
    assert!(told(&frame(4097)).contains("1 to 4096"));
    server.get("streams/Call/c/head").error(404, "not_found");
    told(&frame(4096));
    assert_eq!(server.get("streams/Call/c/head").ok(200)["last_seq"], 4096);
}

/// What a connection is answered to a Hello and this frame, once the answer to the frame has begun.
fn raw(server: &Running, frame: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(server.native).unwrap();
    socket.write_all(&hello_and_large_append(1).0).unwrap();
    socket.write_all(frame).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut told = Vec::new();
    socket.read_to_end(&mut told).unwrap();
    told
}

#[test]
fn what_stays_is_heard_and_answered_by_a_node_alone_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let stay = Stay { led: true, reads: true };
    let told = raw(&server, &stay.encode(7).into_bytes());
    let last = Header::decode(told.last_chunk::<HEADER_BYTES>().unwrap()).unwrap();
    assert_eq!((Kind::from_u8(last.kind), last.request), (Some(Kind::Pong), 7));
    // a client says it by itself, on each of its connections
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::connect(Options { stay, ..Options::new(server.native.to_string()) }).await.unwrap();
        client.append(batch(BatchUnit::Append, 1, 9), Expected::Empty).await.unwrap();
        let many = [(batch(BatchUnit::Append, 1, 9), Expected::Empty), (batch(BatchUnit::Append, 2, 9), Expected::Any)];
        let outcomes = client.append_many(&many, false).await.unwrap();
        assert_eq!(outcomes[0].as_ref().unwrap_err().kind(), Some(ErrorKind::WrongExpectedSeq));
        assert_eq!(outcomes[1].as_ref().unwrap().last_seq().0, 3);
    });
}

#[test]
fn a_filter_that_nothing_can_match_is_refused_as_by_http() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let of_nobody = Filter { tenant_id: Some(String::new()), ..Filter::default() };
    let (late, early) = (Some(Micros(2)), Some(Micros(1)));
    let swapped = Filter { occurred_from: late, occurred_before: early, ..Filter::default() };
    with_client(&server, async |client| {
        for filter in [of_nobody, swapped] {
            let all = AllWanted { after: Position::START, limit: 10, filter: filter.clone() };
            let read = client.read_all(&all).await.map(drop);
            let scanned = client.scan(filter.clone(), 1 << 20).next().await.map(drop);
            let wanted =
                SubscribeWanted { after: Some(Position::START), window_bytes: 1 << 20, filter, stream_id: None };
            let followed = client.subscribe(wanted).next().await.map(drop);
            for refused in [read, scanned, followed] {
                assert_eq!(refused.unwrap_err().kind(), Some(ErrorKind::BadRequest));
            }
        }
        let of_no_stream = SubscribeWanted {
            after: None,
            window_bytes: 1 << 20,
            filter: Filter::default(),
            stream_id: Some(String::new()),
        };
        let refused = client.subscribe(of_no_stream).next().await.map(drop).unwrap_err();
        assert_eq!(refused.kind(), Some(ErrorKind::BadRequest));
    });
}

#[test]
fn a_hello_of_request_0_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let mut socket = TcpStream::connect(server.native).unwrap();
    socket.write_all(&hello_of(0)).unwrap();
    let mut told = Vec::new();
    socket.read_to_end(&mut told).unwrap();
    let text = String::from_utf8_lossy(&told);
    assert!(text.contains("id is not 0") && text.contains("bad_request"), "{text}");
}

#[test]
fn limits_of_an_append_are_those_of_http() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    with_client(&server, async |client| {
        let refused = client.append(batch(BatchUnit::Append, 10_001, 1), Expected::Any).await.unwrap_err();
        assert_eq!(refused.kind(), Some(ErrorKind::TooLarge), "{refused}");
        let refused = client.append(batch(BatchUnit::Append, 17, 1_000_000), Expected::Any).await.unwrap_err();
        assert_eq!(refused.kind(), Some(ErrorKind::TooLarge), "{refused}");
        let refused = client.append_bulk(&[batch(BatchUnit::Rows, 68, 1_000_000)], OnError::Abort).await.unwrap_err();
        assert_eq!(refused.kind(), Some(ErrorKind::TooLarge), "{refused}");
        client.append(batch(BatchUnit::Append, 10_000, 1), Expected::Empty).await.unwrap();
    });
}

fn texts(all: &[&str]) -> Texts {
    let mut texts = Texts::default();
    all.iter().for_each(|text| texts.push(text));
    texts
}

/// A batch column by column: each row is of the stream whose number it has.
fn by_hand(unit: BatchUnit, streams: &[&str], rows: &[u32]) -> BatchBytes {
    let batch = EventBatch {
        unit: unit.to_u8(),
        stream_type: "Call".to_owned(),
        streams: texts(streams),
        stream_of: rows.to_vec(),
        flags: vec![0; rows.len()],
        event_types: texts(&vec!["E"; rows.len()]),
        data: texts(&vec!["{}"; rows.len()]),
        ..EventBatch::default()
    };
    BatchBytes::archive(&batch).unwrap()
}

/// Archives that can be read and that no builder makes: each is refused by itself, what goes with it in the same frame is stored.
#[test]
fn a_batch_that_no_client_of_ours_makes_is_refused_and_takes_nothing_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    // a builder leaves the name of a stream type to who knows it
    let mut long = BatchBuilder::new(&"y".repeat(201), BatchUnit::Append);
    long.push(&EventInput { stream_id: "one", event_type: "E", data: "{}", ..EventInput::default() }).unwrap();
    let forged = [
        // an append to one stream, of two
        (by_hand(BatchUnit::Append, &["one", "two"], &[0, 1]), "several"),
        // two events of one stream would get one seq
        (by_hand(BatchUnit::Append, &["one", "one"], &[0, 1]), "name each stream once"),
        (by_hand(BatchUnit::Append, &["one", "two"], &[0, 0]), "name each stream once"),
        (by_hand(BatchUnit::Append, &["two", "one"], &[1, 0]), "name each stream once"),
        (by_hand(BatchUnit::Append, &[""], &[0]), "stream_id"),
        (by_hand(BatchUnit::Append, &[&"x".repeat(1025)], &[0]), "1024 bytes"),
        (by_hand(BatchUnit::Append, &["one"], &[0; 10_001]), "10000 events"),
        (long.finish().unwrap(), "200 bytes"),
    ];
    let whole = by_hand(BatchUnit::Append, &["good"], &[0, 0]);
    let mut all: Vec<_> = forged.iter().map(|(batch, _)| (batch, Expected::Any)).collect();
    all.push((&whole, Expected::Empty));
    let append = encode_append(2, all.into_iter(), false);
    let told = raw(&server, &append.into_bytes());
    let text = String::from_utf8_lossy(&told);
    for (_, said) in &forged {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(server.get("streams/Call/good/head").ok(200)["last_seq"], 2);
    with_client(&server, async |client| {
        for (streams, rows) in [(["one", "one"], [0, 1]), (["two", "one"], [1, 0])] {
            let bulk = [by_hand(BatchUnit::Rows, &streams, &rows)];
            let refused = client.append_bulk(&bulk, OnError::Skip).await.unwrap_err();
            assert_eq!(refused.kind(), Some(ErrorKind::BadRequest), "{refused}");
        }
        assert_eq!(client.head("Call", "good").await.unwrap().unwrap().last_seq.0, 2);
    });
    let longest = by_hand(BatchUnit::Append, &[&"x".repeat(1024)], &[0]);
    with_client(&server, async |client| client.append(longest, Expected::Empty).await.unwrap());
    for stream in ["one", "two"] {
        server.get(&format!("streams/Call/{stream}/head")).error(404, "not_found");
    }
    assert_eq!(server.get("stream-types").ok(200)["stream_types"].as_array().unwrap().len(), 2);
}
