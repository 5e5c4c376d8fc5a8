//! Where a log of a replication group gathers what it has accepted: what waits together becomes one entry of the group.
//!
//! ```text
//!  lead(leader, number) ─> push ─> pending ─> take_group ─> (quorum) ─> applied, on every replica
//!                                                      └─> follow: what is in flight has an unknown outcome
//! ```
//!
//! One group is in flight. Invariants: nothing is accepted while this node does not lead; a group says under which leadership it was
//! judged, and the number that its entry must get, so that it is stored as it was judged or not at all. An entry of this leadership and number
//! is the one in flight only if it holds the same batch: one that was given up may still come before it, when leadership is told anew.
//! Entries and words of leadership come by two ways: an entry of another leadership ends this one, whatever was said, and no index is given
//! that an applied entry has.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use strandline_event::invariant::broken;
use strandline_event::{EventId, LogIndex, LogKey, Micros, StampedBatch};
use strandline_wal::LeaderId;

/// Bytes at which a group is closed; an append is never cut.
const GROUP_BYTES_MAX: usize = strandline_event::limits::GROUP_BYTES_MAX;

/// The log's group as its owner needs it; implemented where the group is.
pub trait Replica: Send + Sync {
    /// Whether an entry of this size surely fits on this node's disk.
    fn has_room(&self, bytes: usize) -> bool;
    /// Node and address of the leader, as far as it is known.
    fn leader(&self) -> Option<(u64, String)>;
    /// Ends the open segment.
    fn seal(&self);
}

/// Batches that become one entry.
#[derive(Clone, Debug)]
pub struct ReplicatedGroup {
    /// The log.
    pub log: LogKey,
    /// The leadership under which they were judged.
    pub leader: LeaderId,
    /// The number that their entry must get.
    pub number: u64,
    /// The batches with the moments in which they were accepted, in order; never none.
    pub batches: Vec<(LogIndex, StampedBatch, Micros)>,
}

/// An entry that is committed, whoever proposed it.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Who made it.
    pub leader: LeaderId,
    /// Its number.
    pub number: u64,
    /// Index of its last frame.
    pub index: LogIndex,
    /// Its batches; none: it says something of the group.
    pub batches: Vec<(LogIndex, StampedBatch)>,
}

/// Why what is in flight does not come back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupLost {
    /// Nothing of it was stored, on no replica.
    Nothing(Arc<str>),
    /// Another leader may commit it.
    Unknown(Arc<str>),
}

struct Leads {
    leader: LeaderId,
    next_number: u64,
}

/// The entry that is on its way.
struct InFlight {
    number: u64,
    /// What was made for its first batch, as for no other.
    made: Option<EventId>,
}

fn made<'a>(batches: impl IntoIterator<Item = &'a StampedBatch>) -> Option<EventId> {
    batches.into_iter().next().map(|batch| batch.stamps().made_id(0))
}

/// Gathers the accepted batches of a log that is replicated.
pub struct ReplicatedWriter {
    log: LogKey,
    replica: Arc<dyn Replica>,
    leads: Option<Leads>,
    /// Index of the last entry that was applied.
    applied: LogIndex,
    last_pushed: LogIndex,
    pending: VecDeque<(LogIndex, StampedBatch, Micros)>,
    in_flight: Option<InFlight>,
}

impl ReplicatedWriter {
    /// Of a log of which everything up to `applied` was replayed.
    #[must_use]
    pub fn new(log: LogKey, replica: Arc<dyn Replica>, applied: LogIndex) -> Self {
        let pending = VecDeque::new();
        Self { log, replica, leads: None, applied, last_pushed: applied, pending, in_flight: None }
    }

    pub(crate) fn replica(&self) -> &Arc<dyn Replica> {
        &self.replica
    }

    pub(crate) const fn leads(&self) -> bool {
        self.leads.is_some()
    }

    pub(crate) const fn last_pushed(&self) -> LogIndex {
        self.last_pushed
    }

    pub(crate) const fn applied(&self) -> LogIndex {
        self.applied
    }

