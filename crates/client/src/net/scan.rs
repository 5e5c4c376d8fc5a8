//! A scan under way: parts come ahead of the caller, as many bytes as the window allows.

use crate::net::error::ClientError;
use crate::net::expect;
use crate::net::parts::Parts;
use crate::wire::events::Events;
use crate::wire::header::Kind;
use crate::wire::read::decode_scan_part;

/// Everything of a store, part by part. Dropping it ends the scan.
pub struct Scan {
    parts: Parts,
    ended: bool,
}

impl Scan {
    pub(super) const fn new(parts: Parts) -> Self {
        Self { parts, ended: false }
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
        let frame = self.parts.next().await?;
        expect(Kind::ScanPart, &frame)?;
        let (is_last, events) = decode_scan_part(&frame.body)?;
        if !is_last {
            self.parts.more(frame.body.len() as u32);
        }
        Ok((is_last, events))
    }
}
