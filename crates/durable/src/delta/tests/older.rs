//! Versions and checkpoints that the newest state does not need: an engine may ask for them, so damage to them is found, and named
//! where it is.

use super::*;

/// Three appends, a merge of all, and two more: a checkpoint stands behind the merge, and one behind the first of these. Nothing
/// but the last version is read to know the newest state.
fn settled(objects: &Both) -> DurableTier {
    let tier = DurableTier::open_with(Arc::clone(&objects.0), Arc::clone(&objects.1), &config(""), options(5)).unwrap();
    (1..=3).for_each(|n| append(&tier, n));
    merge(&tier, 50);
    tier.delta().checkpoint_now();
    append(&tier, 4);
    tier.delta().checkpoint_now();
    append(&tier, 5);
    assert_eq!(replay(&*objects.0).unwrap().checkpoint, Some(5));
    assert_eq!(verify_delta_log(&tier), []);
    tier
}

/// What a text is without some of its lines: cut behind each, and each taken out.
fn shortened(whole: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let cut = |n: usize| (format!("cut to {n} lines"), lines[..n].concat());
    let without = |n: usize| (format!("without line {}", n + 1), [&lines[..n], &lines[n + 1..]].concat().concat());
    (0..lines.len()).map(cut).chain((0..lines.len()).map(without)).collect()
}

fn text(objects: &Both, path: &str) -> String {
    String::from_utf8(objects.0.get(path).unwrap().to_vec()).unwrap()
}

/// The file alone is named, once it says this.
fn assert_named(objects: &Both, tier: &DurableTier, path: &str, what: &str, said: &str) {
    assert_told(objects, tier, path, path, what, said);
}

/// A file alone is named, once one says this.
fn assert_told(objects: &Both, tier: &DurableTier, named: &str, path: &str, what: &str, said: &str) {
    let whole = objects.0.get(path).unwrap();
    objects.0.replace(path, said.as_bytes()).unwrap();
    let found = verify_delta_log(tier);
    assert!(!found.is_empty() && found.iter().all(|found| found.place == named), "{path}, {what}: {found:?}");
    objects.0.replace(path, &whole).unwrap();
    assert_eq!(verify_delta_log(tier), [], "{path}, {what}");
}

#[test]
fn older_versions_that_lack_something_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for objects in [folders(dir.path()), memory()] {
        let tier = settled(&objects);
        for version in 0..=5 {
            let path = names::commit(version);
            for (what, said) in shortened(&text(&objects, &path)) {
                assert_named(&objects, &tier, &path, &what, &said);
            }
        }
        for version in 1..=5 {
            let (path, other) = (names::commit(version), text(&objects, &names::commit(version - 1)));
            // the first one twice is a log that was begun anew at the same version of the manifest: the next one does not lead on from there
            let named = if version == 1 { names::commit(2) } else { path.clone() };
            assert_told(&objects, &tier, &named, &path, "the one before it in its place", &other);
        }
    }
}

#[test]
fn an_older_checkpoint_that_lacks_something_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let objects = folders(dir.path());
    let tier = settled(&objects);
    let path = names::json_checkpoint(4, tier.pin().store_id());
    let whole = text(&objects, &path);
    for line in ["{\"protocol\":", "{\"metaData\":", "{\"txn\":", "{\"add\":"] {
        let said: String = whole.split_inclusive('\n').filter(|said| !said.starts_with(line)).collect();
        assert_ne!(said, whole, "{line}");
        assert_named(&objects, &tier, &path, line, &said);
    }
    assert_named(&objects, &tier, &path, "nothing", "");
}
