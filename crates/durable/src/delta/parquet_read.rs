//! Reads a classic checkpoint, as far as a state is made from it.
//!
//! One that another engine wrote of the same log has the same names, perhaps other text types and more columns.

use super::actions::{Add, Format, Line, MetaData, Protocol, Remove, Txn};
use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use std::collections::BTreeMap;

/// The actions of a checkpoint.
pub(crate) fn read(bytes: Bytes) -> Result<Vec<Line>, String> {
    let text = |error: ParquetError| error.to_string();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(text)?.build().map_err(text)?;
    let mut out = Vec::new();
    for batch in reader {
        let batch = StructArray::from(batch.map_err(|e| e.to_string())?);
        for at in 0..batch.len() {
            let row = Row { of: &batch, at };
            out.push(line(&row).ok_or("a row is not an action")?);
        }
    }
    Ok(out)
}

/// `None`: a part that must be there is missing.
fn line(row: &Row<'_>) -> Option<Line> {
    let mut out = Line::default();
    if let Some(txn) = row.part("txn") {
        let last_updated = txn.long("lastUpdated");
        out.txn = Some(Txn { app_id: txn.text("appId")?, version: txn.long("version")?, last_updated });
    }
    if let Some(add) = row.part("add") {
        out.add = Some(Add {
            path: add.text("path")?,
            partition_values: add.map("partitionValues").unwrap_or_default(),
            size: add.long("size")?,
            modification_time: add.long("modificationTime").unwrap_or_default(),
            data_change: add.flag("dataChange").unwrap_or_default(),
            stats: add.text("stats"),
        });
    }
    if let Some(remove) = row.part("remove") {
        out.remove = Some(Remove {
            path: remove.text("path")?,
            deletion_timestamp: remove.long("deletionTimestamp"),
            data_change: remove.flag("dataChange").unwrap_or_default(),
        });
    }
    if let Some(meta) = row.part("metaData") {
        let format = meta.part("format")?;
        out.meta_data = Some(MetaData {
            id: meta.text("id")?,
            name: meta.text("name"),
            format: Format { provider: format.text("provider")?, options: format.map("options").unwrap_or_default() },
            schema_string: meta.text("schemaString")?,
            partition_columns: meta.list("partitionColumns").unwrap_or_default(),
            configuration: meta.map("configuration").unwrap_or_default(),
            created_time: meta.long("createdTime"),
        });
    }
    if let Some(protocol) = row.part("protocol") {
        out.protocol = Some(Protocol {
            min_reader_version: protocol.int("minReaderVersion")?,
            min_writer_version: protocol.int("minWriterVersion")?,
            reader_features: protocol.list("readerFeatures"),
            writer_features: protocol.list("writerFeatures"),
        });
    }
    Some(out)
}

/// One row of a struct column. What is absent, null or of another type is `None`.
struct Row<'a> {
    of: &'a StructArray,
    at: usize,
}

impl<'a> Row<'a> {
    fn column(&self, name: &str) -> Option<&'a ArrayRef> {
        self.of.column_by_name(name).filter(|column| column.is_valid(self.at))
    }

    fn part(&self, name: &str) -> Option<Self> {
        Some(Self { of: self.column(name)?.as_struct_opt()?, at: self.at })
    }

    fn text(&self, name: &str) -> Option<String> {
        text_at(self.column(name)?, self.at)
    }

    fn long(&self, name: &str) -> Option<i64> {
        Some(self.column(name)?.as_primitive_opt::<Int64Type>()?.value(self.at))
    }

    fn int(&self, name: &str) -> Option<i32> {
        Some(self.column(name)?.as_primitive_opt::<Int32Type>()?.value(self.at))
    }

    fn flag(&self, name: &str) -> Option<bool> {
        Some(self.column(name)?.as_boolean_opt()?.value(self.at))
    }

    fn list(&self, name: &str) -> Option<Vec<String>> {
        let values = self.column(name)?.as_list_opt::<i32>()?.value(self.at);
        (0..values.len()).map(|i| text_at(&values, i)).collect()
    }

    fn map(&self, name: &str) -> Option<BTreeMap<String, Option<String>>> {
        let entries = self.column(name)?.as_map_opt()?.value(self.at);
        let (keys, values) = (entries.column(0), entries.column(1));
        (0..entries.len()).map(|i| Some((text_at(keys, i)?, text_at(values, i)))).collect()
    }
}

fn text_at(column: &ArrayRef, at: usize) -> Option<String> {
    if column.is_null(at) {
        return None;
    }
    let text = match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(at),
        DataType::LargeUtf8 => column.as_string::<i64>().value(at),
        DataType::Utf8View => column.as_string_view().value(at),
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::parquet_write::write;
    use super::*;

    fn texts(pairs: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let add = |n: i64, stats: Option<&str>| Add {
            path: format!("a%20b/{n}.parquet"),
            partition_values: texts(&[("dt", Some("2026-01-01")), ("tenant", None)][..usize::from(n % 2 == 0) * 2]),
            size: n,
            modification_time: -n,
            data_change: n % 3 == 0,
            stats: stats.map(str::to_owned),
        };
        let meta_data = MetaData {
            id: "id".to_owned(),
            name: Some("store".to_owned()),
            format: Format { provider: "parquet".to_owned(), options: texts(&[]) },
            schema_string: "{}".to_owned(),
            partition_columns: vec!["dt".to_owned()],
            configuration: texts(&[("key", Some("value"))]),
            created_time: None,
        };
        let protocol = Protocol {
            min_reader_version: 1,
            min_writer_version: 7,
            reader_features: None,
            writer_features: Some(vec!["one".to_owned(), "two".to_owned()]),
        };
        let txn = Txn { app_id: "app".to_owned(), version: 7, last_updated: Some(8) };
        let remove = Remove { path: "x".to_owned(), deletion_timestamp: Some(3), data_change: true };
        let mut lines = vec![Line::from(protocol), meta_data.into(), txn.into(), remove.into()];
        lines.extend((0..20_000).map(|n| Line::from(add(n, (n % 5 > 0).then_some("{}")))));
        let bytes = write(lines.iter().cloned()).unwrap();
        assert_eq!(read(bytes.into()).unwrap(), lines);
        assert_eq!(read(write(std::iter::empty()).unwrap().into()).unwrap(), []);
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        assert!(read(Bytes::from_static(b"PAR1")).is_err());
        let mut bytes = write(std::iter::once(Line::default())).unwrap();
        bytes.truncate(bytes.len() - 9);
        assert!(read(bytes.into()).is_err());
    }
}
