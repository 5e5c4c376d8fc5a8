//! The routes, as the contract words them: answers, errors, and input that no client should send.

use crate::harness::{Http, Server, Store};
use crate::oracles::oracle;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

fn event(event_type: &str) -> Value {
    json!({"event_type": event_type, "data": {"of": event_type}})
}

#[test]
fn a_stream_is_appended_to_and_read_back() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    let path = "streams/Order/o-1";
    let first =
        http.post(path, &json!({"events": [event("Placed"), event("Paid")], "expected_seq": "empty"})).expect(201);
    assert_eq!((&first["first_seq"], &first["last_seq"], &first["duplicate"]), (&json!(1), &json!(2), &json!(false)));
    assert_eq!((&first["stream_type"], &first["stream_id"]), (&json!("Order"), &json!("o-1")));
    assert_eq!(first["events"].as_array().unwrap().len(), 2);
    let conflict = http.post(path, &json!({"events": [event("Paid")], "expected_seq": 1}));
    conflict.expect_error(409, "wrong_expected_seq");
    http.post(path, &json!({"events": [event("Shipped")], "expected_seq": 2})).expect(201);

    let page = http.get(path).expect(200);
    let types: Vec<&Value> = page["events"].as_array().unwrap().iter().map(|e| &e["event_type"]).collect();
    assert_eq!(types, ["Placed", "Paid", "Shipped"]);
    assert_eq!((&page["last_seq"], &page["warnings"]), (&json!(3), &json!([])));
    let verdict = json!({"from_seq": 1, "to_seq": 3, "contiguous": true, "missing": [], "retired": []});
    assert_eq!(page["verdict"], verdict);
    let back = http.get(&format!("{path}?order=desc&limit=2")).expect(200);
    let seqs: Vec<&Value> = back["events"].as_array().unwrap().iter().map(|e| &e["seq"]).collect();
    assert_eq!(seqs, [&json!(3), &json!(2)]);
    let head = http.get(&format!("{path}/head")).expect(200);
    assert_eq!((&head["last_seq"], &head["first_seq"]), (&json!(3), &json!(1)));

    let id = first["events"][1]["event_id"].as_str().unwrap();
    assert_eq!(http.get(&format!("events/{id}")).expect(200)["event"]["event_type"], "Paid");
    assert_eq!(http.get_as(path, "application/x-ndjson").lines().len(), 3);
    assert_eq!(http.get(path).header("x-strandline-tiers"), Some("inmemory"));
    http.compact();
    assert_eq!(http.get(path).expect(200), page, "memory still holds all of it");
    server.stop();
    let server = store.start();
    let http = server.http();
    let compacted = http.get(path);
    assert_eq!(compacted.header("x-strandline-tiers"), Some("durable"));
    let (mut before, mut after) = (page, compacted.expect(200));
    assert_eq!(before["tiers"].take(), json!([{"tier": "inmemory", "rows": 3}]));
    assert_eq!(after["tiers"].take(), json!([{"tier": "durable", "rows": 3}]));
    assert_eq!(after, before, "compaction changes nothing else that a reader sees");
    assert_eq!(http.get(&format!("events/{id}")).expect(200)["event"]["event_type"], "Paid");
    server.stop();
    store.assert_clean();
}

#[test]
fn a_node_takes_memory_in_small_pages() {
    let store = Store::new(&[]);
    let server = store.start();
    // a kernel without huge pages does not say
    assert_ne!(server.status("THP_enabled").as_deref(), Some("1"));
    assert!(server.status("VmRSS").is_some());
    server.stop();
}

#[test]
fn a_dry_run_stores_nothing() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    let body = json!({"events": [event("Placed")], "expected_seq": "empty"});
    assert_eq!(http.post("streams/Order/o-1?inspect=true", &body).expect(201)["first_seq"], 1);
    http.get("streams/Order/o-1").expect_error(404, "not_found");
    http.post("streams/Order/o-1", &body).expect(201);
    http.post("streams/Order/o-1?inspect=true", &body).expect_error(409, "wrong_expected_seq");
}

