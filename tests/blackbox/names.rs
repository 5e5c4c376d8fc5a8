//! Names of stream types, tenants and streams that would leave their folder, hide in it, or meet the store's own: by every way in, in all tiers.

use crate::harness::{Http, Server, Store};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use strandline_client::{BatchBuilder, BatchUnit, Client, EventInput, Expected, Options};

/// Percent-encoded for a path of HTTP, each byte.
pub(crate) fn encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Those of tests.
pub(crate) fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        ".",
        "..",
        "...",
        "../x",
        "..%2fx",
        "%2e%2e%2f",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "C:\\x",
        "\0",
        "a\0b",
        "a\nb",
        "nul",
        "CON",
        "aux.",
        "trailing.",
        "trailing ",
        " leading",
        "Case",
        "case",
        "CASE",
        "\u{fc}",
        "u\u{308}",
        "\u{202e}x",
        "~",
        "a~1",
        "a=b",
        "dt=1",
        ".lock",
        ".cluster",
        "_manifests",
        "_runs",
        "_delta_log",
        "_delta",
        "segments",
        "__HIVE_DEFAULT_PARTITION__",
        "x.parquet",
        "%",
        "%00",
        "-",
        "*",
        "?",
        "\"",
        "'",
        "$(x)",
        "{writer}",
        "{tenant_id}",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("x".repeat(200));
    names.push("\u{fc}".repeat(33));
    names
}

/// Everything below a folder.
fn paths(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(paths(&path));
        }
        found.push(path);
    }
    found
}

/// As many data files lie below their folder, and no part of their names leaves it or hides.
fn assert_files(store: &Store, http: &Http, count: usize) {
    let files = http.get("/admin/v1/stores/test/files").expect(200)["files"].as_array().unwrap().clone();
    assert_eq!(files.len(), count);
    for file in files.iter().map(|file| file["path"].as_str().unwrap()) {
        assert!(store.durable().join(file).is_file(), "{file}");
        let parts: Vec<&str> = file.split('/').collect();
        let hidden = |part: &&str| part.starts_with(['.', '_']) && !part.starts_with("__HIVE");
        assert!(!parts.iter().any(|part| part.is_empty() || hidden(part)), "{file}");
    }
}

#[test]
fn no_name_leaves_its_folder_or_meets_another_one() {
    for pattern in [
        None,
        Some("{tenant_id}/{stream_type}/{dt}-{writer}-{file_seq}.parquet"),
        Some("{stream_type}-{tenant_id}/{dt}/{writer}-{file_seq}.parquet"),
    ] {
        let pattern_key = pattern.map(|pattern| format!("durable.file_pattern = '{pattern}'"));
        let mut keys = vec!["partition.by = ('tenant_id', 'stream_type', 'dt')", "compaction.schedule = '0 0 1 1 *'"];
        keys.extend(pattern_key.as_deref());
        let store = Store::new(&keys);
        let outside = paths(store.path()).len();
        let server = store.start();
        let http = server.http();
        let long = pattern.is_some_and(|pattern| pattern.starts_with("{stream_type}-"));
        let names: Vec<String> = names().into_iter().filter(|name| !long || name.len() < 60).collect();
        for name in &names {
            let event = json!({ "event_type": "E", "data": name, "tenant_id": name });
            http.post(&format!("streams/{}/{}", encoded(name), encoded(name)), &json!({ "events": [event] }))
                .expect(201);
        }
        let too_long = json!({ "events": [{ "event_type": "E", "data": 1 }] });
        http.post(&format!("streams/{}/s", "y".repeat(201)), &too_long).expect_error(422, "invalid_event");
        let check = || {
            for name in &names {
                let rows = http.stream(&encoded(name), &encoded(name));
                assert_eq!(rows.len(), 1, "{name:?}");
                assert_eq!((&rows[0]["data"], &rows[0]["stream_type"]), (&json!(name), &json!(name)));
                assert_eq!(rows[0]["tenant_id"], json!(name));
            }
            assert_eq!(http.scan().len(), names.len());
        };
        check();
        http.compact();
        check();
        assert_files(&store, &http, names.len());
        server.stop();
        store.assert_clean();
        let server = store.start();
        let again: Vec<Value> = server.http().scan();
        assert_eq!(again.len(), names.len());
        server.stop();
        let top: Vec<_> = std::fs::read_dir(store.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(top.len(), outside + 3, "the node's folder, logs and files, and nothing beside them: {top:?}");
    }
}

fn event(name: &str, way: &str) -> Value {
    json!({ "stream_type": name, "stream_id": name, "tenant_id": name, "event_type": "E", "data": way })
}

fn lines(names: &[String], way: &str) -> String {
    names.iter().map(|name| format!("{}\n", event(name, way))).collect()
}

fn append_by_frames(server: &Server, names: &[String]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = Options { store: "test".to_owned(), ..Options::new(server.native()) };
        let client = Client::connect(options).await.unwrap();
        for name in names.iter().map(String::as_str) {
            let mut batch = BatchBuilder::new(name, BatchUnit::Append);
            let (tenant_id, data) = (Some(name), "\"frames\"");
            let event = EventInput { stream_id: name, event_type: "E", data, tenant_id, ..EventInput::default() };
            batch.push(&event).unwrap();
            client.append(batch.finish().unwrap(), Expected::Any).await.unwrap();
        }
    });
}

