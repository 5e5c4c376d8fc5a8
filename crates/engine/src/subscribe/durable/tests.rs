use super::*;
use crate::subscribe::record::{Folded, Kept, Record};
use proptest::prelude::*;
use std::collections::HashSet;
use strandline_event::EventId;

const SECOND: i64 = 1_000_000;

fn at(n: i64) -> Position {
    Position { ingested_at: Micros(n), event_id: EventId([0; 16]) }
}

fn settings(attempts_max: u32) -> Settings {
    Settings { filter: Filter::default(), mode: Mode::Async, attempts_max, ack_within_us: 30 * SECOND }
}

/// Events 1, 2, ... of streams; the real subscription, and what was seen of it.
struct World {
    durable: Durable,
    /// Stream of each event, from event 1.
    events: Vec<u128>,
    gone: HashSet<i64>,
    now: Micros,
    next_consumer: u64,
    consumers: Vec<u64>,
    /// Who was given what and has not said anything of it.
    held: Vec<(u64, i64)>,
    acknowledged: HashSet<i64>,
    given: HashSet<i64>,
}

impl World {
    fn new(attempts_max: u32) -> Self {
        Self {
            durable: Durable::new(settings(attempts_max), at(0), Vec::new()),
            events: Vec::new(),
            gone: HashSet::new(),
            now: Micros(0),
            next_consumer: 1,
            consumers: Vec::new(),
            held: Vec::new(),
            acknowledged: HashSet::new(),
            given: HashSet::new(),
        }
    }

    fn join(&mut self) -> u64 {
        let consumer = self.next_consumer;
        self.next_consumer += 1;
        self.durable.join(consumer);
        self.consumers.push(consumer);
        consumer
    }

    fn leave(&mut self, which: usize) {
        if self.consumers.is_empty() {
            return;
        }
        let consumer = self.consumers.remove(which % self.consumers.len());
        self.held.retain(|(of, _)| *of != consumer);
        self.durable.leave(consumer, self.now);
    }

    /// Reads on until nothing can be given, as the shell does.
    fn run(&mut self) {
        self.durable.tick(self.now);
        self.sync();
        while let Some(position) = self.durable.next_replay(self.now) {
            let n = position.ingested_at.0;
            let stream = (!self.gone.contains(&n)).then(|| self.events[n as usize - 1]);
            match self.durable.offer_replay(position, stream, self.now) {
                Offer::Deliver(consumer, _) => self.gave(consumer, n, true),
                Offer::Pass => {}
                Offer::Full => break,
            }
        }
        loop {
            self.durable.go_back(self.now);
            let after = self.durable.cursor().at().ingested_at.0;
            let last = self.events.len() as i64;
            // one page of three
            let page: Vec<i64> = (after + 1..=last).filter(|n| !self.gone.contains(n)).take(3).collect();
            let end = page.last().copied().filter(|_| page.len() == 3).unwrap_or(last);
            for n in page {
                match self.durable.offer(at(n), self.events[n as usize - 1], self.now) {
                    Offer::Deliver(consumer, attempt) => {
                        assert!(attempt >= 1);
                        self.gave(consumer, n, false);
                    }
                    Offer::Pass => {}
                    Offer::Full => return,
                }
            }
            self.durable.examined(at(end), at(end));
            if end == last {
                let before = self.durable.cursor();
                self.durable.go_back(self.now);
                if self.durable.cursor() == before {
                    return;
                }
            }
        }
    }

    fn gave(&mut self, consumer: u64, n: i64, replay: bool) {
        assert!(self.consumers.contains(&consumer));
        let stream = self.events[n as usize - 1];
        if !replay {
            let earlier = (1..n).filter(|e| self.events[*e as usize - 1] == stream && !self.gone.contains(e));
            for e in earlier {
                let is_parked = self.durable.parked.contains_key(&at(e));
                assert!(is_parked || self.given.contains(&e), "event {n} of a stream was given before {e}");
            }
            assert!(!self.acknowledged.contains(&n), "{n} was acknowledged");
        }
        // a stream is with one consumer at a time
        for (other, of) in &self.held {
            assert!(*other == consumer || self.events[*of as usize - 1] != stream || *of == n, "{n} and {of}");
        }
        self.held.retain(|(_, of)| *of != n);
        self.held.push((consumer, n));
        self.given.insert(n);
        let holds = self.held.iter().filter(|(of, _)| *of == consumer).count();
        assert!(holds <= HELD_MAX);
    }

