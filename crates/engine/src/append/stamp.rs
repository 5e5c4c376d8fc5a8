//! Stamps: seqs, moments and the id prefix of the rows that are stored.

use crate::append::outcome::RowMap;
use crate::append::pass::Verdict;
use std::borrow::Cow;
use strandline_event::invariant::broken;
use strandline_event::{BatchBuilder, BatchBytes, BatchView, Chunk, IdPrefix, Micros, StampedBatch, Stamps};

/// The rows that are stored, with everything but their moment and ids.
pub(crate) struct Unstamped {
    pub(crate) batch: BatchBytes,
    pub(crate) rows: RowMap,
    /// Of the rows that are stored; `None`: all of them are, and these are the verdict's.
    seqs: Option<Vec<u64>>,
    /// Rows of a chunk that were refused.
    refused: Vec<u32>,
    /// Microseconds after the first row.
    after_us: Cow<'static, [u32]>,
}

impl Unstamped {
    /// Takes the stored rows out of a request; the archive is shared if that is all of them.
    /// `None`: a row breaks the limits of events by itself (the edge should have refused it).
    pub(crate) fn new(batch: &BatchBytes, verdict: &Verdict) -> Option<Self> {
        let (batch, rows, seqs) = if verdict.stored == verdict.seqs.len() {
            (batch.clone(), RowMap::default(), None)
        } else {
            let stored = verdict.seqs.iter().copied().enumerate().filter(|(_, seq)| *seq > 0);
            let (kept, seqs): (Vec<u32>, Vec<u64>) = stored.map(|(row, seq)| (row as u32, seq)).unzip();
            let rows = kept.iter().map(|row| *row as usize);
            (with_rows(batch.view(), batch.view().chunk(), rows)?, RowMap(Some(kept)), Some(seqs))
        };
        let after_us = moments(batch.view());
        let of_chunk = verdict.rejected.iter().filter(|_| batch.view().chunk().is_some());
        let refused = of_chunk.map(|rejected| rejected.row).collect();
        Some(Self { batch, rows, seqs, refused, after_us })
    }

    /// Microseconds from the first row's moment to the last one's.
    pub(crate) fn span_us(&self) -> u32 {
        self.after_us.last().copied().unwrap_or(0)
    }

    /// Stamps the rows of the request that this verdict was about.
    pub(crate) fn stamp(&self, verdict: &Verdict, base: Micros, prefix: IdPrefix) -> StampedBatch {
        let seqs = self.seqs.as_deref().unwrap_or(&verdict.seqs);
        let stamps = Stamps::of_rows((base, prefix), seqs, &self.after_us, &self.refused);
        StampedBatch::new(self.batch.clone(), stamps)
            .unwrap_or_else(|_| broken("the stamps of a batch do not match its rows"))
    }
}

/// Moments never fall within a batch and rise strictly within a stream.
fn moments(batch: BatchView<'_>) -> Cow<'static, [u32]> {
    if batch.rows() == 1 {
        return Cow::Borrowed(&[0]);
    }
    if batch.stream_count() == 1 {
        return (0..batch.rows() as u32).collect();
    }
    let mut last: Vec<Option<u32>> = vec![None; batch.stream_count()];
    let mut now_us = 0;
    (0..batch.rows())
        .map(|row| {
            if let Some(last) = last.get_mut(batch.stream_of(row)) {
                now_us = last.map_or(now_us, |before| now_us.max(before + 1));
                *last = Some(now_us);
            }
            now_us
        })
        .collect()
}

/// A batch of some rows of another one, of this chunk; the unit stays.
pub(crate) fn with_rows(
    batch: BatchView<'_>,
    chunk: Option<Chunk>,
    rows: impl Iterator<Item = usize>,
) -> Option<BatchBytes> {
    let mut builder = BatchBuilder::new(batch.stream_type(), batch.unit());
    if let Some(chunk) = chunk {
        builder.set_chunk(chunk);
    }
    for row in rows {
        builder.push(&batch.input(row)).ok()?;
    }
    builder.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::{BatchUnit, EventInput};

    #[test]
    fn moments_never_fall_and_rise_within_a_stream() {
        let cases: [(&[&str], &[u32]); 4] = [
            (&["a"], &[0]),
            (&["a", "a", "a"], &[0, 1, 2]),
            (&["a", "b", "c"], &[0, 0, 0]),
            (&["a", "b", "a", "b", "b"], &[0, 0, 1, 1, 2]),
        ];
        for (streams, after_us) in cases {
            let mut batch = BatchBuilder::new("T", BatchUnit::Rows);
            for stream_id in streams.iter().copied() {
                batch.push(&EventInput { stream_id, event_type: "E", ..EventInput::default() }).unwrap();
            }
            assert_eq!(*moments(batch.finish().unwrap().view()), *after_us, "{streams:?}");
        }
    }
}
