//! A batch: the events of one append of one stream type, in columns.
//!
//! What a client sent, nothing that is assigned later; absent stays absent (see [`flags`]). The archive
//! of this struct (rkyv, little-endian, 32-bit offsets, 16-aligned) is what the log stores. Only structs
//! of integers, texts and vectors: enums travel as `u8` and are matched by our own code.

use crate::field::Field;
use crate::hash::Parts;
use crate::id::EventId;
use crate::num::{Micros, Seq};
use crate::texts::{ArchivedTexts, TextColumn, Texts};
use rkyv::{Archive, Serialize};

/// Bits of a row's `flags`: which optional fields the client gave.
pub mod flags {
    /// `occurred_at` was given.
    pub const OCCURRED_AT: u16 = 1;
    /// `event_version` was given.
    pub const EVENT_VERSION: u16 = 1 << 1;
    /// `event_id` was given.
    pub const EVENT_ID: u16 = 1 << 2;
    /// `seq` was given.
    pub const SEQ: u16 = 1 << 3;
    /// `metadata` was given.
    pub const METADATA: u16 = 1 << 4;
    /// `command_id` was given.
    pub const COMMAND_ID: u16 = 1 << 5;
    /// `correlation_id` was given.
    pub const CORRELATION_ID: u16 = 1 << 6;
    /// `causation_id` was given.
    pub const CAUSATION_ID: u16 = 1 << 7;
    /// `tenant_id` was given.
    pub const TENANT_ID: u16 = 1 << 8;
    /// Every known bit.
    pub const ALL: u16 = (1 << 9) - 1;
}

/// Version of the archived struct; stands in the frame header as its schema version.
pub const BATCH_SCHEMA_VERSION: u16 = 1;

/// The columns. Vectors marked (given) are empty or hold one value a row.
#[derive(Archive, Serialize, Debug, Default, Clone, PartialEq, Eq)]
pub struct EventBatch {
    /// [`BatchUnit`] as a number.
    pub unit: u8,
    /// Digest of the file that a resumable ingestion reads, or zeros.
    pub chunk_digest: [u8; 16],
    /// Number of the chunk in that file, from 1; 0: no chunk.
    pub chunk_number: u64,
    /// The stream type of all rows.
    pub stream_type: String,
    /// Distinct stream ids, in order of their first row.
    pub streams: Texts,
    /// Row -> stream.
    pub stream_of: Vec<u32>,
    /// Row -> bits of [`flags`].
    pub flags: Vec<u16>,
    /// (given) ids of the client; zeros where absent.
    pub event_ids: Vec<[u8; 16]>,
    /// (given) seqs of the client; 0 where absent.
    pub seqs: Vec<u64>,
    /// (given) microseconds since 1970; 0 where absent.
    pub occurred_at: Vec<i64>,
    /// (given) schema versions; 0 where absent.
    pub event_versions: Vec<u32>,
    /// Row -> event type.
    pub event_types: Texts,
    /// Row -> payload.
    pub data: Texts,
    /// Row -> metadata.
    pub metadata: Texts,
    /// Row -> command id.
    pub command_ids: Texts,
    /// Row -> correlation id.
    pub correlation_ids: Texts,
    /// Row -> causation id.
    pub causation_ids: Texts,
    /// Row -> tenant.
    pub tenant_ids: Texts,
}

/// Columns and texts of a batch: each may have zeros before it, to the next multiple of 8.
const COLUMNS: usize = 23;

impl EventBatch {
    /// Bytes that its archive has at most: room of so much is filled without a second one.
    pub(crate) fn archive_bytes_max(&self) -> usize {
        let texts = |texts: &Texts| size_of_val(&*texts.ends) + texts.heap.len();
        let optional =
            [&self.metadata, &self.command_ids, &self.correlation_ids, &self.causation_ids, &self.tenant_ids];
        size_of::<ArchivedEventBatch>()
            + 8 * COLUMNS
            + self.stream_type.len()
            + [&self.streams, &self.event_types, &self.data].into_iter().chain(optional).map(texts).sum::<usize>()
            + size_of_val(&*self.stream_of)
            + size_of_val(&*self.flags)
            + size_of_val(&*self.event_ids)
            + size_of_val(&*self.seqs)
            + size_of_val(&*self.occurred_at)
            + size_of_val(&*self.event_versions)
    }
}

