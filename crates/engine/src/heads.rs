//! Heads: the last seq of every stream that was touched above the watermark.
//!
//! A compact table keyed by the 128-bit stream hash (which is the stream's identity in every tier), 48 bytes
//! a stream. Older streams are in the head runs of the durable tier; this table refuses to know them.
//!
//! Invariant: it holds committed events only. What is in flight stands in the log's overlay.

use crate::Few;
use crate::table::{Keyed, Table, Walk};
use crate::tenants::joined;
use strandline_durable::MIXED_TENANTS;
use strandline_event::hash::stream_hash;
use strandline_event::{LogIndex, Seq, StampedBatch};

/// What is known of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadRecord {
    /// Seq of its last event.
    pub last_seq: Seq,
    /// Seq of its first event.
    pub first_seq: Seq,
    /// [`tenant_hash`] of its first event's tenant: the stream's owner; [`MIXED_TENANTS`]: it has several.
    pub tenant: u64,
}

/// Hash of a tenant as heads keep it, here and in the runs. 0: no tenant.
pub use strandline_durable::tenant_hash;

/// What a batch did to one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Touched {
    /// Hash of the stream.
    pub stream: u128,
    /// Smallest seq of the batch in it.
    pub first: Seq,
    /// Largest.
    pub last: Seq,
    /// The row that holds the smallest.
    pub first_row: usize,
    /// The tenant of its rows, as heads keep it.
    pub tenant: u64,
}

/// The streams of a batch, in order of their first row.
pub(crate) fn touched(batch: &StampedBatch) -> Few<Touched> {
    let view = batch.view();
    touched_streams(batch, (0..view.stream_count()).map(|s| stream_hash(view.stream(s))))
}

/// As [`touched`], where the hashes of the batch's distinct streams are known.
pub(crate) fn touched_streams(batch: &StampedBatch, hashes: impl Iterator<Item = u128>) -> Few<Touched> {
    let view = batch.view();
    let new = |stream| Touched { stream, first: Seq::ZERO, last: Seq::ZERO, first_row: 0, tenant: 0 };
    let mut streams: Few<Touched> = hashes.map(new).collect();
    for row in 0..batch.rows() {
        if let Some(touched) = streams.get_mut(view.stream_of(row)) {
            touched.last = batch.seq(row);
            if touched.first == Seq::ZERO {
                (touched.first, touched.first_row) = (batch.seq(row), row);
                touched.tenant = tenant_hash(view.tenant_id(row));
            } else if view.tenant_id(row) != view.tenant_id(touched.first_row) {
                touched.tenant = MIXED_TENANTS;
            }
        }
    }
    // a distinct stream without a row cannot come from our builder; it counts as untouched
    streams.retain(|t| t.first != Seq::ZERO);
    streams
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    stream: u128,
    head: HeadRecord,
    /// The last batch that touched the stream.
    index: LogIndex,
}

/// The table.
#[derive(Debug, Default)]
pub struct Heads {
    table: Table<Entry>,
}

impl Keyed for Entry {
    fn key(&self) -> u128 {
        self.stream
    }
}

impl Heads {
    /// Number of streams.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether it knows no stream.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// A stream's head and the batch that moved it last.
    #[must_use]
    pub fn get(&self, stream: u128) -> Option<(HeadRecord, LogIndex)> {
        self.table.get(stream).map(|e| (e.head, e.index))
    }

    /// What [`get`](Self::get) gives of these streams, by their place among them. A look waits for memory up to three times; none depends on another
    /// stream's, so that several wait at the same time if hardly anything else is done in between.
    pub(crate) fn look_ahead(&self, streams: &[u128], mut found: impl FnMut(usize, (Seq, LogIndex))) {
        for (stream, hash) in streams.iter().enumerate() {
            if let Some((head, index)) = self.get(*hash) {
                found(stream, (head.last_seq, index));
            }
        }
    }

    /// A batch was committed that touched a stream.
    pub fn advance(&mut self, touched: &Touched, index: LogIndex) {
        let stream = touched.stream;
        let new = || Entry {
            stream,
            head: HeadRecord { last_seq: touched.last, first_seq: touched.first, tenant: touched.tenant },
            index,
        };
        if let Some(known) = self.table.get_or_insert(stream, new) {
            known.head.last_seq = touched.last;
            known.head.tenant = joined(known.head.tenant, touched.tenant);
            known.index = index;
        }
    }

    /// Streams that were last touched at or below `through` leave: the runs have them.
    pub fn settle(&mut self, through: LogIndex) {
        self.settle_some(through, &mut Walk::default(), &mut { usize::MAX });
    }

    /// As [`settle`](Self::settle), a step of it; `true`: that was the last one.
    pub(crate) fn settle_some(&mut self, through: LogIndex, walk: &mut Walk, budget: &mut usize) -> bool {
        self.table.retain_some(walk, budget, |e| e.index > through)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_costs_at_most_64_bytes() {
        assert!(size_of::<Entry>() <= 56);
    }

    #[test]
    fn touched_streams_stay_and_settled_ones_leave() {
        let mut heads = Heads::default();
        let touched = |stream, seq, tenant| Touched { stream, first: Seq(seq), last: Seq(seq), first_row: 0, tenant };
        heads.advance(&touched(1, 1, 7), LogIndex(1));
        heads.advance(&touched(2, 1, 0), LogIndex(1));
        heads.advance(&touched(1, 2, 7), LogIndex(2));
        let one = HeadRecord { last_seq: Seq(2), first_seq: Seq(1), tenant: 7 };
        assert_eq!(heads.get(1), Some((one, LogIndex(2))));
        heads.advance(&touched(1, 3, 9), LogIndex(2));
        heads.advance(&touched(1, 4, 7), LogIndex(2));
        assert_eq!(heads.get(1).map(|(head, _)| head.tenant), Some(MIXED_TENANTS), "of several it stays");
        heads.settle(LogIndex(1));
        assert_eq!((heads.get(1).is_some(), heads.get(2)), (true, None));
        heads.settle(LogIndex(2));
        assert!(heads.is_empty());
    }
}
