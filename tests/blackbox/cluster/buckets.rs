//! A stream type of several buckets: each is a group of its own, and it is one type to whoever appends and reads.

use super::KEYS;
use super::nodes::Nodes;
use crate::harness::Http;
use serde_json::{Value, json};
use strandline_event::LogKey;
use strandline_wal::log_folder_name;

const BUCKETS: u64 = 5;
const STREAMS: u64 = 12;

fn request(n: u64) -> Value {
    let expected = if n == 0 { json!("empty") } else { json!(n) };
    json!({ "events": [{ "event_type": "E", "data": { "n": n } }], "expected_seq": expected, "command_id": format!("c{n}") })
}

fn register(http: &Http) {
    http.post("stream-types", &json!({ "name": "Call", "buckets": BUCKETS })).expect(201);
}

/// The next event of every stream, each at another node.
fn append_to_all(nodes: &Nodes, n: u64) {
    let running = nodes.running();
    for stream in 0..STREAMS {
        let node = running[(n + stream) as usize % running.len()];
        nodes.until("the event is taken", |nodes| {
            let status = nodes.http(node).post(&format!("streams/Call/s{stream}"), &request(n)).status;
            // 200: it was, and the answer was lost
            matches!(status, 200 | 201)
        });
    }
}

/// Every stream has its events, at every node and by each way to read.
fn assert_all(nodes: &Nodes, events: u64) {
    for node in nodes.running() {
        nodes.until("every log has a leader", |nodes| nodes.http(node).get("events?limit=1").status == 200);
        let http = nodes.http(node);
        for stream in 0..STREAMS {
            let rows = http.stream("Call", &format!("s{stream}"));
            let numbers: Vec<u64> = rows.iter().map(|row| row["data"]["n"].as_u64().unwrap()).collect();
            assert_eq!(numbers, (0..events).collect::<Vec<_>>(), "s{stream} at node {node}");
        }
        let all = (STREAMS * events) as usize;
        nodes.until("the global order has all of them", |_| http.global().len() == all);
        assert_eq!(http.scan().len(), all);
    }
}

/// The buckets of the type, each a group that has a leader.
fn led(nodes: &Nodes, node: usize) -> Vec<u64> {
    let cluster = nodes.http(node).get("/admin/v1/cluster").expect(200);
    let of_type = |shard: &&Value| shard["stream_type"] == "Call" && shard["leader"].is_u64();
    let shards = cluster["shards"].as_array().unwrap();
    let mut buckets: Vec<u64> = shards.iter().filter(of_type).map(|of| of["bucket"].as_u64().unwrap()).collect();
    buckets.sort_unstable();
    buckets
}

#[test]
fn the_buckets_of_a_type_are_groups_of_their_own_and_outlive_a_node() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    register(&nodes.http(2));
    append_to_all(&nodes, 0);
    append_to_all(&nodes, 1);
    for node in 1..=3 {
        nodes.until("each bucket has a leader", |nodes| led(nodes, node) == (0..BUCKETS).collect::<Vec<_>>());
    }
    assert_all(&nodes, 2);
    let lines = |n: u64| -> Vec<Value> {
        let line = |stream: u64| json!({ "stream_type": "Call", "stream_id": format!("s{stream}"), "event_type": "E", "data": { "n": n }, "command_id": format!("c{n}") });
        (0..STREAMS).map(line).collect()
    };
    let body: String = lines(2).iter().map(|line| format!("{line}\n")).collect();
    nodes.until("the body is stored", |nodes| {
        nodes.http(3).post_as("events", "application/x-ndjson", body.as_bytes()).status == 201
    });
    assert_all(&nodes, 3);
    let compact = "/admin/v1/stores/test/compaction/run?wait=true";
    nodes.until("a job", |nodes| nodes.http(1).post_as(compact, "application/json", b"").status == 200);
    append_to_all(&nodes, 3);
    assert_all(&nodes, 4);
    let lost = nodes.leader(None);
    nodes.kill(lost);
    append_to_all(&nodes, 4);
    assert_all(&nodes, 5);
    nodes.start(lost);
    assert_all(&nodes, 5);
    nodes.stop_all();
    nodes.start_all();
    append_to_all(&nodes, 5);
    assert_all(&nodes, 6);
    nodes.http(1).post("stream-types", &json!({ "name": "Call", "buckets": 2 })).expect_error(422, "strict_violation");
    nodes.stop_all();
}

#[test]
fn the_buckets_that_a_node_alone_made_are_those_of_its_cluster() {
    let mut nodes = Nodes::of(3, KEYS, &[]);
    let alone = nodes.alone();
    register(&alone.http());
    for stream in 0..STREAMS {
        alone.http().post(&format!("streams/Call/s{stream}"), &request(0)).expect(201);
    }
    alone.http().compact();
    alone.stop();
    let id = u64::from_str_radix(std::fs::read_to_string(nodes.folder(1).join("node-id")).unwrap().trim(), 16).unwrap();
    nodes.name(1, id);
    (1..=3).for_each(|node| nodes.start(node));
    append_to_all(&nodes, 1);
    assert_all(&nodes, 2);
    nodes.until("each bucket has a leader", |nodes| led(nodes, 3) == (0..BUCKETS).collect::<Vec<_>>());
    nodes.stop_all();
}

#[test]
fn a_lost_bucket_fails_the_local_reads_that_need_it_and_no_others() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    register(&nodes.http(1));
    append_to_all(&nodes, 0);
    let bucket = |stream: u64| LogKey::of_stream("Call", &format!("s{stream}"), BUCKETS as u32).bucket;
    let local = |nodes: &Nodes, stream: u64| nodes.http(3).get(&format!("streams/Call/s{stream}?consistency=local"));
    for stream in 0..STREAMS {
        nodes.until("the node has it", |nodes| local(nodes, stream).status == 200);
    }
    let lost = bucket(0);
    assert!((0..STREAMS).any(|stream| bucket(stream) != lost));
    nodes.stop(3);
    let log = nodes.folder(3).join("stores/test/log").join(log_folder_name("Call", lost));
    std::fs::remove_dir_all(log).unwrap();
    nodes.start(3);
    let ready = nodes.http(3).get("/ready").expect(200);
    assert!(ready["damaged"].to_string().contains("must not vote"), "{ready}");
    for stream in 0..STREAMS {
        if bucket(stream) == lost {
            local(&nodes, stream).expect_error(503, "unavailable");
        } else {
            nodes.until("another bucket is read", |nodes| local(nodes, stream).status == 200);
        }
    }
    nodes.http(3).get("events?stream_type=Call&consistency=local").expect_error(503, "unavailable");
    nodes.http(3).get("events?stream_type=Order&consistency=local").expect(200);
    nodes.kill(3);
    nodes.stop_all();
}
