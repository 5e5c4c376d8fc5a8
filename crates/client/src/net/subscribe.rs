//! A subscription under way. It outlives its connection: where one breaks, the next goes on behind the last event that was given.

use crate::net::error::ClientError;
use crate::net::parts::Parts;
use crate::net::{Client, expect};
use crate::wire::events::Events;
use crate::wire::header::Kind;
use crate::wire::subscribe::{PartFacts, SubscribeWanted};
use std::time::Duration;
use strandline_event::{ErrorKind, Position};
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
    /// One run of it, on one connection.
    open: Option<Parts>,
    position: Option<Position>,
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
            None => self.open.insert(Parts::begin(&self.client, |id| self.wanted.encode(id))),
        };
        let frame = open.next().await?;
        expect(Kind::SubscribePart, &frame)?;
        let (facts, events) = PartFacts::decode(&frame.body)?;
        open.more(frame.body.len() as u32);
        self.position = Some(facts.position);
        // from here on another connection goes on
        self.wanted.after = self.position;
        Ok(Followed { events, inspected: facts.inspected })
    }

    fn end(&mut self) {
        self.open = None;
    }
}

/// Whether another attempt may go on.
fn is_passing(error: &ClientError) -> bool {
    let refused = matches!(error.kind(), Some(ErrorKind::Unavailable | ErrorKind::Overloaded));
    refused || matches!(error, ClientError::Broken { .. })
}
