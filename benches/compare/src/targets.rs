//! What must be reached, next to what was measured. Bounds are ratios in one run; a figure that is missing is told as not measured.

use crate::floors::MACHINE;
use crate::names::{HTTP, NATIVE, NATIVE_IDS, POSTGRES, REDIS};
use crate::sheet::{Figure, Sheet, ratio};

/// How it came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Reached,
    NotReached,
    NotMeasured,
}

impl Verdict {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Reached => "pass",
            Self::NotReached => "not reached",
            Self::NotMeasured => "not measured",
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) workload: &'static str,
    pub(crate) wanted: String,
    pub(crate) found: String,
    pub(crate) verdict: Verdict,
}

/// A bound and a value.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// A rate may vary by this much along a run without being called a drop.
const STEADY: f64 = 0.95;
/// The log that a restart is judged with at least, in MB, and the seconds that it may take.
pub(crate) const RESTART_LOG_MB: f64 = 1_000.0;
const RESTART_SECONDS: f64 = 3.0;
/// Memory of a node in MB, and the streams that it is judged with.
const MEMORY_MB: f64 = 1_000.0;
const MEMORY_STREAMS: f64 = 10e6;

/// All lines. `events`: of the workload of batches.
pub(crate) fn all(sheet: &Sheet, events: u64) -> Vec<Target> {
    let of = |engine: &str, figure, base: &str| sheet.ratio(engine, figure, base);
    let within = |engine: &str, over, under| ratio(sheet.median(engine, over)?, sheet.median(engine, under)?);
    let millions = events as f64 / 1e6;
    vec![
        single(sheet),
        line(
            "the same by HTTP",
            "p50 not above 1.35 x Redis",
            &[(of(HTTP, Figure::OneP50, REDIS), Bound::AtMost(1.35), "x Redis")],
        ),
        many(sheet),
        line(
            "8 clients, batches of 1,000, native",
            &format!(
                "6 x Redis, 13 x PostgreSQL COPY, last tenth at least {STEADY} of the first ({millions:.1} million events here; the target is 20)"
            ),
            &[
                (of(NATIVE, Figure::Batches, REDIS), Bound::AtLeast(6.0), "x Redis"),
                (of(NATIVE, Figure::Batches, POSTGRES), Bound::AtLeast(13.0), "x PostgreSQL"),
                (
                    within(NATIVE, Figure::BatchesLast, Figure::BatchesFirst),
                    Bound::AtLeast(STEADY),
                    "of the first tenth",
                ),
            ],
        ),
        line(
            "the same by HTTP NDJSON",
            "1.5 x Redis",
            &[(of(HTTP, Figure::Batches, REDIS), Bound::AtLeast(1.5), "x Redis")],
        ),
        line(
            "with a unique command_id per event, scope stream",
            "0.7 x of without",
            &[(of(NATIVE_IDS, Figure::Batches, NATIVE), Bound::AtLeast(0.7), "x of without")],
        ),
        line(
            "one hot stream of 100 events, native",
            "p50 not above Redis",
            &[(of(NATIVE, Figure::Stream, REDIS), Bound::AtMost(1.0), "x Redis")],
        ),
        line(
            "one cold stream of 100 events from Parquet in page cache",
            &format!("p50 under 4 x the hot read (among {millions:.1} million events here; the target is 10)"),
            &[(within(NATIVE, Figure::ColdStream, Figure::Stream), Bound::AtMost(4.0), "x hot")],
        ),
        line(
            "scan of everything, mixed tiers, native",
            "1.6 x Redis",
            &[(of(NATIVE, Figure::Scan, REDIS), Bound::AtLeast(1.6), "x Redis")],
        ),
        line(
            "append p99 while compacting",
            "2 x of without",
            &[(within(NATIVE, Figure::CompactingP99, Figure::QuietP99), Bound::AtMost(2.0), "x of without")],
        ),
        bytes(sheet),
        memory(sheet),
        restart(sheet),
        elsewhere("cost of one append as the store grows from 1 to 100 million events", "flat within 15 %"),
    ]
}

