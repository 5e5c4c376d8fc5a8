//! A part that holds the place and four bytes of the key of each entry, by which it is split and grows, and other keys are told from the wanted
//! one, without a look at an entry.
//!
//! Where entries are many, each look at memory waits. So all of a key is in one line of memory: whether it is there, and where it would be put.
//! Eight slots are a line, the first ones of which are taken; of a line that is full the next one has what is too much:
//!
//! ```text
//!  key -> | bits bits bits free free free free free | place place place free free free free free |
//! ```
//!
//! Invariant: one slot of eight is free, so that some line is not full; what is looked for behind a full line stands before the first
//! one that is not. So where entries leave, all others are put again.
//!
//! For keys that no client can choose: the bits are few.

use super::PART_ENTRIES;
use super::part::{Part, hash_of, is_set};
use std::hint::black_box;
use std::mem;
use std::ops::Range;

/// Slots of a line.
const SLOTS: usize = 8;
/// Of which so many are taken, on average.
const SLOTS_TAKEN_MAX: usize = 7;
/// The place of a slot that is free. No entry has it: so many are in no table.
const FREE: u32 = u32::MAX;

/// Bits of a key that are kept to tell parts: those of 16 to 131,072 parts (213 million entries). Fewer parts have so few entries that these
/// stand in a cache.
const KEPT: Range<u32> = 4..17;
/// Bits of a hash that choose among 4,096 lines, eight times as many as a part comes to.
const START_BITS: u32 = 12;
/// Where more bits of a hash stand that tell one key from another.
const MORE_AT: u32 = 57;

const START_AT: u32 = KEPT.end - KEPT.start;
const MORE_BITS_AT: u32 = START_AT + START_BITS;
const START_MASK: u32 = (1 << START_BITS) - 1;

/// Four bytes of a key. From below: the bits that tell parts, those of the start, more.
const fn bits_of(key: u128) -> u32 {
    let (parts, hash) = ((key >> KEPT.start) as u32 & ((1 << START_AT) - 1), hash_of(key));
    parts | ((hash as u32 & START_MASK) << START_AT) | (((hash >> MORE_AT) as u32) << MORE_BITS_AT)
}

/// The line that a key begins at, before it is cut to their number.
const fn start_of(bits: u32) -> usize {
    ((bits >> START_AT) & START_MASK) as usize
}

/// What is known of an entry without a look at it.
#[derive(Clone, Copy, Debug)]
struct Told {
    place: u32,
    bits: u32,
}

impl Told {
    /// Whether this bit of the entry's key is set.
    fn has_bit(self, bit: u32, key_at: impl Fn(u32) -> u128) -> bool {
        if KEPT.contains(&bit) { (self.bits >> (bit - KEPT.start)) & 1 == 1 } else { is_set(key_at(self.place), bit) }
    }
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line {
    bits: [u32; SLOTS],
    places: [u32; SLOTS],
}

impl Line {
    const EMPTY: Self = Self { bits: [0; SLOTS], places: [FREE; SLOTS] };

    fn is_full(&self) -> bool {
        self.places[SLOTS - 1] != FREE
    }

    /// The slot with these bits of which `is_at` says that it is the one.
    #[inline]
    fn find(&self, bits: u32, is_at: impl Fn(u32) -> bool) -> Option<usize> {
        // all of them at once: most often none is
        let same =
            self.bits.iter().enumerate().fold(0_u32, |all, (slot, other)| all | u32::from(*other == bits) << slot);
        if same == 0 {
            return None;
        }
        (0..SLOTS).find(|slot| {
            let place = self.places[*slot];
            (same >> slot) & 1 == 1 && place != FREE && is_at(place)
        })
    }

    /// Puts an entry into the first slot that is free; there is one.
    fn put(&mut self, told: Told) {
        let taken: u32 = self.places.iter().map(|place| u32::from(*place != FREE)).sum();
        if let Some(bits) = self.bits.get_mut(taken as usize) {
            *bits = told.bits;
            self.places[taken as usize] = told.place;
        }
    }

    fn all(&self) -> impl Iterator<Item = Told> + '_ {
        let slots = self.places.iter().zip(&self.bits);
        slots.map(|(place, bits)| Told { place: *place, bits: *bits }).filter(|told| told.place != FREE)
    }
}

/// The lines: none, or a power of two.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    lines: Vec<Line>,
    len: usize,
}

/// Lines for so many entries.
const fn lines_for(entries: usize) -> usize {
    entries.div_ceil(SLOTS_TAKEN_MAX).next_power_of_two()
}

impl Lines {
    const fn room(&self) -> usize {
        self.lines.len() * SLOTS_TAKEN_MAX
    }

