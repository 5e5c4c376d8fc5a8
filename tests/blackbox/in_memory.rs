//! A node whose durable tier is `memory://`: everything works, and what outlives it is its log.

use crate::harness::{Server, Store};
use serde_json::{Value, json};

const KEYS: &[&str] =
    &["durable.path = 'memory://test'", "partition.by = 'dt'", "id.command_id.unique_scope = 'stream'"];

fn load(server: &Server, rounds: std::ops::Range<u64>) {
    let line = |round: u64, n: u64| {
        json!({"stream_type": "Meter", "stream_id": format!("m{n}"), "event_type": "Read", "command_id": format!("c{round}"),
               "occurred_at": format!("2026-11-{:02}T12:00:00Z", 1 + round % 3), "data": {"round": round}})
    };
    server.http().bulk(&rounds.flat_map(|round| (0..5).map(move |n| line(round, n))).collect::<Vec<_>>());
}

/// Every stream has the events of so many rounds, by each way to read.
fn check(server: &Server, rounds: u64) {
    let http = server.http();
    for n in 0..5 {
        let events = http.stream("Meter", &format!("m{n}"));
        assert!(events.iter().map(|event| event["data"]["round"].as_u64().unwrap()).eq(0..rounds), "{events:?}");
    }
    assert_eq!((http.scan().len() as u64, http.global().len() as u64), (5 * rounds, 5 * rounds));
}

#[test]
fn a_store_in_memory_serves_and_its_log_outlives_the_node() {
    let store = Store::new(KEYS);
    let checked = crate::harness::run(&["check", &store.config().to_string_lossy()]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(format!("{}{}", checked.stdout, checked.stderr).contains("memory://"), "{checked:?}");
    let mut server = store.start();
    for start in 0..3 {
        check(&server, 4 * start);
        load(&server, 4 * start..4 * start + 4);
        server.http().compact();
        check(&server, 4 * start + 4);
        let files: Value = server.http().get("/admin/v1/stores/test/files").expect(200);
        let files = files["files"].as_array().unwrap();
        assert!(
            files.len() == 3 && files.iter().all(|file| file["path"].as_str().unwrap().ends_with(".parquet")),
            "{files:?}"
        );
        // a retry of what only files know, or what the log gives again
        load(&server, 0..4);
        check(&server, 4 * start + 4);
        // in order, and by a kill
        if start == 0 {
            server.stop()
        } else {
            server.kill()
        }
        server = store.start();
    }
    check(&server, 12);
    assert!(server.http().get("/ready").status == 200);
    server.stop();
    assert!(!store.durable().exists() && !store.path().join("memory:").exists(), "nothing is written anywhere else");
    let verified = store.verify();
    assert_eq!(verified.code, 0, "{verified:?}");
}

#[test]
fn without_a_log_it_begins_empty_every_time_and_says_so() {
    let store = Store::without_log(&KEYS[..1]);
    let checked = crate::harness::run(&["check", &store.config().to_string_lossy()]);
    assert!(checked.code == 0 && format!("{}{}", checked.stdout, checked.stderr).contains("memory"), "{checked:?}");
    let server = store.start();
    load(&server, 0..3);
    check(&server, 3);
    server.stop();
    let server = store.start();
    assert_eq!(server.http().scan(), Vec::<Value>::new());
    load(&server, 0..2);
    check(&server, 2);
    server.stop();
}
