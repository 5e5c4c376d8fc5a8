//! Slow clients, end to end, with less patience than a node has by default: who sends or takes a byte now and then is given up, and what it
//! held is given back; the others are served meanwhile.

use crate::common::{Running, start_serving};
use crate::native::{hello_and_large_append, hello_of};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use strandline_client::wire::read::StreamWanted;
use strandline_client::{Client, Direction, Options};
use strandline_server::{Patience, ServeOptions};
use strandline_workers::NodeOptions;

/// What a byte may take here: long enough for the others, on a machine that is busy with other tests.
const STALL: Duration = Duration::from_secs(2);
/// Between two bytes of a slow client: shorter than a byte may take.
const BEAT: Duration = Duration::from_millis(300);
/// The machine may be busy with other tests.
const SOON: Duration = Duration::from_secs(60);
/// More than the system takes ahead of a client, and less than a page may hold.
const PAGE_EVENTS: usize = 14;

fn start(dir: &std::path::Path, change: impl FnOnce(NodeOptions) -> NodeOptions + Send + 'static) -> Running {
    let patience = Patience { stall: STALL, bytes_a_second: 64 << 20 };
    start_serving(dir, change, move |options| ServeOptions { patience, ..options })
}

/// Sends a byte with every beat, until the server says something, or ends the connection; what it said.
fn trickle(address: SocketAddr, begin: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(begin).unwrap();
    socket.set_read_timeout(Some(BEAT)).unwrap();
    let (began, mut told) = (Instant::now(), Vec::new());
    loop {
        assert!(began.elapsed() < SOON, "a byte now and then keeps the connection");
        let mut part = [0; 4096];
        match socket.read(&mut part) {
            Ok(0) => break,
            Ok(bytes) => told.extend_from_slice(&part[..bytes]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if socket.write_all(b"x").is_err() {
                    break;
                }
            }
            Err(_) => break,
        }
        if told.windows(11).any(|part| part == b"bad_request") {
            break;
        }
    }
    String::from_utf8_lossy(&told).into_owned()
}

/// Sends a piece with every beat until the server ends the connection; what it said.
fn drip(address: SocketAddr, begin: &[u8], piece: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(begin).unwrap();
    socket.set_read_timeout(Some(BEAT)).unwrap();
    let (began, mut told) = (Instant::now(), Vec::new());
    loop {
        assert!(began.elapsed() < SOON, "a body without an end keeps the connection");
        let mut part = [0; 4096];
        match socket.read(&mut part) {
            Ok(0) => break,
            Ok(bytes) => told.extend_from_slice(&part[..bytes]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if socket.write_all(piece).is_err() {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&told).into_owned()
}

fn in_flight_ends(server: &Running) {
    let began = Instant::now();
    while !server.get("/metrics").text().contains("strandline_in_flight_bytes 0") {
        assert!(began.elapsed() < SOON, "what a slow client held is given back");
    }
}

#[test]
fn a_body_and_a_frame_that_come_byte_by_byte_are_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), |options| NodeOptions { in_flight_bytes_max: 8 << 20, ..options });
    let by_http = |path: &str| {
        let head = format!(
            "POST /v1/stores/s/{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n["
        );
        let told = trickle(server.address, head.as_bytes());
        assert!(told.starts_with("HTTP/1.1 400") && told.contains("did not arrive"), "{path}: {told}");
    };
    let by_frames = |begin: Vec<u8>| {
        let told = trickle(server.native, &begin);
        assert!(told.contains("did not arrive") && told.contains("the connection ends"), "{told}");
    };
    std::thread::scope(|scope| {
        let (by_http, by_frames) = (&by_http, &by_frames);
        for path in ["streams/Call/c", "events", "stream-types"] {
            scope.spawn(move || by_http(path));
        }
        let (hello, frame) = hello_and_large_append(900_000);
        // in an append, and before it has said who it is
        for begin in [[hello, frame[..64].to_vec()].concat(), hello_of(1)[..10].to_vec()] {
            scope.spawn(move || by_frames(begin));
        }
    });
    server.append("c", "{\"event_type\":\"E\"}").ok(201);
    in_flight_ends(&server);
}

