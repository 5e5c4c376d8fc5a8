//! Lets things go that memory kept for readers, in a thread of its own: giving memory back takes as long as taking it did, and the
//! threads of log owners answer appends.
//!
//! Invariant: nothing waits for it. An insert that finds no room makes it itself.

use crate::clock;
use crate::fatal::EndOnPanic;
use crate::messages::{MakeHotRoom, ManifestCommitted, Stop};
use crate::wiring::{AliveMark, HOT_MAILBOX};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use std::sync::Arc;
use std::time::Duration;
use strandline_engine::store::Store;

/// How often what is too old leaves: hot batches, readers' cursors.
const EVICT_EVERY: Duration = Duration::from_secs(1);

/// The one of a store.
pub(crate) struct HotKeeper {
    pub(crate) store: Arc<Store>,
    pub(crate) _alive: AliveMark,
}

impl Actor for HotKeeper {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(HOT_MAILBOX);
        context.run_interval(EVICT_EVERY, |keeper, _| {
            let _end = EndOnPanic("the hot tier's keeper panicked over an eviction");
            keeper.store.tick(clock::now());
        });
    }
}

impl Handler<MakeHotRoom> for HotKeeper {
    type Result = ();

    fn handle(&mut self, _: MakeHotRoom, _: &mut Self::Context) {
        let _end = EndOnPanic("the hot tier's keeper panicked while it made room");
        self.store.make_hot_room();
    }
}

impl Handler<ManifestCommitted> for HotKeeper {
    type Result = ();

    fn handle(&mut self, message: ManifestCommitted, _: &mut Self::Context) {
        let _end = EndOnPanic("the hot tier's keeper panicked after a commit");
        self.store.after_commit(&message.log, &message.outcome.snapshot);
    }
}

impl Handler<Stop> for HotKeeper {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Self::Context) {
        context.stop();
    }
}
