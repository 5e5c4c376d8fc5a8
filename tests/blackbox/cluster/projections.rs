//! Sync projections of a cluster: an append waits for them at whichever node it is answered, wherever they are kept, and is stored in any case.

use super::moves::{done, is_led};
use super::named::consumer;
use super::native::{connect, event, row, runtime};
use super::nodes::Nodes;
use crate::harness::{Http, Sse};
use serde_json::{Value, json};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use strandline_client::{Expected, OnError};

const SYNC: &str = ", wal.rollover_mb = 1, id.command_id.unique_scope = 'stream', projection.mode = 'sync'";

/// Nobody waits so long, unless an answer never comes.
const PATIENT: [&str; 2] = ["--projection-timeout", "60s"];

/// Three nodes, each of which leads the log of a stream type: T1, T2, T3.
fn three() -> Nodes {
    let nodes = Nodes::new(3, SYNC, &PATIENT);
    for leader in 1..=3 {
        nodes.http(leader).post("stream-types", &json!({ "name": format!("T{leader}") })).expect(201);
        done(&nodes, leader, &format!("cluster lead --stream-type T{leader} --node {leader}"));
    }
    for leader in 1..=3 {
        led(&nodes, leader, leader);
    }
    nodes
}

/// The same with a sync subscription: the node that keeps it, one that leads a log of its own, and the third one, where it was made.
fn apart() -> (Nodes, [usize; 3]) {
    let nodes = three();
    let keeper = nodes.leader(None);
    let leader = keeper % 3 + 1;
    let other = leader % 3 + 1;
    nodes.http(other).post("subscriptions/s", &json!({ "mode": "sync" })).expect(201);
    (nodes, [keeper, leader, other])
}

/// Every node follows the one that shall lead the log of a stream type by now.
fn led(nodes: &Nodes, stream_type: usize, leader: usize) {
    nodes.until("it leads", |nodes| {
        (1..=3).all(|node| is_led(&nodes.shard(node, Some(&format!("T{stream_type}"))), leader))
    });
}

/// What an append to the log that a node leads says of projections.
fn append(http: &Http, leader: usize) -> Value {
    let body = json!({ "events": [{ "event_type": "E", "data": {} }] });
    http.post(&format!("streams/T{leader}/s"), &body).expect(201)["projections"].clone()
}

fn said(state: &str) -> Value {
    json!([{ "name": "s", "state": state }])
}

/// Acknowledges so many events as they come.
fn acknowledging(http: Http, (mut stream, number): (Sse, String), count: usize) -> JoinHandle<Sse> {
    thread::spawn(move || {
        for _ in 0..count {
            let position = stream.event().id;
            http.post("subscriptions/s/ack", &json!({ "position": position, "consumer": number })).expect(200);
        }
        stream
    })
}

#[test]
fn an_append_waits_for_a_sync_projection_whichever_node_leads_its_log() {
    let mut nodes = three();
    let places = || (1..=3).flat_map(|node| (1..=3).map(move |leader| (node, leader)));
    for leader in 1..=3 {
        assert_eq!(append(&nodes.http(1), leader), json!([]), "none is registered");
    }
    let wish = json!({ "mode": "sync", "after": "end" });
    assert_eq!(nodes.http(2).post("subscriptions/s", &wish).expect(201)["mode"], "sync");
    // every node knows of it by now, and nobody is connected: late at once
    for leader in 1..=3 {
        assert_eq!(append(&nodes.http(leader), leader), said("timed_out"), "at node {leader}");
    }
    let keeper = nodes.leader(None);
    let line = |leader: usize| json!({ "stream_type": format!("T{leader}"), "stream_id": "s", "event_type": "E" });
    let consuming = acknowledging(nodes.http(1), consumer(&nodes, 3), 3 + 9 + 1 + 2);
    for (node, leader) in places() {
        assert_eq!(append(&nodes.http(node), leader), said("confirmed"), "at node {node}, led by node {leader}");
    }
    assert_eq!(nodes.http(1).bulk(&[line(keeper)])["projections"], said("confirmed"));
    // what another node was told of its part this one does not know: it tells of its own
    let body = [line(keeper), line(keeper % 3 + 1)];
    let told = json!([{ "name": "s", "state": "timed_out", "here": "confirmed" }]);
    assert_eq!(nodes.http(1).bulk(&body)["projections"], told);
    let stream = consuming.join().unwrap();
    // whoever has not heard of that asks who has
    nodes.http(1).delete("subscriptions/s").expect(200);
    for (node, leader) in places() {
        assert_eq!(append(&nodes.http(node), leader), json!([]), "at node {node}, led by node {leader}");
    }
    drop(stream);
    nodes.stop_all();
}

