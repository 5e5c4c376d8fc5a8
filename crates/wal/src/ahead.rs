//! How much of a map is asked for ahead of who walks it.
//!
//! ```text
//!  since the last look             | the next step
//!  --------------------------------+------------------------------------------------------------------------
//!  a write or a sync began, or one | the smallest: appends are in flight, and wait for what is read. One that
//!  is under way                    | waits long began long ago, and must not make the reader believe it is alone
//!  neither, for some milliseconds  | twice the last one, up to the largest: the disk is the reader's
//!  neither, not for so long        | the smallest
//! ```

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So few bytes that a group of appends waits a fraction of a millisecond for them.
const SMALLEST_STEP_BYTES: u64 = 128 << 10;
/// Read in smallest steps that nobody wrote beside before they grow: some milliseconds, so that the pauses between the groups of many appends
/// are none.
const QUIET_BYTES: u64 = 4 << 20;
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

/// Writes and syncs of the files of a disk: what its readers know of those who write. Cloning shares it.
#[derive(Clone, Default, Debug)]
pub(crate) struct Writes(Arc<Counts>);

#[derive(Default, Debug)]
struct Counts {
    begun: AtomicU64,
    under_way: AtomicU64,
}

/// A write or a sync that goes on as long as this lives.
pub(crate) struct UnderWay<'a>(&'a Counts);

impl Writes {
    /// One begins.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        self.0.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(&self.0)
    }

    fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::Relaxed)
    }

    fn is_one_under_way(&self) -> bool {
        self.0.under_way.load(Ordering::Relaxed) > 0
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where a reader that walks a map has asked up to.
pub(crate) struct Ahead {
    /// Everything before was asked for.
    to: u64,
    step: u64,
    /// Asked for since somebody wrote.
    quiet_bytes: u64,
    writes_seen: u64,
}

impl Ahead {
    pub(crate) fn from(start: u64, writes: &Writes) -> Self {
        Self { to: start, step: SMALLEST_STEP_BYTES, quiet_bytes: 0, writes_seen: writes.begun() }
    }

    /// What to ask the disk for, where `touched` will be touched now, of a map that ends at `end`. Up to twice the step is on its way then.
    pub(crate) fn next(&mut self, touched: Range<u64>, end: u64, writes: &Writes) -> Option<Range<u64>> {
        if touched.end + self.step <= self.to || self.to >= end {
            return None;
        }
        let (begun, begin) = (writes.begun(), self.to.max(touched.start));
        if begun != self.writes_seen || writes.is_one_under_way() {
            (self.step, self.quiet_bytes, self.writes_seen) = (SMALLEST_STEP_BYTES, 0, begun);
        } else if self.quiet_bytes >= QUIET_BYTES {
            self.step = (2 * self.step).min(LARGEST_STEP_BYTES);
        }
        self.to = (touched.end + 2 * self.step).max(begin).min(end);
        self.quiet_bytes += self.to - begin;
        Some(begin..self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u64 = 40_000_000;

    /// Walks by frames of so many bytes; gives what was asked for.
    fn walk(frame: u64, writes: &Writes, is_written: impl Fn(u64) -> bool) -> Vec<Range<u64>> {
        let (mut ahead, mut asked) = (Ahead::from(0, writes), Vec::<Range<u64>>::new());
        for from in (0..END).step_by(usize::try_from(frame).unwrap()) {
            let to = (from + frame).min(END);
            if is_written(to) {
                drop(writes.begin());
            }
            asked.extend(ahead.next(from..to, END, writes));
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
            let asked = walk(frame, &Writes::default(), |_| false);
            let small = (QUIET_BYTES / SMALLEST_STEP_BYTES) as usize;
            assert!(asked.len() <= small + 12, "{} times by frames of {frame}", asked.len());
        }
    }

    #[test]
    fn beside_appends_little_is_on_its_way_at_once() {
        for frame in [64, 5_000, 300_000] {
            let asked = walk(frame, &Writes::default(), |_| true);
            let largest = asked.iter().skip(1).map(|range| range.end - range.start).max();
            let most = SMALLEST_STEP_BYTES + frame;
            assert!(largest.is_some_and(|bytes| bytes <= most), "{largest:?} by frames of {frame}");
        }
    }

    #[test]
    fn the_first_write_makes_the_next_step_small_again() {
        let half = END / 2;
        let asked = walk(5_000, &Writes::default(), |to| to >= half);
        let (alone, beside): (Vec<_>, Vec<_>) = asked.into_iter().partition(|range| range.end <= half);
        let longest = |ranges: &[Range<u64>]| ranges.iter().map(|range| range.end - range.start).max().unwrap_or(0);
        assert!(longest(&alone) >= LARGEST_STEP_BYTES / 2, "{alone:?}");
        // the one step that was asked for before the first write is still on its way
        assert!(longest(&beside[2..]) <= SMALLEST_STEP_BYTES + 5_000, "{beside:?}");
    }
    #[test]
    fn beside_a_write_that_takes_long_little_is_on_its_way_all_the_time() {
        let writes = Writes::default();
        let one = writes.begin();
        let asked = walk(5_000, &writes, |_| false);
        let largest = asked.iter().skip(1).map(|range| range.end - range.start).max();
        assert!(largest.is_some_and(|bytes| bytes <= SMALLEST_STEP_BYTES + 5_000), "{largest:?}");
        drop(one);
        assert!(!writes.is_one_under_way());
    }

    #[test]
    fn a_pause_between_two_groups_is_none_that_steps_grow_in() {
        let asked = walk(5_000, &Writes::default(), |to| to % (QUIET_BYTES / 2) < 5_000);
        let largest = asked.iter().skip(1).map(|range| range.end - range.start).max();
        assert!(largest.is_some_and(|bytes| bytes <= SMALLEST_STEP_BYTES + 5_000), "{largest:?}");
    }
}
