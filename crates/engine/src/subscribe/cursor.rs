//! The place of one reader in the global order.

use crate::read::budget::event_bytes;
use crate::read::{Filter, GlobalPage};
use strandline_event::Position;

/// A place. Everything up to it was given or ruled out by the filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    at: Position,
    through: Position,
}

impl Cursor {
    /// Behind a position.
    #[must_use]
    pub const fn new(after: Position) -> Self {
        Self { at: after, through: after }
    }

    /// What a reader keeps to resume from: the place of something that exists, valid for ever.
    #[must_use]
    pub const fn at(&self) -> Position {
        self.at
    }

    /// The same, or a moment up to which nothing else will ever come: only for as long as the store is open.
    #[must_use]
    pub const fn through(&self) -> Position {
        self.through
    }

    /// The next rows of a page that holds what comes behind this place, and ends at `end`: those that the filter keeps, about
    /// `bytes_max` of them and at least one. `true`: the page is used up.
    pub fn take(&mut self, page: &GlobalPage, end: Position, filter: &Filter, bytes_max: usize) -> (Vec<u32>, bool) {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for place in page.rows_through(self.through)..page.len() {
            let Some(event) = page.row(place) else { break };
            if filter.matches(&event) {
                let more = event_bytes(&event);
                if bytes > 0 && bytes + more > bytes_max {
                    return (taken, false);
                }
                bytes += more;
                taken.push(place as u32);
            }
            self.gave(event.position());
        }
        self.finished(page.next, end);
        (taken, true)
    }

    /// An event was given.
    pub fn gave(&mut self, position: Position) {
        self.at = self.at.max(position);
        self.through = self.through.max(position);
    }

    /// A page was used up that was read behind this place. Where there was nothing in it its `next` says where that was, which may be a moment
    /// at which nothing stands.
    pub fn finished(&mut self, next: Position, through: Position) {
        if next > self.through {
            self.at = next;
        }
        self.through = self.through.max(through).max(self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::{EventId, Micros};

    #[test]
    fn what_is_kept_is_the_place_of_an_event_also_where_one_page_after_the_other_has_none() {
        let at = |us| Position { ingested_at: Micros(us), event_id: EventId([1; 16]) };
        let closed = |us| Position::end_of(Micros(us));
        let mut cursor = Cursor::new(at(5));
        cursor.finished(at(5), closed(100));
        cursor.finished(closed(100), closed(200));
        assert_eq!((cursor.at(), cursor.through()), (at(5), closed(200)), "a clock that is set back assigns above 5");
        // one that a filter dropped, and one that was given
        cursor.finished(at(250), closed(300));
        assert_eq!((cursor.at(), cursor.through()), (at(250), closed(300)));
        cursor.gave(at(350));
        cursor.finished(at(350), closed(400));
        assert_eq!((cursor.at(), cursor.through()), (at(350), closed(400)));
    }
}
