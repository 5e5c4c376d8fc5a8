//! How far a compaction job is, and the wish to end it: shared numbers, readable by anybody at any time.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// The step that a job is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Reads the frames of its log range.
    Selecting,
    /// Puts the rows in order.
    Sorting,
    /// Writes data files.
    Writing,
    /// Reads data files and writes their rows into others.
    Merging,
    /// Makes the manifest true.
    Committing,
    /// Has ended, well or not.
    Done,
}

const PHASES: [Phase; 6] =
    [Phase::Selecting, Phase::Sorting, Phase::Writing, Phase::Merging, Phase::Committing, Phase::Done];

impl Phase {
    /// The name in status answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Selecting => "selecting",
            Self::Sorting => "sorting",
            Self::Writing => "writing",
            Self::Merging => "merging",
            Self::Committing => "committing",
            Self::Done => "done",
        }
    }
}

/// Progress of one job. The job writes, everybody reads; anybody may ask it to end.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    rows_done: AtomicU64,
    rows_total: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// The step that the job is at.
    #[must_use]
    pub fn phase(&self) -> Phase {
        PHASES.get(usize::from(self.phase.load(Ordering::Relaxed))).copied().unwrap_or(Phase::Done)
    }

    /// Rows that the present step has done.
    #[must_use]
    pub fn rows_done(&self) -> u64 {
        self.rows_done.load(Ordering::Relaxed)
    }

    /// Rows that the job moves; 0 until they are counted.
    #[must_use]
    pub fn rows_total(&self) -> u64 {
        self.rows_total.load(Ordering::Relaxed)
    }

    /// Asks the job to end before its commit. A job that is committing ends by itself.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked the job to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// The job has ended, well or not; also one that found nothing to do.
    pub fn end(&self) {
        self.phase.store(Phase::Done as u8, Ordering::Relaxed);
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.rows_done.store(0, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(super) fn add_rows(&self, rows: u64) {
        self.rows_done.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn set_rows(&self, rows: u64) {
        self.rows_done.store(rows, Ordering::Relaxed);
    }

    pub(super) fn set_total(&self, rows: u64) {
        self.rows_total.store(rows, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_their_numbers() {
        let progress = Progress::default();
        for phase in PHASES {
            progress.add_rows(3);
            progress.enter(phase);
            assert_eq!((progress.phase(), progress.rows_done()), (phase, 0));
        }
    }
}
