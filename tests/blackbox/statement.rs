//! CREATE OR REPLACE of a store that a node serves: under load, by the files that it writes, refused by name, and what a kill and
//! a start make of it.

use crate::harness::{Http, Server, Sse, Store};
use crate::layout::check_layout;
use crate::oracles::files;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const SELDOM: &str = "compaction.schedule = '0 0 29 2 *'";

fn replace(store: &Store, http: &Http, keys: &[&str]) -> crate::harness::Answer {
    let text = store.statement(keys).replace("CREATE EVENTSTORE", "CREATE OR REPLACE EVENTSTORE");
    http.post("/api/deql/create", &json!({ "deql": text }))
}

fn changed(answer: &crate::harness::Answer) -> Vec<String> {
    let result = answer.expect(201)["results"][0].clone();
    assert!(
        result["note"].as_str().is_some_and(|note| note.contains("--config")),
        "the file still says otherwise: {result}"
    );
    result["changed"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect()
}

fn config(http: &Http) -> Value {
    http.get("/v1/stores/test").expect(200)["config"].clone()
}

/// Appends to a stream until told to stop or the node is gone; gives the events that were acknowledged.
fn load(http: &Http, stream: &str, stop: &AtomicBool) -> u64 {
    let body =
        json!({"events": [{"event_type": "E", "data": {"text": "x".repeat(2000)}}, {"event_type": "F"}]}).to_string();
    let mut acknowledged = 0;
    while !stop.load(Ordering::SeqCst) {
        match http.try_post(&format!("streams/T/{stream}"), "application/json", body.as_bytes()) {
            Ok(answer) if answer.status == 201 => acknowledged += 2,
            Ok(answer) => assert!(answer.status == 503, "{}: {}", answer.status, answer.text()),
            Err(_) => break,
        }
    }
    acknowledged
}

#[test]
fn a_statement_is_replaced_under_load_and_a_kill_loses_nothing() {
    let store = Store::new(&[SELDOM]);
    let server = store.start();
    let http = server.http();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|n| {
            let (http, stop) = (server.http(), Arc::clone(&stop));
            (format!("s{n}"), std::thread::spawn(move || load(&http, &format!("s{n}"), &stop)))
        })
        .collect();
    let others = [
        &[SELDOM, "inmemory.enabled = false", "wal.rollover_mb = 1", "row_group.sort_order = 'desc'"][..],
        &[SELDOM, "inmemory.max_mb = 1", "durable.compression = 'snappy'", "wal.retention_hours = 0"],
        &[SELDOM, "read.tiers = ('wal','durable')", "row_group.max_rows = 50", "inmemory.ttl_seconds = 1"],
    ];
    for round in 0..12 {
        let keys = others[round % others.len()];
        assert!(!changed(&replace(&store, &http, keys)).is_empty());
        let held = config(&http);
        assert_eq!(held["inmemory.enabled"], json!(round % others.len() != 0), "{held}");
        if round % 2 == 0 {
            http.compact();
        }
        // holes and doubles fail a read
        let seqs: Vec<u64> = http.stream("T", "s0").iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert!(seqs.iter().enumerate().all(|(at, seq)| *seq == at as u64 + 1), "{seqs:?}");
    }
    let last = others[11 % others.len()];
    server.kill();
    let acknowledged: BTreeMap<String, u64> =
        writers.into_iter().map(|(stream, writer)| (stream, writer.join().unwrap())).collect();
    let shown = shown(&store);
    assert!(shown.contains("row_group.max_rows = 50"), "a kill behind the answer leaves the new statement: {shown}");
    // the file has another one: it is put back
    let server = store.start();
    assert_eq!(config(&server.http())["row_group.max_rows"], json!(1_000_000));
    check_streams(&server, &acknowledged);
    server.stop();
    store.declare(last);
    let server = store.start();
    assert_eq!(config(&server.http())["row_group.max_rows"], json!(50));
    server.http().compact();
    check_streams(&server, &acknowledged);
    server.stop();
    store.assert_clean();
}

