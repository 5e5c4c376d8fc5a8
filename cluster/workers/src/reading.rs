//! One page that a client asked for: how long it takes, what it touched, what a trace shows of it.

use crate::spans;
use crate::store::StoreHandle;
use std::future::Future;
use std::time::Instant;
use strandline_deql::Tier;
use strandline_engine::read::{ReadStats, TierSet};
use tracing::{Instrument, Span};

/// A page on its way.
pub(crate) struct Reading<'a> {
    store: &'a StoreHandle,
    began: Instant,
    span: Span,
}

impl<'a> Reading<'a> {
    /// A client asks for `what`.
    pub(crate) fn begin(what: &'static str, store: &'a StoreHandle) -> Self {
        Self { store, began: Instant::now(), span: spans::read(what, store.name()) }
    }

    /// Waits for the page as a part of this.
    pub(crate) fn asked<F: Future>(&self, asking: F) -> impl Future<Output = F::Output> + use<F> {
        asking.instrument(self.span.clone())
    }

    /// The page is there. One that failed counts nowhere.
    pub(crate) fn done(self, tiers: TierSet, stats: &ReadStats) {
        let metrics = &self.store.node.shared.metrics;
        metrics.reads.add(1);
        for (tier, counter) in [Tier::Inmemory, Tier::Wal, Tier::Durable].into_iter().zip(&metrics.reads_by_tier) {
            counter.add(u64::from(tiers.contains(tier)));
        }
        metrics.count_files(stats);
        self.store.parts.measured.read(tiers, stats, self.began.elapsed());
        spans::read_touched(&self.span, tiers, stats);
    }
}
