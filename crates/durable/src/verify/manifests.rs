//! The chain of manifests: every version readable, each built on the one before, nothing that ever goes back. It begins with the
//! first version, or where the newest checkpoint says.

use super::Finding;
use super::runs::verify_runs;
use super::segments::Segments;
use super::steps::{check_step, event_of};
use crate::manifest::{self, Manifest, Skeleton, checkpoint};
use crate::objects::Objects;
use crate::redaction::Redaction;
use crate::tier::{DurableTier, Snapshot};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Checks all versions that are there with the segments that they name, and the runs of the newest.
#[must_use]
pub fn verify_manifests(tier: &DurableTier) -> Vec<Finding> {
    let manifests = &*tier.shared().manifests;
    let versions = match manifest::versions(manifests) {
        Ok(versions) => versions,
        Err(error) => return vec![Finding::new("manifests", error.to_string())],
    };
    let mut findings = Vec::new();
    let begin = begin_of_chain(manifests, versions.last().copied(), &mut findings);
    // what a fold was interrupted over belongs to the chain no more
    let kept: Vec<u64> = versions.into_iter().filter(|version| *version >= begin.first).collect();
    if let Some(found) = kept.first().filter(|found| **found > begin.first) {
        let place = manifest::version_name(begin.first);
        findings.push(Finding::new(&place, format!("it is not there; the first version that is there is {found}")));
    }
    let mut before: Option<(Skeleton, u32)> = None;
    let mut segments = Segments::default();
    for version in &kept {
        let place = manifest::version_name(*version);
        match manifest::read_skeleton(manifests, *version) {
            Ok((skeleton, crc)) => {
                let faults = segments.check(manifests, &skeleton).into_iter();
                findings.extend(faults.map(|(segment, what)| Finding::new(&segment, what)));
                let manifest = &skeleton.manifest;
                if *version == begin.first && begin.previous.is_some_and(|crc| manifest.previous_crc32c != crc) {
                    findings.push(Finding::new(&place, "it was not built on the version that the checkpoint knows"));
                }
                let link = before.as_ref().map(|(older, crc)| (&older.manifest, *crc));
                let mut wrong = check(manifest, link);
                let older = before.as_ref().map(|(older, _)| older);
                if let Some(older) = older.filter(|older| older.manifest.version.checked_add(1) == Some(*version)) {
                    wrong.extend(check_step(manifests, older, &skeleton));
                }
                findings.extend(wrong.into_iter().map(|what| Finding::new(&place, what)));
                before = Some((skeleton, crc));
            }
            Err(error) => {
                findings.push(Finding::new(&place, error.to_string()));
                before = None;
            }
        }
    }
    // a segment that cannot be read was named above
    let newest = kept.last().filter(|_| before.is_some()).map(|version| manifest::read(manifests, *version));
    if let Some(Ok((newest, _))) = newest {
        let twice = named_twice(&newest).chain(redacted_twice(&newest));
        findings.extend(twice.map(|what| Finding::new(&manifest::version_name(newest.version), what)));
        findings.extend(verify_runs(&Snapshot::open(Arc::clone(tier.shared()), newest, None)));
    }
    findings
}

/// Where the chain begins.
struct Begin {
    first: u64,
    /// What the first version was built on, if a checkpoint tells.
    previous: Option<Option<u32>>,
}

/// By the newest checkpoint; a version that it knows must be there.
fn begin_of_chain(manifests: &dyn Objects, newest: Option<u64>, findings: &mut Vec<Finding>) -> Begin {
    let mut begin = Begin { first: 1, previous: None };
    let marks = match checkpoint::marks(manifests) {
        Ok(marks) => marks,
        Err(error) => {
            findings.push(Finding::new(checkpoint::FOLDER, error.to_string()));
            return begin;
        }
    };
    let Some(mark) = marks.last().copied() else { return begin };
    begin.first = mark.first;
    match checkpoint::read(manifests, mark) {
        Ok(read) => begin.previous = Some(read.previous_crc32c),
        Err(error) => findings.push(Finding::new(&mark.path(), error.to_string())),
    }
    if newest.is_none_or(|newest| newest < mark.version) {
        let what = format!("it knows version {}, and the newest version that is there is {newest:?}", mark.version);
        findings.push(Finding::new(&mark.path(), what));
    }
    begin
}