    /// Reads the line that a key begins at: what a look for the key, and the key itself once it is put, wait for.
    #[inline]
    pub(super) fn look_ahead(&self, key: u128) {
        let line = self.lines.get(start_of(bits_of(key)) & self.lines.len().wrapping_sub(1));
        black_box(line.map(|line| line.places[SLOTS - 1]));
    }

    /// Line and slot of a key.
    fn find_slot(&self, key: u128, is_at: impl Fn(u32) -> bool) -> Option<(usize, usize)> {
        let (bits, mask) = (bits_of(key), self.lines.len().wrapping_sub(1));
        let mut at = start_of(bits) & mask;
        while let Some(line) = self.lines.get(at) {
            if let Some(slot) = line.find(bits, &is_at) {
                return Some((at, slot));
            }
            if !line.is_full() {
                return None;
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// Puts an entry; there is room.
    fn put(&mut self, told: Told) {
        let mask = self.lines.len().wrapping_sub(1);
        let mut at = start_of(told.bits) & mask;
        while let Some(line) = self.lines.get_mut(at) {
            if !line.is_full() {
                line.put(told);
                self.len += 1;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// Puts an entry, and makes room for it if there is none.
    fn add(&mut self, told: Told) {
        if self.len >= self.room() {
            self.put_anew(lines_for(self.len + 1));
        }
        self.put(told);
    }

    /// All entries are put into so many new lines.
    fn put_anew(&mut self, lines: usize) {
        let old = mem::replace(&mut self.lines, vec![Line::EMPTY; lines]);
        self.len = 0;
        old.iter().flat_map(Line::all).for_each(|told| self.put(told));
    }

    /// Entries leave of which `stays`, which is asked once for each, does not say that they stay; the others move towards where they begin.
    fn keep(&mut self, mut stays: impl FnMut(Told) -> bool) {
        let Some(first) = self.lines.iter().position(|line| !line.is_full()) else { return };
        let mask = self.lines.len() - 1;
        self.len = 0;
        // No entry stands behind that line and begins before it. So one that is put again finds room in its line at the latest, and the lines
        // before have been put again already.
        for step in 1..=self.lines.len() {
            let line = mem::replace(&mut self.lines[(first + step) & mask], Line::EMPTY);
            line.all().filter(|told| stays(*told)).for_each(|told| self.put(told));
        }
    }

    /// Memory goes where most entries have gone.
    fn shrink(&mut self) {
        let lines = lines_for(self.len * 2);
        if self.len * 4 < self.room() && lines < self.lines.len() {
            self.put_anew(lines);
        }
    }
}

impl Part for Lines {
    fn find(&self, key: u128, is_at: impl Fn(u32) -> bool) -> Option<u32> {
        let (line, slot) = self.find_slot(key, is_at)?;
        Some(self.lines[line].places[slot])
    }

    fn insert_new(&mut self, key: u128, place: u32, _: impl Fn(u32) -> u128) {
        self.add(Told { place, bits: bits_of(key) });
    }

    fn find_or_insert(&mut self, key: u128, place: u32, key_at: impl Fn(u32) -> u128) -> Option<u32> {
        let known = self.find(key, |place| key_at(place) == key);
        if known.is_none() {
            self.insert_new(key, place, key_at);
        }
        known
    }

    fn put_elsewhere(&mut self, key: u128, from: u32, to: u32) {
        if let Some((line, slot)) = self.find_slot(key, |place| place == from) {
            self.lines[line].places[slot] = to;
        }
    }

    fn split(&mut self, bit: u32, key_at: impl Fn(u32) -> u128) -> Self {
        if !KEPT.contains(&bit) {
            // in one go before each decides about the next: looks of which none depends on another wait for memory at the same time
            black_box(self.lines.iter().flat_map(Line::all).fold(0, |all, told| all ^ key_at(told.place)));
        }
        let mut part = Self { lines: vec![Line::EMPTY; lines_for(self.len / 2 + PART_ENTRIES / 32)], len: 0 };
        self.keep(|told| {
            let leaves = told.has_bit(bit, &key_at);
            if leaves {
                part.add(told);
            }
            !leaves
        });
        self.shrink();
        part
    }

    fn let_go(&mut self, mut leaves: impl FnMut(u32) -> bool, left: &mut Vec<u32>, _: impl Fn(u32) -> u128) {
        self.keep(|told| {
            let leaves = leaves(told.place);
            if leaves {
                left.push(told.place);
            }
            !leaves
        });
        self.shrink();
    }

    fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.room()
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.lines.capacity() * size_of::<Line>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn key(n: u32) -> u128 {
        strandline_event::hash::stream_hash(&n.to_string())
    }

    fn no_look(place: u32) -> u128 {
        panic!("it looks at the entry at {place}")
    }

    #[test]
    fn a_line_is_one_of_memory() {
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
        assert_eq!(MORE_BITS_AT + (64 - MORE_AT), u32::BITS);
    }

    #[test]
    fn four_bytes_say_of_a_key_what_the_key_says() {
        for n in 0..2_000 {
            let (key, hash) = (key(n), hash_of(key(n)));
            let told = Told { place: n, bits: bits_of(key) };
            assert_eq!(start_of(told.bits), (hash & 0xfff) as usize);
            assert!([9, 63, 64, 127].iter().all(|bit| bits_of(key ^ 1_u128 << *bit) != told.bits));
            for bit in 0..40 {
                let key_at = |place: u32| if KEPT.contains(&bit) { no_look(place) } else { key };
                assert_eq!(told.has_bit(bit, key_at), key & 1 << bit != 0);
            }
        }
    }

    #[test]
    fn keys_that_begin_at_one_line_go_on_in_the_next_ones_and_round() {
        // the last of their lines, whatever the number of lines; told apart by bits above
        let key = |n: u32| {
            let low = u128::from(n) << 4;
            low | ((low & 0xfff) ^ 0xfff) << 64
        };
        let mut lines = Lines::default();
        assert_eq!(lines.find(key(0), |_| true), None);
        for n in 0..300 {
            assert_eq!(start_of(bits_of(key(n))), 0xfff);
            assert_eq!(lines.find_or_insert(key(n), n, key), None);
            assert_eq!(lines.find_or_insert(key(n), 1_000, key), Some(n));
            assert!(lines.len() <= lines.room());
        }
        assert!((0..300).all(|n| lines.find(key(n), |place| place == n) == Some(n)));
        assert!((300..400).all(|n| lines.find(key(n), |place| key(place) == key(n)).is_none()));
        let mut left = Vec::new();
        lines.let_go(|place| place % 3 == 0, &mut left, key);
        assert_eq!(left.len(), 100);
        assert!((0..300).all(|n| lines.find(key(n), |place| place == n).is_some() == (n % 3 != 0)));
        lines.put_elsewhere(key(1), 1, 7_000);
        assert_eq!(lines.find(key(1), |place| place == 7_000), Some(7_000));
    }

    #[test]
    fn what_stays_is_found_however_full_the_lines_were() {
        // few lines begin a key: these are full, and the ones behind them, across the last one too
        let key = |n: u32| {
            let (low, start) = (u128::from(n) << 4, [0, 1, 4, 0xfff][n as usize % 4]);
            low | ((low & 0xfff) ^ start) << 64
        };
        let (mut lines, mut there) = (Lines::default(), BTreeSet::new());
        for n in 0..400 {
            lines.insert_new(key(n), n, no_look);
            there.insert(n);
            if n % 40 < 39 {
                continue;
            }
            let mut left = Vec::new();
            lines.let_go(|place| (place * 7 + n) % 5 == 0, &mut left, no_look);
            assert!(!left.is_empty() && left.iter().all(|place| there.remove(place)));
            assert_eq!(lines.len(), there.len());
            let is_there = |n: u32| lines.find(key(n), |place| place == n).is_some();
            assert!((0..=n).all(|n| is_there(n) == there.contains(&n)), "{n}");
        }
        let before = lines.len();
        let part = lines.split(4, no_look);
        assert_eq!(lines.len() + part.len(), before);
        for n in there {
            let (one, other) = (lines.find(key(n), |place| place == n), part.find(key(n), |place| place == n));
            assert_eq!((one.is_none(), other.is_some()), (n % 2 == 1, n % 2 == 1), "{n}");
        }
    }

    #[test]
    fn a_part_is_split_and_let_go_of_without_a_look_at_an_entry() {
        let mut lines = Lines::default();
        (0..3_000).for_each(|n| lines.insert_new(key(n), n, no_look));
        let part = lines.split(5, no_look);
        assert_eq!(lines.len() + part.len(), 3_000);
        for n in 0..3_000 {
            let (there, other) = if is_set(key(n), 5) { (&part, &lines) } else { (&lines, &part) };
            assert_eq!((there.find(key(n), |place| place == n), other.find(key(n), |_| true)), (Some(n), None));
        }
        let (len, bytes, mut left) = (lines.len(), lines.bytes(), Vec::new());
        lines.let_go(|_| false, &mut left, no_look);
        assert_eq!((lines.len(), lines.bytes(), left.len()), (len, bytes, 0));
        lines.let_go(|place| place > 100, &mut left, no_look);
        assert_eq!(lines.len() + left.len(), len);
        assert!(lines.bytes() * 8 < bytes, "memory goes");
        lines.let_go(|_| true, &mut left, no_look);
        assert_eq!((lines.len(), left.len()), (0, len));
        lines.insert_new(key(1), 1, no_look);
        assert_eq!(lines.find(key(1), |place| place == 1), Some(1));
    }
}
