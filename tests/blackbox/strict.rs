//! strict.* end to end: each rule refuses by every way in, names what is missing, and stores nothing.

use crate::harness::{Server, Store};
use serde_json::{Value, json};
use strandline_client::{BatchBuilder, BatchUnit, Client, ClientError, EventInput, Expected, OnError, Options};

/// A key, an event that breaks it alone, and what the refusal names.
fn rules() -> [(&'static str, Value, &'static str); 3] {
    let whole = json!({ "event_type": "E", "data": {}, "event_version": 1, "tenant_id": "t" });
    let without = |field: &str| {
        let mut event = whole.clone();
        event.as_object_mut().unwrap().remove(field);
        event
    };
    [
        ("strict.stream_type_enforced = true", whole.clone(), "CREATE AGGREGATE"),
        ("strict.event_version_required = true", without("event_version"), "event_version"),
        ("strict.tenant_required = true", without("tenant_id"), "tenant_id"),
    ]
}

fn refused(answer: &crate::harness::Answer, names: &str) {
    let error = answer.expect_error(422, "strict_violation");
    assert!(error["error"].as_str().unwrap().contains(names), "{error}");
}

const ARROW: &str = "application/vnd.apache.arrow.stream";

/// The event in Arrow, as a store without rules gives it.
fn in_columns(line: &Value) -> Vec<u8> {
    let store = Store::new(&[]);
    let server = store.start();
    server.http().post("events", &json!([line])).expect(201);
    let columns = server.http().get_as("scan", ARROW).body;
    server.stop();
    columns
}

fn native(server: &Server, event: &Value) -> Vec<ClientError> {
    let build = |unit| {
        let mut batch = BatchBuilder::new("New", unit);
        let version = event["event_version"].as_u64().map(|version| version as u32);
        let tenant_id = event["tenant_id"].as_str();
        let input = EventInput {
            stream_id: "s",
            event_type: "E",
            data: "{}",
            event_version: version,
            tenant_id,
            ..EventInput::default()
        };
        batch.push(&input).unwrap();
        batch.finish().unwrap()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = Options { store: "test".to_owned(), ..Options::new(server.native()) };
        let client = Client::connect(options).await.unwrap();
        let one = client.append(build(BatchUnit::Append), Expected::Any).await.err().unwrap();
        let bulk = client.append_bulk(&[build(BatchUnit::Rows)], OnError::Abort).await;
        let bulk = match bulk {
            Err(error) => error,
            Ok(parts) => ClientError::Refused(parts.into_iter().next().unwrap().err().unwrap()),
        };
        vec![one, bulk]
    })
}

#[test]
fn each_rule_holds_by_every_way_in() {
    for (key, event, names) in rules() {
        let store = Store::new(&[key]);
        let server = store.start();
        let http = server.http();
        refused(&http.post("streams/New/s", &json!({ "events": [event] })), names);
        refused(&http.post("streams/New/s?inspect=true", &json!({ "events": [event] })), names);
        let mut line = event.clone();
        (line["stream_type"], line["stream_id"]) = (json!("New"), json!("s"));
        refused(&http.post_as("events", "application/x-ndjson", line.to_string().as_bytes()), names);
        refused(&http.post("events", &json!([line])), names);
        refused(&http.post_as("events", ARROW, &in_columns(&line)), names);
        let skipped = http.post_as("events?on_error=skip", "application/x-ndjson", line.to_string().as_bytes());
        let rejected = skipped.json();
        let named = rejected.to_string();
        assert!(named.contains("strict_violation") && named.contains(names), "{key}: {rejected}");
        for error in native(&server, &event) {
            assert!(format!("{error}").contains(names), "{key}: {error}");
        }
        let mut arguments = vec!["append", "--stream-type", "New", "--stream-id", "s", "--event-type", "E"];
        if event["event_version"].is_u64() {
            arguments.extend(["--event-version", "1"]);
        }
        if event["tenant_id"].is_string() {
            arguments.extend(["--tenant-id", "t"]);
        }
        let appended = server.client(&arguments);
        assert!(appended.code == 1 && appended.stderr.contains(names), "{key}: {appended:?}");
        let file = store.path().join("lines.ndjson");
        std::fs::write(&file, format!("{line}\n")).unwrap();
        let ingested = server.client(&["ingest", &file.to_string_lossy()]);
        assert!(ingested.code != 0, "{key}: {ingested:?}");
        assert_eq!(http.scan(), [] as [Value; 0], "{key}: nothing is stored");
        // what keeps the rule is taken
        if key.contains("stream_type") {
            http.post("stream-types", &json!({ "name": "New" })).expect(201);
        }
        let whole = json!({ "event_type": "E", "data": {}, "event_version": 1, "tenant_id": "t" });
        http.post("streams/New/s", &json!({ "events": [whole] })).expect(201);
        server.stop();
        store.assert_clean();
    }
}
