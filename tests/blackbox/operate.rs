//! The commands by which operators steer what a store keeps: each does what its route does, says it as a table or as JSON, and ends with the code
//! that scripts go by.

use crate::harness::{Finished, Server, Sse, Store};
use serde_json::{Value, json};

fn parsed(finished: &Finished) -> Value {
    assert_eq!(finished.code, 0, "{finished:?}");
    serde_json::from_str(&finished.stdout).unwrap()
}

fn said(server: &Server, arguments: &[&str], code: i32, part: &str) {
    let finished = server.client(arguments);
    let told = format!("{}{}", finished.stdout, finished.stderr);
    assert!(finished.code == code && told.contains(part), "{arguments:?}: wanted {code} and `{part}`: {finished:?}");
}

fn append(server: &Server, occurred_at: &str) -> Value {
    let event = json!({ "event_type": "E", "data": { "n": 1 }, "occurred_at": occurred_at });
    server.http().post("streams/Call/a", &json!({ "events": [event] })).expect(201)
}

#[test]
fn retention_takes_what_a_dry_run_names_and_gives_it_back() {
    let store = Store::new(&[
        "partition.by = ('dt')",
        "partition.dt.expr = 'DATE(occurred_at)'",
        "id.command_id.unique_scope = 'stream'",
        "retention.enabled = true",
        "compaction.schedule = '0 0 1 1 *'",
    ]);
    let server = store.start();
    append(&server, "2001-02-03T04:05:06Z");
    append(&server, "2001-02-04T04:05:06Z");
    server.http().compact();
    said(&server, &["retention", "run", "--dry-run"], 0, "dt=2001-02-03");
    let planned = |more: &[&str]| {
        let line = ["retention", "run", "--dry-run", "--format", "json"];
        parsed(&server.client(&[&line[..], more].concat()))["candidates"].as_array().unwrap().len()
    };
    assert_eq!((planned(&[]), planned(&["--stream-type", "Call"]), planned(&["--stream-type", "Bill"])), (2, 2, 0));
    said(&server, &["retention", "run", "--stream-type", "Call"], 2, "--dry-run");
    assert_eq!(server.http().stream("Call", "a").len(), 2, "nothing went so far");
    let went = parsed(&server.client(&["retention", "run", "--format", "json"]));
    assert_eq!((&went["kind"], &went["files"]), (&json!("retention"), &json!(2)), "{went}");
    said(&server, &["retention", "run"], 0, "nothing went");
    said(&server, &["retention", "restore", "--partition", "day=2001-02-04"], 2, "partition");
    said(&server, &["retention", "restore", "--partition", "dt=1999-01-01"], 0, "nothing came back");
    let one = ["retention", "restore", "--partition", "dt=2001-02-04", "--format", "json"];
    assert_eq!(parsed(&server.client(&one))["files"], 1);
    said(&server, &["retention", "restore"], 0, "restore");
    assert_eq!(server.http().stream("Call", "a").len(), 2);
    server.stop();
}

#[test]
fn one_event_is_redacted_once() {
    let store = Store::new(&["strict.immutable_events = false"]);
    let server = store.start();
    let id = append(&server, "2026-01-01T00:00:00Z")["events"][0]["event_id"].as_str().unwrap().to_owned();
    said(&server, &["redact", "--event-id", &id, "--reason", "asked for by mail"], 0, "asked for by mail");
    assert_eq!(server.http().stream("Call", "a")[0]["data"], json!({ "redacted": true }));
    said(&server, &["redact", "--event-id", &id], 0, "it was redacted already");
    assert_eq!(parsed(&server.client(&["redact", "--event-id", &id, "--format", "json"]))["already"], true);
    said(&server, &["redact", "--event-id", "x"], 2, "no UUID");
    server.stop();
}

#[test]
fn what_a_subscription_has_parked_is_shown_and_given_again() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    said(&server, &["subscriptions", "list"], 0, "no named subscriptions");
    http.post("subscriptions/bills", &json!({})).expect(201);
    append(&server, "2026-01-01T00:00:00Z");
    let mut consumer = Sse::open(&http, "subscriptions/bills/events", None);
    let first = consumer.event();
    http.post("subscriptions/bills/park", &json!({ "position": first.id, "reason": "no address" })).expect(200);
    drop(consumer);
    let all = parsed(&server.client(&["subscriptions", "list", "--format", "json"]));
    assert_eq!(all["subscriptions"][0]["parked"], 1, "{all}");
    said(&server, &["subscriptions", "list"], 0, "bills");
    said(&server, &["subscriptions", "show", "--name", "bills"], 0, "no address");
    let one = parsed(&server.client(&["subscriptions", "show", "--name", "bills", "--format", "json"]));
    let position = one["parked"][0]["position"].as_str().unwrap();
    let replay = ["subscriptions", "replay", "--name", "bills"];
    said(&server, &[&replay[..], &["--position", position]].concat(), 0, "replayed 1");
    said(&server, &[&replay[..], &["--position", position]].concat(), 1, "waits to be replayed");
    said(&server, &replay, 0, "replayed 0");
    said(&server, &["subscriptions", "delete", "--name", "bills"], 0, "deleted bills");
    said(&server, &["subscriptions", "show", "--name", "bills"], 1, "bills");
    server.stop();
}
