//! Every file of the Delta log by itself: an engine may ask for any version that is there, and believes what it says of files.
//!
//! The manifest version that a Delta version names gives all of it anew; what cannot be told that way is the version of the
//! program in `commitInfo`.

use super::actions::{self, Add, CommitInfo, Line, Txn};
use super::names::{self, LogFile};
use super::parquet_read;
use super::replay;
use super::table::{Table, millis};
use crate::manifest::{self, ManifestError};
use crate::objects::ObjectError;
use crate::tier::DurableTier;
use crate::verify::{Finding, entries_of};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// What to do about a copy that is wrong.
const REMEDY: &str =
    "the store itself is not concerned; without the folder `_delta_log` the next start makes the log anew";
/// How `engineInfo` begins.
const ENGINE: &str = "strandline ";
const OPERATIONS: [&str; 4] = ["CREATE TABLE", "OPTIMIZE", "DELETE", "WRITE"];

/// Checks all files; what cannot be read is named by the replay if it is needed.
pub(super) fn check_files(tier: &DurableTier, table: &Table) -> Vec<Finding> {
    let objects = &*tier.shared().objects;
    let mut findings = Vec::new();
    let mut files = match replay::list(objects) {
        Ok(files) => files,
        Err(error) => return vec![Finding::new(names::FOLDER, error.to_string())],
    };
    files.sort_by_key(|(file, _)| file.version());
    let mut shown = None;
    let mut lengths = HashMap::new();
    for (file, path) in &files {
        let bytes = match objects.get(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                findings.push(Finding::new(path, error.to_string()));
                continue;
            }
        };
        if !matches!(file, LogFile::Commit(_)) {
            lengths.insert(file.version(), bytes.len());
        }
        let check = FileCheck { tier, table, commit: matches!(file, LogFile::Commit(_)) };
        let faults = match lines(*file, &bytes) {
            Ok(lines) if check.commit && !check.is_ours(&lines) => Vec::new(),
            Ok(lines) if check.commit && !is_as_written(&lines, &bytes) => {
                vec!["it is not what this program writes".to_owned()]
            }
            Ok(lines) => check.check(&lines, &mut shown),
            Err(fault) => vec![fault],
        };
        findings.extend(faults.into_iter().map(|what| Finding::new(path, format!("{what}; {REMEDY}"))));
    }
    findings.extend(hint_fault(tier, &lengths).map(|what| Finding::new(names::LAST_CHECKPOINT, what)));
    findings
}

/// The actions of a file.
fn lines(file: LogFile, bytes: &bytes::Bytes) -> Result<Vec<Line>, String> {
    if let LogFile::Parquet(_) = file {
        return parquet_read::read(bytes.clone());
    }
    let numbered = (1..).zip(actions::from_bytes(bytes));
    numbered.map(|(n, line)| line.map_err(|error| format!("its line {n} is no action: {error}"))).collect()
}

/// A field whose name is damaged is one that nobody knows, and is passed over: so it is written once more and compared.
fn is_as_written(lines: &[Line], bytes: &[u8]) -> bool {
    actions::to_bytes(lines.iter().cloned()).is_ok_and(|again| again == bytes)
}

/// The hint names a checkpoint that is there.
fn hint_fault(tier: &DurableTier, lengths: &HashMap<u64, usize>) -> Option<String> {
    let bytes = match tier.shared().objects.get(names::LAST_CHECKPOINT) {
        Ok(bytes) => bytes,
        Err(ObjectError::NotFound { .. }) => return None,
        Err(error) => return Some(error.to_string()),
    };
    let hint: Value = match serde_json::from_slice(&bytes) {
        Ok(hint) => hint,
        Err(error) => return Some(format!("it is no hint: {error}; {REMEDY}")),
    };
    let length = hint["version"].as_u64().and_then(|version| lengths.get(&version));
    let same = length.is_some_and(|length| hint["sizeInBytes"].as_u64() == Some(*length as u64));
    (!same).then(|| format!("it names a checkpoint that is not there as it says: {hint}; {REMEDY}"))
}

struct FileCheck<'a> {
    tier: &'a DurableTier,
    table: &'a Table,
    commit: bool,
}

