//! The files that nodes share are put back as they were at an earlier time: no log opens that had given more to files than these hold, and all is
//! there again with the right ones.

use super::nodes::Nodes;
use super::{NO_LOG_KEPT, large};
use std::process::Command;

const EVENTS: u64 = 60;

fn append(nodes: &Nodes, n: u64) {
    nodes.until("it is stored", |nodes| nodes.http(1).post("streams/Call/a", &large(n)).status < 300);
}

/// Where the log begins.
fn first_index(nodes: &Nodes) -> u64 {
    let wal = nodes.http(1).get("/admin/v1/stores/test/wal").expect(200);
    let log = wal["logs"].as_array().unwrap().iter().find(|log| log["stream_type"] == "Call").cloned().unwrap();
    log["first_index"].as_u64().unwrap()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "nothing has to outlive this test")]
fn files_of_a_time_before_open_no_log_that_had_given_them_more() {
    let mut nodes = Nodes::new(1, NO_LOG_KEPT, &[]);
    append(&nodes, 0);
    nodes.stop(1);
    let [files, before, aside] = ["shared", "before", "aside"].map(|name| nodes.path().join(name));
    assert!(Command::new("cp").arg("-a").args([&files, &before]).status().unwrap().success());
    nodes.start(1);
    (1..EVENTS).for_each(|n| append(&nodes, n));
    nodes.until("what is in files goes from the log", |nodes| {
        // refused until the node has claimed the store
        nodes.http(1).post_as("/admin/v1/stores/test/compaction/run?wait=true", "application/json", b"");
        first_index(nodes) > 10
    });
    nodes.stop(1);
    std::fs::rename(&files, &aside).unwrap();
    std::fs::rename(&before, &files).unwrap();
    let manifest = nodes.manifest();
    nodes.start(1);
    nodes.until("it says why its log does not open", |nodes| {
        nodes.http(1).get("/ready").text().contains("the manifests were rolled back")
    });
    let refused = nodes.http(1).post("streams/Call/a", &large(EVENTS));
    assert!(refused.status >= 500, "{}", refused.text());
    // nor does it commit anything to them, or sweep what they do not name: this waits until it has claimed the store, or for long
    let refused = nodes.http(1).post_as("/admin/v1/stores/test/compaction/run?wait=true", "application/json", b"");
    assert!(refused.status >= 400, "{}", refused.text());
    assert_eq!((manifest.code, &manifest.stdout), (0, &nodes.manifest().stdout), "{}", manifest.stderr);
    nodes.kill(1);
    std::fs::remove_dir_all(&files).unwrap();
    std::fs::rename(&aside, &files).unwrap();
    nodes.start(1);
    append(&nodes, EVENTS);
    let numbers = nodes.http(1).stream("Call", "a").into_iter().map(|event| event["data"]["n"].as_u64().unwrap());
    assert!(numbers.eq(0..=EVENTS), "each once, in order");
    nodes.stop_all();
}
