//! Builds a batch at the edge, event by event, and checks what needs no store: texts, lengths, limits.

use crate::access::{BatchBytes, BatchError};
use crate::batch::{BatchUnit, Chunk, EventBatch, flags};
use crate::id::EventId;
use crate::limits;
use crate::num::{Micros, Seq};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// An event as a client sends it. `None`: not given.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventInput<'a> {
    /// Instance of the aggregate.
    pub stream_id: &'a str,
    /// Kind of the event.
    pub event_type: &'a str,
    /// The client's id.
    pub event_id: Option<EventId>,
    /// The client's seq.
    pub seq: Option<Seq>,
    /// Schema version.
    pub event_version: Option<u32>,
    /// When it happened.
    pub occurred_at: Option<Micros>,
    /// Payload, JSON text; the caller has checked that it is JSON. Empty: `null` is stored.
    pub data: &'a str,
    /// Metadata, JSON text.
    pub metadata: Option<&'a str>,
    /// Idempotency id.
    pub command_id: Option<&'a str>,
    /// Correlation id.
    pub correlation_id: Option<&'a str>,
    /// Causation id.
    pub causation_id: Option<&'a str>,
    /// Tenant.
    pub tenant_id: Option<&'a str>,
}

/// Why an event cannot be part of a batch. `field` is the default name; the edge translates it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidEvent {
    /// A mandatory text is empty.
    #[error("`{}` must not be empty", .0.default_name())]
    Empty(crate::Field),
    /// A text is over its limit.
    #[error("`{}` is longer than {limit} bytes", .field.default_name())]
    TooLong {
        /// Which field.
        field: crate::Field,
        /// Its limit in bytes.
        limit: usize,
    },
    /// seq 0.
    #[error("`seq` starts at 1")]
    SeqZero,
    /// A moment outside years 1 to 9999.
    #[error("`occurred_at` is outside years 1 to 9999")]
    OccurredAt,
    /// The whole event is over 1 MiB.
    #[error("the event has {bytes} bytes; at most {} are allowed", limits::EVENT_BYTES_MAX)]
    EventTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The batch is full.
    #[error("a batch holds at most {} events", limits::BATCH_ROWS_MAX)]
    BatchFull,
}

/// Collects the events of one stream type.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    batch: EventBatch,
    /// All streams, once there are two.
    streams: HashTable<u32>,
    /// With a seed of the process: ids are the client's choice.
    hasher: RandomState,
    last_stream: u32,
}

impl BatchBuilder {
    /// An empty batch. `stream_type` has been checked by [`check_stream_type`].
    #[must_use]
    pub fn new(stream_type: &str, unit: BatchUnit) -> Self {
        let batch = EventBatch { unit: unit.to_u8(), stream_type: stream_type.to_owned(), ..EventBatch::default() };
        Self { batch, streams: HashTable::new(), hasher: RandomState::default(), last_stream: 0 }
    }

    /// Marks the batch as a part of a resumable ingestion.
    pub fn set_chunk(&mut self, chunk: Chunk) {
        self.batch.chunk_digest = chunk.digest;
        self.batch.chunk_number = chunk.number;
    }

