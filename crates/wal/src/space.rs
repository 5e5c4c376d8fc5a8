//! Whether an entry surely fits on the disk, asked before it is accepted: after that it must not fail.

use crate::num::SegmentNo;
use parking_lot::Mutex;

/// The answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// It fits.
    Fits,
    /// The disk is full: refuse, and stay readable.
    Full,
}

/// What the I/O side knows of the room of one log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SpaceFacts {
    /// The segment that is being written.
    pub(crate) segment: SegmentNo,
    /// Its bytes that have blocks on the device.
    pub(crate) filled: u64,
    /// Bytes of the next segment that have blocks.
    pub(crate) spare: u64,
    /// Bytes free on the device.
    pub(crate) free: u64,
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

/// What is to be written: the end offset that the segment will have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Segment that will take it.
    pub(crate) segment: SegmentNo,
    /// Whether that segment is still to be begun.
    pub(crate) begins: bool,
    /// The segment's planned end in bytes, this entry included.
    pub(crate) end: u64,
}

/// The rule: blocks that are there already always do; new blocks only above the low-water mark.
pub(crate) fn judge(facts: SpaceFacts, wanted: Wanted, low_water_bytes: u64) -> Room {
    let reserved = if wanted.segment == facts.segment {
        facts.filled
    } else if wanted.begins {
        facts.spare
    } else {
        0
    };
    let missing = wanted.end.saturating_sub(reserved);
    if missing == 0 || facts.free >= low_water_bytes.saturating_add(missing) { Room::Fits } else { Room::Full }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserve_first_then_free_space_above_the_mark() {
        let facts = |free| SpaceFacts { segment: SegmentNo(3), filled: 100, spare: 50, free };
        let wanted = |segment, begins, end| Wanted { segment: SegmentNo(segment), begins, end };
        assert_eq!(judge(facts(0), wanted(3, false, 100), 1000), Room::Fits);
        assert_eq!(judge(facts(0), wanted(3, false, 101), 1000), Room::Full);
        assert_eq!(judge(facts(1001), wanted(3, false, 101), 1000), Room::Fits);
        assert_eq!(judge(facts(0), wanted(4, true, 50), 1000), Room::Fits);
        assert_eq!(judge(facts(0), wanted(4, true, 51), 1000), Room::Full);
        assert_eq!(judge(facts(0), wanted(4, false, 10), 1000), Room::Full);
        assert_eq!(judge(facts(1 << 60), wanted(9, false, u64::MAX), 1000), Room::Full);
    }
}
