//! Opens a store, in this order:
//!
//! ```text
//!  1 the declaration is compared with the one in the manifest   refused if it changes what is on disk
//!  2 every log (folders on disk and logs in the manifest)       recovered and judged; lost ones refused
//!  3 the durable tier                                           claims a new owner epoch: an older owner is fenced; of a store
//!                                                               without a log on a full disk later, with the first commit
//!  4 broken runs are made anew; logs that are lost are given up if that was asked for
//!  5 clocks above every moment of the store
//!  6 what is above each watermark is replayed                   heads, commands, ids; memory is warmed with it
//! ```
//!
//! 1 and 2 are [`Store::judge`], the rest [`Judged::open`]: what makes a start fail is found before it fences anybody.
//! Nothing is written to a log here: what a birth has pending goes out with its owner's first group.

use super::judge::{Facts, Judged};
use super::lost::{self, FoundLog, Known};
use super::marks::{Marked, Marks, log_of};
use super::options::{OpenError, OpenOptions};
use super::replace::rollover;
use super::report::OpenReport;
use super::setting::Setting;
use super::{LeftAlone, LogShared, Logs, SettledSnapshot, Store};
use crate::append::{Log, Rules, Sink};
use crate::clock::{ClosedClocks, LogClock};
use crate::commands::{Scope, command_key};
use crate::read::TierSet;
use crate::read::cursors::Cursors;
use arc_swap::ArcSwap;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use strandline_deql::{Checksum, Location, StoreConfig, Tier};
use strandline_durable::{DurableTier, RunKind, SharedObjects, Snapshot, Update};
use strandline_event::hash::keyed_hash;
use strandline_event::{LogKey, Micros};
use strandline_keys::StoreKeys;
use strandline_wal::{Disk, LogConfig, SegmentPattern};

/// An open store.
pub struct Opened {
    /// The store.
    pub store: Arc<Store>,
    /// Its logs, for their owners.
    pub logs: Vec<OpenLog>,
    /// What was found.
    pub report: OpenReport,
}

/// A log for its owner.
pub struct OpenLog {
    /// Its name.
    pub key: LogKey,
    /// The state machine, replayed.
    pub log: Log,
    /// Where appends become durable; `None`: the log is damaged and takes none (see [`LogShared::refuses_writes`]).
    pub sink: Option<Sink>,
    /// What everybody may know of it.
    pub shared: Arc<LogShared>,
}

/// What all logs of a store are opened with.
pub(super) struct LogPlace<'a> {
    pub(super) disk: &'a Arc<dyn Disk>,
    /// `None`: the store has no log.
    pub(super) dir: Option<&'a Path>,
    pub(super) config: LogConfig,
    pub(super) node: u64,
    pub(super) entropy: u128,
    pub(super) now: Micros,
}

impl<'a> LogPlace<'a> {
    pub(super) fn of(
        options: &'a OpenOptions,
        dir: Option<&'a Path>,
        keys: Option<&Arc<StoreKeys>>,
    ) -> Result<Self, OpenError> {
        let config = log_config(&options.config, keys)?;
        let OpenOptions { disk, node, now, entropy, .. } = options;
        Ok(Self { disk, dir, config, node: *node, entropy: *entropy, now: *now })
    }
}

impl Judged {
    /// Becomes the owner of the store, and opens it.
    ///
    /// # Errors
    /// [`OpenError`]; its text says what to do.
    pub fn open(self) -> Result<Opened, OpenError> {
        let (options, wal_dir, durable, facts) = self.claim()?;
        durable.mark_places(&options.config);
        let Facts { logs: found, tail, mut report, .. } = facts;
        let text = strandline_deql::print(&options.config);
        if durable.waits_for_room() {
            report.warnings.push(
                "the disk is full: the store is read, and takes no appends and runs no jobs until there is room"
                    .to_owned(),
            );
        } else if durable.pin().config_text() != text {
            let job_id = keyed_hash(0, 1, &[&options.entropy.to_le_bytes(), b"config"]);
            durable.update(&Update::Config(text), job_id, options.now)?;
        }
        let rules = Rules::new(&options.config, durable.pin().digest_key());
        rebuild_runs(&durable, &rules, &options, &mut report);
        let place = LogPlace::of(&options, wal_dir.as_deref(), durable.keys())?;
        let settle = |log| lost::give_up(&place, &durable, &rules, log, &mut report);
        let found = found.into_iter().map(settle).collect::<Result<Vec<_>, _>>()?;
        if let (Some(marks), Some(epoch)) = (Marks::of(&place), durable.epoch()) {
            marks.settle(epoch, durable.pin().store_id())?;
        }
        let store = Store::new(&options, durable, rules, wal_dir.clone(), tail);
        let mut logs = Vec::new();
        for log in found {
            let clock = store.closed.open_log();
            logs.push(store.open_found(log, clock, options.now, &mut report)?);
        }
        let by_key: Logs = logs.iter().map(|log| (log.key.clone(), Arc::clone(&log.shared))).collect();
        store.logs.store(Arc::new(by_key));
        match store.sweep(options.now) {
            Ok(swept) => {
                // commits replace sorted runs all the time: nobody needs to hear of these
                let files = swept.iter().filter(|path| !path.ends_with(".run")).count();
                if files > 0 {
                    report.warnings.push(format!("{files} files that a crash or a merge left behind are gone now"));
                }
            }
            Err(error) => report.warnings.push(format!("what a crash left behind stays for now: {error}")),
        }
        Ok(Opened { store: Arc::new(store), logs, report })
    }
}

