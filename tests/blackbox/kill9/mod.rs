//! An acknowledged append is never lost and never doubled, at kill -9 at any moment.
//!
//! ```text
//!  round: load from several clients on three stream types, compaction and merges again and again, a follower of the global order
//!         ... SIGKILL at the round's moment ... what the disk says of that moment ... start again
//!         every client asks again for the one append whose answer it never got, then all streams are compared
//! ```
//!
//! The store is small on purpose: segments of 1 MB and compaction from 1 MB. A fifth of the rounds kills at a random moment,
//! the others in the middle of a rollover, of a job, of a merge, of a trim (see `moment`); rounds are added until each was met. A
//! node that lives must not answer 5xx. Rounds: `STRANDLINE_TEST_ROUNDS` (20); a store without a log takes a third of them.

mod client;
mod follower;
mod moment;

use crate::harness::{Http, Random, Server, Store, seed, setting};
use client::Client;
use follower::Follower;
use moment::{Kind, Met, Watch};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const KEYS: &[&str] = &[
    "wal.rollover_mb = 1",
    "wal.retention_hours = 0",
    "compaction.min_segment_mb = 1",
    // never in a test: who merges is known
    "compaction.schedule = '0 0 29 2 *'",
    "inmemory.max_mb = 4",
    "inmemory.ttl_seconds = 1",
    "partition.by = ('dt')",
    "id.command_id.unique_scope = 'stream'",
];

/// One log and one writer each.
const STREAM_TYPES: [&str; 3] = ["Account", "Meter", "Order"];

/// Clients that append to one stream at a time, and clients that load in bulk.
const STREAM_CLIENTS: u64 = 3;
const BULK_CLIENTS: u64 = 2;

/// Of a store without a log, where an append is acknowledged when its Parquet commit is done.
const KEYS_WITHOUT_LOG: &[&str] = &[
    "inmemory.enabled = true",
    "inmemory.ttl_seconds = 1",
    "partition.by = ('stream_type')",
    "id.command_id.unique_scope = 'stream'",
];

/// Rounds that are added until every kind of moment was met.
const MORE_ROUNDS_MAX: u64 = 30;

