//! Appends as they go over the wire: a table, then the archives, each at a multiple of 16. See PROTOCOL.md, sections 4 and 5.

use crate::wire::error::WireError;
use crate::wire::fields::{Encoded, Reader, Writer};
use crate::wire::header::{ALIGN, Kind};
use strandline_event::{BatchBytes, BatchUnit, Seq, SharedBytes};

/// An archive of a frame keeps at most twice its own bytes and this many alive.
pub const KEPT_AROUND_MAX: usize = 4 << 10;
/// Archives of one frame.
pub const BATCHES_MAX: usize = 4096;
/// A last archive of at least this size is not copied into the frame.
const BESIDE_BYTES: usize = 16 << 10;

/// Where the stream must stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Expected {
    /// Anywhere.
    #[default]
    Any,
    /// It has no event.
    Empty,
    /// This is its last seq.
    At(Seq),
}

impl Expected {
    pub(super) const fn to_wire(self) -> (u8, u64) {
        match self {
            Self::Any => (0, 0),
            Self::Empty => (1, 0),
            Self::At(seq) => (2, seq.0),
        }
    }

    pub(super) const fn from_wire(kind: u8, seq: u64) -> Option<Self> {
        match (kind, seq) {
            (0, 0) => Some(Self::Any),
            (1, 0) => Some(Self::Empty),
            (2, seq) => Some(Self::At(Seq(seq))),
            _ => None,
        }
    }
}

/// What a refused row does to the others of a bulk append.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnError {
    /// Nothing is stored.
    #[default]
    Abort,
    /// The others are stored.
    Skip,
}

/// One append to one stream.
#[derive(Clone, Debug)]
pub struct StreamAppend {
    /// The events.
    pub batch: BatchBytes,
    /// Where the stream must stand.
    pub expected: Expected,
}

const DRY_RUN: u8 = 1;
const SKIP: u8 = 2;

/// Bytes of a body before its entries.
pub const BYTES_BEFORE: usize = 16;

/// Bytes that an archive takes in a frame.
#[must_use]
pub fn bytes_in_frame(batch: &BatchBytes) -> usize {
    ALIGN + batch.bytes().len().next_multiple_of(ALIGN)
}

/// Bytes of the body of an Append that carries one archive: nothing stands behind that.
#[must_use]
pub fn body_bytes_of_one(batch: &BatchBytes) -> usize {
    BYTES_BEFORE + ALIGN + batch.bytes().len()
}

/// The frame of Append. At least one append, at most [`BATCHES_MAX`].
#[must_use]
pub fn encode_append<'a>(
    request: u64,
    appends: impl ExactSizeIterator<Item = (&'a BatchBytes, Expected)> + Clone,
    dry_run: bool,
) -> Encoded {
    encode(Kind::Append, request, appends, if dry_run { DRY_RUN } else { 0 })
}

/// The frame of AppendBulk. At least one batch, at most [`BATCHES_MAX`], each of another stream type.
#[must_use]
pub fn encode_bulk(request: u64, batches: &[BatchBytes], on_error: OnError) -> Encoded {
    let facts = if on_error == OnError::Skip { SKIP } else { 0 };
    encode(Kind::AppendBulk, request, batches.iter().map(|batch| (batch, Expected::Any)), facts)
}

fn encode<'a>(
    kind: Kind,
    request: u64,
    batches: impl ExactSizeIterator<Item = (&'a BatchBytes, Expected)> + Clone,
    facts: u8,
) -> Encoded {
    let count = batches.len();
    let copied: usize = batches.clone().map(|(batch, _)| bytes_in_frame(batch)).sum();
    let beside = batches.clone().last().map(|(batch, _)| batch.bytes()).filter(|bytes| bytes.len() >= BESIDE_BYTES);
    let room = copied - beside.map_or(0, |bytes| bytes.len().min(copied));
    let mut out = Writer::with_capacity(kind, request, room + 2 * ALIGN);
    out.u32(count as u32);
    out.u8(facts);
    out.zeros(11);
    for (batch, expected) in batches.clone() {
        let (kind, seq) = expected.to_wire();
        out.u32(batch.bytes().len() as u32);
        out.u8(kind);
        out.zeros(3);
        out.u64(seq);
    }
    for (at, (batch, _)) in batches.enumerate() {
        out.align();
        if at + 1 == count && beside.is_some() {
            break;
        }
        out.bytes(batch.bytes());
    }
    out.finish_with(beside.cloned())
}

