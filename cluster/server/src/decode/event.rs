//! One event as JSON: an object with the store's field names, read without a tree.
//!
//! Refuses what it does not know: an unknown field, a field given twice, a field that the store assigns.

use super::field::{Text, Whole, event_id, moment, seq, version};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use strandline_event::{EventId, EventInput, Field, FieldNames, Micros, Seq};

/// How deep data and metadata may be nested: what the usual readers of JSON take.
const NESTING_MAX: usize = 128;

/// An event that borrows from the body. `None`: absent or null.
#[derive(Debug, Default)]
pub(crate) struct RawEvent<'a> {
    pub(crate) stream_type: Option<Cow<'a, str>>,
    pub(crate) stream_id: Option<Cow<'a, str>>,
    pub(crate) event_type: Option<Cow<'a, str>>,
    pub(crate) event_id: Option<EventId>,
    pub(crate) seq: Option<Seq>,
    pub(crate) event_version: Option<u32>,
    pub(crate) occurred_at: Option<Micros>,
    pub(crate) data: Option<&'a RawValue>,
    pub(crate) metadata: Option<&'a RawValue>,
    pub(crate) command_id: Option<Cow<'a, str>>,
    pub(crate) correlation_id: Option<Cow<'a, str>>,
    pub(crate) causation_id: Option<Cow<'a, str>>,
    pub(crate) tenant_id: Option<Cow<'a, str>>,
}

impl RawEvent<'_> {
    /// As a batch takes it. Absent mandatory texts are empty: the batch refuses them by name.
    pub(crate) fn input<'b>(&'b self, stream_id: &'b str) -> EventInput<'b> {
        EventInput {
            stream_id,
            event_type: self.event_type.as_deref().unwrap_or(""),
            event_id: self.event_id,
            seq: self.seq,
            event_version: self.event_version,
            occurred_at: self.occurred_at,
            data: self.data.map_or("", RawValue::get),
            metadata: self.metadata.map(RawValue::get),
            command_id: self.command_id.as_deref(),
            correlation_id: self.correlation_id.as_deref(),
            causation_id: self.causation_id.as_deref(),
            tenant_id: self.tenant_id.as_deref(),
        }
    }
}

/// Reads an event with a store's field names.
#[derive(Clone, Copy)]
pub(crate) struct EventSeed<'n> {
    pub(crate) names: &'n FieldNames,
    /// The field whose value is being read: where an error is.
    pub(crate) at: &'n Cell<Option<Field>>,
}

impl<'de> DeserializeSeed<'de> for EventSeed<'_> {
    type Value = RawEvent<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EventSeed<'_> {
    type Value = RawEvent<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event: a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut event = RawEvent::default();
        let mut seen = 0_u16;
        while let Some(name) = map.next_key_seed(Text("a field's name"))? {
            let name = name.unwrap_or_default();
            let Some(field) = self.names.field(&name) else { return Err(unknown(&name, self.names)) };
            self.at.set(Some(field));
            let bit = 1 << field as u16;
            if seen & bit != 0 {
                return Err(Error::custom(format_args!("`{name}` is given twice")));
            }
            seen |= bit;
            read_field(&mut map, field, self.names.get(field), &mut event)?;
            self.at.set(None);
        }
        Ok(event)
    }
}

fn read_field<'de, A: MapAccess<'de>>(
    map: &mut A,
    field: Field,
    name: &str,
    event: &mut RawEvent<'de>,
) -> Result<(), A::Error> {
    match field {
        Field::EventId => event.event_id = event_id(name, map.next_value_seed(Text(name))?)?,
        Field::StreamType => event.stream_type = map.next_value_seed(Text(name))?,
        Field::StreamId => event.stream_id = map.next_value_seed(Text(name))?,
        Field::Seq => event.seq = seq(map.next_value_seed(Whole(name))?),
        Field::EventType => event.event_type = map.next_value_seed(Text(name))?,
        Field::EventVersion => event.event_version = version(name, map.next_value_seed(Whole(name))?)?,
        Field::OccurredAt => event.occurred_at = moment(name, map.next_value_seed(Text(name))?)?,
        Field::IngestedAt => {
            return Err(Error::custom(format_args!("`{name}` is assigned by the store: leave it out")));
        }
        Field::Payload => event.data = Some(shallow(name, map.next_value()?)?),
        Field::Metadata => {
            let metadata = map.next_value::<Option<&'de RawValue>>()?;
            event.metadata = metadata.map(|text| shallow(name, text)).transpose()?;
        }
        Field::CommandId => event.command_id = map.next_value_seed(Text(name))?,
        Field::CorrelationId => event.correlation_id = map.next_value_seed(Text(name))?,
        Field::CausationId => event.causation_id = map.next_value_seed(Text(name))?,
        Field::TenantId => event.tenant_id = map.next_value_seed(Text(name))?,
    }
    Ok(())
}

