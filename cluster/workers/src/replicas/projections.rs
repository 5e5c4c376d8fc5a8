//! Sync subscriptions, for appends that are answered by a node that does not keep them.
//!
//! ```text
//!  meta group's state, as applied here ──> Roll: which there are, and what they ask for
//!  an append, once it is committed ──> its events by their filters ──> waits here, all that wait for one subscription together
//!                                                                         └─ one question at a time ──> who leads the meta group: Desk::progress
//! ```
//!
//! | | |
//! |---|---|
//! | which there are | every node has what the leader remembers of them. Making one is answered once every member has applied it, but for those that are away, so nobody is promised more than this list holds; a node that was away hears the leader first, and one that is cut off from it alone does not know of those that were made meanwhile |
//! | one that was deleted, while this node has not heard of it | who keeps them says that there is none: it is left out |
//! | one whose words cannot be read here now (of an encrypted store whose keys were rotated a node gets the new one within seconds) | as it was before. One that was never read is left out; each append reads again |
//! | nobody can be asked, or who leads changes meanwhile | timed out: the append is stored in any case |
//! | this node leads the log no more, or stops | timed out at once: whoever has sent the append on waits a moment longer for its answer (`forward.rs` of the server) |
//! | nobody is connected, as of a question that was asked after the commit | timed out at once |
//! | confirmed, by whatever answer | confirmed: what was acknowledged stays so |
//!
//! It refuses to send events or their positions: an answer says how far a subscription is, and is compared here. So a question has some hundred bytes, an answer
//! the places of what is acknowledged out of turn or parked (4,096 and 200 at most), and their number does not grow with that of the appends. A store
//! whose `projection.mode` is not sync comes here never, and one without a sync subscription asks nobody.

use super::StoreReplicas;
use crate::error::NodeError;
use crate::subscriptions::{Confirmation, Desk, ProjectionState, Waiting, made};
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use strandline_consensus::control::{Progress, Seen, TellsProgress};
use strandline_consensus::meta::StoreEntry;
use strandline_consensus::{BoxFuture, Group};
use strandline_engine::read::Filter;
use strandline_engine::store::Store;
use strandline_engine::subscribe::durable::{Mode, Settings};
use strandline_event::{ErrorKind, LogKey, Micros, Position, StampedBatch, bucket_of_stream};
use tokio::sync::watch;

/// A store's word to other nodes on how far sync subscriptions are.
pub(super) struct Tells(pub(super) Weak<StoreReplicas>);

impl TellsProgress for Tells {
    fn progress(&self, name: String, seen: Seen) -> BoxFuture<'_, Result<Option<Progress>, String>> {
        Box::pin(async move {
            // nothing else is held while it waits
            let desk: Option<Arc<Desk>> = self.0.upgrade().map(|replicas| Arc::clone(&replicas.parts.subscriptions));
            desk.ok_or("the store was closed")?.progress(&name, seen).await
        })
    }
}

/// The sync subscriptions of a store, as appends of this node see them.
#[derive(Default)]
pub(super) struct Projections {
    roll: Mutex<Roll>,
    told: Mutex<BTreeMap<String, Arc<Told>>>,
}

impl Projections {
    fn told(&self, name: &str) -> Arc<Told> {
        Arc::clone(self.told.lock().entry(name.to_owned()).or_default())
    }
}

/// A sync subscription.
#[derive(PartialEq, Eq, Debug)]
struct Projection {
    name: String,
    /// One of the same name that was made later has another moment.
    made_at: Micros,
    filter: Filter,
}

/// What is remembered of a named subscription, and which sync one that is.
type Known = (Arc<[u8]>, Option<Arc<Projection>>);

/// Which there are, as of a turn of what is remembered.
#[derive(Default)]
struct Roll {
    turn: u64,
    /// All named subscriptions.
    known: BTreeMap<String, Known>,
    /// Those of which that cannot be read.
    unread: BTreeSet<String>,
}

/// What is remembered otherwise than it is known.
struct Changes {
    turn: u64,
    values: Vec<(String, Arc<[u8]>)>,
    gone: Vec<String>,
}

impl Roll {
    /// `None`: it is of this turn.
    fn changes(&self, store: &StoreEntry) -> Option<Changes> {
        if store.remembered_turn == self.turn {
            return None;
        }
        let is_known =
            |name: &str, value: &Arc<[u8]>| self.known.get(name).is_some_and(|(known, _)| Arc::ptr_eq(known, value));
        let values = store.remembered.iter().filter(|(name, value)| !is_known(name, value));
        let values = values.map(|(name, value)| (name.clone(), Arc::clone(value))).collect();
        let gone = self.known.keys().filter(|name| !store.remembered.contains_key(*name)).cloned().collect();
        Some(Changes { turn: store.remembered_turn, values, gone })
    }

