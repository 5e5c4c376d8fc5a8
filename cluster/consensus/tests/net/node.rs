//! Nodes of a test: a listener on loopback whose groups echo, wait or refuse, and a transport.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use strandline_consensus::net::{Ask, Asker, Connect, Hear, Identity, Listener, NetTransport, TcpConnect};
use strandline_consensus::{BoxFuture, Call, GroupId, Member, NodeId, Rpc, Serve, ServeError};
use strandline_event::{LogKey, SharedBytes};
use strandline_tls::Certificates;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub(crate) const CLUSTER: u128 = 77;
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What a node's groups and its cluster do.
#[derive(Default)]
pub(crate) struct World {
    /// Calls as they came: who, group, rpc, whether the body was aligned.
    pub(crate) seen: Mutex<Vec<(NodeId, GroupId, Rpc, bool)>>,
    pub(crate) release: Notify,
    pub(crate) removed: Mutex<BTreeSet<NodeId>>,
    /// Nodes that are no members.
    pub(crate) strangers: Mutex<BTreeSet<NodeId>>,
    /// Connections that stand: whose, and which.
    pub(crate) links: Mutex<BTreeSet<(NodeId, u64)>>,
}

impl Serve for World {
    fn serve(&self, from: NodeId, call: Call) -> BoxFuture<'_, Result<Vec<u8>, ServeError>> {
        Box::pin(async move {
            let aligned = call.body.is_empty() || call.body.is_aligned();
            self.seen.lock().push((from, call.group.clone(), call.rpc, aligned));
            match call.body.first() {
                // waits until it is released
                Some(b'w') => self.release.notified().await,
                Some(b'?') => return Err(ServeError::NoGroup(call.group)),
                Some(b'!') => return Err(ServeError::Stopped { group: call.group, why: "its log is damaged".into() }),
                _ => {}
            }
            Ok(call.body.iter().rev().copied().collect())
        })
    }
}

impl Hear for World {
    fn admits(&self, asker: Asker) -> Result<(), String> {
        if self.removed.lock().contains(&asker.node) {
            return Err(format!("node {} was removed", asker.node));
        }
        Ok(())
    }

    fn knows(&self, asker: Asker) -> bool {
        !self.strangers.lock().contains(&asker.node)
    }

    fn takes_part(&self, asker: Asker, group: &GroupId) -> Result<(), String> {
        if self.knows(asker) { Ok(()) } else { Err(format!("node {} is no member: not in {group}", asker.node)) }
    }

    fn came(&self, asker: Asker) {
        self.links.lock().insert((asker.node, asker.link));
    }

    fn left(&self, asker: Asker) {
        self.links.lock().remove(&(asker.node, asker.link));
    }

    fn ask(&self, asker: Asker, ask: Ask) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async move {
            if ask.kind == 9 {
                Err("nine is refused".into())
            } else {
                Ok(format!("{} {}", asker.node, ask.kind).into())
            }
        })
    }
}

pub(crate) struct Node {
    pub(crate) world: Arc<World>,
    pub(crate) address: String,
    pub(crate) identity: Arc<Identity>,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Node {
    pub(crate) async fn start(node: NodeId, cluster: u128) -> Self {
        Self::start_at(node, cluster, "127.0.0.1:0").await
    }

    pub(crate) async fn start_at(node: NodeId, cluster: u128, address: &str) -> Self {
        Self::start_by(node, cluster, address, None).await
    }

    pub(crate) async fn start_with(node: NodeId, cluster: u128, certificates: Option<Arc<Certificates>>) -> Self {
        Self::start_by(node, cluster, "127.0.0.1:0", certificates).await
    }

    async fn start_by(node: NodeId, cluster: u128, address: &str, certificates: Option<Arc<Certificates>>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (world, identity) = (Arc::new(World::default()), Identity::new(node, node.into(), cluster, "test"));
        let (stop, stopped) = watch::channel(false);
        let mut serving = Listener::new(Arc::clone(&identity), world.clone(), world.clone());
        if let Some(certificates) = certificates {
            serving = serving.with_certificates(certificates);
        }
        let running = tokio::spawn(serving.run(listener, stopped));
        Self { world, address, identity, stop, running }
    }

    pub(crate) async fn stop(self) -> String {
        self.stop.send(true).unwrap();
        self.running.await.unwrap();
        self.address
    }

    pub(crate) fn member(&self) -> Member {
        Member { address: self.address.clone() }
    }
}

/// A transport of node 1 of the cluster.
pub(crate) fn transport() -> Arc<NetTransport> {
    transport_of(1, CLUSTER)
}

pub(crate) fn transport_of(node: NodeId, cluster: u128) -> Arc<NetTransport> {
    transport_by(node, cluster, Arc::new(TcpConnect))
}

pub(crate) fn transport_by(node: NodeId, cluster: u128, connect: Arc<dyn Connect>) -> Arc<NetTransport> {
    Arc::new(NetTransport::new(Identity::new(node, node.into(), cluster, "test"), connect))
}

pub(crate) fn call(body: &[u8]) -> Call {
    let group = GroupId::Log { store: "orders".into(), log: LogKey { stream_type: "Order".into(), bucket: 3 } };
    Call { group, rpc: Rpc::Append, body: SharedBytes::copy_aligned(body) }
}

/// Ends when the condition holds; the test's own time limit is the runner's.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
