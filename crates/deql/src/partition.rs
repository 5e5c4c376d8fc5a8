//! Partition values: what `partition.*.expr` computes, and the calendar of `dt`.

use crate::config::Partition;
use crate::config::choice::{Granularity, PartitionColumn};
use crate::config::key::{Key, Kind};
use crate::config::settings::{Fault, Setting, field_named, text_of};
use crate::syntax::ast::{Literal, Spanned};
use crate::value::Value;
use chrono::{DateTime, Datelike, NaiveDate, Timelike, Utc};
use strandline_event::{Field, FieldNames, Micros};

const FUNCTIONS: &[(&str, Granularity)] = &[
    ("DATE", Granularity::Day),
    ("HOUR", Granularity::Hour),
    ("MONTH", Granularity::Month),
    ("YEAR", Granularity::Year),
];

/// An expression of a partition column, as written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PartitionExpr {
    /// `DATE(field)`, `HOUR(field)`, `MONTH(field)`, `YEAR(field)`
    Time {
        /// What the function cuts to.
        granularity: Granularity,
        /// A timestamp field.
        field: Field,
    },
    /// A field's name.
    Field(Field),
}

/// What is computed for each row of a partition column.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PartitionSource {
    /// The moment in this field, as [`Granularity::format`] writes it.
    Time {
        /// A timestamp field.
        field: Field,
        /// How it is written.
        granularity: Granularity,
    },
    /// The text in this field.
    Text(Field),
}

impl PartitionExpr {
    /// The field that it reads.
    #[must_use]
    pub const fn field(self) -> Field {
        match self {
            Self::Time { field, .. } | Self::Field(field) => field,
        }
    }

    fn text(self, names: &FieldNames) -> String {
        match self {
            Self::Field(field) => names.get(field).to_owned(),
            Self::Time { granularity, field } => {
                let function = FUNCTIONS.iter().find(|(_, g)| *g == granularity).map_or("", |(name, _)| name);
                format!("{function}({})", names.get(field))
            }
        }
    }
}

impl Partition {
    /// The expression of a column.
    #[must_use]
    pub const fn expr(&self, column: PartitionColumn) -> PartitionExpr {
        match column {
            PartitionColumn::Dt => self.dt_expr,
            PartitionColumn::StreamType => self.stream_type_expr,
            PartitionColumn::TenantId => self.tenant_id_expr,
        }
    }

    /// What to compute for each row of a column.
    #[must_use]
    pub const fn source(&self, column: PartitionColumn) -> PartitionSource {
        match self.expr(column) {
            PartitionExpr::Time { granularity, field } => PartitionSource::Time { field, granularity },
            PartitionExpr::Field(field) if is_timestamp(field) => {
                PartitionSource::Time { field, granularity: self.dt_granularity }
            }
            PartitionExpr::Field(field) => PartitionSource::Text(field),
        }
    }
}

/// Whether the field holds a moment.
pub(crate) const fn is_timestamp(field: Field) -> bool {
    matches!(field, Field::OccurredAt | Field::IngestedAt)
}

/// Whether the field holds a short text.
const fn is_text(field: Field) -> bool {
    matches!(
        field,
        Field::StreamType
            | Field::StreamId
            | Field::EventType
            | Field::CommandId
            | Field::CorrelationId
            | Field::CausationId
            | Field::TenantId
    )
}

impl Setting for PartitionExpr {
    const KIND: Kind = Kind::Text("DATE(field), HOUR(field), MONTH(field), YEAR(field) or a field's name");

    fn read(literal: &Spanned<Literal>, key: &Key, names: &FieldNames) -> Result<Self, Fault> {
        let text = text_of(literal, key)?.trim();
        let is_dt = key.name == "partition.dt.expr";
        let Some((function, rest)) = text.split_once('(') else {
            let field = field_named(text, literal.span, key, names)?;
            return check_plain(field, is_dt).map(|()| Self::Field(field)).map_err(|why| {
                Fault::value(literal.span, format!("`{}`: {why}", key.name))
                    .hint(Some(format!("for example 'DATE({})'", names.get(Field::OccurredAt))).filter(|_| is_dt))
            });
        };
        let wrong = |why: &str| Fault::value(literal.span, format!("`{}` takes {}: {why}", key.name, key.expects()));
        let granularity = FUNCTIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(function.trim()));
        let Some((_, granularity)) = granularity else { return Err(wrong("there is no such function")) };
        let Some(name) = rest.strip_suffix(')') else { return Err(wrong("the `)` is missing")) };
        let field = field_named(name.trim(), literal.span, key, names)?;
        if !is_timestamp(field) {
            let moments = format!("{} and {}", names.get(Field::OccurredAt), names.get(Field::IngestedAt));
            return Err(wrong(&format!("only {moments} are moments")));
        }
        Ok(Self::Time { granularity: *granularity, field })
    }

    fn write(&self, names: &FieldNames) -> Option<Value> {
        Some(Value::Text(self.text(names)))
    }
}

