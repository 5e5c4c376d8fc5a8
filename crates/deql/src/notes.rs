//! What a user should know about the value of a key in this store: where it comes from, and why it may have no effect.

use crate::config::StoreConfig;
use crate::config::choice::{CompactionTrigger, KmsProvider, PartitionColumn, Rollover, Tier};
use crate::config::key::Key;
use crate::location::Location;
use crate::pending;
use std::path::Path;

/// Keys (or whole groups, with the dot) that do nothing while something is so.
type Idle = (&'static [&'static str], fn(&StoreConfig) -> bool, &'static str);

const IDLE: &[Idle] = &[
    (&["inmemory."], |c| !c.inmemory.enabled, "inmemory.enabled is false"),
    (&["wal."], |c| !c.wal.enabled, "wal.enabled is false"),
    (&["compaction.min_segment_mb"], |c| !c.wal.enabled, "wal.enabled is false: no log grows"),
    (&["wal.rollover_mb"], |c| !c.wal.rollover.contains(&Rollover::Size), "wal.rollover does not go by size"),
    (&["compaction."], |c| !c.compaction.enabled, "compaction.enabled is false"),
    (
        &["compaction.min_segment_mb"],
        |c| !triggers(c, CompactionTrigger::SizeMb),
        "compaction.trigger does not go by size",
    ),
    (&["compaction.schedule"], |c| !triggers(c, CompactionTrigger::Time), "compaction.trigger does not go by time"),
    (&["stats."], |c| !c.stats.enabled, "stats.enabled is false"),
    (&["bloom."], |c| !c.bloom.enabled, "bloom.enabled is false"),
    (&["retention."], |c| !c.retention.enabled, "retention.enabled is false"),
    (&["security.kms."], |c| !c.security.encrypt_at_rest, "security.encrypt.at_rest is false"),
    (&["partition.dt."], |c| !by(c, PartitionColumn::Dt), "partition.by does not name dt"),
    (&["partition.stream_type."], |c| !by(c, PartitionColumn::StreamType), "partition.by does not name stream_type"),
    (&["partition.tenant_id."], |c| !by(c, PartitionColumn::TenantId), "partition.by does not name tenant_id"),
    (&["partition.enforce"], |c| c.partition.enforce && c.partition.by.is_empty(), "partition.by is empty"),
];

fn triggers(config: &StoreConfig, trigger: CompactionTrigger) -> bool {
    config.compaction.trigger.contains(&trigger)
}

fn by(config: &StoreConfig, column: PartitionColumn) -> bool {
    config.partition.by.contains(&column)
}

/// Why a key has no effect in this store, if it has none.
fn idle(config: &StoreConfig, key: &str) -> Option<&'static str> {
    let matches = |pattern: &&str| key == *pattern || (pattern.ends_with('.') && key.starts_with(*pattern));
    // the switch of a group is what turns the rest off: it is never idle itself
    let candidates = IDLE.iter().filter(|(keys, ..)| !key.ends_with(".enabled") && keys.iter().any(matches));
    candidates.into_iter().find(|(_, applies, _)| applies(config)).map(|(.., why)| *why)
}

/// Things about a store that are allowed and worth a warning, each with its key.
#[must_use]
pub fn warnings(config: &StoreConfig) -> Vec<(&'static str, &'static str)> {
    let without_compaction = match config.wal.enabled {
        true => "nothing moves to the durable tier",
        false => "each commit leaves its small files, which are never merged",
    };
    let table: &[(&str, bool, &str)] = &[
        ("compaction.enabled", !config.compaction.enabled, without_compaction),
        (
            "durable.path",
            config.durable.path.is_memory(),
            "everything in the durable tier is lost at the end of the process",
        ),
        ("wal.fsync", config.wal.enabled && !config.wal.fsync, "acknowledged events are lost at a power cut"),
        (
            "security.kms.key_id",
            is_its_key_inside(config),
            "the key file lies in a folder of the store: who has a copy of that has the key",
        ),
    ];
    table.iter().filter(|(_, applies, _)| *applies).map(|(key, _, text)| (*key, *text)).collect()
}

/// Whether the key file lies where it protects nothing.
fn is_its_key_inside(config: &StoreConfig) -> bool {
    let security = &config.security;
    let is_file = security.encrypt_at_rest && security.kms_provider == Some(KmsProvider::Local);
    let Some(file) = security.kms_key_id.as_deref().filter(|_| is_file) else { return false };
    let places = [Some(&config.durable.path), Some(&config.durable.manifest_path), config.wal.path.as_ref()];
    places.into_iter().flatten().filter_map(Location::as_local).any(|folder| Path::new(file).starts_with(folder))
}

/// Values that are allowed, work, and are seldom meant, each with its key.
#[must_use]
pub fn hints(config: &StoreConfig) -> Vec<(&'static str, &'static str)> {
    let compaction = &config.compaction;
    let table: &[(&str, bool, &str)] = &[
        (
            "compaction.target_file_mb",
            compaction.enabled && compaction.target_file_mb < 16,
            "data files stay so small that a scan opens very many; 128 to 512 is usual",
        ),
        (
            "wal.rollover_mb",
            config.wal.enabled && config.wal.rollover.contains(&Rollover::Size) && config.wal.rollover_mb < 16,
            "the log begins a new file every few seconds under load; 64 to 512 is usual",
        ),
        (
            "wal.rollover_mb",
            config.wal.enabled && config.wal.rollover_mb > 4096,
            "each stream type has a file of this size made ahead (sparse), and the next one; 64 to 512 is usual",
        ),
        (
            "inmemory.max_mb",
            config.inmemory.enabled && config.inmemory.max_mb < 16,
            "memory holds so little that reads of new events go to the log; 256 or more is usual",
        ),
        (
            "read.tiers",
            config.wal.enabled && !config.read.tiers.contains(&Tier::Wal),
            "events are acknowledged that reads do not see, as long as they are in the log alone; every tier is usual",
        ),
    ];
    table.iter().filter(|(_, applies, _)| *applies).map(|(key, _, text)| (*key, *text)).collect()
}

/// The note beside a key in `check`.
pub(crate) fn note(config: &StoreConfig, key: &Key) -> Option<String> {
    let of = |list: Vec<(&str, &'static str)>| list.into_iter().find(|(name, _)| *name == key.name).map(|(_, why)| why);
    if let Some(why) = of(pending::serve_refusals(config)) {
        return Some(format!("refused by serve: {why}"));
    }
    if let Some(why) = of(pending::not_active_yet(config)) {
        return Some(format!("not active yet: {why}"));
    }
    if let Some(why) = of(warnings(config)) {
        return Some(format!("warning: {why}"));
    }
    if let Some(why) = idle(config, key.name) {
        return Some(format!("no effect: {why}"));
    }
    key.default_rule.filter(|_| !config.is_set(key.name)).map(str::to_owned)
}
