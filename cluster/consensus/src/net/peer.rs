//! Another node: connects to it when somebody asks, once for all who wait, and again after it broke, with pauses.

use crate::net::body::Ask;
use crate::net::connection::{Connection, OpenError, Reply};
use crate::net::hello::Hello;
use crate::net::limits::{PAUSE_FIRST, PAUSE_MAX};
use crate::net::link::Connect;
use crate::net::outgoing::Frame;
use crate::net::{body, limits};
use crate::transport::{Call, NodeId, TransportError};
use std::sync::Arc;
use std::time::Duration;
use strandline_event::SharedBytes;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// What is sent.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Call(Call),
    Ask(Ask),
}

impl Request {
    fn bytes(&self) -> usize {
        match self {
            Self::Call(call) => call.body.len(),
            Self::Ask(ask) => ask.body.len(),
        }
    }

    fn frame(&self, id: u64) -> Frame {
        match self {
            Self::Call(call) => body::encode_call(id, call),
            Self::Ask(ask) => body::encode_ask(id, ask),
        }
    }
}

/// A node at an address.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) address: String,
    slot: Arc<Mutex<Slot>>,
}

#[derive(Debug, Default)]
struct Slot {
    connection: Option<Arc<Connection>>,
    failed: Option<Failed>,
}

/// The last attempt: until the pause is over nobody tries again.
#[derive(Debug)]
struct Failed {
    until: Instant,
    pause: Duration,
    why: String,
}

impl Peer {
    pub(super) fn new(node: NodeId, address: &str) -> Self {
        Self { node, address: address.to_owned(), slot: Arc::default() }
    }

    pub(super) async fn request(
        &self,
        connect: Arc<dyn Connect>,
        hello: Hello,
        request: Request,
        deadline: Duration,
    ) -> Result<SharedBytes, TransportError> {
        let mut used = None;
        let asking = self.ask(connect, hello, &request, &mut used);
        let asked = timeout(deadline, asking).await;
        asked.unwrap_or_else(|_| {
            // what has given no sign of life since the request went out is taken for dead: the next request connects anew
            if let Some((connection, _)) = used.filter(|(connection, heard)| connection.heard() == *heard) {
                connection.end("it was silent for longer than a request may take");
            }
            let waited_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
            Err(TransportError::TimedOut { node: self.node, waited_ms })
        })
    }

    async fn ask(
        &self,
        connect: Arc<dyn Connect>,
        hello: Hello,
        request: &Request,
        used: &mut Option<(Arc<Connection>, u64)>,
    ) -> Result<SharedBytes, TransportError> {
        let connection = self.connection(connect, hello).await?;
        let (bytes, around) = (request.bytes(), limits::SMALL_BYTES_MAX);
        if bytes > connection.body_max.saturating_sub(around) {
            return Err(TransportError::TooLarge { bytes, bytes_max: connection.body_max.saturating_sub(around) });
        }
        *used = Some((Arc::clone(&connection), connection.heard()));
        let reply: Reply = connection.ask(|id| request.frame(id)).await.map_err(|why| self.unreachable(why))?;
        reply.map_err(|refused| TransportError::Refused { node: self.node, why: refused.text })
    }

    fn unreachable(&self, why: String) -> TransportError {
        TransportError::Unreachable { node: self.node, address: self.address.clone(), why }
    }

    async fn connection(&self, connect: Arc<dyn Connect>, hello: Hello) -> Result<Arc<Connection>, TransportError> {
        let mut slot = Arc::clone(&self.slot).lock_owned().await;
        if let Some(open) = slot.open() {
            return Ok(open);
        }
        if let Some(failed) = slot.failed.as_ref().filter(|failed| Instant::now() < failed.until) {
            return Err(self.unreachable(failed.why.clone()));
        }
        // in a task: a caller whose time is over does not take the attempt with it, the next one finds what came of it
        let (node, address) = (self.node, self.address.clone());
        let connecting = tokio::spawn(async move {
            let opened = Connection::open(&*connect, &address, &hello).await;
            let was_away = slot.failed.is_some();
            let settled = slot.settle(opened);
            say(node, &address, was_away, settled.as_ref().err());
            settled
        });
        let settled = connecting.await.unwrap_or_else(|_| Err("the attempt to connect ended".to_owned()));
        settled.map_err(|why| self.unreachable(why))
    }
}

/// One line when a node is lost and one when it is back, however many requests fail in between. Who is asked by its address alone (`node` 0)
/// is told by the one who asks.
fn say(node: NodeId, address: &str, was_away: bool, error: Option<&String>) {
    match error {
        Some(why) if !was_away && node != 0 => {
            tracing::warn!(node, address, "this node cannot be reached: {why}; it is tried again until it answers");
        }
        None if was_away && node != 0 => tracing::warn!(node, address, "this node is reached again"),
        _ => {}
    }
}

impl Slot {
    /// The connection, while it is whole.
    fn open(&mut self) -> Option<Arc<Connection>> {
        if self.connection.as_ref().is_some_and(|connection| connection.ended().is_some()) {
            self.connection = None;
        }
        self.connection.clone()
    }

    fn settle(&mut self, opened: Result<Arc<Connection>, OpenError>) -> Result<Arc<Connection>, String> {
        match opened {
            Ok(connection) => {
                self.failed = None;
                self.connection = Some(Arc::clone(&connection));
                Ok(connection)
            }
            Err(error) => {
                let pause = self.failed.as_ref().map_or(PAUSE_FIRST, |failed| (failed.pause * 2).min(PAUSE_MAX));
                let why = error.to_string();
                self.failed = Some(Failed { until: Instant::now() + pause, pause, why: why.clone() });
                Err(why)
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // an attempt that runs holds the slot; its connection ends when nobody holds its queue
        if let Ok(slot) = self.slot.try_lock()
            && let Some(connection) = &slot.connection
        {
            connection.end("this node speaks to it elsewhere now");
        }
    }
}
