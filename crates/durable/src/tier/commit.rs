//! Commits: the next version, created if absent. What was not committed is nobody's.
//!
//! Invariants: a job's range begins at its log's watermark, so no range is ever taken twice or left out; an owner of an
//! older epoch cannot commit; a job that is found committed is a success, whoever asks.

use super::rebuild::Records;
use super::{Committer, DurableTier, Snapshot, names};
use crate::entry::FileEntry;
use crate::manifest::{self, ChunkMark, LogState, Manifest, ManifestError, NO_MONTH};
use crate::objects::ObjectError;
use crate::runs::{
    BrokenRun, CommandRecord, HeadRecord, LogRuns, Record, RunRef, Slot, merged, tiers_to_merge, write_run,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use strandline_deql::Granularity;
use strandline_event::{ErrorKind, LogIndex, LogKey, Micros, Seq, encode_path_text};

const RUN_FOLDER: &str = "_runs";

/// The result of a compaction job.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The job.
    pub job_id: u128,
    /// Now.
    pub at: Micros,
    /// The log.
    pub log: LogKey,
    /// The range begins after this index: the log's watermark.
    pub from_exclusive: LogIndex,
    /// The new watermark.
    pub through: LogIndex,
    /// ingested_at of the last event of the range.
    pub last_ingested_at: Micros,
    /// What [`DurableTier::write_files`] gave.
    pub files: Vec<FileEntry>,
    /// One record for each stream that the range touches, in any order: its first seq in the range with that event's owner,
    /// and its last. The older head's first seq and owner stay. `first_seq` zero: not told; then the last one is checked.
    pub heads: Vec<HeadRecord>,
    /// Every command of the range, in any order.
    pub commands: Vec<CommandRecord>,
    /// Chunks of resumable ingestions in the range.
    pub chunks: Vec<ChunkMark>,
}

/// A commit without files.
#[derive(Clone, Debug)]
pub enum Update {
    /// Every log ends here: nothing behind these indices was acknowledged.
    CleanStop(Vec<(LogKey, LogIndex)>),
    /// A lost log goes on behind this index; what stood up to there and is not in files is given up.
    AcceptLostLog {
        /// The log.
        log: LogKey,
        /// Its positions up to and with this one are skipped.
        through: LogIndex,
    },
    /// The store's statement was replaced.
    Config(String),
}

/// Why a commit did not happen (or, for `Unknown`, may have happened).
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Another owner has claimed the store.
    #[error("epoch {ours} is over: the store is owned under epoch {found}")]
    StaleEpoch {
        /// Ours.
        ours: u64,
        /// The newest.
        found: u64,
    },
    /// The tier was opened to read only.
    #[error("the store was opened to read only")]
    ReadOnly,
    /// The range does not begin at the watermark.
    #[error("the job begins after index {found}, but the watermark is {expected}")]
    Watermark {
        /// The log's watermark.
        expected: LogIndex,
        /// The job's begin.
        found: LogIndex,
    },
    /// It is unknown whether the version is on stable storage. No more commits until the store is opened again.
    #[error("whether manifest version {version} is on stable storage is unknown; open the store again")]
    Unknown {
        /// The version.
        version: u64,
    },
    /// The disk or the object store; nothing happened.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// A manifest could not be read or written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A run that the commit needs cannot be read.
    #[error(transparent)]
    BrokenRun(#[from] BrokenRun),
    /// The job holds events of a stream at or below its head: they are in data files already.
    #[error("the job of `{log}` holds seq {first} of stream {stream:032x}, whose head is {head} already")]
    SeqBehind {
        /// The log.
        log: LogKey,
        /// Hash of the stream.
        stream: u128,
        /// Its head.
        head: Seq,
        /// The job's first seq of it.
        first: Seq,
    },
}

