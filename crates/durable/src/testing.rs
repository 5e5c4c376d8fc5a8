//! Events and stores for the tests of this crate.

use crate::objects::{Fault, FlakyObjects, LocalObjects, Objects};
use crate::{DurableTier, FileEntry, JobSpec, OpenError, OpenOptions, Rows, SharedObjects, sort_rows};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use strandline_deql::{StoreConfig, parse_file};
use strandline_event::{EventId, EventRef, IdPrefix, LogIndex, LogKey, Micros, Seq};

/// 2026-01-01T00:00:00Z
pub(crate) const START_US: i64 = 1_767_225_600_000_000;

/// An event that owns its texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) event_id: EventId,
    pub(crate) stream_id: String,
    pub(crate) seq: u64,
    pub(crate) event_type: String,
    pub(crate) event_version: Option<u32>,
    pub(crate) occurred_at: i64,
    pub(crate) ingested_at: i64,
    pub(crate) data: String,
    pub(crate) metadata: Option<String>,
    pub(crate) command_id: Option<String>,
    pub(crate) tenant_id: Option<String>,
}

impl Owned {
    pub(crate) fn row(&self) -> EventRef<'_> {
        EventRef {
            event_id: self.event_id,
            stream_type: "Call",
            stream_id: &self.stream_id,
            seq: Seq(self.seq),
            event_type: &self.event_type,
            event_version: self.event_version,
            occurred_at: Micros(self.occurred_at),
            ingested_at: Micros(self.ingested_at),
            data: &self.data,
            metadata: self.metadata.as_deref(),
            command_id: self.command_id.as_deref(),
            correlation_id: None,
            causation_id: self.metadata.as_deref().map(|_| "cause"),
            tenant_id: self.tenant_id.as_deref(),
        }
    }
}

impl Rows for Vec<Owned> {
    fn rows(&self) -> usize {
        self.len()
    }

    fn row(&self, i: usize) -> EventRef<'_> {
        self[i].row()
    }
}

/// The i-th of a deterministic history: 50 streams, several days, some fields absent.
pub(crate) fn owned(i: u64) -> Owned {
    let mixed = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let ingested = START_US + i as i64 * 1000;
    Owned {
        event_id: IdPrefix::v7(Micros(ingested), i).id(0),
        stream_id: format!("stream-{:03}", i % 50),
        seq: i / 50 + 1,
        event_type: ["Opened", "Moved", "Closed"][(mixed >> 60) as usize % 3].to_owned(),
        event_version: i.is_multiple_of(3).then_some(mixed as u32),
        occurred_at: START_US + (mixed >> 40) as i64 % 400_000 * 1_000_000,
        ingested_at: ingested,
        data: format!("{{\"n\":{i},\"text\":\"{mixed:x}\"}}"),
        metadata: i.is_multiple_of(5).then(|| "{\"source\":\"test\"}".to_owned()),
        command_id: i.is_multiple_of(7).then(|| format!("cmd-{i}")),
        tenant_id: (!i.is_multiple_of(4)).then(|| format!("tenant/{}", i % 3)),
    }
}

pub(crate) fn history(n: u64) -> Vec<Owned> {
    (0..n).map(owned).collect()
}

/// Texts for [`event`].
pub(crate) fn texts(n: u64) -> Vec<Owned> {
    history(n)
}

pub(crate) fn event(_: u64, owned: &Owned) -> EventRef<'_> {
    owned.row()
}

/// A store with these further keys.
pub(crate) fn config(keys: &str) -> StoreConfig {
    let text = format!(
        "CREATE EVENTSTORE t WITH (durable.type = 'parquet', durable.path = '/nowhere', wal.enabled = true, wal.path = '/w'{keys});"
    );
    let mut parsed = parse_file("test.deql", &text).unwrap_or_else(|e| panic!("{e}"));
    parsed.stores.remove(0).config
}

pub(crate) fn options(entropy: u128) -> OpenOptions {
    OpenOptions {
        writer: "n1".to_owned(),
        config_text: "CREATE EVENTSTORE t".to_owned(),
        entropy,
        secret: !entropy,
        now: Micros(START_US),
        cache_bytes: crate::CACHE_BYTES_DEFAULT,
        scratch: None,
    }
}

/// Objects of data and of manifests in a folder.
pub(crate) fn folders(root: &Path) -> (SharedObjects, SharedObjects) {
    let data = LocalObjects::open(&root.join("data")).unwrap();
    let manifests = LocalObjects::open(&root.join("manifests")).unwrap();
    (Arc::new(data), Arc::new(manifests))
}

