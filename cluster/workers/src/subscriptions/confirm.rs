//! Sync projections: an append of a store whose `projection.mode` is sync is answered when each registered sync subscription has
//! acknowledged its events, or is late. The events are committed in any case.
//!
//! ```text
//!  an append that is answered here ── the node keeps the subscriptions ──> confirm: waits at each of them
//!        └─ another one does ──> replicas/projections.rs: asks it how far they are ──> progress, there
//! ```
//!
//! An answer to another node is about a subscription, not about an append: how far it is. So it stays small and is the same for all that wait there.

use super::desk::Desk;
use super::keeper::Keeper;
use super::named::Named;
use std::sync::Arc;
use strandline_consensus::control::{HELD, Progress, Seen};
use strandline_consensus::stop::told;
use strandline_engine::read::Filter;
use strandline_engine::subscribe::durable::Mode;
use strandline_event::{Position, StampedBatch};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// What a projection has done with an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProjectionState {
    /// It has acknowledged every event of it that it asks for.
    Confirmed,
    /// It has not in time, or nobody is connected for it.
    TimedOut,
}

/// The word of one projection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Confirmation {
    /// Name of the subscription.
    pub name: String,
    /// Its word.
    pub state: ProjectionState,
    /// Its word on what was stored here, where other nodes have stored events too that it may ask for: their word is not told here, so it has timed out.
    pub here: Option<ProjectionState>,
    /// The one stream type whose events it asks for; none: any of them.
    stream_type: Option<String>,
}

impl Confirmation {
    /// The word of a projection with this filter.
    pub(crate) fn new(name: &str, filter: &Filter, state: ProjectionState) -> Self {
        let stream_type = filter.stream_type.as_deref().map(str::to_owned);
        Self { name: name.to_owned(), state, here: None, stream_type }
    }

    /// The same of a body of which other nodes have stored events of these stream types.
    #[must_use]
    pub fn beside(self, elsewhere: &[&str]) -> Self {
        let asks = |other: &&str| self.stream_type.as_deref().is_none_or(|name| name == *other);
        match elsewhere.iter().any(asks) {
            true => Self { here: Some(self.state), state: ProjectionState::TimedOut, ..self },
            false => self,
        }
    }
}

/// An append that waits for projections.
#[derive(Clone, Copy)]
pub(crate) struct Waiting<'a> {
    /// What was stored here.
    pub(crate) batches: &'a [&'a StampedBatch],
    /// Says that nobody is waited for any more: who has not acknowledged everything by then has timed out.
    pub(crate) late: &'a watch::Sender<bool>,
    /// The caller is told nothing of projections that ask for none of the events.
    pub(crate) is_limited: bool,
}

impl Waiting<'_> {
    /// What comes, unless it is late.
    pub(crate) async fn in_time<T>(&self, comes: impl Future<Output = T>) -> Option<T> {
        let mut late = self.late.subscribe();
        tokio::select! {
            biased;
            () = told(&mut late) => None,
            came = comes => Some(came),
        }
    }

    /// The events of which a subscription with this filter is asked; `None`: nothing is told of it.
    pub(crate) fn asks(&self, filter: &Filter) -> Option<Vec<Position>> {
        let events = self.batches.iter().flat_map(|batch| batch.iter());
        let open: Vec<Position> = events.filter(|event| filter.matches(event)).map(|event| event.position()).collect();
        (!self.is_limited || !open.is_empty()).then_some(open)
    }
}

impl Desk {
    /// Waits for the sync subscriptions; `None`: another node keeps them.
    pub(crate) async fn confirm(&self, waiting: Waiting<'_>) -> Option<Vec<Confirmation>> {
        let mut confirmations = Vec::new();
        for named in self.sync()? {
            let filter = named.settings().filter;
            let Some(open) = waiting.asks(&filter) else { continue };
            let state = wait(&named, open, waiting).await;
            confirmations.push(Confirmation::new(&named.name, &filter, state));
        }
        Some(confirmations)
    }

    /// Those that appends wait for; `None`: another node keeps them.
    fn sync(&self) -> Option<Vec<Arc<Named>>> {
        let all = self.all.lock();
        if matches!(all.keeper, Keeper::Elsewhere) {
            return None;
        }
        Some(all.named.values().filter(|named| named.is_sync()).cloned().collect())
    }

    /// How far a sync subscription is, for another node: when that is not as it was seen there, nobody is connected for it, or a moment later. `None`:
    /// there is none of this name.
    ///
    /// # Errors
    /// Another node keeps them.
    pub(crate) async fn progress(&self, name: &str, seen: Seen) -> Result<Option<Progress>, String> {
        let elsewhere = || "another node keeps the named subscriptions by now".to_owned();
        let (found, office) = {
            let all = self.all.lock();
            let is_here = !matches!(all.keeper, Keeper::Elsewhere);
            (all.named.get(name).cloned(), all.office.filter(|_| is_here))
        };
        let office = office.ok_or_else(elsewhere)?;
        let Some(named) = found.filter(|named| named.is_sync()) else { return Ok(None) };
        let until = Instant::now() + HELD;
        let mut progressed = named.progressed();
        loop {
            // what changes from here on is another state
            let changes = *progressed.borrow_and_update();
            if named.is_deleted() {
                return Ok(None);
            }
            if named.ended().is_some() {
                return Err(elsewhere());
            }
            let progress = named.progress(Seen { office, made_at: named.created_at, changes });
            let is_told = progress.seen != seen || !progress.has_consumers;
            if is_told || timeout_at(until, progressed.changed()).await.is_err() {
                return Ok(Some(progress));
            }
        }
    }
}

impl Named {
    fn is_sync(&self) -> bool {
        self.state.lock().settings.mode == Mode::Sync
    }

    fn progress(&self, seen: Seen) -> Progress {
        let state = self.state.lock();
        Progress {
            seen,
            has_consumers: state.counts().consumers > 0,
            done: state.done(),
            acknowledged: state.acknowledged().collect(),
            parked: state.parked().map(|(position, _)| position).collect(),
        }
    }
}

async fn wait(named: &Arc<Named>, mut open: Vec<Position>, waiting: Waiting<'_>) -> ProjectionState {
    let mut progressed = named.progressed();
    loop {
        progressed.borrow_and_update();
        let has_consumers = {
            let state = named.state.lock();
            open.retain(|position| !state.has_confirmed(*position));
            state.counts().consumers > 0
        };
        if open.is_empty() {
            return ProjectionState::Confirmed;
        }
        let gone = !has_consumers || named.ended().is_some();
        if gone || waiting.in_time(progressed.changed()).await.is_none() {
            return ProjectionState::TimedOut;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_events_that_another_node_has_stored_nothing_is_known_and_of_those_that_are_here_it_is_told() {
        let (confirmed, timed_out) = (ProjectionState::Confirmed, ProjectionState::TimedOut);
        let of = |stream_type: Option<&str>, elsewhere: &[&str]| {
            let filter = Filter { stream_type: stream_type.map(Into::into), ..Filter::default() };
            let told = Confirmation::new("s", &filter, confirmed).beside(elsewhere);
            (told.state, told.here)
        };
        assert_eq!(of(None, &[]), (confirmed, None));
        assert_eq!(of(Some("Call"), &["Order"]), (confirmed, None), "it asks for none of them");
        assert_eq!(of(None, &["Order"]), (timed_out, Some(confirmed)));
        assert_eq!(of(Some("Order"), &["Call", "Order"]), (timed_out, Some(confirmed)));
    }
}
