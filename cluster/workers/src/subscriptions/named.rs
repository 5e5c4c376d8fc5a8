//! One named subscription as a node that keeps it runs it: its state, its consumers, and what of it goes to who keeps it.
//!
//! It refuses to know the others: that is the desk's. Changes are pushed under the state's lock, so that they are kept in their order.

use super::consumer::{Delivery, Ended, Looked, Queue};
use super::feed::Feed;
use super::file::Ticket;
use super::keeper::Keeper;
use super::lag;
use super::limits;
use super::page::Encode;
use super::places::Places;
use super::told::{NamedStatus, ParkedEvent};
use super::trouble::{Troubles, Unread};
use crate::clock;
use crate::error::NodeError;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use strandline_engine::subscribe::durable::{Durable, Settings};
use strandline_engine::subscribe::record::{Kept, Record};
use strandline_event::Micros;
use tokio::sync::{Notify, watch};

#[derive(Default)]
struct Consumers {
    queues: HashMap<u64, Arc<Queue>>,
    encode: Option<Encode>,
    dispatching: bool,
}

/// A named subscription.
pub(super) struct Named {
    pub(super) name: String,
    number: u32,
    pub(super) created_at: Micros,
    pub(super) state: Mutex<Durable>,
    consumers: Mutex<Consumers>,
    /// The dispatcher has something to look at.
    pub(super) changed: Notify,
    /// Counts acknowledgements: sync appends wait for them.
    progressed: watch::Sender<u64>,
    /// Counts the consumers' questions whether anything is left.
    asked: AtomicU64,
    looked: watch::Sender<Looked>,
    deleted: AtomicBool,
    /// Held by who deletes it: of two at once the one that fails would take back what the other did.
    pub(super) deleting: tokio::sync::Mutex<()>,
    /// Another node gives its events from now on.
    moved: AtomicBool,
    pub(super) troubles: Troubles,
    /// What is known of what comes behind its cursor.
    pub(super) ahead: lag::Looked,
    places: Arc<Places>,
    keeper: Keeper,
}

impl Named {
    pub(super) fn new(name: &str, kept: Kept, keeper: &Keeper) -> Arc<Self> {
        let parked = kept.parked.into_iter().map(|(position, (at, attempts, reason))| (position, at, attempts, reason));
        Arc::new(Self {
            name: name.to_owned(),
            number: kept.number,
            created_at: kept.at,
            state: Mutex::new(Durable::new(kept.settings, kept.done, parked.collect()).parking(keeper.parked_max())),
            consumers: Mutex::default(),
            changed: Notify::new(),
            progressed: watch::Sender::new(0),
            asked: AtomicU64::new(0),
            looked: watch::Sender::new(Looked::default()),
            deleted: AtomicBool::new(false),
            deleting: tokio::sync::Mutex::default(),
            moved: AtomicBool::new(false),
            troubles: Troubles::default(),
            ahead: lag::Looked::default(),
            places: Arc::default(),
            keeper: keeper.clone(),
        })
    }

