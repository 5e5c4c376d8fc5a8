//! Command ids of a whole store (`id.command_id.unique_scope = 'store'`): which log has each that its memory holds, or that it judges right
//! now. Older ones are in the runs of the logs, which are asked here too.
//!
//! ```text
//!  ids of a request -> claim, all at once -+- nobody's: held for this log; then the other logs' runs are asked
//!                                          +- this log's: its own table knows them
//!                                          +- another log's: committed: a conflict; in flight: the request comes again once that is decided
//!  held -+- stored: noted, until the runs have it, or its batch never was
//!        +- not stored: free again
//! ```
//!
//! It refuses to be a truth: owners are, who keep their ids as with any other scope, and a restart fills this from them. Nothing of it is on disk.
//! Invariant: an id that some log has accepted is here or in that log's runs, in every moment: it leaves after the runs have it. So of
//! two logs that want one id the first claim wins, and who claims and then looks into the runs misses none.
//! On a cluster each node has one, filled from the logs as they are applied there; of two logs that have different leaders `reservations.rs` says which may
//! store an id. What is committed stands above what a leader that is none any more has in flight.
//! Nobody waits while he holds something: a request that must wait gives back first. A claim takes what is free of all its ids in one step, so
//! of requests that share ids the first one is not stopped by the others.

use crate::append::log::Log;
use crate::append::published::Published;
use crate::append::settled::SettledError;
use crate::commands::{Commands, Scope};
use arc_swap::ArcSwap;
use foldhash::fast::FixedState;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use strandline_event::{LogIndex, LogKey};
use strandline_wal::LeaderId;

/// Who has an id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Holder {
    log: usize,
    /// The batch that it came with; `ZERO`: it is being judged.
    index: LogIndex,
}

/// Parts of the table: one that doubles as a whole would stop every log for as long as that takes.
const PARTS: usize = 256;
/// A part that has no more room than this keeps it.
const PART_ROOM_KEPT: usize = 64;

/// By id.
#[derive(Debug)]
struct Holders(Vec<HashMap<u128, Holder, FixedState>>);

impl Default for Holders {
    fn default() -> Self {
        Self((0..PARTS).map(|_| HashMap::default()).collect())
    }
}

impl Holders {
    fn part(&mut self, key: u128) -> &mut HashMap<u128, Holder, FixedState> {
        &mut self.0[key as usize % PARTS]
    }
}

/// A log of the store.
#[derive(Clone)]
struct Member {
    key: LogKey,
    published: Arc<Published>,
    /// Why not all of its ids may be known.
    doubt: Option<Arc<str>>,
}

/// The command ids of a store. Shared by its logs.
#[derive(Debug, Default)]
pub struct CommandRegistry {
    holders: Mutex<Holders>,
    /// A log's place is its number; none ever leaves.
    members: ArcSwap<Vec<Member>>,
}

/// One log's part in the registry.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    registry: Arc<CommandRegistry>,
    /// `None`: a log that does not exist yet, and only looks.
    log: Option<usize>,
    /// The leadership under which the log reserves ids, on a cluster.
    leader: Option<LeaderId>,
}

/// The ids of one request, while it is judged. What it holds and the log did not note is free again when it goes.
#[derive(Debug)]
pub(crate) struct Claim {
    place: Place,
    held: Vec<u128>,
    elsewhere: HashMap<u128, Elsewhere, FixedState>,
    members: Arc<Vec<Member>>,
}

/// An id that another log has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Elsewhere {
    log: usize,
    committed: bool,
}

/// What other logs have of some ids.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Others {
    /// Ids that a log has, for ever.
    pub taken: Vec<(u128, LogKey)>,
    /// A log that may store one of them, or not.
    pub in_flight: Option<LogKey>,
}

/// Where an id is that is new to its log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Nowhere,
    /// Another log may store it, or not.
    InFlight(LogKey),
    /// Another log has it, for ever.
    In(LogKey),
}

impl CommandRegistry {
    /// Number of ids that it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.holders.lock().0.iter().map(HashMap::len).sum()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn join(self: &Arc<Self>, key: &LogKey, published: &Arc<Published>) -> Place {
        let mut log = 0;
        self.members.rcu(|members| {
            let mut members = Vec::clone(members);
            log = members.len();
            members.push(Member { key: key.clone(), published: Arc::clone(published), doubt: None });
            members
        });
        Place { registry: Arc::clone(self), log: Some(log), leader: None }
    }

    /// What logs other than this one have of these ids, as far as this node has applied them. Reads runs.
    ///
    /// # Errors
    /// Not all ids of a log are known.
    pub fn others(self: &Arc<Self>, log: &LogKey, keys: &[u128]) -> Result<Others, SettledError> {
        let own = self.members.load().iter().position(|member| member.key == *log);
        let claim = Place { registry: Arc::clone(self), log: own, leader: None }.claim(keys.iter().copied(), true);
        let mut others = Others::default();
        for key in keys {
            match claim.look(*key)? {
                Found::Nowhere => {}
                Found::In(log) => others.taken.push((*key, log)),
                Found::InFlight(log) => others.in_flight = Some(log),
            }
        }
        Ok(others)
    }
}

