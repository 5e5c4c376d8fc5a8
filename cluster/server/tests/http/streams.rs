//! One stream over HTTP: append, read, head.

use crate::common::start;
use serde_json::{Value, json};

const TICK: &str = r#"{"event_type":"Ticked","data":{"n" : 1}}"#;

#[test]
fn an_append_is_answered_as_documented_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let done =
        server.post("streams/Call/c1", &format!("{{\"events\":[{TICK},{TICK}],\"expected_seq\":\"empty\"}}")).ok(201);
    assert_eq!(done["stream_type"], "Call");
    assert_eq!((&done["first_seq"], &done["last_seq"], &done["duplicate"]), (&json!(1), &json!(2), &json!(false)));
    let first = &done["events"][0];
    assert!(first["event_id"].is_string() && first["seq"] == 1 && first["ingested_at"].is_string());
    let read = server.get("streams/Call/c1");
    assert_eq!(read.header("x-strandline-tiers"), "inmemory");
    let page = read.ok(200);
    assert!(read.text().contains(r#""data":{"n" : 1}"#), "payloads are byte for byte");
    assert_eq!(page["verdict"], json!({"from_seq":1,"to_seq":2,"contiguous":true,"missing":[],"retired":[]}));
    assert_eq!((&page["last_seq"], &page["warnings"]), (&json!(2), &json!([])));
    assert_eq!(page["events"][0]["event_id"], first["event_id"]);
    assert_eq!(server.get("streams/Call/c1/head").ok(200), json!({"last_seq":2,"first_seq":1}));
    let desc = server.get("streams/Call/c1?order=desc&limit=1").ok(200);
    assert_eq!((&desc["events"][0]["seq"], desc["events"].as_array().unwrap().len()), (&json!(2), 1));
    assert_eq!(server.get("streams/Call/c1?from_seq=2&to_seq=2").ok(200)["events"][0]["seq"], 2);
    server.stop();
}

#[test]
fn json_that_is_nested_too_deep_is_refused_and_names_of_locks_are_names() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for field in ["data", "metadata"] {
        let event = |levels| format!(r#"{{"event_type":"x","data":1,"{field}":{}}}"#, nested(levels));
        let event = |levels| event(levels).replace(r#""data":1,"data""#, r#""data""#);
        server.append("c", &event(128)).ok(201);
        let refused = server.append("c", &event(129)).ok(422);
        assert!(refused.to_string().contains("nested deeper than 128"), "{refused}");
    }
    let flat = format!(r#"{{"event_type":"x","data":[{}]}}"#, ["[]"; 500].join(","));
    server.append("c", &flat).ok(201);
    server.post("streams/.lock/c", &format!("{{\"events\":[{TICK}]}}")).ok(201);
    assert_eq!(server.get("streams/.lock/c/head").ok(200)["last_seq"], 1);
    server.stop();
}

/// Pages of at most five events: seqs, and what the answer says about the next one, in its body and in its header.
#[test]
fn a_page_says_where_the_next_one_begins() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    server.append("c", &[TICK; 12].join(",")).ok(201);
    let check = |query: &str, seqs: &[u64], next: Option<u64>| {
        for format in ["application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"] {
            let answer = server.get_as(&format!("streams/Call/c?limit=5{query}"), format);
            assert_eq!(
                answer.header("x-strandline-next-seq"),
                next.map_or(String::new(), |n| n.to_string()),
                "{query}"
            );
            if format == "application/json" {
                let page = answer.ok(200);
                let found: Vec<u64> =
                    page["events"].as_array().unwrap().iter().map(|e| e["seq"].as_u64().unwrap()).collect();
                assert_eq!((&found[..], &page["next_seq"]), (seqs, &json!(next)), "{query}");
            }
        }
    };
    for _ in 0..2 {
        check("", &[1, 2, 3, 4, 5], Some(6));
        check("&from_seq=6", &[6, 7, 8, 9, 10], Some(11));
        check("&from_seq=11", &[11, 12], None);
        check("&from_seq=8", &[8, 9, 10, 11, 12], None);
        check("&from_seq=13", &[], None);
        check("&to_seq=5", &[1, 2, 3, 4, 5], None);
        check("&order=desc", &[12, 11, 10, 9, 8], Some(7));
        check("&order=desc&to_seq=7&from_seq=3", &[7, 6, 5, 4, 3], None);
        check("&order=desc&to_seq=2", &[2, 1], None);
        server.post("/admin/v1/stores/s/compaction/run?wait=true", "").ok(200);
    }
}

#[test]
fn every_format_of_a_read() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    server.append("c", "{\"event_type\":\"E\",\"data\":{\"a\":\n\"x\\n\"}},{\"event_type\":\"F\"}").ok(201);
    let lines = server.get_as("streams/Call/c", "application/x-ndjson").text();
    assert_eq!(lines.lines().count(), 2);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["data"]["a"], "x\n");
    let arrow = server.get_as("streams/Call/c", "application/vnd.apache.arrow.stream");
    assert_eq!(arrow.header("content-type"), "application/vnd.apache.arrow.stream");
    let names = strandline_event::FieldNames::default();
    let rows: usize = strandline_durable::ipc::InputBatches::from_ipc(&names, arrow.body.into())
        .unwrap()
        .map(|batch| batch.unwrap().rows())
        .sum();
    assert_eq!(rows, 2);
    server.get_as("streams/Call/c", "text/html").error(415, "unsupported_media_type");
}

