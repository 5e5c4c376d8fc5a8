//! Cases: manifests, their segments and checkpoints.

use super::cases::{Case, case, line};
use super::manifest;
use super::plant::text;
use super::prepare::Copy;
use serde_json::{Value, json};

/// The chain of manifests.
pub(super) const MANIFESTS: &[Case] = &[
    case("a byte of a version", |copy| {
        copy.flip(&manifest::path(&copy.store, 4), 60);
        line(&[&manifest::name(4), "checksum"])
    }),
    case("a byte of the newest version", |copy| {
        let version = manifest::newest(&copy.store).0;
        copy.flip(&manifest::path(&copy.store, version), 60);
        line(&[&manifest::name(version), "checksum"])
    }),
    case("a version that was edited", |copy| {
        copy.edit(4, |json| json["owner"] = json!("n7"));
        line(&[&manifest::name(5), "not built on the version before it"])
    }),
    case("a version that is gone", |copy| {
        std::fs::remove_file(manifest::path(&copy.store, 4)).unwrap();
        line(&[&manifest::name(5), "version 4 is missing"])
    }),
    case("a first version that is gone", |copy| {
        std::fs::remove_file(manifest::path(&copy.store, 1)).unwrap();
        line(&[&manifest::name(1), "not there"])
    }),
    case("the newest versions that are gone", |copy| {
        // the last ones told nothing of files: what changed files last is shown by the Delta log, and by files that nobody names
        let files = |version: u64| manifest::read(&copy.store, version)["tombstones"].as_array().map_or(0, Vec::len);
        let versions = manifest::versions(&copy.store);
        let changed = versions.iter().rev().find(|version| files(**version - 1) == 0).unwrap();
        for version in versions.iter().filter(|version| *version >= changed) {
            std::fs::remove_file(manifest::path(&copy.store, *version)).unwrap();
        }
        line(&["_delta_log", &format!("it shows manifest version {changed}, which does not exist")])
    }),
    case("a commit of files that is gone", |copy| {
        let (name, _) = copy.file("Call");
        while manifest::inline(&manifest::newest(&copy.store).1).iter().any(|file| file["path"] == name.as_str()) {
            std::fs::remove_file(manifest::path(&copy.store, manifest::newest(&copy.store).0)).unwrap();
        }
        line(&[&name, "no version names it"])
    }),
    case("an older version in the place of another", |copy| {
        let older = std::fs::read(manifest::path(&copy.store, 3)).unwrap();
        copy.write(&manifest::path(&copy.store, 5), &older);
        line(&[&manifest::name(5), "another version than its name says"])
    }),
    case("the newest version replaced by an older state", |copy| {
        let (version, newest) = manifest::newest(&copy.store);
        let mut older = manifest::read(&copy.store, 3);
        older["version"] = json!(version);
        older["previous_crc32c"] = newest["previous_crc32c"].clone();
        copy.write(&manifest::path(&copy.store, version), &manifest::wrap(manifest::VERSION, &older));
        line(&[&manifest::name(version), "goes back"])
    }),
    case("a file taken out of the newest version", |copy| {
        let (name, _) = copy.file("Call");
        copy.edit_newest(|json| {
            for group in json["groups"].as_array_mut().unwrap() {
                group["files"].as_array_mut().unwrap().retain(|file| file["path"] != name.as_str());
            }
        });
        [line(&[&name, "no version names it"]), line(&["stream `stream-", "is missing"])].concat()
    }),
    case("a file that a version names twice", |copy| {
        let (name, _) = copy.file("Call");
        copy.edit_newest(|json| {
            let groups = json["groups"].as_array_mut().unwrap();
            let files = groups.iter_mut().find_map(|group| {
                let files = group["files"].as_array_mut().unwrap();
                files.iter().any(|file| file["path"] == name.as_str()).then_some(files)
            });
            let files = files.unwrap();
            files.push(files.iter().find(|file| file["path"] == name.as_str()).unwrap().clone());
        });
        line(&["v0", &name, "twice"])
    }),
    case("tombstones taken out of the newest version", |copy| {
        copy.edit_newest(|json| json["tombstones"] = json!([]));
        line(&["v0", "it lacks the tombstone of"])
    }),
    case("a number of the next data file that goes back", |copy| {
        copy.edit_newest(|json| json["file_seq"] = json!(1));
        line(&["v0", "it says 1 as the number of the next data file"])
    }),
    case("a range of a file that the newest version says otherwise", |copy| {
        let (name, _) = copy.file("Call");
        copy.edit_newest(|json| manifest::change_entry(json, &name, |entry| entry["through"] = json!(1)));
        line(&["v0", &name, "what the version before it did not say"])
    }),
    case("a count of events that is wrong", |copy| {
        copy.edit_newest(|json| {
            let log = manifest::log_mut(json, "Call");
            log["events"] = json!(log["events"].as_u64().unwrap() + 1);
        });
        line(&["log of `Call`", "events"])
    }),
    case("a byte of a segment of entries", |copy| {
        let name = segment(&manifest::newest(&copy.store).1);
        copy.flip(&manifest::folder(&copy.store).join(&name), 90);
        line(&[&name, "checksum"])
    }),
    case("a segment of entries that is gone", |copy| {
        let name = segment(&manifest::newest(&copy.store).1);
        std::fs::remove_file(manifest::folder(&copy.store).join(&name)).unwrap();
        line(&[&name])
    }),
    case("a segment of entries that was edited", |copy| {
        let name = segment(&manifest::newest(&copy.store).1);
        edit_segment(copy, &name);
        line(&[&name, "checksum differs from the one in the manifest"])
    }),
    case("a segment that only older versions name", |copy| {
        let now = manifest::segments_of(&manifest::newest(&copy.store).1);
        let older = manifest::versions(&copy.store).into_iter().find_map(|version| {
            let named = manifest::segments_of(&manifest::read(&copy.store, version));
            named.into_iter().find(|segment| !now.contains(segment))
        });
        let name = text(&older.expect("a merge has opened a segment"), "path");
        edit_segment(copy, &name);
        line(&[&name, "checksum differs from the one in the manifest"])
    }),
    case("a checkpoint that is damaged", |copy| {
        let path = fold(copy, |_| {});
        copy.flip(&path, 40);
        line(&["checkpoints/c", "checksum"])
    }),
    case("a checkpoint that knows another chain", |copy| {
        fold(copy, |json| json["previous_crc32c"] = json!(7));
        line(&[&manifest::name(3), "not built on the version that the checkpoint knows"])
    }),
    case("the first version behind a checkpoint that is gone", |copy| {
        fold(copy, |_| {});
        std::fs::remove_file(manifest::path(&copy.store, 3)).unwrap();
        line(&[&manifest::name(3), "not there"])
    }),
    case("the version that a checkpoint knows is gone", |copy| {
        fold(copy, |json| json["version"] = json!(99));
        line(&["version 99", "checkpoint"])
    }),
];