impl EventBatch {
    /// Forgets all events and the chunk; stream type, unit and the room of the columns stay.
    pub(crate) fn clear(&mut self) {
        // named one by one, so that no column is forgotten
        let Self {
            unit: _,
            stream_type: _,
            chunk_digest,
            chunk_number,
            streams,
            stream_of,
            flags,
            event_ids,
            seqs,
            occurred_at,
            event_versions,
            event_types,
            data,
            metadata,
            command_ids,
            correlation_ids,
            causation_ids,
            tenant_ids,
        } = self;
        (*chunk_digest, *chunk_number) = ([0; 16], 0);
        let optional = [metadata, command_ids, correlation_ids, causation_ids, tenant_ids];
        [streams, event_types, data].into_iter().chain(optional).for_each(Texts::clear);
        stream_of.clear();
        flags.clear();
        event_ids.clear();
        seqs.clear();
        occurred_at.clear();
        event_versions.clear();
    }
}

/// What one command covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchUnit {
    /// Bulk: each row is its own command; each stream's part is atomic.
    Rows,
    /// An append to one stream: the whole batch is one command.
    Append,
}

impl BatchUnit {
    /// As archived.
    #[must_use]
    pub const fn to_u8(self) -> u8 {
        match self {
            Self::Rows => 0,
            Self::Append => 1,
        }
    }

    /// From the archive; unknown numbers are refused at validation.
    #[must_use]
    pub const fn from_u8(n: u8) -> Option<Self> {
        match n {
            0 => Some(Self::Rows),
            1 => Some(Self::Append),
            _ => None,
        }
    }
}

/// A part of a resumable ingestion.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Chunk {
    /// Digest of the file.
    pub digest: [u8; 16],
    /// Number in the file, from 1.
    pub number: u64,
}

impl Chunk {
    /// The key of the chunk's mark, under a key of the store.
    #[must_use]
    pub fn mark(&self, key: (u64, u64)) -> [u8; 16] {
        crate::hash::keyed_hash(key.0, key.1, &[b"chunk", &self.digest, &self.number.to_le_bytes()]).to_be_bytes()
    }

    /// The key of the mark of a row that was refused when the chunk was stored.
    #[must_use]
    pub fn refused_mark(&self, row: u32, key: (u64, u64)) -> [u8; 16] {
        let (number, row) = (self.number.to_le_bytes(), row.to_le_bytes());
        crate::hash::keyed_hash(key.0, key.1, &[b"refused", &self.digest, &number, &row]).to_be_bytes()
    }
}

/// A validated archive, read in place.
#[derive(Clone, Copy)]
pub struct BatchView<'a> {
    archived: &'a ArchivedEventBatch,
    /// Bits of the flags that every row has.
    common: u16,
}

impl<'a> BatchView<'a> {
    pub(crate) const fn new(archived: &'a ArchivedEventBatch, common: u16) -> Self {
        Self { archived, common }
    }

    /// Number of events.
    #[must_use]
    #[inline]
    pub fn rows(self) -> usize {
        self.archived.stream_of.len()
    }

    /// Number of distinct streams.
    #[must_use]
    pub fn stream_count(self) -> usize {
        self.archived.streams.ends.len()
    }

