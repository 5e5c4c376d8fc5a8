//! The log of a member is damaged while its node is stopped, or under it: that replica takes no part any more, and a new member takes its place. What
//! needs all logs says so there.

use super::moves::{done, is_led_by};
use super::named::{consumer, say, status};
use super::nodes::Nodes;
use super::{KEYS, NOT_MOVED, everything_is_there, goes_on, under_load};
use crate::harness::{Sse, seed};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Where a member's log has this first: the file, its bytes, and the place in it.
fn place_of(nodes: &Nodes, node: usize, what: &[u8]) -> (PathBuf, Vec<u8>, usize) {
    // the first node follows the statement, whose folder the others cannot share
    let log = nodes.folder(node).join(if node == 1 { "log/Call" } else { "stores/test/log/Call" });
    let paths = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wal");
    // their names rise
    let segments: BTreeSet<PathBuf> = paths.filter(is_segment).collect();
    let mut found = segments.into_iter().filter_map(|path| {
        let bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(what.len()).position(|bytes| bytes == what)?;
        Some((path, bytes, at))
    });
    found.next().unwrap()
}

/// The first file of a member's log ends in the middle of an event that was acknowledged, or a bit of one is another: much comes behind it, so it
/// is no end that a crash may leave.
fn damage(nodes: &Nodes, node: usize, is_cut: bool) {
    let (path, mut bytes, at) = place_of(nodes, node, b"\"writer\"");
    if is_cut {
        bytes.truncate(at);
    } else {
        bytes[at] ^= 1;
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_replica_whose_log_was_cut_or_rots_takes_no_part_and_a_new_member_takes_its_place() {
    let seed = seed("damaged");
    let mut nodes = Nodes::begun(5, 3, &format!("{KEYS}{NOT_MOVED}"), &[]);
    let mut writers = under_load(&mut nodes, seed, |nodes, acknowledged| {
        for (lost, new, is_cut, voters) in [(3, 4, true, [1, 2, 4]), (2, 5, false, [1, 4, 5])] {
            goes_on(acknowledged, 60);
            nodes.stop(lost);
            damage(nodes, lost, is_cut);
            nodes.start(lost);
            let ready = nodes.http(lost).get("/ready").expect(200);
            assert!(ready["damaged"].to_string().contains("Call"), "cut: {is_cut}: {ready}");
            // the others go on without it
            goes_on(acknowledged, 30);
            nodes.http(lost).get("streams/Call/w0-s0?consistency=local").expect_error(503, "unavailable");
            nodes.kill(lost);
            nodes.start(new);
            nodes.until("it is a member", |nodes| {
                let body = json!({ "lost": lost, "with": new });
                nodes.http(1).post("/admin/v1/cluster/replace", &body).status == 200
            });
            for stream_type in [None, Some("Call"), Some("Order")] {
                nodes.until("it votes in its place", |nodes| {
                    let shard = nodes.shard(1, stream_type);
                    shard["settled"] == true && shard["voters"] == json!(voters)
                });
            }
        }
        goes_on(acknowledged, 30);
    });
    everything_is_there(&nodes, &mut writers);
    nodes.stop_all();
}

#[test]
fn a_named_subscription_does_not_pass_over_a_log_that_does_not_open() {
    let mut nodes = Nodes::new(1, &format!("{KEYS}{NOT_MOVED}"), &[]);
    nodes.until("it is made", |nodes| nodes.http(1).post("subscriptions/s", &json!({})).status < 300);
    let event = |n: u64| json!({ "events": [{ "event_type": "E", "data": { "writer": n } }] });
    nodes.until("it is taken", |nodes| nodes.http(1).post("streams/Call/a", &event(0)).status == 201);
    for n in 1..20 {
        nodes.http(1).post("streams/Call/a", &event(n)).expect(201);
    }
    let (mut stream, _) = consumer(&nodes, 1);
    assert!(say(&nodes, 1, "park", &json!({ "position": stream.event().id, "reason": "later" })));
    drop(stream);
    let before = status(&nodes, 1);
    nodes.stop(1);
    damage(&nodes, 1, false);
    nodes.start(1);
    nodes.until("it keeps them", |nodes| status(nodes, 1)["position"].is_string());
    assert_eq!(nodes.http(1).post("subscriptions/s/replay", &json!({})).expect(200)["replayed"], 1);
    let (events, end) = Sse::open(&nodes.http(1), "subscriptions/s/events?idle_s=0", None).rest();
    assert_eq!((events.len(), end.as_deref()), (0, Some("unavailable")));
    let after = status(&nodes, 1);
    assert_eq!((&after["position"], &after["last_error"]["code"]), (&before["position"], &json!("unavailable")));
    assert!(after["last_error"]["error"].as_str().unwrap().contains("Call"), "{after}");
    assert_eq!(
        (&before["parked"][0]["replayed"], &after["parked"][0]["replayed"]),
        (&json!(false), &json!(true)),
        "{after}"
    );
    nodes.kill(1);
}

#[test]
fn a_leader_whose_log_rots_under_it_takes_no_part_any_more_and_is_counted() {
    let mut nodes = Nodes::new(3, &format!("{KEYS}{NOT_MOVED}"), &[]);
    let event = |n: u64| {
        let data = json!({ "name": format!("event-{n}"), "filler": "x".repeat(50_000) });
        json!({ "events": [{ "event_type": "E", "data": data }], "command_id": format!("c{n}") })
    };
    let append = |nodes: &Nodes, n: u64| {
        nodes.until("it is stored", |nodes| nodes.http(2).post("streams/Call/a", &event(n)).status < 300);
    };
    append(&nodes, 0);
    done(&nodes, 2, "cluster lead --stream-type Call --bucket 0 --node 1");
    nodes.until("it leads", |nodes| is_led_by(nodes, 0, 1));
    nodes.stop(3);
    // more than a leader has of its log in memory: what the third node lacks is read from the disk
    (1..240).for_each(|n| append(&nodes, n));
    nodes.until("it leads", |nodes| nodes.shard(2, Some("Call"))["leader"] == 1);
    let ended = "cluster_logs_ended{store=\"test\"}";
    assert_eq!(nodes.metric(1, ended), 0);
    let (path, bytes, at) = place_of(&nodes, 1, b"\"event-5\"");
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&[bytes[at + 1] ^ 1], at as u64 + 1).unwrap();
    nodes.start(3);
    nodes.until("its part has ended", |nodes| nodes.metric(1, ended) == 1);
    append(&nodes, 240);
    for node in [2, 3] {
        assert_eq!((nodes.http(node).stream("Call", "a").len(), nodes.metric(node, ended)), (241, 0), "node {node}");
    }
    nodes.kill(1);
    nodes.stop_all();
}