fn segment(manifest: &Value) -> String {
    text(&manifest::segments_of(manifest)[0], "path")
}

fn edit_segment(copy: &Copy, name: &str) {
    let path = manifest::folder(&copy.store).join(name);
    let mut json = manifest::unwrap(&std::fs::read(&path).unwrap());
    json["files"][0]["job_id"] = json!("0".repeat(32));
    copy.write(&path, &manifest::wrap(manifest::SEGMENT, &json));
}

/// Folds the versions below 3 away, as a store does it after 30 days; gives the checkpoint.
pub(super) fn fold(copy: &Copy, change: impl FnOnce(&mut Value)) -> std::path::PathBuf {
    let folder = manifest::folder(&copy.store);
    let built_on = crc32c::crc32c(&std::fs::read(manifest::path(&copy.store, 2)).unwrap());
    let mut json = json!({"version": 4, "first": 3, "previous_crc32c": built_on, "at": 1_795_000_000_000_000_i64});
    change(&mut json);
    let name = format!("checkpoints/c{:020}-{:020}.json.zst", json["version"].as_u64().unwrap(), 3);
    std::fs::create_dir_all(folder.join("checkpoints")).unwrap();
    std::fs::write(folder.join(&name), manifest::wrap(manifest::CHECKPOINT, &json)).unwrap();
    (1..3).for_each(|version| std::fs::remove_file(manifest::path(&copy.store, version)).unwrap());
    folder.join(name)
}
