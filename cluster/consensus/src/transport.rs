//! How a group's requests reach its other members: bytes there, bytes back. `net` does it over TCP, tests in one process.
//!
//! ```text
//!  Group (leader) ── Call { group, rpc, body } ──> Transport ──> wire ──> Serve::serve ──> Group (follower)
//!                 <──────────── body of the answer, or why there is none ──────────────────
//! ```
//!
//! It refuses to know what a body says; `codec` does. A call may be lost, repeated or answered late: the protocol above
//! stands that. What it must not do is to change bytes, or to mix up groups, members or answers: an answer belongs to one call.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use strandline_event::{LogKey, SharedBytes};

/// A future that somebody else polls.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Id of a node, for ever.
pub type NodeId = u64;

/// A replication group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GroupId {
    /// The one that knows stores, nodes and placement.
    Meta,
    /// A log of a store.
    Log {
        /// Name of the store.
        store: Arc<str>,
        /// The log.
        log: LogKey,
    },
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta => f.write_str("meta"),
            Self::Log { store, log } => write!(f, "{store}/{log}"),
        }
    }
}

/// What is asked of another member. The numbers stand on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Rpc {
    /// Entries, or a heartbeat.
    Append = 1,
    /// A vote.
    Vote = 2,
    /// A snapshot: a pointer, never history.
    Snapshot = 3,
}

impl Rpc {
    /// The one with this number on the wire.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Append,
            2 => Self::Vote,
            3 => Self::Snapshot,
            _ => return None,
        })
    }
}

/// A request of a group to one of its members.
#[derive(Clone, Debug)]
pub struct Call {
    /// The group.
    pub group: GroupId,
    /// What is asked.
    pub rpc: Rpc,
    /// Its body. Who receives it has it at an address that is a multiple of 16: payloads in it are used in place.
    pub body: SharedBytes,
}

/// A member of a group and where it listens.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Member {
    /// Where its cluster listener is, `host:port`; empty where that is not known yet (the log of a node alone).
    pub address: String,
}

/// Why there is no answer. In every case but `Refused` and `TooLarge` the request may have been carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection, or it broke.
    #[error("node {node} at {address} cannot be reached: {why}")]
    Unreachable {
        /// The node.
        node: NodeId,
        /// Where it was looked for.
        address: String,
        /// What the system says.
        why: String,
    },
    /// No answer in time.
    #[error("node {node} gave no answer within {waited_ms} ms")]
    TimedOut {
        /// The node.
        node: NodeId,
        /// The deadline.
        waited_ms: u64,
    },
    /// The other node answered that it does not do this: it has no such group, or its log is damaged.
    #[error("node {node} refused: {why}")]
    Refused {
        /// The node.
        node: NodeId,
        /// What it says.
        why: String,
    },
    /// The body is over what a frame may hold; send less.
    #[error("a request of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

/// Takes calls to other nodes.
pub trait Transport: Send + Sync + 'static {
    /// Asks `node`, which listens at `member.address`. Gives up after `deadline`: a caller that drops the future before is not
    /// interested any more, and the call may be forgotten.
    fn call<'a>(
        &'a self,
        node: NodeId,
        member: &'a Member,
        call: Call,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<SharedBytes, TransportError>>;
}

/// Why a call is not carried out here.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ServeError {
    /// This node has no part in the group (yet).
    #[error("this node is no member of group {0}; ask again when it was placed here")]
    NoGroup(GroupId),
    /// The body is not one.
    #[error("the request cannot be read: {0}; both nodes must run versions that know each other")]
    Unreadable(&'static str),
    /// It asks in the name of another node.
    #[error("node {from} asks in the name of node {of}: a node speaks for itself alone")]
    Impersonates {
        /// Who asks.
        from: NodeId,
        /// Whose name stands in it.
        of: NodeId,
    },
    /// The group has stopped here, or its log is damaged.
    #[error("group {group} does not run on this node: {why}")]
    Stopped {
        /// The group.
        group: GroupId,
        /// Why.
        why: String,
    },
}

/// Carries out calls of other nodes: the table of the groups of this node implements it.
pub trait Serve: Send + Sync + 'static {
    /// Answers a call of node `from`.
    fn serve(&self, from: NodeId, call: Call) -> BoxFuture<'_, Result<Vec<u8>, ServeError>>;
}
