//! Plain subscriptions at any node of a cluster: each gives what any of them has acknowledged, also while other logs are quiet and leaders change.

use super::KEYS;
use super::nodes::Nodes;
use crate::harness::{Message, Sse};
use serde_json::json;

/// A stream that is given nothing for so long ends, and the test with it.
const FOLLOWS: &str = "subscribe?stream_type=Call&idle_s=60";

fn append(nodes: &Nodes, node: usize, stream_type: &str, n: u64) -> bool {
    let body = json!({ "events": [{ "event_type": "E", "data": { "n": n } }], "command_id": format!("c{n}") });
    let path = format!("streams/{stream_type}/s");
    let answer = nodes.http(node).try_post(&path, "application/json", body.to_string().as_bytes());
    answer.is_ok_and(|answer| answer.status < 300)
}

fn n(message: &Message) -> u64 {
    message.data.as_ref().unwrap()["data"]["n"].as_u64().unwrap()
}

#[test]
fn every_node_gives_events_while_other_logs_are_quiet() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    // logs that have events and get no more
    for stream_type in ["Invoice", "Order", "Call"] {
        assert!(append(&nodes, 1, stream_type, 0));
    }
    let open = |nodes: &Nodes, node: usize| Sse::open(&nodes.http(node), &format!("{FOLLOWS}&after=end"), None);
    let mut streams: Vec<(usize, Sse)> = (1..=3).map(|node| (node, open(&nodes, node))).collect();
    for at in 1..=20 {
        assert!(append(&nodes, 1 + at as usize % 3, "Call", at));
        for (node, stream) in &mut streams {
            assert_eq!(n(&stream.event()), at, "node {node}");
        }
    }
    let leader = nodes.leader(None);
    nodes.kill(leader);
    streams.retain(|(node, _)| *node != leader);
    for at in 21..=30 {
        nodes.until("the cluster takes appends", |nodes| append(nodes, nodes.running()[0], "Call", at));
        for (node, stream) in &mut streams {
            assert_eq!(n(&stream.event()), at, "node {node}");
        }
    }
    // all of it again, in the same order, by a node that comes back
    nodes.start(leader);
    let mut stream = Sse::open(&nodes.http(leader), FOLLOWS, None);
    assert_eq!((0..=30).map(|_| n(&stream.event())).collect::<Vec<_>>(), (0..=30).collect::<Vec<_>>());
    drop((stream, streams));
    nodes.stop_all();
}

/// Nobody has an event of these types: their logs are made while others are appended to and read.
#[test]
fn a_page_of_the_global_order_has_what_was_acknowledged_before_while_logs_begin_and_are_quiet() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    for stream_type in ["Invoice", "Call"] {
        assert!(append(&nodes, 1, stream_type, 0));
    }
    for at in 1..=12 {
        let node = 1 + at as usize % 3;
        nodes.http(node).post("stream-types", &json!({ "name": format!("New{at}") })).expect(201);
        assert!(append(&nodes, 1 + node % 3, "Call", at));
        for node in 1..=3 {
            assert_eq!(nodes.http(node).global().len() as u64, at + 2, "node {node}");
        }
    }
    nodes.stop_all();
}

/// Of two voters the new log would have one that is away: it takes nothing, and the order of all goes on.
#[test]
fn the_global_order_goes_on_while_a_new_log_waits_for_a_voter_that_is_away() {
    let mut nodes = Nodes::of(3, KEYS, &[]);
    nodes.tell(1, &["--replication", "2"]);
    (1..=3).for_each(|node| nodes.start(node));
    nodes.until("every node votes", |nodes| {
        let shard = nodes.shard(1, None);
        shard["settled"] == true && shard["voters"] == json!([1, 2, 3])
    });
    assert!(append(&nodes, 1, "Call", 0));
    assert_eq!(nodes.shard(1, Some("Call"))["voters"], json!([1, 2]));
    nodes.kill(3);
    nodes.until("it is registered", |nodes| nodes.http(1).post("stream-types", &json!({ "name": "New" })).status < 300);
    nodes.until("it has a leader", |nodes| (1..=2).all(|node| nodes.shard(node, Some("New"))["leader"] == 1));
    let shard = nodes.shard(1, Some("New"));
    assert_eq!((&shard["voters"], &shard["settled"]), (&json!([1, 3]), &json!(false)));
    nodes.until("the other log takes an append", |nodes| append(nodes, 1, "Call", 1));
    for node in 1..=2 {
        assert_eq!(nodes.http(node).global().len(), 2, "node {node}");
    }
    nodes.start(3);
    nodes.until("it takes an append", |nodes| append(nodes, 1, "New", 2));
    for node in 1..=2 {
        assert_eq!(nodes.http(node).global().len(), 3, "node {node}");
    }
    nodes.stop_all();
}

