//! Named subscriptions as operators see them: numbers of all, one with what is parked, replays.

use super::common::{Running, start};
use serde_json::{Value, json};
use std::path::Path;

/// A subscription whose consumer took `limit` events and went away, and which are parked; gives their positions.
fn parked(server: &Running, name: &str, limit: usize) -> Vec<String> {
    server.post(&format!("subscriptions/{name}"), "{\"filter\":{\"stream_type\":\"Call\"}}").ok(201);
    let given = server.get(&format!("subscriptions/{name}/events?limit={limit}")).text();
    let positions: Vec<String> =
        given.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect();
    assert_eq!(positions.len(), limit, "{given}");
    for position in &positions {
        let body = format!("{{\"position\":\"{position}\",\"reason\":\"no paper\"}}");
        server.post(&format!("subscriptions/{name}/park"), &body).ok(200);
    }
    until_alone(server, name);
    positions
}

/// The node has noticed that the consumer is gone.
fn until_alone(server: &Running, name: &str) {
    while server.get(&format!("subscriptions/{name}")).ok(200)["consumers"] != 0 {
        std::thread::yield_now();
    }
}

/// A node with an event in each of three streams.
fn with_three_streams(folder: &Path) -> Running {
    let server = start(folder, "");
    for stream in ["a", "b", "c"] {
        server.append(stream, r#"{"event_type":"Ticked","data":{}}"#).ok(201);
    }
    server
}

#[test]
fn operators_see_numbers_and_what_is_parked_and_give_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_three_streams(folder.path());
    assert_eq!(server.get("admin:subscriptions").ok(200), json!({ "subscriptions": [], "followers": 0 }));
    let positions = parked(&server, "bills", 2);
    let told = server.get("admin:subscriptions").ok(200);
    let [one] = &told["subscriptions"].as_array().unwrap()[..] else { panic!("{told}") };
    let number = |field: &str| one[field].as_u64().unwrap();
    assert_eq!((one["name"].as_str(), &one["filter"]), (Some("bills"), &json!({ "stream_type": "Call" })));
    assert_eq!((number("parked"), number("consumers"), number("in_flight"), number("waiting")), (2, 0, 0, 1));
    // what waits grows older between the two
    let without_lag = |path: &str| {
        let mut told = server.get(path).ok(200);
        assert!(told.as_object_mut().unwrap().remove("lag_s").is_some_and(|lag| lag.as_f64().is_some()), "{path}");
        told
    };
    assert_eq!(without_lag("admin:subscriptions/bills"), without_lag("subscriptions/bills"));

    let replayed = |body: &str| server.post("admin:subscriptions/bills/replay", body).ok(200)["replayed"].clone();
    assert_eq!(replayed(&format!("{{\"position\":\"{}\"}}", positions[1])), json!(1));
    let again = server.get("admin:subscriptions/bills").ok(200);
    let marks: Vec<&Value> = again["parked"].as_array().unwrap().iter().map(|event| &event["replayed"]).collect();
    assert_eq!(marks, [&json!(false), &json!(true)]);
    assert_eq!(replayed(""), json!(1), "all that is left");
}

#[test]
fn who_makes_a_subscription_to_a_type_that_is_not_known_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_three_streams(folder.path());
    let told = |name: &str, of: &str, status: u16| {
        let wish = json!({ "filter": { "stream_type": of } });
        server.post(&format!("subscriptions/{name}"), &wish.to_string()).ok(status)["warnings"].clone()
    };
    let warning = json!(["no stream type `Cal` is known yet: nothing comes before it has events"]);
    assert_eq!((told("wrong", "Cal", 201), told("wrong", "Cal", 200)), (warning.clone(), warning));
    assert_eq!(told("right", "Call", 201), json!([]));
}

#[test]
fn parked_events_are_told_by_their_streams() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", envelope.stream_id_key = 'reason', envelope.seq_key = 'no'");
    for stream in ["a", "b"] {
        server.append(stream, r#"{"event_type":"Ticked"}"#).ok(201);
    }
    parked(&server, "bills", 2);
    let events = server.get("events").ok(200)["events"].clone();
    for path in ["subscriptions/bills", "admin:subscriptions/bills"] {
        let told = server.get(path).ok(200)["parked"].clone();
        let (told, events) = (told.as_array().unwrap(), events.as_array().unwrap());
        assert_eq!(told.len(), 2);
        for (parked, event) in told.iter().zip(events) {
            for field in ["position", "event_id", "stream_type", "no"] {
                assert_eq!(parked[field], event[field], "{path}: {field}");
            }
            assert_eq!(parked["reason"], "no paper", "what the answer calls so goes before what the store does");
        }
    }
}

#[test]
fn what_is_behind_a_limit_was_not_tried() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_three_streams(folder.path());
    server.post("subscriptions/cron", "{\"attempts_max\":1}").ok(201);
    let given = |limit: usize| {
        let text = server.get(&format!("subscriptions/cron/events?limit={limit}")).text();
        until_alone(&server, "cron");
        let attempts: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("attempt: ")).collect();
        assert!(attempts.iter().all(|attempt| *attempt == "1"), "{text}");
        attempts.len()
    };
    let parked = || server.get("subscriptions/cron").ok(200)["parked"].as_array().unwrap().len();
    assert_eq!((given(1), parked()), (1, 1));
    // those that nobody was shown
    assert_eq!((given(2), parked()), (2, 3));
}

