//! A store on a node of a cluster: its logs are replicas of groups, its durable tier is shared with the other nodes.
//!
//! ```text
//!  open_member                       the tier without a claim; no log yet
//!  open_replica(log)                 what is committed of it is replayed; the rest comes by its group
//!  follow                            manifests of others, once this node has applied what they took over
//!  claim ... give_up                 while this node is the one that compacts
//! ```
//!
//! It refuses to judge the ends of logs against manifests: what a replica lacks its group gives it. A replica whose log is gone is refused where the
//! node says that there was one, and nothing in its folder says that it had not begun: it must not vote with less than it had acknowledged.
//! Nor does one open whose log begins behind what the manifest holds: nothing goes from a log before a manifest has it that all nodes share, so the
//! files are an older copy, and heads made of them would give positions out a second time.

use super::gone;
use super::judge::{check_declaration, places, sealed};
use super::lost::{Folder, FoundLog, folder, job_id, owner_name};
use super::open::{LogPlace, wal_dir};
use super::options::{OpenError, OpenOptions};
use super::report::OpenReport;
use super::{LogShared, Logs, OpenLog, SettledSnapshot, Store};
use crate::append::{Log, Rules, Settled};
use std::sync::Arc;
use strandline_durable::{DurableTier, FollowError, FollowedOthers, OpenOptions as TierOptions, Snapshot};
use strandline_event::{LogIndex, LogKey, Micros};
use strandline_wal::{LogConfig, LogIdentity, LogWriter, OpenLog as OpenWal, OpenedLog, any_begun, open_log};

/// What is kept of decoded footers.
const CACHE_BYTES: usize = 64 << 20;

/// How a replica is opened.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaOptions {
    /// This node makes the group: a log that is born now is that of a group of one.
    pub founds: bool,
    /// There was a log of it on this node before.
    pub existed: bool,
    /// Now.
    pub now: Micros,
}

/// A replica for its owner and its group.
pub struct OpenReplica {
    /// The state machine, replayed up to what is committed.
    pub log: Log,
    /// The log; `None`: it is damaged, and the replica takes no part.
    pub writer: Option<LogWriter>,
    /// The last entry that was replayed, or is in files.
    pub applied: LogIndex,
    /// What everybody may know of it.
    pub shared: Arc<LogShared>,
    /// What was found.
    pub report: OpenReport,
}

impl Store {
    /// Opens a store that the nodes of a cluster share; its logs come one by one. Blocks.
    ///
    /// # Errors
    /// `FilesGone`: it was there; `FilesAway`: its manifests alone are; [`OpenError`].
    pub fn open_member(options: &OpenOptions) -> Result<Arc<Self>, OpenError> {
        let config = &options.config;
        let wal_dir = wal_dir(config)?;
        // where its files are away, a node that has served the store bears no other one in their place
        gone::refuse_gone(options, &places(options, false)?)?;
        let (objects, manifests) = sealed(options, places(options, true)?)?;
        let tier = TierOptions {
            writer: owner_name(options.node),
            config_text: strandline_deql::print(config),
            entropy: options.entropy,
            secret: options.secret,
            now: options.now,
            cache_bytes: CACHE_BYTES,
            scratch: options.scratch.clone(),
        };
        let durable = DurableTier::open_member(objects, manifests, config, &tier)?;
        check_declaration(config, &durable.pin())?;
        durable.refuse_files_away(config)?;
        durable.mark_places(config);
        let rules = Rules::new(config, durable.pin().digest_key());
        Ok(Arc::new(Self::new(options, durable, rules, wal_dir, Micros::MIN)))
    }

