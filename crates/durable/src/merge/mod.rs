//! Merges the rows of several files into few: each row once, unchanged but for what is redacted, in the order of `row_group.sort_by`.
//!
//! ```text
//!  input ─ batches ─┐
//!  input ─ batches ─┼─ heap: the smallest row ─ doubles ─ one open file ─ staged files, nobody's until a commit
//!  input ─ sorted  ─┘
//! ```
//!
//! Rows of an input that come before those of all others are found by looking ahead, and copied column by column: of files of other
//! streams or days that is nearly all, of files that hold the same streams each stream's part. Batches of which anything has to be said
//! (an order, a double, a redaction) are taken row by row.
//!
//! Memory: a page a column of each input, [`MergeLimits::batches_bytes`] of decoded rows in all, and the row group of the one file
//! that is being written; the size of the inputs does not matter. An input that was written in another order is sorted in
//! memory, as long as those of a job together have at most [`MergeLimits::sorted_bytes`]; a larger one is left alone.
//!
//! Refuses to commit, and to choose inputs. Invariant: every row of the inputs that were taken is in the output, or is a double
//! of one that is; a row that stands in an input against that input's own order ends the merge.

mod doubles;
mod elsewhere;
mod heap;
mod order;
mod source;

use crate::entry::FileEntry;
use crate::layout::Layout;
use crate::read::{Counters, DataFile, Place, ReadError, ReadStats};
use crate::redaction::Veil;
use crate::tier::{DurableTier, Snapshot};
use crate::write::{JobSpec, JobWriter, Permits, REPORT_ROWS, WriteError};
use doubles::Doubles;
pub use elsewhere::{Expected, HelpAnswer, HelpAsk, HelpError, MergeOrder, MergeReport, WindowOrder, WindowReport};
use heap::Heap;
use order::Order;
use source::Source;
use std::ops::ControlFlow;
use std::sync::Arc;
use strandline_event::ErrorKind;

/// What a merge may hold in memory, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MergeLimits {
    /// Decoded rows of all inputs together; as much again is read ahead.
    pub batches_bytes: u64,
    /// Rows of the inputs that have another order.
    pub sorted_bytes: u64,
}

impl Default for MergeLimits {
    fn default() -> Self {
        Self { batches_bytes: 64 << 20, sorted_bytes: 256 << 20 }
    }
}

/// What a merge wrote.
#[derive(Debug, Default)]
pub struct Merged {
    /// The new files, staged. Empty: too few inputs could be taken.
    pub files: Vec<FileEntry>,
    /// The inputs whose rows are in them.
    pub taken: Vec<Arc<FileEntry>>,
    /// Inputs that were left alone: written in another order, and too large to be sorted in memory.
    pub left_alone: Vec<Arc<FileEntry>>,
    /// Rows that were there twice, with equal content.
    pub doubles: u64,
    /// What was read of the inputs.
    pub stats: ReadStats,
}

/// Why files were not merged. Nothing was replaced.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// An input.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The output.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// One event stands in two places with different content.
    #[error(
        "stream `{stream_id}` seq {seq} has two different contents, at {first} and at {second}: nothing was merged"
    )]
    Differs {
        /// The stream.
        stream_id: String,
        /// The place in it.
        seq: u64,
        /// Here ...
        first: Place,
        /// ... and here.
        second: Place,
    },
    /// A row stands behind one that comes after it in the order that the file says it has.
    #[error("{0} stands behind a row that comes after it: run `strandline verify`")]
    NotSorted(Place),
    /// A row belongs to another partition than its file.
    #[error(
        "a row of `{path}`, or of a file that was to be merged with it, does not belong to its partition: run `strandline verify`"
    )]
    OtherPartition {
        /// The first input.
        path: String,
    },
}

impl MergeError {
    /// What it means to the one who called.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(error) => error.kind(),
            Self::Write(error) => error.kind(),
            Self::Differs { .. } | Self::NotSorted(_) | Self::OtherPartition { .. } => ErrorKind::Integrity,
        }
    }
}

/// What is to be merged.
#[derive(Clone, Debug)]
pub struct MergeSpec {
    /// The job, its log, and the log range of all inputs together.
    pub job: JobSpec,
    /// Live files of one partition of the log.
    pub inputs: Vec<Arc<FileEntry>>,
    /// A new file of this length is long enough, and the next one begins.
    pub enough_bytes: u64,
    /// What it may hold.
    pub limits: MergeLimits,
}

