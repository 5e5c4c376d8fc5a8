//! What the parser makes of a file: statements with the places they stand at. It knows no key.

/// A range of bytes in the source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// Something, and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Spanned<T> {
    /// The thing.
    pub value: T,
    /// Its place.
    pub span: Span,
}

/// A literal as the user wrote it.
#[derive(Clone, PartialEq, Debug)]
pub enum Literal {
    /// `'text'`, unquoted.
    Text(String),
    /// `true` or `false`
    Bool(bool),
    /// A whole number; `None`: too large for 128 bits.
    Integer(Option<i128>),
    /// A number with a fraction.
    Decimal(f64),
    /// `( ... )` of literals that are no tuples.
    Tuple(Vec<Spanned<Literal>>),
}

impl Literal {
    /// What the user would call it.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Bool(_) => "true or false",
            Self::Integer(_) => "an integer",
            Self::Decimal(_) => "a decimal",
            Self::Tuple(_) => "a tuple",
        }
    }
}

/// `key = value`
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Setting {
    pub(crate) key: Spanned<String>,
    pub(crate) value: Spanned<Literal>,
}

/// A statement, not yet resolved.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum RawStatement {
    /// `CREATE [OR REPLACE] EVENTSTORE name WITH (...)`
    CreateEventStore(CreateEventStore),
    /// `CREATE AGGREGATE name`
    CreateAggregate { name: Spanned<String> },
    /// `DESCRIBE EVENTSTORE name`
    DescribeEventStore { name: Spanned<String> },
    /// `DESCRIBE EVENTSTORES`
    DescribeEventStores,
    /// `EXPORT DEREG`
    ExportDereg,
}

/// `CREATE [OR REPLACE] EVENTSTORE name WITH (...)`
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct CreateEventStore {
    pub(crate) or_replace: bool,
    pub(crate) name: Spanned<String>,
    pub(crate) settings: Vec<Setting>,
    /// Keys that are given, but whose values are no values: they are not missing.
    pub(crate) lost: Vec<String>,
}
