//! One data file in a read: which row groups and pages can hold what is asked, then the rows themselves.
//!
//! Two phases: the columns that decide are decoded for the pages that the index leaves, then all columns of
//! exactly the rows that were chosen.

use super::batch::{RowBatch, RowNumbers};
use super::checked::CheckedFile;
use super::error::ReadError;
use super::meta::FileMeta;
use super::pages::Chunks;
use super::probe::probe;
use super::stats::Counters;
use crate::entry::FileEntry;
use crate::objects::Readable;
use crate::tier::Shared;
use crate::tier::names::open_file;
use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::bloom_filter::Sbbf;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::file::reader::ChunkReader;
use std::ops::Range;
use std::sync::Arc;
use strandline_event::Field;
use strandline_keys::KeyName;

/// Rows of a decoded batch at most, and the bytes that it should have at most.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: u64 = 16 << 20;

/// A data file that was opened for a read.
pub(crate) struct DataFile {
    pub(crate) entry: Arc<FileEntry>,
    pub(crate) meta: Arc<FileMeta>,
    source: Arc<CheckedFile>,
    /// Bytes that a decoded batch should have at most.
    batch_bytes: u64,
    counters: Arc<Counters>,
}

/// Opens the object of a file, as long as it is now.
pub(crate) fn open_entry(shared: &Shared, entry: &FileEntry) -> Result<Box<dyn Readable>, ReadError> {
    Ok(open_file(&*shared.objects, &entry.path)?)
}

/// What a page must hold to be worth decoding.
#[derive(Clone, Copy)]
pub(crate) enum Within<'a> {
    /// A column of texts or ids has this value in its bounds.
    Bytes(Field, &'a [u8]),
    /// A column of integers meets this range (inclusive).
    Ints(Field, i64, i64),
}

impl Within<'_> {
    const fn field(&self) -> Field {
        match self {
            Self::Bytes(field, _) | Self::Ints(field, ..) => *field,
        }
    }
}

impl DataFile {
    /// Opens a file; its footer comes from the cache where it was read before.
    pub(crate) fn open(shared: &Shared, entry: &Arc<FileEntry>, counters: &Arc<Counters>) -> Result<Self, ReadError> {
        let objects = &*shared.objects;
        let object = if objects.stages() {
            open_file(objects, &entry.path)
        } else {
            objects.open_known(&entry.path, entry.bytes)
        };
        let object: Arc<dyn Readable> = Arc::from(object?);
        counters.add_file();
        let meta = match shared.cache.get(&entry.path) {
            Some(meta) => meta,
            None => {
                if let Some(name) = entry.key.as_deref().and_then(KeyName::from_hex) {
                    objects.learn_key(&entry.path, &name)?;
                }
                let layout = shared.layout.load();
                let (meta, read) = FileMeta::load(entry, &*object, layout.names(), objects.keys())?;
                counters.add_bytes(read);
                let meta = Arc::new(meta);
                shared.cache.put(&entry.path, &meta);
                meta
            }
        };
        let source = Arc::new(CheckedFile::new(Arc::clone(&meta), object, Arc::clone(counters)));
        Ok(Self { entry: Arc::clone(entry), meta, source, batch_bytes: BATCH_BYTES, counters: Arc::clone(counters) })
    }

    /// The file for a reader of all of it: decoded batches should have at most so many bytes, and as many are read ahead.
    pub(crate) fn reading_whole(self, bytes: u64) -> Self {
        let source = Arc::new(self.source.read_whole(bytes.min(BATCH_BYTES)));
        Self { batch_bytes: bytes.min(BATCH_BYTES), source, ..self }
    }

    /// The file for a scan of all of it: so many bytes are read ahead.
    pub(crate) fn reading_ahead(self, bytes: u64) -> Self {
        Self { source: Arc::new(self.source.read_whole(bytes)), ..self }
    }

    /// Decoded columns of the rows from this one on.
    pub(crate) fn batch_from(&self, batch: RecordBatch, first: u64) -> Result<RowBatch, ReadError> {
        RowBatch::new(Arc::clone(&self.entry), batch, RowNumbers::From(first))
    }

    pub(crate) fn groups(&self) -> usize {
        self.meta.parquet().num_row_groups()
    }

    /// Rows of the file that stand in a row group.
    pub(crate) fn group_rows(&self, group: usize) -> Range<u64> {
        self.meta.group_rows(group)
    }