#[test]
fn what_is_no_http_is_refused_and_does_not_fill_the_log() {
    let store = Store::new(&[]);
    let server = store.start();
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    for _ in 0..10 {
        let mut socket = TcpStream::connect(&address).unwrap();
        socket.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nbad\x01header: 1\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let ended = server.finish();
    assert_eq!((ended.code, ended.stderr.contains("ERROR")), (0, false), "{}", ended.stderr);
}

#[test]
fn a_retry_by_command_id_gets_the_first_answer_over_tiers_and_restarts() {
    let store = Store::new(&["id.command_id.unique_scope = 'stream'"]);
    let server = store.start();
    let body = json!({"events": [event("Placed"), event("Paid")], "expected_seq": "empty", "command_id": "c-1"});
    let other = json!({"events": [event("Placed")], "command_id": "c-1"});
    let first = server.http().post("streams/Order/o-1", &body).expect(201);
    let check = |http: &Http| {
        let again = http.post("streams/Order/o-1", &body).expect(200);
        assert_eq!((&again["duplicate"], &again["events"]), (&json!(true), &first["events"]));
        assert_eq!((&again["first_seq"], &again["last_seq"]), (&json!(1), &json!(2)));
        http.post("streams/Order/o-1", &other).expect_error(409, "command_conflict");
        assert_eq!(http.get("streams/Order/o-1/head").expect(200)["last_seq"], 2);
    };
    check(&server.http());
    server.http().compact();
    check(&server.http());
    server.kill();
    let server = store.start();
    check(&server.http());
}

#[test]
fn a_command_of_the_whole_store_is_one_streams_over_tiers_and_restarts() {
    let store = Store::new(&["id.command_id.unique_scope = 'store'"]);
    let server = store.start();
    let body = json!({"events": [event("Placed")], "command_id": "c-1"});
    let first = server.http().post("streams/Order/o-1", &body).expect(201);
    let check = |http: &Http| {
        let again = http.post("streams/Order/o-1", &body).expect(200);
        assert_eq!((&again["duplicate"], &again["events"]), (&json!(true), &first["events"]));
        http.post("streams/Order/o-2", &body).expect_error(409, "command_conflict");
        let refused = http.post("streams/Invoice/o-1", &body).expect_error(409, "command_conflict");
        assert_eq!(refused["details"]["stream_type"], "Order", "{refused}");
        http.get("streams/Invoice/o-1").expect_error(404, "not_found");
    };
    check(&server.http());
    server.http().compact();
    check(&server.http());
    server.kill();
    let server = store.start();
    check(&server.http());
    // the other type has a log of its own from here on
    let other = json!({"events": [event("Sent")], "command_id": "c-2"});
    server.http().post("streams/Invoice/o-1", &other).expect(201);
    server.http().post("streams/Order/o-1", &other).expect_error(409, "command_conflict");
    server.stop();
}

#[test]
fn bulk_keeps_what_is_valid_where_it_may_and_nothing_where_it_must() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    let good = r#"{"stream_type":"T","stream_id":"s","event_type":"E","data":{"a":1}}"#;
    let cases = [
        ("{\"stream_type\":\"T\",\"stream_id\":\"s\",\"event_type\":\"E\",\"data\":{\"a\":}", 400),
        ("{\"stream_type\":\"T\",\"stream_id\":\"\",\"event_type\":\"E\",\"data\":{}}", 422),
        ("[1,2,3]", 400),
        ("\u{1}\u{2}", 400),
    ];
    for (bad, status) in cases {
        let body = format!("{good}\n{bad}\n{good}\n");
        let refused = http.post_as("events", "application/x-ndjson", body.as_bytes());
        assert!(refused.status == status || refused.status == 422, "{bad}: {} {}", refused.status, refused.text());
        assert_eq!(refused.json()["details"]["line"], 2, "{}", refused.text());
    }
    http.get("streams/T/s").expect_error(404, "not_found");
    let body = format!("{good}\n{}\n{good}\n", cases[1].0);
    let skipped = http.post_as("events?on_error=skip", "application/x-ndjson", body.as_bytes()).expect(201);
    assert_eq!((&skipped["appended"], &skipped["rejected"][0]["line"]), (&json!(2), &json!(2)));
    assert_eq!(http.stream("T", "s").len(), 2);
    let array = format!("[{good},{good}]");
    assert_eq!(http.post_as("events", "application/json", array.as_bytes()).expect(201)["appended"], 2);
}

