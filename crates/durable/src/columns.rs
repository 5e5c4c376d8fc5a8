//! Events -> Arrow columns: the one builder behind Parquet files and Arrow IPC answers.

use arrow::array::{
    ArrayRef, FixedSizeBinaryBuilder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
    UInt32Builder,
};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use std::sync::Arc;
use strandline_event::{EventRef, Field};

use crate::partition::text;
use crate::schema::ID_BYTES;

const TEXTS: [Field; 9] = [
    Field::StreamType,
    Field::StreamId,
    Field::EventType,
    Field::Payload,
    Field::Metadata,
    Field::CommandId,
    Field::CorrelationId,
    Field::CausationId,
    Field::TenantId,
];

/// An event that a column cannot hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("seq {0} is over 2^63 - 1, the largest that the seq column (INT64) holds")]
pub struct SeqTooLarge(pub u64);

/// Collects events; takes the store's names by its schema.
pub(crate) struct EventColumns {
    schema: SchemaRef,
    rows: usize,
    bytes: usize,
    ids: FixedSizeBinaryBuilder,
    seqs: Int64Builder,
    versions: UInt32Builder,
    occurred: TimestampMicrosecondBuilder,
    ingested: TimestampMicrosecondBuilder,
    texts: [StringBuilder; 9],
}

impl EventColumns {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self {
            schema,
            rows: 0,
            bytes: 0,
            ids: FixedSizeBinaryBuilder::new(ID_BYTES),
            seqs: Int64Builder::new(),
            versions: UInt32Builder::new(),
            occurred: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            ingested: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            texts: TEXTS.map(|_| StringBuilder::new()),
        }
    }

    /// Rows so far.
    pub(crate) const fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of values so far.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds an event. The caller takes the batch long before 2 GiB of text.
    pub(crate) fn push(&mut self, event: &EventRef<'_>) -> Result<(), SeqTooLarge> {
        let seq = i64::try_from(event.seq.0).map_err(|_| SeqTooLarge(event.seq.0))?;
        // the builder was made for exactly this length, so the append cannot fail
        if self.ids.append_value(event.event_id.0).is_err() {
            strandline_event::invariant::broken("the id column does not take 16 bytes");
        }
        self.seqs.append_value(seq);
        self.versions.append_option(event.event_version);
        self.occurred.append_value(event.occurred_at.0);
        self.ingested.append_value(event.ingested_at.0);
        self.bytes += 40;
        for (builder, field) in self.texts.iter_mut().zip(TEXTS) {
            let text = text(event, field);
            self.bytes += text.map_or(0, str::len) + 4;
            builder.append_option(text);
        }
        self.rows += 1;
        Ok(())
    }

    /// Takes what was collected.
    pub(crate) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        (self.rows, self.bytes) = (0, 0);
        let columns = Field::ALL.map(|f| self.column(f));
        RecordBatch::try_new(Arc::clone(&self.schema), columns.to_vec())
    }

    fn column(&mut self, field: Field) -> ArrayRef {
        match field {
            Field::EventId => Arc::new(self.ids.finish()),
            Field::Seq => Arc::new(self.seqs.finish()),
            Field::EventVersion => Arc::new(self.versions.finish()),
            Field::OccurredAt => Arc::new(self.occurred.finish()),
            Field::IngestedAt => Arc::new(self.ingested.finish()),
            _ => {
                let at = TEXTS.iter().position(|f| *f == field).unwrap_or(0);
                Arc::new(self.texts[at].finish())
            }
        }
    }
}
