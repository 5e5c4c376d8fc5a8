//! The safety net of a merge: one (stream, seq) is one row of the output.
//!
//! No event is ever in two files; if one is all the same, equal rows become one, and different ones end the merge. Where the
//! order keeps rows of one (stream, seq) side by side, the row before is all that must be remembered. In another order the
//! places of up to [`REMEMBERED_MAX`] rows are (some 50 bytes each); what comes behind them is compared with those only.

use super::MergeError;
use super::order::Order;
use super::source::Source;
use crate::read::RowBatch;
use crate::redaction::Veil;
use crate::rows::Rows;
use std::collections::HashMap;
use strandline_event::hash::keyed_hash;

/// Rows that are remembered where doubles may lie far apart.
const REMEMBERED_MAX: usize = 2 << 20;

/// What was given so far.
pub(crate) struct Doubles<'v> {
    veil: &'v Veil,
    given: Given,
    count: u64,
}

enum Given {
    Last(Option<(RowBatch, usize)>),
    /// Hash of (stream, seq) -> input and row.
    All(HashMap<u128, (usize, u64)>),
}

impl<'v> Doubles<'v> {
    pub(crate) fn new(order: &Order, veil: &'v Veil) -> Self {
        let given = if order.keeps_doubles_together() { Given::Last(None) } else { Given::All(HashMap::new()) };
        Self { veil, given, count: 0 }
    }

    /// Rows that were not new.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Whether only neighbours can be doubles.
    pub(crate) const fn are_neighbours(&self) -> bool {
        matches!(self.given, Given::Last(_))
    }

    /// Rows of a batch were given up to this one, of which none was a double of another.
    pub(crate) fn gave(&mut self, batch: &RowBatch, at: usize) {
        if let Given::Last(last) = &mut self.given {
            remember(last, batch, at);
        }
    }

    /// Whether the present row of an input was not given before.
    pub(crate) fn is_new(&mut self, sources: &[Source], source: usize) -> Result<bool, MergeError> {
        let (batch, at) = sources[source].here();
        let double = match &mut self.given {
            Given::Last(last) => {
                let double = match last {
                    Some((before, n)) => is_double(self.veil, (before, *n), (batch, at))?,
                    None => false,
                };
                remember(last, batch, at);
                double
            }
            Given::All(places) => {
                let row = batch.row(at);
                let hash = keyed_hash(0, 0, &[row.stream_id.as_bytes(), &row.seq.0.to_le_bytes()]);
                match places.get(&hash) {
                    Some((earlier, n)) => {
                        let before = sources[*earlier].fetch(*n)?;
                        is_double(self.veil, (&before, 0), (batch, at))?
                    }
                    None => {
                        if places.len() < REMEMBERED_MAX {
                            places.insert(hash, (source, batch.place(at).row));
                        }
                        false
                    }
                }
            }
        };
        self.count += u64::from(double);
        Ok(!double)
    }
}

fn remember(last: &mut Option<(RowBatch, usize)>, batch: &RowBatch, at: usize) {
    match last {
        Some((before, n)) if before.is_same(batch) => *n = at,
        other => *other = Some((batch.clone(), at)),
    }
}

/// Whether two rows are one event. Errors: one (stream, seq), different content.
fn is_double(veil: &Veil, (first, i): (&RowBatch, usize), (second, j): (&RowBatch, usize)) -> Result<bool, MergeError> {
    if first.seq(i) != second.seq(j) || first.stream_id(i) != second.stream_id(j) {
        return Ok(false);
    }
    let (a, b) = (veil.over(first.row(i)), veil.over(second.row(j)));
    if a == b {
        return Ok(true);
    }
    let (stream_id, seq) = (a.stream_id.to_owned(), a.seq.0);
    Err(MergeError::Differs { stream_id, seq, first: first.place(i), second: second.place(j) })
}
