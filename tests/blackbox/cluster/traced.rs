//! A request that another node answers is one trace: both nodes send their spans of it.

use super::KEYS;
use super::nodes::Nodes;
use crate::traces::collector::Collector;
use serde_json::json;

#[test]
fn a_request_that_is_sent_on_is_one_trace() {
    let collector = Collector::start();
    let options: &'static [&'static str] = vec!["--traces", collector.url().to_owned().leak()].leak();
    let mut nodes = Nodes::new(2, KEYS, options);
    let event = json!({ "events": [{ "event_type": "E", "data": {} }] });
    // from here on somebody leads
    nodes.http(1).post("streams/Call/a", &event).expect(201);
    let leader = nodes.leader(Some("Call"));
    let other = 3 - leader;
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let url = format!("http://{}/v1/stores/test/streams/Call/a", nodes.http_address(other));
    let request = ureq::post(&url).header("traceparent", format!("00-{trace}-{parent}-01"));
    request.content_type("application/json").send(event.to_string()).unwrap();
    nodes.stop_all();
    let came = collector.span("of the node that was asked", |span| span.trace == trace && span.parent == parent);
    let sent_on = collector.child(&came, "http.forward");
    assert_eq!((sent_on.kind, sent_on.attributes["node"].as_str()), (3, leader.to_string().as_str()));
    // two clocks: only who is whose child is sure
    let arrived = collector.span("of the node that leads", |span| span.parent == sent_on.id);
    assert_eq!((arrived.trace.as_str(), &arrived.name, arrived.kind), (trace, &came.name, 2));
    let append = collector.span("append", |span| span.parent == arrived.id && span.name == "append");
    collector.span("log.sync", |span| span.trace == append.trace && span.name == "log.sync");
}
