//! An event as a JSON object. Payload and metadata are copied as they are stored, nothing is parsed.
//!
//! In line formats, line breaks between the tokens of a payload become spaces: JSON forbids raw ones
//! inside strings, so every such byte stands between tokens.

use std::io::Write as _;
use strandline_event::{EventRef, Field, FieldNames};

/// Writes events under a store's field names.
#[derive(Clone, Debug)]
pub(crate) struct EventWriter {
    /// `"name":` of each field, with the brace or comma before it.
    keys: Vec<Vec<u8>>,
}

/// Where the event will stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// Inside a JSON document: payloads byte for byte.
    Json,
    /// On one line.
    Line,
}

impl EventWriter {
    /// A writer for these names.
    pub(crate) fn new(names: &FieldNames) -> Self {
        let key = |field: Field| {
            let mut key = vec![if field == Field::EventId { b'{' } else { b',' }];
            text(&mut key, names.get(field));
            key.push(b':');
            key
        };
        Self { keys: Field::ALL.map(key).to_vec() }
    }

    /// Appends an event to `out`, with its position where one is wanted.
    pub(crate) fn write(&self, out: &mut Vec<u8>, event: &EventRef<'_>, shape: Shape, position: bool) {
        self.key(out, Field::EventId);
        quoted(out, &event.event_id);
        self.text(out, Field::StreamType, Some(event.stream_type));
        self.text(out, Field::StreamId, Some(event.stream_id));
        self.key(out, Field::Seq);
        plain(out, &event.seq);
        self.text(out, Field::EventType, Some(event.event_type));
        self.key(out, Field::EventVersion);
        match event.event_version {
            Some(version) => plain(out, &version),
            None => out.extend_from_slice(b"null"),
        }
        self.key(out, Field::OccurredAt);
        quoted(out, &event.occurred_at);
        self.key(out, Field::IngestedAt);
        quoted(out, &event.ingested_at);
        self.key(out, Field::Payload);
        raw(out, event.data, shape);
        self.key(out, Field::Metadata);
        raw(out, event.metadata.unwrap_or("null"), shape);
        self.text(out, Field::CommandId, event.command_id);
        self.text(out, Field::CorrelationId, event.correlation_id);
        self.text(out, Field::CausationId, event.causation_id);
        self.text(out, Field::TenantId, event.tenant_id);
        if position {
            out.extend_from_slice(b",\"position\":");
            quoted(out, &event.position());
        }
        out.push(b'}');
    }

    fn key(&self, out: &mut Vec<u8>, field: Field) {
        if let Some(key) = self.keys.get(field as usize) {
            out.extend_from_slice(key);
        }
    }

    fn text(&self, out: &mut Vec<u8>, field: Field, value: Option<&str>) {
        self.key(out, field);
        match value {
            Some(value) => text(out, value),
            None => out.extend_from_slice(b"null"),
        }
    }
}

fn raw(out: &mut Vec<u8>, json: &str, shape: Shape) {
    let start = out.len();
    out.extend_from_slice(json.as_bytes());
    if shape == Shape::Json {
        return;
    }
    for byte in out.get_mut(start..).unwrap_or(&mut []) {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

fn plain(out: &mut Vec<u8>, value: &impl std::fmt::Display) {
    // writing to a Vec cannot fail
    let _ = write!(out, "{value}");
}

fn quoted(out: &mut Vec<u8>, value: &impl std::fmt::Display) {
    let _ = write!(out, "\"{value}\"");
}

/// Appends a text as a JSON string.
pub(crate) fn text(out: &mut Vec<u8>, value: &str) {
    // serialising a str into a Vec cannot fail
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::{EventId, Micros, Seq};

    fn event(data: &str) -> EventRef<'_> {
        EventRef {
            event_id: EventId([1; 16]),
            stream_type: "Call",
            stream_id: "a\"b\n",
            seq: Seq(u64::MAX),
            event_type: "T",
            event_version: None,
            occurred_at: Micros(0),
            ingested_at: Micros(1),
            data,
            metadata: None,
            command_id: Some("k"),
            correlation_id: None,
            causation_id: None,
            tenant_id: None,
        }
    }

    #[test]
    fn an_event_is_valid_json_and_its_payload_is_exact() {
        let mut names = FieldNames::default();
        names.set(Field::Payload, "body");
        let data = "{\"a\" :\n[1.50]}";
        let mut out = Vec::new();
        EventWriter::new(&names).write(&mut out, &event(data), Shape::Json, true);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(&format!("\"body\":{data}")), "{text}");
        let tree: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(tree["stream_id"], "a\"b\n");
        assert_eq!(tree["seq"].as_u64(), Some(u64::MAX));
        assert_eq!(tree["occurred_at"], "1970-01-01T00:00:00Z");
        assert!(tree["position"].is_string() && tree["metadata"].is_null());
    }

    #[test]
    fn a_line_has_no_line_break() {
        let mut out = Vec::new();
        EventWriter::new(&FieldNames::default()).write(&mut out, &event("{\r\n\"a\":\"\\n\"}"), Shape::Line, false);
        assert!(!out.contains(&b'\n') && !out.contains(&b'\r'));
        let tree: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(tree["data"]["a"], "\n");
    }
}
