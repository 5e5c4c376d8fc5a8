//! Jobs and their book: what runs, what ran, as anybody may read it at any time.
//!
//! One writer (the supervisor and the runs that it started); readers take a copy.

use crate::clock;
use crate::error::NodeError;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strandline_engine::compact::{CompactError, Partition, Phase, Progress, Trigger};
use strandline_event::{LogKey, Micros};
use tokio::sync::watch;

/// Jobs that the book remembers.
const REMEMBERED: usize = 100;
/// The clock leaves a partition alone this long after a merge of it has failed.
const REST_AFTER_FAILURE_S: u64 = 3600;

/// How a job ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobEnd {
    /// When.
    pub ended_at: Micros,
    /// Segments of the log that it read of (one at which a long run was cut counts twice), or data files that it replaced.
    pub inputs: u64,
    /// Bytes of the log (frames and the rest of their blocks), or of the data files, that it read: what a plan says before.
    pub input_bytes: u64,
    /// Bytes of data files that it wrote.
    pub output_bytes: u64,
    /// Rows that it moved.
    pub rows: u64,
    /// Data files that it wrote.
    pub files: u64,
    /// Why it failed; what it had committed before stays. That somebody ended it is no failure.
    pub error: Option<String>,
    /// Whether somebody ended it.
    pub cancelled: bool,
    /// The phase that it was in when it failed or was ended; `None`: it came to its end, or was between two parts.
    pub ended_in: Option<Phase>,
}

impl JobEnd {
    /// Keeps why it ended early.
    pub(crate) fn ended_by(&mut self, error: &NodeError) {
        let is_wish = matches!(error, NodeError::Compact(error) if matches!(**error, CompactError::Cancelled));
        self.error = (!is_wish).then(|| error.to_string());
    }

    /// Whether it came to its end.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        self.error.is_none() && !self.cancelled
    }

    const fn found_nothing(&self) -> bool {
        self.rows == 0 && self.is_well()
    }
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// Moves what is in its log to data files.
    Compact,
    /// Makes few files of those of this partition.
    Merge(Partition),
}

/// One run over one log, or over one partition.
#[derive(Debug)]
pub struct Job {
    /// Its id, 32 hex digits in texts.
    pub id: u128,
    /// The log.
    pub log: LogKey,
    /// What it does.
    pub kind: JobKind,
    /// Why it runs.
    pub trigger: Trigger,
    /// When it was asked for. When its turn came says its progress.
    pub asked_at: Micros,
    /// How far it is.
    pub progress: Arc<Progress>,
    /// Another node commits what it writes: here it is no run over its log.
    for_another: bool,
    begun: AtomicBool,
    end: watch::Sender<Option<JobEnd>>,
    /// The merges that followed a run by hand, once all of them have ended.
    merges: watch::Sender<Option<Vec<Arc<Job>>>>,
}

impl Job {
    /// A run over a log.
    pub(crate) fn new(log: LogKey, trigger: Trigger) -> Arc<Self> {
        Self::of(log, JobKind::Compact, trigger, false)
    }

    /// The files of a window, which another node commits. This one's own runs over the log do not wait for it, should it be named meanwhile.
    pub(crate) fn window_for_another(log: LogKey) -> Arc<Self> {
        Self::of(log, JobKind::Compact, Trigger::Tick, true)
    }

    /// A merge of a partition.
    pub(crate) fn merge(partition: Partition, trigger: Trigger) -> Arc<Self> {
        Self::of(partition.log.clone(), JobKind::Merge(partition), trigger, false)
    }

    fn of(log: LogKey, kind: JobKind, trigger: Trigger, for_another: bool) -> Arc<Self> {
        let ((end, _), (merges, _)) = (watch::channel(None), watch::channel(None));
        let progress = Arc::new(Progress::default());
        let (id, begun) = (crate::random::bits(), AtomicBool::new(false));
        Arc::new(Self { id, log, kind, trigger, asked_at: clock::now(), progress, for_another, begun, end, merges })
    }

    /// The partition that it merges.
    #[must_use]
    pub const fn partition(&self) -> Option<&Partition> {
        match &self.kind {
            JobKind::Merge(partition) => Some(partition),
            JobKind::Compact => None,
        }
    }

    /// What it works on, in words.
    #[must_use]
    pub fn subject(&self) -> String {
        self.partition().map_or_else(|| self.log.to_string(), ToString::to_string)
    }

    /// It is this job's turn: what is accepted from now on may not be in it.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
    }

    fn is_run_over(&self, log: &LogKey) -> bool {
        self.kind == JobKind::Compact && !self.for_another && self.log == *log
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

    /// Waits for the end of the merges that follow a run by hand, and gives them.
    pub async fn merges(&self) -> Vec<Arc<Self>> {
        let mut receiver = self.merges.subscribe();
        match receiver.wait_for(Option::is_some).await {
            Ok(merges) => merges.clone().unwrap_or_default(),
            // the sender stands in this job
            Err(_) => Vec::new(),
        }
    }

    fn found_nothing(&self) -> bool {
        self.end.borrow().as_ref().is_some_and(JobEnd::found_nothing)
    }

    fn finish(&self, end: JobEnd) {
        self.end.send_replace(Some(end));
    }
}

