//! Runs a seed over JSON text and says where and what is wrong.

use super::event::{EventSeed, RawEvent};
use crate::error::ApiError;
use serde::de::DeserializeSeed;
use serde_json::error::Category;
use std::cell::Cell;
use strandline_event::{Field, FieldNames, InvalidEvent};

/// Reads exactly one JSON value. Broken JSON is 400, a value of the wrong shape 422.
pub(crate) fn read<'de, S: DeserializeSeed<'de>>(text: &'de str, seed: S) -> Result<S::Value, ApiError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut reader).map_err(|e| error(&e, text))?;
    reader.end().map_err(|e| error(&e, text))?;
    Ok(value)
}

/// Reads an event; what is wrong with it names the field too, where it is one's.
pub(crate) fn event<'de>(text: &'de str, names: &FieldNames) -> Result<RawEvent<'de>, ApiError> {
    let at = Cell::new(None);
    read(text, EventSeed { names, at: &at }).map_err(|error| match at.get() {
        Some(field) => error.of(names, field),
        None => error,
    })
}

/// The answer for an error of the JSON reader over a text.
fn error(error: &serde_json::Error, text: &str) -> ApiError {
    let said = error.to_string();
    let sentence = said.rsplit_once(" at line ").map_or(said.as_str(), |(sentence, _)| sentence);
    let place = if error.line() <= 1 {
        format!("column {}", error.column())
    } else {
        format!("line {} of the JSON text, column {}", error.line(), error.column())
    };
    match error.classify() {
        Category::Data => ApiError::invalid(sentence),
        _ => ApiError::bad_request(format!("broken JSON at {place}: {sentence}{}", hint(error, text)))
            .with("column", error.column()),
    }
}

/// What to do instead where the reader stumbled over a number that JSON does not have; else nothing.
#[must_use]
pub fn hint(error: &serde_json::Error, text: &str) -> &'static str {
    let line = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or_default().as_bytes();
    // the column is that of the byte, or of one beside it
    let mut places = (0..=2).filter_map(|back| line.get(error.column().checked_sub(back)?..));
    let is_no_number = places.any(|rest| rest.starts_with(b"NaN") || rest.starts_with(b"Infinity"));
    if is_no_number { "; JSON has no NaN and no infinity: send null, or a text" } else { "" }
}

/// The answer for an event that cannot be part of a batch, in the store's own names.
pub(crate) fn invalid(error: &InvalidEvent, names: &FieldNames) -> ApiError {
    match *error {
        InvalidEvent::Empty(field) => {
            ApiError::invalid(format!("`{}` is missing or empty", names.get(field))).of(names, field)
        }
        InvalidEvent::TooLong { field, limit } => {
            let how = if matches!(field, Field::StreamType | Field::TenantId) { ", percent-encoded" } else { "" };
            let name = names.get(field);
            let answer = ApiError::invalid(format!("`{name}` is longer than {limit} bytes{how}"));
            answer.with("limit_bytes", limit).of(names, field)
        }
        InvalidEvent::SeqZero => {
            ApiError::invalid(format!("`{}` starts at 1", names.get(Field::Seq))).of(names, Field::Seq)
        }
        InvalidEvent::OccurredAt => {
            let name = names.get(Field::OccurredAt);
            ApiError::invalid(format!("`{name}` lies outside years 1 to 9999")).of(names, Field::OccurredAt)
        }
        InvalidEvent::EventTooLarge { .. } => {
            ApiError::too_large("one event", strandline_event::limits::EVENT_BYTES_MAX)
        }
        InvalidEvent::BatchFull => ApiError::new(strandline_event::ErrorKind::TooLarge, error.to_string())
            .with("limit_events", strandline_event::limits::BATCH_ROWS_MAX),
    }
}

/// The text of a body. Errors: it is no UTF-8.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, ApiError> {
    std::str::from_utf8(bytes).map_err(|e| {
        ApiError::bad_request(format!("not UTF-8 at byte {}", e.valid_up_to())).with("byte", e.valid_up_to())
    })
}
