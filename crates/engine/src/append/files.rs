//! Where a store without a log gathers what it has accepted: what waits together becomes one Parquet commit.
//!
//! ```text
//!  push ─> pending ─> take_group ─> (sort, write, commit) ─> committed, or failed: everything accepted is given back
//! ```
//!
//! One group is in flight; while it is committed, the next one gathers. Invariants: indices rise, and none is given
//! twice, not even one whose group failed; a group begins at the watermark of its log, so the manifest refuses it after
//! any commit that this writer does not know of.

use crate::append::settled::Settled;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use strandline_event::invariant::broken;
use strandline_event::{LogIndex, LogKey, StampedBatch};

/// Bytes at which a group is closed; an append is never cut.
const GROUP_BYTES_MAX: usize = 32 << 20;

/// Batches of one log on their way into files.
#[derive(Clone, Debug)]
pub struct FilesGroup {
    /// The log.
    pub log: LogKey,
    /// Its watermark, where the group begins.
    pub from_exclusive: LogIndex,
    /// The batches, in order; never none.
    pub batches: Vec<(LogIndex, StampedBatch)>,
}

impl FilesGroup {
    /// The last index of the group.
    #[must_use]
    pub fn through(&self) -> LogIndex {
        self.batches.last().map_or(self.from_exclusive, |(index, _)| *index)
    }
}

/// A group that is in a manifest.
#[derive(Clone)]
pub struct FilesCommitted {
    /// The log's watermark now.
    pub through: LogIndex,
    /// What that manifest knows of heads, commands and chunks.
    pub settled: Arc<dyn Settled>,
}

/// Why a group is not in a manifest, or may not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FilesFailed {
    /// Nothing happened. The next group may go better.
    Nothing {
        /// Whether it was for want of room.
        disk_full: bool,
        /// Why.
        reason: Arc<str>,
    },
    /// Another node owns the store: no commit succeeds here any more.
    Fenced(Arc<str>),
    /// Nobody knows before the store is opened again.
    Unknown(Arc<str>),
}

impl fmt::Display for FilesFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { disk_full: true, reason } => write!(
                f,
                "no room on the disk ({reason}): nothing of it was stored; make room, then send it again; reads go on"
            ),
            Self::Nothing { reason, .. } => {
                write!(f, "the commit failed ({reason}): nothing of it was stored; send it again")
            }
            Self::Fenced(reason) => write!(f, "another node owns the store now ({reason}); stop one of the two"),
            Self::Unknown(reason) => write!(
                f,
                "the outcome of a commit is unknown ({reason}): start the node again, which finds out; a retry with the \
                 same command id is safe then, where the store keeps command ids (id.command_id.unique_scope); elsewhere read before you send it again"
            ),
        }
    }
}

/// Gathers the accepted batches of one log.
#[derive(Debug)]
pub struct FilesWriter {
    log: LogKey,
    durable: LogIndex,
    last_pushed: LogIndex,
    pending: VecDeque<(LogIndex, StampedBatch)>,
    in_flight: bool,
}

impl FilesWriter {
    /// Of a log whose watermark is `durable`; `last` is the highest index that it ever gave.
    #[must_use]
    pub fn new(log: LogKey, durable: LogIndex, last: LogIndex) -> Self {
        let last_pushed = last.max(durable);
        Self { log, durable, last_pushed, pending: VecDeque::new(), in_flight: false }
    }

    pub(crate) const fn last_pushed(&self) -> LogIndex {
        self.last_pushed
    }

    pub(crate) const fn durable(&self) -> LogIndex {
        self.durable
    }

    pub(crate) const fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(crate) fn push(&mut self, batch: StampedBatch) -> LogIndex {
        self.last_pushed = self.last_pushed.next();
        self.pending.push_back((self.last_pushed, batch));
        self.last_pushed
    }

    pub(crate) fn take_group(&mut self) -> Option<FilesGroup> {
        if self.in_flight || self.pending.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let fits = |(_, batch): &&(LogIndex, StampedBatch)| {
            bytes += batch.size_bytes();
            bytes <= GROUP_BYTES_MAX
        };
        let take = self.pending.iter().take_while(fits).count().max(1);
        let batches = self.pending.drain(..take).collect();
        self.in_flight = true;
        Some(FilesGroup { log: self.log.clone(), from_exclusive: self.durable, batches })
    }

    pub(crate) fn committed(&mut self, through: LogIndex) {
        if !std::mem::replace(&mut self.in_flight, false) || through <= self.durable || through > self.last_pushed {
            broken("a group was committed that was not in flight");
        }
        self.durable = through;
    }

    /// The group in flight failed; what gathered behind it was judged by it and goes too.
    pub(crate) fn failed(&mut self) {
        self.in_flight = false;
        self.pending.clear();
    }
}
