//! A cluster of real processes: it forms, any node takes any request, leaders are killed under load, nodes are restarted one by one and all
//! at once, compaction runs meanwhile; every acknowledged event is there once, with its data, on every node.
//!
//! `STRANDLINE_FAILOVERS=20` kills as often as the contract says, and `STRANDLINE_FAILOVER_MEDIAN_MS=5000` holds the time without a leader to what it says
//! (`scripts/torture`).

mod access;
mod buckets;
mod commands;
mod damaged;
mod erasure;
mod followers;
mod full;
mod links;
mod moves;
mod named;
mod native;
pub(crate) mod nodes;
mod objects;
mod offline;
mod older;
mod operator;
mod partition;
mod projections;
mod redaction;
mod roles;
mod rotated;
mod spread;
mod statement;
#[cfg(feature = "otel")]
mod traced;
mod windows;
mod writer;

use crate::encryption::{assert_nothing_planted, assert_sealed};
use crate::harness::{run, seed, setting};
use nodes::Nodes;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use strandline_client::{BatchBuilder, BatchUnit, ClusterClient, ClusterOptions, EventInput, Expected};
use writer::Writer;

/// Small segments: logs roll over, and compaction has whole ones to take.
const KEYS: &str = ", wal.rollover_mb = 1, id.command_id.unique_scope = 'stream'";

/// Nothing moves to files by itself: what is in files is not looked at in a log, and leaves it.
const NOT_MOVED: &str = ", compaction.trigger = 'size_mb'";

/// An append of one event that says its number and much more: some twenty fill a segment. It may be sent again.
fn large(n: u64) -> Value {
    let data = json!({ "n": n, "filler": "x".repeat(50_000) });
    json!({ "events": [{ "event_type": "E", "data": data }], "command_id": format!("c{n}") })
}

#[test]
fn three_nodes_form_a_cluster_and_each_answers_everything() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    let event = |n: u64| json!({ "events": [{ "event_type": "E", "data": { "n": n } }], "expected_seq": n });
    for n in 0..9 {
        let mut body = event(n);
        if n == 0 {
            body["expected_seq"] = json!("empty");
        }
        let answer = nodes.http(usize::try_from(n % 3).unwrap() + 1).post("streams/Call/a", &body).expect(201);
        assert_eq!(answer["first_seq"], n + 1);
    }
    for node in 1..=3 {
        let http = nodes.http(node);
        let events = http.stream("Call", "a");
        assert_eq!(
            events.iter().map(|e| e["data"]["n"].as_u64().unwrap()).collect::<Vec<_>>(),
            (0..9).collect::<Vec<_>>()
        );
        assert_eq!(http.get("streams/Call/a/head").expect(200)["last_seq"], 9);
        assert_eq!((http.global().len(), http.scan().len()), (9, 9));
        let id = events[0]["event_id"].as_str().unwrap();
        assert_eq!(http.get(&format!("events/{id}")).expect(200)["event"]["seq"], 1);
        http.get("streams/Call/none").expect_error(404, "not_found");
        http.post("streams/Call/a", &event(3)).expect_error(409, "wrong_expected_seq");
    }
    sends_on_what_another_node_leads(&nodes);
    // files are written by one node and read by all
    nodes.http(2).compact();
    for node in 1..=3 {
        let http = nodes.http(node);
        nodes.until("every node sees the files", |_| {
            http.get("/admin/v1/stores/test/files").expect(200)["files"].as_array().unwrap().len() == 1
        });
        assert_eq!(http.stream("Call", "a").len(), 9);
    }
    // the first append of a stream type, at any node: its group begins while the request is under way
    for n in 0..6 {
        nodes
            .http(1 + n % 3)
            .post(&format!("streams/New{n}/a"), &json!({ "events": [{ "event_type": "E", "data": {} }] }))
            .expect(201);
    }
    // registered everywhere
    nodes.http(3).post("stream-types", &json!({ "name": "Invoice" })).expect(201);
    nodes.until("the type is known", |nodes| nodes.http(1).get("stream-types").text().contains("Invoice"));
    nodes.stop_all();
}

