//! The client: callers ask, one task keeps the connection. Only this folder knows a runtime.

mod cluster;
mod connection;
mod error;
mod line;
mod options;
mod parts;
mod queue;
mod scan;
mod shared;
mod subscribe;
mod tls;

pub use cluster::{ClusterClient, ClusterOptions};
pub use error::ClientError;
pub use options::Options;
pub use parts::Parts;
pub use scan::Scan;
pub use subscribe::{Followed, Subscription};
pub use tls::Tls;

use crate::wire::append::{BATCHES_MAX, Expected, OnError, bytes_in_frame, encode_append, encode_bulk};
use crate::wire::error::WireError;
use crate::wire::events::Events;
use crate::wire::fields::Encoded;
use crate::wire::frames::Frame;
use crate::wire::header::Kind;
use crate::wire::hello::Welcome;
use crate::wire::outcome::{AppendOutcomes, Appended, BulkOutcomes, decode_appended, decode_bulk_appended};
use crate::wire::read::{
    AllWanted, Filter, HeadIs, HeadOf, PageFacts, ScanWanted, StreamWanted, decode_global_page, encode_empty,
};
use crate::wire::refused::{OUTCOME_UNKNOWN, Refused};
use crate::wire::subscribe::SubscribeWanted;
use connection::{Open, refused};
use queue::{Body, Heard, Repeat, Reply, Request, Single};
use shared::Shared;
use std::sync::Arc;
use strandline_event::{BatchBytes, BatchUnit, ErrorKind, Position};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// An append over this size is a frame of its own; smaller ones that wait together share one.
const GATHER_BYTES_MAX: usize = 16 << 10;

/// A connection to one store of a node. Cloning shares it; any number of tasks may ask at a time.
///
/// The connection is made again when it breaks. What was on its way then is sent again where that is safe
/// (PROTOCOL.md, section 8), else its caller gets [`ClientError::OutcomeUnknown`].
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

/// The last one closes the connection.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A page of a stream.
#[derive(Clone, Debug)]
pub struct Page {
    /// What is known of the page and the stream.
    pub facts: PageFacts,
    /// Its events.
    pub events: Events,
}

impl Client {
    /// Connects. Must run on a tokio runtime with time and I/O, on which the connection's task stays.
    ///
    /// # Errors
    /// Nobody answers, or the server refuses (the store, a token, the version).
    pub async fn connect(options: Options) -> Result<Self, ClientError> {
        let open = Open::new(&options).await?;
        let shared = Shared::new(options, open.welcome.clone());
        tokio::spawn(shared::run(Arc::clone(&shared), open));
        Ok(Self { handle: Arc::new(Handle(shared)) })
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.0
    }

    /// What the server said when the connection began.
    #[must_use]
    pub fn welcome(&self) -> Option<Arc<Welcome>> {
        self.shared().welcome()
    }

