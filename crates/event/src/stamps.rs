//! What the owner assigns to a batch when it accepts it: seqs, ingested_at, the prefix of ids.
//!
//! Stands before the archive in the payload of a log frame. Version 1, little-endian:
//!
//! ```text
//!  0  u32  length of the stamps in bytes, a multiple of 16 (the archive begins there)
//!  4  u32  rows
//!  8  i64  ingested_at of the first row, microseconds
//! 16  16   id prefix (low 20 bits zero), big-endian as UUIDs are
//! 32  rows x u64  seq of the row
//!     rows x u32  microseconds after the first row's ingested_at
//!     zeros to the next multiple of 16
//! ```
//!
//! Version 2, told by the greater length: rows of a chunk that were refused when the others were stored, so that a retry
//! of the chunk never calls them stored. After the zeros above:
//!
//! ```text
//!     u32  number of refused rows, not 0
//!     n x u32  row of the request, ascending
//!     zeros to the next multiple of 16
//! ```
//!
//! Version 3, told by bit 31 of the rows: they are of several tenants, and each is told nothing of how many rows of others stand before its own. The low 20
//! bits of an id are the row's [place](crate::places), and a row's moment is its rank in its own stream, so moments may fall from row to row. Behind
//! the moments, before the zeros:
//!
//! ```text
//!     u64  key of the places, not 0
//!     u32  the largest number of microseconds after the first row's ingested_at, which is that of all rows that are the first of their stream
//! ```
//!
//! Refused rows stand behind the zeros as in version 2.

use crate::bytes::SharedBytes;
use crate::id::{EventId, IdPrefix};
use crate::num::{Micros, Seq};
use crate::places::Places;
use std::num::NonZeroU64;

const FIXED_BYTES: usize = 32;
const ROW_BYTES: usize = 12;
/// Of version 3: the key of the places, and the largest moment.
const PLACES_BYTES: usize = 12;
/// In the number of rows: they have places.
const HAS_PLACES: u32 = 1 << 31;

/// Why bytes are not stamps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the stamps of the batch are damaged")]
pub struct StampsError;

/// Assigned values of a batch, read in place. Immutable.
#[derive(Clone, Debug)]
pub struct Stamps {
    bytes: SharedBytes,
    rows: usize,
    refused: u32,
    has_places: bool,
}

impl Stamps {
    /// Length in bytes of the stamps of `rows` rows.
    #[must_use]
    pub const fn len_for(rows: usize) -> usize {
        Self::len_with(rows, false)
    }

    /// Length in bytes of the stamps of a request of `rows` rows at most, whosever they are and however many of them are stored: a row that is left out
    /// takes less in the list of these than its stamps would.
    #[must_use]
    pub const fn len_max_for(rows: usize) -> usize {
        Self::len_for(rows) + 16
    }

    const fn len_with(rows: usize, has_places: bool) -> usize {
        let more = if has_places { PLACES_BYTES } else { 0 };
        (FIXED_BYTES + rows * ROW_BYTES + more).next_multiple_of(16)
    }

    /// Length in bytes of what stands behind them for `refused` rows.
    #[must_use]
    pub const fn refused_len(refused: usize) -> usize {
        if refused == 0 { 0 } else { (4 + refused * 4).next_multiple_of(16) }
    }

    /// Of rows with these seqs, each taken so many microseconds after the first one. `refused`: rows of the request, ascending.
    #[must_use]
    pub fn of_rows((first, prefix): (Micros, IdPrefix), seqs: &[u64], after_us: &[u32], refused: &[u32]) -> Self {
        if let ([seq], [after_us], []) = (seqs, after_us, refused) {
            return Self::of_one(first, prefix, *seq, *after_us);
        }
        Self::of_all((first, prefix), None, (seqs, after_us), refused)
    }

    /// The same of rows of several tenants, whose ids have the places of this key. Moments may fall from row to row.
    #[must_use]
    pub fn of_tenants(
        (first, prefix): (Micros, IdPrefix),
        places: NonZeroU64,
        (seqs, after_us): (&[u64], &[u32]),
        refused: &[u32],
    ) -> Self {
        Self::of_all((first, prefix), Some(places), (seqs, after_us), refused)
    }

