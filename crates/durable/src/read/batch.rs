//! Rows of a data file in memory: Arrow columns, read in place as events.
//!
//! Invariant: a [`RowBatch`] exists only for columns of the right types, without nulls where there must be none,
//! with every seq at least 1. Texts were checked to be UTF-8 by the decoder.

use super::error::ReadError;
use crate::entry::FileEntry;
use crate::rows::Rows;
use arrow::array::{
    Array, FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use std::fmt;
use std::sync::Arc;
use strandline_event::{EventId, EventRef, Field, Micros, Seq};

/// Where a row stands: what integrity errors name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The file.
    pub file: Arc<FileEntry>,
    /// The row in it, from 0.
    pub row: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "data file {} row {}", self.file.path, self.row)
    }
}

#[derive(Clone)]
pub(crate) enum RowNumbers {
    From(u64),
    Listed(Arc<[u64]>),
}

/// Rows of one file. Cloning is one reference count.
#[derive(Clone)]
pub struct RowBatch {
    inner: Arc<Inner>,
}

struct Inner {
    file: Arc<FileEntry>,
    numbers: RowNumbers,
    batch: RecordBatch,
    ids: FixedSizeBinaryArray,
    stream_types: StringArray,
    stream_ids: StringArray,
    seqs: Int64Array,
    event_types: StringArray,
    versions: UInt32Array,
    occurred: TimestampMicrosecondArray,
    ingested: TimestampMicrosecondArray,
    data: StringArray,
    metadata: StringArray,
    commands: StringArray,
    correlations: StringArray,
    causations: StringArray,
    tenants: StringArray,
}

/// Columns of a batch that are no texts.
pub(crate) struct Numbers<'a> {
    pub(crate) ids: &'a FixedSizeBinaryArray,
    pub(crate) seqs: &'a Int64Array,
    pub(crate) versions: &'a UInt32Array,
    pub(crate) occurred: &'a TimestampMicrosecondArray,
    pub(crate) ingested: &'a TimestampMicrosecondArray,
}

impl RowBatch {
    /// Takes decoded columns of a file in schema order.
    pub(crate) fn new(file: Arc<FileEntry>, batch: RecordBatch, numbers: RowNumbers) -> Result<Self, ReadError> {
        let column = Columns { path: &file.path, batch: &batch };
        let inner = Inner {
            ids: column.required(Field::EventId)?,
            stream_types: column.required(Field::StreamType)?,
            stream_ids: column.required(Field::StreamId)?,
            seqs: column.required(Field::Seq)?,
            event_types: column.required(Field::EventType)?,
            versions: column.optional(Field::EventVersion)?,
            occurred: column.required(Field::OccurredAt)?,
            ingested: column.required(Field::IngestedAt)?,
            data: column.required(Field::Payload)?,
            metadata: column.optional(Field::Metadata)?,
            commands: column.optional(Field::CommandId)?,
            correlations: column.optional(Field::CorrelationId)?,
            causations: column.optional(Field::CausationId)?,
            tenants: column.optional(Field::TenantId)?,
            file: Arc::clone(&file),
            numbers,
            batch,
        };
        if inner.ids.value_length() != crate::schema::ID_BYTES || inner.seqs.values().iter().any(|seq| *seq < 1) {
            return Err(ReadError::damaged(&file.path, "a row has an impossible id or seq"));
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.inner.batch.num_rows()
    }

    /// An event; `i` is below [`rows`](Self::rows).
    #[must_use]
    pub fn row(&self, i: usize) -> EventRef<'_> {
        let c = &*self.inner;
        let optional = |column: &'_ StringArray| column.is_valid(i);
        let mut id = [0; 16];
        id.copy_from_slice(c.ids.value(i));
        EventRef {
            event_id: EventId(id),
            stream_type: c.stream_types.value(i),
            stream_id: c.stream_ids.value(i),
            seq: Seq(c.seqs.value(i).cast_unsigned()),
            event_type: c.event_types.value(i),
            event_version: c.versions.is_valid(i).then(|| c.versions.value(i)),
            occurred_at: Micros(c.occurred.value(i)),
            ingested_at: Micros(c.ingested.value(i)),
            data: c.data.value(i),
            metadata: optional(&c.metadata).then(|| c.metadata.value(i)),
            command_id: optional(&c.commands).then(|| c.commands.value(i)),
            correlation_id: optional(&c.correlations).then(|| c.correlations.value(i)),
            causation_id: optional(&c.causations).then(|| c.causations.value(i)),
            tenant_id: optional(&c.tenants).then(|| c.tenants.value(i)),
        }
    }

