//! What the owner of a log asks of its replication: make this group durable and committed, and give it back in order.
//!
//! Two implementations: [`Solo`], a node alone (write, sync: committed), and `Group`, a member of a Raft group. The owner does
//! not know which. Invariant: groups come back in the order in which they were proposed, each once; one that is abandoned
//! abandons all that were proposed behind it.

use crate::transport::{Member, NodeId};
use std::sync::Arc;
use strandline_engine::append::SinkGroup;
use strandline_wal::{Group, LogIo};

/// Why a proposal does not come back committed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Abandoned {
    /// Nothing of it was stored, on no replica: this node does not lead, or its leadership was renewed in between.
    #[error("this node does not lead the log; nothing was stored")]
    NotLeader {
        /// Who does, as far as it is known.
        leader: Option<(NodeId, Member)>,
    },
    /// Nothing of it was stored, on no replica: leadership was renewed, or the membership changed, since it was judged.
    #[error("the log moved on since this was judged; nothing was stored: send it again")]
    Stale,
    /// Leadership was lost, or the log's disk failed, while it was on its way: it may be committed by another leader.
    #[error(
        "the outcome is unknown: {0}; a retry with the same command id finds out where the store keeps command ids (id.command_id.unique_scope); elsewhere read before you send it again"
    )]
    Unknown(String),
}

/// Called once, when the outcome is known, from another thread.
pub type OnOutcome = Box<dyn FnOnce(Result<Option<Group>, Abandoned>) + Send>;

/// What a node is to a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Leadership {
    /// It accepts appends.
    Leads,
    /// Somebody else does, or nobody yet.
    Follows {
        /// Who, as far as it is known.
        leader: Option<(NodeId, Member)>,
    },
}

/// Replication of one log.
pub trait Consensus: Send + Sync {
    /// Makes a group durable and committed. A log file's group comes back to its writer with `done`; a proposal comes back through the
    /// group's machine, in the log's order with everybody else's entries, and `done` says only that it was.
    fn propose(&self, group: SinkGroup, done: OnOutcome);

    /// Whether this node accepts appends.
    fn leadership(&self) -> Leadership;
}

/// A node alone: what is on its disk is committed.
#[derive(Clone)]
pub struct Solo(pub Arc<dyn LogIo>);

impl Consensus for Solo {
    fn propose(&self, group: SinkGroup, done: OnOutcome) {
        match group {
            SinkGroup::Log(group) => {
                let failed = |_| Abandoned::Unknown("the log's disk failed".to_owned());
                self.0.submit(group, Box::new(move |result| done(result.map(Some).map_err(failed))));
            }
            SinkGroup::Files(_) | SinkGroup::Replicated(_) => {
                strandline_event::invariant::broken("a group that is no log file's came to the disk of a node alone");
            }
        }
    }

    fn leadership(&self) -> Leadership {
        Leadership::Leads
    }
}
