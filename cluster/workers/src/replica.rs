//! A log of a group on this node, between its owner (an actor) and its group (consensus).
//!
//! ```text
//!  WalWorker ──(propose)──> Replica ──> Group ──> quorum
//!     ^  one channel, in order                      │ every replica
//!     └── ReplicaEvent: Applied, Leads, Follows, Lost, Jump <── LogMachine
//! ```
//!
//! Invariants: what the owner hears comes in the order in which the group said it; this node accepts nothing before its group was once
//! where it should be (else a group of one would acknowledge what no other node holds).

use crate::clock;
use crate::messages::GroupWritten;
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use strandline_consensus::{Applied, BoxFuture, EntryId, Group, Machine, Pointer, Storage, owner};
use strandline_durable::FollowedOthers;
use strandline_engine::append::{GroupLost, ReplicatedGroup};
use strandline_engine::compact::trim_rule;
use strandline_engine::store::Store;
use strandline_event::{LogIndex, LogKey, Micros};
use strandline_wal::{Last, LeaderId, Membership};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// Between attempts to follow the manifest that a pointer names.
const FOLLOW_PAUSE: Duration = Duration::from_millis(100);
/// Attempts before the group is told that it cannot go on from the pointer; it sends it again.
const FOLLOW_TRIES: u32 = 100;
/// How long a leadership waits for what was proposed before.
const DECIDED_WITHIN: Duration = Duration::from_secs(5);

/// What a group tells the owner of its log.
pub(crate) enum ReplicaEvent {
    /// Committed entries; answered when readers see them.
    Applied(Vec<Applied>, oneshot::Sender<()>),
    /// This node leads from this entry on. What comes with it goes when that is heard.
    Leads(EntryId, Unheard),
    /// It leads no more.
    Follows,
    /// A proposal does not come back.
    Lost(ReplicatedGroup, GroupLost),
    /// The manifest holds what this replica has not seen: the log goes on there.
    Jump(oneshot::Sender<()>),
}

/// Words that their hearer has not come to: each holds a clone until it has.
#[derive(Clone, Default)]
pub(crate) struct Unheard(Arc<()>);

impl Unheard {
    fn is_any(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// The group of a log, as its owner needs it.
pub(crate) struct Replica {
    group: OnceLock<Arc<Group>>,
    runtime: tokio::runtime::Handle,
    proposals: watch::Sender<Proposals>,
    /// For those below this number no leadership waits any more.
    overlooked: AtomicU64,
    /// A leadership waits.
    waits: AtomicBool,
}

/// Number of the next proposal, and those of which nobody here knows yet whether they are stored, each with the entry that it is to become.
type Proposals = (u64, BTreeMap<u64, u64>);

/// A proposal that is under way, until this goes.
struct UnderWay {
    number: u64,
    proposals: watch::Sender<Proposals>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.proposals.send_modify(|(_, under_way)| {
            under_way.remove(&self.number);
        });
    }
}

impl Replica {
    /// Without a group yet; it gets one before this node leads.
    pub(crate) fn new(runtime: tokio::runtime::Handle) -> Arc<Self> {
        let (proposals, overlooked) = (watch::Sender::new((0, BTreeMap::new())), AtomicU64::new(0));
        Arc::new(Self { group: OnceLock::new(), runtime, proposals, overlooked, waits: AtomicBool::new(false) })
    }

    fn begin(&self, entry: u64) -> UnderWay {
        let mut number = 0;
        self.proposals.send_modify(|(next, under_way)| {
            number = *next;
            *next += 1;
            under_way.insert(number, entry);
        });
        UnderWay { number, proposals: self.proposals.clone() }
    }

    /// Everything that was proposed before this call is stored, or never will be under this leadership; also what the owner has given up.
    pub(crate) async fn decided(&self) {
        self.look_at_passed();
        self.decided_from(0).await;
    }

    async fn decided_from(&self, from: u64) {
        let mut proposals = self.proposals.subscribe();
        let next = proposals.borrow().0;
        let is_decided =
            |(_, under_way): &Proposals| under_way.range(from..).next().is_none_or(|(first, _)| *first >= next);
        // its sender is here
        drop(proposals.wait_for(is_decided).await);
    }

    /// Nobody answers a proposal whose entry came to this node in files.
    fn look_at_passed(&self) {
        if let Some(applied) = self.group.get().and_then(|group| group.applied()) {
            self.passed(applied);
        }
    }

