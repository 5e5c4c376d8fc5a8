//! A node whose disk is full for some stream types, or fails: what was not done is never told as refused lines, and what it cannot do
//! any more is told.

use crate::common::{Running, start_with};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use strandline_testkit::faulty_disk::{DiskFault, FaultyDisk};
use strandline_workers::{NodeDisk, NodeOptions};

fn start(dir: &Path) -> Running {
    let disk = FaultyDisk::of_logs("Full");
    disk.set(DiskFault::NoRoom);
    start_with(dir, "", |options| NodeOptions { disk: NodeDisk(Arc::new(disk)), ..options })
}

fn line(stream_type: &str) -> String {
    format!("{{\"stream_type\":\"{stream_type}\",\"stream_id\":\"s\",\"event_type\":\"E\"}}\n")
}

#[test]
fn what_no_owner_could_store_is_never_201() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let send = |on_error: &str, body: &str| {
        server.post_as(&format!("events?on_error={on_error}"), "application/x-ndjson", body.as_bytes())
    };
    for (on_error, seq) in [("skip", 1), ("abort", 2)] {
        send(on_error, &line("Full")).error(507, "disk_full");
        let part = send(on_error, &format!("{}{}", line("Full"), line("Good"))).ok(207);
        assert_eq!((&part["appended"], &part["streams"][0]["stored"]), (&json!(1), &json!(false)), "{part}");
        assert_eq!(part["streams"][0]["code"], "disk_full");
        let stored =
            json!({"stream_type": "Good", "stream_id": "s", "stored": true, "first_seq": seq, "last_seq": seq});
        assert_eq!(part["streams"][1], stored);
        assert_eq!(part["rejected"], json!([]));
    }
    // a line that is wrong by itself does not make the rest look done
    send("skip", &format!("oops\n{}", line("Full"))).error(507, "disk_full");
    server.append("c", "{\"event_type\":\"E\"}").ok(201);
    server.post("streams/Full/s", "{\"events\":[{\"event_type\":\"E\"}]}").error(507, "disk_full");
}

#[test]
fn keys_of_subjects_that_cannot_be_written_are_told_of_the_stores_that_have_some() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::of_logs("keys");
    let (keys, below) = (folder.path().join("keys/subjects"), NodeDisk(Arc::new(disk.clone())));
    let server =
        start_with(folder.path(), "", |options| NodeOptions { subject_keys: Some(keys), disk: below, ..options });
    let gauge = || {
        let metrics = server.get("/metrics").text();
        let name = "strandline_subject_keys_degraded{store=\"s\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned)).unwrap()
    };
    let append =
        |stream: &str| server.post(&format!("streams/Person/{stream}"), "{\"events\":[{\"event_type\":\"E\"}]}");
    server.post("stream-types", "{\"name\":\"Person\",\"erasable\":\"stream\"}").ok(201);
    append("anna").ok(201);
    assert_eq!(gauge(), "0");

    disk.set(DiskFault::SyncsFail);
    assert_eq!(append("bert").status, 500, "a new subject");
    disk.set(DiskFault::Well);
    assert_eq!(append("bert").status, 500, "until the next start");
    assert_eq!(gauge(), "1");
    let ready = server.get("/ready").ok(200);
    assert_eq!((&ready["status"], &ready["degraded"][0]["store"]), (&json!("ready"), &json!("s")), "{ready}");
    append("anna").ok(201);
}
