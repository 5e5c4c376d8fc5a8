//! [`Transport`] over links: one [`Peer`] a node, and who this node is.

use crate::net::body::Ask;
use crate::net::hello::Hello;
use crate::net::limits::BODY_BYTES_MAX;
use crate::net::link::Connect;
use crate::net::peer::{Peer, Request};
use crate::transport::{BoxFuture, Call, Member, NodeId, Transport, TransportError};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use strandline_client::wire::header::VERSION;
use strandline_event::SharedBytes;

/// Who this node is: what its Hello and its Welcome say. Its cluster is known once it has made or joined one.
#[derive(Debug)]
pub struct Identity {
    /// Its id.
    pub node: NodeId,
    /// Its data folder.
    pub instance: u128,
    /// Name and version of the program.
    pub program: String,
    cluster: RwLock<u128>,
}

impl Identity {
    /// A node; `cluster` 0: of none yet.
    #[must_use]
    pub fn new(node: NodeId, instance: u128, cluster: u128, program: &str) -> Arc<Self> {
        Arc::new(Self { node, instance, program: program.to_owned(), cluster: RwLock::new(cluster) })
    }

    /// Its cluster; 0: none yet.
    #[must_use]
    pub fn cluster(&self) -> u128 {
        *self.cluster.read()
    }

    /// It has made or joined a cluster. It never leaves it for another one.
    pub fn joined(&self, cluster: u128) {
        let mut known = self.cluster.write();
        if *known == 0 {
            *known = cluster;
        }
    }

    fn hello(&self, to: NodeId) -> Hello {
        Hello {
            versions: (VERSION, VERSION),
            body_max: u32::try_from(BODY_BYTES_MAX).unwrap_or(u32::MAX),
            cluster: self.cluster(),
            instance: self.instance,
            node: self.node,
            to,
            program: self.program.clone(),
        }
    }
}

/// Asks other nodes over links.
pub struct NetTransport {
    identity: Arc<Identity>,
    connect: Arc<dyn Connect>,
    peers: Mutex<HashMap<NodeId, Arc<Peer>>>,
    /// Where nodes are by what the cluster knows: newer than the membership of a group, which may not say it at all.
    book: RwLock<HashMap<NodeId, String>>,
}

impl fmt::Debug for NetTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetTransport").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl NetTransport {
    /// Speaks as this node.
    #[must_use]
    pub fn new(identity: Arc<Identity>, connect: Arc<dyn Connect>) -> Self {
        Self { identity, connect, peers: Mutex::default(), book: RwLock::default() }
    }

    /// The node at its newest address: one that moved is spoken to there from now on.
    fn peer(&self, node: NodeId, address: &str) -> Arc<Peer> {
        let mut peers = self.peers.lock();
        match peers.get(&node) {
            Some(peer) if peer.address == address => Arc::clone(peer),
            _ => {
                let peer = Arc::new(Peer::new(node, address));
                peers.insert(node, Arc::clone(&peer));
                peer
            }
        }
    }

    /// Asks something about the cluster; `node` 0: whoever listens at the address.
    ///
    /// # Errors
    /// [`TransportError`]; unless it was refused, it may have been done.
    pub async fn ask(
        &self,
        node: NodeId,
        address: &str,
        ask: Ask,
        deadline: Duration,
    ) -> Result<SharedBytes, TransportError> {
        // who is not known by number is asked once: no connection is kept under a wrong name
        let peer = if node == 0 { Arc::new(Peer::new(0, address)) } else { self.peer(node, address) };
        peer.request(Arc::clone(&self.connect), self.identity.hello(node), Request::Ask(ask), deadline).await
    }

    /// From now on a node is looked for there, whatever a group's membership says.
    pub fn learn(&self, node: NodeId, address: &str) {
        if self.book.read().get(&node).is_none_or(|known| known != address) {
            self.book.write().insert(node, address.to_owned());
        }
    }

    /// Where a node is, as far as the cluster knows.
    #[must_use]
    pub fn address(&self, node: NodeId) -> Option<String> {
        self.book.read().get(&node).cloned()
    }

    /// All nodes whose address is known.
    #[must_use]
    pub fn known(&self) -> Vec<(NodeId, String)> {
        let mut known: Vec<_> = self.book.read().iter().map(|(node, address)| (*node, address.clone())).collect();
        known.sort_unstable();
        known
    }

    /// This node is gone: its connections end.
    pub fn leave(&self) {
        self.peers.lock().clear();
    }

    /// A node is gone: its connection ends.
    pub fn forget(&self, node: NodeId) {
        self.book.write().remove(&node);
        self.peers.lock().remove(&node);
    }
}

impl Transport for NetTransport {
    fn call<'a>(
        &'a self,
        node: NodeId,
        member: &'a Member,
        call: Call,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<SharedBytes, TransportError>> {
        let known = self.address(node);
        let peer = self.peer(node, known.as_deref().unwrap_or(&member.address));
        let (connect, hello) = (Arc::clone(&self.connect), self.identity.hello(node));
        Box::pin(async move { peer.request(connect, hello, Request::Call(call), deadline).await })
    }
}
