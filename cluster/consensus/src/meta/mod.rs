//! The state of the meta group: who is in the cluster, what is declared, and where every log's replicas shall be.
//!
//! ```text
//!  who proposes -> Command (checked against the statement first: `check`) -> log of the meta group
//!                                                                                  |
//!  every node:  MetaState::apply(index, command) -> Outcome | Refusal   <----------+
//!                    |
//!                    +-> placements: the leader of a group brings its voters there, then proposes `Settled`
//! ```
//!
//! It is a pure state machine: no clock, no randomness, no file, no network. All replicas that apply the same commands
//! hold equal bytes (`codec`, `META.md`). It refuses to parse statements while it applies them: two versions of the
//! program that read a statement differently would disagree; what a statement must be is asked before (`check`).
//!
//! Invariants (`MetaState::check`): a group has never fewer voters than it had, but by `SetReplication` (the meta group may, by a
//! drain); a voter is no learner; a node that holds a replica that counts is a member or draining, and is not removed; a number of
//! a node is never given twice; a command that was refused has changed nothing, and one that is repeated changes nothing.

mod check;
mod codec;
mod command;
mod founding;
mod holding;
mod moving;
mod nodes;
mod parts;
mod placing;
mod refusal;
mod remembered;
mod snapshot;
mod state;
mod types;

pub use check::{StoreRefused, cluster_statement, refused_type};
pub use codec::CodecError;
pub use command::Command;
pub use holding::{Asked, Lack};
pub(crate) use parts::{put_facts, put_group, take_facts, take_group};
pub use refusal::Refusal;
pub use state::{ClusterFacts, MetaState, Outcome};
pub use types::{
    Addresses, Erasable, Followers, GroupId, NodeEntry, NodeFacts, NodeId, NodeState, Office, Placement, Roles,
    StoreEntry, TypeEntry,
};

/// Limits of the meta group's state: it is replicated whole, and a snapshot of it is one message.
pub mod limits {
    /// Nodes that take part at once.
    pub const NODES_MAX: usize = 64;
    /// Nodes that have been removed and are remembered, so that no number is given twice.
    pub const REMOVED_MAX: usize = 4_096;
    /// Replicas of a log.
    pub const REPLICATION_MAX: u8 = 7;
    /// Stores.
    pub const STORES_MAX: usize = 256;
    /// Bytes of a statement.
    pub const STATEMENT_BYTES_MAX: usize = 64 << 10;
    /// Parts of a stream type.
    pub const BUCKETS_MAX: u32 = strandline_event::limits::BUCKETS_MAX;
    /// Groups of all stores.
    pub const GROUPS_MAX: usize = 50_000;
    /// Bytes of a name or an address.
    pub const TEXT_BYTES_MAX: usize = 256;
    /// Named subscriptions of a store.
    pub const REMEMBERED_MAX: usize = 1_000;
    /// Bytes that are remembered of one.
    pub const REMEMBERED_BYTES_MAX: usize = 256 << 10;
    /// Bytes that are remembered of all of a store.
    pub const REMEMBERED_STORE_BYTES_MAX: usize = 8 << 20;
    /// Bytes that are remembered of all stores.
    pub const REMEMBERED_ALL_BYTES_MAX: usize = 64 << 20;
}
