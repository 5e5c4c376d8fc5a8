//! Runs of every kind: of heads and commands, which each job writes, of ranges that retention took, and of more marks of chunks than a version
//! lists. They hold no texts, but hashes without a key, which tell who knows a stream id that the stream is there.

use super::damage::kinds;
use super::{Encrypted, assert_sealed, event, files_below, folders, nothing_planted_in};
use crate::harness::{Server, Store};
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use strandline_event::hash::stream_hash;

/// What runs are of.
pub(super) const RUNS: [&str; 4] = ["heads", "commands", "chunks", "retired"];

/// With these a store gets all of them.
pub(super) const KEYS: [&str; 6] = [
    "partition.by = ('tenant_id')",
    "id.command_id.unique_scope = 'stream'",
    "compaction.trigger = 'time'",
    "compaction.schedule = '0 0 1 1 *'",
    "wal.rollover_mb = 1",
    "retention.enabled = true",
];

/// Leaves one event that is there: of the first stream.
pub(super) fn make_every_run(server: &Server, store: &Store) {
    let old = |n: usize| {
        let mut event = event(n);
        event["occurred_at"] = json!("2010-01-02T10:00:00Z");
        event
    };
    server.http().bulk(&(1000..1014).map(old).collect::<Vec<_>>());
    server.http().compact();
    let went = server.http().post("/admin/v1/stores/test/retention/run", &json!({})).expect(200);
    assert_eq!(went["events"], 14, "{went}");
    // each row of a chunk that is refused has a mark
    let good = json!({"stream_type": "Call", "stream_id": "planted-stream-0", "event_type": "PlantedEvent", "tenant_id": "planted-tenant-0",
        "occurred_at": "2026-01-02T10:00:00Z", "data": {}});
    let mut bad = good.clone();
    bad["seq"] = json!(99_999);
    let text = (0..1100).fold(format!("{good}\n"), |mut text, _| {
        let _ = writeln!(text, "{bad}");
        text
    });
    let file = store.path().join("refused.ndjson");
    fs::write(&file, text).unwrap();
    let said = server.client(&["ingest", &file.to_string_lossy(), "--on-error", "skip"]);
    assert!(said.stdout.contains("appended 1,") && said.stdout.contains("refused 1100"), "{said:?}");
    server.http().compact();
    let kinds = kinds(store);
    assert!(RUNS.iter().all(|of| kinds.contains_key(&format!("run of {of}"))), "{:?}", kinds.keys());
}

/// Files below the store's folders that hold the hash of the first stream.
fn holding_its_hash(store: &Store) -> Vec<String> {
    let hash = stream_hash("planted-stream-0").to_be_bytes();
    let holds = |path: &Path| fs::read(path).unwrap().windows(hash.len()).any(|part| part == hash);
    let files = folders(store).iter().flat_map(|folder| files_below(folder)).collect::<Vec<_>>();
    files.iter().filter(|path| holds(path)).map(|path| path.to_string_lossy().into_owned()).collect()
}

#[test]
fn no_run_says_which_streams_there_are() {
    let store = Store::new(&KEYS);
    let server = store.start();
    make_every_run(&server, &store);
    server.stop();
    let told = holding_its_hash(&store);
    for of in ["heads-", "commands-", "retired-"] {
        assert!(told.iter().any(|path| path.contains(of)), "what is not encrypted is found: {of}: {told:?}");
    }
    let encrypted = Encrypted::new(true, &KEYS);
    let server = encrypted.store.start();
    make_every_run(&server, &encrypted.store);
    server.stop();
    assert_eq!(holding_its_hash(&encrypted.store), [] as [String; 0]);
    assert!(nothing_planted_in(&encrypted.store) > 8);
    assert_sealed(&encrypted.store.durable());
    encrypted.store.assert_clean();
    // what they are read for
    let server = encrypted.store.start();
    let page = server.http().get("streams/Call/planted-stream-0").expect(200);
    let ranges = page["verdict"]["retired"].as_array().unwrap().iter();
    let retired = ranges.flat_map(|range| range["from_seq"].as_u64().unwrap()..=range["to_seq"].as_u64().unwrap());
    assert!(retired.eq([1, 2]), "{page}");
    assert_eq!(page["events"].as_array().unwrap().len(), 1, "{page}");
    let file = encrypted.store.path().join("refused.ndjson");
    let again = server.client(&["ingest", &file.to_string_lossy(), "--on-error", "skip"]);
    assert!(again.stdout.contains("appended 0,") && again.stdout.contains("already there 1"), "{again:?}");
    server.stop();
}
