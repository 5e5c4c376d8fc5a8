//! Many streams over HTTP: bulk, the global order, scan, by id.

use crate::common::{Running, start};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use strandline_event::{EventId, EventRef, FieldNames, Micros, Seq};

const NDJSON: &str = "application/x-ndjson";

fn line(stream_type: &str, stream: &str, more: &str) -> String {
    format!("{{\"stream_type\":\"{stream_type}\",\"stream_id\":\"{stream}\",\"event_type\":\"E\"{more}}}\n")
}

fn bulk(server: &Running, body: &str) -> Value {
    server.post_as("events", NDJSON, body.as_bytes()).ok(201)
}

#[test]
fn bulk_takes_lines_arrays_and_arrow() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let body: String = (0..100).map(|i| line(["A", "B"][i % 2], &format!("s{}", i % 7), "")).collect();
    assert_eq!(bulk(&server, &body), json!({"appended":100,"duplicates":0,"rejected":[]}));
    let array = server.post("events", &format!("[{},{}]", line("A", "s0", ""), line("C", "s0", ""))).ok(201);
    assert_eq!(array["appended"], 2);
    let arrow = server.get_as("scan", "application/vnd.apache.arrow.stream");
    assert_eq!(arrow.status, 200);
    let copied = server.post_as("events", "application/vnd.apache.arrow.stream", &arrow.body);
    // ids and seqs are the client's now: the same events again
    let copied = copied.ok(201);
    assert_eq!((&copied["appended"], &copied["duplicates"], &copied["rejected"]), (&json!(0), &json!(102), &json!([])));
    // nobody may take it for kept
    let [warning] = &copied["warnings"].as_array().unwrap()[..] else { panic!("{copied}") };
    assert!(warning.as_str().unwrap().starts_with("column `ingested_at` is left out"), "{copied}");
    let lines = server.get("scan").text();
    assert_eq!(lines.lines().count(), 102);
    server.post_as("events", NDJSON, b"\n\n").error(400, "bad_request");
    // the body of an append to one stream
    let other = server.post("events", r#"{"events": [{"event_type": "E"}]}"#).error(400, "bad_request");
    assert!(other["error"].as_str().unwrap().ends_with("/streams/{stream_type}/{stream_id}"), "{other}");
}

#[test]
fn what_is_wrong_with_an_event_is_told_the_same_way_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let events = [("E", "1"), ("", "2"), ("E", "{oops")];
    let event = |(n, (event_type, data)): (usize, (&'static str, &'static str))| EventRef {
        event_id: EventId::parse(&format!("0190a6e4-7c1a-7000-8000-00000000000{n}")).unwrap(),
        stream_type: "A",
        stream_id: "of columns",
        seq: Seq(n as u64 + 1),
        event_type,
        event_version: None,
        occurred_at: Micros(0),
        ingested_at: Micros(0),
        data,
        metadata: None,
        command_id: None,
        correlation_id: None,
        causation_id: None,
        tenant_id: None,
    };
    let arrow =
        strandline_durable::ipc::encode(&FieldNames::default(), events.into_iter().enumerate().map(event)).unwrap();
    let of_line = |(event_type, data): &(&str, &str)| {
        format!(
            "{{\"stream_type\":\"A\",\"stream_id\":\"of lines\",\"event_type\":\"{event_type}\",\"data\":{data}}}\n"
        )
    };
    let lines: String = events.iter().map(of_line).collect();
    for (kind, body) in [(NDJSON, lines.into_bytes()), ("application/vnd.apache.arrow.stream", arrow)] {
        let skipped = server.post_as("events?on_error=skip", kind, &body).ok(201);
        let refused = server.post_as("events", kind, &body).error(422, "invalid_event");
        assert_eq!((&skipped["appended"], &refused["details"]["line"]), (&json!(1), &json!(2)), "{kind}: {skipped}");
        assert_eq!(refused["details"]["rejected"], skipped["rejected"], "{kind}");
        let told = skipped["rejected"].as_array().unwrap().iter();
        let told: Vec<_> = told.map(|row| json!([row["line"], row["field"], row["code"]])).collect();
        assert_eq!(
            told,
            [json!([2, "event_type", "invalid_event"]), json!([3, "data", "bad_request"])],
            "{kind}: {skipped}"
        );
        assert_eq!(skipped["rejected"][0]["error"], "`event_type` is missing or empty", "{kind}");
    }
}

#[test]
fn a_broken_line_is_named_and_nothing_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let body = format!("{}{{\"stream_type\": oops\n{}", line("A", "s", ""), line("A", "s", ""));
    let error = server.post_as("events", NDJSON, body.as_bytes()).error(400, "bad_request");
    assert_eq!(error["details"]["line"], 2);
    server.get("streams/A/s").error(404, "not_found");
    let skipped = server.post_as("events?on_error=skip", NDJSON, body.as_bytes()).ok(201);
    assert_eq!((&skipped["appended"], &skipped["rejected"][0]["line"]), (&json!(2), &json!(2)));
    assert_eq!(skipped["rejected"][0]["code"], "bad_request");
}

