//! Replicated logs: openraft over the segments of the log tier. `README.md` says how the parts play together.
//!
//! The only crate with openraft. It refuses to know HTTP, actors and files (those are the log tier's); time is an argument below it.

pub mod consensus;
mod fields;
pub mod join;
pub mod machine;
pub mod meta;
pub mod net;
pub mod transport;
pub mod types;

pub use consensus::{Abandoned, Consensus, Leadership, OnOutcome, Solo};
pub use fields::FieldError;
pub use machine::{Applied, EntryId, Machine, Pointer};
pub use transport::{BoxFuture, Call, GroupId, Member, NodeId, Rpc, Serve, ServeError, Transport, TransportError};
