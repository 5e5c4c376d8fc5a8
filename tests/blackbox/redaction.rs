//! Redaction of the real program: every way of reading shows the marker from the answer on, in every tier; files lose the text; restarts, retries and
//! `verify` know it.

use crate::harness::{Http, Server, Sse, Store};
use crate::secrets::ask;
use crate::security::{audited, token};
use serde_json::{Value, json};
use std::path::Path;
use strandline_client::{AllWanted, Client, Direction, Filter, Options, Position, StreamWanted, SubscribeWanted};

const SECRET: &str = "planted-4711-secret";
const ROUTE: &str = "/admin/v1/stores/test/redact";

fn keys() -> Vec<&'static str> {
    vec![
        "strict.immutable_events = false",
        "id.command_id.unique_scope = 'stream'",
        "compaction.schedule = '0 0 1 1 *'",
        "durable.compression = 'none'",
        "wal.retention_hours = 0",
    ]
}

fn append(server: &Server, stream: &str, command: &str, data: &Value) -> Value {
    append_by(server, stream, command, data, SECRET)
}

fn append_by(server: &Server, stream: &str, command: &str, data: &Value, by: &str) -> Value {
    let event = json!({ "event_type": "Called", "data": data, "metadata": { "by": by }, "correlation_id": "k" });
    server.http().post(&format!("streams/Call/{stream}"), &json!({ "events": [event], "command_id": command })).json()
}

fn marker() -> Value {
    json!({ "redacted": true })
}

/// Every way of reading: what each gives of the event `id`, whole.
fn everywhere(server: &Server, id: &str) -> Vec<Value> {
    let http = server.http();
    let of = |rows: Vec<Value>| -> Vec<Value> { rows.into_iter().filter(|row| row["event_id"] == id).collect() };
    let lines = |path: &str| http.get_as(path, "application/x-ndjson").lines();
    let mut found = vec![http.get(&format!("events/{id}")).expect(200)["event"].clone()];
    for rows in
        [http.stream("Call", "a"), http.global(), http.scan(), lines("streams/Call/a"), lines("events"), lines("scan")]
    {
        found.extend(of(rows));
    }
    let mut followed = Sse::open(&http, "subscribe", None);
    while let Some(data) = followed.next().and_then(|message| message.data) {
        if data["event_id"] == id {
            found.push(data);
            break;
        }
    }
    found.push(by_name(&http, |data| data["event_id"] == id));
    for path in ["streams/Call/a", "events", "scan"] {
        let arrow = http.get_as(path, "application/vnd.apache.arrow.stream").body;
        found.push(json!({ "arrow": contains(&arrow, SECRET), "data": marker(), "metadata": marker() }));
    }
    found.extend(native(server, id));
    found
}

/// What a named subscription gives of an event, the first of its stream; it is made for this, and gone behind it.
pub(crate) fn by_name(http: &Http, is_it: impl Fn(&Value) -> bool) -> Value {
    http.post("subscriptions/looks", &json!({})).expect(201);
    let mut consumer = Sse::open(http, "subscriptions/looks/events", None);
    let found = loop {
        let data = consumer.event().data.unwrap();
        if is_it(&data) {
            break data;
        }
    };
    drop(consumer);
    http.delete("subscriptions/looks").expect(200);
    found
}

