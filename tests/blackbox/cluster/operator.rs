//! What an operator sees when nodes are away: who it is, who is not ready, and that stopping a node costs no election time.

use super::KEYS;
use super::nodes::Nodes;
use serde_json::{Value, json};

fn event() -> Value {
    json!({ "events": [{ "event_type": "E", "data": {} }] })
}

fn member(nodes: &Nodes, asked: usize, node: usize) -> Value {
    let cluster = nodes.http(asked).get("/admin/v1/cluster").expect(200);
    cluster["members"].as_array().unwrap().iter().find(|m| m["id"] == node).cloned().unwrap_or_default()
}

#[test]
fn a_node_that_is_away_is_said_once_and_shown_everywhere() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    nodes.http(1).post("streams/Call/a", &event()).expect(201);
    let leader = nodes.leader(None);
    let (away, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    assert_eq!(member(&nodes, leader, away)["away_since"], Value::Null);
    nodes.kill(away);
    // what it lacks is offered to it again and again
    (0..5).for_each(|_| drop(nodes.http(leader).post("streams/Call/a", &event()).expect(201)));
    for asked in [leader, other] {
        nodes.until("it is shown as away", |nodes| member(nodes, asked, away)["away_since"].is_string());
        assert_eq!(member(&nodes, asked, other)["away_since"], Value::Null);
    }
    let metrics = nodes.http(leader).get("/metrics").text();
    assert!(metrics.contains("strandline_cluster_members_unreachable 1\n"), "{metrics}");
    assert!(metrics.contains("strandline_cluster_members{state=\"member\"} 3\n"), "{metrics}");
    nodes.start(away);
    nodes.until("it is back", |nodes| member(nodes, leader, away)["away_since"].is_null());
    let said = nodes.stop(leader).stderr;
    let of_it = |words: &str| {
        said.lines().filter(|line| line.contains(words) && line.contains(&format!("node={away} "))).count()
    };
    assert_eq!((of_it("cannot be reached"), of_it("is reached again")), (1, 1), "{said}");
    assert!(said.lines().count() < 30 && !said.contains("openraft"), "{said}");
}

/// A number that a node tells, if it does already.
fn told(nodes: &Nodes, node: usize, series: &str) -> Option<u64> {
    let (text, name) = (nodes.http(node).get("/metrics").text(), format!("strandline_{series} "));
    text.lines().find_map(|line| line.strip_prefix(&name))?.parse().ok()
}

#[test]
fn the_numbers_of_a_cluster_say_who_leads_what_and_who_is_behind() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    nodes.http(1).post("streams/Call/a", &event()).expect(201);
    let sum = |nodes: &Nodes, series: &str| (1..=3).map(|node| told(nodes, node, series)).sum::<Option<u64>>();
    for (series, all) in [
        ("cluster_is_leader", 1),
        ("cluster_logs{store=\"test\"}", 3),
        ("cluster_logs_led{store=\"test\"}", 1),
        ("cluster_logs_leaderless{store=\"test\"}", 0),
        ("cluster_logs_ended{store=\"test\"}", 0),
        ("cluster_compacts{store=\"test\"}", 1),
        ("cluster_members_with_role{role=\"ingest\"}", 9),
        ("cluster_members_with_role{role=\"compact\"}", 9),
        ("cluster_node_role{role=\"read\"}", 3),
    ] {
        nodes.until(series, |nodes| sum(nodes, series) == Some(all));
    }
    let leader = nodes.leader(Some("Call"));
    nodes.until("its term is that of its log", |nodes| {
        let term = nodes.shard(leader, Some("Call"))["term"].as_u64();
        term.is_some() && told(nodes, leader, "cluster_term{store=\"test\"}") == term
    });
    let away = leader % 3 + 1;
    nodes.kill(away);
    (0..5).for_each(|_| drop(nodes.http(leader).post("streams/Call/a", &event()).expect(201)));
    let lag = "cluster_replication_lag_entries{store=\"test\"}";
    nodes.until("who leads tells that one is behind", |nodes| {
        nodes.running().into_iter().any(|node| told(nodes, node, lag) >= Some(5))
    });
    nodes.start(away);
    nodes.until("nobody is", |nodes| (1..=3).all(|node| told(nodes, node, lag) == Some(0)));
}

