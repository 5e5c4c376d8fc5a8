//! A node of a test: its folder, its listener, its part of the cluster.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use strandline_consensus::control::{
    Control, ControlParts, Entropy, JoinError, Keep, MetaMachine, MetaParts, OpenedPlace, Places, SEGMENT_BYTES,
    ask_to_join, enter, open_meta,
};
use strandline_consensus::join::Offer;
use strandline_consensus::meta::{Addresses, Command, NodeFacts, Roles};
use strandline_consensus::net::{Identity, Listener, NetTransport, TcpConnect};
use strandline_consensus::{Clock, Group, Groups, NodeId};
use strandline_durable::objects::{ClusterMark, LocalObjects, mark_for_cluster};
use strandline_event::Micros;
use strandline_wal::io::{OnFatal, abort_on_fatal};
use strandline_wal::{IoThread, RealDisk};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) const CLUSTER: u128 = 0xc1;
pub(crate) const STORE: &str = "orders";
const STATEMENT: &str = "CREATE EVENTSTORE orders WITH (…)";

/// Folders of one test: each node's own, and the one that they share.
pub(crate) struct Folders {
    dir: tempfile::TempDir,
    segment_bytes: u64,
    ended: Arc<AtomicBool>,
}

impl Folders {
    fn with_segments(segment_bytes: u64) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), segment_bytes, ended: Arc::default() }
    }

    pub(crate) fn new() -> Self {
        Self::with_segments(SEGMENT_BYTES)
    }

    /// With logs whose segments are soon full.
    pub(crate) fn of_small_segments() -> Self {
        Self::with_segments(64 << 10)
    }

    pub(crate) fn shared(&self) -> PathBuf {
        self.path("shared")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A node that the test did not stop may still work when its folder goes: only until then its disk must not fail.
    fn on_fatal(&self) -> OnFatal {
        let (ended, abort) = (Arc::clone(&self.ended), abort_on_fatal());
        Arc::new(move |fatal| {
            if !ended.load(Ordering::SeqCst) {
                abort(fatal);
            }
        })
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

/// The store's durable.path as a node sees it.
pub(crate) struct Seen(pub(crate) PathBuf);

impl Places for Seen {
    fn open(&self, statement: &str) -> Result<OpenedPlace, String> {
        assert_eq!(statement, STATEMENT);
        let path = self.0.clone();
        let write = Box::new(move || Ok(Arc::new(LocalObjects::open(&path).map_err(|e| e.to_string())?) as _));
        let read = Arc::new(LocalObjects::read_only(&self.0));
        Ok(OpenedPlace { location: self.0.display().to_string(), read, write })
    }
}

pub(crate) fn entropy() -> Entropy {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Arc::new(|| u128::from(NEXT.fetch_add(1, Ordering::Relaxed)))
}

fn clock() -> Clock {
    Arc::new(|| Micros(1_795_428_000_000_000))
}

pub(crate) fn facts(node: NodeId, address: &SocketAddr) -> NodeFacts {
    let addresses = Addresses { cluster: address.to_string(), http: address.to_string(), native: String::new() };
    NodeFacts { id: node, instance: u128::from(node) << 64 | 7, roles: Roles::ALL, addresses }
}

/// Where a node keeps its state.
struct InFile(PathBuf);

impl Keep for InFile {
    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        std::fs::write(&self.0, bytes)
    }

    fn forsaken(&self) -> io::Result<Option<String>> {
        match std::fs::read_to_string(self.0.with_extension("forsaken")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn forsake(&self, why: &str) -> io::Result<()> {
        std::fs::write(self.0.with_extension("forsaken"), why)
    }
}

pub(crate) struct Node {
    pub(crate) control: Control,
    pub(crate) group: Arc<Group>,
    pub(crate) address: SocketAddr,
    stop: watch::Sender<bool>,
    running: Vec<JoinHandle<()>>,
}

async fn meta(
    folders: &Folders,
    node: NodeId,
    founds: bool,
    transport: Arc<NetTransport>,
) -> Result<(Arc<MetaMachine>, Arc<Group>), String> {
    let keep = InFile(folders.path(&format!("node{node}.kept")));
    let machine = Arc::new(MetaMachine::open(Box::new(keep)).map_err(|error| error.to_string())?);
    let parts = MetaParts {
        dir: folders.path(&format!("node{node}")).join("meta"),
        disk: Arc::new(RealDisk::new()),
        io: Arc::new(IoThread::start(folders.on_fatal()).unwrap()),
        node,
        founds,
        birth: node,
        segment_bytes: folders.segment_bytes,
        clock: clock(),
        machine: machine.clone(),
        transport,
    };
    let group = open_meta(parts).await.map_err(|error| error.to_string())?;
    Ok((machine, group))
}

impl Node {
    /// Runs a node over its folder. `cluster` 0: it has not joined.
    pub(crate) async fn run(folders: &Folders, node: NodeId, cluster: u128, at: &str, founds: bool) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let facts = facts(node, &address);
        let identity = Identity::new(node, facts.instance, cluster, "test");
        let transport = Arc::new(NetTransport::new(Arc::clone(&identity), Arc::new(TcpConnect)));
        let (machine, group) = meta(folders, node, founds, Arc::clone(&transport)).await.unwrap();
        let groups = Arc::new(Groups::default());
        groups.insert(Arc::clone(&group));
        let control = Control::new(ControlParts {
            identity: Arc::clone(&identity),
            groups: Arc::clone(&groups),
            meta: Arc::clone(&group),
            machine,
            transport,
            places: Arc::new(Seen(folders.shared())),
            entropy: entropy(),
            clock: clock(),
        });
        let (stop, stopped) = watch::channel(false);
        let listening = Listener::new(identity, groups, Arc::new(control.clone()));
        let running =
            vec![tokio::spawn(listening.run(listener, stopped.clone())), tokio::spawn(control.clone().run(stopped))];
        Self { control, group, address, stop, running }
    }

    /// Whether the meta group of a node opens.
    pub(crate) async fn opened(folders: &Folders, node: NodeId) -> Result<(), String> {
        let identity = Identity::new(node, 1, CLUSTER, "test");
        let transport = Arc::new(NetTransport::new(identity, Arc::new(TcpConnect)));
        meta(folders, node, false, transport).await.map(drop)
    }

    /// The first node, with the store.
    pub(crate) async fn first(folders: &Folders) -> Self {
        let node = Self::run(folders, 1, CLUSTER, "127.0.0.1:0", true).await;
        let shared = LocalObjects::open(&folders.shared()).unwrap();
        mark_for_cluster(&shared, &ClusterMark { cluster: CLUSTER, store: STORE.into() }).unwrap();
        let create = Command::Create { cluster: CLUSTER, replication: 3, node: facts(1, &node.address) };
        node.control.propose(&create).await.unwrap();
        let declare = Command::DeclareStore { replaces: 0, name: STORE.into(), statement: STATEMENT.into() };
        node.control.propose(&declare).await.unwrap();
        node
    }

    /// A node that runs and has not joined yet.
    pub(crate) async fn fresh(folders: &Folders, node: NodeId) -> Self {
        Self::run(folders, node, 0, "127.0.0.1:0", false).await
    }

    /// As a node does: it asks again while its cluster has no leader just now.
    pub(crate) async fn joins_at_last(&self, at: &Self, sees: &Path) -> Result<Offer, JoinError> {
        let asking = async {
            loop {
                match self.joins(at, sees).await {
                    Err(error) if !error.is_final() => tokio::time::sleep(Duration::from_millis(100)).await,
                    joined => return joined,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asking).await.expect("it does not join in a minute")
    }

    pub(crate) async fn joins(&self, at: &Self, sees: &Path) -> Result<Offer, JoinError> {
        let offer = self.enters(at, sees).await?;
        self.control.joined(offer.cluster, &at.address.to_string());
        Ok(offer)
    }

    /// It is let in, and takes no part yet: it hears nothing of the others until it does.
    pub(crate) async fn enters(&self, at: &Self, sees: &Path) -> Result<Offer, JoinError> {
        let node = self.control.node();
        let places = Arc::new(Seen(sees.to_owned()));
        let facts = facts(node, &self.address);
        let (transport, at) = (self.control.transport(), at.address.to_string());
        let offer = ask_to_join(transport, &at, facts).await?;
        enter(transport, &at, node, offer.clone(), places, entropy()).await?;
        Ok(offer)
    }

    /// Three members.
    pub(crate) async fn three(folders: &Folders) -> Vec<Self> {
        let first = Self::first(folders).await;
        let mut nodes = vec![first];
        for id in 2..=3 {
            let node = Self::fresh(folders, id).await;
            node.joins(&nodes[0], &folders.shared()).await.unwrap();
            nodes.push(node);
        }
        until(|| nodes.iter().all(|node| settled(node, &[1, 2, 3]))).await;
        nodes
    }

    pub(crate) async fn stop(self) {
        self.stop.send(true).unwrap();
        for running in self.running {
            running.await.unwrap();
        }
        self.group.stop().await;
    }
}

/// The meta group is where it shall be, with these voters, as this node sees it.
pub(crate) fn settled(node: &Node, voters: &[NodeId]) -> bool {
    let state = node.control.state();
    let Some(placement) = state.groups().get(&strandline_consensus::GroupId::Meta) else { return false };
    placement.is_settled() && placement.voters.iter().eq(voters)
}

/// Waits for it.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it does not come about in a minute");
}
