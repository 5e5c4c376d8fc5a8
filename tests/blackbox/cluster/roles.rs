//! Roles that scale apart: three nodes ingest, one compacts, one reads. What each does alone, what is left undone without it, and how a node gets
//! other roles. And two that compact, which share the merges of a store.
//!
//! `STRANDLINE_PAUSED_S=60` keeps a compactor stopped for as long as the contract says, under load.

use super::nodes::Nodes;
use super::{KEYS, everything_is_there, goes_on, under_load};
use crate::harness::{Sse, seed, setting};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// What each of five nodes does.
pub(super) const APART: [&str; 5] = ["ingest", "ingest", "ingest", "compact", "read"];

/// A run by hand, asked of any node, that ended well.
pub(super) fn compacts(nodes: &Nodes, asked: usize) -> bool {
    let path = "/admin/v1/stores/test/compaction/run?wait=true";
    let answer = nodes.http(asked).post_as(path, "application/json", b"");
    let ended =
        |answer: &Value| answer["ended"].as_array().is_some_and(|jobs| jobs.iter().all(|job| job["error"].is_null()));
    answer.status == 200 && ended(&answer.json())
}

fn leaders(nodes: &Nodes) -> Vec<usize> {
    [None, Some("Call"), Some("Order")].map(|stream_type| nodes.leader(stream_type)).to_vec()
}

#[test]
fn each_role_does_its_part_and_its_loss_stops_nothing_else() {
    let seed = seed("roles");
    let mut nodes = Nodes::with_roles(&APART, KEYS);
    let mut writers = under_load(&mut nodes, seed, |nodes, acknowledged| {
        goes_on(acknowledged, 30);
        let compactor = (4, "compactor".to_owned());
        for stream_type in [None, Some("Call"), Some("Order")] {
            nodes.until("three vote, two follow", |nodes| {
                let shard = nodes.shard(1, stream_type);
                (&shard["voters"], &shard["learners"]) == (&json!([1, 2, 3]), &json!([4, 5]))
            });
        }
        for node in 1..=5 {
            nodes.until("the compactor is named", |nodes| nodes.compactor(node) == compactor);
        }
        // wherever it is asked for, it runs there
        for asked in 1..=5 {
            nodes.until("it compacts", |nodes| compacts(nodes, asked));
            goes_on(acknowledged, 10);
        }
        for node in 1..=5 {
            assert_eq!(nodes.metric(node, "cluster_compacts{store=\"test\"}"), u64::from(node == 4));
            assert_eq!(nodes.metric(node, "compaction_jobs_total") > 0, node == 4, "jobs on node {node}");
            assert_eq!(nodes.metric(node, "cluster_compactor{store=\"test\"}"), 4);
            assert_eq!(nodes.metric(node, "cluster_node_role{role=\"ingest\"}"), u64::from(node <= 3));
        }
        // without it, one that ingests stands in
        nodes.kill(4);
        goes_on(acknowledged, 30);
        nodes.until("another one is named", |nodes| {
            let (node, how) = nodes.compactor(1);
            (1..=3).contains(&node) && how == "stand-in"
        });
        nodes.until("it compacts", |nodes| compacts(nodes, 5));
        nodes.start(4);
        nodes.until("it is named again", |nodes| nodes.compactor(1) == compactor);
        nodes.until("it compacts", |nodes| compacts(nodes, 1));
        // both are away: appends go on, and reads too
        nodes.kill(4);
        nodes.kill(5);
        goes_on(acknowledged, 60);
        assert_eq!(nodes.http(1).get("events?limit=1").status, 200);
        nodes.start(4);
        nodes.start(5);
        // who leads next votes
        for _ in 0..2 {
            let leader = nodes.leader(Some("Call"));
            nodes.kill(leader);
            goes_on(acknowledged, 10);
            assert!(leaders(nodes).iter().all(|leader| *leader <= 3), "{:?}", leaders(nodes));
            nodes.start(leader);
            goes_on(acknowledged, 10);
        }
        nodes.until("it is named again", |nodes| nodes.compactor(1) == compactor);
        nodes.until("it compacts", |nodes| compacts(nodes, 2));
    });
    everything_is_there(&nodes, &mut writers);
    nodes.stop_all();
    let verified = nodes.verify();
    assert!(verified.code == 0, "{verified:?}");
}

