//! Connections to other nodes for what this one sends on: how many there are at a time, so that logs and files keep their descriptors.
//!
//! A request over HTTP has one while it is under way. A native client has one to each node that something of its went to, until it leaves.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is said where there is none left.
pub(crate) const NO_PLACE: &str = "too many connections are open to other nodes, which this one sends requests on to: nothing was done; \
                                   try again, or ask the node that does it";

/// The places for them. Cloning shares these.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing(Arc<Semaphore>);

/// One of them, while the connection is open.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Outgoing {
    /// At most so many are open.
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Semaphore::new(limit)))
    }

    /// For one more; `None`: there are as many as there may be.
    pub(crate) fn enter(&self) -> Option<Place> {
        let permit = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Some(Place { _permit: permit })
    }
}
