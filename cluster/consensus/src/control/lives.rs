//! A copy of a member's folder is known before it takes part, as long as another member runs that has heard of a newer one, or that hears the process
//! over the folder from which it was made.
//!
//! ```text
//!  a start, nothing written yet ── Life(0) ──> every member: answers what it has heard of this folder, and remembers nothing
//!  each folder counts: at each start, and every minute while its node runs and others answer
//!       ── Life(how far, of which start), once that is durable ──> every member: remembers the most, and answers what other starts had said
//! ```
//!
//! | what a start says, to a member that has heard of another start over the folder | |
//! |---|---|
//! | as much, or less | its folder is an older copy: no log of it is opened, or what is open ends for good, and no later start goes on with it |
//! | more, and the other one does not run | it is remembered: the other one, told next time, ends for good |
//! | more, and the other one runs | nothing is remembered, the other one goes on. A start waits, and ends where the other is heard once more: of the two folders one is a copy younger than a minute, and nothing is written into this one. Who serves already (nobody told it before) ends for good five seconds later, if the other was there first; ten seconds later, if it was not and has not ended by then: nobody but those that were started anew has heard which of both was there |
//!
//! A start runs as long as the connection over which it has told stands, for at most ten seconds after it told last. The system closes the
//! connections of a process that is killed, so the next start over its own folder goes on at once. Where nobody closes them (the machine lost its
//! power, or the network) it waits until the time is over.
//!
//! Nobody is told what the folder does not hold, and every start counts before it tells: so one that was not put back says more than any start before it,
//! however often it is told, and is never taken for an older copy. What was heard is in memory alone: a whole cluster may be put back from copies that
//! were made one after the other. It refuses to know a copy of the last minute whose original is not heard by anybody just then, or one that is put back
//! when every other member was started anew since; the leader may (`lacking`).

use super::Control;
use super::ask::{number_bytes, number_of, question};
use crate::fields::{FieldError, Put, Take};
use crate::join::AskKind;
use crate::net::{Asker, NetTransport};
use crate::transport::NodeId;
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Version of the body.
const VERSION: u8 = 1;
/// Version of the answer where another start runs; else it is a number.
const RUNS: u8 = 2;
/// Time of the question.
const WITHIN: Duration = Duration::from_secs(3);
/// A start that has told within this time runs, while its connection stands: twice as long as a round of telling takes where members do not answer.
const HEARD_WITHIN: Duration = Duration::from_secs(10);
/// What a process has said before it was killed may be read so much later.
const READ_WITHIN: Duration = Duration::from_secs(1);

/// How far a folder counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    /// The count; durable before anybody is told. 0: it tells nothing, and asks.
    pub number: u64,
    /// Random bits of the start that says it.
    pub start: u128,
}

/// What a member has heard of another start over the folder, which runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Running {
    /// Since it was heard first.
    pub first: Duration,
    /// Since it was heard last.
    pub last: Duration,
}

impl Running {
    /// Whether it was heard when this process, which began then, ran already. `asked`: before the member was.
    #[must_use]
    pub fn was_heard_since(&self, begun: Instant, asked: Instant) -> bool {
        asked.checked_sub(self.last).is_some_and(|heard| heard > begun + READ_WITHIN)
    }

    /// Whether it was heard before this process began. `answered`: after the member had.
    fn was_heard_before(&self, begun: Instant, answered: Instant) -> bool {
        answered.checked_sub(self.first).is_none_or(|heard| heard < begun)
    }
}

/// What a member answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    /// The most that it has heard of other starts over the folder; 0: nothing.
    pub most: u64,
    /// The start that said so runs, and the asker says more, or only asks: nothing is remembered of the asker.
    pub runs: Option<Running>,
}

/// What was heard of a folder.
#[derive(Clone, Copy)]
struct Heard {
    instance: u128,
    most: Life,
    /// The most that other starts have said.
    others: u64,
    /// When the start that says most was heard first, and last.
    first: Instant,
    last: Instant,
    /// The connection over which it was heard last.
    link: u64,
}

/// What was heard of each, and the connections that stand.
#[derive(Default)]
struct Known {
    folders: BTreeMap<NodeId, Heard>,
    links: BTreeSet<u64>,
}

#[derive(Default)]
pub(super) struct Lives(Mutex<Known>);

impl Lives {
    /// A connection of a node stands.
    pub(super) fn came(&self, asker: Asker) {
        self.0.lock().links.insert(asker.link);
    }

    /// It does not any more.
    pub(super) fn left(&self, asker: Asker) {
        self.0.lock().links.remove(&asker.link);
    }

