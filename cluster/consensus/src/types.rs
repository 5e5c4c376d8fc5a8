//! openraft's view of a group: node ids, members, entries. One entry is everything that was accepted while the one before was on its way.
//!
//! Invariant: an entry with payloads was made by the leader under which they were judged, with the number that they were judged
//! for. One that Raft numbers otherwise becomes blank in that moment (`set_log_id`), before anybody stores or sends it.

use crate::machine::Payload;
use crate::transport::{Member, NodeId};
use openraft::entry::{FromAppData, RaftEntry, RaftPayload};
use openraft::{LogId, Membership, RaftLogId};
use std::fmt;
use std::sync::Arc;
use strandline_event::LogIndex;
use strandline_wal::LeaderId;

/// Payloads that were judged together, and what must be true of their entry.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The leadership under which they were judged.
    pub leader: LeaderId,
    /// The number that the entry must get.
    pub number: u64,
    /// The payloads, in order; never none.
    pub payloads: Arc<[Payload]>,
}

/// What an entry holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// Nothing: the first of a leadership, or a proposal that came too late.
    Blank,
    /// A membership.
    Membership(Membership<NodeId, Member>),
    /// Payloads, and how they were proposed.
    Payloads(Proposal),
}

/// An entry of a group's log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Leader and number.
    pub log_id: LogId<NodeId>,
    /// Index of its last frame in the log; `ZERO` before it stands there.
    pub index: LogIndex,
    /// What it holds.
    pub content: Content,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.content {
            Content::Blank => "blank".to_owned(),
            Content::Membership(membership) => format!("{membership}"),
            Content::Payloads(proposal) => format!("{} payloads", proposal.payloads.len()),
        };
        write!(f, "{}: {what}", self.log_id)
    }
}

impl RaftLogId<NodeId> for Entry {
    fn get_log_id(&self) -> &LogId<NodeId> {
        &self.log_id
    }

    fn set_log_id(&mut self, log_id: &LogId<NodeId>) {
        self.log_id = *log_id;
        if let Content::Payloads(proposal) = &self.content {
            let given = (log_id.leader_id.term, log_id.leader_id.node_id, log_id.index);
            if given != (proposal.leader.term, proposal.leader.node, proposal.number) {
                self.content = Content::Blank;
            }
        }
    }
}

impl RaftPayload<NodeId, Member> for Entry {
    fn is_blank(&self) -> bool {
        matches!(self.content, Content::Blank)
    }

    fn get_membership(&self) -> Option<&Membership<NodeId, Member>> {
        match &self.content {
            Content::Membership(membership) => Some(membership),
            Content::Blank | Content::Payloads(_) => None,
        }
    }
}

impl RaftEntry<NodeId, Member> for Entry {
    fn new_blank(log_id: LogId<NodeId>) -> Self {
        Self { log_id, index: LogIndex::ZERO, content: Content::Blank }
    }

    fn new_membership(log_id: LogId<NodeId>, membership: Membership<NodeId, Member>) -> Self {
        Self { log_id, index: LogIndex::ZERO, content: Content::Membership(membership) }
    }
}

impl FromAppData<Proposal> for Entry {
    fn from_app_data(proposal: Proposal) -> Self {
        Self { log_id: LogId::default(), index: LogIndex::ZERO, content: Content::Payloads(proposal) }
    }
}

openraft::declare_raft_types!(
    /// The types of every group.
    pub Types:
        D = Proposal,
        R = Outcome,
        NodeId = NodeId,
        Node = Member,
        Entry = Entry,
        SnapshotData = crate::machine::Pointer,
        AsyncRuntime = crate::runtime::Runtime,
);

/// What became of a proposal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is committed and applied.
    Applied,
    /// Its entry became a blank one: nothing of it was stored.
    TooLate,
}
