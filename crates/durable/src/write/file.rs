//! One data file in the making: rows in, a [`FileEntry`] out. Holds at most one row group.

use super::distinct::Distinct;
use super::filters::{FILTERS_KEY, Filters};
use super::page_index::PageIndexLength;
use super::sink::{BLOCK_BYTES, SUMS_BLOCK_BYTES, Sink, Sums};
use super::staged::{Unfinished, staged};
use super::{JobWriter, Permits, WriteError};
use crate::columns::{EventColumns, bounds};
use crate::entry::{Bounds, FileEntry, FullUnder};
use crate::gather::Chunk;
use crate::layout::Layout;
use crate::objects::ObjectError;
use crate::read::RowBatch;
use arrow::array::RecordBatch;
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::file::metadata::KeyValue;
use std::io;
use std::sync::Arc;
use strandline_event::EventRef;
use strandline_keys::{KeyName, Purpose, Secret};

/// Key of the footer under which the version of our additions stands.
pub(crate) const VERSION_KEY: &str = "strandline.format";
/// Their version, the one that is written.
pub(crate) const FORMAT_VERSION: &str = "2";
/// Key of the footer: how many bytes pages and filters have, in digits. The list of their blocks' checksums begins there.
pub(crate) const DATA_BYTES_KEY: &str = "strandline.data.bytes";
/// Key of the footer: checksums of the blocks of that list, 8 hex digits each.
pub(crate) const SUMS_KEY: &str = "strandline.sums.crc32c";
/// Footer and page index of a row group, and the footer itself, generously; pages that are full before it ends come to it.
const GROUP_TAIL_BYTES: u64 = 12 << 10;

/// Rows that are judged together near a file's bound: none of them may count as new to a filter that is not.
const PIECE_ROWS: usize = 4096;

/// How far the encoders are.
#[derive(Clone, Copy, Default)]
struct Encoded {
    bytes: u64,
    groups: u64,
}

/// In front of the name of a key in an encrypted file's own words.
pub(crate) const KEY_METADATA_PREFIX: &str = "strandline:";

/// One key for footer and columns; the file says its name.
fn encryption(name: &KeyName, secret: &Secret) -> parquet::errors::Result<Arc<FileEncryptionProperties>> {
    let metadata = format!("{KEY_METADATA_PREFIX}{}", name.to_hex());
    FileEncryptionProperties::builder(secret.expose().to_vec()).with_footer_key_metadata(metadata.into_bytes()).build()
}

/// A file that takes rows of one partition.
pub(crate) struct OpenFile<'l> {
    layout: &'l Layout,
    path: String,
    staged: String,
    sums: Arc<Mutex<Sums>>,
    writer: ArrowWriter<Sink>,
    columns: EventColumns,
    bounds: Option<Bounds>,
    /// Those that went to the encoders.
    rows: u64,
    /// Bytes of what went to the encoders, and row groups that it has begun: asked with every row, and the encoders must count.
    encoded: Encoded,
    /// What the filters of the row group that has not ended will be.
    distinct: Distinct,
    page_index: PageIndexLength,
    /// Name of its key, and its filters, where it is encrypted.
    sealed: Option<(KeyName, Filters)>,
    /// Last, so that the file is closed before it is taken away.
    unfinished: Unfinished<'l>,
}

