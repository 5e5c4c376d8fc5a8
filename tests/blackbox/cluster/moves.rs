//! Logs move from node to node: their places, and who leads them, while clients append.

use super::nodes::Nodes;
use super::{KEYS, everything_is_there, goes_on, under_load};
use crate::harness::{Finished, Sse, run, seed};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use strandline_client::{BatchBuilder, BatchUnit, ClusterClient, ClusterOptions, EventInput, Expected, OnError};

const STREAMS: u64 = 12;

/// What a node says of a bucket of Call.
pub(super) fn bucket(nodes: &Nodes, node: usize, of: u64) -> Value {
    let Ok(answer) = nodes.http(node).try_get_as("/admin/v1/cluster", "application/json") else { return Value::Null };
    let shards = answer.expect(200)["shards"].as_array().unwrap().clone();
    let is_it = |shard: &&Value| shard["stream_type"] == "Call" && shard["bucket"] == of;
    shards.iter().find(is_it).cloned().unwrap_or_default()
}

/// What a node says of a log: it is led by this one, which shall lead it, and nothing is under way.
pub(super) fn is_led(shard: &Value, leader: usize) -> bool {
    shard["settled"] == true && shard["shall_lead"] == leader && shard["leader"] == leader
}

/// Every node says so of a bucket of Call.
pub(super) fn is_led_by(nodes: &Nodes, of: u64, leader: usize) -> bool {
    nodes.running().into_iter().all(|node| is_led(&bucket(nodes, node, of), leader))
}

/// The command, asked of one node.
fn asked(nodes: &Nodes, node: usize, line: &str) -> Finished {
    let url = format!("http://{}", nodes.http_address(node));
    let words: Vec<&str> = line.split(' ').chain(["--url", &url]).collect();
    run(&words)
}

/// The same, once it is taken: it may be repeated, and nobody leads the cluster for a moment after a node was lost.
pub(super) fn done(nodes: &Nodes, node: usize, line: &str) {
    nodes.until(line, |nodes| asked(nodes, node, line).code == 0);
}

/// The places of the events that a node gives to somebody who follows the store, as they come.
fn followed(nodes: &Nodes, node: usize) -> Arc<Mutex<Vec<Value>>> {
    let mut stream = Sse::open(&nodes.http(node), "subscribe?idle_s=60", None);
    let given = Arc::new(Mutex::new(Vec::new()));
    let gives = Arc::clone(&given);
    std::thread::spawn(move || {
        while let Some(message) = stream.next() {
            if message.kind.is_none() {
                gives.lock().unwrap().push(json!(message.id));
            }
        }
    });
    given
}

#[test]
fn a_bucket_moves_from_node_to_node_under_load_and_nothing_is_lost() {
    let seed = seed("moved");
    let mut nodes = Nodes::begun(4, 3, KEYS, &[]);
    nodes.http(1).post("stream-types", &json!({ "name": "Call", "buckets": 3 })).expect(201);
    let mut given = Vec::new();
    let mut writers = under_load(&mut nodes, seed, |nodes, acknowledged| {
        goes_on(acknowledged, 30);
        // nodes that led some of it and lead it no more, and run all the time
        given.extend([1, 3].map(|node| followed(nodes, node)));
        nodes.start(4);
        // each is led by another one of its voters
        for (of, leader) in [(0, 1), (1, 2), (2, 3)] {
            let line = format!("cluster lead --stream-type Call --bucket {of} --node {leader}");
            done(nodes, leader % 3 + 1, &line);
            nodes.until("it leads", |nodes| is_led_by(nodes, of, leader));
        }
        goes_on(acknowledged, 30);
        // to a node that has no vote in it, with its leadership: whoever follows its stream goes on
        done(nodes, 3, "cluster move --stream-type Call --bucket 1 --from 2 --to 4 --lead");
        nodes.until("it has moved", |nodes| is_led_by(nodes, 1, 4));
        assert_eq!(bucket(nodes, 1, 1)["voters"], json!([1, 3, 4]));
        goes_on(acknowledged, 30);
        // and back: who leads goes with the place
        done(nodes, 1, "cluster move --stream-type Call --bucket 1 --from 4 --to 2");
        nodes.until("it is back", |nodes| is_led_by(nodes, 1, 2));
        assert_eq!(bucket(nodes, 1, 1)["voters"], json!([1, 2, 3]));
        // its leader is lost, and nothing moves: another one leads meanwhile
        nodes.kill(2);
        goes_on(acknowledged, 10);
        nodes.start(2);
        goes_on(acknowledged, 30);
        nodes.until("it votes and shall lead as before", |nodes| {
            let shard = bucket(nodes, 2, 1);
            (&shard["shall_lead"], &shard["voters"]) == (&json!(2), &json!([1, 2, 3]))
        });
    });
    everything_is_there(&nodes, &mut writers);
    let all: Vec<Value> = nodes.http(1).global().iter().map(|event| event["position"].clone()).collect();
    for given in given {
        nodes.until("who follows is given all of it", |_| given.lock().unwrap().len() >= all.len());
        assert_eq!(*given.lock().unwrap(), all, "each event once and in the global order, whoever led");
    }
    nodes.stop_all();
}

