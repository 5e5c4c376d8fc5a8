//! One consumer of a named subscription: what it was given and has not taken yet.
//!
//! What waits is text, of which more may be hidden by the time the connection takes it: then it is read again, and what is there no more is not given.
//! Where events cannot be read it ends, behind what it was given before; that is no fault of its own, and counts against no event.

use super::feed::Feed;
use super::named::Named;
use super::page::{Encode, Withheld};
use super::trouble::Unread;
use crate::error::NodeError;
use crate::messages::ReadFeed;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use strandline_engine::read::{Filter, GlobalRead};
use strandline_event::{Position, StampedBatch};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

/// Bytes that wait for one connection before it is given nothing more; one event is given however large.
pub(super) const QUEUE_BYTES: usize = 256 << 10;

/// How long one that asked is left without a word while the dispatcher reads on.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);
/// Where nothing can be given before something is acknowledged: how long that is waited for.
const FULL_PATIENCE: Duration = Duration::from_secs(3);

/// What the dispatcher says to consumers that ask whether anything is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Looked {
    /// The last question that is answered by it.
    pub(super) asked: u64,
    /// Everything that is there was offered; otherwise nobody takes anything more.
    pub(super) at_end: bool,
}

/// A question whether anything is left.
struct Question {
    number: u64,
    looked: watch::Receiver<Looked>,
    asked_at: Instant,
}

impl Question {
    fn new(named: &Named) -> Self {
        let (number, looked) = named.ask();
        Self { number, looked, asked_at: Instant::now() }
    }

    /// How long to wait, as far as it is answered; whether nothing is left for this consumer then.
    fn until(&mut self) -> (Instant, bool) {
        let looked = *self.looked.borrow_and_update();
        match (looked.asked >= self.number, looked.at_end) {
            (true, true) => (self.asked_at, true),
            (true, false) => (self.asked_at + FULL_PATIENCE, true),
            (false, _) => (self.asked_at + LOOK_PATIENCE, false),
        }
    }

    /// Waits for a word of the dispatcher.
    async fn news(question: &mut Option<Self>) {
        match question {
            // who says it is there as long as the consumer
            Some(question) => {
                let _ = question.looked.changed().await;
            }
            None => std::future::pending().await,
        }
    }
}

/// An event for a consumer.
#[derive(Debug)]
pub struct Delivery {
    /// Its position: what is acknowledged.
    pub position: Position,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// The event, as the consumer's connection encodes it.
    pub text: Vec<u8>,
    /// What was kept from readers when the text was made; `None`: there was nobody to make it for.
    pub(super) withheld: Option<Withheld>,
}

/// What comes next.
pub enum Consumed {
    /// Events.
    Events(Vec<Delivery>),
    /// Events of a dry run.
    Inspected(StampedBatch),
    /// Nothing for a while; whether nothing is left that this consumer can be given now.
    Quiet {
        /// Nothing is left.
        at_end: bool,
    },
    /// There is no more.
    End(Ended),
}

/// Why no more comes.
#[derive(Clone, Debug)]
pub enum Ended {
    /// The subscription was deleted: who comes again finds none.
    Deleted,
    /// The node stops, or gives its events no more; what to do.
    Interrupted(&'static str),
    /// What comes next cannot be read.
    Failed(Arc<NodeError>),
}

/// What waits for a connection.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<(VecDeque<Delivery>, usize)>,
    ready: Notify,
    /// Why nothing comes behind what waits.
    failed: OnceLock<Arc<NodeError>>,
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

    /// Puts back what was taken and is given to nobody.
    fn put_back(&self, rest: Vec<Delivery>) {
        let mut waiting = self.waiting.lock();
        for delivery in rest.into_iter().rev() {
            waiting.1 += delivery.text.len();
            waiting.0.push_front(delivery);
        }
    }

    /// Nothing more comes.
    pub(super) fn fail(&self, error: &Arc<NodeError>) {
        // the first reason holds
        let _ = self.failed.set(Arc::clone(error));
        self.ready.notify_one();
    }

