//! The union of the tiers: one row per dedupe key, in order.
//!
//! Tiers are disjoint by log index, so doubles should not exist; where they do (a file committed twice by hand, a
//! restored copy), equal ones count once and different ones are an error that names both. Never a silent choice.

use super::source::{Doubled, RowAt, Sources};
use crate::store::Buckets;
use std::collections::HashMap;
use strandline_event::{EventRef, Field, Position, Seq, bucket_of_stream};

/// What makes two rows the same event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DedupeKey {
    /// (stream_type, stream_id, seq).
    StreamSeq,
    /// (event_id).
    EventId,
}

impl DedupeKey {
    pub(crate) fn of(fields: &[Field]) -> Self {
        if fields == [Field::EventId] { Self::EventId } else { Self::StreamSeq }
    }

    fn same(self, a: &EventRef<'_>, b: &EventRef<'_>) -> bool {
        match self {
            Self::EventId => a.event_id == b.event_id,
            Self::StreamSeq => a.seq == b.seq && a.stream_id == b.stream_id && a.stream_type == b.stream_type,
        }
    }

    fn text(self, e: &EventRef<'_>) -> String {
        match self {
            Self::EventId => format!("event_id {}", e.event_id),
            Self::StreamSeq => format!("seq {} of stream `{}` of `{}`", e.seq, e.stream_id, e.stream_type),
        }
    }
}

/// A row of a stream before the merge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamRow {
    pub(crate) seq: Seq,
    pub(crate) at: RowAt,
}

/// Merges the rows of one stream: ascending by seq, one per key.
pub(crate) fn merge_stream(
    sources: &Sources,
    mut rows: Vec<StreamRow>,
    key: DedupeKey,
) -> Result<Vec<StreamRow>, Doubled> {
    if !rows.is_sorted_by_key(|r| r.seq) {
        rows.sort_by_key(|r| r.seq);
    }
    if key == DedupeKey::EventId {
        rows = drop_equal_ids(sources, rows)?;
        return Ok(rows);
    }
    dedupe_adjacent(rows, key, sources, |r| r.at, |a, b| a.seq == b.seq, |_, _| true)
}

/// A row of the global order before the merge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GlobalRow {
    pub(crate) position: Position,
    pub(crate) at: RowAt,
}

/// Merges rows of the global order: ascending by position, one per key. Equal rows have equal positions; rows of one key with
/// others are found within these rows, not beyond them.
pub(crate) fn merge_global(
    sources: &Sources,
    mut rows: Vec<GlobalRow>,
    key: DedupeKey,
    buckets: &Buckets,
) -> Result<Vec<GlobalRow>, Doubled> {
    rows.sort_by_key(|r| r.position);
    // an id that two owners took in one moment stands at one position
    let one_owner = |a: RowAt, b: RowAt| owner(&sources.row(a), buckets) == owner(&sources.row(b), buckets);
    let rows = dedupe_adjacent(rows, key, sources, |r| r.at, |a, b| a.position == b.position, one_owner)?;
    refuse_distant_doubles(sources, &rows, key, buckets)?;
    Ok(rows)
}

/// Who gave an event its place; two owners do not ask each other.
fn owner<'e>(event: &EventRef<'e>, buckets: &Buckets) -> (&'e str, u32) {
    let buckets = buckets.get(event.stream_type).copied().unwrap_or(1);
    (event.stream_type, bucket_of_stream(event.stream_id, buckets))
}

/// Rows of one owner that have one key at different positions.
fn refuse_distant_doubles(
    sources: &Sources,
    rows: &[GlobalRow],
    key: DedupeKey,
    buckets: &Buckets,
) -> Result<(), Doubled> {
    let mut seen: HashMap<(&str, u32, &str, u128), RowAt> = HashMap::with_capacity(rows.len());
    for row in rows {
        let event = sources.row(row.at);
        let id = match key {
            DedupeKey::StreamSeq => (event.stream_type, 0, event.stream_id, u128::from(event.seq.0)),
            DedupeKey::EventId => {
                let (stream_type, bucket) = owner(&event, buckets);
                (stream_type, bucket, "", u128::from_be_bytes(event.event_id.0))
            }
        };
        if let Some(first) = seen.insert(id, row.at) {
            same_event(sources, key, first, row.at)?;
        }
    }
    Ok(())
}

/// `near` says cheaply whether two neighbours may have one key, `one_owner` of those whether one owner gave them their places.
fn dedupe_adjacent<R: Copy>(
    rows: Vec<R>,
    key: DedupeKey,
    sources: &Sources,
    at: impl Fn(&R) -> RowAt,
    near: impl Fn(&R, &R) -> bool,
    one_owner: impl Fn(RowAt, RowAt) -> bool,
) -> Result<Vec<R>, Doubled> {
    if rows.windows(2).all(|pair| !near(&pair[0], &pair[1])) {
        return Ok(rows);
    }
    let mut out: Vec<R> = Vec::with_capacity(rows.len());
    for row in rows {
        let mut keep = true;
        for kept in out.iter().rev().take_while(|kept| near(kept, &row)) {
            let (kept, row) = (at(kept), at(&row));
            keep &= !(one_owner(kept, row) && same_event(sources, key, kept, row)?);
        }
        if keep {
            out.push(row);
        }
    }
    Ok(out)
}

