//! Limits, bad bytes and full queues over HTTP: each has its answer, and the server goes on.

use crate::common::{Running, start, start_serving, start_with};
use std::io::{Read, Write};
use std::net::TcpStream;
use strandline_server::ServeOptions;
use strandline_workers::NodeOptions;

fn is_well(server: &Running) {
    assert_eq!(server.get("/health").ok(200)["status"], "ok");
}

#[test]
fn what_is_over_a_limit_is_413_and_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let many = vec!["{\"event_type\":\"E\"}"; 10_001].join(",");
    let error = server.append("c", &many).error(413, "too_large");
    assert_eq!(error["details"]["limit_events"], 10_000);
    let big = format!("{{\"event_type\":\"E\",\"data\":\"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(server.append("c", &big).error(413, "too_large")["details"]["limit_bytes"], 1 << 20);
    let huge = server.post("streams/Call/c", &" ".repeat((16 << 20) + 1)).error(413, "too_large");
    assert!(huge["error"].as_str().unwrap().contains("16 MiB"), "{huge}");
    let line = vec![b'x'; 100_000_000];
    let bulk = server.post_as("events", "application/x-ndjson", &line).error(413, "too_large");
    assert!(bulk["error"].as_str().unwrap().contains("64 MiB"), "{bulk}");
    is_well(&server);
}

#[test]
fn a_page_of_another_origin_changes_nothing_where_no_token_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let sent = |method: &str, path: &str, headers: &str| {
        let mut socket = TcpStream::connect(server.address).unwrap();
        let body = if method == "GET" { "" } else { r#"{"events":[{"event_type":"E","data":1}]}"# };
        let head =
            format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n", body.len());
        socket.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    let (stream, pause) = ("/v1/stores/s/streams/Call/c", "/admin/v1/stores/s/compaction/pause");
    for path in [stream, pause] {
        let answer = sent("POST", path, "host: 127.0.0.1:7070\r\norigin: https://evil.example\r\n");
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("another origin"), "{answer}");
    }
    let answer = sent("GET", "/v1/stores/s/events", "host: evil.example:7070\r\n");
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("--token-file"), "{answer}");
    assert_eq!(server.get("events").ok(200)["events"].as_array().unwrap().len(), 0);
    let own = format!("host: {0}\r\norigin: http://{0}\r\nsec-fetch-site: same-origin\r\n", server.address);
    assert!(sent("POST", stream, &own).starts_with("HTTP/1.1 201"));
    // what a consumer is given is taken from others
    server.post("subscriptions/x", "{}").ok(201);
    let (given, followed) = ("/v1/stores/s/subscriptions/x/events?idle_s=0", "/v1/stores/s/subscribe?idle_s=0");
    for page in ["origin: https://evil.example\r\n", "sec-fetch-site: cross-site\r\n"] {
        let elsewhere = format!("host: 127.0.0.1:7070\r\n{page}");
        let answer = sent("GET", given, &elsewhere);
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("another origin"), "{answer}");
        assert!(sent("GET", followed, &elsewhere).starts_with("HTTP/1.1 200"));
    }
    assert!(sent("GET", given, &own).starts_with("HTTP/1.1 200"));
    is_well(&server);
}

#[test]
fn a_line_without_end_is_cut_off_at_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let mut socket = TcpStream::connect(server.address).unwrap();
    let head = "POST /v1/stores/s/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).unwrap();
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..100 {
        socket.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).unwrap();
        socket.write_all(&chunk).unwrap();
        socket.write_all(b"\r\n").unwrap();
    }
    socket.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = [0; 1024];
    let len = socket.read(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer[..len]);
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    is_well(&server);
}

#[test]
fn random_bytes_never_end_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = |len: usize| -> Vec<u8> {
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect()
    };
    let types = ["application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"];
    for round in 0..60 {
        for content_type in types {
            let body = bytes(1 + round * 37);
            for path in ["events", "events?on_error=skip", "streams/Call/c", "stream-types"] {
                let answer = server.post_as(path, content_type, &body);
                let json = answer.json();
                let skipped = path.ends_with("skip") && answer.status == 201 && json["appended"] == 0;
                assert!(skipped || (400..=499).contains(&answer.status), "{}: {json}", answer.status);
                assert!(skipped || json["code"].is_string());
            }
        }
    }
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket.write_all(&bytes(4096)).unwrap();
    drop(socket);
    is_well(&server);
}

