//! Everything, file by file, in storage order: the fast way to read it all.

use super::batch::{RowBatch, RowNumbers};
use super::error::ReadError;
use super::file::DataFile;
use super::filter::{Decoded, RowFilter};
use super::stats::{Counters, ReadStats};
use crate::entry::FileEntry;
use crate::tier::{Shared, Snapshot};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use std::collections::VecDeque;
use std::sync::Arc;

/// An iterator over all rows that match; one file is open at a time. After an error it ends.
pub struct Scan {
    shared: Arc<Shared>,
    files: VecDeque<Arc<FileEntry>>,
    filter: RowFilter,
    counters: Arc<Counters>,
    open: Option<Open>,
}

struct Open {
    file: DataFile,
    group: usize,
    /// Row number of the next row of the group's reader.
    next_row: u64,
    reader: Option<ParquetRecordBatchReader>,
    ready: VecDeque<RowBatch>,
}

impl Snapshot {
    /// Reads every row that matches, in storage order. The scan keeps the files of this version alive by itself only while the snapshot is held.
    #[must_use]
    pub fn scan(&self, filter: &RowFilter) -> Scan {
        let files = self.files.iter().filter(|f| filter.may_match(f)).cloned().collect();
        self.scan_files(files, filter)
    }

    pub(crate) fn scan_files(&self, files: VecDeque<Arc<FileEntry>>, filter: &RowFilter) -> Scan {
        Scan { shared: Arc::clone(&self.shared), files, filter: filter.clone(), counters: Arc::default(), open: None }
    }
}

impl Scan {
    /// What was touched so far.
    #[must_use]
    pub fn stats(&self) -> ReadStats {
        self.counters.stats()
    }

    fn step(&mut self) -> Result<Option<RowBatch>, ReadError> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(batch) = open.step(&self.filter)? {
                    return Ok(Some(batch));
                }
                self.open = None;
            }
            let Some(entry) = self.files.pop_front() else { return Ok(None) };
            let file = DataFile::open(&self.shared, &entry, &self.counters)?;
            self.open = Some(Open { file, group: 0, next_row: 0, reader: None, ready: VecDeque::new() });
        }
    }
}

impl Iterator for Scan {
    type Item = Result<RowBatch, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.files.clear();
            self.open = None;
        }
        step.transpose()
    }
}

impl Open {
    fn step(&mut self, filter: &RowFilter) -> Result<Option<RowBatch>, ReadError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            if let Some(reader) = &mut self.reader {
                match reader.next() {
                    Some(batch) => {
                        let batch = batch.map_err(|e| ReadError::arrow(&self.file.entry.path, e))?;
                        let first = self.next_row;
                        self.next_row += batch.num_rows() as u64;
                        let numbers = RowNumbers::From(first);
                        return RowBatch::new(Arc::clone(&self.file.entry), batch, numbers).map(Some);
                    }
                    None => self.reader = None,
                }
            }
            if self.group >= self.file.groups() {
                return Ok(None);
            }
            let group = self.group;
            self.group += 1;
            if filter.is_open() {
                self.next_row = self.file.group_rows(group).start;
                self.reader = Some(self.file.whole_group(group)?);
            } else {
                self.ready.extend(self.filtered(group, filter)?);
            }
        }
    }

    fn filtered(&self, group: usize, filter: &RowFilter) -> Result<Vec<RowBatch>, ReadError> {
        let fields = filter.fields();
        let pages = self.file.pages(group, &[]);
        let mut chosen = Vec::new();
        self.file.decode(group, &pages, &fields, |rows, batch| {
            let columns = Decoded { fields: &fields, batch };
            for (i, row) in rows.enumerate() {
                let matches = filter.matches_row(&columns, i);
                if matches.ok_or_else(|| self.file.damaged("a column has another type".to_owned()))? {
                    chosen.push(row);
                }
            }
            Ok(())
        })?;
        if chosen.is_empty() { Ok(Vec::new()) } else { self.file.fetch(&chosen) }
    }
}
