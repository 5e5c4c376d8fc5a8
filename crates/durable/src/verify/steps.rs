//! What a version may not lose, or say otherwise, of the version before it.
//!
//! Until something is built on a version nothing but itself tells that it was edited: its own checksum agrees, and what it says of
//! redactions, tombstones and numbers stands in no file. The version before it does tell: some of it is only ever added to, some
//! goes one way, and some never changes.

use super::segments::changed_files;
use crate::manifest::{self, ManifestError, SegmentRef, Skeleton, Tombstone};
use crate::objects::Objects;
use crate::redaction::Redaction;
use std::collections::{HashMap, HashSet};
use strandline_event::EventId;

/// What is wrong with a version, against the one before it. A segment that cannot be read is named where segments are checked.
pub(super) fn check_step(objects: &dyn Objects, before: &Skeleton, after: &Skeleton) -> Vec<String> {
    let (old, new) = (&before.manifest, &after.manifest);
    let mut wrong = Vec::new();
    if new.file_seq < old.file_seq {
        let what = "as the number of the next data file";
        wrong.push(format!("it says {} {what}, the version before it {}", new.file_seq, old.file_seq));
    }
    let mut buckets = old.buckets.iter();
    if let Some((stream_type, _)) = buckets.find(|(stream_type, n)| new.buckets.get(*stream_type) != Some(*n)) {
        wrong.push(format!("it has another number of buckets of `{stream_type}` than the version before it"));
    }
    wrong.extend(redactions_fault(objects, before, after).ok().flatten());
    wrong.extend(files_faults(objects, before, after).unwrap_or_default());
    wrong
}

/// Redactions are only ever added, at the end, by a version that is not before them. That each event is redacted once is told by the newest
/// version, which has all of them.
fn redactions_fault(
    objects: &dyn Objects,
    before: &Skeleton,
    after: &Skeleton,
) -> Result<Option<String>, ManifestError> {
    let shared = before.redactions.iter().zip(&after.redactions).take_while(|(old, new)| old == new).count();
    let behind = |skeleton: &Skeleton| -> Result<Vec<Redaction>, ManifestError> {
        let mut list = Vec::new();
        for segment in skeleton.redactions.iter().skip(shared) {
            list.extend(manifest::read_redactions(objects, segment)?.iter().cloned());
        }
        list.extend(skeleton.manifest.redactions.inline.iter().cloned());
        Ok(list)
    };
    let (old, new) = (behind(before)?, behind(after)?);
    if !new.starts_with(&old) {
        let what =
            "it lacks a redaction of the version before it, or says it otherwise: what was redacted may be shown again";
        return Ok(Some(what.to_owned()));
    }
    // a version's moment may be above the one at which its making began
    let at = after.manifest.committed_at;
    let later = new.iter().skip(old.len()).find(|redaction| redaction.at > at);
    Ok(later.map(|redaction| {
        format!("it redacts event {} at a later moment than its own: no commit made it so", redaction.event_id)
    }))
}

/// What is redacted: an id alone may name several events, of different streams.
pub(super) fn event_of(redaction: &Redaction) -> (EventId, &str, &str) {
    (redaction.event_id, &redaction.stream_type, &redaction.stream_id)
}

/// An entry never changes, and a file under a tombstone stays there until it is live again or given up.
fn files_faults(objects: &dyn Objects, before: &Skeleton, after: &Skeleton) -> Result<Vec<String>, ManifestError> {
    let changed = changed_files(objects, Some(before), after)?;
    let (old, new) = (tombstones_not_of(objects, before, after)?, tombstones_not_of(objects, after, before)?);
    let mut edited: Vec<&str> = changed.edited.iter().map(String::as_str).collect();
    let mut gone: Vec<&str> = Vec::new();
    let buried: HashMap<&str, &Tombstone> =
        new.iter().map(|tombstone| (tombstone.entry.path.as_str(), tombstone)).collect();
    for tombstone in &old {
        let path = tombstone.entry.path.as_str();
        let live = || changed.added.iter().find(|file| file.path == path);
        let same = match buried.get(path) {
            Some(now) => **now == *tombstone,
            None => match live() {
                Some(file) => **file == tombstone.entry,
                None => {
                    gone.push(path);
                    continue;
                }
            },
        };
        if !same {
            edited.push(path);
        }
    }
    if !gone.is_empty() {
        let given_up = replaced_since(objects, before, after)?;
        gone.retain(|path| !given_up.contains(*path));
    }
    let said = named(&edited).map(|files| format!("it says of {files} what the version before it did not say"));
    let lost = named(&gone).map(|files| {
        format!(
            "it lacks the tombstone of {files}, which is neither live again nor given up: it cannot be brought back"
        )
    });
    Ok(said.into_iter().chain(lost).collect())
}

