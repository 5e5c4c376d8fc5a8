//! The store that a node has when nobody declares one.

use crate::config::StoreConfig;
use crate::config::key;
use crate::derive;
use crate::location::Location;
use std::path::{Component, Path, PathBuf};

impl StoreConfig {
    /// `local_dev`: all three tiers, the log at `wal` and the files at `durable` under an absolute folder.
    ///
    /// A caller whose folder goes through links resolves it first: `..` is folded by name here.
    #[must_use]
    pub fn local_dev(data_dir: &Path) -> Self {
        let mut config = Self::defaults("local_dev");
        let data_dir = folded(data_dir);
        config.durable.path = Location::Local(data_dir.join("durable"));
        config.wal.enabled = true;
        config.wal.path = Some(Location::Local(data_dir.join("wal")));
        config.inmemory.enabled = true;
        for name in ["durable.type", "durable.path", "inmemory.enabled", "wal.enabled", "wal.path"] {
            if let Some(index) = key::index_of(name) {
                config.set.insert(index);
            }
        }
        derive::fill(&mut config);
        config
    }
}

/// The path without `.` and `..`, as the statement wants it.
fn folded(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}
