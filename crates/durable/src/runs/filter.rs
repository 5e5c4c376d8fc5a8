//! "Does not exist" without a search: a bloom filter in blocks of 64 bytes, 12 bits a key, about 1 in 200 wrong.
//!
//! Keys are hashes already. The upper half of a key picks the block; the lower half gives eight 9-bit places in it
//! (bits 0-8, 8-16, ... of it, the last one turned by the upper half, so that 64 bits are enough for eight).

/// Bits a key.
const BITS_PER_KEY: u64 = 12;
pub(crate) const BLOCK_BYTES: usize = 64;

/// Bytes of the filter of `count` keys, a multiple of 64, at least one block.
pub(crate) fn filter_bytes(count: u64) -> u64 {
    let bits = count.saturating_mul(BITS_PER_KEY).max(1);
    bits.div_ceil(BLOCK_BYTES as u64 * 8) * BLOCK_BYTES as u64
}

/// The block's number and the eight places in it.
fn places(key: u128, blocks: u64) -> (usize, [usize; 8]) {
    let (upper, lower) = ((key >> 64) as u64, key as u64);
    let block = (u128::from(upper) * u128::from(blocks)) >> 64;
    let mix = lower ^ upper.rotate_left(32);
    let place = |i: u32| (mix.rotate_right(i * 8) & 511) as usize;
    (block as usize, [0, 1, 2, 3, 4, 5, 6, 7].map(place))
}

/// Puts a key in.
pub(crate) fn insert(filter: &mut [u8], key: u128) {
    let (block, places) = places(key, (filter.len() / BLOCK_BYTES) as u64);
    if let Some(block) = filter.get_mut(block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES) {
        for place in places {
            block[place / 8] |= 1 << (place % 8);
        }
    }
}

/// The block of a key.
pub(crate) fn block_of(filter: &[u8], key: u128) -> Option<&[u8]> {
    let (block, _) = places(key, (filter.len() / BLOCK_BYTES) as u64);
    filter.get(block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES)
}

/// Whether a key may be in; false is certain.
pub(crate) fn may_hold(filter: &[u8], key: u128) -> bool {
    let (block, places) = places(key, (filter.len() / BLOCK_BYTES) as u64);
    let block = filter.get(block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES);
    block.is_some_and(|b| places.iter().all(|place| b[place / 8] & (1 << (place % 8)) != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::hash::stream_hash;

    #[test]
    fn holds_all_and_refuses_most() {
        let mut filter = vec![0; filter_bytes(10_000) as usize];
        (0..10_000).for_each(|n| insert(&mut filter, stream_hash(&format!("in-{n}"))));
        assert!((0..10_000).all(|n| may_hold(&filter, stream_hash(&format!("in-{n}")))));
        let wrong = (0..10_000).filter(|n| may_hold(&filter, stream_hash(&format!("out-{n}")))).count();
        assert!(wrong < 200, "{wrong} of 10,000 are wrong");
    }
}
