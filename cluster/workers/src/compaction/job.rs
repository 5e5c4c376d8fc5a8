//! Jobs and their book: what runs, what ran, as anybody may read it at any time.
//!
//! One writer (the supervisor and the runs that it started); readers take a copy.

use crate::clock;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strandline_engine::compact::{Progress, Trigger};
use strandline_event::{LogKey, Micros};
use tokio::sync::watch;

/// Jobs that the book remembers.
const REMEMBERED: usize = 100;

/// How a job ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobEnd {
    /// When.
    pub ended_at: Micros,
    /// Bytes of the log that it read.
    pub input_bytes: u64,
    /// Bytes of data files that it wrote.
    pub output_bytes: u64,
    /// Rows that it moved.
    pub rows: u64,
    /// Data files that it wrote.
    pub files: u64,
    /// Why it failed; what it had committed before stays.
    pub error: Option<String>,
    /// Whether somebody ended it.
    pub cancelled: bool,
}

/// One run over one log.
#[derive(Debug)]
pub struct Job {
    /// Its id, 32 hex digits in texts.
    pub id: u128,
    /// The log.
    pub log: LogKey,
    /// Why it runs.
    pub trigger: Trigger,
    /// When it was asked for.
    pub asked_at: Micros,
    /// How far it is.
    pub progress: Arc<Progress>,
    begun: AtomicBool,
    end: watch::Sender<Option<JobEnd>>,
}

impl Job {
    pub(crate) fn new(log: LogKey, trigger: Trigger) -> Arc<Self> {
        let (end, _) = watch::channel(None);
        let progress = Arc::new(Progress::default());
        let (id, begun) = (crate::random::bits(), AtomicBool::new(false));
        Arc::new(Self { id, log, trigger, asked_at: clock::now(), progress, begun, end })
    }

    /// It is this job's turn: what is accepted from now on may not be in it.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<JobEnd> {
        self.end.borrow().clone()
    }

    /// Waits for its end.
    pub async fn ended(&self) -> JobEnd {
        let mut receiver = self.end.subscribe();
        match receiver.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or_default(),
            // the sender stands in this job
            Err(_) => JobEnd::default(),
        }
    }

    fn finish(&self, end: JobEnd) {
        self.end.send_replace(Some(end));
    }
}

#[derive(Debug, Default)]
struct Lists {
    running: Vec<Arc<Job>>,
    ended: VecDeque<Arc<Job>>,
    next_tick: Option<Micros>,
    last_run: Option<Micros>,
}

/// What compaction does in one store.
#[derive(Debug, Default)]
pub struct JobBook {
    paused: AtomicBool,
    lists: Mutex<Lists>,
}

impl JobBook {
    /// Whether schedule and size start nothing.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// When the schedule fires next.
    #[must_use]
    pub fn next_tick(&self) -> Option<Micros> {
        self.lists.lock().next_tick
    }

    /// When the last job ended.
    #[must_use]
    pub fn last_run(&self) -> Option<Micros> {
        self.lists.lock().last_run
    }

    /// Jobs that run or wait.
    #[must_use]
    pub fn running(&self) -> Vec<Arc<Job>> {
        self.lists.lock().running.clone()
    }

    /// The last jobs that ended, newest first.
    #[must_use]
    pub fn ended(&self) -> Vec<Arc<Job>> {
        self.lists.lock().ended.iter().cloned().collect()
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub(crate) fn set_next_tick(&self, next: Option<Micros>) {
        self.lists.lock().next_tick = next;
    }

    pub(crate) fn start(&self, job: &Arc<Job>) {
        self.lists.lock().running.push(Arc::clone(job));
    }

    /// The job that waits for its turn at this log: whoever asks for another one gets this.
    pub(crate) fn waiting(&self, log: &LogKey) -> Option<Arc<Job>> {
        let lists = self.lists.lock();
        let waits =
            |job: &&Arc<Job>| job.log == *log && !job.begun.load(Ordering::SeqCst) && !job.progress.is_cancelled();
        lists.running.iter().find(waits).cloned()
    }

    pub(crate) fn is_busy(&self, log: &LogKey) -> bool {
        self.lists.lock().running.iter().any(|job| job.log == *log)
    }

    /// Whether the log's last job failed after `since`: the size alone does not start another one at once.
    pub(crate) fn has_failed_since(&self, log: &LogKey, since: Micros) -> bool {
        let lists = self.lists.lock();
        let last = lists.ended.iter().find(|job| job.log == *log).and_then(|job| job.end());
        last.is_some_and(|end| end.error.is_some() && end.ended_at > since)
    }

    /// A run that found nothing to do is told to who waits and leaves no line in the book.
    pub(crate) fn finish(&self, job: &Arc<Job>, end: JobEnd) {
        let did_nothing = end.rows == 0 && end.error.is_none() && !end.cancelled;
        {
            let mut lists = self.lists.lock();
            lists.running.retain(|running| !Arc::ptr_eq(running, job));
            lists.last_run = Some(end.ended_at);
            if !did_nothing || job.trigger == Trigger::Hand {
                lists.ended.push_front(Arc::clone(job));
                lists.ended.truncate(REMEMBERED);
            }
        }
        job.finish(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_remembers_a_hundred_jobs() {
        let book = JobBook::default();
        let key = LogKey::single("Call");
        for rows in 0..150 {
            let job = Job::new(key.clone(), Trigger::Tick);
            book.start(&job);
            assert!(book.is_busy(&key));
            book.finish(&job, JobEnd { rows, ..JobEnd::default() });
        }
        let ended = book.ended();
        assert_eq!((ended.len(), ended[0].end().map(|e| e.rows)), (100, Some(149)));
        assert!(!book.is_busy(&key) && book.running().is_empty());
    }
}
