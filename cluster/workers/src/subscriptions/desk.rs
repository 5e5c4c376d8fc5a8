//! The named subscriptions of one store: made, found, deleted, and what consumers say of their events.

use super::consumer::{Consumer, Delivery, Ended, Looked, Queue};
use super::dispatch;
use super::feed::{Closes, Feed};
use super::file::{Outcome, SubscriptionFile, SubscriptionFileError, Ticket};
use super::keeper::Keeper;
use super::lag;
use super::ledger::Ledger;
use super::page::Encode;
use super::places::Places;
use super::told::{NamedStatus, ParkedEvent, SubscriptionWish};
use super::trouble::{Troubles, Unread};
use crate::clock;
use crate::error::NodeError;
use parking_lot::Mutex;
use std::cell::LazyCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use strandline_consensus::control::Control;
use strandline_engine::status;
use strandline_engine::subscribe::durable::{Durable, Settings};
use strandline_engine::subscribe::record::{Folded, Kept, Record};
use strandline_event::{Micros, Position};
use strandline_wal::LeaderId;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// Limits of named subscriptions.
pub mod limits {
    /// Of one store.
    pub const SUBSCRIPTIONS_MAX: usize = 1000;
    /// Consumers of one subscription.
    pub const CONSUMERS_MAX: usize = 256;
    /// Bytes of a name.
    pub const NAME_BYTES_MAX: usize = 200;
    /// Bytes of a reason that an event is parked for.
    pub const REASON_BYTES_MAX: usize = 1024;
    /// Attempts before an event is parked, unless the subscription says another number.
    pub const ATTEMPTS_DEFAULT: u32 = 10;
    /// Parked events whose streams are looked up for one answer.
    pub const PARKED_NAMED_MAX: usize = 100;
    /// Seconds that a consumer may hold an event, unless the subscription says another number.
    pub const ACK_WITHIN_S_DEFAULT: f64 = 30.0;
}

/// Nobody who asks how far a subscription is behind waits longer for what only files know.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

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
    deleting: tokio::sync::Mutex<()>,
    /// Another node gives its events from now on.
    moved: AtomicBool,
    pub(super) troubles: Troubles,
    /// What is known of what comes behind its cursor.
    pub(super) ahead: lag::Looked,
    places: Arc<Places>,
    keeper: Keeper,
}

