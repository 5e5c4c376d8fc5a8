//! The table of keys: what each is called, what it takes, what it is without being set, and who may change it.
//!
//! Invariant: 84 keys, in the order of the reference, each name once.

use super::settings::{self, Fault};
use super::{GROUP_KEYS, StoreConfig};
use crate::syntax::ast::{Literal, Spanned};
use crate::value::Value;
use std::fmt;
use strandline_event::Field;

/// How many keys the statement has.
pub const KEY_COUNT: usize = 84;

/// One key of the statement.
pub struct Key {
    /// Its name, with dots.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// What a value looks like.
    pub kind: Kind,
    /// Bounds of a number.
    pub range: Option<Range>,
    /// How the default is found where it depends on other keys; `None`: it is a constant.
    pub default_rule: Option<&'static str>,
    /// Whether CREATE OR REPLACE may change it.
    pub replace: Replace,
    pub(crate) read: fn(&mut StoreConfig, &Spanned<Literal>, &Key) -> Result<(), Fault>,
    pub(crate) write: fn(&StoreConfig) -> Option<Value>,
}

/// Inclusive bounds of a number, and its unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// Smallest value.
    pub min: u64,
    /// Largest value.
    pub max: u64,
    /// Unit, for messages; may be empty.
    pub unit: &'static str,
}

/// Who may change a key of a store that exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replace {
    /// CREATE OR REPLACE may: it does not alter what is on disk.
    Free,
    /// Nobody: what is on disk was written under it.
    Fixed,
    /// It belongs to the node and is never compared.
    Node,
}

/// What a value looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `true` or `false`
    Bool,
    /// A whole number.
    Integer,
    /// A number between 0 and 1, both excluded.
    Fraction,
    /// One text of a list.
    OneOf(&'static [&'static str]),
    /// A tuple of texts of a list.
    TupleOf(&'static [&'static str]),
    /// The name of an envelope field.
    FieldName,
    /// A tuple of names of envelope fields.
    FieldTuple,
    /// Free text; what it must be.
    Text(&'static str),
}

impl Key {
    /// What a value must be, for messages and documentation.
    #[must_use]
    pub fn expects(&self) -> String {
        let list = |texts: &[&str]| texts.iter().map(|t| format!("'{t}'")).collect::<Vec<_>>().join(", ");
        match (self.kind, self.range) {
            (Kind::Bool, _) => "true or false".to_owned(),
            (Kind::Integer, Some(Range { min, max, unit: "" })) => format!("an integer from {min} to {max}"),
            (Kind::Integer, Some(Range { min, max, unit })) => format!("an integer from {min} to {max} ({unit})"),
            (Kind::Integer, None) => "an integer".to_owned(),
            (Kind::Fraction, _) => "a number greater than 0 and less than 1".to_owned(),
            (Kind::OneOf([only]), _) => format!("'{only}'"),
            (Kind::OneOf(texts), _) => format!("one of {}", list(texts)),
            (Kind::TupleOf(texts), _) => format!("a tuple of {}", list(texts)),
            (Kind::FieldName, _) => "the name of an envelope field".to_owned(),
            (Kind::FieldTuple, _) => "a tuple of names of envelope fields".to_owned(),
            (Kind::Text(what), _) => what.to_owned(),
        }
    }

    /// The effective value in a store; `None`: not set and without a default.
    #[must_use]
    pub fn value(&self, config: &StoreConfig) -> Option<Value> {
        (self.write)(config)
    }

    /// What the key is where it is not set, for documentation: `256`, `as wal.retention_hours`, ...
    #[must_use]
    pub fn default_text(&self) -> String {
        if let Some(rule) = self.default_rule {
            return rule.to_owned();
        }
        self.value(&StoreConfig::defaults("x")).map_or_else(|| "none".to_owned(), |v| v.to_string())
    }

