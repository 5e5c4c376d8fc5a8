//! The lines of Prometheus text: heads, values, histograms.

use std::fmt::{Display, Write as _};
use strandline_workers::metrics::{Counter, Histogram};

/// What is told, line by line.
#[derive(Default)]
pub(super) struct Text(pub(super) String);

impl Text {
    // writing to a String cannot fail
    pub(super) fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = write!(self.0, "# HELP strandline_{name} {help}.\n# TYPE strandline_{name} {kind}\n");
    }

    pub(super) fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "strandline_{name}{braces} {value}");
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.head(name, help, "counter");
        self.line(name, "", counter.get());
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: usize) {
        self.head(name, help, "gauge");
        self.line(name, "", value);
    }

    /// The buckets, sum and count of one series of a histogram; its head stands before. `per_unit`: values of the histogram in one unit
    /// of what is told. Divided, not multiplied by a fraction: the quotient is the nearest number to the exact one, and is printed as such.
    pub(super) fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram, per_unit: f64) {
        let (rows, all, sum) = histogram.cumulative();
        let bucket = format!("{name}_bucket");
        for (bound, count) in rows {
            self.line(&bucket, &format!("{labels},le=\"{}\"", bound as f64 / per_unit), count);
        }
        self.line(&bucket, &format!("{labels},le=\"+Inf\""), all);
        self.line(&format!("{name}_sum"), labels, sum as f64 / per_unit);
        self.line(&format!("{name}_count"), labels, all);
    }
}
