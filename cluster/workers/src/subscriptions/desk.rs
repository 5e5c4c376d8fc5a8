//! The named subscriptions of one store: made, found, deleted, and what consumers say of their events.

use super::consumer::{Consumer, Queue};
use super::dispatch;
use super::feed::{Closes, Feed};
use super::file::{Outcome, SubscriptionFile, SubscriptionFileError};
use super::keeper::Keeper;
use super::lag;
use super::ledger::Ledger;
use super::named::Named;
use super::page::Encode;
use super::places::Places;
use super::told::{NamedStatus, SubscriptionWish};
use crate::clock;
use crate::error::NodeError;
use parking_lot::Mutex;
use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use strandline_consensus::control::Control;
use strandline_engine::status;
use strandline_engine::subscribe::record::{Folded, Kept};
use strandline_event::{Micros, Position};
use strandline_wal::LeaderId;
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
        before.named.values().for_each(|named| named.moved());
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
            let ticket = named.forget();
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
        named.deleted();
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
        Ok(Arc::clone(self.named(name)?.places()))
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
        if named.admit(number, &queue, &encode)? {
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
