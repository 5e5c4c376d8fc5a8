//! How a value is read from a literal and written back, per Rust type. Field names are those of the store.

use super::choice::Choice;
use super::key::{Key, Kind};
use crate::names;
use crate::suggest;
use crate::syntax::ast::{Literal, Span, Spanned};
use crate::value::Value;
use strandline_event::{Field, FieldNames};

/// Why a literal is no value of its key.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) message: String,
    pub(crate) span: Span,
    pub(crate) hint: Option<String>,
}

/// Whether the type or the value is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FaultKind {
    Type,
    Value,
}

impl Fault {
    pub(crate) fn value(span: Span, message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Value, message: message.into(), span, hint: None }
    }

    pub(crate) fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    fn wrong_type(literal: &Spanned<Literal>, key: &Key) -> Self {
        let found = literal.value.name();
        let message = format!("`{}` takes {}, not {found}", key.name, key.expects());
        let hint = match (&literal.value, key.kind) {
            (Literal::Text(text), kind) if reads_as(text.trim(), kind) => {
                Some(format!("without the quotes: {}", text.trim()))
            }
            (Literal::Tuple(items), _) if items.len() == 1 => Some("without the parentheses".to_owned()),
            _ => None,
        };
        Self { kind: FaultKind::Type, message, span: literal.span, hint }
    }
}

/// Whether the text is a value of the kind, only in quotes.
fn reads_as(text: &str, kind: Kind) -> bool {
    match kind {
        Kind::Bool => matches!(text, "true" | "false"),
        Kind::Integer => text.parse::<u64>().is_ok(),
        Kind::Fraction => text.parse::<f64>().is_ok_and(f64::is_finite),
        _ => false,
    }
}

/// A type that a key can have.
pub(crate) trait Setting: Sized {
    const KIND: Kind;
    fn read(literal: &Spanned<Literal>, key: &Key, names: &FieldNames) -> Result<Self, Fault>;
    fn write(&self, names: &FieldNames) -> Option<Value>;
}

impl Setting for bool {
    const KIND: Kind = Kind::Bool;

    fn read(literal: &Spanned<Literal>, key: &Key, _: &FieldNames) -> Result<Self, Fault> {
        match literal.value {
            Literal::Bool(value) => Ok(value),
            _ => Err(Fault::wrong_type(literal, key)),
        }
    }

    fn write(&self, _: &FieldNames) -> Option<Value> {
        Some(Value::Bool(*self))
    }
}

impl Setting for u64 {
    const KIND: Kind = Kind::Integer;

    fn read(literal: &Spanned<Literal>, key: &Key, _: &FieldNames) -> Result<Self, Fault> {
        let Literal::Integer(value) = literal.value else { return Err(Fault::wrong_type(literal, key)) };
        let in_range = |v: &Self| key.range.is_none_or(|r| (r.min..=r.max).contains(v));
        value.and_then(|v| Self::try_from(v).ok()).filter(in_range).ok_or_else(|| {
            let found = value.map_or_else(|| "this number".to_owned(), |v| v.to_string());
            Fault::value(literal.span, format!("`{}` takes {}, and {found} is out of range", key.name, key.expects()))
        })
    }

    fn write(&self, _: &FieldNames) -> Option<Value> {
        Some(Value::Integer(*self))
    }
}

impl Setting for Option<u32> {
    const KIND: Kind = Kind::Integer;

    fn read(literal: &Spanned<Literal>, key: &Key, names: &FieldNames) -> Result<Self, Fault> {
        let value = <u64 as Setting>::read(literal, key, names)?;
        Ok(u32::try_from(value).ok())
    }

    fn write(&self, _: &FieldNames) -> Option<Value> {
        self.map(|v| Value::Integer(v.into()))
    }
}

impl Setting for f64 {
    const KIND: Kind = Kind::Fraction;

    fn read(literal: &Spanned<Literal>, key: &Key, _: &FieldNames) -> Result<Self, Fault> {
        let value = match literal.value {
            Literal::Decimal(value) => value,
            // any whole number is outside the open interval
            Literal::Integer(value) => value.map_or(Self::INFINITY, |v| v as Self),
            _ => return Err(Fault::wrong_type(literal, key)),
        };
        if value > 0.0 && value < 1.0 {
            return Ok(value);
        }
        Err(Fault::value(literal.span, format!("`{}` takes {}, and {value} is out of range", key.name, key.expects())))
    }

    fn write(&self, _: &FieldNames) -> Option<Value> {
        Some(Value::Decimal(*self))
    }
}

impl<T: Choice> Setting for T {
    const KIND: Kind = Kind::OneOf(T::TEXTS);

    fn read(literal: &Spanned<Literal>, key: &Key, _: &FieldNames) -> Result<Self, Fault> {
        let text = text_of(literal, key)?;
        T::from_text(text).ok_or_else(|| not_listed(text, literal.span, key, T::TEXTS))
    }

    fn write(&self, _: &FieldNames) -> Option<Value> {
        Some(Value::Text(self.text().to_owned()))
    }
}

impl<T: Choice> Setting for Option<T> {
    const KIND: Kind = <T as Setting>::KIND;

    fn read(literal: &Spanned<Literal>, key: &Key, names: &FieldNames) -> Result<Self, Fault> {
        <T as Setting>::read(literal, key, names).map(Some)
    }

