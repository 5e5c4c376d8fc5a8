//! The nouns of the meta group: nodes, roles, stores, stream types, and where a group's replicas are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

pub use crate::transport::{GroupId, NodeId};

/// What a node does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Roles {
    /// It takes appends: its replicas vote.
    pub ingest: bool,
    /// It compacts.
    pub compact: bool,
    /// It answers reads.
    pub read: bool,
}

impl Roles {
    /// Everything: what a node does that is told nothing else.
    pub const ALL: Self = Self { ingest: true, compact: true, read: true };

    /// Whether a store may be given to it to compact. Who ingests may stand in for compactors that are away; who only reads never does.
    #[must_use]
    pub const fn may_compact(self) -> bool {
        self.compact || self.ingest
    }

    /// Each role by its name, and whether it is there.
    #[must_use]
    pub const fn named(self) -> [(&'static str, bool); 3] {
        [("ingest", self.ingest), ("compact", self.compact), ("read", self.read)]
    }

    /// As it stands in the formats: 1 ingest, 2 compact, 4 read.
    #[must_use]
    pub const fn to_u8(self) -> u8 {
        self.ingest as u8 | (self.compact as u8) << 1 | (self.read as u8) << 2
    }

    /// `None`: not of this version, or no role at all.
    #[must_use]
    pub const fn from_u8(bits: u8) -> Option<Self> {
        if bits == 0 || bits > 7 {
            return None;
        }
        Some(Self { ingest: bits & 1 != 0, compact: bits & 2 != 0, read: bits & 4 != 0 })
    }

    /// From `ingest,compact,read`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut bits = 0;
        for word in text.split(',').map(str::trim) {
            bits |= match word {
                "ingest" => 1,
                "compact" => 2,
                "read" => 4,
                "" => return Err("a role is missing: write one or more of ingest,compact,read".to_owned()),
                _ => return Err(format!("`{word}` is no role: write one or more of ingest,compact,read")),
            };
        }
        Self::from_u8(bits).ok_or_else(|| "a node has one or more of the roles ingest,compact,read".to_owned())
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.named();
        let set: Vec<&str> = named.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect();
        f.write_str(&set.join(","))
    }
}

/// Which members follow the logs in which they have no vote (`placing`). The meta group all of them follow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Followers {
    /// All: each member holds every log.
    #[default]
    All,
    /// Those that need them: whoever only ingests holds the logs in which it votes, and all of them where it votes in the meta group.
    Needed,
    /// As `Needed`, but voters of the meta group hold a store's logs only as its [`Office`] says.
    Fewest,
}

impl Followers {
    /// Each of them.
    pub const EACH: [Self; 3] = [Self::All, Self::Needed, Self::Fewest];

    /// As it stands in the formats.
    #[must_use]
    pub const fn to_u8(self) -> u8 {
        match self {
            Self::All => 1,
            Self::Needed => 2,
            Self::Fewest => 3,
        }
    }

    /// `None`: not of this version.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::All),
            2 => Some(Self::Needed),
            3 => Some(Self::Fewest),
            _ => None,
        }
    }

    /// For people and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Needed => "needed",
            Self::Fewest => "fewest",
        }
    }

    /// By that name; `None`: it is nobody's.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::EACH.into_iter().find(|followers| followers.name() == name)
    }
}

/// Whether the node that leads the meta group does something for a store that takes all of its logs: it gives events to named subscriptions, or keeps
/// command ids apart. Asked only where the fewest follow ([`Followers::Fewest`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Office {
    /// Nobody has said so, so the voters of the meta group hold the logs.
    #[default]
    Unsaid,
    /// It does neither: these voters need not hold the logs.
    Spared,
    /// It does, or has: they hold them.
    Kept,
}

impl Office {
    /// As it stands in the formats.
    #[must_use]
    pub const fn to_u8(self) -> u8 {
        match self {
            Self::Unsaid => 0,
            Self::Spared => 1,
            Self::Kept => 2,
        }
    }

    /// `None`: not of this version.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Unsaid),
            1 => Some(Self::Spared),
            2 => Some(Self::Kept),
            _ => None,
        }
    }
}

/// Where a node is reached: `host:port` each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// By other nodes.
    pub cluster: String,
    /// By clients over HTTP.
    pub http: String,
    /// By clients of the native protocol; empty: not served.
    pub native: String,
}

