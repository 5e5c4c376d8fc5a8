//! A store of call records by day, compacted and merged as a node does it, and what lookups in it touch when nothing is cached.

use crate::calls::{Call, Calls, DAYS};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use strandline_deql::{StoreConfig, parse_file};
use strandline_durable::{
    Commit, DurableTier, FileEntry, HeadRecord, JobSpec, MergeLimits, MergeSpec, OpenOptions, ReadStats, Replacement,
    RowFilter, Rows, StreamQuery, sort_rows,
};
use strandline_event::{EventId, EventRef, LogIndex, LogKey, Micros, Seq, hash::stream_hash};

/// What makes or reads a store fails with.
pub type Failure = Box<dyn Error + Send + Sync>;

struct Batch(Vec<Call>);

impl Rows for Batch {
    fn rows(&self) -> usize {
        self.0.len()
    }

    fn row(&self, i: usize) -> EventRef<'_> {
        self.0[i].event()
    }
}

/// The statement of the store below a folder.
///
/// # Errors
/// The folder's name cannot stand in a statement.
pub fn config(root: &Path) -> Result<StoreConfig, Failure> {
    let text = format!(
        "CREATE EVENTSTORE calls WITH (durable.type = 'parquet', durable.path = '{}', partition.by = 'dt');",
        root.display()
    );
    let mut parsed = parse_file("calls.deql", &text).map_err(|e| e.to_string())?;
    Ok(parsed.stores.remove(0).config)
}

fn options() -> OpenOptions {
    OpenOptions {
        writer: "n1".to_owned(),
        config_text: "CREATE EVENTSTORE calls".to_owned(),
        entropy: 7,
        secret: 8,
        now: Micros(0),
        cache_bytes: strandline_durable::CACHE_BYTES_DEFAULT,
        scratch: None,
    }
}

/// Writes a history: four jobs a day, then one merge of each partition.
///
/// # Errors
/// The disk.
pub fn build(root: &Path, calls: Calls, progress: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    let config = config(root)?;
    let tier = DurableTier::open(&config, options())?;
    let mut job = JobSpec { job_id: 1, log: LogKey::single("Call"), from_exclusive: LogIndex(0), through: LogIndex(1) };
    let job_rows = usize::try_from(calls.events() / 20)?.max(1);
    for day in 0..DAYS {
        let mut coming = calls.day(day).peekable();
        while coming.peek().is_some() {
            let batches = [Batch(coming.by_ref().take(job_rows).collect())];
            compact(&tier, &job, &batches)?;
            job.job_id += 1;
            (job.from_exclusive, job.through) = (job.through, job.through.next());
        }
        progress(&format!("day {day} is written"));
    }
    let mut partitions: BTreeMap<_, Vec<Arc<FileEntry>>> = BTreeMap::new();
    for file in tier.pin().files() {
        partitions.entry(file.partition.clone()).or_default().push(Arc::clone(file));
    }
    for (partition, inputs) in partitions {
        job.job_id += 1;
        merge(&tier, &config, &job, inputs)?;
        progress(&format!("{partition:?} is merged"));
    }
    Ok(())
}

fn compact(tier: &DurableTier, job: &JobSpec, batches: &[Batch; 1]) -> Result<(), Failure> {
    let rows = sort_rows(&tier.layout(), batches);
    let files = tier.write_files(&tier.layout(), job, batches, &rows, &mut |_| ControlFlow::Continue(()))?;
    let mut heads: BTreeMap<u128, HeadRecord> = BTreeMap::new();
    let [batch] = batches;
    for event in batch.0.iter().map(Call::event) {
        let stream = stream_hash(event.stream_id);
        let first_seq = if event.seq == Seq::FIRST { Seq::FIRST } else { Seq::ZERO };
        let record = HeadRecord { stream, last_seq: event.seq, first_seq, owner_tenant: 1 };
        let head = heads.entry(stream).or_insert(record);
        head.last_seq = head.last_seq.max(event.seq);
    }
    let last_ingested_at = batch.0.iter().map(|call| call.event().ingested_at).max().unwrap_or(Micros(0));
    tier.commit(&Commit {
        job_id: job.job_id,
        at: last_ingested_at,
        log: job.log.clone(),
        from_exclusive: job.from_exclusive,
        through: job.through,
        last_ingested_at,
        files,
        heads: heads.into_values().collect(),
        commands: Vec::new(),
        chunks: Vec::new(),
    })?;
    Ok(())
}

