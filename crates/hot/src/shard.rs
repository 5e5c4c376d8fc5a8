//! One shard of a log's index: stream hash -> runs of rows, in seq order.
//!
//! A run is a stretch of neighbouring rows of one batch that belong to the stream: an append to a stream
//! is one run, whatever its length. 128 bits of hash count as the stream's identity, as in every tier.

use crate::batch::{HotBatch, HotRow, SeqRange};
use foldhash::fast::FixedState;
use std::collections::{HashMap, VecDeque};
use std::mem::size_of;
use std::sync::Arc;
use strandline_event::{LogIndex, Seq};

/// Bytes that a stream costs beside its runs: key, deque, slack of the table.
const STREAM_BYTES: usize = 80;

#[derive(Debug)]
struct Run {
    batch: Arc<HotBatch>,
    row: u32,
    rows: u32,
}

impl Run {
    fn first(&self) -> Seq {
        self.batch.batch.seq(self.row as usize)
    }

    fn last(&self) -> Seq {
        self.batch.batch.seq((self.row + self.rows - 1) as usize)
    }

    fn rows(&self) -> impl DoubleEndedIterator<Item = HotRow> {
        (self.row..self.row + self.rows).map(|row| HotRow { batch: Arc::clone(&self.batch), row: row as usize })
    }
}

/// The streams whose hash falls into this shard.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    streams: HashMap<u128, VecDeque<Run>, FixedState>,
}

impl Shard {
    /// Adds a row of a stream; rows of a stream come in seq order. Gives the bytes that the index grew by.
    pub(crate) fn push(&mut self, stream: u128, batch: &Arc<HotBatch>, row: u32) -> usize {
        let known = self.streams.len();
        let runs = self.streams.entry(stream).or_default();
        let before = runs.capacity() * size_of::<Run>();
        match runs.back_mut() {
            Some(last) if Arc::ptr_eq(&last.batch, batch) && last.row + last.rows == row => last.rows += 1,
            _ => runs.push_back(Run { batch: Arc::clone(batch), row, rows: 1 }),
        }
        let grown = runs.capacity() * size_of::<Run>() - before;
        if self.streams.len() > known { grown + STREAM_BYTES } else { grown }
    }

    /// Removes a stream's runs of entries up to `through`. Gives the bytes that the index shrank by.
    pub(crate) fn remove(&mut self, stream: u128, through: LogIndex) -> usize {
        let Some(runs) = self.streams.get_mut(&stream) else { return 0 };
        let before = runs.capacity() * size_of::<Run>();
        while runs.front().is_some_and(|run| run.batch.index <= through) {
            runs.pop_front();
        }
        if runs.is_empty() {
            self.streams.remove(&stream);
            return before + STREAM_BYTES;
        }
        if runs.len() * 4 < runs.capacity() {
            runs.shrink_to(runs.len() * 2);
        }
        before - runs.capacity() * size_of::<Run>()
    }

    /// Rows of a stream in the wanted order, of entries up to `through`, skipping those up to `after`.
    pub(crate) fn take(&self, stream: u128, wanted: &SeqRange, after: LogIndex, through: LogIndex) -> Vec<HotRow> {
        let Some(runs) = self.streams.get(&stream) else { return Vec::new() };
        let start = runs.partition_point(|run| run.last() < wanted.from || run.batch.index <= after);
        let end = runs.partition_point(|run| run.first() <= wanted.to && run.batch.index <= through);
        let inside = runs.range(start..end.max(start));
        let fits = |row: &HotRow| wanted.from <= row.seq() && row.seq() <= wanted.to;
        if wanted.descending {
            inside.rev().flat_map(|run| run.rows().rev()).filter(fits).take(wanted.limit).collect()
        } else {
            inside.flat_map(Run::rows).filter(fits).take(wanted.limit).collect()
        }
    }
}
