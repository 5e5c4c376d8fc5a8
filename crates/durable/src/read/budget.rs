//! How many bytes the rows of a lookup will take, before they are fetched: a page of rows is bounded by bytes too.
//!
//! An estimate: the average of the data page that a row stands in, or of its row group where pages do not tell. Pages end at about
//! 64 KiB or 8,192 rows, so neighbours are alike; the sum over a whole page is exact.

use super::error::ReadError;
use super::file::DataFile;
use super::rowset::{Candidate, Kept, keep};
use super::stats::Counters;
use crate::entry::FileEntry;
use crate::tier::Shared;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use strandline_event::Field;

/// Bytes of rows that one lookup fetches, about.
pub(crate) const READ_BYTES_MAX: u64 = 64 << 20;
/// What a row takes besides data and metadata, about.
const ROW_BYTES: u64 = 256;
/// The largest row, about: the limits of an event, data and metadata.
const ROW_BYTES_MAX: u64 = 2 << 20;
/// The columns that may be large.
const LARGE: [Field; 2] = [Field::Payload, Field::Metadata];

/// Bytes a row over stretches of rows of one column: (first row, bytes a row), rising.
type Stretches = Vec<(u64, u64)>;

/// What rows of a file take, by row group; known of those that were asked for.
#[derive(Default)]
struct Costs {
    groups: Vec<(Range<u64>, [Stretches; LARGE.len()])>,
}

impl Costs {
    fn row_bytes(&self, row: u64) -> Option<u64> {
        let (_, columns) = self.groups.iter().find(|(rows, _)| rows.contains(&row))?;
        let in_column = |column: &Stretches| {
            let behind = column.partition_point(|(first, _)| *first <= row);
            behind.checked_sub(1).and_then(|at| column.get(at)).map_or(0, |(_, bytes)| *bytes)
        };
        Some(ROW_BYTES + columns.iter().map(in_column).sum::<u64>())
    }

    /// Learns of the row group that a row stands in.
    fn learn(&mut self, file: &DataFile, row: u64) -> Result<(), ReadError> {
        let groups = (0..file.groups()).map(|group| (group, file.group_rows(group)));
        let Some((group, rows)) = groups.into_iter().find(|(_, rows)| rows.contains(&row)) else { return Ok(()) };
        let mut columns = LARGE.map(|_| Stretches::new());
        for (field, column) in LARGE.into_iter().zip(&mut columns) {
            *column = stretches(file, field, group, &rows)?;
        }
        self.groups.push((rows, columns));
        Ok(())
    }
}

fn stretches(file: &DataFile, field: Field, group: usize, rows: &Range<u64>) -> Result<Stretches, ReadError> {
    if let Some(by_page) = file.places(group, field)?.and_then(|index| by_page(index, rows)) {
        return Ok(by_page);
    }
    let columns = file.meta.parquet().row_groups().get(group).map_or(&[][..], |g| g.columns());
    let bytes = columns.get(field as usize).map_or(0, |c| c.uncompressed_size());
    Ok(vec![(rows.start, u64::try_from(bytes).unwrap_or(0) / (rows.end - rows.start).max(1))])
}

/// `None`: the pages of this column do not tell.
fn by_page(index: &OffsetIndexMetaData, rows: &Range<u64>) -> Option<Stretches> {
    let (places, sizes) = (index.page_locations(), index.unencoded_byte_array_data_bytes()?);
    if places.is_empty() || sizes.len() != places.len() {
        return None;
    }
    let mut out = Stretches::new();
    for (page, (place, bytes)) in places.iter().zip(sizes).enumerate() {
        let start = rows.start + u64::try_from(place.first_row_index).unwrap_or(0);
        let next = places.get(page + 1).and_then(|next| u64::try_from(next.first_row_index).ok());
        let end = next.map_or(rows.end, |next| rows.start + next);
        out.push((start, u64::try_from(*bytes).unwrap_or(0) / end.saturating_sub(start).max(1)));
    }
    Some(out)
}

/// Cuts sorted candidates where their rows would take more than `bytes_max`; true: it was cut. Never between two rows of
/// one key, and never before the third key: a reader always gets on.
pub(crate) fn cut_by_bytes<K: PartialEq + Copy>(
    shared: &Shared,
    files: &[Arc<FileEntry>],
    chosen: &mut Vec<Candidate<K>>,
    bytes_max: u64,
    counters: &Arc<Counters>,
    kept: &mut Kept,
) -> Result<bool, ReadError> {
    if (chosen.len() as u64).saturating_mul(ROW_BYTES_MAX) <= bytes_max {
        return Ok(false);
    }
    let mut costs: HashMap<u32, Costs> = HashMap::new();
    let (mut bytes, mut keys, mut last) = (0_u64, 0, None);
    let mut cut = None;
    for (at, candidate) in chosen.iter().enumerate() {
        let Some(entry) = files.get(candidate.file as usize) else { continue };
        let costs = costs.entry(candidate.file).or_default();
        bytes += match costs.row_bytes(candidate.row) {
            Some(bytes) => bytes,
            None => {
                let file = kept.remove(&candidate.file);
                let file = file.map_or_else(|| DataFile::open(shared, entry, counters), Ok)?;
                costs.learn(&file, candidate.row)?;
                keep(kept, candidate.file, file);
                costs.row_bytes(candidate.row).unwrap_or(ROW_BYTES)
            }
        };
        let new = last != Some(candidate.key);
        keys += usize::from(new);
        last = Some(candidate.key);
        if new && keys > 2 && bytes > bytes_max {
            cut = Some(at);
            break;
        }
    }
    if let Some(at) = cut {
        chosen.truncate(at);
    }
    Ok(cut.is_some())
}
