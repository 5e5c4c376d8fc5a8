//! Bytes that many readers share without a copy: a range of something that stays alive as long as they do.

use bytes::Bytes;
use std::fmt;
use std::ops::{Deref, Range};

/// A buffer whose first byte stands at a multiple of 16.
pub type AlignedBytes = rkyv::util::AlignedVec<16>;

/// An immutable range of shared bytes. Cloning is one reference count.
#[derive(Clone)]
pub struct SharedBytes {
    bytes: Bytes,
    kept: usize,
}

impl SharedBytes {
    /// All of an owner's bytes: of a heap buffer, of a memory map. It is asked for them once, since they are looked at row by row.
    pub fn new(owner: impl AsRef<[u8]> + Send + 'static) -> Self {
        let bytes = Bytes::from_owner(owner);
        let kept = bytes.len();
        Self { bytes, kept }
    }

    /// A part of these bytes; `None` if the range is outside.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        let fits = range.start <= range.end && range.end <= self.bytes.len();
        fits.then(|| Self { bytes: self.bytes.slice(range), kept: self.kept })
    }

    /// A copy of `bytes` at an address that is a multiple of 16.
    #[must_use]
    pub fn copy_aligned(bytes: &[u8]) -> Self {
        let mut aligned = AlignedBytes::with_capacity(bytes.len());
        aligned.extend_from_slice(bytes);
        Self::from_aligned(aligned)
    }

    /// Takes an aligned buffer over without a copy.
    #[must_use]
    pub fn from_aligned(bytes: AlignedBytes) -> Self {
        Self::new(AlignedOwner(bytes))
    }

    /// Bytes of what these keep alive.
    #[must_use]
    pub const fn kept_bytes(&self) -> usize {
        self.kept
    }

    /// Whether the first byte stands at a multiple of 16.
    #[must_use]
    pub fn is_aligned(&self) -> bool {
        (self.as_ptr() as usize).is_multiple_of(16)
    }
}

struct AlignedOwner(AlignedBytes);

impl AsRef<[u8]> for AlignedOwner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedBytes({} bytes)", self.len())
    }
}