/// Whether a node takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeState {
    /// It has asked to join and has not proven yet that it reads and writes the durable store of the others.
    Joining,
    /// It takes part.
    Member,
    /// It gets nothing new, and what it has moves away.
    Draining,
    /// It is gone; its number is never used again.
    Removed,
}

impl NodeState {
    /// As it stands in the formats.
    #[must_use]
    pub const fn to_u8(self) -> u8 {
        match self {
            Self::Joining => 1,
            Self::Member => 2,
            Self::Draining => 3,
            Self::Removed => 4,
        }
    }

    /// `None`: not of this version.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Joining),
            2 => Some(Self::Member),
            3 => Some(Self::Draining),
            4 => Some(Self::Removed),
            _ => None,
        }
    }

    /// For people and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Member => "member",
            Self::Draining => "draining",
            Self::Removed => "removed",
        }
    }
}

/// A node as it introduces itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeFacts {
    /// Its number.
    pub id: NodeId,
    /// Which data folder it runs on: random bits that were given when the folder was made. A folder that was lost and made again has
    /// others, so that a node without its log cannot come back as the voter that it was.
    pub instance: u128,
    /// What it does.
    pub roles: Roles,
    /// Where it is.
    pub addresses: Addresses,
}

/// A node of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeEntry {
    /// What it said of itself.
    pub facts: NodeFacts,
    /// Whether it takes part.
    pub state: NodeState,
}

/// What may be erased of a stream type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Erasable {
    /// Nothing.
    #[default]
    No,
    /// A stream.
    Stream,
    /// A tenant.
    Tenant,
}

impl Erasable {
    /// As it stands in the formats.
    #[must_use]
    pub const fn to_u8(self) -> u8 {
        match self {
            Self::No => 0,
            Self::Stream => 1,
            Self::Tenant => 2,
        }
    }

    /// `None`: not of this version.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::No),
            1 => Some(Self::Stream),
            2 => Some(Self::Tenant),
            _ => None,
        }
    }
}

/// A stream type of a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TypeEntry {
    /// Its parts, each a replication group; fixed for ever.
    pub buckets: u32,
    /// What may be erased of it.
    pub erasable: Erasable,
    /// Somebody registered it; else an append made it.
    pub registered: bool,
}

/// A declared store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreEntry {
    /// Version of its statement, from 1.
    pub version: u64,
    /// The statement, without what belongs to each node (`wal.path`).
    pub statement: String,
    /// The node that compacts it; none: nobody was named yet, or who was takes no part any more.
    pub compactor: Option<NodeId>,
    /// Index of the command that changed that last.
    pub compactor_epoch: u64,
    /// Its compaction is paused, whoever compacts it.
    pub paused: bool,
    /// What is remembered of its named subscriptions, by name.
    pub remembered: BTreeMap<String, Arc<[u8]>>,
    /// The turn in which that changed last.
    pub remembered_turn: u64,
    /// Whether its logs are needed where the meta group is led.
    pub office: Office,
    /// Its stream types.
    pub types: BTreeMap<String, TypeEntry>,
}

/// Where the replicas of a group shall be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Placement {
    /// Index of the command that changed it last.
    pub epoch: u64,
    /// The epoch that the group's leader reported as reached; equal to `epoch`: the group is where it shall be.
    pub settled_epoch: u64,
    /// Replicas that vote.
    pub voters: BTreeSet<NodeId>,
    /// Replicas that only follow.
    pub learners: BTreeSet<NodeId>,
    /// Nodes that may still be voters although they are no more in `voters`; empty once it is settled.
    pub leaving: BTreeSet<NodeId>,
    /// The node whose log the group begins with: the only one that may make it. None: of a state that does not say so.
    pub founder: Option<NodeId>,
    /// The voter that shall lead while it can be counted on; none: whoever is elected.
    pub leads: Option<NodeId>,
}

impl Placement {
    /// Whether its leader has reported that the group is where it shall be.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.epoch == self.settled_epoch
    }

    /// Whether the group was ever where it should be: before that nothing may be acknowledged in it.
    #[must_use]
    pub const fn is_established(&self) -> bool {
        self.settled_epoch > 0
    }

    /// Whether a node has, or may still have, a replica that counts.
    #[must_use]
    pub fn holds(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.leaving.contains(&node)
    }

    /// Whether a node has a replica, or gets one.
    #[must_use]
    pub fn is_on(&self, node: NodeId) -> bool {
        self.holds(node) || self.learners.contains(&node)
    }
}
