//! The files of a window (a range of a log that is to become durable), which another process writes for the one that commits.
//!
//! ```text
//!  who commits                                          who helps
//!   Expected: no sweep takes files of this job
//!   WindowOrder ─────────────────────────────────────> may_write, write_files_for_another
//!   take_written: what was ordered, and it is there <── WindowReport: files under the job's own name, which it never touches again
//!   commit, with the heads and commands of its own log
//! ```
//!
//! | who helps | and so |
//! |---|---|
//! | knows an older version than the order's | declines: it may lack a redaction |
//! | has another watermark of the log | declines: the window is over, or was never one |
//! | writes files by other settings | declines: they would not be the same files |
//! | else | writes what the one that commits would have written |
//!
//! Invariant: only files go over the wire. What else a commit says (heads, commands, chunks, how many rows there are) comes from the log of the
//! one that commits, so that a file too many or too few is found there.

use super::{HelpError, known, writer_of};
use crate::entry::FileEntry;
use crate::layout::Layout;
use crate::read::Counters;
use crate::rows::Rows;
use crate::sort::RowRef;
use crate::tier::DurableTier;
use crate::wire;
use crate::write::{JobSpec, Permits, WriteError};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use strandline_event::{LogIndex, LogKey};

/// A window as its files are ordered of another process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WindowOrder {
    /// The job: random, and never ordered twice.
    #[serde(with = "wire")]
    pub job_id: u128,
    /// The version upon which it shall be committed.
    pub version: u64,
    /// The stream type of the log.
    pub stream_type: String,
    /// Its bucket.
    pub bucket: u32,
    /// The window begins after this index: the log's watermark.
    #[serde(with = "wire")]
    pub from_exclusive: LogIndex,
    /// It ends with this one, or before it where that is too much.
    #[serde(with = "wire")]
    pub through: LogIndex,
    /// Events in it, about.
    pub events: u64,
    /// So many events are enough.
    pub rows_max: u64,
    /// So many bytes of batches are.
    pub bytes_max: u64,
    /// [`Layout::settings`] of the one that commits.
    #[serde(with = "wire")]
    pub settings: u128,
}

/// What another process wrote for an order. From here on its files belong to who ordered it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WindowReport {
    /// The new files, staged.
    pub files: Vec<FileEntry>,
    /// The last entry whose rows are in them.
    #[serde(with = "wire")]
    pub through: LogIndex,
}

impl WindowOrder {
    /// Whose window it is.
    #[must_use]
    pub fn log(&self) -> LogKey {
        LogKey { stream_type: Arc::from(self.stream_type.as_str()), bucket: self.bucket }
    }

    /// Whether a file says that it is of this order, up to there.
    fn is_of(&self, file: &FileEntry, through: LogIndex) -> bool {
        let log = (file.stream_type.as_str(), file.bucket) == (self.stream_type.as_str(), self.bucket);
        let range = (file.from_exclusive, file.through) == (self.from_exclusive, through);
        log && range && file.job_id == self.job_id && file.path.contains(&writer_of(self.job_id))
    }
}

impl DurableTier {
    /// Whether the files of a window are the same if they are written here, by this layout.
    ///
    /// # Errors
    /// `Ordered`: they may be others.
    pub fn may_write(&self, order: &WindowOrder, layout: &Layout) -> Result<(), HelpError> {
        let snapshot = self.pin();
        known(&snapshot, order.version)?;
        let (watermark, begin) = (snapshot.watermark(&order.log()), order.from_exclusive);
        if watermark != begin {
            let why = format!("the window begins after {begin}, and the watermark here is {watermark}");
            return Err(HelpError::Ordered(why));
        }
        if layout.settings() == order.settings {
            return Ok(());
        }
        Err(HelpError::Ordered("files are written by other settings here".to_owned()))
    }

    /// As [`write_files`](Self::write_files), for a job that another process commits, under the name that it expects.
    ///
    /// # Errors
    /// [`WriteError`]; then nothing of it is left.
    pub fn write_files_for_another<B: Rows>(
        &self,
        layout: &Layout,
        job: &JobSpec,
        batches: &[B],
        order: &[RowRef],
        on_rows: &mut (dyn FnMut(u64) -> ControlFlow<()> + Send),
    ) -> Result<Vec<FileEntry>, WriteError> {
        let open_files = self.open_files();
        let mut writer = self.job_writer(layout, Permits::Each(&open_files));
        writer.writer = Arc::from(writer_of(job.job_id));
        let files = self.write_by(&writer, job, batches, order, on_rows)?;
        files.iter().for_each(|file| self.staged_files().release(&file.path));
        Ok(files)
    }

    /// The files that another process wrote for an order of this one, ready to be committed: each says that it is of that order, is there
    /// once, in its whole length, and ends as it says. The caller holds [`Expected`](super::Expected), and has counted their rows.
    ///
    /// # Errors
    /// [`HelpError`]: it is not what was ordered, or a file is not what its entry says; the files are nobody's.
    pub fn take_written(&self, order: &WindowOrder, report: WindowReport) -> Result<Vec<FileEntry>, HelpError> {
        if !each_once(&report.files) {
            return Err(HelpError::Ordered("a data file of this window is named twice".to_owned()));
        }
        let counters = Arc::new(Counters::default());
        for file in &report.files {
            if !order.is_of(file, report.through) {
                return Err(HelpError::Ordered(format!("data file `{}` is not of this window", file.path)));
            }
            self.check_there(file, &counters)?;
        }
        report.files.iter().for_each(|file| self.staged_files().insert(&file.path));
        Ok(report.files)
    }
}

fn each_once(files: &[FileEntry]) -> bool {
    let names: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    names.len() == files.len()
}

#[cfg(test)]
mod tests;
