//! The seqs of every stream: holes, doubles, and whether the heads and the count of events in the manifest agree.

use super::Report;
use std::collections::{HashMap, HashSet};
use strandline_durable::{RunKind, Snapshot};
use strandline_event::hash::stream_hash;
use strandline_event::{EventRef, LogKey, Seq};

/// Inclusive ranges that are reported for one stream.
const RANGES_SHOWN: usize = 5;

#[derive(Default)]
struct Seen {
    /// Inclusive runs, in order of arrival.
    runs: Vec<(u64, u64)>,
    /// The largest seq in data files, or retired; 0: none.
    durable: u64,
    /// The bucket of the log that has these files.
    bucket: u32,
}

/// Ranges of one stream.
pub(super) type Ranges = Vec<(u64, u64)>;

/// Seqs of a stream that more than one row has.
pub(super) struct DoubledSeqs {
    pub(super) stream_type: Box<str>,
    pub(super) stream_id: Box<str>,
    /// Inclusive, ascending.
    pub(super) ranges: Ranges,
}

/// All streams of the store.
pub(super) struct Streams {
    monotonic: bool,
    types: HashMap<Box<str>, HashMap<Box<str>, Seen>>,
    events: u64,
    /// Types of which not everything could be read: what is missing there says nothing.
    incomplete: HashSet<Box<str>>,
    /// Streams of which every event is retired, by type and hash: nobody knows their names any more.
    nameless: HashMap<(LogKey, u128), Ranges>,
}

impl Streams {
    pub(super) fn new(monotonic: bool) -> Self {
        Self { monotonic, types: HashMap::new(), events: 0, incomplete: HashSet::new(), nameless: HashMap::new() }
    }