    /// A row's stream, without making an event of it.
    pub(crate) fn stream_id(&self, i: usize) -> &str {
        self.inner.stream_ids.value(i)
    }

    /// A column of texts; `None`: the field is no text.
    pub(crate) fn texts(&self, field: Field) -> Option<&StringArray> {
        let c = &*self.inner;
        Some(match field {
            Field::StreamType => &c.stream_types,
            Field::StreamId => &c.stream_ids,
            Field::EventType => &c.event_types,
            Field::Payload => &c.data,
            Field::Metadata => &c.metadata,
            Field::CommandId => &c.commands,
            Field::CorrelationId => &c.correlations,
            Field::CausationId => &c.causations,
            Field::TenantId => &c.tenants,
            Field::EventId | Field::Seq | Field::EventVersion | Field::OccurredAt | Field::IngestedAt => return None,
        })
    }

    /// The columns that are no texts.
    pub(crate) fn numbers(&self) -> Numbers<'_> {
        let Inner { ids, seqs, versions, occurred, ingested, .. } = &*self.inner;
        Numbers { ids, seqs, versions, occurred, ingested }
    }

    /// Whether both are one batch.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Where a row stands.
    #[must_use]
    pub fn place(&self, i: usize) -> Place {
        let row = match &self.inner.numbers {
            RowNumbers::From(first) => first + i as u64,
            RowNumbers::Listed(rows) => rows.get(i).copied().unwrap_or(u64::MAX),
        };
        Place { file: Arc::clone(&self.inner.file), row }
    }

    /// The file that the rows are in.
    #[must_use]
    pub fn file(&self) -> &Arc<FileEntry> {
        &self.inner.file
    }

    /// The columns, with the configured names.
    #[must_use]
    pub fn columns(&self) -> &RecordBatch {
        &self.inner.batch
    }

    /// All events.
    pub fn iter(&self) -> impl Iterator<Item = EventRef<'_>> {
        (0..self.rows()).map(|i| self.row(i))
    }
}

impl Rows for RowBatch {
    fn rows(&self) -> usize {
        Self::rows(self)
    }

    fn row(&self, i: usize) -> EventRef<'_> {
        Self::row(self, i)
    }

    fn seq(&self, i: usize) -> Seq {
        Seq(self.inner.seqs.value(i).cast_unsigned())
    }

    fn occurred_at(&self, i: usize) -> Micros {
        Micros(self.inner.occurred.value(i))
    }

    fn ingested_at(&self, i: usize) -> Micros {
        Micros(self.inner.ingested.value(i))
    }

    fn text(&self, i: usize, field: Field) -> Option<&str> {
        let texts = self.texts(field)?;
        texts.is_valid(i).then(|| texts.value(i))
    }
}

struct Columns<'a> {
    path: &'a str,
    batch: &'a RecordBatch,
}

impl Columns<'_> {
    fn optional<A: Array + Clone + 'static>(&self, field: Field) -> Result<A, ReadError> {
        let column = self.batch.columns().get(field as usize);
        let typed = column.and_then(|c| c.as_any().downcast_ref::<A>()).cloned();
        typed.ok_or_else(|| ReadError::damaged(self.path, format!("`{}` has another type", field.default_name())))
    }

    fn required<A: Array + Clone + 'static>(&self, field: Field) -> Result<A, ReadError> {
        let column: A = self.optional(field)?;
        if column.null_count() > 0 {
            return Err(ReadError::damaged(self.path, format!("`{}` is null in a row", field.default_name())));
        }
        Ok(column)
    }
}
