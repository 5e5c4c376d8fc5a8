//! Appends to streams that come together: one message to each owner, one wake-up when all are answered.
//!
//! ```text
//!  appends -> by stream type -> AppendTogether -> WalWorker: judged one by one, one group -> answers in one list
//!      |  client-given event ids, a stream type without a log, what an owner must know first
//!      +-> one by one, as an append that came alone
//! ```
//!
//! Each is atomic and judged on its own; they share nothing but the way.

use crate::append::{AppendReply, not_taken};
use crate::error::NodeError;
use crate::messages::AppendTogether;
use crate::permits::BytePermit;
use crate::store::{AppendedEvent, StoreHandle};
use crate::wal_worker::WalWorker;
use actix::Addr;
use actix::prelude::SendError;
use futures_util::future::join_all;
use std::sync::Arc;
use strandline_engine::append::{Answer, AppendOutcome, AppendRequest, Expected, OnError, ids_to_check};
use strandline_event::{BatchBytes, StampedBatch};

/// Appends of one request that go one by one at the same time: all of them would fill an owner's mailbox by themselves.
const ALONE_AT_A_TIME: usize = 64;

/// One append to one stream.
#[derive(Clone, Debug)]
pub struct StreamAppend {
    /// The events.
    pub batch: BatchBytes,
    /// Where the stream must stand.
    pub expected: Expected,
}

/// What became of it.
#[derive(Debug)]
pub enum StreamOutcome {
    /// It is stored (or, of a dry run, could be).
    Stored(StampedBatch),
    /// It was stored before: the first answer again.
    Known(Vec<AppendedEvent>),
}

type Outcome = Result<StreamOutcome, NodeError>;

/// Appends of one stream type, by their places in the request.
struct Group {
    owner: Addr<WalWorker>,
    places: Vec<usize>,
}

impl StoreHandle {
    /// Appends to streams, each on its own. The answers are in the order of the appends.
    pub async fn append_many(
        &self,
        appends: &[StreamAppend],
        inspect: bool,
        permit: &Arc<BytePermit>,
    ) -> Vec<Result<StreamOutcome, NodeError>> {
        if self.parts.store.subjects().is_none() {
            return self.append_as_stored(appends, inspect, permit).await;
        }
        let mut outcomes: Vec<Option<Outcome>> = appends.iter().map(|_| None).collect();
        let (mut places, mut sealed) = (Vec::new(), Vec::new());
        for (place, append) in appends.iter().enumerate() {
            match self.sealed(append.batch.clone()).await {
                Ok(batch) => {
                    places.push(place);
                    sealed.push(StreamAppend { batch, expected: append.expected });
                }
                Err(error) => put(&mut outcomes, place, Err(error)),
            }
        }
        for (place, outcome) in places.into_iter().zip(self.append_as_stored(&sealed, inspect, permit).await) {
            put(&mut outcomes, place, outcome);
        }
        outcomes.into_iter().map(|outcome| outcome.unwrap_or(Err(NodeError::OutcomeUnknown))).collect()
    }

    async fn append_as_stored(
        &self,
        appends: &[StreamAppend],
        inspect: bool,
        permit: &Arc<BytePermit>,
    ) -> Vec<Result<StreamOutcome, NodeError>> {
        let mut outcomes: Vec<Option<Outcome>> = appends.iter().map(|_| None).collect();
        let (groups, mut alone) = self.groups(appends);
        let sent: Vec<_> =
            groups.into_iter().map(|group| self.send_together(appends, group, inspect, permit)).collect();
        for sending in join_all(sent).await {
            for (place, answer) in sending {
                match answer {
                    Some(outcome) => put(&mut outcomes, place, outcome),
                    None => alone.push(place),
                }
            }
        }
        let one = |place: usize| async move {
            let Some(append) = appends.get(place) else { return (place, Err(NodeError::Defect)) };
            (place, self.append_alone(append, inspect, permit).await)
        };
        for some in alone.chunks(ALONE_AT_A_TIME) {
            for (place, outcome) in join_all(some.iter().copied().map(one)).await {
                put(&mut outcomes, place, outcome);
            }
        }
        outcomes.into_iter().map(|outcome| outcome.unwrap_or(Err(NodeError::OutcomeUnknown))).collect()
    }

