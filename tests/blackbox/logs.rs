//! The log: text for people, JSON for programs, and a filter that is not understood is refused.

use crate::harness::{Server, Store, run_command};
use serde_json::{Value, json};

#[test]
fn a_log_as_json_is_one_object_a_line() {
    // inactive while retention is off: the start says so
    let store = Store::new(&["retention.durable_days = 7"]);
    let mut command = store.program();
    command.args(store.serve_arguments()).args(["--log-format", "json"]).env("STRANDLINE_LOG", "info");
    let server = Server::start_from(&mut command);
    server.http().post("streams/T/s", &json!({"events": [{"event_type": "E"}]})).expect(201);
    let ended = server.finish();
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "no {field} in {line}");
        }
    }
    assert!(lines.iter().any(|line| line["message"].as_str().unwrap().contains("shutting down")), "{lines:?}");
}

#[test]
fn a_first_start_warns_of_nothing_and_says_what_it_made() {
    let store = Store::new(&[]);
    let mut command = store.program();
    command.args(store.serve_arguments()).args(["--log-format", "json"]).env_remove("STRANDLINE_LOG");
    let ended = Server::start_from(&mut command).finish();
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["level"] == "INFO"), "{lines:?}");
    let made = |line: &Value| line["message"].as_str().unwrap().starts_with("new: made ");
    assert!(lines.iter().any(made), "{lines:?}");
}

#[test]
fn a_filter_that_is_none_is_refused() {
    let store = Store::new(&[]);
    let mut command = store.program();
    command.args(store.serve_arguments()).env("STRANDLINE_LOG", "strandline=loud");
    let ended = run_command(command, b"");
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("STRANDLINE_LOG"), "{ended:?}");
}
