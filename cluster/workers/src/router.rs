//! Which worker owns which log, in one store; makes logs for new stream types, a bucket's with its first event; keeps the registrations.
//!
//! The table is published: appends to known stream types do not pass here. One writer (the router), so two
//! first appends to a new log make one.

use crate::clock;
use crate::error::NodeError;
use crate::fatal::EndOnPanic;
use crate::messages::{CloseRouter, OpenLogOf, RegisterStreamType};
use crate::registry::{Registry, StreamTypeEntry};
use crate::wal_worker::WalWorker;
use crate::wiring::{AliveMark, CONTROL_MAILBOX, LogFactory};
use actix::{Actor, ActorContext, ActorFutureExt, Addr, AtomicResponse, Context, Handler, ResponseFuture, WrapFuture};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strandline_engine::store::Store;
use strandline_event::{LogKey, limits};

/// The owners of a store's logs, as anybody may read them.
#[derive(Default)]
pub(crate) struct LogTable(ArcSwap<BTreeMap<LogKey, Addr<WalWorker>>>);

impl LogTable {
    /// The owner of a log.
    pub(crate) fn get(&self, log: &LogKey) -> Option<Addr<WalWorker>> {
        self.0.load().get(log).cloned()
    }

    /// All logs.
    pub(crate) fn keys(&self) -> Vec<LogKey> {
        self.0.load().keys().cloned().collect()
    }

    /// All logs with their owners.
    pub(crate) fn all(&self) -> Vec<(LogKey, Addr<WalWorker>)> {
        self.0.load().iter().map(|(key, owner)| (key.clone(), owner.clone())).collect()
    }

    pub(crate) fn insert(&self, log: &LogKey, owner: &Addr<WalWorker>) {
        self.0.rcu(|table| {
            let mut table = BTreeMap::clone(table);
            table.insert(log.clone(), owner.clone());
            table
        });
    }

    pub(crate) fn remove(&self, log: &LogKey) {
        self.0.rcu(|table| {
            let mut table = BTreeMap::clone(table);
            table.remove(log);
            table
        });
    }

    /// Forgets all, so that no address keeps a worker alive.
    pub(crate) fn clear(&self) {
        self.0.store(Arc::default());
    }
}

/// The registered types of a store, as anybody may read them.
pub(crate) type PublishedTypes = ArcSwap<Vec<StreamTypeEntry>>;

/// Makes logs and registrations of one store.
pub(crate) struct StoreRouter {
    pub(crate) factory: Arc<LogFactory>,
    pub(crate) table: Arc<LogTable>,
    /// Written in a thread that may block, one registration after another.
    pub(crate) registry: Arc<Mutex<Registry>>,
    pub(crate) types: Arc<PublishedTypes>,
    pub(crate) closed: bool,
    pub(crate) _alive: AliveMark,
}

impl Actor for StoreRouter {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(CONTROL_MAILBOX);
    }
}

impl Handler<OpenLogOf> for StoreRouter {
    // atomic: the next one sees the log that this one made
    type Result = AtomicResponse<Self, Result<Addr<WalWorker>, NodeError>>;

    fn handle(&mut self, message: OpenLogOf, _: &mut Self::Context) -> Self::Result {
        let OpenLogOf(log) = message;
        let known = self.table.get(&log);
        let (factory, types, closed) = (Arc::clone(&self.factory), self.types.load_full(), self.closed);
        let making = async move {
            match known {
                Some(owner) => Ok((log, owner, false)),
                None if closed => Err(NodeError::Draining),
                None => {
                    check_room(&types, factory.store(), [&log])?;
                    factory.make(log.clone()).await.map(|owner| (log, owner, true))
                }
            }
        };
        AtomicResponse::new(Box::pin(making.into_actor(self).map(|made, router, _| {
            let _end = EndOnPanic("a store's router panicked");
            let (log, owner, is_new) = made?;
            if is_new {
                router.table.insert(&log, &owner);
            }
            Ok(owner)
        })))
    }
}

impl Handler<RegisterStreamType> for StoreRouter {
    type Result = ResponseFuture<Result<StreamTypeEntry, NodeError>>;

    fn handle(&mut self, message: RegisterStreamType, _: &mut Self::Context) -> Self::Result {
        let (registry, types, closed) = (Arc::clone(&self.registry), Arc::clone(&self.types), self.closed);
        let store = Arc::clone(self.factory.store());
        let writing =
            tokio::task::spawn_blocking(move || register(&mut registry.lock(), &types, &store, message.0, closed));
        Box::pin(async move { writing.await.map_err(|_| NodeError::OutcomeUnknown)? })
    }
}

/// Refuses logs that would be too many of a store. Those of registered stream types have their places, whether their events have come or not.
pub(crate) fn check_room<'a>(
    types: &[StreamTypeEntry],
    store: &Store,
    new: impl IntoIterator<Item = &'a LogKey>,
) -> Result<(), NodeError> {
    let names: BTreeSet<&str> = types.iter().map(|of| &*of.name).collect();
    match new.into_iter().filter(|log| !names.contains(&*log.stream_type)).count() {
        0 => Ok(()),
        new => check_count(store, places(types.iter(), store) + new),
    }
}

/// Refuses a registration that would be one too many.
pub(crate) fn check_place(types: &[StreamTypeEntry], store: &Store, wanted: &StreamTypeEntry) -> Result<(), NodeError> {
    check_count(store, places(types.iter().chain([wanted]), store))
}

/// Places of logs that are given away: each bucket of these types has one, and each log of another type.
fn places<'t>(types: impl Iterator<Item = &'t StreamTypeEntry>, store: &Store) -> usize {
    let (mut names, mut count) = (BTreeSet::new(), 0);
    for of in types {
        names.insert(&*of.name);
        count += of.buckets as usize;
    }
    count + store.logs().iter().filter(|log| !names.contains(&*log.key.stream_type)).count()
}

fn check_count(store: &Store, count: usize) -> Result<(), NodeError> {
    let limit = limits::STREAM_TYPES_MAX;
    if count <= limit { Ok(()) } else { Err(NodeError::TooManyStreamTypes { store: store.name().to_owned(), limit }) }
}

fn register(
    registry: &mut Registry,
    types: &PublishedTypes,
    store: &Store,
    wanted: StreamTypeEntry,
    closed: bool,
) -> Result<StreamTypeEntry, NodeError> {
    let _end = EndOnPanic("a registration panicked");
    if let Some(known) = registry.get(&wanted.name) {
        return match known.buckets == wanted.buckets {
            true => Ok(known.clone()),
            false => Err(NodeError::OtherBuckets { name: wanted.name.to_string(), buckets: known.buckets }),
        };
    }
    if closed {
        return Err(NodeError::Draining);
    }
    check_place(registry.types(), store, &wanted)?;
    // before the line: what the manifest says holds, whatever becomes of the file
    store.split(&wanted.name, wanted.buckets, clock::now())?;
    registry.add(wanted.clone())?;
    types.store(Arc::new(registry.types().to_vec()));
    Ok(wanted)
}

impl Handler<CloseRouter> for StoreRouter {
    type Result = Vec<(LogKey, Addr<WalWorker>)>;

    fn handle(&mut self, _: CloseRouter, context: &mut Self::Context) -> Self::Result {
        self.closed = true;
        let owners = self.table.all();
        // answered first: actix delivers the result of this handler before the context ends
        context.stop();
        owners
    }
}