#[test]
fn a_move_is_taken_up_after_the_node_that_did_it_was_killed_and_one_that_cannot_be_says_why() {
    let seed = seed("taken-up");
    let mut nodes = Nodes::begun(4, 3, KEYS, &[]);
    nodes.http(1).post("stream-types", &json!({ "name": "Call", "buckets": 2 })).expect(201);
    let mut writers = under_load(&mut nodes, seed, |nodes, acknowledged| {
        goes_on(acknowledged, 30);
        nodes.start(4);
        for (line, said) in [
            ("cluster move --stream-type Call --bucket 7 --from 1 --to 4", "there is no group"),
            ("cluster move --stream-type Call --from 1 --to 9", "there is no node 9"),
            ("cluster move --stream-type Call --from 1 --to 2", "has a voter"),
            ("cluster lead --stream-type Call --node 4", "no voter"),
        ] {
            // another change may be under way just now, which is said first
            nodes.until(line, |nodes| {
                let refused = asked(nodes, 2, line);
                assert_ne!(refused.code, 0, "{line}: {refused:?}");
                refused.stderr.contains(said)
            });
        }
        // the target is away: the move waits for it
        nodes.until("it follows", |nodes| bucket(nodes, 4, 0)["learners"] == json!([4]));
        nodes.kill(4);
        let mut from = 0;
        nodes.until("somebody leads it", |nodes| {
            from = bucket(nodes, 1, 0)["leader"].as_u64().and_then(|id| usize::try_from(id).ok()).unwrap_or(0);
            from > 0
        });
        done(nodes, 3, &format!("cluster move --stream-type Call --bucket 0 --from {from} --to 4 --lead"));
        nodes.until("it waits", |nodes| {
            let waits = |node: usize| bucket(nodes, node, 0)["waits_for"]["node"] == 4;
            nodes.running().into_iter().any(waits)
        });
        goes_on(acknowledged, 10);
        // so does the next leader
        nodes.kill(from);
        goes_on(acknowledged, 3);
        nodes.start(4);
        nodes.until("the next leader has done it", |nodes| is_led_by(nodes, 0, 4));
        nodes.start(from);
        goes_on(acknowledged, 30);
        let told = asked(nodes, 4, "status");
        assert!(told.code == 0 && told.stdout.contains("shall_lead"), "{told:?}");
    });
    everything_is_there(&nodes, &mut writers);
    nodes.stop_all();
}

/// Three nodes, and each leads a bucket of Call.
fn each_leads_one(keys: &str) -> Nodes {
    let nodes = Nodes::new(3, keys, &[]);
    nodes.http(1).post("stream-types", &json!({ "name": "Call", "buckets": 3 })).expect(201);
    let_each_lead(&nodes);
    nodes
}

fn let_each_lead(nodes: &Nodes) {
    for (of, leader) in [(0, 1), (1, 2), (2, 3)] {
        done(nodes, leader, &format!("cluster lead --stream-type Call --bucket {of} --node {leader}"));
        nodes.until("it leads", |nodes| is_led_by(nodes, of, leader));
    }
}

/// One event for every stream, over HTTP.
fn body(command: &str) -> String {
    let line = |stream: u64| {
        let id = format!("s{stream}");
        json!({ "stream_type": "Call", "stream_id": id, "event_type": "E", "data": {}, "command_id": command })
    };
    (0..STREAMS).map(|stream| format!("{}\n", line(stream))).collect()
}

