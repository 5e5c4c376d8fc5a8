//! A hash table in small parts, for entries that are found by 128 bits of hash.
//!
//! A table that doubles as a whole, or that is looked through as a whole, stops the owner of a log for as long as it takes to touch
//! millions of entries. So it grows by linear hashing: when it is full, the next part in turn is split in two, and a part never holds
//! more than some three thousand entries. Entries leave the same way: a [`Walk`] goes over the parts in steps, between appends.
//!
//! A part holds no entries, but the place of each: four bytes ([`Places`]), where a hash table keeps a fifth to a half of itself free, which would be
//! as much of all entries. Splitting a part moves no entry, and one that leaves gives its place to the last one. A table that grows with every event has
//! four bytes more there ([`Lines`]), which spare it a look at the entries when a part is split or grows, or when a key is looked for that it has not.
//!
//! Invariant: a walk sees every entry that was there when it began. A split takes places from one part to the end of the list
//! only, where the walk comes later.

mod entries;
mod lines;
mod part;
mod places;

use entries::Entries;
pub(crate) use lines::Lines;
use part::Part;
use places::Places;

/// Entries a part, on average; with it the parts that were not split yet (twice as many, and as chance has it) keep within the 3,584
/// places that 4,096 buckets take, and the others within half of that. Smaller parts would be made too often.
const PART_ENTRIES: usize = 1_624;

/// An entry and its key, which is a hash already.
pub(crate) trait Keyed {
    /// The key.
    fn key(&self) -> u128;
}

/// The table; `P`: its parts.
#[derive(Debug)]
pub(crate) struct Table<T, P = Places> {
    /// Never empty. With `base` parts (a power of two) and `split` more, part `n` of the first `split` has given half of its entries to
    /// part `base + n`.
    parts: Vec<P>,
    entries: Entries<T>,
}

impl<T, P: Part> Default for Table<T, P> {
    fn default() -> Self {
        Self { parts: vec![P::default()], entries: Entries::default() }
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

impl<T: Keyed, P: Part> Table<T, P> {
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
        let place = part.find(key, |place| self.entries.at(place).key() == key)?;
        Some(self.entries.at(place))
    }

    /// Adds an entry whose key no other one has: nobody looks for that one again.
    pub(crate) fn insert_new(&mut self, entry: T) {
        self.make_place();
        let key = entry.key();
        let part = part_of(key, self.parts.len());
        let Self { parts, entries } = self;
        parts[part].insert_new(key, entries.len() as u32, |place| entries.at(place).key());
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
        let known = parts[part].find_or_insert(key, entries.len() as u32, |place| entries.at(place).key());
        if let Some(place) = known {
            return Some(entries.at_mut(place));
        }
        entries.push(new());
        None
    }

    /// Splits the part whose turn it is: the places of its entries whose next bit is set become the last part.
    fn split_next(&mut self) {
        let new = self.parts.len();
        let (source, bit) = (new - base_of(new), base_of(new).ilog2());
        let Self { parts, entries } = self;
        let part = parts[source].split(bit, |place| entries.at(place).key());
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
            let entries = &self.entries;
            part.let_go(|place| !keep(entries.at(place)), &mut leaving, |place| entries.at(place).key());
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
            self.parts[part].put_elsewhere(key, before, place);
        }
    }
}

