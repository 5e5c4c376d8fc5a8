//! Bytes that many readers share without a copy: a range of something that stays alive as long as they do.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// A buffer whose first byte stands at a multiple of 16.
pub type AlignedBytes = rkyv::util::AlignedVec<16>;

/// What keeps the bytes alive: a heap buffer, a memory map.
pub type Owner = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// An immutable range of shared bytes. Cloning is one reference count.
#[derive(Clone)]
pub struct SharedBytes {
    owner: Owner,
    range: Range<usize>,
}

impl SharedBytes {
    /// All of an owner's bytes.
    pub fn new(owner: Owner) -> Self {
        let range = 0..(*owner).as_ref().len();
        Self { owner, range }
    }

    /// A part of these bytes; `None` if the range is outside.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        let fits = range.start <= range.end && range.end <= self.range.len();
        fits.then(|| Self {
            owner: Arc::clone(&self.owner),
            range: self.range.start + range.start..self.range.start + range.end,
        })
    }

    /// A copy of `bytes` at an address that is a multiple of 16.
    #[must_use]
    pub fn copy_aligned(bytes: &[u8]) -> Self {
        let mut aligned = AlignedBytes::with_capacity(bytes.len());
        aligned.extend_from_slice(bytes);
        Self::new(Arc::new(AlignedOwner(aligned)))
    }

    /// Takes an aligned buffer over without a copy.
    #[must_use]
    pub fn from_aligned(bytes: AlignedBytes) -> Self {
        Self::new(Arc::new(AlignedOwner(bytes)))
    }

    /// Bytes of what these keep alive.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        (*self.owner).as_ref().len()
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

    fn deref(&self) -> &[u8] {
        (*self.owner).as_ref().get(self.range.clone()).unwrap_or(&[])
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedBytes({} bytes)", self.len())
    }
}
