//! The Delta log: what every commit changed, for engines that read `_delta_log` (Spark, DuckDB, Polars, delta-rs).
//!
//! A copy of the manifest's list of files, never the truth: nothing is read back from it but where it stands. It is written after a
//! commit is true, and no error of it is an error of the commit: what could not be written is caught up with at the next commit or at
//! the next open, several manifest versions in one Delta version.
//!
//! Invariants:
//! - A Delta version shows the files of exactly one manifest version, which its `txn` action names; later ones name later ones, but
//!   for one with which the log is made anew, which may name that of the one before it.
//!   Each is created if absent on top of the one it was made from, so an owner that was replaced cannot write: the version
//!   that it would create is there, and names a manifest version that is not below its own.
//! - A file that any Delta version names stays readable under that name until the bytes are swept.
//!
//! Names and fields: `FORMAT.md`.

mod actions;
mod check;
mod check_files;
mod checkpoint;
mod links;
pub(crate) mod names;
mod parquet_read;
mod parquet_write;
mod replay;
mod state;
mod stats;
mod table;

pub use check::{DeltaReport, check_delta_log, verify_delta_log};
pub(crate) use links::fault as link_fault;
pub(crate) use replay::newest_shown;

use crate::entry::FileEntry;
use crate::objects::{ObjectError, SharedObjects};
use crate::tier::Snapshot;
use parking_lot::Mutex;
use replay::ReplayError;
use state::State;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use strandline_event::FieldNames;
use table::Table;

/// How often somebody else may be faster at the next version before the rest is left to the next commit.
const TRIES: u32 = 8;

/// The writer of a store's Delta log.
pub(crate) struct DeltaLog {
    objects: SharedObjects,
    table: Table,
    /// `None`: the log must be read again.
    state: Mutex<Option<State>>,
    /// There may be a snapshot that nobody has looked at.
    pending: AtomicBool,
    shown: AtomicU64,
    versions: AtomicU64,
    failures: AtomicU64,
}

/// How the Delta log fares.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeltaNumbers {
    /// The newest manifest version that the log is known to show.
    pub manifest_version: u64,
    /// Delta versions written since the open.
    pub versions: u64,
    /// Attempts since the open that failed; what they missed came with a later one.
    pub failures: u64,
}

/// What the log follows.
pub(crate) trait Followed {
    /// The current snapshot.
    fn current(&self) -> Arc<Snapshot>;
    /// Whether nobody else has committed since.
    fn is_newest(&self) -> Result<bool, ObjectError>;
}

