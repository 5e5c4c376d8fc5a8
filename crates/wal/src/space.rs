//! Whether an entry surely fits on the disk, asked before it is accepted: after that it must not fail.
//!
//! The rule: blocks that the log holds already (zeros ahead in the open segment, the beginning of the next one) may always be
//! used; new blocks only while the device stays above the low-water mark. Behind every accepted entry there is room for the
//! marks that follow it and for the first group of one more segment, so that a log on a full disk can still be proven,
//! stopped and trimmed.
//!
//! It refuses to promise for other programs: where they eat the room in between, a group waits for room, and is not lost.

use crate::disk::DeviceSpace;
use crate::num::SegmentNo;
use parking_lot::Mutex;

/// Zeros that the next segment's file always has: more than its first State frame and a few marks take.
pub(crate) const NEXT_SEGMENT_BYTES: u64 = 32 << 10;

/// On a small device the low-water mark is this share of it.
const LOW_WATER_SHARE: u64 = 16;

/// The answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// It fits.
    Fits,
    /// The disk is full: refuse, and stay readable.
    Full,
}

/// What the I/O side knows of the reserve of one log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SpaceFacts {
    /// The segment that is being written.
    pub(crate) segment: SegmentNo,
    /// Its bytes that have blocks on the device.
    pub(crate) filled: u64,
    /// Bytes of the next segment that have blocks.
    pub(crate) spare: u64,
    /// New blocks that the writer counts on: zeros must leave them alone.
    pub(crate) promised: u64,
}

/// Facts shared between the I/O side and the writer. The lock is held for a copy only.
#[derive(Default)]
pub(crate) struct Space(Mutex<SpaceFacts>);

impl Space {
    pub(crate) fn get(&self) -> SpaceFacts {
        *self.0.lock()
    }

    pub(crate) fn update(&self, write: impl FnOnce(&mut SpaceFacts)) {
        write(&mut self.0.lock());
    }
}

/// Free bytes below which only the reserve is used.
pub(crate) const fn low_water(device: DeviceSpace, at_most: u64) -> u64 {
    let share = device.total_bytes / LOW_WATER_SHARE;
    if share < at_most { share } else { at_most }
}

/// New blocks, in bytes, that it takes to write everything planned: `ends` are the ends that segments will have, in the order
/// of writing (the last one of a segment counts); `next` is what the segment after them begins with.
pub(crate) fn missing(facts: SpaceFacts, ends: impl Iterator<Item = (SegmentNo, u64)>, next: u64) -> u64 {
    let mut ends = ends.filter(|(segment, _)| *segment >= facts.segment).peekable();
    let (mut missing, mut spare) = (0u64, facts.spare);
    while let Some((segment, end)) = ends.next() {
        if ends.peek().is_some_and(|(after, _)| *after == segment) {
            continue;
        }
        let held = if segment == facts.segment { facts.filled } else { std::mem::take(&mut spare) };
        missing = missing.saturating_add(end.saturating_sub(held));
    }
    missing.saturating_add(next.saturating_sub(spare))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing_of(ends: &[(u64, u64)], next: u64) -> u64 {
        let facts = SpaceFacts { segment: SegmentNo(3), filled: 100, spare: 50, promised: 0 };
        missing(facts, ends.iter().map(|(segment, end)| (SegmentNo(*segment), *end)), next)
    }

    #[test]
    fn the_reserve_counts_once_and_the_next_segment_always() {
        assert_eq!(missing_of(&[(3, 100)], 50), 0);
        assert_eq!(missing_of(&[(3, 101)], 50), 1);
        assert_eq!(missing_of(&[(3, 60), (3, 80), (3, 130)], 60), 40);
        assert_eq!(missing_of(&[(2, 999), (3, 100)], 0), 0, "an older segment is written");
        assert_eq!(missing_of(&[(4, 50)], 0), 0);
        assert_eq!(missing_of(&[(4, 50)], 50), 50, "the next one is taken, and one more must fit");
        assert_eq!(missing_of(&[(3, 110), (4, 70), (5, 30)], 5), 10 + 20 + 30 + 5);
        assert_eq!(missing_of(&[(3, u64::MAX), (4, u64::MAX)], u64::MAX), u64::MAX);
    }

    #[test]
    fn a_small_device_has_a_small_low_water_mark() {
        let device = |total_bytes| DeviceSpace { free_bytes: 0, total_bytes };
        assert_eq!(low_water(device(32 << 20), 16 << 20), 2 << 20);
        assert_eq!(low_water(device(1 << 40), 16 << 20), 16 << 20);
        assert_eq!(low_water(device(0), 16 << 20), 0);
    }
}
