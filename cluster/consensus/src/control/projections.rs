//! Sync subscriptions between nodes: who has answered an append asks the node that keeps the subscriptions (who leads the meta group) how far each
//! of them is, and who makes one asks every other member whether it knows of it.
//!
//! It refuses to know what a subscription asks for, and which events an append has: the store's part on each node says how far one is, and compares.

use super::Control;
use super::ask::{number_bytes, number_of, question};
use super::health::AWAY;
use crate::fields::{FieldError, Put, Take};
use crate::join::AskKind;
use crate::meta::MetaState;
use crate::transport::{BoxFuture, NodeId, TransportError};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strandline_event::{EventId, Micros, Position, SharedBytes};
use strandline_wal::LeaderId;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

/// Version of the bodies.
const VERSION: u8 = 1;
/// How long who keeps a subscription holds a question while nothing changes: far less than the question's own time.
pub const HELD: Duration = Duration::from_millis(500);
/// Time of a question how far a subscription is.
const PROGRESS_WITHIN: Duration = Duration::from_secs(3);
/// Such questions that wait for answers at once: the groups' own calls go over the same connections.
const ASKED_AT_ONCE: usize = 64;
/// How long a member has to apply what it is asked about, and the time of that question.
const APPLIES_WITHIN: Duration = Duration::from_secs(1);
const APPLIED_WITHIN: Duration = Duration::from_secs(3);
/// How long members that can be reached are asked again.
const KNOWN_WITHIN: Duration = Duration::from_secs(6);
/// Between looks at how far it is.
const PAUSE: Duration = Duration::from_millis(20);

const NONE: u64 = 0;
const WITHOUT_CONSUMERS: u64 = 1;
const WITH_CONSUMERS: u64 = 2;
const POSITION_BYTES: usize = 24;

/// A state of a subscription, as who keeps it has told it: two that are equal hold the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// The leadership of the meta group under which it is kept.
    pub office: LeaderId,
    /// When the subscription was made: one of the same name that was made later has another moment. (Numbers are given again under the next leadership.)
    pub made_at: Micros,
    /// Counts its changes.
    pub changes: u64,
}

/// How far a sync subscription is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Which state this is.
    pub seen: Seen,
    /// Whether somebody is connected for it.
    pub has_consumers: bool,
    /// Everything up to here is acknowledged, parked, or not asked for.
    pub done: Position,
    /// What is acknowledged behind that, in order.
    pub acknowledged: Vec<Position>,
    /// What is parked, in order.
    pub parked: Vec<Position>,
}

impl Progress {
    /// Whether an event was acknowledged (parked is not).
    #[must_use]
    pub fn has_confirmed(&self, position: Position) -> bool {
        let is_over = position <= self.done || self.acknowledged.binary_search(&position).is_ok();
        is_over && self.parked.binary_search(&position).is_err()
    }
}

/// A store on this node: how it tells how far sync subscriptions are that it keeps.
pub trait TellsProgress: Send + Sync + 'static {
    /// How far one is, when that is not as it was seen, nobody is connected for it, or after [`HELD`]; `None`: there is no such subscription.
    fn progress(&self, name: String, seen: Seen) -> BoxFuture<'_, Result<Option<Progress>, String>>;
}

/// The stores of this node, by name, and places for what it asks.
pub(super) struct Projections {
    stores: Mutex<BTreeMap<String, Arc<dyn TellsProgress>>>,
    places: Semaphore,
}

impl Default for Projections {
    fn default() -> Self {
        Self { stores: Mutex::default(), places: Semaphore::new(ASKED_AT_ONCE) }
    }
}

impl Control {
    /// How a store of this node tells how far sync subscriptions are.
    pub fn tells_progress_by(&self, store: &str, how: Arc<dyn TellsProgress>) {
        self.projections.stores.lock().insert(store.to_owned(), how);
    }