    /// Appends a batch (unit Append) to its stream, atomically. Small ones that wait at the same time go together, each judged and
    /// answered on its own.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn append(&self, batch: BatchBytes, expected: Expected) -> Result<Appended, ClientError> {
        check_unit(&batch, BatchUnit::Append)?;
        let bytes = bytes_in_frame(&batch);
        if bytes > GATHER_BYTES_MAX {
            return self.append_alone(batch, expected, false).await;
        }
        let held = match self.shared().room_now(bytes) {
            // the queue looks whether the server takes it
            Some(held) => held,
            None => {
                self.check_fits(Body::of_one(&batch))?;
                self.shared().room(bytes).await?
            }
        };
        let (reply, answered) = oneshot::channel();
        self.shared().gather(Single { batch, expected, reply, broken: 0, held });
        answered.await.map_err(|_| ClientError::Closed)?
    }

    /// A dry run of [`append`](Self::append): the same checks and answer, nothing stored.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn inspect(&self, batch: BatchBytes, expected: Expected) -> Result<Appended, ClientError> {
        check_unit(&batch, BatchUnit::Append)?;
        self.append_alone(batch, expected, true).await
    }

    async fn append_alone(
        &self,
        batch: BatchBytes,
        expected: Expected,
        dry_run: bool,
    ) -> Result<Appended, ClientError> {
        let held = self.shared().room(bytes_in_frame(&batch)).await?;
        let repeat = if dry_run { Repeat::Always } else { Repeat::of(&batch) };
        let frame = |id| encode_append(id, std::iter::once((&batch, expected)), dry_run);
        let Heard { frame, again } = self.hear(repeat, Some(held), frame).await?;
        let outcome = expect(Kind::Appended, &frame).and_then(|()| {
            let only = decode_appended(&frame.body)?.into_iter().next();
            only.ok_or(WireError::Body("no outcome"))?.map_err(ClientError::from)
        });
        outcome.map_err(|error| if dry_run { error } else { error.of_append(again) })
    }

    /// Appends batches (unit Append), each to its stream, atomically and on its own, in one frame: at most 4,096. The outer error is about all of
    /// them, an inner one about that append.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn append_many(
        &self,
        appends: &[(BatchBytes, Expected)],
        dry_run: bool,
    ) -> Result<AppendOutcomes, ClientError> {
        if appends.is_empty() {
            return Ok(AppendOutcomes::new());
        }
        check_count(appends.len())?;
        let batches = || appends.iter().map(|(batch, _)| batch);
        batches().try_for_each(|batch| check_unit(batch, BatchUnit::Append))?;
        let held = self.shared().room(batches().map(bytes_in_frame).sum()).await?;
        let repeat = if dry_run { Repeat::Always } else { Repeat::of_all(batches()) };
        let frame = |id| encode_append(id, appends.iter().map(|(batch, expected)| (batch, *expected)), dry_run);
        let Heard { frame, again } = self.hear(repeat, Some(held), frame).await?;
        let again = again && !dry_run;
        let outcomes =
            expect(Kind::Appended, &frame).and_then(|()| whole(decode_appended(&frame.body)?, appends.len()));
        let outcomes = outcomes.map_err(|error| if dry_run { error } else { error.of_append(again) })?;
        Ok(outcomes.into_iter().map(|one| one.map_err(|refused| of_part(refused, again))).collect())
    }

    /// Appends batches (unit Rows) of many streams, at most one of each stream type. The outer error: nothing was stored; inner
    /// ones: that part was not.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn append_bulk(&self, batches: &[BatchBytes], on_error: OnError) -> Result<BulkOutcomes, ClientError> {
        if batches.is_empty() {
            return Ok(BulkOutcomes::new());
        }
        check_count(batches.len())?;
        batches.iter().try_for_each(|batch| check_unit(batch, BatchUnit::Rows))?;
        let held = self.shared().room(batches.iter().map(bytes_in_frame).sum()).await?;
        let frame = |id| encode_bulk(id, batches, on_error);
        let Heard { frame, again } = self.hear(Repeat::of_all(batches), Some(held), frame).await?;
        let outcomes =
            expect(Kind::BulkAppended, &frame).and_then(|()| whole(decode_bulk_appended(&frame.body)?, batches.len()));
        let outcomes = outcomes.map_err(|error| error.of_append(again))?;
        Ok(outcomes.into_iter().map(|part| part.map_err(|refused| of_part(refused, again))).collect())
    }

    /// First and last seq of a stream; `None`: there is no such stream.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn head(&self, stream_type: &str, stream_id: &str) -> Result<Option<HeadIs>, ClientError> {
        let wanted = HeadOf { stream_type: stream_type.to_owned(), stream_id: stream_id.to_owned() };
        let frame = self.ask(Kind::HeadIs, |id| wanted.encode(id)).await?;
        let head = HeadIs::decode(&frame.body)?;
        Ok((head != HeadIs::default()).then_some(head))
    }

    /// A page of a stream.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn read_stream(&self, wanted: &StreamWanted) -> Result<Page, ClientError> {
        let frame = self.ask(Kind::StreamPage, |id| wanted.encode(id)).await?;
        let (facts, events) = PageFacts::decode(&frame.body)?;
        Ok(Page { facts, events })
    }

    /// A page in global order, and the `after` of the next one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn read_all(&self, wanted: &AllWanted) -> Result<(Events, Position), ClientError> {
        let frame = self.ask(Kind::GlobalPage, |id| wanted.encode(id)).await?;
        let (next, _, events) = decode_global_page(&frame.body)?;
        Ok((events, next))
    }

    /// Begins a scan of everything: each event once, in storage order. The server sends at most `window_bytes` ahead of what
    /// [`Scan::next`] has given.
    ///
    /// # Errors
    /// The client is closed.
    pub fn scan(&self, filter: Filter, window_bytes: u32) -> Scan {
        Scan::new(self.parts(|id| ScanWanted { window_bytes, filter }.encode(id)))
    }

    /// Begins a scan or a subscription by the frame that is made for the id that it gets, and gives what comes as it comes: for who passes it
    /// on.
    pub fn parts(&self, encode: impl FnOnce(u64) -> Encoded) -> Parts {
        Parts::begin(self, encode)
    }

    /// Asks what changes nothing, by the frame that is made for the id that it gets, and gives the answer as it came, an error too: for who
    /// passes it on.
    ///
    /// # Errors
    /// [`ClientError`]: there is no answer.
    pub async fn pass(&self, encode: impl FnOnce(u64) -> Encoded) -> Result<Frame, ClientError> {
        self.hear(Repeat::Always, None, encode).await.map(|heard| heard.frame)
    }

    /// Follows the store: what is there behind a position, then what is committed, each event once. The server sends at most
    /// `window_bytes` ahead of what [`Subscription::next`] has given.
    #[must_use]
    pub fn subscribe(&self, wanted: SubscribeWanted) -> Subscription {
        Subscription::new(self.clone(), wanted)
    }

    /// Whether the server answers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ping(&self) -> Result<(), ClientError> {
        self.ask(Kind::Pong, |id| encode_empty(Kind::Ping, id)).await.map(drop)
    }

    /// Before it waits for room. The limit may change until it is sent: the queue looks again.
    fn check_fits(&self, body: Body) -> Result<(), ClientError> {
        self.shared().welcome().map_or(Ok(()), |welcome| body.check_fits(&welcome))
    }

    /// Sends what changes nothing and waits for its answer.
    async fn ask(&self, answer: Kind, encode: impl FnOnce(u64) -> Encoded) -> Result<Frame, ClientError> {
        let Heard { frame, .. } = self.hear(Repeat::Always, None, encode).await?;
        expect(answer, &frame)?;
        Ok(frame)
    }

    /// Sends a request of its own frame and waits for its answer, whatever that is.
    async fn hear(
        &self,
        repeat: Repeat,
        held: Option<OwnedSemaphorePermit>,
        encode: impl FnOnce(u64) -> Encoded,
    ) -> Result<Heard, ClientError> {
        let shared = self.shared();
        let id = shared.next_id();
        let frame = encode(id);
        self.check_fits(Body::of(&frame))?;
        let (reply, answered) = oneshot::channel();
        let (frame, reply) = (Arc::new(frame), Reply::One(reply));
        shared.send(Request { id, frame, repeat, reply, broken: 0, held });
        answered.await.map_err(|_| ClientError::Closed)?
    }
}