fn native(server: &Server, id: &str) -> Vec<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client =
            Client::connect(Options { store: "test".to_owned(), ..Options::new(server.native()) }).await.unwrap();
        let stream = StreamWanted {
            stream_type: "Call".to_owned(),
            stream_id: "a".to_owned(),
            from_seq: None,
            to_seq: None,
            as_of: None,
            limit: 100,
            direction: Direction::Rising,
        };
        let page = client.read_stream(&stream).await.unwrap();
        let all = AllWanted { after: Position::START, limit: 100, filter: Filter::default() };
        let global = client.read_all(&all).await.unwrap();
        let mut scan = client.scan(Filter::default(), 1 << 20);
        let mut found = Vec::new();
        let mut note = |events: &strandline_client::Events| {
            for event in events.iter().filter(|event| event.event_id.to_string() == id) {
                let of = |text: &str| serde_json::from_str::<Value>(text).unwrap();
                found.push(json!({ "data": of(event.data), "metadata": event.metadata.map(of) }));
            }
        };
        note(&page.events);
        note(&global.0);
        while let Some(part) = scan.next().await.unwrap() {
            note(&part);
        }
        let after = Some(Position::START);
        let wanted = SubscribeWanted { after, window_bytes: 1 << 20, filter: Filter::default(), stream_id: None };
        let mut following = client.subscribe(wanted);
        loop {
            let came = following.next().await.unwrap().events;
            note(&came);
            if came.iter().any(|event| event.event_id.to_string() == id) {
                break;
            }
        }
        found
    })
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Live Parquet files below a folder that hold the text.
fn files_with(folder: &Path, text: &str) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            count += files_with(&path, text);
        } else if path.extension().is_some_and(|e| e == "parquet") {
            count += usize::from(contains(&std::fs::read(&path).unwrap(), text));
        }
    }
    count
}

#[test]
fn what_is_redacted_is_shown_by_no_read_in_no_tier() {
    for log in [true, false] {
        let keys = keys();
        let store = match log {
            true => Store::new(&keys),
            false => Store::without_log(&keys.into_iter().filter(|key| !key.starts_with("wal.")).collect::<Vec<_>>()),
        };
        let server = store.start();
        let said = json!({ "number": SECRET });
        let first = append(&server, "a", "c1", &said);
        append_by(&server, "a", "c2", &json!({ "number": 2 }), "another");
        append_by(&server, "b", "c1", &json!({ "number": 3 }), "another");
        let id = first["events"][0]["event_id"].as_str().unwrap().to_owned();
        let before = everywhere(&server, &id);
        assert!(before.len() >= 15 && before[0]["data"] == said, "{before:?}");

        let done = server.http().post(ROUTE, &json!({ "event_id": id, "reason": "asked for" })).expect(200);
        assert_eq!((&done["already"], &done["redacted"][0]["seq"]), (&json!(false), &json!(1)), "{done}");
        let again = server.http().post(ROUTE, &json!({ "event_id": id, "reason": "another" })).expect(200);
        assert_eq!((&again["already"], &again["redacted"]), (&json!(true), &done["redacted"]), "the first word stays");
        let check = |server: &Server, when: &str| {
            let shown = everywhere(server, &id);
            assert_eq!(shown.len(), before.len(), "{when}");
            for row in &shown {
                assert_eq!((&row["data"], &row["metadata"]), (&marker(), &marker()), "{when}: {row}");
                assert_ne!(row["arrow"], true, "{when}");
            }
            assert_eq!(
                (&shown[0]["seq"], &shown[0]["correlation_id"]),
                (&json!(1), &json!("k")),
                "the rest of it stays"
            );
            let retry = append(server, "a", "c1", &said);
            assert_eq!((&retry["duplicate"], &retry["events"]), (&json!(true), &first["events"]), "{when}: {retry}");
            let others = append(server, "a", "c1", &json!({ "number": "a guess" }));
            assert_eq!(others["code"], "command_conflict", "{when}: {others}");
            let listed = server.http().get(ROUTE).expect(200);
            assert_eq!(listed["redacted"], done["redacted"], "{when}");
        };
        check(&server, "at once");
        server.kill();
        let server = store.start();
        check(&server, "after a kill");
        server.http().compact();
        check(&server, "compacted");
        assert_eq!(files_with(&store.durable(), SECRET), 0, "log: {log}");
        server.stop();
        store.assert_clean();
        let server = store.start();
        check(&server, "started again");
        server.stop();
    }
}

#[test]
fn who_redacted_what_stands_in_the_audit_log_whatever_else_is_logged() {
    for filter in [None, Some("error")] {
        let mut store = Store::new(&keys());
        store.set_env(filter.map(|filter| ("STRANDLINE_LOG", filter.to_owned())).into_iter().collect());
        let server = store.start();
        let first = append(&server, "a", "c1", &json!({ "number": SECRET }));
        let id = first["events"][0]["event_id"].as_str().unwrap().to_owned();
        server.http().post(ROUTE, &json!({ "event_id": id, "reason": "asked for" })).expect(200);
        let log = server.finish().stderr;
        assert!(audited(&log, &["redact", id.as_str()]) > 0, "{filter:?}: {log}");
        assert!(!log.contains(SECRET), "{log}");
    }
}