    /// Asks who keeps a sync subscription how far it is, once that is not as it was seen; `None`: there is none of this name.
    ///
    /// # Errors
    /// That node does not keep them, or cannot be reached.
    pub async fn ask_progress(
        &self,
        keeper: NodeId,
        store: &str,
        name: &str,
        seen: Seen,
    ) -> Result<Option<Progress>, String> {
        let known = self.transport().address(keeper).or_else(|| self.address_of(keeper));
        let address = known.ok_or_else(|| format!("where node {keeper} is is not known"))?;
        let waited = timeout(PROGRESS_WITHIN, self.projections.places.acquire()).await;
        let _place = waited.map_err(|_| "too many such questions wait")?.map_err(|error| error.to_string())?;
        let ask = question(AskKind::Progress, &asked_bytes(store, name, seen));
        let asked = self.transport().ask(keeper, &address, ask, PROGRESS_WITHIN).await;
        progress_of(&asked.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
    }

    /// The same, asked by another node.
    pub(super) async fn progress_here(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let (store, name, seen) = asked_of(body).map_err(|error| error.to_string())?;
        let how = self.projections.stores.lock().get(store).cloned();
        let how = how.ok_or_else(|| format!("store `{store}` is not open here"))?;
        Ok(progress_bytes(how.progress(name.to_owned(), seen).await?.as_ref()))
    }

    /// Every other member has applied what this node has of the meta group, but for those that are away: they learn of it when they are back.
    ///
    /// # Errors
    /// One that answers this node has not said so in time.
    pub async fn known_everywhere(&self) -> Result<(), String> {
        let (through, mut open) = self.with_state(|state| (state.applied(), self.others(state)));
        let until = Instant::now() + KNOWN_WITHIN;
        loop {
            let asked = self.ask_each(open.clone(), AskKind::Applied, &number_bytes(through), APPLIED_WITHIN).await;
            let silent = self.silent_here();
            let is_away = |node: &NodeId| silent.get(node).is_some_and(|time| *time > AWAY);
            let lacking = asked.into_iter().filter_map(|(node, answer)| Some((node, why_not(answer, through)?)));
            let left: BTreeMap<NodeId, String> = lacking.filter(|(node, _)| !is_away(node)).collect();
            let Some((node, why)) = left.first_key_value() else { return Ok(()) };
            if Instant::now() >= until {
                return Err(format!("node {node} has not said that it knows of it ({why})"));
            }
            open.retain(|(node, _)| left.contains_key(node));
            sleep(PAUSE).await;
        }
    }

    /// The answer to another node that asks: how far this one is, once it is as far as that one, or a moment later.
    pub(super) async fn applied_here(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let through = number_of(body).map_err(|error| error.to_string())?;
        let until = Instant::now() + APPLIES_WITHIN;
        loop {
            let applied = self.with_state(MetaState::applied);
            if applied >= through || Instant::now() >= until {
                return Ok(number_bytes(applied));
            }
            sleep(PAUSE).await;
        }
    }
}

/// Why a member has not applied everything up to a command, as far as it has said; `None`: it has.
fn why_not(answer: Result<SharedBytes, TransportError>, through: u64) -> Option<String> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Some(error.to_string()),
    };
    match number_of(&answer) {
        Ok(applied) if applied >= through => None,
        Ok(applied) => Some(format!("it is at command {applied} of {through}")),
        Err(error) => Some(error.to_string()),
    }
}

fn asked_bytes(store: &str, name: &str, seen: Seen) -> Vec<u8> {
    let mut out = Put::of(VERSION);
    out.text(store);
    out.text(name);
    put_seen(&mut out, seen);
    out.0
}

fn asked_of(body: &[u8]) -> Result<(&str, &str, Seen), FieldError> {
    let mut take = Take(body);
    take.version(VERSION)?;
    let asked = (take.text()?, take.text()?, take_seen(&mut take)?);
    take.end()?;
    Ok(asked)
}

fn put_seen(out: &mut Put, seen: Seen) {
    out.u64(seen.office.term);
    out.u64(seen.office.node);
    out.u64(seen.made_at.0.cast_unsigned());
    out.u64(seen.changes);
}

fn take_seen(take: &mut Take<'_>) -> Result<Seen, FieldError> {
    let office = LeaderId { term: take.u64()?, node: take.u64()? };
    let made_at = Micros(take.u64()?.cast_signed());
    Ok(Seen { office, made_at, changes: take.u64()? })
}

fn put_position(out: &mut Put, position: Position) {
    out.u64(position.ingested_at.0.cast_unsigned());
    out.bytes(&position.event_id.0);
}

fn take_position(take: &mut Take<'_>) -> Result<Position, FieldError> {
    let ingested_at = Micros(take.u64()?.cast_signed());
    let event_id = EventId(take.bytes(16)?.try_into().map_err(|_| FieldError::Short)?);
    Ok(Position { ingested_at, event_id })
}

fn put_positions(out: &mut Put, positions: &[Position]) {
    out.count(positions.len());
    positions.iter().for_each(|position| put_position(out, *position));
}

fn take_positions(take: &mut Take<'_>) -> Result<Vec<Position>, FieldError> {
    let count = take.count(POSITION_BYTES)?;
    let positions: Vec<Position> = (0..count).map(|_| take_position(take)).collect::<Result<_, _>>()?;
    let is_sorted = positions.is_sorted_by(|before, after| before < after);
    if is_sorted { Ok(positions) } else { Err(FieldError::Value("positions are not in their order")) }
}

