//! What is measured of each store: how long its appends, groups, reads and the phases of its jobs take, and what its pages touch.
//!
//! It knows no clock: who does a thing hands in how long it took.

use super::histogram::{BATCHES_BOUNDS, BYTES_BOUNDS, FILES_BOUNDS, Histogram, LATENCY_BOUNDS_US, WORK_BOUNDS_US};
use std::time::Duration;
use strandline_deql::Tier;
use strandline_engine::compact::Phase;
use strandline_engine::read::{ReadStats, TierSet};

/// Jobs and their phases that take time, in their order.
const PHASES: [(Work, Phase); 7] = [
    (Work::Compact, Phase::Selecting),
    (Work::Compact, Phase::Sorting),
    (Work::Compact, Phase::Writing),
    (Work::Compact, Phase::Committing),
    (Work::Merge, Phase::Selecting),
    (Work::Merge, Phase::Merging),
    (Work::Merge, Phase::Committing),
];

/// Where a page came from at the furthest, and its name.
const FURTHEST: [(Option<Tier>, &str); 4] =
    [(None, "none"), (Some(Tier::Inmemory), "inmemory"), (Some(Tier::Wal), "wal"), (Some(Tier::Durable), "durable")];

/// A kind of job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    Compact,
    Merge,
}

impl Work {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Merge => "merge",
        }
    }
}

/// The measures of one store.
#[derive(Debug)]
pub struct Measured {
    /// From an append's arrival at its owner to its answer, microseconds.
    pub append_us: Histogram,
    /// From handing a group to the disk to its commit, microseconds.
    pub group_us: Histogram,
    /// Batches a group.
    pub group_batches: Histogram,
    /// Data files that a page opened.
    pub page_files: Histogram,
    /// Bytes of data files that a page took.
    pub page_bytes: Histogram,
    read_us: [Histogram; FURTHEST.len()],
    phase_us: [Histogram; PHASES.len()],
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            append_us: Histogram::new(&LATENCY_BOUNDS_US),
            group_us: Histogram::new(&LATENCY_BOUNDS_US),
            group_batches: Histogram::new(&BATCHES_BOUNDS),
            page_files: Histogram::new(&FILES_BOUNDS),
            page_bytes: Histogram::new(&BYTES_BOUNDS),
            read_us: [const { Histogram::new(&LATENCY_BOUNDS_US) }; FURTHEST.len()],
            phase_us: [const { Histogram::new(&WORK_BOUNDS_US) }; PHASES.len()],
        }
    }
}

impl Measured {
    /// A page was read. It counts for the furthest tier that gave a row of it: that is the one it waited for.
    pub(crate) fn read(&self, tiers: TierSet, stats: &ReadStats, took: Duration) {
        let gave = |(tier, _): &(Option<Tier>, &str)| tier.is_none_or(|tier| tiers.contains(tier));
        let at = FURTHEST.iter().rposition(gave).unwrap_or_default();
        if let Some(histogram) = self.read_us.get(at) {
            histogram.record_time(took);
        }
        self.page_files.record(stats.files);
        self.page_bytes.record(stats.bytes);
    }

    /// A job was in a phase for so long; one that is none of its phases is not counted.
    pub(crate) fn phase(&self, work: Work, phase: Phase, took: Duration) {
        let at = PHASES.iter().position(|known| *known == (work, phase));
        if let Some(histogram) = at.and_then(|at| self.phase_us.get(at)) {
            histogram.record_time(took);
        }
    }

    /// Times of pages by the furthest tier that gave a row, microseconds.
    pub fn reads(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        FURTHEST.iter().map(|(_, name)| *name).zip(&self.read_us)
    }

    /// Times of the phases of jobs, microseconds: the kind of the job, the phase.
    pub fn phases(&self) -> impl Iterator<Item = (&'static str, &'static str, &Histogram)> {
        PHASES.iter().zip(&self.phase_us).map(|((work, phase), histogram)| (work.name(), phase.name(), histogram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_counts_for_the_furthest_tier_that_gave_a_row() {
        let measured = Measured::default();
        let took = Duration::from_millis(2);
        let touched = ReadStats { files: 3, bytes: 70_000, ..ReadStats::default() };
        measured.read(TierSet::of(&[Tier::Inmemory]), &ReadStats::default(), took);
        measured.read(TierSet::of(&[Tier::Inmemory, Tier::Wal]), &ReadStats::default(), took);
        measured.read(TierSet::of(&[Tier::Durable, Tier::Inmemory]), &touched, took);
        measured.read(TierSet::NONE, &ReadStats::default(), took);
        measured.read(TierSet::of(&[Tier::Durable]), &touched, took);
        let counts: Vec<_> = measured.reads().map(|(tier, histogram)| (tier, histogram.cumulative().1)).collect();
        assert_eq!(counts, [("none", 1), ("inmemory", 1), ("wal", 1), ("durable", 2)]);
        assert_eq!((measured.page_files.cumulative().2, measured.page_bytes.cumulative().2), (6, 140_000));
    }

    #[test]
    fn a_phase_counts_for_its_job() {
        let measured = Measured::default();
        measured.phase(Work::Merge, Phase::Committing, Duration::from_micros(5));
        measured.phase(Work::Merge, Phase::Done, Duration::from_micros(5));
        let counted: Vec<_> = measured.phases().filter(|(.., histogram)| histogram.cumulative().1 > 0).collect();
        assert!(matches!(counted[..], [("merge", "committing", _)]), "{counted:?}");
    }
}
