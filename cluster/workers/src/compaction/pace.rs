//! Keeps the threads of compaction behind ingestion: the system prefers every other thread, and a job sleeps for the part of
//! the time that is not its share.
//!
//! Refuses to decide how long (`strandline_engine::compact::Pacer`). A cancelled job does not sleep.

use super::phases::PhaseClock;
use crate::clock;
use crate::metrics::Metrics;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_engine::compact::{Pacer, Phase, Progress, Share, Step, Steps, Stopped};

/// How much nicer such a thread is than the node: on a busy machine the system gives it about a tenth of what another thread gets.
const NICER_BY: i32 = 10;
/// The nicest that the system knows.
const NICEST: i32 = 19;
/// A pause looks this often whether its job was cancelled.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The account of one thread. A clone is another thread's.
#[derive(Clone)]
pub(crate) struct Pace {
    began: Instant,
    pacer: Pacer,
    metrics: Arc<Metrics>,
}

impl Pace {
    pub(crate) fn new(share: Share, metrics: &Arc<Metrics>) -> Self {
        Self { began: Instant::now(), pacer: Pacer::new(share, Duration::ZERO), metrics: Arc::clone(metrics) }
    }

    /// A job begins in this thread.
    pub(crate) fn begin<'a>(&'a mut self, progress: &'a Progress, phases: PhaseClock) -> Paced<'a> {
        self.pacer.rested(self.began.elapsed());
        progress.set_began(clock::now());
        Paced { pace: Mutex::new(self), progress, phases }
    }

    fn pause(&mut self, progress: &Progress) {
        let Some(pause) = self.pacer.worked(self.began.elapsed()) else { return };
        self.metrics.compaction_pauses.add(1);
        self.metrics.compaction_paused_us.add(u64::try_from(pause.as_micros()).unwrap_or(u64::MAX));
        let until = Instant::now() + pause;
        while !progress.is_cancelled() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
        self.pacer.rested(self.began.elapsed());
    }
}

/// One job under the share of its thread, and under a clock.
pub(crate) struct Paced<'a> {
    pace: Mutex<&'a mut Pace>,
    progress: &'a Progress,
    phases: PhaseClock,
}

impl Steps for Paced<'_> {
    fn reached(&self, _step: Step) -> Result<(), Stopped> {
        Ok(())
    }

    fn entered(&self, phase: Phase) {
        self.progress.set_step_began(clock::now());
        self.phases.entered(phase);
    }

    fn worked(&self) {
        self.pace.lock().pause(self.progress);
    }
}

/// Makes this thread, and those that it starts, wait behind the node's others. The log tells once where the system refuses.
pub(crate) fn step_back() {
    use rustix::process::{getpriority_process, setpriority_process};
    // of no process: Linux counts niceness by thread, and this is the calling one's
    let stepped = getpriority_process(None).and_then(|own| setpriority_process(None, (own + NICER_BY).min(NICEST)));
    if let Err(error) = stepped {
        tracing::warn!("compaction runs at the priority of ingestion, since the system refuses another: {error}");
    }
}
