//! Reads and their answers. See PROTOCOL.md, section 6.

use crate::wire::error::WireError;
use crate::wire::events::Events;
use crate::wire::fields::{Encoded, Reader, Writer};
use crate::wire::header::Kind;
use strandline_event::{EventId, Micros, Position, Seq, SharedBytes};

/// A stream whose head is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeadOf {
    /// Its type.
    pub stream_type: String,
    /// Its id.
    pub stream_id: String,
}

impl HeadOf {
    /// As a frame.
    #[must_use]
    pub fn encode(&self, request: u64) -> Encoded {
        let mut out = Writer::new(Kind::Head, request);
        out.text(&self.stream_type);
        out.text(&self.stream_id);
        out.finish()
    }

    /// From a body.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(body: &SharedBytes) -> Result<Self, WireError> {
        let mut body = Reader::new(body);
        let (stream_type, stream_id) = (body.text()?.to_owned(), body.text()?.to_owned());
        body.end()?;
        Ok(Self { stream_type, stream_id })
    }
}

/// First and last seq of a stream; both 0: there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HeadIs {
    /// The first seq.
    pub first_seq: Seq,
    /// The last seq.
    pub last_seq: Seq,
}

impl HeadIs {
    /// As a frame.
    #[must_use]
    pub fn encode(&self, request: u64) -> Encoded {
        let mut out = Writer::new(Kind::HeadIs, request);
        out.u64(self.first_seq.0);
        out.u64(self.last_seq.0);
        out.finish()
    }

    /// From a body.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(body: &SharedBytes) -> Result<Self, WireError> {
        let mut body = Reader::new(body);
        let head = Self { first_seq: Seq(body.u64()?), last_seq: Seq(body.u64()?) };
        body.end()?;
        Ok(head)
    }
}

/// Direction of a stream read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    /// Rising, and the page in the store's default order.
    #[default]
    Store,
    /// Oldest first.
    Rising,
    /// Newest first.
    Falling,
}

/// Which part of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamWanted {
    /// Type of the stream.
    pub stream_type: String,
    /// Id of the stream.
    pub stream_id: String,
    /// First seq; `None`: the first there is.
    pub from_seq: Option<Seq>,
    /// Last seq, inclusive; `None`: the last there is.
    pub to_seq: Option<Seq>,
    /// The manifest version to read as of.
    pub as_of: Option<u64>,
    /// Most events.
    pub limit: u32,
    /// Direction.
    pub direction: Direction,
}

impl StreamWanted {
    /// All of a stream, page by page.
    #[must_use]
    pub fn all(stream_type: &str, stream_id: &str) -> Self {
        Self {
            stream_type: stream_type.to_owned(),
            stream_id: stream_id.to_owned(),
            from_seq: None,
            to_seq: None,
            as_of: None,
            limit: strandline_event::limits::PAGE_EVENTS_DEFAULT as u32,
            direction: Direction::Store,
        }
    }

    /// As a frame.
    #[must_use]
    pub fn encode(&self, request: u64) -> Encoded {
        let mut out = Writer::new(Kind::ReadStream, request);
        out.u64(self.from_seq.unwrap_or_default().0);
        out.u64(self.to_seq.unwrap_or_default().0);
        out.u64(self.as_of.unwrap_or(0));
        out.u32(self.limit);
        out.u8(self.direction as u8);
        out.zeros(3);
        out.text(&self.stream_type);
        out.text(&self.stream_id);
        out.finish()
    }

    /// From a body.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(body: &SharedBytes) -> Result<Self, WireError> {
        let mut body = Reader::new(body);
        let given = |number: u64| (number > 0).then_some(number);
        let (from, to, as_of) = (given(body.u64()?), given(body.u64()?), given(body.u64()?));
        let limit = body.u32()?;
        let direction = match body.u8()? {
            0 => Direction::Store,
            1 => Direction::Rising,
            2 => Direction::Falling,
            _ => return Err(WireError::Body("an unknown order")),
        };
        body.zeros(3)?;
        let (stream_type, stream_id) = (body.text()?.to_owned(), body.text()?.to_owned());
        body.end()?;
        Ok(Self { stream_type, stream_id, from_seq: from.map(Seq), to_seq: to.map(Seq), as_of, limit, direction })
    }
}

