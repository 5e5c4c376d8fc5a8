//! Values of single envelope fields, read with errors that name the field as the store calls it.

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};
use std::borrow::Cow;
use std::fmt;
use strandline_event::{EventId, Micros, Seq};

/// A text that borrows from the body where it has no escapes; `null` is no text.
pub(super) struct Text<'n>(pub(super) &'n str);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text<'_> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text for `{}`", self.0)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// A whole number that is not negative; `null` is none.
pub(super) struct Whole<'n>(pub(super) &'n str);

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Whole<'_> {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number for `{}`", self.0)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// A UUID out of its text.
pub(super) fn event_id<E: Error>(name: &str, text: Option<Cow<'_, str>>) -> Result<Option<EventId>, E> {
    let Some(text) = text else { return Ok(None) };
    match EventId::parse(&text) {
        Some(id) => Ok(Some(id)),
        None => Err(E::custom(format_args!("`{name}` is no UUID; write it like 0190a6e4-7c1a-7000-8000-000000000000"))),
    }
}

/// A moment out of its text.
pub(super) fn moment<E: Error>(name: &str, text: Option<Cow<'_, str>>) -> Result<Option<Micros>, E> {
    let Some(text) = text else { return Ok(None) };
    match strandline_event::time::parse_rfc3339(&text) {
        Some(moment) => Ok(Some(moment)),
        None => Err(E::custom(format_args!(
            "`{name}` is no RFC 3339 timestamp of years 1 to 9999; write it like 2026-11-23T10:15:00.123456Z"
        ))),
    }
}

/// A schema version out of a number.
pub(super) fn version<E: Error>(name: &str, number: Option<u64>) -> Result<Option<u32>, E> {
    number.map(|n| u32::try_from(n).map_err(|_| E::custom(format_args!("`{name}` is over {}", u32::MAX)))).transpose()
}

/// A seq out of a number.
pub(super) fn seq(number: Option<u64>) -> Option<Seq> {
    number.map(Seq)
}
