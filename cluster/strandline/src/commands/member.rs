//! `serve --cluster`: what the options make of a node, and the way into its cluster.
//!
//! What this version does not do on a cluster is refused here, before anything is touched.

use crate::cli::Serve;
use crate::exit::Failure;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_consensus::join::{Membership, StartFlags, StartRefused, start};
use strandline_consensus::meta::{Addresses, Roles, cluster_statement};
use strandline_deql::{self as deql, Declarations, StoreConfig};
use strandline_server::{Bound, ServeError};
use strandline_tls::Certificates;
use strandline_workers::cluster::{CheckStores, ClusterNode, ClusterOptions, start_cluster};
use strandline_workers::{NodeOptions, whose_folder};
use tokio::net::TcpListener;

/// Voters of every log, where nothing is said.
const REPLICATION: u8 = 3;

/// A node of a cluster, by its options.
#[derive(Debug)]
pub(crate) struct Part {
    /// It makes the cluster: its stores are those of its own file.
    pub(crate) creates: bool,
    node: u64,
    flags: StartFlags,
    address: SocketAddr,
    listen: Option<SocketAddr>,
    roles: Option<Roles>,
    replication: u8,
    data_dir: PathBuf,
}

/// What the options make of the node; `None`: it is alone. The data directory of a cluster's member is never served as a node alone.
pub(crate) fn clustered(options: &Serve, data_dir: &Path) -> Result<Option<Part>, Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::Usage(error.to_string());
    let given = &options.cluster;
    let flags = StartFlags {
        node_id: given.node_id,
        cluster: given.cluster.map(|address| address.to_string()),
        join: given.join.clone(),
    };
    let alone = [
        ("--replication", given.replication.is_some()),
        ("--roles", given.roles.is_some()),
        ("--no-forward", given.no_forward),
        ("--cluster-listen", given.cluster_listen.is_some()),
    ];
    for (name, is_given) in alone {
        if is_given && flags.cluster.is_none() {
            return Err(usage(&StartRefused::NeedsCluster(name)));
        }
    }
    let folder = whose_folder(data_dir).map_err(|error| match error.is_of_the_folder() {
        true => usage(&error),
        false => Failure::Server(error.to_string()),
    })?;
    let membership = start(folder, &flags).map_err(|error| usage(&error))?;
    let (Some(address), false) = (given.cluster, membership == Membership::Alone) else { return Ok(None) };
    let creates = matches!(membership, Membership::Creates { .. });
    if let Some(roles) = given.roles.filter(|roles| creates && !roles.ingest) {
        return Err(Failure::Usage(format!(
            "--roles {roles}: the first node of a cluster keeps its logs: give it the role ingest too, or name the cluster that it joins with --join"
        )));
    }
    if options.accept_lost_log {
        return Err(Failure::Usage(
            "--accept-lost-log: a node of a cluster gets what it lacks from the others; one that lost its log joins again under a new \
             --node-id, with an empty data directory"
                .to_owned(),
        ));
    }
    let has_certificates = options.tls.tls_cert.is_some();
    let outside = [Some(address), given.cluster_listen].into_iter().flatten().find(|a| !a.ip().is_loopback());
    if let Some(address) = outside.filter(|_| !has_certificates) {
        return Err(Failure::Usage(format!(
            "--cluster {address}: without certificates nodes speak plain text and believe each other, so they run on one machine: give \
             --tls-cert, --tls-key and --tls-ca, or name a loopback address (127.0.0.1 or [::1])"
        )));
    }
    if address.ip().is_unspecified() {
        return Err(Failure::Usage(format!(
            "--cluster {address}: other nodes must reach this one there: name its address, and listen on all with --cluster-listen {address}"
        )));
    }
    Ok(Some(Part {
        creates,
        node: match membership {
            Membership::Creates { node, .. } | Membership::Joins { node, .. } | Membership::Is { node, .. } => node,
            Membership::Alone => 0,
        },
        flags,
        address,
        listen: given.cluster_listen,
        roles: given.roles,
        replication: given.replication.unwrap_or(REPLICATION),
        data_dir: data_dir.to_owned(),
    }))
}

