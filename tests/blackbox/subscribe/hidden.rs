//! What is hidden while somebody follows: whoever comes later is not given it, though the pages of the live end were read, and written as text, before.

use super::{data, key};
use crate::harness::{Http, Server, Sse, Store};
use crate::secrets::ask;
use crate::security::token;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Three events of a stream each, followed as they come; the follower stays, so that the live end does.
fn followed(http: &Http, more: &Value) -> (Sse, Vec<Value>, String) {
    let mut follower = Sse::open(http, "subscribe?after=end", None);
    let (mut events, mut first) = (Vec::new(), None);
    for stream in ["first", "planted", "last"] {
        let mut event = json!({ "event_type": "E", "data": { "says": stream } });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        http.post(&format!("streams/P/{stream}"), &json!({ "events": [event] })).expect(201);
        let message = follower.event();
        assert_eq!(data(&message)["data"]["says"], stream);
        first = first.or_else(|| message.id.clone());
        events.push(data(&message).clone());
    }
    (follower, events, first.unwrap())
}

/// What comes behind a position: by `after`, by the last id, and to a named subscription that is made now.
fn later(http: &Http, after: &str) -> Vec<Vec<Value>> {
    http.post("subscriptions/later", &json!({ "after": after })).expect(201);
    let path = format!("subscribe?after={after}&idle_s=1");
    let ways =
        [(path.as_str(), None), ("subscribe?idle_s=1", Some(after)), ("subscriptions/later/events?idle_s=1", None)];
    let ways = ways.map(|(path, last_id)| Sse::open(http, path, last_id));
    ways.into_iter().map(|mut way| way.rest().0.iter().map(|message| data(message).clone()).collect()).collect()
}

fn check_hidden(http: &Http, after: &str, marker: &Value) {
    for events in later(http, after) {
        assert_eq!(events.len(), 2, "{events:?}");
        assert_eq!((&events[0]["data"], &events[1]["data"]["says"]), (marker, &json!("last")), "{events:?}");
    }
}

#[test]
fn a_redacted_payload_is_given_to_nobody_who_comes_later() {
    let store = Store::new(&["strict.immutable_events = false"]);
    let server = store.start();
    let http = server.http();
    let (_follower, events, after) = followed(&http, &json!({}));
    let wish = json!({ "event_id": events[1]["event_id"] });
    http.post("/admin/v1/stores/test/redact", &wish).expect(200);
    check_hidden(&http, &after, &json!({ "redacted": true }));
    server.stop();
}

#[test]
fn an_erased_payload_is_given_to_nobody_who_comes_later() {
    let (store, keys) = (Store::new(&[]), tempfile::tempdir().unwrap());
    let mut command = store.program();
    command.args(store.serve_arguments()).arg("--subject-keys").arg(keys.path().join("subjects"));
    let server = Server::start_from(&mut command);
    let http = server.http();
    http.post("stream-types", &json!({ "name": "P", "erasable": "stream" })).expect(201);
    let (_follower, _, after) = followed(&http, &json!({}));
    http.post("/admin/v1/stores/test/erase", &json!({ "stream_id": "planted" })).expect(200);
    check_hidden(&http, &after, &json!({ "erased": true }));
    server.stop();
}

#[test]
fn a_row_under_a_tombstone_is_given_to_nobody_and_comes_back_with_its_file() {
    let keys = ["retention.enabled = true", "retention.durable_days = 1", "compaction.schedule = '0 0 1 1 *'"];
    let store = Store::new(&keys);
    let server = store.start();
    let http = server.http();
    let (mut follower, events, after) = followed(&http, &json!({ "occurred_at": "2020-01-01T00:00:00Z" }));
    http.compact();
    let moved = http.post_as("/admin/v1/stores/test/retention/run", "application/json", b"").expect(200);
    assert_eq!(moved["events"], 3, "{moved}");
    for given in later(&http, &after) {
        assert_eq!(given, [] as [Value; 0]);
    }
    http.post("streams/P/new", &json!({ "events": [{ "event_type": "E", "data": {} }] })).expect(201);
    assert_eq!(key(data(&follower.event())).1, "new", "who follows is given what comes next");
    http.post_as("/admin/v1/stores/test/restore", "application/json", b"").expect(200);
    http.delete("subscriptions/later").expect(200);
    for given in later(&http, &after) {
        assert_eq!(given.iter().take(2).collect::<Vec<_>>(), [&events[1], &events[2]], "{given:?}");
    }
    server.stop();
}

/// Follows the store as the owner of a token.
fn follow(server: &Server, token: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(server.url().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let shown = format!("host: localhost\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n");
    stream.write_all(format!("GET /v1/stores/test/subscribe HTTP/1.1\r\n{shown}").as_bytes()).unwrap();
    BufReader::new(stream)
}

/// All lines up to one that says this.
fn told_until(followed: &mut BufReader<TcpStream>, said: &str) -> String {
    let mut told = String::new();
    while !told.lines().last().is_some_and(|line| line.contains(said)) {
        assert!(followed.read_line(&mut told).unwrap() > 0, "it ends: {told}");
    }
    told
}

#[test]
fn a_dry_run_of_another_tenant_is_told_to_nobody_who_is_limited_to_tenants() {
    let store = Store::new(&["projection.notify_on_inspect = true"]);
    let file = store.path().join("tokens");
    let all = token(&file, &["--name", "all", "--role", "admin"]);
    let one = token(&file, &["--name", "one", "--role", "read", "--tenant-id", "a"]);
    let server = Server::start_from(store.program().args(store.serve_arguments()).arg("--token-file").arg(&file));
    let append = |stream: &str, tenant: &str, query: &str| {
        let event = json!({ "events": [{ "event_type": "E", "data": {}, "tenant_id": tenant }] }).to_string();
        let path = format!("/v1/stores/test/streams/Call/{stream}{query}");
        let answer = ask(server.url(), "POST", &path, &all, &event);
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    };
    append("planted", "planted", "");
    append("own", "a", "");
    let (mut everybody, mut limited) = (follow(&server, &all), follow(&server, &one));
    // both follow what comes
    for followed in [&mut everybody, &mut limited] {
        told_until(followed, "\"stream_id\":\"own\"");
    }
    append("planted", "planted", "?inspect=true");
    let told = told_until(&mut everybody, "\"inspect\":true");
    assert!(told.contains("\"stream_id\":\"planted\""), "{told}");
    append("own", "a", "");
    let told = told_until(&mut limited, "\"stream_id\":\"own\"");
    assert!(!told.contains("planted") && !told.contains("inspect"), "{told}");
    server.stop();
}