impl CommitError {
    /// What it means to the one who called.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::StaleEpoch { .. } | Self::Unknown { .. } => ErrorKind::Unavailable,
            Self::ReadOnly => ErrorKind::NotSupported,
            Self::Watermark { .. } | Self::BrokenRun(_) | Self::SeqBehind { .. } => ErrorKind::Integrity,
            Self::Objects(error) => error.kind(),
            Self::Manifest(error) => error.kind(),
        }
    }
}

/// What a commit adds to the version before.
enum Change<'a> {
    Job(&'a Commit),
    Update(&'a Update),
    /// A log's runs of one kind, made anew as of this watermark.
    Runs {
        log: &'a LogKey,
        through: LogIndex,
        records: &'a Records,
    },
}

impl DurableTier {
    /// Commits a job: its files become visible, its log's watermark moves. A repeated call with the same job id is a success.
    pub fn commit(&self, commit: &Commit) -> Result<Arc<Snapshot>, CommitError> {
        let snapshot = self.change(&Change::Job(commit), commit.job_id, commit.at)?;
        for file in &commit.files {
            self.inner.staged.release(&file.path);
            if let Err(error) = names::publish(&*self.inner.shared.objects, &file.path) {
                tracing::warn!(path = file.path, %error, "a committed file keeps its staged name until the next start");
            }
        }
        Ok(snapshot)
    }

    /// Commits something that is no job.
    pub fn update(&self, update: &Update, job_id: u128, at: Micros) -> Result<Arc<Snapshot>, CommitError> {
        self.change(&Change::Update(update), job_id, at)
    }

    /// Replaces a log's runs of one kind by one run of these records; refused where a job has moved the watermark meanwhile.
    pub(super) fn replace_runs(
        &self,
        log: &LogKey,
        through: LogIndex,
        records: &Records,
        job_id: u128,
        at: Micros,
    ) -> Result<Arc<Snapshot>, CommitError> {
        self.change(&Change::Runs { log, through, records }, job_id, at)
    }

    fn change(&self, change: &Change<'_>, job_id: u128, at: Micros) -> Result<Arc<Snapshot>, CommitError> {
        let ours = self.inner.epoch.ok_or(CommitError::ReadOnly)?;
        let mut committer = self.inner.committer.lock();
        if let Some(version) = committer.unknown {
            return Err(CommitError::Unknown { version });
        }
        loop {
            let current = self.pin();
            if is_done(&current, change, job_id) {
                return Ok(current);
            }
            if current.epoch() != ours {
                return Err(CommitError::StaleEpoch { ours, found: current.epoch() });
            }
            let mut next = current.manifest.clone();
            next.version += 1;
            next.previous_crc32c = Some(committer.current_crc32c);
            (next.job_id, next.committed_at) = (job_id, at);
            self.apply(&current, &mut next, change)?;
            manifest::seal(&*self.inner.shared.manifests, &mut next)?;
            next.file_seq = self.inner.file_seq.load(Ordering::Relaxed);
            // runs are opened and checked before the version that names them exists
            let snapshot = Snapshot::open(Arc::clone(&self.inner.shared), next, Some(&current));
            if let Some(new) = snapshot.broken_runs().find(|broken| !current.names_run(&broken.path)) {
                return Err(new.clone().into());
            }
            match manifest::put(&*self.inner.shared.manifests, &snapshot.manifest) {
                Ok(crc) => {
                    let snapshot = Arc::new(snapshot);
                    self.publish(&mut committer, Arc::clone(&snapshot), crc);
                    return Ok(snapshot);
                }
                Err(ObjectError::AlreadyExists { .. }) => self.catch_up(&mut committer, snapshot.version())?,
                Err(error) => return self.settle(&mut committer, snapshot, error),
            }
        }
    }

    fn publish(&self, committer: &mut Committer, snapshot: Arc<Snapshot>, crc: u32) {
        committer.current_crc32c = crc;
        self.inner.current.store(snapshot);
    }

    /// Version `version` exists: it becomes the current one (whoever made it). If it cannot be read, it may be ours.
    fn catch_up(&self, committer: &mut Committer, version: u64) -> Result<(), CommitError> {
        let (found, crc) = manifest::read(&*self.inner.shared.manifests, version).map_err(|error| {
            committer.unknown = Some(version);
            tracing::error!(version, %error, "a version that exists cannot be read");
            CommitError::Unknown { version }
        })?;
        let snapshot = Snapshot::open(Arc::clone(&self.inner.shared), found, Some(&self.pin()));
        self.publish(committer, Arc::new(snapshot), crc);
        Ok(())
    }

    /// The put failed without a clear answer: look whether the version is there.
    fn settle(
        &self,
        committer: &mut Committer,
        snapshot: Snapshot,
        error: ObjectError,
    ) -> Result<Arc<Snapshot>, CommitError> {
        let shared = &self.inner.shared;
        let version = snapshot.version();
        match manifest::read(&*shared.manifests, version) {
            Err(ManifestError::Objects(ObjectError::NotFound { .. })) => Err(error.into()),
            // an object store has it or has it not
            Ok((found, crc)) if found == snapshot.manifest && !shared.manifests.stages() => {
                let snapshot = Arc::new(snapshot);
                self.publish(committer, Arc::clone(&snapshot), crc);
                Ok(snapshot)
            }
            // a local file may be there without its folder being synced: nobody may build on it before a restart
            Ok(_) | Err(_) => {
                committer.unknown = Some(version);
                tracing::error!(version, %error, "the outcome of a commit is unknown");
                Err(CommitError::Unknown { version })
            }
        }
    }

    fn apply(&self, current: &Snapshot, next: &mut Manifest, change: &Change<'_>) -> Result<(), CommitError> {
        match change {
            Change::Job(commit) => self.apply_job(current, next, commit),
            Change::Update(update) => {
                apply_update(next, update);
                Ok(())
            }
            Change::Runs { log, through, records } => self.apply_runs(next, log, *through, records),
        }
    }

    fn apply_runs(
        &self,
        next: &mut Manifest,
        log: &LogKey,
        through: LogIndex,
        records: &Records,
    ) -> Result<(), CommitError> {
        let job_id = next.job_id;
        let state = next.logs.entry(log.clone()).or_default();
        if state.compacted_through != through {
            return Err(CommitError::Watermark { expected: state.compacted_through, found: through });
        }
        match records {
            Records::Heads(heads) => {
                state.heads.clear();
                self.add_run(&mut state.heads, &[], heads.clone(), log, job_id)
            }
            Records::Commands(commands) => {
                state.commands.clear();
                self.add_run(&mut state.commands, &[], commands.clone(), log, job_id)
            }
        }
    }

    fn apply_job(&self, current: &Snapshot, next: &mut Manifest, commit: &Commit) -> Result<(), CommitError> {
        let state = next.logs.entry(commit.log.clone()).or_default();
        if state.compacted_through != commit.from_exclusive || commit.through < commit.from_exclusive {
            return Err(CommitError::Watermark { expected: state.compacted_through, found: commit.from_exclusive });
        }
        state.compacted_through = commit.through;
        state.known_through = state.known_through.max(commit.through);
        state.last_ingested_at = state.last_ingested_at.max(commit.last_ingested_at);
        state.events += commit.files.iter().map(|f| f.rows).sum::<u64>();
        state.last_job = commit.job_id;
        let chunks = state.add_chunks(&commit.chunks, commit.at);
        let heads = commit.heads.iter().map(|head| complete(current, &commit.log, *head)).collect::<Result<_, _>>()?;
        let (log, job_id) = (&commit.log, commit.job_id);
        let none = LogRuns::default();
        let runs = current.runs.get(log).unwrap_or(&none);
        self.add_run::<HeadRecord>(&mut state.heads, &runs.heads, heads, log, job_id)?;
        self.add_run::<CommandRecord>(&mut state.commands, &runs.commands, commit.commands.clone(), log, job_id)?;
        self.add_run::<ChunkMark>(&mut state.chunk_runs, &runs.chunks, chunks, log, job_id)?;
        for file in &commit.files {
            let key = (file.stream_type.clone(), month(file));
            next.groups.entry(key).or_default().inline.push(Arc::new(file.clone()));
        }
        Ok(())
    }

    /// Writes a run of new records, merged with the newest runs as far as the tiers say and the runs can be read.
    fn add_run<R: Record>(
        &self,
        refs: &mut Vec<RunRef>,
        slots: &[Slot],
        mut records: Vec<R>,
        log: &LogKey,
        job_id: u128,
    ) -> Result<(), CommitError> {
        if records.is_empty() {
            return Ok(());
        }
        records.sort_by_key(Record::key);
        let readable = slots.iter().rev().map_while(|slot| slot.as_ref().ok());
        let older: Vec<_> = readable.take(tiers_to_merge(refs, records.len() as u64)).collect();
        let take = older.len();
        let keep = refs.len() - take;
        let count_max = records.len() as u64 + refs[keep..].iter().map(|r| r.records).sum::<u64>();
        let path = self.run_path::<R>(log)?;
        let mut sources: Vec<Box<dyn Iterator<Item = R> + '_>> = vec![Box::new(records.into_iter())];
        sources.extend(older.iter().map(|run| Box::new(run.iter()) as Box<dyn Iterator<Item = R> + '_>));
        let run = write_run(&*self.inner.shared.objects, &path, merged(sources), count_max, job_id)?;
        refs.truncate(keep);
        refs.push(run);
        Ok(())
    }

    fn run_path<R: Record>(&self, log: &LogKey) -> Result<String, ObjectError> {
        let (folder, word) = (encode_path_text(&log.stream_type), R::KIND.word());
        loop {
            let n = self.inner.file_seq.fetch_add(1, Ordering::Relaxed);
            let path = format!("{RUN_FOLDER}/{folder}/{word}-{}-{}-{n:010}.run", log.bucket, self.inner.writer);
            if !self.inner.shared.objects.exists(&path)? {
                return Ok(path);
            }
        }
    }
}

/// Whether the current version holds the change already: a retry after an answer that was lost.
fn is_done(current: &Snapshot, change: &Change<'_>, job_id: u128) -> bool {
    match change {
        Change::Job(commit) => current.log(&commit.log).is_some_and(|state| state.last_job == job_id),
        Change::Update(_) | Change::Runs { .. } => current.manifest.job_id == job_id,
    }
}

fn apply_update(next: &mut Manifest, update: &Update) {
    match update {
        Update::CleanStop(logs) => {
            for (log, through) in logs {
                let state: &mut LogState = next.logs.entry(log.clone()).or_default();
                state.known_through = state.known_through.max(*through);
            }
        }
        Update::AcceptLostLog { log, through } => {
            let state = next.logs.entry(log.clone()).or_default();
            state.compacted_through = state.compacted_through.max(*through);
            state.known_through = state.known_through.max(*through);
        }
        Update::Config(text) => text.clone_into(&mut next.config_text),
    }
}

/// The head that the job's record of a stream makes. What is in data files never comes again.
fn complete(current: &Snapshot, log: &LogKey, record: HeadRecord) -> Result<HeadRecord, CommitError> {
    let Some(older) = current.head(log, record.stream)? else { return Ok(record) };
    let first = if record.first_seq == Seq::ZERO { record.last_seq } else { record.first_seq };
    if first <= older.last_seq || record.last_seq < first {
        let (log, stream, head) = (log.clone(), record.stream, older.last_seq);
        return Err(CommitError::SeqBehind { log, stream, head, first });
    }
    Ok(HeadRecord { last_seq: record.last_seq, ..older })
}

/// The month of a file's oldest event: its group in the manifest.
fn month(file: &FileEntry) -> String {
    Granularity::Month.format(file.bounds.occurred_at.0).unwrap_or_else(|| NO_MONTH.to_owned())
}
