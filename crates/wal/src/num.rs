//! Newtypes of the log tier: segment and group numbers, who led when.

use std::fmt;
use strandline_event::LogIndex;

/// The largest index, number of a group, of a segment, of an entry, and term. Whoever counts from one that was read may add to it.
pub(crate) const NUMBER_MAX: u64 = i64::MAX as u64;

/// Number of a segment in its folder, from 1, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SegmentNo(pub u64);

impl SegmentNo {
    /// The first segment of a log.
    pub const FIRST: Self = Self(1);

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for SegmentNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a group (one write and one sync) in its log, from 1, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct GroupNo(pub u64);

impl GroupNo {
    /// The first group of a log.
    pub const FIRST: Self = Self(1);

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for GroupNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who led: the term and the node that won it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LeaderId {
    /// Term, from 1.
    pub term: u64,
    /// Node id.
    pub node: u64,
}

/// An entry's full name: its index and the leader that made it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogId {
    /// The leader that made the entry.
    pub leader: LeaderId,
    /// The entry's index.
    pub index: LogIndex,
}

/// A node's vote.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Vote {
    /// Who it is for, in which term.
    pub leader: LeaderId,
    /// Whether a quorum granted it.
    pub committed: bool,
}
