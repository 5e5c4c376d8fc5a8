//! What an `add` says of its file's values, as JSON text: readers skip files by it.
//!
//! It comes from the manifest's bounds alone. A bound may lie outside the values, never inside: texts are cut to 32 characters and moments
//! to milliseconds (what other engines write and read), smallest values downwards, largest upwards.

use crate::entry::FileEntry;
use serde_json::{Map, Value, json};
use strandline_event::{Field, FieldNames, Micros, time};

/// Characters of a text.
const TEXT_CHARS: usize = 32;
/// The last character there is: behind a cut text it stands for whatever was cut off.
const LAST: char = '\u{10FFFF}';

/// The statistics of a file.
pub(crate) fn stats(entry: &FileEntry, names: &FieldNames) -> String {
    let bounds = &entry.bounds;
    let mut out = Columns { names, min: Map::new(), max: Map::new() };
    out.text(Field::StreamType, &entry.stream_type, &entry.stream_type);
    out.text(Field::StreamId, &bounds.stream_id.0, &bounds.stream_id.1);
    out.text(Field::EventType, &bounds.event_type.0, &bounds.event_type.1);
    out.put(Field::Seq, json!(bounds.seq.0.0), json!(bounds.seq.1.0));
    out.moment(Field::OccurredAt, bounds.occurred_at);
    out.moment(Field::IngestedAt, bounds.ingested_at);
    if let Some((min, max)) = &bounds.tenant_id {
        out.text(Field::TenantId, min, max);
    }
    let mut nulls = Map::new();
    for field in Field::ALL.into_iter().filter(|field| !crate::schema::is_nullable(*field)) {
        nulls.insert(names.get(field).to_owned(), json!(0));
    }
    if bounds.tenant_id.is_none() {
        nulls.insert(names.get(Field::TenantId).to_owned(), json!(entry.rows));
    }
    json!({ "numRecords": entry.rows, "minValues": out.min, "maxValues": out.max, "nullCount": nulls }).to_string()
}

struct Columns<'a> {
    names: &'a FieldNames,
    min: Map<String, Value>,
    max: Map<String, Value>,
}

impl Columns<'_> {
    fn put(&mut self, field: Field, min: Value, max: Value) {
        let name = self.names.get(field);
        self.min.insert(name.to_owned(), min);
        self.max.insert(name.to_owned(), max);
    }

    fn text(&mut self, field: Field, min: &str, max: &str) {
        self.put(field, json!(cut(min).0), json!(cut_upwards(max)));
    }

    fn moment(&mut self, field: Field, (min, max): (Micros, Micros)) {
        let (floor, ceiling) = (min.0.div_euclid(1000), max.0.saturating_add(999).div_euclid(1000));
        if let (Some(min), Some(max)) = (millis(floor), millis(ceiling)) {
            self.put(field, json!(min), json!(max));
        }
    }
}

/// The first characters, and the rest.
fn cut(text: &str) -> (&str, &str) {
    text.char_indices().nth(TEXT_CHARS).map_or((text, ""), |(at, _)| text.split_at(at))
}

/// Not below any text that begins with the same characters.
fn cut_upwards(text: &str) -> String {
    let (head, rest) = cut(text);
    let after = rest.trim_start_matches(LAST);
    let mut out = text[..head.len() + rest.len() - after.len()].to_owned();
    if !after.is_empty() {
        out.push(LAST);
    }
    out
}

/// RFC 3339 with three digits of fraction; `None`: no reader has such a year.
fn millis(ms: i64) -> Option<String> {
    let moment = Micros(ms.checked_mul(1000)?);
    if !time::in_range(moment) {
        return None;
    }
    let text = time::to_rfc3339(moment);
    let whole = text.strip_suffix('Z')?;
    Some(if whole.contains('.') { text } else { format!("{whole}.000Z") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments_have_three_digits_and_enclose() {
        assert_eq!(millis(1_767_225_600_000).unwrap(), "2026-01-01T00:00:00.000Z");
        assert_eq!(millis(1_767_225_600_120).unwrap(), "2026-01-01T00:00:00.120Z");
        assert_eq!(millis(-1).unwrap(), "1969-12-31T23:59:59.999Z");
        assert_eq!(millis(i64::MAX / 1000), None);
        let names = FieldNames::default();
        let mut out = Columns { names: &names, min: Map::new(), max: Map::new() };
        out.moment(Field::OccurredAt, (Micros(-1), Micros(1)));
        assert_eq!(out.min["occurred_at"], "1969-12-31T23:59:59.999Z");
        assert_eq!(out.max["occurred_at"], "1970-01-01T00:00:00.001Z");
        out.moment(Field::IngestedAt, (Micros(i64::MIN), Micros(i64::MAX)));
        assert_eq!((out.min.len(), out.max.len()), (1, 1));
    }

    proptest! {
        #[test]
        fn texts_enclose(text in r"[a-c\u{10FFFE}\u{10FFFF}]{0,3}[ab\u{10FFFF}]{25,40}[a\u{10FFFF}]{0,2}") {
            let (min, max) = (cut(&text).0, cut_upwards(&text));
            prop_assert!(min <= text.as_str() && text <= max);
            prop_assert!(min.chars().count() <= TEXT_CHARS);
            if text.chars().count() <= TEXT_CHARS {
                prop_assert_eq!((min, max.as_str()), (text.as_str(), text.as_str()));
            }
        }
    }
}
