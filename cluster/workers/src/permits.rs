//! Bytes in flight, counted before anything is queued: over the limit a request is refused at once.
//!
//! Invariant: the sum of all living permits never exceeds the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The node's account of bytes in flight. Cloning shares it.
#[derive(Clone, Debug)]
pub struct BytePermits {
    free: Arc<Semaphore>,
    limit_bytes: usize,
    refused: Arc<AtomicU64>,
}

/// Bytes that a request holds until it is dropped; by default none.
#[derive(Debug, Default)]
pub struct BytePermit {
    held: Option<OwnedSemaphorePermit>,
}

impl BytePermits {
    /// An account of `limit_bytes` (at most 4 GiB).
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        let limit_bytes = limit_bytes.min(u32::MAX as usize);
        Self { free: Arc::new(Semaphore::new(limit_bytes)), limit_bytes, refused: Arc::default() }
    }

    /// Takes `bytes`; `None`: too much is in flight.
    #[must_use]
    pub fn take(&self, bytes: usize) -> Option<BytePermit> {
        let mut permit = BytePermit { held: None };
        self.grow(&mut permit, bytes).then_some(permit)
    }

    /// Whether `bytes` could be taken now; `false` counts as a refusal.
    #[must_use]
    pub fn could_take(&self, bytes: usize) -> bool {
        let could = self.free.available_permits() >= bytes;
        if !could {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        could
    }

    /// Takes `bytes`, or the whole limit if that is less, as soon as they are free. For what waits by itself and holds up nobody else.
    pub async fn wait(&self, bytes: usize) -> BytePermit {
        let bytes = bytes.min(self.limit_bytes) as u32;
        // nobody closes the account
        BytePermit { held: Arc::clone(&self.free).acquire_many_owned(bytes).await.ok() }
    }

    /// Takes `bytes` more for a permit; `false`: too much is in flight, the permit is unchanged.
    #[must_use]
    pub fn grow(&self, permit: &mut BytePermit, bytes: usize) -> bool {
        let more = u32::try_from(bytes).ok().and_then(|n| Arc::clone(&self.free).try_acquire_many_owned(n).ok());
        let Some(more) = more else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        match &mut permit.held {
            Some(held) => held.merge(more),
            None => permit.held = Some(more),
        }
        true
    }

    /// Whether `bytes`, or a quarter of the limit if that is less, could be taken now; `false` counts as a refusal.
    #[must_use]
    pub fn has_room_for(&self, bytes: usize) -> bool {
        let room = self.free.available_permits() >= bytes.min(self.limit_bytes / 4);
        if !room {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        room
    }

    /// Makes a permit hold exactly `bytes`; `false`: too much is in flight, the permit is unchanged.
    #[must_use]
    pub fn resize(&self, permit: &mut BytePermit, bytes: usize) -> bool {
        let held = permit.bytes();
        if bytes > held {
            return self.grow(permit, bytes - held);
        }
        // what is split off goes back at once
        drop(permit.held.as_mut().and_then(|permit| permit.split(held - bytes)));
        true
    }

    /// Bytes in flight now.
    #[must_use]
    pub fn in_flight_bytes(&self) -> usize {
        self.limit_bytes.saturating_sub(self.free.available_permits())
    }

    /// Requests that were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The limit.
    #[must_use]
    pub const fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }
}

/// A thing and the permit for its bytes.
#[derive(Debug)]
pub struct Permitted<T> {
    value: T,
    permit: BytePermit,
}

impl<T> Permitted<T> {
    /// Joins them.
    pub(crate) const fn new(value: T, permit: BytePermit) -> Self {
        Self { value, permit }
    }

    /// The permit alone; whoever lets the thing live on holds the permit as long.
    #[must_use]
    pub fn into_permit(self) -> BytePermit {
        self.permit
    }
}

impl<T> std::ops::Deref for Permitted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl BytePermit {
    /// Bytes that it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_with_the_permit() {
        let permits = BytePermits::new(100);
        let mut first = permits.take(60).unwrap();
        assert!(permits.take(41).is_none());
        assert!(permits.grow(&mut first, 40) && !permits.grow(&mut first, 1));
        assert_eq!((first.bytes(), permits.in_flight_bytes()), (100, 100));
        assert!(!permits.has_room_for(1) && permits.resize(&mut first, 80) && permits.has_room_for(20));
        assert!(!permits.resize(&mut first, 101) && permits.resize(&mut first, 90));
        assert_eq!((first.bytes(), permits.in_flight_bytes()), (90, 90));
        drop(first);
        assert_eq!(permits.in_flight_bytes(), 0);
    }
}