    /// The table.
    fn heard(&self, asker: Asker, life: Life, now: Instant) -> Said {
        let mut known = self.0.lock();
        let Asker { node, instance, link, .. } = asker;
        let begins = Heard { instance, most: life, others: 0, first: now, last: now, link };
        let before = known.folders.get(&node).copied().filter(|heard| heard.instance == instance);
        let Some(heard) = before else {
            if life.number > 0 {
                known.folders.insert(node, begins);
            }
            return Said { most: 0, runs: None };
        };
        let Life { number: most, start } = heard.most;
        if start == life.start {
            let most = Life { number: most.max(life.number), start };
            known.folders.insert(node, Heard { most, last: now, link, ..heard });
            return Said { most: heard.others, runs: None };
        }
        if life.number > 0 && life.number <= most {
            // of two that say as much it is the first one's count
            let others = if life.number < most { heard.others.max(life.number) } else { heard.others };
            known.folders.insert(node, Heard { others, ..heard });
            return Said { most, runs: None };
        }
        let last = now.saturating_duration_since(heard.last);
        let is_running = last < HEARD_WITHIN && known.links.contains(&heard.link);
        let runs = is_running.then(|| Running { first: now.saturating_duration_since(heard.first), last });
        if life.number > 0 && runs.is_none() {
            known.folders.insert(node, Heard { others: most, ..begins });
        }
        Said { most, runs }
    }
}

/// Tells these nodes how far this one's folder counts. Gives who has answered, and what.
pub async fn tell_lives(
    transport: &NetTransport,
    nodes: Vec<(NodeId, String)>,
    life: Life,
    within: Duration,
) -> Vec<(NodeId, Said)> {
    let body = life_bytes(life);
    let asking = nodes.into_iter().map(|(node, address)| {
        let ask = question(AskKind::Life, &body);
        async move {
            let answer = transport.ask(node, &address, ask, within).await.ok()?;
            Some((node, said_of(&answer).ok()?))
        }
    });
    join_all(asking).await.into_iter().flatten().collect()
}

/// The most that any of them has heard of other starts over the folder, and who.
#[must_use]
pub fn most_heard(told: &[(NodeId, Said)]) -> Option<(u64, NodeId)> {
    told.iter().map(|(node, said)| (said.most, *node)).max()
}

/// Who hears that another start runs: the one that has heard it last.
#[must_use]
pub fn heard_running(told: &[(NodeId, Said)]) -> Option<(NodeId, Running)> {
    told.iter().filter_map(|(node, said)| Some((*node, said.runs?))).min_by_key(|(_, running)| running.last)
}

/// Why a folder is an older copy that counts so far, where a node had heard of it before.
#[must_use]
pub fn older_copy(number: u64, heard: u64, by: NodeId) -> String {
    format!("cluster/life counts {number}, and node {by} had heard {heard} of it before")
}

/// Why a folder is not gone on with whose count is gone, where a node had heard of it before.
#[must_use]
pub fn count_is_gone(heard: u64, by: NodeId) -> String {
    format!(
        "its count, the file cluster/life, is gone, and node {by} had heard it count {heard}: without it nobody can tell this folder from an older copy"
    )
}

/// Who hears another process over a copy of this folder that has told since then, and whether that one was there when this one began. `asked` and
/// `answered`: before and after the members were.
fn beside(
    told: &[(NodeId, Said)],
    (begun, since): (Instant, Instant),
    (asked, answered): (Instant, Instant),
) -> Option<(NodeId, bool)> {
    let heard = told.iter().filter_map(|(node, said)| {
        let running = said.runs.filter(|running| running.was_heard_since(since, asked))?;
        Some((*node, running.was_heard_before(begun, answered)))
    });
    heard.max_by_key(|(_, is_first)| *is_first)
}

impl Control {
    /// Tells every other member how far this node's folder counts. Whether anybody answers; where its folder is a copy this node ends for good.
    /// `begun`: when this process was there.
    pub async fn tell_life(&self, life: Life, begun: Instant) -> bool {
        let asked = Instant::now();
        let told = self.tell_others(life).await;
        let answered = Instant::now();
        let older = most_heard(&told).filter(|(heard, _)| *heard >= life.number);
        let mut why = older.map(|(heard, by)| older_copy(life.number, heard, by));
        if why.is_none() && beside(&told, (begun, begun), (asked, answered)).is_some() {
            why = self.is_beside_another(life, begun, answered).await;
        }
        if let Some(why) = why.filter(|_| self.lost().is_none()) {
            let this = self.clone();
            // to its end, whoever waits for it; what it cannot write it says itself
            let _ = tokio::spawn(async move { this.end_for_good(Arc::from(why)).await }).await;
        }
        !told.is_empty()
    }

