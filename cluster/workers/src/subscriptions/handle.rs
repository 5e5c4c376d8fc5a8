//! Subscriptions of a store as callers see them.

use super::{Confirmation, Consumer, Encode, EventPlace, Follower, NamedStatus, SubscriptionWish, Waiting};
use crate::error::NodeError;
use crate::store::StoreHandle;
use std::time::Duration;
use strandline_consensus::Leadership;
use strandline_deql::ProjectionMode;
use strandline_engine::read::Filter;
use strandline_engine::subscribe::durable::Mode;
use strandline_event::{Position, StampedBatch};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

impl StoreHandle {
    /// Follows the store behind a position (none: behind what is there now). It sees everything that was acknowledged before. Nothing that
    /// commits from now on is missed; where other logs have appends in flight, what was acknowledged beside these may come too.
    ///
    /// # Errors
    /// The store sends no notifications; too many follow; the node stops; of a cluster's store as [`confirm`](Self::confirm).
    pub async fn follow(&self, filter: Filter, after: Option<Position>) -> Result<Follower, NodeError> {
        self.confirm(None).await?;
        self.follow_here(filter, after)
    }

    /// The same without a look at other nodes: it begins with what this one has, and goes on as more comes here.
    ///
    /// # Errors
    /// The store sends no notifications; too many follow; the node stops; `DamagedLog`.
    pub fn follow_here(&self, filter: Filter, after: Option<Position>) -> Result<Follower, NodeError> {
        self.check_whole(filter.stream_type.as_deref())?;
        Follower::new(&self.parts.feed, filter, after, self.scope.clone())
    }

    /// Makes a named subscription; the same again is no error. `true`: it is new. From the answer on appends wait for one that is sync, at every node of a
    /// cluster but those that are away: they know of it when they are back.
    ///
    /// # Errors
    /// The store sends no notifications; it is there and otherwise; too many; the file; in a cluster `NotLeader`, and of one that is sync that a node does not
    /// know of it in time.
    pub async fn create_subscription(&self, name: &str, wish: SubscriptionWish) -> Result<bool, NodeError> {
        self.check_unlimited()?;
        self.keeps().await?;
        let is_sync = wish.settings.mode == Mode::Sync;
        if let Some(replicas) = &self.parts.replicas {
            // a wish that is refused moves no log
            self.parts.feed.check()?;
            replicas.need_all().await?;
            if is_sync {
                replicas.knows_projections("nothing was made").await?;
            }
            // it begins behind everything that was acknowledged by now
            self.confirm(None).await?;
        }
        let is_new = self.parts.subscriptions.create(name, wish).await?;
        if let Some(replicas) = self.parts.replicas.as_ref().filter(|_| is_sync) {
            replicas.knows_projections("it is made, and not every append waits for it yet").await?;
        }
        Ok(is_new)
    }

    /// Deletes one: its consumers end, its position is forgotten.
    ///
    /// # Errors
    /// There is none of this name; the file.
    pub async fn delete_subscription(&self, name: &str) -> Result<(), NodeError> {
        self.check_unlimited()?;
        self.keeps().await?;
        self.parts.subscriptions.delete(name).await
    }

    /// One subscription.
    ///
    /// # Errors
    /// There is none of this name.
    pub async fn subscription(&self, name: &str) -> Result<NamedStatus, NodeError> {
        self.check_unlimited()?;
        self.keeps_now()?;
        self.parts.subscriptions.status(name).await
    }

