//! The frames: fixtures of every version, round trips, and bytes that nobody should send.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod golden;
mod hostile;
mod round_trips;
mod samples;