    /// Why this process ends, which was not alone at that moment: another one is heard again, and was there first, or is there still when it should have ended.
    async fn is_beside_another(&self, life: Life, begun: Instant, mut since: Instant) -> Option<String> {
        for is_last in [false, true] {
            // a member that stood still may read only now what the one before this one said before it was killed: never twice
            sleep(HEARD_WITHIN / 2).await;
            let asked = Instant::now();
            let told = self.tell_others(life).await;
            let answered = Instant::now();
            let (by, is_first) = beside(&told, (begun, since), (asked, answered))?;
            if is_first || is_last {
                return Some(format!(
                    "node {by} hears another process over a copy of this folder, and hears that one alone"
                ));
            }
            since = answered;
        }
        None
    }

    async fn tell_others(&self, life: Life) -> Vec<(NodeId, Said)> {
        let others = self.with_state(|state| self.others(state));
        let at = others.into_iter().map(|(node, said)| (node, self.transport().address(node).unwrap_or(said)));
        tell_lives(self.transport(), at.collect(), life, WITHIN).await
    }

    /// The answer to another node that tells.
    pub(super) fn life_here(&self, asker: Asker, body: &[u8]) -> Result<Vec<u8>, String> {
        let life = life_of(body).map_err(|error| error.to_string())?;
        Ok(said_bytes(self.lives.heard(asker, life, Instant::now())))
    }
}

fn life_bytes(life: Life) -> Vec<u8> {
    let mut out = Put::of(VERSION);
    out.u64(life.number);
    out.u128(life.start);
    out.0
}

fn life_of(body: &[u8]) -> Result<Life, FieldError> {
    let mut take = Take(body);
    take.version(VERSION)?;
    let life = Life { number: take.u64()?, start: take.u128()? };
    take.end()?;
    Ok(life)
}

fn said_bytes(said: Said) -> Vec<u8> {
    let Some(running) = said.runs else { return number_bytes(said.most) };
    let mut out = Put::of(RUNS);
    out.u64(said.most);
    for time in [running.first, running.last] {
        out.u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }
    out.0
}

