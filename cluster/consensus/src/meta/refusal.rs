//! Why the meta group does not do what a command says, and what to do instead.

use super::limits;
use super::types::{GroupId, NodeId, NodeState};
use strandline_event::ErrorKind;

/// A command that changes nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Nothing was created yet.
    #[error("there is no cluster yet: start the first node with --cluster and without --join")]
    NoCluster,
    /// Another cluster is there.
    #[error(
        "this is another cluster already: a node of it joins with --join, a new cluster needs an empty data directory"
    )]
    OtherCluster,
    /// A number that no node has.
    #[error("there is no node {0}: `strandline status` lists the nodes")]
    UnknownNode(NodeId),
    /// Nodes are numbered from 1.
    #[error("0 is no node id: give --node-id a number from 1")]
    NodeZero,
    /// The number has been used.
    #[error("node id {0} belonged to a node that was removed and is never given again: choose another --node-id")]
    NodeRemoved(NodeId),
    /// The number belongs to another data folder.
    #[error(
        "node id {0} belongs to a node with another data directory. If that directory is lost, the node is lost: join under a new \
         --node-id, then `replace` node {0} by the new one"
    )]
    OtherInstance(NodeId),
    /// The address is taken.
    #[error("{address} is the address of node {node}: every node needs one of its own")]
    AddressTaken {
        /// The address.
        address: String,
        /// Whose it is.
        node: NodeId,
    },
    /// A name or an address that cannot be.
    #[error("`{text}` cannot be {what}: {want}")]
    Text {
        /// What was given, cut.
        text: String,
        /// What it should be.
        what: &'static str,
        /// What is taken.
        want: &'static str,
    },
    /// Too many of something.
    #[error("there are {limit} {what} already, which is the limit: {remedy}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many there may be.
        limit: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// A number of replicas that cannot be.
    #[error("{0} replicas cannot be: give --replication a number from 1 to {max}, 3 keeps all events when one node is lost", max = limits::REPLICATION_MAX)]
    Replication(u8),
    /// It has not been admitted.
    #[error(
        "node {0} is still joining: it takes part once it has proven that it shares the stores' durable.path (its log says why it has not)"
    )]
    StillJoining(NodeId),
    /// It is leaving.
    #[error("node {node} is {}: {remedy}", .state.name())]
    WrongState {
        /// Which node.
        node: NodeId,
        /// What it is.
        state: NodeState,
        /// What to do.
        remedy: &'static str,
    },
    /// It holds replicas.
    #[error(
        "node {node} holds replicas that count of {count} groups (one is {group}): drain it and wait until it holds none; if it is lost, replace it"
    )]
    HoldsReplicas {
        /// Which node.
        node: NodeId,
        /// How many groups.
        count: usize,
        /// One of them.
        group: GroupId,
    },
    /// Nobody could take its replicas.
    #[error(
        "{group} would have {left} voters instead of {now}: let another node with the role `ingest` join first, or set a smaller replication"
    )]
    TooFewVoters {
        /// Which group.
        group: GroupId,
        /// How many it has.
        now: usize,
        /// How many it would have.
        left: usize,
    },
    /// It cannot vote.
    #[error("node {0} has not the role `ingest`, so its replicas do not vote: choose one that has it")]
    NoIngest(NodeId),
    /// It does not compact.
    #[error("node {0} only reads, so it compacts nothing: choose one with the role `compact` or `ingest`")]
    OnlyReads(NodeId),
    /// A store that is not declared.
    #[error(
        "there is no store `{0}` in this cluster: declare it first (CREATE EVENTSTORE in the file of the first node, or POST /api/deql/create)"
    )]
    UnknownStore(String),
    /// Who wanted to remember something does not lead any more.
    #[error("the named subscriptions of store `{store}` are another node's by now: come again")]
    NotLed {
        /// The store.
        store: String,
    },
    /// The statement was made for another version.
    #[error(
        "store `{store}` has version {version} of its statement, the change was made for version {given}: look at it again, then repeat the change"
    )]
    OtherVersion {
        /// The store.
        store: String,
        /// Its version; 0: there is none.
        version: u64,
        /// Version that the change was made for.
        given: u64,
    },
    /// The stream type is there, and otherwise.
    #[error(
        "stream type `{name}` of store `{store}` has {buckets} buckets and was registered otherwise; both are fixed at its creation"
    )]
    OtherType {
        /// The store.
        store: String,
        /// The stream type.
        name: String,
        /// Its parts.
        buckets: u32,
    },
    /// A number of parts that cannot be.
    #[error("{0} buckets cannot be: a stream type has from 1 to {max}", max = limits::BUCKETS_MAX)]
    Buckets(u32),
    /// No such group.
    #[error("there is no group {0}: `strandline status` lists the groups")]
    UnknownGroup(GroupId),
    /// A move is under way.
    #[error("the voters of {0} are being changed just now: wait until `strandline status` shows it settled")]
    Unsettled(GroupId),
    /// It has no replica there.
    #[error("node {node} has no voter of {group}: `strandline status` shows who has")]
    NoReplica {
        /// The node.
        node: NodeId,
        /// The group.
        group: GroupId,
    },
    /// It has one already.
    #[error("node {node} has a voter of {group} already: choose another node, or let it lead (`lead`)")]
    HasReplica {
        /// The node.
        node: NodeId,
        /// The group.
        group: GroupId,
    },
    /// Who makes it takes part, or it was made.
    #[error("the log of {0} was made, or is made by a node that takes part: start that node")]
    HasFounder(GroupId),
    /// A report about a placement that was replaced.
    #[error("{group} shall be elsewhere by now (epoch {epoch}): look at its placement again")]
    StaleReport {
        /// The group.
        group: GroupId,
        /// Its placement's epoch.
        epoch: u64,
    },
}

impl Refusal {
    /// What it means to the one who called.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownNode(_) | Self::UnknownStore(_) | Self::UnknownGroup(_) => ErrorKind::NotFound,
            Self::NoCluster
            | Self::NotLed { .. }
            | Self::Unsettled(_)
            | Self::StillJoining(_)
            | Self::StaleReport { .. } => ErrorKind::Unavailable,
            _ => ErrorKind::BadRequest,
        }
    }
}
