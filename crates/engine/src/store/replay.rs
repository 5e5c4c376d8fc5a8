//! The replay of a log at a start: one thread reads and hashes its batches, the other takes them in.
//!
//! ```text
//!  frames of the log ─> checked, validated, hashed ── some batches at a time ──> tables of the log
//!                                                                            └─> memory, of what it will still hold at the end
//! ```
//!
//! Memory is filled in the order of the log, which may be larger: batches that would leave again before it is read to its end are not put
//! in at all. Refuses to decide what a frame that cannot be read means. Invariant: what memory gets of a log has no gap.

use super::report::OpenReport;
use super::setting::hot_options;
use super::{Setting, Store};
use crate::append::{Learned, Log, Rules};
use crate::read::ReadError;
use crate::view::frames::{self, TailFrame};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use strandline_event::{LogIndex, LogKey, Micros};
use strandline_hot::HotTier;
use strandline_wal::{FrameLoc, LogView, SegmentBytes};

/// Rows that are handed over together: a batch by itself may have one only.
const STEP_ROWS: usize = 1 << 10;
/// Bytes of their batches, but for the last one: a row may have a megabyte.
const STEP_BYTES: usize = 1 << 20;
/// Steps that wait to be taken in, at most: what they hold is in memory besides all else.
const STEPS_AHEAD: usize = 4;

/// A batch that was read, and what there is to learn of it.
type Read = Result<(TailFrame, Learned), ReadError>;

impl Store {
    /// A log is replayed as far as it can be read: the events, and why it is not read to its end.
    pub(super) fn replay(
        &self,
        log: &mut Log,
        view: &Arc<LogView>,
        after: LogIndex,
        now: Micros,
        report: &mut OpenReport,
    ) -> (u64, Option<ReadError>) {
        let (mut events, mut stopped) = (0, None);
        if view.last_index() <= after {
            return (events, stopped);
        }
        let key = log.key().clone();
        let entries = match frames::entries(&key, view, after, view.last_index()) {
            Ok(entries) => entries,
            Err(error) => return (events, Some(error)),
        };
        let rules = self.rules();
        let mut warm = Warm::of(&self.setting(), key, view, now);
        let (to, steps) = sync_channel(STEPS_AHEAD);
        std::thread::scope(|scope| {
            scope.spawn(move || read_all(entries, &rules, &to));
            for read in steps.into_iter().flatten() {
                match read {
                    Ok((frame, learned)) => {
                        log.learn(frame.index, &frame.batch, &learned);
                        report.replayed_batches += 1;
                        events += frame.batch.rows() as u64;
                        if let Some(warm) = &mut warm {
                            warm.take(frame);
                        }
                    }
                    Err(error) => stopped = Some(error),
                }
            }
        });
        (events, stopped)
    }
}

/// Reads to the end, or to the first frame that cannot be read, which is the last that is handed over.
fn read_all(entries: impl Iterator<Item = Result<TailFrame, ReadError>>, rules: &Rules, to: &SyncSender<Vec<Read>>) {
    let (mut step, mut rows, mut bytes) = (Vec::new(), 0, 0);
    for entry in entries {
        let read = entry.map(|frame| {
            let learned = Learned::of(&frame.batch, rules);
            (frame, learned)
        });
        if let Ok((frame, _)) = &read {
            rows += frame.batch.rows();
            bytes += frame.batch.size_bytes();
        }
        let is_last = read.is_err();
        step.push(read);
        if is_last || rows >= STEP_ROWS || bytes >= STEP_BYTES {
            (rows, bytes) = (0, 0);
            // nobody takes it only where the other thread has ended early
            if to.send(std::mem::take(&mut step)).is_err() || is_last {
                return;
            }
        }
    }
    if !step.is_empty() {
        let _ = to.send(step);
    }
}

/// What memory is warmed with, of one log.
struct Warm {
    hot: Arc<HotTier>,
    key: LogKey,
    now: Micros,
    /// What was taken then or earlier is too old.
    oldest: Micros,
    max_bytes: u64,
    /// Segments that are not read to their end, with what is left of their entries.
    segments: VecDeque<SegmentBytes>,
    /// What is left of all of them.
    left_bytes: u64,
    /// Whether a batch has come.
    has_read: bool,
    /// All that comes from here on goes in.
    has_begun: bool,
}

impl Warm {
    /// `None`: the store has no memory.
    fn of(setting: &Setting, key: LogKey, view: &LogView, now: Micros) -> Option<Self> {
        let inmemory = &setting.config.inmemory;
        let segments = VecDeque::from(view.opened_with());
        Some(Self {
            hot: Arc::clone(setting.hot.as_ref()?),
            key,
            now,
            oldest: now.minus_seconds(inmemory.ttl_seconds),
            max_bytes: hot_options(inmemory).max_bytes,
            left_bytes: segments.iter().map(|segment| segment.entry_bytes).sum(),
            segments,
            has_read: false,
            has_begun: false,
        })
    }