impl DurableTier {
    /// Merges files of `snapshot` into new ones, staged. `on_rows` is told the rows so far and may stop it. Waits until there
    /// is room for all files that it opens. On an error what was written is taken away again.
    ///
    /// # Errors
    /// [`MergeError`].
    pub fn merge_files(
        &self,
        snapshot: &Arc<Snapshot>,
        spec: &MergeSpec,
        on_rows: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Merged, MergeError> {
        self.merge_as(None, snapshot, spec, on_rows)
    }

    /// The same; `name` stands for `{writer}` in the names of the new files.
    fn merge_as(
        &self,
        name: Option<&str>,
        snapshot: &Arc<Snapshot>,
        spec: &MergeSpec,
        on_rows: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Merged, MergeError> {
        let layout = self.layout();
        let open_files = self.open_files();
        let _permit = open_files.take(spec.inputs.len() + 1, layout.max_open_files);
        let (counters, mut merged) = (Arc::new(Counters::default()), Merged::default());
        let sources = open_inputs(snapshot, &layout, spec, &counters, &mut merged)?;
        if sources.len() < spec.inputs.len().min(2) {
            return Ok(merged);
        }
        let mut writer = self.job_writer(&layout, Permits::Reserved);
        if let Some(name) = name {
            writer.writer = Arc::from(name);
        }
        let outcome = write_rows(&writer, (&layout, self.veil()), spec, sources, on_rows, &mut merged);
        if let Err(error) = outcome {
            self.discard(&merged.files);
            return Err(error);
        }
        merged.stats = counters.stats();
        Ok(merged)
    }
}

/// Opens the inputs, each in the order of the layout.
fn open_inputs(
    snapshot: &Arc<Snapshot>,
    layout: &Layout,
    spec: &MergeSpec,
    counters: &Arc<Counters>,
    merged: &mut Merged,
) -> Result<Vec<Source>, MergeError> {
    let batch_bytes = spec.limits.batches_bytes / spec.inputs.len().max(1) as u64;
    let mut to_sort = spec.limits.sorted_bytes;
    let mut sources = Vec::new();
    for entry in &spec.inputs {
        let file = DataFile::open(&snapshot.shared, entry, counters)?.reading_whole(batch_bytes);
        if source::has_order(&file, layout) {
            sources.push(Source::streamed(file)?);
        } else if let Some(rest) = to_sort.checked_sub(source::unpacked_bytes(&file)) {
            to_sort = rest;
            sources.push(Source::sorted(file, layout)?);
        } else {
            merged.left_alone.push(Arc::clone(entry));
            continue;
        }
        merged.taken.push(Arc::clone(entry));
    }
    Ok(sources)
}

fn write_rows(
    writer: &JobWriter<'_>,
    (layout, veil): (&Layout, &Veil),
    spec: &MergeSpec,
    mut sources: Vec<Source>,
    on_rows: &mut dyn FnMut(u64) -> ControlFlow<()>,
    merged: &mut Merged,
) -> Result<(), MergeError> {
    let rows_max = merged.taken.iter().map(|f| f.rows).sum();
    let mut writing = writer.begin(&spec.job, rows_max, spec.enough_bytes, &mut merged.files);
    let mut doubles = Doubles::new(&Order::new(layout), veil);
    let mut heap = Heap::new(Order::new(layout), &sources);
    let (mut done, mut redacts) = (0, false);
    while let Some(source) = heap.top() {
        let is_new = doubles.is_new(&sources, source)?;
        // no further than to the next report
        let most = if is_new && doubles.are_neighbours() { REPORT_ROWS - done % REPORT_ROWS } else { 1 };
        let rows = heap.run(&mut sources, veil, usize::try_from(most).unwrap_or(1));
        if rows > 1 {
            let (batch, at) = sources[source].here();
            writing.push_run(batch, at, at + rows)?;
            doubles.gave(batch, at + rows - 1);
            sources[source].skip(rows - 1);
        } else if is_new {
            let (row, shown) = (sources[source].row(), veil.over(sources[source].row()));
            redacts |= shown.says_nothing() && !row.says_nothing();
            writing.push(&shown)?;
        }
        heap.advance(&mut sources)?;
        done += rows as u64;
        if done % REPORT_ROWS == 0 && on_rows(done).is_break() {
            return Err(WriteError::Cancelled.into());
        }
    }
    writing.end_file()?;
    merged.doubles = doubles.count();
    if redacts {
        // the commit says in which version
        merged.files.iter_mut().for_each(|file| file.redacted_in = Some(0));
    }
    let strange = |path: &Arc<FileEntry>| merged.files.iter().any(|file| file.partition != path.partition);
    if let Some(input) = merged.taken.iter().find(|input| strange(input)) {
        return Err(MergeError::OtherPartition { path: input.path.clone() });
    }
    if on_rows(done).is_break() { Err(WriteError::Cancelled.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
