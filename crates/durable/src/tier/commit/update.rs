//! Commits that move no file: a clean stop, a lost log that is given up, another statement, a stream type that is split.

use super::{Change, CommitError};
use crate::manifest::{LogState, Manifest};
use crate::tier::{DurableTier, Snapshot};
use std::sync::Arc;
use strandline_event::{LogIndex, LogKey, Micros};

/// A commit without files.
#[derive(Clone, Debug)]
pub enum Update {
    /// Every log ends here: nothing behind these indices was acknowledged.
    CleanStop(Vec<(LogKey, LogIndex)>),
    /// A lost log goes on behind this index; what stood up to there and is not in files is given up.
    AcceptLostLog {
        /// The log.
        log: LogKey,
        /// Its positions up to and with this one are skipped.
        through: LogIndex,
    },
    /// The store's statement was replaced.
    Config(String),
    /// A stream type has several buckets, from before its first event on; where a version has said a number already, that one stays.
    Buckets {
        /// The type; it has no log yet.
        stream_type: String,
        /// How many, for ever.
        buckets: u32,
    },
}

impl DurableTier {
    /// Commits something that is no job.
    pub fn update(&self, update: &Update, job_id: u128, at: Micros) -> Result<Arc<Snapshot>, CommitError> {
        Ok(self.change(update, job_id, at)?.snapshot())
    }
}

impl Change for Update {
    fn apply(&self, _: &DurableTier, _: &Snapshot, next: &mut Manifest) -> Result<(), CommitError> {
        match self {
            Self::CleanStop(logs) => {
                for (log, through) in logs {
                    let state: &mut LogState = next.logs.entry(log.clone()).or_default();
                    state.known_through = state.known_through.max(*through);
                }
                next.logs_open = false;
            }
            Self::AcceptLostLog { log, through } => {
                let state = next.logs.entry(log.clone()).or_default();
                state.compacted_through = state.compacted_through.max(*through);
                state.known_through = state.known_through.max(*through);
            }
            Self::Config(text) => text.clone_into(&mut next.config_text),
            Self::Buckets { stream_type, buckets } => {
                next.buckets.entry(stream_type.clone()).or_insert(*buckets);
            }
        }
        Ok(())
    }
}
