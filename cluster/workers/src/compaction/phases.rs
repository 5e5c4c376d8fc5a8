//! How long a job is in each of its phases: the clock that the engine does not have.
//!
//! A phase ends when the next one begins, or with its job, well or not.

use crate::metrics::{Measured, Work};
use crate::spans;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;
use strandline_engine::compact::Phase;
use tracing::Span;

/// The clock of one job.
pub(crate) struct PhaseClock {
    measured: Arc<Measured>,
    work: Work,
    /// What a trace shows of the job.
    span: Span,
    now: Mutex<Option<Running>>,
}

/// The phase that the job is in.
struct Running {
    phase: Phase,
    began: Instant,
    _span: Span,
}

impl PhaseClock {
    pub(crate) fn new(measured: &Arc<Measured>, work: Work, span: Span) -> Self {
        Self { measured: Arc::clone(measured), work, span, now: Mutex::new(None) }
    }

    /// The job enters a phase, and leaves the one before.
    pub(crate) fn entered(&self, phase: Phase) {
        let running = || Running { phase, began: Instant::now(), _span: spans::phase(&self.span, phase) };
        self.change((phase != Phase::Done).then(running));
    }

    fn change(&self, next: Option<Running>) {
        if let Some(last) = std::mem::replace(&mut *self.now.lock(), next) {
            self.measured.phase(self.work, last.phase, last.began.elapsed());
        }
    }
}

impl Drop for PhaseClock {
    fn drop(&mut self) {
        self.change(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_counts_once_also_that_in_which_a_job_ends() {
        let measured = Arc::new(Measured::default());
        let clock = PhaseClock::new(&measured, Work::Compact, Span::none());
        clock.entered(Phase::Selecting);
        clock.entered(Phase::Sorting);
        let counts = || -> Vec<_> {
            let counted = measured.phases().map(|(.., histogram)| histogram.cumulative().1);
            counted.collect()
        };
        assert_eq!(counts(), [1, 0, 0, 0, 0, 0, 0], "the second one goes on");
        drop(clock);
        assert_eq!(counts(), [1, 1, 0, 0, 0, 0, 0]);
        PhaseClock::new(&measured, Work::Compact, Span::none()).entered(Phase::Done);
        assert_eq!(counts(), [1, 1, 0, 0, 0, 0, 0]);
    }
}
