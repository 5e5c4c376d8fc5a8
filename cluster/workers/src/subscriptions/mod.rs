//! Subscriptions as a node runs them: who is woken when, from where pages come, what is kept of named ones.
//!
//! ```text
//!  a log's clock --bell--> pump (one a store, while somebody follows): reads the next live page, once for all
//!                            | grown
//!      Follower <------------+------------> Dispatcher (one a named subscription, while it has consumers)
//!        | a slice of a page                     | events, by stream
//!      its connection                        Consumer ... Consumer --ack, retry, park--> Durable -> file
//! ```
//!
//! In a cluster the node that leads the meta group keeps the named ones, and remembers them with the others (`ledger.rs`): the next leader goes on from there. Plain ones are served
//! by any node, which asks the leaders of quiet logs that nothing comes before what it has applied (`Closes` in `feed.rs`). An append that waits for sync
//! ones waits where it is answered, and asks the node that keeps them how far they are (`confirm.rs`, `replicas/projections.rs`).
//!
//! Invariant: an append waits for no follower. A follower holds its place and nothing else between two slices; pages are held by the ring
//! (the newest ones) and by the shelf (history, bounded over all followers together), and are read again when they are gone.
//! Only a store whose `projection.mode` is sync lets its appends wait, for the subscriptions that were made for it, with a time-out.

mod confirm;
mod consumer;
mod desk;
mod dispatch;
mod feed;
mod file;
mod follower;
mod handle;
mod keeper;
mod lag;
mod ledger;
mod named;
mod notices;
mod page;
mod places;
mod shelf;
mod told;
mod trouble;

pub use confirm::{Confirmation, ProjectionState};
pub use consumer::{Consumed, Consumer, Delivery, Ended};
pub use desk::limits;
pub use follower::{Followed, Follower, Slice};
pub use page::{Encode, FollowPage};
pub use told::{EventPlace, NamedStatus, ParkedEvent, SubscriptionWish};
pub use trouble::Trouble;

pub(crate) use confirm::Waiting;
pub(crate) use desk::Desk;
pub(crate) use feed::{Closes, Feed};
pub(crate) use file::{SubscriptionFile, SubscriptionFileError};
pub(crate) use handle::PROJECTION_TIMEOUT;
pub(crate) use ledger::made;

use crate::error::NodeError;
use crate::metrics::Counter;
use shelf::Shelf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// Followers and consumers of a node.
const FOLLOWERS_MAX: usize = 8192;
/// Bytes of pages of history that all followers hold together.
const SHELF_BYTES_MAX: usize = 64 << 20;

/// What all followers of a node share.
pub(crate) struct Following {
    shelf: Shelf,
    /// Reads of history at a time: other reads come in between.
    catching_up: Semaphore,
    count: AtomicUsize,
    /// Events that were given.
    pub(crate) given: Counter,
}

/// A place among the followers of a node.
pub(crate) struct Place(Arc<Following>);

impl Following {
    /// For a node with so many threads that read.
    pub(crate) fn new(reader_threads: usize) -> Arc<Self> {
        Arc::new(Self {
            shelf: Shelf::new(SHELF_BYTES_MAX),
            catching_up: Semaphore::new((reader_threads / 2).max(1)),
            count: AtomicUsize::new(0),
            given: Counter::default(),
        })
    }

    /// How many follow.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// One more follows.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Place, NodeError> {
        let taken =
            self.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < FOLLOWERS_MAX).then_some(n + 1));
        match taken {
            Ok(_) => Ok(Place(Arc::clone(self))),
            Err(_) => Err(NodeError::Overloaded("too many subscribers follow this node: end one first, or try again")),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::ErrorKind;

    #[test]
    fn one_follower_too_many_is_refused_and_the_next_after_an_end_is_not() {
        let following = Following::new(2);
        let mut places: Vec<Place> = (0..FOLLOWERS_MAX).map(|_| following.enter().ok().unwrap()).collect();
        assert_eq!(following.enter().err().map(|refused| refused.kind()), Some(ErrorKind::Overloaded));
        places.pop();
        places.push(following.enter().ok().unwrap());
        assert!(following.enter().is_err());
        drop(places);
        assert_eq!(following.count(), 0);
    }
}
