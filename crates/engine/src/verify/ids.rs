//! Event ids that stand twice, found in as many passes as memory asks for.

use std::collections::BTreeSet;
use strandline_event::EventId;

/// Ids whose remainder is the pass's are collected, sorted and compared; the next pass takes the next remainder.
pub(super) struct IdPasses {
    passes: u64,
    pass: u64,
    ids: Vec<EventId>,
    doubles: BTreeSet<EventId>,
}

/// Doubles that are listed.
const LISTED_MAX: usize = 10_000;

impl IdPasses {
    pub(super) fn new(events: u64, per_pass: u64) -> Self {
        let passes = events.div_ceil(per_pass.max(1)).max(1);
        Self { passes, pass: 0, ids: Vec::new(), doubles: BTreeSet::new() }
    }

    pub(super) fn add(&mut self, id: EventId) {
        if self.is_of_pass(u128::from_be_bytes(id.0)) {
            self.ids.push(id);
        }
    }

    /// Whether what has this key is compared in the pass.
    pub(super) fn is_of_pass(&self, key: u128) -> bool {
        self.passes == 1 || key % u128::from(self.passes) == u128::from(self.pass)
    }

    /// Compares what the pass collected. True: there is another pass.
    pub(super) fn end_pass(&mut self) -> bool {
        self.ids.sort_unstable();
        let twice = self.ids.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        for id in twice {
            if self.doubles.len() < LISTED_MAX {
                self.doubles.insert(id);
            }
        }
        self.ids.clear();
        self.pass += 1;
        self.pass < self.passes
    }

    pub(super) fn doubles(&self) -> impl Iterator<Item = &EventId> {
        self.doubles.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_found_in_any_number_of_passes() {
        let id = |n: u128| EventId((n * 0x9e37_79b9_7f4a_7c15).to_be_bytes());
        for passes in [1, 2, 7] {
            let mut ids = IdPasses::new(passes * 10, 10);
            loop {
                (0..100).chain([3, 77, 77]).for_each(|n| ids.add(id(n)));
                if !ids.end_pass() {
                    break;
                }
            }
            let found: BTreeSet<EventId> = ids.doubles().copied().collect();
            assert_eq!(found, BTreeSet::from([id(3), id(77)]), "{passes}");
        }
    }
}
