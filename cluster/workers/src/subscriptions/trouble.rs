//! Whether the events of a named subscription can be read: what was met last, until the place at which it was met is passed.
//!
//! Invariant: while a place cannot be read nothing behind it is offered, so nothing is passed over and no attempt is counted.

use crate::clock;
use crate::error::NodeError;
use parking_lot::Mutex;
use std::sync::Arc;
use strandline_event::{Micros, Position};

/// Why events cannot be given.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// When it was met last.
    pub at: Micros,
    /// What the read said.
    pub error: Arc<NodeError>,
}

/// A place behind which nothing can be read now.
pub(super) struct Unread {
    behind: Position,
    error: Arc<NodeError>,
}

impl Unread {
    /// An error of a read behind a place.
    pub(super) fn behind(behind: Position) -> impl FnOnce(NodeError) -> Self {
        move |error| Self { behind, error: Arc::new(error) }
    }

    /// What the read said.
    pub(super) fn why(&self) -> &NodeError {
        &self.error
    }

    /// It says nothing of the events: the node stops, or another one is to be asked.
    pub(super) fn is_passing(&self) -> bool {
        matches!(*self.error, NodeError::Draining | NodeError::NotLeader { .. })
    }
}

/// What was met and is not over.
#[derive(Default)]
pub(super) struct Troubles(Mutex<Option<(Position, Trouble)>>);

impl Troubles {
    /// A read failed. One that goes on is told once.
    pub(super) fn met(&self, name: &str, unread: Unread) -> Arc<NodeError> {
        let Unread { behind, error } = unread;
        let before = self.0.lock().replace((behind, Trouble { at: clock::now(), error: Arc::clone(&error) }));
        if before.is_none_or(|(place, known)| place != behind || known.error.to_string() != error.to_string()) {
            tracing::error!("subscription `{name}` cannot be read behind {behind}, its consumers end: {error}");
        }
        error
    }

    /// A read behind a place went well, and reached so far.
    pub(super) fn passed(&self, name: &str, behind: Position, through: Position) {
        let mut met = self.0.lock();
        if met.take_if(|(place, _)| behind >= *place || through > *place).is_some() {
            tracing::info!("subscription `{name}` is read on again");
        }
    }

    /// What is not over.
    pub(super) fn now(&self) -> Option<Trouble> {
        self.0.lock().as_ref().map(|(_, trouble)| trouble.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::EventId;

    fn at(us: i64) -> Position {
        Position { ingested_at: Micros(us), event_id: EventId([0; 16]) }
    }

    #[test]
    fn it_is_over_when_the_place_was_passed_and_not_by_a_read_before_it() {
        let troubles = Troubles::default();
        let met = |us| troubles.met("s", Unread::behind(at(us))(NodeError::Defect));
        met(7);
        troubles.passed("s", at(3), at(7));
        assert!(troubles.now().is_some(), "what lies before it says nothing of it");
        troubles.passed("s", at(3), at(8));
        assert!(troubles.now().is_none());
        met(7);
        troubles.passed("s", at(7), at(7));
        assert!(troubles.now().is_none(), "there is nothing behind it");
    }
}
