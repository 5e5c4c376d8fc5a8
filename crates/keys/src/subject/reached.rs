//! How far a file of subject keys has come, as a store's data keeps it: a file that was cut, or an older copy of it, is known by that.
//! `SUBJECTS.md` says the bytes. Pure: bytes in, places out, and the other way round.

use super::record::RECORD_ALIGN;

/// Bytes of the place, at the begin of a slot.
pub const SLOT_BYTES: usize = 48;
const TITLE: [u8; 8] = *b"SLREAC\x01\0";
/// Where a record keeps its checksum, which stays when its secret is destroyed.
const RECORD_SUM: std::ops::Range<usize> = 8..12;

/// The end of a record, and what stands before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reached {
    /// The offset behind the record.
    pub end: u64,
    /// A checksum over the checksums of all records up to there.
    pub sum: u32,
}

impl Reached {
    /// Where the first record begins.
    #[must_use]
    pub const fn nothing(at: u64) -> Self {
        Self { end: at, sum: 0 }
    }

    /// Behind the next record, whose bytes these are.
    #[must_use]
    pub fn behind(self, record: &[u8]) -> Self {
        debug_assert!(record.len().is_multiple_of(RECORD_ALIGN));
        let sum = crc32c::crc32c_append(self.sum, record.get(RECORD_SUM).unwrap_or(&[]));
        Self { end: self.end + record.len() as u64, sum }
    }
}

/// One of the two places that are written in turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// The file's id.
    pub file: [u8; 16],
    /// Rises with each write.
    pub turn: u64,
    /// How far it has come.
    pub reached: Reached,
}

impl Slot {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut out = [0; SLOT_BYTES];
        out[..8].copy_from_slice(&TITLE);
        out[8..24].copy_from_slice(&self.file);
        out[24..32].copy_from_slice(&self.turn.to_le_bytes());
        out[32..40].copy_from_slice(&self.reached.end.to_le_bytes());
        out[40..44].copy_from_slice(&self.reached.sum.to_le_bytes());
        let sum = crc32c::crc32c(&out[..44]);
        out[44..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// From bytes that begin with it; `None`: they do not.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<SLOT_BYTES>()?;
        let number = |at: usize| bytes.get(at..at + 8).and_then(|of| of.try_into().ok()).map(u64::from_le_bytes);
        let word = |at: usize| bytes.get(at..at + 4).and_then(|of| of.try_into().ok()).map(u32::from_le_bytes);
        if bytes[..8] != TITLE || word(44)? != crc32c::crc32c(&bytes[..44]) {
            return None;
        }
        let reached = Reached { end: number(32)?, sum: word(40)? };
        Some(Self { file: bytes[8..24].try_into().ok()?, turn: number(24)?, reached })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_slot_goes_both_ways_and_no_changed_byte_is_taken(file: [u8; 16], turn: u64, end: u64, sum: u32) {
            let slot = Slot { file, turn, reached: Reached { end, sum } };
            let bytes = slot.encode();
            prop_assert_eq!(Slot::decode(&bytes), Some(slot));
            for at in 0..bytes.len() {
                let mut other = bytes;
                other[at] ^= 1;
                prop_assert_eq!(Slot::decode(&other), None, "byte {}", at);
                prop_assert_eq!(Slot::decode(&bytes[..at]), None);
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_first_version() {
        let slot = Slot { file: [7; 16], turn: 9, reached: Reached { end: 4304, sum: 0x0102_0304 } };
        let now = slot.encode();
        assert_eq!(now[..], crate::subject::tests::golden("subject-reached-v1.bin", &now));
    }

    /// Two files of equal length that differ in a record before the last one are told apart.
    #[test]
    fn the_sum_is_of_all_records_and_of_their_order() {
        let record = |sum: u32| {
            let mut bytes = [0; 80];
            bytes[RECORD_SUM].copy_from_slice(&sum.to_le_bytes());
            bytes
        };
        let of = |sums: [u32; 2]| sums.iter().fold(Reached::nothing(4096), |at, sum| at.behind(&record(*sum)));
        assert_eq!(of([1, 2]).end, 4096 + 160);
        assert_eq!(of([1, 2]), of([1, 2]));
        assert!(of([1, 2]) != of([3, 2]) && of([1, 2]) != of([2, 1]));
    }
}