impl DeltaLog {
    /// The log of a store; reads and writes nothing yet.
    pub(crate) fn new(objects: SharedObjects, snapshot: &Snapshot, columns: FieldNames) -> Self {
        let table = Table {
            store_id: snapshot.store_id(),
            store_name: snapshot.store_name().to_owned(),
            columns,
            linked: objects.stages(),
        };
        Self {
            objects,
            table,
            state: Mutex::new(None),
            pending: AtomicBool::new(false),
            shown: AtomicU64::new(0),
            versions: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// How it fares.
    pub(crate) fn numbers(&self) -> DeltaNumbers {
        DeltaNumbers {
            manifest_version: self.shown.load(Ordering::Relaxed),
            versions: self.versions.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }

    /// Shows the current snapshot. Waits for nobody: a thread that is at it takes this one's snapshot too.
    pub(crate) fn follow(&self, followed: &dyn Followed) {
        self.pending.store(true, Ordering::SeqCst);
        while self.pending.load(Ordering::SeqCst) {
            let Some(mut state) = self.state.try_lock() else { return };
            while self.pending.swap(false, Ordering::SeqCst) {
                if let Err(error) = self.show(&mut state, followed) {
                    *state = None;
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(store = self.table.store_name, %error, "the Delta log lags behind until the next commit");
                }
            }
        }
    }

    fn show(&self, slot: &mut Option<State>, followed: &dyn Followed) -> Result<(), ObjectError> {
        if let Some(newest) = slot.as_ref().and_then(|state| state.version)
            && self.is_worth_a_look(slot.as_ref(), followed)
            && !self.objects.exists(&names::commit(newest))?
        {
            tracing::warn!(store = self.table.store_name, newest, "the newest version of the Delta log is gone");
            *slot = None;
        }
        for _ in 0..TRIES {
            let snapshot = followed.current();
            let state = match slot.as_mut() {
                Some(state) => state,
                None => slot.insert(self.load(&snapshot, followed)?),
            };
            if state.version.is_some() && state.manifest_version >= snapshot.version() {
                return Ok(());
            }
            let difference = state.difference(&self.table, &snapshot);
            if difference.is_empty() && state.version.is_some() {
                state.keep(&snapshot);
                self.shown.store(snapshot.version(), Ordering::Relaxed);
                return Ok(());
            }
            self.link(&difference.add)?;
            let lines = state.lines(&self.table, &snapshot, &difference);
            match self.put(state.next(), lines) {
                Ok(()) => {
                    state.advance(&self.table, &snapshot, difference);
                    self.wrote(&snapshot);
                    return self.tidy(state, &snapshot);
                }
                // another owner, or ours after an answer that was lost
                Err(ObjectError::AlreadyExists { .. }) => *slot = None,
                Err(error) => return Err(error),
            }
        }
        Err(ObjectError::from_io(names::FOLDER, io::Error::other("others write to it again and again")))
    }

    /// Whether to ask if somebody took the log away, so that nothing is written on top of nothing: always where that is for
    /// nothing, else where there is nothing to write.
    fn is_worth_a_look(&self, state: Option<&State>, followed: &dyn Followed) -> bool {
        self.table.linked || state.is_some_and(|state| state.manifest_version >= followed.current().version())
    }

    fn put(&self, version: u64, lines: Vec<actions::Line>) -> Result<(), ObjectError> {
        let path = names::commit(version);
        let bytes = actions::to_bytes(lines.into_iter()).map_err(|e| ObjectError::from_io(&path, e.into()))?;
        self.objects.put_new(&path, &bytes)
    }

    fn wrote(&self, snapshot: &Snapshot) {
        self.versions.fetch_add(1, Ordering::Relaxed);
        self.shown.store(snapshot.version(), Ordering::Relaxed);
    }

    /// Checkpoints are a help for readers: one that fails is tried again with the next version.
    fn tidy(&self, state: &mut State, snapshot: &Snapshot) -> Result<(), ObjectError> {
        if !checkpoint::is_due(state, &self.table) {
            return Ok(());
        }
        checkpoint::write(&*self.objects, &self.table, state)?;
        checkpoint::clean(&*self.objects, state.next(), snapshot.committed_at())
    }

    /// Where the log stands. One that cannot be read, or is not ours, is made anew.
    fn load(&self, snapshot: &Snapshot, followed: &dyn Followed) -> Result<State, ObjectError> {
        let (newest, why) = match replay::replay(&*self.objects) {
            Err(ReplayError::None) => return Ok(State::none(&self.table, snapshot)),
            Err(ReplayError::Objects(error)) => return Err(error),
            Err(ReplayError::Unfit { newest, what }) => (newest, what),
            Ok(replayed) => {
                let newest = replayed.version;
                let cut_short = replayed.checkpoint.filter(|version| replayed.first < *version);
                match State::of(&self.table, replayed, snapshot) {
                    Some(state) if state.manifest_version > snapshot.version() && followed.is_newest()? => {
                        (newest, format!("it shows manifest version {}, which does not exist", state.manifest_version))
                    }
                    Some(state) => {
                        if let Some(version) = cut_short {
                            self.end_rebuild(version);
                        }
                        self.shown.store(state.manifest_version, Ordering::Relaxed);
                        return Ok(state);
                    }
                    None => (newest, "it is not the log of this store".to_owned()),
                }
            }
        };
        if !followed.is_newest()? {
            let source = io::Error::other(format!("{why}; only the store's newest owner makes it anew"));
            return Err(ObjectError::from_io(names::FOLDER, source));
        }
        tracing::warn!(store = self.table.store_name, "the Delta log is made anew from the manifest: {why}");
        self.rebuild(snapshot, newest)
    }

    /// All of the manifest as one version behind the newest, with a checkpoint, so that no reader looks at what stood before.
    fn rebuild(&self, snapshot: &Snapshot, newest: u64) -> Result<State, ObjectError> {
        let mut state = State::none(&self.table, snapshot);
        let difference = state.difference(&self.table, snapshot);
        self.link(&difference.add)?;
        let lines = state.lines(&self.table, snapshot, &difference);
        self.put(newest + 1, lines)?;
        state.version = Some(newest);
        state.advance(&self.table, snapshot, difference);
        checkpoint::write(&*self.objects, &self.table, &mut state)?;
        checkpoint::clean_before(&*self.objects, newest + 1)?;
        self.wrote(snapshot);
        Ok(state)
    }

    /// Where the log was made anew with the version of the checkpoint, what stood before it goes, if that was cut short: it may be
    /// damaged, and nobody needs it.
    fn end_rebuild(&self, version: u64) {
        let objects = &*self.objects;
        let ended = objects.get(&names::commit(version)).and_then(|bytes| {
            let begins = actions::from_bytes(&bytes).filter_map(Result::ok).any(|line| line.meta_data.is_some());
            if begins { checkpoint::clean_before(objects, version) } else { Ok(()) }
        });
        match ended {
            // versions that a checkpoint holds may go
            Ok(()) | Err(ObjectError::NotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(store = self.table.store_name, %error, "what stood before the Delta log was made anew stays");
            }
        }
    }

    /// Gives local files the name under which the log knows them. It needs no sync of its own: what a power cut undoes is
    /// linked again at the next open.
    fn link(&self, files: &[Arc<FileEntry>]) -> Result<(), ObjectError> {
        for file in files.iter().filter(|_| self.table.linked) {
            links::make(&*self.objects, &file.path)?;
        }
        Ok(())
    }

    /// Links what the log names and a power cut has undone, or what is another file. `there`: all names below the root.
    pub(crate) fn heal(&self, snapshot: &Snapshot, there: &HashSet<String>) -> Result<(), ObjectError> {
        let live = snapshot.files().iter().map(|file| &**file);
        let buried = snapshot.manifest().tombstones.iter().map(|tombstone| &tombstone.entry);
        for file in live.chain(buried).filter(|_| self.table.linked) {
            let linked = if there.contains(&self.table.name(file)) {
                links::renew(&*self.objects, file)
            } else {
                links::make(&*self.objects, &file.path)
            };
            match linked {
                // the file is not there at all: opening says so
                Ok(()) | Err(ObjectError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A checkpoint, whether it is due or not.
    #[cfg(test)]
    pub(crate) fn checkpoint_now(&self) {
        let mut state = self.state.lock();
        checkpoint::write(&*self.objects, &self.table, state.as_mut().unwrap()).unwrap();
    }
}

#[cfg(test)]
mod tests;
