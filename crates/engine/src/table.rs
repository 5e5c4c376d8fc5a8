//! A hash table in small parts, for entries that are found by 128 bits of hash.
//!
//! A table that doubles as a whole, or that is looked through as a whole, stops the owner of a log for as long as it takes to touch
//! millions of entries. So it grows by linear hashing: when it is full, the next part in turn is split in two, and a part never holds
//! more than some three thousand entries. Entries leave the same way: a [`Walk`] goes over the parts in steps, between appends.
//!
//! A part holds the places of its entries only, four bytes each: a hash table keeps a fifth to a half of itself free, which would be as
//! much of all entries. Splitting a part moves no entry, and one that leaves gives its place to the last one.
//!
//! Invariant: a walk sees every entry that was there when it began. A split takes places from one part to the end of the list
//! only, where the walk comes later.

mod entries;

use entries::Entries;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use std::hint::black_box;

/// Entries a part, on average; with it the parts that were not split yet (twice as many, and as chance has it) keep within the 3,584
/// places that 4,096 buckets take, and the others within half of that. Smaller parts would be made too often.
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
    parts: Vec<HashTable<u32>>,
    entries: Entries<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { parts: vec![HashTable::new()], entries: Entries::default() }
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
        self.entries.len()
    }

    /// Whether there is none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// The entry of a key.
    pub(crate) fn get(&self, key: u128) -> Option<&T> {
        let part = &self.parts[part_of(key, self.parts.len())];
        let place = part.find(hash_of(key), |place| self.entries.at(*place).key() == key)?;
        Some(self.entries.at(*place))
    }

    /// Reads what [`get`](Self::get) of these keys will look at. Each look waits for memory; together, none depending on another, they
    /// wait at the same time.
    pub(crate) fn look_ahead(&self, keys: impl Iterator<Item = u128>) {
        for key in keys {
            black_box(self.parts[part_of(key, self.parts.len())].find(hash_of(key), |_| false));
        }
    }

    /// The entry of a key to be changed, or `None` and `new` has become it.
    pub(crate) fn get_or_insert(&mut self, key: u128, new: impl FnOnce() -> T) -> Option<&mut T> {
        if self.entries.len() >= self.parts.len() * PART_ENTRIES {
            self.split_next();
        }
        let part = part_of(key, self.parts.len());
        let Self { parts, entries } = self;
        let same = |place: &u32| entries.at(*place).key() == key;
        match parts[part].entry(hash_of(key), same, |place| hash_of(entries.at(*place).key())) {
            Slot::Occupied(known) => Some(entries.at_mut(*known.get())),
            Slot::Vacant(free) => {
                free.insert(entries.len() as u32);
                entries.push(new());
                None
            }
        }
    }

    /// Splits the part whose turn it is: the places of its entries whose next bit is set become the last part.
    fn split_next(&mut self) {
        let (new, count) = (self.parts.len(), self.parts.len() + 1);
        let source = new - base_of(new);
        let Self { parts, entries } = self;
        let key_at = |place: u32| entries.at(place).key();
        // in one go before each decides about the next, as in `look_ahead`
        black_box(parts[source].iter().fold(0, |all, place| all ^ key_at(*place)));
        // at once as large as it has to be: growing there would cost an allocation for each doubling
        let mut part = HashTable::with_capacity(parts[source].len() / 2 + PART_ENTRIES / 32);
        for place in parts[source].extract_if(|place| part_of(key_at(*place), count) == new) {
            part.insert_unique(hash_of(key_at(place)), place, |place| hash_of(key_at(*place)));
        }
        shrink(&mut parts[source], entries);
        parts.push(part);
    }

    /// Entries that are not to be kept leave, and memory with them.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.retain_some(&mut Walk::default(), &mut { usize::MAX }, keep);
    }

    /// As [`retain`](Self::retain), on from where `walk` is, for as many places as `budget` says (and some: a part is looked through
    /// whole). It is lowered by what was looked at. `true`: every entry that was there when the walk began was looked at.
    pub(crate) fn retain_some(
        &mut self,
        walk: &mut Walk,
        budget: &mut usize,
        mut keep: impl FnMut(&T) -> bool,
    ) -> bool {
        let mut leaving = Vec::new();
        while walk.next_part < self.parts.len() {
            if *budget == 0 {
                return false;
            }
            let part = &mut self.parts[walk.next_part];
            *budget = budget.saturating_sub(1 + part.len());
            leaving.extend(part.extract_if(|place| !keep(self.entries.at(*place))));
            shrink(part, &self.entries);
            self.give_away(&mut leaving);
            walk.next_part += 1;
        }
        true
    }

    /// Lets go of the entries at these places, which no part holds any more.
    fn give_away(&mut self, places: &mut Vec<u32>) {
        // from the last one on, so that what takes a place is never one that leaves too
        places.sort_unstable();
        for place in places.drain(..).rev() {
            let before = (self.entries.len() - 1) as u32;
            let Some(moved) = self.entries.swap_remove(place) else { continue };
            let key = moved.key();
            let part = part_of(key, self.parts.len());
            if let Some(known) = self.parts[part].find_mut(hash_of(key), |known| *known == before) {
                *known = place;
            }
        }
    }
}

/// Memory goes where most places have gone.
fn shrink<T: Keyed>(part: &mut HashTable<u32>, entries: &Entries<T>) {
    if part.len() * 4 < part.capacity() {
        part.shrink_to(part.len() * 2, |place| hash_of(entries.at(*place).key()));
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
        let left: Vec<_> = (0..10_000).filter(|n| table.get(key(*n)).is_some_and(|entry| entry.1 == *n)).collect();
        assert_eq!(left, [0, 1, 2, 3, 4, 5, 6, 8, 9]);
    }

    #[test]
    fn no_part_is_large_and_memory_is_that_of_the_entries_and_ten_bytes_each() {
        let mut table = Table::default();
        for n in 0..300_000_u32 {
            let key = strandline_event::hash::stream_hash(&n.to_string());
            assert!(table.get_or_insert(key, || Entry(key, n)).is_none());
            if n % 20_000 == 19_999 {
                let places: usize = table.parts.iter().map(HashTable::allocation_size).sum();
                let bytes = places + table.entries.bytes();
                assert!(bytes < table.len() * (size_of::<Entry>() + 12), "{bytes} for {} entries", table.len());
            }
        }
        assert!(table.parts.iter().all(|part| part.capacity() <= 3_584), "a step of growing or letting go is bounded");
        table.retain(|entry| entry.1 % 1_000 == 0);
        let places: usize = table.parts.iter().map(HashTable::allocation_size).sum();
        assert!(places + table.entries.bytes() < 300_000, "memory goes: {places} and {}", table.entries.bytes());
        let key = |n: u32| strandline_event::hash::stream_hash(&n.to_string());
        assert!((0..300_000).all(|n| table.get(key(n)).map(|entry| entry.1) == (n % 1_000 == 0).then_some(n)));
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
