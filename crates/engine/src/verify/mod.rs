//! The offline check of a whole store: logs, manifests, files, and what only all of them together can tell: holes,
//! doubles, heads. Reads only; the store must not be running. It goes on after a finding, and says everything.
//!
//! Memory: some 100 bytes a stream, and 16 bytes for each event of a pass over the ids (`IDS_PER_PASS`; a third of the events and three times the
//! bytes where command ids are unique in the store).

mod commands;
mod doubles;
mod ids;
mod left;
mod owners;
mod streams;

use crate::append::Rules;
use crate::store::lost::{self, Folder, Has, Known};
use crate::store::{OpenError, log_config, log_folders, marks, wal_dir};
use crate::subjects::{KnownKeys, UnknownKeys};
use crate::view::frames;
use commands::CommandCheck;
use doubles::Doubles;
use ids::IdPasses;
use owners::Owners;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use strandline_deql::StoreConfig;
use strandline_durable::objects::ObjectInfo;
use strandline_durable::objects::{CLUSTER_MARK, MarkError, Purpose, Settings, cluster_mark, open_location};
use strandline_durable::{
    DurableTier, Provider, Snapshot, Veil, check_delta_log, verify_file, verify_manifests, verify_replaced,
};
use strandline_event::{ErrorKind, EventRef, LogIndex, LogKey, Micros};
use strandline_keys::StoreKeys;
use strandline_wal::{Disk, LogConfig, LogIdentity, LogView, OpenedLog, log_folder_name, open_read_only};
use streams::Streams;

/// Event ids that are compared in one pass; more events take more passes.
const IDS_PER_PASS: u64 = 32 << 20;

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Finding {
    /// A segment, a file, a stream.
    pub place: String,
    /// In a sentence.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// What a check looked at and found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is wrong. Empty: the store is sound.
    pub findings: Vec<Finding>,
    /// What is worth knowing and not wrong: a torn end that the next start cuts, files that no manifest names.
    pub notes: Vec<String>,
    /// Logs.
    pub logs: u64,
    /// Segments.
    pub segments: u64,
    /// Data files.
    pub files: u64,
    /// Streams.
    pub streams: u64,
    /// Events, each counted once.
    pub events: u64,
    /// What the store says to who checks what a node keeps beside it.
    pub known: KnownStore,
}

/// What a store says of itself.
#[derive(Clone, Debug, Default)]
pub struct KnownStore {
    /// Its newest version was read: the rest is what it says. Else nobody knows.
    pub is_read: bool,
    /// Of an encrypted store.
    pub keys: Option<Arc<StoreKeys>>,
    /// Its stream types of several buckets. Of a cluster's store the cluster says it.
    pub buckets: BTreeMap<String, u32>,
    /// Whose it is.
    pub owner: Owner,
}

/// Whose a store is, by the mark at its `durable.path`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Owner {
    /// It cannot be read, or is damaged, which is a finding.
    #[default]
    Unknown,
    /// No cluster's.
    Alone,
    /// That of this cluster.
    Cluster(u128),
}

impl Report {
    fn add(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.findings.push(Finding { place: place.into(), what: what.into() });
    }
}

/// Why a store cannot be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no store.
    #[error("there is no store at {0}: nothing to verify")]
    NoStore(String),
    /// The object store did not answer, or a key was not to be had: nobody can tell what is wrong and what was out of reach.
    #[error(
        "what it needs is not to be had now, so nothing can be told of the store's state; verify it again later: {0}"
    )]
    Unreachable(String),
    /// The declaration is not the store's.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// A log of the store, opened to read.
struct OfflineLog {
    key: LogKey,
    view: Arc<LogView>,
}

/// How far a check is, for the one who waits for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Data files whose bytes were checked, of all.
    Files {
        /// Checked.
        done: u64,
        /// All.
        of: u64,
    },
    /// Events that were walked; again from the start for another pass over the ids.
    Events {
        /// Walked.
        done: u64,
        /// Those in data files; more stand in logs.
        of: u64,
    },
}