fn check_plain(field: Field, is_dt: bool) -> Result<(), &'static str> {
    match (is_dt, is_timestamp(field), is_text(field)) {
        (true, true, _) | (false, _, true) => Ok(()),
        (true, ..) => Err("dt is computed from a moment"),
        (false, true, _) => Err("a moment needs a function that cuts it: DATE, HOUR, MONTH or YEAR"),
        (false, ..) => Err("a folder level is computed from a short text field"),
    }
}

impl Granularity {
    /// The partition value of a moment; `None`: outside years 1 to 9999.
    #[must_use]
    pub fn format(self, at: Micros) -> Option<String> {
        if !strandline_event::time::in_range(at) {
            return None;
        }
        let (year, month, day, hour) = calendar(at);
        Some(match self {
            Self::Hour => format!("{year:04}-{month:02}-{day:02}-{hour:02}"),
            Self::Day => format!("{year:04}-{month:02}-{day:02}"),
            Self::Month => format!("{year:04}-{month:02}"),
            Self::Year => format!("{year:04}"),
        })
    }

    /// The moments `[start, end)` that have the same value as this one.
    #[must_use]
    pub fn span(self, at: Micros) -> Option<(Micros, Micros)> {
        const HOUR_US: i64 = 3_600_000_000;
        if !strandline_event::time::in_range(at) {
            return None;
        }
        let (year, month, ..) = calendar(at);
        let first = |year: i32, month: u32| {
            let date = NaiveDate::from_ymd_opt(year, month, 1)?.and_hms_opt(0, 0, 0)?;
            Some(Micros(date.and_utc().timestamp_micros()))
        };
        let cut = |length_us: i64| {
            let start = at.0.div_euclid(length_us) * length_us;
            (Micros(start), Micros(start + length_us))
        };
        match self {
            Self::Hour => Some(cut(HOUR_US)),
            Self::Day => Some(cut(24 * HOUR_US)),
            Self::Month if month == 12 => Some((first(year, 12)?, first(year + 1, 1)?)),
            Self::Month => Some((first(year, month)?, first(year, month + 1)?)),
            Self::Year => Some((first(year, 1)?, first(year + 1, 1)?)),
        }
    }
}

/// Year, month, day and hour in UTC; moments that the calendar does not hold give 1970-01-01.
pub(crate) fn calendar(at: Micros) -> (i32, u32, u32, u32) {
    let moment = DateTime::<Utc>::from_timestamp_micros(at.0).unwrap_or_default();
    (moment.year(), moment.month(), moment.day(), moment.hour())
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::time::parse_rfc3339;

    #[test]
    fn values_have_the_text_of_the_reference() {
        let at = parse_rfc3339("2026-11-23T10:59:59.999999Z").unwrap();
        let texts: Vec<_> = [Granularity::Hour, Granularity::Day, Granularity::Month, Granularity::Year]
            .map(|g| g.format(at).unwrap())
            .into();
        assert_eq!(texts, ["2026-11-23-10", "2026-11-23", "2026-11", "2026"]);
        assert_eq!(Granularity::Day.format(Micros(i64::MAX)), None);
    }

    #[test]
    fn a_span_holds_exactly_the_moments_of_one_value() {
        for text in [
            "2026-12-31T23:59:59Z",
            "2024-02-29T00:00:00Z",
            "1969-12-31T23:00:00Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
        ] {
            let at = parse_rfc3339(text).unwrap();
            for granularity in [Granularity::Hour, Granularity::Day, Granularity::Month, Granularity::Year] {
                let (start, end) = granularity.span(at).unwrap();
                assert!(start <= at && at < end, "{text}");
                assert_eq!(granularity.format(start), granularity.format(at));
                assert_eq!(granularity.format(Micros(end.0 - 1)), granularity.format(at));
                assert_ne!(granularity.format(end), granularity.format(at));
                assert_ne!(granularity.format(Micros(start.0 - 1)), granularity.format(at));
            }
        }
    }
}
