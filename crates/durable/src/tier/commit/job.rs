//! The commit of a compaction job: one range of a log becomes durable, its watermark moves. Or of several logs at once: all of
//! them or none.

use super::{Change, CommitError};
use crate::entry::FileEntry;
use crate::manifest::{ChunkMark, Manifest};
use crate::runs::{CommandRecord, HeadRecord, LogRuns, MIXED_TENANTS};
use crate::tier::{DurableTier, Snapshot};
use std::sync::Arc;
use strandline_event::{LogIndex, LogKey, Micros, Seq};

/// The result of a compaction job.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The job.
    pub job_id: u128,
    /// Not after now: the version is of the moment at which it is made, where the tier has a clock.
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
    /// and its last. The older head's first seq stays, and its owner, unless the record says [`MIXED_TENANTS`]. `first_seq` zero: not told; then the last one is checked.
    pub heads: Vec<HeadRecord>,
    /// Every command of the range, in any order.
    pub commands: Vec<CommandRecord>,
    /// Chunks of resumable ingestions in the range.
    pub chunks: Vec<ChunkMark>,
}

/// Jobs of one id, of one log each.
struct JobCommits<'a>(&'a [Commit]);

impl DurableTier {
    /// Commits a job: its files become visible, its log's watermark moves. A repeated call with the same job id is a success.
    pub fn commit(&self, commit: &Commit) -> Result<Arc<Snapshot>, CommitError> {
        self.commit_together(std::slice::from_ref(commit))
    }

    /// Commits jobs of several logs as one version: all of them or none. They share one job id and one moment.
    pub fn commit_together(&self, commits: &[Commit]) -> Result<Arc<Snapshot>, CommitError> {
        let Some(first) = commits.first() else { return Ok(self.pin()) };
        let outcome = self.change(&JobCommits(commits), first.job_id, first.at)?;
        commits.iter().for_each(|commit| self.publish_files(&outcome, &commit.files));
        Ok(outcome.snapshot())
    }
}

impl Change for JobCommits<'_> {
    fn files(&self) -> Vec<String> {
        self.0.iter().flat_map(|commit| &commit.files).map(|file| file.path.clone()).collect()
    }

    fn is_done(&self, current: &Snapshot, job_id: u128) -> bool {
        let done = |commit: &Commit| current.log(&commit.log).is_some_and(|state| state.last_job == job_id);
        self.0.iter().all(done)
    }

    fn apply(&self, tier: &DurableTier, current: &Snapshot, next: &mut Manifest) -> Result<(), CommitError> {
        self.0.iter().try_for_each(|commit| commit.apply(tier, current, next))
    }
}

impl Commit {
    fn apply(&self, tier: &DurableTier, current: &Snapshot, next: &mut Manifest) -> Result<(), CommitError> {
        let commit = self;
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
        tier.add_run::<HeadRecord>(&mut state.heads, &runs.heads, heads, log, job_id)?;
        tier.add_run::<CommandRecord>(&mut state.commands, &runs.commands, commit.commands.clone(), log, job_id)?;
        tier.add_run::<ChunkMark>(&mut state.chunk_runs, &runs.chunks, chunks, log, job_id)?;
        next.add_files(commit.files.iter().cloned().map(Arc::new));
        Ok(())
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
    // that it is of several tenants by now is the one thing that changes an owner
    let owner_tenant = if record.owner_tenant == MIXED_TENANTS { MIXED_TENANTS } else { older.owner_tenant };
    Ok(HeadRecord { last_seq: record.last_seq, owner_tenant, ..older })
}
