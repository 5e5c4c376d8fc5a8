//! Everything, file by file, in storage order: the fast way to read it all.

use super::batch::{RowBatch, RowNumbers};
use super::error::ReadError;
use super::file::DataFile;
use super::filter::{Decoded, RowFilter};
use super::stats::{Counters, ReadStats};
use crate::entry::FileEntry;
use crate::tier::Snapshot;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a scan of all rows reads ahead, of all columns together.
const AHEAD_BYTES: u64 = 2 << 20;

/// An iterator over all rows that match; one file is open at a time. After an error it ends.
pub struct Scan {
    /// Held so that no sweep takes a file away under the scan.
    snapshot: Arc<Snapshot>,
    files: VecDeque<Arc<FileEntry>>,
    filter: RowFilter,
    counters: Arc<Counters>,
    open: Option<Open>,
}

struct Open {
    file: DataFile,
    group: usize,
    reader: Option<ParquetRecordBatchReader>,
    /// Rows of the group's reader that are still to come.
    rows: Coming,
}

/// Numbers of rows, in order.
enum Coming {
    /// All from here on.
    From(u64),
    /// These, from the place on.
    Listed(Vec<u64>, usize),
}

impl Coming {
    /// The next `n` numbers; `None`: there are not so many.
    fn take(&mut self, n: usize) -> Option<RowNumbers> {
        match self {
            Self::From(next) => {
                let first = *next;
                *next += n as u64;
                Some(RowNumbers::From(first))
            }
            Self::Listed(rows, at) => {
                let these = rows.get(*at..at.checked_add(n)?)?;
                *at += n;
                Some(RowNumbers::Listed(these.into()))
            }
        }
    }
}

impl Snapshot {
    /// Reads every row that matches, in storage order. The scan pins this version.
    #[must_use]
    pub fn scan(self: &Arc<Self>, filter: &RowFilter) -> Scan {
        let files = self.files.iter().filter(|f| filter.may_match(f)).cloned().collect();
        self.scan_files(files, filter)
    }

    /// Reads every row of one file of this version.
    #[must_use]
    pub fn scan_file(self: &Arc<Self>, file: &Arc<FileEntry>) -> Scan {
        self.scan_files(VecDeque::from([Arc::clone(file)]), &RowFilter::default())
    }

    pub(crate) fn scan_files(self: &Arc<Self>, files: VecDeque<Arc<FileEntry>>, filter: &RowFilter) -> Scan {
        Scan { snapshot: Arc::clone(self), files, filter: filter.clone(), counters: Arc::default(), open: None }
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
            let mut file = DataFile::open(&self.snapshot.shared, &entry, &self.counters)?;
            if self.filter.is_open() {
                file = file.reading_ahead(AHEAD_BYTES);
            }
            self.open = Some(Open { file, group: 0, reader: None, rows: Coming::From(0) });
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
            if let Some(batch) = self.reader.as_mut().and_then(Iterator::next) {
                let batch = batch.map_err(|e| self.file.failed(&e))?;
                let numbers = self.rows.take(batch.num_rows());
                let numbers = numbers.ok_or_else(|| self.file.damaged("more rows than were asked for".to_owned()))?;
                return RowBatch::new(Arc::clone(&self.file.entry), batch, numbers).map(Some);
            }
            self.reader = None;
            if let Coming::Listed(rows, at) = &self.rows
                && *at < rows.len()
            {
                return Err(self.file.damaged("rows are missing".to_owned()));
            }
            if self.group >= self.file.groups() {
                return Ok(None);
            }
            let group = self.group;
            self.group += 1;
            if filter.is_open() {
                self.rows = Coming::From(self.file.group_rows(group).start);
                self.reader = Some(self.file.whole_group(group)?);
            } else {
                let chosen = self.matching(group, filter)?;
                if !chosen.is_empty() {
                    self.reader = Some(self.file.rows_of_group(group, &chosen)?);
                }
                self.rows = Coming::Listed(chosen, 0);
            }
        }
    }

    /// The rows of a group that match, by the columns that decide: 8 bytes each are held, the rows come batch by batch.
    fn matching(&self, group: usize, filter: &RowFilter) -> Result<Vec<u64>, ReadError> {
        let fields = filter.fields();
        let pages = self.file.pages(group, &[])?;
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
        Ok(chosen)
    }
}
