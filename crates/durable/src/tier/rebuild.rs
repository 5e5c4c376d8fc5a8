//! Runs that cannot be read, made anew from data files.
//!
//! Possible only while the files hold every event that was ever compacted. A command's digest covers what the client sent,
//! which no file tells for certain (an absent field may have been filled in): rebuilt commands get [`DIGEST_UNKNOWN`], and whoever
//! meets it compares a retry with the events themselves.

use super::commit::CommitError;
use super::{DurableTier, Shared, Snapshot};
use crate::entry::FileEntry;
use crate::read::{Counters, DataFile, Decoded, ReadError};
use crate::runs::{BrokenRun, CommandRecord, HeadRecord, MIXED_TENANTS, RunKind, tenant_hash};
use arrow::array::{Array, Int64Array, StringArray, TimestampMicrosecondArray};
use std::collections::HashMap;
use std::sync::Arc;
use strandline_event::hash::{keyed_hash, stream_hash};
use strandline_event::{Field, LogKey, Micros, Seq};

/// Digest of a command whose request is not known any more: no request has it. Such a record names the first event that
/// carries the command's id, and counts those that do: of an append in which only some do, others may stand around them.
pub const DIGEST_UNKNOWN: u128 = 0;

/// Key of a command: from its log, the hash of its stream and its id. `None`: commands are not checked.
pub type CommandKey<'a> = &'a dyn Fn(&LogKey, u128, &str) -> Option<u128>;

/// What became of a run that could not be read.
#[derive(Debug)]
pub struct Rebuilt {
    /// The run.
    pub broken: BrokenRun,
    /// Records in the run that stands in its place.
    pub outcome: Result<u64, RebuildError>,
}

/// Why a run could not be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Events were removed: their heads stand nowhere else.
    #[error("{events} events were compacted, the data files hold {rows}: what is gone cannot be rebuilt")]
    Retired {
        /// Events that were compacted.
        events: u64,
        /// Events in files.
        rows: u64,
    },
    /// Data files do not hold such records.
    #[error("data files do not tell it")]
    NotInFiles,
    /// A data file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// The records of a run.
#[derive(Debug)]
pub(super) enum Records {
    Heads(Vec<HeadRecord>),
    Commands(Vec<CommandRecord>),
}

impl DurableTier {
    /// Makes every run that cannot be read anew from data files, each by a commit. Memory: some 100 bytes a stream or
    /// command of a log. Call it when nothing else runs. `job_id` is random.
    pub fn rebuild_runs(&self, command_key: CommandKey<'_>, job_id: u128, at: Micros) -> Vec<Rebuilt> {
        let snapshot = self.pin();
        let mut out: Vec<Rebuilt> = Vec::new();
        for (log, runs) in &snapshot.runs {
            for broken in runs.broken() {
                if out.iter().any(|done| done.broken.kind == broken.kind && done.broken.log == *log) {
                    continue; // all runs of a log and kind were replaced by one
                }
                let job_id = keyed_hash(0, 3, &[&job_id.to_le_bytes(), broken.path.as_bytes()]);
                let outcome = self.rebuild(&snapshot, broken, command_key, job_id, at);
                out.push(Rebuilt { broken: broken.clone(), outcome });
            }
        }
        out
    }

    fn rebuild(
        &self,
        snapshot: &Snapshot,
        broken: &BrokenRun,
        command_key: CommandKey<'_>,
        job_id: u128,
        at: Micros,
    ) -> Result<u64, RebuildError> {
        let log = &broken.log;
        let ours = |f: &&Arc<FileEntry>| f.stream_type == *log.stream_type && f.bucket == log.bucket;
        let files: Vec<_> = snapshot.files().iter().filter(ours).cloned().collect();
        let (events, rows) = (snapshot.log(log).map_or(0, |l| l.events), files.iter().map(|f| f.rows).sum());
        if events != rows {
            return Err(RebuildError::Retired { events, rows });
        }
        let records = match broken.kind {
            RunKind::Heads => Records::Heads(heads(snapshot, &files)?),
            RunKind::Commands => Records::Commands(commands(snapshot, &files, log, command_key)?),
            RunKind::Chunks | RunKind::Retired => return Err(RebuildError::NotInFiles),
        };
        let count = match &records {
            Records::Heads(heads) => heads.len(),
            Records::Commands(commands) => commands.len(),
        };
        self.replace_runs(log, snapshot.watermark(log), &records, job_id, at)?;
        Ok(count as u64)
    }
}