    /// Number of events so far.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.batch.stream_of.len()
    }

    /// Adds an event, or says why it cannot be one; then the batch is unchanged.
    pub fn push(&mut self, event: &EventInput<'_>) -> Result<(), InvalidEvent> {
        check(event)?;
        let row = self.rows();
        if row >= limits::BATCH_ROWS_MAX {
            return Err(InvalidEvent::BatchFull);
        }
        let stream = self.intern(event.stream_id);
        let b = &mut self.batch;
        b.stream_of.push(stream);
        b.event_types.push(event.event_type);
        b.data.push(if event.data.is_empty() { "null" } else { event.data });
        let mut given = 0;
        given |= put(&mut b.event_ids, row, event.event_id.map(|id| id.0), flags::EVENT_ID);
        given |= put(&mut b.seqs, row, event.seq.map(|s| s.0), flags::SEQ);
        given |= put(&mut b.occurred_at, row, event.occurred_at.map(|t| t.0), flags::OCCURRED_AT);
        given |= put(&mut b.event_versions, row, event.event_version, flags::EVENT_VERSION);
        given |= put_text(&mut b.metadata, row, event.metadata, flags::METADATA);
        given |= put_text(&mut b.command_ids, row, event.command_id, flags::COMMAND_ID);
        given |= put_text(&mut b.correlation_ids, row, event.correlation_id, flags::CORRELATION_ID);
        given |= put_text(&mut b.causation_ids, row, event.causation_id, flags::CAUSATION_ID);
        given |= put_text(&mut b.tenant_ids, row, event.tenant_id, flags::TENANT_ID);
        b.flags.push(given);
        Ok(())
    }

    /// Archives the batch. Errors: no event, or over 2 GiB.
    pub fn finish(self) -> Result<BatchBytes, BatchError> {
        BatchBytes::archive(&self.batch)
    }

    /// As [`finish`](Self::finish); then, also after an error, the builder is empty and collects the next batch of its stream type and unit in the room
    /// of this one.
    pub fn finish_and_clear(&mut self) -> Result<BatchBytes, BatchError> {
        let archive = BatchBytes::archive(&self.batch);
        self.batch.clear();
        self.streams.clear();
        self.last_stream = 0;
        archive
    }

    fn intern(&mut self, stream_id: &str) -> u32 {
        let streams = &mut self.batch.streams;
        if self.last_stream < streams.ends.len() as u32 && streams.get(self.last_stream as usize) == stream_id {
            return self.last_stream;
        }
        if streams.ends.is_empty() {
            // mostly an append to one stream: no other is looked for
            streams.push(stream_id);
            return 0;
        }
        let hash = |text: &str| self.hasher.hash_one(text);
        if self.streams.is_empty() {
            self.streams.insert_unique(hash(streams.get(0)), 0, |_| 0);
        }
        let key = hash(stream_id);
        let found = self.streams.find(key, |s| streams.get(*s as usize) == stream_id);
        self.last_stream = if let Some(stream) = found {
            *stream
        } else {
            let stream = streams.ends.len() as u32;
            streams.push(stream_id);
            self.streams.insert_unique(key, stream, |s| hash(streams.get(*s as usize)));
            stream
        };
        self.last_stream
    }
}

fn put<T: Default + Clone>(column: &mut Vec<T>, row: usize, value: Option<T>, bit: u16) -> u16 {
    match value {
        Some(value) => {
            column.resize(row, T::default());
            column.push(value);
            bit
        }
        None if column.is_empty() => 0,
        None => {
            column.push(T::default());
            0
        }
    }
}

fn put_text(column: &mut crate::texts::Texts, row: usize, value: Option<&str>, bit: u16) -> u16 {
    if value.is_none() && column.ends.is_empty() {
        return 0;
    }
    if column.ends.len() < row {
        column.ends.resize(row, 0);
    }
    column.push(value.unwrap_or(""));
    if value.is_some() { bit } else { 0 }
}

/// Checks a stream type's name: 1 byte to 200 bytes when percent-encoded.
pub fn check_stream_type(name: &str) -> Result<(), InvalidEvent> {
    check_path_text(crate::Field::StreamType, name)
}

fn check_path_text(field: crate::Field, text: &str) -> Result<(), InvalidEvent> {
    if text.is_empty() {
        return Err(InvalidEvent::Empty(field));
    }
    let limit = limits::PATH_TEXT_BYTES_MAX;
    if crate::path_text_len(text) > limit {
        return Err(InvalidEvent::TooLong { field, limit });
    }
    Ok(())
}

pub(crate) fn check(event: &EventInput<'_>) -> Result<(), InvalidEvent> {
    use crate::Field;
    check_len(Field::StreamId, Some(event.stream_id), 1, limits::STREAM_ID_BYTES_MAX)?;
    check_len(Field::EventType, Some(event.event_type), 1, limits::EVENT_TYPE_BYTES_MAX)?;
    check_len(Field::CommandId, event.command_id, 1, limits::ID_TEXT_BYTES_MAX)?;
    check_len(Field::CorrelationId, event.correlation_id, 0, limits::ID_TEXT_BYTES_MAX)?;
    check_len(Field::CausationId, event.causation_id, 0, limits::ID_TEXT_BYTES_MAX)?;
    if let Some(tenant) = event.tenant_id {
        check_path_text(Field::TenantId, tenant)?;
    }
    if event.seq == Some(Seq::ZERO) {
        return Err(InvalidEvent::SeqZero);
    }
    if event.occurred_at.is_some_and(|t| !crate::time::in_range(t)) {
        return Err(InvalidEvent::OccurredAt);
    }
    let bytes = event.data.len() + event.metadata.map_or(0, str::len) + event.stream_id.len();
    if bytes > limits::EVENT_BYTES_MAX {
        return Err(InvalidEvent::EventTooLarge { bytes });
    }
    Ok(())
}

fn check_len(field: crate::Field, text: Option<&str>, min: usize, limit: usize) -> Result<(), InvalidEvent> {
    match text {
        Some(text) if text.len() < min => Err(InvalidEvent::Empty(field)),
        Some(text) if text.len() > limit => Err(InvalidEvent::TooLong { field, limit }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