/// The first three of so many nodes run, each log has one copy, and node 2, the only voter of a new one, was killed before it had made it.
fn without_the_maker_of_a_new_log(count: usize) -> Nodes {
    let mut nodes = Nodes::of(count, KEYS, &[]);
    nodes.tell(1, &["--replication", "1"]);
    (1..=3).for_each(|node| nodes.start(node));
    nodes.until("every node votes", |nodes| {
        let shard = nodes.shard(1, None);
        shard["settled"] == true && shard["voters"] == json!([1, 2, 3])
    });
    assert!(append(&nodes, 1, "Call", 0));
    assert_eq!(nodes.shard(1, Some("Call"))["voters"], json!([1]));
    nodes.kill(2);
    nodes.until("it is registered", |nodes| nodes.http(1).post("stream-types", &json!({ "name": "New" })).status < 300);
    nodes.until("its log is open", |nodes| [1, 3].iter().all(|node| nodes.shard(*node, Some("New"))["here"] == true));
    assert_eq!(nodes.shard(1, Some("New"))["voters"], json!([2]));
    nodes
}

/// Who begins to lead a log asks the leaders of the others first, and waits in vain where one has none.
#[test]
fn an_append_waits_for_who_begins_to_lead_its_log() {
    let mut nodes = Nodes::of(3, KEYS, &[]);
    nodes.tell(1, &["--replication", "1"]);
    (1..=3).for_each(|node| nodes.start(node));
    nodes.until("every node votes", |nodes| {
        let shard = nodes.shard(1, None);
        shard["settled"] == true && shard["voters"] == json!([1, 2, 3])
    });
    for (stream_type, voter) in [("Call", 1), ("Order", 2)] {
        nodes.until("it takes an append", |nodes| append(nodes, 1, stream_type, voter));
        assert_eq!(nodes.shard(1, Some(stream_type))["voters"], json!([voter]));
    }
    nodes.until("it has the other log too", |nodes| nodes.shard(1, Some("Order"))["here"] == true);
    nodes.kill(2);
    nodes.kill(1);
    nodes.start(1);
    assert!(append(&nodes, 1, "Call", 3));
    nodes.start(2);
    nodes.until("the other log takes an append", |nodes| append(nodes, 1, "Order", 4));
    nodes.stop_all();
}

/// The only voter of the new log is away, so nobody makes its group.
#[test]
fn the_global_order_goes_on_while_who_shall_make_a_new_log_is_away() {
    let mut nodes = without_the_maker_of_a_new_log(3);
    nodes.until("the other log takes an append", |nodes| append(nodes, 1, "Call", 1));
    for node in [1, 3] {
        nodes.until("it is in the order", |nodes| nodes.http(node).global().len() == 2);
    }
    nodes.start(2);
    nodes.until("it takes an append", |nodes| append(nodes, 1, "New", 2));
    for node in [1, 3] {
        assert_eq!(nodes.http(node).global().len(), 3, "node {node}");
    }
    nodes.stop_all();
}

/// The only voter of the new log is lost before it has made its group: the node in its place makes it.
#[test]
fn a_log_that_a_lost_node_never_made_is_made_by_the_node_in_its_place() {
    let mut nodes = without_the_maker_of_a_new_log(4);
    nodes.start(4);
    nodes.until("it is replaced", |nodes| {
        nodes.http(1).post("/admin/v1/cluster/replace", &json!({ "lost": 2, "with": 4 })).status == 200
    });
    for (n, node) in (1..).zip([1, 3, 4]) {
        nodes.until("it takes an append", |nodes| append(nodes, node, "New", n));
    }
    nodes.until("it is where it shall be", |nodes| {
        let shard = nodes.shard(1, Some("New"));
        (&shard["voters"], &shard["settled"]) == (&json!([4]), &json!(true))
    });
    for node in [1, 3, 4] {
        nodes.until("every node shows it", |nodes| nodes.http(node).global().len() == 4);
    }
    nodes.stop_all();
}