/// Checks the store of a declaration.
///
/// # Errors
/// There is no store, or the declaration cannot be used. Damage is a finding, not an error.
pub fn verify(config: &StoreConfig, disk: &Arc<dyn Disk>) -> Result<Report, VerifyError> {
    verify_watched(config, disk, None, (None, None), &mut |_| {})
}

/// As [`verify`] for a node, whose logs they must be (none: whoever's), and tells how far it is: after each data file, and after
/// each batch of events. `keys`: who wraps those of an encrypted store, and the keys of subjects, where it is to be told which rows nobody can open.
///
/// # Errors
/// As [`verify`].
pub fn verify_watched(
    config: &StoreConfig,
    disk: &Arc<dyn Disk>,
    node: Option<u64>,
    (keys, subjects): (Provider, Option<&KnownKeys>),
    on_step: &mut dyn FnMut(Step),
) -> Result<Report, VerifyError> {
    let mut report = Report::default();
    let wal_dir = wal_dir(config)?;
    let tier = match DurableTier::open_read_only(config, keys) {
        Ok(tier) => Some(tier),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            return Err(VerifyError::Unreachable(error.to_string()));
        }
        Err(error) => {
            report.add("manifest", error.to_string());
            None
        }
    };
    let log_config = log_config(config, tier.as_ref().and_then(DurableTier::keys))?;
    let unreadable = !report.findings.is_empty();
    let snapshot = tier.as_ref().map(DurableTier::pin);
    report.known = known_of(tier.as_ref());
    let replicas = is_clusters(config, &mut report) && wal_dir.is_some();
    let logs = match &wal_dir {
        Some(dir) => {
            let place = Place { dir, config: &log_config, disk, node, replicas };
            check_logs(&place, tier.as_ref(), &mut report)
        }
        None => Vec::new(),
    };
    if tier.is_none() && logs.is_empty() && report.findings.is_empty() {
        let place = wal_dir.map_or_else(|| config.durable.path.to_string(), |dir| dir.display().to_string());
        return Err(VerifyError::NoStore(place));
    }
    if let Some(tier) = &tier {
        check_files(tier, &mut report, on_step);
    }
    let digest_key = snapshot.as_ref().map_or((0, 0), |s| s.digest_key());
    let rules = Rules::new(config, digest_key);
    // without the newest manifest nobody knows what the log does not hold any more
    if !unreadable {
        let veil = tier.as_ref().map(|tier| Arc::clone(tier.veil())).unwrap_or_default();
        let unknown = subjects.map(|known| UnknownKeys::new(known, &config.name));
        check_events((&rules, replicas), (snapshot.as_ref(), &veil), (&logs[..], unknown), &mut report, on_step);
    }
    match tier.as_ref().and_then(DurableTier::unanswered) {
        Some(unanswered) => return Err(VerifyError::Unreachable(unanswered.to_string())),
        None => report.findings.sort(),
    }
    report.findings.dedup();
    Ok(report)
}

