//! How many distinct values the columns with a bloom filter have in the row group that is being written: so large its filters will be, and so
//! much of a file must be left for them. The encoder knows only when the group ends.
//!
//! Event ids are one a row. Other columns are estimated by a sketch (HyperLogLog, Flajolet et al. 2007, of 4 KiB a column, within some 2 %);
//! what is said is an eighth more, so that a file hardly ever ends over its bound.

use super::filters::{bytes_a_value, bytes_of, hash_all};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use strandline_event::Field;
use twox_hash::XxHash64;

/// Bits of a hash that choose a register.
const INDEX_BITS: u32 = 12;
const REGISTERS: usize = 1 << INDEX_BITS;

struct Column {
    field: Field,
    /// `None`: each row has a value of its own.
    sketch: Option<Sketch>,
    /// As of the last batch.
    estimate: u64,
}

/// The columns of a row group.
pub(super) struct Distinct {
    bytes_a_value: f64,
    columns: Vec<Column>,
    rows: u64,
}

impl Distinct {
    pub(super) fn new(fields: &[Field], fpp: f64) -> Self {
        let column = |field: &Field| Column {
            field: *field,
            sketch: (*field != Field::EventId).then(Sketch::default),
            estimate: 0,
        };
        Self { bytes_a_value: bytes_a_value(fpp), columns: fields.iter().map(column).collect(), rows: 0 }
    }

    /// Another row group begins.
    pub(super) fn clear(&mut self) {
        self.rows = 0;
        for column in &mut self.columns {
            column.estimate = 0;
            column.sketch.iter_mut().for_each(|sketch| sketch.0.fill(0));
        }
    }

    /// Takes the rows of a batch.
    pub(super) fn add(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        let mut hashes = Vec::new();
        for column in &mut self.columns {
            let Some(sketch) = &mut column.sketch else {
                column.estimate = self.rows;
                continue;
            };
            let Some(values) = batch.columns().get(column.field as usize) else { continue };
            if matches!(values.data_type(), DataType::Utf8) {
                sketch.add_texts(values.as_string::<i32>().iter());
            } else {
                hashes.clear();
                hash_all(values, &mut hashes);
                hashes.iter().flatten().for_each(|hash| sketch.add(*hash));
            }
            column.estimate = sketch.estimate().min(self.rows);
        }
    }

    /// Bytes of the filters of the row group, if so many rows come to it.
    pub(super) fn filter_bytes(&self, more_rows: u64) -> u64 {
        let of = |column: &Column| bytes_of((column.estimate + more_rows) as f64 * self.bytes_a_value) as u64;
        self.columns.iter().map(of).sum()
    }
}

/// The largest number of leading zeros, and one, of the hashes that chose a register.
struct Sketch(Box<[u8]>);

impl Default for Sketch {
    fn default() -> Self {
        Self(vec![0; REGISTERS].into())
    }
}

impl Sketch {
    fn add(&mut self, hash: u64) {
        let at = (hash >> (u64::BITS - INDEX_BITS)) as usize;
        let rank = ((hash << INDEX_BITS).leading_zeros().min(u64::BITS - INDEX_BITS) + 1) as u8;
        if let Some(register) = self.0.get_mut(at) {
            *register = (*register).max(rank);
        }
    }

    /// Equal neighbours, of which sorted columns are full, are hashed once.
    fn add_texts<'a>(&mut self, texts: impl Iterator<Item = Option<&'a str>>) {
        let mut last = None;
        for text in texts.flatten() {
            if last != Some(text) {
                self.add(XxHash64::oneshot(0, text.as_bytes()));
                last = Some(text);
            }
        }
    }

    /// An eighth more than what is likely.
    fn estimate(&self) -> u64 {
        let registers = REGISTERS as f64;
        // two to the power of minus the rank, by its exponent
        let sum: f64 = self.0.iter().map(|rank| f64::from_bits((1023 - u64::from(*rank)) << 52)).sum();
        let unset = self.0.iter().filter(|rank| **rank == 0).count() as f64;
        let raw = 0.7213 / (1.0 + 1.079 / registers) * registers * registers / sum;
        let likely = if raw <= 2.5 * registers && unset > 0.0 { registers * (registers / unset).ln() } else { raw };
        (likely * 1.125) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sketch_says_a_little_more_than_there_is() {
        for distinct in [0_u64, 1, 5, 50, 700, 4000, 9000, 12_000, 60_000, 300_000] {
            let mut sketch = Sketch::default();
            let texts: Vec<String> = (0..distinct).map(|n| format!("value {n}")).collect();
            for _ in 0..2 {
                sketch.add_texts(texts.iter().map(|text| Some(text.as_str())));
            }
            let said = sketch.estimate();
            assert!(said >= distinct && said <= distinct + distinct / 4 + 1, "{distinct}: {said}");
        }
    }
}
