//! The one place that turns bytes into a batch: validated once, then read in place.
//!
//! Invariant: a [`BatchBytes`] exists only for bytes that rkyv made of an [`EventBatch`] here, or that passed its full check, and that passed
//! the column check; and the bytes never change afterwards (they are shared and immutable).
#![allow(unsafe_code)]

use crate::batch::{ArchivedEventBatch, BatchView, EventBatch};
use crate::bytes::{AlignedBytes, SharedBytes};
use crate::limits::BATCH_BYTES_MAX;
use rkyv::api::high::to_bytes_in;
use rkyv::rancor;

/// Why bytes are not a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BatchError {
    /// Not an archive of this struct.
    #[error("the bytes are not a batch archive")]
    NotAnArchive,
    /// The columns contradict each other.
    #[error("the columns of the batch contradict each other")]
    Unsound,
    /// Over [`BATCH_BYTES_MAX`], or out of memory.
    #[error("the batch is larger than 192 MiB: split it")]
    TooLarge,
}

/// The validated archive of an [`EventBatch`].
#[derive(Clone, Debug)]
pub struct BatchBytes {
    bytes: SharedBytes,
    /// Bits of the flags that every row has: who asks for one of them has no need to look at the row's own.
    common: u16,
}

impl BatchBytes {
    /// Archives a batch. Errors: it is unsound or too large.
    pub fn archive(batch: &EventBatch) -> Result<Self, BatchError> {
        let room = AlignedBytes::with_capacity(batch.archive_bytes_max());
        let bytes = to_bytes_in::<_, rancor::Error>(batch, room).map_err(|_| BatchError::TooLarge)?;
        if bytes.len() > BATCH_BYTES_MAX {
            return Err(BatchError::TooLarge);
        }
        // an archive it is: what can be wrong are the columns
        Self { bytes: SharedBytes::from_aligned(bytes), common: 0 }.checked()
    }

    /// Validates bytes from outside: the full rkyv check and the check of the columns against each other.
    /// Bytes that are not 16-aligned are copied once.
    pub fn validate(bytes: SharedBytes) -> Result<Self, BatchError> {
        let bytes = if bytes.is_aligned() { bytes } else { SharedBytes::copy_aligned(&bytes) };
        rkyv::access::<ArchivedEventBatch, rancor::Failure>(&bytes).map_err(|_| BatchError::NotAnArchive)?;
        Self { bytes, common: 0 }.checked()
    }

    /// The check of the columns against each other.
    fn checked(mut self) -> Result<Self, BatchError> {
        let archived = self.archived();
        if !archived.is_sound() {
            return Err(BatchError::Unsound);
        }
        self.common = archived.common_flags();
        Ok(self)
    }

    #[inline]
    fn archived(&self) -> &ArchivedEventBatch {
        // SAFETY: there are two constructors: `archive`, whose bytes rkyv has just written with the archive at their end, and `validate`, which ran its full
        // check on exactly these bytes; they are immutable, stay 16-aligned (`SharedBytes` never moves its owner's bytes) and live as long as `self`.
        unsafe { rkyv::access_unchecked::<ArchivedEventBatch>(&self.bytes) }
    }

    /// The batch, read in place.
    #[must_use]
    #[inline]
    pub fn view(&self) -> BatchView<'_> {
        BatchView::new(self.archived(), self.common)
    }

    /// The archive itself: what goes to the log and over the wire.
    #[must_use]
    pub fn bytes(&self) -> &SharedBytes {
        &self.bytes
    }
}