    /// The documentation sentence, trimmed.
    #[must_use]
    pub fn sentence(&self) -> &'static str {
        self.doc.trim()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// `envelope.*`: one key a field.
macro_rules! envelope_keys {
    ($($key:literal => $field:ident, $doc:literal;)+) => {
        &[$(Key {
            name: $key,
            doc: $doc,
            range: None,
            kind: Kind::Text("a column name: a letter or _, then letters, digits and _"),
            default_rule: None,
            replace: Replace::Fixed,
            read: |config, literal, key| {
                config.envelope.set(Field::$field, settings::column_name(literal, key)?);
                Ok(())
            },
            write: |config| Some(Value::Text(config.envelope.get(Field::$field).to_owned())),
        }),+]
    };
}

static ENVELOPE_KEYS: &[Key] = envelope_keys! {
    "envelope.event_id_key" => EventId, "Name of the field that holds the event's UUID.";
    "envelope.stream_type_key" => StreamType, "Name of the field that holds the aggregate's type.";
    "envelope.stream_id_key" => StreamId, "Name of the field that holds the aggregate's instance.";
    "envelope.seq_key" => Seq, "Name of the field that holds the place in the stream, from 1.";
    "envelope.event_type_key" => EventType, "Name of the field that holds the kind of the event.";
    "envelope.event_version_key" => EventVersion, "Name of the field that holds the event's schema version.";
    "envelope.occurred_at_key" => OccurredAt, "Name of the field that says when it happened.";
    "envelope.ingested_at_key" => IngestedAt, "Name of the field that says when the store took it.";
    "envelope.payload_key" => Payload, "Name of the field that holds the payload.";
    "envelope.metadata_key" => Metadata, "Name of the field that holds the metadata.";
    "envelope.command_id_key" => CommandId, "Name of the field that holds the idempotency id.";
    "envelope.correlation_id_key" => CorrelationId, "Name of the field that holds the correlation id.";
    "envelope.causation_id_key" => CausationId, "Name of the field that holds the causation id.";
    "envelope.tenant_id_key" => TenantId, "Name of the field that holds the tenant.";
};

/// All keys, in the order of the reference.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    ENVELOPE_KEYS.iter().chain(GROUP_KEYS)
}

/// The place of a key in [`keys`].
#[must_use]
pub fn index_of(name: &str) -> Option<KeyIndex> {
    keys().position(|k| k.name == name).map(KeyIndex)
}

/// The `envelope.*` key of a field.
#[must_use]
pub fn envelope_key(field: Field) -> &'static str {
    ENVELOPE_KEYS[field as usize].name
}

/// Place of a key in the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct KeyIndex(pub(crate) usize);

/// A set of keys, one bit a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeySet(u128);

impl KeySet {
    /// Whether the key is in it.
    #[must_use]
    pub const fn contains(self, key: KeyIndex) -> bool {
        self.0 >> key.0 & 1 == 1
    }

    pub(crate) const fn insert(&mut self, key: KeyIndex) {
        self.0 |= 1 << key.0;
    }

    /// How many keys are in it.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether no key is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_84_keys_each_once() {
        let mut names: Vec<_> = keys().map(|k| k.name).collect();
        assert_eq!(names.len(), KEY_COUNT);
        assert_eq!(names[0], "envelope.event_id_key");
        assert_eq!(names[83], "strict.tenant_required");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KEY_COUNT);
    }

    #[test]
    fn the_reference_can_be_printed_for_every_key() {
        for key in keys() {
            assert!(!key.expects().is_empty() && !key.default_text().is_empty(), "{key:?}");
            assert!(key.sentence().ends_with(['.', ')']), "{key:?}: {}", key.sentence());
            assert_eq!(key.kind == Kind::Integer, key.range.is_some(), "{key:?}");
        }
    }

    #[test]
    fn envelope_keys_stand_in_the_order_of_the_fields() {
        for field in Field::ALL {
            let name = if field == Field::Payload { "payload" } else { field.default_name() };
            assert_eq!(envelope_key(field), format!("envelope.{name}_key"));
        }
    }
}