pub(crate) fn open(root: &Path, config: &StoreConfig) -> DurableTier {
    let (data, manifests) = folders(root);
    DurableTier::open_with(data, manifests, config, options(77)).unwrap()
}

/// A copy of a store's folder, opened over objects of which one operation fails.
pub(crate) fn open_faulty(
    before: &Path,
    config: &StoreConfig,
    (at, fault): (u64, Fault),
    entropy: u128,
) -> (tempfile::TempDir, FlakyObjects, Result<DurableTier, OpenError>) {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(before, dir.path());
    let (data, manifests) = folders(dir.path());
    let flaky = FlakyObjects::new(data, at, fault);
    let manifests: SharedObjects = Arc::new(flaky.with(manifests));
    let opened = DurableTier::open_with(Arc::new(flaky.clone()), manifests, config, options(entropy));
    (dir, flaky, opened)
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// How many objects below `data` have names with an ending.
pub(crate) fn names(root: &Path, ending: &str) -> usize {
    let objects = LocalObjects::read_only(&root.join("data"));
    objects.list("").unwrap().iter().filter(|o| o.path.ends_with(ending)).count()
}

pub(crate) fn log() -> LogKey {
    LogKey::single("Call")
}

pub(crate) fn job(job_id: u128, from: u64, through: u64) -> JobSpec {
    JobSpec { job_id, log: log(), from_exclusive: LogIndex(from), through: LogIndex(through) }
}

/// Sorts and writes events as one job.
pub(crate) fn write(
    tier: &DurableTier,
    job: &JobSpec,
    events: &Vec<Owned>,
) -> Result<Vec<FileEntry>, crate::WriteError> {
    let batches = [events];
    let rows = sort_rows(&tier.layout(), &batches);
    tier.write_files(&tier.layout(), job, &batches, &rows, &mut |_| ControlFlow::Continue(()))
}

/// Writes events as one job and commits it.
pub(crate) fn commit_job(tier: &DurableTier, job: &JobSpec, events: &[Owned]) {
    let events = events.to_vec();
    let files = write(tier, job, &events).unwrap();
    tier.commit(&commit(job, files, &events)).unwrap();
}

/// Commits events in jobs of `each`: the n-th, from 1, takes ten entries of the log.
pub(crate) fn commit_each(tier: &DurableTier, events: &[Owned], each: usize) {
    for (n, part) in (1_u64..).zip(events.chunks(each)) {
        commit_job(tier, &job(u128::from(n), (n - 1) * 10, n * 10), part);
    }
}

/// Commits `parts` small jobs of 100 events each: one file a job, where there are no partitions.
pub(crate) fn commit_parts(tier: &DurableTier, parts: u64) -> Vec<Owned> {
    let events = history(parts * 100);
    commit_each(tier, &events, 100);
    events
}

/// A commit of files with heads and commands of the events.
pub(crate) fn commit(job: &JobSpec, files: Vec<FileEntry>, events: &[Owned]) -> crate::Commit {
    use strandline_event::hash::stream_hash;
    let mut heads = std::collections::BTreeMap::new();
    for e in events {
        let head: &mut crate::HeadRecord = heads.entry(stream_hash(&e.stream_id)).or_insert(crate::HeadRecord {
            stream: stream_hash(&e.stream_id),
            last_seq: Seq(0),
            first_seq: if e.seq == 1 { Seq(1) } else { Seq::ZERO },
            owner_tenant: crate::tenant_hash(e.tenant_id.as_deref()),
        });
        if head.owner_tenant != crate::tenant_hash(e.tenant_id.as_deref()) {
            head.owner_tenant = crate::runs::MIXED_TENANTS;
        }
        head.last_seq = head.last_seq.max(Seq(e.seq));
    }
    let commands = events.iter().filter_map(|e| {
        let key = strandline_event::hash::bytes_hash(e.command_id.as_ref()?.as_bytes());
        let ingested_at = Micros(e.ingested_at);
        Some(crate::CommandRecord { key, digest: 1, first_seq: Seq(e.seq), count: 1, ingested_at, stream: 2 })
    });
    crate::Commit {
        job_id: job.job_id,
        at: Micros(START_US + 1),
        log: job.log.clone(),
        from_exclusive: job.from_exclusive,
        through: job.through,
        last_ingested_at: Micros(events.iter().map(|e| e.ingested_at).max().unwrap_or(0)),
        files,
        heads: heads.into_values().collect(),
        commands: commands.collect(),
        chunks: vec![crate::ChunkMark { digest: [3; 16], number: job.through.0, at: Micros(START_US) }],
    }
}
