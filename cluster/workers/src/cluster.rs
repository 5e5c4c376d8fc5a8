//! A node's part in a cluster, from its options to a control plane that runs: the rules of starting and joining, in their order.
//!
//! ```text
//!  statements fit a cluster -> folder and options agree -> no local store that was served here is away -> folder locked, `member` written
//!     creates: durable.path free, marked -> meta group of one -> Create, DeclareStore
//!     joins:   listens -> Join, Offer -> the stores open here -> proof (control::join) -> `member` says the cluster
//!     is:      no other member has heard of a newer copy of the folder -> meta group over its log -> further stores, as creates, of a first node
//!              that is still alone -> SetRoles where it shall do something else -> Readdress where its addresses are others now
//! ```
//!
//! What is refused is refused before anything is written that another start could trip over. It refuses to open stores.

mod addresses;
mod changed;
mod kept;
mod kept_state;
mod life;
pub(crate) mod looked;
mod marks;
mod stores;

use crate::data_dir::{DataDir, DataDirError};
use crate::member_file::{MemberFile, whose_folder};
use crate::member_stores::{check_members, refuse_options};
use crate::node::{NodeOptions, StartError};
use crate::subjects::shared::refuse_without_keys;
use crate::subjects::unserved_in_cluster;
use crate::{clock, random, served};
use changed::{keep_roles, readdress};
pub use kept::kept_stores;
use kept_state::KeptFile;
use marks::{check_free, check_further, is_there, mark};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stores::{File, adopt, adopt_pause, heard, joined, knows_alone, make, of_this_node, statements_of, types_of_alone};
use strandline_consensus::control::{
    Control, ControlError, ControlParts, JoinError, KeptError, Life, MetaMachine, MetaParts, OpenMetaError,
    SEGMENT_BYTES, StatementPlaces, admit, ask_to_join, open_meta, prove_offer,
};
use strandline_consensus::join::{Membership, StartFlags, StartRefused, start};
use strandline_consensus::meta::{Addresses, Command, NodeFacts, Roles, StoreRefused, cluster_statement};
use strandline_consensus::net::{Connect, Identity, Listener, NetTransport, TcpConnect, TlsConnect};
use strandline_consensus::{Groups, NodeId};
use strandline_deql::StoreConfig;
use strandline_durable::objects::{MarkError, ObjectError};
use strandline_tls::Certificates;
use strandline_wal::IoThread;
use strandline_wal::io::abort_on_fatal;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Between attempts to join while the member that is asked cannot be reached.
const JOIN_PAUSE: Duration = Duration::from_millis(500);
/// Attempts, so that a node that is started with the others finds them.
const JOIN_ATTEMPTS: usize = 40;

/// Says why a node must not serve these stores; who starts it knows more than the stores themselves.
pub type CheckStores = Arc<dyn Fn(&[StoreConfig]) -> Result<(), String> + Send + Sync>;

/// How a node takes part.
#[derive(Clone)]
pub struct ClusterOptions {
    /// --node-id, --cluster, --join.
    pub flags: StartFlags,
    /// Where the node is reached.
    pub addresses: Addresses,
    /// --roles; none: what the node did before, or everything.
    pub roles: Option<Roles>,
    /// --replication; only the node that makes the cluster says it.
    pub replication: u8,
    /// What nodes show to each other; `None`: they speak plain text, and believe each other.
    pub certificates: Option<Arc<Certificates>>,
    /// Asked about the cluster's stores before a node is let in.
    pub check: CheckStores,
}

