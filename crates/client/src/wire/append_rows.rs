//! Single events that go together as rows of one batch, each an append of its own: where each one's stream must stand, then the archive. See
//! PROTOCOL.md, section 4.
//!
//! One archive is validated, judged, written and kept where as many archives of one row would be. Invariant: the rows are of one stream type and
//! one tenant, and say nothing that only an append by itself may say: no id, no seq, no chunk, and no payload of no bytes, which builders of batches
//! take for `null`.

use crate::wire::append::{BATCHES_MAX, Expected};
use crate::wire::error::WireError;
use crate::wire::fields::{Encoded, Reader, Writer};
use crate::wire::header::{ALIGN, Kind};
use strandline_event::{BatchBuilder, BatchBytes, BatchUnit, BatchView, SharedBytes};

/// Single events of a frame.
#[derive(Clone, Debug)]
pub struct AppendRows {
    /// All of them.
    pub batch: BatchBytes,
    /// By row: where its stream must stand.
    pub expected: Vec<Expected>,
}

/// Whether an append may be a row among others.
#[must_use]
pub fn may_be_row(batch: &BatchBytes) -> bool {
    let view = batch.view();
    view.rows() == 1 && view.chunk().is_none() && is_plain(view, 0)
}

/// Whether an append may be a row beside another one.
#[must_use]
pub fn may_be_beside(first: &BatchBytes, batch: &BatchBytes) -> bool {
    let (first, view) = (first.view(), batch.view());
    may_be_row(batch) && view.stream_type() == first.stream_type() && view.tenant_id(0) == first.tenant_id(0)
}

fn is_plain(view: BatchView<'_>, row: usize) -> bool {
    view.given_event_id(row).is_none() && view.given_seq(row).is_none() && !view.data(row).is_empty()
}

/// The frame of AppendRows; `None`: there are not two appends that may go together, or not all of them may.
#[must_use]
pub fn encode_append_rows<'a>(
    request: u64,
    appends: impl ExactSizeIterator<Item = (&'a BatchBytes, Expected)> + Clone,
) -> Option<Encoded> {
    let count = appends.len();
    let (first, _) = appends.clone().next().filter(|_| (2..=BATCHES_MAX).contains(&count))?;
    let mut rows = BatchBuilder::new(first.view().stream_type(), BatchUnit::Rows);
    for (batch, _) in appends.clone() {
        rows.push(&may_be_beside(first, batch).then(|| batch.view().input(0))?).ok()?;
    }
    let archive = rows.finish().ok()?;
    let mut out = Writer::with_capacity(Kind::AppendRows, request, ALIGN * (count + 1) + archive.bytes().len());
    out.u32(count as u32);
    out.zeros(12);
    for (_, expected) in appends {
        let (kind, seq) = expected.to_wire();
        out.u8(kind);
        out.zeros(7);
        out.u64(seq);
    }
    out.bytes(archive.bytes());
    Some(out.finish())
}

/// Reads AppendRows and validates its archive, in place.
///
/// # Errors
/// [`WireError`].
pub fn decode_append_rows(body: &SharedBytes) -> Result<AppendRows, WireError> {
    let mut body = Reader::new(body);
    let count = body.u32()? as usize;
    body.zeros(12)?;
    if !(1..=BATCHES_MAX).contains(&count) {
        return Err(WireError::Body("a number of rows that is not 1 to 4096"));
    }
    let mut expected = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = body.u8()?;
        body.zeros(7)?;
        let one = Expected::from_wire(kind, body.u64()?);
        expected.push(one.ok_or(WireError::Body("an expected seq of an unknown kind"))?);
    }
    let batch = BatchBytes::validate(body.shared(body.left())?)?;
    let view = batch.view();
    if view.unit() != BatchUnit::Rows || view.rows() != count || view.chunk().is_some() {
        return Err(WireError::Body("the archive is not one of as many rows"));
    }
    let tenant = view.tenant_id(0);
    if !(0..count).all(|row| is_plain(view, row) && view.tenant_id(row) == tenant) {
        return Err(WireError::Body("a row has an id, a seq, no payload or another tenant: it is an append by itself"));
    }
    Ok(AppendRows { batch, expected })
}
