//! A store on one node: its configuration, its logs, its tiers, and what readers pin of them.
//!
//! Shared by everybody (`Arc`). It keeps no thread and owns no writer: each log's writer belongs to the owner of that
//! log, which gets it from [`Store::open`] or [`Store::create_log`]. It knows no actor, no HTTP, no wall clock.

mod buckets;
mod gone;
mod grace;
mod judge;
mod left_alone;
pub(crate) mod lost;
pub(crate) mod marks;
mod member;
mod open;
mod options;
mod replace;
mod replay;
pub(crate) mod report;
mod setting;
mod settled;
mod shared;

pub(crate) use buckets::Buckets;
pub use buckets::{OwnerPart, SplitError};
pub use gone::Witness;
pub use grace::Grace;
pub use judge::Judged;
pub(crate) use left_alone::LeftAlone;
pub use member::{OpenReplica, ReplicaOptions};
pub use open::{OpenLog, Opened};
pub(crate) use open::{log_config, log_folders, wal_dir};
pub use options::{OpenError, OpenOptions};
pub use replace::{ReplaceError, Replaced};
pub use report::{OpenReport, ReportLine};
pub(crate) use setting::Setting;
pub use settled::SettledSnapshot;
pub use shared::LogShared;

use crate::append::{CommandRegistry, Rules, Settled};
use crate::clock::ClosedClocks;
use crate::read::cursors::Cursors;
use crate::read::{ReadError, TierSet};
use crate::redact::Rewritten;
use crate::subjects::{Opener, SubjectKeys};
use crate::view::tail::LogTail;
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use strandline_deql::{StoreConfig, Tier};
use strandline_durable::{CommitError, DurableTier, Folded, ManifestError, Snapshot, Update};
use strandline_event::hash::keyed_hash;
use strandline_event::{LogIndex, LogKey, Micros, StampedBatch};
use strandline_hot::HotTier;
use strandline_keys::StoreKeys;
use strandline_wal::Disk;

/// How long versions of the manifest are kept: reads may ask for the store as of one of them.
pub const VERSIONS_KEPT_SECONDS: u64 = 30 * 24 * 3600;
/// A sorted run that no manifest names any more waits no longer than this: a store without a log replaces one with each commit.
const REPLACED_RUNS_SECONDS: u64 = 600;

type Logs = BTreeMap<LogKey, Arc<LogShared>>;

/// A store on one node.
pub struct Store {
    name: String,
    /// What its statement says now.
    setting: ArcSwap<Setting>,
    /// One statement is replaced at a time: the one of which nobody knows whether it was.
    replacing: parking_lot::Mutex<Option<replace::Undecided>>,
    durable: DurableTier,
    closed: Arc<ClosedClocks>,
    logs: ArcSwap<Logs>,
    /// Stream types of more than one bucket; only added to.
    buckets: ArcSwap<Buckets>,
    cursors: Cursors,
    disk: Arc<dyn Disk>,
    /// The folder of the logs; `None`: the store has no log.
    wal_dir: Option<PathBuf>,
    node: u64,
    /// Makes the birth numbers of logs and the ids of commits that the store does by itself.
    entropy: u128,
    grace: Grace,
    left_alone: LeftAlone,
    /// Redactions that nothing is left to do for.
    rewritten: Rewritten,
    /// The keys of subjects, where the node has some.
    subjects: OnceLock<Opener>,
    /// One log is made at a time, and none of these types.
    creating: parking_lot::Mutex<buckets::UnclearSplits>,
    /// Commits of appends so far under this epoch, in a store without a log.
    commits: AtomicU64,
    /// Command ids of all logs, where they are unique in the store as a whole.
    commands: Arc<CommandRegistry>,
}

impl Store {
    /// Its configuration as of now; a statement may be replaced. Who does something takes it once, at the begin.
    #[must_use]
    pub fn config(&self) -> Arc<StoreConfig> {
        Arc::clone(&self.setting.load().config)
    }

