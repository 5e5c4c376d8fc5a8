//! CREATE OR REPLACE of a store that runs: another statement takes the place of the one that it was opened with.
//!
//! ```text
//!  judge (nothing changes) -> commit of the statement -> new files, then reads and appends follow it -> owners of logs (`instruct`)
//!     | a key that may not change       ^ a crash behind it: the next start finds the new one; before it: the old one
//!     v named, refused
//! ```
//!
//! The keys that may change are those that a restart with an edited file may change: they alter nothing that is on disk. What an
//! operation began with it ends with: a job, a page, a commit never see two statements.
//!
//! Where nobody knows what became of the commit, the old statement goes on until somebody does ([`Store::decide_statement`]): on an object store the
//! next look finds out, on a local folder the next start.
//!
//! Memory that is turned on begins empty and covers what comes from then on, what came before is read from the log and from files;
//! memory that is turned off goes when its last reader does. So neither hides an event nor shows it twice.

use super::Store;
use super::setting::{Setting, hot_options};
use crate::append::{LogDriver, Rules};
use std::sync::Arc;
use strandline_deql::{Rollover, StoreConfig, Wal};
use strandline_durable::{CommitError, Layout, LayoutError, Update};
use strandline_event::{ErrorKind, Micros};

/// Why a statement does not take the place of another one. Nothing changed then.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// It would change what is on disk.
    #[error(
        "the statement changes {} of store `{store}`, which no statement can: what is on disk was written under the values that \
         it has. Write these (DESCRIBE EVENTSTORE shows them; a key that is left out takes its default), or load the events into \
         a store with another name",
        .keys.join(", ")
    )]
    Fixed {
        /// The store.
        store: String,
        /// The keys.
        keys: Vec<&'static str>,
    },
    /// Another store's statement.
    #[error("the statement is of store `{found}`, not of `{wanted}`")]
    OtherStore {
        /// The store.
        wanted: String,
        /// The statement's.
        found: String,
    },
    /// It gives no files.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// It is not in the manifest, or nobody can tell.
    #[error("{}", not_replaced(.0))]
    Commit(#[from] CommitError),
}

fn not_replaced(error: &CommitError) -> String {
    match error {
        CommitError::Unknown { .. } => {
            format!(
                "whether the statement was replaced is not known; the node follows it as soon as it finds that out: {error}"
            )
        }
        _ => format!("the statement was not replaced: {error}"),
    }
}

impl ReplaceError {
    /// What it means to the one who called.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Fixed { .. } | Self::OtherStore { .. } | Self::Layout(_) => ErrorKind::BadRequest,
            Self::Commit(error) => error.kind(),
        }
    }
}

/// A statement as this node would serve it.
struct Prepared {
    config: StoreConfig,
    rules: Arc<Rules>,
    layout: Layout,
    wal_path_kept: bool,
}

/// A statement whose commit has an unknown outcome.
pub(super) struct Undecided {
    prepared: Prepared,
    text: String,
    /// The newest version that was known then: the one behind it says it.
    above: u64,
}

/// A statement took the place of another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replaced {
    /// The keys whose values are others now, in the order of the reference.
    pub changed: Vec<&'static str>,
    /// The manifest version that holds it.
    pub version: u64,
    /// The statement names another `wal.path`, which belongs to the node: it keeps its own.
    pub wal_path_kept: bool,
}

impl Store {
    /// Whether a statement changes nothing that is on disk, and can be served. The keys that may not change are the same at any time.
    ///
    /// # Errors
    /// [`ReplaceError`], but no `Commit`.
    pub fn check_replacement(&self, config: &StoreConfig) -> Result<(), ReplaceError> {
        self.prepare(config.clone()).map(drop)
    }

    fn prepare(&self, config: StoreConfig) -> Result<Prepared, ReplaceError> {
        if config.name != self.name {
            return Err(ReplaceError::OtherStore { wanted: self.name.clone(), found: config.name.clone() });
        }
        strandline_deql::replaceable_changes(&self.config(), &config)
            .map_err(|keys| ReplaceError::Fixed { store: self.name.clone(), keys })?;
        let before = self.setting();
        let (config, wal_path_kept) = strandline_deql::on_this_node(&before.config, config);
        let layout = Layout::new(&config)?;
        let rules = Rules::new(&config, before.rules.digest_key);
        Ok(Prepared { config, rules, layout, wal_path_kept })
    }

