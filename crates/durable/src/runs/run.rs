//! An open run: checked once, then searched in place.

use super::RunRef;
use super::filter;
use super::map::RunBytes;
use super::record::{Record, RunKind, u32_at, u64_at, u128_at};
use super::write::{MAGIC, TRAILER_BYTES, VERSION};
use crate::objects::{ObjectError, Objects};

/// Why a run cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The file could not be read.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// A newer program wrote it.
    #[error("run `{path}` has version {version}; this program reads version {VERSION}")]
    Version {
        /// The run.
        path: String,
        /// Its version.
        version: u16,
    },
    /// The bytes are not what was written.
    #[error("run `{path}` is damaged: {what}")]
    Damaged {
        /// The run.
        path: String,
        /// What is wrong.
        what: &'static str,
    },
}

/// A run that was checked.
pub(crate) struct Run {
    bytes: RunBytes,
    record_bytes: usize,
    records: usize,
    kind: RunKind,
}

impl Run {
    /// Opens and checks a run: trailer, kind, lengths and the checksum of everything.
    pub(crate) fn open(
        objects: &dyn Objects,
        run: &RunRef,
        kind: RunKind,
        record_bytes: usize,
    ) -> Result<Self, RunError> {
        let bytes = RunBytes::of(objects, &run.path, run.bytes)?;
        let damaged = |what| RunError::Damaged { path: run.path.clone(), what };
        let all = bytes.as_ref();
        let start = all.len().checked_sub(TRAILER_BYTES).ok_or_else(|| damaged("shorter than its trailer"))?;
        let (body, trailer) = all.split_at(start);
        if trailer.get(..4) != Some(&MAGIC[..]) {
            return Err(damaged("no trailer"));
        }
        let word = u32_at(trailer, 4).unwrap_or_default();
        let (version, stored_kind) = (word as u16, (word >> 16) as u16);
        if version != VERSION {
            return Err(RunError::Version { path: run.path.clone(), version });
        }
        if crc32c::crc32c(&trailer[..TRAILER_BYTES - 4]) != u32_at(trailer, TRAILER_BYTES - 4).unwrap_or_default() {
            return Err(damaged("the trailer's checksum differs"));
        }
        let records = u64_at(trailer, 8).and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        let expected =
            records.checked_mul(record_bytes).and_then(|n| n.checked_add(usize::try_from(u64_at(trailer, 16)?).ok()?));
        let body_crc = u32_at(trailer, 28).unwrap_or_default();
        if stored_kind != kind.to_u16() || u32_at(trailer, 24) != u32::try_from(record_bytes).ok() {
            return Err(damaged("it holds other records"));
        }
        if expected != Some(body.len()) || all.len() as u64 != run.bytes || records as u64 != run.records {
            return Err(damaged("its length differs"));
        }
        if body_crc != run.crc32c || crc32c::crc32c(body) != body_crc {
            return Err(damaged("the checksum differs"));
        }
        Ok(Self { bytes, record_bytes, records, kind })
    }

    /// What it holds.
    pub(crate) const fn kind(&self) -> RunKind {
        self.kind
    }

    /// What no checksum tells: the first record that is out of order, or that the filter does not show.
    pub(crate) fn fault<R: Record>(&self) -> Option<String> {
        let several = self.kind == RunKind::Retired;
        let mut before: Option<&[u8]> = None;
        for i in 0..self.records {
            let bytes = self.record(i)?;
            // of retired ranges the first seq comes behind the stream, which may have several
            let order = |bytes: &[u8]| (u128_at(bytes, 0), if several { u64_at(bytes, 16) } else { None });
            if before.is_some_and(|before| order(before) >= order(bytes)) {
                return Some(format!("record {i} is out of order: a search may pass it over"));
            }
            before = Some(bytes);
            let key = R::decode(bytes).map(|record| record.key());
            if key.is_none_or(|key| !filter::may_hold(self.filter(), key)) {
                return Some(format!("its filter does not show record {i}: a search passes it over"));
            }
        }
        None
    }

    /// Number of records.
    pub(crate) const fn len(&self) -> usize {
        self.records
    }

