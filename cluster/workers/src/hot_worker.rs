//! The writers of a store's hot tier: take committed batches, let old ones go. They run without a hot tier as well:
//! they also count.
//!
//! One in each thread of log owners, for the logs of that thread: telling it wakes nobody. Readers never come here: they read the
//! tier itself. Invariant: batches of a log arrive in index order.

use crate::clock;
use crate::fatal::EndOnPanic;
use crate::messages::{Committed, ManifestCommitted, Stop};
use crate::wiring::{Alive, AliveMark, HOT_MAILBOX};
use actix::{Actor, ActorContext, Addr, ArbiterHandle, AsyncContext, Context, Handler, MailboxError};
use std::sync::Arc;
use std::time::Duration;
use strandline_engine::store::Store;

/// How often what is too old leaves: hot batches, readers' cursors.
const EVICT_EVERY: Duration = Duration::from_secs(1);

/// A writer of a store's hot tier.
pub(crate) struct HotWorker {
    pub(crate) store: Arc<Store>,
    /// One of them looks after what is too old.
    pub(crate) looks_after: bool,
    pub(crate) _alive: AliveMark,
}

impl Actor for HotWorker {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(HOT_MAILBOX);
        if self.looks_after {
            context.run_interval(EVICT_EVERY, |worker, _| {
                let _end = EndOnPanic("the hot tier's writer panicked over an eviction");
                worker.store.tick(clock::now());
            });
        }
    }
}

/// The writers of one store, one a thread of log owners.
#[derive(Clone)]
pub(crate) struct HotWorkers(Arc<[Addr<HotWorker>]>);

impl HotWorkers {
    /// Starts them.
    pub(crate) fn start(store: &Arc<Store>, threads: &[ArbiterHandle], alive: &Alive) -> Self {
        let start = |(at, thread): (usize, &ArbiterHandle)| {
            let (store, looks_after, alive) = (Arc::clone(store), at == 0, alive.mark());
            HotWorker::start_in_arbiter(thread, move |_| HotWorker { store, looks_after, _alive: alive })
        };
        Self(threads.iter().enumerate().map(start).collect())
    }

    /// The writer in a thread.
    pub(crate) fn of_thread(&self, at: usize) -> Option<&Addr<HotWorker>> {
        self.0.get(at)
    }

    /// Tells that a manifest is true: the tier takes it from any thread.
    pub(crate) async fn tell(&self, message: ManifestCommitted) -> Result<(), MailboxError> {
        match self.0.first() {
            Some(writer) => writer.send(message).await,
            None => Err(MailboxError::Closed),
        }
    }

    /// Stops all.
    pub(crate) async fn stop(&self) {
        for writer in &*self.0 {
            let _ = writer.send(Stop).await;
        }
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