    /// Its statement as of now, and what follows from it.
    pub(crate) fn setting(&self) -> Arc<Setting> {
        self.setting.load_full()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The keys of an encrypted store; `None`: it is none.
    #[must_use]
    pub fn keys(&self) -> Option<&Arc<StoreKeys>> {
        self.durable.keys()
    }

    /// The append rules of its logs.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.setting.load().rules)
    }

    /// Which log has which command id; empty but where ids are unique in the store as a whole.
    #[must_use]
    pub fn commands(&self) -> &Arc<CommandRegistry> {
        &self.commands
    }

    /// Data files and manifests.
    #[must_use]
    pub fn durable(&self) -> &DurableTier {
        &self.durable
    }

    /// The hot tier, where `inmemory.enabled`.
    #[must_use]
    pub fn hot(&self) -> Option<Arc<HotTier>> {
        self.setting.load().hot.clone()
    }

    /// The clocks of its logs.
    #[must_use]
    pub fn closed(&self) -> &Arc<ClosedClocks> {
        &self.closed
    }

    /// All logs, by key.
    #[must_use]
    pub fn logs(&self) -> Vec<Arc<LogShared>> {
        self.logs.load().values().cloned().collect()
    }

    /// A log.
    #[must_use]
    pub fn log(&self, key: &LogKey) -> Option<Arc<LogShared>> {
        self.logs.load().get(key).cloned()
    }

    /// The stream types that have a log, in order.
    #[must_use]
    pub fn stream_types(&self) -> Vec<Arc<str>> {
        let mut types: Vec<_> = self.logs.load().keys().map(|key| Arc::clone(&key.stream_type)).collect();
        types.dedup();
        types
    }

    /// What the current manifest knows of a log's heads, commands and chunks: for its driver after a commit.
    #[must_use]
    pub fn settled(&self, key: &LogKey) -> Arc<dyn Settled> {
        Arc::new(SettledSnapshot::new(&self.durable.pin(), key))
    }

    /// Batches are committed: counts them and gives them to the hot tier. The owner of the log calls it for every group,
    /// before it answers.
    pub fn committed(&self, key: &LogKey, batches: &[(LogIndex, StampedBatch)], now: Micros) {
        if let Some(shared) = self.log(key) {
            shared.count(batches.iter().map(|(_, batch)| batch.rows() as u64).sum());
        }
        if let Some(hot) = self.hot() {
            hot.insert_all(key, batches.iter().cloned(), now);
        }
    }

    /// A commit of this log is true and its driver knows: what is kept for reading its log may go.
    pub fn after_commit(&self, key: &LogKey, snapshot: &Snapshot) {
        let through = snapshot.watermark(key);
        if let Some(shared) = self.log(key) {
            shared.streams.forget(through);
        }
        if let Some(hot) = self.hot() {
            hot.set_evictable_through(key, through);
        }
        // where reads leave the log out, they see it now
        self.closed.ring();
    }

    /// Whether somebody should call [`make_hot_room`](Self::make_hot_room), so that no append has to make room.
    #[must_use]
    pub fn hot_is_nearly_full(&self) -> bool {
        self.setting.load().hot.as_ref().is_some_and(|hot| hot.is_nearly_full())
    }

    /// Lets the oldest batches leave memory until there is room again.
    pub fn make_hot_room(&self) {
        if let Some(hot) = self.hot() {
            hot.make_room_ahead();
        }
    }

    /// Lets go what waited too long for its reader. Call it on a tick.
    pub fn tick(&self, now: Micros) {
        self.cursors.expire(now);
        if let Some(hot) = self.hot() {
            hot.evict(now);
        }
    }

