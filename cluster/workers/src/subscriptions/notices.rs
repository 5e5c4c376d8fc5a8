//! Dry runs that followers are told of (`projection.notify_on_inspect`): the last ones, bounded, for whoever is there.
//!
//! They are not stored, so they have no place: who was away has missed them, and so has who was too slow.

use std::collections::VecDeque;
use strandline_event::StampedBatch;

/// Bytes of the dry runs that are held; one is held however large.
const BYTES_MAX: usize = 4 << 20;

/// The last dry runs, numbered from 1.
#[derive(Default)]
pub(super) struct Notices {
    last: u64,
    held: VecDeque<StampedBatch>,
    bytes: usize,
}

impl Notices {
    /// The number of the last one.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn push(&mut self, batch: StampedBatch) {
        self.last += 1;
        self.bytes += batch.size_bytes();
        self.held.push_back(batch);
        while self.held.len() > 1 && self.bytes > BYTES_MAX {
            self.bytes -= self.held.pop_front().map_or(0, |oldest| oldest.size_bytes());
        }
    }

    /// The oldest one that is held behind this number.
    pub(super) fn after(&self, number: u64) -> Option<(u64, StampedBatch)> {
        let first = self.last + 1 - self.held.len() as u64;
        let wanted = first.max(number + 1);
        let batch = self.held.get(usize::try_from(wanted - first).ok()?)?;
        Some((wanted, batch.clone()))
    }

    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.bytes = 0;
    }
}