#[test]
fn what_comes_too_fast_is_429_with_retry_after() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        start_with(folder.path(), "", |options| NodeOptions { in_flight_bytes_max: 1000, reads_max: 0, ..options });
    let event = format!("{{\"event_type\":\"E\",\"data\":\"{}\"}}", "x".repeat(2000));
    let refused = server.append("c", &event);
    refused.error(429, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    server.append("c", "{\"event_type\":\"E\"}").ok(201);
    let read = server.get("streams/Call/c");
    read.error(429, "overloaded");
    assert!(!read.header("retry-after").is_empty());
    let metrics = server.get("/metrics").text();
    let counted = metrics.lines().find_map(|line| line.strip_prefix("strandline_overloaded_total "));
    assert!(counted.unwrap().parse::<u64>().unwrap() >= 2, "each of them counts: {metrics}");
    is_well(&server);
}

#[test]
fn answers_that_wait_for_their_clients_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_with(folder.path(), "", |options| NodeOptions { answer_bytes_max: 3000, ..options });
    let event = format!("{{\"event_type\":\"E\",\"data\":\"{}\"}}", "x".repeat(2000));
    server.append("c", &format!("{event},{event}")).ok(201);
    for path in ["streams/Call/c", "events"] {
        let refused = server.get(path);
        refused.error(429, "overloaded");
        assert!(!refused.header("retry-after").is_empty());
        let page = server.get(&format!("{path}?limit=1"));
        assert_eq!(page.ok(200)["events"].as_array().unwrap().len(), 1);
        assert_eq!(page.header("content-length"), page.body.len().to_string());
    }
}

#[test]
fn a_body_of_too_many_new_stream_types_is_413() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let body: String =
        (0..1001).map(|n| format!("{{\"stream_type\":\"T{n}\",\"stream_id\":\"s\",\"event_type\":\"E\"}}\n")).collect();
    let error = server.post_as("events", "application/x-ndjson", body.as_bytes()).error(413, "too_large");
    assert!(error["error"].as_str().unwrap().contains("1000 stream types"), "{error}");
    assert_eq!(server.get("stream-types").ok(200)["stream_types"].as_array().unwrap().len(), 1);
}

#[test]
fn what_curl_sends_by_itself_is_taken_for_json() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let (body, form) =
        (b"{\"events\":[{\"event_type\":\"E\"}]}", ("content-type", "application/x-www-form-urlencoded"));
    server.post_with("streams/Call/c", &[form], body).ok(201);
    server.post_with("streams/Call/c", &[], body).ok(201);
    server.post_with("stream-types", &[form], b"{\"name\":\"New\"}").ok(201);
    // but not from a page of somebody else in the browser
    let page = server.post_with("streams/Call/c", &[form, ("origin", "https://example.com")], body);
    page.error(403, "forbidden");
}

#[test]
fn a_dry_run_and_a_refusal_leave_no_stream_type_behind() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let body = "{\"events\":[{\"event_type\":\"E\"}]}";
    assert_eq!(server.post("streams/New/s?inspect=true", body).ok(201)["last_seq"], 1);
    let late = "{\"events\":[{\"event_type\":\"E\"}],\"expected_seq\":5}";
    server.post("streams/New/s", late).error(409, "wrong_expected_seq");
    assert!(!server.get("stream-types").text().contains("New"));
    let logs = std::fs::read_dir(folder.path().join("wal")).unwrap().map(Result::unwrap);
    // the folder of the logs bears a mark
    assert!(!logs.filter(|entry| entry.path().is_dir()).any(|entry| entry.file_name() != "~strandline"));
}

#[test]
fn wrong_types_methods_and_routes_are_json_errors() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", projection.notify_on_commit = false");
    server.post_as("streams/Call/c", "text/plain", b"{}").error(415, "unsupported_media_type");
    server.post_as("events", "application/x-www-form-urlencoded", b"{}").error(415, "unsupported_media_type");
    let zipped = [("content-type", "application/json"), ("content-encoding", "gzip")];
    server.post_with("streams/Call/c", &zipped, b"{}").error(415, "unsupported_media_type");
    // the path in it tells it from what a route does not find
    assert_eq!(server.get("/nowhere").error(404, "not_found")["details"]["path"], "/nowhere");
    assert!(server.get("/v1/stores/none").error(404, "not_found")["details"]["path"].is_null());
    server.get("/v1/stores/none/streams/a/b").error(404, "not_found");
    server.post("/v1/stores/none/events", "[]").error(404, "not_found");
    server.delete("streams/Call/c").error(405, "bad_request");
    server.get("subscribe").error(409, "notifications_disabled");
    server.post("query", "{}").error(501, "not_supported");
    server.get("/admin/v1/cluster").error(501, "not_supported");
    server.post("admin:redact", "{}").error(403, "forbidden");
    server.delete("subscriptions/x").error(404, "not_found");
    server.post("subscriptions/x", "{}").error(409, "notifications_disabled");
}

