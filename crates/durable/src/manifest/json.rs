//! The JSON of version files and segments. `FORMAT.md` names every field; fixtures keep it readable for ever.

use super::envelope::EnvelopeError;
use super::model::{
    Group, GroupKey, LogState, Manifest, Redactions, Replaced, ReplacedFiles, SegmentRef, Tombstone, Tombstones,
};
use crate::entry::FileEntry;
use crate::redaction::Redaction;
use crate::wire;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;
use strandline_event::{LogKey, Micros};

#[derive(Serialize, Deserialize)]
struct VersionFile {
    version: u64,
    previous_crc32c: Option<u32>,
    store: StoreJson,
    epoch: u64,
    owner: String,
    #[serde(with = "wire")]
    job_id: u128,
    #[serde(with = "wire")]
    committed_at: Micros,
    file_seq: u64,
    config: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    logs_open: bool,
    logs: Vec<LogJson>,
    groups: Vec<GroupJson>,
    #[serde(default, skip_serializing_if = "ReplacedJson::is_empty")]
    replaced: ReplacedJson,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tombstones: Vec<Tombstone>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tombstone_segments: Vec<SegmentRef>,
    #[serde(default, skip_serializing_if = "RedactionsJson::is_empty")]
    redactions: RedactionsJson,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    buckets: BTreeMap<String, u32>,
}

#[derive(Default, Serialize, Deserialize)]
struct RedactionsJson {
    segments: Vec<SegmentRef>,
    events: Vec<Redaction>,
}

impl RedactionsJson {
    fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.events.is_empty()
    }
}

#[derive(Serialize, Deserialize)]
struct RedactionSegment {
    redactions: Vec<Redaction>,
}

#[derive(Default, Serialize, Deserialize)]
struct ReplacedJson {
    segments: Vec<SegmentRef>,
    files: Vec<Replaced>,
}

impl ReplacedJson {
    fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.files.is_empty()
    }
}

#[derive(Serialize, Deserialize)]
struct ReplacedSegment {
    replaced: Vec<Replaced>,
}

#[derive(Serialize, Deserialize)]
struct TombstoneSegment {
    tombstones: Vec<Tombstone>,
}

#[derive(Serialize, Deserialize)]
struct StoreJson {
    name: String,
    #[serde(with = "wire")]
    id: [u8; 16],
    #[serde(with = "wire")]
    digest_key: u128,
}

#[derive(Serialize, Deserialize)]
struct LogJson {
    stream_type: String,
    bucket: u32,
    #[serde(flatten)]
    state: LogState,
}

#[derive(Serialize, Deserialize)]
struct GroupJson {
    stream_type: String,
    month: String,
    segments: Vec<SegmentRef>,
    files: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct SegmentFile {
    files: Vec<Entry>,
}

/// An entry that versions share.
struct Entry(Arc<FileEntry>);

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'a> Deserialize<'a> for Entry {
    fn deserialize<D: Deserializer<'a>>(from: D) -> Result<Self, D::Error> {
        FileEntry::deserialize(from).map(|entry| Self(Arc::new(entry)))
    }
}

fn entries(files: &[Arc<FileEntry>]) -> Vec<Entry> {
    files.iter().map(|file| Entry(Arc::clone(file))).collect()
}

fn files(entries: Vec<Entry>) -> Vec<Arc<FileEntry>> {
    entries.into_iter().map(|entry| entry.0).collect()
}

/// A version file without the entries of its segments.
pub(crate) struct Skeleton {
    pub(crate) manifest: Manifest,
    pub(crate) segments: Vec<(GroupKey, Vec<SegmentRef>)>,
    pub(crate) replaced: Vec<SegmentRef>,
    pub(crate) tombstones: Vec<SegmentRef>,
    pub(crate) redactions: Vec<SegmentRef>,
}

impl Skeleton {
    /// All segments that it names.
    pub(crate) fn segment_paths(&self) -> impl Iterator<Item = &str> {
        let of_groups = self.segments.iter().flat_map(|(_, segments)| segments);
        let others = self.replaced.iter().chain(&self.tombstones).chain(&self.redactions);
        of_groups.chain(others).map(|segment| segment.path.as_str())
    }
}