/// By the commands for one stream. No argument of a command holds a zero.
fn append_by_commands(server: &Server, names: &[String]) {
    for name in names.iter().filter(|name| !name.contains('\0')) {
        let [of_type, id, tenant] = ["type", "id", "tenant"].map(|of| match of {
            "tenant" => format!("--tenant-id={name}"),
            of => format!("--stream-{of}={name}"),
        });
        let appended = server.client(&["append", &of_type, &id, &tenant, "--event-type", "E"]);
        assert_eq!(appended.code, 0, "{name:?}: {appended:?}");
        let read = server.client(&["read", &of_type, &id, "--format", "ndjson"]);
        let newest: Value = serde_json::from_str(read.stdout.lines().last().unwrap()).unwrap();
        assert_eq!((&newest["stream_id"], &newest["tenant_id"]), (&json!(name), &json!(name)), "{read:?}");
    }
}

fn assert_too_long_is_refused(server: &Server) {
    for name in ["y".repeat(201), "\u{fc}".repeat(34)] {
        let too_long = event(&name, "too long");
        let mut of_a_tenant = too_long.clone();
        (of_a_tenant["stream_type"], of_a_tenant["stream_id"]) = (json!("T"), json!("s"));
        for event in [too_long, of_a_tenant] {
            assert_eq!(server.http().post("events", &json!([event])).status, 422, "{event}");
            for more in [&["ingest", "-"][..], &["ingest", "-", "--protocol", "http"]] {
                let refused = server.client_with_input(more, format!("{event}\n").as_bytes());
                assert_ne!(refused.code, 0, "{refused:?}");
            }
        }
        let (of_type, id) = (format!("--stream-type={name}"), "--stream-id=s");
        assert_eq!(server.client(&["append", &of_type, id, "--event-type", "E"]).code, 1);
    }
}

#[test]
fn no_name_leaves_its_folder_by_any_way_in() {
    let keys = ["partition.by = ('tenant_id', 'stream_type')", "compaction.schedule = '0 0 1 1 *'"];
    let (store, names) = (Store::new(&keys), names());
    let server = store.start();
    let http = server.http();
    http.bulk(&names.iter().map(|name| event(name, "lines")).collect::<Vec<_>>());
    http.post("events", &json!(names.iter().map(|name| event(name, "array")).collect::<Vec<_>>())).expect(201);
    append_by_frames(&server, &names);
    append_by_commands(&server, &names);
    for more in [&["ingest", "-"][..], &["ingest", "-", "--protocol", "http"]] {
        let ingested = server.client_with_input(more, lines(&names, &more.join(" ")).as_bytes());
        assert_eq!(ingested.code, 0, "{ingested:?}");
    }
    let of = |name: &str| if name.contains('\0') { 5 } else { 6 };
    let all: usize = names.iter().map(|name| of(name)).sum();
    assert_too_long_is_refused(&server);
    let check = |http: &Http| {
        for name in &names {
            let rows = http.stream(&encoded(name), &encoded(name));
            assert_eq!(rows.len(), of(name), "{name:?}");
            let same = |row: &Value| ["stream_type", "stream_id", "tenant_id"].iter().all(|key| row[*key] == **name);
            assert!(rows.iter().all(same), "{name:?}: {rows:?}");
        }
        assert_eq!(http.scan().len(), all);
    };
    check(&http);
    http.compact();
    check(&http);
    assert_files(&store, &http, names.len());
    // a store without a log, by Arrow
    let aside = tempfile::tempdir().unwrap();
    let arrow = aside.path().join("scan.arrow");
    std::fs::write(&arrow, http.get_as("scan", "application/vnd.apache.arrow.stream").body).unwrap();
    server.stop();
    store.assert_clean();
    let other = Store::without_log(&keys);
    let server = other.start();
    let ingested = server.client(&["ingest", &arrow.to_string_lossy()]);
    assert!(ingested.code == 0 && ingested.stdout.starts_with(&format!("appended {all},")), "{ingested:?}");
    server.http().compact();
    check(&server.http());
    assert_files(&other, &server.http(), names.len());
    server.stop();
    other.assert_clean();
    for (store, made) in [(&store, 4), (&other, 3)] {
        let top: Vec<_> = std::fs::read_dir(store.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(
            top.len(),
            made,
            "the statement, the node's folder, logs and files, and nothing beside them: {top:?}"
        );
    }
}