    /// Ends the tombstones whose grace period is over; removes data files and runs that no manifest names, and files that are
    /// live no more and that no reader of this process needs, once they are older than their grace period. Safe while jobs
    /// run. Gives their names. Call it now and then (every hour is enough); it lists durable.path, so it blocks.
    ///
    /// # Errors
    /// The folder cannot be listed, or a file not be removed, or the commit fails; what is left is tried again by the next call.
    pub fn sweep(&self, now: Micros) -> Result<Vec<String>, CommitError> {
        let version = self.durable.pin().version().to_le_bytes();
        let job_id = keyed_hash(0, 4, &[&self.entropy.to_le_bytes(), &version]);
        // what has the age of the grace period is over, so that a grace period of 0 is none
        let before = now.minus_seconds(self.grace.tombstone_seconds).plus_us(1);
        let expired = self.durable.expire(before, job_id, now);
        let runs_wait_seconds = self.grace.files_seconds.min(REPLACED_RUNS_SECONDS);
        let mut swept = self.durable.sweep_runs(now.minus_seconds(runs_wait_seconds))?;
        swept.extend(self.durable.sweep(now.minus_seconds(self.grace.files_seconds))?);
        expired?;
        Ok(swept)
    }

    /// Folds manifest versions away that are older than [`VERSIONS_KEPT_SECONDS`]. Call it now and then (every hour is
    /// enough); it blocks.
    ///
    /// # Errors
    /// A version that should be there cannot be read, or something not be removed; the next call goes on.
    pub fn fold(&self, now: Micros) -> Result<Folded, ManifestError> {
        self.durable.fold(now.minus_seconds(VERSIONS_KEPT_SECONDS))
    }

    /// The epoch of another owner that came after this one; `None`: there is none. One small request, as a rule. Where there was no room
    /// for this one's claim when the store was opened, it is tried. It blocks.
    ///
    /// # Errors
    /// The disk or the object store; a version cannot be read.
    pub fn newer_owner(&self, now: Micros) -> Result<Option<u64>, ManifestError> {
        if let Err(CommitError::StaleEpoch { found, .. }) = self.durable.claim_late(now) {
            return Ok(Some(found));
        }
        // the other may have folded away what came right behind the newest version that is known here
        let folded = self.durable.pin().committed_at() < now.minus_seconds(VERSIONS_KEPT_SECONDS);
        self.durable.newer_owner(folded)
    }

    /// Readers that wait between two pages go on with a new view: what they had may show what is under a tombstone now.
    pub(crate) fn after_retention(&self) {
        self.cursors.clear();
        self.rewritten.clear();
    }

    /// How much of what events say is hidden by now: redactions and erasures. It only grows; a text that was made of a row before it grew may
    /// say what the row no longer shows.
    #[must_use]
    pub fn hidden(&self) -> u64 {
        self.durable.veil().redactions() as u64 + self.subjects().map_or(0, |keys| keys.erasures())
    }

    /// How often rows went under tombstones or came back. It only grows; a page that was read before it grew may hold rows that no read gives
    /// any more.
    #[must_use]
    pub fn retirements(&self) -> u64 {
        self.durable.retirements()
    }

    /// The grace periods of its files.
    #[must_use]
    pub const fn grace(&self) -> Grace {
        self.grace
    }

    /// Records each log's last batch in the manifest: a log that is shorter at the next start was lost, one that is longer is
    /// another. Call it when all logs are closed, with nothing in flight; not recorded where a log is damaged. `job_id` is random.
    ///
    /// # Errors
    /// What the commit says.
    pub fn record_clean_stop(&self, job_id: u128, now: Micros) -> Result<Arc<Snapshot>, CommitError> {
        if !self.has_log() {
            return Ok(self.durable.pin());
        }
        // of a damaged log nobody knows where it ended: the next start must not be told that it ended where it can be read
        if self.logs().iter().any(|log| log.refuses_writes().is_some()) {
            return Ok(self.durable.pin());
        }
        // entries without events, the first one of a log among them, count as well: the log is found to end with the last of them
        let end = |log: &Arc<LogShared>| (log.key.clone(), log.published().committed().max(log.view().last_index()));
        let ends = self.logs().iter().map(end).collect();
        self.durable.update(&Update::CleanStop(ends), job_id, now)
    }

