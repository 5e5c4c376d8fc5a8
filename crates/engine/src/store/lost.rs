//! Recovers one log, and judges it against what the manifest knows of it. Only what is accepted as lost writes to the
//! manifest, once the store is claimed.
//!
//! ```text
//!  the manifest knows      the log has     what is durable      then
//!  up to K, open           up to >= K      up to W              opens
//!  up to K, closed         up to K         W                    opens
//!  up to K, closed         up to L > K     W                    refused: it is not the log that was closed
//!  closed by this owner    another owner's mark, up to L        L > W: refused, it is not the log that was closed
//!                                                               L <= W: begins anew above W, and says so
//!  up to K                 up to L < K     W >= K               begins anew above W: nothing is lost
//!  up to K                 up to L < K     W < K                refused: events may be lost
//!                                                               if accepted: (W, L] is made durable, the positions up to K
//!                                                               are skipped, the log begins anew above K
//!  up to W                 from F > W+1    W                    refused: the manifest is not the newest
//!  an open log             nothing         W                    refused: whoever wrote it last did not stop in order, so it may
//!                                                               have held more than anybody knows
//!                                                               if accepted: as above, with more positions than it can have had
//!  open logs               another owner's mark                 refused: an older copy, or another folder (see `marks`)
//!                                                               if accepted: as above, every log
//!  any log                 another store's mark                 refused
//!  nothing: no manifest    a store's mark                       refused: the store's files are somewhere else
//! ```
//!
//! A folder without marks was written by an older program: of a log in it nobody says where it was closed.
//!
//! A damaged log is not judged so: it is neither given up nor begun anew, whatever is accepted. Its stream type takes no appends, and the report
//! says what can be done.
//!
//! "Begins at F" counts only for a log that is whole: one that lacks segments which nothing explains is damaged, and opens as
//! such. So the manifest is blamed only where the log says itself that it was trimmed.
//!
//! A store without a log has nothing to recover: what was acknowledged is in the manifest.
//!
//! Invariant: no index of a log is ever used for two entries.

use super::marks::{self, Marked, Marks};
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
use strandline_wal::names::FIRST_SPARE_NAME;
use strandline_wal::{
    Disk, LogIdentity, OpenLog, OpenedLog, SegmentPattern, SharedView, any_begun, log_folder_name, open_log,
    open_read_only,
};

/// Positions that are skipped of a log of which nobody knows where it ended: more than any log holds above its watermark.
const SKIPPED: u64 = 1 << 32;

/// What the manifest knows of a log.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    /// What is durable.
    pub(crate) watermark: LogIndex,
    /// Highest index that existed.
    pub(crate) through: LogIndex,
    /// There may have been higher ones: its owner has not stopped in order.
    open: bool,
    /// The manifest has it.
    listed: bool,
    /// It was made in this folder.
    pub(super) marked: bool,
    /// The folder is not the one that the last owner wrote, and that is accepted.
    stale: bool,
    /// Where the last owner's mark is, of a store that was closed in order.
    closed: Closed,
}

/// What a folder says of a store that was closed in order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closed {
    /// Nothing: the store was not closed, or the folder has no marks.
    No,
    /// The last owner wrote it.
    Here,
    /// An earlier owner wrote it.
    Elsewhere,
}

impl Closed {
    fn of(snapshot: Option<&Snapshot>, marked: &Marked) -> Self {
        match snapshot.map(Snapshot::manifest).filter(|manifest| !manifest.logs_open && !marked.epochs.is_empty()) {
            None => Self::No,
            Some(manifest) if marked.epochs.contains(&manifest.epoch) => Self::Here,
            Some(_) => Self::Elsewhere,
        }
    }
}

impl Known {
    pub(crate) fn of(snapshot: Option<&Snapshot>, marked: &Marked, key: &LogKey) -> Self {
        let watermark = snapshot.map_or(LogIndex::ZERO, |snapshot| snapshot.watermark(key));
        let log = snapshot.and_then(|snapshot| snapshot.log(key));
        let known = log.map_or(LogIndex::ZERO, |log| log.known_through);
        let open = snapshot.is_some_and(|snapshot| snapshot.manifest().logs_open);
        let closed = Closed::of(snapshot, marked);
        let (listed, marked) = (log.is_some(), marked.logs.contains(key));
        Self { watermark, through: known.max(watermark), open, listed, marked, stale: false, closed }
    }