pub(crate) fn write_version(manifest: &Manifest) -> Result<Vec<u8>, serde_json::Error> {
    let logs = manifest.logs.iter().map(|(key, state)| LogJson {
        stream_type: key.stream_type.to_string(),
        bucket: key.bucket,
        state: state.clone(),
    });
    let groups = manifest.groups.iter().map(|((stream_type, month), group)| GroupJson {
        stream_type: stream_type.clone(),
        month: month.clone(),
        segments: group.segments.iter().map(|(s, _)| s.clone()).collect(),
        files: entries(&group.inline),
    });
    let (high, low) = manifest.digest_key;
    serde_json::to_vec(&VersionFile {
        version: manifest.version,
        previous_crc32c: manifest.previous_crc32c,
        store: StoreJson {
            name: manifest.store_name.clone(),
            id: manifest.store_id,
            digest_key: u128::from(high) << 64 | u128::from(low),
        },
        epoch: manifest.epoch,
        owner: manifest.owner.clone(),
        job_id: manifest.job_id,
        committed_at: manifest.committed_at,
        file_seq: manifest.file_seq,
        config: manifest.config_text.clone(),
        logs_open: manifest.logs_open,
        logs: logs.collect(),
        groups: groups.collect(),
        replaced: ReplacedJson {
            segments: manifest.replaced.segments.iter().map(|(s, _)| s.clone()).collect(),
            files: manifest.replaced.inline.clone(),
        },
        tombstones: manifest.tombstones.inline.clone(),
        tombstone_segments: manifest.tombstones.segments.iter().map(|(s, _)| s.clone()).collect(),
        redactions: RedactionsJson {
            segments: manifest.redactions.segments.iter().map(|(s, _)| s.clone()).collect(),
            events: manifest.redactions.inline.clone(),
        },
        buckets: manifest.buckets.clone(),
    })
}

pub(crate) fn read_version(json: &[u8]) -> Result<Skeleton, EnvelopeError> {
    let file: VersionFile = serde_json::from_slice(json).map_err(|e| EnvelopeError::Json(e.to_string()))?;
    let mut groups = BTreeMap::new();
    let mut segments = Vec::new();
    for group in file.groups {
        let key = (group.stream_type, group.month);
        segments.push((key.clone(), group.segments));
        groups.insert(key, Group { segments: Vec::new(), inline: files(group.files) });
    }
    let logs = file
        .logs
        .into_iter()
        .map(|log| (LogKey { stream_type: Arc::from(log.stream_type.as_str()), bucket: log.bucket }, log.state));
    let manifest = Manifest {
        version: file.version,
        previous_crc32c: file.previous_crc32c,
        store_name: file.store.name,
        store_id: file.store.id,
        digest_key: ((file.store.digest_key >> 64) as u64, file.store.digest_key as u64),
        epoch: file.epoch,
        owner: file.owner,
        job_id: file.job_id,
        committed_at: file.committed_at,
        file_seq: file.file_seq,
        config_text: file.config,
        logs_open: file.logs_open,
        logs: logs.collect(),
        groups,
        replaced: ReplacedFiles { segments: Vec::new(), inline: file.replaced.files },
        tombstones: Tombstones { segments: Vec::new(), inline: file.tombstones },
        redactions: Redactions { segments: Vec::new(), inline: file.redactions.events },
        buckets: file.buckets,
    };
    let (replaced, tombstones) = (file.replaced.segments, file.tombstone_segments);
    Ok(Skeleton { manifest, segments, replaced, tombstones, redactions: file.redactions.segments })
}

pub(crate) fn write_segment(files: &[Arc<FileEntry>]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&SegmentFile { files: entries(files) })
}

pub(crate) fn read_segment(json: &[u8]) -> Result<Vec<Arc<FileEntry>>, EnvelopeError> {
    let file: SegmentFile = serde_json::from_slice(json).map_err(|e| EnvelopeError::Json(e.to_string()))?;
    Ok(files(file.files))
}

pub(crate) fn write_replaced(files: &[Replaced]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&ReplacedSegment { replaced: files.to_vec() })
}

pub(crate) fn read_replaced(json: &[u8]) -> Result<Vec<Replaced>, EnvelopeError> {
    let file: ReplacedSegment = serde_json::from_slice(json).map_err(|e| EnvelopeError::Json(e.to_string()))?;
    Ok(file.replaced)
}

pub(crate) fn write_tombstones(files: &[Tombstone]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&TombstoneSegment { tombstones: files.to_vec() })
}

pub(crate) fn read_tombstones(json: &[u8]) -> Result<Vec<Tombstone>, EnvelopeError> {
    let file: TombstoneSegment = serde_json::from_slice(json).map_err(|e| EnvelopeError::Json(e.to_string()))?;
    Ok(file.tombstones)
}

pub(crate) fn write_redactions(events: &[Redaction]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&RedactionSegment { redactions: events.to_vec() })
}

pub(crate) fn read_redactions(json: &[u8]) -> Result<Vec<Redaction>, EnvelopeError> {
    let file: RedactionSegment = serde_json::from_slice(json).map_err(|e| EnvelopeError::Json(e.to_string()))?;
    Ok(file.redactions)
}