impl<'l> OpenFile<'l> {
    /// Begins a file. `AlreadyExists`: take another name.
    pub(crate) fn create(job: &JobWriter<'l>, path: String, rows_max: u64) -> Result<Self, WriteError> {
        let (objects, layout) = (job.objects, job.layout);
        let staged = staged(objects, &path);
        let permit = match job.permits {
            Permits::Each(open_files) => Some(open_files.take(1, layout.max_open_files)),
            Permits::Reserved | Permits::Uncounted => None,
        };
        let mut unfinished = Unfinished::new(objects, job.staged, &path, permit);
        if objects.stages() && objects.exists(&path)? {
            unfinished.refused();
            return Err(ObjectError::AlreadyExists { path }.into());
        }
        let file = match objects.create(&staged) {
            Ok(file) => file,
            Err(error) => {
                unfinished.refused();
                return Err(error.into());
            }
        };
        unfinished.created();
        let sums = Arc::new(Mutex::new(Sums::default()));
        let sink = Sink { file, sums: Arc::clone(&sums) };
        let key = layout.keys.as_ref().map(|keys| keys.fresh_secret(Purpose::DataFile));
        let (schema, options) = match &key {
            Some((name, secret)) => {
                layout.encoder_with(rows_max, Some(encryption(name, secret).map_err(|e| WriteError::encode(&path, e))?))
            }
            None => layout.encoder(rows_max),
        };
        let writer =
            ArrowWriter::try_new_with_options(sink, schema, options).map_err(|e| WriteError::encode(&path, e))?;
        let columns = EventColumns::new(Arc::clone(&layout.arrow_schema));
        Ok(Self {
            layout,
            path,
            staged,
            sums,
            writer,
            columns,
            bounds: None,
            rows: 0,
            encoded: Encoded::default(),
            distinct: Distinct::new(&layout.bloom, layout.bloom_fpp),
            page_index: PageIndexLength::new(layout),
            sealed: key.map(|(name, _)| (name, Filters::new(&layout.bloom, layout.bloom_fpp))),
            unfinished,
        })
    }

    /// Adds a row of so many bytes.
    pub(crate) fn push(&mut self, event: &EventRef<'_>, bytes: usize) -> Result<(), WriteError> {
        if self.layout.splits_before(self.columns.bytes(), bytes) {
            self.encode()?;
        }
        self.columns.push(event)?;
        if self.layout.is_batch(self.columns.rows(), self.columns.bytes()) {
            self.encode()?;
        }
        Ok(())
    }

    /// Adds rows of a batch from `from` on, of so many bytes each: the first, and more of them until the encoders take what was collected, or
    /// one might be too much. Gives how many.
    pub(crate) fn push_rows(&mut self, rows: &RowBatch, from: usize, bytes: &[usize]) -> Result<usize, WriteError> {
        let Some(first) = bytes.first() else { return Ok(0) };
        if self.layout.splits_before(self.columns.bytes(), *first) {
            self.encode()?;
        }
        let (rows_before, bytes_before) = (self.columns.rows(), self.columns.bytes());
        // what takes all of them takes each
        let takes_all = !self.is_full(rows_before + bytes.len(), bytes_before + bytes.iter().sum::<usize>(), 0);
        let (mut count, mut sum, mut is_batch) = (0, 0, false);
        for next in bytes {
            let (pending_rows, pending) = (rows_before + count, bytes_before + sum);
            let ends = || !takes_all && self.is_full(pending_rows, pending, *next);
            if count > 0 && (ends() || self.layout.splits_before(pending, *next)) {
                break;
            }
            (count, sum) = (count + 1, sum + next);
            is_batch = self.layout.is_batch(pending_rows + 1, pending + next);
            if is_batch {
                break;
            }
        }
        self.columns.push_rows(rows, from, count, sum).map_err(|e| WriteError::encode(&self.path, e.into()))?;
        if is_batch {
            self.encode()?;
        }
        Ok(count)
    }

    /// Adds as many of these rows as the file takes, from `from` on; gives where it ended.
    pub(crate) fn push_some(&mut self, chunk: &Chunk, mut from: usize) -> Result<usize, WriteError> {
        let rows = chunk.bytes.len();
        while from < rows {
            let bytes = chunk.bytes.iter().skip(from).sum();
            if !self.is_full(rows - from, bytes, 0) {
                self.push_range(chunk, from, rows, bytes)?;
                return Ok(rows);
            }
            // near its bound: what a few rows really take is known before the next ones are judged
            let (mut through, mut bytes) = (from, 0);
            for row in chunk.bytes.iter().skip(from).take(PIECE_ROWS) {
                if self.is_full(through - from, bytes, *row) {
                    break;
                }
                (through, bytes) = (through + 1, bytes + row);
            }
            self.push_range(chunk, from, through, bytes)?;
            if through - from < PIECE_ROWS {
                return Ok(through);
            }
            from = through;
        }
        Ok(from)
    }

