//! From a frame to a request, and from the node's answer to a frame.

use crate::access::Need;
use crate::error::ApiError;
use crate::http::call::App;
use crate::http::call::ServedStore;
use crate::native::append::{Checked, CheckedBulk};
use crate::native::append_rows::CheckedRows;
use crate::native::refusal::{of_api, refused};
use crate::native::relay::Relay;
use crate::native::session::Asker;
use std::sync::Arc;
use strandline_client::wire::append::{decode_append, decode_bulk};
use strandline_client::wire::append_rows::decode_append_rows;
use strandline_client::wire::error::WireError;
use strandline_client::wire::events::EventsWriter;
use strandline_client::wire::fields::Writer;
use strandline_client::wire::frames::Frame;
use strandline_client::wire::header::Kind;
use strandline_client::wire::read::{
    AllWanted, Direction, Filter as WireFilter, HeadIs, HeadOf, PageFacts, ScanWanted, StreamWanted, begin_global_page,
    decode_scan_more, encode_empty,
};
use strandline_client::wire::subscribe::SubscribeWanted;
use strandline_client::{Refused, Stay};
use strandline_engine::read::{AsOf, Filter, GlobalPage, GlobalRead, Order, PAGE_BYTES_MAX, StreamPage};
use strandline_event::{ErrorKind, EventRef, FieldNames, InvalidEvent, limits};
use strandline_workers::permits::{BytePermit, Permitted};
use strandline_workers::{NodeError, StreamQuery};

/// Places of a request whose answer may be large.
const READ_PLACES: u32 = 16;

/// An answer without events.
const SMALL_ANSWER_BYTES: usize = 1 << 10;

/// A request that can be begun.
pub(super) enum Decoded {
    Ping,
    Stay(Stay),
    Append(Checked),
    Rows(CheckedRows),
    Bulk(CheckedBulk),
    Head(HeadOf),
    Stream(StreamWanted),
    All(AllWanted),
    Scan(ScanWanted),
    Subscribe(SubscribeWanted),
    ScanMore(u32),
    ScanCancel,
}

/// Why a frame is no request.
pub(super) enum Failed {
    /// It is one that is refused.
    Refused(Refused),
    /// The connection cannot be trusted.
    Bad(WireError),
}

