//! Two compactors on one store: at every point of the one's work the other does its own, or begins it and ends it later.
//!
//! What must hold whatever they do: the loser finds out and leaves orphans only, no event is lost or there twice for anybody,
//! `verify` finds nothing, the sweep takes the orphans away.

// helpers of a test are as blunt as the test itself; the lint's exception covers `#[test]` functions only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::common::{TIERS, assert_all, load};
use crate::two_owners::{On, Others, World, key, lost};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use strandline_engine::compact::{
    self, CompactError, JobLimits, MergePlan, NoSteps, Plan, Progress, Step, Steps, Stopped, Trigger,
};
use strandline_engine::store::Store;
use strandline_event::Micros;
use strandline_testkit::local_store::LocalStore;

/// Events in files, and all.
const IN_FILES: usize = 24;
const EVENTS: usize = 30;
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Work {
    Job,
    Merge,
}

impl Work {
    const ALL: [Self; 2] = [Self::Job, Self::Merge];

    /// All of it that is due.
    fn run(self, store: &mut LocalStore, steps: &dyn Steps) -> Result<u64, CompactError> {
        match self {
            Self::Job => store.compact_with(&key(), JobLimits::default(), steps),
            Self::Merge => store.merge_with(Trigger::Hand, steps),
        }
    }

    const fn steps(self) -> &'static [Step] {
        match self {
            Self::Job => &Step::ALL,
            Self::Merge => &Step::MERGE,
        }
    }
}

/// A store of several small files in three partitions and of a log with more.
fn world(on: On) -> World {
    World::on(on, &format!("{TIERS}, partition.by = 'dt'"), |store| {
        for from in (0..IN_FILES).step_by(8) {
            load(store, "T", from..from + 8, 4);
            store.compact(&key()).unwrap();
        }
        load(store, "T", IN_FILES..EVENTS, 4);
    })
}

/// Another process takes the store over and works.
fn takes_over(others: &Others, work: Work, steps: &dyn Steps) -> Result<u64, CompactError> {
    let mut store = others.rival();
    let done = work.run(&mut store, steps);
    assert_all(store.store(), store.time.now(), EVENTS);
    done
}

/// Stops at a point until it is told to go on.
struct Pause {
    at: Step,
    reached: Sender<()>,
    go: std::sync::Mutex<Receiver<()>>,
}

impl Steps for Pause {
    fn reached(&self, step: Step) -> Result<(), Stopped> {
        if step == self.at {
            // the other end is gone where nobody waits any more: then it goes on
            let _ = self.reached.send(());
            let _ = self.go.lock().unwrap().recv();
        }
        Ok(())
    }
}

