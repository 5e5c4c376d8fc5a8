//! Events -> Arrow columns, row by row: behind merges and Arrow IPC answers. Where a merge takes many rows of one input, they are copied
//! column by column. Jobs, whose rows lie far apart, gather theirs field by field (`gather.rs`).

use arrow::array::{
    Array, ArrayRef, FixedSizeBinaryArray, FixedSizeBinaryBuilder, Int64Array, Int64Builder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder, UInt32Builder,
};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use std::sync::Arc;
use strandline_event::{EventId, EventRef, Field, Micros, Seq};

use crate::entry::Bounds;
use crate::partition::text;
use crate::read::RowBatch;
use crate::schema::ID_BYTES;

/// Bytes of a row besides those of its texts: numbers, id, and where each text ends.
pub(crate) const ROW_BYTES: usize = 40 + 9 * 4;

pub(crate) const TEXTS: [Field; 9] = [
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

/// Bytes that a row takes here.
pub(crate) fn row_bytes(event: &EventRef<'_>) -> usize {
    TEXTS.iter().map(|field| text(event, *field).map_or(0, str::len)).sum::<usize>() + ROW_BYTES
}

/// The same of rows of a batch, from `from` to before `to`.
pub(crate) fn bytes_of_rows(rows: &RowBatch, from: usize, to: usize) -> Vec<usize> {
    let mut bytes = vec![ROW_BYTES; to - from];
    let columns = TEXTS.iter().filter_map(|field| rows.texts(*field));
    for texts in columns.filter(|texts| texts.null_count() < texts.len()) {
        // a null has no bytes
        let ends = texts.value_offsets().get(from..=to).unwrap_or_default();
        bytes.iter_mut().zip(ends.windows(2)).for_each(|(sum, ends)| *sum += (ends[1] - ends[0]) as usize);
    }
    bytes
}

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
        let seq = seq(event.seq)?;
        // the builder was made for exactly this length, so the append cannot fail
        if self.ids.append_value(event.event_id.0).is_err() {
            strandline_event::invariant::broken("the id column does not take 16 bytes");
        }
        self.seqs.append_value(seq);
        self.versions.append_option(event.event_version);
        self.occurred.append_value(event.occurred_at.0);
        self.ingested.append_value(event.ingested_at.0);
        self.bytes += ROW_BYTES;
        for (builder, field) in self.texts.iter_mut().zip(TEXTS) {
            let text = text(event, field);
            self.bytes += text.map_or(0, str::len);
            builder.append_option(text);
        }
        self.rows += 1;
        Ok(())
    }

    /// Adds rows of a batch from `from` on, which have so many bytes: as [`push`](Self::push) of each.
    pub(crate) fn push_rows(
        &mut self,
        rows: &RowBatch,
        from: usize,
        count: usize,
        bytes: usize,
    ) -> Result<(), ArrowError> {
        let (numbers, range) = (rows.numbers(), from..from + count);
        self.ids.append_array(&numbers.ids.slice(from, count))?;
        self.seqs.append_slice(&numbers.seqs.values()[range.clone()]);
        self.versions.append_array(&numbers.versions.slice(from, count));
        self.occurred.append_slice(&numbers.occurred.values()[range.clone()]);
        self.ingested.append_slice(&numbers.ingested.values()[range]);
        for (builder, field) in self.texts.iter_mut().zip(TEXTS) {
            if let Some(texts) = rows.texts(field) {
                builder.append_array(&texts.slice(from, count))?;
            }
        }
        (self.rows, self.bytes) = (self.rows + count, self.bytes + bytes);
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
            _ => Arc::new(self.texts[place_of(field)].finish()),
        }
    }
}

/// The place of a text field in [`TEXTS`].
pub(crate) fn place_of(field: Field) -> usize {
    TEXTS.iter().position(|f| *f == field).unwrap_or(0)
}

/// A seq as its column holds it.
pub(crate) fn seq(seq: Seq) -> Result<i64, SeqTooLarge> {
    i64::try_from(seq.0).map_err(|_| SeqTooLarge(seq.0))
}

/// Smallest and largest values of a batch; `None`: it has no rows, or other columns.
pub(crate) fn bounds(batch: &RecordBatch) -> Option<Bounds> {
    let text = |field| text_bounds(column::<StringArray>(batch, field)?);
    let moments =
        |field| widest(column::<TimestampMicrosecondArray>(batch, field)?.values().iter().copied().map(Micros));
    // a slice of a batch shows the values of its own rows only
    let (ids, _) = column::<FixedSizeBinaryArray>(batch, Field::EventId)?.value_data().as_chunks();
    // as numbers, which have the order of their bytes and are compared at once
    let (first, last) = widest(ids.iter().map(|id| u128::from_be_bytes(*id)))?;
    Some(Bounds {
        stream_id: text(Field::StreamId)?,
        seq: widest(column::<Int64Array>(batch, Field::Seq)?.values().iter().map(|seq| Seq(seq.cast_unsigned())))?,
        event_type: text(Field::EventType)?,
        tenant_id: text(Field::TenantId),
        occurred_at: moments(Field::OccurredAt)?,
        ingested_at: moments(Field::IngestedAt)?,
        event_id: (EventId(first.to_be_bytes()), EventId(last.to_be_bytes())),
    })
}

fn column<A: 'static>(batch: &RecordBatch, field: Field) -> Option<&A> {
    batch.columns().get(field as usize)?.as_any().downcast_ref()
}

fn widest<T: Ord + Copy>(mut values: impl Iterator<Item = T>) -> Option<(T, T)> {
    let first = values.next()?;
    Some(values.fold((first, first), |(min, max), value| (value.min(min), value.max(max))))
}

/// Smallest and largest text by bytes, of the rows that have one.
fn text_bounds(column: &StringArray) -> Option<(String, String)> {
    if column.null_count() == column.len() {
        return None;
    }
    let mut texts = column.iter().flatten();
    let first = texts.next()?;
    let (mut min, mut max, mut last) = (first, first, first);
    for text in texts {
        // runs of one text are the rule
        if text != last {
            (min, max, last) = (text.min(min), text.max(max), text);
        }
    }
    Some((min.to_owned(), max.to_owned()))
}
