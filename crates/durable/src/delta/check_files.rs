//! Every file of the Delta log by itself: an engine may ask for any version that is there, and believes what it says of files.
//!
//! The manifest version that a Delta version names, and the one that the version before it names, give all of it anew; what cannot
//! be told that way is the version of the program in `commitInfo`. A checkpoint has the files of one manifest version.

use super::actions::{self, Add, CommitInfo, Line, Txn};
use super::names::{self, LogFile};
use super::parquet_read;
use super::replay;
use super::table::{Table, millis};
use crate::entry::FileEntry;
use crate::manifest::{self, Skeleton};
use crate::objects::ObjectError;
use crate::tier::DurableTier;
use crate::verify::{Finding, changed_files, entries_of};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What to do about a copy that is wrong.
const REMEDY: &str =
    "the store itself is not concerned; without the folder `_delta_log` the next start makes the log anew";
/// Of a file without our `txn`.
const UNNAMED: &str = "it does not name the manifest version that it shows";
/// How `engineInfo` begins.
const ENGINE: &str = "strandline ";
/// What a commit may be; a log begins with the first one.
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
    let (mut before, mut lengths) = (Before::default(), HashMap::new());
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
        let faults = FileCheck { tier, table, file: *file }.faults(&bytes, &mut before);
        findings.extend(faults.into_iter().map(|what| Finding::new(path, format!("{what}; {REMEDY}"))));
    }
    findings.extend(hint_fault(tier, &lengths).map(|what| Finding::new(names::LAST_CHECKPOINT, what)));
    findings
}

/// What the versions before one say.
#[derive(Default)]
struct Before {
    /// The manifest version that the last of ours shows.
    shown: Option<i64>,
    /// The number of the last one, and the manifest version that it shows. None where it is not known to be whole: what stands on
    /// that cannot be told.
    last: Option<(u64, Skeleton)>,
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
    file: LogFile,
}

