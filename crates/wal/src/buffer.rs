//! Memory for direct I/O: a growable buffer whose first byte stands at a multiple of the device block.
//!
//! Safe code only: a plain `Vec` one block longer than needed, used from its first aligned byte on. The `Vec` is never
//! grown in place, so its bytes never move.

use crate::frame::BLOCK_BYTES;

/// A block-aligned byte buffer.
pub struct AlignedBuf {
    storage: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// An empty buffer with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let storage = vec![0; capacity.next_multiple_of(BLOCK_BYTES) + BLOCK_BYTES];
        let start = storage.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
        Self { storage, start, len: 0 }
    }

    /// A buffer of `len` zeros.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let mut buf = Self::with_capacity(len);
        buf.len = len;
        buf
    }

    /// Bytes that fit without a new allocation.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.storage.len() - BLOCK_BYTES
    }

    /// Forgets the contents, keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Makes room for `more` bytes after the current ones.
    pub fn reserve(&mut self, more: usize) {
        let needed = self.len + more;
        if needed > self.capacity() {
            let mut larger = Self::with_capacity(needed.max(self.capacity() * 2));
            larger.append(self);
            *self = larger;
        }
    }

    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        let at = self.start + self.len;
        self.storage[at..at + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends zeros up to the next multiple of `align`.
    pub fn pad_to(&mut self, align: usize) {
        let more = self.len.next_multiple_of(align) - self.len;
        self.reserve(more);
        let at = self.start + self.len;
        self.storage[at..at + more].fill(0);
        self.len += more;
    }

    /// Sets the length; new bytes keep whatever the memory held (zeros or older contents).
    pub fn set_len(&mut self, len: usize) {
        if len > self.len {
            self.reserve(len - self.len);
        }
        self.len = len;
    }
}

impl std::ops::Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.len]
    }
}

impl std::ops::DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_aligned_while_it_grows() {
        let mut buf = AlignedBuf::with_capacity(10);
        let mut wanted = Vec::new();
        for i in 0..2000u32 {
            buf.append(&i.to_le_bytes());
            wanted.extend_from_slice(&i.to_le_bytes());
            assert_eq!(buf.as_ptr().align_offset(BLOCK_BYTES), 0);
        }
        assert_eq!(&buf[..], &wanted[..]);
        buf.pad_to(BLOCK_BYTES);
        assert_eq!(buf.len(), 8192);
        assert!(buf[8000..].iter().all(|b| *b == 0));
    }

    #[test]
    fn a_recycled_buffer_pads_with_zeros() {
        let mut buf = AlignedBuf::zeroed(4096);
        buf.fill(7);
        buf.clear();
        buf.append(&[1]);
        buf.pad_to(16);
        assert_eq!(&buf[..], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