impl Place {
    /// Takes what nobody has of these ids (0: none), or only looks.
    fn claim(&self, keys: impl Iterator<Item = u128>, looks: bool) -> Claim {
        let (mut held, mut elsewhere) = (Vec::new(), HashMap::default());
        let mut holders = self.registry.holders.lock();
        // a log that comes later finds what is held here
        let members = self.registry.members.load_full();
        for key in keys.filter(|key| *key != 0) {
            let part = holders.part(key);
            match (part.get(&key).copied(), self.log) {
                (Some(holder), own) if Some(holder.log) == own => {}
                (Some(Holder { log, index }), _) => {
                    // under the lock: what a log takes back leaves here before its index can be another batch's
                    let reached = members.get(log).map_or(LogIndex::ZERO, |member| member.published.committed());
                    let committed = index > LogIndex::ZERO && index <= reached;
                    elsewhere.insert(key, Elsewhere { log, committed });
                }
                (None, Some(log)) if !looks => {
                    part.insert(key, Holder { log, index: LogIndex::ZERO });
                    held.push(key);
                }
                (None, _) => {}
            }
        }
        drop(holders);
        Claim { place: self.clone(), held, elsewhere, members }
    }

    /// The log has this id from the batch at `index` on.
    pub(crate) fn note(&self, key: u128, index: LogIndex) {
        let Some(log) = self.log else { return };
        let mut holders = self.registry.holders.lock();
        let holder = holders.part(key).entry(key).or_insert(Holder { log, index });
        if holder.log == log {
            holder.index = index;
        }
    }

    /// The same of a batch that is committed, whoever else may want the id.
    pub(crate) fn note_stored(&self, key: u128, index: LogIndex) {
        let Some(log) = self.log else { return };
        self.registry.holders.lock().part(key).insert(key, Holder { log, index });
    }

    pub(crate) fn reserve_under(&mut self, leader: LeaderId) {
        self.leader = Some(leader);
    }

    /// The leadership under which new ids must be reserved; `None`: this node has all logs, and leads them.
    pub(crate) const fn reserves_under(&self) -> Option<LeaderId> {
        self.leader
    }

    /// The log's runs have these ids now, or their batches never were.
    pub(crate) fn release(&self, keys: &[u128]) {
        self.let_go(keys, |_| true);
    }

    fn let_go(&self, keys: &[u128], goes: impl Fn(Holder) -> bool) {
        if keys.is_empty() {
            return;
        }
        let mut holders = self.registry.holders.lock();
        for key in keys {
            let part = holders.part(*key);
            if part.get(key).is_some_and(|holder| Some(holder.log) == self.log && goes(*holder)) {
                part.remove(key);
            }
            if part.capacity() > PART_ROOM_KEPT && part.len() < part.capacity() / 4 {
                part.shrink_to(part.len() * 2);
            }
        }
    }

    /// Not all ids of this log may be known from here on: the other logs take no new one.
    fn doubt(&self, reason: &str) {
        let Some(log) = self.log else { return };
        self.registry.members.rcu(|members| {
            let mut members = Vec::clone(members);
            if let Some(member) = members.get_mut(log) {
                member.doubt = Some(Arc::from(reason));
            }
            members
        });
    }
}

impl Claim {
    /// Where an id of the request is that its log does not have.
    pub(crate) fn look(&self, key: u128) -> Result<Found, SettledError> {
        if let Some(Elsewhere { log, committed }) = self.elsewhere.get(&key)
            && let Some(member) = self.members.get(*log)
        {
            let log = member.key.clone();
            return Ok(if *committed { Found::In(log) } else { Found::InFlight(log) });
        }
        for (log, member) in self.members.iter().enumerate() {
            if self.place.log == Some(log) {
                continue;
            }
            if let Some(reason) = &member.doubt {
                return Err(unknown(&member.key, reason));
            }
            let known = member.published.settled().command(key).map_err(|error| unknown(&member.key, &error.0))?;
            if known.is_some() {
                return Ok(Found::In(member.key.clone()));
            }
        }
        Ok(Found::Nowhere)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.place.let_go(&self.held, |holder| holder.index == LogIndex::ZERO);
    }
}

fn unknown(log: &LogKey, reason: &str) -> SettledError {
    SettledError(format!(
        "command ids are unique in the whole store, and those of `{log}` are not all known ({reason})"
    ))
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({})", self.key)
    }
}

impl Log {
    /// Its command ids are unique among all logs of this registry, where the store's rules say so. Before anything is replayed.
    pub fn join(&mut self, registry: &Arc<CommandRegistry>) {
        if self.rules().scope == Scope::Store {
            self.commands = Commands::in_store(registry.join(self.key(), self.published()));
        }
    }

    /// As [`join`](Self::join), of a log that does not exist: for dry runs only.
    pub fn visit(&mut self, registry: &Arc<CommandRegistry>) {
        if self.rules().scope == Scope::Store {
            self.commands = Commands::in_store(Place { registry: Arc::clone(registry), log: None, leader: None });
        }
    }

    /// What it has stored may not all be known here: no log takes a command id that this one may have.
    pub fn doubt(&self, reason: &str) {
        if let Some(place) = self.commands.place() {
            place.doubt(reason);
        }
    }

    /// The ids of a request, before it is judged; `None`: they are this log's affair alone.
    pub(crate) fn claim(&self, keys: impl Iterator<Item = u128>, looks: bool) -> Option<Claim> {
        self.commands.place().map(|place| place.claim(keys, looks))
    }
}