    /// What the subscription took back is not held any more.
    fn sync(&mut self) {
        let durable = &self.durable;
        self.held.retain(|(consumer, n)| durable.entry(at(*n)).and_then(holder) == Some(*consumer));
    }

    fn ack(&mut self, which: usize, only: bool) {
        if self.held.is_empty() {
            return;
        }
        let (consumer, n) = self.held[which % self.held.len()];
        let durable = |world: &Self| -> HashSet<i64> {
            let open = world.given.iter().copied().filter(|n| world.durable.entry(at(*n)).is_some());
            open.collect()
        };
        let before = durable(self);
        let count = self.durable.ack(at(n), Some(consumer), only, self.now);
        assert!(count >= 1 && (!only || count == 1));
        let over: Vec<i64> = before.difference(&durable(self)).copied().collect();
        assert!(over.contains(&n) && over.len() == count);
        assert!(
            over.iter().all(|over| self.held.iter().all(|(of, n)| n != over || *of == consumer)),
            "others keep theirs"
        );
        self.sync();
        self.acknowledged.extend(over);
        assert_eq!(self.durable.ack(at(n), Some(consumer), only, self.now), 0, "once is enough");
    }

    /// Starts anew: what is on disk is all that stays.
    fn restart(&mut self, kept: Kept) {
        assert_eq!(kept.done, self.durable.done());
        let parked = kept.parked.into_iter().map(|(p, (at, attempts, why))| (p, at, attempts, why));
        self.durable = Durable::new(kept.settings, kept.done, parked.collect());
        (self.held, self.consumers) = (Vec::new(), Vec::new());
        // out of turn behind the position: given again
        let done = kept.done.ingested_at.0;
        self.acknowledged.retain(|n| *n <= done);
        self.given.retain(|n| *n <= done);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<u8>),
    Join,
    Leave(usize),
    Ack(usize, bool),
    Retry(usize),
    Park(usize),
    Replay,
    Time(i64),
    Retire(usize),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => proptest::collection::vec(0u8..4, 1..12).prop_map(Op::Append),
        2 => Just(Op::Join),
        1 => any::<usize>().prop_map(Op::Leave),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(n, only)| Op::Ack(n, only)),
        2 => any::<usize>().prop_map(Op::Retry),
        1 => any::<usize>().prop_map(Op::Park),
        1 => Just(Op::Replay),
        2 => prop_oneof![Just(1), Just(SECOND), Just(40 * SECOND)].prop_map(Op::Time),
        1 => any::<usize>().prop_map(Op::Retire),
        1 => Just(Op::Restart),
    ]
}

