//! The types of the columns: what any Parquet or Arrow reader sees.
//!
//! | field | Arrow | Parquet |
//! |---|---|---|
//! | event_id | FixedSizeBinary(16) | FIXED_LEN_BYTE_ARRAY(16), UUID |
//! | seq | Int64 | INT64 |
//! | event_version | UInt32 | INT32, INTEGER(32, unsigned): read as uint32 by pyarrow, DuckDB and Polars |
//! | occurred_at, ingested_at | Timestamp(us, UTC) | INT64, TIMESTAMP(MICROS, UTC) |
//! | data, metadata | Utf8 | BYTE_ARRAY, JSON |
//! | the others | Utf8 | BYTE_ARRAY, STRING |
//!
//! The Parquet schema is built by hand. The Arrow schema stands in the footer besides, for readers that would take a JSON column
//! for bytes (Polars 2.1 does) and follow it; our own reader leaves it out of account.

use arrow::datatypes::{DataType, Field as Column, Schema, SchemaRef, TimeUnit};
use parquet::basic::{LogicalType, Repetition, TimeUnit as ParquetUnit, Type as Physical};
use parquet::errors::ParquetError;
use parquet::schema::types::{SchemaDescriptor, Type};
use std::sync::Arc;
use strandline_event::{Field, FieldNames};

/// Length of an event id.
pub(crate) const ID_BYTES: i32 = 16;

/// Whether a field may be absent in a stored event.
pub(crate) const fn is_nullable(field: Field) -> bool {
    matches!(
        field,
        Field::EventVersion
            | Field::Metadata
            | Field::CommandId
            | Field::CorrelationId
            | Field::CausationId
            | Field::TenantId
    )
}

/// The Arrow type of a field.
pub(crate) fn arrow_type(field: Field) -> DataType {
    match field {
        Field::EventId => DataType::FixedSizeBinary(ID_BYTES),
        Field::Seq => DataType::Int64,
        Field::EventVersion => DataType::UInt32,
        Field::OccurredAt | Field::IngestedAt => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        _ => DataType::Utf8,
    }
}

/// The Arrow schema with the configured names.
pub(crate) fn arrow(names: &FieldNames) -> SchemaRef {
    let columns = Field::ALL.map(|f| Column::new(names.get(f), arrow_type(f), is_nullable(f)));
    Arc::new(Schema::new(columns.to_vec()))
}

/// The Parquet schema with the configured names.
pub(crate) fn parquet(names: &FieldNames) -> Result<SchemaDescriptor, ParquetError> {
    let columns = Field::ALL.into_iter().map(|f| column(names.get(f), f)).collect::<Result<Vec<_>, _>>()?;
    let root = Type::group_type_builder("event").with_fields(columns).build()?;
    Ok(SchemaDescriptor::new(Arc::new(root)))
}

fn column(name: &str, field: Field) -> Result<Arc<Type>, ParquetError> {
    let (physical, logical) = match field {
        Field::EventId => (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Uuid)),
        Field::Seq => (Physical::INT64, None),
        Field::EventVersion => (Physical::INT32, Some(LogicalType::integer(32, false))),
        Field::OccurredAt | Field::IngestedAt => {
            (Physical::INT64, Some(LogicalType::timestamp(true, ParquetUnit::MICROS)))
        }
        Field::Payload | Field::Metadata => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
        _ => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let repetition = if is_nullable(field) { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    let length = if field == Field::EventId { ID_BYTES } else { -1 };
    let builder = Type::primitive_type_builder(name, physical).with_repetition(repetition);
    builder.with_logical_type(logical).with_length(length).build().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_schemas_have_the_same_columns() {
        let mut names = FieldNames::default();
        names.set(Field::Seq, "version.no");
        let (arrow, parquet) = (arrow(&names), parquet(&names).unwrap());
        assert_eq!(parquet.num_columns(), 14);
        for (i, column) in arrow.fields().iter().enumerate() {
            assert_eq!(parquet.column(i).name(), column.name());
            assert_eq!(parquet.column(i).self_type().is_optional(), column.is_nullable());
        }
        assert_eq!(parquet.column(3).name(), "version.no");
    }
}
