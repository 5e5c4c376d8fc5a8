//! Opened rows of an answer: what a client sees of sealed ones, for as long as their key is there.
//!
//! Invariant: a row that was opened before its key was destroyed shows [`ERASED`] afterwards, whoever still holds the page.

use super::{Slot, SubjectFileError, SubjectKeys};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use strandline_event::EventRef;
use strandline_keys::subject::{ERASED, may_be_sealed};

/// What a sealed row says.
pub(crate) struct Opened {
    slot: Arc<Slot>,
    data: Option<Box<str>>,
    metadata: Option<Box<str>>,
}

impl Opened {
    pub(super) const fn new(slot: Arc<Slot>, data: Option<Box<str>>, metadata: Option<Box<str>>) -> Self {
        Self { slot, data, metadata }
    }

    pub(super) const fn nothing(slot: Arc<Slot>) -> Self {
        Self::new(slot, None, None)
    }

    fn over<'a>(&'a self, event: EventRef<'a>) -> EventRef<'a> {
        if self.slot.is_erased() {
            return EventRef { data: ERASED, metadata: event.metadata.map(|_| ERASED), ..event };
        }
        let data = self.data.as_deref().unwrap_or(event.data);
        EventRef { data, metadata: event.metadata.map(|sealed| self.metadata.as_deref().unwrap_or(sealed)), ..event }
    }
}

/// What opens the sealed rows of one store, and of no other.
#[derive(Clone)]
pub(crate) struct Opener {
    pub(crate) keys: Arc<SubjectKeys>,
    pub(crate) store: Arc<str>,
}

/// The opened rows of an answer, by their places; nearly always none.
pub(crate) struct Openings<P>(HashMap<P, Opened>);

impl<P> Default for Openings<P> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<P: Hash + Eq + Copy> Openings<P> {
    /// Opens the rows that are sealed. Where other nodes erase too, it is looked at first what they have erased.
    pub(crate) fn of<'e>(
        opener: &Opener,
        rows: impl Iterator<Item = (P, EventRef<'e>)>,
    ) -> Result<Self, SubjectFileError> {
        let Opener { keys, store } = opener;
        let (mut opened, mut has_looked) = (HashMap::new(), false);
        for (place, event) in rows {
            let is_sealed = may_be_sealed(event.data) || event.metadata.is_some_and(may_be_sealed);
            if !is_sealed || keys.kind_of(store, event.stream_type).is_none() {
                continue;
            }
            if !has_looked {
                keys.look()?;
                has_looked = true;
            }
            if let Some(row) = keys.open_row(store, &event)? {
                opened.insert(place, row);
            }
        }
        Ok(Self(opened))
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A row as a client sees it.
    pub(crate) fn over<'a>(&'a self, place: P, event: EventRef<'a>) -> EventRef<'a> {
        if self.0.is_empty() {
            return event;
        }
        match self.0.get(&place) {
            Some(opened) => opened.over(event),
            None => event,
        }
    }
}