    /// `read`: how one was made. One that cannot be read stays as it was, and is read again.
    fn take(&mut self, changes: Changes, read: impl Fn(&str, &[u8]) -> Result<(Micros, Settings), String>) {
        for name in &changes.gone {
            self.known.remove(name);
        }
        let unread_before = std::mem::take(&mut self.unread);
        for (name, value) in changes.values {
            let made = match read(&name, &value) {
                Ok(made) => made,
                Err(why) => {
                    if !unread_before.contains(&name) {
                        tracing::warn!("what is remembered of subscription `{name}` cannot be read here: {why}");
                    }
                    self.unread.insert(name);
                    continue;
                }
            };
            let sync = Some(made).filter(|(_, settings)| settings.mode == Mode::Sync);
            let sync =
                sync.map(|(made_at, Settings { filter, .. })| Projection { name: name.clone(), made_at, filter });
            self.known.insert(name, (value, sync.map(Arc::new)));
        }
        if self.unread.is_empty() {
            self.turn = changes.turn;
        }
    }

    fn sync(&self) -> Vec<Arc<Projection>> {
        self.known.values().filter_map(|(_, projection)| projection.clone()).collect()
    }
}

/// What who keeps a subscription has told of it.
#[derive(Default)]
struct Told {
    /// A question is on its way.
    is_asking: AtomicBool,
    /// Questions that were asked.
    asked: AtomicU64,
    last: watch::Sender<Answer>,
}

/// The answer to a question, by its number.
#[derive(Clone, Default)]
struct Answer {
    number: u64,
    said: Said,
}

#[derive(Clone, Default)]
enum Said {
    /// Nobody says anything.
    #[default]
    Nothing,
    /// There is none of this name.
    Gone,
    /// How far it is.
    Here(Arc<Progress>),
}

/// What an answer means for an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Judged {
    /// It waits on.
    Open,
    /// The subscription is there no more.
    Gone,
    Is(ProjectionState),
}

impl Answer {
    /// `asked`: questions that had been asked when the append came: a later one says who is connected now. What is confirmed leaves `open`.
    fn judge(&self, made_at: Micros, open: &mut Vec<Position>, asked: u64) -> Judged {
        let is_later = self.number > asked;
        match &self.said {
            Said::Here(progress) if progress.seen.made_at == made_at => {
                open.retain(|position| !progress.has_confirmed(*position));
                match (open.is_empty(), progress.has_consumers) {
                    (true, _) => Judged::Is(ProjectionState::Confirmed),
                    (false, false) if is_later => Judged::Is(ProjectionState::TimedOut),
                    (false, _) => Judged::Open,
                }
            }
            Said::Here(_) | Said::Gone if is_later => Judged::Gone,
            Said::Nothing if is_later => Judged::Is(ProjectionState::TimedOut),
            Said::Here(_) | Said::Gone | Said::Nothing => Judged::Open,
        }
    }
}

impl StoreReplicas {
    /// Every member but those that are away knows the subscriptions that this node knows: their appends wait for them. `so_far`: what has become of the
    /// one that is to be made.
    pub(crate) async fn knows_projections(&self, so_far: &str) -> Result<(), NodeError> {
        let known = self.parts.control.known_everywhere().await;
        known.map_err(|why| NodeError::Cluster {
            kind: ErrorKind::Unavailable,
            why: format!("{so_far}: {why}; make it again in a moment"),
        })
    }

