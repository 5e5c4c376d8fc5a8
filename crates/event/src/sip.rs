//! SipHash-1-3 with 128 bits, of two texts at once.
//!
//! Each step of a hash waits for the one before it, so that most of a processor has nothing to do; the steps of another text wait for none of
//! them. It refuses to be another hash: one text by itself is the business of the crate `siphasher`, and tests hold both to the same bits.
//!
//! Source: the SipHash paper (Aumasson, Bernstein); for 128 bits its reference implementation.

/// What the words of a text have come to.
#[derive(Clone, Copy)]
struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    const fn new((key0, key1): (u64, u64)) -> Self {
        Self {
            v0: key0 ^ 0x736f_6d65_7073_6575,
            // that 128 bits are wanted is a part of it
            v1: key1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            v2: key0 ^ 0x6c79_6765_6e65_7261,
            v3: key1 ^ 0x7465_6462_7974_6573,
        }
    }

    #[inline]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32).wrapping_add(self.v3);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }

    #[inline]
    fn take(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    fn half(&mut self) -> u128 {
        (0..3).for_each(|_| self.round());
        u128::from(self.v0 ^ self.v1 ^ self.v2 ^ self.v3)
    }

    fn finish(mut self, last: u64) -> u128 {
        self.take(last);
        self.v2 ^= 0xee;
        let low = self.half();
        self.v1 ^= 0xdd;
        low | self.half() << 64
    }
}

/// The last word of a text: what is left of it, and its length.
fn last_word(len: usize, rest: &[u8]) -> u64 {
    let bytes = rest.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    bytes | (len as u64) << 56
}

/// The hashes of two texts under one key.
pub(crate) fn of_two(key: (u64, u64), one: &[u8], other: &[u8]) -> [u128; 2] {
    let (mut a, mut b) = (State::new(key), State::new(key));
    let ((a_words, a_rest), (b_words, b_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let both = a_words.len().min(b_words.len());
    let ((a_words, a_more), (b_words, b_more)) = (a_words.split_at(both), b_words.split_at(both));
    for (a_word, b_word) in a_words.iter().zip(b_words) {
        a.take(u64::from_le_bytes(*a_word));
        b.take(u64::from_le_bytes(*b_word));
    }
    a_more.iter().for_each(|word| a.take(u64::from_le_bytes(*word)));
    b_more.iter().for_each(|word| b.take(u64::from_le_bytes(*word)));
    [a.finish(last_word(one.len(), a_rest)), b.finish(last_word(other.len(), b_rest))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use siphasher::sip128::SipHasher13;

    #[test]
    fn of_two_texts_each_has_the_hash_that_it_has_by_itself() {
        let text: Vec<u8> = (0..=u8::MAX).cycle().take(700).collect();
        let alone = |text: &[u8]| SipHasher13::new_with_keys(!5, 1 << 63 | 6).hash(text).as_u128();
        for len in (0..40).chain([255, 256, 263, 511, 512, 699]) {
            for other in [0, 1, 7, 8, 9, 16, 31, 256, 690] {
                let (one, other) = (&text[..len], &text[3..3 + other]);
                let hashes = of_two((!5, 1 << 63 | 6), one, other);
                assert_eq!(hashes, [alone(one), alone(other)], "{} and {}", one.len(), other.len());
            }
        }
    }
}
