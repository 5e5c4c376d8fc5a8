//! Appends to streams that come together: one message to each owner, one wake-up when all are answered.
//!
//! ```text
//!  appends -> by log -> AppendTogether -> WalWorker: judged one by one, one group -> answers in one list
//!      |  client-given event ids, a log that is not there yet, what an owner must know first
//!      +-> one by one, as an append that came alone
//! ```
//!
//! Each is atomic and judged on its own; they share nothing but the way.

use crate::answers::AnswerList;
use crate::append::{AppendReply, not_taken};
use crate::error::NodeError;
use crate::messages::AppendTogether;
use crate::permits::BytePermit;
use crate::sealing::of_erased;
use crate::store::{AppendedEvent, StoreHandle};
use crate::wal_worker::WalWorker;
use actix::Addr;
use actix::prelude::SendError;
use futures_util::future::join_all;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use strandline_engine::append::{Answer, AppendOutcome, AppendRequest, Expected, OnError, ids_to_check};
use strandline_event::{BatchBytes, LogKey, StampedBatch, bucket_of_stream};
use tokio::sync::oneshot;

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

/// What became of one, or why nothing did.
pub type Outcome = Result<StreamOutcome, NodeError>;

/// What an owner's answer says.
pub(crate) enum Said {
    /// All of it.
    Final(Outcome),
    /// It was stored before: the first answer must be read.
    Known(AppendOutcome),
    /// The owner must know something first.
    Again,
}

/// Appends of one log, by their places in the request.
struct Group {
    owner: Addr<WalWorker>,
    places: Vec<usize>,
    /// It takes what is sealed only.
    is_erasable: bool,
}

impl StoreHandle {
    /// Appends to streams, each on its own. The answers are in the order of the appends.
    pub async fn append_many(&self, appends: &[StreamAppend], inspect: bool, permit: &Arc<BytePermit>) -> Vec<Outcome> {
        if !self.is_limited() {
            return self.append_own(appends, inspect, permit).await;
        }
        let own = |append: &StreamAppend| {
            let StreamAppend { batch, expected } = append.clone();
            self.own(batch).map(|batch| StreamAppend { batch, expected })
        };
        match appends.iter().map(own).collect::<Result<Vec<_>, _>>() {
            Ok(own) => self.append_own(&own, inspect, permit).await,
            // no batch that was checked ends here
            Err(_) => appends.iter().map(|_| Err(NodeError::Defect)).collect(),
        }
    }

    async fn append_own(&self, appends: &[StreamAppend], inspect: bool, permit: &Arc<BytePermit>) -> Vec<Outcome> {
        let _appending = self.appending().await;
        if !appends.iter().any(|append| self.erasable(append.batch.view().stream_type()).is_some()) {
            return self.append_as_stored(appends, inspect, permit).await;
        }
        let mut outcomes: Vec<Option<Outcome>> = appends.iter().map(|_| None).collect();
        let mut waiting: Vec<usize> = (0..appends.len()).collect();
        while !waiting.is_empty() {
            waiting = self.append_round(appends, waiting, inspect, permit, &mut outcomes).await;
        }
        all(outcomes)
    }

    /// Sends what can be sent. What waits behind an append to its stream that is judged first, since its subject is new, is given back.
    async fn append_round(
        &self,
        appends: &[StreamAppend],
        waiting: Vec<usize>,
        inspect: bool,
        permit: &Arc<BytePermit>,
        outcomes: &mut [Option<Outcome>],
    ) -> Vec<usize> {
        let (mut ready, mut new, mut later) = (Vec::new(), Vec::new(), Vec::new());
        let mut judged_first: HashSet<(&str, &str)> = HashSet::new();
        for place in waiting {
            let Some(append) = appends.get(place) else { continue };
            let view = append.batch.view();
            let mut streams = (0..view.stream_count()).map(|stream| (view.stream_type(), view.stream(stream)));
            if streams.any(|stream| judged_first.contains(&stream)) {
                later.push(place);
                continue;
            }
            match self.trial(&append.batch).await {
                Err(error) => put(outcomes, place, Err(error)),
                Ok(None) => ready.push((place, append.batch.clone())),
                Ok(Some(trial)) if trial.is_final => ready.push((place, trial.batch)),
                Ok(Some(trial)) => {
                    judged_first
                        .extend((0..view.stream_count()).map(|stream| (view.stream_type(), view.stream(stream))));
                    new.push((place, trial));
                }
            }
        }
        let with = |place: usize, batch: &BatchBytes| {
            appends.get(place).map(|append| StreamAppend { batch: batch.clone(), expected: append.expected })
        };
        let tried: Vec<StreamAppend> = new.iter().filter_map(|(place, trial)| with(*place, &trial.batch)).collect();
        let judged = self.append_as_stored(&tried, true, permit).await;
        for ((place, trial), judged) in new.into_iter().zip(judged) {
            match (judged, trial.erased, appends.get(place)) {
                (Err(error), erased, _) => put(outcomes, place, Err(of_erased(error, erased))),
                (Ok(_), Some(erased), _) => put(outcomes, place, Err(erased.into())),
                (Ok(outcome), None, _) if inspect => put(outcomes, place, Ok(outcome)),
                (Ok(_), None, Some(append)) => match self.seal(append.batch.clone()).await {
                    Ok(batch) => ready.push((place, batch)),
                    Err(error) => put(outcomes, place, Err(error)),
                },
                (Ok(_), None, None) => {}
            }
        }
        // in the order of the request: that of their streams
        ready.sort_unstable_by_key(|(place, _)| *place);
        let sealed: Vec<StreamAppend> = ready.iter().filter_map(|(place, batch)| with(*place, batch)).collect();
        let stored = self.append_as_stored(&sealed, inspect, permit).await;
        for ((place, _), outcome) in ready.into_iter().zip(stored) {
            put(outcomes, place, outcome);
        }
        later
    }