    fn record(&self, i: usize) -> Option<&[u8]> {
        self.bytes.as_ref().get(i * self.record_bytes..(i + 1) * self.record_bytes)
    }

    fn filter(&self) -> &[u8] {
        let all = self.bytes.as_ref();
        all.get(self.records * self.record_bytes..all.len().saturating_sub(TRAILER_BYTES)).unwrap_or(&[])
    }

    /// A byte of the filter's block that [`find`](Self::find) of a key asks.
    pub(crate) fn filter_byte(&self, key: u128) -> Option<u8> {
        filter::block_of(self.filter(), key)?.first().copied()
    }

    /// A byte of the record that [`find`](Self::find) of a key looks at first; `None`: it looks at none.
    pub(crate) fn record_byte(&self, key: u128) -> Option<u8> {
        if !filter::may_hold(self.filter(), key) {
            return None;
        }
        let (low, high) = ((0, 0), (self.records, u128::MAX));
        let first = if self.records > 64 { guess(key, low, high) } else { self.records / 2 };
        self.record(first)?.first().copied()
    }

    /// The record of a key.
    #[must_use]
    pub(crate) fn find<R: Record>(&self, key: u128) -> Option<R> {
        if self.record_bytes != R::BYTES || !filter::may_hold(self.filter(), key) {
            return None;
        }
        let key_at = |i: usize| self.record(i).and_then(|r| u128_at(r, 0)).unwrap_or(u128::MAX);
        let (mut low, mut high) = (0, self.records);
        let (mut low_key, mut high_key) = (0_u128, u128::MAX);
        while low < high {
            // keys are hashes, evenly spread: interpolation lands within a few records; halving bounds the worst case
            let i = if high - low > 64 { guess(key, (low, low_key), (high, high_key)) } else { low + (high - low) / 2 };
            let found = key_at(i);
            match found.cmp(&key) {
                std::cmp::Ordering::Equal => return self.record(i).and_then(R::decode),
                std::cmp::Ordering::Less => (low, low_key) = (i + 1, found),
                std::cmp::Ordering::Greater => (high, high_key) = (i, found),
            }
            if high - low > 64 {
                let middle = low + (high - low) / 2;
                match key_at(middle).cmp(&key) {
                    std::cmp::Ordering::Equal => return self.record(middle).and_then(R::decode),
                    std::cmp::Ordering::Less => (low, low_key) = (middle + 1, key_at(middle)),
                    std::cmp::Ordering::Greater => (high, high_key) = (middle, key_at(middle)),
                }
            }
        }
        None
    }

    /// All records of a key, in their order.
    #[must_use]
    pub(crate) fn all_of<R: Record>(&self, key: u128) -> Vec<R> {
        if self.record_bytes != R::BYTES || !filter::may_hold(self.filter(), key) {
            return Vec::new();
        }
        let key_at = |i: usize| self.record(i).and_then(|r| u128_at(r, 0)).unwrap_or(u128::MAX);
        let (mut low, mut high) = (0, self.records);
        while low < high {
            let middle = low + (high - low) / 2;
            if key_at(middle) < key { low = middle + 1 } else { high = middle }
        }
        (low..self.records).take_while(|i| key_at(*i) == key).filter_map(|i| R::decode(self.record(i)?)).collect()
    }

    /// All records, by key.
    pub(crate) fn iter<R: Record>(&self) -> impl Iterator<Item = R> + '_ {
        let records = if self.record_bytes == R::BYTES { self.records } else { 0 };
        (0..records).filter_map(|i| self.record(i).and_then(R::decode))
    }
}

/// Where a key should stand between two others, in `low..high`.
fn guess(key: u128, (low, low_key): (usize, u128), (high, high_key): (usize, u128)) -> usize {
    let width = (high_key.saturating_sub(low_key) >> 64) as u64;
    let into = (key.saturating_sub(low_key) >> 64) as u64;
    let places = (high - low) as u128;
    let step = if width == 0 { places / 2 } else { u128::from(into) * places / u128::from(width) };
    low + usize::try_from(step.min(places - 1)).unwrap_or(0)
}