fn check(manifest: &Manifest, before: Option<(&Manifest, u32)>) -> Vec<String> {
    let Some((before, crc)) = before else { return Vec::new() };
    let mut wrong = Vec::new();
    if manifest.version != before.version + 1 {
        wrong.push(format!("version {} is missing before it", before.version + 1));
    } else if manifest.previous_crc32c != Some(crc) {
        wrong.push("it was not built on the version before it".to_owned());
    }
    if manifest.epoch < before.epoch {
        wrong.push(format!("its epoch {} is below {}", manifest.epoch, before.epoch));
    }
    if (manifest.store_id, manifest.digest_key) != (before.store_id, before.digest_key) {
        wrong.push("it belongs to another store".to_owned());
    }
    for (key, old) in &before.logs {
        let back = manifest.logs.get(key).is_none_or(|new| {
            new.compacted_through < old.compacted_through
                || new.known_through < old.known_through
                || new.last_ingested_at < old.last_ingested_at
        });
        if back {
            wrong.push(format!("a watermark of the log `{key}` goes back"));
        }
    }
    wrong
}

/// A path stands in one place of a version.
fn named_twice(manifest: &Manifest) -> impl Iterator<Item = String> {
    let mut seen = HashSet::new();
    manifest.known_paths().filter(move |path| !seen.insert(*path)).map(|path| format!("it names `{path}` twice"))
}

/// An event is redacted once, since a commit passes over what is redacted already. Here all redactions are looked at, those in sealed segments too,
/// which a step from one version to the next does not read again. Rows of one id that one commit redacts differ in their seq.
fn redacted_twice(manifest: &Manifest) -> impl Iterator<Item = String> {
    let mut seen: HashMap<_, &Redaction> = HashMap::new();
    manifest.redactions.iter().filter_map(move |redaction| {
        let first = *seen.entry(event_of(redaction)).or_insert(redaction);
        let is_row_of_it = first.at == redaction.at && first.seq != redaction.seq;
        let again = !std::ptr::eq(first, redaction) && !is_row_of_it;
        again.then(|| format!("it redacts event {} twice: no commit made it so", redaction.event_id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use crate::tier::Redact;
    use strandline_event::{EventId, Micros, Seq};

    fn redaction(n: u128) -> Redaction {
        Redaction {
            event_id: EventId(n.to_be_bytes()),
            stream_type: log().stream_type.to_string(),
            stream_id: "stream".to_owned(),
            seq: Seq(1),
            at: Micros(START_US + 4),
            who: "ops".to_owned(),
            reason: None,
        }
    }

    #[test]
    fn an_event_that_is_redacted_again_is_found_behind_sealed_segments_too() {
        let dir = tempfile::tempdir().unwrap();
        let tier = open(dir.path(), &config(""));
        tier.redact(&Redact { job_id: 40, events: (0..600).map(redaction).collect() }).unwrap();
        assert_eq!(verify_manifests(&tier), []);
        let mut newest = tier.pin().manifest().clone();
        assert!(!newest.redactions.segments.is_empty() && newest.redactions.inline.is_empty());
        newest.redactions.inline = vec![Redaction { seq: Seq(9), ..redaction(7) }];
        assert_eq!(redacted_twice(&newest).count(), 0, "another row of its id, by the same commit");
        let later = Redaction { at: Micros(START_US + 9), seq: Seq(9), ..redaction(7) };
        for again in [redaction(7), later] {
            newest.redactions.inline = vec![again];
            let found: Vec<String> = redacted_twice(&newest).collect();
            assert!(found.len() == 1 && found[0].contains("twice"), "{found:?}");
        }
    }
}
