//! Bloom filters of an encrypted file: those of Parquet's format, sealed in the file behind its pages, where no Parquet reader looks.
//!
//! The `parquet` crate would write them as they are, and who has a guess of a stream id could ask them. So the values' hashes are
//! kept here until their row group ends, and make a filter of the size that the real number of distinct ones wants.

use crate::chunks::ChunkSeal;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType, UInt32Type};
use std::fmt::Write;
use strandline_event::Field;
use strandline_keys::DataKey;
use twox_hash::XxHash64;

/// Key of the footer: where each filter stands.
pub(crate) const FILTERS_KEY: &str = "strandline.filters";
/// Bytes of a block of a filter: all bits of a value stand in one.
pub(crate) const BLOCK_BYTES: usize = 32;
const FILTER_BYTES_MAX: usize = 128 << 20;
/// The format's seed of the hash, and the numbers that choose the bits of a block.
const SEED: u64 = 0;
const SALT: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// The filters of a file in the making.
pub(crate) struct Filters {
    fpp: f64,
    columns: Vec<Column>,
    /// Row groups that have ended.
    groups: usize,
    plain: Vec<u8>,
    /// Row group, field, start, length.
    places: Vec<(usize, Field, usize, usize)>,
}

struct Column {
    field: Field,
    /// Of the rows whose row group has not ended; `None`: the value is null.
    hashes: Vec<Option<u64>>,
}

impl Filters {
    pub(crate) fn new(fields: &[Field], fpp: f64) -> Self {
        let columns = fields.iter().map(|field| Column { field: *field, hashes: Vec::new() }).collect();
        Self { fpp, columns, groups: 0, plain: Vec::new(), places: Vec::new() }
    }

    /// Takes the rows of a batch.
    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        for column in &mut self.columns {
            if let Some(values) = batch.columns().get(column.field as usize) {
                hash_all(values, &mut column.hashes);
            }
        }
    }

    /// Row groups have ended: those that are new since, with their numbers of rows.
    pub(crate) fn end_groups(&mut self, rows: impl Iterator<Item = usize>) {
        for rows in rows.skip(self.groups) {
            for column in &mut self.columns {
                let rest = column.hashes.split_off(rows.min(column.hashes.len()));
                let values = std::mem::replace(&mut column.hashes, rest);
                let filter = filter_of(values.into_iter().flatten().collect(), self.fpp);
                self.places.push((self.groups, column.field, self.plain.len(), filter.len()));
                self.plain.extend_from_slice(&filter);
            }
            self.groups += 1;
        }
    }

    /// Bytes of all of them so far.
    pub(crate) fn bytes(&self) -> usize {
        self.plain.len()
    }

    /// All of them, sealed, to stand at `start` in the file; and what the footer says of them.
    pub(crate) fn sealed(&self, key: DataKey, start: u64) -> (Vec<u8>, String) {
        let mut out = Vec::with_capacity(self.plain.len() + self.plain.len() / 128 + 64);
        ChunkSeal::new(key, &[]).seal_all(&self.plain, &mut out);
        let mut text = format!("{start} {}", self.plain.len());
        for (group, field, start, length) in &self.places {
            // a String takes everything
            let _ = write!(text, " {group}.{}:{start}+{length}", *field as usize);
        }
        (out, text)
    }
}

/// The bits of these values: a power of two of bytes, as the format wants.
fn filter_of(mut hashes: Vec<u64>, fpp: f64) -> Vec<u8> {
    hashes.sort_unstable();
    hashes.dedup();
    let mut bits = vec![0; bytes_for(hashes.len(), fpp)];
    for hash in hashes {
        let at = block_of(hash, bits.len());
        for (word, salt) in bits[at..at + BLOCK_BYTES].chunks_exact_mut(4).zip(SALT) {
            let bit = (hash as u32).wrapping_mul(salt) >> 27;
            word[bit as usize / 8] |= 1 << (bit % 8);
        }
    }
    bits
}

/// The format's arithmetic.
fn bytes_for(distinct: usize, fpp: f64) -> usize {
    bytes_of(distinct as f64 * bytes_a_value(fpp))
}

/// What a distinct value takes, before the size is made one of the format's.
pub(super) fn bytes_a_value(fpp: f64) -> f64 {
    -1.0 / (1.0 - fpp.powf(1.0 / 8.0)).ln()
}

/// The size of a filter that wants so many bytes.
pub(super) fn bytes_of(wanted: f64) -> usize {
    (wanted as usize).clamp(BLOCK_BYTES, FILTER_BYTES_MAX).next_power_of_two().min(FILTER_BYTES_MAX)
}

/// Where the block of a value begins in a filter of so many bytes.
fn block_of(hash: u64, filter_bytes: usize) -> usize {
    let blocks = (filter_bytes / BLOCK_BYTES) as u64;
    (((hash >> 32) * blocks) >> 32) as usize * BLOCK_BYTES
}

/// Where in a filter of so many bytes the bits of a value stand.
pub(crate) fn place_in(filter_bytes: usize, value: &[u8]) -> usize {
    block_of(XxHash64::oneshot(SEED, value), filter_bytes)
}

/// The hashes of a column's values, as Parquet stores them.
pub(super) fn hash_all(values: &ArrayRef, out: &mut Vec<Option<u64>>) {
    let hash = |value: &[u8]| Some(XxHash64::oneshot(SEED, value));
    match values.data_type() {
        DataType::Utf8 => out.extend(values.as_string::<i32>().iter().map(|text| hash(text?.as_bytes()))),
        DataType::FixedSizeBinary(_) => out.extend(values.as_fixed_size_binary().iter().map(|bytes| hash(bytes?))),
        DataType::Int64 => out.extend(values.as_primitive::<Int64Type>().iter().map(|n| hash(&n?.to_le_bytes()))),
        DataType::Timestamp(..) => {
            out.extend(values.as_primitive::<TimestampMicrosecondType>().iter().map(|n| hash(&n?.to_le_bytes())));
        }
        DataType::Int32 => out.extend(values.as_primitive::<Int32Type>().iter().map(|n| hash(&n?.to_le_bytes()))),
        DataType::UInt32 => out.extend(values.as_primitive::<UInt32Type>().iter().map(|n| hash(&n?.to_le_bytes()))),
        _ => out.resize(out.len() + values.len(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::bloom_filter::Sbbf;

    #[test]
    fn they_are_the_filters_of_the_format() {
        for (values, fpp) in [(1_u64, 0.01), (10, 0.5), (300, 0.1), (5000, 0.01), (50_000, 0.001)] {
            let mut theirs = Sbbf::new_with_ndv_fpp(values, fpp).unwrap();
            let texts: Vec<String> = (0..values).map(|n| format!("value {n}")).collect();
            texts.iter().for_each(|text| theirs.insert(text.as_bytes()));
            let hashes = texts.iter().map(|text| XxHash64::oneshot(SEED, text.as_bytes()));
            let ours = filter_of(hashes.collect(), fpp);
            let mut bits = Vec::new();
            theirs.write_bitset(&mut bits).unwrap();
            assert_eq!(ours, bits, "{values} {fpp}");
        }
    }
}