fn check_count(count: usize) -> Result<(), ClientError> {
    if count <= BATCHES_MAX {
        return Ok(());
    }
    let text = format!("{count} batches at once; at most {BATCHES_MAX} are sent: send several times");
    Err(ClientError::Refused(Refused::new(ErrorKind::TooLarge, text)))
}

/// As many outcomes as there were batches, or they cannot be told apart.
fn whole<T>(outcomes: Vec<T>, count: usize) -> Result<Vec<T>, ClientError> {
    if outcomes.len() == count { Ok(outcomes) } else { Err(WireError::Body("another number of outcomes").into()) }
}

/// What is said of a part of a bulk append that was refused.
fn of_part(refused: Refused, again: bool) -> Refused {
    match ClientError::Refused(refused.clone()).of_append(again) {
        ClientError::OutcomeUnknown { why } => Refused { code: OUTCOME_UNKNOWN.to_owned(), text: why, ..refused },
        _ => refused,
    }
}

/// A batch of another unit would end the connection.
fn check_unit(batch: &BatchBytes, unit: BatchUnit) -> Result<(), ClientError> {
    if batch.view().unit() == unit {
        return Ok(());
    }
    let text = format!("the batch must have been begun as BatchUnit::{unit:?}");
    Err(ClientError::Refused(Refused::new(ErrorKind::BadRequest, text)))
}

/// Whether a frame is the answer that was asked for.
fn expect(kind: Kind, frame: &Frame) -> Result<(), ClientError> {
    match Kind::from_u8(frame.header.kind) {
        Some(found) if found == kind => Ok(()),
        Some(Kind::Error) => Err(refused(frame)),
        _ => Err(ClientError::Protocol(WireError::Unexpected(frame.header.kind))),
    }
}

/// Whether a frame answers gathered appends.
fn appended(frame: &Frame) -> Result<(), ClientError> {
    expect(Kind::Appended, frame)
}

#[cfg(test)]
pub(crate) mod tests;
