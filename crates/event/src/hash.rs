//! The one hash of names that is written to disk and shared by tiers: SipHash-1-3, 128 bits, fixed zero key.
//!
//! Source: the SipHash paper (Aumasson, Bernstein) and the crate `siphasher`. 128 bits: two different
//! keys of 10^10 meet with a chance below 10^-18. Where an adversary could choose the input, callers
//! use a keyed digest instead.

use crate::sip;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// Hash of a stream within its stream type.
#[must_use]
pub fn stream_hash(stream_id: &str) -> u128 {
    bytes_hash(stream_id.as_bytes())
}

/// Hash of any bytes with the fixed key.
#[must_use]
pub fn bytes_hash(bytes: &[u8]) -> u128 {
    // as `keyed_hash` of this one part, without the room in which it gathers parts
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(&(bytes.len() as u64).to_le_bytes());
    hasher.hash(bytes).as_u128()
}

/// Bytes of parts that are hashed at once.
const GATHERED_BYTES: usize = 512;

/// Digest under a key of one part that is given in pieces of 16 bytes: as [`keyed_hash`] of all of them behind one another.
#[must_use]
pub fn keyed_hash_of(key0: u64, key1: u64, mut pieces: impl ExactSizeIterator<Item = u128>) -> u128 {
    let mut hasher = SipHasher13::new_with_keys(key0, key1);
    if pieces.len() == 1
        && let Some(piece) = pieces.next()
    {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&16_u64.to_le_bytes());
        bytes[8..].copy_from_slice(&piece.to_le_bytes());
        return hasher.hash(&bytes).as_u128();
    }
    hasher.write(&(16 * pieces.len() as u64).to_le_bytes());
    for piece in pieces {
        hasher.write(&piece.to_le_bytes());
    }
    hasher.finish128().as_u128()
}

/// Digest of parts under a key; every part is preceded by its length, so ("a","bc") is not ("ab","c").
#[must_use]
pub fn keyed_hash(key0: u64, key1: u64, parts: &[&[u8]]) -> u128 {
    let mut hasher = SipHasher13::new_with_keys(key0, key1);
    // the hash is of one stream of bytes: many small parts are written at once
    let (mut gathered, mut len, mut is_all) = ([0; GATHERED_BYTES], 0, true);
    for part in parts {
        let wanted = len + 8 + part.len();
        if wanted > GATHERED_BYTES {
            hasher.write(&gathered[..len]);
            (len, is_all) = (0, false);
        }
        gathered[len..len + 8].copy_from_slice(&(part.len() as u64).to_le_bytes());
        len += 8;
        if let Some(room) = gathered.get_mut(len..len + part.len()) {
            room.copy_from_slice(part);
            len += part.len();
        } else {
            hasher.write(&gathered[..len]);
            hasher.write(part);
            (len, is_all) = (0, false);
        }
    }
    if is_all {
        // what the hasher was given before is nothing: it goes over these bytes at once, without a state to come back to
        return hasher.hash(&gathered[..len]).as_u128();
    }
    hasher.write(&gathered[..len]);
    hasher.finish128().as_u128()
}

/// The parts of one text that [`keyed_hashes`] hashes. Texts of usual size stand in it, so that nothing is allocated for them.
#[derive(Debug)]
pub struct Parts {
    room: [u8; GATHERED_BYTES],
    /// Bytes in `room`; more than it has: all of them are in `long`.
    len: usize,
    long: Vec<u8>,
}

impl Parts {
    const fn new() -> Self {
        Self { room: [0; GATHERED_BYTES], len: 0, long: Vec::new() }
    }

    /// Adds a part: its length and its bytes.
    #[inline]
    pub fn put(&mut self, part: &[u8]) {
        self.add(&(part.len() as u64).to_le_bytes());
        self.add(part);
    }

    #[inline]
    fn add(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(room) = self.room.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
            self.len = end;
        } else {
            self.add_long(bytes);
        }
    }

    #[cold]
    fn add_long(&mut self, bytes: &[u8]) {
        if let Some(short) = self.room.get(..self.len) {
            self.long.extend_from_slice(short);
            self.len = GATHERED_BYTES + 1;
        }
        self.long.extend_from_slice(bytes);
    }

    fn bytes(&self) -> &[u8] {
        self.room.get(..self.len).unwrap_or(&self.long)
    }

    fn clear(&mut self) {
        self.len = 0;
        self.long.clear();
    }
}