    fn of_all(
        (first, prefix): (Micros, IdPrefix),
        places: Option<NonZeroU64>,
        (seqs, after_us): (&[u64], &[u32]),
        refused: &[u32],
    ) -> Self {
        let (rows, has_places) = (seqs.len(), places.is_some());
        if after_us.len() != rows {
            crate::invariant::broken("a batch has another number of moments than of seqs");
        }
        let fixed = Self::len_with(rows, has_places);
        let len = fixed + Self::refused_len(refused.len());
        let mut out = rkyv::util::AlignedVec::<16>::with_capacity(len);
        out.extend_from_slice(&(len as u32).to_le_bytes());
        let told = if has_places { HAS_PLACES } else { 0 };
        out.extend_from_slice(&(rows as u32 | told).to_le_bytes());
        out.extend_from_slice(&first.0.to_le_bytes());
        out.extend_from_slice(&prefix.to_bytes());
        for seq in seqs {
            out.extend_from_slice(&seq.to_le_bytes());
        }
        for after_us in after_us {
            out.extend_from_slice(&after_us.to_le_bytes());
        }
        if let Some(key) = places {
            out.extend_from_slice(&key.get().to_le_bytes());
            out.extend_from_slice(&after_us.iter().copied().max().unwrap_or(0).to_le_bytes());
        }
        out.resize(fixed, 0);
        if !refused.is_empty() {
            out.extend_from_slice(&(refused.len() as u32).to_le_bytes());
            for row in refused {
                out.extend_from_slice(&row.to_le_bytes());
            }
            out.resize(len, 0);
        }
        Self { bytes: SharedBytes::from_aligned(out), rows, refused: refused.len() as u32, has_places }
    }

    /// Of the one row of most appends: the bytes stand beside the count of who shares them, one allocation for both.
    fn of_one(first: Micros, prefix: IdPrefix, seq: u64, after_us: u32) -> Self {
        const LEN: usize = Stamps::len_for(1);
        let mut out = [0; LEN];
        out[0..4].copy_from_slice(&(LEN as u32).to_le_bytes());
        out[4..8].copy_from_slice(&1_u32.to_le_bytes());
        out[8..16].copy_from_slice(&first.0.to_le_bytes());
        out[16..FIXED_BYTES].copy_from_slice(&prefix.to_bytes());
        out[FIXED_BYTES..FIXED_BYTES + 8].copy_from_slice(&seq.to_le_bytes());
        out[FIXED_BYTES + 8..FIXED_BYTES + ROW_BYTES].copy_from_slice(&after_us.to_le_bytes());
        Self { bytes: SharedBytes::new(out), rows: 1, refused: 0, has_places: false }
    }

    /// Reads the stamps at the start of a payload.
    pub fn parse(payload: &SharedBytes) -> Result<Self, StampsError> {
        let len = read_u32(payload, 0).ok_or(StampsError)? as usize;
        let rows = read_u32(payload, 4).ok_or(StampsError)?;
        let (rows, has_places) = ((rows & !HAS_PLACES) as usize, rows & HAS_PLACES != 0);
        if rows > crate::limits::BATCH_ROWS_MAX {
            return Err(StampsError);
        }
        let fixed = Self::len_with(rows, has_places);
        let refused = if len == fixed { 0 } else { read_u32(payload, fixed).ok_or(StampsError)? };
        if refused as usize > crate::limits::BATCH_ROWS_MAX || len != fixed + Self::refused_len(refused as usize) {
            return Err(StampsError);
        }
        let bytes = payload.slice(0..len).ok_or(StampsError)?;
        let stamps = Self { bytes, rows, refused, has_places };
        if has_places && stamps.places_key().is_none() {
            return Err(StampsError);
        }
        Ok(stamps)
    }

    /// Number of rows.
    #[must_use]
    #[inline]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Rows of the request that were refused when these were stored, ascending; kept for chunks only.
    pub fn refused(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        let at = Self::len_with(self.rows, self.has_places) + 4;
        (0..self.refused as usize).map(move |n| read_u32(&self.bytes, at + n * 4).unwrap_or(0))
    }

