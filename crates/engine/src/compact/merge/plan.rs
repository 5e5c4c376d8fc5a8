//! What merges would do, before they do it: also the answer of a dry run.

use super::policy::{MergeRules, choose, small_files};
use crate::compact::error::CompactError;
use crate::compact::plan::Plan;
use crate::compact::policy::Trigger;
use crate::store::Store;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use strandline_durable::{FileEntry, MergeOrder, Snapshot};
use strandline_event::{LogKey, Micros};

/// The files of one log that stand in one folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Partition {
    /// Which log.
    pub log: LogKey,
    /// Columns and values, in the order of `partition.by`; `None`: null.
    pub values: Vec<(String, Option<String>)>,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.log)?;
        for (column, value) in &self.values {
            write!(f, " {column}={}", value.as_deref().unwrap_or("null"))?;
        }
        Ok(())
    }
}

/// Files that are to become few.
#[derive(Clone)]
pub struct MergePlan {
    /// Whose files.
    pub partition: Partition,
    /// The version that names them: pinned, so that they stay readable.
    pub snapshot: Arc<Snapshot>,
    /// The files.
    pub inputs: Vec<Arc<FileEntry>>,
    /// The length at which a new file begins.
    pub enough_bytes: u64,
}

impl MergePlan {
    /// Events in the inputs.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.inputs.iter().map(|file| file.rows).sum()
    }

    /// The merge as it is ordered of another node, under this job.
    #[must_use]
    pub fn order(&self, job_id: u128) -> MergeOrder {
        MergeOrder {
            job_id,
            version: self.snapshot.version(),
            stream_type: self.partition.log.stream_type.to_string(),
            bucket: self.partition.log.bucket,
            inputs: self.inputs.iter().map(|file| file.path.clone()).collect(),
            enough_bytes: self.enough_bytes,
        }
    }

    /// Bytes of the inputs.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.inputs.iter().map(|file| file.bytes).sum()
    }
}

/// The next merge of every partition that is due for one, of one stream type or of all.
///
/// # Errors
/// `Disabled`; where events are redacted, a file that cannot be read.
pub fn plan_merges(
    store: &Store,
    stream_type: Option<&str>,
    trigger: Trigger,
    now: Micros,
) -> Result<Vec<MergePlan>, CompactError> {
    let rules = rules(store)?;
    let snapshot = store.durable().pin();
    let partitions = partitions(&snapshot, |file| stream_type.is_none_or(|name| *name == file.stream_type));
    let dirty = store.files_to_rewrite(&snapshot, stream_type)?;
    let due = |(partition, files)| plan_of(store, &rules, (&snapshot, &dirty), partition, files, trigger, now);
    Ok(partitions.into_iter().filter_map(due).collect())
}

/// Merges of a run by hand that its jobs may bring about, with the files of the version that its `merges` were planned of: of each partition of their logs that holds one small file
/// and has no merge yet. A job that writes another small file beside it makes it one; which partitions the events of a log fall
/// into nobody knows before they are read.
///
/// # Errors
/// `Disabled`.
pub fn plan_following(store: &Store, jobs: &[Plan], merges: &[MergePlan]) -> Result<Vec<MergePlan>, CompactError> {
    let rules = rules(store)?;
    let snapshot = merges.first().map_or_else(|| store.durable().pin(), |merge| Arc::clone(&merge.snapshot));
    let logs: HashSet<(&str, u32)> = jobs.iter().map(|job| (&*job.log.stream_type, job.log.bucket)).collect();
    let planned: HashSet<&Partition> = merges.iter().map(|merge| &merge.partition).collect();
    let mut partitions = partitions(&snapshot, |file| logs.contains(&(file.stream_type.as_str(), file.bucket)));
    partitions.retain(|partition, _| !planned.contains(partition));
    let following = |(partition, mut files): (Partition, Vec<Arc<FileEntry>>)| {
        store.left_alone().take_out_of(&mut files);
        let inputs = small_files(&files, &rules);
        let enough_bytes = rules.enough_bytes(inputs.iter().map(|file| file.bytes).sum());
        let plan = MergePlan { partition, snapshot: Arc::clone(&snapshot), inputs, enough_bytes };
        (!plan.inputs.is_empty()).then_some(plan)
    };
    Ok(partitions.into_iter().filter_map(following).collect())
}

fn partitions(snapshot: &Snapshot, wanted: impl Fn(&FileEntry) -> bool) -> BTreeMap<Partition, Vec<Arc<FileEntry>>> {
    let mut partitions: BTreeMap<Partition, Vec<Arc<FileEntry>>> = BTreeMap::new();
    for file in snapshot.files().iter().filter(|file| wanted(file)) {
        partitions.entry(partition_of(file)).or_default().push(Arc::clone(file));
    }
    partitions
}

/// The next merge of one partition; `None`: it is not due.
///
/// # Errors
/// `Disabled`; where events are redacted, a file that cannot be read.
pub fn plan_merge(
    store: &Store,
    partition: &Partition,
    trigger: Trigger,
    now: Micros,
) -> Result<Option<MergePlan>, CompactError> {
    let rules = rules(store)?;
    let snapshot = store.durable().pin();
    let ours = |file: &&Arc<FileEntry>| {
        let log = &partition.log;
        file.stream_type == *log.stream_type && file.bucket == log.bucket && file.partition == partition.values
    };
    let files = snapshot.files().iter().filter(ours).cloned().collect();
    let dirty = store.files_to_rewrite(&snapshot, Some(&partition.log.stream_type))?;
    Ok(plan_of(store, &rules, (&snapshot, &dirty), partition.clone(), files, trigger, now))
}

fn rules(store: &Store) -> Result<MergeRules, CompactError> {
    let config = store.config();
    if config.compaction.enabled { Ok(MergeRules::of(&config.compaction)) } else { Err(CompactError::Disabled) }
}

fn partition_of(file: &FileEntry) -> Partition {
    let log = LogKey { stream_type: Arc::from(file.stream_type.as_str()), bucket: file.bucket };
    Partition { log, values: file.partition.clone() }
}

fn plan_of(
    store: &Store,
    rules: &MergeRules,
    (snapshot, dirty): (&Arc<Snapshot>, &HashSet<String>),
    partition: Partition,
    mut files: Vec<Arc<FileEntry>>,
    trigger: Trigger,
    now: Micros,
) -> Option<MergePlan> {
    store.left_alone().take_out_of(&mut files);
    // what holds the text of a redacted event comes first, whatever its size
    let mut inputs: Vec<_> = files.iter().filter(|file| dirty.contains(&file.path)).cloned().collect();
    inputs.truncate(rules.inputs_max);
    if inputs.is_empty() {
        inputs = choose(&files, rules, trigger, now)?;
    }
    let enough_bytes = rules.enough_bytes(inputs.iter().map(|file| file.bytes).sum());
    Some(MergePlan { partition, snapshot: Arc::clone(snapshot), inputs, enough_bytes })
}