impl Store {
    /// Finds out whether a store can be opened, or made, without becoming its owner.
    ///
    /// # Errors
    /// [`OpenError`]; its text says what to do.
    pub fn judge(options: OpenOptions) -> Result<Judged, OpenError> {
        Judged::new(options, None)
    }

    /// Opens a store, or makes it.
    ///
    /// # Errors
    /// [`OpenError`]; its text says what to do.
    pub fn open(options: OpenOptions) -> Result<Opened, OpenError> {
        Self::judge(options)?.open()
    }

    /// As [`open`](Self::open), with the data files and manifests in these objects instead of the declared places: for
    /// tests that outlive a store, or crash its objects.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(
        options: OpenOptions,
        objects: SharedObjects,
        manifests: SharedObjects,
    ) -> Result<Opened, OpenError> {
        Judged::new(options, Some((objects, manifests)))?.open()
    }

    /// Makes the log of a stream type that has none.
    ///
    /// # Errors
    /// `LogExists`, and what opening its folder says.
    pub fn create_log(&self, key: &LogKey, now: Micros) -> Result<OpenLog, OpenError> {
        let mut unclear = self.creating.lock();
        if self.log(key).is_some() {
            return Err(OpenError::LogExists(key.clone()));
        }
        self.decide_split(&mut unclear, &key.stream_type)?;
        let place = LogPlace {
            disk: &self.disk,
            dir: self.wal_dir.as_deref(),
            config: log_config(&self.config(), self.durable.keys())?,
            node: self.node,
            entropy: self.entropy,
            now,
        };
        let mut report = OpenReport::default();
        let known = Known::of(Some(&self.durable.pin()), &Marked::default(), key);
        let found = lost::judge(&place, known, key.clone(), false, &mut report)?;
        let open = self.open_found(found, self.closed.open_log(), now, &mut report)?;
        let mut logs = Logs::clone(&self.logs.load());
        logs.insert(key.clone(), Arc::clone(&open.shared));
        self.logs.store(Arc::new(logs));
        Ok(open)
    }

    pub(super) fn new(
        options: &OpenOptions,
        durable: DurableTier,
        rules: Arc<Rules>,
        wal_dir: Option<PathBuf>,
        tail: Micros,
    ) -> Self {
        let files = durable.pin().logs().map(|(_, log)| log.last_ingested_at).max();
        let setting = Setting::new(options.config.clone(), rules, None);
        let buckets = ArcSwap::from_pointee(durable.pin().manifest().buckets.clone());
        Self {
            name: options.config.name.clone(),
            setting: ArcSwap::from_pointee(setting),
            replacing: parking_lot::Mutex::default(),
            durable,
            closed: ClosedClocks::new(files.unwrap_or(Micros::MIN).max(tail)),
            logs: ArcSwap::default(),
            buckets,
            cursors: Cursors::default(),
            disk: Arc::clone(&options.disk),
            wal_dir,
            node: options.node,
            entropy: options.entropy,
            grace: options.grace,
            left_alone: LeftAlone::default(),
            rewritten: crate::redact::Rewritten::default(),
            subjects: std::sync::OnceLock::new(),
            creating: parking_lot::Mutex::default(),
            commits: AtomicU64::new(0),
            commands: Arc::default(),
        }
    }

    /// Replays what is above the watermark, and warms memory with what is young enough for it (see `replay`).
    pub(super) fn open_found(
        &self,
        found: FoundLog,
        clock: Arc<LogClock>,
        now: Micros,
        report: &mut OpenReport,
    ) -> Result<OpenLog, OpenError> {
        let FoundLog { key, mut sink, view, mut damage, .. } = found;
        let snapshot = self.durable.pin();
        let watermark = snapshot.watermark(&key);
        let durable_events = snapshot.rows_moved(&key);
        let settled = Arc::new(SettledSnapshot::new(&snapshot, &key));
        if let Some(state) = snapshot.log(&key) {
            // what files hold of it is visible
            clock.observe(state.last_ingested_at);
        }
        let mut log = Log::new(key.clone(), self.rules(), clock, settled, watermark);
        log.join(&self.commands);
        let now_view = view.load();
        let end = now_view.last_index();
        let (events, stopped) = self.replay(&mut log, &now_view, watermark, now, report);
        if let (Some(error), None) = (stopped, &damage) {
            // what recovery cannot see: a frame that is good and holds no batch
            report.corrupt.push(error.to_string());
            (sink, damage) = (None, Some(Arc::from(error.to_string())));
        }
        if let Some(damage) = &damage {
            log.doubt(damage);
        }
        report.replayed_events += events;
        if let Some(hot) = self.hot() {
            // no effect where something was warmed: then memory covers from there on
            hot.open_log(&key, end.max(watermark));
        }
        let shared = LogShared::new(key.clone(), view, Arc::clone(log.published()), damage, durable_events + events);
        Ok(OpenLog { key, log, sink, shared: Arc::new(shared) })
    }
}

