//! Any bytes as the version file of a store's manifests. No panic; what opens can be looked over and verified.
//!
//! The first byte of an input says how it is used: even, the rest is the file; odd, it is the JSON, and gets a right envelope of one of the versions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use strandline_deql::{StoreConfig, parse_bytes};
use strandline_durable::objects::{LocalObjects, SharedObjects};
use strandline_durable::{DurableTier, verify_manifests};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("strandline-fuzz-manifest-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
});

/// The store that the fixtures of crates/durable are of.
static CONFIG: LazyLock<StoreConfig> = LazyLock::new(|| {
    let statement = "CREATE EVENTSTORE calls WITH (durable.type = 'parquet', durable.path = '/nowhere', partition.by = ('dt', 'tenant_id'));";
    parse_bytes("fuzz.deql", statement.as_bytes()).unwrap().stores.remove(0).config
});

fuzz_target!(|input: &[u8]| {
    let Some((how, content)) = input.split_first() else { return };
    let file = if how % 2 == 1 { envelope(content, version(*how)) } else { content.to_vec() };
    fs::write(FOLDER.join("v00000000000000000001.json.zst"), file).unwrap();
    let objects: SharedObjects = Arc::new(LocalObjects::read_only(&FOLDER));
    let Ok(tier) = DurableTier::open_read_only_with(Arc::clone(&objects), objects, &CONFIG) else { return };
    for finding in verify_manifests(&tier) {
        assert!(!finding.to_string().is_empty());
    }
    assert!(tier.pin().files().iter().all(|file| !file.path.starts_with('/')), "no file leaves the store's folder");
});

/// 1 to 5: most bytes say of the first three what they said before there was a fourth, and the corpus with them.
fn version(how: u8) -> u16 {
    match how % 16 {
        11 => 4,
        13 => 5,
        _ => u16::from(how >> 1) % 3 + 1,
    }
}

/// crates/durable/FORMAT.md, "Manifests".
fn envelope(json: &[u8], version: u16) -> Vec<u8> {
    let body = zstd::bulk::compress(json, 1).unwrap();
    let mut out = 0x184D_2A50_u32.to_le_bytes().to_vec();
    out.extend(16_u32.to_le_bytes());
    out.extend(b"SLMF");
    out.extend(version.to_le_bytes());
    out.extend(1_u16.to_le_bytes());
    out.extend((json.len() as u32).to_le_bytes());
    out.extend(crc32c::crc32c(&body).to_le_bytes());
    out.extend(body);
    out
}
