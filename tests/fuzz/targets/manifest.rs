//! Any bytes as the version file of a store's manifests, or as what one names: a sealed segment, a checkpoint. No panic; what opens can be
//! looked over and verified.
//!
//! The first byte of an input says how it is used: odd, the rest is the JSON of a version file, and gets a right envelope of one of the
//! versions; 14 in its low four bits, the second byte is the kind of another file, and the rest its JSON, which gets a right envelope and is
//! named by a right version file; else even, the rest is the version file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use strandline_deql::{StoreConfig, parse_bytes};
use strandline_durable::objects::{LocalObjects, SharedObjects};
use strandline_durable::{DurableTier, verify_manifests};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("strandline-fuzz-manifest-{}", std::process::id()));
    for part in ["segments", "checkpoints"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    folder
});

/// The store that the fixtures of crates/durable are of.
static CONFIG: LazyLock<StoreConfig> = LazyLock::new(|| {
    let statement = "CREATE EVENTSTORE calls WITH (durable.type = 'parquet', durable.path = '/nowhere', partition.by = ('dt', 'tenant_id'));";
    parse_bytes("fuzz.deql", statement.as_bytes()).unwrap().stores.remove(0).config
});

const VERSION_FILE: &str = "v00000000000000000001.json.zst";
const SEGMENT: &str = "segments/s00000000000000000001-1-0-0.json.zst";
const CHECKPOINT: &str = "checkpoints/c00000000000000000001-00000000000000000001.json.zst";

fuzz_target!(|input: &[u8]| {
    match input {
        [how, kind, json @ ..] if how % 16 == 14 => named(2 + u16::from(*kind) % 5, json),
        [how, json @ ..] if how % 2 == 1 => read(&envelope(json, version(*how), 1)),
        [_, file @ ..] => read(file),
        [] => {}
    }
});

/// A file of one of the kinds 2 to 6 beside a version file that names it.
fn named(kind: u16, json: &[u8]) {
    let object = envelope(json, 5, kind);
    let path = FOLDER.join(if kind == 4 { CHECKPOINT } else { SEGMENT });
    fs::write(&path, &object).unwrap();
    read(&envelope(naming(kind, &object, entries(json)).to_string().as_bytes(), 5, 1));
    fs::remove_file(&path).unwrap();
}

fn read(file: &[u8]) {
    fs::write(FOLDER.join(VERSION_FILE), file).unwrap();
    let objects: SharedObjects = Arc::new(LocalObjects::read_only(&FOLDER));
    let Ok(tier) = DurableTier::open_read_only_with(Arc::clone(&objects), Arc::clone(&objects), &CONFIG) else {
        return;
    };
    for finding in verify_manifests(&tier) {
        assert!(!finding.to_string().is_empty());
    }
    let snapshot = tier.pin();
    let climbs = |path: &str| path.split('/').any(|part| part.is_empty() || part == "..");
    let mut leaving = snapshot.files().iter().filter(|file| climbs(&file.path));
    assert!(leaving.all(|file| objects.open(&file.path).is_err()), "no file leaves the store's folder");
}

/// A version file that names this segment as one of its kind; a checkpoint is found by its own name.
fn naming(kind: u16, object: &[u8], files: usize) -> Value {
    let segments = |wanted: u16| {
        let segment = json!({ "path": SEGMENT, "crc32c": crc32c::crc32c(object), "files": files });
        if kind == wanted { json!([segment]) } else { json!([]) }
    };
    let zeros = "0".repeat(32);
    json!({
        "version": 1,
        "previous_crc32c": null,
        "store": { "name": "calls", "id": zeros, "digest_key": zeros },
        "epoch": 1,
        "owner": "n1",
        "job_id": zeros,
        "committed_at": 0,
        "file_seq": 1,
        "config": "",
        "logs": [],
        "groups": [{ "stream_type": "Call", "month": "2026-01", "segments": segments(2), "files": [] }],
        "replaced": { "segments": segments(3), "files": [] },
        "tombstone_segments": segments(6),
        "redactions": { "segments": segments(5), "events": [] },
    })
}

/// How many a segment holds: its version file says it too.
fn entries(json: &[u8]) -> usize {
    let value: Value = serde_json::from_slice(json).unwrap_or_default();
    value.as_object().and_then(|fields| fields.values().find_map(Value::as_array)).map_or(0, Vec::len)
}

/// 1 to 5: most bytes say of the first three what they said before there was a fourth, and the corpus with them.
fn version(how: u8) -> u16 {
    match how % 16 {
        11 => 4,
        13 => 5,
        _ => u16::from(how >> 1) % 3 + 1,
    }
}

/// crates/durable/FORMAT.md, "Manifests".
fn envelope(json: &[u8], version: u16, kind: u16) -> Vec<u8> {
    let body = zstd::bulk::compress(json, 1).unwrap();
    let mut out = 0x184D_2A50_u32.to_le_bytes().to_vec();
    out.extend(16_u32.to_le_bytes());
    out.extend(b"SLMF");
    out.extend(version.to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend((json.len() as u32).to_le_bytes());
    out.extend(crc32c::crc32c(&body).to_le_bytes());
    out.extend(body);
    out
}
