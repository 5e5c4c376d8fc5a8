//! Which runs are merged, and the merge itself: the newest record of a key wins.

use super::RunRef;
use super::record::Record;
use std::iter::Peekable;

/// A run stays for itself while it holds this many times what all newer ones hold together.
const RATIO: u64 = 4;

/// How many of the newest runs (given oldest first, sizes in records) are merged with `new_records` new ones.
///
/// Afterwards each run holds at least four times the next one, so n records stand in about log4(n) runs.
pub(crate) fn tiers_to_merge(runs: &[RunRef], new_records: u64) -> usize {
    let mut sum = new_records;
    let mut take = 0;
    for run in runs.iter().rev() {
        if run.records >= sum.saturating_mul(RATIO) {
            break;
        }
        sum = sum.saturating_add(run.records);
        take += 1;
    }
    take
}

/// Merges sorted sources, given newest first; each key comes once, from the newest source that has it.
pub(crate) fn merged<'a, R: Record + 'a>(
    newest_first: Vec<Box<dyn Iterator<Item = R> + 'a>>,
) -> impl Iterator<Item = R> + 'a {
    let mut sources: Vec<Peekable<_>> = newest_first.into_iter().map(Iterator::peekable).collect();
    std::iter::from_fn(move || {
        let key = sources.iter_mut().filter_map(|s| s.peek().map(Record::key)).min()?;
        let mut winner = None;
        for source in &mut sources {
            while let Some(record) = source.next_if(|r| r.key() == key) {
                winner.get_or_insert(record);
            }
        }
        winner
    })
}
