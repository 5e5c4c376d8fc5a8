//! The last seq of each stream of a run, as its clients know it.
//!
//! Each stream has one writer at a time (see [`Calls`](crate::records::Calls)), so the next seq is known before the append is sent,
//! and every append can carry it as what it expects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Heads of streams by number, shared by the clients of a run.
#[derive(Clone, Debug)]
pub struct Heads(Arc<[AtomicU64]>);

impl Heads {
    /// Streams without events.
    #[must_use]
    pub fn new(streams: u32) -> Self {
        Self((0..streams).map(|_| AtomicU64::new(0)).collect())
    }

    /// Streams.
    #[must_use]
    pub fn streams(&self) -> u32 {
        self.0.len() as u32
    }

    /// Takes the next seq of a stream, from 1.
    pub fn next(&self, stream: u32) -> u64 {
        self.0[stream as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Streams that have an event.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.0.iter().filter(|head| head.load(Ordering::Relaxed) > 0).count() as u64
    }

    /// Events of all streams.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.0.iter().map(|head| head.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seqs_begin_at_one_and_are_shared() {
        let heads = Heads::new(3);
        let other = heads.clone();
        assert_eq!((heads.next(1), other.next(1), heads.next(2)), (1, 2, 1));
        assert_eq!((other.events(), other.streams()), (3, 3));
    }
}
