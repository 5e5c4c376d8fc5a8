//! The Delta log of a real node, read by deltalake, Polars and DuckDB: while it stands still every row, while jobs run every snapshot.

use crate::harness::{Server, Store, root};
use crate::oracles::{ingest, names, oracle, python};
use serde_json::{Value, json};
use std::collections::BTreeMap;
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
            "envelope.stream_type_key = 'aggregate type'",
            "envelope.payload_key = 'body'",
            "envelope.event_id_key = 'id'",
            "envelope.occurred_at_key = 'when'",
            "envelope.event_version_key = 'Version.of'",
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
fn each_snapshot_of_the_delta_log_is_one_state() {
    let store = Store::new(&["partition.by = ('dt')", "compaction.target_file_mb = 1", "compaction.max_file_mb = 2"]);
    let server = store.start();
    let fields = names(&server);
    let stop = store.path().join("stop");
    let reader = Command::new(python())
        .arg(root().join("tests/oracles/delta_follow.py"))
        .args([store.durable().as_os_str(), fields.to_string().as_ref(), stop.as_os_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for part in 0..40 {
                ingest(&server, &fields, part);
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            server.http().compact();
        }
    });
    server.http().compact();
    std::fs::write(&stop, "").unwrap();
    let said = reader.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success(), "{text}{}", String::from_utf8_lossy(&said.stderr));
    let snapshots: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rows = rows_of_versions(&server);
    for snapshot in &snapshots {
        let manifest = snapshot["manifest"].as_u64().unwrap();
        assert_eq!(snapshot["rows"].as_u64(), rows.get(&manifest).copied(), "{snapshot}");
    }
    assert!(snapshots.len() > 10, "the reader saw {} snapshots only", snapshots.len());
    assert_eq!(snapshots.last().unwrap()["rows"], 40 * 400);
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
