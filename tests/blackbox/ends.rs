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
fn a_node_whose_store_was_taken_says_so_and_ends_with_3() {
    for learns_by_a_job in [true, false] {
        let store = Store::new(&["compaction.trigger = 'time'"]);
        let event = json!({"events": [{"event_type": "E"}]});
        let first = store.start();
        let http = first.http();
        http.post("streams/T/s", &event).expect(201);
        http.compact();
        let second = start_second(&store);
        second.http().post("streams/T/other", &event).expect(201);
        // it cannot know yet
        http.post("streams/T/s", &event).expect(201);
        assert_eq!(http.get("/ready").status, 200);
        if learns_by_a_job {
            let run = http.post_as("/admin/v1/stores/test/compaction/run?wait=true", "application/json", b"");
            let error = run.expect(200)["ended"][0]["error"].as_str().unwrap_or_default().to_owned();
            assert!(error.contains("epoch"), "{error}");
            assert_eq!(http.get("/ready").expect_error(503, "unavailable")["details"]["stores"], json!(["test"]));
            http.post("streams/T/s", &event).expect_error(503, "unavailable");
            assert_eq!(http.stream("T", "s").len(), 2, "reads go on");
        }
        let ended = first.finish();
        assert!(ended.code == 3 && ended.stderr.contains("another node has taken test over"), "{ended:?}");
        second.http().compact();
        assert_eq!(second.http().get("/ready").status, 200);
        assert_eq!(second.http().scan().len(), 2, "what was durable, and its own");
        second.stop();
    }
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
