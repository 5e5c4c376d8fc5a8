//! Replaced files: readers of older versions need them until their grace period is over.
//!
//! The newest version says only where they are; what they must be stands in the version before they were replaced.

use super::segments::entries_of;
use super::{Finding, verify_file};
use crate::manifest::{self, ManifestError, Replaced};
use crate::objects::ObjectError;
use crate::tier::DurableTier;
use std::collections::{BTreeMap, HashSet};

/// What was found of the replaced files of the current version.
#[derive(Debug, Default)]
pub struct ReplacedReport {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// How many are not there any more: swept after their grace period, or a reader of an older version misses them.
    pub gone: u64,
}

/// Checks every replaced file that is there against its entry in the last version that named it as live.
#[must_use]
pub fn verify_replaced(tier: &DurableTier) -> ReplacedReport {
    let mut report = ReplacedReport::default();
    let snapshot = tier.pin();
    let mut by_version: BTreeMap<u64, Vec<&Replaced>> = BTreeMap::new();
    for file in snapshot.manifest().replaced.iter() {
        by_version.entry(file.version.saturating_sub(1)).or_default().push(file);
    }
    for (version, files) in by_version {
        let paths: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let entries = match entries_of(&*tier.shared().manifests, version, &paths) {
            Ok(entries) => entries,
            // it was folded away, and where it is missing the chain says so
            Err(ManifestError::Objects(ObjectError::NotFound { .. })) => continue,
            Err(error) => {
                report.findings.push(Finding::new(&manifest::version_name(version), error.to_string()));
                continue;
            }
        };
        let known: HashSet<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
        for file in files.iter().filter(|file| !known.contains(file.path.as_str())) {
            let what = format!("version {} names it as replaced, but the one before does not know it", file.version);
            report.findings.push(Finding::new(&file.path, what));
        }
        for entry in &entries {
            match crate::tier::names::open_file(&*tier.shared().objects, &entry.path) {
                Err(ObjectError::NotFound { .. }) => report.gone += 1,
                Err(error) => report.findings.push(Finding::new(&entry.path, error.to_string())),
                Ok(_) => report.findings.extend(verify_file(tier, entry)),
            }
        }
    }
    report
}
