//! The commit that brings files back from under their tombstones: they are live again, and their seqs are retired no more.
//!
//! Invariant: exactly what the files hold is taken out of the retired ranges, computed from the files themselves; everything in
//! one version.

use super::{Change, CommitError};
use crate::manifest::{Manifest, Tombstone};
use crate::runs::{LogRuns, Ranges, RetiredRange, Slot, subtracted, union, write_run};
use crate::tier::retired::RangeSet;
use crate::tier::{DurableTier, Snapshot};
use std::collections::HashSet;
use std::sync::Arc;
use strandline_event::Micros;

/// Files to bring back.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The job.
    pub job_id: u128,
    /// Not after now: the version is of the moment at which it is made, where the tier has a clock.
    pub at: Micros,
    /// Tombstones of a pinned version. Not empty.
    pub tombstones: Vec<Tombstone>,
}

/// A restore and the ranges of its files, log by log.
pub(in crate::tier) struct RestoreChange<'a> {
    pub(in crate::tier) what: &'a Restore,
    pub(in crate::tier) ranges: &'a [RangeSet<'a>],
}

impl Change for RestoreChange<'_> {
    fn apply(&self, tier: &DurableTier, current: &Snapshot, next: &mut Manifest) -> Result<(), CommitError> {
        let mut paths: HashSet<&str> = self.what.tombstones.iter().map(|t| t.entry.path.as_str()).collect();
        let back = next.tombstones.take_out(|tombstone| paths.remove(tombstone.entry.path.as_str()));
        if let Some(path) = paths.into_iter().next() {
            return Err(CommitError::NotBuried { path: path.to_owned() });
        }
        next.add_files(back.into_iter().map(|tombstone| Arc::new(tombstone.entry)));
        let none = LogRuns::default();
        for ranges in self.ranges {
            let slots = &current.runs.get(ranges.log()).unwrap_or(&none).retired;
            let state = next.logs.entry(ranges.log().clone()).or_default();
            let count_max = state.retired.iter().map(|run| run.records).sum::<u64>() + ranges.count_max();
            let mut left = subtracted(Box::new(union(sources(slots)?)), Box::new(ranges.ranges())).peekable();
            state.retired.clear();
            if left.peek().is_some() {
                let path = tier.run_path::<RetiredRange>(ranges.log())?;
                let objects = &*tier.inner.shared.objects;
                state.retired.push(write_run(objects, &path, left, count_max, self.what.job_id)?);
            }
        }
        Ok(())
    }
}

fn sources(slots: &[Slot]) -> Result<Vec<Ranges<'_>>, CommitError> {
    let mut out: Vec<Ranges<'_>> = Vec::new();
    for slot in slots {
        out.push(Box::new(slot.as_ref().map_err(Clone::clone)?.iter()));
    }
    Ok(out)
}
