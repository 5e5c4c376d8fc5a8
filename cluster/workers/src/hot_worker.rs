//! The writers of a store's hot tier: take committed batches. They run without a hot tier as well: they also count.
//!
//! One in each thread of log owners, for the logs of that thread: telling it wakes nobody. What leaves the tier leaves in another
//! thread (`hot_keeper.rs`), before there is no room left. Readers never come here: they read the tier itself. Invariant: batches of
//! a log arrive in index order.

use crate::clock;
use crate::fatal::EndOnPanic;
use crate::hot_keeper::HotKeeper;
use crate::messages::{Committed, MakeHotRoom, ManifestCommitted, Stop};
use crate::wiring::{Alive, AliveMark, HOT_MAILBOX};
use actix::{Actor, ActorContext, Addr, ArbiterHandle, Context, Handler, MailboxError};
use futures_util::future::join_all;
use std::sync::Arc;
use strandline_engine::store::Store;

/// A writer of a store's hot tier.
pub(crate) struct HotWorker {
    pub(crate) store: Arc<Store>,
    pub(crate) keeper: Addr<HotKeeper>,
    pub(crate) _alive: AliveMark,
}

impl Actor for HotWorker {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(HOT_MAILBOX);
    }
}

/// The writers of one store, one a thread of log owners, and the keeper.
#[derive(Clone)]
pub(crate) struct HotWorkers {
    writers: Arc<[Addr<HotWorker>]>,
    keeper: Addr<HotKeeper>,
}

impl HotWorkers {
    /// Starts them: the keeper in the thread `chores`.
    pub(crate) fn start(store: &Arc<Store>, threads: &[ArbiterHandle], chores: &ArbiterHandle, alive: &Alive) -> Self {
        let keeper = HotKeeper { store: Arc::clone(store), _alive: alive.mark() };
        let keeper = HotKeeper::start_in_arbiter(chores, move |_| keeper);
        let start = |thread: &ArbiterHandle| {
            let worker = HotWorker { store: Arc::clone(store), keeper: keeper.clone(), _alive: alive.mark() };
            HotWorker::start_in_arbiter(thread, move |_| worker)
        };
        Self { writers: threads.iter().map(start).collect(), keeper }
    }

    /// The writer in a thread.
    pub(crate) fn of_thread(&self, at: usize) -> Option<&Addr<HotWorker>> {
        self.writers.get(at)
    }

    /// Tells that a manifest is true.
    pub(crate) async fn tell(&self, message: ManifestCommitted) -> Result<(), MailboxError> {
        self.keeper.send(message).await
    }

    /// Stops all: the writers, then the keeper.
    pub(crate) async fn stop(&self) {
        join_all(self.writers.iter().map(|writer| writer.send(Stop))).await;
        let _ = self.keeper.send(Stop).await;
    }
}

impl Handler<Committed> for HotWorker {
    type Result = ();

    fn handle(&mut self, message: Committed, _: &mut Self::Context) {
        let _end = EndOnPanic("the hot tier's writer panicked over an insert");
        let now = clock::now();
        self.store.committed(&message.log, &message.batches, now);
        if self.store.hot_is_nearly_full() {
            // no room in its mailbox: it has been told often enough
            let _ = self.keeper.try_send(MakeHotRoom);
        }
    }
}

impl Handler<Stop> for HotWorker {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Self::Context) {
        context.stop();
    }
}
