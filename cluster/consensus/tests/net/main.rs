//! Links between nodes: frames as bytes, and real connections on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admission;
mod broken;
mod frames;
mod hostile;
mod node;
mod requests;
mod slow;
mod tls;
