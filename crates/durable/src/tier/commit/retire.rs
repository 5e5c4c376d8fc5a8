//! The commit by which retention takes files out: they are live no more, and what they held of each stream is written down.
//!
//! Invariant: a version that does not name a file as live any more names its seq ranges as retired, from the same moment on.
//! Refused where a run of the log cannot be read: heads and commands could be made anew from the files that would go.

use super::{Change, CommitError};
use crate::entry::FileEntry;
use crate::manifest::Manifest;
use crate::runs::{LogRuns, Ranges, RetiredRange, RunRef, Slot, tiers_to_merge, union, write_run};
use crate::tier::retired::RangeSet;
use crate::tier::{DurableTier, Snapshot};
use std::sync::Arc;
use strandline_event::{LogKey, Micros};

/// What becomes of the files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeleteMode {
    /// A tombstone: they can be brought back until its grace period is over.
    Tombstone,
    /// They go at once.
    Hard,
}

/// Files of one log that retention takes out.
#[derive(Clone, Debug)]
pub struct Retirement {
    /// The job.
    pub job_id: u128,
    /// Not after now: the version is of the moment at which it is made, where the tier has a clock.
    pub at: Micros,
    /// The log of all files.
    pub log: LogKey,
    /// Entries that are live, as a pinned version has them. Not empty.
    pub files: Vec<Arc<FileEntry>>,
    /// What becomes of them.
    pub mode: DeleteMode,
}

/// A retirement and the ranges of its files.
pub(in crate::tier) struct RetireChange<'a> {
    pub(in crate::tier) what: &'a Retirement,
    pub(in crate::tier) ranges: &'a RangeSet<'a>,
}

impl Change for RetireChange<'_> {
    fn is_done(&self, current: &Snapshot, job_id: u128) -> bool {
        let first = self.what.files.first().map(|file| file.path.as_str());
        let manifest = &current.manifest;
        let buried = || manifest.tombstones.iter().any(|t| t.job_id == job_id && Some(t.entry.path.as_str()) == first);
        let given_up = || manifest.replaced.iter().any(|f| f.job_id == job_id && Some(f.path.as_str()) == first);
        manifest.job_id == job_id || buried() || given_up()
    }

    fn apply(&self, tier: &DurableTier, current: &Snapshot, next: &mut Manifest) -> Result<(), CommitError> {
        let Retirement { job_id, log, files, mode, .. } = self.what;
        let ours = |file: &&Arc<FileEntry>| file.stream_type == *log.stream_type && file.bucket == log.bucket;
        if let Some(stranger) = files.iter().find(|file| !ours(file)) {
            return Err(CommitError::OtherLog { path: stranger.path.clone(), log: log.clone() });
        }
        let none = LogRuns::default();
        let runs = current.runs.get(log).unwrap_or(&none);
        if let Some(broken) = runs.broken().next() {
            return Err(broken.clone().into());
        }
        next.remove_files(files).map_err(|path| CommitError::NotLive { path: path.to_owned() })?;
        match mode {
            DeleteMode::Tombstone => next.bury(files),
            DeleteMode::Hard => next.give_up(files.iter().map(|file| &**file)),
        }
        let state = next.logs.entry(log.clone()).or_default();
        tier.add_retired(&mut state.retired, &runs.retired, self.ranges, *job_id)
    }
}

impl DurableTier {
    /// Writes a run of new ranges, joined with those of the newest runs as far as the tiers say.
    fn add_retired(
        &self,
        refs: &mut Vec<RunRef>,
        slots: &[Slot],
        ranges: &RangeSet<'_>,
        job_id: u128,
    ) -> Result<(), CommitError> {
        let take = tiers_to_merge(refs, ranges.count_max()).min(slots.len());
        let keep = refs.len() - take;
        let mut sources: Vec<Ranges<'_>> = vec![Box::new(ranges.ranges())];
        for slot in slots.iter().rev().take(take) {
            sources.push(Box::new(slot.as_ref().map_err(Clone::clone)?.iter()));
        }
        let count_max = ranges.count_max() + refs[keep..].iter().map(|run| run.records).sum::<u64>();
        let path = self.run_path::<RetiredRange>(ranges.log())?;
        let run = write_run(&*self.inner.shared.objects, &path, union(sources), count_max, job_id)?;
        refs.truncate(keep);
        refs.push(run);
        Ok(())
    }
}