#[test]
fn payloads_come_back_byte_for_byte() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    let data = "{\"b\" : 1.0,\"a\":1e2, \"ü\":\"\\u00fc\\n\",\"n\":12345678901234567890123}";
    let line = format!("{{\"stream_type\":\"T\",\"stream_id\":\"s/ü?\",\"event_type\":\"E\",\"data\":{data}}}\n");
    http.post_as("events", "application/x-ndjson", line.as_bytes()).expect(201);
    for _ in 0..2 {
        let text = http.get_as("streams/T/s%2F%C3%BC%3F", "application/x-ndjson").text();
        assert!(text.contains(data), "{text}");
        http.compact();
    }
}

#[test]
fn errors_are_those_of_the_contract() {
    let keys =
        ["strict.event_version_required = true", "strict.stream_type_enforced = true", "strict.tenant_required = true"];
    let store = Store::new(&keys);
    store.also("CREATE AGGREGATE Order;");
    let server = store.start();
    let http = server.http();
    http.get("/v1/stores/nowhere/streams/Order/o").expect_error(404, "not_found");
    http.get("/no/such/route").expect_error(404, "not_found");
    http.get("streams/Order/nobody").expect_error(404, "not_found");
    http.get("streams/Order/nobody/head").expect_error(404, "not_found");
    http.get("events/00000000-0000-7000-8000-000000000000").expect_error(404, "not_found");
    http.get("events/not-an-id").expect_error(400, "bad_request");
    http.get("events?after=nonsense").expect_error(400, "bad_request");
    http.get("streams/Order/o?limit=many").expect_error(400, "bad_request");
    http.post("streams/Order/o", &json!({"events": []})).expect_error(400, "bad_request");
    http.post_as("streams/Order/o", "text/csv", b"a,b").expect(415);
    let full = json!({"event_type": "E", "event_version": 1, "tenant_id": "t", "data": {}});
    http.post("streams/Unknown/o", &json!({"events": [full]})).expect_error(422, "strict_violation");
    http.post("streams/Order/o", &json!({"events": [event("E")]})).expect_error(422, "strict_violation");
    http.post("streams/Order/o", &json!({"events": [full]})).expect(201);
    http.post("stream-types", &json!({"name": "Unknown"}));
    http.post("streams/Unknown/o", &json!({"events": [full]})).expect(201);
    for route in ["subscribe?after=nonsense", "subscriptions/a/events"] {
        assert!(http.get(route).status >= 400);
    }
    assert!(http.post("query", &json!({"sql": "select 1"})).status >= 400);
}

#[test]
fn limits_are_named() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    let large = json!({"event_type": "E", "data": "x".repeat(1_100_000)});
    http.post("streams/T/s", &json!({"events": [large]})).expect_error(413, "too_large");
    let many: Vec<Value> = (0..10_001).map(|_| json!({"event_type": "E"})).collect();
    http.post("streams/T/s", &json!({"events": many})).expect_error(413, "too_large");
    http.get("streams/T/s").expect_error(404, "not_found");
    http.post("streams/T/s", &json!({"events": many[..10_000]})).expect(201);
}

#[test]
fn hostile_bodies_never_end_the_process() {
    let store = Store::new(&[]);
    let mut server = store.start();
    let http = server.http();
    let mut random = crate::harness::Random(crate::harness::seed("hostile"));
    let kinds = ["application/x-ndjson", "application/json", "application/vnd.apache.arrow.stream", "nonsense/\u{7f}"];
    for round in 0..200_usize {
        let body: Vec<u8> = (0..random.below(3_000)).map(|_| random.next() as u8).collect();
        for path in ["events", "streams/T/s"] {
            // a server may also close the connection on such a type
            if let Ok(answer) = http.try_post(path, kinds[round % 3], &body) {
                assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text());
            }
        }
    }
    let long = vec![b'a'; 100 << 20];
    for (path, kind, named) in
        [("events", kinds[0], "64 MiB"), ("events", kinds[1], "64 MiB"), ("streams/T/s", kinds[1], "16 MiB")]
    {
        let error = http.post_as(path, kind, &long).expect_error(413, "too_large");
        assert!(error["error"].as_str().unwrap().contains(named), "{error}");
    }
    assert_eq!(http.post_as("streams/T/s", kinds[0], &long).status, 415);
    assert!(server.runs());
    http.get("/health").expect(200);
    http.get("streams/T/s").expect_error(404, "not_found");
    server.stop();
}

