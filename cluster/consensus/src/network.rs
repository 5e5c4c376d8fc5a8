//! openraft's network over a [`Transport`]: encodes, calls, decodes.
//!
//! Every failure is reported as one of the network (never as "unreachable", for which openraft waits by a clock of its own): the next
//! heartbeat tries again.

use crate::codec;
use crate::transport::{Call, GroupId, Member, NodeId, Rpc, Transport, TransportError};
use crate::types::Types;
use openraft::error::{Fatal, NetworkError, PayloadTooLarge, RPCError, RaftError, ReplicationClosed, StreamingError};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{OptionalSend, Snapshot, Vote};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use strandline_event::SharedBytes;

type RpcResult<T> = Result<T, RPCError<u64, Member, RaftError<u64>>>;

/// How long a pointer may take to be installed: its receiver reads a manifest.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(30);

/// Makes connections to members of a group.
#[derive(Clone)]
pub(crate) struct Peers {
    pub(crate) group: GroupId,
    pub(crate) transport: Arc<dyn Transport>,
}

/// One member as this node reaches it.
pub(crate) struct Peer {
    peers: Peers,
    node: NodeId,
    member: Member,
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Member) -> Peer {
        Peer { peers: self.clone(), node: target, member: node.clone() }
    }
}

fn network(error: &(impl std::error::Error + 'static)) -> NetworkError {
    NetworkError::new(error)
}

impl Peer {
    async fn call(&self, rpc: Rpc, body: SharedBytes, deadline: Duration) -> Result<SharedBytes, TransportError> {
        let call = Call { group: self.peers.group.clone(), rpc, body };
        self.peers.transport.call(self.node, &self.member, call, deadline).await
    }
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<u64>> {
        let body = codec::append_request(&rpc);
        let answer = match self.call(Rpc::Append, body, option.hard_ttl()).await {
            Ok(answer) => answer,
            Err(TransportError::TooLarge { .. }) if rpc.entries.len() > 1 => {
                return Err(PayloadTooLarge::new_entries_hint(1).into());
            }
            Err(error) => return Err(network(&error).into()),
        };
        codec::append_answer_of(&answer).map_err(|error| network(&error).into())
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, option: RPCOption) -> RpcResult<VoteResponse<u64>> {
        let answer = self.call(Rpc::Vote, codec::vote_request(&rpc), option.hard_ttl()).await;
        let answer = answer.map_err(|error| network(&error))?;
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
        let answer = answer.map_err(|error| network(&error))?;
        let vote = codec::snapshot_answer_of(&answer).map_err(|error| network(&error))?;
        Ok(SnapshotResponse::new(vote))
    }
}
