//! What a body of events, a single append, and single appends that share a frame allocate on their whole way: from the socket, decoded,
//! judged, written and synced, to the answer; by HTTP as NDJSON and by the native protocol, the client's part included. Counted at the
//! allocator of this process, nothing is timed. Tables, columns and buffers grow with what they hold, so a few allocations may come with many
//! events; one an event may not.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

#[path = "http/common.rs"]
#[allow(dead_code, reason = "what it has for the tests of HTTP")]
mod common;

use common::{Running, start};
use futures_util::future::join_all;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use strandline_client::{BatchBuilder, BatchBytes, BatchUnit, Client, EventInput, Expected, OnError, Options, Seq};
use tokio::runtime::Runtime;

#[global_allocator]
static MEMORY: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const STREAMS: usize = 1000;
const SMALL: usize = 200;
const LARGE: usize = 2000;
/// Bodies of each size; the first ones bring the streams.
const BODIES: usize = 21;
/// Events for which one more allocation may come.
const EVENTS_OF_ONE: u64 = 10;

/// Appends to one stream, of each size, that are sent one after the other; and streams that they go to in turn.
const SINGLES: usize = 101;
const SINGLE_STREAMS: usize = 20;
/// Events of a larger one, which is still gathered.
const SINGLE_LARGE: usize = 201;
/// Allocations of an append of one event, both ends and the messages between their threads.
const SINGLE_MAX: u64 = 64;

/// Appends that wait together, each to a stream of its own: the first goes at once, the others share frames.
const GATHERED: usize = 100;
/// Events of larger ones, which still go together. An append of one event needs no lists, and shares a copy with its neighbours: some more come with
/// the second event, none with those behind it.
const GATHERED_LARGE: usize = 101;
/// Allocations of each of them, where it has one event: fewer than of one that goes by itself.
const GATHERED_MAX: u64 = 20;

/// Numbers the events of all bodies.
struct Source(usize);

impl Source {
    fn events(&mut self, count: usize) -> impl Iterator<Item = (String, String, String)> {
        let from = self.0;
        self.0 += count;
        (from..from + count).map(|n| {
            let data = format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(180));
            (format!("4917{:08}", n * 7919 % STREAMS), format!("command-{n}"), data)
        })
    }
}

/// Median of the allocations while `send` runs, over bodies that were made before.
fn median<T>(bodies: Vec<T>, mut send: impl FnMut(T)) -> u64 {
    let mut counts = Vec::with_capacity(bodies.len());
    for body in bodies {
        let region = Region::new(MEMORY);
        send(body);
        let change = region.change();
        counts.push((change.allocations + change.reallocations) as u64);
    }
    counts.sort_unstable();
    counts[counts.len() / 2]
}

fn ndjson(source: &mut Source, count: usize) -> Vec<u8> {
    let mut lines = String::new();
    for (stream, command, data) in source.events(count) {
        writeln!(
            lines,
            "{{\"stream_type\":\"Http\",\"stream_id\":\"{stream}\",\"event_type\":\"E\",\"command_id\":\"{command}\",\"data\":{data}}}"
        )
        .unwrap();
    }
    let head = format!(
        "POST /v1/stores/s/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
        lines.len()
    );
    [head.as_bytes(), lines.as_bytes()].concat()
}

/// Sends a request and reads its answer, which must say that all is stored.
fn exchange(connection: &mut TcpStream, request: &[u8], answer: &mut [u8]) {
    connection.write_all(request).unwrap();
    let mut filled = 0;
    loop {
        filled += connection.read(&mut answer[filled..]).unwrap();
        let text = std::str::from_utf8(&answer[..filled]).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.1 201"), "{text}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            return;
        }
    }
}

fn over_http(server: &Running, count: usize, source: &mut Source) -> u64 {
    let mut connection = TcpStream::connect(server.address).unwrap();
    let mut answer = vec![0; 1 << 20];
    let bodies = (0..BODIES).map(|_| ndjson(source, count)).collect();
    median(bodies, |body: Vec<u8>| exchange(&mut connection, &body, &mut answer))
}

fn connected(server: &Running) -> (Runtime, Client) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = Options { store: "s".to_owned(), ..Options::new(server.native.to_string()) };
    let client = runtime.block_on(Client::connect(options)).unwrap();
    (runtime, client)
}

fn natively(server: &Running, count: usize, source: &mut Source) -> u64 {
    natively_as(server, count, source, ("Native", false))
}

/// The same with a client's seq and metadata in each row.
fn natively_with_more(server: &Running, count: usize, source: &mut Source) -> u64 {
    natively_as(server, count, source, ("NativeMore", true))
}

