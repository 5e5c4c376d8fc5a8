//! `verify` over the folder of one node of a cluster, which is stopped while the others go on: by its data folder alone, also of a node that
//! joined and has no file of statements.

use super::KEYS;
use super::nodes::Nodes;
use crate::harness::Finished;
use serde_json::{Value, json};
use std::path::PathBuf;

fn verify(nodes: &Nodes, node: usize) -> Finished {
    nodes.looks_at(node, &["verify"])
}

/// The segments of a node that joined.
fn segments(nodes: &Nodes, node: usize) -> Vec<PathBuf> {
    let log = nodes.folder(node).join("stores/test/log/Call");
    let names = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|extension| extension == "wal")).collect()
}

/// The log of the meta group, what says whose the store is, and what says that the node must not go on.
fn assert_what_it_keeps_of_the_cluster_is_verified(nodes: &Nodes) {
    let meta = nodes.folder(3).join("cluster/meta");
    let names = std::fs::read_dir(&meta).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<PathBuf> = names.filter(|path| path.extension().is_some_and(|end| end == "wal")).collect();
    logs.sort();
    let whole = std::fs::read(&logs[0]).unwrap();
    let mut flipped = whole.clone();
    // the header of its second group
    flipped[4096 + 20] ^= 1;
    std::fs::write(&logs[0], flipped).unwrap();
    let damaged = verify(nodes, 3);
    let said = "the log of the meta group in";
    assert!(damaged.code == 1 && damaged.stdout.contains(said), "{damaged:?}");
    std::fs::write(&logs[0], whole).unwrap();
    let mark = nodes.path().join("shared/.cluster");
    let whole = std::fs::read(&mark).unwrap();
    for (bytes, said) in
        [(&whole[..20], ".cluster: `.cluster` at durable.path is damaged"), (&whole[..0], "is damaged")]
    {
        std::fs::write(&mark, bytes).unwrap();
        let damaged = verify(nodes, 3);
        assert!(damaged.code == 1 && damaged.stdout.contains(said), "{damaged:?}");
    }
    std::fs::remove_file(&mark).unwrap();
    let gone = verify(nodes, 3);
    assert!(gone.code == 1 && gone.stdout.contains("durable.path has no `.cluster`"), "{gone:?}");
    std::fs::write(&mark, whole).unwrap();
    let forsaken = nodes.folder(3).join("cluster/must-not-vote");
    std::fs::write(&forsaken, "entry 7 of meta\n").unwrap();
    let found = verify(nodes, 3);
    assert!(found.code == 1 && found.stdout.contains("entry 7 of meta. It must not vote"), "{found:?}");
    std::fs::remove_file(&forsaken).unwrap();
    assert_eq!(verify(nodes, 3).code, 0);
}

#[test]
fn a_member_that_is_stopped_is_verified_by_its_data_folder() {
    let event = json!({ "events": [{ "event_type": "E", "data": { "text": "some words" } }] });
    let mut nodes = Nodes::new(3, KEYS, &[]);
    for n in 0..20 {
        nodes.http(1 + n % 3).post("streams/Call/a", &event).expect(201);
    }
    let compact = "/admin/v1/stores/test/compaction/run?wait=true";
    nodes.until("a job", |nodes| nodes.http(1).post_as(compact, "application/json", b"").status == 200);
    for n in 0..20 {
        nodes.http(1 + n % 3).post("streams/Call/b", &event).expect(201);
    }
    for node in 1..=3 {
        let runs = verify(&nodes, node);
        assert!(runs.code == 2 && runs.stderr.contains("stop it first"), "{runs:?}");
    }
    nodes.stop(3);
    // the others go on, with the same files
    for n in 0..20 {
        nodes.until("an append", |nodes| nodes.http(1 + n % 2).post("streams/Call/c", &event).status == 201);
    }
    nodes.until("a job", |nodes| nodes.http(1).post_as(compact, "application/json", b"").status == 200);
    let clean = verify(&nodes, 3);
    assert!(clean.code == 0 && clean.stdout.contains("store test: clean: 1 logs"), "{clean:?}");
    let shown = nodes.looks_at(3, &["manifest", "show"]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap_or_else(|_| panic!("{shown:?}"));
    assert_eq!(
        (&shown["store"], shown["files"].as_array().is_some_and(|files| !files.is_empty())),
        (&json!("test"), true)
    );
    let other_log = nodes.looks_at(3, &["verify", "--config", &nodes.statement().to_string_lossy()]);
    assert!(other_log.code == 2 && other_log.stderr.contains("leave --config out"), "{other_log:?}");
    // it is its own log that was looked at
    let place = |bytes: &[u8]| bytes.windows(10).position(|bytes| bytes == b"some words");
    let read = segments(&nodes, 3).into_iter().map(|path| (std::fs::read(&path).unwrap(), path));
    let (whole, segment) = read.into_iter().find(|(bytes, _)| place(bytes).is_some()).unwrap();
    let mut flipped = whole.clone();
    flipped[place(&whole).unwrap()] ^= 1;
    std::fs::write(&segment, flipped).unwrap();
    let damaged = verify(&nodes, 3);
    assert!(damaged.code == 1 && damaged.stdout.contains("store test: not clean"), "{damaged:?}");
    std::fs::write(&segment, whole).unwrap();
    assert_eq!(verify(&nodes, 3).code, 0);
    assert_what_it_keeps_of_the_cluster_is_verified(&nodes);
    // what an earlier version ran on
    std::fs::remove_file(nodes.folder(3).join("cluster/stores.deql")).unwrap();
    let unknown = verify(&nodes, 3);
    assert!(unknown.code == 2 && unknown.stderr.contains("--config"), "{unknown:?}");
    nodes.start(3);
    nodes.until("it is back", |nodes| nodes.http(3).post("streams/Call/a", &event).status == 201);
    nodes.stop_all();
    for node in 1..=3 {
        let clean = verify(&nodes, node);
        assert_eq!(clean.code, 0, "node {node}: {clean:?}");
    }
}
