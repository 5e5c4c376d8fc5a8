//! The log of a member is damaged while its node is stopped: that replica takes no part any more, and a new member takes its place. What needs all logs
//! says so there.

use super::named::{consumer, say, status};
use super::nodes::Nodes;
use super::{KEYS, everything_is_there, goes_on, under_load};
use crate::harness::{Sse, seed};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Nothing moves to files by itself: what is in files is not looked at in a log.
const NOT_MOVED: &str = ", compaction.trigger = 'size_mb'";

/// The first file of a member's log ends in the middle of an event that was acknowledged, or a bit of one is another: much comes behind it, so it
/// is no end that a crash may leave.
fn damage(nodes: &Nodes, node: usize, is_cut: bool) {
    // the first node follows the statement, whose folder the others cannot share
    let log = nodes.folder(node).join(if node == 1 { "log/Call" } else { "stores/test/log/Call" });
    let place = |bytes: &[u8]| bytes.windows(8).position(|bytes| bytes == b"\"writer\"");
    let paths = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wal");
    // their names rise
    let segments: BTreeSet<PathBuf> = paths.filter(is_segment).collect();
    let mut read = segments.into_iter().map(|path| (std::fs::read(&path).unwrap(), path));
    let found = read.find(|(bytes, _)| place(bytes).is_some());
    let (mut bytes, path) = found.unwrap();
    let at = place(&bytes).unwrap();
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
