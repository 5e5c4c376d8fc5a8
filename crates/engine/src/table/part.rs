//! What a table asks of its parts.

use std::fmt::Debug;

/// Where the entries of some keys are. Whoever asks looks at an entry for it: `key_at` gives the key of the one at a place.
pub(crate) trait Part: Debug + Default {
    /// The place of the entry of a key; `is_at`: whether it is the one at a place.
    fn find(&self, key: u128, is_at: impl Fn(u32) -> bool) -> Option<u32>;

    /// Adds an entry at `place` whose key no other one has.
    fn insert_new(&mut self, key: u128, place: u32, key_at: impl Fn(u32) -> u128);

    /// The place of the entry of a key, or `None`, and it is at `place` from now on.
    fn find_or_insert(&mut self, key: u128, place: u32, key_at: impl Fn(u32) -> u128) -> Option<u32>;

    /// The entry of this key at a place has another one from now on.
    fn put_elsewhere(&mut self, key: u128, from: u32, to: u32);

    /// Parts with the entries whose keys have this bit: they are what is given. Room goes where most of them have gone.
    fn split(&mut self, bit: u32, key_at: impl Fn(u32) -> u128) -> Self;

    /// Parts with the entries of which `leaves` says so, which is asked once for each, and puts their places behind `left`. Room goes where most of
    /// them have gone.
    fn let_go(&mut self, leaves: impl FnMut(u32) -> bool, left: &mut Vec<u32>, key_at: impl Fn(u32) -> u128);

    /// Number of entries.
    fn len(&self) -> usize;

    /// Entries that there is room for.
    #[cfg(test)]
    fn capacity(&self) -> usize;

    /// Bytes of memory, used or not.
    #[cfg(test)]
    fn bytes(&self) -> usize;
}

/// Whether a bit of a key is set.
pub(super) const fn is_set(key: u128, bit: u32) -> bool {
    (key >> bit) & 1 == 1
}

/// 64 bits of a key, of their own beside those that tell the part.
pub(super) const fn hash_of(key: u128) -> u64 {
    (key >> 64) as u64 ^ key as u64
}
