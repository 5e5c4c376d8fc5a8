//! A value of a key as text: what the printer writes, `check` shows and JSON carries.

use std::fmt;

/// A value of a key.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `'text'`
    Text(String),
    /// `true` or `false`
    Bool(bool),
    /// `256`
    Integer(u64),
    /// `0.01`
    Decimal(f64),
    /// `('a', 'b')`
    Tuple(Vec<String>),
}

/// A text as a literal of the statement.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The literal, as the statement writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quote(text)),
            Self::Bool(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            // Display of f64 is the shortest text that reads back equal, and never has an exponent
            Self::Decimal(value) => value.fmt(f),
            Self::Tuple(items) => {
                write!(f, "({})", items.iter().map(|i| quote(i)).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_u64(*value),
            Self::Decimal(value) => serializer.serialize_f64(*value),
            Self::Tuple(items) => serializer.collect_seq(items),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_what_the_statement_reads() {
        assert_eq!(Value::Text("it's".into()).to_string(), "'it''s'");
        assert_eq!(Value::Decimal(1e-7).to_string(), "0.0000001");
        assert_eq!(Value::Tuple(vec![]).to_string(), "()");
        assert_eq!(Value::Tuple(vec!["a".into(), "b".into()]).to_string(), "('a', 'b')");
    }
}
