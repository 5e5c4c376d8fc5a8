//! What a manifest knows of a data file: enough to choose it, to check it, and to find it again.

use crate::wire;
use serde::{Deserialize, Serialize};
use strandline_event::{EventId, EventRef, LogIndex, Micros, Seq};

/// A data file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileEntry {
    /// Name relative to the root; ends in `.parquet` (on disk it may still carry `.tmp` behind that).
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// CRC32C of the whole file.
    pub crc32c: u32,
    /// Length in bytes of the end of the file behind data pages and filters: page index, footer.
    pub tail_bytes: u64,
    /// CRC32C of that end.
    pub tail_crc32c: u32,
    /// Checksums of its parts; `None`: it is only read whole (data files before version 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<TailSums>,
    /// Name of its key, 64 hex digits, where it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// It was ended though more rows of its partition came, under these keys; `None`: no more came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<FullUnder>,
    /// The last version whose commit brought rows of it that say less than before: a merge took out what is redacted. Merges hand it on. `None`: no
    /// merge did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redacted_in: Option<u64>,
    /// Events.
    pub rows: u64,
    /// Row groups.
    pub row_groups: u32,
    /// The stream type of all rows.
    pub stream_type: String,
    /// The bucket of all rows.
    pub bucket: u32,
    /// Partition columns and their values.
    pub partition: Vec<(String, Option<String>)>,
    /// Smallest and largest values.
    pub bounds: Bounds,
    /// The log range that the job covered: after this index ...
    #[serde(with = "wire")]
    pub from_exclusive: LogIndex,
    /// ... up to and with this one.
    #[serde(with = "wire")]
    pub through: LogIndex,
    /// The job that wrote it.
    #[serde(with = "wire")]
    pub job_id: u128,
}

/// What made a file full, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FullUnder {
    /// `compaction.target_file_mb`
    pub target_bytes: u64,
    /// `compaction.max_file_mb`
    pub max_bytes: u64,
}

/// Checksums of the parts of a tail, so that a lookup reads what it needs of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TailSums {
    /// Length in bytes of the footer at the end of the file.
    pub footer_bytes: u64,
    /// CRC32C of it.
    pub footer_crc32c: u32,
    /// CRC32C of each 16,384 bytes of what stands before it in the tail, the page index; the last may be shorter.
    pub index_crc32c: Vec<u32>,
}

/// Smallest and largest value of fields over a file, both inclusive.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bounds {
    /// stream_id, by bytes.
    pub stream_id: (String, String),
    /// seq.
    #[serde(with = "wire")]
    pub seq: (Seq, Seq),
    /// event_type, by bytes.
    pub event_type: (String, String),
    /// tenant_id, by bytes, of the rows that have one.
    pub tenant_id: Option<(String, String)>,
    /// occurred_at, microseconds.
    #[serde(with = "wire")]
    pub occurred_at: (Micros, Micros),
    /// ingested_at, microseconds.
    #[serde(with = "wire")]
    pub ingested_at: (Micros, Micros),
    /// event_id, by bytes.
    #[serde(with = "wire")]
    pub event_id: (EventId, EventId),
}

impl Bounds {
    /// The bounds of one event.
    #[must_use]
    pub fn of(event: &EventRef<'_>) -> Self {
        let twice = |text: &str| (text.to_owned(), text.to_owned());
        Self {
            stream_id: twice(event.stream_id),
            seq: (event.seq, event.seq),
            event_type: twice(event.event_type),
            tenant_id: event.tenant_id.map(twice),
            occurred_at: (event.occurred_at, event.occurred_at),
            ingested_at: (event.ingested_at, event.ingested_at),
            event_id: (event.event_id, event.event_id),
        }
    }

    /// Takes one more event in.
    pub fn add(&mut self, event: &EventRef<'_>) {
        widen_text(&mut self.stream_id, event.stream_id);
        widen_text(&mut self.event_type, event.event_type);
        if let Some(tenant) = event.tenant_id {
            match &mut self.tenant_id {
                Some(bounds) => widen_text(bounds, tenant),
                none => *none = Some((tenant.to_owned(), tenant.to_owned())),
            }
        }
        widen(&mut self.seq, event.seq);
        widen(&mut self.occurred_at, event.occurred_at);
        widen(&mut self.ingested_at, event.ingested_at);
        widen(&mut self.event_id, event.event_id);
    }
}

impl Bounds {
    /// Takes in what others hold.
    pub(crate) fn merge(&mut self, other: &Self) {
        let texts = |mine: &mut (String, String), other: &(String, String)| {
            widen_text(mine, &other.0);
            widen_text(mine, &other.1);
        };
        texts(&mut self.stream_id, &other.stream_id);
        texts(&mut self.event_type, &other.event_type);
        match (&mut self.tenant_id, &other.tenant_id) {
            (Some(mine), Some(other)) => texts(mine, other),
            (mine @ None, other) => mine.clone_from(other),
            (Some(_), None) => {}
        }
        widen_both(&mut self.seq, other.seq);
        widen_both(&mut self.occurred_at, other.occurred_at);
        widen_both(&mut self.ingested_at, other.ingested_at);
        widen_both(&mut self.event_id, other.event_id);
    }
}

fn widen_both<T: Ord + Copy>(bounds: &mut (T, T), (min, max): (T, T)) {
    widen(bounds, min);
    widen(bounds, max);
}

fn widen<T: Ord + Copy>(bounds: &mut (T, T), value: T) {
    bounds.0 = bounds.0.min(value);
    bounds.1 = bounds.1.max(value);
}

fn widen_text(bounds: &mut (String, String), value: &str) {
    if value < bounds.0.as_str() {
        value.clone_into(&mut bounds.0);
    }
    if value > bounds.1.as_str() {
        value.clone_into(&mut bounds.1);
    }
}

/// Whether `value` lies in the bounds.
pub(crate) fn within<T: PartialOrd + ?Sized, B: std::borrow::Borrow<T>>(bounds: &(B, B), value: &T) -> bool {
    bounds.0.borrow() <= value && value <= bounds.1.borrow()
}