impl From<WireError> for Failed {
    fn from(error: WireError) -> Self {
        Self::Bad(error)
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Reads a frame, validates its archives, and checks what stands in them.
pub(super) fn decode(frame: &Frame, names: &FieldNames) -> Result<Decoded, Failed> {
    let body = &frame.body;
    let Some(kind) = Kind::from_u8(frame.header.kind) else {
        let text = format!("frames of kind {} are not served by this version", frame.header.kind);
        return Err(Refused::new(ErrorKind::NotSupported, text).into());
    };
    Ok(match kind {
        Kind::Append => Decoded::Append(Checked::new(decode_append(body)?, names)),
        Kind::AppendRows => Decoded::Rows(CheckedRows::new(decode_append_rows(body)?, names)?),
        Kind::AppendBulk => {
            let (batches, on_error) = decode_bulk(body)?;
            Decoded::Bulk(CheckedBulk::new(batches, on_error, names)?)
        }
        Kind::Head => Decoded::Head(HeadOf::decode(body)?),
        Kind::ReadStream => {
            let wanted = StreamWanted::decode(body)?;
            check_limit(wanted.limit)?;
            if let (Some(from), Some(to)) = (wanted.from_seq, wanted.to_seq)
                && from > to
            {
                let text = format!("from_seq {from} is after to_seq {to}");
                return Err(Refused::new(ErrorKind::BadRequest, text).into());
            }
            Decoded::Stream(wanted)
        }
        Kind::ReadAll => {
            let wanted = AllWanted::decode(body)?;
            check_limit(wanted.limit)?;
            check_filter(&wanted.filter, None)?;
            Decoded::All(wanted)
        }
        Kind::Scan => {
            let wanted = ScanWanted::decode(body)?;
            check_filter(&wanted.filter, None)?;
            Decoded::Scan(wanted)
        }
        Kind::Subscribe => {
            let wanted = SubscribeWanted::decode(body)?;
            check_filter(&wanted.filter, wanted.stream_id.as_deref())?;
            Decoded::Subscribe(wanted)
        }
        Kind::ScanMore => Decoded::ScanMore(decode_scan_more(body)?),
        Kind::ScanCancel | Kind::Ping if !body.is_empty() => return Err(WireError::Body("it goes on too long").into()),
        Kind::ScanCancel => Decoded::ScanCancel,
        Kind::Stay => Decoded::Stay(Stay::decode(body)?),
        Kind::Ping => Decoded::Ping,
        _ => return Err(WireError::Unexpected(frame.header.kind).into()),
    })
}

fn check_limit(limit: u32) -> Result<(), Refused> {
    let most = limits::PAGE_EVENTS_MAX;
    if (1..=most).contains(&(limit as usize)) {
        return Ok(());
    }
    Err(Refused::new(ErrorKind::BadRequest, format!("`limit={limit}`: a page holds 1 to {most} events")))
}

/// Refuses a filter that no event could match.
fn check_filter(wanted: &WireFilter, stream_id: Option<&str>) -> Result<(), Refused> {
    let wanted = Filter { stream_id: stream_id.map(str::to_owned), ..filter(wanted.clone()) };
    wanted.refusal().map_or(Ok(()), |why| Err(Refused::new(ErrorKind::BadRequest, why)))
}

/// The filter of reads across streams.
pub(super) fn filter(filter: WireFilter) -> Filter {
    let WireFilter { stream_type, event_type, tenant_id, occurred_from, occurred_before } = filter;
    let occurred_to = occurred_before;
    Filter { stream_type, event_type, tenant_id, occurred_from, occurred_to, ..Filter::default() }
}

/// A frame, and what it holds until it is written.
type Answer = (Vec<u8>, Option<BytePermit>);

impl Decoded {
    /// What it needs of its caller.
    pub(super) const fn need(&self) -> Need {
        match self {
            Self::Append(_) | Self::Rows(_) | Self::Bulk(_) => Need::Append,
            Self::Head(_) | Self::Stream(_) | Self::All(_) | Self::Scan(_) | Self::Subscribe(_) => Need::Read,
            Self::Ping | Self::Stay(_) | Self::ScanMore(_) | Self::ScanCancel => Need::Token,
        }
    }

    /// For the audit log.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Ping => "Ping",
            Self::Stay(_) => "Stay",
            Self::Append(_) => "Append",
            Self::Rows(_) => "AppendRows",
            Self::Bulk(_) => "AppendBulk",
            Self::Head(_) => "Head",
            Self::Stream(_) => "ReadStream",
            Self::All(_) => "ReadAll",
            Self::Scan(_) => "Scan",
            Self::Subscribe(_) => "Subscribe",
            Self::ScanMore(_) => "ScanMore",
            Self::ScanCancel => "ScanCancel",
        }
    }

    /// How many of a connection's places it takes: of large answers fewer are made at a time.
    pub(super) const fn places(&self) -> u32 {
        match self {
            Self::Stream(_) | Self::All(_) => READ_PLACES,
            // bounded by their own number: one that waits for the client's grant must not hold up the reading of it
            Self::Scan(_) | Self::Subscribe(_) => 0,
            _ => 1,
        }
    }

    /// Most bytes of its answer, about: they are reserved before it is begun.
    pub(super) fn answer_bytes(&self) -> usize {
        match self {
            Self::Append(checked) => checked.answer_bytes(),
            Self::Rows(checked) => checked.answer_bytes(),
            Self::Bulk(checked) => checked.answer_bytes(),
            Self::Stream(_) | Self::All(_) => PAGE_BYTES_MAX,
            // each of its parts is reserved by itself
            Self::Scan(_) | Self::Subscribe(_) => 0,
            _ => SMALL_ANSWER_BYTES,
        }
    }

    /// Why a read is not answered here: it sees everything that was acknowledged before, or none.
    async fn unconfirmed(&self, served: &ServedStore) -> Option<NodeError> {
        let confirmed = match self {
            Self::Head(of) => served.store.confirm_stream(&of.stream_type, &of.stream_id).await,
            Self::Stream(wanted) if wanted.as_of.is_none() => {
                served.store.confirm_stream(&wanted.stream_type, &wanted.stream_id).await
            }
            Self::All(_) => served.store.confirm(None).await,
            _ => return None,
        };
        confirmed.err()
    }

    /// Has a read answered by a node that reads; `None`: none does, or it is no read of one answer.
    pub(super) async fn read_there(&self, relay: &Relay, app: &App, request: u64) -> Option<Vec<u8>> {
        match self {
            Self::Head(of) => relay.read(app, |id| of.encode(id), request).await,
            Self::Stream(wanted) => relay.read(app, |id| wanted.encode(id), request).await,
            Self::All(wanted) => relay.read(app, |id| wanted.encode(id), request).await,
            _ => None,
        }
    }

