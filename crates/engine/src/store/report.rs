//! What opening found, for the operator's log.

use std::fmt;

/// A line of what a start found and did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReportLine {
    /// It is as it should be.
    Note(String),
    /// Somebody should look at it.
    Warning(String),
}

impl ReportLine {
    /// What it says.
    #[must_use]
    pub fn text(&self) -> &str {
        let (Self::Note(text) | Self::Warning(text)) = self;
        text
    }
}

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

    /// Line by line, behind the name of the store: what was read again is told, what was cut off, is damaged or missed is a warning.
    #[must_use]
    pub fn lines(&self, store: &str) -> Vec<ReportLine> {
        let text = self.to_string();
        let mut lines = text.lines().map(|line| format!("{store}: {line}"));
        let read_again = lines.next().map(ReportLine::Note);
        read_again.into_iter().chain(lines.map(ReportLine::Warning)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_again_is_a_note_and_all_else_a_warning_however_it_ends() {
        let report = OpenReport {
            replayed_batches: 2,
            replayed_events: 3,
            cuts: vec!["8 bytes of a log".to_owned()],
            warnings: vec!["two lines:\nread again from the log".to_owned()],
            ..OpenReport::default()
        };
        let warning = |text: &str| ReportLine::Warning(text.to_owned());
        let lines = report.lines("s");
        assert_eq!(lines[0], ReportLine::Note("s: 3 events of 2 batches read again from the log".to_owned()));
        let warnings =
            ["s: cut: 8 bytes of a log", "s: warning: two lines:", "s: read again from the log"].map(warning);
        assert_eq!(lines[1..], warnings);
        assert_eq!(lines[1].text(), "s: cut: 8 bytes of a log");
        assert_eq!(OpenReport::default().lines("s").len(), 1);
    }
}