    pub(super) fn settings(&self) -> Settings {
        self.state.lock().settings.clone()
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::SeqCst)
    }

    /// Why nothing more is given, if so.
    pub(super) fn ended(&self) -> Option<Ended> {
        if self.is_deleted() {
            return Some(Ended::Deleted);
        }
        let moved = Ended::Interrupted("another node gives its events by now: come again");
        self.moved.load(Ordering::SeqCst).then_some(moved)
    }

    /// It is there no more: its consumers end.
    pub(super) fn deleted(&self) {
        self.end_all(&self.deleted);
    }

    /// Another node gives its events by now: its consumers end.
    pub(super) fn moved(&self) {
        self.end_all(&self.moved);
    }

    fn end_all(&self, why: &AtomicBool) {
        why.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
        self.progressed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A consumer comes. `true`: nobody gives events to any yet, and somebody shall from now on.
    pub(super) fn admit(&self, consumer: u64, queue: &Arc<Queue>, encode: &Encode) -> Result<bool, NodeError> {
        let mut consumers = self.consumers.lock();
        if consumers.queues.len() >= limits::CONSUMERS_MAX {
            return Err(NodeError::Overloaded("too many consumers share this subscription: end one first"));
        }
        consumers.queues.insert(consumer, Arc::clone(queue));
        consumers.encode.get_or_insert_with(|| Arc::clone(encode));
        let starts = !std::mem::replace(&mut consumers.dispatching, true);
        drop(consumers);
        self.state.lock().join(consumer);
        Ok(starts)
    }

    pub(super) fn encode(&self) -> Option<Encode> {
        self.consumers.lock().encode.clone()
    }

    pub(super) fn progressed(&self) -> watch::Receiver<u64> {
        self.progressed.subscribe()
    }

    /// Hands an event over; whether the consumer's connection is full by it.
    pub(super) fn deliver(&self, consumer: u64, delivery: Delivery) -> bool {
        let queue = self.consumers.lock().queues.get(&consumer).cloned();
        queue.is_some_and(|queue| queue.push(delivery))
    }

    /// A consumer took what waited for it.
    pub(super) fn has_room(&self, consumer: u64, queue: &Queue) {
        let mut state = self.state.lock();
        if queue.failure().is_none() {
            state.set_full(consumer, false);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Its events cannot be read: consumers end behind what they were given, and the next one that comes has it read again.
    pub(super) fn fail(&self, unread: Unread) {
        self.keep();
        let error = self.troubles.met(&self.name, unread);
        let mut state = self.state.lock();
        let mut consumers = self.consumers.lock();
        consumers.dispatching = false;
        for (consumer, queue) in &consumers.queues {
            state.set_full(*consumer, true);
            queue.fail(&error);
        }
    }

    /// A consumer asks whether anything is left: the number of its question, and where the answer comes.
    pub(super) fn ask(&self) -> (u64, watch::Receiver<Looked>) {
        let looked = self.looked.subscribe();
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.changed.notify_waiters();
        (number, looked)
    }

    /// The number of the last question.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// What was found of everything that had been asked by then.
    pub(super) fn answer(&self, looked: Looked) {
        self.looked.send_if_modified(|last| std::mem::replace(last, looked) != looked);
    }

    /// A consumer goes. Of a node that stops, or cannot read on, nothing counts as failed, and of others nothing that its connection has not taken.
    pub(super) fn leave(&self, consumer: u64, stopping: bool) {
        let mut state = self.state.lock();
        // who is given something holds the state, so nothing comes to the queue from here on
        let queue = self.consumers.lock().queues.remove(&consumer);
        if !stopping {
            let is_dismissed = queue.as_ref().is_some_and(|queue| queue.failure().is_some());
            let (untaken, now) = (queue.map(|queue| queue.untaken()).unwrap_or_default(), clock::now());
            state.take_back(consumer, untaken, now);
            if is_dismissed {
                state.dismiss(consumer, now);
            } else {
                state.leave(consumer, now);
            }
        }
        drop(state);
        self.progressed.send_modify(|count| *count = count.wrapping_add(1));
        self.changed.notify_waiters();
    }

    /// Nobody is to be given anything more.
    pub(super) fn is_over(&self, feed: &Feed) -> bool {
        self.is_over_for(feed, &self.consumers.lock())
    }

    fn is_over_for(&self, feed: &Feed, consumers: &Consumers) -> bool {
        feed.is_closing() || self.ended().is_some() || consumers.queues.is_empty()
    }

    /// Whether the dispatcher is not needed any more; it is not dispatching then.
    pub(super) fn ends(&self, feed: &Feed) -> bool {
        let mut consumers = self.consumers.lock();
        let ends = self.is_over_for(feed, &consumers);
        if ends {
            consumers.dispatching = false;
            drop(consumers);
            self.keep();
        }
        ends
    }

    /// Puts what changed to the file; nobody waits for it.
    pub(super) fn keep(&self) {
        drop(self.push(&mut self.state.lock()));
    }

    /// Under the state's lock, so that changes go to the file in their order.
    fn push(&self, state: &mut Durable) -> Ticket {
        let changes = state.take_changes();
        if !changes.is_empty() {
            self.progressed.send_modify(|count| *count = count.wrapping_add(1));
        }
        self.keeper.push(changes.into_iter().map(|change| Record::Changed(self.number, change)).collect())
    }

    /// Says that it is deleted.
    pub(super) fn forget(&self) -> Ticket {
        self.keeper.push(vec![Record::Deleted(self.number)])
    }

    /// Says all that there is of it, in the place of what was said since it was to be deleted.
    pub(super) fn restate(&self) {
        let mut state = self.state.lock();
        // they are in it
        drop(state.take_changes());
        let parked = state.parked().map(|(position, of)| (position, (of.at, of.attempts, of.reason.clone()))).collect();
        let (number, at, settings, done) = (self.number, self.created_at, state.settings.clone(), state.done());
        let kept = Kept { number, at, settings, done, parked };
        drop(self.keeper.push(kept.records(&self.name).collect()));
        // of what was dropped somebody may wait for a word
        self.progressed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// How long until something is late or due.
    pub(super) fn next_wait(&self, now: Micros) -> Duration {
        let moment = self.state.lock().next_moment();
        let us = moment.map_or(i64::MAX, |moment| moment.0.saturating_sub(now.0).max(0));
        // a little later, so that it is over then
        Duration::from_micros(us.unsigned_abs().saturating_add(1000))
    }

    /// Changes the state by what somebody says; answered when it is on disk.
    pub(super) async fn say<T>(&self, say: impl FnOnce(&mut Durable, Micros) -> T) -> Result<T, NodeError> {
        let (said, ticket) = {
            let mut state = self.state.lock();
            let said = say(&mut state, clock::now());
            (said, self.push(&mut state))
        };
        self.progressed.send_modify(|count| *count = count.wrapping_add(1));
        self.changed.notify_waiters();
        ticket.wait().await.map_err(NodeError::Subscriptions)?;
        Ok(said)
    }

    /// What is known of the places of its parked events.
    pub(super) const fn places(&self) -> &Arc<Places> {
        &self.places
    }

    pub(super) fn status(&self, lag_us: i64) -> NamedStatus {
        let state = self.state.lock();
        let parked = state.parked().map(|(position, parked)| ParkedEvent {
            position,
            at: parked.at,
            attempts: parked.attempts,
            reason: parked.reason.clone(),
            replayed: parked.is_replayed(),
            event: None,
            unread: None,
        });
        NamedStatus {
            name: self.name.clone(),
            created_at: self.created_at,
            settings: state.settings.clone(),
            position: state.done(),
            counts: state.counts(),
            lag_us,
            trouble: self.troubles.now(),
            parked: parked.collect(),
        }
    }
}
