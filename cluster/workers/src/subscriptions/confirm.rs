//! Sync projections: an append of a store whose `projection.mode` is sync is answered when each registered sync subscription has
//! acknowledged its events, or is late. The events are committed in any case.

use super::desk::{Desk, Named};
use std::sync::Arc;
use strandline_event::{Position, StampedBatch};
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
}

impl Desk {
    /// Waits for the sync subscriptions, until `late` at the longest. `is_limited`: nothing is told of those that ask for none of the events.
    pub(crate) async fn confirm(
        &self,
        batches: &[&StampedBatch],
        late: Instant,
        is_limited: bool,
    ) -> Vec<Confirmation> {
        let mut confirmations = Vec::new();
        for named in self.sync() {
            let asked_for = asked_for(&named, batches);
            if is_limited && asked_for.is_empty() {
                continue;
            }
            let state = wait(&named, asked_for, late).await;
            confirmations.push(Confirmation { name: named.name.clone(), state });
        }
        confirmations
    }
}

/// The events that a subscription asks for.
fn asked_for(named: &Named, batches: &[&StampedBatch]) -> Vec<Position> {
    let filter = named.settings().filter;
    let events = batches.iter().flat_map(|batch| batch.iter());
    events.filter(|event| filter.matches(event)).map(|event| event.position()).collect()
}

async fn wait(named: &Arc<Named>, mut open: Vec<Position>, late: Instant) -> ProjectionState {
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
        if gone || timeout_at(late, progressed.changed()).await.is_err() {
            return ProjectionState::TimedOut;
        }
    }
}
