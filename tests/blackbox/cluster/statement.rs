//! What the cluster holds of a store for all its nodes: another statement, and that compaction is paused. Whoever is asked, whoever compacts, whoever
//! was away.

use super::KEYS;
use super::nodes::Nodes;
use crate::harness::Answer;
use serde_json::{Value, json};

/// Nothing moves by the clock.
const SELDOM: &str = ", compaction.schedule = '0 0 29 2 *'";

fn replace(nodes: &Nodes, node: usize, keys: &str) -> Answer {
    let text = nodes.text(&format!("{KEYS}{keys}")).replace("CREATE EVENTSTORE", "CREATE OR REPLACE EVENTSTORE");
    nodes.http(node).post("/api/deql/create", &json!({ "deql": text }))
}

fn value(nodes: &Nodes, node: usize, key: &str) -> Value {
    nodes.http(node).get("/v1/stores/test").expect(200)["config"][key].clone()
}

/// Where a leader has just changed the answer may be lost.
fn is_appended(nodes: &Nodes, node: usize, n: u64) -> bool {
    let body = json!({ "events": [{ "event_type": "E", "data": { "n": n } }] });
    nodes.http(node).post("streams/Call/a", &body).status == 201
}

#[test]
fn a_statement_is_replaced_at_any_member_and_one_that_was_away_follows_it_when_it_is_back() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    nodes.until("it is taken", |nodes| is_appended(nodes, 2, 0));
    // what may not change is named, as by a node alone
    let before = value(&nodes, 3, "wal.rollover_mb");
    let refused = replace(&nodes, 3, ", partition.by = ('dt'), wal.fsync = false").expect_error(400, "bad_request");
    assert_eq!(refused["details"]["keys"], json!(["partition.by", "wal.fsync"]), "{refused}");
    replace(&nodes, 3, ", wal.enabled = false").expect_error(400, "bad_request");
    let plain = nodes.http(3).post("/api/deql/create", &json!({ "deql": nodes.text(KEYS) }));
    assert!(plain.expect_error(400, "bad_request")["error"].as_str().unwrap().contains("OR REPLACE"));
    assert_eq!(value(&nodes, 3, "wal.rollover_mb"), before);
    // the first node, whose file says what was, is away
    nodes.until("every node votes", |nodes| nodes.shard(2, Some("Call"))["settled"] == true);
    nodes.stop(1);
    nodes.until("somebody leads", |nodes| {
        let keys = ", projection.notify_on_commit = false, compaction.target_file_mb = 7";
        let answer = replace(nodes, 2, keys);
        // one whose answer was lost has changed it already
        answer.status == 201 && answer.json()["results"][0]["statement_version"] == 2
    });
    // whoever was asked follows at once, the others do as they hear of it
    let follows = |nodes: &Nodes, node: usize| {
        nodes.http(node).get("subscribe").status == 409 && value(nodes, node, "compaction.target_file_mb") == 7
    };
    assert!(follows(&nodes, 2));
    nodes.until("the other one follows", |nodes| follows(nodes, 3));
    // the same again changes nothing
    let again = replace(&nodes, 3, ", projection.notify_on_commit = false, compaction.target_file_mb = 7").expect(201);
    assert_eq!((&again["results"][0]["changed"], &again["results"][0]["statement_version"]), (&json!([]), &json!(2)));
    nodes.start(1);
    assert!(follows(&nodes, 1), "a node that is back serves nothing by an older statement");
    // one who compacts writes it into the manifest, for who reads that alone
    nodes.until("the manifest says it", |nodes| {
        let shown = nodes.manifest();
        assert_eq!(shown.code, 0, "{shown:?}");
        shown.stdout.contains("compaction.target_file_mb = 7")
    });
    // back, by the node that was away; then all are
    replace(&nodes, 1, "").expect(201);
    nodes.until("all follow", |nodes| (1..=3).all(|node| value(nodes, node, "projection.notify_on_commit") == true));
    let told = replace(&nodes, 3, ", projection.notify_on_inspect = true").expect(201);
    let warnings = told["results"][0]["warnings"].as_array().unwrap();
    let is_told = |line: &Value| line.as_str().unwrap().starts_with("not active yet: projection.notify_on_inspect: ");
    assert!(warnings.len() == 1 && is_told(&warnings[0]), "what a start would say: {told}");
    replace(&nodes, 3, ", compaction.enabled = false").expect(201);
    nodes.stop_all();
    nodes.start_all();
    for node in 1..=3 {
        assert_eq!(value(&nodes, node, "compaction.enabled"), false, "node {node}");
        nodes.until("it is taken", |nodes| is_appended(nodes, node, node as u64));
    }
    nodes.stop_all();
    let verified = nodes.verify();
    assert!(verified.code == 0, "{verified:?}");
}

fn paused(nodes: &Nodes, node: usize) -> Value {
    nodes.http(node).get("/admin/v1/stores/test/compaction").expect(200)["paused"].clone()
}

#[test]
fn a_pause_holds_until_it_is_taken_back_whichever_node_compacts() {
    let mut nodes = Nodes::new(3, &format!("{KEYS}{SELDOM}, compaction.min_segment_mb = 1"), &[]);
    nodes.until("a node compacts", |nodes| nodes.compactor(1).0 > 0);
    let first = nodes.compactor(1).0;
    let other = first % 3 + 1;
    nodes.http(other).post("/admin/v1/stores/test/compaction/pause", &json!({})).expect(200);
    assert_eq!(paused(&nodes, first), true);
    // more than the size that begins a job
    let text = "x".repeat(60_000);
    for n in 0..40 {
        let body = json!({ "events": [{ "event_type": "E", "data": { "n": n, "text": text } }] });
        nodes.http(other).post("streams/Call/a", &body).expect(201);
    }
    nodes.kill(first);
    nodes.until("another node compacts", |nodes| {
        let (node, _) = nodes.compactor(other);
        node != first && node > 0 && nodes.metric(node, "cluster_compacts{store=\"test\"}") == 1
    });
    let next = nodes.compactor(other).0;
    assert_eq!(paused(&nodes, next), true, "the next one knows of the pause before it could begin a job");
    nodes.start(first);
    // everybody forgets what it has in memory
    nodes.stop_all();
    nodes.start_all();
    nodes.until("a node compacts", |nodes| {
        let (node, _) = nodes.compactor(1);
        node > 0 && nodes.metric(node, "cluster_compacts{store=\"test\"}") == 1
    });
    let compactor = nodes.compactor(1).0;
    assert_eq!(paused(&nodes, compactor), true);
    let files = |nodes: &Nodes| {
        nodes.http(compactor).get("/admin/v1/stores/test/files").expect(200)["files"].as_array().unwrap().len()
    };
    assert_eq!(files(&nodes), 0, "nothing was compacted by its size");
    nodes.http(compactor % 3 + 1).post("/admin/v1/stores/test/compaction/resume", &json!({})).expect(200);
    assert_eq!(paused(&nodes, compactor), false);
    nodes.until("it is compacted by its size", |nodes| files(nodes) > 0);
    nodes.stop_all();
}
