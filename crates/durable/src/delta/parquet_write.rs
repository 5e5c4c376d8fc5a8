//! A classic checkpoint: one Parquet file, one row an action, one struct column a kind of action.
//!
//! Names and types are the protocol's ("Checkpoint Schema").

use super::actions::Line;
use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, ListBuilder, MapBuilder, MapFieldNames, RecordBatch, StringArray,
    StringBuilder, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Field as Column, Fields, Schema};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows that are converted at once.
const BATCH_ROWS: usize = 8192;

/// The bytes of a checkpoint with these actions.
pub(crate) fn write(lines: impl Iterator<Item = Line>) -> Result<Vec<u8>, ParquetError> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch(&[])?.schema(), Some(properties))?;
    let mut rows = Vec::with_capacity(BATCH_ROWS);
    for line in lines {
        rows.push(line);
        if rows.len() == BATCH_ROWS {
            writer.write(&batch(&rows)?)?;
            rows.clear();
        }
    }
    writer.write(&batch(&rows)?)?;
    writer.into_inner()
}

fn batch(rows: &[Line]) -> Result<RecordBatch, ArrowError> {
    let columns = [
        ("txn", txn(rows)?),
        ("add", add(rows)?),
        ("remove", remove(rows)?),
        ("metaData", meta_data(rows)?),
        ("protocol", protocol(rows)?),
    ];
    let fields: Fields = columns.iter().map(|(name, c)| Column::new(*name, c.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn txn(rows: &[Line]) -> Result<ArrayRef, ArrowError> {
    let all = || rows.iter().map(|row| row.txn.as_ref());
    let there = all().map(|txn| txn.is_some());
    let parts = vec![
        ("appId", texts(all().map(|t| Some(t?.app_id.as_str())))),
        ("version", longs(all().map(|t| Some(t?.version)))),
        ("lastUpdated", longs(all().map(|t| t?.last_updated))),
    ];
    struct_of(there, parts)
}

fn add(rows: &[Line]) -> Result<ArrayRef, ArrowError> {
    let all = || rows.iter().map(|row| row.add.as_ref());
    let there = all().map(|add| add.is_some());
    let parts = vec![
        ("path", texts(all().map(|a| Some(a?.path.as_str())))),
        ("partitionValues", maps(all().map(|a| Some(&a?.partition_values)))?),
        ("size", longs(all().map(|a| Some(a?.size)))),
        ("modificationTime", longs(all().map(|a| Some(a?.modification_time)))),
        ("dataChange", bools(all().map(|a| Some(a?.data_change)))),
        ("stats", texts(all().map(|a| a?.stats.as_deref()))),
    ];
    struct_of(there, parts)
}

fn remove(rows: &[Line]) -> Result<ArrayRef, ArrowError> {
    let all = || rows.iter().map(|row| row.remove.as_ref());
    let there = all().map(|remove| remove.is_some());
    let parts = vec![
        ("path", texts(all().map(|r| Some(r?.path.as_str())))),
        ("deletionTimestamp", longs(all().map(|r| r?.deletion_timestamp))),
        ("dataChange", bools(all().map(|r| Some(r?.data_change)))),
    ];
    struct_of(there, parts)
}

fn meta_data(rows: &[Line]) -> Result<ArrayRef, ArrowError> {
    let all = || rows.iter().map(|row| row.meta_data.as_ref());
    let there = || all().map(|meta| meta.is_some());
    let format = vec![
        ("provider", texts(all().map(|m| Some(m?.format.provider.as_str())))),
        ("options", maps(all().map(|m| Some(&m?.format.options)))?),
    ];
    let parts = vec![
        ("id", texts(all().map(|m| Some(m?.id.as_str())))),
        ("name", texts(all().map(|m| m?.name.as_deref()))),
        ("description", texts(all().map(|_| None))),
        ("format", struct_of(there(), format)?),
        ("schemaString", texts(all().map(|m| Some(m?.schema_string.as_str())))),
        ("partitionColumns", lists(all().map(|m| Some(&m?.partition_columns)))),
        ("createdTime", longs(all().map(|m| m?.created_time))),
        ("configuration", maps(all().map(|m| Some(&m?.configuration)))?),
    ];
    struct_of(there(), parts)
}

fn protocol(rows: &[Line]) -> Result<ArrayRef, ArrowError> {
    let all = || rows.iter().map(|row| row.protocol.as_ref());
    let there = all().map(|protocol| protocol.is_some());
    let parts = vec![
        ("minReaderVersion", ints(all().map(|p| Some(p?.min_reader_version)))),
        ("minWriterVersion", ints(all().map(|p| Some(p?.min_writer_version)))),
        ("readerFeatures", lists(all().map(|p| p?.reader_features.as_ref()))),
        ("writerFeatures", lists(all().map(|p| p?.writer_features.as_ref()))),
    ];
    struct_of(there, parts)
}

/// A struct column from its parts; a row is null where `there` says so.
fn struct_of(there: impl Iterator<Item = bool>, parts: Vec<(&str, ArrayRef)>) -> Result<ArrayRef, ArrowError> {
    let fields: Fields = parts.iter().map(|(name, a)| Column::new(*name, a.data_type().clone(), true)).collect();
    let arrays = parts.into_iter().map(|(_, array)| array).collect();
    Ok(Arc::new(StructArray::try_new(fields, arrays, Some(there.collect::<NullBuffer>()))?))
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn longs(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn ints(values: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(values.collect::<Int32Array>())
}

fn bools(values: impl Iterator<Item = Option<bool>>) -> ArrayRef {
    Arc::new(values.collect::<BooleanArray>())
}

fn lists<'a>(values: impl Iterator<Item = Option<&'a Vec<String>>>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for list in values {
        builder.append_option(list.map(|list| list.iter().map(Some)));
    }
    Arc::new(builder.finish())
}

type Texts = BTreeMap<String, Option<String>>;

fn maps<'a>(values: impl Iterator<Item = Option<&'a Texts>>) -> Result<ArrayRef, ArrowError> {
    let names = MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for map in values {
        for (key, value) in map.into_iter().flatten() {
            builder.keys().append_value(key);
            builder.values().append_option(value.as_ref());
        }
        builder.append(map.is_some())?;
    }
    Ok(Arc::new(builder.finish()))
}
