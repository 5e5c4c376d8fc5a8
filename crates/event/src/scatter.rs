//! A counter, scattered: who sees some of its numbers is not told how many lie between them.
//!
//! Ids of the form `uuidv7` are made of these numbers, one a batch, and the counter is that of all tenants: a difference
//! of two ids that one tenant was given must not be a count of what others appended between.
//!
//! ```text
//!  c   a number of the counter, below 2^62
//!  h = F(c)                   30 bits  \
//!  l = G(h) ^ (c mod 2^24)    24 bits   } three rounds of a Feistel network, the first over all of c
//!  k = H(l) ^ h               30 bits  /
//!  k, l: 54 bits, what an id has beside its millisecond and its row
//! ```
//!
//! F, G and H are SipHash-1-3 under one key of 128 bits, random for each start of a node; two bits before their input tell
//! them apart. (Aumasson and Bernstein; Luby and Rackoff, "How to construct pseudorandom permutations".)
//!
//! - **Unique**: k and l give h, and h and l give c mod 2^24, so of 2^24 numbers in a row no two are scattered to the same.
//!   That is more than all logs of a store take in a millisecond (10,000, whose clocks give a batch a microsecond). What lies
//!   further apart, or has another key, meets by chance: one pair of 2^54 within a millisecond.
//! - **Untold**: no c comes twice, so to who has not the key each h looks drawn at random, and with it l, but for pairs that
//!   have the same h (one of 2^30); k hides which these are, under H, which nobody sees.
//!
//! It refuses to be a cipher of anything else: nothing is ever read out of an id.

use siphasher::sip::SipHasher13;
use std::fmt;

/// Bits of a scattered number.
pub const SCATTERED_BITS: u32 = HIGH_BITS + LOW_BITS;
const HIGH_BITS: u32 = 30;
const LOW_BITS: u32 = 24;
/// Where the number of the round stands, above what is hashed.
const ROUND_SHIFT: u32 = 62;

/// Scatters numbers under a key. Cheap: three short hashes a number.
#[derive(Clone)]
pub struct Scatter(SipHasher13);

impl Scatter {
    /// `key`: random bits of this start of the node, that nobody is told.
    #[must_use]
    pub fn new(key: u128) -> Self {
        Self(SipHasher13::new_with_keys((key >> 64) as u64, key as u64))
    }

    /// A number of the counter, scattered over [`SCATTERED_BITS`].
    #[must_use]
    pub fn scatter(&self, number: u64) -> u64 {
        self.within(number, HIGH_BITS, LOW_BITS)
    }

    fn within(&self, number: u64, high_bits: u32, low_bits: u32) -> u64 {
        let (high_mask, low_mask): (u64, u64) = ((1 << high_bits) - 1, (1 << low_bits) - 1);
        let high = self.round(0, number) & high_mask;
        let low = (self.round(1, high) ^ number) & low_mask;
        let hidden = (self.round(2, low) ^ high) & high_mask;
        hidden << low_bits | low
    }

    fn round(&self, round: u64, input: u64) -> u64 {
        self.0.hash(&(round << ROUND_SHIFT | input).to_le_bytes())
    }
}

impl fmt::Debug for Scatter {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scatter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const KEY: u128 = 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978;

    /// What a counter by itself has: one difference for each number of steps between. (A mask of bits has two or three.)
    #[test]
    fn how_far_two_numbers_lie_apart_does_not_show() {
        let scatter = Scatter::new(KEY);
        let numbers: Vec<u64> = (0..4096).map(|number| scatter.scatter(number)).collect();
        let mask: u64 = (1 << SCATTERED_BITS) - 1;
        for apart in [1, 2, 3, 64, 1000] {
            let pairs = || numbers.iter().zip(&numbers[apart..]);
            let differences: HashSet<u64> = pairs().map(|(a, b)| b.wrapping_sub(*a) & mask).collect();
            let flips: HashSet<u64> = pairs().map(|(a, b)| a ^ b).collect();
            let count = numbers.len() - apart;
            assert_eq!((differences.len(), flips.len()), (count, count), "{apart} apart");
            // half of them rise: within six standard deviations
            let rising = pairs().filter(|(a, b)| a < b).count();
            assert!(rising.abs_diff(count / 2) < 200, "{apart} apart: {rising} of {count} rise");
        }
    }

    #[test]
    fn each_bit_is_set_in_half_of_all_numbers() {
        for key in [0, 1, KEY, u128::MAX] {
            let scatter = Scatter::new(key);
            for bit in 0..SCATTERED_BITS {
                let set = (0..4096).filter(|number| scatter.scatter(*number) >> bit & 1 == 1).count();
                assert!(set.abs_diff(2048) < 200, "bit {bit}: {set}");
            }
            assert!((0..4096).all(|number| scatter.scatter(number) >> SCATTERED_BITS == 0));
        }
    }

    #[test]
    fn numbers_in_a_row_never_meet_wherever_the_row_begins() {
        let scatter = Scatter::new(KEY);
        let row = 1 << 20;
        let numbers: HashSet<u64> = (7..7 + row).map(|number| scatter.scatter(number)).collect();
        assert_eq!(numbers.len() as u64, row);
        // all of them, of as many as the low bits tell apart: here chance alone would let some meet
        for key in 0..64 {
            let scatter = Scatter::new(key);
            for first in [0, 1, 255, 256, 1000, (1 << ROUND_SHIFT) - 256] {
                let small: HashSet<u64> = (0..256).map(|n| scatter.within(first + n, 3, 8)).collect();
                assert_eq!(small.len(), 256, "key {key}, from {first}");
                assert!(small.iter().all(|number| *number < 1 << 11));
            }
        }
    }

    #[test]
    fn the_key_says_where_numbers_go_and_is_not_printed() {
        let of = |key: u128| (0..1000).map(|number| Scatter::new(key).scatter(number)).collect::<HashSet<u64>>();
        assert_eq!(of(KEY), of(KEY));
        for other in [KEY ^ 1, KEY ^ 1 << 64, KEY ^ 1 << 127] {
            assert!(of(KEY).is_disjoint(&of(other)));
        }
        assert_eq!(format!("{:?}", Scatter::new(KEY)), "Scatter");
    }
}
