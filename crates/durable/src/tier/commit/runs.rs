//! Runs at a commit: new ones are written, small ones merged; a log's runs of one kind replaced where they were made anew.

use super::{Change, CommitError};
use crate::manifest::Manifest;
use crate::objects::ObjectError;
use crate::runs::{Record, RunRef, Slot, merged, tiers_to_merge, write_run};
use crate::tier::names::RUN_FOLDER;
use crate::tier::rebuild::Records;
use crate::tier::{DurableTier, Snapshot};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use strandline_event::{LogIndex, LogKey, Micros, encode_path_text};

/// A log's runs of one kind, made anew as of this watermark.
struct NewRuns<'a> {
    log: &'a LogKey,
    through: LogIndex,
    records: &'a Records,
}

impl Change for NewRuns<'_> {
    fn apply(&self, tier: &DurableTier, _: &Snapshot, next: &mut Manifest) -> Result<(), CommitError> {
        let Self { log, through, records } = *self;
        let job_id = next.job_id;
        let state = next.logs.entry(log.clone()).or_default();
        if state.compacted_through != through {
            return Err(CommitError::Watermark { expected: state.compacted_through, found: through });
        }
        match records {
            Records::Heads(heads) => {
                state.heads.clear();
                tier.add_run(&mut state.heads, &[], heads.clone(), log, job_id)
            }
            Records::Commands(commands) => {
                state.commands.clear();
                tier.add_run(&mut state.commands, &[], commands.clone(), log, job_id)
            }
        }
    }
}

impl DurableTier {
    /// Replaces a log's runs of one kind by one run of these records; refused where a job has moved the watermark meanwhile.
    pub(in crate::tier) fn replace_runs(
        &self,
        log: &LogKey,
        through: LogIndex,
        records: &Records,
        job_id: u128,
        at: Micros,
    ) -> Result<Arc<Snapshot>, CommitError> {
        Ok(self.change(&NewRuns { log, through, records }, job_id, at)?.snapshot())
    }

    /// Writes a run of new records, merged with the newest runs as far as the tiers say and the runs can be read.
    pub(super) fn add_run<R: Record>(
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

    pub(in crate::tier) fn run_path<R: Record>(&self, log: &LogKey) -> Result<String, ObjectError> {
        let (folder, word) = (encode_path_text(&log.stream_type), R::KIND.word());
        loop {
            let n = self.inner.file_seq.fetch_add(1, Ordering::Relaxed);
            let path =
                format!("{RUN_FOLDER}/{folder}/{word}-{}-{}-{n:010}.run", log.bucket, self.inner.claim.load().writer);
            if !self.inner.shared.objects.exists(&path)? {
                return Ok(path);
            }
        }
    }
}