proptest! {
    #[test]
    fn every_event_is_acknowledged_or_parked_in_the_end(ops in proptest::collection::vec(op(), 1..80)) {
        let mut world = World::new(3);
        let mut folded = Folded::default();
        let (number, name) = (1, "n".to_owned());
        folded.apply(Record::Created {
            number, name, at: Micros(0), after: at(0), settings: settings(3),
        });
        for op in ops {
            match op {
                Op::Append(streams) => world.events.extend(streams.into_iter().map(u128::from)),
                Op::Join => drop(world.join()),
                Op::Leave(which) => world.leave(which),
                Op::Ack(which, only) => world.ack(which, only),
                Op::Retry(which) | Op::Park(which) if !world.held.is_empty() => {
                    let (_, n) = world.held[which % world.held.len()];
                    let now = world.now;
                    let said = match op {
                        Op::Retry(_) => world.durable.retry(at(n), "no", now),
                        _ => world.durable.park(at(n), "no", now),
                    };
                    prop_assert!(said);
                }
                Op::Retry(_) | Op::Park(_) => {}
                Op::Replay => drop(world.durable.replay(None, world.now)),
                Op::Time(us) => world.now = world.now.plus_us(us),
                Op::Retire(which) if !world.events.is_empty() => {
                    // what nobody was given may go: the store itself gives nothing of it again
                    let n = (which % world.events.len()) as i64 + 1;
                    if !world.given.contains(&n) || !world.held.iter().any(|(_, of)| *of == n) {
                        world.gone.insert(n);
                    }
                }
                Op::Retire(_) => {}
                Op::Restart => world.restart(folded.all["n"].clone()),
            }
            world.sync();
            world.run();
            world.sync();
            for change in world.durable.take_changes() {
                folded.apply(Record::Changed(number, change));
            }
            prop_assert_eq!(folded.all["n"].parked.len(), world.durable.counts().parked);
            let held: usize = world.durable.consumers.values().map(|load| load.held).sum();
            prop_assert_eq!(held, world.held.len());
        }
        world.join();
        for _ in 0..200 {
            world.now = world.now.plus_us(40 * SECOND);
            world.run();
            world.sync();
            while !world.held.is_empty() {
                world.ack(0, true);
            }
        }
        let parked: HashSet<i64> = world.durable.parked().map(|(p, _)| p.ingested_at.0).collect();
        for n in 1..=world.events.len() as i64 {
            let over = world.acknowledged.contains(&n) || parked.contains(&n) || world.gone.contains(&n);
            prop_assert!(over, "{} was forgotten", n);
        }
        prop_assert_eq!(world.durable.done(), at(world.events.len() as i64));
        let empty = world.durable.open.is_empty() && world.durable.streams.is_empty();
        prop_assert!(empty, "nothing is remembered of what is over");
    }
}

#[test]
fn an_event_that_fails_is_given_again_in_its_turn_and_then_parked_and_replayed() {
    let mut world = World::new(2);
    let consumer = world.join();
    world.events = vec![1, 1, 2];
    world.run();
    assert_eq!(world.held, [(consumer, 1), (consumer, 2), (consumer, 3)]);
    assert!(world.durable.retry(at(1), "no", world.now));
    world.sync();
    assert_eq!(world.held, [(consumer, 3)], "what follows in the stream is taken back with it");
    world.run();
    assert_eq!(world.held.len(), 1, "there is a pause");
    world.now = world.now.plus_us(SECOND);
    world.run();
    assert_eq!(world.held, [(consumer, 3), (consumer, 1), (consumer, 2)]);
    world.durable.retry(at(1), "no", world.now);
    world.sync();
    assert_eq!(world.held, [(consumer, 3), (consumer, 2)], "parked: the stream goes on");
    assert!(!world.durable.has_confirmed(at(1)) && world.durable.counts().parked == 1);
    world.ack(1, false);
    assert_eq!(world.durable.done(), at(3), "an acknowledgement counts for what was given before");
    assert!(world.durable.has_confirmed(at(2)) && world.durable.replay(Some(at(1)), world.now) == 1);
    world.run();
    assert_eq!(world.held, [(consumer, 1)]);
    assert_eq!(world.durable.ack(at(1), Some(consumer), false, world.now), 1);
    assert!(
        world.durable.has_confirmed(at(1)) && world.durable.counts() == Counts { consumers: 1, ..Counts::default() }
    );
}

