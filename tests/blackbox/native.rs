//! The native protocol of the real program, by the Rust client and by bytes that no client sends: equal to HTTP, nothing lost, nothing
//! that ends the node.

pub(crate) mod rows;

use crate::harness::{Random, Server, Store, seed};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use strandline_client::wire::frames::{Frame, FrameReader, Step};
use strandline_client::wire::header::Kind;
use strandline_client::wire::hello::Hello;
use strandline_client::wire::read::encode_empty;
use strandline_client::{
    AllWanted, Appended, BatchBuilder, BatchBytes, BatchUnit, Client, ClientError, Direction, EventInput, EventRef,
    Events, Expected, Filter, OnError, Options, Position, Seq, StreamWanted,
};
use tokio::runtime::Runtime;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn options(server: &Server) -> Options {
    Options { store: "test".to_owned(), ..Options::new(server.native()) }
}

async fn connect(server: &Server) -> Client {
    Client::connect(options(server)).await.unwrap()
}

fn one(stream_id: &str, data: &str, command_id: Option<&str>) -> BatchBytes {
    let mut batch = BatchBuilder::new("T", BatchUnit::Append);
    batch.push(&EventInput { stream_id, event_type: "E", data, command_id, ..EventInput::default() }).unwrap();
    batch.finish().unwrap()
}

fn rows(stream_type: &str, count: usize, data: &str) -> BatchBytes {
    let mut batch = BatchBuilder::new(stream_type, BatchUnit::Rows);
    for row in 0..count {
        let stream_id = format!("s{}", row % 100);
        let event = EventInput { stream_id: &stream_id, event_type: "E", data, ..EventInput::default() };
        batch.push(&event).unwrap();
    }
    batch.finish().unwrap()
}

/// What HTTP shows of an event, from what the native protocol gives.
fn shown(event: &EventRef<'_>) -> Value {
    json!({
        "event_id": event.event_id.to_string(), "stream_id": event.stream_id, "seq": event.seq.0, "event_type": event.event_type,
        "occurred_at": event.occurred_at.to_string(), "ingested_at": event.ingested_at.to_string(),
        "data": serde_json::from_str::<Value>(event.data).unwrap(),
    })
}

fn same(native: &Events, http: &[Value]) {
    assert_eq!(native.len(), http.len());
    for (native, http) in native.iter().zip(http) {
        let native = shown(&native);
        for (field, value) in native.as_object().unwrap() {
            assert_eq!(value, &http[field], "{field} of {http}");
        }
    }
}