impl<T: Keyed> Table<T, Lines> {
    /// Reads what [`get`](Self::get) of these keys will look at, and [`insert_new`](Self::insert_new) of them write to. Each look waits for memory;
    /// together, none depending on another, they wait at the same time. Whether any of the keys is there.
    pub(crate) fn look_ahead(&self, mut keys: impl Iterator<Item = u128> + Clone) -> bool {
        for key in keys.clone() {
            self.parts[part_of(key, self.parts.len())].look_ahead(key);
        }
        keys.any(|key| self.get(key).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::BTreeSet;
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

    fn put<P: Part>(table: &mut Table<Entry, P>, n: u32) {
        assert!(table.get_or_insert(key(n), || Entry(key(n), n)).is_none());
    }

    fn found_changed_and_let_go<P: Part>() {
        let mut table: Table<Entry, P> = Table::default();
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
        found_changed_and_let_go::<Places>();
        found_changed_and_let_go::<Lines>();
    }

    fn new_ones_found<P: Part>() {
        let mut table: Table<Entry, P> = Table::default();
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
        new_ones_found::<Places>();
        new_ones_found::<Lines>();
    }

    fn small_in_parts_and_memory<P: Part>(beside_entry: usize) {
        let mut table: Table<Entry, P> = Table::default();
        for n in 0..300_000_u32 {
            put(&mut table, n);
            if n % 20_000 == 19_999 {
                let places: usize = table.parts.iter().map(P::bytes).sum();
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
        let places: usize = table.parts.iter().map(P::bytes).sum();
        assert!(places + table.entries.bytes() < 300_000, "memory goes: {places} and {}", table.entries.bytes());
        assert!((0..300_000).all(|n| table.get(key(n)).map(|entry| entry.1) == (n % 1_000 == 0).then_some(n)));
    }

    #[test]
    fn no_part_is_large_and_memory_is_that_of_the_entries_and_ten_bytes_each() {
        small_in_parts_and_memory::<Places>(12);
    }

    #[test]
    fn with_four_bytes_of_the_key_it_is_twice_as_much() {
        small_in_parts_and_memory::<Lines>(22);
    }

    fn walked_in_steps<P: Part>() {
        let mut table: Table<Entry, P> = Table::default();
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
        walked_in_steps::<Places>();
        walked_in_steps::<Lines>();
    }

    /// Keys a quarter of which begin at the same few places, the last ones there are.
    fn crowded(n: u32) -> u128 {
        let (key, last) = (key(n), 0xff0 | u64::from(n / 4 % 16));
        if !n.is_multiple_of(4) {
            return key;
        }
        let (low, hash) = (key as u64, ((key >> 64) as u64 & !0xfff) | last);
        u128::from(low) | u128::from(low ^ hash) << 64
    }

    fn there_is_what_came_and_has_not_left<P: Part>() {
        let mut table: Table<Entry, P> = Table::default();
        let (mut there, mut walk, mut next) = (BTreeSet::new(), Walk::default(), 0);
        for round in 0..12 {
            for n in next..next + 4_000 {
                table.insert_new(Entry(crowded(n), n));
                there.insert(n);
            }
            next += 4_000;
            // some of them have left, and some of those come again
            for n in (0..next).filter(|n| n % 11 == round) {
                let is_known = table.get_or_insert(crowded(n), || Entry(crowded(n), n)).is_some();
                assert_eq!(is_known, !there.insert(n), "{n} in round {round}");
            }
            let mut left = Vec::new();
            let is_done = table.retain_some(&mut walk, &mut { 10_000 }, |entry| {
                let stays = entry.1 % 7 != round % 7;
                if !stays {
                    left.push(entry.1);
                }
                stays
            });
            if is_done {
                walk = Walk::default();
            }
            assert!(!left.is_empty() && left.iter().all(|n| there.remove(n)), "round {round}");
            assert_eq!(table.len(), there.len());
            let found = |n: u32| table.get(crowded(n)).map(|entry| entry.1);
            assert!((0..next + 1_000).all(|n| found(n) == there.get(&n).copied()), "round {round}");
            // of a key without any bit too, as rows without a command have one
            assert!(table.get(0).is_none());
        }
        assert!(table.parts.len() > 16, "{} parts", table.parts.len());
    }

    #[test]
    fn there_is_what_came_and_has_not_left_however_many_keys_begin_at_one_place() {
        there_is_what_came_and_has_not_left::<Places>();
        there_is_what_came_and_has_not_left::<Lines>();
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
    fn looks<P: Part>() -> usize {
        let looks = Rc::new(Cell::new(0));
        let mut table: Table<Counted, P> = Table::default();
        for n in 0..200_000 {
            if n == 30_000 {
                looks.set(0);
            }
            assert!(table.get_or_insert(key(n), || Counted(key(n), Rc::clone(&looks))).is_none());
        }
        assert!((200_000..370_000).all(|n| table.get(key(n)).is_none()));
        looks.get()
    }

    #[test]
    fn looking_ahead_looks_at_no_entry_of_another_key() {
        let looks = Rc::new(Cell::new(0));
        let mut table: Table<Counted, Lines> = Table::default();
        assert!(!table.look_ahead((0..10).map(key)));
        for n in 0..20_000 {
            assert!(table.get_or_insert(key(n), || Counted(key(n), Rc::clone(&looks))).is_none());
        }
        looks.set(0);
        assert!(!table.look_ahead((20_000..60_000).map(key)));
        assert!(looks.get() < 20, "{} looks", looks.get());
        assert!(table.look_ahead([30_000, 7, 40_000].into_iter().map(key)));
    }

    #[test]
    fn who_knows_four_bytes_of_a_key_looks_at_no_entry_where_the_table_grows_or_another_key_is_looked_for() {
        let (places, told) = (looks::<Places>(), looks::<Lines>());
        assert!(places > 500_000 && told < 100, "{places} and {told} looks");
    }
}
