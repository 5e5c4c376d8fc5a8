//! The edge of an append: what happens around the owner of a log, in the caller's task.
//!
//! Looks ids up where the client gave some, sends the batch, and sends it again when the owner needs to know
//! something that only a read can tell. Such a read waits for its place: the append's bytes are counted, so those that wait are bounded.
//! Holds no state.

use crate::answers::{AnswerList, Answers};
use crate::error::NodeError;
use crate::messages::{Append, CheckIds, ResolveKnown, Scope};
use crate::metrics::{Gauge, Mark};
use crate::permits::BytePermit;
use crate::readers::Readers;
use crate::spans;
use crate::wal_worker::WalWorker;
use actix::Addr;
use actix::prelude::SendError;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_engine::append::{
    Again, Answer, AppendOutcome, AppendRequest, Expected, Hashes, IdsChecked, Known, OnError, ids_to_check,
};
use strandline_engine::store::Store;
use strandline_event::{BatchBytes, BatchUnit};
use tokio::sync::oneshot;
use tracing::Span;

/// Times that an append is sent again before it is refused: each round other writers were faster.
const ROUNDS_MAX: usize = 16;

/// Where the answer of an append goes. Holds its bytes until then.
#[derive(Debug)]
pub(crate) struct AppendReply {
    to: ReplyTo,
    began: Instant,
    span: Span,
    _permit: Arc<BytePermit>,
}

#[derive(Debug)]
enum ReplyTo {
    One(oneshot::Sender<Result<Answer, NodeError>>, Mark),
    /// A place in the answers to appends that came together.
    Place(Arc<Answers>, usize),
}

impl AppendReply {
    /// What a trace shows of the append.
    pub(crate) const fn span(&self) -> &Span {
        &self.span
    }

    /// The time since it came.
    pub(crate) fn took(&self) -> Duration {
        self.began.elapsed()
    }

    /// Answers. A client that is gone does not mind.
    pub(crate) fn send(self, answer: Answer) {
        self.to.send(Ok(answer));
    }

    /// The replies to appends that came together, and who takes all their answers.
    pub(crate) fn several(
        count: usize,
        permit: &Arc<BytePermit>,
        waiting: &Gauge,
        done: impl FnOnce(AnswerList) + Send + Sync + 'static,
    ) -> Vec<Self> {
        let answers = Answers::new(count, waiting.mark(count), done);
        let (began, span) = (Instant::now(), spans::appends(count));
        let place = |at| {
            let to = ReplyTo::Place(Arc::clone(&answers), at);
            Self { to, began, span: span.clone(), _permit: Arc::clone(permit) }
        };
        (0..count).map(place).collect()
    }

    /// What an owner that stops says: nothing of it was stored.
    pub(crate) fn refuse(self, error: NodeError) {
        self.to.send(Err(error));
    }
}

impl ReplyTo {
    fn send(self, answer: Result<Answer, NodeError>) {
        match self {
            Self::One(reply, waited) => {
                // who hears the answer may look how many wait
                drop(waited);
                drop(reply.send(answer));
            }
            Self::Place(answers, at) => answers.put(at, answer),
        }
    }
}

/// One batch on its way to its owner.
pub(crate) struct Submission<'a> {
    pub(crate) store: &'a Arc<Store>,
    pub(crate) readers: &'a Readers,
    pub(crate) waiting: &'a Gauge,
    pub(crate) owner: Addr<WalWorker>,
    pub(crate) batch: BatchBytes,
    pub(crate) expected: Expected,
    pub(crate) on_error: OnError,
    pub(crate) inspect: bool,
    pub(crate) permit: Arc<BytePermit>,
    pub(crate) scope: Scope,
}

impl Submission<'_> {
    /// Sends it until it is answered with yes or no.
    pub(crate) async fn run(self) -> Result<AppendOutcome, NodeError> {
        let mut ids = None;
        if ids_to_check(self.batch.view()).next().is_some() {
            ids = Some(self.check_ids().await?);
        }
        let mut known = None;
        let hashes = self.hashes();
        for _ in 0..ROUNDS_MAX {
            match self.send(ids.clone(), known.clone(), hashes.clone()).await? {
                Answer::Done(outcome) => return Ok(*outcome),
                Answer::Refused(refusal) => return Err(NodeError::Refused(*refusal)),
                Answer::Again(Again::Recheck { .. }) => ids = Some(self.check_ids().await?),
                Answer::Again(Again::Lookup(lookup)) => {
                    let (store, batch) = (Arc::clone(self.store), self.batch.clone());
                    known = Some(self.readers.wait(ResolveKnown { store, batch, lookup }).await??);
                }
            }
        }
        Err(NodeError::Overloaded("other writers of the same streams were faster each time: try again"))
    }

    async fn check_ids(&self) -> Result<IdsChecked, NodeError> {
        let (store, batch) = (Arc::clone(self.store), self.batch.clone());
        Ok(self.readers.wait(CheckIds { store, batch }).await??)
    }

    /// Of a body of many events here, in the thread of who sends it: the owner is one for all.
    fn hashes(&self) -> Option<Arc<Hashes>> {
        let view = self.batch.view();
        (view.unit() == BatchUnit::Rows).then(|| Arc::new(Hashes::of(view, &self.store.rules())))
    }

    async fn send(
        &self,
        ids: Option<IdsChecked>,
        known: Option<Known>,
        hashes: Option<Arc<Hashes>>,
    ) -> Result<Answer, NodeError> {
        let mut request = AppendRequest::new(self.batch.clone());
        request.hashes = hashes;
        request.expected = self.expected;
        request.on_error = self.on_error;
        request.inspect = self.inspect;
        request.tenants.clone_from(&self.scope);
        if let Some(ids) = ids {
            request.ids = ids;
        }
        if let Some(known) = known {
            request.known = known;
        }
        let (answer, answered) = oneshot::channel();
        let to = ReplyTo::One(answer, self.waiting.mark(1));
        let span = spans::append(&self.batch);
        let reply = AppendReply { to, began: Instant::now(), span, _permit: Arc::clone(&self.permit) };
        match self.owner.try_send(Append { request, reply }) {
            Ok(()) => answered.await.map_err(|_| NodeError::OutcomeUnknown)?,
            Err(refused) => Err(not_taken(&refused)),
        }
    }
}

/// What an owner's mailbox says that does not take an append.
pub(crate) const fn not_taken<M>(refused: &SendError<M>) -> NodeError {
    match refused {
        SendError::Full(_) => NodeError::Overloaded("too many appends wait for this stream type: try again"),
        SendError::Closed(_) => NodeError::Draining,
    }
}
