//! The page index of a data file: of each row group and column it is read and decoded when a lookup first asks.
//!
//! A file has one entry a page and column, tens of thousands in a large file; a lookup wants those of one row group.

use super::error::ReadError;
use super::meta::{TailReader, outside, slice};
use crate::entry::{FileEntry, TailSums};
use crate::write::INDEX_BLOCK_BYTES;
use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::schema::types::{SchemaDescriptor, Type};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use strandline_event::Field;

const COLUMNS: usize = Field::ALL.len();

/// Bytes of the tail that a lookup asks for.
type ReadTail<'a> = &'a mut dyn FnMut(Range<u64>) -> Result<Bytes, ReadError>;

/// The page index, as far as it was asked for.
pub(crate) struct PageIndex {
    file_bytes: u64,
    tail_start: u64,
    /// Checksums of its blocks; none: the tail was read whole.
    sums: Option<TailSums>,
    bounds: Vec<OnceLock<Option<ColumnIndexMetaData>>>,
    places: Vec<OnceLock<Option<OffsetIndexMetaData>>>,
}

/// Which of the two parts of a page index.
#[derive(Clone, Copy)]
enum Part {
    /// Smallest and largest values of pages.
    Bounds,
    /// Where pages stand.
    Places,
}

impl Part {
    fn range(self, chunk: &ColumnChunkMetaData) -> Option<Range<u64>> {
        let (start, length) = match self {
            Self::Bounds => (chunk.column_index_offset()?, chunk.column_index_length()?),
            Self::Places => (chunk.offset_index_offset()?, chunk.offset_index_length()?),
        };
        let start = u64::try_from(start).ok()?;
        Some(start..start.checked_add(u64::try_from(length).ok()?)?)
    }
}