#[test]
fn arrow_that_unpacks_to_more_than_a_body_may_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    oracle("arrow_unpacks.py", &[folder.path()]);
    let body = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let store = Store::new(&[]);
    let mut server = store.start();
    let http = server.http();
    let arrow = "application/vnd.apache.arrow.stream";
    let bomb = body("bomb.arrow");
    assert!(bomb.len() < 2 << 20, "it is small as it comes");
    let error = http.post_as("events", arrow, &bomb).expect_error(413, "too_large");
    assert!(error["error"].as_str().unwrap().contains("unpacked"), "{error}");
    assert!(server.runs());
    http.get("streams/T/s").expect_error(404, "not_found");
    // what they unpack to nobody could bound before it is there
    for codec in ["lz4", "zstd"] {
        let error = http.post_as("events", arrow, &body(&format!("{codec}.arrow"))).expect_error(400, "bad_request");
        let said = error["error"].as_str().unwrap();
        assert!(said.contains("compressed") && said.contains("IpcWriteOptions(compression=None)"), "{error}");
    }
    assert_eq!(http.post_as("events", arrow, &body("small.arrow")).expect(201)["appended"], 100);
    assert_eq!(http.stream("T", "s").len(), 100);
    server.stop();
}

#[test]
fn scans_that_nobody_reads_hold_a_piece_each_and_not_a_body() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    let text = "x".repeat(20_000);
    let line = |n: usize| json!({"stream_type": "T", "stream_id": format!("s{n}"), "event_type": "E", "data": text});
    http.bulk(&(0..2_000).map(line).collect::<Vec<_>>());
    let address = server.url().trim_start_matches("http://").to_owned();
    let before = server.memory_mb();
    let silent: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut socket = TcpStream::connect(&address).unwrap();
            let head = format!("GET /v1/stores/test/scan HTTP/1.1\r\nhost: {address}\r\n\r\n");
            socket.write_all(head.as_bytes()).unwrap();
            // the first piece is there
            socket.read_exact(&mut [0; 200]).unwrap();
            socket
        })
        .collect();
    let grown = server.memory_mb().saturating_sub(before);
    assert!(grown < 40 * 12, "{} scans of a body of 40 MB hold {grown} MB", silent.len());
    drop(silent);
    assert_eq!(http.scan().len(), 2_000);
    server.stop();
}

#[test]
fn pages_of_the_global_order_and_the_scan_give_everything_once() {
    let store = Store::new(&["compaction.min_segment_mb = 1", "wal.rollover_mb = 1"]);
    let server = store.start();
    let http = server.http();
    for part in 0..6 {
        let line = |n: u64| {
            json!({"stream_type": format!("T{}", n % 3), "stream_id": format!("s{}", n % 17), "event_type": "E",
            "tenant_id": format!("t{}", n % 2), "data": {"part": part, "n": n}})
        };
        http.bulk(&(0..500).map(line).collect::<Vec<_>>());
        if part % 2 == 0 {
            http.compact();
        }
    }
    let all = http.global();
    assert_eq!(all.len(), 3_000);
    let positions: Vec<&str> = all.iter().map(|e| e["position"].as_str().unwrap()).collect();
    assert!(positions.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(http.scan().len(), 3_000);
    let page = http.get("events?stream_type=T1&tenant_id=t0&limit=10000").expect(200);
    assert_eq!(
        page["events"].as_array().unwrap().len(),
        all.iter().filter(|e| e["stream_type"] == "T1" && e["tenant_id"] == "t0").count()
    );
    assert!(http.get_as("scan", "application/vnd.apache.arrow.stream").body.starts_with(&[0xff; 4]));
}

/// What a writer knows when the node has stopped.
struct Written {
    acknowledged: usize,
    /// The last request got no answer, or was told that the outcome is unknown: it may be stored.
    open: usize,
}

fn write_until_it_stops(http: &crate::harness::Http, stream: &str) -> Written {
    let mut acknowledged = 0;
    loop {
        let event = json!({"stream_type": "T", "stream_id": stream, "event_type": "E", "data": {"n": acknowledged}});
        match http.try_post("events", "application/x-ndjson", event.to_string().as_bytes()) {
            Ok(answer) if answer.status == 201 => acknowledged += 1,
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text());
                return Written { acknowledged, open: usize::from(answer.text().contains("outcome is unknown")) };
            }
            Err(_) => return Written { acknowledged, open: 1 },
        }
    }
}

