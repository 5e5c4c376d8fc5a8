//! Recovers one log, and judges it against what the manifest knows of it. Only what is accepted as lost writes to the
//! manifest, once the store is claimed.
//!
//! ```text
//!  the manifest knows      the log has     what is durable      then
//!  up to K                 up to >= K      up to W              opens
//!  up to K                 up to L < K     W >= K               begins anew above W: nothing is lost
//!  up to K                 up to L < K     W < K                refused: events may be lost
//!                                                               if accepted: (W, L] is made durable, the positions up to K
//!                                                               are skipped, the log begins anew above K
//!  up to W                 from F > W+1    W                    refused: the manifest is not the newest
//!  an open log             nothing         W                    refused: whoever wrote it last did not stop in order, so it may
//!                                                               have held more than anybody knows
//!                                                               if accepted: as above, with more positions than it can have had
//! ```
//!
//! The folder of all logs bears a mark, so that one that is lost as a whole is told from one in which no log was ever made.
//!
//! A store without a log has nothing to recover: what was acknowledged is in the manifest.
//!
//! Invariant: no index of a log is ever used for two entries.

use super::open::LogPlace;
use super::options::OpenError;
use super::report::OpenReport;
use crate::append::{FilesWriter, Rules, Sink};
use crate::compact;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_durable::{DurableTier, Snapshot, Update};
use strandline_event::hash::keyed_hash;
use strandline_event::{LogIndex, LogKey};
use strandline_wal::names::parse_log_folder_name;
use strandline_wal::{LogIdentity, OpenLog, OpenedLog, SharedView, log_folder_name, open_log};

/// Positions that are skipped of a log of which nobody knows where it ended: more than any log holds above its watermark.
const SKIPPED: u64 = 1 << 32;
/// Marks the folder of the logs. No log's folder has this name.
const MARK: &str = "~strandline";

/// What the manifest knows of a log.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// What is durable.
    pub(super) watermark: LogIndex,
    /// Highest index that existed.
    through: LogIndex,
    /// There may have been higher ones: its owner has not stopped in order.
    open: bool,
}

impl Known {
    pub(super) fn of(snapshot: Option<&Snapshot>, key: &LogKey) -> Self {
        let watermark = snapshot.map_or(LogIndex::ZERO, |snapshot| snapshot.watermark(key));
        let log = snapshot.and_then(|snapshot| snapshot.log(key));
        let known = log.map_or(LogIndex::ZERO, |log| log.known_through);
        let open = log.is_some() && snapshot.is_some_and(|snapshot| snapshot.manifest().logs_open);
        Self { watermark, through: known.max(watermark), open }
    }
}

/// A log that was recovered.
pub(super) struct FoundLog {
    pub(super) key: LogKey,
    /// `None`: damaged.
    pub(super) sink: Option<Sink>,
    pub(super) view: SharedView,
    pub(super) damage: Option<Arc<str>>,
    /// Its end is missing, and that is accepted: [`give_up`] is next, before anything is appended.
    pub(super) given_up: Option<Known>,
}

/// Judges the folder of the logs, and marks it.
pub(super) fn judge_folder(
    place: &LogPlace<'_>,
    snapshot: Option<&Snapshot>,
    accept_lost: bool,
    report: &mut OpenReport,
) -> Result<(), OpenError> {
    let Some(dir) = place.dir else { return Ok(()) };
    let fail = |error| OpenError::WalFolder { dir: dir.to_owned(), error };
    let names = match place.disk.list_dirs(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(fail(error)),
    };
    if names.iter().any(|name| name == MARK) {
        return Ok(());
    }
    let any_log = names.iter().any(|name| parse_log_folder_name(name).is_some());
    if !any_log && snapshot.is_some_and(|snapshot| snapshot.manifest().logs_open) {
        if !accept_lost {
            return Err(OpenError::LogsGone { dir: dir.to_owned() });
        }
        report.lost.push(format!("{}: all logs that it may have held are given up", dir.display()));
    }
    place.disk.create_dir_all(&dir.join(MARK)).map_err(fail)
}

