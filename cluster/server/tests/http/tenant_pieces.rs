//! Where a long answer to a token of tenants is cut: by the caller's own events, whatever of others lies between them in log and files.

use crate::access::{As, connect, token_in};
use crate::common::{Running, start_guarded};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::RangeInclusive;
use strandline_client::Filter;
use strandline_server::access::Role;

/// Events of each tenant, all of one size.
const EVENTS: usize = 4200;

/// Appends events in batches of so many, each beside a batch of somebody else.
fn fill(who: &As<'_>, tenant: &str, batch: usize) {
    let event = |tenant: &str| json!({ "event_type": "E", "data": { "text": "x".repeat(333) }, "tenant_id": tenant });
    for _ in 0..EVENTS / batch {
        for (stream, tenant, count) in [("own", tenant, batch), ("others", "z", 3)] {
            let body = json!({ "events": vec![event(tenant); count] }).to_string();
            who.post(&format!("streams/Call/{stream}-{tenant}"), &body).ok(201);
        }
    }
}

/// How many events each part of a scan holds, but for the last one.
fn parts(server: &Running, token: &str) -> Vec<usize> {
    let (runtime, client) = connect(server, token, "").unwrap();
    let mut counts = runtime.block_on(async {
        let (mut scan, mut counts) = (client.scan(Filter::default(), 8 << 20), Vec::new());
        while let Some(events) = scan.next().await.unwrap() {
            counts.push(events.iter().count());
        }
        counts
    });
    assert_eq!(counts.iter().sum::<usize>(), EVENTS);
    counts.pop();
    counts
}

/// The lengths of an answer's chunks, but for the last one and the empty one that ends it.
fn chunks(server: &Running, token: &str, path: &str) -> Vec<usize> {
    let mut socket = TcpStream::connect(server.address).unwrap();
    let shown = format!("host: localhost\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n");
    socket.write_all(format!("GET {path} HTTP/1.1\r\n{shown}").as_bytes()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let mut rest = answer.split_off(answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4);
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    let mut lengths = Vec::new();
    loop {
        let line = rest.windows(2).position(|end| end == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if length == 0 {
            lengths.pop();
            return lengths;
        }
        lengths.push(length);
        rest.drain(..line + 2 + length + 2);
    }
}

/// About the bytes that are sent at once, and a line more.
const PIECE: RangeInclusive<usize> = 65_536..=66_536;

#[test]
fn pieces_of_a_scan_end_where_the_callers_own_events_fill_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let all = token_in(&file, "all", &[Role::Admin], &[], &[]);
    let tenants = [("a", 100), ("b", 21), ("c", 1050)];
    let tokens = tenants.map(|(tenant, _)| token_in(&file, tenant, &[Role::Read], &[], &[tenant]));
    let server = start_guarded(folder.path(), &file);
    let all = As::new(&server, &all);
    for (tenant, batch) in tenants {
        fill(&all, tenant, batch);
    }
    for round in ["from the log and memory", "from files"] {
        let counts = tokens.each_ref().map(|token| parts(&server, token));
        assert!(counts[0].len() > 2, "{counts:?}");
        assert!(counts.iter().all(|of| *of == counts[0]), "{round}: {counts:?}");
        for token in &tokens {
            let lengths = chunks(&server, token, "/v1/stores/s/scan");
            assert!(lengths.len() > 20 && lengths.iter().all(|length| PIECE.contains(length)), "{round}: {lengths:?}");
            let lines = As::new(&server, token).get("scan").text();
            let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(rows.len(), EVENTS, "{round}");
        }
        all.post("admin:compaction/run?wait=true", "").ok(200);
    }
    server.stop();
}