    /// Waits for the sync subscriptions, which another node keeps.
    pub(crate) async fn confirm_projections(&self, waiting: Waiting<'_>) -> Vec<Confirmation> {
        let asked = self.sync_subscriptions().into_iter().filter_map(|projection| {
            let open = waiting.asks(&projection.filter)?;
            Some(self.confirmation(projection, open, waiting))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// The groups of the logs in which batches were stored.
    pub(crate) fn groups_of(&self, batches: &[&StampedBatch]) -> Vec<Arc<Group>> {
        logs_of(&self.parts.store, batches).iter().filter_map(|log| self.group(log)).collect()
    }

    fn sync_subscriptions(&self) -> Vec<Arc<Projection>> {
        let mut roll = self.projections.roll.lock();
        let changes =
            self.parts.control.with_state(|state| state.stores().get(self.name()).and_then(|s| roll.changes(s)));
        if let Some(changes) = changes {
            let gone = changes.gone.clone();
            let keys = self.parts.store.keys().map(|keys| &**keys);
            roll.take(changes, |name, value| made(keys, name, value));
            let mut told = self.projections.told.lock();
            gone.iter().for_each(|name| drop(told.remove(name)));
        }
        roll.sync()
    }

    /// `None`: the subscription is there no more.
    async fn confirmation(
        &self,
        projection: Arc<Projection>,
        open: Vec<Position>,
        waiting: Waiting<'_>,
    ) -> Option<Confirmation> {
        let state = self.wait_for(&projection, open, waiting).await?;
        Some(Confirmation::new(&projection.name, &projection.filter, state))
    }

    async fn wait_for(
        &self,
        projection: &Projection,
        mut open: Vec<Position>,
        waiting: Waiting<'_>,
    ) -> Option<ProjectionState> {
        if open.is_empty() {
            return Some(ProjectionState::Confirmed);
        }
        let told = self.projections.told(&projection.name);
        let (asked, mut last) = (told.asked.load(Ordering::SeqCst), told.last.subscribe());
        loop {
            let answer = last.borrow_and_update().clone();
            match answer.judge(projection.made_at, &mut open, asked) {
                Judged::Is(state) => return Some(state),
                Judged::Gone => return None,
                Judged::Open => {}
            }
            self.ask(&projection.name, &told, &answer.said);
            if !matches!(waiting.in_time(last.changed()).await, Some(Ok(()))) {
                return Some(ProjectionState::TimedOut);
            }
        }
    }

    /// Asks how far it is, for all who wait, unless that is on its way. In a task: who waits may go.
    fn ask(&self, name: &str, told: &Arc<Told>, before: &Said) {
        if told.is_asking.swap(true, Ordering::SeqCst) {
            return;
        }
        let number = told.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let seen = if let Said::Here(progress) = before { progress.seen } else { Seen::default() };
        let keeper = self.meta_leader().filter(|node| *node != self.parts.control.node());
        let (control, store) = (self.parts.control.clone(), self.name().to_owned());
        let (name, told) = (name.to_owned(), Arc::clone(told));
        tokio::spawn(async move {
            let said = match keeper {
                Some(keeper) => control.ask_progress(keeper, &store, &name, seen).await,
                None => Err("the leader of the cluster is being elected".to_owned()),
            };
            let said = said.map(|said| said.map_or(Said::Gone, |progress| Said::Here(Arc::new(progress))));
            let said = said.unwrap_or_else(|why| {
                tracing::debug!(store, name, "nobody says how far this subscription is: {why}");
                Said::Nothing
            });
            told.is_asking.store(false, Ordering::SeqCst);
            // another one may have been asked, and answered, since this moment
            told.last.send_if_modified(|last| {
                let is_later = number > last.number;
                if is_later {
                    *last = Answer { number, said };
                }
                is_later
            });
        });
    }
}

/// The logs in which batches were stored.
fn logs_of(store: &Store, batches: &[&StampedBatch]) -> BTreeSet<LogKey> {
    let mut logs = BTreeSet::new();
    for batch in batches {
        let view = batch.view();
        let (stream_type, buckets): (Arc<str>, _) = (view.stream_type().into(), store.buckets_of(view.stream_type()));
        let of_streams = (0..view.stream_count()).map(|stream| bucket_of_stream(view.stream(stream), buckets));
        let of_batch: BTreeSet<u32> = of_streams.collect();
        logs.extend(of_batch.into_iter().map(|bucket| LogKey { stream_type: Arc::clone(&stream_type), bucket }));
    }
    logs
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use strandline_consensus::meta::Office;
    use strandline_event::EventId;

    fn at(us: i64) -> Position {
        Position { ingested_at: Micros(us), event_id: EventId([1; 16]) }
    }

    fn here(number: u64, done: i64, has_consumers: bool) -> Answer {
        let (acknowledged, parked) = (vec![at(8)], vec![at(2)]);
        let seen = Seen { made_at: Micros(3), ..Seen::default() };
        let said = Said::Here(Arc::new(Progress { seen, has_consumers, done: at(done), acknowledged, parked }));
        Answer { number, said }
    }

    #[test]
    fn what_is_confirmed_counts_by_any_answer_and_what_is_missing_by_one_that_was_asked_for_later() {
        let (confirmed, timed_out) = (Judged::Is(ProjectionState::Confirmed), Judged::Is(ProjectionState::TimedOut));
        let judge = |answer: &Answer, events: &[i64], asked| {
            answer.judge(Micros(3), &mut events.iter().map(|us| at(*us)).collect(), asked)
        };
        for (events, told) in [(&[4, 8][..], confirmed), (&[7][..], Judged::Open), (&[2][..], Judged::Open)] {
            assert_eq!(judge(&here(5, 5, true), events, 5), told, "{events:?}");
            assert_eq!(judge(&here(5, 5, true), events, 4), told, "{events:?}: a consumer may do it yet");
        }
        // of before the append: somebody may have come since
        assert_eq!(judge(&here(5, 5, false), &[7], 5), Judged::Open);
        assert_eq!(judge(&here(6, 5, false), &[7], 5), timed_out);
        assert_eq!(judge(&here(6, 5, false), &[4], 5), confirmed);
        for (said, told) in [(Said::Nothing, timed_out), (Said::Gone, Judged::Gone)] {
            let answer = |number| Answer { number, said: said.clone() };
            assert_eq!((judge(&answer(5), &[4], 5), judge(&answer(6), &[4], 5)), (Judged::Open, told));
        }
        // made anew under the same name: nobody waits for the one before any more
        let of_another = here(6, 9, true);
        assert_eq!(of_another.judge(Micros(2), &mut vec![at(4)], 5), Judged::Gone);
        assert_eq!(of_another.judge(Micros(2), &mut vec![at(4)], 6), Judged::Open);
    }

    fn store(turn: u64, values: &[(&str, &Arc<[u8]>)]) -> StoreEntry {
        let remembered = values.iter().map(|(name, value)| ((*name).to_owned(), Arc::clone(value)));
        StoreEntry {
            version: 1,
            statement: String::new(),
            compactor: None,
            compactor_epoch: 0,
            paused: false,
            remembered: remembered.collect(),
            remembered_turn: turn,
            office: Office::Kept,
            types: BTreeMap::new(),
        }
    }

    fn settings(mode: Mode) -> Settings {
        Settings { filter: Filter::default(), mode, attempts_max: 1, ack_within_us: 1 }
    }

    fn value(bytes: &[u8]) -> Arc<[u8]> {
        Arc::from(bytes)
    }

    fn sync(roll: &Roll) -> Vec<String> {
        roll.sync().iter().map(|of| format!("{} {}", of.name, of.made_at.0)).collect()
    }

    #[test]
    fn the_roll_reads_what_has_changed_and_nothing_else() {
        let reads = Cell::new(0);
        let read = |_: &str, value: &[u8]| {
            reads.set(reads.get() + 1);
            let (mode, made_at) = match value {
                [1, us] => (Mode::Sync, Micros(i64::from(*us))),
                [0, us] => (Mode::Async, Micros(i64::from(*us))),
                _ => return Err("damaged".to_owned()),
            };
            Ok((made_at, settings(mode)))
        };
        let (a, b, c, anew) = (value(&[1, 1]), value(&[0, 2]), value(&[0, 3]), value(&[1, 4]));
        let mut roll = Roll::default();
        assert!(roll.changes(&store(0, &[])).is_none(), "nothing was ever remembered");
        for (turn, values, told, read_then) in [
            (3, vec![("a", &a), ("b", &b)], vec!["a 1"], 2),
            (4, vec![("a", &a), ("b", &b), ("c", &c)], vec!["a 1"], 3),
            (6, vec![("a", &anew), ("b", &b), ("c", &c)], vec!["a 4"], 4),
            (7, vec![("b", &b)], vec![], 4),
        ] {
            let entry = store(turn, &values);
            let changes = roll.changes(&entry).unwrap();
            roll.take(changes, read);
            assert_eq!(sync(&roll), told, "turn {turn}");
            assert_eq!(reads.get(), read_then, "turn {turn}");
            assert!(roll.changes(&entry).is_none());
        }
    }

    #[test]
    fn one_that_cannot_be_read_now_stays_as_it_was_and_is_read_again() {
        let opens = Cell::new(true);
        let read = |_: &str, value: &[u8]| {
            if opens.get() {
                Ok((Micros(i64::from(value[0])), settings(Mode::Sync)))
            } else {
                Err("no key yet".to_owned())
            }
        };
        let mut roll = Roll::default();
        let take = |roll: &mut Roll, entry: &StoreEntry| {
            let changes = roll.changes(entry).unwrap();
            roll.take(changes, read);
        };
        take(&mut roll, &store(1, &[("a", &value(&[1]))]));
        let moved = store(2, &[("a", &value(&[1])), ("b", &value(&[2]))]);
        opens.set(false);
        for _ in 0..2 {
            take(&mut roll, &moved);
            assert_eq!(sync(&roll), ["a 1"]);
        }
        opens.set(true);
        take(&mut roll, &moved);
        assert_eq!(sync(&roll), ["a 1", "b 2"]);
        assert!(roll.changes(&moved).is_none());
        opens.set(false);
        take(&mut roll, &store(3, &[("b", &value(&[2]))]));
        assert_eq!(sync(&roll), ["b 2"], "one that is deleted has nothing to be read");
    }

    #[test]
    fn what_is_confirmed_in_parts_is_confirmed() {
        let mut open = vec![at(4), at(6), at(8)];
        assert_eq!(here(1, 5, true).judge(Micros(3), &mut open, 0), Judged::Open);
        assert_eq!(open, [at(6)]);
        assert_eq!(here(2, 6, true).judge(Micros(3), &mut open, 0), Judged::Is(ProjectionState::Confirmed));
    }
}