/// Runs that cannot be read are made anew from data files; where that fails, their stream types refuse writes.
fn rebuild_runs(durable: &DurableTier, rules: &Rules, options: &OpenOptions, report: &mut OpenReport) {
    report.corrupt.extend_from_slice(durable.open_warnings());
    let command_key = |log: &LogKey, stream: u128, id: &str| {
        (rules.scope != Scope::None).then(|| command_key(rules.scope, rules.digest_key, &log.stream_type, stream, id))
    };
    for rebuilt in durable.rebuild_runs(&command_key, options.entropy, options.now) {
        let broken = rebuilt.broken;
        match rebuilt.outcome {
            Ok(records) if broken.kind == RunKind::Commands => report.warnings.push(format!(
                "{broken}; {records} records were made anew from data files: the retry of one of these commands is compared \
                 with its events, since what was sent is not known for certain"
            )),
            Ok(records) => {
                report.warnings.push(format!("{broken}; {records} records were made anew from data files"));
            }
            Err(error) => report.corrupt.push(format!("{broken}; it cannot be made anew: {error}")),
        }
    }
}

pub(super) fn enabled_tiers(config: &StoreConfig) -> TierSet {
    let mut tiers = TierSet::of(&[Tier::Durable]);
    if config.wal.enabled {
        tiers.insert(Tier::Wal);
    }
    if config.inmemory.enabled {
        tiers.insert(Tier::Inmemory);
    }
    tiers
}

/// The folder of the logs; `None`: the store has no log.
pub(crate) fn wal_dir(config: &StoreConfig) -> Result<Option<PathBuf>, OpenError> {
    match &config.wal.path {
        _ if !config.wal.enabled => Ok(None),
        Some(Location::Local(path)) => Ok(Some(path.clone())),
        _ => Err(OpenError::NoLogFolder { store: config.name.clone() }),
    }
}

/// The log's part of the declaration, with the keys of an encrypted store.
pub(crate) fn log_config(config: &StoreConfig, keys: Option<&Arc<StoreKeys>>) -> Result<LogConfig, OpenError> {
    let wal = &config.wal;
    let pattern = SegmentPattern::parse(wal.segment_pattern.as_str()).map_err(OpenError::SegmentPattern)?;
    let mut out = LogConfig::new(pattern);
    out.rollover = rollover(wal);
    out.fsync = wal.fsync;
    out.checksum = wal.checksum == Checksum::Crc32c;
    out.keys = keys.cloned();
    Ok(out)
}

/// The logs that are on disk, in the manifest or were made.
pub(super) fn keys(
    place: &LogPlace<'_>,
    marked: &Marked,
    snapshot: Option<&Snapshot>,
) -> Result<BTreeSet<LogKey>, OpenError> {
    let known = snapshot.into_iter().flat_map(|snapshot| snapshot.logs());
    let mut keys: BTreeSet<LogKey> = known.map(|(key, _)| key.clone()).collect();
    if let Some(dir) = place.dir {
        keys.extend(log_folders(&**place.disk, dir)?);
    }
    // where nothing can be missing, one that is not there is none
    if snapshot.is_some_and(|snapshot| snapshot.manifest().logs_open) {
        keys.extend(marked.logs.iter().cloned());
    }
    Ok(keys)
}

/// The logs that have a folder.
pub(crate) fn log_folders(disk: &dyn Disk, dir: &Path) -> Result<Vec<LogKey>, OpenError> {
    match disk.list_dirs(dir) {
        Ok(names) => Ok(names.iter().filter_map(|name| log_of(name)).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(OpenError::WalFolder { dir: dir.to_owned(), error }),
    }
}