#[test]
fn a_conflict_anywhere_in_a_body_stores_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", id.command_id.unique_scope = 'stream'");
    let id = bulk_one_of(&server, &line("B", "t", ",\"command_id\":\"k\",\"data\":1"));
    let conflicts = [
        (",\"seq\":7".to_owned(), "seq_gap"),
        (",\"seq\":1,\"data\":2".to_owned(), "seq_conflict"),
        (",\"command_id\":\"k\",\"data\":2".to_owned(), "command_conflict"),
        (format!(",\"event_id\":\"{id}\",\"data\":2"), "event_id_conflict"),
    ];
    for (more, code) in conflicts {
        // the owner that comes first has nothing to say against its part
        let body = format!("{}{}", line("A", "s", ""), line("B", "t", &more));
        let refused = server.post_as("events", NDJSON, body.as_bytes()).error(409, code);
        assert_eq!(refused["details"]["line"], 2, "{refused}");
        server.get("streams/A/s").error(404, "not_found");
        let new = format!("{}{}", line("A", "s", ""), line(code, "t", ",\"seq\":5"));
        server.post_as("events", NDJSON, new.as_bytes()).error(409, "seq_gap");
        server.get("streams/A/s").error(404, "not_found");
    }
    let body = format!("{}{}", line("A", "s", ""), line("B", "t", ",\"seq\":7"));
    let alone = server.post_as("events", NDJSON, line("B", "t", ",\"seq\":5").as_bytes()).error(409, "seq_gap");
    assert_eq!(alone["details"]["line"], 1);
    let skipped = server.post_as("events?on_error=skip", NDJSON, body.as_bytes()).ok(201);
    assert_eq!(skipped["rejected"], json!([{"line":2,"code":"seq_gap","error":skipped["rejected"][0]["error"]}]));
}

/// Stores one line; the id of its event.
fn bulk_one_of(server: &Running, line: &str) -> String {
    assert_eq!(bulk(server, line)["appended"], 1);
    server.get("events").ok(200)["events"][0]["event_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_body_that_was_stored_in_part_is_known_in_part() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", id.command_id.unique_scope = 'stream'");
    let (one, other) = (line("A", "s", ",\"command_id\":\"k\""), line("B", "t", ",\"command_id\":\"k\""));
    assert_eq!(bulk(&server, &one)["appended"], 1);
    assert_eq!(bulk(&server, &format!("{one}{other}")), json!({"appended":1,"duplicates":1,"rejected":[]}));
    assert_eq!(bulk(&server, &format!("{one}{other}")), json!({"appended":0,"duplicates":2,"rejected":[]}));
    let (one, other) = (line("A", "u", ",\"seq\":1"), line("B", "u", ",\"seq\":1"));
    assert_eq!(bulk(&server, &one)["appended"], 1);
    assert_eq!(bulk(&server, &format!("{one}{other}")), json!({"appended":1,"duplicates":1,"rejected":[]}));
}

#[test]
fn commands_and_chunks_are_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", id.command_id.unique_scope = 'stream_type'");
    let body: String = (0..10).map(|i| line("A", "s", &format!(",\"command_id\":\"k{}\"", i % 8))).collect();
    assert_eq!(bulk(&server, &body), json!({"appended":8,"duplicates":2,"rejected":[]}));
    assert_eq!(bulk(&server, &body), json!({"appended":0,"duplicates":10,"rejected":[]}));
    let digest = "00112233445566778899aabbccddeeff";
    let chunk = |number: &str| {
        let headers =
            [("content-type", NDJSON), ("x-strandline-chunk-digest", digest), ("x-strandline-chunk-number", number)];
        server.post_with("events", &headers, line("B", "s", "").as_bytes())
    };
    assert_eq!(chunk("1").ok(201)["appended"], 1);
    assert_eq!(chunk("1").ok(201), json!({"appended":0,"duplicates":1,"rejected":[]}));
    assert_eq!(chunk("2").ok(201)["appended"], 1);
    chunk("0").error(400, "bad_request");
    server.post_with("events", &[("x-strandline-chunk-digest", digest)], b"x").error(400, "bad_request");
}

