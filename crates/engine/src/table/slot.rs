//! What a part holds of each of its entries.

use std::fmt::Debug;
use std::ops::Range;

/// Of one entry.
pub(crate) trait Slot: Copy + Debug {
    /// Where in its part an entry of this key is looked for: bits of their own beside those that tell the part.
    fn hash_of(key: u128) -> u64;

    /// Whether it knows this bit of its entry's key.
    fn knows(bit: u32) -> bool;

    /// Of an entry at `place`.
    fn new(place: u32, key: u128) -> Self;

    /// Where the entry is.
    fn place(self) -> u32;

    /// `false`: the entry has another key.
    fn may_be(self, key: u128) -> bool;

    /// [`hash_of`](Self::hash_of) the entry's key; `key_at` looks at the entry.
    fn hash(self, key_at: impl Fn(u32) -> u128) -> u64;

    /// Whether this bit of the entry's key is set; `key_at` looks at the entry.
    fn has_bit(self, bit: u32, key_at: impl Fn(u32) -> u128) -> bool;
}

const fn whole_hash_of(key: u128) -> u64 {
    (key >> 64) as u64 ^ key as u64
}

const fn is_set(key: u128, bit: u32) -> bool {
    (key >> bit) & 1 == 1
}

/// The place alone: four bytes, and whoever wants to know more looks at the entry.
impl Slot for u32 {
    fn hash_of(key: u128) -> u64 {
        whole_hash_of(key)
    }

    fn knows(_: u32) -> bool {
        false
    }

    fn new(place: u32, _: u128) -> Self {
        place
    }

    fn place(self) -> u32 {
        self
    }

    fn may_be(self, _: u128) -> bool {
        true
    }

    fn hash(self, key_at: impl Fn(u32) -> u128) -> u64 {
        Self::hash_of(key_at(self))
    }

    fn has_bit(self, bit: u32, key_at: impl Fn(u32) -> u128) -> bool {
        is_set(key_at(self), bit)
    }
}

/// Bits of a key that are kept to tell parts: those of 16 to 131,072 parts (213 million entries). Fewer parts have so few entries that these
/// stand in a cache.
const KEPT: Range<u32> = 4..17;
/// Bits of a hash that choose among 4,096 buckets, the most that a part comes to.
const START_BITS: u32 = 12;
/// Where the seven bits stand that a hash table compares before it looks at a slot.
const TAG_AT: u32 = 57;

/// The place and four bytes of the key, by which a part is split and grows, and other keys are told from the wanted one, without a look at an
/// entry: where entries are many, each such look waits for memory. For keys that no client can choose: the hash has few bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    place: u32,
    /// From below: the bits that tell parts, those of the start, those of the tag.
    bits: u32,
}

const START_AT: u32 = KEPT.end - KEPT.start;
const TAG_BITS_AT: u32 = START_AT + START_BITS;
const START_MASK: u32 = (1 << START_BITS) - 1;

impl Told {
    const fn bits_of(key: u128) -> u32 {
        let (parts, hash) = ((key >> KEPT.start) as u32 & ((1 << START_AT) - 1), whole_hash_of(key));
        parts | ((hash as u32 & START_MASK) << START_AT) | (((hash >> TAG_AT) as u32) << TAG_BITS_AT)
    }

    const fn hash_of_bits(bits: u32) -> u64 {
        (((bits >> TAG_BITS_AT) as u64) << TAG_AT) | ((bits >> START_AT) & START_MASK) as u64
    }
}

impl Slot for Told {
    fn hash_of(key: u128) -> u64 {
        Self::hash_of_bits(Self::bits_of(key))
    }

    fn knows(bit: u32) -> bool {
        KEPT.contains(&bit)
    }

    fn new(place: u32, key: u128) -> Self {
        Self { place, bits: Self::bits_of(key) }
    }

    fn place(self) -> u32 {
        self.place
    }

    fn may_be(self, key: u128) -> bool {
        self.bits == Self::bits_of(key)
    }

    fn hash(self, _: impl Fn(u32) -> u128) -> u64 {
        Self::hash_of_bits(self.bits)
    }

    fn has_bit(self, bit: u32, key_at: impl Fn(u32) -> u128) -> bool {
        if Self::knows(bit) { (self.bits >> (bit - KEPT.start)) & 1 == 1 } else { is_set(key_at(self.place), bit) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_say_of_a_key_what_the_key_says() {
        for n in 0..2_000_u32 {
            let key = strandline_event::hash::stream_hash(&n.to_string());
            let key_at = |place: u32| if place == n { key } else { panic!("{place} is another one's place") };
            let (place, told) = (<u32 as Slot>::new(n, key), Told::new(n, key));
            assert_eq!((place.place(), told.place()), (n, n));
            assert!(place.may_be(key) && told.may_be(key) && !told.may_be(key ^ 1 << 9) && !told.may_be(key ^ 1 << 63));
            assert_eq!((place.hash(key_at), told.hash(key_at)), (u32::hash_of(key), Told::hash_of(key)));
            for bit in 0..40 {
                let is_set = key & 1 << bit != 0;
                assert_eq!((place.has_bit(bit, key_at), told.has_bit(bit, key_at)), (is_set, is_set));
            }
        }
    }

    #[test]
    fn four_bytes_of_a_key_start_and_compare_as_its_hash_does() {
        let key = 0xfedc_ba98_7654_3210_0000_0000_0000_0000_u128;
        let all = u32::hash_of(key);
        assert_eq!((all, Told::hash_of(key)), (0xfedc_ba98_7654_3210, 0xfe00_0000_0000_0210));
        assert_eq!(Told::new(1, key).hash(|_| panic!("it knows it")), Told::hash_of(key));
        assert_eq!(TAG_BITS_AT + 7, u32::BITS);
    }
}
