//! Manifests as FORMAT.md says them, read and written by hand: so that a test can lie without a checksum that tells.

use crate::harness::Store;
use serde_json::Value;
use std::path::PathBuf;

const HEADER_BYTES: usize = 24;
/// What an object is, by its header.
pub(super) const VERSION: u16 = 1;
pub(super) const SEGMENT: u16 = 2;
pub(super) const CHECKPOINT: u16 = 4;

pub(super) fn folder(store: &Store) -> PathBuf {
    store.durable().join("_manifests")
}

pub(super) fn name(version: u64) -> String {
    format!("v{version:020}.json.zst")
}

pub(super) fn path(store: &Store, version: u64) -> PathBuf {
    folder(store).join(name(version))
}

/// All versions, rising.
pub(super) fn versions(store: &Store) -> Vec<u64> {
    let names = std::fs::read_dir(folder(store)).unwrap().map(|entry| entry.unwrap().file_name());
    let number = |name: std::ffi::OsString| name.to_str()?.strip_prefix('v')?.strip_suffix(".json.zst")?.parse().ok();
    let mut all: Vec<u64> = names.filter_map(number).collect();
    all.sort_unstable();
    all
}

pub(super) fn unwrap(bytes: &[u8]) -> Value {
    serde_json::from_slice(&zstd::decode_all(&bytes[HEADER_BYTES..]).unwrap()).unwrap()
}

pub(super) fn wrap(kind: u16, json: &Value) -> Vec<u8> {
    let json = json.to_string();
    let body = zstd::encode_all(json.as_bytes(), 3).unwrap();
    let mut out = 0x184D_2A50_u32.to_le_bytes().to_vec();
    out.extend(16_u32.to_le_bytes());
    out.extend(b"SLMF");
    out.extend(2_u16.to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend((json.len() as u32).to_le_bytes());
    out.extend(crc32c::crc32c(&body).to_le_bytes());
    out.extend(body);
    out
}

pub(super) fn read(store: &Store, version: u64) -> Value {
    unwrap(&std::fs::read(path(store, version)).unwrap())
}

/// The newest version and what it says.
pub(super) fn newest(store: &Store) -> (u64, Value) {
    let version = *versions(store).last().unwrap();
    (version, read(store, version))
}

/// What a version says of a log.
pub(super) fn log<'a>(manifest: &'a Value, stream_type: &str) -> &'a Value {
    manifest["logs"].as_array().unwrap().iter().find(|log| log["stream_type"] == stream_type).unwrap()
}

pub(super) fn log_mut<'a>(manifest: &'a mut Value, stream_type: &str) -> &'a mut Value {
    manifest["logs"].as_array_mut().unwrap().iter_mut().find(|log| log["stream_type"] == stream_type).unwrap()
}

/// The segments of entries that a version names.
pub(super) fn segments_of(manifest: &Value) -> Vec<Value> {
    let groups = manifest["groups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["segments"].as_array().unwrap().clone()).collect()
}

/// The live files that stand in the version file itself.
pub(super) fn inline(manifest: &Value) -> Vec<Value> {
    let groups = manifest["groups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["files"].as_array().unwrap().clone()).collect()
}

/// Calls `change` with the list that holds the entry of a file, live or under a tombstone, and its place in it.
pub(super) fn change_entry(manifest: &mut Value, path: &str, change: impl FnOnce(&mut Value)) {
    let live = |list: &mut Value| {
        let files = list["files"].as_array_mut().unwrap();
        files.iter().position(|file| file["path"] == path)
    };
    for group in manifest["groups"].as_array_mut().unwrap() {
        if let Some(n) = live(group) {
            return change(&mut group["files"][n]);
        }
    }
    let tombstones = manifest["tombstones"].as_array_mut().unwrap();
    let found = tombstones.iter_mut().find(|tombstone| tombstone["entry"]["path"] == path);
    change(&mut found.unwrap_or_else(|| panic!("{path} is not in the version file"))["entry"]);
}
