//! Event ids above the watermark, and the source of new ones.
//!
//! Ids that the owner made cost one entry a batch (they share a prefix, and the rest leads to the row); ids that clients gave cost one each.
//! Ids in Parquet are none of this table's business: the edge looks them up before it asks.

use crate::table::{Keyed, Lines, Table, Walk};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_event::{EventId, IdFormat, IdPrefix, LogIndex, Places, Scatter, StampedBatch};

/// Where an event stands in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TailLoc {
    /// The batch.
    pub index: LogIndex,
    /// The row in it.
    pub row: u32,
}

#[derive(Clone, Copy, Debug)]
struct Given {
    id: EventId,
    at: TailLoc,
}

#[derive(Clone, Copy, Debug)]
struct Made {
    /// The prefix, and in the low bits the last row.
    last: EventId,
    index: LogIndex,
    /// Key of the places that stand in the ids; `None`: the rows do.
    places: Option<NonZeroU64>,
}

/// Ids of the tail, in flight included.
#[derive(Debug, Default)]
pub struct TailIds {
    given: Table<Given>,
    made: Table<Made, Lines>,
}

/// How far letting go of ids has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdWalks {
    given: Walk,
    made: Walk,
}

impl Keyed for Given {
    fn key(&self) -> u128 {
        key(self.id.0)
    }
}

impl Keyed for Made {
    fn key(&self) -> u128 {
        key(IdPrefix::of(self.last).to_bytes())
    }
}

impl Made {
    fn of(index: LogIndex, batch: &StampedBatch) -> Self {
        let (stamps, last) = (batch.stamps(), batch.rows().saturating_sub(1));
        Self { last: stamps.id_prefix().id(last as u32), index, places: stamps.places_key() }
    }

    /// The row of an id of this prefix.
    fn row_of(&self, id: EventId) -> Option<u32> {
        let place = IdPrefix::row_of(id);
        let row = self.places.map_or(place, |key| Places::new(key).row_at(place));
        (row <= IdPrefix::row_of(self.last)).then_some(row)
    }
}

/// Mixes an id (the time of a v7 one stands in front); two ids have two keys, since each step can be undone.
const fn key(bytes: [u8; 16]) -> u128 {
    const ODD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    let id = u128::from_be_bytes(bytes);
    let mixed = (id ^ id >> 64).wrapping_mul(ODD);
    let mixed = (mixed ^ mixed >> 67).wrapping_mul(ODD);
    mixed ^ mixed >> 61
}

impl TailIds {
    /// Where the event with this id stands.
    #[must_use]
    pub fn find(&self, id: EventId) -> Option<TailLoc> {
        if let Some(found) = self.given.get(key(id.0)) {
            return Some(found.at);
        }
        let made = self.made.get(key(IdPrefix::of(id).to_bytes()))?;
        Some(TailLoc { index: made.index, row: made.row_of(id)? })
    }

    /// Whether the prefix is used by a batch.
    #[must_use]
    pub fn has_prefix(&self, prefix: IdPrefix) -> bool {
        self.made.get(key(prefix.to_bytes())).is_some()
    }

    /// Whether clients gave any of the ids.
    #[must_use]
    pub fn has_given(&self) -> bool {
        !self.given.is_empty()
    }

    /// Adds a batch's ids.
    pub fn insert(&mut self, index: LogIndex, batch: &StampedBatch) {
        let (view, rows) = (batch.view(), batch.rows());
        let given = (0..rows).filter(|row| view.given_event_id(*row).is_some()).count();
        if given == 0 {
            let made = Made::of(index, batch);
            self.made.get_or_insert(made.key(), || made);
            return;
        }
        // mixed: each id of its own, so that an id which nobody bears is not found
        for row in 0..rows {
            let given = Given { id: batch.event_id(row), at: TailLoc { index, row: row as u32 } };
            self.given.get_or_insert(given.key(), || given);
        }
    }

    /// Ids of batches above `through` leave: these batches never were.
    pub fn take_back(&mut self, through: LogIndex) {
        self.given.retain(|g| g.at.index <= through);
        self.made.retain(|m| m.index <= through);
    }

    /// Ids of batches at or below `through` leave: Parquet has them.
    pub fn settle(&mut self, through: LogIndex) {
        self.settle_some(through, &mut IdWalks::default(), &mut { usize::MAX });
    }

    /// As [`settle`](Self::settle), a step of it; `true`: that was the last one.
    pub(crate) fn settle_some(&mut self, through: LogIndex, walks: &mut IdWalks, budget: &mut usize) -> bool {
        self.given.retain_some(&mut walks.given, budget, |g| g.at.index > through)
            && self.made.retain_some(&mut walks.made, budget, |m| m.index > through)
    }
}

/// Source of the bits that make ids unique on a node; shared by all logs of a store, and so by all tenants: what comes out of it tells
/// nothing of what came between.
#[derive(Debug)]
pub struct IdSource {
    format: IdFormat,
    counter: AtomicU64,
    scatter: Scatter,
}

impl IdSource {
    /// `key`: random bits of this start of the node, that nobody is told.
    #[must_use]
    pub fn new(format: IdFormat, key: u128) -> Self {
        Self { format, counter: AtomicU64::new(0), scatter: Scatter::new(key) }
    }

