//! One log above the watermark, at one moment: what memory covers comes from memory, the rest from the log.

use super::frames;
use super::retired::holds;
use crate::read::budget::event_bytes;
use crate::read::source::TailBatch;
use crate::read::{Order, ReadError};
use crate::store::LogShared;
use std::sync::Arc;
use strandline_deql::Tier;
use strandline_durable::Snapshot;
use strandline_event::{BatchView, LogIndex, Seq};
use strandline_hot::{HotRange, HotRow, HotTier, SeqRange};
use strandline_wal::LogView;

/// Bytes of batches that may be held for each byte of the events that are wanted of them.
const HELD_PER_BYTE: usize = 4;

/// A log's tail.
#[derive(Clone)]
pub(crate) struct LogTail {
    pub(crate) shared: Arc<LogShared>,
    /// `None`: reads leave the log out.
    pub(crate) log: Option<Arc<LogView>>,
    /// `None`: there is no hot tier, or reads leave it out.
    pub(crate) hot: Option<Arc<HotTier>>,
    /// Everything up to here is read from files.
    pub(crate) after: LogIndex,
    /// The last entry of the view.
    pub(crate) through: LogIndex,
}

/// Rows of one stream in one batch, ascending.
pub(crate) struct TailRows {
    pub(crate) batch: TailBatch,
    pub(crate) rows: Vec<u32>,
}

/// What the hot tier gave before the log view was taken.
#[derive(Default)]
pub(crate) struct HotPart {
    pub(crate) rows: Vec<HotRow>,
    pub(crate) range: HotRange,
}

/// The rows of a stream that a read wants.
pub(crate) struct StreamWanted<'a> {
    pub(crate) stream_type: &'a str,
    pub(crate) stream_id: &'a str,
    pub(crate) hash: u128,
    pub(crate) from: Seq,
    pub(crate) to: Seq,
    pub(crate) limit: usize,
    /// Bytes of events that are enough.
    pub(crate) bytes_max: usize,
    pub(crate) order: Order,
    /// Seqs that retention removed: no row of them is given.
    pub(crate) retired: &'a [(Seq, Seq)],
}

impl<'a> StreamWanted<'a> {
    /// The same, without what retention removed: a page begins where something is left.
    pub(crate) fn without(self, retired: &'a [(Seq, Seq)]) -> Self {
        let at = |seq: Seq| retired.iter().find(|(first, last)| *first <= seq && seq <= *last);
        let (mut from, mut to) = (self.from, self.to);
        match self.order {
            Order::Asc => from = at(from).map_or(from, |(_, last)| last.next()),
            Order::Desc => to = at(to).map_or(to, |(first, _)| Seq(first.0.saturating_sub(1))),
        }
        Self { retired, from, to, ..self }
    }
}

impl StreamWanted<'_> {
    pub(crate) const fn seq_range(&self) -> SeqRange {
        SeqRange { from: self.from, to: self.to, limit: self.limit, descending: matches!(self.order, Order::Desc) }
    }
}

/// Rows that were read from the log, in the wanted order.
#[derive(Default)]
struct Taken {
    rows: Vec<TailRows>,
    count: usize,
    /// Of the events.
    bytes: usize,
    /// Of the batches that they keep in memory.
    held: usize,
    last: Option<Seq>,
    /// Rows behind this one are not here.
    end: Option<Seq>,
}

impl Taken {
    fn is_enough(&self, wanted: &StreamWanted<'_>) -> bool {
        let held_max = wanted.bytes_max.saturating_mul(HELD_PER_BYTE);
        self.count > 0 && (self.count >= wanted.limit || self.bytes > wanted.bytes_max || self.held > held_max)
    }