    async fn append_as_stored(
        &self,
        appends: &[StreamAppend],
        inspect: bool,
        permit: &Arc<BytePermit>,
    ) -> Vec<Outcome> {
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
        if !inspect {
            self.refuse_new_types(appends, &mut alone, &mut outcomes);
        }
        self.append_each_alone(appends, &alone, inspect, permit, &mut outcomes).await;
        all(outcomes)
    }

    /// Appends some of them one by one, at the same time.
    pub(crate) async fn append_each_alone(
        &self,
        appends: &[StreamAppend],
        places: &[usize],
        inspect: bool,
        permit: &Arc<BytePermit>,
        outcomes: &mut [Option<Outcome>],
    ) {
        let one = |place: usize| async move {
            let Some(append) = appends.get(place) else { return (place, Err(NodeError::Defect)) };
            (place, self.append_alone(append, inspect, permit).await)
        };
        for some in places.chunks(ALONE_AT_A_TIME) {
            for (place, outcome) in join_all(some.iter().copied().map(one)).await {
                put(outcomes, place, outcome);
            }
        }
    }

    /// Refuses what would make too many logs, before any of them is made; the rest goes on.
    fn refuse_new_types(&self, appends: &[StreamAppend], alone: &mut Vec<usize>, outcomes: &mut [Option<Outcome>]) {
        let log_of = |place: usize| self.parts.store.owner_of_batch(appends.get(place)?.batch.view());
        let logs: BTreeSet<LogKey> = alone.iter().filter_map(|place| log_of(*place)).collect();
        let new: BTreeSet<LogKey> = logs.into_iter().filter(|log| self.is_new_log(log)).collect();
        let Err(refused) = self.check_new_logs(&new) else { return };
        // looked at once: a frame brings thousands of them
        let again = || match &refused {
            NodeError::TooManyNewTypes { found, limit } => NodeError::TooManyNewTypes { found: *found, limit: *limit },
            NodeError::TooManyStreamTypes { store, limit } => {
                NodeError::TooManyStreamTypes { store: store.clone(), limit: *limit }
            }
            _ => NodeError::NoDescriptors { limit: self.node.shared.descriptors.limit() },
        };
        alone.retain(|place| {
            let is_new = log_of(*place).is_some_and(|log| new.contains(&log));
            if is_new {
                put(outcomes, *place, Err(again()));
            }
            !is_new
        });
    }

