//! Column chunks for the Parquet decoder, with one zstd context a thread.
//!
//! The `parquet` crate makes a codec for every column chunk that it opens, and zstd asks the processor for its features whenever
//! it makes a context, which a virtual machine answers slowly: that was a third of a lookup. So chunks of zstd are read as if
//! they were not compressed, and their pages are unpacked here. Chunks of other codecs go the crate's own way.

use super::checked::CheckedFile;
use bytes::Bytes;
use parquet::arrow::arrow_reader::RowGroups;
use parquet::basic::Compression;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;
use std::cell::RefCell;
use std::sync::Arc;
use zstd::bulk::Decompressor;
use zstd::zstd_safe::get_frame_content_size;

thread_local! {
    static CONTEXT: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Some row groups of a file.
pub(crate) struct Chunks {
    pub(crate) file: Arc<CheckedFile>,
    pub(crate) meta: Arc<ParquetMetaData>,
    pub(crate) groups: Vec<usize>,
}

impl RowGroups for Chunks {
    fn num_rows(&self) -> usize {
        self.row_groups().map(|group| usize::try_from(group.num_rows()).unwrap_or(0)).sum()
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        let (file, meta) = (Arc::clone(&self.file), Arc::clone(&self.meta));
        Ok(Box::new(Column { file, meta, column, groups: self.groups.clone().into_iter() }))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.groups.iter().filter_map(|group| self.meta.row_groups().get(*group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.meta
    }
}

/// The chunks of one column, one after the other.
struct Column {
    file: Arc<CheckedFile>,
    meta: Arc<ParquetMetaData>,
    column: usize,
    groups: std::vec::IntoIter<usize>,
}

impl Column {
    fn open(&self, group: usize) -> Result<Box<dyn PageReader>> {
        let outside = || ParquetError::General(format!("there is no column {} in row group {group}", self.column));
        let rows = self.meta.row_groups().get(group).ok_or_else(outside)?;
        let chunk = rows.columns().get(self.column).ok_or_else(outside)?;
        let pages = self.file.meta().index.places(group, self.column).map(|index| index.page_locations().clone());
        let rows = usize::try_from(rows.num_rows())?;
        let file = Arc::clone(&self.file);
        if !matches!(chunk.compression(), Compression::ZSTD(_)) {
            return Ok(Box::new(SerializedPageReader::new(file, chunk, rows, pages)?));
        }
        let plain = chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
        Ok(Box::new(Unpacking { packed: SerializedPageReader::new(file, &plain, rows, pages)? }))
    }
}

impl Iterator for Column {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        let group = self.groups.next()?;
        Some(self.open(group))
    }
}

impl PageIterator for Column {}

/// Pages of a zstd chunk.
struct Unpacking {
    packed: SerializedPageReader<CheckedFile>,
}

impl PageReader for Unpacking {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        self.packed.get_next_page()?.map(unpacked).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.packed.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.packed.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.packed.at_record_boundary()
    }
}

impl Iterator for Unpacking {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

fn unpacked(mut page: Page) -> Result<Page> {
    match &mut page {
        Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => *buf = unpack(buf, 0)?,
        Page::DataPageV2 { buf, is_compressed: true, def_levels_byte_len, rep_levels_byte_len, .. } => {
            // levels stand in front as they are
            *buf = unpack(buf, *def_levels_byte_len as usize + *rep_levels_byte_len as usize)?;
        }
        Page::DataPageV2 { .. } => {}
    }
    Ok(page)
}

/// The first `plain` bytes as they are, the frame behind them unpacked.
fn unpack(page: &Bytes, plain: usize) -> Result<Bytes> {
    let bad = |what: &str| ParquetError::General(format!("a page is no zstd frame: {what}"));
    let (levels, frame) = page.split_at_checked(plain).ok_or_else(|| bad("its levels are longer than it is"))?;
    if frame.is_empty() {
        return Ok(page.clone());
    }
    let length = get_frame_content_size(frame).map_err(|e| bad(&e.to_string()))?;
    let length = length.ok_or_else(|| bad("it does not say its length"))?;
    // room is made before anything is unpacked: whoever can write to the place of the files may say any length
    let length = i32::try_from(length).map_err(|_| bad("it says that it is longer than a page can be"))? as usize;
    let values = CONTEXT.with_borrow_mut(|context| {
        let context = match context {
            Some(context) => context,
            none => none.insert(Decompressor::new()?),
        };
        context.decompress(frame, length)
    });
    let values = values.map_err(|e| bad(&e.to_string()))?;
    if values.len() != length {
        return Err(bad("it is shorter than it says"));
    }
    Ok(if levels.is_empty() { values.into() } else { [levels, &values].concat().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_unpacked_behind_its_levels() {
        let text = "abcd".repeat(100);
        let frame = zstd::bulk::compress(text.as_bytes(), 3).unwrap();
        assert_eq!(unpack(&Bytes::from(frame.clone()), 0).unwrap(), text.as_bytes());
        let page = [b"xy", &frame[..]].concat();
        assert_eq!(unpack(&Bytes::from(page), 2).unwrap(), [b"xy", text.as_bytes()].concat());
        assert_eq!(unpack(&Bytes::from_static(b"xy"), 2).unwrap(), b"xy"[..]);
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let frame = zstd::bulk::compress(&[7; 1000], 3).unwrap();
        for page in [&b"no frame at all"[..], &frame[..frame.len() - 1], &frame[..3]] {
            assert!(unpack(&Bytes::copy_from_slice(page), 0).is_err());
        }
        assert!(unpack(&Bytes::from_static(b"x"), 2).is_err());
    }

    /// The head of a frame of one segment, with eight bytes of length.
    #[test]
    fn no_room_is_made_for_a_length_that_no_page_has() {
        for length in [1_u64 << 31, 1 << 40, 1 << 62, u64::MAX - 2] {
            let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &length.to_le_bytes(), &[1, 0, 0]].concat();
            assert_eq!(get_frame_content_size(&frame).unwrap(), Some(length));
            let error = unpack(&Bytes::from(frame), 0).unwrap_err().to_string();
            assert!(error.contains("longer than a page can be"), "{error}");
        }
    }
}
