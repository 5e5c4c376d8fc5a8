//! The one writer of a store's hot tier: takes committed batches, lets old ones go. Runs without a hot tier as well:
//! it also counts.
//!
//! Readers never come here: they read the tier itself. Invariant: batches of a log arrive in index order.

use crate::clock;
use crate::fatal::EndOnPanic;
use crate::messages::{Committed, ManifestCommitted, Stop};
use crate::wiring::{AliveMark, HOT_MAILBOX};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use std::sync::Arc;
use std::time::Duration;
use strandline_engine::store::Store;

/// How often what is too old leaves: hot batches, readers' cursors.
const EVICT_EVERY: Duration = Duration::from_secs(1);

/// Writer of a store's hot tier.
pub(crate) struct HotWorker {
    pub(crate) store: Arc<Store>,
    pub(crate) _alive: AliveMark,
}

impl Actor for HotWorker {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(HOT_MAILBOX);
        context.run_interval(EVICT_EVERY, |worker, _| {
            let _end = EndOnPanic("the hot tier's writer panicked over an eviction");
            worker.store.tick(clock::now());
        });
    }
}

impl Handler<Committed> for HotWorker {
    type Result = ();

    fn handle(&mut self, message: Committed, _: &mut Self::Context) {
        let _end = EndOnPanic("the hot tier's writer panicked over an insert");
        let now = clock::now();
        self.store.committed(&message.log, &message.batches, now);
    }
}

impl Handler<ManifestCommitted> for HotWorker {
    type Result = ();

    fn handle(&mut self, message: ManifestCommitted, _: &mut Self::Context) {
        let _end = EndOnPanic("the hot tier's writer panicked after a commit");
        self.store.after_commit(&message.log, &message.outcome.snapshot);
    }
}

impl Handler<Stop> for HotWorker {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Self::Context) {
        context.stop();
    }
}
