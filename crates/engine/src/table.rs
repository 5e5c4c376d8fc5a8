//! A hash table in small parts, for entries that are found by 128 bits of hash.
//!
//! A table that doubles as a whole, or that is looked through as a whole, stops the owner of a log for as long as it takes to touch
//! millions of entries. So it grows by linear hashing: when it is full, the next part in turn is split in two, and a part never holds
//! more than some three thousand entries. Entries leave the same way: a [`Walk`] goes over the parts in steps, between appends.
//!
//! A part holds the places of its entries only, four bytes each ([`Slot`]): a hash table keeps a fifth to a half of itself free, which would be
//! as much of all entries. Splitting a part moves no entry, and one that leaves gives its place to the last one. A table that grows with every event has
//! four bytes more there, which spare it a look at the entries when a part is split or grows.
//!
//! Invariant: a walk sees every entry that was there when it began. A split takes places from one part to the end of the list
//! only, where the walk comes later.

mod entries;
mod slot;

use entries::Entries;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Found;
use slot::Slot;
pub(crate) use slot::Told;
use std::hint::black_box;

/// Entries a part, on average; with it the parts that were not split yet (twice as many, and as chance has it) keep within the 3,584
/// places that 4,096 buckets take, and the others within half of that. Smaller parts would be made too often.
const PART_ENTRIES: usize = 1_624;

/// Places with four bytes of a key that a line of memory holds.
const LINE_PLACES: usize = 8;

/// An entry and its key, which is a hash already.
pub(crate) trait Keyed {
    /// The key.
    fn key(&self) -> u128;
}

/// The table; `S`: what its parts hold of each entry.
#[derive(Debug)]
pub(crate) struct Table<T, S = u32> {
    /// Never empty. With `base` parts (a power of two) and `split` more, part `n` of the first `split` has given half of its entries to
    /// part `base + n`.
    parts: Vec<HashTable<S>>,
    entries: Entries<T>,
}

impl<T, S> Default for Table<T, S> {
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

impl<T: Keyed, S: Slot> Table<T, S> {
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
        let is_it = |slot: &S| slot.may_be(key) && self.entries.at(slot.place()).key() == key;
        let slot = part.find(S::hash_of(key), is_it)?;
        Some(self.entries.at(slot.place()))
    }

    /// Reads what [`get`](Self::get) of these keys will look at, and [`get_or_insert`](Self::get_or_insert) of those that are new write to. Each
    /// look waits for memory; together, none depending on another, they wait at the same time.
    pub(crate) fn look_ahead(&self, keys: impl Iterator<Item = u128> + Clone) {
        let part = |key: u128| &self.parts[part_of(key, self.parts.len())];
        for key in keys.clone() {
            black_box(part(key).find(S::hash_of(key), |_| false));
        }
        // behind all of these: where to look now depends on what was read there
        for key in keys {
            black_box(neighbour(part(key), S::hash_of(key)));
        }
    }

    /// Adds an entry whose key no other one has: nobody looks for that one again.
    pub(crate) fn insert_new(&mut self, entry: T) {
        self.make_place();
        let key = entry.key();
        let part = part_of(key, self.parts.len());
        let Self { parts, entries } = self;
        let slot = S::new(entries.len() as u32, key);
        parts[part].insert_unique(S::hash_of(key), slot, |slot| slot.hash(|place| entries.at(place).key()));
        entries.push(entry);
    }

    /// Before an entry is added.
    fn make_place(&mut self) {
        if self.entries.len() >= self.parts.len() * PART_ENTRIES {
            self.split_next();
        }
    }

