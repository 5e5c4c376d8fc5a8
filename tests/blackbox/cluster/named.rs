//! Named subscriptions of a cluster: any node takes what is said of them, one keeps them, and the next one goes on from what was answered.

use super::KEYS;
use super::nodes::Nodes;
use crate::harness::{Http, Message, Server, Sse, Store};
use serde_json::{Value, json};

fn append(http: &Http, stream: &str, n: u64) {
    let body = json!({ "events": [{ "event_type": "E", "data": { "n": n } }], "command_id": format!("{stream}-{n}") });
    let answer = http.try_post(&format!("streams/Call/{stream}"), "application/json", body.to_string().as_bytes());
    assert!(answer.is_ok_and(|answer| answer.status == 201), "an append at a cluster that runs");
}

fn n(message: &Message) -> u64 {
    message.data.as_ref().unwrap()["data"]["n"].as_u64().unwrap()
}

/// A consumer at a node, once one is let in, and its number.
pub(super) fn consumer(nodes: &Nodes, node: usize) -> (Sse, String) {
    nodes.until("somebody keeps it", |nodes| status(nodes, node)["position"].is_string());
    let mut found = None;
    nodes.until("a consumer is let in", |nodes| {
        let stream = Sse::try_open(&nodes.http(node), "subscriptions/s/events", None);
        found = stream.and_then(|mut stream| {
            let first = stream.next()?;
            let number = first.data.as_ref()?["consumer"].as_str()?.to_owned();
            Some((stream, number))
        });
        found.is_some()
    });
    found.unwrap()
}

pub(super) fn say(nodes: &Nodes, node: usize, word: &str, body: &Value) -> bool {
    let body = body.to_string();
    let answer = nodes.http(node).try_post(&format!("subscriptions/s/{word}"), "application/json", body.as_bytes());
    answer.is_ok_and(|answer| answer.status == 200)
}

pub(super) fn status(nodes: &Nodes, node: usize) -> Value {
    let answer = nodes.http(node).try_get_as("/v1/stores/test/subscriptions/s", "application/json");
    answer.ok().filter(|answer| answer.status == 200).map(|answer| answer.json()).unwrap_or_default()
}

#[test]
fn a_named_subscription_goes_on_at_the_next_leader_behind_what_was_acknowledged() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    append(&nodes.http(1), "a", 0);
    let wish = json!({ "filter": { "stream_type": "Call" }, "after": "end" });
    nodes.http(2).post("subscriptions/s", &json!({ "mode": "sync" })).expect_error(400, "bad_request");
    assert_eq!(nodes.http(2).post("subscriptions/s", &wish).expect(201)["name"], "s");
    nodes.http(3).post("subscriptions/s", &wish).expect(200);
    // behind everything that was acknowledged before
    for at in 1..=6 {
        append(&nodes.http(1 + at as usize % 3), "a", at);
    }
    let leader = nodes.leader(None);
    let others: Vec<usize> = (1..=3).filter(|node| *node != leader).collect();
    // at a node that does not keep it
    let (mut stream, number) = consumer(&nodes, others[0]);
    let given: Vec<Message> = (0..6).map(|_| stream.event()).collect();
    assert_eq!(given.iter().map(n).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert!(say(&nodes, others[1], "ack", &json!({ "position": given[2].id, "consumer": number })));
    assert!(say(&nodes, others[0], "park", &json!({ "position": given[3].id, "reason": "later" })));
    let before = status(&nodes, others[1]);
    assert_eq!((&before["position"], before["parked"].as_array().unwrap().len()), (&json!(given[3].id), 1), "{before}");
    nodes.kill(leader);
    // who follows is told or cut off, and comes again
    while stream.next().is_some_and(|message| message.kind.is_none()) {}
    nodes.until("another node keeps it", |nodes| status(nodes, others[0])["position"].is_string());
    let after = status(&nodes, others[1]);
    assert_eq!(
        (&after["position"], &after["parked"], &after["filter"]),
        (&before["position"], &before["parked"], &before["filter"])
    );
    let (mut stream, number) = consumer(&nodes, others[1]);
    let again = stream.event();
    assert_eq!(n(&again), 5, "what was acknowledged or parked does not come again, the rest does");
    assert_eq!(n(&stream.event()), 6);
    nodes.until("the cluster takes appends", |nodes| {
        let body = json!({ "events": [{ "event_type": "E", "data": { "n": 7 } }], "command_id": "a-7" }).to_string();
        let answer = nodes.http(others[0]).try_post("streams/Call/a", "application/json", body.as_bytes());
        answer.is_ok_and(|answer| answer.status < 300)
    });
    let live = stream.event();
    assert_eq!(n(&live), 7);
    assert!(say(&nodes, others[0], "ack", &json!({ "position": live.id, "consumer": number })));
    assert_eq!(nodes.http(others[0]).post("subscriptions/s/replay", &json!({})).expect(200)["replayed"], 1);
    assert_eq!(n(&stream.event()), 4);
    drop(stream);
    nodes.start(leader);
    // nobody has it in memory
    nodes.stop_all();
    nodes.start_all();
    nodes.until("a node keeps it", |nodes| status(nodes, 1)["position"].is_string());
    let kept = status(&nodes, 2);
    assert_eq!((&kept["position"], kept["parked"].as_array().unwrap().len()), (&json!(live.id), 1), "{kept}");
    nodes.http(3).delete("subscriptions/s").expect(200);
    nodes.http(1).get("subscriptions/s").expect_error(404, "not_found");
    assert_eq!(nodes.http(2).get("subscriptions").expect(200)["subscriptions"], json!([]));
    nodes.stop_all();
}