    /// Whether a row group may hold a value, by its statistics, then its filter: false is certain; true where there is neither.
    pub(crate) fn may_hold(&self, group: usize, field: Field, value: &[u8]) -> Result<bool, ReadError> {
        if !self.statistics_allow(group, field, value) {
            return Ok(false);
        }
        if let Some(filters) = &self.meta.sealed_filters {
            let read = |start, length| self.source.get_bytes(start, length);
            let may = filters.may_hold(group, field, value, read).map_err(|e| self.failed(&e))?;
            may.into_iter().for_each(|may| self.counters.add_filter(!may));
            return Ok(may.unwrap_or(true));
        }
        let Some((start, length)) = self.meta.filter_place(group, field) else { return Ok(true) };
        let may = self.ask_filter(group, field, (start, length), value)?;
        self.counters.add_filter(!may);
        Ok(may)
    }

    fn statistics_allow(&self, group: usize, field: Field, value: &[u8]) -> bool {
        let chunk = self.meta.parquet().row_groups().get(group).and_then(|g| g.columns().get(field as usize));
        let Some(statistics) = chunk.and_then(|chunk| chunk.statistics()) else { return true };
        let (min, max) = (statistics.min_bytes_opt(), statistics.max_bytes_opt());
        min.is_none_or(|min| min <= value) && max.is_none_or(|max| value <= max)
    }

    /// One block of a filter answers; one that is asked again and again is read whole and kept.
    fn ask_filter(
        &self,
        group: usize,
        field: Field,
        (start, length): (u64, usize),
        value: &[u8],
    ) -> Result<bool, ReadError> {
        let kept = self.meta.filter_kept(group, field, length);
        if let Some(filter) = kept.and_then(|kept| kept.get()) {
            return Ok(filter.check(value));
        }
        let small = length as u64 <= self.meta.sums.block_bytes;
        if let Some(kept) = kept.filter(|_| self.meta.asked_often(group, field) || small)
            && let Some(filter) = self.filter(group, field)?
        {
            return Ok(kept.get_or_init(|| filter).check(value));
        }
        let read = |at: usize, bytes| self.source.get_bytes(start + at as u64, bytes);
        probe(length, value, read).map_err(|e| self.failed(&e))
    }

    /// The bloom filter of a row group, where it has one.
    pub(crate) fn filter(&self, group: usize, field: Field) -> Result<Option<Sbbf>, ReadError> {
        if let Some(filters) = &self.meta.sealed_filters {
            let read = |start, length| self.source.get_bytes(start, length);
            return filters.filter(group, field, read).map_err(|e| self.failed(&e));
        }
        let Some((start, length)) = self.meta.filter_place(group, field) else { return Ok(None) };
        let bytes = self.source.get_bytes(start, length);
        let filter = bytes.and_then(|bytes| Sbbf::from_bytes(&bytes));
        filter.map(Some).map_err(|e| self.failed(&e))
    }

