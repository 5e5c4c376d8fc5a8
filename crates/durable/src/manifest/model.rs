//! What a manifest says, as it stands in memory: one version of the durable tier.
//!
//! Invariant: every value here is whole; a version is never changed, the next one is made from it.

use crate::entry::FileEntry;
use crate::redaction::Redaction;
use crate::runs::RunRef;
use crate::wire;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use strandline_event::{LogIndex, LogKey, Micros};

/// Chunk marks of a log that a version lists at most.
pub(crate) const CHUNK_MARKS_MAX: usize = 1024;
/// How many stay when there are more: the others go into a run, many at once.
const CHUNK_MARKS_KEPT: usize = CHUNK_MARKS_MAX / 2;
/// Age at which a chunk mark goes into a run.
pub(crate) const CHUNK_MARK_SECONDS: u64 = 30 * 24 * 3600;

/// What a manifest knows of a log.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LogState {
    /// Everything up to and with this index is in data files.
    #[serde(with = "wire")]
    pub compacted_through: LogIndex,
    /// ingested_at of the last event in data files; a later event is never earlier.
    #[serde(with = "wire")]
    pub last_ingested_at: Micros,
    /// The highest index that is known to have existed (clean stop, watermark): a shorter log has lost something.
    #[serde(with = "wire")]
    pub known_through: LogIndex,
    /// Events that were ever moved to data files, each once: those that retention removed are counted too.
    pub events: u64,
    /// The job whose commit changed this log last.
    #[serde(with = "wire")]
    pub last_job: u128,
    /// Runs of heads, oldest first.
    pub heads: Vec<RunRef>,
    /// Runs of commands, oldest first.
    pub commands: Vec<RunRef>,
    /// Recent progress of resumable ingestions.
    pub chunks: Vec<ChunkMark>,
    /// Runs of older progress, oldest first: kept for ever.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunk_runs: Vec<RunRef>,
    /// Runs of removed seq ranges, oldest first: kept for ever.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<RunRef>,
}

/// The mark of a chunk of which something is in the log, or of a row of it that was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChunkMark {
    /// Key of the mark: a hash of file and chunk (and row); in version 1 the digest of the file.
    #[serde(with = "wire")]
    pub digest: [u8; 16],
    /// Of a chunk: 1 and the number of its refused rows; of a refused row: 1; in version 1 the highest chunk.
    pub number: u64,
    /// When it came.
    #[serde(with = "wire")]
    pub at: Micros,
}

/// A sealed segment of file entries, as a version names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SegmentRef {
    /// Name relative to the manifests' root.
    pub path: String,
    /// CRC32C of the object.
    pub crc32c: u32,
    /// Entries in it.
    pub files: u64,
}

/// The files of one stream type whose oldest event is of one month.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Group {
    /// Sealed segments with their entries.
    pub segments: Vec<(SegmentRef, Arc<[Arc<FileEntry>]>)>,
    /// Entries that stand in the version file itself.
    pub inline: Vec<Arc<FileEntry>>,
}

/// A data file that is live no more and still there, for readers that pinned an older version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Replaced {
    /// Its name, as its entry said it.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// The first version that does not name it as live.
    pub version: u64,
    /// When that was made.
    #[serde(with = "wire")]
    pub at: Micros,
    /// The job that did it.
    #[serde(with = "wire")]
    pub job_id: u128,
    /// No grace period: it goes as soon as no reader of this process needs it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub at_once: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde calls takes a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A list of a version, oldest first: what has grown stands in sealed segments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedList<T> {
    /// Sealed segments with what they hold.
    pub segments: Vec<(SegmentRef, Arc<[T]>)>,
    /// Those that stand in the version file itself.
    pub inline: Vec<T>,
}

impl<T> Default for SealedList<T> {
    fn default() -> Self {
        Self { segments: Vec::new(), inline: Vec::new() }
    }
}

