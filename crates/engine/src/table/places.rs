//! A part that holds the places of its entries alone: four bytes each, and whoever wants to know more looks at the entry.

use super::PART_ENTRIES;
use super::part::{Part, hash_of, is_set};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Found;
use std::hint::black_box;

/// Places, found by the keys of the entries that are there.
#[derive(Debug, Default)]
pub(crate) struct Places(HashTable<u32>);

impl Places {
    /// Memory goes where most places have gone.
    fn shrink(&mut self, key_at: impl Fn(u32) -> u128) {
        if self.0.len() * 4 < self.0.capacity() {
            self.0.shrink_to(self.0.len() * 2, |place| hash_of(key_at(*place)));
        }
    }
}

impl Part for Places {
    fn find(&self, key: u128, is_at: impl Fn(u32) -> bool) -> Option<u32> {
        self.0.find(hash_of(key), |place| is_at(*place)).copied()
    }

    fn insert_new(&mut self, key: u128, place: u32, key_at: impl Fn(u32) -> u128) {
        self.0.insert_unique(hash_of(key), place, |place| hash_of(key_at(*place)));
    }

    fn find_or_insert(&mut self, key: u128, place: u32, key_at: impl Fn(u32) -> u128) -> Option<u32> {
        match self.0.entry(hash_of(key), |place| key_at(*place) == key, |place| hash_of(key_at(*place))) {
            Found::Occupied(known) => Some(*known.get()),
            Found::Vacant(free) => {
                free.insert(place);
                None
            }
        }
    }

    fn put_elsewhere(&mut self, key: u128, from: u32, to: u32) {
        if let Some(place) = self.0.find_mut(hash_of(key), |place| *place == from) {
            *place = to;
        }
    }

    fn split(&mut self, bit: u32, key_at: impl Fn(u32) -> u128) -> Self {
        // in one go before each decides about the next: looks of which none depends on another wait for memory at the same time
        black_box(self.0.iter().fold(0, |all, place| all ^ key_at(*place)));
        // at once as large as it has to be: growing there would cost an allocation for each doubling
        let mut part = HashTable::with_capacity(self.0.len() / 2 + PART_ENTRIES / 32);
        for place in self.0.extract_if(|place| is_set(key_at(*place), bit)) {
            part.insert_unique(hash_of(key_at(place)), place, |place| hash_of(key_at(*place)));
        }
        self.shrink(key_at);
        Self(part)
    }

    fn let_go(&mut self, mut leaves: impl FnMut(u32) -> bool, left: &mut Vec<u32>, key_at: impl Fn(u32) -> u128) {
        left.extend(self.0.extract_if(|place| leaves(*place)));
        self.shrink(key_at);
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.0.allocation_size()
    }
}
