//! A merge that another process does for the one that commits; and (`window`) the files of a window.
//!
//! ```text
//!  who commits                                          who helps
//!   Expected: no sweep takes files of this job
//!   MergeOrder ──────────────────────────────────────> merge_for_another: the same version or a later one, the same files
//!   take_merged: what was ordered, and it is there <── MergeReport: files under the job's own name, which it never touches again
//!   replace (commit)
//! ```
//!
//! It refuses to make anything true: a merge is committed by who ordered it, under its epoch, or by nobody. What comes too late, or comes back
//! to nobody, are orphans. Invariants: two merges never write under one name, since the order's random id is in it; who helps knows every
//! redaction that the order knew.

use super::{MergeError, MergeLimits, MergeSpec, Merged};
use crate::entry::FileEntry;
use crate::manifest::EnvelopeError;
use crate::objects::ObjectError;
use crate::read::{Counters, DataFile, ReadError};
use crate::tier::{DurableTier, Snapshot};
use crate::wire;
use crate::write::{JobSpec, staged};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::Arc;
use strandline_event::{ErrorKind, LogIndex, LogKey};

mod window;

pub use window::{WindowOrder, WindowReport};

/// A merge as it is ordered of another process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MergeOrder {
    /// The job: random, and never ordered twice.
    #[serde(with = "wire")]
    pub job_id: u128,
    /// The version that names the files as live.
    pub version: u64,
    /// The stream type of all files.
    pub stream_type: String,
    /// The bucket of all files.
    pub bucket: u32,
    /// Their names. All are of one partition.
    pub inputs: Vec<String>,
    /// The length at which a new file begins.
    pub enough_bytes: u64,
}

/// What is asked of the process that helps.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HelpAsk {
    /// Begin this.
    Begin(MergeOrder),
    /// Begin the files of this window.
    BeginWindow(WindowOrder),
    /// How far is it? Asked until it has ended: what nobody asks for is given up.
    GoOn {
        /// The job of the order.
        #[serde(with = "wire")]
        job_id: u128,
    },
}

/// What it says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HelpAnswer {
    /// It has not ended.
    Working {
        /// Rows so far.
        rows: u64,
    },
    /// It has ended.
    Done(MergeReport),
    /// The files of a window are written.
    Wrote(WindowReport),
    /// It has failed, and nothing of it is left.
    Failed {
        /// Why.
        why: String,
    },
}

/// What another process wrote for an order. From here on its files belong to who ordered it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MergeReport {
    /// The new files, staged. Empty: too few inputs could be taken.
    pub files: Vec<FileEntry>,
    /// Names of the inputs whose rows are in them.
    pub taken: Vec<String>,
    /// Names of inputs that were left alone.
    pub left_alone: Vec<String>,
    /// Rows that were there twice, with equal content.
    pub doubles: u64,
}

/// Why nothing is begun for another process, or what it wrote is not taken. Nothing was replaced.
#[derive(Debug, thiserror::Error)]
pub enum HelpError {
    /// Too little is known here to begin, or it is not what was ordered.
    #[error("{0}")]
    Ordered(String),
    /// The merge that was ordered.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// The object store says nothing of a file that was written, or that it is not there.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// A file is not what its entry says.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl HelpError {
    /// What it means to the one who called.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Ordered(_) => ErrorKind::Unavailable,
            Self::Merge(error) => error.kind(),
            Self::Objects(error) => error.kind(),
            Self::Read(error) => error.kind(),
        }
    }
}

fn written<T: Serialize>(what: &T) -> Result<Vec<u8>, EnvelopeError> {
    serde_json::to_vec(what).map_err(|error| EnvelopeError::Json(error.to_string()))
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, EnvelopeError> {
    serde_json::from_slice(bytes).map_err(|error| EnvelopeError::Json(error.to_string()))
}

impl HelpAsk {
    /// As JSON.
    ///
    /// # Errors
    /// None that is known.
    pub fn encode(&self) -> Result<Vec<u8>, EnvelopeError> {
        written(self)
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        read(bytes)
    }
}

impl HelpAnswer {
    /// As JSON.
    ///
    /// # Errors
    /// None that is known.
    pub fn encode(&self) -> Result<Vec<u8>, EnvelopeError> {
        written(self)
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        read(bytes)
    }
}

/// What stands for `{writer}` in the names of an order's files: nobody else's, in no other process and at no other time.
fn writer_of(job_id: u128) -> String {
    format!("m{job_id:032x}")
}

/// Who helps knows the version that an order is of.
fn known(snapshot: &Snapshot, wanted: u64) -> Result<(), HelpError> {
    let known = snapshot.version();
    if known >= wanted {
        return Ok(());
    }
    Err(HelpError::Ordered(format!("version {wanted} is not known here yet, {known} is")))
}

/// Files that another process writes for a job of this one: no sweep takes them while this is held.
pub struct Expected {
    tier: DurableTier,
    writer: String,
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.tier.staged_files().expect_no_more(&self.writer);
    }
}