    /// One group a stream type that has an owner, and those that go one by one.
    fn groups(&self, appends: &[StreamAppend]) -> (Vec<Group>, Vec<usize>) {
        let mut groups: Vec<(&str, Group)> = Vec::new();
        let mut alone = Vec::new();
        for (place, append) in appends.iter().enumerate() {
            let view = append.batch.view();
            if ids_to_check(view).next().is_some() {
                alone.push(place);
                continue;
            }
            let stream_type = view.stream_type();
            // few types at a time: the last one is mostly the right one
            if let Some((_, group)) = groups.iter_mut().rev().find(|(known, _)| *known == stream_type) {
                group.places.push(place);
            } else if let Ok(Some(owner)) = self.serving_owner(stream_type) {
                groups.push((stream_type, Group { owner, places: vec![place] }));
            } else {
                alone.push(place);
            }
        }
        (groups.into_iter().map(|(_, group)| group).collect(), alone)
    }

    /// `None` in a place: its owner must know something first.
    async fn send_together(
        &self,
        appends: &[StreamAppend],
        group: Group,
        inspect: bool,
        permit: &Arc<BytePermit>,
    ) -> Vec<(usize, Option<Outcome>)> {
        let (replies, answered) = AppendReply::several(group.places.len(), permit);
        let Group { owner, places } = group;
        let appends: Vec<&StreamAppend> = places.iter().filter_map(|place| appends.get(*place)).collect();
        let request = |append: &&StreamAppend| {
            let mut request = AppendRequest::new(append.batch.clone());
            request.expected = append.expected;
            request.inspect = inspect;
            request.tenants.clone_from(&self.scope);
            request
        };
        let requests: Vec<_> = appends.iter().map(request).zip(replies).collect();
        if let Err(refused) = owner.try_send(AppendTogether { requests }) {
            if matches!(refused, SendError::Full(_)) {
                self.node.shared.metrics.overloaded.add(1);
            }
            return places.into_iter().map(|place| (place, Some(Err(not_taken(&refused))))).collect();
        }
        let answers = answered.await.unwrap_or_default();
        let mut outcomes = Vec::with_capacity(answers.len());
        for ((place, append), answer) in places.into_iter().zip(appends).zip(answers) {
            let outcome = match answer {
                None => Some(Err(NodeError::OutcomeUnknown)),
                Some(Err(error)) => Some(Err(error)),
                Some(Ok(Answer::Refused(refusal))) => Some(Err(self.with_leader(NodeError::Refused(*refusal)))),
                Some(Ok(Answer::Again(_))) => None,
                Some(Ok(Answer::Done(outcome))) => Some(self.stream_outcome(append, *outcome, inspect).await),
            };
            outcomes.push((place, outcome));
        }
        outcomes
    }

    async fn append_alone(&self, append: &StreamAppend, inspect: bool, permit: &Arc<BytePermit>) -> Outcome {
        let (batch, permit) = (append.batch.clone(), Arc::clone(permit));
        let outcome = self.submit(batch, append.expected, OnError::Abort, inspect, permit).await?;
        self.stream_outcome(append, outcome, inspect).await
    }

    async fn stream_outcome(&self, append: &StreamAppend, outcome: AppendOutcome, inspect: bool) -> Outcome {
        if let Some(stamped) = outcome.stamped {
            if inspect {
                self.notify_inspected(&stamped);
            }
            return Ok(StreamOutcome::Stored(stamped));
        }
        let known = self.stream_answer(&append.batch, outcome).await?;
        Ok(StreamOutcome::Known(known.events))
    }
}

fn put(outcomes: &mut [Option<Outcome>], place: usize, outcome: Outcome) {
    if let Some(slot) = outcomes.get_mut(place) {
        *slot = Some(outcome);
    }
}
