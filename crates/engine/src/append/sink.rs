//! Where accepted batches become durable: a log file, a replicated log, or (a store without a log) Parquet files at once.
//!
//! The one place that knows all. The rules above it do not: to them each is a place that gives indices and takes
//! groups, one in flight.

use crate::append::files::{FilesGroup, FilesWriter};
use crate::append::replicated::{ReplicatedGroup, ReplicatedWriter};
use strandline_event::batch::BATCH_SCHEMA_VERSION;
use strandline_event::invariant::broken;
use strandline_event::{LogIndex, Micros, StampedBatch};
use strandline_wal::{Entry, Group, LogWriter, Room};

/// The writer of a log.
#[derive(Debug)]
pub enum Sink {
    /// A log file.
    Log(Box<LogWriter>),
    /// Parquet files.
    Files(FilesWriter),
    /// The log of a replication group.
    Replicated(ReplicatedWriter),
}

/// What is to be made durable next.
pub enum SinkGroup {
    /// For the log's disk.
    Log(Group),
    /// For a commit of files.
    Files(FilesGroup),
    /// For the log's replication group.
    Replicated(ReplicatedGroup),
}

impl From<LogWriter> for Sink {
    fn from(writer: LogWriter) -> Self {
        Self::Log(Box::new(writer))
    }
}

impl From<FilesWriter> for Sink {
    fn from(writer: FilesWriter) -> Self {
        Self::Files(writer)
    }
}

impl From<ReplicatedWriter> for Sink {
    fn from(writer: ReplicatedWriter) -> Self {
        Self::Replicated(writer)
    }
}

impl Sink {
    /// Whether it is a log file.
    #[must_use]
    pub const fn is_log(&self) -> bool {
        matches!(self, Self::Log(_) | Self::Replicated(_))
    }

    /// The last index that was given.
    #[must_use]
    pub fn last_pushed(&self) -> LogIndex {
        match self {
            Self::Log(log) => log.last_pushed(),
            Self::Files(files) => files.last_pushed(),
            Self::Replicated(replicated) => replicated.last_pushed(),
        }
    }

    pub(crate) fn durable(&self) -> LogIndex {
        match self {
            Self::Log(log) => log.durable().map_or(LogIndex::ZERO, |id| id.index),
            Self::Files(files) => files.durable(),
            Self::Replicated(replicated) => replicated.applied(),
        }
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        match self {
            Self::Log(log) => log.is_in_flight(),
            Self::Files(files) => files.is_in_flight(),
            Self::Replicated(replicated) => replicated.is_in_flight(),
        }
    }

    pub(crate) fn has_pending(&self) -> bool {
        match self {
            Self::Log(log) => log.has_pending(),
            Self::Files(files) => files.has_pending(),
            Self::Replicated(replicated) => replicated.has_pending(),
        }
    }

    /// Whether a batch of this size may be accepted. Of files nobody knows before they are written.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        match self {
            Self::Log(log) => log.room(bytes) != Room::Full,
            Self::Files(_) => true,
            Self::Replicated(replicated) => replicated.replica().has_room(bytes),
        }
    }

    /// Takes a batch that was accepted under the next index; it cannot fail any more.
    pub(crate) fn push(&mut self, batch: &StampedBatch, index: LogIndex, now: Micros) {
        let given = match self {
            Self::Log(log) => push_frame(log, batch, now),
            Self::Files(files) => files.push(batch.clone()),
            Self::Replicated(replicated) => replicated.push(batch.clone(), now),
        };
        if given != index {
            broken("a log gave an entry another index than was planned");
        }
    }

    pub(crate) fn take_group(&mut self) -> Option<SinkGroup> {
        match self {
            Self::Log(log) => log.take_group().map(SinkGroup::Log),
            Self::Files(files) => files.take_group().map(SinkGroup::Files),
            Self::Replicated(replicated) => replicated.take_group().map(SinkGroup::Replicated),
        }
    }
}

fn push_frame(log: &mut LogWriter, batch: &StampedBatch, now: Micros) -> LogIndex {
    let entry = Entry {
        leader: log.state().vote.leader,
        schema: BATCH_SCHEMA_VERSION,
        count: batch.rows() as u32,
        parts: &batch.payload_parts(),
    };
    match log.push(entry, now) {
        Ok(pushed) => pushed.index,
        Err(_) => broken("the log file refused an entry that was accepted"),
    }
}