    /// Row ranges within a row group whose pages meet every condition; all rows where there is no page index.
    pub(crate) fn pages(&self, group: usize, conditions: &[Within<'_>]) -> Result<Vec<Range<usize>>, ReadError> {
        let rows = self.group_rows(group);
        let all = 0..usize::try_from(rows.end - rows.start).unwrap_or(usize::MAX);
        let mut left = vec![all.clone()];
        self.want_bounds(group, conditions)?;
        for condition in conditions {
            if let Some(ranges) = self.pages_of(group, *condition, all.end) {
                left = intersect(&left, &ranges);
            }
        }
        Ok(left)
    }

    /// Reads what the page index says of the columns of conditions.
    fn want_bounds(&self, group: usize, conditions: &[Within<'_>]) -> Result<(), ReadError> {
        let (path, meta) = (&self.entry.path, (self.meta.parquet(), group));
        let fields: Vec<Field> = conditions.iter().map(Within::field).collect();
        self.meta.index.want_bounds(path, meta, &fields, &mut |range| self.tail(range))?;
        let has = |field: &Field| self.meta.index.bounds(group, *field as usize).is_some();
        let fields: Vec<Field> = fields.into_iter().filter(has).collect();
        self.meta.index.want_places(path, meta, &fields, &mut |range| self.tail(range))
    }

    fn tail(&self, range: Range<u64>) -> Result<Bytes, ReadError> {
        self.source.read_raw(range).map_err(|e| self.failed(&e))
    }

    /// Smallest and largest values of the pages of a column; `None`: the file does not say.
    pub(crate) fn bounds(&self, group: usize, field: Field) -> Result<Option<&ColumnIndexMetaData>, ReadError> {
        let meta = (self.meta.parquet(), group);
        self.meta.index.want_bounds(&self.entry.path, meta, &[field], &mut |range| self.tail(range))?;
        Ok(self.meta.index.bounds(group, field as usize))
    }

    /// Where the pages of a column stand, and how large they are; `None`: the file does not say.
    pub(crate) fn places(&self, group: usize, field: Field) -> Result<Option<&OffsetIndexMetaData>, ReadError> {
        let meta = (self.meta.parquet(), group);
        self.meta.index.want_places(&self.entry.path, meta, &[field], &mut |range| self.tail(range))?;
        Ok(self.meta.index.places(group, field as usize))
    }

    fn pages_of(&self, group: usize, condition: Within<'_>, rows: usize) -> Option<Vec<Range<usize>>> {
        let column = condition.field() as usize;
        let index = self.meta.index.bounds(group, column)?;
        let places = self.meta.index.places(group, column)?.page_locations();
        if index.num_pages() != places.len() as u64 {
            return None;
        }
        let mut out: Vec<Range<usize>> = Vec::new();
        for (page, place) in places.iter().enumerate() {
            if !page_meets(index, page, condition) {
                continue;
            }
            let start = usize::try_from(place.first_row_index).ok()?;
            let end = match places.get(page + 1) {
                Some(next) => usize::try_from(next.first_row_index).ok()?,
                None => rows,
            };
            match out.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => out.push(start..end),
            }
        }
        Some(out)
    }

    /// Decodes some columns of row ranges of a row group. Calls `each` with the number of the first row and the batch.
    ///
    /// `ranges` are within the row group. Rows of a batch need not be consecutive: `each` gets the row numbers (of the file).
    pub(crate) fn decode(
        &self,
        group: usize,
        ranges: &[Range<usize>],
        fields: &[Field],
        mut each: impl FnMut(&mut dyn Iterator<Item = u64>, &RecordBatch) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        self.counters.add_group();
        let rows = self.group_rows(group);
        let total = usize::try_from(rows.end - rows.start).unwrap_or(usize::MAX);
        let selection = RowSelection::from_consecutive_ranges(ranges.iter().cloned(), total);
        let reader = self.reader(vec![group], Some(selection), fields)?;
        let mut numbers = ranges.iter().flat_map(|r| r.clone()).map(|row| rows.start + row as u64);
        for batch in reader {
            let batch = batch.map_err(|e| self.failed(&e))?;
            let mut these = numbers.by_ref().take(batch.num_rows());
            each(&mut these, &batch)?;
            these.for_each(drop);
        }
        Ok(())
    }

    /// A reader of all columns of the given rows of a row group (rising, each once, numbers of the file): decodes as it goes. The
    /// group was counted when its rows were chosen.
    pub(crate) fn rows_of_group(&self, group: usize, rows: &[u64]) -> Result<ParquetRecordBatchReader, ReadError> {
        let span = self.group_rows(group);
        let total = usize::try_from(span.end - span.start).unwrap_or(usize::MAX);
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for row in rows {
            let at = usize::try_from(row.saturating_sub(span.start)).unwrap_or(usize::MAX);
            match ranges.last_mut() {
                Some(last) if last.end == at => last.end = at + 1,
                _ => ranges.push(at..at + 1),
            }
        }
        let selection = RowSelection::from_consecutive_ranges(ranges.into_iter(), total);
        self.reader(vec![group], Some(selection), &Field::ALL)
    }

    /// All columns of the given rows of the file (rising, each once). Their groups were counted when they were chosen.
    pub(crate) fn fetch(&self, rows: &[u64]) -> Result<Vec<RowBatch>, ReadError> {
        let mut groups = Vec::new();
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let (mut total, mut rest) = (0, rows);
        for group in 0..self.groups() {
            let span = self.group_rows(group);
            let (here, later) = rest.split_at(rest.partition_point(|row| *row < span.end));
            rest = later;
            if here.is_empty() {
                continue;
            }
            for row in here {
                let at = total + usize::try_from(row - span.start).unwrap_or(usize::MAX);
                match ranges.last_mut() {
                    Some(last) if last.end == at => last.end = at + 1,
                    _ => ranges.push(at..at + 1),
                }
            }
            groups.push(group);
            total += usize::try_from(span.end - span.start).unwrap_or(usize::MAX);
        }
        let selection = RowSelection::from_consecutive_ranges(ranges.into_iter(), total);
        let mut out = Vec::new();
        let mut rest = rows;
        for batch in self.reader(groups, Some(selection), &Field::ALL)? {
            let batch = batch.map_err(|e| self.failed(&e))?;
            let Some((these, later)) = rest.split_at_checked(batch.num_rows()) else {
                return Err(self.damaged("more rows than were asked for".to_owned()));
            };
            rest = later;
            out.push(RowBatch::new(Arc::clone(&self.entry), batch, RowNumbers::Listed(these.into()))?);
        }
        if !rest.is_empty() {
            return Err(self.damaged("rows are missing".to_owned()));
        }
        Ok(out)
    }

    /// Everything of a row group, batch by batch.
    pub(crate) fn whole_group(&self, group: usize) -> Result<ParquetRecordBatchReader, ReadError> {
        self.counters.add_group();
        self.reader(vec![group], None, &Field::ALL)
    }

    fn reader(
        &self,
        groups: Vec<usize>,
        selection: Option<RowSelection>,
        fields: &[Field],
    ) -> Result<ParquetRecordBatchReader, ReadError> {
        let schema = self.meta.arrow.parquet_schema();
        let mask = ProjectionMask::leaves(schema, fields.iter().map(|f| *f as usize));
        let batch_rows = self.batch_rows(&groups, fields);
        for group in &groups {
            self.prepare(*group, fields)?;
        }
        if self.entry.key.is_some() {
            return self.decrypting(groups, mask, batch_rows, selection);
        }
        let chunks = Chunks { file: Arc::clone(&self.source), meta: Arc::clone(self.meta.arrow.metadata()), groups };
        parquet_to_arrow_field_levels(schema, mask, None)
            .and_then(|levels| {
                ParquetRecordBatchReader::try_new_with_row_groups(&levels, &chunks, batch_rows, selection)
            })
            .map_err(|e| self.failed(&e))
    }

    /// The crate alone knows how to open pages of an encrypted file: it reads them its own way.
    fn decrypting(
        &self,
        groups: Vec<usize>,
        mask: ProjectionMask,
        batch_rows: usize,
        selection: Option<RowSelection>,
    ) -> Result<ParquetRecordBatchReader, ReadError> {
        let file = CheckedFile::clone(&self.source);
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.meta.arrow.clone())
            .with_row_groups(groups)
            .with_projection(mask)
            .with_batch_size(batch_rows);
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        builder.build().map_err(|e| self.failed(&e))
    }

