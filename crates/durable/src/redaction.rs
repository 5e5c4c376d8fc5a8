//! Redactions: which events' payloads are shown no more, by whose word, and the overlay that every reader looks through.
//!
//! ```text
//!  commit of a redaction ─> manifest (for ever) ─> Veil (memory, shared by all readers of the store) ─> each row that is read
//!                                                                                                  └─> each row that is written again
//! ```
//!
//! Invariant: a redaction is never taken back, so the veil only grows, and a row that is looked at after the commit was answered is
//! shown without its payload, whatever view was pinned before. The event stays: its id, its seq, everything but what it said.

use crate::rows::Rows;
use crate::wire;
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use strandline_event::{EventId, EventRef, Field, Micros, REDACTED, Seq, TextColumn};

/// One redacted event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Redaction {
    /// Its id.
    #[serde(with = "wire")]
    pub event_id: EventId,
    /// Its stream type.
    pub stream_type: String,
    /// Its stream: two owners do not ask each other, so an id alone may name two events, also of one stream type that has several buckets.
    pub stream_id: String,
    /// Its place in the stream.
    #[serde(with = "wire")]
    pub seq: Seq,
    /// When it was redacted.
    #[serde(with = "wire")]
    pub at: Micros,
    /// Who did it.
    pub who: String,
    /// Why, where a reason was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Redacted ids, each with the streams of its events: type and id.
type Hidden = HashMap<EventId, Vec<(Arc<str>, Arc<str>)>>;

/// The overlay of a store, as of now.
#[derive(Debug, Default)]
pub struct Veil {
    /// Redactions that are in it; 0 spares readers everything else.
    count: AtomicUsize,
    hidden: ArcSwap<Hidden>,
}

impl Veil {
    /// Takes in what a version says. Redactions are never taken back: a version that knows fewer is an older one.
    pub(crate) fn take_in<'r>(&self, count: usize, redactions: impl Iterator<Item = &'r Redaction>) {
        if count <= self.count.load(Ordering::Acquire) {
            return;
        }
        let mut hidden = Hidden::with_capacity(count);
        for Redaction { event_id, stream_type, stream_id, .. } in redactions {
            let stream = (Arc::from(stream_type.as_str()), Arc::from(stream_id.as_str()));
            hidden.entry(*event_id).or_default().push(stream);
        }
        self.hidden.store(Arc::new(hidden));
        self.count.store(count, Ordering::Release);
    }

    /// Whether nothing is redacted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// How many redactions it knows. It never falls, and what [`Self::hides`] says afterwards knows at least so many.
    #[must_use]
    pub fn redactions(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whether an event of this stream is redacted.
    #[must_use]
    pub fn hides(&self, event_id: EventId, (stream_type, stream_id): (&str, &str)) -> bool {
        let is_it = |(of_type, of_id): &(Arc<str>, Arc<str>)| **of_type == *stream_type && **of_id == *stream_id;
        !self.is_empty() && self.hidden.load().get(&event_id).is_some_and(|streams| streams.iter().any(is_it))
    }

    /// Whether a row is redacted.
    fn hides_row(&self, rows: &impl Rows, i: usize) -> bool {
        let event = rows.row(i);
        self.hides(rows.event_id(i), (event.stream_type, event.stream_id))
    }

    /// An event as readers may see it.
    #[must_use]
    pub fn over<'a>(&self, event: EventRef<'a>) -> EventRef<'a> {
        let is_hidden = self.hides(event.event_id, (event.stream_type, event.stream_id));
        if is_hidden { event.redacted() } else { event }
    }

    /// Whether any of some rows is redacted.
    pub fn hides_any(&self, rows: &impl Rows) -> bool {
        !self.is_empty() && (0..rows.rows()).any(|i| self.hides_row(rows, i))
    }
}

/// Rows of a job as they are written: what is redacted goes into no new file. What is redacted while the job runs is not among it, so that every look at
/// a row says the same.
pub struct Veiled<B> {
    rows: B,
    /// Redacted rows, rising; nearly always none.
    hidden: Vec<usize>,
}

impl<B: Rows> Veiled<B> {
    /// Looks which of the rows are redacted now.
    pub fn new(veil: &Veil, rows: B) -> Self {
        let hidden = |i: &usize| veil.hides_row(&rows, *i);
        let hidden = if veil.is_empty() { Vec::new() } else { (0..rows.rows()).filter(hidden).collect() };
        Self { rows, hidden }
    }

    fn hides(&self, i: usize) -> bool {
        self.hidden.binary_search(&i).is_ok()
    }

    fn says(&self, i: usize, field: Field) -> bool {
        !matches!(field, Field::Payload | Field::Metadata) || !self.hides(i)
    }
}