/// A line whose bounds must all hold.
fn line(workload: &'static str, wanted: &str, bounds: &[(Option<f64>, Bound, &str)]) -> Target {
    let found: Vec<String> =
        bounds.iter().filter_map(|(value, _, what)| Some(format!("{:.2} {what}", (*value)?))).collect();
    let holds = |(value, bound, _): &(Option<f64>, Bound, &str)| value.map(|value| bound.holds(value));
    let all: Vec<Option<bool>> = bounds.iter().map(holds).collect();
    let verdict = if all.contains(&Some(false)) {
        Verdict::NotReached
    } else if all.contains(&None) {
        Verdict::NotMeasured
    } else {
        Verdict::Reached
    };
    Target { workload, wanted: wanted.to_owned(), found: found.join(", "), verdict }
}

fn elsewhere(workload: &'static str, wanted: &str) -> Target {
    let found = "no workload of this run".to_owned();
    Target { workload, wanted: wanted.to_owned(), found, verdict: Verdict::NotMeasured }
}

/// Against the larger of Redis and what a round trip and a sync take.
fn single(sheet: &Sheet) -> Target {
    let floor = sheet.median(MACHINE, Figure::SyncSmall).zip(sheet.median(MACHINE, Figure::RoundTrip));
    let floor = floor.map(|(sync, trip)| sync + trip);
    let base = sheet.median(REDIS, Figure::OneP50).zip(floor).map(|(redis, floor)| redis.max(floor));
    let value = sheet.median(NATIVE, Figure::OneP50).zip(base).and_then(|(ours, base)| ratio(ours, base));
    let wanted =
        "p50 within 1.15 x the larger of Redis and the floor (512 bytes + fdatasync preallocated + round trip)";
    line("one client, one event, native", wanted, &[(value, Bound::AtMost(1.15), "x the larger")])
}

/// Each engine by the faster of its two ways.
fn many(sheet: &Sheet) -> Target {
    let best = |engine: &str| {
        let ways = [Figure::Many, Figure::Shared].into_iter().filter_map(|figure| sheet.median(engine, figure));
        ways.reduce(f64::max)
    };
    let value = best(NATIVE).zip(best(REDIS)).and_then(|(ours, redis)| ratio(ours, redis));
    let wanted = "2.5 x Redis (both by the faster of a connection each and one for all)";
    line("64 concurrent single appends, native", wanted, &[(value, Bound::AtLeast(2.5), "x Redis")])
}

fn bytes(sheet: &Sheet) -> Target {
    let value = sheet.median(NATIVE, Figure::Bytes).or_else(|| sheet.median(HTTP, Figure::Bytes));
    let bounds = [(value, Bound::AtMost(80.0), "bytes")];
    line("bytes per event after compaction", "under 80 in Parquet; sidecars beside it", &bounds)
}

fn memory(sheet: &Sheet) -> Target {
    let workload = "memory with 10 million streams, after compaction";
    let wanted = "under 1 GB (the other half, under 64 bytes per stream touched since, is no workload of this run)";
    let found = sheet.median(NATIVE, Figure::Memory).zip(sheet.median(NATIVE, Figure::Streams));
    let Some((megabytes, streams)) = found else {
        return line(workload, wanted, &[(None, Bound::AtMost(0.0), "")]);
    };
    let verdict = match (megabytes <= MEMORY_MB, streams >= MEMORY_STREAMS) {
        (_, false) => Verdict::NotMeasured,
        (true, true) => Verdict::Reached,
        (false, true) => Verdict::NotReached,
    };
    Target {
        workload,
        wanted: wanted.to_owned(),
        found: format!("{megabytes:.0} MB with {streams:.0} streams"),
        verdict,
    }
}