/// Appends of a frame.
#[derive(Debug)]
pub struct Appends {
    /// In their order.
    pub appends: Vec<StreamAppend>,
    /// Nothing is to be stored.
    pub dry_run: bool,
}

/// Reads Append and validates every archive: in place, but for those that are small against the frame.
///
/// # Errors
/// [`WireError`].
pub fn decode_append(body: &SharedBytes) -> Result<Appends, WireError> {
    let (appends, facts) = decode(body, BatchUnit::Append, DRY_RUN)?;
    Ok(Appends { appends, dry_run: facts & DRY_RUN != 0 })
}

/// Reads AppendBulk and validates every archive: in place, but for those that are small against the frame.
///
/// # Errors
/// [`WireError`].
pub fn decode_bulk(body: &SharedBytes) -> Result<(Vec<BatchBytes>, OnError), WireError> {
    let (appends, facts) = decode(body, BatchUnit::Rows, SKIP)?;
    if appends.iter().any(|append| append.expected != Expected::Any) {
        return Err(WireError::Body("a bulk append expects no seq"));
    }
    let on_error = if facts & SKIP != 0 { OnError::Skip } else { OnError::Abort };
    Ok((appends.into_iter().map(|append| append.batch).collect(), on_error))
}

fn decode(frame: &SharedBytes, unit: BatchUnit, facts_known: u8) -> Result<(Vec<StreamAppend>, u8), WireError> {
    let mut body = Reader::new(frame);
    let count = body.u32()? as usize;
    let facts = body.u8()?;
    body.zeros(11)?;
    if facts & !facts_known != 0 || !(1..=BATCHES_MAX).contains(&count) {
        return Err(WireError::Body("unknown facts, or a number of archives that is not 1 to 4096"));
    }
    let mut table = Vec::with_capacity(count);
    for _ in 0..count {
        let bytes = body.u32()? as usize;
        let kind = body.u8()?;
        body.zeros(3)?;
        let expected = Expected::from_wire(kind, body.u64()?);
        table.push((bytes, expected.ok_or(WireError::Body("an expected seq of an unknown kind"))?));
    }
    let mut appends = Vec::with_capacity(count);
    let mut copies = Copies { frame, last: None };
    for (n, (bytes, expected)) in table.iter().copied().enumerate() {
        body.align()?;
        let at = frame.len() - body.left();
        let mut archive = body.shared(bytes)?;
        if !may_keep(frame.kept_bytes(), bytes) {
            archive =
                copies.take(at, table.get(n..).unwrap_or_default()).ok_or(WireError::Body("it ends too early"))?;
        }
        let batch = BatchBytes::validate(archive)?;
        if batch.view().unit() != unit {
            return Err(WireError::Body("the unit of a batch does not fit the kind of the frame"));
        }
        appends.push(StreamAppend { batch, expected });
    }
    body.end()?;
    Ok((appends, facts))
}

/// Whether an archive may keep so much alive. One that is small against its frame leaves it: the log and the memory tier keep archives for long and
/// count their own bytes, and its frame-mates may have been refused.
const fn may_keep(kept: usize, archive: usize) -> bool {
    kept <= 2 * archive + KEPT_AROUND_MAX
}

/// Archives that leave their frame: neighbours go together, in pieces of at most [`KEPT_AROUND_MAX`].
struct Copies<'a> {
    frame: &'a SharedBytes,
    /// Where in the frame the last piece began, and its copy.
    last: Option<(usize, SharedBytes)>,
}

impl Copies<'_> {
    /// The first of the archives that are left, which begins at this place of the frame.
    fn take(&mut self, at: usize, left: &[(usize, Expected)]) -> Option<SharedBytes> {
        let ((archive, _), others) = left.split_first()?;
        if let Some((from, copy)) = &self.last
            && let Some(found) = copy.slice(at - from..at - from + archive)
        {
            return Some(found);
        }
        let mut end = at + archive;
        for (other, _) in others {
            let next = end.next_multiple_of(ALIGN) + other;
            let is_out = next - at > KEPT_AROUND_MAX || next > self.frame.len();
            if is_out || may_keep(self.frame.kept_bytes(), *other) {
                break;
            }
            end = next;
        }
        let copy = SharedBytes::copy_aligned(self.frame.get(at..end)?);
        let found = copy.slice(0..*archive);
        self.last = Some((at, copy));
        found
    }
}
