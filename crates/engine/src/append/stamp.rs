//! Stamps: seqs, moments and the id prefix of the rows that are stored.
//!
//! Where rows of several streams are of several tenants, each tenant is told its own rows alone: ids have places in them, and moments count the rows of
//! their own stream. (A stream of several tenants is for nobody who is limited to one.)

use crate::append::outcome::RowMap;
use crate::append::verdict::Verdict;
use std::borrow::Cow;
use std::num::NonZeroU64;
use strandline_event::hash::keyed_hash;
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
    /// Its rows are of several tenants.
    is_shared: bool,
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
        let is_shared = batch.view().stream_count() > 1 && batch.view().is_of_several_tenants();
        let after_us = if is_shared { Cow::Owned(ranks(batch.view())) } else { moments(batch.view()) };
        let of_chunk = verdict.rejected.iter().filter(|_| batch.view().chunk().is_some());
        let refused = of_chunk.map(|rejected| rejected.row).collect();
        Some(Self { batch, rows, seqs, refused, after_us, is_shared })
    }

    /// Microseconds from the first row's moment to the largest one.
    pub(crate) fn span_us(&self) -> u32 {
        let mut all = self.after_us.iter();
        let last = if self.is_shared { all.max() } else { all.next_back() };
        last.copied().unwrap_or(0)
    }

    /// Stamps the rows of the request that this verdict was about. `secret`: what the store tells nobody.
    pub(crate) fn stamp(
        &self,
        verdict: &Verdict,
        (base, prefix): (Micros, IdPrefix),
        secret: (u64, u64),
    ) -> StampedBatch {
        let seqs = self.seqs.as_deref().unwrap_or(&verdict.seqs);
        let stamps = if self.is_shared {
            Stamps::of_tenants((base, prefix), places_key(prefix, secret), (seqs, &self.after_us), &self.refused)
        } else {
            Stamps::of_rows((base, prefix), seqs, &self.after_us, &self.refused)
        };
        StampedBatch::new(self.batch.clone(), stamps)
            .unwrap_or_else(|_| broken("the stamps of a batch do not match its rows"))
    }
}

/// The key of the places of a batch, which has the prefix for itself: who is told one key foretells no other.
fn places_key(prefix: IdPrefix, secret: (u64, u64)) -> NonZeroU64 {
    let key = keyed_hash(secret.0, secret.1, &[b"places", &prefix.to_bytes()]) as u64;
    NonZeroU64::new(key).unwrap_or(NonZeroU64::MIN)
}

/// Of rows of several tenants: how many of its own stream stand before each.
fn ranks(batch: BatchView<'_>) -> Vec<u32> {
    let mut before = vec![0_u32; batch.stream_count()];
    let mut rank = |row| {
        let Some(before) = before.get_mut(batch.stream_of(row)) else { return 0 };
        *before += 1;
        *before - 1
    };
    (0..batch.rows()).map(&mut rank).collect()
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

    fn of_tenants(rows: &[(&str, Option<&str>)]) -> BatchBytes {
        let mut batch = BatchBuilder::new("T", BatchUnit::Rows);
        for (stream_id, tenant_id) in rows.iter().copied() {
            let event = EventInput { stream_id, event_type: "E", tenant_id, ..EventInput::default() };
            batch.push(&event).unwrap();
        }
        batch.finish().unwrap()
    }

    fn stamped(batch: &BatchBytes, prefix: IdPrefix) -> StampedBatch {
        let mut verdict = Verdict::default();
        verdict.stored = batch.view().rows();
        verdict.seqs = (1..=verdict.stored as u64).collect();
        Unstamped::new(batch, &verdict).unwrap().stamp(&verdict, (Micros(9_000), prefix), (3, 4))
    }

    #[test]
    fn rows_have_places_where_several_streams_are_of_several_tenants() {
        let (a, b) = (Some("a"), Some("b"));
        let cases = [
            (vec![("s", None)], false),
            (vec![("s", a)], false),
            (vec![("s", a), ("t", a), ("s", a)], false),
            (vec![("s", None), ("t", None)], false),
            (vec![("s", a), ("s", b)], false),
            (vec![("s", a), ("t", b)], true),
            (vec![("s", a), ("t", None)], true),
            (vec![("s", None), ("t", Some("a")), ("u", None)], true),
            (vec![("s", Some("ab")), ("t", Some("ab")), ("u", Some("a")), ("v", Some("b"))], true),
        ];
        let prefix = IdPrefix::v4(7 << 40);
        for (rows, is_shared) in cases {
            let stamped = stamped(&of_tenants(&rows), prefix);
            assert_eq!(stamped.stamps().places_key().is_some(), is_shared, "{rows:?}");
            let are_rows = (0..rows.len()).all(|row| stamped.event_id(row) == prefix.id(row as u32));
            assert_eq!(are_rows, !is_shared, "{rows:?}");
        }
    }

    /// Whatever others have in the body, and wherever: the moments of a tenant's rows are the same, and its ids say nothing of their rows.
    #[test]
    fn what_a_tenant_is_told_of_its_rows_depends_on_no_row_of_others() {
        let of_own = |stamped: &StampedBatch| -> Vec<_> {
            let own = stamped.iter().filter(|event| event.tenant_id == Some("a"));
            own.map(|event| (event.stream_id.to_owned(), event.ingested_at, event.event_id)).collect()
        };
        let (own, others) = ([("s", Some("a")), ("t", Some("a")), ("s", Some("a"))], ("o", Some("b")));
        let mut places = std::collections::BTreeSet::new();
        for (count, number) in [0, 1, 2, 500].into_iter().zip(1..) {
            for at in 0..=own.len() {
                let mut rows = own.to_vec();
                drop(rows.splice(at..at, std::iter::repeat_n(others, count)));
                // one row of others is always there
                rows.push(("p", None));
                let prefix = IdPrefix::v7(Micros(9_000), number * 100 + at as u64);
                let stamped = stamped(&of_tenants(&rows), prefix);
                let told = of_own(&stamped);
                let moments: Vec<_> = told.iter().map(|(stream, moment, _)| (&**stream, moment.0)).collect();
                assert_eq!(moments, [("s", 9_000), ("t", 9_000), ("s", 9_001)], "{count} at {at}");
                places.extend(told.iter().map(|(_, _, id)| IdPrefix::row_of(*id)));
                let last = stamped.iter().map(|event| event.ingested_at).max();
                assert_eq!(Some(stamped.stamps().last_ingested_at()), last);
                for (row, event) in stamped.iter().enumerate() {
                    assert_eq!(stamped.row_of_made_id(event.event_id), Some(row));
                }
            }
        }
        // each body has another key: 48 places of 2^20
        assert!(places.len() > 44, "{places:?}");
        assert!(places.iter().any(|place| *place > 1000), "{places:?}");
    }

    #[test]
    fn the_key_of_places_is_another_for_each_batch_and_each_store() {
        let prefix = |bits| IdPrefix::v7(Micros(9_000), bits);
        let keys =
            [(1, (3, 4)), (2, (3, 4)), (1, (3, 5)), (1, (2, 4))].map(|(bits, secret)| places_key(prefix(bits), secret));
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), keys.len());
        assert_eq!(places_key(prefix(1), (3, 4)), keys[0]);
    }

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