fn check_files(tier: &DurableTier, report: &mut Report, on_step: &mut dyn FnMut(Step)) {
    let mut add = |finding: strandline_durable::Finding| report.add(finding.place, finding.what);
    verify_manifests(tier).into_iter().for_each(&mut add);
    let snapshot = tier.pin();
    let buried = &snapshot.manifest().tombstones;
    let of = (snapshot.files().len() + buried.len()) as u64;
    let buried_files = buried.iter().map(|tombstone| Arc::new(tombstone.entry.clone()));
    for (done, file) in snapshot.files().iter().cloned().chain(buried_files).enumerate() {
        verify_file(tier, &file).into_iter().for_each(&mut add);
        on_step(Step::Files { done: done as u64 + 1, of });
    }
    let replaced = verify_replaced(tier);
    replaced.findings.into_iter().for_each(&mut add);
    let delta = check_delta_log(tier);
    delta.findings.into_iter().for_each(&mut add);
    report.notes.extend(delta.lag);
    if replaced.gone > 0 {
        let what =
            "replaced files are not there any more: only reads as of a version before they were replaced miss them";
        report.notes.push(format!("{} {what}", replaced.gone));
    }
    if replaced.seen > 0 {
        let what = "files that are live no more have the name of a live one: a crash came before they were renamed. Readers of \
                    the folder see their events twice until the next start";
        report.notes.push(format!("{} {what}", replaced.seen));
    }
    if replaced.hidden > 0 {
        let what = "live files do not have their name, but one that ends in .tmp or .old: a crash came before they were renamed, or \
                    somebody renamed them. Readers of the folder miss their events until the next start";
        report.notes.push(format!("{} {what}", replaced.hidden));
    }
    report.files = snapshot.files().len() as u64;
    if !buried.is_empty() {
        let what = "files are under a tombstone: no read shows them, they can be brought back until their grace period is over";
        report.notes.push(format!("{} data {what}", buried.len()));
    }
    check_orphans(tier, report);
}

/// What no version names. Where files are staged they get their final name after the commit: one that has it was committed.
fn check_orphans(tier: &DurableTier, report: &mut Report) {
    let orphans = match tier.orphans(Micros(i64::MAX)) {
        Ok(orphans) => orphans,
        Err(error) => return report.add("durable.path", error.to_string()),
    };
    let (committed, left): (Vec<_>, Vec<_>) = orphans.into_iter().partition(|orphan| tier.is_published(&orphan.path));
    report.notes.extend(leftovers(&left));
    for orphan in committed {
        let what = "no version names it, and it has the name of a committed file: the version that named it is gone, or it was put there by hand. Readers of the folder take it for events; move it away, or put the manifests back as they were";
        report.add(orphan.path, what);
    }
}

/// What lies there that no manifest names: sorted runs are put in the place of others by commits all the time; a data file is there
/// because its job ended before the commit.
fn leftovers(orphans: &[ObjectInfo]) -> Vec<String> {
    const NAMED_MAX: usize = 10;
    let (runs, files): (Vec<_>, Vec<_>) = orphans.iter().partition(|orphan| orphan.path.ends_with(".run"));
    let sum = |objects: &[&ObjectInfo]| objects.iter().map(|object| object.bytes).sum::<u64>();
    let mut notes = Vec::new();
    if !runs.is_empty() {
        notes.push(format!(
            "{} sorted runs ({} bytes) are in no manifest any more: others replaced them; a running node removes them",
            runs.len(),
            sum(&runs)
        ));
    }
    if !files.is_empty() {
        let names: Vec<&str> = files.iter().take(NAMED_MAX).map(|file| file.path.as_str()).collect();
        let more = if files.len() > NAMED_MAX { ", ..." } else { "" };
        notes.push(format!(
            "{} files ({} bytes) are in no manifest: their job ended before its commit; a running node removes them after \
             their grace period: {}{more}",
            files.len(),
            sum(&files),
            names.join(", ")
        ));
    }
    notes
}

/// Where the logs are, and whose they must be.
struct Place<'a> {
    dir: &'a Path,
    config: &'a LogConfig,
    disk: &'a Arc<dyn Disk>,
    node: Option<u64>,
    /// The logs are replicas: what one lacks its group has, so only each log itself is judged.
    replicas: bool,
}

fn known_of(tier: Option<&DurableTier>) -> KnownStore {
    let Some(tier) = tier else { return KnownStore::default() };
    let (keys, buckets) = (tier.keys().cloned(), tier.pin().manifest().buckets.clone());
    KnownStore { is_read: true, keys, buckets, owner: Owner::Unknown }
}