    /// As stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) const fn shared(&self) -> &SharedBytes {
        &self.bytes
    }

    /// ingested_at of the first row: the smallest of the batch.
    #[must_use]
    #[inline]
    pub fn first_ingested_at(&self) -> Micros {
        Micros(read_u64(&self.bytes, 8).unwrap_or(0) as i64)
    }

    /// The largest ingested_at of the batch; without places that of its last row.
    #[must_use]
    pub fn last_ingested_at(&self) -> Micros {
        if self.has_places {
            let largest = read_u32(&self.bytes, self.behind_rows() + 8).unwrap_or(0);
            return self.first_ingested_at().plus_us(i64::from(largest));
        }
        self.ingested_at(self.rows.saturating_sub(1))
    }

    /// Whether the largest moment is the one that is said: nothing else proves it of rows that have places.
    pub(crate) fn are_sound(&self) -> bool {
        if !self.has_places {
            return true;
        }
        (0..self.rows).map(|row| self.ingested_at(row)).max() == Some(self.last_ingested_at())
    }

    /// ingested_at of a row.
    #[must_use]
    #[inline]
    pub fn ingested_at(&self, row: usize) -> Micros {
        let at = FIXED_BYTES + self.rows * 8 + row * 4;
        self.first_ingested_at().plus_us(i64::from(read_u32(&self.bytes, at).unwrap_or(0)))
    }

    /// Seq of a row.
    #[must_use]
    #[inline]
    pub fn seq(&self, row: usize) -> Seq {
        Seq(read_u64(&self.bytes, FIXED_BYTES + row * 8).unwrap_or(0))
    }

    /// What the server-made ids of the batch share.
    #[must_use]
    #[inline]
    pub fn id_prefix(&self) -> IdPrefix {
        let mut bytes = [0; 16];
        if let Some(stored) = self.bytes.get(16..32) {
            bytes.copy_from_slice(stored);
        }
        IdPrefix::from_bytes(bytes)
    }

    /// The key of the rows' places; `None`: each stands in its id itself.
    #[must_use]
    #[inline]
    pub fn places_key(&self) -> Option<NonZeroU64> {
        if !self.has_places {
            return None;
        }
        NonZeroU64::new(read_u64(&self.bytes, self.behind_rows())?)
    }

    /// Where the rows' moments end.
    const fn behind_rows(&self) -> usize {
        FIXED_BYTES + self.rows * ROW_BYTES
    }

    /// The server-made id of a row.
    #[must_use]
    #[inline]
    pub fn made_id(&self, row: usize) -> EventId {
        let row = row as u32;
        let place = self.places_key().map_or(row, |key| Places::new(key).place_of(row));
        self.id_prefix().id(place)
    }

    /// The row that has this server-made id.
    #[must_use]
    pub fn row_of_made_id(&self, id: EventId) -> Option<usize> {
        let place = IdPrefix::row_of(id);
        let row = self.places_key().map_or(place, |key| Places::new(key).row_at(place)) as usize;
        (row < self.rows && IdPrefix::of(id) == self.id_prefix()).then_some(row)
    }
}

/// Collects the assigned values row by row.
#[derive(Debug)]
pub struct StampsBuilder {
    first: Micros,
    prefix: IdPrefix,
    seqs: Vec<u64>,
    deltas_us: Vec<u32>,
    refused: Vec<u32>,
    places: Option<NonZeroU64>,
}

impl StampsBuilder {
    /// Begins with the first row's moment and the batch's id prefix.
    #[must_use]
    pub fn new(first: Micros, prefix: IdPrefix, rows: usize) -> Self {
        let (seqs, deltas_us) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        Self { first, prefix, seqs, deltas_us, refused: Vec::new(), places: None }
    }

    /// The next row. `ingested_at` never falls, but where rows have places; it is never before the first one, and at most 71 minutes after it (a batch has
    /// 2^20 rows at most).
    pub fn push(&mut self, seq: Seq, ingested_at: Micros) {
        self.seqs.push(seq.0);
        let delta = ingested_at.0.saturating_sub(self.first.0);
        let Ok(delta) = u32::try_from(delta) else {
            crate::invariant::broken("ingested_at of a row lies outside its batch")
        };
        self.deltas_us.push(delta);
    }

    /// Rows of the request that were refused, ascending.
    pub fn set_refused(&mut self, rows: &[u32]) {
        self.refused = rows.to_vec();
    }

    /// The rows are of several tenants: their ids have the places of this key.
    pub fn set_places(&mut self, key: NonZeroU64) {
        self.places = Some(key);
    }

    /// The stamps.
    #[must_use]
    pub fn finish(self) -> Stamps {
        let Self { first, prefix, seqs, deltas_us, refused, places } = self;
        match places {
            None => Stamps::of_rows((first, prefix), &seqs, &deltas_us, &refused),
            Some(key) => Stamps::of_tenants((first, prefix), key, (&seqs, &deltas_us), &refused),
        }
    }
}

#[inline]
fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[inline]
fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