/// The same by a client that goes to leaders itself, as one body and as appends one after the other.
async fn by_native(nodes: &Nodes) {
    let mut options = ClusterOptions::new(nodes.natives());
    options.each.store = "test".to_owned();
    let client = ClusterClient::connect(options).await.unwrap();
    let mut whole = BatchBuilder::new("Call", BatchUnit::Rows);
    for stream in 0..STREAMS {
        let id = format!("s{stream}");
        let event = EventInput { stream_id: &id, event_type: "E", data: "{}", ..EventInput::default() };
        whole.push(&event).unwrap();
        let mut one = BatchBuilder::new("Call", BatchUnit::Append);
        one.push(&event).unwrap();
        client.append(one.finish().unwrap(), Expected::Any).await.unwrap();
    }
    let outcomes = client.append_bulk(&[whole.finish().unwrap()], OnError::Abort).await;
    let stored: Vec<u64> = outcomes.into_iter().map(|part| part.unwrap().appended).collect();
    assert_eq!(stored, [STREAMS]);
}

#[test]
fn a_body_whose_logs_several_nodes_lead_is_stored_by_each_of_them() {
    let mut nodes = each_leads_one(KEYS);
    for node in 1..=3 {
        let body = body(&format!("c{node}"));
        for (appended, duplicates) in [(STREAMS, 0), (0, STREAMS)] {
            let answer = nodes.http(node).post_as("events", "application/x-ndjson", body.as_bytes()).expect(201);
            let told = (&answer["appended"], &answer["duplicates"], &answer["rejected"]);
            assert_eq!(told, (&json!(appended), &json!(duplicates), &json!([])), "node {node}");
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(by_native(&nodes));
    for node in 1..=3 {
        let http = nodes.http(node);
        for stream in 0..STREAMS {
            assert_eq!(http.stream("Call", &format!("s{stream}")).len(), 5, "s{stream} at node {node}");
        }
        nodes.until("the global order has all of them", |_| http.global().len() as u64 == 5 * STREAMS);
    }
    nodes.stop_all();
}

#[test]
fn a_line_that_is_wrong_whatever_is_stored_refuses_a_body_wherever_its_log_is_led() {
    let mut nodes = each_leads_one(&[KEYS, ", strict.event_version_required = true"].concat());
    for wrong in 0..STREAMS {
        let line = |stream: u64| {
            let id = format!("s{stream}");
            let mut event = json!({ "stream_type": "Call", "stream_id": id, "event_type": "E", "data": {} });
            if stream != wrong {
                event["event_version"] = json!(1);
            }
            event
        };
        let body: String = (0..STREAMS).map(|stream| format!("{}\n", line(stream))).collect();
        let answer = nodes.http(1).post_as("events", "application/x-ndjson", body.as_bytes());
        answer.expect_error(422, "strict_violation");
    }
    for node in 1..=3 {
        assert!(nodes.http(node).global().is_empty(), "node {node} shows a part of a body");
    }
    nodes.stop_all();
}

/// Whoever is asked seals what it leads, and its leader the rest: nobody has the keys of these streams before.
#[test]
fn a_body_of_new_subjects_is_sealed_and_stored_by_each_node_that_leads_some() {
    let keys = tempfile::tempdir().unwrap();
    let folder = keys.path().join("subjects").to_string_lossy().into_owned();
    let mut nodes = Nodes::of(3, KEYS, &[]);
    for node in 1..=3 {
        nodes.tell(node, &["--subject-keys", &folder]);
        nodes.start(node);
    }
    let call = json!({ "name": "Call", "buckets": 3, "erasable": "stream" });
    nodes.until("all nodes see the folder", |nodes| nodes.http(1).post("stream-types", &call).status == 201);
    let_each_lead(&nodes);
    let data = json!({ "says": "something" });
    let mut streams = Vec::new();
    for (node, rule) in (1..=3).flat_map(|node| [(node, "abort"), (node, "skip")]) {
        let path = format!("events?on_error={rule}");
        let ids: Vec<String> = (0..STREAMS).map(|stream| format!("{rule}{node}-{stream}")).collect();
        let line = |id: &String| {
            let of =
                json!({ "stream_type": "Call", "stream_id": id, "event_type": "E", "data": data, "command_id": "c" });
            format!("{of}\n")
        };
        let body: String = ids.iter().map(line).collect();
        let send = || nodes.http(node).post_as(&path, "application/x-ndjson", body.as_bytes());
        nodes.until("it is stored", |_| send().status == 201);
        let again = send().expect(201);
        let told = (&again["appended"], &again["duplicates"], &again["rejected"]);
        assert_eq!(told, (&json!(0), &json!(STREAMS), &json!([])), "node {node}, {rule}");
        streams.extend(ids);
    }
    for node in 1..=3 {
        for id in &streams {
            let events = nodes.http(node).stream("Call", id);
            assert!(events.len() == 1 && events[0]["data"] == data, "{id} at node {node}: {events:?}");
        }
    }
    nodes.stop_all();
}
