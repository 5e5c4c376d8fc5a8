//! The chain of manifests: every version readable, each built on the one before, nothing that ever goes back.

use super::Finding;
use crate::manifest::{self, Manifest};
use crate::tier::{DurableTier, Snapshot};
use std::collections::HashSet;
use std::sync::Arc;

/// Checks all versions that are there, and the runs of the newest.
#[must_use]
pub fn verify_manifests(tier: &DurableTier) -> Vec<Finding> {
    let manifests = &*tier.shared().manifests;
    let versions = match manifest::versions(manifests) {
        Ok(versions) => versions,
        Err(error) => return vec![Finding::new("manifests", error.to_string())],
    };
    let mut findings = Vec::new();
    let mut before: Option<(Manifest, u32)> = None;
    for version in versions {
        let place = manifest::version_name(version);
        match manifest::read(manifests, version) {
            Ok((manifest, crc)) => {
                let link = before.as_ref().map(|(m, c)| (m, *c));
                findings.extend(check(&manifest, link).into_iter().map(|what| Finding::new(&place, what)));
                before = Some((manifest, crc));
            }
            Err(error) => {
                findings.push(Finding::new(&place, error.to_string()));
                before = None;
            }
        }
    }
    if let Some((newest, _)) = before {
        findings.extend(named_twice(&newest).map(|what| Finding::new(&manifest::version_name(newest.version), what)));
        let snapshot = Snapshot::open(Arc::clone(tier.shared()), newest, None);
        findings.extend(snapshot.broken_runs().map(|broken| Finding::new(&broken.path, broken.to_string())));
    }
    findings
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