fn new_clients(random: &mut Random) -> Vec<Client> {
    let numbers = 0..STREAM_CLIENTS + BULK_CLIENTS;
    numbers.map(|number| Client::new(number, number >= STREAM_CLIENTS, random.next())).collect()
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kill_9_without_a_log() {
    let mut random = Random(seed("kill9 without a log"));
    let store = Store::without_log(KEYS_WITHOUT_LOG);
    let mut clients = new_clients(&mut random);
    let mut follower = Follower::default();
    for round in 0..setting("STRANDLINE_TEST_ROUNDS", 20).div_ceil(3) {
        let server = store.start();
        let http = server.http();
        clients.iter_mut().for_each(|client| client.settle(&http));
        clients.iter_mut().for_each(|client| client.ask_again(&http));
        clients.iter().for_each(|client| client.compare(&http, round % 3 == 2));
        let after = Duration::from_millis(30 + random.below(1_200));
        std::thread::scope(|scope| {
            for client in &mut clients {
                let http = http.clone();
                scope.spawn(move || client.load(&http));
            }
            let (compacting, following, follower) = (http.clone(), http.clone(), &mut follower);
            scope.spawn(move || compact_until_it_dies(&compacting));
            scope.spawn(move || follower.follow_until_it_dies(&following));
            std::thread::sleep(after);
            server.kill();
        });
        println!("kill9: round {round}: {after:?}, {} events", clients.iter().map(Client::events).sum::<u64>());
    }
    the_end(&store, &mut clients, &mut follower, |http| {
        assert_eq!(http.get("/admin/v1/stores/test/wal").expect(200)["logs"], serde_json::json!([]));
        files_were_merged(http);
    });
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kill_9() {
    torture(&Store::new(KEYS), setting("STRANDLINE_TEST_ROUNDS", 20));
}

/// Loads and kills a store again and again.
pub(crate) fn torture(store: &Store, rounds: u64) {
    let mut random = Random(seed("kill9"));
    let mut clients = new_clients(&mut random);
    let mut follower = Follower::default();
    let mut met = Met::default();
    for round in 0..rounds + MORE_ROUNDS_MAX {
        let Some(kind) = (if round < rounds { Some(Kind::of(round)) } else { met.unmet() }) else { break };
        let server = store.start();
        let http = server.http();
        clients.iter_mut().for_each(|client| client.settle(&http));
        clients.iter_mut().for_each(|client| client.ask_again(&http));
        let whole = round % 5 == 4;
        clients.iter().for_each(|client| client.compare(&http, whole));
        let watch = Watch::new(store, kind, Duration::from_millis(30 + random.below(1_200)));
        let said = load_until_killed(server, &watch, &mut clients, &mut follower);
        met.examine(&watch);
        println!("kill9: round {round}: {said}, {} events; {met}", clients.iter().map(Client::events).sum::<u64>());
    }
    assert_eq!(met.unmet(), None, "kills met {met}");
    the_end(store, &mut clients, &mut follower, every_log_went_through_its_life);
}

/// Gives what the round's moment was.
fn load_until_killed(server: Server, watch: &Watch, clients: &mut [Client], follower: &mut Follower) -> String {
    let http = server.http();
    std::thread::scope(|scope| {
        for client in clients {
            let http = http.clone();
            scope.spawn(move || client.load(&http));
        }
        let (compacting, following) = (http.clone(), http.clone());
        if watch.kind().compacts_by_hand() {
            scope.spawn(move || compact_until_it_dies(&compacting));
        }
        scope.spawn(move || follower.follow_until_it_dies(&following));
        // whatever happens, the node goes: the threads above end with it
        let said = watch.wait(&http);
        server.kill();
        said
    })
    .unwrap_or_else(|never| panic!("{never}"))
}

fn compact_until_it_dies(http: &Http) {
    let run = "/admin/v1/stores/test/compaction/run?wait=true";
    while let Ok(answer) = http.try_post(run, "application/json", b"") {
        for job in answer.expect(200)["ended"].as_array().unwrap() {
            assert_eq!((&job["error"], &job["cancelled"]), (&Value::Null, &Value::Bool(false)), "{job}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn the_end(store: &Store, clients: &mut [Client], follower: &mut Follower, at_last: impl Fn(&Http)) {
    let server = store.start();
    let http = server.http();
    clients.iter_mut().for_each(|client| client.settle(&http));
    clients.iter().for_each(|client| client.compare(&http, true));
    server.stop();
    store.assert_clean();
    let server = store.start();
    let http = server.http();
    http.compact();
    clients.iter().for_each(|client| client.compare(&http, true));
    let wanted: u64 = clients.iter().map(Client::events).sum();
    assert_eq!(count_by_stream(&http.scan()), counts(clients), "scan");
    follower.catch_up(&http);
    assert_eq!(follower.seen(), wanted, "the follower saw each event once");
    at_last(&http);
    server.stop();
    store.assert_clean();
}

/// Each of the logs rolled over, was compacted and was trimmed; files were merged.
fn every_log_went_through_its_life(http: &Http) {
    let wal = http.get("/admin/v1/stores/test/wal").expect(200);
    let logs = wal["logs"].as_array().unwrap();
    assert_eq!(logs.len(), STREAM_TYPES.len(), "{wal}");
    let files = http.get("/admin/v1/stores/test/files").expect(200);
    for log in logs {
        let number = |name: &str| log[name].as_u64().unwrap();
        assert!(number("first_index") > 1 && number("watermark") >= number("first_index") - 1, "trimmed: {log}");
        let of_log = |file: &&Value| file["stream_type"] == log["stream_type"];
        assert!(files["files"].as_array().unwrap().iter().any(|file| of_log(&file)), "compacted: {log}");
    }
    files_were_merged(http);
}

fn files_were_merged(http: &Http) {
    let manifest = http.get("/admin/v1/stores/test/manifest").expect(200);
    assert!(manifest["replaced"]["files"].as_u64().unwrap() > 3, "merged: {manifest}");
}

fn counts(clients: &[Client]) -> BTreeMap<String, u64> {
    clients.iter().flat_map(Client::counts).collect()
}

fn count_by_stream(events: &[Value]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for event in events {
        *counts.entry(stream_of(event)).or_default() += 1;
    }
    counts
}

/// Stream type and id of an event, as one text.
fn stream_of(event: &Value) -> String {
    format!("{}/{}", event["stream_type"].as_str().unwrap(), event["stream_id"].as_str().unwrap())
}