/// What stands before the events of a page of a stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PageFacts {
    /// The stream's last seq; 0: there is no such stream.
    pub head: Seq,
    /// Where the next page begins.
    pub next_seq: Option<Seq>,
    /// First seq that the verdict is about.
    pub checked_from: Seq,
    /// Last seq that the verdict is about.
    pub checked_to: Seq,
    /// No hole.
    pub contiguous: bool,
    /// Bits of the tiers that gave rows.
    pub tiers: u8,
    /// Holes.
    pub missing: Vec<(Seq, Seq)>,
    /// What retention removed.
    pub retired: Vec<(Seq, Seq)>,
    /// For people.
    pub warnings: Vec<String>,
}

impl PageFacts {
    /// Begins the frame; the events follow.
    #[must_use]
    pub fn begin(&self, request: u64, events_bytes: usize) -> Writer {
        let mut out = Writer::with_capacity(Kind::StreamPage, request, 128 + events_bytes);
        out.u64(self.head.0);
        out.u64(self.next_seq.unwrap_or_default().0);
        out.u64(self.checked_from.0);
        out.u64(self.checked_to.0);
        out.u8(u8::from(self.contiguous));
        out.u8(self.tiers);
        out.zeros(2);
        out.u32(self.missing.len() as u32);
        out.u32(self.retired.len() as u32);
        out.u32(self.warnings.len() as u32);
        for (first, last) in self.missing.iter().chain(&self.retired) {
            out.u64(first.0);
            out.u64(last.0);
        }
        self.warnings.iter().for_each(|warning| out.text(warning));
        out
    }

    /// Reads what stands before the events, and the events.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(body: &SharedBytes) -> Result<(Self, Events), WireError> {
        let mut body = Reader::new(body);
        let (head, next) = (Seq(body.u64()?), Seq(body.u64()?));
        let (checked_from, checked_to) = (Seq(body.u64()?), Seq(body.u64()?));
        let (facts, tiers) = (body.u8()?, body.u8()?);
        body.zeros(2)?;
        if facts > 1 {
            return Err(WireError::Body("unknown facts"));
        }
        let (missing, retired, warnings) = (body.u32()?, body.u32()?, body.u32()?);
        let mut ranges = |count: u32| {
            let mut ranges = Vec::new();
            for _ in 0..count {
                ranges.push((Seq(body.u64()?), Seq(body.u64()?)));
            }
            Ok::<_, WireError>(ranges)
        };
        let (missing, retired) = (ranges(missing)?, ranges(retired)?);
        let mut texts = Vec::new();
        for _ in 0..warnings {
            texts.push(body.text()?.to_owned());
        }
        let events = Events::read(&mut body)?;
        let next_seq = (next > Seq::ZERO).then_some(next);
        let contiguous = facts == 1;
        let page =
            Self { head, next_seq, checked_from, checked_to, contiguous, tiers, missing, retired, warnings: texts };
        Ok((page, events))
    }
}

/// What to keep of reads across streams.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Only this stream type.
    pub stream_type: Option<String>,
    /// Only this event type.
    pub event_type: Option<String>,
    /// Only this tenant.
    pub tenant_id: Option<String>,
    /// Only what happened then or later.
    pub occurred_from: Option<Micros>,
    /// Only what happened before.
    pub occurred_before: Option<Micros>,
}

impl Filter {
    pub(super) fn write(&self, out: &mut Writer) {
        let texts = [&self.stream_type, &self.event_type, &self.tenant_id];
        let given = texts.iter().map(|text| text.is_some());
        let given = given.chain([self.occurred_from.is_some(), self.occurred_before.is_some()]);
        out.u8(given.enumerate().fold(0, |facts, (bit, given)| facts | u8::from(given) << bit));
        out.zeros(7);
        out.i64(self.occurred_from.unwrap_or_default().0);
        out.i64(self.occurred_before.unwrap_or_default().0);
        texts.into_iter().for_each(|text| out.text(text.as_deref().unwrap_or("")));
    }

    pub(super) fn read(body: &mut Reader<'_>) -> Result<Self, WireError> {
        let facts = body.u8()?;
        if facts >= 1 << 5 {
            return Err(WireError::Body("unknown facts"));
        }
        body.zeros(7)?;
        let (from, before) = (Micros(body.i64()?), Micros(body.i64()?));
        let has = |bit: u8| facts & 1 << bit != 0;
        if !has(3) && from.0 != 0 || !has(4) && before.0 != 0 {
            return Err(WireError::NotZero);
        }
        let mut text = |bit: u8| match body.text()? {
            text if has(bit) => Ok(Some(text.to_owned())),
            "" => Ok(None),
            _ => Err(WireError::NotZero),
        };
        Ok(Self {
            stream_type: text(0)?,
            event_type: text(1)?,
            tenant_id: text(2)?,
            occurred_from: has(3).then_some(from),
            occurred_before: has(4).then_some(before),
        })
    }
}

