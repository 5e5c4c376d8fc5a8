//! Command ids of a whole store on a cluster, where logs have leaders of their own: who may store an id that is new.
//!
//! ```text
//!  leader of a log ── reserve(ids, its leadership) ──> keeper (leader of the meta group) ──> a word, and which ids other logs have
//!        └─ accepts while the word holds, under the leadership that asked
//!  keeper ── a later word ──> leader of a log: takes no earlier one from now on; what it has is committed ──> applied here ──> settled
//! ```
//!
//! | the keeper is asked for an id | |
//! |---|---|
//! | nobody has it, or it is reserved for this log | it is reserved by the word of now, then looked up in what is stored |
//! | it is stored in another log | said so: a conflict, for ever |
//! | it is reserved for another log | that log is settled first; then it is stored there, or free |
//! | a quorum does not say that the keeper still is it | nothing is granted |
//! | it has just become the keeper | every log is settled first: what an earlier one has granted is stored, or over |
//!
//! | the leader of a log gets a batch with new ids | |
//! |---|---|
//! | no reservation, or not of all of them | none is stored: reserve, and send again |
//! | a reservation of another leadership of the log, or by a word that is over | the same |
//! | otherwise | stored |
//!
//! It refuses to be a truth: that is the logs, which the keeper holds, and of which each node's registry (`registry.rs`) is filled. So nothing of
//! it is on a disk, a restart or another keeper begins with none, and what retention takes away is forgotten with its files. Whoever has asked and is
//! gone leaves a reservation in doubt, which the log's leader settles: it is asked when somebody else wants the id, or when there are many.
//!
//! Invariant: an id is in one log at most. A grant was made by who was the keeper after it was asked for. The next keeper settles every log with
//! who leads it then: that one takes no earlier word any more, earlier leaders can commit nothing any more, and later ones were not asked for.
//! A node may lead again as it did before a restart: it has no grants then, and a keeper that does so begins with a later word.

use crate::append::log::Log;
use crate::append::outcome::Again;
use crate::append::request::AppendRequest;
use crate::append::verdict::Verdict;
use foldhash::fast::FixedState;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use strandline_event::LogKey;
use strandline_wal::LeaderId;

/// By what something was reserved: where the keeper began, and how often it had settled a log before. A later one is larger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Word {
    /// Where the keeper began: larger for each one, also for a node that leads again as it did before its restart.
    pub from: u64,
    /// Its round.
    pub round: u64,
}

/// What a log's leader must reserve before it stores a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToReserve {
    /// Under which leadership it stores.
    pub leader: LeaderId,
    /// Keys of the command ids.
    pub keys: Vec<u128>,
}

/// What the keeper says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Granted {
    /// By what the ids are reserved.
    pub word: Word,
    /// Ids that other logs have.
    pub taken: Vec<(u128, LogKey)>,
}

#[derive(Debug)]
struct Held {
    log: LogKey,
    round: u64,
}

/// The keeper's table, of a node while it leads the meta group and runs.
#[derive(Debug)]
pub struct Reservations {
    from: u64,
    round: u64,
    held: HashMap<u128, Held, FixedState>,
}

impl Reservations {
    /// Of a keeper that begins there: nothing is reserved.
    #[must_use]
    pub fn new(from: u64) -> Self {
        Self { from, round: 1, held: HashMap::default() }
    }

    const fn word(&self) -> Word {
        Word { from: self.from, round: self.round }
    }

    /// Reserves all of these ids for a log, or none.
    ///
    /// # Errors
    /// The log for which one of them is reserved: settle it first.
    pub fn reserve(&mut self, log: &LogKey, keys: &[u128]) -> Result<Word, LogKey> {
        let other = keys.iter().find_map(|key| self.held.get(key).filter(|held| held.log != *log));
        if let Some(held) = other {
            return Err(held.log.clone());
        }
        let round = self.round;
        self.held.extend(keys.iter().map(|key| (*key, Held { log: log.clone(), round })));
        Ok(self.word())
    }

    /// A log is about to be settled: its leader takes no word before this one any more.
    pub fn begin_settling(&mut self) -> Word {
        self.round += 1;
        self.word()
    }

    /// What is stored of a log's reservations before this word is known here; the others are free.
    pub fn settled(&mut self, log: &LogKey, before: Word) {
        self.held.retain(|_, held| held.log != *log || held.round >= before.round);
        if self.held.len() < self.held.capacity() / 4 {
            self.held.shrink_to(self.held.len() * 2);
        }
    }

    /// Number of ids that are reserved.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The logs for which something is reserved.
    #[must_use]
    pub fn logs(&self) -> BTreeSet<LogKey> {
        self.held.values().map(|held| held.log.clone()).collect()
    }
}

/// From which word on a log's leader takes reservations. One a log and node, as long as the node runs: what was reserved before was reserved under
/// another leadership.
#[derive(Debug, Default)]
pub struct Gate(Mutex<Word>);

impl Gate {
    /// No word before this one is taken any more.
    pub fn close_before(&self, word: Word) {
        let mut from = self.0.lock();
        *from = (*from).max(word);
    }

    /// Whether this word is taken.
    #[must_use]
    pub fn lets(&self, word: Word) -> bool {
        word >= *self.0.lock()
    }
}

/// Command ids that were reserved for a request.
#[derive(Debug)]
pub struct Reservation {
    leader: LeaderId,
    word: Word,
    /// Ascending.
    keys: Vec<u128>,
    /// Ascending: ids of the request that other logs have.
    taken: Vec<(u128, LogKey)>,
    gate: Arc<Gate>,
}

impl Reservation {
    /// What was wanted and is granted. `before`: an earlier one of the same request; what other logs had then they still have.
    #[must_use]
    pub fn new(wanted: ToReserve, granted: Granted, before: Option<&Self>, gate: Arc<Gate>) -> Self {
        let ToReserve { leader, mut keys } = wanted;
        let Granted { word, mut taken } = granted;
        keys.sort_unstable();
        taken.extend(before.into_iter().flat_map(|before| before.taken.iter().cloned()));
        taken.sort_unstable();
        Self { leader, word, keys, taken, gate }
    }

    /// The other log that has an id.
    pub(crate) fn taken(&self, key: u128) -> Option<&LogKey> {
        let at = self.taken.binary_search_by_key(&key, |(taken, _)| *taken).ok()?;
        self.taken.get(at).map(|(_, log)| log)
    }

    /// Whether these ids may be stored under a leadership of the log.
    pub(super) fn covers(&self, leader: LeaderId, mut keys: impl Iterator<Item = u128>) -> bool {
        leader == self.leader
            && keys.all(|key| self.keys.binary_search(&key).is_ok() && self.taken(key).is_none())
            && self.gate.lets(self.word)
    }
}

impl Log {
    /// This node leads the log on a cluster: where ids are unique in the store, new ones must be reserved under this leadership.
    pub(crate) fn reserves_under(&mut self, leader: LeaderId) {
        self.commands.reserve_under(leader);
    }

    /// What must be reserved before a request that was judged so may be stored, or be said to be storable.
    pub(super) fn must_reserve(&self, request: &AppendRequest, verdict: &Verdict) -> Option<Again> {
        let leader = self.commands.place()?.reserves_under()?;
        let keys = || verdict.commands.iter().map(|command| command.key);
        let is_covered = |reservation: &Arc<Reservation>| reservation.covers(leader, keys());
        if verdict.commands.is_empty() || request.reservation.as_ref().is_some_and(is_covered) {
            return None;
        }
        Some(Again::Reserve(ToReserve { leader, keys: keys().collect() }))
    }
}
