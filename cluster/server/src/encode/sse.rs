//! Server-Sent Events: `id:` is the position, `data:` the event as JSON on one line.
//!
//! Fields that a client does not know are ignored by the rules of the format; what is no event of the store has an `event:` of its own.

use crate::encode::event::{EventWriter, Shape};
use std::io::Write as _;
use strandline_event::{EventRef, Position};

/// What a stream begins with: something that is sent at once, and the pause before a browser comes again.
pub(crate) const BEGIN: &[u8] = b": strandline\nretry: 1000\n\n";

/// Appends an event of the store.
pub(crate) fn event(writer: &EventWriter, out: &mut Vec<u8>, event: &EventRef<'_>) {
    // writing to a Vec cannot fail
    let _ = write!(out, "id: {}\ndata: ", event.position());
    writer.write(out, event, Shape::Line, true);
    out.extend_from_slice(b"\n\n");
}

/// Appends an event of a dry run: it has no place, so no `id:` either.
pub(crate) fn inspected(writer: &EventWriter, out: &mut Vec<u8>, event: &EventRef<'_>) {
    out.extend_from_slice(b"data: ");
    writer.write(out, event, Shape::Line, false);
    // behind the last field of the object
    out.pop();
    out.extend_from_slice(b",\"inspect\":true}\n\n");
}

/// Appends a sign of life. With a position: where a client resumes that was given nothing since.
pub(crate) fn alive(out: &mut Vec<u8>, at: Option<Position>) {
    out.extend_from_slice(b": keep-alive\n");
    if let Some(at) = at {
        let _ = writeln!(out, "id: {at}");
    }
    out.push(b'\n');
}

/// Appends a message of another kind than an event of the store.
pub(crate) fn message(out: &mut Vec<u8>, kind: &str, data: &serde_json::Value) {
    let _ = write!(out, "event: {kind}\ndata: {data}\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::{EventId, FieldNames, Micros, Seq};

    #[test]
    fn a_sign_of_life_is_a_comment_and_may_say_where_to_resume() {
        let (mut plain, mut placed) = (Vec::new(), Vec::new());
        alive(&mut plain, None);
        alive(&mut placed, Some(Position::START));
        assert_eq!(plain, b": keep-alive\n\n");
        assert_eq!(String::from_utf8(placed).unwrap(), format!(": keep-alive\nid: {}\n\n", Position::START));
    }

    #[test]
    fn an_event_is_one_message_whatever_its_payload_holds() {
        let stored = EventRef {
            event_id: EventId([1; 16]),
            stream_type: "Call",
            stream_id: "a\nb",
            seq: Seq(1),
            event_type: "T",
            event_version: None,
            occurred_at: Micros(0),
            ingested_at: Micros(1),
            data: "{\r\n\"a\":\n1}",
            metadata: None,
            command_id: None,
            correlation_id: None,
            causation_id: None,
            tenant_id: None,
        };
        let writer = EventWriter::new(&FieldNames::default());
        let (mut out, mut dry) = (Vec::new(), Vec::new());
        event(&writer, &mut out, &stored);
        inspected(&writer, &mut dry, &stored);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[0], format!("id: {}", stored.position()));
        let tree: serde_json::Value = serde_json::from_str(lines[1].strip_prefix("data: ").unwrap()).unwrap();
        assert!(tree["data"]["a"] == 1 && tree["position"] == stored.position().to_string());
        let dry = String::from_utf8(dry).unwrap();
        let tree: serde_json::Value = serde_json::from_str(dry.trim().strip_prefix("data: ").unwrap()).unwrap();
        assert!(tree["inspect"] == true && tree["position"].is_null());
    }
}
