//! Between openraft's names and those of the log tier. A number there is an index here; nothing else is translated anywhere else.

use crate::machine::{EntryId, Payload};
use crate::transport::Member;
use crate::types::{Content, Entry, Proposal};
use openraft::{CommittedLeaderId, LogId, Membership, StoredMembership, Vote};
use std::collections::{BTreeMap, BTreeSet};
use strandline_event::{LogIndex, SharedBytes};
use strandline_wal::{FrameKind, Last, LeaderId, StoredEntry};

pub(crate) fn leader_of(id: &LogId<u64>) -> LeaderId {
    LeaderId { term: id.leader_id.term, node: id.leader_id.node_id }
}

pub(crate) fn raft_id(leader: LeaderId, number: u64) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(leader.term, leader.node), number)
}

pub(crate) fn log_id(last: Last) -> LogId<u64> {
    raft_id(last.id.leader, last.number)
}

pub(crate) fn last(id: &LogId<u64>, index: LogIndex) -> Last {
    Last { id: strandline_wal::num::LogId { leader: leader_of(id), index }, number: id.index }
}

pub(crate) fn last_of(id: EntryId) -> Last {
    Last { id: strandline_wal::num::LogId { leader: id.leader, index: id.index }, number: id.number }
}

pub(crate) fn vote_to_log(vote: &Vote<u64>) -> strandline_wal::Vote {
    let leader = LeaderId { term: vote.leader_id.term, node: vote.leader_id.node_id };
    strandline_wal::Vote { leader, committed: vote.committed }
}

pub(crate) fn vote_from_log(vote: strandline_wal::Vote) -> Vote<u64> {
    match vote.committed {
        true => Vote::new_committed(vote.leader.term, vote.leader.node),
        false => Vote::new(vote.leader.term, vote.leader.node),
    }
}

pub(crate) fn membership_to_log(membership: &Membership<u64, Member>) -> strandline_wal::Membership {
    let voters = membership.get_joint_config().iter().map(|set| set.iter().copied().collect()).collect();
    let nodes = membership.nodes().map(|(node, member)| (*node, member.address.clone())).collect();
    strandline_wal::Membership { voters, nodes }
}

pub(crate) fn membership_from_log(membership: &strandline_wal::Membership) -> Membership<u64, Member> {
    let voters: Vec<BTreeSet<u64>> = membership.voters.iter().map(|set| set.iter().copied().collect()).collect();
    let member = |(node, address): &(u64, String)| (*node, Member { address: address.clone() });
    let nodes: BTreeMap<u64, Member> = membership.nodes.iter().map(member).collect();
    Membership::new(voters, nodes)
}

/// What the log says of the membership, as of its end.
pub(crate) fn stored_membership(
    membership: &strandline_wal::Membership,
    set_by: Last,
) -> StoredMembership<u64, Member> {
    match membership.voters.is_empty() {
        true => StoredMembership::default(),
        false => StoredMembership::new(Some(log_id(set_by)), membership_from_log(membership)),
    }
}

pub(crate) fn entry_from_log(stored: &StoredEntry) -> Option<Entry> {
    let log_id = raft_id(stored.leader, stored.number);
    let content = match stored.kind {
        FrameKind::Blank => Content::Blank,
        FrameKind::Membership => {
            let payload = &stored.frames.first()?.payload;
            Content::Membership(membership_from_log(&strandline_wal::Membership::decode(payload)?))
        }
        FrameKind::Entry => {
            let none = SharedBytes::copy_aligned(&[]);
            let payload = |frame: &strandline_wal::FrameView| Payload {
                schema: frame.header.schema,
                count: frame.header.count,
                time: frame.header.time,
                parts: [frame.payload.clone(), none.clone()],
            };
            let payloads = stored.frames.iter().map(payload).collect();
            Content::Payloads(Proposal { leader: stored.leader, number: stored.number, payloads })
        }
        FrameKind::State | FrameKind::Vote | FrameKind::IdleMark | FrameKind::CleanStop => return None,
    };
    Some(Entry { log_id, index: stored.index(), content })
}