/// Refuses JSON that most readers of it would refuse. Text without that many brackets is not looked at more closely.
fn shallow<'de, E: Error>(name: &str, value: &'de RawValue) -> Result<&'de RawValue, E> {
    match unreadable(name, value.get()) {
        None => Ok(value),
        Some(refused) => Err(Error::custom(refused)),
    }
}

/// Why other readers would refuse a JSON text that is whole: one such event would keep them from a whole file.
pub(crate) fn unreadable(name: &str, json: &str) -> Option<String> {
    if lone_surrogate(json.as_bytes()) {
        return Some(format!(
            "`{name}` holds half of a surrogate pair (`\\ud800` to `\\udfff` alone), which is no character"
        ));
    }
    too_deep(name, json)
}

/// Whether a text in it has an escape of a surrogate without its other half. The JSON is whole.
fn lone_surrogate(json: &[u8]) -> bool {
    let escaped = |at: usize| {
        let digits = json.get(at..at + 6).filter(|text| text.starts_with(b"\\u"))?.get(2..)?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut at = 0;
    while let Some(next) = json.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
        at += next;
        match escaped(at) {
            Some(0xd800..=0xdbff) if matches!(escaped(at + 6), Some(0xdc00..=0xdfff)) => at += 12,
            Some(0xd800..=0xdfff) => return true,
            Some(_) => at += 6,
            // another escape: what stands behind the backslash begins none
            None => at += 2,
        }
    }
    false
}

fn too_deep(name: &str, json: &str) -> Option<String> {
    let bytes = json.as_bytes();
    // each bracket that opens is closed: a short text, as most are, is not counted
    if bytes.len() <= 2 * NESTING_MAX {
        return None;
    }
    let opening = bytes.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    let refused = opening > NESTING_MAX && depth(bytes) > NESTING_MAX;
    refused.then(|| format!("`{name}` is nested deeper than {NESTING_MAX} levels: send it flatter, or as a text"))
}

/// How deep a JSON text is nested. It is whole: the reader has checked it.
fn depth(json: &[u8]) -> usize {
    let (mut now, mut most, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => now += 1,
            b']' | b'}' if !in_text => now = now.saturating_sub(1),
            _ => {}
        }
        most = most.max(now);
    }
    most
}

fn unknown<E: Error>(name: &str, names: &FieldNames) -> E {
    let shown: String = name.chars().take(64).collect();
    if name == "position" {
        return E::custom("`position` is assigned by the store: leave it out");
    }
    let lower = name.to_lowercase().replace(['-', ' '], "_");
    let near = Field::ALL.into_iter().find(|f| names.get(*f).to_lowercase() == lower || f.default_name() == lower);
    match near {
        Some(field) => E::custom(format_args!("unknown field `{shown}`; did you mean `{}`?", names.get(field))),
        None => E::custom(format_args!(
            "unknown field `{shown}`; what belongs to the event itself goes into `{}`; the fields are {}",
            names.get(Field::Payload),
            list(names)
        )),
    }
}

fn list(names: &FieldNames) -> String {
    let given = Field::ALL.into_iter().filter(|f| *f != Field::IngestedAt);
    given.map(|f| format!("`{}`", names.get(f))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{NESTING_MAX, depth, lone_surrogate, unreadable};

    #[test]
    fn half_a_surrogate_pair_is_told_from_a_whole_one_and_from_a_backslash() {
        for (json, lone) in [
            (r#""\ud83d\ude00""#, false),
            (r#""\ud800""#, true),
            (r#"{"\udc00":1}"#, true),
            (r#""\ud800\ud800\udc00""#, true),
            (r#""\ud83d x\ude00""#, true),
            (r#""\\ud800""#, false),
            (r#""\n\u00e9\uDBFF\uDFFF""#, false),
            (r#""\uDbFf""#, true),
        ] {
            assert_eq!((lone_surrogate(json.as_bytes()), unreadable("data", json).is_some()), (lone, lone), "{json}");
        }
    }

    #[test]
    fn the_shortest_text_that_is_too_deep_is_refused() {
        let nested = |deep: usize| "[".repeat(deep) + &"]".repeat(deep);
        assert!(unreadable("data", &nested(NESTING_MAX)).is_none());
        assert!(unreadable("data", &nested(NESTING_MAX + 1)).is_some_and(|refused| refused.contains("nested deeper")));
        let spaced = format!("{:>600}", nested(NESTING_MAX));
        assert!(unreadable("data", &spaced).is_none(), "a long text that is not deep");
    }

    #[test]
    fn depth_counts_brackets_outside_of_texts() {
        for (json, deep) in [("1", 0), ("[]", 1), (r#"{"a":[{}],"b":[]}"#, 3), (r#"["[[[\"[[",[1]]"#, 2)] {
            assert_eq!(depth(json.as_bytes()), deep, "{json}");
        }
    }
}