fn sends_on_what_another_node_leads(nodes: &Nodes) {
    // what was sent on leaves no connection behind
    let leader = nodes.leader(Some("Call"));
    let other = (1..=3).find(|node| *node != leader).unwrap();
    let before = nodes.sockets(other);
    let forwarded = nodes.http(other);
    for n in 0..60 {
        let body = json!({ "events": [{ "event_type": "E", "data": { "n": n } }] });
        forwarded.post("streams/Call/forwarded", &body).expect(201);
    }
    nodes.until("the connections end", |nodes| nodes.sockets(other) < before + 30);
    // nor does the command that loads files need to know who leads
    let lines: String = (0..2_000)
        .map(|n| {
            json!({ "stream_type": "Call", "stream_id": format!("loaded-{}", n % 7), "event_type": "E" }).to_string()
                + "\n"
        })
        .collect();
    let file = nodes.path().join("loaded.ndjson");
    std::fs::write(&file, lines).unwrap();
    for told in ["appended 2000", "already there 2000"] {
        let url = format!("http://{}", nodes.http_address(other));
        let loaded = run(&["ingest", &file.to_string_lossy(), "--url", &url, "--store", "test"]);
        assert!(loaded.code == 0 && loaded.stdout.contains(told), "{loaded:?}");
    }
    // a path that is no route is sent to nobody
    forwarded.post("streams/Call/a/b/c", &json!({})).expect_error(404, "not_found");
    // nobody sends on for ever what was sent on twice
    let body = json!({ "events": [{ "event_type": "E", "data": { "n": 9 } }], "expected_seq": 9 });
    let answer = sent_on_twice(&nodes.http_address(other), "/v1/stores/test/streams/Call/a", &body.to_string());
    assert!(answer.contains("503") && answer.contains("not_leader"), "{answer}");
}

/// A named subscription, which the meta group remembers: its filter says what is planted, and so does why an event of it is parked.
fn subscribe_to_planted(nodes: &Nodes) {
    let filter = json!({ "stream_id": "planted-stream", "tenant_id": "planted-tenant" });
    nodes.http(2).post("subscriptions/s", &json!({ "filter": filter })).expect(201);
    let (mut stream, _) = named::consumer(nodes, 3);
    let first = stream.event();
    assert!(named::say(nodes, 2, "park", &json!({ "position": first.id, "reason": "planted-reason" })));
    let kept = named::status(nodes, 1);
    assert!(kept["filter"] == filter && kept.to_string().contains("planted-reason"), "{kept}");
}

#[test]
fn an_encrypted_cluster_replicates_compacts_and_shows_nothing_on_any_disk() {
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("key").to_string_lossy().into_owned();
    assert_eq!(run(&["keys", "init", "--file", &key]).code, 0);
    let declared = format!(
        "{KEYS}, partition.by = ('tenant_id'), security.encrypt.at_rest = true, security.kms.provider = 'local', \
         security.kms.key_id = '{key}'"
    );
    let mut nodes = Nodes::new(3, &declared, &[]);
    let append = |nodes: &Nodes, n: u64, node: usize| {
        let event = json!({ "event_type": "PlantedEvent", "tenant_id": "planted-tenant", "data": { "text": format!("planted-{n}") } });
        nodes.http(node).post("streams/Call/planted-stream", &json!({ "events": [event] })).expect(201);
    };
    (0..12).for_each(|n| append(&nodes, n, 1 + n as usize % 3));
    nodes.http(2).compact();
    (12..20).for_each(|n| append(&nodes, n, 1 + n as usize % 3));
    subscribe_to_planted(&nodes);
    assert_nothing_planted(nodes.path());
    let leader = nodes.leader(Some("Call"));
    nodes.kill(leader);
    let other = leader % 3 + 1;
    nodes.until("another one leads", |nodes| {
        let event = json!({ "event_type": "PlantedEvent", "tenant_id": "planted-tenant", "data": {} });
        let body = json!({ "events": [event], "expected_seq": 20 });
        nodes.http(other).post("streams/Call/planted-stream", &body).status == 201
    });
    nodes.start(leader);
    for node in 1..=3 {
        nodes.until("every node has all of it", |nodes| nodes.http(node).stream("Call", "planted-stream").len() == 21);
    }
    nodes.http(leader).compact();
    nodes.stop_all();
    assert_nothing_planted(nodes.path());
    assert_sealed(&nodes.path().join("shared"));
}

