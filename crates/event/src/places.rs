//! Places of rows in ids: who sees some ids of a batch is not told which of its rows these are.
//!
//! Where the rows of a batch are of several tenants, a row's number in its id would tell its tenant how many rows of others stand before it. There
//! an id has a place in the low bits instead: the row under a permutation of all 2^20.
//!
//! ```text
//!  row         = left . right                                   10 bits each
//!  six times:    left, right  =  right, left ^ F(round, right)
//!  place       = left . right
//! ```
//!
//! F is the low 10 bits of SipHash-1-3 of four bytes (the round above 16 bits, then the half), under a key of the batch.
//!
//! - **One to one**: a round can be undone, whatever F is, so each place leads back to its row and no list of them is kept.
//! - **Untold**: what is known of Feistel networks of six rounds needs all pairs of row and place to tell one from any other permutation (Patarin, "Generic
//!   attacks on Feistel schemes"); who looks has some places of one batch, and no row. The key is of 64 bits: who could try all of them would find it.
//!
//! It refuses to know what a key is made of: see who stamps.

use siphasher::sip::SipHasher13;
use std::fmt;
use std::num::NonZeroU64;

const HALF_BITS: u32 = crate::id::ROW_BITS / 2;
const HALF_MASK: u32 = (1 << HALF_BITS) - 1;
const ROUNDS: u32 = 6;
/// Where the number of the round stands, above what is hashed.
const ROUND_SHIFT: u32 = 16;
/// The second half of the key of SipHash.
const KEY_1: u64 = u64::from_le_bytes(*b"row bits");

/// The permutation of a batch.
#[derive(Clone)]
pub struct Places(SipHasher13);

impl Places {
    /// Under the key that stands in the stamps of the batch.
    #[must_use]
    #[inline]
    pub fn new(key: NonZeroU64) -> Self {
        Self(SipHasher13::new_with_keys(key.get(), KEY_1))
    }

    /// The place of a row (below 2^20).
    #[must_use]
    pub fn place_of(&self, row: u32) -> u32 {
        let (mut left, mut right) = halves(row);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.round(round, right));
        }
        left << HALF_BITS | right
    }

    /// The row that has a place (below 2^20).
    #[must_use]
    pub fn row_at(&self, place: u32) -> u32 {
        let (mut left, mut right) = halves(place);
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ self.round(round, left), left);
        }
        left << HALF_BITS | right
    }

    fn round(&self, round: u32, half: u32) -> u32 {
        self.0.hash(&(round << ROUND_SHIFT | half).to_le_bytes()) as u32 & HALF_MASK
    }
}

const fn halves(number: u32) -> (u32, u32) {
    (number >> HALF_BITS & HALF_MASK, number & HALF_MASK)
}

impl fmt::Debug for Places {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Places")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ROW_BITS;
    use std::collections::HashSet;

    const KEY: u64 = 0x0123_4567_89ab_cdef;

    fn places(key: u64) -> Places {
        Places::new(NonZeroU64::new(key).unwrap())
    }

    #[test]
    fn every_place_is_of_one_row_and_leads_back_to_it() {
        for key in [1, KEY, u64::MAX] {
            let (places, mut taken) = (places(key), vec![false; 1 << ROW_BITS]);
            for row in 0..1 << ROW_BITS {
                let place = places.place_of(row);
                assert!(!std::mem::replace(&mut taken[place as usize], true), "place {place}, of row {row} too");
                assert_eq!(places.row_at(place), row);
            }
        }
    }

    /// What a row by itself has: one difference for each number of rows between.
    #[test]
    fn how_far_two_rows_lie_apart_does_not_show() {
        let places = places(KEY);
        let all: Vec<u32> = (0..4096).map(|row| places.place_of(row)).collect();
        let mask: u32 = (1 << ROW_BITS) - 1;
        for apart in [1, 2, 3, 64, 1000, 1024, 2048] {
            let pairs = || all.iter().zip(&all[apart..]);
            let count = all.len() - apart;
            let differences: HashSet<u32> = pairs().map(|(a, b)| b.wrapping_sub(*a) & mask).collect();
            // of 2^20, some meet by chance: about eight of 4,096
            assert!(differences.len() > count - 40, "{apart} apart: {} of {count}", differences.len());
            // half of them rise: within six standard deviations
            let rising = pairs().filter(|(a, b)| a < b).count();
            assert!(rising.abs_diff(count / 2) < 200, "{apart} apart: {rising} of {count} rise");
        }
        for bit in 0..ROW_BITS {
            let set = all.iter().filter(|place| **place >> bit & 1 == 1).count();
            assert!(set.abs_diff(all.len() / 2) < 200, "bit {bit}: {set}");
        }
    }

    /// They stand in ids, and ids in logs: these values must never change.
    #[test]
    fn places_are_fixed_for_ever() {
        let of = |key: u64, rows: [u32; 6]| rows.map(|row| places(key).place_of(row));
        let rows = [0, 1, 2, 1023, 1024, (1 << ROW_BITS) - 1];
        assert_eq!(of(1, rows), GOLDEN[0]);
        assert_eq!(of(KEY, rows), GOLDEN[1]);
        assert_eq!(of(u64::MAX, rows), GOLDEN[2]);
    }

    #[test]
    fn the_key_is_not_printed() {
        assert_eq!(format!("{:?}", places(KEY)), "Places");
    }

    const GOLDEN: [[u32; 6]; 3] = [
        [876_004, 238_005, 670_313, 64_202, 794_448, 108_726],
        [1_034_396, 469_413, 37_861, 995_781, 674_279, 623_609],
        [499_071, 817_113, 77_384, 572_883, 99_382, 988_513],
    ];
}