    /// Files that merges leave alone.
    pub(crate) const fn left_alone(&self) -> &LeftAlone {
        &self.left_alone
    }

    /// What is sealed is opened with these keys for clients from now on. Once, before anybody reads.
    pub fn set_subjects(&self, keys: Arc<SubjectKeys>) {
        // a second set would change nothing: the keys are the node's
        let _ = self.subjects.set(Opener { keys, store: Arc::from(self.name()) });
    }

    /// The keys of subjects, where the node has some.
    #[must_use]
    pub fn subjects(&self) -> Option<&Arc<SubjectKeys>> {
        self.opener().map(|opener| &opener.keys)
    }

    /// What opens its sealed rows for clients.
    pub(crate) fn opener(&self) -> Option<&Opener> {
        self.subjects.get()
    }

    /// Redactions whose text no live file holds any more.
    pub(crate) const fn rewritten(&self) -> &Rewritten {
        &self.rewritten
    }

    /// Job id of the next commit of appends: (owner epoch, commit number), never given twice.
    pub(crate) fn next_commit_id(&self) -> u128 {
        let number = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        u128::from(self.durable.epoch().unwrap_or(0)) << 64 | u128::from(number)
    }

    /// Whether appends go to a log first.
    #[must_use]
    pub const fn has_log(&self) -> bool {
        self.wal_dir.is_some()
    }

    pub(crate) fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    /// Store-wide reads pass by no damaged log in silence.
    pub(crate) fn refuse_damaged(&self, setting: &Setting, stream_type: Option<&str>) -> Result<(), ReadError> {
        let wanted = |log: &&Arc<LogShared>| stream_type.is_none_or(|t| t == &*log.key.stream_type);
        let logs = self.logs();
        let damaged = logs.iter().filter(wanted).find_map(|log| Some((log, log.refuses_writes()?)));
        match damaged.filter(|_| setting.holes_fail() && setting.read_tiers.contains(Tier::Wal)) {
            Some((log, damage)) => Err(ReadError::Damaged { log: log.key.clone(), damage: Arc::clone(damage) }),
            None => Ok(()),
        }
    }

    /// The current manifest, if files are one of these.
    pub(crate) fn pin_files(&self, tiers: TierSet) -> Option<Arc<Snapshot>> {
        tiers.contains(Tier::Durable).then(|| self.durable.pin())
    }

    /// One log's tail and the manifest below it: the log first (see `view`).
    pub(crate) fn pin_tail(
        &self,
        setting: &Setting,
        shared: &Arc<LogShared>,
        tiers: TierSet,
    ) -> (LogTail, Option<Arc<Snapshot>>) {
        let log = tiers.contains(Tier::Wal).then(|| shared.view());
        let snapshot = self.pin_files(tiers);
        let hot = setting.hot_of(tiers).cloned();
        (LogTail::new(Arc::clone(shared), log, hot, snapshot.as_deref()), snapshot)
    }

    /// All logs' tails and the manifest below them: the logs first (see `view`).
    pub(crate) fn pin_tails(&self, setting: &Setting) -> (Vec<LogTail>, Option<Arc<Snapshot>>) {
        let read_log = setting.read_tiers.contains(Tier::Wal);
        let pinned: Vec<_> = self.logs().into_iter().map(|shared| (read_log.then(|| shared.view()), shared)).collect();
        let snapshot = self.pin_files(setting.read_tiers);
        let hot = setting.hot_of(setting.read_tiers);
        let tails = pinned
            .into_iter()
            .map(|(log, shared)| LogTail::new(shared, log, hot.cloned(), snapshot.as_deref()))
            .collect();
        (tails, snapshot)
    }
}
