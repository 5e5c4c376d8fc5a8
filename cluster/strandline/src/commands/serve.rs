//! `strandline serve`: the statements of a file (or the built-in local store), a node, and its HTTP interface.
//!
//! What it refuses stands here in one place: options and keys that this version does not serve are named and end it
//! with exit code 2; nothing that was asked for is ignored in silence.

use super::check;
use super::member::{Part, clustered, nothing, served, unheeded};
use crate::cli::{Serve, ServeTls, ServeTold};
use crate::exit::Failure;
use crate::{log, out};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strandline_deql::{self as deql, Declarations, StoreConfig};
use strandline_server::access::Access;
use strandline_server::{Bound, Patience, Security, ServeOptions, Server, Signals};
use strandline_tls::{Certificates, Files};
use strandline_workers::cluster::CheckStores;
use strandline_workers::{Made, Node, NodeOptions, ReportLine, Share, memory, runtime};

/// Port of the native protocol, where none is given.
const NATIVE_PORT: u16 = 7071;

pub(crate) fn run(options: &Serve) -> Result<(), Failure> {
    // until the program ends
    let _traces = log::start(&options.told)?;
    apart(options)?;
    let data_dir = absolute(&options.data_dir)?;
    let part = clustered(options, &data_dir)?;
    let declarations = match (&part, &options.config) {
        // the cluster says which stores there are
        (Some(part), None) if !part.creates => nothing(),
        _ => declarations(options.config.as_deref(), &data_dir)?,
    };
    part.as_ref().map_or(Ok(()), |part| part.check(&declarations))?;
    refuse_what_is_not_served(&declarations, &options.told)?;
    let security = security(options, part.as_ref())?;
    refuse_plain_text(&declarations, &security)?;
    memory::take_small_pages();
    let running = runtime::run(serve(declarations, data_dir, options, (part, security)));
    running.map_err(|e| Failure::Server(format!("the runtime does not start: {e}")))?
}

async fn serve(
    declarations: Declarations,
    data_dir: PathBuf,
    options: &Serve,
    (part, security): (Option<Part>, Security),
) -> Result<(), Failure> {
    // first of all: a process that cannot listen must not take a store from another one
    let listening = ServeOptions {
        http: options.http,
        admin: options.admin,
        native: Some(native(options)),
        forward: !options.cluster.no_forward,
        security: security.clone(),
        patience: Patience::default(),
    };
    let bound = Bound::new(listening).map_err(|error| Failure::Usage(error.to_string()))?;
    let mut node_options = NodeOptions::new(data_dir.clone());
    node_options.accept_lost_log = options.accept_lost_log;
    node_options.grace.files_seconds = options.grace_files.as_secs();
    node_options.grace.tombstone_seconds = options.grace_tombstone.as_secs();
    node_options.projection_timeout = options.projection_timeout;
    node_options.subject_keys = options.subject_keys.as_deref().map(absolute).transpose()?;
    node_options.accept_lost_subject_keys = options.accept_lost_subject_keys;
    let share = Share::new(options.compaction_share);
    node_options.compaction_share =
        share.ok_or_else(|| Failure::Usage("--compaction-share: from 1 to 100 percent".to_owned()))?;
    let mut cluster = match part {
        Some(part) => {
            let check = check_stores(&declarations, &security);
            Some(part.enter(&declarations, &node_options, &bound, security.certificates.clone(), check).await?)
        }
        None => None,
    };
    let started = match &mut cluster {
        Some(cluster) => {
            let declarations = served(declarations, &cluster.stores)?;
            refuse_plain_text(&declarations, &security)?;
            unheeded(&cluster.stores).iter().for_each(|line| log::warning(&options.told, line));
            Node::start_member(declarations, node_options, cluster).await
        }
        None => Node::start(declarations, node_options).await,
    };
    let node = started.map_err(|error| {
        let text = error.to_string();
        if error.is_configuration() { Failure::Usage(text) } else { Failure::Server(text) }
    })?;
    for line in node.report() {
        match line {
            ReportLine::Note(text) => log::note(&options.told, text),
            ReportLine::Warning(text) => log::warning(&options.told, text),
        }
    }
    if let Some(line) = what_is_new(node.made(), &data_dir, options.config.as_deref()) {
        log::note(&options.told, &line);
    }
    let server = Server::start(node, bound).map_err(|error| Failure::Usage(error.to_string()))?;
    let signals = Signals::catch().map_err(|e| Failure::Server(format!("signals cannot be caught: {e}")))?;
    let admin = server.admin().map(|address| format!(" admin={address}")).unwrap_or_default();
    let native = server.native().map_or_else(|| "-".to_owned(), |address| address.to_string());
    let folder = data_dir.display().to_string();
    let ready = format!("ready http={} native={native}{admin} data-dir={}", server.http(), out::escaped(&folder));
    if let Err(failure) = out::report(&ready) {
        log::warning(&options.told, failure.text().unwrap_or_default());
    }
    let ended = server.run_until_signal(signals).await.map_err(|e| Failure::Server(format!("the server ended: {e}")));
    if let Some(cluster) = cluster {
        cluster.stop().await;
    }
    ended
}

