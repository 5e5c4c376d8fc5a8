//! The routes of retention: what would go, what went, what comes back, and what an append is told meanwhile.

use super::common::start;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const KEYS: &str =
    ", partition.by = 'dt', partition.dt.expr = 'DATE(occurred_at)', id.command_id.unique_scope = 'stream'";

fn event(at: &str, command: &str) -> String {
    format!("{{\"event_type\":\"E\",\"data\":1,\"occurred_at\":\"{at}\",\"command_id\":\"{command}\"}}")
}

#[test]
fn nothing_goes_unless_it_is_declared() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), KEYS);
    server.append("a", &event("2001-02-03T04:05:06Z", "c")).ok(201);
    server.post("admin:compaction/run?wait=true", "").ok(200);
    let went = server.post("admin:retention/run", "").ok(200);
    assert_eq!((&went["enabled"], &went["files"]), (&json!(false), &json!(0)));
    assert_eq!(server.get("admin:retention").ok(200)["candidates"], json!([]));
}

#[test]
fn old_events_go_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), &format!("{KEYS}, retention.enabled = true"));
    for (at, command) in
        [("2001-02-03T04:05:06Z", "c1"), ("2001-02-04T04:05:06Z", "c2"), ("2026-01-01T00:00:00Z", "c3")]
    {
        server.append("a", &event(at, command)).ok(201);
    }
    server.post("admin:compaction/run?wait=true", "").ok(200);
    let status = server.get("admin:retention").ok(200);
    assert_eq!((status["candidates"].as_array().unwrap().len(), &status["tombstones"]), (2, &json!([])), "{status}");
    let bytes: u64 = status["candidates"].as_array().unwrap().iter().map(|file| file["bytes"].as_u64().unwrap()).sum();
    let went = server.post("admin:retention/run", "").ok(200);
    assert_eq!((&went["files"], &went["events"], &went["error"]), (&json!(2), &json!(2), &Value::Null), "{went}");
    let page = server.get("streams/Call/a").ok(200);
    assert_eq!((page["events"].as_array().unwrap().len(), &page["last_seq"]), (1, &json!(3)));
    assert_eq!(page["verdict"]["retired"], json!([{ "from_seq": 1, "to_seq": 2 }]));
    assert_eq!((&page["verdict"]["contiguous"], &page["verdict"]["missing"]), (&json!(true), &json!([])));
    assert_eq!(server.get("streams/Call/a/head").ok(200), json!({ "last_seq": 3, "first_seq": 3 }));

    let again = server.append("a", &event("2001-02-03T04:05:06Z", "c1")).ok(200);
    assert_eq!((&again["duplicate"], &again["first_seq"]), (&json!(true), &json!(1)), "{again}");
    assert_eq!((&again["events"][0]["event_id"], again["events"][0]["ingested_at"].is_string()), (&Value::Null, true));
    let taken = "{\"event_type\":\"E\",\"data\":1,\"occurred_at\":\"2001-02-03T04:05:06Z\",\"seq\":1}";
    server.append("a", taken).error(409, "seq_conflict");

    server.post("admin:retention/restore", "{\"partition\": 7}").error(400, "bad_request");
    server.post("admin:restore", "{\"partitions\": {}}").error(400, "bad_request");
    for strange in ["\"day=2001-02-04\"", "{\"dt\": \"2001-02-04\", \"tenant_id\": \"a\"}"] {
        let refused = server.post("admin:restore", &format!("{{\"partition\": {strange}}}")).error(400, "bad_request");
        assert_eq!(refused["details"]["columns"], json!(["dt"]), "{refused}");
    }
    let none = server.post("admin:restore", "{\"partition\": \"dt=1999-01-01\"}").ok(200);
    assert_eq!(none["files"], 0);
    let one = server.post("admin:restore", "{\"partition\": \"dt=2001-02-04\"}").ok(200);
    assert_eq!((&one["files"], &one["ranges"], &one["kind"]), (&json!(1), &json!(1), &json!("restore")));
    let page = server.get("streams/Call/a").ok(200);
    assert_eq!(page["verdict"]["retired"], json!([{ "from_seq": 1, "to_seq": 1 }]));
    let rest = server.post("admin:retention/restore", "{\"partition\": {\"dt\": \"2001-02-03\"}}").ok(200);
    assert_eq!(rest["files"], 1);
    assert_eq!(server.get("streams/Call/a").ok(200)["events"].as_array().unwrap().len(), 3);
    let status = server.get("admin:retention").ok(200);
    assert_eq!((&status["tombstones"], status["runs"].as_array().unwrap().len()), (&json!([]), 4), "{status}");
    let metrics = server.get("/metrics").text();
    assert!(bytes > 0 && went["bytes"] == bytes, "{went}");
    for line in [
        &*format!("strandline_retention_bytes_total {bytes}"),
        "strandline_retention_runs_total 4",
        "strandline_retention_runs_failed_total 0",
        "strandline_retention_files_total 2",
        "strandline_retention_events_total 2",
        "strandline_restored_files_total 2",
        "strandline_tombstone_files{store=\"s\"} 0",
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line} is not in\n{metrics}");
    }
}

/// The files below a folder whose paths have this part.
fn files_of(folder: &Path, part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_of(&path, part));
        } else if path.to_string_lossy().contains(part) {
            found.push(path);
        }
    }
    found
}

/// Where files go hard, nothing is left of them under any name when the answer is there: their own, one of what was replaced, or the
/// Delta log's link, which would keep the bytes.
#[test]
fn what_goes_hard_is_gone_with_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), &format!("{KEYS}, retention.enabled = true, retention.delete_mode = 'hard'"));
    for (at, command) in [("2001-02-03T04:05:06Z", "c1"), ("2026-01-01T00:00:00Z", "c2")] {
        server.append("a", &event(at, command)).ok(201);
    }
    server.post("admin:compaction/run?wait=true", "").ok(200);
    let old = || files_of(&folder.path().join("durable"), "dt=2001-02-03");
    assert_eq!(old().len(), 2, "its own name and a link: {:?}", old());
    let went = server.post("admin:retention/run", "").ok(200);
    assert_eq!((&went["files"], &went["events"], &went["error"]), (&json!(1), &json!(1), &Value::Null), "{went}");
    assert_eq!(old(), Vec::<PathBuf>::new());
    assert_eq!(server.get("admin:retention").ok(200)["tombstones"], json!([]));
    assert_eq!(server.post("admin:restore", "{}").ok(200)["files"], 0, "there is nothing to bring back");
    let page = server.get("streams/Call/a").ok(200);
    assert_eq!((page["events"].as_array().unwrap().len(), &page["last_seq"]), (1, &json!(2)));
    assert_eq!(page["verdict"]["retired"], json!([{ "from_seq": 1, "to_seq": 1 }]));
}