fn progress_bytes(progress: Option<&Progress>) -> Vec<u8> {
    let mut out = Put::of(VERSION);
    let Some(progress) = progress else {
        out.u64(NONE);
        return out.0;
    };
    out.u64(if progress.has_consumers { WITH_CONSUMERS } else { WITHOUT_CONSUMERS });
    put_seen(&mut out, progress.seen);
    put_position(&mut out, progress.done);
    put_positions(&mut out, &progress.acknowledged);
    put_positions(&mut out, &progress.parked);
    out.0
}

fn progress_of(answer: &[u8]) -> Result<Option<Progress>, FieldError> {
    let mut take = Take(answer);
    take.version(VERSION)?;
    let has_consumers = match take.u64()? {
        NONE => {
            take.end()?;
            return Ok(None);
        }
        WITHOUT_CONSUMERS => false,
        WITH_CONSUMERS => true,
        _ => return Err(FieldError::Value("a subscription in a state that is not known here")),
    };
    let (seen, done) = (take_seen(&mut take)?, take_position(&mut take)?);
    let (acknowledged, parked) = (take_positions(&mut take)?, take_positions(&mut take)?);
    take.end()?;
    Ok(Some(Progress { seen, has_consumers, done, acknowledged, parked }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::only_whole;

    const SEEN: Seen = Seen { office: LeaderId { term: 7, node: 2 }, made_at: Micros(3), changes: 258 };

    fn at(us: i64) -> Position {
        Position { ingested_at: Micros(us), event_id: EventId([9; 16]) }
    }

    fn progress() -> Progress {
        let (acknowledged, parked) = (vec![at(8), at(10)], vec![at(4), at(10)]);
        Progress { seen: SEEN, has_consumers: true, done: at(6), acknowledged, parked }
    }

    #[test]
    fn what_is_asked_and_answered_is_read_back_and_nothing_else() {
        let asked = asked_bytes("orders", "totals", SEEN);
        assert_eq!(asked_of(&asked), Ok(("orders", "totals", SEEN)));
        only_whole(&asked, |bytes| asked_of(bytes).map(|(_, _, seen)| seen));
        let alone = Progress { has_consumers: false, acknowledged: Vec::new(), parked: Vec::new(), ..progress() };
        for told in [None, Some(progress()), Some(alone)] {
            let bytes = progress_bytes(told.as_ref());
            assert_eq!(progress_of(&bytes), Ok(told));
            only_whole(&bytes, progress_of);
        }
        let turned = Progress { parked: vec![at(10), at(4)], ..progress() };
        assert!(progress_of(&progress_bytes(Some(&turned))).is_err(), "positions have one order");
        let mut later = progress_bytes(None);
        later[8] = 3;
        assert!(progress_of(&later).is_err());
    }

    /// As `PROTOCOL.md` says it.
    #[test]
    fn the_bytes_stay_as_they_are() {
        let seen: &[u8] =
            &[7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0];
        let version: &[u8] = &[1, 0, 0, 0, 0, 0, 0, 0];
        let asked = [version, &[1, 0, 0, 0][..], &b"s"[..], &[2, 0, 0, 0][..], &b"ab"[..], seen];
        assert_eq!(asked_bytes("s", "ab", SEEN), asked.concat());
        let position = |us: u8| [&[us, 0, 0, 0, 0, 0, 0, 0][..], &[9; 16]].concat();
        let (two, with_consumers) = ([2, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0]);
        let acknowledged = [&two[..], &position(8)[..], &position(10)[..]].concat();
        let parked = [&two[..], &position(4)[..], &position(10)[..]].concat();
        let told = [version, &with_consumers[..], seen, &position(6)[..], &acknowledged[..], &parked[..]].concat();
        assert_eq!(progress_bytes(Some(&progress())), told);
        assert_eq!(progress_bytes(None), [version, &[0; 8]].concat());
        assert_eq!(number_bytes(513), [version, &[1, 2, 0, 0, 0, 0, 0, 0]].concat());
    }

    #[test]
    fn confirmed_is_what_is_over_and_not_parked() {
        let progress = progress();
        let confirmed: Vec<i64> = (1..=12).filter(|us| progress.has_confirmed(at(*us))).collect();
        assert_eq!(confirmed, [1, 2, 3, 5, 6, 8], "4 and 10 are parked, 7, 9 and what comes behind is open");
    }

    #[test]
    fn who_has_not_applied_all_of_it_does_not_know() {
        let said = |number: u64| Ok(SharedBytes::copy_aligned(&number_bytes(number)));
        assert_eq!((why_not(said(8), 8), why_not(said(9), 8)), (None, None));
        assert_eq!(why_not(said(7), 8).as_deref(), Some("it is at command 7 of 8"));
        assert!(why_not(Ok(SharedBytes::copy_aligned(&[])), 8).is_some());
        let late = TransportError::TimedOut { node: 2, waited_ms: 3_000 };
        assert!(why_not(Err(late), 8).is_some());
    }
}
