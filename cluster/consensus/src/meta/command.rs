//! What the meta group is told. Every command may be repeated: who got no answer proposes it again.

use super::types::{Addresses, Erasable, Followers, GroupId, NodeFacts, NodeId, Roles};
use std::collections::BTreeSet;
use std::sync::Arc;
use strandline_wal::LeaderId;

/// A change of the meta group's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// The first one: the cluster and its first member.
    Create {
        /// Random bits; also in the store-id object of every store.
        cluster: u128,
        /// Replicas with a vote that every log shall have.
        replication: u8,
        /// The first member.
        node: NodeFacts,
    },
    /// A new store, or another statement for one that is there.
    DeclareStore {
        /// Version that it replaces; 0: there is none. Who proposes has checked the statement against this version.
        replaces: u64,
        /// Name of the store.
        name: String,
        /// The statement, without what belongs to each node.
        statement: String,
    },
    /// A stream type, and with it its groups.
    RegisterType {
        /// The store.
        store: String,
        /// The stream type.
        name: String,
        /// Its parts.
        buckets: u32,
        /// What may be erased of it.
        erasable: Erasable,
        /// Somebody registered it; else an append makes it, with one part.
        registered: bool,
    },
    /// The same while nodes are away: none of them makes a log of it where another voter can.
    RegisterWithout {
        /// The store.
        store: String,
        /// The stream type.
        name: String,
        /// Its parts.
        buckets: u32,
        /// What may be erased of it.
        erasable: Erasable,
        /// Somebody registered it; else an append makes it, with one part.
        registered: bool,
        /// Those that have not answered the leader for a while.
        away: BTreeSet<NodeId>,
    },
    /// A node asks to join; it holds nothing until it is admitted.
    AddNode(NodeFacts),
    /// A joining node has proven that it shares the durable store.
    Admit(NodeId),
    /// A node is reached elsewhere since its start.
    Readdress {
        /// Which.
        node: NodeId,
        /// Its data folder: nobody else moves it.
        instance: u128,
        /// Where it is now.
        addresses: Addresses,
    },
    /// What a node has moves away.
    Drain(NodeId),
    /// It stays after all.
    Undrain(NodeId),
    /// A node that holds nothing any more is gone.
    Remove(NodeId),
    /// A node that is lost is gone, and another one takes its place in every group.
    Replace {
        /// The lost one.
        lost: NodeId,
        /// The one in its place.
        with: NodeId,
    },
    /// A group's replica moves.
    Move {
        /// Which group.
        group: GroupId,
        /// From this node.
        from: NodeId,
        /// To this one.
        to: NodeId,
    },
    /// A voter leads a group while it can be counted on; none: whoever is elected.
    Lead {
        /// Which group.
        group: GroupId,
        /// Which voter.
        node: Option<NodeId>,
    },
    /// As `Move`, and the node that gets the replica leads; one that votes already has it, and leads.
    MoveLead {
        /// Which group.
        group: GroupId,
        /// From this node.
        from: NodeId,
        /// To this one.
        to: NodeId,
    },
    /// A group's leader reports that its voters are those of this epoch.
    Settled {
        /// Which group.
        group: GroupId,
        /// The placement's epoch.
        epoch: u64,
        /// Its voters.
        voters: BTreeSet<NodeId>,
    },
    /// Another number of replicas.
    SetReplication(u8),
    /// A node does something else since its start.
    SetRoles {
        /// Which.
        node: NodeId,
        /// Its data folder: nobody else changes what it does.
        instance: u128,
        /// What it does now.
        roles: Roles,
    },
    /// A node compacts a store from now on: the leader of the meta group names one that answers it.
    Compact {
        /// The store.
        store: String,
        /// The node.
        node: NodeId,
    },
    /// Nothing of a store is compacted by the clock or by size until the same is said with `false`, whichever node compacts it.
    Pause {
        /// The store.
        store: String,
        /// Whether.
        paused: bool,
    },
    /// What the leader of the meta group remembers of a store's named subscriptions from now on: it alone gives their events.
    Remember {
        /// The store.
        store: String,
        /// Under which leadership: it counts only in an entry that was made under it.
        owner: LeaderId,
        /// Rises with each; one that came before a later one changes nothing.
        turn: u64,
        /// By name; nothing: it is forgotten. What the bytes say is the owner's affair.
        entries: Vec<(String, Arc<[u8]>)>,
    },
    /// A voter makes a group's log: who should was lost before it had, and nobody has anything of it.
    Found {
        /// Which group.
        group: GroupId,
        /// The placement's epoch.
        epoch: u64,
        /// Which voter.
        node: NodeId,
    },
    /// Other members follow the logs in which they do not vote.
    Follow(Followers),
    /// Whether the logs of a store are needed where the meta group is led, which its leader says. Counts only where the fewest follow; that they are
    /// not counts only where nothing else was said.
    Keep {
        /// The store.
        store: String,
        /// Whether.
        keeps: bool,
    },
}
