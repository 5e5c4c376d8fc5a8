//! Numbers for the admin routes: what lies in which tier, what waits for compaction. Plain values; text is the server's affair.
//!
//! Cheap by rule: it reads manifests and counters in memory, and at most a few frames of a log, never events.

use crate::compact::{bytes_above, segments_above, waiting_events};
use crate::store::{LogShared, Store};
use crate::view::frames;
use std::path::PathBuf;
use std::sync::Arc;
use strandline_durable::{FileEntry, ManifestSummary, Snapshot};
use strandline_event::{LogIndex, LogKey, Micros};

/// What a tier holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TierNumbers {
    /// Bytes.
    pub bytes: u64,
    /// Events.
    pub events: u64,
    /// ingested_at of the oldest event.
    pub oldest: Option<Micros>,
    /// ingested_at of the newest event.
    pub newest: Option<Micros>,
}

/// All tiers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TiersStatus {
    /// Memory; `None`: the store has no hot tier.
    pub hot: Option<TierNumbers>,
    /// The log; `None`: the store has none. `events` are those that are not durable yet; `bytes` are all of it, retained
    /// segments included.
    pub wal: Option<TierNumbers>,
    /// The data files.
    pub durable: TierNumbers,
}

/// One log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogStatus {
    /// Its name.
    pub key: LogKey,
    /// First entry that is still there.
    pub first_index: LogIndex,
    /// Last committed entry.
    pub last_index: LogIndex,
    /// Everything up to here is durable.
    pub watermark: LogIndex,
    /// Why it takes no appends.
    pub refuses_writes: Option<Arc<str>>,
    /// Its segments, oldest first.
    pub segments: Vec<SegmentStatus>,
}

/// One segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentStatus {
    /// Name of its file.
    pub name: String,
    /// Committed bytes.
    pub bytes: u64,
    /// First entry that it has, or would have.
    pub first_index: LogIndex,
    /// Its last entry.
    pub last_index: Option<LogIndex>,
    /// Never written again.
    pub sealed: bool,
    /// When its last entry was written.
    pub newest: Option<Micros>,
}

/// What waits for compaction in one log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// The log.
    pub key: LogKey,
    /// Sealed segments that are not wholly durable.
    pub sealed_segments: u64,
    /// Segments that are not wholly durable, the open one included.
    pub segments: u64,
    /// Bytes that are not durable.
    pub bytes: u64,
    /// Events that are not durable.
    pub events: u64,
    /// ingested_at of the oldest of them.
    pub oldest: Option<Micros>,
    /// Everything up to here is durable.
    pub watermark: LogIndex,
}

/// The manifest.
#[derive(Clone, Debug)]
pub struct ManifestStatus {
    /// Its version.
    pub version: u64,
    /// The owner epoch.
    pub epoch: u64,
    /// When it was committed.
    pub committed_at: Micros,
    /// Data files.
    pub files: u64,
    /// Events.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// Files that were replaced and are not gone yet, and their bytes.
    pub replaced: (u64, u64),
    /// Watermark of each log.
    pub watermarks: Vec<(LogKey, LogIndex)>,
    /// Versions, newest first.
    pub history: Vec<ManifestSummary>,
    /// Before which version the next page of them is; `None`: nothing older is there.
    pub next_before: Option<u64>,
}

/// One data file.
#[derive(Clone, Debug)]
pub struct FileStatus {
    /// Its entry in the manifest.
    pub entry: Arc<FileEntry>,
    /// Where it is on this machine, if it is.
    pub local_path: Option<PathBuf>,
}

/// Numbers of all tiers.
#[must_use]
pub fn tiers(store: &Store) -> TiersStatus {
    let waiting = waiting(store);
    let snapshot = store.durable().pin();
    let hot = store.hot().map(|hot| {
        let stats = hot.stats();
        TierNumbers {
            bytes: stats.bytes,
            events: stats.events,
            oldest: stats.oldest_ingested_at,
            newest: stats.newest_ingested_at,
        }
    });
    let wal = store.has_log().then(|| TierNumbers {
        bytes: store.logs().iter().map(|log| log.view().bytes()).sum(),
        events: waiting.iter().map(|w| w.events).sum(),
        oldest: waiting.iter().filter_map(|w| w.oldest).min(),
        newest: store.logs().iter().filter_map(|log| newest(log, &snapshot)).max(),
    });
    let ingested = snapshot.files().iter().map(|f| f.bounds.ingested_at);
    let durable = TierNumbers {
        bytes: snapshot.bytes(),
        events: snapshot.rows(),
        oldest: ingested.clone().map(|(oldest, _)| oldest).min(),
        newest: ingested.map(|(_, newest)| newest).max(),
    };
    TiersStatus { hot, wal, durable }
}