/// Tells those who wait for the merges behind a run, even if they are given up.
pub(crate) struct Following(Arc<Job>);

impl Following {
    pub(crate) fn new(job: &Arc<Job>) -> Self {
        Self(Arc::clone(job))
    }

    /// These merges followed, and have ended.
    pub(crate) fn ended(self, merges: Vec<Arc<Job>>) {
        self.0.merges.send_replace(Some(merges));
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.merges.send_if_modified(|merges| {
            let given_up = merges.is_none();
            merges.get_or_insert_default();
            given_up
        });
    }
}

#[derive(Debug, Default)]
struct Lists {
    running: Vec<Arc<Job>>,
    ended: VecDeque<Arc<Job>>,
    next_tick: Option<Micros>,
    last_run: Option<Micros>,
    /// No job starts any more.
    stopping: bool,
    /// Partitions whose last merge failed, and when.
    resting: HashMap<Partition, Micros>,
}

impl Lists {
    /// Those that found nothing give way first.
    fn remember(&mut self, job: &Arc<Job>, found_nothing: bool) {
        if found_nothing {
            self.ended.retain(|other| other.log != job.log || !other.found_nothing());
        }
        self.ended.push_front(Arc::clone(job));
        if self.ended.len() > REMEMBERED {
            let oldest_empty = self.ended.iter().rposition(|ended| ended.found_nothing());
            drop(self.ended.remove(oldest_empty.unwrap_or(REMEMBERED)));
        }
    }
}

/// What compaction does in one store.
#[derive(Debug, Default)]
pub struct JobBook {
    paused: AtomicBool,
    lists: Mutex<Lists>,
    /// One merge a partition at a time.
    turns: Mutex<HashMap<Partition, Arc<Turn>>>,
}

