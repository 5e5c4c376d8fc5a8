//! The seqs of every stream: holes, doubles, and whether the heads in the manifest agree.

use super::Report;
use std::collections::HashMap;
use strandline_durable::Snapshot;
use strandline_event::hash::stream_hash;
use strandline_event::{EventRef, LogKey, Seq};

/// Inclusive ranges that are reported for one stream.
const RANGES_SHOWN: usize = 5;

#[derive(Default)]
struct Seen {
    /// Inclusive runs, in order of arrival.
    runs: Vec<(u64, u64)>,
    /// Where the first event of the last run stood.
    place: String,
}

/// All streams of the store.
pub(super) struct Streams {
    monotonic: bool,
    types: HashMap<Box<str>, HashMap<Box<str>, Seen>>,
    events: u64,
}

impl Streams {
    pub(super) fn new(monotonic: bool) -> Self {
        Self { monotonic, types: HashMap::new(), events: 0 }
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    pub(super) fn len(&self) -> usize {
        self.types.values().map(HashMap::len).sum()
    }

    pub(super) fn add(&mut self, event: &EventRef<'_>, place: &dyn Fn() -> String) {
        self.events += 1;
        let seen = self.seen(event.stream_type, event.stream_id);
        let seq = event.seq.0;
        match seen.runs.last_mut() {
            Some((_, last)) if *last + 1 == seq => *last = seq,
            _ => {
                seen.runs.push((seq, seq));
                seen.place = place();
            }
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

    /// Every head of the manifest must be a seq that its stream has, or the stream has gone beyond it.
    pub(super) fn compare_heads(&self, snapshot: &Snapshot, report: &mut Report) {
        for (key, _) in snapshot.logs() {
            let highest = self.highest(key);
            for head in snapshot.heads(key) {
                match highest.get(&head.stream) {
                    Some(last) if *last >= head.last_seq => {}
                    Some(last) => report.add(
                        format!("head of a stream of `{key}` ({:032x})", head.stream),
                        format!("it says seq {}, but the events end at {last}", head.last_seq),
                    ),
                    None => report.add(
                        format!("head of a stream of `{key}` ({:032x})", head.stream),
                        format!("it says seq {}, but the stream has no event", head.last_seq),
                    ),
                }
            }
        }
    }

    fn highest(&self, key: &LogKey) -> HashMap<u128, Seq> {
        let streams = self.types.get(&*key.stream_type);
        let last = |seen: &Seen| Seq(seen.runs.iter().map(|r| r.1).max().unwrap_or(0));
        streams.into_iter().flatten().map(|(id, seen)| (stream_hash(id), last(seen))).collect()
    }

    pub(super) fn finish(self, report: &mut Report) {
        for (stream_type, streams) in self.types {
            for (stream_id, mut seen) in streams {
                seen.runs.sort_unstable();
                let (holes, doubles) = faults(&seen.runs, self.monotonic);
                let place = || format!("stream `{stream_id}` of `{stream_type}`");
                if !doubles.is_empty() {
                    report.add(place(), format!("seq {} stands twice ({})", text(&doubles), seen.place));
                }
                if !holes.is_empty() {
                    report.add(place(), format!("seq {} is missing", text(&holes)));
                }
            }
        }
    }
}

type Ranges = Vec<(u64, u64)>;

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