/// ingested_at of the oldest event of all tiers.
#[must_use]
pub fn oldest(store: &Store) -> Option<Micros> {
    let hot = store.hot().and_then(|hot| hot.stats().oldest_ingested_at);
    let waiting = if store.has_log() { waiting(store) } else { Vec::new() };
    let durable = store.durable().pin().files().iter().map(|f| f.bounds.ingested_at.0).min();
    waiting.iter().filter_map(|w| w.oldest).chain(hot).chain(durable).min()
}

/// ingested_at of the last event above the watermark.
fn newest(log: &LogShared, snapshot: &Snapshot) -> Option<Micros> {
    let view = log.view();
    let watermark = snapshot.watermark(&log.key).max(view.first_index().prev());
    let found = frames::last_moment(&log.key, &view, watermark, view.last_index()).ok()?;
    found.map(|(_, moment)| moment)
}

/// The logs and their segments; none of a store without a log.
#[must_use]
pub fn wal(store: &Store) -> Vec<LogStatus> {
    if !store.has_log() {
        return Vec::new();
    }
    let snapshot = store.durable().pin();
    let log = |log: &Arc<LogShared>| {
        let view = log.view();
        let segments = view.segments().into_iter().map(|s| SegmentStatus {
            name: s.name,
            bytes: s.bytes,
            first_index: s.first_index,
            last_index: s.last_index,
            sealed: s.sealed,
            newest: (s.last_time > Micros::MIN).then_some(s.last_time),
        });
        LogStatus {
            key: log.key.clone(),
            first_index: view.first_index(),
            last_index: view.last_index(),
            watermark: snapshot.watermark(&log.key),
            refuses_writes: log.refuses_writes().cloned(),
            segments: segments.collect(),
        }
    };
    store.logs().iter().map(log).collect()
}

/// The manifest and a page of its versions: of those before `before`, at most `limit`.
///
/// # Errors
/// What reading the versions says.
pub fn manifest(
    store: &Store,
    before: Option<u64>,
    limit: usize,
) -> Result<ManifestStatus, strandline_durable::ManifestError> {
    let snapshot = store.durable().pin();
    let (history, next_before) = store.durable().history_page(before, limit)?;
    Ok(ManifestStatus {
        version: snapshot.version(),
        epoch: snapshot.epoch(),
        committed_at: snapshot.committed_at(),
        files: snapshot.files().len() as u64,
        rows: snapshot.rows(),
        bytes: snapshot.bytes(),
        replaced: snapshot.manifest().replaced.iter().fold((0, 0), |(n, sum), file| (n + 1, sum + file.bytes)),
        watermarks: snapshot.logs().map(|(key, log)| (key.clone(), log.compacted_through)).collect(),
        history,
        next_before,
    })
}

/// The data files of the current manifest.
#[must_use]
pub fn files(store: &Store) -> Vec<FileStatus> {
    let file =
        |entry: &Arc<FileEntry>| FileStatus { entry: Arc::clone(entry), local_path: store.durable().local_path(entry) };
    store.durable().pin().files().iter().map(file).collect()
}

/// What waits for compaction, log by log.
#[must_use]
pub fn waiting(store: &Store) -> Vec<Waiting> {
    let snapshot = store.durable().pin();
    store.logs().iter().map(|log| waiting_in(log, &snapshot)).collect()
}

fn waiting_in(log: &Arc<LogShared>, snapshot: &Snapshot) -> Waiting {
    let view = log.view();
    let watermark = snapshot.watermark(&log.key);
    let any_event = log.published().committed() > watermark;
    let above = |s: &&strandline_wal::SegmentInfo| s.last_index.is_some_and(|last| last > watermark);
    let from = watermark.max(view.first_index().prev());
    Waiting {
        key: log.key.clone(),
        sealed_segments: view.segments().iter().filter(above).filter(|s| s.sealed).count() as u64,
        segments: if any_event { segments_above(&view, watermark) } else { 0 },
        bytes: if any_event { bytes_above(&view, watermark) } else { 0 },
        events: waiting_events(log, snapshot),
        oldest: if any_event {
            frames::first_moment(&log.key, &view, from, view.last_index()).ok().flatten()
        } else {
            None
        },
        watermark,
    }
}
