//! The wall clock: the only place of the program that reads it. Everything below gets time as an argument.

use std::time::{SystemTime, UNIX_EPOCH};
use strandline_event::Micros;

/// Now, in microseconds since 1970, UTC. May step back when the system's clock is set: the engine's
/// clocks never do.
#[must_use]
#[allow(clippy::disallowed_methods)]
pub fn now() -> Micros {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
        Err(before) => Micros(i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us)),
    }
}