fn merge(tier: &DurableTier, config: &StoreConfig, job: &JobSpec, inputs: Vec<Arc<FileEntry>>) -> Result<(), Failure> {
    if inputs.len() < 2 {
        return Ok(());
    }
    let log = job.log.clone();
    let job = JobSpec { job_id: job.job_id, log: log.clone(), from_exclusive: LogIndex(0), through: job.through };
    let enough_bytes = config.compaction.target_file_mb << 20;
    let spec = MergeSpec { job, inputs, enough_bytes, limits: MergeLimits::default() };
    let merged = tier.merge_files(&tier.pin(), &spec, &mut |_| ControlFlow::Continue(()))?;
    let (job_id, at) = (spec.job.job_id, Micros(0));
    let (remove, add, doubles) = (merged.taken, merged.files, merged.doubles);
    tier.replace(&Replacement { job_id, at, log, remove, add, doubles })?;
    Ok(())
}

/// What the lookup of a stream did in one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// Files that were opened: those that may hold the stream, by the bounds in the manifest.
    pub opened: u64,
    /// Files that rows came from.
    pub holding: u64,
    /// Rows.
    pub rows: u64,
}

/// What a cold read of a stream may read, at any size of the store.
pub const STREAM_BYTES_MAX: u64 = 2_000_000;
/// Files that it may open of each partition that holds the stream.
pub const STREAM_FILES_MAX: u64 = 2;

/// What a lookup found, and what it touched.
#[derive(Clone, Debug)]
pub struct Cold {
    /// Rows.
    pub rows: usize,
    /// Of a stream: the partitions in which files were opened.
    pub partitions: BTreeMap<String, Asked>,
    /// What was touched.
    pub stats: ReadStats,
}

impl Cold {
    /// Of a stream that is there.
    ///
    /// # Errors
    /// More was touched than may be.
    pub fn keeps_its_bounds(&self) -> Result<(), Failure> {
        let holding = self.partitions.values().filter(|asked| asked.rows > 0);
        let files = holding.map(|asked| asked.opened).max().unwrap_or(0);
        if files > STREAM_FILES_MAX || self.stats.bytes >= STREAM_BYTES_MAX {
            return Err(format!(
                "the read of a stream opened {files} files of a partition and read {} bytes: {STREAM_FILES_MAX} files and less than {STREAM_BYTES_MAX} bytes are its bounds",
                self.stats.bytes
            )
            .into());
        }
        Ok(())
    }
}

/// The store as a process that has just started sees it.
///
/// # Errors
/// The store is not there.
pub fn cold(root: &Path) -> Result<DurableTier, Failure> {
    Ok(DurableTier::open_read_only(&config(root)?, None)?)
}

/// Reads a stream of a store of which nothing is cached.
///
/// # Errors
/// The store is not there, or damaged.
pub fn read_stream(root: &Path, stream_id: &str) -> Result<Cold, Failure> {
    let snapshot = cold(root)?.pin();
    let (from_seq, to_seq) = (Seq::FIRST, Seq(u64::MAX));
    let query = StreamQuery { stream_type: "Call", stream_id, from_seq, to_seq, descending: false, limit: 1000 };
    let set = snapshot.stream(&query)?;
    let mut partitions: BTreeMap<String, Asked> = BTreeMap::new();
    for file in snapshot.files() {
        let (first, last) = &file.bounds.stream_id;
        if first.as_str() <= stream_id && stream_id <= last.as_str() {
            partitions.entry(folder(file)).or_default().opened += 1;
        }
    }
    let mut holding = BTreeSet::new();
    for i in 0..set.len() {
        let file = set.place(i).file;
        let asked = partitions.entry(folder(&file)).or_default();
        asked.rows += 1;
        asked.holding += u64::from(holding.insert(file.path.clone()));
    }
    Ok(Cold { rows: set.len(), partitions, stats: set.stats })
}

/// The partition of a file, as its folders name it.
fn folder(file: &FileEntry) -> String {
    let level = |(column, value): &(String, Option<String>)| format!("{column}={}", value.as_deref().unwrap_or("null"));
    file.partition.iter().map(level).collect::<Vec<_>>().join("/")
}

/// Looks an event up in a store of which nothing is cached.
///
/// # Errors
/// The store is not there, or damaged.
pub fn find_event(root: &Path, id: EventId) -> Result<Cold, Failure> {
    let set = cold(root)?.pin().find_event_id(id)?;
    Ok(Cold { rows: set.len(), partitions: BTreeMap::new(), stats: set.stats })
}

/// Scans everything: rows and what was touched.
///
/// # Errors
/// The store is not there, or damaged.
pub fn scan(root: &Path) -> Result<(usize, ReadStats), Failure> {
    let snapshot = cold(root)?.pin();
    let mut scan = snapshot.scan(&RowFilter::default());
    let mut rows = 0;
    for batch in scan.by_ref() {
        rows += batch?.rows();
    }
    Ok((rows, scan.stats()))
}