/// Where others reach a listener: one that listens on all addresses, at the address that the cluster knows this node by.
fn reached(listens: SocketAddr, cluster: SocketAddr) -> String {
    let ip = if listens.ip().is_unspecified() { cluster.ip() } else { listens.ip() };
    SocketAddr::new(ip, listens.port()).to_string()
}

impl Part {
    /// The node's id.
    pub(crate) const fn node(&self) -> u64 {
        self.node
    }

    /// What a cluster keeps of no store.
    pub(crate) fn check(&self, declarations: &Declarations) -> Result<(), Failure> {
        let check = |config| cluster_statement(config).map(drop).map_err(|error| Failure::Usage(error.to_string()));
        declarations.stores.iter().try_for_each(|declared| check(&declared.config))
    }

    /// Makes the cluster, joins it, or comes back to it.
    pub(crate) async fn enter(
        self,
        declarations: &Declarations,
        node: &NodeOptions,
        bound: &Bound,
        certificates: Option<Arc<Certificates>>,
        check: CheckStores,
    ) -> Result<ClusterNode, Failure> {
        let Self { flags, address, listen, roles, replication, data_dir, .. } = self;
        let at = listen.unwrap_or(address);
        let cannot = |error: std::io::Error| Failure::Usage(ServeError::Bind { address: at, error }.to_string());
        let listener = TcpListener::bind(at).await.map_err(cannot)?;
        let cluster = match listen {
            Some(_) => address,
            None => listener.local_addr().map_err(cannot)?,
        };
        let native = bound.native().map(|address| reached(address, cluster)).unwrap_or_default();
        let http = reached(bound.http(), cluster);
        let cluster = cluster.to_string();
        let addresses = Addresses { cluster: cluster.clone(), http, native };
        let flags = StartFlags { cluster: Some(cluster), ..flags };
        let options = ClusterOptions { flags, addresses, roles, replication, certificates, check };
        let stores: Vec<StoreConfig> = declarations.stores.iter().map(|declared| declared.config.clone()).collect();
        let entered = start_cluster(&data_dir, &stores, options, listener, node).await;
        let entered = entered.map_err(|error| {
            let text = error.to_string();
            if error.is_configuration() { Failure::Usage(text) } else { Failure::Server(text) }
        })?;
        entered.ok_or_else(|| Failure::Server("the data directory became that of a node alone meanwhile".to_owned()))
    }
}

/// The stores of the cluster, in the place of those of the node's file.
pub(crate) fn served(declarations: Declarations, stores: &[StoreConfig]) -> Result<Declarations, Failure> {
    let text: String = stores.iter().map(|config| deql::print(config) + "\n").collect();
    let of_cluster =
        deql::parse_file("the cluster's statements", &text).map_err(|e| Failure::Usage(e.render(false)))?;
    Ok(Declarations { stores: of_cluster.stores, ..declarations })
}

/// What a node declares that takes its stores from a cluster.
pub(crate) const fn nothing() -> Declarations {
    Declarations { statements: Vec::new(), stores: Vec::new(), aggregates: Vec::new() }
}

/// What these stores ask for and a cluster does not do yet, though it serves them: a line each.
pub(crate) fn unheeded(stores: &[StoreConfig]) -> Vec<String> {
    let of = |config: &StoreConfig| {
        let lines = strandline_workers::unheeded(config).into_iter();
        lines.map(|(key, why)| format!("not active yet: store {}: {key}: {why}", config.name)).collect::<Vec<_>>()
    };
    stores.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cluster_does_not_do_yet_is_said_of_a_store_that_asks_for_it() {
        let said = |keys: &str| {
            let text = format!(
                "CREATE EVENTSTORE s WITH (durable.type = 'parquet', durable.path = '/d', wal.enabled = true, wal.path = '/w'{keys});"
            );
            let declared = deql::parse_file("s", &text).unwrap();
            unheeded(&declared.stores.into_iter().map(|store| store.config).collect::<Vec<_>>())
        };
        assert_eq!(said(", projection.notify_on_commit = true"), Vec::<String>::new());
        assert_eq!(said(", projection.mode = 'sync'"), Vec::<String>::new());
        let inspect = said(", projection.notify_on_inspect = true");
        assert_eq!(inspect.len(), 1, "{inspect:?}");
        assert!(inspect[0].starts_with("not active yet: store s: projection.notify_on_inspect: "), "{inspect:?}");
    }
}
