//! Rows that a lookup chose out of many files, in the order that was asked for.

use super::batch::{Place, RowBatch};
use super::error::ReadError;
use super::file::DataFile;
use super::stats::{Counters, ReadStats};
use crate::entry::FileEntry;
use crate::tier::Shared;
use std::collections::HashMap;
use std::sync::Arc;
use strandline_event::EventRef;

/// A row of one of the files of a lookup.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Candidate<K> {
    pub(crate) key: K,
    pub(crate) file: u32,
    pub(crate) row: u64,
}

/// The `limit` smallest candidates so far. Holds at most twice as many.
pub(crate) struct Smallest<K> {
    limit: usize,
    held: Vec<Candidate<K>>,
    cut: bool,
}

impl<K: Ord + Copy> Smallest<K> {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, held: Vec::new(), cut: false }
    }

    pub(crate) fn push(&mut self, candidate: Candidate<K>) {
        self.held.push(candidate);
        if self.held.len() >= self.limit.saturating_mul(2).max(1024) {
            self.shrink();
        }
    }

    /// Whether a key would be cut anyway: known as soon as `limit` smaller ones are held.
    pub(crate) fn refuses(&self, key: K) -> bool {
        self.cut && self.limit > 0 && self.held.get(self.limit - 1).is_some_and(|last| last.key < key)
    }

    /// Sorts, cuts, and so sharpens [`refuses`](Self::refuses).
    pub(crate) fn shrink(&mut self) {
        self.held.sort_unstable_by(|a, b| a.key.cmp(&b.key).then((a.file, a.row).cmp(&(b.file, b.row))));
        if self.held.len() > self.limit {
            self.held.truncate(self.limit);
            self.cut = true;
        }
    }

    /// The candidates in order, and whether they are all there were.
    pub(crate) fn finish(mut self) -> (Vec<Candidate<K>>, bool) {
        self.shrink();
        (self.held, !self.cut)
    }
}

/// Rows in the order that was asked for. Two rows of one key may both be there: merging decides.
pub struct RowSet {
    /// The rows, file by file.
    pub batches: Vec<RowBatch>,
    /// (batch, row in it) of each row, in order.
    pub order: Vec<(u32, u32)>,
    /// False: the limit cut it; there is more.
    pub complete: bool,
    /// What was touched.
    pub stats: ReadStats,
}

impl RowSet {
    pub(crate) const fn empty(stats: ReadStats) -> Self {
        Self { batches: Vec::new(), order: Vec::new(), complete: true, stats }
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// An event; `i` is below [`len`](Self::len).
    #[must_use]
    pub fn row(&self, i: usize) -> EventRef<'_> {
        let (batch, row) = self.order[i];
        self.batches[batch as usize].row(row as usize)
    }

    /// Where a row stands.
    #[must_use]
    pub fn place(&self, i: usize) -> Place {
        let (batch, row) = self.order[i];
        self.batches[batch as usize].place(row as usize)
    }

    /// All events in order.
    pub fn iter(&self) -> impl Iterator<Item = EventRef<'_>> {
        (0..self.len()).map(|i| self.row(i))
    }
}

/// Files that stay open between the choice of rows and their fetch, by number.
pub(crate) type Kept = HashMap<u32, DataFile>;
/// How many, at most: each is a descriptor and up to 512 KiB of blocks.
const KEPT_MAX: usize = 32;

/// Keeps a file open, if there is room.
pub(crate) fn keep(kept: &mut Kept, n: u32, file: DataFile) {
    if kept.len() < KEPT_MAX {
        kept.insert(n, file);
    }
}

/// Fetches chosen rows, each file once, and puts them into the order of `chosen`.
pub(crate) fn fetch<K>(
    shared: &Shared,
    files: &[Arc<FileEntry>],
    chosen: &[Candidate<K>],
    complete: bool,
    counters: &Arc<Counters>,
    kept: &mut Kept,
) -> Result<RowSet, ReadError> {
    let mut by_place: Vec<u32> = (0..chosen.len() as u32).collect();
    let place = |i: &u32| (chosen[*i as usize].file, chosen[*i as usize].row);
    by_place.sort_unstable_by_key(place);
    let mut batches = Vec::new();
    let mut order = vec![(0, 0); chosen.len()];
    for group in by_place.chunk_by(|a, b| place(a).0 == place(b).0) {
        let Some(entry) = group.first().and_then(|i| files.get(place(i).0 as usize)) else { continue };
        let rows: Vec<u64> = group.iter().map(|i| place(i).1).collect();
        let kept = group.first().and_then(|i| kept.remove(&place(i).0));
        let file = kept.map_or_else(|| DataFile::open(shared, entry, counters), Ok)?;
        let mut next = group.iter();
        for batch in file.fetch(&rows)? {
            for (row, i) in (0..batch.rows()).zip(next.by_ref()) {
                order[*i as usize] = (batches.len() as u32, row as u32);
            }
            batches.push(batch);
        }
    }
    Ok(RowSet { batches, order, complete, stats: counters.stats() })
}