impl Named {
    fn new(name: &str, kept: Kept, keeper: &Keeper) -> Arc<Self> {
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

    /// Its consumers end.
    fn end_all(&self, why: &AtomicBool) {
        why.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
        self.progressed.send_modify(|count| *count = count.wrapping_add(1));
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

    /// Says all that there is of it, in the place of what was said since it was to be deleted.
    fn restate(&self) {
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
    async fn say<T>(&self, say: impl FnOnce(&mut Durable, Micros) -> T) -> Result<T, NodeError> {
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

    fn status(&self, lag_us: i64) -> NamedStatus {
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

/// The named subscriptions of a store.
pub(crate) struct Desk {
    feed: Arc<Feed>,
    pub(super) all: Mutex<Subscriptions>,
    /// Consumers of this run of the node have numbers from the first one on.
    first_consumer: u64,
    next_consumer: AtomicU64,
    /// What a node had kept while it was alone, before it became a cluster's first member.
    of_alone: Folded,
    /// Held by who looks how far they are behind: whose turn it is.
    looking: Arc<tokio::sync::Mutex<usize>>,
}

pub(super) struct Subscriptions {
    pub(super) named: BTreeMap<String, Arc<Named>>,
    next_number: u32,
    pub(super) keeper: Keeper,
    /// The leadership under which this node keeps them, in a cluster.
    pub(super) office: Option<LeaderId>,
}

impl Subscriptions {
    fn of(folded: Folded, keeper: Keeper, office: Option<LeaderId>) -> Self {
        let next_number = folded.next_number;
        let named =
            folded.all.into_iter().map(|(name, kept)| (name.clone(), Named::new(&name, kept, &keeper))).collect();
        Self { named, next_number, keeper, office }
    }

    fn get(&self, name: &str) -> Result<&Arc<Named>, NodeError> {
        match self.keeper {
            Keeper::Elsewhere => Err(NodeError::NotLeader { leader: None }),
            _ => self.named.get(name).ok_or_else(|| unknown(name)),
        }
    }
}

impl Desk {
    /// The desk of a node alone, over its file.
    pub(crate) fn new(feed: &Arc<Feed>, file: Arc<SubscriptionFile>, folded: Folded) -> Arc<Self> {
        Self::over(feed, Subscriptions::of(folded, Keeper::File(file), None), Folded::default())
    }

    /// That of a node of a cluster: nothing is kept here before it [leads](Self::take_office). `of_alone`: what it kept while it was alone.
    pub(crate) fn of_member(feed: &Arc<Feed>, of_alone: Folded) -> Arc<Self> {
        Self::over(feed, Subscriptions::of(Folded::default(), Keeper::Elsewhere, None), of_alone)
    }

    fn over(feed: &Arc<Feed>, all: Subscriptions, of_alone: Folded) -> Arc<Self> {
        // numbers of two runs of the node must not meet
        let first_consumer = crate::random::nonzero_u64() >> 16;
        let (feed, next_consumer) = (Arc::clone(feed), AtomicU64::new(first_consumer));
        let (all, looking) = (Mutex::new(all), Arc::default());
        Arc::new(Self { feed, all, first_consumer, next_consumer, of_alone, looking })
    }

    /// Of a cluster's store: who closes the logs that other nodes lead.
    pub(crate) fn closes_by(&self, closes: Arc<dyn Closes>) {
        self.feed.closes_by(closes);
    }

    /// Whether they are kept here now.
    pub(crate) fn is_here(&self) -> bool {
        !matches!(self.all.lock().keeper, Keeper::Elsewhere)
    }

    /// The leadership under which they are kept here.
    pub(crate) fn office(&self) -> Option<LeaderId> {
        self.all.lock().office
    }

    /// This node leads: it goes on from what was remembered. Consumers come again.
    ///
    /// # Errors
    /// That cannot be read.
    pub(crate) fn take_office(&self, control: &Control, office: LeaderId) -> Result<(), String> {
        let store = self.feed.store();
        let (ledger, folded) = Ledger::open(control, store.name(), office, store.keys())?;
        let mut folded = folded;
        if ledger.is_new() && !self.of_alone.all.is_empty() {
            let records = self.of_alone.all.iter().flat_map(|(name, kept)| kept.records(name)).collect();
            // nobody waits for it: it goes with the first word otherwise
            drop(ledger.push(records));
            folded = self.of_alone.clone();
        }
        let next = Subscriptions::of(folded, Keeper::Cluster(ledger), Some(office));
        self.end_all(next);
        Ok(())
    }

    /// Another node leads; `office`: this one does, and cannot keep them.
    pub(crate) fn leave_office(&self, office: Option<LeaderId>) {
        self.end_all(Subscriptions::of(Folded::default(), Keeper::Elsewhere, office));
    }

    fn end_all(&self, next: Subscriptions) {
        let before = std::mem::replace(&mut *self.all.lock(), next);
        before.named.values().for_each(|named| named.end_all(&named.moved));
        self.feed.wake_all();
    }

    /// Makes a subscription; the same again is no error. `true`: it is new. One that could not be kept is there nevertheless, and who asks for it again
    /// is answered when it is kept.
    pub(crate) async fn create(&self, name: &str, wish: SubscriptionWish) -> Result<bool, NodeError> {
        self.feed.check()?;
        let (is_new, ticket) = {
            let mut all = self.all.lock();
            if matches!(all.keeper, Keeper::Elsewhere) {
                return Err(NodeError::NotLeader { leader: None });
            }
            if let Some(known) = all.named.get(name) {
                if known.settings() != wish.settings {
                    return Err(NodeError::OtherSubscription { name: name.to_owned() });
                }
                // somebody else may be making it just now
                (false, all.keeper.push(Vec::new()))
            } else {
                if all.named.len() >= limits::SUBSCRIPTIONS_MAX {
                    return Err(NodeError::TooManySubscriptions { limit: limits::SUBSCRIPTIONS_MAX });
                }
                let (number, at) = (all.next_number, clock::now());
                all.next_number += 1;
                let after = wish.after.unwrap_or_else(|| self.feed.end());
                let kept = Kept { number, at, settings: wish.settings, done: after, parked: BTreeMap::new() };
                let records = kept.records(name).collect();
                let named = Named::new(name, kept, &all.keeper);
                all.named.insert(name.to_owned(), named);
                (true, all.keeper.push(records))
            }
        };
        ticket.wait().await.map_err(NodeError::Subscriptions)?;
        Ok(is_new)
    }

    /// Ends a subscription and its consumers, and forgets its position; where that cannot be kept it is there as before.
    pub(crate) async fn delete(self: &Arc<Self>, name: &str) -> Result<(), NodeError> {
        let named = self.named(name)?;
        let (desk, mark) = (Arc::clone(self), self.feed.alive().mark());
        // whoever asked for it may go meanwhile
        let deleting = tokio::spawn(async move {
            let _mark = mark;
            let _turn = named.deleting.lock().await;
            if named.is_deleted() {
                return Err(unknown(&named.name));
            }
            let ticket = named.keeper.push(vec![Record::Deleted(named.number)]);
            desk.deleted(&named, ticket.wait().await)
        });
        deleting.await.unwrap_or(Err(NodeError::OutcomeUnknown))
    }

    fn deleted(&self, named: &Arc<Named>, kept: Outcome) -> Result<(), NodeError> {
        if let Err(error) = kept {
            named.restate();
            return Err(NodeError::Subscriptions(error));
        }
        let mut all = self.all.lock();
        // a leadership may have ended meanwhile
        if all.named.get(&named.name).is_some_and(|known| Arc::ptr_eq(known, named)) {
            all.named.remove(&named.name);
        }
        drop(all);
        named.end_all(&named.deleted);
        self.feed.wake_all();
        Ok(())
    }

    fn named(&self, name: &str) -> Result<Arc<Named>, NodeError> {
        self.all.lock().get(name).cloned()
    }

    /// One subscription.
    pub(crate) async fn status(&self, name: &str) -> Result<NamedStatus, NodeError> {
        let mut told = self.told(vec![self.named(name)?]).await;
        told.pop().ok_or_else(|| unknown(name))
    }

    /// Everything up to here is acknowledged, parked, or not asked for.
    pub(crate) fn position(&self, name: &str) -> Result<Position, NodeError> {
        Ok(self.named(name)?.state.lock().done())
    }

    /// What is known of the places of its parked events.
    pub(super) fn places(&self, name: &str) -> Result<Arc<Places>, NodeError> {
        Ok(Arc::clone(&self.named(name)?.places))
    }

    /// All of them, by name.
    pub(crate) async fn list(&self) -> Vec<NamedStatus> {
        let all = self.all.lock().named.values().cloned().collect();
        self.told(all).await
    }

    async fn told(&self, all: Vec<Arc<Named>>) -> Vec<NamedStatus> {
        let store = self.feed.store();
        let newest = store.closed().newest();
        self.look(&all, newest).await;
        let (now, oldest) = (clock::now(), LazyCell::new(|| status::oldest(store)));
        let lag_us = |named: &Named| lag::lag_us(named, &self.feed, newest, now, || *oldest);
        all.iter().map(|named| named.status(lag_us(named))).collect()
    }

    /// Looks how far they are behind; files that do not answer soon are read on, and not waited for.
    async fn look(&self, all: &[Arc<Named>], newest: Micros) {
        let looking = async {
            let mut turn = Arc::clone(&self.looking).lock_owned().await;
            let (feed, all, mark) = (Arc::clone(&self.feed), all.to_vec(), self.feed.alive().mark());
            let looking = tokio::spawn(async move {
                let _mark = mark;
                lag::look(&feed, &all, newest, &mut turn).await;
            });
            let _ = looking.await;
        };
        let _ = timeout(LOOK_WITHIN, looking).await;
    }

    /// A consumer comes.
    pub(crate) fn consume(&self, name: &str, encode: Encode) -> Result<Consumer, NodeError> {
        self.feed.check()?;
        let named = self.named(name)?;
        let reader = self.feed.reader(named.settings().filter)?;
        let grown = self.feed.grown();
        let number = self.next_consumer.fetch_add(1, Ordering::SeqCst);
        let queue = Arc::new(Queue::default());
        let mut consumers = named.consumers.lock();
        if consumers.queues.len() >= limits::CONSUMERS_MAX {
            return Err(NodeError::Overloaded("too many consumers share this subscription: end one first"));
        }
        consumers.queues.insert(number, Arc::clone(&queue));
        consumers.encode.get_or_insert_with(|| Arc::clone(&encode));
        let starts = !std::mem::replace(&mut consumers.dispatching, true);
        drop(consumers);
        named.state.lock().join(number);
        if starts {
            let (dispatched, mark) = (Arc::clone(&named), self.feed.alive().mark());
            let grown = self.feed.grown();
            tokio::spawn(async move {
                let _mark = mark;
                dispatch::run(dispatched, reader, grown).await;
            });
        } else {
            named.changed.notify_waiters();
        }
        let notices = self.feed.last_notice();
        Ok(Consumer { named, feed: Arc::clone(&self.feed), number, queue, encode, grown, notices })
    }

    /// An event, and what the same consumer was given before, is processed. Gives how many events are acknowledged by it. A consumer that has gone is one too,
    /// and so is one of an earlier run of the node where this run has given the event to nobody: it comes again.
    pub(crate) async fn ack(
        &self,
        name: &str,
        position: Position,
        (consumer, only): (Option<u64>, bool),
    ) -> Result<usize, NodeError> {
        let numbers = self.first_consumer..self.next_consumer.load(Ordering::SeqCst);
        let unknown = consumer.filter(|number| !numbers.contains(number));
        let named = self.named(name)?;
        let said = named.say(|state, now| match unknown {
            Some(number) if state.was_given(position) => Err(number),
            _ => Ok(state.ack(position, consumer, only, now)),
        });
        said.await?.map_err(|number| NodeError::UnknownConsumer { name: name.to_owned(), number })
    }

    /// An event failed: again, later. `false`: nobody holds it.
    pub(crate) async fn retry(&self, name: &str, position: Position, reason: &str) -> Result<bool, NodeError> {
        self.named(name)?.say(|state, now| state.retry(position, reason, now)).await
    }

    /// An event is set aside. `false`: it was never given, or is done.
    pub(crate) async fn park(&self, name: &str, position: Position, reason: &str) -> Result<bool, NodeError> {
        self.named(name)?.say(|state, now| state.park(position, reason, now)).await
    }

    /// Parked events are given again: one, or all; how many.
    pub(crate) async fn replay(&self, name: &str, only: Option<Position>) -> Result<usize, NodeError> {
        self.named(name)?.say(|state, now| state.replay(only, now)).await
    }
}

fn unknown(name: &str) -> NodeError {
    NodeError::UnknownSubscription { name: name.to_owned() }
}

impl From<SubscriptionFileError> for NodeError {
    fn from(error: SubscriptionFileError) -> Self {
        Self::Subscriptions(Arc::new(error))
    }
}
