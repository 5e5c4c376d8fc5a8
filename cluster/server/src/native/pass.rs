//! Scans and subscriptions that a node which reads answers in the place of this one: its parts go out while the client's window has room.
//!
//! It grants a part there when it has handed it on here, so a bounded number of bytes waits between the two.

use crate::access::{Caller, Need};
use crate::http::call::App;
use crate::native::outbox::Outbox;
use crate::native::refusal::of_api;
use crate::native::relay::{Relay, again, cannot, is_refusal};
use crate::native::scan::Running;
use strandline_client::wire::fields::Encoded;
use strandline_client::wire::frames::Frame;
use strandline_client::wire::header::Kind;
use strandline_client::wire::read::ScanWanted;
use strandline_client::wire::subscribe::SubscribeWanted;
use strandline_client::{ClientError, Parts, Refused};
use strandline_event::ErrorKind;

/// Bytes that the other node may send ahead.
const AHEAD_BYTES_MAX: u32 = 1 << 20;

/// A read that is answered in parts.
pub(super) enum InParts {
    Scan(ScanWanted),
    Subscription(SubscribeWanted),
}

impl InParts {
    /// Bytes that may be sent before the client grants more.
    pub(super) const fn window_bytes(&self) -> u32 {
        match self {
            Self::Scan(wanted) => wanted.window_bytes,
            Self::Subscription(wanted) => wanted.window_bytes,
        }
    }

    /// As the other node is asked for it.
    fn encode(&self, request: u64) -> Encoded {
        // a client that grants nothing yet is asked for room when the first part is here
        let window_bytes = self.window_bytes().clamp(1, AHEAD_BYTES_MAX);
        match self {
            Self::Scan(wanted) => ScanWanted { window_bytes, ..wanted.clone() }.encode(request),
            Self::Subscription(wanted) => SubscribeWanted { window_bytes, ..wanted.clone() }.encode(request),
        }
    }
}

impl Running {
    /// Passes on what a node that reads sends; `false`: none can, and nothing was sent.
    pub(super) async fn pass(
        &self,
        relay: &Relay,
        (app, caller): (&App, &Caller),
        wanted: &InParts,
        outbox: &Outbox,
    ) -> bool {
        for reads in relay.readers(app) {
            let Some(client) = relay.reader(app, &reads).await else { continue };
            let mut parts = client.parts(|id| wanted.encode(id));
            match self.next_of(&mut parts).await {
                None => return true,
                Some(Ok(first)) if !cannot(&first) => {
                    self.pass_on(first, parts, (app, caller), outbox).await;
                    return true;
                }
                Some(Ok(_)) => relay.leave_alone(app, &reads, "it cannot"),
                Some(Err(error)) => relay.pass_by(app, &reads, &error),
            }
        }
        false
    }

    async fn pass_on(&self, first: Frame, mut parts: Parts, (app, caller): (&App, &Caller), outbox: &Outbox) {
        let mut frame = first;
        loop {
            if let Err(refused) = caller.may(Need::Read) {
                return self.fail(&of_api(&refused), outbox);
            }
            if is_refusal(&frame) {
                return outbox.push(again(&frame, self.request()));
            }
            if !self.has_room().await || !outbox.has_room().await {
                return;
            }
            let (bytes, is_last, part) = (frame.body.len(), is_last(&frame), again(&frame, self.request()));
            let room = outbox.reserve(part.len()).await;
            self.sent(bytes);
            let permit = app.node.answers().wait(part.len()).await;
            if !outbox.answer(self.request(), part, room, permit) || is_last {
                return;
            }
            parts.more(bytes as u32);
            frame = match self.next_of(&mut parts).await {
                Some(Ok(next)) => next,
                Some(Err(_)) => {
                    let text = "the node that read for this one is gone: begin a scan again, go on with a subscription behind its last position";
                    return self.fail(&Refused::new(ErrorKind::Unavailable, text), outbox);
                }
                None => return,
            };
        }
    }

    /// The next frame; `None`: nobody wants it any more.
    async fn next_of(&self, parts: &mut Parts) -> Option<Result<Frame, ClientError>> {
        while !self.is_cancelled() {
            tokio::select! {
                next = parts.next() => return Some(next),
                // granted more, or not wanted any more
                () = self.was_changed() => {}
            }
        }
        None
    }
}

/// The end of a scan; a subscription has none.
fn is_last(frame: &Frame) -> bool {
    frame.header.kind == Kind::ScanPart.to_u8() && frame.body.first().is_some_and(|facts| facts & 1 == 1)
}