    fn push_range(&mut self, chunk: &Chunk, from: usize, through: usize, bytes: usize) -> Result<(), WriteError> {
        if (from, through) == (0, chunk.bytes.len()) {
            return self.write(&chunk.batch, bytes, chunk.bounds.clone());
        }
        if through == from {
            return Ok(());
        }
        let part = chunk.batch.slice(from, through - from);
        self.write(&part, bytes, bounds(&part))
    }

    /// Whether one more row could take the file over `compaction.max_file_mb`.
    pub(crate) fn cannot_take(&self, next_bytes: usize) -> bool {
        self.is_full(self.columns.rows(), self.columns.bytes(), next_bytes)
    }

    /// The same, where so much waits to be encoded.
    fn is_full(&self, pending_rows: usize, pending_bytes: usize, next_bytes: usize) -> bool {
        let Encoded { bytes: now, groups } = self.encoded;
        let rows = self.rows + pending_rows as u64;
        let pending = (pending_bytes + next_bytes) as u64;
        let index = self.page_index.bytes(rows, pending);
        let tail = (groups + 1) * GROUP_TAIL_BYTES + self.filter_bytes(pending_rows) + index;
        let sums = (now + pending).div_ceil(BLOCK_BYTES) * 4;
        rows > 0 && now + tail + sums + pending > self.layout.max_file_bytes
    }

    /// Bytes of filters that are still to be written: of the row group that has not ended, and of all where they stand sealed behind them.
    fn filter_bytes(&self, pending_rows: usize) -> u64 {
        let sealed = self.sealed.as_ref().map_or(0, |(_, filters)| filters.bytes() as u64);
        let bytes = sealed + self.distinct.filter_bytes(pending_rows as u64 + 1);
        // where they are sealed each chunk has a tag
        bytes + bytes / 128
    }

    /// Whether it has so many bytes already, as far as that can be told before it ends.
    pub(crate) fn has(&self, bytes: u64) -> bool {
        self.encoded.bytes >= bytes
    }

    fn encode(&mut self) -> Result<(), WriteError> {
        if self.columns.rows() == 0 {
            return Ok(());
        }
        let bytes = self.columns.bytes();
        let batch = self.columns.take().map_err(|e| WriteError::encode(&self.path, e.into()))?;
        self.write(&batch, bytes, bounds(&batch))
    }

    fn write(&mut self, batch: &RecordBatch, bytes: usize, its_bounds: Option<Bounds>) -> Result<(), WriteError> {
        // the encoder splits by the average row, which a few large ones exceed: no batch may take the row group over its bound
        let then = self.writer.in_progress_size() as u64 + bytes as u64;
        if self.writer.in_progress_rows() > 0 && then > self.layout.row_group_bytes {
            self.writer.flush().map_err(|e| WriteError::encode(&self.path, e))?;
        }
        match (&mut self.bounds, its_bounds) {
            (Some(bounds), Some(more)) => bounds.merge(&more),
            (Some(_), None) => {}
            (none, some) => *none = some,
        }
        self.writer.write(batch).map_err(|e| WriteError::encode(&self.path, e))?;
        self.rows += batch.num_rows() as u64;
        self.page_index.add(batch);
        if let Some((_, filters)) = &mut self.sealed {
            filters.add(batch);
            filters.end_groups(self.writer.flushed_row_groups().iter().map(|group| group.num_rows() as usize));
        }
        let groups = self.writer.flushed_row_groups().len() as u64;
        if groups == self.encoded.groups {
            self.distinct.add(batch);
        } else {
            // the rows behind the last row group that ended
            self.distinct.clear();
            let rest = self.writer.in_progress_rows().min(batch.num_rows());
            self.distinct.add(&batch.slice(batch.num_rows() - rest, rest));
        }
        self.encoded = Encoded { bytes: (self.writer.bytes_written() + self.writer.in_progress_size()) as u64, groups };
        Ok(())
    }

