//! openraft's network over a [`Transport`]: encodes, calls, decodes.
//!
//! A member that cannot be reached, or refuses, is reported as unreachable: openraft tries again after a pause. Without one it would ask again
//! at once, and for ever, as soon as there is an entry that the member lacks. An answer that does not come in time has taken its time already.

use crate::ahead::Ahead;
use crate::codec;
use crate::contact::{Contacts, Held, Lost};
use crate::convert;
use crate::transport::{Call, GroupId, Member, NodeId, Rpc, Transport, TransportError};
use crate::types::Types;
use openraft::error::{
    Fatal, NetworkError, PayloadTooLarge, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{LogId, OptionalSend, Snapshot, Vote};
use std::future::Future;
use std::iter::repeat;
use std::sync::Arc;
use std::time::Duration;
use strandline_event::SharedBytes;

type RpcResult<T> = Result<T, RPCError<u64, Member, RaftError<u64>>>;

/// How long a pointer may take to be installed: its receiver reads a manifest.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(30);

/// Pauses between attempts to reach a member, in milliseconds; the last one again and again. A member that comes back must hear its leader
/// before it asks for votes, also when the transport has just begun a pause of its own.
const PAUSES_MS: [u64; 3] = [200, 300, 500];

/// Makes connections to members of a group.
#[derive(Clone)]
pub(crate) struct Peers {
    pub(crate) group: GroupId,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) contacts: Arc<Contacts>,
    pub(crate) ahead: Arc<Ahead>,
}

/// One member as this node reaches it; openraft makes another one at each change of members.
pub(crate) struct Peer {
    peers: Peers,
    node: NodeId,
    member: Member,
    held: Arc<Held>,
    /// How far is committed by what it was told last by this one; `None`: it was told nothing yet.
    told: Option<Option<LogId<u64>>>,
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Member) -> Peer {
        self.ahead.knows(target, node);
        Peer { held: self.contacts.held(target), peers: self.clone(), node: target, member: node.clone(), told: None }
    }
}

fn network(error: &(impl std::error::Error + 'static)) -> NetworkError {
    NetworkError::new(error)
}

fn failed(error: &TransportError) -> RPCError<u64, Member, RaftError<u64>> {
    match error {
        TransportError::Unreachable { .. } | TransportError::Refused { .. } => Unreachable::new(error).into(),
        TransportError::TimedOut { .. } | TransportError::TooLarge { .. } => network(error).into(),
    }
}

impl Peer {
    async fn call(&self, rpc: Rpc, body: SharedBytes, deadline: Duration) -> Result<SharedBytes, TransportError> {
        let call = Call { group: self.peers.group.clone(), rpc, body };
        self.peers.transport.call(self.node, &self.member, call, deadline).await
    }

    /// Keeps how far it holds the log. Gives what it lacks although it had acknowledged it.
    fn lacks(
        &self,
        term: u64,
        (prev, entries): (Option<LogId<u64>>, usize),
        said: &AppendEntriesResponse<u64>,
    ) -> Option<Lost> {
        let holds = match said {
            AppendEntriesResponse::Success => (prev.map_or(0, |prev| prev.index + 1) + entries as u64).checked_sub(1),
            AppendEntriesResponse::PartialSuccess(through) => through.as_ref().map(|through| through.index),
            AppendEntriesResponse::Conflict => {
                let prev = prev.filter(|prev| self.held.has(term, prev.index))?;
                return Some(Lost { term, leader: convert::leader_of(&prev), number: prev.index });
            }
            AppendEntriesResponse::HigherVote(_) => None,
        };
        self.held.keeps(term, holds);
        None
    }

    /// Its log was lost, or an older copy was put in its place: it counts as one that cannot be reached. openraft takes what it says for a fault of
    /// its own, and ends. The member is told (`control/lacking`).
    fn lost(&self, lost: Lost) -> RPCError<u64, Member, RaftError<u64>> {
        if self.held.loses(lost) {
            tracing::error!(
                group = %self.peers.group, node = self.node,
                "this member lacks entries that it had acknowledged: its log was lost, or an older copy of it was put back. Stop it, let a new node \
                 join, and `replace` it by the new one"
            );
        }
        let why = "it lacks entries that it had acknowledged".to_owned();
        failed(&TransportError::Refused { node: self.node, why })
    }
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<u64>> {
        if let Some(holds) = self.peers.ahead.take(self.node, &rpc)
            && holds.known().await
        {
            let last = rpc.entries.last().map(|last| last.log_id);
            self.held.keeps(rpc.vote.leader_id.term, last.map(|last| last.index));
            // of what is committed later openraft speaks again
            if let Some(last) = last.filter(|last| rpc.leader_commit >= Some(*last)) {
                self.peers.ahead.tell(self.node, rpc.vote, last, rpc.leader_commit);
            }
            return Ok(AppendEntriesResponse::Success);
        }
        let told = self.told.replace(rpc.leader_commit);
        // a round that asks whether this node leads comes by connections of its own, and waits for nothing
        if let (Some(told), Some(prev), true) = (told, rpc.prev_log_id, rpc.entries.is_empty())
            && told < rpc.leader_commit
            && self.peers.ahead.carries(self.node, rpc.vote, prev, rpc.leader_commit).await
        {
            return Ok(AppendEntriesResponse::Success);
        }
        let body = codec::append_request(&rpc);
        let sent = (rpc.prev_log_id, rpc.entries.len());
        self.peers.contacts.asks(self.node);
        let answer = match self.call(Rpc::Append, body, option.hard_ttl()).await {
            Ok(answer) => answer,
            Err(TransportError::TooLarge { .. }) if rpc.entries.len() > 1 => {
                return Err(PayloadTooLarge::new_entries_hint(1).into());
            }
            Err(error) => return Err(failed(&error)),
        };
        let said = codec::append_answer_of(&answer).map_err(|error| network(&error))?;
        if let Some(lost) = self.lacks(rpc.vote.leader_id.term, sent, &said) {
            return Err(self.lost(lost));
        }
        self.peers.contacts.hears(self.node);
        Ok(said)
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, option: RPCOption) -> RpcResult<VoteResponse<u64>> {
        let answer = self.call(Rpc::Vote, codec::vote_request(&rpc), option.hard_ttl()).await;
        let answer = answer.map_err(|error| failed(&error))?;
        codec::vote_answer_of(&answer).map_err(|error| network(&error).into())
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<u64>,
        snapshot: Snapshot<Types>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal<u64>>> {
        // a pointer is one call: there is nothing to cancel in between
        let body = codec::snapshot_request(&vote, &snapshot.meta, &snapshot.snapshot);
        let answer = self.call(Rpc::Snapshot, body, SNAPSHOT_DEADLINE).await;
        let answer = answer.map_err(|error| match error {
            TransportError::Unreachable { .. } | TransportError::Refused { .. } => Unreachable::new(&error).into(),
            error => StreamingError::from(network(&error)),
        })?;
        self.peers.contacts.hears(self.node);
        let said = codec::snapshot_answer_of(&answer).map_err(|error| network(&error))?;
        if said == vote {
            self.held.keeps(vote.leader_id.term, snapshot.meta.last_log_id.map(|id| id.index));
        }
        Ok(SnapshotResponse::new(said))
    }

    fn backoff(&self) -> Backoff {
        let [.., last] = PAUSES_MS;
        Backoff::new(PAUSES_MS.into_iter().chain(repeat(last)).map(Duration::from_millis))
    }
}
