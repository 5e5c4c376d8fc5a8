//! The Delta log of a real node, read by deltalake, Polars and DuckDB: while it stands still every row, while jobs run every snapshot.

use crate::harness::{Server, Store, root};
use crate::oracles::{ingest, names, oracle, python};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// Keys of the stores, and what is special about each.
const STORES: &[(&str, &[&str])] = &[
    ("plain", &[]),
    ("all-levels", &["partition.by = ('dt','stream_type','tenant_id')", "partition.dt.granularity = 'hour'"]),
    (
        "renamed",
        &[
            "partition.by = ('dt')",
            "envelope.seq_key = 'version'",
            "envelope.stream_id_key = 'aggregate_id'",
            "envelope.stream_type_key = 'aggregate_type'",
            "envelope.payload_key = 'body'",
            "envelope.event_id_key = 'id'",
            "envelope.occurred_at_key = 'when'",
            "envelope.event_version_key = 'Event_Version'",
            "stats.enabled = false",
        ],
    ),
];

#[test]
fn other_engines_read_the_delta_log() {
    for (name, keys) in STORES {
        let store = Store::new(keys);
        let mut server = store.start();
        let fields = names(&server);
        for part in 0..3 {
            ingest(&server, &fields, part);
            server.http().compact();
            if part == 1 {
                server.stop();
                server = store.start();
            }
        }
        let rows = server.http().scan();
        server.stop();
        let expected = store.path().join("expected.json");
        let all = json!({"name": name, "fields": fields, "rows": rows, "root": store.durable()});
        std::fs::write(&expected, all.to_string()).unwrap();
        oracle("delta_read.py", &[&expected]);
    }
}

#[test]
fn other_engines_read_checkpoints() {
    oracle("delta_fixtures.py", &[&root().join("crates/durable/fixtures/delta-v1")]);
}

/// Snapshots that the reader sees while jobs run.
const SNAPSHOTS: u64 = 24;
/// Batches that come while it reads one.
const PARTS: u64 = 3;

#[test]
fn each_snapshot_of_the_delta_log_is_one_state() {
    let store = Store::new(&["partition.by = ('dt')"]);
    let server = store.start();
    let fields = names(&server);
    let stop = store.path().join("stop");
    let mut reader = Command::new(python())
        .arg(root().join("tests/oracles/delta_follow.py"))
        .args([store.durable().as_os_str(), fields.to_string().as_ref(), stop.as_os_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines().map_while(Result::ok);
    let (done, mut seen) = (AtomicBool::new(false), Vec::new());
    std::thread::scope(|scope| {
        let (server, done) = (&server, &done);
        let jobs = scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                server.http().compact();
            }
        });
        for n in 0..SNAPSHOTS {
            (0..PARTS).for_each(|part| ingest(server, &fields, n * PARTS + part));
            // it ends early where it found something wrong
            seen.extend(lines.next());
        }
        done.store(true, Ordering::SeqCst);
        jobs.join().unwrap();
        server.http().compact();
        std::fs::write(&stop, "").unwrap();
    });
    seen.extend(lines);
    let said = reader.wait_with_output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let snapshots: Vec<Value> = seen.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(snapshots.len() as u64 > SNAPSHOTS, "the reader saw {} snapshots", snapshots.len());
    assert_eq!(snapshots.last().unwrap()["rows"], SNAPSHOTS * PARTS * 400);
    let rows = rows_of_versions(&server);
    let mut compared = 0;
    for snapshot in &snapshots {
        if let Some(rows) = rows.get(&snapshot["manifest"].as_u64().unwrap()) {
            assert_eq!(snapshot["rows"], *rows, "{snapshot}");
            compared += 1;
        }
    }
    assert!(compared > 1, "the history of manifests is too short to compare with");
    let metrics = server.http().get("/metrics").text();
    assert!(metrics.contains("strandline_delta_behind{store=\"test\"} 0\n"), "{metrics}");
    assert!(metrics.contains("strandline_delta_failures_total{store=\"test\"} 0\n"), "{metrics}");
    server.stop();
    store.assert_clean();
}

/// Rows of each manifest version, as the node tells its history.
fn rows_of_versions(server: &Server) -> BTreeMap<u64, u64> {
    let manifest = server.http().get("/admin/v1/stores/test/manifest").expect(200);
    let versions = manifest["history"].as_array().unwrap().iter();
    versions.map(|v| (v["version"].as_u64().unwrap(), v["rows"].as_u64().unwrap())).collect()
}
