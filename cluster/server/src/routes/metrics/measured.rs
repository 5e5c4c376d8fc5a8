//! Histograms, each by store.

use super::US_PER_S;
use super::text::Text;
use crate::http::call::Call;
use strandline_workers::metrics::{Histogram, Measured};

/// A histogram that each store has one of: its name, what it says, its values in one unit of what is told, where it is.
type OfAStore = (&'static str, &'static str, f64, fn(&Measured) -> &Histogram);

const OF_A_STORE: [OfAStore; 5] = [
    ("append_seconds", "From an append's arrival at its owner to its answer", US_PER_S, |m| &m.append_us),
    ("group_seconds", "Write and sync of a group", US_PER_S, |m| &m.group_us),
    ("group_batches", "Batches a group commit", 1.0, |m| &m.group_batches),
    ("page_files", "Data files that a page opened", 1.0, |m| &m.page_files),
    ("page_bytes", "Bytes of data files that a page took", 1.0, |m| &m.page_bytes),
];

/// All histograms, and how many jobs there are.
pub(super) fn measured(text: &mut Text, call: &Call) {
    let stores = || call.app.stores().map(|served| (format!("store=\"{}\"", served.store.name()), &served.store));
    for (name, help, per_unit, of) in OF_A_STORE {
        text.head(name, help, "histogram");
        stores().for_each(|(labels, store)| text.histogram(name, &labels, of(store.measured()), per_unit));
    }
    text.head("read_seconds", "From asking for a page to its rows, by the furthest tier that gave one", "histogram");
    for (store, handle) in stores() {
        for (tier, histogram) in handle.measured().reads() {
            text.histogram("read_seconds", &format!("{store},tier=\"{tier}\""), histogram, US_PER_S);
        }
    }
    text.head("compaction_phase_seconds", "Phases of compaction jobs and merges", "histogram");
    for (store, handle) in stores() {
        for (kind, phase, histogram) in handle.measured().phases() {
            // not `job`: that label is Prometheus' own
            let labels = format!("{store},kind=\"{kind}\",phase=\"{phase}\"");
            text.histogram("compaction_phase_seconds", &labels, histogram, US_PER_S);
        }
    }
    text.head("compaction_jobs_running", "Jobs and merges that run or wait for their turn", "gauge");
    stores().for_each(|(labels, store)| text.line("compaction_jobs_running", &labels, store.jobs().running().len()));
}
