//! How far a file of subject keys has come, as a store's data keeps it: a file that was cut, or an older copy of it, is known by that.
//! `SUBJECTS.md` says the bytes. Pure: bytes in, places out, and the other way round.

use super::folder::KeyName;
use super::record::RECORD_ALIGN;

/// Bytes of a place in version 1.
const V1_BYTES: usize = 48;
/// The same in version 2.
const V2_BYTES: usize = 80;
const V1: [u8; 8] = *b"SLREAC\x01\0";
const V2: [u8; 8] = *b"SLREAC\x02\0";
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
    /// The last key that this node made in a folder. A file has none.
    pub made: Option<KeyName>,
}

impl Slot {
    /// Its bytes: of version 1 where no key is named.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(V2_BYTES);
        out.extend_from_slice(if self.made.is_some() { &V2 } else { &V1 });
        out.extend_from_slice(&self.file);
        out.extend_from_slice(&self.turn.to_le_bytes());
        out.extend_from_slice(&self.reached.end.to_le_bytes());
        out.extend_from_slice(&self.reached.sum.to_le_bytes());
        if let Some(made) = &self.made {
            out.extend_from_slice(made);
        }
        let sum = crc32c::crc32c(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// From bytes that begin with it; `None`: they do not.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let length = if bytes.starts_with(&V2) { V2_BYTES } else { V1_BYTES };
        let bytes = bytes.get(..length)?;
        let (body, _) = bytes.split_last_chunk::<4>()?;
        let number = |at: usize| bytes.get(at..at + 8).and_then(|of| of.try_into().ok()).map(u64::from_le_bytes);
        let word = |at: usize| bytes.get(at..at + 4).and_then(|of| of.try_into().ok()).map(u32::from_le_bytes);
        if !(body.starts_with(&V1) || body.starts_with(&V2)) || word(body.len())? != crc32c::crc32c(body) {
            return None;
        }
        let reached = Reached { end: number(32)?, sum: word(40)? };
        // nothing is behind it in version 1
        let made = body.get(44..).and_then(|made| made.try_into().ok());
        Some(Self { file: body[8..24].try_into().ok()?, turn: number(24)?, reached, made })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_slot_goes_both_ways_and_no_changed_byte_is_taken(
            file: [u8; 16],
            turn: u64,
            end: u64,
            sum: u32,
            made: Option<[u8; 32]>,
        ) {
            let slot = Slot { file, turn, reached: Reached { end, sum }, made };
            let bytes = slot.encode();
            prop_assert_eq!(Slot::decode(&bytes), Some(slot));
            for at in 0..bytes.len() {
                let mut other = bytes.clone();
                other[at] ^= 1;
                prop_assert_eq!(Slot::decode(&other), None, "byte {}", at);
                prop_assert_eq!(Slot::decode(&bytes[..at]), None);
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_each_version() {
        let reached = Reached { end: 4304, sum: 0x0102_0304 };
        for (made, name) in [(None, "subject-reached-v1.bin"), (Some([5; 32]), "subject-reached-v2.bin")] {
            let slot = Slot { file: [7; 16], turn: 9, reached, made };
            let now = slot.encode();
            let there = crate::subject::tests::golden(name, &now);
            assert_eq!((now, Slot::decode(&there)), (there.clone(), Some(slot)));
        }
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