/// Whether the files belong to a cluster. A place that cannot be read is named by who needs it.
fn is_clusters(config: &StoreConfig, report: &mut Report) -> bool {
    if config.durable.path.is_memory() {
        return false;
    }
    let objects = open_location(&config.durable.path, Purpose::Read, &Settings::from_env());
    match objects.map(|objects| cluster_mark(&*objects)) {
        Ok(Ok(Some(mark))) => {
            report.known.owner = Owner::Cluster(mark.cluster);
            if mark.store != config.name {
                let what = "put back the one of this store: no node of the cluster starts with this one";
                report.add(CLUSTER_MARK, format!("it is that of store `{}`; {what}", mark.store));
            }
            true
        }
        Ok(Err(error @ MarkError::Damaged)) => {
            report.add(CLUSTER_MARK, error.to_string());
            true
        }
        Ok(Ok(None)) => {
            report.known.owner = Owner::Alone;
            false
        }
        _ => false,
    }
}

fn check_logs(place: &Place<'_>, tier: Option<&DurableTier>, report: &mut Report) -> Vec<OfflineLog> {
    let mut logs = Vec::new();
    let Place { dir: wal_dir, disk, .. } = *place;
    let snapshot = tier.map(DurableTier::pin);
    let snapshot = snapshot.as_deref();
    let looked = log_folders(&**disk, wal_dir).and_then(|folders| {
        let read = marks::read(&**disk, wal_dir);
        Ok((folders, read.map_err(|error| OpenError::WalFolder { dir: wal_dir.to_owned(), error })?))
    });
    let (folders, marked) = match looked {
        Ok(looked) => looked,
        Err(error) => {
            report.add(wal_dir.display().to_string(), error.to_string());
            return logs;
        }
    };
    if let Some(fault) = lost::folder_fault(wal_dir, !folders.is_empty(), &marked, snapshot, place.node)
        && !place.replicas
    {
        report.add(wal_dir.display().to_string(), fault.to_string());
    }
    let mut keys: BTreeSet<LogKey> = folders.into_iter().collect();
    keys.extend(snapshot.into_iter().flat_map(Snapshot::logs).map(|(key, _)| key.clone()));
    if snapshot.is_some_and(|snapshot| snapshot.manifest().logs_open) {
        keys.extend(marked.logs.iter().cloned());
    }
    for key in keys {
        let known = Known::of(snapshot, &marked, &key);
        logs.extend(check_log(place, known, key, report));
    }
    if let Some(tier) = tier.filter(|_| !place.replicas) {
        left::check_left(tier, &marked, &logs, report);
    }
    logs
}

/// As a start judges it, and every frame of it.
fn check_log(store: &Place<'_>, known: Known, key: LogKey, report: &mut Report) -> Option<OfflineLog> {
    let Place { dir: wal_dir, config, disk, .. } = *store;
    let dir = wal_dir.join(log_folder_name(&key.stream_type, key.bucket));
    let place = format!("log of `{key}`");
    report.logs += 1;
    let opened = match open_read_only(disk, &dir, config) {
        Ok(opened) => Some(opened),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            report.add(place, format!("{}: {error}; it had reached index {}", dir.display(), known.through));
            return None;
        }
    };
    let folder = Folder::look(&**disk, &dir, &config.pattern).unwrap_or_default();
    if let Some(fault) = opened.as_ref().and_then(|opened| stranger(store, &key, &dir, opened)) {
        report.add(place, fault.to_string());
        return None;
    }
    let has = opened.as_ref().map_or_else(|| Has::nothing(folder), |opened| Has::of(folder, opened));
    let is_damaged = opened.as_ref().is_some_and(|opened| !opened.recovered.corrupt.is_empty());
    let last = opened.as_ref().map_or(LogIndex::ZERO, |opened| opened.recovered.last_index());
    match known.fault(&has).filter(|_| !is_damaged && !store.replicas) {
        Some(fault) => report.add(&place, lost::error_of(fault, key.clone(), dir, &known, &has).to_string()),
        None if known.unread(last).is_some() => {
            report.notes.extend(known.unread(last).map(|unread| format!("{place}: {unread}")));
        }
        None if opened.is_none() => {
            report.notes.push(format!("{place}: its folder is gone; everything that it held is durable"));
        }
        None => {}
    }
    let opened = opened?;
    report.segments += opened.recovered.segments.len() as u64;
    for corrupt in &opened.recovered.corrupt {
        report.add(&place, format!("segment {} at offset {}: {}", corrupt.segment, corrupt.offset, corrupt.what));
    }
    if let Some(cut) = &opened.recovered.cut {
        report.notes.push(format!(
            "{place}: segment {} has a torn end at offset {} ({}); the next start cuts it",
            cut.segment, cut.offset, cut.what
        ));
    }
    if opened.recovered.clean_stop && known.is_open() {
        report.notes.push(format!(
            "{place}: it was closed in order, but the newest manifest does not say so: the stop was interrupted, or that version is gone"
        ));
    }
    Some(OfflineLog { key, view: opened.view.load() })
}

