//! Followers of a store over random histories: history, the live ring, the seam between them; appends, jobs, trims, eviction, restarts
//! and kills in between. Each sees every event that it asks for behind its place, once, in the global order.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{event, evict, local, request};
use proptest::prelude::*;
use strandline_engine::read::{Filter, GlobalPage, GlobalRead};
use strandline_engine::subscribe::{Cursor, Found, Ring, RingLimits};
use strandline_event::{BatchUnit, LogKey, Position};
use strandline_testkit::local_store::LocalStore;

const LIMITS: RingLimits = RingLimits { pages_max: 3, bytes_max: 4000 };
const TYPES: [&str; 2] = ["T", "U"];

#[derive(Clone, Debug)]
enum Op {
    /// Events to a type, over this many streams.
    Append(usize, usize, usize),
    Compact(usize),
    Evict,
    Trim(usize),
    Restart,
    Kill,
    Time(i64),
    Pump(usize),
    /// One begins, with this filter: from the start, from where another stands, or from now.
    Begin(usize, usize),
    /// One reads on, at most so many slices of so many bytes.
    Follow(usize, usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0usize..2, 1usize..9, 1usize..4).prop_map(|(t, n, s)| Op::Append(t, n, s)),
        2 => (0usize..2).prop_map(Op::Compact),
        1 => Just(Op::Evict),
        1 => (0usize..2).prop_map(Op::Trim),
        1 => Just(Op::Restart),
        1 => Just(Op::Kill),
        2 => prop_oneof![3 => 0i64..500, 1 => Just(7_200_000_000)].prop_map(Op::Time),
        6 => (1usize..9).prop_map(Op::Pump),
        2 => (0usize..4, 0usize..3).prop_map(|(f, from)| Op::Begin(f, from)),
        8 => (any::<usize>(), 1usize..6, prop_oneof![Just(1usize), Just(400), Just(1 << 20)])
            .prop_map(|(n, slices, bytes)| Op::Follow(n, slices, bytes)),
    ]
}

fn filter(which: usize) -> Filter {
    match which {
        0 => Filter::default(),
        1 => Filter { stream_type: Some("U".to_owned()), ..Filter::default() },
        2 => Filter { stream_id: Some("s1".to_owned()), ..Filter::default() },
        _ => Filter { event_type: Some("Never".to_owned()), ..Filter::default() },
    }
}

struct Follower {
    filter: Filter,
    /// Events up to here are not asked for.
    after: Position,
    cursor: Cursor,
    seen: Vec<Position>,
}

struct World {
    store: LocalStore,
    ring: Ring<GlobalPage>,
    followers: Vec<Follower>,
    numbers: usize,
}

impl World {
    fn new() -> Self {
        let store = local("inmemory.max_mb = 1, wal.retention_hours = 0, partition.by = ('stream_type')");
        let ring = Self::ring(&store);
        Self { store, ring, followers: Vec::new(), numbers: 0 }
    }

    fn ring(store: &LocalStore) -> Ring<GlobalPage> {
        Ring::new(Position::end_of(store.store().closed().close()), LIMITS)
    }

    fn read(&self, after: Position, limit: usize, filter: &Filter) -> GlobalPage {
        let read = GlobalRead { after, limit, filter: filter.clone() };
        let page = self.store.store().read_global(&read, self.store.time.now()).unwrap();
        assert!(page.through >= page.next && page.next >= after);
        assert!(page.rows().all(|event| event.position() > after && event.position() <= page.next));
        page
    }

    fn pump(&mut self, limit: usize) {
        let page = self.read(self.ring.end(), limit, &Filter::default());
        let (through, bytes) = (page.through, page.bytes());
        self.ring.push((!page.is_empty()).then_some((page, bytes)), through);
    }

    /// One slice; `false`: it is at the end.
    fn follow(&mut self, which: usize, bytes: usize) -> bool {
        let Some(of) = self.followers.get(which) else { return false };
        let through = of.cursor.through();
        match self.ring.find(through) {
            Found::AtEnd => false,
            Found::Page(page) => {
                let end = self.ring.page_through(through);
                self.take(which, &page, end, bytes);
                true
            }
            Found::Behind => {
                let page = self.read(through, 5, &of.filter.clone());
                let end = page.through;
                self.take(which, &page, end, bytes);
                true
            }
        }
    }