    /// What lies in the folder is not read, and that is worth a word: another owner closed the store, and these entries are in
    /// files, or were given up.
    pub(crate) fn unread(&self, last: LogIndex) -> Option<String> {
        (self.closed == Closed::Elsewhere && last > LogIndex::ZERO).then(|| {
            format!(
                "the folder is not the one that the last owner of the store closed; its entries up to index {last} are not \
                 read, and go with its segments: what is durable stands in data files up to {}, and the rest was given up with \
                 --accept-lost-log; keep a copy of the folder where that is wanted",
                self.watermark
            )
        })
    }

    /// Whether its owner has not stopped in order, as far as the manifest says.
    pub(crate) const fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn of_stale(self, stale: bool) -> Self {
        Self { stale, ..self }
    }

    /// What is wrong with a log that is whole in itself, against what is known of it.
    pub(crate) fn fault(&self, has: &Has) -> Option<Fault> {
        let all_durable = self.through <= self.watermark;
        let behind = has.first > self.watermark.next() && has.last > self.watermark;
        // what says that nothing is durable yet counts for a log that was made here only: opening lays it out
        let laid_out = self.marked && has.folder.first_spare;
        if self.open && has.nothing && !laid_out && (self.listed || self.marked) {
            Some(Fault::Gone)
        } else if self.closed != Closed::No && has.last > self.through
            || self.closed == Closed::Elsewhere && has.last > self.watermark
        {
            Some(Fault::Beyond)
        } else if has.last < self.through && !all_durable {
            Some(Fault::Lost)
        } else {
            behind.then_some(Fault::ManifestBehind)
        }
    }
}

/// What the names in a log's folder show.
#[derive(Clone, Copy, Default)]
pub(crate) struct Folder {
    /// Segments.
    pub(crate) segments: bool,
    /// What says that nothing of the log may be durable yet.
    pub(crate) first_spare: bool,
}

impl Folder {
    pub(crate) fn look(disk: &dyn Disk, dir: &Path, pattern: &SegmentPattern) -> std::io::Result<Self> {
        let names = match disk.list(dir) {
            Ok(names) => names,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let segments = names.iter().any(|name| pattern.parse_name(name).is_some());
        Ok(Self { segments, first_spare: names.iter().any(|name| name == FIRST_SPARE_NAME) })
    }
}

/// What a log holds.
pub(crate) struct Has {
    folder: Folder,
    /// No segment.
    pub(crate) nothing: bool,
    pub(crate) first: LogIndex,
    pub(crate) last: LogIndex,
}

impl Has {
    /// A log that is not there.
    pub(crate) const fn nothing(folder: Folder) -> Self {
        Self { folder, nothing: true, first: LogIndex::ZERO, last: LogIndex::ZERO }
    }

    pub(crate) fn of(folder: Folder, opened: &OpenedLog) -> Self {
        let view = opened.view.load();
        let nothing = opened.recovered.segments.is_empty();
        Self { folder, nothing, first: view.first_index(), last: view.last_index() }
    }
}

/// What is wrong with a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It is not there, and nobody knows where it ended.
    Gone,
    /// Its end is missing.
    Lost,
    /// What was trimmed from it is in no file that the manifest names.
    ManifestBehind,
    /// It holds entries that the store did not have when it was closed in order.
    Beyond,
}

impl Fault {
    /// Whether the store can go on without what is missing.
    const fn can_be_accepted(self) -> bool {
        matches!(self, Self::Gone | Self::Lost)
    }
}

/// The name that an owner has in the manifest and in file names.
pub(super) fn owner_name(node: u64) -> String {
    format!("n{node}")
}

/// Why the folder of the logs is not the one that the last owner wrote; `None`: it is, or nothing can be missing. `node`: who
/// is asked for; none: whoever.
pub(crate) fn folder_fault(
    dir: &Path,
    any_log: bool,
    marked: &Marked,
    snapshot: Option<&Snapshot>,
    node: Option<u64>,
) -> Option<OpenError> {
    let (dir, id) = (dir.to_owned(), snapshot?.store_id());
    if let Some(found) = marked.other_store(id) {
        return Some(OpenError::LogsOfOtherStore { dir, found: found.to_owned(), wanted: marks::name_of(id) });
    }
    let manifest = snapshot.map(Snapshot::manifest).filter(|manifest| manifest.logs_open)?;
    if !marked.epochs.contains(&manifest.epoch) {
        let (epoch, found) = (manifest.epoch, marked.epochs.last().copied());
        return Some(if any_log { OpenError::LogsOld { dir, epoch, found } } else { OpenError::LogsGone { dir } });
    }
    let node = node.filter(|node| manifest.owner != owner_name(*node))?;
    Some(OpenError::LogsOfAnother { dir, owner: id_of(&manifest.owner), node: id_of(&owner_name(node)) })
}

