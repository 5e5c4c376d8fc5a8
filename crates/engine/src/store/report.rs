//! What opening found, for the operator's log.

use std::fmt;

/// What opening a store found and did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OpenReport {
    /// Batches above the watermarks that were read again.
    pub replayed_batches: u64,
    /// Events in them.
    pub replayed_events: u64,
    /// Torn ends of logs that were cut; nothing acknowledged was in them.
    pub cuts: Vec<String>,
    /// Damaged logs: their stream types refuse writes.
    pub corrupt: Vec<String>,
    /// Lost logs that were given up.
    pub lost: Vec<String>,
    /// Everything else that the operator should know.
    pub warnings: Vec<String>,
}

impl OpenReport {
    /// Takes in what was found and done besides.
    pub(super) fn add(&mut self, other: Self) {
        let Self { replayed_batches, replayed_events, cuts, corrupt, lost, warnings } = other;
        self.replayed_batches += replayed_batches;
        self.replayed_events += replayed_events;
        self.cuts.extend(cuts);
        self.corrupt.extend(corrupt);
        self.lost.extend(lost);
        self.warnings.extend(warnings);
    }
}

impl fmt::Display for OpenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events of {} batches read again from the log", self.replayed_events, self.replayed_batches)?;
        for (what, lines) in
            [("cut", &self.cuts), ("corrupt", &self.corrupt), ("lost", &self.lost), ("warning", &self.warnings)]
        {
            for line in lines {
                write!(f, "\n{what}: {line}")?;
            }
        }
        Ok(())
    }
}
