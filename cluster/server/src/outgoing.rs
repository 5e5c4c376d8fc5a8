//! Connections to other nodes for what this one sends on: how many there are at a time, so that logs and files keep their descriptors.
//!
//! A request over HTTP has one while it is under way. A native client has one to each node that something of its went to, until it leaves: those
//! that stay have at most half of the places, so that clients which do nothing leave room for what only passes.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is said where there is none left.
pub(crate) const NO_PLACE: &str = "too many connections are open to other nodes, which this one sends requests on to: nothing was done; \
                                   try again, or ask the node that does it";

/// The places for them. Cloning shares these.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    all: Arc<Semaphore>,
    /// For those that stay.
    staying: Arc<Semaphore>,
    /// Short ones beside all of these, which ask whether a silent node lives: the places may be full of what waits for it.
    asking: Arc<Semaphore>,
}

/// One of them, while the connection is open.
#[derive(Debug)]
pub(crate) struct Place {
    _one: OwnedSemaphorePermit,
    _staying: Option<OwnedSemaphorePermit>,
}

impl Outgoing {
    /// At most so many are open.
    pub(crate) fn new(limit: usize) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { all: places(limit), staying: places(limit / 2), asking: places((limit / 8).max(1)) }
    }

    /// For one more, which ends with its request; `None`: there are as many as there may be.
    pub(crate) fn enter(&self) -> Option<Place> {
        self.place(None)
    }

    /// For one more, which stays as long as a client does.
    pub(crate) fn enter_to_stay(&self) -> Option<Place> {
        let staying = Arc::clone(&self.staying).try_acquire_owned().ok()?;
        self.place(Some(staying))
    }

    /// For one that asks whether a silent node lives, when it is its turn.
    pub(crate) async fn turn_to_ask(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.asking).acquire_owned().await.ok()
    }

    fn place(&self, staying: Option<OwnedSemaphorePermit>) -> Option<Place> {
        let one = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Place { _one: one, _staying: staying })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_stay_leave_half_of_the_places_to_those_that_pass() {
        let outgoing = Outgoing::new(4);
        let mut staying: Vec<_> = (0..2).map(|_| outgoing.enter_to_stay().unwrap()).collect();
        assert!(outgoing.enter_to_stay().is_none(), "half of them");
        let passing: Vec<_> = (0..2).map(|_| outgoing.enter().unwrap()).collect();
        assert!(outgoing.enter().is_none());
        // a place that was given back is anybody's
        drop(staying.pop());
        let third = outgoing.enter().unwrap();
        assert!(outgoing.enter_to_stay().is_none(), "all of them");
        drop((passing, third));
        assert!(outgoing.enter_to_stay().is_some());
    }
}