    /// Everything up to here of one subscription is acknowledged, parked, or not asked for.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn subscription_position(&self, name: &str) -> Result<Position, NodeError> {
        self.check_unlimited()?;
        self.keeps_now()?;
        self.parts.subscriptions.position(name)
    }

    /// Looks up which events are parked, of the oldest [`PARKED_NAMED_MAX`](super::limits::PARKED_NAMED_MAX), each once. One that retention removed stays a
    /// position; of one that cannot be read now it is told why.
    pub async fn name_parked(&self, status: &mut NamedStatus) {
        // of one that is not here any more nothing is known
        let places = self.parts.subscriptions.places(&status.name).unwrap_or_default();
        let retirements = self.engine().retirements();
        places.fill(retirements, &mut status.parked);
        let oldest = status.parked.iter_mut().take(super::limits::PARKED_NAMED_MAX);
        for parked in oldest.filter(|parked| parked.event.is_none()) {
            let found = match self.event_by_id(parked.position.event_id).await {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(error) => {
                    parked.unread = Some(error.to_string());
                    continue;
                }
            };
            let event = found.event();
            if event.position() == parked.position {
                let (stream_type, stream_id) = (event.stream_type.to_owned(), event.stream_id.to_owned());
                let place = EventPlace { stream_type, stream_id, seq: event.seq };
                places.learn(retirements, parked.position, &place);
                parked.event = Some(place);
            }
        }
    }

    /// All subscriptions, by name; none for a caller that is limited to tenants.
    ///
    /// # Errors
    /// Another node of the cluster keeps them.
    pub async fn subscriptions(&self) -> Result<Vec<NamedStatus>, NodeError> {
        if self.is_limited() {
            return Ok(Vec::new());
        }
        self.keeps_now()?;
        Ok(self.parts.subscriptions.list().await)
    }

    /// Errors: another node of the cluster keeps them.
    fn keeps_now(&self) -> Result<(), NodeError> {
        match &self.parts.replicas {
            Some(replicas) if !self.parts.subscriptions.is_here() => Err(replicas.led_elsewhere()),
            _ => Ok(()),
        }
    }

    /// The same; a node that was just elected is about to keep them.
    async fn keeps(&self) -> Result<(), NodeError> {
        match &self.parts.replicas {
            Some(replicas) => replicas.keeps_subscriptions().await,
            None => Ok(()),
        }
    }

    /// One more consumer of a subscription; its events come encoded.
    ///
    /// # Errors
    /// There is none of this name; the store sends no notifications; too many consumers; the node stops; `Fenced`.
    pub fn consume(&self, name: &str, encode: Encode) -> Result<Consumer, NodeError> {
        self.check_unlimited()?;
        self.check_owned()?;
        self.keeps_now()?;
        self.parts.subscriptions.consume(name, encode)
    }

    /// An event was processed, and, unless `only`, what the same consumer was given before it. Gives how many events it settles.
    ///
    /// # Errors
    /// There is no such subscription; nobody was ever a consumer of this number; the file.
    pub async fn ack(&self, name: &str, at: Position, consumer: Option<u64>, only: bool) -> Result<usize, NodeError> {
        self.check_unlimited()?;
        self.keeps().await?;
        self.parts.subscriptions.ack(name, at, (consumer, only)).await
    }

    /// An event could not be processed: it is given again later. `false`: nobody holds it.
    ///
    /// # Errors
    /// There is no such subscription; the file.
    pub async fn retry(&self, name: &str, at: Position, reason: &str) -> Result<bool, NodeError> {
        self.check_unlimited()?;
        self.keeps().await?;
        self.parts.subscriptions.retry(name, at, reason).await
    }

    /// An event is set aside. `false`: nobody was given it, or it is done.
    ///
    /// # Errors
    /// There is no such subscription; the file.
    pub async fn park(&self, name: &str, at: Position, reason: &str) -> Result<bool, NodeError> {
        self.check_unlimited()?;
        self.keeps().await?;
        self.parts.subscriptions.park(name, at, reason).await
    }

    /// Parked events are given again: one, or all; how many.
    ///
    /// # Errors
    /// There is no such subscription; the file.
    pub async fn replay(&self, name: &str, only: Option<Position>) -> Result<usize, NodeError> {
        self.check_unlimited()?;
        self.keeps().await?;
        self.parts.subscriptions.replay(name, only).await
    }

    /// Whether appends wait for sync subscriptions.
    #[must_use]
    pub fn waits_for_projections(&self) -> bool {
        self.config().projection.mode == ProjectionMode::Sync
    }

    /// Waits for the sync subscriptions, where `projection.mode` is sync; `None`: it is not. Who is limited to tenants is told of those that ask for
    /// some of its events.
    pub async fn confirm_projections(&self, batches: &[&StampedBatch]) -> Option<Vec<Confirmation>> {
        if batches.is_empty() { None } else { self.confirm_projections_here(batches).await }
    }

    /// The same of what this node has stored of a body, nothing perhaps, while other nodes store more of it (see [`Confirmation::beside`]).
    pub async fn confirm_projections_here(&self, batches: &[&StampedBatch]) -> Option<Vec<Confirmation>> {
        if !self.waits_for_projections() {
            return None;
        }
        let late = watch::Sender::new(false);
        let confirming = self.confirmed(Waiting { batches, late: &late, is_limited: self.is_limited() });
        tokio::pin!(confirming);
        tokio::select! {
            biased;
            said = &mut confirming => return said,
            _ = timeout(self.node.projection_timeout(), self.until_hurried(batches)) => {}
        }
        late.send_replace(true);
        confirming.await
    }

    async fn confirmed(&self, waiting: Waiting<'_>) -> Option<Vec<Confirmation>> {
        match (self.parts.subscriptions.confirm(waiting).await, &self.parts.replicas) {
            (None, Some(replicas)) => Some(replicas.confirm_projections(waiting).await),
            (said, _) => said,
        }
    }

    /// Ends when the answer to an append is to come soon or not at all: this node stops, or leads a log no more in which some of it was stored, and whoever
    /// has sent it here gives this node up.
    async fn until_hurried(&self, batches: &[&StampedBatch]) {
        let groups = self.parts.replicas.as_ref().map(|replicas| replicas.groups_of(batches));
        let are_led = || groups.iter().flatten().all(|group| group.leadership() == Leadership::Leads);
        while !self.parts.feed.is_closing() && are_led() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Followers are told of a dry run that was judged with yes, where the store says so.
    pub(crate) fn notify_inspected(&self, batch: &StampedBatch) {
        // what is sealed nobody could read: there is no place that opens it
        if self.config().projection.notify_on_inspect && self.erasable(batch.view().stream_type()).is_none() {
            self.parts.feed.inspected(batch);
        }
    }
}

/// Time that sync projections get, unless the operator says another.
pub(crate) const PROJECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// How often an append that waits for projections looks whether it still may.
const LOOK_EVERY: Duration = Duration::from_millis(100);
