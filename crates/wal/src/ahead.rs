//! How much of a map is asked for ahead of who walks it.
//!
//! ```text
//!  between two looks  | the next step
//!  -------------------+-----------------------------------------------------------------
//!  a file was synced  | the smallest: appends are in flight, and wait for what is read
//!  none               | twice the last one, up to the largest: the disk is the reader's
//! ```

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So few bytes that a group of appends waits a fraction of a millisecond for them.
const SMALLEST_STEP_BYTES: u64 = 512 << 10;
/// Enough for the disk to be read at its speed.
const LARGEST_STEP_BYTES: u64 = 8 << 20;

/// A system reads of one advice as much as it would read ahead by itself, or as one request may have, and forgets the rest. This much it takes.
pub(crate) const ADVICE_BYTES: usize = 128 << 10;
/// Asked for at once, so that a system that takes more makes few requests of it.
const LARGE_ADVICE_BYTES: usize = 2 << 20;

/// The advices by which any system begins to read all of a range. What one has begun already costs it a look.
pub(crate) fn advices(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    pieces(range, LARGE_ADVICE_BYTES).flat_map(|large| {
        let rest = pieces(large.clone(), ADVICE_BYTES).skip(1);
        std::iter::once(large).chain(rest)
    })
}

fn pieces(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(most).map(move |from| from..(from + most).min(end))
}

/// How often a file of a disk was synced: what its readers know of those who write. Cloning shares it.
#[derive(Clone, Default, Debug)]
pub(crate) struct Syncs(Arc<AtomicU64>);

impl Syncs {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where a reader that walks a map has asked up to.
pub(crate) struct Ahead {
    /// Everything before was asked for.
    to: u64,
    step: u64,
    syncs_seen: u64,
}

impl Ahead {
    pub(crate) fn from(start: u64, syncs: &Syncs) -> Self {
        Self { to: start, step: SMALLEST_STEP_BYTES, syncs_seen: syncs.so_far() }
    }

    /// What to ask the disk for, where `touched` will be touched now, of a map that ends at `end`. Up to twice the step is on its way then.
    pub(crate) fn next(&mut self, touched: Range<u64>, end: u64, syncs: &Syncs) -> Option<Range<u64>> {
        if touched.end + self.step <= self.to || self.to >= end {
            return None;
        }
        let (now, begin) = (syncs.so_far(), self.to.max(touched.start));
        self.step = if now == self.syncs_seen { (2 * self.step).min(LARGEST_STEP_BYTES) } else { SMALLEST_STEP_BYTES };
        self.syncs_seen = now;
        self.to = (touched.end + 2 * self.step).max(begin).min(end);
        Some(begin..self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u64 = 40_000_000;

    /// Walks by frames of so many bytes; gives what was asked for.
    fn walk(frame: u64, is_synced: impl Fn(u64) -> bool) -> Vec<Range<u64>> {
        let syncs = Syncs::default();
        let (mut ahead, mut asked) = (Ahead::from(0, &syncs), Vec::<Range<u64>>::new());
        for from in (0..END).step_by(usize::try_from(frame).unwrap()) {
            let to = (from + frame).min(END);
            if is_synced(to) {
                syncs.count();
            }
            asked.extend(ahead.next(from..to, END, &syncs));
            let reached = asked.last().map_or(0, |range| range.end);
            assert!(reached >= (to + SMALLEST_STEP_BYTES).min(END), "{to} is touched and only {reached} was asked for");
        }
        let begins = asked.iter().map(|range| range.start);
        let ends = std::iter::once(0).chain(asked.iter().map(|range| range.end));
        assert!(begins.eq(ends.take(asked.len())), "a gap or a double in {asked:?}");
        asked
    }

    #[test]
    fn a_system_that_takes_the_least_of_each_advice_reads_all() {
        for range in [0..1, 7..300_000, 0..LARGE_ADVICE_BYTES, 4_096..9_000_000] {
            let mut asked: Vec<_> = advices(range.clone()).collect();
            let is_within = |advice: &Range<usize>| range.start <= advice.start && advice.end <= range.end;
            assert!(asked.iter().all(is_within), "{asked:?}");
            let large = range.len().min(LARGE_ADVICE_BYTES);
            assert_eq!(asked.first().map(|advice| advice.len()), Some(large), "who takes more is asked for more");
            asked.sort_by_key(|advice| advice.start);
            let read = asked.iter().map(|advice| advice.start..advice.end.min(advice.start + ADVICE_BYTES));
            let reached = read.fold(range.start, |reached, read| {
                assert!(read.start <= reached, "nobody reads from {reached} to {}", read.start);
                reached.max(read.end)
            });
            assert_eq!(reached, range.end);
        }
    }

    #[test]
    fn alone_it_soon_asks_in_large_steps() {
        for frame in [64, 5_000, 300_000, 3_000_000] {
            let asked = walk(frame, |_| false);
            assert!(asked.len() <= 16, "{} times by frames of {frame}", asked.len());
        }
    }

    #[test]
    fn beside_appends_little_is_on_its_way_at_once() {
        for frame in [64, 5_000, 300_000] {
            let asked = walk(frame, |_| true);
            let largest = asked.iter().skip(1).map(|range| range.end - range.start).max();
            let most = SMALLEST_STEP_BYTES + frame;
            assert!(largest.is_some_and(|bytes| bytes <= most), "{largest:?} by frames of {frame}");
        }
    }

    #[test]
    fn the_first_sync_makes_the_next_step_small_again() {
        let half = END / 2;
        let asked = walk(5_000, |to| to >= half);
        let (alone, beside): (Vec<_>, Vec<_>) = asked.into_iter().partition(|range| range.end <= half);
        let longest = |ranges: &[Range<u64>]| ranges.iter().map(|range| range.end - range.start).max().unwrap_or(0);
        assert!(longest(&alone) >= LARGEST_STEP_BYTES / 2, "{alone:?}");
        // the one step that was asked for before the first sync is still on its way
        assert!(longest(&beside[2..]) <= SMALLEST_STEP_BYTES + 5_000, "{beside:?}");
    }
}
