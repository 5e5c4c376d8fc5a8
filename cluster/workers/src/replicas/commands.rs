//! Command ids that are unique in a whole store, between the leaders of its logs: what `reservations.rs` of the engine decides, carried out.
//!
//! ```text
//!  edge of an append (node that leads the log) ── reserve ──> who leads the meta group: reserve_here ── settle ──> leader of another log: settle_here
//!        └─ sends it with its reservation, and says that it is on its way until it is answered: who settles waits for that
//! ```
//!
//! It refuses to remember: the table is the keeper's as long as it leads, gates are a node's as long as it runs. A log whose leader cannot be
//! reached stops new ids that it may have, and every new id of the store where the keeper has just become it; retries are answered all the same.

use super::{CONFIRM_WITHIN, PAUSE, StoreReplicas, asked};
use crate::error::NodeError;
use crate::messages::DecideInFlight;
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use strandline_consensus::control::KeepsCommands;
use strandline_consensus::meta::Placement;
use strandline_consensus::{BoxFuture, GroupError, GroupId, Leadership};
use strandline_deql::CommandScope;
use strandline_engine::append::{Gate, Granted, Others, Reservation, Reservations, ToReserve, Word};
use strandline_event::{ErrorKind, LogKey};
use strandline_wal::LeaderId;
use tokio::sync::{RwLock, RwLockReadGuard};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long an append looks for a keeper that can tell.
const RESERVE_WITHIN: Duration = Duration::from_secs(8);
/// How long a keeper has for one answer: less than who asks waits for it, so that a no is heard, and no connection is taken for dead.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How long a log's leader has for what is in flight: less than the keeper waits.
const SETTLE_WITHIN: Duration = Duration::from_millis(3_500);
/// How long who settles waits for appends that are on their way with a reservation; later they must reserve again.
const DRAIN_WITHIN: Duration = Duration::from_secs(1);
/// Times that the keeper looks again because others wanted the same ids.
const ROUNDS_MAX: usize = 16;
/// Reservations that come before all logs are settled, so that what is stored leaves the table.
const SWEEP_AFTER: usize = 1 << 16;

/// What a node has of the command ids of a store.
#[derive(Default)]
pub(super) struct CommandIds {
    gates: Mutex<BTreeMap<LogKey, Arc<LogGate>>>,
    /// While this node leads the meta group.
    keeper: tokio::sync::Mutex<Option<Arc<Keeper>>>,
}

impl CommandIds {
    fn gate(&self, log: &LogKey) -> Arc<LogGate> {
        Arc::clone(self.gates.lock().entry(log.clone()).or_default())
    }
}

/// Through which reservations for a log go on this node.
#[derive(Default)]
pub(crate) struct LogGate {
    words: Arc<Gate>,
    /// Held by appends with a reservation until they are answered.
    on_their_way: RwLock<()>,
}

/// The keeper of a store's command ids, under one leadership of the meta group.
struct Keeper {
    office: LeaderId,
    table: Mutex<Reservations>,
    /// Logs that were there when it began, and that it has not settled since: nothing is reserved before.
    unsettled: Mutex<BTreeSet<LogKey>>,
    rounds: Mutex<BTreeMap<LogKey, Arc<Rounds>>>,
    sweeps: AtomicBool,
    sweep_at: AtomicUsize,
}

impl Keeper {
    fn new(office: LeaderId, from: u64, logs: Vec<LogKey>) -> Self {
        Self {
            office,
            table: Mutex::new(Reservations::new(from)),
            unsettled: Mutex::new(logs.into_iter().collect()),
            rounds: Mutex::default(),
            sweeps: AtomicBool::new(false),
            sweep_at: AtomicUsize::new(SWEEP_AFTER),
        }
    }

    fn rounds_of(&self, log: &LogKey) -> Arc<Rounds> {
        Arc::clone(self.rounds.lock().entry(log.clone()).or_default())
    }
}

/// Rounds in which a log is settled, one at a time: who comes while one runs shares the next. Each of them makes appends reserve again, so many who
/// want what one log has would stop that log for as long as they come.
#[derive(Default)]
struct Rounds {
    turn: tokio::sync::Mutex<()>,
    begun: AtomicU64,
    /// The last round that came to its end.
    done: AtomicU64,
}