/// Nobody reads it, or no more of it: its connection ends with the answer, whatever of it is still to come.
#[test]
fn a_body_without_an_end_keeps_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), |options| options);
    let address = server.address;
    std::thread::scope(|scope| {
        for (line, media, status) in [
            ("GET /health", "application/json", "200"),
            ("POST /nowhere", "application/json", "404"),
            ("POST /v1/stores/s/streams/Call/c", "text/plain", "415"),
            ("POST /v1/stores/s/streams/Call/c", "application/json", "400"),
        ] {
            let head = format!(
                "{line} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media}\r\ntransfer-encoding: chunked\r\n\r\n"
            );
            for piece in ["1\r\n[\r\n", ""] {
                let begin = format!("{head}1\r\n[\r\n");
                scope.spawn(move || {
                    let told = drip(address, begin.as_bytes(), piece.as_bytes());
                    assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {told}");
                });
            }
        }
    });
    // one that ends goes as before, and so does what comes behind it on its connection
    let whole = "POST /v1/stores/s/streams/Call/c HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = "{\"events\":[{\"event_type\":\"E\"}]}";
    let append = format!("{whole}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let last = append.replacen("host:", "connection: close\r\nhost:", 1);
    let told = drip(address, format!("{append}{last}").as_bytes(), b"");
    assert_eq!(told.matches("HTTP/1.1 201 ").count(), 2, "{told}");
}

/// A head has ten seconds, whatever comes of it meanwhile.
#[test]
fn operators_are_given_no_more_time_and_a_head_that_comes_byte_by_byte_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let patience = Patience { stall: STALL, bytes_a_second: 64 << 20 };
    let change = move |options: ServeOptions| ServeOptions { patience, admin: Some(any), ..options };
    let server = start_serving(folder.path(), |options| options, change);
    let (http, admin) = (server.address, server.admin.unwrap());
    std::thread::scope(|scope| {
        for address in [http, admin] {
            scope.spawn(move || {
                let told = trickle(address, b"GET /health HTTP/1.1\r\nhost: localhost\r\nx-slow: ");
                // a reset may overtake it
                assert!(told.is_empty() || told.starts_with("HTTP/1.1 408"), "{told}");
            });
        }
        scope.spawn(move || {
            let head = "POST /admin/v1/stores/s/restore HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n[";
            let told = trickle(admin, head.as_bytes());
            assert!(told.starts_with("HTTP/1.1 400") && told.contains("did not arrive"), "{told}");
        });
    });
    assert_eq!(server.get("/health").ok(200)["status"], "ok");
}

fn fill(server: &Running) {
    let event = format!("{{\"event_type\":\"E\",\"data\":\"{}\"}}", "x".repeat(1_000_000));
    (0..PAGE_EVENTS).for_each(|_| drop(server.append("c", &event).ok(201)));
}

/// Takes a byte with every beat, on a thread of its own, until the connection ends.
fn sip(mut socket: TcpStream, ask: &[u8]) -> std::thread::JoinHandle<()> {
    socket.write_all(ask).unwrap();
    std::thread::spawn(move || {
        let began = Instant::now();
        while began.elapsed() < SOON {
            match socket.read(&mut [0]) {
                Ok(0) | Err(_) => return,
                Ok(_) => std::thread::sleep(BEAT),
            }
        }
    })
}

#[test]
fn an_answer_that_is_taken_byte_by_byte_keeps_no_other_read_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), |options| NodeOptions { answer_bytes_max: 40 << 20, ..options });
    fill(&server);
    let whole = || server.get("streams/Call/c");
    assert_eq!(whole().ok(200)["events"].as_array().unwrap().len(), PAGE_EVENTS);
    let ask = b"GET /v1/stores/s/streams/Call/c HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut slow = Vec::new();
    // until there is no room for another page
    while whole().status == 200 {
        assert!(slow.len() < 100, "nobody holds anything");
        slow.push(sip(TcpStream::connect(server.address).unwrap(), ask));
    }
    let began = Instant::now();
    while whole().status != 200 {
        assert!(began.elapsed() < SOON, "a byte now and then keeps the page");
    }
}

/// A scan has no length that its client could be measured by; it is ended all the same, so that its files are not held for ever.
#[test]
fn a_scan_that_is_taken_byte_by_byte_breaks_off() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), |options| options);
    fill(&server);
    assert_eq!(server.get("scan").text().lines().count(), PAGE_EVENTS);
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket.write_all(b"GET /v1/stores/s/scan HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let (began, mut told) = (Instant::now(), Vec::new());
    while began.elapsed() < STALL * 6 {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        told.push(byte[0]);
        std::thread::sleep(BEAT);
    }
    assert!(told.starts_with(b"HTTP/1.1 200"));
    // what the system had taken ahead comes, and no end behind it
    let _ = socket.read_to_end(&mut told);
    assert!(!told.ends_with(b"0\r\n\r\n"), "{} bytes came", told.len());
}

#[test]
fn a_native_answer_that_is_taken_byte_by_byte_gives_back_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), |options| options);
    fill(&server);
    let wanted = StreamWanted {
        stream_type: "Call".to_owned(),
        stream_id: "c".to_owned(),
        from_seq: None,
        to_seq: None,
        as_of: None,
        limit: 1000,
        direction: Direction::Rising,
    };
    let ask = [hello_of(1), wanted.encode(2).into_bytes()].concat();
    let _sipping = sip(TcpStream::connect(server.native).unwrap(), &ask);
    let holds = || !server.get("/metrics").text().contains("strandline_answer_bytes 0\n");
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "its page is made");
    }
    while holds() {
        assert!(began.elapsed() < SOON, "a byte now and then keeps the page");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::connect(Options::new(server.native.to_string())).await.unwrap();
        assert_eq!(client.read_stream(&wanted).await.unwrap().events.iter().count(), PAGE_EVENTS);
    });
}
