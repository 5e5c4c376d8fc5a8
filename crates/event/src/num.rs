//! Newtypes for every number that is not a count.

use std::fmt;

/// Place of an entry (one append frame) in one log, from 1. 0 means "before the first".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// Before the first entry: the watermark of an empty log.
    pub const ZERO: Self = Self(0);
    /// The first entry of a log.
    pub const FIRST: Self = Self(1);

    /// The entry after this one; the last one that there can be stays.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The entry before this one; `ZERO` stays `ZERO`.
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// Place of an event in its stream, from 1. 0 is the head of a stream that has no event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// Head of an empty stream.
    pub const ZERO: Self = Self(0);
    /// Seq of a stream's first event.
    pub const FIRST: Self = Self(1);

    /// The seq after this one; the last one that there can be stays.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A moment: microseconds since 1970-01-01T00:00:00Z, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Micros(pub i64);

impl Micros {
    /// The earliest moment: before everything.
    pub const MIN: Self = Self(i64::MIN);

    /// The moment `us` microseconds later, saturating.
    #[must_use]
    pub const fn plus_us(self, us: i64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// The moment `seconds` earlier, saturating.
    #[must_use]
    pub const fn minus_seconds(self, seconds: u64) -> Self {
        let us = if seconds > i64::MAX as u64 / 1_000_000 { i64::MAX } else { seconds as i64 * 1_000_000 };
        Self(self.0.saturating_sub(us))
    }

    /// Milliseconds since 1970, rounded down; negative moments give 0 (UUIDv7 has no earlier time).
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        if self.0 < 0 { 0 } else { (self.0 / 1000) as u64 }
    }
}

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::time::to_rfc3339(*self))
    }
}
