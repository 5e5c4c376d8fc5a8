//! One consumer of a named subscription: what it was given and has not taken yet.

use super::desk::Named;
use super::feed::Feed;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use strandline_event::{Position, StampedBatch};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

/// Bytes that wait for one connection before it is given nothing more; one event is given however large.
pub(super) const QUEUE_BYTES: usize = 256 << 10;

/// An event for a consumer.
#[derive(Debug)]
pub struct Delivery {
    /// Its position: what is acknowledged.
    pub position: Position,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// The event, as the consumer's connection encodes it.
    pub text: Vec<u8>,
}

/// What comes next.
pub enum Consumed {
    /// Events.
    Events(Vec<Delivery>),
    /// Events of a dry run.
    Inspected(StampedBatch),
    /// Nothing for a while.
    Quiet,
    /// The node stops, or the subscription was deleted.
    End(&'static str),
}

/// What waits for a connection.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<(VecDeque<Delivery>, usize)>,
    ready: Notify,
}

impl Queue {
    /// Adds an event; whether there is no room for another one.
    pub(super) fn push(&self, delivery: Delivery) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.1 += delivery.text.len();
        waiting.0.push_back(delivery);
        let is_full = waiting.1 >= QUEUE_BYTES;
        drop(waiting);
        self.ready.notify_one();
        is_full
    }

    /// Takes what fits into one piece of an answer.
    fn take(&self) -> Vec<Delivery> {
        let mut waiting = self.waiting.lock();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = waiting.0.pop_front_if(|next| bytes == 0 || bytes + next.text.len() <= QUEUE_BYTES / 4) {
            bytes += next.text.len();
            waiting.1 -= next.text.len();
            taken.push(next);
        }
        taken
    }
}

/// A consumer. Dropping it gives back what it holds.
pub struct Consumer {
    pub(super) named: Arc<Named>,
    pub(super) feed: Arc<Feed>,
    pub(super) number: u64,
    pub(super) queue: Arc<Queue>,
    pub(super) grown: watch::Receiver<u64>,
    pub(super) notices: u64,
}

impl Consumer {
    /// Its number, by which it acknowledges.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// What comes next, or [`Consumed::Quiet`] after so long.
    pub async fn next(&mut self, quiet_after: Duration) -> Consumed {
        let quiet_at = Instant::now() + quiet_after;
        loop {
            self.grown.borrow_and_update();
            if self.named.is_deleted() {
                return Consumed::End("the subscription was deleted");
            }
            if let Err(error) = self.feed.check() {
                return Consumed::End(match error {
                    crate::error::NodeError::Draining => "the node stops: come again",
                    _ => "projection.notify_on_commit is false by now: this store sends no notifications",
                });
            }
            if let Some((number, batch)) = self.feed.notice_after(self.notices) {
                self.notices = number;
                return Consumed::Inspected(batch);
            }
            let taken = self.queue.take();
            if !taken.is_empty() {
                self.feed.following.given.add(taken.len() as u64);
                self.named.has_room(self.number);
                return Consumed::Events(taken);
            }
            let ready = async {
                tokio::select! {
                    () = self.queue.ready.notified() => {}
                    _ = self.grown.changed() => {}
                }
            };
            if timeout_at(quiet_at, ready).await.is_err() {
                return Consumed::Quiet;
            }
        }
    }

    /// Which events the subscription asks for.
    #[must_use]
    pub fn filter(&self) -> strandline_engine::read::Filter {
        self.named.settings().filter
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.named.leave(self.number, self.feed.is_closing());
    }
}