/// The answer to an append that two nodes have sent on already.
fn sent_on_twice(address: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = "connection: close\r\nx-strandline-hops: 2\r\ncontent-type: application/json";
    write!(stream, "POST {path} HTTP/1.1\r\nhost: {address}\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_node_that_does_not_lead_says_who_does_and_the_native_client_goes_there() {
    let nodes = Nodes::new(3, KEYS, &["--no-forward"]);
    let body = json!({ "events": [{ "event_type": "E", "data": { "n": 1 } }] });
    let meta = nodes.leader(None);
    nodes.http(meta).post("streams/Call/a", &body).expect(201);
    let leader = nodes.leader(Some("Call"));
    for node in (1..=3).filter(|node| *node != leader) {
        nodes.until("the node knows the log", |nodes| nodes.shard(node, Some("Call"))["leader"] == leader);
        let http = nodes.http(node);
        let answer = http.post("streams/Call/a", &body).expect_error(503, "not_leader");
        assert_eq!(answer["details"]["address"], nodes.http_address(leader), "{answer}");
        // reads see everything that was acknowledged, on any node
        assert_eq!((http.stream("Call", "a").len(), http.global().len(), http.scan().len()), (1, 1, 1));
        nodes.until("it is here too", |_| http.get("streams/Call/a?consistency=local").status == 200);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut options = ClusterOptions::new(nodes.natives());
        options.each.store = "test".to_owned();
        let client = ClusterClient::connect(options).await.unwrap();
        for n in 0..50 {
            let mut batch = BatchBuilder::new("Call", BatchUnit::Append);
            let (data, command) = (format!("{{\"n\":{n}}}"), format!("c{n}"));
            let event = EventInput {
                stream_id: "b",
                event_type: "E",
                data: &data,
                command_id: Some(&command),
                ..EventInput::default()
            };
            batch.push(&event).unwrap();
            client.append(batch.finish().unwrap(), Expected::Any).await.unwrap();
        }
        assert_eq!(client.head("Call", "b").await.unwrap().unwrap().last_seq.0, 50);
    });
}