/// The answer that the owner of a token is given.
fn asked(server: &Server, (method, path): (&str, &str), token: &str, body: &Value) -> Value {
    let answer = ask(server.url(), method, path, token, &body.to_string());
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// Who asks for the same again is told who was first, and when, after a restart too.
#[test]
fn a_redaction_and_an_erasure_keep_who_asked_for_them() {
    let (store, subjects) = (Store::new(&keys()), tempfile::tempdir().unwrap());
    let file = store.path().join("tokens");
    let [first, second] = ["first", "second"].map(|name| token(&file, &["--name", name, "--role", "admin"]));
    let start = || {
        let mut command = store.program();
        command.args(store.serve_arguments()).arg("--token-file").arg(&file);
        Server::start_from(command.arg("--subject-keys").arg(subjects.path().join("subjects")))
    };
    let (redact, erase) = (("POST", ROUTE), ("POST", "/admin/v1/stores/test/erase"));
    let server = start();
    let event = json!({ "events": [{ "event_type": "E", "data": { "number": SECRET } }] });
    let person = json!({ "name": "Person", "erasable": "stream" });
    asked(&server, ("POST", "/v1/stores/test/stream-types"), &first, &person);
    asked(&server, ("POST", "/v1/stores/test/streams/Person/anna"), &first, &event);
    let stored = asked(&server, ("POST", "/v1/stores/test/streams/Call/a"), &first, &event);
    let id = &stored["events"][0]["event_id"];
    let redacted = asked(&server, redact, &first, &json!({ "event_id": id, "reason": "asked for" }));
    let row = &redacted["redacted"][0];
    assert_eq!((&row["who"], &row["reason"]), (&json!("first"), &json!("asked for")), "{redacted}");
    let erased = asked(&server, erase, &first, &json!({ "stream_id": "anna" }));
    assert_eq!(erased["erased"][0]["who"], "first", "{erased}");
    server.stop();
    let server = start();
    let again = asked(&server, redact, &second, &json!({ "event_id": id, "reason": "another" }));
    assert_eq!((&again["redacted"], &again["already"]), (&redacted["redacted"], &json!(true)));
    assert_eq!(asked(&server, ("GET", ROUTE), &second, &json!({}))["redacted"], redacted["redacted"]);
    let again = asked(&server, erase, &second, &json!({ "stream_id": "anna" }));
    let (row, before) = (&again["erased"][0], &erased["erased"][0]);
    assert_eq!((&row["who"], &row["at"], &row["already"]), (&before["who"], &before["at"], &json!(true)), "{again}");
    server.stop();
}

#[test]
fn what_is_in_files_already_is_rewritten() {
    let store = Store::new(&keys());
    let server = store.start();
    let first = append(&server, "a", "c1", &json!({ "number": SECRET }));
    append_by(&server, "b", "c1", &json!({ "number": "left" }), "another");
    server.http().compact();
    assert_eq!(files_with(&store.durable(), SECRET), 1);
    let id = first["events"][0]["event_id"].as_str().unwrap();
    // the merge that the redaction asks for is one of the jobs, at the latest of the run by hand
    server.http().post(ROUTE, &json!({ "event_id": id })).expect(200);
    server.http().compact();
    let events = server.http().global();
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!((&events[0]["data"], &events[1]["data"]["number"]), (&marker(), &json!("left")));
    assert_eq!(events[1]["metadata"]["by"], "another");
    assert_eq!(files_with(&store.durable(), SECRET), 0, "a merge has rewritten the file");
    let jobs = server.http().get("/admin/v1/stores/test/compaction").expect(200);
    assert!(jobs["jobs"].as_array().unwrap().iter().any(|job| job["kind"] == "merge"), "{jobs}");
    server.stop();
    store.assert_clean();
}

/// A version of the past shows what stood in its files, and nothing that was redacted since: not from the files that it names, nor once these were
/// rewritten.
#[test]
fn what_is_redacted_is_shown_by_no_version_of_the_past() {
    let store = Store::new(&keys());
    let server = store.start();
    let first = append(&server, "a", "c1", &json!({ "number": SECRET }));
    append_by(&server, "a", "c2", &json!({ "number": "left" }), "another");
    server.http().compact();
    append_by(&server, "a", "c3", &json!({ "number": "later" }), "another");
    let newest = |server: &Server| {
        let manifest = server.http().get("/admin/v1/stores/test/manifest").expect(200);
        manifest["version"].as_u64().unwrap()
    };
    let past = newest(&server);
    let page = |server: &Server, version: u64| {
        let answer = server.http().get(&format!("streams/Call/a?as_of={version}"));
        answer.expect(200)["events"].as_array().unwrap().clone()
    };
    assert_eq!(page(&server, past)[0]["data"], json!({ "number": SECRET }));
    let id = first["events"][0]["event_id"].as_str().unwrap();
    server.http().post(ROUTE, &json!({ "event_id": id })).expect(200);
    let check = |server: &Server, when: &str| {
        for version in [past, newest(server)] {
            let text = server.http().get(&format!("streams/Call/a?as_of={version}")).text();
            assert!(!text.contains(SECRET), "{when}, version {version}: {text}");
            let rows = page(server, version);
            assert_eq!((&rows[0]["data"], &rows[0]["metadata"]), (&marker(), &marker()), "{when}, version {version}");
            assert_eq!(rows[1]["data"], json!({ "number": "left" }), "{when}, version {version}");
        }
    };
    check(&server, "at once");
    server.kill();
    let server = store.start();
    check(&server, "after a kill");
    server.http().compact();
    assert_eq!(files_with(&store.durable(), SECRET), 0, "the live files are rewritten");
    check(&server, "rewritten");
    server.stop();
}

#[test]
fn the_program_finds_an_event_by_its_place_under_the_names_of_the_store() {
    let store = Store::new(&[&keys()[..], &["envelope.event_id_key = 'id'", "envelope.seq_key = 'version'"]].concat());
    let server = store.start();
    for n in 1..=3 {
        append(&server, "a", &format!("c{n}"), &json!({ "number": n }));
    }
    let place = ["redact", "--stream-type", "Call", "--stream-id", "a", "--seq", "2"];
    for told in [false, true] {
        let done = server.client(&[&place[..], &["--reason", "asked for", "--format", "json"]].concat());
        assert_eq!(done.code, 0, "{done:?}");
        let answer: Value = serde_json::from_str(&done.stdout).unwrap();
        let row = &answer["redacted"][0];
        assert_eq!((&row["reason"], &answer["already"]), (&json!("asked for"), &json!(told)), "{answer}");
    }
    let shown: Vec<Value> = server.http().stream("Call", "a").into_iter().map(|row| row["data"].clone()).collect();
    assert_eq!(shown, [json!({ "number": 1 }), marker(), json!({ "number": 3 })]);
    server.stop();
}

#[test]
fn what_cannot_be_redacted_says_why() {
    let store = Store::new(&[]);
    let server = store.start();
    for body in ["", "{", "{\"event_id\": 5}"] {
        server.http().post_as(ROUTE, "application/json", body.as_bytes()).expect_error(403, "forbidden");
    }
    server.stop();
    let store = Store::new(&["strict.immutable_events = false"]);
    let server = store.start();
    let unknown = "0190c42e-8f00-7000-8000-000000000001";
    server.http().post(ROUTE, &json!({ "event_id": unknown })).expect_error(404, "not_found");
    server.http().post(ROUTE, &json!({ "event_id": "no id" })).expect_error(400, "bad_request");
    server.http().post(ROUTE, &json!({})).expect_error(400, "bad_request");
    for (bytes, status, code) in [(1024, 404, "not_found"), (1025, 400, "bad_request")] {
        let wish = json!({ "event_id": unknown, "reason": "r".repeat(bytes) });
        server.http().post(ROUTE, &wish).expect_error(status, code);
    }
    assert_eq!(server.http().get(ROUTE).expect(200)["redacted"], json!([]));
    server.stop();
}
