//! Other engines read our files: DuckDB, pyarrow and Polars open every file that differently configured stores write,
//! and find the schema of the contract, and the rows that went in.

use crate::harness::{Server, Store, root};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Keys of the stores, and what is special about each.
const STORES: &[(&str, &[&str])] = &[
    ("plain", &[]),
    ("dt", &["partition.by = ('dt')", "partition.dt.granularity = 'day'"]),
    (
        "all-levels",
        &[
            "partition.by = ('dt','stream_type','tenant_id')",
            "row_group.max_rows = 500",
            "durable.compression = 'snappy'",
        ],
    ),
    (
        "no-dictionary",
        &[
            "durable.dictionary.enabled = false",
            "durable.compression = 'none'",
            "bloom.enabled = false",
            "stats.enabled = false",
        ],
    ),
    ("gzip-desc", &["durable.compression = 'gzip'", "row_group.sort_order = 'desc'"]),
    ("brotli", &["durable.compression = 'brotli'", "bloom.columns = ('command_id','event_id')", "bloom.fpp = 0.001"]),
    ("lz4", &["durable.compression = 'lz4'", "stats.columns = ('occurred_at')"]),
    (
        "renamed",
        &[
            "envelope.seq_key = 'version'",
            "envelope.stream_id_key = 'aggregate_id'",
            "envelope.payload_key = 'body'",
            "envelope.event_id_key = 'id'",
        ],
    ),
    (
        "by-time",
        &[
            "row_group.sort_by = ('occurred_at','event_id')",
            "id.event_id.format = 'uuidv4'",
            "durable.compression = 'zstd'",
            "durable.compression.level = 9",
        ],
    ),
];

/// The interpreter that `scripts/test` prepares.
pub(crate) fn python() -> PathBuf {
    let given = std::env::var_os("STRANDLINE_TEST_PYTHON").map(PathBuf::from);
    let python = given.unwrap_or_else(|| root().join(".venv/bin/python"));
    assert!(python.exists(), "{} is not there: run scripts/test once, it sets up the oracles", python.display());
    python
}

/// Runs a script of tests/oracles; fails with what it says.
pub(crate) fn oracle(script: &str, arguments: &[&Path]) -> String {
    let path = root().join("tests/oracles").join(script);
    let output = Command::new(python()).arg(path).args(arguments).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script} {arguments:?}:\n{said}");
    print!("{said}");
    said
}

#[test]
fn other_engines_read_every_file() {
    for (name, keys) in STORES {
        let store = Store::new(keys);
        let server = store.start();
        let fields = names(&server);
        for part in 0..3 {
            ingest(&server, &fields, part);
            server.http().compact();
        }
        let rows: Vec<Value> = server.http().scan();
        assert_eq!(rows.len(), 3 * 400);
        let expected = store.path().join("expected.json");
        let config: Value = server.http().get("/v1/stores/test").expect(200);
        let all = json!({"name": name, "fields": fields, "rows": rows, "files": files(&server), "root": store.durable(), "config": config});
        std::fs::write(&expected, all.to_string()).unwrap();
        server.stop();
        oracle("read_files.py", &[&expected]);
        store.assert_clean();
    }
}

/// The live files of a node's store.
pub(crate) fn files(server: &Server) -> Vec<String> {
    server.client(&["files", "--format", "paths"]).stdout.lines().map(str::to_owned).collect()
}

/// Default names of fields to the store's names, as the last renaming key of the statement says.
pub(crate) fn names(server: &Server) -> Value {
    let config = server.http().get("/v1/stores/test").text();
    let config: Value = serde_json::from_str(&config).unwrap();
    let fields = [
        "event_id",
        "stream_type",
        "stream_id",
        "seq",
        "event_type",
        "event_version",
        "occurred_at",
        "ingested_at",
        "data",
        "metadata",
        "command_id",
        "correlation_id",
        "causation_id",
        "tenant_id",
    ];
    let key = |field: &str| format!("envelope.{}_key", if field == "data" { "payload" } else { field });
    Value::Object(
        fields.iter().map(|f| ((*f).to_owned(), find(&config, &key(f)).unwrap_or_else(|| json!(f)))).collect(),
    )
}

fn find(json: &Value, key: &str) -> Option<Value> {
    let object = json.as_object()?;
    object.get(key).filter(|v| v.is_string()).cloned().or_else(|| object.values().find_map(|v| find(v, key)))
}

pub(crate) fn ingest(server: &Server, fields: &Value, part: u64) {
    let name = |field: &str| fields[field].as_str().unwrap().to_owned();
    let mut lines = Vec::new();
    for n in 0..400_u64 {
        let mut event = serde_json::Map::new();
        event.insert(name("stream_type"), json!(["Call", "Flug/ü", "Order"][(n % 3) as usize]));
        event.insert(name("stream_id"), json!(format!("s {}", n % 31)));
        event.insert(name("event_type"), json!(format!("E{}", n % 5)));
        event.insert(name("occurred_at"), json!(format!("2026-11-{:02}T{:02}:00:00.{n:06}Z", 1 + n % 4, n % 24)));
        event.insert(name("data"), json!({"part": part, "n": n, "text": "äöü€𝄞", "float": 0.1}));
        if n % 11 > 0 {
            event.insert(name("tenant_id"), json!(["acme", "a=b/c", "zoë"][(n % 3) as usize]));
        }
        if n % 2 == 0 {
            event.insert(name("event_version"), json!(if n % 7 == 0 { u64::from(u32::MAX) - n } else { n % 7 }));
            event.insert(name("metadata"), json!({"trace": n}));
        }
        if n % 5 == 0 {
            event.insert(name("command_id"), json!(format!("c-{part}-{n}")));
            event.insert(name("correlation_id"), json!(format!("co-{n}")));
            event.insert(name("causation_id"), json!(""));
        }
        lines.push(Value::Object(event));
    }
    assert_eq!(server.http().bulk(&lines)["appended"], 400);
}