    /// Reads where the pages of some columns of a row group stand, and the checksums of all of its blocks: the decoder asks for many
    /// pages far apart, and each would be one more request.
    fn prepare(&self, group: usize, fields: &[Field]) -> Result<(), ReadError> {
        let meta = (self.meta.parquet(), group);
        self.meta.index.want_places(&self.entry.path, meta, fields, &mut |range| self.tail(range))?;
        let chunks = self.meta.parquet().row_groups().get(group).map_or(&[][..], |g| g.columns());
        let ranges = chunks.iter().map(|chunk| chunk.byte_range());
        let start = ranges.clone().map(|(start, _)| start).min().unwrap_or(0);
        let end = ranges.map(|(start, length)| start.saturating_add(length)).max().unwrap_or(0);
        self.source.want_sums(&(start..end)).map_err(|e| self.failed(&e))
    }

    /// Rows that together should stay below the bytes of a batch, by the average of the row groups.
    fn batch_rows(&self, groups: &[usize], fields: &[Field]) -> usize {
        let meta = self.meta.parquet();
        let average = |group: &usize| {
            let group = meta.row_groups().get(*group)?;
            let bytes: i64 =
                fields.iter().filter_map(|f| Some(group.columns().get(*f as usize)?.uncompressed_size())).sum();
            bytes.checked_div(group.num_rows()).map(i64::unsigned_abs)
        };
        let row_bytes = groups.iter().filter_map(average).max().unwrap_or(1).max(1);
        usize::try_from(self.batch_bytes / row_bytes).unwrap_or(BATCH_ROWS).clamp(16, BATCH_ROWS)
    }

    /// Why a decoder of this file failed.
    pub(crate) fn failed(&self, error: &dyn std::fmt::Display) -> ReadError {
        ReadError::decode(&self.entry.path, &self.source, error)
    }

    pub(crate) fn damaged(&self, what: String) -> ReadError {
        ReadError::damaged(&self.entry.path, what)
    }
}

fn page_meets(index: &ColumnIndexMetaData, page: usize, condition: Within<'_>) -> bool {
    match (condition, index) {
        (
            Within::Bytes(_, value),
            ColumnIndexMetaData::BYTE_ARRAY(index) | ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(index),
        ) => {
            index.min_value(page).is_none_or(|min| min <= value) && index.max_value(page).is_none_or(|max| value <= max)
        }
        (Within::Ints(_, low, high), ColumnIndexMetaData::INT64(index)) => {
            index.min_value(page).is_none_or(|min| *min <= high) && index.max_value(page).is_none_or(|max| low <= *max)
        }
        _ => true,
    }
}

fn intersect(a: &[Range<usize>], b: &[Range<usize>]) -> Vec<Range<usize>> {
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let (start, end) = (x.start.max(y.start), x.end.min(y.end));
        if start < end {
            out.push(start..end);
        }
        if x.end < y.end { i += 1 } else { j += 1 }
    }
    out
}
