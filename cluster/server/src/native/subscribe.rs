//! Subscriptions of one connection: slices go out while the client's window has room, as the parts of a scan.

use crate::access::{Caller, Need};
use crate::http::call::ServedStore;
use crate::native::outbox::Outbox;
use crate::native::refusal::{of_api, refused};
use crate::native::requests::{filter, unencodable};
use crate::native::scan::Running;
use std::time::Duration;
use strandline_client::Refused;
use strandline_client::wire::events::EventsWriter;
use strandline_client::wire::subscribe::{PartFacts, SubscribeWanted};
use strandline_engine::read::Filter;
use strandline_event::{ErrorKind, EventRef, Position};
use strandline_workers::permits::BytePermits;
use strandline_workers::subscriptions::{Followed, Follower};

/// A client that is given nothing hears so often that the server lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

impl Running {
    /// Sends what the filter keeps, for as long as the client wants it.
    pub(super) async fn follow(
        self,
        (served, caller): (&ServedStore, &Caller),
        wanted: SubscribeWanted,
        (outbox, answers): (&Outbox, &BytePermits),
    ) {
        let SubscribeWanted { after, filter: kept, stream_id, .. } = wanted;
        let kept = Filter { stream_id, ..filter(kept) };
        let ended = match served.store.follow(kept, after).await {
            Ok(follower) => {
                // who begins at the end keeps where that is before anything comes: its connection may break at any time
                let first = follower.position().filter(|_| after.is_none());
                match self.begin_at(first, (outbox, answers)).await {
                    Ok(true) => self.send_on(follower, (served, caller), (outbox, answers)).await,
                    Ok(false) => Ok(()),
                    Err(refused) => Err(refused),
                }
            }
            Err(error) => Err(refused(&error, served)),
        };
        if let Err(refused) = ended {
            self.fail(&refused, outbox);
        }
    }

    /// Tells where it begins. `false`: nobody wants it any more.
    async fn begin_at(
        &self,
        first: Option<Position>,
        (outbox, answers): (&Outbox, &BytePermits),
    ) -> Result<bool, Refused> {
        let Some(position) = first else { return Ok(true) };
        if !self.has_room().await || !outbox.has_room().await {
            return Ok(false);
        }
        let facts = PartFacts { position, inspected: false };
        let made = part(self.request(), facts, std::iter::empty())?;
        Ok(self.put(made, (outbox, answers)).await)
    }

    /// Sends a part. `false`: nobody takes it.
    async fn put(&self, (frame, body_bytes): (Vec<u8>, usize), (outbox, answers): (&Outbox, &BytePermits)) -> bool {
        let room = outbox.reserve(frame.len()).await;
        self.sent(body_bytes);
        let permit = answers.wait(frame.len()).await;
        outbox.answer(self.request(), frame, room, permit)
    }

    async fn send_on(
        &self,
        mut follower: Follower,
        (served, caller): (&ServedStore, &Caller),
        (outbox, answers): (&Outbox, &BytePermits),
    ) -> Result<(), Refused> {
        while self.has_room().await && outbox.has_room().await {
            let came = tokio::select! {
                came = follower.next(KEEP_ALIVE) => came,
                // granted more, or not wanted any more
                () = self.was_changed() => continue,
            };
            let came = came.map_err(|error| refused(&error, served))?;
            caller.may(Need::Read).map_err(|refused| of_api(&refused))?;
            if matches!(came, Followed::End) {
                let text = "the node stops: go on with the next, behind the last position";
                return Err(Refused::new(ErrorKind::Unavailable, text));
            }
            // who is limited to tenants may have no place yet that tells of nobody else: it hears nothing before it has
            let Some(position) = follower.position() else { continue };
            let facts = PartFacts { position, inspected: matches!(came, Followed::Inspected(_)) };
            let made = match &came {
                Followed::Events(slice) => part(self.request(), facts, slice.events())?,
                Followed::Inspected(batch) => {
                    part(self.request(), facts, batch.iter().filter(|event| follower.filter().matches(event)))?
                }
                Followed::Quiet { .. } | Followed::End => part(self.request(), facts, std::iter::empty())?,
            };
            drop(came);
            if !self.put(made, (outbox, answers)).await {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The frame, and the length of its body: what the client grants again when it has taken it.
fn part<'a>(
    request: u64,
    facts: PartFacts,
    events: impl Iterator<Item = EventRef<'a>>,
) -> Result<(Vec<u8>, usize), Refused> {
    let (mut out, mut writer) = (facts.begin(request, 64 << 10), EventsWriter::default());
    for event in events {
        writer.push(&mut out, &event).map_err(|error| unencodable(&error))?;
    }
    writer.finish(&mut out).map_err(|error| unencodable(&error))?;
    let body_bytes = out.body_bytes();
    Ok((out.finish().into_bytes(), body_bytes))
}