    /// Replaces its statement. `job_id` is random. It blocks. Owners of logs follow by [`instruct`](Self::instruct).
    ///
    /// # Errors
    /// [`ReplaceError`]; then nothing changed here. After a commit of unknown outcome [`decide_statement`](Self::decide_statement) may
    /// still follow the new statement, and so may the next start.
    pub fn replace(&self, config: StoreConfig, job_id: u128, now: Micros) -> Result<Replaced, ReplaceError> {
        let mut undecided = self.replacing.lock();
        self.decide(&mut undecided);
        let prepared = self.prepare(config)?;
        let wal_path_kept = prepared.wal_path_kept;
        let changed = strandline_deql::changed_keys(&self.config(), &prepared.config);
        let text = strandline_deql::print(&prepared.config);
        let mut snapshot = self.durable.pin();
        if snapshot.config_text() != text {
            match self.durable.update(&Update::Config(text.clone()), job_id, now) {
                Ok(committed) => snapshot = committed,
                Err(error) => {
                    if matches!(error, CommitError::Unknown { .. }) {
                        let above = self.durable.pin().version();
                        *undecided = Some(Undecided { prepared, text, above });
                    }
                    return Err(error.into());
                }
            }
        }
        *undecided = None;
        self.follow(prepared);
        Ok(Replaced { changed, version: snapshot.version(), wal_path_kept })
    }

    /// Finds out, where that can be, whether a statement was committed of which nobody knows it, and follows it; `true`: it does from now
    /// on. Cheap where there is none. It blocks.
    pub fn decide_statement(&self) -> bool {
        // who replaces one right now decides first
        self.replacing.try_lock().is_some_and(|mut undecided| self.decide(&mut undecided))
    }

    fn decide(&self, undecided: &mut Option<Undecided>) -> bool {
        let Some(waiting) = undecided.take() else { return false };
        let settled = self.durable.settle().is_ok();
        let snapshot = self.durable.pin();
        if snapshot.config_text() == waiting.text {
            self.follow(waiting.prepared);
            return true;
        }
        // its number is taken by something else: it never was
        if !settled || snapshot.version() <= waiting.above {
            *undecided = Some(waiting);
        }
        false
    }

    /// A statement that the cluster holds takes the place of this node's: nothing is committed, the keys that changed are told.
    ///
    /// # Errors
    /// As [`check_replacement`](Self::check_replacement); then nothing changed.
    pub fn adopt_statement(&self, config: StoreConfig) -> Result<Vec<&'static str>, ReplaceError> {
        let _one_at_a_time = self.replacing.lock();
        let prepared = self.prepare(config)?;
        let changed = strandline_deql::changed_keys(&self.config(), &prepared.config);
        self.follow(prepared);
        Ok(changed)
    }

    /// The statement in the manifest follows this node's where they differ; `true`: it did. For the node of a cluster that commits. It blocks.
    ///
    /// # Errors
    /// What the commit says.
    pub fn record_statement(&self, job_id: u128, now: Micros) -> Result<bool, CommitError> {
        let _one_at_a_time = self.replacing.lock();
        let (config, snapshot) = (self.config(), self.durable.pin());
        let told = strandline_deql::parse_file("manifest", snapshot.config_text()).ok();
        let Some(told) = told.and_then(|file| file.stores.into_iter().next()) else { return Ok(false) };
        if strandline_deql::changed_keys(&told.config, &config).is_empty() {
            return Ok(false);
        }
        // the folder of whichever node made the store stays in it
        let (config, _) = strandline_deql::on_this_node(&told.config, StoreConfig::clone(&config));
        self.durable.update(&Update::Config(strandline_deql::print(&config)), job_id, now).map(|_| true)
    }

    /// From here on everybody who begins something begins with this.
    fn follow(&self, prepared: Prepared) {
        let Prepared { config, rules, layout, .. } = prepared;
        let setting = Setting::new(config, rules, self.setting().hot.as_ref());
        if let Some(hot) = &setting.hot {
            hot.set_options(hot_options(&setting.config.inmemory));
        }
        self.durable.replace_layout(layout);
        self.setting.store(Arc::new(setting));
        // what a reader left between two pages was made under the old one, and so was the judgement of files left alone
        self.cursors.clear();
        self.left_alone.clear();
    }

    /// Tells the owner of a log what a statement says that was replaced since: how it judges, when a new segment begins. Cheap
    /// where nothing was: owners ask before they do something.
    pub fn instruct<R>(&self, driver: &mut LogDriver<R>) {
        let setting = self.setting.load();
        if !driver.log().judges_by(&setting.rules) {
            driver.follow(Arc::clone(&setting.rules), rollover(&setting.config.wal));
        }
    }
}

/// When a log begins a new segment.
pub(super) fn rollover(wal: &Wal) -> strandline_wal::Rollover {
    let by_size = wal.rollover.contains(&Rollover::Size);
    strandline_wal::Rollover {
        size_bytes: by_size.then(|| wal.rollover_mb.saturating_mul(1 << 20)),
        by_time: wal.rollover.contains(&Rollover::Time),
    }
}