/// Why a start refuses the folder as that of another log, or of another node's.
fn stranger(store: &Place<'_>, key: &LogKey, dir: &Path, opened: &OpenedLog) -> Option<strandline_wal::OpenError> {
    let state = opened.recovered.state.as_ref()?;
    let found = LogIdentity { stream_type: state.stream_type.clone(), bucket: state.bucket, node: state.node };
    let node = store.node.unwrap_or(found.node);
    let wanted = LogIdentity { stream_type: key.stream_type.to_string(), bucket: key.bucket, node };
    (found != wanted).then(|| strandline_wal::OpenError::Identity { dir: dir.to_owned(), found, wanted })
}

/// Walks every event once: files, then what is above each watermark.
fn check_events(
    (rules, replicas): (&Rules, bool),
    (snapshot, veil): (Option<&Arc<Snapshot>>, &Veil),
    (logs, mut unknown): (&[OfflineLog], Option<UnknownKeys<'_>>),
    report: &mut Report,
    on_step: &mut dyn FnMut(Step),
) {
    let mut streams = Streams::new(rules.require_monotonic_seq);
    let mut commands = snapshot.map(|s| CommandCheck::new(rules, s));
    let mut owners = Owners::new(rules, snapshot.map(|snapshot| &**snapshot));
    let rows = snapshot.map_or(0, |s| s.rows());
    let mut ids = IdPasses::new(rows, owners.ids_of_pass(IDS_PER_PASS));
    let mut first_pass = true;
    loop {
        let mut each = |event: &EventRef<'_>, of: Option<&LogKey>, place: &dyn Fn() -> String| {
            if first_pass {
                streams.add(event, of);
                unknown.iter_mut().for_each(|unknown| unknown.add(event));
                if let (Some(commands), Some(log)) = (commands.as_mut(), of) {
                    commands.add(event, log);
                    owners.add_row(event, log, place);
                }
            }
            ids.add(event.event_id);
            // its group may have given up what a replica's log ends with: then the command is free for another log
            if of.is_some() || !replicas {
                owners.add_command(event, &ids);
            }
        };
        let damage = walk((snapshot, veil), logs, &mut each, &mut |done| on_step(Step::Events { done, of: rows }));
        if first_pass {
            for Damage { stream_type, place, what } in damage {
                streams.incomplete(&stream_type);
                report.add(place, what);
            }
            report.events = streams.events();
        }
        first_pass = false;
        owners.end_pass();
        if !ids.end_pass() {
            break;
        }
    }
    if let Some(mut doubles) = Doubles::of(streams.doubles(), ids.doubles(), (rules.digest_key, owners.doubles())) {
        // both places are only known when all is read once more
        walk((snapshot, veil), logs, &mut |event, _, place| doubles.add(event, place), &mut |done| {
            on_step(Step::Events { done, of: rows });
        });
        doubles.finish(report);
    }
    if let Some(snapshot) = snapshot {
        streams.add_retired(snapshot, report);
        streams.compare_heads(snapshot, report);
        streams.compare_counts(snapshot, report);
    }
    if let Some(commands) = commands {
        commands.finish(report);
    }
    owners.finish(report);
    for (stream_type, what, is_wrong) in unknown.into_iter().flat_map(UnknownKeys::finish) {
        let place = format!("stream type `{stream_type}`");
        match is_wrong {
            true => report.add(place, what),
            false => report.notes.push(format!("{place}: {what}")),
        }
    }
    report.streams = streams.len() as u64;
    streams.finish(report);
}