/// Held by the one whose turn it is.
pub(crate) type Turn = tokio::sync::Mutex<()>;

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

    /// Lists a job as running; false: nothing starts any more.
    pub(crate) fn start(&self, job: &Arc<Job>) -> bool {
        let mut lists = self.lists.lock();
        if !lists.stopping {
            lists.running.push(Arc::clone(job));
        }
        !lists.stopping
    }

    /// From now on no job starts.
    pub(crate) fn stop(&self) {
        self.lists.lock().stopping = true;
    }

    /// The turns of a partition's merges.
    pub(crate) fn turn(&self, partition: &Partition) -> Arc<Turn> {
        let mut turns = self.turns.lock();
        // nobody waits for those that only this map holds
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(partition.clone()).or_default())
    }

    /// A merge has failed: the clock leaves its partition alone for a while.
    pub(crate) fn rest(&self, job: &Job, now: Micros) {
        if let Some(partition) = job.partition() {
            self.lists.lock().resting.insert(partition.clone(), now);
        }
    }

    /// Whether a partition is left alone by the clock.
    pub(crate) fn rests(&self, partition: &Partition, now: Micros) -> bool {
        let resting = &mut self.lists.lock().resting;
        resting.retain(|_, since| *since > now.minus_seconds(REST_AFTER_FAILURE_S));
        resting.contains_key(partition)
    }

    /// The run by hand that waits for its turn at this log: whoever asks for another one gets this.
    pub(crate) fn waiting(&self, log: &LogKey) -> Option<Arc<Job>> {
        let lists = self.lists.lock();
        let waits = |job: &&Arc<Job>| {
            job.is_run_over(log)
                && job.trigger == Trigger::Hand
                && !job.begun.load(Ordering::SeqCst)
                && !job.progress.is_cancelled()
        };
        lists.running.iter().find(waits).cloned()
    }

    pub(crate) fn is_busy(&self, log: &LogKey) -> bool {
        self.lists.lock().running.iter().any(|job| job.is_run_over(log))
    }

    /// Whether the log's last job failed, or was ended by somebody, after `since`: the size alone does not start another one at once.
    pub(crate) fn has_failed_since(&self, log: &LogKey, since: Micros) -> bool {
        let lists = self.lists.lock();
        let last = lists.ended.iter().find(|job| job.is_run_over(log)).and_then(|job| job.end());
        last.is_some_and(|end| !end.is_well() && end.ended_at > since)
    }

    /// A run that found nothing to do is told to who waits and leaves no line in the book, but the last one of each log that
    /// somebody asked for: they may look for it.
    pub(crate) fn finish(&self, job: &Arc<Job>, mut end: JobEnd) {
        // a part that is done is no place
        end.ended_in = Some(job.progress.phase()).filter(|phase| !end.is_well() && *phase != Phase::Done);
        job.progress.end();
        let found_nothing = end.found_nothing();
        let mut lists = self.lists.lock();
        lists.running.retain(|running| !Arc::ptr_eq(running, job));
        lists.last_run = Some(end.ended_at);
        if !found_nothing || job.trigger == Trigger::Hand && job.kind == JobKind::Compact {
            lists.remember(job, found_nothing);
        }
        // who looks sees it among the ended ones with its end, and who waited for its end sees it there
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
        for rows in 1..=150 {
            let job = Job::new(key.clone(), Trigger::Tick);
            assert!(book.start(&job) && book.is_busy(&key));
            book.finish(&job, JobEnd { rows, ..JobEnd::default() });
        }
        let ended = book.ended();
        assert_eq!((ended.len(), ended[0].end().map(|e| e.rows)), (100, Some(150)));
        assert!(!book.is_busy(&key) && book.running().is_empty());
    }

    #[test]
    fn runs_that_found_nothing_are_one_line_a_log_and_give_way() {
        let book = JobBook::default();
        let run = |name: &str, rows: u64| {
            let job = Job::new(LogKey::single(name), Trigger::Hand);
            assert!(book.start(&job));
            book.finish(&job, JobEnd { rows, ..JobEnd::default() });
            job.id
        };
        let (moved, _) = (run("Call", 5), run("Call", 0));
        let (last, other) = (run("Call", 0), run("Bill", 0));
        assert_eq!(book.ended().iter().map(|job| job.id).collect::<Vec<_>>(), [other, last, moved]);
        for rows in 1..REMEMBERED as u64 {
            run("Call", rows);
        }
        let kept = book.ended();
        assert_eq!((kept.len(), kept.last().map(|job| job.id)), (REMEMBERED, Some(moved)), "what did something stays");
    }

    #[test]
    fn a_job_that_somebody_ended_says_where_it_was() {
        let book = JobBook::default();
        let job = Job::new(LogKey::single("Call"), Trigger::Size);
        assert!(book.start(&job));
        job.progress.done_elsewhere(Phase::Writing, 3, 10);
        job.progress.cancel();
        let mut end = JobEnd { cancelled: true, ended_at: Micros(5), ..JobEnd::default() };
        end.ended_by(&CompactError::Cancelled.into());
        book.finish(&job, end);
        let end = job.end().unwrap();
        assert_eq!((end.error, end.ended_in), (None, Some(Phase::Writing)));
        assert_eq!((job.progress.rows_done(), job.progress.rows_total()), (3, 10));
        assert!(book.has_failed_since(&job.log, Micros(4)), "the size does not begin it again at once");
    }

    #[test]
    fn a_job_that_somebody_ended_between_two_parts_was_nowhere() {
        let book = JobBook::default();
        let job = Job::new(LogKey::single("Call"), Trigger::Hand);
        assert!(book.start(&job));
        job.progress.done_elsewhere(Phase::Done, 10, 10);
        book.finish(&job, JobEnd { cancelled: true, rows: 10, ..JobEnd::default() });
        assert_eq!(job.end().map(|end| (end.is_well(), end.ended_in)), Some((false, None)));
    }

    #[test]
    fn merges_do_not_keep_a_log_busy_and_none_starts_when_the_node_stops() {
        let book = JobBook::default();
        let partition = Partition { log: LogKey::single("Call"), values: Vec::new() };
        let merge = Job::merge(partition.clone(), Trigger::Tick);
        assert!(book.start(&merge) && !book.is_busy(&partition.log) && book.waiting(&partition.log).is_none());
        book.finish(&merge, JobEnd { error: Some("a reason".to_owned()), ended_at: Micros(5), ..JobEnd::default() });
        assert!(!book.has_failed_since(&partition.log, Micros(0)));
        book.rest(&merge, Micros(5));
        let later = Micros(6).plus_us(3_600_000_000);
        assert!(book.rests(&partition, Micros(6)) && !book.rests(&partition, later));
        book.stop();
        assert!(!book.start(&Job::merge(partition, Trigger::Hand)) && book.running().is_empty());
    }

    #[test]
    fn what_is_written_for_another_node_is_no_run_over_its_log() {
        let (book, key) = (JobBook::default(), LogKey::single("Call"));
        let errand = Job::window_for_another(key.clone());
        assert!(book.start(&errand) && !book.is_busy(&key) && book.waiting(&key).is_none());
        assert_eq!(book.running().len(), 1, "who stops waits for it");
        book.finish(&errand, JobEnd { error: Some("a reason".to_owned()), ended_at: Micros(5), ..JobEnd::default() });
        assert!(!book.has_failed_since(&key, Micros(0)) && book.ended().len() == 1);
    }

    #[test]
    fn one_merge_a_partition_at_a_time() {
        let book = JobBook::default();
        let partition = |day: &str| Partition {
            log: LogKey::single("Call"),
            values: vec![("dt".to_owned(), Some(day.to_owned()))],
        };
        let held = book.turn(&partition("1")).try_lock_owned().unwrap();
        assert!(book.turn(&partition("1")).try_lock_owned().is_err());
        assert!(book.turn(&partition("2")).try_lock_owned().is_ok());
        drop(held);
        assert!(book.turn(&partition("1")).try_lock_owned().is_ok());
        book.turn(&partition("3"));
        assert_eq!(book.turns.lock().len(), 1, "turns that nobody holds are forgotten");
    }
}