/// What this start made, where there was nothing: whoever meant another folder or file is told so.
fn what_is_new(made: &Made, data_dir: &Path, config: Option<&Path>) -> Option<String> {
    let folder = made.folder.then(|| format!("the data folder {}", data_dir.display()));
    let stores = (!made.stores.is_empty()).then(|| format!("the empty store {}", made.stores.join(", ")));
    let what: Vec<String> = folder.into_iter().chain(stores).collect();
    if what.is_empty() {
        return None;
    }
    let declared = match config {
        Some(file) => format!("declared in {}", file.display()),
        None => "no --config: the built-in store, in the data folder".to_owned(),
    };
    Some(format!(
        "new: made {} ({declared}); if that was there before, it is elsewhere: stop, and start with the --data-dir and --config of before",
        what.join(" and ")
    ))
}

/// What the cluster's stores must be for this node, as its own file's are: asked before it is let in.
fn check_stores(declarations: &Declarations, security: &Security) -> CheckStores {
    let (declarations, security) = (declarations.clone(), security.clone());
    Arc::new(move |stores| {
        let served = served(declarations.clone(), stores);
        let refused = served.and_then(|served| refuse_plain_text(&served, &security));
        refused.map_err(|failure| failure.text().unwrap_or_default().to_owned())
    })
}

/// Tokens and certificates, as the options name them.
fn security(options: &Serve, part: Option<&Part>) -> Result<Security, Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::Usage(error.to_string());
    let access = match &options.token_file {
        Some(file) => Access::by_file(file).map_err(|error| usage(&error))?,
        None => Access::open_to_all(),
    };
    let ServeTls { tls_cert, tls_key, tls_ca } = &options.tls;
    let (Some(certificate), Some(key)) = (tls_cert, tls_key) else {
        if tls_ca.is_some() {
            return Err(usage(
                &"--tls-ca (or STRANDLINE_TLS_CA) names the authorities of other nodes here: it needs --tls-cert and --tls-key; where the variable is \
                  meant for clients, start the node without it",
            ));
        }
        if options.token_file.is_some() {
            let text = "warning: tokens pass in plain text, and so do events: give --tls-cert and --tls-key";
            log::warning(&options.told, text);
        }
        return Ok(Security { access, certificates: None });
    };
    let files = Files { certificate: certificate.clone(), key: key.clone(), authorities: tls_ca.clone() };
    let certificates = Certificates::open(files, strandline_workers::clock::now()).map_err(|error| usage(&error))?;
    match (part, tls_ca) {
        (None, Some(_)) => {
            Err(usage(&"--tls-ca (or STRANDLINE_TLS_CA) names the authorities of other nodes: it needs --cluster"))
        }
        (Some(_), None) => Err(usage(&"--tls-cert on a cluster needs --tls-ca: the authorities of the other nodes")),
        (Some(part), Some(_)) => match certificates.check_node(part.node()) {
            Ok(()) => Ok(Security { access, certificates: Some(certificates) }),
            Err(why) => Err(usage(&format!("--tls-cert {}: {why}", certificate.display()))),
        },
        (None, None) => Ok(Security { access, certificates: Some(certificates) }),
    }
}

