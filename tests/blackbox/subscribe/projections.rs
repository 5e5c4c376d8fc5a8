//! The keys `projection.*` have the effect of their names.

use super::{append, data};
use crate::harness::{Sse, Store};
use serde_json::json;
use std::thread;

#[test]
fn a_store_without_notifications_says_so_and_ends_who_follows() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    append(&http, "s", 0..1);
    let mut stream = Sse::open(&http, "subscribe", None);
    stream.event();
    http.post("subscriptions/made-before", &json!({})).expect(201);
    let off = store.statement(&["projection.notify_on_commit = false"]).replace("CREATE", "CREATE OR REPLACE");
    http.post("/api/deql/create", &json!({ "deql": off })).expect(201);
    append(&http, "s", 1..2);
    assert_eq!(stream.rest().1.as_deref(), Some("notifications_disabled"));
    http.get("subscribe").expect_error(409, "notifications_disabled");
    http.post("subscriptions/a", &json!({})).expect_error(409, "notifications_disabled");
    http.get("subscriptions/made-before/events").expect_error(409, "notifications_disabled");
    server.stop();
}

#[test]
fn dry_runs_are_told_where_the_store_says_so() {
    for notify in [true, false] {
        let store = Store::new(&[&format!("projection.notify_on_inspect = {notify}")]);
        let server = store.start();
        let http = server.http();
        append(&http, "s", 0..1);
        let mut stream = Sse::open(&http, "subscribe", None);
        stream.event();
        let dry = json!({ "events": [{ "event_type": "Dry", "data": { "n": 1 } }], "expected_seq": 1 });
        http.post("streams/Call/s?inspect=true", &dry).expect(201);
        let refused = json!({ "events": [{ "event_type": "Dry" }], "expected_seq": 7 });
        http.post("streams/Call/s?inspect=true", &refused).expect_error(409, "wrong_expected_seq");
        if notify {
            let told = stream.event();
            assert_eq!((&data(&told)["inspect"], &data(&told)["event_type"]), (&json!(true), &json!("Dry")));
            assert!(told.id.is_none() && data(&told)["position"].is_null(), "it has no place");
        }
        append(&http, "s", 1..2);
        let next = stream.event();
        assert!(data(&next)["inspect"].is_null() && data(&next)["seq"] == 2, "nothing of it was stored");
        server.stop();
    }
}

#[test]
fn consumers_are_told_of_dry_runs_that_they_ask_for_and_have_nothing_to_acknowledge() {
    let store = Store::new(&["projection.notify_on_inspect = true"]);
    let server = store.start();
    let http = server.http();
    http.post("subscriptions/calls", &json!({ "filter": { "stream_type": "Call" } })).expect(201);
    let mut stream = Sse::open(&http, "subscriptions/calls/events", None);
    append(&http, "s", 0..1);
    let stored = stream.event();
    let dry = |name: &str| json!({ "events": [{ "event_type": name, "data": {} }] });
    http.post("streams/Other/s?inspect=true", &dry("NotAskedFor")).expect(201);
    http.post("streams/Call/s?inspect=true", &dry("Dry")).expect(201);
    let told = stream.event();
    assert_eq!((&data(&told)["inspect"], &data(&told)["event_type"]), (&json!(true), &json!("Dry")));
    assert!(told.id.is_none() && told.attempt == 0, "{told:?}");
    let held = http.get("subscriptions/calls").expect(200);
    assert_eq!((&held["in_flight"], &held["waiting"]), (&json!(1), &json!(0)), "only what is stored: {held}");
    http.post("subscriptions/calls/ack", &json!({ "position": stored.id })).expect(200);
    assert_eq!(http.get("subscriptions/calls").expect(200)["in_flight"], 0);
    drop(stream);
    server.stop();
}

#[test]
fn an_append_that_waits_for_a_projection_is_answered_by_a_node_that_stops() {
    let store = Store::new(&["projection.mode = 'sync'"]);
    let mut arguments = store.serve_arguments();
    arguments.extend(["--projection-timeout", "60s"].map(str::to_owned));
    let server = crate::harness::Server::start_from(store.program().args(arguments));
    let http = server.http();
    http.post("subscriptions/view", &json!({ "mode": "sync" })).expect(201);
    let mut stream = Sse::open(&http, "subscriptions/view/events", None);
    let event = json!({ "events": [{ "event_type": "E", "data": {} }] });
    let waiting = thread::spawn(move || http.post("streams/Call/s", &event).expect(201)["projections"].clone());
    // it is stored, and nobody acknowledges it
    stream.event();
    server.stop();
    assert_eq!(waiting.join().unwrap(), json!([{ "name": "view", "state": "timed_out" }]));
}

#[test]
fn an_append_waits_for_sync_projections_and_is_stored_in_any_case() {
    let store = Store::new(&["projection.mode = 'sync'"]);
    let mut arguments = store.serve_arguments();
    arguments.extend(["--projection-timeout", "2s"].map(str::to_owned));
    let server = crate::harness::Server::start_from(store.program().args(arguments));
    let http = server.http();
    let one = |n: u64| json!({ "events": [{ "event_type": "E", "data": { "n": n } }] });
    assert_eq!(http.post("streams/Call/s", &one(0)).expect(201)["projections"], json!([]), "none is registered");
    http.post("subscriptions/view", &json!({ "mode": "sync", "filter": { "stream_type": "Call" } })).expect(201);
    http.post("subscriptions/later", &json!({ "mode": "async" })).expect(201);
    let said = |state: &str| json!([{ "name": "view", "state": state }]);
    // nobody is connected: late at once
    assert_eq!(http.post("streams/Call/s", &one(1)).expect(201)["projections"], said("timed_out"));
    let mut stream = Sse::open(&http, "subscriptions/view/events", None);
    let consuming = {
        let http = http.clone();
        thread::spawn(move || {
            // acknowledges three events and then nothing more
            for _ in 0..3 {
                let message = stream.event();
                http.post("subscriptions/view/ack", &json!({ "position": message.id })).expect(200);
            }
            stream
        })
    };
    let third = http.post("streams/Call/s", &one(2)).expect(201);
    assert_eq!(third["projections"], said("confirmed"), "{third}");
    let stream = consuming.join().unwrap();
    assert_eq!(
        http.post("streams/Other/s", &one(0)).expect(201)["projections"],
        said("confirmed"),
        "it does not ask for it"
    );
    let line = json!({ "stream_type": "Call", "stream_id": "s", "event_type": "E" });
    let bulk = http.bulk(&[line]);
    assert_eq!((&bulk["appended"], &bulk["projections"]), (&json!(1), &said("timed_out")), "{bulk}");
    assert_eq!(http.stream("Call", "s").len(), 4);
    drop(stream);
    server.stop();
    let store = Store::new(&[]);
    let server = store.start();
    server.http().post("subscriptions/view", &json!({ "mode": "sync" })).expect_error(400, "bad_request");
    assert!(server.http().post("streams/Call/s", &one(0)).expect(201)["projections"].is_null());
    server.stop();
}