/// A page in global order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AllWanted {
    /// Behind this position.
    pub after: Position,
    /// Most events.
    pub limit: u32,
    /// What to keep.
    pub filter: Filter,
}

impl AllWanted {
    /// As a frame.
    #[must_use]
    pub fn encode(&self, request: u64) -> Encoded {
        let mut out = Writer::new(Kind::ReadAll, request);
        write_position(&mut out, self.after);
        out.u32(self.limit);
        out.zeros(4);
        self.filter.write(&mut out);
        out.finish()
    }

    /// From a body.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(body: &SharedBytes) -> Result<Self, WireError> {
        let mut body = Reader::new(body);
        let after = read_position(&mut body)?;
        let limit = body.u32()?;
        body.zeros(4)?;
        let filter = Filter::read(&mut body)?;
        body.end()?;
        Ok(Self { after, limit, filter })
    }
}

pub(super) fn write_position(out: &mut Writer, position: Position) {
    out.i64(position.ingested_at.0);
    out.bytes(&position.event_id.0);
}

pub(super) fn read_position(body: &mut Reader<'_>) -> Result<Position, WireError> {
    Ok(Position { ingested_at: Micros(body.i64()?), event_id: EventId(body.id()?) })
}

/// Begins a page in global order; the events follow.
#[must_use]
pub fn begin_global_page(request: u64, next: Position, tiers: u8, events_bytes: usize) -> Writer {
    let mut out = Writer::with_capacity(Kind::GlobalPage, request, 128 + events_bytes);
    write_position(&mut out, next);
    out.u8(tiers);
    out.zeros(7);
    out
}

/// Reads a page in global order: where the next one begins, the tiers, the events.
///
/// # Errors
/// [`WireError`].
pub fn decode_global_page(body: &SharedBytes) -> Result<(Position, u8, Events), WireError> {
    let mut body = Reader::new(body);
    let next = read_position(&mut body)?;
    let tiers = body.u8()?;
    body.zeros(7)?;
    Ok((next, tiers, Events::read(&mut body)?))
}

/// A scan of everything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanWanted {
    /// Bytes that may be sent before more are granted.
    pub window_bytes: u32,
    /// What to keep.
    pub filter: Filter,
}

impl ScanWanted {
    /// As a frame.
    #[must_use]
    pub fn encode(&self, request: u64) -> Encoded {
        let mut out = Writer::new(Kind::Scan, request);
        out.u32(self.window_bytes);
        out.zeros(4);
        self.filter.write(&mut out);
        out.finish()
    }

    /// From a body.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(body: &SharedBytes) -> Result<Self, WireError> {
        let mut body = Reader::new(body);
        let window_bytes = body.u32()?;
        body.zeros(4)?;
        let filter = Filter::read(&mut body)?;
        body.end()?;
        Ok(Self { window_bytes, filter })
    }
}

/// Begins a part of a scan; the events follow.
#[must_use]
pub fn begin_scan_part(request: u64, is_last: bool, events_bytes: usize) -> Writer {
    let mut out = Writer::with_capacity(Kind::ScanPart, request, 64 + events_bytes);
    out.u8(u8::from(is_last));
    out.zeros(15);
    out
}

/// Reads a part of a scan: whether it is the last, the events.
///
/// # Errors
/// [`WireError`].
pub fn decode_scan_part(body: &SharedBytes) -> Result<(bool, Events), WireError> {
    let mut body = Reader::new(body);
    let facts = body.u8()?;
    if facts > 1 {
        return Err(WireError::Body("unknown facts"));
    }
    body.zeros(15)?;
    Ok((facts == 1, Events::read(&mut body)?))
}

/// More room for a scan.
#[must_use]
pub fn encode_scan_more(request: u64, bytes: u32) -> Encoded {
    let mut out = Writer::new(Kind::ScanMore, request);
    out.u32(bytes);
    out.finish()
}

/// How much more room.
///
/// # Errors
/// [`WireError`].
pub fn decode_scan_more(body: &SharedBytes) -> Result<u32, WireError> {
    let mut body = Reader::new(body);
    let bytes = body.u32()?;
    body.end()?;
    Ok(bytes)
}

/// A frame without a body.
#[must_use]
pub fn encode_empty(kind: Kind, request: u64) -> Encoded {
    Writer::new(kind, request).finish()
}
