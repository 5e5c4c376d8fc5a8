//! Erasure in a cluster of real processes whose keys lie in one folder: what one seals all read, what is erased at one nobody reads any more, whoever
//! was away, and in an older copy of all data too.

use super::nodes::Nodes;
use crate::erasure::{copy, holding};
use serde_json::{Value, json};
use std::path::Path;
use strandline_client::{BatchBuilder, BatchUnit, ClusterClient, ClusterOptions, EventInput, Expected};
use tempfile::TempDir;

const SECRET: &str = "planted-0816-secret";
/// What is sent again is stored once.
const KEYS: &str = ", wal.rollover_mb = 1, id.command_id.unique_scope = 'stream'";
const ERASE: &str = "/admin/v1/stores/test/erase";

/// A folder of keys, for an option.
fn folder(keys: &TempDir, name: &str) -> String {
    keys.path().join(name).to_string_lossy().into_owned()
}

#[allow(clippy::disallowed_methods, reason = "nothing has to outlive this test")]
fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap();
}

/// Three nodes that share a folder, and a type whose streams can be erased.
fn cluster(keys: &TempDir) -> Nodes {
    let mut nodes = Nodes::of(3, KEYS, &[]);
    for node in 1..=3 {
        nodes.tell(node, &["--subject-keys", &folder(keys, "subjects")]);
        nodes.start(node);
    }
    register(&nodes, 2);
    nodes
}

fn register(nodes: &Nodes, node: usize) {
    register_type(nodes, node, "Person");
}

fn register_type(nodes: &Nodes, node: usize, name: &str) {
    let wanted = json!({ "name": name, "erasable": "stream" });
    nodes.until("all nodes see the folder", |nodes| {
        let answer = nodes.http(node).post("stream-types", &wanted);
        assert!(matches!(answer.status, 201 | 503), "{answer:?}");
        answer.status == 201 && answer.json()["erasable"] == "stream"
    });
}

/// Appends at a node until it is stored: it may not have agreed on the folder yet, and its log has no leader at first.
fn append(nodes: &Nodes, node: usize, stream: &str, n: u64) {
    let event = json!({ "event_type": "E", "data": { "says": SECRET, "n": n }, "metadata": { "by": SECRET } });
    let body = json!({ "events": [event], "command_id": format!("{stream}-{n}") });
    nodes.until("it is stored", |nodes| {
        let answer = nodes.http(node).post(&format!("streams/Person/{stream}"), &body);
        assert!(matches!(answer.status, 200 | 201 | 503), "{answer:?}");
        answer.status != 503
    });
}

fn append_native(nodes: &Nodes, stream: &str) {
    let (data, metadata) = (json!({ "says": SECRET }).to_string(), json!({ "by": SECRET }).to_string());
    let mut batch = BatchBuilder::new("Person", BatchUnit::Append);
    let metadata = Some(metadata.as_str());
    batch
        .push(&EventInput { stream_id: stream, event_type: "E", data: &data, metadata, ..EventInput::default() })
        .unwrap();
    let batch = batch.finish().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut options = ClusterOptions::new(nodes.natives());
        options.each.store = "test".to_owned();
        let client = ClusterClient::connect(options).await.unwrap();
        client.append(batch, Expected::Any).await.unwrap();
    });
}

/// What a node shows of a stream, payloads and metadata; `None`: it cannot now.
fn shown(nodes: &Nodes, node: usize, stream: &str, how: &str) -> Option<Vec<Value>> {
    let answer = nodes.http(node).get(&format!("streams/Person/{stream}?consistency={how}"));
    if answer.status != 200 {
        assert!(!answer.text().contains(SECRET), "{answer:?}");
        return None;
    }
    let events = answer.json()["events"].as_array().unwrap().clone();
    Some(events.iter().flat_map(|event| [event["data"].clone(), event["metadata"].clone()]).collect())
}

fn is_hidden(shown: &[Value]) -> bool {
    !shown.is_empty() && shown.iter().all(|value| *value == json!({ "erased": true }))
}

fn is_whole(shown: &[Value]) -> bool {
    !shown.is_empty() && shown.iter().all(|value| value["says"] == SECRET || value["by"] == SECRET)
}

/// Every way to read, at every node, from the first answer on.
fn assert_hidden_everywhere(nodes: &Nodes, stream: &str) {
    for node in 1..=3 {
        let http = nodes.http(node);
        nodes.until("it can be read", |nodes| {
            shown(nodes, node, stream, "leader").is_some_and(|shown| {
                assert!(is_hidden(&shown), "node {node}: {shown:?}");
                true
            })
        });
        for rows in [http.global(), http.scan()] {
            let of_stream = rows.iter().filter(|row| row["stream_id"] == stream);
            assert!(
                of_stream.clone().count() > 0 && of_stream.clone().all(|row| row["data"] == json!({ "erased": true }))
            );
        }
    }
}

