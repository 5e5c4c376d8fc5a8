//! A committed batch: the archive and its stamps. What the log, the hot tier and readers share.

use crate::access::{BatchBytes, BatchError};
use crate::batch::BatchView;
use crate::bytes::SharedBytes;
use crate::id::EventId;
use crate::num::{Micros, Seq};
use crate::row::EventRef;
use crate::stamps::{Stamps, StampsError};

/// Why a frame's payload is not a committed batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PayloadError {
    /// The stamps.
    #[error(transparent)]
    Stamps(#[from] StampsError),
    /// The archive.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// They have different numbers of rows.
    #[error("the stamps and the batch have different numbers of rows")]
    Rows,
}

/// A batch with its stamps. Cloning is two reference counts.
#[derive(Clone, Debug)]
pub struct StampedBatch {
    batch: BatchBytes,
    stamps: Stamps,
}

impl StampedBatch {
    /// Joins a batch and its stamps. Errors: different numbers of rows.
    pub fn new(batch: BatchBytes, stamps: Stamps) -> Result<Self, PayloadError> {
        if batch.view().rows() != stamps.rows() {
            return Err(PayloadError::Rows);
        }
        Ok(Self { batch, stamps })
    }

    /// Reads the payload of an entry frame in place (validates the whole archive).
    pub fn from_payload(payload: &SharedBytes) -> Result<Self, PayloadError> {
        let stamps = Stamps::parse(payload)?;
        if !stamps.are_sound() {
            return Err(StampsError.into());
        }
        let archive = payload.slice(stamps.bytes().len()..payload.len()).ok_or(StampsError)?;
        Self::new(BatchBytes::validate(archive)?, stamps)
    }

    /// The same from its two parts, as [`payload_shared`](Self::payload_shared) gives them, without a copy.
    pub fn from_parts([stamps, archive]: &[SharedBytes; 2]) -> Result<Self, PayloadError> {
        let read = Stamps::parse(stamps)?;
        if read.bytes().len() != stamps.len() || !read.are_sound() {
            return Err(StampsError.into());
        }
        Self::new(BatchBytes::validate(archive.clone())?, read)
    }

    /// The payload of an entry frame, in parts to be written one after the other.
    #[must_use]
    pub fn payload_parts(&self) -> [&[u8]; 2] {
        [self.stamps.bytes(), self.batch.bytes()]
    }

    /// The same, shared: what an entry of a replication group holds.
    #[must_use]
    pub fn payload_shared(&self) -> [SharedBytes; 2] {
        [self.stamps.shared().clone(), self.batch.bytes().clone()]
    }

    /// Bytes that it holds in memory.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.stamps.bytes().len() + self.batch.bytes().len()
    }

    /// The client's columns.
    #[must_use]
    #[inline]
    pub fn view(&self) -> BatchView<'_> {
        self.batch.view()
    }

    /// The owner's columns.
    #[must_use]
    #[inline]
    pub const fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// Number of events.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.stamps.rows()
    }

    /// Id of a row: the client's, else the one made by the owner.
    #[must_use]
    #[inline]
    pub fn event_id(&self, row: usize) -> EventId {
        self.view().given_event_id(row).unwrap_or_else(|| self.stamps.made_id(row))
    }

    /// The row that has this id, if the owner made it for this batch.
    #[must_use]
    pub fn row_of_made_id(&self, id: EventId) -> Option<usize> {
        self.stamps.row_of_made_id(id).filter(|row| self.view().given_event_id(*row).is_none())
    }

    /// When a row happened: the client's word, else its ingested_at.
    #[must_use]
    #[inline]
    pub fn occurred_at(&self, row: usize) -> Micros {
        self.view().given_occurred_at(row).unwrap_or_else(|| self.stamps.ingested_at(row))
    }

    /// Seq of a row.
    #[must_use]
    #[inline]
    pub fn seq(&self, row: usize) -> Seq {
        self.stamps.seq(row)
    }

    /// An event.
    #[must_use]
    pub fn row(&self, row: usize) -> EventRef<'_> {
        let view = self.view();
        EventRef {
            event_id: self.event_id(row),
            stream_type: view.stream_type(),
            stream_id: view.stream(view.stream_of(row)),
            seq: self.stamps.seq(row),
            event_type: view.event_type(row),
            event_version: view.event_version(row),
            occurred_at: self.occurred_at(row),
            ingested_at: self.stamps.ingested_at(row),
            data: view.data(row),
            metadata: view.metadata(row),
            command_id: view.command_id(row),
            correlation_id: view.correlation_id(row),
            causation_id: view.causation_id(row),
            tenant_id: view.tenant_id(row),
        }
    }

    /// All events, in row order.
    pub fn iter(&self) -> impl Iterator<Item = EventRef<'_>> {
        (0..self.rows()).map(|row| self.row(row))
    }
}