#[test]
fn names_in_the_path_are_decoded_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let path = "streams/a%2Fb%20%C3%BC/x%2F..%2Fy%252F+";
    let done = server.post(path, &format!("{{\"events\":[{TICK}]}}")).ok(201);
    assert_eq!(done["stream_type"], "a/b \u{fc}");
    assert_eq!(done["stream_id"], "x/../y%2F+");
    assert_eq!(server.get(path).ok(200)["events"][0]["stream_id"], "x/../y%2F+");
    assert_eq!(server.get(&format!("{path}/head")).ok(200)["last_seq"], 1);
    server.post("streams//x", "{}").error(400, "bad_request");
    server.get("streams/Call/%FF").error(400, "bad_request");
    let long = "x".repeat(1025);
    server.append(&long, TICK).error(422, "invalid_event");
    server
        .post(&format!("streams/{}/x", "y".repeat(201)), &format!("{{\"events\":[{TICK}]}}"))
        .error(422, "invalid_event");
}

#[test]
fn conflicts_have_their_codes_and_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", id.command_id.unique_scope = 'stream'");
    server.append("c", &format!("{TICK},{TICK}")).ok(201);
    let wrong = server.post("streams/Call/c", &format!("{{\"events\":[{TICK}],\"expected_seq\":7}}"));
    let wrong = wrong.error(409, "wrong_expected_seq");
    assert_eq!((&wrong["details"]["expected_seq"], &wrong["details"]["last_seq"]), (&json!(7), &json!(2)));
    let gap = server.append("c", r#"{"event_type":"E","seq":9}"#).error(409, "seq_gap");
    assert_eq!(gap["details"]["next_seq"], 3);
    server.append("c", r#"{"event_type":"Other","seq":2}"#).error(409, "seq_conflict");
    let id = "0190a6e4-7c1a-7000-8000-000000000001";
    server.append("c", &format!("{{\"event_type\":\"E\",\"event_id\":\"{id}\"}}")).ok(201);
    server.append("d", &format!("{{\"event_type\":\"E\",\"event_id\":\"{id}\"}}")).error(409, "event_id_conflict");
    server
        .append("d", r#"{"event_type":"E","event_id":"0190a6e4-7c1a-4000-8000-000000000001"}"#)
        .error(422, "invalid_event");
    let command = |data: u8| {
        let body = format!(
            "{{\"events\":[{{\"event_type\":\"E\",\"data\":{data}}}],\"command_id\":\"k\",\"expected_seq\":\"empty\"}}"
        );
        server.post("streams/Call/k", &body)
    };
    let first = command(1).ok(201);
    let again = command(1).ok(200);
    assert_eq!(again["duplicate"], true);
    assert_eq!(again["events"], first["events"]);
    command(2).error(409, "command_conflict");
    let dry = server.post("streams/Call/new?inspect=true", &format!("{{\"events\":[{TICK}]}}")).ok(201);
    assert_eq!((&dry["inspect"], &dry["last_seq"]), (&json!(true), &json!(1)));
    server.get("streams/Call/new").error(404, "not_found");
    server.get("streams/Call/new/head").error(404, "not_found");
}

#[test]
fn a_stream_type_that_is_not_known_is_answered_with_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    server.append("c", TICK).ok(201);
    for (name, meant) in [("Cal", true), ("Nope", false)] {
        let read = format!("streams/{name}/c");
        let answers = [
            server.get(&read),
            server.get(&format!("{read}/head")),
            server.post(&format!("admin:compaction/run?stream_type={name}"), ""),
            server.get(&format!("admin:compaction/plan?stream_type={name}")),
        ];
        for error in answers.map(|answer| answer.error(404, "not_found")) {
            let text = error["error"].as_str().unwrap();
            assert_eq!(error["details"]["stream_types"], json!(["Call", "Declared"]), "{error}");
            assert!(text.contains("known are Call, Declared"), "{text}");
            assert_eq!(text.contains("did you mean 'Call'?"), meant, "{text}");
        }
    }
    let error = server.get("streams/Call/nobody").error(404, "not_found");
    assert_eq!(error["error"], "there is no stream 'nobody' of stream type 'Call'");
    // registered, and without an event
    let error = server.get("streams/Declared/c").error(404, "not_found");
    assert_eq!(error["details"], json!({}), "{error}");
}

#[test]
fn rules_of_the_store_are_422_and_name_the_field_as_the_store_does() {
    let folder = tempfile::tempdir().unwrap();
    let more = ", strict.tenant_required = true, envelope.tenant_id_key = 'org', envelope.seq_key = 'version',
                strict.stream_type_enforced = true";
    let server = start(folder.path(), more);
    let unknown = server.append("c", TICK).error(422, "strict_violation");
    for part in ["Declared", "CREATE AGGREGATE Call;", "stream-types"] {
        assert!(unknown["error"].as_str().unwrap().contains(part), "{unknown}");
    }
    server.post("stream-types", "{\"name\":\"Call\"}").ok(201);
    let missing = server.append("c", TICK).error(422, "strict_violation");
    assert_eq!(missing["details"]["field"], "org");
    server.append("c", r#"{"event_type":"E","tenant_id":"t"}"#).error(422, "invalid_event");
    let done = server.append("c", r#"{"event_type":"E","org":"t"}"#).ok(201);
    assert_eq!(done["events"][0]["version"], 1);
    let event = &server.get("streams/Call/c").ok(200)["events"][0];
    assert_eq!((&event["org"], &event["version"]), (&json!("t"), &json!(1)));
    // filters have one name in every store
    let filtered = server.get("events?tenant_id=t").ok(200);
    assert_eq!((filtered["events"].as_array().map(Vec::len), &filtered["events"][0]["org"]), (Some(1), &json!("t")));
    assert_eq!(server.get("events?tenant_id=u").ok(200)["events"], json!([]));
    let other = server.get("events?org=t").error(400, "bad_request");
    assert!(other["error"].as_str().unwrap().contains("tenant_id"), "it says what there is: {other}");
    let types = server.get("stream-types").ok(200);
    let names: Vec<_> = types["stream_types"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Declared", "Call"]);
    server.post("stream-types", "{\"name\":\"x\",\"buckets\":-1}").error(400, "bad_request");
    server.post("stream-types", "{\"name\":\"\"}").error(422, "invalid_event");
    server.post("stream-types", "{\"nam\":\"\"}").error(400, "bad_request");
}

#[test]
fn bad_queries_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    server.append("c", TICK).ok(201);
    for query in [
        "limit=0",
        "limit=100001",
        "limit=x",
        "order=up",
        "from_seq=3&to_seq=2",
        "what=1",
        "from_seq=-1",
        "as_of=x",
        "consistency=quorum",
    ] {
        let error = server.get(&format!("streams/Call/c?{query}")).error(400, "bad_request");
        assert!(!error["error"].as_str().unwrap().is_empty());
    }
    for told in ["leader", "local"] {
        server.get(&format!("streams/Call/c?consistency={told}")).ok(200);
    }
}

#[test]
fn a_read_that_names_no_order_gets_the_one_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), ", read.default_order = ('occurred_at')");
    let event = |at: &str| format!("{{\"event_type\":\"E\",\"occurred_at\":\"{at}\"}}");
    server.append("c", &[event("2026-03-01T00:00:00Z"), event("2026-01-01T00:00:00Z")].join(",")).ok(201);
    let seqs = |path: &str| {
        let page = server.get(path).ok(200);
        page["events"].as_array().unwrap().iter().map(|e| e["seq"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(seqs("streams/Call/c"), [2, 1]);
    assert_eq!((seqs("streams/Call/c?order=asc"), seqs("streams/Call/c?order=desc")), (vec![1, 2], vec![2, 1]));
}

#[test]
fn a_stream_is_read_as_of_a_version_and_of_a_moment() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let version = || server.get("/admin/v1/stores/s/manifest").ok(200)["version"].as_u64().unwrap();
    let mut versions = Vec::new();
    for _ in 0..2 {
        server.append("c", TICK).ok(201);
        server.post("/admin/v1/stores/s/compaction/run?wait=true", "").ok(200);
        versions.push(version());
    }
    server.append("c", TICK).ok(201);
    for (version, length) in versions.iter().zip(1..) {
        let page = server.get(&format!("streams/Call/c?as_of={version}")).ok(200);
        assert_eq!((&page["last_seq"], page["events"].as_array().unwrap().len()), (&json!(length), length));
        assert_eq!(page["verdict"]["contiguous"], true);
    }
    let before = server.get("streams/Call/c?as_of=1").error(404, "not_found");
    assert!(before["error"].as_str().unwrap().contains("version 1 of the manifest"), "it is there now: {before}");
    let history = server.get("/admin/v1/stores/s/manifest").ok(200)["history"].clone();
    let moment = |version: u64| {
        let of = |told: &&Value| told["version"] == version;
        history.as_array().unwrap().iter().find(of).unwrap()["committed_at"].as_str().unwrap().to_owned()
    };
    for (version, length) in versions.iter().zip(1..) {
        let page = server.get(&format!("streams/Call/c?as_of={}", moment(*version))).ok(200);
        assert_eq!(page["last_seq"], json!(length));
    }
    assert_eq!(server.get("streams/Call/c?as_of=9999-01-01T00:00:00Z").ok(200)["last_seq"], 2, "what is in files");
    let early = server.get("streams/Call/c?as_of=2001-01-01T01:00:00%2B01:00").error(404, "not_found");
    let told = early["error"].as_str().unwrap();
    assert!(told.contains("2001-01-01T00:00:00Z") && told.contains(&moment(1)), "{told}");
    let far = server.get("streams/Call/c?as_of=1000").error(404, "not_found");
    assert!(far["error"].as_str().unwrap().contains("1000"), "{far}");
    assert_eq!(server.get("streams/Call/c").ok(200)["last_seq"], 3);
}