#[test]
fn what_is_open_is_what_was_read_and_is_neither_acknowledged_nor_parked() {
    let mut world = World::new(5);
    world.events = vec![1, 2, 3];
    let consumer = world.join();
    assert_eq!((world.durable.first_open(), world.durable.read_through()), (None, at(0)));
    world.run();
    let through = world.durable.read_through();
    assert!(through >= at(3), "{through}");
    assert_eq!(world.durable.first_open(), Some(at(1)));
    assert!(world.durable.park(at(1), "later", world.now));
    assert_eq!(world.durable.first_open(), Some(at(2)), "it is parked");
    assert_eq!(world.durable.ack(at(3), Some(consumer), true, world.now), 1);
    assert_eq!(world.durable.first_open(), Some(at(2)), "out of turn");
    assert!(world.durable.retry(at(2), "again", world.now));
    world.now = world.now.plus_us(SECOND);
    world.durable.go_back(world.now);
    assert!(world.durable.cursor().through() < at(2) && world.durable.read_through() >= at(3), "it was read before");
    assert_eq!(world.durable.first_open(), Some(at(2)), "it waits");
    world.run();
    assert_eq!(world.durable.ack(at(2), Some(consumer), false, world.now), 1);
    assert_eq!(world.durable.first_open(), None);
}

#[test]
fn an_acknowledgement_without_a_name_is_the_only_consumers_and_else_of_one_event() {
    let mut world = World::new(5);
    world.join();
    world.events = vec![1, 2, 3, 4];
    world.run();
    assert_eq!(world.durable.ack(at(3), None, false, world.now), 3);
    world.leave(0);
    assert_eq!(world.durable.ack(at(4), None, false, world.now), 1, "after it has gone as well");
    world.events.extend([9, 9, 9]);
    let gone = world.join();
    world.run();
    world.leave(0);
    assert_eq!(world.durable.ack(at(6), Some(gone), false, world.now), 2, "by its name as well");
    let other = world.join();
    world.now = world.now.plus_us(SECOND);
    world.run();
    assert_eq!(world.durable.ack(at(7), Some(gone), false, world.now), 1);
    world.sync();
    assert!(world.held.is_empty() && world.durable.ack(at(7), Some(other), false, world.now) == 0);
    world.leave(0);
    world.events.extend([5, 6, 7, 8]);
    let _two = [world.join(), world.join()];
    world.run();
    assert_eq!(world.durable.ack(at(11), None, false, world.now), 1);
    assert_eq!(world.durable.ack(at(11), None, false, world.now), 0);
    assert_eq!(world.durable.ack(at(99), None, false, world.now), 0, "nobody was given it");
}

#[test]
fn what_never_left_the_node_was_not_tried() {
    let mut world = World::new(1);
    world.events = vec![1, 2, 2, 1];
    let first = world.join();
    world.run();
    assert_eq!(world.durable.counts().in_flight, 4);
    // only the first one was given to its connection
    world.durable.take_back(first, [2, 3, 4].map(at), world.now);
    world.leave(0);
    assert_eq!(world.durable.parked().map(|(position, _)| position).collect::<Vec<_>>(), [at(1)]);
    assert_eq!(world.durable.ack(at(3), Some(first), false, world.now), 0, "it was never given");
    world.given.clear();
    let second = world.join();
    world.run();
    world.durable.take_back(first, [2].map(at), world.now);
    assert_eq!(world.given, HashSet::from([2, 3, 4]), "nothing is taken back from somebody else");
    assert_eq!(world.durable.counts().in_flight, 3);
    assert_eq!(world.durable.ack(at(4), Some(second), false, world.now), 3);
}

#[test]
fn who_goes_since_nothing_can_be_read_has_not_failed_and_its_words_still_hold() {
    let mut world = World::new(1);
    world.events = vec![1, 1, 2];
    let first = world.join();
    world.run();
    world.durable.dismiss(first, world.now);
    (world.consumers, world.held) = (Vec::new(), Vec::new());
    assert_eq!(world.durable.counts(), Counts { waiting: 3, ..Counts::default() });
    assert_eq!(world.durable.done(), at(0));
    assert_eq!(world.durable.ack(at(1), Some(first), false, world.now), 1, "it was given before");
    let second = world.join();
    world.run();
    assert_eq!(world.held, [(second, 2), (second, 3)]);
    assert_eq!((world.durable.counts().parked, world.durable.done()), (0, at(1)));
}

