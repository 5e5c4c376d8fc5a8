//! Logs spread over nodes that only ingest: each holds those in which it votes, and has the rest done by others.

use super::moves::{bucket, done};
use super::native::{connect, event, runtime, stream};
use super::nodes::Nodes;
use super::{KEYS, NO_LOG_KEPT, everything_is_there, goes_on, under_load};
use crate::harness::{Sse, seed};
use serde_json::{Value, json};
use strandline_client::Expected;
use strandline_event::LogKey;

/// One node does everything, four ingest. The first three vote in `meta`, so they hold every log where those hold logs that need them.
const SPREAD: [&str; 5] = ["ingest,compact,read", "ingest", "ingest", "ingest", "ingest"];
/// Nobody reads or compacts by its role: one of them stands in.
const INGEST: [&str; 5] = ["ingest"; 5];
const BUCKETS: u64 = 5;
const STREAMS: u64 = 20;

/// A cluster whose votes in the buckets of Call go round, and whose voters of `meta` hold all of them.
fn spread(keys: &str) -> Nodes {
    let nodes = voted(&SPREAD, keys);
    done(&nodes, 1, "cluster followers --who needed");
    nodes.until("each has its logs", hold_what_they_vote_in);
    nodes
}

/// The same by the rule of a new cluster.
fn voted(roles: &[&'static str], keys: &str) -> Nodes {
    let nodes = Nodes::with_roles(roles, keys);
    nodes.http(5).post("stream-types", &json!({ "name": "Call", "buckets": BUCKETS })).expect(201);
    for (of, voters) in (0..).zip([[1, 2, 3], [1, 4, 5], [2, 3, 4], [1, 2, 5], [3, 4, 5]]) {
        nodes.until("it is where it shall be, and led", |nodes| {
            let shard = bucket(nodes, 1, of);
            let is_led = shard["here"] == false || shard["leader"].is_u64();
            shard["settled"] == true && is_led && shard["voters"] == json!(voters)
        });
    }
    assert_eq!(nodes.shard(1, None)["voters"], json!([1, 2, 3]));
    nodes
}

/// Buckets of Call that a node has.
fn held(nodes: &Nodes, node: usize) -> Vec<u64> {
    (0..BUCKETS).filter(|of| bucket(nodes, node, *of)["here"] == true).collect()
}

fn hold_what_they_vote_in(nodes: &Nodes) -> bool {
    let all: Vec<u64> = (0..BUCKETS).collect();
    held(nodes, 4) == [1, 2, 4] && held(nodes, 5) == [1, 3, 4] && (1..=3).all(|node| held(nodes, node) == all)
}

/// Who compacts has all, whoever leads the cluster.
fn hold_the_fewest(nodes: &Nodes) -> bool {
    let running = nodes.running();
    let (compactor, all) = (nodes.compactor(running[0]).0, (0..BUCKETS).collect::<Vec<_>>());
    let votes_in = |node: usize| {
        let votes =
            |of: &u64| bucket(nodes, node, *of)["voters"].as_array().is_some_and(|all| all.contains(&json!(node)));
        (0..BUCKETS).filter(votes).collect::<Vec<_>>()
    };
    let has_its_own = |node: usize| held(nodes, node) == if node == compactor { all.clone() } else { votes_in(node) };
    compactor > 0 && running.into_iter().all(has_its_own)
}

/// Streams whose log a node does not hold.
fn lacked(nodes: &Nodes, node: usize) -> u64 {
    let held = held(nodes, node);
    let bucket_of = |stream: &u64| u64::from(LogKey::of_stream("Call", &name(*stream), BUCKETS as u32).bucket);
    (0..STREAMS).filter(|stream| !held.contains(&bucket_of(stream))).count() as u64
}

fn name(stream: u64) -> String {
    format!("s{stream}")
}

/// One event more, asked of a node until it is stored.
fn append(nodes: &Nodes, node: usize, stream: u64, n: u64) {
    let (id, data) = (name(stream), json!({ "n": n }));
    let command = format!("{id}-{n}");
    let body = json!({ "events": [{ "event_type": "E", "data": data }], "command_id": command });
    nodes.until("it is stored", |nodes| is_stored(nodes, node, &format!("streams/Call/{id}"), &body));
}

fn is_stored(nodes: &Nodes, node: usize, path: &str, body: &Value) -> bool {
    let answer = nodes.http(node).try_post(path, "application/json", body.to_string().as_bytes());
    answer.is_ok_and(|answer| answer.status < 300)
}

/// One event more in each stream, in one body.
fn append_all(nodes: &Nodes, node: usize) {
    let line = |stream: u64| {
        let (id, command) = (name(stream), format!("body{node}"));
        json!({ "stream_type": "Call", "stream_id": id, "event_type": "E", "data": { "n": 0 }, "command_id": command })
    };
    let stored = nodes.http(node).bulk(&(0..STREAMS).map(line).collect::<Vec<_>>());
    assert_eq!((&stored["appended"], &stored["rejected"]), (&json!(STREAMS), &json!([])), "node {node}: {stored}");
}

/// The same by clients that leave it to the node to find out who leads, and reads.
async fn append_native(nodes: &Nodes, node: usize, before: usize) {
    let client = connect(nodes, node).await;
    for of in 0..STREAMS {
        client.append(event("Call", &name(of), node as u64), Expected::Any).await.unwrap();
    }
    for of in 0..STREAMS {
        let head = client.head("Call", &name(of)).await.unwrap().unwrap();
        assert_eq!(head.last_seq.0, before as u64 + 1, "{} at node {node}", name(of));
    }
}

/// A plain subscription at a node, from the beginning on.
fn followed(nodes: &Nodes, node: usize, events: u64) -> Sse {
    let mut stream = Sse::open(&nodes.http(node), "subscribe?idle_s=60", None);
    (0..events).for_each(|_| drop(stream.event()));
    stream
}

fn n(stream: &mut Sse) -> u64 {
    stream.event().data.unwrap()["data"]["n"].as_u64().unwrap()
}

/// Everything, as a node answers that reads by nobody's role.
fn shows(nodes: &Nodes, node: usize, events: u64) -> bool {
    let page = nodes.http(node).get("events?limit=5000");
    page.status == 200 && page.json()["events"].as_array().unwrap().len() as u64 == events
}

#[test]
fn who_only_ingests_holds_what_it_votes_in_and_has_the_rest_done_by_others() {
    let mut nodes = spread(KEYS);
    for of in 0..STREAMS {
        append(&nodes, 4 + of as usize % 2, of, 0);
    }
    append_all(&nodes, 4);
    append_all(&nodes, 5);
    runtime().block_on(async {
        append_native(&nodes, 4, 3).await;
        append_native(&nodes, 5, 4).await;
    });
    let mut events = 5 * STREAMS;
    for node in 1..=5 {
        let http = nodes.http(node);
        for of in 0..STREAMS {
            assert_eq!(http.stream("Call", &name(of)).len(), 5, "{} at node {node}", name(of));
        }
        nodes.until("the global order has all of them", |nodes| shows(nodes, node, events));
        assert_eq!(http.scan().len() as u64, events);
        http.get("streams/Call/s0?consistency=local").expect(200);
    }
    // the first append of a stream type whose log it will not hold, as a rule
    for (n, node) in [(0, 4), (1, 5), (2, 4)] {
        let body = json!({ "events": [{ "event_type": "E", "data": {} }], "command_id": "c" });
        nodes.until("it is stored", |nodes| is_stored(nodes, node, &format!("streams/New{n}/a"), &body));
        events += 1;
    }
    // subscriptions, plain and named
    let mut plain = followed(&nodes, 5, events);
    append(&nodes, 4, 0, 9);
    assert_eq!(n(&mut plain), 9);
    let wish = json!({ "filter": { "stream_type": "Call" }, "after": "end" });
    nodes.until("it is made", |nodes| nodes.http(4).post("subscriptions/s", &wish).status < 300);
    let mut named = Sse::open(&nodes.http(5), "subscriptions/s/events", None);
    append(&nodes, 4, 1, 9);
    assert_eq!((n(&mut named), n(&mut plain)), (9, 9));
    drop((plain, named));
    events += 2;
    // without the one that reads, who leads the cluster answers
    nodes.kill(1);
    for of in 0..STREAMS {
        append(&nodes, 5, of, 20);
    }
    events += STREAMS;
    for node in [4, 5] {
        nodes.until("everything is shown", |nodes| shows(nodes, node, events));
        let mut stream = followed(&nodes, node, events);
        append(&nodes, node, 2, 30 + node as u64);
        assert_eq!(n(&mut stream), 30 + node as u64);
        events += 1;
    }
    let reads = runtime().block_on(async { stream(&connect(&nodes, 4).await, "Call", "s0").await });
    assert_eq!(reads.last(), Some(&20));
    nodes.start(1);
    for node in 1..=5 {
        nodes.until("everything is shown", |nodes| shows(nodes, node, events));
    }
    nodes.stop_all();
    let verified = nodes.verify();
    assert!(verified.code == 0, "{verified:?}");
}

#[test]
fn a_node_that_sends_nothing_on_says_who_holds_what_it_does_not() {
    let mut nodes = spread(KEYS);
    for of in 0..STREAMS {
        append(&nodes, 4, of, 0);
    }
    nodes.stop(4);
    nodes.tell(4, &["--no-forward"]);
    nodes.start(4);
    nodes.until("each has its logs", hold_what_they_vote_in);
    let http = nodes.http(4);
    let leader = || nodes.http_address(nodes.leader(None));
    let (mut here, mut elsewhere) = (0, Vec::new());
    for of in 0..STREAMS {
        let path = format!("streams/Call/{}", name(of));
        let answer = http.get(&path);
        if answer.status == 200 {
            here += 1;
            http.get(&format!("{path}?consistency=local")).expect(200);
            continue;
        }
        elsewhere.push(path.clone());
        assert_eq!(answer.expect_error(503, "not_leader")["details"]["address"], leader());
        for asked in [format!("{path}?consistency=local"), format!("{path}/head")] {
            assert_eq!(http.get(&asked).expect_error(503, "not_leader")["details"]["address"], leader(), "{asked}");
        }
        let body = json!({ "events": [{ "event_type": "E", "data": {} }] });
        assert_eq!(http.post(&path, &body).expect_error(503, "not_leader")["details"]["address"], leader());
    }
    assert!(here > 0 && !elsewhere.is_empty(), "{here} here, elsewhere: {elsewhere:?}");
    let (json, lines, stream) = ("application/json", "application/x-ndjson", "text/event-stream");
    for (asked, accept) in [
        ("events", json),
        ("events?consistency=local", json),
        ("scan", lines),
        ("subscribe", stream),
        ("subscribe?consistency=local", stream),
    ] {
        let answer = http.get_as(asked, accept);
        assert_eq!(answer.expect_error(503, "not_leader")["details"]["address"], leader(), "{asked}");
    }
    // who follows there while it holds all of them comes again elsewhere when it does not
    done(&nodes, 1, "cluster followers --who all");
    nodes.until("it holds all", |nodes| held(nodes, 4).len() as u64 == BUCKETS);
    let mut stream = followed(&nodes, 4, STREAMS);
    done(&nodes, 1, "cluster followers --who needed");
    let (events, end) = stream.rest();
    assert_eq!((events.len(), end.as_deref()), (0, Some("unavailable")));
    // nor does it answer of what it does not hold when it is drained
    nodes.until("each has its logs", hold_what_they_vote_in);
    done(&nodes, 1, "cluster drain --node 4");
    nodes.until("others vote in its place", |nodes| {
        (0..BUCKETS).all(|of| {
            let shard = bucket(nodes, 1, of);
            shard["settled"] == true && !shard["voters"].as_array().unwrap().contains(&json!(4))
        })
    });
    for path in elsewhere {
        http.get(&format!("{path}?consistency=local")).expect_error(503, "not_leader");
    }
    nodes.stop_all();
}

#[test]
fn logs_are_taken_from_nodes_and_given_back_under_load_and_nothing_is_lost() {
    let seed = seed("spread");
    let mut nodes = spread(NO_LOG_KEPT);
    let mut writers = under_load(&mut nodes, seed, |nodes, acknowledged| {
        goes_on(acknowledged, 30);
        for _ in 0..2 {
            done(nodes, 3, "cluster followers --who all");
            nodes.until("all follow", |nodes| (4..=5).all(|node| held(nodes, node).len() as u64 == BUCKETS));
            goes_on(acknowledged, 30);
            done(nodes, 3, "cluster followers --who needed");
            nodes.until("each has its logs", hold_what_they_vote_in);
            goes_on(acknowledged, 30);
            // what they have put aside is in files by now, and in nobody's log
            nodes.http(1).compact();
            goes_on(acknowledged, 30);
        }
        // who gets a vote in what it has put aside, and leads, judges appends by what it has
        done(nodes, 2, "cluster move --stream-type Call --bucket 0 --from 2 --to 4 --lead");
        nodes.until("it leads", |nodes| {
            let shard = bucket(nodes, 4, 0);
            shard["settled"] == true && shard["leader"] == 4 && shard["voters"] == json!([1, 3, 4])
        });
        goes_on(acknowledged, 60);
        done(nodes, 2, "cluster move --stream-type Call --bucket 0 --from 4 --to 2");
        nodes.until("each has its logs", hold_what_they_vote_in);
        goes_on(acknowledged, 30);
        // over a restart it goes on with what is in its folder
        nodes.stop(4);
        nodes.start(4);
        nodes.until("each has its logs", hold_what_they_vote_in);
        done(nodes, 5, "cluster move --stream-type Call --bucket 0 --from 3 --to 4");
        nodes.until("it votes again", |nodes| {
            let shard = bucket(nodes, 4, 0);
            shard["settled"] == true && shard["here"] == true && shard["voters"] == json!([1, 2, 4])
        });
        goes_on(acknowledged, 30);
    });
    everything_is_there(&nodes, &mut writers);
    nodes.stop_all();
    let verified = nodes.verify();
    assert!(verified.code == 0, "{verified:?}");
}

#[test]
fn where_the_fewest_hold_logs_every_node_takes_everything_and_subscriptions_bring_the_logs_back() {
    let mut nodes = voted(&INGEST, KEYS);
    nodes.until("each has its logs", hold_the_fewest);
    for of in 0..STREAMS {
        append(&nodes, 1 + of as usize % 5, of, 0);
    }
    let (mut stored, leader) = (1, nodes.leader(None));
    let said = |nodes: &Nodes| nodes.shard(leader, None)["applied"].as_u64().unwrap();
    for node in 1..=5 {
        append_all(&nodes, node);
        stored += 1;
        let (before, lacked) = (said(&nodes), lacked(&nodes, node));
        runtime().block_on(append_native(&nodes, node, stored));
        stored += 1;
        // who leads the cluster says nothing there of a log that others lead
        let more = said(&nodes) - before;
        assert!(node != leader || lacked == 0 || more < lacked, "{more} commands for {lacked} appends");
    }
    let mut events = stored as u64 * STREAMS;
    for node in 1..=5 {
        let http = nodes.http(node);
        for of in 0..STREAMS {
            assert_eq!(http.stream("Call", &name(of)).len(), stored, "{} at node {node}", name(of));
        }
        nodes.until("the global order has all of them", |nodes| shows(nodes, node, events));
        assert_eq!(http.scan().len() as u64, events);
    }
    // logs that did not exist, of which few are where they are asked for
    for (n, node) in [(0, 4), (1, 5), (2, 1), (3, 2), (4, 3)] {
        let body = json!({ "events": [{ "event_type": "E", "data": {} }], "command_id": "c" });
        nodes.until("it is stored", |nodes| is_stored(nodes, node, &format!("streams/New{n}/a"), &body));
        events += 1;
    }
    // nobody keeps a subscription; who follows by himself does it where all logs are
    assert_eq!(nodes.http(4).get("subscriptions").expect(200)["subscriptions"], json!([]));
    let mut plain = followed(&nodes, 5, events);
    append(&nodes, 4, 0, 9);
    assert_eq!(n(&mut plain), 9);
    events += 1;
    drop(plain);
    // one that is made takes every log to who may keep it, and misses nothing that comes then
    let wish = json!({ "filter": { "stream_type": "Call" }, "after": "end" });
    nodes.until("it is made", |nodes| nodes.http(4).post("subscriptions/s", &wish).status < 300);
    let all: Vec<u64> = (0..BUCKETS).collect();
    nodes.until("they have every log", |nodes| (1..=3).all(|node| held(nodes, node) == all));
    let mut named = Sse::open(&nodes.http(5), "subscriptions/s/events", None);
    for of in 0..STREAMS {
        append(&nodes, 1 + of as usize % 5, of, 100 + of);
        assert_eq!(n(&mut named), 100 + of);
    }
    drop(named);
    events += STREAMS;
    // and is kept by the next one that leads
    let leader = nodes.leader(None);
    nodes.kill(leader);
    let other = nodes.running()[0];
    append(&nodes, other, 3, 200);
    events += 1;
    nodes.start(leader);
    for node in 1..=5 {
        nodes.until("everything is shown", |nodes| shows(nodes, node, events));
    }
    nodes.stop_all();
    let verified = nodes.verify();
    assert!(verified.code == 0, "{verified:?}");
}

#[test]
fn a_lost_voter_is_replaced_where_voters_alone_hold_the_logs_and_who_compacts_by_the_next() {
    let seed = seed("spread-fewest");
    let mut nodes = voted(&INGEST, NO_LOG_KEPT);
    nodes.until("each has its logs", hold_the_fewest);
    let mut writers = under_load(&mut nodes, seed, |nodes, acknowledged| {
        goes_on(acknowledged, 30);
        let compactor = nodes.compactor(5).0;
        let lost = if compactor == 2 { 3 } else { 2 };
        nodes.kill(lost);
        goes_on(acknowledged, 10);
        nodes.until("it is replaced", |nodes| {
            nodes.http(4).post("/admin/v1/cluster/replace", &json!({ "lost": lost, "with": 5 })).status == 200
        });
        nodes.until("others vote in its place", |nodes| {
            let is_full = |shard: &Value| {
                let voters = shard["voters"].as_array().cloned().unwrap_or_default();
                shard["settled"] == true && voters.len() == 3 && !voters.contains(&json!(lost))
            };
            is_full(&nodes.shard(4, None)) && (0..BUCKETS).all(|of| is_full(&bucket(nodes, 4, of)))
        });
        nodes.until("each has its logs", hold_the_fewest);
        goes_on(acknowledged, 30);
        // what it has put into files the next one has not seen all of
        nodes.http(4).compact();
        let compactor = nodes.compactor(4).0;
        nodes.kill(compactor);
        let other = nodes.running()[0];
        nodes.until("another one stands in", |nodes| {
            let next = nodes.compactor(other).0;
            next > 0 && next != compactor
        });
        nodes.until("each has its logs", hold_the_fewest);
        goes_on(acknowledged, 10);
        nodes.start(compactor);
        nodes.until("each has its logs", hold_the_fewest);
        goes_on(acknowledged, 30);
    });
    everything_is_there(&nodes, &mut writers);
    nodes.stop_all();
}

#[test]
fn a_lost_node_that_held_every_log_is_replaced_by_one_that_did_not() {
    let seed = seed("spread-lost");
    let mut nodes = spread(KEYS);
    let mut writers = under_load(&mut nodes, seed, |nodes, acknowledged| {
        goes_on(acknowledged, 30);
        nodes.kill(2);
        goes_on(acknowledged, 10);
        nodes.until("it is replaced", |nodes| {
            nodes.http(4).post("/admin/v1/cluster/replace", &json!({ "lost": 2, "with": 5 })).status == 200
        });
        nodes.until("the other one votes in its place", |nodes| {
            let meta = nodes.shard(1, None);
            meta["settled"] == true && meta["voters"] == json!([1, 3, 5])
        });
        nodes.until("it has every log", |nodes| held(nodes, 5).len() as u64 == BUCKETS);
        goes_on(acknowledged, 30);
        let leader = nodes.leader(None);
        nodes.kill(leader);
        goes_on(acknowledged, 10);
        nodes.start(leader);
        goes_on(acknowledged, 30);
    });
    everything_is_there(&nodes, &mut writers);
    nodes.stop_all();
    let verified = nodes.verify();
    assert!(verified.code == 0, "{verified:?}");
}
