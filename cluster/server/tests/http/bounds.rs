//! The limits of docs/limits.md from outside, one by one: what has just the size is taken, what is a little larger is refused with its status,
//! and nothing of it is stored. On the address of operators as on that of clients.

use crate::common::{Running, start, start_serving};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use strandline_server::ServeOptions;

const NDJSON: &str = "application/x-ndjson";

fn with_operators(dir: &Path) -> Running {
    let any = "127.0.0.1:0".parse().unwrap();
    start_serving(dir, |options| options, move |options| ServeOptions { admin: Some(any), ..options })
}

/// What a connection is told to these bytes, until the server ends it.
fn told(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    // the server may close before it has everything
    let _ = socket.write_all(bytes);
    let mut told = Vec::new();
    let _ = socket.read_to_end(&mut told);
    String::from_utf8_lossy(&told).into_owned()
}

/// A request for the health of a node with so many lines in its head, and so many bytes where that is more.
fn head(lines: usize, bytes: usize) -> Vec<u8> {
    let mut head = "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n".to_owned();
    (3..lines).for_each(|n| head.push_str(&format!("a{n}: b\r\n")));
    let rest = bytes.saturating_sub(head.len() + "z: \r\n\r\n".len()).max(1);
    format!("{head}z: {}\r\n\r\n", "z".repeat(rest)).into_bytes()
}

#[test]
fn a_head_has_so_many_lines_and_bytes_on_every_listener_of_http() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_operators(folder.path());
    for address in [server.address, server.admin.unwrap()] {
        for largest in [head(96, 0), head(3, 128 << 10), head(96, 128 << 10)] {
            let told = told(address, &largest);
            assert!(told.starts_with("HTTP/1.1 200 "), "{} bytes: {told}", largest.len());
        }
        let many = told(address, &head(97, 0));
        assert!(many.starts_with("HTTP/1.1 431 "), "{many}");
        let large = told(address, &head(3, 512 << 10));
        // a reset may overtake it
        assert!(large.is_empty() || large.starts_with("HTTP/1.1 431 "), "{large}");
        let of_path = |bytes: usize| {
            let path = format!("/{}", "p".repeat(bytes - 1));
            told(address, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        };
        let (longest, longer) = (of_path(65_534), of_path(65_535));
        assert!(longest.starts_with("HTTP/1.1 404 "), "{longest}");
        assert!(longer.starts_with("HTTP/1.1 400"), "{longer}");
    }
}

/// Bodies are taken as they are: nothing unpacks them, so no small one becomes a large one.
#[test]
fn no_body_is_unpacked_on_any_route_that_takes_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_operators(folder.path());
    let packed = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x4b, 4, 0, 0x43, 0xbe, 0xb7, 0xe8, 1, 0, 0, 0];
    let names =
        [("{store}", "s"), ("{stream_type}", "Call"), ("{stream_id}", "c"), ("{name}", "x"), ("{action}", "drain")];
    let described = server.get("/openapi.json").ok(200);
    let posted = described["paths"].as_object().unwrap().iter().filter(|(_, methods)| methods["post"].is_object());
    let paths: Vec<String> = posted
        .map(|(path, _)| names.iter().fold(path.clone(), |path, (name, value)| path.replace(name, value)))
        .collect();
    assert!(paths.len() >= 20, "{paths:?}");
    for path in paths {
        let address = if path.starts_with("/admin/") { server.admin.unwrap() } else { server.address };
        // this store is immutable, and this node alone: both are said before a body is looked at
        let is_refused_before = path.ends_with("/redact") || path.starts_with("/admin/v1/cluster/");
        for coding in ["gzip", "deflate", "br", "zstd", "x-gzip", "gzip, gzip"] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
                 content-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
                packed.len()
            );
            let told = told(address, &[head.as_bytes(), &packed].concat());
            let is_refused = match is_refused_before {
                true => told.starts_with("HTTP/1.1 403 ") || told.starts_with("HTTP/1.1 501 "),
                false => told.starts_with("HTTP/1.1 415 ") && told.contains("send the body as it is"),
            };
            assert!(is_refused, "{path}: {told}");
        }
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip, chunked\r\n\r\n");
        let told = told(address, &[head.as_bytes(), &packed].concat());
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 400 "), "{path}: {told}");
    }
    assert_eq!(server.get("stream-types").ok(200)["stream_types"].as_array().unwrap().len(), 1);
    assert_eq!(server.get("subscriptions").ok(200)["subscriptions"], json!([]));
}

