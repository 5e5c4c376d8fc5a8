//! How a node ends: after two signals at once, and when its store was taken over by another one (it says so while it runs, and by
//! its exit code).

use crate::harness::{Server, Store};
use serde_json::json;

/// Another node on the same data files, with its own data folder, log and lock.
fn start_second(store: &Store) -> Server {
    // as on a shared folder of another machine, where the lock does not hold
    std::fs::remove_file(store.durable().join(".lock")).unwrap();
    let (text, path) = (std::fs::read_to_string(store.config()).unwrap(), store.path().join("second.deql"));
    let log = store.log().display().to_string();
    std::fs::write(&path, text.replace(&log, &format!("{log}-2"))).unwrap();
    let data = store.path().join("node-2").display().to_string();
    let path = path.display().to_string();
    let mut command = store.program();
    command.args(["serve", "--config", &path, "--data-dir", &data, "--http", "127.0.0.1:0"]);
    // the first one has not stopped: its log may hold more than is durable
    Server::start_from(command.arg("--accept-lost-log"))
}

#[test]
fn a_node_whose_store_was_taken_finds_out_and_names_what_only_its_log_holds() {
    let store = Store::new(&["compaction.trigger = 'time'", "compaction.schedule = '0 0 1 1 *'"]);
    let event = json!({"events": [{"event_type": "E"}]});
    let first = store.start();
    let http = first.http();
    http.post("streams/T/s", &event).expect(201);
    http.compact();
    let second = start_second(&store);
    second.http().post("streams/T/other", &event).expect(201);
    // nothing but its own looks tells it
    let mut acknowledged = 0;
    let refused = loop {
        let answer = http.post("streams/T/late", &event);
        if answer.status != 201 {
            break answer;
        }
        acknowledged += 1;
    };
    let refused = refused.expect_error(503, "unavailable");
    assert_eq!(refused["details"], json!({"reason": "fenced", "store": "test"}));
    assert_eq!(http.get("/ready").expect_error(503, "unavailable")["details"]["stores"], json!(["test"]));
    for (path, accept) in [
        ("streams/T/s", "application/json"),
        ("streams/T/s/head", "application/json"),
        ("events", "application/json"),
        ("scan", "application/x-ndjson"),
        ("subscribe", "text/event-stream"),
    ] {
        let unread = http.get_as(path, accept).expect_error(503, "unavailable");
        assert!(unread["error"].as_str().unwrap().contains("consistency=local"), "{path}: {unread}");
    }
    let own = http.get("streams/T/s?consistency=local").expect(200);
    assert_eq!(own["events"].as_array().unwrap().len(), 1, "what it has");
    let ended = first.finish();
    assert!(ended.code == 3 && ended.stderr.contains("another node has taken test over"), "{ended:?}");

    second.http().compact();
    assert_eq!(second.http().get("/ready").status, 200);
    assert_eq!(second.http().scan().len(), 2, "what was durable, and its own");
    second.stop();
    let found = store.verify();
    let named = format!("{acknowledged} events at index");
    assert_eq!(found.code, i32::from(acknowledged > 0), "{found:?}");
    assert!(acknowledged == 0 || found.stdout.contains(&named), "{acknowledged}: {found:?}");
    // nothing of it comes in by itself
    let (again, told) = match Server::try_start(store.program().args(store.serve_arguments())) {
        Ok(server) => (Some(server), String::new()),
        Err(refused) => (None, refused.stderr),
    };
    match again {
        Some(server) => {
            assert_eq!(server.http().scan().len(), 2);
            server.stop();
        }
        None => assert!(told.contains("log of `T`"), "{told}"),
    }
}

#[test]
fn a_node_that_is_ended_before_it_knows_says_so_by_its_end() {
    let store = Store::new(&["compaction.trigger = 'time'"]);
    let event = json!({"events": [{"event_type": "E"}]});
    let first = store.start();
    first.http().post("streams/T/s", &event).expect(201);
    first.http().compact();
    let second = start_second(&store);
    let ended = first.finish();
    assert!(ended.code == 3 && ended.stderr.contains("another node has taken test over"), "{ended:?}");
    assert_eq!(second.http().scan().len(), 1);
    second.stop();
}

#[test]
fn two_signals_at_once_are_one_wish() {
    let store = Store::new(&[]);
    let mut command = store.program();
    let server = Server::start_from(command.args(store.serve_arguments()).env("STRANDLINE_LOG", "info"));
    server.http().post("streams/T/s", &json!({"events": [{"event_type": "E"}]})).expect(201);
    server.signal_twice();
    let ended = server.ended();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("shutting down"), "{ended:?}");
    assert!(!ended.stderr.contains('\u{1b}'), "no colours where stderr is no terminal: {ended:?}");
    store.assert_clean();
}
