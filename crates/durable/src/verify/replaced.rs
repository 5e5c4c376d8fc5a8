//! Replaced files: readers of older versions need them until their grace period is over.
//!
//! The newest version says only where they are; what they must be stands in the version before they were replaced.

use super::segments::entries_of;
use super::{Finding, verify_file};
use crate::delta::{link_fault, names::link};
use crate::manifest::{self, ManifestError, Replaced};
use crate::objects::ObjectError;
use crate::tier::{DurableTier, names};
use std::collections::{BTreeMap, HashSet};

/// What was found of the replaced files of the current version.
#[derive(Debug, Default)]
pub struct ReplacedReport {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// How many are not there any more: swept after their grace period, or a reader of an older version misses them.
    pub gone: u64,
    /// Files that are live no more and that a glob still sees: a crash came between the commit and the renaming.
    pub seen: u64,
    /// Live files that no glob sees, since they have only the name that a file has before its commit or after it was replaced:
    /// a crash came between, or somebody renamed them.
    pub hidden: u64,
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
            // of what is being deleted only the link may be left
            if tier.local_path(entry).is_some_and(|path| path.ends_with(link(&entry.path))) {
                report.gone += 1;
                continue;
            }
            match names::open_file(&*tier.shared().objects, &entry.path) {
                Err(ObjectError::NotFound { .. }) => report.gone += 1,
                Err(error) => report.findings.push(Finding::new(&entry.path, error.to_string())),
                Ok(_) => report.findings.extend(verify_file(tier, entry)),
            }
            let fault = tier.shared().objects.stages().then(|| link_fault(&*tier.shared().objects, entry)).flatten();
            report.findings.extend(fault.map(|what| Finding::new(&entry.path, format!("{what}; remove it"))));
        }
    }
    check_names(tier, &mut report);
    report
}

/// A crash leaves a file one of its names; one that has two will not lose the wrong one by itself in an older program.
fn check_names(tier: &DurableTier, report: &mut ReplacedReport) {
    let (objects, snapshot) = (&*tier.shared().objects, tier.pin());
    if !objects.stages() {
        return;
    }
    let exists = |path: &str| objects.exists(path).unwrap_or(false);
    for path in snapshot.manifest().aside_paths().filter(|path| exists(path)) {
        if exists(&format!("{path}.old")) || exists(&format!("{path}.tmp")) {
            let what = "it is live no more, and has a second name that ends in .parquet: readers of the folder see its events \
                        twice. The next start takes that name away";
            report.findings.push(Finding::new(path, what));
        } else {
            report.seen += 1;
        }
    }
    for file in snapshot.files() {
        let other = [".tmp", ".old"].iter().find(|suffix| exists(&format!("{}{suffix}", file.path)));
        match (exists(&file.path), other) {
            (true, Some(suffix)) => {
                let what = format!("it is also there as `{}{suffix}`; the next start takes that name away", file.path);
                report.findings.push(Finding::new(&file.path, what));
            }
            (false, Some(_)) => report.hidden += 1,
            // where it is not there at all, or as a link only, its own check says so
            (_, None) => {}
        }
    }
}