#[test]
fn a_node_that_is_told_to_stop_answers_what_is_in_flight() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    let streams: Vec<String> = (0..16).map(|writer| format!("s{writer}")).collect();
    let written: Vec<Written> = std::thread::scope(|scope| {
        let writers: Vec<_> =
            streams.iter().map(|stream| scope.spawn(|| write_until_it_stops(&http, stream))).collect();
        std::thread::sleep(std::time::Duration::from_millis(500));
        server.stop();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert!(written.iter().all(|w| w.acknowledged > 0));
    store.assert_clean();
    let server = store.start();
    let http = server.http();
    for (stream, Written { acknowledged, open }) in streams.iter().zip(written) {
        let stored = http.stream("T", stream);
        assert!(
            (acknowledged..=acknowledged + open).contains(&stored.len()),
            "{stream}: {} of {acknowledged}",
            stored.len()
        );
        assert!(stored.iter().enumerate().all(|(n, event)| event["data"]["n"] == n));
    }
}

#[test]
fn many_new_stream_types_with_few_descriptors_are_refused_and_harm_nobody() {
    let store = Store::new(&[]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 256 && exec \"$@\"", "sh"]).arg(crate::harness::program().get_program());
    let mut server = crate::harness::Server::start_from(command.args(store.serve_arguments()));
    let http = server.http();
    let line = |n: u64| json!({"stream_type": format!("T{n}"), "stream_id": "s", "event_type": "E"}).to_string();
    let many: String = (0..250).map(|n| line(n) + "\n").collect();
    for on_error in ["abort", "skip"] {
        let answer = http.post_as(&format!("events?on_error={on_error}"), "application/x-ndjson", many.as_bytes());
        answer.expect_error(503, "unavailable");
    }
    let one = |n: u64| http.post_as("events", "application/x-ndjson", line(n).as_bytes());
    let made = (0..700).take_while(|n| one(*n).status == 201).count() as u64;
    assert!((5..100).contains(&made), "{made} logs of 256 descriptors");
    one(made).expect_error(503, "unavailable");
    for n in 0..made {
        one(n).expect(201);
        assert_eq!(http.stream(&format!("T{n}"), "s").len(), 2);
    }
    http.compact();
    assert!(server.runs());
    server.stop();
    store.assert_clean();
    let server = store.start();
    assert_eq!(server.http().scan().len() as u64, 2 * made);
}

#[test]
fn a_second_node_on_the_same_store_is_refused_whatever_its_data_folder() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    http.bulk(&[json!({"stream_type": "T", "stream_id": "s", "event_type": "E"})]);
    let mut arguments = store.serve_arguments();
    arguments[4] = store.path().join("other").display().to_string();
    for command in ["serve", "verify"] {
        let arguments = if command == "verify" { arguments[1..5].to_vec() } else { arguments[1..].to_vec() };
        let refused = crate::harness::run(&[vec![command.to_owned()], arguments].concat());
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.contains("in use by another process"), "{refused:?}");
    }
    http.compact();
    http.bulk(&[json!({"stream_type": "T", "stream_id": "s", "event_type": "E"})]);
    http.get("/ready").expect(200);
    let jobs = http.get("/admin/v1/stores/test/compaction").expect(200);
    assert_eq!(jobs["jobs"][0]["error"], Value::Null, "the first node still owns the store: {jobs}");
    server.stop();
    store.assert_clean();
}

#[test]
fn the_node_tells_about_itself() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    http.bulk(&[json!({"stream_type": "T", "stream_id": "s", "event_type": "E", "data": {}})]);
    for route in ["/health", "/ready", "/metrics", "/openapi.json", "/info"] {
        assert_eq!(http.get(route).status, 200, "{route}");
    }
    assert_eq!(http.get("/v1/stores").expect(200)["stores"][0]["name"], "test");
    assert!(http.get("/v1/stores/test").text().contains("wal.rollover_mb"));
    http.compact();
    for route in ["tiers", "wal", "manifest", "files", "compaction", "compaction/plan"] {
        http.get(&format!("/admin/v1/stores/test/{route}")).expect(200);
    }
    let compaction = http.get("/admin/v1/stores/test/compaction").expect(200);
    for key in ["schedule", "next_tick", "paused", "share_percent", "last_run", "stream_types", "running", "jobs"] {
        assert!(compaction.get(key).is_some(), "{key}: {compaction}");
    }
    let files = http.get("/admin/v1/stores/test/files").expect(200);
    assert_eq!((files["files"].as_array().unwrap().len(), &files["files"][0]["rows"]), (1, &json!(1)));
    assert_eq!(http.get("/api/dereg/eventstores").status, 200);
    assert!(http.get("/api/deql/export").text().contains("EVENTSTORE"));
}

