//! What became of appends. See PROTOCOL.md, sections 4 and 5.

use crate::wire::append::BATCHES_MAX;
use crate::wire::error::WireError;
use crate::wire::fields::{Encoded, Reader, Writer};
use crate::wire::header::Kind;
use crate::wire::refused::Refused;
use strandline_event::{EventId, Micros, Seq, SharedBytes, Stamps};

/// An event of an answer that is given again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownEvent {
    /// Its id; `None`: retention removed the event.
    pub event_id: Option<EventId>,
    /// Its seq.
    pub seq: Seq,
    /// When it was taken; `None`: as with the id.
    pub ingested_at: Option<Micros>,
}

/// What the server assigned to an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredEvent {
    /// Its id.
    pub event_id: EventId,
    /// Its seq.
    pub seq: Seq,
    /// When it was taken.
    pub ingested_at: Micros,
}

/// An append that is stored.
#[derive(Clone, Debug)]
pub enum Appended {
    /// Now (or, of a dry run, could be): what the server assigned to each row.
    Stored(Stamps),
    /// Now, one event that went as a row among others.
    One(StoredEvent),
    /// Before: the first answer again.
    Known(Vec<KnownEvent>),
}

impl Appended {
    /// Seq of the first event.
    #[must_use]
    pub fn first_seq(&self) -> Seq {
        match self {
            Self::Stored(stamps) => stamps.seq(0),
            Self::One(event) => event.seq,
            Self::Known(events) => events.first().map_or(Seq::ZERO, |event| event.seq),
        }
    }

    /// Seq of the last event.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        match self {
            Self::Stored(stamps) => stamps.seq(stamps.rows().saturating_sub(1)),
            Self::One(event) => event.seq,
            Self::Known(events) => events.last().map_or(Seq::ZERO, |event| event.seq),
        }
    }

    /// Nothing was stored: it was there.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
    }
}

/// A row that was left out of a bulk append.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RejectedRow {
    /// Row of its batch.
    pub row: u32,
    /// The code, as of HTTP.
    pub code: String,
    /// One sentence for people.
    pub text: String,
}

/// What became of one batch of a bulk append.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartAppended {
    /// Rows that are stored now.
    pub appended: u64,
    /// Rows that were stored before.
    pub known: u64,
    /// The whole chunk was stored before.
    pub chunk_known: bool,
    /// Rows that were left out.
    pub rejected: Vec<RejectedRow>,
}

const STORED: u8 = 1;
const KNOWN: u8 = 2;
const REFUSED: u8 = 3;
const ONE: u8 = 4;
const KNOWN_BYTES: usize = 40;

/// An answer that grows outcome by outcome.
#[derive(Debug)]
pub struct OutcomesWriter(Writer);

impl OutcomesWriter {
    /// Of Append, of AppendRows or of AppendBulk.
    #[must_use]
    pub fn new(kind: Kind, request: u64, count: usize) -> Self {
        let mut out = Writer::with_capacity(kind, request, 16 + count * 64);
        out.u32(count as u32);
        out.zeros(12);
        Self(out)
    }

    fn outcome(&mut self, form: u8, write: impl FnOnce(&mut Writer)) {
        self.0.u8(form);
        self.0.zeros(3);
        let at = self.0.body_bytes();
        self.0.u32(0);
        write(&mut self.0);
        let bytes = self.0.body_bytes() - at - 4;
        self.0.set_u32(at, bytes as u32);
    }

    /// An append.
    pub fn appended(&mut self, appended: &Appended) {
        match appended {
            Appended::Stored(stamps) => self.outcome(STORED, |out| out.bytes(stamps.bytes())),
            Appended::One(event) => self.outcome(ONE, |out| {
                out.bytes(&event.event_id.0);
                out.u64(event.seq.0);
                out.i64(event.ingested_at.0);
            }),
            Appended::Known(events) => self.outcome(KNOWN, |out| {
                for event in events {
                    out.u8(u8::from(event.event_id.is_some()) | u8::from(event.ingested_at.is_some()) << 1);
                    out.zeros(7);
                    out.bytes(&event.event_id.unwrap_or_default().0);
                    out.u64(event.seq.0);
                    out.i64(event.ingested_at.unwrap_or_default().0);
                }
            }),
        }
    }

