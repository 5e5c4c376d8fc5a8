//! Cases: data files that no checksum convicts, since all of them were made anew.

use super::cases::{Case, case, line};
use super::manifest;
use super::plant::text;
use super::prepare::{Copy, bloom};
use serde_json::json;

/// Data files that are whole in themselves: their rows, their claims or the other files tell.
pub(super) const ROWS: &[Case] = &[
    case("a row that is missing", |copy| {
        let (name, _) = copy.file("Call");
        copy.rewrite(&name, "missing", None);
        [line(&["stream `stream-", "is missing"]), line(&["log of `Call`", "events"])].concat()
    }),
    case("a row that stands twice", |copy| {
        let (name, _) = copy.file("Call");
        copy.rewrite(&name, "doubled", None);
        line(&[
            "stream `stream-",
            "stands twice",
            "the same content",
            &format!("{name} row "),
            &format!("and in data file {name} row "),
        ])
    }),
    case("rows out of order", |copy| {
        let (name, _) = copy.file("Call");
        copy.rewrite(&name, "unsorted", None);
        line(&[&format!("{name} row "), "stands behind a row that comes after it"])
    }),
    case("a row in another partition", |copy| {
        let (name, _) = copy.file("Call");
        copy.rewrite(&name, "moved", None);
        line(&[&format!("{name} row 0"), "it belongs to partition"])
    }),
    case("an event id that two events have", |copy| {
        let (name, _) = copy.file("Call");
        copy.rewrite(&name, "same-id", None);
        line(&["event_id ", "more than one event", &format!("{name} row 0"), &format!("and in data file {name} row ")])
    }),
    case("one key with different content in two files", |copy| {
        let ((name, _), other) = (copy.file("Call"), smallest(copy));
        copy.rewrite(&name, "other-content", Some(&other));
        line(&["stands twice", "different content", &format!("{other} row 0"), &format!("{name} row "), "data"])
    }),
    case("statistics of a row group that lie", |copy| {
        let (name, _) = copy.file("Call");
        copy.reseal(&name, |bytes, _| {
            let footer = footer_start(bytes);
            assert!(replace_all(&mut bytes[footer..], b"stream-6", b"stream-5") > 0);
        });
        line(&[&format!("{name} row "), "stream_id", "statistics"])
    }),
    case("a page index that lies", |copy| {
        let (name, _) = copy.file("Call");
        copy.reseal(&name, |bytes, tail| {
            let footer = footer_start(bytes);
            assert!(replace_all(&mut bytes[tail..footer], b"stream-6", b"stream-5") > 0);
        });
        line(&[&format!("{name} row "), "stream_id", "page index"])
    }),
    case("a bloom filter that misses keys", |copy| {
        let (name, path) = copy.file("Call");
        let (start, length) = bloom(&path, "stream_id");
        copy.reseal(&name, |bytes, _| bytes[start + length - 32..start + length].fill(0));
        line(&[&format!("{name} row "), "stream_id", "bloom filter"])
    }),
    case("bounds in the manifest that are not the file's", |copy| {
        let (name, _) = copy.file("Call");
        copy.edit_newest(|json| {
            manifest::change_entry(json, &name, |entry| entry["bounds"]["seq"][1] = json!(1));
        });
        line(&[&name, "smallest and largest"])
    }),
    case("a count of rows that is not the file's", |copy| {
        let (name, _) = copy.file("Call");
        copy.edit_newest(|json| manifest::change_entry(json, &name, |entry| entry["rows"] = json!(1)));
        line(&[&name, "different numbers of rows"])
    }),
];

fn smallest(copy: &Copy) -> String {
    let files = manifest::inline(&manifest::newest(&copy.store).1);
    let calls = files.iter().filter(|file| file["stream_type"] == "Call");
    text(calls.min_by_key(|file| file["rows"].as_u64()).unwrap(), "path")
}

fn footer_start(bytes: &[u8]) -> usize {
    let end = bytes.len() - 8;
    end - u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap()) as usize
}

fn replace_all(bytes: &mut [u8], from: &[u8], to: &[u8]) -> usize {
    let places: Vec<usize> = (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    places.iter().for_each(|at| bytes[*at..at + to.len()].copy_from_slice(to));
    places.len()
}
