//! The texts of one field of a window: first where they are and how long, then one after the other in the order of the file.
//!
//! Who goes by the log writes to places that lie far apart. What is written there is four bytes a row, the text's length; where a text is stands in
//! the order of visits, in which it is asked for again.

use super::spare::Spare;
use super::visit::Visit;
use crate::rows::Rows;
use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;
use std::sync::Arc;
use strandline_event::Field;

/// Instead of a length: the row has no text.
const NONE: u32 = u32::MAX;

/// A text that is too long for any column keeps a length that is, too.
const fn length(bytes: usize) -> u32 {
    if bytes < NONE as usize { bytes as u32 } else { NONE - 1 }
}

/// Nothing where nobody looked.
#[derive(Default)]
pub(super) struct Texts<'a> {
    /// Where they are: one a visit, or one a place.
    at: Vec<&'a [u8]>,
    /// Rows that stand together share one: `at` goes by places.
    is_shared: bool,
    /// Bytes of each, by place; [`NONE`]: the row has none.
    lengths: Vec<u32>,
}

impl<'a> Texts<'a> {
    /// Looks at each row of a window.
    pub(super) fn look<B: Rows>(&mut self, batches: &'a [B], visits: &[Visit], field: Field) {
        self.is_shared = false;
        self.at.clear();
        // each place is visited: what stands there is of the window before
        self.lengths.resize(visits.len(), 0);
        for visits in visits.chunk_by(Visit::is_of_batch) {
            let Some(batch) = visits.first().map(|visit| &batches[visit.batch as usize]) else { continue };
            match batch.column(field) {
                Some(column) => self.add(visits, |row| Some(column.bytes(row))),
                None => self.add(visits, |row| batch.bytes(row, field)),
            }
        }
    }

    #[inline]
    fn add(&mut self, visits: &[Visit], text: impl Fn(usize) -> Option<&'a [u8]>) {
        let Self { at, lengths, .. } = self;
        at.extend(visits.iter().map(|visit| {
            let text = text(visit.row as usize);
            lengths[visit.place as usize] = text.map_or(NONE, |text| length(text.len()));
            text.unwrap_or_default()
        }));
    }

    /// Looks at the id of each row's stream, in the first of its rows that stand together.
    pub(super) fn look_at_streams<B: Rows>(&mut self, batches: &'a [B], visits: &[Visit]) {
        self.is_shared = true;
        self.at.resize(visits.len(), &[]);
        self.lengths.clear();
        self.lengths.resize(visits.len(), NONE);
        for Visit { batch, row, place, .. } in visits.iter().filter(|visit| visit.leads) {
            // no row is without one
            let id = batches[*batch as usize].bytes(*row as usize, Field::StreamId).unwrap_or_default();
            (self.at[*place as usize], self.lengths[*place as usize]) = (id, length(id.len()));
        }
        let (mut last, mut last_length): (&[u8], u32) = (&[], 0);
        for (id, length) in self.at.iter_mut().zip(&mut self.lengths) {
            if *length == NONE {
                (*id, *length) = (last, last_length);
            }
            (last, last_length) = (*id, *length);
        }
    }

    /// Adds the bytes of each row.
    pub(super) fn add_bytes(&self, sums: &mut [usize]) {
        for (sum, length) in sums.iter_mut().zip(&self.lengths) {
            *sum += if *length == NONE { 0 } else { *length as usize };
        }
    }

    /// Forgets the places from `rows` on, of which there are visits.
    pub(super) fn truncate(&mut self, visits: &[Visit], rows: usize) {
        if self.is_shared {
            self.at.truncate(rows);
        } else {
            let mut visits = visits.iter();
            self.at.retain(|_| visits.next().is_some_and(|visit| (visit.place as usize) < rows));
        }
        self.lengths.truncate(rows);
    }

    /// Copies them to their places.
    pub(super) fn array(&self, visits: &[Visit], spare: &mut Spare) -> Result<ArrayRef, ArrowError> {
        let mut ends = spare.ends(self.lengths.len() + 1);
        ends[0] = 0;
        let (mut end, mut some_have_none) = (0, false);
        for (length, ends) in self.lengths.iter().zip(&mut ends[1..]) {
            some_have_none |= *length == NONE;
            end += if *length == NONE { 0 } else { *length as usize };
            // a window is bounded far below 2 GiB of text: one row has 1 MiB at most
            *ends = i32::try_from(end).map_err(|_| ArrowError::OffsetOverflowError(end))?;
        }
        let mut values = spare.bytes(end);
        let mut copy = |begin: i32, text: &[u8]| {
            values[begin as usize..begin as usize + text.len()].copy_from_slice(text);
        };
        if self.is_shared {
            self.at.iter().zip(&ends).for_each(|(text, begin)| copy(*begin, text));
        } else {
            self.at.iter().zip(visits).for_each(|(text, visit)| copy(ends[visit.place as usize], text));
        }
        let has_text = |length: &u32| *length != NONE;
        let nulls = some_have_none.then(|| self.lengths.iter().map(has_text).collect::<NullBuffer>());
        let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
        Ok(Arc::new(StringArray::try_new(ends, values.into(), nulls)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_too_much_for_a_column_are_an_error() {
        let most = length(i32::MAX as usize);
        for lengths in
            [vec![most, 1], vec![most, NONE, most, most], vec![length(NONE as usize)], vec![length(usize::MAX)]]
        {
            let texts = Texts { at: vec![&b""[..]; lengths.len()], is_shared: true, lengths };
            assert!(texts.array(&[], &mut Spare::default()).is_err());
        }
    }
}