#[test]
fn what_a_node_kept_while_it_was_alone_its_cluster_goes_on_with() {
    let mut nodes = Nodes::of(3, KEYS, &[]);
    let alone = nodes.alone();
    (0..3).for_each(|at| append(&alone.http(), "a", at));
    alone.http().post("subscriptions/s", &json!({ "after": "end" })).expect(201);
    append(&alone.http(), "a", 3);
    alone.stop();
    let id = u64::from_str_radix(std::fs::read_to_string(nodes.folder(1).join("node-id")).unwrap().trim(), 16).unwrap();
    nodes.name(1, id);
    (1..=3).for_each(|node| nodes.start(node));
    let (mut stream, _) = consumer(&nodes, 2);
    assert_eq!(n(&stream.event()), 3);
    drop(stream);
    nodes.stop_all();
}

/// The first node of a cluster of its own.
#[test]
fn a_cluster_of_one_waits_for_projections_and_has_nothing_to_say_of_them_at_its_start() {
    let store = Store::new(&["projection.mode = 'sync'"]);
    let mut command = store.program();
    command.args(store.serve_arguments()).args(["--cluster", "127.0.0.1:0"]);
    let server = Server::start_from(&mut command);
    server.http().post("subscriptions/s", &json!({ "mode": "sync" })).expect(201);
    let event = json!({ "events": [{ "event_type": "E" }] });
    let appended = server.http().post("streams/Call/a", &event).expect(201);
    assert_eq!(appended["projections"], json!([{ "name": "s", "state": "timed_out" }]), "nobody is connected");
    let ended = server.finish();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.stderr.contains("not active yet"), "{}", ended.stderr);
}

#[test]
fn what_it_does_not_ask_for_makes_it_late_at_no_node() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    append(&nodes.http(1), "a", 0);
    let wish = json!({ "filter": { "stream_type": "Call" }, "after": "end" });
    nodes.http(1).post("subscriptions/s", &wish).expect(201);
    let other = json!({ "events": [{ "event_type": "E" }] });
    for node in 1..=3 {
        nodes.http(node).post("streams/Other/b", &other).expect(201);
        nodes.until("it waits for nothing", |nodes| (1..=3).all(|node| status(nodes, node)["lag_s"] == 0.0));
    }
    append(&nodes.http(2), "a", 1);
    nodes.until("it waits", |nodes| status(nodes, 3)["lag_s"].as_f64().is_some_and(|lag| lag > 0.0));
    nodes.stop_all();
}
