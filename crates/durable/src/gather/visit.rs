//! The rows of a window in the order of the log.
//!
//! Sorted by counting: they come in the order of the file, in which a comparison tells little, and their places in the log are dense numbers.

/// A row of a window, and its place there.
#[derive(Clone, Copy, Default)]
pub(super) struct Visit {
    pub(super) batch: u32,
    pub(super) row: u32,
    pub(super) place: u32,
    /// The row before it in the file is of another stream, or of another window.
    pub(super) leads: bool,
}

impl Visit {
    pub(super) const fn is_of_batch(&self, other: &Self) -> bool {
        self.batch == other.batch
    }
}

/// Bits of a row's number that one pass looks at: its counters stay in the nearest cache.
const DIGIT_BITS: u32 = 11;
const DIGITS: usize = 1 << DIGIT_BITS;

/// Numbers the rows of a job.
pub(super) struct LogOrder {
    /// Rows that stand before each batch.
    before: Vec<usize>,
    /// All of them.
    rows: usize,
    /// Used again by each window.
    other: Vec<Visit>,
}

impl LogOrder {
    /// Of batches with so many rows.
    pub(super) fn new(batches: impl Iterator<Item = usize>) -> Self {
        let mut rows = 0;
        let stands_before = |more: usize| {
            rows += more;
            rows - more
        };
        let before = batches.map(stands_before).collect();
        Self { before, rows, other: Vec::new() }
    }

    /// Puts visits in the order of the log.
    pub(super) fn sort(&mut self, visits: &mut Vec<Visit>) {
        let Self { before, rows, other } = self;
        let bits = usize::BITS - rows.leading_zeros();
        other.resize(visits.len(), Visit::default());
        // stable, so the higher digits keep the order of the lower ones
        for shift in (0..bits).step_by(DIGIT_BITS as usize) {
            let digit = |visit: &Visit| ((before[visit.batch as usize] + visit.row as usize) >> shift) % DIGITS;
            let mut next = [0_u32; DIGITS + 1];
            for visit in visits.iter() {
                next[digit(visit) + 1] += 1;
            }
            for i in 1..next.len() {
                next[i] += next[i - 1];
            }
            for visit in visits.iter() {
                let at = &mut next[digit(visit)];
                other[*at as usize] = *visit;
                *at += 1;
            }
            std::mem::swap(visits, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_visited_as_the_log_has_them() {
        for batches in [vec![1], vec![0, 3, 0, 2047, 1, 5], vec![700; 9], vec![1; 5000], vec![5_000_000, 2]] {
            let mut order = LogOrder::new(batches.iter().copied());
            let mut all = Vec::new();
            for (batch, rows) in batches.iter().enumerate() {
                // of a large batch some rows only
                let rows = (0..*rows as u32).step_by(1 + rows / 3000);
                all.extend(rows.map(|row| (batch as u32, row)));
            }
            for stride in [1, 7, 13] {
                let mut visits: Vec<_> = (0..stride)
                    .flat_map(|first| all.iter().rev().skip(first).step_by(stride))
                    .zip(0..)
                    .map(|(&(batch, row), place)| Visit { batch, row, place, leads: place % 3 == 0 })
                    .collect();
                let mut expected: Vec<_> = visits.iter().map(|v| (v.batch, v.row, v.place, v.leads)).collect();
                expected.sort_unstable();
                order.sort(&mut visits);
                let sorted: Vec<_> = visits.iter().map(|v| (v.batch, v.row, v.place, v.leads)).collect();
                assert_eq!(sorted, expected);
            }
        }
    }
}
