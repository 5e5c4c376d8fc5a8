//! The bloom filters of an encrypted file: where its footer says that they stand, and how one is asked.

use crate::chunks::{ChunkSeal, sealed_bytes};
use crate::write::{BLOOM_BLOCK_BYTES, place_in};
use bytes::Bytes;
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use std::collections::HashMap;
use std::io;
use strandline_event::Field;
use strandline_keys::DataKey;

/// The filters of a file.
pub(crate) struct SealedFilters {
    seal: ChunkSeal,
    /// Where they begin in the file.
    start: u64,
    /// Length of all of them before they were sealed.
    plain_bytes: u64,
    /// By row group and field: start and length among them.
    places: HashMap<(usize, usize), (u64, usize)>,
}

impl SealedFilters {
    /// What the footer says; `None`: that cannot be.
    pub(crate) fn parse(text: &str, key: DataKey, data_bytes: u64) -> Option<Self> {
        let mut words = text.split(' ');
        let (start, plain_bytes): (u64, u64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let mut places = HashMap::new();
        for word in words {
            let ((at, field), (from, length)) =
                word.split_once(':').and_then(|(a, b)| Some((a.split_once('.')?, b.split_once('+')?)))?;
            let (from, length): (u64, usize) = (from.parse().ok()?, length.parse().ok()?);
            let fits = length.is_power_of_two() && length >= BLOOM_BLOCK_BYTES && from + length as u64 <= plain_bytes;
            places.insert((at.parse().ok()?, field.parse().ok()?), fits.then_some((from, length))?);
        }
        let fits = start.checked_add(sealed_bytes(plain_bytes))? <= data_bytes;
        fits.then(|| Self { seal: ChunkSeal::new(key, &[]), start, plain_bytes, places })
    }

    /// Whether a row group may hold a value; `None`: it has no filter of the field. `read` gets checked bytes of the file.
    pub(crate) fn may_hold(
        &self,
        group: usize,
        field: Field,
        value: &[u8],
        read: impl FnOnce(u64, usize) -> Result<Bytes, ParquetError>,
    ) -> Result<Option<bool>, ParquetError> {
        let Some((start, length)) = self.places.get(&(group, field as usize)) else { return Ok(None) };
        let block = self.get(start + place_in(*length, value) as u64, BLOOM_BLOCK_BYTES, read)?;
        // a filter of one block puts every value into it
        Ok(Some(Sbbf::new(&block).check(value)))
    }

    /// A whole filter.
    pub(crate) fn filter(
        &self,
        group: usize,
        field: Field,
        read: impl FnOnce(u64, usize) -> Result<Bytes, ParquetError>,
    ) -> Result<Option<Sbbf>, ParquetError> {
        let Some((start, length)) = self.places.get(&(group, field as usize)) else { return Ok(None) };
        Ok(Some(Sbbf::new(&self.get(*start, *length, read)?)))
    }

    fn get(
        &self,
        start: u64,
        length: usize,
        read: impl FnOnce(u64, usize) -> Result<Bytes, ParquetError>,
    ) -> Result<Bytes, ParquetError> {
        let sealed = |from: u64, to: u64| {
            let bytes = usize::try_from(to - from).map_err(io::Error::other)?;
            read(self.start + from, bytes).map_err(io::Error::other)
        };
        let bytes = self.seal.read(start, length, self.plain_bytes, sealed);
        bytes.map_err(|e| ParquetError::General(format!("its bloom filters: {e}")))
    }
}