    fn take(&mut self, which: usize, page: &GlobalPage, end: Position, bytes: usize) {
        let Some(of) = self.followers.get_mut(which) else { return };
        let before = of.cursor;
        let (rows, _) = of.cursor.take(page, end, &of.filter, bytes);
        assert!(of.cursor.through() > before.through(), "a reader gets on");
        of.seen.extend(rows.iter().map(|row| page.row(*row as usize).unwrap().position()));
    }

    /// The process is another one: rings and claims of closed moments are gone, places stay.
    fn started(&mut self) {
        self.ring = Self::ring(&self.store);
        for of in &mut self.followers {
            of.cursor = Cursor::new(of.cursor.at());
        }
    }

    fn act(&mut self, op: Op) {
        match op {
            Op::Append(t, events, streams) => {
                let numbers = self.numbers..self.numbers + events;
                self.numbers += events;
                let events = numbers.map(|n| event(&format!("s{}", n % streams), n)).collect();
                self.store.append(&request(TYPES[t], BatchUnit::Rows, events));
            }
            Op::Compact(t) if self.store.store().log(&LogKey::single(TYPES[t])).is_some() => {
                self.store.seal(&LogKey::single(TYPES[t]));
                self.store.compact(&LogKey::single(TYPES[t])).unwrap();
            }
            Op::Trim(t) if self.store.store().log(&LogKey::single(TYPES[t])).is_some() => {
                self.store.trim(&LogKey::single(TYPES[t]));
            }
            Op::Compact(_) | Op::Trim(_) => {}
            Op::Evict => evict(&self.store),
            Op::Restart => {
                self.store.restart().unwrap();
                self.started();
            }
            Op::Kill => {
                self.store.kill().unwrap();
                self.started();
            }
            Op::Time(us) => drop(self.store.time.advance_us(us)),
            Op::Pump(limit) => self.pump(limit),
            Op::Begin(which, from) => {
                let after = match (from, self.followers.last()) {
                    (0, _) => Position::START,
                    (1, Some(other)) => other.cursor.at(),
                    _ => Position::end_of(self.store.store().closed().newest()),
                };
                let cursor = Cursor::new(after);
                self.followers.push(Follower { filter: filter(which), after, cursor, seen: Vec::new() });
            }
            Op::Follow(n, slices, bytes) if !self.followers.is_empty() => {
                let which = n % self.followers.len();
                (0..slices).all(|_| self.follow(which, bytes));
            }
            Op::Follow(..) => {}
        }
    }

    fn check(&mut self) {
        self.store.time.advance_us(1000);
        for _ in 0..200 {
            self.pump(7);
        }
        for which in 0..self.followers.len() {
            while self.follow(which, 300) {}
        }
        let mut all: Vec<(Position, String, String)> = Vec::new();
        for batch in self.store.store().scan(&Filter::default()).unwrap() {
            let batch = batch.unwrap();
            let row =
                |e: strandline_event::EventRef<'_>| (e.position(), e.stream_type.to_owned(), e.stream_id.to_owned());
            all.extend(batch.rows().map(row));
        }
        assert_eq!(all.len(), self.numbers);
        all.sort();
        for of in &self.followers {
            let wanted = |(position, stream_type, stream_id): &&(Position, String, String)| {
                *position > of.after
                    && of.filter.event_type.is_none()
                    && of.filter.stream_type.as_ref().is_none_or(|t| t == stream_type)
                    && of.filter.stream_id.as_ref().is_none_or(|s| s == stream_id)
            };
            let wanted: Vec<Position> = all.iter().filter(wanted).map(|(position, ..)| *position).collect();
            assert_eq!(of.seen, wanted);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_follower_sees_everything_once_over_the_seam(ops in proptest::collection::vec(op(), 1..90)) {
        let mut world = World::new();
        world.act(Op::Begin(0, 0));
        for op in ops {
            world.act(op);
        }
        world.check();
    }
}
