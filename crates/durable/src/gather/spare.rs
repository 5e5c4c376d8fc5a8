//! Memory of a window's columns that the next window uses again: the system clears what is fresh, page by page, and a job has
//! many windows of megabytes.

use crate::layout::WINDOW_BYTES;
use arrow::array::{Array, RecordBatch};
use arrow::buffer::Buffer;

/// Windows of how many times the size a new vector has room for, as far as it has
const GROWTH: usize = 2;
/// no more than these bytes then: somewhat above the largest window.
const ROOM_BYTES: usize = WINDOW_BYTES + WINDOW_BYTES / 8;

/// Vectors to be written over: their values are those of another window.
#[derive(Default)]
pub(super) struct Spare {
    bytes: Vec<Vec<u8>>,
    ends: Vec<Vec<i32>>,
    numbers: Vec<Vec<i64>>,
}

impl Spare {
    /// What a window leaves, as far as nobody else holds it.
    pub(super) fn of(window: &mut Option<RecordBatch>) -> Self {
        let columns = window.take().map(|batch| batch.columns().iter().map(Array::to_data).collect::<Vec<_>>());
        let mut spare = Self::default();
        for column in columns.into_iter().flatten() {
            let (_, _, _, _, buffers, _) = column.into_parts();
            buffers.into_iter().for_each(|buffer| spare.keep(buffer));
        }
        spare
    }

    /// A buffer becomes a vector of the type that it was made of only; what is shared or empty becomes none.
    fn keep(&mut self, buffer: Buffer) {
        let buffer = match buffer.into_vec() {
            Ok(numbers) => return self.numbers.push(numbers),
            Err(buffer) => buffer,
        };
        match buffer.into_vec() {
            Ok(ends) => self.ends.push(ends),
            Err(buffer) => self.bytes.extend(buffer.into_vec()),
        }
    }

    /// So many bytes.
    pub(super) fn bytes(&mut self, len: usize) -> Vec<u8> {
        taken(&mut self.bytes, len)
    }

    /// So many ends of texts.
    pub(super) fn ends(&mut self, len: usize) -> Vec<i32> {
        taken(&mut self.ends, len)
    }

    /// So many numbers.
    pub(super) fn numbers(&mut self, len: usize) -> Vec<i64> {
        taken(&mut self.numbers, len)
    }
}

/// The smallest that has room, or a new one. Windows grow: a new one has room for larger ones, which takes memory when it is written to.
fn taken<T: Clone + Default>(spare: &mut Vec<Vec<T>>, len: usize) -> Vec<T> {
    let rooms = spare.iter().map(Vec::capacity).enumerate();
    let fits = rooms.filter(|(_, room)| *room >= len).min_by_key(|(_, room)| *room);
    let larger = (GROWTH * len).min(ROOM_BYTES / size_of::<T>());
    let mut values = fits.map_or_else(|| Vec::with_capacity(len.max(larger)), |(place, _)| spare.swap_remove(place));
    values.resize(len, T::default());
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    fn window(spare: &mut Spare) -> (RecordBatch, [usize; 3]) {
        let (mut ends, text, numbers) = (spare.ends(3), spare.bytes(4), spare.numbers(2));
        ends.copy_from_slice(&[0, 2, 4]);
        let at = [ends.as_ptr().addr(), text.as_ptr().addr(), numbers.as_ptr().addr()];
        let text = vec_of(text);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::try_new(arrow::buffer::OffsetBuffer::new(ends.into()), text.into(), None).unwrap()),
            Arc::new(Int64Array::from(numbers)),
        ];
        let schema = Schema::new(vec![Field::new("t", DataType::Utf8, false), Field::new("n", DataType::Int64, false)]);
        (RecordBatch::try_new(Arc::new(schema), columns).unwrap(), at)
    }

    fn vec_of(mut text: Vec<u8>) -> Vec<u8> {
        text.fill(b'x');
        text
    }

    #[test]
    fn a_window_takes_the_memory_of_the_one_before_unless_somebody_holds_it() {
        let (first, at) = window(&mut Spare::default());
        let held = first.clone();
        let (second, other) = window(&mut Spare::of(&mut Some(first)));
        assert!(at.iter().zip(other).all(|(a, b)| *a != b), "held: {at:?} {other:?}");
        assert_eq!(held, second);
        drop(held);
        let (third, again) = window(&mut Spare::of(&mut Some(second)));
        assert_eq!(again, other);
        assert_eq!(third.num_rows(), 2);
    }

    #[test]
    fn what_is_too_small_is_not_taken() {
        let mut spare = Spare { bytes: vec![vec![1; 10], vec![2; 40]], ..Spare::default() };
        assert_eq!(spare.bytes(8), [1; 8]);
        assert_eq!(spare.bytes(41).len(), 41);
        assert_eq!(spare.bytes(40), [2; 40]);
        assert!(spare.bytes.is_empty());
    }
}