    /// One group a log that has an owner, and those that go one by one.
    fn groups(&self, appends: &[StreamAppend]) -> (Vec<Group>, Vec<usize>) {
        let mut groups: Vec<((&str, u32), Group)> = Vec::new();
        let mut alone = Vec::new();
        // the number of buckets of the last append's stream type
        let mut split: Option<(&str, u32)> = None;
        for (place, append) in appends.iter().enumerate() {
            let view = append.batch.view();
            let stream_type = view.stream_type();
            if ids_to_check(view).next().is_some() {
                alone.push(place);
                continue;
            }
            let known = split.filter(|(known, _)| *known == stream_type);
            let buckets = known.map_or_else(|| self.parts.store.buckets_of(stream_type), |(_, buckets)| buckets);
            split = Some((stream_type, buckets));
            let log = (stream_type, bucket_of_stream(view.stream(0), buckets));
            // few types at a time: the last one is mostly the right one
            if let Some((_, group)) = groups.iter_mut().rev().find(|(known, _)| *known == log) {
                match group.is_erasable && self.check_sealed(view).is_err() {
                    true => alone.push(place),
                    false => group.places.push(place),
                }
            } else if let Ok((found, Some(owner))) = self.serving_owner(view)
                && found.bucket == log.1
            {
                // from here on the number of buckets is what it will always be, and is looked up again: a log that was looked for by another one is
                // not this
                split = None;
                let is_erasable = self.erasable(stream_type).is_some();
                groups.push((log, Group { owner, places: vec![place], is_erasable }));
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
        let Group { owner, places, .. } = group;
        let appends: Vec<&StreamAppend> = places.iter().filter_map(|place| appends.get(*place)).collect();
        let (done, answered) = oneshot::channel();
        // a client that is gone does not mind
        let done = move |list| drop(done.send(list));
        self.hand_to(&owner, self.requests(appends.iter().copied(), inspect), permit, done);
        let answers = answered.await.unwrap_or_default();
        let mut outcomes = Vec::with_capacity(answers.len());
        for ((place, append), answer) in places.into_iter().zip(appends).zip(answers) {
            let outcome = match self.said(answer) {
                Said::Final(Ok(StreamOutcome::Stored(stamped))) if inspect => {
                    self.notify_inspected(&stamped);
                    Some(Ok(StreamOutcome::Stored(stamped)))
                }
                Said::Final(outcome) => Some(outcome),
                Said::Known(outcome) => Some(self.stream_outcome(append, outcome, inspect).await),
                Said::Again => None,
            };
            outcomes.push((place, outcome));
        }
        outcomes
    }

    /// Appends as their owner judges them.
    pub(crate) fn requests<'a>(
        &self,
        appends: impl Iterator<Item = &'a StreamAppend>,
        inspect: bool,
    ) -> Vec<AppendRequest> {
        let request = |append: &StreamAppend| {
            let mut request = AppendRequest::new(append.batch.clone());
            request.expected = append.expected;
            request.inspect = inspect;
            request.tenants.clone_from(&self.scope);
            request
        };
        appends.map(request).collect()
    }

    /// Hands requests of one log to their owner; `done` is given the answers, at once if it does not take them.
    pub(crate) fn hand_to(
        &self,
        owner: &Addr<WalWorker>,
        requests: Vec<AppendRequest>,
        permit: &Arc<BytePermit>,
        done: impl FnOnce(AnswerList) + Send + Sync + 'static,
    ) {
        let metrics = &self.node.shared.metrics;
        let replies = AppendReply::several(requests.len(), permit, &metrics.appends_waiting, done);
        self.send_to(owner, requests.into_iter().zip(replies).collect());
    }

    /// Sends requests of one log to their owner, who answers at once if it does not take them.
    pub(crate) fn send_to(&self, owner: &Addr<WalWorker>, requests: Vec<(AppendRequest, AppendReply)>) {
        let metrics = &self.node.shared.metrics;
        if let Err(refused) = owner.try_send(AppendTogether { requests }) {
            let (why, message) = match refused {
                SendError::Full(message) => {
                    metrics.overloaded.add(1);
                    (SendError::Full(()), message)
                }
                SendError::Closed(message) => (SendError::Closed(()), message),
            };
            message.requests.into_iter().for_each(|(_, reply)| reply.refuse(not_taken(&why)));
        }
    }

    /// What an owner's answer says; none: the owner went away with the append.
    pub(crate) fn said(&self, answer: Option<Result<Answer, NodeError>>) -> Said {
        Said::Final(match answer {
            None => Err(NodeError::OutcomeUnknown),
            Some(Err(error)) => Err(error),
            Some(Ok(Answer::Refused(refusal))) => Err(self.with_leader(NodeError::Refused(*refusal))),
            Some(Ok(Answer::Again(_))) => return Said::Again,
            Some(Ok(Answer::Done(mut outcome))) => match outcome.stamped.take() {
                Some(stamped) => Ok(StreamOutcome::Stored(stamped)),
                None => return Said::Known(*outcome),
            },
        })
    }

    async fn append_alone(&self, append: &StreamAppend, inspect: bool, permit: &Arc<BytePermit>) -> Outcome {
        let (batch, permit) = (append.batch.clone(), Arc::clone(permit));
        let outcome = self.submit(batch, append.expected, OnError::Abort, inspect, permit).await?;
        self.stream_outcome(append, outcome, inspect).await
    }

    pub(crate) async fn stream_outcome(&self, append: &StreamAppend, outcome: AppendOutcome, inspect: bool) -> Outcome {
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

/// Every place is filled, unless the one who would have done it is gone.
pub(crate) fn all(outcomes: Vec<Option<Outcome>>) -> Vec<Outcome> {
    outcomes.into_iter().map(|outcome| outcome.unwrap_or(Err(NodeError::OutcomeUnknown))).collect()
}

pub(crate) fn put(outcomes: &mut [Option<Outcome>], place: usize, outcome: Outcome) {
    if let Some(slot) = outcomes.get_mut(place) {
        *slot = Some(outcome);
    }
}
