//! Clients of a simulated cluster, what they saw, and the check of it.
//!
//! The check of one stream is that of a log with compare-and-append and reads of its head: an answer names the place, so a history is linearizable
//! if the places are one order that real time does not contradict, and every refusal, and every read, was true at some moment between its request
//! and its answer.

use super::disks::{Frame, frames_of};
use super::wire::{Net, read_index};
use super::world::Owner;
use crate::transport::NodeId;
use crate::{Group, GroupError, Leadership};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use strandline_engine::append::{Answer, AppendError, AppendRequest, Expected};
use strandline_event::{BatchBuilder, BatchUnit, EventInput, LogKey, Micros, Seq};
use tokio::time::Instant;

/// A cluster as clients reach it.
pub(super) trait Served: Net {
    /// A node that is asked.
    fn some_node(&self) -> NodeId;
    /// The owner of a log at a node that runs and answers of it.
    fn owner(&self, node: NodeId, log: &LogKey) -> Option<Arc<Owner>>;
    /// The group of a log at such a node.
    fn group(&self, node: NodeId, log: &LogKey) -> Option<Arc<Group>>;
    /// A stream, and the log that it is in.
    fn stream(&self) -> (String, LogKey);
    /// Whether reads wait for what a quorum, or the leader, says.
    fn confirms(&self) -> bool {
        true
    }
}

/// What a client saw.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) stream: String,
    pub(super) log: LogKey,
    command: String,
    events: u64,
    expected: Option<u64>,
    asked: Instant,
    answered: Instant,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Stored from this seq on, now or before.
    Stored(u64),
    /// The head was another one.
    Refused(u64),
    /// A read showed this head.
    Shown(u64),
    Unknown,
}

fn request(seen: &Seen) -> AppendRequest {
    let mut builder = BatchBuilder::new(&seen.log.stream_type, BatchUnit::Append);
    for _ in 0..seen.events {
        let event = EventInput {
            stream_id: &seen.stream,
            event_type: "E",
            command_id: Some(&seen.command),
            ..EventInput::default()
        };
        builder.push(&event).unwrap();
    }
    let mut request = AppendRequest::new(builder.finish().unwrap());
    request.expected = match seen.expected {
        None => Expected::Any,
        Some(0) => Expected::Empty,
        Some(head) => Expected::At(Seq(head)),
    };
    request
}