impl<T> SealedList<T> {
    /// All of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flat_map(|(_, sealed)| sealed.iter()).chain(&self.inline)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segments.iter().map(|(_, sealed)| sealed.len()).sum::<usize>() + self.inline.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The replaced files of a version.
pub type ReplacedFiles = SealedList<Replaced>;

/// The redactions of a store. They are only ever added to.
pub type Redactions = SealedList<Redaction>;

/// A file that retention took out, with all that is needed to bring it back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tombstone {
    /// The file.
    pub entry: FileEntry,
    /// When it was taken out.
    #[serde(with = "wire")]
    pub at: Micros,
    /// The job that did it.
    #[serde(with = "wire")]
    pub job_id: u128,
}

/// The tombstones of a version.
pub type Tombstones = SealedList<Tombstone>;

/// The month of files whose moments no calendar names.
pub(crate) const NO_MONTH: &str = "none";

/// Stream type and month (`2026-11`) of a group.
pub type GroupKey = (String, String);

/// One version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// Its number, from 1, without gaps.
    pub version: u64,
    /// CRC32C of the version file before; none for the first.
    pub previous_crc32c: Option<u32>,
    /// Name of the store.
    pub store_name: String,
    /// Random, given at birth.
    pub store_id: [u8; 16],
    /// Random key of digests, given at birth.
    pub digest_key: (u64, u64),
    /// Epoch of the owner: raised at every open.
    pub epoch: u64,
    /// Name of the owner.
    pub owner: String,
    /// The job that made this version.
    pub job_id: u128,
    /// When it was made.
    pub committed_at: Micros,
    /// Number that the next data file takes (if its name is free).
    pub file_seq: u64,
    /// The store's statement.
    pub config_text: String,
    /// An owner with logs has claimed the store and has not stopped in order since: its logs may hold more than is known here.
    pub logs_open: bool,
    /// Every log that was ever compacted or stopped.
    pub logs: BTreeMap<LogKey, LogState>,
    /// All files.
    pub groups: BTreeMap<GroupKey, Group>,
    /// Files that are live no more and still there.
    pub replaced: ReplacedFiles,
    /// Files that can be brought back.
    pub tombstones: Tombstones,
    /// Events whose payload is shown no more.
    pub redactions: Redactions,
    /// Stream types of more than one bucket, and how many each has; fixed for ever.
    pub buckets: BTreeMap<String, u32>,
}

impl Manifest {
    /// All file entries, in the order of groups.
    pub fn files(&self) -> impl Iterator<Item = &Arc<FileEntry>> {
        self.groups.values().flat_map(|g| g.segments.iter().flat_map(|(_, s)| s.iter()).chain(&g.inline))
    }

    /// All runs.
    pub fn runs(&self) -> impl Iterator<Item = &RunRef> {
        self.logs
            .values()
            .flat_map(|state| state.heads.iter().chain(&state.commands).chain(&state.chunk_runs).chain(&state.retired))
    }
}

impl LogState {
    /// Takes marks in: the highest number of a digest stays. Gives those that are old or over the bound: they go into a run.
    #[must_use]
    pub fn add_chunks(&mut self, marks: &[ChunkMark], now: Micros) -> Vec<ChunkMark> {
        let mut places: HashMap<[u8; 16], usize> = (0..).zip(&self.chunks).map(|(n, m)| (m.digest, n)).collect();
        for mark in marks {
            let place = *places.entry(mark.digest).or_insert(self.chunks.len());
            match self.chunks.get_mut(place) {
                Some(known) if known.number < mark.number => *known = *mark,
                Some(_) => {}
                None => self.chunks.push(*mark),
            }
        }
        let oldest = now.minus_seconds(CHUNK_MARK_SECONDS);
        let (recent, mut settled) = std::mem::take(&mut self.chunks).into_iter().partition(|m| m.at >= oldest);
        self.chunks = recent;
        if self.chunks.len() > CHUNK_MARKS_MAX {
            self.chunks.sort_by_key(|m| std::cmp::Reverse(m.at));
            settled.extend(self.chunks.drain(CHUNK_MARKS_KEPT..));
        }
        settled
    }
}