#[test]
fn a_replay_that_cannot_be_read_is_put_off_and_others_are_given_meanwhile() {
    let mut world = World::new(3);
    world.events = vec![1, 2];
    world.join();
    world.run();
    assert!((1..=2).all(|n| world.durable.park(at(n), "no", world.now)));
    assert_eq!(world.durable.replay(None, world.now), 2);
    assert_eq!(world.durable.next_replay(world.now), Some(at(1)));
    world.durable.put_off_replay(at(1), world.now);
    assert_eq!(world.durable.next_replay(world.now), Some(at(2)));
    assert!(world.durable.parked().all(|(_, parked)| parked.is_replayed() && parked.attempts == 1));
    world.durable.put_off_replay(at(2), world.now);
    assert_eq!(world.durable.next_replay(world.now), None);
    assert_eq!(world.durable.next_moment(), Some(world.now.plus_us(30 * SECOND)));
    assert_eq!(world.durable.next_replay(world.now.plus_us(30 * SECOND)), Some(at(1)));
}

#[test]
fn what_is_remembered_and_held_is_bounded() {
    let mut world = World::new(5);
    let first = world.join();
    world.events = (0..10_000).collect();
    world.run();
    assert_eq!(world.held.len(), HELD_MAX, "one consumer that takes nothing stops the reading");
    assert!(world.durable.open.len() <= HELD_MAX + 1);
    let second = world.join();
    world.run();
    let of = |consumer| world.held.iter().filter(|(held, _)| *held == consumer).count();
    assert!(of(first) == HELD_MAX && of(second) == HELD_MAX);
    // one works and the other does not: reading goes on, to the bound of what is remembered
    for _ in 0..100 {
        let mine: Vec<i64> = world.held.iter().filter(|(of, _)| *of == second).map(|(_, n)| *n).collect();
        for n in mine {
            world.durable.ack(at(n), Some(second), true, world.now);
        }
        world.sync();
        world.run();
    }
    assert!(world.durable.open.len() <= WINDOW);
    assert!(world.given.len() > WINDOW / 2);
}

#[test]
fn so_many_are_parked_and_what_finds_no_place_is_given_again() {
    let mut world = World::new(1);
    world.durable = Durable::new(settings(1), at(0), Vec::new()).parking(2);
    let consumer = world.join();
    world.events = vec![1, 2, 3];
    world.run();
    assert!(world.durable.park(at(1), "no", world.now));
    // its one attempt is over
    assert!(world.durable.retry(at(2), "no", world.now));
    assert_eq!(world.durable.counts().parked, 2);
    assert!(!world.durable.park(at(3), "no", world.now), "there is no place");
    assert!(world.durable.retry(at(3), "no", world.now));
    world.sync();
    assert_eq!((world.durable.counts().parked, world.held.len()), (2, 0));
    world.now = world.now.plus_us(SECOND);
    world.run();
    assert_eq!(world.held, [(consumer, 3)]);
    // one that is given again and acknowledged leaves its place
    assert_eq!(world.durable.replay(Some(at(1)), world.now), 1);
    world.run();
    assert_eq!(world.durable.ack(at(1), Some(consumer), true, world.now), 1);
    assert!(world.durable.park(at(3), "no", world.now));
    assert_eq!(world.durable.counts().parked, 2);
}

#[test]
fn what_is_acknowledged_out_of_turn_is_told_without_what_is_parked() {
    let mut world = World::new(5);
    let consumer = world.join();
    world.events = vec![1, 2, 3, 4];
    world.run();
    assert_eq!(world.durable.ack(at(3), Some(consumer), true, world.now), 1);
    assert!(world.durable.park(at(2), "no", world.now));
    assert_eq!((world.durable.done(), world.durable.acknowledged().collect::<Vec<_>>()), (at(0), vec![at(3)]));
    assert_eq!(world.durable.ack(at(1), Some(consumer), true, world.now), 1);
    assert_eq!((world.durable.done(), world.durable.acknowledged().count()), (at(3), 0));
    let confirmed: Vec<i64> = (1..=4).filter(|n| world.durable.has_confirmed(at(*n))).collect();
    assert_eq!(confirmed, [1, 3]);
}
