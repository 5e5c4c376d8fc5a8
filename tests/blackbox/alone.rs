//! A store is started from its durable tier alone: with the log gone, with its sidecars gone, on another node. What is durable is
//! found whole, and what may have been lost is never passed over in silence.

use crate::harness::{Finished, Http, Server, Store, run};
use serde_json::{Value, json};
use std::path::Path;

const KEYS: &[&str] = &["id.command_id.unique_scope = 'stream'", "partition.by = ('stream_type')"];

fn append(http: &Http, stream: &str, n: u64) -> Value {
    http.post(&format!("streams/Order/{stream}"), &request(n)).json()
}

fn request(n: u64) -> Value {
    json!({ "events": [{"event_type": "E", "data": {"n": n}}], "expected_seq": if n == 1 { json!("empty") } else { json!(n - 1) },
            "command_id": format!("c{n}") })
}

/// A store with five events in each of two streams, all of them durable; more in the log if wanted.
fn prepared(more: u64) -> (Store, Server) {
    let store = Store::new(KEYS);
    let server = store.start();
    let http = server.http();
    for n in 1..=5 {
        append(&http, "a", n);
        append(&http, "b", n);
    }
    http.compact();
    for n in 6..6 + more {
        append(&http, "a", n);
    }
    (store, server)
}