/// Asks nodes until one says yes or no. A try of unknown outcome is made again with the same command id.
async fn ask<W: Served>(world: &Arc<W>, seen: &Seen) -> Outcome {
    let mut node = world.some_node();
    for _ in 0..40 {
        let Some(owner) = world.owner(node, &seen.log) else {
            node = world.some_node();
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let answered = owner.append(request(seen));
        drop(owner);
        match tokio::time::timeout(Duration::from_secs(4), answered).await {
            Ok(Ok(Answer::Done(outcome))) => {
                let first = outcome.duplicates.first().map(|known| known.first_seq);
                return Outcome::Stored(first.or_else(|| outcome.stamped.map(|b| b.seq(0))).unwrap().0);
            }
            Ok(Ok(Answer::Refused(refusal))) => match refusal.error {
                AppendError::WrongExpectedSeq { actual, .. } => return Outcome::Refused(actual.0),
                AppendError::NotLeader { leader: Some((leader, _)) } if leader != node => node = leader,
                _ => node = world.some_node(),
            },
            Ok(Ok(Answer::Again(_))) => unreachable!("nothing is looked up here"),
            Ok(Err(_)) | Err(_) => node = world.some_node(),
        }
        tokio::time::sleep(Duration::from_millis(50 + world.luck().below(200))).await;
    }
    Outcome::Unknown
}

/// Everything that was acknowledged before is applied at a node when this returns: where it leads a quorum has confirmed that, elsewhere its leader has
/// said how far that is. Else who leads, as far as the node knows.
async fn confirm<W: Served>(world: &W, node: NodeId, group: &Group) -> Result<(), Option<NodeId>> {
    let leader = match group.leadership() {
        Leadership::Leads => {
            return match group.confirm().await {
                Ok(()) => Ok(()),
                Err(GroupError::NotLeader { leader }) => Err(leader.map(|(leader, _)| leader)),
                Err(_) => Err(None),
            };
        }
        Leadership::Follows { leader } => leader.map(|(leader, _)| leader),
    };
    let Some(to) = leader else { return Err(None) };
    let index = read_index(world, node, to, group.id()).await.ok_or(leader)?;
    // who reads gives up before: a wait that ends by itself may end in either of two ways at one moment, and no seed would replay that
    group.reached(index.number, Duration::from_secs(60)).await.map_err(|_| leader)
}

/// Asks nodes for the head of a stream until one is where a read must be: with `consistency=leader`.
async fn read<W: Served>(world: &Arc<W>, seen: &Seen) -> Outcome {
    let mut node = world.some_node();
    for _ in 0..40 {
        if let Some((owner, group)) = world.owner(node, &seen.log).zip(world.group(node, &seen.log)) {
            let confirmed = if world.confirms() {
                tokio::time::timeout(Duration::from_secs(4), confirm(&**world, node, &group)).await
            } else {
                Ok(Ok(()))
            };
            // a process that has ended meanwhile answers nobody
            let answers = world.owner(node, &seen.log).is_some_and(|now| Arc::ptr_eq(&now, &owner));
            match confirmed {
                Ok(Ok(())) if answers => return Outcome::Shown(owner.head(&seen.stream)),
                Ok(Err(Some(leader))) if leader != node => node = leader,
                _ => node = world.some_node(),
            }
        } else {
            node = world.some_node();
        }
        tokio::time::sleep(Duration::from_millis(50 + world.luck().below(200))).await;
    }
    Outcome::Unknown
}

/// Appends to one stream after another, mostly where it takes the head to be, and reads now and then, until then.
pub(super) async fn client<W: Served>(world: Arc<W>, name: u64, until: Instant) -> Vec<Seen> {
    let mut history = Vec::new();
    let mut heads: BTreeMap<String, u64> = BTreeMap::new();
    for turn in 0.. {
        if Instant::now() >= until {
            break;
        }
        let (stream, log) = world.stream();
        let known = heads.get(&stream).copied().unwrap_or(0);
        let is_read = world.luck().one_in(4);
        let expected = (!is_read && !world.luck().one_in(3)).then_some(known);
        let events = if is_read { 0 } else { 1 + world.luck().below(3) };
        let (asked, command) = (Instant::now(), format!("c{name}-{turn}"));
        let outcome = Outcome::Unknown;
        let mut seen = Seen { stream, log, command, events, expected, asked, answered: asked, outcome };
        seen.outcome = if is_read { read(&world, &seen).await } else { ask(&world, &seen).await };
        seen.answered = Instant::now();
        match seen.outcome {
            Outcome::Stored(first) => drop(heads.insert(seen.stream.clone(), first + events - 1)),
            Outcome::Refused(head) | Outcome::Shown(head) => drop(heads.insert(seen.stream.clone(), head)),
            Outcome::Unknown => {}
        }
        history.push(seen);
        tokio::time::sleep(Duration::from_millis(world.luck().below(300))).await;
    }
    history
}

/// While nothing befalls the cluster: a client of this name, alone, is answered whatever it asks. Gives what it saw.
pub(super) async fn answered<W: Served>(world: &Arc<W>, name: u64, about: &str) -> Vec<Seen> {
    let alone = client(Arc::clone(world), name, Instant::now() + Duration::from_secs(10)).await;
    let count = |wanted: fn(&Outcome) -> bool| alone.iter().filter(|seen| wanted(&seen.outcome)).count();
    let stored = count(|outcome| matches!(outcome, Outcome::Stored(_)));
    let shown = count(|outcome| matches!(outcome, Outcome::Shown(_)));
    let unknown = count(|outcome| *outcome == Outcome::Unknown);
    assert!(stored > 5 && shown > 0 && unknown == 0, "{about}: a client in quiet is not answered: {alone:?}");
    alone
}

/// The commands of each stream by their first seq.
pub(super) type Stored = BTreeMap<String, Vec<(u64, String)>>;

/// As the owner of a replica holds them.
fn stored(owner: &Owner) -> Stored {
    let mut out = Stored::new();
    for batch in owner.batches.lock().values() {
        let event = batch.row(0);
        let command = event.command_id.unwrap().to_owned();
        out.entry(event.stream_id.to_owned()).or_default().push((event.seq.0, command));
    }
    out
}

/// Whatever the clocks of those who led it say: no event of a log is older than one that stands before it.
fn moments_rise(owner: &Owner, about: &str) {
    let mut before = Micros::MIN;
    for (index, batch) in owner.batches.lock().iter() {
        let stamps = batch.stamps();
        let first = stamps.first_ingested_at();
        assert!(first > before, "{about}: {first} at index {index} comes behind {before}");
        before = stamps.last_ingested_at();
    }
}

/// Every stream that was asked for or is stored.
pub(super) fn check(history: &[Seen], stored: &Stored, about: &str) {
    let none = Vec::new();
    let streams: BTreeSet<&String> = history.iter().map(|seen| &seen.stream).chain(stored.keys()).collect();
    for stream in streams {
        let mine: Vec<&Seen> = history.iter().filter(|seen| seen.stream == *stream).collect();
        let by_command: BTreeMap<&str, &Seen> = mine.iter().map(|seen| (&*seen.command, *seen)).collect();
        let order = stored.get(stream).unwrap_or(&none);
        // no hole, nothing twice, nothing that nobody asked for
        let mut next = 1;
        let mut commands = BTreeSet::new();
        for (first, command) in order {
            assert_eq!(*first, next, "{about}: {stream} has a hole or a double: {order:?}");
            assert!(commands.insert(command), "{about}: {command} is stored twice");
            next += by_command[&**command].events;
        }
        let place = |command: &str| order.iter().find(|(_, c)| c == command).map(|(first, _)| *first);
        let ends = |seen: &Seen, first: u64| first + seen.events - 1;
        for seen in &mine {
            let at = place(&seen.command);
            match seen.outcome {
                Outcome::Stored(first) => {
                    assert_eq!(at, Some(first), "{about}: {seen:?} was acknowledged");
                    assert!(seen.expected.is_none_or(|head| head + 1 == first), "{about}: {seen:?}");
                }
                Outcome::Refused(actual) | Outcome::Shown(actual) => {
                    assert_eq!(at, None, "{about}: {seen:?} was no append, or refused, and is stored");
                    assert_ne!(seen.expected, Some(actual), "{about}: {seen:?}");
                    // the head that it was told existed before the answer, and nothing that was acknowledged before lay above it
                    let made = order.iter().find(|(first, c)| ends(by_command[&**c], *first) == actual);
                    let known = actual == 0 || made.is_some_and(|(_, c)| by_command[&**c].asked <= seen.answered);
                    assert!(known, "{about}: {seen:?} was told a head that was never there");
                    let later = mine.iter().find(|other| {
                        matches!(other.outcome, Outcome::Stored(first) if ends(other, first) > actual)
                            && other.answered < seen.asked
                    });
                    assert!(later.is_none(), "{about}: {seen:?} was judged by an old head: {later:?}");
                }
                Outcome::Unknown => {}
            }
        }
        // real time: what was answered before another was asked stands before it
        for a in &mine {
            for b in &mine {
                if a.answered >= b.asked {
                    continue;
                }
                match (a.outcome, b.outcome) {
                    (Outcome::Stored(first) | Outcome::Shown(first), Outcome::Stored(second)) => {
                        assert!(first < second, "{about}: {a:?} stands behind {b:?}");
                    }
                    (Outcome::Shown(first), Outcome::Shown(second)) => {
                        assert!(first <= second, "{about}: {b:?} knows less than {a:?}");
                    }
                    _ => {}
                }
            }
        }
    }
}

/// A replica after everything was healed.
pub(super) struct Held {
    pub(super) node: NodeId,
    pub(super) owner: Arc<Owner>,
    pub(super) group: Arc<Group>,
}

/// All replicas of a log hold the same; gives it.
pub(super) fn agreed(replicas: &[Held], history: &[Seen], about: &str) -> Stored {
    let (one, others) = replicas.split_first().unwrap();
    moments_rise(&one.owner, about);
    let first = stored(&one.owner);
    for other in others {
        assert_eq!(stored(&other.owner), first, "{about}: node {} holds something else", other.node);
    }
    // what they applied in their last lives is the same, byte for byte
    let applied = one.owner.applied.lock().clone();
    for other in others {
        let theirs = other.owner.applied.lock().clone();
        for (number, said) in &applied {
            assert!(theirs.get(number).is_none_or(|other| other == said), "{about}: entry {number} differs");
        }
    }
    // and so are all frames of their logs up to what is committed
    let frames = frames_of(one.group.storage());
    assert!(first.is_empty() || frames.iter().any(Frame::is_entry), "{about}: the log holds nothing");
    for other in others {
        let (node, theirs) = (other.node, frames_of(other.group.storage()));
        let differs = frames.iter().zip(&theirs).find(|(one, other)| one != other);
        assert!(differs.is_none(), "{about}: the log of node {node} differs: {differs:?}");
        assert_eq!(theirs.len(), frames.len(), "{about}: frames of node {node}");
    }
    for (stream, order) in &first {
        let head = order.last().map_or(0, |(first, command)| {
            first + history.iter().find(|seen| seen.command == *command).unwrap().events - 1
        });
        for replica in replicas {
            assert_eq!(replica.owner.head(stream), head, "{about}: the head of {stream} at node {}", replica.node);
        }
    }
    first
}

/// What became of what was asked.
pub(super) fn told(history: &[Seen]) -> String {
    let count = |wanted: fn(&Outcome) -> bool| history.iter().filter(|seen| wanted(&seen.outcome)).count();
    let stored = count(|outcome| matches!(outcome, Outcome::Stored(_)));
    let shown = count(|outcome| matches!(outcome, Outcome::Shown(_)));
    let unknown = count(|outcome| *outcome == Outcome::Unknown);
    format!("{} asked, {stored} stored, {shown} read, {unknown} unknown", history.len())
}

/// The seeds that were asked for, or the first ones.
pub(super) fn seeds(few: u64) -> Range<u64> {
    let asked = std::env::var("STRANDLINE_SEEDS").ok().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    asked.unwrap_or(0..few)
}

/// In a runtime of its own, of one thread, whose clock stands still while anybody has something to do.
pub(super) fn in_still_time<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run)
}