/// [`keyed_hash`] of the parts that `put` puts for each item, given to `take` item by item. Two of them are hashed at once, in hardly more time than one.
pub fn keyed_hashes<T: Copy>(
    key0: u64,
    key1: u64,
    items: impl IntoIterator<Item = T>,
    put: impl Fn(T, &mut Parts),
    mut take: impl FnMut(T, u128),
) {
    let (mut parts, mut other_parts) = (Parts::new(), Parts::new());
    let mut items = items.into_iter();
    while let Some(item) = items.next() {
        parts.clear();
        put(item, &mut parts);
        let Some(other) = items.next() else {
            take(item, SipHasher13::new_with_keys(key0, key1).hash(parts.bytes()).as_u128());
            return;
        };
        other_parts.clear();
        put(other, &mut other_parts);
        let [hash, other_hash] = sip::of_two((key0, key1), parts.bytes(), other_parts.bytes());
        take(item, hash);
        take(other, other_hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fixed_for_ever() {
        assert_eq!(stream_hash("N14228"), stream_hash("N14228"));
        assert_ne!(keyed_hash(0, 0, &[b"a", b"bc"]), keyed_hash(0, 0, &[b"ab", b"c"]));
        assert_ne!(keyed_hash(1, 0, &[b"a"]), keyed_hash(0, 0, &[b"a"]));
        // written to disk in runs: this value must never change
        assert_eq!(format!("{:032x}", bytes_hash(b"strandline")), GOLDEN);
    }

    #[test]
    fn however_parts_are_gathered_the_hash_is_that_of_all_bytes() {
        let text = vec![7_u8; 3 * GATHERED_BYTES];
        for lens in [&[0, 1, 2][..], &[500, 4, 8, 600, 1], &[504, 505], &[512, 0], &[1536, 3, 503, 511]] {
            let parts: Vec<&[u8]> = lens.iter().map(|len| &text[..*len]).collect();
            let mut hasher = SipHasher13::new_with_keys(3, 4);
            for part in &parts {
                hasher.write(&(part.len() as u64).to_le_bytes());
                hasher.write(part);
            }
            assert_eq!(keyed_hash(3, 4, &parts), hasher.finish128().as_u128(), "{lens:?}");
        }
    }

    #[test]
    fn a_part_by_itself_has_the_hash_of_a_list_of_one() {
        let text: Vec<u8> = (0..=u8::MAX).cycle().take(2 * GATHERED_BYTES).collect();
        for len in (0..40).chain([GATHERED_BYTES - 8, GATHERED_BYTES, text.len()]) {
            assert_eq!(bytes_hash(&text[..len]), keyed_hash(0, 0, &[&text[..len]]), "{len}");
        }
    }

    #[test]
    fn pieces_are_one_part() {
        for pieces in [&[][..], &[7], &[1, u128::MAX, 3]] {
            let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_le_bytes()).collect();
            assert_eq!(keyed_hash_of(5, 6, pieces.iter().copied()), keyed_hash(5, 6, &[&bytes]));
        }
    }

    #[test]
    fn hashes_of_many_are_those_of_each() {
        let text: Vec<u8> = (0..=u8::MAX).cycle().take(3 * GATHERED_BYTES).collect();
        // short ones and long ones in turn, and as long as there is room
        let lens = [3, 0, 600, 12, 479, 480, 1_500, 504, 505, 7, 1_000, 900, 1];
        let parts = |len: usize| [&text[..len], b"", &text[5..5 + len.min(9)]];
        for count in 0..=lens.len() {
            let mut hashes = Vec::new();
            let put = |len: usize, to: &mut Parts| parts(len).iter().for_each(|part| to.put(part));
            keyed_hashes(3, 4, lens[..count].iter().copied(), put, |len, hash| hashes.push((len, hash)));
            let each: Vec<_> = lens[..count].iter().map(|len| (*len, keyed_hash(3, 4, &parts(*len)))).collect();
            assert_eq!(hashes, each);
        }
    }

    const GOLDEN: &str = "ead4d4e1e70ebe3da7c687b84eb590a9";
}
