//! The parts of a scan or a subscription under way, as the frames that they come in: as many bytes ahead of the caller as its window allows.

use crate::net::Client;
use crate::net::error::ClientError;
use crate::net::queue::{Repeat, Reply, Request};
use crate::wire::fields::Encoded;
use crate::wire::frames::Frame;
use crate::wire::read::encode_scan_more;
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Parts of one scan or subscription, on one connection. Dropping it ends it.
pub struct Parts {
    client: Client,
    id: u64,
    /// As many bytes as the window: the server sends no more.
    parts: UnboundedReceiver<Result<Frame, ClientError>>,
}

impl Parts {
    pub(super) fn begin(client: &Client, encode: impl FnOnce(u64) -> Encoded) -> Self {
        let id = client.shared().next_id();
        let (reply, parts) = unbounded_channel();
        let (frame, reply) = (Arc::new(encode(id)), Reply::Many(reply));
        client.shared().send(Request { id, frame, repeat: Repeat::Never, reply, broken: 0, held: None });
        Self { client: client.clone(), id, parts }
    }

    /// The next frame; one that says an error is the last. Who has taken it grants [`more`](Self::more).
    ///
    /// # Errors
    /// [`ClientError`]; it is over then.
    pub async fn next(&mut self) -> Result<Frame, ClientError> {
        self.parts.recv().await.ok_or(ClientError::Closed)?
    }

    /// So many bytes more may be sent.
    pub fn more(&self, bytes: u32) {
        self.client.shared().tell(self.id, encode_scan_more(self.id, bytes));
    }
}

impl Drop for Parts {
    /// Also after an error: a part that cannot be read does not end it on the server.
    fn drop(&mut self) {
        self.client.shared().cancel(self.id);
    }
}
