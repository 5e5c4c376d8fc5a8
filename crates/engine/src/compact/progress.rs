//! How far a compaction job is, and the wish to end it: shared numbers, readable by anybody at any time.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use strandline_event::Micros;

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
    /// When its turn came; 0: it waits for it, or nobody with a clock has said it.
    began: AtomicI64,
    /// When it entered the step; 0: nobody with a clock has said it.
    step_began: AtomicI64,
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

    /// When the job began to work; `None`: it waits for its turn, or nobody with a clock has said it.
    #[must_use]
    pub fn began(&self) -> Option<Micros> {
        Some(Micros(self.began.load(Ordering::Relaxed))).filter(|began| began.0 > 0)
    }

    /// Somebody works for the job now. One of several parts begins once, with the first of them.
    pub fn set_began(&self, now: Micros) {
        let _earlier = self.began.compare_exchange(0, now.0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Rows that the present step has done.
    #[must_use]
    pub fn rows_done(&self) -> u64 {
        self.rows_done.load(Ordering::Relaxed)
    }

    /// When the present step began; `None`: nobody with a clock has said it.
    #[must_use]
    pub fn step_began(&self) -> Option<Micros> {
        Some(Micros(self.step_began.load(Ordering::Relaxed))).filter(|began| began.0 > 0)
    }

    /// The present step began now: the job itself has no clock.
    pub fn set_step_began(&self, now: Micros) {
        self.step_began.store(now.0, Ordering::Relaxed);
    }

    /// Another node is at this step, and has done so many rows.
    pub fn done_elsewhere(&self, phase: Phase, rows_done: u64, rows_total: u64) {
        if self.phase() != phase {
            self.enter(phase);
        }
        self.set_total(rows_total);
        self.set_rows(rows_done);
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
        self.step_began.store(0, Ordering::Relaxed);
        if phase == Phase::Selecting {
            // those of the part before, where a job has several
            self.rows_total.store(0, Ordering::Relaxed);
        }
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

    #[test]
    fn a_job_of_several_parts_begins_once() {
        let progress = Progress::default();
        assert_eq!(progress.began(), None, "it waits for its turn");
        progress.set_began(Micros(7));
        progress.enter(Phase::Selecting);
        progress.set_began(Micros(9));
        progress.end();
        assert_eq!(progress.began(), Some(Micros(7)));
    }

    #[test]
    fn each_step_has_its_own_begin_and_each_part_its_own_rows() {
        let progress = Progress::default();
        progress.enter(Phase::Writing);
        assert_eq!(progress.step_began(), None, "nobody with a clock has said it");
        progress.set_step_began(Micros(7));
        progress.set_total(5);
        assert_eq!((progress.step_began(), progress.rows_total()), (Some(Micros(7)), 5));
        progress.enter(Phase::Committing);
        assert_eq!((progress.step_began(), progress.rows_total()), (None, 5));
        progress.enter(Phase::Selecting);
        assert_eq!(progress.rows_total(), 0, "the next part has not counted its own");
    }
}