    /// The entry of a key to be changed, or `None` and `new` has become it.
    pub(crate) fn get_or_insert(&mut self, key: u128, new: impl FnOnce() -> T) -> Option<&mut T> {
        self.make_place();
        let part = part_of(key, self.parts.len());
        let Self { parts, entries } = self;
        let key_at = |place: u32| entries.at(place).key();
        let is_it = |slot: &S| slot.may_be(key) && key_at(slot.place()) == key;
        match parts[part].entry(S::hash_of(key), is_it, |slot| slot.hash(key_at)) {
            Found::Occupied(known) => Some(entries.at_mut(known.get().place())),
            Found::Vacant(free) => {
                free.insert(S::new(entries.len() as u32, key));
                entries.push(new());
                None
            }
        }
    }

    /// Splits the part whose turn it is: the places of its entries whose next bit is set become the last part.
    fn split_next(&mut self) {
        let new = self.parts.len();
        let (source, bit) = (new - base_of(new), base_of(new).ilog2());
        let Self { parts, entries } = self;
        let key_at = |place: u32| entries.at(place).key();
        if !S::knows(bit) {
            // in one go before each decides about the next, as in `look_ahead`
            black_box(parts[source].iter().fold(0, |all, slot| all ^ key_at(slot.place())));
        }
        // at once as large as it has to be: growing there would cost an allocation for each doubling
        let mut part = HashTable::with_capacity(parts[source].len() / 2 + PART_ENTRIES / 32);
        for slot in parts[source].extract_if(|slot| slot.has_bit(bit, key_at)) {
            part.insert_unique(slot.hash(key_at), slot, |slot| slot.hash(key_at));
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
            leaving.extend(part.extract_if(|slot| !keep(self.entries.at(slot.place()))).map(Slot::place));
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
            if let Some(known) = self.parts[part].find_mut(S::hash_of(key), |known| known.place() == before) {
                *known = S::new(place, key);
            }
        }
    }
}

/// What a part holds close to where a new entry of this hash is put, most often in the same line of memory: the first free bucket from the one on
/// that the hash chooses. Were it another one, only time would be lost.
fn neighbour<S: Slot>(part: &HashTable<S>, hash: u64) -> Option<u32> {
    let mask = part.num_buckets().wrapping_sub(1);
    let mut buckets = (0..LINE_PLACES).map(|step| (hash as usize).wrapping_add(step) & mask);
    buckets.find_map(|bucket| part.get_bucket(bucket)).map(|slot| slot.place())
}

