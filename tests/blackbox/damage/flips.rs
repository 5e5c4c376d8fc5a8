//! One flipped bit anywhere: named by `verify`, or it has no meaning. What has none is decided here, by the formats:
//!
//! - the log: zeros between frames and groups, what stands behind the end of a segment, and `next.spare`: they belong to no frame.
//!   In the last group of a log a torn end is all that can be told (crates/wal/FORMAT.md, section 7): a note, and the next start cuts it;
//! - the Delta log: the number of the program's version in `commitInfo`;
//! - what the newest version does not name: runs that were merged into others, what a crash left behind.

use super::manifest;
use super::plant::frames;
use super::prepare::{Copy, Ready};
use crate::harness::Random;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a bit is flipped, and what must be said.
pub(super) struct Flip {
    pub(super) path: PathBuf,
    pub(super) at: usize,
    pub(super) bits: u8,
    pub(super) said: Said,
}

/// What `verify` must say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// A finding that names the file or what it belongs to.
    Finding,
    /// A note: the end of a log looks torn.
    Note,
    /// Nothing: the byte has no meaning.
    Nothing,
}

/// Files by what they are, without second names: a kind has its share of flips however few files it has.
fn kinds(copy: &Copy) -> BTreeMap<String, Vec<PathBuf>> {
    let mut kinds: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut folders = vec![copy.durable(), copy.store.log()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "_delta" {
                folders.push(path);
                continue;
            }
            let end = path.extension().and_then(|end| end.to_str());
            let Some(end) = end.filter(|end| !path.is_dir() && *end != "spare") else { continue };
            let kind = match (name.split('-').next().unwrap(), end) {
                (word, "run") => format!("run of {word}"),
                (_, "zst") if path.parent().unwrap().ends_with("segments") => "segment of a manifest".to_owned(),
                (_, "zst") => "manifest".to_owned(),
                (_, end) => end.to_owned(),
            };
            kinds.entry(kind).or_default().push(path);
        }
    }
    kinds.values_mut().for_each(|paths| paths.sort());
    kinds
}

/// So many flips of each kind of file.
pub(super) fn flips(ready: &Ready, random: &mut Random, of_each: u64) -> Vec<(String, Flip)> {
    let copy = ready.copy();
    let root = copy.store.path().to_owned();
    let mut out = Vec::new();
    for (kind, paths) in kinds(&copy) {
        for _ in 0..of_each {
            let path = &paths[random.below(paths.len() as u64) as usize];
            let bytes = std::fs::read(path).unwrap();
            let at = random.below(bytes.len() as u64) as usize;
            let bits = 1 << random.below(8);
            let said = meaning(&copy, &kind, path, &bytes, at, bits);
            out.push((kind.clone(), Flip { path: path.strip_prefix(&root).unwrap().to_owned(), at, bits, said }));
        }
    }
    out
}

fn meaning(copy: &Copy, kind: &str, path: &Path, bytes: &[u8], at: usize, bits: u8) -> Said {
    match kind {
        "wal" => in_the_log(copy, path, bytes, at),
        "json" => {
            let text = String::from_utf8_lossy(bytes);
            let start = text.find("\"engineInfo\":\"strandline ").unwrap() + "\"engineInfo\":\"strandline ".len();
            let end = start + text[start..].find('"').unwrap();
            // still a text
            let plain = (b' '..0x7f).contains(&(bytes[at] ^ bits)) && !b"\"\\".contains(&(bytes[at] ^ bits));
            if (start..end).contains(&at) && plain { Said::Nothing } else { Said::Finding }
        }
        "old" | "parquet" => {
            let name = path.strip_prefix(copy.durable()).unwrap().to_string_lossy().into_owned();
            let name = name.strip_suffix(".old").unwrap_or(&name);
            named(copy, name)
        }
        _ if kind.starts_with("run of ") => named(copy, &path.strip_prefix(copy.durable()).unwrap().to_string_lossy()),
        _ => Said::Finding,
    }
}

/// What the newest version does not name belongs to nobody any more.
fn named(copy: &Copy, name: &str) -> Said {
    let newest = manifest::newest(&copy.store).1;
    let segments = manifest::segments_of(&newest).into_iter();
    let in_segment = |segment: serde_json::Value| {
        let path = manifest::folder(&copy.store).join(segment["path"].as_str().unwrap());
        manifest::unwrap(&std::fs::read(path).unwrap()).to_string().contains(name)
    };
    let known = newest.to_string().contains(name) || segments.into_iter().any(in_segment);
    if known { Said::Finding } else { Said::Nothing }
}

fn in_the_log(copy: &Copy, path: &Path, bytes: &[u8], at: usize) -> Said {
    let frames = frames(bytes);
    let Some(frame) = frames.iter().position(|(start, length)| (*start..start + length).contains(&at)) else {
        return Said::Nothing;
    };
    let stream_type = path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    let last = copy.segments(&stream_type).last().is_some_and(|last| last == path);
    let group = |frame: usize| u64::from_le_bytes(bytes[frames[frame].0 + 32..][..8].try_into().unwrap());
    if last && group(frame) == group(frames.len() - 1) { Said::Note } else { Said::Finding }
}