#[test]
fn a_list_is_not_taken_for_an_object_that_leaves_all_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let paths = [
        "subscriptions/x",
        "subscriptions/x/ack",
        "subscriptions/x/replay",
        "stream-types",
        "admin:restore",
        "admin:compaction/run",
        "/api/deql/create",
    ];
    for path in paths {
        // of the last one the first place is that of a statement
        for body in ["[]", " [\"a\"]", "null", "7", "\"a\"", "[\"CREATE AGGREGATE Listed;\"]"] {
            let error = server.post(path, body).error(400, "bad_request");
            assert!(error["error"].as_str().unwrap().contains("no JSON object"), "{path} {body}: {error}");
        }
    }
    // of two tenants one would be passed over
    for filter in ["[]", "\"a\"", "{\"kind\":\"a\"}", "{\"tenant_id\":\"a\",\"tenant_id\":\"b\"}"] {
        server.post("subscriptions/x", &format!("{{\"filter\":{filter}}}")).error(400, "bad_request");
    }
    server.get("subscriptions/x").error(404, "not_found");
    server.post("subscriptions/x", " {\"filter\":null}").ok(201);
}

#[test]
fn a_body_of_another_character_set_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let body = b"{\"events\":[{\"event_type\":\"E\"}]}";
    for charset in ["utf-16", "\"ISO-8859-1\"", "UTF-16LE; x=1"] {
        let answer = server.post_as("streams/Call/c", &format!("application/json; charset={charset}"), body);
        let error = answer.error(415, "unsupported_media_type");
        assert!(error["error"].as_str().unwrap().contains("send UTF-8"), "{error}");
        let kind = format!("application/x-ndjson; Charset={charset}");
        server.post_as("events", &kind, b"{}").error(415, "unsupported_media_type");
    }
    for kind in
        ["application/json;charset=UTF-8", "application/json; x=1; charset=\"utf-8\"", "application/json;charset"]
    {
        server.post_as("streams/Call/c", kind, body).ok(201);
    }
}

#[test]
fn an_empty_body_is_called_empty() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    for path in ["streams/Call/c", "events", "stream-types", "/api/deql/create"] {
        let error = server.post(path, "").error(400, "bad_request");
        assert!(error["error"].as_str().unwrap().contains("the body is empty"), "{path}: {error}");
    }
}

#[test]
fn what_is_declared_and_not_sent_keeps_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = start_with(folder.path(), "", |options| NodeOptions { in_flight_bytes_max: 1 << 20, ..options });
    let mut silent = Vec::new();
    let head = "POST /v1/stores/s/streams/Call/c HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
                content-type: application/json\r\ncontent-length: 1000000\r\n\r\n";
    for _ in 0..4 {
        let mut socket = TcpStream::connect(server.address).unwrap();
        socket.write_all(head.as_bytes()).unwrap();
        let mut told = [0; 12];
        socket.read_exact(&mut told).unwrap();
        assert_eq!(&told, b"HTTP/1.1 100", "the head has been read");
        silent.push(socket);
    }
    for _ in 0..4 {
        let mut socket = TcpStream::connect(server.native).unwrap();
        let (hello, frame) = crate::native::hello_and_large_append(900_000);
        socket.write_all(&hello).unwrap();
        socket.write_all(&frame[..64]).unwrap();
        socket.read_exact(&mut [0; 32]).unwrap();
        silent.push(socket);
    }
    let event = format!("{{\"event_type\":\"E\",\"data\":\"{}\"}}", "x".repeat(300_000));
    for _ in 0..10 {
        server.append("c", &event).ok(201);
    }
    // the last answer comes a moment before its request gives back what it held; the silent ones would hold theirs for ever
    while !server.get("/metrics").text().contains("strandline_in_flight_bytes 0") {
        std::thread::yield_now();
    }
    drop(silent);
    is_well(&server);
}

#[test]
fn a_huge_head_and_bytes_that_are_no_http_end_their_own_connection() {
    let folder = tempfile::tempdir().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let server =
        start_serving(folder.path(), |options| options, move |options| ServeOptions { admin: Some(any), ..options });
    let heads = [
        format!("GET /health HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(1 << 20)),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(1 << 20)),
        format!("GET /health HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100_000)),
        "\u{16}\u{3}\u{1}\u{2}".to_owned() + &"\0".repeat(600),
    ];
    for address in [server.address, server.admin.unwrap()] {
        for head in &heads {
            let mut socket = TcpStream::connect(address).unwrap();
            // the server may close before it has everything
            let _ = socket.write_all(head.as_bytes());
            let mut told = Vec::new();
            let _ = socket.read_to_end(&mut told);
            let text = String::from_utf8_lossy(&told);
            assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
            is_well(&server);
        }
    }
}
