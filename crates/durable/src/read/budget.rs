//! How many bytes the rows of a lookup will take, before they are fetched: a page of rows is bounded by bytes too.
//!
//! An estimate: the average of the data page that a row stands in, or of its row group where pages do not tell. Pages end at about
//! 64 KiB or 8,192 rows, so neighbours are alike; the sum over a whole page is exact.

use super::error::ReadError;
use super::file::DataFile;
use super::meta::FileMeta;
use super::rowset::Candidate;
use super::stats::Counters;
use crate::entry::FileEntry;
use crate::tier::Shared;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
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

struct Costs {
    columns: [Stretches; LARGE.len()],
}

impl Costs {
    fn of(file: &FileMeta) -> Self {
        Self { columns: LARGE.map(|field| stretches(file, field)) }
    }

    fn row_bytes(&self, row: u64) -> u64 {
        let in_column = |column: &Stretches| {
            let behind = column.partition_point(|(first, _)| *first <= row);
            behind.checked_sub(1).and_then(|at| column.get(at)).map_or(0, |(_, bytes)| *bytes)
        };
        ROW_BYTES + self.columns.iter().map(in_column).sum::<u64>()
    }
}

fn stretches(file: &FileMeta, field: Field) -> Stretches {
    let mut out = Vec::new();
    for group in 0..file.parquet().num_row_groups() {
        let rows = file.group_rows(group);
        if !by_page(file, field, group, &rows, &mut out) {
            let columns = file.parquet().row_groups().get(group).map_or(&[][..], |g| g.columns());
            let bytes = columns.get(field as usize).map_or(0, |c| c.uncompressed_size());
            out.push((rows.start, u64::try_from(bytes).unwrap_or(0) / (rows.end - rows.start).max(1)));
        }
    }
    out
}

/// False: the pages of this column do not tell.
fn by_page(file: &FileMeta, field: Field, group: usize, rows: &std::ops::Range<u64>, out: &mut Stretches) -> bool {
    let index = file.parquet().offset_index().and_then(|i| i.get(group)?.get(field as usize));
    let Some((index, sizes)) = index.and_then(|i| Some((i, i.unencoded_byte_array_data_bytes()?))) else {
        return false;
    };
    let places = index.page_locations();
    if places.is_empty() || sizes.len() != places.len() {
        return false;
    }
    for (page, (place, bytes)) in places.iter().zip(sizes).enumerate() {
        let start = rows.start + u64::try_from(place.first_row_index).unwrap_or(0);
        let next = places.get(page + 1).and_then(|next| u64::try_from(next.first_row_index).ok());
        let end = next.map_or(rows.end, |next| rows.start + next);
        out.push((start, u64::try_from(*bytes).unwrap_or(0) / end.saturating_sub(start).max(1)));
    }
    true
}

/// Cuts sorted candidates where their rows would take more than `bytes_max`; true: it was cut. Never between two rows of
/// one key, and never before the third key: a reader always gets on.
pub(crate) fn cut_by_bytes<K: PartialEq + Copy>(
    shared: &Shared,
    files: &[Arc<FileEntry>],
    chosen: &mut Vec<Candidate<K>>,
    bytes_max: u64,
    counters: &Arc<Counters>,
) -> Result<bool, ReadError> {
    if (chosen.len() as u64).saturating_mul(ROW_BYTES_MAX) <= bytes_max {
        return Ok(false);
    }
    let mut costs: HashMap<u32, Costs> = HashMap::new();
    let (mut bytes, mut keys, mut last) = (0_u64, 0, None);
    let mut cut = None;
    for (at, candidate) in chosen.iter().enumerate() {
        let Some(entry) = files.get(candidate.file as usize) else { continue };
        let costs = match costs.entry(candidate.file) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => free.insert(Costs::of(&*match shared.cache.get(&entry.path) {
                Some(meta) => meta,
                None => Arc::clone(&DataFile::open(shared, entry, counters)?.meta),
            })),
        };
        bytes += costs.row_bytes(candidate.row);
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
