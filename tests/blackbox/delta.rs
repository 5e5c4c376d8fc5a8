//! The Delta log of a real node, read by deltalake, Polars and DuckDB: while it stands still every row, while jobs run every snapshot.

use crate::harness::{Server, Store, root};
use crate::oracles::{ingest, names, oracle, python};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Keys of the stores, and what is special about each.
const STORES: &[(&str, &[&str])] = &[
    ("plain", &[]),
    ("without-log", &["partition.by = ('dt')"]),
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
        // there each append is a commit, and a version of the Delta log
        let store = if *name == "without-log" { Store::without_log(keys) } else { Store::new(keys) };
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
    let load = |n| (0..PARTS).for_each(|part| ingest(&server, &fields, n * PARTS + part));
    let snapshots = followed(&store, &server, &fields, None, &load, &[&|_| server.http().compact()]);
    server.http().compact();
    let snapshots = snapshots.end(&server);
    assert_eq!(snapshots.last().unwrap()["rows"], SNAPSHOTS * PARTS * 400);
    server.stop();
    store.assert_clean();
}

/// Every third event of a stream is so old that retention may take it.
const OLD_EVERY: u64 = 3;
const METERS: u64 = 20;
/// Events of each stream that come at once.
const READINGS: u64 = 2 * OLD_EVERY;

/// The next events of all streams.
fn aging(server: &Server, n: u64) {
    let line = |seq: u64, meter: u64| {
        let day = 1 + meter % 2;
        let when = if seq.is_multiple_of(OLD_EVERY) { "1990-01" } else { "2026-11" };
        json!({"stream_type": "Meter", "stream_id": format!("m{meter}"), "event_type": "Read", "data": {"n": seq},
               "occurred_at": format!("{when}-{day:02}T12:00:00Z")})
    };
    let seqs = n * READINGS + 1..=(n + 1) * READINGS;
    server.http().bulk(&seqs.flat_map(|seq| (0..METERS).map(move |meter| line(seq, meter))).collect::<Vec<_>>());
}

/// Files of old days are live, under a tombstone, live again; nobody sees a part of such a step, or misses anything else.
#[test]
fn each_snapshot_of_the_delta_log_is_one_state_while_retention_runs_too() {
    let keys = ["partition.by = ('dt')", "retention.enabled = true", "retention.durable_days = 7300"];
    let store = Store::new(&keys);
    let server = store.start();
    let fields = names(&server);
    let load = |n| (0..PARTS).for_each(|part| aging(&server, n * PARTS + part));
    let admin = |what: &str| {
        let done = server.http().post(&format!("/admin/v1/stores/test/{what}"), &json!({})).expect(200);
        assert_eq!(done["error"], Value::Null, "{what}: {done}");
        done["events"].as_u64().unwrap()
    };
    let (went, came) = (AtomicU64::new(0), AtomicU64::new(0));
    let retention = |round: u64| {
        if round % 4 == 3 {
            came.fetch_add(admin("restore"), Ordering::SeqCst);
        } else {
            went.fetch_add(admin("retention/run"), Ordering::SeqCst);
        }
    };
    let snapshots =
        followed(&store, &server, &fields, Some(OLD_EVERY), &load, &[&|_| server.http().compact(), &retention]);
    server.http().compact();
    went.fetch_add(admin("retention/run"), Ordering::SeqCst);
    let snapshots = snapshots.end(&server);
    let (went, came) = (went.into_inner(), came.into_inner());
    let all = SNAPSHOTS * PARTS * READINGS * METERS;
    assert!(came > 0 && went == came + all / OLD_EVERY, "{went} went and {came} came back of {all}");
    assert_eq!(snapshots.last().unwrap()["rows"], all - all / OLD_EVERY);
    server.stop();
    store.assert_clean();
}

/// What a reader of the Delta log said so far, and what the node said of its versions.
struct Followed {
    reader: Child,
    lines: Box<dyn Iterator<Item = String>>,
    stop: PathBuf,
    seen: Vec<String>,
    rows: BTreeMap<u64, u64>,
}

/// Loads a store while others work on it and a reader follows its Delta log; `old_every`: which events may be retired.
fn followed(
    store: &Store,
    server: &Server,
    fields: &Value,
    old_every: Option<u64>,
    load: &dyn Fn(u64),
    works: &[&(dyn Fn(u64) + Sync)],
) -> Followed {
    let stop = store.path().join("stop");
    let mut reader = Command::new(python())
        .arg(root().join("tests/oracles/delta_follow.py"))
        .args([store.durable().as_os_str(), fields.to_string().as_ref(), stop.as_os_str()])
        .args(old_every.map(|n| n.to_string()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines().map_while(Result::ok);
    let (done, mut seen, mut rows) = (AtomicBool::new(false), Vec::new(), BTreeMap::new());
    std::thread::scope(|scope| {
        let done = &done;
        let works: Vec<_> = works
            .iter()
            .map(|work| scope.spawn(move || (0..).take_while(|_| !done.load(Ordering::SeqCst)).for_each(work)))
            .collect();
        for n in 0..SNAPSHOTS {
            load(n);
            // it ends early where it found something wrong
            seen.extend(lines.next());
            rows.extend(rows_of_versions(server));
        }
        done.store(true, Ordering::SeqCst);
        works.into_iter().for_each(|work| work.join().unwrap());
    });
    Followed { reader, lines: Box::new(lines), stop, seen, rows }
}

impl Followed {
    /// Lets the reader read what is there now, and compares what it saw with the manifests. Gives the snapshots.
    fn end(mut self, server: &Server) -> Vec<Value> {
        std::fs::write(&self.stop, "").unwrap();
        self.seen.extend(self.lines);
        let said = self.reader.wait_with_output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let snapshots: Vec<Value> = self.seen.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(snapshots.len() as u64 > SNAPSHOTS, "the reader saw {} snapshots", snapshots.len());
        self.rows.extend(rows_of_versions(server));
        let mut compared = 0;
        for snapshot in &snapshots {
            // a node tells the last hundred versions
            if let Some(rows) = self.rows.get(&snapshot["manifest"].as_u64().unwrap()) {
                assert_eq!(snapshot["rows"], *rows, "{snapshot}");
                compared += 1;
            }
        }
        assert!(2 * compared > snapshots.len(), "{compared} of {} were compared", snapshots.len());
        let metrics = server.http().get("/metrics").text();
        assert!(metrics.contains("strandline_delta_behind{store=\"test\"} 0\n"), "{metrics}");
        assert!(metrics.contains("strandline_delta_failures_total{store=\"test\"} 0\n"), "{metrics}");
        snapshots
    }
}

/// Rows of the newest manifest versions, as the node tells its history.
fn rows_of_versions(server: &Server) -> BTreeMap<u64, u64> {
    let manifest = server.http().get("/admin/v1/stores/test/manifest").expect(200);
    let versions = manifest["history"].as_array().unwrap().iter();
    versions.map(|v| (v["version"].as_u64().unwrap(), v["rows"].as_u64().unwrap())).collect()
}
