//! A hash table in parts, for entries that are found by 128 bits of hash.
//!
//! Grows part by part: a table that doubles as a whole stops the owner of a log for as long as it takes to move millions of entries,
//! and touches twice its memory at once. A part that has grown leaves room of the size that the next part wants.

use hashbrown::HashTable;

/// Parts; a power of two.
const PARTS: usize = 256;

/// An entry and its key, which is a hash already.
pub(crate) trait Keyed {
    /// The key.
    fn key(&self) -> u128;
}

/// The table.
#[derive(Debug)]
pub(crate) struct Table<T> {
    parts: Box<[HashTable<T>]>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { parts: (0..PARTS).map(|_| HashTable::new()).collect() }
    }
}

/// Which part, and where in it: bits of their own.
const fn place(key: u128) -> (usize, u64) {
    (key as usize % PARTS, (key >> 64) as u64 ^ key as u64)
}

impl<T: Keyed> Table<T> {
    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(HashTable::len).sum()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.iter().all(HashTable::is_empty)
    }

    /// The entry of a key.
    pub(crate) fn get(&self, key: u128) -> Option<&T> {
        let (part, hash) = place(key);
        self.parts[part].find(hash, |entry| entry.key() == key)
    }

    /// The entry of a key to be changed, or `None` and `new` has become it.
    pub(crate) fn get_or_insert(&mut self, key: u128, new: impl FnOnce() -> T) -> Option<&mut T> {
        let (part, hash) = place(key);
        match self.parts[part].entry(hash, |entry| entry.key() == key, |entry| place(entry.key()).1) {
            hashbrown::hash_table::Entry::Occupied(known) => Some(known.into_mut()),
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert(new());
                None
            }
        }
    }

    /// Entries that are not to be kept leave, and memory with them where most have left.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for part in &mut self.parts {
            part.retain(|entry| keep(entry));
            if part.len() * 4 < part.capacity() {
                part.shrink_to(part.len() * 2, |entry| place(entry.key()).1);
            }
        }
    }

    /// All entries, in no order.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = T> {
        self.parts.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Entry(u128, u32);

    impl Keyed for Entry {
        fn key(&self) -> u128 {
            self.0
        }
    }

    #[test]
    fn entries_are_found_changed_and_let_go() {
        let mut table = Table::default();
        let key = |n: u32| u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        for n in 0..10_000 {
            assert!(table.get_or_insert(key(n), || Entry(key(n), n)).is_none());
        }
        assert_eq!(table.len(), 10_000);
        table.get_or_insert(key(7), || Entry(0, 0)).unwrap().1 = 70;
        assert_eq!((table.get(key(7)).unwrap().1, table.get(key(8)).unwrap().1), (70, 8));
        assert!(table.get(key(10_000)).is_none());
        table.retain(|entry| entry.1 < 10);
        assert_eq!((table.len(), table.is_empty()), (9, false));
        let mut left: Vec<_> = table.into_entries().map(|entry| entry.1).collect();
        left.sort_unstable();
        assert_eq!(left, [0, 1, 2, 3, 4, 5, 6, 8, 9]);
    }
}