fn heads(snapshot: &Snapshot, files: &[Arc<FileEntry>]) -> Result<Vec<HeadRecord>, ReadError> {
    let mut heads: HashMap<u128, HeadRecord> = HashMap::new();
    each_row(
        &snapshot.shared,
        files.iter().map(|f| &**f),
        &[Field::StreamId, Field::Seq, Field::TenantId],
        &mut |columns, i| {
            let stream = stream_hash(columns.column::<StringArray>(Field::StreamId)?.value(i));
            let seq = Seq(columns.column::<Int64Array>(Field::Seq)?.value(i).cast_unsigned());
            let tenants = columns.column::<StringArray>(Field::TenantId)?;
            let owner_tenant = tenant_hash(tenants.is_valid(i).then(|| tenants.value(i)));
            let new = HeadRecord { stream, last_seq: seq, first_seq: seq, owner_tenant };
            let head = heads.entry(stream).or_insert(new);
            if head.owner_tenant != owner_tenant {
                head.owner_tenant = MIXED_TENANTS;
            }
            head.first_seq = head.first_seq.min(seq);
            head.last_seq = head.last_seq.max(seq);
            Some(())
        },
    )?;
    Ok(heads.into_values().collect())
}

fn commands(
    snapshot: &Snapshot,
    files: &[Arc<FileEntry>],
    log: &LogKey,
    key: CommandKey<'_>,
) -> Result<Vec<CommandRecord>, ReadError> {
    const FIELDS: [Field; 4] = [Field::StreamId, Field::Seq, Field::IngestedAt, Field::CommandId];
    let mut commands: HashMap<u128, CommandRecord> = HashMap::new();
    each_row(&snapshot.shared, files.iter().map(|f| &**f), &FIELDS, &mut |columns, i| {
        let ids = columns.column::<StringArray>(Field::CommandId)?;
        if ids.is_null(i) {
            return Some(());
        }
        let stream = stream_hash(columns.column::<StringArray>(Field::StreamId)?.value(i));
        let Some(key) = key(log, stream, ids.value(i)) else { return Some(()) };
        let first_seq = Seq(columns.column::<Int64Array>(Field::Seq)?.value(i).cast_unsigned());
        let ingested_at = Micros(columns.column::<TimestampMicrosecondArray>(Field::IngestedAt)?.value(i));
        let new = CommandRecord { key, digest: DIGEST_UNKNOWN, first_seq, count: 0, ingested_at, stream };
        let command = commands.entry(key).or_insert(new);
        command.count = command.count.saturating_add(1);
        if ingested_at < command.ingested_at {
            (command.first_seq, command.ingested_at, command.stream) = (first_seq, ingested_at, stream);
        }
        Some(())
    })?;
    Ok(commands.into_values().collect())
}

/// Calls `each` for every row with some columns; `None` from it: a column has another type.
pub(super) fn each_row<'f>(
    shared: &Shared,
    files: impl IntoIterator<Item = &'f FileEntry>,
    fields: &[Field],
    each: &mut dyn FnMut(&Decoded<'_>, usize) -> Option<()>,
) -> Result<(), ReadError> {
    let counters = Arc::new(Counters::default());
    for entry in files {
        let file = DataFile::open(shared, &Arc::new(entry.clone()), &counters)?;
        for group in 0..file.groups() {
            let all = file.pages(group, &[])?;
            file.decode(group, &all, fields, |_, batch| {
                let columns = Decoded { fields, batch };
                let whole = (0..batch.num_rows()).try_for_each(|i| each(&columns, i));
                whole.ok_or_else(|| file.damaged("a column has another type".to_owned()))
            })?;
        }
    }
    Ok(())
}
