//! Writes the data files of a job: sorted rows in, files of one partition each out, one open at a time.
//!
//! Refuses to commit: files that are written here are staged and belong to nobody until a manifest names them.

mod file;
mod props;
mod sink;
mod staged;

pub(crate) use file::{BLOCKS_KEY, FORMAT_VERSION, VERSION_KEY};
pub(crate) use sink::BLOCK_BYTES;
pub use staged::OpenFiles;
pub(crate) use staged::{StagedFiles, staged};

use crate::columns::SeqTooLarge;
use crate::entry::FileEntry;
use crate::layout::Layout;
use crate::objects::{ObjectError, Objects};
use crate::partition::{PartitionKey, Partitioner};
use file::OpenFile;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_event::{ErrorKind, EventRef, LogIndex, LogKey};

/// Rows between two reports of progress.
const REPORT_ROWS: u64 = 8192;
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
    pub(crate) writer: &'l str,
    pub(crate) file_seq: &'l AtomicU64,
    pub(crate) staged: &'l StagedFiles,
    pub(crate) open_files: &'l Arc<OpenFiles>,
}

impl<'l> JobWriter<'l> {
    /// Writes all rows; they come sorted by partition. On an error the files that were finished are named in `written`.
    pub(crate) fn write<'a>(
        &self,
        job: &JobSpec,
        rows: impl Iterator<Item = EventRef<'a>>,
        on_rows: &mut dyn FnMut(u64) -> ControlFlow<()>,
        written: &mut Vec<FileEntry>,
    ) -> Result<(), WriteError> {
        let mut partitioner = Partitioner::new(self.layout);
        let mut seen = std::collections::HashSet::new();
        let mut open: Option<OpenFile<'l>> = None;
        let mut key = PartitionKey::new();
        let rows_max = rows.size_hint().1.map_or(u64::MAX, |n| n as u64);
        let mut done = 0;
        for event in rows {
            let moved = partitioner.advance(&event) || open.is_none();
            let full = open.as_ref().is_some_and(|file| file.is_full(size_of_texts(&event)));
            if let Some(file) = open.take_if(|_| moved || full) {
                written.push(file.finish(job, self.layout.named_partition(&key))?);
            }
            if moved {
                key = partitioner.key();
                if !seen.insert(key.clone()) {
                    return Err(WriteError::NotSorted(key));
                }
            }
            let file = match &mut open {
                Some(file) => file,
                none => none.insert(self.create(&key, &event, rows_max)?),
            };
            file.push(&event)?;
            done += 1;
            if done % REPORT_ROWS == 0 && on_rows(done).is_break() {
                return Err(WriteError::Cancelled);
            }
        }
        if let Some(file) = open {
            written.push(file.finish(job, self.layout.named_partition(&key))?);
        }
        if on_rows(done).is_break() { Err(WriteError::Cancelled) } else { Ok(()) }
    }

    fn create(&self, key: &PartitionKey, first: &EventRef<'_>, rows_max: u64) -> Result<OpenFile<'l>, WriteError> {
        for _ in 0..NAME_TRIES {
            let file_seq = self.file_seq.fetch_add(1, Ordering::Relaxed);
            let path = self.layout.file_path(key, self.writer, file_seq);
            match OpenFile::create(self, path, first, rows_max) {
                // left behind by a job that ended before its commit: never overwritten
                Err(WriteError::Objects(ObjectError::AlreadyExists { .. })) => {}
                other => return other,
            }
        }
        Err(ObjectError::AlreadyExists { path: self.layout.file_path(key, self.writer, 0) }.into())
    }
}

fn size_of_texts(event: &EventRef<'_>) -> usize {
    let bytes = event.stream_type.len() + event.stream_id.len() + event.event_type.len() + event.data.len();
    bytes + event.metadata.map_or(0, str::len)
}
