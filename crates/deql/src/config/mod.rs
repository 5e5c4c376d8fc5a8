//! The typed configuration of a store: one struct per group of keys, one table of all keys.
//!
//! The table is made from the lines below and nowhere else: the parser, the printer, `check`, JSON and the
//! OR REPLACE rule read it. A new key is one line here (plus a line in `checks.rs` if it can contradict another).
//! A `StoreConfig` outside this crate is always complete and checked; only parsing or `local_dev` makes one.

#[macro_use]
mod groups;
pub mod choice;
pub mod key;
pub(crate) mod settings;

use crate::cron::CronSchedule;
use crate::location::Location;
use crate::partition::PartitionExpr;
use crate::pattern::{FilePattern, SegmentPattern};
use choice::{
    Checksum, CommandScope, CommitProtocol, CompactionTrigger, Compression, DeleteMode, DurableType, Granularity,
    KmsProvider, MergeStrategy, MissingSeqPolicy, PartitionColumn, ProjectionMode, Rollover, SortOrder, Tier,
};
use key::{Key, KeySet, Range, Replace};
use settings::Setting;
use strandline_event::{Field, FieldNames, IdFormat};

/// Everything that a store's statement says, defaults filled in.
#[derive(Clone, PartialEq, Debug)]
pub struct StoreConfig {
    /// Name of the store.
    pub name: String,
    /// The configured name of each envelope field (`envelope.*`).
    pub envelope: FieldNames,
    /// `id.*`
    pub id: Id,
    /// `ordering.*`
    pub ordering: Ordering,
    /// `durable.*`
    pub durable: Durable,
    /// `partition.*`
    pub partition: Partition,
    /// `row_group.*`
    pub row_group: RowGroup,
    /// `stats.*`
    pub stats: Stats,
    /// `bloom.*`
    pub bloom: Bloom,
    /// `inmemory.*`
    pub inmemory: Inmemory,
    /// `wal.*`
    pub wal: Wal,
    /// `compaction.*`
    pub compaction: Compaction,
    /// `read.*`
    pub read: Read,
    /// `retention.*`
    pub retention: Retention,
    /// `security.*`
    pub security: Security,
    /// `projection.*`
    pub projection: Projection,
    /// `strict.*`
    pub strict: Strict,
    /// The keys that the statement sets; all others hold their default.
    pub set: KeySet,
}