#[test]
fn a_retried_chunk_never_calls_a_refused_line_stored() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let send = |number: &str, body: &str| {
        let digest = ("x-strandline-chunk-digest", "00112233445566778899aabbccddeeff");
        let headers = [("content-type", NDJSON), digest, ("x-strandline-chunk-number", number)];
        server.post_with("events?on_error=skip", &headers, body.as_bytes()).ok(201)
    };
    let part = format!("{}{}{}", line("A", "s", ""), line("A", "s", ",\"seq\":7"), line("A", "s", ""));
    let none = line("B", "t", ",\"seq\":5");
    let first = send("1", &part);
    assert_eq!((&first["appended"], &first["rejected"][0]["code"]), (&json!(2), &json!("seq_gap")));
    assert_eq!(send("2", &none)["rejected"][0]["code"], "seq_gap", "refused whole");
    assert_eq!(send("3", &format!("{}{}", line("A", "s", ""), line("B", "t", "")))["appended"], 2);
    for compacted in [false, true] {
        if compacted {
            server.post("admin:compaction/run?wait=true", "").ok(200);
        }
        let again = send("1", &part);
        assert_eq!((&again["appended"], &again["duplicates"]), (&json!(0), &json!(2)), "{again}");
        let rejected = again["rejected"].as_array().unwrap();
        assert_eq!((rejected.len(), &rejected[0]["line"]), (1, &json!(2)), "{again}");
        assert!(rejected[0]["error"].as_str().unwrap().contains("file of its own"), "{again}");
        let again = send("2", &none);
        assert_eq!((&again["duplicates"], &again["rejected"][0]["code"]), (&json!(0), &json!("seq_gap")), "{again}");
    }
    assert_eq!(server.get("streams/A/s/head").ok(200)["last_seq"], 3);
}

#[test]
fn the_global_order_is_paged_without_loss_through_compaction() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let body: String =
        (0..300).map(|i| line(["A", "B", "C"][i % 3], &format!("s{}", i % 11), &format!(",\"data\":{i}"))).collect();
    bulk(&server, &body);
    let (mut after, mut ids, mut pages) = (String::new(), BTreeSet::new(), 0);
    while ids.len() < 300 {
        let page = server.get(&format!("events?limit=50&after={after}")).ok(200);
        for event in page["events"].as_array().unwrap() {
            assert!(event["position"].is_string());
            assert!(ids.insert(event["event_id"].as_str().unwrap().to_owned()), "an event twice");
        }
        after = page["next"].as_str().unwrap().to_owned();
        pages += 1;
        if pages == 2 {
            server.post("admin:compaction/run?wait=true", "").ok(200);
        }
    }
    let rest = server.get(&format!("events?after={after}")).ok(200);
    assert!(rest["events"].as_array().unwrap().is_empty());
    assert_eq!(server.get("events?stream_type=B").ok(200)["events"].as_array().unwrap().len(), 100);
    let id = ids.first().unwrap();
    let found = server.get(&format!("events/{id}")).ok(200);
    assert_eq!(found["event"]["event_id"], id.as_str());
    server.get("events/0190a6e4-7c1a-7000-8000-00000000dead").error(404, "not_found");
    server.get("events/nonsense").error(400, "bad_request");
    server.get("events?after=nonsense").error(400, "bad_request");
    server.get("events?occurred_from=yesterday").error(400, "bad_request");
    assert_eq!(server.get("scan").text().lines().count(), 300);
}

#[test]
fn a_filter_that_nothing_can_match_is_refused_and_not_taken_for_none() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    bulk(&server, &line("Call", "a", ""));
    let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let swapped = format!("occurred_from={late}&occurred_to={early}");
    let wrong = [
        ("stream_type=", "`stream_type` is empty"),
        ("event_type=", "`event_type` is empty"),
        ("tenant_id=", "`tenant_id` is empty"),
        ("occurred_from=", "RFC 3339"),
        (swapped.as_str(), "swap the two"),
    ];
    for path in ["events", "scan", "subscribe"] {
        let also = (path == "subscribe").then_some(("stream_id=", "`stream_id` is empty"));
        for (query, said) in wrong.into_iter().chain(also) {
            let error = server.get(&format!("{path}?{query}")).error(400, "bad_request");
            assert!(error["error"].as_str().unwrap().contains(said), "{path}?{query}: {error}");
        }
        // a range without a moment is one all the same
        let nothing = server.get(&format!("{path}?occurred_from={early}&occurred_to={early}&{}", idle(path)));
        assert_eq!(nothing.status, 200, "{path}: {}", nothing.text());
    }
    for filter in [
        r#"{"tenant_id":""}"#.to_owned(),
        r#"{"stream_id":""}"#.to_owned(),
        format!(r#"{{"occurred_from":"{late}","occurred_to":"{early}"}}"#),
    ] {
        server.post("subscriptions/s", &format!("{{\"filter\":{filter}}}")).error(400, "bad_request");
    }
    server.get("subscriptions/s").error(404, "not_found");
}

/// What ends an answer that would go on.
fn idle(path: &str) -> &'static str {
    if path == "subscribe" { "idle_s=0" } else { "" }
}
