//! The edge of an append: what happens around the owner of a log, in the caller's task.
//!
//! Looks ids up where the client gave some, sends the batch, and sends it again when the owner needs to know
//! something that only a read can tell. Such a read waits for its place: the append's bytes are counted, so those that wait are bounded.
//! Holds no state.

use crate::answers::{AnswerList, Answers};
use crate::error::NodeError;
use crate::messages::{Append, CheckIds, FinishInFlight, ResolveKnown, Scope};
use crate::metrics::{Gauge, Mark};
use crate::permits::BytePermit;
use crate::readers::Readers;
use crate::replicas::{Reserved, StoreReplicas};
use crate::router::LogTable;
use crate::spans;
use crate::wal_worker::WalWorker;
use actix::Addr;
use actix::prelude::SendError;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strandline_engine::append::{
    Again, Answer, AppendError, AppendOutcome, AppendRequest, Expected, Hashes, IdsChecked, Known, OnError, Rules,
    ToReserve, ids_to_check,
};
use strandline_engine::store::Store;
use strandline_event::{BatchBytes, BatchUnit, LogKey};
use tokio::sync::oneshot;
use tracing::Span;

/// Times that an append is sent again before it is refused: each round other writers were faster.
const ROUNDS_MAX: usize = 16;
/// A larger body is not hashed on a thread that other requests wait for: a megabyte takes about a millisecond, longer than to hand it
/// over and be woken.
pub(crate) const HASH_HERE_BYTES_MAX: usize = 1 << 20;

/// Where the answer of an append goes. Holds its bytes until then.
#[derive(Debug)]
pub(crate) struct AppendReply {
    to: ReplyTo,
    began: Instant,
    span: Span,
    /// How many appends the request is, where each of its rows is one.
    each: Option<u64>,
    permit: Arc<BytePermit>,
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

    /// The time from when it came until `now`.
    pub(crate) fn took(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// Answers. A client that is gone does not mind.
    pub(crate) fn send(self, answer: Answer) {
        self.say(Ok(answer));
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
            Self { to, began, span: span.clone(), each: None, permit: Arc::clone(permit) }
        };
        (0..count).map(place).collect()
    }

    /// The reply to as many appends, each a row of one request.
    pub(crate) fn of_rows(
        count: usize,
        permit: &Arc<BytePermit>,
        waiting: &Gauge,
        done: impl FnOnce(AnswerList) + Send + Sync + 'static,
    ) -> Self {
        let to = ReplyTo::Place(Answers::new(1, waiting.mark(count), done), 0);
        let (began, span) = (Instant::now(), spans::appends(count));
        Self { to, began, span, each: Some(count as u64), permit: Arc::clone(permit) }
    }

    /// How often the time until an answer that decides so many appends counts. What comes by itself counts each time, also where it is to come again.
    pub(crate) const fn times(&self, decided: u64) -> u64 {
        if self.each.is_some() { decided } else { 1 }
    }

    /// Appends that are answered with yes, and with no. Of rows those that are not stored are asked for again, each by itself.
    pub(crate) fn decided(&self, answer: &Answer) -> (u64, u64) {
        match (answer, self.each) {
            (Answer::Done(_), None) => (1, 0),
            (Answer::Done(outcome), Some(_)) => {
                (outcome.stamped.as_ref().map_or(0, |stamped| stamped.rows() as u64), 0)
            }
            (Answer::Refused(refusal), Some(_)) if comes_again(&refusal.error) => (0, 0),
            (Answer::Refused(_), each) => (0, each.unwrap_or(1)),
            (Answer::Again(_), _) => (0, 0),
        }
    }

    /// What an owner that stops says: nothing of it was stored.
    pub(crate) fn refuse(self, error: NodeError) {
        self.say(Err(error));
    }

    /// Gives its bytes back first: who hears the answer may have to count anew what is left of them.
    fn say(self, answer: Result<Answer, NodeError>) {
        let Self { to, permit, .. } = self;
        drop(permit);
        to.send(answer);
    }
}