#[test]
fn a_node_says_which_log_takes_no_appends_and_serves_the_others() {
    let store = Store::new(&[]);
    let server = store.start();
    let event = json!({"events": [{"event_type": "E", "data": {"text": "x".repeat(500)}}]});
    for stream_type in ["Sound", "Torn", "Torn", "Torn"] {
        server.http().post(&format!("streams/{stream_type}/s"), &event).expect(201);
    }
    assert_eq!(server.http().get("/ready").expect(200), json!({"status": "ready"}));
    server.kill();
    let mut segments = std::fs::read_dir(store.log().join("Torn")).unwrap().map(|entry| entry.unwrap().path());
    let segment = segments.find(|path| path.extension().is_some_and(|e| e == "wal")).unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    // in an acknowledged group, with others behind it
    let at = bytes.windows(3).position(|window| window == b"xxx").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let server = store.start();
    let http = server.http();
    let ready = http.get("/ready").expect(200);
    let damaged = ready["damaged"].as_array().unwrap();
    assert_eq!((damaged.len(), &damaged[0]["store"], &damaged[0]["stream_type"]), (1, &json!("test"), &json!("Torn")));
    assert!(damaged[0]["error"].as_str().unwrap().contains("offset"), "{ready}");
    http.post("streams/Torn/s", &event).expect_error(503, "unavailable");
    http.post("streams/Sound/s", &event).expect(201);
    assert_eq!(http.stream("Sound", "s").len(), 2);
}

/// All that a connection gives that asks for a scan, and no more.
fn scanned(server: &Server, accept: &str) -> Vec<u8> {
    let mut socket = TcpStream::connect(server.url().trim_start_matches("http://")).unwrap();
    let head = format!(
        "GET /v1/stores/test/scan HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    let mut told = Vec::new();
    // one that breaks off may do it by a reset
    let _ = socket.read_to_end(&mut told);
    told
}

#[test]
fn what_cannot_be_read_is_an_error_answer_and_behind_its_begin_a_last_line_and_a_broken_connection() {
    const END: &[u8] = b"\r\n0\r\n\r\n";
    const FORMATS: [&str; 2] = ["application/x-ndjson", "application/vnd.apache.arrow.stream"];
    let store = Store::new(&["compaction.schedule = '0 0 29 2 *'"]);
    let server = store.start();
    let http = server.http();
    for stream_type in ["Bill", "Call"] {
        http.post(&format!("streams/{stream_type}/a"), &json!({"events": [event("E"), event("F")]})).expect(201);
    }
    http.compact();
    let types: Vec<String> = http.scan().iter().map(|e| e["stream_type"].as_str().unwrap().to_owned()).collect();
    let (first, last) = (&types[0], &types[3]);
    let files = http.get("/admin/v1/stores/test/files").expect(200)["files"].as_array().unwrap().clone();
    let path_of = |stream_type: &str| {
        let file = files.iter().find(|file| file["stream_type"] == stream_type).unwrap();
        store.durable().join(file["path"].as_str().unwrap())
    };
    assert!(first != last && FORMATS.iter().all(|accept| scanned(&server, accept).ends_with(END)));
    server.stop();
    let damage = |stream_type: &str| {
        let path = path_of(stream_type);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[100] ^= 0x10;
        std::fs::write(path, bytes).unwrap();
    };
    damage(last);
    let server = store.start();
    for accept in FORMATS {
        let told = scanned(&server, accept);
        let text = String::from_utf8_lossy(&told);
        assert!(text.starts_with("HTTP/1.1 200") && !told.ends_with(END), "{accept}: {text}");
        if accept == FORMATS[0] {
            let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let is_event = |line: &Value| line["stream_type"] == first.as_str();
            assert_eq!(lines.iter().filter(|line| is_event(line)).count(), 2, "{text}");
            let said = lines.iter().find(|line| line["code"] == "integrity_error");
            assert!(said.is_some_and(|line| line["error"].is_string() && line["details"].is_object()), "{text}");
        }
    }
    server.stop();
    damage(first);
    let server = store.start();
    for path in ["scan", "events", "streams/Call/a", "streams/Bill/a"] {
        for accept in FORMATS {
            server.http().get_as(path, accept).expect_error(500, "integrity_error");
        }
    }
    server.stop();
}
