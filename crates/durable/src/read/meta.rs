//! The end of a data file, checked and decoded: its footer at once, page index and checksums of blocks as lookups ask for them; and
//! the filters that were asked often.

use super::error::ReadError;
use super::index::PageIndex;
use super::sealed_filters::SealedFilters;
use super::sums::{BlockSums, value};
use crate::entry::FileEntry;
use crate::objects::Readable;
use crate::schema;
use crate::write::FILTERS_KEY;
use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::bloom_filter::Sbbf;
use parquet::encryption::decrypt::FileDecryptionProperties;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use strandline_event::{Field, FieldNames};
use strandline_keys::{KeyName, Purpose, StoreKeys};

const COLUMNS: usize = Field::ALL.len();
/// A larger filter is never kept: those of ids, one in a file that holds millions of them.
const FILTER_KEPT_BYTES: usize = 512 << 10;
/// A filter that is asked so often is read whole and kept, if it is not too large.
const PROBES_MAX: u8 = 4;
/// A shorter tail is read whole, with what stands before it: in a small file that is the list of checksums.
const SMALL_TAIL_BYTES: u64 = 16 << 10;
const BEFORE_TAIL_BYTES: u64 = 4 << 10;

/// The last bytes of a file whose footer is encrypted.
const SEALED_FOOTER: &[u8] = b"PARE";
const NOT_SEALED: &str = "it is not encrypted, and the manifest says that it is: another file stands in its place";

/// What is known of an open data file besides its data pages.
pub(crate) struct FileMeta {
    pub(crate) arrow: ArrowReaderMetadata,
    /// The end of the file that was read when it was opened, with where it begins.
    end: (u64, Bytes),
    pub(crate) index: PageIndex,
    pub(crate) sums: BlockSums,
    index_bytes: usize,
    /// Those of an encrypted file.
    pub(crate) sealed_filters: Option<SealedFilters>,
    filters: Vec<OnceLock<Sbbf>>,
    probes: Vec<AtomicU8>,
}

impl FileMeta {
    /// Reads and checks the footer of a file; also says how many bytes were read.
    pub(crate) fn load(
        entry: &FileEntry,
        object: &dyn Readable,
        names: &FieldNames,
        keys: Option<&Arc<StoreKeys>>,
    ) -> Result<(Self, u64), ReadError> {
        let damaged = |what: &str| ReadError::damaged(&entry.path, what);
        if object.len() != entry.bytes {
            return Err(damaged(&format!("it has {} bytes, the manifest says {}", object.len(), entry.bytes)));
        }
        let tail_start = entry.bytes.checked_sub(entry.tail_bytes).ok_or_else(|| damaged("its tail is longer"))?;
        // where the checked end begins, its checksum, and where the read begins
        let (checked, crc, start) = match &entry.tail {
            // the page index of an encrypted file is opened as a whole
            Some(parts) if entry.tail_bytes > SMALL_TAIL_BYTES && entry.key.is_none() => {
                let start =
                    entry.bytes.checked_sub(parts.footer_bytes).ok_or_else(|| damaged("its footer is longer"))?;
                (start, parts.footer_crc32c, start)
            }
            Some(_) => (tail_start, entry.tail_crc32c, tail_start.saturating_sub(BEFORE_TAIL_BYTES)),
            None => (tail_start, entry.tail_crc32c, tail_start),
        };
        let io = |e| ReadError::from(crate::objects::ObjectError::from_io(&entry.path, e));
        let bytes = |from: u64| usize::try_from(entry.bytes - from).map_err(|_| damaged("its tail is too long"));
        let end = object.read_at(start, bytes(start)?).map_err(io)?;
        let tail = slice(&end, start, checked, bytes(checked)?).ok_or_else(|| damaged("its tail is cut"))?;
        if crc32c::crc32c(&tail) != crc {
            return Err(damaged("the checksum of its footer differs"));
        }
        let source = TailReader { tail: tail.clone(), start: checked, length: entry.bytes };
        let mut options =
            ArrowReaderOptions::new().with_skip_arrow_metadata(true).with_page_index_policy(PageIndexPolicy::Skip);
        if let Some(decryption) = decryption(entry, keys)? {
            // the reader takes a file in clear as well: only a footer that the key opens says that this one is ours
            if !tail.ends_with(SEALED_FOOTER) {
                return Err(damaged(NOT_SEALED));
            }
            options =
                options.with_file_decryption_properties(decryption).with_page_index_policy(PageIndexPolicy::Optional);
        }
        let arrow =
            ArrowReaderMetadata::load(&source, options).map_err(|e| ReadError::damaged(&entry.path, e.to_string()))?;
        check(entry, &arrow, names)?;
        check_sealed(entry, arrow.metadata())?;
        let sums = BlockSums::of(entry, arrow.metadata(), tail_start)?;
        if !sums.put_from(start, &end) {
            return Err(damaged("the list of its checksums differs from the footer's"));
        }
        let groups = arrow.metadata().num_row_groups();
        let index = PageIndex::new(entry, groups, checked == tail_start);
        if entry.key.is_some() {
            index.take(arrow.metadata());
        }
        let index_bytes = index.memory_bytes(entry);
        let filters = (0..groups * COLUMNS).map(|_| OnceLock::new()).collect();
        let probes = (0..groups * COLUMNS).map(|_| AtomicU8::new(0)).collect();
        let read = end.len() as u64;
        let sealed_filters = sealed_filters(entry, keys, arrow.metadata(), &sums)?;
        let end = (checked, tail);
        Ok((Self { arrow, end, index, sums, index_bytes, sealed_filters, filters, probes }, read))
    }

