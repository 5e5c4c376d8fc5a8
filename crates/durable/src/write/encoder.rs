//! The Parquet encoders of one file: a batch of columns in, row groups out.
//!
//! Columns are encoded by themselves, so two threads share those of a batch: one takes the payloads, about half of the work, the other
//! one the rest. Bounds of rows and bytes of a row group are kept here; at most one row group is held.

use super::sink::Sink;
use crate::layout::Encoding;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{FieldRef, SchemaRef};
use parquet::arrow::add_encoded_arrow_schema_to_metadata;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;
use std::io;
use std::sync::Arc;
use strandline_event::Field;

/// A batch of fewer rows is encoded before a second thread has begun.
const SHARED_ROWS_MIN: usize = 1024;

/// Encodes batches of one file.
pub(super) struct Encoder {
    file: SerializedFileWriter<Sink>,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    group: Option<Group>,
    group_rows_max: usize,
    group_bytes_max: usize,
}

struct Group {
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
}

impl Group {
    fn bytes(&self) -> usize {
        self.columns.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum()
    }
}

impl Encoder {
    /// Begins a file.
    pub(super) fn new(sink: Sink, encoding: Encoding) -> Result<Self, ParquetError> {
        let Encoding { schema, parquet_schema, mut properties } = encoding;
        // Polars takes JSON columns for text only where the Arrow schema says so
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        let group_rows_max = properties.max_row_group_row_count().unwrap_or(usize::MAX);
        let group_bytes_max = properties.max_row_group_bytes().unwrap_or(usize::MAX);
        let file = SerializedFileWriter::new(sink, parquet_schema.root_schema_ptr(), Arc::new(properties))?;
        let factory = ArrowRowGroupWriterFactory::new(&file, Arc::clone(&schema));
        Ok(Self { file, factory, schema, group: None, group_rows_max, group_bytes_max })
    }

    /// Adds a batch.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let mut done = 0;
        while done < batch.num_rows() {
            let mut group = match self.group.take() {
                Some(group) => group,
                None => self.begin_group()?,
            };
            let rows = (batch.num_rows() - done).min(self.group_rows_max - group.rows);
            write_columns(&mut group.columns, &self.schema, &batch.slice(done, rows))?;
            group.rows += rows;
            done += rows;
            let full = group.rows >= self.group_rows_max || group.bytes() >= self.group_bytes_max;
            self.group = Some(group);
            if full {
                self.end_group()?;
            }
        }
        Ok(())
    }

    fn begin_group(&self) -> Result<Group, ParquetError> {
        let columns = self.factory.create_column_writers(self.file.flushed_row_groups().len())?;
        Ok(Group { columns, rows: 0 })
    }

    /// Ends the row group that is held, if there is one.
    pub(super) fn end_group(&mut self) -> Result<(), ParquetError> {
        let Some(group) = self.group.take() else { return Ok(()) };
        let mut out = self.file.next_row_group()?;
        for column in group.columns {
            column.close()?.append_to_row_group(&mut out)?;
        }
        out.close()?;
        Ok(())
    }

    /// Rows of the row group that is held.
    pub(super) fn held_rows(&self) -> usize {
        self.group.as_ref().map_or(0, |group| group.rows)
    }

    /// Bytes that the row group that is held will have, about.
    pub(super) fn held_bytes(&self) -> usize {
        self.group.as_ref().map_or(0, Group::bytes)
    }

    /// Bytes that went to the file.
    pub(super) fn written_bytes(&self) -> usize {
        self.file.bytes_written()
    }

    /// Row groups that have ended.
    pub(super) fn ended_groups(&self) -> usize {
        self.file.flushed_row_groups().len()
    }

    /// Writes bytes of our own behind what was encoded. Call it between row groups.
    pub(super) fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Hands everything that is buffered to the sink.
    pub(super) fn hand_over(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Something for the footer.
    pub(super) fn say(&mut self, key: &str, value: String) {
        self.file.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }

    /// Writes page index and footer; gives the sink.
    pub(super) fn finish(self) -> Result<Sink, ParquetError> {
        self.file.into_inner()
    }
}

fn write_columns(
    columns: &mut [ArrowColumnWriter],
    schema: &SchemaRef,
    batch: &RecordBatch,
) -> Result<(), ParquetError> {
    let all = columns.iter_mut().zip(schema.fields().iter().zip(batch.columns()));
    let (payload, mut others): (Vec<_>, Vec<_>) =
        all.enumerate().map(|(at, column)| (at == Field::Payload as usize, column)).partition(|(payload, _)| *payload);
    let write = |columns: Vec<(bool, Column<'_>)>| columns.into_iter().try_for_each(|(_, column)| write_column(column));
    if batch.num_rows() < SHARED_ROWS_MIN {
        others.extend(payload);
        return write(others);
    }
    std::thread::scope(|scope| {
        let payloads = scope.spawn(move || write(payload));
        let rest = write(others);
        match payloads.join() {
            Ok(payloads) => rest.and(payloads),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// An encoder, and what it is to encode.
type Column<'a> = (&'a mut ArrowColumnWriter, (&'a FieldRef, &'a ArrayRef));

fn write_column((writer, (field, array)): Column<'_>) -> Result<(), ParquetError> {
    // a column without nesting is one leaf
    compute_leaves(field, array)?.iter().try_for_each(|leaf| writer.write(leaf))
}