/// The statement in the newest manifest.
fn shown(store: &Store) -> String {
    let arguments = store.serve_arguments();
    let mut command = store.program();
    command.args(["manifest", "show"]).args(&arguments[1..5]);
    let shown = crate::harness::run_command(command, b"");
    serde_json::from_str::<Value>(&shown.stdout).unwrap()["statement"].as_str().unwrap().to_owned()
}

/// Every event that was acknowledged is there, once; more may be.
fn check_streams(server: &Server, acknowledged: &BTreeMap<String, u64>) {
    for (stream, events) in acknowledged {
        let there = server.http().stream("T", stream);
        assert!(there.len() as u64 >= *events && *events > 0, "{stream}: {} of {events}", there.len());
        assert!(there.iter().enumerate().all(|(at, event)| event["seq"] == json!(at + 1)));
    }
    let scanned = server.http().scan().len();
    let streams = acknowledged.keys().map(|stream| server.http().stream("T", stream).len());
    assert_eq!(scanned, streams.sum::<usize>());
}

#[test]
fn new_files_are_as_the_new_statement_says_and_old_ones_as_the_old() {
    let store = Store::new(&[SELDOM]);
    let server = store.start();
    let http = server.http();
    let events = |stream_type: &str| {
        let line = |n: u64| {
            json!({"stream_type": stream_type, "stream_id": format!("s{}", n % 7), "event_type": format!("E{}", n % 3),
                "tenant_id": "acme", "data": {"n": n * n % 97}})
        };
        (0..300).map(line).collect::<Vec<_>>()
    };
    http.bulk(&events("Old"));
    http.compact();
    let (old_keys, old_files) = (config(&http), files(&server));
    let new = [
        SELDOM,
        "durable.compression = 'gzip'",
        "durable.compression.level = 9",
        "row_group.max_rows = 40",
        "row_group.sort_by = ('tenant_id','occurred_at','event_id')",
        "row_group.sort_order = 'desc'",
        "stats.columns = ('tenant_id','event_id')",
        "bloom.columns = ('event_type')",
        "bloom.fpp = 0.05",
    ];
    let keys = changed(&replace(&store, &http, &new));
    let named: Vec<&str> = new[1..].iter().map(|line| line.split(" =").next().unwrap()).collect();
    assert_eq!(keys, named, "in the order of the reference");
    http.bulk(&events("New"));
    http.compact();
    let new_files: Vec<String> = files(&server).into_iter().filter(|path| !old_files.contains(path)).collect();
    assert_eq!((old_files.len(), new_files.len()), (1, 1));
    check_layout(&store, &server, "old", &old_files, &old_keys);
    let facts = check_layout(&store, &server, "new", &new_files, &config(&http));
    assert_eq!(facts["groups"][0].as_array().unwrap().len(), 8, "300 rows, 40 a row group");
    assert_eq!(facts["bloom"], json!(["event_type"]));
    assert_eq!(http.scan().len(), 600);
    server.stop();
    store.declare(&new);
    store.assert_clean();
}