    /// The next batch of the log. The first one that goes in opens the log in memory; time never falls, so where one is young enough all
    /// later ones are.
    fn take(&mut self, frame: TailFrame) {
        self.pass_before(frame.loc);
        // it is among what is left; memory counts more for a batch than its bytes, so that some will leave rather than lack
        self.has_begun |= self.left_bytes <= self.max_bytes;
        self.pass(frame.batch.size_bytes() as u64);
        let taken = frame.batch.stamps().last_ingested_at().min(self.now);
        if self.has_begun && taken > self.oldest {
            self.hot.insert(&self.key, frame.index, frame.batch, taken);
        }
    }

    /// Nothing is left of segments before the frame's; and where the log is read from the middle of one, not all of that.
    fn pass_before(&mut self, loc: FrameLoc) {
        while let Some(segment) = self.segments.front().filter(|segment| segment.number < loc.segment) {
            self.left_bytes -= segment.entry_bytes;
            self.segments.pop_front();
        }
        if let Some(segment) = self.segments.front().filter(|_| !self.has_read) {
            let before = u128::from(segment.entry_bytes) * u128::from(loc.offset) / u128::from(segment.bytes.max(1));
            self.pass(u64::try_from(before).unwrap_or(u64::MAX));
        }
        self.has_read = true;
    }