#[test]
fn appends_and_reads_are_those_of_http() {
    let store = Store::new(&["id.command_id.unique_scope = 'stream'"]);
    let server = store.start();
    runtime().block_on(async {
        let client = connect(&server).await;
        assert_eq!(client.welcome().unwrap().store, "test");
        client.ping().await.unwrap();
        assert_eq!(client.head("T", "s").await.unwrap(), None);
        let first = client.append(one("s", "{\"n\":1}", Some("c1")), Expected::Empty).await.unwrap();
        assert!(!first.is_known() && first.first_seq() == Seq(1));
        let body = json!({"events": [{"event_type": "E", "data": {"n": 2}}], "expected_seq": 1});
        server.http().post("streams/T/s", &body).expect(201);
        let third = client.append(one("s", "{\"n\":3}", None), Expected::At(Seq(2))).await.unwrap();
        let events = server.http().stream("T", "s");
        let page = client.read_stream(&StreamWanted::all("T", "s")).await.unwrap();
        same(&page.events, &events);
        assert!(page.facts.contiguous && page.facts.head == Seq(3) && page.facts.next_seq.is_none());
        let Appended::Stored(stamps) = &third else { panic!("{third:?}") };
        assert_eq!(json!(stamps.made_id(0).to_string()), events[2]["event_id"]);
        let head = client.head("T", "s").await.unwrap().unwrap();
        assert_eq!((head.first_seq, head.last_seq), (Seq(1), Seq(3)));

        let falling = StreamWanted { limit: 2, direction: Direction::Falling, ..StreamWanted::all("T", "s") };
        let page = client.read_stream(&falling).await.unwrap();
        assert_eq!(page.events.iter().map(|event| event.seq.0).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(page.facts.next_seq, Some(Seq(1)));

        // conflicts and retries are answered as there
        let refused = client.append(one("s", "{}", None), Expected::At(Seq(1))).await.unwrap_err();
        let ClientError::Refused(refused) = refused else { panic!("{refused}") };
        assert_eq!((refused.code.as_str(), refused.last_seq), ("wrong_expected_seq", Some(Seq(3))));
        let again = client.append(one("s", "{\"n\":1}", Some("c1")), Expected::Empty).await.unwrap();
        let Appended::Known(known) = &again else { panic!("{again:?}") };
        assert_eq!(json!(known[0].event_id.unwrap().to_string()), events[0]["event_id"]);
        let other = client.append(one("s", "{\"n\":9}", Some("c1")), Expected::Any).await.unwrap_err();
        assert!(matches!(&other, ClientError::Refused(r) if r.code == "command_conflict"), "{other}");
        let dry = client.inspect(one("s", "{}", None), Expected::At(Seq(3))).await.unwrap();
        assert_eq!(dry.first_seq(), Seq(4));
        assert_eq!(client.head("T", "s").await.unwrap().unwrap().last_seq, Seq(3));
    });
    server.stop();
    store.assert_clean();
}

#[test]
fn what_http_would_refuse_is_refused() {
    let store = Store::new(&[]);
    let server = store.start();
    runtime().block_on(async {
        let client = connect(&server).await;
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let wrong = ["{\"n\":", "1,\"seq\":7", "{} {}", &deep];
        // good ones that go with them are stored
        let good = (0..20).map(|n| client.append(one(&format!("good{n}"), "{}", None), Expected::Empty));
        let bad = wrong.iter().map(|data| client.append(one("bad", data, None), Expected::Any));
        let (good, bad) = futures_join(good, bad).await;
        assert!(good.iter().all(Result::is_ok), "{good:?}");
        for (data, refused) in wrong.iter().zip(bad) {
            let Err(ClientError::Refused(refused)) = refused else { panic!("{refused:?}") };
            // broken JSON is what it is over HTTP; JSON that few readers take is an invalid event
            let code = if data.len() > 100 { "invalid_event" } else { "bad_request" };
            assert_eq!((refused.code.as_str(), refused.row), (code, Some(0)), "{refused}");
        }
        assert_eq!(client.head("T", "bad").await.unwrap(), None);
        let refused = client.append_bulk(&[rows("A", 3, "{}"), rows("A", 3, "{}")], OnError::Skip).await.unwrap_err();
        assert!(matches!(refused, ClientError::Refused(r) if r.part == Some(1)));
        let page = StreamWanted { limit: 100_001, ..StreamWanted::all("T", "good1") };
        let refused = client.read_stream(&page).await.unwrap_err();
        assert!(matches!(refused, ClientError::Refused(r) if r.code == "bad_request"));

        let other = Options { store: "other".to_owned(), ..options(&server) };
        let refused = Client::connect(other).await.err().unwrap();
        assert!(matches!(&refused, ClientError::Refused(r) if r.code == "not_found"), "{refused}");
        // without a token file nobody looks at tokens
        Client::connect(Options { token: "any".to_owned(), ..options(&server) }).await.unwrap();
    });
}

/// Both lists of requests at the same time.
async fn futures_join<A: Future, B: Future>(
    a: impl Iterator<Item = A>,
    b: impl Iterator<Item = B>,
) -> (Vec<A::Output>, Vec<B::Output>) {
    use futures_util::future::{join, join_all};
    join(join_all(a), join_all(b)).await
}

#[test]
fn sixty_four_callers_at_once_are_each_answered_and_all_is_there_after_a_kill() {
    const CALLERS: u64 = 64;
    const EACH: u64 = 30;
    let store = Store::new(&[]);
    let server = store.start();
    runtime().block_on(async {
        let client = connect(&server).await;
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let client = client.clone();
                tokio::spawn(async move {
                    for n in 0..EACH {
                        // streams of its own, and one that all of them share
                        let mine = one(&format!("s{caller}"), &format!("{{\"n\":{n}}}"), None);
                        let stored = client.append(mine, Expected::At(Seq(n)).or_empty()).await.unwrap();
                        assert_eq!(stored.first_seq(), Seq(n + 1));
                        client
                            .append(one("shared", &format!("{{\"c\":{caller},\"n\":{n}}}"), None), Expected::Any)
                            .await
                            .unwrap();
                        // a conflict in the middle of the others is its own affair
                        let lost = client.append(one(&format!("s{caller}"), "{}", None), Expected::Empty).await;
                        assert_eq!(lost.unwrap_err().kind().unwrap().code(), "wrong_expected_seq");
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
    });
    server.kill();
    let server = store.start();
    for caller in 0..CALLERS {
        let events = server.http().stream("T", &format!("s{caller}"));
        assert!(
            events.iter().map(|event| &event["data"]["n"]).eq((0..EACH).map(|n| json!(n)).collect::<Vec<_>>().iter())
        );
    }
    let shared: BTreeSet<String> = server.http().stream("T", "shared").iter().map(|e| e["data"].to_string()).collect();
    assert_eq!(shared.len() as u64, CALLERS * EACH);
    server.stop();
    store.assert_clean();
}

trait OrEmpty {
    fn or_empty(self) -> Self;
}

impl OrEmpty for Expected {
    fn or_empty(self) -> Self {
        if self == Self::At(Seq(0)) { Self::Empty } else { self }
    }
}

#[test]
fn large_batches_go_through_and_everything_is_scanned_once_over_all_tiers() {
    let store = Store::new(&[]);
    let server = store.start();
    let data = format!("{{\"filler\":\"{}\"}}", "x".repeat(300));
    runtime().block_on(async {
        let client = connect(&server).await;
        let bulk = [rows("A", 40_000, &data), rows("B", 10_000, &data)];
        let parts = client.append_bulk(&bulk, OnError::Abort).await.unwrap();
        assert_eq!(parts.iter().map(|part| part.as_ref().unwrap().appended).collect::<Vec<_>>(), [40_000, 10_000]);
        server.http().compact();
        let mut whole = BatchBuilder::new("A", BatchUnit::Append);
        for _ in 0..10_000 {
            whole
                .push(&EventInput { stream_id: "one", event_type: "E", data: &data, ..EventInput::default() })
                .unwrap();
        }
        let stored = client.append(whole.finish().unwrap(), Expected::Empty).await.unwrap();
        assert_eq!((stored.first_seq(), stored.last_seq()), (Seq(1), Seq(10_000)));
        for n in 0..50 {
            client.append(one(&format!("single{n}"), "{}", None), Expected::Empty).await.unwrap();
        }
        let page = client.read_stream(&StreamWanted { limit: 20_000, ..StreamWanted::all("A", "one") }).await.unwrap();
        assert!(page.events.iter().map(|event| event.seq.0).eq(1..=10_000));

        let wanted: BTreeSet<String> =
            server.http().scan().iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(wanted.len(), 60_050);
        for window in [1, 64 << 20] {
            let (mut scan, mut found, mut count) = (client.scan(Filter::default(), window), BTreeSet::new(), 0);
            while let Some(events) = scan.next().await.unwrap() {
                count += events.len();
                found.extend(events.iter().map(|event| event.event_id.to_string()));
            }
            assert!(count == 60_050 && found == wanted, "window {window}: {count}");
        }
        // one that is given up holds nothing up
        let mut scan = client.scan(Filter::default(), 1);
        assert!(scan.next().await.unwrap().is_some());
        drop(scan);
        let filter = Filter { stream_type: Some("T".to_owned()), ..Filter::default() };
        let (mut after, mut seen) = (Position::START, Vec::new());
        loop {
            let wanted = AllWanted { after, limit: 20, filter: filter.clone() };
            let (events, next) = client.read_all(&wanted).await.unwrap();
            if next == after {
                break;
            }
            seen.extend(events.iter().map(|event| event.stream_id.to_owned()));
            after = next;
        }
        assert!(seen.iter().map(String::as_str).eq((0..50).map(|n| format!("single{n}")).collect::<Vec<_>>().iter()));
    });
    server.stop();
    store.assert_clean();
}

/// A connection by hand.
struct Raw {
    socket: TcpStream,
    frames: FrameReader,
}

impl Raw {
    fn new(server: &Server) -> Self {
        Self { socket: TcpStream::connect(server.native()).unwrap(), frames: FrameReader::new(64 << 20) }
    }

    fn welcomed(server: &Server) -> Self {
        let mut raw = Self::new(server);
        let hello = Hello {
            version_min: 1,
            version_max: 9,
            body_max: 64 << 20,
            store: "test".to_owned(),
            token: String::new(),
            program: "by hand".to_owned(),
        };
        raw.socket.write_all(&hello.encode(1).into_bytes()).unwrap();
        assert_eq!(raw.next().unwrap().header.kind, Kind::Welcome.to_u8());
        raw
    }

    /// The next frame; `None`: the server has closed.
    fn next(&mut self) -> Option<Frame> {
        loop {
            match self.frames.step().unwrap() {
                Step::Frame(frame) => return Some(frame),
                Step::Head(_) | Step::Skipped(_) => {}
                Step::More => match self.socket.read(self.frames.space()) {
                    Ok(0) | Err(_) => return None,
                    Ok(read) => self.frames.filled(read),
                },
            }
        }
    }

    /// What is left until the server closes.
    fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

#[test]
fn bytes_that_are_no_frames_end_their_connection_and_nothing_else() {
    let seed = seed("bytes_that_are_no_frames_end_their_connection_and_nothing_else");
    let mut random = Random(seed);
    let store = Store::new(&[]);
    let mut server = store.start();
    let runtime = runtime();
    let client = runtime.block_on(connect(&server));
    let whole = Hello {
        version_min: 1,
        version_max: 1,
        body_max: 1 << 20,
        store: "test".to_owned(),
        token: String::new(),
        program: String::new(),
    };
    let append = |request: u64| {
        let batch = one("s", "{\"n\":1}", None);
        strandline_client::wire::append::encode_append(request, std::iter::once((&batch, Expected::Any)), false)
            .into_bytes()
    };
    for round in 0..200_u64 {
        let mut bytes = whole.encode(1).into_bytes();
        bytes.extend(encode_empty(Kind::Ping, 2).into_bytes());
        bytes.extend(append(3));
        // flipped bits, other bytes, pieces; what is behind the checksums too
        match round % 4 {
            0 => bytes = (0..random.below(2_000)).map(|_| random.next() as u8).collect(),
            1 => (0..=random.below(4)).for_each(|_| {
                let place = random.below(bytes.len() as u64) as usize;
                bytes[place] ^= 1 << random.below(8);
            }),
            2 => bytes.truncate(random.below(bytes.len() as u64) as usize),
            _ => {
                let mut lying = append(4);
                let place = 32 + random.below(lying.len() as u64 - 32) as usize;
                lying[place] = random.next() as u8;
                let length = u32::from_le_bytes(lying[16..20].try_into().unwrap()) as usize;
                let crc = crc32c::crc32c(&lying[32..32 + length]);
                lying[20..24].copy_from_slice(&crc.to_le_bytes());
                let crc = crc32c::crc32c(&lying[..28]);
                lying[28..32].copy_from_slice(&crc.to_le_bytes());
                bytes.extend(lying);
            }
        }
        let mut raw = Raw::new(&server);
        // the server may have closed before all of it is sent
        let _ = raw.socket.write_all(&bytes);
        let _ = raw.socket.shutdown(std::net::Shutdown::Write);
        let frames = raw.rest();
        assert!(frames.iter().all(|frame| Kind::from_u8(frame.header.kind).is_some()));
    }
    runtime.block_on(client.ping()).unwrap();
    assert!(server.runs());
    let stored = server.http().get("streams/T/s/head").json()["last_seq"].as_u64().unwrap();
    assert!(stored > 0, "whole appends before the bad bytes are stored");
    server.stop();
    store.assert_clean();
}

#[test]
fn a_bad_frame_is_told_why_and_an_unknown_kind_is_answered() {
    let store = Store::new(&[]);
    let server = store.start();
    let mut raw = Raw::new(&server);
    raw.socket.write_all(b"SSH-2.0-a program of something else\r\n").unwrap();
    let told = raw.rest();
    assert_eq!((told.len(), told[0].header.kind, told[0].header.request), (1, Kind::Error.to_u8(), 0));
    // who took the port for that of HTTP is told in HTTP, but not in the middle of a conversation
    let get = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n.....";
    let port = server.url().rsplit(':').next().unwrap();
    // the second one is shorter than the header of a frame
    for request in [&get[..], b"GET / HTTP/1.0\r\n\r\n"] {
        let mut raw = Raw::new(&server);
        raw.socket.write_all(request).unwrap();
        let mut told = String::new();
        raw.socket.read_to_string(&mut told).unwrap();
        assert!(told.starts_with("HTTP/1.1 400 "), "{told}");
        assert!(told.contains("native protocol") && told.contains(&format!("HTTP is served at port {port}")), "{told}");
    }
    let mut raw = Raw::welcomed(&server);
    raw.socket.write_all(get).unwrap();
    let told = raw.rest();
    assert_eq!((told.len(), told[0].header.kind, told[0].header.request), (1, Kind::Error.to_u8(), 0));

    // a body that nobody counts is small, and before the first frame there is none
    for (kind, welcomed) in [(Kind::Ping, true), (Kind::Head, true), (Kind::Append, false), (Kind::Hello, false)] {
        let mut raw = if welcomed { Raw::welcomed(&server) } else { Raw::new(&server) };
        let header = strandline_client::wire::header::Header {
            kind: kind.to_u8(),
            request: 5,
            body_bytes: 10 << 20,
            body_crc: 0,
        };
        raw.socket.write_all(&header.encode()).unwrap();
        let told = raw.rest();
        assert_eq!((told.len(), told[0].header.request), (1, 0), "{kind:?}");
    }

    let mut raw = Raw::welcomed(&server);
    let mut later = encode_empty(Kind::Ping, 7).into_bytes();
    later[5] = 200;
    let crc = crc32c::crc32c(&later[..28]);
    later[28..32].copy_from_slice(&crc.to_le_bytes());
    raw.socket.write_all(&later).unwrap();
    let answer = raw.next().unwrap();
    assert_eq!((answer.header.kind, answer.header.request), (Kind::Error.to_u8(), 7));
    raw.socket.write_all(&encode_empty(Kind::Ping, 8).into_bytes()).unwrap();
    assert_eq!(raw.next().unwrap().header.kind, Kind::Pong.to_u8());
    later[28] ^= 1;
    raw.socket.write_all(&later).unwrap();
    let told = raw.rest();
    assert_eq!((told.len(), told[0].header.request), (1, 0));
    server.stop();
}

#[test]
fn a_client_that_takes_no_answers_holds_up_nobody_else() {
    const PAGES: u64 = 300;
    let store = Store::new(&[]);
    let server = store.start();
    let runtime = runtime();
    let data = format!("\"{}\"", "y".repeat(1_000_000));
    let client = runtime.block_on(async {
        let client = connect(&server).await;
        client.append(one("large", &data, None), Expected::Any).await.unwrap();
        client
    });
    let mut raw = Raw::welcomed(&server);
    for request in 1..=PAGES {
        let wanted = StreamWanted::all("T", "large").encode(request);
        raw.socket.write_all(&wanted.into_bytes()).unwrap();
    }
    // 300 MB of answers wait for a client that reads none of them; everybody else is served
    runtime.block_on(async {
        for n in 0..20 {
            client.append(one("other", "{}", None), Expected::At(Seq(n)).or_empty()).await.unwrap();
        }
        assert_eq!(client.read_stream(&StreamWanted::all("T", "large")).await.unwrap().events.len(), 1);
    });
    // none of them was refused: the server read no further request until there was room
    let mut answered = BTreeSet::new();
    for _ in 0..PAGES {
        let frame = raw.next().unwrap();
        assert_eq!(frame.header.kind, Kind::StreamPage.to_u8());
        answered.insert(frame.header.request);
    }
    assert_eq!(answered.len() as u64, PAGES);
    server.stop();
}

#[test]
fn a_client_goes_on_over_kills_and_stores_nothing_twice() {
    const COMMANDS: u64 = 400;
    let store = Store::new(&["id.command_id.unique_scope = 'stream'"]);
    let server = store.start();
    let native = server.native().to_owned();
    let restart = || Server::start_from(store.program().args(store.serve_arguments()).args(["--native", &native]));
    let runtime = runtime();
    let client = runtime.block_on(connect(&server));
    let with_commands: Vec<_> = (0..8)
        .map(|caller| {
            let client = client.clone();
            runtime.spawn(async move {
                for n in 0..COMMANDS / 8 {
                    let command = format!("c{caller}-{n}");
                    let batch = one("s", &format!("{{\"c\":\"{command}\"}}"), Some(&command));
                    client.append(batch, Expected::Any).await.unwrap();
                }
            })
        })
        .collect();
    let without = runtime.spawn({
        let client = client.clone();
        async move {
            let (mut stored, mut unknown) = (0_u64, 0);
            for _ in 0..COMMANDS {
                match client.append(one("plain", "{}", None), Expected::Any).await {
                    Ok(_) => stored += 1,
                    Err(ClientError::OutcomeUnknown { .. }) => unknown += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            (stored, unknown)
        }
    });
    let mut server = server;
    for _ in 0..3 {
        let before = server.http().get("streams/T/s/head").json()["last_seq"].as_u64().unwrap_or(0);
        // some progress between the kills, or the end of it
        while !with_commands.iter().all(tokio::task::JoinHandle::is_finished)
            && server.http().get("streams/T/s/head").json()["last_seq"].as_u64().unwrap_or(0) < before + 40
        {}
        server.kill();
        server = restart();
    }
    let (stored, unknown) = runtime.block_on(async {
        for caller in with_commands {
            caller.await.unwrap();
        }
        without.await.unwrap()
    });
    let commands: Vec<String> = server.http().stream("T", "s").iter().map(|e| e["data"]["c"].to_string()).collect();
    assert_eq!((commands.len() as u64, commands.iter().collect::<BTreeSet<_>>().len() as u64), (COMMANDS, COMMANDS));
    let plain = server.http().get("streams/T/plain/head").json()["last_seq"].as_u64().unwrap();
    assert!((stored..=stored + unknown).contains(&plain), "{stored} stored, {unknown} unknown, {plain} there");
    server.stop();
    store.assert_clean();
}

#[test]
fn the_node_says_where_it_listens_and_drains_what_is_in_flight() {
    let store = Store::new(&[]);
    let server = store.start();
    let info = server.http().get("/info").expect(200);
    assert_eq!(info["native"], server.native());
    let runtime = runtime();
    let client = runtime.block_on(connect(&server));
    let callers: Vec<_> = (0..16)
        .map(|caller| {
            let client = client.clone();
            runtime.spawn(async move {
                let mut stored = 0;
                loop {
                    match client.append(one(&format!("s{caller}"), "{}", None), Expected::Any).await {
                        Ok(_) => stored += 1,
                        Err(error) => return (stored, error),
                    }
                }
            })
        })
        .collect();
    while server.http().scan().len() < 50 {}
    assert_eq!(server.terminate(), 0);
    let ended: Vec<(u64, ClientError)> = callers.into_iter().map(|caller| runtime.block_on(caller).unwrap()).collect();
    let server = store.start();
    for (caller, (stored, error)) in ended.into_iter().enumerate() {
        // a node that drains answers what it has taken, and refuses the rest: nothing is unknown
        assert!(matches!(&error, ClientError::Refused(r) if r.code == "unavailable"), "{error}");
        let last = server.http().get(&format!("streams/T/s{caller}/head")).json()["last_seq"].as_u64().unwrap_or(0);
        assert_eq!(last, stored, "s{caller}");
    }
}