#[test]
fn a_small_body_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_operators(folder.path());
    let posted = |address: SocketAddr, path: &str, bytes: usize| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {bytes}\r\n\r\n"
        );
        let told = told(address, &[head.into_bytes(), vec![b' '; bytes]].concat());
        told.split(' ').nth(1).map(str::to_owned)
    };
    for (address, path, taken) in [
        (server.address, "/v1/stores/s/subscriptions/x", "201"),
        (server.admin.unwrap(), "/admin/v1/stores/s/compaction/run", "202"),
    ] {
        assert_eq!(posted(address, path, 1 << 20).as_deref(), Some(taken), "{path}");
        assert_eq!(posted(address, path, (1 << 20) + 1).as_deref(), Some("413"), "{path}");
    }
}

/// An event of a bulk body with this field.
fn line(field: &str, value: &str) -> String {
    let mut event = json!({ "stream_type": "Call", "stream_id": "s", "event_type": "E" });
    event[field] = json!(value);
    format!("{event}\n")
}

#[test]
fn texts_of_an_event_have_so_many_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    // two bytes each, six percent-encoded
    let encoded = |letters: usize, rest: &str| format!("{}{rest}", "\u{fc}".repeat(letters));
    for (field, longest, longer, limit) in [
        ("stream_id", encoded(512, ""), encoded(512, "x"), 1024),
        ("event_type", encoded(128, ""), encoded(128, "x"), 256),
        ("command_id", encoded(128, ""), encoded(128, "x"), 256),
        ("correlation_id", encoded(128, ""), encoded(128, "x"), 256),
        ("causation_id", encoded(128, ""), encoded(128, "x"), 256),
        ("tenant_id", encoded(33, "xx"), encoded(33, "xxx"), 200),
        ("stream_type", encoded(33, "xx"), encoded(33, "xxx"), 200),
    ] {
        server.post_as("events", NDJSON, line(field, &longest).as_bytes()).ok(201);
        let refused = server.post_as("events", NDJSON, line(field, &longer).as_bytes()).error(422, "invalid_event");
        let text = refused["error"].as_str().unwrap();
        assert!(text.contains(field) && text.contains(&format!("{limit} bytes")), "{refused}");
    }
    assert_eq!(server.get_as("scan", NDJSON).text().lines().count(), 7);
}

#[test]
fn an_event_an_append_and_a_bulk_body_have_so_many_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    // payload, its quotes, and the stream's id
    let event = |bytes: usize| format!("{{\"event_type\":\"E\",\"data\":\"{}\"}}", "x".repeat(bytes - 3));
    server.append("c", &event(1 << 20)).ok(201);
    let refused = server.append("c", &event((1 << 20) + 1)).error(413, "too_large");
    assert_eq!(refused["details"]["limit_bytes"], 1 << 20);
    let padded = |text: &str, bytes: usize| format!("{text}{}", " ".repeat(bytes - text.len()));
    let append = |bytes| padded(r#"{"events":[{"event_type":"E"}]}"#, bytes);
    server.post("streams/Call/c", &append(16 << 20)).ok(201);
    server.post("streams/Call/c", &append((16 << 20) + 1)).error(413, "too_large");
    let line = line("data", "1");
    let largest = server.post_as("events", NDJSON, padded(&line, 64 << 20).as_bytes()).ok(201);
    assert_eq!(largest["appended"], 1);
    server.post_as("events", NDJSON, padded(&line, (64 << 20) + 1).as_bytes()).error(413, "too_large");
    assert_eq!(server.get_as("scan", NDJSON).text().lines().count(), 3);
}

