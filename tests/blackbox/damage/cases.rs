//! The table: a kind of damage, how it is planted, and what a finding of `verify` must name. Here: bytes of data files.

use super::manifest;
use super::plant::text;
use super::prepare::{Copy, bloom};
use std::path::Path;

/// Lines that must be there: all parts in one line.
pub(super) type Wanted = Vec<Vec<String>>;

/// A kind of damage.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Plants it.
    pub(super) plant: fn(&Copy) -> Wanted,
}

pub(super) fn line(parts: &[&str]) -> Wanted {
    vec![parts.iter().map(|part| (*part).to_owned()).collect()]
}

pub(super) fn name_of(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

pub(super) const fn case(name: &'static str, plant: fn(&Copy) -> Wanted) -> Case {
    Case { name, plant }
}

/// Data files whose bytes are not those that were written.
pub(super) const BYTES: &[Case] = &[
    case("a byte of a data page", |copy| {
        let (name, path) = copy.file("Big");
        copy.flip(&path, 70_000);
        let mut wanted = line(&[&name, "whole file"]);
        wanted.extend(line(&[&name, "block at byte 65536"]));
        wanted
    }),
    case("a byte of a bloom filter", |copy| {
        let (name, path) = copy.file("Call");
        let (start, length) = bloom(&path, "event_id");
        let at = start + length / 2;
        copy.flip(&path, at);
        line(&[&name, &format!("block at byte {}", at / 8_192 * 8_192)])
    }),
    case("a byte of a page index", |copy| {
        let (entry, (name, path)) = (copy.entry("Call"), copy.file("Call"));
        let tail = entry["bytes"].as_u64().unwrap() - entry["tail_bytes"].as_u64().unwrap();
        copy.flip(&path, tail as usize + 9);
        line(&[&name, "footer"])
    }),
    case("a byte of a footer", |copy| {
        let (name, path) = copy.file("Call");
        copy.flip(&path, copy.entry("Call")["bytes"].as_u64().unwrap() as usize - 100);
        line(&[&name, "footer"])
    }),
    case("a file that was cut", |copy| {
        let (name, path) = copy.file("Big");
        copy.cut(&path, 100_000);
        line(&[&name, "it has 100000 bytes"])
    }),
    case("a file that is gone", |copy| {
        let (name, path) = copy.file("Call");
        copy.remove(&path);
        line(&[&name, "not there"])
    }),
    case("a file that has lost its name", |copy| {
        let (name, path) = copy.file("Call");
        std::fs::remove_file(path).unwrap();
        line(&[&name, "lost its name"])
    }),
    case("two files that were swapped", |copy| {
        let ((a, first), (b, second)) = (copy.file("Call"), copy.file("Big"));
        copy.swap(&first, &second);
        [line(&[&a, "bytes, the manifest says"]), line(&[&b, "bytes, the manifest says"])].concat()
    }),
    case("a file that no version names", |copy| {
        let (_, path) = copy.file("Call");
        let stranger = path.with_file_name("part-n1-e9-0000000999.parquet");
        std::fs::hard_link(path, &stranger).unwrap();
        line(&[name_of(&stranger), "no version names it"])
    }),
    case("a replaced file that is damaged", |copy| {
        let name = replaced(copy);
        copy.flip(&copy.durable().join(format!("{name}.old")), 200);
        line(&[&name, "whole file"])
    }),
    case("a file under a tombstone that is gone", |copy| {
        let name = buried(copy);
        copy.remove(&copy.durable().join(format!("{name}.old")));
        line(&[&name, "not there"])
    }),
    case("a file under a tombstone that is damaged", |copy| {
        let name = buried(copy);
        copy.flip(&copy.durable().join(format!("{name}.old")), 300);
        line(&[&name, "whole file"])
    }),
];

pub(super) fn replaced(copy: &Copy) -> String {
    text(&manifest::newest(&copy.store).1["replaced"]["files"][0], "path")
}

fn buried(copy: &Copy) -> String {
    text(&manifest::newest(&copy.store).1["tombstones"][0]["entry"], "path")
}
