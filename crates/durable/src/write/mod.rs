//! Writes the data files of a job: sorted rows in, files of one partition each out, one open at a time (two of a large job: `lanes.rs`).
//!
//! Refuses to commit: files that are written here are staged and belong to nobody until a manifest names them.

mod distinct;
mod file;
mod filters;
mod lanes;
mod page_index;
mod props;
mod sink;
mod staged;

pub(crate) use file::{DATA_BYTES_KEY, FORMAT_VERSION, KEY_METADATA_PREFIX, SUMS_KEY, VERSION_KEY};
pub(crate) use filters::{BLOCK_BYTES as BLOOM_BLOCK_BYTES, FILTERS_KEY, place_in};
pub(crate) use props::properties;
pub(crate) use sink::{BLOCK_BYTES, INDEX_BLOCK_BYTES, SUMS_BLOCK_BYTES};
pub use staged::OpenFiles;
pub(crate) use staged::{StagedFiles, staged};

use crate::columns::{SeqTooLarge, bytes_of_rows, row_bytes};
use crate::entry::FileEntry;
use crate::gather::{Chunk, Gather};
use crate::layout::Layout;
use crate::objects::{ObjectError, Objects};
use crate::partition::{PartitionKey, Partitioner};
use crate::read::RowBatch;
use crate::rows::Rows;
use crate::sort::RowRef;
use file::OpenFile;
pub(crate) use props::PAGE_ROWS;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_event::{ErrorKind, EventRef, LogIndex, LogKey};

/// Rows between two reports of progress.
pub(crate) const REPORT_ROWS: u64 = 8192;
/// Fewer rows of one batch than these are sooner written one by one than copied column by column.
const RUN_ROWS: usize = 8;
/// Names that may be taken by what a crash left behind before something else must be wrong.
const NAME_TRIES: u32 = 100_000;

/// A compaction job: one contiguous range of one log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobSpec {
    /// Random; the manifest remembers it.
    pub job_id: u128,
    /// The log.
    pub log: LogKey,
    /// The range begins after this index: the log's watermark.
    pub from_exclusive: LogIndex,
    /// The range ends with this one.
    pub through: LogIndex,
}

/// Why files could not be written. Nothing that was written becomes visible.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The caller's progress function said stop.
    #[error("the job was cancelled")]
    Cancelled,
    /// A row that the format cannot hold.
    #[error(transparent)]
    Seq(#[from] SeqTooLarge),
    /// The encoder or the file under it failed.
    #[error("data file `{path}`: {source}")]
    Encode {
        /// The file.
        path: String,
        /// What the encoder said.
        source: parquet::errors::ParquetError,
    },
    /// The rows come out of the partition's order.
    #[error("the rows are not sorted: partition {0:?} comes again")]
    NotSorted(PartitionKey),
    /// The disk or the object store failed.
    #[error(transparent)]
    Objects(#[from] ObjectError),
}

impl WriteError {
    pub(crate) fn encode(path: &str, source: parquet::errors::ParquetError) -> Self {
        if let parquet::errors::ParquetError::External(inner) = source {
            return match inner.downcast::<std::io::Error>() {
                Ok(io) => Self::Objects(ObjectError::from_io(path, *io)),
                Err(other) => {
                    Self::Encode { path: path.to_owned(), source: parquet::errors::ParquetError::External(other) }
                }
            };
        }
        Self::Encode { path: path.to_owned(), source }
    }

    /// An encoder makes a text of what the file below it said: what it said counts.
    fn caused_by(self, failure: Option<std::io::Error>) -> Self {
        match (self, failure) {
            (Self::Encode { path, .. }, Some(io)) => Self::Objects(ObjectError::from_io(&path, io)),
            (error, _) => error,
        }
    }

    /// What it means to the one who called.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Cancelled => ErrorKind::Unavailable,
            Self::Seq(_) => ErrorKind::InvalidEvent,
            Self::Encode { .. } | Self::NotSorted(_) => ErrorKind::Io,
            Self::Objects(error) => error.kind(),
        }
    }
}

/// What a job writes with.
pub(crate) struct JobWriter<'l> {
    pub(crate) objects: &'l dyn Objects,
    pub(crate) layout: &'l Layout,
    pub(crate) writer: Arc<str>,
    pub(crate) file_seq: &'l AtomicU64,
    pub(crate) staged: &'l StagedFiles,
    pub(crate) permits: Permits<'l>,
}

/// Where a job's open files are counted.
#[derive(Clone, Copy)]
pub(crate) enum Permits<'l> {
    /// Each file here, while it is open.
    Each(&'l Arc<OpenFiles>),
    /// The job has counted all of its files already.
    Reserved,
    /// It is no job: an append waits for it, and must not wait for a merge.
    Uncounted,
}

/// Rows that were written so far, and where the next one goes.
pub(crate) struct Writing<'w, 'l> {
    writer: &'w JobWriter<'l>,
    job: &'w JobSpec,
    written: &'w mut Vec<FileEntry>,
    partitioner: Partitioner<'l>,
    seen: HashSet<PartitionKey>,
    key: PartitionKey,
    open: Option<OpenFile<'l>>,
    /// At most so many rows will come to a file: its filters are made for them, and folded to what came.
    rows_max: u64,
    /// A file of this length is long enough; none: only `compaction.max_file_mb` ends it.
    enough_bytes: u64,
}