    /// What was to become an entry up to this one has, or never will.
    fn passed(&self, applied: u64) {
        self.proposals.send_if_modified(|(_, under_way)| {
            let before = under_way.len();
            under_way.retain(|_, entry| *entry > applied);
            under_way.len() < before
        });
    }

    /// Whether something that the owner has given up may still become an entry under the leadership that it is told of anew. Then it is told once
    /// more when nothing may: before that readers would pass the moments of what is on its way. Until then the word counts as unheard. However often it
    /// comes meanwhile, it is told once more: a second time would take from the owner what it has accepted since.
    pub(crate) fn leads_later(self: &Arc<Self>, unheard: &Unheard) -> bool {
        self.look_at_passed();
        let from = self.overlooked.load(Ordering::SeqCst);
        let next = {
            let proposals = self.proposals.borrow();
            let is_any = proposals.1.range(from..).next().is_some();
            // what waits already waits for the same: nothing was proposed since
            match (self.waits.load(Ordering::SeqCst), is_any) {
                (true, _) => return true,
                (false, false) => return false,
                (false, true) => proposals.0,
            }
        };
        self.waits.store(true, Ordering::SeqCst);
        let (replica, unheard) = (Arc::clone(self), unheard.clone());
        self.runtime.spawn(async move {
            if timeout(DECIDED_WITHIN, replica.decided_from(from)).await.is_err() {
                replica.overlooked.fetch_max(next, Ordering::SeqCst);
            }
            // what is told from here on is heard
            replica.waits.store(false, Ordering::SeqCst);
            drop(unheard);
            if let Some(group) = replica.group.get() {
                group.tell_again();
            }
        });
        true
    }

    /// The group runs.
    pub(crate) fn runs(&self, group: Arc<Group>) {
        // set once, by who opened it
        let _ = self.group.set(group);
    }

    /// Proposes what the owner has accepted; where it does not come back as an entry, the owner is told. The group's engine has it when this returns: what
    /// comes of it alone is waited for in the runtime.
    pub(crate) fn propose(&self, batches: ReplicatedGroup, events: mpsc::UnboundedSender<GroupWritten>) {
        let (group, under_way) = (self.group.get().cloned(), self.begin(batches.number));
        let mut proposing = Box::pin(async move {
            let proposed = match group {
                Some(group) => owner::propose(&group, &batches).await,
                None => Err(GroupLost::Nothing(Arc::from("the group of this log does not run here yet"))),
            };
            if let Err(lost) = proposed {
                // an owner that has stopped waits for nothing
                let _ = events.send(GroupWritten::Replica(ReplicaEvent::Lost(batches, lost)));
            }
            // last: who waits for it has been told before
            drop(under_way);
        });
        if (&mut proposing).now_or_never().is_none() {
            self.runtime.spawn(proposing);
        }
    }

    /// What a quiet log does: proves its last group on the disk.
    pub(crate) fn mark_idle(&self) {
        let Some(group) = self.group.get().cloned() else { return };
        self.runtime.spawn(async move {
            if let Err(error) = group.storage().mark(false).await {
                tracing::warn!(group = %group.id(), "no idle mark: {error}");
            }
        });
    }

    /// Lets segments go that are wholly in files and old enough; each replica does so for itself.
    pub(crate) fn trim(&self, store: &Store, log: &LogKey, now: Micros) {
        let Some(group) = self.group.get().cloned() else { return };
        let rule = trim_rule(store, log, now);
        if group.storage().with_writer(|writer| writer.trimmable_through(rule.through, rule.older_than)).is_none() {
            return;
        }
        self.runtime.spawn(async move {
            if let Err(error) = group.compacted(rule.through, rule.older_than).await {
                tracing::warn!(group = %group.id(), "its log is not trimmed: {error}");
            }
        });
    }
}

/// The replicas of a store: makes all go on where its manifest is.
pub(crate) trait JumpAll: Send + Sync {
    /// Answered when all have.
    fn jump_all(&self) -> BoxFuture<'_, ()>;

    /// Whether this node may assign in a log under this leadership; if not yet, the group is told again when it may.
    fn may_lead(&self, log: &LogKey, leader: LeaderId) -> bool;
}

/// What the group's entries act on: the owner of the log.
pub(crate) struct LogMachine {
    pub(crate) log: LogKey,
    pub(crate) store: Arc<Store>,
    pub(crate) storage: Storage,
    pub(crate) opened: Option<EntryId>,
    pub(crate) events: mpsc::UnboundedSender<GroupWritten>,
    /// The group was once where it should be.
    pub(crate) established: AtomicBool,
    /// Words that this node leads which the owner has not heard yet.
    pub(crate) unheard: Unheard,
    pub(crate) all: Weak<dyn JumpAll>,
}

impl LogMachine {
    fn tell(&self, event: ReplicaEvent) -> bool {
        self.events.send(GroupWritten::Replica(event)).is_ok()
    }

