//! What a node alone sends.

use super::collector::{Collector, Span};
use crate::harness::{Server, Store};
use serde_json::json;

const APPEND: &str = "POST /v1/stores/{store}/streams/{stream_type}/{stream_id}";
const READ: &str = "GET /v1/stores/{store}/streams/{stream_type}/{stream_id}";

/// A node that sends all of its traces, soon.
fn start(store: &Store, url: &str, more: &[&str]) -> Server {
    let mut command = store.program();
    command.args(store.serve_arguments()).args(["--traces", url]).args(more).env("OTEL_BSP_SCHEDULE_DELAY", "50");
    Server::start_from(&mut command)
}

fn event() -> serde_json::Value {
    json!({ "events": [{ "event_type": "E", "data": { "secret": "planted-payload" } }] })
}

fn attribute<'a>(span: &'a Span, name: &str) -> &'a str {
    span.attributes.get(name).map_or("", String::as_str)
}

#[test]
fn the_spans_of_an_append_are_those_of_the_trace_that_it_came_with() {
    let (store, collector) = (Store::new(&[]), Collector::start());
    let server = start(&store, collector.url(), &[]);
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let url = format!("{}/v1/stores/test/streams/Call/planted-stream", server.url());
    let request = ureq::post(&url).header("traceparent", format!("00-{trace}-{parent}-01"));
    let answer = request.content_type("application/json").send(event().to_string()).unwrap();
    assert_eq!(answer.status().as_u16(), 201);

    let root = collector.span(APPEND, |span| span.name == APPEND);
    assert_eq!((root.trace.as_str(), root.parent.as_str(), root.kind), (trace, parent, 2), "{root:?}");
    assert_eq!(
        (attribute(&root, "http.response.status_code"), attribute(&root, "http.request.method")),
        ("201", "POST")
    );
    collector.child(&root, "append.decode");
    let append = collector.child(&root, "append");
    assert_eq!((attribute(&append, "events"), attribute(&append, "stream_type")), ("1", "Call"));
    let group = collector.child(&append, "log.group");
    assert_eq!(attribute(&group, "batches"), "1");
    let sync = collector.child(&group, "log.sync");
    assert!(sync.end > sync.start, "a sync takes time: {sync:?}");
    assert_eq!(server.terminate(), 0);
    let told = format!("{:?}", collector.spans());
    assert!(!told.contains("planted"), "no stream id and no payload: {told}");
}

#[test]
fn reads_tell_their_tiers_and_jobs_their_phases() {
    let (store, collector) = (Store::new(&["read.tiers = ('wal', 'durable')"]), Collector::start());
    let server = start(&store, collector.url(), &[]);
    let http = server.http();
    http.post("streams/Call/a", &event()).expect(201);
    assert_eq!(http.stream("Call", "a").len(), 1);
    http.compact();
    assert_eq!(http.stream("Call", "a").len(), 1);
    let job = collector.span("compaction", |span| span.name == "compaction");
    assert_eq!((attribute(&job, "rows"), attribute(&job, "files"), job.parent.as_str()), ("1", "1", ""));
    for phase in ["selecting", "sorting", "writing", "committing"] {
        collector.child(&job, phase);
    }
    // its end sends what waits
    assert_eq!(server.terminate(), 0);
    let mut tiers = Vec::new();
    for root in collector.spans().iter().filter(|span| span.name == READ) {
        assert_eq!(root.parent, "", "{root:?}");
        let read = collector.child(root, "read");
        collector.child(&read, "read.work");
        tiers.push((attribute(&read, "tiers").to_owned(), attribute(&read, "files").to_owned()));
    }
    tiers.sort();
    let expected = [("durable", "1"), ("wal", "0")].map(|(tier, files)| (tier.to_owned(), files.to_owned()));
    assert_eq!(tiers, expected);
}

#[test]
fn a_share_of_nothing_sends_only_what_others_have_begun() {
    let (store, collector) = (Store::new(&[]), Collector::start());
    let server = start(&store, collector.url(), &["--traces-share", "0"]);
    server.http().post("streams/Call/a", &event()).expect(201);
    let url = format!("{}/v1/stores/test/streams/Call/a", server.url());
    let trace = "11111111111111111111111111111111";
    ureq::get(&url).header("traceparent", format!("00-{trace}-2222222222222222-01")).call().unwrap();
    assert_eq!(server.terminate(), 0);
    let spans = collector.spans();
    assert!(spans.iter().any(|span| span.name == READ), "{spans:?}");
    assert!(spans.iter().all(|span| span.trace == trace), "{spans:?}");
}

#[test]
fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let store = Store::new(&[]);
    // nobody listens there: the port was free a moment ago
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = start(&store, &format!("http://{address}"), &[]);
    for _ in 0..20 {
        server.http().post("streams/Call/a", &event()).expect(201);
    }
    let ended = server.finish();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.stderr.matches("traces are lost").count(), 1, "it is told once: {ended:?}");
    let refused = store.program().args(store.serve_arguments()).args(["--traces", "collector:4318"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    store.assert_clean();
}