#[test]
fn what_may_not_change_is_named_and_nothing_is_replaced() {
    let store = Store::new(&[]);
    let server = store.start();
    let http = server.http();
    http.post("streams/T/s", &json!({"events": [{"event_type": "E"}]})).expect(201);
    let before = config(&http);
    let refused = replace(&store, &http, &["partition.by = ('dt')", "wal.fsync = false", "wal.rollover_mb = 1"]);
    let refused = refused.expect_error(400, "bad_request");
    assert_eq!(refused["details"]["keys"], json!(["partition.by", "wal.fsync"]), "{refused}");
    let elsewhere = replace(&store, &http, &["durable.path = '/tmp/elsewhere'"]).expect_error(400, "bad_request");
    assert!(elsewhere["error"].as_str().unwrap().contains("durable.path"), "{elsewhere}");
    let broken = replace(&store, &http, &["compaction.target_file_mb = 600", "compaction.max_file_mb = 500"]);
    let broken = broken.expect_error(400, "bad_request");
    assert!(broken["details"]["diagnostics"].is_object() && broken["error"].as_str().unwrap().contains("max_file_mb"));
    let scope = replace(&store, &http, &["id.command_id.unique_scope = 'store'"]).expect_error(400, "bad_request");
    assert_eq!(scope["details"]["keys"], json!(["id.command_id.unique_scope"]), "{scope}");
    let fixed = replace(&store, &http, &["strict.immutable_events = false"]).expect_error(400, "bad_request");
    assert_eq!(fixed["details"]["keys"], json!(["strict.immutable_events"]), "{fixed}");
    let plain = http.post("/api/deql/create", &json!({ "deql": store.statement(&["wal.rollover_mb = 1"]) }));
    let plain = plain.expect_error(400, "bad_request");
    assert!(plain["error"].as_str().unwrap().contains("OR REPLACE"), "{plain}");
    let other = store.statement(&[]).replace("EVENTSTORE test", "EVENTSTORE other").replace("/durable", "/durable-2");
    let other = http.post("/api/deql/create", &json!({ "deql": other.replace("/log", "/log-2") }));
    other.expect_error(501, "not_supported");
    assert_eq!(config(&http), before, "nothing was replaced");
    let moved = replace(&store, &http, &["wal.path = '/tmp/never-made'", "wal.rollover_mb = 1"]).expect(201);
    let result = &moved["results"][0];
    assert_eq!(result["changed"], json!(["wal.rollover_mb"]), "{moved}");
    assert!(result["note"].as_str().unwrap().contains("wal.path"), "{moved}");
    assert_eq!(config(&http)["wal.path"], before["wal.path"]);
    server.stop();
    store.assert_clean();
}

#[test]
fn the_schedule_and_the_projections_follow_the_new_statement() {
    let store = Store::new(&[SELDOM]);
    let server = store.start();
    let http = server.http();
    let clock = || {
        let status = http.get("/admin/v1/stores/test/compaction").expect(200);
        (status["schedule"].as_str().unwrap().to_owned(), status["next_tick"].as_str().unwrap().to_owned())
    };
    let append = |query: &str| {
        let one = json!({"events": [{"event_type": "E"}]});
        http.post(&format!("streams/T/s{query}"), &one).expect(201)
    };
    let (seldom, leap_day) = clock();
    assert!(seldom.contains("29 2") && leap_day.contains("-02-29T"), "{seldom}: {leap_day}");
    assert_eq!(append("")["projections"], Value::Null);
    let often = "compaction.schedule = '30 4 * * *'";
    assert_eq!(changed(&replace(&store, &http, &[often])), ["compaction.schedule"]);
    let (daily, morning) = clock();
    assert!(daily == "30 4 * * *" && morning.contains("T04:30:00"), "{daily}: {morning}");

    let sync = [often, "projection.mode = 'sync'"];
    assert_eq!(changed(&replace(&store, &http, &sync)), ["projection.mode"]);
    assert_eq!(append("")["projections"], json!([]), "none is registered, and it says so");
    assert_eq!(changed(&replace(&store, &http, &[often])), ["projection.mode"]);
    assert_eq!(append("")["projections"], Value::Null);

    let mut events = Sse::open(&http, "subscribe", None);
    assert!((1..=3).all(|seq| events.event().data.unwrap()["seq"] == seq));
    let inspecting = [often, "projection.notify_on_inspect = true"];
    append("?inspect=true");
    assert_eq!(changed(&replace(&store, &http, &inspecting)), ["projection.notify_on_inspect"]);
    append("?inspect=true");
    append("");
    let seen: Vec<bool> = (0..2).map(|_| events.event().data.unwrap()["inspect"] == json!(true)).collect();
    assert_eq!(seen, [true, false], "the dry run before it was told to nobody");
    let silent = [often, "projection.notify_on_commit = false"];
    let named = changed(&replace(&store, &http, &silent));
    assert_eq!(named, ["projection.notify_on_commit", "projection.notify_on_inspect"]);
    http.get("subscribe").expect_error(409, "notifications_disabled");
    server.stop();
    store.declare(&silent);
    store.assert_clean();
}
