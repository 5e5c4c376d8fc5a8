//! Defaults that depend on other keys. A key that the statement sets is never touched.

use crate::config::StoreConfig;
use crate::config::choice::Tier;
use crate::partition::PartitionExpr;
use crate::pattern::FilePattern;
use strandline_event::Field;

/// Fills every computed default of a configuration.
pub(crate) fn fill(config: &mut StoreConfig) {
    partition(config);
    if !config.is_set("durable.file_pattern") {
        config.durable.file_pattern = FilePattern::for_partitions(&config.partition.by);
    }
    if !config.is_set("durable.commit.manifest_path") {
        config.durable.manifest_path = config.durable.path.join("_manifests");
    }
    if !config.is_set("durable.compression.level") {
        config.durable.compression_level = config.durable.compression.default_level();
    }
    if !config.is_set("read.tiers") {
        config.read.tiers = enabled_tiers(config);
    }
    retention_pairs(config);
}

/// Every tier that the store has, hottest first.
pub(crate) fn enabled_tiers(config: &StoreConfig) -> Vec<Tier> {
    let all = [(Tier::Inmemory, config.inmemory.enabled), (Tier::Wal, config.wal.enabled), (Tier::Durable, true)];
    all.into_iter().filter(|(_, enabled)| *enabled).map(|(tier, _)| tier).collect()
}

fn partition(config: &mut StoreConfig) {
    let (expr_set, granularity_set) = (config.is_set("partition.dt.expr"), config.is_set("partition.dt.granularity"));
    let partition = &mut config.partition;
    match partition.dt_expr {
        PartitionExpr::Time { granularity, .. } if expr_set && !granularity_set => {
            partition.dt_granularity = granularity;
        }
        _ if !expr_set => {
            partition.dt_expr = PartitionExpr::Time { granularity: partition.dt_granularity, field: Field::OccurredAt };
        }
        _ => {}
    }
}

/// One of a pair set: it holds for both. The retention side counts only while retention is on.
fn retention_pairs(config: &mut StoreConfig) {
    let on = config.retention.enabled;
    if config.is_set("retention.wal_hours") {
        if on && !config.is_set("wal.retention_hours") {
            config.wal.retention_hours = config.retention.wal_hours;
        }
    } else {
        config.retention.wal_hours = config.wal.retention_hours;
    }
    if config.is_set("retention.inmemory_seconds") {
        if on && !config.is_set("inmemory.ttl_seconds") {
            config.inmemory.ttl_seconds = config.retention.inmemory_seconds;
        }
    } else {
        config.retention.inmemory_seconds = config.inmemory.ttl_seconds;
    }
}
