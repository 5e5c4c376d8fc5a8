//! Subscriptions and their parts. See PROTOCOL.md, section 6.

use crate::wire::error::WireError;
use crate::wire::events::Events;
use crate::wire::fields::{Encoded, Reader, Writer};
use crate::wire::header::Kind;
use crate::wire::read::{Filter, read_position, write_position};
use strandline_event::{Position, SharedBytes};

/// Behind what is there now.
const FROM_NOW: u8 = 1;
/// Only streams of one id.
const STREAM_ID: u8 = 2;
/// The events are those of a dry run.
const INSPECTED: u8 = 1;

/// What is followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubscribeWanted {
    /// Behind this position; `None`: behind what is there now.
    pub after: Option<Position>,
    /// Bytes that may be sent before more are granted.
    pub window_bytes: u32,
    /// What to keep.
    pub filter: Filter,
    /// Only streams of this id.
    pub stream_id: Option<String>,
}

impl SubscribeWanted {
    /// As a frame.
    #[must_use]
    pub fn encode(&self, request: u64) -> Encoded {
        let mut out = Writer::new(Kind::Subscribe, request);
        write_position(&mut out, self.after.unwrap_or(Position::START));
        out.u32(self.window_bytes);
        let from_now = if self.after.is_none() { FROM_NOW } else { 0 };
        let one_id = if self.stream_id.is_some() { STREAM_ID } else { 0 };
        out.u8(from_now | one_id);
        out.zeros(3);
        self.filter.write(&mut out);
        out.text(self.stream_id.as_deref().unwrap_or(""));
        out.finish()
    }

    /// From a body.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(body: &SharedBytes) -> Result<Self, WireError> {
        let mut body = Reader::new(body);
        let after = read_position(&mut body)?;
        let window_bytes = body.u32()?;
        let facts = body.u8()?;
        if facts & !(FROM_NOW | STREAM_ID) != 0 {
            return Err(WireError::Body("unknown facts"));
        }
        body.zeros(3)?;
        let filter = Filter::read(&mut body)?;
        let stream_id = body.text()?;
        body.end()?;
        let (from_now, one_id) = (facts & FROM_NOW != 0, facts & STREAM_ID != 0);
        if (from_now && after != Position::START) || (!one_id && !stream_id.is_empty()) {
            return Err(WireError::NotZero);
        }
        let stream_id = one_id.then(|| stream_id.to_owned());
        Ok(Self { after: (!from_now).then_some(after), window_bytes, filter, stream_id })
    }
}

/// What stands before the events of a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartFacts {
    /// What to resume behind, once the events of this part are taken.
    pub position: Position,
    /// The events are those of a dry run: nothing of them is stored.
    pub inspected: bool,
}

impl PartFacts {
    /// Begins the frame; the events follow, or none: a sign of life.
    #[must_use]
    pub fn begin(&self, request: u64, events_bytes: usize) -> Writer {
        let mut out = Writer::with_capacity(Kind::SubscribePart, request, 64 + events_bytes);
        write_position(&mut out, self.position);
        out.u8(if self.inspected { INSPECTED } else { 0 });
        out.zeros(7);
        out
    }

    /// Reads them and the events.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(body: &SharedBytes) -> Result<(Self, Events), WireError> {
        let mut body = Reader::new(body);
        let position = read_position(&mut body)?;
        let facts = body.u8()?;
        if facts & !INSPECTED != 0 {
            return Err(WireError::Body("unknown facts"));
        }
        body.zeros(7)?;
        Ok((Self { position, inspected: facts == INSPECTED }, Events::read(&mut body)?))
    }
}