/// Why a node does not take part.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Options and folder.
    #[error(transparent)]
    Start(#[from] StartRefused),
    /// A store that no cluster keeps.
    #[error(transparent)]
    Store(#[from] StoreRefused),
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The cluster's stores cannot be served by this node; it was not let in.
    #[error(transparent)]
    Serve(#[from] Box<StartError>),
    /// The meta group.
    #[error(transparent)]
    Meta(#[from] OpenMetaError),
    /// What was kept of its state.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// Another process runs over a copy of the folder, or has been killed a moment ago. Nothing was written.
    #[error(
        "another process that runs as node {own} over a copy of this data directory was heard {} s ago by node {by}: stop it, or wait if it has just \
         been killed", .ago.as_secs()
    )]
    Runs {
        /// This node.
        own: NodeId,
        /// Who has heard it.
        by: NodeId,
        /// How long ago.
        ago: Duration,
    },
    /// Another node's store.
    #[error("store `{store}`: {error}")]
    Mark {
        /// The store.
        store: String,
        /// Whose it is.
        error: MarkError,
    },
    /// Its durable.path cannot be looked at.
    #[error("store `{store}`: {location} cannot be opened: {error}")]
    Place {
        /// The store.
        store: String,
        /// Its durable.path.
        location: String,
        /// What it says.
        error: ObjectError,
    },
    /// A store whose log is somewhere else.
    #[error(
        "store `{store}`: {location} holds files of a node alone, whose log is not in this data directory: what a cluster takes on needs an empty \
         durable.path, or the data directory (and the log) of the node that wrote them"
    )]
    NotEmpty {
        /// The store.
        store: String,
        /// Its durable.path.
        location: String,
    },
    /// The statement differs from the cluster's.
    #[error(
        "store `{store}`: the cluster's statement differs in {}: write them as the cluster has them (GET /v1/stores/{store}); only \
         wal.path belongs to each node", .keys.join(", ")
    )]
    Differs {
        /// The store.
        store: String,
        /// The keys.
        keys: Vec<&'static str>,
    },
    /// A store that the cluster has not.
    #[error("store `{0}` is not declared in this cluster: declare it there first (POST /api/deql/create on a member)")]
    Unknown(String),
    /// A statement of the cluster that this program cannot read.
    #[error("the cluster's statement of store `{0}` cannot be read by this program: update this node")]
    Unreadable(String),
    /// The log of a node alone, which is to become the cluster's first.
    #[error("store `{store}`: {error}")]
    Log {
        /// The store.
        store: String,
        /// What is wrong.
        error: Box<strandline_engine::store::OpenError>,
    },
    /// Stores that only a node alone serves.
    #[error("{}", .0.join("\n"))]
    Erasable(Vec<String>),
    /// Not let in.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The first commands.
    #[error("the cluster was not made: {0}")]
    Control(#[from] ControlError),
    /// Other roles than it had.
    #[error("--roles {wanted}: {error}; this node has had {had}: start it with these, or without --roles")]
    Roles {
        /// The option's.
        wanted: Roles,
        /// Those of the last start.
        had: Roles,
        /// What the cluster says.
        error: ControlError,
    },
    /// Threads.
    #[error("the operating system gives no thread: {0}")]
    Threads(#[from] std::io::Error),
}

impl ClusterError {
    /// Whether the operator has to change something before another try makes sense.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Start(_)
            | Self::Store(_)
            | Self::Mark { .. }
            | Self::NotEmpty { .. }
            | Self::Differs { .. }
            | Self::Log { .. }
            | Self::Erasable(_)
            | Self::Unknown(_) => true,
            Self::DataDir(error) => matches!(error, DataDirError::InUse { .. }) || error.is_of_the_folder(),
            Self::Kept(error) => matches!(error, KeptError::Forsaken(_)),
            Self::Roles { error, .. } => matches!(error, ControlError::Refused { .. }),
            Self::Serve(error) => error.is_configuration(),
            Self::Join(error) => error.is_final(),
            _ => false,
        }
    }
}

/// A node that takes part.
#[derive(Debug)]
pub struct ClusterNode {
    /// The cluster as this node sees and changes it.
    pub control: Control,
    /// The stores to serve, as the cluster has them, with this node's own `wal.path`.
    pub stores: Vec<StoreConfig>,
    data_dir: Option<DataDir>,
    /// How far its folder counts since this start; none: it has not counted yet.
    life: Option<Life>,
    stop: watch::Sender<bool>,
    running: Vec<JoinHandle<()>>,
}

