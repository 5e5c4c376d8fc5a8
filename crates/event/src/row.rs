//! One event, borrowed from wherever it lives: what all tiers give to a merge.

use crate::id::EventId;
use crate::num::{Micros, Seq};
use crate::position::Position;

/// What reads show in the place of a payload, and of metadata where there was some, once an event has been redacted.
pub const REDACTED: &str = r#"{"redacted":true}"#;

/// A committed event. Two of them are equal when every field is equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventRef<'a> {
    /// UUID.
    pub event_id: EventId,
    /// Type of the aggregate.
    pub stream_type: &'a str,
    /// Instance of the aggregate.
    pub stream_id: &'a str,
    /// Place in the stream.
    pub seq: Seq,
    /// Kind of the event.
    pub event_type: &'a str,
    /// Schema version, where given.
    pub event_version: Option<u32>,
    /// When it happened (ingested_at where the client gave none).
    pub occurred_at: Micros,
    /// When the store took it.
    pub ingested_at: Micros,
    /// Payload: JSON text, byte for byte as sent.
    pub data: &'a str,
    /// Metadata: JSON text, byte for byte as sent.
    pub metadata: Option<&'a str>,
    /// Idempotency id.
    pub command_id: Option<&'a str>,
    /// Correlation id.
    pub correlation_id: Option<&'a str>,
    /// Causation id.
    pub causation_id: Option<&'a str>,
    /// Tenant.
    pub tenant_id: Option<&'a str>,
}

impl<'a> EventRef<'a> {
    /// The event without what it said: [`REDACTED`] stands in the place of its payload, and of its metadata where it has some.
    #[must_use]
    pub fn redacted(self) -> Self {
        Self { data: REDACTED, metadata: self.metadata.map(|_| REDACTED), ..self }
    }

    /// Whether nothing is left of what it said: whatever was there, no other text is.
    #[must_use]
    pub fn says_nothing(&self) -> bool {
        self.data == REDACTED && self.metadata.is_none_or(|metadata| metadata == REDACTED)
    }

    /// Place in the global order.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position { ingested_at: self.ingested_at, event_id: self.event_id }
    }
}