impl<'l> Writing<'_, 'l> {
    /// Writes a row. They come sorted by partition.
    pub(crate) fn push(&mut self, event: &EventRef<'_>) -> Result<(), WriteError> {
        if self.partitioner.advance(event, 0) || self.seen.is_empty() {
            self.begin_partition(self.partitioner.key())?;
        }
        let bytes = row_bytes(event);
        self.end_before(bytes)?;
        self.with_file(|file| file.push(event, bytes))
    }

    /// Writes rows of a batch, from `from` to before `to`: the same files as by [`push`](Self::push) of each.
    pub(crate) fn push_run(&mut self, rows: &RowBatch, from: usize, to: usize) -> Result<(), WriteError> {
        if to < from + RUN_ROWS {
            return (from..to).try_for_each(|at| self.push(&rows.row(at)));
        }
        let bytes = bytes_of_rows(rows, from, to);
        let mut begin = from;
        for at in from..to {
            if self.partitioner.advance(rows, at) || self.seen.is_empty() {
                self.push_same(rows, begin, &bytes[begin - from..at - from])?;
                self.begin_partition(self.partitioner.key())?;
                begin = at;
            }
        }
        self.push_same(rows, begin, &bytes[begin - from..])
    }

    /// Writes rows of the present partition, of so many bytes each.
    fn push_same(&mut self, rows: &RowBatch, mut from: usize, mut bytes: &[usize]) -> Result<(), WriteError> {
        while let Some(first) = bytes.first() {
            self.end_before(*first)?;
            let count = self.with_file(|file| file.push_rows(rows, from, bytes))?;
            (from, bytes) = (from + count, &bytes[count..]);
        }
        Ok(())
    }

    /// Ends the open file if it is long enough, or a row of so many bytes may be too much for it.
    fn end_before(&mut self, bytes: usize) -> Result<(), WriteError> {
        let ends = |file: &OpenFile<'_>| file.cannot_take(bytes) || file.has(self.enough_bytes);
        if self.open.as_ref().is_some_and(ends) { self.end(true) } else { Ok(()) }
    }

    /// Writes rows of one partition.
    fn push_chunk(&mut self, chunk: Chunk) -> Result<(), WriteError> {
        if let Some(begins) = &chunk.begins {
            self.rows_max = begins.rows;
            self.begin_partition(begins.key.clone())?;
        }
        let mut done = 0;
        while done < chunk.bytes.len() {
            let ended = self.with_file(|file| file.push_some(&chunk, done))?;
            if ended < chunk.bytes.len() {
                self.end(true)?;
            }
            done = ended;
        }
        Ok(())
    }

    fn begin_partition(&mut self, key: PartitionKey) -> Result<(), WriteError> {
        self.end_file()?;
        self.key = key;
        if self.seen.insert(self.key.clone()) { Ok(()) } else { Err(WriteError::NotSorted(self.key.clone())) }
    }

    /// Writes to the open file, or to a new one.
    fn with_file<T>(
        &mut self,
        write: impl FnOnce(&mut OpenFile<'l>) -> Result<T, WriteError>,
    ) -> Result<T, WriteError> {
        let file = match &mut self.open {
            Some(file) => file,
            none => none.insert(self.writer.create(&self.key, self.rows_max)?),
        };
        write(file).map_err(|error| error.caused_by(file.sums().lock().failure()))
    }

    /// Ends the last file.
    pub(crate) fn end_file(&mut self) -> Result<(), WriteError> {
        self.end(false)
    }

    /// Ends the open file. `full`: more rows of its partition come.
    fn end(&mut self, full: bool) -> Result<(), WriteError> {
        if let Some(file) = self.open.take() {
            let (sums, partition) = (file.sums(), self.writer.layout.named_partition(&self.key));
            let ended = file.finish(self.job, partition, full);
            self.written.push(ended.map_err(|error| error.caused_by(sums.lock().failure()))?);
        }
        Ok(())
    }
}

impl<'l> JobWriter<'l> {
    /// Begins to write. On an error the files that were finished are named in `written`.
    pub(crate) fn begin<'w>(
        &'w self,
        job: &'w JobSpec,
        rows_max: u64,
        enough_bytes: u64,
        written: &'w mut Vec<FileEntry>,
    ) -> Writing<'w, 'l> {
        let (partitioner, key) = (Partitioner::new(self.layout), PartitionKey::new());
        let seen = HashSet::new();
        Writing { writer: self, job, written, partitioner, seen, key, open: None, rows_max, enough_bytes }
    }

    /// Writes rows in this order, which goes partition by partition. `report` is told of rows as they are done and may stop it. On an
    /// error the files that were finished are named in `written`.
    fn write_lane<B: Rows>(
        &self,
        job: &JobSpec,
        batches: &[B],
        order: &[RowRef],
        report: &dyn Fn(u64) -> ControlFlow<()>,
        written: &mut Vec<FileEntry>,
    ) -> Result<(), WriteError> {
        let mut writing = self.begin(job, order.len() as u64, u64::MAX, written);
        for window in Gather::new(self.layout, batches, order) {
            for chunk in window? {
                let rows = chunk.bytes.len() as u64;
                writing.push_chunk(chunk)?;
                if report(rows).is_break() {
                    return Err(WriteError::Cancelled);
                }
            }
        }
        writing.end_file()
    }

    fn create(&self, key: &PartitionKey, rows_max: u64) -> Result<OpenFile<'l>, WriteError> {
        for _ in 0..NAME_TRIES {
            let file_seq = self.file_seq.fetch_add(1, Ordering::Relaxed);
            let path = self.layout.file_path(key, &self.writer, file_seq);
            match OpenFile::create(self, path, rows_max) {
                // left behind by a job that ended before its commit: never overwritten
                Err(WriteError::Objects(ObjectError::AlreadyExists { .. })) => {}
                other => return other,
            }
        }
        Err(ObjectError::AlreadyExists { path: self.layout.file_path(key, &self.writer, 0) }.into())
    }
}