/// Whether rows that are refused together come again, each by itself: nothing was done, and one of them may be the reason (it is large, or what it names
/// cannot be looked up) or another node may do them.
pub(crate) const fn comes_again(error: &AppendError) -> bool {
    matches!(
        error,
        AppendError::NotLeader { .. }
            | AppendError::DiskFull { .. }
            | AppendError::Unavailable { .. }
            | AppendError::Shape(_)
    )
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
    pub(crate) table: &'a LogTable,
    pub(crate) readers: &'a Readers,
    pub(crate) waiting: &'a Gauge,
    /// Of a cluster.
    pub(crate) replicas: Option<&'a Arc<StoreReplicas>>,
    pub(crate) log: LogKey,
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
        let (mut known, mut reserved) = (None, None);
        let hashes = hashes_of(&self.batch, self.store.rules()).await;
        for _ in 0..ROUNDS_MAX {
            match self.send(ids.clone(), known.clone(), hashes.clone(), reserved.as_ref()).await? {
                Answer::Done(outcome) => return Ok(*outcome),
                Answer::Refused(refusal) => return Err(NodeError::Refused(*refusal)),
                Answer::Again(Again::Recheck { .. }) => ids = Some(self.check_ids().await?),
                // it holds nothing meanwhile, so nobody waits for it
                Answer::Again(Again::Elsewhere { log }) => self.decided(&log).await?,
                Answer::Again(Again::Reserve(wanted)) => {
                    reserved = Some(self.reserve(wanted, reserved.as_ref()).await?);
                }
                Answer::Again(Again::Lookup(lookup)) => {
                    let (store, batch) = (Arc::clone(self.store), self.batch.clone());
                    known = Some(self.readers.wait(ResolveKnown { store, batch, lookup }).await??);
                }
            }
        }
        Err(NodeError::Overloaded("other writers of the same streams were faster each time: try again"))
    }

    /// Waits until another log has decided what it has in flight.
    async fn decided(&self, log: &LogKey) -> Result<(), NodeError> {
        // one without an owner stops
        let owner = self.table.get(log).ok_or(NodeError::Draining)?;
        owner.send(FinishInFlight).await?;
        Ok(())
    }

    /// Command ids that are new to the log are reserved for it in the whole store.
    async fn reserve(&self, wanted: ToReserve, before: Option<&Reserved>) -> Result<Reserved, NodeError> {
        // an owner asks for it where its log is replicated
        let replicas = self.replicas.ok_or(NodeError::Defect)?;
        Box::pin(replicas.reserve(&self.log, wanted, before)).await
    }

    async fn check_ids(&self) -> Result<IdsChecked, NodeError> {
        let (store, batch) = (Arc::clone(self.store), self.batch.clone());
        Ok(self.readers.wait(CheckIds { store, batch }).await??)
    }

    async fn send(
        &self,
        ids: Option<IdsChecked>,
        known: Option<Known>,
        hashes: Option<Arc<Hashes>>,
        reserved: Option<&Reserved>,
    ) -> Result<Answer, NodeError> {
        let _on_its_way = match reserved {
            Some(reserved) => Some(reserved.on_its_way().await),
            None => None,
        };
        let mut request = AppendRequest::new(self.batch.clone());
        request.hashes = hashes;
        request.expected = self.expected;
        request.on_error = self.on_error;
        request.inspect = self.inspect;
        request.tenants.clone_from(&self.scope);
        request.reservation = reserved.map(|reserved| Arc::clone(&reserved.ids));
        if let Some(ids) = ids {
            request.ids = ids;
        }
        if let Some(known) = known {
            request.known = known;
        }
        let (answer, answered) = oneshot::channel();
        let to = ReplyTo::One(answer, self.waiting.mark(1));
        let span = spans::append(&self.batch);
        let reply = AppendReply { to, began: Instant::now(), span, each: None, permit: Arc::clone(&self.permit) };
        match self.owner.try_send(Append { request, reply }) {
            Ok(()) => answered.await.map_err(|_| NodeError::OutcomeUnknown)?,
            Err(refused) => Err(not_taken(&refused)),
        }
    }
}

/// Of a body of many events, made here and not by the owner, who is one for all. All its bytes go through them, so those of a large body
/// are made on a thread that nobody else waits for. What was sealed is hashed as it is stored: this cannot be done where a body is read.
async fn hashes_of(batch: &BatchBytes, rules: Arc<Rules>) -> Option<Arc<Hashes>> {
    if batch.view().unit() != BatchUnit::Rows {
        return None;
    }
    if batch.bytes().len() <= HASH_HERE_BYTES_MAX {
        return Some(Arc::new(Hashes::of(batch.view(), &rules)));
    }
    let batch = batch.clone();
    let hashing = tokio::task::spawn_blocking(move || Arc::new(Hashes::of(batch.view(), &rules)));
    // without them the owner makes its own
    hashing.await.ok()
}