/// `security.encrypt.in_transit`: without a certificate nothing is served at all.
fn refuse_plain_text(declarations: &Declarations, security: &Security) -> Result<(), Failure> {
    let encrypted = declarations.stores.iter().find(|declared| declared.config.security.encrypt_in_transit);
    match encrypted.filter(|_| security.certificates.is_none()) {
        None => Ok(()),
        Some(declared) => Err(Failure::Usage(format!(
            "store {}: security.encrypt.in_transit = true, and there is no certificate: give --tls-cert and --tls-key \
             (`strandline certs dev` makes some for development)",
            declared.config.name
        ))),
    }
}

/// Where the native protocol is served. Who lets the system choose a port for HTTP has several nodes on a machine: no fixed one then.
fn native(options: &Serve) -> SocketAddr {
    let port = if options.http.port() == 0 { 0 } else { NATIVE_PORT };
    options.native.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// Each address is one listener's. The system would say so only when the stores are open, and as if somebody else had it.
fn apart(options: &Serve) -> Result<(), Failure> {
    let cluster = options.cluster.cluster_listen.or(options.cluster.cluster);
    let named = [
        ("--http", Some(options.http)),
        ("--native", Some(native(options))),
        ("--admin", options.admin),
        ("--cluster", cluster),
    ];
    let given = named.iter().filter_map(|(option, address)| Some((*option, (*address)?)));
    let mut known: Vec<(&str, SocketAddr)> = Vec::new();
    for (option, address) in given.filter(|(_, address)| address.port() != 0) {
        if let Some((other, _)) = known.iter().find(|(_, taken)| *taken == address) {
            let text = format!("{other} and {option} are both {address}: give each an address of its own");
            return Err(Failure::Usage(text));
        }
        known.push((option, address));
    }
    Ok(())
}

/// The statements to run: a file's, or the one store `local_dev` under the data folder.
pub(crate) fn declarations(config: Option<&Path>, data_dir: &Path) -> Result<Declarations, Failure> {
    let declarations = match config {
        Some(file) => check::load(file)?,
        None => {
            let text = deql::print(&StoreConfig::local_dev(data_dir));
            deql::parse_file("local_dev", &text).map_err(|e| Failure::Usage(e.render(false)))?
        }
    };
    match config {
        Some(file) if declarations.stores.is_empty() => {
            let file = file.display();
            Err(Failure::Usage(format!("{file} declares no store: it needs a CREATE EVENTSTORE statement")))
        }
        _ => Ok(declarations),
    }
}

/// A relative folder counts from the current one.
pub(crate) fn absolute(folder: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(folder).map_err(|e| Failure::file("find", folder, &e))
}

fn refuse_what_is_not_served(declarations: &Declarations, told: &ServeTold) -> Result<(), Failure> {
    let mut refused = Vec::new();
    for config in declarations.stores.iter().map(|declared| &declared.config) {
        refused.extend(
            deql::serve_refusals(config).into_iter().map(|(key, why)| format!("store {}: {key}: {why}", config.name)),
        );
        for (key, why) in deql::not_active_yet(config) {
            log::note(told, &format!("not active yet: store {}: {key}: {why}", config.name));
        }
        for (key, why) in deql::warnings(config) {
            log::warning(told, &format!("warning: store {}: {key}: {why}", config.name));
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(Failure::Usage(format!("this version does not serve:\n{}", refused.join("\n"))))
}