    /// Behind the pages of an encrypted file, checked as they are.
    fn write_filters(&mut self) -> Result<(), WriteError> {
        let Some((name, filters)) = &mut self.sealed else { return Ok(()) };
        filters.end_groups(self.writer.flushed_row_groups().iter().map(|group| group.num_rows() as usize));
        let (Some(keys), true) = (&self.layout.keys, filters.bytes() > 0) else { return Ok(()) };
        let wrap = |e| ObjectError::from_io(&self.staged, e);
        let key = keys.find(name, Purpose::Filters).map_err(|e| wrap(io::Error::other(e)))?;
        let start = self.sums.lock().bytes;
        let (bytes, places) = filters.sealed(key, start);
        self.writer.write_all(&bytes).map_err(wrap)?;
        self.writer.sync().map_err(wrap)?;
        self.writer.append_key_value_metadata(KeyValue::new(FILTERS_KEY.to_owned(), places));
        Ok(())
    }

    /// Where the sink says what the disk or the object store said.
    pub(crate) fn sums(&self) -> Arc<Mutex<Sums>> {
        Arc::clone(&self.sums)
    }

    /// Ends the file: encoded, synced, its folder synced; under its staged name. `full`: more rows of its partition come.
    pub(crate) fn finish(
        mut self,
        job: &super::JobSpec,
        partition: Vec<(String, Option<String>)>,
        full: bool,
    ) -> Result<FileEntry, WriteError> {
        self.encode()?;
        self.writer.flush().map_err(|e| WriteError::encode(&self.staged, e))?;
        // what the writer still buffers stands before the tail too
        self.writer.sync().map_err(|e| ObjectError::from_io(&self.staged, e))?;
        self.write_filters()?;
        let (data_bytes, list) = {
            let mut sums = self.sums.lock();
            (sums.bytes, sums.end_data())
        };
        self.writer.write_all(&list).map_err(|e| ObjectError::from_io(&self.staged, e))?;
        self.writer.sync().map_err(|e| ObjectError::from_io(&self.staged, e))?;
        self.sums.lock().begin_tail();
        let hex = |block| format!("{:08x}", crc32c::crc32c(block));
        let sums = list.chunks(SUMS_BLOCK_BYTES as usize).map(hex).collect();
        for (key, value) in
            [(VERSION_KEY, FORMAT_VERSION.to_owned()), (DATA_BYTES_KEY, data_bytes.to_string()), (SUMS_KEY, sums)]
        {
            self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        let row_groups = u32::try_from(self.writer.flushed_row_groups().len()).unwrap_or(u32::MAX);
        let sink = self.writer.into_inner().map_err(|e| WriteError::encode(&self.staged, e))?;
        sink.file.finish()?;
        self.unfinished.finished();
        let sums = self.sums.lock();
        let nothing = || io::Error::new(io::ErrorKind::InvalidData, "a file without a row was ended");
        let bounds = self.bounds.ok_or_else(|| ObjectError::from_io(&self.staged, nothing()))?;
        let no_footer = || io::Error::new(io::ErrorKind::InvalidData, "the encoder wrote no footer");
        let (tail_bytes, tail_crc32c, tail) =
            sums.tail().ok_or_else(|| ObjectError::from_io(&self.staged, no_footer()))?;
        Ok(FileEntry {
            path: self.path,
            bytes: sums.bytes,
            crc32c: sums.file_crc32c,
            tail_bytes,
            tail_crc32c,
            tail: Some(tail),
            key: self.sealed.map(|(name, _)| name.to_hex()),
            full: full.then_some(FullUnder {
                target_bytes: self.layout.target_file_bytes,
                max_bytes: self.layout.max_file_bytes,
            }),
            redacted_in: None,
            rows: self.rows,
            row_groups,
            stream_type: job.log.stream_type.to_string(),
            bucket: job.log.bucket,
            partition,
            bounds,
            from_exclusive: job.from_exclusive,
            through: job.through,
            job_id: job.job_id,
        })
    }
}