groups! {
    /// Ids of events, commands and correlations.
    id: Id {
        /// UUID version of the event ids that the server makes; a client's id of another version is refused.
        event_id_format: IdFormat = IdFormat::V7; "id.event_id.format", fixed;
        /// Whether an append without a command id is refused.
        command_id_required: bool = false; "id.command_id.required", fixed;
        /// Where the same command id again is a duplicate (equal events) or a conflict (other events).
        command_id_unique_scope: CommandScope = CommandScope::None; "id.command_id.unique_scope", fixed;
        /// Whether an event may come without a correlation id.
        correlation_id_optional: bool = true; "id.correlation_id.optional", fixed;
    }
    /// Orders that the store guarantees.
    ordering: Ordering {
        /// The order in a stream: always the seq field.
        per_stream: Field = Field::Seq; "ordering.per_stream", fixed;
        /// The order of store-wide reads and subscriptions: always the ingestion time, then the event id.
        global: Vec<Field> = vec![Field::IngestedAt, Field::EventId]; "ordering.global", fixed;
    }
    /// The durable tier: files and commits.
    durable: Durable {
        /// Format of the durable files.
        format: DurableType = DurableType::Parquet; "durable.type", fixed, default "mandatory";
        /// Where the durable files live; s3:// with the AWS_* environment, gs:// and az:// with the cargo features `gs` and `az`.
        path: Location = Location::placeholder(); "durable.path", fixed, default "mandatory";
        /// Object names of data files, relative to the path; {writer} is the node and its owner epoch. A part of the path has at most 240 bytes: an event whose values do not fit is refused.
        file_pattern: FilePattern = FilePattern::for_partitions(&[]);
            "durable.file_pattern", fixed, default "Hive folders of partition.by, then part-{writer}-{file_seq}.parquet";
        /// How a commit becomes all or nothing: locally by a link to a free name, on object stores by a conditional create.
        commit_protocol: CommitProtocol = CommitProtocol::AtomicRename; "durable.commit.protocol", fixed;
        /// Where the manifests are; may be on another kind of place than the files.
        manifest_path: Location = Location::placeholder();
            "durable.commit.manifest_path", fixed, default "_manifests under durable.path";
        /// Codec of every column chunk.
        compression: Compression = Compression::Zstd; "durable.compression", free;
        /// Level of the codec; none where the codec has no level.
        compression_level: Option<u32> = None;
            "durable.compression.level", free, 0..=22 "", default "zstd 3, gzip 6, brotli 5; the other codecs have none";
        /// Whether columns are dictionary-encoded.
        dictionary_enabled: bool = true; "durable.dictionary.enabled", fixed;
    }
    /// Folder levels of the durable tier.
    partition: Partition {
        /// The folder levels, outermost first; empty: none.
        by: Vec<PartitionColumn> = Vec::new(); "partition.by", fixed;
        /// How the value of `dt` is computed.
        dt_expr: PartitionExpr = PartitionExpr::Field(Field::OccurredAt);
            "partition.dt.expr", fixed, default "the granularity's function of the occurred_at field";
        /// How the value of `stream_type` is computed.
        stream_type_expr: PartitionExpr = PartitionExpr::Field(Field::StreamType); "partition.stream_type.expr", fixed;
        /// How the value of `tenant_id` is computed.
        tenant_id_expr: PartitionExpr = PartitionExpr::Field(Field::TenantId); "partition.tenant_id.expr", fixed;
        /// How long one `dt` partition is.
        dt_granularity: Granularity = Granularity::Day;
            "partition.dt.granularity", fixed, default "day, or what the function in partition.dt.expr says";
        /// Whether an event whose partition value is null (or empty) is refused.
        enforce: bool = false; "partition.enforce", fixed;
    }
    /// Row groups of a data file.
    row_group: RowGroup {
        /// Upper bound of a row group in MiB.
        target_mb: u64 = 128; "row_group.target_mb", free, 1..=65_536 "MB";
        /// Upper bound of a row group in rows.
        max_rows: u64 = 1_000_000; "row_group.max_rows", free, 1..=1_000_000_000 "rows";
        /// Order inside a file, recorded as its sorting columns.
        /// With `strict.immutable_events = false` the payload and the metadata cannot be named: a redacted event would stand out of its order.
        sort_by: Vec<Field> = vec![Field::StreamId, Field::Seq]; "row_group.sort_by", free;
        /// Direction of `sort_by`.
        sort_order: SortOrder = SortOrder::Asc; "row_group.sort_order", free;
    }
    /// Column statistics of a data file.
    stats: Stats {
        /// Whether min/max and the page index are written.
        enabled: bool = true; "stats.enabled", free;
        /// The columns that have them.
        columns: Vec<Field> = vec![Field::StreamId, Field::Seq, Field::EventType, Field::OccurredAt];
            "stats.columns", free;
    }
    /// Bloom filters of a data file.
    bloom: Bloom {
        /// Whether a bloom filter per row group is written.
        enabled: bool = true; "bloom.enabled", free;
        /// The columns that have one.
        columns: Vec<Field> = vec![Field::StreamId, Field::EventId]; "bloom.columns", free;
        /// Rate of false positives, between 0 and 1.
        fpp: f64 = 0.01; "bloom.fpp", free;
    }
    /// The in-memory tier.
    inmemory: Inmemory {
        /// Whether committed events are kept in memory.
        enabled: bool = false; "inmemory.enabled", free;
        /// Bound on the MiB it holds, index included.
        max_mb: u64 = 512; "inmemory.max_mb", free, 1..=16_777_216 "MB";
        /// Seconds after which events leave it.
        ttl_seconds: u64 = 60;
            "inmemory.ttl_seconds", free, 1..=315_360_000 "seconds", default "60, or retention.inmemory_seconds where retention is enabled";
        /// The index that stream reads use: always stream type and stream id.
        index_by: Vec<Field> = vec![Field::StreamType, Field::StreamId]; "inmemory.index_by", free;
    }
    /// The log tier.
    wal: Wal {
        /// Whether an append is acknowledged when it is in the log; without a log: when its Parquet commit is done.
        enabled: bool = false; "wal.enabled", fixed;
        /// Folder of the log; one folder per stream type under it.
        path: Option<Location> = None; "wal.path", node, default "mandatory with wal.enabled";
        /// Names of the segment files.
        segment_pattern: SegmentPattern = SegmentPattern::standard(); "wal.segment_pattern", fixed;
        /// What ends a segment.
        rollover: Vec<Rollover> = vec![Rollover::Size]; "wal.rollover", free;
        /// Size that a segment does not exceed, in MiB.
        rollover_mb: u64 = 256; "wal.rollover_mb", free, 1..=65_536 "MB";
        /// Whether acknowledged means on stable storage.
        fsync: bool = true; "wal.fsync", fixed;
        /// Checksum of a frame's payload.
        checksum: Checksum = Checksum::Crc32c; "wal.checksum", fixed;
        /// Hours that a sealed, wholly durable segment is kept after its last event.
        retention_hours: u64 = 24;
            "wal.retention_hours", free, 0..=876_000 "hours", default "24, or retention.wal_hours where retention is enabled";
    }
    /// The way from the log to the durable tier, and the merging of small files.
    compaction: Compaction {
        /// Whether events move to the durable tier.
        enabled: bool = true; "compaction.enabled", free;
        /// What starts a job.
        trigger: Vec<CompactionTrigger> = vec![CompactionTrigger::SizeMb, CompactionTrigger::Time];
            "compaction.trigger", free;
        /// Size of a stream type's log that starts a job, in MiB.
        min_segment_mb: u64 = 64; "compaction.min_segment_mb", free, 1..=1_048_576 "MB";
        /// Size that small files of a partition are merged up to, in MiB.
        target_file_mb: u64 = 256; "compaction.target_file_mb", free, 1..=1_048_576 "MB";
        /// Size that no data file exceeds, in MiB; an event that alone takes more stands in a file of its own.
        max_file_mb: u64 = 512; "compaction.max_file_mb", free, 1..=1_048_576 "MB";
        /// Bound on files that are open at once in all compaction jobs of a node (a merge reads two and writes one).
        max_open_files: u64 = 32; "compaction.max_open_files", free, 3..=65_536 "files";
        /// Ticks of the time trigger.
        schedule: CronSchedule = CronSchedule::every_five_minutes(); "compaction.schedule", free;
    }
    /// Reads.
    read: Read {
        /// The tiers that reads consult.
        tiers: Vec<Tier> = vec![Tier::Durable]; "read.tiers", free, default "every enabled tier";
        /// How the tiers are joined.
        merge_strategy: MergeStrategy = MergeStrategy::UnionDedupeSort; "read.merge.strategy", free;
        /// One row per key, however many tiers hold it.
        dedupe_key: Vec<Field> = vec![Field::StreamType, Field::StreamId, Field::Seq]; "read.dedupe.key", free;
        /// Whether a client-given seq must be the next one, and reads check it.
        require_monotonic_seq: bool = true; "read.require_monotonic_seq", free;
        /// What a read does at a hole.
        missing_seq_policy: MissingSeqPolicy = MissingSeqPolicy::Error; "read.missing_seq.policy", free;
        /// Order of a read that names none: a page of a stream is chosen by seq, then sorted by it.
        default_order: Vec<Field> = vec![Field::StreamId, Field::Seq]; "read.default_order", free;
    }
    /// What goes when.
    retention: Retention {
        /// Whether anything is removed by age from the durable tier.
        enabled: bool = false; "retention.enabled", free;
        /// Days after which data files go, by their newest occurred_at.
        durable_days: u64 = 3650; "retention.durable_days", free, 1..=36_500 "days";
        /// As `wal.retention_hours`; has no effect while retention is off.
        wal_hours: u64 = 24; "retention.wal_hours", free, 0..=876_000 "hours", default "as wal.retention_hours";
        /// As `inmemory.ttl_seconds`; has no effect while retention is off.
        inmemory_seconds: u64 = 60;
            "retention.inmemory_seconds", free, 1..=315_360_000 "seconds", default "as inmemory.ttl_seconds";
        /// Whether files go after a grace period or with the commit.
        delete_mode: DeleteMode = DeleteMode::Tombstone; "retention.delete_mode", free;
    }
    /// Encryption.
    security: Security {
        /// Whether log, files and manifests hold no plain event byte.
        encrypt_at_rest: bool = false; "security.encrypt.at_rest", fixed;
        /// Who wraps the data keys.
        kms_provider: Option<KmsProvider> = None;
            "security.kms.provider", fixed, default "mandatory with security.encrypt.at_rest";
        /// Id or alias of the wrapping key; for `local` the path of a key file.
        kms_key_id: Option<String> = None;
            "security.kms.key_id", fixed, default "mandatory with security.encrypt.at_rest";
        /// Whether every listener and link speaks TLS only.
        encrypt_in_transit: bool = false; "security.encrypt.in_transit", fixed;
    }
    /// Subscriptions and projections.
    projection: Projection {
        /// Whether subscribers get each event after its commit.
        notify_on_commit: bool = true; "projection.notify_on_commit", free;
        /// Whether a dry-run append notifies too.
        notify_on_inspect: bool = false; "projection.notify_on_inspect", free;
        /// Whether an append waits for registered sync projections.
        mode: ProjectionMode = ProjectionMode::Async; "projection.mode", free;
    }
    /// What the store insists on.
    strict: Strict {
        /// Whether no interface changes a committed event before retention.
        immutable_events: bool = true; "strict.immutable_events", fixed;
        /// Whether only registered stream types are accepted.
        stream_type_enforced: bool = false; "strict.stream_type_enforced", fixed;
        /// Whether an event without event_version is refused.
        event_version_required: bool = false; "strict.event_version_required", fixed;
        /// Whether an event without tenant_id is refused.
        tenant_required: bool = false; "strict.tenant_required", fixed;
    }
}

impl StoreConfig {
    /// All defaults, before derived ones are computed: not valid until `durable.path` is set.
    pub(crate) fn defaults(name: &str) -> Self {
        let Defaults {
            id,
            ordering,
            durable,
            partition,
            row_group,
            stats,
            bloom,
            inmemory,
            wal,
            compaction,
            read,
            retention,
            security,
            projection,
            strict,
        } = Defaults::new();
        let (name, envelope, set) = (name.to_owned(), FieldNames::default(), KeySet::default());
        Self {
            name,
            envelope,
            id,
            ordering,
            durable,
            partition,
            row_group,
            stats,
            bloom,
            inmemory,
            wal,
            compaction,
            read,
            retention,
            security,
            projection,
            strict,
            set,
        }
    }

    /// Whether the statement sets this key. Unknown keys are not set.
    #[must_use]
    pub fn is_set(&self, key: &str) -> bool {
        key::index_of(key).is_some_and(|i| self.set.contains(i))
    }
}