/// Appends by several clients while something happens; gives what they know.
fn under_load(nodes: &mut Nodes, seed: u64, happens: impl FnOnce(&mut Nodes, &AtomicU64)) -> Vec<Writer> {
    let (ends, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut writers: Vec<Writer> = (0..3).map(|number| Writer::new(number, &nodes.urls(), seed)).collect();
    std::thread::scope(|scope| {
        for writer in &mut writers {
            let (ends, acknowledged) = (&ends, &acknowledged);
            scope.spawn(move || {
                while !ends.load(Ordering::SeqCst) {
                    writer.append();
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let happened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| happens(nodes, &acknowledged)));
        ends.store(true, Ordering::SeqCst);
        if let Err(panic) = happened {
            std::panic::resume_unwind(panic);
        }
    });
    writers
}

/// Waits until some more was acknowledged: the cluster takes appends.
fn goes_on(acknowledged: &AtomicU64, more: u64) -> Duration {
    let (began, then) = (Instant::now(), acknowledged.load(Ordering::SeqCst));
    while acknowledged.load(Ordering::SeqCst) < then + more {
        assert!(began.elapsed() < Duration::from_secs(90), "the cluster takes no appends");
        std::thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

/// How long a log whose leader was killed has no other one: then a dry run is answered.
fn without_leader(nodes: &Nodes, stream_type: &str) -> Duration {
    let (began, any) = (Instant::now(), nodes.http(nodes.running()[0]));
    let body = json!({ "events": [{ "event_type": "E", "data": {} }] }).to_string();
    let path = format!("streams/{stream_type}/asked?inspect=true");
    while !any.try_post(&path, "application/json", body.as_bytes()).is_ok_and(|answer| answer.status < 300) {
        assert!(began.elapsed() < Duration::from_secs(90), "nobody leads {stream_type}");
        std::thread::sleep(Duration::from_millis(20));
    }
    began.elapsed()
}

/// Every node shows everything that was acknowledged, once, and has it by itself.
fn everything_is_there(nodes: &Nodes, writers: &mut [Writer]) {
    let events: u64 = writers.iter().map(Writer::events).sum();
    for node in nodes.running() {
        let http = nodes.http(node);
        for writer in writers.iter() {
            writer.compare(&http);
            nodes.until("the node has it by itself", |_| writer.is_local(&http));
        }
        let ids: BTreeSet<String> = http.scan().iter().map(|e| e["event_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!((ids.len() as u64, http.scan().len() as u64), (events, events), "node {node}");
        assert_eq!(http.global().len() as u64, events, "node {node}");
    }
    writers.iter_mut().for_each(Writer::ask_again);
}

#[test]
fn leaders_are_killed_under_load_and_nothing_is_lost_or_doubled() {
    let seed = seed("failover");
    let rounds = setting("STRANDLINE_FAILOVERS", 5);
    let mut nodes = Nodes::new(3, KEYS, &[]);
    let mut away = Vec::new();
    let mut writers = under_load(&mut nodes, seed, |nodes, acknowledged| {
        goes_on(acknowledged, 30);
        for round in 0..rounds {
            let leader = nodes.leader(Some("Call"));
            nodes.kill(leader);
            // other logs may be led elsewhere, and go on meanwhile
            away.push(without_leader(nodes, "Call"));
            goes_on(acknowledged, 3);
            nodes.start(leader);
            if round % 2 == 0 {
                // whichever node compacts: it may be killed in the next round
                let any = nodes.running()[0];
                nodes.http(any).post("/admin/v1/stores/test/compaction/run", &json!({}));
            }
            goes_on(acknowledged, 30);
        }
    });
    away.sort_unstable();
    let median = away[away.len() / 2];
    println!("unavailable: median {median:?}, longest {:?}", away[away.len() - 1]);
    let most = Duration::from_millis(setting("STRANDLINE_FAILOVER_MEDIAN_MS", 90_000));
    assert!(median < most, "a log was without a leader for {median:?}");
    everything_is_there(&nodes, &mut writers);
    nodes.stop_all();
}

#[test]
fn nodes_are_restarted_one_by_one_and_all_at_once() {
    let seed = seed("restarts");
    let mut nodes = Nodes::new(3, KEYS, &[]);
    let mut writers = under_load(&mut nodes, seed, |nodes, acknowledged| {
        goes_on(acknowledged, 30);
        for node in [2, 1, 3] {
            nodes.stop(node);
            goes_on(acknowledged, 20);
            nodes.start(node);
            goes_on(acknowledged, 20);
        }
        nodes.http(1).compact();
        goes_on(acknowledged, 20);
    });
    everything_is_there(&nodes, &mut writers);
    nodes.stop_all();
    nodes.start_all();
    everything_is_there(&nodes, &mut writers);
    nodes.stop_all();
    let verified = nodes.verify();
    assert!(verified.code == 0 && verified.stdout.contains("clean"), "{verified:?}");
    nodes.start_all();
    // power goes everywhere
    for node in 1..=3 {
        nodes.kill(node);
    }
    nodes.start_all();
    everything_is_there(&nodes, &mut writers);
    assert!(nodes.folder(1).join("member").exists());
    nodes.stop_all();
}

#[test]
fn the_node_that_made_the_cluster_waits_for_the_others_when_it_comes_back_first() {
    let mut nodes = Nodes::new(3, KEYS, &[]);
    nodes.stop_all();
    let waits = nodes.says(1, "waiting for more than half of the voters");
    assert_eq!(waits, Ok(()), "it takes itself for one whose cluster was never made");
    nodes.start_all();
    nodes.http(1).post("streams/Call/a", &json!({ "events": [{ "event_type": "E", "data": {} }] })).expect(201);
    nodes.stop_all();
}

#[test]
fn a_node_alone_becomes_the_first_member_without_a_copy() {
    let mut nodes = Nodes::of(3, KEYS, &[]);
    let event = |n: u64| json!({ "events": [{ "event_type": "E", "data": { "n": n } }] });
    let alone = nodes.alone();
    for n in 0..40 {
        alone.http().post(&format!("streams/Call/s{}", n % 4), &event(n)).expect(201);
        if n == 20 {
            alone.http().compact();
        }
    }
    alone.stop();
    let id = u64::from_str_radix(std::fs::read_to_string(nodes.folder(1).join("node-id")).unwrap().trim(), 16).unwrap();
    nodes.name(1, id);
    // the files of its log, and which ones they are
    let log = nodes.folder(1).join("log/Call");
    let segments = || -> BTreeSet<(PathBuf, u64)> {
        let entries = std::fs::read_dir(&log).unwrap().map(Result::unwrap);
        let segments = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "wal"));
        segments.map(|entry| (entry.path(), entry.metadata().unwrap().ino())).collect()
    };
    let first = segments().pop_first().unwrap();
    (1..=3).for_each(|node| nodes.start(node));
    nodes.until("all three vote", |nodes| {
        let shard = nodes.shard(1, Some("Call"));
        shard["settled"] == true && shard["voters"].as_array().map(Vec::len) == Some(3)
    });
    nodes.http(2).post("streams/Call/s0", &event(40)).expect(201);
    for node in 1..=3 {
        let http = nodes.http(node);
        assert_eq!(
            (http.stream("Call", "s0").len(), http.stream("Call", "s1").len(), http.global().len()),
            (11, 10, 41)
        );
        nodes.until("it is here too", |_| {
            let page = http.get("streams/Call/s0?consistency=local");
            page.status == 200 && page.json()["events"].as_array().unwrap().len() == 11
        });
    }
    assert!(segments().contains(&first), "the log goes on in the files that it had");
    nodes.stop_all();
}

#[test]
fn a_node_that_was_paused_acknowledges_and_damages_nothing_when_it_wakes() {
    let seed = seed("pause");
    let mut nodes = Nodes::new(3, KEYS, &[]);
    let mut writers = under_load(&mut nodes, seed, |nodes, acknowledged| {
        goes_on(acknowledged, 30);
        for _ in 0..2 {
            // one that leads, then one that compacts: it is stopped in the middle of whatever it does
            for compacts in [false, true] {
                let any = nodes.leader(None);
                nodes.until("a node compacts", |nodes| nodes.compactor(any).0 > 0);
                let paused = if compacts { nodes.compactor(any).0 } else { any };
                nodes.http(any).post("/admin/v1/stores/test/compaction/run", &json!({}));
                nodes.pause(paused);
                goes_on(acknowledged, 30);
                let other = (1..=3).find(|node| *node != paused).unwrap();
                let run = |nodes: &Nodes| {
                    let path = "/admin/v1/stores/test/compaction/run?wait=true";
                    nodes.http(other).post_as(path, "application/json", b"").status
                };
                nodes.until("another node compacts", |nodes| nodes.compactor(other).0 != paused && run(nodes) < 300);
                goes_on(acknowledged, 10);
                nodes.go_on(paused);
                goes_on(acknowledged, 30);
            }
        }
    });
    everything_is_there(&nodes, &mut writers);
    nodes.stop_all();
}

/// Nothing of the log is kept that is in files: who comes late or comes back late goes on from a manifest.
const NO_LOG_KEPT: &str = ", wal.rollover_mb = 1, wal.retention_hours = 0, id.command_id.unique_scope = 'stream'";

#[test]
fn a_node_that_was_away_too_long_goes_on_from_files_and_a_lost_one_is_replaced() {
    let seed = seed("replaced");
    let mut nodes = Nodes::begun(4, 3, NO_LOG_KEPT, &[]);
    let first_entry = |nodes: &Nodes, node: usize| {
        let wal = nodes.http(node).get("/admin/v1/stores/test/wal").expect(200);
        let log = wal["logs"].as_array().unwrap().iter().find(|log| log["stream_type"] == "Call").cloned().unwrap();
        log["first_index"].as_u64().unwrap()
    };
    let mut writers = under_load(&mut nodes, seed, |nodes, acknowledged| {
        goes_on(acknowledged, 30);
        nodes.stop(3);
        for _ in 0..3 {
            goes_on(acknowledged, 40);
            nodes.http(1).compact();
        }
        nodes.until("the log begins behind what the node has", |nodes| {
            nodes.http(1).compact();
            first_entry(nodes, nodes.leader(Some("Call"))) > 60
        });
        nodes.start(3);
        goes_on(acknowledged, 20);
    });
    everything_is_there(&nodes, &mut writers);
    // its log is lost: it says so, and takes no part
    nodes.stop(3);
    let logs = nodes.folder(3).join("stores/test/log");
    for entry in std::fs::read_dir(&logs).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        std::fs::remove_dir_all(entry.path()).unwrap();
    }
    nodes.start(3);
    let ready = nodes.http(3).get("/ready").expect(200);
    assert!(ready["damaged"].to_string().contains("must not vote"), "{ready}");
    nodes.http(3).get("streams/Call/w0-s0?consistency=local").expect_error(503, "unavailable");
    nodes.kill(3);
    nodes.start(4);
    nodes.until("it is a member", |nodes| {
        nodes.http(1).post("/admin/v1/cluster/replace", &json!({ "lost": 3, "with": 4 })).status == 200
    });
    for stream_type in ["Call", "Order"] {
        nodes.until("it votes in its place", |nodes| {
            let shard = nodes.shard(1, Some(stream_type));
            shard["settled"] == true && shard["voters"] == json!([1, 2, 4])
        });
    }
    everything_is_there(&nodes, &mut writers);
    nodes.stop_all();
}

#[test]
fn a_leader_is_drained_and_removed_under_load_and_nothing_is_lost() {
    let seed = seed("drained");
    let mut nodes = Nodes::begun(4, 3, KEYS, &[]);
    let mut writers = under_load(&mut nodes, seed, |nodes, acknowledged| {
        goes_on(acknowledged, 30);
        nodes.start(4);
        let leaving = nodes.leader(Some("Call"));
        let staying = (1..=4).find(|node| *node != leaving).unwrap();
        nodes.until("it is drained", |nodes| {
            nodes.http(staying).post("/admin/v1/cluster/drain", &json!({ "node": leaving })).status == 200
        });
        for stream_type in [None, Some("Call"), Some("Order")] {
            nodes.until("nobody counts on it", |nodes| {
                let shard = nodes.shard(staying, stream_type);
                let voters = shard["voters"].as_array().cloned().unwrap_or_default();
                shard["settled"] == true && voters.len() == 3 && !voters.contains(&json!(leaving))
            });
        }
        // nobody tells it any more what comes: others read in its place
        nodes.until("others read", |nodes| nodes.http(leaving).get("events?limit=1").status == 200);
        nodes.until("it is removed", |nodes| {
            nodes.http(staying).post("/admin/v1/cluster/remove", &json!({ "node": leaving })).status == 200
        });
        nodes.stop(leaving);
        goes_on(acknowledged, 30);
    });
    everything_is_there(&nodes, &mut writers);
    nodes.stop_all();
}