/// What an owner's mailbox says that does not take an append.
pub(crate) const fn not_taken<M>(refused: &SendError<M>) -> NodeError {
    match refused {
        SendError::Full(_) => NodeError::Overloaded("too many appends wait for this stream type: try again"),
        SendError::Closed(_) => NodeError::Draining,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::sync::mpsc;
    use strandline_engine::append::Refusal;
    use strandline_event::{BatchBuilder, EventInput};

    fn rules() -> Arc<Rules> {
        let text = "CREATE EVENTSTORE t WITH (durable.type = 'parquet', durable.path = 'memory://t', \
                    id.command_id.unique_scope = 'stream');";
        let declared = strandline_deql::parse_file("t.deql", text).unwrap();
        Rules::new(&declared.stores[0].config, (1, 2))
    }

    fn body(unit: BatchUnit, rows: usize) -> BatchBytes {
        let data = format!("\"{}\"", "x".repeat(100 << 10));
        let mut batch = BatchBuilder::new("T", unit);
        for row in 0..rows {
            let command = format!("c{row}");
            let command_id = Some(command.as_str());
            let event =
                EventInput { stream_id: "s", event_type: "E", data: &data, command_id, ..EventInput::default() };
            batch.push(&event).unwrap();
        }
        batch.finish().unwrap()
    }

    #[test]
    fn what_comes_by_itself_afterwards_does_not_count_before() {
        let (permit, waiting) = (Arc::new(BytePermit::default()), Gauge::default());
        let rows = AppendReply::of_rows(3, &permit, &waiting, drop);
        let alone = AppendReply::several(1, &permit, &waiting, drop).remove(0);
        assert_eq!(waiting.get(), 4);
        let refused = |error| Answer::Refused(Box::new(Refusal { row: None, error }));
        let log = LogKey::single("T");
        for (answer, of_rows, of_one) in [
            // none of them is stored
            (Answer::Done(Box::default()), (0, 0), (1, 0)),
            (refused(AppendError::OutcomeUnknown { reason: String::new() }), (0, 3), (0, 1)),
            (refused(AppendError::NotLeader { leader: None }), (0, 0), (0, 1)),
            (refused(AppendError::DiskFull { needed_bytes: 9 }), (0, 0), (0, 1)),
            (refused(AppendError::Unavailable { reason: String::new() }), (0, 0), (0, 1)),
            (Answer::Again(Again::Elsewhere { log }), (0, 0), (0, 0)),
        ] {
            assert_eq!((rows.decided(&answer), alone.decided(&answer)), (of_rows, of_one), "{answer:?}");
            assert_eq!((rows.times(of_rows.0 + of_rows.1), alone.times(of_one.0 + of_one.1)), (of_rows.1, 1));
        }
        rows.refuse(NodeError::Draining);
        alone.refuse(NodeError::Draining);
        assert_eq!(waiting.get(), 0);
    }

    #[test]
    fn who_hears_an_answer_has_its_bytes_back() {
        let (permit, waiting) = (Arc::new(BytePermit::default()), Gauge::default());
        let heard = mpsc::channel();
        for is_refused in [false, true] {
            let (told, shared) = (heard.0.clone(), Arc::downgrade(&permit));
            let told = move |_| told.send(shared.strong_count()).unwrap();
            let reply = AppendReply::of_rows(3, &permit, &waiting, told);
            assert_eq!(Arc::strong_count(&permit), 2);
            match is_refused {
                false => reply.send(Answer::Done(Box::default())),
                true => reply.refuse(NodeError::Draining),
            }
            assert_eq!(heard.1.try_recv(), Ok(1));
        }
    }

    #[test]
    fn a_large_body_is_hashed_by_no_thread_of_the_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            // the one thread for such work is held
            let (free, held) = mpsc::channel::<()>();
            let holding = tokio::task::spawn_blocking(move || held.recv());
            let (small, large) = (body(BatchUnit::Rows, 1), body(BatchUnit::Rows, 11));
            let at_once = hashes_of(&small, rules()).now_or_never();
            assert!(at_once.is_some_and(|hashes| hashes.is_some()));
            let mut later = Box::pin(hashes_of(&large, rules()));
            assert!((&mut later).now_or_never().is_none(), "it waits for the thread");
            free.send(()).unwrap();
            let made = later.await.unwrap();
            assert_eq!(format!("{made:?}"), format!("{:?}", Hashes::of(large.view(), &rules())));
            holding.await.unwrap().unwrap();
            // an append to one stream is hashed by its owner
            assert!(hashes_of(&body(BatchUnit::Append, 1), rules()).await.is_none());
        });
    }
}
