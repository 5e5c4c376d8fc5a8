//! The store that a node has when nobody declares one.

use crate::config::StoreConfig;
use crate::config::key;
use crate::derive;
use crate::location::Location;
use std::path::Path;

impl StoreConfig {
    /// `local_dev`: all three tiers, the log at `wal` and the files at `durable` under an absolute folder.
    #[must_use]
    pub fn local_dev(data_dir: &Path) -> Self {
        let mut config = Self::defaults("local_dev");
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