/// `verify` of a node's folder reads the keys too.
fn assert_a_damaged_secret_is_found(nodes: &Nodes, keys: &Path) {
    let verify = || nodes.looks_at(2, &["verify", "--subject-keys", &keys.to_string_lossy()]);
    let clean = verify();
    assert_eq!(clean.code, 0, "{clean:?}");
    let shards = std::fs::read_dir(keys.join("keys")).unwrap().map(|shard| shard.unwrap().path());
    let mut files = shards.flat_map(|shard| std::fs::read_dir(shard).unwrap().map(|file| file.unwrap().path()));
    let key = files.next().unwrap();
    let whole = std::fs::read(&key).unwrap();
    let mut damaged = whole.clone();
    damaged[45] ^= 1;
    std::fs::write(&key, damaged).unwrap();
    let found = verify();
    let said = format!("node: {}: its secret is damaged", key.display());
    assert!(found.code == 1 && found.stdout.contains(&said), "{found:?}");
    std::fs::write(&key, whole).unwrap();
    // how far the folder had come, as this node knows it
    let kept = nodes.folder(2).join("subject-keys.shared");
    let whole = std::fs::read(&kept).unwrap();
    std::fs::write(&kept, vec![1; whole.len()]).unwrap();
    let found = verify();
    assert!(found.code == 1 && found.stdout.contains("subject-keys.shared: it is damaged"), "{found:?}");
    std::fs::write(&kept, whole).unwrap();
}

#[test]
fn what_is_erased_at_one_node_no_node_reads_any_more_nor_an_older_copy_of_all_data() {
    let keys = tempfile::tempdir().unwrap();
    let mut nodes = cluster(&keys);
    for (n, node) in (0..).zip([1, 2, 3]) {
        append(&nodes, node, "a", n);
        append(&nodes, node, "b", n);
    }
    for node in 1..=3 {
        nodes.until("every node opens what others sealed", |nodes| {
            shown(nodes, node, "a", "leader").is_some_and(|shown| shown.len() == 6 && is_whole(&shown))
        });
    }
    append_native(&nodes, "native");
    for node in 1..=3 {
        nodes.until("what came over the native protocol too", |nodes| {
            shown(nodes, node, "native", "leader").is_some_and(|shown| is_whole(&shown))
        });
    }
    nodes.http(1).compact();
    append(&nodes, 1, "a", 3);
    nodes.stop_all();
    let found = holding(nodes.path(), SECRET);
    assert!(found.is_empty(), "it is in no byte of the data: {found:?}");
    let older = tempfile::tempdir().unwrap();
    copy(nodes.path(), older.path());
    assert_a_damaged_secret_is_found(&nodes, &keys.path().join("subjects"));
    nodes.start_all();
    append(&nodes, 2, "a", 4);
    nodes.until("node 3 uses the folder again", |nodes| {
        shown(nodes, 3, "a", "leader").is_some_and(|shown| shown.len() == 10 && is_whole(&shown))
    });

    let receipt = nodes.http(3).post(ERASE, &json!({ "stream_id": "a" })).expect(200);
    let of = &receipt["erased"][0];
    assert_eq!((&of["stream_type"], &of["name"], &of["already"]), (&json!("Person"), &json!("a"), &json!(false)));
    assert_eq!(of["events"], 5, "{receipt}");
    assert_hidden_everywhere(&nodes, "a");
    for node in 1..=3 {
        let event = json!({ "events": [{ "event_type": "E", "data": { "says": SECRET } }] });
        let refused = nodes.http(node).post("streams/Person/a", &event);
        assert_eq!((refused.status, &refused.json()["code"]), (422, &json!("strict_violation")), "{refused:?}");
        assert!(is_whole(&shown(&nodes, node, "b", "leader").unwrap()));
        let again = nodes.http(node).post(ERASE, &json!({ "stream_id": "a" })).expect(200);
        assert_eq!((&again["erased"][0]["already"], &again["erased"][0]["at"]), (&json!(true), &of["at"]));
    }
    nodes.http(1).post(ERASE, &json!({ "stream_id": "nobody" })).expect_error(404, "not_found");
    nodes.stop_all();

    // all data as it was before: the keys are not in it
    for entry in std::fs::read_dir(nodes.path()).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        std::fs::remove_dir_all(entry.path()).unwrap();
    }
    copy(older.path(), nodes.path());
    nodes.start_all();
    assert_hidden_everywhere(&nodes, "a");
    nodes.until("the others are there", |nodes| {
        shown(nodes, 2, "b", "leader").is_some_and(|shown| shown.len() == 6 && is_whole(&shown))
    });
    nodes.stop_all();
}

