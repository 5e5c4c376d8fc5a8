//! Which folder an event belongs to: the partition values, computed from the event alone.
//!
//! Pure. The same function decides at append (`partition.enforce`), when files are written, and when they are verified.

use crate::layout::Layout;
use crate::rows::Rows;
use strandline_deql::{PartitionColumn, PartitionSource, PartitionValues};
use strandline_event::{EventRef, Field, Micros};

/// Values in the order of `partition.by`; `None`: null.
pub type PartitionKey = Vec<Option<String>>;

/// Computes partition values of rows that come in runs of one partition: the calendar is asked once a run.
pub struct Partitioner<'l> {
    layout: &'l Layout,
    columns: Vec<Column>,
}

struct Column {
    source: PartitionSource,
    span: Option<(Micros, Micros)>,
    last: Option<String>,
    known: bool,
}

impl<'l> Partitioner<'l> {
    /// A partitioner of a layout.
    #[must_use]
    pub fn new(layout: &'l Layout) -> Self {
        let columns = layout.partition.by.iter().map(|column| Column {
            source: layout.partition.source(*column),
            span: None,
            last: None,
            known: false,
        });
        Self { layout, columns: columns.collect() }
    }

    /// Takes the next row; true: it has another partition than the row before (or is the first).
    pub fn advance<B: Rows>(&mut self, batch: &B, row: usize) -> bool {
        let mut changed = false;
        for column in &mut self.columns {
            changed |= column.advance(batch, row);
        }
        changed
    }

    /// The values of the row taken last.
    #[must_use]
    pub fn key(&self) -> PartitionKey {
        self.columns.iter().map(|c| c.last.clone()).collect()
    }

    /// The folders and name of a file in the partition of the row taken last, below the root.
    #[must_use]
    pub fn path(&self, writer: &str, file_seq: u64) -> String {
        self.layout.file_path(&self.key(), writer, file_seq)
    }
}

impl Column {
    fn advance<B: Rows>(&mut self, batch: &B, row: usize) -> bool {
        let same = self.known
            && match self.source {
                PartitionSource::Time { field, .. } => {
                    let at = moment(batch, row, field);
                    self.span.is_some_and(|(start, end)| start <= at && at < end)
                }
                PartitionSource::Text(field) => batch.text(row, field) == self.last.as_deref(),
            };
        if !same {
            self.known = true;
            self.last = value(self.source, batch, row);
            if let PartitionSource::Time { field, granularity } = self.source {
                self.span = granularity.span(moment(batch, row, field));
            }
        }
        !same
    }
}

impl Layout {
    /// The partition values of an event, in the order of `partition.by`.
    #[must_use]
    pub fn partition_key(&self, event: &EventRef<'_>) -> PartitionKey {
        self.partition.by.iter().map(|c| value(self.partition.source(*c), event, 0)).collect()
    }

    /// The first partition column that is null for this event: with `partition.enforce` it is refused.
    #[must_use]
    pub fn null_partition(&self, event: &EventRef<'_>) -> Option<PartitionColumn> {
        self.partition.by.iter().copied().find(|column| match self.partition.source(*column) {
            PartitionSource::Time { field, granularity } => granularity.span(moment(event, 0, field)).is_none(),
            // Hive has no empty value: it reads back as null
            PartitionSource::Text(field) => text(event, field).is_none_or(str::is_empty),
        })
    }

    /// The columns of the partition with their values, as a manifest names them.
    #[must_use]
    pub fn named_partition(&self, key: &PartitionKey) -> Vec<(String, Option<String>)> {
        let by = self.partition.by.iter().map(ToString::to_string);
        by.zip(key.iter().cloned()).collect()
    }

    /// The name of a data file of this partition, relative to the root.
    #[must_use]
    pub fn file_path(&self, key: &PartitionKey, writer: &str, file_seq: u64) -> String {
        let mut values = PartitionValues::default();
        let hidden: Vec<Option<String>> =
            self.partition.by.iter().zip(key).map(|(c, value)| self.hidden(*c, value)).collect();
        for ((column, value), hidden) in self.partition.by.iter().zip(key).zip(&hidden) {
            let value = hidden.as_ref().or(value.as_ref()).map(String::as_str);
            match column {
                PartitionColumn::Dt => values.dt = value,
                PartitionColumn::StreamType => values.stream_type = value,
                PartitionColumn::TenantId => values.tenant_id = value,
            }
        }
        self.pattern.render(&values, writer, &format!("{file_seq:010}"))
    }

    /// What stands for a value in names of an encrypted store: stream types and dates stand as they are, all else as a keyed hash.
    fn hidden(&self, column: PartitionColumn, value: &Option<String>) -> Option<String> {
        match self.partition.source(column) {
            PartitionSource::Time { .. } | PartitionSource::Text(Field::StreamType) => None,
            PartitionSource::Text(_) => {
                Some(self.keys.as_ref()?.hidden(value.as_deref().filter(|text| !text.is_empty())?))
            }
        }
    }
}

fn value<B: Rows>(source: PartitionSource, batch: &B, row: usize) -> Option<String> {
    match source {
        PartitionSource::Time { field, granularity } => granularity.format(moment(batch, row, field)),
        PartitionSource::Text(field) => batch.text(row, field).map(ToOwned::to_owned),
    }
}

fn moment<B: Rows>(batch: &B, row: usize, field: Field) -> Micros {
    if matches!(field, Field::IngestedAt) { batch.ingested_at(row) } else { batch.occurred_at(row) }
}

/// The text of a text field; configuration allows no other as a folder level.
pub(crate) const fn text<'a>(event: &EventRef<'a>, field: Field) -> Option<&'a str> {
    match field {
        Field::StreamType => Some(event.stream_type),
        Field::StreamId => Some(event.stream_id),
        Field::EventType => Some(event.event_type),
        Field::Payload => Some(event.data),
        Field::Metadata => event.metadata,
        Field::CommandId => event.command_id,
        Field::CorrelationId => event.correlation_id,
        Field::CausationId => event.causation_id,
        Field::TenantId => event.tenant_id,
        Field::EventId | Field::Seq | Field::EventVersion | Field::OccurredAt | Field::IngestedAt => None,
    }
}