    /// What it costs in memory, in bytes: the end, what is decoded of it sooner or later, the filters that it may keep.
    pub(crate) fn cost_bytes(&self) -> usize {
        let groups = 0..self.parquet().num_row_groups();
        let places = groups.flat_map(|group| Field::ALL.map(|field| self.filter_place(group, field)));
        let filters: usize = places.flatten().map(|(_, length)| length).filter(|l| *l <= FILTER_KEPT_BYTES).sum();
        let decoded = self.arrow.metadata().memory_size() + self.index_bytes + self.sums.memory_bytes();
        self.end.1.len() * 2 + decoded + filters + 1024
    }

    pub(crate) fn parquet(&self) -> &ParquetMetaData {
        self.arrow.metadata()
    }

    /// Bytes of the end that is at hand.
    pub(crate) fn at_hand(&self, start: u64, length: usize) -> Option<Bytes> {
        slice(&self.end.1, self.end.0, start, length)
    }

    /// Length of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.end.0 + self.end.1.len() as u64
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

    /// Counts one more question to a filter; true: it is asked so often that all of it should be at hand.
    pub(crate) fn asked_often(&self, group: usize, field: Field) -> bool {
        let count = |n: u8| Some(n.saturating_add(1));
        let asked = self.probes.get(group * COLUMNS + field as usize);
        asked.is_some_and(|n| n.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).unwrap_or(0) >= PROBES_MAX)
    }
}

/// How the file is opened, where it is encrypted: by the key that the manifest names, whatever the file says.
fn decryption(
    entry: &FileEntry,
    keys: Option<&Arc<StoreKeys>>,
) -> Result<Option<Arc<FileDecryptionProperties>>, ReadError> {
    let damaged = |what: String| ReadError::damaged(&entry.path, what);
    let (keys, name) = match (keys, &entry.key) {
        (None, None) => return Ok(None),
        (Some(keys), Some(name)) => (keys, name),
        (Some(_), None) => return Err(damaged("it is not encrypted, and the store is".to_owned())),
        (None, Some(_)) => return Err(damaged("it is encrypted, and the store is opened without its keys".to_owned())),
    };
    let name = KeyName::from_hex(name).ok_or_else(|| damaged("the name of its key is none".to_owned()))?;
    let secret = keys.secret(&name, Purpose::DataFile).map_err(|e| damaged(e.to_string()))?;
    let built = FileDecryptionProperties::builder(secret.expose().to_vec()).build();
    built.map(Some).map_err(|e| damaged(e.to_string()))
}

/// Where the filters of an encrypted file stand, if it has any.
fn sealed_filters(
    entry: &FileEntry,
    keys: Option<&Arc<StoreKeys>>,
    meta: &ParquetMetaData,
    sums: &BlockSums,
) -> Result<Option<SealedFilters>, ReadError> {
    let name = entry.key.as_deref().and_then(KeyName::from_hex);
    let (Some(keys), Some(name), Some(text)) = (keys, name, value(meta, FILTERS_KEY)) else { return Ok(None) };
    let damaged = |what: String| ReadError::damaged(&entry.path, what);
    let key = keys.find(&name, Purpose::Filters).map_err(|e| damaged(e.to_string()))?;
    let filters = SealedFilters::parse(text, key, sums.data_bytes);
    filters.map(Some).ok_or_else(|| damaged("its footer does not say where its bloom filters are".to_owned()))
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
    Ok(())
}

/// Every column of a file that has a key is encrypted.
fn check_sealed(entry: &FileEntry, meta: &ParquetMetaData) -> Result<(), ReadError> {
    let mut columns = meta.row_groups().iter().flat_map(|group| group.columns());
    match entry.key.is_some() && columns.any(|column| column.crypto_metadata().is_none()) {
        true => Err(ReadError::damaged(&entry.path, NOT_SEALED)),
        false => Ok(()),
    }
}

/// The tail as the Parquet reader wants it: positions count from the start of the file.
pub(crate) struct TailReader {
    pub(crate) tail: Bytes,
    pub(crate) start: u64,
    pub(crate) length: u64,
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
