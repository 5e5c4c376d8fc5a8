//! The meta group's state machine: its rules one by one, random histories, its bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bytes;
mod cluster;
mod following;
mod histories;
mod joining;
mod moving;
mod stores;