    /// So many bytes of the present segment's entries are not left any more.
    fn pass(&mut self, bytes: u64) {
        let Some(segment) = self.segments.front_mut() else { return };
        let bytes = bytes.min(segment.entry_bytes);
        segment.entry_bytes -= bytes;
        self.left_bytes -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::{BatchBuilder, BatchUnit, EventInput, IdPrefix, Seq, StampedBatch, StampsBuilder};
    use strandline_hot::{HotOptions, HotRange};
    use strandline_wal::SegmentNo;

    const FRAMES: u64 = 100;
    const MAX_BYTES: u64 = 250_000;
    const NOW: Micros = Micros(9_000_000);

    fn options() -> HotOptions {
        HotOptions { max_bytes: MAX_BYTES, ttl_us: None, has_log: true }
    }

    /// Events of streams that no other batch has: what it costs in memory does not depend on what is there.
    fn batch(number: u64, rows: u64, text: usize) -> StampedBatch {
        let at = Micros(1 + number.cast_signed());
        let mut builder = BatchBuilder::new("T", BatchUnit::Rows);
        let mut stamps = StampsBuilder::new(at, IdPrefix::v7(at, number), 10);
        let data = format!("\"{}\"", "x".repeat(text));
        for row in 0..rows {
            let stream_id = format!("s{number}-{row}");
            let event = EventInput { stream_id: &stream_id, event_type: "E", data: &data, ..EventInput::default() };
            builder.push(&event).unwrap();
            stamps.push(Seq(1), at);
        }
        StampedBatch::new(builder.finish().unwrap(), stamps.finish()).unwrap()
    }

    /// A log of such batches, in frames that stand so many bytes apart, in two segments.
    fn log(stride: u64, batch: impl Fn(u64) -> StampedBatch) -> (Vec<TailFrame>, Vec<SegmentBytes>) {
        let half = FRAMES / 2;
        let mut segments: Vec<_> =
            (0..2).map(|n| SegmentBytes { number: SegmentNo(3 + n), bytes: half * stride, entry_bytes: 0 }).collect();
        let frames = (0..FRAMES).map(|n| {
            let batch = batch(n);
            let len = u32::try_from(batch.size_bytes()).unwrap();
            assert!(u64::from(len) <= stride, "{len}");
            segments[usize::from(n >= half)].entry_bytes += u64::from(len);
            let loc = FrameLoc { segment: SegmentNo(3 + n / half), offset: n % half * stride, len };
            TailFrame { index: LogIndex(7 + n), loc, batch }
        });
        (frames.collect(), segments)
    }

    fn warm(segments: Vec<SegmentBytes>, oldest: Micros) -> Warm {
        Warm {
            hot: Arc::new(HotTier::new(options())),
            key: LogKey::single("T"),
            now: NOW,
            oldest,
            max_bytes: MAX_BYTES,
            left_bytes: segments.iter().map(|segment| segment.entry_bytes).sum(),
            segments: segments.into(),
            has_read: false,
            has_begun: false,
        }
    }

    #[test]
    fn what_is_handed_over_together_is_bounded_by_rows_and_by_bytes() {
        let text = "CREATE EVENTSTORE t WITH (durable.type = 'parquet', durable.path = 'memory://t');";
        let declared = strandline_deql::parse_file("t.deql", text).unwrap();
        let rules = Rules::new(&declared.stores[0].config, (1, 2));
        for (rows, text, together) in [(1, 10, 20), (1, 400_000, 3), (600, 10, 2)] {
            let (to, steps) = sync_channel(20);
            let frames = (0..20).map(|n| {
                let loc = FrameLoc { segment: SegmentNo(3), offset: 0, len: 0 };
                Ok(TailFrame { index: LogIndex(7 + n), loc, batch: batch(n, rows, text) })
            });
            read_all(frames, &rules, &to);
            drop(to);
            let steps: Vec<Vec<Read>> = steps.into_iter().collect();
            assert!(steps.iter().rev().skip(1).all(|step| step.len() == together), "{rows} rows, {text} bytes");
            let indices = steps.iter().flatten().map(|read| read.as_ref().unwrap().0.index.0);
            assert!(indices.eq(7..27), "{rows} rows, {text} bytes");
            assert!(steps.last().is_some_and(|step| step.len() <= together), "{rows} rows, {text} bytes");
        }
    }

    /// What memory holds where every batch goes in.
    fn all_put_in(frames: &[TailFrame]) -> HotRange {
        let (hot, key) = (HotTier::new(options()), LogKey::single("T"));
        for frame in frames {
            hot.insert(&key, frame.index, frame.batch.clone(), NOW);
        }
        hot.range(&key)
    }

    #[test]
    fn memory_holds_what_it_would_if_all_had_been_put_in() {
        let large = |n| batch(n, 10, 1_000);
        // of the second log the first half are single events in blocks of their own
        let logs = [log(12_000, large), log(16_384, |n| if n < FRAMES / 2 { batch(n, 1, 100) } else { large(n) })];
        for (frames, segments) in logs {
            let mut warm = warm(segments, Micros(0));
            let (older, newer) = frames.split_at(frames.len() / 2);
            older.iter().for_each(|frame| warm.take(frame.clone()));
            assert_eq!(warm.hot.range(&warm.key), HotRange::default(), "they would leave again");
            newer.iter().for_each(|frame| warm.take(frame.clone()));
            let held = warm.hot.range(&warm.key);
            assert_eq!(held, all_put_in(&frames));
            assert!(held.after > frames[FRAMES as usize / 2].index && held.after < frames[FRAMES as usize - 2].index);
        }
    }

    #[test]
    fn a_log_that_fits_goes_in_from_where_it_is_read() {
        let (frames, segments) = log(12_000, |n| batch(n, 1, 1_000));
        for first in [0, 20, 50, 70] {
            let mut warm = warm(segments.clone(), Micros(0));
            frames[first..].iter().for_each(|frame| warm.take(frame.clone()));
            let held = warm.hot.range(&warm.key);
            assert_eq!((held.after, held.through), (LogIndex(6 + first as u64), LogIndex(6 + FRAMES)), "from {first}");
        }
    }

    #[test]
    fn a_segment_is_left_by_as_much_as_was_read_of_it() {
        let (frames, segments) = log(12_000, |n| batch(n, 10, 1_000));
        let mut warm = warm(segments, Micros(0));
        for (n, frame) in frames.iter().enumerate().skip(20) {
            let left: u64 = frames[n..].iter().map(|frame| u64::from(frame.loc.len)).sum();
            warm.pass_before(frame.loc);
            // how much of the first segment stands before its 20th frame is not known to the byte
            assert!(warm.left_bytes.abs_diff(left) < 1_000, "{} and {left}", warm.left_bytes);
            warm.pass(u64::from(frame.loc.len));
        }
        assert_eq!(warm.left_bytes, 0);
    }

    #[test]
    fn what_is_too_old_does_not_go_in() {
        let (frames, segments) = log(12_000, |n| batch(n, 10, 1_000));
        let first = frames.len() - 3;
        let mut warm = warm(segments, frames[first - 1].batch.stamps().last_ingested_at());
        frames.iter().for_each(|frame| warm.take(frame.clone()));
        let held = warm.hot.range(&warm.key);
        assert_eq!(held, all_put_in(&frames[first..]));
        assert_eq!((held.after, held.through), (frames[first - 1].index, frames[first + 2].index));
    }

    #[test]
    fn behind_a_batch_that_is_too_large_memory_begins_anew() {
        let large = FRAMES - 2;
        let (frames, segments) = log(400_000, |n| if n == large { batch(n, 1, 300_000) } else { batch(n, 10, 1_000) });
        let mut warm = warm(segments, Micros(0));
        frames.iter().for_each(|frame| warm.take(frame.clone()));
        let held = warm.hot.range(&warm.key);
        assert_eq!(held, all_put_in(&frames));
        assert_eq!((held.after, held.through), (LogIndex(7 + large), LogIndex(8 + large)));
    }
}
