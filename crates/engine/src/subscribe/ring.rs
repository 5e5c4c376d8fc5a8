//! The last live pages of a store: read once, used by every reader that is near the end.
//!
//! ```text
//!  begin |--page--|--page--|----page----| end          each page holds all rows behind the one before it, up to its own end
//! ```
//!
//! Invariant: pages touch, none overlaps, and what they hold is bounded in number and bytes (one page always stays). Readers that
//! are behind the begin read history by themselves.

use std::collections::VecDeque;
use std::sync::Arc;
use strandline_event::Position;

/// What a ring may hold.
#[derive(Clone, Copy, Debug)]
pub struct RingLimits {
    /// Pages.
    pub pages_max: usize,
    /// Bytes of their rows.
    pub bytes_max: usize,
}

/// Where a reader's next rows are.
#[derive(Debug)]
pub enum Found<P> {
    /// Before everything that is held.
    Behind,
    /// In this page.
    Page(Arc<P>),
    /// Nowhere yet.
    AtEnd,
}

#[derive(Debug)]
struct Slot<P> {
    through: Position,
    bytes: usize,
    page: Arc<P>,
}

/// The pages.
#[derive(Debug)]
pub struct Ring<P> {
    limits: RingLimits,
    slots: VecDeque<Slot<P>>,
    bytes: usize,
    begin: Position,
    end: Position,
}

impl<P> Ring<P> {
    /// Empty; it begins behind `begin`.
    #[must_use]
    pub const fn new(begin: Position, limits: RingLimits) -> Self {
        Self { limits, slots: VecDeque::new(), bytes: 0, begin, end: begin }
    }

    /// Behind which the next page begins.
    #[must_use]
    pub const fn end(&self) -> Position {
        self.end
    }

    /// Bytes that it holds.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the page that was read behind [`end`](Self::end). `None`: there was no row up to `through`.
    pub fn push(&mut self, page: Option<(P, usize)>, through: Position) {
        self.end = self.end.max(through);
        let Some((page, bytes)) = page else {
            match self.slots.back_mut() {
                Some(last) => last.through = self.end,
                None => self.begin = self.end,
            }
            return;
        };
        self.bytes += bytes;
        self.slots.push_back(Slot { through: self.end, bytes, page: Arc::new(page) });
        let RingLimits { pages_max, bytes_max } = self.limits;
        while self.slots.len() > 1 && (self.slots.len() > pages_max || self.bytes > bytes_max) {
            let Some(oldest) = self.slots.pop_front() else { break };
            self.bytes -= oldest.bytes;
            self.begin = oldest.through;
        }
    }

    /// The rows behind a reader's place ([`Cursor::through`](super::Cursor::through)).
    #[must_use]
    pub fn find(&self, through: Position) -> Found<P> {
        if through >= self.end {
            return Found::AtEnd;
        }
        if through < self.begin {
            return Found::Behind;
        }
        let slot = self.slots.partition_point(|slot| slot.through <= through);
        self.slots.get(slot).map_or(Found::AtEnd, |slot| Found::Page(Arc::clone(&slot.page)))
    }

    /// Where the page ends that [`find`](Self::find) would give.
    #[must_use]
    pub fn page_through(&self, through: Position) -> Position {
        let slot = self.slots.partition_point(|slot| slot.through <= through);
        self.slots.get(slot).map_or(self.end, |slot| slot.through)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use strandline_event::{EventId, Micros};

    fn at(us: i64) -> Position {
        Position { ingested_at: Micros(us), event_id: EventId([1; 16]) }
    }

    proptest! {
        /// Rows are the numbers from 1; a page holds those in (end before, through].
        #[test]
        fn a_reader_of_any_place_gets_every_row_once_or_is_told_that_it_is_behind(
            steps in proptest::collection::vec((0i64..4, any::<bool>()), 1..60),
            start in 0i64..40,
            pages_max in 1usize..6,
        ) {
            let mut ring: Ring<Vec<i64>> = Ring::new(at(0), RingLimits { pages_max, bytes_max: 12 });
            let (mut place, mut seen, mut end, mut behind) = (start, Vec::new(), 0, false);
            for (rows, reads) in steps {
                let page: Vec<i64> = (end + 1..=end + rows).collect();
                end += rows;
                let bytes = page.len();
                ring.push((rows > 0).then_some((page, bytes)), at(end));
                while reads && !behind {
                    match ring.find(at(place)) {
                        Found::AtEnd => break,
                        Found::Behind => behind = true,
                        Found::Page(page) => {
                            seen.extend(page.iter().copied().filter(|row| *row > place));
                            let through = ring.page_through(at(place)).ingested_at.0;
                            prop_assert!(through > place);
                            place = through;
                        }
                    }
                }
                prop_assert!(ring.slots.len() <= pages_max && (ring.bytes <= 12 || ring.slots.len() == 1));
                prop_assert_eq!(ring.bytes, ring.slots.iter().map(|s| s.page.len()).sum::<usize>());
            }
            prop_assert!(seen.iter().copied().eq(start + 1..start + 1 + seen.len() as i64));
            prop_assert!(behind || place >= end || !seen.is_empty() || start >= place);
        }
    }
}