/// By the slower of a start after a clean stop and one after SIGKILL.
fn restart(sheet: &Sheet) -> Target {
    let wanted = format!("under {RESTART_SECONDS} s to serving, after a clean stop and after SIGKILL");
    let workload = "restart with 1 GB of log";
    let median = |figure| sheet.median(HTTP, figure);
    let starts = median(Figure::Restart).zip(median(Figure::RestartKilled));
    let Some((log, (stopped, killed))) = median(Figure::RestartLog).zip(starts) else {
        return line(workload, &wanted, &[(None, Bound::AtMost(0.0), "")]);
    };
    let verdict = match (stopped.max(killed) <= RESTART_SECONDS, log >= RESTART_LOG_MB) {
        (true, true) => Verdict::Reached,
        (true, false) => Verdict::NotMeasured,
        (false, _) => Verdict::NotReached,
    };
    let found = format!("{stopped:.2} s after a stop, {killed:.2} s after SIGKILL with {log:.0} MB");
    Target { workload, wanted, found, verdict }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(sheet: &Sheet, workload: &str) -> Verdict {
        let all = all(sheet, 20_000_000);
        all.iter().find(|target| target.workload.starts_with(workload)).unwrap().verdict
    }

    #[test]
    fn nothing_is_reached_that_was_not_measured() {
        assert!(all(&Sheet::default(), 1).iter().all(|target| target.verdict == Verdict::NotMeasured));
    }

    #[test]
    fn a_single_append_is_held_to_the_larger_of_redis_and_the_floor() {
        let mut sheet = Sheet::default();
        sheet.add(MACHINE, Figure::SyncSmall, 0.12);
        sheet.add(MACHINE, Figure::RoundTrip, 0.08);
        sheet.add(REDIS, Figure::OneP50, 0.18);
        sheet.add(NATIVE, Figure::OneP50, 0.22);
        assert_eq!(verdict(&sheet, "one client, one event, native"), Verdict::Reached, "0.22 is 1.1 x 0.2");
        sheet.add(MACHINE, Figure::SyncSmall, 0.06);
        assert_eq!(verdict(&sheet, "one client, one event, native"), Verdict::NotReached, "now Redis is the larger");
    }

    #[test]
    fn a_rate_that_drops_is_not_reached_however_high() {
        let mut sheet = Sheet::default();
        sheet.add(REDIS, Figure::Batches, 190_000.0);
        sheet.add(POSTGRES, Figure::Batches, 80_000.0);
        sheet.add(NATIVE, Figure::Batches, 1_200_000.0);
        sheet.add(NATIVE, Figure::BatchesFirst, 1_200_000.0);
        sheet.add(NATIVE, Figure::BatchesLast, 1_190_000.0);
        let workload = "8 clients, batches of 1,000, native";
        assert_eq!(verdict(&sheet, workload), Verdict::Reached);
        sheet.add(NATIVE, Figure::BatchesLast, 700_000.0);
        assert_eq!(verdict(&sheet, workload), Verdict::NotReached);
    }

    #[test]
    fn redis_counts_by_its_faster_way() {
        let mut sheet = Sheet::default();
        sheet.add(REDIS, Figure::Many, 50_000.0);
        sheet.add(NATIVE, Figure::Shared, 150_000.0);
        assert_eq!(verdict(&sheet, "64 concurrent"), Verdict::Reached);
        sheet.add(REDIS, Figure::Shared, 100_000.0);
        assert_eq!(verdict(&sheet, "64 concurrent"), Verdict::NotReached);
    }

    #[test]
    fn memory_is_judged_with_enough_streams_alone() {
        let mut sheet = Sheet::default();
        sheet.add(NATIVE, Figure::Memory, 1_200.0);
        assert_eq!(verdict(&sheet, "memory"), Verdict::NotMeasured);
        sheet.add(NATIVE, Figure::Streams, 9_900_000.0);
        assert_eq!(memory(&sheet).verdict, Verdict::NotMeasured, "fewer than the line wants");
        sheet.add(NATIVE, Figure::Streams, 10_200_000.0);
        assert_eq!(memory(&sheet).verdict, Verdict::NotReached);
    }

    #[test]
    fn a_restart_with_a_small_log_proves_nothing() {
        let mut sheet = Sheet::default();
        sheet.add(HTTP, Figure::RestartLog, 100.0);
        sheet.add(HTTP, Figure::Restart, 1.0);
        sheet.add(HTTP, Figure::RestartKilled, 1.2);
        assert_eq!(verdict(&sheet, "restart"), Verdict::NotMeasured);
        sheet.add(HTTP, Figure::RestartLog, 3_000.0);
        assert_eq!(verdict(&sheet, "restart"), Verdict::Reached, "median of the log 1,550 MB");
    }

    #[test]
    fn a_restart_is_judged_by_the_slower_of_both() {
        for (stopped, killed, wanted) in
            [(2.9, 2.9, Verdict::Reached), (1.0, 3.1, Verdict::NotReached), (3.1, 1.0, Verdict::NotReached)]
        {
            let mut sheet = Sheet::default();
            sheet.add(HTTP, Figure::RestartLog, 1_010.0);
            sheet.add(HTTP, Figure::Restart, stopped);
            assert_eq!(restart(&sheet).verdict, Verdict::NotMeasured, "one of them alone");
            sheet.add(HTTP, Figure::RestartKilled, killed);
            assert_eq!(restart(&sheet).verdict, wanted, "{stopped} {killed}");
        }
    }
}