    /// The stream type of all rows.
    #[must_use]
    #[inline]
    pub fn stream_type(self) -> &'a str {
        self.archived.stream_type.as_str()
    }

    /// What one command covers.
    #[must_use]
    pub fn unit(self) -> BatchUnit {
        BatchUnit::from_u8(self.archived.unit).unwrap_or(BatchUnit::Rows)
    }

    /// The chunk of a resumable ingestion, if it is one.
    #[must_use]
    pub fn chunk(self) -> Option<Chunk> {
        let number = self.archived.chunk_number.to_native();
        (number > 0).then_some(Chunk { digest: self.archived.chunk_digest, number })
    }

    /// Id of a distinct stream.
    #[must_use]
    #[inline]
    pub fn stream(self, stream: usize) -> &'a str {
        self.archived.streams.get(stream)
    }

    /// The distinct stream of a row.
    #[must_use]
    #[inline]
    pub fn stream_of(self, row: usize) -> usize {
        self.archived.stream_of.get(row).map_or(0, |s| s.to_native() as usize)
    }

    /// Bits of [`flags`] of a row.
    #[must_use]
    #[inline]
    pub fn flags(self, row: usize) -> u16 {
        self.archived.flags.get(row).map_or(0, |f| f.to_native())
    }

    #[inline]
    fn has(self, row: usize, bit: u16) -> bool {
        self.common & bit != 0 || self.flags(row) & bit != 0
    }

    /// The client's event id.
    #[must_use]
    #[inline]
    pub fn given_event_id(self, row: usize) -> Option<EventId> {
        // where nobody gave one no row's flags are looked at
        let id = self.archived.event_ids.get(row)?;
        self.has(row, flags::EVENT_ID).then_some(EventId(*id))
    }

    /// The client's seq.
    #[must_use]
    pub fn given_seq(self, row: usize) -> Option<Seq> {
        if !self.has(row, flags::SEQ) {
            return None;
        }
        self.archived.seqs.get(row).map(|s| Seq(s.to_native()))
    }

    /// The client's occurred_at.
    #[must_use]
    #[inline]
    pub fn given_occurred_at(self, row: usize) -> Option<Micros> {
        if !self.has(row, flags::OCCURRED_AT) {
            return None;
        }
        self.archived.occurred_at.get(row).map(|t| Micros(t.to_native()))
    }

    /// The client's schema version.
    #[must_use]
    #[inline]
    pub fn event_version(self, row: usize) -> Option<u32> {
        if !self.has(row, flags::EVENT_VERSION) {
            return None;
        }
        self.archived.event_versions.get(row).map(|v| v.to_native())
    }

    /// Kind of the event.
    #[must_use]
    pub fn event_type(self, row: usize) -> &'a str {
        self.archived.event_types.get(row)
    }

    /// Payload, JSON text.
    #[must_use]
    pub fn data(self, row: usize) -> &'a str {
        self.archived.data.get(row)
    }

    /// Metadata, JSON text.
    #[must_use]
    pub fn metadata(self, row: usize) -> Option<&'a str> {
        self.has(row, flags::METADATA).then(|| self.archived.metadata.get(row))
    }

    /// Command id.
    #[must_use]
    pub fn command_id(self, row: usize) -> Option<&'a str> {
        self.has(row, flags::COMMAND_ID).then(|| self.archived.command_ids.get(row))
    }

    /// Correlation id.
    #[must_use]
    pub fn correlation_id(self, row: usize) -> Option<&'a str> {
        self.has(row, flags::CORRELATION_ID).then(|| self.archived.correlation_ids.get(row))
    }

    /// Causation id.
    #[must_use]
    pub fn causation_id(self, row: usize) -> Option<&'a str> {
        self.has(row, flags::CAUSATION_ID).then(|| self.archived.causation_ids.get(row))
    }

    /// Tenant.
    #[must_use]
    pub fn tenant_id(self, row: usize) -> Option<&'a str> {
        self.has(row, flags::TENANT_ID).then(|| self.archived.tenant_ids.get(row))
    }

    /// A row as the client sent it.
    #[must_use]
    pub fn input(self, row: usize) -> crate::EventInput<'a> {
        crate::EventInput {
            stream_id: self.stream(self.stream_of(row)),
            event_type: self.event_type(row),
            event_id: self.given_event_id(row),
            seq: self.given_seq(row),
            event_version: self.event_version(row),
            occurred_at: self.given_occurred_at(row),
            data: self.data(row),
            metadata: self.metadata(row),
            command_id: self.command_id(row),
            correlation_id: self.correlation_id(row),
            causation_id: self.causation_id(row),
            tenant_id: self.tenant_id(row),
        }
    }

    /// A text of a row; `None`: it has none, or the field is no text.
    #[must_use]
    #[inline]
    pub fn text(self, row: usize, field: Field) -> Option<&'a str> {
        match self.place(row, field)? {
            Place::Column(texts, row) => Some(texts.get(row)),
            Place::StreamType => Some(self.stream_type()),
        }
    }

    /// The bytes of a text of a row; finding them looks at no byte of it.
    #[must_use]
    #[inline]
    pub fn bytes(self, row: usize, field: Field) -> Option<&'a [u8]> {
        match self.place(row, field)? {
            Place::Column(texts, row) => Some(texts.bytes(row)),
            Place::StreamType => Some(self.stream_type().as_bytes()),
        }
    }

    /// A text field's column, where every row has a text in it; `None`: ask row by row.
    #[must_use]
    pub fn column(self, field: Field) -> Option<TextColumn<'a>> {
        let a = self.archived;
        let of_all = |bit: u16, texts: &'a ArchivedTexts| (self.common & bit != 0).then(|| texts.column());
        match field {
            Field::EventType => Some(a.event_types.column()),
            Field::Payload => Some(a.data.column()),
            Field::Metadata => of_all(flags::METADATA, &a.metadata),
            Field::CommandId => of_all(flags::COMMAND_ID, &a.command_ids),
            Field::CorrelationId => of_all(flags::CORRELATION_ID, &a.correlation_ids),
            Field::CausationId => of_all(flags::CAUSATION_ID, &a.causation_ids),
            Field::TenantId => of_all(flags::TENANT_ID, &a.tenant_ids),
            _ => None,
        }
    }

    #[inline]
    fn place(self, row: usize, field: Field) -> Option<Place<'a>> {
        let a = self.archived;
        let optional = |bit, texts| self.has(row, bit).then_some(Place::Column(texts, row));
        match field {
            Field::StreamType => Some(Place::StreamType),
            Field::StreamId => Some(Place::Column(&a.streams, self.stream_of(row))),
            Field::EventType => Some(Place::Column(&a.event_types, row)),
            Field::Payload => Some(Place::Column(&a.data, row)),
            Field::Metadata => optional(flags::METADATA, &a.metadata),
            Field::CommandId => optional(flags::COMMAND_ID, &a.command_ids),
            Field::CorrelationId => optional(flags::CORRELATION_ID, &a.correlation_ids),
            Field::CausationId => optional(flags::CAUSATION_ID, &a.causation_ids),
            Field::TenantId => optional(flags::TENANT_ID, &a.tenant_ids),
            Field::EventId | Field::Seq | Field::EventVersion | Field::OccurredAt | Field::IngestedAt => None,
        }
    }

    /// Bytes of the shortest and of the longest text that stand in a field's column, of which rows may have none; `None`: no text does.
    pub(crate) fn lengths(self, field: Field) -> Option<(usize, usize)> {
        let a = self.archived;
        let texts = match field {
            Field::StreamId => &a.streams,
            Field::EventType => &a.event_types,
            Field::Payload => &a.data,
            Field::Metadata => &a.metadata,
            Field::CommandId => &a.command_ids,
            Field::CorrelationId => &a.correlation_ids,
            Field::CausationId => &a.causation_ids,
            Field::TenantId => &a.tenant_ids,
            Field::StreamType
            | Field::EventId
            | Field::Seq
            | Field::EventVersion
            | Field::OccurredAt
            | Field::IngestedAt => return None,
        };
        texts.lengths()
    }

    /// False: no row has a value of this optional field.
    #[must_use]
    pub fn may_have(self, field: Field) -> bool {
        match field {
            Field::EventVersion => !self.archived.event_versions.is_empty(),
            Field::Metadata => !self.archived.metadata.ends.is_empty(),
            Field::CommandId => !self.archived.command_ids.ends.is_empty(),
            Field::CorrelationId => !self.archived.correlation_ids.ends.is_empty(),
            Field::CausationId => !self.archived.causation_ids.ends.is_empty(),
            Field::TenantId => !self.archived.tenant_ids.ends.is_empty(),
            _ => true,
        }
    }

    /// Whether its rows are of several tenants; none counts as one.
    #[must_use]
    pub fn is_of_several_tenants(self) -> bool {
        let a = self.archived;
        if a.tenant_ids.ends.is_empty() {
            return false;
        }
        if self.common & flags::TENANT_ID != 0 {
            return !a.tenant_ids.are_all_one();
        }
        // some row has none
        a.flags.iter().any(|of_row| of_row.to_native() & flags::TENANT_ID != 0)
    }

    /// Digest of a row's fields as the client sent them (absent stays absent), under a key of the store.
    /// The stream is part of it; the command id and what a server assigns are not.
    #[must_use]
    pub fn row_digest(self, row: usize, key: (u64, u64)) -> u128 {
        let given = self.flags(row) & !flags::COMMAND_ID;
        let id = self.given_event_id(row).unwrap_or_default().0;
        let seq = self.given_seq(row).unwrap_or_default().0.to_le_bytes();
        let occurred = self.given_occurred_at(row).unwrap_or_default().0.to_le_bytes();
        let version = self.event_version(row).unwrap_or_default().to_le_bytes();
        crate::hash::keyed_hash(
            key.0,
            key.1,
            &[
                &given.to_le_bytes(),
                self.stream(self.stream_of(row)).as_bytes(),
                &id,
                &seq,
                &occurred,
                &version,
                self.event_type(row).as_bytes(),
                self.data(row).as_bytes(),
                self.metadata(row).unwrap_or("").as_bytes(),
                self.correlation_id(row).unwrap_or("").as_bytes(),
                self.causation_id(row).unwrap_or("").as_bytes(),
                self.tenant_id(row).unwrap_or("").as_bytes(),
            ],
        )
    }

    /// Puts the parts that [`row_digest`](Self::row_digest) hashes, for who hashes many rows.
    pub fn put_digested(self, row: usize, parts: &mut Parts) {
        let a = self.archived;
        let text = |bit, texts: &'a ArchivedTexts| if self.has(row, bit) { texts.bytes(row) } else { &[] };
        parts.put(&(self.flags(row) & !flags::COMMAND_ID).to_le_bytes());
        parts.put(a.streams.bytes(self.stream_of(row)));
        parts.put(&self.given_event_id(row).unwrap_or_default().0);
        parts.put(&self.given_seq(row).unwrap_or_default().0.to_le_bytes());
        parts.put(&self.given_occurred_at(row).unwrap_or_default().0.to_le_bytes());
        parts.put(&self.event_version(row).unwrap_or_default().to_le_bytes());
        parts.put(a.event_types.bytes(row));
        parts.put(a.data.bytes(row));
        parts.put(text(flags::METADATA, &a.metadata));
        parts.put(text(flags::CORRELATION_ID, &a.correlation_ids));
        parts.put(text(flags::CAUSATION_ID, &a.causation_ids));
        parts.put(text(flags::TENANT_ID, &a.tenant_ids));
    }
}

