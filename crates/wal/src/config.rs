//! How a log is written, and what its writer takes and gives.

use crate::names::SegmentPattern;
use crate::num::{GroupNo, LeaderId, LogId};
use crate::reader::FrameLoc;
use std::sync::Arc;
use strandline_event::LogIndex;
use strandline_event::limits::GROUP_BYTES_MAX;
use strandline_keys::StoreKeys;

/// When a new segment begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rollover {
    /// Before the old one exceeds this many bytes.
    pub size_bytes: Option<u64>,
    /// When the pattern's finest time field changes.
    pub by_time: bool,
}

/// How a log is written.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// wal.segment_pattern.
    pub pattern: SegmentPattern,
    /// wal.rollover and wal.rollover_mb.
    pub rollover: Rollover,
    /// wal.fsync.
    pub fsync: bool,
    /// wal.checksum: false is `none`.
    pub checksum: bool,
    /// Entries are sealed with keys of these; `None`: they stand as they are.
    pub keys: Option<Arc<StoreKeys>>,
    /// A durable entry is committed (one node alone). With replication a quorum says what is: `LogWriter::set_committed`.
    pub commit_on_sync: bool,
    /// A group closes before it grows larger; an entry is never cut.
    pub group_bytes_max: usize,
    /// Zeros ahead of the write position, at first.
    pub fill_min_bytes: u64,
    /// Zeros ahead of the write position, at most.
    pub fill_max_bytes: u64,
    /// Free bytes of the device below which only what is reserved is used; on a small device a sixteenth of it, if that is
    /// less.
    pub low_water_bytes: u64,
}

impl LogConfig {
    /// The statement's defaults, with this pattern.
    #[must_use]
    pub const fn new(pattern: SegmentPattern) -> Self {
        Self {
            pattern,
            rollover: Rollover { size_bytes: Some(256 << 20), by_time: false },
            fsync: true,
            checksum: true,
            keys: None,
            commit_on_sync: true,
            group_bytes_max: GROUP_BYTES_MAX,
            fill_min_bytes: 1 << 20,
            fill_max_bytes: 64 << 20,
            low_water_bytes: 16 << 20,
        }
    }
}

/// What is pushed.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Leader that makes the entry.
    pub leader: LeaderId,
    /// Version of the payload.
    pub schema: u16,
    /// Events in it (for people; opaque to the log).
    pub count: u32,
    /// The payload, in parts that are written one after the other.
    pub parts: &'a [&'a [u8]],
}

/// Where a pushed frame will stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pushed {
    /// The entry's index.
    pub index: LogIndex,
    /// Its place: readable once it is committed.
    pub loc: FrameLoc,
    /// Its group: committed when `LogWriter::committed` returns this number or a larger one.
    pub group: GroupNo,
}

/// Why an entry is not taken. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PushError {
    /// Larger than a frame may be.
    #[error("an entry of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

/// What became true with a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The group.
    pub group: GroupNo,
    /// Last durable entry of the log; `None` while it has none.
    pub last: Option<LogId>,
}