/// Memory goes where most places have gone.
fn shrink<T: Keyed, S: Slot>(part: &mut HashTable<S>, entries: &Entries<T>) {
    if part.len() * 4 < part.capacity() {
        part.shrink_to(part.len() * 2, |slot| slot.hash(|place| entries.at(place).key()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[derive(Debug)]
    struct Entry(u128, u32);

    impl Keyed for Entry {
        fn key(&self) -> u128 {
            self.0
        }
    }

    fn key(n: u32) -> u128 {
        strandline_event::hash::stream_hash(&n.to_string())
    }

    fn put<S: Slot>(table: &mut Table<Entry, S>, n: u32) {
        assert!(table.get_or_insert(key(n), || Entry(key(n), n)).is_none());
    }

    fn found_changed_and_let_go<S: Slot>() {
        let mut table: Table<Entry, S> = Table::default();
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
    fn entries_are_found_changed_and_let_go() {
        found_changed_and_let_go::<u32>();
        found_changed_and_let_go::<Told>();
    }

    fn new_ones_found<S: Slot>() {
        let mut table: Table<Entry, S> = Table::default();
        for n in 0..20_000 {
            match n % 2 {
                0 => table.insert_new(Entry(key(n), n)),
                _ => put(&mut table, n),
            }
        }
        assert_eq!(table.len(), 20_000);
        assert!((0..20_000).all(|n| table.get(key(n)).is_some_and(|entry| entry.1 == n)));
        assert!(table.get_or_insert(key(6), || Entry(key(6), 0)).is_some_and(|entry| entry.1 == 6));
        assert!((20_000..21_000).all(|n| table.get(key(n)).is_none()));
    }

    #[test]
    fn an_entry_that_is_known_to_be_new_is_found_like_any_other() {
        new_ones_found::<u32>();
        new_ones_found::<Told>();
    }

    fn small_in_parts_and_memory<S: Slot>(beside_entry: usize) {
        let mut table: Table<Entry, S> = Table::default();
        for n in 0..300_000_u32 {
            put(&mut table, n);
            if n % 20_000 == 19_999 {
                let places: usize = table.parts.iter().map(HashTable::allocation_size).sum();
                let bytes = places + table.entries.bytes();
                assert!(
                    bytes < table.len() * (size_of::<Entry>() + beside_entry),
                    "{bytes} for {} entries",
                    table.len()
                );
            }
        }
        assert!(table.parts.iter().all(|part| part.capacity() <= 3_584), "a step of growing or letting go is bounded");
        table.retain(|entry| entry.1 % 1_000 == 0);
        let places: usize = table.parts.iter().map(HashTable::allocation_size).sum();
        assert!(places + table.entries.bytes() < 300_000, "memory goes: {places} and {}", table.entries.bytes());
        assert!((0..300_000).all(|n| table.get(key(n)).map(|entry| entry.1) == (n % 1_000 == 0).then_some(n)));
    }

    #[test]
    fn no_part_is_large_and_memory_is_that_of_the_entries_and_ten_bytes_each() {
        small_in_parts_and_memory::<u32>(12);
    }

    #[test]
    fn with_four_bytes_of_the_key_it_is_twice_as_much() {
        small_in_parts_and_memory::<Told>(22);
    }

    fn walked_in_steps<S: Slot>() {
        let mut table: Table<Entry, S> = Table::default();
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

    #[test]
    fn a_walk_in_steps_sees_every_entry_however_the_table_grows_meanwhile() {
        walked_in_steps::<u32>();
        walked_in_steps::<Told>();
    }

    /// An entry that counts how often it is looked at.
    #[derive(Debug)]
    struct Counted(u128, Rc<Cell<usize>>);

    impl Keyed for Counted {
        fn key(&self) -> u128 {
            self.1.set(self.1.get() + 1);
            self.0
        }
    }

    /// Looks at entries while a table that has 30,000 becomes one of 200,000, and while as many other keys are looked for.
    fn looks<S: Slot>() -> usize {
        let looks = Rc::new(Cell::new(0));
        let mut table: Table<Counted, S> = Table::default();
        for n in 0..200_000 {
            if n == 30_000 {
                looks.set(0);
            }
            assert!(table.get_or_insert(key(n), || Counted(key(n), Rc::clone(&looks))).is_none());
        }
        assert!((200_000..370_000).all(|n| table.get(key(n)).is_none()));
        looks.get()
    }

    fn looked_ahead<S: Slot>() {
        let looks = Rc::new(Cell::new(0));
        let mut table: Table<Counted, S> = Table::default();
        table.look_ahead((0..10).map(key));
        for n in 0..20_000 {
            assert!(table.get_or_insert(key(n), || Counted(key(n), Rc::clone(&looks))).is_none());
        }
        looks.set(0);
        table.look_ahead((0..40_000).map(key));
        assert_eq!((looks.get(), table.len()), (0, 20_000));
        let taken = (20_000..21_000).map(key).filter(|new| {
            let part = &table.parts[part_of(*new, table.parts.len())];
            neighbour(part, S::hash_of(*new)).is_some()
        });
        assert!(taken.count() > 900, "hardly any line is empty");
    }

    #[test]
    fn looking_ahead_reads_places_and_no_entry() {
        looked_ahead::<u32>();
        looked_ahead::<Told>();
    }

    #[test]
    fn who_knows_four_bytes_of_a_key_looks_at_no_entry_where_the_table_grows_or_another_key_is_looked_for() {
        let (places, told) = (looks::<u32>(), looks::<Told>());
        assert!(places > 500_000 && told < 100, "{places} and {told} looks");
    }
}
