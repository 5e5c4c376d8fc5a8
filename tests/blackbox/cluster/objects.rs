//! A cluster whose object store takes requests and answers none of them: what needs no files goes on, also what begins meanwhile, status says what hangs, and
//! afterwards every event is in files once.

use super::KEYS;
use super::nodes::Nodes;
use super::roles::compacts;
use crate::rigs::{Moto, Proxy};
use serde_json::{Value, json};

/// A request that hangs is given up later than the first append of a stream type.
const GIVEN_UP: &str = "17s";

fn body(n: u64) -> Value {
    json!({ "events": [{ "event_type": "E", "data": { "n": n } }], "command_id": format!("c{n}") })
}

/// One event more, asked of a node, which must take it.
fn append(nodes: &Nodes, node: usize, stream_type: &str, n: u64) {
    nodes.http(node).post(&format!("streams/{stream_type}/a"), &body(n)).expect(201);
}

/// Rows of all data files.
fn in_files(nodes: &Nodes, asked: usize) -> u64 {
    let files = nodes.http(asked).get("/admin/v1/stores/test/files");
    let files = if files.status == 200 { files.json()["files"].clone() } else { json!([]) };
    files.as_array().unwrap().iter().map(|file| file["rows"].as_u64().unwrap()).sum()
}

/// What a node says of its object store; empty: nothing is wrong, or it says nothing yet.
fn trouble(nodes: &Nodes, node: usize) -> String {
    let ready = nodes.http(node).get("/ready");
    assert!(ready.status == 200 || ready.status == 503, "{}", ready.text());
    ready.json()["degraded"][0]["error"].as_str().unwrap_or_default().to_owned()
}

fn numbers(nodes: &Nodes, node: usize) -> Vec<u64> {
    let mut found: Vec<u64> =
        nodes.http(node).scan().iter().map(|event| event["data"]["n"].as_u64().unwrap()).collect();
    found.sort_unstable();
    found
}

#[test]
fn an_object_store_that_hangs_stops_no_append_of_a_cluster_and_everything_is_in_files_once_afterwards() {
    let (moto, path) = (Moto::start(), format!("s3://{}/cluster", Moto::BUCKET));
    let proxy = Proxy::start(moto.port);
    let mut env = Moto::env(&proxy.url());
    env.extend([("AWS_TIMEOUT", GIVEN_UP.to_owned()), ("AWS_MAX_ATTEMPTS", "1".to_owned())]);
    let by_hand = format!("{KEYS}, compaction.trigger = 'time', compaction.schedule = '0 0 1 1 *'");
    let mut nodes = Nodes::on_objects(3, &path, env, &by_hand);
    let types = ["Call", "Order"];
    (0..30).for_each(|n| append(&nodes, 1 + n as usize % 3, types[n as usize % 2], n));
    nodes.until("what was stored is in files", |nodes| compacts(nodes, 1) && in_files(nodes, 1) == 30);
    let (mut leader, mut compactor) = (0, 0);
    nodes.until("another node leads than the one that compacts", |nodes| {
        (leader, compactor) = (nodes.leader(Some("Call")), nodes.compactor(1).0);
        compactor != 0 && compactor != leader
    });

    proxy.seen();
    proxy.hang(true);
    let mut asked = 0;
    nodes.until("both others look for what was committed", |_| {
        asked += proxy.seen().len();
        asked >= 2
    });
    (30..60).for_each(|n| append(&nodes, 1 + n as usize % 3, types[n as usize % 2], n));
    // the first one of a stream type: its log is made and opened meanwhile
    (60..63).for_each(|n| append(&nodes, n as usize - 59, "New", n));
    let run = nodes.http(compactor).post("/admin/v1/stores/test/compaction/run", &json!({}));
    assert!(run.status < 300, "{}", run.text());
    nodes.until("the job says what hangs", |nodes| {
        let jobs = nodes.http(compactor).get("/admin/v1/stores/test/compaction").expect(200)["jobs"].clone();
        let says = |job: &Value| job["error"].as_str().is_some_and(|error| error.contains(&path));
        jobs.as_array().unwrap().iter().any(says)
    });
    for node in 1..=3 {
        nodes.until("every node says what hangs", |nodes| trouble(nodes, node).contains(&path));
    }
    // nor is it needed for an election
    nodes.kill(leader);
    let other = leader % 3 + 1;
    for n in 63..70 {
        let path = format!("streams/{}/a", types[n as usize % 2]);
        // each log by itself: who leads it takes nothing before it has heard of the other ones
        nodes.until("another one leads", |nodes| {
            let stored = nodes.http(other).try_post(&path, "application/json", body(n).to_string().as_bytes());
            stored.is_ok_and(|answer| answer.status < 300)
        });
    }

    proxy.hang(false);
    nodes.start(leader);
    nodes.until("all of it is in files", |nodes| compacts(nodes, other) && in_files(nodes, other) >= 70);
    assert_eq!(in_files(&nodes, other), 70, "once");
    for node in 1..=3 {
        nodes.until("nothing hangs any more", |nodes| {
            let ready = nodes.http(node).get("/ready");
            ready.status == 200 && ready.json().get("degraded").is_none()
        });
        assert_eq!(numbers(&nodes, node), (0..70).collect::<Vec<_>>(), "node {node}");
    }
    nodes.stop_all();
    let verified = nodes.verify();
    assert!(verified.code == 0, "{verified:?}");
}
