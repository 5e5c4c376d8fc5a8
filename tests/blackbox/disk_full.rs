//! A full disk: 507, the store stays readable, and appends work again once there is room.
//!
//! The disk is a small tmpfs that only the node sees (a mount namespace of its own). Where the machine allows no such
//! namespace the test says so and ends.

use crate::harness::{Server, Store, program};
use serde_json::json;
use std::process::Command;
use std::time::{Duration, Instant};

const DISK_MB: u64 = 48;
const FILLER_MB: u64 = 16;

#[test]
fn a_full_disk_is_said_and_passes() {
    if !Command::new("unshare").args(["-r", "-m", "true"]).status().is_ok_and(|s| s.success()) {
        println!("disk_full: no mount namespaces on this machine, not run");
        return;
    }
    let store = Store::new(&["wal.rollover_mb = 4", "compaction.enabled = false", "inmemory.max_mb = 1"]);
    let server = start_on_a_small_disk(&store);
    let http = server.http();
    let filler = "x".repeat(50_000);
    let append = |n: u64| json!({"events": [{"event_type": "E", "data": {"n": n, "filler": filler}}]});
    let mut acknowledged = 0;
    let refused = loop {
        let answer = http.post("streams/T/s", &append(acknowledged));
        if answer.status != 201 {
            break answer;
        }
        acknowledged += 1;
        assert!(acknowledged < DISK_MB * 20, "the disk never gets full");
    };
    refused.expect_error(507, "disk_full");
    assert!(acknowledged > 20, "{acknowledged}");
    assert_eq!(http.get("streams/T/s/head").expect(200)["last_seq"], acknowledged);
    assert_eq!(http.stream("T", "s").len() as u64, acknowledged);

    // room again: the filler goes, seen through the node's own mounts
    std::fs::remove_file(format!("/proc/{}/root{}/filler", server.id(), store.path().display())).unwrap();
    let began = Instant::now();
    while http.post("streams/T/s", &append(acknowledged)).status != 201 {
        assert!(began.elapsed() < Duration::from_secs(30), "appends work again once there is room");
        std::thread::sleep(Duration::from_millis(100));
    }
    let events = http.stream("T", "s");
    assert_eq!(events.len() as u64, acknowledged + 1);
    assert_eq!(events.last().unwrap()["data"]["n"], acknowledged);
    server.stop();
}

fn start_on_a_small_disk(store: &Store) -> Server {
    let folder = store.path().display().to_string();
    let statement = std::fs::read_to_string(store.config()).unwrap();
    let script = format!(
        "mount -t tmpfs -o size={DISK_MB}m tmpfs {folder} && head -c {FILLER_MB}M /dev/zero > {folder}/filler && \
         printf '%s' \"$STATEMENT\" > {folder}/store.deql && exec \"$@\""
    );
    let mut command = Command::new("unshare");
    command.args(["-r", "-m", "sh", "-c", &script, "sh"]).arg(program().get_program()).args(store.serve_arguments());
    Server::start_from(command.env("STATEMENT", statement))
}
