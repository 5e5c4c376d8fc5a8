//! Appends that need no task of their own: the owner hands their answers on.
//!
//! ```text
//!  appends of one log -> AppendTogether -> WalWorker -> the last answer -> `then`, in the owner's thread
//!                                                                 | one was known before, or is to be asked again
//!                                                                 +-> a task goes on
//!  any others -> a task, as `append_many`
//! ```
//!
//! Between the disk and the socket there is one change of threads less. Invariant: `then` is called once, whatever happens to the owner.

use crate::answers::AnswerList;
use crate::append_many::{Outcome, Said, StreamAppend, StreamOutcome, all, put};
use crate::permits::BytePermit;
use crate::store::StoreHandle;
use crate::wal_worker::WalWorker;
use actix::Addr;
use std::sync::Arc;
use strandline_deql::ProjectionMode;
use strandline_engine::append::ids_to_check;
use strandline_event::{BatchView, StampedBatch, bucket_of_stream};
use tokio::runtime::Handle;
use tracing::Instrument;

fn stored(outcomes: &[Outcome]) -> Vec<&StampedBatch> {
    outcomes
        .iter()
        .filter_map(|outcome| if let Ok(StreamOutcome::Stored(stamped)) = outcome { Some(stamped) } else { None })
        .collect()
}

/// Appends that are on their way, and who is told what became of them.
struct Straight<T> {
    store: StoreHandle,
    appends: Vec<StreamAppend>,
    permit: Arc<BytePermit>,
    runtime: Handle,
    then: T,
}

impl StoreHandle {
    /// Appends to streams, each on its own, as [`append_many`](Self::append_many) does; `then` is given the outcomes, in the order of the
    /// appends, after projections of a store that waits for them. It must not wait: the owner of a log may be who calls it. Must be called
    /// on a tokio runtime.
    pub fn append_many_then<T>(&self, appends: Vec<StreamAppend>, inspect: bool, permit: &Arc<BytePermit>, then: T)
    where
        T: FnOnce(Vec<Outcome>) + Send + Sync + 'static,
    {
        let (store, permit) = (self.clone(), Arc::clone(permit));
        match self.straight_owner(&appends).filter(|_| !inspect) {
            Some(owner) => Straight { store, appends, permit, runtime: Handle::current(), then }.send(&owner),
            None => {
                let work = async move {
                    let outcomes = store.append_many(&appends, inspect, &permit).await;
                    if !inspect {
                        // the outcomes have no place for what they say: who wants to know asks the subscription
                        let _ = store.confirm_projections(&stored(&outcomes)).await;
                    }
                    then(outcomes);
                };
                tokio::spawn(work.in_current_span());
            }
        }
    }

    /// The owner that can judge all of them as they are; `None`: they need more than that.
    fn straight_owner(&self, appends: &[StreamAppend]) -> Option<Addr<WalWorker>> {
        self.straight_owner_of(appends.iter().map(|append| append.batch.view()))
    }

    /// The owner that can judge all of these batches as they are; `None`: they need more than that.
    pub(crate) fn straight_owner_of<'a>(
        &self,
        mut batches: impl Iterator<Item = BatchView<'a>> + Clone,
    ) -> Option<Addr<WalWorker>> {
        let first = batches.clone().next()?;
        let stream_type = first.stream_type();
        let buckets = self.parts.store.buckets_of(stream_type);
        let bucket = bucket_of_stream(first.stream(0), buckets);
        let is_plain = |view: BatchView<'_>| {
            let mut streams = (0..view.stream_count()).map(|stream| view.stream(stream));
            let is_one = buckets == 1 || streams.all(|stream| bucket_of_stream(stream, buckets) == bucket);
            view.stream_type() == stream_type && is_one && ids_to_check(view).next().is_none()
        };
        let store_is_plain = !self.is_limited()
            && (self.node.shared.subjects.is_none() || self.parts.replicas.is_some())
            && self.config().projection.mode != ProjectionMode::Sync;
        if !store_is_plain || !batches.all(is_plain) {
            return None;
        }
        let (_, owner) = self.serving_owner(first).ok()?;
        // the type may have got its buckets and its first log in this moment: then they were told apart by another number. Of one with a log this node
        // knows what is erasable
        let as_it_comes = || self.parts.replicas.is_none() || self.erasable(stream_type).is_none();
        owner.filter(|_| self.parts.store.buckets_of(stream_type) == buckets && as_it_comes())
    }
}

impl<T: FnOnce(Vec<Outcome>) + Send + Sync + 'static> Straight<T> {
    fn send(self, owner: &Addr<WalWorker>) {
        let (store, permit) = (self.store.clone(), Arc::clone(&self.permit));
        let requests = store.requests(self.appends.iter(), false);
        store.hand_to(owner, requests, &permit, move |answers| self.answered(answers));
    }

    fn answered(self, answers: AnswerList) {
        let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(answers.len());
        let (mut known, mut again) = (Vec::new(), Vec::new());
        for (place, answer) in answers.into_iter().enumerate() {
            outcomes.push(match self.store.said(answer) {
                Said::Final(outcome) => Some(outcome),
                Said::Known(outcome) => {
                    known.push((place, outcome));
                    None
                }
                Said::Again => {
                    again.push(place);
                    None
                }
            });
        }
        if known.is_empty() && again.is_empty() {
            return self.tell(outcomes);
        }
        let runtime = self.runtime.clone();
        runtime.spawn(async move {
            for (place, outcome) in known {
                let Some(append) = self.appends.get(place) else { continue };
                let outcome = self.store.stream_outcome(append, outcome, false).await;
                put(&mut outcomes, place, outcome);
            }
            self.store.append_each_alone(&self.appends, &again, false, &self.permit, &mut outcomes).await;
            self.tell(outcomes);
        });
    }

    fn tell(self, outcomes: Vec<Option<Outcome>>) {
        (self.then)(all(outcomes));
    }
}
