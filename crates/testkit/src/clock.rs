//! A clock that moves when a test says so.

use std::sync::atomic::{AtomicI64, Ordering};
use strandline_event::Micros;

/// Shared by reference; starts where it is told.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Begins at a moment.
    #[must_use]
    pub const fn new(start: Micros) -> Self {
        Self(AtomicI64::new(start.0))
    }

    /// The moment.
    pub fn now(&self) -> Micros {
        Micros(self.0.load(Ordering::SeqCst))
    }

    /// Moves on (or back, with a negative number) and gives the new moment.
    pub fn advance_us(&self, us: i64) -> Micros {
        Micros(self.0.fetch_add(us, Ordering::SeqCst) + us)
    }
}

impl Default for ManualClock {
    /// 2026-11-23T10:00:00Z.
    fn default() -> Self {
        Self::new(Micros(1_795_428_000_000_000))
    }
}
