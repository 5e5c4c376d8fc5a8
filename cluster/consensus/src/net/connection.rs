//! One connection to another node, from the side that asks: requests go out by id, answers find who waits for them.

use crate::net::body::{Refused, RefusedCode};
use crate::net::hello::{Hello, Welcome, cluster_text};
use crate::net::incoming::{Arrived, Incoming, ReadError};
use crate::net::kinds::{Kind, NetError};
use crate::net::limits::{BODY_BYTES_MAX, CONNECT_WITHIN, IDLE, SMALL_BYTES_MAX, STALL};
use crate::net::link::{Connect, Link, Opened};
use crate::net::outgoing::{Frame, Outbox, queue, write};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strandline_event::SharedBytes;
use strandline_tls::node;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

/// What came back for a request.
pub(super) type Reply = Result<SharedBytes, Refused>;

/// Why a connection cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("it took longer than {} seconds", CONNECT_WITHIN.as_secs())]
    Slow,
    /// Who listens there says why not.
    #[error("{0}")]
    Refused(String),
    /// Somebody else listens there.
    #[error("{0}")]
    Other(String),
}

/// A connection that is open until it breaks.
pub(super) struct Connection {
    outbox: Outbox,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    next_id: AtomicU64,
    /// Frames that have come.
    heard: AtomicU64,
    /// Why it has ended.
    ended: watch::Sender<Option<Arc<str>>>,
    pub(super) body_max: usize,
    pub(super) welcome: Welcome,
}

impl Connection {
    /// Connects, says who this node is and whom it means, and hears who is there.
    pub(super) async fn open(connect: &dyn Connect, address: &str, hello: &Hello) -> Result<Arc<Self>, OpenError> {
        match timeout(CONNECT_WITHIN, greet(connect, address, hello)).await {
            Ok(Ok((incoming, writing, welcome))) => Ok(Self::start(incoming, writing, welcome)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(OpenError::Slow),
        }
    }

    fn start(
        mut incoming: Incoming<ReadHalf<Box<dyn Link>>>,
        writing: WriteHalf<Box<dyn Link>>,
        welcome: Welcome,
    ) -> Arc<Self> {
        let (outbox, frames) = queue();
        let connection = Arc::new(Self {
            outbox,
            waiting: Mutex::default(),
            next_id: AtomicU64::new(1),
            heard: AtomicU64::new(0),
            ended: watch::Sender::new(None),
            body_max: (welcome.body_max as usize).min(BODY_BYTES_MAX),
            welcome,
        });
        let this = Arc::clone(&connection);
        tokio::spawn(async move {
            let mut given_up = this.ended.subscribe();
            let why = tokio::select! {
                why = this.read(&mut incoming) => why,
                wrote = write(frames, writing) => wrote.map_or_else(|e| e.to_string(), |()| "it was closed".to_owned()),
                () = async { drop(given_up.wait_for(Option::is_some).await) } => String::new(),
            };
            this.end(&why);
        });
        connection
    }

    async fn read(&self, incoming: &mut Incoming<ReadHalf<Box<dyn Link>>>) -> String {
        loop {
            match incoming.next(IDLE).await {
                Ok(Arrived { header, body }) => {
                    self.heard.fetch_add(1, Ordering::Relaxed);
                    let reply = match Kind::from_u8(header.kind) {
                        Some(Kind::Answer) => Ok(body),
                        Some(Kind::Refused) => match Refused::decode(&body) {
                            Ok(refused) if header.request == 0 => return refused.text,
                            Ok(refused) => Err(refused),
                            Err(error) => return error.to_string(),
                        },
                        _ => return NetError::Unexpected(header.kind).to_string(),
                    };
                    // nobody: it was given up
                    if let Some(waiting) = self.waiting.lock().remove(&header.request) {
                        let _ = waiting.send(reply);
                    }
                }
                Err(ReadError::Silent(_)) if self.waiting.lock().is_empty() => return "nobody used it".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    }

    /// Ends it; who waits is told that the outcome is unknown.
    pub(super) fn end(&self, why: &str) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(Arc::from(why));
            }
            first
        });
        self.waiting.lock().clear();
    }

    /// Why it has ended; `None`: it is open.
    pub(super) fn ended(&self) -> Option<Arc<str>> {
        self.ended.borrow().clone()
    }

    /// Frames that have come.
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Sends a request and waits for its answer; the caller bounds the time, and may give up at any moment.
    ///
    /// # Errors
    /// Why the connection broke: the request may have been carried out.
    pub(super) async fn ask(&self, frame: impl FnOnce(u64) -> Frame) -> Result<Reply, String> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().insert(id, sender);
        let _forget = Forget { connection: self, id };
        let broke = || self.ended().map_or_else(|| "the connection ended".to_owned(), |why| why.to_string());
        // one that ended before the request was known would leave it waiting for ever
        if self.ended().is_some() {
            return Err(broke());
        }
        self.outbox.put(frame(id)).await.map_err(|_| broke())?;
        answer.await.map_err(|_| broke())
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("welcome", &self.welcome).finish_non_exhaustive()
    }
}

/// Takes a request that nobody waits for any more out of the table.
struct Forget<'a> {
    connection: &'a Connection,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.connection.waiting.lock().remove(&self.id);
    }
}

type Greeted = (Incoming<ReadHalf<Box<dyn Link>>>, WriteHalf<Box<dyn Link>>, Welcome);

async fn greet(connect: &dyn Connect, address: &str, hello: &Hello) -> Result<Greeted, OpenError> {
    let Opened { link, shown } = connect.connect(address, hello.to).await?;
    let (reading, mut writing) = tokio::io::split(link);
    writing.write_all(&hello.encode().into_bytes()).await?;
    writing.flush().await?;
    let mut incoming = Incoming::new(reading, SMALL_BYTES_MAX);
    let arrived = incoming.next(STALL).await?;
    let welcome = match Kind::from_u8(arrived.header.kind) {
        Some(Kind::Welcome) => Welcome::decode(&arrived.body).map_err(ReadError::from)?,
        Some(Kind::Refused) => return Err(OpenError::Refused(refusal(&arrived.body))),
        _ => return Err(ReadError::from(NetError::Unexpected(arrived.header.kind)).into()),
    };
    check(hello, &welcome)?;
    if let Some(shown) = shown {
        node::check(Some(&shown), welcome.node).map_err(OpenError::Other)?;
    }
    incoming.set_body_max(BODY_BYTES_MAX);
    Ok((incoming, writing, welcome))
}

fn refusal(body: &SharedBytes) -> String {
    let refused = Refused::decode(body);
    refused.unwrap_or_else(|error| Refused::new(RefusedCode::Protocol, error)).text
}

/// Whoever answers must be who is meant: an address may belong to another node by now.
fn check(hello: &Hello, welcome: &Welcome) -> Result<(), OpenError> {
    if hello.to != 0 && welcome.node != hello.to {
        return Err(OpenError::Other(format!("node {} listens there, not node {}", welcome.node, hello.to)));
    }
    if hello.cluster != 0 && welcome.cluster != 0 && welcome.cluster != hello.cluster {
        let (theirs, ours) = (cluster_text(welcome.cluster), cluster_text(hello.cluster));
        return Err(OpenError::Other(format!("a node of {theirs} listens there, this one is of {ours}")));
    }
    Ok(())
}