#[test]
fn who_waits_for_events_is_told_that_the_node_lives() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    server.post("subscriptions/quiet", "{}").ok(201);
    // it ends with its first sign of life
    for path in ["subscribe?idle_s=0", "subscriptions/quiet/events?idle_s=0"] {
        let given = server.get(path).text();
        assert!(given.contains(": keep-alive\n"), "{path}: {given}");
    }
}

#[test]
fn what_is_no_subscription_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    server.get("admin:subscriptions/nobody").error(404, "not_found");
    server.post("admin:subscriptions/nobody/replay", "").error(404, "not_found");
    server.get("admin:subscriptions?all=1").error(400, "bad_request");
    server.get(&format!("admin:subscriptions/{}", "n".repeat(201))).error(400, "bad_request");
    server.get("/admin/v1/stores/other/subscriptions").error(404, "not_found");
}

#[test]
fn a_subscription_keeps_no_text_that_no_event_has() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let made = |name: &str, field: &str, bytes: usize| {
        let wish = json!({ "filter": { field: "x".repeat(bytes) } });
        server.post(&format!("subscriptions/{name}"), &wish.to_string())
    };
    for field in ["stream_type", "stream_id", "event_type", "tenant_id"] {
        made(field, field, 1024).ok(201);
        let refused = made("refused", field, 1025).error(400, "bad_request");
        assert!(refused["error"].as_str().unwrap().contains(&format!("`{field}` of the filter")), "{refused}");
    }
    server.get("subscriptions/refused").error(404, "not_found");
    // names and reasons, and the bounds of attempts and times, up to their last value and beyond
    let longest = "n".repeat(200);
    server.post(&format!("subscriptions/{longest}"), r#"{"attempts_max":1000,"ack_within_s":86400}"#).ok(201);
    for (name, wish) in [
        (format!("{longest}n"), "{}"),
        ("zero%00".to_owned(), "{}"),
        ("refused".to_owned(), r#"{"attempts_max":1001}"#),
        ("refused".to_owned(), r#"{"attempts_max":0}"#),
        ("refused".to_owned(), r#"{"ack_within_s":86401}"#),
        ("refused".to_owned(), r#"{"ack_within_s":0.09}"#),
    ] {
        server.post(&format!("subscriptions/{name}"), wish).error(400, "bad_request");
    }
    let park = json!({ "position": "end", "reason": "r".repeat(1025) });
    let refused = server.post("subscriptions/stream_id/park", &park.to_string()).error(400, "bad_request");
    assert!(refused["error"].as_str().unwrap().contains("1024 bytes"), "{refused}");
    server.append("c", r#"{"event_type":"E"}"#).ok(201);
    for (idle_s, status) in [(3600, 200), (3601, 400)] {
        let given = server.get(&format!("subscribe?limit=1&idle_s={idle_s}"));
        assert_eq!(given.status, status, "{}", given.text());
    }
    assert_eq!(server.get("subscriptions").ok(200)["subscriptions"].as_array().unwrap().len(), 5);
}

/// What a stream of events ended with.
fn end_of(given: &str) -> Value {
    let (_, end) = given.split_once("event: end\ndata: ").unwrap_or_else(|| panic!("{given}"));
    serde_json::from_str(end.trim()).unwrap()
}

#[test]
fn a_word_of_somebody_who_never_was_a_consumer_acknowledges_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_three_streams(folder.path());
    server.post("subscriptions/bills", "{}").ok(201);
    let given = server.get("subscriptions/bills/events?limit=1").text();
    assert_eq!(end_of(&given)["code"], "limit");
    let field = |name: &str| given.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let position = field("id: ");
    let consumer: Value = serde_json::from_str(field("data: ")).unwrap();
    let consumer = consumer["consumer"].as_str().unwrap();
    let ack = |consumer: &str| {
        let body = format!("{{\"position\":\"{position}\",\"consumer\":\"{consumer}\"}}");
        server.post("subscriptions/bills/ack", &body)
    };
    // numbers begin far from here
    let unknown = ack("1").error(404, "not_found");
    assert!(unknown["error"].as_str().unwrap().contains("has no consumer 1,"), "{unknown}");
    ack("me").error(400, "bad_request");
    assert_ne!(server.get("subscriptions/bills").ok(200)["position"], position);
    assert_eq!(ack(consumer).ok(200)["acknowledged"], 1, "it has gone, and was one");
    // nothing is left to say no to
    assert_eq!(ack("1").ok(200)["acknowledged"], 0);
}

#[test]
fn consumers_of_a_subscription_that_is_deleted_are_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = with_three_streams(folder.path());
    server.post("subscriptions/bills", "{}").ok(201);
    let given = std::thread::scope(|scope| {
        let consumer = scope.spawn(|| server.get("subscriptions/bills/events").text());
        while server.get("subscriptions/bills").ok(200)["in_flight"] != 3 {
            std::thread::yield_now();
        }
        server.delete("subscriptions/bills").ok(200);
        consumer.join().unwrap()
    });
    let end = end_of(&given);
    assert_eq!(end["code"], "deleted");
    assert!(end["error"].as_str().unwrap().contains("was deleted"), "{end}");
}