impl PageIndex {
    /// Nothing was read yet. `whole`: the tail is at hand.
    pub(crate) fn new(entry: &FileEntry, groups: usize, whole: bool) -> Self {
        let cells = groups * COLUMNS;
        Self {
            file_bytes: entry.bytes,
            tail_start: entry.bytes.saturating_sub(entry.tail_bytes),
            sums: entry.tail.clone().filter(|_| !whole),
            bounds: (0..cells).map(|_| OnceLock::new()).collect(),
            places: (0..cells).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Takes over what was decoded of it with the footer: all there is.
    pub(crate) fn take(&self, meta: &ParquetMetaData) {
        let bounds = meta.column_index().map_or(&[][..], Vec::as_slice);
        let places = meta.offset_index().map_or(&[][..], Vec::as_slice);
        for group in 0..meta.num_row_groups() {
            for column in 0..COLUMNS {
                let at = group * COLUMNS + column;
                let found =
                    bounds.get(group).and_then(|g| g.get(column)).filter(|b| !matches!(b, ColumnIndexMetaData::NONE));
                // nothing was read before
                if let Some(cell) = self.bounds.get(at) {
                    let _ = cell.set(found.cloned());
                }
                if let Some(cell) = self.places.get(at) {
                    let _ = cell.set(places.get(group).and_then(|g| g.get(column)).cloned());
                }
            }
        }
    }

    /// Bytes of memory that it takes when all of it was asked for, about.
    pub(crate) fn memory_bytes(&self, entry: &FileEntry) -> usize {
        let cell =
            size_of::<OnceLock<Option<ColumnIndexMetaData>>>() + size_of::<OnceLock<Option<OffsetIndexMetaData>>>();
        self.bounds.len() * cell + usize::try_from(entry.tail_bytes).unwrap_or(0) * 3
    }

    /// Smallest and largest values of the pages of a column, if they were read and it has them.
    pub(crate) fn bounds(&self, group: usize, column: usize) -> Option<&ColumnIndexMetaData> {
        self.bounds.get(group * COLUMNS + column)?.get()?.as_ref()
    }

    /// The places of the pages of a column, if they were read and it has them.
    pub(crate) fn places(&self, group: usize, column: usize) -> Option<&OffsetIndexMetaData> {
        self.places.get(group * COLUMNS + column)?.get()?.as_ref()
    }

    /// Makes sure that the bounds of the pages of some columns of a row group were read.
    pub(crate) fn want_bounds(
        &self,
        path: &str,
        meta: (&ParquetMetaData, usize),
        fields: &[Field],
        read: ReadTail<'_>,
    ) -> Result<(), ReadError> {
        self.want(path, meta, fields, Part::Bounds, &self.bounds, read, |one| {
            let index = one.into_builder().take_column_index()?.pop()?.pop()?;
            (!matches!(index, ColumnIndexMetaData::NONE)).then_some(index)
        })
    }

    /// Makes sure that the places of the pages of some columns of a row group were read.
    pub(crate) fn want_places(
        &self,
        path: &str,
        meta: (&ParquetMetaData, usize),
        fields: &[Field],
        read: ReadTail<'_>,
    ) -> Result<(), ReadError> {
        let take = |one: ParquetMetaData| one.into_builder().take_offset_index()?.pop()?.pop();
        self.want(path, meta, fields, Part::Places, &self.places, read, take)
    }

    /// The columns of a row group stand side by side in each part: what is missing of them is read at once.
    #[expect(clippy::too_many_arguments, reason = "both parts go the same way")]
    fn want<T>(
        &self,
        path: &str,
        (meta, group): (&ParquetMetaData, usize),
        fields: &[Field],
        part: Part,
        cells: &[OnceLock<Option<T>>],
        read: ReadTail<'_>,
        take: impl Fn(ParquetMetaData) -> Option<T>,
    ) -> Result<(), ReadError> {
        let chunks = meta.row_groups().get(group).map_or(&[][..], |g| g.columns());
        let mut missing = Vec::new();
        for field in fields {
            let column = *field as usize;
            let (Some(cell), Some(chunk)) = (cells.get(group * COLUMNS + column), chunks.get(column)) else { continue };
            if cell.get().is_some() {
                continue;
            }
            match part.range(chunk) {
                Some(range) => missing.push((cell, chunk, range)),
                None => drop(cell.set(None)),
            }
        }
        let start = missing.iter().map(|(.., range)| range.start).min();
        let end = missing.iter().map(|(.., range)| range.end).max();
        let (Some(start), Some(end)) = (start, end) else { return Ok(()) };
        let bytes = self.read(path, start..end, read)?;
        let source = TailReader { tail: bytes, start, length: self.file_bytes };
        for (cell, chunk, _) in missing {
            let one = decoded(meta, chunk, part, &source).map_err(|e| ReadError::damaged(path, e.to_string()))?;
            // whoever came first has decoded the same bytes
            let _ = cell.set(take(one));
        }
        Ok(())
    }

    /// Bytes of the page index, checked.
    fn read(&self, path: &str, range: Range<u64>, read: ReadTail<'_>) -> Result<Bytes, ReadError> {
        let Some(sums) = &self.sums else { return read(range) };
        let inside = self.file_bytes.saturating_sub(sums.footer_bytes);
        if range.start < self.tail_start || range.end > inside {
            return Err(ReadError::damaged(path, outside().to_string()));
        }
        let first = (range.start - self.tail_start) / INDEX_BLOCK_BYTES;
        let from = self.tail_start + first * INDEX_BLOCK_BYTES;
        let to = self.tail_start + (range.end - self.tail_start).next_multiple_of(INDEX_BLOCK_BYTES);
        let blocks = read(from..to.min(inside))?;
        let sums = sums.index_crc32c.iter().skip(usize::try_from(first).unwrap_or(usize::MAX));
        let mut expected = sums.copied();
        if !blocks.chunks(INDEX_BLOCK_BYTES as usize).all(|block| expected.next() == Some(crc32c::crc32c(block))) {
            return Err(ReadError::damaged(path, "the checksum of its page index differs"));
        }
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        slice(&blocks, from, range.start, length).ok_or_else(|| ReadError::damaged(path, outside().to_string()))
    }
}

/// One part of the page index of one column chunk, decoded as that of a file which has no other: the crate decodes all of a file or none.
fn decoded(
    meta: &ParquetMetaData,
    chunk: &ColumnChunkMetaData,
    part: Part,
    source: &TailReader,
) -> ParquetResult<ParquetMetaData> {
    let column = chunk.column_descr().self_type_ptr();
    let root = Type::group_type_builder("event").with_fields(vec![column]).build()?;
    let schema = Arc::new(SchemaDescriptor::new(Arc::new(root)));
    let rows = chunk.num_values();
    let group = RowGroupMetaData::builder(Arc::clone(&schema))
        .set_num_rows(rows)
        .set_column_metadata(vec![chunk.clone()])
        .build()?;
    let file = FileMetaData::new(meta.file_metadata().version(), rows, None, None, schema, None);
    let (bounds, places) = match part {
        Part::Bounds => (PageIndexPolicy::Required, PageIndexPolicy::Skip),
        Part::Places => (PageIndexPolicy::Skip, PageIndexPolicy::Required),
    };
    let mut reader = ParquetMetaDataReader::new_with_metadata(ParquetMetaData::new(file, vec![group]))
        .with_column_index_policy(bounds)
        .with_offset_index_policy(places);
    reader.read_page_indexes_sized(source, source.length).map_err(|error| match error {
        ParquetError::NeedMoreData(_) => outside(),
        other => other,
    })?;
    reader.finish()
}