#[test]
fn what_several_nodes_lead_of_a_native_frame_waits_for_a_sync_projection_at_once() {
    let (mut nodes, [keeper, leader, other]) = apart();
    let (mut stream, number) = consumer(&nodes, other);
    let (runtime, http) = (Arc::new(runtime()), nodes.http(other));
    let client = runtime.block_on(connect(&nodes, keeper));
    let types = [keeper, leader].map(|of| format!("T{of}"));
    // the second one is stored while nobody has acknowledged the first, which would come again before it has timed out
    let mut acknowledge = || {
        let both = [stream.event(), stream.event()];
        assert!(both.iter().all(|given| given.attempt == 1), "{both:?}");
        for given in both {
            http.post("subscriptions/s/ack", &json!({ "position": given.id, "consumer": number })).expect(200);
        }
    };
    let body = types.each_ref().map(|of| row(of, "s", 0));
    let (running, asking) = (Arc::clone(&runtime), client.clone());
    let appending = thread::spawn(move || running.block_on(asking.append_bulk(&body, OnError::Skip)).unwrap());
    acknowledge();
    let parts = appending.join().unwrap();
    assert!(parts.iter().all(|part| part.as_ref().is_ok_and(|part| part.appended == 1)), "{parts:?}");
    let frame = types.each_ref().map(|of| (event(of, "s", 1), Expected::Any));
    let appending = thread::spawn(move || runtime.block_on(client.append_many(&frame, false)).unwrap());
    acknowledge();
    let outcomes = appending.join().unwrap();
    assert!(outcomes.iter().all(|one| one.as_ref().is_ok_and(|one| one.first_seq().0 == 2)), "{outcomes:?}");
    drop(stream);
    nodes.stop_all();
}

#[test]
fn an_append_that_was_sent_on_is_answered_where_another_node_leads_its_log_meanwhile() {
    let (mut nodes, [keeper, leader, other]) = apart();
    let (mut stream, number) = consumer(&nodes, other);
    // sent on by the node that is to lead the log, then by one that is not
    for (asked, next) in [(other, other), (keeper, leader)] {
        let http = nodes.http(asked);
        let waiting = thread::spawn(move || append(&http, leader));
        // it is stored, and nobody acknowledges it meanwhile
        let position = stream.event().id;
        done(&nodes, keeper, &format!("cluster lead --stream-type T{leader} --node {next}"));
        assert_eq!(waiting.join().unwrap(), said("timed_out"), "asked at node {asked}, to be led by node {next}");
        led(&nodes, leader, next);
        nodes.http(other).post("subscriptions/s/ack", &json!({ "position": position, "consumer": number })).expect(200);
    }
    drop(stream);
    assert_eq!(nodes.http(leader).stream(&format!("T{leader}"), "s").len(), 2);
    nodes.stop_all();
}

#[test]
fn an_append_is_stored_and_answered_where_who_keeps_the_projection_is_lost_meanwhile() {
    let (mut nodes, [keeper, leader, other]) = apart();
    let (mut stream, _) = consumer(&nodes, leader);
    let http = nodes.http(leader);
    let waiting = thread::spawn(move || append(&http, leader));
    // it is stored, and nobody acknowledges it
    stream.event();
    nodes.kill(keeper);
    assert_eq!(waiting.join().unwrap(), said("timed_out"));
    while stream.next().is_some_and(|message| message.kind.is_none()) {}
    let consuming = acknowledging(nodes.http(other), consumer(&nodes, other), 2);
    assert_eq!(append(&nodes.http(other), leader), said("confirmed"));
    drop(consuming.join().unwrap());
    assert_eq!(nodes.http(leader).stream(&format!("T{leader}"), "s").len(), 2);
    nodes.stop_all();
}