/// Every event, every head, every command id.
fn assert_whole(http: &Http, stream: &str, length: u64) {
    let events = http.stream("Order", stream);
    let numbers: Vec<u64> = events.iter().map(|e| e["data"]["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=length).collect::<Vec<_>>());
    assert_eq!(http.get(&format!("streams/Order/{stream}/head")).expect(200)["last_seq"], length);
    let again = http.post(&format!("streams/Order/{stream}"), &request(length)).expect(200);
    assert_eq!((&again["duplicate"], &again["first_seq"]), (&json!(true), &json!(length)));
    let late = json!({"events": [{"event_type": "E"}], "expected_seq": length - 1});
    http.post(&format!("streams/Order/{stream}"), &late).expect_error(409, "wrong_expected_seq");
}

fn goes_on(http: &Http, stream: &str, length: u64) {
    assert_eq!(append(http, stream, length + 1)["first_seq"], length + 1);
    assert_whole(http, stream, length + 1);
}

fn refused(store: &Store, parts: &[&str]) {
    let finished = run(&store.serve_arguments());
    assert_eq!(finished.code, 2, "{finished:?}");
    for part in parts.iter().chain(&["--accept-lost-log"]) {
        assert!(finished.stderr.contains(part), "{part} is not in {}", finished.stderr);
    }
}

fn accepted(store: &Store) -> Server {
    Server::start_from(store.program().args(store.serve_arguments()).arg("--accept-lost-log"))
}

#[allow(clippy::disallowed_methods, reason = "nothing has to outlive this test")]
fn put_aside(from: impl AsRef<Path>, to: impl AsRef<Path>) -> std::io::Result<()> {
    std::fs::rename(from, to)
}

fn remove(folder: &Path) {
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn another_node_goes_on_from_what_is_durable_after_a_clean_stop() {
    let (store, server) = prepared(0);
    server.stop();
    remove(&store.log());
    store.assert_clean();
    remove(&store.path().join("node"));
    let server = store.start();
    let http = server.http();
    assert_whole(&http, "a", 5);
    assert_eq!((http.scan().len(), http.global().len()), (10, 10));
    for stream in ["a", "b"] {
        goes_on(&http, stream, 5);
    }
    http.compact();
    server.stop();
    store.assert_clean();
    let server = store.start();
    assert_whole(&server.http(), "b", 6);
    server.stop();
}

#[test]
fn a_start_with_another_data_folder_names_the_one_of_before_first() {
    for killed in [true, false] {
        let (store, server) = prepared(1);
        let id = std::fs::read_to_string(store.path().join("node/node-id")).unwrap();
        if killed {
            server.kill()
        } else {
            server.stop()
        }
        let mut arguments = store.serve_arguments();
        arguments[4] = store.path().join("forgotten").to_string_lossy().into_owned();
        for whose in ["is new", "is that of node"] {
            let told = run(&arguments);
            assert_eq!(told.code, 2, "{told:?}");
            let (before, after) = told.stderr.split_once("Only where that folder is lost").unwrap();
            let advice = format!("start with the --data-dir of node {}", id.trim());
            for part in [advice.as_str(), arguments[4].as_str(), whose] {
                assert!(before.contains(part), "{part}: {told:?}");
            }
            assert!(!before.contains("node-id") && after.contains("node-id"), "risky advice comes last: {told:?}");
        }
        // nothing was changed
        let server = store.start();
        assert_whole(&server.http(), "a", 6);
        server.stop();
        store.assert_clean();
    }
}

#[test]
fn another_node_finds_the_streams_of_every_bucket() {
    const STREAMS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let store = Store::new(KEYS);
    let server = store.start();
    let http = server.http();
    http.post("stream-types", &json!({ "name": "Order", "buckets": 16 })).expect(201);
    for n in 1..=5 {
        STREAMS.iter().for_each(|stream| drop(append(&http, stream, n)));
    }
    http.compact();
    server.stop();
    store.assert_clean();
    remove(&store.log());
    remove(&store.path().join("node"));
    let server = store.start();
    let http = server.http();
    let types = http.get("stream-types").expect(200);
    assert_eq!(
        (&types["stream_types"][0]["name"], &types["stream_types"][0]["buckets"]),
        (&json!("Order"), &json!(16))
    );
    for stream in STREAMS {
        assert_whole(&http, stream, 5);
        goes_on(&http, stream, 5);
    }
    assert_eq!((http.scan().len(), http.global().len()), (36, 36));
    http.compact();
    server.stop();
    store.assert_clean();
}

#[test]
fn a_log_that_held_more_than_is_durable_is_refused_or_given_up() {
    let (store, server) = prepared(3);
    server.stop();
    let kept = store.path().join("kept");
    put_aside(store.log(), &kept).unwrap();
    refused(&store, &["Order", "index"]);
    // a refusal changes nothing: put back, all of it is there
    remove(&store.log());
    put_aside(&kept, store.log()).unwrap();
    let server = store.start();
    assert_whole(&server.http(), "a", 8);
    server.stop();
    remove(&store.log());
    refused(&store, &["Order"]);
    let server = accepted(&store);
    let http = server.http();
    assert_whole(&http, "a", 5);
    goes_on(&http, "a", 5);
    // accepted once, for ever
    server.stop();
    let server = store.start();
    assert_whole(&server.http(), "a", 6);
    server.stop();
    store.assert_clean();
}

#[test]
fn a_log_that_is_gone_after_a_kill_may_have_held_more() {
    for whole_folder in [true, false] {
        let (store, server) = prepared(0);
        server.kill();
        remove(&if whole_folder { store.log() } else { store.log().join("Order") });
        let found = store.verify();
        assert!(found.code == 1 && found.stdout.contains("Order"), "{found:?}");
        refused(&store, &["did not stop in order", "or still runs: stop it first"]);
        refused(&store, &["did not stop in order"]);
        let server = accepted(&store);
        let http = server.http();
        assert_whole(&http, "b", 5);
        goes_on(&http, "b", 5);
        http.compact();
        server.kill();
        // the log is there: a kill alone is nothing to refuse
        let server = store.start();
        assert_whole(&server.http(), "b", 6);
        server.stop();
        store.assert_clean();
    }
}

#[test]
fn logs_that_were_never_compacted_are_missed_too() {
    let store = Store::new(KEYS);
    store.start().kill();
    // no log was made: there is nothing to miss
    let server = store.start();
    append(&server.http(), "a", 1);
    server.kill();
    let kept = store.path().join("kept");
    put_aside(store.log(), &kept).unwrap();
    refused(&store, &["there is no log in"]);
    remove(&store.log());
    put_aside(&kept, store.log()).unwrap();
    let server = store.start();
    assert_whole(&server.http(), "a", 1);
    server.stop();
}

#[test]
fn sidecars_that_are_gone_are_made_anew_from_the_files() {
    for without_log in [false, true] {
        let store = if without_log { Store::without_log(KEYS) } else { Store::new(KEYS) };
        let server = store.start();
        let http = server.http();
        for n in 1..=5 {
            append(&http, "a", n);
        }
        http.compact();
        server.stop();
        remove(&store.durable().join("_runs"));
        let server = store.start();
        let http = server.http();
        assert_eq!(http.stream("Order", "a").len(), 5);
        let late = json!({"events": [{"event_type": "E"}], "expected_seq": 3});
        let conflict = http.post("streams/Order/a", &late).expect_error(409, "wrong_expected_seq");
        assert_eq!(conflict["details"]["last_seq"], 5);
        // what was sent is read from the files: the same again gets its first answer, anything else is refused
        let again = http.post("streams/Order/a", &request(5)).expect(200);
        assert_eq!((&again["first_seq"], &again["duplicate"]), (&json!(5), &json!(true)), "{again}");
        let other = json!({"events": [{"event_type": "Other"}], "command_id": request(5)["command_id"]});
        http.post("streams/Order/a", &other).expect_error(409, "command_conflict");
        assert_eq!(append(&http, "a", 6)["first_seq"], 6);
        assert_whole(&http, "a", 6);
        server.stop();
        store.assert_clean();
    }
}

#[test]
fn a_damaged_sidecar_is_made_anew_and_one_that_cannot_be_is_named() {
    let (store, server) = prepared(0);
    server.stop();
    let runs = || {
        let folder = store.durable().join("_runs/Order");
        let mut all: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    };
    for run in runs() {
        let mut bytes = std::fs::read(&run).unwrap();
        bytes[9] ^= 1;
        std::fs::write(&run, bytes).unwrap();
    }
    let found: Finished = store.verify();
    assert!(found.code == 1 && found.stdout.contains("_runs/Order/heads"), "{found:?}");
    assert!(found.stdout.contains("_runs/Order/commands"), "{found:?}");
    let server = store.start();
    let http = server.http();
    goes_on(&http, "b", 5);
    server.stop();
    store.assert_clean();
    // with a data file gone as well they cannot be told: no append is taken, what can be read is
    remove(&store.durable().join("_runs"));
    // its second name, for readers of the Delta log
    remove(&store.durable().join("_delta"));
    let parquet = parquet_files(&store.durable());
    std::fs::remove_file(&parquet[0]).unwrap();
    let server = store.start();
    let http = server.http();
    let late = json!({"events": [{"event_type": "E"}]});
    http.post("streams/Order/a", &late).expect_error(503, "unavailable");
    http.post("streams/Other/a", &late).expect(201);
    server.stop();
}

fn parquet_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('_');
        if path.is_dir() && !hidden {
            found.extend(parquet_files(&path));
        } else if path.extension().is_some_and(|end| end == "parquet") {
            found.push(path);
        }
    }
    found.sort();
    found
}