/// The id of an owner as the node's file has it.
fn id_of(owner: &str) -> String {
    let id = owner.strip_prefix('n').and_then(|digits| digits.parse::<u64>().ok());
    id.map_or_else(|| owner.to_owned(), |id| format!("{id:016x}"))
}

/// A fault in words.
pub(crate) fn error_of(fault: Fault, log: LogKey, dir: PathBuf, known: &Known, has: &Has) -> OpenError {
    let durable = known.watermark;
    match fault {
        Fault::Gone => OpenError::LogGone { dir, log, durable },
        Fault::Lost => OpenError::LostLog { dir, log, knows: known.through, has: has.last, durable },
        Fault::Beyond => OpenError::LogBeyond { dir, log, knows: known.through, has: has.last, durable },
        Fault::ManifestBehind => OpenError::ManifestBehind { log, first: has.first, durable },
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
    pub(super) given_up: Option<GivenUp>,
}

/// What is given up of a log.
#[derive(Clone, Copy)]
pub(super) struct GivenUp {
    /// What is durable.
    watermark: LogIndex,
    /// The highest position that is known to have existed.
    known: LogIndex,
    /// The log goes on above this one: `known`, or so far above it that nothing it can have held stands there.
    through: LogIndex,
}

impl GivenUp {
    /// In words; `first` is the first position that is not there.
    fn told(&self, key: &LogKey, first: LogIndex) -> String {
        let Self { known, through, .. } = *self;
        if through == known {
            return format!("log of `{key}`: positions {first} to {known} are given up");
        }
        let next = through.next();
        let surely = match known >= first {
            true => format!("up to {known} at least there was something"),
            false => "if anything".to_owned(),
        };
        format!(
            "log of `{key}`: what stood at position {first} and above is given up; how much that was, nobody knows ({surely}). Its \
             positions go on at {next}, above all that it can have held: the gap counts no events"
        )
    }
}

/// Judges the folder of the logs; whether it is another one than the last owner wrote, and that is accepted.
pub(super) fn judge_folder(
    place: &LogPlace<'_>,
    marked: &Marked,
    snapshot: Option<&Snapshot>,
    accept_lost: bool,
    report: &mut OpenReport,
) -> Result<bool, OpenError> {
    let Some(dir) = place.dir else { return Ok(false) };
    let any_log = !super::open::log_folders(&**place.disk, dir)?.is_empty();
    let Some(fault) = folder_fault(dir, any_log, marked, snapshot, Some(place.node)) else { return Ok(false) };
    if !accept_lost || matches!(fault, OpenError::LogsOfOtherStore { .. }) {
        return Err(fault);
    }
    report.lost.push(match any_log {
        true => format!("{}: what its logs held besides what is here is given up", dir.display()),
        false => format!("{}: all logs that it may have held are given up", dir.display()),
    });
    Ok(true)
}

/// Opens a log and judges it; nothing of the durable tier is written.
pub(super) fn judge(
    place: &LogPlace<'_>,
    known: Known,
    key: LogKey,
    accept_lost: bool,
    report: &mut OpenReport,
) -> Result<FoundLog, OpenError> {
    let Known { watermark, through: knows, .. } = known;
    let Some(dir) = place.dir else { return Ok(without_log(key, known)) };
    let path = folder(dir, &key);
    let cannot = |error| OpenError::WalFolder { dir: path.clone(), error };
    // before opening lays out what is missing
    let folder = Folder::look(&**place.disk, &path, &place.config.pattern).map_err(cannot)?;
    if !accept_lost && let Some(fault) = unbegun(place, &known, folder, &path).map_err(cannot)? {
        return Err(error_of(fault, key, path, &known, &Has::nothing(folder)));
    }
    let all_durable = knows <= watermark;
    let opened = open_folder(place, dir, &key, watermark, if all_durable { watermark } else { LogIndex::ZERO })?;
    if opened.writer.is_none() {
        report.warnings.push(after_damage(&key, &path));
        return Ok(finish(key, opened, report));
    }
    let has = Has::of(folder, &opened);
    let exact = GivenUp { watermark, known: knows, through: knows };
    let more = |than: LogIndex| GivenUp { known: than, through: LogIndex(than.0.saturating_add(SKIPPED)), ..exact };
    let given_up = match known.fault(&has) {
        Some(fault) if !accept_lost || !fault.can_be_accepted() => {
            return Err(error_of(fault, key, path, &known, &has));
        }
        Some(Fault::Lost) if !known.stale => Some(exact),
        Some(_) => Some(more(knows.max(has.last))),
        None => known.stale.then(|| more(knows.max(has.last))),
    };
    if let Some(unread) = known.unread(opened.recovered.last_index()) {
        report.warnings.push(format!("log of `{key}`: {unread}"));
    }
    if let (false, Some(marks)) = (known.marked, Marks::of(place)) {
        marks.note(&key)?;
    }
    match given_up {
        None => Ok(finish(key, opened, report)),
        given_up => Ok(FoundLog { given_up, ..finish(key, opened, &mut OpenReport::default()) }),
    }
}

/// What can be done about a log that is damaged, whether the loss of logs is accepted or not.
fn after_damage(key: &LogKey, dir: &Path) -> String {
    format!(
        "log of `{key}`: it takes no appends until its segments are as they were: put them back from a copy while the node is stopped. \
         Without one, move {} away and start with --accept-lost-log: what stands in it and in no data file is given up then (the flag \
         alone gives up nothing of a damaged log)",
        dir.display()
    )
}

/// What is wrong with a log in which nothing has begun. Opening it would lay out what is missing and take empty segments away, and
/// with them what shows it.
fn unbegun(place: &LogPlace<'_>, known: &Known, folder: Folder, path: &Path) -> std::io::Result<Option<Fault>> {
    if !known.open || folder.first_spare {
        return Ok(None);
    }
    if !folder.segments {
        return Ok(known.fault(&Has::nothing(folder)));
    }
    if any_begun(&**place.disk, path, &place.config.pattern)? {
        return Ok(None);
    }
    let opened = open_read_only(place.disk, path, &place.config)?;
    let is_damaged = !opened.recovered.corrupt.is_empty();
    Ok(known.fault(&Has::of(folder, &opened)).filter(|_| !is_damaged))
}

/// Makes durable what is left of a log whose end is missing, and begins it anew above everything that it ever held.
pub(super) fn give_up(
    place: &LogPlace<'_>,
    durable: &DurableTier,
    rules: &Arc<Rules>,
    log: FoundLog,
    report: &mut OpenReport,
) -> Result<FoundLog, OpenError> {
    let (Some(given_up), Some(dir)) = (log.given_up, place.dir) else { return Ok(log) };
    let GivenUp { watermark, through, .. } = given_up;
    let FoundLog { key, sink, view, .. } = log;
    let view = view.load();
    let first = view.last_index().max(watermark).next();
    report.lost.push(given_up.told(&key, first));
    let rescued = compact::rescue(durable, rules, &key, &view, job_id(place, &key, "rescue"), place.now)?;
    // two writers of one log must never be open
    drop(sink);
    let update = Update::AcceptLostLog { log: key.clone(), through };
    durable.update(&update, job_id(place, &key, "lost"), place.now)?;
    if rescued > 0 {
        report.warnings.push(format!("log of `{key}`: {rescued} events that were left are durable now"));
    }
    let opened = open_folder(place, dir, &key, through, through)?;
    Ok(finish(key, opened, report))
}

/// Indices go on above everything that the manifest ever knew.
fn without_log(key: LogKey, known: Known) -> FoundLog {
    let sink = Some(Sink::from(FilesWriter::new(key.clone(), known.watermark, known.through)));
    FoundLog { key, sink, view: SharedView::empty(), damage: None, given_up: None }
}

pub(super) fn folder(dir: &Path, key: &LogKey) -> PathBuf {
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
        founds: true,
        check_from: durable.next(),
        begin_above,
        now: place.now,
    })
    .map_err(|error| OpenError::Wal { log: key.clone(), error: Box::new(error) })
}

pub(super) fn job_id(place: &LogPlace<'_>, key: &LogKey, what: &str) -> u128 {
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
