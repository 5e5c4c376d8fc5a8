//! The runs of a log in one version: each open, or known to be broken.
//!
//! Invariant: a lookup never answers past a run that it could not ask.

use super::{Record, Run, RunKind, RunRef};
use crate::manifest::{ChunkMark, LogState};
use crate::objects::Objects;
use crate::runs::{CommandRecord, HeadRecord, RetiredRange};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use strandline_event::LogKey;

/// A run that a manifest names and that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the {} of `{log}` cannot be read: {reason}", .kind.title())]
pub struct BrokenRun {
    /// The log.
    pub log: LogKey,
    /// What it holds.
    pub kind: RunKind,
    /// Its name relative to the root.
    pub path: String,
    /// Why, with its name.
    pub reason: Arc<str>,
}

/// A run as a version has it.
pub(crate) type Slot = Result<Arc<Run>, BrokenRun>;

/// The runs of a log, oldest first, as in its [`LogState`].
#[derive(Clone, Default)]
pub(crate) struct LogRuns {
    pub(crate) heads: Vec<Slot>,
    pub(crate) commands: Vec<Slot>,
    pub(crate) chunks: Vec<Slot>,
    pub(crate) retired: Vec<Slot>,
}

impl LogRuns {
    /// Opens what `known` has not open already. What was broken before is tried again.
    pub(crate) fn open(
        objects: &dyn Objects,
        log: &LogKey,
        state: &LogState,
        known: &HashMap<&str, &Arc<Run>>,
    ) -> Self {
        Self {
            heads: open_slots::<HeadRecord>(objects, log, &state.heads, known),
            commands: open_slots::<CommandRecord>(objects, log, &state.commands, known),
            chunks: open_slots::<ChunkMark>(objects, log, &state.chunk_runs, known),
            retired: open_slots::<RetiredRange>(objects, log, &state.retired, known),
        }
    }

    /// Every run with its reference.
    pub(crate) fn pairs<'a>(&'a self, state: &'a LogState) -> impl Iterator<Item = (&'a RunRef, &'a Slot)> {
        let heads = state.heads.iter().zip(&self.heads);
        let more = state.chunk_runs.iter().zip(&self.chunks).chain(state.retired.iter().zip(&self.retired));
        heads.chain(state.commands.iter().zip(&self.commands)).chain(more)
    }

    /// The broken ones.
    pub(crate) fn broken(&self) -> impl Iterator<Item = &BrokenRun> {
        let all = self.heads.iter().chain(&self.commands).chain(&self.chunks).chain(&self.retired);
        all.filter_map(|slot| slot.as_ref().err())
    }
}

/// Opens the runs of one kind.
pub(crate) fn open_slots<R: Record>(
    objects: &dyn Objects,
    log: &LogKey,
    runs: &[RunRef],
    known: &HashMap<&str, &Arc<Run>>,
) -> Vec<Slot> {
    let open = |run: &RunRef| match known.get(run.path.as_str()) {
        Some(run) => Ok(Arc::clone(run)),
        None => Run::open(objects, run, R::KIND, R::BYTES).map(Arc::new).map_err(|error| BrokenRun {
            log: log.clone(),
            kind: R::KIND,
            path: run.path.clone(),
            reason: error.to_string().into(),
        }),
    };
    runs.iter().map(open).collect()
}

/// Reads what filters [`find`] of these keys will ask. Each look waits for memory; together, none depending on another, they wait at the same time.
pub(crate) fn look_ahead(slots: &[Slot], keys: impl Iterator<Item = u128>) {
    if slots.is_empty() {
        return;
    }
    for key in keys {
        for run in slots.iter().flatten() {
            black_box(run.filter_byte(key));
        }
    }
}

/// The same, and the records that it will look at first where the filters say that there may be one.
pub(crate) fn look_ahead_at_records(slots: &[Slot], keys: &[u128]) {
    look_ahead(slots, keys.iter().copied());
    for key in keys {
        for run in slots.iter().flatten() {
            black_box(run.record_byte(*key));
        }
    }
}

/// The newest record of a key.
pub(crate) fn find<R: Record>(slots: &[Slot], key: u128) -> Result<Option<R>, BrokenRun> {
    for slot in slots.iter().rev() {
        let run = slot.as_ref().map_err(Clone::clone)?;
        if let Some(record) = run.find(key) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}
