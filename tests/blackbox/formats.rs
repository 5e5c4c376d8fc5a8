//! `--format` of the commands that look inside: the same for people and for programs.

use crate::harness::{Store, run, run_command};
use serde_json::Value;

#[test]
fn findings_are_lines_or_one_object() {
    let store = Store::new(&[]);
    let server = store.start();
    server.client(&["append", "--stream-type", "T", "--stream-id", "s", "--event-type", "E"]);
    server.http().compact();
    let paths = server.client(&["files", "--format", "paths"]);
    server.stop();
    let as_json = || {
        let arguments = store.serve_arguments();
        let mut command = store.program();
        command.arg("verify").args(&arguments[1..5]).args(["--format", "json"]);
        let finished = run_command(command, b"");
        let told: Value = serde_json::from_str(&finished.stdout).unwrap();
        (finished.code, told)
    };
    let (code, clean) = as_json();
    assert_eq!(
        (code, &clean["clean"], &clean["stores"][0]["events"]),
        (0, &Value::Bool(true), &Value::from(1)),
        "{clean}"
    );
    let path = paths.stdout.lines().next().unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0x55;
    std::fs::write(path, bytes).unwrap();
    let (code, told) = as_json();
    let one = &told["stores"][0];
    assert_eq!((code, &told["clean"], &one["store"]), (1, &Value::Bool(false), &Value::from("test")), "{told}");
    let place = one["findings"][0]["place"].as_str().unwrap();
    assert!(store.verify().stdout.contains(place), "the same findings: {told}");
}

#[test]
fn a_manifest_is_shown_as_json_or_as_tables() {
    let store = Store::new(&[]);
    let server = store.start();
    server.client(&["append", "--stream-type", "T", "--stream-id", "s", "--event-type", "E"]);
    server.http().compact();
    let json = server.client(&["manifest", "show", "--format", "json"]);
    let manifest: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(server.client(&["manifest", "show"]).stdout, json.stdout);
    let table = server.client(&["manifest", "show", "--format", "table"]);
    let version = format!("version {}", manifest["version"]);
    for part in [version.as_str(), "compacted_through", "committed_at", "│ T "] {
        assert!(table.stdout.contains(part), "{part} is not in\n{}", table.stdout);
    }
    assert!(!table.stdout.contains("--before"), "that is all of them");
    // page by page, of the node and of the disk
    let newest = manifest["version"].as_u64().unwrap();
    let last = server.client(&["manifest", "show", "--limit", "1", "--format", "table"]);
    assert!(last.stdout.contains(&format!("older ones: --before {newest}")), "{}", last.stdout);
    let before = newest.to_string();
    let page = ["manifest", "show", "--limit", "1", "--before", before.as_str()];
    let older: Value = serde_json::from_str(&server.client(&page).stdout).unwrap();
    assert_eq!(older["history"], Value::Array(vec![manifest["history"][1].clone()]));
    server.stop();
    let config = store.config().to_string_lossy().into_owned();
    let on_disk = run(&[&page[..], &["--config", config.as_str()]].concat());
    assert_eq!(serde_json::from_str::<Value>(&on_disk.stdout).unwrap()["history"], older["history"], "{on_disk:?}");
}
