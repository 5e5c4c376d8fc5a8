//! Subscriptions: following the global order from any position, history first, then live.
//!
//! ```text
//!  a reader's place          where its next rows are
//!  before the ring    ->     read_global: history, by its own filter
//!  in the ring        ->     a live page, read once for everybody
//!  at its end         ->     nowhere yet: it waits until the ring grows
//! ```
//!
//! Invariant: a reader holds a place and never a queue. Rows behind a place are all rows that there will ever be between it and
//! the next place, wherever they are read from, so the seam between history and live has no gap and no double.
//!
//! [`durable`] is the state of a named subscription: who has which event, what is acknowledged, what is parked. Pure: the time
//! is an argument, and what must survive a crash comes out as [`record`]s (SUBSCRIPTIONS.md says their bytes).

mod cursor;
pub mod durable;
pub mod record;
mod ring;

pub use cursor::Cursor;
pub use ring::{Found, Ring, RingLimits};

use strandline_event::EventRef;
use strandline_event::hash::keyed_hash;

/// What tells streams apart in one store.
#[must_use]
pub fn stream_key(event: &EventRef<'_>) -> u128 {
    keyed_hash(0, 0, &[event.stream_type.as_bytes(), event.stream_id.as_bytes()])
}
