//! Which files of a partition are merged. Pure: entries in, entries out.
//!
//! A file is full when it has reached the target, or when it was ended though more rows came, because no larger one is allowed
//! (`FileEntry::full`). The others are small, and stand in tiers by size, each tier four times the one before:
//!
//! - the clock merges a tier (and all below it) when it holds [`TIER_FILES_MIN`] files, or two that reach the target
//!   together. The result stands in a higher tier or is full, so a byte is written again about once for each tier between
//!   its first file and the target: log4(target / first file). Files of 4 MiB and a target of 256 MiB: three times. What is
//!   compressed better in larger files can stay in its tier once more: never more than twice a tier.
//! - a partition that nothing has come to for a day is cleaned up: what is small is merged, but no file that is more than twice
//!   all others together (below 64 KiB that does not matter). So a late event does not cost the writing of a large file.
//! - one that nothing has come to for thirty days is finished: everything small is merged. So late events, however many, cost the
//!   writing of a partition's small files once in thirty days at most.
//! - by hand, everything small is merged.
//!
//! So a partition holds at most three small files a tier, 21 up to 256 MiB; a day later each is more than twice all smaller ones
//! together: one or two in practice, nine at most; and a month later there is one.
//!
//! Every merge makes at most one small file of two or more, whatever the sizes of what it writes are: so merges come to an end.

use crate::compact::policy::Trigger;
use std::collections::HashMap;
use std::sync::Arc;
use strandline_deql::Compaction;
use strandline_durable::FileEntry;
use strandline_event::Micros;

/// Small files of one tier that are worth a merge.
const TIER_FILES_MIN: usize = 4;
/// The lowest tier ends here.
const TIER_BYTES: u64 = 64 << 10;
/// A partition is at rest when its newest event came before so long.
const REST_SECONDS: u64 = 24 * 3600;
/// And it is over when its newest event came before so long: what comes now is rare.
const OVER_SECONDS: u64 = 30 * 24 * 3600;
/// Bytes that one merge reads at most: so much work is lost when the process ends.
const INPUT_BYTES_MAX: u64 = 2 << 30;
const MB: u64 = 1 << 20;

/// The keys that say how files are merged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MergeRules {
    /// From this length on a file is full.
    pub(super) target_bytes: u64,
    /// No file is longer.
    pub(super) max_bytes: u64,
    /// Files that one merge reads at most.
    pub(super) inputs_max: usize,
}

impl MergeRules {
    /// As a store declares them.
    pub(super) fn of(config: &Compaction) -> Self {
        let open_files = usize::try_from(config.max_open_files).unwrap_or(usize::MAX);
        Self {
            target_bytes: config.target_file_mb.saturating_mul(MB),
            max_bytes: config.max_file_mb.saturating_mul(MB),
            // one is written, and half of them are left to the jobs of the first level, so that nobody waits long
            inputs_max: (open_files / 2).max(2),
        }
    }

    /// The length at which a merge of so many bytes begins a new file: all but the last reach the target.
    pub(super) fn enough_bytes(&self, input_bytes: u64) -> u64 {
        let files = (input_bytes / (self.target_bytes / 4 * 5).max(1)).max(1);
        if files == 1 { u64::MAX } else { input_bytes / files }
    }
}

/// The files of a partition that are not full, in the order in which their events came.
pub(super) fn small_files(files: &[Arc<FileEntry>], rules: &MergeRules) -> Vec<Arc<FileEntry>> {
    // where a key was raised since, a larger one may be possible
    let ended = |file: &FileEntry| {
        file.full.is_some_and(|full| full.target_bytes >= rules.target_bytes && full.max_bytes >= rules.max_bytes)
    };
    let small = files.iter().filter(|file| file.bytes < rules.target_bytes && !ended(file));
    let mut small: Vec<_> = small.cloned().collect();
    small.sort_by(|a, b| (a.bounds.ingested_at, &a.path).cmp(&(b.bounds.ingested_at, &b.path)));
    small
}

/// What one merge of a partition reads now; `None`: nothing is to be merged. There may be more to do afterwards.
pub(super) fn choose(
    files: &[Arc<FileEntry>],
    rules: &MergeRules,
    trigger: Trigger,
    now: Micros,
) -> Option<Vec<Arc<FileEntry>>> {
    let mut small = small_files(files, rules);
    let limit = match trigger {
        Trigger::Hand => u64::MAX,
        Trigger::Redaction => return None,
        Trigger::Tick | Trigger::Size => {
            let newest = files.iter().map(|file| file.bounds.ingested_at.1).max()?;
            full_tier(&small, rules).max(rest_limit(&small, newest, now))
        }
    };
    small.retain(|file| file.bytes <= limit);
    if small.len() > rules.inputs_max {
        // what is small goes first: a pass does not write again what the one before has made of small ones
        small.sort_by_key(|file| tier(file.bytes));
    }
    let mut bytes = 0_u64;
    let fits = |(n, file): &(usize, &Arc<FileEntry>)| {
        bytes = bytes.saturating_add(file.bytes);
        *n < 2 || bytes <= INPUT_BYTES_MAX
    };
    let count = small.iter().enumerate().take(rules.inputs_max).take_while(fits).count();
    small.truncate(count);
    (count > 1).then_some(small)
}

/// Files up to this length are merged because their highest full tier is; 0: none.
fn full_tier(small: &[Arc<FileEntry>], rules: &MergeRules) -> u64 {
    let mut tiers: HashMap<u32, (usize, u64)> = HashMap::new();
    for file in small {
        let (count, bytes) = tiers.entry(tier(file.bytes)).or_default();
        (*count, *bytes) = (*count + 1, *bytes + file.bytes);
    }
    let full = |(_, (count, bytes)): &(&u32, &(usize, u64))| {
        *count >= TIER_FILES_MIN || *count > 1 && *bytes >= rules.target_bytes
    };
    let highest = tiers.iter().filter(full).map(|(tier, _)| *tier).max();
    highest.map_or(0, |tier| TIER_BYTES.saturating_mul(4_u64.saturating_pow(tier)) - 1)
}

/// The tier of a length: 0 below [`TIER_BYTES`], then one more for each power of four.
const fn tier(bytes: u64) -> u32 {
    match (bytes / TIER_BYTES).checked_ilog2() {
        Some(log) => log / 2 + 1,
        None => 0,
    }
}

/// Files up to this length are merged because nothing has come to their partition for a while; 0: none.
fn rest_limit(small: &[Arc<FileEntry>], newest: Micros, now: Micros) -> u64 {
    if newest < now.minus_seconds(OVER_SECONDS) {
        u64::MAX
    } else if newest < now.minus_seconds(REST_SECONDS) {
        at_rest_limit(small)
    } else {
        0
    }
}

/// Files up to this length are merged in a partition at rest: no one is more than twice all others together.
fn at_rest_limit(small: &[Arc<FileEntry>]) -> u64 {
    let mut lengths: Vec<u64> = small.iter().map(|file| file.bytes).collect();
    lengths.sort_unstable();
    while let Some((longest, others)) = lengths.split_last() {
        let little = *longest < TIER_BYTES && !others.is_empty();
        if little || *longest <= others.iter().sum::<u64>().saturating_mul(2) {
            return *longest;
        }
        lengths.pop();
    }
    0
}

#[cfg(test)]
mod tests;