impl<B: Rows> Rows for Veiled<B> {
    fn rows(&self) -> usize {
        self.rows.rows()
    }

    fn row(&self, i: usize) -> EventRef<'_> {
        let event = self.rows.row(i);
        if self.hides(i) { event.redacted() } else { event }
    }

    fn event_id(&self, i: usize) -> EventId {
        self.rows.event_id(i)
    }

    fn seq(&self, i: usize) -> Seq {
        self.rows.seq(i)
    }

    fn event_version(&self, i: usize) -> Option<u32> {
        self.rows.event_version(i)
    }

    fn occurred_at(&self, i: usize) -> Micros {
        self.rows.occurred_at(i)
    }

    fn ingested_at(&self, i: usize) -> Micros {
        self.rows.ingested_at(i)
    }

    fn text(&self, i: usize, field: Field) -> Option<&str> {
        let text = self.rows.text(i, field);
        if self.says(i, field) { text } else { text.map(|_| REDACTED) }
    }

    fn bytes(&self, i: usize, field: Field) -> Option<&[u8]> {
        let bytes = self.rows.bytes(i, field);
        if self.says(i, field) { bytes } else { bytes.map(|_| REDACTED.as_bytes()) }
    }

    fn column(&self, field: Field) -> Option<TextColumn<'_>> {
        if self.hidden.is_empty() { self.rows.column(field) } else { None }
    }

    fn may_have(&self, field: Field) -> bool {
        self.rows.may_have(field)
    }

    fn stream_type(&self) -> Option<&str> {
        self.rows.stream_type()
    }

    fn stream_count(&self) -> usize {
        self.rows.stream_count()
    }

    fn stream_of(&self, i: usize) -> Option<usize> {
        self.rows.stream_of(i)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction(id: u8, stream_type: &str) -> Redaction {
        let (stream_type, stream_id, who) = (stream_type.to_owned(), "s".to_owned(), "w".to_owned());
        Redaction { event_id: EventId([id; 16]), stream_type, stream_id, seq: Seq(1), at: Micros(1), who, reason: None }
    }

    fn event(id: u8, stream_type: &'static str, metadata: Option<&'static str>) -> EventRef<'static> {
        EventRef {
            event_id: EventId([id; 16]),
            stream_type,
            stream_id: "s",
            seq: Seq(7),
            event_type: "e",
            event_version: None,
            occurred_at: Micros(1),
            ingested_at: Micros(2),
            data: "{\"secret\":1}",
            metadata,
            command_id: Some("c"),
            correlation_id: None,
            causation_id: None,
            tenant_id: None,
        }
    }

    #[test]
    fn only_what_is_redacted_is_hidden_and_nothing_is_shown_again() {
        let veil = Veil::default();
        let all = [redaction(1, "A"), redaction(2, "A")];
        assert!(veil.is_empty() && veil.over(event(1, "A", None)) == event(1, "A", None));
        veil.take_in(2, all.iter());
        veil.take_in(1, all[..1].iter());
        for id in [1, 2] {
            let shown = veil.over(event(id, "A", Some("{}")));
            assert!(shown.data == REDACTED && shown.metadata == Some(REDACTED) && shown.says_nothing());
            assert_eq!((shown.command_id, shown.seq), (Some("c"), Seq(7)));
            assert_eq!(veil.over(event(id, "A", None)).metadata, None);
            assert_eq!(veil.over(event(id, "B", None)), event(id, "B", None), "another owner's event of this id");
            let of_other_bucket = EventRef { stream_id: "t", ..event(id, "A", None) };
            assert_eq!(veil.over(of_other_bucket), of_other_bucket, "another owner's, of the same type");
        }
        assert_eq!(veil.over(event(3, "A", None)), event(3, "A", None));
        let rows = vec![event(3, "A", Some("{}")), event(1, "A", Some("{}"))];
        assert!(veil.hides_any(&rows) && !veil.hides_any(&event(3, "A", None)));
        let veiled = Veiled::new(&veil, &rows);
        assert_eq!(veiled.row(1), rows[1].redacted());
        for (field, text) in [(Field::Payload, REDACTED), (Field::Metadata, REDACTED), (Field::CommandId, "c")] {
            assert_eq!((veiled.text(1, field), veiled.bytes(1, field)), (Some(text), Some(text.as_bytes())));
        }
        assert_eq!(veiled.text(0, Field::Payload), Some(rows[0].data));
        // redacted while they are being written: a later merge takes it out
        veil.take_in(3, [redaction(1, "A"), redaction(2, "A"), redaction(3, "A")].iter());
        assert_eq!((veiled.row(0).data, veiled.text(0, Field::Payload)), (rows[0].data, Some(rows[0].data)));
    }
}