    /// Opens this node's log of a group. Blocks.
    ///
    /// # Errors
    /// `LogExists`; `ReplicaGone`; `ManifestBehind`; what opening its folder says.
    pub fn open_replica(&self, key: &LogKey, options: ReplicaOptions) -> Result<OpenReplica, OpenError> {
        let ReplicaOptions { founds, existed, now } = options;
        let _one_at_a_time = self.creating.lock();
        if self.log(key).is_some() {
            return Err(OpenError::LogExists(key.clone()));
        }
        let config = LogConfig { commit_on_sync: false, ..super::log_config(&self.config(), self.durable.keys())? };
        let (disk, entropy) = (&self.disk, self.entropy);
        let place = LogPlace { disk, dir: self.wal_dir.as_deref(), config, node: self.node, entropy, now };
        let Some(dir) = place.dir.map(|dir| folder(dir, key)) else {
            return Err(OpenError::NoLogFolder { store: self.name.clone() });
        };
        let cannot = |error| OpenError::WalFolder { dir: dir.clone(), error };
        let is_there = match any_begun(&**disk, &dir, &place.config.pattern) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            looked => looked.map_err(cannot)?,
        };
        if existed && !is_there {
            // a node that was lost before it had written anything has promised nothing
            let is_unbegun = Folder::look(&**disk, &dir, &place.config.pattern).map_err(cannot)?.first_spare;
            if !is_unbegun {
                return Err(OpenError::ReplicaGone { log: key.clone(), dir });
            }
        }
        let identity = LogIdentity { stream_type: key.stream_type.to_string(), bucket: key.bucket, node: self.node };
        let opened = open_log(OpenWal {
            disk: Arc::clone(disk),
            dir,
            config: place.config.clone(),
            identity,
            birth: job_id(&place, key, "birth") as u64,
            founds,
            check_from: self.durable.pin().watermark(key).next(),
            begin_above: LogIndex::ZERO,
            now,
        })
        .map_err(|error| OpenError::Wal { log: key.clone(), error: Box::new(error) })?;
        // of one that is damaged that is said first
        let is_whole = opened.writer.is_some() && opened.recovered.corrupt.is_empty();
        let (first, durable) = (opened.view.load().first_index(), self.durable.pin().watermark(key));
        if is_whole && first > durable.next() {
            return Err(OpenError::ManifestBehind { log: key.clone(), first, durable });
        }
        self.replay_replica(key, opened, now)
    }

    fn replay_replica(&self, key: &LogKey, opened: OpenedLog, now: Micros) -> Result<OpenReplica, OpenError> {
        let OpenedLog { writer, view, recovered } = opened;
        let mut report = OpenReport::default();
        let damage = recovered.corrupt.first().map(|corrupt| {
            let what = format!("segment {} at offset {}: {}", corrupt.segment, corrupt.offset, corrupt.what);
            report.corrupt.push(format!("log of `{key}`: {what}"));
            Arc::from(what)
        });
        let damage = damage.or_else(|| writer.is_none().then(|| Arc::from("it cannot be written")));
        let found = FoundLog { key: key.clone(), sink: None, view, damage, given_up: None };
        let OpenLog { log, shared, .. } = self.open_found(found, self.closed.open_replica(), now, &mut report)?;
        let mut logs = Logs::clone(&self.logs.load());
        logs.insert(key.clone(), Arc::clone(&shared));
        self.logs.store(Arc::new(logs));
        let applied = shared.view().last_index();
        let writer = writer.filter(|_| shared.refuses_writes().is_none());
        Ok(OpenReplica { log, writer, applied, shared, report })
    }

    /// Whether everything that a manifest took over was applied here, so that it may be shown. `is_held`: the logs that this node holds; nobody
    /// asks it about the others.
    fn is_ready_for(&self, snapshot: &Snapshot, is_held: &dyn Fn(&LogKey) -> bool) -> bool {
        let has = |key: &LogKey| self.log(key).map_or(LogIndex::ZERO, |shared| shared.published().committed());
        snapshot.logs().all(|(key, state)| state.compacted_through <= has(key) || !is_held(key))
    }

    /// Follows what another node has committed, if this one is ready for it (`whatever`: even if it is not: the logs must
    /// [jump](crate::append::LogDriver::jump) then). Blocks.
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn follow_others(&self, whatever: bool) -> Result<FollowedOthers, FollowError> {
        self.follow_held(&|_| !whatever)
    }

    /// The same on a node that holds these logs alone: it waits for no other. Blocks.
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn follow_held(&self, is_held: &dyn Fn(&LogKey) -> bool) -> Result<FollowedOthers, FollowError> {
        let followed = self.durable.follow_others(&|snapshot| self.is_ready_for(snapshot, is_held))?;
        if let FollowedOthers::Now(_) = &followed {
            // files may have gone under a tombstone
            self.after_retention();
        }
        Ok(followed)
    }

    /// Becomes the node that compacts: whoever did before is fenced. Blocks.
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn claim(&self, entropy: u128, now: Micros) -> Result<u64, FollowError> {
        self.durable.claim(&owner_name(self.node), &self.config(), entropy, now)
    }

    /// A log has jumped to `through`: memory lacks entries below, so nothing below is counted on in it.
    pub fn has_jumped(&self, key: &LogKey, through: LogIndex) {
        if let Some(hot) = self.hot() {
            hot.pass_over(key, through);
        }
    }

    /// What a log has to [jump](crate::append::LogDriver::jump) to: everything up to there is in files.
    #[must_use]
    pub fn jump_of(&self, key: &LogKey) -> (LogIndex, Arc<dyn Settled>, Micros) {
        let snapshot = self.durable.pin();
        let newest = snapshot.log(key).map_or(Micros::MIN, |state| state.last_ingested_at);
        if let Some(shared) = self.log(key) {
            shared.count_at_least(snapshot.rows_moved(key));
        }
        (snapshot.watermark(key), Arc::new(SettledSnapshot::new(&snapshot, key)), newest)
    }
}