impl ClusterNode {
    /// The node's id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.control.node()
    }

    /// The data folder, for the node that serves the cluster's stores over it: it releases it.
    pub(crate) fn take_folder(&mut self) -> Option<DataDir> {
        self.data_dir.take()
    }

    fn readdress(&mut self, member: &MemberFile, options: &ClusterOptions) {
        let (control, facts) = (self.control.clone(), facts(member, options));
        self.running.push(tokio::spawn(readdress(control, facts, self.stop.subscribe())));
    }

    /// Keeps in the folder what the cluster says.
    fn keep(&mut self, dir: &Path, stores: &[StoreConfig]) {
        let (control, stopped) = (self.control.clone(), self.stop.subscribe());
        self.running.push(tokio::spawn(addresses::keep(control, dir.to_owned(), stopped)));
        let (control, stopped) = (self.control.clone(), self.stop.subscribe());
        self.running.push(tokio::spawn(kept::keep(control, dir.to_owned(), stores.to_vec(), stopped)));
        let (control, stopped) = (self.control.clone(), self.stop.subscribe());
        self.running.push(tokio::spawn(life::keep(control, dir.to_owned(), self.life, stopped)));
    }

    /// Stops: the other nodes elect a leader where this one led.
    pub async fn stop(self) {
        // nobody listens: then it has stopped
        let _ = self.stop.send(true);
        for running in self.running {
            // one that panicked has said so
            let _ = running.await;
        }
        for group in self.control.groups().all() {
            group.stop().await;
        }
        // whoever starts over the folder next is not taken for another one beside this
        self.control.transport().leave();
        if let Some(data_dir) = &self.data_dir {
            data_dir.release();
        }
    }
}

/// Takes part. `None`: by its options the node is alone. `listener`: where other nodes reach this one.
///
/// # Errors
/// [`ClusterError`]; nothing runs then.
pub async fn start_cluster(
    dir: &Path,
    stores: &[StoreConfig],
    options: ClusterOptions,
    listener: TcpListener,
    node_options: &NodeOptions,
) -> Result<Option<ClusterNode>, ClusterError> {
    let statements = stores.iter().map(cluster_statement).collect::<Result<Vec<_>, _>>()?;
    let membership = start(whose_folder(dir)?, &options.flags)?;
    if membership == Membership::Alone {
        return Ok(None);
    }
    refuse_options(node_options).map_err(Box::new)?;
    let unserved = unserved_in_cluster(dir, stores.iter().map(|store| store.name.as_str()));
    if !unserved.is_empty() {
        return Err(ClusterError::Erasable(unserved));
    }
    // before a mark is made in their place
    served::refuse_bare(stores, &*node_options.disk.0, dir).map_err(Box::new)?;
    let mut types = Vec::new();
    if let Membership::Creates { has_log, node } = membership {
        for store in stores {
            check_free(store, has_log, None)?;
            if has_log {
                let (dir, store, disk) = (dir.to_owned(), store.clone(), Arc::clone(&node_options.disk.0));
                let looking = tokio::task::spawn_blocking(move || types_of_alone(&dir, &store, node, disk));
                types.push(looking.await.map_err(std::io::Error::other)??);
            }
        }
    }
    let (data_dir, member) = take_folder(dir, &membership, options.roles)?;
    let mut node = run(dir, data_dir, member, &options, listener, node_options).await?;
    let joins = matches!(membership, Membership::Joins { .. });
    let made = match membership {
        Membership::Creates { .. } => {
            let made = create(&node.control, &options, &member, (stores, statements), dir).await;
            for (store, types) in stores.iter().zip(&types).filter(|_| made.is_ok()) {
                adopt(&node.control, &store.name, types).await?;
            }
            made
        }
        Membership::Joins { at, .. } => {
            let (control, folder) = (&node.control, node.data_dir.as_ref());
            let_in(&Joining { control, options: &options, dir, member, at: &at, own: stores, folder, node_options })
                .await
        }
        Membership::Is { .. } => {
            // from the start: nobody else looks for one that follows where it is now, and it waits for them
            options.flags.join.iter().for_each(|at| node.control.may_be_at(at.clone()));
            node.readdress(&member, &options);
            come_back(&node.control, &options, &member, (stores, statements), dir).await
        }
        Membership::Alone => Ok(Vec::new()),
    };
    let made = made.and_then(|stores| {
        refuse_without_keys(&node.control, node_options, joins).map(|()| stores).map_err(|error| Box::new(error).into())
    });
    let kept = made.and_then(|stores| kept::write(dir, &stores).map(|()| stores).map_err(ClusterError::from));
    match kept {
        Ok(stores) => {
            node.keep(dir, &stores);
            node.stores = stores;
            Ok(Some(node))
        }
        Err(error) => {
            node.stop().await;
            Err(error)
        }
    }
}

