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

    /// A page was used up.
    pub fn finished(&mut self, next: Position, through: Position) {
        self.at = self.at.max(next);
        self.through = self.through.max(through).max(self.at);
    }
}
