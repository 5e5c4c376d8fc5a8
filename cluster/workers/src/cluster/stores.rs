//! The stores of a cluster as one node serves them, and the logs of a node alone as the cluster's first.

use super::ClusterError;
use crate::compaction::pause::PauseFile;
use crate::data_dir::store_folder_in;
use crate::opening::no_keys;
use crate::{clock, keys, random, served};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use strandline_consensus::NodeId;
use strandline_consensus::control::{Control, ControlError, KeptError};
use strandline_consensus::meta::{Command, Erasable, Followers, MetaState};
use strandline_deql::{StoreConfig, changed_keys, parse_file, replaceable_changes};
use strandline_engine::store::{Grace, OpenOptions, Store};
use strandline_wal::Disk;
use tokio::time::{sleep, timeout};

/// Between looks at what the cluster says.
const PAUSE: Duration = Duration::from_millis(100);
/// Looks between two lines in the log about what is waited for.
const SAY_EVERY: u32 = 50;
/// Looks until a node that votes alone leads.
const LOOKS_ALONE: u32 = 300;
/// Time in which a leader reaches a node that has just joined: it tries every half second.
const HEARS_WITHIN: Duration = Duration::from_secs(10);

/// Whose statement holds where a node's own file says something else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum File {
    /// A node that joins: the file must say what the cluster says.
    Agrees,
    /// One that comes back: the cluster's, which may have been replaced since the file was written.
    MayBeOld,
}

/// The cluster's stores, each with this node's `wal.path`: of its own file, or below its data folder.
pub(super) fn of_this_node(
    offered: &[(String, String)],
    own: &[StoreConfig],
    dir: &Path,
    file: File,
) -> Result<Vec<StoreConfig>, ClusterError> {
    if let Some(store) = own.iter().find(|store| !offered.iter().any(|(name, _)| *name == store.name)) {
        return Err(ClusterError::Unknown(store.name.clone()));
    }
    let mut stores = Vec::new();
    for (name, statement) in offered {
        let parsed =
            parse_file("statement of the cluster", statement).ok().and_then(|file| file.stores.into_iter().next());
        let mut config = parsed.ok_or_else(|| ClusterError::Unreadable(name.clone()))?.config;
        match own.iter().find(|store| store.name == *name) {
            Some(own) => {
                check_file(name, &config, own, file)?;
                config.wal.path.clone_from(&own.wal.path);
            }
            None => config.wal.path = Some(strandline_deql::Location::Local(log_folder(dir, name))),
        }
        stores.push(config);
    }
    Ok(stores)
}

fn check_file(name: &str, config: &StoreConfig, own: &StoreConfig, file: File) -> Result<(), ClusterError> {
    let keys = changed_keys(config, own);
    let differs = |keys| Err(ClusterError::Differs { store: name.to_owned(), keys });
    match file {
        _ if keys.is_empty() => Ok(()),
        File::Agrees => differs(keys),
        File::MayBeOld => match replaceable_changes(config, own) {
            Err(fixed) => differs(fixed),
            Ok(()) => {
                tracing::warn!(
                    store = name,
                    "the file of this node differs from the cluster's statement, which holds, in {}; CREATE OR REPLACE on any member changes it",
                    keys.join(", ")
                );
                Ok(())
            }
        },
    }
}

pub(super) fn log_folder(dir: &Path, store: &str) -> PathBuf {
    dir.join("stores").join(strandline_event::encode_path_text(store)).join("log")
}

/// The statements of a cluster's stores, by name.
pub(super) fn statements_of(state: &MetaState) -> Vec<(String, String)> {
    state.stores().iter().map(|(name, store)| (name.clone(), store.statement.clone())).collect()
}

/// Waits until this node has heard from its cluster again: what its own log says may be behind, and needs a quorum to be told as true. What it may hear
/// is that its folder lacks what it had acknowledged.
pub(super) async fn heard(control: &Control) -> Result<MetaState, ClusterError> {
    let mut looks = 1_u32;
    loop {
        if let Some(why) = control.lost() {
            return Err(KeptError::Forsaken(why.to_string()).into());
        }
        let known = control.leaders_state().await.ok().filter(|state| state.cluster().is_some());
        let here = control.state();
        if let Some(state) = known.filter(|state| here.applied() >= state.applied()) {
            return Ok(state);
        }
        if looks.is_multiple_of(SAY_EVERY) {
            tracing::info!(target: "strandline_start", "waiting for more than half of the voters of the cluster: start the other nodes");
        }
        looks += 1;
        sleep(PAUSE).await;
    }
}