    /// Asks the node, and by `relay` those that lead what it does not of a body; `stays`: its client goes to the leader of all of it by itself.
    pub(super) async fn run(
        self,
        served: &Arc<ServedStore>,
        (relay, stays, asker): (Option<&Relay>, bool, Option<&Asker>),
        request: u64,
        permit: Option<BytePermit>,
    ) -> Answer {
        if let Some(error) = self.unconfirmed(served).await {
            return (refused(&error, served).encode(request).into_bytes(), None);
        }
        let answered = match self {
            Self::Bulk(checked) => {
                return (checked.run(served, (relay, stays, asker), request, permit.unwrap_or_default()).await, None);
            }
            Self::Head(of) => served.store.head(of.stream_type, of.stream_id).await.map(|head| {
                let head = head.map_or(HeadIs::default(), |h| HeadIs { first_seq: h.first_seq, last_seq: h.last_seq });
                (head.encode(request).into_bytes(), None)
            }),
            Self::Stream(wanted) => {
                served.store.read_stream(query(wanted)).await.map(|page| stream_page(page, request))
            }
            Self::All(wanted) => {
                let AllWanted { after, limit, filter: wanted } = wanted;
                let read = GlobalRead { after, limit: limit as usize, filter: filter(wanted) };
                served.store.read_global(read).await.map(|page| global_page(page, request))
            }
            Self::Ping => return (encode_empty(Kind::Pong, request).into_bytes(), None),
            // a part of another request, or answered otherwise: the connection keeps these
            Self::Stay(_)
            | Self::Append(_)
            | Self::Rows(_)
            | Self::Scan(_)
            | Self::Subscribe(_)
            | Self::ScanMore(_)
            | Self::ScanCancel => {
                return (of_api(&ApiError::bad_request("no request")).encode(request).into_bytes(), None);
            }
        };
        answered.unwrap_or_else(|error| {
            let refused = refused(&error, served);
            if let Some(asker) = asker {
                asker.told(&refused);
            }
            (refused.encode(request).into_bytes(), None)
        })
    }
}

fn query(wanted: StreamWanted) -> StreamQuery {
    let order = match wanted.direction {
        Direction::Store => None,
        Direction::Rising => Some(Order::Asc),
        Direction::Falling => Some(Order::Desc),
    };
    StreamQuery {
        stream_type: wanted.stream_type,
        stream_id: wanted.stream_id,
        from_seq: wanted.from_seq,
        to_seq: wanted.to_seq,
        limit: wanted.limit as usize,
        order,
        as_of: wanted.as_of.map(AsOf::Version),
    }
}

fn stream_page(page: Permitted<StreamPage>, request: u64) -> Answer {
    let verdict = &page.verdict;
    let facts = PageFacts {
        head: page.head,
        next_seq: page.next_seq,
        checked_from: verdict.from_seq,
        checked_to: verdict.to_seq,
        contiguous: verdict.contiguous,
        tiers: page.tiers.bits(),
        missing: verdict.missing.clone(),
        retired: verdict.retired.clone(),
        warnings: page.warnings.clone(),
    };
    let permit_bytes = page.bytes();
    let frame = with_events(facts.begin(request, permit_bytes), page.rows(), request);
    (frame, Some(page.into_permit()))
}

fn global_page(page: Permitted<GlobalPage>, request: u64) -> Answer {
    let out = begin_global_page(request, page.next, page.tiers.bits(), page.bytes());
    let frame = with_events(out, page.rows(), request);
    (frame, Some(page.into_permit()))
}

fn with_events<'a>(mut out: Writer, rows: impl Iterator<Item = EventRef<'a>>, request: u64) -> Vec<u8> {
    let mut events = EventsWriter::default();
    let write = || {
        for event in rows {
            events.push(&mut out, &event)?;
        }
        events.finish(&mut out)
    };
    match write() {
        Ok(()) => out.finish().into_bytes(),
        Err(error) => unencodable(&error).encode(request).into_bytes(),
    }
}

/// An event that is stored and fits into no batch: there is none unless a limit was lowered.
pub(super) fn unencodable(error: &InvalidEvent) -> Refused {
    Refused::new(ErrorKind::Io, format!("an event cannot be put into columns: {error}; read it by HTTP"))
}
