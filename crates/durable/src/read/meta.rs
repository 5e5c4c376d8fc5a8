//! The end of a data file, checked and decoded once: footer, page index, checksums of blocks; and the filters that were asked.

use super::error::ReadError;
use crate::entry::FileEntry;
use crate::objects::Readable;
use crate::schema;
use crate::write::{BLOCK_BYTES, BLOCKS_KEY, FORMAT_VERSION, VERSION_KEY};
use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};
use std::sync::OnceLock;
use strandline_event::{Field, FieldNames};

const COLUMNS: usize = Field::ALL.len();
/// A larger filter is read anew by each lookup: those of ids, one in a file that holds millions of them.
const FILTER_KEPT_BYTES: usize = 512 << 10;

/// What is known of an open data file besides its data pages.
pub(crate) struct FileMeta {
    pub(crate) arrow: ArrowReaderMetadata,
    pub(crate) tail: Bytes,
    pub(crate) tail_start: u64,
    pub(crate) blocks: Vec<u32>,
    filters: Vec<OnceLock<Sbbf>>,
}

impl FileMeta {
    /// Reads and checks the tail of a file.
    pub(crate) fn load(entry: &FileEntry, object: &dyn Readable, names: &FieldNames) -> Result<Self, ReadError> {
        let damaged = |what: &str| ReadError::damaged(&entry.path, what);
        if object.len() != entry.bytes {
            return Err(damaged(&format!("it has {} bytes, the manifest says {}", object.len(), entry.bytes)));
        }
        let tail_start = entry.bytes.checked_sub(entry.tail_bytes).ok_or_else(|| damaged("its tail is longer"))?;
        let length = usize::try_from(entry.tail_bytes).map_err(|_| damaged("its tail is too long"))?;
        let io = |e| ReadError::from(crate::objects::ObjectError::from_io(&entry.path, e));
        let tail = object.read_at(tail_start, length).map_err(io)?;
        if crc32c::crc32c(&tail) != entry.tail_crc32c {
            return Err(damaged("the checksum of its footer differs"));
        }
        let source = TailReader { tail: tail.clone(), start: tail_start, length: entry.bytes };
        let options =
            ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_page_index_policy(PageIndexPolicy::Optional);
        let arrow = ArrowReaderMetadata::load(&source, options).map_err(|e| ReadError::decode(&entry.path, e))?;
        check(entry, &arrow, names)?;
        let blocks = blocks(arrow.metadata(), tail_start).ok_or_else(|| damaged("its list of checksums is wrong"))?;
        let groups = arrow.metadata().num_row_groups();
        let filters = (0..groups * COLUMNS).map(|_| OnceLock::new()).collect();
        Ok(Self { arrow, tail, tail_start, blocks, filters })
    }

    /// What it costs in memory, in bytes: the tail, its decoded form, the filters that it may keep.
    pub(crate) fn cost_bytes(&self) -> usize {
        let groups = 0..self.parquet().num_row_groups();
        let places = groups.flat_map(|group| Field::ALL.map(|field| self.filter_place(group, field)));
        let filters: usize = places.flatten().map(|(_, length)| length).filter(|l| *l <= FILTER_KEPT_BYTES).sum();
        self.tail.len() * 2 + self.arrow.metadata().memory_size() + self.blocks.len() * 4 + filters + 1024
    }

    pub(crate) fn parquet(&self) -> &ParquetMetaData {
        self.arrow.metadata()
    }

    /// Where the column chunk ends that holds a byte.
    pub(crate) fn chunk_end(&self, at: u64) -> Option<u64> {
        let columns = self.parquet().row_groups().iter().flat_map(|group| group.columns());
        let mut ranges = columns.filter_map(|column| {
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let start = u64::try_from(start).ok()?;
            Some(start..start.checked_add(u64::try_from(column.compressed_size()).ok()?)?)
        });
        ranges.find(|range| range.contains(&at)).map(|range| range.end)
    }

