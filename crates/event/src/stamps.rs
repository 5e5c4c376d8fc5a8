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
//! Version 3, not read or written yet: where rows of a batch are of several tenants, each tenant is told by the row in its ids, and by moments behind
//! many rows of one stream, how many rows of others stand before its own. Told by bit 31 of the rows, which both versions before refuse. The low 20
//! bits of an id are the row under a permutation of 20 bits, and a row's moment is its rank in its own stream, so moments may fall from row to row. Behind
//! the moments, before the zeros:
//!
//! ```text
//!     u64  key of the permutation, random: a Feistel network of 10 + 10 bits, as in `scatter.rs`
//!     u32  the largest number of microseconds after the first row's ingested_at, which is that of all rows that are the first of their stream
//! ```
//!
//! Readers come one release before writers, who write it for bodies of several tenants alone. Who looks an id up undoes the permutation first.

use crate::bytes::SharedBytes;
use crate::id::{EventId, IdPrefix};
use crate::num::{Micros, Seq};

const FIXED_BYTES: usize = 32;
const ROW_BYTES: usize = 12;

/// Why bytes are not stamps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the stamps of the batch are damaged")]
pub struct StampsError;

/// Assigned values of a batch, read in place. Immutable.
#[derive(Clone, Debug)]
pub struct Stamps {
    bytes: SharedBytes,
    rows: usize,
    refused: usize,
}

impl Stamps {
    /// Length in bytes of the stamps of `rows` rows.
    #[must_use]
    pub const fn len_for(rows: usize) -> usize {
        (FIXED_BYTES + rows * ROW_BYTES).next_multiple_of(16)
    }

    /// Length in bytes of what stands behind them for `refused` rows.
    #[must_use]
    pub const fn refused_len(refused: usize) -> usize {
        if refused == 0 { 0 } else { (4 + refused * 4).next_multiple_of(16) }
    }

    /// Of rows with these seqs, each taken so many microseconds after the first one. `refused`: rows of the request, ascending.
    #[must_use]
    pub fn of_rows((first, prefix): (Micros, IdPrefix), seqs: &[u64], after_us: &[u32], refused: &[u32]) -> Self {
        let rows = seqs.len();
        if after_us.len() != rows {
            crate::invariant::broken("a batch has another number of moments than of seqs");
        }
        if let ([seq], [after_us], []) = (seqs, after_us, refused) {
            return Self::of_one(first, prefix, *seq, *after_us);
        }
        let fixed = Self::len_for(rows);
        let len = fixed + Self::refused_len(refused.len());
        let mut out = rkyv::util::AlignedVec::<16>::with_capacity(len);
        out.extend_from_slice(&(len as u32).to_le_bytes());
        out.extend_from_slice(&(rows as u32).to_le_bytes());
        out.extend_from_slice(&first.0.to_le_bytes());
        out.extend_from_slice(&prefix.to_bytes());
        for seq in seqs {
            out.extend_from_slice(&seq.to_le_bytes());
        }
        for after_us in after_us {
            out.extend_from_slice(&after_us.to_le_bytes());
        }
        out.resize(fixed, 0);
        if !refused.is_empty() {
            out.extend_from_slice(&(refused.len() as u32).to_le_bytes());
            for row in refused {
                out.extend_from_slice(&row.to_le_bytes());
            }
            out.resize(len, 0);
        }
        Self { bytes: SharedBytes::from_aligned(out), rows, refused: refused.len() }
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
        Self { bytes: SharedBytes::new(out), rows: 1, refused: 0 }
    }

    /// Reads the stamps at the start of a payload.
    pub fn parse(payload: &SharedBytes) -> Result<Self, StampsError> {
        let len = read_u32(payload, 0).ok_or(StampsError)? as usize;
        let rows = read_u32(payload, 4).ok_or(StampsError)? as usize;
        if rows > crate::limits::BATCH_ROWS_MAX {
            return Err(StampsError);
        }
        let fixed = Self::len_for(rows);
        let refused = if len == fixed { 0 } else { read_u32(payload, fixed).ok_or(StampsError)? as usize };
        if refused > crate::limits::BATCH_ROWS_MAX || len != fixed + Self::refused_len(refused) {
            return Err(StampsError);
        }
        let bytes = payload.slice(0..len).ok_or(StampsError)?;
        Ok(Self { bytes, rows, refused })
    }

    /// Number of rows.
    #[must_use]
    #[inline]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Rows of the request that were refused when these were stored, ascending; kept for chunks only.
    pub fn refused(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        let at = Self::len_for(self.rows) + 4;
        (0..self.refused).map(move |n| read_u32(&self.bytes, at + n * 4).unwrap_or(0))
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

    /// ingested_at of the last row: the largest of the batch.
    #[must_use]
    pub fn last_ingested_at(&self) -> Micros {
        self.ingested_at(self.rows.saturating_sub(1))
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

    /// The server-made id of a row.
    #[must_use]
    #[inline]
    pub fn made_id(&self, row: usize) -> EventId {
        self.id_prefix().id(row as u32)
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
}

impl StampsBuilder {
    /// Begins with the first row's moment and the batch's id prefix.
    #[must_use]
    pub fn new(first: Micros, prefix: IdPrefix, rows: usize) -> Self {
        let (seqs, deltas_us) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        Self { first, prefix, seqs, deltas_us, refused: Vec::new() }
    }

    /// The next row. `ingested_at` never falls; it is at most 71 minutes after the first (a batch has 2^20 rows at most).
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

    /// The stamps.
    #[must_use]
    pub fn finish(self) -> Stamps {
        Stamps::of_rows((self.first, self.prefix), &self.seqs, &self.deltas_us, &self.refused)
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
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_format_for_one_row_as_for_several() {
        let prefix = IdPrefix::v7(Micros(5_000), 7);
        for rows in [&[(9_u64, 3_u32)][..], &[(9, 0), (1 << 40, 5)], &[(1, 0), (2, 0), (3, 1)]] {
            let (seqs, after_us): (Vec<u64>, Vec<u32>) = rows.iter().copied().unzip();
            let stamps = Stamps::of_rows((Micros(-6), prefix), &seqs, &after_us, &[]);
            let mut wanted = Vec::new();
            wanted.extend((Stamps::len_for(rows.len()) as u32).to_le_bytes());
            wanted.extend((rows.len() as u32).to_le_bytes());
            wanted.extend((-6_i64).to_le_bytes());
            wanted.extend(prefix.to_bytes());
            wanted.extend(seqs.iter().flat_map(|seq| seq.to_le_bytes()));
            wanted.extend(after_us.iter().flat_map(|us| us.to_le_bytes()));
            wanted.resize(wanted.len().next_multiple_of(16), 0);
            assert_eq!(stamps.bytes(), wanted);
            let again = Stamps::parse(&SharedBytes::copy_aligned(&wanted)).unwrap();
            for (row, (seq, after_us)) in rows.iter().enumerate() {
                assert_eq!((again.seq(row), stamps.seq(row)), (Seq(*seq), Seq(*seq)));
                let at = Micros(-6 + i64::from(*after_us));
                assert_eq!((again.ingested_at(row), stamps.ingested_at(row)), (at, at));
            }
        }
    }
}