    /// Why nothing more comes, if so.
    pub(super) fn failure(&self) -> Option<&Arc<NodeError>> {
        self.failed.get()
    }

    /// What nobody has taken.
    pub(super) fn untaken(&self) -> Vec<Position> {
        self.waiting.lock().0.iter().map(|delivery| delivery.position).collect()
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
    pub(super) encode: Encode,
    pub(super) grown: watch::Receiver<u64>,
    pub(super) notices: u64,
}

impl Consumer {
    /// Its number, by which it acknowledges.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// What comes next, or [`Consumed::Quiet`] after so long, when it was looked whether anything is left.
    pub async fn next(&mut self, quiet_after: Duration) -> Consumed {
        let quiet_at = Instant::now() + quiet_after;
        let mut question: Option<Question> = None;
        loop {
            self.grown.borrow_and_update();
            // seen before the queue is: what was given before the answer is in it
            let (until, at_end) = question.as_mut().map_or((quiet_at, false), Question::until);
            if let Some(why) = self.named.ended() {
                return Consumed::End(why);
            }
            if let Err(error) = self.feed.check() {
                return Consumed::End(Ended::Interrupted(match error {
                    NodeError::Draining => "the node stops: come again",
                    _ => "projection.notify_on_commit is false by now: this store sends no notifications",
                }));
            }
            if let Some((number, batch)) = self.feed.notice_after(self.notices) {
                self.notices = number;
                return Consumed::Inspected(batch);
            }
            // seen before the queue is: what was given before it is in it
            let failed = self.queue.failure().cloned();
            let taken = self.queue.take();
            if !taken.is_empty() {
                self.named.has_room(self.number, &self.queue);
                match self.as_of_now(taken).await {
                    Ok(taken) if taken.is_empty() => continue,
                    Ok(taken) => {
                        self.feed.following.given.add(taken.len() as u64);
                        return Consumed::Events(taken);
                    }
                    Err(unread) if unread.is_passing() => {
                        return Consumed::End(Ended::Interrupted("the node stops: come again"));
                    }
                    Err(unread) => {
                        let error = self.named.troubles.met(&self.named.name, unread);
                        self.queue.fail(&error);
                        return Consumed::End(Ended::Failed(error));
                    }
                }
            }
            if let Some(error) = failed {
                return Consumed::End(Ended::Failed(error));
            }
            let ready = async {
                tokio::select! {
                    () = self.queue.ready.notified() => {}
                    _ = self.grown.changed() => {}
                    () = Question::news(&mut question) => {}
                }
            };
            if timeout_at(until, ready).await.is_err() {
                if question.is_some() {
                    return Consumed::Quiet { at_end };
                }
                question = Some(Question::new(&self.named));
            }
        }
    }

    /// Events as they may be shown now. What is there no more is left out: the subscription finds that out when it reads on.
    async fn as_of_now(&self, taken: Vec<Delivery>) -> Result<Vec<Delivery>, Unread> {
        let withheld = Some(Withheld::by(self.feed.store()));
        let mut shown = Vec::with_capacity(taken.len());
        for mut delivery in taken {
            if delivery.withheld != withheld {
                let after = delivery.position.before();
                let read = GlobalRead { after, limit: 1, filter: Filter::default() };
                let page = self.feed.readers().wait(ReadFeed { store: Arc::clone(self.feed.store()), read }).await;
                let page = page.and_then(|page| page.map_err(NodeError::from)).map_err(Unread::behind(after))?;
                let Some(_) = page.rows().row(0).filter(|event| event.position() == delivery.position) else {
                    continue;
                };
                delivery.text = page.texts(&*self.encode).row(0).to_vec();
            }
            shown.push(delivery);
        }
        Ok(shown)
    }

    /// Gives back what [`next`](Self::next) gave last and nobody is shown: it was not tried.
    pub fn give_back(&self, rest: Vec<Delivery>) {
        self.queue.put_back(rest);
    }

    /// Which events the subscription asks for.
    #[must_use]
    pub fn filter(&self) -> Filter {
        self.named.settings().filter
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.named.leave(self.number, self.feed.is_closing());
    }
}