    /// As [`next`](Self::next), where random bits are made only if the format needs them.
    pub fn next_of(&self, random: impl FnOnce() -> u128) -> u128 {
        match self.format {
            IdFormat::V7 => self.next(0),
            IdFormat::V4 => self.next(random()),
        }
    }

    /// Bits for the next batch. v7: those of a [scattered](Scatter) counter, which this node never repeats within a millisecond;
    /// v4: `random` itself.
    pub fn next(&self, random: u128) -> u128 {
        match self.format {
            IdFormat::V7 => u128::from(self.scatter.scatter(self.counter.fetch_add(1, Ordering::Relaxed))),
            IdFormat::V4 => random,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use strandline_event::{BatchBuilder, BatchUnit, EventInput, Micros, Seq, StampsBuilder};

    fn batch(ids: &[Option<EventId>], counter: u64) -> StampedBatch {
        placed(ids, counter, None)
    }

    fn placed(ids: &[Option<EventId>], counter: u64, places: Option<NonZeroU64>) -> StampedBatch {
        let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
        let mut stamps = StampsBuilder::new(Micros(5_000), IdPrefix::v7(Micros(5_000), counter), ids.len());
        places.into_iter().for_each(|key| stamps.set_places(key));
        for (row, id) in ids.iter().enumerate() {
            let event = EventInput { stream_id: "s", event_type: "E", event_id: *id, ..EventInput::default() };
            builder.push(&event).unwrap();
            stamps.push(Seq(row as u64 + 1), Micros(5_000));
        }
        StampedBatch::new(builder.finish().unwrap(), stamps.finish()).unwrap()
    }

    /// One tenant appends now and then, and others a fixed number of times between: its ids rise and fall by another step each time.
    #[test]
    fn what_one_caller_gets_of_the_source_does_not_say_how_much_others_took() {
        for others in [0, 1, 7] {
            let source = IdSource::new(IdFormat::V7, 0x5eed);
            let mut own = Vec::new();
            for _ in 0..1000 {
                own.push(IdPrefix::v7(Micros(5_000), source.next_of(|| 0) as u64));
                for _ in 0..others {
                    source.next(0);
                }
            }
            let steps = own.windows(2).map(|two| {
                let [a, b] = [two[0], two[1]].map(|prefix| u128::from_be_bytes(prefix.to_bytes()));
                b.wrapping_sub(a)
            });
            assert_eq!(steps.collect::<BTreeSet<_>>().len(), 999, "{others}");
            let rises = own.windows(2).filter(|two| two[0] < two[1]).count();
            assert!((400..600).contains(&rises), "{others} between: {rises} of 999 rise");
            assert_eq!(own.iter().collect::<BTreeSet<_>>().len(), 1000);
        }
    }

    #[test]
    fn random_bits_are_asked_for_and_kept_where_ids_are_of_them() {
        let source = IdSource::new(IdFormat::V4, 1);
        assert_eq!((source.next_of(|| 77), source.next(78)), (77, 78));
    }

    #[test]
    fn made_and_given_ids_are_found_and_no_other() {
        let (mut ids, mine) = (TailIds::default(), EventId([0x77; 16]));
        let (plain, mixed) = (batch(&[None, None], 1), batch(&[Some(mine), None], 2));
        ids.insert(LogIndex(3), &plain);
        assert!(!ids.has_given());
        ids.insert(LogIndex(4), &mixed);
        for (index, batch) in [(3, &plain), (4, &mixed)] {
            for row in 0..2 {
                assert_eq!(ids.find(batch.event_id(row)), Some(TailLoc { index: LogIndex(index), row: row as u32 }));
            }
        }
        assert_eq!(ids.find(plain.stamps().made_id(2)), None);
        assert_eq!(ids.find(mixed.stamps().made_id(0)), None);
        ids.settle(LogIndex(3));
        assert_eq!(ids.find(plain.event_id(0)), None);
        assert!(ids.find(mine).is_some());
    }

    #[test]
    fn ids_with_places_lead_to_their_rows_and_no_other_place_does() {
        let (count, rows) = (300, vec![None; 300]);
        for given in [None, Some(EventId([0x77; 16]))] {
            let mut ids = TailIds::default();
            let mut of = rows.clone();
            of[7] = given;
            let batches = [NonZeroU64::new(9), None].map(|key| placed(&of, u64::from(key.is_some()), key));
            for (index, batch) in (3..).zip(&batches) {
                ids.insert(LogIndex(index), batch);
            }
            for (index, batch) in (3..).zip(&batches) {
                for row in 0..count {
                    let at = Some(TailLoc { index: LogIndex(index), row: row as u32 });
                    // one id that both bear is the first one's
                    let is_first = batch.view().given_event_id(row).is_none() || index == 3;
                    assert_eq!(ids.find(batch.event_id(row)) == at, is_first, "row {row} of {index}");
                }
                let prefix = batch.stamps().id_prefix();
                let found = (0..1 << strandline_event::id::ROW_BITS).filter(|low| ids.find(prefix.id(*low)).is_some());
                assert_eq!(found.count(), count - given.iter().count(), "of {index}");
            }
        }
    }

    #[test]
    fn a_batch_of_made_ids_costs_32_bytes() {
        assert!(size_of::<Made>() <= 32);
    }
}
