//! Replicated logs: openraft over the segments of the log tier. `README.md` says how the parts play together.
//!
//! The only crate with openraft. It refuses to know HTTP, actors and files (those are the log tier's); time is an argument below it.

mod ahead;
pub mod codec;
pub mod consensus;
mod contact;
pub mod control;
mod convert;
mod fields;
pub mod group;
pub mod groups;
mod health;
pub mod join;
pub mod machine;
mod members;
pub mod meta;
pub mod net;
mod network;
pub mod owner;
mod recent;
pub mod runtime;
mod state_machine;
pub mod stop;
pub mod storage;
pub mod transport;
pub mod types;
mod watch;

#[cfg(test)]
mod tests;

pub use consensus::{Abandoned, Consensus, Leadership, OnOutcome, Solo};
pub use fields::FieldError;
pub use group::{Group, GroupError, GroupParts, GroupStatus, ReadIndex};
pub use groups::Groups;
pub use machine::{Applied, EntryId, Machine, Payload, Pointer};
pub use storage::{Clock, Storage};
pub use transport::{BoxFuture, Call, GroupId, Member, NodeId, Rpc, Serve, ServeError, Transport, TransportError};
pub use types::{Outcome, Proposal};