/// Opens a log and judges it; nothing of the durable tier is written.
pub(super) fn judge(
    place: &LogPlace<'_>,
    known: Known,
    key: LogKey,
    accept_lost: bool,
    report: &mut OpenReport,
) -> Result<FoundLog, OpenError> {
    let Known { watermark, through: knows, open } = known;
    let Some(dir) = place.dir else { return Ok(without_log(key, known)) };
    let all_durable = knows <= watermark;
    let opened = open_folder(place, dir, &key, watermark, if all_durable { watermark } else { LogIndex::ZERO })?;
    if opened.writer.is_none() {
        return Ok(finish(key, opened, report));
    }
    if open && opened.recovered.segments.is_empty() {
        if !accept_lost {
            return Err(OpenError::LogGone { dir: folder(dir, &key), log: key, durable: watermark });
        }
        let given_up = Some(Known { through: LogIndex(knows.0.saturating_add(SKIPPED)), ..known });
        return Ok(FoundLog { given_up, ..finish(key, opened, &mut OpenReport::default()) });
    }
    let view = opened.view.load();
    let has = view.last_index();
    if has < knows && !all_durable {
        if !accept_lost {
            return Err(OpenError::LostLog { dir: folder(dir, &key), log: key, knows, has, durable: watermark });
        }
        return Ok(FoundLog { given_up: Some(known), ..finish(key, opened, &mut OpenReport::default()) });
    }
    if view.first_index() > watermark.next() && has > watermark {
        return Err(OpenError::ManifestBehind { log: key, first: view.first_index(), durable: watermark });
    }
    Ok(finish(key, opened, report))
}

/// Makes durable what is left of a log whose end is missing, and begins it anew above everything that it ever held.
pub(super) fn give_up(
    place: &LogPlace<'_>,
    durable: &DurableTier,
    rules: &Arc<Rules>,
    log: FoundLog,
    report: &mut OpenReport,
) -> Result<FoundLog, OpenError> {
    let (Some(Known { watermark, through: knows, .. }), Some(dir)) = (log.given_up, place.dir) else { return Ok(log) };
    let FoundLog { key, sink, view, .. } = log;
    let view = view.load();
    let first = view.last_index().max(watermark).next();
    report.lost.push(format!("log of `{key}`: positions {first} to {knows} are given up"));
    let rescued = compact::rescue(durable, rules, &key, &view, job_id(place, &key, "rescue"), place.now)?;
    // two writers of one log must never be open
    drop(sink);
    let update = Update::AcceptLostLog { log: key.clone(), through: knows };
    durable.update(&update, job_id(place, &key, "lost"), place.now)?;
    if rescued > 0 {
        report.warnings.push(format!("log of `{key}`: {rescued} events that were left are durable now"));
    }
    let opened = open_folder(place, dir, &key, knows, knows)?;
    Ok(finish(key, opened, report))
}

/// Indices go on above everything that the manifest ever knew.
fn without_log(key: LogKey, known: Known) -> FoundLog {
    let sink = Some(Sink::from(FilesWriter::new(key.clone(), known.watermark, known.through)));
    FoundLog { key, sink, view: SharedView::empty(), damage: None, given_up: None }
}

fn folder(dir: &Path, key: &LogKey) -> PathBuf {
    dir.join(log_folder_name(&key.stream_type, key.bucket))
}

fn open_folder(
    place: &LogPlace<'_>,
    dir: &Path,
    key: &LogKey,
    durable: LogIndex,
    begin_above: LogIndex,
) -> Result<OpenedLog, OpenError> {
    open_log(OpenLog {
        disk: Arc::clone(place.disk),
        dir: folder(dir, key),
        config: place.config.clone(),
        identity: LogIdentity { stream_type: key.stream_type.to_string(), bucket: key.bucket, node: place.node },
        birth: job_id(place, key, "birth") as u64,
        check_from: durable.next(),
        begin_above,
        now: place.now,
    })
    .map_err(|error| OpenError::Wal { log: key.clone(), error: Box::new(error) })
}

fn job_id(place: &LogPlace<'_>, key: &LogKey, what: &str) -> u128 {
    let parts: [&[u8]; 4] =
        [&place.entropy.to_le_bytes(), key.stream_type.as_bytes(), &key.bucket.to_le_bytes(), what.as_bytes()];
    keyed_hash(0, 2, &parts)
}

fn finish(key: LogKey, opened: OpenedLog, report: &mut OpenReport) -> FoundLog {
    let OpenedLog { writer, view, recovered } = opened;
    if let Some(cut) = &recovered.cut {
        report.cuts.push(format!("log of `{key}`: segment {} at offset {}: {}", cut.segment, cut.offset, cut.what));
    }
    let damages: Vec<String> =
        recovered.corrupt.iter().map(|c| format!("segment {} at offset {}: {}", c.segment, c.offset, c.what)).collect();
    report.corrupt.extend(damages.iter().map(|damage| format!("log of `{key}`: {damage}")));
    let damage = writer.is_none().then(|| {
        let first = damages.first().map_or("it cannot be written", String::as_str);
        Arc::from(first)
    });
    FoundLog { key, sink: writer.map(Sink::from), view, damage, given_up: None }
}
