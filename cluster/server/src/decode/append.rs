//! The body of an append to one stream: `{"events": [...], "expected_seq": ..., "command_id": ...}`.
//!
//! One command covers the request; an event with another command id in it is refused.

use super::event::RawEvent;
use super::field::Text;
use super::json;
use crate::error::ApiError;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use strandline_event::{BatchBuilder, BatchBytes, BatchUnit, ErrorKind, Field, FieldNames, Seq, limits};

/// What the client expects of the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum ExpectedSeq {
    /// Nothing.
    #[default]
    Any,
    /// No event yet.
    Empty,
    /// This head.
    At(Seq),
}

/// A decoded append.
#[derive(Debug)]
pub(crate) struct AppendBody {
    pub(crate) batch: BatchBytes,
    pub(crate) expected: ExpectedSeq,
}

/// Decodes the body of an append to (`stream_type`, `stream_id`).
pub(crate) fn decode(
    body: &[u8],
    names: &FieldNames,
    stream_type: &str,
    stream_id: &str,
) -> Result<AppendBody, ApiError> {
    if body.trim_ascii().is_empty() {
        let form = "{\"events\": [{\"event_type\": \"...\", \"data\": {}}]}";
        return Err(ApiError::bad_request(format!("the body is empty: send {form}")));
    }
    let wrapper = json::read(json::utf8(body)?, WrapperSeed(names)).map_err(ApiError::into_bad_request)?;
    let Some(events) = wrapper.events else {
        return Err(ApiError::bad_request("the body has no `events`: send {\"events\": [...]}"));
    };
    if events.is_empty() {
        return Err(ApiError::bad_request("`events` is empty: an append holds at least one event"));
    }
    if events.len() > limits::APPEND_EVENTS_MAX {
        return Err(too_many());
    }
    strandline_event::builder::check_stream_type(stream_type).map_err(|e| json::invalid(&e, names))?;
    let mut command = wrapper.command_id;
    let mut held: Vec<RawEvent<'_>> = Vec::with_capacity(events.len());
    for (i, raw) in events.iter().enumerate() {
        let event = json::event(raw.get(), names).map_err(|e| at(e, i))?;
        check_place(&event, names, stream_type, stream_id).map_err(|e| at(e, i))?;
        match (&command, &event.command_id) {
            (Some(one), Some(other)) if one != other => return Err(at(two_commands(names, one, other), i)),
            (None, Some(_)) => command.clone_from(&event.command_id),
            _ => {}
        }
        held.push(event);
    }
    let mut builder = BatchBuilder::new(stream_type, BatchUnit::Append);
    for (i, mut event) in held.into_iter().enumerate() {
        event.command_id.clone_from(&command);
        builder.push(&event.input(stream_id)).map_err(|e| at(json::invalid(&e, names), i))?;
    }
    let batch = builder.finish().map_err(|e| ApiError::new(ErrorKind::TooLarge, e.to_string()))?;
    Ok(AppendBody { batch, expected: wrapper.expected })
}

fn too_many() -> ApiError {
    let limit = limits::APPEND_EVENTS_MAX;
    let sentence = format!("an append to a stream holds at most {limit} events; split it or use bulk");
    ApiError::new(ErrorKind::TooLarge, sentence).with("limit_events", limit)
}

fn at(error: ApiError, index: usize) -> ApiError {
    error.at(&format!("events[{index}]")).with("index", index)
}

fn check_place(event: &RawEvent<'_>, names: &FieldNames, stream_type: &str, stream_id: &str) -> Result<(), ApiError> {
    let of_path =
        [(Field::StreamType, &event.stream_type, stream_type), (Field::StreamId, &event.stream_id, stream_id)];
    for (field, given, path) in of_path {
        if given.as_ref().is_some_and(|g| g != path) {
            let name = names.get(field);
            return Err(ApiError::invalid(format!("`{name}` is not the one of the path; leave it out or use bulk")));
        }
    }
    Ok(())
}

fn two_commands(names: &FieldNames, one: &str, other: &str) -> ApiError {
    let name = names.get(Field::CommandId);
    ApiError::invalid(format!("one command covers an append, here are `{one}` and `{other}`")).with("field", name)
}

struct Wrapper<'a> {
    events: Option<Vec<&'a RawValue>>,
    expected: ExpectedSeq,
    command_id: Option<Cow<'a, str>>,
}

struct WrapperSeed<'n>(&'n FieldNames);

impl<'de> DeserializeSeed<'de> for WrapperSeed<'_> {
    type Value = Wrapper<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WrapperSeed<'_> {
    type Value = Wrapper<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an append: {\"events\": [...], \"expected_seq\": ..., \"command_id\": ...}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut wrapper = Wrapper { events: None, expected: ExpectedSeq::Any, command_id: None };
        let mut seen = [false; 3];
        while let Some(name) = map.next_key_seed(Text("a field's name"))? {
            let name = name.unwrap_or_default();
            let which = match &*name {
                "events" => 0,
                "expected_seq" => 1,
                n if n == "command_id" || n == self.0.get(Field::CommandId) => 2,
                _ => {
                    let shown: String = name.chars().take(64).collect();
                    return Err(Error::custom(format_args!(
                        "unknown field `{shown}` beside `events`; known are `events`, `expected_seq`, `command_id`"
                    )));
                }
            };
            if std::mem::replace(&mut seen[which], true) {
                return Err(Error::custom(format_args!("`{name}` is given twice")));
            }
            match which {
                0 => wrapper.events = map.next_value_seed(EventsSeed)?,
                1 => wrapper.expected = map.next_value_seed(ExpectedSeed)?,
                _ => wrapper.command_id = map.next_value_seed(Text(&name))?,
            }
        }
        Ok(wrapper)
    }
}

struct EventsSeed;

impl<'de> DeserializeSeed<'de> for EventsSeed {
    type Value = Option<Vec<&'de RawValue>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EventsSeed {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of events for `events`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut events = Vec::new();
        while let Some(event) = seq.next_element::<&'de RawValue>()? {
            events.push(event);
            if events.len() > limits::APPEND_EVENTS_MAX {
                // one too many is known: what follows is only checked, not kept
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                break;
            }
        }
        Ok(Some(events))
    }
}

struct ExpectedSeed;

impl<'de> DeserializeSeed<'de> for ExpectedSeed {
    type Value = ExpectedSeq;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for ExpectedSeed {
    type Value = ExpectedSeq;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, \"empty\" or \"any\" for `expected_seq`")
    }

    fn visit_u64<E: Error>(self, seq: u64) -> Result<Self::Value, E> {
        Ok(if seq == 0 { ExpectedSeq::Empty } else { ExpectedSeq::At(Seq(seq)) })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match text {
            "empty" => Ok(ExpectedSeq::Empty),
            "any" => Ok(ExpectedSeq::Any),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(ExpectedSeq::Any)
    }
}
