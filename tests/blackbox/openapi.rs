//! The OpenAPI document is what the node serves: a schema-driven fuzzer (schemathesis) asks every route.

use crate::harness::{Server, Store};
use crate::oracles::oracle;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn a_fuzzer_finds_no_answer_that_the_description_does_not_name() {
    let store = Store::new(&[
        "partition.by = ('dt','stream_type')",
        "retention.enabled = true",
        "id.command_id.unique_scope = 'stream'",
    ]);
    let server = store.start();
    oracle("openapi_fuzz.py", &[Path::new(server.url())]);
    server.stop();
    store.assert_clean();
}

/// A node alone has no cluster to tell of: this one is the first of its own.
#[test]
fn what_is_told_of_a_cluster_is_what_the_description_names() {
    let store = Store::new(&[]);
    let mut command = store.program();
    command.args(store.serve_arguments()).args(["--cluster", "127.0.0.1:0"]);
    let server = Server::start_from(&mut command);
    let http = server.http();
    let event = json!({ "events": [{ "event_type": "Placed" }] });
    // the log of a new stream type gets its leader first, and the store who compacts it
    let end = Instant::now() + Duration::from_secs(60);
    let is_up = || {
        http.post("streams/Order/1001", &event).status == 201
            && http.get("/admin/v1/stores/test/compaction").status == 200
    };
    while !is_up() {
        assert!(Instant::now() < end, "nobody takes an append, or nobody compacts");
        std::thread::sleep(Duration::from_millis(50));
    }
    let told = http.get("/admin/v1/cluster").expect(200);
    let names = |list: &str| told[list].as_array().map_or(0, Vec::len);
    assert_eq!((names("members"), names("shards"), names("stores")), (1, 2, 1), "{told}");
    // and what a node of a cluster sends on where another one leads, or compacts
    let asked = [
        server.url(),
        "--only",
        "/admin/v1/cluster",
        "/admin/v1/stores/{store}/compaction",
        "/v1/stores/{store}/subscriptions",
        "/v1/stores/{store}/subscriptions/{name}",
        "/v1/stores/{store}/subscriptions/{name}/ack",
    ];
    oracle("openapi_fuzz.py", &asked.map(Path::new));
    server.stop();
}