#[test]
fn a_compactor_that_is_stopped_past_its_takeover_and_wakes_damages_nothing() {
    let seed = seed("stopped compactor");
    let small = format!("{KEYS}, compaction.min_segment_mb = 1, compaction.schedule = '* * * * *'");
    let mut nodes = Nodes::with_roles(&["ingest", "ingest", "ingest", "compact", "compact"], &small);
    let stopped_for = Duration::from_secs(setting("STRANDLINE_PAUSED_S", 0));
    let rounds = if stopped_for.is_zero() { 3 } else { 1 };
    let mut writers = under_load(&mut nodes, seed, |nodes, acknowledged| {
        goes_on(acknowledged, 30);
        for _ in 0..rounds {
            nodes.until("a compactor is named", |nodes| nodes.compactor(1).1 == "compactor");
            let stopped = nodes.compactor(1).0;
            nodes.until("it compacts", |nodes| compacts(nodes, 1));
            // in the middle of whatever it does then
            nodes.http(1).post("/admin/v1/stores/test/compaction/run", &json!({}));
            goes_on(acknowledged, 10);
            nodes.pause(stopped);
            let (other, since) = (9 - stopped, Instant::now());
            nodes.until("the other one is named", |nodes| nodes.compactor(1) == (other, "compactor".to_owned()));
            // it has claimed the store, and commits what the stopped one had begun and more
            nodes.until("the other one compacts", |nodes| compacts(nodes, 2));
            goes_on(acknowledged, 30);
            // a job after the other while the first one stands still
            while since.elapsed() < stopped_for {
                nodes.until("the other one compacts", |nodes| compacts(nodes, 2));
                goes_on(acknowledged, 30);
            }
            // by the one that owns it: others hear of a commit later
            let epoch =
                |nodes: &Nodes| nodes.http(other).get("/admin/v1/stores/test/manifest").expect(200)["epoch"].clone();
            let before = epoch(nodes);
            nodes.go_on(stopped);
            nodes.until("it hears that it compacts no more", |nodes| {
                nodes.compactor(stopped).0 == other && nodes.metric(stopped, "cluster_compacts{store=\"test\"}") == 0
            });
            goes_on(acknowledged, 30);
            nodes.until("the other one compacts", |nodes| compacts(nodes, 3));
            assert_eq!(before, epoch(nodes), "one that wakes takes nothing over");
        }
    });
    everything_is_there(&nodes, &mut writers);
    nodes.stop_all();
    let verified = nodes.verify();
    assert!(verified.code == 0 && verified.stdout.contains("clean"), "{verified:?}");
}

const DAYS: u64 = 20;

/// One event more on each of many days.
fn a_day_each(nodes: &Nodes, round: u64) {
    let line = |day: u64| {
        json!({
            "stream_type": "Meter", "stream_id": format!("m{}", day % 7), "event_type": "Read", "data": { "round": round },
            "occurred_at": format!("2026-11-{:02}T12:00:00Z", 1 + day),
        })
    };
    nodes.http(1).bulk(&(0..DAYS).map(line).collect::<Vec<_>>());
}

/// What was small is merged, and every event is there once.
fn one_file_a_day(nodes: &Nodes, rounds: u64) {
    nodes.until("one file a day", |nodes| {
        let files = nodes.http(1).get("/admin/v1/stores/test/files").expect(200);
        files["files"].as_array().map(Vec::len) == Some(DAYS as usize)
    });
    let events = nodes.http(1).scan();
    let places: BTreeSet<String> =
        events.iter().map(|event| format!("{}/{}", event["stream_id"], event["seq"])).collect();
    assert_eq!((events.len() as u64, places.len() as u64), (rounds * DAYS, rounds * DAYS));
}

#[test]
fn compactors_share_the_merges_of_a_store_and_the_loss_of_either_loses_and_doubles_nothing() {
    let by_hand = format!("{KEYS}, partition.by = ('dt'), compaction.schedule = '0 0 29 2 *'");
    let mut nodes = Nodes::with_roles(&["ingest", "ingest", "ingest", "compact", "compact"], &by_hand);
    nodes.until("a compactor is named", |nodes| nodes.compactor(1).1 == "compactor");
    let (named, mut rounds) = (nodes.compactor(1).0, 0);
    let other = 9 - named;
    nodes.until("the other one merges too", |nodes| {
        rounds += 1;
        a_day_each(nodes, rounds);
        nodes.until("it compacts", |nodes| compacts(nodes, 1));
        nodes.metric(other, "merges_helped_total") > 0
    });
    let [merged, handed] = ["merges_total", "merges_handed_total"].map(|series| nodes.metric(named, series));
    assert!(handed > 0 && merged > handed, "both did some of {merged}: {handed}");
    assert_eq!(nodes.metric(other, "merges_total"), 0, "one alone commits");
    assert_eq!(nodes.metric(named, "merges_failed_total"), 0);
    one_file_a_day(&nodes, rounds);
    // in the middle of whatever both do: the one that helps, then the one that commits
    for is_named in [false, true] {
        let named = nodes.compactor(1).0;
        let victim = if is_named { named } else { 9 - named };
        rounds += 1;
        a_day_each(&nodes, rounds);
        nodes.http(1).post("/admin/v1/stores/test/compaction/run", &json!({}));
        nodes.kill(victim);
        nodes.until("a compactor is named", |nodes| nodes.compactor(1) == (9 - victim, "compactor".to_owned()));
        nodes.until("it compacts", |nodes| compacts(nodes, 1));
        one_file_a_day(&nodes, rounds);
        nodes.start(victim);
        nodes.until("it is a member that follows", |nodes| nodes.compactor(victim).0 == 9 - victim);
    }
    nodes.stop_all();
    let verified = nodes.verify();
    assert!(verified.code == 0, "{verified:?}");
}

