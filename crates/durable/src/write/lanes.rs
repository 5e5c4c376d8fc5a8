//! The rows of a large job in two lanes that are written side by side: each gathers, encodes and writes files of its own.
//!
//! A lane ends where a partition does, or else where a stream does: no stream of the job stands in two files that one would have
//! held, and what a lookup skips by the smallest and largest stream of a file stays as it was.

use super::{JobSpec, JobWriter, WriteError};
use crate::entry::FileEntry;
use crate::rows::Rows;
use crate::sort::RowRef;
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

/// Fewer rows than these are not worth a file of their own.
const LANE_ROWS: usize = 32 << 10;

impl JobWriter<'_> {
    /// Writes all rows in this order, which goes partition by partition. `on_rows` is told the rows so far, by one lane at a time,
    /// and may stop both. On an error the files that were finished are named in `written`.
    pub(crate) fn write<B: Rows>(
        &self,
        job: &JobSpec,
        batches: &[B],
        order: &[RowRef],
        on_rows: &mut (dyn FnMut(u64) -> ControlFlow<()> + Send),
        written: &mut Vec<FileEntry>,
    ) -> Result<(), WriteError> {
        let (first, second) = order.split_at(cut(order));
        let told = Mutex::new((0, on_rows));
        let stopped = AtomicBool::new(false);
        let report = |rows| {
            let (so_far, on_rows) = &mut *told.lock();
            *so_far += rows;
            if stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { on_rows(*so_far) }
        };
        let lane = |rows: &[RowRef], written: &mut Vec<FileEntry>| {
            let outcome = self.write_lane(job, batches, rows, &report, written);
            stopped.fetch_or(outcome.is_err(), Ordering::Relaxed);
            outcome
        };
        if second.is_empty() {
            return lane(first, written);
        }
        let mut behind = Vec::new();
        let (mine, theirs) = std::thread::scope(|scope| {
            let other = scope.spawn(|| lane(second, &mut behind));
            let mine = lane(first, written);
            (mine, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        written.append(&mut behind);
        match (mine, theirs) {
            // stopped by the other one, whose reason counts
            (Err(WriteError::Cancelled), Err(reason)) => Err(reason),
            (mine, theirs) => mine.and(theirs),
        }
    }
}

/// Where the second lane begins; behind all rows: there is none.
fn cut(order: &[RowRef]) -> usize {
    let (rows, middle) = (order.len(), order.len() / 2);
    let Some(at) = order.get(middle).filter(|_| rows >= 2 * LANE_ROWS) else { return rows };
    let begins = order.partition_point(|row| row.partition < at.partition);
    let ends = order.partition_point(|row| row.partition <= at.partition);
    let nearest = if middle - begins < ends - middle { begins } else { ends };
    if nearest.abs_diff(middle) <= rows / 8 {
        return nearest;
    }
    let same = |row: &&RowRef| row.is_of_stream(at);
    let stream_ends = middle + order[middle..ends].iter().take_while(same).count();
    if rows - stream_ends >= LANE_ROWS { stream_ends } else { rows }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of (partition, stream).
    fn rows(of: impl Iterator<Item = (u32, u32)>) -> Vec<RowRef> {
        of.map(|(partition, stream)| RowRef::numbered(partition, stream)).collect()
    }

    #[test]
    fn a_lane_ends_with_a_partition_or_a_stream() {
        let n = LANE_ROWS as u32;
        let small = rows((0..2 * n - 1).map(|i| (0, i)));
        assert_eq!(cut(&small), small.len(), "one lane");
        let days = rows((0..4 * n).map(|i| (i * 7 / (4 * n), i % 9)));
        let at = cut(&days);
        assert!(days[at - 1].partition < days[at].partition && at.abs_diff(days.len() / 2) <= days.len() / 8, "{at}");
        // one partition has nearly everything
        let streams = rows((0..4 * n).map(|i| (u32::from(i > 10), i / 1000)));
        let at = cut(&streams);
        assert!(!streams[at - 1].is_of_stream(&streams[at]) && at.abs_diff(streams.len() / 2) <= 1000, "{at}");
        let one = rows((0..4 * n).map(|_| (0, 7)));
        assert_eq!(cut(&one), one.len(), "one stream");
        assert_eq!(cut(&[]), 0);
    }
}
