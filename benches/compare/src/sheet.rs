//! What was measured: a value a round for each engine and figure, its median, ratios.

use std::collections::BTreeMap;

/// A figure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Figure {
    OneP50,
    OneP99,
    Many,
    ManyP99,
    Shared,
    Batches,
    BatchesFirst,
    BatchesLast,
    BatchesSlowest,
    Stream,
    Scan,
    Bytes,
    Folder,
    QuietP99,
    CompactingP99,
    Compaction,
    BatchesQuiet,
    BatchesCompacting,
    BatchesKept,
    Sidecars,
    Memory,
    Streams,
    ColdStream,
    RestartLog,
    Restart,
    RestartKilled,
    Overloads,
    RoundTrip,
    SyncSmall,
    SyncSmallAppended,
    SyncLarge,
    SyncLargeAppended,
    SyncLargeDirect,
}

/// How a figure is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    Milliseconds,
    PerSecond,
    BytesAnEvent,
    Seconds,
    Megabytes,
    Count,
    Ratio,
}

impl Unit {
    /// A value with three digits that say something.
    pub(crate) fn text(self, value: f64) -> String {
        match self {
            Self::Milliseconds => format!("{} ms", three_digits(value)),
            Self::PerSecond if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
            Self::PerSecond => format!("{}/s", thousands(value)),
            Self::BytesAnEvent => format!("{value:.0} B"),
            Self::Seconds => format!("{} s", three_digits(value)),
            Self::Megabytes => format!("{} MB", thousands(value)),
            Self::Count => thousands(value),
            Self::Ratio => format!("{value:.2}"),
        }
    }
}

fn three_digits(value: f64) -> String {
    let places = match value {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.places$}")
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Figure {
    /// The rows of the main table.
    pub(crate) const TABLE: [Self; 13] = [
        Self::OneP50,
        Self::OneP99,
        Self::Many,
        Self::ManyP99,
        Self::Shared,
        Self::Batches,
        Self::BatchesFirst,
        Self::BatchesLast,
        Self::BatchesSlowest,
        Self::Stream,
        Self::Scan,
        Self::Bytes,
        Self::Folder,
    ];
    /// What only Strandline is asked for.
    pub(crate) const OURS: [Self; 14] = [
        Self::QuietP99,
        Self::CompactingP99,
        Self::Compaction,
        Self::BatchesQuiet,
        Self::BatchesCompacting,
        Self::BatchesKept,
        Self::Sidecars,
        Self::Memory,
        Self::Streams,
        Self::ColdStream,
        Self::RestartLog,
        Self::Restart,
        Self::RestartKilled,
        Self::Overloads,
    ];
    /// What the machine can do.
    pub(crate) const FLOORS: [Self; 6] = [
        Self::RoundTrip,
        Self::SyncSmall,
        Self::SyncSmallAppended,
        Self::SyncLarge,
        Self::SyncLargeAppended,
        Self::SyncLargeDirect,
    ];
    /// What is drawn.
    pub(crate) const PLOTTED: [Self; 7] =
        [Self::OneP50, Self::Many, Self::Shared, Self::Batches, Self::Stream, Self::Scan, Self::Bytes];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::OneP50 => "one client, one event: p50",
            Self::OneP99 => "one client, one event: p99",
            Self::Many => "64 clients, a connection each, one event",
            Self::ManyP99 => "64 clients, a connection each: p99",
            Self::Shared => "64 clients on one connection, one event",
            Self::Batches => "8 clients, batches of 1,000 over many streams",
            Self::BatchesFirst => "the same, first tenth",
            Self::BatchesLast => "the same, last tenth",
            Self::BatchesSlowest => "the same, slowest tenth",
            Self::Stream => "one stream of 100 events read: p50",
            Self::Scan => "scan of everything",
            Self::Bytes => "bytes an event on disk",
            Self::Folder => "bytes an event of the whole folder",
            Self::QuietP99 => "64 clients after the batches: p99",
            Self::CompactingP99 => "64 clients while compacting: p99",
            Self::Compaction => "that compaction",
            Self::BatchesQuiet => "8 clients, batches, at the end of the round",
            Self::BatchesCompacting => "8 clients, batches, then while compacting those",
            Self::BatchesKept => "what a round keeps of its rate of batches while compacting",
            Self::Sidecars => "manifests, sorted runs, Delta log an event",
            Self::Memory => "memory of the node after compaction",
            Self::Streams => "streams that it has then",
            Self::ColdStream => "one stream of 100 events from Parquet after a restart: p50",
            Self::RestartLog => "log at a restart",
            Self::Restart => "restart with that log after a clean stop, until it serves",
            Self::RestartKilled => "restart with that log after SIGKILL, until it serves",
            Self::Overloads => "appends refused for load and sent again",
            Self::RoundTrip => "loopback round trip of 64 bytes: p50",
            Self::SyncSmall => "512 bytes + fdatasync, file preallocated: p50",
            Self::SyncSmallAppended => "512 bytes + fdatasync, file growing: p50",
            Self::SyncLarge => "1 MiB + fdatasync, file preallocated: p50",
            Self::SyncLargeAppended => "1 MiB + fdatasync, file growing: p50",
            Self::SyncLargeDirect => "1 MiB O_DIRECT + fdatasync, file preallocated: p50",
        }
    }

    pub(crate) const fn unit(self) -> Unit {
        match self {
            Self::Many | Self::Shared | Self::Scan => Unit::PerSecond,
            Self::Batches | Self::BatchesFirst | Self::BatchesLast | Self::BatchesSlowest => Unit::PerSecond,
            Self::BatchesQuiet | Self::BatchesCompacting => Unit::PerSecond,
            Self::BatchesKept => Unit::Ratio,
            Self::Bytes | Self::Folder | Self::Sidecars => Unit::BytesAnEvent,
            Self::Compaction | Self::Restart | Self::RestartKilled => Unit::Seconds,
            Self::RestartLog | Self::Memory => Unit::Megabytes,
            Self::Overloads | Self::Streams => Unit::Count,
            _ => Unit::Milliseconds,
        }
    }
}