#[test]
fn a_read_that_shows_less_than_was_acknowledged_or_shown_before_is_found() {
    let began = Instant::now();
    let seen = |command: &str, events: u64, at_ms: u64, outcome: Outcome| {
        let (asked, answered) = (Duration::from_millis(at_ms), Duration::from_millis(at_ms + 5));
        let (asked, answered, command) = (began + asked, began + answered, command.to_owned());
        let (stream, log) = ("s".to_owned(), LogKey::single("T"));
        Seen { stream, log, command, events, expected: None, asked, answered, outcome }
    };
    let stored = Stored::from([("s".to_owned(), vec![(1, "a".to_owned()), (3, "b".to_owned())])]);
    // what each read shows, and when it is asked for: one append is acknowledged by 5, of another one nobody hears
    let holds = |reads: &[(u64, u64)]| {
        let mut history = vec![seen("a", 2, 0, Outcome::Stored(1)), seen("b", 1, 10, Outcome::Unknown)];
        let shown =
            |(at, (head, at_ms)): (usize, &(u64, u64))| seen(&format!("r{at}"), 0, *at_ms, Outcome::Shown(*head));
        history.extend(reads.iter().enumerate().map(shown));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&history, &stored, "made up"))).is_ok()
    };
    for reads in [&[(0, 0)][..], &[(2, 20), (3, 30)], &[(3, 20), (3, 30)], &[(3, 20), (2, 22)]] {
        assert!(holds(reads), "{reads:?}");
    }
    for reads in [&[(0, 20)][..], &[(1, 20)], &[(3, 20), (2, 30)], &[(3, 0)], &[(4, 20)]] {
        assert!(!holds(reads), "{reads:?}");
    }
}