fn facts(member: &MemberFile, options: &ClusterOptions) -> NodeFacts {
    let MemberFile { node: id, instance, roles, .. } = *member;
    NodeFacts { id, instance, roles, addresses: options.addresses.clone() }
}

/// Locks the folder, and says in it what it is from now on.
fn take_folder(
    dir: &Path,
    membership: &Membership,
    roles: Option<Roles>,
) -> Result<(DataDir, MemberFile), DataDirError> {
    let (node, cluster, founds) = match membership {
        Membership::Creates { node, .. } => (*node, random::bits().max(1), true),
        Membership::Joins { node, .. } => (*node, 0, false),
        Membership::Is { node, cluster } => (*node, *cluster, false),
        Membership::Alone => (0, 0, false),
    };
    let data_dir = DataDir::open_as(dir, node)?;
    let member = match MemberFile::read(dir)? {
        Some(member) => match roles {
            // it asks again, for something else
            Some(roles) if member.cluster == 0 && roles != member.roles => {
                let member = MemberFile { roles, ..member };
                member.write(dir)?;
                member
            }
            _ => member,
        },
        None => {
            let roles = roles.unwrap_or(Roles::ALL);
            let member = MemberFile { cluster, node, instance: random::bits(), founds, roles };
            member.write(dir)?;
            member
        }
    };
    Ok((data_dir, member))
}

async fn run(
    dir: &Path,
    data_dir: DataDir,
    member: MemberFile,
    options: &ClusterOptions,
    listener: TcpListener,
    node_options: &NodeOptions,
) -> Result<ClusterNode, ClusterError> {
    let program = concat!("strandline/", env!("CARGO_PKG_VERSION"));
    let identity = Identity::new(member.node, member.instance, member.cluster, program);
    let connect: Arc<dyn Connect> = match &options.certificates {
        Some(certificates) => Arc::new(TlsConnect(Arc::clone(certificates))),
        None => Arc::new(TcpConnect),
    };
    let transport = Arc::new(NetTransport::new(Arc::clone(&identity), connect));
    transport.learn(member.node, &options.addresses.cluster);
    let (known, log) = (addresses::read(dir)?, dir.join("cluster").join("meta"));
    if addresses::is_log_gone(&known, member.node, &log, &*node_options.disk.0)? {
        return Err(OpenMetaError::Damaged { dir: log, what: "it is gone".to_owned() }.into());
    }
    for (node, address) in &known {
        transport.learn(*node, address);
    }
    // first: a folder that must not be gone on with counts no more, or it would come above the one in whose place it was put
    let machine = Arc::new(MetaMachine::open(Box::new(KeptFile::of(dir)))?);
    let is_member = member.cluster != 0;
    let life = if is_member { life::begin(dir, &transport, &known, member.node).await? } else { None };
    let groups = Arc::new(Groups::default());
    let now: strandline_consensus::Clock = Arc::new(clock::now);
    let meta = open_meta(MetaParts {
        dir: log,
        disk: Arc::clone(&node_options.disk.0),
        io: Arc::new(IoThread::start(abort_on_fatal())?),
        node: member.node,
        founds: member.founds,
        birth: random::nonzero_u64(),
        segment_bytes: SEGMENT_BYTES,
        clock: Arc::clone(&now),
        machine: machine.clone(),
        transport: transport.clone(),
    });
    let meta = meta.await?;
    groups.insert(Arc::clone(&meta));
    let control = Control::new(ControlParts {
        identity: Arc::clone(&identity),
        groups: Arc::clone(&groups),
        meta,
        machine,
        transport,
        places: Arc::new(StatementPlaces),
        entropy: Arc::new(random::bits),
        clock: now,
    });
    let (stop, stopped) = watch::channel(false);
    let mut listening = Listener::new(identity, groups, Arc::new(control.clone()));
    if let Some(certificates) = &options.certificates {
        listening = listening.with_certificates(Arc::clone(certificates));
    }
    let running =
        vec![tokio::spawn(listening.run(listener, stopped.clone())), tokio::spawn(control.clone().run(stopped))];
    Ok(ClusterNode { control, stores: Vec::new(), data_dir: Some(data_dir), life, stop, running })
}