    fn add(&mut self, batch: TailBatch, rows: Vec<u32>, order: Order) {
        let last = match order {
            Order::Asc => rows.last(),
            Order::Desc => rows.first(),
        };
        let Some(last) = last else { return };
        self.last = Some(batch.batch.seq(*last as usize));
        self.count += rows.len();
        self.bytes += rows.iter().map(|row| event_bytes(&batch.batch.row(*row as usize))).sum::<usize>();
        self.held += batch.batch.size_bytes();
        self.rows.push(TailRows { batch, rows });
    }
}

impl LogTail {
    /// The tail above a manifest. `log` was loaded before the manifest was pinned.
    pub(crate) fn new(
        shared: Arc<LogShared>,
        log: Option<Arc<LogView>>,
        hot: Option<Arc<HotTier>>,
        snapshot: Option<&Snapshot>,
    ) -> Self {
        let watermark = snapshot.map_or(LogIndex::ZERO, |s| s.watermark(&shared.key));
        let (first, last) = match (&log, &hot) {
            (Some(log), _) => (log.first_index(), log.last_index()),
            (None, Some(hot)) => {
                let range = hot.range(&shared.key);
                (range.after.next(), range.through)
            }
            (None, None) => (LogIndex::ZERO, watermark),
        };
        // without files there is no promise below the log's first entry; with them the watermark is never below it,
        // and if a trim raced, the log's reader says so
        let after = if snapshot.is_some() { watermark } else { first.prev() };
        Self { shared, log, hot, after, through: last.max(after) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.after >= self.through
    }

    /// Rows of a stream above the watermark, batches ascending: in the wanted order at least the `limit` first ones, or as
    /// many as there are room for. With the last one of these, if there may be more behind it.
    pub(crate) fn stream(
        &self,
        wanted: &StreamWanted<'_>,
        hot: HotPart,
    ) -> Result<(Vec<TailRows>, Option<Seq>), ReadError> {
        let Some(log) = &self.log else { return Ok((self.hot_rows(hot, wanted), None)) };
        let (low, high) = self.not_in(hot.range);
        // the part that comes first in the wanted order may be all that there is room for
        let (mut below, mut above) = (Taken::default(), Taken::default());
        match wanted.order {
            Order::Asc => {
                below = self.log_rows(log, wanted, low)?;
                if below.end.is_none() {
                    above = self.log_rows(log, wanted, high)?;
                }
            }
            Order::Desc => {
                above = self.log_rows(log, wanted, high)?;
                if above.end.is_none() {
                    below = self.log_rows(log, wanted, low)?;
                }
            }
        }
        let mut out = below.rows;
        out.extend(self.hot_rows(hot, wanted));
        out.append(&mut above.rows);
        Ok((out, below.end.or(above.end)))
    }

    /// The parts of the tail below and above what memory covers, each (after, through].
    fn not_in(&self, hot: HotRange) -> ((LogIndex, LogIndex), (LogIndex, LogIndex)) {
        if hot.after >= hot.through {
            return ((self.after, self.through), (self.through, self.through));
        }
        ((self.after, hot.after.min(self.through)), (hot.through.max(self.after), self.through))
    }

    /// Memory's rows, grouped by batch, ascending.
    fn hot_rows(&self, mut part: HotPart, wanted: &StreamWanted<'_>) -> Vec<TailRows> {
        let is_gone = |row: &HotRow| !wanted.retired.is_empty() && holds(wanted.retired, row.batch.batch.seq(row.row));
        part.rows.retain(|row| row.index() > self.after && !is_gone(row));
        part.rows.sort_by_key(|row| (row.index(), row.row));
        let mut out: Vec<TailRows> = Vec::new();
        for row in part.rows {
            match out.last_mut() {
                Some(last) if last.batch.index == row.index() => last.rows.push(row.row as u32),
                _ => out.push(TailRows { batch: self.hot_batch(&row.batch), rows: vec![row.row as u32] }),
            }
        }
        out
    }

    pub(crate) fn hot_batch(&self, batch: &strandline_hot::HotBatch) -> TailBatch {
        TailBatch {
            log: self.shared.key.clone(),
            index: batch.index,
            batch: batch.batch.clone(),
            tier: Tier::Inmemory,
            loc: None,
        }
    }

    pub(crate) fn log_batch(&self, frame: frames::TailFrame) -> TailBatch {
        let (index, loc) = (frame.index, Some(frame.loc));
        TailBatch { log: self.shared.key.clone(), index, batch: frame.batch, tier: Tier::Wal, loc }
    }

    /// Rows of a stream in the log's entries (range.0, range.1], batches ascending.
    fn log_rows(
        &self,
        log: &Arc<LogView>,
        wanted: &StreamWanted<'_>,
        range: (LogIndex, LogIndex),
    ) -> Result<Taken, ReadError> {
        let entries = self.shared.streams.entries(&self.shared.key, log, wanted.hash, range.0, range.1)?;
        let mut out = Taken::default();
        let entries = match wanted.order {
            Order::Asc => entries.get(self.first_reaching(log, &entries, wanted)?..).unwrap_or(&[]).to_vec(),
            Order::Desc => entries.into_iter().rev().collect(),
        };
        for index in entries {
            if out.is_enough(wanted) {
                out.end = out.last;
                break;
            }
            let Some(batch) = self.entry(log, index)? else { continue };
            let (rows, beyond) = rows_of(&batch, wanted);
            out.add(batch, rows, wanted.order);
            if beyond {
                break;
            }
        }
        if wanted.order == Order::Desc {
            out.rows.reverse();
        }
        Ok(out)
    }

    /// The first of the entries that may hold a wanted seq: seqs of a stream rise from entry to entry.
    fn first_reaching(
        &self,
        log: &Arc<LogView>,
        entries: &[LogIndex],
        wanted: &StreamWanted<'_>,
    ) -> Result<usize, ReadError> {
        let (mut low, mut high) = (0, entries.len());
        if wanted.from <= Seq::FIRST {
            return Ok(0);
        }
        while low < high {
            let middle = low.midpoint(high);
            let Some(batch) = self.entry(log, entries[middle])? else { return Ok(low) };
            match last_seq_of(&batch, wanted.stream_id) {
                Some(last) if last < wanted.from => low = middle + 1,
                Some(_) => high = middle,
                // another stream with the same half of its hash: look at all of them
                None => return Ok(low),
            }
        }
        Ok(low)
    }

    /// The batch of an entry of the log.
    pub(crate) fn entry(&self, log: &Arc<LogView>, index: LogIndex) -> Result<Option<TailBatch>, ReadError> {
        let found = frames::entries(&self.shared.key, log, index.prev(), index)?.next().transpose()?;
        Ok(found.map(|frame| self.log_batch(frame)))
    }
}

fn stream_of(view: BatchView<'_>, stream_id: &str) -> Option<usize> {
    (0..view.stream_count()).find(|s| view.stream(*s) == stream_id)
}

/// The wanted rows of a batch, and whether it holds a seq beyond the wanted ones in the wanted order.
fn rows_of(batch: &TailBatch, wanted: &StreamWanted<'_>) -> (Vec<u32>, bool) {
    let view = batch.batch.view();
    let Some(stream) = stream_of(view, wanted.stream_id) else { return (Vec::new(), false) };
    let mut rows = Vec::new();
    let mut beyond = false;
    for row in (0..view.rows()).filter(|row| view.stream_of(*row) == stream) {
        let seq = batch.batch.seq(row);
        if (wanted.from..=wanted.to).contains(&seq) && !holds(wanted.retired, seq) {
            rows.push(row as u32);
        }
        beyond |= match wanted.order {
            Order::Asc => seq > wanted.to,
            Order::Desc => seq < wanted.from,
        };
    }
    (rows, beyond)
}

fn last_seq_of(batch: &TailBatch, stream_id: &str) -> Option<Seq> {
    let view = batch.batch.view();
    let stream = stream_of(view, stream_id)?;
    (0..view.rows()).rev().find(|row| view.stream_of(*row) == stream).map(|row| batch.batch.seq(row))
}