/// Where a text of a row stands.
enum Place<'a> {
    StreamType,
    Column(&'a ArchivedTexts, usize),
}

impl ArchivedEventBatch {
    /// Whether every column agrees with every other: what makes a [`BatchView`] safe to read by row.
    pub(crate) fn is_sound(&self) -> bool {
        let rows = self.stream_of.len();
        let streams = self.streams.ends.len();
        let given = |len: usize| len == 0 || len == rows;
        let backed = self.backed_flags();
        BatchUnit::from_u8(self.unit).is_some()
            && (1..=crate::limits::BATCH_ROWS_MAX).contains(&rows)
            && self.streams.is_sound(streams)
            && self.stream_of.iter().all(|s| (s.to_native() as usize) < streams)
            && self.flags.len() == rows
            && self.flags.iter().all(|f| f.to_native() & !backed == 0)
            && given(self.event_ids.len())
            && given(self.seqs.len())
            && given(self.occurred_at.len())
            && given(self.event_versions.len())
            && self.texts().iter().all(|t| t.is_sound(rows))
            && self.event_types.ends.len() == rows
            && self.data.ends.len() == rows
    }

    /// Bits of the flags that every row has.
    pub(crate) fn common_flags(&self) -> u16 {
        self.flags.iter().fold(flags::ALL, |common, of_row| common & of_row.to_native())
    }

    /// A flag promises a value: those whose columns are there.
    fn backed_flags(&self) -> u16 {
        let of = |bit: u16, len: usize| if len > 0 { bit } else { 0 };
        of(flags::EVENT_ID, self.event_ids.len())
            | of(flags::SEQ, self.seqs.len())
            | of(flags::OCCURRED_AT, self.occurred_at.len())
            | of(flags::EVENT_VERSION, self.event_versions.len())
            | of(flags::METADATA, self.metadata.ends.len())
            | of(flags::COMMAND_ID, self.command_ids.ends.len())
            | of(flags::CORRELATION_ID, self.correlation_ids.ends.len())
            | of(flags::CAUSATION_ID, self.causation_ids.ends.len())
            | of(flags::TENANT_ID, self.tenant_ids.ends.len())
    }

    fn texts(&self) -> [&ArchivedTexts; 7] {
        [
            &self.event_types,
            &self.data,
            &self.metadata,
            &self.command_ids,
            &self.correlation_ids,
            &self.causation_ids,
            &self.tenant_ids,
        ]
    }
}

#[cfg(test)]
mod layout;
