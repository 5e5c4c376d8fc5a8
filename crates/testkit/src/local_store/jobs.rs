//! What a supervisor has done to a store: compaction, merges, retention, redaction, and the trimming of a log.

use super::LocalStore;
use std::ops::ControlFlow;
use strandline_durable::RetireError;
use strandline_engine::append::LogDriver;
use strandline_engine::compact::{self, CompactError, JobLimits, NoSteps, Progress, Steps, Trigger};
use strandline_engine::redact::{self, RedactError, Redacted, Wish};
use strandline_engine::retention::{self, Moved};
use strandline_event::{EventId, LogKey};

/// Rounds of merges after which there must be nothing left to merge.
const MERGES_MAX: usize = 100;

impl LocalStore {
    /// Moves everything of a log to files. Gives the number of events.
    ///
    /// # Errors
    /// What the job says.
    pub fn compact(&mut self, key: &LogKey) -> Result<u64, CompactError> {
        self.compact_with(key, JobLimits::default(), &NoSteps)
    }

    /// As [`compact`](Self::compact), in jobs of a size, with a listener.
    ///
    /// # Errors
    /// What the job says.
    pub fn compact_with(&mut self, key: &LogKey, limits: JobLimits, steps: &dyn Steps) -> Result<u64, CompactError> {
        self.seal(key);
        let mut rows = 0;
        while let Some(mut plan) = compact::plan(&self.store, key)? {
            plan.limits = limits;
            let job_id = self.next_random();
            let now = self.time.now();
            let outcome = compact::run_job(&self.store, &plan, job_id, now, &Progress::default(), steps)?;
            rows += outcome.rows;
            let settled = self.store.settled(key);
            if let Some(driver) = self.logs.get_mut(key) {
                driver.compacted(outcome.through, settled);
                while driver.settle_step() {}
            }
            self.store.after_commit(key, &outcome.snapshot);
        }
        Ok(rows)
    }

    /// Merges files as the clock or a hand would, until nothing is due. Gives the number of files that were replaced.
    ///
    /// # Errors
    /// What a merge says.
    ///
    /// # Panics
    /// When it does not come to an end.
    pub fn merge(&mut self, trigger: Trigger) -> Result<u64, CompactError> {
        self.merge_with(trigger, &NoSteps)
    }

    /// As [`merge`](Self::merge), with a listener.
    ///
    /// # Errors
    /// What a merge says.
    ///
    /// # Panics
    /// When it does not come to an end.
    #[allow(clippy::panic)]
    pub fn merge_with(&mut self, trigger: Trigger, steps: &dyn Steps) -> Result<u64, CompactError> {
        let mut replaced = 0;
        for _ in 0..MERGES_MAX {
            let now = self.time.now();
            let plans = compact::plan_merges(&self.store, None, trigger, now)?;
            if plans.is_empty() {
                return Ok(replaced);
            }
            for plan in plans {
                let job_id = self.next_random();
                let outcome = compact::run_merge(&self.store, &plan, job_id, now, &Progress::default(), steps)?;
                replaced += outcome.inputs;
            }
        }
        panic!("merges are always due");
    }

    /// Applies retention now.
    ///
    /// # Errors
    /// What it says.
    pub fn retain(&mut self) -> Result<Moved, RetireError> {
        let (job_id, now) = (self.next_random(), self.time.now());
        let mut moved = Moved::default();
        retention::run(&self.store, job_id, now, &|| ControlFlow::Continue(()), &mut moved)?;
        Ok(moved)
    }

    /// Redacts what has this id.
    ///
    /// # Errors
    /// What it says.
    pub fn redact(&mut self, event_id: EventId) -> Result<Redacted, RedactError> {
        let (job_id, now) = (self.next_random(), self.time.now());
        let wish = Wish { event_id, who: "a test".to_owned(), reason: None };
        redact::redact(&self.store, &wish, job_id, now)
    }

    /// Brings files back: those whose partition has these values, or all.
    ///
    /// # Errors
    /// What it says.
    pub fn restore(&mut self, partition: &retention::Partition) -> Result<Moved, RetireError> {
        let (job_id, now) = (self.next_random(), self.time.now());
        retention::restore(&self.store, partition, job_id, now, &|| ControlFlow::Continue(()))
    }

    /// Deletes what is durable and old enough. Gives the number of segments.
    pub fn trim(&mut self, key: &LogKey) -> usize {
        let rule = compact::trim_rule(&self.store, key, self.time.now());
        let now = self.time.now();
        let writer = self.logs.get_mut(key).and_then(LogDriver::log_writer);
        let gone = writer.map_or(0, |writer| writer.trim(rule.through, rule.older_than, now));
        self.flush(key);
        gone
    }
}