/// The cluster is made, if it is not there; what it says then. A new one, of which this node is all, lets a log be followed by the fewest; one that
/// an earlier program has made keeps its rule.
pub(super) async fn make(control: &Control, create: &Command) -> Result<MetaState, ClusterError> {
    control.propose(create).await?;
    let known = heard(control).await?;
    if known.stores().is_empty() && known.nodes().len() == 1 {
        control.propose(&Command::Follow(Followers::Fewest)).await?;
    }
    Ok(known)
}

/// A node was let in: it takes part from now on. Waits until the state of the cluster names it, so that it knows the others: what its leader
/// sent before was refused, and comes again, and who stopped without it would know nobody to tell where it is the next time.
pub(super) async fn joined(control: &Control, cluster: u128, node: NodeId, by: &str) {
    control.joined(cluster, by);
    let hears = async {
        let mut changed = control.watch();
        while control.entry(node).is_none() && changed.changed().await.is_ok() {}
    };
    if timeout(HEARS_WITHIN, hears).await.is_err() {
        tracing::warn!(
            "this node has joined, and has not heard from the cluster yet: can the others reach its --cluster address?"
        );
    }
}

/// What the only voter of a cluster knows: all of it, as soon as it leads.
pub(super) async fn knows_alone(control: &Control) -> Result<MetaState, ControlError> {
    let mut looks = 1_u32;
    loop {
        match control.leaders_state().await {
            Err(_) if looks < LOOKS_ALONE => looks += 1,
            known => return known,
        }
        sleep(PAUSE).await;
    }
}

/// What a node alone has of a store: the stream types that have a log, and how many buckets each has. Its logs must be whole, by the rules of a
/// node alone. `dir`: its data folder. Blocks.
pub(super) fn types_of_alone(
    dir: &Path,
    store: &StoreConfig,
    node: u64,
    disk: Arc<dyn Disk>,
) -> Result<BTreeMap<String, u32>, ClusterError> {
    let wrong = |error| ClusterError::Log { store: store.name.clone(), error: Box::new(error) };
    let keys = keys::provider(store).map_err(|error| wrong(no_keys(error)))?;
    let judged = Store::judge(OpenOptions {
        config: store.clone(),
        disk,
        node,
        now: clock::now(),
        entropy: random::bits(),
        secret: random::bits(),
        accept_lost_log: false,
        grace: Grace::default(),
        scratch: None,
        keys,
        served: served::mark_of(dir, &store.name)?,
    });
    let judged = judged.map_err(wrong)?;
    // those that have several may have no log yet
    let mut types = judged.buckets();
    for log in judged.log_keys() {
        types.entry(log.stream_type.to_string()).or_insert(1);
    }
    Ok(types)
}

/// Each log of these types is that of a group of this node, from its birth on.
pub(super) async fn adopt(control: &Control, store: &str, types: &BTreeMap<String, u32>) -> Result<(), ClusterError> {
    for (name, buckets) in types {
        let register = Command::RegisterType {
            store: store.to_owned(),
            name: name.clone(),
            buckets: *buckets,
            erasable: Erasable::No,
            registered: false,
        };
        control.propose(&register).await?;
    }
    Ok(())
}

/// A store whose compaction was paused while its node was alone stays paused; from here on the cluster keeps that, and the node does not.
pub(super) async fn adopt_pause(control: &Control, store: &str, dir: &Path) -> Result<(), ClusterError> {
    let file = PauseFile::of(&store_folder_in(dir, store));
    if file.is_there()? {
        control.propose(&Command::Pause { store: store.to_owned(), paused: true }).await?;
        file.keep(false)?;
        tracing::info!(store, "compaction is paused, as it was before: `strandline resume` lets it go on");
    }
    Ok(())
}