/// An event, the log of its data file, if it is in one, and its place.
type Each<'a> = &'a mut dyn FnMut(&EventRef<'_>, Option<&LogKey>, &dyn Fn() -> String);

/// Something that cannot be read to its end.
struct Damage {
    stream_type: String,
    place: String,
    what: String,
}

fn walk(
    (snapshot, veil): (Option<&Arc<Snapshot>>, &Veil),
    logs: &[OfflineLog],
    each: Each<'_>,
    on_events: &mut dyn FnMut(u64),
) -> Vec<Damage> {
    let (mut damage, mut done) = (Vec::new(), 0);
    let files = snapshot.into_iter().flat_map(|s| s.files().iter().map(move |file| (s, file)));
    for (snapshot, file) in files {
        let log = LogKey { stream_type: Arc::from(file.stream_type.as_str()), bucket: file.bucket };
        for batch in snapshot.scan_file(file) {
            match batch {
                Ok(batch) => {
                    let row = |i| veil.over(batch.row(i));
                    (0..batch.rows()).for_each(|i| each(&row(i), Some(&log), &|| batch.place(i).to_string()));
                    done += batch.rows() as u64;
                    on_events(done);
                }
                Err(error) => damage.push(Damage {
                    stream_type: file.stream_type.clone(),
                    place: file.path.clone(),
                    what: error.to_string(),
                }),
            }
        }
    }
    for log in logs {
        let watermark = snapshot.map_or(LogIndex::ZERO, |s| s.watermark(&log.key));
        let mut counted: Each<'_> = &mut |event, of, place| {
            done += 1;
            each(&veil.over(*event), of, place);
        };
        let walked = walk_log(log, watermark, &mut counted);
        on_events(done);
        if let Err(error) = walked {
            let (stream_type, place) = (log.key.stream_type.to_string(), format!("log of `{}`", log.key));
            damage.push(Damage { stream_type, place, what: error });
        }
    }
    damage
}

/// The events above the watermark; ingested_at must rise from batch to batch.
fn walk_log(log: &OfflineLog, watermark: LogIndex, each: Each<'_>) -> Result<(), String> {
    let mut last = Micros::MIN;
    let entries = frames::entries(&log.key, &log.view, watermark, log.view.last_index()).map_err(|e| e.to_string())?;
    for frame in entries {
        let frame = frame.map_err(|e| e.to_string())?;
        let stamps = frame.batch.stamps();
        if stamps.first_ingested_at() <= last {
            return Err(format!("index {}: its ingested_at is not above the one before it", frame.index));
        }
        last = stamps.last_ingested_at();
        for event in frame.batch.iter() {
            each(&event, None, &|| format!("log of `{}`, index {}", log.key, frame.index));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_were_replaced_are_no_crash() {
        let info = |path: &str, bytes| ObjectInfo { path: path.to_owned(), bytes, modified: Micros(0) };
        let runs: Vec<ObjectInfo> = (0..40).map(|n| info(&format!("_runs/T/heads-0-n1-e1-{n:010}.run"), 10)).collect();
        let notes = leftovers(&runs);
        assert!(notes.len() == 1 && notes[0].starts_with("40 sorted runs (400 bytes)"), "{notes:?}");
        let notes = leftovers(&[runs, vec![info("part-1.parquet.tmp", 7)]].concat());
        assert!(notes.len() == 2 && notes[1].contains("1 files (7 bytes)") && notes[1].contains("part-1"), "{notes:?}");
        assert!(leftovers(&[]).is_empty());
    }
}