impl DurableTier {
    /// Another process is about to write files of this job. To be held from before it is asked until they are committed, or are nobody's.
    #[must_use]
    pub fn expect_files(&self, job_id: u128) -> Expected {
        let writer = writer_of(job_id);
        self.staged_files().expect(&writer);
        Expected { tier: self.clone(), writer }
    }

    /// Does a merge that another process has ordered. On an error what was written is taken away again.
    ///
    /// # Errors
    /// `Ordered`: the version that the order is of is not known here yet, or its files are live no more; `Merge`.
    pub fn merge_for_another(
        &self,
        order: &MergeOrder,
        on_rows: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<MergeReport, HelpError> {
        let snapshot = self.pin();
        known(&snapshot, order.version)?;
        let input = |path: &String| {
            let file = snapshot.files().iter().find(|file| file.path == *path).cloned();
            file.ok_or_else(|| HelpError::Ordered(format!("data file `{path}` is live no more")))
        };
        let inputs = order.inputs.iter().map(input).collect::<Result<Vec<_>, _>>()?;
        let job = JobSpec {
            job_id: order.job_id,
            log: LogKey { stream_type: Arc::from(order.stream_type.as_str()), bucket: order.bucket },
            from_exclusive: inputs.iter().map(|file| file.from_exclusive).min().unwrap_or(LogIndex::ZERO),
            through: inputs.iter().map(|file| file.through).max().unwrap_or(LogIndex::ZERO),
        };
        let spec = MergeSpec { job, inputs, enough_bytes: order.enough_bytes, limits: MergeLimits::default() };
        let Merged { files, taken, left_alone, doubles, .. } =
            self.merge_as(Some(&writer_of(order.job_id)), &snapshot, &spec, on_rows)?;
        files.iter().for_each(|file| self.staged_files().release(&file.path));
        let names =
            |files: Vec<Arc<FileEntry>>| -> Vec<String> { files.iter().map(|file| file.path.clone()).collect() };
        Ok(MergeReport { files, taken: names(taken), left_alone: names(left_alone), doubles })
    }

    /// What another process wrote for a job of this one, ready to be committed in the place of `inputs`: the files are of that job and of
    /// the partition of the inputs, they are there, and end as they say. The caller holds [`Expected`].
    ///
    /// # Errors
    /// [`HelpError`]: it is not what was ordered, or a file is not what its entry says; the files are nobody's.
    pub fn take_merged(
        &self,
        job_id: u128,
        inputs: &[Arc<FileEntry>],
        report: MergeReport,
    ) -> Result<Merged, HelpError> {
        let of_inputs = |names: &[String]| {
            let input = |name: &String| {
                let file = inputs.iter().find(|file| file.path == *name).cloned();
                file.ok_or_else(|| HelpError::Ordered(format!("data file `{name}` was not to be merged")))
            };
            names.iter().map(input).collect::<Result<Vec<_>, _>>()
        };
        let (taken, left_alone) = (of_inputs(&report.taken)?, of_inputs(&report.left_alone)?);
        let (writer, counters) = (writer_of(job_id), Arc::new(Counters::default()));
        for file in &report.files {
            let other_partition = inputs.iter().any(|input| input.partition != file.partition);
            if file.job_id != job_id || other_partition || !file.path.contains(&writer) {
                return Err(HelpError::Ordered(format!("data file `{}` is not of this merge", file.path)));
            }
            self.check_there(file, &counters)?;
        }
        report.files.iter().for_each(|file| self.staged_files().insert(&file.path));
        Ok(Merged { files: report.files, taken, left_alone, doubles: report.doubles, ..Merged::default() })
    }

    /// A file that was written elsewhere is seen here, in its whole length, and its footer has the checksum and the number of rows that its entry
    /// says. What stands before the footer is not read again: the checksum of the whole file is, as that of one written here, the word of who wrote
    /// it, and `verify` reads all.
    fn check_there(&self, file: &FileEntry, counters: &Arc<Counters>) -> Result<(), HelpError> {
        let objects = &*self.shared().objects;
        let there = objects.open(&staged(objects, &file.path))?;
        if there.len() != file.bytes {
            let (path, found, bytes) = (&file.path, there.len(), file.bytes);
            return Err(HelpError::Ordered(format!("data file `{path}` has {found} bytes here instead of {bytes}")));
        }
        DataFile::open(self.shared(), &Arc::new(file.clone()), counters)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