fn natively_as(server: &Running, count: usize, source: &mut Source, (stream_type, more): (&str, bool)) -> u64 {
    let (runtime, client) = connected(server);
    let body = |source: &mut Source| {
        let mut builder = BatchBuilder::new(stream_type, BatchUnit::Rows);
        let numbers = source.0..;
        for (n, (stream, command, data)) in numbers.zip(source.events(count)) {
            // the streams take turns
            let seq = more.then_some(Seq((n / STREAMS) as u64 + 1));
            let metadata = more.then_some("{\"source\":\"switch-7\",\"attempt\":1}");
            let (stream_id, event_type, command_id) = (stream.as_str(), "E", Some(command.as_str()));
            let event =
                EventInput { stream_id, event_type, seq, data: &data, metadata, command_id, ..EventInput::default() };
            builder.push(&event).unwrap();
        }
        builder.finish().unwrap()
    };
    let bodies = (0..BODIES).map(|_| body(source)).collect();
    median(bodies, |body| {
        let parts = runtime.block_on(client.append_bulk(&[body], OnError::Abort)).unwrap();
        assert_eq!(parts.into_iter().map(|part| part.unwrap().appended).sum::<u64>(), count as u64);
    })
}

/// An append of so many events to one stream.
fn append(stream_type: &str, stream: usize, count: usize, source: &mut Source) -> BatchBytes {
    let (stream, command) = (format!("single{stream}"), format!("command-{}", source.0));
    let mut builder = BatchBuilder::new(stream_type, BatchUnit::Append);
    for n in source.0..source.0 + count {
        let (data, command_id) = (format!("{{\"n\":{n}}}"), Some(command.as_str()));
        let event =
            EventInput { stream_id: &stream, event_type: "E", data: &data, command_id, ..EventInput::default() };
        builder.push(&event).unwrap();
    }
    source.0 += count;
    builder.finish().unwrap()
}

/// Appends of so many events to one stream, each sent when the one before was answered.
fn singly(server: &Running, count: usize, source: &mut Source) -> u64 {
    let (runtime, client) = connected(server);
    let appends: Vec<BatchBytes> =
        (0..SINGLES).map(|number| append("Single", number % SINGLE_STREAMS, count, source)).collect();
    median(appends, |append| {
        let stored = runtime.block_on(client.append(append, Expected::Any)).unwrap();
        assert!(!stored.is_known());
    })
}

/// Appends of so many events each, which wait together; all of them.
fn together(server: &Running, count: usize, source: &mut Source) -> u64 {
    let (runtime, client) = connected(server);
    let round = |source: &mut Source| -> Vec<BatchBytes> {
        (0..GATHERED).map(|stream| append("Gathered", stream, count, source)).collect()
    };
    let rounds: Vec<Vec<BatchBytes>> = (0..BODIES).map(|_| round(source)).collect();
    median(rounds, |appends| {
        let sent = appends.into_iter().map(|append| client.append(append, Expected::Any));
        for stored in runtime.block_on(join_all(sent)) {
            assert!(!stored.unwrap().is_known());
        }
    })
}

/// Sends bodies of so many events; gives the median of what they allocate.
type Way = fn(&Running, usize, &mut Source) -> u64;

/// One test, so that nothing else allocates meanwhile.
#[test]
fn a_body_allocates_by_what_it_is_and_not_by_its_events() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", id.command_id.unique_scope = 'stream'");
    let ways: [(&str, Way); 3] =
        [("HTTP", over_http), ("native", natively), ("native, with seq and metadata", natively_with_more)];
    for (name, way) in ways {
        let mut source = Source(0);
        let (small, large) = (way(&server, SMALL, &mut source), way(&server, LARGE, &mut source));
        println!("{name}: {small} and {large} allocations for {SMALL} and {LARGE} events");
        let more = large.saturating_sub(small);
        assert!(
            more <= (LARGE - SMALL) as u64 / EVENTS_OF_ONE,
            "{name}: {small} for {SMALL} events, {large} for {LARGE}"
        );
    }
    let mut source = Source(0);
    let (one, many) = (singly(&server, 1, &mut source), singly(&server, SINGLE_LARGE, &mut source));
    println!("single: {one} and {many} allocations for an append of 1 and of {SINGLE_LARGE} events");
    assert!(one <= SINGLE_MAX, "{one} for an append of one event");
    let more = many.saturating_sub(one);
    assert!(more <= SINGLE_LARGE as u64 / EVENTS_OF_ONE, "{one} for one event, {many} for {SINGLE_LARGE}");
    let (small, large) = (together(&server, 1, &mut source), together(&server, GATHERED_LARGE, &mut source));
    let each = small.div_ceil(GATHERED as u64);
    println!(
        "gathered: {small} and {large} for {GATHERED} appends of 1 and of {GATHERED_LARGE} events, {each} each of 1"
    );
    assert!(each <= GATHERED_MAX && each < one, "{small} for {GATHERED} appends of one event, {one} for one alone");
    let more = large.saturating_sub(small);
    let events = (GATHERED * (GATHERED_LARGE - 1)) as u64;
    assert!(more <= events / EVENTS_OF_ONE, "{small} for appends of one event, {large} for {GATHERED_LARGE} each");
}