impl Rounds {
    async fn share(&self, round: impl Future<Output = Result<(), String>>) -> Result<(), String> {
        let came = self.begun.load(Ordering::SeqCst);
        let _turn = self.turn.lock().await;
        if self.done.load(Ordering::SeqCst) > came {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        round.await?;
        self.done.store(number, Ordering::SeqCst);
        Ok(())
    }
}

/// A reservation of an append, and the gate through which it goes.
pub(crate) struct Reserved {
    pub(crate) ids: Arc<Reservation>,
    gate: Arc<LogGate>,
}

impl Reserved {
    /// Until this goes the append is on its way.
    pub(crate) async fn on_its_way(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.on_their_way.read().await
    }
}

/// A store's part in keeping command ids apart, for other nodes.
pub(super) struct Keeps(pub(super) Weak<StoreReplicas>);

impl Keeps {
    fn store(&self) -> Result<Arc<StoreReplicas>, String> {
        self.0.upgrade().ok_or_else(|| "the store was closed".to_owned())
    }
}

impl KeepsCommands for Keeps {
    fn reserve(&self, log: LogKey, keys: Vec<u128>) -> BoxFuture<'_, Result<Granted, String>> {
        Box::pin(async move { self.store()?.reserve_here(&log, keys.into()).await })
    }

    fn settle(&self, log: LogKey, before: Word) -> BoxFuture<'_, Result<u64, String>> {
        Box::pin(async move { self.store()?.settle_here(&log, before).await })
    }
}

impl StoreReplicas {
    /// Reserves command ids for a log that this node leads. `before`: what the same append had reserved.
    pub(crate) async fn reserve(
        self: &Arc<Self>,
        log: &LogKey,
        wanted: ToReserve,
        before: Option<&Reserved>,
    ) -> Result<Reserved, NodeError> {
        let (until, keys) = (Instant::now() + RESERVE_WITHIN, Arc::from(wanted.keys.as_slice()));
        let mut why = "no answer has come in time".to_owned();
        let granted = loop {
            match timeout_at(until, self.ask_keeper(log, &keys)).await {
                Ok(Ok(granted)) => break granted,
                Ok(Err(said)) => why = said,
                // what was said before tells more
                Err(_) => {}
            }
            if Instant::now() >= until {
                let why = format!(
                    "command ids are unique in the whole store, and nobody can say now whether these are new ({why}): try again"
                );
                return Err(NodeError::Cluster { kind: ErrorKind::Unavailable, why });
            }
            sleep(PAUSE).await;
        };
        let gate = self.commands.gate(log);
        let before = before.map(|before| &*before.ids);
        let ids = Arc::new(Reservation::new(wanted, granted, before, Arc::clone(&gate.words)));
        Ok(Reserved { ids, gate })
    }

    /// What was acknowledged of ids that are unique in the whole store is known here: a dry run of a stream type without a log is judged by that, and
    /// reserves nothing.
    pub(crate) async fn know_commands(&self) -> Result<(), NodeError> {
        if self.parts.store.config().id.command_id_unique_scope == CommandScope::Store {
            Box::pin(self.confirm(None)).await?;
        }
        Ok(())
    }

    async fn ask_keeper(self: &Arc<Self>, log: &LogKey, keys: &Arc<[u128]>) -> Result<Granted, String> {
        if self.parts.control.office().is_some() {
            return self.reserve_here(log, Arc::clone(keys)).await;
        }
        let elsewhere = self.meta_leader().filter(|node| *node != self.parts.control.node());
        let keeper = elsewhere.ok_or("the leader of the cluster is being elected")?;
        self.parts.control.reserve_commands(keeper, self.name(), log, keys).await
    }

    /// This node is the keeper.
    async fn reserve_here(self: &Arc<Self>, log: &LogKey, keys: Arc<[u128]>) -> Result<Granted, String> {
        let reserving = timeout(ANSWERS_WITHIN, self.reserve_as_keeper(log, keys)).await;
        reserving.map_err(|_| "the leaders of the logs do not answer in time".to_owned())?
    }