    fn may_lead(&self, leader: LeaderId) -> bool {
        let is_established = self.established.load(Ordering::SeqCst);
        is_established && self.all.upgrade().is_none_or(|all| all.may_lead(&self.log, leader))
    }

    /// The owner goes on where the manifest is.
    pub(crate) async fn jump(&self) {
        let (told, done) = oneshot::channel();
        if self.tell(ReplicaEvent::Jump(told)) {
            let _ = done.await;
        }
    }

    /// Whether the manifest holds what this replica has not seen.
    pub(crate) fn lags(&self) -> bool {
        let through = self.store.durable().pin().watermark(&self.log);
        self.store.log(&self.log).is_some_and(|shared| shared.published().committed() < through)
    }

    async fn follow(&self, version: u64) -> Result<(), String> {
        let mut why = format!("manifest version {version} is not there yet");
        for _ in 0..FOLLOW_TRIES {
            if self.store.durable().pin().version() >= version {
                return Ok(());
            }
            let store = Arc::clone(&self.store);
            let followed = tokio::task::spawn_blocking(move || store.follow_others(true));
            match followed.await.map_err(|error| error.to_string())? {
                Ok(FollowedOthers::Now(_)) => continue,
                Ok(FollowedOthers::Newest | FollowedOthers::NotReady) => {}
                Err(error) => why = error.to_string(),
            }
            tokio::time::sleep(FOLLOW_PAUSE).await;
        }
        Err(why)
    }
}

impl Machine for LogMachine {
    fn opened_through(&self) -> Option<EntryId> {
        self.opened
    }

    fn applied(&self, entries: Vec<Applied>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let (told, applied) = oneshot::channel();
            // an owner that has stopped applies nothing: what the log holds is replayed at the next start
            if self.tell(ReplicaEvent::Applied(entries, told)) {
                let _ = applied.await;
            }
        })
    }

    fn leads(&self, first: Option<EntryId>) {
        match first {
            Some(first) if self.may_lead(first.leader) => {
                self.tell(ReplicaEvent::Leads(first, self.unheard.clone()));
            }
            // it hears it again once the group is where it should be, and it may
            Some(_) => {}
            None => drop(self.tell(ReplicaEvent::Follows)),
        }
    }

    /// Before the group is where it should be its owner was told nothing, and what a busy one has not heard yet it has not given up.
    fn acts(&self) -> bool {
        self.unheard.is_any() || self.takes()
    }

    fn takes(&self) -> bool {
        let shared = self.store.log(&self.log).filter(|_| self.established.load(Ordering::SeqCst));
        shared.is_none_or(|shared| shared.published().clock().leads())
    }

    fn close(&self) -> Option<Micros> {
        let (shared, closed) = (self.store.log(&self.log)?, self.store.closed());
        let (clock, now) = (shared.published().clock(), clock::now());
        // who asks knows that this node leads: before it says so to its owner nobody assigns
        let is_new = !self.established.load(Ordering::SeqCst);
        Some(if is_new { closed.close_new_for_others(clock, now) } else { closed.close_for_others(clock, now) })
    }

    fn pointer(&self) -> BoxFuture<'_, Result<Option<Pointer>, String>> {
        Box::pin(async move {
            let snapshot = self.store.durable().pin();
            let watermark = snapshot.watermark(&self.log);
            let whole = |writer: &strandline_wal::LogWriter| {
                writer.trimmable_through(watermark, Micros(i64::MAX)).or_else(|| writer.purged_entry())
            };
            let Some(last) = self.storage.with_writer(whole) else { return Ok(None) };
            let through = EntryId { leader: last.id.leader, number: last.number, index: last.id.index };
            let body = [snapshot.version().to_le_bytes(), watermark.0.to_le_bytes()].concat();
            Ok(Some(Pointer { through, body }))
        })
    }

    fn install(&self, pointer: Pointer, _: Option<(Membership, Last)>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let (version, watermark) = pointer_of(&pointer.body).ok_or("a pointer that is none")?;
            self.follow(version).await?;
            if self.store.durable().pin().watermark(&self.log) < watermark.max(pointer.through.index) {
                return Err(format!("manifest version {version} does not hold what a pointer says"));
            }
            if let Some(all) = self.all.upgrade() {
                all.jump_all().await;
            }
            self.jump().await;
            Ok(())
        })
    }
}