#[test]
fn a_node_without_a_quorum_is_not_ready_until_there_is_one() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    nodes.http(1).post("streams/Call/a", &event()).expect(201);
    nodes.http(1).get("/ready").expect(200);
    assert_eq!(nodes.http(1).get("/info").expect(200)["in_cluster"], true);
    nodes.kill(2);
    nodes.kill(3);
    nodes.until("it is not ready", |nodes| nodes.http(1).get("/ready").status == 503);
    let why = nodes.http(1).get("/ready").expect_error(503, "unavailable").to_string();
    assert!(why.contains("has had no leader"), "{why}");
    let leaderless = "cluster_logs_leaderless{store=\"test\"}";
    nodes.until("the log without a leader is counted", |nodes| told(nodes, 1, leaderless) == Some(1));
    nodes.until("what it has is read", |nodes| nodes.http(1).get("streams/Call/a?consistency=local").status == 200);
    let append = |nodes: &Nodes| nodes.http(1).post("streams/Call/a", &event()).status;
    let changes = nodes.http(1).post("/admin/v1/cluster/drain", &json!({ "node": 2 })).status;
    assert_eq!((append(&nodes), nodes.http(1).get("streams/Call/a").status, changes), (503, 503, 503));
    nodes.start(2);
    nodes.until("it is ready", |nodes| nodes.http(1).get("/ready").status == 200);
    nodes.until("the log has one", |nodes| told(nodes, 1, leaderless) == Some(0));
    nodes.until("it takes appends again", |nodes| append(nodes) == 201);
}

#[test]
fn a_leader_that_is_stopped_has_handed_over_when_it_ends() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    nodes.http(1).post("streams/Call/a", &event()).expect(201);
    for _ in 0..3 {
        let leader = nodes.leader(Some("Call"));
        let said = nodes.stop(leader).stderr;
        for group in [None, Some("Call")] {
            let next =
                |nodes: &Nodes, node| nodes.shard(node, group)["leader"].as_u64().filter(|id| *id != leader as u64);
            // who leads now knows it before the other one ends; the third hears of it from the new leader
            let knows = nodes.running().into_iter().find_map(|node| next(&nodes, node));
            assert!(knows.is_some(), "nobody leads {group:?} after {leader} has stopped: {said}");
            nodes.until("all follow", |nodes| nodes.running().into_iter().all(|node| next(nodes, node).is_some()));
        }
        nodes.start(leader);
        nodes.until("all vote and follow", |nodes| nodes.http(leader).get("/ready").status == 200);
        nodes.http(leader).post("streams/Call/a", &event()).expect(201);
    }
}

#[test]
fn a_member_that_was_removed_is_not_ready() {
    let mut nodes = Nodes::begun(4, 3, KEYS, &[]);
    nodes.start(4);
    // it has heard from the others, so it knows whom to ask
    nodes.until("it is a member", |nodes| member(nodes, 4, 4)["state"] == "member");
    let removed = nodes.http(2).post("/admin/v1/cluster/remove", &json!({ "node": 4 })).expect(200);
    assert_eq!(removed["changed"], true);
    nodes.until("it knows", |nodes| {
        let ready = nodes.http(4).get("/ready");
        ready.status == 503 && ready.text().contains("removed from its cluster")
    });
    nodes.http(1).get("/ready").expect(200);
}

#[test]
fn what_was_paused_on_a_node_alone_its_cluster_keeps_paused_until_it_is_resumed() {
    let mut nodes = Nodes::of(3, KEYS, &[]);
    let alone = nodes.alone();
    alone.http().post("streams/Call/a", &event()).expect(201);
    alone.http().post("/admin/v1/stores/test/compaction/pause", &json!({})).expect(200);
    alone.stop();
    let id = u64::from_str_radix(std::fs::read_to_string(nodes.folder(1).join("node-id")).unwrap().trim(), 16).unwrap();
    nodes.name(1, id);
    let is_paused = |nodes: &Nodes, node: usize, paused: bool| {
        let answer = nodes.http(node).get("/admin/v1/stores/test/compaction");
        answer.status == 200 && answer.json()["paused"] == paused
    };
    (1..=3).for_each(|node| nodes.start(node));
    for node in 1..=3 {
        nodes.until("it is paused", |nodes| is_paused(nodes, node, true));
    }
    nodes.until("it goes on", |nodes| {
        nodes.http(2).post("/admin/v1/stores/test/compaction/resume", &json!({})).status == 200
    });
    nodes.stop_all();
    nodes.start_all();
    for node in 1..=3 {
        nodes.until("it goes on", |nodes| is_paused(nodes, node, false));
    }
    nodes.stop_all();
}