#[test]
fn pages_buckets_and_new_stream_types_have_so_many_of_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    server.append("c", &vec![r#"{"event_type":"E"}"#; 1001].join(",")).ok(201);
    let events = |path: &str| server.get(path).ok(200)["events"].as_array().unwrap().len();
    for path in ["events", "streams/Call/c"] {
        assert_eq!((events(path), events(&format!("{path}?limit=100000"))), (1000, 1001), "{path}");
        let refused = server.get(&format!("{path}?limit=100001")).error(400, "bad_request");
        assert_eq!(refused["details"]["limit_events"], 100_000);
    }
    let register =
        |buckets: u64| server.post("stream-types", &json!({ "name": "Split", "buckets": buckets }).to_string());
    for buckets in [0, 257] {
        register(buckets).error(400, "bad_request");
    }
    register(256).ok(201);
    let new: String = (0..257).map(|n| line("stream_type", &format!("New{n}"))).collect();
    for path in ["events", "events?on_error=skip"] {
        let refused = server.post_as(path, NDJSON, new.as_bytes()).error(413, "too_large");
        assert_eq!(refused["details"]["limit_stream_types"], 256);
    }
    let types = server.get("stream-types").ok(200);
    let names: Vec<&Value> = types["stream_types"].as_array().unwrap().iter().map(|of| &of["name"]).collect();
    assert_eq!(names, ["Declared", "Split", "Call"]);
}

/// What stands in the folder of a node and in that of its logs.
fn entries(folder: &Path) -> BTreeSet<PathBuf> {
    let of = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    of(folder.to_owned()).chain(of(folder.join("wal"))).collect()
}

/// Parts of paths that would lead elsewhere, if anybody took them for parts of a path on the disk.
const STRANGE: &[&str] = &[
    "..",
    "%2e%2e",
    "..%2f..%2fetc%2fpasswd",
    "%2fetc%2fpasswd",
    "..%5c..",
    "%00",
    "a%00b",
    "%252e%252e%252f",
    "%ff",
    "%2",
    "%c0%ae%c0%ae",
    "%ef%bc%8e%ef%bc%8e",
    "~",
    ".lock",
    "*",
];

#[test]
fn no_part_of_a_path_leads_to_a_file_on_any_listener_of_http() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_operators(folder.path());
    server.append("c", r#"{"event_type":"E"}"#).ok(201);
    let before = entries(folder.path());
    let long = "y".repeat(5000);
    let asked = |address: SocketAddr, method: &str, path: &str| {
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        let told = told(address, head.as_bytes());
        let status = told.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        // no name is there, and none is the fault of the server
        assert!(status.is_some_and(|status| (400..500).contains(&status)), "{method} {path}: {told}");
    };
    for part in STRANGE.iter().copied().chain([long.as_str()]) {
        for path in [
            format!("/v1/stores/{part}"),
            format!("/v1/stores/s/streams/{part}/{part}"),
            format!("/v1/stores/s/streams/Call/{part}/head"),
            format!("/v1/stores/s/events/{part}"),
            format!("/v1/stores/s/subscriptions/{part}"),
            format!("/v1/stores/s/subscriptions/{part}/events"),
            format!("/api/dereg/eventstores/{part}"),
        ] {
            asked(server.address, "GET", &path);
        }
        for path in [
            format!("/admin/{part}"),
            format!("/admin/v1/stores/{part}/files"),
            format!("/admin/v1/stores/s/subscriptions/{part}"),
            format!("/{part}/{part}"),
        ] {
            asked(server.admin.unwrap(), "GET", &path);
        }
        for path in [
            format!("/admin/v1/stores/{part}/compaction/run"),
            format!("/admin/v1/stores/s/compaction/run?stream_type={part}"),
            format!("/admin/v1/stores/s/subscriptions/{part}/replay"),
        ] {
            asked(server.admin.unwrap(), "POST", &path);
        }
    }
    assert_eq!(entries(folder.path()), before, "nothing was made");
    // names that are taken stay what they are: texts
    for name in ["../x", "..", "/etc", "a%2fb", "."] {
        server.post("stream-types", &json!({ "name": name }).to_string()).ok(201);
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        assert_eq!(server.post(&format!("subscriptions/{encoded}"), "{}").ok(201)["name"], name);
    }
    assert_eq!(entries(folder.path()), before, "no folder is made of them");
}
