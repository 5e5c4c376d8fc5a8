//! An acknowledged append is never lost and never doubled, at kill -9 at any moment.
//!
//! ```text
//!  round: load from several clients, compaction again and again, a follower of the global order
//!         ... SIGKILL at a random moment ... start again
//!         every client asks again for the one append whose answer it never got, then all streams are compared
//! ```
//!
//! The store is small on purpose: segments of 1 MB and compaction from 1 MB, so that rollover, compaction and trimming
//! are hit as often as appends. Rounds: `STRANDLINE_TEST_ROUNDS` (20).

mod client;
mod follower;

use crate::harness::{Random, Store, seed, setting};
use client::Client;
use follower::Follower;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

const KEYS: &[&str] = &[
    "wal.rollover_mb = 1",
    "wal.retention_hours = 0",
    "compaction.min_segment_mb = 1",
    "inmemory.max_mb = 4",
    "inmemory.ttl_seconds = 1",
    "partition.by = ('dt')",
    "id.command_id.unique_scope = 'stream'",
];

/// Clients that append to one stream at a time, and clients that load in bulk.
const STREAM_CLIENTS: u64 = 3;
const BULK_CLIENTS: u64 = 2;

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kill_9() {
    let mut random = Random(seed("kill9"));
    let rounds = setting("STRANDLINE_TEST_ROUNDS", 20);
    let store = Store::new(KEYS);
    let mut clients: Vec<Client> = (0..STREAM_CLIENTS + BULK_CLIENTS)
        .map(|number| Client::new(number, number >= STREAM_CLIENTS, random.next()))
        .collect();
    let mut follower = Follower::default();
    for round in 0..rounds {
        let server = store.start();
        let http = server.http();
        clients.iter_mut().for_each(|client| client.settle(&http));
        clients.iter_mut().for_each(|client| client.ask_again(&http));
        let whole = round % 5 == 4;
        clients.iter().for_each(|client| client.compare(&http, whole));
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
        println!(
            "kill9: round {round}: killed after {after:?}, {} events",
            clients.iter().map(Client::events).sum::<u64>()
        );
    }
    the_end(&store, &mut clients, &mut follower);
}

fn compact_until_it_dies(http: &crate::harness::Http) {
    let run = "/admin/v1/stores/test/compaction/run?wait=true";
    while http.try_post(run, "application/json", b"").is_ok() {
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn the_end(store: &Store, clients: &mut [Client], follower: &mut Follower) {
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
    assert!(wanted > 0, "the load did nothing");
    assert_eq!(count_by_stream(&http.scan()), counts(clients), "scan");
    follower.catch_up(&http);
    assert_eq!(follower.seen(), wanted, "the follower saw each event once");
    let files = http.get("/admin/v1/stores/test/files").expect(200);
    assert!(!files["files"].as_array().unwrap().is_empty(), "compaction was hit");
    server.stop();
    store.assert_clean();
}

fn counts(clients: &[Client]) -> BTreeMap<String, u64> {
    clients.iter().flat_map(Client::counts).collect()
}

fn count_by_stream(events: &[Value]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for event in events {
        *counts.entry(event["stream_id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}
