//! The functional core of Strandline: append rules, heads, command ids, merge of the tiers, compaction, recovery.
//!
//! It knows no actor, no HTTP, no JSON of clients, no wall clock and no randomness: time and random bits are arguments.

pub mod append;
pub mod chunks;
pub mod clock;
pub mod commands;
pub mod compact;
pub mod heads;
pub mod ids;
pub mod read;
pub mod redact;
pub mod retention;
pub mod status;
pub mod store;
pub mod strict;
pub mod subjects;
pub mod subscribe;
mod table;
pub mod tenants;
pub mod verify;
pub(crate) mod view;

/// Mostly holds one thing, and allocates only for more: an append of one event is of one row and one stream.
pub(crate) type Few<T> = smallvec::SmallVec<[T; 1]>;
