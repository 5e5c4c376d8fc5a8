//! A subscription under way. It outlives its connection: where one breaks, the next goes on behind the last event that was given.

use crate::net::error::ClientError;
use crate::net::queue::{Repeat, Reply, Request};
use crate::net::{Client, expect};
use crate::wire::events::Events;
use crate::wire::frames::Frame;
use crate::wire::header::Kind;
use crate::wire::read::encode_scan_more;
use crate::wire::subscribe::{PartFacts, SubscribeWanted};
use std::sync::Arc;
use std::time::Duration;
use strandline_event::{ErrorKind, Position};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::sleep;

/// Pause before a subscription goes on that the server has ended.
const PAUSE: Duration = Duration::from_millis(200);

/// Some events.
#[derive(Debug)]
pub struct Followed {
    /// The events.
    pub events: Events,
    /// They are those of a dry run: nothing of them is stored.
    pub inspected: bool,
}

/// The events of a store, history first, then as they are committed. Dropping it ends it.
pub struct Subscription {
    client: Client,
    wanted: SubscribeWanted,
    open: Option<Part>,
    position: Option<Position>,
}

/// One run of it, on one connection.
struct Part {
    id: u64,
    /// As many bytes as the window: the server sends no more.
    parts: UnboundedReceiver<Result<Frame, ClientError>>,
}

impl Subscription {
    pub(super) const fn new(client: Client, wanted: SubscribeWanted) -> Self {
        Self { client, wanted, open: None, position: None }
    }

    /// What to resume behind, once everything that was given is taken; `None`: nothing was heard yet.
    #[must_use]
    pub const fn position(&self) -> Option<Position> {
        self.position
    }

    /// The next events; waits for them as long as it takes. A broken connection is made again, for the client's patience.
    ///
    /// # Errors
    /// [`ClientError`]: the store cannot be read on, or sends no notifications; nobody answers for the client's patience.
    pub async fn next(&mut self) -> Result<Followed, ClientError> {
        loop {
            match self.part().await {
                Ok(followed) if followed.events.is_empty() => {}
                Ok(followed) => return Ok(followed),
                Err(error) if is_passing(&error) => {
                    self.end();
                    sleep(PAUSE).await;
                }
                Err(error) => {
                    self.end();
                    return Err(error);
                }
            }
        }
    }

    async fn part(&mut self) -> Result<Followed, ClientError> {
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(Part::begin(&self.client, &self.wanted)),
        };
        let frame = open.parts.recv().await.ok_or(ClientError::Closed)??;
        expect(Kind::SubscribePart, &frame)?;
        let (facts, events) = PartFacts::decode(&frame.body)?;
        self.client.shared().tell(open.id, encode_scan_more(open.id, frame.body.len() as u32));
        self.position = Some(facts.position);
        // from here on another connection goes on
        self.wanted.after = self.position;
        Ok(Followed { events, inspected: facts.inspected })
    }

    fn end(&mut self) {
        if let Some(open) = self.open.take() {
            self.client.shared().cancel(open.id);
        }
    }
}

impl Part {
    fn begin(client: &Client, wanted: &SubscribeWanted) -> Self {
        let id = client.shared().next_id();
        let (reply, parts) = unbounded_channel();
        let (frame, reply) = (Arc::new(wanted.encode(id)), Reply::Many(reply));
        client.shared().send(Request { id, frame, repeat: Repeat::Never, reply, broken: 0, held: None });
        Self { id, parts }
    }
}

/// Whether another attempt may go on.
fn is_passing(error: &ClientError) -> bool {
    let refused = matches!(error.kind(), Some(ErrorKind::Unavailable | ErrorKind::Overloaded));
    refused || matches!(error, ClientError::Broken { .. })
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.end();
    }
}
