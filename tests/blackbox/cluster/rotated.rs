//! The keys of a cluster are rotated while it runs: every node goes on, and reads what another one has written under the new key.

use super::KEYS;
use super::nodes::Nodes;
use crate::encryption::newest_key_of_files;
use crate::harness::run;
use serde_json::json;

fn append(nodes: &Nodes, n: usize) {
    let event = json!({ "event_type": "E", "data": { "n": n } });
    nodes.http(1 + n % 3).post("streams/Call/a", &json!({ "events": [event] })).expect(201);
}

fn every_node_reads(nodes: &Nodes, count: usize) {
    for node in 1..=3 {
        nodes.until("every node has all of it", |nodes| {
            let page = nodes.http(node).get("streams/Call/a?limit=1000");
            page.status == 200 && page.json()["events"].as_array().unwrap().len() == count
        });
    }
}

#[test]
fn keys_of_a_cluster_rotate_while_it_runs() {
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("key").to_string_lossy().into_owned();
    assert_eq!(run(&["keys", "init", "--file", &key]).code, 0);
    let declared = format!(
        "{KEYS}, security.encrypt.at_rest = true, security.kms.provider = 'local', security.kms.key_id = '{key}'"
    );
    let mut nodes = Nodes::new(3, &declared, &[]);
    let (mut count, shared) = (6, nodes.path().join("shared"));
    (0..count).for_each(|n| append(&nodes, n));
    nodes.http(2).compact();
    assert_eq!(newest_key_of_files(&shared), 1);
    let statement = nodes.statement().to_string_lossy().into_owned();
    let rotated = run(&["keys", "rotate", "--file", &key, "--config", &statement]);
    assert!(rotated.code == 0 && rotated.stdout.contains("key 2 is new"), "{rotated:?}");
    // whichever node compacts takes it by itself
    nodes.until("files are written under the new key", |nodes| {
        append(nodes, count);
        count += 1;
        nodes.http(1).compact();
        newest_key_of_files(&shared) == 2
    });
    every_node_reads(&nodes, count);
    let leader = nodes.leader(Some("Call"));
    nodes.kill(leader);
    nodes.start(leader);
    every_node_reads(&nodes, count);
    nodes.until("appends go on", |nodes| {
        let body = json!({ "events": [{ "event_type": "E", "data": {} }], "command_id": "last" });
        matches!(nodes.http(leader).post("streams/Call/a", &body).status, 200 | 201)
    });
    every_node_reads(&nodes, count + 1);
    nodes.stop_all();
    let verified = nodes.verify();
    assert_eq!(verified.code, 0, "{verified:?}");
}
