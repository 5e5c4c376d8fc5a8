//! CREATE OR REPLACE of a store that exists: only what does not alter what is already on disk.

use crate::config::StoreConfig;
use crate::config::key::{Replace, keys};

/// Whether `new` may take the place of `old`. The same rule holds for a restart with an edited file.
///
/// # Errors
/// The keys whose values differ and may not, in the order of the reference.
pub fn replaceable_changes(old: &StoreConfig, new: &StoreConfig) -> Result<(), Vec<&'static str>> {
    let refused: Vec<_> = keys()
        .filter(|key| key.replace == Replace::Fixed && key.value(old) != key.value(new))
        // a default that follows another key is not what was changed
        .filter(|key| key.default_rule.is_none() || old.is_set(key.name) || new.is_set(key.name))
        .map(|key| key.name)
        .collect();
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

/// The keys whose effective values differ, in the order of the reference; without those that belong to the node.
#[must_use]
pub fn changed_keys(old: &StoreConfig, new: &StoreConfig) -> Vec<&'static str> {
    let changed = keys().filter(|key| key.replace != Replace::Node && key.value(old) != key.value(new));
    changed.map(|key| key.name).collect()
}

/// `new` as a node serves it in the place of `old`: what belongs to the node stays as it is. `true`: the statement says otherwise.
#[must_use]
pub fn on_this_node(old: &StoreConfig, mut new: StoreConfig) -> (StoreConfig, bool) {
    let differs = new.wal.path != old.wal.path;
    new.wal.path.clone_from(&old.wal.path);
    (new, differs)
}
