//! Keys that contradict each other, and values that are refused in this store. One function a rule.
//!
//! A store needs one place that keeps its events; `durable.type` and `durable.path` are mandatory, so it has one.

use crate::config::StoreConfig;
use crate::config::choice::{Choice, KmsProvider, PartitionColumn, ProjectionMode, Rollover, Tier};
use crate::config::key::envelope_key;
use crate::partition::{PartitionExpr, PartitionSource};
use std::path::Path;
use strandline_event::Field;

/// Keys that cannot stand together (or one whose value cannot stand in this store).
pub(crate) struct Contradiction {
    /// The one to blame first.
    pub(crate) keys: Vec<&'static str>,
    /// Names them all.
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Contradiction {
    fn new(keys: &[&'static str], message: impl Into<String>, hint: impl Into<String>) -> Option<Self> {
        Some(Self { keys: keys.to_vec(), message: message.into(), hint: Some(hint.into()) })
    }
}

type Check = fn(&StoreConfig) -> Option<Contradiction>;

const CHECKS: &[Check] = &[
    per_stream_order,
    global_order,
    memory_index,
    dedupe_key,
    log_path,
    log_beside_files,
    manifest_in_memory,
    file_sizes,
    dt_granularity,
    pattern_lacks_column,
    pattern_has_other_column,
    folder_hides_column,
    compression_level,
    time_rollover,
    disabled_tier,
    wal_retention_pair,
    memory_retention_pair,
    kms_provider,
    kms_key_id,
    local_key_file,
    sync_without_notify,
    inspect_without_notify,
];

/// Every contradiction of a configuration whose defaults are filled in.
pub(crate) fn all(config: &StoreConfig) -> Vec<Contradiction> {
    CHECKS.iter().filter_map(|check| check(config)).collect()
}

/// Fields that have one name. SQL does not tell capitals apart, so neither do we.
pub(crate) fn names(config: &StoreConfig) -> Vec<Contradiction> {
    let mut out = Vec::new();
    for (i, first) in Field::ALL.into_iter().enumerate() {
        for second in &Field::ALL[i + 1..] {
            let (a, b) = (config.envelope.get(first), config.envelope.get(*second));
            if !a.eq_ignore_ascii_case(b) {
                continue;
            }
            let (key_a, key_b) = (envelope_key(first), envelope_key(*second));
            let message = format!("`{key_a}` and `{key_b}` give two fields one name: '{a}' and '{b}'");
            // the one that was set is to blame, not the default
            let keys = if config.is_set(key_b) { [key_b, key_a] } else { [key_a, key_b] };
            out.extend(Contradiction::new(&keys, message, "each field needs a name of its own, capitals do not count"));
        }
    }
    out
}

fn tuple(config: &StoreConfig, fields: &[Field]) -> String {
    let list = fields.iter().map(|f| format!("'{}'", config.envelope.get(*f))).collect::<Vec<_>>().join(", ");
    if fields.len() == 1 { list } else { format!("({list})") }
}

fn only(config: &StoreConfig, key: &'static str, is: &[Field], allowed: &[&[Field]]) -> Option<Contradiction> {
    if allowed.contains(&is) {
        return None;
    }
    let list = allowed.iter().map(|fields| tuple(config, fields)).collect::<Vec<_>>().join(" or ");
    Contradiction::new(
        &[key],
        format!("`{key}` can only be {list}, not {}", tuple(config, is)),
        format!("{key} = {list}"),
    )
}

fn per_stream_order(c: &StoreConfig) -> Option<Contradiction> {
    only(c, "ordering.per_stream", &[c.ordering.per_stream], &[&[Field::Seq]])
}

fn global_order(c: &StoreConfig) -> Option<Contradiction> {
    only(c, "ordering.global", &c.ordering.global, &[&[Field::IngestedAt, Field::EventId]])
}

fn memory_index(c: &StoreConfig) -> Option<Contradiction> {
    only(c, "inmemory.index_by", &c.inmemory.index_by, &[&[Field::StreamType, Field::StreamId]])
}

fn dedupe_key(c: &StoreConfig) -> Option<Contradiction> {
    let allowed: &[&[Field]] = &[&[Field::StreamType, Field::StreamId, Field::Seq], &[Field::EventId]];
    only(c, "read.dedupe.key", &c.read.dedupe_key, allowed)
}

fn log_path(c: &StoreConfig) -> Option<Contradiction> {
    if !c.wal.enabled || c.wal.path.is_some() {
        return None;
    }
    let message = "`wal.enabled` is true, and `wal.path` is not set: the log needs a folder";
    Contradiction::new(&["wal.enabled", "wal.path"], message, "for example wal.path = '/var/lib/strandline/wal'")
}

fn log_beside_files(c: &StoreConfig) -> Option<Contradiction> {
    let log = c.wal.path.as_ref()?;
    let (key, _) = [("durable.path", &c.durable.path), ("durable.commit.manifest_path", &c.durable.manifest_path)]
        .into_iter()
        .find(|(_, path)| path.overlaps(log))?;
    let (one, hint) = if key == "durable.path" {
        (
            &c.durable.path,
            "give each a folder of its own, for example '/var/lib/strandline/wal' and '/var/lib/strandline/durable'",
        )
    } else {
        (&c.durable.manifest_path, "give the log a folder of its own, outside of durable.path and of the manifests")
    };
    let message = if one == log {
        format!("`wal.path` and `{key}` are one folder: {log}")
    } else {
        format!("`wal.path` ({log}) and `{key}` ({one}) lie one inside the other")
    };
    Contradiction::new(&["wal.path", key], message, hint)
}

fn manifest_in_memory(c: &StoreConfig) -> Option<Contradiction> {
    if c.durable.path.is_memory() == c.durable.manifest_path.is_memory() {
        return None;
    }
    let message = format!(
        "`durable.path` is {} and `durable.commit.manifest_path` is {}: after a restart only one of them is left",
        c.durable.path, c.durable.manifest_path
    );
    let keys = ["durable.commit.manifest_path", "durable.path"];
    Contradiction::new(&keys, message, "leave durable.commit.manifest_path out: it then lies under durable.path")
}

fn file_sizes(c: &StoreConfig) -> Option<Contradiction> {
    let (target, max) = (c.compaction.target_file_mb, c.compaction.max_file_mb);
    if target <= max {
        return None;
    }
    let message = format!("`compaction.target_file_mb` ({target}) is larger than `compaction.max_file_mb` ({max})");
    let keys = ["compaction.target_file_mb", "compaction.max_file_mb"];
    Contradiction::new(&keys, message, format!("set compaction.target_file_mb to {max} or less"))
}

fn dt_granularity(c: &StoreConfig) -> Option<Contradiction> {
    let PartitionExpr::Time { granularity, .. } = c.partition.dt_expr else { return None };
    let said = c.partition.dt_granularity;
    if granularity == said {
        return None;
    }
    let message = format!("`partition.dt.expr` cuts to the {granularity}, and `partition.dt.granularity` is '{said}'");
    let keys = ["partition.dt.granularity", "partition.dt.expr"];
    Contradiction::new(&keys, message, format!("set partition.dt.granularity = '{granularity}', or leave it out"))
}

fn pattern_lacks_column(c: &StoreConfig) -> Option<Contradiction> {
    let column = c.partition.by.iter().find(|column| !c.durable.file_pattern.names(**column))?;
    let message = format!("`partition.by` names {column}, and `durable.file_pattern` has no {{{column}}}");
    Contradiction::new(
        &["durable.file_pattern", "partition.by"],
        message,
        format!("add the folder {column}={{{column}}}/ to the pattern, or leave the pattern out"),
    )
}

fn pattern_has_other_column(c: &StoreConfig) -> Option<Contradiction> {
    let other = |column: &&PartitionColumn| c.durable.file_pattern.names(**column) && !c.partition.by.contains(column);
    let column = PartitionColumn::ALL.iter().map(|(_, column)| column).find(other)?;
    let message = format!("`durable.file_pattern` has {{{column}}}, and `partition.by` does not name {column}");
    let keys = ["durable.file_pattern", "partition.by"];
    Contradiction::new(&keys, message, format!("add '{column}' to partition.by, or take it out of the pattern"))
}

/// Engines read `name=value` folders as columns; such a column hides the one of that name in the file.
fn folder_hides_column(c: &StoreConfig) -> Option<Contradiction> {
    let levels = c.durable.file_pattern.as_str().rsplit_once('/')?.0.split('/');
    for (name, value) in levels.filter_map(|level| level.split_once('=')) {
        let Some(field) = Field::ALL.into_iter().find(|f| c.envelope.get(*f).eq_ignore_ascii_case(name)) else {
            continue;
        };
        let column = PartitionColumn::from_text(value.trim_matches(['{', '}']));
        let same = column.is_some_and(|col| {
            value == format!("{{{col}}}") && c.partition.source(col) == PartitionSource::Text(field)
        });
        if !same {
            let key = envelope_key(field);
            let message = format!(
                "the folder {name}= of `durable.file_pattern` (of `partition.by`) hides the column '{}' of `{key}`",
                c.envelope.get(field)
            );
            let keys = ["durable.file_pattern", "partition.by", key];
            return Contradiction::new(
                &keys,
                message,
                "readers would see the folder's value in place of the field's: give the folder another name in durable.file_pattern",
            );
        }
    }
    None
}

fn compression_level(c: &StoreConfig) -> Option<Contradiction> {
    let level = c.durable.compression_level?;
    let codec = c.durable.compression;
    let keys = ["durable.compression.level", "durable.compression"];
    match codec.levels() {
        Some((min, max)) if (min..=max).contains(&level) => None,
        Some((min, max)) => {
            let message = format!("`durable.compression.level` is {level}, and `durable.compression` is '{codec}'");
            Contradiction::new(&keys, message, format!("{codec} has the levels {min} to {max}"))
        }
        None => {
            let message =
                format!("`durable.compression.level` is set, and `durable.compression` '{codec}' has no level");
            Contradiction::new(&keys, message, "leave the level out, or choose zstd, gzip or brotli")
        }
    }
}

fn time_rollover(c: &StoreConfig) -> Option<Contradiction> {
    if !c.wal.rollover.contains(&Rollover::Time) || c.wal.segment_pattern.finest().is_some() {
        return None;
    }
    let message = "`wal.rollover` goes by time, and `wal.segment_pattern` has no time field that could change";
    Contradiction::new(
        &["wal.segment_pattern", "wal.rollover"],
        message,
        "add {yyyy}, {MM}, {dd} or {HH} to the pattern",
    )
}

fn disabled_tier(c: &StoreConfig) -> Option<Contradiction> {
    let missing = c.read.tiers.iter().find(|tier| match tier {
        Tier::Inmemory => !c.inmemory.enabled,
        Tier::Wal => !c.wal.enabled,
        Tier::Durable => false,
    })?;
    let key = if *missing == Tier::Wal { "wal.enabled" } else { "inmemory.enabled" };
    let message = format!("`read.tiers` names '{missing}', and `{key}` is false");
    Contradiction::new(
        &["read.tiers", key],
        message,
        format!("set {key} = true, or take '{missing}' out of read.tiers"),
    )
}

fn pair(c: &StoreConfig, keys: [&'static str; 2], values: [u64; 2]) -> Option<Contradiction> {
    if values[0] == values[1] || !c.is_set(keys[0]) || !c.is_set(keys[1]) {
        return None;
    }
    let message =
        format!("`{}` ({}) and `{}` ({}) are one setting with two values", keys[0], values[0], keys[1], values[1]);
    Contradiction::new(&keys, message, "set one of them: it holds for both")
}

fn wal_retention_pair(c: &StoreConfig) -> Option<Contradiction> {
    pair(c, ["retention.wal_hours", "wal.retention_hours"], [c.retention.wal_hours, c.wal.retention_hours])
}

fn memory_retention_pair(c: &StoreConfig) -> Option<Contradiction> {
    pair(
        c,
        ["retention.inmemory_seconds", "inmemory.ttl_seconds"],
        [c.retention.inmemory_seconds, c.inmemory.ttl_seconds],
    )
}

fn kms_provider(c: &StoreConfig) -> Option<Contradiction> {
    if !c.security.encrypt_at_rest || c.security.kms_provider.is_some() {
        return None;
    }
    let message = "`security.encrypt.at_rest` is true, and `security.kms.provider` is not set";
    let keys = ["security.encrypt.at_rest", "security.kms.provider"];
    Contradiction::new(&keys, message, "set it to 'aws_kms', or to 'local' for development")
}

fn kms_key_id(c: &StoreConfig) -> Option<Contradiction> {
    if !c.security.encrypt_at_rest || c.security.kms_key_id.is_some() {
        return None;
    }
    let message = "`security.encrypt.at_rest` is true, and `security.kms.key_id` is not set";
    let keys = ["security.encrypt.at_rest", "security.kms.key_id"];
    Contradiction::new(&keys, message, "set it to the id or alias of the key, or to the path of a local key file")
}

fn local_key_file(c: &StoreConfig) -> Option<Contradiction> {
    let file = c.security.kms_key_id.as_deref()?;
    if c.security.kms_provider != Some(KmsProvider::Local) || Path::new(file).is_absolute() {
        return None;
    }
    let message = "`security.kms.provider` is 'local', and `security.kms.key_id` is no absolute path of a key file";
    let keys = ["security.kms.key_id", "security.kms.provider"];
    Contradiction::new(&keys, message, "for example '/etc/strandline/master.key'")
}

fn sync_without_notify(c: &StoreConfig) -> Option<Contradiction> {
    if c.projection.notify_on_commit || c.projection.mode != ProjectionMode::Sync {
        return None;
    }
    let message =
        "`projection.mode` is 'sync', and `projection.notify_on_commit` is false: no projection would hear of it";
    let keys = ["projection.mode", "projection.notify_on_commit"];
    Contradiction::new(&keys, message, "set projection.notify_on_commit = true, or projection.mode = 'async'")
}

fn inspect_without_notify(c: &StoreConfig) -> Option<Contradiction> {
    if c.projection.notify_on_commit || !c.projection.notify_on_inspect {
        return None;
    }
    let message =
        "`projection.notify_on_inspect` is true, and `projection.notify_on_commit` is false: nobody can subscribe";
    let keys = ["projection.notify_on_inspect", "projection.notify_on_commit"];
    Contradiction::new(&keys, message, "set both, or only projection.notify_on_commit")
}