    async fn reserve_as_keeper(self: &Arc<Self>, log: &LogKey, keys: Arc<[u128]>) -> Result<Granted, String> {
        let id = self.id_of(log);
        // what is reserved for a log must come free by settling it
        if !self.parts.control.with_state(|state| state.groups().get(&id).is_some_and(Placement::is_established)) {
            return Err(format!("the log of `{log}` takes nothing yet, as far as this node knows"));
        }
        let keeper = self.keeper().await?;
        for _ in 0..ROUNDS_MAX {
            match self.try_reserve(&keeper, log, &keys).await? {
                Tried::Held(other) => self.settle(&keeper, &other).await?,
                // it is judged there, and is decided in a moment
                Tried::Found(_, Others { in_flight: Some(_), .. }) => sleep(PAUSE).await,
                Tried::Found(word, Others { taken, .. }) => {
                    self.confirm_keeper(&keeper).await?;
                    self.sweep(&keeper);
                    return Ok(Granted { word, taken });
                }
            }
        }
        Err("other appends with the same command ids were faster each time".to_owned())
    }

    /// Reserved first, then looked up: what leaves the table is in a log by then.
    async fn try_reserve(&self, keeper: &Arc<Keeper>, log: &LogKey, keys: &Arc<[u128]>) -> Result<Tried, String> {
        let (keeper, store) = (Arc::clone(keeper), Arc::clone(&self.parts.store));
        let (log, keys) = (log.clone(), Arc::clone(keys));
        // runs are read
        let trying = tokio::task::spawn_blocking(move || {
            let reserved = keeper.table.lock().reserve(&log, &keys);
            match reserved {
                Err(other) => Ok(Tried::Held(other)),
                Ok(word) => store.commands().others(&log, &keys).map(|others| Tried::Found(word, others)),
            }
        });
        trying.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// The keeper that this node is; it settles every log before it is one.
    async fn keeper(&self) -> Result<Arc<Keeper>, String> {
        let office = self.parts.control.office().ok_or("this node does not lead the cluster")?;
        let mut known = self.commands.keeper.lock().await;
        let same = known.as_ref().filter(|keeper| keeper.office == office).cloned();
        let keeper = match same {
            Some(keeper) => keeper,
            None => {
                let from = self.parts.control.keeper_begins(self.name()).await?;
                // in a log that was not where it should be yet nothing was accepted
                let logs = self.logs(|log, placement| asked(log, placement, true));
                Arc::clone(known.insert(Arc::new(Keeper::new(office, from, logs))))
            }
        };
        self.settle_first(&keeper).await?;
        Ok(keeper)
    }

    /// Every log that was there when it began is settled once. What is done of that stays done: who asks next goes on there.
    async fn settle_first(&self, keeper: &Keeper) -> Result<(), String> {
        let left: Vec<LogKey> = keeper.unsettled.lock().iter().cloned().collect();
        if left.is_empty() {
            return Ok(());
        }
        let settling = left.into_iter().map(|log| async move {
            let settled = self.settle(keeper, &log).await;
            if settled.is_ok() {
                keeper.unsettled.lock().remove(&log);
            }
            settled
        });
        join_all(settling).await.into_iter().collect::<Result<(), String>>()?;
        let term = keeper.office.term;
        tracing::info!(store = self.name(), term, "this node keeps the command ids apart from now on");
        Ok(())
    }

    /// A quorum has said after what was reserved that nobody else is the keeper.
    async fn confirm_keeper(&self, keeper: &Keeper) -> Result<(), String> {
        let group = self.parts.control.groups().get(&GroupId::Meta).ok_or("there is no cluster here")?;
        let confirmed = timeout(CONFIRM_WITHIN, group.confirm()).await.map_err(|error| error.to_string())?;
        confirmed.map_err(|error| error.to_string())?;
        let is_it = group.status().term == keeper.office.term && self.parts.control.office() == Some(keeper.office);
        if is_it { Ok(()) } else { Err("another node leads the cluster by now".to_owned()) }
    }

    /// What is stored of a log's reservations of before this call is applied here, the others are free.
    async fn settle(&self, keeper: &Keeper, log: &LogKey) -> Result<(), String> {
        let rounds = keeper.rounds_of(log);
        rounds.share(self.settle_now(keeper, log)).await
    }

    async fn settle_now(&self, keeper: &Keeper, log: &LogKey) -> Result<(), String> {
        let not_here = || format!("the log of `{log}` is not open on the node that must know it");
        let group = self.group(log).ok_or_else(not_here)?;
        let before = keeper.table.lock().begin_settling();
        let number = match group.leadership() {
            Leadership::Leads => self.settle_here(log, before).await?,
            Leadership::Follows { leader: Some((node, _)) } => {
                self.parts.control.settle_commands(node, self.name(), log, before).await?
            }
            Leadership::Follows { leader: None } => return Err(self.no_leader(log).to_string()),
        };
        group.reached(number, CONFIRM_WITHIN).await.map_err(|error| error.to_string())?;
        keeper.table.lock().settled(log, before);
        Ok(())
    }

    /// No reservation by an earlier word is taken in a log that this node leads; gives the entry that holds all that was.
    async fn settle_here(&self, log: &LogKey, before: Word) -> Result<u64, String> {
        let settling = timeout(SETTLE_WITHIN, self.settle_as_leader(log, before)).await;
        settling.map_err(|_| format!("what the log of `{log}` has in flight takes too long"))?
    }

    async fn settle_as_leader(&self, log: &LogKey, before: Word) -> Result<u64, String> {
        let not_here = || format!("the log of `{log}` is not open here");
        let of_log = |error: GroupError| format!("the log of `{log}`: {error}");
        let group = self.group(log).ok_or_else(not_here)?;
        // without a quorum what it has proposed would be waited for until one is there again
        group.confirm().await.map_err(of_log)?;
        let gate = self.commands.gate(log);
        // they would only have to reserve again
        let drained = timeout(DRAIN_WITHIN, gate.on_their_way.write()).await;
        gate.words.close_before(before);
        drop(drained);
        let owner = self.parts.table.get(log).ok_or_else(not_here)?;
        // behind every append that it judged before; what it has given up may be in the group's log all the same
        owner.send(DecideInFlight).await.map_err(|error| error.to_string())?;
        // it may lead as it did before a restart: what it had proposed then is in the group's log, and is decided when its last entry is
        let last = group.status().last.unwrap_or(0);
        let index = group.read_index().await.map_err(of_log)?;
        Ok(index.number.max(last))
    }

    /// Settles all logs now and then, so that the table holds what is on its way and little more.
    fn sweep(self: &Arc<Self>, keeper: &Arc<Keeper>) {
        let is_due = keeper.table.lock().len() >= keeper.sweep_at.load(Ordering::Relaxed);
        if !is_due || keeper.sweeps.swap(true, Ordering::SeqCst) {
            return;
        }
        let (replicas, keeper) = (Arc::clone(self), Arc::clone(keeper));
        tokio::spawn(async move {
            let logs = keeper.table.lock().logs();
            for log in logs {
                if let Err(why) = replicas.settle(&keeper, &log).await {
                    tracing::debug!(store = replicas.name(), %log, "its command ids stay reserved for now: {why}");
                }
            }
            let left = keeper.table.lock().len();
            keeper.sweep_at.store(left + SWEEP_AFTER, Ordering::Relaxed);
            keeper.sweeps.store(false, Ordering::SeqCst);
        });
    }
}

/// What the table and the logs say of ids.
enum Tried {
    /// One of them is reserved for another log.
    Held(LogKey),
    /// They are reserved by this word; what other logs have.
    Found(Word, Others),
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    #[test]
    fn who_comes_while_a_log_is_settled_shares_the_next_round() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (rounds, ran) = (Rounds::default(), AtomicUsize::new(0));
            let (free, held) = oneshot::channel::<()>();
            let mut first = Box::pin(rounds.share(async {
                ran.fetch_add(1, Ordering::SeqCst);
                held.await.map_err(|error| error.to_string())
            }));
            assert!((&mut first).now_or_never().is_none(), "it runs");
            let next = |said: Result<(), String>| {
                let ran = &ran;
                Box::pin(rounds.share(async move {
                    ran.fetch_add(1, Ordering::SeqCst);
                    said
                }))
            };
            let failed = || Err("no leader".to_owned());
            let (mut second, mut third, mut fourth) = (next(failed()), next(Ok(())), next(failed()));
            for waiting in [&mut second, &mut third, &mut fourth] {
                assert!(waiting.now_or_never().is_none(), "one at a time");
            }
            free.send(()).unwrap();
            assert_eq!(first.await, Ok(()));
            // one that fails helps nobody, one that ends helps who has waited
            assert_eq!(second.await, failed());
            assert_eq!((third.await, fourth.await), (Ok(()), Ok(())));
            assert_eq!(ran.load(Ordering::SeqCst), 3);
            // who comes later needs one of his own
            assert_eq!(next(failed()).await, failed());
            assert_eq!(ran.load(Ordering::SeqCst), 4);
        });
    }
}