/// Whether two rows are one event. Errors: one key, different content.
fn same_event(sources: &Sources, key: DedupeKey, a: RowAt, b: RowAt) -> Result<bool, Doubled> {
    let (first, second) = (sources.row(a), sources.row(b));
    if !key.same(&first, &second) {
        return Ok(false);
    }
    if first == second {
        return Ok(true);
    }
    Err(Doubled { key: key.text(&first), first: sources.place(a), second: sources.place(b) })
}

fn drop_equal_ids(sources: &Sources, rows: Vec<StreamRow>) -> Result<Vec<StreamRow>, Doubled> {
    let mut by_id: Vec<(strandline_event::EventId, usize)> =
        rows.iter().enumerate().map(|(i, r)| (sources.row(r.at).event_id, i)).collect();
    by_id.sort_unstable();
    let mut gone = vec![false; rows.len()];
    for pair in by_id.windows(2) {
        let ((a_id, a), (b_id, b)) = (pair[0], pair[1]);
        if a_id == b_id {
            gone[b] = same_event(sources, DedupeKey::EventId, rows[a].at, rows[b].at)?;
        }
    }
    Ok(rows.into_iter().zip(gone).filter_map(|(row, gone)| (!gone).then_some(row)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::source::{Source, TailBatch};
    use super::*;
    use strandline_deql::Tier;
    use strandline_event::{
        BatchBuilder, BatchUnit, EventInput, IdPrefix, LogIndex, LogKey, Micros, StampedBatch, StampsBuilder,
    };

    fn batch(seqs: &[u64], at_us: i64, run: u64, data: &str) -> TailBatch {
        let mut builder = BatchBuilder::new("Call", BatchUnit::Append);
        let mut stamps = StampsBuilder::new(Micros(at_us), IdPrefix::v7(Micros(at_us), run), seqs.len());
        for (i, seq) in seqs.iter().enumerate() {
            builder.push(&EventInput { stream_id: "a", event_type: "x", data, ..EventInput::default() }).unwrap();
            stamps.push(Seq(*seq), Micros(at_us + i as i64));
        }
        let batch = StampedBatch::new(builder.finish().unwrap(), stamps.finish()).unwrap();
        TailBatch { log: LogKey::single("Call"), index: LogIndex(2), batch, tier: Tier::Wal, loc: None }
    }

    fn gather(batches: Vec<TailBatch>) -> (Sources, Vec<StreamRow>) {
        let mut sources = Sources::under(&std::sync::Arc::default());
        let mut rows = Vec::new();
        for b in batches {
            let seqs: Vec<Seq> = b.batch.iter().map(|e| e.seq).collect();
            let source = sources.push(Source::Batch(b));
            rows.extend(
                seqs.into_iter().enumerate().map(|(i, seq)| StreamRow { seq, at: RowAt { source, row: i as u32 } }),
            );
        }
        (sources, rows)
    }

    #[test]
    fn rows_of_all_sources_come_once_and_in_order() {
        let (s, rows) =
            gather(vec![batch(&[4, 5], 40, 2, "1"), batch(&[1, 2, 3], 10, 1, "1"), batch(&[4, 5], 40, 2, "1")]);
        for key in [DedupeKey::StreamSeq, DedupeKey::EventId] {
            let seqs: Vec<u64> = merge_stream(&s, rows.clone(), key).unwrap().iter().map(|r| r.seq.0).collect();
            assert_eq!(seqs, [1, 2, 3, 4, 5]);
        }
    }

    #[test]
    fn one_key_with_different_content_names_both_places() {
        let (s, rows) = gather(vec![batch(&[1], 10, 1, "1"), batch(&[1], 10, 1, "2")]);
        for key in [DedupeKey::StreamSeq, DedupeKey::EventId] {
            let error = merge_stream(&s, rows.clone(), key).unwrap_err().to_string();
            assert!(error.contains("index 2, row 0 and"), "{error}");
        }
    }

    #[test]
    fn the_key_decides_what_is_one_event() {
        let (s, rows) = gather(vec![batch(&[1], 10, 1, "1"), batch(&[1], 10, 2, "1")]);
        assert!(merge_stream(&s, rows.clone(), DedupeKey::StreamSeq).is_err());
        assert_eq!(merge_stream(&s, rows, DedupeKey::EventId).unwrap().len(), 2);
    }

    #[test]
    fn one_key_at_two_moments_of_the_global_order_is_an_error() {
        let (s, rows) = gather(vec![batch(&[1], 10, 1, "1"), batch(&[2], 20, 2, "1"), batch(&[1], 30, 3, "1")]);
        let rows: Vec<_> = rows.iter().map(|r| GlobalRow { position: s.row(r.at).position(), at: r.at }).collect();
        assert!(merge_global(&s, rows.clone(), DedupeKey::StreamSeq, &Buckets::new()).is_err());
        assert_eq!(merge_global(&s, rows, DedupeKey::EventId, &Buckets::new()).unwrap().len(), 3);
    }

    #[test]
    fn the_global_order_is_by_position() {
        let (s, rows) = gather(vec![batch(&[3], 30, 9, "1"), batch(&[1, 2], 10, 1, "1"), batch(&[3], 30, 9, "1")]);
        let rows = rows.iter().map(|r| GlobalRow { position: s.row(r.at).position(), at: r.at }).collect();
        let merged = merge_global(&s, rows, DedupeKey::StreamSeq, &Buckets::new()).unwrap();
        let times: Vec<i64> = merged.iter().map(|r| r.position.ingested_at.0).collect();
        assert_eq!(times, [10, 11, 30]);
    }
}