#[test]
fn a_node_that_was_away_at_an_erasure_shows_nothing_of_it_when_it_is_back() {
    let keys = tempfile::tempdir().unwrap();
    let mut nodes = cluster(&keys);
    for stream in ["killed", "paused", "stays"] {
        append(&nodes, 1, stream, 0);
        for node in 1..=3 {
            // each has the key in its memory
            nodes.until("every node opens it", |nodes| {
                shown(nodes, node, stream, "local").is_some_and(|it| is_whole(&it))
            });
        }
    }
    let erase = |nodes: &Nodes, node: usize, stream: &str| {
        let mut away = Value::Null;
        nodes.until("it is erased", |nodes| {
            let answer = nodes.http(node).post(ERASE, &json!({ "stream_id": stream }));
            away = answer.json()["not_known_to"].clone();
            answer.status == 200
        });
        away
    };
    nodes.kill(3);
    assert_eq!(erase(&nodes, 1, "killed"), json!([3]));
    let person = json!({ "name": "Person", "erasable": "stream" });
    let again = nodes.http(1).post("stream-types", &person).expect(201);
    assert_eq!(again["erasable"], "stream", "what is registered needs no node that is away");
    nodes.start(3);
    nodes.until("node 3 reads again", |nodes| {
        shown(nodes, 3, "killed", "local").is_some_and(|shown| {
            assert!(shown.is_empty() || is_hidden(&shown), "{shown:?}");
            !shown.is_empty()
        })
    });
    nodes.until("node 3 opens again", |nodes| shown(nodes, 3, "stays", "local").is_some_and(|it| is_whole(&it)));
    // one that runs, has the key, and hears nothing
    nodes.pause(2);
    assert_eq!(erase(&nodes, 3, "paused"), json!([2]));
    nodes.go_on(2);
    let at_once = shown(&nodes, 2, "paused", "local");
    assert!(at_once.as_ref().is_none_or(|shown| is_hidden(shown)), "{at_once:?}");
    assert_hidden_everywhere(&nodes, "paused");
    assert_hidden_everywhere(&nodes, "killed");
    nodes.stop_all();
}

#[test]
fn who_is_named_for_an_erasure_in_several_types_has_the_logs_of_all_of_them() {
    let keys = tempfile::tempdir().unwrap();
    let mut nodes = Nodes::of(5, KEYS, &[]);
    for node in 1..=5 {
        nodes.give(node, "ingest");
        nodes.tell(node, &["--subject-keys", &folder(&keys, "subjects")]);
        nodes.start(node);
    }
    // votes go round, so only the one that compacts has all of them
    let types = ["Account", "Contract", "Person"];
    types.iter().for_each(|name| register_type(&nodes, 2, name));
    let lacks = |nodes: &Nodes, node: usize| types.into_iter().any(|of| nodes.shard(node, Some(of))["here"] == false);
    nodes.until("four lack some", |nodes| (1..=5).filter(|node| lacks(nodes, *node)).count() == 4);
    let nobody = json!({ "stream_id": "nobody" });
    for node in 1..=5 {
        nodes.until("it looks for what to erase, or names who can", |nodes| {
            let answer = nodes.http(node).post(ERASE, &nobody);
            if answer.json()["code"] != "not_leader" {
                return answer.status == 404;
            }
            let named = answer.json()["details"]["address"].clone();
            let other = (1..=5).find(|other| named == json!(nodes.http_address(*other)));
            other.is_some_and(|other| nodes.http(other).post(ERASE, &nobody).status == 404)
        });
    }
    nodes.stop_all();
}

#[test]
fn a_node_with_a_folder_of_its_own_or_with_none_is_refused() {
    let keys = tempfile::tempdir().unwrap();
    let (shared, own) = (folder(&keys, "subjects"), folder(&keys, "own"));
    let mut nodes = Nodes::of(3, KEYS, &[]);
    for (node, folder) in [(1, &shared), (2, &shared), (3, &own)] {
        nodes.tell(node, &["--subject-keys", folder]);
        nodes.start(node);
    }
    let person = json!({ "name": "Person", "erasable": "stream" });
    nodes.until("node 3 alone is named", |nodes| {
        let refused = nodes.http(1).post("stream-types", &person).expect_error(503, "unavailable");
        refused["error"].as_str().unwrap().contains("--subject-keys: 3. ")
    });
    nodes.stop(3);
    nodes.tell(3, &["--subject-keys", &shared]);
    nodes.start(3);
    register(&nodes, 1);
    append(&nodes, 3, "a", 0);
    let kept = nodes.folder(3).join("subject-keys.shared");
    nodes.until("node 3 keeps which folder it is", |_| {
        std::fs::read(&kept).is_ok_and(|bytes| bytes.windows(6).any(|part| part == b"SLREAC"))
    });
    nodes.stop(3);
    for (options, what) in
        [(vec!["--subject-keys", own.as_str()], "is another folder than"), (Vec::new(), "--subject-keys")]
    {
        nodes.tell(3, &options);
        let refused = nodes.refused(3);
        assert!(refused.code == 2 && refused.stderr.contains(what), "{refused:?}");
    }
    nodes.tell(3, &["--subject-keys", &shared]);
    nodes.start(3);
    // the mount goes away under all of them
    for node in 1..=3 {
        nodes.until("it opens by itself", |nodes| shown(nodes, node, "a", "local").is_some_and(|it| is_whole(&it)));
    }
    let aside = keys.path().join("aside");
    rename(Path::new(&shared), &aside);
    for node in 1..=3 {
        let refused = nodes.http(node).get("streams/Person/a?consistency=local");
        refused.expect_error(503, "unavailable");
    }
    rename(&aside, Path::new(&shared));
    assert!(is_whole(&shown(&nodes, 3, "a", "local").unwrap()));
    nodes.stop_all();
}