    pub(crate) const fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether what is on its way from here has this leadership and number, and begins with this batch: one that was given up may have had its place.
    fn is_on_its_way<'a>(
        &self,
        leader: LeaderId,
        number: u64,
        batches: impl IntoIterator<Item = &'a StampedBatch>,
    ) -> bool {
        let flying = self.in_flight.as_ref().filter(|flying| flying.number == number);
        self.leads.as_ref().is_some_and(|leads| leads.leader == leader)
            && flying.is_some_and(|flying| flying.made == made(batches))
    }

    /// Whether this proposal is on its way from here, and not one that was judged for the same place later.
    pub(crate) fn has_proposed(&self, group: &ReplicatedGroup) -> bool {
        self.is_on_its_way(group.leader, group.number, group.batches.iter().map(|(_, batch, _)| batch))
    }

    /// Whether this entry is the one that is on its way from here.
    pub(crate) fn has_in_flight(&self, entry: &Committed) -> bool {
        // one of no batches says something of the group
        !entry.batches.is_empty()
            && self.is_on_its_way(entry.leader, entry.number, entry.batches.iter().map(|(_, batch)| batch))
    }

    /// This node leads: everything up to entry `number`, at `index`, is applied.
    pub(crate) fn lead(&mut self, leader: LeaderId, number: u64, index: LogIndex) {
        if self.is_in_flight() || self.has_pending() {
            broken("a leadership began while an earlier one had entries on their way");
        }
        self.leads = Some(Leads { leader, next_number: number + 1 });
        // where more was applied than the word of this leadership knows, its first proposal gets no place, and it is told anew
        self.applied = self.applied.max(index);
        self.last_pushed = self.applied;
    }

    pub(crate) fn push(&mut self, batch: StampedBatch, now: Micros) -> LogIndex {
        self.last_pushed = self.last_pushed.next();
        self.pending.push_back((self.last_pushed, batch, now));
        self.last_pushed
    }

    pub(crate) fn take_group(&mut self) -> Option<ReplicatedGroup> {
        let leads = self.leads.as_ref().filter(|_| self.in_flight.is_none() && !self.pending.is_empty())?;
        let mut bytes = 0;
        let fits = |(_, batch, _): &&(LogIndex, StampedBatch, Micros)| {
            bytes += batch.size_bytes();
            bytes <= GROUP_BYTES_MAX
        };
        let take = self.pending.iter().take_while(fits).count().max(1);
        let (leader, number) = (leads.leader, leads.next_number);
        let batches: Vec<_> = self.pending.drain(..take).collect();
        self.in_flight = Some(InFlight { number, made: made(batches.iter().map(|(_, batch, _)| batch)) });
        Some(ReplicatedGroup { log: self.log.clone(), leader, number, batches })
    }

    /// Whether an entry tells that this node leads no more, or under another leadership: before anybody says so to its owner.
    pub(crate) fn is_over_by(&self, entry: &Committed) -> bool {
        self.leads.as_ref().is_some_and(|leads| leads.leader != entry.leader)
    }

    /// An entry is applied. `true`: it is the one that was on its way from here.
    pub(crate) fn note_applied(&mut self, entry: &Committed) -> bool {
        let mine = self.has_in_flight(entry);
        if let (true, Some(leads)) = (mine, &mut self.leads) {
            self.in_flight = None;
            leads.next_number = entry.number + 1;
        }
        let idle = self.in_flight.is_none() && self.pending.is_empty();
        if let Some(leads) = self.leads.as_mut().filter(|leads| idle && !mine && leads.leader == entry.leader) {
            // this leadership has said something of the group itself: the next batch comes behind it
            leads.next_number = entry.number + 1;
            self.last_pushed = self.last_pushed.max(entry.index);
        }
        self.applied = self.applied.max(entry.index);
        mine
    }

    /// This node leads no more, or its entries did not get their place: what is on its way and behind it is nobody's.
    pub(crate) fn give_up(&mut self) {
        (self.leads, self.in_flight) = (None, None);
        self.pending.clear();
        self.last_pushed = self.applied;
    }
}

impl fmt::Debug for ReplicatedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicatedWriter({}, applied {}, leads {})", self.log, self.applied, self.leads())
    }
}
