//! Names of stream types, tenants and streams that would leave their folder, hide in it, or meet the store's own: over HTTP, in all tiers.

use crate::harness::Store;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Percent-encoded for a path of HTTP, each byte.
fn encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn names() -> Vec<String> {
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
        let files = http.get("/admin/v1/stores/test/files").expect(200)["files"].as_array().unwrap().clone();
        assert_eq!(files.len(), names.len());
        for file in files.iter().map(|file| file["path"].as_str().unwrap()) {
            assert!(store.durable().join(file).is_file(), "{file}");
            let parts: Vec<&str> = file.split('/').collect();
            let hidden = |part: &&str| part.starts_with(['.', '_']) && !part.starts_with("__HIVE");
            assert!(!parts.iter().any(|part| part.is_empty() || hidden(part)), "{file}");
        }
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
