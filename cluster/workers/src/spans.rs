//! Spans: what a trace of a node shows of one request, one job.
//!
//! ```text
//!  http.request ─┬─ append.decode
//!                └─ append ── log.group ── log.sync          a group is one sync for many: each append in it has its own spans of it
//!  http.request ── read ── read.work                         its turn among the readers is what lies between
//!  compaction | merge ── phase ── phase ...
//! ```
//!
//! Who does not trace pays a look at one atomic for each: `serve --traces` alone subscribes to [`TARGET`]. They hold names of stores
//! and stream types, counts and bytes; no stream id, no payload, no token.

use std::collections::VecDeque;
use strandline_engine::compact::Phase;
use strandline_engine::read::{ReadStats, TierSet};
use strandline_event::{BatchBytes, LogKey};
use tracing::field::Empty;
use tracing::{Id, Span, info_span};

/// The target of all spans, by which a subscriber chooses them.
pub const TARGET: &str = "strandline_trace";

/// An append on its way to its owner, until it is answered.
pub(crate) fn append(batch: &BatchBytes) -> Span {
    let span = info_span!(target: TARGET, "append", stream_type = Empty, events = Empty, bytes = Empty);
    if !span.is_disabled() {
        span.record("stream_type", batch.view().stream_type());
        span.record("events", batch.view().rows());
        span.record("bytes", batch.bytes().len());
    }
    span
}

/// Appends that came in one frame and are answered together.
pub(crate) fn appends(count: usize) -> Span {
    info_span!(target: TARGET, "append", appends = count)
}

/// A page that is asked for.
pub(crate) fn read(what: &'static str, store: &str) -> Span {
    info_span!(
        target: TARGET, "read", what, store, tiers = Empty, files = Empty, row_groups = Empty, bytes = Empty, filters = Empty
    )
}

/// What a page touched.
pub(crate) fn read_touched(span: &Span, tiers: TierSet, stats: &ReadStats) {
    if span.is_disabled() {
        return;
    }
    span.record("tiers", tiers.to_string());
    span.record("files", stats.files);
    span.record("row_groups", stats.row_groups);
    span.record("bytes", stats.bytes);
    span.record("filters", stats.filters);
}

/// The work of a reader's thread, for the one who asks now.
pub(crate) fn read_work() -> Span {
    info_span!(target: TARGET, "read.work")
}

/// A run of compaction over a log.
pub(crate) fn compaction(store: &str, log: &LogKey) -> Span {
    info_span!(
        target: TARGET, parent: None, "compaction", store, stream_type = &*log.stream_type, rows = Empty, bytes = Empty, files = Empty
    )
}

/// The merges of a partition.
pub(crate) fn merge(store: &str, log: &LogKey) -> Span {
    info_span!(
        target: TARGET, parent: None, "merge", store, stream_type = &*log.stream_type, rows = Empty, bytes = Empty, files = Empty
    )
}

/// What a job has written.
pub(crate) fn job_wrote(span: &Span, rows: u64, bytes: u64, files: u64) {
    span.record("rows", rows);
    span.record("bytes", bytes);
    span.record("files", files);
}

/// A phase of a job.
pub(crate) fn phase(job: &Span, phase: Phase) -> Span {
    info_span!(target: TARGET, parent: job, "phase", otel.name = phase.name())
}

/// The spans of one log's groups. One that nobody traces has none.
#[derive(Debug, Default)]
pub(crate) struct GroupSpans {
    /// Of each append (or frame of appends) that waits for the next group.
    gathering: Vec<(Option<Id>, Span)>,
    /// A group for the disk each, oldest first; with the spans of its appends those of its sync.
    on_disk: VecDeque<Vec<(Span, Span)>>,
}

impl GroupSpans {
    /// An append waits for the next group. Those of one frame wait together.
    pub(crate) fn accepted(&mut self, append: &Span) {
        let together = || self.gathering.last().is_some_and(|(of, _)| *of == append.id());
        if append.is_disabled() || together() {
            return;
        }
        let group = info_span!(target: TARGET, parent: append, "log.group", batches = Empty);
        self.gathering.push((append.id(), group));
    }

    /// What has gathered is handed to the disk.
    pub(crate) fn handed(&mut self) {
        let group = std::mem::take(&mut self.gathering).into_iter().map(|(_, group)| {
            let sync = info_span!(target: TARGET, parent: &group, "log.sync");
            (group, sync)
        });
        self.on_disk.push_back(group.collect());
    }

    /// The oldest group on the disk is durable, or failed; it held so many batches.
    pub(crate) fn done(&mut self, batches: usize) {
        for (group, _) in self.on_disk.pop_front().unwrap_or_default() {
            group.record("batches", batches);
        }
    }

    /// Nothing that is on its way comes back.
    pub(crate) fn abandoned(&mut self) {
        *self = Self::default();
    }
}