#[test]
fn reads_go_to_nodes_with_the_role_while_one_can_be_reached() {
    let mut nodes = Nodes::with_roles(&APART, KEYS);
    let event = |n: u64| json!({ "events": [{ "event_type": "E", "data": { "n": n } }] });
    let reads = |nodes: &Nodes| (1..=5).map(|node| nodes.metric(node, "reads_total")).collect::<Vec<_>>();
    let before = reads(&nodes);
    for n in 1..=8 {
        let asked = 1 + n as usize % 4;
        nodes.http(asked).post("streams/Call/a", &event(n)).expect(201);
        // at once, and all of it: the reader asks the leader how far it must be
        let http = nodes.http(asked);
        assert_eq!((http.stream("Call", "a").len() as u64, http.global().len() as u64), (n, n));
    }
    nodes.http(4).get("streams/Call/a?consistency=local").expect(200);
    nodes.http(1).get("streams/Call/none").expect_error(404, "not_found");
    let after = reads(&nodes);
    assert_eq!(before[..4], after[..4], "only node 5 has read a page");
    assert!(after[4] >= before[4] + 16, "{before:?} {after:?}");
    // a subscription too, which ends with that node
    let follow = |nodes: &Nodes, last: Option<&str>| Sse::open(&nodes.http(1), "subscribe?idle_s=60", last);
    let n = |stream: &mut Sse| stream.event().data.unwrap()["data"]["n"].as_u64().unwrap();
    let mut stream = follow(&nodes, None);
    assert_eq!((1..=8).map(|_| n(&mut stream)).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    let followers: Vec<u64> = (1..=5).map(|node| nodes.metric(node, "followers")).collect();
    assert_eq!(followers, [0, 0, 0, 0, 1]);
    // without it every node answers by itself
    nodes.kill(5);
    while stream.next().is_some() {}
    let mut stream = follow(&nodes, stream.last_id.as_deref());
    nodes.http(2).post("streams/Call/b", &event(9)).expect(201);
    assert_eq!(n(&mut stream), 9);
    drop(stream);
    for node in 1..=4 {
        assert_eq!(nodes.http(node).stream("Call", "a").len(), 8);
    }
    nodes.start(5);
    let before = reads(&nodes);
    nodes.until("it is asked again", |nodes| {
        nodes.http(1).stream("Call", "a");
        reads(nodes)[4] > before[4]
    });
    nodes.stop_all();
}

#[test]
fn a_node_gets_other_roles_at_a_start_where_the_cluster_can_spare_the_old_ones() {
    let mut nodes = Nodes::with_roles(&APART, KEYS);
    let event = json!({ "events": [{ "event_type": "E", "data": {} }] });
    nodes.http(5).post("streams/Call/a", &event).expect(201);
    let votes = |nodes: &Nodes, wanted: Value| {
        [None, Some("Call")].iter().all(|stream_type| {
            let shard = nodes.shard(1, *stream_type);
            shard["settled"] == true && shard["voters"] == wanted
        })
    };
    nodes.until("the log is where it shall be", |nodes| votes(nodes, json!([1, 2, 3])));
    let drained = nodes.http(5).post("/admin/v1/cluster/drain", &json!({ "node": 3 }));
    assert!(drained.status == 400 && drained.text().contains("role `ingest` join first"), "{}", drained.text());
    // nobody could vote in its place
    nodes.stop(3);
    nodes.give(3, "read");
    let refused = nodes.refused(3);
    assert!(refused.code == 2 && refused.stderr.contains("2 voters instead of 3"), "{refused:?}");
    assert!(refused.stderr.contains("start it with these, or without --roles"), "{refused:?}");
    // what it was, where nothing is said
    nodes.give(3, "");
    nodes.start(3);
    nodes.stop(5);
    nodes.give(5, "ingest,read");
    nodes.start(5);
    assert!(votes(&nodes, json!([1, 2, 3])), "there are voters enough");
    nodes.stop(3);
    nodes.give(3, "compact");
    nodes.start(3);
    nodes.until("another one votes in its place", |nodes| votes(nodes, json!([1, 2, 5])));
    let member = nodes.http(2).get("/admin/v1/cluster").expect(200)["members"][2].clone();
    assert_eq!((&member["roles"], &member["votes_in"]), (&json!("compact"), &json!(0)), "{member}");
    nodes.http(3).post("streams/Call/a", &event).expect(201);
    for node in 1..=5 {
        assert_eq!(nodes.http(node).stream("Call", "a").len(), 2);
    }
    nodes.stop_all();
}
