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
use crate::view::frames::{self, Entries, TailFrame};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use strandline_event::{LogIndex, LogKey, Micros};
use strandline_hot::HotTier;
use strandline_wal::{FrameLoc, LogView, SegmentNo};

/// Rows that are handed over together: a batch by itself may have one only.
const STEP_ROWS: usize = 1 << 10;
/// Steps that wait to be taken in, at most.
const STEPS_AHEAD: usize = 16;

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
fn read_all(entries: Entries, rules: &Rules, to: &SyncSender<Vec<Read>>) {
    let (mut step, mut rows) = (Vec::new(), 0);
    for entry in entries {
        let read = entry.map(|frame| {
            let learned = Learned::of(&frame.batch, rules);
            (frame, learned)
        });
        rows += read.as_ref().map_or(STEP_ROWS, |(frame, _)| frame.batch.rows().max(1));
        let is_last = read.is_err();
        step.push(read);
        if rows >= STEP_ROWS {
            rows = 0;
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
    /// Segments, ascending, and the bytes of the log from the begin of each to its end.
    segments: Vec<(SegmentNo, u64)>,
    /// Bytes of the log from the first frame to its end.
    log_bytes: Option<u64>,
    /// Bytes of the batches so far.
    batch_bytes: u64,
    /// All that comes from here on goes in.
    has_begun: bool,
}

impl Warm {
    /// `None`: the store has no memory.
    fn of(setting: &Setting, key: LogKey, view: &LogView, now: Micros) -> Option<Self> {
        let inmemory = &setting.config.inmemory;
        let mut segments: Vec<_> = view.segments().iter().map(|segment| (segment.number, segment.bytes)).collect();
        let mut behind = 0;
        for (_, bytes) in segments.iter_mut().rev() {
            behind += *bytes;
            *bytes = behind;
        }
        Some(Self {
            hot: Arc::clone(setting.hot.as_ref()?),
            key,
            now,
            oldest: now.minus_seconds(inmemory.ttl_seconds),
            max_bytes: hot_options(inmemory).max_bytes,
            segments,
            log_bytes: None,
            batch_bytes: 0,
            has_begun: false,
        })
    }

    /// The next batch of the log. The first one that goes in opens the log in memory; time never falls, so where one is young enough all
    /// later ones are.
    fn take(&mut self, frame: TailFrame) {
        self.has_begun = self.has_begun || self.fits_from(&frame);
        let taken = frame.batch.stamps().last_ingested_at().min(self.now);
        if self.has_begun && taken > self.oldest {
            self.hot.insert(&self.key, frame.index, frame.batch, taken);
        }
    }

    /// Whether this batch and all behind it will be there at the end. How much of the log behind it is batches is taken to be as it was
    /// before (blocks are filled up, more or less); memory counts more for a batch than its bytes, so that some will leave rather than lack.
    fn fits_from(&mut self, TailFrame { loc, batch, .. }: &TailFrame) -> bool {
        let size = batch.size_bytes() as u64;
        let behind = self.bytes_behind(*loc);
        let log_bytes = *self.log_bytes.get_or_insert(behind + u64::from(loc.len));
        self.batch_bytes += size;
        let seen = log_bytes.saturating_sub(behind).max(1);
        let to_come = u128::from(behind) * u128::from(self.batch_bytes) / u128::from(seen);
        u128::from(size) + to_come <= u128::from(self.max_bytes)
    }

    /// Bytes of the log behind a frame.
    fn bytes_behind(&self, loc: FrameLoc) -> u64 {
        let found = self.segments.binary_search_by_key(&loc.segment, |(number, _)| *number);
        let from_its_begin = found.ok().and_then(|at| self.segments.get(at)).map_or(0, |(_, bytes)| *bytes);
        from_its_begin.saturating_sub(loc.offset + u64::from(loc.len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::{BatchBuilder, BatchUnit, EventInput, IdPrefix, Seq, StampedBatch, StampsBuilder};
    use strandline_hot::{HotOptions, HotRange};

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

    /// A log of frames that stand so many bytes apart, in two segments.
    fn log(stride: u64) -> (Vec<TailFrame>, Vec<(SegmentNo, u64)>) {
        let half = FRAMES / 2;
        let frames = (0..FRAMES).map(|n| {
            let batch = batch(n, 10, 1_000);
            let len = u32::try_from(batch.size_bytes()).unwrap();
            assert!(u64::from(len) <= stride, "{len}");
            let loc = FrameLoc { segment: SegmentNo(3 + n / half), offset: n % half * stride, len };
            TailFrame { index: LogIndex(7 + n), loc, batch }
        });
        (frames.collect(), vec![(SegmentNo(3), FRAMES * stride), (SegmentNo(4), half * stride)])
    }

    fn warm(segments: Vec<(SegmentNo, u64)>, oldest: Micros) -> Warm {
        Warm {
            hot: Arc::new(HotTier::new(options())),
            key: LogKey::single("T"),
            now: NOW,
            oldest,
            max_bytes: MAX_BYTES,
            segments,
            log_bytes: None,
            batch_bytes: 0,
            has_begun: false,
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
        // close together, in blocks, and far apart
        for stride in [12_000, 16_384, 100_000] {
            let (frames, segments) = log(stride);
            let mut warm = warm(segments, Micros(0));
            let (older, newer) = frames.split_at(frames.len() / 2);
            older.iter().for_each(|frame| warm.take(frame.clone()));
            assert_eq!(warm.hot.range(&warm.key), HotRange::default(), "they would leave again");
            newer.iter().for_each(|frame| warm.take(frame.clone()));
            let held = warm.hot.range(&warm.key);
            assert_eq!(held, all_put_in(&frames), "{stride} bytes apart");
            assert!(held.after > frames[FRAMES as usize / 2].index && held.after < frames[FRAMES as usize - 2].index);
        }
    }

    #[test]
    fn what_is_too_old_does_not_go_in() {
        let (frames, segments) = log(12_000);
        let first = frames.len() - 3;
        let mut warm = warm(segments, frames[first - 1].batch.stamps().last_ingested_at());
        frames.iter().for_each(|frame| warm.take(frame.clone()));
        let held = warm.hot.range(&warm.key);
        assert_eq!(held, all_put_in(&frames[first..]));
        assert_eq!((held.after, held.through), (frames[first - 1].index, frames[first + 2].index));
    }

    #[test]
    fn behind_a_batch_that_is_too_large_memory_begins_anew() {
        let (mut frames, mut segments) = log(12_000);
        let large = frames.len() - 2;
        frames[large].batch = batch(large as u64, 1, 300_000);
        segments.iter_mut().for_each(|(_, bytes)| *bytes += 300_000);
        frames[large + 1].loc.offset += 300_000;
        let mut warm = warm(segments, Micros(0));
        frames.iter().for_each(|frame| warm.take(frame.clone()));
        let held = warm.hot.range(&warm.key);
        assert_eq!(held, all_put_in(&frames));
        assert_eq!((held.after, held.through), (frames[large].index, frames[large + 1].index));
    }
}
