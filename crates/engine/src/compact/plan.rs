//! What a job would do, before it does it: also the answer of a dry run.

use super::error::CompactError;
use super::policy::{NotDurable, Trigger, is_due};
use crate::store::{LogShared, Store};
use crate::view::frames;
use std::fmt;
use std::sync::Arc;
use strandline_durable::Snapshot;
use strandline_event::{LogIndex, LogKey, Micros};
use strandline_wal::LogView;

/// How much one job may hold. A longer range is done by several jobs, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobLimits {
    /// Bytes of batches, mapped from the log.
    pub bytes_max: u64,
    /// Events; each costs some 32 bytes of memory.
    pub rows_max: u64,
}

impl Default for JobLimits {
    fn default() -> Self {
        Self { bytes_max: 1 << 30, rows_max: 4_000_000 }
    }
}

/// A range of a log that is to become durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Which log.
    pub log: LogKey,
    /// The watermark: the range begins behind it.
    pub from_exclusive: LogIndex,
    /// The last entry of the range.
    pub through: LogIndex,
    /// Segments that the range touches.
    pub segments: u64,
    /// Bytes of the log in the range: its frames, and the rest of the blocks that they stand in.
    pub bytes: u64,
    /// Events in the range.
    pub events: u64,
    /// Bounds of one job.
    pub limits: JobLimits,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "log of `{}`: ({}, {}], {} events, {} bytes in {} segments",
            self.log, self.from_exclusive, self.through, self.events, self.bytes, self.segments
        )
    }
}

/// Which segments the log's owner may delete now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrimRule {
    /// Only segments that end at or below this entry: everything in them is durable.
    pub through: LogIndex,
    /// Only segments whose last event is older than this.
    pub older_than: Micros,
}

/// Whether a log is to be sealed and compacted now.
#[must_use]
pub fn due(store: &Store, key: &LogKey, trigger: Trigger) -> bool {
    let Some(shared) = store.log(key) else { return false };
    let watermark = store.durable().pin().watermark(key);
    let any_event = shared.published().committed() > watermark;
    let bytes = if any_event { bytes_above(&shared.view(), watermark) } else { 0 };
    shared.refuses_writes().is_none() && is_due(&store.config().compaction, NotDurable { bytes, any_event }, trigger)
}

/// Everything that is committed in a log and not durable; `None`: nothing is. The caller has sealed the log if its segments
/// are to be trimmed soon.
///
/// # Errors
/// `Disabled`, `NoLog`, `Damaged`.
pub fn plan(store: &Store, key: &LogKey) -> Result<Option<Plan>, CompactError> {
    if !store.config().compaction.enabled {
        return Err(CompactError::Disabled);
    }
    let shared = store.log(key).ok_or_else(|| CompactError::NoLog(key.clone()))?;
    if let Some(damage) = shared.refuses_writes() {
        return Err(CompactError::Damaged { log: key.clone(), damage: Arc::clone(damage) });
    }
    let view = shared.view();
    let snapshot = store.durable().pin();
    let watermark = snapshot.watermark(key);
    let events = waiting_events(&shared, &snapshot);
    // a replica's owner may not have applied yet what is committed
    let applied = shared.published().committed();
    let through = if store.durable().is_member() { view.last_index().min(applied) } else { view.last_index() };
    if applied <= watermark || through <= watermark {
        return Ok(None);
    }
    Ok(Some(Plan {
        log: key.clone(),
        from_exclusive: watermark,
        through,
        segments: segments_above(&view, watermark),
        bytes: bytes_within(&view, watermark, through),
        events,
        limits: JobLimits::default(),
    }))
}

/// What the owner of a log may trim. Nothing while the files are in memory: after a restart the log is all there is.
#[must_use]
pub fn trim_rule(store: &Store, key: &LogKey, now: Micros) -> TrimRule {
    let config = store.config();
    let lasting = !config.durable.path.is_memory();
    let through = if lasting { store.durable().pin().watermark(key) } else { LogIndex::ZERO };
    let older_than = now.minus_seconds(config.wal.retention_hours.saturating_mul(3600));
    TrimRule { through, older_than }
}

/// Events of a log that are not in data files yet.
pub(crate) fn waiting_events(shared: &LogShared, snapshot: &Snapshot) -> u64 {
    shared.events().saturating_sub(snapshot.rows_moved(&shared.key))
}

pub(crate) fn segments_above(view: &LogView, watermark: LogIndex) -> u64 {
    view.segments().iter().filter(|s| s.last_index.is_some_and(|last| last > watermark)).count() as u64
}

/// Segments that hold some of the range (from_exclusive, through].
pub(super) fn segments_within(view: &LogView, from_exclusive: LogIndex, through: LogIndex) -> u64 {
    let above = |last: LogIndex| last > from_exclusive;
    view.segments().iter().filter(|s| s.first_index <= through && s.last_index.is_some_and(above)).count() as u64
}

/// Bytes of the log above the watermark, exact to the frame where that can be read.
pub(crate) fn bytes_above(view: &Arc<LogView>, watermark: LogIndex) -> u64 {
    bytes_within(view, watermark, LogIndex(u64::MAX))
}

/// Bytes of the log in the range (from_exclusive, through], exact to the frame where that can be read: what a plan says of a job, and a job of
/// itself.
pub(super) fn bytes_within(view: &Arc<LogView>, from_exclusive: LogIndex, through: LogIndex) -> u64 {
    let mut bytes = 0;
    for segment in view.segments() {
        let Some(last) = segment.last_index.filter(|last| *last > from_exclusive) else { continue };
        if segment.first_index > through {
            continue;
        }
        let begin = match segment.first_index > from_exclusive {
            true => 0,
            false => frames::offset_of(view, from_exclusive.next()).unwrap_or(0),
        };
        let end = match last <= through {
            true => segment.bytes,
            false => frames::offset_of(view, through.next()).unwrap_or(segment.bytes),
        };
        bytes += end.saturating_sub(begin);
    }
    bytes
}