    fn write(&self, names: &FieldNames) -> Option<Value> {
        self.and_then(|v| v.write(names))
    }
}

impl<T: Choice> Setting for Vec<T> {
    const KIND: Kind = Kind::TupleOf(T::TEXTS);

    fn read(literal: &Spanned<Literal>, key: &Key, _: &FieldNames) -> Result<Self, Fault> {
        if let Literal::Text(text) = &literal.value
            && text == "both"
            && T::TEXTS.len() == 2
        {
            return Ok(T::ALL.iter().map(|(_, value)| *value).collect());
        }
        // only partition.by may be empty: no folder levels
        let values = read_tuple(literal, key, key.name == "partition.by", |text, span| {
            T::from_text(text).ok_or_else(|| not_listed(text, span, key, T::TEXTS))
        })?;
        Ok(values)
    }

    fn write(&self, _: &FieldNames) -> Option<Value> {
        Some(Value::Tuple(self.iter().map(|v| v.text().to_owned()).collect()))
    }
}

impl Setting for Field {
    const KIND: Kind = Kind::FieldName;

    fn read(literal: &Spanned<Literal>, key: &Key, names: &FieldNames) -> Result<Self, Fault> {
        field_named(text_of(literal, key)?, literal.span, key, names)
    }

    fn write(&self, names: &FieldNames) -> Option<Value> {
        Some(Value::Text(names.get(*self).to_owned()))
    }
}

impl Setting for Vec<Field> {
    const KIND: Kind = Kind::FieldTuple;

    fn read(literal: &Spanned<Literal>, key: &Key, names: &FieldNames) -> Result<Self, Fault> {
        read_tuple(literal, key, false, |text, span| field_named(text, span, key, names))
    }

    fn write(&self, names: &FieldNames) -> Option<Value> {
        Some(Value::Tuple(self.iter().map(|f| names.get(*f).to_owned()).collect()))
    }
}

impl Setting for Option<String> {
    const KIND: Kind = Kind::Text("a text that is not empty");

    fn read(literal: &Spanned<Literal>, key: &Key, _: &FieldNames) -> Result<Self, Fault> {
        let text = text_of(literal, key)?;
        if text.trim().is_empty() {
            return Err(Fault::value(literal.span, format!("`{}` takes {}", key.name, key.expects())));
        }
        Ok(Some(text.to_owned()))
    }

    fn write(&self, _: &FieldNames) -> Option<Value> {
        self.clone().map(Value::Text)
    }
}

/// The text of a literal, or a type fault.
pub(crate) fn text_of<'l>(literal: &'l Spanned<Literal>, key: &Key) -> Result<&'l str, Fault> {
    match &literal.value {
        Literal::Text(text) => Ok(text),
        _ => Err(Fault::wrong_type(literal, key)),
    }
}

/// A name that an `envelope.*` key may give to a field.
pub(crate) fn column_name(literal: &Spanned<Literal>, key: &Key) -> Result<String, Fault> {
    let text = text_of(literal, key)?;
    names::check_identifier(text).map_err(|why| Fault::value(literal.span, format!("`{}`: {why}", key.name)))?;
    if names::is_reserved(text) {
        let message = format!("`{}`: the name {text} is reserved: the interfaces use it around the event", key.name);
        return Err(Fault::value(literal.span, message).hint(Some(format!("for example '{text}_'"))));
    }
    Ok(text.to_owned())
}

fn not_listed(text: &str, span: Span, key: &Key, list: &[&str]) -> Fault {
    let hint = suggest::nearest(text, list.iter().copied()).map(|near| format!("did you mean '{near}'?"));
    Fault::value(span, format!("`{}` takes {}, not '{text}'", key.name, key.expects())).hint(hint)
}

/// The field that has this configured name.
pub(crate) fn field_named(text: &str, span: Span, key: &Key, names: &FieldNames) -> Result<Field, Fault> {
    if let Some(field) = names.field(text) {
        return Ok(field);
    }
    let renamed = Field::ALL.into_iter().find(|f| f.default_name() == text);
    let hint = renamed.map_or_else(
        || suggest::nearest(text, Field::ALL.iter().map(|f| names.get(*f))).map(|n| format!("did you mean '{n}'?")),
        |f| Some(format!("{} gives it the name '{}' in this store", super::key::envelope_key(f), names.get(f))),
    );
    let all = Field::ALL.map(|f| names.get(f)).join(", ");
    Err(Fault::value(span, format!("`{}`: no field is called '{text}'; the fields are {all}", key.name)).hint(hint))
}

fn read_tuple<T: PartialEq>(
    literal: &Spanned<Literal>,
    key: &Key,
    may_be_empty: bool,
    read: impl Fn(&str, Span) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let items = match &literal.value {
        Literal::Tuple(items) => items.as_slice(),
        Literal::Text(_) => std::slice::from_ref(literal),
        _ => return Err(Fault::wrong_type(literal, key)),
    };
    if items.is_empty() && !may_be_empty {
        return Err(Fault::value(literal.span, format!("`{}` needs at least one value", key.name)));
    }
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        let value = read(text_of(item, key)?, item.span)?;
        if values.contains(&value) {
            return Err(Fault::value(item.span, format!("`{}` names this twice", key.name)));
        }
        values.push(value);
    }
    Ok(values)
}