/// Somebody who works until a point, and goes on when told.
struct Paused<T> {
    go: Sender<()>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Paused<T> {
    /// Comes back when the point is reached, or when the work has ended before it.
    fn at(step: Step, work: impl FnOnce(&dyn Steps) -> T + Send + 'static) -> Self {
        let ((reached, is_there), (go, gone)) = (channel(), channel());
        let pause = Pause { at: step, reached, go: std::sync::Mutex::new(gone) };
        let thread = std::thread::spawn(move || work(&pause));
        let _ = is_there.recv();
        Self { go, thread }
    }

    fn finish(self) -> T {
        drop(self.go);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// What is left when both are done, seen by a third.
fn assert_settled(world: &World, what: &str) {
    let others = world.others();
    others.verified(what);
    let mut third = others.third();
    assert_all(third.store(), third.time.now(), EVENTS);
    others.assert_swept(&third, what);
    third.compact(&key()).unwrap();
    third.merge(Trigger::Hand).unwrap();
    load(&mut third, "T", EVENTS..EVENTS + 8, 4);
    third.compact(&key()).unwrap();
    third.restart().unwrap();
    assert_all(third.store(), third.time.now(), EVENTS + 8);
    assert_eq!(third.store().durable().pin().rows(), EVENTS as u64 + 8, "{what}");
    assert_eq!(others.verified(what), EVENTS as u64 + 8, "{what}");
}

fn walk(work: Work, rival_s: Work) {
    for on in On::BOTH {
        let rival = move |others: &Others| takes_over(others, rival_s, &NoSteps);
        let whole = |store: &LocalStore| assert_all(store.store(), store.time.now(), EVENTS);
        let works = format!("{on:?}: {work:?}, {rival_s:?} of the rival");
        let run = |store: &mut LocalStore| work.run(store, &NoSteps);
        crate::two_owners::walk(&works, || world(on), run, rival, (whole, assert_settled));
    }
}

#[test]
fn a_rival_s_job_at_every_operation_of_a_job() {
    walk(Work::Job, Work::Job);
}

#[test]
fn a_rival_s_merge_at_every_operation_of_a_job() {
    walk(Work::Job, Work::Merge);
}

#[test]
fn a_rival_s_job_at_every_operation_of_a_merge() {
    walk(Work::Merge, Work::Job);
}

#[test]
fn a_rival_s_merges_at_every_operation_of_a_merge() {
    walk(Work::Merge, Work::Merge);
}

/// The rival takes the store over and works until a point; the first ends; then the rival goes on.
fn begun(work: Work, rival_s: Work, until: Step) {
    for at in (1..).step_by(3) {
        let mut world = world(On::Folder);
        let what = format!("{work:?}, at operation {at} {rival_s:?} until {until:?}");
        let (others, (tell, told)) = (world.others(), channel());
        world.flaky.meanwhile(at, move || {
            tell.send(Paused::at(until, move |steps| takes_over(&others, rival_s, steps))).unwrap();
        });
        let done = work.run(&mut world.first, &NoSteps);
        if world.flaky.was_not_reached() {
            break;
        }
        if let Err(error) = &done {
            lost(error);
        }
        assert_all(world.first.store(), world.first.time.now(), EVENTS);
        let rival = told.recv().unwrap().finish();
        rival.unwrap_or_else(|error| panic!("{what}: the newer owner may do all: {error:?}"));
        assert_settled(&world, &what);
    }
}

#[test]
fn a_rival_that_begins_a_job_while_the_first_one_ends() {
    for step in Step::ALL {
        begun(Work::Job, Work::Job, step);
        begun(Work::Merge, Work::Job, step);
    }
}

#[test]
fn a_rival_that_begins_a_merge_while_the_first_one_ends() {
    for step in Step::MERGE {
        begun(Work::Job, Work::Merge, step);
        begun(Work::Merge, Work::Merge, step);
    }
}

/// Work that was planned by one owner: two of them may stand side by side.
enum Planned {
    Job(Box<Plan>),
    Merge(Box<MergePlan>),
}

impl Planned {
    fn new(store: &Store, work: Work, now: Micros) -> Self {
        match work {
            Work::Job => Self::Job(Box::new(compact::plan(store, &key()).unwrap().unwrap())),
            Work::Merge => {
                Self::Merge(Box::new(compact::plan_merges(store, None, Trigger::Hand, now).unwrap().remove(0)))
            }
        }
    }

    fn run(&self, store: &Store, job_id: u128, steps: &dyn Steps) -> Result<(), CompactError> {
        let (now, progress) = (Micros(1_795_500_000_000_000), Progress::default());
        match self {
            Self::Job(plan) => compact::run_job(store, plan, job_id, now, &progress, steps).map(drop),
            Self::Merge(plan) => compact::run_merge(store, plan, job_id, now, &progress, steps).map(drop),
        }
    }
}

/// Two works under one epoch: each stands at a point, then one ends, then the other.
fn side_by_side(of: [(Work, Step); 2], first_ends_first: bool) {
    let what = format!("{of:?}, {first_ends_first}");
    let world = world(On::Folder);
    let now = world.first.time.now();
    let store = world.first.store();
    let [one, other] = [(of[0], 4711), (of[1], 4712)].map(|((work, step), job_id)| {
        let (planned, store) = (Planned::new(store, work, now), Arc::clone(store));
        (step, move |steps: &dyn Steps| planned.run(&store, job_id, steps))
    });
    let (one, other) = (Paused::at(one.0, one.1), Paused::at(other.0, other.1));
    let ended = if first_ends_first {
        [one.finish(), other.finish()]
    } else {
        let other = other.finish();
        [one.finish(), other]
    };
    ended.iter().filter_map(|end| end.as_ref().err()).for_each(lost);
    let won = ended.iter().filter(|end| end.is_ok()).count();
    assert_eq!(won, if of[0].0 == of[1].0 { 1 } else { 2 }, "{what}: {ended:?}");
    assert_all(store, now, EVENTS);
    let left = store.durable().orphans(Micros(i64::MAX)).unwrap();
    assert!(left.iter().all(|orphan| orphan.path.ends_with(".run")), "{what}: what it wrote it took away: {left:?}");
    assert_settled(&world, &what);
}

#[test]
fn two_works_of_one_owner_at_every_pair_of_points() {
    for (one, other) in Work::ALL.into_iter().flat_map(|one| Work::ALL.map(|other| (one, other))) {
        for (a, b) in one.steps().iter().flat_map(|a| other.steps().iter().map(move |b| (*a, *b))) {
            for first_ends_first in [true, false] {
                side_by_side([(one, a), (other, b)], first_ends_first);
            }
        }
    }
}