    /// A part of a bulk append.
    pub fn part(&mut self, part: &PartAppended) {
        self.outcome(STORED, |out| {
            out.u64(part.appended);
            out.u64(part.known);
            out.u8(u8::from(part.chunk_known));
            out.zeros(3);
            out.u32(part.rejected.len() as u32);
            for rejected in &part.rejected {
                out.u32(rejected.row);
                out.text(&rejected.code);
                out.text(&rejected.text);
            }
        });
    }

    /// One that was not done.
    pub fn refused(&mut self, refused: &Refused) {
        self.outcome(REFUSED, |out| refused.write(out));
    }

    /// The frame.
    #[must_use]
    pub fn finish(self) -> Encoded {
        self.0.finish()
    }
}

/// The answers to the appends of one frame.
pub type AppendOutcomes = Vec<Result<Appended, Refused>>;
/// The answers to the parts of one bulk append.
pub type BulkOutcomes = Vec<Result<PartAppended, Refused>>;

/// Reads Appended.
///
/// # Errors
/// [`WireError`].
pub fn decode_appended(body: &SharedBytes) -> Result<AppendOutcomes, WireError> {
    decode(body, |form, bytes| match form {
        STORED => {
            let stamps = Stamps::parse(bytes)?;
            // no batch is without a row
            let whole = stamps.rows() > 0 && stamps.bytes().len() == bytes.len();
            whole.then_some(Appended::Stored(stamps)).ok_or(WireError::Body("stamps of another length"))
        }
        KNOWN => known(bytes),
        ONE => {
            let mut fields = Reader::new(bytes);
            let event_id = EventId(fields.id()?);
            let (seq, ingested_at) = (Seq(fields.u64()?), Micros(fields.i64()?));
            fields.end()?;
            Ok(Appended::One(StoredEvent { event_id, seq, ingested_at }))
        }
        _ => Err(WireError::Body("an outcome of an unknown form")),
    })
}

/// Reads BulkAppended.
///
/// # Errors
/// [`WireError`].
pub fn decode_bulk_appended(body: &SharedBytes) -> Result<BulkOutcomes, WireError> {
    decode(body, |form, bytes| match form {
        STORED => part(bytes),
        _ => Err(WireError::Body("an outcome of an unknown form")),
    })
}

fn decode<T>(
    body: &SharedBytes,
    done: impl Fn(u8, &SharedBytes) -> Result<T, WireError>,
) -> Result<Vec<Result<T, Refused>>, WireError> {
    let mut body = Reader::new(body);
    let count = body.u32()? as usize;
    body.zeros(12)?;
    if count > BATCHES_MAX {
        return Err(WireError::Body("more outcomes than a frame has appends"));
    }
    let mut outcomes = Vec::with_capacity(count);
    for _ in 0..count {
        let form = body.u8()?;
        body.zeros(3)?;
        let bytes = body.u32()? as usize;
        let bytes = body.shared(bytes)?;
        if form == REFUSED {
            let mut refused = Reader::new(&bytes);
            outcomes.push(Err(Refused::read(&mut refused)?));
            refused.end()?;
        } else {
            outcomes.push(Ok(done(form, &bytes)?));
        }
    }
    body.end()?;
    Ok(outcomes)
}

fn known(bytes: &SharedBytes) -> Result<Appended, WireError> {
    let mut events = Vec::with_capacity(bytes.len() / KNOWN_BYTES);
    let mut rows = Reader::new(bytes);
    while rows.left() > 0 {
        let facts = rows.u8()?;
        if facts > 3 {
            return Err(WireError::Body("unknown facts"));
        }
        rows.zeros(7)?;
        let (id, seq, at) = (EventId(rows.id()?), Seq(rows.u64()?), Micros(rows.i64()?));
        let (event_id, ingested_at) = ((facts & 1 != 0).then_some(id), (facts & 2 != 0).then_some(at));
        events.push(KnownEvent { event_id, seq, ingested_at });
    }
    Ok(Appended::Known(events))
}

fn part(bytes: &SharedBytes) -> Result<PartAppended, WireError> {
    let mut fields = Reader::new(bytes);
    let (appended, known) = (fields.u64()?, fields.u64()?);
    let facts = fields.u8()?;
    if facts > 1 {
        return Err(WireError::Body("unknown facts"));
    }
    fields.zeros(3)?;
    let count = fields.u32()?;
    let mut rejected = Vec::new();
    for _ in 0..count {
        let (row, code, text) = (fields.u32()?, fields.text()?.to_owned(), fields.text()?.to_owned());
        rejected.push(RejectedRow { row, code, text });
    }
    fields.end()?;
    Ok(PartAppended { appended, known, chunk_known: facts == 1, rejected })
}
