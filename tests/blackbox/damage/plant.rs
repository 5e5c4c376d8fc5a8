//! How damage is planted: bytes of files, and what must be changed with them where no checksum shall tell.

use super::manifest;
use super::prepare::Copy;
use crate::oracles::oracle;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Version 2 of data files: blocks of the data, of the list of their checksums, of the page index.
const BLOCK_BYTES: usize = 8_192;
const LIST_BLOCK_BYTES: usize = 4_096;
const INDEX_BLOCK_BYTES: usize = 16_384;
const DATA_BYTES_KEY: &[u8] = b"strandline.data.bytes";
const SUMS_KEY: &[u8] = b"strandline.sums.crc32c";
/// Version 1, in which pyarrow can write a file: all checksums of its blocks stand in the footer.
const VERSION_1_BLOCK_BYTES: usize = 65_536;
const VERSION_1_SUMS_KEY: &[u8] = b"strandline.blocks.crc32c";
const RUN_TRAILER_BYTES: usize = 36;

impl Copy {
    pub(super) fn durable(&self) -> PathBuf {
        self.store.durable()
    }

    /// Makes a file anew: its links in the other copies keep what they have.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) {
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, bytes).unwrap();
        // the second name of a data file
        let link = self.link_of(path);
        if link.exists() {
            std::fs::remove_file(&link).unwrap();
            std::fs::hard_link(path, link).unwrap();
        }
    }

    fn link_of(&self, path: &Path) -> PathBuf {
        let name = path.strip_prefix(self.durable()).map_or_else(|_| "none".into(), Path::to_string_lossy);
        self.durable().join(format!("_delta/{}.link", name.strip_suffix(".old").unwrap_or(&name)))
    }

    /// Flips bits of one byte.
    pub(super) fn flip(&self, path: &Path, at: usize) {
        self.flip_bits(path, at, 0x10);
    }

    pub(super) fn flip_bits(&self, path: &Path, at: usize, bits: u8) {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[at] ^= bits;
        self.write(path, &bytes);
    }

    pub(super) fn cut(&self, path: &Path, length: usize) {
        let bytes = std::fs::read(path).unwrap();
        self.write(path, &bytes[..length]);
    }

    /// Removes a file under all of its names.
    pub(super) fn remove(&self, path: &Path) {
        std::fs::remove_file(path).unwrap();
        let _ = std::fs::remove_file(self.link_of(path));
    }

    pub(super) fn swap(&self, a: &Path, b: &Path) {
        let (first, second) = (std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
        self.write(a, &second);
        self.write(b, &first);
    }

    /// Changes a version, with the checksum in its own envelope.
    pub(super) fn edit(&self, version: u64, change: impl FnOnce(&mut Value)) {
        let mut json = manifest::read(&self.store, version);
        change(&mut json);
        self.write(&manifest::path(&self.store, version), &manifest::wrap(manifest::VERSION, &json));
    }

    /// Changes the newest version: nothing is built on it.
    pub(super) fn edit_newest(&self, change: impl FnOnce(&mut Value)) {
        self.edit(manifest::newest(&self.store).0, change);
    }

    /// A data file of a stream type whose entry stands in the newest version itself: the one with the most rows.
    pub(super) fn entry(&self, stream_type: &str) -> Value {
        let files = manifest::inline(&manifest::newest(&self.store).1);
        let of_type = files.into_iter().filter(|file| file["stream_type"] == stream_type);
        of_type.max_by_key(|file| file["rows"].as_u64()).unwrap()
    }

    /// The path of a data file as a manifest says it, and where it is.
    pub(super) fn file(&self, stream_type: &str) -> (String, PathBuf) {
        let name = text(&self.entry(stream_type), "path");
        let path = self.durable().join(&name);
        (name, path)
    }

    /// Segments of a log, oldest first.
    pub(super) fn segments(&self, stream_type: &str) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.store.log().join(stream_type)).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "wal")).collect();
        all.sort();
        all
    }

    /// Changes bytes of a data file, and all checksums with them: only its rows can tell.
    pub(super) fn reseal(&self, name: &str, change: impl FnOnce(&mut Vec<u8>, usize)) {
        let path = self.durable().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let newest = manifest::newest(&self.store).1;
        let entry = manifest::inline(&newest).into_iter().find(|file| file["path"] == name).unwrap();
        let tail_bytes = entry["tail_bytes"].as_u64().unwrap() as usize;
        let tail_start = bytes.len() - tail_bytes;
        change(&mut bytes, tail_start);
        self.put_sealed(name, bytes, tail_bytes, |_| {});
    }

    /// Replaces a data file by what pyarrow makes of it.
    pub(super) fn rewrite(&self, name: &str, kind: &str, other: Option<&str>) {
        let (path, out) = (self.durable().join(name), self.store.path().join("rewritten"));
        let other = other.map(|name| self.durable().join(name));
        let mut arguments: Vec<&Path> = vec![Path::new("rewrite"), &path, &out, Path::new(kind)];
        arguments.extend(other.as_deref());
        let facts: Value = serde_json::from_str(&oracle("damage.py", &arguments)).unwrap();
        let (bytes, tail_bytes) = (std::fs::read(&out).unwrap(), facts["tail_bytes"].as_u64().unwrap() as usize);
        self.put_sealed(name, bytes, tail_bytes, |entry| {
            for field in ["rows", "row_groups", "bounds"] {
                entry[field] = facts[field].clone();
            }
        });
    }

    fn put_sealed(&self, name: &str, mut bytes: Vec<u8>, tail_bytes: usize, change: impl FnOnce(&mut Value)) {
        let tail_start = bytes.len() - tail_bytes;
        let tail = seal_blocks(&mut bytes, tail_start);
        self.write(&self.durable().join(name), &bytes);
        self.edit_newest(|json| {
            manifest::change_entry(json, name, |entry| {
                change(entry);
                entry["bytes"] = bytes.len().into();
                entry["crc32c"] = crc32c::crc32c(&bytes).into();
                entry["tail_bytes"] = tail_bytes.into();
                entry["tail_crc32c"] = crc32c::crc32c(&bytes[tail_start..]).into();
                entry.as_object_mut().unwrap().remove("tail");
                tail.into_iter().for_each(|tail| entry["tail"] = tail);
            });
        });
    }

    /// The last run of a kind of the log of `Call`.
    pub(super) fn run(&self, kind: &str) -> (String, PathBuf) {
        let newest = manifest::newest(&self.store).1;
        let name = text(manifest::log(&newest, "Call")[kind].as_array().unwrap().last().unwrap(), "path");
        let path = self.durable().join(&name);
        (name, path)
    }

    /// Changes records and filter of a run, and all checksums with them.
    pub(super) fn reseal_run(&self, kind: &str, change: impl FnOnce(&mut [u8], usize)) -> String {
        let (name, path) = self.run(kind);
        let mut bytes = std::fs::read(&path).unwrap();
        let body = bytes.len() - RUN_TRAILER_BYTES;
        let number = |at: usize| u64::from_le_bytes(bytes[body + at..body + at + 8].try_into().unwrap()) as usize;
        let records = body - number(16);
        change(&mut bytes[..body], records);
        let crc = crc32c::crc32c(&bytes[..body]);
        bytes[body + 28..body + 32].copy_from_slice(&crc.to_le_bytes());
        let own = crc32c::crc32c(&bytes[body..body + 32]);
        bytes[body + 32..].copy_from_slice(&own.to_le_bytes());
        self.write(&path, &bytes);
        self.edit_newest(|json| {
            let runs = manifest::log_mut(json, "Call")[kind].as_array_mut().unwrap();
            runs.last_mut().unwrap()["crc32c"] = crc.into();
        });
        name
    }
}

