//! Retention of the durable tier: which data files go, and how they are brought back.
//!
//! A file goes as a whole, when its newest occurred_at is older than `retention.durable_days`; so what goes of a stream is
//! often no prefix of it. Log and memory have keys of their own. Now is an argument; schedule and threads are the shell's.

use crate::store::Store;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use strandline_deql::{DeleteMode, Retention};
use strandline_durable::{CommitError, FileEntry, Restore, RetireError, Retirement, Snapshot, Tombstone};
use strandline_event::hash::keyed_hash;
use strandline_event::{LogKey, Micros};

/// Events of the files that one commit takes out, if there are several files: bounds the memory and the work of one.
const JOB_EVENTS_MAX: u64 = 4 << 20;
/// A merge may be faster with a file that should go; then it is planned anew, so many times.
const PLANS_MAX: usize = 8;
const DAY_SECONDS: u64 = 24 * 3600;

/// What went or came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moved {
    /// Data files.
    pub files: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Seq ranges that were written down, or taken back.
    pub ranges: u64,
    /// Commits.
    pub commits: u64,
}

/// Retention as it stands now.
#[derive(Clone, Debug)]
pub struct RetentionStatus {
    /// `retention.enabled`.
    pub enabled: bool,
    /// A file goes when its newest event is older.
    pub before: Micros,
    /// Live files that the next run takes out.
    pub candidates: Vec<Arc<FileEntry>>,
    /// Files that can be brought back, and until when.
    pub tombstones: Vec<(Tombstone, Micros)>,
}

/// A file goes when its newest event is older than this.
#[must_use]
pub fn cutoff(retention: &Retention, now: Micros) -> Micros {
    now.minus_seconds(retention.durable_days.saturating_mul(DAY_SECONDS))
}

fn candidates(retention: &Retention, snapshot: &Snapshot, now: Micros) -> Vec<Arc<FileEntry>> {
    let before = cutoff(retention, now);
    snapshot.files().iter().filter(|file| file.bounds.occurred_at.1 < before).cloned().collect()
}

/// What the next run would take out, and what can be brought back.
#[must_use]
pub fn status(store: &Store, now: Micros) -> RetentionStatus {
    let (snapshot, config) = (store.durable().pin(), store.config());
    let (retention, enabled) = (&config.retention, config.retention.enabled);
    let grace_us = i64::try_from(store.grace().tombstone_seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
    let until = |tombstone: &Tombstone| Micros(tombstone.at.0.saturating_add(grace_us));
    RetentionStatus {
        enabled,
        before: cutoff(retention, now),
        candidates: if enabled { candidates(retention, &snapshot, now) } else { Vec::new() },
        tombstones: snapshot.manifest().tombstones.iter().map(|t| (t.clone(), until(t))).collect(),
    }
}

/// Takes every file out that is due, in commits of bounded size. Nothing where `retention.enabled` is false. `job_id` is
/// random; `go_on` may stop it between and before commits: what was committed stays.
///
/// # Errors
/// [`RetireError`]; what was committed before stays, and is told by `moved`.
pub fn run(
    store: &Store,
    job_id: u128,
    now: Micros,
    go_on: &dyn Fn() -> ControlFlow<()>,
    moved: &mut Moved,
) -> Result<(), RetireError> {
    let config = store.config();
    if !config.retention.enabled {
        return Ok(());
    }
    let mut plans = 0;
    loop {
        let due = candidates(&config.retention, &store.durable().pin(), now);
        match take_out(store, due, config.retention.delete_mode, job_id, now, go_on, moved) {
            Err(RetireError::Commit(CommitError::NotLive { .. })) if plans < PLANS_MAX => plans += 1,
            other => return other,
        }
    }
}

fn take_out(
    store: &Store,
    due: Vec<Arc<FileEntry>>,
    mode: DeleteMode,
    job_id: u128,
    now: Micros,
    go_on: &dyn Fn() -> ControlFlow<()>,
    moved: &mut Moved,
) -> Result<(), RetireError> {
    let mode = match mode {
        DeleteMode::Tombstone => strandline_durable::DeleteMode::Tombstone,
        DeleteMode::Hard => strandline_durable::DeleteMode::Hard,
    };
    for (log, files) in jobs(due) {
        if go_on().is_break() {
            return Err(RetireError::Cancelled);
        }
        let (count, events, bytes) = sums(files.iter().map(|file| &**file));
        let job_id = keyed_hash(0, 5, &[&job_id.to_le_bytes(), &moved.commits.to_le_bytes()]);
        let retired = store.durable().retire(&Retirement { job_id, at: now, log, files, mode }, go_on)?;
        store.after_retention();
        moved.files += count;
        moved.events += events;
        moved.bytes += bytes;
        moved.ranges += retired.ranges;
        moved.commits += 1;
    }
    Ok(())
}

fn sums<'f>(files: impl Iterator<Item = &'f FileEntry>) -> (u64, u64, u64) {
    files.fold((0, 0, 0), |(files, rows, bytes), file| (files + 1, rows + file.rows, bytes + file.bytes))
}

/// Files of one log each, at most [`JOB_EVENTS_MAX`] events or one file.
fn jobs(due: Vec<Arc<FileEntry>>) -> Vec<(LogKey, Vec<Arc<FileEntry>>)> {
    let mut by_log: BTreeMap<(String, u32), Vec<Arc<FileEntry>>> = BTreeMap::new();
    for file in due {
        by_log.entry((file.stream_type.clone(), file.bucket)).or_default().push(file);
    }
    let mut out: Vec<(LogKey, Vec<Arc<FileEntry>>)> = Vec::new();
    for ((stream_type, bucket), files) in by_log {
        let log = LogKey { stream_type: Arc::from(stream_type.as_str()), bucket };
        let mut events = u64::MAX;
        for file in files {
            events = events.saturating_add(file.rows);
            if events > JOB_EVENTS_MAX {
                out.push((log.clone(), Vec::new()));
                events = file.rows;
            }
            if let Some((_, job)) = out.last_mut() {
                job.push(file);
            }
        }
    }
    out
}

/// Which files to bring back: those whose partition has these values; none given: all that are under a tombstone.
pub type Partition = [(String, Option<String>)];

/// Brings files back, all in one commit. `job_id` is random.
///
/// # Errors
/// [`RetireError`]; then nothing changed.
pub fn restore(
    store: &Store,
    partition: &Partition,
    job_id: u128,
    now: Micros,
    go_on: &dyn Fn() -> ControlFlow<()>,
) -> Result<Moved, RetireError> {
    let snapshot = store.durable().pin();
    let wanted = |t: &&Tombstone| partition.iter().all(|value| t.entry.partition.contains(value));
    let tombstones: Vec<_> = snapshot.manifest().tombstones.iter().filter(wanted).cloned().collect();
    drop(snapshot);
    if tombstones.is_empty() {
        return Ok(Moved::default());
    }
    let (files, events, bytes) = sums(tombstones.iter().map(|tombstone| &tombstone.entry));
    let restored = store.durable().restore(&Restore { job_id, at: now, tombstones }, go_on)?;
    store.after_retention();
    Ok(Moved { files, events, bytes, ranges: restored.ranges, commits: 1 })
}
