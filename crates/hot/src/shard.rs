//! One shard of a log's index: stream hash -> runs of rows, in seq order.
//!
//! A run is a stretch of neighbouring rows of one batch that belong to the stream: an append to a stream
//! is one run, whatever its length. The first run of a stream stands in the table itself: where many streams have one event each,
//! none of them allocates. 128 bits of hash count as the stream's identity, as in every tier.

use crate::batch::{HotBatch, HotRow, SeqRange};
use foldhash::fast::FixedState;
use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::hint::black_box;
use std::mem::size_of;
use std::ops::Range;
use std::sync::Arc;
use strandline_event::{LogIndex, Seq};

/// Bytes that a stream costs beside its list: key, runs, slack of the table.
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

/// Where the runs of a stream change.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// The oldest leave.
    Oldest,
    /// New ones come.
    Newest,
}

/// The runs of a stream.
#[derive(Debug)]
enum Runs {
    One(Run),
    /// Any number, also one again: a stream that had several once will have them again.
    Many(VecDeque<Run>),
}

impl Runs {
    fn push(&mut self, run: Run) {
        match self {
            Self::Many(runs) => runs.push_back(run),
            Self::One(_) => {
                let one = std::mem::replace(self, Self::Many(VecDeque::with_capacity(4)));
                if let (Self::Many(runs), Self::One(first)) = (self, one) {
                    runs.extend([first, run]);
                }
            }
        }
    }

    /// Runs of entries up to `through` leave; whether none is left.
    fn remove(&mut self, through: LogIndex) -> bool {
        match self {
            Self::One(run) => run.batch.index <= through,
            Self::Many(runs) => {
                while runs.front().is_some_and(|run| run.batch.index <= through) {
                    runs.pop_front();
                }
                if !runs.is_empty() && runs.len() * 4 < runs.capacity() {
                    runs.shrink_to(runs.len() * 2);
                }
                runs.is_empty()
            }
        }
    }

    fn at(&self, end: End) -> Option<&Run> {
        match (self, end) {
            (Self::One(run), _) => Some(run),
            (Self::Many(runs), End::Oldest) => runs.front(),
            (Self::Many(runs), End::Newest) => runs.back(),
        }
    }

    /// Bytes of its list.
    fn bytes(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Many(runs) => runs.capacity() * size_of::<Run>(),
        }
    }

    fn as_slices(&self) -> (&[Run], &[Run]) {
        match self {
            Self::One(run) => (std::slice::from_ref(run), &[]),
            Self::Many(runs) => runs.as_slices(),
        }
    }
}

/// The streams whose hash falls into this shard.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    streams: HashMap<u128, Runs, FixedState>,
}

impl Shard {
    /// Reads what a [`push`](Self::push) (of the newest) or [`remove`](Self::remove) (of the oldest) of the stream will look at: looks at many
    /// streams wait for memory at the same time, if none is changed and no lock is taken in between.
    pub(crate) fn look_ahead(&self, stream: u128, end: End) {
        black_box(self.streams.get(&stream).and_then(|runs| runs.at(end)).map(|run| run.row));
    }

    /// Adds neighbouring rows of a batch, all that belong to this stream there; rows of a stream come in seq order. Gives the bytes that the index
    /// grew by.
    pub(crate) fn push(&mut self, stream: u128, batch: &Arc<HotBatch>, rows: Range<u32>) -> usize {
        let run = Run { batch: Arc::clone(batch), row: rows.start, rows: rows.end - rows.start };
        let mut known = match self.streams.entry(stream) {
            Entry::Occupied(known) => known,
            Entry::Vacant(free) => {
                free.insert(Runs::One(run));
                return STREAM_BYTES;
            }
        };
        let runs = known.get_mut();
        let before = runs.bytes();
        runs.push(run);
        runs.bytes() - before
    }

    /// Removes a stream's runs of entries up to `through`. Gives the bytes that the index shrank by.
    pub(crate) fn remove(&mut self, stream: u128, through: LogIndex) -> usize {
        let Some(runs) = self.streams.get_mut(&stream) else { return 0 };
        let before = runs.bytes();
        if runs.remove(through) {
            self.streams.remove(&stream);
            return before + STREAM_BYTES;
        }
        before - runs.bytes()
    }

    /// Rows of a stream in the wanted order, of entries up to `through`, skipping those up to `after`.
    pub(crate) fn take(&self, stream: u128, wanted: &SeqRange, after: LogIndex, through: LogIndex) -> Vec<HotRow> {
        let Some(runs) = self.streams.get(&stream) else { return Vec::new() };
        // both conditions hold up to a run and not behind it: of each half as of the whole
        let inside = |half| -> &[Run] {
            let half: &[Run] = half;
            let start = half.partition_point(|run| run.last() < wanted.from || run.batch.index <= after);
            let end = half.partition_point(|run| run.first() <= wanted.to && run.batch.index <= through);
            half.get(start..end.max(start)).unwrap_or(&[])
        };
        let (front, back) = runs.as_slices();
        let inside = inside(front).iter().chain(inside(back));
        let fits = |row: &HotRow| wanted.from <= row.seq() && row.seq() <= wanted.to;
        if wanted.descending {
            inside.rev().flat_map(|run| run.rows().rev()).filter(fits).take(wanted.limit).collect()
        } else {
            inside.flat_map(Run::rows).filter(fits).take(wanted.limit).collect()
        }
    }
}
