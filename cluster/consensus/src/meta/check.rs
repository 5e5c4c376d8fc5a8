//! What a statement must be for a cluster: asked by who proposes it, before it is proposed; never while commands are applied.

use std::path::PathBuf;
use strandline_deql::{CommandScope, Location, StoreConfig};

/// What stands for `wal.path` in a statement of a cluster: the folder belongs to each node.
const WAL_PATH: &str = "/wal.path-belongs-to-each-node";

/// A store that no cluster keeps.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("store {store}: {}", .reasons.iter().map(|(key, why)| format!("{key}: {why}")).collect::<Vec<_>>().join("; "))]
pub struct StoreRefused {
    /// Its name.
    pub store: String,
    /// Keys, and what to change.
    pub reasons: Vec<(&'static str, &'static str)>,
}

/// The statement as the meta group keeps it: what belongs to each node taken out.
///
/// # Errors
/// [`StoreRefused`], all reasons at once.
pub fn cluster_statement(config: &StoreConfig) -> Result<String, StoreRefused> {
    let mut reasons = Vec::new();
    if !config.wal.enabled {
        let why = "a store without a log is served by a node alone: on a cluster the log is what is replicated; set it to true";
        reasons.push(("wal.enabled", why));
    } else if !config.wal.fsync {
        let why = "false is refused on a cluster: a replica that forgets what it has acknowledged may vote away events; leave it true";
        reasons.push(("wal.fsync", why));
    }
    for (key, location) in
        [("durable.path", &config.durable.path), ("durable.commit.manifest_path", &config.durable.manifest_path)]
    {
        if matches!(location, Location::Memory { .. }) {
            reasons.push((
                key,
                "memory of one process is not shared: name a folder that all nodes mount, or an object store",
            ));
        }
    }
    if !reasons.is_empty() {
        return Err(StoreRefused { store: config.name.clone(), reasons });
    }
    let mut config = config.clone();
    config.wal.path = Some(Location::Local(PathBuf::from(WAL_PATH)));
    Ok(strandline_deql::print(&config))
}

/// Why a stream type of so many parts cannot be in this store; none: it can.
#[must_use]
pub fn refused_type(config: &StoreConfig, buckets: u32) -> Option<String> {
    let one_owner = config.id.command_id_unique_scope == CommandScope::StreamType;
    (one_owner && buckets > 1).then(|| {
        format!(
            "{buckets} buckets: in this store a command id is unique in its stream type (id.command_id.unique_scope), which \
             one owner checks: register the type with 1 bucket"
        )
    })
}