    /// Rows of the file that stand in a row group.
    pub(crate) fn group_rows(&self, group: usize) -> std::ops::Range<u64> {
        let groups = self.parquet().row_groups();
        let rows = |g: &parquet::file::metadata::RowGroupMetaData| u64::try_from(g.num_rows()).unwrap_or(0);
        let start: u64 = groups.iter().take(group).map(rows).sum();
        start..start + groups.get(group).map_or(0, rows)
    }

    /// Where the bloom filter of a row group stands in the file, where it has one: start and length.
    pub(crate) fn filter_place(&self, group: usize, field: Field) -> Option<(u64, usize)> {
        let column = self.parquet().row_groups().get(group)?.columns().get(field as usize)?;
        let start = u64::try_from(column.bloom_filter_offset()?).ok()?;
        Some((start, usize::try_from(column.bloom_filter_length()?).ok()?))
    }

    /// The place where a filter is kept once it was read; `None`: it is too large to be kept.
    pub(crate) fn filter_kept(&self, group: usize, field: Field, length: usize) -> Option<&OnceLock<Sbbf>> {
        self.filters.get(group * COLUMNS + field as usize).filter(|_| length <= FILTER_KEPT_BYTES)
    }
}

/// The footer agrees with the manifest and with our schema.
fn check(entry: &FileEntry, arrow: &ArrowReaderMetadata, names: &FieldNames) -> Result<(), ReadError> {
    let meta = arrow.metadata();
    let damaged = |what: &str| Err(ReadError::damaged(&entry.path, what));
    if meta.file_metadata().num_rows() != entry.rows.cast_signed() {
        return damaged("its footer and the manifest name different numbers of rows");
    }
    let expected = schema::arrow(names);
    let same = arrow.schema().fields().len() == COLUMNS
        && arrow.schema().fields().iter().zip(expected.fields()).all(|(found, expected)| {
            found.name() == expected.name()
                && found.data_type() == expected.data_type()
                && found.is_nullable() == expected.is_nullable()
        });
    if !same {
        return damaged("its columns are not those of this store");
    }
    if value(meta, VERSION_KEY) != Some(FORMAT_VERSION) {
        return damaged("its footer does not say a version that this program reads");
    }
    Ok(())
}

fn value<'a>(meta: &'a ParquetMetaData, key: &str) -> Option<&'a str> {
    let pairs = meta.file_metadata().key_value_metadata()?;
    pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
}

fn blocks(meta: &ParquetMetaData, data_bytes: u64) -> Option<Vec<u32>> {
    let text = value(meta, BLOCKS_KEY)?.as_bytes();
    let sums: Option<Vec<u32>> =
        text.chunks(8).map(|hex| u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()).collect();
    sums.filter(|sums| sums.len() as u64 == data_bytes.div_ceil(BLOCK_BYTES))
}

/// The tail as the Parquet reader wants it: positions count from the start of the file.
struct TailReader {
    tail: Bytes,
    start: u64,
    length: u64,
}

impl Length for TailReader {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for TailReader {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let from = start.checked_sub(self.start).and_then(|n| usize::try_from(n).ok());
        let from = from.filter(|n| *n <= self.tail.len()).ok_or_else(outside)?;
        Ok(self.tail.slice(from..).reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        slice(&self.tail, self.start, start, length).ok_or_else(outside)
    }
}

/// A part of bytes that begin at `base` in their file.
pub(crate) fn slice(bytes: &Bytes, base: u64, start: u64, length: usize) -> Option<Bytes> {
    let from = usize::try_from(start.checked_sub(base)?).ok()?;
    let to = from.checked_add(length)?;
    (to <= bytes.len()).then(|| bytes.slice(from..to))
}

pub(crate) fn outside() -> ParquetError {
    ParquetError::EOF("a position lies outside the file".to_owned())
}