/// Tombstones of a version, but for those in segments that the other one names too.
fn tombstones_not_of(
    objects: &dyn Objects,
    version: &Skeleton,
    other: &Skeleton,
) -> Result<Vec<Tombstone>, ManifestError> {
    let mut list = version.manifest.tombstones.inline.clone();
    let own = |segment: &&SegmentRef| !other.tombstones.contains(segment);
    for segment in version.tombstones.iter().filter(own) {
        list.extend(manifest::read_tombstones(objects, segment)?.iter().cloned());
    }
    Ok(list)
}

/// Replaced files of a version, but for those in segments that the one before it names too.
fn replaced_since(
    objects: &dyn Objects,
    before: &Skeleton,
    after: &Skeleton,
) -> Result<HashSet<String>, ManifestError> {
    let mut paths: HashSet<String> = after.manifest.replaced.inline.iter().map(|file| file.path.clone()).collect();
    let new = |segment: &&SegmentRef| !before.replaced.contains(segment);
    for segment in after.replaced.iter().filter(new) {
        paths.extend(manifest::read_replaced(objects, segment)?.iter().map(|file| file.path.clone()));
    }
    Ok(paths)
}

/// The first of some paths, and how many more there are.
fn named(paths: &[&str]) -> Option<String> {
    let (first, more) = (paths.iter().min()?, paths.len() - 1);
    Some(if more == 0 { format!("`{first}`") } else { format!("`{first}` and {more} more") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::FileEntry;
    use crate::testing::*;
    use crate::tier::{DeleteMode, DurableTier, Redact, Retirement};
    use std::ops::ControlFlow;
    use std::path::Path;
    use std::sync::Arc;
    use strandline_event::{LogIndex, Micros, Seq};

    /// Three files, of which one is under a tombstone, and a redacted event.
    fn prepared(root: &Path) -> DurableTier {
        let tier = open(root, &config(""));
        let events = commit_parts(&tier, 3);
        let redaction = Redaction {
            event_id: events[7].event_id,
            stream_type: log().stream_type.to_string(),
            stream_id: events[7].stream_id.clone(),
            seq: Seq(events[7].seq),
            at: Micros(START_US + 4),
            who: "ops".to_owned(),
            reason: None,
        };
        tier.redact(&Redact { job_id: 40, events: vec![redaction] }).unwrap();
        let files = vec![Arc::clone(&tier.pin().files()[0])];
        let retirement =
            Retirement { job_id: 50, at: Micros(START_US + 5), log: log(), files, mode: DeleteMode::Tombstone };
        tier.retire(&retirement, &|| ControlFlow::Continue(())).unwrap();
        tier
    }

    fn faults(tier: &DurableTier, change: impl FnOnce(&mut Skeleton)) -> Vec<String> {
        let (objects, version) = (&*tier.shared().manifests, tier.pin().version());
        let newest = || manifest::read_skeleton(objects, version).unwrap().0;
        let (before, mut after) = (newest(), newest());
        after.manifest.version += 1;
        after.manifest.committed_at = Micros(START_US + 6);
        change(&mut after);
        check_step(objects, &before, &after)
    }

    #[test]
    fn what_a_version_may_do_is_no_finding() {
        let dir = tempfile::tempdir().unwrap();
        let tier = prepared(dir.path());
        assert_eq!(crate::verify_manifests(&tier), []);
        assert_eq!(faults(&tier, |_| {}), [""; 0]);
        let restored = |after: &mut Skeleton| {
            let back = std::mem::take(&mut after.manifest.tombstones.inline);
            after.manifest.add_files(back.into_iter().map(|tombstone| Arc::new(tombstone.entry)));
        };
        assert_eq!(faults(&tier, restored), [""; 0]);
        let expired = |after: &mut Skeleton| {
            let over = std::mem::take(&mut after.manifest.tombstones.inline);
            after.manifest.give_up(over.iter().map(|tombstone| &tombstone.entry));
        };
        assert_eq!(faults(&tier, expired), [""; 0]);
        let redacted = |after: &mut Skeleton| {
            // an event of another stream may have the same id
            let (at, stream_id) = (after.manifest.committed_at, "of another".to_owned());
            let other = Redaction { at, stream_id, ..after.manifest.redactions.inline[0].clone() };
            after.manifest.redactions.inline.push(other);
        };
        assert_eq!(faults(&tier, redacted), [""; 0]);
    }

    #[test]
    fn what_a_version_must_not_lose_or_change_is_named() {
        type Edit = fn(&mut Skeleton);
        let edits: [(Edit, &str); 8] = [
            (|after| after.manifest.file_seq = 1, "the number of the next data file"),
            (|after| after.manifest.redactions.inline.clear(), "lacks a redaction"),
            (|after| after.manifest.redactions.inline[0].stream_id.push('x'), "lacks a redaction"),
            (
                |after| {
                    let at = after.manifest.committed_at.plus_us(1);
                    let later = Redaction { at, ..after.manifest.redactions.inline[0].clone() };
                    after.manifest.redactions.inline.push(later);
                },
                "at a later moment",
            ),
            (|after| after.manifest.tombstones.inline.clear(), "lacks the tombstone of `"),
            (|after| after.manifest.tombstones.inline[0].entry.rows += 1, "what the version before it did not say"),
            (|after| after.manifest.tombstones.inline[0].at = Micros(1), "what the version before it did not say"),
            (
                |after| {
                    let group = after.manifest.groups.values_mut().next().unwrap();
                    Arc::make_mut(&mut group.inline[0]).through = LogIndex(9);
                },
                "what the version before it did not say",
            ),
        ];
        let dir = tempfile::tempdir().unwrap();
        let tier = prepared(dir.path());
        for (n, (edit, what)) in edits.into_iter().enumerate() {
            let found = faults(&tier, edit);
            assert!(found.len() == 1 && found[0].contains(what), "edit {n}: {found:?}");
        }
    }

    #[test]
    fn tombstones_in_sealed_segments_must_not_be_lost_either() {
        let dir = tempfile::tempdir().unwrap();
        let tier = prepared(dir.path());
        let objects = &*tier.shared().manifests;
        let mut many = tier.pin().manifest().clone();
        let one = many.tombstones.inline[0].clone();
        let other = |n: u64| {
            let entry = FileEntry { path: format!("part-{n}.parquet"), ..one.entry.clone() };
            Tombstone { entry, ..one.clone() }
        };
        many.tombstones.inline = (0..600).map(other).collect();
        many.version += 1;
        manifest::seal(objects, &mut many).unwrap();
        manifest::put(objects, &many).unwrap();
        let newest = || manifest::read_skeleton(objects, many.version).unwrap().0;
        assert_eq!((newest().tombstones.len(), newest().manifest.tombstones.inline.len()), (1, 0));
        let step = |change: &dyn Fn(&mut Skeleton)| {
            let (before, mut after) = (newest(), newest());
            change(&mut after);
            check_step(objects, &before, &after)
        };
        assert_eq!(step(&|_| {}), [""; 0]);
        // a commit that takes one out puts the others back into the list
        let ended = |after: &mut Skeleton| {
            after.tombstones.clear();
            after.manifest.tombstones.inline = (1..600).map(other).collect();
            after.manifest.give_up([&other(0).entry]);
        };
        assert_eq!(step(&ended), [""; 0]);
        let found = step(&|after| after.tombstones.clear());
        assert!(
            found.len() == 1 && found[0].contains("lacks the tombstone of `part-0.parquet` and 599 more"),
            "{found:?}"
        );
        let paths = ["part-0.parquet", "part-599.parquet"].into();
        assert_eq!(crate::verify::entries_of(objects, many.version, &paths).unwrap().len(), 2);
    }
}
