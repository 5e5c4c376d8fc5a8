//! Retention as the node runs it: every hour and by hand, one run a store at a time, in a thread that may block.
//!
//! ```text
//!  desk.turn ── engine::retention::run | restore ── commits ── book (the last 100 runs) and metrics
//! ```
//!
//! A node that stops cancels what runs before its next commit and waits for its end.

use crate::clock;
use crate::compaction::supervisor::SupervisedStore;
use crate::error::NodeError;
use crate::fatal::EndOnPanic;
use crate::metrics::Metrics;
use crate::store::StoreParts;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strandline_durable::{CommitError, RetireError};
use strandline_engine::retention::{self, Moved};
use strandline_engine::store::Store;
use strandline_event::Micros;

/// Runs that the book remembers.
const REMEMBERED: usize = 100;

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Take out what is due.
    Retain {
        /// A person asked, not the hour.
        by_hand: bool,
    },
    /// Bring files back: those whose partition has these values, or all.
    Restore(Vec<(String, Option<String>)>),
}

/// A run that ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetentionRun {
    /// Its id, 32 hex digits in texts.
    pub id: u128,
    /// What was asked for.
    pub wish: Wish,
    /// When it was its turn.
    pub started_at: Micros,
    /// When it ended.
    pub ended_at: Micros,
    /// What went, or came back; what was committed before an error is in it.
    pub moved: Moved,
    /// Why it failed.
    pub error: Option<String>,
}

/// Turn and book of one store.
#[derive(Debug, Default)]
pub(crate) struct RetentionDesk {
    turn: Mutex<()>,
    stopping: AtomicBool,
    ended: Mutex<VecDeque<RetentionRun>>,
}

impl RetentionDesk {
    /// Starts nothing any more, and asks what runs to end before its next commit.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Waits until nothing runs.
    pub(crate) fn wait(&self) {
        drop(self.turn.lock());
    }

    /// The last runs, newest first.
    pub(crate) fn ended(&self) -> Vec<RetentionRun> {
        self.ended.lock().iter().cloned().collect()
    }

    fn remember(&self, run: RetentionRun) {
        let by_the_hour = run.wish == Wish::Retain { by_hand: false };
        if by_the_hour && run.error.is_none() && run.moved == Moved::default() {
            return;
        }
        let mut ended = self.ended.lock();
        ended.push_front(run);
        ended.truncate(REMEMBERED);
    }
}

/// What a run works with.
pub(crate) struct RetentionWork {
    store: Arc<Store>,
    desk: Arc<RetentionDesk>,
    fenced: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

impl RetentionWork {
    pub(crate) fn new(supervised: &SupervisedStore, metrics: &Arc<Metrics>) -> Self {
        let SupervisedStore { store, retention, fenced, .. } = supervised;
        let (store, desk, fenced) = (Arc::clone(store), Arc::clone(retention), Arc::clone(fenced));
        Self { store, desk, fenced, metrics: Arc::clone(metrics) }
    }

    pub(crate) fn of(parts: &StoreParts, metrics: &Arc<Metrics>) -> Self {
        let StoreParts { store, retention, fenced, .. } = parts;
        let (store, desk, fenced) = (Arc::clone(store), Arc::clone(retention), Arc::clone(fenced));
        Self { store, desk, fenced, metrics: Arc::clone(metrics) }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Does it when it is its turn. Blocks.
    pub(crate) fn run(&self, wish: &Wish) -> Result<RetentionRun, NodeError> {
        let _end = EndOnPanic("a run of retention panicked");
        let _turn = self.desk.turn.lock();
        if self.desk.stopping.load(Ordering::SeqCst) {
            return Err(NodeError::Draining);
        }
        if self.fenced.load(Ordering::SeqCst) {
            return Err(NodeError::Fenced { store: self.store.name().to_owned() });
        }
        let (id, started_at) = (crate::random::bits(), clock::now());
        let mut moved = Moved::default();
        let done = self.work(wish, id, started_at, &mut moved);
        self.count(wish, &moved, done.is_ok());
        let error = done.as_ref().err().map(ToString::to_string);
        let run = RetentionRun { id, wish: wish.clone(), started_at, ended_at: clock::now(), moved, error };
        self.desk.remember(run.clone());
        match done {
            Ok(()) => Ok(run),
            Err(RetireError::Cancelled) => Err(NodeError::Draining),
            Err(error) => {
                tracing::error!(store = self.store.name(), "retention failed: {error}");
                if matches!(error, RetireError::Commit(CommitError::StaleEpoch { .. })) {
                    self.fenced.store(true, Ordering::SeqCst);
                }
                Err(error.into())
            }
        }
    }

    fn work(&self, wish: &Wish, id: u128, now: Micros, moved: &mut Moved) -> Result<(), RetireError> {
        let stopping = || self.desk.stopping.load(Ordering::SeqCst);
        let go_on = || if stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        match wish {
            Wish::Retain { .. } => retention::run(&self.store, id, now, &go_on, moved),
            Wish::Restore(partition) => {
                *moved = retention::restore(&self.store, partition, id, now, &go_on)?;
                Ok(())
            }
        }
    }

    fn count(&self, wish: &Wish, moved: &Moved, well: bool) {
        let metrics = &self.metrics;
        if well { &metrics.retention_runs } else { &metrics.retention_failed }.add(1);
        if matches!(wish, Wish::Restore(_)) {
            metrics.restored_files.add(moved.files);
        } else {
            metrics.retention_files.add(moved.files);
            metrics.retention_events.add(moved.events);
            metrics.retention_bytes.add(moved.bytes);
        }
    }
}