/// The first commands. Each may be repeated: a start that dies in between goes on here at the next one.
async fn create(
    control: &Control,
    options: &ClusterOptions,
    member: &MemberFile,
    (stores, statements): (&[StoreConfig], Vec<String>),
    dir: &Path,
) -> Result<Vec<StoreConfig>, ClusterError> {
    let is_new = |store: &StoreConfig| control.with_state(|state| !state.stores().contains_key(&store.name));
    // one that the cluster has was marked before it had it: where neither that nor the store is found, its place is not mounted
    for store in stores.iter().filter(|store| is_new(store) || is_there(store)) {
        mark(store, member.cluster)?;
    }
    let create =
        Command::Create { cluster: member.cluster, replication: options.replication, node: facts(member, options) };
    // a node that comes back may not have replayed yet what was declared, and replaced since
    let known = make(control, &create).await?;
    for (store, statement) in stores.iter().zip(statements) {
        if !known.stores().contains_key(&store.name) {
            control.propose(&Command::DeclareStore { replaces: 0, name: store.name.clone(), statement }).await?;
        }
        adopt_pause(control, &store.name, dir).await?;
    }
    Ok(stores.to_vec())
}

/// A node that asks to become a member.
struct Joining<'a> {
    control: &'a Control,
    options: &'a ClusterOptions,
    dir: &'a Path,
    member: MemberFile,
    /// Whom it asks.
    at: &'a str,
    /// The stores of its own file.
    own: &'a [StoreConfig],
    folder: Option<&'a DataDir>,
    node_options: &'a NodeOptions,
}

async fn let_in(joining: &Joining<'_>) -> Result<Vec<StoreConfig>, ClusterError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match try_to_join(joining).await {
            Err(ClusterError::Join(error)) if !error.is_final() && attempts < JOIN_ATTEMPTS => {
                // once for whoever waits at a terminal
                if attempts == 1 {
                    // nodes that are started together wait for the first one
                    tracing::info!(target: "strandline_start", "not joined yet, it is asked again for a while: {error}");
                } else {
                    tracing::info!("not joined yet: {error}");
                }
            }
            joined => return joined,
        }
        sleep(JOIN_PAUSE).await;
    }
}

async fn try_to_join(joining: &Joining<'_>) -> Result<Vec<StoreConfig>, ClusterError> {
    let Joining { control, options, dir, member, at, own, .. } = *joining;
    let offer = ask_to_join(control.transport(), at, facts(&member, options)).await?;
    // before anybody counts on this node
    let offered: Vec<_> = offer.stores.iter().map(|store| (store.name.clone(), store.statement.clone())).collect();
    let stores = of_this_node(&offered, own, dir, File::Agrees)?;
    let (places, entropy, cluster) = (Arc::new(StatementPlaces), Arc::new(random::bits), offer.cluster);
    let proof = prove_offer(offer, places, entropy).await?;
    (options.check)(&stores).map_err(|line| Box::new(StartError::Refused(vec![line])))?;
    if let Some(folder) = joining.folder {
        check_members(stores.clone(), joining.node_options, folder).await.map_err(Box::new)?;
    }
    admit(control.transport(), at, member.node, proof).await?;
    MemberFile { cluster, ..member }.write(dir)?;
    joined(control, cluster, member.node, at).await;
    Ok(stores)
}

async fn come_back(
    control: &Control,
    options: &ClusterOptions,
    member: &MemberFile,
    (stores, statements): (&[StoreConfig], Vec<String>),
    dir: &Path,
) -> Result<Vec<StoreConfig>, ClusterError> {
    let is_alone = control.meta_status().voters.iter().eq([&member.node]);
    if member.founds && is_alone {
        check_further(&knows_alone(control).await?, member.cluster, stores)?;
        // it may have died before everything was said that makes a cluster; said again it changes nothing
        create(control, options, member, (stores, statements), dir).await?;
    }
    let state = heard(control).await?;
    keep_roles(control, options.roles, member, &state, dir).await?;
    of_this_node(&statements_of(&state), stores, dir, File::MayBeOld)
}
