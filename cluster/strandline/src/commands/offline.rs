//! The stores that an offline command looks at: those that the node on this folder would serve. No node may run on it.

use super::serve;
use crate::cli::Offline;
use crate::exit::Failure;
use std::fs::{File, TryLockError};
use std::path::Path;
use strandline_deql::StoreConfig;
use strandline_workers::StoreLock;

/// The stores, and the locks of node and stores as long as they are looked at.
pub(crate) struct Stores {
    /// All of the file, or the one that is named.
    pub(crate) configs: Vec<StoreConfig>,
    _lock: Option<File>,
    _stores: Vec<StoreLock>,
}

/// Takes the node's lock and reads the declarations.
pub(crate) fn stores(options: &Offline, named: Option<&str>) -> Result<Stores, Failure> {
    let data_dir = serve::absolute(&options.data_dir)?;
    let declarations = serve::declarations(options.config.as_deref(), &data_dir)?;
    let known: Vec<StoreConfig> = declarations.stores.into_iter().map(|declared| declared.config).collect();
    let names: Vec<&str> = known.iter().map(|config| config.name.as_str()).collect();
    let unknown = |name| Failure::Usage(format!("no store is called {name}; there is {}", names.join(", ")));
    let configs = match named {
        None => known.clone(),
        Some(name) => vec![known.iter().find(|config| config.name == name).ok_or_else(|| unknown(name))?.clone()],
    };
    let lock = lock(&data_dir)?;
    // a node with another data folder may serve them
    let locks = configs.iter().map(StoreLock::to_look).collect::<Result<Vec<_>, _>>();
    Ok(Stores { configs, _lock: lock, _stores: locks.map_err(|e| Failure::Usage(e.to_string()))? })
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