/// Puts the checksums of the blocks in place of those that are there. Gives what the entry of the file says of its tail, in version 2.
fn seal_blocks(bytes: &mut [u8], tail_start: usize) -> Option<Value> {
    let (front, tail) = bytes.split_at_mut(tail_start);
    let hex = |bytes: &[u8], block| -> String {
        bytes.chunks(block).map(|block| format!("{:08x}", crc32c::crc32c(block))).collect()
    };
    let Some((at, length)) = footer_value(tail, DATA_BYTES_KEY) else {
        put_footer_value(tail, VERSION_1_SUMS_KEY, &hex(front, VERSION_1_BLOCK_BYTES));
        return None;
    };
    let data_bytes: usize = std::str::from_utf8(&tail[at..][..length]).unwrap().parse().unwrap();
    let (data, list) = front.split_at_mut(data_bytes);
    let sums: Vec<u8> = data.chunks(BLOCK_BYTES).flat_map(|block| crc32c::crc32c(block).to_le_bytes()).collect();
    list.copy_from_slice(&sums);
    put_footer_value(tail, SUMS_KEY, &hex(list, LIST_BLOCK_BYTES));
    let end = tail.len();
    let footer_bytes = u32::from_le_bytes(tail[end - 8..end - 4].try_into().unwrap()) as usize + 8;
    let (index, footer) = tail.split_at(end - footer_bytes);
    let index: Vec<u32> = index.chunks(INDEX_BLOCK_BYTES).map(crc32c::crc32c).collect();
    Some(json!({"footer_bytes": footer_bytes, "footer_crc32c": crc32c::crc32c(footer), "index_crc32c": index}))
}

/// Where the value of a key stands in a footer, and its length.
fn footer_value(tail: &[u8], key: &[u8]) -> Option<(usize, usize)> {
    let at = tail.windows(key.len()).rposition(|window| window == key)? + key.len() + 1;
    // behind the header of the value's field: its length as a varint, the value
    let digits = tail[at..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let length = (0..digits).map(|n| usize::from(tail[at + n] & 0x7f) << (7 * n)).sum();
    Some((at + digits, length))
}

fn put_footer_value(tail: &mut [u8], key: &[u8], value: &str) {
    let (at, length) = footer_value(tail, key).unwrap();
    assert_eq!(length, value.len(), "as many blocks as before");
    tail[at..][..length].copy_from_slice(value.as_bytes());
}

pub(super) fn text(json: &Value, field: &str) -> String {
    json[field].as_str().unwrap().to_owned()
}

/// Where frames stand in a segment of the log: start, and length with header and payload.
pub(super) fn frames(bytes: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut found) = (0, Vec::new());
    while bytes.get(at..at + 96).is_some_and(|header| &header[..4] == b"SLWF") {
        let payload = u32::from_le_bytes(bytes[at + 12..at + 16].try_into().unwrap()) as usize;
        found.push((at, 96 + payload));
        let last_of_group = bytes[at + 6] & 2 != 0;
        at = (at + 96 + payload).next_multiple_of(if last_of_group { 4096 } else { 16 });
    }
    found
}
