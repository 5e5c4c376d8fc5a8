//! The stores that an offline command looks at: those that the node on this folder would serve. No node may run on it.

use super::serve;
use crate::cli::Offline;
use crate::exit::Failure;
use std::fs::{File, TryLockError};
use std::path::Path;
use strandline_consensus::join::Folder;
use strandline_deql::StoreConfig;
use strandline_workers::cluster::kept_stores;
use strandline_workers::{DataDirError, StoreLock, parse_node_id, whose_folder};

/// The stores, and the locks of node and stores as long as they are looked at.
pub(crate) struct Stores {
    /// All of the file, or the one that is named.
    pub(crate) configs: Vec<StoreConfig>,
    /// What is wrong with the node's own folder.
    pub(crate) findings: Vec<String>,
    /// The node's id, where it can be read.
    pub(crate) node: Option<u64>,
    _lock: Option<File>,
    _stores: Vec<StoreLock>,
}

/// Takes the node's lock and reads the declarations.
pub(crate) fn stores(options: &Offline, named: Option<&str>) -> Result<Stores, Failure> {
    let data_dir = serve::absolute(&options.data_dir)?;
    if !data_dir.is_dir() {
        return Err(Failure::Usage(format!(
            "there is no folder {}: name the node's with --data-dir, and the file of its statements with --config",
            data_dir.display()
        )));
    }
    let is_member = is_member(&data_dir)?;
    let known = served(options.config.as_deref(), &data_dir)?;
    let names: Vec<&str> = known.iter().map(|config| config.name.as_str()).collect();
    let unknown = |name| Failure::Usage(format!("no store is called {name}; there is {}", names.join(", ")));
    let configs = match named {
        None => known.clone(),
        Some(name) => vec![known.iter().find(|config| config.name == name).ok_or_else(|| unknown(name))?.clone()],
    };
    let lock = lock(&data_dir)?;
    // a node with another data folder may serve them
    let locks = configs.iter().map(|config| StoreLock::to_look(config, is_member)).collect::<Result<Vec<_>, _>>();
    let findings = lock.is_some().then(|| node_id_fault(&data_dir)).flatten().into_iter().collect();
    let node = std::fs::read(data_dir.join("node-id")).ok().and_then(|bytes| parse_node_id(&bytes));
    Ok(Stores { configs, findings, node, _lock: lock, _stores: locks.map_err(|e| Failure::Usage(e.to_string()))? })
}

/// What was looked at where there is no store, and how the right one is named.
pub(crate) fn looked_at(options: &Offline) -> Result<String, Failure> {
    let data_dir = serve::absolute(&options.data_dir)?;
    let what = match &options.config {
        Some(file) => format!("the statements of {}", file.display()),
        None => "no --config, so the built-in store `local_dev` in it".to_owned(),
    };
    Ok(format!(
        "looked at the data folder {} and {what}: name the --data-dir and the --config that the node is served with",
        data_dir.display()
    ))
}

fn is_member(data_dir: &Path) -> Result<bool, Failure> {
    match whose_folder(data_dir) {
        Ok(Folder::Joining { node }) => Err(Failure::Usage(format!(
            "{} is that of node {node}, which has begun to join a cluster and was not let in: it holds nothing yet; start it again, and it \
             says why",
            data_dir.display()
        ))),
        Ok(folder) => Ok(matches!(folder, Folder::Member { .. })),
        // that of a node alone, whose id is damaged: one of the findings
        Err(DataDirError::NodeId(_)) => Ok(false),
        Err(error) => Err(Failure::Usage(error.to_string())),
    }
}

/// The stores that the node on a folder serves: a file's; or what a member of a cluster has kept of them, or the store `local_dev`.
pub(crate) fn served(config: Option<&Path>, data_dir: &Path) -> Result<Vec<StoreConfig>, Failure> {
    let of_file = || {
        let declarations = serve::declarations(config, data_dir)?;
        Ok(declarations.stores.into_iter().map(|declared| declared.config).collect())
    };
    if !is_member(data_dir)? {
        return of_file();
    }
    let advice = "name the file of the cluster's statements with --config (`GET /v1/stores/{store}` of a member shows one), each with the wal.path \
                  of this node";
    let kept = kept_stores(data_dir).map_err(|error| Failure::Usage(format!("{error}\n{advice}")));
    if config.is_none() {
        let folder = data_dir.display();
        return kept?.ok_or_else(|| {
            let text =
                "is that of a node of a cluster, which has not kept what it serves (an earlier version ran on it)";
            Failure::Usage(format!("{folder} {text}: {advice}"))
        });
    }
    let given: Vec<StoreConfig> = of_file()?;
    let kept = kept.ok().flatten().unwrap_or_default();
    let elsewhere = given.iter().find_map(|given| {
        let kept = kept.iter().find(|kept| kept.name == given.name && kept.wal.path != given.wal.path)?;
        Some((given, kept.wal.path.as_ref()?))
    });
    match elsewhere {
        None => Ok(given),
        Some((store, log)) => Err(Failure::Usage(format!(
            "store {}: the node on {} keeps its log in {log}, and --config names another wal.path: leave --config out",
            store.name,
            data_dir.display()
        ))),
    }
}

/// Why a node cannot start with the id that its folder holds.
fn node_id_fault(data_dir: &Path) -> Option<String> {
    let path = data_dir.join("node-id");
    let shown = path.display();
    match std::fs::read(&path) {
        Ok(bytes) if parse_node_id(&bytes).is_some() => None,
        Ok(_) => Some(DataDirError::NodeId(path).to_string()),
        Err(error) => Some(format!("{shown} cannot be read: {error}; restore it, a node must keep its id")),
    }
}

/// A folder without a lock file was never a node's: then there is nothing to wait for.
fn lock(data_dir: &Path) -> Result<Option<File>, Failure> {
    let path = data_dir.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::file("open", &path, &e)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Failure::Usage(format!(
            "a node runs on {}: stop it first, this is an offline check",
            data_dir.display()
        ))),
        Err(TryLockError::Error(e)) => Err(Failure::file("lock", &path, &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_id_that_is_gone_or_damaged_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node-id");
        assert!(node_id_fault(folder.path()).unwrap().contains("cannot be read"));
        for (bytes, is_good) in [("", false), ("00000000000000ff\n", true), ("ff\n", false), ("no id", false)] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(node_id_fault(folder.path()).is_none(), is_good, "{bytes:?}");
        }
    }
}