/// Manifest version and watermark.
fn pointer_of(body: &[u8]) -> Option<(u64, LogIndex)> {
    let (version, rest) = body.split_first_chunk::<8>()?;
    let watermark: [u8; 8] = rest.try_into().ok()?;
    Some((u64::from_le_bytes(*version), LogIndex(u64::from_le_bytes(watermark))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_unheard_until_who_hears_it_has_done_with_it() {
        let (unheard, (told, mut heard)) = (Unheard::default(), mpsc::unbounded_channel());
        assert!(!unheard.is_any());
        for _ in 0..2 {
            assert!(told.send(unheard.clone()).is_ok());
        }
        for is_left in [true, false] {
            let word = heard.try_recv().unwrap();
            assert!(unheard.is_any());
            drop(word);
            assert_eq!(unheard.is_any(), is_left);
        }
        assert!(told.send(unheard.clone()).is_ok());
        drop(heard);
        assert!(!unheard.is_any(), "nobody is there to hear it");
    }

    #[test]
    fn a_proposal_begins_in_the_thread_of_who_proposes() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (replica, (told, mut heard)) =
                (Replica::new(tokio::runtime::Handle::current()), mpsc::unbounded_channel());
            let (log, leader) = (LogKey::single("Call"), LeaderId::default());
            replica.propose(ReplicatedGroup { log, leader, number: 1, batches: Vec::new() }, told);
            // there is no group: no task has run, and it is told
            let lost = heard.try_recv().unwrap();
            assert!(matches!(lost, GroupWritten::Replica(ReplicaEvent::Lost(_, GroupLost::Nothing(_)))));
            assert!(replica.decided().now_or_never().is_some(), "nothing is under way");
        });
    }

    #[test]
    fn who_waits_for_proposals_waits_for_earlier_ones_alone() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let replica = Replica::new(tokio::runtime::Handle::current());
            assert!(replica.decided().now_or_never().is_some(), "nothing is under way");
            let (first, second) = (replica.begin(1), replica.begin(2));
            let mut deciding = Box::pin(replica.decided());
            assert!((&mut deciding).now_or_never().is_none());
            let later = replica.begin(3);
            drop(second);
            assert!((&mut deciding).now_or_never().is_none());
            drop(first);
            deciding.await;
            drop(later);
        });
    }

    #[test]
    fn nobody_waits_for_a_proposal_whose_entry_came_in_files() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let replica = Replica::new(tokio::runtime::Handle::current());
            let (unanswered, later) = (replica.begin(7), replica.begin(9));
            replica.passed(6);
            let mut deciding = Box::pin(replica.decided());
            assert!((&mut deciding).now_or_never().is_none());
            replica.passed(8);
            assert!((&mut deciding).now_or_never().is_none());
            drop(later);
            deciding.await;
            drop(unanswered);
        });
    }

    #[test]
    fn who_is_told_anew_that_it_leads_waits_for_what_it_has_given_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (replica, unheard) = (Replica::new(tokio::runtime::Handle::current()), Unheard::default());
            assert!(!replica.leads_later(&unheard), "nothing is under way");
            let unanswered = replica.begin(1);
            replica.overlooked.store(replica.proposals.borrow().0, Ordering::SeqCst);
            assert!(!replica.leads_later(&unheard), "it was waited for long enough");
            let given_up = replica.begin(2);
            assert!(replica.leads_later(&unheard));
            drop(given_up);
            // the one that was overlooked is not waited for again
            while replica.waits.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
            assert!(!replica.leads_later(&unheard));
            drop(unanswered);
        });
    }

    #[test]
    fn who_waits_to_lead_has_not_heard_that_it_does_and_waits_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (replica, unheard) = (Replica::new(tokio::runtime::Handle::current()), Unheard::default());
            let given_up = replica.begin(1);
            assert!(replica.leads_later(&unheard) && replica.leads_later(&unheard));
            assert_eq!(Arc::strong_count(&unheard.0), 2, "one waits");
            drop(given_up);
            assert!(replica.leads_later(&unheard), "it is told when the one that waits has seen it");
            while unheard.is_any() {
                tokio::task::yield_now().await;
            }
            assert!(!replica.leads_later(&unheard));
        });
    }
}