impl FileCheck<'_> {
    /// What another engine has written in spite of the protocol is taken back by the next version of ours, and is not judged.
    fn is_ours(&self, lines: &[Line]) -> bool {
        let app_id = self.table.app_id();
        let ours = |info: &CommitInfo| info.engine_info.starts_with(ENGINE);
        lines.iter().any(|line| {
            line.txn.as_ref().is_some_and(|txn| txn.app_id == app_id) || line.commit_info.as_ref().is_some_and(ours)
        })
    }

    /// What is wrong with a file. `shown` is the manifest version that the commit before showed.
    fn check(&self, lines: &[Line], shown: &mut Option<i64>) -> Vec<String> {
        let mut wrong = Vec::new();
        let app_id = self.table.app_id();
        let Some(txn) = lines.iter().filter_map(|line| line.txn.as_ref()).find(|txn| txn.app_id == app_id) else {
            return vec!["it does not name the manifest version that it shows".to_owned()];
        };
        if self.commit {
            if shown.is_some_and(|before| before >= txn.version) {
                wrong.push(format!("it shows manifest version {}, which is not above the one before it", txn.version));
            }
            *shown = Some(txn.version);
            wrong.extend(self.commit_fault(lines, txn));
        }
        wrong.extend(self.entries_fault(lines, txn));
        wrong
    }

    /// What a commit says of itself.
    fn commit_fault(&self, lines: &[Line], txn: &Txn) -> Option<String> {
        let at = txn.last_updated;
        let info = |info: &CommitInfo| {
            Some(info.timestamp) == at
                && info.operation_parameters.get("manifestVersion") == Some(&txn.version.to_string())
                && OPERATIONS.contains(&info.operation.as_str())
                && info.engine_info.starts_with(ENGINE)
        };
        let told = lines.iter().filter_map(|line| line.commit_info.as_ref()).filter(|i| info(i)).count() == 1;
        let described = lines.iter().filter_map(|line| line.meta_data.as_ref()).all(|meta| meta.created_time == at);
        let changes: HashSet<bool> = lines
            .iter()
            .filter_map(|line| {
                line.add.as_ref().map(|add| add.data_change).or(line.remove.as_ref().map(|r| r.data_change))
            })
            .collect();
        let removed =
            lines.iter().filter_map(|line| line.remove.as_ref()).all(|remove| remove.deletion_timestamp == at);
        (!told || !described || !removed || changes.len() > 1).then(|| {
            "what it says of itself does not agree: its moments, manifest version or kind of change".to_owned()
        })
    }

    /// What it says of files, against the manifest version that it names.
    fn entries_fault(&self, lines: &[Line], txn: &Txn) -> Vec<String> {
        let manifests = &*self.tier.shared().manifests;
        let version = u64::try_from(txn.version).unwrap_or(0);
        if version > self.tier.pin().version() {
            return vec![format!("it shows manifest version {version}, which does not exist")];
        }
        let adds: Vec<&Add> = lines.iter().filter_map(|line| line.add.as_ref()).collect();
        let named: Vec<String> = adds.iter().map(|add| names::decode(&add.path)).collect();
        let paths: HashSet<&str> =
            named.iter().map(|name| names::linked(name).filter(|_| self.table.linked).unwrap_or(name)).collect();
        let read = manifest::read_skeleton(manifests, version);
        let entries = match read.and_then(|(s, _)| Ok((s, entries_of(manifests, version, &paths)?))) {
            Ok((skeleton, entries)) => {
                let at = millis(skeleton.manifest.committed_at);
                if self.commit && txn.last_updated != Some(at) {
                    return vec![format!("its moment is not that of manifest version {version}")];
                }
                entries
            }
            // folded away: there is nothing to compare with
            Err(ManifestError::Objects(ObjectError::NotFound { .. })) => return Vec::new(),
            // named where the manifests are checked
            Err(_) => return Vec::new(),
        };
        let by_name: HashMap<String, _> = entries.iter().map(|entry| (self.table.name(entry), entry)).collect();
        let fault = |(add, name): (&&Add, &String)| match by_name.get(name) {
            None => Some(format!("it adds `{name}`, which manifest version {version} does not name")),
            Some(entry) if self.table.add(entry, add.data_change) != **add => {
                Some(format!("what it says of `{name}` is not what manifest version {version} says"))
            }
            Some(_) => None,
        };
        adds.iter().zip(&named).filter_map(fault).collect()
    }
}
