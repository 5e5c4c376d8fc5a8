//! HTTP with JSON, and the native protocol, in front of a node: the only crate that knows either of the first two.
//!
//! A request is bounded before it is read, decoded without a tree, handed to the node in one call, and answered
//! from the rows that the tiers hold. No rule of the store lives here.

pub mod access;
mod bound;
mod connections;
mod decode;
mod encode;
mod error;
mod failure;
mod forward;
mod http;
mod native;
pub mod ndjson;
mod outgoing;
mod quiet;
mod routes;
mod security;
mod serve;
mod stall;
mod task;
mod trace;

pub use bound::{Bound, ServeOptions};
pub use security::Security;
pub use serve::{ServeError, Server, Signals};
pub use stall::Patience;
