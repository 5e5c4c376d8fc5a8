//! The points of a compaction job at which a crash must be harmless, and those at which it may pause.
//!
//! A test stops a job at each of them, opens the store again and finds every event exactly once. What lies inside the
//! commit (runs, manifest, names) is crashed at every operation by the durable tier's own tests.

use super::progress::Phase;

/// A point in a job, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The rows are read; nothing is written.
    Selected,
    /// The rows are in order; nothing is written.
    Sorted,
    /// All data files are written aside; no manifest names them.
    FilesWritten,
    /// The manifest is true.
    Committed,
}

impl Step {
    /// All points, in order.
    pub const ALL: [Self; 4] = [Self::Selected, Self::Sorted, Self::FilesWritten, Self::Committed];
    /// The points of a merge, in order: its rows are read while they are written.
    pub const MERGE: [Self; 3] = [Self::Selected, Self::FilesWritten, Self::Committed];
}

/// A test stopped the job here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the job was stopped at {0:?}")]
pub struct Stopped(pub Step);

/// Hears of each point.
pub trait Steps: Sync {
    /// The job has reached a point; an error ends it right there, as a crash would.
    fn reached(&self, step: Step) -> Result<(), Stopped>;

    /// The job has entered a phase: whoever has a clock may look at it.
    fn entered(&self, _phase: Phase) {}

    /// A bounded part of the work is done, and nothing is locked that an append or a read waits for: the job may pause here,
    /// with all of its threads.
    fn worked(&self) {}
}

/// Production: nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSteps;

impl Steps for NoSteps {
    fn reached(&self, _step: Step) -> Result<(), Stopped> {
        Ok(())
    }
}

/// Tests: stops at one point.
#[derive(Clone, Copy, Debug)]
pub struct StopAt(pub Step);

impl Steps for StopAt {
    fn reached(&self, step: Step) -> Result<(), Stopped> {
        if step == self.0 { Err(Stopped(step)) } else { Ok(()) }
    }
}