    /// Something of a type could not be read: its holes and heads are not judged.
    pub(super) fn incomplete(&mut self, stream_type: &str) {
        self.incomplete.insert(stream_type.into());
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    pub(super) fn len(&self) -> usize {
        self.types.values().map(HashMap::len).sum()
    }

    /// An event; `of`: the log of its data file, if it is in one.
    pub(super) fn add(&mut self, event: &EventRef<'_>, of: Option<&LogKey>) {
        self.events += 1;
        let seen = self.seen(event.stream_type, event.stream_id);
        let seq = event.seq.0;
        if let Some(log) = of {
            (seen.durable, seen.bucket) = (seen.durable.max(seq), log.bucket);
        }
        match seen.runs.last_mut() {
            Some((_, last)) if *last + 1 == seq => *last = seq,
            _ => seen.runs.push((seq, seq)),
        }
    }

    fn seen(&mut self, stream_type: &str, stream_id: &str) -> &mut Seen {
        if !self.types.contains_key(stream_type) {
            self.types.insert(stream_type.into(), HashMap::new());
        }
        let Some(streams) = self.types.get_mut(stream_type) else {
            strandline_event::invariant::broken("a stream type is gone right after it was inserted")
        };
        if !streams.contains_key(stream_id) {
            streams.insert(stream_id.into(), Seen::default());
        }
        match streams.get_mut(stream_id) {
            Some(seen) => seen,
            None => strandline_event::invariant::broken("a stream is gone right after it was inserted"),
        }
    }

    /// The seqs that stand more than once. Call it after the last event.
    pub(super) fn doubles(&mut self) -> Vec<DoubledSeqs> {
        let mut out = Vec::new();
        for (stream_type, streams) in &mut self.types {
            for (stream_id, seen) in streams {
                seen.runs.sort_unstable();
                let (_, ranges) = faults(&seen.runs, self.monotonic);
                if !ranges.is_empty() {
                    out.push(DoubledSeqs { stream_type: stream_type.clone(), stream_id: stream_id.clone(), ranges });
                }
            }
        }
        out
    }

    /// What retention removed is no hole; and no row that is still there may be retired. Call it after the last event.
    pub(super) fn add_retired(&mut self, snapshot: &Snapshot, report: &mut Report) {
        for (key, _) in snapshot.logs() {
            if snapshot.broken_run(key, RunKind::Retired).is_some() {
                // the run is named where the runs are checked
                self.incomplete.insert((&*key.stream_type).into());
                continue;
            }
            let mut retired: HashMap<u128, Ranges> = HashMap::new();
            for range in snapshot.retired_ranges(key) {
                retired.entry(range.stream).or_default().push((range.first.0, range.last.0));
            }
            if retired.is_empty() {
                continue;
            }
            for (stream_id, seen) in self.types.get_mut(&*key.stream_type).into_iter().flatten() {
                let Some(ranges) = retired.remove(&stream_hash(stream_id)) else { continue };
                let shown: Ranges = seen.runs.iter().flat_map(|run| common(*run, &ranges)).collect();
                if !shown.is_empty() {
                    let what = format!("seq {} is retired, but stands in a live file or in the log", text(&shown));
                    report.add(format!("stream `{stream_id}` of `{}`", key.stream_type), what);
                    continue;
                }
                seen.durable = seen.durable.max(ranges.last().map_or(0, |range| range.1));
                seen.bucket = key.bucket;
                seen.runs.extend(ranges);
            }
            self.nameless.extend(retired.into_iter().map(|(stream, ranges)| ((key.clone(), stream), ranges)));
        }
    }

    /// Every event that was ever compacted stands in a live file or is retired: a count that differs has lost or doubled some,
    /// and heads would be made anew from too few.
    pub(super) fn compare_counts(&self, snapshot: &Snapshot, report: &mut Report) {
        for (key, state) in snapshot.logs() {
            if snapshot.broken_run(key, RunKind::Retired).is_some() {
                continue;
            }
            let of_log = |file: &&std::sync::Arc<strandline_durable::FileEntry>| {
                *file.stream_type == *key.stream_type && file.bucket == key.bucket
            };
            let live: u64 = snapshot.files().iter().filter(of_log).map(|file| file.rows).sum();
            let length = |range: strandline_durable::RetiredRange| range.last.0.saturating_sub(range.first.0) + 1;
            let retired: u64 = snapshot.retired_ranges(key).map(length).sum();
            if live.saturating_add(retired) != state.events {
                let what = format!(
                    "the manifest says {} events, but its live files have {live} and {retired} are retired",
                    state.events
                );
                report.add(format!("log of `{key}`"), what);
            }
        }
    }

    /// The head of every stream in the manifest is its last seq in data files or retired: a lower one, or none, would give a seq a second
    /// time. Each stream is looked for in the heads of the log that has its files.
    pub(super) fn compare_heads(&self, snapshot: &Snapshot, report: &mut Report) {
        let judged = |key: &LogKey| {
            !self.incomplete.contains(&*key.stream_type) && snapshot.broken_run(key, RunKind::Heads).is_none()
        };
        for (key, _) in snapshot.logs().filter(|(key, _)| judged(key)) {
            let mut heads: HashMap<u128, Seq> = snapshot.heads(key).map(|h| (h.stream, h.last_seq)).collect();
            let of_log = |seen: &Seen| seen.durable > 0 && seen.bucket == key.bucket;
            let in_files = self.types.get(&*key.stream_type).into_iter().flatten().filter(|(_, seen)| of_log(seen));
            for (stream_id, Seen { durable, .. }) in in_files {
                let what = match heads.remove(&stream_hash(stream_id)) {
                    Some(head) if head.0 == *durable => continue,
                    Some(head) => format!("its head says seq {head}, but its events in data files end at {durable}"),
                    None => format!("it has no head, but its events in data files end at {durable}"),
                };
                report.add(format!("stream `{stream_id}` of `{}`", key.stream_type), what);
            }
            for (stream, head) in heads {
                let gone = self.nameless.get(&(key.clone(), stream)).and_then(|ranges| ranges.last());
                if gone.is_some_and(|range| range.1 == head.0) {
                    continue;
                }
                let what = format!("it says seq {head}, but no data file has an event of the stream");
                report.add(format!("head of a stream of `{key}` ({stream:032x})"), what);
            }
        }
    }

    pub(super) fn finish(self, report: &mut Report) {
        for ((key, stream), ranges) in &self.nameless {
            let (holes, _) = faults(ranges, self.monotonic);
            if !holes.is_empty() && !self.incomplete.contains(&*key.stream_type) {
                let place = format!("a stream of `{key}` ({stream:032x}) of which nothing is left");
                report.add(place, format!("seq {} is missing", text(&holes)));
            }
        }
        for (stream_type, streams) in self.types {
            for (stream_id, mut seen) in streams {
                seen.runs.sort_unstable();
                let (holes, _) = faults(&seen.runs, self.monotonic);
                if !holes.is_empty() && !self.incomplete.contains(&*stream_type) {
                    let place = format!("stream `{stream_id}` of `{stream_type}`");
                    report.add(place, format!("seq {} is missing", text(&holes)));
                }
            }
        }
    }
}

/// Holes and overlaps of sorted runs.
fn faults(runs: &[(u64, u64)], monotonic: bool) -> (Ranges, Ranges) {
    let (mut holes, mut doubles) = (Vec::new(), Vec::new());
    let mut next = 1;
    for (first, last) in runs {
        if *first > next && monotonic {
            holes.push((next, first - 1));
        }
        if *first < next {
            doubles.push((*first, (*last).min(next - 1)));
        }
        next = next.max(last.saturating_add(1));
    }
    (holes, doubles)
}

/// What a run and ranges have in common.
fn common(run: (u64, u64), ranges: &[(u64, u64)]) -> impl Iterator<Item = (u64, u64)> + '_ {
    let both = ranges.iter().map(move |range| (range.0.max(run.0), range.1.min(run.1)));
    both.filter(|(first, last)| first <= last)
}

fn text(ranges: &[(u64, u64)]) -> String {
    let one = |(first, last): &(u64, u64)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    let mut out: Vec<String> = ranges.iter().take(RANGES_SHOWN).map(one).collect();
    if ranges.len() > RANGES_SHOWN {
        out.push(format!("{} more ranges", ranges.len() - RANGES_SHOWN));
    }
    out.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_doubles_of_runs() {
        assert_eq!(faults(&[(1, 9)], true), (vec![], vec![]));
        assert_eq!(faults(&[(2, 3), (6, 6)], true), (vec![(1, 1), (4, 5)], vec![]));
        assert_eq!(faults(&[(2, 3), (6, 6)], false), (vec![], vec![]));
        assert_eq!(faults(&[(1, 5), (3, 4), (5, 9)], true), (vec![], vec![(3, 4), (5, 5)]));
    }
}
