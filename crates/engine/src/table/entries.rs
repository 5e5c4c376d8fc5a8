//! Entries in chunks: none is moved while they grow, and of their memory no more than one chunk is free.

/// Entries a chunk: one allocation for so many new ones.
const CHUNK: usize = 1024;

/// Each has a place below `len`, dense.
#[derive(Debug)]
pub(super) struct Entries<T> {
    /// All full but the last, which is not empty.
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T> Entries<T> {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn at(&self, place: u32) -> &T {
        &self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }

    pub(super) fn at_mut(&mut self, place: u32) -> &mut T {
        &mut self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }

    /// Puts an entry at the end.
    pub(super) fn push(&mut self, entry: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(entry),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(entry);
                self.chunks.push(chunk);
            }
        }
        self.len += 1;
    }

    /// The entry at `place` goes, and the last one takes its place; where that was another one, it is at hand.
    pub(super) fn swap_remove(&mut self, place: u32) -> Option<&T> {
        let last = self.chunks.last_mut()?;
        let entry = last.pop()?;
        if last.is_empty() {
            self.chunks.pop();
        }
        self.len -= 1;
        if place as usize == self.len {
            return None;
        }
        *self.at_mut(place) = entry;
        Some(self.at(place))
    }

    /// Bytes of memory, used or not.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<T>() + self.chunks.capacity() * size_of::<Vec<T>>()
    }
}
