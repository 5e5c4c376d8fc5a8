//! The one hash of names that is written to disk and shared by tiers: SipHash-1-3, 128 bits, fixed zero key.
//!
//! Source: the SipHash paper (Aumasson, Bernstein) and the crate `siphasher`. 128 bits: two different
//! keys of 10^10 meet with a chance below 10^-18. Where an adversary could choose the input, callers
//! use a keyed digest instead.

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
    keyed_hash(0, 0, &[bytes])
}

/// Digest of parts under a key; every part is preceded by its length, so ("a","bc") is not ("ab","c").
#[must_use]
pub fn keyed_hash(key0: u64, key1: u64, parts: &[&[u8]]) -> u128 {
    let mut hasher = SipHasher13::new_with_keys(key0, key1);
    for part in parts {
        hasher.write(&(part.len() as u64).to_le_bytes());
        hasher.write(part);
    }
    hasher.finish128().as_u128()
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

    const GOLDEN: &str = "ead4d4e1e70ebe3da7c687b84eb590a9";
}
