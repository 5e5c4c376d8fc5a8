//! A scan under way: parts come ahead of the caller, as many bytes as the window allows.

use crate::net::error::ClientError;
use crate::net::{Client, expect};
use crate::wire::events::Events;
use crate::wire::frames::Frame;
use crate::wire::header::Kind;
use crate::wire::read::{decode_scan_part, encode_scan_more};
use tokio::sync::mpsc::UnboundedReceiver;

/// Everything of a store, part by part. Dropping it ends the scan.
pub struct Scan {
    client: Client,
    id: u64,
    /// As many bytes as the window: the server sends no more.
    parts: UnboundedReceiver<Result<Frame, ClientError>>,
    ended: bool,
}

impl Scan {
    pub(super) const fn new(client: Client, id: u64, parts: UnboundedReceiver<Result<Frame, ClientError>>) -> Self {
        Self { client, id, parts, ended: false }
    }

    /// The next events; `None`: that was everything.
    ///
    /// # Errors
    /// [`ClientError`]; the scan is over then, and what it gave is not everything.
    pub async fn next(&mut self) -> Result<Option<Events>, ClientError> {
        while !self.ended {
            let part = self.part().await;
            let (is_last, events) = part.inspect_err(|_| self.ended = true)?;
            self.ended = is_last;
            if !events.is_empty() {
                return Ok(Some(events));
            }
        }
        Ok(None)
    }

    async fn part(&mut self) -> Result<(bool, Events), ClientError> {
        let frame = self.parts.recv().await.ok_or(ClientError::Closed)??;
        expect(Kind::ScanPart, &frame)?;
        let (is_last, events) = decode_scan_part(&frame.body)?;
        if !is_last {
            self.client.shared().tell(self.id, encode_scan_more(self.id, frame.body.len() as u32));
        }
        Ok((is_last, events))
    }
}

impl Drop for Scan {
    /// Also after an error: a part that cannot be read does not end the scan on the server.
    fn drop(&mut self) {
        self.client.shared().cancel(self.id);
    }
}