fn said_of(body: &[u8]) -> Result<Said, FieldError> {
    if body.first() != Some(&RUNS) {
        return Ok(Said { most: number_of(body)?, runs: None });
    }
    let mut take = Take(body);
    take.version(RUNS)?;
    let (most, first, last) = (take.u64()?, take.u64()?, take.u64()?);
    take.end()?;
    let [first, last] = [first, last].map(Duration::from_millis);
    Ok(Said { most, runs: Some(Running { first, last }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKER: Asker = Asker { node: 3, instance: 30, cluster: 1, link: 1 };

    fn running(first: u64, last: u64) -> Option<Running> {
        Some(Running { first: Duration::from_secs(first), last: Duration::from_secs(last) })
    }

    #[test]
    fn a_start_hears_what_others_have_said_however_often_it_tells() {
        let (lives, now) = (Lives::default(), Instant::now());
        let told = |start, number| {
            let said = lives.heard(ASKER, Life { number, start }, now);
            assert_eq!(said.runs, None, "no connection stands");
            said.most
        };
        // the first start counts on, and says some of it twice
        assert_eq!([5, 5, 6, 5].map(|number| told(1, number)), [0; 4]);
        // the next one has counted: it is above
        assert_eq!([7, 7, 8].map(|number| told(2, number)), [6; 3]);
        // older copies are not, and end no newer start
        assert_eq!((told(3, 6), told(4, 8), told(2, 8)), (8, 8, 6));
        assert_eq!((told(3, 7), told(2, 9)), (8, 7), "one that was not told to end yet");
        let of = |asker| lives.heard(asker, Life { number: 1, start: 9 }, now).most;
        assert_eq!(of(Asker { node: 4, ..ASKER }), 0);
        assert_eq!(of(Asker { instance: 31, ..ASKER }), 0, "another folder");
    }

    /// The start that says most tells over connection 1, another one asks over connection 2.
    #[test]
    fn what_says_more_beside_a_start_that_runs_is_not_remembered() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let lives = Lives::default();
        let other = Asker { link: 2, ..ASKER };
        let first = |number, seconds| lives.heard(ASKER, Life { number, start: 1 }, at(seconds));
        let second = |number, seconds| lives.heard(other, Life { number, start: 2 }, at(seconds));
        let third = |number, seconds| lives.heard(other, Life { number, start: 3 }, at(seconds));
        lives.came(ASKER);
        lives.came(other);
        // who asks before anybody has told is not remembered either
        assert_eq!(second(0, 0), Said { most: 0, runs: None });
        assert_eq!((first(7, 0), first(7, 2)), (Said { most: 0, runs: None }, Said { most: 0, runs: None }));
        for number in [0, 8, 100] {
            assert_eq!(second(number, 5), Said { most: 7, runs: running(5, 3) }, "{number}");
        }
        for number in [1, 6, 7] {
            assert_eq!(third(number, 5), Said { most: 7, runs: None }, "an older copy for certain: {number}");
        }
        // it goes on, whatever else has asked
        assert_eq!(first(7, 6), Said { most: 6, runs: None });
        assert_eq!(second(8, 15), Said { most: 7, runs: running(15, 9) });
        // it is silent, and its connection stands
        assert_eq!(second(0, 16), Said { most: 7, runs: None });
        assert_eq!(second(8, 16), Said { most: 7, runs: None });
        assert_eq!(first(7, 17), Said { most: 8, runs: None }, "an older copy by now");
        assert_eq!(third(9, 17), Said { most: 8, runs: running(1, 1) });
        // it was killed a moment ago
        lives.left(other);
        assert_eq!(third(9, 17), Said { most: 8, runs: None });
        assert_eq!(second(8, 17), Said { most: 9, runs: None });
    }

    #[test]
    fn a_connection_that_ends_before_what_came_over_it_is_read_does_not_stand() {
        let (lives, now) = (Lives::default(), Instant::now());
        lives.came(ASKER);
        lives.left(ASKER);
        lives.heard(ASKER, Life { number: 7, start: 1 }, now);
        assert_eq!(lives.heard(Asker { link: 2, ..ASKER }, Life { number: 0, start: 2 }, now).runs, None);
    }

    #[test]
    fn who_was_there_first_goes_on() {
        let base = Instant::now() + Duration::from_secs(1000);
        let at = |seconds| base + Duration::from_secs(seconds);
        // asked and answered 20 seconds after the other one was heard first, in this way; whether that one was there first
        let is_first = |begun, first, last| {
            let runs = running(first, last);
            let told = [(1, Said { most: 0, runs: None }), (2, Said { most: 7, runs })];
            beside(&told, (at(begun), at(begun)), (at(20), at(20))).map(|(_, is_first)| is_first)
        };
        assert_eq!(is_first(10, 20, 2), Some(true), "heard at 0 and at 18, begun at 10");
        assert_eq!(is_first(10, 20, 9), None, "it may have been killed before, and read late");
        assert_eq!(is_first(10, 20, 15), None, "it was heard before alone");
        assert_eq!(is_first(10, 5, 2), Some(false), "it was heard since alone: it began later, and should have ended");
        let both = [(1, Said { most: 7, runs: running(20, 2) }), (2, Said { most: 7, runs: running(5, 2) })];
        assert_eq!(
            beside(&both, (at(10), at(10)), (at(20), at(20))),
            Some((1, true)),
            "one that was started anew does not count"
        );
        assert_eq!(beside(&both, (at(10), at(18)), (at(20), at(20))), None, "not again since");
        let heard = [(1, Said { most: 9, runs: running(9, 3) }), (2, Said { most: 7, runs: running(8, 2) })];
        assert_eq!((most_heard(&heard), most_heard(&[])), (Some((9, 1)), None));
        assert_eq!(heard_running(&heard), running(8, 2).map(|running| (2, running)));
        assert_eq!(heard_running(&[(1, Said { most: 9, runs: None })]), None);
    }

    #[test]
    fn what_is_said_is_read_back_and_nothing_shorter_or_longer() {
        let life = Life { number: 1 << 40, start: 1 << 100 };
        let bytes = life_bytes(life);
        assert_eq!(life_of(&bytes), Ok(life));
        assert!((0..bytes.len()).all(|end| life_of(&bytes[..end]).is_err()));
        assert!(life_of(&[&bytes[..], &[0]].concat()).is_err());
        for runs in [None, running(70, 2)] {
            let said = Said { most: 1 << 40, runs };
            let bytes = said_bytes(said);
            assert_eq!(said_of(&bytes), Ok(said));
            assert!((0..bytes.len()).all(|end| said_of(&bytes[..end]).is_err()));
            assert!(said_of(&[&bytes[..], &[0]].concat()).is_err());
            assert!(said_of(&[&[3][..], &bytes[1..]].concat()).is_err());
        }
    }
}
