//! A hash table in small parts, for entries that are found by 128 bits of hash.
//!
//! A table that doubles as a whole, or that is looked through as a whole, stops the owner of a log for as long as it takes to touch
//! millions of entries. So it grows by linear hashing: when it is full, the next part in turn is split in two, and a part never holds
//! more than some three thousand entries. Entries leave the same way: a [`Walk`] goes over the parts in steps, between appends.
//!
//! Invariant: a walk sees every entry that was there when it began. A split takes entries from one part to the end of the list
//! only, where the walk comes later.

use hashbrown::HashTable;

/// Entries a part, on average; with it the parts that were not split yet (twice as many, and as chance has it) keep within the 3,584
/// that 4,096 buckets take, and the others within half of that. Smaller parts would be made too often.
const PART_ENTRIES: usize = 1_624;

/// An entry and its key, which is a hash already.
pub(crate) trait Keyed {
    /// The key.
    fn key(&self) -> u128;
}

/// The table.
#[derive(Debug)]
pub(crate) struct Table<T> {
    /// Never empty. With `base` parts (a power of two) and `split` more, part `n` of the first `split` has given half of its entries to
    /// part `base + n`.
    parts: Vec<HashTable<T>>,
    len: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { parts: vec![HashTable::new()], len: 0 }
    }
}

/// How far a look at all entries has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Walk {
    next_part: usize,
}

/// The largest power of two that is not above `count`, which is not 0.
const fn base_of(count: usize) -> usize {
    1 << count.ilog2()
}

/// Which of `parts` parts.
const fn part_of(key: u128, parts: usize) -> usize {
    let base = base_of(parts);
    let wide = key as usize & (2 * base - 1);
    if wide < parts { wide } else { wide & (base - 1) }
}

/// Where in its part: bits of their own.
const fn hash_of(key: u128) -> u64 {
    (key >> 64) as u64 ^ key as u64
}

impl<T: Keyed> Table<T> {
    /// Number of entries.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry of a key.
    pub(crate) fn get(&self, key: u128) -> Option<&T> {
        self.parts[part_of(key, self.parts.len())].find(hash_of(key), |entry| entry.key() == key)
    }

    /// The entry of a key to be changed, or `None` and `new` has become it.
    pub(crate) fn get_or_insert(&mut self, key: u128, new: impl FnOnce() -> T) -> Option<&mut T> {
        let count = self.parts.len();
        if self.len >= count * PART_ENTRIES {
            self.split_next();
        }
        let part = part_of(key, self.parts.len());
        let entry = self.parts[part].entry(hash_of(key), |e| e.key() == key, |e| hash_of(e.key()));
        match entry {
            hashbrown::hash_table::Entry::Occupied(known) => Some(known.into_mut()),
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert(new());
                self.len += 1;
                None
            }
        }
    }

    /// Splits the part whose turn it is: its entries whose next bit is set become the last part.
    fn split_next(&mut self) {
        let (new, count) = (self.parts.len(), self.parts.len() + 1);
        let source = new - base_of(new);
        // at once as large as it has to be: growing there would cost an allocation for each doubling
        let mut part = HashTable::with_capacity(self.parts[source].len() / 2 + PART_ENTRIES / 32);
        for entry in self.parts[source].extract_if(|entry| part_of(entry.key(), count) == new) {
            part.insert_unique(hash_of(entry.key()), entry, |e| hash_of(e.key()));
        }
        shrink(&mut self.parts[source]);
        self.parts.push(part);
    }

    /// Entries that are not to be kept leave, and memory with them where most have left.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.retain_some(&mut Walk::default(), &mut { usize::MAX }, keep);
    }

    /// As [`retain`](Self::retain), on from where `walk` is, for as many places as `budget` says (and some: a part is looked through
    /// whole). It is lowered by what was looked at. `true`: every entry that was there when the walk began was looked at.
    pub(crate) fn retain_some(&mut self, walk: &mut Walk, budget: &mut usize, keep: impl Fn(&T) -> bool) -> bool {
        while let Some(part) = self.parts.get_mut(walk.next_part) {
            if *budget == 0 {
                return false;
            }
            *budget = budget.saturating_sub(1 + part.capacity());
            let before = part.len();
            part.retain(|entry| keep(entry));
            self.len -= before - part.len();
            shrink(part);
            walk.next_part += 1;
        }
        true
    }

    /// All entries, in no order.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = T> {
        self.parts.into_iter().flatten()
    }
}

/// Memory goes where most entries have gone.
fn shrink<T: Keyed>(part: &mut HashTable<T>) {
    if part.len() * 4 < part.capacity() {
        part.shrink_to(part.len() * 2, |entry| hash_of(entry.key()));
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

    #[test]
    fn no_part_is_large_and_memory_is_as_of_one_table() {
        let mut table = Table::default();
        for n in 0..300_000_u32 {
            let key = strandline_event::hash::stream_hash(&n.to_string());
            assert!(table.get_or_insert(key, || Entry(key, n)).is_none());
        }
        assert!(table.parts.iter().all(|part| part.capacity() <= 3_584), "a step of growing or letting go is bounded");
        let places: usize = table.parts.iter().map(HashTable::capacity).sum();
        assert!(places < 300_000 * 5 / 2, "{places}");
    }

    #[test]
    fn a_walk_in_steps_sees_every_entry_however_the_table_grows_meanwhile() {
        let key = |n: u32| strandline_event::hash::stream_hash(&n.to_string());
        let mut table = Table::default();
        let put =
            |table: &mut Table<Entry>, n: u32| assert!(table.get_or_insert(key(n), || Entry(key(n), n)).is_none());
        (0..50_000).for_each(|n| put(&mut table, n));
        let (mut walk, mut steps, mut next) = (Walk::default(), 0, 50_000);
        loop {
            let (mut budget, before) = (2_000, table.len());
            let done = table.retain_some(&mut walk, &mut budget, |entry| entry.1 >= 50_000);
            assert!(before - table.len() <= 2_000 + 3_584, "one step lets go of {}", before - table.len());
            steps += 1;
            if done {
                break;
            }
            // grows faster than the walk goes on, for a while
            (next..(next + 3_000).min(120_000)).for_each(|n| put(&mut table, n));
            next = (next + 3_000).min(120_000);
        }
        assert!(steps > 25, "{steps} steps");
        assert_eq!(table.len(), 70_000);
        assert!((0..50_000).all(|n| table.get(key(n)).is_none()));
        assert!((50_000..120_000).all(|n| table.get(key(n)).is_some_and(|entry| entry.1 == n)));
    }
}