/// Values by engine and figure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sheet {
    engines: Vec<&'static str>,
    values: BTreeMap<(&'static str, Figure), Vec<f64>>,
}

impl Sheet {
    /// Notes a value of one round.
    pub(crate) fn add(&mut self, engine: &'static str, figure: Figure, value: f64) {
        if !self.engines.contains(&engine) {
            self.engines.push(engine);
        }
        self.values.entry((engine, figure)).or_default().push(value);
    }

    /// Engines that have values, in the order in which they came first.
    pub(crate) fn engines(&self) -> &[&'static str] {
        &self.engines
    }

    /// Values of all rounds.
    pub(crate) fn rounds(&self, engine: &str, figure: Figure) -> &[f64] {
        let found = self.values.iter().find(|((name, of), _)| *name == engine && *of == figure);
        found.map_or(&[], |(_, values)| values)
    }

    /// Median of the rounds.
    pub(crate) fn median(&self, engine: &str, figure: Figure) -> Option<f64> {
        median(self.rounds(engine, figure))
    }

    /// Median over that of another engine.
    pub(crate) fn ratio(&self, engine: &str, figure: Figure, base: &str) -> Option<f64> {
        ratio(self.median(engine, figure)?, self.median(base, figure)?)
    }
}

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0)
}

/// A quotient, where there is one.
pub(crate) fn ratio(value: f64, base: f64) -> Option<f64> {
    (base > 0.0).then(|| value / base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_do_not_follow_an_outlier() {
        assert_eq!(median(&[5.0, 1.0, 900.0]), Some(5.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 900.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn ratios_are_of_medians_and_of_the_same_figure() {
        let mut sheet = Sheet::default();
        for (redis, ours) in [(10.0, 60.0), (20.0, 70.0), (30.0, 20.0)] {
            sheet.add("Redis", Figure::Batches, redis);
            sheet.add("Strandline", Figure::Batches, ours);
        }
        assert_eq!(sheet.ratio("Strandline", Figure::Batches, "Redis"), Some(3.0));
        assert_eq!(sheet.ratio("Strandline", Figure::Scan, "Redis"), None);
        assert_eq!(sheet.engines(), ["Redis", "Strandline"]);
        assert_eq!(ratio(1.0, 0.0), None);
    }

    #[test]
    fn values_are_written_with_what_they_say() {
        assert_eq!(Unit::Milliseconds.text(0.183_4), "0.183 ms");
        assert_eq!(Unit::Milliseconds.text(12.345), "12.3 ms");
        assert_eq!(Unit::PerSecond.text(57_123.4), "57,123/s");
        assert_eq!(Unit::PerSecond.text(1_151_000.0), "1.15 M/s");
        assert_eq!(Unit::PerSecond.text(999.0), "999/s");
        assert_eq!(Unit::BytesAnEvent.text(71.4), "71 B");
        assert_eq!(Figure::BatchesKept.unit().text(0.612_3), "0.61");
    }
}
