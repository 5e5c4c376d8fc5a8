//! Logs move from node to node: their places, and who leads them, while clients append.

use super::nodes::Nodes;
use super::{KEYS, everything_is_there, goes_on, under_load};
use crate::harness::{Finished, run, seed};
use serde_json::{Value, json};

/// What a node says of a bucket of Call.
fn bucket(nodes: &Nodes, node: usize, of: u64) -> Value {
    let Ok(answer) = nodes.http(node).try_get_as("/admin/v1/cluster", "application/json") else { return Value::Null };
    let shards = answer.expect(200)["shards"].as_array().unwrap().clone();
    let is_it = |shard: &&Value| shard["stream_type"] == "Call" && shard["bucket"] == of;
    shards.iter().find(is_it).cloned().unwrap_or_default()
}

/// Every node follows the one that shall lead a bucket, and nothing is under way.
fn is_led_by(nodes: &Nodes, of: u64, leader: usize) -> bool {
    nodes.running().into_iter().all(|node| {
        let shard = bucket(nodes, node, of);
        shard["settled"] == true && shard["shall_lead"] == leader && shard["leader"] == leader
    })
}

/// The command, asked of one node.
fn asked(nodes: &Nodes, node: usize, line: &str) -> Finished {
    let url = format!("http://{}", nodes.http_address(node));
    let words: Vec<&str> = line.split(' ').chain(["--url", &url]).collect();
    run(&words)
}

/// The same, once it is taken: it may be repeated, and nobody leads the cluster for a moment after a node was lost.
fn done(nodes: &Nodes, node: usize, line: &str) {
    nodes.until(line, |nodes| asked(nodes, node, line).code == 0);
}

#[test]
fn a_bucket_moves_from_node_to_node_under_load_and_nothing_is_lost() {
    let seed = seed("moved");
    let mut nodes = Nodes::begun(4, 3, KEYS, &[]);
    nodes.http(1).post("stream-types", &json!({ "name": "Call", "buckets": 3 })).expect(201);
    let mut writers = under_load(&mut nodes, seed, |nodes, acknowledged| {
        goes_on(acknowledged, 30);
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
