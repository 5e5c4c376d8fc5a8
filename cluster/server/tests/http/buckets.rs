//! Stream types of several buckets: registered by their number, one to every client.

use crate::common::{Running, start};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use strandline_client::{
    BatchBuilder, BatchBytes, BatchUnit, Client, ClientError, EventInput, Expected, OnError, Options,
};

const NDJSON: &str = "application/x-ndjson";
/// Rows of a body.
const ROWS: usize = 40;
const STREAMS: usize = 8;

fn registered(folder: &tempfile::TempDir) -> Running {
    let server = start(folder.path(), ", id.command_id.unique_scope = 'stream'");
    // so many that the few streams of a test are not all in one
    let made = server.post("stream-types", r#"{"name":"Call","buckets":64}"#).ok(201);
    assert_eq!((&made["buckets"], &made["registered"]), (&json!(64), &json!(true)));
    server
}

fn line(n: usize, data: usize) -> String {
    let stream = n % STREAMS;
    format!(
        "{{\"stream_type\":\"Call\",\"stream_id\":\"s{stream}\",\"event_type\":\"E\",\"data\":{data},\"command_id\":\"c{n}\"}}\n"
    )
}

/// The same as a batch; what `data` gives is the payload of a row.
fn rows(data: impl Fn(usize) -> usize) -> BatchBytes {
    let mut builder = BatchBuilder::new("Call", BatchUnit::Rows);
    for n in 0..ROWS {
        let (stream_id, command, data) = (format!("s{}", n % STREAMS), format!("c{n}"), data(n).to_string());
        let (stream_id, command_id) = (stream_id.as_str(), Some(command.as_str()));
        builder
            .push(&EventInput { stream_id, event_type: "E", data: &data, command_id, ..EventInput::default() })
            .unwrap();
    }
    builder.finish().unwrap()
}

fn numbers(events: &Value) -> Vec<u64> {
    events.as_array().unwrap().iter().map(|event| event["data"].as_u64().unwrap()).collect()
}

/// Every event once, in its stream's order, by each way to read.
fn assert_all(server: &Running) {
    for stream in 0..STREAMS {
        let page = server.get(&format!("streams/Call/s{stream}")).ok(200);
        let of_stream: Vec<u64> = (0..ROWS).filter(|n| n % STREAMS == stream).map(|n| n as u64).collect();
        assert_eq!(numbers(&page["events"]), of_stream);
        assert_eq!(page["verdict"]["contiguous"], true);
    }
    let mut all = numbers(&server.get("events?limit=100&stream_type=Call").ok(200)["events"]);
    all.sort_unstable();
    assert_eq!(all, (0..ROWS as u64).collect::<Vec<_>>());
    assert_eq!(server.get_as("scan", "application/x-ndjson").text().lines().count(), ROWS);
}

fn buckets(rows: &Value) -> BTreeSet<u64> {
    let of_type = rows.as_array().unwrap().iter().filter(|row| row["stream_type"] == "Call");
    of_type.map(|row| row["bucket"].as_u64().unwrap()).collect()
}

#[test]
fn a_type_is_registered_with_its_number_of_buckets_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let server = registered(&folder);
    server.post("stream-types", r#"{"name":"Call","buckets":64}"#).ok(201);
    let other = server.post("stream-types", r#"{"name":"Call","buckets":8}"#).error(422, "strict_violation");
    assert!(other["error"].as_str().unwrap().contains("64"), "{other}");
    server.post("stream-types", r#"{"name":"Call"}"#).error(422, "strict_violation");
    for wrong in [0, 257] {
        let body = json!({ "name": "Other", "buckets": wrong }).to_string();
        server.post("stream-types", &body).error(400, "bad_request");
    }
    // an event makes a type of one bucket
    server.post("streams/Order/o", r#"{"events":[{"event_type":"E"}]}"#).ok(201);
    server.post("stream-types", r#"{"name":"Order","buckets":2}"#).error(422, "strict_violation");
    let types = server.get("stream-types").ok(200);
    let known: Vec<(&str, u64)> = types["stream_types"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| (of["name"].as_str().unwrap(), of["buckets"].as_u64().unwrap()))
        .collect();
    assert_eq!(known, [("Declared", 1), ("Call", 64), ("Order", 1)]);
    // the statement says no number
    server.post("/api/deql/create", &json!({ "deql": "CREATE AGGREGATE Call;" }).to_string()).ok(201);
}

#[test]
fn a_body_of_many_streams_is_told_by_its_lines_and_read_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = registered(&folder);
    let bulk = |path: &str, body: &str| server.post_as(path, NDJSON, body.as_bytes());
    let body: String = (0..ROWS).map(|n| line(n, n)).collect();
    let done = bulk("events", &body).ok(201);
    assert_eq!((&done["appended"], &done["duplicates"], &done["rejected"]), (&json!(ROWS), &json!(0), &json!([])));
    assert_all(&server);
    let again = bulk("events", &body).ok(201);
    assert_eq!((&again["appended"], &again["duplicates"]), (&json!(0), &json!(ROWS)));
    // one line says something else under its command: named by its place in the body, whichever owner found it
    let other: String = (0..ROWS).map(|n| line(n, if n == 22 { 0 } else { n })).collect();
    let refused = bulk("events", &other).error(409, "command_conflict");
    assert_eq!(refused["details"]["line"], 23);
    let rest = bulk("events?on_error=skip", &other).ok(201);
    assert_eq!((&rest["duplicates"], &rest["rejected"][0]["line"]), (&json!(ROWS - 1), &json!(23)));
    server.post("admin:compaction/run?wait=true", "").ok(200);
    assert_all(&server);
    let of_logs = buckets(&server.get("admin:compaction").ok(200)["stream_types"]);
    assert!(of_logs.len() > 1, "{of_logs:?}");
    assert_eq!(of_logs, buckets(&server.get("admin:manifest").ok(200)["logs"]));
    assert_eq!(server.get("/v1/stores").ok(200)["stores"][0]["stream_types"], json!(["Call"]));
    server.stop();
    let server = start(folder.path(), ", id.command_id.unique_scope = 'stream'");
    assert_all(&server);
    let known = server.append("s3", r#"{"event_type":"E","data":99}"#).ok(201);
    assert_eq!(known["first_seq"], ROWS / STREAMS + 1);
}

#[test]
fn a_native_batch_of_many_streams_has_one_answer_by_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let server = registered(&folder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::connect(Options::new(server.native.to_string())).await.unwrap();
        let stored = client.append_bulk(&[rows(|n| n)], OnError::Abort).await.unwrap().remove(0).unwrap();
        assert_eq!((stored.appended, stored.known), (ROWS as u64, 0));
        let other = rows(|n| if n == 22 || n == 30 { 0 } else { n });
        let refused = client.append_bulk(std::slice::from_ref(&other), OnError::Abort).await.unwrap_err();
        let ClientError::Refused(refused) = refused else { panic!("{refused}") };
        let (part, row) = (refused.part, refused.row.unwrap());
        assert!(part == Some(0) && [22, 30].contains(&row), "{refused:?}");
        assert!(refused.text.contains(&format!("c{row}")), "the row is the one that is wrong: {refused:?}");
        let rest = client.append_bulk(&[other], OnError::Skip).await.unwrap().remove(0).unwrap();
        assert_eq!((rest.appended, rest.known), (0, ROWS as u64 - 2));
        assert_eq!(rest.rejected.iter().map(|row| row.row).collect::<Vec<_>>(), [22, 30]);
        // many appends of one frame, each to its owner
        let one = |n: usize| {
            let mut builder = BatchBuilder::new("Call", BatchUnit::Append);
            let stream_id = format!("t{n}");
            builder.push(&EventInput { stream_id: &stream_id, event_type: "E", ..EventInput::default() }).unwrap();
            let (client, batch) = (client.clone(), builder.finish().unwrap());
            tokio::spawn(async move { client.append(batch, Expected::Empty).await.unwrap().first_seq().0 })
        };
        let sent: Vec<_> = (0..50).map(one).collect();
        for appended in sent {
            assert_eq!(appended.await.unwrap(), 1);
        }
        assert_eq!(client.head("Call", "t7").await.unwrap().unwrap().last_seq.0, 1);
    });
}