impl FileCheck<'_> {
    const fn is_commit(&self) -> bool {
        matches!(self.file, LogFile::Commit(_))
    }

    /// What is wrong with a file.
    fn faults(&self, bytes: &bytes::Bytes, before: &mut Before) -> Vec<String> {
        let lines = lines(self.file, bytes);
        if !self.is_commit() {
            return lines.map_or_else(|fault| vec![fault], |lines| self.check_checkpoint(&lines));
        }
        let last = before.last.take();
        match lines {
            Ok(lines) if lines.is_empty() => vec!["it says nothing: it was emptied".to_owned()],
            Ok(lines) if !self.is_ours(&lines) => Vec::new(),
            Ok(lines) if !is_as_written(&lines, bytes) => vec!["it is not what this program writes".to_owned()],
            Ok(lines) => self.check_commit(&lines, last, before),
            Err(fault) => vec![fault],
        }
    }

    /// What another engine has written in spite of the protocol is taken back by the next version of ours, and is not judged.
    fn is_ours(&self, lines: &[Line]) -> bool {
        let app_id = self.table.app_id();
        let ours = |info: &CommitInfo| info.engine_info.starts_with(ENGINE);
        lines.iter().any(|line| {
            line.txn.as_ref().is_some_and(|txn| txn.app_id == app_id) || line.commit_info.as_ref().is_some_and(ours)
        })
    }

    /// What is wrong with a version of ours. `last`: what [`Before`] knew of the one before it.
    fn check_commit(&self, lines: &[Line], last: Option<(u64, Skeleton)>, before: &mut Before) -> Vec<String> {
        let Some(txn) = self.txn(lines) else { return vec![UNNAMED.to_owned()] };
        let mut wrong = Vec::new();
        // a log may be made anew while nothing is committed
        let begins = lines.iter().any(|line| line.meta_data.is_some());
        let rises = before.shown.is_none_or(|shown| shown < txn.version || (begins && shown == txn.version));
        if !rises {
            wrong.push(format!("it shows manifest version {}, which is not above the one before it", txn.version));
        }
        before.shown = Some(txn.version);
        wrong.extend(self.commit_fault(lines, txn));
        let version = self.file.version();
        match self.shown(txn) {
            Ok(Some(skeleton)) => {
                wrong.extend(self.entries_fault(lines, &skeleton));
                let last = last.filter(|(number, _)| number + 1 == version).map(|(_, skeleton)| skeleton);
                wrong.extend(self.step_fault(lines, last.as_ref(), &skeleton));
                before.last = rises.then_some((version, skeleton));
            }
            Ok(None) => {}
            Err(fault) => wrong.push(fault),
        }
        wrong
    }

    /// What is wrong with a checkpoint: it has all files, and what the table is.
    fn check_checkpoint(&self, lines: &[Line]) -> Vec<String> {
        let Some(txn) = self.txn(lines) else { return vec![UNNAMED.to_owned()] };
        let skeleton = match self.shown(txn) {
            Ok(Some(skeleton)) => skeleton,
            Ok(None) => return Vec::new(),
            Err(fault) => return vec![fault],
        };
        let mut wrong = self.entries_fault(lines, &skeleton);
        if !self.is_described(lines, true) {
            wrong.push("it does not say what the table is".to_owned());
        }
        let named: HashSet<&str> =
            lines.iter().filter_map(|line| line.add.as_ref()).map(|add| add.path.as_str()).collect();
        let sealed: u64 = skeleton.segments.iter().flat_map(|(_, segments)| segments).map(|s| s.files).sum();
        let there = sealed + skeleton.manifest.files().count() as u64;
        if named.len() as u64 != there {
            wrong.push(format!("it has {} files, manifest version {} has {there}", named.len(), txn.version));
        }
        wrong
    }

    /// How far our application is.
    fn txn<'l>(&self, lines: &'l [Line]) -> Option<&'l Txn> {
        let app_id = self.table.app_id();
        lines.iter().filter_map(|line| line.txn.as_ref()).find(|txn| txn.app_id == app_id)
    }

    /// What the table is stands where a log begins and in checkpoints, and nowhere else.
    fn is_described(&self, lines: &[Line], begins: bool) -> bool {
        let protocol = lines.iter().find_map(|line| line.protocol.as_ref());
        let meta_data = lines.iter().find_map(|line| line.meta_data.as_ref());
        match (begins, protocol, meta_data) {
            (true, Some(protocol), Some(meta_data)) => self.table.fits(protocol, meta_data),
            (false, None, None) => true,
            _ => false,
        }
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
        let begins = lines.iter().filter_map(|line| line.commit_info.as_ref()).any(|i| i.operation == OPERATIONS[0]);
        let created = lines.iter().filter_map(|line| line.meta_data.as_ref()).all(|meta| meta.created_time == at);
        let described = created && self.is_described(lines, begins);
        let changes: HashSet<bool> = lines
            .iter()
            .filter_map(|line| {
                line.add.as_ref().map(|add| add.data_change).or(line.remove.as_ref().map(|r| r.data_change))
            })
            .collect();
        let removed =
            lines.iter().filter_map(|line| line.remove.as_ref()).all(|remove| remove.deletion_timestamp == at);
        (!told || !described || !removed || changes.len() > 1).then(|| {
            "what it says of itself does not agree: its moments, manifest version, kind of change or table".to_owned()
        })
    }

    /// The manifest version that a file names. None: it was folded away, or what is wrong with it is named where the manifests
    /// are checked.
    fn shown(&self, txn: &Txn) -> Result<Option<Skeleton>, String> {
        let version = u64::try_from(txn.version).unwrap_or(0);
        if version > self.tier.pin().version() {
            return Err(format!("it shows manifest version {version}, which does not exist"));
        }
        let Ok((skeleton, _)) = manifest::read_skeleton(&*self.tier.shared().manifests, version) else {
            return Ok(None);
        };
        if self.is_commit() && txn.last_updated != Some(millis(skeleton.manifest.committed_at)) {
            return Err(format!("its moment is not that of manifest version {version}"));
        }
        Ok(Some(skeleton))
    }

    /// Whether it makes the files of the manifest version that it shows of those that the version before it shows.
    fn step_fault(&self, lines: &[Line], last: Option<&Skeleton>, shown: &Skeleton) -> Option<String> {
        // the first one of a log stands on nothing
        let begins = lines.iter().any(|line| line.meta_data.is_some());
        if !begins && last.is_none() {
            return None;
        }
        let last = last.filter(|_| !begins);
        // a segment that cannot be read is named where the manifests are checked
        let changed = changed_files(&*self.tier.shared().manifests, last, shown).ok()?;
        let adds: HashSet<String> =
            lines.iter().filter_map(|line| line.add.as_ref()).map(|add| names::decode(&add.path)).collect();
        let removes: HashSet<String> =
            lines.iter().filter_map(|line| line.remove.as_ref()).map(|remove| names::decode(&remove.path)).collect();
        let differs = |said: &HashSet<String>, files: &[Arc<FileEntry>]| {
            let wanted: HashSet<String> = files.iter().map(|file| self.table.name(file)).collect();
            // what is removed and added in one version is there behind it
            let other = |name: &&String| !(adds.contains(*name) && removes.contains(*name));
            said.symmetric_difference(&wanted).filter(other).min().cloned()
        };
        let name = differs(&adds, &changed.added).or_else(|| differs(&removes, &changed.removed))?;
        let version = shown.manifest.version;
        Some(format!(
            "it does not lead from the files of the version before it to those of manifest version {version}: `{name}`"
        ))
    }

    /// What it says of files, against the manifest version that it names.
    fn entries_fault(&self, lines: &[Line], shown: &Skeleton) -> Vec<String> {
        let version = shown.manifest.version;
        let adds: Vec<&Add> = lines.iter().filter_map(|line| line.add.as_ref()).collect();
        let named: Vec<String> = adds.iter().map(|add| names::decode(&add.path)).collect();
        let paths: HashSet<&str> =
            named.iter().map(|name| names::linked(name).filter(|_| self.table.linked).unwrap_or(name)).collect();
        // named where the manifests are checked
        let Ok(entries) = entries_of(&*self.tier.shared().manifests, version, &paths) else { return Vec::new() };
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
